"""What removals really do: every measured number is that of scikit-learn's own refit."""

import cases
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_influence import InfluenceEstimator, audit
from sklearn_influence._report import checks, removal
from sklearn_influence.diagnostics import sample_losses

TIGHT = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12)


@pytest.fixture(scope="module")
def diabetes():
    case = cases.diabetes()
    return case, InfluenceEstimator(Ridge()).fit(case.X, case.y)


def change(estimator, X, y, X_val, y_val, kept):
    """Of the mean validation loss, by refits with and without the rows that are not kept."""
    after, before = (estimator.fit(X[rows], y[rows]) for rows in (slice(None), slice(None)))
    before = sample_losses(estimator.fit(X, y), X_val, y_val).mean()
    after = sample_losses(estimator.fit(X[kept], y[kept]), X_val, y_val).mean()
    return after - before


def test_groups_are_left_out_whole(diabetes):
    case, model = diabetes
    labels = np.array(["north", "south", "west"])[np.arange(len(case.y)) % 3]
    report = audit(model, case.X_test, case.y_test, k=3, n_random=1, groups=labels)
    found = report.groups
    single = model.influence_on_loss(case.X_test, case.y_test, aggregate="mean")
    assert found["summed"] is None and found["staying"] == []
    assert np.all(np.diff(found["effect"]) >= 0)
    for place, label in enumerate(found["label"]):
        exact = change(Ridge(), case.X, case.y, case.X_test, case.y_test, labels != label)
        assert_allclose(found["effect"][place], exact, rtol=1e-6)
        assert_allclose(found["effect_sum"][place], single[labels == label].sum())
    assert "Groups left out whole" in str(report) and "measured by unlearning" in str(report)


def test_many_large_groups_are_summed_and_it_is_said(diabetes, monkeypatch):
    case, model = diabetes
    monkeypatch.setattr(removal, "GROUP_WORK", 1000.0)
    labels = np.arange(len(case.y)) % 50
    report = audit(model, case.X_test, case.y_test, k=3, n_random=1, groups=labels)
    assert_array_equal(report.groups["effect"], report.groups["effect_sum"])
    text = " ".join(str(report).split())
    assert "since a refit without each of 50 groups would take too long" in text
    assert "The 3 at either end of 50:" in text


def test_a_group_that_cannot_leave_spoils_no_other():
    case = cases.wine()
    model = InfluenceEstimator(TIGHT).fit(case.X, case.y)
    labels = np.where(case.y == 2, "all of 2", np.array(["a", "b"])[np.arange(len(case.y)) % 2])
    report = audit(model, case.X_test, case.y_test, k=3, n_random=1, groups=labels)
    found = report.groups
    assert found["label"].tolist()[-1] == "all of 2" and np.isnan(found["effect"][-1])
    assert found["staying"][0]["label"] == "all of 2" and "class 2" in found["staying"][0]["reason"]
    for label, effect in zip(found["label"][:2], found["effect"], strict=False):
        exact = change(TIGHT, case.X, case.y, case.X_test, case.y_test, labels != label)
        assert_allclose(effect, exact, rtol=1e-6)
    assert max(map(len, str(report).splitlines())) <= 100
    assert report.to_dict()["groups"]["effect"][-1] is None


def test_listed_rows_are_refitted(monkeypatch):
    case = cases.breast_cancer()
    model = InfluenceEstimator(TIGHT).fit(case.X, case.y)
    report = audit(model, case.X_test, case.y_test, X_train=case.X, y_train=case.y, k=4, n_random=1)
    refitted, effect = report.rows["refitted_effect"], report.rows["effect"]
    assert_array_equal(np.flatnonzero(~np.isnan(refitted)), [0, 1, 2, 3, 394, 395, 396, 397])
    for place in (0, 3, 397):
        kept = np.arange(398) != report.rows["position"][place]
        assert_allclose(refitted[place], change(TIGHT, case.X, case.y, case.X_test, case.y_test, kept), rtol=1e-6)
    off = np.abs(effect - refitted) / np.abs(refitted)
    said = " ".join(str(report).split())
    assert f"off by {np.nanmedian(off):.1%} of the refit in the median, by {np.nanmax(off):.0%} at most" in said
    monkeypatch.setattr(removal, "ROW_WORK", 1.0)
    report = audit(model, case.X_test, case.y_test, k=4, n_random=1)
    assert "refitted_effect" not in report.rows and "refit" not in str(report).split("Unlearning")[0]


def test_a_category_that_leaves_takes_its_coefficient_along():
    """Rows of one town have flipped labels: each hurts alone, while all of them carry what is known of that town."""
    rng = np.random.default_rng(0)
    n = 600
    frame = pd.DataFrame({"town": rng.choice(["Bern", "Rome", "Ulm"], n), "kind": rng.choice(list("ab"), n)})
    y = ((frame["kind"] == "a") ^ (frame["town"] == "Ulm") ^ (rng.random(n) < 0.1)).to_numpy().astype(int)
    train, rest = np.arange(400), np.arange(400, n)
    pipeline = make_pipeline(OneHotEncoder(), TIGHT)
    model = InfluenceEstimator(pipeline).fit(frame.iloc[train], y[train])
    held = frame.iloc[rest], y[rest]
    report = audit(model, *held, X_train=frame.iloc[train], y_train=y[train], k=5, n_random=1)
    table = report.slices
    X, X_val = (model.estimator_[:-1].transform(frame.iloc[rows]) for rows in (train, rest))
    for i in range(len(table["rows"])):
        kept = (frame[table["column"][i]] != table["value"][i]).to_numpy()[train]
        exact = change(TIGHT, X, y[train], X_val, y[rest], kept)
        assert_allclose(table["measured"][i], exact, rtol=1e-6)
        assert table["measured_error"][i] > 0
    hurt, carry = checks.clear_slices(table, 5)
    assert len(hurt) == 0 or (table["measured"][hurt] < 0).all()
    assert set(table["value"][carry]) <= set("ab") | {"Bern", "Rome", "Ulm"} and (table["measured"][carry] > 0).all()


def test_slices_too_dear_to_refit_are_summed(monkeypatch):
    case = cases.breast_cancer()
    frame = pd.DataFrame(case.X).assign(flag=case.X[:, 0] > 0)
    frame.columns = frame.columns.astype(str)
    model = InfluenceEstimator(TIGHT).fit(frame, case.y)
    monkeypatch.setattr(removal, "SLICE_WORK", 1.0)
    test = pd.DataFrame(case.X_test).assign(flag=case.X_test[:, 0] > 0)
    test.columns = frame.columns
    report = audit(model, test, case.y_test, X_train=frame, y_train=case.y, k=3, n_random=1)
    assert np.isnan(report.slices["measured"]).all()
    assert "would take too long" in str(report)


@pytest.mark.parametrize("dtype", ["str", "object", "category"])
def test_text_labels_of_any_type(dtype):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)).round(0), columns=["p", "q"])
    y = pd.Series(["a", "b"] * 30, dtype=dtype)
    model = InfluenceEstimator(TIGHT).fit(frame[:40], y[:40])
    report = audit(model, frame[40:], y[40:], X_train=frame[:40], y_train=y[:40], k=3, n_random=1)
    assert report.duplicates["contradicting_sets"] > 0
