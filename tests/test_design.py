"""Products with the design matrix against a matrix that has the column of ones."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context

from sklearn_influence import _design
from sklearn_influence._design import Design

N, D = 57, 5


@pytest.fixture(params=["dense", "fortran", "float32", "csr", "csc"])
def X(request):
    X = np.random.default_rng(0).standard_normal((N, D)) + 2.0
    if request.param == "fortran":
        return np.asfortranarray(X)
    if request.param == "float32":
        return X.astype(np.float32)
    if request.param in ("csr", "csc"):
        X[np.abs(X) < 1.5] = 0.0
        return sparse.csr_matrix(X) if request.param == "csr" else sparse.csc_matrix(X)
    return X


@pytest.fixture(params=[True, False], ids=["intercept", "none"])
def both(request, X):
    dense = X.toarray() if sparse.issparse(X) else X
    dense = dense.astype(np.float64)
    if request.param:
        dense = np.hstack([dense, np.ones((N, 1))])
    return Design(X, request.param), dense, 1e-6 if X.dtype == np.float32 else 1e-13


def test_products(both):
    design, Z, tol = both
    rng = np.random.default_rng(1)
    V, U = rng.standard_normal((Z.shape[1], 3)), rng.standard_normal((N, 2))
    np.testing.assert_allclose(design.dot(V), Z @ V, atol=1e-12)
    np.testing.assert_allclose(design.tdot(U), Z.T @ U, atol=1e-12)
    np.testing.assert_allclose(design.absolute_tdot(np.abs(U)), np.abs(Z).T @ np.abs(U), rtol=1e-12)
    np.testing.assert_allclose(design.column_squares(U), (Z**2).T @ U, atol=1e-11)
    np.testing.assert_allclose(design.norms(), np.linalg.norm(Z[:, :D], axis=1), rtol=1e-12)
    scaled = design.scaled(U)
    np.testing.assert_allclose(scaled, np.einsum("nc,nj->cjn", U, Z), rtol=max(tol, 1e-12))


def test_gram_of_positive_and_negative_weights(both):
    design, Z, tol = both
    rng = np.random.default_rng(2)
    W = np.stack([rng.random(N), -rng.random(N), np.zeros(N)], axis=1)
    W[::4, :2] = 0.0
    centre = design.mean(W[:, 0])
    shifted = Z.copy()
    shifted[:, :D] -= centre
    gram = design.gram(W, centre)
    np.testing.assert_allclose(gram, np.einsum("nk,ni,nj->kij", W, shifted, shifted), atol=300 * tol)
    np.testing.assert_array_equal(gram[2], 0.0)


def test_mean_is_zero_where_centring_is_not_allowed(both):
    design, Z, _ = both
    weights = np.linspace(0, 1, N)
    mean = design.mean(weights)
    if design.is_sparse or not design.fit_intercept:
        np.testing.assert_array_equal(mean, 0.0)
    else:
        np.testing.assert_allclose(mean, weights @ Z[:, :D] / weights.sum(), rtol=1e-6)
        np.testing.assert_array_equal(design.mean(np.zeros(N)), 0.0)


def test_take_and_centred(both):
    design, Z, _ = both
    rows = np.array([3, 1, 40])
    centre = np.arange(D) / 2
    expected = Z[rows].copy()
    expected[:, :D] -= centre
    np.testing.assert_allclose(design.take(rows).centred(centre), expected, rtol=1e-6)
    assert design.take(slice(0, 0)).n_rows == 0


@pytest.mark.parametrize("gone", [[], [0], [7], [349], [3, 4, 348], [0, 1, 349]])
def test_masks_that_drop_few_rows_are_copies_of_the_others(gone):
    X = np.random.default_rng(0).standard_normal((350, 3))
    design, kept = Design(X, True), np.ones(350, dtype=bool)
    kept[gone] = False
    assert design._drops_few(kept)
    design.norms()
    taken = design.take(kept)
    np.testing.assert_array_equal(taken.X, X[kept])
    np.testing.assert_allclose(taken.norms(), np.linalg.norm(X[kept], axis=1), rtol=1e-14)
    assert not np.shares_memory(taken.X, X)


def test_blocks_give_the_same_numbers(both):
    design, Z, _ = both
    V, U = np.ones((Z.shape[1], 1)), np.ones((N, 1))
    with config_context(working_memory=1e-3):
        np.testing.assert_allclose(design.dot(V), Z @ V, atol=1e-12)
        np.testing.assert_allclose(design.tdot(U), Z.T @ U, atol=1e-12)
        np.testing.assert_allclose(design.norms(), np.linalg.norm(Z[:, :D], axis=1), rtol=1e-12)


def test_views_share_memory():
    X = np.zeros((N, D))
    assert np.shares_memory(Design(X, True).take(slice(3, 9)).X, X)


def test_forms_keep_the_digits_of_small_directions():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 3))
    step = 1e-9 * rng.standard_normal(N)
    X[:, 2] = X[:, 0] + step
    V = np.array([[1.0], [0.0], [-1.0], [0.0]])
    form, noise = Design(X, True).form(V, np.ones(N), np.zeros(3))
    exact = ((X[:, 0] - X[:, 2]) ** 2).sum()
    np.testing.assert_allclose(form[0, 0], exact, rtol=1e-12)
    assert 0 < noise[0] < 1e-6 * exact


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_symmetric_products_by_panels_of_columns(fit_intercept, monkeypatch):
    """Many columns: weights of either sign, a constant column, and rows of weight 0."""
    rng = np.random.default_rng(0)
    X, weights = rng.standard_normal((40, 11)), np.column_stack([rng.random(40), -rng.random(40)])
    X[:, 4], weights[3] = 2.0, 0.0
    design = Design(X, fit_intercept)
    centre = design.mean(weights[:, 0])
    whole = design.gram(weights, centre)
    monkeypatch.setattr(_design, "_GRAM_COLUMNS", 4)
    monkeypatch.setattr(_design, "_GRAM_ROWS", 16)
    np.testing.assert_allclose(design.gram(weights, centre), whole, atol=1e-12)
    np.testing.assert_array_equal(whole, whole.transpose(0, 2, 1))
