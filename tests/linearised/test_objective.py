"""The objective by general Jacobians: a linear model's own, and a network's against algebra in its parameters."""

import pickle
from itertools import product

import numpy as np
import pytest
from jacobians import LOSSES, dead_unit, linear_pair, of_network, problem, whole

from sklearn_influence import parameter_space
from sklearn_influence.editing import Removal
from sklearn_influence.replacements import Replacements
from sklearn_influence.solvers import ConjugateGradient, Direct, Stochastic
from sklearn_influence.solvers.choice import Auto, cost_in_passes, direct_size
from sklearn_influence.solvers.info import listening

KINDS = sorted(LOSSES)
METHODS = ["newton", "first_order", "second_order"]
EVERY = slice(None)


def optimum(objective, solver=None):
    solver = Direct() if solver is None else solver
    objective, info = parameter_space.minimise_anew(objective, solver=solver)
    assert info.converged
    return objective, solver.factor(objective.curvature())


# -- a linear model is a network of one layer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "balanced"), [*((kind, False) for kind in KINDS), ("targets", True), ("logistic", True), ("softmax", True)]
)
def test_by_its_jacobians_a_linear_model_is_what_it_is(kind, balanced):
    (linear, by_rows), close = linear_pair(kind, balanced=balanced), dict(rtol=1e-11, atol=1e-12)
    for ours, theirs in ((by_rows, linear), (by_rows.with_linear(linear.params), linear.with_linear(linear.params))):
        assert ours.value() == pytest.approx(theirs.value(), rel=1e-12)
        np.testing.assert_allclose(ours.gradient(), theirs.gradient(), **close)
    if linear.weighting.codes is not None:
        np.testing.assert_allclose(by_rows.class_gradients(), linear.class_gradients(), **close)
    (linear, factor), (by_rows, own) = optimum(linear), optimum(by_rows)
    np.testing.assert_allclose(by_rows.params, linear.params, **close)
    rows, groups = np.array([0, 4, 17]), [np.arange(3), np.arange(3, 20)]
    X, _ = problem(kind, seed=5)
    new = X[:3]
    J = by_rows.design.take(rows).jacobian().copy()
    for o in range(J.shape[1]):
        J[:, o, o * 4 : (o + 1) * 4] = new
    change = Replacements(rows, new, linear.y[rows][::-1])
    held = Replacements(rows, type(by_rows.design)(J, np.zeros(J.shape[:2])), change.y)
    asked = dict(row_effects=(rows, rows), group_effects=(groups, groups), replacement_effects=(held, change))
    for name, method in product(asked, METHODS):
        if (name, method) == ("replacement_effects", "second_order"):
            continue
        ask, (of_ours, of_theirs) = getattr(parameter_space, name), asked[name]
        ours, theirs = ask(by_rows, own, of_ours, method), ask(linear, factor, of_theirs, method)
        np.testing.assert_allclose(ours.params(EVERY), theirs.params(EVERY), **close)
        if name == "row_effects":
            np.testing.assert_allclose(ours.own_outputs(), theirs.own_outputs(), **close)
            if kind != "targets":  # of outputs that mix, leverages below .5 are not looked at
                np.testing.assert_allclose(ours.largest, theirs.largest, **close)


# -- a network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_finite_differences(kind):
    objective = of_network(kind).with_linear(np.linspace(-1, 1, of_network(kind).n_params))
    step, directions = 1e-5, np.random.default_rng(0).standard_normal((objective.n_params, 4))
    for v in directions.T:
        up, down = (objective.with_(params=objective.params + sign * step * v) for sign in (1, -1))
        assert objective.gradient() @ v == pytest.approx((up.value() - down.value()) / (2 * step), rel=1e-6, abs=1e-6)
        bend = (up.gradient() - down.gradient()) / (2 * step)
        np.testing.assert_allclose(objective.curvature().matmat(v[:, None])[:, 0], bend, rtol=1e-5, atol=1e-6)
        third = (up.gradient() + down.gradient() - 2 * objective.gradient()) / step**2
        np.testing.assert_allclose(objective.third_derivative(v[:, None])[:, 0], third, rtol=1e-3, atol=2e-3)
        f = (up.outputs() - down.outputs()) / (2 * step)
        np.testing.assert_allclose(objective.outputs_change(v[:, None])[:, :, 0], f, atol=1e-7)


