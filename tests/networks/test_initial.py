"""Sizes and weights that a network starts from, as users give them."""

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence.networks import Network
from sklearn_influence.networks.initial import given_weights, hidden_sizes


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
def test_a_fitted_network_is_read_as_it_is_and_copied():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 3
    mlp = MLPClassifier((4, 2), activation="tanh", max_iter=3, random_state=0).fit(X, y)
    for init in (mlp, FrozenEstimator(mlp), (mlp.coefs_, mlp.intercepts_)):
        weights, biases, activation = given_weights(init, "tanh")
        assert activation == "tanh"
        logits = Network(weights, biases, activation).outputs(X)
        np.testing.assert_allclose(logits - logits[:, :1], _log_odds(mlp, X), atol=1e-12)
        pairs = zip(weights + biases, mlp.coefs_ + mlp.intercepts_, strict=True)
        assert not any(np.shares_memory(W, V) for W, V in pairs)
    assert given_weights(mlp, "relu")[2] == "tanh" and given_weights((mlp.coefs_, mlp.intercepts_), "relu")[2] == "relu"


def _log_odds(mlp, X):
    logs = mlp.predict_log_proba(X)
    return logs - logs[:, :1]


GOOD = [np.ones((3, 2)), np.ones((2, 1))], [np.ones(2), np.ones(1)]
BAD = {
    "unfitted": (MLPClassifier(), "is not fitted, and has no weights"),
    "poisson": (MLPRegressor("poisson", max_iter=2).fit([[0.0], [1.0]], [1.0, 2.0]), "outputs are logarithms"),
    "pipeline": (make_pipeline(StandardScaler(), MLPClassifier()), "pass its last step"),
    "number": (3, "init must be a fitted MLPClassifier .* got 3"),
    "no biases": ((GOOD[0],), "a pair"),
    "fewer biases": ((GOOD[0], GOOD[1][:1]), "one matrix and one vector for each layer"),
    "no layers": (([], []), "one matrix and one vector for each layer"),
    "wrong bias": ((GOOD[0], [np.ones(2), np.ones(2)]), "one vector for each layer"),
    "no chain": (([np.ones((3, 4)), np.ones((2, 1))], [np.ones(4), np.ones(1)]), "each after the other"),
    "no matrix": (([np.ones(3)], [np.ones(1)]), "one matrix"),
    "nan": (([np.full((3, 1), np.nan)], [np.ones(1)]), "NaN or infinite"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_network_is_refused(name):
    init, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        given_weights(init, "relu")


def test_sizes():
    assert hidden_sizes(5) == [5] and hidden_sizes((3, np.int64(2))) == [3, 2] and hidden_sizes(()) == []
    for bad in (0, 2.5, "ab", (3, 0), (2.0,), None, True):
        with pytest.raises(ValueError, match="hidden_layer_sizes must be one or several integers >= 1, got"):
            hidden_sizes(bad)
