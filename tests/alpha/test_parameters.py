"""Parameters of features against the network's own, in dense matrices; those of kernels are in test_objective."""

import numpy as np
import pytest
from tangent_cases import KINDS, STRENGTH, Linearised

from sklearn_influence.solvers import ConjugateGradient, Direct


@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(tol=1e-13)], ids=["direct", "cg"])
@pytest.mark.parametrize("kind", KINDS)
def test_solves_and_ways_of_the_networks_parameters(kind, solver):
    case, rng = Linearised(kind), np.random.default_rng(2)
    objective, factor = case.fit(solver)
    theta, B = case.refit(), rng.standard_normal((case.network.n_params, 3))
    np.testing.assert_allclose(objective.to_params(objective.params), theta, atol=1e-9)
    J = case.J(case.X).reshape(-1, len(theta))
    V = rng.standard_normal((12 * case.q, 2))
    np.testing.assert_allclose(objective.to_params(V), J.T @ V, atol=1e-12)
    H = case.hessian(theta, case.X, case.y, case.weight)
    np.testing.assert_allclose(objective.solve_params(factor, B), np.linalg.solve(H, B), atol=1e-9)


def test_solves_keep_their_digits_at_a_small_strength():
    case, rho = Linearised("softmax"), 1e-8
    objective = case.objective()
    weak = type(objective)(
        objective.gram, objective.y, case.loss, objective.weighting, np.full(3, rho), 0.01 * np.ones(36)
    )
    factor = Direct().factor(weak.curvature())
    theta = weak.to_params(weak.params)
    H = case.hessian(theta, case.X, case.y, case.weight, rho)
    rows = case.J(case.X).reshape(-1, len(theta)).T @ np.random.default_rng(0).standard_normal((36, 1))
    X = weak.solve_params(factor, rows)
    assert np.abs(H @ X - rows).max() < 1e-12 * np.abs(H).max() * np.abs(X).max()
    off = rows - np.linalg.lstsq(H - rho * np.eye(len(H)), (H - rho * np.eye(len(H))) @ rows, rcond=1e-9)[0]
    np.testing.assert_allclose(weak.solve_params(factor, off) * rho, off, atol=1e-6)  # what no row reaches
    assert STRENGTH > rho
