"""Every kernel family and every promise, against real refits and dense Newton steps in alpha space."""

import warnings

import cases
import numpy as np
import pytest
from kernel_contract import (
    FAMILIES,
    LOGISTIC,
    ROWS,
    SQUARED,
    Family,
    close,
    every_family,
    fitted,
    refitted,
    without,
    written,
)
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from sklearn_influence import InfluenceEstimator

both_methods = pytest.mark.parametrize("method", ["newton", "first_order"])


def _flat(influence):
    """(m, q, k) of (m, k) or (m, k, q)."""
    return influence[:, None, :] if influence.ndim == 2 else influence.transpose(0, 2, 1)


def _steps(name, method, groups):
    """Changes of parameters (k, p) and outputs (m, q, k) by the written-out step, and the outputs before."""
    there = written(name)
    steps = [there.removal(rows, method) for rows in groups]
    return np.array([s[0] for s in steps]), np.stack([s[1] for s in steps], axis=2), there.f0 + there.K_test @ there.a


@both_methods
@every_family
def test_single_rows_are_one_step_of_the_written_objective(name, method):
    family, model = FAMILIES[name], fitted(name, method)
    X, y, rtol = family.test_rows(), family.case.y_test, family.rtol
    params, df, f = _steps(name, method, [[row] for row in ROWS])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*leverage")
        close(model.influence_on_params(ROWS), params, rtol)
        close(_flat(model.influence_on_output(X, ROWS)), df, rtol)
        losses, every = model.influence_on_loss(X, y, ROWS), model.influence_on_loss(X, y)
        best = model.top_influences(X, y, k=2)
    if method == "newton":
        truth = family.losses(f[:, :, None] + df, y) - family.losses(f, y)[:, None]
    else:
        truth = np.einsum("mq,mqk->mk", _slope(family, f, y), df)
    close(losses, truth, 10 * rtol)
    weight = np.linspace(0, 2, len(y))
    close(model.influence_on_loss(X, y, ROWS, sample_weight=weight), truth * weight[:, None], 10 * rtol)
    close(model.influence_on_loss(X, y, ROWS, aggregate="sum"), truth.sum(axis=0), 10 * rtol, np.abs(truth).max())
    mean = model.influence_on_loss(X, y, ROWS, aggregate="mean", sample_weight=weight)
    close(mean, weight @ truth / weight.sum(), 10 * rtol, np.abs(truth).max())
    assert best.indices.shape == (len(y), 2)
    assert every.shape == (len(y), family.n)
    close(every[:, ROWS], truth, 10 * rtol)
    close(best.influences, np.sort(every, axis=1)[:, :2], rtol, np.abs(every).max())


def _slope(family, f, y):
    if family.squared:
        return f - y.reshape(len(y), -1)
    labels = np.unique(family.case.y)
    codes = np.searchsorted(labels, y)
    if family.q == 1:
        return expit(f) - codes[:, None]
    return softmax(f, axis=1) - np.eye(len(labels))[codes]


@both_methods
@every_family
def test_groups_are_one_step_of_the_written_objective(name, method):
    family, model = FAMILIES[name], fitted(name, method)
    groups = np.arange(family.n) % 5
    groups[:9] = 7  # one of nine rows, the others smaller
    groups[20:36] = 9
    members = [np.flatnonzero(groups == label) for label in np.unique(groups)]
    params, df, _ = _steps(name, method, members)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if name in LOGISTIC else "error", UserWarning)
        close(model.influence_on_params(groups=groups), params, family.rtol)
        close(_flat(model.influence_on_output(family.test_rows(), groups=groups)), df, family.rtol)


@pytest.mark.parametrize("name", SQUARED)
def test_squared_losses_newton_is_the_refit(name):
    family, model = FAMILIES[name], fitted(name)
    before = family.refit()
    df = _flat(model.influence_on_output(family.test_rows(), ROWS))
    params = model.influence_on_params(ROWS)
    for j, row in enumerate(ROWS):
        after, keep = refitted(name, row)
        truth = family.raw(after, keep) - family.raw(before)
        close(df[:, :, j], truth, family.rtol, np.abs(df).max())
        truth = family.params(after, keep) - family.params(before, np.arange(family.n))
        close(params[j], truth, family.rtol, np.abs(params).max())


