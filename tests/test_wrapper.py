"""InfluenceEstimator as a scikit-learn estimator: parameters, copies, pickles, searches, displays, threads."""

import copy
import gc
import io
import pickle
import threading
import types

import cases
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

import sklearn_influence
from sklearn_influence import InfluenceEstimator, families, register_family, solvers

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*")

LINE, TARGETS = cases.tiny_regression(), cases.tiny_regression(n_targets=3)
BINARY, THREE = cases.tiny_classification(), cases.tiny_classification(n_classes=3)
KINDS = {
    "ols": (LinearRegression(), LINE),
    "ridge": (Ridge(), LINE),
    "targets": (Ridge(alpha=np.array([1, 2, 3])), TARGETS),
    "cv": (RidgeCV(store_cv_results=True), LINE),
    "binary": (LogisticRegression(), BINARY),
    "softmax": (LogisticRegression(class_weight="balanced"), THREE),
}


def _fit(kind, **options):
    estimator, case = KINDS[kind]
    return InfluenceEstimator(clone(estimator), **options).fit(case.X, case.y)


def _answers(model, case):
    return [
        model.params_,
        model.sample_indices_,
        getattr(model, "decision_function", model.predict)(case.X_test),
        model.influence_on_params(),
        model.influence_on_loss(case.X_test, case.y_test),
        model.leverages(),
    ]


def _same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def _dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.fixture
def factored(monkeypatch):
    """A list that grows with every factorisation of a curvature."""
    calls, factor = [], solvers.Direct.factor

    def counted(self, curvature, preconditioner=None):
        calls.append(curvature)
        return factor(self, curvature, preconditioner)

    monkeypatch.setattr(solvers.Direct, "factor", counted)
    return calls


# ---------------------------------------------------------------------------------------------------
# Parameters
# ---------------------------------------------------------------------------------------------------
def test_public_names():
    assert {"InfluenceEstimator", "__version__", "audit", "register_family"} <= set(sklearn_influence.__all__)
    assert all(hasattr(sklearn_influence, name) for name in sklearn_influence.__all__)
    for module in ("solvers", "losses", "families", "diagnostics", "certificates", "plotting"):
        assert isinstance(getattr(sklearn_influence, module), types.ModuleType)


def test_defaults_and_keywords():
    model = InfluenceEstimator(Ridge())
    settings = model.get_params(deep=False)
    del settings["estimator"]
    assert settings == dict(
        method="newton",
        solver="auto",
        representation="auto",
        refine=True,
        device="auto",
        blocks=None,
        n_jobs=None,
        verbose=0,
    )
    with pytest.raises(TypeError, match="positional"):
        InfluenceEstimator(Ridge(), "first_order")


def test_clone_and_nested_parameters():
    model = _fit("binary", method="first_order", solver=solvers.Direct(damping=0.1))
    other = clone(model)
    assert not hasattr(other, "estimator_") and other.estimator is not model.estimator
    assert other.method == "first_order" and other.solver == solvers.Direct(damping=0.1)
    other.set_params(estimator__C=7.0, refine=False)
    assert other.get_params()["estimator__C"] == 7.0 and model.get_params()["estimator__C"] == 1.0
    with pytest.raises(ValueError, match="Invalid parameter 'C' for estimator InfluenceEstimator"):
        other.set_params(C=3)


def test_set_params_on_how_to_compute_follows_at_once(factored):
    X, y = BINARY.X_test, BINARY.y_test
    loose = LogisticRegression(tol=0.3, max_iter=3)
    options = [
        dict(method="first_order"),
        dict(solver=solvers.Direct(damping=0.5)),
        dict(refine=False),
        dict(method="newton", solver="direct", refine=True),
    ]
    with pytest.warns(ConvergenceWarning):
        model = InfluenceEstimator(loose).fit(BINARY.X, BINARY.y)
        seen = [model.influence_on_loss(X, y)]
        for option in options:
            model.set_params(**option)
            fresh = InfluenceEstimator(loose, **{k: model.get_params()[k] for k in ("method", "solver", "refine")})
            expected = fresh.fit(BINARY.X, BINARY.y).influence_on_loss(X, y)
            actual = model.influence_on_loss(X, y)
            np.testing.assert_allclose(actual, expected, rtol=1e-9)
            np.testing.assert_array_equal(model.params_, fresh.params_)
            assert all(np.abs(actual - before).max() > 1e-6 for before in seen[1:])
            seen.append(actual) if option is not options[-1] else np.testing.assert_array_equal(actual, seen[0])
    del factored[:]
    for method in ("newton", "first_order", "newton"):
        model.set_params(method=method).influence_on_loss(X, y)
    assert not factored  # what was factored once is kept


