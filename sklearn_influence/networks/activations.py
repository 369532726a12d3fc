"""Activations of hidden layers by scikit-learn's names, each with its derivative."""

import numpy as np
from scipy.special import expit


def _identity(z):
    return z, np.ones_like(z)


def _relu(z):
    return np.maximum(z, 0.0), (z > 0).astype(z.dtype)


def _tanh(z):
    h = np.tanh(z)
    return h, 1.0 - h**2


def _logistic(z):
    h = expit(z)
    return h, h * (1.0 - h)


# name -> function of z (m, k) that returns the activation and its derivative, both (m, k); relu's derivative at 0 is 0.
ACTIVATIONS = {"identity": _identity, "logistic": _logistic, "tanh": _tanh, "relu": _relu}

# name -> function of the activation and its derivative that returns the second one; relu's is 0, its kink left out.
SECOND_DERIVATIVES = {
    "identity": lambda h, slope: np.zeros_like(h),
    "logistic": lambda h, slope: slope * (1.0 - 2.0 * h),
    "tanh": lambda h, slope: -2.0 * h * slope,
    "relu": lambda h, slope: np.zeros_like(h),
}
