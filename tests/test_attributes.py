"""``solve_info_`` after every question, what warns, and what a copy, a pickle, an edit and a setting leave of it."""

import copy
import pickle
import warnings

import cases
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_influence import InfluenceEstimator, solvers
from sklearn_influence.solvers import ConjugateGradient, Diagonal, Direct, OuterProduct, Stochastic

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*rough estimate.*")
BINARY, THREE = cases.tiny_classification(), cases.tiny_classification(n_classes=3)
QUESTIONS = {
    "params": lambda m, c: m.influence_on_params(),
    "params of rows": lambda m, c: m.influence_on_params([4, 2]),
    "params of groups": lambda m, c: m.influence_on_params(groups=np.arange(len(c.X)) % 4),
    "output": lambda m, c: m.influence_on_output(c.X_test),
    "loss": lambda m, c: m.influence_on_loss(c.X_test, c.y_test),
    "mean loss": lambda m, c: m.influence_on_loss(c.X_test, c.y_test, aggregate="mean"),
    "loss of groups": lambda m, c: m.influence_on_loss(c.X_test, c.y_test, groups=np.arange(len(c.X)) % 4),
    "self": lambda m, c: m.self_influence(),
    "self output": lambda m, c: m.self_influence([3], on="output"),
    "top": lambda m, c: m.top_influences(c.X_test, c.y_test, k=2),
    "leverages": lambda m, c: m.leverages(),
    "leverages of rows": lambda m, c: m.leverages([1, 2]),
    "solve": lambda m, c: m.curvature_solve(np.arange(1.0, 1 + len(m.params_))),
}


def fit(case=BINARY, **options):
    return InfluenceEstimator(LogisticRegression(tol=1e-10), **options).fit(case.X, case.y)


@pytest.mark.parametrize("case", [BINARY, THREE], ids=repr)
@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(n_directions=2), "auto"], ids=str)
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_says_how_it_was_solved(question, solver, case):
    model = fit(case, solver=solver)
    with pytest.raises(AttributeError, match="no solve_info_ yet: ask for an influence"):
        model.solve_info_  # noqa: B018
    assert model.params_.size and not hasattr(model, "solve_info_")  # refining is no question
    QUESTIONS[question](model, case)
    info = model.solve_info_
    iterative = isinstance(solver, ConjugateGradient)
    assert info.solver == (solver if iterative else Direct()) and info.converged
    assert (info.residual < 1e-8).all() and np.isfinite(info.residual).all()
    assert info.reason.startswith("auto took Direct") == (solver == "auto")
    assert info.iterations > 1 if iterative else info.iterations == 1
    # Asked again, from what is kept, it says the same.
    QUESTIONS[question](model, case)
    again = model.solve_info_
    assert again.solver == info.solver and again.converged and again.reason and again.iterations >= 1


@pytest.mark.parametrize("solver", ["stochastic", "outer_product", "diagonal"])
@pytest.mark.parametrize("question", [q for q in QUESTIONS if "leverages" not in q])
def test_approximations_say_so_too(question, solver):
    solver = Stochastic(random_state=0) if solver == "stochastic" else solver
    model = fit(THREE, solver=solver, method="first_order")
    QUESTIONS[question](model, THREE)
    info = model.solve_info_
    assert info.solver == solvers.get_solver(solver) and info.converged
    assert len(info.residual) > 0 and info.residual.max() > 1e-4
    if isinstance(solver, Stochastic):
        assert info.standard_error.shape == (15, len(info.residual)) and info.repeats.shape[0] == solver.n_repeats
    else:
        assert info.standard_error is None and "approximation" in info.reason


def test_columns_are_those_that_were_solved_for():
    model = fit(solver="cg")
    model.curvature_solve(np.eye(5)[:, :3])
    assert model.solve_info_.residual.shape == (3,)
    model.curvature_solve(np.ones(5))
    assert model.solve_info_.residual.shape == (1,)
    first = fit(method="first_order")
    first.influence_on_loss(BINARY.X_test[:2], BINARY.y_test[:2])  # the smaller side
    assert first.solve_info_.residual.shape == (2,)


