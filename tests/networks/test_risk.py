"""A network's risk against its definition, and its derivatives against finite differences."""

import numpy as np
import pytest

from sklearn_influence.losses import Logistic, Softmax, SquaredError
from sklearn_influence.networks import Network, NetworkRisk

LOSSES = {"logistic": (Logistic(), 1), "softmax": (Softmax(), 3), "squared": (SquaredError(), 2)}


def risk(kind, activation="tanh", trained=None):
    loss, q = LOSSES[kind]
    rng = np.random.RandomState(0)
    net = Network.random([4, 5, q], activation, sigma_w=1.4, sigma_b=0.3, random_state=rng)
    net = Network(net.weights, net.biases, activation, net.weight_scales, net.bias_scale, trained, corner=0.5)
    X, s = rng.standard_normal((12, 4)), rng.uniform(0.5, 2.0, 12)
    y = rng.standard_normal((12, q)) if kind == "squared" else rng.randint(max(q, 2), size=12)
    return NetworkRisk(net, X, y, loss, s, rng.uniform(0.1, 1.0, net.n_params))


@pytest.mark.parametrize("trained", [None, (1,), (0,)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_derivatives(kind, activation, trained):
    F, step = risk(kind, activation, trained), 1e-6
    theta, v = F.network.params, np.random.RandomState(1).standard_normal(F.network.n_params)
    value, gradient = F.value_and_gradient(theta)
    losses = F.sample_weight @ F.loss.value(F.y, F.network.outputs(F.X))
    assert abs(value - losses - 0.5 * F.penalty @ theta**2) < 1e-12
    (up, g_up), (down, g_down) = (F.value_and_gradient(theta + way * step * v) for way in (1, -1))
    assert abs((up - down) / (2 * step) - gradient @ v) < 1e-6
    np.testing.assert_allclose(F.curvature(theta)(v), (g_up - g_down) / (2 * step), atol=1e-6)
