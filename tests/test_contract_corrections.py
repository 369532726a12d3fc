"""Every family of estimators: corrected and added rows, and the refit that they stand for."""

import copy
import pickle

import numpy as np
import pytest
import retraining
from contract import FAMILIES, ROWS, close, every_family
from held import arrays_of

from sklearn_influence.solvers import ConjugateGradient

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*LinearRegression dropped.*")


def others(family):
    """Other rows for ROWS: the first test rows, each with the label of the next."""
    k = len(ROWS)
    return family.case.X_test[:k], np.roll(family.case.y_test[:k], -1, axis=0)


def edited(family, X_new, y_new):
    X, y = family.case.X.copy(), family.case.y.copy()
    X[ROWS], y[ROWS] = X_new, y_new
    return X, y


def is_a_refit(model, family, X, y, weight):
    exact = retraining.retrain(model.estimator_, X, y, weight)
    close(family.off_gauge(model.params_), family.off_gauge(exact), max(1e-9, family.rtol))
    certificate = model.certificate_
    assert certificate.converged
    if certificate.valid:
        assert np.linalg.norm(family.off_gauge(model.params_ - exact)) <= certificate.param_bound


@every_family
@pytest.mark.parametrize("asked", [False, True], ids=["fitted", "asked before"])
def test_updated_rows_are_a_refit(name, asked):
    family = FAMILIES[name]
    X_new, y_new = others(family)
    for features, labels in ((True, True), (True, False), (False, True)):
        model = family.fit()
        if asked:
            model.leverages([0])
        before = model.params_
        given = dict(X_new=family.container(X_new)) if features else {}
        given |= dict(y_new=y_new) if labels else {}
        assert model.update(ROWS, **given) is model
        X, y = edited(family, X_new if features else family.case.X[ROWS], y_new if labels else family.case.y[ROWS])
        is_a_refit(model, family, X, y, family.case.sample_weight)
        assert np.abs(model.params_ - before).max() > 1e-4
        np.testing.assert_array_equal(model.sample_indices_, np.arange(len(y)))
        assert (model.certificate_.n_updated, model.certificate_.n_retained) == (len(ROWS), len(y))


@every_family
def test_rows_more_are_a_refit_and_have_numbers(name):
    family = FAMILIES[name]
    case, n = family.case, len(family.case.X)
    weight = np.ones(n) if case.sample_weight is None else case.sample_weight
    model = family.fit()
    model.leverages([0])
    more = np.array([1.0, 0.5, 2.0])
    model.unlearn([5]).extend(family.container(case.X_test[:3]), case.y_test[:3], more)
    keep = np.arange(n) != 5
    X = np.vstack([case.X[keep], case.X_test[:3]])
    y, s = np.concatenate([case.y[keep], case.y_test[:3]]), np.append(weight[keep], more)
    is_a_refit(model, family, X, y, s)
    assert (model.certificate_.n_added, model.certificate_.n_retained) == (3, n + 2)
    assert model.n_samples_fit_ == n + 3
    np.testing.assert_array_equal(model.sample_indices_, [*np.flatnonzero(keep), n, n + 1, n + 2])
    # The new rows can be asked about, masked, grouped, corrected and removed like the others.
    effect = model.influence_on_params([n + 1, 7])
    mask = np.isin(np.arange(n + 3), [7, n + 1])
    close(model.influence_on_params(mask)[::-1], effect, 1e-9)
    assert model.influence_on_params(groups=np.arange(n + 3) % 5).shape[0] == 5
    model.update([n + 1], y_new=case.y_test[5:6]).unlearn([n, n + 2])
    y[-2] = case.y_test[5]
    is_a_refit(model, family, X[[*range(n - 1), n]], y[[*range(n - 1), n]], s[[*range(n - 1), n]])
    assert [edit.kind for edit in model.edits_] == ["unlearn", "extend", "update", "unlearn"]
    assert [edit.indices.tolist() for edit in model.edits_] == [[5], [n, n + 1, n + 2], [n + 1], [n, n + 2]]
    assert model.edits_[-1].certificate is model.certificate_


@pytest.mark.parametrize("solver", ["direct", ConjugateGradient(), ConjugateGradient(preconditioner="diagonal")])
@pytest.mark.parametrize("name", ["ridge", "binary", "multinomial", "weighted", "balanced", "csr", "binary dual"])
def test_nothing_of_the_rows_before_is_left(name, solver):
    """No attribute and no pickle holds a value of a row that was corrected or removed, whatever was asked before."""
    family = FAMILIES[name]
    rng = np.random.default_rng(0)
    X = family.case.X.copy()
    X[ROWS] = planted = rng.uniform(1, 2, (len(ROWS), X.shape[1]))
    model = family.fit(solver=solver)
    model.fit(family.container(X), family.case.y)
    model.influence_on_loss(*family.test, aggregate="mean"), model.self_influence([0, 1]), model.stationarity_
    model.curvature_solve(np.ones(len(model.params_)))
    needles = [value.tobytes() for value in planted.ravel()]
    assert all(needle in pickle.dumps(model) for needle in needles)
    for edit in (
        lambda model: model.unlearn(ROWS),
        lambda model: model.update(ROWS, X_new=family.container(family.case.X[ROWS])),
        lambda model: model.update(ROWS, family.container(family.case.X[ROWS]), family.case.y[ROWS]).unlearn([1]),
        lambda model: model.extend(*family.test).unlearn(ROWS),
    ):
        model_edited = edit(copy.deepcopy(model))
        held = b"".join(array.tobytes() for array in arrays_of(model_edited) if array.dtype != object)
        dumped = pickle.dumps(model_edited)
        for needle in needles:
            assert needle not in dumped and needle not in held
        assert model_edited.influence_on_params([2]).shape == (1, len(model.params_))
