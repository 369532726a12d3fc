r"""Models with more columns than rows, in as many unknowns as there are rows.

The coefficients of a model with the penalty ``r/2 |w|**2`` lie in the span of its rows, ``w = X' alpha``, or, with a
linear term in the objective, in that of its rows and the term. In
orthonormal coordinates t of that span, ``w = B t``, the rows are ``z_i = B' x_i``, the penalty is ``r/2 |t|**2``, and
distances are what they were: the objective is one over n columns instead of d, and everything that holds for one holds
for it. Any orthonormal basis serves: the principal directions where accuracy or the lack of a penalty asks for them,
those of a Cholesky factor where sparse rows make that the cheapest.
"""

import numpy as np
from scipy import sparse

from . import _backend
from ._backend import check_memory
from ._design import Design
from ._device_design import design_of
from ._parallel import block_size, blocks
from ._pivoted import PivotedCoordinates
from .curvature import to_outputs, to_vector
from .primal import PrimalObjective

_EPS = np.finfo(float).eps
# The part of the working memory that a block of products may take: larger ones are no faster.
_SHARE = 1 / 16


class RowSpan:
    """Orthonormal coordinates of the span of some rows: what :func:`row_span` returns.

    Attributes
    ----------
    rows : ndarray of shape (n, r)
        The rows in these coordinates; r is their rank.
    """

    def to_features(self, T):
        """Vectors (r, k) of the coordinates as vectors (d, k) of the columns."""
        raise NotImplementedError

    def from_features(self, W):
        """Coordinates (r, k) of vectors (d, k), dense or sparse, whose part off the span is left out."""
        raise NotImplementedError

    def coordinates(self, X):
        """Other rows (m, d) in these coordinates, (m, r), without what of them no coefficient can see."""
        out = np.empty((X.shape[0], self.rows.shape[1]))
        for part in blocks(X.shape[0], block_size(32 * self.rows.shape[0], share=_SHARE)):
            out[part] = self.from_features(X[part].T).T
        return out


class DenseSpan(RowSpan):
    """Principal directions of dense rows, by a singular value decomposition; the basis (d, r) is kept."""

    def __init__(self, X):
        U, s, Vt = _backend.thin_svd(_backend.to_double(X))
        values = _backend.to_numpy(s)  # in descending order
        rank = np.count_nonzero(values > max(X.shape) * _EPS * values.max(initial=0.0))
        self.rows, basis = U[:, :rank] * s[:rank], Vt[:rank, :].T
        self._basis = np.ascontiguousarray(basis) if isinstance(basis, np.ndarray) else basis

    def to_features(self, T):
        return _backend.product(self._basis, T)

    def from_features(self, W):
        # Rows given sparse for a model fitted on dense ones are multiplied as they are.
        if sparse.issparse(W):
            return (W.T @ _backend.to_numpy(self._basis)).T
        return _backend.product(self._basis.T, W)


class PrincipalSpan(RowSpan):
    """Principal directions of sparse rows, each of length 1, by the eigenvectors of their Gram matrix.

    The basis is ``X' rows / (lengths**2 values)``, and is never formed: products with it go through the rows.
    Singular values of the rows below about 1e-7 of the largest are rounding, and count as 0.
    """

    def __init__(self, X):
        K, lengths = _unit_gram(X)
        values, vectors = _backend.eigh(K.T, lower=False, overwrite=True)
        first = int(np.searchsorted(values, len(K) * _EPS * max(values[-1], 0.0), side="right"))
        self.rows = vectors[:, first:]
        self.rows *= np.sqrt(values[first:])
        self.rows *= lengths
        self._sparse, self._values = X, values[first:, None]
        self._weights = np.divide(1.0, lengths**2, out=np.zeros_like(lengths), where=lengths > 0)

    def to_features(self, T):
        return self._sparse.T @ (self._weights * (self.rows @ (T / self._values)))

    def from_features(self, W):
        return self.rows.T @ (self._weights * _product(self._sparse, W)) / self._values


class TriangularSpan(RowSpan):
    """Coordinates of sparse rows in which some of them are a lower triangular matrix, :class:`PivotedCoordinates`.

    A thirtieth of the operations of :class:`PrincipalSpan`, and one array of (n, n) instead of three.
    """

    def __init__(self, X):
        self._coordinates, self._sparse = PivotedCoordinates(*_unit_gram(X)), X
        self.rows = self._coordinates.rows

    def to_features(self, T):
        alpha = np.zeros((len(self.rows), T.shape[1]))
        alpha[self._coordinates.pivots] = self._coordinates.solve(T, transposed=True)
        return self._sparse.T @ alpha

    def from_features(self, W):
        return self._coordinates.solve(_product(self._sparse, W)[self._coordinates.pivots])