@pytest.mark.parametrize("name", LOGISTIC)
def test_log_losses_newton_is_nearer_to_the_refit_than_first_order(name):
    family = FAMILIES[name]
    before = family.raw(family.refit())
    truth = np.stack([family.raw(*refitted(name, row)) - before for row in ROWS], axis=2)
    errors = [
        np.abs(_flat(fitted(name, method).influence_on_output(family.test_rows(), ROWS)) - truth).max()
        for method in ("newton", "first_order", "second_order")[: 2 + (family.mean is False)]
    ]
    assert errors[0] < 0.05 * np.abs(truth).max() and errors[0] < 0.5 * errors[1], errors / np.abs(truth).max()


@every_family
def test_unlearn_is_the_refit(name):
    family = FAMILIES[name]
    model, gone = family.fit(), np.array([17, 3, 30, 8, 21])
    model.unlearn(gone[:2]).unlearn(gone[2:])
    keep = without(family, gone)
    refit, certificate = family.refit(keep), model.certificate_
    held = getattr(model, "estimator_", model)
    close(family.raw(held, keep), family.raw(refit, keep), family.rtol)
    params = family.params(refit, keep)
    rows = params[: family.n * family.q].reshape(family.n, -1)[keep].ravel()
    truth = np.append(rows, params[family.n * family.q :])
    assert certificate.valid and certificate.converged and certificate.n_retained == len(keep)
    distance = np.linalg.norm(model.params_ - truth)
    assert distance <= certificate.param_bound + 1e-12 * np.linalg.norm(truth), (distance, certificate)
    close(model.params_, truth, family.rtol)
    assert len(model.param_names_) == len(truth)


# ---------------------------------------------------------------------------------------------------
# Other rows in their place, and more rows
# ---------------------------------------------------------------------------------------------------
KNOWN = [name for name, family in FAMILIES.items() if not family.precomputed]
solvers = pytest.mark.parametrize("solver", ["direct", "cg"])


def _changed(name):
    """Features and targets that the rows ROWS become, and the whole of both with them."""
    family = FAMILIES[name]
    X, y, rng = family.case.X.copy(), family.case.y.copy(), np.random.default_rng(0)
    new = rng.normal(size=(4, X.shape[1])).astype(np.float32)
    labels = np.unique(y)
    targets = 0.5 * y[ROWS] + 1 if family.squared else labels[(np.searchsorted(labels, y[ROWS]) + 1) % len(labels)]
    X[ROWS], y[ROWS] = new, targets
    return new.astype(float), targets, X, y


def _refit_on(name, X, y):
    """A refit of other data, with the kernel and the strength of the first fit but for the mean's share."""
    family = FAMILIES[name]
    other = Family(family.estimator, cases.replace(family.case, X=X, y=y), family.container, family.rtol)
    fresh, keep = other.refit(), np.arange(family.n)
    if family.is_gp:
        best = refitted(name, -1)[0]
        fresh = best.set_params(kernel=best.kernel_, optimizer=None, alpha=family.estimator.alpha).fit(X, y)
    if family.mean:
        share = other.effective().sum() / family.effective().sum()
        fresh = fresh.set_params(alpha=family.estimator.alpha * share).fit(other.rows(keep), y)
    return fresh


@solvers
@pytest.mark.parametrize("name", [name for name in SQUARED if name in KNOWN])
def test_replaced_rows_of_squared_losses_are_the_refit(name, solver):
    family, model = FAMILIES[name], fitted(name, solver=solver)
    new, targets, X, y = _changed(name)
    before, rtol = family.raw(family.refit()), max(family.rtol, 1e-7)
    for what in ({"X_new"}, {"y_new"}, {"X_new", "y_new"}):
        given = {"X_new": family.container(new), "y_new": targets}
        given = {key: given[key] for key in what}
        got = _flat(model.influence_on_output(family.test_rows(), ROWS, **given))
        for j, row in enumerate(ROWS[:2]):
            one_X, one_y = family.case.X.copy(), family.case.y.copy()
            if "X_new" in what:
                one_X[row] = X[row]
            if "y_new" in what:
                one_y[row] = y[row]
            close(got[:, :, j], family.raw(_refit_on(name, one_X, one_y)) - before, rtol)


