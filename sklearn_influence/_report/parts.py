"""The numbers behind an audit's sections, each from public methods of the model."""

import copy
import importlib
import platform
import warnings

import numpy as np
import scipy
import sklearn
from scipy.stats import spearmanr
from sklearn.base import is_classifier
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from .._parallel import logger, progress
from .._validation import check_groups, take_rows
from ..diagnostics import at_optimum, cross_validated_losses, sample_losses, unlearning_effect
from . import checks

# Groups are stepped on one by one up to this many multiplications, a minute's work or less.
_GROUP_WORK = 1.5e12


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
    for name, values in (("label", y), ("prediction", np.asarray(model.predict(X)))):
        if values.ndim == 1 or values.shape[1] == 1:
            rows[name] = values.ravel()
        else:
            rows.update({f"{name}_{t}": column for t, column in enumerate(values.T)})


def add_column_checks(report, X_train, X_val):
    """Duplicates, values seen once and slices, from the columns of a DataFrame."""
    rows = report.rows
    X = take_rows(X_train, rows["position"])
    columns = checks.read_columns(X, X_val)
    n_others = len(columns[0].others) if columns else 0
    report.duplicates, sets = checks.duplicates_report(columns, rows, n_others, report.k)
    if report.duplicates["sets"]:
        rows["duplicate_set"] = sets
    report.alone = checks.stands_alone(columns, rows, X, report.k)
    report.slices = checks.slices(columns, rows["effect"])


def groups(model, X_val, y_val, labels, effect):
    """What leaving out all rows of each label does to the mean validation loss, the most harmful label first.

    Parameters
    ----------
    labels : array-like of shape (n_samples_fit,)
    effect : ndarray
        Of the rows still in the model, in order.

    Returns
    -------
    dict
        ``label``, ``rows``, ``effect`` of leaving them out, ``effect_sum`` of the single rows; ``summed``: why
        ``effect`` is that sum, or None; ``rough``: the warning where one step is a rough estimate, or None.
    """
    kept = np.asarray(model.sample_indices_)
    present, members = check_groups(labels, kept, model.n_samples_fit_)
    counts = np.array([len(rows) for rows in members])
    result = {"label": present, "rows": counts, "effect_sum": np.array([effect[rows].sum() for rows in members])}
    result |= {"effect": result["effect_sum"], "summed": None, "rough": None}
    p = len(model.params_)
    work = np.where(counts <= min(p, 500), p * p * counts, len(kept) * p * p).sum(dtype=float)
    if work > _GROUP_WORK:
        result["summed"] = f"a Newton step for each of {len(present):,} groups would take too long"
    else:
        logger.info("audit: %d groups", len(present))
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result["effect"] = model.influence_on_loss(X_val, y_val, groups=labels, aggregate="mean")
            result["rough"] = next((str(w.message) for w in caught if "rough" in str(w.message)), None)
        except ValueError as error:  # a group that is a whole class, say
            if len(present) < 2:
                raise
            result["summed"] = str(error).split("; ")[0].rstrip(".")
    order = np.argsort(result["effect"], kind="stable")
    return {name: value[order] if isinstance(value, np.ndarray) else value for name, value in result.items()}


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


def unlearning(model, effect, X, y, k, n_random, rng):
    """Unlearn the rows of lowest effect, and as many random ones; measure on X, y."""
    worst = np.argsort(effect, kind="stable")[:k]
    removed = np.asarray(model.sample_indices_)[worst[np.asarray(effect)[worst] < 0]]
    result = {"removed": removed.tolist(), "change": None, "missing": None}
    if not len(removed):
        return {**result, "missing": "no row hurts: every effect is 0 or above"}
    try:
        measured = unlearning_effect(model, removed, X, y)
    except ValueError as error:  # they are all the rows of a class, say
        return {**result, "missing": str(error)}
    change = measured.after - measured.before
    before, random_changes = measured.before.mean(), []
    for _ in progress(range(n_random), model.verbose, "audit: random removals"):
        draw = rng.choice(model.sample_indices_, size=len(removed), replace=False)
        try:
            other = copy.deepcopy(model).unlearn(np.sort(draw))
        except ValueError:  # this draw empties a class; the others still make an average
            continue
        random_changes.append(float(sample_losses(other, X, y).mean() - before))
    certificate = measured.certificate
    by_adding = model.influence_on_loss(X, y, removed, aggregate="mean").sum()
    return {
        **result,
        "loss_before": float(measured.before.mean()),
        "loss_after": float(measured.after.mean()),
        "change": float(change.mean()),
        "standard_error": float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else np.nan,
        "change_by_adding_effects": float(by_adding),
        "random_changes": random_changes,
        "moved": measured.moved,
        "certificate": {name: certificate[name] for name in ("param_bound", "valid", "converged", "n_iter")},
    }


def versions():
    package = importlib.import_module(__package__.split(".")[0])
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "sklearn_influence": package.__version__,
    }
