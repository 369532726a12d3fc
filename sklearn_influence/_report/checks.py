"""What the columns of a data frame tell about its training rows: duplicates, values seen once, slices, groups.

Frames are seen column by column, so pandas and polars serve alike; nothing is imported for either.
"""

from dataclasses import dataclass

import numpy as np

from ..effects import HIGH_LEVERAGE

MISSING = "(missing)"
FEW_NUMBERS = 10  # numbers of at most this many values are taken for categories
MOST_VALUES = 1_000
LEAST_ROWS = 5
# A slice is listed where what it does is this many standard errors from 0, or from what random rows do; many slices are
# looked at, and two would often be chance.
CLEAR = 3.0
# A number this many standard deviations from its column's mean is named as a reason of a high leverage.
FAR = 4.0


@dataclass
class Column:
    """One column: ``values`` of each code, ``codes`` of the training and of the other rows; -1 is missing.

    ``text`` is whether each value is a parameter of its own; ``categorical`` also takes numbers of few values.
    """

    name: str
    values: list
    codes: np.ndarray
    others: np.ndarray
    text: bool
    categorical: bool


def is_frame(X):
    """Whether X has columns of their own types and names."""
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def read_columns(X, others):
    """`Column` of each column of two frames; ``others`` need not be a frame with the same columns (then none are)."""
    same = is_frame(others) and list(others.columns) == list(X.columns)
    return [_column(X, others if same else None, name) for name in X.columns]


def _column(X, others, name):
    parts = [_array(X[name])] + ([_array(others[name])] if others is not None else [])
    values, codes = _factorize(np.concatenate(parts), X)
    n = len(parts[0])
    text = parts[0].dtype == object
    few = len(values) <= (MOST_VALUES if text else FEW_NUMBERS)
    return Column(str(name), values, codes[:n], codes[n:], text, few)


def _array(column):
    """The column as float or object array; None, NaN and NA all become NaN or None."""
    numeric = column.dtype.is_numeric() if hasattr(column.dtype, "is_numeric") else column.dtype.kind in "iuf"
    if numeric:
        # Beyond 2**53 neighbouring integers are one float, as they are to the model.
        return np.asarray(column.to_numpy(), dtype=float)
    return np.array(column.to_list(), dtype=object)


def _factorize(array, frame):
    if hasattr(frame, "iloc"):
        import pandas as pd

        codes, values = pd.factorize(array)
        return _tidy(values), codes
    if array.dtype == object:
        known = {}
        codes = [-1 if value is None or value != value else known.setdefault(value, len(known)) for value in array]
        return list(known), np.array(codes)
    values, codes = np.unique(array, return_inverse=True)
    missing = np.isnan(values)
    return _tidy(values[~missing]), np.where(missing[codes], -1, codes)


def _tidy(values):
    """Values as plain objects, whole numbers as integers."""
    if values.dtype.kind == "f" and len(values) <= MOST_VALUES and np.isfinite(values).all():
        return [int(value) if value == int(value) else value for value in values.tolist()]
    return values.tolist()


def duplicates(columns, n, n_others):
    """Training rows whose columns are all equal to another row's.

    Parameters
    ----------
    columns : list of Column
    n, n_others : int
        Training rows, and other (validation) rows.

    Returns
    -------
    sets : ndarray of shape (n,)
        Number of the set of equal rows that a row is in, -1 where it is alone.
    among_others : ndarray of bool, shape (n,)
        Whether a row equals one of the others.
    others_seen : int
        How many of the others equal a training row.
    """
    keys = np.zeros(n + n_others, dtype=np.int64)
    for column in columns:
        codes = np.concatenate([column.codes, column.others]) if n_others else column.codes
        # Pairs of numbers below n + 1 and of codes are one number each, and numbered anew before they can overflow.
        keys = np.unique(keys * (codes.max(initial=0) + 2) + codes + 1, return_inverse=True)[1]
    own, other = keys[:n], keys[n:]
    size = int(keys.max(initial=0)) + 1
    among = np.bincount(other, minlength=size) > 0
    counts = np.bincount(own, minlength=size)
    sets = np.full(n, -1)
    repeated = counts[own] > 1
    _, first, numbers = np.unique(own[repeated], return_index=True, return_inverse=True)
    sets[repeated] = np.argsort(np.argsort(first))[numbers]  # numbered as they come
    return sets, among[own], int((counts[other] > 0).sum())


