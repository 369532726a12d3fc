"""KernelLogisticRegression's influence: as logistic regression on the kernel's own features, by itself and wrapped."""

import copy
import pickle

import cases
import numpy as np
import pytest
from kernel_contract import BINARY, FAMILIES, KLR, ROWS, THREE, UNEQUAL, Family, _zeros, close, without
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator
from sklearn_influence.kernel_models import KernelLogisticRegression

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage", "ignore:One Newton step")
MODELS = {
    "binary": ("binary", "newton"),
    "binary balanced": ("binary balanced", "newton"),
    "softmax weighted": ("softmax weighted", "newton"),
    "softmax balanced": ("softmax balanced", "newton"),
    "binary, first order": ("binary balanced", "first_order"),
    "softmax, first order": ("softmax", "first_order"),
    "binary, second order": ("binary balanced", "second_order"),
    "softmax, second order": ("softmax weighted", "second_order"),
}
NEW = np.random.default_rng(0).normal(size=(4, 4))


def _on_features(family, method):
    """LogisticRegression on features whose inner products are the kernel's values of all rows: the same model."""
    case, estimator = family.case, family.estimator
    K = rbf_kernel(np.vstack([case.X, case.X_test, NEW]), gamma=estimator.gamma)
    values, vectors = np.linalg.eigh(K)
    features = vectors * np.sqrt(np.maximum(values, 0.0))
    plain = LogisticRegression(
        C=1 / estimator.alpha, fit_intercept=False, class_weight=estimator.class_weight, tol=1e-12, max_iter=1000
    )
    model = InfluenceEstimator(plain, method=method, representation="primal")
    n, m = family.n, len(case.y_test)
    model.fit(features[:n], case.y, sample_weight=case.sample_weight)
    return model, features[n : n + m], features[n + m :]


