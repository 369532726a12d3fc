"""KernelLogisticRegression: ``sum s logloss(Kc) + alpha/2 c'Kc``, binary or multinomial, no intercept."""

import numpy as np

from ..alpha.gram import Gram
from ..alpha.objective import KernelObjective
from ..losses import Logistic, Softmax
from .classes import check_class_weight, class_codes, class_weighting
from .kernel import KernelFamily, kernel_parameters, write_dual


class KernelLogisticFamily(KernelFamily):
    """Log loss in the span of the rows; with ``penalty_scale="mean"`` alpha shrinks with the weight that is left.

    The estimator's class registers it, so that this file stands below.
    """

    def check(self, estimator):
        check_class_weight(estimator.class_weight)

    def encode(self, estimator, y):
        return class_codes(estimator, y)

    def read(self, estimator, X, y, sample_weight):
        codes = self.encode(estimator, y)
        n_outputs = self.n_outputs(estimator)
        return KernelObjective(
            Gram(estimator.kernel, X, **kernel_parameters(estimator)),
            codes,
            Logistic() if n_outputs == 1 else Softmax(),
            class_weighting(estimator, codes, sample_weight),
            np.full(n_outputs, float(estimator.alpha)),
            np.ravel(estimator.dual_coef_).astype(np.float64),
            mean=estimator.weight_sum_ if estimator.penalty_scale == "mean" else 0.0,
        )

    def write(self, estimator, params, origin=None):
        write_dual(estimator, params, origin)

    def write_rows(self, estimator, objective):
        estimator._take_up_rows(objective)

    def as_written(self, estimator, params):
        return params.astype(estimator.dual_coef_.dtype).astype(np.float64)
