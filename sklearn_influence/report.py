"""The audit: which training rows hurt, carry, or look wrong, and what removing them does.

It sees the model through its public methods only, so whatever gains those can be audited.
"""

import csv
import html
import importlib
import json
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.base import is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._parallel import logger
from ._report import checks, parts, removal
from ._report import format as show
from ._report import text as sections
from ._validation import check_count, check_groups, check_weights, take_rows
from .composite import final_step, within


def audit(
    model,
    X_val,
    y_val,
    *,
    X_train=None,
    y_train=None,
    X_test=None,
    y_test=None,
    sample_weight=None,
    groups=None,
    row_names=None,
    val_names=None,
    test_names=None,
    k=10,
    n_random=20,
    cv=5,
    random_state=0,
):
    """Find the training rows that hurt, those that carry the model, and those that look wrong.

    Parameters
    ----------
    model : fitted InfluenceEstimator
        It is left as it is: removals are tried on deep copies.
    X_val, y_val : array-like or DataFrame of shape (m, n_features), array-like of shape (m,)
        Held-out rows: a training row's effect is on the mean loss of these.
    X_train, y_train : default=None
        The rows given to ``fit``, all of them and in that order. Without them the report has no labels, predictions
        or own losses, and no cross-validated loss to compare with. Where X_train is a DataFrame (pandas or polars), its
        columns are looked at too: rows that equal others, values that one row alone has, and the values of categorical
        columns (text, categories, booleans, numbers of at most 10 values) whose rows hurt or carry the model.
    X_test, y_test : default=None
        Rows on which removal is measured; they must not be among the validation rows. Without them the validation
        rows are split in two halves, and the rows to remove are chosen again on one half and measured on the other.
    sample_weight : array-like of shape (n,), default=None
        Weights of the training rows as given to ``fit``, for the cross-validated loss. (All else takes them from the
        model.)
    groups : array-like of shape (n,), default=None
        Labels of the rows given to ``fit``, such as where they come from: the report also says what leaving out all
        rows of one label does. One Newton step a label, or the sum of its rows' effects where that would take too long
        or no refit exists, as the report then says.
    row_names : array-like of shape (n,), default=None
        What the report calls the rows given to ``fit``; by default the index of a DataFrame ``X_train``, or their
        numbers. ``unlearn`` takes the numbers, which the report then prints as *position*.
    val_names, test_names : array-like of shape (m,), default=None
        The same for the validation and the test rows; by default a DataFrame's index, or their numbers.
    k : int, default=10
        Length of the lists, and at most how many rows are unlearned; only rows that hurt are.
    n_random : int, default=20
        Draws of as many random rows, to compare with.
    cv : int, default=5
        Folds of the cross-validated loss.
    random_state : int, RandomState instance or None, default=0
        Decides the folds, the halves and the random rows.

    Returns
    -------
    AuditReport
        ``print`` it, read its ``rows``, ``save`` it. Effects are after removal minus before:
        **below 0 the row hurts**. They are in the model's own loss: mean log loss (nats), or mean squared error / 2 for
        a regressor and a classifier fitted by squared error, at the refined optimum (see ``stationarity_``).

    Raises
    ------
    TypeError, NotFittedError
        Where ``model`` is not an InfluenceEstimator, or is not fitted.
    ValueError
        For rows or labels that do not fit the model; ``k``, ``n_random`` or ``cv`` too small.

    Notes
    -----
    Costs one pass over the training rows per held-out block, ``cv`` fits, and 1 + ``n_random`` copies of the model,
    one at a time, each with one ``unlearn``. The logger "sklearn_influence" tells at level INFO which part is at work.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_influence import InfluenceEstimator, audit
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X_train, X_val, y_train, y_val = train_test_split(scale(X), y, random_state=0)
    >>> model = InfluenceEstimator(LogisticRegression()).fit(X_train, y_train)
    >>> report = audit(model, X_val, y_val, X_train=X_train, y_train=y_train, k=5)
    >>> report.rows["row"][:5].shape  # the rows that hurt most; print(report) tells the rest
    (5,)
    """
    _check_model(model)
    k, n_random, cv = check_count("k", k), check_count("n_random", n_random), check_count("cv", cv, smallest=2)
    validation = _pair(X_val, y_val, "X_val", "y_val")
    training = _pair(X_train, y_train, "X_train", "y_train", optional=True)
    test = _pair(X_test, y_test, "X_test", "y_test", optional=True)
    if test is None and len(validation[1]) < 2:
        raise ValueError("X_val needs at least 2 rows to be split in halves; or give X_test.")
    n_fit = model.n_samples_fit_
    if row_names is not None and len(row_names) != n_fit:
        raise ValueError(f"row_names must name the {n_fit} rows given to fit, got {len(row_names)} names.")
    held_out = {"validation": (*validation, val_names), **({} if test is None else {"test": (*test, test_names)})}
    for part, (_, y, part_names) in held_out.items():
        if part_names is not None and len(part_names) != len(y):
            raise ValueError(f"the {part} rows are {len(y)}, but {len(part_names)} names were given for them.")
    weight = None if sample_weight is None else check_weights(sample_weight, n_fit)
    if groups is not None:
        check_groups(groups, np.asarray(model.sample_indices_), n_fit)
    with warnings.catch_warnings():
        # The report names these rows; once is enough.
        warnings.filterwarnings("ignore", "Row .* has a leverage", UserWarning)
        if training is not None:
            _check_training_rows(model, *training)
            if row_names is None and hasattr(training[0], "iloc"):
                row_names = training[0].index
            training = (*training, weight)
        names = parts.names(row_names, np.asarray(model.sample_indices_))
        rng = check_random_state(random_state)
        report = _audit(model, validation, training, test, groups, names, k, n_random, cv, rng)
        report.held_out = parts.held_out(model, held_out)
        return report


