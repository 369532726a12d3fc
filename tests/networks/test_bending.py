"""The second derivative of a network's outputs against finite differences of its Jacobian."""

import numpy as np
import pytest
from scipy import sparse

from sklearn_influence.networks import ACTIVATIONS, Bending, Network

SIZES = [4, 5, 6, 3]


def network(activation, trained=None, corner=0.0):
    net = Network.random(SIZES, activation, sigma_w=1.4, sigma_b=0.3, random_state=np.random.RandomState(0))
    return Network(net.weights, net.biases, activation, net.weight_scales, net.bias_scale, trained, corner)


def rows():
    rng = np.random.RandomState(1)
    return rng.standard_normal((9, SIZES[0])), rng.standard_normal((9, SIZES[-1]))


@pytest.mark.parametrize("trained", [None, (2,), (0, 2), (1,), (0,)])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_it_is_the_finite_difference_of_the_pulls(activation, trained):
    net, (X, U), step = network(activation, trained, corner=0.5), rows(), 1e-6
    theta, rng = net.params, np.random.RandomState(2)
    V = rng.standard_normal((len(theta), 2))
    for k in range(2):
        ahead, behind = (net.at(theta + way * step * V[:, k]).pulled(X, U[:, :, None])[:, 0] for way in (1, -1))
        np.testing.assert_allclose(Bending(net, X, U).matmat(V)[:, k], (ahead - behind) / (2 * step), atol=1e-6)


def test_it_is_symmetric_and_the_sum_of_its_rows():
    net, (X, U) = network("tanh"), rows()
    B = Bending(net, X, U).matmat(np.eye(net.n_params))
    assert np.abs(B - B.T).max() < 1e-12 < np.abs(B).max()
    parts = [Bending(net, X, U).take(np.array(part)).matmat(np.eye(net.n_params)) for part in ([0, 3], [1, 2], [4, 5])]
    parts.append(Bending(net, X[6:], U[6:]).matmat(np.eye(net.n_params)))
    np.testing.assert_allclose(sum(parts), B, atol=1e-12)
    np.testing.assert_allclose(Bending(net, sparse.csr_matrix(X), U).matmat(np.eye(net.n_params)), B, atol=1e-12)


def test_nothing_bends_where_outputs_are_linear_in_what_is_trained():
    X, U = rows()
    last = Bending(network("tanh", (2,)), X, U)
    assert last.vanishes and not last.matmat(np.eye(last.network.n_params)).any()
    assert not Bending(network("tanh", (1, 2)), X, U).vanishes
