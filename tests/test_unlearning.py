"""Edits that last: convergence, what is kept, and that nothing of the rows is."""

import copy
import pickle
import tracemalloc
import warnings

import cases
import numpy as np
import pytest
import retraining
from held import arrays_of
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV
from test_primal import make

from sklearn_influence import InfluenceEstimator, editing, newton
from sklearn_influence.solvers import Direct

ROWS = np.array([0, 5, 11, 30])
LIMITS = dict(tol=1e-10, max_iter=50, solver=Direct())


@pytest.mark.parametrize("kind", ["squares", "logistic", "softmax"])
@pytest.mark.parametrize("rows", [[2], [1, 2, 3, 9, 12], list(range(3, 20))])
def test_remove_reaches_the_minimum_of_the_rest(kind, rows):
    best, _ = newton.minimise(make(kind))
    factor = Direct().factor(best.curvature())
    kept = np.setdiff1d(np.arange(30), rows)
    expected, _ = newton.minimise(best.take(kept))
    edit = editing.Removal(np.array(rows))
    found, new_factor, certificate = editing.edited_minimum(
        edit.apply(best), edit, (best, factor), as_written=lambda objective: (objective, 0.0), **LIMITS
    )
    assert found.n_rows == len(kept) == certificate.n_retained
    np.testing.assert_allclose(found.outputs(), expected.outputs() + _gauge(found, expected), atol=1e-11)
    assert certificate.converged and certificate.valid and certificate.n_removed == len(rows)
    assert certificate.param_bound < 1e-9 and certificate.seconds > 0
    if new_factor is not None:
        B = np.eye(best.n_params)
        np.testing.assert_allclose(new_factor(B)[0], Direct().factor(found.curvature())(B)[0], rtol=1e-6, atol=1e-9)


def _gauge(found, expected):
    if not found.loss.shift_invariant:
        return 0.0
    return (found.outputs() - expected.outputs()).mean(axis=1, keepdims=True)


def test_written_parameters_are_what_is_certified():
    def rounded(objective):
        return objective.with_(params=objective.params.astype(np.float32).astype(float))

    best, _ = newton.minimise(make("logistic"))
    factor = Direct().factor(best.curvature())
    edit = editing.Removal(ROWS[:2])
    found, _, certificate = editing.edited_minimum(
        edit.apply(best), edit, (best, factor), as_written=lambda objective: (rounded(objective), 0.0), **LIMITS
    )
    exact, _ = newton.minimise(found)
    distance = np.linalg.norm(found.params - exact.params)
    assert distance > 1e-9
    assert distance <= certificate.param_bound < 100 * distance


@pytest.mark.parametrize("max_iter", [1, 2])
def test_out_of_steps_keeps_the_last_iterate_and_says_so(max_iter):
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    rows = np.arange(0, 398, 3)
    with pytest.warns(ConvergenceWarning, match=f"did not converge in {max_iter} Newton steps.*max_iter"):
        model.unlearn(rows, max_iter=max_iter)
    certificate = model.certificate_
    assert not certificate.converged and certificate.n_iter == max_iter
    done = copy.deepcopy(model).unlearn([1])
    full = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y).unlearn(rows)
    distance = np.linalg.norm(model.params_ - full.params_)
    assert 0 < distance <= certificate.param_bound
    assert done.certificate_.converged


def test_more_steps_are_taken_until_the_bound_holds():
    # The first iterates of a large removal are outside the self-concordant bound's reach, and without a penalty no
    # other holds.
    case = cases.diabetes_above_median()
    model = InfluenceEstimator(LogisticRegression(C=np.inf, max_iter=1000)).fit(case.X, case.y).unlearn(np.arange(100))
    assert model.certificate_.valid and model.certificate_.r_nu < 1


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), LogisticRegression(class_weight="balanced"), Ridge(), LinearRegression()],
    ids=str,
)
def test_nothing_of_the_rows_is_left(estimator):
    case = cases.breast_cancer()
    X, weight = case.X.copy(), np.ones(len(case.y))
    planted = 3.0 + np.arange(X.shape[1]) * 1.0009765625e-3
    X[ROWS] = planted
    weight[ROWS] = 1.2345678901
    model = InfluenceEstimator(estimator).fit(X, case.y, sample_weight=weight)
    model.influence_on_loss(case.X_test, case.y_test, aggregate="mean")
    model.leverages(), model.stationarity_
    model.set_params(solver=Direct(damping=0.1)).leverages()
    model.set_params(solver="auto")
    needles = [planted[1:].tobytes(), weight[ROWS[:1]].tobytes()]
    assert all(needle in pickle.dumps(model) for needle in needles)
    model.unlearn(ROWS)
    held = list(arrays_of(model))
    for needle in needles:
        assert needle not in pickle.dumps(model)
        assert not any(needle in array.tobytes() for array in held)
    assert not any(len(array) == len(X) for array in held if array.ndim), "an array still has a place for each row"
    np.testing.assert_array_equal(X[ROWS[0]], planted)  # the caller's own array is the caller's


