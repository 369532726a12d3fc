r"""What Gaussian noise hides: the exact profile of the Gaussian mechanism (Balle and Wang 2018, Theorem 8).

Two vectors at most the sensitivity apart, each published with noise N(0, sigma**2 I), are told apart by nobody better
than (epsilon, delta). The classical bound by a Gaussian's tail gives more noise, and nothing above epsilon = 1.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import erfcx, ndtr

from .._validation import check_tolerance
from ..solvers.steps import number_option

# For integrands that fall by 40 powers of e over the interval: exact to rounding.
_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(100)
_FALL = 40.0
_ROOT_TWO = math.sqrt(2.0)


def gaussian_delta(epsilon, sigma, sensitivity):
    r"""The smallest delta for which Gaussian noise gives (epsilon, delta)-indistinguishability.

    Parameters
    ----------
    epsilon : float
        At least 0, in nats.
    sigma : float
        Standard deviation of the noise on each coordinate, above 0.
    sensitivity : float
        How far the two means can be apart in the Euclidean norm, at least 0, in the unit of ``sigma``.

    Returns
    -------
    float
        In [0, 1], to about 12 digits; 0 for means that are the same.

    Raises
    ------
    TypeError, ValueError
        For what is no number, infinite or out of range.

    Notes
    -----
    With D the sensitivity, ``Phi(D / 2 sigma - epsilon sigma / D) - e^epsilon Phi(-D / 2 sigma - epsilon sigma / D)``.
    Source: Balle and Wang (2018), Theorem 8. The difference is never formed where it would cancel: by ``e^epsilon
    phi(b) = phi(a)``, a and b the two arguments, it is phi(a) times the difference of two Mills ratios, and that is the
    integral of ``exp(a t - t**2 / 2) (1 - exp(-D t / sigma))`` over t > 0.

    Examples
    --------
    >>> from sklearn_influence.privacy import gaussian_delta
    >>> round(gaussian_delta(1.0, sigma=4.0, sensitivity=1.0), 8)
    2.92e-06
    >>> gaussian_delta(1.0, sigma=4.0, sensitivity=0.0)
    0.0
    """
    epsilon = at_least_zero("epsilon", epsilon)
    sigma = float(number_option("sigma", sigma, lowest=0.0, above=True))
    sensitivity = at_least_zero("sensitivity", sensitivity)
    return math.exp(_log_delta(epsilon, sensitivity / sigma)) if sensitivity > 0 else 0.0


def gaussian_sigma(epsilon, delta, sensitivity):
    """The smallest standard deviation of Gaussian noise for (epsilon, delta)-indistinguishability.

    Parameters
    ----------
    epsilon : float
        At least 0.
    delta : float
        Between 0 and 1.
    sensitivity : float
        As in :func:`gaussian_delta`. For certified removal: the bound on the distance of the parameters, fixed before
        the request. A bound that is read off the certificate afterwards depends on the rows, and so would the noise.

    Returns
    -------
    float
        In the unit of ``sensitivity``, and proportional to it; ``gaussian_delta`` of it is at most ``delta``.

    Raises
    ------
    TypeError, ValueError
        For what is no number, infinite or out of range.

    Notes
    -----
    Source: Balle and Wang (2018), Algorithm 1. For epsilon = 1 and delta = 1e-5 it is .77 times the classical
    ``sqrt(2 log(1.25 / delta)) / epsilon``, which says nothing above epsilon = 1.

    Examples
    --------
    >>> from sklearn_influence.privacy import gaussian_sigma
    >>> round(gaussian_sigma(1.0, 1e-5, sensitivity=1.0), 6)
    3.730632
    """
    epsilon = at_least_zero("epsilon", epsilon)
    delta = check_tolerance("delta", delta)
    sensitivity = at_least_zero("sensitivity", sensitivity)
    if sensitivity == 0:
        return 0.0

    def excess(log_ratio):
        return _log_delta(epsilon, math.exp(log_ratio)) - math.log(delta)

    low = high = math.log1p(math.sqrt(epsilon))
    while excess(high) < 0:
        high += 1.0
    while excess(low) > 0:
        low -= 1.0
    sigma = sensitivity / math.exp(brentq(excess, low, high, xtol=1e-15, rtol=1e-15))
    return _nudged(sigma, lambda sigma: math.exp(_log_delta(epsilon, sensitivity / sigma)) <= delta, 1.0)


def gaussian_epsilon(delta, sigma, sensitivity):
    """The smallest epsilon for which Gaussian noise gives (epsilon, delta)-indistinguishability.

    Parameters
    ----------
    delta : float
        Between 0 and 1.
    sigma, sensitivity : float
        As in :func:`gaussian_delta`.

    Returns
    -------
    float
        In nats; 0 where the two cannot be told apart by more than ``delta`` at all.

    Raises
    ------
    TypeError, ValueError
        For what is no number, infinite or out of range.

    Notes
    -----
    Source: Balle and Wang (2018), Theorem 8, solved for epsilon.

    Examples
    --------
    >>> from sklearn_influence.privacy import gaussian_epsilon
    >>> round(gaussian_epsilon(1e-5, sigma=3.730632, sensitivity=1.0), 6)
    1.0
    """
    delta = check_tolerance("delta", delta)
    sigma = float(number_option("sigma", sigma, lowest=0.0, above=True))
    ratio = at_least_zero("sensitivity", sensitivity) / sigma

    def excess(epsilon):
        return _log_delta(epsilon, ratio) - math.log(delta)

    if ratio == 0 or excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2.0
    return _nudged(
        brentq(excess, 0.0, high, xtol=1e-18, rtol=1e-15),
        lambda epsilon: math.exp(_log_delta(epsilon, ratio)) <= delta,
        1.0,
    )


def gaussian_sensitivity(epsilon, delta, sigma):
    """The largest distance of two means that Gaussian noise hides to (epsilon, delta).

    Parameters
    ----------
    epsilon, delta, sigma : float
        As in :func:`gaussian_delta` and :func:`gaussian_sigma`.

    Returns
    -------
    float
        In the unit of ``sigma``; ``gaussian_delta`` of it is at most ``delta``.

    Raises
    ------
    TypeError, ValueError
        For what is no number, infinite or out of range.

    Notes
    -----
    Only the ratio of sigma and sensitivity counts, so that this is ``sigma / gaussian_sigma(epsilon, delta, 1)``.

    Examples
    --------
    >>> from sklearn_influence.privacy import gaussian_sensitivity
    >>> round(gaussian_sensitivity(1.0, 1e-5, sigma=3.730632), 6)
    1.0
    """
    sigma = float(number_option("sigma", sigma, lowest=0.0, above=True))
    distance = sigma / gaussian_sigma(epsilon, delta, 1.0)
    return _nudged(distance, lambda D: math.exp(_log_delta(float(epsilon), D / sigma)) <= delta, -1.0)


def _log_delta(epsilon, ratio):
    """The logarithm of the profile, for ``ratio`` = sensitivity / sigma above 0."""
    u = epsilon / ratio - 0.5 * ratio  # -a; b = -(u + ratio)
    reach = 2.0 * _FALL / (u + math.sqrt(u * u + 2.0 * _FALL))  # there exp(-u t - t**2 / 2) is e^-40
    if ratio * reach <= 1.0:  # two Mills ratios so close that their difference would lose digits
        t = 0.5 * reach * (_NODES + 1.0)
        integral = 0.5 * reach * float(_QUADRATURE_WEIGHTS @ (np.exp(-u * t - 0.5 * t * t) * -np.expm1(-ratio * t)))
        return -0.5 * u * u - 0.5 * math.log(2.0 * math.pi) + math.log(integral)
    if u >= 0:
        return -0.5 * u * u - math.log(2.0) + math.log(erfcx(u / _ROOT_TWO) - erfcx((u + ratio) / _ROOT_TWO))
    return math.log(ndtr(-u) - 0.5 * math.exp(-0.5 * u * u) * erfcx((u + ratio) / _ROOT_TWO))


def _nudged(value, holds, direction):
    """A root, moved by as few last digits as it takes to be on the side that holds."""
    start, step = value, 2.0**-52
    while not holds(value):
        value = start * (1.0 + direction * step)
        step *= 2.0
    return float(value)


def at_least_zero(name, value):
    return float(number_option(name, value, lowest=0.0))
