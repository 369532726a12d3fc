"""Effects on outputs and losses follow from those on the parameters, whatever the blocks."""

import numpy as np
import pytest
from sklearn import config_context
from test_effects import KINDS, ROWS, optimum
from test_primal import D, N

from sklearn_influence import influence
from sklearn_influence.effects import row_effects
from sklearn_influence.groups import group_effects
from sklearn_influence.losses import SquaredError


@pytest.fixture(params=KINDS)
def solved(request):
    return optimum(request.param)


@pytest.mark.parametrize("m", [2, 25])
@pytest.mark.parametrize("method", ["newton", "first_order", "second_order"])
def test_outputs_and_losses_follow_from_the_parameters(solved, m, method):
    objective, factor = solved
    rng = np.random.default_rng(9)
    X = objective.read_rows(rng.standard_normal((m, D)))
    y = objective.y[:m]
    loss, f = objective.loss, objective.outputs(X)
    for effects in (
        row_effects(objective, factor, ROWS, method),
        group_effects(objective, factor, [ROWS[:2], ROWS[2:], ROWS[[0]], ROWS[[1]]], method),
    ):
        df = objective.outputs_change(effects.params(slice(0, 4)), X)
        if method != "first_order":
            expected = loss.change(y, f, df)
        else:
            expected = np.einsum("mq,mqk->mk", loss.gradient(y, f), df)
        weight = rng.random(m)
        for memory in (1e-3, 1000):
            with config_context(working_memory=memory):
                found = np.full(df.shape, np.nan)
                for tests, part, block in influence.outputs_change(effects, X):
                    found[tests, :, part] = block
                np.testing.assert_allclose(found, df, atol=1e-12)
                out = influence.loss_change(effects, X, y, loss, method, np.empty((m, 4)))
                np.testing.assert_allclose(out, expected, atol=1e-12)
                out = influence.loss_change(effects, X, y, loss, method, np.empty((m, 4)), weight)
                np.testing.assert_allclose(out, weight[:, None] * expected, atol=1e-12)
                out = influence.loss_change(effects, X, y, loss, method, np.empty(4), weight, aggregate=True)
                np.testing.assert_allclose(out, weight @ expected, atol=1e-12)


def test_both_sides_of_the_product_are_used(solved):
    objective, factor = solved
    effects = row_effects(objective, factor, np.arange(N), "newton")
    few, many = (objective.read_rows(np.ones((m, D))) for m in (1, 5000))
    assert next(influence._test_blocks(effects, few))[1] is not None
    assert next(influence._test_blocks(effects, many))[1] is None


def test_another_loss_on_the_outputs():
    objective, factor = optimum("logistic")
    effects = row_effects(objective, factor, ROWS, "newton")
    y = objective.y.astype(float)
    out = influence.loss_change(effects, objective.design, y, SquaredError(), "newton", np.empty((N, 4)))
    df = objective.outputs_change(effects.params(slice(0, 4)))[:, 0]
    f = objective.outputs()
    np.testing.assert_allclose(out, 0.5 * (f + df - y[:, None]) ** 2 - 0.5 * (f - y[:, None]) ** 2, atol=1e-13)


def test_params_change_holds_one_row_each(solved):
    objective, factor = solved
    effects = row_effects(objective, factor, ROWS, "newton")
    for memory in (1e-3, 1000):
        with config_context(working_memory=memory):
            out = influence.params_change(effects, np.empty((4, objective.n_params)))
        np.testing.assert_allclose(out.T, effects.params(slice(0, 4)), atol=1e-13)


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_classwise_effects_project_as_others_do(kind):
    objective, factor = optimum(kind, balanced=True)
    effects = row_effects(objective, factor, ROWS, "newton")
    X = objective.read_rows(np.random.default_rng(0).standard_normal((3, D)))
    out = influence.loss_change(effects, X, objective.y[:3], objective.loss, "newton", np.empty((3, 4)))
    df = objective.outputs_change(effects.params(slice(0, 4)), X)
    np.testing.assert_allclose(out, objective.loss.change(objective.y[:3], objective.outputs(X), df), atol=1e-12)


@pytest.mark.parametrize("kind", ["squares", "logistic"])
def test_a_sum_of_squared_losses_equals_its_terms(kind):
    """Summed over many test rows as a parabola in the parameters, without the pairs; weights and balance included."""
    objective, factor = optimum(kind, balanced=kind == "logistic")
    effects = row_effects(objective, factor, ROWS, "newton")
    rng = np.random.default_rng(0)
    X = objective.read_rows(rng.standard_normal((50, D)) + 100.0)
    y, weight = rng.standard_normal((50, objective.n_outputs)), rng.uniform(0.0, 2.0, 50)
    pairs = influence.loss_change(effects, X, y, SquaredError(), "newton", np.empty((50, 4)), weight)
    for memory in (1e-3, 1000):
        with config_context(working_memory=memory):
            total = influence.loss_change(effects, X, y, SquaredError(), "newton", np.empty(4), weight, aggregate=True)
        np.testing.assert_allclose(total, pairs.sum(axis=0), rtol=1e-11, atol=1e-11 * np.abs(pairs).max())
