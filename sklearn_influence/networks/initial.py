"""Where a network starts: sizes of layers, and weights that are given."""

from itertools import pairwise
from numbers import Integral

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline

from .._validation import check_count


def hidden_sizes(sizes):
    """Units of the hidden layers as a list; ValueError for what are none."""
    given = [sizes] if isinstance(sizes, Integral) else sizes
    try:
        return [check_count("hidden_layer_sizes", size) for size in given]
    except (TypeError, ValueError):
        raise ValueError(f"hidden_layer_sizes must be one or several integers >= 1, got {sizes!r}.") from None


def given_weights(init, activation):
    """Copies of weights and biases that ``init`` holds, and the activation that goes with them."""
    network = init.estimator if isinstance(init, FrozenEstimator) else init
    if isinstance(network, Pipeline):
        raise ValueError(
            "init is a pipeline; pass its last step, init=pipeline[-1], and fit on rows that the steps before it have "
            "transformed."
        )
    if isinstance(network, (MLPClassifier, MLPRegressor)):
        if not hasattr(network, "coefs_"):
            raise ValueError(f"init={network} is not fitted, and has no weights to start from; fit it first.")
        if getattr(network, "loss", None) == "poisson":
            raise ValueError("init=MLPRegressor(loss='poisson') is not supported: its outputs are logarithms.")
        coefs, intercepts, activation = network.coefs_, network.intercepts_, network.activation
    else:
        try:
            coefs, intercepts = init
        except (TypeError, ValueError):
            raise ValueError(
                "init must be a fitted MLPClassifier or MLPRegressor, a pair (coefs, intercepts) of lists of arrays, "
                f"or None; got {init!r:.80}."
            ) from None
    weights = [np.array(W, dtype=np.float64) for W in coefs]
    biases = [np.array(b, dtype=np.float64) for b in intercepts]
    shapes = f"weights of {[W.shape for W in weights]} and biases of {[b.shape for b in biases]}"
    fit = len(weights) == len(biases) > 0 and all(W.ndim == 2 for W in weights)
    fit = fit and all(b.shape == W.shape[1:] for W, b in zip(weights, biases, strict=True))
    if not fit or any(W.shape[1] != V.shape[0] for W, V in pairwise(weights)):
        raise ValueError(
            f"init must hold one matrix and one vector for each layer, each after the other; got {shapes}."
        )
    if not all(np.isfinite(A).all() for A in weights + biases):
        raise ValueError("init holds weights that are NaN or infinite.")
    return weights, biases, activation