def test_set_params_on_the_estimator_waits_for_fit():
    model = _fit("binary")
    before = _answers(model, BINARY)
    model.set_params(estimator__C=0.001)
    _same(_answers(model, BINARY), before)
    model.set_params(estimator=Ridge())
    _same(_answers(model, BINARY), before)
    assert hasattr(model, "predict_proba")
    model.fit(LINE.X, LINE.y)
    assert not hasattr(model, "predict_proba") and not hasattr(model, "classes_")
    _same(_answers(model, LINE), _answers(_fit("ridge"), LINE))


def test_a_new_fit_forgets_the_old_one():
    model = InfluenceEstimator(LogisticRegression())
    frame = pd.DataFrame(THREE.X, columns=list("abcd"))
    model.fit(frame, THREE.y).unlearn([0, 5])
    assert list(model.feature_names_in_) == list("abcd")
    model.fit(BINARY.X[:50], BINARY.y[:50])
    assert not hasattr(model, "certificate_") and not hasattr(model, "feature_names_in_")
    assert model.n_samples_fit_ == 50 and list(model.classes_) == [0, 1]
    np.testing.assert_array_equal(model.sample_indices_, np.arange(50))
    _same(_answers(model, BINARY), _answers(clone(model).fit(BINARY.X[:50], BINARY.y[:50]), BINARY))


