"""LinearisedClassifier and LinearisedRegressor as scikit-learn's estimators: settings, starts, weights, refusals."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from linearised_contract import BINARY, LINE, TARGETS, THREE, close
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_influence import InfluenceEstimator, LinearisedClassifier, LinearisedRegressor, audit
from sklearn_influence.diagnostics import most_influential_set
from sklearn_influence.families import find_family
from sklearn_influence.privacy import ObjectivePerturbation

SMALL = dict(hidden_layer_sizes=5, random_state=0)
both_ways = pytest.mark.parametrize("way", ["primal", "dual"])


@parametrize_with_checks(
    [
        LinearisedClassifier(5),
        LinearisedClassifier(5, loss="squared_error"),
        LinearisedRegressor(5, representation="dual"),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_without_hidden_layers_they_are_linear_models():
    """One layer's Jacobian is [x, 1] for each output, and f0 is what the start says: ridge on what is left of y."""
    X, y = LINE.X, LINE.y
    start = [np.ones((5, 1))], [np.zeros(1)]
    model = LinearisedRegressor(init=start, alpha=2.0).fit(X, y)
    X1 = np.hstack([X, np.ones((len(X), 1))])
    ridge = Ridge(2.0, fit_intercept=False).fit(X1, y - X.sum(axis=1))
    close(model.coef_, ridge.coef_, 1e-9)
    zero = [np.zeros((4, 3))], [np.zeros(3)]
    model = LinearisedClassifier(init=zero, alpha=0.5).fit(THREE.X, THREE.y)
    X1 = np.hstack([THREE.X, np.ones((len(THREE.X), 1))])
    plain = LogisticRegression(C=2.0, fit_intercept=False, solver="newton-cg", tol=1e-12).fit(X1, THREE.y)
    close(model.coef_, np.concatenate([plain.coef_[:, :4].T.ravel(), plain.coef_[:, 4]]), 1e-6)
    close(model.predict_proba(THREE.X_test), plain.predict_proba(np.hstack([THREE.X_test, np.ones((15, 1))])), 1e-6)


def test_the_representation_is_that_of_fewer_unknowns():
    wide = LinearisedClassifier(30, random_state=0).fit(BINARY.X, BINARY.y)
    assert (
        wide.coef_.shape == (4 * 30 + 30 + 31,) and wide.representation_ == "dual" and wide.dual_coef_.shape == (44, 1)
    )
    narrow = clone(wide).set_params(hidden_layer_sizes=3).fit(BINARY.X, BINARY.y)
    assert narrow.representation_ == "primal" and not hasattr(narrow, "dual_coef_")
    # more outputs, more rows in the dual: 69 parameters against 3 x 44
    three = LinearisedRegressor((6,), random_state=0).fit(TARGETS.X, TARGETS.y)
    assert three.representation_ == "primal" and three.coef_.shape == (5 * 6 + 6 * 3 + 6 + 3,)
    wrapped = InfluenceEstimator(clone(wide)).fit(BINARY.X, BINARY.y)
    close(wrapped.unlearn([3]).params_, copy.deepcopy(wide).unlearn([3]).coef_, 1e-10)
    assert wrapped.estimator_.dual_coef_.shape == (43, 1)
    wide.set_params(hidden_layer_sizes=2).fit(BINARY.X, BINARY.y)
    assert not hasattr(wide, "dual_coef_")
    mean = clone(narrow).set_params(penalty_scale="mean").fit(BINARY.X, BINARY.y)
    assert mean.representation_ == "dual"
    close(mean.coef_, narrow.coef_, 1e-9)


