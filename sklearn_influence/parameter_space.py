"""What is asked of a model in parameter space; :mod:`sklearn_influence.alpha` has the same words for kernel models.

An engine has ``minimise_anew``, ``stationarity``, ``row_effects``, ``group_effects``, ``replacement_effects``,
``edited_minimum``, and ``from_anywhere``: whether an edit starts as well from a model that is at no optimum.
"""

import numpy as np
from sklearn.utils import Bunch

from .editing import edited_minimum
from .effects import row_effects, row_scale
from .groups import group_effects
from .newton import minimise_anew, rounding_decrement
from .replacements import replacement_effects
from .solvers.steps import newton_step

__all__ = [
    "edited_minimum",
    "from_anywhere",
    "group_effects",
    "minimise_anew",
    "replacement_effects",
    "row_effects",
    "stationarity",
]

from_anywhere = False


def stationarity(objective, factor):
    """How far an objective's parameters are from a minimum: Bunch(gradient_norm, newton_decrement, relative).

    Parameters
    ----------
    objective : Objective
    factor : callable
        Its factored curvature.

    Returns
    -------
    Bunch
        ``relative`` is the decrement over the median row's influence, 0 within rounding.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import InfluenceEstimator
    >>> X, y = load_diabetes(return_X_y=True)
    >>> InfluenceEstimator(Ridge()).fit(X, y).stationarity_.relative
    0.0
    """
    gradient = objective.gradient()
    _, decrement = newton_step(factor, gradient)
    scale = row_scale(objective, factor)
    if objective.outside:  # there the penalty is all there is, and its gradient points back
        strength = float(objective.strength.max())
        gradient = np.append(gradient, strength * objective.outside)
        decrement = float(np.hypot(decrement, np.sqrt(strength) * objective.outside))
    if decrement <= rounding_decrement(objective, factor):
        relative = 0.0  # a minimum, as far as rounding lets anyone tell
    else:
        relative = decrement / scale if scale > 0 else np.inf
    return Bunch(gradient_norm=float(np.linalg.norm(gradient)), newton_decrement=decrement, relative=float(relative))
