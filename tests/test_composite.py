"""Pipelines, searches and frozen estimators around a supported model: influence is that of the model at the end."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import tables
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, RidgeClassifier, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder

from sklearn_influence import InfluenceEstimator, composite, recording

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*singular.*", "ignore:.*unknown categories.*")

TABLE = tables.happiness()
LOGISTIC = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=200)
ROWS = [3, 50, 120, 7]


def frame(weight=TABLE.sample_weight):
    """A wrapped pipeline on the raw table, and the wrapped model on what a pipeline by hand makes of it."""
    whole = InfluenceEstimator(tables.pipeline(LOGISTIC)).fit(TABLE.X, TABLE.y, sample_weight=weight)
    prepare = tables.preprocessing().fit(TABLE.X, TABLE.y)
    by_hand = InfluenceEstimator(LOGISTIC).fit(prepare.transform(TABLE.X), TABLE.y, sample_weight=weight)
    return whole, by_hand, prepare


def same_answers(whole, by_hand, X, X_by_hand, y, atol=1e-10):
    for first, second in (
        (whole.params_, by_hand.params_),
        (whole.influence_on_params(), by_hand.influence_on_params()),
        (whole.influence_on_params(ROWS), by_hand.influence_on_params(ROWS)),
        (whole.influence_on_loss(X, y), by_hand.influence_on_loss(X_by_hand, y)),
        (whole.influence_on_loss(aggregate="mean"), by_hand.influence_on_loss(aggregate="mean")),
        (whole.influence_on_output(X, ROWS), by_hand.influence_on_output(X_by_hand, ROWS)),
        (whole.self_influence(), by_hand.self_influence()),
        (whole.leverages(), by_hand.leverages()),
        (whole.top_influences(X, y, k=3).influences, by_hand.top_influences(X_by_hand, y, k=3).influences),
    ):
        np.testing.assert_allclose(first, second, rtol=0, atol=atol)
    np.testing.assert_array_equal(whole.predict(X), by_hand.predict(X_by_hand))


# ---------------------------------------------------------------------------------------------------
# Around, inside, and as the last step
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("weight", [None, TABLE.sample_weight], ids=["plain", "weighted"])
def test_a_pipeline_on_a_real_table_both_ways_round(weight):
    whole, by_hand, prepare = frame(weight)
    same_answers(whole, by_hand, TABLE.X_test, prepare.transform(TABLE.X_test), TABLE.y_test)
    last = tables.pipeline(InfluenceEstimator(LOGISTIC))
    last.fit(TABLE.X, TABLE.y, **({} if weight is None else {"model__sample_weight": weight}))
    same_answers(last[-1], by_hand, last[:-1].transform(TABLE.X_test), prepare.transform(TABLE.X_test), TABLE.y_test)
    assert list(whole.feature_names_in_) == tables.COLUMNS and whole.n_features_in_ == 18
    assert list(whole.param_names_) == [*prepare.get_feature_names_out(), "intercept"]
    assert list(whole.classes_) == [0, 1]


@pytest.mark.parametrize("kind", ["grid", "random", "over the wrapper", "in the pipeline", "nested"])
def test_searches(kind):
    grid, pipe = {"model__C": [0.01, 0.3]}, tables.pipeline(LOGISTIC)
    X, y, weight = TABLE.X, TABLE.y, TABLE.sample_weight
    plain = GridSearchCV(pipe, grid, cv=3).fit(X, y, model__sample_weight=weight)
    if kind == "grid":
        model = InfluenceEstimator(GridSearchCV(pipe, grid, cv=3)).fit(X, y, sample_weight=weight)
        assert model.estimator_.best_score_ == plain.best_score_
        assert model.score(TABLE.X_test, TABLE.y_test) == plain.score(TABLE.X_test, TABLE.y_test)
    elif kind == "random":
        search = RandomizedSearchCV(pipe, grid, n_iter=2, random_state=0, cv=3)
        model = InfluenceEstimator(search).fit(X, y, model__sample_weight=weight)
    elif kind == "over the wrapper":
        search = GridSearchCV(InfluenceEstimator(pipe), {"estimator__model__C": [0.01, 0.3]}, cv=3)
        model = search.fit(X, y, sample_weight=weight).best_estimator_
    elif kind == "in the pipeline":
        inner = GridSearchCV(LOGISTIC, {"C": [0.01, 0.3]}, cv=3)
        model = InfluenceEstimator(tables.pipeline(inner)).fit(X, y, sample_weight=weight)
    else:
        inner = Pipeline([("same", "passthrough"), ("search", GridSearchCV(pipe, grid, cv=3))])
        model = InfluenceEstimator(inner).fit(X, y, sample_weight=weight)
    best = clone(LOGISTIC).set_params(C=composite.final_step(model.estimator_).C)
    prepare = tables.preprocessing().fit(X, y)
    by_hand = InfluenceEstimator(best).fit(prepare.transform(X), y, sample_weight=weight)
    same_answers(model, by_hand, TABLE.X_test, prepare.transform(TABLE.X_test), TABLE.y_test)
    for pipeline in composite.pipelines(model.estimator_):  # nothing of the recording is left
        assert not any(isinstance(step, recording.RowRecorder) for _, step in pipeline.steps)
    model.unlearn(ROWS)
    np.testing.assert_allclose(model.params_, by_hand.unlearn(ROWS).params_, atol=1e-10)
    np.testing.assert_array_equal(model.predict(TABLE.X_test), by_hand.predict(prepare.transform(TABLE.X_test)))
    assert any("best_params_" in text for text in model.certificate_.remembers) == (kind != "over the wrapper")


@pytest.mark.parametrize(
    "estimator",
    [
        RidgeClassifier(),
        RidgeCV(),
        LogisticRegressionCV(
            Cs=(0.1, 1.0),
            cv=3,
            l1_ratios=(0,),
            scoring="neg_log_loss",
            use_legacy_attributes=False,
            solver="newton-cholesky",
        ),
    ],
    ids=lambda e: type(e).__name__,
)
def test_other_models_at_the_end(estimator):
    prepare = tables.preprocessing().fit(TABLE.X)
    whole = InfluenceEstimator(tables.pipeline(estimator)).fit(TABLE.X, TABLE.y)
    by_hand = InfluenceEstimator(estimator).fit(prepare.transform(TABLE.X), TABLE.y)
    same_answers(whole, by_hand, TABLE.X_test, prepare.transform(TABLE.X_test), TABLE.y_test)
    whole.unlearn(ROWS)
    assert len(whole.certificate_.remembers) == 2 - isinstance(estimator, RidgeClassifier)


def test_a_search_among_models():
    grid = {
        "model": [LOGISTIC, RidgeClassifier()],
        "prepare__numbers__standardscaler": ["passthrough", StandardScaler()],
    }
    model = InfluenceEstimator(GridSearchCV(tables.pipeline(LOGISTIC), grid, cv=3)).fit(TABLE.X, TABLE.y)
    final = model.estimator_.best_estimator_[-1]
    by_hand = InfluenceEstimator(clone(final)).fit(model.estimator_.best_estimator_[:-1].transform(TABLE.X), TABLE.y)
    np.testing.assert_allclose(model.influence_on_params(), by_hand.influence_on_params(), atol=1e-10)


# ---------------------------------------------------------------------------------------------------
# The rows are those that the final step was fitted on
# ---------------------------------------------------------------------------------------------------
def target_encoded(model=LOGISTIC):
    encoder = TargetEncoder(cv=KFold(3, shuffle=True, random_state=0)) if _CV_ENCODER else TargetEncoder(random_state=0)
    return make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), encoder, clone(model))


_CV_ENCODER = sklearn.__version__ >= "1.9"
TEXT = [name for name in tables.COLUMNS if not pd.api.types.is_numeric_dtype(TABLE.X[name])]


def test_target_encoder_cross_fits():
    X = TABLE.X[TEXT]
    pipe = target_encoded()
    model = InfluenceEstimator(pipe).fit(X, TABLE.y)
    fitted_on = clone(pipe[:-1]).fit_transform(X, TABLE.y)
    assert np.abs(fitted_on - model.estimator_[:-1].transform(X)).max() > 0.01
    by_hand = InfluenceEstimator(LOGISTIC).fit(fitted_on, TABLE.y)
    X_test = TABLE.X_test[TEXT]
    same_answers(model, by_hand, X_test, model.estimator_[:-1].transform(X_test), TABLE.y_test)
    assert model.stationarity_.relative < 1e-3
    # A frozen one's fit_transform is not known any more: said, and the stationarity shows what it means.
    frozen = FrozenEstimator(clone(pipe).fit(X, TABLE.y))
    with pytest.warns(UserWarning, match="frozen pipeline's step 'targetencoder' gives other rows by fit_transform"):
        model = InfluenceEstimator(frozen).fit(X, TABLE.y)
    with pytest.warns(ConvergenceWarning, match="not at a minimum"):
        model.influence_on_params([0])


def test_frozen_estimators_are_copied_and_weighed():
    pipe = tables.pipeline(LOGISTIC).fit(TABLE.X, TABLE.y, model__sample_weight=TABLE.sample_weight)
    before = pipe[-1].coef_.copy()
    for frozen in (FrozenEstimator(pipe), FrozenEstimator(GridSearchCV(pipe, {}, cv=2).fit(TABLE.X, TABLE.y))):
        weight = TABLE.sample_weight if frozen.estimator is pipe else None
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            model = InfluenceEstimator(frozen).fit(TABLE.X, TABLE.y, sample_weight=weight)
            model.influence_on_params(ROWS)
        fresh = InfluenceEstimator(tables.pipeline(LOGISTIC)).fit(TABLE.X, TABLE.y, sample_weight=weight)
        np.testing.assert_allclose(model.influence_on_params(), fresh.influence_on_params(), atol=1e-9)
        model.unlearn(ROWS)
        np.testing.assert_allclose(model.params_, fresh.unlearn(ROWS).params_, atol=1e-10)
        np.testing.assert_array_equal(model.predict(TABLE.X_test), fresh.predict(TABLE.X_test))
        assert model.certificate_.remembers[0].startswith("the estimator given to FrozenEstimator")
        np.testing.assert_array_equal(pipe[-1].coef_, before)
    last = tables.pipeline(FrozenEstimator(pipe[-1]))
    model = InfluenceEstimator(last).fit(TABLE.X, TABLE.y, sample_weight=TABLE.sample_weight)
    np.testing.assert_allclose(model.params_, np.append(before, pipe[-1].intercept_), atol=1e-9)


@pytest.mark.parametrize("refine", [True, False])
def test_a_frozen_model_of_other_rows_warns(refine):
    model = LogisticRegression(max_iter=1000).fit(*_numbers(slice(0, 200)))
    wrapped = InfluenceEstimator(FrozenEstimator(model), refine=refine).fit(*_numbers(slice(200, 400)))
    with pytest.warns(ConvergenceWarning, match=r"not at a minimum.*threshold 1.*rows it was fitted on"):
        wrapped.influence_on_params([0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped.unlearn([0]).influence_on_params([1])  # an edit ends at the optimum of these rows


def _numbers(rows):
    return TABLE.X.select_dtypes("number").fillna(0).to_numpy()[rows], TABLE.y.to_numpy()[rows]


# ---------------------------------------------------------------------------------------------------
# Unlearning the transformers too
# ---------------------------------------------------------------------------------------------------
KEPT = np.setdiff1d(np.arange(400), ROWS)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["pipeline", "target encoder", "search", "frozen", "nested", "wide", "ridge cv"])
def test_refit_transformers_is_the_whole_refit(kind, weighted):
    X, y, weight = TABLE.X, TABLE.y, TABLE.sample_weight if weighted else None
    pipe = tables.pipeline(clone(LOGISTIC).set_params(class_weight="balanced"))
    if kind == "target encoder":
        X, pipe = X[TEXT], target_encoded()
    elif kind == "nested":
        pipe = make_pipeline(tables.preprocessing(sparse_output=False), make_pipeline(PCA(5), LOGISTIC))
    elif kind == "wide":
        X = X[["workstat", "income", "region", "attend"]].fillna("unknown").agg(" ".join, axis=1)
        pipe = make_pipeline(TfidfVectorizer(ngram_range=(1, 3)), clone(LOGISTIC).set_params(solver="lbfgs", tol=1e-12))
    elif kind == "ridge cv":
        pipe = tables.pipeline(RidgeCV((0.1, 30.0)))
    estimator = pipe
    if kind == "search":
        estimator = GridSearchCV(pipe, {"model__C": [0.02, 0.5]}, cv=2)
    elif kind == "frozen":
        name = composite.weight_name(pipe)
        estimator = FrozenEstimator(clone(pipe).fit(X, y, **({name: weight} if weighted else {})))
    model = InfluenceEstimator(estimator).fit(X, y, sample_weight=weight)
    kept_steps = copy.deepcopy(model).unlearn(ROWS)
    assert model.unlearn(ROWS, refit_transformers=True) is model
    if kind == "search":
        pipe.set_params(**model.estimator_.best_params_)
    if kind == "ridge cv":
        pipe.set_params(model=Ridge(model.estimator_[-1].alpha_))
    fit_params = {composite.weight_name(pipe): weight[KEPT]} if weighted else {}
    refit = clone(pipe).fit(X.iloc[KEPT], y.iloc[KEPT], **fit_params)
    exact = np.append(np.ravel(composite.final_step(refit).coef_), composite.final_step(refit).intercept_)
    tolerance = 1e-5 if kind == "wide" else 1e-8  # scikit-learn's lbfgs stops there
    np.testing.assert_allclose(model.params_, exact, atol=tolerance)
    X_test = TABLE.X_test[TEXT] if kind == "target encoder" else X[:50] if kind == "wide" else TABLE.X_test
    ask = "predict" if kind == "ridge cv" else "decision_function"
    np.testing.assert_allclose(getattr(model, ask)(X_test), getattr(refit, ask)(X_test), atol=tolerance)
    difference = getattr(kept_steps, ask)(X_test) - getattr(refit, ask)(X_test)
    assert np.abs(difference).max() > 1e-6  # or refitting them would not matter
    assert any("fitted with the removed rows" in text for text in kept_steps.certificate_.remembers)
    assert not any("step '" in text for text in model.certificate_.remembers)
    certificate = model.certificate_
    assert certificate.converged and certificate.valid and (certificate.n_removed, certificate.n_retained) == (4, 396)
    # And on: questions and a further edit are about the refitted rows.
    other = InfluenceEstimator(pipe).fit(X.iloc[KEPT], y.iloc[KEPT], sample_weight=weight[KEPT] if weighted else None)
    np.testing.assert_allclose(model.influence_on_params(), other.influence_on_params(), atol=1e-7)
    assert list(model.param_names_) == list(other.param_names_)
    model.unlearn([0, 399], refit_transformers=True)
    np.testing.assert_allclose(model.params_, other.unlearn([0, 395], refit_transformers=True).params_, atol=1e-7)


def test_a_category_that_leaves_takes_its_column():
    X, y = TABLE.X.copy(), TABLE.y
    X.iloc[5, X.columns.get_loc("region")] = "the moon"
    model = InfluenceEstimator(tables.pipeline(LOGISTIC)).fit(X, y)
    p = len(model.params_)
    assert len(copy.deepcopy(model).unlearn([5]).params_) == p
    model.unlearn([5], refit_transformers=True)
    assert len(model.params_) == p - 1 == len(model.param_names_) and "the moon" not in str(model.param_names_)
    assert model.estimator_[-1].n_features_in_ == p - 2
    kept = np.arange(400) != 5
    refit = tables.pipeline(LOGISTIC).fit(X[kept], y[kept])
    np.testing.assert_allclose(model.estimator_[-1].coef_, refit[-1].coef_, atol=1e-8)


def test_what_an_edit_remembers_and_drops():
    memory = Pipeline(
        [
            ("union", FeatureUnion([("all", tables.preprocessing())])),
            ("norm", FunctionTransformer()),
            ("model", LOGISTIC),
        ]
    )
    model = InfluenceEstimator(memory).fit(TABLE.X, TABLE.y, model__sample_weight=TABLE.sample_weight)
    model.unlearn(ROWS)
    assert model.certificate_.remembers == ["step 'union' of the pipeline (FeatureUnion, fitted with the removed rows)"]
    source = model._source
    assert len(source.X) == len(source.y) == len(source.fit_params["model__sample_weight"]) == 396
    assert not set(TABLE.X.index[ROWS]) & set(source.X.index)


def test_a_pipelines_cache_is_named(tmp_path):
    pipe = tables.pipeline(LOGISTIC).set_params(memory=str(tmp_path))
    model = InfluenceEstimator(pipe).fit(TABLE.X, TABLE.y)
    again = InfluenceEstimator(pipe).fit(TABLE.X, TABLE.y)  # from the cache
    np.testing.assert_array_equal(model.influence_on_params(ROWS), again.influence_on_params(ROWS))
    again.unlearn(ROWS, refit_transformers=True)
    assert again.certificate_.remembers == [
        "the cache of Pipeline(memory=...) (what its steps computed from the removed rows)"
    ]


def test_a_refused_edit_changes_nothing():
    model = InfluenceEstimator(tables.pipeline(LOGISTIC)).fit(TABLE.X, TABLE.y)

    class Broken(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            if len(X) < 400:
                raise ValueError("broken")
            return super().fit(X, y)

    broken = make_pipeline(Broken(), LOGISTIC)
    X, y = _numbers(slice(None))
    model = InfluenceEstimator(broken).fit(X, y)
    before, state = model.influence_on_params(), dict(vars(model))
    with pytest.raises(ValueError, match="broken"):
        model.unlearn(ROWS, refit_transformers=True)
    assert all(vars(model)[name] is value for name, value in state.items())
    np.testing.assert_array_equal(model.influence_on_params(), before)
    bare = InfluenceEstimator(LOGISTIC).fit(X, y)
    for call in (
        lambda: bare.unlearn(ROWS, refit_transformers=True),
        lambda: bare.unlearn([], refit_transformers=True),
    ):
        with pytest.raises(ValueError, match="needs transformers: LogisticRegression has none"):
            call()
    with pytest.raises(ValueError, match="refit_transformers must be True or False, got 'yes'"):
        model.unlearn(ROWS, refit_transformers="yes")


# ---------------------------------------------------------------------------------------------------
# Weights and metadata routing
# ---------------------------------------------------------------------------------------------------
def test_weights_reach_the_final_step_by_either_name():
    by_name, _, _ = frame()
    classic = InfluenceEstimator(tables.pipeline(LOGISTIC))
    classic.fit(TABLE.X, TABLE.y, model__sample_weight=TABLE.sample_weight)
    np.testing.assert_array_equal(classic.influence_on_params(), by_name.influence_on_params())
    with pytest.raises(ValueError, match="given twice: as sample_weight and as model__sample_weight"):
        classic.fit(TABLE.X, TABLE.y, TABLE.sample_weight, model__sample_weight=TABLE.sample_weight)
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0, got -1"):
        classic.fit(TABLE.X, TABLE.y, model__sample_weight=-np.ones(400))
    nested = make_pipeline(make_pipeline(StandardScaler(), GridSearchCV(make_pipeline(PCA(2), LOGISTIC), {}, cv=2)))
    assert composite.weight_name(nested) == "pipeline__gridsearchcv__logisticregression__sample_weight"


@pytest.mark.parametrize("request_name", [True, "heft", False])
@pytest.mark.parametrize("kind", ["bare", "pipeline", "search", "over the wrapper"])
def test_metadata_routing(kind, request_name):
    X, y = _numbers(slice(None))
    weight = TABLE.sample_weight
    with sklearn.config_context(enable_metadata_routing=True):
        model = clone(LOGISTIC).set_fit_request(sample_weight=request_name).set_score_request(sample_weight=False)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        estimator = model if kind == "bare" else make_pipeline(scaler, model)
        given = {"sample_weight": weight} if request_name is not False or kind != "bare" else {}
        if request_name == "heft":
            given = {"sample_weight": weight**2, "heft": weight} if kind != "bare" else {"heft": weight}
        if kind == "bare":
            wrapped = InfluenceEstimator(estimator).fit(X, y, **given)
        elif kind == "pipeline":
            wrapped = InfluenceEstimator(estimator).fit(X, y, **given)
        elif kind == "search":
            search = GridSearchCV(estimator, {"logisticregression__C": [0.1]}, cv=2)
            wrapped = InfluenceEstimator(search).fit(X, y, **given)
        else:
            grid = {"estimator__logisticregression__C": [0.1]}
            outer = InfluenceEstimator(estimator)
            wrapped = GridSearchCV(outer, grid, cv=2).fit(X, y, **given).best_estimator_
        if kind != "bare":
            plain = clone(estimator).fit(X, y, **given) if kind == "pipeline" else None
            if plain is not None:
                np.testing.assert_allclose(plain[-1].coef_, wrapped.estimator_[-1].coef_, atol=1e-12)
            again = copy.deepcopy(wrapped).unlearn(ROWS, refit_transformers=True)
            kept = {name: value[KEPT] for name, value in given.items()}
            pipe = clone(estimator).set_params(**({} if kind == "pipeline" else {"logisticregression__C": 0.1}))
            refit = pipe.fit(X[KEPT], y[KEPT], **kept)
            np.testing.assert_allclose(again.params_[:-1], refit[-1].coef_[0], atol=1e-8)
    expected = np.ones(400) if request_name is False else weight
    np.testing.assert_array_equal(wrapped._objective.sample_weight, expected)
    assert wrapped.stationarity_.relative < 1e-3  # of the weights that the model was fitted with


# ---------------------------------------------------------------------------------------------------
# What cannot be wrapped
# ---------------------------------------------------------------------------------------------------
class Dropping(TransformerMixin, BaseEstimator):
    """A step that gives other rows than it gets."""

    def fit(self, X, y=None):
        return self

    def fit_transform(self, X, y=None):
        return X[:1] if len(X) == 2 else np.repeat(X, 2, axis=0)[: len(X) + 1]

    def transform(self, X):
        return X


class Lenient(LogisticRegression):
    """Fits as many labels as there are rows, as a resampling pipeline would."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, np.resize(y, len(X)))


