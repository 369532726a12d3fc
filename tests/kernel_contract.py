"""The kernel families that the contract is held for, real refits of them, and Newton's step in alpha space written out.

`Written` is dense and shares no code with the package. Influence is after removal minus before.
"""

from dataclasses import dataclass
from functools import lru_cache

import cases
import numpy as np
import pytest
import retraining
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels, rbf_kernel

from sklearn_influence import InfluenceEstimator
from sklearn_influence.kernel_models import KernelLogisticRegression
from sklearn_influence.kernels import NeuralTangentKernel

ROWS = [17, 3, 30, 8]  # in no order; both classes, or all three


@dataclass(frozen=True)
class Family:
    """A kernel estimator, its data, the container of X, what the numbers can be held to, and whether it is wrapped."""

    estimator: object
    case: cases.Case
    container: object = np.asarray
    rtol: float = 1e-9
    wrapped: bool = True

    @property
    def precomputed(self):
        return getattr(self.estimator, "kernel", None) == "precomputed"

    @property
    def squared(self):
        return not isinstance(self.estimator, KernelLogisticRegression)

    @property
    def is_gp(self):
        return isinstance(self.estimator, GaussianProcessRegressor)

    @property
    def centred(self):
        return bool(getattr(self.estimator, "normalize_y", False))

    @property
    def mean(self):
        return getattr(self.estimator, "penalty_scale", "sum") == "mean"

    @property
    def balanced(self):
        return getattr(self.estimator, "class_weight", None) == "balanced"

    @property
    def n(self):
        return len(self.case.y)

    @property
    def q(self):
        if self.squared:
            return 1 if self.case.y.ndim == 1 else self.case.y.shape[1]
        labels = len(np.unique(self.case.y))
        return 1 if labels == 2 else labels

    def rows(self, keep):
        X = self.case.X
        return self.container(X[np.ix_(keep, keep)] if self.precomputed else X[keep])

    def test_rows(self, keep=slice(None)):
        return self.container(self.case.X_test[:, keep] if self.precomputed else self.case.X_test)

    def weight(self, keep=slice(None)):
        return None if self.case.sample_weight is None else self.case.sample_weight[keep]

    def fit(self, **options):
        """The model that is asked: the estimator in InfluenceEstimator, or by itself."""
        model = InfluenceEstimator(self.estimator, **options) if self.wrapped else clone(self.estimator)
        if not self.wrapped:
            for name, value in options.items():
                setattr(model, name, value)
        args = {} if self.is_gp else {"sample_weight": self.weight()}
        return model.fit(self.rows(np.arange(self.n)), self.case.y, **args)

    def refit(self, keep=None, X=None, y=None):
        """scikit-learn's own refit on some rows, or on other rows in their place; searches are not repeated."""
        keep = np.arange(self.n) if keep is None else keep
        estimator, y = clone(self.estimator), (self.case.y if y is None else y)[keep]
        if self.is_gp:
            kernel = fitted_kernel(self) if estimator.optimizer is not None else estimator.kernel
            alpha = estimator.alpha if np.ndim(estimator.alpha) == 0 else estimator.alpha[keep]
            estimator.set_params(kernel=kernel, optimizer=None, alpha=alpha)
        if self.mean:
            s = self.effective()
            estimator.set_params(alpha=estimator.alpha * self.effective(keep)[keep].sum() / s.sum())
        if not self.squared:
            estimator.set_params(tol=1e-13)
        rows = self.rows(keep) if X is None else self.container(X[keep])
        args = {} if self.is_gp else {"sample_weight": self.weight(keep)}
        return estimator.fit(rows, y, **args)

    def effective(self, keep=None):
        """Weights of all rows, those that are not kept at 0."""
        mask = None
        if keep is not None:
            mask = np.zeros(self.n, dtype=bool)
            mask[keep] = True
        return retraining.effective_weights(self.estimator, self.case.y, self.case.sample_weight, mask)

    def raw(self, estimator, keep=slice(None), X=None):
        """Outputs (m, q) of a refit."""
        X = self.test_rows(keep) if X is None else X
        f = estimator.predict(X) if self.squared else estimator.decision_function(X)
        return f.reshape(len(f), -1)

    def params(self, estimator, keep):
        """Parameters (p,) of a refit, by the rows of the first fit: 0 for those that it has not."""
        coef = np.zeros((self.n, self.q))
        if self.is_gp:
            coef[keep] = estimator.alpha_.reshape(len(keep), -1) * np.ravel(estimator._y_train_std)
        else:
            coef[keep] = estimator.dual_coef_.reshape(len(keep), -1)
        return np.append(coef, estimator._y_train_mean) if self.centred else coef.ravel()

    def losses(self, f, y):
        """(m,) or (m, k) for outputs (m, q) or (m, q, k)."""
        if self.squared:
            y = y.reshape(len(y), -1)
            return ((f - (y if f.ndim == 2 else y[:, :, None])) ** 2).sum(axis=1) / 2
        codes = np.searchsorted(np.unique(self.case.y), y)
        if self.q == 1:
            sign = np.where(codes == 1, 1.0, -1.0).reshape(-1, *[1] * (f.ndim - 2))
            return np.logaddexp(0.0, -sign * f[:, 0])
        top = f.max(axis=1, keepdims=True)
        return np.log(np.exp(f - top).sum(axis=1)) + top[:, 0] - f[np.arange(len(f)), codes]


