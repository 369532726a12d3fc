"""Parameters of features against the network's own, in dense matrices; those of kernels are in test_objective."""

import numpy as np
import pytest
from tangent_cases import KINDS, Linearised

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
    case, rho, rng = Linearised("softmax"), 1e-8, np.random.default_rng(0)
    objective = case.weakly(rho, 0.01)
    factor, theta = Direct().factor(objective.curvature()), objective.to_params(objective.params)
    H, J = case.hessian(theta, case.X, case.y, case.weight, rho), case.J(case.X).reshape(-1, len(theta))
    B = H @ (J.T @ rng.standard_normal((36, 1)))  # what H reaches without help of the penalty
    assert np.abs(H @ objective.solve_params(factor, B) - B).max() < 1e-12 * np.abs(B).max()
    off = np.linalg.svd(J)[2][-1:].T  # what no row reaches
    np.testing.assert_allclose(objective.solve_params(factor, off), off / rho, atol=1e-6 / rho)
