"""Ways to apply the inverse of a curvature.

A solver is frozen options. ``factor(curvature)`` returns a callable ``factor(B) -> (X, SolveInfo)``; it meets a
curvature only through its products, diagonals, samples of rows, and ``dense`` with its coordinates.
"""

from .approximate import Diagonal, OuterProduct
from .choice import Auto, get_solver
from .conjugate_gradient import ConjugateGradient
from .direct import Direct
from .info import SolveInfo
from .stochastic import Stochastic

__all__ = ["Auto", "ConjugateGradient", "Diagonal", "Direct", "OuterProduct", "SolveInfo", "Stochastic", "get_solver"]
