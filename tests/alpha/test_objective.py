"""The words of a kernel model's objective against finite differences and dense matrices."""

import numpy as np
import pytest
from kernel_contract import FAMILIES, close, fitted
from tangent_cases import KINDS, Linearised

from sklearn_influence.solvers import ConjugateGradient, Direct

NAMES = ["ridge poly targets", "gp normalised targets", "gp noise", "binary balanced", "softmax weighted"]
every_name = pytest.mark.parametrize("name", NAMES)
# Linearised networks, whose outputs start from the network's own and are mixed.
every_objective = pytest.mark.parametrize("name", [*NAMES, *(f"linearised {kind}" for kind in KINDS)])


def _objective(name, moved=0.1):
    """At parameters off the optimum, but for the offset, which follows from the targets."""
    objective = Linearised(name.split()[1]).fit()[0] if "linearised" in name else fitted(name)._objective
    if not moved:
        return objective
    rng = np.random.default_rng(0)
    params = objective.params.copy()
    params[: objective.coefficients.size] += moved * rng.standard_normal(objective.coefficients.size)
    return objective.with_(params=params)


def _kernel(objective):
    K = objective.gram.matrix
    return K if objective.gram.mixed else np.kron(K, np.eye(objective.n_outputs))


@every_objective
def test_gradient_and_curvature_are_derivatives(name):
    objective = _objective(name)
    K, size = _kernel(objective), objective.coefficients.size
    rng = np.random.default_rng(1)
    way = np.zeros(objective.n_params)
    way[:size] = rng.standard_normal(size)

    def at(e):
        return objective.with_(params=objective.params + e * way)

    h = 1e-4
    slope = (at(h).value() - at(-h).value()) / (2 * h)
    close(objective.inner(objective.gradient(), way), slope, 1e-6)
    close((K @ way[:size]) @ objective.gradient()[:size], slope, 1e-6)
    bend = (at(h).gradient() - at(-h).gradient()) / (2 * h)
    close(objective.curvature().matmat(way[:, None])[:, 0], bend, 1e-6)
    if not objective.loss.quadratic:
        two = at(h).curvature().matmat(way[:, None])[:, 0] - at(-h).curvature().matmat(way[:, None])[:, 0]
        close(objective.third_derivative(way[:, None])[:, 0], two / (2 * h), 1e-5)


@every_objective
def test_pullbacks_are_transposes_of_changes(name):
    objective, rng = _objective(name), np.random.default_rng(2)
    n, q, p = objective.n_rows, objective.n_outputs, objective.n_params
    X = objective.read_rows(objective.gram.X[:4] + 0.1)
    U, delta = rng.standard_normal((4, q)), rng.standard_normal((p, 3))
    moved = objective.outputs_change(delta, X)
    J = objective.pullback(U, X)
    close(J.T @ delta, np.einsum("mq,mqc->mc", U, moved), 1e-12)
    close(objective.pullback(U, X, onto=delta), (J.T @ delta).T, 1e-12)
    close(objective.pullback_sum(U, X), J.sum(axis=1), 1e-12)
    close(objective.squared_outputs(X, np.arange(4.0))(delta), (np.arange(4) @ (moved**2).sum(axis=1)), 1e-12)
    pullers, rows = objective.design.take([3, 8, 3]), [3, 8, 3]
    U = U[:3]
    pulled = objective.pullback(U, pullers)
    for j, row in enumerate(rows):
        np.testing.assert_array_equal(pulled[row * q : (row + 1) * q, j], U[j])
    assert np.count_nonzero(pulled) == U.size
    close(objective.pullback_sum(U, pullers), pulled.sum(axis=1), 1e-14)
    close(objective.pullback(U, pullers, onto=delta), (pulled.T @ delta).T, 1e-12)
    out = np.empty((p, 3))
    assert objective.pullback(U, pullers, out=out) is out
    np.testing.assert_array_equal(out, pulled)
    own = objective.own_rows(n)
    np.testing.assert_array_equal(objective.outputs(own), objective.outputs())
    close(objective.outputs(objective.read_rows(objective.gram.X)), objective.outputs(), 1e-12)


@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(tol=1e-13)], ids=["direct", "cg"])
@every_name
def test_leverages_are_those_of_the_dense_inverse(name, solver):
    """A = J H^-1 J', at whatever weights the factor is of."""
    objective = _objective(name, 0.0)
    s = objective.sample_weight * np.linspace(0.5, 2.0, objective.n_rows)
    other = objective.with_(sample_weight=s)
    n, q, rows = objective.n_rows, objective.n_outputs, np.array([5, 3, 20])
    factor = solver.factor(other.curvature())
    H = other.curvature().matmat(np.eye(n * q))
    A = _kernel(objective) @ np.linalg.inv(H)
    blocks = np.stack([A[r * q : (r + 1) * q, r * q : (r + 1) * q] for r in rows])
    separable = objective.loss.separable
    truth = np.einsum("kqq->kq", blocks) if separable else blocks
    close(objective.leverage(factor, rows), truth, 1e-8)
    left, right = objective.design.take([1, 9]), objective.design.take([4, 9])
    pairs = np.stack([A[a * q : (a + 1) * q, b * q : (b + 1) * q] for a, b in [(1, 4), (9, 9)]])
    pairs = np.einsum("kqq->kq", pairs) if separable else pairs
    close(objective.leverage_between(factor, left, right), pairs, 1e-8)


