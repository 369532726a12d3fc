"""Which family speaks for an estimator."""

from abc import ABC, abstractmethod

import numpy as np
from sklearn.utils.validation import check_array

from .. import parameter_space
from .._backend import physical_memory
from ..dual import DualObjective, spans

_FAMILIES = {}
# Estimators of our own, which register themselves when they are first asked for.
_LATER = {"KernelLogisticRegression", "LinearisedClassifier", "LinearisedRegressor"}

# Share of the machine's memory that the dual representation may take where it has not been asked for.
_DUAL_MEMORY = 0.4
# Names of estimators that are told the way out instead of "write a family".
_TREES = ("Tree", "Forest", "Boosting", "Bagging")


class Family(ABC):
    """How one kind of estimator is read and written; subclass it and call :func:`register_family`.

    Examples
    --------
    >>> from sklearn_influence import families
    >>> type(families.find_family(__import__("sklearn.linear_model").linear_model.Ridge())).__name__
    'LeastSquaresFamily'
    """

    engine = parameter_space
    # How the refit that a step estimates is had.
    refit_advice = "{verb} on a copy gives the refit itself"

    def of(self, estimator):
        """The family that speaks for this very estimator, fitted or not."""
        return self

    def check(self, estimator):
        """Raise ValueError, before any fit, for settings whose fitted model is no minimiser this family knows."""

    @abstractmethod
    def encode(self, estimator, y):
        """Targets as the family's loss takes them; ValueError for labels the fitted estimator has not seen."""

    @abstractmethod
    def read(self, estimator, X, y, sample_weight):
        """The Objective that the fitted ``estimator`` minimises, at its parameters.

        Parameters
        ----------
        estimator : fitted estimator
        X : ndarray or CSR matrix of shape (n, d), float64 or float32
        y : array-like
            As given to fit.
        sample_weight : ndarray of shape (n,)
        """

    @abstractmethod
    def write(self, estimator, params, origin=None):
        """Put parameters into the fitted attributes; ``origin`` (n,) says for attributes with a place for each row
        which of the rows before it was, -1 for one that is new or another."""

    @abstractmethod
    def as_written(self, estimator, params):
        """``params`` after the rounding of the attributes' dtype, in float64."""

    def reshape(self, estimator, X):
        """Make the fitted attributes fit other training rows X (n, d), at any parameters; ValueError where that cannot
        be."""
        raise ValueError(f"{type(self).__name__} cannot refit what stands before its estimators.")

    def write_rows(self, estimator, objective):
        """Put the rows of an edited objective into the fitted attributes, of estimators that hold their rows."""

    def cheapest(self, solver):
        """What "auto" means here, where it would take ``solver``."""
        return solver

    def check_solver(self, solver):
        """Raise ValueError for a solver that cannot be used here."""

    def check_method(self, method):
        """Raise ValueError for a method that cannot be used here."""

    def check_edits(self):
        """Raise ValueError where no rows can be taken out for good, corrected or added."""

    def with_blocks(self, estimator, blocks):
        """The family for those layers of ``estimator`` alone that ``blocks`` names; ValueError where it has none."""
        if blocks is not None:
            raise ValueError(
                f"blocks={blocks!r} is about the layers of a network, and {type(estimator).__name__} has none; leave "
                "it out."
            )
        return self

    def check_noise(self):
        """Raise ValueError where no noise makes the model's publication private."""

    def check_sensitivity(self):
        """Raise ValueError where the model has no derivative by its training inputs."""

    def n_params(self, objective):
        """How many parameters the estimator has, whose objective as read this is."""
        return objective.n_params

    def param_names(self, estimator, objective, columns, rows):
        """Names of the parameters, in their order; ``rows`` are the numbers of the rows in the model."""
        raise NotImplementedError(f"{type(self).__name__} does not name its parameters.")

    def remembers(self, estimator, seen):
        """What of the fitted estimator still depends on rows that are no more, called ``seen``: a list of sentences."""
        return []

    def choose(self, objective, representation):
        """The representation, "primal" or "dual", that a parameter's value means here; ValueError where it cannot."""
        if representation == "dual":
            raise ValueError(f"representation='dual' is not available from {type(self).__name__}; use 'primal'.")
        return "primal"

    def represent(self, objective, representation):
        """The objective as read, in a representation that :meth:`choose` named."""
        return objective


