"""Make a person's table fit for an audit: target, row names, features, model and preprocessing from its columns.

Whatever cannot be used ends in a `TableError`, and whatever is left out in a note: nothing is dropped silently.
"""

import difflib
from dataclasses import dataclass, field

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .._report.checks import MISSING
from .columns import check_finite, features, is_numeric, kind_of, refuse_dates, some_rows
from .file import TableError, codes, count, listed
from .leaks import note_leaks
from .numbers import MOST_CODES, alike, is_text, note_alike, read_written

MODELS = ("logistic", "ridge", "linear", "ridge_classifier")
CLASSIFIERS = ("logistic", "ridge_classifier")
FEW_NUMBERS = 10  # integer targets of at most this many values are taken for labels
MOST_LABELS = 50
MOST_PARAMS = 8_000
LEAST_ROWS = 20
# A label of 5 rows has 2 in the 40 % that are not for training: one to validate and one to test.
LEAST_PER_LABEL = 5
# Sparse products run at about a twentieth of the rate of dense ones.
_SPARSE = 0.05
_LARGE = 1.5e9


@dataclass
class Table:
    """What a file gave.

    Attributes
    ----------
    X : DataFrame
        Features: float, bool and category columns.
    y : ndarray
    names : ndarray
        What the report calls the rows: the values of the id column, or row numbers of the file.
    groups, weight : ndarray or None
    model : one of MODELS
    n_encoded, n_filled : int
        Columns after encoding, and of these the entries of a row that are not 0.
    notes : list of str
        What was chosen and what was left out, and why.
    """

    X: object
    y: np.ndarray
    names: np.ndarray
    groups: np.ndarray | None
    weight: np.ndarray | None
    model: str
    n_encoded: int = 0
    n_filled: int = 0
    notes: list = field(default_factory=list)

    @property
    def classifies(self):
        return self.model in CLASSIFIERS

    @property
    def n_outputs(self):
        classes = len(np.unique(self.y)) if self.classifies else 2
        return 1 if classes == 2 else classes

    @property
    def sparse(self):
        """Whether the encoded rows are kept sparse: where that is smaller, and no slower or the only way."""
        filled = self.n_filled / max(self.n_encoded, 1)
        return filled < _SPARSE or (filled < 0.5 and 8.0 * len(self.y) * self.n_encoded > _LARGE)

    def take(self, rows):
        """Features, by the rows' names, and target of some rows."""
        return self.X.iloc[rows].set_axis(self.names[rows], axis=0), self.y[rows]


def choose(frame, target, *, model="auto", drop=(), id=None, groups=None, weight=None):
    """Features, target, names and model of a table.

    Parameters
    ----------
    frame : DataFrame
        As read.
    target, id, groups, weight : str
        Columns.
    model : "auto" or one of MODELS
    drop : sequence of str
        Columns that are no features.

    Returns
    -------
    Table

    Raises
    ------
    TableError
        With the option or the correction that helps.
    """
    used = {"--target": target, "--id": id, "--groups": groups, "--weight": weight}
    _check_columns(list(frame.columns), {**{name: [c] for name, c in used.items() if c is not None}, "--drop": drop})
    notes, comma = [], frame.attrs.get("decimal") == ","
    keep = _complete_rows(frame, target, weight, notes)
    rows = np.flatnonzero(keep)
    frame = frame[keep] if len(rows) < len(frame) else frame
    if len(rows) < LEAST_ROWS:
        raise TableError(f"{count(len(rows), 'row')} can be used, but at least {LEAST_ROWS} are needed to split them")
    y = _target(frame[target], target, model, notes, comma)
    weights = None if weight is None else _weights(read_written(frame[weight], weight, notes, comma), weight)
    model = _choose_model(y, target, model, notes)
    y = _labels(y, target, notes) if model in CLASSIFIERS else _numbers(y, target)
    rest = frame.drop(columns=[c for c in dict.fromkeys([*used.values(), *drop]) if c is not None])
    X = features(rest, notes, comma)
    note_leaks(X, y, model in CLASSIFIERS, target, notes)
    table = Table(X, y, _names(frame, rows, id, notes), _group_labels(frame, groups), weights, model, notes=notes)
    table.n_encoded, table.n_filled = encoded(X, model)
    _check_size(table)
    return table


def split(table, seed):
    """Row numbers of ``table`` for training (60 %), validation and testing (20 % each), labels shared out."""
    labels = table.y if table.classifies else None
    train, rest = train_test_split(np.arange(len(table.y)), test_size=0.4, random_state=seed, stratify=labels)
    halves = train_test_split(rest, test_size=0.5, random_state=seed, stratify=None if labels is None else labels[rest])
    return train, *halves


