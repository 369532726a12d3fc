"""Families of estimators: how each one's fitted attributes become an objective, and back."""

from .least_squares import LeastSquaresFamily
from .logistic import LogisticFamily
from .registry import Family, find_family, register_family, supported_names

register_family(LeastSquaresFamily.estimators, LeastSquaresFamily())
register_family(LogisticFamily.estimators, LogisticFamily())

__all__ = [
    "Family",
    "LeastSquaresFamily",
    "LogisticFamily",
    "find_family",
    "register_family",
    "supported_names",
]
