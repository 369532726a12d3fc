"""RidgeClassifier and RidgeClassifierCV: ridge regression on targets of +1 and -1."""

import numpy as np
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV

from ..losses import SquaredError
from ..objective import class_numbers
from ..primal import PrimalObjective
from .classes import check_class_weight, class_codes, class_weighting, signs
from .least_squares import LeastSquaresFamily


class RidgeClassifierFamily(LeastSquaresFamily):
    """Squared loss on one output for two classes, on one output a class for more: Newton's step is the retrained model.

    "balanced" counts rows, not their weights, and is recomputed without the removed rows. RidgeClassifierCV keeps the
    ``alpha_`` it chose.
    """

    estimators = (RidgeClassifier, RidgeClassifierCV)

    def check(self, estimator):
        super().check(estimator)
        check_class_weight(estimator.class_weight)

    def encode(self, estimator, y):
        shape = np.asarray(y).shape
        if len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"{type(estimator).__name__} with several labels a row is not supported: y has shape {shape}. "
                "Fit one model for each column of y."
            )
        return signs(class_codes(estimator, y), len(estimator.classes_))

    def read(self, estimator, X, y, sample_weight):
        y = self.encode(estimator, y)
        weighting = class_weighting(estimator, class_numbers(y), sample_weight, counted_by_weight=False)
        alpha = getattr(estimator, "alpha_", getattr(estimator, "alpha", None))
        penalty = self.penalty(alpha, y.shape[1], X.shape[1], estimator.fit_intercept)
        return PrimalObjective(
            X, y, SquaredError(), weighting, penalty, self.params(estimator), estimator.fit_intercept
        )
