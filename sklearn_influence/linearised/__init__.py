"""Objectives of models whose outputs are linear in their parameters by a general Jacobian of each row."""

from .network_objective import NetworkObjective
from .objective import JacobianObjective
from .rows import ArrayRows, NetworkRows
from .span import SpannedObjective, fits_better, is_spanned

__all__ = [
    "ArrayRows",
    "JacobianObjective",
    "NetworkObjective",
    "NetworkRows",
    "SpannedObjective",
    "fits_better",
    "is_spanned",
]
