"""Ways to apply the inverse of a curvature.

A solver is frozen options. ``factor(curvature)`` returns a callable ``factor(B) -> (X, SolveInfo)``; it meets a
curvature only through its products, diagonals, samples of rows, and ``dense`` with its coordinates.
"""

from .approximate import Diagonal, OuterProduct
from .choice import Auto, cost_in_passes, get_solver, needs_parameters
from .conjugate_gradient import ConjugateGradient
from .direct import Direct
from .info import SolveInfo, listening, merge
from .steps import error_norms, newton_step

__all__ = ["Auto", "ConjugateGradient", "Diagonal", "Direct", "OuterProduct", "SolveInfo", "get_solver"]
