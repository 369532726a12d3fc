"""The symmetric systems against the dense, unsymmetric ones that they stand for."""

import numpy as np
import pytest
from alpha_cases import CASES, Problem

from sklearn_influence import _backend
from sklearn_influence.alpha.preconditioner import low_rank
from sklearn_influence.alpha.system import factor_direct, iterate

MAKERS = {"direct": factor_direct, "cg": lambda *args: iterate(*args, tol=1e-13)}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("strength", [0.3, 1e-5])
def test_solves_are_those_of_the_dense_system(kind, maker, strength):
    case = Problem(kind, strength=strength)
    system = MAKERS[maker](case.K, case.roots, strength)
    tol = 1e-10 if strength > 1e-3 else 1e-6
    for X, A in ((system.solve(case.B), case.A), (system.solve_transposed(case.B), case.A.T)):
        np.testing.assert_allclose(X, case.dense(np.linalg.inv(A), case.B), rtol=tol, atol=tol * np.abs(X).max())
        residual = case.dense(A, X) - case.B
        assert np.abs(residual).max() < 1e-11 * (np.abs(A).max() * np.abs(X).max())
    # In the roots' span nothing cancels.
    Z = case.B
    B = case.roots.times(Z)
    X = system.from_roots(Z)
    assert np.abs(case.dense(case.A, X) - B).max() < 1e-13 * np.abs(case.A).max() * np.abs(X).max()


def test_refinement_takes_the_digits_back():
    case = Problem("logistic", strength=1e-7)
    system = factor_direct(case.K, case.roots, 1e-7)
    crude = np.abs(case.dense(case.A.T, system._solve_transposed(case.B)) - case.B).max()
    refined = np.abs(case.dense(case.A.T, system.solve_transposed(case.B)) - case.B).max()
    assert refined < 0.1 * crude


@pytest.mark.parametrize("kind", CASES)
def test_the_inverse_and_its_parts(kind):
    case = Problem(kind)
    V, q = case.V(), case.q
    N = np.linalg.inv(case.strength * np.eye(len(V)) + V.T @ case.K_all @ V)
    system, fresh = factor_direct(case.K, case.roots, 0.3), factor_direct(case.K, case.roots, 0.3)
    rows = np.array([5, 2])
    if not case.coupled:  # shared by the outputs
        assert system.inverse().shape == (14, 14)
        np.testing.assert_allclose(np.kron(system.inverse(), np.eye(q)), N, atol=1e-12)
        np.testing.assert_allclose(system.inverse_diagonal(), np.diag(N)[::q], atol=1e-12)
        np.testing.assert_allclose(fresh.inverse_columns(rows), system.inverse()[:, rows], atol=1e-12)
    else:
        np.testing.assert_allclose(system.inverse(), N, atol=1e-12)
        for i, block in enumerate(system.inverse_diagonal()):
            np.testing.assert_allclose(block, N[i * q : i * q + q, i * q : i * q + q], atol=1e-12)
        places = np.r_[5 * q : 6 * q, 2 * q : 3 * q]
        np.testing.assert_allclose(fresh.inverse_columns(rows), N[:, places], atol=1e-12)
    np.testing.assert_allclose(system.inverse_columns(rows), fresh.inverse_columns(rows), atol=1e-12)
    assert system.inverse() is system.inverse()


@pytest.mark.parametrize("kind", CASES)
def test_without_rows_is_the_system_of_the_others(kind):
    case = Problem(kind)
    rows, kept = np.array([7, 1]), np.setdiff1d(np.arange(14), [1, 7])
    system = factor_direct(case.K, case.roots, 0.3)
    X = system.without(rows, system.solve_roots(case.B))
    assert not X[rows].any()
    own = (kept[:, None] * case.q + np.arange(case.q)).ravel() if case.mixed else kept
    others = factor_direct(case.K[np.ix_(own, own)], case.roots.take(kept), 0.3)
    np.testing.assert_allclose(X[kept], others.solve_roots(case.B[kept]), atol=1e-12)
    system.inverse()
    np.testing.assert_allclose(system.without(rows, system.solve_roots(case.B)), X, atol=1e-12)


@pytest.mark.parametrize("kind", CASES)
def test_conjugate_gradients_count_their_products_and_say_how_they_went(kind):
    case = Problem(kind, n=40)
    system = iterate(case.K, case.roots, 0.3)
    seen = []

    def stop(left, KVX):
        seen.append(float(np.sqrt((left**2).sum())))
        return seen[-1] < 1e-6 * seen[0]

    X, KVX, R = system.advance(case.B[:, :, :1], stop)
    np.testing.assert_allclose(KVX, system.product(system.roots.times(X)), atol=1e-10)
    M = 0.3 * X + system.roots.ttimes(KVX)
    np.testing.assert_allclose(M + R, case.B[:, :, :1], atol=1e-11)
    assert system.n_iter == len(seen) - 1 == system.n_products - 1
    assert seen[-1] == pytest.approx(np.linalg.norm(R))
    system.max_iter = 2
    system.solve_roots(case.B)
    assert not system.converged


