"""Groups against one dense Newton step each, their sums, and what does not fit in memory."""

import copy

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from test_effects import KINDS, ROWS, one_step, optimum
from test_primal import N

from sklearn_influence import InfluenceEstimator, _backend, groups
from sklearn_influence import effects as fx

pytestmark = pytest.mark.filterwarnings("ignore:One Newton step")


@pytest.fixture(params=KINDS)
def solved(request):
    return optimum(request.param)


@pytest.mark.parametrize("size", [1, 2, 4, 20])
def test_groups(solved, size):
    objective, factor = solved
    members = [np.arange(size), np.arange(size) + 7]
    effects = groups.group_effects(objective, factor, members, "newton", n_jobs=2)
    expected = np.stack([one_step(objective, rows) for rows in members], axis=1)
    np.testing.assert_allclose(effects.params(slice(0, 2)), expected, rtol=1e-8, atol=1e-10)
    summed = groups.group_effects(objective, factor, members, "first_order")
    rows = fx.row_effects(objective, factor, np.arange(N), "first_order").params(slice(0, N))
    np.testing.assert_allclose(summed.delta, np.stack([rows[:, g].sum(axis=1) for g in members], axis=1), atol=1e-11)


def test_first_order_sums_in_blocks(monkeypatch):
    objective, factor = optimum("softmax", balanced=True)
    members = [np.arange(start, start + 4) for start in range(8)]
    whole = groups.group_effects(objective, factor, members, "first_order").delta
    rows = fx.row_effects(objective, factor, np.arange(N), "first_order").params(slice(0, N))
    np.testing.assert_allclose(whole, np.stack([rows[:, g].sum(axis=1) for g in members], axis=1), atol=1e-11)
    monkeypatch.setattr(groups, "block_size", lambda *_: 3)
    np.testing.assert_allclose(groups.group_effects(objective, factor, members, "first_order").delta, whole, rtol=1e-12)


def test_groups_of_balanced_classes_are_exact_steps():
    objective, factor = optimum("logistic", balanced=True)
    effects = groups.group_effects(objective, factor, [ROWS], "newton")
    np.testing.assert_allclose(effects.delta[:, 0], one_step(objective, ROWS), rtol=1e-8)


def test_no_thread_changes_a_result():
    rng = np.random.default_rng(0)
    X, y = load_breast_cancer(return_X_y=True)
    X, labels = StandardScaler().fit_transform(X), rng.integers(0, 40, len(y))
    one = InfluenceEstimator(LogisticRegression()).fit(X, y)
    expected = one.influence_on_params(groups=labels)
    two = copy.deepcopy(one).set_params(n_jobs=2)
    np.testing.assert_allclose(two.influence_on_params(groups=labels), expected, rtol=1e-12)


@pytest.mark.parametrize("way", ["update", "downdate", "refactor"])
def test_what_a_step_leaves_is_looked_at_whatever_the_way(way, monkeypatch):
    """The next step's length beside the first's, in the norm of the curvature; groups that hold little are let be."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = InfluenceEstimator(LogisticRegression(), solver="direct").fit(X, y)
    objective, factor = model._fitted.solved(model._options())
    near = np.argsort(model.leverages())
    members = [near[-60:], near[:10]]
    monkeypatch.setattr(groups.step_without, "__defaults__", (way,))
    effects = groups.group_effects(objective, factor, members, "newton")
    kept = objective.with_(sample_weight=objective.weighting.effective(removed=members[0]))
    step, left = effects.delta[:, 0], effects.left
    g = kept.with_(params=objective.params + step).gradient()
    H, own = (one.curvature().matmat(np.eye(len(g))) for one in (objective, kept))  # an update has the old one's factor
    expected = np.sqrt(g @ np.linalg.solve(H if way == "update" else own, g) / (step @ own @ step))
    assert left[0] == pytest.approx(expected, rel=1e-6) and 0.1 < expected < 1.0
    assert (left[1] == 0.0) if way != "refactor" else (0.0 < left[1] < 0.01)


def test_changes_that_do_not_fit_are_refused_before_any_work(solved, monkeypatch):
    objective, _ = solved
    members = [np.arange(4), np.arange(4, 8)]
    monkeypatch.setattr(_backend, "physical_memory", lambda: 8 * objective.n_params * 2 - 1)
    for method in ("newton", "first_order", "second_order"):
        with pytest.raises(ValueError, match=r"Parameter changes of 2 groups needs .*fewer groups"):
            groups.group_effects(objective, None, members, method)


def test_threads_that_do_not_fit_are_refused_in_words(monkeypatch):
    objective, factor = optimum("softmax")
    members = [np.arange(12), np.arange(4, 16)]
    size = factor.blocks[0].size ** 2
    monkeypatch.setattr(_backend, "physical_memory", lambda: 8 * size * 6)
    groups.group_effects(objective, factor, members, "newton")
    with pytest.raises(ValueError, match=r"15 parameters on 2 threads, needs .*smaller n_jobs, or solver='cg'"):
        groups.group_effects(objective, factor, members, "newton", n_jobs=2)
