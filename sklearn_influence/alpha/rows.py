"""Rows as a kernel model sees them: the values of the kernel between them and its points."""

import numpy as np

from .._parallel import block_size
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
        """(m, n), on the device; kept, since several products are made with them."""
        if self._values is None:
            self._values = self._find()
        return self._values

    def in_double(self):
        return self


class TestRows(Sections):
    """Rows (m, d) that outputs are asked for, whose kernel values are computed by blocks where they are many."""

    __test__ = False  # no test of pytest's

    def __init__(self, gram, X):
        super().__init__(gram)
        self.X, self.n_rows = X, X.shape[0]

    def _find(self):
        return self.gram.across(self.X)

    def take(self, part):
        new = TestRows(self.gram, self.X[part])
        if self._values is None and self.n_rows <= block_size(8 * self.width, largest=self.n_rows):
            self.values()  # all that is asked for fits the working memory, and is asked for again
        if self._values is not None:
            new._values = take(self._values, part)
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
        self.width, self.n_entries = self.n_rows, self.n_rows**2
        self.device, self.dtype = gram.device, np.dtype(getattr(gram.X, "dtype", float))

    @property
    def X(self):
        return self.gram.X

    def take(self, rows):
        rows = np.arange(self.n_rows)[rows]
        return Pullers(self.gram, rows)
