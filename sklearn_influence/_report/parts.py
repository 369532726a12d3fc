"""The numbers behind an audit's sections, each from public methods of the model."""

import importlib
import platform

import numpy as np
import scipy
import sklearn
from scipy.stats import spearmanr
from sklearn.base import is_classifier
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from .._validation import take_rows
from ..composite import is_frozen
from ..diagnostics import cross_validated_losses, sample_losses
from ..diagnostics.yardsticks import at_optimum
from . import checks


def title(estimator):
    """The fitted model in one line; of a pipeline its last step, and by name what stands before it."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not hasattr(estimator, "steps"):
        return " ".join(repr(estimator).split())
    before = ", ".join(type(step).__name__ for _, step in estimator.steps[:-1])
    return title(estimator.steps[-1][1]) + (f" after {before}" if before else "")


def stationarity(model, X_val, y_val):
    return {
        "relative": float(model.stationarity_.relative),
        "refined": bool(model.refine),
        "loss_as_fitted": float(sample_losses(model, X_val, y_val).mean()),
        "loss_at_optimum": float(sample_losses(at_optimum(model), X_val, y_val).mean()),
    }


def quality(model, X, y):
    """Mean loss, and the score people know, of the model as it was fitted."""
    y, predicted = np.asarray(y), model.predict(X)
    quality = {"rows": len(y), "loss": float(sample_losses(model, X, y).mean())}
    if is_classifier(model):
        return {**quality, "accuracy": float(np.mean(y == predicted))}
    score = r2_score(y, predicted) if len(y) > 1 else np.nan
    return {**quality, "rmse": float(np.sqrt(np.mean((y - predicted) ** 2))), "r2": float(score)}


def names(row_names, kept):
    """The rows' own names as a person reads them, or their numbers where they have none."""
    if row_names is None:
        return kept
    names = np.asarray(row_names)[kept]
    if names.dtype.kind in "iu":
        return names
    return np.array([str(name) for name in names.tolist()], dtype=object)  # dates, tuples, strings


def leverage(model):
    leverage = model.leverages()
    if leverage.ndim == 3:  # several outputs: the direction that the row pulls most
        leverage = np.linalg.eigvals(leverage).real.max(axis=1)
    return leverage


def add_training_columns(report, rows, model, X_train, y_train, sample_weight, seed):
    """What needs the training rows themselves: labels, predictions, own and unseen losses."""
    kept = rows["position"]
    X, y = take_rows(X_train, kept), np.asarray(y_train)[kept]
    weight = None if sample_weight is None else np.asarray(sample_weight)[kept]
    report.quality = {"training": quality(model, X, y), **report.quality}
    rows["own_loss"] = sample_losses(at_optimum(model), X, y)
    # What the row's loss would be had the model not seen it: large where its label is unlikely, whatever its leverage.
    rows["leave_one_out_loss"] = rows["own_loss"] + rows["self_influence"]
    report.cross_validation["missing"] = None
    try:
        if is_frozen(model.estimator):
            raise ValueError("a frozen model is never fitted again")
        rows["cross_validated_loss"] = cross_validated_losses(
            model.estimator,
            X,
            y,
            cv=report.cross_validation["folds"],
            sample_weight=weight,
            random_state=seed,
        )
    except ValueError as error:  # a class of one row, say; the rest of the audit stands
        report.cross_validation["missing"] = str(error)
    rows |= labelled(y, np.asarray(model.predict(X)))


def labelled(y, predicted):
    """Columns "label" and "prediction", numbered where there are several targets."""
    columns = {}
    for name, values in (("label", y), ("prediction", predicted)):
        if values.ndim == 1 or values.shape[1] == 1:
            columns[name] = values.ravel()
        else:
            columns.update({f"{name}_{t}": column for t, column in enumerate(values.T)})
    return columns


def add_column_checks(report, X_train, X_val):
    """Duplicates and values seen once, from the columns of a DataFrame; returns the columns, for slices."""
    rows = report.rows
    X = take_rows(X_train, rows["position"])
    columns = checks.read_columns(X, X_val)
    n_others = len(columns[0].others) if columns else 0
    report.duplicates, sets = checks.duplicates_report(columns, rows, n_others, report.k)
    if report.duplicates["sets"]:
        rows["duplicate_set"] = sets
    report.alone = checks.stands_alone(columns, rows, X, report.k)
    return columns


def held_out(model, parts):
    """Held-out rows by their loss: they had no part in the fit, so their own loss is an honest one.

    Parameters
    ----------
    parts : dict of str to (X, y, names)
        The validation and the test rows; without names they go by a DataFrame's index, or their numbers.

    Returns
    -------
    dict of ndarray
        ``row``, ``part``, ``label``, ``prediction`` and ``loss`` of all of them, the highest loss first; ``label_0``,
        ... for several targets.
    """
    tables = []
    for part, (X, y, own) in parts.items():
        y, index = np.asarray(y), X.index if hasattr(X, "iloc") else None
        table = {"row": names(index if own is None else own, np.arange(len(y)))}
        table["part"] = np.full(len(y), part, dtype=object)
        table |= labelled(y, np.asarray(model.predict(X)))
        tables.append({**table, "loss": sample_losses(at_optimum(model), X, y)})
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order = np.argsort(-columns["loss"], kind="stable")
    return {name: column[order] for name, column in columns.items()}


def suspects(rows, k):
    """The rows that look wrong by what their removal says and by cross-validation, and the agreement.

    ``by`` names the column that ranks them: the leave-one-out loss, or the self influence without labels.
    """
    by = "leave_one_out_loss" if "leave_one_out_loss" in rows else "self_influence"
    suspects = {"by": by, "rows": rows["position"][np.argsort(-rows[by], kind="stable")[:k]].tolist()}
    if "cross_validated_loss" in rows:
        by_cv = rows["position"][np.argsort(-rows["cross_validated_loss"], kind="stable")[:k]]
        suspects["by_cross_validation"] = by_cv.tolist()
        suspects["in_both"] = [i for i in suspects["rows"] if i in by_cv]
        suspects["rank_correlation"] = float(spearmanr(rows[by], rows["cross_validated_loss"]).statistic)
    return suspects


def halves(X, y, task, seed):
    """(X, y) to choose on and (X, y) to measure on, each class shared out when it can be."""
    y = np.asarray(y)
    share = task == "classification" and np.unique(y, return_counts=True)[1].min() > 1
    try:
        first, second = train_test_split(
            np.arange(len(y)), test_size=0.5, random_state=seed, stratify=y if share else None
        )
    except ValueError:  # fewer rows than classes in a half
        first, second = train_test_split(np.arange(len(y)), test_size=0.5, random_state=seed)
    return (take_rows(X, first), y[first]), (take_rows(X, second), y[second])


def versions():
    package = importlib.import_module(__package__.split(".")[0])
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "sklearn_influence": package.__version__,
    }
