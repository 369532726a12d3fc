"""Parameter changes by removals against one dense Newton step on the retained rows, by the definition."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from test_primal import D, N, make

from sklearn_influence import InfluenceEstimator, newton
from sklearn_influence import effects as fx
from sklearn_influence.solvers import Direct

KINDS = ["squares", "logistic", "softmax"]
ROWS = np.array([3, 0, 17, 29])


def optimum(kind, **options):
    best, _ = newton.minimise(make(kind, **options))
    return best, Direct().factor(best.curvature())


def off_gauge(objective, delta):
    """Softmax parameters up to their common intercept shift: (..., p)."""
    if not objective.loss.shift_invariant or not objective.fit_intercept:
        return delta
    delta = delta.copy()
    q = objective.n_outputs
    delta[..., -q:] -= delta[..., -q:].mean(axis=-1, keepdims=True)
    return delta


def one_step(objective, rows, curvature="retained"):
    """The parameter change of removing rows together, in dense linear algebra."""
    weights = objective.weighting.effective(removed=rows)
    kept = objective.with_(sample_weight=weights)
    H = (kept if curvature == "retained" else objective).curvature().matmat(np.eye(objective.n_params))
    return off_gauge(objective, -np.linalg.pinv(H, rcond=1e-12) @ (kept.gradient() - objective.gradient()))


@pytest.fixture(params=KINDS)
def solved(request):
    return optimum(request.param)


@pytest.mark.parametrize("method", ["newton", "first_order"])
def test_rows(solved, method):
    objective, factor = solved
    effects = fx.row_effects(objective, factor, ROWS, method)
    expected = np.stack([one_step(objective, [i], "retained" if method == "newton" else "full") for i in ROWS])
    np.testing.assert_allclose(effects.params(slice(0, 4)).T, expected, rtol=1e-8, atol=1e-11)


def balanced(kind, equal):
    """A balanced problem of ten rows a class or more, with equal or unequal weights of the rows, at its optimum."""
    start = make(kind, balanced=True)
    if equal:
        start.weighting = dataclasses.replace(start.weighting, sample_weight=np.ones(N))
        start.sample_weight = start.weighting.effective()
    best, _ = newton.minimise(start)
    return best, Direct().factor(best.curvature())


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
@pytest.mark.parametrize("equal", [True, False])
def test_balanced_weights_move_every_row(kind, equal):
    objective, factor = balanced(kind, equal)
    effects = fx.row_effects(objective, factor, ROWS, "newton")
    found = effects.params(slice(0, len(ROWS))).T
    np.testing.assert_allclose(effects.params(np.array([2, 0])).T, found[[2, 0]], rtol=1e-12, atol=1e-15)
    for change, i in zip(found, ROWS, strict=True):
        expected = one_step(objective, [i])
        off = np.linalg.norm(change - expected) / np.linalg.norm(expected)
        # Exact for equal weights; else the curvature has the class factors of a row of mean weight, O(1/n) off.
        assert off < (1e-8 if equal else 1 / N)
    np.testing.assert_allclose(
        effects.own_outputs()[0],
        objective.outputs_change(found[:1].T, objective.design.take(ROWS[:1]))[0, :, 0]
        + gauge_of(objective, effects, found),
        atol=1e-11,
    )
    assert (effects.largest < 1).all() and len(effects) == len(ROWS)
    assert effects.params(slice(0, 0)).shape == (objective.n_params, 0)


def gauge_of(objective, effects, found):
    """Own outputs of a softmax model are known up to a common shift."""
    if not objective.loss.shift_invariant:
        return 0.0
    own = objective.outputs_change(found[:1].T, objective.design.take(effects.rows[:1]))[0, :, 0]
    return (effects.own_outputs()[0] - own).mean()


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_large_classes_keep_the_old_curvature(kind, monkeypatch):
    objective, factor = balanced(kind, True)
    exact = fx.row_effects(objective, factor, ROWS, "newton").params(slice(0, 4))
    monkeypatch.setattr(fx, "LARGE_CLASS", 5)
    effects = fx.row_effects(objective, factor, ROWS, "newton")
    assert isinstance(effects, fx.RowEffects)
    close = effects.params(slice(0, 4))
    assert 1e-6 < np.linalg.norm(close - exact) / np.linalg.norm(exact) < 3 / N


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_first_order_of_balanced_rows(kind):
    objective, factor = balanced(kind, False)
    found = fx.row_effects(objective, factor, ROWS, "first_order").params(slice(0, 4)).T
    expected = np.stack([one_step(objective, [i], "full") for i in ROWS])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("method", ["newton", "first_order"])
def test_own_outputs(solved, method):
    objective, factor = solved
    effects = fx.row_effects(objective, factor, ROWS, method)
    df = objective.outputs_change(effects.params(slice(0, 4)), objective.design.take(ROWS))
    own = np.einsum("iqi->iq", df)
    found = effects.own_outputs()
    if objective.loss.shift_invariant:  # known up to a common shift
        own, found = own - own[:, :1], found - found[:, :1]
    np.testing.assert_allclose(found, own, atol=1e-11)


def test_a_row_that_holds_a_direction_alone_leaves_it_at_nothing():
    objective = make("squares")
    objective.penalty = np.zeros_like(objective.penalty)
    X = objective.design.X.copy()
    X[:, 2] = 0.0
    X[5, 2] = 1.0  # a category seen once
    objective.design = type(objective.design)(X, True)
    best, _ = newton.minimise(objective)
    factor = Direct().factor(best.curvature())
    effects = fx.row_effects(best, factor, np.array([4, 5]), "newton")
    assert effects.largest[1] > 1 - 1e-12 and not effects.direct  # known without a refit
    new = best.params + effects.params(slice(0, 2))[:, 1]
    # Least squares without the row: the coefficient of the empty column is 0 in the smallest-norm answer.
    np.testing.assert_allclose(new.reshape(-1)[[2, 2 + D]], 0.0, atol=1e-10)
    kept = best.with_(sample_weight=best.weighting.effective(removed=[5]), params=new)
    assert np.linalg.norm(kept.gradient()) < 1e-10
    own = effects.own_outputs()
    row = best.design.take([5])
    np.testing.assert_allclose(own[1], kept.outputs(row)[0] - best.outputs(row)[0], atol=1e-10)


def test_row_scale_is_the_median_norm(solved):
    objective, factor = solved
    G = objective.sample_gradients() * objective.sample_weight
    norms = np.sqrt(np.einsum("pi,pi->i", G, factor(G)[0]))
    assert fx.row_scale(objective, factor) == pytest.approx(np.median(norms))
    assert fx.row_scale(objective, factor, np.array([], dtype=int)) == 0.0


def test_softmax_outputs_do_not_depend_on_the_columns_origin():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    y = np.digitize(X[:, 0] + 1.5 * rng.standard_normal(60), [-0.8, 0.8])
    moved = InfluenceEstimator(LogisticRegression(max_iter=10_000), solver="direct").fit(X + 1e4, y)
    model = InfluenceEstimator(LogisticRegression(), solver="direct").fit(X, y)
    expected = model.influence_on_output(X, [0, 1, 3])
    assert np.abs(moved.influence_on_output(X + 1e4, [0, 1, 3]) - expected).max() < 1e-5 * np.abs(expected).max()


def test_conjugate_gradients_see_the_directions_that_a_group_leaves_flat():
    rng = np.random.default_rng(0)
    level = np.repeat([0, 1, 2, 3], 10)
    X = np.hstack([rng.standard_normal((40, 2)), np.eye(4)[level][:, 1:]])
    y = X[:, 0] + level + 0.1 * rng.standard_normal(40)
    retrained = LinearRegression().fit(X[level != 3], y[level != 3])
    model = InfluenceEstimator(LinearRegression(), solver="cg").fit(X, y)
    expected = retrained.predict(X) - model.predict(X)
    np.testing.assert_allclose(model.influence_on_output(X, groups=level)[:, 3], expected, atol=1e-10)
    model.unlearn(np.flatnonzero(level == 3))
    np.testing.assert_allclose(model.estimator_.coef_, retrained.coef_, atol=1e-10)
