"""Products with a network's Jacobian, against finite differences and the Jacobian itself."""

import numpy as np
import pytest
from scipy import sparse

from sklearn_influence.networks import ACTIVATIONS, Network

SIZES = [5, 7, 6, 3]


def network(activation, trained=None):
    rng = np.random.RandomState(0)
    net = Network.random(SIZES, activation, sigma_w=1.4, sigma_b=0.3, random_state=rng)
    return Network(net.weights, net.biases, activation, net.weight_scales, net.bias_scale, trained)


def rows(m, seed=1):
    return np.random.RandomState(seed).standard_normal((m, SIZES[0]))


@pytest.mark.parametrize("trained", [None, (2,), (0, 2)])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_the_jacobian_is_the_finite_difference(activation, trained):
    net, X, step = network(activation, trained), rows(6), 1e-6
    theta = net.params
    there = [net.at(theta + step * e).outputs(X) - net.at(theta - step * e).outputs(X) for e in np.eye(net.n_params)]
    assert np.abs(np.stack(there, axis=2) / (2 * step) - net.jacobian(X)).max() < 1e-8
    np.testing.assert_array_equal(net.bias_jacobian(X), net.jacobian(X)[:, :, net.n_weights :])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("trained", [None, (2,), (0, 2)])
def test_products_are_those_of_the_jacobian(trained, make):
    net, X = network("tanh", trained), rows(6)
    J, rng = net.jacobian(X), np.random.RandomState(2)
    V, U = rng.standard_normal((net.n_params, 4)), rng.standard_normal((6, 3, 2))
    close = dict(rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(net.outputs(make(X)), net.outputs(X), **close)
    np.testing.assert_allclose(net.times(make(X), V), J @ V, **close)
    np.testing.assert_allclose(net.pulled(make(X), U), np.einsum("mqp,mqk->pk", J, U), **close)
    np.testing.assert_allclose(net.pulls(make(X), U[:, :, 0]), np.einsum("mqp,mq->pm", J, U[:, :, 0]), **close)
    np.testing.assert_allclose(net.jacobian(make(X)), J, **close)
    outputs, pulled = net.outputs_and_pulled(make(X), lambda f: f**2)
    np.testing.assert_allclose(outputs, net.outputs(X), **close)
    np.testing.assert_allclose(pulled, np.einsum("mqp,mq->p", J, outputs**2), **close)


@pytest.mark.parametrize("trained", [None, (2,), (0, 2)])
def test_the_gram_matrix_is_that_of_the_jacobian(trained, monkeypatch):
    net, X, Z = network("relu", trained), rows(9), rows(4, seed=3)
    monkeypatch.setattr("sklearn_influence.networks.network.block_size", lambda *args, **kwargs: 4)
    J, Jz = (net.jacobian(A).reshape(-1, net.n_params) for A in (X, Z))
    close = dict(rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net.gram(X, Z), J @ Jz.T, **close)
    K = net.gram(X)
    np.testing.assert_allclose(K, J @ J.T, **close)
    np.testing.assert_array_equal(K, K.T)
    of_weights, of_biases = J[:, : net.n_weights], J[:, net.n_weights :]
    np.testing.assert_allclose(net.gram(X, biases=False), of_weights @ of_weights.T, **close)
    np.testing.assert_allclose(net.gram(X, weights=False), of_biases @ of_biases.T, **close)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_rows_of_single_precision_are_worked_on_in_double(make):
    net, rng = network("tanh"), np.random.RandomState(2)
    X = rows(6).astype(np.float32)
    wide, single, U = make(X.astype(np.float64)), make(X), rng.standard_normal((6, 3))
    for product in (net.outputs, net.jacobian, net.gram, lambda X: net.gram(X, single), lambda X: net.pulls(X, U)):
        np.testing.assert_allclose(product(single), product(wide), rtol=1e-13, atol=1e-13)
