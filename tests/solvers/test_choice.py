"""Which solver "auto" takes, and that it says so."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_influence import InfluenceEstimator, solvers
from sklearn_influence.losses import Logistic, Softmax, SquaredError
from sklearn_influence.objective import Weighting
from sklearn_influence.primal import PrimalObjective
from sklearn_influence.solvers import Auto, ConjugateGradient, Diagonal, Direct, OuterProduct, Stochastic
from sklearn_influence.solvers import choice as module


def objective(n=100, d=10, loss=None, q=1, intercept=True, X=None):
    X = np.zeros((n, d)) if X is None else X
    penalty = np.ones((q, X.shape[1] + intercept))
    weighting = Weighting(np.ones(X.shape[0]))
    loss = SquaredError() if loss is None else loss
    return PrimalObjective(X, np.zeros(X.shape[0]), loss, weighting, penalty, np.zeros(penalty.size), intercept)


def test_size_is_what_is_factored_together():
    assert module.direct_size(objective(d=10)) == 11
    assert module.direct_size(objective(d=10, intercept=False)) == 10
    assert module.direct_size(objective(d=10, q=3)) == 11  # targets, one after another
    assert module.direct_size(objective(d=10, loss=Softmax(), q=3)) == 33
    assert module.direct_size(objective(n=20, d=300, loss=Softmax(), q=3), "dual") == 63
    assert module.direct_size(objective(n=20, d=300, loss=Logistic())) == 301
    assert module.direct_size(objective(n=400, d=300, loss=Logistic()), "dual") == 301


def test_cost_grows_with_size_and_falls_with_the_rows():
    cost = module.cost_in_passes
    assert cost(objective(d=200)) > 2 * cost(objective(d=50))
    # n d**2 over n d: what is left with many rows.
    assert cost(objective(n=100_000, d=50)) == pytest.approx(50 / 16, rel=0.01)
    assert cost(objective(n=50, d=50)) > cost(objective(n=5000, d=50))
    # Ten classes: 45 products of the width over ten of a pass, and a factor of 10 d unknowns.
    assert cost(objective(n=10**6, d=20, loss=Softmax(), q=10)) == pytest.approx(45 * 20 / (16 * 10), rel=0.01)
    rows = sparse.random(1000, 300, density=0.01, format="csr", random_state=0)
    assert cost(objective(X=rows)) > 10 * cost(objective(n=1000, d=300))  # a pass over few entries is cheap


@pytest.mark.parametrize("method", ["newton", "first_order", "second_order"])
def test_small_problems_are_factored(method):
    solver, why = Auto().choose(objective(), method)
    assert solver == Direct() and why == "11 unknowns are factored together"
    assert Auto().choose(objective(n=20, d=300), method, "dual")[1] == "21 unknowns are factored together"


def test_memory_decides_first(monkeypatch):
    case = objective(n=50, d=999)
    for memory, kind in ((16 * 1000**2 / 0.39, Direct), (16 * 1000**2 / 0.41, ConjugateGradient), (None, Direct)):
        monkeypatch.setattr(module, "device_memory", lambda device, memory=memory: memory)
        for method in ("newton", "first_order"):
            solver, why = Auto().choose(case, method)
            assert type(solver) is kind
            assert ("would take 0.0 GiB" in why) == (kind is ConjugateGradient)
    monkeypatch.setattr(module, "device_memory", lambda device: 2**30)
    assert Auto().choose(objective(n=50, d=7999), "newton")[1] == "factoring 8,000 unknowns together would take 1.0 GiB"
    assert type(Auto().choose(objective(n=50, d=7999), "newton", "dual")[0]) is Direct
    assert Auto().choose(objective(n=50, d=7999), "newton")[0] == solvers.get_solver("cg")


def test_first_order_takes_conjugate_gradients_where_a_factor_is_not_worth_its_price():
    classes = objective(n=300, d=400, loss=Softmax(), q=20)
    solver, why = Auto().choose(classes, "first_order")
    passes = module.cost_in_passes(classes)
    assert solver == ConjugateGradient() and passes > 20 * 100
    assert why == f"factoring 8,020 unknowns would cost {passes:,.0f} passes over the rows, more than 2,000"
    assert Auto().choose(classes, "second_order")[0] == Direct()
    assert Auto().choose(classes, "newton")[0] == Direct()  # which needs the leverages
    alone = objective(n=300, d=400, loss=Logistic())
    assert Auto().choose(alone, "first_order")[0] == Direct()
    rows = sparse.random(2000, 3000, density=0.001, format="csr", random_state=0)
    assert Auto().choose(objective(X=rows), "first_order")[0] == ConjugateGradient()
    assert Auto().choose(objective(n=2000, d=3000), "first_order")[0] == Direct()


@pytest.mark.parametrize("method", ["newton", "first_order"])
def test_it_says_what_it_took(monkeypatch, method):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 4)), np.arange(60) % 3
    model = InfluenceEstimator(LogisticRegression(), method=method).fit(X, y)
    model.influence_on_params([0])
    info = model.solve_info_
    assert info.solver == Direct() and info.reason.startswith("auto took Direct, since 15 unknowns are factored")
    monkeypatch.setattr(module, "device_memory", lambda device: 1000)
    model = InfluenceEstimator(LogisticRegression(), method=method).fit(X, y)
    effect = model.influence_on_params([0])
    info = model.solve_info_
    assert info.solver == ConjugateGradient() and info.converged
    assert info.reason.startswith("auto took ConjugateGradient, since factoring 15 unknowns together would take")
    assert "converged in" in info.reason
    named = InfluenceEstimator(LogisticRegression(), method=method, solver="cg").fit(X, y)
    np.testing.assert_allclose(effect, named.influence_on_params([0]), rtol=1e-7)
    assert not named.solve_info_.reason.startswith("auto")


def test_the_dual_is_sized_by_its_rows(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 200)), rng.standard_normal(30)
    monkeypatch.setattr(module, "device_memory", lambda device: 16 * 100**2 / 0.4)  # 100 unknowns fit
    for representation, solver in (("dual", Direct()), ("auto", Direct()), ("primal", ConjugateGradient())):
        model = InfluenceEstimator(Ridge(), representation=representation).fit(X, y)
        model.influence_on_params([0])
        assert model.solve_info_.solver == solver, representation
    assert "since factoring 201 unknowns" in model.solve_info_.reason


def test_names_mean_objects():
    kinds = {
        "auto": Auto,
        "direct": Direct,
        "cg": ConjugateGradient,
        "stochastic": Stochastic,
        "outer_product": OuterProduct,
        "diagonal": Diagonal,
    }
    assert list(kinds) == list(module.SOLVERS)
    for name, kind in kinds.items():
        assert solvers.get_solver(name) == kind() and module.called(kind()) == repr(name)
        assert solvers.get_solver(kind()) == kind()
    assert module.called(Direct(damping=0.5)) == "Direct(damping=0.5)"
    assert [kind.exact for kind in kinds.values()] == [True, True, True, False, False, False]


@pytest.mark.parametrize("bad", [np.array(["cg", "direct"]), np.ones(3), ["cg"], {"cg"}, None, 1.5])
def test_what_is_no_solver_is_a_type_error(bad):
    with pytest.raises(TypeError, match=r"solver must be one of 'auto', 'direct'.*, or an object"):
        solvers.get_solver(bad)


@pytest.mark.parametrize("kind", [Auto, Direct, ConjugateGradient, Stochastic, OuterProduct, Diagonal])
def test_a_class_is_told_to_be_called(kind):
    with pytest.raises(TypeError, match=rf"the class {kind.__name__}; write {kind.__name__}\(\)"):
        solvers.get_solver(kind)


@pytest.mark.parametrize(
    "solver, words",
    [
        (Direct(), None),
        (ConjugateGradient(), None),
        (Stochastic(), None),
        (OuterProduct(), None),
        (Auto(), None),
        (Direct(damping=0.1), "damping"),
        (Stochastic(damping=0.1), "damping"),
        (OuterProduct(damping=0.1), "damping"),
        (Diagonal(), "a diagonal"),
        (OuterProduct(parameters=[0]), "parameters names"),
    ],
    ids=repr,
)
def test_what_depends_on_the_parameters_leaves_the_dual(solver, words):
    needed = module.needs_parameters(solver)
    assert (needed is None) if words is None else words in needed
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 20)), rng.standard_normal(8)
    model = InfluenceEstimator(Ridge(), solver=solver, method="first_order").fit(X, y)
    assert model._options().representation == ("dual" if words is None else "primal")