def test_weak_rows_have_leverages_too():
    """Where 1 less the share left has lost its digits: little weight, or a strong penalty."""
    objective = _objective("binary balanced", 0.0)
    s = objective.sample_weight.copy()
    s[:6] *= 1e-9
    s[2] = 0.0
    weak = objective.with_(sample_weight=s)
    factor, n = Direct().factor(weak.curvature()), objective.n_rows
    A = objective.gram.matrix @ np.linalg.inv(weak.curvature().matmat(np.eye(n)))
    np.testing.assert_allclose(weak.leverage(factor)[:, 0], np.diag(A), rtol=1e-10)


@every_name
def test_solves_of_derivatives_by_the_parameters(name):
    """Of H in the coefficients themselves, K W K + rho K: for B = K b it is the factor's own solve."""
    objective = _objective(name, 0.0)
    size, factor = objective.coefficients.size, Direct().factor(objective.curvature())
    K, b = _kernel(objective), np.random.default_rng(3).standard_normal((objective.n_params, 2))
    b[size:] = 0.0
    B = np.zeros(b.shape)
    B[:size] = K @ b[:size]
    solved = objective.solve_params(factor, B)
    hessian = K @ objective.curvature().matmat(np.eye(objective.n_params, size))[:size]
    close(hessian @ solved[:size], B[:size], 1e-8)
    close(K @ solved[:size], K @ factor(b)[0][:size], 1e-8)
    assert not solved[size:].any()
    model = fitted(name)
    close(model.curvature_solve(B[:, 0]), solved[:, 0], 1e-8)


def test_interpolated_rows_pull_by_their_coefficients():
    objective = _objective("gp noise", 0.0)
    rows = np.arange(objective.n_rows)
    pulls = objective.pulls(rows)
    np.testing.assert_array_equal(pulls, -objective.strength * objective.coefficients)
    residuals = objective.sample_weight[:, None] * objective.output_gradients()
    close(pulls, residuals, 1e-10)
    off = _objective("gp noise", 0.1)  # no optimum: the residuals are what there is
    np.testing.assert_array_equal(off.pulls(rows), off.sample_weight[:, None] * off.output_gradients())
    heavier = objective.with_(sample_weight=2 * objective.sample_weight)
    np.testing.assert_array_equal(heavier.pulls(rows), 2 * residuals)


def test_edits_and_their_refusals():
    objective = _objective("softmax balanced", 0.0)
    kept = objective.take(np.arange(40))
    assert kept.n_rows == 40 and kept.coefficients.shape == (40, 3)
    close(kept.sample_weight, kept.weighting.effective(), 1e-14)
    mean = _objective("softmax mean", 0.0)
    close(mean.take(np.arange(22)).strength, 0.5 * mean.strength, 1e-14)
    centred = _objective("gp normalised targets", 0.0)
    taken = centred.take(np.arange(10))
    close(taken.offset, FAMILIES["gp normalised targets"].case.y[:10].mean(axis=0), 1e-13)
    with pytest.raises(ValueError, match="one alpha for each row of fit"):
        noisy = _objective("gp noise", 0.0)
        noisy.append(noisy.gram.X[:1], noisy.y[:1], np.ones(1))
    assert objective.on("cpu") is objective and objective.primal() is objective


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_of_a_gradient_by_what_rounding_of_the_kernel_does(kind):
    case, objective = Linearised(kind), _objective(f"linearised {kind}")
    reach = np.linalg.norm(case.J(case.X), axis=2)  # |k(x, z)| is at most the product of these
    f0, a = case.network.outputs(case.X), objective.coefficients
    carried = np.outer(reach, reach) @ np.abs(a.ravel()) + np.abs(f0).ravel()
    u, W = case.loss.gradient(case.y, objective.outputs()), np.abs(case.loss.curvature(case.y, objective.outputs()))
    W = W if W.ndim == 2 else W.max(axis=1)
    own = objective.strength * np.abs(a)
    terms = case.weight[:, None] * (np.abs(u) + W * carried.reshape(a.shape)) + own
    close(objective.gradient_rounding(), 4 * np.finfo(float).eps * terms, 1e-12)


def test_outputs_that_are_mixed_have_one_strength():
    objective = _objective("linearised squares")
    given = (objective.gram, objective.y, objective.loss, objective.weighting)
    with pytest.raises(
        ValueError, match=r"mixes the outputs needs one strength for all of them, got \[1.0, 2.0, 1.0\]"
    ):
        type(objective)(*given, np.array([1.0, 2.0, 1.0]), objective.params)