def _audit(model, validation, training, test, groups, names, k, n_random, cv, rng):
    """`audit` of checked arguments; ``training`` and ``test`` are None when not given."""
    seed = int(rng.randint(2**31 - 1))
    kept = np.asarray(model.sample_indices_)
    logger.info("audit: effects of %d rows on %d validation rows", len(kept), len(validation[1]))

    report = AuditReport(
        estimator=parts.title(model.estimator_),
        method=model.method,
        task="classification" if is_classifier(model) else "regression",
        loss="log" if is_classifier(model) and hasattr(model, "predict_proba") else "squared",
        n_train=len(kept),
        n_features=int(final_step(model.estimator_).n_features_in_),
        n_targets=1 if validation[1].ndim == 1 else validation[1].shape[1],
        k=min(k, len(kept)),
        stationarity=parts.stationarity(model, *validation),
        quality={"validation": parts.quality(model, *validation)},
        cross_validation={"folds": cv, "missing": "X_train and y_train were not given"},
    )
    rows = {
        "row": names,
        "position": kept,
        "effect": model.influence_on_loss(*validation, aggregate="mean"),
        "self_influence": model.self_influence(),
        "leverage": parts.leverage(model),
    }
    if training is not None:
        logger.info("audit: cross-validated losses, %d fits", cv)
        parts.add_training_columns(report, rows, model, *training, seed)
    order = np.argsort(rows["effect"], kind="stable")
    report.rows = {name: column[order] for name, column in rows.items()}
    measured = removal.Measured(model, *validation)
    report.duplicates = report.alone = report.slices = report.groups = None
    if training is not None and checks.is_frame(training[0]):
        logger.info("audit: duplicates and slices")
        columns = parts.add_column_checks(report, training[0], validation[0])
        report.slices = removal.slices(measured, columns, report.rows, report.k)
    if report.loss == "log":
        refitted = removal.listed_rows(measured, report.rows, report.k)
        report.rows |= {} if refitted is None else {"refitted_effect": refitted}
    if groups is not None:
        report.groups = removal.groups(measured, groups, rows["effect"])
    report.suspects = parts.suspects(report.rows, report.k)
    if test is not None:
        report.quality["test"] = parts.quality(model, *test)
        chosen_on, effect = "validation", rows["effect"]
    else:
        first, test = parts.halves(*validation, report.task, seed)
        chosen_on, effect = "half", model.influence_on_loss(*first, aggregate="mean")
    logger.info("audit: unlearning, 1 + %d times", n_random)
    report.unlearning = {
        "chosen_on": chosen_on,
        "measured_rows": len(test[1]),
        **removal.unlearning(model, effect, *test, report.k, n_random, rng),
    }
    return report


