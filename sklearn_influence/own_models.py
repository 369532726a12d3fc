"""What estimators of our own share: they answer for themselves, as :class:`InfluenceEstimator` does for others."""

from numbers import Real

import numpy as np
from scipy.special import log_expit, log_softmax
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ._validation import check_weights
from .families.classes import class_weighting
from .losses import Logistic, Softmax
from .what_if import WhatIfMixin

PENALTY_SCALES = ("sum", "mean")


class OwnModelMixin(WhatIfMixin):
    """What influence and edits ask of the estimator around a final step, where that step is the estimator itself.

    It has ``device`` and ``_rows()``, the keywords of ``validate_data`` for its rows; ``_of_edit`` names the fitted
    attributes that an edit writes.
    """

    method, solver, representation, refine, n_jobs, verbose = "newton", "auto", "auto", True, None, 0
    _of_edit = ()

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_fitted")

    @property
    def _final_step(self):
        return self

    def _features(self, X):
        return validate_data(self, X, reset=False, **self._rows())

    def _feature_names(self):
        return getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])

    def _with_final(self, final):
        return final

    def _hold(self, estimator):
        for name in self._of_edit:
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))

    def _take_up_rows(self, objective):
        """Hold the rows of an edited objective, and nothing of those before."""
        self._remember(self._fitted.family, objective)

    def _edited_source(self, edit, X, y):
        return None

    def _check_transformers(self):
        raise ValueError(
            "refit_transformers=True needs transformers before the model: wrap the pipeline that ends in "
            f"{type(self).__name__}, InfluenceEstimator(pipeline), and fit it on the raw rows."
        )

    def _transformers_remember(self, source, refitted, seen):
        return []

    def _get_fitted_attr_html(self, doc_link=""):
        """What fit left, for the HTML display: reading every attribute, as it does, would compute ``params_``."""
        shown = type(type(self).__name__, (), {"__doc__": type(self).__doc__})()
        shown.__dict__.update(vars(self))
        return BaseEstimator._get_fitted_attr_html(shown, doc_link)


class ByOutputsMixin:
    """Labels and probabilities of a classifier by its ``decision_function``: log odds, or one output a class."""

    def predict(self, X):
        """The most probable class of each row, (m,)."""
        outputs = self.decision_function(X)
        codes = (outputs > 0).astype(int) if outputs.ndim == 1 else outputs.argmax(axis=1)
        return self.classes_[codes]

    def predict_proba(self, X):
        """Probabilities of the classes, (m, n_classes), in the order of ``classes_``."""
        outputs = self.decision_function(X)
        return Logistic().proba(outputs[:, None]) if outputs.ndim == 1 else Softmax().proba(outputs)

    def predict_log_proba(self, X):
        """Logarithms of the probabilities, (m, n_classes), right where those are next to nothing."""
        outputs = self.decision_function(X)
        if outputs.ndim == 1:
            return np.stack([log_expit(-outputs), log_expit(outputs)], axis=1)
        return log_softmax(outputs, axis=1)

    def _read_labels(self, y, sample_weight):
        """Set ``classes_``; their numbers (n,), the user's weights, and those times the classes'."""
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least 2 classes; got 1 class, {self.classes_[0]!s}."
            )
        sample_weight = check_weights(sample_weight, len(codes))
        weight = class_weighting(self, codes, sample_weight).effective()
        empty = self.classes_[np.bincount(codes, weights=weight) == 0]
        if len(empty):
            raise ValueError(
                f"Every row of class {empty[0]!s} has weight 0 (sample_weight times class_weight). Leave the class "
                "out, or give it weight."
            )
        return codes, sample_weight, weight


def check_strength(alpha, model):
    """Refuse a strength of the penalty that is no number above 0; ``model`` says whose it is."""
    if isinstance(alpha, (bool, np.bool_)) or not isinstance(alpha, Real) or not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be a number > 0, got {alpha!r}; a {model} model needs a penalty.")