def row_span(X, *, triangular=False):
    """Orthonormal coordinates of the span of some rows.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d)
    triangular : bool
        Coordinates that are cheaper for sparse rows, and in which least squares is not diagonal.

    Returns
    -------
    RowSpan

    Notes
    -----
    Cost for dense rows n**2 d and 2 n d memory; for sparse ones the rows' common entries, and n**3 / 3 operations and
    n**2 memory where triangular, else about 10 n**3 and 3 n**2.
    """
    n, d = X.shape
    dense = not sparse.issparse(X)
    needed = 3 * n * n + 2 * n * d if dense else n * n if triangular else 3 * n * n
    check_memory(
        8 * needed,
        f"The dual representation of {n:,} rows and {d:,} columns",
        "Use representation='primal', or fewer rows.",
        design_of(X, False).device,
    )
    if dense:
        return DenseSpan(X)
    X = X.astype(np.float64, copy=False)  # a rank is to be told from rounding, and products square the condition
    return TriangularSpan(X) if triangular else PrincipalSpan(X)


def _unit_gram(X):
    """Lower triangle of the Gram matrix (n, n) of sparse rows brought to length 1, and their lengths (n, 1).

    Of length 1, so that the rounding of a long row does not hide what a short one adds.
    """
    n = X.shape[0]
    lengths = Design(X, False).norms()[:, None]
    units = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    X = sparse.csr_array(X).multiply(units).tocsr()
    K = np.zeros((n, n))
    for part in blocks(n, block_size(32 * n, share=_SHARE)):
        K[part, : part.stop] = _product(X[part], X[: part.stop].T)
        K[part, part] = np.tril(K[part, part])
    return K, lengths


def _product(A, B):
    """``A @ B`` of a sparse matrix with a sparse or dense one, dense."""
    out = A @ B
    return out.toarray() if sparse.issparse(out) else np.asarray(out)


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

    representation = "dual"

    def __init__(self, primal):
        d, strength = primal.design.n_features, primal.penalty[:, :1]
        # Without a penalty the curvature is as ill conditioned as the rows, but diagonal in principal directions.
        span = row_span(_with_linear_rows(primal), triangular=bool((strength > 0).all()))
        rank = span.rows.shape[1]
        penalty = np.hstack([np.repeat(strength, rank, axis=1), primal.penalty[:, d:]])
        super().__init__(
            span.rows[: primal.n_rows, :],
            primal.y,
            primal.loss,
            primal.weighting,
            penalty,
            primal.params,
            primal.fit_intercept,
        )
        self.span, self._primal, self.strength = span, primal, strength
        self.params = self.from_params(primal.params)
        self.outside = float(np.linalg.norm(primal.params - self.to_params(self.params)))
        if primal.linear is not None:
            self.linear = self.from_params(primal.linear)

    def with_linear(self, linear):
        return DualObjective(self.primal().with_linear(linear))

    def on(self, device):
        return self if device == self.design.device else DualObjective(self.primal().on(device))

    def take(self, kept):
        return DualObjective(self.primal().take(kept))

    def replace(self, rows, X=None, y=None):
        return DualObjective(self.primal().replace(rows, X, y))

    def append(self, X, y, sample_weight):
        return DualObjective(self.primal().append(X, y, sample_weight))

    def primal(self):
        return self._primal.with_(params=self.to_params(self.params))

    def read_rows(self, X):
        n_bytes = 8 * X.shape[0] * self.design.n_features
        check_memory(n_bytes, f"Products of {X.shape[0]:,} test rows with the training rows", "Ask for fewer rows.")
        return self.design.reading(self.span.coordinates(X))

    def perturbation_gradients(self, rows, onto):
        return self.primal().perturbation_gradients(rows, onto)

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


def _with_linear_rows(primal):
    """The rows (n, d), and behind them what a linear term makes the optimum leave their span by.

    ``w = X' alpha - linear / r``: as one row more for each output, as long as the longest of the others, so that none
    is lost to rounding.
    """
    X, q, d = primal.design.X, primal.n_outputs, primal.design.n_features
    if primal.linear is None:
        return X
    if not (primal.penalty[:, :d] > 0).all():
        raise ValueError(
            "representation='dual' with a linear term in the objective needs a penalty on every coefficient: without "
            "one the objective is unbounded off the span of the rows."
        )
    rows = to_outputs(primal.linear[:, None], q, primal.fit_intercept)[:, :d, 0]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    longest = primal.design.norms().max(initial=0.0) or 1.0
    rows = np.divide(longest * rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    if sparse.issparse(X):
        return sparse.vstack([X, rows], format="csr")
    return primal.design.in_double().append(rows).X


def spans(objective):
    """Whether an objective's optimum lies in the span of its rows (and of its linear term): each output has one penalty
    for its coefficients."""
    coef = objective.penalty[:, : objective.design.n_features]
    return bool(coef.shape[1]) and bool((coef == coef[:, :1]).all())
