r"""Models with more columns than rows, in as many unknowns as there are rows.

The coefficients of a model with the penalty ``r/2 |w|**2`` lie in the span of its rows, ``w = X' alpha``. In
orthonormal coordinates t of that span, ``w = B t``, the rows are ``z_i = B' x_i``, the penalty is ``r/2 |t|**2``, and
distances are what they were: the objective is one over n columns instead of d, and everything that holds for one holds
for it. The coordinates are the rows' principal directions, so that they stay accurate where forming the Gram matrix of
the rows would square their condition.
"""

import numpy as np
from scipy import linalg, sparse

from . import _backend
from ._backend import check_memory
from ._design import Design
from ._parallel import block_size, blocks
from .curvature import to_outputs, to_vector
from .primal import PrimalObjective

_EPS = np.finfo(float).eps


class RowSpan:
    """Orthonormal coordinates of the span of some rows.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d)

    Attributes
    ----------
    rows : ndarray of shape (n, r)
        The rows in these coordinates; r is their rank.

    Notes
    -----
    Dense rows: a singular value decomposition, which keeps the basis (d, r). Sparse rows: the eigenvectors of the Gram
    matrix ``X X'`` (n, n), since the basis would fill d columns; singular values of the rows, each of length 1, below
    about 1e-7 of the largest are then rounding, and count as 0. Cost: n**2 d (sparse: the rows' common entries) and
    about 10 n**3 operations.
    """

    def __init__(self, X):
        n, d = X.shape
        dense = isinstance(X, np.ndarray)
        check_memory(
            8 * (3 * n * n + (2 * n * d if dense else 0)),
            f"The dual representation of {n:,} rows and {d:,} columns",
            "Use representation='primal', or fewer rows.",
        )
        if dense:
            U, s, Vt = linalg.svd(X.astype(np.float64, copy=False), full_matrices=False, check_finite=False)
            kept = s > max(n, d) * _EPS * s.max(initial=0.0)
            self.rows, self._basis = U[:, kept] * s[kept], np.ascontiguousarray(Vt[kept].T)
            return
        # Rows of length 1, so that the rounding of a long one does not hide what a short one adds.
        lengths = Design(X, False).norms()[:, None]
        units = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        X_units = sparse.csr_array(X).multiply(units).tocsr()
        K = np.empty((n, n))
        for part in blocks(n, block_size(12 * n, share=0.25)):
            K[part] = (X_units[part] @ X_units.T).toarray()
        values, vectors = _backend.eigh(K.T, overwrite=True)
        first = int(np.searchsorted(values, n * _EPS * max(values[-1], 0.0), side="right"))
        self.rows, self._basis = vectors[:, first:] * np.sqrt(values[first:]), None
        self.rows *= lengths
        # The basis is X' rows / (lengths**2 values), and is never formed: products with it go through the rows.
        self._sparse, self._values, self._weights = X, values[first:, None], units**2

    def to_features(self, T):
        """Vectors (r, k) of the coordinates as vectors (d, k) of the columns."""
        if self._basis is not None:
            return self._basis @ T
        return self._sparse.T @ (self._weights * (self.rows @ (T / self._values)))

    def from_features(self, W):
        """Coordinates (r, k) of vectors (d, k), whose part off the span is left out."""
        if self._basis is not None:
            return self._basis.T @ W
        return self.rows.T @ (self._weights * (self._sparse @ W)) / self._values

    def coordinates(self, X):
        """Other rows (m, d) in these coordinates, (m, r), without what of them no coefficient can see."""
        out = np.empty((X.shape[0], self.rows.shape[1]))
        for part in blocks(X.shape[0], block_size(8 * (X.shape[1] + 3 * len(self.rows)), share=0.25)):
            if self._basis is not None:
                out[part] = X[part] @ self._basis
                continue
            products = X[part] @ self._sparse.T
            products = products.toarray() if hasattr(products, "toarray") else np.asarray(products)
            out[part] = (products * self._weights[:, 0]) @ self.rows / self._values[:, 0]
        return out


class DualObjective(PrimalObjective):
    """An objective of :class:`PrimalObjective` over the span of its rows: r + 1 unknowns an output instead of d + 1.

    Parameters
    ----------
    primal : PrimalObjective
        Its coefficients have one penalty for each output (:func:`spans`).

    Attributes
    ----------
    strength : ndarray of shape (q, 1)
        The penalty of each output's coefficients.
    outside : float
        Norm of the part of the given coefficients that is off the span. No minimiser with a penalty has one, and least
        squares of smallest norm has none.
    """

    def __init__(self, primal):
        span, d = RowSpan(primal.design.X), primal.design.n_features
        rank = span.rows.shape[1]
        penalty = np.hstack([np.repeat(primal.penalty[:, :1], rank, axis=1), primal.penalty[:, d:]])
        super().__init__(
            span.rows, primal.y, primal.loss, primal.weighting, penalty, primal.params, primal.fit_intercept
        )
        self.span, self._primal, self.strength = span, primal, primal.penalty[:, :1]
        self.params = self.from_params(primal.params)
        self.outside = float(np.linalg.norm(primal.params - self.to_params(self.params)))

    def take(self, kept):
        return DualObjective(self.primal().take(kept))

    def primal(self):
        return self._primal.with_(params=self.to_params(self.params))

    def read_rows(self, X):
        n_bytes = 8 * X.shape[0] * self.design.n_features
        check_memory(n_bytes, f"Products of {X.shape[0]:,} test rows with the training rows", "Ask for fewer rows.")
        return Design(self.span.coordinates(X), self.fit_intercept)

    def to_params(self, V):
        return self._by_output(V, self.span.to_features)

    def from_params(self, V):
        return self._by_output(V, self.span.from_features)

    def _by_output(self, V, turn):
        """(p,) or (p, k) with the coefficients of each output turned, and the intercepts as they are."""
        if V.ndim == 1:
            return self._by_output(V[:, None], turn)[:, 0]
        q, intercept = self.n_outputs, self.fit_intercept
        theta = to_outputs(V, q, intercept)
        d = theta.shape[1] - intercept
        return to_vector(np.stack([np.vstack([turn(block[:d]), block[d:]]) for block in theta]), intercept)

    def solve_params(self, factor, B):
        inside = self.from_params(B)
        solved = self.to_params(factor(inside)[0])
        off = to_outputs(B - self.to_params(inside), self.n_outputs, self.fit_intercept)
        strength = self.strength[:, :, None]
        # Off the rows' span the curvature is the penalty alone, and flat without one.
        off = np.divide(off, strength, out=np.zeros_like(off), where=strength > 0)
        return solved + to_vector(off, self.fit_intercept)


def spans(objective):
    """Whether an objective's optimum lies in the span of its rows: each output has one penalty for its coefficients."""
    coef = objective.penalty[:, : objective.design.n_features]
    return bool(coef.shape[1]) and bool((coef == coef[:, :1]).all())
