"""Derivatives by the inputs, against finite differences of outputs and Jacobians."""

import numpy as np
import pytest
from scipy import sparse

from sklearn_influence.networks import ACTIVATIONS, Network
from sklearn_influence.networks.features import jacobian_slopes, output_slopes

SIZES, M = [4, 5, 6, 3], 7


def make(activation, trained):
    net = Network.random(SIZES, activation, sigma_w=1.4, sigma_b=0.3, random_state=np.random.RandomState(0))
    return Network(net.weights, net.biases, activation, net.weight_scales, net.bias_scale, trained)


def by_features(function, X, step=1e-6):
    """(..., d): central differences of a function of all rows by each of their features."""
    there = [function(X + step * e) - function(X - step * e) for e in np.eye(X.shape[1])]
    return np.stack(there, axis=-1) / (2 * step)


@pytest.mark.parametrize("trained", [None, (2,), (0, 2), (1,)])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_slopes_are_finite_differences(activation, trained):
    net, rng = make(activation, trained), np.random.default_rng(0)
    X, V = rng.standard_normal((M, SIZES[0])), rng.standard_normal((net.n_params, 2))
    U = rng.standard_normal((M, 3, 2))
    close = dict(rtol=1e-6, atol=1e-8)
    want = by_features(lambda X: np.einsum("mq,mqk->mk", net.outputs(X), U), X)
    np.testing.assert_allclose(output_slopes(net, X, U), want, **close)
    for many in (V, U):
        one, other = (V, U[:, :, :1]) if many is V else (V[:, :1], U)
        want = by_features(lambda X, V=one, U=other: np.einsum("mqk,mqc->mkc", net.times(X, V), U).reshape(M, -1), X)
        np.testing.assert_allclose(jacobian_slopes(net, X, one, other), want, **close)


def test_sparse_rows_have_the_slopes_of_dense_ones():
    net, rng = make("tanh", None), np.random.default_rng(0)
    X, V, U = rng.standard_normal((M, 4)), rng.standard_normal((net.n_params, 2)), rng.standard_normal((M, 3, 1))
    np.testing.assert_allclose(output_slopes(net, sparse.csr_array(X), U), output_slopes(net, X, U), rtol=1e-12)
    np.testing.assert_allclose(
        jacobian_slopes(net, sparse.csr_array(X), V, U), jacobian_slopes(net, X, V, U), rtol=1e-12
    )
