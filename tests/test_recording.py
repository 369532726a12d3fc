"""What a composite's final step is fitted on, and what stands before it fitted again."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import sklearn
import tables
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, LogisticRegressionCV, Ridge, RidgeCV
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, StandardScaler

from sklearn_influence import InfluenceEstimator, composite, recording

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 3)) + 1.0, RNG.normal(size=60)
LABELS = (Y > 0).astype(int)


@pytest.mark.parametrize("shape", [(20, 40), (40, 3)], ids=["wide", "collinear"])
@pytest.mark.parametrize(
    "scaler", [StandardScaler(), StandardScaler(with_mean=False), MaxAbsScaler(), MinMaxScaler()], ids=str
)
@pytest.mark.parametrize("representation", ["auto", "primal"])
def test_least_squares_of_smallest_norm_on_rescaled_columns(shape, scaler, representation):
    """The old coefficients have a part that is flat in the new columns, and no step takes it out."""
    rng = np.random.default_rng(1)
    rows, y = rng.normal(size=shape) + 1.0, rng.normal(size=shape[0])
    if shape[1] == 3:
        rows[:, 2] = rows[:, 0] + rows[:, 1]
    pipe = make_pipeline(scaler, LinearRegression())
    model = InfluenceEstimator(pipe, representation=representation).fit(rows, y)
    model.unlearn([0, 3], refit_transformers=True)
    kept = np.setdiff1d(np.arange(len(y)), [0, 3])
    refit = clone(pipe).fit(rows[kept], y[kept])
    np.testing.assert_allclose(model.estimator_[-1].coef_, refit[-1].coef_, atol=1e-11)
    assert np.linalg.norm(model.estimator_[-1].coef_ - refit[-1].coef_) <= model.certificate_.param_bound
    model.unlearn([5]).unlearn([7], refit_transformers=True)
    kept = np.setdiff1d(kept, [5, 7])
    np.testing.assert_allclose(model.estimator_[-1].coef_, clone(pipe).fit(rows[kept], y[kept])[-1].coef_, atol=1e-11)


def test_arguments_of_a_search_stay_with_it():
    groups, grid = np.arange(60) % 6, {"ridge__alpha": [0.1, 5.0]}
    pipe = make_pipeline(StandardScaler(), Ridge())
    search = GridSearchCV(pipe, grid, cv=GroupKFold(3))
    for routing in (False, True):
        with sklearn.config_context(enable_metadata_routing=routing):
            model = InfluenceEstimator(clone(search)).fit(X, Y, groups=groups)
            model.unlearn([0, 5], refit_transformers=True)
        kept = np.setdiff1d(np.arange(60), [0, 5])
        refit = clone(pipe).set_params(**model.estimator_.best_params_).fit(X[kept], Y[kept])
        np.testing.assert_allclose(model.estimator_.best_estimator_[-1].coef_, refit[-1].coef_, atol=1e-10)
    inner = GridSearchCV(make_pipeline(MinMaxScaler(), Ridge()), grid, cv=GroupKFold(3))
    nested = Pipeline([("scale", StandardScaler()), ("search", inner)])
    model = InfluenceEstimator(nested).fit(X, Y, search__groups=groups).unlearn([0], refit_transformers=True)
    assert model.certificate_.converged and model.certificate_.remembers[0].startswith("best_params_")


@pytest.mark.parametrize("kind", ["bare", "pipeline"])
@pytest.mark.parametrize(
    "final",
    [RidgeCV(), LogisticRegressionCV(cv=3, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_routing_to_estimators_that_are_routers(final, kind, weighted):
    y, weight = Y if isinstance(final, RidgeCV) else LABELS, np.linspace(0.5, 2.0, 60)
    with sklearn.config_context(enable_metadata_routing=True):
        final = clone(final).set_fit_request(sample_weight=True)
        if isinstance(final, LogisticRegressionCV):
            final.set_params(scoring=get_scorer("neg_log_loss").set_score_request(sample_weight=True))
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        estimator = final if kind == "bare" else make_pipeline(scaler, final)
        model = InfluenceEstimator(estimator).fit(X, y, **({"sample_weight": weight} if weighted else {}))
        np.testing.assert_array_equal(model._objective.sample_weight, weight if weighted else np.ones(60))
        model.unlearn([3], refit_transformers=kind == "pipeline")
    assert model.certificate_.converged


def test_rows_are_copied_only_where_they_would_be_overwritten(monkeypatch):
    class Counted(np.ndarray):
        copies = 0

        def copy(self, order="C"):
            Counted.copies += 1
            return super().copy(order)

    rows = X.view(Counted)
    recording.fit_recording(make_pipeline(FunctionTransformer(), Ridge()), rows, Y, {})
    assert Counted.copies == 0
    recording.fit_recording(make_pipeline(StandardScaler(copy=False), Ridge()), rows, Y, {})
    assert Counted.copies > 0
    wide = np.random.default_rng(0).normal(size=(20_000, 50))
    tracemalloc.start()
    InfluenceEstimator(make_pipeline(StandardScaler(), Ridge())).fit(wide, wide[:, 0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.6 * wide.nbytes  # the scaled rows, and Ridge's centred ones


def test_a_search_that_chooses_to_overwrite():
    """The rows that were recorded would be centred in place by the model that got them."""
    pipe = Pipeline([("same", FunctionTransformer()), ("model", LinearRegression())])
    model = InfluenceEstimator(GridSearchCV(pipe, {"model__copy_X": [False]}, cv=2)).fit(X.copy(), Y)
    plain = InfluenceEstimator(LinearRegression()).fit(X, Y)
    np.testing.assert_allclose(model.influence_on_params(), plain.influence_on_params(), atol=1e-12)


@pytest.mark.parametrize("before", [[], [("same", FunctionTransformer())]], ids=["alone", "behind a step"])
def test_a_pipeline_put_in_the_place_of_the_model_is_refused(before):
    pipe = Pipeline([*before, ("model", Ridge())])
    grid = {"model": [make_pipeline(StandardScaler(), Ridge())]}
    with pytest.raises(ValueError, match=r"rows its model was fitted on are not known.*single steps"):
        InfluenceEstimator(GridSearchCV(pipe, grid, cv=2)).fit(X, Y)


def test_frozen_transformers_are_remembered_by_a_refit():
    imputer = FrozenEstimator(KNNImputer().fit(X))
    for steps in (ColumnTransformer([("k", imputer, [0, 1, 2])]), imputer):
        pipe = make_pipeline(StandardScaler(), steps, Ridge())
        model = InfluenceEstimator(pipe).fit(X, Y).unlearn([0], refit_transformers=True)
        (sentence,) = model.certificate_.remembers
        assert sentence.startswith("step ") and "standardscaler" not in sentence


def test_the_record_leaves_names_as_they_are():
    frame = pd.DataFrame(X, columns=list("abc"))
    single = GridSearchCV(Pipeline([("model", Ridge())]), {}, cv=2)
    assert list(InfluenceEstimator(single).fit(frame, Y).feature_names_in_) == list("abc")
    seen = []

    def score(estimator, rows, y):
        seen.append(list(estimator[:-1].get_feature_names_out()))
        return 0.0

    InfluenceEstimator(GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {}, cv=2, scoring=score)).fit(frame, Y)
    assert seen and all(names == list("abc") for names in seen)


def test_frozen_models_of_other_columns_are_refused():
    frame = pd.DataFrame(X, columns=list("abc"))
    frozen = FrozenEstimator(Ridge().fit(frame, Y))
    with pytest.raises(ValueError, match="feature names should match"):
        InfluenceEstimator(frozen).fit(frame[["c", "a", "b"]], Y)
    with pytest.raises(ValueError, match="X has 2 features, but Ridge is expecting 3"):
        InfluenceEstimator(FrozenEstimator(Ridge().fit(X, Y))).fit(X[:, :2], Y)
    with pytest.raises(ValueError, match="GridSearchCV cannot fit a FrozenEstimator"):
        InfluenceEstimator(GridSearchCV(FrozenEstimator(Ridge().fit(X, Y)), {})).fit(X, Y)


def test_transformers_alone_are_fitted():
    pipe = tables.pipeline(LogisticRegression(max_iter=1000)).fit(tables.happiness().X, tables.happiness().y)
    coef = pipe[-1].coef_
    table = tables.happiness()
    new, rows = recording.fit_transformers(pipe, table.X[:200], table.y[:200], {})
    expected = clone(pipe[:-1]).fit_transform(table.X[:200], table.y[:200])
    difference = rows - expected
    assert abs(difference).max() < 1e-12
    assert new[-1] is pipe[-1] and new[-1].coef_ is coef and new[0] is not pipe[0]
    assert composite.final_step(new) is pipe[-1]
