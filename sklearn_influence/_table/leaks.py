"""Features that tell the target without an error, which is seldom what a person means to audit."""

import numpy as np

from .file import listed

_LEAST = 20  # rows in which a feature is known
_PER_VALUE = 5  # rows of each value on average, or the values tell the rows apart and not the target
_FEW = 50


def note_leaks(X, y, classifies, target, notes):
    """Say which features determine the target, each on its own.

    Parameters
    ----------
    X : DataFrame
        Float, bool and category columns.
    y : ndarray
    classifies : bool
    target : str
    notes : list of str
    """
    found = [name for name in X if _determines(X[name], y, classifies)]
    if found:
        verb, it = ("tells", "it is") if len(found) == 1 else ("tell", "they are")
        each = "" if len(found) == 1 else " each"
        notes.append(
            f"{listed(found)}{each} {verb} the target {target!r} without an error, and the model learns little else; "
            f"if {it} only known together with the target, say --drop."
        )


def _determines(column, y, classifies):
    import pandas as pd

    known = column.notna().to_numpy()
    if known.sum() < max(_LEAST, 0.5 * len(y)):
        return False
    labels, column = y[known], column[known]
    if len(np.unique(labels)) < 2:
        return False
    if column.dtype.kind == "f":
        x = column.to_numpy()
        if not classifies:
            return _on_a_line(x, labels)
        if _cuts(x, labels):
            return True
    values = pd.factorize(column)[0]
    n_values = int(values.max()) + 1
    if n_values < 2 or n_values * _PER_VALUE > len(labels) or (column.dtype.kind == "f" and n_values > _FEW):
        return False
    pairs = np.unique(np.stack([values, np.unique(labels, return_inverse=True)[1]]), axis=1)
    return pairs.shape[1] == n_values


def _on_a_line(x, y):
    spread = np.ptp(x), np.ptp(y)
    if not all(spread):
        return False
    x, y = (x - x.min()) / spread[0], (y - y.min()) / spread[1]
    return bool(np.abs(y - x).max() < 1e-9 or np.abs(1 - y - x).max() < 1e-9)


def _cuts(x, labels):
    """Whether the rows in order of a number have their classes one after the other, no number in two classes."""
    order = np.lexsort((np.unique(labels, return_inverse=True)[1], x))
    x, labels = x[order], labels[order]
    change = labels[1:] != labels[:-1]
    return int(change.sum()) == len(np.unique(labels)) - 1 and bool((np.diff(x)[change] > 0).all())
