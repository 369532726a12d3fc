"""InfluenceEstimator: any supported scikit-learn estimator, with influence and unlearning."""

import copy
import warnings

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from . import composite, recording
from ._validation import check_no_dates, check_rows, check_weights, count_rows, take_rows, unused_categories
from .composite import check_composite
from .editing import Written, perturbed_minimum
from .fitted import FittedModel
from .privacy import ObjectivePerturbation
from .solvers import get_solver
from .what_if import WhatIfMixin

# The rows that a final step takes.
_ROWS = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}


def _estimator_has(name):
    """True where the estimator, the fitted one if there is one, has the method; AttributeError otherwise."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


def _warn_steps_that_differ(estimator, X, y):
    """A frozen pipeline's rows are what ``transform`` gives; say where its model was fitted on others."""
    some = np.unique(np.linspace(0, count_rows(X) - 1, 1000).astype(int))
    names = composite.steps_that_differ(estimator, take_rows(X, some), take_rows(y, some))
    if names:
        warnings.warn(
            f"The frozen pipeline's step {', '.join(map(repr, names))} gives other rows by fit_transform, which the "
            "model was fitted on, than by transform, which is all that is known of a frozen one. Influences are those "
            "of a model on the latter; wrap the pipeline without FrozenEstimator and fit it for the former.",
            UserWarning,
            stacklevel=3,
        )


def _check_perturbation(perturbation, frozen):
    if perturbation is None:
        return
    if not isinstance(perturbation, ObjectivePerturbation):
        raise TypeError(
            f"perturbation must be a privacy.ObjectivePerturbation, got {perturbation!r:.80}; leave it out for none."
        )
    if frozen:
        raise ValueError("A FrozenEstimator is not fitted here, so that no noise can be put into its objective.")


