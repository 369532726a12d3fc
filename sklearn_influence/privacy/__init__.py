r"""(epsilon, delta)-certified removal: what Gaussian noise hides, and the noise that is put into an objective.

An unlearned model is (epsilon, delta)-indistinguishable from a retrained one if, for every set of models S,
``P[unlearned in S] <= e^epsilon P[retrained in S] + delta`` and the same with the two exchanged. Two ways to get there:

* output perturbation: both are published with noise N(0, sigma**2 I) on the parameters, which are at most ``bound``
  apart. :func:`gaussian_sigma` is the noise that hides so much.
* objective perturbation: :class:`ObjectivePerturbation` puts noise into the objective at fit, and what is hidden is the
  gradient that removals leave.

The profile of the Gaussian mechanism is exact (Balle and Wang 2018, Theorem 8), not a bound of its tail.
"""

from .gaussian import gaussian_delta, gaussian_epsilon, gaussian_sensitivity, gaussian_sigma
from .perturbation import (
    ObjectivePerturbation,
    RemovalBudget,
    check_optimum,
    gauge_free,
    gaussian_noise,
    residual_norm,
)
from .release import Release

__all__ = [
    "ObjectivePerturbation",
    "Release",
    "RemovalBudget",
    "check_optimum",
    "gauge_free",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_noise",
    "gaussian_sensitivity",
    "gaussian_sigma",
    "residual_norm",
]
