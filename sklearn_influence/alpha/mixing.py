"""Kernel matrices of one value for each pair of points, which all outputs share, and of one for each pair of outputs.

Of the former, (n, n), every output is multiplied with alone; the latter, (n q, n q) with the outputs of a point beside
one another, mix the outputs. The shape says which it is.
"""

import numpy as np

from .._backend import array_namespace


def mixes(K, n_points):
    """Whether a kernel matrix between so many points mixes their outputs."""
    return K.shape[0] != n_points


def product(K, X):
    """``K X`` for X (n, q, k), in the namespace of X: (m, q, k)."""
    xp = array_namespace(X)
    moved = K @ xp.reshape(X, (K.shape[1], -1))
    return xp.reshape(moved, (-1, *X.shape[1:]))


def places(points, width):
    """The rows of a kernel matrix that belong to points, a slice or positions, each of which has ``width`` of them."""
    if width == 1:
        return points
    if isinstance(points, slice):
        start, stop, step = points.start, points.stop, points.step
        if step in (None, 1):
            return slice(None if start is None else start * width, None if stop is None else stop * width)
        raise ValueError(f"Points must be positions or a slice of step 1, got {points!r}.")
    return (np.asarray(points)[:, None] * width + np.arange(width)).ravel()
