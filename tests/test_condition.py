"""Norms of inverses, estimated, against the inverses."""

import numpy as np
import pytest

from sklearn_influence._condition import inverse_norm


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
