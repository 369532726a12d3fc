"""What the public methods hold in memory, and their warnings; the promises are in test_contract."""

import copy
import tracemalloc
import warnings

import cases
import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_influence import InfluenceEstimator, _backend


@pytest.fixture(scope="module")
def large():
    """20,000 training rows and 2,000 test rows: their matrix of effects would take 320 MB."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((22_000, 10))
    y = (X[:, 0] + rng.standard_normal(22_000) > 0).astype(int)
    model = InfluenceEstimator(LogisticRegression()).fit(X[:20_000], y[:20_000])
    model.leverages()
    return model, X[20_000:], y[20_000:]


def peak_of(call):
    """Megabytes that a call holds at most, beyond what was held before."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, X, y: model.influence_on_loss(X, y, aggregate="mean"),
        lambda model, X, y: model.top_influences(X, y),
        lambda model, X, y: model.self_influence(),
        lambda model, X, y: model.leverages(),
    ],
    ids=["aggregate", "top_influences", "self_influence", "leverages"],
)
def test_the_matrix_of_effects_is_never_held(large, ask):
    model, X, y = large
    with config_context(working_memory=16):
        assert peak_of(lambda: ask(model, X, y)) < 64


def test_the_full_result_is_held_once(large):
    model, X, y = large
    with config_context(working_memory=16):
        assert peak_of(lambda: model.influence_on_loss(X[:500], y[:500])) < 76 + 32


@pytest.mark.parametrize(
    "ask, what",
    [
        (lambda m, X, y: m.influence_on_loss(X, y), "Influence of 279 removals on the losses of 119 rows"),
        (lambda m, X, y: m.influence_on_output(X), "Influence of 279 removals on 119 rows with 1 outputs"),
        (lambda m, X, y: m.influence_on_params(), "Influence of 279 removals on 11 parameters"),
    ],
)
def test_results_that_do_not_fit_are_refused_before_work(monkeypatch, ask, what):
    case = cases.diabetes()
    keep = 279
    X_test, y_test = case.X_test[:119], case.y_test[:119]
    model = InfluenceEstimator(Ridge()).fit(case.X[:keep], case.y[:keep])
    model.leverages()
    monkeypatch.setattr(_backend, "physical_memory", lambda: 8 * 279 * 11 - 1)
    with pytest.raises(ValueError, match=f"{what} needs .*aggregate='mean'.*top_influences"):
        ask(model, X_test, y_test)
    assert model.influence_on_loss(X_test, y_test, aggregate="sum").shape == (keep,)


def test_high_leverage_warns_with_number_and_threshold():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    row, highest = model.leverages().argmax(), model.leverages().max()
    assert highest > 0.5
    with pytest.warns(
        UserWarning,
        match=rf"Row {row} has a leverage of {highest:.3g}, above 0.5: .* for it and one more. unlearn on a copy",
    ):
        model.influence_on_params()
    low = np.flatnonzero(model.leverages() < 0.4)[:5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.influence_on_params(low)
        InfluenceEstimator(Ridge(alpha=1e-9)).fit(case.X[:40], case.y[:40]).influence_on_params([0])


def test_the_only_row_of_a_class():
    case = cases.tiny_classification(n_classes=3)
    rows = np.concatenate([np.flatnonzero(case.y != 2), np.flatnonzero(case.y == 2)[:1]])
    model = InfluenceEstimator(LogisticRegression()).fit(case.X[rows], case.y[rows])
    last = len(rows) - 1
    with pytest.warns(UserWarning, match=f"row {last} is the only one of class 2 .*one-step estimate"):
        everything = model.influence_on_params()
    assert np.isfinite(everything).all()
    with pytest.raises(ValueError, match=f"row {last} is the only one of class 2"):
        model.influence_on_params([last])


def test_rough_groups_warn_with_number_and_threshold():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    groups = np.arange(len(case.y)) % 2
    with pytest.warns(UserWarning, match=r"for 2 of 2 groups: up to (\d+)% of the way is left \(threshold 10%\)"):
        steps = model.influence_on_params(groups=groups)
    for group, step in zip((0, 1), steps, strict=True):
        retrained = copy.deepcopy(model).unlearn(groups == group).params_ - model.params_
        assert np.linalg.norm(step - retrained) > 0.1 * np.linalg.norm(retrained)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(method="first_order").influence_on_params(groups=groups)
        mild = InfluenceEstimator(LogisticRegression(C=1e-3)).fit(case.X, case.y)
        mild.influence_on_params(groups=np.arange(len(case.y)) % 100)
        InfluenceEstimator(Ridge()).fit(case.X, case.y).influence_on_params(groups=groups)


def test_a_single_row_group_of_high_leverage_is_looked_at_too():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    groups = np.zeros(len(case.y))
    groups[model.leverages().argmax()] = 1
    groups[1::2] += 2 * (groups[1::2] == 0)
    with pytest.warns(UserWarning, match="rough estimate of a refit for"):
        model.influence_on_params(groups=groups)