class AuditReport:
    """What `audit` found: ``print`` it, look up its ``rows``, ``save`` it.

    Attributes
    ----------
    rows : dict of ndarray
        One entry per training row still in the model, most harmful first: ``row`` (label in the DataFrame's index, or
        row number), ``position`` (row number given to ``fit``, which is what ``unlearn`` takes), ``effect`` (on the
        mean validation loss; below 0 it hurts), ``self_influence``, ``leverage`` and, when the training rows were
        given, ``own_loss``, ``leave_one_out_loss`` (own loss and self influence together: the loss of a model that has
        not seen the row), ``cross_validated_loss``, ``label`` and ``prediction`` (``label_0``, ... for several
        targets). ``pandas.DataFrame(report.rows)`` makes a table of it.
    quality, stationarity, cross_validation, suspects, unlearning : dict
        The numbers behind the printed sections.
    held_out : dict of ndarray
        The validation and test rows by their loss, which is an honest one: they had no part in the fit.
    duplicates, alone, slices, groups : dict or None
        What the columns of a DataFrame and ``groups`` told; None where they were not given.
    estimator, method, task, loss, n_train, n_features, n_targets, k
        What was audited; ``loss`` is "log" or "squared".

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import InfluenceEstimator, audit
    >>> X, y = load_diabetes(return_X_y=True)
    >>> report = audit(InfluenceEstimator(Ridge()).fit(X[:300], y[:300]), X[300:], y[300:], k=3)
    >>> sorted(report.to_dict()["unlearning"])[:3]
    ['certificate', 'change', 'change_by_adding_effects']
    """

    def __init__(self, **sections):
        self.__dict__.update(sections)

    def to_dict(self):
        """Everything, in types that JSON knows; what is not finite becomes None."""
        return show.plain({"versions": parts.versions(), **self.__dict__})

    def save(self, directory):
        """Write ``ranking.csv``, ``report.json`` and ``audit.png`` (if matplotlib is there).

        Also ``held_out.csv``, and ``slices.csv`` and ``groups.csv`` where the report has slices and groups.

        Parameters
        ----------
        directory : str or path
            Made if it is not there; files of these names are replaced.

        Returns
        -------
        list of Path
            The files written. A missing picture is the one case that is left out, and `AuditReport.picture_missing`
            then says why.
        """
        directory = Path(directory)
        if directory.exists() and not directory.is_dir():
            raise ValueError(f"{str(directory)!r} is a file; give the name of a directory.")
        directory.mkdir(parents=True, exist_ok=True)
        files = [directory / "ranking.csv", directory / "report.json"]
        _write_columns(files[0], {"rank": np.arange(1, len(self.rows["row"]) + 1), **self.rows})
        for name in ("held_out", "slices", "groups"):
            if getattr(self, name):
                columns = {key: value for key, value in getattr(self, name).items() if isinstance(value, np.ndarray)}
                files.append(directory / f"{name}.csv")
                _write_columns(files[-1], columns)
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        files[1].write_text(text + "\n", encoding="utf-8")
        if self.picture_missing is None:
            from matplotlib.figure import Figure

            from .plotting import plot_audit

            # A bare Figure has no window and no global state, so this is safe on any machine.
            files.append(directory / "audit.png")
            plot_audit(self, Figure(figsize=(15, 5.2))).savefig(files[-1], dpi=120)
        return files

    @property
    def picture_missing(self):
        """Why `save` writes no picture, or None when it does."""
        try:
            importlib.import_module("matplotlib")
        except ImportError:
            return "matplotlib is not installed (pip install matplotlib)"
        return None

    def __str__(self):
        return "\n".join(sections.lines(self))

    def __repr__(self):
        return f"<AuditReport of {self.estimator}, {self.n_train} training rows; print() it>"

    def _repr_html_(self):
        return f"<pre>{html.escape(str(self))}</pre>"


def _write_columns(path, columns):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


def _check_model(model):
    if isinstance(model, type) or not (hasattr(model, "influence_on_loss") and hasattr(model, "estimator")):
        name = model.__name__ if isinstance(model, type) else type(model).__name__
        text = "wrap and fit it first: InfluenceEstimator(estimator).fit(X_train, y_train)."
        if hasattr(model, "steps") and hasattr(model.steps[-1][1], "influence_on_loss"):
            text = (
                "give its last step, and the rows as the steps before it transform them: pipeline[-1], pipeline[:-1]."
            )
        raise TypeError(f"audit needs a fitted InfluenceEstimator, got {name}; {text}")
    check_is_fitted(model, msg="This %(name)s is not fitted yet; call fit(X_train, y_train) before audit.")


def _pair(X, y, X_name, y_name, optional=False):
    """X, and y as an array, one column as 1-D; None where neither was given; refused when they do not fit."""
    if X is None and y is None and optional:
        return None
    if X is None or y is None:
        missing, given = (X_name, y_name) if X is None else (y_name, X_name)
        raise ValueError(f"{given} was given without {missing}; give both.")
    y = np.asarray(y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    n_X, n_y = np.shape(X)[0], len(y)
    if n_X != n_y:
        raise ValueError(f"{X_name} has {n_X} rows, but {y_name} has {n_y}.")
    if n_X == 0:
        raise ValueError(f"{X_name} has no rows.")
    return X, y


def _check_training_rows(model, X_train, y_train):
    """Refuse other rows, or another order, than those that the model was fitted on."""
    if np.shape(X_train)[0] != model.n_samples_fit_:
        raise ValueError(
            f"X_train has {np.shape(X_train)[0]} rows, but the model was fitted on "
            f"{model.n_samples_fit_}; give all of them, in the order given to fit."
        )
    # A row's effect on a test row equal to itself is its self influence: two public methods
    # that agree only if these are the rows. A sample finds a shuffle, and stays cheap.
    kept = np.asarray(model.sample_indices_)
    composite = within(model.estimator_) is not None
    some = np.unique(np.linspace(0, len(kept) - 1, 100 if composite else 20).astype(int))
    known = model.self_influence()[some]
    X_some, y_some = take_rows(X_train, kept[some]), np.asarray(y_train)[kept[some]]
    given = model.influence_on_loss(X_some, y_some)[np.arange(len(some)), some]
    same = np.allclose(known, given, rtol=1e-3, atol=1e-4 * np.abs(known).max(), equal_nan=True)
    if not same and composite:
        # A TargetEncoder gives a row it is fitted on another value than the same row later; the ranking mostly stays.
        same = spearmanr(known, given).statistic > 0.5
    if not same:
        raise ValueError(
            "X_train, y_train are not the rows that the model was fitted on, or are in another "
            "order; give them as they were given to fit."
        )
