"""Logistic models as objectives: at tightly fitted parameters the gradient vanishes, whatever the solver."""

import warnings

import cases
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sklearn_influence import families

FAMILY = families.LogisticFamily()
BINARY, THREE = cases.tiny_classification(), cases.tiny_classification(n_classes=3)
WEIGHT = np.linspace(0.2, 2, len(BINARY.y))
SOLVERS = ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga", "liblinear"]


def fit(case, **options):
    options = {"tol": 1e-12, "max_iter": 100_000, "C": 0.7, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(**options).fit(case.X, case.y, sample_weight=WEIGHT)


def gradient(fitted, case):
    objective = FAMILY.read(fitted, case.X, case.y, WEIGHT)
    return objective.gradient() / np.abs(objective.sample_gradients()).max()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 1: 0.5}], ids=str)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_solver_is_at_the_minimum(solver, class_weight, fit_intercept):
    fitted = fit(BINARY, solver=solver, class_weight=class_weight, fit_intercept=fit_intercept)
    np.testing.assert_allclose(gradient(fitted, BINARY), 0.0, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS[:-1])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 2: 0.5}], ids=str)
def test_multinomial(solver, class_weight):
    fitted = fit(THREE, solver=solver, class_weight=class_weight)
    np.testing.assert_allclose(gradient(fitted, THREE), 0.0, atol=1e-5)


@pytest.mark.parametrize("scaling", [0.5, 1.0, 10.0])
def test_liblinear_penalises_its_intercept(scaling):
    fitted = fit(BINARY, solver="liblinear", intercept_scaling=scaling)
    np.testing.assert_allclose(gradient(fitted, BINARY), 0.0, atol=1e-5)
    objective = FAMILY.read(fitted, BINARY.X, BINARY.y, WEIGHT)
    assert objective.penalty[0, -1] == pytest.approx(1 / (0.7 * scaling**2))


@pytest.mark.parametrize("options", [{"C": np.inf}, {"penalty": None, "C": 1.0}], ids=str)
def test_without_a_penalty(options):
    fitted = fit(BINARY, **options)
    objective = FAMILY.read(fitted, BINARY.X, BINARY.y, WEIGHT)
    np.testing.assert_array_equal(objective.penalty, 0.0)
    np.testing.assert_allclose(gradient(fitted, BINARY), 0.0, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"l1_ratio": 1.0}, {"l1_ratio": 0.3}, {"penalty": "l1"}, {"penalty": "elasticnet", "l1_ratio": 0.5}],
    ids=str,
)
def test_l1_is_refused(options):
    with pytest.raises(ValueError, match=r"L1 penalty.*not supported.*L2 penalty \(l1_ratio=0\)"):
        FAMILY.check(LogisticRegression(solver="saga", **options))


@pytest.mark.parametrize("options", [{}, {"penalty": "l2"}, {"penalty": None}, {"C": np.inf}], ids=str)
def test_l2_and_none_are_accepted(options):
    FAMILY.check(LogisticRegression(**options))


@pytest.mark.parametrize("labels", [["no", "yes"], [-1, 1], [False, True], [3.0, 7.0]], ids=str)
def test_labels_of_every_kind(labels):
    y = np.array(labels)[BINARY.y]
    fitted = LogisticRegression().fit(BINARY.X, y)
    np.testing.assert_array_equal(FAMILY.encode(fitted, y), BINARY.y)
    np.testing.assert_array_equal(FAMILY.encode(fitted, list(y)), BINARY.y)


def test_unseen_labels_are_named():
    fitted = LogisticRegression().fit(BINARY.X, np.array(["no", "yes"])[BINARY.y])
    with pytest.raises(ValueError, match=r"not fitted on: \['maybe'\]; it knows \['no', 'yes'\]"):
        FAMILY.encode(fitted, ["yes", "maybe"])


@pytest.mark.parametrize("case", [BINARY, THREE], ids=["binary", "three"])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}], ids=str)
def test_writing_keeps_shapes(case, options):
    fitted = fit(case, **options)
    shapes = fitted.coef_.shape, np.shape(fitted.intercept_)
    params = FAMILY.params(fitted)
    FAMILY.write(fitted, params * 2)
    assert (fitted.coef_.shape, np.shape(fitted.intercept_)) == shapes
    np.testing.assert_array_equal(FAMILY.params(fitted), params * 2)


def test_liblinear_without_intercept_keeps_its_float():
    fitted = fit(BINARY, solver="liblinear", fit_intercept=False)
    assert np.ndim(fitted.intercept_) == 0
    FAMILY.write(fitted, FAMILY.params(fitted) * 2)
    assert fitted.intercept_ == 0.0
    assert fitted.decision_function(BINARY.X).shape == BINARY.y.shape
