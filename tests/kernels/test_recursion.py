"""Dual activations: exact on the diagonal, and the same in place, in their namespaces and in their derivatives."""

import numpy as np
import pytest

from sklearn_influence.kernels.recursion import ACTIVATIONS, ReLU, layer_variances, propagate, relu_in_place


@pytest.fixture
def covariances():
    rows = np.random.default_rng(0).standard_normal((6, 4))
    S = rows @ rows.T
    return S, np.diag(S).copy()


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_diagonal_is_the_dual_of_equal_rows(activation, covariances):
    _, v = covariances
    for found, exact in zip(activation.dual(np, v, v, v), activation.dual_diagonal(np, v), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_changes_by_finite_differences(activation, covariances):
    S, v = covariances
    rng, h = np.random.default_rng(1), 1e-6
    dS, dv = rng.standard_normal(S.shape), rng.standard_normal(v.shape)
    off = ~np.eye(6, dtype=bool)

    def at(t):
        return activation.dual(np, S + t * dS, (v + t * dv)[:, None], v + t * dv)

    changes = activation.dual_changes(S, v[:, None], v, dS, dv[:, None], dv)
    for change, above, below in zip(changes, at(h), at(-h), strict=True):
        np.testing.assert_allclose(change[off], ((above - below) / (2 * h))[off], rtol=1e-6, atol=1e-7)


def test_collinear_rows_turn_by_nothing():
    v = np.array([2.0, 0.0])
    changes = ReLU.dual_changes(v, v, v, np.ones(2), np.ones(2), np.ones(2))
    np.testing.assert_allclose(changes, [[0.5, 0.5], [0.0, 0.0]])


@pytest.mark.parametrize("first", [True, False])
def test_in_place_is_the_layer(covariances, first):
    S, v = covariances
    T, square = S if first else np.random.default_rng(2).standard_normal(S.shape), np.outer(v, v)
    N, U = -S, np.full_like(S, np.nan) if first else -T
    relu_in_place(N, U, square.copy(), np.empty_like(S), square.max(), first)
    k1, k0 = ReLU.dual(np, S, v[:, None], v)
    np.testing.assert_allclose(N, -2 * np.pi * k1, rtol=1e-13)
    np.testing.assert_allclose(U, -2 * np.pi * k0 * T, rtol=1e-13)


def test_layers_of_variances(covariances):
    S, v = covariances
    layers, k, t = layer_variances(np, v, ReLU, 2, 1.5, 0.3)
    w, b = 1.5**2, 0.3**2
    np.testing.assert_allclose(layers, [v, w * v / 2 + b])
    np.testing.assert_allclose(k, w * (w * v / 2 + b) / 2 + b)
    np.testing.assert_allclose(t, w / 2 * (w / 2 * v + w * v / 2 + b) + k)
    found = propagate(np, S, layers, layers, ReLU, 1.5, 0.3)
    np.testing.assert_allclose([np.diag(part) for part in found], [k, t], rtol=1e-7)
