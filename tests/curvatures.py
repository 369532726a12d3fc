"""Small curvatures of every structure: one output, several that share weights or do not, classes that mix."""

import numpy as np

from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian, MixedWeights
from sklearn_influence.fisher import EmpiricalFisher
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


def fisher(kind="single", **options):
    """An empirical Fisher matrix with the Hessian of the same rows as its truth; softmax's slopes sum to 0 in a row."""
    truth = hessian(kind, **options)
    slopes = np.random.default_rng(7).standard_normal((truth.design.n_rows, truth.n_outputs))
    if kind == "softmax":
        slopes -= slopes.mean(axis=1, keepdims=True)
    return EmpiricalFisher(
        truth.design,
        slopes,
        truth.penalty,
        coupled=truth.coupled,
        truth=truth,
        shift_invariant=truth.shift_invariant,
    )


def fisher_matrix(F):
    """``sum g g' + diag(penalty)``, without the terms between outputs that do not mix."""
    X = F.design.X.toarray() if F.design.is_sparse else F.design.X
    d, q = X.shape[1], F.n_outputs
    out = np.zeros((q * F.design.width,) * 2)
    output = np.concatenate([np.repeat(np.arange(q), d), np.arange(q * F.design.fit_intercept)])
    for x, u in zip(X, F.slopes, strict=True):
        g = np.concatenate([np.outer(u, x).ravel(), u[: q * F.design.fit_intercept]])
        out += np.outer(g, g)
    if not F.coupled:
        out *= output[:, None] == output
    penalty = [F.penalty[:, :d].ravel(), F.penalty[:, d:].ravel()]
    return out + np.diag(np.concatenate(penalty))
