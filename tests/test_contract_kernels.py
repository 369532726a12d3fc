"""Every kernel family and every promise, against real refits and dense Newton steps in alpha space."""

import warnings

import numpy as np
import pytest
from kernel_contract import FAMILIES, LOGISTIC, ROWS, SQUARED, close, every_family, fitted, refitted, without, written
from scipy.special import expit, softmax

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
