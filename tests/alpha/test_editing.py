"""Edits of kernel models: bounds that hold for hundreds of them, and what stands in the way of a cheap one."""

import numpy as np
import pytest
from kernel_contract import BINARY, FAMILIES, GP, KLR, LINE, SMOOTH, TARGETS, THREE, UNEQUAL, Family, close, without
from sklearn.kernel_ridge import KernelRidge
from tangent_cases import KINDS, Linearised

from sklearn_influence import InfluenceEstimator
from sklearn_influence.alpha import editing, newton
from sklearn_influence.editing import Addition, Correction, Removal, Written
from sklearn_influence.solvers import ConjugateGradient, Direct

STRENGTHS = (1e-5, 1e-3, 1e-1, 10.0)


def _models(strength):
    rbf = dict(kernel="rbf", gamma=0.3)
    yield Family(KernelRidge(strength, **rbf), LINE)
    yield Family(KernelRidge(strength, kernel="poly", degree=2), TARGETS)
    yield Family(GP(SMOOTH, alpha=strength, optimizer=None, normalize_y=True), TARGETS)
    for scale in ("sum", "mean"):
        yield Family(KLR(strength, penalty_scale=scale, **rbf), BINARY, wrapped=False)
        yield Family(KLR(strength, penalty_scale=scale, **rbf), THREE, wrapped=False)
        yield Family(KLR(strength, penalty_scale=scale, class_weight="balanced", **rbf), UNEQUAL, wrapped=False)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_bounds_hold(strength):
    rng = np.random.default_rng(0)
    for family in _models(strength):
        for asked in (False, True):
            model, gone = family.fit(), rng.permutation(family.n)[: rng.integers(1, 20)]
            if asked and family.squared:
                model.leverages()  # the inverse is at hand, and the rows are taken out of it
            model.unlearn(gone)
            keep, certificate = without(family, gone), model.certificate_
            truth = family.params(family.refit(keep), keep)
            size = family.n * family.q
            truth = np.append(truth[:size].reshape(family.n, -1)[keep].ravel(), truth[size:])
            distance, length = np.linalg.norm(model.params_ - truth), np.linalg.norm(truth)
            assert certificate.valid and certificate.converged, family
            assert distance <= certificate.param_bound + 1e-12 * length, (family, distance, certificate)
            assert certificate.param_bound <= 1e-4 * length, family


@pytest.mark.parametrize("name", ["ridge rbf", "gp normalised targets", "binary", "softmax mean", "binary balanced"])
def test_bounds_hold_off_the_minimum(name):
    """At parameters that are no minimum a bound is larger than the distance, by not too much, or says it is none."""
    family = FAMILIES[name]
    best = family.fit()
    objective = best._fitted.optimum(best._options())[0]
    rng, ratios = np.random.default_rng(0), []
    for size in (1e-1, 1e-3, 1e-6):
        way = np.zeros(objective.n_params)
        n = objective.coefficients.size
        way[:n] = size * rng.standard_normal(n) * np.linalg.norm(objective.params) / np.sqrt(n)
        moved = objective.with_(params=objective.params + way)
        bound = editing.distance_bound(moved, None, Direct())
        if bound.valid:
            assert bound.param_bound >= np.linalg.norm(way)
            ratios.append(bound.param_bound / np.linalg.norm(way))
        relative = editing.stationarity(moved, Direct().factor(moved.curvature())).relative
        assert relative > 0 and (size < 1e-1 or relative > 1e-2)
    assert len(ratios) >= 2 and min(ratios) < 100


@pytest.mark.parametrize("name", ["ridge poly targets", "binary", "softmax weighted", "gp normalised targets"])
@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient()], ids=["direct", "cg"])
def test_a_minimum_takes_next_to_no_steps_to_find_again(name, solver):
    model = FAMILIES[name].fit(solver=solver)
    objective = model._fitted.optimum(model._options())[0]
    again, info = editing.minimise_anew(objective, solver=solver)
    assert info.converged and info.n_iter <= 2
    close(again.params, objective.params, 1e-8)
    at = editing.stationarity(objective, solver.factor(objective.curvature()))
    assert at.relative < 1e-6
    anywhere, info = editing.minimise_anew(objective.with_(params=0.3 * objective.params), solver=solver)
    if objective.centred:  # the offset is the mean target, not a thing to minimise over
        start = 0.3 * objective.params
        start[-objective.n_outputs :] = objective.offset
        anywhere, info = editing.minimise_anew(objective.with_(params=start), solver=solver)
    assert info.converged
    close(anywhere.params, objective.params, 1e-7)


