"""Agreement by hand-worked numbers, losses and cross-validation against scikit-learn's own."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, scale

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import (
    agreement,
    cross_validated_losses,
    sample_losses,
    unlearning_effect,
)


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[::2], y[::2]


def test_agreement_by_hand():
    result = agreement([1.0, 2.0, 3.0], [2.0, 4.0, 7.0])
    assert result.n == 3
    assert_allclose(result.slope, (2 + 8 + 21) / (4 + 16 + 49))
    assert_allclose(result.relative_error, np.sqrt((1 + 4 + 16) / 69))
    assert_allclose(result.correlation, np.corrcoef([1, 2, 3], [2, 4, 7])[0, 1])


def test_the_slope_is_through_the_origin_and_of_predicted_on_actual():
    actual = np.array([1.0, 2.0, 3.0])
    assert_allclose(agreement(0.5 * actual, actual).slope, 0.5)
    # With an intercept the line through these would be flat along 1, of slope 1.
    assert agreement(actual + 10, actual).slope > 2
    assert_allclose(agreement(actual + 10, actual).correlation, 1)


def test_agreement_takes_matrices_and_tiny_changes():
    actual = np.arange(6.0).reshape(2, 3) * 1e-200
    result = agreement(2 * actual, actual)
    assert result.n == 6
    assert_allclose([result.slope, result.relative_error], [2, 1])


@pytest.mark.parametrize(
    "predicted, actual, undefined",
    [
        ([1.0, 1.0], [1.0, 2.0], {"correlation"}),
        ([1.0, 2.0], [3.0, 3.0], {"correlation"}),
        ([1.0, 2.0], [0.0, 0.0], {"correlation", "slope", "relative_error"}),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 4.0], {"correlation"}),
        ([1.0], [2.0], {"correlation"}),
    ],
)
def test_what_is_undefined_is_nan_without_a_warning(predicted, actual, undefined):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = agreement(predicted, actual)
    assert {name for name, value in result.items() if np.isnan(value)} == undefined


@pytest.mark.parametrize(
    "predicted, actual, message",
    [
        ([1.0, 2.0], [1.0], r"same shape, got \(2,\) and \(1,\)"),
        ([[1.0, 2.0]], [[1.0], [2.0]], "same shape"),
        ([np.nan, 1.0], [1.0, 2.0], "predicted holds NaN or infinity"),
        ([1.0, 1.0], [1.0, np.inf], "actual holds NaN or infinity"),
        ([], [], "empty"),
    ],
)
def test_agreement_refuses(predicted, actual, message):
    with pytest.raises(ValueError, match=message):
        agreement(predicted, actual)


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_sample_losses_of_a_classifier_average_to_log_loss(load):
    X, y = load(return_X_y=True)
    X, y = scale(X), np.array(["c", "a", "b"])[y]
    model = LogisticRegression().fit(X, y)
    losses = sample_losses(model, X, y)
    assert losses.shape == y.shape
    assert_allclose(losses.mean(), log_loss(y, model.predict_proba(X)), rtol=1e-10)


def test_sample_losses_keep_what_probabilities_round_away():
    model = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])
    far = sample_losses(model, [[200.0], [200.0]], [1, 0])
    output = model.decision_function([[200.0]])[0]
    assert_allclose(far, [np.exp(-output), output], rtol=1e-6)


def test_sample_losses_of_regressors():
    X, y = load_diabetes(return_X_y=True)
    one = Ridge().fit(X, y)
    assert_allclose(sample_losses(one, X, y), (y - one.predict(X)) ** 2 / 2)
    Y = np.c_[y, y**2]
    two = LinearRegression().fit(X, Y)
    assert_allclose(sample_losses(two, X, Y), ((Y - two.predict(X)) ** 2).sum(axis=1) / 2)


def test_sample_losses_refuse_labels_never_seen():
    model = LogisticRegression().fit([[0.0], [1.0]], ["a", "b"])
    with pytest.raises(ValueError, match=r"y holds \['c'\], but .* fitted on \['a', 'b'\]"):
        sample_losses(model, [[0.0]], ["c"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        sample_losses(model, [[0.0]], ["a", "b"])


def test_cross_validation_is_that_of_scikit_learn(cancer):
    X, y = cancer
    folds = StratifiedKFold(4, shuffle=True, random_state=3)
    proba = cross_val_predict(LogisticRegression(), X, y, cv=folds, method="predict_proba")
    losses = cross_validated_losses(LogisticRegression(), X, y, cv=4, random_state=3)
    assert_allclose(losses, -np.log(proba[np.arange(len(y)), y]), rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("container", [pd.DataFrame, sparse.csr_matrix, sparse.coo_array, list])
def test_cross_validation_takes_every_container(cancer, container):
    X, y = cancer
    model = LogisticRegression(max_iter=1000)
    assert_allclose(
        cross_validated_losses(model, container(X), list(y)),
        cross_validated_losses(model, X, y),
        rtol=1e-3,
        atol=1e-6,
    )


def test_cross_validation_uses_weights_and_class_weights_by_name(cancer):
    X, y = cancer
    names = np.array(["ham", "spam"])[y]
    weighted = LogisticRegression(class_weight={"spam": 5.0}, tol=1e-10, max_iter=1000)
    plain = LogisticRegression(tol=1e-10, max_iter=1000)
    by_weight = cross_validated_losses(plain, X, names, sample_weight=np.where(y, 5.0, 1.0))
    assert_allclose(cross_validated_losses(weighted, X, names), by_weight, rtol=1e-5, atol=1e-8)
    assert np.abs(cross_validated_losses(plain, X, names) - by_weight).max() > 0.1


def test_cross_validation_cuts_the_folds_to_the_rarest_class():
    X = np.r_[np.random.default_rng(0).normal(size=(20, 2))]
    y = np.r_[np.zeros(17), np.ones(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(cross_validated_losses(LogisticRegression(), X, y, cv=5)).all()


def test_cross_validation_refuses():
    X = np.arange(8.0).reshape(4, 2)
    with pytest.raises(ValueError, match="class 'b' has a single row"):
        cross_validated_losses(LogisticRegression(), X, np.array(["a", "a", "a", "b"]))
    for cv in (1, 2.0, True, "5"):
        with pytest.raises(ValueError, match="cv must be an integer >= 2"):
            cross_validated_losses(Ridge(), X, np.arange(4.0), cv=cv)


def test_unlearning_effect_is_that_of_a_refit(cancer):
    X, y = cancer
    # A loose fit, which must not be counted as an effect of the rows.
    loose = LogisticRegression(tol=1e-1, max_iter=3)
    tight = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InfluenceEstimator(loose).fit(X[:200], y[:200])
        before = model.params_.copy()
        effect = unlearning_effect(model, [3, 4, 150], X[200:], y[200:])
    assert np.array_equal(model.params_, before) and len(model.sample_indices_) == 200
    kept = np.delete(np.arange(200), [3, 4, 150])
    for losses, rows in ((effect.before, np.arange(200)), (effect.after, kept)):
        refitted = tight.fit(X[rows], y[rows])
        assert_allclose(losses, sample_losses(refitted, X[200:], y[200:]), rtol=1e-6, atol=1e-9)
    assert effect.moved > 0 and effect.certificate.n_removed == 3


@pytest.mark.parametrize("routing", [False, True])
def test_weights_of_a_pipeline_reach_its_last_step(cancer, routing):
    X, y = cancer
    weight, model = np.where(y, 5.0, 1.0), LogisticRegression(tol=1e-10, max_iter=1000)
    plain = cross_validated_losses(model, X, y, sample_weight=weight)
    with config_context(enable_metadata_routing=routing):
        model = model.set_fit_request(sample_weight=True) if routing else model
        pipeline = make_pipeline(FunctionTransformer(), model)
        weighted = cross_validated_losses(pipeline, X, y, sample_weight=weight)
    assert_allclose(weighted, plain, rtol=1e-8)
    assert np.abs(weighted - cross_validated_losses(pipeline, X, y)).max() > 0.1


def test_a_classifier_with_probabilities_alone_has_their_losses():
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model = MLPClassifier([3], alpha=10, solver="lbfgs", max_iter=50, random_state=0).fit(X, y)
    assert not hasattr(model, "decision_function")
    assert abs(sample_losses(model, X, y).mean() - log_loss(y, model.predict_proba(X))) < 1e-10
