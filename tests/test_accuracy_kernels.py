"""Unlearning squared losses in alpha space: the refit, for any share of the rows, any strength, and either penalty."""

from functools import lru_cache

import numpy as np
import pytest
from scipy import linalg
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

from sklearn_influence import InfluenceEstimator, alpha
from sklearn_influence.alpha.gram import Gram
from sklearn_influence.alpha.objective import KernelObjective
from sklearn_influence.editing import Removal
from sklearn_influence.losses import SquaredError
from sklearn_influence.objective import Weighting
from sklearn_influence.solvers import Direct

N, GAMMA = 200, 0.02
STRENGTHS = (1e-1, 1e-3, 1e-5)
SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9)


@lru_cache
def problem():
    X, labels = load_digits(return_X_y=True)
    X = X / 16
    Y = np.where(labels[:, None] == np.arange(10), 1.0, -1.0)
    return X[:N], Y[:N], X[N : N + 100], Gram("rbf", X[:N], gamma=GAMMA)


def removed(share):
    return np.random.default_rng(0).choice(N, max(int(share * N), 1), replace=False)


def relative(found, truth, before):
    """Error of a change, relative to it."""
    return np.linalg.norm(found - truth) / np.linalg.norm(truth - before)


@pytest.mark.parametrize("asked_before", [True, False])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_unlearning_is_the_refit(strength, asked_before):
    X, Y, X_test, _ = problem()
    estimator = KernelRidge(alpha=strength, kernel="rbf", gamma=GAMMA)
    for share in SHARES:
        rows = removed(share)
        model = InfluenceEstimator(estimator).fit(X, Y)
        before = model.predict(X_test)
        if asked_before:
            model.leverages()
        refit = KernelRidge(**estimator.get_params()).fit(np.delete(X, rows, 0), np.delete(Y, rows, 0))
        model.unlearn(rows)
        error = relative(model.predict(X_test), refit.predict(X_test), before)
        assert error <= 1e-10, f"{share:.0%}: {error:.1e}"
        distance = np.linalg.norm(model.estimator_.dual_coef_ - refit.dual_coef_)
        assert model.certificate_.valid and distance <= model.certificate_.param_bound


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_either_penalty_and_any_start(strength, mean):
    """With a penalty on the mean loss the strength shrinks with the rows; where the model stopped does not matter."""
    _, Y, X_test, gram = problem()
    rng, across = np.random.default_rng(1), gram.across(X_test)
    start = rng.normal(size=Y.shape)  # as far from converged as can be
    for share in SHARES:
        rows = removed(share)
        kept = np.delete(np.arange(N), rows)
        objective = KernelObjective(
            gram, Y, SquaredError(), Weighting(np.ones(N)), np.full(10, strength), start.ravel(), mean=N * mean
        )
        edit = Removal(rows)
        found, _, certificate = alpha.edited_minimum(
            edit.apply(objective), edit, tol=1e-10, max_iter=10, as_written=lambda one: (one, 0.0), solver=Direct()
        )
        left = strength * (len(kept) / N if mean else 1.0)
        K = gram.matrix
        truth = linalg.solve(K[np.ix_(kept, kept)] + left * np.eye(len(kept)), Y[kept], assume_a="pos")
        whole = linalg.solve(K + strength * np.eye(N), Y, assume_a="pos")
        outputs = across[:, kept] @ found.coefficients
        error = relative(outputs, across[:, kept] @ truth, across @ whole)
        assert error <= 1e-10, f"{share:.0%}: {error:.1e}"
        assert certificate.valid and certificate.converged
