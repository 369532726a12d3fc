"""NumPy matrices: their triangles and parts, and how large an inverse is that is known by its solves alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Rows whose copies stay in cache, and from how many on a copy is worth two threads.
_COPIED_ROWS = 64
_THREADED_ROWS = 2000


def turn_up(A):
    """Copy the lower triangle of a square matrix onto its upper one in place, block by block; returns A."""
    size = 512
    for start in range(0, len(A), size):
        own = slice(start, start + size)
        corner = np.tril(A[own, own], -1)
        A[own, own] = corner + corner.T + np.diag(np.diagonal(A)[own])
        A[own, start + size :] = A[start + size :, own].T
    return A


def submatrix(A, kept):
    """The rows and columns ``kept`` (positions) of a square matrix, a copy.

    Block by block, so that what is picked from rows of memory is still in cache; large ones by two threads, since a
    copy has nothing else to wait for than memory.
    """
    kept = np.asarray(kept, dtype=np.intp)
    out = np.empty((len(kept),) * 2, dtype=A.dtype)

    def fill(start):
        part = slice(start, start + _COPIED_ROWS)
        np.take(A[kept[part]], kept, axis=1, out=out[part], mode="clip")  # the mode that writes without a buffer

    starts = range(0, len(kept), _COPIED_ROWS)
    if len(kept) < _THREADED_ROWS:
        for start in starts:
            fill(start)
    else:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(fill, starts))
    return out


def inverse_norm(solve, size):
    """Estimated 1-norm of the inverse of a symmetric matrix, from below and mostly right, by a few solves.

    ``solve`` takes and returns NumPy arrays (n, 1). Source: Hager (1984), Condition estimates, algorithm 2; and the
    vector of alternating signs that Higham (1988) adds to it.
    """
    x, estimate, seen = np.full((size, 1), 1.0 / size), 0.0, -1
    for _ in range(5):
        y = solve(x)
        estimate = max(estimate, float(np.abs(y).sum()))
        z = solve(np.where(y < 0, -1.0, 1.0))
        at = int(np.abs(z).argmax())
        if at == seen or abs(float(z[at, 0])) <= float(z[:, 0] @ x[:, 0]):
            break
        x, seen = np.zeros((size, 1)), at
        x[at] = 1.0
    signs = np.where(np.arange(size) % 2, -1.0, 1.0) * (1.0 + np.arange(size) / max(size - 1, 1))
    return max(estimate, 2.0 * float(np.abs(solve(signs[:, None])).sum()) / (3.0 * size))
