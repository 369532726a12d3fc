"""InfluenceEstimator: any supported scikit-learn estimator, with influence and unlearning."""

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, has_fit_parameter

from ._validation import check_weights
from .base import InfluenceMixin
from .families import find_family


def _estimator_has(name):
    """True where the estimator, the fitted one if there is one, has the method; AttributeError otherwise."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


class InfluenceEstimator(InfluenceMixin, MetaEstimatorMixin, BaseEstimator):
    """A scikit-learn estimator that can say which training rows made it, and forget them.

    Parameters
    ----------
    estimator : estimator
        LinearRegression, Ridge, RidgeCV, LogisticRegression (L2 penalty or none), or a class given to
        :func:`register_family`. It is cloned by ``fit``.
    method : {"newton", "first_order"}, default="newton"
        "newton": one Newton step on the retained rows, exact for squared loss. "first_order": the classical
        infinitesimal influence, which underestimates the rows of high leverage.
    solver : {"auto", "direct"} or a solver object, default="auto"
        How the curvature is inverted; ``solvers.Direct(damping=...)`` carries options.
    representation : {"auto", "primal"}, default="auto"
        Which unknowns: "primal", the parameters.
    refine : bool, default=True
        Take influences at the true optimum, found by Newton steps on a private copy, wherever the fit stopped. The
        estimator and its predictions stay as they are.
    device : {"auto", "cpu", "cuda"}, default="auto"
        "cuda" is refused, saying what is missing.
    n_jobs : int, default=None
        Threads over groups of rows; None is one thread, or what a joblib context says.
    verbose : int, default=0
        Above 0, log the progress of long computations to the logger "sklearn_influence".

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone; after ``unlearn``, without the removed rows.
    classes_ : ndarray
        Labels of a classifier.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    n_samples_fit_ : int
        Rows given to ``fit``.
    sample_indices_ : ndarray of int
        Row numbers, of the data given to ``fit``, still in the model.
    params_ : ndarray of shape (n_params,)
        Coefficients and intercepts of the refined optimum; computed on first access.
    param_names_ : ndarray of str
    stationarity_ : Bunch
        How far the fit stopped from its optimum; computed on first access.
    certificate_ : Bunch
        Of the last ``unlearn``.

    Notes
    -----
    ``fit`` costs what the estimator's own ``fit`` costs; the curvature is factored at the first question and kept. The
    training rows are held by reference: do not change them in place. Questions may be asked from several threads; edits
    may not. ``set_params`` on method, solver, representation, refine and device takes effect at once, on ``estimator``
    with the next ``fit``.

    Every number is *after removal minus before*, held against scikit-learn's own refit on the retained rows with the
    same hyper-parameters; "balanced" class weights are recomputed as the refit would.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_influence import InfluenceEstimator
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = StandardScaler().fit_transform(X)
    >>> model = InfluenceEstimator(LogisticRegression(C=0.1)).fit(X[:400], y[:400])
    >>> round(model.score(X[400:], y[400:]), 3)
    0.982
    >>> effect = model.influence_on_loss(X[400:], y[400:], aggregate="mean")
    >>> worst = int(effect.argmin())  # without this row the held-out loss would fall most
    >>> bool(effect[worst] < 0)
    True
    >>> model.unlearn([worst]).certificate_.converged
    True
    """

    def __init__(
        self,
        estimator,
        *,
        method="newton",
        solver="auto",
        representation="auto",
        refine=True,
        device="auto",
        n_jobs=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.method = method
        self.solver = solver
        self.representation = representation
        self.refine = refine
        self.device = device
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __dir__(self):
        # scikit-learn's own reads every attribute, at each tab of a shell; these would be computed.
        lazy = {"params_", "stationarity_"} if hasattr(self, "estimator_") else set()
        return [name for name in object.__dir__(self) if name in lazy or hasattr(self, name)]

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the estimator; nothing else is computed yet.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative.
        **fit_params
            Passed to the estimator's ``fit``.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            For an estimator outside the families, before any work.
        ValueError
            For settings or data that cannot be used, before any work.
        """
        self._options()
        family = find_family(self.estimator)
        family.check(self.estimator)
        if sample_weight is not None:
            if not has_fit_parameter(self.estimator, "sample_weight"):
                raise ValueError(f"{type(self.estimator).__name__}.fit takes no sample_weight.")
            shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
            if shape:  # what is no table of rows is refused by the estimator's own fit
                sample_weight = check_weights(sample_weight, shape[0])
            fit_params = {**fit_params, "sample_weight": sample_weight}
        estimator = clone(self.estimator)
        fitted_on = X
        if not getattr(estimator, "copy_X", True):
            # The estimator would centre the caller's array in place, and with it the rows that influences are about.
            fitted_on = X.copy() if hasattr(X, "copy") else X
        estimator.fit(fitted_on, y, **fit_params)
        rows = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])
        weights = np.ones(rows.shape[0]) if sample_weight is None else sample_weight
        objective = family.read(estimator, rows, y, weights)
        self.estimator_ = estimator
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        self._remember(family, objective)
        return self

    @available_if(_estimator_has("predict"))
    def predict(self, X):
        """``estimator_.predict(X)``."""
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X):
        """``estimator_.predict_proba(X)``."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """``estimator_.predict_log_proba(X)``."""
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X):
        """``estimator_.decision_function(X)``."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @available_if(_estimator_has("score"))
    def score(self, X, y, sample_weight=None):
        """``estimator_.score(X, y, sample_weight)``: accuracy, or R2."""
        check_is_fitted(self)
        return self.estimator_.score(X, y, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        for name in (
            "estimator_type",
            "classifier_tags",
            "regressor_tags",
            "target_tags",
            "input_tags",
            "non_deterministic",
        ):
            setattr(tags, name, getattr(inner, name))
        return tags

    def _get_fitted_attr_html(self, doc_link=""):
        """The HTML display lists the fitted model's attributes; reading ours would compute them."""
        if not hasattr(self, "estimator_"):
            return {}
        return self.estimator_._get_fitted_attr_html(doc_link)
