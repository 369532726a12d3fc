"""The oracle itself: against scikit-learn's own refits at tight tolerances, and closed identities."""

import cases
import numpy as np
import pytest
import retraining
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV

REMOVED = [3, 7, 20, 21]


def _tight(estimator):
    """The same estimator with its iterations run to the end."""
    estimator = clone(estimator)
    if isinstance(estimator, LogisticRegression):
        estimator.set_params(tol=1e-12, max_iter=100_000)
        if estimator.solver == "lbfgs":
            estimator.set_params(solver="newton-cholesky")
    return estimator


CLASSIFIERS = {
    "plain": LogisticRegression(),
    "small C": LogisticRegression(C=0.01),
    "large C": LogisticRegression(C=100),
    "unpenalised": LogisticRegression(C=np.inf),
    "no intercept": LogisticRegression(fit_intercept=False),
    "balanced": LogisticRegression(class_weight="balanced"),
    "class weights": LogisticRegression(class_weight={0: 3.0, 1: 0.5}),
}
LIBLINEAR = {
    "liblinear": LogisticRegression(solver="liblinear"),
    "liblinear scaling": LogisticRegression(solver="liblinear", intercept_scaling=7.0, C=0.3),
    "liblinear balanced": LogisticRegression(solver="liblinear", class_weight="balanced"),
    "liblinear no intercept": LogisticRegression(solver="liblinear", fit_intercept=False),
}
REGRESSORS = {
    "ols": LinearRegression(),
    "ols no intercept": LinearRegression(fit_intercept=False),
    "ridge": Ridge(alpha=2.0),
    "ridge no intercept": Ridge(alpha=2.0, fit_intercept=False),
}


def _compare(estimator, case, weight, tol):
    """Retrained by the oracle and by scikit-learn, on the kept rows; the largest relative gap."""
    keep = np.ones(len(case.X), dtype=bool)
    keep[REMOVED] = False
    kept_weight = None if weight is None else weight[keep]
    refit = _tight(estimator).fit(case.X[keep], case.y[keep], sample_weight=kept_weight)
    got = retraining.retrain(estimator, case.X, case.y, weight, keep)
    q = retraining.output_shape(estimator, case.y)
    gap = got - retraining.flat_params(refit)
    if q > 1 and isinstance(estimator, LogisticRegression):
        gap = retraining.gauge_free(gap, q, case.X.shape[1], retraining.penalties(estimator)[0] > 0)
    assert np.abs(gap).max() <= tol * np.abs(got).max()
    f = retraining.outputs(got, case.X_test, q)
    expected = refit.decision_function(case.X_test) if hasattr(refit, "classes_") else refit.predict(case.X_test)
    if q > 1 and isinstance(estimator, LogisticRegression):
        f, expected = (
            f - f.mean(axis=1, keepdims=True),
            expected - expected.mean(axis=1, keepdims=True),
        )
    np.testing.assert_allclose(f, expected, rtol=0, atol=10 * tol * np.abs(f).max())


def _weights(case, weighted):
    return np.random.default_rng(1).uniform(0.2, 3, len(case.X)) if weighted else None


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logistic_equals_scikit_learn(name, n_classes, weighted):
    case = cases.tiny_classification(n_classes=n_classes)
    _compare(CLASSIFIERS[name], case, _weights(case, weighted), 1e-8)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("name", LIBLINEAR)
def test_liblinear_equals_scikit_learn(name, weighted):
    # Its line search runs out of digits before its tolerance is met: 1e-6 is what it can give.
    case = cases.tiny_classification()
    _compare(LIBLINEAR[name], case, _weights(case, weighted), 1e-6)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("name", REGRESSORS)
def test_squared_loss_equals_scikit_learn(name, n_targets, weighted):
    case = cases.tiny_regression(n_targets=n_targets)
    _compare(REGRESSORS[name], case, _weights(case, weighted), 1e-11)


def test_ridge_with_an_alpha_per_target_and_ridge_cv():
    case = cases.tiny_regression(n_targets=3)
    _compare(Ridge(alpha=np.array([0.1, 2.0, 50.0])), case, None, 1e-11)
    search = RidgeCV(alphas=(0.5, 5.0, 50.0)).fit(case.X, case.y)
    np.testing.assert_allclose(retraining.retrain(search, case.X, case.y), retraining.flat_params(search), rtol=1e-9)


@pytest.mark.parametrize("case", [cases.collinear(cases.tiny_regression()), cases.tiny_regression(8, 12)], ids=repr)
def test_ols_has_minimum_norm_where_rank_falls(case):
    refit = LinearRegression().fit(case.X[1:], case.y[1:])
    got = retraining.retrain(LinearRegression(), case.X, case.y, keep=np.arange(len(case.X)) > 0)
    np.testing.assert_allclose(got, retraining.flat_params(refit), rtol=0, atol=1e-11 * np.abs(got).max())


