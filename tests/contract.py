"""The families that the contract is held for, and their objective written out.

`Dense` has explicit Jacobians and shares no code with the package. Influence is always after removal minus before;
rows of results are test rows.
"""

from dataclasses import dataclass
from functools import lru_cache

import cases
import numpy as np
import pandas as pd
import pytest
import retraining
from scipy import sparse
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)

from sklearn_influence import InfluenceEstimator

METHODS = ("newton", "first_order")
SEVERAL_OUTPUTS = ("targets", "multinomial", "strings")
ROWS = [17, 3, 30, 8]  # in no order; both classes, or all three


@dataclass(frozen=True)
class Family:
    """An estimator, its data, the container that X is handed over in, and what the numbers can be held to."""

    estimator: object
    case: cases.Case
    container: object = np.asarray
    rtol: float = 1e-8
    representation: str = "auto"

    @property
    def squared(self):
        return not isinstance(self.estimator, LogisticRegression)

    @property
    def classifier(self):
        return hasattr(self.estimator, "class_weight")

    def pinned(self, fitted_estimator):
        """The estimator without a search of its own, at what the fitted one chose: what unlearn stands for."""
        if isinstance(fitted_estimator, RidgeCV):
            return Ridge(alpha=fitted_estimator.alpha_)
        if isinstance(fitted_estimator, RidgeClassifierCV):
            return RidgeClassifier(alpha=fitted_estimator.alpha_, class_weight=fitted_estimator.class_weight)
        if isinstance(fitted_estimator, LogisticRegressionCV):
            C = np.ravel(fitted_estimator.C_)[0]
            return LogisticRegression(C=C, class_weight=fitted_estimator.class_weight, **TIGHT)
        return self.estimator

    @property
    def counts_rows(self):
        """Balanced by numbers of rows: one of weight 0 counts like any other, in scikit-learn and so in its absence."""
        return self.balanced and self.squared

    @property
    def balanced(self):
        return getattr(self.estimator, "class_weight", None) == "balanced"

    def off_gauge(self, change):
        q = retraining.output_shape(self.estimator, self.case.y)
        penalised = not np.isinf(getattr(self.estimator, "C", 1.0))
        return retraining.gauge_free(change, 1 if self.squared else q, self.case.X.shape[1], penalised)

    def fit(self, keep=slice(None), estimator=None, sample_weight=None, **options):
        weight = self.case.sample_weight if sample_weight is None else sample_weight
        weight = None if weight is None else np.asarray(weight)[keep]
        options = {"representation": self.representation, **options}
        model = InfluenceEstimator(self.estimator if estimator is None else estimator, **options)
        return model.fit(self.container(self.case.X[keep]), self.case.y[keep], sample_weight=weight)

    @property
    def test(self):
        return self.container(self.case.X_test), self.case.y_test


def single_precision(case):
    """Rows that float32 holds exactly, so that the truth is the same in both precisions."""
    X, X_test = (part.astype(np.float32).astype(np.float64) for part in (case.X, case.X_test))
    return cases.replace(case, X=X, X_test=X_test)


