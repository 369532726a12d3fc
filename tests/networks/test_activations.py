"""Activations against scikit-learn's own, and their derivatives against finite differences."""

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from sklearn_influence.networks import ACTIVATIONS
from sklearn_influence.networks.activations import SECOND_DERIVATIVES


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_they_are_those_of_scikit_learn(name):
    z = np.random.RandomState(0).standard_normal((20, 3)) * 3
    h, slope = ACTIVATIONS[name](z)
    step = 1e-6
    difference = (ACTIVATIONS[name](z + step)[0] - ACTIVATIONS[name](z - step)[0]) / (2 * step)
    np.testing.assert_allclose(slope, difference, atol=1e-8)
    second = (ACTIVATIONS[name](z + step)[1] - ACTIVATIONS[name](z - step)[1]) / (2 * step)
    np.testing.assert_allclose(SECOND_DERIVATIVES[name](h, slope), second, atol=1e-8)
    model = MLPRegressor(hidden_layer_sizes=(3,), activation=name, max_iter=1000).fit(z, z[:, 0])
    model.coefs_, model.intercepts_ = [np.eye(3), np.ones((3, 1))], [np.zeros(3), np.zeros(1)]
    np.testing.assert_allclose(model.predict(z), h.sum(axis=1), atol=1e-12)
