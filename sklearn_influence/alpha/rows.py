"""Rows as a kernel model sees them: the values of the kernel between them and its points."""

import numpy as np

from .._backend import on_device, to_numpy
from .._parallel import block_size, blocks
from .mixing import places, product
from .row_blocks import take


class Sections:
    """Some rows, and the kernel's values between them and the training points.

    Attributes
    ----------
    n_rows : int
    width : int
        The training points.
    """

    def __init__(self, gram):
        self.gram, self.width = gram, len(gram)
        self._values = None

    def values(self):
        """(m, n), or (m q, n q) where the kernel mixes outputs, on the device; kept, since several products are made
        with them."""
        if self._values is None:
            self._values = self._find()
        return self._values

    def in_double(self):
        return self

    def times(self, B):
        """The values times coefficients B (n, q, k): (m, q, k), as a NumPy array."""
        out, B = np.empty((self.n_rows, *B.shape[1:])), on_device(B, self.gram.device)
        for part in self._blocks():
            out[part] = to_numpy(product(self.take(part).values(), B))
        return out

    def pull(self, U, out):
        """Each row's values times U (m, q), into ``out`` (n, q, m)."""
        K = to_numpy(self.values())
        if self.gram.mixed:
            moved = U[:, None, :] @ K.reshape(self.n_rows, U.shape[1], -1)
            out[...] = moved.reshape(self.n_rows, *out.shape[:2]).transpose(1, 2, 0)
        else:
            np.multiply(K.T[:, None, :], U.T, out=out)

    def pull_sum(self, U):
        """The sum of :meth:`pull` over the rows, (n, q)."""
        total = np.zeros((self.width, U.shape[1]))
        for part in self._blocks():
            total += product(to_numpy(self.take(part).values()).T, U[part][:, :, None])[:, :, 0]
        return total

    @property
    def row_bytes(self):
        """Bytes of a row's values."""
        return 8 * self.width * self.gram.width**2

    def _blocks(self):
        return blocks(self.n_rows, block_size(self.row_bytes, largest=max(self.n_rows, 1)))


class TestRows(Sections):
    """Rows (m, d) that outputs are asked for, whose kernel values are computed by blocks where they are many."""

    __test__ = False  # no test of pytest's

    def __init__(self, gram, X):
        super().__init__(gram)
        self.X, self.n_rows = X, X.shape[0]

    def _find(self):
        return self.gram.across(self.X)

    def times(self, B):
        moved = self.gram.moved(self.X, B) if self.gram.featured and self._values is None else None
        return super().times(B) if moved is None else moved

    def take(self, part):
        new = TestRows(self.gram, self.X[part])
        if self._values is None and self.n_rows <= block_size(self.row_bytes, largest=self.n_rows):
            self.values()  # all that is asked for fits the working memory, and is asked for again
        if self._values is not None:
            new._values = take(self._values, places(part, self.gram.width))
        return new


class OwnRows(Sections):
    """Training rows that outputs are asked for."""

    def __init__(self, gram, positions):
        super().__init__(gram)
        self.positions, self.n_rows = positions, len(positions)

    def _find(self):
        return self.gram.rows(self.positions)

    def take(self, part):
        return type(self)(self.gram, self.positions[part])


class Pullers(OwnRows):
    """Training rows that pull at the model: what they pull along is their own coefficients."""


class Points:
    """The training points of a kernel model, in the words that are asked of a design matrix."""

    fit_intercept, is_sparse, spans_few = False, False, True

    def __init__(self, gram):
        self.gram = gram
        self.n_rows, self.n_features = gram.X.shape
        self.width, self.n_entries = self.n_rows, gram.size**2
        self.device, self.dtype = gram.device, np.dtype(getattr(gram.X, "dtype", float))

    @property
    def X(self):
        return self.gram.X

    def take(self, rows):
        rows = np.arange(self.n_rows)[rows]
        return Pullers(self.gram, rows)
