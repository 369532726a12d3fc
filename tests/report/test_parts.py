"""Parts of an audit that no other test reaches: titles, and groups against direct calls."""

import cases
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator, audit
from sklearn_influence._report import parts


def test_titles_are_one_line():
    assert parts.title(Ridge(alpha=2.0)) == "Ridge(alpha=2.0)"
    pipeline = make_pipeline(StandardScaler(), Ridge())
    assert parts.title(pipeline) == "Ridge() after StandardScaler"
    search = GridSearchCV(pipeline, {"ridge__alpha": [3.0]}, cv=2).fit(np.eye(4), np.arange(4.0))
    assert parts.title(search) == "Ridge(alpha=3.0) after StandardScaler"
    assert "\n" not in parts.title(LogisticRegression(class_weight={i: 1.0 for i in range(40)}))


@pytest.fixture(scope="module")
def diabetes():
    case = cases.diabetes()
    return case, InfluenceEstimator(Ridge()).fit(case.X, case.y)


def test_groups_are_left_out_whole(diabetes):
    case, model = diabetes
    labels = np.array(["north", "south", "west"])[np.arange(len(case.y)) % 3]
    report = audit(model, case.X_test, case.y_test, k=3, n_random=1, groups=labels)
    found = report.groups
    direct = model.influence_on_loss(case.X_test, case.y_test, groups=labels, aggregate="mean")
    single = model.influence_on_loss(case.X_test, case.y_test, aggregate="mean")
    assert found["summed"] is None and found["rough"] is None
    assert np.all(np.diff(found["effect"]) >= 0)
    for place, label in enumerate(found["label"]):
        assert_allclose(found["effect"][place], direct[["north", "south", "west"].index(label)])
        assert_allclose(found["effect_sum"][place], single[labels == label].sum())
        # The truth: a refit on the other rows.
        kept = labels != label
        losses = [
            0.5 * np.mean((Ridge().fit(case.X[rows], case.y[rows]).predict(case.X_test) - case.y_test) ** 2)
            for rows in (kept, slice(None))
        ]
        assert_allclose(found["effect"][place], losses[0] - losses[1], rtol=1e-6)
    assert "Groups left out whole" in str(report) and "One Newton step" in str(report)


def test_many_large_groups_are_summed_and_it_is_said(diabetes, monkeypatch):
    case, model = diabetes
    monkeypatch.setattr(parts, "_GROUP_WORK", 1000.0)
    labels = np.arange(len(case.y)) % 50
    report = audit(model, case.X_test, case.y_test, k=3, n_random=1, groups=labels)
    assert_array_equal(report.groups["effect"], report.groups["effect_sum"])
    text = " ".join(str(report).split())
    assert "which is an approximation (a Newton step for each of 50 groups would take too long)" in text
    assert "The 3 at either end of 50:" in text


def test_a_group_that_is_a_class_is_summed_and_it_is_said():
    case = cases.wine()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    report = audit(model, case.X_test, case.y_test, k=3, n_random=1, groups=case.y)
    assert "would remove every row" in report.groups["summed"]
    assert max(map(len, str(report).splitlines())) <= 100


@pytest.mark.parametrize(
    "groups, message",
    [
        ([1, 2], r"one label per row given to fit: expected shape \(309,\)"),
        ([None] * 309, "groups holds a missing label"),
    ],
)
def test_groups_that_do_not_fit_are_refused_before_work(diabetes, groups, message):
    case, model = diabetes
    with pytest.raises(ValueError, match=message):
        audit(model, case.X_test, case.y_test, groups=groups)
