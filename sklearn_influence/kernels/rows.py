"""Rows and parameters that a kernel is given, checked before any work."""

import math
from numbers import Real

import numpy as np
from array_api_compat import is_array_api_obj
from scipy import sparse

from .._backend import array_namespace
from .._validation import as_numbers


def as_rows(X, what="X"):
    """Rows as a kernel reads them: real, finite and 2-D, float32 or else float64.

    Parameters
    ----------
    X : array-like, sparse matrix, or array of any array API namespace, of shape (n, d)

    Returns
    -------
    array or CSR matrix of shape (n, d)
        In X's own namespace; X itself where nothing is to do.
    """
    if sparse.issparse(X):
        X = X.tocsr()
        X = X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)
        finite = np.isfinite(X.data).all()
    elif is_device_array(X):
        xp = array_namespace(X)
        X = X if X.dtype in (xp.float32, xp.float64) else xp.astype(X, xp.float64)
        finite = bool(xp.all(xp.isfinite(X)))
    else:
        X = X if isinstance(X, np.ndarray) and X.dtype in (np.float32, np.float64) else as_numbers(X, what)
        finite = np.isfinite(X).all()
    if X.ndim != 2 or not all(X.shape):
        raise ValueError(
            f"{what} must be 2-D, of shape (n_samples, n_features), with at least one of each; got an array of shape "
            f"{tuple(X.shape)}. Give one row as X.reshape(1, -1)."
        )
    if not finite:
        raise ValueError(f"{what} must not hold NaN or infinity: fill or drop those entries first.")
    return X


def as_pair(X, Z):
    """``(X, Z)`` as rows with the same number of columns; Z is None where it was None or X itself."""
    same = Z is None or Z is X
    X = as_rows(X)
    if same:
        return X, None
    Z = as_rows(Z, "Y")
    if X.shape[1] != Z.shape[1]:
        raise ValueError(f"X and Y must have the same columns: got {X.shape[1]} and {Z.shape[1]}.")
    return X, Z


def is_device_array(X):
    """Whether X is an array of a namespace other than NumPy's, to be worked on where it lies."""
    return is_array_api_obj(X) and not isinstance(X, (np.ndarray, np.generic))


def is_float32(*arrays):
    """Whether all of the arrays (None aside) are of single precision."""
    return all(str(array.dtype).endswith("float32") for array in arrays if array is not None)


def check_sigmas(sigma_w, sigma_b):
    """Standard deviations of weights and biases: finite numbers, > 0 and >= 0."""
    for name, value, smallest in (("sigma_w", sigma_w, "> 0"), ("sigma_b", sigma_b, ">= 0")):
        number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
        if not number or not math.isfinite(value) or value < 0 or (value == 0 and smallest == "> 0"):
            raise ValueError(f"{name} must be a finite number {smallest}, got {value!r}.")
