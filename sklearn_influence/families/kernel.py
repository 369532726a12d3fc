"""Kernel models: their rows with rows of weight are all that they are made of."""

import numpy as np
from sklearn.kernel_ridge import KernelRidge

from .. import alpha
from ..alpha.curvature import Cheapest
from ..alpha.gram import Gram, check_symmetric
from ..alpha.objective import KernelObjective
from ..losses import SquaredError
from ..objective import Weighting
from ..solvers import Auto, ConjugateGradient, Direct
from ..solvers.choice import called
from .registry import Family, read_targets


class KernelFamily(Family):
    """What models in the span of their rows share: they are influenced, and unlearn, in their dual coefficients."""

    engine = alpha
    coefficients = "dual_coef_"

    def choose(self, objective, representation):
        if representation == "primal":
            raise ValueError(
                "representation='primal' is not available for kernel models, whose parameters are the coefficients of "
                "their rows; use 'auto' or 'dual'."
            )
        return "dual"

    def cheapest(self, solver):
        return Cheapest() if solver == Direct() else solver

    def check_solver(self, solver):
        if not isinstance(solver, (Auto, Direct, ConjugateGradient)) or solver.damping:
            raise ValueError(
                f"solver={called(solver)} is not available for kernel models: it approximates or damps the curvature "
                "of parameters, and theirs are the coefficients of the rows. Use 'auto', 'direct' or 'cg'."
            )

    def n_outputs(self, estimator):
        coef = getattr(estimator, self.coefficients)
        return 1 if coef.ndim == 1 else coef.shape[1]

    def reshape(self, estimator, X):
        """Coefficients of 0 for other rows than the estimator had: a place to start from."""
        coef = getattr(estimator, self.coefficients)
        setattr(estimator, self.coefficients, np.zeros((X.shape[0], *coef.shape[1:]), dtype=coef.dtype))

    def check_noise(self):
        raise ValueError(
            "A kernel model holds its training rows beside their coefficients, so that noise on the coefficients, or "
            "in their objective, hides nothing: there is no release of it by epsilon and delta, no perturbation, and "
            "nothing of either to audit. unlearn without them."
        )

    def check_sensitivity(self):
        raise ValueError(
            "input_sensitivity is not available for kernel models: a kernel says its values, not their derivatives by "
            "the rows. Ask influence_on_loss(X_new=...) for a change of a given size."
        )

    def param_names(self, estimator, objective, columns, rows):
        labels = getattr(estimator, "classes_", np.arange(objective.n_outputs))
        if objective.n_outputs == 1:
            names = [f"dual_coef[{row}]" for row in rows]
        else:
            names = [f"dual_coef[{row}, {label}]" for row in rows for label in labels]
        tail = objective.n_params - len(names)
        return names + (["offset"] if tail == 1 else [f"offset[{label}]" for label in labels[:tail]])


class KernelRidgeFamily(KernelFamily):
    """``sum s (y - Kc)**2 + alpha c'Kc``: squared loss, so that Newton's step is the retrained model.

    ``alpha`` may be one number per target; it must be above 0.
    """

    estimators = (KernelRidge,)

    def check(self, estimator):
        if not (np.asarray(estimator.alpha, dtype=float) > 0).all():
            raise ValueError(
                f"KernelRidge(alpha={estimator.alpha!r}) is not supported: alpha must be above 0 for every target; "
                "without a penalty the coefficients are not determined where the kernel matrix is singular."
            )

    def encode(self, estimator, y):
        return read_targets(y, self.n_outputs(estimator))

    def read(self, estimator, X, y, sample_weight):
        y = self.encode(estimator, y)
        if isinstance(estimator.kernel, str) and estimator.kernel == "precomputed":
            check_symmetric(X)
        strength = np.broadcast_to(np.asarray(estimator.alpha, dtype=float), (y.shape[1],))
        return KernelObjective(
            Gram(estimator.kernel, X, **kernel_parameters(estimator)),
            y,
            SquaredError(),
            Weighting(sample_weight),
            strength,
            np.ravel(estimator.dual_coef_).astype(np.float64),
        )

    def write(self, estimator, params, origin=None):
        write_dual(estimator, params, origin)

    def write_rows(self, estimator, objective):
        estimator.X_fit_ = objective.gram.X
        estimator.n_features_in_ = objective.gram.X.shape[1]  # of a precomputed kernel the rows that stay

    def as_written(self, estimator, params):
        return params.astype(estimator.dual_coef_.dtype).astype(np.float64)


def write_dual(estimator, params, origin=None):
    """Put coefficients into ``dual_coef_``, of as many rows as they are for; the columns of a precomputed kernel are
    named after the rows, and those that stay keep their names."""
    names = getattr(estimator, "feature_names_in_", None)
    precomputed = isinstance(estimator.kernel, str) and estimator.kernel == "precomputed"
    if precomputed and names is not None and origin is not None and len(origin) < len(names):
        estimator.feature_names_in_ = names[origin]
    shape = estimator.dual_coef_.shape[1:]
    estimator.dual_coef_ = params.reshape(-1, *shape).astype(estimator.dual_coef_.dtype)


def kernel_parameters(estimator):
    """The parameters of a kernel as scikit-learn's estimators pass them on."""
    if callable(estimator.kernel):
        return estimator.kernel_params or {}
    return {"gamma": estimator.gamma, "degree": estimator.degree, "coef0": estimator.coef0}
