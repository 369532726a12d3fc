"""Activations of hidden layers by scikit-learn's names, each with its first and second derivative."""

import numpy as np
from scipy.special import expit


def _identity(z, corner=0.0):
    return z, np.ones_like(z)


def _relu(z, corner=0.0):
    if not corner:
        return np.maximum(z, 0.0), (z > 0).astype(z.dtype)
    slope = np.clip((z + corner) / (2 * corner), 0.0, 1.0)
    return np.where(z < corner, corner * slope**2, z), slope


def _tanh(z, corner=0.0):
    h = np.tanh(z)
    return h, 1.0 - h**2


def _logistic(z, corner=0.0):
    h = expit(z)
    return h, h * (1.0 - h)


# name -> function of z (m, k) and the corner that returns the activation and its derivative, both (m, k). Relu's corner
# is a parabola on |z| < corner, which meets both lines with their slopes; at corner 0 its derivative at 0 is 0.
ACTIVATIONS = {"identity": _identity, "logistic": _logistic, "tanh": _tanh, "relu": _relu}


def _relu_bend(h, slope, corner=0.0):
    return ((slope > 0) & (slope < 1)) / (2 * corner) if corner else np.zeros_like(h)


# name -> function of the activation, its derivative (m, k) and the corner that returns the second one; relu's kink,
# where it is not rounded, is left out.
SECOND_DERIVATIVES = {
    "identity": lambda h, slope, corner=0.0: np.zeros_like(h),
    "logistic": lambda h, slope, corner=0.0: slope * (1.0 - 2.0 * h),
    "tanh": lambda h, slope, corner=0.0: -2.0 * h * slope,
    "relu": _relu_bend,
}