LINE, TARGETS = cases.tiny_regression(), cases.tiny_regression(n_targets=3)
BINARY, THREE = cases.tiny_classification(), cases.tiny_classification(n_classes=3)
UNEQUAL = cases.replace(BINARY, y=np.where(np.arange(60) % 4 == 0, 0, BINARY.y))
TIGHT = dict(tol=1e-10, max_iter=10_000)
CV = dict(Cs=(0.1, 1.0), cv=3, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False, **TIGHT)
FAMILIES = {
    "ols": Family(LinearRegression(), LINE),
    "ols no intercept": Family(LinearRegression(fit_intercept=False), LINE),
    "ols targets": Family(LinearRegression(), TARGETS),
    "ridge": Family(Ridge(alpha=2.0), LINE),
    "ridge weighted": Family(Ridge(alpha=2.0), cases.weighted(LINE)),
    "ridge targets": Family(Ridge(alpha=np.array([0.1, 2.0, 50.0])), TARGETS),
    "ridge cv": Family(RidgeCV(alphas=(0.3, 3.0, 30.0)), LINE),
    "ridge csr": Family(Ridge(alpha=2.0, solver="sparse_cg", tol=1e-12), LINE, sparse.csr_matrix),
    "ridge float32": Family(Ridge(alpha=2.0), single_precision(LINE), lambda X: X.astype(np.float32), 3e-4),
    "ridge dual": Family(Ridge(alpha=2.0), LINE, representation="dual"),
    "ridge targets dual": Family(Ridge(alpha=np.array([0.1, 2.0, 50.0])), TARGETS, representation="dual"),
    "ridge csr dual": Family(
        Ridge(alpha=2.0, solver="sparse_cg", tol=1e-12), LINE, sparse.csr_matrix, representation="dual"
    ),
    "classifier": Family(RidgeClassifier(alpha=2.0), BINARY),
    "classifier balanced": Family(RidgeClassifier(alpha=2.0, class_weight="balanced"), cases.weighted(UNEQUAL)),
    "classifier multinomial": Family(
        RidgeClassifier(class_weight={"class z": 2.0, "class x": 0.5}), cases.string_labels(THREE)
    ),
    "classifier multinomial balanced": Family(RidgeClassifier(class_weight="balanced"), THREE),
    "classifier multinomial cv": Family(RidgeClassifierCV(alphas=(0.3, 3.0)), THREE),
    "binary": Family(LogisticRegression(**TIGHT), BINARY),
    "binary cv": Family(LogisticRegressionCV(**CV), BINARY),
    "multinomial cv": Family(LogisticRegressionCV(**CV), THREE),
    "binary dual": Family(LogisticRegression(**TIGHT), cases.weighted(BINARY), representation="dual"),
    "multinomial dual": Family(LogisticRegression(**TIGHT), THREE, representation="dual"),
    "balanced dual": Family(LogisticRegression(class_weight="balanced", **TIGHT), UNEQUAL, representation="dual"),
    "liblinear dual": Family(LogisticRegression(solver="liblinear", **TIGHT), BINARY, representation="dual"),
    "multinomial csr dual": Family(
        LogisticRegression(fit_intercept=False, **TIGHT), THREE, sparse.csr_array, representation="dual"
    ),
    "multinomial": Family(LogisticRegression(**TIGHT), THREE),
    "liblinear": Family(LogisticRegression(solver="liblinear", intercept_scaling=2.0, **TIGHT), BINARY),
    "liblinear no intercept": Family(LogisticRegression(solver="liblinear", fit_intercept=False, **TIGHT), BINARY),
    "no intercept": Family(LogisticRegression(fit_intercept=False, **TIGHT), BINARY),
    "multinomial no intercept": Family(LogisticRegression(fit_intercept=False, **TIGHT), THREE),
    "unpenalised": Family(LogisticRegression(C=np.inf, **TIGHT), BINARY),
    "multinomial unpenalised": Family(LogisticRegression(C=np.inf, **TIGHT), THREE, rtol=1e-7),
    "balanced": Family(LogisticRegression(class_weight="balanced", **TIGHT), UNEQUAL),
    "balanced weighted": Family(LogisticRegression(class_weight="balanced", **TIGHT), cases.weighted(UNEQUAL)),
    "multinomial balanced": Family(LogisticRegression(class_weight="balanced", **TIGHT), THREE),
    "weighted": Family(LogisticRegression(**TIGHT), cases.weighted(BINARY)),
    "multinomial weighted": Family(LogisticRegression(class_weight={0: 3.0, 2: 0.5}, **TIGHT), cases.weighted(THREE)),
    "strings": Family(LogisticRegression(**TIGHT), cases.string_labels(THREE)),
    "float32": Family(LogisticRegression(**TIGHT), single_precision(BINARY), lambda X: X.astype(np.float32), 3e-4),
    "csr": Family(LogisticRegression(**TIGHT), BINARY, sparse.csr_matrix),
    "multinomial csr": Family(LogisticRegression(**TIGHT), THREE, sparse.csr_array),
    "frame": Family(LogisticRegression(**TIGHT), BINARY, lambda X: pd.DataFrame(X, columns=list("dcba"))),
}
every_family = pytest.mark.parametrize("name", FAMILIES)
both_methods = pytest.mark.parametrize("method", METHODS)


