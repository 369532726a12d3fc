"""Triangles, parts and inverse norms of NumPy matrices."""

import numpy as np
import pytest

from sklearn_influence._matrices import inverse_norm, submatrix, turn_up


@pytest.mark.parametrize("size", [1, 2, 30])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e10])
def test_the_norm_of_an_inverse_is_estimated_from_below(size, condition):
    rng = np.random.default_rng(size)
    turn, _ = np.linalg.qr(rng.standard_normal((size, size)))
    inverse = turn * np.geomspace(1.0, condition, size) @ turn.T
    exact = np.abs(inverse).sum(axis=0).max()
    assert 0.3 * exact < inverse_norm(lambda b: inverse @ b, size) <= exact * (1 + 1e-12)


def test_what_an_estimate_from_one_start_cannot_see():
    """Rows that add up to 0: the solve from a constant vector is 0, whatever the norm."""
    inverse = 8 * np.eye(8) - 1.0
    assert 0.3 * 14 < inverse_norm(lambda b: inverse @ b, 8) <= 14


@pytest.mark.parametrize("size", [1, 5, 512, 1100])
def test_the_lower_triangle_is_turned_up(size):
    A = np.random.default_rng(0).standard_normal((size, size))
    lower = np.tril(A)
    turned = turn_up(A)
    assert turned is A
    np.testing.assert_array_equal(A, lower + np.tril(lower, -1).T)


@pytest.mark.parametrize("kept", [[], [3], [0, 1, 2, 3], [0, 2, 4, 6, 8], [*range(4), *range(7, 40)], [5, 2, 9]])
def test_parts_of_a_matrix_are_copies(kept):
    A, kept = np.random.default_rng(0).standard_normal((40, 40)), np.array(kept, dtype=int)
    part = submatrix(A, kept)
    np.testing.assert_array_equal(part, A[np.ix_(kept, kept)])
    assert not np.shares_memory(part, A)
