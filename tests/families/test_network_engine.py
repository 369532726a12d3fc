"""Influences of networks against refits: scikit-learn's own gradient, brought to zero without the rows."""

import copy
import warnings

import networks_oracle as oracle
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import agreement
from sklearn_influence.families import network_engine
from sklearn_influence.linearised import NetworkObjective
from sklearn_influence.networks import Network

PROBLEMS = oracle.problems()
ROWS = [3, 11, 20, 28, 41, 50]


def model_of(name, **parameters):
    estimator, X, y = PROBLEMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return InfluenceEstimator(estimator, **parameters).fit(X, y)


def refits(name, start, removed):
    """Changes (m, k, q) of the raw outputs of all rows when each of some lists of rows is gone."""
    estimator, X, y = PROBLEMS[name]
    model = oracle.fitted(estimator, X, y)
    before = oracle.raw_outputs(oracle.put(model, start), X)
    changes = []
    for rows in removed:
        weight = np.ones(len(X))
        weight[rows] = 0.0
        params = oracle.refitted(copy.copy(model), start, X, y, weight)
        changes.append(oracle.raw_outputs(oracle.put(copy.copy(model), params), X) - before)
    return np.stack(changes, axis=1)


def centred(changes):
    """Without the common shift of several outputs, which no softmax sees."""
    return changes - changes.mean(axis=2, keepdims=True) if changes.shape[2] == 3 else changes


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_rows_against_refits(name):
    model = model_of(name)
    estimator, X, y = PROBLEMS[name]
    fit = oracle.fitted(estimator, X, y)
    assert np.abs(oracle.gradient(oracle.put(copy.copy(fit), model.params_), X, y)).max() < 1e-8
    rows = ROWS if name == "regression" else ROWS[:3]
    truth = centred(refits(name, model.params_, [[row] for row in rows]))
    q = truth.shape[2]
    found = {}
    for label, asked in (
        ("newton", model),
        ("first", model_of(name, method="first_order")),
        ("gauss_newton", model_of(name, representation="dual")),
        ("cg", model_of(name, solver="cg")),
    ):
        predicted = centred(asked.influence_on_output(indices=rows).reshape(len(X), len(rows), q))
        found[label] = agreement(predicted, truth).relative_error
    assert found["newton"] < 0.08 and found["newton"] < found["first"] and found["newton"] < found["gauss_newton"]
    assert abs(found["cg"] - found["newton"]) < 1e-5


@pytest.mark.parametrize("name", ["binary", "regression"])
def test_groups_against_refits(name):
    model = model_of(name)
    X = PROBLEMS[name][1]
    groups = np.full(len(X), "rest")
    groups[ROWS[:3]] = "a"
    groups[ROWS[3:]] = "b"
    truth = refits(name, model.params_, [ROWS[:3], ROWS[3:]])
    changes = model._effects([np.array(ROWS[:3]), np.array(ROWS[3:])])
    predicted = changes.objective.outputs_change(changes.params(slice(None))).transpose(0, 2, 1)
    assert agreement(predicted, truth).relative_error < 0.15


def test_a_group_takes_the_exact_step_or_the_first_order_one_where_that_leans_on_nothing(monkeypatch):
    model = model_of("regression")
    objective, factor = model._fitted.solved(model._options())
    rows = np.array(ROWS[:3])
    kept = objective.with_(sample_weight=objective.weighting.effective(removed=rows))
    H, gradient = kept.curvature().matmat(np.eye(objective.n_params)), kept.gradient()
    newton = -np.linalg.pinv(H, rcond=1e-10, hermitian=True) @ gradient
    effects = network_engine.group_effects(objective, factor, [rows], "newton")
    change = objective.outputs_change(np.column_stack([effects.params(slice(None))[:, 0], newton]))
    np.testing.assert_allclose(change[:, :, 0], change[:, :, 1], atol=1e-8)
    there = kept.with_(params=objective.params + newton).gradient()
    expected = np.sqrt((there @ factor(there[:, None])[0][:, 0]) / (gradient @ factor(gradient[:, None])[0][:, 0]))
    np.testing.assert_allclose(effects.left, expected, rtol=1e-4)
    monkeypatch.setattr(network_engine, "_LONGER", 0.0)
    effects = network_engine.group_effects(objective, factor, [rows], "newton")
    np.testing.assert_allclose(effects.params(slice(None))[:, 0], -factor(gradient[:, None])[0][:, 0], atol=1e-12)


def test_a_replaced_label_against_a_refit():
    model = model_of("binary")
    estimator, X, y = PROBLEMS["binary"]
    other = y.copy()
    other[ROWS[0]] = next(label for label in np.unique(y) if label != y[ROWS[0]])
    fit = oracle.fitted(estimator, X, y)
    start = model.params_
    params = oracle.refitted(copy.copy(fit), start, X, other)
    outputs = [oracle.raw_outputs(oracle.put(copy.copy(fit), one), X)[:, 0] for one in (start, params)]
    predicted = model.influence_on_output(indices=ROWS[:1], y_new=other[ROWS[:1]])[:, 0]
    found = agreement(predicted, outputs[1] - outputs[0])
    assert found.correlation > 0.99 and 0.5 < found.slope < 1.6  # a row on the wrong side is no small change


