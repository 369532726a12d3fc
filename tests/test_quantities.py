"""Estimates and standard errors by hand and by scikit-learn, their derivatives by finite differences of refits."""

import cases
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier

from sklearn_influence import InfluenceEstimator
from sklearn_influence.quantities import ParameterQuantity, estimate, output_quantity

H = 1e-4


def _least_squares(case, t, output=0, counted=True):
    """Estimates and classical standard errors of weighted least squares with a share t of each row."""
    X, y, s = _written_out(case, output)
    root = np.sqrt(t * s)
    Q, R = np.linalg.qr(root[:, None] * X)  # not the normal equations, of which uncentred columns leave nothing
    beta = np.linalg.solve(R, Q.T @ (root * y))
    noise = ((root * (y - X @ beta)) ** 2).sum() / ((t.sum() if counted else len(t)) - X.shape[1])
    return np.array([beta, np.sqrt(noise) * np.linalg.norm(np.linalg.inv(R), axis=1)])


def _logistic(case, t):
    X, y, s = _written_out(case)
    beta = np.zeros(X.shape[1])
    for _ in range(50):
        p = expit(X @ beta)
        information = X.T @ (X * (t * s * p * (1 - p))[:, None])
        beta = beta + np.linalg.solve(information, X.T @ (t * s * (y - p)))
    return np.array([beta, np.sqrt(np.diag(np.linalg.inv(information)))])


def _written_out(case, output=0):
    s = np.ones(len(case.X)) if case.sample_weight is None else case.sample_weight
    y = case.y if case.y.ndim == 1 else case.y[:, output]
    return np.column_stack([case.X, np.ones(len(case.X))]), y, s


def _derivatives(refit, n):
    """By the share of each row, (2, p, n): central differences."""
    shares = np.eye(n)
    return np.stack([(refit(1 + H * i) - refit(1 - H * i)) / (2 * H) for i in shares], axis=-1)


def _fit(estimator, case, **options):
    return InfluenceEstimator(estimator, **options).fit(case.X, case.y, case.sample_weight)


