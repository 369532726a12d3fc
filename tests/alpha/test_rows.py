"""Rows of a kernel model: their kernel values, whole and in parts."""

import numpy as np
import pytest
import sklearn
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_influence.alpha.gram import Gram
from sklearn_influence.alpha.rows import OwnRows, Points, Pullers, TestRows

X = np.random.default_rng(0).normal(size=(9, 3))
NEW = np.random.default_rng(1).normal(size=(5, 3))


@pytest.mark.parametrize("memory", [1024, 1e-6])
def test_test_rows_are_the_same_in_parts(memory):
    with sklearn.config_context(working_memory=memory):
        rows = TestRows(Gram("rbf", X), NEW)
        part = rows.take(slice(1, 4)).take(np.array([2, 0]))
        np.testing.assert_allclose(part.values(), rbf_kernel(NEW[[3, 1]], X))
        assert part.n_rows == 2 and part.width == 9
        assert part.in_double() is part


def test_training_rows_and_points():
    gram = Gram("rbf", X)
    rows = OwnRows(gram, np.array([4, 0, 7])).take(slice(1, 3))
    np.testing.assert_array_equal(rows.values(), gram.matrix[[0, 7]])
    points = Points(gram)
    assert (points.n_rows, points.n_features, points.width, points.n_entries) == (9, 3, 9, 81)
    assert points.dtype == float and points.X is X
    pullers = points.take(np.arange(9) > 6)
    assert isinstance(pullers, Pullers) and pullers.positions.tolist() == [7, 8]
    assert isinstance(pullers.take(np.array([1])), Pullers)
