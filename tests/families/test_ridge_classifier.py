"""Ridge classifiers as objectives: ridge on targets of +1 and -1."""

import cases
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV

from sklearn_influence import InfluenceEstimator, families
from sklearn_influence.diagnostics import sample_losses

FAMILY = families.RidgeClassifierFamily()
BINARY, THREE = cases.tiny_classification(), cases.string_labels(cases.tiny_classification(n_classes=3))
WEIGHT = np.linspace(0.2, 2, len(BINARY.y))


def flat(fitted):
    return np.append(np.ravel(fitted.coef_), np.ravel(fitted.intercept_))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("case", [BINARY, THREE], ids=repr)
@pytest.mark.parametrize(
    "estimator", [RidgeClassifier(alpha=0.7), RidgeClassifierCV(), RidgeClassifierCV(cv=3)], ids=str
)
def test_the_fit_is_at_the_minimum(estimator, case, class_weight):
    fitted = clone(estimator).set_params(class_weight=class_weight).fit(case.X, case.y, sample_weight=WEIGHT)
    objective = FAMILY.read(fitted, case.X, case.y, WEIGHT)
    gradient = objective.gradient() / np.abs(objective.sample_gradients()).max()
    np.testing.assert_allclose(gradient, 0.0, atol=1e-10)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 1: 0.5}], ids=str)
def test_every_removal_is_the_refit(class_weight):
    """Rows of weight 0 too: "balanced" counts them, so without one the other rows' weights are others."""
    estimator, weight = RidgeClassifier(alpha=0.7, class_weight=class_weight), WEIGHT.copy()
    weight[[4, 9]] = 0.0
    model = InfluenceEstimator(estimator).fit(BINARY.X, BINARY.y, sample_weight=weight)
    effect, before = model.influence_on_params(), flat(model.estimator_)
    for row in range(len(BINARY.y)):
        kept = np.arange(len(BINARY.y)) != row
        after = flat(clone(estimator).fit(BINARY.X[kept], BINARY.y[kept], sample_weight=weight[kept]))
        np.testing.assert_allclose(effect[row], after - before, atol=1e-12)


def test_two_classes_are_ridge_on_signs():
    signs = 2.0 * BINARY.y - 1.0
    ridge = InfluenceEstimator(Ridge(0.7)).fit(BINARY.X, signs)
    model = InfluenceEstimator(RidgeClassifier(0.7)).fit(BINARY.X, BINARY.y)
    expected = ridge.influence_on_loss(BINARY.X_test, 2.0 * BINARY.y_test - 1.0)
    np.testing.assert_allclose(model.influence_on_loss(BINARY.X_test, BINARY.y_test), expected, atol=1e-13)
    np.testing.assert_allclose(model.leverages(), ridge.leverages(), atol=1e-13)


@pytest.mark.parametrize("case", [BINARY, THREE], ids=repr)
def test_its_loss_row_by_row(case):
    model = InfluenceEstimator(RidgeClassifier()).fit(case.X, case.y)
    refit = InfluenceEstimator(RidgeClassifier()).fit(case.X[1:], case.y[1:])
    change = sample_losses(refit, case.X_test, case.y_test) - sample_losses(model, case.X_test, case.y_test)
    np.testing.assert_allclose(model.influence_on_loss(case.X_test, case.y_test, [0])[:, 0], change, atol=1e-12)


def test_per_row_errors_lose_the_rows():
    model = InfluenceEstimator(RidgeClassifierCV(store_cv_results=True)).fit(THREE.X, THREE.y).unlearn([0, 7])
    assert len(model.estimator_.cv_results_) == len(THREE.y) - 2
    assert [text.split(" of ")[0] for text in model.certificate_.remembers] == ["alpha_ and best_score_", "cv_results_"]


def test_refusals():
    model = InfluenceEstimator(RidgeClassifier()).fit(BINARY.X, BINARY.y)
    with pytest.raises(ValueError, match="'predict_proba' needs a classifier with probabilities; RidgeClassifier has"):
        model.influence_on_output(BINARY.X_test, response_method="predict_proba")
    with pytest.raises(ValueError, match="'predict' is for regressors"):
        model.influence_on_output(BINARY.X_test, response_method="predict")
    with pytest.raises(ValueError, match=r"several labels a row.*\(60, 2\).*one model for each column"):
        InfluenceEstimator(RidgeClassifier()).fit(BINARY.X, np.c_[BINARY.y, 1 - BINARY.y])
    with pytest.raises(ValueError, match="positive=True"):
        InfluenceEstimator(RidgeClassifier(positive=True)).fit(BINARY.X, BINARY.y)