def test_per_row_errors_of_ridgecv_lose_the_rows():
    case = cases.diabetes()
    model = InfluenceEstimator(RidgeCV(store_cv_results=True)).fit(case.X, case.y)
    before, alpha = model.estimator_.cv_results_.copy(), model.estimator_.alpha_
    model.unlearn(ROWS)
    np.testing.assert_array_equal(model.estimator_.cv_results_, np.delete(before, ROWS, axis=0))
    assert model.estimator_.alpha_ == alpha
    assert any("alpha_" in line for line in model.certificate_.remembers)
    expected = Ridge(alpha=alpha).fit(np.delete(case.X, ROWS, axis=0), np.delete(case.y, ROWS))
    np.testing.assert_allclose(model.estimator_.coef_, expected.coef_, rtol=1e-9)


def test_rows_of_weight_zero_leave_without_a_trace():
    case = cases.breast_cancer()
    weight = np.ones(len(case.y))
    weight[ROWS] = 0.0
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y, sample_weight=weight)
    before = model.params_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.unlearn(ROWS)
    np.testing.assert_allclose(model.params_, before, atol=1e-12)
    assert model.certificate_.converged


def test_copies_share_data_but_not_edits():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    before = model.params_
    other = copy.deepcopy(model)
    assert other._objective.design is model._objective.design
    other.unlearn([7])
    np.testing.assert_array_equal(model.params_, before)
    assert len(model.sample_indices_) == len(case.y) == len(other.sample_indices_) + 1
    np.testing.assert_array_equal(model.estimator_.predict(case.X_test), model.predict(case.X_test))
    assert not np.array_equal(model.estimator_.coef_, other.estimator_.coef_)


def test_a_first_step_that_overshoots_is_not_taken():
    """Rows of weight 1000 hold the model: one step without them ends where the softmax has no curvature left."""
    X, y = load_iris(return_X_y=True)
    rows = np.random.default_rng(12).choice(150, 15, replace=False)
    weight = np.ones(150)
    weight[rows] = 1000.0
    estimator = LogisticRegression(C=10, max_iter=10_000)
    model = InfluenceEstimator(estimator).fit(X, y, sample_weight=weight).unlearn(rows)
    kept = np.delete(np.arange(150), rows)
    refit = LogisticRegression(C=10, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X[kept], y[kept])
    assert model.certificate_.converged and model.certificate_.valid
    np.testing.assert_allclose(model.predict_proba(X), refit.predict_proba(X), atol=1e-7)


def test_influences_after_an_unconverged_edit_warn():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    with pytest.warns(ConvergenceWarning, match="did not converge in 1 Newton steps"):
        model.unlearn(np.arange(0, 398, 2), max_iter=1)
    with pytest.warns(ConvergenceWarning, match="not at a minimum"):
        model.influence_on_params([1])
    assert pickle.loads(pickle.dumps(model))._fitted.settled is False


def test_removing_many_sparse_rows_fills_nothing():
    """The group's gradient is one pass over its rows: no array of parameters by rows."""
    X = sparse.random(20_000, 1_000, density=1e-3, format="csr", random_state=0)
    y = np.asarray(X.sum(axis=1)).ravel() + np.random.default_rng(0).standard_normal(20_000)
    model = InfluenceEstimator(Ridge(solver="sparse_cg")).fit(X, y)
    model.params_  # noqa: B018
    tracemalloc.start()
    model.unlearn(np.arange(10_000))
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak < 70  # one Gram is 8 MB; the filled rows would be 76


@pytest.mark.parametrize("factor", [1.0, 1.1])
@pytest.mark.parametrize("k", [0, 10])
def test_rows_that_repeat_one_another_far_from_zero_lower_the_rank(k, factor):
    """Rounding of the longest direction is no direction: least squares answers with the smallest norm, as a refit."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8 + k, 12)) + 1e4 * rng.random(12), rng.standard_normal(8 + k)
    X[1] = factor * X[0]
    estimator = LinearRegression(fit_intercept=False)
    model = InfluenceEstimator(estimator, representation="primal").fit(X, y)
    model.unlearn(np.arange(8, 8 + k))
    np.testing.assert_allclose(model.params_, retraining.retrain(estimator, X[:8], y[:8]), rtol=1e-6)