def build(table, penalty):
    """The pipeline for the table's columns and model, unfitted."""
    kinds = {kind: [c for c in table.X if kind_of(table.X[c]) == kind] for kind in ("number", "flag", "text")}
    # Without a penalty, a column for each value and a constant say the same thing twice.
    drop = "first" if table.model == "linear" else None
    steps = [
        (
            "numbers",
            make_pipeline(
                SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
            ),
            kinds["number"],
        ),
        ("flags", StandardScaler(), kinds["flag"]),
        ("values", OneHotEncoder(handle_unknown="ignore", drop=drop), kinds["text"]),
    ]
    columns = ColumnTransformer([step for step in steps if step[2]], sparse_threshold=1.0 if table.sparse else 0.0)
    model = {
        "logistic": LogisticRegression(C=1 / penalty, max_iter=10_000),
        "ridge": Ridge(alpha=penalty),
        "linear": LinearRegression(),
        "ridge_classifier": RidgeClassifier(alpha=penalty),
    }[table.model]
    if table.model == "logistic" and table.n_encoded * table.n_outputs <= 1000 and len(table.y) > 5000:
        model.set_params(solver="newton-cholesky")  # a few passes over the rows where lbfgs takes a hundred
    return make_pipeline(columns, model)


def _check_columns(columns, wanted):
    """Refuse columns that are not there, and those given two parts."""
    for option, names in wanted.items():
        for name in names:
            if name in columns:
                continue
            lower = {column.lower(): column for column in columns}
            close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
            hint = f"the columns are {listed(columns, 12)}"
            if close:
                hint = f"did you mean {listed([lower[c] for c in close])}?"
            raise TableError(f"{option}: there is no column {name!r}; {hint}")
    seen = {}
    for option, names in wanted.items():
        for name in names:
            if seen.get(name, option) != option and {option, seen[name]} & {"--target", "--weight"}:
                raise TableError(f"{seen[name]} and {option} both name {name!r}; give it to one of them")
            seen.setdefault(name, option)


def _complete_rows(frame, target, weight, notes):
    """Rows whose target and weight are there."""
    keep = np.ones(len(frame), dtype=bool)
    for part, name in (("target", target), ("weight", weight)):
        if name is None:
            continue
        missing = frame[name].isna().to_numpy()
        if missing.all():
            raise TableError(f"the {part} {name!r} is missing in every row; choose another column or fill it in")
        if missing.any():
            notes.append(f"Left out: {count(int(missing.sum()), 'row')} whose {part} {name!r} is missing.")
        keep &= ~missing
    if not keep.any():
        raise TableError(f"no row has both a target {target!r} and a weight {weight!r}; fill them in")
    return keep


def _weights(column, name):
    values = _numbers(column, name, "weight")
    if (values < 0).any():
        raise TableError(
            f"the weight {name!r} is negative in {some_rows(values < 0, column.index)}; weights must be 0 or above"
        )
    if not values.any():
        raise TableError(f"the weight {name!r} is 0 in every row; some rows must count")
    return values


def _target(column, target, model, notes, comma):
    """The target, numbers among it read as they are written."""
    column = read_written(column, target, notes, comma)
    if is_text(column) and codes(column) and (model in ("ridge", "linear") or column.nunique() > MOST_CODES):
        return column.astype(float)
    return column


def _choose_model(y, target, model, notes):
    """The model's name; notes say why, and refusals what would do."""
    numeric = is_numeric(y)
    values = y.nunique()
    if values < 2:
        raise TableError(
            f"the target {target!r} has one value only, {str(y.iloc[0])!r}; there is nothing to predict: choose a "
            "target with at least two"
        )
    whole = numeric and bool((y == y.round()).all())
    if model == "auto":
        flag = y.dtype == bool
        model = "logistic" if not numeric or flag or (whole and values <= FEW_NUMBERS) else "ridge"
        if model == "logistic":
            if not numeric:
                _refuse_soiled_numbers(y, target)
                why = f"the target {target!r} is text"
            else:
                why = f"the target {target!r} is " + ("true or false" if flag else f"one of {values} whole numbers")
            other = " To predict it as a number say --model ridge." if numeric and not flag else ""
            notes.append(f"Model: logistic, since {why}.{other}")
        else:
            notes.append(f"Model: ridge, since the target {target!r} is a number of {values:,} values.")
    elif model in CLASSIFIERS:
        if numeric and values > MOST_LABELS:
            raise TableError(
                f"--model {model} needs labels, but the target {target!r} has {values:,} different numbers; say "
                "--model ridge, or turn it into labels"
            )
    elif not numeric:
        soiled = _not_numbers(y)
        if len(soiled) < len(y):
            raise TableError(_soiled_text(y, soiled, target))
        raise TableError(
            f"--model {model} needs numbers, but the target {target!r} holds text such as {str(y.iloc[0])!r}; say "
            "--model logistic"
        )
    return model


def _not_numbers(column):
    """The values of a text column that are no numbers."""
    import pandas as pd

    text = column.astype(str)
    return text[pd.to_numeric(text, errors="coerce").isna()]


