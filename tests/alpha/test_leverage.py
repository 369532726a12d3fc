"""Leverages of rows whose outputs the kernel mixes, in dense matrices; those of other kernels are in test_objective."""

import numpy as np
import pytest
from tangent_cases import KINDS, Linearised

from sklearn_influence.solvers import ConjugateGradient, Direct


@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(tol=1e-13)], ids=["direct", "cg"])
@pytest.mark.parametrize("kind", KINDS)
def test_are_those_of_the_dense_inverse(kind, solver):
    case = Linearised(kind)
    objective, _ = case.fit(Direct())
    weight = case.weight * np.linspace(1e-9, 2.0, case.n)  # a factor at other weights; one row's are next to none
    factor = solver.factor(objective.with_(sample_weight=weight).curvature())
    H = case.hessian(case.refit(), case.X, case.y, weight, objective.strength[0])
    J, rows = case.J(case.X), np.array([5, 0, 3, 4])

    def truth(left, right):
        A = np.stack([J[a] @ np.linalg.solve(H, J[b].T) for a, b in zip(left, right, strict=True)])
        return A if case.q > 1 else A[:, :, 0]

    np.testing.assert_allclose(objective.leverage(factor, rows), truth(rows, rows), atol=1e-8)
    left, right = [1, 9], [4, 9]
    between = objective.leverage_between(factor, objective.design.take(left), objective.design.take(right))
    np.testing.assert_allclose(between, truth(left, right), atol=1e-8)
