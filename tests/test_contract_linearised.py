"""Every linearised network in both representations and every promise, against dense algebra in theta."""

import warnings

import cases
import numpy as np
import pytest
from linearised_contract import (
    FAMILIES,
    LOG,
    ROWS,
    SQUARED,
    Expanded,
    N,
    close,
    every_way,
    expanded,
    fitted,
    held,
    without,
)

both_methods = pytest.mark.parametrize("method", ["newton", "first_order"])
pytestmark = pytest.mark.filterwarnings("ignore:.*leverage", "ignore:One Newton step")
BOTH = [name for name, family in FAMILIES.items() if not family.mean]


def _flat(influence):
    """(m, q, k) of (m, k) or (m, k, q)."""
    return influence[:, None, :] if influence.ndim == 2 else influence.transpose(0, 2, 1)


@every_way
def test_the_fit_is_the_minimum(name, way):
    model, there = fitted(name, way), expanded(name)
    estimator, X = held(model), there.case.X_test
    close(estimator.coef_, there.theta, 1e-9)
    f = there.outputs_of(X, there.theta)
    ours = estimator.predict if there.labels is None else estimator.decision_function
    close(ours(FAMILIES[name].test[0]).reshape(f.shape), f, 1e-10)
    assert estimator.representation_ == way and hasattr(estimator, "dual_coef_") == (way == "dual")
    close(model.params_, there.theta, 1e-9)
    assert len(model.param_names_) == len(there.theta) and model.stationarity_.relative < 1e-6
    if way == "dual":
        close(np.einsum("nq,nqp->p", estimator.dual_coef_, there.J), there.theta, 1e-9)


@both_methods
@every_way
def test_rows_are_one_step_in_theta(name, way, method):
    family, model, there = FAMILIES[name], fitted(name, way, method), expanded(name)
    X, y = family.test
    steps = np.array([there.step([row], method) for row in ROWS])
    J, f = there.network.jacobian(there.case.X_test), there.outputs_of(there.case.X_test, there.theta)
    df, targets = np.einsum("mqp,kp->mqk", J, steps), there.encode(there.case.y_test)
    close(model.influence_on_params(ROWS), steps, 1e-8)
    close(_flat(model.influence_on_output(X, ROWS)), df, 1e-8)
    if method == "newton":
        truth = np.stack([there.loss(targets, f + df[:, :, k]) for k in range(len(ROWS))], axis=1)
        truth -= there.loss(targets, f)[:, None]
    else:
        truth = np.einsum("mq,mqk->mk", there.slope(targets, f), df)
    close(model.influence_on_loss(X, y, ROWS), truth, 1e-7)
    every = model.influence_on_loss(X, y)
    close(every[:, ROWS], truth, 1e-7)
    best = model.top_influences(X, y, k=2)
    close(best.influences, np.sort(every, axis=1)[:, :2], 1e-9, np.abs(every).max())


@both_methods
@every_way
def test_groups_are_one_step_in_theta(name, way, method):
    model, there = fitted(name, way, method), expanded(name)
    groups = np.arange(N) % 5
    groups[:9] = 7  # one of nine rows, the others smaller
    groups[20:36] = 9
    steps = [there.step(np.flatnonzero(groups == label), method) for label in np.unique(groups)]
    close(model.influence_on_params(groups=groups), steps, 1e-8)


@pytest.mark.parametrize("name", BOTH)
def test_both_representations_say_the_same(name):
    family, primal, dual = FAMILIES[name], fitted(name, "primal"), fitted(name, "dual")
    X, y = family.test
    other = 0.5 * family.case.y[ROWS] if not hasattr(family.estimator, "loss") else np.roll(family.case.y[ROWS], 1)
    new = family.container(family.case.X_test[:4])
    B = np.random.default_rng(0).normal(size=(len(dual.params_), 2))
    asked = {
        "losses": lambda model: model.influence_on_loss(X, y),
        "own": lambda model: model.self_influence(),
        "leverages": lambda model: model.leverages(),
        "solve": lambda model: model.curvature_solve(B),
        "features": lambda model: model.influence_on_loss(X, y, ROWS, X_new=new),
        "targets": lambda model: model.influence_on_output(X, ROWS, y_new=other),
        "both": lambda model: model.influence_on_params(ROWS, X_new=new, y_new=other),
        "outputs": lambda model: model.influence_on_output(None, ROWS, X_new=new, y_new=other),
    }
    if hasattr(family.estimator, "loss"):
        asked["labels"] = lambda model: model.relabel_effects(X, y)
    for ask in asked.values():
        close(ask(dual), ask(primal), 1e-8)


