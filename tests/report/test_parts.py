"""Parts of an audit that no other test reaches: titles, held-out rows, groups that cannot be used."""

import cases
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
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


@pytest.mark.parametrize(
    "groups, message",
    [
        ([1, 2], r"one label per row given to fit, and to extend since: expected shape \(309,\)"),
        ([None] * 309, "groups holds a missing label"),
        (["one"] * 309, "groups has one label only"),
    ],
)
def test_groups_that_do_not_fit_are_refused_before_work(diabetes, groups, message):
    case, model = diabetes
    with pytest.raises(ValueError, match=message):
        audit(model, case.X_test, case.y_test, groups=groups)


def test_held_out_rows_come_by_their_loss(diabetes):
    case, model = diabetes
    half = len(case.y_test) // 2
    report = audit(model, case.X_test[:half], case.y_test[:half], X_test=case.X_test[half:], y_test=case.y_test[half:])
    found = report.held_out
    loss = 0.5 * (model.predict(case.X_test) - case.y_test) ** 2
    order = np.argsort(-loss)
    assert_allclose(found["loss"], loss[order])
    assert_array_equal(found["part"] == "test", order >= half)
    assert_array_equal(found["row"], np.where(order < half, order, order - half))
    named = {"val_names": [f"v{i}" for i in range(half)], "test_names": np.arange(len(order) - half) + 1000}
    test = {"X_test": case.X_test[half:], "y_test": case.y_test[half:]}
    rows = audit(model, case.X_test[:half], case.y_test[:half], **test, **named, n_random=1, k=2).held_out["row"]
    assert [str(row) for row in rows] == [f"v{i}" if i < half else str(1000 + i - half) for i in order]
    with pytest.raises(ValueError, match="the validation rows are 66, but 1 names were given"):
        audit(model, case.X_test[:half], case.y_test[:half], val_names=["v"])
    assert_allclose(found["label"], case.y_test[order])
    assert_allclose(found["prediction"], model.predict(case.X_test)[order])


def test_a_frozen_model_is_not_cross_validated():
    case = cases.breast_cancer()
    frozen = FrozenEstimator(LogisticRegression(C=0.1).fit(case.X, case.y))
    model = InfluenceEstimator(frozen).fit(case.X, case.y)
    report = audit(model, case.X_test, case.y_test, X_train=case.X, y_train=case.y, k=3, n_random=1)
    assert report.cross_validation["missing"] == "a frozen model is never fitted again"