@pytest.mark.parametrize("free_biases", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_without_rows_is_that_of_the_dense_algebra(kind, free_biases):
    objective, factor = optimum(of_network(kind, free_biases=free_biases))
    for rows in ([3], [29], np.arange(5), np.arange(12)):
        rows = np.array(rows)
        kept = objective.with_(sample_weight=objective.weighting.effective(removed=rows))
        H = kept.curvature().matmat(np.eye(objective.n_params))
        # Along the outputs' common shift nothing moves; the rest has a penalty, or rows enough.
        step = -np.linalg.pinv(H, rcond=1e-11, hermitian=True) @ kept.gradient()
        got = [parameter_space.group_effects(objective, factor, [rows], "newton").params(EVERY)[:, 0]]
        if len(rows) == 1:
            effects = parameter_space.row_effects(objective, factor, rows, "newton")
            got.append(effects.params(EVERY)[:, 0])
            f = objective.outputs_change(got[-1][:, None], objective.design.take(rows))[:, :, 0]
            np.testing.assert_allclose(effects.own_outputs(), f, rtol=1e-8, atol=1e-10)
            G = objective.pullback(np.eye(objective.n_outputs), objective.design.take([0] * objective.n_outputs))
            np.testing.assert_allclose(effects.onto(G)(EVERY), G.T @ got[-1][:, None], rtol=1e-8, atol=1e-10)
        for change in got:
            np.testing.assert_allclose(change, step, rtol=1e-6, atol=1e-7 * np.abs(step).max())


@pytest.mark.parametrize("kind", KINDS)
def test_conjugate_gradients_agree_with_a_factor(kind, monkeypatch):
    objective, factor = optimum(of_network(kind))
    monkeypatch.setattr("sklearn_influence.solvers.preconditioners._FACTORED", 0)  # as of a large network
    iterative = ConjugateGradient(tol=1e-12, n_directions=8).factor(objective.curvature())
    assert iterative.direct is None
    rows = np.arange(6)
    for method in METHODS:
        ours, theirs = (
            parameter_space.row_effects(objective, one, rows, method).params(EVERY) for one in (iterative, factor)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_leverages_are_the_same_by_solves_and_by_the_factor(kind, monkeypatch):
    objective, factor = optimum(of_network(kind))
    J, H = objective.design.jacobian(), objective.curvature().matmat(np.eye(objective.n_params))
    inverse = np.linalg.pinv(H, rcond=1e-12, hermitian=True)
    A, close = J @ inverse @ J.transpose(0, 2, 1), dict(rtol=1e-7, atol=1e-8)
    A = A[:, :, 0] if A.shape[1] == 1 else A
    monkeypatch.setattr("sklearn_influence.linearised.rows.block_size", lambda *args, **kwargs: 7)
    each = [objective.leverage(factor, np.array([i])) for i in range(30)]
    np.testing.assert_allclose(np.concatenate(each), A, **close)
    many = objective.with_()
    many.design = objective.design.take(np.tile(np.arange(30), 4))  # more outputs than parameters
    np.testing.assert_allclose(many.leverage(factor), np.concatenate([A] * 4), **close)
    left, right = np.arange(10), np.arange(10, 20)
    between = objective.leverage_between(factor, objective.design.take(left), objective.design.take(right))
    pairs = J[left] @ inverse @ J[right].transpose(0, 2, 1)
    np.testing.assert_allclose(between, pairs[:, :, 0] if between.ndim == 2 else pairs, **close)


@pytest.mark.parametrize("kind", KINDS)
def test_edited_rows_are_rows_of_a_new_objective(kind):
    objective = of_network(kind, balanced=not LOSSES[kind][0].quadratic)
    fresh = of_network(kind, balanced=not LOSSES[kind][0].quadratic)
    X, (y, *_) = problem(kind, n=33, balanced=not LOSSES[kind][0].quadratic)
    objective.gradient()  # known, so that it is handed over
    kept = np.arange(30) % 7 != 0
    longer = objective.append(X[30:], y[30:], np.ones(3))
    cases = [
        (objective.take(kept), fresh.take(kept)),
        (
            objective.replace(np.array([2, 8]), X[30:32], y[[31, 32]]),
            fresh.replace(np.array([2, 8]), X[30:32], y[[31, 32]]),
        ),
        (longer, fresh.append(X[30:], y[30:], np.ones(3))),
    ]
    for ours, theirs in cases:
        np.testing.assert_allclose(ours.sample_weight, theirs.sample_weight)
        np.testing.assert_allclose(ours.outputs(), theirs.outputs(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(ours.gradient(), theirs.gradient(), rtol=1e-10, atol=1e-11)
        f = ours.design.offsets + ours.design.dot(ours.params[:, None])[:, :, 0]
        np.testing.assert_allclose(ours.outputs(), f, rtol=1e-11, atol=1e-12)
    assert longer.n_rows == 33
    again = pickle.loads(pickle.dumps(objective))
    np.testing.assert_array_equal(again.gradient(), fresh.gradient())


@pytest.mark.parametrize("moved", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_input_sensitivity_is_the_finite_difference(kind, moved):
    objective = of_network(kind)
    objective = objective.with_(params=objective.params + moved)
    onto, rows = np.random.default_rng(0).standard_normal((objective.n_params, 3)), np.array([2, 7])
    got, step = objective.perturbation_gradients(rows, onto), 1e-6
    for j in range(4):
        shift = step * np.eye(4)[j]
        up, down = (objective.replace(rows, objective.design.X[rows] + sign * shift) for sign in (1, -1))
        slope = onto.T @ (up.sample_gradients(rows) - down.sample_gradients(rows)) / (2 * step)
        np.testing.assert_allclose(got[:, :, j], slope, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="held as arrays"):
        of_network(kind, rows="array").perturbation_gradients(rows, onto)


def test_sums_of_squared_outputs():
    objective, delta = (
        of_network("targets"),
        np.random.default_rng(0).standard_normal((of_network("targets").n_params, 3)),
    )
    weight = np.linspace(0, 1, 30)
    want = np.einsum("n,nqk->k", weight, objective.outputs_change(delta) ** 2)
    np.testing.assert_allclose(objective.squared_outputs(objective.design, weight)(delta), want, rtol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_of_the_gradient_is_bounded_and_small(kind):
    objective, _ = optimum(of_network(kind))
    exact = np.zeros(objective.n_params)
    J, s = objective.design.jacobian().astype(np.longdouble), objective.sample_weight
    f = objective.design.offsets + np.einsum("nqp,p->nq", J, objective.params.astype(np.longdouble)).astype(float)
    exact = (
        np.einsum("nqp,nq->p", J, s[:, None] * objective.loss.gradient(objective.y, f))
        + objective.penalty[0] * objective.params
    )
    error, size = np.abs(objective.gradient() - exact.astype(float)), objective.gradient_rounding()
    assert (error <= size + 1e-18).all() and size.max() < 1e-10


def test_auto_weighs_a_factor_against_passes_through_the_network():
    objective = of_network("softmax")
    p = objective.n_params
    assert direct_size(objective) == p and direct_size(objective, "dual") == min(90 + 14, p)
    J_products, factor = 90 * p**2, p**3 / 3
    assert cost_in_passes(objective) == pytest.approx((J_products + factor) / (4 * 8 * 30 * p))
    assert cost_in_passes(objective, share=0.0) == pytest.approx(factor / (4 * 8 * 30 * p))
    assert isinstance(Auto().choose(objective, "newton")[0], Direct)


def test_what_cannot_be_asked_is_refused():
    objective = of_network("softmax")
    with pytest.raises(ValueError, match="device='cuda'"):
        objective.on("cuda")
    assert objective.on("cpu") is objective
    with pytest.raises(ValueError, match="solver='stochastic'"):
        Stochastic().factor(objective.curvature())(np.ones((objective.n_params, 1)))


def test_a_new_row_that_wakes_a_unit_is_stepped_on_directly():
    dead, alive, bias = dead_unit("squares")
    (objective, factor), new = optimum(dead), alive.design.X[[29]]
    assert factor.curvature.unmoved[bias]
    for one in (factor, ConjugateGradient(tol=1e-12).factor(objective.curvature())):
        change = Replacements(np.array([29]), new)
        got = parameter_space.replacement_effects(objective, one, change, "newton").params(EVERY)[:, 0]
        after = alive.with_(params=objective.params)
        want = -np.linalg.pinv(whole(after), rcond=1e-12, hermitian=True) @ after.gradient()
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * np.abs(want).max())
        assert abs(got[bias]) > 1e-3


# -- edits that last ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_unlearning_is_a_refit_within_its_certificate(kind):
    objective, factor = optimum(of_network(kind, free_biases=False))
    kept = np.ones(30, bool)
    kept[:9] = False
    fresh = of_network(kind, free_biases=False).take(kept)
    refit, _ = optimum(fresh.with_(params=np.zeros(fresh.n_params)))
    with listening():
        edited, _, certificate = parameter_space.edited_minimum(
            objective.take(kept),
            Removal(np.arange(9)),
            (objective, factor),
            solver=Direct(),
            tol=1e-10,
            max_iter=50,
            as_written=lambda one: (one, 0.0),
        )
    distance = np.linalg.norm(edited.params - refit.params)
    assert certificate.valid and certificate.converged
    assert distance <= certificate.param_bound + 1e-13 and certificate.param_bound < 1e-9
    assert distance < (1e-10 if objective.loss.quadratic else 1e-9)
