"""Every family through every exact solver: direct, conjugate gradients and the dual agree to 1e-8."""

import copy
import gc
import weakref
from functools import lru_cache

import cases
import numpy as np
import pytest
import retraining
from contract import FAMILIES, ROWS, Family, close, every_family
from held import arrays_of
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression

from sklearn_influence import InfluenceEstimator
from sklearn_influence.solvers import ConjugateGradient, Direct

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*rough estimate.*", "ignore:lbfgs failed")
# Fewer directions than columns, so that it has to iterate; "cg" itself has the factored curvature here.
SETTINGS = {
    "cg": ConjugateGradient(n_directions=2, tol=1e-12),
    "cg, diagonal": ConjugateGradient(1e-12, 500, "diagonal"),
}


@lru_cache
def asked(name, method, solver, representation):
    return answers(FAMILIES[name].fit(method=method, solver=solver, representation=representation), FAMILIES[name])


def answers(model, family):
    X, y = family.test
    n, off = len(family.case.X), family.off_gauge
    groups = np.arange(n) % 5
    return {
        "params_": off(model.params_[None]),
        "params": off(model.influence_on_params()),
        "params of rows": off(model.influence_on_params(ROWS)),
        "params of groups": off(model.influence_on_params(groups=groups)),
        "output": model.influence_on_output(X, ROWS),
        "loss": model.influence_on_loss(X, y),
        "loss of groups": model.influence_on_loss(X, y, groups=groups),
        "mean loss": model.influence_on_loss(X, y, aggregate="mean"),
        "self": model.self_influence(),
        "self output": model.self_influence(ROWS, on="output"),
        "leverages": model.leverages(),
        "leverages of rows": model.leverages(ROWS),
        "top": model.top_influences(X, y, k=3).influences,
        "solve": model.curvature_solve(np.eye(len(model.params_))[:, :2]),
    }


def agree(mine, theirs, rtol):
    for what, expected in theirs.items():
        close(mine[what], expected, rtol, 1 if what.startswith("leverages") else None)


@every_family
@pytest.mark.parametrize("solver, method", [("cg", "newton"), ("cg", "first_order"), ("cg, diagonal", "newton")])
def test_conjugate_gradients_agree_with_direct(name, method, solver):
    family = FAMILIES[name]
    direct = asked(name, method, Direct(), family.representation)
    model = family.fit(method=method, solver=SETTINGS[solver])
    agree(answers(model, family), direct, max(1e-8, family.rtol))
    model.influence_on_params(ROWS)
    assert model.solve_info_.solver == SETTINGS[solver] and model.solve_info_.converged


def has_dual(name):
    """One penalty for all coefficients of an output."""
    return FAMILIES[name].representation == "auto" and name != "frame"


@pytest.mark.parametrize("name", [name for name in FAMILIES if has_dual(name)])
@pytest.mark.parametrize("solver", ["direct", "cg"])
def test_the_dual_agrees_with_the_primal(name, solver):
    family = FAMILIES[name]
    for method in ("newton", "first_order"):
        primal = asked(name, method, Direct(), "auto")
        model = family.fit(method=method, solver=solver, representation="dual")
        # Without a penalty directions of tiny singular values decide, in both.
        agree(answers(model, family), primal, max(1e-8, family.rtol))


# ---------------------------------------------------------------------------------------------------
# Raw data
# ---------------------------------------------------------------------------------------------------
def raw(load, n_rows=None):
    X, y = load(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(X))[:n_rows]
    X, y = X[rows], y[rows]
    return cases.Case(load.__name__, X, y, X[:20].copy(), y[:20].copy())


RAW = {
    "breast cancer": (raw(load_breast_cancer), 1.0),
    "wine": (raw(load_wine), 1.0),
    "digits": (raw(load_digits, 120), 0.01),
}


@lru_cache
def ask_raw(name, solver, representation):
    case, C = RAW[name]
    estimator = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8)
    family = Family(estimator, case)
    model = family.fit(solver=solver, representation=representation)
    groups = np.random.default_rng(1).integers(0, 6, len(case.X))
    X, y = family.test
    return {
        "params_": family.off_gauge(model.params_[None]),
        "params": family.off_gauge(model.influence_on_params(ROWS)),
        "loss": model.influence_on_loss(X, y),
        "leverages": model.leverages(),
        "params of groups": family.off_gauge(model.influence_on_params(groups=groups)),
        "loss of groups": model.influence_on_loss(X, y, groups=groups),
    }