def test_an_int_draws_the_same_start_and_none_another():
    fits = [LinearisedClassifier(5, random_state=seed).fit(BINARY.X, BINARY.y) for seed in (3, 3, 4, None, None)]
    starts = [fit.network_.params for fit in fits]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not any(np.allclose(starts[0], start) for start in starts[2:]) and not np.allclose(starts[3], starts[4])
    kept = fits[3].network_
    assert fits[3].unlearn([0]).network_ is kept
    assert abs(starts[0].std() - 1) < 0.3
    assert fits[0].network_.weight_scales == [2**0.5 / 2.0, 2**0.5 / 5**0.5] and fits[0].network_.bias_scale == 0.1


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
@both_ways
def test_a_fitted_network_is_a_start(way):
    mlp = MLPClassifier((4,), activation="tanh", alpha=1.0, solver="lbfgs", random_state=0).fit(THREE.X, THREE.y)
    for init in (mlp, FrozenEstimator(mlp), (mlp.coefs_, mlp.intercepts_)):
        model = LinearisedClassifier(activation="tanh", init=init, alpha=1e6, representation=way)
        wrapped = InfluenceEstimator(model).fit(THREE.X, THREE.y)  # of a clone
        model.fit(THREE.X, THREE.y)
        close(model.predict_proba(THREE.X_test), mlp.predict_proba(THREE.X_test), 1e-3)  # held where it starts
        close(wrapped.predict_proba(THREE.X_test), model.predict_proba(THREE.X_test), 1e-12)
        remembered = wrapped.unlearn([3]).certificate_.remembers
        assert remembered == [
            "init of LinearisedClassifier (the weights it starts from may have been fitted with the removed rows)"
        ]
    assert not LinearisedClassifier(4, representation=way).fit(THREE.X, THREE.y).unlearn([3]).certificate_.remembers
    mlp.coefs_[0] *= 2.0  # as partial_fit does: the fitted model has its own
    before = model.predict_proba(THREE.X_test)
    np.testing.assert_array_equal(model.predict_proba(THREE.X_test), before)
    with pytest.raises(ValueError, match=r"from 4 features to 3 output\(s\); these rows have 4 .* needs 1 output"):
        model.fit(BINARY.X, BINARY.y)


def test_weights_count_as_rows():
    weight = np.arange(44) % 4
    rows = np.repeat(np.arange(44), weight)
    for case, kind in ((THREE, LinearisedClassifier), (TARGETS, LinearisedRegressor)):
        weighed = kind(**SMALL).fit(case.X, case.y, sample_weight=weight)
        repeated = kind(**SMALL).fit(case.X[rows], case.y[rows])
        close(weighed.coef_, repeated.coef_, 1e-9)
    balanced = LinearisedClassifier(class_weight="balanced", **SMALL).fit(BINARY.X, BINARY.y)
    same = LinearisedClassifier(**SMALL).fit(BINARY.X, BINARY.y, compute_sample_weight("balanced", BINARY.y))
    close(balanced.coef_, same.coef_, 1e-9)


@both_ways
def test_squared_loss_classifies_without_probabilities(way):
    for case, q in ((BINARY, 1), (THREE, 3)):
        model = LinearisedClassifier(loss="squared_error", representation=way, **SMALL).fit(case.X, case.y)
        assert model.score(case.X, case.y) > 0.7 and model.network_.n_outputs == q
        assert not hasattr(model, "predict_proba") and not hasattr(InfluenceEstimator(model), "predict_log_proba")
        with pytest.raises(ValueError, match="needs a classifier with probabilities; LinearisedClassifier has 'raw'"):
            model.influence_on_output(case.X_test, [1], response_method="predict_proba")
    logs = LinearisedClassifier(**SMALL).fit(THREE.X, THREE.y)
    close(np.exp(logs.predict_log_proba(THREE.X_test)), logs.predict_proba(THREE.X_test), 1e-12)


