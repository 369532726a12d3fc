"""The feature columns of a person's table: which kind each is, which are left out, which cannot be used."""

import re

import numpy as np

from .file import TableError, count, listed
from .numbers import codes_as_feature, note_alike, read_written, unit_of

MOST_VALUES = 5_000
MOST_LARGE = 1e50  # squares of squares must be numbers too
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{2}|\d{4})([T ].*)?")


def features(frame, notes, comma=False):
    """The columns as float, bool or category.

    Parameters
    ----------
    frame : DataFrame
        Rows under their numbers in the file, which errors name.
    notes : list of str
        Gains a sentence for each reason to leave columns out (constant, or missing in every row), and for what may be
        read otherwise than it is meant.
    comma : bool, default=False
        Whether the file has decimal commas.

    Returns
    -------
    DataFrame

    Raises
    ------
    TableError
        For columns that no linear model can use, all of them at once.
    """
    import pandas as pd

    columns, useless = {}, {"dates": [], "units": [], "texts": [], "odd": []}
    left_out = {"constant": [], "missing in every row": [], "an unnamed count of the rows": []}
    for name in frame.columns:
        column = _plain(read_written(frame[name], name, notes, comma), name, useless, notes)
        if column is None:
            continue
        if column.dtype.kind == "f":
            check_finite(column, f"column {name!r}")
        filled, values = int(column.notna().sum()), column.nunique()
        if not filled:
            left_out["missing in every row"].append(name)
        elif values == 1 and filled == len(column):
            left_out["constant"].append(name)
        elif column.dtype == "category" and _are_dates(column.cat.categories):
            useless["dates"].append((name, column.cat.categories[0]))
        elif column.dtype == "category" and (values > MOST_VALUES or values > max(20, 0.5 * filled)):
            found = unit_of(column.cat.categories)
            kind = "units" if found else "texts"
            useless[kind].append((name, found[1] if found else f"{values:,}"))
        elif name.startswith("unnamed_") and _counts_rows(column, np.inf):
            left_out["an unnamed count of the rows"].append(name)
        else:
            columns[name] = column
            if column.dtype == "category":
                note_alike(column.cat.categories, f"In {name!r}", notes)
            if _counts_rows(column):
                notes.append(
                    f"{name!r} goes up by one from row to row, yet is a feature; if it is no measurement, say --id or "
                    "--drop."
                )
    _refuse(useless)
    for reason, names in left_out.items():
        if names:
            notes.append(f"Left out: {count(len(names), 'column')}, {reason}: {listed(names, 10)}.")
    if not columns:
        raise TableError("no column is left to predict from; drop fewer, or give a table with more columns")
    return pd.DataFrame(columns, index=frame.index)


def _refuse(useless):
    """All columns that cannot be used in one sentence, and the option that sets them aside, ready to copy."""
    parts = []
    for kind, template in (
        ("dates", "{} hold dates such as {!r} (turn them into numbers: a year, days since ...)"),
        ("units", "{} hold numbers with a unit such as {!r} (write the numbers alone, in one unit)"),
        ("texts", "{} hold too many different texts to be categories ({} values; identifiers or free text?)"),
        ("odd", "{} hold what is no value of a table ({})"),
    ):
        if useless[kind]:
            names, examples = zip(*useless[kind], strict=True)
            text = template.format(listed(names), str(examples[0]) if kind != "texts" else ", ".join(examples[:5]))
            parts.append(text.replace(" hold ", " holds ", 1) if len(names) == 1 else text)
    if not parts:
        return
    names = [name for kind in useless.values() for name, _ in kind]
    texts = [name for name, _ in useless["texts"]]
    them = "it" if len(names) == 1 else "them"
    also = ""
    if texts:
        also = f", or name the rows by {'it' if len(names) == 1 else 'a column'} with --id {_quoted(texts[0])}"
    raise TableError(f"{'; '.join(parts)}: leave {them} out with --drop {_quoted(','.join(names))}{also}")


def _quoted(text):
    """As a shell takes it."""
    return text if re.fullmatch(r"[\w.,-]+", text) else f'"{text}"'


