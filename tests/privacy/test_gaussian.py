"""The profile of the Gaussian mechanism against its formula in 600 digits, simulation and the classical bound."""

import math
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import norm

from sklearn_influence.privacy import gaussian_delta, gaussian_epsilon, gaussian_sensitivity, gaussian_sigma

EPSILONS = (0.0, 1e-6, 1e-3, 0.1, 1.0, 10.0, 100.0)
DELTAS = (1e-15, 1e-10, 1e-5, 0.01, 0.5)
DIGITS = 600
END = Decimal(10) ** -(DIGITS - 10)


@lru_cache
def pi():
    def arctan_of_inverse(x):
        term, total, k = 1 / Decimal(x), 1 / Decimal(x), 1
        while abs(term) > END:
            term, k = -term / (x * x), k + 2
            total += term / k
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))


def normal_cdf(x):
    """By its power series, whose cancellation the digits are there for."""
    term, total, k = x, x, 1
    while abs(term) > END:
        k += 2
        term = term * x * x / k
        total += term
    return Decimal("0.5") + total * (-x * x / 2).exp() / (2 * pi()).sqrt()


def theorem_8(epsilon, sigma, sensitivity):
    """Balle and Wang (2018), Theorem 8, as it stands there."""
    with localcontext() as context:
        context.prec = DIGITS
        e, s, D = Decimal(epsilon), Decimal(sigma), Decimal(sensitivity)
        return float(normal_cdf(D / (2 * s) - e * s / D) - e.exp() * normal_cdf(-D / (2 * s) - e * s / D))


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_sigma_is_the_smallest_by_theorem_8(epsilon):
    for delta in DELTAS:
        sigma = gaussian_sigma(epsilon, delta, 1.0)
        assert theorem_8(epsilon, sigma, 1.0) == pytest.approx(delta, rel=1e-12)
        assert gaussian_delta(epsilon, sigma, 1.0) <= delta
        assert gaussian_delta(epsilon, sigma * (1 - 1e-10), 1.0) > delta


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_delta_is_that_of_theorem_8(epsilon):
    """From differences that cancel to all but the last of 16 digits, to deltas of 1e-300."""
    for ratio in (1e-12, 1e-9, 1e-6, 1e-3, 0.03, 0.2, 1.0, 5.0, 20.0):
        if epsilon / ratio < 35:
            expected = theorem_8(epsilon, 1.0, ratio)
            assert gaussian_delta(epsilon, 1.0, ratio) == pytest.approx(expected, rel=1e-11)


def test_the_published_implementation_s_number():
    """What the code published with the paper gives for epsilon = 1, delta = 1e-5, sensitivity 1."""
    assert gaussian_sigma(1.0, 1e-5, 1.0) == pytest.approx(3.730632, abs=1e-6)


def test_without_epsilon_it_is_the_total_variation():
    for ratio in (1e-9, 0.1, 3.0):
        assert gaussian_delta(0.0, 1.0, ratio) == pytest.approx(1 - 2 * norm.sf(ratio / 2), rel=1e-7)


@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.05])
def test_the_classical_bound_is_above(delta):
    """Dwork and Roth (2014), Theorem A.1, for epsilon below 1."""
    for epsilon in (1e-3, 0.1, 0.99):
        classical = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
        assert gaussian_sigma(epsilon, delta, 1.0) < classical


def test_more_noise_or_epsilon_or_less_distance_means_less_delta():
    deltas = np.array([gaussian_delta(e, 2.0, 1.0) for e in np.linspace(0, 8, 40)])
    assert (np.diff(deltas) < 0).all()
    deltas = np.array([gaussian_delta(0.3, s, 1.0) for s in np.geomspace(0.2, 50, 60)])
    assert (np.diff(deltas) < 0).all()
    sigmas = np.array([gaussian_sigma(e, 1e-6, 1.0) for e in np.geomspace(1e-6, 100, 60)])
    assert (np.diff(sigmas) < 0).all()


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_there_and_back(epsilon):
    for delta in DELTAS:
        sigma = gaussian_sigma(epsilon, delta, 3.0)
        assert sigma == pytest.approx(3 * gaussian_sigma(epsilon, delta, 1.0), rel=1e-12)
        assert gaussian_epsilon(delta, sigma, 3.0) == pytest.approx(epsilon, rel=1e-9, abs=1e-15)
        distance = gaussian_sensitivity(epsilon, delta, sigma)
        assert distance == pytest.approx(3.0, rel=1e-12)
        assert gaussian_delta(epsilon, sigma, distance) <= delta


def test_simulated():
    """delta = E max(0, 1 - e^(epsilon - L)), L the log likelihood ratio of what is published (Balle and Wang)."""
    sigma, D = 0.8, 1.1
    x = D + sigma * np.random.default_rng(0).standard_normal(400_000)
    L = (x**2 - (x - D) ** 2) / (2 * sigma**2)
    for epsilon in (0.0, 0.5, 2.0):
        terms = np.maximum(0.0, -np.expm1(epsilon - L))
        error = terms.std() / np.sqrt(len(terms))
        assert abs(terms.mean() - gaussian_delta(epsilon, sigma, D)) < 4 * error


def test_nothing_to_hide():
    assert gaussian_delta(0.0, 1.0, 0.0) == gaussian_sigma(1.0, 1e-5, 0.0) == gaussian_epsilon(1e-5, 1.0, 0.0) == 0.0
    assert gaussian_epsilon(0.5, 1.0, 0.1) == 0.0


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: gaussian_sigma(-1.0, 0.1, 1.0), ValueError, "epsilon must be a finite number >= 0, got -1.0"),
        (lambda: gaussian_sigma("a", 0.1, 1.0), TypeError, "epsilon must be a number >= 0, got 'a'"),
        (lambda: gaussian_sigma(1.0, 0.0, 1.0), ValueError, "delta must be a number between 0 and 1, got 0.0"),
        (lambda: gaussian_sigma(1.0, 1.0, 1.0), ValueError, "delta must be a number between 0 and 1, got 1.0"),
        (lambda: gaussian_sigma(1.0, 0.1, np.inf), ValueError, "sensitivity must be a finite number >= 0, got inf"),
        (lambda: gaussian_sigma(np.nan, 0.1, 1.0), ValueError, "epsilon must be a finite number >= 0, got nan"),
        (lambda: gaussian_delta(1.0, 0.0, 1.0), ValueError, "sigma must be a finite number > 0, got 0.0"),
        (lambda: gaussian_epsilon(True, 1.0, 1.0), ValueError, "delta must be a number between 0 and 1, got True"),
        (lambda: gaussian_sensitivity(1.0, 0.1, -2.0), ValueError, "sigma must be a finite number > 0, got -2.0"),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
