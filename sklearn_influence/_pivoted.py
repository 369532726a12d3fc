r"""Orthonormal coordinates of some vectors that are known by their products with each other."""

import numpy as np

from . import _backend
from ._parallel import blocks

# Rows of a triangular matrix that are gathered at a time.
_PANEL = 512


class PivotedCoordinates:
    r"""Coordinates in which some of the vectors, as many as their rank, are a lower triangular matrix L.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Lower triangle of the vectors' products, each brought to length 1 so that the rounding of a long one does not
        hide what a short one adds. Overwritten.
    lengths : ndarray of shape (n, 1)

    Attributes
    ----------
    rows : ndarray of shape (n, r)
        The vectors in these coordinates; r is their rank.
    pivots : ndarray of shape (r,)
        Which of them are L.

    Notes
    -----
    A Cholesky factor in the order that the pivots find: of the first r, ``X_P = L B'``, the basis is ``B = X_P' L^-T``,
    and is never formed. Vectors whose distance from the span of those before is below about 1e-6 of their length lie in
    it. Cost: n r**2 operations, in the memory of K.
    """

    def __init__(self, K, lengths):
        n = len(K)
        L, order, rank = _backend.pivoted_cholesky(K, n * np.finfo(float).eps)
        self.rows = L[:, :rank] if 2 * rank > n else L[:, :rank].copy()
        back = np.argsort(order)
        for part in blocks(rank, _PANEL):  # in place
            self.rows[:, part] = self.rows[back, part]
        self.rows *= lengths
        self.pivots = order[:rank]

    def solve(self, B, transposed=False):
        """``L^-1 B`` or ``L^-T B`` for B (r, k), by panels: L lies in the rows in their own order."""
        out = np.array(B, dtype=np.float64)
        panels = blocks(len(out), _PANEL)
        for part in reversed(panels) if transposed else panels:
            L = self.rows[self.pivots[part], : part.stop]
            before, own = L[:, : part.start], L[:, part]
            if transposed:
                out[part] = _backend.triangular_solve(own, out[part], transposed=True)
                out[: part.start] -= before.T @ out[part]
            else:
                out[part] = _backend.triangular_solve(own, out[part] - before @ out[: part.start])
        return out
