"""One Newton step without some rows: every way of inverting their curvature against the definition."""

import numpy as np
import pytest
from cases import tiny_regression
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from test_effects import KINDS, ROWS, one_step, optimum
from test_primal import N, make

from sklearn_influence import InfluenceEstimator, newton, retained
from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian
from sklearn_influence.effects import smallest_norm
from sklearn_influence.objective import Weighting
from sklearn_influence.primal import PrimalObjective
from sklearn_influence.solvers import ConjugateGradient, Direct

WAYS = ["update", "downdate", "refactor"]


@pytest.fixture(params=KINDS)
def solved(request):
    return optimum(request.param)


def solve(estimator, X, y, **options):
    """The optimum and the factor of a fitted model."""
    model = InfluenceEstimator(estimator, solver="direct", **options).fit(X, y)
    return model._fitted.solved(model._options())


def by_every_way(objective, factor, rows):
    return [retained.step_without(objective, factor, rows, way) for way in WAYS]


def assert_agree(steps, rtol=1e-9):
    update, downdate, refactor = (one.step for one in steps)
    assert np.linalg.norm(update - refactor) < rtol * np.linalg.norm(refactor)
    assert np.linalg.norm(downdate - refactor) < rtol * np.linalg.norm(refactor)


@pytest.mark.parametrize("rows", [ROWS, np.arange(12)], ids=len)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_the_newton_step(solved, way, rows):
    objective, factor = solved
    found = retained.step_without(objective, factor, rows, way)
    expected = one_step(objective, rows)
    np.testing.assert_allclose(found.step, expected, rtol=1e-8, atol=1e-11)
    H = found.kept.curvature()
    assert found.length == pytest.approx(np.sqrt(expected @ H.matmat(expected[:, None])[:, 0]), rel=1e-8)
    np.testing.assert_array_equal(retained.retained_step(objective, factor, rows, direct=True).shape, expected.shape)
    np.testing.assert_allclose(retained.retained_step(objective, factor, rows), expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_balanced_weights_move_every_row(kind):
    objective, factor = optimum(kind, balanced=True)
    for way in (None, *WAYS):
        found = retained.step_without(objective, factor, ROWS, way)
        np.testing.assert_allclose(found.step, one_step(objective, ROWS), rtol=1e-8, atol=1e-11)


def test_conjugate_gradients_take_the_retained_rows(solved):
    objective, _ = solved
    factor = ConjugateGradient(tol=1e-13).factor(objective.curvature())
    found = retained.step_without(objective, factor, ROWS)
    assert found.factor.iterative and found.factor is not factor
    np.testing.assert_allclose(found.step, one_step(objective, ROWS), rtol=1e-7, atol=1e-10)


def digits(classes, container=np.asarray, dtype=np.float64):
    X, y = load_digits(return_X_y=True)
    some = np.isin(y, classes)
    return container((X[some][:, 1:60:2] / 16).astype(dtype)), y[some]


@pytest.mark.parametrize(
    "estimator, X, y",
    [
        (LogisticRegression(C=0.1), *digits([3, 8])),
        (LogisticRegression(C=0.1), *digits([3, 8], sparse.csr_array)),
        (LogisticRegression(C=0.1), *digits([3, 8], dtype=np.float32)),
        (LogisticRegression(C=0.1), *digits([1, 3, 8], sparse.csr_array, dtype=np.float32)),
        (LogisticRegression(C=0.1, class_weight={3: 5.0, 8: 0.1}), *digits([3, 8])),
        (LogisticRegression(C=0.1, fit_intercept=False), *digits([3, 8])),
        (LogisticRegression(C=0.1), *digits([1, 3, 8])),
        (LogisticRegression(C=0.1), *digits([1, 3, 8], sparse.csr_array)),
        (Ridge(alpha=np.array([0.1, 3.0, 3.0])), tiny_regression(n_targets=3).X, tiny_regression(n_targets=3).y),
        (LinearRegression(), tiny_regression(n_targets=3).X + 1e4, tiny_regression(n_targets=3).y),
        (LogisticRegression(C=0.1), digits([3, 8])[0] + 1e4, digits([3, 8])[1]),
    ],
    ids=[
        "dense",
        "csr",
        "float32",
        "csr float32",
        "weighted",
        "no intercept",
        "softmax",
        "softmax csr",
        "targets",
        "ols",
        "far",
    ],
)
def test_all_ways_agree_on_data(estimator, X, y):
    objective, factor = solve(estimator, X, y)
    rows = np.arange(0, objective.n_rows, 5)
    steps = by_every_way(objective, factor, rows)
    # Far from zero each way has the rounding of x - mean, 1e4 times that of x.
    assert_agree(steps, 1e-9 if abs(X).max() < 1e3 else 1e-8)
    # Without the retained rows' own factor: neither way stepped aside.
    assert steps[0].factor is factor and np.isfinite([steps[0].leverage, steps[1].leverage]).all()


def test_a_damped_factor_is_downdated_with_the_retained_rows_damping():
    objective, _ = optimum("logistic")
    factor = Direct(damping=0.2).factor(objective.curvature())
    _, downdate, refactor = by_every_way(objective, factor, ROWS)
    np.testing.assert_allclose(downdate.step, refactor.step, rtol=1e-9)
    assert np.isfinite(downdate.leverage)


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_hold_a_direction_alone_leave_it_to_the_rows_that_stay(way):
    """Least squares of smallest norm without a whole level of a category."""
    rng = np.random.default_rng(0)
    level = np.repeat([0, 1, 2, 3], 10)
    X = np.hstack([rng.standard_normal((40, 2)), np.eye(4)[level][:, 1:]])
    y = X[:, 0] + level + 0.1 * rng.standard_normal(40)
    objective, factor = solve(LinearRegression(), X, y)
    rows = np.flatnonzero(level == 3)
    found = retained.step_without(objective, factor, rows, way)
    refit = LinearRegression().fit(X[level != 3], y[level != 3])
    np.testing.assert_allclose(objective.params + found.step, np.append(refit.coef_, refit.intercept_), atol=1e-10)
    assert found.factor.nullity == 1 and found.leverage == np.inf


def test_a_direction_that_a_group_all_but_holds_alone_keeps_its_digits():
    """What is left of it is 1e-9 of what was there: the difference has seven digits, the rows have all."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 3))
    X[30:, 2] *= 3e-5
    y = X @ [1.0, 2.0, 3.0] + rng.standard_normal(200)
    objective, factor = solve(LinearRegression(), X, y)
    rows = np.arange(30)
    refit = np.linalg.lstsq(np.c_[X[30:], np.ones(170)], y[30:], rcond=None)[0]
    for found in by_every_way(objective, factor, rows):
        np.testing.assert_allclose(objective.params + found.step, refit, rtol=1e-9)
    assert retained.step_without(objective, factor, rows, "downdate").leverage == np.inf


def test_least_squares_without_full_rank_updates_or_factors_anew():
    objective = make("squares")
    objective.penalty = np.zeros_like(objective.penalty)
    objective.design.X[:, 2] = objective.design.X[:, 0] - objective.design.X[:, 1]
    best, _ = newton.minimise(objective)
    best, factor = smallest_norm(best, Direct().factor(best.curvature()))
    assert factor.nullity and not factor.downdates
    steps = by_every_way(best, factor, ROWS)
    assert_agree(steps)
    assert steps[1].leverage == np.inf
    assert retained.cheapest_way(best, factor, 20) in ("update", "refactor")


def test_the_leverage_of_a_group_is_found_without_its_eigenvalues():
    objective, factor = solve(LogisticRegression(C=0.1), *digits([1, 3, 8]))
    for rows in (np.arange(40), np.arange(0, objective.n_rows, 2)):
        update, downdate, _ = by_every_way(objective, factor, rows)
        assert update.leverage <= downdate.leverage < 2.001 * update.leverage  # twice what the iteration reached


def test_the_leverage_is_found_although_the_step_hardly_shows_it():
    """Shares of .9 along one axis, .1 along the others, and a step that is a hundredth along the first."""
    X = np.diag([3.0] + 29 * [1 / 3])
    factor = Direct().factor(Hessian(Design(X, False), np.ones((30, 1)), np.ones((1, 30))))
    step = np.append(0.01, np.ones(29))
    assert 0.45 < retained._largest_share(factor, np.arange(30), step) <= 0.9


class _Shape:
    def __init__(self, n, d, q=1, kind="logistic", entries=None):
        start = make(kind)
        self.loss, self.n_outputs, self.n_params = start.loss, q, q * d
        self.design = type("Rows", (), dict(n_rows=n, width=d, n_entries=n * d if entries is None else entries))()


class _Blocks:
    def __init__(self, *sizes, downdates=True, outputs=1):
        self.blocks = [type("Block", (), dict(size=size))() for size in sizes]
        self.operations, self.downdates = 2 * outputs * sum(size**2 for size in sizes), downdates


@pytest.mark.parametrize(
    "shape, factor, n_leaving, way",
    [
        (_Shape(100_000, 200), _Blocks(200), 1, "update"),
        (_Shape(100_000, 200), _Blocks(200), 10, "update"),
        (_Shape(100_000, 200), _Blocks(200), 300, "downdate"),
        (_Shape(100_000, 200), _Blocks(200), 49_000, "downdate"),
        (_Shape(100_000, 200), _Blocks(200), 51_000, "refactor"),
        (_Shape(100_000, 200), _Blocks(200, downdates=False), 10, "update"),
        (_Shape(100_000, 200), _Blocks(200, downdates=False), 300, "update"),
        (_Shape(1_000, 200), _Blocks(200, downdates=False), 400, "refactor"),
        (_Shape(20_000, 50, 10, "softmax"), _Blocks(500), 2, "update"),
        (_Shape(20_000, 50, 10, "softmax"), _Blocks(500), 100, "downdate"),
        (_Shape(20_000, 50, 10, "softmax"), _Blocks(500), 15_000, "refactor"),
        (_Shape(2_000, 3_000), _Blocks(3_000), 200, "update"),
        (_Shape(10_000, 3_000), _Blocks(3_000), 1_000, "downdate"),
    ],
)
def test_the_cheapest_way_by_operations(shape, factor, n_leaving, way):
    assert retained.cheapest_way(shape, factor, n_leaving) == way


def test_the_cheapest_way_is_taken(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 3))
    y = (X[:, 0] + rng.standard_normal(N) > 0).astype(int)
    weighting, penalty = Weighting(np.ones(N), y), np.full((1, 3), 1.0)
    start = PrimalObjective(X, y, make("logistic").loss, weighting, penalty, np.zeros(3), False)
    objective, _ = newton.minimise(start)
    factor = Direct().factor(objective.curvature())
    for way in WAYS:
        monkeypatch.setattr(retained, "cheapest_way", lambda *_, way=way: way)
        found = retained.step_without(objective, factor, ROWS)
        assert (found.factor is factor) == (way == "update")
        assert (found.factor.curvature.centre is factor.curvature.centre) == (way != "refactor")
        assert np.isinf(found.leverage) == (way == "refactor")
