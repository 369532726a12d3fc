"""LogisticRegression: ``sum s logloss + 1/(2 C) |w|**2``, binary or multinomial, every scikit-learn solver."""

from numbers import Real

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import column_or_1d

from ..losses import Logistic, Softmax
from ..objective import Weighting
from ..primal import PrimalObjective
from .registry import LinearFamily


class LogisticFamily(LinearFamily):
    """Log loss with an L2 penalty or none.

    The intercept is free, except liblinear's, which is penalised: ``1/2 (b / intercept_scaling)**2 / C``.
    "balanced" class weights are recomputed without the removed rows, as a refit would.
    """

    estimators = (LogisticRegression,)

    def check(self, estimator):
        _penalty(estimator)
        if isinstance(estimator.class_weight, dict):
            for label, weight in estimator.class_weight.items():
                if not (isinstance(weight, Real) and 0 <= weight < np.inf):
                    raise ValueError(
                        f"class_weight must be finite numbers >= 0 (no NaN, no infinity), got {weight!r} for class "
                        f"{label!r}."
                    )

    def encode(self, estimator, y):
        y = column_or_1d(y)
        try:
            known = np.isin(y, estimator.classes_)
        except TypeError:  # labels that do not compare with one another, or with themselves
            labels = set(estimator.classes_.tolist())
            known = np.array([label in labels for label in y.tolist()], dtype=bool)
        if not known.all():
            unseen = list(dict.fromkeys(np.asarray(y)[~known].tolist()))[:3]
            raise ValueError(
                f"y holds labels that the model was not fitted on: {unseen}; it knows "
                f"{estimator.classes_.tolist()[:10]}."
            )
        return np.searchsorted(estimator.classes_, y)

    def read(self, estimator, X, y, sample_weight):
        codes = self.encode(estimator, y)
        binary = len(estimator.coef_) == 1
        C = _inverse_strength(estimator)
        free_intercept = estimator.solver != "liblinear"
        penalty = self.penalty(
            1.0 / C,
            len(estimator.coef_),
            X.shape[1],
            estimator.fit_intercept,
            0.0 if free_intercept else 1.0 / (C * estimator.intercept_scaling**2),
        )
        loss = Logistic() if binary else Softmax()
        weighting = _weighting(estimator, codes, sample_weight)
        totals = np.bincount(codes, weights=weighting.effective(), minlength=len(estimator.classes_))
        if not totals.all():
            label = estimator.classes_[np.flatnonzero(totals == 0)[0]]
            raise ValueError(
                f"Every row of class {label!s} has weight 0 (sample_weight times class_weight): the model has no "
                "finite optimum. Leave the class out, or give it weight."
            )
        return PrimalObjective(X, codes, loss, weighting, penalty, self.params(estimator), estimator.fit_intercept)


def _inverse_strength(estimator):
    """C of the L2 penalty, infinite without one."""
    return np.inf if _penalty(estimator) is None else float(estimator.C)


def _penalty(estimator):
    """The penalty's name, None without one; ValueError for an L1 part.

    Reads both ways that scikit-learn has of naming a penalty: ``penalty`` (deprecated since 1.8), and ``l1_ratio`` with
    ``C=inf``.
    """
    penalty, l1_ratio = estimator.penalty, estimator.l1_ratio
    named = penalty if penalty in ("l1", "l2", "elasticnet", None) else "by l1_ratio"
    if named is None:
        return None
    has_l1 = named == "l1" or (named in ("elasticnet", "by l1_ratio") and l1_ratio not in (None, 0))
    if has_l1:
        given = f"l1_ratio={l1_ratio!r}" if named == "by l1_ratio" else f"penalty={penalty!r}, l1_ratio={l1_ratio!r}"
        raise ValueError(
            f"LogisticRegression with an L1 penalty ({given}) is not supported: "
            "its objective has no curvature where coefficients are 0. Use an L2 penalty (l1_ratio=0) or none "
            "(C=np.inf)."
        )
    return named


def _weighting(estimator, codes, sample_weight):
    class_weight = estimator.class_weight
    if class_weight is None or class_weight == "balanced":
        return Weighting(sample_weight, codes, balanced=class_weight == "balanced")
    factors = compute_class_weight(class_weight, classes=estimator.classes_, y=estimator.classes_[codes])
    return Weighting(sample_weight, codes, class_weight=factors)