def test_copies_keep_it_pickles_edits_fits_and_clones_do_not():
    model = fit(solver="cg")
    size = len(pickle.dumps(model))
    model.influence_on_params([0])
    info = model.solve_info_
    copied = copy.deepcopy(model)
    assert copied.solve_info_ is info
    copied.influence_on_params([1, 2, 3])
    assert len(copied.solve_info_.residual) > len(info.residual) and model.solve_info_ is info
    assert len(pickle.dumps(model)) == size
    loaded = pickle.loads(pickle.dumps(model))
    for other in (loaded, copied.unlearn([5]), clone(model).fit(BINARY.X, BINARY.y), model.fit(BINARY.X, BINARY.y)):
        assert not hasattr(other, "solve_info_")
        other.influence_on_params([0])
        assert other.solve_info_.converged


def test_each_setting_has_its_own():
    model = fit(solver="cg")
    model.influence_on_params([0])
    cg = model.solve_info_
    model.set_params(solver="direct")
    assert not hasattr(model, "solve_info_")
    model.influence_on_params([0])
    assert model.solve_info_.solver == Direct()
    assert model.set_params(solver="cg").solve_info_ is cg


# ---------------------------------------------------------------------------------------------------
# Warnings
# ---------------------------------------------------------------------------------------------------
POOR = ConjugateGradient(max_iter=2, preconditioner="diagonal")


@pytest.mark.parametrize("question", [q for q in QUESTIONS if "groups" not in q])
def test_a_poor_solve_warns_once_with_the_column_and_the_remedy(question):
    model = fit(cases.breast_cancer())
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression(), solver=POOR, refine=False).fit(case.X, case.y)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        QUESTIONS[question](model, case)
    record = [w for w in record if "The solve did not converge" in str(w.message)]
    assert len(record) == 1 and record[0].category is ConvergenceWarning
    assert record[0].filename == __file__
    info, text = model.solve_info_, str(record[0].message)
    assert not info.converged and info.iterations == 2
    assert f"column {info.worst}, is left with a relative residual of {info.residual.max():.2g} after 2" in text
    assert "max_iter = 2 iterations; raise it, or use solver='direct'" in text
    assert f"{len(info.residual)} right-hand sides" in text


def test_approximations_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for solver in (Diagonal(), OuterProduct()):
            model = fit(solver=solver, method="first_order")
            model.influence_on_loss(BINARY.X_test, BINARY.y_test)
            assert model.solve_info_.residual.max() > 0.05


def test_threads_are_heard():
    model = fit(THREE, solver=POOR, method="first_order", refine=False).set_params(n_jobs=2)
    groups = np.arange(60) % 12
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model.influence_on_params(groups=groups)
    poor = [w for w in record if "The solve did not converge" in str(w.message)]
    assert len(poor) == 1 and not model.solve_info_.converged


def test_standard_errors_are_of_the_parameters_in_the_dual_too():
    case = cases.tiny_regression(n_samples=14, n_features=20)
    model = InfluenceEstimator(
        Ridge(alpha=3.0), solver=Stochastic(random_state=0, tol=1e-3), method="first_order", representation="dual"
    ).fit(case.X, case.y)
    change = model.influence_on_params([0, 3])
    info = model.solve_info_
    assert info.standard_error.shape == (21, 2) and info.repeats.shape == (8, 21, 2)
    np.testing.assert_allclose(info.repeats.mean(axis=0), change.T, rtol=1e-7, atol=1e-9)
    exact = InfluenceEstimator(Ridge(alpha=3.0), method="first_order").fit(case.X, case.y).influence_on_params([0, 3])
    assert (np.abs(change - exact).T <= 8 * info.standard_error + 1e-12).all()


def test_what_is_not_fitted_has_none():
    assert not hasattr(InfluenceEstimator(Ridge()), "solve_info_")
