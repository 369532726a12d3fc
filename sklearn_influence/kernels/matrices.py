"""Kernel matrices of any kernel that scikit-learn's estimators take, on any device."""

import math

import numpy as np
from scipy import sparse
from sklearn.gaussian_process.kernels import Kernel
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels

from .._backend import array_namespace, check_device, on_device, to_numpy
from .._parallel import block_size, blocks
from .rows import as_pair, as_rows, is_device_array

SHAPES = ("gamma", "degree", "coef0")  # what estimators hold for every kernel, whether it has them or not


def gram(kernel, X, Z=None, *, device="cpu", **params):
    """The matrix of a kernel between rows, on the device.

    Parameters
    ----------
    kernel : str, kernel object or callable
        A name of ``sklearn.metrics.pairwise.pairwise_kernels`` ("linear", "rbf", "poly", "sigmoid", "cosine",
        "laplacian", "chi2", ...); "precomputed", where X is the matrix itself; a kernel of
        ``sklearn.gaussian_process.kernels``; or a function of two rows that gives a number. This package's kernels run
        on the device; the other kernel objects and functions run on the CPU, and their matrix is moved.
    X : array-like or sparse matrix of shape (n, d), or an array of another array API namespace
        The latter is worked on where it lies.
    Z : the same, of shape (m, d), default=None
        None, or X itself: the rows of X with one another. The two differ for a kernel object with a WhiteKernel in it:
        its noise is in ``gram(kernel, X)``, as in GaussianProcessRegressor, and not in ``gram(kernel, X, X)``, as in
        KernelRidge.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where NumPy rows go; "auto" is a card where there is one and the rows are many. Sparse rows are multiplied as
        they are, on the CPU, and the matrix is moved.
    **params
        gamma, degree, coef0 with the meaning and the defaults of ``pairwise_kernels``, set aside where the kernel is
        named and has no such parameter, or is an object. A function is given whatever is passed.

    Returns
    -------
    array of shape (n, m)
        Equal to ``pairwise_kernels`` to 1e-12 of its largest entry in float64. Time n m d.

    Raises
    ------
    ValueError
        For an unknown kernel, or rows that cannot be used.
    TypeError
        For a parameter that the kernel does not have.

    Examples
    --------
    >>> from sklearn_influence.kernels import gram
    >>> gram("rbf", [[0.0], [1.0]], gamma=1.0).round(3)
    array([[1.   , 0.368],
           [0.368, 1.   ]])
    """
    device = check_device(device, math.prod(np.shape(X)) if not is_device_array(X) else 0)
    params = _known_parameters(kernel, params)
    if not is_device_array(X) and (device == "cpu" or _stays_on_cpu(kernel, X)):
        return on_device(_on_cpu(kernel, X, Z, params), device)
    if not is_device_array(X):
        X, Z = on_device(as_rows(X), device), None if Z is None or Z is X else on_device(as_rows(Z, "Z"), device)
    if isinstance(kernel, str):
        return _named(kernel, X, Z, params)
    if _is_ours(kernel):
        return kernel(X, Z)
    xp = array_namespace(X)
    rows = to_numpy(X)
    K = _on_cpu(kernel, rows, rows if Z is X else None if Z is None else to_numpy(Z), params)
    return xp.asarray(K, dtype=X.dtype)


def _is_ours(kernel):
    return isinstance(kernel, Kernel) and type(kernel).__module__.startswith(__package__ + ".")


def _stays_on_cpu(kernel, X):
    return sparse.issparse(X) or not (isinstance(kernel, str) or _is_ours(kernel))


def _known_parameters(kernel, params):
    """The parameters that the kernel has; those in ``SHAPES`` may be given in vain."""
    if isinstance(kernel, type):
        raise ValueError(f"kernel must be an object, got the class {kernel.__name__}; write {kernel.__name__}().")
    if isinstance(kernel, str):
        if kernel not in ("precomputed", *PAIRWISE_KERNEL_FUNCTIONS):
            listed = ", ".join(repr(name) for name in sorted(PAIRWISE_KERNEL_FUNCTIONS))
            raise ValueError(
                f"kernel must be 'precomputed', one of {listed}, a kernel object or a callable, got {kernel!r}."
            )
        own = NAMED[kernel][1]
    elif isinstance(kernel, Kernel):
        own = ()
    elif callable(kernel):
        return params
    else:
        raise ValueError(f"kernel must be a name, a kernel object or a callable on two rows, got {kernel!r:.80}.")
    unknown = sorted(set(params) - {*own, *SHAPES})
    if unknown:
        raise TypeError(f"The kernel {kernel!r} has no parameter {unknown[0]!r}; it has {', '.join(own) or 'none'}.")
    return {name: value for name, value in params.items() if name in own and value is not None}


