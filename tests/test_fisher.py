"""The empirical Fisher matrix against the sum of its rows' outer products."""

import numpy as np
import pytest
from curvatures import KINDS, fisher, fisher_matrix
from scipy import sparse

from sklearn_influence import _backend


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_sum_of_outer_products(kind, intercept, make):
    F = fisher(kind, intercept=intercept, make=make)
    expected = fisher_matrix(F)
    V = np.random.default_rng(0).standard_normal((len(expected), 3))
    np.testing.assert_allclose(F.matmat(V), expected @ V, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(F.diagonal(), np.diag(expected), rtol=1e-12)
    damped = F.damped(0.3)
    np.testing.assert_allclose(damped.matmat(V), expected @ V + 0.3 * np.diag(expected)[:, None] * V, rtol=1e-10)
    assert damped.truth is F.truth and damped.coupled == F.coupled
    positions = np.array([0, 2, len(expected) - 1])
    np.testing.assert_allclose(F.on_parameters(positions), expected[np.ix_(positions, positions)], rtol=1e-11)
    everything = np.arange(len(expected))
    np.testing.assert_allclose(F.on_parameters(everything), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", ["single", "softmax"])
def test_products_by_rows(kind, intercept, make):
    F = fisher(kind, intercept=intercept, make=make)
    G = gradients(F)
    rng = np.random.default_rng(1)
    V, U = rng.standard_normal((G.shape[1], 2)), rng.standard_normal((len(G), 2))
    np.testing.assert_allclose(F.onto_rows(V), G @ V, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(F.from_rows(U), G.T @ U, rtol=1e-11, atol=1e-12)
    inverse = rng.random(F.penalty.shape)
    flat = np.concatenate([inverse[:, : F.design.n_features].ravel(), inverse[:, F.design.n_features :].ravel()])
    np.testing.assert_allclose(F.row_gram(inverse), (G * flat) @ G.T, rtol=1e-10, atol=1e-12)


def gradients(F):
    """(n, p), one row after another."""
    X = F.design.X.toarray() if F.design.is_sparse else F.design.X
    coef = (F.slopes[:, :, None] * X[:, None]).reshape(len(X), -1)
    return np.hstack([coef, F.slopes]) if F.design.fit_intercept else coef


def test_products_of_too_many_rows_are_refused(monkeypatch):
    F = fisher()
    monkeypatch.setattr(_backend, "physical_memory", lambda: 1000)
    with pytest.raises(ValueError, match="Products of 80 rows with each other"):
        F.row_gram(np.ones(F.penalty.shape))
    with pytest.raises(ValueError, match="curvature of 20 parameters"):
        fisher("shared", d=9).on_parameters(np.arange(20))
