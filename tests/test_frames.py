"""Data of every kind: the answers are those for the same numbers in float64, around a bare model and a pipeline."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import tables
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, OneHotEncoder, StandardScaler

from sklearn_influence import InfluenceEstimator

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")
import frames  # noqa: E402  its tables are made of both

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*singular.*", "ignore:.*rough estimate.*"),
    pytest.mark.filterwarnings("ignore:Found unknown categories", "ignore:.*converted to a numpy array.*"),
    pytest.mark.filterwarnings("ignore:pandas.DataFrame with sparse columns"),
]

LOGISTIC = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-8)  # soon there, and all begins with a fit
MODELS = {"bare": LOGISTIC, "pipeline": make_pipeline(MaxAbsScaler(), LOGISTIC)}
GONE = [3, 10, 59]


def answers(model, X, y):
    """What a fitted model says of test rows, before and after edits and through copies."""
    copied, edited = pickle.loads(pickle.dumps(model)), copy.deepcopy(model).unlearn(GONE)
    found = {
        **_questions(model, X, y, ""),
        "of a copy": copied.influence_on_loss(X, y, [5, 1]),
        **_questions(edited, X, y, "unlearned: "),
        "unlearned: outputs": _raw(edited, X),
    }
    if len(getattr(model.estimator_, "steps", [])):
        whole = copied.unlearn(GONE, refit_transformers=True)
        found |= {**_questions(whole, X, y, "all refitted: "), "all refitted: outputs": _raw(whole, X)}
    return found


def _questions(model, X, y, when):
    top = model.top_influences(X, y, k=3)
    return {
        when + "params": model.params_,
        when + "on params": model.influence_on_params(),
        when + "on loss": model.influence_on_loss(X, y),
        when + "on mean loss": model.influence_on_loss(X, y, aggregate="mean"),
        when + "top": top.influences,
        when + "own": model.self_influence(),
    }


def _raw(model, X):
    raw = np.asarray(model.decision_function(X) if hasattr(model, "decision_function") else model.predict(X))
    return raw[:, 0] if raw.shape[1:] == (1,) else raw  # as from targets in a frame of one column


def same(found, expected, atol):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=atol * max(scale, 1e-3), err_msg=name)


_EXPECTED = {}


def _plain(kind, estimator, X, y, X_test, y_test):
    """Answers for float64 rows, worked out once for each kind of model and data."""
    if kind not in _EXPECTED:
        model = InfluenceEstimator(clone(estimator)).fit(X, y)
        _EXPECTED[kind] = answers(model, X_test, y_test)
    return _EXPECTED[kind]


# ---------------------------------------------------------------------------------------------------
# Numbers in every container
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*frames.SAME, *frames.SINGLE])
@pytest.mark.parametrize("kind", MODELS)
def test_rows_in_any_container(kind, name):
    X, X_test = frames.PLAIN, frames.PLAIN_TEST
    make = {**frames.SAME, **frames.SINGLE}[name]
    expected = _plain(kind, MODELS[kind], X, frames.LABELS, X_test, frames.LABELS_TEST)
    model = InfluenceEstimator(clone(MODELS[kind])).fit(make(X), frames.LABELS)
    assert model.n_features_in_ == 6 and model.n_samples_fit_ == frames.N
    same(answers(model, make(X_test), frames.LABELS_TEST), expected, 1e-10 if name in frames.SAME else 1e-3)


@pytest.mark.parametrize("name", [*frames.INTEGERS, *frames.TRUTHS])
@pytest.mark.parametrize("kind", MODELS)
def test_integers_and_truths(kind, name):
    """uint8 above all, whose own arithmetic would go round at 256 and below 0."""
    read = np.abs if name in frames.INTEGERS else np.signbit
    X, X_test = (
        np.where(read(part) > 0, np.ceil(np.abs(part)) * (9 if name in frames.INTEGERS else 0) + 1.0, 0.0)
        for part in (frames.PLAIN, frames.PLAIN_TEST)
    )
    X, X_test = np.minimum(X, 127), np.minimum(X_test, 127)
    make = {**frames.INTEGERS, **frames.TRUTHS}[name]
    assert np.array_equal(np.asarray(make(X).astype(float).todense() if sparse.issparse(make(X)) else make(X)), X)
    group = "integers" if name in frames.INTEGERS else "truths"
    expected = _plain((kind, group), MODELS[kind], X, frames.LABELS, X_test, frames.LABELS_TEST)
    model = InfluenceEstimator(clone(MODELS[kind])).fit(make(X), frames.LABELS)
    same(answers(model, make(X_test), frames.LABELS_TEST), expected, 1e-10)


@pytest.mark.parametrize("fitted", ["polars", "csc", "pandas nullable"])
def test_test_rows_may_come_in_another_container(fitted):
    X, X_test, y_test = frames.PLAIN, frames.PLAIN_TEST, frames.LABELS_TEST
    model = InfluenceEstimator(LOGISTIC).fit(frames.SAME[fitted](X), frames.LABELS)
    expected = model.influence_on_loss(frames.SAME[fitted](X_test), y_test)
    others = ["pandas", "polars"] if fitted != "csc" else ["list", "coo array", "fortran order"]
    for other in others:
        np.testing.assert_allclose(model.influence_on_loss(frames.SAME[other](X_test), y_test), expected, atol=1e-12)


# ---------------------------------------------------------------------------------------------------
# Labels and targets
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*frames.LABELLED, *frames.TWO_LABELS])
@pytest.mark.parametrize("kind", MODELS)
def test_labels_of_any_type(kind, name):
    make = {**frames.LABELLED, **frames.TWO_LABELS}[name]
    y, y_test = frames.LABELS, frames.LABELS_TEST
    if name in frames.TWO_LABELS:
        y, y_test = np.minimum(y, 1), np.minimum(y_test, 1)
    group = (kind, "three" if name in frames.LABELLED else "two")
    expected = _plain(group, MODELS[kind], frames.PLAIN, y, frames.PLAIN_TEST, y_test)
    model = InfluenceEstimator(clone(MODELS[kind])).fit(frames.pandas(frames.PLAIN), make(y))
    same(answers(model, frames.pandas(frames.PLAIN_TEST), make(y_test)), expected, 1e-10)
    assert len(model.classes_) == len(np.unique(y)) and set(model.predict(frames.pandas(frames.PLAIN))) <= set(
        model.classes_
    )


@pytest.mark.parametrize("name", frames.NUMBERS)
@pytest.mark.parametrize("kind", ["bare", "pipeline"])
def test_targets_of_any_type(kind, name):
    estimator = Ridge() if kind == "bare" else make_pipeline(StandardScaler(), LinearRegression())
    truth = "bool" in name
    y, y_test = ((part > 0).astype(float) if truth else part + 3.0 for part in (frames.LABELS, frames.LABELS_TEST))
    X, X_test = frames.PLAIN, frames.PLAIN_TEST
    expected = _plain((kind, truth), estimator, X, y, X_test, y_test)
    make = frames.NUMBERS[name]
    model = InfluenceEstimator(clone(estimator)).fit(X, make(y))
    same(answers(model, X_test, make(y_test)), expected, 1e-10)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, list], ids=["pandas", "polars", "list"])
def test_several_targets(make):
    X, Y = frames.PLAIN, np.column_stack([frames.LABELS, frames.PLAIN[:, 4] + frames.LABELS**2])
    Y_test = Y[:25]
    for kind, estimator in (("bare", Ridge()), ("pipeline", make_pipeline(StandardScaler(), Ridge()))):
        expected = _plain((kind, "targets"), estimator, X, Y, frames.PLAIN_TEST, Y_test)
        model = InfluenceEstimator(estimator).fit(X, make(Y))
        same(answers(model, frames.PLAIN_TEST, make(Y_test)), expected, 1e-10)


WEIGHTS = np.arange(60) % 5 / 2.0
WEIGHED = {
    "list": list,
    "float32": lambda w: w.astype(np.float32),
    "doubled uint8": lambda w: (2 * w).astype(np.uint8),
    "series": lambda w: pd.Series(w, index=np.arange(60)[::-1]),
    "series Float64": lambda w: pd.Series(w, dtype="Float64"),
    "polars": pl.Series,
    "objects": lambda w: w.astype(object),
}


@pytest.mark.parametrize("name", WEIGHED)
@pytest.mark.parametrize("kind", MODELS)
def test_weights_in_any_container(kind, name):
    X, y, X_test, y_test = frames.PLAIN, frames.LABELS, frames.PLAIN_TEST, frames.LABELS_TEST
    weight = np.asarray(WEIGHED[name](WEIGHTS), dtype=float)
    plain = InfluenceEstimator(MODELS[kind]).fit(X, y, sample_weight=weight)
    given = WEIGHED[name](WEIGHTS)
    model = InfluenceEstimator(MODELS[kind]).fit(frames.pandas(X), y, sample_weight=given)
    found = answers(model, frames.pandas(X_test), y_test)
    same(found, answers(plain, X_test, y_test), 1e-10)
    mean = model.influence_on_loss(sample_weight=given, aggregate="mean")
    np.testing.assert_allclose(mean, plain.influence_on_loss(sample_weight=weight, aggregate="mean"), atol=1e-12)


# ---------------------------------------------------------------------------------------------------
# A real table of mixed columns
# ---------------------------------------------------------------------------------------------------
TABLE = tables.happiness()
TEXT = [name for name in tables.COLUMNS if not pd.api.types.is_numeric_dtype(TABLE.X[name])]
NUMERIC = [name for name in tables.COLUMNS if name not in TEXT]
TRUTHS = ["female", "black"]  # and unem10, of which some are missing


def _retyped(X, columns, dtype):
    return X.astype(dict.fromkeys(columns, dtype))


def _polars(X, **types):
    return pl.from_pandas(X.astype(dict.fromkeys(TEXT, "string"))).cast(types)


TYPED = {
    "as read": lambda X: X,
    "objects": lambda X: _retyped(X, TEXT, object),
    "categories": lambda X: _retyped(X, TEXT, "category"),
    **({"str": lambda X: _retyped(X, TEXT, "str")} if pd.__version__ >= "3" else {}),  # before, str(NaN) is text
    "nullable numbers": lambda X: _retyped(X, NUMERIC, "Float64"),
    "nullable integers": lambda X: _retyped(X, ["prestige", "educ", "unem10"], "Int64"),
    "truths": lambda X: _retyped(X, TRUTHS, bool),
    "nullable truths": lambda X: _retyped(X, [*TRUTHS, "unem10"], "boolean"),
    "small integers": lambda X: _retyped(X, TRUTHS, "uint8"),
    "numeric categories": lambda X: _retyped(X, [*TRUTHS, "educ"], "category"),
    "float32 beside integers": lambda X: _retyped(X, ["prestige", "educ", "tvhours"], "float32"),
    "arrow numbers": lambda X: _retyped(X, NUMERIC, "float64[pyarrow]"),
    "shuffled index": lambda X: X.set_axis(np.random.default_rng(0).permutation(len(X)), axis=0),
    "polars": _polars,
    "polars categories": lambda X: _polars(X, **dict.fromkeys(TEXT, pl.Categorical)),
    "polars truths": lambda X: _polars(X, **dict.fromkeys([*TRUTHS, "unem10"], pl.Boolean)),
    "polars float32": lambda X: _polars(X, prestige=pl.Float32, educ=pl.Float32, tvhours=pl.Float32),
}


def pipeline(model):
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    text = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(ColumnTransformer([("numbers", numbers, NUMERIC), ("text", text, TEXT)]), clone(model))


BINARY = LogisticRegression(solver="newton-cholesky", tol=1e-10)


@pytest.mark.parametrize("name", TYPED)
def test_a_real_table_of_any_types(name):
    """Against the matrix made by hand of the table as read; float32 columns leave digits out."""
    X, X_test, y, y_test = TABLE.X, TABLE.X_test, TABLE.y.to_numpy(), TABLE.y_test.to_numpy()
    if "mixed" not in _EXPECTED:
        prepare = pipeline(BINARY)[:-1].fit(X)
        by_hand = InfluenceEstimator(BINARY).fit(prepare.transform(X), y)
        found = answers(by_hand, prepare.transform(X_test), y_test)
        kept = np.setdiff1d(np.arange(400), GONE)
        again = pipeline(BINARY)[:-1].fit(X.iloc[kept])
        by_hand = InfluenceEstimator(BINARY).fit(again.transform(X.iloc[kept]), y[kept])
        prefix, X_again = "all refitted: ", again.transform(X_test)
        whole = {**_questions(by_hand, X_again, y_test, prefix), prefix + "outputs": _raw(by_hand, X_again)}
        _EXPECTED["mixed"] = (found, whole)
    make = TYPED[name]
    model = InfluenceEstimator(pipeline(BINARY)).fit(make(X), y)
    found = answers(model, make(X_test), y_test)
    refitted = {key: found.pop(key) for key in list(found) if key.startswith("all refitted")}
    tolerance = 1e-3 if "float32" in name else 1e-10
    same(found, _EXPECTED["mixed"][0], tolerance)
    refit_outputs = refitted.pop("all refitted: outputs")
    whole = dict(_EXPECTED["mixed"][1])
    np.testing.assert_allclose(refit_outputs, whole.pop("all refitted: outputs"), rtol=0, atol=max(tolerance, 1e-7))
    same(refitted, whole, tolerance)
    assert list(model.feature_names_in_) == tables.COLUMNS


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_transformers_that_give_frames(container):
    pipe = pipeline(BINARY)
    pipe[0].set_params(text__sparse_output=False)
    pipe.set_output(transform=container)
    make = TYPED["polars"] if container == "polars" else TYPED["as read"]
    model = InfluenceEstimator(pipe).fit(make(TABLE.X), TABLE.y)
    plain = InfluenceEstimator(pipeline(BINARY)).fit(TABLE.X, TABLE.y)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*feature names")
        found = answers(model, make(TABLE.X_test), TABLE.y_test)
    same(found, answers(plain, TABLE.X_test, TABLE.y_test), 1e-10)
    assert len(model.param_names_) == len(plain.param_names_) and model.param_names_[0] == "numbers__year"


# ---------------------------------------------------------------------------------------------------
# Text, dates
# ---------------------------------------------------------------------------------------------------
DOCUMENTS = TABLE.X[["workstat", "income", "region", "attend"]].fillna("unknown").agg(" ".join, axis=1)
TEXTS = {
    "list": list,
    "array of str": lambda texts: texts.to_numpy(dtype=str),
    "array of objects": lambda texts: texts.to_numpy(dtype=object),
    "str series": lambda texts: texts.astype("str"),
    "string series": lambda texts: texts.astype("string"),
    "polars series": lambda texts: pl.Series(texts.to_list()),
}


@pytest.mark.parametrize("name", TEXTS)
def test_documents(name):
    """A series' labels are no row numbers, and a list has no shape."""
    pipe = make_pipeline(TfidfVectorizer(), clone(BINARY))
    y, y_test = TABLE.y.to_numpy()[:300], TABLE.y.to_numpy()[300:]
    words = TfidfVectorizer().fit(DOCUMENTS[:300])
    if "text" not in _EXPECTED:
        by_hand = InfluenceEstimator(BINARY).fit(words.transform(DOCUMENTS[:300]).toarray(), y)
        _EXPECTED["text"] = answers(by_hand, words.transform(DOCUMENTS[300:]).toarray(), y_test)
        kept = np.setdiff1d(np.arange(300), GONE)
        refit = clone(pipe).fit(DOCUMENTS.iloc[kept], y[kept])
        _EXPECTED["text refitted"] = refit.decision_function(DOCUMENTS[300:])
    model = InfluenceEstimator(pipe).fit(TEXTS[name](DOCUMENTS[:300]), y)
    found = answers(model, TEXTS[name](DOCUMENTS[300:]), y_test)
    np.testing.assert_allclose(found["all refitted: outputs"], _EXPECTED["text refitted"], atol=1e-8)
    same({key: found[key] for key in _EXPECTED["text"]}, _EXPECTED["text"], 1e-10)
    assert list(model.param_names_[:-1]) == list(words.get_feature_names_out())