@both_ways
def test_inside_pipelines_and_searches(way):
    case = THREE
    pipe = make_pipeline(StandardScaler(), LinearisedClassifier(representation=way, **SMALL))
    search = GridSearchCV(pipe, {"linearisedclassifier__alpha": [0.1, 1.0]}, cv=2)
    model = InfluenceEstimator(search).fit(case.X, case.y)
    scaler = StandardScaler().fit(case.X)
    alpha = search.fit(case.X, case.y).best_params_["linearisedclassifier__alpha"]
    final = LinearisedClassifier(alpha=alpha, representation=way, **SMALL).fit(scaler.transform(case.X), case.y)
    test = scaler.transform(case.X_test)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*leverage")
        close(model.influence_on_loss(case.X_test, case.y_test), final.influence_on_loss(test, case.y_test), 1e-7)
    close(model.unlearn([4, 9]).predict_proba(case.X_test), final.unlearn([4, 9]).predict_proba(test), 1e-9)
    assert model.param_names_[0] == "coefs_[0][x0, 0]" and model.param_names_[-1] == "intercepts_[1][2]"
    whole = InfluenceEstimator(clone(pipe)).fit(case.X, case.y).unlearn([4, 9], refit_transformers=True)
    keep = np.delete(np.arange(44), [4, 9])
    refit = clone(pipe).fit(case.X[keep], case.y[keep])
    close(whole.predict_proba(case.X_test), refit.predict_proba(case.X_test), 1e-9)


def test_frozen_models_and_other_rows():
    model = LinearisedRegressor(representation="dual", **SMALL).fit(LINE.X, LINE.y)
    frozen = InfluenceEstimator(FrozenEstimator(model)).fit(LINE.X, LINE.y)
    close(frozen.influence_on_params([3]), model.influence_on_params([3]), 1e-9)
    wrong = InfluenceEstimator(FrozenEstimator(model)).fit(LINE.X, LINE.y[::-1])
    with pytest.warns(ConvergenceWarning, match="not at a minimum of its objective on these rows"):
        wrong.influence_on_params([3])
    others = InfluenceEstimator(FrozenEstimator(model)).fit(LINE.X[::-1], LINE.y)
    assert others.stationarity_.relative > 1
    with pytest.raises(ValueError, match="was fitted on 44 rows, and got 43"):
        InfluenceEstimator(FrozenEstimator(model)).fit(LINE.X[1:], LINE.y[1:])


@pytest.mark.filterwarnings("ignore:.*leverage")
@pytest.mark.parametrize("wrapped", [True, False])
@both_ways
def test_nothing_of_the_removed_rows_stays_in_pickles_and_copies(way, wrapped):
    X = BINARY.X.copy()
    X[5, :2] = planted = np.array([1234.5678, 8765.4321])
    model = LinearisedClassifier(representation=way, **SMALL)
    model = (InfluenceEstimator(model) if wrapped else model).fit(X, BINARY.y)
    model.influence_on_loss()
    blob = pickle.dumps(model)
    assert planted[:1].tobytes() in blob and len(blob) < 8 * 44 * 44 / 2 + 4000  # and no matrix
    again = pickle.loads(blob)
    close(again.influence_on_params([1]), model.influence_on_params([1]), 1e-9)
    copied = copy.deepcopy(model).unlearn([5, 7])
    assert len(model.sample_indices_) == 44 and len(copied.sample_indices_) == 42
    blob = pickle.dumps(copied)
    assert not any(one.tobytes() in blob for one in planted)
    assert not any(one.tobytes() in pickle.dumps(getattr(copied, "estimator_", copied)) for one in planted)


def test_sparse_rows_and_single_precision():
    thin = LinearisedClassifier(**SMALL).fit(sparse.coo_array(THREE.X), THREE.y)
    dense = LinearisedClassifier(**SMALL).fit(THREE.X, THREE.y)
    close(thin.coef_, dense.coef_, 1e-9)
    close(thin.decision_function(sparse.csr_array(THREE.X_test)), dense.decision_function(THREE.X_test), 1e-9)
    single = LinearisedClassifier(**SMALL).fit(THREE.X.astype(np.float32), THREE.y)
    close(single.coef_, dense.coef_, 1e-5)
    assert single.coef_.dtype == np.float64


