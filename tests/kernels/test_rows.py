"""What a kernel is given, and the sentence for what it cannot use."""

import numpy as np
import pytest
from scipy import sparse

from sklearn_influence.kernels.rows import as_pair, as_rows, check_sigmas, is_device_array, is_float32


def test_rows_stay_what_they_are():
    for X in (np.ones((2, 3)), np.ones((2, 3), np.float32), sparse.csr_array(np.eye(3))):
        assert as_rows(X) is X or sparse.issparse(X)
        assert as_rows(X).dtype == X.dtype
    assert as_rows([[1, 2]]).dtype == np.float64
    assert as_rows(sparse.eye_array(3, dtype=int)).dtype == np.float64
    xp = pytest.importorskip("array_api_strict")
    there = xp.asarray([[1, 2]])
    assert is_device_array(there) and as_rows(there).dtype == xp.float64
    assert not is_device_array(np.ones(2)) and not is_device_array([[1.0]])


@pytest.mark.parametrize(
    ("X", "text"),
    [
        ([1.0, 2.0], r"must be 2-D.*got an array of shape \(2,\)"),
        (np.ones((0, 3)), r"at least one of each; got an array of shape \(0, 3\)"),
        ([[np.nan]], "must not hold NaN or infinity"),
        (np.array([[np.inf]], np.float32), "must not hold NaN or infinity"),
        (sparse.csr_array([[np.nan]]), "must not hold NaN or infinity"),
        ([["a"]], "X must hold real numbers"),
        ([[1j]], "X must hold real numbers"),
    ],
)
def test_bad_rows(X, text):
    with pytest.raises(ValueError, match=text):
        as_rows(X)


def test_bad_rows_of_another_namespace():
    xp = pytest.importorskip("array_api_strict")
    with pytest.raises(ValueError, match="NaN or infinity"):
        as_rows(xp.asarray([[np.nan]]))


def test_pairs():
    X = np.ones((2, 3))
    assert as_pair(X, X)[1] is None and as_pair(X, None)[1] is None
    assert as_pair(X, X.copy())[1] is not None
    with pytest.raises(ValueError, match="same columns: got 3 and 2"):
        as_pair(X, np.ones((2, 2)))
    assert is_float32(X.astype("f"), None) and not is_float32(X.astype("f"), X)


@pytest.mark.parametrize("sigmas", [(True, 0.1), (0.0, 0.1), (np.nan, 0.1), (1.0, -1), (1.0, None)])
def test_bad_sigmas(sigmas):
    with pytest.raises(ValueError, match="must be a finite number"):
        check_sigmas(*sigmas)
    check_sigmas(1, 0)
