"""What is built on solves: Newton steps, norms of errors, residuals, checks of options."""

import numpy as np
import pytest
from curvatures import KINDS, dense, hessian, sides
from scipy.linalg import cho_factor, cho_solve

from sklearn_influence import _backend
from sklearn_influence.solvers import ConjugateGradient, Diagonal, Direct
from sklearn_influence.solvers.steps import error_norms, newton_step, number_option, residuals


@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(n_directions=2)], ids=["direct", "cg"])
@pytest.mark.parametrize("kind", KINDS)
def test_newton_step(kind, solver):
    H = hessian(kind)
    g = sides(H, k=1)[:, 0]
    step, decrement = newton_step(solver.factor(H), g)
    expected = -np.linalg.pinv(dense(H), rcond=1e-12, hermitian=True) @ g
    np.testing.assert_allclose(step, expected, rtol=1e-7, atol=1e-9)
    assert decrement == pytest.approx(np.sqrt(-g @ expected), rel=1e-8)


def test_a_step_may_be_less_precise():
    """Within the stated share of the decrement; and from what is known of it already, the same."""
    H = hessian(d=30, n=100, penalty=0.01)
    g = sides(H, k=1)[:, 0]
    factor = ConjugateGradient(preconditioner="diagonal").factor(H)
    exact, decrement = newton_step(factor, g)
    rough, _ = newton_step(factor, g, tol=1e-2)
    error = rough - exact
    share = np.sqrt(error @ dense(H) @ error) / decrement
    assert 1e-6 < share < 0.05
    known = factor.rough(g[:, None])
    np.testing.assert_array_equal(newton_step(factor, g, tol=1e-2, rough=known)[0], rough)
    assert not np.array_equal(newton_step(factor, g, tol=1e-2, rough=-known)[0], rough)  # it is what is started from


def test_error_norms_are_above_most_patterns_of_signs():
    H = hessian(d=6)
    error = np.random.default_rng(0).random(7) * 1e-3
    in_curvature, euclidean = error_norms(Direct().factor(H), error)
    E = error[:, None] * np.random.default_rng(5).choice([-1.0, 1.0], size=(7, 1000))
    solved = cho_solve(cho_factor(dense(H)), E)
    for bound, sizes in (
        (in_curvature, np.sqrt((E * solved).sum(axis=0))),
        (euclidean, np.linalg.norm(solved, axis=0)),
    ):
        assert (sizes <= bound).mean() > 0.99 and bound < 10 * sizes.max()
    assert error_norms(Direct().factor(H), 0 * error) == (0.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_have_no_unit(kind):
    H = hessian(kind)
    B = sides(H)
    X = np.random.default_rng(3).standard_normal(B.shape)
    scale = 1 / np.sqrt(np.diag(dense(H)))[:, None]
    expected = np.linalg.norm(scale * (B - dense(H) @ X), axis=0) / np.linalg.norm(scale * B, axis=0)
    np.testing.assert_allclose(residuals(H, X, B), expected, rtol=1e-9)
    np.testing.assert_allclose(residuals(H, 7 * X, 7 * B), expected, rtol=1e-9)
    np.testing.assert_allclose(residuals(H, Direct().factor(H)(B)[0], B), 0.0, atol=1e-10)
    np.testing.assert_array_equal(residuals(H, 0 * X, 0 * B), 0.0)
    some = np.array([0, 3])
    expected = np.linalg.norm((scale * (B - dense(H) @ X))[some], axis=0) / np.linalg.norm((scale * B)[some], axis=0)
    np.testing.assert_allclose(residuals(H, X, B, some), expected, rtol=1e-9)


def test_an_inverse_by_solves_is_made_once_and_refused_where_it_is_too_large(monkeypatch):
    H = hessian("shared")
    factor = ConjugateGradient(tol=1e-13).factor(H)
    inverse = factor.inverse(0)
    T = H.decode_about(H.centre, np.tile(np.eye(5), (3, 1, 1)))[[0, 1, 2, 3, 12]]
    np.testing.assert_allclose(T @ inverse @ T.T, np.linalg.inv(dense(H))[np.ix_([0, 1, 2, 3, 12], [0, 1, 2, 3, 12])])
    monkeypatch.setattr(type(factor), "__call__", None)  # no more solves
    assert np.shares_memory(factor.inverse(0), inverse)
    monkeypatch.setattr(_backend, "physical_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"inverse curvature of 15 parameters.*fewer indices, .*'first_order'"):
        Diagonal().factor(H).inverse(0)


def test_number_options():
    for good in (1, 2.5, np.float32(3), np.int8(4)):
        assert number_option("x", good, lowest=1.0) is good
    assert number_option("x", np.int64(3), lowest=1, whole=True) == 3
    for bad, error, words in (
        (True, TypeError, "x must be a number >= 1, got True"),
        ("1", TypeError, "x must be a number >= 1, got '1'"),
        (0.5, ValueError, "x must be a finite number >= 1, got 0.5"),
        (np.nan, ValueError, "finite number"),
        (np.inf, ValueError, "finite number"),
    ):
        with pytest.raises(error, match=words):
            number_option("x", bad, lowest=1.0)
    with pytest.raises(ValueError, match="> 1, got 1"):
        number_option("x", 1, lowest=1.0, above=True)
    with pytest.raises(TypeError, match=r"an integer >= 1, got 2\.0"):
        number_option("x", 2.0, lowest=1, whole=True)