class InfluenceEstimator(WhatIfMixin, MetaEstimatorMixin, BaseEstimator):
    """A scikit-learn estimator that can say which training rows made it, and forget them.

    Parameters
    ----------
    estimator : estimator
        LinearRegression, Ridge, RidgeCV, RidgeClassifier, RidgeClassifierCV, LogisticRegression, LogisticRegressionCV
        (L2 penalty or none), KernelRidge, GaussianProcessRegressor, :class:`KernelLogisticRegression`, MLPClassifier,
        MLPRegressor (without edits), or a class given to :func:`register_family`; or a Pipeline, a search or a
        FrozenEstimator that ends in one, in any nesting. It is
        cloned by ``fit``, a frozen one copied.
    method : {"newton", "first_order", "second_order"}, default="newton"
        "newton": one Newton step on the retained rows, exact for squared loss. "first_order": the classical
        infinitesimal influence, which underestimates the rows of high leverage. "second_order": the next term of the
        same expansion, to compare with; it costs two passes over all rows for every removal. All but "first_order" need
        the true curvature, and are refused with the solvers that approximate it: "stochastic", "outer_product" and
        "diagonal".
    solver : {"auto", "direct", "cg", "stochastic", "outer_product", "diagonal"} or a solver object, default="auto"
        How the curvature is inverted. "direct": factored. "cg": conjugate gradients, to 1e-10. "stochastic": LiSSA, to
        a stated standard error. "outer_product": the empirical Fisher matrix in its place. "diagonal": its diagonal
        alone. "auto": "direct" where that fits in memory and is worth its price, else "cg"; ``solve_info_.reason``
        says which and why. Objects of :mod:`sklearn_influence.solvers` carry options, as
        ``solvers.ConjugateGradient(tol=1e-6)`` and ``solvers.Stochastic(random_state=0)``. Refinement and ``unlearn``
        take the true curvature, without damping, whatever the solver.
    representation : {"auto", "primal", "dual"}, default="auto"
        Which unknowns: "primal", the parameters; "dual", coordinates of the rows' span, as many as there are rows.
        "auto" takes the dual where there are more columns than rows, unless the solver's result depends on what the
        parameters are (damping, "diagonal", ``parameters``). The results are the same, but of an MLPClassifier or
        MLPRegressor: the dual has the Gauss-Newton curvature in place of the exact one. Kernel models have the dual
        alone: their parameters are coefficients of the rows.
    refine : bool, default=True
        Take influences at the true optimum, found by Newton steps on a private copy, wherever the fit stopped. The
        estimator and its predictions stay as they are.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the rows are multiplied and the curvature is factored: "cuda" is a graphics card; refused, saying what is
        missing, without one, and for sparse rows and solvers that estimate. "auto" takes a card where there is
        one, and the rows are dense and hold 10 million numbers or more. Results are NumPy arrays of the same numbers to
        about 1e-9; float32 rows stay so there.
    blocks : None, "last" or list of int, default=None
        Of a network: the layers whose parameters count, 0 being the first; None: all. The others stay as they were
        fitted, and parameters, their names and influences are those of these layers alone. Takes effect with the
        next ``fit``.
    n_jobs : int, default=None
        Threads over groups of rows; None is one thread, or what a joblib context says.
    verbose : int, default=0
        Above 0, log the progress of long computations to the logger "sklearn_influence".

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone; after ``unlearn``, without the removed rows in its final step.
    classes_ : ndarray
        Labels of a classifier.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    n_samples_fit_ : int
        Rows given to ``fit``, and to ``extend`` since.
    sample_indices_ : ndarray of int
        Row numbers, of the data given to ``fit``, still in the model; those of added rows go on from there.
    params_ : ndarray of shape (n_params,)
        Coefficients and intercepts of the refined optimum; computed on first access.
    param_names_ : ndarray of str
    stationarity_ : Bunch
        How far the fit stopped from its optimum; computed on first access.
    solve_info_ : SolveInfo
        How the solves of the last question went: ``solver``, ``converged``, ``iterations``, ``residual`` (k,) without
        unit for each column solved for, ``reason`` in words, ``rcond``, ``nullity``; after "stochastic" also
        ``standard_error`` (n_params, k) and ``repeats`` (n_repeats, n_params, k). AttributeError before the first
        question.
    certificate_ : Bunch
        Of the last edit: ``unlearn``, ``update`` or ``extend``.
    budget_remaining_ : float
        After ``fit`` with a ``perturbation``: by how much the gradient on the model's rows may still grow.
    edits_ : tuple of Bunch
        Every edit since ``fit``, in order: ``kind`` ("unlearn", "update", "extend"), ``indices`` (row numbers) and
        ``certificate``; nothing of the rows' data.

    Notes
    -----
    ``fit`` costs what the estimator's own ``fit`` costs; the curvature is factored at the first question and kept. The
    training rows are held by reference: do not change them in place. Questions may be asked from several threads; edits
    may not. ``set_params`` on method, solver, representation, refine and device takes effect at once, on ``estimator``
    with the next ``fit``.

    In a pipeline the transformers are held as they were fitted: influence and ``unlearn`` are about the final step, on
    the rows that it was fitted on. Test rows are raw, as ``predict`` takes them. ``param_names_`` are the final step's
    columns.

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

    A pipeline on a table as it is:

    >>> import pandas as pd
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import OneHotEncoder
    >>> people = pd.DataFrame({"age": [23, 47, 31, 58, 39, 62], "town": list("ababba")})
    >>> prepare = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["town"]))
    >>> pipeline = make_pipeline(prepare, LogisticRegression())
    >>> model = InfluenceEstimator(pipeline).fit(people, ["no", "yes", "no", "yes", "no", "yes"])
    >>> model.influence_on_loss(people[:2], ["no", "yes"], [3]).shape
    (2, 1)
    >>> model.unlearn([3], refit_transformers=True).certificate_.remembers
    []
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
        blocks=None,
        n_jobs=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.method = method
        self.solver = solver
        self.representation = representation
        self.refine = refine
        self.device = device
        self.blocks = blocks
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, *, perturbation=None, **fit_params):
        """Fit the estimator; nothing else is computed yet.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n_samples, n_features), or whatever a pipeline takes
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative, for the final step: in a pipeline they are passed on as ``step__sample_weight``, which may be
            given instead; with metadata routing the requests of the estimators decide.
        perturbation : privacy.ObjectivePerturbation, default=None
            Noise for the final step's objective: the model becomes the minimum of the noisy one, and unlearning it is
            (epsilon, delta)-certified for as long as ``budget_remaining_`` is not spent.
        **fit_params
            Passed to the estimator's ``fit``.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            For an estimator outside the families, before any work.
        NotFittedError
            For a FrozenEstimator around an estimator that is not fitted.
        ValueError
            For settings or data that cannot be used, before any work; for a search that keeps no fitted model, and a
            pipeline that changes the number of rows.
        """
        family = self._family(self.estimator)
        family.check_solver(get_solver(self.solver))
        self._check_options()
        frozen = composite.is_frozen(self.estimator)
        _check_perturbation(perturbation, frozen)
        if perturbation is not None:
            family.check_noise()
        check_rows(X, y)
        n = count_rows(X)
        if frozen and count_rows(y) != n:  # no other fit will check it
            raise ValueError(f"X and y must have the same number of rows, got {n} and {count_rows(y)}.")
        if sample_weight is not None and n is not None:  # what is no table of rows the estimator's own fit refuses
            sample_weight = check_weights(sample_weight, n)
        fit_params, weight = composite.fit_parameters(self.estimator, sample_weight, fit_params)
        if weight is not None and n is not None:
            weight = check_weights(weight, n)
        if not composite.has_transformers(self.estimator):
            check_no_dates(X)
        # A frozen estimator is its own clone, and edits are not for the caller's.
        estimator = copy.deepcopy(self.estimator) if frozen else clone(self.estimator)
        rows = recording.fit_recording(estimator, X, y, fit_params)
        check_no_dates(rows)
        if frozen:  # no fit has compared its columns with these
            validate_data(composite.final_step(estimator), rows, reset=False, skip_check_array=True)
        rows = check_array(rows, **_ROWS)
        if n is not None and len(rows.shape) and rows.shape[0] != n:
            raise ValueError(
                f"The final step was fitted on {rows.shape[0]} rows, not on the {n} given to fit: a step of the "
                "pipeline drops or adds rows, and their numbers would mean nothing. Resample before fit."
            )
        final = composite.final_step(estimator)
        if final is not estimator:  # a search may have had the choice among models, or their settings
            family = self._family(estimator)
        family = family.of(final)
        objective = family.read(final, rows, y, np.ones(rows.shape[0]) if weight is None else weight)
        if frozen:
            _warn_steps_that_differ(estimator, X, y)
        if perturbation is not None:
            objective = self._perturbed(family, final, objective, perturbation)
        self.estimator_ = estimator
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        self._source = recording.Source(X, y, fit_params) if composite.has_transformers(estimator) else None
        budget = None if perturbation is None else perturbation.budget()
        self._remember(family, objective, frozen=frozen, budget=budget)
        return self

    def _family(self, estimator):
        """The family of the final step, for the layers that count; refuses what cannot be used."""
        family = check_composite(estimator)
        return family.with_blocks(composite.final_step(estimator), self.blocks)

    def _perturbed(self, family, final, objective, perturbation):
        """The objective with noise in it, at its minimum, which ``final`` then holds."""
        fitted, written = FittedModel(family, objective), Written(family, final)
        options = fitted.resolved(self._check_options(), self.method)
        objective = perturbed_minimum(
            objective,
            perturbation,
            lambda perturbed: family.represent(perturbed.on(options.device), options.representation),
            written,
            fitted.exact_solver(options),
        )
        family.write(final, written.params(objective))
        return objective

    # -- what stands around the final step --------------------------------------------------------------------------

    @property
    def _final_step(self):
        return composite.final_step(self.estimator_)

    def _features(self, X):
        """Test rows as the final step takes them, checked."""
        owner = self
        if composite.has_transformers(self.estimator_):
            owner, X = self._final_step, composite.transform(self.estimator_, X)
        return validate_data(owner, X, reset=False, **_ROWS)

    def _feature_names(self):
        return composite.feature_names(self.estimator_, self._objective.design.n_features)

    def _hold(self, estimator):
        super()._hold(estimator)
        for name in ("n_features_in_", "feature_names_in_"):  # of a precomputed kernel they are the rows that stay
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))

    def _with_final(self, final):
        return composite.with_final(self.estimator_, final)

    def _edited_source(self, edit, X, y):
        return None if self._source is None else self._source.edited(edit, X, y, composite.weight_name(self.estimator_))

    def _check_transformers(self):
        if self._source is None:
            raise ValueError(
                f"refit_transformers=True needs transformers: {type(self.estimator_).__name__} has none before its "
                "final step. Wrap the whole pipeline, InfluenceEstimator(pipeline), and fit it on the raw rows."
            )

    def _transform_again(self, source, weight):
        """The estimator with transformers fitted on the rows of ``source``, its final step, and the objective there."""
        estimator, rows = recording.fit_transformers(self.estimator_, source.X, source.y, source.fit_params)
        final = copy.copy(self._final_step)
        estimator = composite.with_final(estimator, final)
        validate_data(final, rows, reset=True, skip_check_array=True)
        rows = check_array(rows, **_ROWS)
        family = self._fitted.family
        family.reshape(final, rows)
        return estimator, final, family.read(final, rows, source.y, weight)

    def _transformers_remember(self, source, refitted, seen):
        sentences = composite.remembers(self.estimator_, seen, refitted=refitted)
        for name in [] if source is None else unused_categories(source.X):
            sentences.append(
                f"the categories of column {name!r} (its values are gone, their list is the DataFrame's own)"
            )
        return sentences

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
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.estimator_.score(X, y, **weights)

    def get_metadata_routing(self):
        """What ``fit`` and ``score`` pass on to the estimator, whose requests decide, and ask for by requests of their
        own where there are any; see scikit-learn's guide to metadata routing."""
        mapping = MethodMapping().add(caller="fit", callee="fit").add(caller="score", callee="score")
        router, own = MetadataRouter(owner=self), super().get_metadata_routing()
        if any(getattr(own, method).requests.get("sample_weight") is not None for method in ("fit", "score")):
            router.add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

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
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = False  # no family takes several labels a row
        return tags

    def _get_fitted_attr_html(self, doc_link=""):
        """The HTML display lists the fitted model's attributes; reading ours would compute them."""
        if not hasattr(self, "estimator_"):
            return {}
        return self.estimator_._get_fitted_attr_html(doc_link)
