"""Small multilayer perceptrons, and refits of them that share no code with the package.

The objective is scikit-learn's own, by the gradient of its ``_backprop``; scipy minimises it.
"""

import warnings

import numpy as np
from scipy.optimize import root
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

SETTINGS = dict(hidden_layer_sizes=(3,), activation="tanh", solver="lbfgs", max_iter=5000, tol=1e-10, random_state=0)


def regression(n=60, q=1):
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X)[:n, [2, 3, 8]], scale(y)[:n]
    return X, y if q == 1 else np.stack([y, X @ [1.0, 0.5, -1.0]], axis=1)


def classification(n_classes=2):
    X, y = load_iris(return_X_y=True)
    first = 1 if n_classes == 2 else 0
    X, y = X[y >= first], y[y >= first]
    keep = np.random.RandomState(0).permutation(len(X))[:70]
    return scale(X[keep]), np.array(["setosa", "versicolor", "virginica"])[y[keep]]


def problems():
    """name -> (estimator, X, y): small, with one minimum nearby that is well curved."""
    return {
        "binary": (MLPClassifier(alpha=1.0, **SETTINGS), *classification()),
        "multinomial": (MLPClassifier(alpha=1.0, **SETTINGS), *classification(3)),
        "regression": (MLPRegressor(alpha=3.0, **SETTINGS), *regression()),
        "targets": (MLPRegressor(alpha=10.0, **SETTINGS), *regression(q=2)),
    }


def fitted(estimator, X, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(estimator).fit(X, y, sample_weight=sample_weight)


def gradient(model, X, y, sample_weight=None):
    """scikit-learn's gradient of the sum of losses and the penalty (p,), the weights first."""
    s = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if isinstance(model, MLPClassifier):
        target = model._label_binarizer.transform(y).astype(float)
    else:
        target = y.reshape(len(y), -1)
    widths = [W.shape[1] for W in model.coefs_]
    activations = [X, *[np.empty((len(X), width)) for width in widths]]
    deltas = [np.empty_like(one) for one in activations[1:]]
    coefs, intercepts = ([np.empty_like(one) for one in many] for many in (model.coefs_, model.intercepts_))
    model._backprop(X, target, s, activations, deltas, coefs, intercepts)
    return np.concatenate([one.ravel() for one in (*coefs, *intercepts)]) * s.sum()


def params_of(model):
    return np.concatenate([one.ravel() for one in (*model.coefs_, *model.intercepts_)])


def put(model, params):
    """Parameters (p,) into a fitted model's attributes."""
    for name in ("coefs_", "intercepts_"):
        many = []
        for one in getattr(model, name):
            many.append(params[: one.size].reshape(one.shape).copy())
            params = params[one.size :]
        setattr(model, name, many)
    return model


def refitted(model, params, X, y, sample_weight=None):
    """The minimum near parameters (p,) that scikit-learn's gradient vanishes at: parameters (p,)."""
    model = fitted(model, X[:9], y[:9]) if not hasattr(model, "coefs_") else model

    def residual(theta):
        return gradient(put(model, theta), X, y, sample_weight)

    # Flat directions (softmax's common shift) make the Jacobian singular, which least squares does not mind.
    found = root(residual, params, method="lm", options=dict(xtol=1e-14, ftol=1e-14, maxiter=20000))
    assert np.abs(found.fun).max() < 1e-7, np.abs(found.fun).max()
    return found.x


def raw_outputs(model, X):
    """Pre-activation outputs (m, q) of the last layer."""
    h = X
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        h = np.tanh(h @ W + b)
    return h @ model.coefs_[-1] + model.intercepts_[-1]
