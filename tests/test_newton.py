"""Newton's minimum against a general-purpose optimiser, and its stopping rules."""

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimise
from test_primal import make

from sklearn_influence import newton
from sklearn_influence.solvers import Direct


@pytest.mark.parametrize("kind", ["squares", "logistic", "softmax"])
def test_finds_the_minimum(kind):
    objective = make(kind)
    best, info = newton.minimise(objective)
    assert info.converged
    assert np.linalg.norm(best.gradient()) < 1e-11
    reference = scipy_minimise(
        lambda p: objective.with_(params=p).value(),
        objective.params,
        jac=lambda p: objective.with_(params=p).gradient(),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    assert best.value() <= reference.fun + 1e-12
    assert np.isfinite(objective.params).all() and objective.params is not best.params


def test_squared_loss_needs_one_step():
    objective = make("squares")
    best, info = newton.minimise(objective, max_iter=1)
    assert info.converged and info.n_iter == 1
    assert np.linalg.norm(best.gradient()) < 1e-12


def test_backtracks_from_far_away():
    objective = make("logistic")
    far = objective.with_(params=40.0 * np.ones(objective.n_params))
    # A full Newton step from there overshoots: the curvature of a saturated sigmoid is next to nothing.
    full = far.params - Direct().factor(far.curvature())(far.gradient()[:, None])[0][:, 0]
    assert far.with_(params=full).value() > far.value()
    best, info = newton.minimise(far)
    assert info.converged
    np.testing.assert_allclose(best.params, newton.minimise(objective)[0].params, atol=1e-9)


def test_a_factor_of_another_point_serves_or_is_replaced():
    objective = make("logistic")
    best, _ = newton.minimise(objective)
    near = Direct().factor(best.curvature())
    crude = Direct(damping=50.0).factor(objective.curvature())
    for factor in (near, crude):
        nearby = newton.Nearby(factor, objective.outputs(), np.inf)
        found, info = newton.minimise(objective, nearby=nearby)
        assert info.converged
        np.testing.assert_allclose(found.params, best.params, atol=1e-10)


def test_out_of_steps():
    objective = make("softmax")
    found, info = newton.minimise(objective.with_(params=10 * objective.params), max_iter=1)
    assert not info.converged and info.n_iter == 1 and info.factor is None
    assert found.value() < objective.with_(params=10 * objective.params).value()


def test_the_factor_returned_is_of_the_point_returned():
    best, info = newton.minimise(newton.minimise(make("logistic"))[0])
    B = np.eye(best.n_params)
    np.testing.assert_allclose(info.factor(B)[0], Direct().factor(best.curvature())(B)[0], rtol=1e-6, atol=1e-12)


def test_starting_at_the_minimum_ends_at_once():
    best, _ = newton.minimise(make("softmax"))
    again, info = newton.minimise(best)
    assert info.converged and info.n_iter <= 3
    np.testing.assert_allclose(again.params, best.params, atol=1e-12)


def test_no_minimum_is_reported():
    # Separable classes without a penalty: the parameters run away for ever.
    objective = make("logistic")
    order = np.argsort(objective.design.X[:, 0])
    objective.y = np.empty(objective.n_rows, dtype=int)
    objective.y[order] = np.arange(objective.n_rows) >= 15
    objective.penalty = np.zeros_like(objective.penalty)
    _, info = newton.minimise(objective, max_iter=15)
    assert not info.converged