def without(family, rows):
    return np.delete(np.arange(family.n), rows)


@lru_cache
def fitted_kernel(family):
    return clone(family.estimator).fit(family.case.X, family.case.y).kernel_


class Written:
    """``(W K + rho) a = W (f - f0) - s u`` by dense matrices, for a model fitted to its optimum."""

    def __init__(self, family):
        self.family, case = family, family.case
        self.best, self.s, self.q = family.refit(), family.effective(), family.q
        n, estimator = family.n, family.estimator
        if family.is_gp:
            self.K, self.K_test = self.best.kernel_(case.X, case.X), self.best.kernel_(case.X_test, case.X)
            noise = np.diag(self.best.kernel_(case.X) - self.K) + estimator.alpha
            self.rho, self.s = np.full(self.q, noise.mean()), noise.mean() / noise
            self.f0 = np.broadcast_to(self.best._y_train_mean, self.q).astype(float)
        else:
            self.rho = np.broadcast_to(np.asarray(estimator.alpha, dtype=float), self.q)
            self.f0 = np.zeros(self.q)
            self.K, self.K_test = (self._kernel(X) for X in (case.X, case.X_test))
        self.a = family.params(self.best, np.arange(n))[: n * self.q].reshape(n, self.q)
        self.f = self.f0 + self.K @ self.a
        self.y = case.y.reshape(n, -1) if family.squared else np.searchsorted(np.unique(case.y), case.y)

    def _kernel(self, X):
        estimator = self.family.estimator
        if self.family.precomputed:
            return X
        given = {name: getattr(estimator, name) for name in ("gamma", "degree", "coef0")}
        given = estimator.kernel_params or {} if callable(estimator.kernel) else given
        known = isinstance(estimator.kernel, str)
        return pairwise_kernels(X, self.family.case.X, metric=estimator.kernel, filter_params=known, **given)

    def slopes(self):
        """u (n, q) and W (n, q, q), without weights."""
        if self.family.squared:
            return self.f - self.y, np.broadcast_to(np.eye(self.q), (self.family.n, self.q, self.q))
        if self.q == 1:
            p = expit(self.f[:, 0])
            return (p - self.y)[:, None], (p * (1 - p))[:, None, None]
        p = softmax(self.f, axis=1)
        return p - np.eye(self.q)[self.y], p[:, :, None] * np.eye(self.q) - p[:, :, None] * p[:, None, :]

    def system(self, s, rho):
        W = s[:, None, None] * self.slopes()[1]
        n, q = self.family.n, self.q
        A = np.einsum("ipo,ij->ipjo", W, self.K).reshape(n * q, n * q)
        return A + np.diag(np.tile(rho, n)), W

    def removal(self, rows, method):
        """Changes of the parameters (p,) and of the outputs (m, q); to first order those of each row, added up."""
        if method == "first_order" and len(rows) > 1:
            each = [self.removal([row], method) for row in rows]
            return sum(step[0] for step in each), sum(step[1] for step in each)
        family, n, q = self.family, self.family.n, self.q
        s = self.s.copy()
        s[rows] = 0.0
        if not family.is_gp:
            s = family.effective(without(family, rows))
        rho = self.rho * (s.sum() / self.s.sum() if family.mean else 1.0)
        f0 = self.y[without(family, rows)].mean(axis=0) if family.centred else self.f0
        if method == "newton":
            A, W = self.system(s, rho)
            right = np.einsum("npo,no->np", W, self.f - f0) - s[:, None] * self.slopes()[0]
            delta = np.linalg.solve(A, right.ravel()).reshape(n, q) - self.a
        else:
            A, W = self.system(self.s, self.rho)
            right = (self.s - s)[:, None] * self.slopes()[0] + (self.rho - rho) * self.a - W @ (f0 - self.f0)
            delta = np.linalg.solve(A, right.ravel()).reshape(n, q)
        params = np.append(delta, f0 - self.f0) if family.centred else delta.ravel()
        return params, self.K_test @ delta + (f0 - self.f0)


def _alike(x, z, c=1.0):
    return np.exp(-c * ((x - z) ** 2).sum())


def _precomputed(case):
    return cases.replace(case, X=rbf_kernel(case.X, gamma=0.3), X_test=rbf_kernel(case.X_test, case.X, gamma=0.3))


def _zeros(case):
    weight = cases.weighted(case).sample_weight.copy()
    weight[[3, 11]] = 0.0  # one of them is asked about
    return cases.replace(case, sample_weight=weight)


