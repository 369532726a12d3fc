"""What a caller may pass, and the sentence they get when it cannot be used."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse

METHODS = ("newton", "first_order", "second_order")
REPRESENTATIONS = ("auto", "primal", "dual")


def check_choice(name, value, choices):
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}, got {value!r}.")


def check_flag(name, value):
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_count(name, value, smallest=1):
    """An integer of at least ``smallest``, as int."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral) or value < smallest:
        raise ValueError(f"{name} must be an integer >= {smallest}, got {value!r}.")
    return int(value)


def check_tolerance(name, value):
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}.")
    return float(value)


def check_n_jobs(n_jobs):
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise ValueError(f"n_jobs must be None or a non-zero integer, got {n_jobs!r}.")


def check_weights(sample_weight, n, what="sample_weight", *, zeros=False):
    """Weights (n,) in float64, all finite and >= 0, not all 0 unless ``zeros``; ones for None."""
    if sample_weight is None:
        return np.ones(n)
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n, sample_weight)
    weights = as_numbers(sample_weight, what)
    if weights.ndim != 1:
        raise ValueError(f"{what} must be 1-D, one number per row; got an array of shape {weights.shape}.")
    if len(weights) != n:
        raise ValueError(f"{what} must have one number per row: got {len(weights)} for {n} rows.")
    if not np.isfinite(weights).all():
        raise ValueError(f"{what} must not hold NaN or infinity.")
    if (weights < 0).any():
        raise ValueError(
            f"{what} must be >= 0, got {weights.min():g}: with negative weights the fitted model need not be a minimum."
        )
    if not weights.any() and not zeros:
        raise ValueError(f"{what} must not be zero for every row.")
    return weights


def count_rows(X):
    """Rows of an array-like, frame or sparse matrix; None for what has none."""
    shape = getattr(X, "shape", None)
    if shape is None and hasattr(X, "__array__"):
        shape = np.asarray(X).shape
    if shape is not None:
        return shape[0] if len(shape) else None
    return len(X) if hasattr(X, "__len__") and not isinstance(X, (str, bytes, dict)) else None


def take_rows(X, rows):
    """Rows (integers) of an array-like, sparse matrix or DataFrame, which stays what it is."""
    if hasattr(X, "iloc"):
        return _forget_names(X.iloc[rows])
    if hasattr(X, "tocsr"):
        return X.tocsr()[rows]
    if hasattr(X, "shape"):  # NumPy, polars
        return _apart(X[rows])
    return [X[i] for i in rows]


def join_rows(first, second):
    """Rows of one container, and behind them others of the same kind, whose columns are brought to the order of those.

    Categories of a frame are joined too.
    """
    if hasattr(first, "iloc"):
        return _join_frames(first, second)
    if hasattr(first, "tocsr"):
        return sparse.vstack([first.tocsr(), sparse.csr_array(second)], format="csr")
    if hasattr(first, "get_columns"):
        return first.vstack(type(first)(second, schema=first.schema))
    if hasattr(first, "to_frame") and hasattr(first, "dtype"):  # polars' series
        return first.append(type(first)(first.name, second, dtype=first.dtype))
    if hasattr(first, "shape"):
        return np.concatenate([first, np.asarray(second)])
    return [*first, *second]


def _join_frames(first, second):
    import pandas as pd

    if isinstance(first, pd.Series):
        return pd.concat([first, pd.Series(np.asarray(second), name=first.name)])
    second = second[first.columns] if hasattr(second, "iloc") else pd.DataFrame(second, columns=first.columns)
    first, second = first.copy(deep=False), second.copy(deep=False)
    for name in first.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in first.dtypes]]:
        known = first[name].cat.categories
        more = pd.Index(second[name].dropna().unique()).difference(known)
        first[name] = first[name].cat.add_categories(more)
        second[name] = second[name].astype(first[name].dtype)
    return pd.concat([first, second])


def _forget_names(X):
    """A pandas object whose index lists the names of its own rows only."""
    for tidy in ("remove_unused_levels", "remove_unused_categories"):
        if hasattr(X.index, tidy):
            X = X.set_axis(getattr(X.index, tidy)(), axis=0)
    return X


def unused_categories(X):
    """Names of a frame's columns whose categories name a value that no row has any more."""
    names = []
    for j, name in enumerate(X.columns if hasattr(X, "columns") else ()):
        column = X.iloc[:, j] if hasattr(X, "iloc") else X[name]
        if str(column.dtype) == "category":
            unused = len(column.cat.categories) > column.nunique()
        else:
            unused = str(column.dtype).startswith("Enum") and len(column.dtype.categories) > column.n_unique()
        if unused:
            names.append(str(name))
    return names


