"""The linearised networks that the contract is held for, and their objective written out by explicit Jacobians.

`Expanded` is dense and shares no code with the package but the network's own Jacobian, which is held to finite
differences elsewhere. Influence is after removal minus before.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cases
import numpy as np
import pytest
import retraining
from contract import Dense
from scipy import sparse
from sklearn.base import clone

from sklearn_influence import InfluenceEstimator, LinearisedClassifier, LinearisedRegressor

ROWS = [17, 3, 30, 8]  # in no order; both classes, or all three
N = 44


@dataclass(frozen=True)
class Linearised:
    """An estimator, its data, the container of X, and whether it is wrapped."""

    estimator: object
    case: cases.Case
    container: object = np.asarray
    wrapped: bool = False

    @property
    def mean(self):
        return self.estimator.penalty_scale == "mean"

    @property
    def squared(self):
        return getattr(self.estimator, "loss", "squared_error") == "squared_error"

    @property
    def balanced(self):
        return getattr(self.estimator, "class_weight", None) == "balanced"

    def fit(self, representation="auto", keep=slice(None), **options):
        """The model that is asked: the estimator in InfluenceEstimator, or by itself."""
        estimator = clone(self.estimator).set_params(representation=representation)
        model = InfluenceEstimator(estimator, **options) if self.wrapped else estimator
        if not self.wrapped:
            for name, value in options.items():
                setattr(model, name, value)
        weight = None if self.case.sample_weight is None else self.case.sample_weight[keep]
        return model.fit(self.container(self.case.X[keep]), self.case.y[keep], sample_weight=weight)

    @property
    def test(self):
        return self.container(self.case.X_test), self.case.y_test


class Expanded(Dense):
    """``sum s loss(y, f0 + J theta) + alpha/2 |theta|**2`` of some data, at its optimum or elsewhere."""

    def __init__(self, family, case=None):
        case = family.case if case is None else case
        self.family, self.case, self.squared = family, case, family.squared
        self.network = one_fit(family).network_
        self.labels = np.unique(family.case.y) if hasattr(family.estimator, "loss") else None
        self.q = self.network.n_outputs
        self.J, self.f0, self.y = self.network.jacobian(case.X), self.network.outputs(case.X), self.encode(case.y)
        self.total = retraining.effective_weights(family.estimator, family.case.y, family.case.sample_weight).sum()
        self.weigh()
        self.theta = np.zeros(self.network.n_params)
        self.theta = self.minimum()

    def weights(self, keep=None):
        mask = None if keep is None else np.isin(np.arange(len(self.case.y)), keep)
        return retraining.effective_weights(self.family.estimator, self.case.y, self.case.sample_weight, mask)

    def weigh(self, keep=None):
        """Take on the weights and the penalty of a refit on some rows."""
        self.s = self.weights(keep)
        share = self.s.sum() / self.total if self.family.mean else 1.0
        self.penalty = np.full(self.network.n_params, self.family.estimator.alpha * share)

    def outputs(self, J=None, theta=None):
        return self.f0 + self.J @ (self.theta if theta is None else theta)

    def outputs_of(self, X, theta):
        return self.network.outputs(X) + self.network.jacobian(X) @ theta

    def hessian(self):
        WJ = (self.s[:, None, None] * self.bend(self.outputs())) @ self.J
        return self.J.reshape(-1, self.J.shape[2]).T @ WJ.reshape(-1, self.J.shape[2]) + np.diag(self.penalty)

    def gradient(self, theta):
        u = self.s[:, None] * self.slope(self.y, self.outputs(theta=theta))
        return u.ravel() @ self.J.reshape(u.size, -1) + self.penalty * theta

    def value(self, theta):
        return self.s @ self.loss(self.y, self.outputs(theta=theta)) + 0.5 * self.penalty @ theta**2

    def minimum(self, keep=None):
        """theta of a refit on some rows, by Newton's method in theta."""
        held = self.theta, self.s, self.penalty
        self.weigh(keep)
        for _ in range(1 if self.squared else 50):
            step, before = np.linalg.solve(self.hessian(), self.gradient(self.theta)), self.value(self.theta)
            length = 1.0
            while not self.squared and self.value(self.theta - length * step) > before * (1 + 1e-12) and length > 1e-3:
                length /= 2
            self.theta = self.theta - length * step
            if np.linalg.norm(step) < 1e-14 * np.linalg.norm(self.theta):
                break
        found, (self.theta, self.s, self.penalty) = self.theta, held
        return found

    def step(self, rows, method):
        """Change of theta when rows leave together; to first order those of each row, added up."""
        if method == "first_order" and len(rows) > 1:
            return sum(self.step([row], method) for row in rows)
        held = self.s, self.penalty
        H, before = self.hessian(), self.gradient(self.theta)
        self.weigh(np.delete(np.arange(len(self.s)), rows))
        pull = before - self.gradient(self.theta)
        H = H if method == "first_order" else self.hessian()
        self.s, self.penalty = held
        return np.linalg.solve(H, pull)