def _single(case):
    X, X_test = (part.astype(np.float32).astype(np.float64) for part in (case.X, case.X_test))
    return cases.replace(case, X=X, X_test=X_test)


N = 44
LINE, TARGETS = cases.tiny_regression(N), cases.tiny_regression(N, n_targets=3)
BINARY, THREE = cases.tiny_classification(N), cases.tiny_classification(N, n_classes=3)
UNEQUAL = cases.replace(BINARY, y=np.where(np.arange(N) % 4 == 0, 0, BINARY.y))
SMOOTH = ConstantKernel(2.0) * RBF(1.5)
NOISE = np.random.default_rng(0).uniform(0.05, 0.5, N)
GP = GaussianProcessRegressor
KLR = KernelLogisticRegression
FAMILIES = {
    "ridge rbf": Family(KernelRidge(0.3, kernel="rbf", gamma=0.3), LINE),
    "ridge poly targets": Family(KernelRidge(np.array([0.1, 2.0, 50.0]), kernel="poly", degree=2), TARGETS),
    "ridge targets": Family(KernelRidge(0.5, kernel="laplacian"), TARGETS),
    "ridge linear weighted": Family(KernelRidge(2.0), _zeros(LINE)),
    "ridge callable": Family(KernelRidge(0.3, kernel=_alike, kernel_params={"c": 0.4}), _zeros(LINE)),
    "ridge precomputed": Family(KernelRidge(0.3, kernel="precomputed"), _zeros(_precomputed(LINE))),
    "ridge ntk": Family(KernelRidge(0.3, kernel=NeuralTangentKernel(2)), TARGETS),
    "ridge float32": Family(
        KernelRidge(1.0, kernel="rbf", gamma=0.3), _single(LINE), lambda X: X.astype(np.float32), 3e-4
    ),
    "ridge csr": Family(KernelRidge(0.3, kernel="rbf", gamma=0.3), LINE, sparse.csr_matrix),
    "gp": Family(GP(SMOOTH, alpha=0.1, optimizer=None), LINE),
    "gp normalised targets": Family(GP(SMOOTH, alpha=0.1, optimizer=None, normalize_y=True), TARGETS),
    "gp white": Family(GP(SMOOTH + WhiteKernel(0.2), alpha=1e-3, optimizer=None), TARGETS),
    "gp noise": Family(GP(SMOOTH, alpha=NOISE, optimizer=None, normalize_y=True), LINE),
    "gp optimised": Family(GP(SMOOTH + WhiteKernel(0.2), normalize_y=True), LINE),
    "binary": Family(KLR(0.3, gamma=0.3), BINARY),
    "binary itself": Family(KLR(0.3, gamma=0.3), BINARY, wrapped=False),
    "binary mean": Family(KLR(0.3, gamma=0.3, penalty_scale="mean"), BINARY),
    "binary balanced": Family(KLR(0.3, gamma=0.3, class_weight="balanced"), UNEQUAL, wrapped=False),
    "binary precomputed": Family(KLR(0.3, kernel="precomputed"), _zeros(_precomputed(BINARY)), wrapped=False),
    "softmax": Family(KLR(0.5, gamma=0.3), THREE),
    "softmax weighted": Family(KLR(0.5, gamma=0.3, class_weight={0: 3.0, 2: 0.5}), _zeros(THREE), wrapped=False),
    "softmax balanced": Family(KLR(0.5, gamma=0.3, class_weight="balanced"), THREE),
    "softmax mean": Family(KLR(0.5, gamma=0.3, penalty_scale="mean"), THREE, wrapped=False),
    "binary mean balanced": Family(KLR(0.3, gamma=0.3, penalty_scale="mean", class_weight="balanced"), UNEQUAL),
    "softmax csr": Family(KLR(0.5, gamma=0.3), cases.string_labels(THREE), sparse.csr_array),
}
SQUARED = [name for name, family in FAMILIES.items() if family.squared]
LOGISTIC = [name for name, family in FAMILIES.items() if not family.squared]
every_family = pytest.mark.parametrize("name", FAMILIES)


@lru_cache
def fitted(name, method="newton", solver="auto"):
    """A fitted model to ask, never to edit."""
    return FAMILIES[name].fit(method=method, solver=solver)


@lru_cache
def written(name):
    return Written(FAMILIES[name])


@lru_cache
def refitted(name, row):
    """The refit without a row, or with all for -1."""
    keep = without(FAMILIES[name], [row] if row >= 0 else [])
    return FAMILIES[name].refit(keep), keep


def close(actual, desired, rtol, scale=None):
    """Equal relative to the largest number of the desired array, or to a scale."""
    scale = np.abs(desired).max() if scale is None else scale
    np.testing.assert_allclose(actual, desired, rtol=0, atol=rtol * max(float(scale), 1e-300))