# ---------------------------------------------------------------------------------------------------
# Copies and pickles
# ---------------------------------------------------------------------------------------------------
COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "old pickle": lambda model: pickle.loads(pickle.dumps(model, protocol=2)),
    "joblib": _dumped,
}


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_answer_the_same(kind, duplicate):
    duplicate, case = COPIES[duplicate], KINDS[kind][1]
    unfitted = duplicate(InfluenceEstimator(KINDS[kind][0]))
    assert not hasattr(unfitted, "estimator_")
    cold = _fit(kind)
    early = duplicate(cold)
    before = _answers(cold, case)
    _same(_answers(early, case), before)
    _same(_answers(duplicate(cold), case), before)
    assert duplicate(cold).stationarity_ == cold.stationarity_

    edited = duplicate(cold).unlearn([2, 9, 4])
    _same(_answers(cold, case), before)  # a copy shares nothing that an edit changes
    after = _answers(edited, case)
    again = duplicate(edited)
    for one, other in zip(_answers(again, case), after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(again.params_, edited.params_)
    assert dict(again.certificate_) == dict(edited.certificate_)
    again.unlearn([3])
    np.testing.assert_allclose(again.params_, edited.unlearn([3]).params_, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="row 9 has already been removed"):
        again.unlearn([9])


def test_editing_a_shallow_copy_leaves_the_original():
    """``estimator_`` is shared by copy.copy; an edit must not write into the other's."""
    model = _fit("binary")
    before = _answers(model, BINARY)
    copy.copy(model).unlearn([1, 2, 3, 4, 5, 6])
    _same(_answers(model, BINARY), before)


def test_pickles_hold_nothing_computed():
    model = _fit("softmax")
    size = len(pickle.dumps(model))
    _answers(model, THREE)
    assert model.stationarity_.relative < 1
    assert len(pickle.dumps(model)) == size


PLANTED = dict(x=-51.828125, y=73.640625, w=0.7890625)  # no rounding, and nowhere else


def _arrays(root):
    """Every array reachable from an object, the bases of views among them."""
    seen, found, stack = set(), [], [root]
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, (type, types.ModuleType, types.FunctionType, types.FrameType)):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            found.append(thing)
            stack.append(thing.base)
        stack.extend(gc.get_referents(thing))
    return found


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, pd.DataFrame], ids=["dense", "csr", "frame"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_removed_row_is_kept(kind, container):
    estimator, case = KINDS[kind]
    if kind == "cv" and container is sparse.csr_matrix:
        estimator = RidgeCV()  # scikit-learn stores no results for sparse rows and these settings
    X, y, weight = case.X.copy(), case.y.copy(), np.ones(len(case.X))
    X[[5, 11], [1, 2]], weight[[5, 11]] = PLANTED["x"], PLANTED["w"]
    if y.dtype.kind == "f":
        y[5] = PLANTED["y"]
    model = InfluenceEstimator(estimator).fit(container(X), y, sample_weight=weight)
    values = [value for name, value in PLANTED.items() if name != "y" or y.dtype.kind == "f"]

    def holds(model, value):
        anywhere = any((array == value).any() for array in _arrays(model) if array.dtype.kind == "f")
        return anywhere, np.float64(value).tobytes() in pickle.dumps(model)

    assert all(holds(model, value) == (True, True) for value in values)  # or the test could not fail
    outputs = model.predict(container(X)).ravel()[[5, 11]] if y.dtype.kind == "f" else []
    _answers(model, case)
    assert model.stationarity_.relative < 1
    model.unlearn([11]).unlearn([5])
    for _ in range(2):
        assert not any(any(holds(model, value)) for value in [*values, *outputs])
        row_pointers = sparse.issparse(container(X))  # of a CSR matrix: one more than its rows
        lengths = {
            len(array) for array in _arrays(model) if array.ndim and not (row_pointers and array.dtype.kind == "i")
        }
        assert not lengths & {len(y), len(y) - 1}, "something still has a place for every row"
        _answers(model, case)
        copied = copy.deepcopy(model)
        assert not any(any(holds(copied, value)) for value in values)


# ---------------------------------------------------------------------------------------------------
# Inside scikit-learn
# ---------------------------------------------------------------------------------------------------
def test_grid_search_over_the_inner_and_own_parameters(factored):
    grid = {"estimator__C": [0.01, 1.0], "method": ["newton", "first_order"]}
    search = GridSearchCV(InfluenceEstimator(LogisticRegression()), grid, cv=3).fit(BINARY.X, BINARY.y)
    plain = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=3).fit(BINARY.X, BINARY.y)
    assert not factored
    assert search.best_score_ == plain.best_score_
    assert search.best_params_["estimator__C"] == plain.best_params_["C"]
    best = search.best_estimator_
    assert best.influence_on_loss(BINARY.X_test, BINARY.y_test, aggregate="mean").shape == (60,)
    assert best.unlearn([0]).certificate_.converged
    assert list(search.classes_) == [0, 1]


def test_cross_validation_is_the_inner_estimators(factored):
    for kind in ("binary", "ridge"):
        estimator, case = KINDS[kind]
        wrapped = InfluenceEstimator(estimator)
        np.testing.assert_array_equal(
            cross_val_score(wrapped, case.X, case.y, cv=4), cross_val_score(estimator, case.X, case.y, cv=4)
        )
        np.testing.assert_array_equal(
            cross_val_predict(wrapped, case.X, case.y), cross_val_predict(estimator, case.X, case.y)
        )
    scores = cross_val_score(InfluenceEstimator(LogisticRegression()), BINARY.X, BINARY.y, scoring="neg_log_loss")
    np.testing.assert_array_equal(
        scores, cross_val_score(LogisticRegression(), BINARY.X, BINARY.y, scoring="neg_log_loss")
    )
    assert not factored