def duplicates_report(columns, rows, n_others, k):
    """`duplicates` in figures, and the ``k`` sets of contradicting labels that hold the most surprising rows.

    Parameters
    ----------
    rows : dict of ndarray
        The report's columns, in the order of the frames.

    Returns
    -------
    dict
    """
    n = len(rows["row"])
    sets, among, seen = duplicates(columns, n, n_others)
    targets = [column for name, column in rows.items() if name.split("_")[0] == "label"]
    labels = np.zeros(n, dtype=np.int64)
    for column in targets:  # of whatever type: an array of objects has no order to be unique by rows
        known = {}
        codes = np.array([known.setdefault(value, len(known)) for value in column.tolist()])
        labels = np.unique(labels * len(known) + codes, return_inverse=True)[1]
    size = sets.max(initial=-1) + 1
    lowest, highest = np.full(size, n), np.full(size, -1)
    inside = sets >= 0
    np.minimum.at(lowest, sets[inside], labels[inside])
    np.maximum.at(highest, sets[inside], labels[inside])
    torn = lowest < highest
    surprise = np.full(size, -np.inf)
    np.maximum.at(surprise, sets[inside], rows["self_influence"][inside])
    worst = [s for s in np.argsort(-surprise, kind="stable") if torn[s]][:k]
    report = {
        "rows": int(inside.sum()),
        "sets": int(size),
        "contradicting_rows": int(torn[sets[inside]].sum()),
        "contradicting_sets": int(torn.sum()),
        "equal_to_validation": int(among.sum()),
        "validation_rows_seen": seen,
        "contradicting": [],
    }
    for s in worst:
        members = np.flatnonzero(sets == s)
        listed = {name: rows[name][members].tolist() for name in ("row", "position", "self_influence")}
        values = [column[members].tolist() for column in targets]
        listed["label"] = values[0] if len(values) == 1 else [list(row) for row in zip(*values, strict=True)]
        report["contradicting"].append(listed)
    return report, sets


def stands_alone(columns, rows, X, k):
    """Rows of high leverage with the values that make it so, and categories that only one row has.

    Returns
    -------
    dict
        ``rows``: up to ``k`` of leverage above HIGH_LEVERAGE, each with its ``reasons``; ``n_rows`` of them in all.
        ``values``: up to ``k`` values seen once, of the highest leverage; ``n_values`` in all. ``unseen``: categories
        of the other rows that no training row has, with their number of rows.
    """
    leverage = rows["leverage"]
    once = []  # (place, column, value)
    for column in columns:
        if not column.text:
            missing = np.flatnonzero(column.codes < 0)
            once += [(int(place), column.name, MISSING) for place in missing if len(missing) == 1]
            continue
        counts = np.bincount(column.codes + 1, minlength=len(column.values) + 1)
        for place in np.flatnonzero(counts[column.codes + 1] == 1):
            once.append((int(place), column.name, _value(column, column.codes[place])))
    once.sort(key=lambda item: -leverage[item[0]])
    high = np.argsort(-leverage, kind="stable")
    high = high[leverage[high] > HIGH_LEVERAGE]
    shown = high[:k]
    far = _far_numbers(X, columns, shown)
    listed = [
        {
            "row": _plain(rows["row"][place]),
            "position": int(rows["position"][place]),
            "leverage": float(leverage[place]),
            "reasons": [f"{name} = {value} (seen once)" for at, name, value in once if at == place] + far[place],
        }
        for place in shown.tolist()
    ]
    values = [
        {
            "column": name,
            "value": value,
            "row": _plain(rows["row"][place]),
            "position": int(rows["position"][place]),
            "leverage": float(leverage[place]),
        }
        for place, name, value in once[:k]
    ]
    found = {"n_rows": len(high), "rows": listed, "n_values": len(once), "values": values}
    return {**found, "unseen": [item for column in columns if column.text for item in _unseen(column)]}


