"""Products with the design matrix, dense or sparse, with an intercept that is never appended to it."""

import numpy as np
from scipy import sparse

from ._backend import to_numpy
from ._parallel import block_size, blocks

# Rows of a block at which products with few columns run at the rate of the whole.
_PRODUCT_ROWS = 2048
# Symmetric products reach the rate of the bare product from about this many rows on.
_GRAM_ROWS = 2048
# More columns than this are multiplied in panels of as many: products of whole blocks would be copies of the result.
_GRAM_COLUMNS = 512
# The part of the working memory for blocks of one pass over the rows: larger ones are no faster.
_PASS = 1 / 16
# Where more rows in a row stay than this, they are copied at once.
_COPIED = 100
# Numbers that fit the second-level cache.
_CACHED = 2**17
# Relative to its mean, a column's spread below this is the rounding of the mean.
_CONSTANT = 64 * np.finfo(float).eps


class Design:
    """Feature rows x, and the constant 1 behind them where the model has an intercept.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d), float64 or float32
    fit_intercept : bool

    Notes
    -----
    float32 rows stay float32 in the products whose result is as large as the data; sums over rows are float64.
    :func:`sklearn_influence._device_design.design_of` makes the design of rows that may lie on another device.
    """

    device = "cpu"

    def __init__(self, X, fit_intercept):
        self.X = X.tocsr() if sparse.issparse(X) else X
        self.dtype = X.dtype
        self.fit_intercept = fit_intercept
        self.n_rows, self.n_features = X.shape
        self.width = self.n_features + fit_intercept
        self._norms = None

    def __getstate__(self):
        return {**self.__dict__, "_norms": None}

    def _with(self, X):
        """The design of other rows, in the same container and on the same device."""
        return type(self)(X, self.fit_intercept)

    def reading(self, X):
        """The design of test rows, on the device of these where their container can go there."""
        return Design(X, self.fit_intercept)

    @property
    def product_rows(self):
        """Rows of a block, out of those there are, at which a product runs at the rate of the whole."""
        n = max(self.n_rows, 1)
        return n if self.is_sparse else min(n, _PRODUCT_ROWS)  # sparse products are slow to start

    def beside(self, array):
        """An array on the device that products with these rows are made on."""
        return to_numpy(array)

    @property
    def spans_few(self):
        """Whether the rows' span has fewer dimensions than there are columns, by their numbers."""
        return self.n_rows < self.n_features

    @property
    def is_sparse(self):
        return sparse.issparse(self.X)

    def take(self, rows):
        """The design of some rows: a view for a slice, a copy for positions."""
        new = self._with(_without(self.X, ~rows) if self._drops_few(rows) else self.X[rows])
        new._norms = None if self._norms is None else self._norms[rows]
        return new

    def _drops_few(self, rows):
        is_mask = isinstance(rows, np.ndarray) and rows.dtype == bool
        return is_mask and not self.is_sparse and _COPIED * (len(rows) - np.count_nonzero(rows)) < len(rows)

    def replace(self, rows, X):
        """A copy with other features X (k, d) at some positions, in the container and precision of the rest."""
        X = self._alike(X)
        if self.is_sparse:
            order = np.arange(self.n_rows)
            order[rows] = self.n_rows + np.arange(len(rows))
            return self._with(sparse.vstack([self.X, X], format="csr")[order])
        new = self.X.copy()
        new[rows] = X
        return self._with(new)

    def append(self, X):
        """A copy with rows X (k, d) behind the others, in the container and precision of the rest."""
        both = [self.X, self._alike(X)]
        return self._with(sparse.vstack(both, format="csr") if self.is_sparse else np.concatenate(both))

    def _alike(self, X):
        if self.is_sparse:
            return sparse.csr_array(X).astype(self.X.dtype)
        return (X.toarray() if sparse.issparse(X) else np.asarray(X)).astype(self.X.dtype, copy=False)

    def in_double(self):
        """The same rows in float64: a block of them, for several products."""
        return self if self.X.dtype == np.float64 else self._with(self.X.astype(float))

    def _pieces(self, n_columns=1):
        """Row slices and their rows in float64, for products with ``n_columns`` columns; all at once where nothing is
        converted."""
        if self.X.dtype == np.float64 or self.is_sparse:
            yield slice(0, self.n_rows), self.X
            return
        for rows in blocks(self.n_rows, block_size(8 * (self.n_features + n_columns), share=0.25)):
            yield rows, self.X[rows].astype(np.float64)

    def dot(self, V):
        """``[x, 1] V`` for V of shape (width, k): (n, k) in float64."""
        out = np.empty((self.n_rows, V.shape[1]))
        for rows, X in self._pieces(V.shape[1]):
            out[rows] = X @ V[: self.n_features]
        if self.fit_intercept:
            out += V[-1]
        return out

    def tdot(self, U):
        """``sum_i [x_i, 1] U_i`` for U of shape (n, k): (width, k) in float64."""
        out = np.zeros((self.width, U.shape[1]))
        for rows, X in self._pieces():
            out[: self.n_features] += X.T @ U[rows]
        if self.fit_intercept:
            out[-1] = U.sum(axis=0)
        return out

    def scaled(self, U):
        """Outer products of each row with its own ``U_i``: (k, width, n) of ``U_ic [x_i, 1]_j``, dense.

        The block is laid out so that its transposed (n, width) pieces are contiguous: nothing but the small operand
        of a product is ever copied.
        """
        k = U.shape[1]
        U = U.astype(self.X.dtype, copy=False)
        out = np.empty((k, self.n_rows, self.width), dtype=self.X.dtype)
        for c in range(k):
            if self.is_sparse:
                out[c, :, : self.n_features] = self.X.multiply(U[:, c : c + 1]).toarray()
            else:
                np.multiply(self.X, U[:, c : c + 1], out=out[c, :, : self.n_features])
            if self.fit_intercept:
                out[c, :, -1] = U[:, c]
        return out.transpose(0, 2, 1)

    def scaled_onto(self, U, theta, out=None):
        """``sum_c theta_c' (U_ic [x_i, 1])`` for theta of shape (k, width, m): (m, n), in ``out`` where given."""
        scaled = self.scaled(U)
        theta = theta.astype(scaled.dtype, copy=False)
        if len(theta) == 1 and out is not None and scaled.dtype == out.dtype:
            return np.matmul(theta[0].T, scaled[0], out=out)
        result = sum(theta[c].T @ scaled[c] for c in range(len(theta)))
        if out is None:
            return result.astype(np.float64, copy=False)
        out[...] = result
        return out

    @property
    def n_entries(self):
        """How many numbers a pass over the rows reads."""
        return self.X.nnz if self.is_sparse else self.X.size

    def mean(self, weights, *, implicitly=False):
        """Weighted mean of the features (d,); zeros for sparse rows, which cannot be centred without filling them
        (unless that is to be done ``implicitly``), and without an intercept, where shifting the features changes the
        model."""
        total = weights.sum()
        if (self.is_sparse and not implicitly) or not self.fit_intercept or total <= 0:
            return np.zeros(self.n_features)
        return self.tdot(weights[:, None])[:-1, 0] / total

    def centred(self, centre, out=None):
        """``[x - centre, 1]`` of all rows, dense float64 (n, width): for blocks of rows only."""
        out = np.empty((self.n_rows, self.width)) if out is None else out[: self.n_rows]
        X = self.X.toarray() if self.is_sparse else self.X
        np.subtract(X, centre, out=out[:, : self.n_features])
        if self.fit_intercept:
            out[:, -1] = 1.0
        return out

    def gram(self, weights, centre):
        """``sum_i w_i z_i z_i'`` with z = [x - centre, 1], for each column of weights (n, k): (k, width, width).

        Cost: a symmetric product, n width**2 operations a column; rows of weight 0 are skipped. A column whose spread
        about the centre is rounding counts as constant.
        """
        k, d = weights.shape[1], self.n_features
        out = np.zeros((k, self.width, self.width))
        used = np.flatnonzero(weights.any(axis=1))
        everything = len(used) == self.n_rows
        # One buffer for all blocks: fresh ones of this size would cost more in page faults than in arithmetic. It is
        # float64 also for float32 rows: single precision would square the condition in half the digits.
        size = block_size(8 * d, share=_PASS, largest=_GRAM_ROWS)
        buffer = None if self.is_sparse else np.empty((min(size, len(used)), d))
        for part in blocks(len(used), _GRAM_ROWS if self.is_sparse else size):
            rows = part if everything else used[part]
            X = self.X[rows]
            if not self.is_sparse and centre.any():
                X = X - centre if k > 1 else np.subtract(X, centre, out=buffer[: len(X)])
            for c in range(k):
                w = weights[rows, c]
                if self.fit_intercept:
                    out[c, -1, :d] += X.T @ w
                    out[c, -1, -1] += w.sum()
                for sign, one in _by_sign(w):
                    root = np.sqrt(np.abs(w[one]))[:, None]
                    if self.is_sparse:
                        Z = X[one].multiply(root).tocsr()
                        out[c, :d, :d] += sign * (Z.T @ Z).toarray()
                    else:
                        Z = np.multiply(X[one], root, out=buffer[: len(root)])
                        _add_product(out[c, :d, :d], Z, sign)
        if not self.is_sparse and d > _GRAM_COLUMNS:
            for matrix in out:
                _mirror(matrix[:d, :d])
        if self.fit_intercept:
            spread = np.abs(np.einsum("kjj->kj", out[:, :d, :d]))
            constant = is_constant(spread, centre, out[:, -1, -1])
            for c in np.flatnonzero(constant.any(axis=1)):
                out[c, :d, :d] *= ~(constant[c, :, None] | constant[c])
                out[c, -1, :d] *= ~constant[c]
            out[:, :d, -1] = out[:, -1, :d]
        return out

    def column_squares(self, weights):
        """``sum_i w_i [x_i, 1]_j**2`` for weights of shape (n, k): (width, k)."""
        out = np.zeros((self.width, weights.shape[1]))
        size = block_size(8 * self.n_features, share=0.25)
        if not self.is_sparse:  # squares that stay in cache until they are summed
            size = min(size, max(_CACHED // max(self.n_features, 1), 16))
            buffer = np.empty((min(size, self.n_rows), self.n_features))
        for rows in blocks(self.n_rows, size):
            X = self.X[rows]
            squares = X.multiply(X) if self.is_sparse else np.square(X, out=buffer[: len(X)], dtype=np.float64)
            out[: self.n_features] += squares.T @ weights[rows]
        if self.fit_intercept:
            out[-1] = weights.sum(axis=0)
        return out

    def form(self, V, weights, centre):
        """``sum_i w_i (z_i'V)'(z_i'V)`` with z = [x - centre, 1], (k, k), and the rounding in its diagonal (k,).

        Small forms keep their digits here, which ``V' gram V`` would lose.
        """
        out, noise = np.zeros((V.shape[1],) * 2), np.zeros(V.shape[1])
        size, constant = np.abs(V[: self.n_features]), np.abs(V[self.n_features :]).sum(axis=0)
        for part in blocks(self.n_rows, block_size(32 * self.width, largest=_GRAM_ROWS)):
            Z, w = self.take(part).centred(centre), weights[part, None]
            eta = Z @ V
            out += (eta * w).T @ eta
            reach = (np.abs(Z[:, : self.n_features]) + np.abs(centre)) @ size + constant
            noise += (w * (4 * np.finfo(float).eps * reach) ** 2).sum(axis=0)
        return out, noise

    def absolute_tdot(self, U):
        """``sum_i |[x_i, 1]| U_i``, (width, k): what rounding of a sum over rows can amount to."""
        out = np.zeros((self.width, U.shape[1]))
        size = block_size(8 * self.n_features, share=_PASS, largest=self.n_rows if self.is_sparse else _GRAM_ROWS)
        buffer = None if self.is_sparse else np.empty((min(size, self.n_rows), self.n_features))
        for rows in blocks(self.n_rows, max(size, 1)):
            X = self.X[rows]
            X = abs(X) if self.is_sparse else np.abs(X, out=buffer[: len(X)])  # stays in cache for the product
            out[: self.n_features] += X.T @ U[rows]
        if self.fit_intercept:
            out[-1] = U.sum(axis=0)
        return out

    def norms(self):
        """Euclidean norm of each row's features, without the intercept's 1: (n,). Kept once known."""
        if self._norms is None:
            self._norms = self._find_norms()
        return self._norms

    def _find_norms(self):
        if self.is_sparse:
            X = self.X.astype(np.float64, copy=False)
            return np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
        out = np.empty(self.n_rows)
        for rows in blocks(self.n_rows, block_size(8 * self.n_features, share=_PASS)):
            X = self.X[rows].astype(np.float64, copy=False)
            np.einsum("ij,ij->i", X, X, out=out[rows])
        return np.sqrt(out, out=out)


def is_constant(spread, centre, total):
    """Which columns (k, d) are constant: their squares about the centre (k, d), over rows of total weight (k,), are no
    more than the rounding of the centre."""
    return spread <= (_CONSTANT * centre) ** 2 * np.abs(total)[:, None]


def _without(X, gone):
    """A copy of dense rows without the few of a mask, in long pieces: faster than row by row."""
    ends = np.flatnonzero(gone)
    out, at, start = np.empty((len(X) - len(ends), X.shape[1]), dtype=X.dtype), 0, 0
    for end in [*ends.tolist(), len(X)]:
        out[at : at + end - start] = X[start:end]
        at, start = at + end - start, end + 1
    return out


def _by_sign(w):
    """The signs of some weights, and the rows of each."""
    negative = w < 0
    if not negative.any():
        return [(1.0, slice(None))]
    if negative.all() or not (w > 0).any():
        return [(-1.0, slice(None))]
    return [(1.0, np.flatnonzero(~negative)), (-1.0, np.flatnonzero(negative))]


def _add_product(out, Z, sign):
    """Add ``sign * Z'Z`` to ``out``; with many columns to its upper triangle alone, see :func:`_mirror`."""
    d = Z.shape[1]
    if d <= _GRAM_COLUMNS:
        out += sign * (Z.T @ Z)  # one operand twice: NumPy calls the symmetric product
        return
    for part in blocks(d, _GRAM_COLUMNS):
        product = Z[:, part].T @ Z[:, part.start :]
        if sign < 0:
            np.negative(product, out=product)
        out[part, part.start :] += product


def _mirror(A):
    """Copy the upper triangle of a square matrix of many columns onto its lower one, in place."""
    for part in blocks(len(A), _GRAM_COLUMNS):
        A[part.stop :, part] = A[part, part.stop :].T
