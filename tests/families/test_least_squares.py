"""Least squares models as objectives: at the fitted parameters the gradient vanishes."""

import warnings

import cases
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV

from sklearn_influence import families

FAMILY = families.LeastSquaresFamily()
CASE = cases.tiny_regression()
TARGETS = cases.tiny_regression(n_targets=3)
WEIGHT = np.linspace(0.5, 2, len(CASE.y))

ESTIMATORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(alpha=3.0),
    Ridge(alpha=3.0, fit_intercept=False),
    Ridge(alpha=3.0, solver="lsqr", tol=1e-14),
    RidgeCV(),
    RidgeCV(alphas=[0.1, 5.0], gcv_mode="svd"),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("case", [CASE, TARGETS], ids=["one target", "three targets"])
def test_the_fitted_parameters_are_the_minimum(estimator, case):
    fitted = estimator.fit(case.X, case.y, sample_weight=WEIGHT)
    objective = FAMILY.read(fitted, case.X, case.y, WEIGHT)
    scale = np.abs(objective.sample_gradients()).max()
    np.testing.assert_allclose(objective.gradient(), 0.0, atol=1e-9 * scale)
    np.testing.assert_allclose(objective.outputs(), fitted.predict(case.X).reshape(len(case.X), -1), rtol=1e-10)


def test_one_alpha_per_target():
    fitted = Ridge(alpha=np.array([0.1, 1.0, 10.0])).fit(TARGETS.X, TARGETS.y)
    objective = FAMILY.read(fitted, TARGETS.X, TARGETS.y, np.ones(len(TARGETS.y)))
    np.testing.assert_array_equal(objective.penalty[:, 0], [0.1, 1.0, 10.0])
    np.testing.assert_array_equal(objective.penalty[:, -1], 0.0)
    chosen = RidgeCV(alphas=[0.1, 100.0], alpha_per_target=True).fit(TARGETS.X, TARGETS.y)
    objective = FAMILY.read(chosen, TARGETS.X, TARGETS.y, np.ones(len(TARGETS.y)))
    np.testing.assert_array_equal(objective.penalty[:, 0], chosen.alpha_)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("y", [CASE.y, CASE.y[:, None], TARGETS.y], ids=["one target", "a column", "three targets"])
def test_writing_keeps_shapes_and_types(estimator, y):
    fitted = estimator.fit(CASE.X, y)
    before = {name: (np.shape(v), type(v)) for name, v in vars(fitted).items() if name in ("coef_", "intercept_")}
    params, shape = FAMILY.params(fitted), fitted.predict(CASE.X).shape
    FAMILY.write(fitted, params + 1.0)
    after = {name: (np.shape(v), type(v)) for name, v in vars(fitted).items() if name in ("coef_", "intercept_")}
    assert {name: shape for name, (shape, _) in before.items()} == {name: shape for name, (shape, _) in after.items()}
    np.testing.assert_allclose(FAMILY.params(fitted), params + 1.0)
    assert fitted.predict(CASE.X).shape == shape


def test_single_precision_is_written_as_it_was_fitted():
    fitted = Ridge().fit(CASE.X.astype(np.float32), CASE.y.astype(np.float32))
    params = FAMILY.params(fitted) + 1e-3
    FAMILY.write(fitted, params)
    assert fitted.coef_.dtype == np.float32
    np.testing.assert_array_equal(FAMILY.params(fitted), FAMILY.as_written(fitted, params))


@pytest.mark.parametrize("estimator", [LinearRegression(positive=True), Ridge(positive=True)], ids=str)
def test_positive_coefficients_are_refused(estimator):
    with pytest.raises(ValueError, match=r"positive=True\) is not supported.*Set positive=False"):
        FAMILY.check(estimator)


def test_targets_are_counted():
    fitted = Ridge().fit(CASE.X, CASE.y)
    with pytest.raises(ValueError, match="y has 3 targets, but the model was fitted on 1"):
        FAMILY.encode(fitted, TARGETS.y)
    with pytest.raises(ValueError, match="NaN"):
        FAMILY.encode(fitted, [1.0, np.nan])


def test_what_is_remembered():
    assert FAMILY.remembers(Ridge().fit(CASE.X, CASE.y), "X") == []
    assert "rank_" in FAMILY.remembers(LinearRegression().fit(CASE.X, CASE.y), "X")[0]
    assert len(FAMILY.remembers(RidgeCV().fit(CASE.X, CASE.y), "X")) == 1
    assert len(FAMILY.remembers(RidgeCV(store_cv_results=True).fit(CASE.X, CASE.y), "X")) == 2


def test_directions_that_linear_regression_drops_are_said():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 2)) * [1.0, 1e7]
    y = X @ [1.0, 1e-7] + rng.standard_normal(50)
    fitted = LinearRegression().fit(X, y)
    if fitted.rank_ == 2:
        pytest.skip("this scikit-learn keeps them")
    with pytest.warns(UserWarning, match="dropped 1 of 2 directions.*Scale the columns, or set tol=0"):
        FAMILY.read(fitted, X, y, np.ones(50))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FAMILY.read(LinearRegression(tol=0.0).fit(X, y), X, y, np.ones(50))
        collinear = np.hstack([CASE.X, CASE.X[:, :1]])
        FAMILY.read(LinearRegression().fit(collinear, CASE.y), collinear, CASE.y, np.ones(len(CASE.y)))
