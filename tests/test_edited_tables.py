"""Corrected and added rows of tables as they are, through pipelines, and the whole pipeline's refit on them."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import retraining
import tables
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_influence import InfluenceEstimator
from sklearn_influence._validation import join_rows, take_rows

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:Found unknown categories")

TABLE = tables.happiness(n_train=150, n_test=40)
LOGISTIC = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000)
ROWS = [3, 17, 8]
PLACE = "a place that no other row names"


def corrected():
    """Other rows, one with a value that no transformer has seen; their labels; and the whole table with them."""
    X_new, y_new = TABLE.X_test.iloc[:3].copy(), 1 - TABLE.y.iloc[ROWS]
    X_new["region"] = X_new["region"].astype(object)
    X_new.loc[X_new.index[1], "region"] = PLACE
    X, y = TABLE.X.copy(), TABLE.y.copy()
    X["region"] = X["region"].astype(object)
    X.iloc[ROWS], y.iloc[ROWS] = X_new, y_new
    return X_new, y_new, X, y


def refit_of_the_model(model, X, y):
    """The final step's optimum on rows as the fitted transformers give them."""
    rows = model.estimator_[:-1].transform(X)
    rows = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
    return retraining.retrain(model.estimator_[-1], rows, np.asarray(y))


@pytest.mark.parametrize("estimator", [LOGISTIC, Ridge()], ids=["logistic", "ridge"])
def test_updates_and_additions_through_transformers_as_they_were(estimator):
    X_new, y_new, X, y = corrected()
    model = InfluenceEstimator(tables.pipeline(estimator)).fit(TABLE.X, TABLE.y)
    model.update(ROWS, X_new, y_new)
    np.testing.assert_allclose(model.params_, refit_of_the_model(model, X, y), atol=1e-9)
    (sentence,) = model.certificate_.remembers
    assert (
        sentence == "step 'prepare' of the pipeline (ColumnTransformer, fitted with the rows before their correction)"
    )
    model.extend(TABLE.X_test, TABLE.y_test)
    whole = pd.concat([X, TABLE.X_test]), pd.concat([y, TABLE.y_test])
    np.testing.assert_allclose(model.params_, refit_of_the_model(model, *whole), atol=1e-9)
    assert model.certificate_.remembers[0].endswith("fitted with the rows before this addition)")
    assert len(model._source.X) == len(model._source.y) == 190
    for place, row in enumerate(ROWS):  # each in its own place, whatever the order they are given in
        assert model._source.X.iloc[row]["prestige"] == X_new.iloc[place]["prestige"]
        assert model._source.y.iloc[row] == y_new.iloc[place]
    model.unlearn(np.arange(150, 190))
    np.testing.assert_allclose(model.params_, refit_of_the_model(model, X, y), atol=1e-9)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize("estimator", [LOGISTIC, Ridge()], ids=["logistic", "ridge"])
def test_refitted_transformers_are_the_whole_pipelines_refit(estimator, frame):
    X_new, y_new, X, y = corrected()
    if frame is pd.DataFrame:
        wrap, pipeline = (lambda part: part), tables.pipeline(estimator)
    else:
        wrap = lambda part: pl.from_pandas(part[["prestige", "region"]].astype({"region": str}).fillna(40.0))  # noqa: E731
        text = OneHotEncoder(handle_unknown="ignore")
        columns = ColumnTransformer(
            [("number", StandardScaler(), ["prestige"]), ("text", text, ["region"])], sparse_threshold=0
        )
        pipeline = make_pipeline(columns, estimator)
    model = InfluenceEstimator(pipeline).fit(wrap(TABLE.X), TABLE.y)
    model.update(ROWS, wrap(X_new), y_new, refit_transformers=True)
    refit = clone(model.estimator).fit(wrap(X), y)
    test = wrap(TABLE.X_test)
    answer = "decision_function" if estimator is LOGISTIC else "predict"
    np.testing.assert_allclose(getattr(model, answer)(test), getattr(refit, answer)(test), atol=1e-7)
    assert PLACE.encode() in pickle.dumps(model.estimator_)
    assert model.certificate_.remembers == []
    model.extend(test, TABLE.y_test, refit_transformers=True)
    refit = clone(model.estimator).fit(wrap(pd.concat([X, TABLE.X_test])), pd.concat([y, TABLE.y_test]))
    np.testing.assert_allclose(getattr(model, answer)(test), getattr(refit, answer)(test), atol=1e-7)
    assert model.certificate_.remembers == [] and model.certificate_.n_added == 40


def test_weights_of_rows_more_go_where_the_others_went():
    model = InfluenceEstimator(tables.pipeline(LOGISTIC))
    model.fit(TABLE.X, TABLE.y, model__sample_weight=TABLE.sample_weight)
    model.extend(TABLE.X_test, TABLE.y_test, np.full(40, 3.0), refit_transformers=True)
    weight = np.append(TABLE.sample_weight, np.full(40, 3.0))
    X, y = pd.concat([TABLE.X, TABLE.X_test]), pd.concat([TABLE.y, TABLE.y_test])
    refit = tables.pipeline(LOGISTIC).fit(X, y, model__sample_weight=weight)
    np.testing.assert_allclose(model.decision_function(TABLE.X), refit.decision_function(TABLE.X), atol=1e-7)
    np.testing.assert_array_equal(model._source.fit_params["model__sample_weight"], weight)


