"""Refinement ends at a minimum: no gradient, and nothing lower nearby."""

import numpy as np
import pytest

from sklearn_influence.losses import Logistic, SquaredError
from sklearn_influence.networks import Network, NetworkRisk, corner_of, nearby_minimum
from sklearn_influence.networks.refine import typical_gradient


def risk(activation, alpha=0.3, squared=True, start=1.0):
    rng = np.random.RandomState(0)
    net = Network.random([3, 4, 1], activation, sigma_w=start, sigma_b=0.0, random_state=rng)
    net = Network([c * W for c, W in zip(net.weight_scales, net.weights, strict=True)], net.biases, activation)
    X = rng.standard_normal((40, 3))
    signal = np.tanh(X @ [1.0, -1.0, 0.5]) + 0.3 * rng.standard_normal(40)
    penalty = np.where(np.arange(net.n_params) < net.n_weights, alpha, 0.0)
    y, loss = (signal[:, None], SquaredError()) if squared else ((signal > 0).astype(int), Logistic())
    return NetworkRisk(net.rounded(corner_of(net, X)), X, y, loss, np.ones(40), penalty)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("activation, quick_steps", [("tanh", 0), ("tanh", 50), ("relu", 50)])
def test_it_ends_at_a_minimum(activation, squared, quick_steps):
    F = risk(activation, squared=squared)
    found = nearby_minimum(F, quick_steps=quick_steps)
    value, gradient = F.value_and_gradient(found.params)
    assert found.settled and np.linalg.norm(gradient) < 1e-6 * typical_gradient(F, found.params)
    assert value < F.value_and_gradient(F.network.params)[0]
    product = F.curvature(found.params)
    H = np.stack([product(e) for e in np.eye(len(gradient))])
    assert np.linalg.eigvalsh(0.5 * (H + H.T))[0] > -1e-8


def test_it_leaves_a_saddle_point():
    """Units without weights are one: nothing pulls them, and F bends down."""
    F = risk("tanh", alpha=0.01)
    theta = np.zeros(F.network.n_params)
    theta[0], theta[-1] = 1e-6, F.y.mean()
    start = NetworkRisk(F.network.at(theta), F.X, F.y, F.loss, F.sample_weight, F.penalty)
    found = nearby_minimum(start, quick_steps=0)
    assert F.value_and_gradient(found.params)[0] < 0.5 * F.value_and_gradient(theta)[0]


def test_a_minimum_stays_where_it_is():
    F = risk("tanh")
    found = nearby_minimum(F)
    again = NetworkRisk(F.network.at(found.params), F.X, F.y, F.loss, F.sample_weight, F.penalty)
    np.testing.assert_allclose(nearby_minimum(again).params, found.params, atol=1e-8)


def test_the_budget_is_kept_and_its_end_said():
    found = nearby_minimum(risk("tanh", alpha=1e-4), quick_steps=0, max_products=5)
    assert not found.settled and found.n_products <= 6 and found.gradient_norm > found.goal


def test_corners():
    F = risk("relu")
    z = F.X @ F.network.weights[0] + F.network.biases[0]
    assert abs(corner_of(F.network, F.X) - 0.1 * np.sqrt(np.mean(z**2))) < 1e-12
    assert corner_of(risk("tanh").network, F.X) == 0.0
    last = Network(F.network.weights, F.network.biases, "relu", trained=(1,))
    assert corner_of(last, F.X) == 0.0
