"""A network's own objective: values and gradients are the network's, and its curvature their second derivative."""

import copy
import pickle

import numpy as np
import pytest

from sklearn_influence.linearised import NetworkObjective
from sklearn_influence.losses import Logistic, Softmax, SquaredError
from sklearn_influence.networks import Network, nearby_minimum
from sklearn_influence.objective import Weighting
from sklearn_influence.solvers import ConjugateGradient, Direct

LOSSES = {"logistic": (Logistic(), 1), "softmax": (Softmax(), 3), "squared": (SquaredError(), 2)}


def objective(kind, exact=True, activation="tanh", trained=None, alpha=5.0):
    loss, q = LOSSES[kind]
    rng = np.random.RandomState(0)
    net = Network.random([4, 3, q], activation, sigma_w=1.4, sigma_b=0.3, random_state=rng)
    net = Network(net.weights, net.biases, activation, net.weight_scales, 1.0, trained)
    X, s = rng.standard_normal((14, 4)), rng.uniform(0.5, 2.0, 14)
    y = rng.standard_normal((14, q)) if kind == "squared" else rng.randint(max(q, 2), size=14)
    penalty = np.where(np.arange(net.n_params) < net.n_weights, alpha, 0.0)
    weighting = Weighting(s, None if kind == "squared" else y)
    return NetworkObjective(net, X, y, loss, weighting, penalty, exact)


def at_minimum(one):
    return one.with_(params=nearby_minimum(one.risk()).params)


def gradient_difference(one, step=1e-6):
    units = np.eye(one.n_params)
    gradients = [[one.with_(params=one.params + way * step * e).gradient() for way in (1, -1)] for e in units]
    return np.stack([(up - down) / (2 * step) for up, down in gradients], axis=1)


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_values_gradients_and_the_exact_curvature(kind):
    one, step = objective(kind), 1e-6
    v = np.random.RandomState(1).standard_normal(one.n_params)
    up, down = (one.with_(params=one.params + way * step * v) for way in (1, -1))
    assert abs((up.value() - down.value()) / (2 * step) - one.gradient() @ v) < 1e-6
    np.testing.assert_allclose(up.outputs(), up.network.outputs(one.design.X), atol=1e-14)
    np.testing.assert_allclose(up.outputs(up.read_rows(one.design.X[:3])), up.outputs()[:3], atol=1e-14)
    H = gradient_difference(one)
    np.testing.assert_allclose(one.curvature().matmat(np.eye(one.n_params)), H, atol=1e-6)
    linear = one.as_exact(False).curvature().matmat(np.eye(one.n_params))
    assert np.abs(linear - H).max() > 1e-2 and np.linalg.eigvalsh(linear)[0] > -1e-12


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_solvers_invert_it(kind):
    one = at_minimum(objective(kind, alpha=0.3))
    H = one.curvature().matmat(np.eye(one.n_params))
    assert np.linalg.eigvalsh(H)[0] > -1e-10
    B = H @ np.random.RandomState(2).standard_normal((one.n_params, 3))
    expected = np.linalg.pinv(H, rcond=1e-12, hermitian=True) @ B
    for solver in (Direct(), ConjugateGradient()):
        np.testing.assert_allclose(solver.factor(one.curvature())(B)[0], expected, atol=1e-7)
    damped = Direct(damping=0.1).factor(one.curvature())
    shifted = H + 0.1 * np.diag(one.as_exact(False).curvature().diagonal())
    np.testing.assert_allclose(damped.curvature.matmat(np.eye(one.n_params)), shifted, atol=1e-10)


def test_what_leaves_is_what_the_others_have_not():
    one, rows = objective("softmax"), np.array([2, 5])
    kept = one.take(np.setdiff1d(np.arange(14), rows))
    unit = np.eye(one.n_params)
    less = one.curvature().leaving(rows).matmat(unit)
    np.testing.assert_allclose(one.curvature().matmat(unit) - less, kept.curvature().matmat(unit), atol=1e-11)
    again = kept.append(one.design.X[rows], one.y[rows], one.weighting.sample_weight[rows])
    np.testing.assert_allclose(again.gradient(), one.gradient(), atol=1e-11)


def test_both_curvatures_are_one_where_the_last_layer_is_all():
    one = objective("softmax", trained=(1,))
    unit = np.eye(one.n_params)
    linear = one.as_exact(False).curvature().matmat(unit)
    np.testing.assert_array_equal(one.curvature().matmat(unit), linear)


def test_the_bias_of_a_dead_unit_is_no_direction():
    """Its weights have shrunk to rounding, and nothing holds its bias."""
    one = at_minimum(objective("logistic", alpha=3.0))
    dead = np.flatnonzero(np.abs(one.network.weights[1][:, 0]) < 1e-9)
    assert len(dead)
    unmoved = np.flatnonzero(one.curvature().unmoved)
    np.testing.assert_array_equal(unmoved, one.network.n_weights + dead)
    assert Direct().factor(one.curvature()).nullity == 0
    # What such directions are given of a curvature stays with the rows that stay.
    rows = np.array([2, 5])
    kept = one.take(np.setdiff1d(np.arange(14), rows)).curvature()
    less = one.curvature().leaving(rows, kept).dense()[0][0]
    np.testing.assert_allclose(one.curvature().dense()[0][0] - less, kept.dense()[0][0], atol=1e-10)


def test_rounding_corners_and_copies():
    one = objective("softmax", activation="relu")
    rounded = one.rounded(0.5)
    assert rounded.network.corner == 0.5 and one.network.corner == 0.0
    assert not np.allclose(rounded.outputs(), one.outputs())
    assert rounded.with_(params=rounded.params + 1).network.corner == 0.5
    for copied in (pickle.loads(pickle.dumps(rounded)), copy.deepcopy(rounded)):
        np.testing.assert_array_equal(copied.gradient(), rounded.gradient())


def test_no_third_derivative():
    with pytest.raises(ValueError, match="second_order"):
        objective("softmax").third_derivative(np.ones((20, 1)))
