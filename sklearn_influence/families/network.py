"""MLPClassifier and MLPRegressor: ``sum s l + r/2 sum |W|**2`` of a network, its biases free."""

from itertools import chain

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from ..linearised import NetworkObjective, SpannedObjective, is_spanned
from ..losses import Logistic, Softmax, SquaredError
from ..networks import Network
from ..objective import Weighting
from ..solvers import Auto, ConjugateGradient, Direct
from ..solvers.choice import called
from . import network_engine
from .classes import class_codes
from .registry import Family, read_targets


class NetworkSquaredError(SquaredError):
    """Half the squared error of a network, whose outputs are no linear function of its parameters: one Newton step is
    no refit."""

    quadratic = False


class NetworkFamily(Family):
    """Multilayer perceptrons, at the minimum of their own objective near the fitted weights.

    Outputs are those of the last layer before its activation. lbfgs minimises ``sum s l + alpha/2 sum |W|**2``; adam
    and sgd give every batch the whole penalty, so that theirs is alpha times the number of batches. The gradient of a
    squared loss of several targets is that of half the sum over the targets, although scikit-learn prints their mean.
    ``blocks`` names the layers whose parameters count; the others stay what they are.
    """

    estimators = (MLPClassifier, MLPRegressor)
    engine = network_engine
    refit_advice = "diagnostics.linearisability compares it with one"

    def __init__(self, blocks=None):
        self.blocks = blocks

    def with_blocks(self, estimator, blocks):
        layers = _layers(blocks, len(np.ravel(estimator.hidden_layer_sizes)) + 1)
        return self if layers is None else type(self)(layers)

    def check(self, estimator):
        name = type(estimator).__name__
        if estimator.early_stopping:
            raise ValueError(
                f"{name}(early_stopping=True) is not supported: it holds out rows of its own, and stops where these "
                "are fitted best, which is no minimum. Set early_stopping=False."
            )
        if getattr(estimator, "loss", None) == "poisson":
            raise ValueError(f"{name}(loss='poisson') is not supported; use loss='squared_error'.")

    def encode(self, estimator, y):
        if not isinstance(estimator, MLPClassifier):
            return read_targets(y, estimator.n_outputs_)
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise ValueError(
                "Several labels a row (multilabel) are not supported by InfluenceEstimator. Fit one model for each "
                "column of y."
            )
        if len(estimator.classes_) < 2:
            raise ValueError(f"MLPClassifier needs rows of at least 2 classes; got 1 class, {estimator.classes_[0]!s}.")
        return class_codes(estimator, y)

    def read(self, estimator, X, y, sample_weight):
        y = self.encode(estimator, y)
        if isinstance(estimator, MLPClassifier):
            loss = Logistic() if estimator.out_activation_ == "logistic" else Softmax()
            weighting = Weighting(sample_weight, y)
        else:
            loss, weighting = NetworkSquaredError(), Weighting(sample_weight)
        network = Network(estimator.coefs_, estimator.intercepts_, estimator.activation, trained=self.blocks)
        penalty = np.zeros(network.n_params)
        penalty[: network.n_weights] = penalty_strength(estimator, X.shape[0])
        return NetworkObjective(network, X, y, loss, weighting, penalty)

    def write(self, estimator, params, origin=None):
        network = Network(estimator.coefs_, estimator.intercepts_, estimator.activation, trained=self.blocks).at(params)
        dtype = estimator.coefs_[0].dtype
        estimator.coefs_ = [W.astype(dtype) for W in network.weights]
        estimator.intercepts_ = [b.astype(dtype) for b in network.biases]

    def as_written(self, estimator, params):
        return params.astype(estimator.coefs_[0].dtype).astype(np.float64)

    def check_solver(self, solver):
        if not isinstance(solver, (Auto, Direct, ConjugateGradient)):
            raise ValueError(
                f"solver={called(solver)} is not available for networks; use 'auto', 'direct' or 'cg', which invert "
                "their curvature itself."
            )

    def check_method(self, method):
        if method == "second_order":
            raise ValueError(
                "method='second_order' is not available for networks: the third derivative of their outputs is not "
                "known here. Use method='newton' or 'first_order'."
            )

    def check_edits(self):
        network_engine.edited_minimum()

    def check_noise(self):
        network_engine.edited_minimum()

    def param_names(self, estimator, objective, columns, rows):
        network, outputs = objective.network, getattr(estimator, "classes_", None)
        names = []
        for layer in network.trained:
            n_in, n_out = network.weights[layer].shape
            inputs = columns if layer == 0 else [f"unit{layer}_{i}" for i in range(n_in)]
            units = _outputs_of(network, layer, n_out, outputs)
            names += [f"{i}->{o}" for i in inputs for o in units]
        biases = (
            [f"intercept->{o}" for o in _outputs_of(network, layer, len(network.biases[layer]), outputs)]
            for layer in network.trained
        )
        return [*names, *chain.from_iterable(biases)]

    def choose(self, objective, representation):
        """The exact curvature needs the parameters; the dual has the linearised network's alone."""
        if representation == "dual":
            if not is_spanned(objective):
                raise ValueError("representation='dual' needs alpha above 0; use representation='primal'.")
            return "dual"
        return "primal"

    def represent(self, objective, representation):
        return SpannedObjective(objective) if representation == "dual" else objective


def _outputs_of(network, layer, n_out, labels):
    """Names of a layer's units: the hidden layers count from 1, and outputs are the classes' or numbered."""
    if layer < len(network.weights) - 1:
        return [f"unit{layer + 1}_{o}" for o in range(n_out)]
    if labels is not None and len(labels) == n_out:
        return [str(label) for label in labels]
    return ["output"] if n_out == 1 else [f"output{o}" for o in range(n_out)]


def penalty_strength(estimator, n_rows):
    """Second derivative of the penalty of a weight where the rows' losses are added up."""
    if estimator.solver == "lbfgs":
        return float(estimator.alpha)
    size = min(200, n_rows) if estimator.batch_size == "auto" else int(np.clip(estimator.batch_size, 1, n_rows))
    return float(estimator.alpha) * -(-n_rows // size)


def _layers(blocks, n_layers):
    """The layers that ``blocks`` names, ascending; None for all. ValueError for those that there are not."""
    if blocks is None:
        return None
    if isinstance(blocks, str):
        if blocks != "last":
            raise ValueError(f"blocks must be None, 'last' or a list of layer numbers, got {blocks!r}.")
        return (n_layers - 1,)
    layers = list(blocks) if np.iterable(blocks) else None
    whole = layers and all(isinstance(layer, (int, np.integer)) and not isinstance(layer, bool) for layer in layers)
    if not whole or len(set(layers)) < len(layers) or not all(0 <= layer < n_layers for layer in layers):
        raise ValueError(
            f"blocks must be None, 'last' or a list of different layer numbers from 0 to {n_layers - 1}, as [0], got "
            f"{blocks!r}."
        )
    return tuple(sorted(int(layer) for layer in layers))
