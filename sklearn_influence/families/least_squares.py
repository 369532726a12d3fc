"""LinearRegression, Ridge and RidgeCV: ``1/2 sum s (y - eta)**2 + alpha/2 |w|**2``, intercept free."""

import warnings

import numpy as np
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV

from ..losses import SquaredError
from ..objective import Weighting
from ..primal import PrimalObjective
from .registry import LinearFamily, read_targets


class LeastSquaresFamily(LinearFamily):
    """Squared loss: Newton's step is the retrained model.

    ``alpha`` may be one number per target. RidgeCV keeps the ``alpha_`` it chose: influence and unlearning are about
    the final model, and :meth:`remembers` says so.
    """

    estimators = (LinearRegression, Ridge, RidgeCV)

    def check(self, estimator):
        if getattr(estimator, "positive", False):
            raise ValueError(
                f"{type(estimator).__name__}(positive=True) is not supported: its coefficients stop at 0, where "
                "the objective has no gradient. Set positive=False."
            )

    def encode(self, estimator, y):
        return read_targets(y, np.atleast_2d(estimator.coef_).shape[0])

    def read(self, estimator, X, y, sample_weight):
        y = self.encode(estimator, y)
        _warn_dropped_directions(estimator)
        alpha = getattr(estimator, "alpha_", getattr(estimator, "alpha", 0.0))
        penalty = self.penalty(alpha, y.shape[1], X.shape[1], estimator.fit_intercept)
        return PrimalObjective(
            X,
            y,
            SquaredError(),
            Weighting(sample_weight),
            penalty,
            self.params(estimator),
            estimator.fit_intercept,
        )

    def write(self, estimator, params, origin=None):
        super().write(estimator, params)
        errors = getattr(estimator, "cv_results_", None)
        if origin is not None and errors is not None and np.ndim(errors) > 1:  # those of a row: NaN for other rows
            origin = origin.reshape(-1, *[1] * (np.ndim(errors) - 1))
            estimator.cv_results_ = np.where(origin >= 0, errors[origin.ravel()], np.nan)

    def remembers(self, estimator, seen):
        if hasattr(estimator, "best_score_"):
            name = type(estimator).__name__
            sentences = [f"alpha_ and best_score_ of {name} (chosen with {seen})"]
            if getattr(estimator, "cv_results_", None) is not None:
                sentences.append(f"cv_results_ of {name} (the other rows' errors were made with {seen})")
            return sentences
        if isinstance(estimator, LinearRegression) and hasattr(estimator, "singular_"):
            return [f"singular_ and rank_ of LinearRegression (computed with {seen})"]
        return []


def _warn_dropped_directions(estimator):
    """LinearRegression drops what is small in its columns' own units, and is then at no minimum."""
    singular = np.asarray(getattr(estimator, "singular_", ()))
    dropped = int((singular > 1e-12 * singular.max(initial=0.0)).sum()) - getattr(estimator, "rank_", 0)
    if isinstance(estimator, LinearRegression) and dropped > 0:
        warnings.warn(
            f"LinearRegression dropped {dropped} of {len(singular)} directions, whose singular values are below tol="
            f"{estimator.tol:g} of the largest: its columns have very different units. Influences are taken at the "
            "minimum with all directions, which is another model. Scale the columns, or set tol=0.",
            UserWarning,
            stacklevel=4,
        )