def _on_cpu(kernel, X, Z, params):
    if isinstance(kernel, Kernel):  # pairwise_kernels would call kernel(X, X), which a WhiteKernel takes for other rows
        return kernel(X, Z)
    return pairwise_kernels(X, Z, metric=kernel, **params)


def _named(kernel, X, Z, params):
    """A named kernel in the rows' own namespace."""
    if kernel == "precomputed":
        X = as_rows(X)
        m = X.shape[0] if Z is None else Z.shape[0]
        if X.shape[1] != m:
            raise ValueError(f"A precomputed kernel must have one column for each of the {m} rows, got {X.shape[1]}.")
        return X
    X, Z = as_pair(X, Z)
    xp = array_namespace(X)
    if "gamma" in NAMED[kernel][1]:
        params = {"gamma": 1.0 if kernel == "chi2" else 1.0 / X.shape[1], **params}
    return NAMED[kernel][0](xp, X, Z, **params)


def _linear(xp, X, Z):
    return X @ xp.matrix_transpose(X if Z is None else Z)


def _polynomial(xp, X, Z, gamma, degree=3, coef0=1):
    return (gamma * _linear(xp, X, Z) + coef0) ** degree


def _sigmoid(xp, X, Z, gamma, coef0=1):
    return xp.tanh(gamma * _linear(xp, X, Z) + coef0)


def _cosine(xp, X, Z):
    def unit(rows):
        norms = xp.linalg.vector_norm(rows, axis=1)
        return rows / xp.where(norms > 0, norms, xp.ones_like(norms))[:, None]

    return _linear(xp, unit(X), None if Z is None else unit(Z))


def _rbf(xp, X, Z, gamma):
    """In float64, as scikit-learn does: in single precision the distance of near rows is rounding."""
    dtype, X = X.dtype, xp.astype(X, xp.float64, copy=False)
    Y = X if Z is None else xp.astype(Z, xp.float64, copy=False)
    K = xp.sum(X * X, axis=1)[:, None] + xp.sum(Y * Y, axis=1)[None, :] - 2.0 * (X @ xp.matrix_transpose(Y))
    K = xp.exp(-gamma * xp.where(K > 0, K, xp.zeros_like(K)))
    if Z is None:
        i = xp.arange(K.shape[0])
        K = xp.where(i[:, None] == i[None, :], xp.ones_like(K), K)
    return xp.astype(K, dtype, copy=False)


def _by_columns(xp, X, Z, term):
    """The sum of ``term(x, z)`` over the columns, by blocks of rows, since all pairs' columns do not fit."""
    Z = X if Z is None else Z
    size = block_size(32 * Z.shape[0] * Z.shape[1])  # four arrays in flight
    parts = [xp.sum(term(X[rows, None, :], Z[None, :, :]), axis=2) for rows in blocks(X.shape[0], size)]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


def _laplacian(xp, X, Z, gamma):
    return xp.exp(-gamma * _by_columns(xp, X, Z, lambda x, z: xp.abs(x - z)))


def _additive_chi2(xp, X, Z):
    for rows in (X, Z):
        if rows is not None and bool(xp.any(rows < 0)):
            raise ValueError("The chi2 kernels need entries >= 0, got a negative one.")

    def term(x, z):
        total = x + z
        return (x - z) ** 2 / xp.where(total > 0, total, xp.ones_like(total))

    return -_by_columns(xp, X, Z, term)


def _chi2(xp, X, Z, gamma):
    return xp.exp(gamma * _additive_chi2(xp, X, Z))


NAMED = {
    "precomputed": (None, ()),
    "linear": (_linear, ()),
    "poly": (_polynomial, ("gamma", "degree", "coef0")),
    "polynomial": (_polynomial, ("gamma", "degree", "coef0")),
    "sigmoid": (_sigmoid, ("gamma", "coef0")),
    "cosine": (_cosine, ()),
    "rbf": (_rbf, ("gamma",)),
    "laplacian": (_laplacian, ("gamma",)),
    "additive_chi2": (_additive_chi2, ()),
    "chi2": (_chi2, ("gamma",)),
}
