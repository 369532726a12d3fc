"""Kernel matrices of training points through their edits: what is kept equals what would be computed anew."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_influence import _backend
from sklearn_influence.alpha.gram import Gram, check_symmetric

X = np.random.default_rng(0).normal(size=(9, 3))
NEW = np.random.default_rng(1).normal(size=(2, 3))
containers = pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, lambda X: X.astype(np.float32)])


def _rbf(rows):
    return rbf_kernel(rows, gamma=0.4)


@containers
@pytest.mark.parametrize("known", [True, False])
def test_edits_keep_what_is_known(container, known):
    def gram():
        made = Gram("rbf", container(X), gamma=0.4, degree=3, coef0=1)
        if known:
            made.matrix  # noqa: B018
        return made

    atol = 1e-6 if getattr(container(X), "dtype", None) == np.float32 else 1e-13
    replaced = X.copy()
    replaced[[5, 2]] = NEW
    edited = {
        "take": (gram().take(np.array([0, 3, 4, 8])), X[[0, 3, 4, 8]]),
        "mask": (gram().take(np.arange(9) % 2 == 0), X[::2]),
        "replace": (gram().replace(np.array([5, 2]), container(NEW)), replaced),
        "append": (gram().append(container(NEW)), np.vstack([X, NEW])),
    }
    for what, (made, rows) in edited.items():
        assert (made._matrix is not None) == known, what
        assert made.X.dtype == container(X).dtype and type(made.X) is type(container(X)), what
        np.testing.assert_allclose(made.matrix, _rbf(rows), atol=atol, err_msg=what)
        assert made.matrix.dtype == np.float64
        np.testing.assert_allclose(made.diagonal(), np.ones(len(rows)), atol=atol)
        np.testing.assert_allclose(made.across(container(NEW)), rbf_kernel(NEW, rows, gamma=0.4), atol=atol)
        np.testing.assert_allclose(made.rows(np.array([3, 1])), made.matrix[[3, 1]])


def test_a_precomputed_matrix_loses_rows_and_columns_in_any_order_of_memory():
    K = _rbf(X)
    for order in "CF":
        gram = Gram("precomputed", np.array(K, order=order))
        assert gram.matrix.flags.c_contiguous
        for made in (gram.take([1, 4, 5]), Gram("precomputed", np.array(K, order=order)).take([1, 4, 5])):
            np.testing.assert_array_equal(made.matrix, K[np.ix_([1, 4, 5], [1, 4, 5])])
            np.testing.assert_array_equal(made.X, made.matrix)
            assert made.matrix.flags.c_contiguous
    for edit in (lambda: gram.append(K[:1]), lambda: gram.replace([0], K[:1])):
        with pytest.raises(ValueError, match=r"kernel='precomputed' do not go together.*Pass the kernel as a function"):
            edit()


def test_noise_stays_out_and_pickles_hold_no_matrix():
    noisy = Gram(RBF(0.8) + WhiteKernel(3.0), X)
    np.testing.assert_allclose(noisy.matrix, RBF(0.8)(X))
    again = pickle.loads(pickle.dumps(noisy))
    assert again._matrix is None and len(again) == 9
    copied = noisy.host_matrix()
    copied[:] = 0.0
    assert noisy.matrix.any()


def test_a_matrix_larger_than_memory_is_refused(monkeypatch):
    monkeypatch.setattr(_backend, "physical_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"The kernel matrix of 9 rows .*Use fewer rows"):
        Gram("rbf", X).matrix  # noqa: B018


def test_a_copy_knows_the_matrix_and_a_pickle_does_not():
    gram = Gram("rbf", X)
    K = gram.matrix
    assert copy.copy(gram).matrix is K
    assert len(pickle.dumps(gram)) < X.nbytes + 1000
    again = pickle.loads(pickle.dumps(gram))
    assert again._matrix is None
    np.testing.assert_array_equal(again.matrix, K)


def test_the_matrix_for_an_estimator_is_a_copy():
    gram = Gram("rbf", X)
    gram.host_matrix()[:] = 0.0
    assert gram.matrix.any()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_given_matrix_must_be_symmetric(dtype):
    K = _rbf(X).astype(dtype)
    check_symmetric(K)
    K[2, 5] += 1e-3
    with pytest.raises(ValueError, match=r"entries \(2, 5\) and \(5, 2\) differ by 0.001. Pass \(K \+ K.T\) / 2"):
        check_symmetric(K)
    with pytest.raises(ValueError, match=r"matrix of 8 rows and columns in fit, got \(8, 9\)"):
        check_symmetric(K[:8])
