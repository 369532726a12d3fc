"""The curvature of kernel models and its inverse against dense matrices."""

import numpy as np
import pytest
from alpha_cases import CASES, Problem
from sklearn.kernel_ridge import KernelRidge

from sklearn_influence import InfluenceEstimator
from sklearn_influence.alpha.curvature import Cheapest, KernelCurvature, KernelFactor
from sklearn_influence.alpha.gram import Gram
from sklearn_influence.solvers import ConjugateGradient, Direct

solvers = pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(tol=1e-13)], ids=["direct", "cg"])
every_kind = pytest.mark.parametrize("kind", CASES)


def _curvature(problem, strength=None):
    strength = np.full(problem.q, problem.strength) if strength is None else strength
    return KernelCurvature(_gram(problem.K, problem), problem.roots, strength)


class Mixed(Gram):
    """A given matrix that mixes the outputs."""

    def __init__(self, K, width):
        super().__init__("precomputed", K)
        self.width = width

    def __len__(self):
        return len(self.X) // self.width


def _gram(K, problem):
    return Mixed(K, problem.q) if problem.mixed else Gram("precomputed", K)


def _flat(problem):
    return problem.B.reshape(problem.n * problem.q, -1)


@every_kind
def test_products(kind):
    problem = Problem(kind)
    curvature, B = _curvature(problem), _flat(problem)
    assert curvature.shape == problem.A.shape and curvature.coupled == problem.coupled
    np.testing.assert_allclose(curvature.matmat(B), problem.A @ B, atol=1e-12)
    some = np.zeros(problem.n)
    some[[2, 5]] = 1.0
    own = np.repeat(some, problem.q)[:, None] * (problem.W @ problem.K_all)
    np.testing.assert_allclose(curvature.leaving(np.array([2, 5])).matmat(B), own @ B, atol=1e-12)
    np.testing.assert_allclose(curvature.at(2 * curvature.strength).matmat(B), problem.A @ B + problem.strength * B)
    tail = np.vstack([B, np.ones((problem.q, B.shape[1]))])
    np.testing.assert_allclose(curvature.matmat(tail)[-problem.q :], 0.0)  # an offset is not minimised over


@solvers
@every_kind
def test_solves(kind, solver):
    problem = Problem(kind)
    factor, B = solver.factor(_curvature(problem)), _flat(problem)
    X, info = factor(B)
    np.testing.assert_allclose(X, np.linalg.solve(problem.A, B), rtol=1e-8, atol=1e-9)
    assert info.converged and len(info.residual) == B.shape[1] and "kernel matrix" in info.reason
    np.testing.assert_allclose(factor.transposed(B), np.linalg.solve(problem.A.T, B), rtol=1e-8, atol=1e-8)
    tail = np.vstack([B, np.ones((problem.q, B.shape[1]))])
    np.testing.assert_allclose(factor(tail)[0], np.vstack([X, np.zeros((problem.q, B.shape[1]))]), atol=1e-9)


@every_kind
def test_rows_that_leave(kind):
    problem = Problem(kind)
    factor, rows, B = Direct().factor(_curvature(problem)), np.array([1, 4, 6]), _flat(problem)
    W = problem.W.copy()
    gone = np.repeat(np.isin(np.arange(problem.n), rows), problem.q)
    W[gone] = 0.0
    retained = W @ problem.K_all + problem.strength * np.eye(len(W))
    np.testing.assert_allclose(factor.without(rows, B), np.linalg.solve(retained, B), atol=1e-8)
    # 1 - h and its blocks: rho N, N from V
    V = problem.V()
    N = np.linalg.inv(problem.strength * np.eye(len(W)) + V.T @ problem.K_all @ V)
    left, q = factor.left_over(rows), problem.q
    for row, own in zip(rows, left, strict=True):
        block = problem.strength * N[row * q : (row + 1) * q, row * q : (row + 1) * q]
        np.testing.assert_allclose(own if problem.coupled else np.diag(own), block, atol=1e-10)
    assert ConjugateGradient().factor(_curvature(problem)).left_over(rows) is None


def test_an_own_strength_of_each_output():
    problem = Problem("squares")
    strength = np.array([0.3, 7.0])
    factor = Direct().factor(_curvature(problem, strength))
    A = problem.W @ problem.K_all + np.diag(np.tile(strength, problem.n))
    B = _flat(problem)
    np.testing.assert_allclose(factor(B)[0], np.linalg.solve(A, B), atol=1e-9)
    np.testing.assert_allclose(factor.transposed(B), np.linalg.solve(A.T, B), atol=1e-8)
    assert factor.strengths == [0.3, 7.0]