@pytest.mark.parametrize("representation", ["primal", "dual"])
@pytest.mark.parametrize(
    "solver", ["cg", "direct", ConjugateGradient(n_directions=6)], ids=["cg", "direct", "6 of them"]
)
@pytest.mark.parametrize("name", RAW)
def test_raw_data_as_they_are(name, solver, representation):
    """Columns from 1e-3 to 1e3, means far from zero, ten classes."""
    agree(ask_raw(name, solver, representation), ask_raw(name, "direct", "primal"), 1e-8)


# ---------------------------------------------------------------------------------------------------
# Unlearning
# ---------------------------------------------------------------------------------------------------
@every_family
def test_unlearning_by_conjugate_gradients_is_a_refit(name):
    family = FAMILIES[name]
    case, n = family.case, len(family.case.X)
    keep = np.ones(n, dtype=bool)
    keep[ROWS] = False
    model = family.fit(solver=SETTINGS["cg, diagonal"]).unlearn(ROWS)
    exact = retraining.retrain(model.estimator_, case.X, case.y, case.sample_weight, keep)
    close(family.off_gauge(model.params_), family.off_gauge(exact), max(1e-9, family.rtol))
    certificate = model.certificate_
    assert certificate.converged
    # Without a penalty nothing says how far a residual of conjugate gradients reaches.
    penalised = getattr(family.estimator, "C", 1.0) < np.inf and not isinstance(family.estimator, LinearRegression)
    assert certificate.valid or not penalised
    distance = np.linalg.norm(family.off_gauge(model.params_) - family.off_gauge(exact))
    assert certificate.param_bound >= distance
    # And again, with what the first edit left.
    keep[50 if n > 50 else 11] = False
    row = np.flatnonzero(~keep & np.isin(np.arange(n), model.sample_indices_))
    model.unlearn(row)
    exact = retraining.retrain(model.estimator_, case.X, case.y, case.sample_weight, keep)
    close(family.off_gauge(model.params_), family.off_gauge(exact), max(1e-9, family.rtol))
    X, y = family.test
    other = family.fit(keep, estimator=family.pinned(model.estimator_))
    close(model.influence_on_loss(X, y), other.influence_on_loss(X, y), max(1e-7, 10 * family.rtol))
    assert model.solve_info_.solver == SETTINGS["cg, diagonal"]


@pytest.mark.parametrize("representation", ["primal", "dual"])
@pytest.mark.parametrize("name", ["binary", "multinomial", "ridge", "multinomial weighted"])
@pytest.mark.parametrize("solver", [*SETTINGS.values(), ConjugateGradient()], ids=[*SETTINGS, "exact"])
def test_no_copy_of_a_removed_row_is_kept(name, solver, representation):
    """The preconditioner of the rows that were there serves on, its rows do not."""
    family = FAMILIES[name]
    X = family.case.X.copy()
    marked = X[ROWS] = 0.37 + np.pi * np.arange(len(ROWS) * X.shape[1]).reshape(len(ROWS), -1) % 1.7
    model = InfluenceEstimator(family.estimator, solver=solver, representation=representation)
    model.fit(X, family.case.y, sample_weight=family.case.sample_weight)
    model.influence_on_loss(X[:5], family.case.y[:5]), model.leverages(), model.self_influence(), model.stationarity_

    def held():
        numbers = set(marked.ravel().tolist())
        return [a.shape for a in arrays_of(model) if a.dtype.kind == "f" and not numbers.isdisjoint(a.ravel().tolist())]

    assert held()  # the search finds what is there
    n = len(X)
    before = [weakref.ref(a) for a in arrays_of(model) if a.ndim and a.shape[0] == n]
    model.unlearn(ROWS)
    gc.collect()
    assert not held()
    stay = [a for a in arrays_of(model) if n in a.shape]
    assert not stay, [a.shape for a in stay]
    alive = [ref().shape for ref in before if ref() is not None and any(ref() is a for a in arrays_of(model))]
    assert not alive
    model.influence_on_loss(X[:5], family.case.y[:5]), model.leverages()
    assert not held()


def test_a_copy_keeps_its_own():
    family = FAMILIES["multinomial"]
    model = family.fit(solver="cg")
    model.influence_on_params(ROWS)
    copied = copy.deepcopy(model).unlearn(ROWS)
    close(model.influence_on_params(ROWS), family.fit().influence_on_params(ROWS), 1e-8)
    assert len(copied.sample_indices_) == 56 and len(model.sample_indices_) == 60
