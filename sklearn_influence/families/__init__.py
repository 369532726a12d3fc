"""Families of estimators: how each one's fitted attributes become an objective, and back."""

from .least_squares import LeastSquaresFamily
from .logistic import LogisticFamily
from .registry import Family, find_family, register_family, supported_names
from .ridge_classifier import RidgeClassifierFamily

register_family(LeastSquaresFamily.estimators, LeastSquaresFamily())
register_family(LogisticFamily.estimators, LogisticFamily())
register_family(RidgeClassifierFamily.estimators, RidgeClassifierFamily())

__all__ = [
    "Family",
    "LeastSquaresFamily",
    "LogisticFamily",
    "RidgeClassifierFamily",
    "find_family",
    "register_family",
    "supported_names",
]
