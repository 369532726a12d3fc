"""LogisticRegression(CV): ``sum s logloss + 1/(2 C) |w|**2``, binary or multinomial, every scikit-learn solver."""

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from ..losses import Logistic, Softmax
from ..primal import PrimalObjective
from .classes import check_class_weight, class_codes, class_weighting
from .registry import LinearFamily


class LogisticFamily(LinearFamily):
    """Log loss with an L2 penalty or none.

    The intercept is free, except liblinear's, which is penalised: ``1/2 (b / intercept_scaling)**2 / C``.
    "balanced" class weights are recomputed without the removed rows, as a refit would. LogisticRegressionCV keeps the
    ``C_`` it chose: influence and unlearning are about the final model, and :meth:`remembers` says so.
    """

    estimators = (LogisticRegression, LogisticRegressionCV)

    def check(self, estimator):
        _penalty(estimator)
        check_class_weight(estimator.class_weight)
        if isinstance(estimator, LogisticRegressionCV) and not estimator.refit:
            raise ValueError(
                "LogisticRegressionCV(refit=False) is not supported: it averages the coefficients of its folds, which "
                "minimise nothing. Set refit=True."
            )

    def encode(self, estimator, y):
        return class_codes(estimator, y)

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
        weighting = class_weighting(estimator, codes, sample_weight)
        totals = np.bincount(codes, weights=weighting.effective(), minlength=len(estimator.classes_))
        if not totals.all():
            label = estimator.classes_[np.flatnonzero(totals == 0)[0]]
            raise ValueError(
                f"Every row of class {label!s} has weight 0 (sample_weight times class_weight): the model has no "
                "finite optimum. Leave the class out, or give it weight."
            )
        return PrimalObjective(X, codes, loss, weighting, penalty, self.params(estimator), estimator.fit_intercept)

    def remembers(self, estimator, seen):
        if isinstance(estimator, LogisticRegressionCV):
            return [f"C_, scores_ and coefs_paths_ of LogisticRegressionCV (chosen and fitted with {seen})"]
        return []


def _inverse_strength(estimator):
    """C of the L2 penalty, infinite without one."""
    if _penalty(estimator) is None:
        return np.inf
    return float(np.ravel(estimator.C_)[0] if isinstance(estimator, LogisticRegressionCV) else estimator.C)


def _penalty(estimator):
    """The penalty's name, None without one; ValueError for an L1 part.

    Reads both ways that scikit-learn has of naming a penalty: ``penalty`` (deprecated since 1.8), and ``l1_ratio`` with
    ``C=inf``; LogisticRegressionCV has ``l1_ratios``, of which each must be 0.
    """
    name = "l1_ratios" if isinstance(estimator, LogisticRegressionCV) else "l1_ratio"
    penalty, l1_ratio = estimator.penalty, getattr(estimator, name)
    named = penalty if penalty in ("l1", "l2", "elasticnet", None) else "by l1_ratio"
    if named is None:
        return None
    some_l1 = any(ratio not in (None, 0) for ratio in np.ravel(l1_ratio))
    has_l1 = named == "l1" or (named in ("elasticnet", "by l1_ratio") and some_l1)
    if has_l1:
        given = f"{name}={l1_ratio!r}" if named == "by l1_ratio" else f"penalty={penalty!r}, {name}={l1_ratio!r}"
        only_l2 = "l1_ratios=(0,)" if name == "l1_ratios" else "l1_ratio=0"
        none = "Cs=(np.inf,)" if name == "l1_ratios" else "C=np.inf"
        raise ValueError(
            f"{type(estimator).__name__} with an L1 penalty ({given}) is not supported: "
            f"its objective has no curvature where coefficients are 0. Use an L2 penalty ({only_l2}) or none ({none})."
        )
    return named