def zeros(case):
    weight = cases.weighted(case).sample_weight.copy()
    weight[[3, 11]] = 0.0  # one of them is asked about
    return cases.replace(case, sample_weight=weight)


def single_precision(case):
    """Rows that float32 holds exactly, so that the truth is the same in both precisions."""
    X, X_test = (part.astype(np.float32).astype(np.float64) for part in (case.X, case.X_test))
    return cases.replace(case, X=X, X_test=X_test)


def _given(sizes, seed=0):
    """Weights and biases as those of scikit-learn's networks are."""
    rng = np.random.default_rng(seed)
    shapes = list(pairwise(sizes))
    return [rng.normal(size=s) / np.sqrt(s[0]) for s in shapes], [0.3 * rng.normal(size=s[1]) for s in shapes]


LINE, TARGETS = cases.tiny_regression(N), cases.tiny_regression(N, n_targets=3)
BINARY, THREE = cases.tiny_classification(N), cases.tiny_classification(N, n_classes=3)
UNEQUAL = cases.replace(BINARY, y=np.where(np.arange(N) % 4 == 0, 0, BINARY.y))
SEED = dict(random_state=0)
FAMILIES = {
    "line": Linearised(LinearisedRegressor(6, alpha=0.5, **SEED), LINE, wrapped=True),
    "targets": Linearised(LinearisedRegressor((4, 3), "tanh", alpha=0.5, sigma_b=0.5, **SEED), zeros(TARGETS)),
    "line mean": Linearised(LinearisedRegressor(5, alpha=0.5, penalty_scale="mean", **SEED), LINE),
    "squared binary": Linearised(
        LinearisedClassifier(5, "logistic", alpha=0.2, loss="squared_error", **SEED), cases.string_labels(BINARY)
    ),
    "squared classes": Linearised(
        LinearisedClassifier(5, alpha=0.2, loss="squared_error", class_weight="balanced", **SEED),
        THREE,
        wrapped=True,
    ),
    "binary balanced": Linearised(LinearisedClassifier(5, "tanh", alpha=3.0, class_weight="balanced", **SEED), UNEQUAL),
    "binary float32": Linearised(
        LinearisedClassifier(5, alpha=0.3, **SEED), single_precision(BINARY), lambda X: X.astype(np.float32)
    ),
    "softmax weighted": Linearised(
        LinearisedClassifier((5, 4), alpha=0.5, class_weight={0: 3.0, 2: 0.5}, **SEED), zeros(THREE), wrapped=True
    ),
    "softmax mean": Linearised(
        LinearisedClassifier(5, "tanh", alpha=0.5, penalty_scale="mean", **SEED),
        cases.replace(THREE, sample_weight=np.full(N, 2.0)),
    ),
    "softmax given": Linearised(
        LinearisedClassifier(init=_given([4, 6, 3]), activation="tanh", alpha=0.5),
        cases.string_labels(THREE),
        sparse.csr_array,
        wrapped=True,
    ),
}
SQUARED = [name for name, family in FAMILIES.items() if family.squared]
LOG = [name for name, family in FAMILIES.items() if not family.squared]
# Every family in every representation that it has.
WAYS = [(name, way) for name, family in FAMILIES.items() for way in ("primal", "dual")[family.mean :]]
every_way = pytest.mark.parametrize("name, way", WAYS, ids=[f"{name}, {way}" for name, way in WAYS])


@lru_cache
def one_fit(family):
    return clone(family.estimator).fit(family.container(family.case.X), family.case.y, family.case.sample_weight)


@lru_cache
def fitted(name, way="auto", method="newton", solver="auto"):
    """A fitted model to ask, never to edit."""
    return FAMILIES[name].fit(way, method=method, solver=solver)


@lru_cache
def expanded(name):
    return Expanded(FAMILIES[name])


def without(rows):
    return np.delete(np.arange(N), rows)


def held(model):
    """The linearised network in, or as, a model."""
    return getattr(model, "estimator_", model)


def close(actual, desired, rtol, scale=None):
    """Equal relative to the largest number of the desired array, or to a scale."""
    scale = np.abs(desired).max() if scale is None else scale
    np.testing.assert_allclose(actual, desired, rtol=0, atol=rtol * max(float(scale), 1e-300))