def _refuse_soiled_numbers(y, target):
    """A text target that is numbers but for a few cells; a few repeated labels such as 1, 2, 3+ are labels."""
    soiled = _not_numbers(y)
    if len(soiled) < 0.5 * len(y) and y.nunique() > FEW_NUMBERS:
        raise TableError(_soiled_text(y, soiled, target))


def _soiled_text(y, soiled, target):
    return (
        f"the target {target!r} holds numbers in {len(y) - len(soiled):,} rows and text in {len(soiled):,}, such as "
        f"{str(soiled.iloc[0])!r} in row {soiled.index[0]}; correct these cells or leave them empty"
    )


def _labels(y, target, notes):
    """Labels as text, booleans or integers, each of enough rows to be in every part of the split."""
    if not is_numeric(y):
        y = y.astype(str).to_numpy(dtype=object).astype(str)
        refuse_dates(np.unique(y), target, "target")
        note_alike(np.unique(y), f"The target {target!r}", notes)
    else:
        check_finite(y, f"target {target!r}")
        y = y.to_numpy(dtype=bool if y.dtype == bool else float)
        if y.dtype == float and (y == np.round(y)).all():
            y = y.astype(np.int64)
    labels, counts = np.unique(y, return_counts=True)
    if len(labels) > MOST_LABELS:
        raise TableError(
            f"the target {target!r} has {len(labels):,} different labels, but at most {MOST_LABELS} can be told apart; "
            "choose another target or merge labels"
        )
    rare = counts < LEAST_PER_LABEL
    if rare.any():
        named = ", ".join(f"{str(label)!r} ({n})" for label, n in zip(labels[rare][:5], counts[rare], strict=False))
        more = f" and {rare.sum() - 5} more" if rare.sum() > 5 else ""
        more += "".join(f" ({one!r} and {other!r} may be meant as one)" for one, other in alike(labels)[:1])
        raise TableError(
            f"labels of the target {target!r} have fewer than {LEAST_PER_LABEL} rows, too few to train, validate and "
            f"test on: {named}{more}; merge them with others, or take these rows out"
        )
    return y


def _numbers(column, name, part="target"):
    """A float column without infinities."""
    if not is_numeric(column):
        soiled = _not_numbers(column)
        if len(soiled) or column.dtype == "category":
            example = str(soiled.iloc[0]) if len(soiled) else str(column.iloc[0])
            raise TableError(
                f"the {part} {name!r} must be numbers, but holds text such as {example!r}; correct these cells"
            )
        column = column.astype(float)
    check_finite(column, f"{part} {name!r}")
    return column.to_numpy(dtype=float)


def _names(frame, rows, id, notes):
    if id is None:
        notes.append("Rows go by their number in the file; the first row of data is 0.")
        return rows
    column = frame[id]
    missing = column.isna().to_numpy()
    if column.dtype.kind == "f" and (column.dropna() == column.dropna().round()).all():
        column = column.astype("Int64")  # whole numbers became float where some are missing
    names = column.to_numpy()
    if names.dtype.kind not in "iu":
        names = column.astype(str).to_numpy(dtype=object)
        names[missing] = [f"(row {row})" for row in rows[missing]]
    repeated = column.duplicated(keep=False).to_numpy() & ~missing
    note = f"Rows go by the column {id!r}"
    if repeated.any():
        names = names.astype(str).astype(object)
        names[repeated] = [f"{name} #{row}" for name, row in zip(names[repeated], rows[repeated], strict=True)]
        note += f"; {count(int(repeated.sum()), 'row')} of a name that others have too, with #, the number in the file"
    if missing.any():
        note += f"; {count(int(missing.sum()), 'row')} without a name by the number in the file"
    notes.append(note + ".")
    return names


def _group_labels(frame, groups):
    if groups is None:
        return None
    column = frame[groups]
    labels = column.to_numpy() if column.dtype.kind in "iub" else column.astype(str).to_numpy(dtype=object)
    missing = column.isna().to_numpy()
    if missing.any():
        labels[missing] = MISSING
    if column.nunique(dropna=False) < 2:
        raise TableError(f"--groups: the column {groups!r} has one value only; leave the option out")
    return labels


def encoded(X, model):
    """Columns after encoding, and the filled entries of a row among them."""
    width = filled = 0
    for name in X:
        column = X[name]
        missing = bool(column.isna().any())
        if kind_of(column) == "text":
            width += column.nunique() + missing - (model == "linear")
            filled += 1
        else:
            width += 1 + missing
            filled += 1 + missing
    return width, filled


def _check_size(table):
    n_params = (table.n_encoded + 1) * table.n_outputs
    if n_params > MOST_PARAMS:
        text = [c for c in table.X if kind_of(table.X[c]) == "text"]
        largest = max(text, key=lambda c: table.X[c].nunique()) if text else table.X.columns[0]
        raise TableError(
            f"the model would have {n_params:,} parameters ({table.n_encoded:,} columns after encoding, "
            f"{count(table.n_outputs, 'output')}), more than the {MOST_PARAMS:,} an audit can handle; drop columns "
            f"of many values, such as {largest!r}"
        )