def _plain(column, name, useless, notes):
    """The column as float, bool or category; None where it is reported in ``useless``."""
    kind = column.dtype.kind
    if kind in "mM" or "date" in str(column.dtype) or "time" in str(column.dtype):
        useless["dates"].append((name, column.dropna().iloc[0] if column.notna().any() else "NaT"))
        return None
    if kind == "b" and column.notna().all():
        return column.astype(bool)
    if kind == "c":
        useless["odd"].append((name, "complex numbers"))
        return None
    if kind in "iuf":
        return column.astype("float64")
    if kind == "O" and column.dtype != "category":
        first = column.dropna()
        if len(first) and not np.isscalar(first.iloc[0]) and type(first.iloc[0]).__name__ not in ("Decimal", "date"):
            useless["odd"].append((name, f"a {type(first.iloc[0]).__name__} in each cell"))
            return None
    text = column.where(column.isna(), column.astype(str)) if column.dtype == "object" else column
    text = codes_as_feature(text, name, notes)
    if text.dtype.kind == "f" or (text.dtype == "category" and column.dtype != "category"):
        return text
    if text.dtype != "category":
        text = text.astype("category")
    elif text.cat.categories.dtype.kind != "O":
        text = text.cat.rename_categories([str(value) for value in text.cat.categories])
    return _numbers_with_marks(text.cat.remove_unused_categories(), name, notes)


def _numbers_with_marks(column, name, notes):
    """A text column of numbers whose missing cells hold a mark such as ? or -, as float; any other as it is."""
    import pandas as pd

    categories = column.cat.categories.to_numpy(dtype=object)
    numbers = pd.to_numeric(pd.Series(categories), errors="coerce").to_numpy(dtype=float)
    marks = np.isnan(numbers)
    if len(categories) - marks.sum() < 3 or marks.sum() > 3 or not np.isfinite(numbers[~marks]).all():
        return column
    codes = column.cat.codes.to_numpy()
    values = np.where(codes >= 0, numbers[codes], np.nan)
    if marks.any():
        n_marks = int(np.isin(codes, np.flatnonzero(marks)).sum())
        if n_marks > 0.5 * len(codes):
            return column
        notes.append(
            f"{name!r} is numbers but for {count(n_marks, 'cell')} of {listed(categories[marks])}, taken as missing."
        )
    return pd.Series(values, index=column.index)


def _are_dates(categories):
    return all(_DATE.fullmatch(str(value).strip()) for value in categories[:200])


def refuse_dates(values, name, part):
    if len(values) and _are_dates(values):
        raise TableError(
            f"the {part} {name!r} holds dates such as {str(values[0])!r}; turn them into numbers or labels"
        )


def _counts_rows(column, most_skipped=1.0):
    """Whether a number column goes up by one from row to row, but for some rows that are gone."""
    if column.dtype.kind != "f" or column.isna().any():
        return False
    values = column.to_numpy()
    steps = np.diff(values)
    up = bool((steps >= 1).all() and (steps == np.round(steps)).all())
    return up and values[-1] - values[0] <= (1 + most_skipped) * len(values)


def is_numeric(column):
    return column.dtype.kind in "iufb" and column.dtype != "category"


def kind_of(column):
    return "flag" if column.dtype == bool else "number" if column.dtype.kind == "f" else "text"


def check_finite(column, part):
    """Refuse infinite numbers, and those whose squares would be."""
    values = column.to_numpy(dtype=float)
    infinite = np.isinf(values)
    if infinite.any():
        raise TableError(
            f"the {part} is infinite in {some_rows(infinite, column.index)}; correct these cells, or leave them empty"
        )
    large = np.abs(values) > MOST_LARGE
    if large.any():
        raise TableError(
            f"the {part} holds numbers too large to compute with, such as {values[large][0]:g}, in "
            f"{some_rows(large, column.index)}; rescale it by a power of ten, or correct these cells"
        )


def some_rows(flags, numbers):
    """How many rows, and the number in the file of the first."""
    rows = np.flatnonzero(flags)
    return count(len(rows), "row") + f" (the first is row {numbers[rows[0]]}, counted from 0)"
