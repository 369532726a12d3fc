"""Objectives of models whose outputs are linear in their parameters by a general Jacobian of each row."""

from .objective import JacobianObjective
from .rows import ArrayRows, NetworkRows

__all__ = ["ArrayRows", "JacobianObjective", "NetworkRows"]