def test_the_inverse_at_hand_and_a_new_factor_agree(monkeypatch):
    family, gone = FAMILIES["ridge poly targets"], [3, 17, 8]
    cold, warm = family.fit(), family.fit()
    warm.leverages()
    made = []
    real = editing._downdated
    monkeypatch.setattr(editing, "_downdated", lambda *args: made.append(real(*args)) or made[-1])
    close(warm.unlearn(gone).params_, cold.unlearn(gone).params_, 1e-12)
    assert made[0] is not None
    after = warm.influence_on_output(family.test_rows(), [0, 1])
    close(after, cold.influence_on_output(family.test_rows(), [0, 1]), 1e-11)
    large = np.arange(20)
    warm.unlearn(np.setdiff1d(large, gone))
    assert made[-1] is None  # more than a sixth: those that stay are factored


def test_one_edit_after_another_goes_by_the_inverse(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    model = InfluenceEstimator(KernelRidge(alpha=0.3, kernel="rbf")).fit(X, X[:, 0])
    model.leverages()
    monkeypatch.setattr(editing, "minimise_anew", None)
    model.unlearn([0]).unlearn([7]).unlearn([9])
    refit = KernelRidge(alpha=0.3, kernel="rbf").fit(np.delete(X, [0, 7, 9], 0), np.delete(X[:, 0], [0, 7, 9]))
    np.testing.assert_allclose(model.params_, refit.dual_coef_, atol=1e-12)


# -- linearised networks: kernels that mix the outputs, against refits in the network's own parameters -----------------

WAYS = pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(tol=1e-13)], ids=["direct", "cg"])


def _edited(case, edit, solver, before=None, tol=1e-10):
    """The parameters after an edit, and its certificate."""
    objective = case.fit(solver)[0] if before is None else before[0]
    limits = dict(tol=tol, max_iter=50, solver=solver)
    found, _, certificate = editing.edited_minimum(
        edit.apply(objective), edit, before, as_written=lambda objective: (objective, 0.0), **limits
    )
    return found.to_params(found.params), certificate


@WAYS
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_edits_of_linearised_networks_are_refits(kind, mean, solver):
    case, new = Linearised(kind, mean=mean), np.random.default_rng(5)
    labels, gone, own = case.targets(new, 2), np.array([1, 4, 8, 11]), np.array([7, 2])
    kept = np.setdiff1d(np.arange(12), gone)
    moved, targets = case.X.copy(), case.y.copy()
    moved[own], targets[own] = case.X_test[:2], labels
    more = (case.X_test[2:4], labels, np.array([0.5, 2.0]))
    edits = {
        Removal(gone): (case.X[kept], case.y[kept], case.weight[kept]),
        Correction(own, case.X_test[:2], labels): (moved, targets, case.weight),
        Addition(*more): tuple(np.concatenate(pair) for pair in zip((case.X, case.y, case.weight), more, strict=True)),
    }
    for edit, rows in edits.items():
        theta, certificate = _edited(case, edit, solver)
        truth = case.refit(*rows)
        distance, length = np.linalg.norm(theta - truth), np.linalg.norm(truth)
        assert certificate.valid and certificate.converged
        assert distance <= 1e-10 * length, edit.verb
        # The refit itself is no nearer than its rounding.
        assert distance <= certificate.param_bound + 1e-13 * length and certificate.param_bound <= 1e-7 * length


@WAYS
@pytest.mark.parametrize("kind", ["softmax", "logistic"])
def test_new_features_under_a_weak_penalty_take_no_more_steps_than_a_refit(kind, solver):
    """Coefficients are as large as 1 / rho, and those of the old features would throw the outputs of the new ones."""
    case, own = Linearised(kind), np.array([7, 2])
    start = case.weakly(1e-6, 0.0)
    moved = case.X.copy()
    moved[own] = case.X_test[:2]
    before, _ = editing.minimise_anew(start, solver=solver)
    edited = Correction(own, case.X_test[:2]).apply(before)
    found, info = editing.minimise_anew(edited, solver=solver)
    refit, steps = editing.minimise_anew(start.replace(own, case.X_test[:2]), solver=solver)
    assert info.converged and info.n_iter <= steps.n_iter + 2
    close(found.to_params(found.params), refit.to_params(refit.params), 1e-7)


