"""The minimum of a kernel model against closed forms, scikit-learn and the same steps in parameter space."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from sklearn_influence import losses, newton
from sklearn_influence.alpha import newton as newton_module
from sklearn_influence.alpha.newton import minimise
from sklearn_influence.objective import Weighting
from sklearn_influence.primal import PrimalObjective

SOLVERS = ("direct", "cg")


def _data(kind, n=60, d=4, seed=0):
    """Features, their linear kernel (of rank d, two rows the same), targets, loss and weights (one of them 0)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    X[1] = X[0]
    weight = rng.uniform(0.5, 2.0, n)
    weight[7] = 0.0
    if kind == "squares":
        return X, X @ X.T, rng.standard_normal((n, 2)), losses.SquaredError(), weight
    scores = X @ rng.standard_normal((d, 3)) + rng.gumbel(size=(n, 3))
    y = scores.argmax(axis=1)
    if kind == "logistic":
        return X, X @ X.T, (y > 0).astype(int), losses.Logistic(), weight
    return X, X @ X.T, y, losses.Softmax(), weight


def _rbf(X):
    return np.exp(-0.3 * ((X[:, None] - X) ** 2).sum(axis=2))


@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-5])
@pytest.mark.parametrize("solver", [None, *SOLVERS])
def test_squared_loss_is_kernel_ridge_in_one_step(solver, strength):
    X, _, y, loss, weight = _data("squares")
    K, live = _rbf(X), weight > 0
    rng = np.random.default_rng(1)
    start, offset = rng.standard_normal(y.shape), rng.standard_normal(y.shape)
    expected = np.zeros(y.shape)
    A = K[np.ix_(live, live)] + np.diag(strength / weight[live])
    expected[live] = np.linalg.solve(A, (y - offset)[live])
    alpha, outputs, info = minimise(K, y, loss, weight, strength, offset=offset, alpha=start, solver=solver)
    assert info.converged and info.n_iter == 1
    scale = np.abs(expected).max()
    tol = 1e-12 if strength > 1e-3 else 1e-9  # the condition of A is 1e7
    np.testing.assert_allclose(alpha, expected, atol=scale * (tol if solver != "cg" else 1e3 * tol))
    np.testing.assert_allclose(outputs, offset + K @ alpha, atol=1e-11)
    residual = A @ alpha[live] - (y - offset)[live]
    assert np.abs(residual).max() < scale * (1e-13 if solver != "cg" else 1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_a_linear_kernel_is_logistic_regression(kind, solver):
    X, K, y, loss, weight = _data(kind)
    model = LogisticRegression(C=1 / 0.5, fit_intercept=False, tol=1e-12, max_iter=1000, solver="newton-cg")
    model.fit(X, y, sample_weight=weight)
    alpha, outputs, info = minimise(K, y, loss, weight, 0.5, solver=solver)
    assert info.converged
    np.testing.assert_allclose(outputs, X @ model.coef_.T, atol=1e-7)
    # At the optimum alpha is the gradient of each row over the strength, and no row of weight 0 has one.
    np.testing.assert_allclose(0.5 * alpha, -weight[:, None] * loss.gradient(y, outputs), atol=1e-8)
    assert (alpha[7] == 0).all()
    np.testing.assert_allclose(outputs, K @ alpha, atol=1e-11)


@pytest.mark.parametrize("kind", ["squares", "logistic", "softmax"])
def test_each_step_is_that_of_parameter_space(kind):
    X, K, y, loss, weight = _data(kind)
    q = {"squares": 2, "logistic": 1, "softmax": 3}[kind]
    penalty = np.full((q, 4), 0.5)
    objective = PrimalObjective(X, y, loss, Weighting(weight), penalty, np.zeros(4 * q), False)
    alpha = np.zeros((60, q))
    for _ in range(3):
        alpha, outputs, _ = minimise(K, y, loss, weight, 0.5, alpha=alpha, max_iter=1, solver="direct")
        objective, _ = newton.minimise(objective, max_iter=1)
        np.testing.assert_allclose(outputs, objective.outputs(), atol=1e-11)
        np.testing.assert_allclose((X.T @ alpha).T.ravel(), objective.params, atol=1e-11)


@pytest.mark.parametrize("kind", ["squares", "logistic", "softmax"])
def test_from_old_outputs_one_step_is_the_one_step_removal(kind):
    X, K, y, loss, weight = _data(kind)
    q, kept = {"squares": 2, "logistic": 1, "softmax": 3}[kind], np.arange(60) % 3 > 0
    alpha, outputs, _ = minimise(K, y, loss, weight, 0.5)
    K, y, weight = K[np.ix_(kept, kept)], y[kept], weight[kept]
    objective = PrimalObjective(
        X[kept], y, loss, Weighting(weight), np.full((q, 4), 0.5), (X.T @ alpha).T.ravel(), False
    )
    once, _ = newton.minimise(objective, max_iter=1)
    for given in (alpha[kept], None):  # the outputs say it all
        found = minimise(K, y, loss, weight, 0.5, alpha=given, outputs=outputs[kept], max_iter=1, solver="direct")
        np.testing.assert_allclose(found[1], once.outputs(), atol=1e-11)
    again = minimise(K, y, loss, weight, 0.5, alpha=alpha[kept], outputs=outputs[kept])
    refit = minimise(K, y, loss, weight, 0.5, tol=1e-14)
    assert again[2].converged and again[2].n_iter < max(refit[2].n_iter, 2)
    np.testing.assert_allclose(again[1], refit[1], atol=1e-9)


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
@pytest.mark.parametrize("strength", [30.0, 0.3, 1e-5])
def test_conjugate_gradients_and_factors_find_the_same(kind, strength):
    X, _, y, loss, weight = _data(kind)
    K = _rbf(X)
    K[5], K[:, 5] = K[4], K[4]
    K[5, 5] = K[4, 4] = K[4, 5]  # a duplicate row with another label
    (alpha, f, a), (other, g, b) = (minimise(K, y, loss, weight, strength, solver=solver) for solver in SOLVERS)
    assert a.converged and b.converged
    assert 0 < b.n_products and a.remaining <= 1e-10 * 100 and b.remaining <= 1e-8
    scale = np.abs(f).max()
    np.testing.assert_allclose(g, f, atol=1e-8 * scale)
    for coefs, outputs in ((alpha, f), (other, g)):
        gradient = weight[:, None] * loss.gradient(y, outputs) + strength * coefs
        assert np.sqrt(np.sum(gradient * (K @ gradient)) / strength) < 1e-6 * scale


def test_the_remaining_decrement_is_an_upper_bound():
    X, _, y, loss, weight = _data("softmax")
    K, alpha, checked = _rbf(X), None, 0
    for solver in SOLVERS:
        for n in range(3, 7):
            alpha, _, info = minimise(K, y, loss, weight, 0.3, max_iter=n, tol=1e-12, solver=solver)
            if np.isfinite(info.remaining) and info.remaining > 1e-10:
                left = minimise(K, y, loss, weight, 0.3, alpha=alpha, max_iter=1, solver="direct")[2].decrement
                assert left <= info.remaining
                checked += 1
    assert checked >= 4


def test_steps_back_where_a_full_one_would_raise_the_objective():
    X, _, y, loss, weight = _data("logistic")
    K, weight = _rbf(X), np.ones(60)
    far = 300.0 * np.where(y == 1, -1.0, 1.0)[:, None]

    def value(alpha):
        return loss.value(y, K @ alpha).sum() + 0.05 * np.sum(alpha * (K @ alpha))

    once, _, info = minimise(K, y, loss, weight, 0.1, alpha=far, max_iter=1)
    assert value(once) < value(far) and not info.converged
    alpha, _, info = minimise(K, y, loss, weight, 0.1, alpha=far)
    assert info.converged
    np.testing.assert_allclose(alpha, minimise(K, y, loss, weight, 0.1)[0], atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_start_that_misleads_is_left(solver):
    X, _, y, loss, weight = _data("logistic")
    K = _rbf(X)
    wrong = 60.0 * np.where(y == 1, -1.0, 1.0)[:, None]  # next to no curvature: the step from there is huge
    alpha, _, info = minimise(K, y, loss, weight, 1e-3, outputs=wrong, solver=solver, tol=1e-3)
    plain, _, from_zero = minimise(K, y, loss, weight, 1e-3, solver=solver, tol=1e-3)
    assert info.converged and info.n_iter == from_zero.n_iter + 1
    np.testing.assert_array_equal(alpha, plain)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_optimum_stays_where_it_is(solver):
    X, _, y, loss, weight = _data("softmax")
    K = _rbf(X)
    alpha, _, _ = minimise(K, y, loss, weight, 0.3, tol=1e-14)
    again, _, info = minimise(K, y, loss, weight, 0.3, alpha=alpha, solver=solver)
    assert info.converged and info.n_iter <= 4
    np.testing.assert_allclose(again, alpha, atol=1e-12)
    shifted, _, _ = minimise(K, y, loss, weight, 0.3, alpha=alpha + 5.0, solver=solver)  # by what no loss can see
    np.testing.assert_allclose(shifted, alpha, atol=1e-9)


def test_squared_loss_goes_by_products_where_no_factor_fits(monkeypatch):
    X, _, y, loss, weight = _data("squares")
    expected = minimise(_rbf(X), y, loss, weight, 0.1)
    assert type(expected[2].system).__name__ == "DirectSystem"
    monkeypatch.setattr(newton_module, "physical_memory", lambda: 8 * 60**2 - 1)
    found = minimise(_rbf(X), y, loss, weight, 0.1)
    assert type(found[2].system).__name__ == "IterativeSystem" and found[2].converged
    np.testing.assert_allclose(found[1], expected[1], atol=1e-8)


def test_what_a_factor_is_weighed_against():
    few, many = (np.broadcast_to(0.0, (size, size)) for size in (2000, 20000))
    cheaper = newton_module._is_direct_cheaper
    assert cheaper(few, losses.SquaredError(), 2000, 10)  # one factor for all outputs, and exact
    assert not cheaper(many, losses.SquaredError(), 2000, 10)  # the outputs are mixed: ten times the unknowns
    assert cheaper(few[:900, :900], losses.SquaredError(), 90, 10)
    assert not cheaper(few, losses.Softmax(), 2000, 10) and not cheaper(many, losses.Softmax(), 2000, 10)


def test_the_only_step_of_a_squared_loss_is_solved_within_the_tolerance():
    """No later step corrects it; and coefficients are less well determined than the decrement says."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    K, y, tol = (Q * (1e3 / np.arange(1, 301))) @ Q.T, rng.normal(size=(300, 1)), 1e-4
    alpha, _, _ = minimise(K, y, losses.SquaredError(), np.ones(300), 1e-2, solver="cg", tol=tol)
    truth = np.linalg.solve(K + 1e-2 * np.eye(300), y)
    assert np.linalg.norm(alpha - truth) < 0.1 * tol * np.linalg.norm(truth)


def test_a_start_is_no_part_of_kernel_ridge():
    X, _, y, loss, weight = _data("squares")
    K = _rbf(X)
    expected = minimise(K, y, loss, weight, 0.1)[0]
    np.testing.assert_array_equal(minimise(K, y, loss, weight, 0.1, alpha=np.full(y.shape, 1e12))[0], expected)


def test_a_step_from_old_outputs_is_measured_by_how_far_they_move():
    X, _, y, loss, weight = _data("softmax")
    K = _rbf(X)
    alpha, outputs, _ = minimise(K, y, loss, weight, 0.3)
    K, y, weight, old = K[20:, 20:], y[20:], weight[20:], outputs[20:]
    for solver in SOLVERS:
        start = {"alpha": alpha[20:], "outputs": old, "solver": solver, "max_iter": 1}
        _, outputs, info = minimise(K, y, loss, weight, 0.3, **start)
        W = weight[:, None, None] * loss.curvature(y, old)
        length = np.sqrt(np.einsum("na,nab,nb->", outputs - old, W, outputs - old))
        assert info.decrement == pytest.approx(length, rel=1e-9)


def test_a_factored_step_costs_one_product():
    X, _, y, loss, _ = _data("softmax")
    _, _, info = minimise(_rbf(X), y, loss, np.ones(60), 0.3, solver="direct")
    assert info.n_products == info.n_iter > 3


def test_rounding_ends_it():
    X, _, y, loss, weight = _data("softmax")
    _, _, info = minimise(_rbf(X), y, loss, weight, 1e-3, tol=1e-200)
    assert info.converged and info.n_iter < 20 and info.decrement < 1e-9
    assert not minimise(_rbf(X), y, loss, weight, 1e-3, max_iter=2)[2].converged


def test_conjugate_gradients_give_way_to_a_factor(monkeypatch):
    X, _, y, loss, weight = _data("logistic", n=300)
    K = _rbf(X)
    monkeypatch.setattr(newton_module, "_is_direct_cheaper", lambda *args: False)
    limited = newton_module.iterate
    monkeypatch.setattr(newton_module, "iterate", lambda *args, **options: limited(*args, max_iter=1, **options))
    _, _, info = minimise(K, y, loss, weight, 1e-6)
    assert info.converged and type(info.system).__name__ == "DirectSystem"
    assert not minimise(K, y, loss, weight, 1e-6, solver="cg", max_iter=3)[2].converged


@pytest.mark.parametrize("solver", SOLVERS)
def test_another_namespace_gives_the_same(solver):
    xp = pytest.importorskip("array_api_strict")
    X, _, y, loss, weight = _data("softmax")
    K = _rbf(X)
    here = minimise(K, y, loss, weight, 0.3, solver=solver)
    there = minimise(xp.asarray(K), y, loss, weight, 0.3, solver=solver)
    assert isinstance(there[0], np.ndarray) and there[2].converged
    np.testing.assert_allclose(there[0], here[0], atol=1e-9)


def test_float32_kernels():
    X, _, y, loss, weight = _data("softmax")
    K = _rbf(X)
    for solver in SOLVERS:
        alpha, _, info = minimise(K.astype(np.float32), y, loss, weight, 0.3, solver=solver, tol=1e-5)
        assert info.converged
        np.testing.assert_allclose(alpha, minimise(K, y, loss, weight, 0.3)[0], atol=1e-3)


def test_kernel_gradient_descent_ends_there():
    """Eq. 14 of the paper, without a word of this package."""
    X, _, y, loss, _ = _data("softmax", n=25)
    K, f, alpha = _rbf(X), np.zeros((25, 3)), np.zeros((25, 3))
    for _ in range(3000):
        alpha -= 0.05 * (softmax(f, axis=1) - np.eye(3)[y] + 1.0 * alpha)
        f = K @ alpha
    np.testing.assert_allclose(minimise(K, y, loss, np.ones(25), 1.0)[0], alpha, atol=1e-9)


def test_what_cannot_be_is_refused():
    X, _, y, loss, weight = _data("softmax")
    with pytest.raises(ValueError, match="solver must be None, 'direct' or 'cg', got 'lbfgs'"):
        minimise(_rbf(X), y, loss, weight, 1.0, solver="lbfgs")
    for solver in (None, *SOLVERS):
        with pytest.raises(ValueError, match="positive semi-definite"):
            minimise(-10 * _rbf(X), y, loss, weight, 1e-3, solver=solver)