@lru_cache
def fitted(name, method="newton"):
    """A fitted model to ask, never to edit."""
    return FAMILIES[name].fit(method=method)


class Dense:
    """``sum s loss + 1/2 theta' P theta`` of a fitted model's own data, at its parameters."""

    def __init__(self, name, keep=None):
        family, model = FAMILIES[name], fitted(name)
        case, self.squared, fitted_estimator = family.case, family.squared, model.estimator_
        self.theta = model.params_
        self.labels = np.unique(case.y) if family.classifier else None
        self.q = retraining.output_shape(family.estimator, case.y)
        self.s = retraining.effective_weights(fitted_estimator, case.y, case.sample_weight, keep)
        coef, intercept = retraining.penalties(fitted_estimator)
        self.intercept = fitted_estimator.fit_intercept
        coef = np.repeat(np.broadcast_to(coef, self.q), case.X.shape[1])
        self.penalty = np.append(coef, np.full(self.q * self.intercept, intercept))
        self.J, self.y = self.jacobian(case.X), self.encode(case.y)

    def encode(self, y):
        if self.squared and self.labels is not None:
            return np.where(np.reshape(y, (-1, 1)) == self.labels[-self.q :], 1.0, -1.0)
        return np.reshape(y, (-1, self.q)) if self.squared else np.searchsorted(self.labels, y)

    def jacobian(self, X):
        """(n, q, p) derivative of the outputs, by the layout coef_.ravel(), then intercept_.ravel()."""
        n, d = X.shape
        J = np.zeros((n, self.q, self.q * d + self.q * self.intercept))
        for c in range(self.q):
            J[:, c, c * d : (c + 1) * d] = X
            J[:, c, self.q * d + c :][:, : int(self.intercept)] = 1
        return J

    def outputs(self, J=None, theta=None):
        return (self.J if J is None else J) @ (self.theta if theta is None else theta)

    def proba(self, f):
        f = np.c_[np.zeros(len(f)), f] if self.q == 1 else f
        e = np.exp(f - f.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def loss(self, y, f):
        if self.squared:
            return ((y - f) ** 2).sum(axis=1) / 2
        return -np.log(self.proba(f)[np.arange(len(y)), y])

    def slope(self, y, f):
        """u (n, q)."""
        if self.squared:
            return f - y
        return (self.proba(f) - np.eye(len(self.labels))[y])[:, -self.q :]

    def bend(self, f):
        """W (n, q, q)."""
        if self.squared:
            return np.broadcast_to(np.eye(self.q), (len(f), self.q, self.q))
        p = self.proba(f)[:, -self.q :]
        return p[:, :, None] * np.eye(self.q) - p[:, :, None] * p[:, None, :]

    def gradient(self, theta, s=None):
        u = self.slope(self.y, self.outputs(theta=theta))
        return np.einsum("n,nqp,nq->p", self.s if s is None else s, self.J, u) + self.penalty * theta

    def hessian(self, s=None):
        W = self.bend(self.outputs())
        return np.einsum("n,nqp,nqr,nrt->pt", self.s if s is None else s, self.J, W, self.J) + np.diag(self.penalty)

    def solve(self, H, B):
        """The smallest-norm solution: rank falls along softmax's common shift alone."""
        return np.linalg.pinv(H, rcond=1e-11, hermitian=True) @ B

    def without(self, name, rows):
        """Weights of a refit without some rows."""
        keep = np.ones(len(self.s), dtype=bool)
        keep[rows] = False
        return Dense(name, keep).s

    def removal(self, name, row, method):
        """Parameter change by the formulas of the contract: at the new weights, in the curvature of newton too."""
        new = self.without(name, [row])
        pull = -self.gradient(self.theta, new) + self.gradient(self.theta)
        return self.solve(self.hessian(self.s if method == "first_order" else new), pull)


@lru_cache
def dense(name):
    return Dense(name)


def close(actual, desired, rtol, scale=None):
    """Equal relative to the largest number of the desired array."""
    scale = np.abs(desired).max() if scale is None else scale
    np.testing.assert_allclose(actual, desired, rtol=0, atol=rtol * max(float(scale), 1e-300))