@pytest.mark.parametrize("which", MODELS)
def test_it_is_logistic_regression_on_the_kernels_features(which):
    name, method = MODELS[which]
    family = FAMILIES[name]
    model, (linear, X, new) = family.fit(method=method), _on_features(family, method)
    rows, y = family.test_rows(), family.case.y_test
    labels = np.unique(family.case.y)
    other = labels[(np.searchsorted(labels, family.case.y[ROWS]) + 1) % len(labels)]
    asked = {
        "all": ({}, {}),
        "rows": (dict(indices=ROWS), dict(indices=ROWS)),
        "groups": (dict(groups=np.arange(44) // 13), dict(groups=np.arange(44) // 13)),
    }
    if method != "second_order":
        asked["labels"] = (dict(indices=ROWS, y_new=other),) * 2
        asked["features"] = (dict(indices=ROWS, X_new=NEW), dict(indices=ROWS, X_new=new))
        asked["both"] = (dict(indices=ROWS, X_new=NEW, y_new=other), dict(indices=ROWS, X_new=new, y_new=other))
    for what, (ours, theirs) in asked.items():
        close(model.influence_on_loss(rows, y, **ours), linear.influence_on_loss(X, y, **theirs), 1e-8)
        proba = dict(response_method="predict_proba")
        got = model.influence_on_output(rows, **ours, **proba)
        close(got, linear.influence_on_output(X, **theirs, **proba), 1e-8)
        if what == "features":  # the outputs of the rows that are in the model
            close(model.influence_on_output(**ours), linear.influence_on_output(**theirs), 1e-8)
    close(model.influence_on_loss(), linear.influence_on_loss(), 1e-8)
    close(model.self_influence(), linear.self_influence(), 1e-8)
    close(model.self_influence(ROWS, on="output"), linear.self_influence(ROWS, on="output"), 1e-8)
    close(model.leverages(), linear.leverages(), 1e-8)
    if method != "second_order":
        close(model.relabel_effects(rows, y), linear.relabel_effects(X, y), 1e-8)


def test_by_itself_and_wrapped_are_the_same():
    alone = Family(KLR(0.5, gamma=0.3), THREE, wrapped=False)
    model, wrapped = alone.fit(), FAMILIES["softmax"].fit()
    args = (THREE.X_test, THREE.y_test)
    np.testing.assert_allclose(model.influence_on_loss(*args), wrapped.influence_on_loss(*args), atol=1e-12)
    model.unlearn([3, 8]).update([5], y_new=[0])
    wrapped.unlearn([3, 8]).update([5], y_new=[0])
    np.testing.assert_allclose(model.dual_coef_, wrapped.estimator_.dual_coef_, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(args[0]), wrapped.predict_proba(args[0]), atol=1e-12)
    assert model.X_fit_.shape == (42, 4) and wrapped.estimator_.X_fit_.shape == (42, 4)
    inner = wrapped.estimator_.influence_on_loss(*args)
    np.testing.assert_allclose(inner, model.influence_on_loss(*args), atol=1e-10)
    with pytest.raises(NotFittedError):
        KLR().influence_on_params()


def test_relabelled_rows_move_the_mean_penalty_by_their_class_weight():
    family = Family(KLR(0.02, gamma=0.3, class_weight={0: 1.0, 1: 4.0}, penalty_scale="mean"), UNEQUAL)
    y = family.case.y.copy()
    row = int(np.flatnonzero(y == 0)[3])
    y[row] = 1
    s, moved = family.effective(), np.where(y == 1, 4.0, 1.0)
    refit = KLR(0.02 * moved.sum() / s.sum(), gamma=0.3, class_weight={0: 1.0, 1: 4.0}, tol=1e-13)
    refit.fit(family.case.X, y)
    truth = family.raw(refit) - family.raw(family.refit())
    held = KLR(0.02, gamma=0.3, class_weight={0: 1.0, 1: 4.0}, tol=1e-13).fit(family.case.X, y)
    unmoved = family.raw(held) - family.raw(family.refit())
    ours = family.fit().influence_on_output(family.test_rows(), [row], y_new=[1])
    sums = Family(KLR(0.02, gamma=0.3, class_weight={0: 1.0, 1: 4.0}), UNEQUAL).fit()
    without_it = sums.influence_on_output(family.test_rows(), [row], y_new=[1])
    close(ours - without_it, truth - unmoved, 0.5)  # the share of the penalty, as a step has it
    close(
        family.fit().update([row], y_new=[1]).predict_proba(family.test_rows()),
        refit.predict_proba(BINARY.X_test),
        1e-9,
    )


@pytest.mark.parametrize("wrapped", [True, False])
def test_nothing_of_the_removed_rows_stays_in_pickles_and_copies(wrapped):
    X = BINARY.X.copy()
    X[5, :2] = planted = np.array([1234.5678, 8765.4321])
    family = Family(KLR(0.3, gamma=0.3), cases.replace(BINARY, X=X), wrapped=wrapped)
    model = family.fit()
    model.influence_on_loss()
    blob = pickle.dumps(model)
    assert planted[:1].tobytes() in blob and len(blob) < 8 * 44 * 44 / 2 + 2000  # and no matrix
    again = pickle.loads(blob)
    np.testing.assert_array_equal(again.influence_on_params([1]), model.influence_on_params([1]))
    copied = copy.deepcopy(model).unlearn([5, 7])
    assert len(model.sample_indices_) == 44 and len(copied.sample_indices_) == 42
    blob = pickle.dumps(copied)
    assert not any(one.tobytes() in blob for one in planted)
    assert not any(one.tobytes() in pickle.dumps(getattr(copied, "estimator_", copied)) for one in planted)


def test_refused_edits_change_nothing():
    model = FAMILIES["softmax"].fit()
    model.leverages()
    before = pickle.dumps(model)
    refused = [
        (lambda: model.unlearn(np.arange(44)), "every row"),
        (lambda: model.unlearn(np.flatnonzero(THREE.y == 1)), "every row .*of class 1"),
        (lambda: model.unlearn(None), "indices=None"),
        (lambda: model.unlearn([44]), "0 to 43; got 44"),
        (lambda: model.update([1], X_new=np.full((1, 4), np.nan)), "X_new cannot be used"),
        (lambda: model.update([1], y_new=[7]), "labels that the model was not fitted on"),
        (lambda: model.extend(np.ones((1, 3)), [0]), "3 features"),
        (lambda: model.extend(np.ones((2, 4)), [0]), "same number of rows, got 2 and 1"),
        (lambda: model.unlearn([1], epsilon=1.0, delta=1e-5), "hides nothing"),
    ]
    for edit, words in refused:
        with pytest.raises(ValueError, match=words):
            edit()
        assert pickle.dumps(model) == before, words
    assert model.unlearn([]) is model and pickle.dumps(model) == before


def test_precomputed_edits_and_their_refusals():
    family = FAMILIES["binary precomputed"]
    model = family.fit()
    for edit in (lambda: model.extend(family.case.X[:1], [0]), lambda: model.update([1], X_new=family.case.X[:1])):
        with pytest.raises(ValueError, match="kernel='precomputed' do not go together"):
            edit()
    model.update([1], y_new=[1 - family.case.y[1]]).unlearn([0])
    keep = without(family, [0])
    assert model.n_features_in_ == 43 and model.X_fit_.shape == (43, 43)
    model.predict(family.test_rows(keep))
    with pytest.raises(ValueError, match="44 features, but KernelLogisticRegression is expecting 43"):
        model.predict(family.test_rows())


def test_inside_pipelines_and_searches():
    case = _zeros(THREE)
    pipe = make_pipeline(StandardScaler(), KLR())
    search = GridSearchCV(pipe, {"kernellogisticregression__alpha": [0.1, 1.0]}, cv=2)
    model = InfluenceEstimator(search).fit(case.X, case.y)
    rows = model.estimator_.best_estimator_[0].transform(case.X)
    final = KernelLogisticRegression(search.fit(case.X, case.y).best_params_["kernellogisticregression__alpha"])
    final.fit(rows, case.y)
    test = model.estimator_.best_estimator_[0].transform(case.X_test)
    close(model.influence_on_loss(case.X_test, case.y_test), final.influence_on_loss(test, case.y_test), 1e-8)
    edited = model.unlearn([4, 9]).predict_proba(case.X_test)
    close(edited, final.unlearn([4, 9]).predict_proba(test), 1e-9)