def _apart(X):
    """Rows of polars with a memory of their own: those of text it takes by reference, and keeps all that was there."""
    if hasattr(X, "get_columns"):
        return X.with_columns([_apart(column) for column in X.get_columns()])
    dtype = getattr(X, "dtype", None)
    if str(dtype) == "String":
        return X + ""
    if str(dtype) == "Binary" or getattr(dtype, "is_nested", bool)():
        return type(X)(X.name, X.to_list(), dtype=dtype)
    return X


def check_rows(X, y):
    """Refuse what holds no rows to count, and labels that are missing among others, in words of our own."""
    if isinstance(X, dict) and not hasattr(X, "shape"):  # SciPy's dok_matrix is a dict too
        raise ValueError("X must hold rows, got a dict; pandas.DataFrame(X) makes a table of its columns.")
    if hasattr(X, "collect_schema") and not hasattr(X, "shape"):
        raise ValueError(
            f"X must hold rows, got a {type(X).__name__}, which is still to be computed; pass X.collect()."
        )
    if str(getattr(y, "dtype", None)) == "object" and np.ndim(y) == 1:
        missing = np.flatnonzero([_is_missing(label) for label in np.asarray(y).tolist()])
        if len(missing):
            raise ValueError(
                f"y contains NaN or None, first for row {missing[0]} ({len(missing)} such); leave out rows without a "
                "label."
            )


def check_no_dates(X):
    """Refuse dates and durations, which NumPy would make nanoseconds, numbers like any other to a linear model."""
    dtypes = getattr(X, "dtypes", None)
    columns = getattr(X, "columns", None)
    if dtypes is None or columns is None:
        dtypes, columns = [getattr(X, "dtype", None)], ["X"]
    for name, dtype in zip(columns, dtypes, strict=True):
        temporal = getattr(dtype, "is_temporal", bool)()  # polars'
        if temporal or getattr(dtype, "kind", None) in ("M", "m") or str(dtype).startswith("period"):
            raise ValueError(
                f"{name!s} holds dates or times ({dtype}), which would count as nanoseconds. Turn them into numbers of "
                "a unit that you choose, such as days since the first, or leave the column out."
            )


def as_numbers(values, what):
    """A float64 array; ValueError for what holds no real numbers, complex ones among them."""
    try:
        array = np.asarray(values)
        if array.dtype.kind != "c":
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{what} must hold real numbers, got {values!r:.80}.")


def check_indices(indices, sample_indices, n_fit):
    """Positions, among the rows still in the model, of row numbers or a mask of the data given to fit.

    Parameters
    ----------
    indices : array-like of int, or of bool with shape (n_fit,), or None
        None means every row still in the model.
    sample_indices : ndarray
        Sorted row numbers still in the model.
    n_fit : int
        Number of rows given to fit.

    Returns
    -------
    ndarray of int
    """
    if indices is None:
        return np.arange(len(sample_indices))
    numbers = _row_numbers(indices, n_fit)
    if len(numbers) == 0:
        return numbers
    if numbers.min() < 0:
        raise ValueError(
            f"indices must not be negative, got {numbers.min()}: they are row numbers of the data given to fit, "
            f"0 to {n_fit - 1}."
        )
    if numbers.max() >= n_fit:
        raise ValueError(
            f"indices must be row numbers of the data given to fit, 0 to {n_fit - 1}; got {numbers.max()}. Names in a "
            "DataFrame's index become row numbers with X.index.get_indexer(names)."
        )
    numbers = numbers.astype(np.intp)
    unique, counts = np.unique(numbers, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"indices holds row {unique[counts > 1][0]} more than once; give each row once.")
    positions = np.searchsorted(sample_indices, numbers)
    gone = sample_indices[np.minimum(positions, len(sample_indices) - 1)] != numbers
    if gone.any():
        raise ValueError(
            f"row {numbers[gone][0]} has already been removed ({int(gone.sum())} such in indices); "
            "sample_indices_ holds the rows still in the model."
        )
    return positions


def _row_numbers(indices, n_fit):
    try:
        array = np.asarray(indices)
    except ValueError:
        raise ValueError("indices must be a 1-D sequence of row numbers; got a ragged sequence.") from None
    if not hasattr(indices, "dtype") or array.dtype == object:
        flags = sum(isinstance(i, (bool, np.bool_)) for i in np.ravel(np.asarray(indices, dtype=object)))
        if 0 < flags < array.size:
            raise ValueError("indices must hold integers or be a boolean mask, got a mixture of both.")
    if array.dtype == object and array.ndim == 1 and all(isinstance(i, (Integral, np.bool_)) for i in array):
        array = np.array(array.tolist())
    if array.ndim != 1:
        raise ValueError(
            f"indices must be a 1-D sequence of row numbers, or a boolean mask of length {n_fit}; "
            f"got {type(indices).__name__} with {array.ndim} dimensions. For one row write [i]."
        )
    if array.dtype == bool:
        if len(array) != n_fit:
            raise ValueError(
                f"A boolean mask must have one entry per row given to fit, and to extend since: {n_fit}, got "
                f"{len(array)}."
            )
        return np.flatnonzero(array)
    if len(array) == 0:
        return np.zeros(0, dtype=np.intp)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"indices must hold integers or be a boolean mask, got values of type {array.dtype}. Turn labels into row "
            "numbers first, with X.index.get_indexer(labels) for a DataFrame."
        )
    return array