def test_an_audit_speaks_of_them():
    model = InfluenceEstimator(LinearisedClassifier(representation="dual", **SMALL)).fit(BINARY.X, BINARY.y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*leverage|One Newton step")
        report = str(audit(model, BINARY.X_test, BINARY.y_test))
    assert "Audit of LinearisedClassifier" in report and "The fit has reached its optimum" in report


def test_the_rows_behind_a_parameter_or_an_output_are_the_same_both_ways():
    for target, X in (("coefs_[0][x1, 2]", None), (np.mean, LINE.X_test)):
        found = []
        for way in ("primal", "dual"):
            model = InfluenceEstimator(LinearisedRegressor(representation=way, **SMALL)).fit(LINE.X, LINE.y)
            found.append(most_influential_set(model, target, X=X))
        assert found[0].indices.tolist() == found[1].indices.tolist()
        for key in ("estimate", "predicted", "refit"):
            close(found[1][key], found[0][key], 1e-9, abs(found[0].estimate))


@both_ways
def test_noise_is_refused_for_models_that_hold_their_rows(way):
    model = LinearisedClassifier(representation=way, **SMALL)
    with pytest.raises(ValueError, match=r"holds the rows that it was fitted on.*noise .* hides nothing"):
        clone(model).fit(BINARY.X, BINARY.y).unlearn([1], epsilon=1.0, delta=1e-5)
    wrapped = InfluenceEstimator(model)
    with pytest.raises(ValueError, match="hides nothing: there is no release of it"):
        wrapped.fit(BINARY.X, BINARY.y, perturbation=ObjectivePerturbation(1.0, 1e-5, sigma=1.0))
    assert not hasattr(wrapped, "estimator_")


BAD = {
    "alpha": ({"alpha": 0}, r"alpha must be a number > 0, got 0; a linearised model needs a penalty"),
    "sizes": ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes must be one or several integers >= 1, got \(3, 0\)"),
    "activation": (
        {"activation": "gelu"},
        r"activation must be one of 'identity', 'logistic', 'tanh', 'relu', got 'gelu'",
    ),
    "loss": ({"loss": "hinge"}, r"loss must be one of 'log_loss', 'squared_error', got 'hinge'"),
    "sigma_w": ({"sigma_w": 0.0}, r"sigma_w must be a number > 0, got 0.0"),
    "sigma_b": ({"sigma_b": -1}, r"sigma_b must be a number >= 0, got -1"),
    "scale": ({"penalty_scale": "max"}, r"penalty_scale must be one of 'sum', 'mean', got 'max'"),
    "way": ({"representation": "both"}, r"representation must be one of 'auto', 'primal', 'dual', got 'both'"),
    "mean": (
        {"penalty_scale": "mean", "representation": "primal"},
        r"penalty_scale='mean' and representation='primal'",
    ),
    "tol": ({"tol": 0}, r"tol must be a number between 0 and 1, got 0"),
    "steps": ({"max_iter": 0}, r"max_iter must be an integer >= 1, got 0"),
    "device": ({"device": "tpu"}, r"device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"),
    "weights": ({"class_weight": {0: -1.0}}, r"class_weight must be finite numbers >= 0"),
    "init": ({"init": MLPRegressor()}, r"init=MLPRegressor\(\) is not fitted"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters_are_refused(name):
    params, words = BAD[name]
    model = LinearisedClassifier(**{**SMALL, **params})
    with pytest.raises(ValueError, match=words):
        model.fit(BINARY.X, BINARY.y)
    with pytest.raises(NotFittedError):
        model.predict(BINARY.X)


def test_what_a_representation_has_not_is_refused_by_name():
    dual = LinearisedClassifier(representation="dual", **SMALL).fit(BINARY.X, BINARY.y)
    primal = LinearisedClassifier(representation="primal", **SMALL).fit(BINARY.X, BINARY.y)
    for own, other in (("dual", "primal"), ("primal", "dual")):
        model = InfluenceEstimator(LinearisedClassifier(representation=own, **SMALL), representation=other)
        model.fit(BINARY.X, BINARY.y)
        with pytest.raises(ValueError, match=f"representation='{other}' is not available .* representation='{own}'"):
            model.influence_on_loss()
        model.set_params(representation="auto").influence_on_params([1])
    with pytest.raises(ValueError, match="input_sensitivity is not available for a linearised network in its dual"):
        dual.input_sensitivity()
    for model in (dual, primal):
        with pytest.raises(ValueError, match="InfluenceEstimator\\(pipeline\\)"):
            model.unlearn([1], refit_transformers=True)
    for way in ("primal", "dual"):
        model = InfluenceEstimator(
            LinearisedClassifier(representation=way, **SMALL), method="first_order", solver="stochastic"
        )
        with pytest.raises(ValueError, match=r"solver='stochastic' is not available for .*linearised network"):
            model.fit(BINARY.X, BINARY.y)
    before = pickle.dumps(dual)
    for edit, words in (
        (lambda: dual.unlearn(np.arange(44)), "every row"),
        (lambda: dual.update([1], X_new=np.full((1, 4), np.nan)), "X_new cannot be used"),
        (lambda: dual.update([1], y_new=[7]), "labels that the model was not fitted on"),
        (lambda: dual.extend(np.ones((1, 3)), [0]), "3 features"),
    ):
        with pytest.raises(ValueError, match=words):
            edit()
        assert pickle.dumps(dual) == before


@pytest.mark.parametrize("kind", ["log_loss", "squared_error"])
def test_sensitivity_to_inputs_is_that_of_refits(kind):
    """The Jacobian moves with the row too; central differences of the held-out losses of refits."""
    case, step, row = THREE, 1e-5, 7
    start = LinearisedClassifier(activation="tanh", representation="primal", loss=kind, tol=1e-13, **SMALL)
    model = clone(start).fit(case.X, case.y)
    slopes = model.input_sensitivity(case.X_test[:4], case.y_test[:4], [row])[:, 0]
    targets = find_family(model).encode(model, case.y_test[:4])
    for j in range(4):
        losses = []
        for side in (step, -step):
            X = case.X.copy()
            X[row, j] += side
            moved = clone(start).fit(X, case.y)
            losses.append(model._objective.loss.value(targets, moved.decision_function(case.X_test[:4])))
        close((losses[0] - losses[1]) / (2 * step), slopes[:, j], 1e-6, np.abs(slopes).max())


def test_approximate_solvers_need_the_parameters():
    ways = {}
    for way in ("primal", "dual"):
        model = InfluenceEstimator(LinearisedClassifier(representation=way, **SMALL), method="first_order")
        exact = model.fit(THREE.X, THREE.y).influence_on_loss(THREE.X_test, THREE.y_test)
        ways[way] = model.set_params(solver="outer_product")
    rough = ways["primal"].influence_on_loss(THREE.X_test, THREE.y_test)
    assert np.corrcoef(rough.ravel(), exact.ravel())[0, 1] > 0.8
    with pytest.raises(ValueError, match=r"in its dual representation.*fit it with representation='primal'"):
        ways["dual"].influence_on_loss(THREE.X_test, THREE.y_test)


@both_ways
def test_out_of_iterations_is_said(way):
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1 steps: the Newton decrement is .* Raise max_iter"):
        LinearisedClassifier(alpha=1e-3, max_iter=1, representation=way, **SMALL).fit(THREE.X, THREE.y)


@both_ways
def test_to_look_at_a_model_computes_nothing(way):
    for wrap in (lambda model: model, InfluenceEstimator):
        model = wrap(LinearisedClassifier(representation=way, **SMALL)).fit(BINARY.X, BINARY.y)
        assert type(model).__name__ in model._repr_html_() and "params_" in dir(model) and repr(model)
        assert not model._fitted._cache


def test_the_wrapped_model_shares_its_kernel_matrix():
    model = InfluenceEstimator(LinearisedClassifier(representation="dual", **SMALL)).fit(BINARY.X, BINARY.y)
    assert model._objective.gram is model.estimator_._fitted.objective.gram
    frozen = InfluenceEstimator(FrozenEstimator(model.estimator_)).fit(BINARY.X, BINARY.y)
    assert frozen._objective.gram is model._objective.gram
    assert copy.deepcopy(model).estimator_.network_ is model.estimator_.network_  # and their weights, which stay
