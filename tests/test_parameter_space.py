"""Both engines have the same words, and say of a model off its minimum how far it is."""

import cases
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_influence import InfluenceEstimator, alpha, parameter_space
from sklearn_influence.kernel_models import KernelLogisticRegression

WORDS = set(parameter_space.__all__)


def test_the_engines_have_the_same_words():
    assert set(alpha.__all__) == WORDS
    for engine in (alpha, parameter_space):
        assert all(hasattr(engine, word) for word in WORDS)
    assert alpha.from_anywhere is True and parameter_space.from_anywhere is False


def test_stationarity_is_that_of_the_dense_gradient():
    case = cases.tiny_classification()
    loose = LogisticRegression(C=0.5, fit_intercept=False, tol=0.5, max_iter=2)
    model = InfluenceEstimator(loose).fit(case.X, case.y)
    w = model.estimator_.coef_[0]
    p = 1 / (1 + np.exp(-case.X @ w))
    g = case.X.T @ (p - case.y) + 2.0 * w
    H = (case.X.T * (p * (1 - p))) @ case.X + 2.0 * np.eye(4)
    G = case.X * (p - case.y)[:, None]
    scale = np.median(np.sqrt(np.einsum("ni,ni->n", G, np.linalg.solve(H, G.T).T)))
    got, decrement = model.stationarity_, np.sqrt(g @ np.linalg.solve(H, g))
    np.testing.assert_allclose(
        [got.gradient_norm, got.newton_decrement, got.relative],
        [np.linalg.norm(g), decrement, decrement / scale],
        rtol=1e-8,
    )
    assert InfluenceEstimator(Ridge()).fit(case.X, case.y).stationarity_.relative < 1e-6


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stationarity_is_one_thing_in_both_spaces(n_classes):
    """A linear kernel's decrement is that of the coefficients w = X'c, at any c."""
    case = cases.tiny_classification(n_classes=n_classes)
    kernel = KernelLogisticRegression(0.5, kernel="linear").fit(case.X, case.y)
    linear = InfluenceEstimator(LogisticRegression(C=2.0, fit_intercept=False)).fit(case.X, case.y)
    c = 0.7 * kernel._objective.params
    loose = kernel._objective.with_(params=c)
    w = (case.X.T @ c.reshape(len(case.y), -1)).T.ravel()
    primal = linear._objective.with_(params=w)
    there = alpha.stationarity(loose, kernel._fitted.exact_solver(kernel._options()).factor(loose.curvature()))
    here = parameter_space.stationarity(
        primal, linear._fitted.exact_solver(linear._options()).factor(primal.curvature())
    )
    for word in ("gradient_norm", "newton_decrement"):
        assert here[word] > 1e-3
        np.testing.assert_allclose(there[word], here[word], rtol=1e-8)
    # the median over all rows, or over some of them where there are several outputs
    np.testing.assert_allclose(there.relative, here.relative, rtol=1e-6 if n_classes == 2 else 0.3)
