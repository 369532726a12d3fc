"""The second-order expansion against the definition, and against optima followed along the path of weights."""

import numpy as np
import pytest
from contract import FAMILIES, ROWS, close, dense, every_family, fitted
from sklearn.linear_model import LogisticRegression
from test_effects import off_gauge, optimum
from test_primal import make

from sklearn_influence import InfluenceEstimator, _backend, newton
from sklearn_influence.second_order import second_order_changes, second_order_rows
from sklearn_influence.solvers import ConjugateGradient, Direct

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*singular.*")
GROUPS = [np.array([3, 0, 17, 29]), np.arange(6)]


def expansion(ref, s):
    """``t + H^-1 (H_S t - T[t, t] / 2)`` in dense algebra, T by differences of the curvature's products."""
    H, ds = ref.hessian(), s - ref.s
    f = ref.outputs()
    t = ref.solve(H, -np.einsum("n,nqp,nq->p", ds, ref.J, ref.slope(ref.y, f)))
    eta, e = ref.J @ t, 1e-5 / np.abs(ref.J @ t).max()
    bend = (ref.bend(f + e * eta) - ref.bend(f - e * eta)) @ eta[:, :, None] / (2 * e)
    moved = np.einsum("n,nqp,nqr,nr->p", ds, ref.J, ref.bend(f), eta)
    return t + ref.solve(H, -moved - 0.5 * np.einsum("n,nqp,nq->p", ref.s, ref.J, bend[:, :, 0]))


@every_family
def test_rows_and_groups_of_every_family_against_the_definition(name):
    model, ref, rtol = fitted(name, "second_order"), dense(name), 10 * FAMILIES[name].rtol
    expected = np.array([expansion(ref, ref.without(name, [row])) for row in ROWS])
    close(model.influence_on_params(ROWS), expected, rtol)
    codes = np.arange(len(ref.s)) % 5
    expected = np.array([expansion(ref, ref.without(name, np.flatnonzero(codes == c))) for c in range(5)])
    close(model.influence_on_params(groups=codes), expected, rtol)


@pytest.mark.parametrize(
    "kind, balanced",
    [("squares", False), ("logistic", False), ("logistic", True), ("softmax", False), ("softmax", True)],
)
def test_it_is_the_second_derivative_of_the_optimum(kind, balanced):
    """Optima at a little of the way, and a little before its start, give both derivatives by differences."""
    objective, factor = optimum(kind, balanced=balanced)
    for rows in GROUPS:
        ds = objective.weighting.effective(removed=rows) - objective.sample_weight
        e = 2e-3
        ahead, behind = (
            newton.minimise(objective.with_(sample_weight=objective.sample_weight + h * ds), tol=1e-14)[0].params
            for h in (e, -e)
        )
        first = off_gauge(objective, ahead - behind) / (2 * e)
        second = off_gauge(objective, ahead + behind - 2 * objective.params) / e**2
        found = second_order_changes(objective, factor, [rows])[:, 0]
        np.testing.assert_allclose(found, first + second / 2, atol=2e-4 * np.abs(found).max())
        assert np.linalg.norm(second) > 0.01 * np.linalg.norm(first)  # there is something to be found


def test_its_error_falls_with_the_third_power_of_the_weight():
    """And that of the first order with the second, of the same rows at smaller and smaller weights."""
    errors = []
    for weight in (0.1, 0.05, 0.025):
        start = make("logistic")
        weights = start.weighting.sample_weight.copy()
        weights[:6] = weight
        start.weighting.__dict__["sample_weight"] = weights
        start.sample_weight = start.weighting.effective()
        objective, _ = newton.minimise(start, tol=1e-14)
        factor, rows = Direct().factor(objective.curvature()), np.arange(6)
        kept = objective.with_(sample_weight=objective.weighting.effective(removed=rows))
        exact = newton.minimise(kept, tol=1e-14)[0].params - objective.params
        first = factor(objective.sample_gradients(rows) @ weights[rows, None])[0][:, 0]
        second = second_order_changes(objective, factor, [rows])[:, 0]
        errors.append([np.linalg.norm(one - exact) for one in (first, second)])
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert (np.abs(np.log2(ratios) - [2, 3]) < 0.2).all()


@pytest.mark.parametrize("balanced", [False, True])
def test_blocks_and_conjugate_gradients_change_nothing(balanced, monkeypatch):
    objective, factor = optimum("softmax", balanced=balanced)
    members = [np.arange(start, start + 4) for start in range(8)]
    whole = second_order_changes(objective, factor, members)
    iterative = ConjugateGradient(tol=1e-13).factor(objective.curvature())
    np.testing.assert_allclose(second_order_changes(objective, iterative, members), whole, rtol=1e-8, atol=1e-11)
    sizes = []
    monkeypatch.setattr("sklearn_influence.second_order.block_size", lambda size, **_: sizes.append(size) or 3)
    np.testing.assert_allclose(second_order_changes(objective, factor, members), whole, rtol=1e-12)
    assert sizes == [64 * objective.n_params + 16 * objective.n_rows * balanced]  # weights of their own


@pytest.mark.parametrize("kind", ["squares", "logistic", "softmax"])
def test_rows_know_their_own_outputs(kind):
    objective, factor = optimum(kind)
    rows = np.array([4, 1, 20])
    effects = second_order_rows(objective, factor, rows)
    df = objective.outputs_change(effects.params(slice(0, 3)), objective.design.take(rows))
    np.testing.assert_allclose(effects.own_outputs(), np.einsum("kqk->kq", df), rtol=1e-12)
    assert len(effects) == 3 and not effects.largest.any()


@pytest.mark.parametrize("name", ["binary", "multinomial", "ridge targets", "balanced", "binary dual"])
def test_every_question_is_answered_at_the_shifted_outputs(name):
    family, model, ref = FAMILIES[name], fitted(name, "second_order"), dense(name)
    X, y = family.test
    J, codes = ref.jacobian(family.case.X_test), ref.encode(y)
    groups = np.arange(len(ref.s)) % 5
    for options in (dict(indices=ROWS), dict(groups=groups)):
        delta, f = model.influence_on_params(**options), ref.outputs(J)
        df = np.einsum("mqp,kp->mkq", J, delta)
        close(model.influence_on_output(X, **options).reshape(df.shape), df, 1e-7)
        expected = np.stack([ref.loss(codes, f + df[:, k]) - ref.loss(codes, f) for k in range(len(delta))], axis=1)
        close(model.influence_on_loss(X, y, **options), expected, 1e-7)
    matrix = model.influence_on_loss()
    close(model.self_influence(), np.diagonal(matrix), 1e-7)
    top = model.top_influences(X, y, k=3)
    close(top.influences, np.sort(model.influence_on_loss(X, y), axis=1)[:, :3], 1e-7)


def test_approximate_solvers_are_refused_by_name():
    case = FAMILIES["binary"].case
    for solver in ("stochastic", "outer_product", "diagonal"):
        model = InfluenceEstimator(LogisticRegression(), method="second_order", solver=solver)
        with pytest.raises(ValueError, match=f"method='second_order' and solver='{solver}' .*'first_order'"):
            model.fit(case.X, case.y)


def test_changes_that_do_not_fit_are_refused_before_any_work(monkeypatch):
    objective, _ = optimum("logistic")
    monkeypatch.setattr(_backend, "physical_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"Parameter changes of 40 removals needs .*'first_order'"):
        second_order_rows(objective, None, np.arange(40))
