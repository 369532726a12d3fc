"""Losses row by row, plain cross-validation, removal measured, agreement with retraining.

These are the yardsticks that influences are held against, so nothing here uses influence.
Estimators are seen through their public methods; only a model's optimum is written into a copy of its estimator.
"""

import copy

import numpy as np
from scipy.special import logsumexp
from sklearn.base import clone, is_classifier
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import Bunch, check_consistent_length

from .._validation import check_count, take_rows
from ..composite import final_step, fit_parameters, with_final
from ..families import find_family


def agreement(predicted, actual):
    """How well predicted changes agree with the actual ones.

    Parameters
    ----------
    predicted, actual : array-like of the same shape
        For example influences, and the changes found by retraining. Any shape; every entry
        counts the same.

    Returns
    -------
    Bunch
        ``correlation`` : Pearson's, over all entries. ``slope`` : of the least-squares line
        **through the origin** of predicted on actual, ``sum(p * a) / sum(a * a)``; 1 is right,
        below 1 the predictions are too small. ``relative_error`` : ``|p - a| / |a|`` in the
        Frobenius norm. ``n`` : the number of entries.

        What is undefined is nan, without a warning: the correlation when either input is
        constant, the slope and the relative error when every actual change is zero.

    Raises
    ------
    ValueError
        Where the shapes differ, there are no entries, or one is NaN or infinite.

    Examples
    --------
    >>> from sklearn_influence.diagnostics import agreement
    >>> result = agreement([0.9, 2.1, -1.0], [1.0, 2.0, -1.0])
    >>> round(result.slope, 3), round(result.relative_error, 3), result.n
    (1.017, 0.058, 3)
    """
    predicted = _finite(predicted, "predicted")
    actual = _finite(actual, "actual")
    if predicted.shape != actual.shape:
        raise ValueError(f"predicted and actual must have the same shape, got {predicted.shape} and {actual.shape}.")
    if predicted.size == 0:
        raise ValueError("predicted and actual are empty: there is nothing to compare.")
    predicted, actual = predicted.ravel(), actual.ravel()
    # In units of the largest actual change, because squares of what is below 1e-160 are 0.
    unit = np.abs(actual).max()
    p, a = (predicted / unit, actual / unit) if unit else (predicted, actual)
    norm = np.linalg.norm(a)
    return Bunch(
        correlation=_correlation(predicted, actual),
        slope=float(p @ a / norm**2) if unit else np.nan,
        relative_error=float(np.linalg.norm(p - a) / norm) if unit else np.nan,
        n=actual.size,
    )


def _correlation(p, a):
    """Pearson's, or nan for a constant, where np.corrcoef warns or correlates rounding."""
    if np.ptp(p) == 0 or np.ptp(a) == 0:
        return np.nan
    p, a = (p - p.mean()) / np.ptp(p), (a - a.mean()) / np.ptp(a)
    return float(p @ a / (np.linalg.norm(p) * np.linalg.norm(a)))


