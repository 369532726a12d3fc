"""The curvature by general Jacobians against its dense form."""

import numpy as np
import pytest
from jacobians import LOSSES, dead_unit, of_network, whole

from sklearn_influence.linearised import JacobianObjective
from sklearn_influence.solvers import ConjugateGradient, Direct


@pytest.fixture(params=sorted(LOSSES))
def objective(request):
    return of_network(request.param)


def test_products_diagonal_and_dense_form_are_one_matrix(objective, monkeypatch):
    monkeypatch.setattr("sklearn_influence.linearised.rows.block_size", lambda *args, **kwargs: 7)
    H, curvature = whole(objective), objective.curvature()
    scale = np.abs(H).max()
    np.testing.assert_allclose(curvature.matmat(np.eye(len(H))), H, atol=1e-13 * scale)
    np.testing.assert_allclose(curvature.diagonal(), np.diag(H), atol=1e-13 * scale)
    (block,), _ = objective.curvature().dense()
    places, Q = curvature.gauge
    block[np.ix_(places, places)] -= (np.diag(H)[places].mean() if len(places) else 1.0) * Q @ Q.T
    np.testing.assert_allclose(block, H, atol=1e-13 * scale)
    np.testing.assert_allclose(
        curvature.damped(0.1).matmat(np.eye(len(H))), H + 0.1 * np.diag(np.diag(H)), atol=1e-13 * scale
    )
    some = np.array([2, 5, 6])
    without = objective.with_(sample_weight=np.where(np.isin(np.arange(30), some), 0.0, objective.sample_weight))
    np.testing.assert_allclose(curvature.leaving(some).matmat(np.eye(len(H))), H - whole(without), atol=1e-13 * scale)


def test_the_form_is_the_matrix_on_some_vectors():
    objective = of_network("logistic")
    V = np.random.default_rng(0).standard_normal((objective.n_params, 3))
    form, noise = objective.curvature().form(0, V)
    np.testing.assert_allclose(form, V.T @ whole(objective) @ V, rtol=1e-12, atol=1e-11)
    assert (noise > 0).all() and noise.max() < 1e-20 * np.diag(form).max()


@pytest.mark.parametrize(
    "solver", [Direct(), ConjugateGradient(tol=1e-13), ConjugateGradient(tol=1e-13, preconditioner="diagonal")]
)
def test_solutions_have_no_part_along_known_flat_directions(objective, solver):
    factor, H = solver.factor(objective.curvature()), whole(objective)
    B = H @ np.random.default_rng(1).standard_normal((len(H), 2))
    X, info = factor(B)
    assert factor.nullity == 0 and info.converged
    np.testing.assert_allclose(
        X, np.linalg.pinv(H, rcond=1e-12, hermitian=True) @ B, rtol=1e-7, atol=1e-7 * np.abs(X).max()
    )


def test_an_output_bias_without_penalty_is_a_known_flat_direction_of_softmax():
    curvature = of_network("softmax").curvature()
    places, Q = curvature.gauge
    np.testing.assert_array_equal(places, np.arange(curvature.shape[0] - 3, curvature.shape[0]))
    np.testing.assert_allclose(np.abs(Q), 3**-0.5)
    for other in (
        of_network("targets"),
        of_network("softmax", free_biases=False),
        of_network("softmax", trained=(0, 1)),
    ):
        assert not len(other.curvature().gauge[0])


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_a_relu_network_with_units_that_are_always_on_or_off_is_factored_whole(kind):
    objective = of_network(kind, activation="relu")
    net = objective.design.network
    net.biases[0][:2], net.biases[0][2] = 20.0, -50.0
    objective = JacobianObjective(
        type(objective.design)(net, objective.design.X, net.params),
        *(objective.y, objective.loss, objective.weighting, objective.penalty, net.params),
    )
    H, curvature = whole(objective), objective.curvature()
    factor = Direct().factor(curvature)
    if kind in ("squares", "logistic"):  # what one output's small eigenvalues are taken from
        (block,), _ = objective.curvature().dense()
        V = np.random.default_rng(0).standard_normal((len(H), 3))
        np.testing.assert_allclose(curvature.form(0, V)[0], V.T @ block @ V, rtol=1e-11, atol=1e-9)
    known = curvature.unmoved.sum() + curvature.gauge[1].shape[1]
    assert known >= 3 and factor.nullity == 0 and np.linalg.matrix_rank(H) == len(H) - known
    B = objective.sample_gradients(np.arange(4))
    X = np.linalg.pinv(H, rcond=1e-13, hermitian=True) @ B
    np.testing.assert_allclose(factor(B)[0], X, rtol=1e-6, atol=1e-7 * np.abs(X).max())
    partly = objective.with_()
    partly.penalty = objective.penalty.copy()
    partly.penalty[0, net.n_weights : net.n_weights + 6] = 0.1  # the first layer's biases are no longer free
    assert set(partly.curvature().gauge[0]) <= set(np.arange(net.n_weights + 6, net.n_params))
    np.testing.assert_array_equal(np.flatnonzero(partly.curvature().unmoved[: net.n_weights + 6]), [])
    test = np.random.default_rng(0).standard_normal((len(H), 1))  # as of a row in which other units are on
    X = np.linalg.pinv(H, rcond=1e-13, hermitian=True) @ test
    np.testing.assert_allclose(factor(test)[0], X, rtol=1e-6, atol=1e-7 * np.abs(X).max())


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_the_bias_of_a_dead_unit_stays_where_it_is(kind):
    dead, _, bias = dead_unit(kind)
    factor = Direct().factor(dead.curvature())
    assert factor.nullity == 0 and np.flatnonzero(factor.curvature.unmoved)[0] == bias
    B = np.ones((dead.n_params, 1))  # as of a test row that activates it
    assert factor(B)[0][bias, 0] == 0.0
    X = np.linalg.pinv(whole(dead), rcond=1e-13, hermitian=True) @ B
    np.testing.assert_allclose(factor(B)[0], X, atol=1e-6 * np.abs(X).max())


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_a_factor_follows_rows_that_wake_a_unit_or_leave_one_dead(kind):
    dead, alive, _ = dead_unit(kind)
    last = np.array([29])
    for before, after in ((dead, alive), (alive, dead)):
        assert not np.array_equal(before.curvature().unmoved, after.curvature().unmoved)
        got = Direct().factor(before.curvature()).downdated(last, after.curvature(), last)
        B = after.sample_gradients(np.arange(4))
        np.testing.assert_allclose(got(B)[0], Direct().factor(after.curvature())(B)[0], rtol=1e-5, atol=1e-8)


def test_flat_directions_that_nobody_knows_are_counted():
    objective = of_network("softmax", penalty=0.0)
    factor = Direct().factor(objective.curvature())
    p = objective.n_params
    assert factor.nullity == p - np.linalg.matrix_rank(whole(objective)) - 1  # but for the common shift
