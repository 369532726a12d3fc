"""Kernel matrices of both shapes, multiplied and addressed."""

import numpy as np
import pytest

from sklearn_influence.alpha.mixing import mixes, places, product


def test_products_by_the_shape_of_the_matrix():
    rng = np.random.default_rng(0)
    X, K, mixed = rng.standard_normal((4, 3, 2)), rng.standard_normal((5, 4)), rng.standard_normal((15, 12))
    np.testing.assert_allclose(product(K, X), np.einsum("mn,nqk->mqk", K, X), atol=1e-14)
    expected = np.einsum("manb,nbk->mak", mixed.reshape(5, 3, 4, 3), X)
    np.testing.assert_allclose(product(mixed, np.asfortranarray(X)).reshape(5, 3, 2), expected, atol=1e-14)
    assert mixes(mixed, 5) and not mixes(K, 5)


def test_places_of_points():
    whole = np.arange(12).reshape(4, 3)
    for points in ([2, 0], np.array([3]), slice(1, 3), slice(None), slice(2, None)):
        np.testing.assert_array_equal(np.arange(12)[places(points, 3)], whole[points].ravel())
    assert places([2, 0], 1) == [2, 0]
    with pytest.raises(ValueError, match="a slice of step 1, got slice"):
        places(slice(0, 4, 2), 3)
