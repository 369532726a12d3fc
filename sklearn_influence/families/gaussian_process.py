"""GaussianProcessRegressor: ridge regression in the space of its kernel, its noise the penalty of each row."""

import numpy as np
from scipy import linalg
from sklearn.gaussian_process import GaussianProcessRegressor

from ..alpha.gram import Gram
from ..alpha.objective import KernelObjective
from ..losses import SquaredError
from ..objective import Weighting
from .kernel import KernelFamily
from .registry import read_targets

# Targets of a smaller spread than this are constant, and not divided by it; as scikit-learn has it.
_CONSTANT = 10 * np.finfo(float).eps


class GaussianProcessFamily(KernelFamily):
    """``(K + D) a = (y - mean) / std``, mean and std 0 and 1 without ``normalize_y``.

    K is the kernel between points, without the noise that a WhiteKernel adds; D that noise plus ``alpha``, which may be
    one number per row. The parameters are in the units of y, ``std * alpha_`` and with ``normalize_y`` the mean behind
    them, both recomputed without the removed rows; the kernel's own parameters stay as they were optimised.
    """

    estimators = (GaussianProcessRegressor,)
    coefficients = "alpha_"

    def check(self, estimator):
        if not (np.asarray(estimator.alpha, dtype=float) > 0).all():
            raise ValueError(f"GaussianProcessRegressor needs alpha > 0, got {estimator.alpha!r}.")

    def encode(self, estimator, y):
        return read_targets(y, self.n_outputs(estimator))

    def read(self, estimator, X, y, sample_weight):
        y = self.encode(estimator, y)
        noise = _noise(estimator, X)
        strength = float(noise[0] if np.ptp(noise) == 0 else noise.mean())
        params = estimator.alpha_.reshape(len(X), -1) * np.ravel(estimator._y_train_std)
        if estimator.normalize_y:
            params = np.append(params, y.mean(axis=0))
        return KernelObjective(
            Gram(estimator.kernel_, X),
            y,
            SquaredError(),
            Weighting(strength / noise),
            np.full(y.shape[1], strength),
            np.ravel(params),
            centred=bool(estimator.normalize_y),
            of_rows=np.ndim(estimator.alpha) > 0,
        )

    def reshape(self, estimator, X):
        if np.ndim(estimator.alpha):
            raise ValueError(
                "refit_transformers=True needs one alpha for all rows, and this GaussianProcessRegressor has one for "
                "each; leave the transformers as they are."
            )
        super().reshape(estimator, X)

    def write(self, estimator, params, origin=None):
        """The coefficients are written with the rows that their units follow from."""

    def write_rows(self, estimator, objective):
        shape, q = estimator.alpha_.shape[1:], objective.n_outputs
        mean, std = np.zeros(q), np.ones(q)
        if estimator.normalize_y:
            mean, std = objective.y.mean(axis=0), objective.y.std(axis=0)
            std = np.where(std < _CONSTANT, 1.0, std)
        a, y = objective.coefficients / std, (objective.y - mean) / std
        noise = objective.strength[0] / objective.sample_weight
        K = objective.gram.host_matrix()
        K[np.diag_indices_from(K)] += noise
        L = linalg.cholesky(K, lower=True, overwrite_a=True, check_finite=False)
        estimator.X_train_, estimator.L_ = objective.gram.X, L
        estimator.alpha_, estimator.y_train_ = a.reshape(-1, *shape), y.reshape(-1, *shape)
        if estimator.normalize_y:
            estimator._y_train_mean, estimator._y_train_std = mean.reshape(shape), std.reshape(shape)
        likelihood = -0.5 * (y * a).sum() - q * (np.log(np.diagonal(L)).sum() + 0.5 * len(L) * np.log(2 * np.pi))
        estimator.log_marginal_likelihood_value_ = likelihood
        if np.ndim(estimator.alpha):
            estimator.alpha = noise - _white(estimator, objective.gram.X)

    def as_written(self, estimator, params):
        return params

    def remembers(self, estimator, seen):
        if estimator.optimizer is None or not estimator.kernel_.n_dims:
            return []
        return [f"kernel_ of GaussianProcessRegressor (its hyper-parameters were optimised with {seen})"]


def _white(estimator, X):
    """What the kernel adds to a row's variance when it meets itself as a training row: (n,)."""
    kernel = estimator.kernel_
    # A kernel between two sets of rows has no noise, whatever the rows; one row at a time is as cheap as its diagonal.
    alone = np.concatenate([np.diagonal(kernel(X[part], X[part])) for part in _pieces(len(X))])
    white = kernel.diag(X) - alone
    return np.where(np.abs(white) <= 1e-12 * np.abs(alone), 0.0, white)


def _noise(estimator, X):
    return np.broadcast_to(np.asarray(estimator.alpha, dtype=float), (len(X),)) + _white(estimator, X)


def _pieces(n, size=256):
    return [slice(start, start + size) for start in range(0, n, size)]