def test_refusals(monkeypatch):
    X, y = _numbers(slice(None))
    cases = {
        "no estimator": (make_pipeline(StandardScaler(), "passthrough"), ValueError, "ends in 'passthrough'.*a model"),
        "refit": (GridSearchCV(LOGISTIC, {}, refit=False), ValueError, r"GridSearchCV\(refit=False\) keeps no fitted"),
        "not fitted": (FrozenEstimator(clone(LOGISTIC)), NotFittedError, "in FrozenEstimator is not fitted"),
        "in a frozen pipeline": (FrozenEstimator(tables.pipeline(Ridge())), NotFittedError, "not fitted"),
        "L1 in the search": (
            GridSearchCV(LogisticRegression(solver="saga"), {"l1_ratio": [1.0]}, cv=2),
            ValueError,
            "L1 penalty",
        ),
        "whole steps": (
            GridSearchCV(
                make_pipeline(StandardScaler(), LOGISTIC), {"steps": [[("a", StandardScaler()), ("b", LOGISTIC)]]}, cv=2
            ),
            ValueError,
            "other steps as a whole",
        ),
    }
    for name, (estimator, error, words) in cases.items():
        model = InfluenceEstimator(estimator)
        with pytest.raises(error, match=words), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        assert not hasattr(model, "estimator_"), name
    from sklearn_influence import families

    monkeypatch.setattr(families.registry, "_FAMILIES", dict(families.registry._FAMILIES))
    families.register_family(Lenient, families.LogisticFamily())
    with pytest.raises(ValueError, match=r"fitted on 401 rows, not on the 400 given to fit.*Resample before fit"):
        InfluenceEstimator(make_pipeline(Dropping(), Lenient())).fit(X, y)
    with pytest.raises(ValueError, match=r"LogisticRegressionCV\(refit=False\)"):
        InfluenceEstimator(LogisticRegressionCV(refit=False, l1_ratios=(0,))).fit(X, y)