def test_small_changes_of_features_against_a_refit():
    """The first order of a change is that of the exact curvature, and of nothing else."""
    X, y = PROBLEMS["regression"][1:]
    model, fit = model_of("regression"), oracle.fitted(*PROBLEMS["regression"])
    moved = X.copy()
    moved[ROWS[0]] += [1e-3, -1e-3, 2e-3]
    start = model.params_
    params = oracle.refitted(copy.copy(fit), start, moved, y)
    before, after = (oracle.raw_outputs(oracle.put(copy.copy(fit), one), X)[:, 0] for one in (start, params))
    predicted = model.influence_on_output(indices=ROWS[:1], X_new=moved[ROWS[:1]])[:, 0]
    assert agreement(predicted, after - before).relative_error < 0.02
    slopes = model.input_sensitivity(indices=ROWS[:1], of="output")[:, 0, 0]
    assert agreement(slopes @ (moved - X)[ROWS[0]], after - before).relative_error < 0.02
    dual = model_of("regression", representation="dual").influence_on_output(indices=ROWS[:1], X_new=moved[ROWS[:1]])
    assert agreement(dual[:, 0], after - before).relative_error > 0.05


def test_a_row_of_weight_two_is_two_rows():
    estimator, X, y = PROBLEMS["binary"]
    weight = np.ones(len(X))
    weight[4] = 2.0
    twice = np.append(np.arange(len(X)), 4)
    one = InfluenceEstimator(estimator).fit(X, y, sample_weight=weight)
    start = oracle.fitted(estimator, X, y, weight)
    np.testing.assert_allclose(oracle.gradient(oracle.put(start, one.params_), X[twice], y[twice]), 0.0, atol=1e-8)


def test_the_last_layer_is_a_linear_model():
    """Of its inputs, the hidden units: one Newton step is nearly the refit, and the dual is exact too."""
    primal, dual = (model_of("regression", blocks="last", representation=one) for one in ("primal", "dual"))
    outputs = primal.influence_on_output(indices=ROWS)
    np.testing.assert_allclose(dual.influence_on_output(indices=ROWS), outputs, atol=1e-9)
    estimator, X, y = PROBLEMS["regression"]
    fit = oracle.fitted(estimator, X, y)
    H = np.column_stack([np.tanh(X @ fit.coefs_[0] + fit.intercepts_[0]), np.ones(len(X))])
    penalty = np.diag([3.0] * 3 + [0.0])

    def ridge(keep):
        return H @ np.linalg.solve(H[keep].T @ H[keep] + penalty, H[keep].T @ y[keep])

    every = np.arange(len(X))
    truth = np.stack([ridge(np.delete(every, row)) - ridge(every) for row in ROWS], axis=1)
    np.testing.assert_allclose(outputs, truth, atol=1e-10)


def test_an_unfinished_fit_is_refined_elsewhere_and_says_so():
    estimator, X, y = PROBLEMS["binary"]
    unfinished = clone(estimator).set_params(solver="adam", max_iter=5)
    model = InfluenceEstimator(unfinished).fit(X, y)
    before = [one.copy() for one in model.estimator_.coefs_]
    with pytest.warns(ConvergenceWarning, match="far from a minimum"):
        model.influence_on_output(indices=ROWS)
    assert all((one == old).all() for one, old in zip(model.estimator_.coefs_, before, strict=True))
    assert model.stationarity_.relative > 1
    as_it_is = InfluenceEstimator(unfinished, refine=False).fit(X, y)
    np.testing.assert_array_equal(as_it_is.params_, oracle.params_of(as_it_is.estimator_))
    with pytest.warns(ConvergenceWarning, match="not at a minimum"):
        as_it_is.influence_on_output(indices=ROWS)


def test_what_cannot_be_refined_is_refused_with_the_number(monkeypatch):
    search = network_engine.nearby_minimum
    monkeypatch.setattr(network_engine, "nearby_minimum", lambda risk: search(risk, quick_steps=2, max_products=3))
    monkeypatch.setattr(network_engine, "_POLISHING", 0)
    with pytest.raises(ValueError, match=r"gave up: .* gradient's norm is .*threshold 0.001.*refine=False"):
        model_of("binary").influence_on_output(indices=ROWS)


def test_relu_is_refined_with_a_rounded_corner():
    estimator, X, y = PROBLEMS["regression"]
    model = InfluenceEstimator(clone(estimator).set_params(activation="relu", alpha=1.0)).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        changes = model.influence_on_output(indices=ROWS)
    objective, _ = model._fitted.optimum(model._options())
    assert objective.network.corner > 0 and np.isfinite(changes).all()
    z = X @ objective.network.weights[0] + objective.network.biases[0]
    exact = np.maximum(z, 0) @ objective.network.weights[1] + objective.network.biases[1]
    assert np.abs(objective.outputs() - exact).max() < 0.1 * exact.std()


def test_the_dual_never_makes_a_matrix_of_all_parameters(monkeypatch):
    """Refined, and with the Gauss-Newton curvature at the minimum, written out."""
    monkeypatch.setattr(NetworkObjective, "curvature", lambda self, kind="hessian": pytest.fail("of all parameters"))
    model, (estimator, X, y) = model_of("regression", representation="dual"), PROBLEMS["regression"]
    outputs = model.influence_on_output(indices=ROWS)
    fit = oracle.put(oracle.fitted(estimator, X, y), model.params_)
    assert np.abs(oracle.gradient(fit, X, y)).max() < 1e-6
    J = Network(fit.coefs_, fit.intercepts_, "tanh").jacobian(X)[:, 0]
    H, u = (
        J.T @ J + np.diag(np.where(np.arange(J.shape[1]) < fit.coefs_[0].size + 3, estimator.alpha, 0.0)),
        fit.predict(X) - y,
    )
    for row, change in zip(ROWS, outputs.T, strict=True):  # a unit whose weights have shrunk to 0 has a flat bias
        inverse = np.linalg.pinv(H - np.outer(J[row], J[row]), rcond=1e-10, hermitian=True)
        np.testing.assert_allclose(change, J @ inverse @ (u[row] * J[row]), atol=1e-9)
