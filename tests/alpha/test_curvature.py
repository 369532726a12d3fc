"""Inverted curvatures of kernel models beside dense inverses: all rows, some rows less, points more."""

import numpy as np
import pytest

from sklearn_influence.alpha.curvature import Cheapest, KernelCurvature, KernelFactor
from sklearn_influence.alpha.gram import Gram
from sklearn_influence.alpha.roots import Roots
from sklearn_influence.losses import Logistic, Softmax, SquaredError
from sklearn_influence.solvers import ConjugateGradient, Direct

RNG = np.random.default_rng(0)
N = 20
X, NEW, WEIGHT = RNG.normal(size=(N, 3)), RNG.normal(size=(2, 3)), RNG.uniform(0.5, 2.0, N)
WEIGHT[4] = 0.0
CASES = {
    "squared": (SquaredError(), RNG.normal(size=(N, 2)), np.array([0.3, 0.3])),
    "strengths": (SquaredError(), RNG.normal(size=(N, 2)), np.array([0.3, 5.0])),
    "logistic": (Logistic(), np.arange(N) % 2, np.array([0.3])),
    "softmax": (Softmax(), np.arange(N) % 3, np.full(3, 0.3)),
}
SOLVERS = {"direct": Direct(), "cg": ConjugateGradient(tol=1e-13), "auto": Cheapest()}


def problem(name, rows=slice(None)):
    """A curvature, and the dense ``W K + rho`` of its rows, entry by entry."""
    loss, y, strength = CASES[name]
    q = len(strength)
    f = np.random.default_rng(1).normal(size=(N, q))
    curvature = KernelCurvature(Gram("rbf", X, gamma=0.3), Roots.of(loss, y, f, WEIGHT), strength)
    W = loss.curvature(y, f)
    W = WEIGHT[:, None, None] * (W if W.ndim == 3 else W[:, :, None] * np.eye(q))
    K = curvature.gram.matrix
    system = np.einsum("iab,ij->iajb", W, K)[rows].reshape(-1, N * q)
    return curvature, W, system, np.diag(np.tile(strength, N))


def close(found, expected, tol=1e-9):
    np.testing.assert_allclose(found, expected, atol=tol * np.abs(expected).max())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", CASES)
def test_solves_are_those_of_the_dense_system(name, solver):
    curvature, W, system, rho = problem(name)
    factor = SOLVERS[solver].factor(curvature)
    B = RNG.normal(size=(len(system), 3))
    X_, info = factor(B)
    assert info.converged and type(info.solver) is not Cheapest
    close(X_, np.linalg.solve(system + rho, B))
    close(factor.transposed(B), np.linalg.solve((system + rho).T, B))  # W is symmetric, so K W + rho is the transpose
    close(curvature.matmat(B), (system + rho) @ B)
    rows = [3, 8]
    left = np.zeros_like(system)
    each = np.concatenate([np.arange(W.shape[1]) + row * W.shape[1] for row in rows])
    left[each] = system[each]
    close(curvature.leaving(rows).matmat(B), left @ B)


@pytest.mark.parametrize("name", CASES)
def test_rows_leave_by_the_inverse(name):
    curvature, W, system, rho = problem(name)
    q, rows, factor = W.shape[1], np.array([11, 3]), Direct().factor(curvature)
    each = (rows[:, None] * q + np.arange(q)).ravel()
    retained = system.copy()
    retained[each] = 0.0
    B = np.zeros((N * q, 2))
    B[each] = RNG.normal(size=(len(each), 2))
    close(factor.without(rows, B), np.linalg.solve(retained + rho, B))
    if name != "softmax":
        h = np.einsum("ii->i", np.linalg.solve(rho + system, system)).reshape(N, q)  # shares of the rows' own weights
        close(1.0 - factor.left_over(np.arange(N)), h)


def test_each_column_leaves_out_its_own_row():
    curvature, _, system, rho = problem("softmax")
    rows, q = np.array([11, 3, 0]), 3
    B = np.zeros((N * q, 3))
    for column, row in enumerate(rows):
        B[row * q : row * q + q, column] = [0.5, -0.2, -0.3]
    found = ConjugateGradient(tol=1e-13).factor(curvature).left_out(rows, B)
    for column, row in enumerate(rows):
        retained = system.copy()
        retained[row * q : row * q + q] = 0.0
        close(found[:, column], np.linalg.solve(retained + rho, B[:, column]))


@pytest.mark.parametrize("name", ["squared", "strengths"])
def test_coefficients_without_rows_are_the_refit(name):
    curvature = problem(name)[0]
    _, y, strength = CASES[name]
    K, rows = curvature.gram.matrix, np.array([2, 13])
    kept = np.setdiff1d(np.flatnonzero(WEIGHT), rows)

    def fitted(rows, o):
        noise = np.diag(strength[o] / WEIGHT[rows])
        return np.linalg.solve(K[np.ix_(rows, rows)] + noise, y[rows, o])

    before, after = np.zeros((2, N, 2))
    for o in range(2):
        before[np.flatnonzero(WEIGHT), o] = fitted(np.flatnonzero(WEIGHT), o)
        after[kept, o] = fitted(kept, o)
    close(Direct().factor(curvature).coefficients_without(rows, before), after)


@pytest.mark.parametrize("name", CASES)
def test_points_without_weight_stand_behind_the_others(name):
    curvature = problem(name)[0]
    loss, y, strength = CASES[name]
    q, f = len(strength), np.random.default_rng(1).normal(size=(N, len(strength)))
    f, targets = np.vstack([f, np.zeros((2, q))]), np.concatenate([y, y[:2]])
    roomy = KernelCurvature(
        curvature.gram.append(NEW), Roots.of(loss, targets, f, np.append(WEIGHT, [0.0, 0.0])), strength
    )
    few = Direct().factor(curvature).with_points(roomy.gram, roomy.roots)
    whole = KernelFactor(roomy, Direct())
    B = RNG.normal(size=((N + 2) * q, 2))
    close(few(B)[0], whole(B)[0])
    close(few.transposed(B), whole.transposed(B))


def test_few_columns_of_mixed_outputs_are_not_worth_a_factor():
    curvature = problem("softmax")[0]
    assert not KernelFactor(curvature, Cheapest()).for_columns(10**6).iterative
    assert not KernelFactor(problem("logistic")[0], Cheapest()).for_columns(1).iterative  # nothing is mixed there
    assert not KernelFactor(curvature, Direct()).for_columns(1).iterative  # it was asked for
    large = KernelCurvature(Gram("rbf", np.zeros((3000, 1))), curvature.roots, np.full(10, 1.0))
    assert KernelFactor(large, Cheapest()).for_columns(1).iterative
    assert not KernelFactor(large, Cheapest()).for_columns(10**6).iterative
    known = KernelFactor(large, Cheapest(), systems=[None])
    assert known.for_columns(1) is known