def test_last_step_of_a_pipeline():
    pipe = make_pipeline(StandardScaler(), InfluenceEstimator(LogisticRegression()))
    pipe.fit(BINARY.X, BINARY.y, influenceestimator__sample_weight=np.ones(60))
    scaler, model = pipe[0], pipe[-1]
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(BINARY.X, BINARY.y)
    np.testing.assert_array_equal(pipe.predict_proba(BINARY.X_test), plain.predict_proba(BINARY.X_test))
    effect = model.influence_on_loss(scaler.transform(BINARY.X_test), BINARY.y_test, aggregate="mean")
    model.unlearn([int(effect.argmin())])
    assert pipe.predict(BINARY.X_test).shape == BINARY.y_test.shape and is_classifier(pipe)


def test_metadata_routing():
    weight = np.linspace(0.1, 3, 60)
    with sklearn.config_context(enable_metadata_routing=True):
        model = InfluenceEstimator(LogisticRegression()).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"estimator__C": [0.1, 1.0]}, cv=3).fit(BINARY.X, BINARY.y, sample_weight=weight)
        inner = LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        plain = GridSearchCV(inner, {"C": [0.1, 1.0]}, cv=3).fit(BINARY.X, BINARY.y, sample_weight=weight)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])


def test_fit_and_score_pass_on_what_they_get():
    weight = np.linspace(0.1, 3, 60)
    model = InfluenceEstimator(LogisticRegression()).fit(BINARY.X, BINARY.y, weight)
    plain = LogisticRegression().fit(BINARY.X, BINARY.y, weight)
    np.testing.assert_array_equal(model.estimator_.coef_, plain.coef_)
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(model, name)(BINARY.X_test), getattr(plain, name)(BINARY.X_test))
    test_weight = np.arange(15.0)
    expected = plain.score(BINARY.X_test, BINARY.y_test, sample_weight=test_weight)
    assert model.score(BINARY.X_test, BINARY.y_test, sample_weight=test_weight) == expected
    assert has_fit_parameter(model, "sample_weight")


def test_tags_and_delegated_methods_follow_the_inner_estimator():
    classifier, regressor = InfluenceEstimator(LogisticRegression()), InfluenceEstimator(RidgeCV())
    assert is_classifier(classifier) and not is_regressor(classifier)
    assert is_regressor(regressor) and not is_classifier(regressor)
    for estimator in (LogisticRegression(), LogisticRegression(solver="liblinear"), Ridge(), LinearRegression()):
        ours, theirs = get_tags(InfluenceEstimator(estimator)), get_tags(estimator)
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags", "input_tags"):
            assert getattr(ours, name) == getattr(theirs, name), name
    probabilistic = ("predict_proba", "predict_log_proba", "decision_function")
    for model in (classifier, clone(classifier).fit(BINARY.X, BINARY.y)):
        assert all(hasattr(model, name) for name in ("predict", "score", *probabilistic))
        assert not hasattr(model, "transform") and not hasattr(model, "partial_fit")
    for model in (regressor, clone(regressor).fit(LINE.X, LINE.y)):
        assert hasattr(model, "predict") and not any(hasattr(model, name) for name in probabilistic)
        with pytest.raises(AttributeError, match=r"InfluenceEstimator.*no attribute 'predict_proba'"):
            model.predict_proba(LINE.X)


def test_feature_names():
    frame = pd.DataFrame(BINARY.X, columns=["d", "c", "b", "a"])
    model = InfluenceEstimator(LogisticRegression()).fit(frame, BINARY.y)
    np.testing.assert_array_equal(model.feature_names_in_, ["d", "c", "b", "a"])
    assert list(model.param_names_) == ["d", "c", "b", "a", "intercept"]
    plain = _fit("binary")
    expected = plain.influence_on_loss(BINARY.X, BINARY.y)
    np.testing.assert_allclose(model.influence_on_loss(frame, BINARY.y), expected, rtol=1e-9, atol=1e-13)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.influence_on_output(BINARY.X)
    # Labels of an index are not row numbers, and columns of any index do.
    shuffled = pd.DataFrame(BINARY.X, columns=list("dcba"), index=np.arange(60)[::-1] + 7)
    y = pd.Series(BINARY.y, index=shuffled.index)
    other = InfluenceEstimator(LogisticRegression()).fit(shuffled, y)
    np.testing.assert_allclose(other.influence_on_params([0, 5]), plain.influence_on_params([0, 5]), rtol=1e-9)


