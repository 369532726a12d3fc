"""Kernel matrices that follow their points: what is known of them is kept, and nothing of the points that have left."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_influence.alpha.gram import Gram

RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(12, 3)), RNG.normal(size=(2, 3))
KEPT = np.array([0, 1, 2, 5, 6, 9, 10, 11])
ROWS = [7, 3]


def replaced():
    other = X.copy()
    other[ROWS] = NEW
    return other


EDITS = {
    "take": (lambda gram: gram.take(KEPT), X[KEPT]),
    "take a mask": (lambda gram: gram.take(np.isin(np.arange(12), KEPT)), X[KEPT]),
    "replace": (lambda gram: gram.replace(ROWS, NEW), replaced()),
    "append": (lambda gram: gram.append(NEW), np.vstack([X, NEW])),
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_matrix_is_that_of_the_edited_points(edit, container, known):
    gram = Gram("rbf", container(X), gamma=0.3)
    if known:
        _ = gram.matrix
    make, points = EDITS[edit]
    edited = make(gram)
    assert (edited._matrix is not None) == known and len(edited) == len(points)
    np.testing.assert_allclose(edited.matrix, rbf_kernel(points, gamma=0.3), atol=1e-14)
    np.testing.assert_allclose(edited.diagonal(), 1.0)
    np.testing.assert_allclose(gram.matrix, rbf_kernel(X, gamma=0.3), atol=1e-15)  # the first one is what it was
    assert not np.shares_memory(edited.matrix, gram.matrix)


def test_a_white_kernel_leaves_out_its_noise():
    np.testing.assert_allclose(Gram(RBF(2.0) + WhiteKernel(3.0), X).matrix, RBF(2.0)(X))


def test_a_precomputed_matrix_is_its_own_points():
    K = rbf_kernel(X)
    for known in (True, False):
        gram = Gram("precomputed", K)
        if known:
            _ = gram.matrix
        edited = gram.take(KEPT)
        np.testing.assert_array_equal(edited.X, K[np.ix_(KEPT, KEPT)])
        np.testing.assert_array_equal(edited.matrix, edited.X)
        assert edited.X.base is None or edited.X.base.size == edited.X.size  # no view of those that have left
    np.testing.assert_array_equal(gram.across(K[:2]), K[:2])
    for edit in (lambda: gram.append(K[:1]), lambda: gram.replace([0], K[:1])):
        with pytest.raises(ValueError, match=r"New rows and kernel='precomputed' do not go together.* Pass the kernel"):
            edit()


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
