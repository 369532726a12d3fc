"""The design matrix on another device than the CPU."""

import numpy as np
from scipy import sparse

from ._backend import array_namespace, beside, check_memory, inner, on_device, to_double, to_numpy
from ._design import Design, is_constant
from ._parallel import block_size, blocks

# Rows of a block: enough for the rate of the whole, of a column or of many.
_ROWS = 2**16


def design_of(X, fit_intercept):
    """The design of rows (n, d): a :class:`Design`, or a :class:`DeviceDesign` where they lie on another device."""
    host = isinstance(X, np.ndarray) or sparse.issparse(X)
    return Design(X, fit_intercept) if host else DeviceDesign(X, fit_intercept)


class DeviceDesign(Design):
    """Dense rows on another device, where the products that read them are made.

    Parameters
    ----------
    X : array of shape (n, d), float64 or float32, of any array API namespace but NumPy
    fit_intercept : bool

    Notes
    -----
    Operands and results are NumPy arrays, as those of :class:`Design`; three things stay on the device: what ``dot``
    and ``tdot`` make of operands that lie there, the matrices of ``gram``, and the rows of ``centred``. A pickle holds
    the rows as NumPy arrays.
    """

    device = "cuda"

    def __init__(self, X, fit_intercept):
        super().__init__(X, fit_intercept)
        self._xp = array_namespace(X)
        self.dtype = np.dtype(np.float32 if X.dtype == self._xp.float32 else np.float64)  # NumPy's, for what goes there

    def __reduce__(self):
        return Design, (to_numpy(self.X), self.fit_intercept)

    @property
    def product_rows(self):
        return min(max(self.n_rows, 1), _ROWS)

    def beside(self, array):
        return beside(array, self.X)

    def reading(self, X):
        if sparse.issparse(X):  # not to be filled: the products with such rows are the CPU's
            return Design(X, self.fit_intercept)
        check_memory(X.nbytes, f"The copy of {X.shape[0]:,} rows", "Ask for fewer rows at a time.", self.device)
        return self._with(self.beside(X))

    def take(self, rows):
        if isinstance(rows, slice):
            X = self.X[rows, :]
        else:
            rows = np.asarray(rows)
            X = self._xp.take(self.X, self.beside(np.flatnonzero(rows) if rows.dtype == bool else rows), axis=0)
        new = self._with(X)
        new._norms = None if self._norms is None else self._norms[rows]
        return new

    def replace(self, rows, X):
        order = np.arange(self.n_rows)
        order[rows] = self.n_rows + np.arange(len(rows))
        return self.append(X).take(order)

    def append(self, X):
        return self._with(self._xp.concat([self.X, self._alike(X)]))

    def _alike(self, X):
        X = X.toarray() if sparse.issparse(X) else to_numpy(X)
        return self.beside(X.astype(self.dtype, copy=False))

    def in_double(self):
        return self if self.dtype == np.float64 else self._with(to_double(self.X))

    def _pieces(self, n_columns=1):
        """Row slices and their rows in float64."""
        for rows in blocks(self.n_rows, block_size(8 * (self.n_features + n_columns), largest=_ROWS)):
            yield rows, to_double(self.X[rows, :])

    def dot(self, V):
        there, n_columns = self.beside(V), V.shape[1]
        pieces = [X @ there[: self.n_features, :] for _, X in self._pieces(n_columns)]
        out = self._xp.concat(pieces) if pieces else self.beside(np.zeros((0, n_columns)))
        if self.fit_intercept:
            out += there[-1, :]
        return beside(out, V)

    def tdot(self, U):
        return beside(self._sum(self.beside(U), lambda X: X), U)

    def _sum(self, U, of):
        """``sum_i of(x_i) U_i`` for U on the device, with the sum of U below where there is an intercept."""
        xp, out = self._xp, self.beside(np.zeros((self.n_features, U.shape[1])))
        for rows, X in self._pieces():
            out += of(X).T @ U[rows, :]
        return xp.concat([out, xp.sum(U, axis=0)[None, :]]) if self.fit_intercept else out

    def column_squares(self, weights):
        return to_numpy(self._sum(self.beside(np.asarray(weights)), self._xp.square))

    def absolute_tdot(self, U):
        return to_numpy(self._sum(self.beside(U), self._xp.abs))

    def _find_norms(self):
        squares = [inner(X, X, axis=1) for _, X in self._pieces()]
        return np.sqrt(np.concatenate([*squares, np.zeros(0)]))

    def scaled(self, U):
        return np.stack([to_numpy(self._scaled(one)) for one in self._columns(U)]).transpose(0, 2, 1)

    def _columns(self, U):
        """The columns (n, 1) of U on the device, in the precision of the rows."""
        U = self.beside(U.astype(self.dtype, copy=False))
        return (U[:, c : c + 1] for c in range(U.shape[1]))

    def _scaled(self, u):
        """Each row times its own number of u (n, 1): (n, width) on the device."""
        X = self.X * u
        return self._xp.concat([X, u], axis=1) if self.fit_intercept else X

    def scaled_onto(self, U, theta, out=None):
        theta = [self.beside(one.astype(self.dtype, copy=False)) for one in theta]
        result = sum(one.T @ self._scaled(u).T for one, u in zip(theta, self._columns(U), strict=True))
        if out is None:
            return to_numpy(result).astype(np.float64, copy=False)
        out[...] = to_numpy(result)
        return out

    def centred(self, centre, out=None):
        xp, X = self._xp, to_double(self.X) - self.beside(centre)
        return xp.concat([X, xp.ones((self.n_rows, 1), dtype=xp.float64)], axis=1) if self.fit_intercept else X

    def gram(self, weights, centre):
        """As :meth:`Design.gram`, a list of matrices on the device."""
        k, there = weights.shape[1], self.beside(np.asarray(weights))
        out = [self.beside(np.zeros((self.width, self.width))) for _ in range(k)]
        for rows in blocks(self.n_rows, block_size(24 * self.width, largest=_ROWS)):
            Z = self.take(rows).centred(centre)
            for c in range(k):
                out[c] += Z.T @ (Z * there[rows, c : c + 1])
        return [self._settled(matrix, centre, total) for matrix, total in zip(out, weights.sum(axis=0), strict=True)]

    def _settled(self, A, centre, total):
        """A symmetric matrix of products, with nothing in columns whose spread about the centre is rounding."""
        A = 0.5 * (A + A.T)
        if self.fit_intercept:
            spread = np.abs(to_numpy(self._xp.linalg.diagonal(A)))[None, : self.n_features]
            varies = self.beside(1.0 - np.append(is_constant(spread, centre, np.array([total]))[0], 0.0))
            A *= varies[:, None]
            A *= varies
        return A

    def form(self, V, weights, centre):
        xp, eps = self._xp, float(np.finfo(float).eps)
        V, there, size = self.beside(V), self.beside(weights), self.beside(np.abs(V))
        out, noise = np.zeros((V.shape[1],) * 2), np.zeros(V.shape[1])
        for part in blocks(self.n_rows, block_size(32 * self.width, largest=_ROWS)):
            Z, w = self.take(part).centred(centre), there[part, None]
            eta = Z @ V
            out += to_numpy((eta * w).T @ eta)
            reach = xp.abs(Z) + self.beside(np.append(np.abs(centre), np.zeros(self.width - self.n_features)))
            noise += to_numpy(xp.sum(w * (4 * eps * (reach @ size)) ** 2, axis=0))
        return out, noise


def placed(design, device):
    """A design on a device: the same object where its rows lie there.

    Raises
    ------
    ValueError
        For sparse rows on "cuda", and rows that do not fit the card.
    """
    if design.device == device:
        return design
    check_dense(design)
    what = f"The copy of {design.n_rows:,} rows and {design.n_features:,} columns"
    check_memory(design.dtype.itemsize * design.n_entries, what, "Use device='cpu', or float32 rows.", device)
    return design_of(on_device(design.X, device), design.fit_intercept)


def check_dense(design):
    """Refuse sparse rows for a device, where they would have to be filled."""
    if design.is_sparse:
        raise ValueError(
            "device='cuda' takes dense rows, got sparse ones, which would have to be filled. Use device='cpu' or "
            "'auto', or give X.toarray() where that fits the card."
        )