def test_real_problems_equal_scikit_learn():
    _compare(LogisticRegression(), cases.breast_cancer(), None, 1e-9)
    _compare(LogisticRegression(), cases.wine(), None, 1e-9)


@pytest.mark.parametrize("case", [cases.breast_cancer(), cases.uncentred(cases.breast_cancer())], ids=repr)
def test_the_oracle_stands_at_the_optimum(case):
    """Its gradient is far below what rounding to float64 leaves, so the start makes no difference."""
    estimator = LogisticRegression(C=100)
    theta = retraining.retrain(estimator, case.X, case.y, extended=True)
    rounded = retraining.retrain(estimator, case.X, case.y, start=theta.astype(float) * 1.5)
    np.testing.assert_allclose(rounded, theta.astype(float), rtol=2e-15, atol=0)
    problem = retraining.logistic_problem(estimator, case.X, case.y, np.ones(len(case.X)))
    at = np.linalg.norm(problem.gradient(problem.inward(theta)))
    in_float64 = np.linalg.norm(problem.gradient(problem.inward(theta.astype(float))))
    assert at < in_float64 / 100


def test_hessian_is_the_derivative_of_the_gradient():
    case = cases.tiny_classification(n_classes=3)
    for estimator in (LogisticRegression(), LogisticRegression(fit_intercept=False)):
        problem = retraining.logistic_problem(estimator, case.X, case.y, np.ones(len(case.X)))
        theta = problem.inward(retraining.retrain(estimator, case.X, case.y)) + np.longdouble(0.1)
        rng = np.random.default_rng(0)
        direction = rng.normal(size=theta.shape)
        numeric = (problem.gradient(theta + 1e-7 * direction) - problem.gradient(theta - 1e-7 * direction)) / 2e-7
        slope = (problem.hessian(theta) @ direction.ravel()).reshape(theta.shape)
        np.testing.assert_allclose(slope, numeric.astype(float), rtol=1e-8)
        rise = (problem.value(theta + 1e-6 * direction) - problem.value(theta - 1e-6 * direction)) / 2e-6
        assert float(rise) == pytest.approx(float(np.sum(problem.gradient(theta) * direction)), rel=1e-7)


def test_loo_params_are_single_retrains_and_zero_weight_is_removal():
    case = cases.tiny_classification()
    estimator = LogisticRegression(class_weight="balanced")
    loo = retraining.loo_params(estimator, case.X, case.y, rows=[5])[0]
    weight = np.ones(len(case.X))
    weight[5] = 0
    np.testing.assert_allclose(retraining.retrain(estimator, case.X, case.y, weight), loo, rtol=1e-14)


def test_losses_and_the_gauge():
    y = np.array(["b", "a", "c"])
    raw = np.array([[0.3, 0.1, -2.0], [1.0, 2.0, 3.0], [0.0, 0.0, 800.0]])
    expected = -np.log([np.exp(0.1) / np.exp(raw[0]).sum(), np.exp(1.0) / np.exp(raw[1]).sum(), 1.0])
    np.testing.assert_allclose(retraining.losses(y, raw, "log"), expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(
        retraining.losses(np.array([0, 1]), np.array([1.0, -800.0]), "log"), [np.log1p(np.e), 800.0]
    )
    np.testing.assert_allclose(retraining.losses(np.array([1.0, 2.0]), np.array([0.0, 4.0]), "squared"), [0.5, 2.0])
    change = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 9.0]])  # two classes by two features, two intercepts
    np.testing.assert_allclose(retraining.gauge_free(change, 2, 2), [[1, 2, 3, 4, -2, 2]])
    np.testing.assert_allclose(retraining.gauge_free(change, 2, 2, penalised=False), [[-1, -1, 1, 1, -2, 2]])


def test_the_real_problems_are_what_their_names_say():
    sizes = {case.name: case.X.shape for case in (cases.breast_cancer(), cases.diabetes_above_median())}
    assert sizes == {"breast cancer": (398, 30), "diabetes > median": (309, 10)}
    np.testing.assert_allclose(cases.breast_cancer().X.mean(axis=0), 0, atol=1e-12)
    assert cases.digits().X.max() == 1 and set(cases.digits_3_v_8().y) == {3, 8}
    shifted = cases.uncentred(cases.wine()).X
    assert shifted.mean(axis=0).min() > 1e3 and np.allclose(shifted.std(axis=0), 1)
    assert np.linalg.matrix_rank(cases.collinear(cases.tiny_regression()).X) == 5
    assert cases.breast_cancer() is cases.breast_cancer() and not cases.wine().X.flags.writeable