def test_conjugate_gradients_go_as_far_as_was_asked():
    case, x = Problem("logistic", n=60), np.linspace(0.0, 3.0, 60)
    K = np.exp(-((x[:, None] - x) ** 2)) + 0.01 * np.diag(x)

    def left(X):
        return np.linalg.norm(B - case.roots.weigh((K @ X[:, 0])[:, None]) - 0.1 * X) / np.linalg.norm(B)

    B = case.roots.times(case.B)
    rough = iterate(K, case.roots, 0.1, tol=1e-4)
    assert 1e-10 < left(rough.solve(B)) < 1e-3
    assert rough.n_products <= (rough.n_iter + 2) * case.B.shape[2]  # two looks at what is left
    close = rough.at(1e-12)
    assert left(close.solve(B)) < 1e-11


@pytest.mark.parametrize("kind", CASES)
def test_a_preconditioner_saves_iterations_and_changes_nothing(kind):
    case = Problem(kind, n=120, strength=1e-2)
    plain = iterate(case.K, case.roots, 1e-2)
    fast = iterate(case.K, case.roots, 1e-2, preconditioner=low_rank(case.K, case.roots, 1e-2))
    np.testing.assert_allclose(fast.solve_roots(case.B), plain.solve_roots(case.B), atol=1e-7)
    assert fast.converged and plain.converged and fast.n_iter <= 0.5 * plain.n_iter


class Shards:
    """A kernel matrix as blocks of its rows."""

    xp, dtype = np, np.dtype(float)

    def __init__(self, K, n_shards=3):
        self.shape, self.parts = K.shape, np.array_split(K, n_shards)

    def __matmul__(self, B):
        return np.concatenate([part @ B for part in self.parts])


@pytest.mark.parametrize("kind", CASES)
def test_an_operator_will_do_for_conjugate_gradients(kind):
    case = Problem(kind)
    whole, parts = iterate(case.K, case.roots, 0.3), iterate(Shards(case.K), case.roots, 0.3)
    np.testing.assert_allclose(parts.solve(case.B), whole.solve(case.B), atol=1e-9)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", CASES)
def test_another_namespace_gives_the_same(kind, maker):
    xp = pytest.importorskip("array_api_strict")
    case = Problem(kind)
    here, there = (MAKERS[maker](K, case.roots, 0.3) for K in (case.K, xp.asarray(case.K)))
    B = xp.asarray(case.B)
    for verb in ("solve", "solve_transposed", "from_roots"):
        result = getattr(there, verb)(B)
        assert _backend.array_namespace(result) is _backend.array_namespace(B)
        np.testing.assert_allclose(np.asarray(result), getattr(here, verb)(case.B), atol=1e-11)
    if maker == "direct":
        np.testing.assert_allclose(np.asarray(there.inverse_diagonal()), here.inverse_diagonal(), atol=1e-12)
        rows = np.array([3, 9])
        X = there.without(rows, there.solve_roots(B))
        np.testing.assert_allclose(np.asarray(X), here.without(rows, here.solve_roots(case.B)), atol=1e-11)


def test_float32_stays_so():
    case = Problem("softmax")
    system = factor_direct(case.K.astype(np.float32), case.roots, 0.3)
    X = system.solve(case.B.astype(np.float32))
    assert X.dtype == np.float32
    np.testing.assert_allclose(X, case.dense(np.linalg.inv(case.A), case.B), atol=1e-3)


def test_what_cannot_be_is_refused(monkeypatch):
    case = Problem("softmax")
    with pytest.raises(ValueError, match="strength must be > 0, got 0"):
        factor_direct(case.K, case.roots, 0)
    with pytest.raises(ValueError, match="K is of 13 rows, and the roots are of 14"):
        iterate(case.K[:13, :13], case.roots, 1.0)
    for make in (factor_direct, lambda *args: iterate(*args).solve_roots(case.B)):
        with pytest.raises(ValueError, match=r"not positive definite.*positive semi-definite kernel"):
            make(-case.K, case.roots, 0.1)
    monkeypatch.setattr(_backend, "physical_memory", lambda: 8 * 42**2 - 1)
    with pytest.raises(ValueError, match=r"factored system of 42 unknowns.*solver='cg'"):
        factor_direct(case.K, case.roots, 0.3)