FIRST = pd.Timestamp("2020-01-01")
DATES = pd.DataFrame({"when": pd.date_range(FIRST, periods=60), "x": frames.PLAIN[:, 4]})
DATED = {
    "dates beside numbers": lambda X: X,
    "dates alone": lambda X: X[["when"]],
    "dates of a zone": lambda X: X.assign(when=X["when"].dt.tz_localize("UTC")),
    "months": lambda X: X.assign(when=X["when"].dt.to_period("M")),
    "durations": lambda X: X.assign(when=X["when"] - FIRST),
    "arrow dates": lambda X: X.convert_dtypes(dtype_backend="pyarrow"),
    "polars dates": lambda X: pl.from_pandas(X).with_columns(pl.col("when").cast(pl.Date)),
    "polars times": pl.from_pandas,
    "dates in an array": lambda X: X[["when"]].to_numpy(),
}


@pytest.mark.parametrize("name", DATED)
def test_dates_are_refused_unless_a_step_reads_them(name):
    """scikit-learn takes some of these for nanoseconds, 1e18 of them, and refuses others in NumPy's words."""
    model = InfluenceEstimator(LOGISTIC)
    with pytest.raises(ValueError, match=r"holds dates or times .*days since the first, or leave the column out") as e:
        model.fit(DATED[name](DATES), frames.LABELS)
    assert str(e.value).startswith("X" if "array" in name else "when") and not hasattr(model, "estimator_")
    if "array" in name:
        return
    drop = ColumnTransformer([("x", "passthrough", ["x"])])
    unread = InfluenceEstimator(make_pipeline(FunctionTransformer(), LOGISTIC))
    with pytest.raises((ValueError, TypeError)):
        unread.fit(DATED[name](DATES), frames.LABELS)
    if name != "dates alone":
        model = InfluenceEstimator(make_pipeline(drop, LOGISTIC)).fit(DATED[name](DATES), frames.LABELS)
        plain = InfluenceEstimator(LOGISTIC).fit(DATES[["x"]].to_numpy(), frames.LABELS)
        np.testing.assert_allclose(model.influence_on_params(), plain.influence_on_params(), atol=1e-10)
