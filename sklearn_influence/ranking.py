"""The strongest rows of each test row, without the matrix of all effects."""

import numpy as np

from .influence import outputs_change

# What is smallest for the rows that come first.
_KEYS = {"harmful": lambda values: values, "helpful": np.negative, "absolute": lambda values: -np.abs(values)}


def top_rows(effects, X, y, loss, method, k, order, verbose=0):
    """The k columns of largest effect on each test row's loss, streaming over the columns.

    Parameters
    ----------
    effects : RowEffects
    X, y : Design, ndarray
        Test rows.
    loss : Loss
    method : {"newton", "first_order", "second_order"}
    k : int
        At most the number of columns.
    order : {"harmful", "helpful", "absolute"}
        Smallest (most negative) first, largest first, or largest absolute value first.

    Returns
    -------
    columns : ndarray of shape (m, k)
    changes : ndarray of shape (m, k)
        Loss changes, in that order.

    Notes
    -----
    A loss that is monotone in its only output is ranked on the output's change, and evaluated for the winners alone.
    Memory: one block of columns, and (m, k).
    """
    f = effects.objective.outputs(X)
    rising = loss.rising(y) if method != "first_order" and order != "absolute" else None
    best = _Best(X.n_rows, k)
    for tests, part, values in _ranked_blocks(effects, X, y, f, loss, method, rising, verbose):
        best.merge(tests, _KEYS[order](values), values, part.start)
    columns, values = best.ordered()
    if rising is not None:
        values = loss.change(y, f, (values * rising[:, None])[:, None, :])
    return columns, values


def _ranked_blocks(effects, X, y, f, loss, method, rising, verbose):
    """Blocks of what columns are ranked by: the loss change, or the output change where the loss rises with it."""
    u = loss.gradient(y, f) if method == "first_order" else None
    for tests, part, df in outputs_change(effects, X, verbose):
        if u is not None:
            yield tests, part, np.einsum("mq,mqk->mk", u[tests], df)
        elif rising is not None:
            yield tests, part, df[:, 0] * rising[tests, None]
        else:
            yield tests, part, loss.change(y[tests], f[tests], df)


class _Best:
    """The k smallest keys of each row met so far, with their columns and values."""

    def __init__(self, m, k):
        self.keys = np.full((m, k), np.inf)
        self.columns = np.zeros((m, k), dtype=np.intp)
        self.values = np.zeros((m, k))

    def merge(self, tests, keys, values, offset):
        """Take up a block of candidates (m, b), whose columns begin at ``offset``."""
        k = self.keys.shape[1]
        beaten = keys < self.keys[tests].max(axis=1)[:, None]
        counts = np.count_nonzero(beaten, axis=1)
        if not counts.any():
            return
        if counts.max() > max(4 * k, 64):  # the first blocks: most candidates still count
            rows = np.flatnonzero(counts)
            columns = np.argpartition(keys[rows], min(k, keys.shape[1]) - 1, axis=1)[:, :k]
            self._take(rows, columns, keys, values, tests, offset)
            return
        # Few candidates a row: pack them to the left, repeating a row's first one where it has fewer.
        rows, found = np.nonzero(beaten)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        lane = np.arange(len(rows)) - first[rows]
        some = np.flatnonzero(counts)
        columns = np.full((len(keys), counts.max()), -1)
        columns[rows, lane] = found
        self._take(some, columns[some], keys, values, tests, offset)

    def _take(self, rows, columns, keys, values, tests, offset):
        """Merge candidate columns (r, c), -1 for none, into the best of some rows of the block."""
        k, at = self.keys.shape[1], rows + tests.start
        none = columns < 0
        candidates = np.where(none, np.inf, keys[rows[:, None], columns])
        pool = np.hstack([self.keys[at], candidates])
        best = np.argpartition(pool, k - 1, axis=1)[:, :k]
        self.keys[at] = np.take_along_axis(pool, best, axis=1)
        for kept, new in ((self.columns, columns + offset), (self.values, values[rows[:, None], columns])):
            kept[at] = np.take_along_axis(np.hstack([kept[at], new]), best, axis=1)

    def ordered(self):
        ranking = np.argsort(self.keys, axis=1, kind="stable")
        return np.take_along_axis(self.columns, ranking, axis=1), np.take_along_axis(self.values, ranking, axis=1)
