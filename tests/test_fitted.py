"""What is kept of a fit: computed once, dropped from pickles, shared by copies, warned about once."""

import pickle
import warnings

import cases
import numpy as np
import pytest
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from sklearn_influence import InfluenceEstimator, fitted, solvers


@pytest.fixture
def counted(monkeypatch):
    """How many curvatures have been factored."""
    counts = []
    original = solvers.Direct.factor

    def factor(self, curvature, preconditioner=None):
        counts.append(self)
        return original(self, curvature, preconditioner)

    monkeypatch.setattr(solvers.Direct, "factor", factor)
    return counts


def test_each_thing_is_computed_once(counted):
    case = cases.diabetes()
    model = InfluenceEstimator(Ridge()).fit(case.X, case.y)
    assert not counted
    model.influence_on_loss(case.X_test, case.y_test)
    first = len(counted)
    model.influence_on_params(), model.leverages(), model.top_influences(case.X_test, case.y_test)
    model.curvature_solve(model.params_), model.self_influence()
    assert len(counted) == first
    model.set_params(solver=solvers.Direct(damping=0.5)).leverages()
    assert len(counted) == first + 1
    model.set_params(solver="direct").leverages()
    assert len(counted) == first + 1


def test_options_follow_at_once():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newton = model.influence_on_params([3])
        first = model.set_params(method="first_order").influence_on_params([3])
        damped = model.set_params(method="newton", solver=solvers.Direct(damping=0.5)).influence_on_params([3])
        unrefined = model.set_params(solver="auto", refine=False).influence_on_params([3])
        again = model.set_params(refine=True).influence_on_params([3])
    np.testing.assert_array_equal(newton, again)
    for other in (first, damped, unrefined):
        assert not np.allclose(newton, other, rtol=1e-6)


def test_pickles_hold_rows_but_nothing_computed():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    size = len(pickle.dumps(model))
    model.influence_on_params(), model.stationarity_.relative
    assert len(pickle.dumps(model)) == size
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.influence_on_params(), model.influence_on_params())


def test_stationarity_is_of_the_estimators_own_parameters():
    case = cases.breast_cancer_unscaled()
    loose = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    tight = InfluenceEstimator(LogisticRegression(solver="newton-cholesky", tol=1e-12)).fit(case.X, case.y)
    assert loose.stationarity_.relative > 10 > 1e-6 > tight.stationarity_.relative
    assert loose.stationarity_.newton_decrement > 0
    gradient = loose._objective.gradient()
    assert loose.stationarity_.gradient_norm == pytest.approx(np.linalg.norm(gradient))
    np.testing.assert_allclose(loose.params_, tight.params_, rtol=1e-5)
    own = np.append(loose.estimator_.coef_, loose.estimator_.intercept_)
    np.testing.assert_array_equal(loose.set_params(refine=False).params_, own)


def test_a_perfect_fit_is_stationary():
    X = np.arange(6.0)[:, None]
    model = InfluenceEstimator(LinearRegression()).fit(X, np.zeros(6))
    assert model.stationarity_.relative == 0.0


def test_off_minimum_models_warn_unless_refined():
    case = cases.breast_cancer_unscaled()
    model = InfluenceEstimator(LogisticRegression(), refine=False).fit(case.X, case.y)
    with pytest.warns(ConvergenceWarning, match=r"not at a minimum.*times a typical row's influence \(threshold 1\)"):
        model.influence_on_params([0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.influence_on_params([0])  # said once
        model.set_params(refine=True).influence_on_params([0])


def test_singular_curvature_is_said_with_its_number():
    case = cases.diabetes()
    X = np.hstack([case.X, case.X[:, :1] + case.X[:, 1:2]])
    model = InfluenceEstimator(LinearRegression()).fit(X, case.y)
    with pytest.warns(LinAlgWarning, match="1 of 12 directions are flat"):
        model.leverages()


def test_softmax_gauge_is_not_warned_about():
    case = cases.wine()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.leverages([0])


def test_no_finite_optimum_is_said():
    X = np.arange(10.0)[:, None]
    model = InfluenceEstimator(LogisticRegression(C=np.inf)).fit(X, X[:, 0] > 4)
    with pytest.warns(ConvergenceWarning, match="did not converge.*no finite optimum.*add a penalty"):
        assert len(model.params_) == 2


def test_options_are_compared_by_value():
    options = fitted.Options(solvers.Direct(), True, "auto", "cpu")
    assert options == fitted.Options(solvers.Direct(0.0), True, "auto", "cpu")
    assert options != fitted.Options(solvers.Direct(0.1), True, "auto", "cpu")


def test_an_optimum_that_a_poor_solver_did_not_reach_is_not_taken_over():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 80)) * np.logspace(0, -2, 80)
    y = (X[:, 0] + 0.5 * rng.logistic(size=200) > 0).astype(int)
    estimator = LogisticRegression(C=100, max_iter=10_000)
    poor = solvers.ConjugateGradient(max_iter=1, preconditioner=None)
    model = InfluenceEstimator(estimator, solver=poor).fit(X, y)
    with pytest.warns(ConvergenceWarning):
        model.influence_on_params([0])
    model.set_params(solver="direct")
    expected = InfluenceEstimator(estimator, solver="direct").fit(X, y).params_
    np.testing.assert_allclose(model.params_, expected, rtol=1e-8)