class LinearFamily(Family):
    """Estimators with ``coef_`` and ``intercept_``: what least squares and logistic models share."""

    def choose(self, objective, representation):
        if representation == "auto":
            representation = "dual" if _fits_better(objective) else "primal"
        if representation == "primal":
            return "primal"
        if not spans(objective):
            raise ValueError(
                "representation='dual' needs one penalty for all coefficients of an output, and at least one column; "
                "use representation='primal'."
            )
        return "dual"

    def represent(self, objective, representation):
        return DualObjective(objective) if representation == "dual" else objective

    def param_names(self, estimator, objective, columns, rows):
        q, intercept = objective.n_outputs, objective.fit_intercept
        if q == 1:
            return [*columns, *["intercept"] * intercept]
        labels = getattr(estimator, "classes_", range(q))
        names = [f"{column}[{label}]" for label in labels for column in columns]
        return names + ([f"intercept[{label}]" for label in labels] if intercept else [])

    def penalty(self, coef_penalty, n_outputs, n_features, fit_intercept, intercept_penalty=0.0):
        """(q, width) second derivatives of the penalty, from one number, or one for each output."""
        penalty = np.empty((n_outputs, n_features + fit_intercept))
        penalty[:] = np.reshape(coef_penalty, (-1, 1))
        if fit_intercept:
            penalty[:, -1] = intercept_penalty
        return penalty

    def params(self, estimator):
        """``coef_.ravel()``, then ``intercept_.ravel()`` where it is fitted, in float64."""
        parts = [np.ravel(estimator.coef_)]
        if estimator.fit_intercept:
            parts.append(np.ravel(estimator.intercept_))
        return np.concatenate(parts).astype(np.float64)

    def reshape(self, estimator, X):
        """Coefficients of 0 where the estimator gets other columns than it had: a place to start from."""
        coef, n_features = estimator.coef_, X.shape[1]
        if coef.shape[-1] != n_features:
            estimator.coef_ = np.zeros((*coef.shape[:-1], n_features), dtype=coef.dtype)

    def write(self, estimator, params, origin=None):
        coef = estimator.coef_
        new_coef = params[: coef.size].reshape(coef.shape).astype(coef.dtype)
        intercept = estimator.intercept_
        if estimator.fit_intercept:
            new = params[coef.size :].astype(getattr(intercept, "dtype", np.float64))
            intercept = new.reshape(np.shape(intercept)) if np.ndim(intercept) else new[0]
        estimator.coef_, estimator.intercept_ = new_coef, intercept

    def as_written(self, estimator, params):
        return params.astype(estimator.coef_.dtype).astype(np.float64)


def _fits_better(objective):
    """Whether an objective has fewer rows than columns, and products of all rows with each other that memory holds."""
    n, memory = objective.n_rows, physical_memory()
    fits = memory is None or 24 * n**2 <= _DUAL_MEMORY * memory
    return n < objective.design.n_features and fits and spans(objective)


def read_targets(y, n_outputs):
    """Targets (n, n_outputs) of a regression, checked."""
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    y = y.reshape(len(y), -1)
    if y.shape[1] != n_outputs:
        raise ValueError(f"y has {y.shape[1]} targets, but the model was fitted on {n_outputs}.")
    return y


def register_family(estimators, family):
    """Make a family known for one or several estimator classes.

    Parameters
    ----------
    estimators : class or tuple of classes
        Exactly these classes: a subclass may minimise something else, and is registered on its own.
    family : Family

    Raises
    ------
    TypeError
        Where ``estimators`` holds something that is not a class, or ``family`` is not a Family instance.

    Examples
    --------
    A subclass that changes nothing about what Ridge minimises:

    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import InfluenceEstimator, families, register_family
    >>> class MyRidge(Ridge):
    ...     pass
    >>> register_family(MyRidge, families.LeastSquaresFamily())
    >>> X, y = load_diabetes(return_X_y=True)
    >>> InfluenceEstimator(MyRidge()).fit(X, y).influence_on_params([0]).shape
    (1, 11)
    """
    estimators = estimators if isinstance(estimators, tuple) else (estimators,)
    for estimator in estimators:
        if not isinstance(estimator, type):
            raise TypeError(f"register_family needs estimator classes, got {estimator!r}.")
    if not isinstance(family, Family):
        raise TypeError(f"family must be an instance of a Family subclass, got {family!r}.")
    for estimator in estimators:
        _FAMILIES[estimator] = family


def supported_names():
    """Names of the estimators that have a family, sorted."""
    return sorted({estimator.__name__ for estimator in _FAMILIES} | _LATER)


def find_family(estimator):
    """The family of an estimator, or a TypeError that names the supported ones."""
    if isinstance(estimator, type):
        raise TypeError(
            f"estimator must be an instance, got the class {estimator.__name__}; write {estimator.__name__}()."
        )
    family = _FAMILIES.get(type(estimator))
    if family is not None:
        return family.of(estimator)
    name = type(estimator).__name__
    text = f"{name} is not supported. Supported estimators: {', '.join(supported_names())}. "
    if any(word in name for word in _TREES):
        text += (
            "Trees have no curvature to invert: fit a linear model to the same rows, or to the tree model's "
            "predictions, as a surrogate and ask for its influences."
        )
    elif hasattr(estimator, "influence_on_params"):
        text += "It is wrapped already: pass the estimator inside it, or a pipeline around that."
    elif hasattr(estimator, "transform") and not hasattr(estimator, "predict"):
        text += "It is a transformer: what is wrapped, or the last step of what is, must be a model."
    else:
        text += "To add another, see sklearn_influence.register_family."
    raise TypeError(text)
