"""Small curvatures of every structure: one output, several that share weights or do not, classes that mix."""

import numpy as np

from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian, MixedWeights
from sklearn_influence.losses import Softmax

KINDS = ["single", "shared", "separate", "softmax"]


def hessian(kind="single", *, n=80, d=4, penalty=1.0, intercept=True, units=1.0, seed=0, make=lambda X: X):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((n, d)) + 2.0) * units
    q = 1 if kind == "single" else 3
    penalties = np.full((q, d + intercept), penalty)
    if intercept:
        penalties[:, -1] = 0.0
    if kind == "softmax":
        weights = MixedWeights(*Softmax().curvature_factors(None, rng.standard_normal((n, q))))
    else:
        weights = rng.random((n, q if kind == "separate" else 1)) + 0.1
    return Hessian(Design(make(X), intercept), weights, penalties, shift_invariant=kind == "softmax")


def dense(H):
    return H.matmat(np.eye(H.shape[0]))


def sides(H, k=3, seed=1):
    """Right-hand sides in the range of H, of the size that its units give gradients."""
    return dense(H) @ (np.random.default_rng(seed).standard_normal((H.shape[0], k)) / np.sqrt(H.diagonal())[:, None])