def check_groups(groups, sample_indices, n_fit):
    """Sorted labels still present, and the positions of each one's rows.

    Parameters
    ----------
    groups : array-like of shape (n_fit,)
        One label per row given to fit.

    Returns
    -------
    labels : ndarray
    members : list of ndarray
        Positions among the rows still in the model.
    """
    if isinstance(groups, str):
        raise ValueError(
            f"groups must hold one label per row given to fit, got the text {groups!r}; pass the column, X[{groups!r}]."
        )
    # A list of mixed types must not become one of strings, where NaN is a label like any other.
    labels = np.asarray(groups) if hasattr(groups, "dtype") else np.asarray(groups, dtype=object)
    if labels.ndim != 1 or len(labels) != n_fit:
        raise ValueError(
            f"groups must hold one label per row given to fit, and to extend since: expected shape ({n_fit},), got "
            f"{labels.shape}."
        )
    if labels.dtype == object:
        missing = np.array([_is_missing(label) for label in labels.tolist()], dtype=bool)
    else:
        missing = labels != labels  # only NaN and NaT differ from themselves
    if np.any(missing):
        raise ValueError(
            f"groups holds a missing label, first for row {int(np.flatnonzero(missing)[0])}; give every row a label."
        )
    try:
        present, codes = np.unique(labels[sample_indices], return_inverse=True)
    except TypeError:
        raise ValueError("groups must hold labels of one type that can be sorted, such as all strings.") from None
    order = np.argsort(codes, kind="stable")
    bounds = np.cumsum(np.bincount(codes, minlength=len(present)))[:-1]
    return present, np.split(order, bounds)


def _is_missing(label):
    """None, and what is not surely equal to itself: NaN, NaT, pandas' NA."""
    same = label == label
    return label is None or not (isinstance(same, (bool, np.bool_)) and same)


def check_leaves_a_model(weighting, removed, classes, what):
    """Refuse removals after which there is nothing to fit, or a class is gone.

    Parameters
    ----------
    weighting : Weighting
    removed : ndarray
        Positions that leave together.
    classes : ndarray or None
        Labels, for the message.
    what : str
        How the message calls the removal.
    """
    n = len(weighting.sample_weight)
    if len(removed) == 0:
        return
    if len(removed) == n:
        raise ValueError(f"{what} would remove every row still in the model ({n}); keep at least one.")
    left = weighting.sample_weight.copy()
    left[removed] = 0.0
    if not left.any():
        raise ValueError(f"{what} would leave only rows of weight 0; keep at least one with weight.")
    if weighting.codes is None:
        return
    check_keeps_classes(weighting, classes, f"{what} would remove every row", left)


def check_keeps_classes(weighting, classes, would, weight=None):
    """Refuse an edit after which a class has no row with weight; by default the weights are the weighting's own.

    ``would`` says what the edit would do, up to "of class ...".
    """
    weight = weighting.sample_weight if weight is None else weight
    empty = np.bincount(weighting.codes, weights=weight, minlength=len(classes)) == 0
    if empty.any():
        label = classes[np.flatnonzero(empty)[0]]
        raise ValueError(
            f"{would} (with weight) of class {label!s}; scikit-learn could not refit the same classes without it. "
            "Keep at least one row of each class."
        )


def alone_in_class(weighting, positions):
    """Which rows (k,) are the only one with weight of their class."""
    if weighting.codes is None:
        return np.zeros(len(positions), dtype=bool)
    weighs = weighting.sample_weight > 0
    counts = np.bincount(weighting.codes, weights=weighs)
    return (counts[weighting.codes[positions]] == 1) & weighs[positions]


def check_one_for_each(name, value, k, every):
    """Refuse replacements, where there are any, that are not as many as the ``k`` rows they are for."""
    if value is None:
        return
    n = count_rows(value)
    if n != k:
        rows = (
            f"the {k} rows still in the model, in their order" if every else f"the {k} rows in indices, in their order"
        )
        got = "a single value" if n is None else str(n)
        raise ValueError(f"{name} must hold one row for each of {rows}; got {got}.{_as_a_table(name, value, k)}")


def _as_a_table(name, value, k):
    """What to do with the features of one row that are no table, as far as that can be told."""
    if name != "X_new" or k != 1 or len(getattr(value, "shape", ())) != 1:
        return ""
    return " If it holds the features of one row, make it a table of one row: X.iloc[[i]], or X[[i]]."


def named_errors(name, read, *arguments):
    """``read(*arguments)``, whose errors of value speak of X and y, under the name of the caller's argument."""
    try:
        return read(*arguments)
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}") from error
