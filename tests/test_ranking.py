"""The strongest rows against a sort of the whole matrix."""

import numpy as np
import pytest
from sklearn import config_context
from test_effects import KINDS, optimum
from test_primal import D, N

from sklearn_influence import influence, ranking
from sklearn_influence.effects import row_effects


@pytest.fixture(params=KINDS)
def solved(request):
    return optimum(request.param)


@pytest.mark.parametrize("order", ["harmful", "helpful", "absolute"])
@pytest.mark.parametrize("method", ["newton", "first_order", "second_order"])
@pytest.mark.parametrize("memory", [1e-3, 1000])
def test_top_rows_equal_a_sort_of_everything(solved, order, method, memory):
    objective, factor = solved
    rng = np.random.default_rng(2)
    X = objective.read_rows(rng.standard_normal((11, D)))
    y = objective.y[:11]
    effects = row_effects(objective, factor, np.arange(N), method)
    everything = influence.loss_change(effects, X, y, objective.loss, method, np.empty((11, N)))
    key = {"harmful": everything, "helpful": -everything, "absolute": -np.abs(everything)}[order]
    expected = np.argsort(key, axis=1)[:, :6]
    with config_context(working_memory=memory):
        columns, changes = ranking.top_rows(effects, X, y, objective.loss, method, 6, order)
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_allclose(changes, np.take_along_axis(everything, expected, axis=1), atol=1e-13)


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("block", [1, 7, 300])
def test_merging_blocks_keeps_the_smallest(k, block):
    rng = np.random.default_rng(k)
    keys = np.round(rng.standard_normal((9, 300)), 6)
    best = ranking._Best(9, k)
    for start in range(0, 300, block):
        part = keys[:, start : start + block]
        best.merge(slice(0, 4), part[:4], -part[:4], start)
        best.merge(slice(4, 9), part[4:], -part[4:], start)
    columns, values = best.ordered()
    expected = np.argsort(keys, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_array_equal(values, -np.take_along_axis(keys, expected, axis=1))