def sample_losses(estimator, X, y):
    """Loss of a fitted estimator on each row: log loss, or half the squared error.

    A classifier without ``predict_proba``, as RidgeClassifier, has the squared error of its outputs from +1 for the
    row's class and -1 for the others.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``decision_function`` or ``predict_proba``, or a fitted regressor.
    X : array-like or sparse matrix of shape (m, n_features)
    y : array-like of shape (m,) or (m, n_targets)
        Labels or targets; with several targets their losses are added.

    Returns
    -------
    ndarray of shape (m,)
        In nats for a classifier (computed from the raw outputs, so that a loss of 1e-30 is not
        rounded to 0), in squared units of y for a regressor. Weights and penalty do not enter.

    Raises
    ------
    ValueError
        For a label that the classifier has not seen, or X and y of different lengths.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_influence.diagnostics import sample_losses
    >>> line = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    >>> sample_losses(line, [[2.0]], [5.0]).round(6)
    array([4.5])
    """
    check_consistent_length(X, y)
    y = np.asarray(y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if not is_classifier(estimator):
        predicted = np.asarray(estimator.predict(X), dtype=float)
        return ((y.reshape(predicted.shape) - predicted) ** 2 / 2).reshape(len(y), -1).sum(axis=1)
    classes = estimator.classes_
    unseen = np.setdiff1d(y, classes)
    if unseen.size:
        raise ValueError(f"y holds {unseen.tolist()}, but the classifier was fitted on {classes.tolist()}.")
    codes = np.searchsorted(classes, y)
    if not hasattr(estimator, "decision_function"):  # as MLPClassifier, which has the probabilities alone
        with np.errstate(divide="ignore"):
            return -np.log(estimator.predict_proba(X)[np.arange(len(codes)), codes])
    outputs = np.asarray(estimator.decision_function(X), dtype=float)
    if not hasattr(estimator, "predict_proba"):
        signs = np.where(codes[:, None] == np.arange(len(classes)), 1.0, -1.0)
        signs = signs[:, 1] if outputs.ndim == 1 else signs
        return ((signs - outputs) ** 2 / 2).reshape(len(y), -1).sum(axis=1)
    if outputs.ndim == 1:
        return np.logaddexp(0.0, np.where(codes == 1, -outputs, outputs))
    return logsumexp(outputs, axis=1) - outputs[np.arange(len(codes)), codes]


def cross_validated_losses(estimator, X, y, *, cv=5, sample_weight=None, random_state=0):
    """Loss on each row of a model that was not fitted on it, by cross-validation.

    The plain way to look for wrong labels, and the baseline for `self_influence`: a row is
    suspect when models fitted on other rows find it unlikely. It costs ``cv`` fits.

    Parameters
    ----------
    estimator : object
        A classifier with ``decision_function``, or a regressor; it is cloned, fitted or not.
    X : array-like, DataFrame or sparse matrix of shape (n, n_features)
    y : array-like of shape (n,) or (n, n_targets)
    cv : int, default=5
        Number of shuffled folds, stratified by class for a classifier, and cut to the size of
        the rarest class so that every model knows every class.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows in the fits. The returned losses are not multiplied by them.
    random_state : int, RandomState instance or None, default=0
        Decides the folds.

    Returns
    -------
    ndarray of shape (n,)
        As `sample_losses` gives them.

    Raises
    ------
    ValueError
        Where a class has a single row, which no other row can speak for, or ``cv`` is below 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_influence.diagnostics import cross_validated_losses
    >>> X, y = load_iris(return_X_y=True)
    >>> cross_validated_losses(LogisticRegression(max_iter=1000), X, y).shape
    (150,)
    """
    check_consistent_length(X, y, sample_weight)
    cv = check_count("cv", cv, smallest=2)
    y = np.asarray(y)
    if is_classifier(estimator):
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            raise ValueError(
                f"class {classes[counts.argmin()].item()!r} has a single row, so it cannot be "
                "cross-validated; every class needs at least 2."
            )
        folds = StratifiedKFold(min(cv, counts.min()), shuffle=True, random_state=random_state)
    else:
        folds = KFold(min(cv, len(y)), shuffle=True, random_state=random_state)
    losses = np.empty(len(y))
    # Not cross_val_predict: it encodes the labels before fitting, and class_weight={"spam": 2}
    # then names a class that is not there.
    for train, test in folds.split(np.zeros(len(y)), y):
        weights = {}
        if sample_weight is not None:
            weights, _ = fit_parameters(estimator, np.asarray(sample_weight)[train], {})
        model = clone(estimator).fit(take_rows(X, train), y[train], **weights)
        losses[test] = sample_losses(model, take_rows(X, test), y[test])
    return losses


def unlearning_effect(model, indices, X, y):
    """What unlearning rows does to the loss on other rows, measured on a copy of the model.

    Parameters
    ----------
    model : fitted InfluenceEstimator
        It is left as it is.
    indices : array-like of shape (k,)
        Rows to remove, as ``unlearn`` takes them.
    X, y : array-like of shape (m, n_features), array-like of shape (m,)
        Rows to measure on. For an honest number they had no part in choosing ``indices``.

    Returns
    -------
    Bunch
        ``before``, ``after`` (m,): losses as `sample_losses` gives them, at the optimum with all
        the rows and at the optimum without them, so that a loose fit does not count as an effect
        of the rows. ``moved``: norm of the change of ``params_``. ``certificate``: how far the
        parameters can be from a full retrain.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.diagnostics import unlearning_effect
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = InfluenceEstimator(Ridge()).fit(X[:300], y[:300])
    >>> effect = unlearning_effect(model, [0, 1], X[300:], y[300:])
    >>> effect.after.shape
    (142,)
    """
    unlearned = copy.deepcopy(model).unlearn(indices)
    return Bunch(
        before=sample_losses(at_optimum(model), X, y),
        after=sample_losses(unlearned, retained_columns(model, unlearned, X), y),
        moved=_moved(model, unlearned),
        certificate=unlearned.certificate_,
    )


def retained_columns(before, after, X):
    """Test rows (m, n_features) as a model takes them ``after`` an edit: those of a precomputed kernel have lost the
    columns of the rows that left (not in ``__all__``)."""
    if before.n_features_in_ == after.n_features_in_:
        return X
    return np.asarray(X)[:, np.isin(before.sample_indices_, after.sample_indices_)]


def _moved(before, after):
    """Norm of the change of ``params_``; a kernel model's coefficients of rows that have left are 0."""
    if before.params_.shape == after.params_.shape:
        return float(np.linalg.norm(after.params_ - before.params_))
    places = {name: place for place, name in enumerate(before.param_names_)}
    there = np.zeros(before.params_.shape)
    there[[places[name] for name in after.param_names_]] = after.params_
    return float(np.linalg.norm(there - before.params_))


def at_optimum(model):
    """A copy of the fitted estimator that holds ``params_`` (not in ``__all__``)."""
    estimator = getattr(model, "estimator_", model)  # KernelLogisticRegression is its own
    final = copy.copy(final_step(estimator))
    find_family(final).with_blocks(final, getattr(model, "blocks", None)).write(final, model.params_)
    return with_final(estimator, final)


def _finite(values, name):
    """A float array, refused if it holds anything but finite numbers."""
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity; leave those entries out of both.")
    return values
