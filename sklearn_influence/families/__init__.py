"""Families of estimators: how each one's fitted attributes become an objective, and back."""

from .gaussian_process import GaussianProcessFamily
from .kernel import KernelFamily, KernelRidgeFamily
from .least_squares import LeastSquaresFamily
from .logistic import LogisticFamily
from .network import NetworkFamily
from .registry import Family, find_family, register_family, supported_names
from .ridge_classifier import RidgeClassifierFamily

register_family(GaussianProcessFamily.estimators, GaussianProcessFamily())
register_family(KernelRidgeFamily.estimators, KernelRidgeFamily())
register_family(LeastSquaresFamily.estimators, LeastSquaresFamily())
register_family(LogisticFamily.estimators, LogisticFamily())
register_family(NetworkFamily.estimators, NetworkFamily())
register_family(RidgeClassifierFamily.estimators, RidgeClassifierFamily())

__all__ = [
    "Family",
    "GaussianProcessFamily",
    "KernelFamily",
    "KernelRidgeFamily",
    "LeastSquaresFamily",
    "LogisticFamily",
    "NetworkFamily",
    "RidgeClassifierFamily",
    "find_family",
    "register_family",
    "supported_names",
]