@solvers
@every_kind
def test_points_without_weight_behind_the_others(kind, solver):
    problem = Problem(kind)
    n, q, more = problem.n, problem.q, 2
    rng, size = np.random.default_rng(3), len(problem.K)
    root = np.linalg.cholesky(problem.K + 1e-9 * np.eye(size))
    root = np.vstack([root, rng.standard_normal((more * size // n, size))])
    K = root @ root.T
    K[:size, :size] = problem.K
    weight = np.append(problem.weight, np.zeros(more))
    f, y = np.vstack([problem.f, problem.f[:more]]), np.concatenate([problem.y, problem.y[:more]])
    roots = type(problem.roots).of(problem.loss, y, f, weight)
    factor = solver.factor(_curvature(problem)).with_points(_gram(K, problem), roots)
    W = np.zeros(((n + more) * q,) * 2)
    W[: n * q, : n * q] = problem.W
    A = W @ (K if problem.mixed else np.kron(K, np.eye(q))) + problem.strength * np.eye(len(W))
    B = rng.standard_normal((len(W), 3))
    np.testing.assert_allclose(factor(B)[0], np.linalg.solve(A, B), atol=1e-7)
    np.testing.assert_allclose(factor.transposed(B), np.linalg.solve(A.T, B), atol=1e-6)
    assert factor.left_over(np.array([1])) is None


@pytest.mark.parametrize("kind", ["softmax", "softmax mixed", "squares mixed"])
def test_each_column_leaves_out_its_own_row(kind):
    problem = Problem(kind)
    rows, q = np.array([11, 3, 0]), problem.q
    B = np.zeros((problem.n * q, 3))
    for column, row in enumerate(rows):
        B[row * q : row * q + q, column] = [0.5, -0.2, -0.3][:q]
    found = ConjugateGradient(tol=1e-13).factor(_curvature(problem)).left_out(rows, B)
    for column, row in enumerate(rows):
        retained = problem.W @ problem.K_all
        retained[row * q : row * q + q] = 0.0
        expected = np.linalg.solve(retained + problem.strength * np.eye(len(B)), B[:, column])
        np.testing.assert_allclose(found[:, column], expected, atol=1e-9)


def test_coefficients_without_rows_are_the_refit():
    problem, strength, rows = Problem("squares"), np.array([0.3, 7.0]), np.array([2, 13])
    weighed = np.flatnonzero(problem.weight)
    kept, coefficients = np.setdiff1d(weighed, rows), {}
    for name, some in (("before", weighed), ("after", kept)):
        coefficients[name] = np.zeros((problem.n, 2))
        for o, rho in enumerate(strength):
            ridge = problem.K[np.ix_(some, some)] + np.diag(rho / problem.weight[some])
            coefficients[name][some, o] = np.linalg.solve(ridge, problem.y[some, o])
    factor = Direct().factor(_curvature(problem, strength))
    found = factor.coefficients_without(rows, coefficients["before"])
    np.testing.assert_allclose(found, coefficients["after"], atol=1e-10)


def test_few_columns_of_mixed_outputs_are_not_worth_a_factor():
    curvature = _curvature(Problem("softmax"))
    assert not KernelFactor(curvature, Cheapest()).for_columns(10**6).iterative
    assert not KernelFactor(_curvature(Problem("logistic")), Cheapest()).for_columns(1).iterative  # nothing is mixed
    large = KernelCurvature(Gram("rbf", np.zeros((3000, 1))), curvature.roots, np.full(10, 1.0))
    assert KernelFactor(large, Cheapest()).for_columns(1).iterative
    assert not KernelFactor(large, Direct()).for_columns(1).iterative  # it was asked for
    assert not KernelFactor(large, Cheapest()).for_columns(10**6).iterative
    known = KernelFactor(large, Cheapest(), systems=[None])
    assert known.for_columns(1) is known
    _, info = KernelFactor(curvature, Cheapest())(_flat(Problem("softmax")))
    assert type(info.solver) is Direct


def test_a_poor_solve_is_not_held_against_the_next():
    problem = Problem("squares")
    factor = KernelFactor(_curvature(problem), ConjugateGradient(tol=1e-12))
    factor.systems[0].converged = False  # as an earlier question has left it
    assert factor(_flat(problem))[1].converged


def test_products_with_a_mixing_kernel_weigh_more_against_its_factor():
    roots, rows = Problem("softmax").roots, np.zeros((1000, 1))
    plain, mixed = Gram("rbf", rows), Mixed(np.broadcast_to(0.0, (10000, 10000)), 10)
    by_products = [
        KernelFactor(KernelCurvature(gram, roots, np.full(10, 1.0)), Cheapest()).for_columns(100).iterative
        for gram in (plain, mixed)
    ]
    assert by_products == [True, False]


def test_influences_after_an_edit_of_an_interpolating_model():
    """At a tiny strength an inverse that rows are taken out of has lost the digits that a factor has."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(101, 2))
    y, model = np.sin(X[:, 0]) + 0.1 * rng.normal(size=101), KernelRidge(alpha=1e-9, kernel="rbf", gamma=0.5)
    edited = InfluenceEstimator(model).fit(X, y)
    edited.leverages()
    found, kept = edited.unlearn([0]).influence_on_output(X[:9]), np.arange(101) > 0
    before, expected = model.fit(X[1:], y[1:]).predict(X[:9]), np.empty((9, 100))
    for row in range(1, 101):
        rest = kept & (np.arange(101) != row)
        expected[:, row - 1] = model.fit(X[rest], y[rest]).predict(X[:9]) - before
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