def _unseen(column):
    """Values of the other rows that no training row has."""
    codes, counts = np.unique(column.others, return_counts=True)
    new = ~np.isin(codes, column.codes)
    return [
        {"column": column.name, "value": _value(column, code), "rows": int(count)}
        for code, count in zip(codes[new], counts[new], strict=True)
    ]


def _far_numbers(X, columns, places):
    """Per row, its two numbers furthest from their columns' means, where they are far."""
    reasons = {int(place): [] for place in places}
    if not len(places):
        return reasons
    found = {place: [] for place in reasons}
    for name, column in zip(X.columns, columns, strict=True):
        values = _array(X[name])
        if column.text:
            continue
        spread = np.nanstd(values)
        for place in found:
            distance = abs(values[place] - np.nanmean(values)) / spread if spread > 0 else 0.0
            if distance > FAR:
                found[place].append((distance, f"{column.name} = {values[place]:g} ({distance:.0f} deviations off)"))
    return {place: [text for _, text in sorted(items, reverse=True)[:2]] for place, items in found.items()}


def slices(columns, effect):
    """For every value of every column of categories, the sum of its rows' effects.

    Parameters
    ----------
    columns : list of Column
    effect : ndarray of shape (n,)

    Returns
    -------
    table : dict of ndarray or None
        ``column``, ``value``, ``rows``, ``effect_sum``, ``effect_mean`` and ``score``, how many standard deviations the
        sum is from that of as many rows drawn at random; ``measured`` and ``measured_error``, NaN until they are; the
        lowest sum first. None where no column has categories.
    members : callable
        ``members(i)``: the places of the rows of a slice.
    """
    parts = []
    for column in columns:
        if column.categorical:
            codes = column.codes + 1
            counts = np.bincount(codes, minlength=len(column.values) + 1)
            sums = np.bincount(codes, weights=effect, minlength=len(counts))
            parts += [
                (column.name, _value(column, code - 1), int(counts[code]), sums[code], column.codes, code - 1)
                for code in np.flatnonzero(counts)
                if counts[code] < len(effect)
            ]
    if not parts:
        return None, None
    names, values, counts, sums, codes, code = zip(*parts, strict=True)
    table, order = _scored({"column": names, "value": values}, np.array(counts), np.array(sums), effect)
    return table, lambda i: np.flatnonzero(codes[order[i]] == code[order[i]])


def _scored(labels, counts, sums, effect):
    """The table, and the order it is in."""
    n, mean, deviation = len(effect), effect.mean(), effect.std()
    error = deviation * np.sqrt(counts * (1 - counts / n) * n / max(n - 1, 1))
    score = np.divide(sums - counts * mean, error, out=np.zeros(len(sums)), where=error > 0)
    order = np.argsort(sums, kind="stable")
    table = {name: np.array(column, dtype=object) for name, column in labels.items()}
    table |= {"rows": counts, "effect_sum": sums, "effect_mean": sums / counts, "score": score}
    table |= {name: np.full(len(counts), np.nan) for name in ("measured", "measured_error")}
    return {name: column[order] for name, column in table.items()}, order


def candidates(table):
    """Places of the slices of some size, the one that chance explains least first."""
    order = np.argsort(-np.abs(table["score"]), kind="stable")
    return order[table["rows"][order] >= LEAST_ROWS]


def clear_slices(table, k):
    """Places of the slices that hurt, and of those that carry the model.

    Where slices were measured, those whose change is clear of its standard error; without, those whose sum of effects
    is beyond chance.
    """
    known = ~np.isnan(table["measured"])
    if known.any():
        order = np.argsort(table["measured"], kind="stable")[: int(known.sum())]
        order = order[np.abs(table["measured"][order]) > CLEAR * table["measured_error"][order]]
        change = table["measured"][order]
        return order[change < 0][:k], order[change > 0][::-1][:k]
    clear = (np.abs(table["score"]) >= CLEAR) & (table["rows"] >= LEAST_ROWS)
    hurt = np.flatnonzero(clear & (table["effect_sum"] < 0) & (table["score"] < 0))
    carry = np.flatnonzero(clear & (table["effect_sum"] > 0) & (table["score"] > 0))[::-1]
    return hurt[:k], carry[:k]


def _value(column, code):
    if code < 0:
        return MISSING
    value = column.values[code]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