def test_what_only_fit_knows_of_every_row_cannot_be_extended():
    model = InfluenceEstimator(make_pipeline(StandardScaler(), LOGISTIC))
    X, y = TABLE.X[["prestige", "educ"]].fillna(0.0), TABLE.y
    model.fit(X, y, standardscaler__sample_weight=TABLE.sample_weight)
    before = model.params_
    with pytest.raises(ValueError, match=r"fit was given standardscaler__sample_weight .* extend has none"):
        model.extend(X[:3], y[:3])
    np.testing.assert_array_equal(model.params_, before)
    model.update([0], X[5:6])
    assert len(model._source.fit_params["standardscaler__sample_weight"]) == len(y)


def test_a_search_keeps_its_choice_and_says_so():
    search = GridSearchCV(tables.pipeline(LOGISTIC), {"model__C": [0.1, 1.0]}, cv=3)
    model = InfluenceEstimator(search).fit(TABLE.X, TABLE.y)
    chosen = model.estimator_.best_params_
    model.update(ROWS, y_new=1 - TABLE.y.iloc[ROWS]).extend(TABLE.X_test, TABLE.y_test)
    assert model.estimator_.best_params_ == chosen
    assert "best_params_, best_score_ and cv_results_ of GridSearchCV (chosen with the rows before this addition)" in (
        model.certificate_.remembers
    )


def test_errors_of_single_rows_are_unknown_for_other_rows():
    X, y = TABLE.X[["prestige", "educ"]].fillna(0.0), TABLE.y
    model = InfluenceEstimator(RidgeCV(store_cv_results=True)).fit(X, y)
    before = model.estimator_.cv_results_
    model.update([4], X[9:10]).extend(X[:2], y[:2])
    after = model.estimator_.cv_results_
    assert after.shape == (152, 3) and np.isnan(after[[4, 150, 151]]).all()
    np.testing.assert_array_equal(np.delete(after, [4, 150, 151], axis=0), np.delete(before, 4, axis=0))


def test_texts_are_corrected_and_added():
    texts = ["good day", "bad day", "good night", "bad night", "good luck", "bad luck"]
    labels = ["yes", "no"] * 3
    for container in (list, np.array, pd.Series, pl.Series):
        model = InfluenceEstimator(make_pipeline(CountVectorizer(), LOGISTIC)).fit(container(texts), labels)
        model.update([1], container(["awful weather"]), refit_transformers=True)
        model.extend(container(["fine weather"]), ["yes"], refit_transformers=True)
        refit = make_pipeline(CountVectorizer(), LOGISTIC)
        refit.fit([texts[0], "awful weather", *texts[2:], "fine weather"], [*labels, "yes"])
        np.testing.assert_allclose(model.decision_function(texts), refit.decision_function(texts), atol=1e-7)
        assert "bad day" not in list(model._source.X)


def test_rows_of_every_container_are_joined():
    A, B = np.arange(6.0).reshape(3, 2), np.arange(4.0).reshape(2, 2)
    both = np.vstack([A, B])
    for make in (np.asarray, sparse.csr_matrix, sparse.csc_array, lambda X: pd.DataFrame(X, columns=["a", "b"])):
        joined = join_rows(make(A), make(B))
        assert type(joined) in (type(make(A)), sparse.csr_array, sparse.csr_matrix)
        np.testing.assert_array_equal(joined.toarray() if sparse.issparse(joined) else np.asarray(joined), both)
    frame = pl.DataFrame({"a": A[:, 0], "b": A[:, 1]})
    np.testing.assert_array_equal(join_rows(frame, frame[1:]).to_numpy(), np.vstack([A, A[1:]]))
    np.testing.assert_array_equal(join_rows(frame["a"], frame["b"]).to_numpy(), np.append(A[:, 0], A[:, 1]))
    assert join_rows(["x"], np.array(["y"])) == ["x", "y"]
    # Columns come in any order, categories that are new are joined, and single precision stays.
    first = pd.DataFrame({"kind": pd.Categorical(["u", "v", "u"]), "x": np.float32([1, 2, 3])})
    second = pd.DataFrame({"x": np.float32([4, 5]), "kind": ["w", None]})
    joined = join_rows(first, second)
    assert list(joined.columns) == ["kind", "x"] and joined["x"].dtype == np.float32
    assert joined["kind"].tolist()[:4] == ["u", "v", "u", "w"] and joined["kind"].isna().sum() == 1
    assert list(joined["kind"].cat.categories) == ["u", "v", "w"]
    assert list(first["kind"].cat.categories) == ["u", "v"]
    assert len(take_rows(joined, [4, 0])) == 2


@pytest.mark.parametrize("estimator", [LOGISTIC, Ridge()], ids=["logistic", "ridge"])
def test_nothing_of_a_corrected_person_is_kept(estimator):
    X, y = TABLE.X.copy(), TABLE.y
    X["region"] = X["region"].astype(object)
    X.iloc[7, X.columns.get_loc("region")] = PLACE
    X.iloc[7, X.columns.get_loc("prestige")] = odd = -51.828125
    X.index = [f"person {i}" for i in range(len(X))]
    model = InfluenceEstimator(tables.pipeline(estimator)).fit(X, y)
    model.influence_on_params(), model.leverages()
    scaled = model.estimator_[0].transform(X[7:8])
    scaled = np.ravel(scaled.toarray() if sparse.issparse(scaled) else scaled)
    traces = [PLACE.encode(), np.float64(odd).tobytes(), scaled[np.abs(scaled) > 2][:1].tobytes()]
    assert all(len(trace) >= 8 and trace in pickle.dumps(model) for trace in traces)
    other = X[9:10].set_axis(["person 7"])
    model.update([7], other, y.iloc[9:10], refit_transformers=True)
    for _ in range(2):
        stored = pickle.dumps(vars(model) | {"estimator": None})
        assert not any(trace in stored for trace in traces)
        model.leverages(), model.influence_on_loss(aggregate="mean")
