"""What callers pass as replacements: each way to go wrong, read aloud; pipelines, frames and edits."""

import numpy as np
import pandas as pd
import pytest
from contract import BINARY, LINE, TARGETS, THREE, close
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_influence import InfluenceEstimator, _backend

X, y = LINE.X, LINE.y
RIDGE = InfluenceEstimator(Ridge()).fit(X, y)
LOGISTIC = InfluenceEstimator(LogisticRegression()).fit(BINARY.X, BINARY.y)
WRONG = {
    "features too few": (
        RIDGE,
        dict(indices=[1, 2], X_new=X[:1]),
        r"X_new must hold one row for each of the 2 rows in indices.*got 1",
    ),
    "targets too many": (
        RIDGE,
        dict(indices=[1], y_new=y[:3]),
        r"y_new must hold one row for each of the 1 rows in indices.*got 3",
    ),
    "no indices": (RIDGE, dict(y_new=y[:3]), r"each of the 40 rows still in the model, in their order; got 3"),
    "one number": (RIDGE, dict(indices=[1], y_new=5.0), "y_new must hold one row for each.*got a single value"),
    "columns": (RIDGE, dict(indices=[1], X_new=X[:1, :3]), "X_new cannot be used: X has 3 features, but"),
    "one row as a vector": (RIDGE, dict(indices=[1], X_new=[0.0]), "X_new cannot be used: Expected 2D array"),
    "nan in X": (RIDGE, dict(indices=[1], X_new=[[np.nan] * 5]), "X_new cannot be used: Input X contains NaN"),
    "nan in y": (RIDGE, dict(indices=[1], y_new=[np.nan]), "y_new cannot be used: Input y contains NaN"),
    "text": (RIDGE, dict(indices=[1], y_new=["a"]), "y_new cannot be used: .*'a'"),
    "unseen label": (LOGISTIC, dict(indices=[1], y_new=[7]), "y_new cannot be used: .*7"),
    "groups": (RIDGE, dict(groups=np.arange(40), X_new=X), "either groups or X_new, not both"),
    "groups and both": (
        RIDGE,
        dict(groups=np.arange(40), X_new=X, y_new=y),
        "either groups or X_new and y_new, not both",
    ),
    "twice": (RIDGE, dict(indices=[1, 1], y_new=y[:2]), "holds row 1 more than once"),
    "out of range": (RIDGE, dict(indices=[40], y_new=y[:1]), "0 to 39; got 40"),
}


@pytest.mark.parametrize("case", WRONG)
def test_replacements_that_cannot_be_used(case):
    model, arguments, message = WRONG[case]
    test = (BINARY.X_test, BINARY.y_test) if model is LOGISTIC else (LINE.X_test, LINE.y_test)
    for ask in (
        lambda: model.influence_on_params(**arguments),
        lambda: model.influence_on_output(test[0], **arguments),
        lambda: model.influence_on_loss(*test, **arguments),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_the_second_order_expansion_is_one_of_removals():
    model = InfluenceEstimator(LogisticRegression(), method="second_order").fit(BINARY.X, BINARY.y)
    with pytest.raises(ValueError, match=r"'second_order' and X_new and y_new do not go together.*'newton' or"):
        model.influence_on_params([0], X_new=BINARY.X[:1], y_new=[0])
    with pytest.raises(ValueError, match="'second_order' and relabel_effects do not go together"):
        model.relabel_effects(BINARY.X_test, BINARY.y_test)


def test_targets_of_another_number():
    model = InfluenceEstimator(Ridge()).fit(TARGETS.X, TARGETS.y)
    with pytest.raises(ValueError, match="y_new cannot be used: y has 2 targets, but the model was fitted on 3"):
        model.influence_on_params([0], y_new=np.ones((1, 2)))


def test_removed_rows_are_not_replaced_and_the_others_keep_their_numbers():
    model = InfluenceEstimator(Ridge()).fit(X, y).unlearn([0, 5])
    with pytest.raises(ValueError, match="row 5 has already been removed"):
        model.influence_on_params([5], y_new=[1.0])
    kept = np.delete(np.arange(40), [0, 5])
    fresh = InfluenceEstimator(Ridge()).fit(X[kept], y[kept])
    close(model.influence_on_params([7], y_new=[1.0]), fresh.influence_on_params([5], y_new=[1.0]), 1e-8)
    assert model.influence_on_params(y_new=y[kept]).shape == (38, 6)


def test_results_that_do_not_fit_are_refused_before_work(monkeypatch):
    monkeypatch.setattr(_backend, "physical_memory", lambda: 8 * 40 * 12 - 1)
    with pytest.raises(ValueError, match="Influence of 40 replacements on the losses of 12 rows needs"):
        RIDGE.influence_on_loss(LINE.X_test, LINE.y_test, y_new=y)


def test_a_pipeline_takes_raw_rows():
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"age": rng.normal(40, 9, 50), "town": rng.choice(list("abc"), 50)})
    label = np.where(people["age"] + rng.normal(0, 9, 50) > 40, "yes", "no")
    prepare = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["town"]))
    model = InfluenceEstimator(make_pipeline(prepare, LogisticRegression(tol=1e-10))).fit(people, label)
    rows = prepare.fit_transform(people)
    plain = InfluenceEstimator(LogisticRegression(tol=1e-10)).fit(rows, label)
    new = pd.DataFrame({"age": [55.0, 23.0], "town": ["c", "a"]})
    given = dict(indices=[3, 9], y_new=["yes", "yes"])
    expected = plain.influence_on_params(X_new=prepare.transform(new), **given)
    close(model.influence_on_params(X_new=new, **given), expected, 1e-8)
    with pytest.raises(ValueError, match=r"X_new cannot be used: .*unknown categories"):
        model.influence_on_params([3], X_new=new.assign(town="elsewhere")[:1])
    with pytest.raises(ValueError, match=r"X_new cannot be used: .*town"):
        model.influence_on_params([3], X_new=new[["age"]][:1])


def test_labels_are_encoded_as_the_family_does():
    names = np.array(["x", "y", "z"])
    model = InfluenceEstimator(LogisticRegression()).fit(THREE.X, names[THREE.y])
    numbers = InfluenceEstimator(LogisticRegression()).fit(THREE.X, THREE.y)
    close(model.influence_on_params([4], y_new=["z"]), numbers.influence_on_params([4], y_new=pd.Series([2])), 1e-9)