def test_steps_that_work_in_place_leave_the_callers_rows():
    X, y = _numbers(slice(None))
    mine, kept = X.copy(), X.copy()
    pipe = make_pipeline(StandardScaler(copy=False), Ridge(copy_X=False))
    model = InfluenceEstimator(pipe).fit(mine, y)
    np.testing.assert_array_equal(mine, kept)
    other = InfluenceEstimator(make_pipeline(StandardScaler(), Ridge())).fit(X, y)
    np.testing.assert_allclose(model.influence_on_loss(X, y), other.influence_on_loss(X, y), atol=1e-12)


def test_names_of_columns_as_far_as_they_are_known():
    X, y = _numbers(slice(None))
    assert list(InfluenceEstimator(make_pipeline(PCA(2), Ridge())).fit(X, y).param_names_)[:2] == ["pca0", "pca1"]
    unnamed = make_pipeline(FunctionTransformer(lambda X: X[:, :2]), Ridge())
    assert list(InfluenceEstimator(unnamed).fit(X, y).param_names_) == ["x0", "x1", "intercept"]
    framed = tables.pipeline(LOGISTIC, sparse_output=False).set_output(transform="pandas")
    model = InfluenceEstimator(framed).fit(TABLE.X, TABLE.y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.influence_on_loss(TABLE.X_test.iloc[:3], TABLE.y_test.iloc[:3], ROWS)
    assert list(model.param_names_)[:2] == ["numbers__year", "numbers__prestige"]


def test_sparse_output_stays_sparse():
    pipe = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"), LOGISTIC)
    pipe.set_params(logisticregression__solver="lbfgs")
    model = InfluenceEstimator(pipe).fit(TABLE.X[TEXT], TABLE.y)
    assert sparse.issparse(model._objective.design.X)
    dense = clone(pipe).set_params(onehotencoder__sparse_output=False)
    other = InfluenceEstimator(dense).fit(TABLE.X[TEXT], TABLE.y)
    np.testing.assert_allclose(model.influence_on_loss(), other.influence_on_loss(), atol=1e-10)


def test_categories_that_a_frame_remembers_are_named():
    X = TABLE.X.assign(region=TABLE.X["region"].astype("category"))
    X["region"] = X["region"].cat.add_categories("the moon")
    X.iloc[5, X.columns.get_loc("region")] = "the moon"
    prepare = tables.preprocessing()
    model = InfluenceEstimator(make_pipeline(prepare, clone(LOGISTIC))).fit(X, TABLE.y)
    assert not any("categories of" in text for text in copy.deepcopy(model).unlearn([3]).certificate_.remembers)
    (sentence,) = model.unlearn([5], refit_transformers=True).certificate_.remembers
    assert sentence.startswith("the categories of column 'region'")