@every_way
def test_by_conjugate_gradients_as_by_factors(name, way):
    direct, iterated = fitted(name, way), fitted(name, way, solver="cg")
    X, y = FAMILIES[name].test
    for asked in ({}, {"groups": np.arange(N) // 11}):
        close(iterated.influence_on_loss(X, y, **asked), direct.influence_on_loss(X, y, **asked), 1e-6)
    close(iterated.leverages(), direct.leverages(), 1e-6)
    assert "conjugate gradients" in iterated.solve_info_.reason and iterated.solve_info_.converged


@pytest.mark.parametrize("name", LOG)
def test_newton_is_nearer_to_the_refit_than_first_order(name):
    there, way = expanded(name), "dual"
    J = there.network.jacobian(there.case.X_test)
    truth = np.stack([J @ (there.minimum(without(row)) - there.theta) for row in ROWS], axis=2)
    errors = [
        np.abs(_flat(fitted(name, way, method).influence_on_output(FAMILIES[name].test[0], ROWS)) - truth).max()
        for method in ("newton", "first_order")
    ]
    assert errors[0] < 0.1 * np.abs(truth).max() and errors[0] < 0.7 * errors[1], errors / np.abs(truth).max()


@pytest.mark.parametrize("name", SQUARED)
def test_squared_losses_newton_is_the_refit(name):
    there = expanded(name)
    steps = [there.minimum(without(row)) - there.theta for row in ROWS]
    close(fitted(name, "dual").influence_on_params(ROWS), steps, 1e-9)


def _certified(model, truth, rtol):
    """A model is as near to the parameters of a refit as it says, and very near."""
    estimator, certificate = held(model), model.certificate_
    assert certificate.valid and certificate.converged
    distance = np.linalg.norm(model.params_ - truth)
    assert distance <= certificate.param_bound + 1e-12 * np.linalg.norm(truth), (distance, certificate)
    assert certificate.param_bound < 1e-4 * np.linalg.norm(truth)
    close(estimator.coef_, truth, rtol)
    np.testing.assert_array_equal(model.params_, estimator.coef_)


@every_way
def test_unlearn_is_the_refit(name, way):
    family, there = FAMILIES[name], expanded(name)
    model, gone = family.fit(way), np.array([17, 3, 30, 8, 21])
    model.unlearn(gone[:2])
    model.leverages()  # so that the next rows leave a factored curvature
    model.unlearn(gone[2:])
    keep = without(gone)
    rtol = 1e-10 if family.squared else 1e-9
    _certified(model, there.minimum(keep), rtol)
    estimator = held(model)
    assert not hasattr(estimator, "dual_coef_") or estimator.dual_coef_.shape == (39, there.q)
    if family.mean:
        return
    refit = family.fit(way, keep, **({} if family.wrapped else {"tol": 1e-13}))
    close(estimator.coef_, held(refit).coef_, rtol)
    if way == "dual":
        close(estimator.dual_coef_, held(refit).dual_coef_, 10 * rtol)


@pytest.mark.parametrize("name", [name for name in SQUARED if not FAMILIES[name].mean])
def test_squared_losses_by_conjugate_gradients_are_the_refit(name):
    family, gone = FAMILIES[name], np.arange(6)
    model = family.fit("dual", solver="cg").unlearn(gone)
    _certified(model, expanded(name).minimum(without(gone)), 1e-10)


@every_way
def test_updates_and_extensions_are_the_refit(name, way):
    family, there = FAMILIES[name], expanded(name)
    X, y = family.case.X.copy(), family.case.y.copy()
    new = np.random.default_rng(0).normal(size=(4, X.shape[1])).astype(np.float32)
    X[ROWS], labels = new, np.unique(y)
    y[ROWS] = 0.5 * y[ROWS] if there.labels is None else labels[(np.searchsorted(labels, y[ROWS]) + 1) % len(labels)]
    truth = Expanded(family, cases.replace(family.case, X=X, y=y)).theta
    model, rtol = family.fit(way), 1e-10 if family.squared else 1e-9
    model.update(ROWS[:2], y_new=y[ROWS[:2]]).update(ROWS[2:], y_new=y[ROWS[2:]])
    model.update(ROWS, X_new=family.container(new.astype(float)))
    _certified(model, truth, rtol)
    last = np.arange(38, 44)  # unlearn the last rows, and give them back
    weight = family.case.sample_weight
    weight = {} if weight is None else {"sample_weight": weight[last]}
    model.unlearn(last).extend(family.container(X[last]), y[last], **weight)
    _certified(model, truth, rtol)
    assert model.sample_indices_[-6:].tolist() == [44, 45, 46, 47, 48, 49]


@every_way
def test_shapes_masks_and_rows_without_weight(name, way):
    family, model, there = FAMILIES[name], fitted(name, way), expanded(name)
    q, X = there.q, family.test[0]
    outputs = (q,) if q > 1 else ()
    mask = np.isin(np.arange(N), ROWS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*leverage")
        np.testing.assert_array_equal(model.influence_on_params(mask), model.influence_on_params(np.flatnonzero(mask)))
    assert model.influence_on_output(X).shape == (len(family.case.y_test), N, *outputs)
    assert model.leverages().shape == ((N, q, q) if q > 1 else (N,))
    mine = model.influence_on_loss(indices=ROWS)[ROWS, np.arange(4)]
    close(model.self_influence(ROWS), mine, 1e-8)
    if family.balanced or family.mean:
        return
    assert (model.self_influence() >= -1e-12).all()
    nothing = np.flatnonzero(there.s == 0)
    assert not model.influence_on_output(X, nothing).any()
