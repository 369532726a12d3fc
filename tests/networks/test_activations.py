"""Activations against scikit-learn's own, and their derivatives against finite differences."""

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from sklearn_influence.networks import ACTIVATIONS
from sklearn_influence.networks.activations import SECOND_DERIVATIVES

Z, STEP = np.random.RandomState(0).standard_normal((20, 3)) * 3, 1e-6


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_they_are_those_of_scikit_learn(name):
    h, slope = ACTIVATIONS[name](Z)
    difference = (ACTIVATIONS[name](Z + STEP)[0] - ACTIVATIONS[name](Z - STEP)[0]) / (2 * STEP)
    np.testing.assert_allclose(slope, difference, atol=1e-8)
    model = MLPRegressor(hidden_layer_sizes=(3,), activation=name, max_iter=1000).fit(Z, Z[:, 0])
    model.coefs_, model.intercepts_ = [np.eye(3), np.ones((3, 1))], [np.zeros(3), np.zeros(1)]
    np.testing.assert_allclose(model.predict(Z), h.sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("corner", [0.0, 2.0])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_second_derivatives(name, corner):
    h, slope = ACTIVATIONS[name](Z, corner)
    bend = SECOND_DERIVATIVES[name](h, slope, corner)
    difference = (ACTIVATIONS[name](Z + STEP, corner)[1] - ACTIVATIONS[name](Z - STEP, corner)[1]) / (2 * STEP)
    np.testing.assert_allclose(bend, difference, atol=1e-8)


def test_relu_is_rounded_within_its_corner_alone():
    h, slope = ACTIVATIONS["relu"](Z, 0.5)
    far = np.abs(Z) >= 0.5
    np.testing.assert_array_equal(h[far], np.maximum(Z, 0)[far])
    assert far.any() and (~far).any()
    excess = h[~far] - np.maximum(Z, 0)[~far]
    assert (excess > 0).all() and (excess <= 0.125).all() and ((slope[~far] > 0) & (slope[~far] < 1)).all()
    edge = np.array([[-0.5, 0.5]])
    np.testing.assert_allclose(ACTIVATIONS["relu"](edge, 0.5)[0], [[0.0, 0.5]])
