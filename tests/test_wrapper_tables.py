"""Copies of wrapped pipelines, and that an edit leaves nothing of a removed row, raw or transformed."""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import tables
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from sklearn_influence import InfluenceEstimator, composite

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:Found unknown categories")

TABLE = tables.happiness(n_train=120, n_test=30)
LOGISTIC = LogisticRegression(solver="newton-cholesky", tol=1e-10)
RARE, OFTEN = "the far side of the moon, at night", -51.828125  # the latter a number without rounding
CROSS_FITTING = (
    TargetEncoder(cv=KFold(3, shuffle=True, random_state=0))
    if sklearn.__version__ >= "1.9"
    else TargetEncoder(random_state=0)
)


def mixed(model):
    text = OneHotEncoder(handle_unknown="ignore")
    columns = [("number", StandardScaler(), ["prestige"]), ("text", text, ["region"])]
    return make_pipeline(ColumnTransformer(columns, sparse_threshold=0), clone(model))


ESTIMATORS = {
    "pipeline": mixed(LOGISTIC),
    "sparse": mixed(LOGISTIC).set_params(columntransformer__sparse_threshold=1),
    "ridge": mixed(Ridge()),
    "search": GridSearchCV(mixed(RidgeClassifier()), {"ridgeclassifier__alpha": [1.0, 30.0]}, cv=2),
    "target encoder": make_pipeline(
        ColumnTransformer([("number", StandardScaler(), ["prestige"]), ("text", CROSS_FITTING, ["region"])]),
        LOGISTIC,
    ),
    "frozen": mixed(LOGISTIC),
}


def rows(container=pd.DataFrame):
    """Two columns, and a row in the middle with a number and a text of its own."""
    X = TABLE.X[["prestige", "region"]].astype({"region": object}).fillna({"prestige": 40.0})
    X.iloc[57] = [OFTEN, RARE]
    if container is pl.DataFrame:
        return pl.DataFrame({name: X[name].tolist() for name in X})
    return X if container is pd.DataFrame else X.astype({"region": container})


def fit(kind, X, y=TABLE.y, weight=None):
    estimator = clone(ESTIMATORS[kind])
    if kind == "frozen":
        estimator = FrozenEstimator(estimator.fit(X, y))
    return InfluenceEstimator(estimator).fit(X, y, sample_weight=weight)


def answers(model, X):
    return [
        model.params_,
        model.sample_indices_,
        np.asarray(model.predict(X)),
        model.influence_on_params(),
        model.influence_on_loss(X, TABLE.y[: len(X)]),
        model.leverages(),
    ]


def same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model)), "joblib": dumped}


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_copies_answer_the_same_and_share_no_edit(kind, duplicate):
    duplicate, X = COPIES[duplicate], rows()
    model = fit(kind, X)
    before = answers(model, X[:20])
    same(answers(duplicate(model), X[:20]), before)
    edited = duplicate(model).unlearn([2, 57])
    whole = duplicate(model).unlearn([2, 57], refit_transformers=True)
    same(answers(model, X[:20]), before)
    for one in (edited, whole):
        again = duplicate(one)
        same(answers(again, X[:20]), answers(one, X[:20]))
        assert dict(again.certificate_) == dict(one.certificate_)
        further = copy.deepcopy(one).unlearn([3, 119], refit_transformers=True)
        same(answers(again.unlearn([3, 119], refit_transformers=True), X[:20]), answers(further, X[:20]))
        with pytest.raises(ValueError, match="row 57 has already been removed"):
            again.unlearn([57])


def test_a_shallow_copys_edit_leaves_the_original():
    model, X = fit("pipeline", rows()), rows()
    before = answers(model, X[:20])
    copy.copy(model).unlearn([1, 57])
    same(answers(model, X[:20]), before)
    copy.copy(model).unlearn([1, 57], refit_transformers=True)
    same(answers(model, X[:20]), before)


def remains(model):
    """Pickled: what the object stores, without the fitted transformers and the search's record."""
    state = {name: value for name, value in vars(model).items() if name not in ("estimator", "estimator_")}
    return pickle.dumps([state, composite.final_step(model.estimator_)])


def _traces(X, weight):
    """Bytes that a pickle with the planted row holds: its number, text, weight, and its row after scaling."""
    number = np.asarray(X["prestige"], dtype=float)
    scaled = (StandardScaler().fit_transform(number[:, None]))[57, 0]
    return {
        "number": np.float64(OFTEN).tobytes(),
        "text": RARE.encode(),
        "weight": np.float64(weight[57]).tobytes(),
        "scaled number": np.float64(scaled).tobytes(),
    }


@pytest.mark.parametrize("container", [pd.DataFrame, "str", "string", "string[pyarrow]", pl.DataFrame], ids=str)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_nothing_of_a_removed_row_is_kept(kind, container):
    X, weight = rows(container), np.ones(120)
    weight[57] = 0.7890625
    X = X if container is pl.DataFrame else X.set_axis([f"person {i}" for i in range(120)], axis=0)
    frozen = kind == "frozen"
    model = fit(kind, X, weight=None if frozen else weight)
    traces = _traces(X, weight)
    if frozen:
        del traces["weight"]
    if container is not pl.DataFrame:
        traces["name"] = b"person 57"
    stored = remains(model)
    assert all(trace in stored for trace in traces.values())  # or nothing could be gone
    answers(model, X[:20])
    whole = copy.deepcopy(model).unlearn([57], refit_transformers=True)
    model.unlearn([57])
    for _ in range(2):
        for edited in (model, whole):
            assert not [name for name, trace in traces.items() if trace in remains(edited)]
            answers(edited, X[:20])
    # The transformers hold it until they are refitted, and that is said.
    assert RARE.encode() in pickle.dumps(model.estimator_)
    assert "step 'columntransformer' of the pipeline" in " ".join(model.certificate_.remembers)
    entire = pickle.dumps([vars(whole) | {"estimator": None}])
    if kind != "search":  # and its record of folds
        assert not [name for name, trace in traces.items() if trace in entire]
        assert [text for text in whole.certificate_.remembers if "FrozenEstimator" not in text] == []


@pytest.mark.parametrize("container", [list, pd.Series, pl.Series], ids=["list", "pandas", "polars"])
def test_nothing_of_a_removed_document_is_kept(container):
    texts = TABLE.X[["workstat", "region", "attend"]].astype(object).fillna("none").agg(" ".join, axis=1).tolist()
    texts[57] = RARE
    y = TABLE.y.to_numpy().astype(float)
    y[57] = OFTEN
    model = InfluenceEstimator(make_pipeline(TfidfVectorizer(), Ridge())).fit(container(texts), container(y.tolist()))
    traces = [RARE.encode(), b"moon", np.float64(OFTEN).tobytes()]
    assert all(trace in pickle.dumps(model) for trace in traces[:2]) and traces[2] in remains(model)
    edited = copy.deepcopy(model).unlearn([57])
    assert not any(trace in remains(edited) for trace in traces)
    model.unlearn([57], refit_transformers=True)
    assert not any(trace in pickle.dumps(model) for trace in traces)