PROBLEMS = {
    "least squares": (LinearRegression(), cases.tiny_regression(), _least_squares),
    "weighted": (LinearRegression(), cases.weighted(cases.tiny_regression()), _least_squares),
    "uncentred": (LinearRegression(), cases.uncentred(cases.tiny_regression()), _least_squares),
    "logistic": (LogisticRegression(C=np.inf), cases.tiny_classification(), _logistic),
    "logistic, weighted": (LogisticRegression(C=np.inf), cases.weighted(cases.tiny_classification()), _logistic),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_parameters_their_errors_and_what_rows_do_to_both(name):
    estimator, case, refit = PROBLEMS[name]
    n, model = len(case.X), _fit(estimator, case)
    values, errors = refit(case, np.ones(n))
    derivatives = _derivatives(lambda t: refit(case, t), n)
    for j in range(len(values)):
        found = estimate(model, ParameterQuantity(j))
        assert_allclose([found.value, found.standard_error], [values[j], errors[j]], rtol=1e-7)
        for changes, expected in ((found.changes, -derivatives[0, j]), (found.error_changes, -derivatives[1, j])):
            assert_allclose(changes, expected, atol=2e-6 * np.abs(expected).max())


def test_each_target_has_an_error_of_its_own():
    case = cases.tiny_regression(n_targets=2)
    model, d = _fit(LinearRegression(), case), case.X.shape[1]
    for output in (0, 1):
        values, errors = _least_squares(case, np.ones(len(case.X)), output)
        for j, position in [(j, output * d + j) for j in range(d)] + [(d, 2 * d + output)]:
            found = estimate(model, ParameterQuantity(position))
            assert_allclose([found.value, found.standard_error], [values[j], errors[j]], rtol=1e-9)


def test_a_row_that_leaves_takes_its_degree_of_freedom_with_it():
    """With n held fixed, as some write the derivative, the changes add up to 0 and are off by half."""
    case = cases.first_rows(cases.diabetes(), 150)
    n, model = len(case.X), _fit(LinearRegression(), case)
    found = estimate(model, ParameterQuantity(2))
    real = np.array([_least_squares(case, 1 - row)[1, 2] for row in np.eye(n)]) - found.standard_error
    held = -_derivatives(lambda t: _least_squares(case, t, counted=False), n)[1, 2]

    def error(changes):
        return np.linalg.norm(changes - real) / np.linalg.norm(real)

    assert error(found.error_changes) < 0.15 and error(held) > 0.3
    assert_allclose(found.error_changes.sum(), real.sum(), rtol=0.05)
    assert abs(held.sum()) < 1e-6 * np.abs(held).sum()


def test_rows_of_weight_0_do_not_count():
    case = cases.tiny_regression()
    weight = np.ones(40)
    weight[:5] = 0.0
    found = estimate(InfluenceEstimator(LinearRegression()).fit(case.X, case.y, weight), ParameterQuantity(1))
    other = estimate(InfluenceEstimator(LinearRegression()).fit(case.X[5:], case.y[5:]), ParameterQuantity(1))
    assert_allclose([found.value, found.standard_error], [other.value, other.standard_error], rtol=1e-10)
    assert_allclose(found.error_changes, np.append(np.zeros(5), other.error_changes), atol=1e-12)
    assert found.spare == other.spare == 35 - 6 - 1


@pytest.mark.parametrize("options", [{"solver": "cg"}, {"solver": "outer_product", "method": "first_order"}], ids=str)
def test_the_true_curvature_whatever_the_solver(options):
    case = cases.tiny_classification()
    plain, other = (_fit(LogisticRegression(C=np.inf), case, **some) for some in ({}, options))
    one, two = (estimate(model, ParameterQuantity(0)) for model in (plain, other))
    assert_allclose([one.value, one.standard_error], [two.value, two.standard_error], rtol=1e-7)
    assert_allclose(one.changes, two.changes, rtol=1e-6, atol=1e-10)
    assert_allclose(one.error_changes, two.error_changes, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("representation", ["primal", "dual"])
@pytest.mark.parametrize(
    "estimator", [Ridge(), LogisticRegression(C=0.3, class_weight="balanced")], ids=lambda one: type(one).__name__
)
def test_changes_are_influences(estimator, representation):
    case = cases.tiny_regression(20, 30) if isinstance(estimator, Ridge) else cases.tiny_classification(n_classes=3)
    model = _fit(estimator, case, method="first_order", representation=representation)
    influences = model.influence_on_params()
    for j in (0, 4, model.params_.size - 1):
        found = estimate(model, ParameterQuantity(j))
        assert_allclose(found.changes, influences[:, j], rtol=1e-6, atol=1e-12)
        assert np.isnan(found.standard_error) and found.no_error


@pytest.mark.parametrize("n_features", [4, 120])  # by the parameters, and by the outputs
def test_functions_of_outputs_are_linearised(n_features):
    case = cases.tiny_regression(60, n_features)
    model = _fit(Ridge(), case, method="first_order")
    quantity = output_quantity(model, lambda f: np.mean((case.y_test - f) ** 2), case.X_test)
    found = estimate(model, quantity)
    assert_allclose(found.value, np.mean((case.y_test - model.predict(case.X_test)) ** 2))
    expected = 2 * model.influence_on_loss(case.X_test, case.y_test, aggregate="mean")
    assert_allclose(found.changes, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
    assert np.isnan(found.standard_error)


def test_functions_of_several_outputs():
    case = cases.wine()
    model = _fit(LogisticRegression(C=0.1), case, method="first_order")

    def surprise(f):
        return np.mean(np.log(np.exp(f).sum(axis=1)) - f[np.arange(len(f)), case.y_test])

    found = estimate(model, output_quantity(model, surprise, case.X_test))
    expected = model.influence_on_loss(case.X_test, case.y_test, aggregate="mean")
    assert_allclose(found.changes, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_derivatives_by_outputs_far_from_0(offset):
    case = cases.tiny_regression()
    model = InfluenceEstimator(LinearRegression(), method="first_order").fit(case.X, case.y + offset)
    found = estimate(model, output_quantity(model, lambda f: np.sin(f - offset).sum()))
    slope = np.cos(model.predict(case.X) - offset)
    assert_allclose(found.changes, slope @ model.influence_on_output(), rtol=1e-4, atol=1e-5)


def test_training_rows_stay_the_same_ones_after_an_edit():
    case = cases.tiny_regression()
    model = _fit(LinearRegression(), case)
    quantity = output_quantity(model, lambda f: float(f @ np.arange(len(f))))
    model.unlearn([0, 7])
    assert_allclose(estimate(model, quantity).value, model.predict(case.X) @ np.arange(40))


@pytest.mark.parametrize(
    "estimator, case, why",
    [
        (Ridge(), cases.tiny_regression(), "penalised"),
        (LogisticRegression(), cases.tiny_classification(), "penalised"),
        (LogisticRegression(C=np.inf, class_weight={0: 1, 1: 3}), cases.tiny_classification(), "class_weight"),
        (LogisticRegression(C=np.inf, class_weight="balanced"), cases.tiny_classification(), "class_weight"),
        (LogisticRegression(C=np.inf), cases.tiny_classification(n_classes=3), "binary logistic"),
        (RidgeClassifier(alpha=0), cases.tiny_classification(), "least squares and binary"),
        (LinearRegression(), cases.collinear(cases.tiny_regression()), "full rank"),
        (LinearRegression(), cases.tiny_regression(6, 5), "6 rows leave no degree of freedom for 6"),
        (LinearRegression(), cases.tiny_regression(20, 30), "full rank"),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:.*singular", "ignore:.*dropped")
def test_why_there_is_no_standard_error(estimator, case, why):
    found = estimate(_fit(estimator, case), ParameterQuantity(0))
    assert why in found.no_error and np.isnan(found.standard_error) and found.error_changes is None


def test_a_perfect_fit_has_an_error_of_0():
    X = np.arange(8.0)[:, None]
    found = estimate(InfluenceEstimator(LinearRegression()).fit(X, 2 * X[:, 0] + 1), ParameterQuantity(0))
    assert found.standard_error < 1e-12 and np.isfinite(found.error_changes).all()
