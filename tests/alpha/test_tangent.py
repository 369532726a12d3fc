"""The tangent kernel against Jacobians written out; what is kept through its edits against what would be made anew."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from tangent_cases import Linearised

from sklearn_influence import _backend
from sklearn_influence.alpha.tangent import TangentGram
from sklearn_influence.networks import Network

kinds = pytest.mark.parametrize("kind", ["squares", "logistic"])


def _flat(J):
    return J.reshape(-1, J.shape[2])


def _gram(case, container=np.asarray, *, known=True):
    gram = TangentGram(case.network, container(case.X))
    if known:
        gram.matrix  # noqa: B018
        gram.start()
    return gram


@kinds
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_values_are_products_of_jacobians(kind, container):
    case = Linearised(kind)
    gram, J, q = _gram(case, container), _flat(case.J(case.X)), case.q
    assert len(gram) == 12 and gram.width == q and gram.size == 12 * q and gram.mixed == (q > 1)
    np.testing.assert_allclose(gram.matrix, J @ J.T, atol=1e-12)
    np.testing.assert_array_equal(gram.matrix, gram.matrix.T)
    np.testing.assert_allclose(gram.diagonal(), (J**2).sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(gram.across(container(case.X_test)), _flat(case.J(case.X_test)) @ J.T, atol=1e-12)
    rows = case.J(case.X)[[3, 1]]
    np.testing.assert_allclose(gram.rows(np.array([3, 1])), _flat(rows) @ J.T, atol=1e-12)
    np.testing.assert_allclose(gram.start(), case.network.outputs(case.X), atol=1e-14)


@kinds
def test_products_with_features(kind):
    case = Linearised(kind)
    gram, J, rng = _gram(case), case.J(case.X), np.random.default_rng(1)
    A, V = rng.standard_normal((12 * case.q, 2)), rng.standard_normal((case.network.n_params, 2))
    with config_context(working_memory=0.01):
        np.testing.assert_allclose(gram.to_features(A), _flat(J).T @ A, atol=1e-12)
        np.testing.assert_allclose(gram.features_of(case.X_test, V), case.J(case.X_test) @ V, atol=1e-12)
    truth = case.J(case.X_test) @ (_flat(J).T @ A)
    B = A.reshape(12, case.q, 2)
    wide = np.repeat(B, 400, axis=2)
    assert gram.moved(case.X_test, wide) is None  # so many passes cost more than the kernel's values
    few = TangentGram(case.network, np.repeat(case.X, 40, axis=0))
    moved = few.moved(np.repeat(case.X_test, 60, axis=0), np.repeat(B / 40, 40, axis=0)[:, :, :1])
    np.testing.assert_allclose(moved, np.repeat(truth, 60, axis=0)[:, :, :1], atol=1e-11)


@kinds
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("known", [True, False])
def test_edits_keep_what_is_known(kind, container, known):
    case = Linearised(kind)
    replaced = case.X.copy()
    replaced[[5, 2]] = case.X_test[:2]

    def gram():
        return _gram(case, container, known=known)

    edited = {
        "take": (gram().take(np.array([0, 3, 4, 8])), case.X[[0, 3, 4, 8]]),
        "mask": (gram().take(np.arange(12) % 2 == 0), case.X[::2]),
        "replace": (gram().replace(np.array([5, 2]), container(case.X_test[:2])), replaced),
        "append": (gram().append(container(case.X_test)), np.vstack([case.X, case.X_test])),
    }
    for what, (made, rows) in edited.items():
        assert (made._matrix is not None) == known, what
        J = _flat(case.J(rows))
        np.testing.assert_allclose(made.matrix, J @ J.T, atol=1e-12, err_msg=what)
        np.testing.assert_allclose(made.start(), case.network.outputs(rows), atol=1e-14, err_msg=what)


def test_pickles_hold_no_matrix():
    case = Linearised("squares")
    gram = _gram(case)
    again = pickle.loads(pickle.dumps(gram))
    assert again._matrix is None and again._start is None
    np.testing.assert_array_equal(again.matrix, gram.matrix)


def test_a_matrix_larger_than_memory_is_refused(monkeypatch):
    monkeypatch.setattr(_backend, "physical_memory", lambda: 8 * 36**2 - 1)
    with pytest.raises(ValueError, match=r"tangent kernel of 12 rows with 3 output.*representation='primal'"):
        TangentGram(Linearised("softmax").network, Linearised("softmax").X).matrix  # noqa: B018


def test_blocks_of_rows_where_nothing_holds_the_matrix(monkeypatch):
    case = Linearised("squares")
    whole = _gram(case)
    monkeypatch.setattr(TangentGram, "spreads", True)
    with config_context(working_memory=0.002):
        parts = TangentGram(case.network, case.X)
        assert len(parts.matrix.parts) > 3
    np.testing.assert_allclose(parts.host_matrix(), whole.matrix, atol=1e-12)
    rows = np.array([1, 4, 9])
    np.testing.assert_allclose(parts.take(rows).host_matrix(), whole.take(rows).matrix, atol=1e-12)
    np.testing.assert_allclose(parts.rows(rows), whole.rows(rows), atol=1e-12)


def test_outputs_take_no_matrix_where_passes_cost_less():
    network = Network.random([4, 6, 2], "tanh", sigma_w=1.5, sigma_b=0.2, random_state=np.random.RandomState(0))
    X, B = np.random.RandomState(1).standard_normal((300, 4)), np.random.RandomState(2).standard_normal((300, 2, 1))
    gram = TangentGram(network, X)
    found = gram.times(B)
    assert gram._matrix is None
    np.testing.assert_allclose(found.ravel(), gram.matrix @ B.ravel(), rtol=1e-10)
    np.testing.assert_allclose(gram.times(B), found, rtol=1e-10)