# ---------------------------------------------------------------------------------------------------
# Nothing is computed before it is asked for, and then once
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_fit_displays_and_predictions_factor_nothing(kind, factored):
    case = KINDS[kind][1]
    model = InfluenceEstimator(KINDS[kind][0])
    assert "InfluenceEstimator" in model._repr_html_()
    model.fit(case.X, case.y)
    html = estimator_html_repr(model)
    assert type(model.estimator).__name__ in html and "InfluenceEstimator" in html
    assert model._repr_mimebundle_()["text/html"] and repr(model).startswith("InfluenceEstimator(")
    check_is_fitted(model)
    model.predict(case.X), model.score(case.X, case.y), vars(model)
    assert len(model.param_names_) and len(model.sample_indices_)
    pickle.dumps(model), copy.deepcopy(model), clone(model)
    assert not factored
    model.unlearn([])
    assert not factored


def test_tab_completion_factors_nothing(factored):
    """scikit-learn's ``__dir__`` reads every attribute, and an interactive shell calls it at each tab."""
    model = _fit("softmax")
    names = dir(model)
    assert {"params_", "stationarity_", "unlearn", "predict_proba"} <= set(names) and "transform" not in names
    assert not factored


def test_each_fit_is_factored_once(factored):
    model = _fit("ridge")
    model.leverages()
    count = len(factored)
    for _ in range(2):
        _answers(model, LINE)
        model.self_influence()
        model.top_influences(LINE.X_test, LINE.y_test)
        model.set_params(method="first_order" if model.method == "newton" else "newton")
    assert len(factored) == count <= 2  # the fit, and its refinement


@pytest.mark.parametrize("kind", ["ridge", "softmax"])
def test_threads_ask_at_once_and_get_the_same(kind, factored):
    case = KINDS[kind][1]
    single, groups = _fit(kind), np.arange(len(case.X)) % 20
    expected = _answers(single, case)
    once = len(factored)
    by_group = single.influence_on_params(groups=groups)
    of_groups = len(factored) - once
    del factored[:]
    model, start, answers = _fit(kind), threading.Barrier(8), []

    def ask():
        start.wait()
        answers.append([*_answers(model, case), model.influence_on_params(groups=groups)])

    workers = [threading.Thread(target=ask) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(answers) == 8
    for answer in answers:
        _same(answer, [*expected, by_group])
    assert len(factored) == once + 8 * of_groups  # the fit's curvature once, large groups' own in each thread


# ---------------------------------------------------------------------------------------------------
# Other families
# ---------------------------------------------------------------------------------------------------
def test_register_family(monkeypatch):
    class TwiceRidge(Ridge):
        """Minimises the same as Ridge."""

    class Doubled(families.LeastSquaresFamily):
        checked = 0

        def check(self, estimator):
            type(self).checked += 1
            super().check(estimator)

    monkeypatch.setattr(families.registry, "_FAMILIES", dict(families.registry._FAMILIES))
    with pytest.raises(TypeError, match="TwiceRidge is not supported"):
        InfluenceEstimator(TwiceRidge()).fit(LINE.X, LINE.y)
    family = Doubled()
    register_family((TwiceRidge,), family)
    assert families.find_family(TwiceRidge()) is family and "TwiceRidge" in families.supported_names()
    model = InfluenceEstimator(TwiceRidge()).fit(LINE.X, LINE.y)
    assert Doubled.checked == 1
    _same(_answers(model, LINE), _answers(_fit("ridge"), LINE))
    model.unlearn([3])
    assert type(model.estimator_) is TwiceRidge and model.certificate_.converged
    with pytest.raises(TypeError, match=r"classes, got TwiceRidge\(\)"):
        register_family(TwiceRidge(), family)
    with pytest.raises(TypeError, match="instance of a Family subclass"):
        register_family(TwiceRidge, Doubled)
