"""LinearisedClassifier and LinearisedRegressor: ``sum s loss(y, f0 + J theta) + alpha/2 |theta|**2``."""

import numpy as np
from scipy import sparse

from ..alpha.objective import KernelObjective
from ..alpha.tangent import TangentGram
from ..linearised.objective import JacobianObjective
from ..linearised.rows import NetworkRows
from ..losses import Logistic, Softmax, SquaredError
from ..objective import Weighting, class_numbers
from ..solvers import Auto, ConjugateGradient, Direct, Stochastic
from ..solvers.choice import called
from .classes import check_class_weight, class_codes, class_weighting, signs
from .kernel import KernelFamily
from .registry import Family, read_targets


class LinearisedFamily(Family):
    """What linearised networks share; :meth:`of` finds the representation that one was, or is to be, fitted in.

    theta is the way of the weights from those of ``network_``, where it is linearised; ``coef_``. The estimators'
    module registers them, so that this file stands below.
    """

    def of(self, estimator):
        return _BY_NAME.get(getattr(estimator, "representation_", estimator.representation), self)

    def check(self, estimator):
        check_class_weight(getattr(estimator, "class_weight", None))

    def encode(self, estimator, y):
        if not hasattr(estimator, "classes_"):
            return read_targets(y, estimator.network_.n_outputs)
        codes = class_codes(estimator, y)
        return codes if estimator.loss == "log_loss" else signs(codes, len(estimator.classes_))

    def read(self, estimator, X, y, sample_weight):
        y, network = self.encode(estimator, y), estimator.network_
        codes = class_numbers(y) if hasattr(estimator, "classes_") else None
        weighting = Weighting(sample_weight) if codes is None else class_weighting(estimator, codes, sample_weight)
        if codes is None or estimator.loss == "squared_error":
            loss = SquaredError()
        else:
            loss = Logistic() if network.n_outputs == 1 else Softmax()
        mean = estimator.weight_sum_ if estimator.penalty_scale == "mean" else 0.0
        return self.objective(estimator, network, X, y, loss, weighting, float(estimator.alpha), mean)

    def objective(self, estimator, network, X, y, loss, weighting, strength, mean):
        """The Objective of what :meth:`read` has read, at the estimator's parameters."""
        raise NotImplementedError

    def choose(self, objective, representation):
        own = "dual" if objective.representation == "kernel" else "primal"
        if representation not in ("auto", own):
            raise ValueError(
                f"representation={representation!r} is not available from a linearised network that was fitted with "
                f"representation={own!r}: its fitted attributes are those of the latter. Fit it with "
                f"representation={representation!r}, or ask with 'auto'."
            )
        return own

    def reshape(self, estimator, X):
        if X.shape[1] != estimator.network_.n_features:
            network = estimator._start(X.shape[1], estimator.network_.n_outputs)
            estimator.network_, estimator.coef_ = network, np.zeros(network.n_params)

    def write(self, estimator, params, origin=None):
        estimator.coef_ = params

    def write_rows(self, estimator, objective):
        estimator._take_up_rows(objective)

    def as_written(self, estimator, params):
        return params

    def check_solver(self, solver):
        if isinstance(solver, Stochastic):
            raise ValueError(
                f"solver={called(solver)} is not available for linearised networks, whose Jacobians are made for many "
                "rows at once; use 'auto', 'direct' or 'cg'."
            )

    def check_noise(self):
        raise ValueError(
            "A linearised network holds the rows that it was fitted on, whose influence it tells itself, so that noise "
            "on its coefficients, or in their objective, hides nothing: there is no release of it by epsilon and "
            "delta, no perturbation, and nothing of either to audit. unlearn without them."
        )

    def param_names(self, estimator, objective, columns, rows):
        network, names = estimator.network_, []
        for layer in network.trained:
            n_in, n_out = network.weights[layer].shape
            inputs = columns if layer == 0 else range(n_in)
            names += [f"coefs_[{layer}][{i}, {j}]" for i in inputs for j in range(n_out)]
        for layer in network.trained:
            names += [f"intercepts_[{layer}][{j}]" for j in range(len(network.biases[layer]))]
        return names

    def remembers(self, estimator, seen):
        if estimator.init is None:
            return []
        return [f"init of {type(estimator).__name__} (the weights it starts from may have been fitted with {seen})"]


class LinearisedPrimalFamily(LinearisedFamily):
    """In the parameters of the network."""

    def objective(self, estimator, network, X, y, loss, weighting, strength, mean):
        penalty = np.full(network.n_params, strength)
        return JacobianObjective(NetworkRows(network, X), y, loss, weighting, penalty, estimator.coef_)


class LinearisedDualFamily(LinearisedFamily, KernelFamily):
    """In coefficients of the rows: the kernel model of the network's own tangent kernel."""

    def objective(self, estimator, network, X, y, loss, weighting, strength, mean):
        if len(estimator.dual_coef_) != X.shape[0]:
            raise ValueError(
                f"{type(estimator).__name__} was fitted on {len(estimator.dual_coef_)} rows, and got {X.shape[0]}; "
                "pass the rows that it was fitted on."
            )
        gram = _known_gram(estimator, X)
        gram = TangentGram(network, X) if gram is None else gram
        coefficients = np.ravel(estimator.dual_coef_)
        return KernelObjective(gram, y, loss, weighting, np.full(network.n_outputs, strength), coefficients, mean=mean)

    def check_solver(self, solver):
        if not isinstance(solver, (Auto, Direct, ConjugateGradient)) or solver.damping:
            raise ValueError(
                f"solver={called(solver)} is not available for a linearised network in its dual representation, whose "
                "unknowns are coefficients of the rows. Use 'auto', 'direct' or 'cg', or fit it with "
                "representation='primal'."
            )

    def check_sensitivity(self):
        raise ValueError(
            "input_sensitivity is not available for a linearised network in its dual representation, whose kernel says "
            "its values, not their derivatives by the rows. Fit it with representation='primal', or ask "
            "influence_on_loss(X_new=...) for a change of a given size."
        )

    def reshape(self, estimator, X):
        super().reshape(estimator, X)
        estimator.dual_coef_ = np.zeros((X.shape[0], estimator.network_.n_outputs))

    def write_rows(self, estimator, objective):
        estimator.dual_coef_ = objective.coefficients.copy()
        super().write_rows(estimator, objective)

    def n_params(self, objective):
        return objective.gram.network.n_params


def _known_gram(estimator, X):
    """The kernel's values that the estimator holds of its own fit, where these rows are that one's; so no second matrix
    is made beside them."""
    held = getattr(estimator, "_fitted", None)
    gram = None if held is None else held.objective.gram
    if gram is None or gram.network is not estimator.network_ or gram.X.shape != X.shape:
        return None
    if sparse.issparse(gram.X) or sparse.issparse(X):
        same = sparse.issparse(gram.X) and sparse.issparse(X) and (gram.X != X).nnz == 0
    else:
        same = np.array_equal(gram.X, X)
    return gram if same else None


_BY_NAME = {"primal": LinearisedPrimalFamily(), "dual": LinearisedDualFamily()}