@pytest.mark.parametrize("kind", KINDS)
@WAYS
def test_the_bound_holds_for_the_networks_parameters_wherever_they_are(kind, solver):
    case, rng, ratios = Linearised(kind), np.random.default_rng(0), []
    (objective, factor), truth = case.fit(solver), case.refit()
    for size in (1.0, 1e-2, 1e-5):
        way = size * rng.standard_normal(objective.n_params)
        if case.loss.shift_invariant:
            way -= np.repeat(way.reshape(12, -1).mean(axis=1), case.q)
        moved = objective.with_(params=objective.params + way)
        distance = np.linalg.norm(moved.to_params(moved.params) - truth)
        for known in (None, factor):
            bound = editing.distance_bound(moved, known, solver)
            _check_r(case, bound, objective.strength[0])
            assert bound.valid and bound.param_bound >= distance
            ratios.append(bound.param_bound / distance)
        theta = moved.to_params(moved.params)
        g, H = (of(theta, case.X, case.y, case.weight) for of in (case.gradient, case.hessian))
        at = editing.stationarity(moved, solver.factor(moved.curvature()))
        close(at.gradient_norm, np.linalg.norm(g), 1e-9)
        close(at.newton_decrement, np.sqrt(g @ np.linalg.solve(H, g)), 1e-8)
        close(bound.gradient_norm, np.linalg.norm(g), 1e-9)
        J, u = case.J(case.X), case.loss.gradient(case.y, moved.outputs())
        pulls = np.einsum("iqp,iq->ip", J, u)[case.weight > 0]
        sizes = case.weight[case.weight > 0] * np.sqrt((pulls.T * np.linalg.solve(H, pulls.T)).sum(axis=0))
        close(at.relative, at.newton_decrement / np.median(sizes), 1e-6)
        # Newton's step is the whole way of a squared loss, whose bound is then the distance itself.
        if case.loss.quadratic:
            assert bound.param_bound <= distance * (1 + 1e-6) + 1e-12
    assert max(ratios) < 1e3


def _check_r(case, bound, rho):
    """r is at least the norm of any difference of outputs that the loss compares, in units of the least curvature."""
    J = case.J(case.X)
    apart = J[:, :, None] - J[:, None] if case.q > 1 else J
    if not case.loss.quadratic:
        assert bound.r_nu >= bound.newton_decrement * np.linalg.norm(apart, axis=-1).max() / np.sqrt(rho)


def test_parameters_that_nothing_rounds_are_turned_back_into_nothing():
    class Family:
        @staticmethod
        def as_written(final, params):
            return params

    objective = Linearised("softmax").fit()[0]
    assert Written(Family, None)(objective) == (objective, 0.0)


def test_a_factor_is_handed_on_where_it_is_one(monkeypatch):
    """The cheaper way to a squared loss that mixes may be by conjugate gradients, whatever is asked for afterwards."""
    case = Linearised("squares")
    assert editing.minimise_anew(case.objective(), solver=Direct())[1].factor is not None
    monkeypatch.setattr(newton, "_is_direct_cheaper", lambda *args: False)
    found, info = editing.minimise_anew(case.objective(), solver=Direct())
    assert info.converged and info.factor is None
    close(found.to_params(found.params), case.refit(), 1e-9)


def test_rows_leave_the_inverse_of_a_mixing_kernel():
    case, rows = Linearised("squares"), np.array([2, 9])
    before = case.fit()
    before[1].systems[0].inverse()
    kept = np.setdiff1d(np.arange(12), rows)
    theta, certificate = _edited(case, Removal(rows), Direct(), before)
    truth = case.refit(case.X[kept], case.y[kept], case.weight[kept])
    close(theta, truth, 1e-12)
    assert np.linalg.norm(theta - truth) <= certificate.param_bound + 1e-14
    assert editing._downdated(*before, Removal(rows).apply(before[0]), Removal(rows)) is not None