@solvers
@pytest.mark.parametrize("name", KNOWN)
def test_updates_and_extensions_are_the_refit(name, solver):
    family = FAMILIES[name]
    new, targets, X, y = _changed(name)
    model, refit = family.fit(solver=solver), _refit_on(name, X, y)
    model.update(ROWS[:2], y_new=targets[:2]).update(ROWS[2:], y_new=targets[2:])
    model.update(ROWS, X_new=family.container(new))
    _same(family, model, refit)
    if np.ndim(getattr(family.estimator, "alpha", 0)) and family.is_gp:
        return  # a noise of each row: extend is refused
    # unlearn the last rows, and give them back
    last = np.arange(38, 44)
    model.unlearn(last)
    weights = {} if family.weight() is None else {"sample_weight": family.weight(last)}
    model.extend(family.container(X[last]), y[last], **weights)
    _same(family, model, refit)
    assert model.sample_indices_[-6:].tolist() == [44, 45, 46, 47, 48, 49]


def _same(family, model, refit):
    held, certificate = getattr(model, "estimator_", model), model.certificate_
    close(family.raw(held), family.raw(refit), max(family.rtol, 1e-8))
    truth = family.params(refit, np.arange(family.n))
    assert certificate.valid and certificate.converged
    if family.rtol < 1e-6:
        distance = np.linalg.norm(model.params_ - truth)
        assert distance <= certificate.param_bound + 1e-10 * np.linalg.norm(truth)


@every_family
def test_by_conjugate_gradients_as_by_factors(name):
    family, direct, iterated = FAMILIES[name], fitted(name), fitted(name, solver="cg")
    args = (family.test_rows(), family.case.y_test)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*leverage|One Newton step")
        groups = np.arange(family.n) // 9
        for asked in ({}, {"groups": groups}):
            ours = iterated.influence_on_loss(*args, **asked)
            close(ours, direct.influence_on_loss(*args, **asked), max(family.rtol, 1e-7))
        close(iterated.leverages(), direct.leverages(), max(family.rtol, 1e-7))
    assert "conjugate gradients" in iterated.solve_info_.reason and iterated.solve_info_.converged


@every_family
def test_shapes_masks_and_rows_without_weight(name):
    family, model = FAMILIES[name], fitted(name)
    n, q, p, X = family.n, family.q, len(model.params_), family.test_rows()
    outputs = (q,) if q > 1 else ()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*leverage")
        mask = np.isin(np.arange(n), ROWS)
        np.testing.assert_array_equal(model.influence_on_params(mask), model.influence_on_params(np.flatnonzero(mask)))
        assert model.influence_on_output(X).shape == (len(family.case.y_test), n, *outputs)
        assert model.leverages().shape == ((n, q, q) if q > 1 else (n,))
        assert model.self_influence(ROWS, on="output").shape == (4, *outputs)
        assert model.curvature_solve(np.ones((p, 3))).shape == (p, 3)
        mine = model.influence_on_loss(indices=ROWS)[ROWS, np.arange(4)]
        close(model.self_influence(ROWS), mine, 1e-9)
        if family.balanced or family.centred or family.mean:
            return
        assert (model.self_influence() >= -1e-12).all()
        nothing = np.flatnonzero(family.effective() == 0)
        assert not model.influence_on_output(X, nothing).any()


@pytest.mark.filterwarnings("ignore:.*leverage")
@pytest.mark.parametrize("name", ["ridge rbf", "gp normalised targets", "gp noise", "softmax weighted", "binary mean"])
def test_frozen_and_unrefined_models_say_when_the_rows_are_others(name):
    family = FAMILIES[name]
    fitted_elsewhere = family.refit()
    args = {} if family.is_gp or family.weight() is None else {"sample_weight": family.weight()}
    rows, y = family.rows(np.arange(family.n)), family.case.y
    frozen = InfluenceEstimator(FrozenEstimator(fitted_elsewhere)).fit(rows, y, **args)
    test = (family.test_rows(), family.case.y_test)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.filterwarnings("ignore", ".*leverage")
        whole = fitted(name).influence_on_loss(*test)
        close(frozen.influence_on_loss(*test), whole, 1e-7)
        close(family.fit(refine=False).influence_on_loss(*test), whole, 1e-6)
        assert frozen.stationarity_.relative < 1e-3
    moved = y[::-1].copy()
    wrong = InfluenceEstimator(FrozenEstimator(fitted_elsewhere)).fit(rows, moved, **args)
    with pytest.warns(ConvergenceWarning, match="not at a minimum of its objective on these rows"):
        wrong.influence_on_loss(*test)
    before = wrong.estimator_.predict(test[0]).copy()
    unlearned = wrong.unlearn([3, 8])
    assert not np.array_equal(before, unlearned.predict(test[0]))
    np.testing.assert_array_equal(fitted_elsewhere.predict(test[0]), before)  # the user's own stays
