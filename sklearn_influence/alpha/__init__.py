r"""Kernel models, in the coefficients of their rows: ``f = f0 + K alpha``, penalty ``rho/2 alpha'K alpha``.

The words are those of :mod:`sklearn_influence.parameter_space`.
"""

from ..replacements import replacement_effects
from .editing import edited_minimum, minimise_anew, stationarity
from .effects import group_effects, row_effects

__all__ = [
    "edited_minimum",
    "from_anywhere",
    "group_effects",
    "minimise_anew",
    "replacement_effects",
    "row_effects",
    "stationarity",
]

from_anywhere = True  # a step on the retained rows is what it is, whatever the start
