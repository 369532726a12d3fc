"""Publishing an unlearned model: Gaussian noise for a distance that was fixed before anyone asked."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from ..solvers.steps import number_option
from .gaussian import gaussian_sigma
from .perturbation import gauge_free, gaussian_noise

# Noise is longer than what is stated of it with this probability.
_LONGER = 1e-12


@dataclass(frozen=True)
class Release:
    """A claim of (epsilon, delta)-certified removal, and the noise that it takes.

    Parameters
    ----------
    epsilon, delta : float
    bound : float
        How far the unlearned parameters may be from the retrained ones, above 0, in the parameters' units. The noise is
        made for it, whatever the certificate then says.
    random_state : int, RandomState instance or None, default=None

    Examples
    --------
    >>> from sklearn_influence.privacy import Release
    >>> round(Release(epsilon=1.0, delta=1e-5, bound=1e-8).sigma / 1e-8, 2)
    3.73
    """

    epsilon: float
    delta: float
    bound: float
    random_state: object = None

    def __post_init__(self):
        number_option("bound", self.bound, lowest=0.0, above=True)
        gaussian_sigma(self.epsilon, self.delta, self.bound)  # refuses what is no claim

    @property
    def sigma(self):
        """Standard deviation of the noise on each parameter."""
        return gaussian_sigma(self.epsilon, self.delta, self.bound)

    def params(self, objective, params):
        """What is published in place of ``params`` (n_params,): off the softmax gauge, with noise."""
        return gauge_free(objective, params) + gaussian_noise(objective, self.sigma, self.random_state)

    def certificate(self, certificate, n_params):
        """What the certificate of the optimum says of the published model.

        Raises
        ------
        ValueError
            Where the optimum is not certified to be within the bound: noise made for it would not hide the distance.
        """
        if not (certificate.valid and certificate.param_bound <= self.bound):
            raise ValueError(
                f"The model cannot be published: it is certified to be within {certificate.param_bound:.3g} of a "
                f"refit, and the noise is for bound={self.bound:g}. Allow more steps (max_iter), or start again with a "
                "larger bound for every model: one chosen by what a certificate says would tell of the rows."
            )
        reach = self.sigma * float(np.sqrt(chi2.isf(_LONGER, n_params)))
        claim = dict(epsilon=self.epsilon, delta=self.delta, sigma=self.sigma, bound=self.bound)
        certificate.update(param_bound=self.bound + reach, **claim)
        return certificate
