"""Kernel values of the training points with one another and with others, on the device that they are used on."""

import copy

import numpy as np
from scipy import sparse

from .._backend import array_namespace, check_memory, on_device, submatrix, to_double, to_numpy
from .._parallel import block_size, blocks
from ..kernels import gram as kernel_matrix
from .mixing import places, product
from .row_blocks import RowBlocks, fits, in_blocks, take

# A given matrix may differ from its transpose by so many units of rounding.
_SYMMETRIC = 64


class Gram:
    """The kernel's values between training points.

    Parameters
    ----------
    kernel : str, callable or Kernel
        As :func:`sklearn_influence.kernels.gram` takes it; of "precomputed" the points are the matrix itself.
    X : ndarray or CSR matrix of shape (n, d)
    device : {"cpu", "cuda"}
    **params
        The kernel's parameters.

    Attributes
    ----------
    matrix : array of shape (n, n)
        On the device; computed when it is first needed, and in no pickle.
    """

    spreads = False  # whether even the machine's own memory is taken not to hold the matrix, see RowBlocks
    width = 1  # rows and columns of the matrix that each point has: several where its values mix the outputs
    featured = False  # whether the model's own parameters are others than the coefficients, see TangentGram

    def __init__(self, kernel, X, device="cpu", **params):
        self.kernel, self.X, self.device, self.params = kernel, X, device, params
        self._matrix = None

    def __copy__(self):  # copy's own would ask for what a pickle holds
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __getstate__(self):
        return {**self.__dict__, "_matrix": None, "device": "cpu"}

    def __len__(self):
        return self.X.shape[0]

    @property
    def precomputed(self):
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    @property
    def mixed(self):
        """Whether the values mix the outputs, see :mod:`~.mixing`."""
        return self.width > 1

    @property
    def size(self):
        """Rows and columns of the matrix."""
        return len(self) * self.width

    @property
    def matrix(self):
        if self._matrix is None:
            self._check_memory()
            if not self.spreads and (self.device == "cpu" or fits(self.size, self.device)):
                # The points twice, not once: so a WhiteKernel leaves out the noise, which is a penalty.
                self._matrix = self._values(self.X, self.X)
            else:
                self._matrix = in_blocks(self._values, self.X, self.device, width=self.width)
        return self._matrix

    def _check_memory(self):
        n = len(self)
        check_memory(8 * n**2, f"The kernel matrix of {n:,} rows", "Use fewer rows, or approximate the kernel.")

    def _values(self, X, Z, device=None):
        device = self.device if device is None else device
        if self.precomputed:
            X = np.ascontiguousarray(X)  # what a system adds to its diagonal needs rows in their order
        values = kernel_matrix(self.kernel, X, Z, device=device, **self.params)
        return to_double(values) if device == "cpu" else values

    def host_matrix(self):
        """A copy of the matrix as a NumPy array."""
        if self._in_blocks:
            return self.matrix.rows(slice(None))
        return np.array(to_numpy(self.matrix))

    @property
    def _in_blocks(self):
        return isinstance(self._matrix, RowBlocks)

    def diagonal(self):
        """The values of the points with themselves, (n,), or (n q,) where mixed, as a NumPy array."""
        K = self.matrix
        return K.diagonal() if self._in_blocks else to_numpy(array_namespace(K).linalg.diagonal(K))

    def across(self, X):
        """Values of other points (m, d) with these: (m, n), or (m q, n q) where mixed."""
        return self._values(X, self.X)

    def times(self, B):
        """The matrix times coefficients B (n, q, k): (n, q, k), as a NumPy array."""
        return to_numpy(product(self.matrix, on_device(B, self.device)))

    def rows(self, positions):
        """Values of some of these points with all: (k, n), or (k q, n q) where mixed."""
        positions = places(positions, self.width)
        if isinstance(self.matrix, RowBlocks):
            return on_device(self.matrix.rows(positions), self.device)
        return take(self.matrix, positions)

    def on(self, device):
        """The same values on another device, whatever of them is known."""
        if device == self.device:
            return self
        other = copy.copy(self)
        other.device = device
        known = self._matrix is not None and not self._in_blocks and (device == "cpu" or fits(self.size, device))
        other._matrix = on_device(self._matrix, device) if known else None
        return other

    def start(self, X=None):
        """The outputs (m, q) of points where all coefficients are 0; None: of these points."""
        return 0.0

    def take(self, kept):
        """Some of the points; what is known of their matrix is kept, and nothing of the others'."""
        kept = np.flatnonzero(kept) if np.asarray(kept).dtype == bool else np.asarray(kept)
        other = copy.copy(self)
        other.X = self.X[kept]
        if self._matrix is not None:
            rows = places(kept, self.width)
            other._matrix = self._matrix.take(rows) if self._in_blocks else submatrix(self._matrix, rows)
        if self.precomputed:
            known = self._matrix is not None and self.device == "cpu"
            other.X = other._matrix if known else self.X[np.ix_(kept, kept)]
        return other

    def _check_known(self):
        if self.precomputed:
            raise ValueError(
                "New rows and kernel='precomputed' do not go together: the kernel's values of new rows with one "
                "another are not known. Pass the kernel as a function, or fit again with the whole matrix."
            )

    def replace(self, rows, X):
        """Other points (k, d) at some positions; the values that stay are kept."""
        self._check_known()
        other = copy.copy(self)
        if sparse.issparse(self.X):
            order = np.arange(len(self))
            order[rows] = len(self) + np.arange(len(rows))
            other.X = sparse.vstack([self.X, _alike(X, self.X)], format="csr")[order]
        else:
            other.X = self.X.copy()
            other.X[rows] = _alike(X, self.X)
        if self._in_blocks:
            other._matrix = None
        elif self._matrix is not None:
            other._matrix = _with_rows(self._matrix, places(rows, self.width), other.across(other.X[rows]))
        return other

    def append(self, X):
        """More points behind the others; the values that are known are kept."""
        self._check_known()
        other, X = copy.copy(self), _alike(X, self.X)
        stack = sparse.vstack if sparse.issparse(self.X) else np.concatenate
        other.X = stack([self.X, X], **({"format": "csr"} if sparse.issparse(self.X) else {}))
        if self._in_blocks:
            other._matrix = None
        elif self._matrix is not None:
            other._matrix = _bordered(self._matrix, other.across(X))
        return other


def check_symmetric(K):
    """Refuse a given kernel matrix that is not symmetric: of its two halves a fit reads one, and a step both."""
    if K.shape[0] != K.shape[1]:
        raise ValueError(f"A precomputed kernel must be a matrix of {len(K)} rows and columns in fit, got {K.shape}.")
    apart, where = 0.0, (0, 0)
    for part in blocks(len(K), block_size(16 * len(K), share=0.25)):
        gap = np.abs(K[part] - K[:, part].T)
        i, j = np.unravel_index(int(gap.argmax()), gap.shape)
        if gap[i, j] > apart:
            apart, where = float(gap[i, j]), (part.start + int(i), int(j))
    largest = max(float(K.max()), -float(K.min()))
    if apart > _SYMMETRIC * np.finfo(K.dtype).eps * largest:
        raise ValueError(
            f"A precomputed kernel must be symmetric in fit: entries {where} and {where[::-1]} differ by {apart:.2g}. "
            "Pass (K + K.T) / 2 if that is rounding."
        )


def _alike(X, like):
    """Points in the container and precision of others."""
    if sparse.issparse(like):
        return sparse.csr_array(X).astype(like.dtype)
    return (X.toarray() if sparse.issparse(X) else np.asarray(X)).astype(like.dtype, copy=False)


def _bordered(A, new):
    """A symmetric matrix (n, n) with rows (k, n + k) more, and columns."""
    if isinstance(A, np.ndarray):  # never a third matrix of this size beside the two
        n, size = A.shape[0], new.shape[1]
        out = np.empty((size, size), dtype=A.dtype)
        out[:n, :n], out[n:], out[:n, n:] = A, new, new[:, :n].T
        return out
    xp = array_namespace(A)
    upper = xp.concat([A, xp.matrix_transpose(new[:, : A.shape[0]])], axis=1)
    return xp.concat([upper, new], axis=0)


def _with_rows(A, rows, new):
    """A symmetric matrix with other rows (k, n) and columns at some positions."""
    xp = array_namespace(A)
    if isinstance(A, np.ndarray):
        A = A.copy()
        A[rows] = new
        A[:, rows] = new.T
        return A
    place = np.arange(A.shape[0])
    place[rows] = len(place) + np.arange(len(rows))
    order = xp.asarray(place)
    A = xp.take(xp.concat([A, new], axis=0), order, axis=0)
    return xp.take(xp.concat([A, xp.matrix_transpose(new)], axis=1), order, axis=1)
