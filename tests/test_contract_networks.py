"""Promises of the public contract that networks keep: containers, weights, composites, copies, and every question."""

import copy
import pickle

import networks_oracle as oracle
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator, audit

PROBLEMS = oracle.problems()
ESTIMATOR, X, Y = PROBLEMS["binary"]


@pytest.fixture(scope="module")
def model():
    return InfluenceEstimator(ESTIMATOR).fit(X, Y)


def test_the_estimator_and_its_predictions_are_its_own(model):
    alone = oracle.fitted(ESTIMATOR, X, Y)
    model.influence_on_params([0])
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))
    assert model.score(X, Y) == alone.score(X, Y) and not np.array_equal(model.params_, oracle.params_of(alone))


def test_questions_agree_with_one_another(model):
    params, outputs = model.influence_on_params(), model.influence_on_output(X[:5])
    assert params.shape == (70, len(model.param_names_)) and outputs.shape == (5, 70)
    fit = oracle.put(oracle.fitted(ESTIMATOR, X, Y), model.params_)
    step = 1e-6
    up, down = (
        oracle.raw_outputs(oracle.put(copy.copy(fit), model.params_ + s * step * params[3]), X[:5]) for s in (1, -1)
    )
    np.testing.assert_allclose(
        outputs[:, 3], (up - down)[:, 0] / (2 * step), atol=1e-7
    )  # the Jacobian times the change
    f, target = oracle.raw_outputs(fit, X[:5])[:, 0], np.searchsorted(model.classes_, Y[:5])
    losses = model.influence_on_loss(X[:5], Y[:5])
    expected = np.logaddexp(0, f[:, None] + outputs) - np.logaddexp(0, f)[:, None] - target[:, None] * outputs
    np.testing.assert_allclose(losses, expected, atol=1e-10)
    np.testing.assert_allclose(model.influence_on_loss(X[:5], Y[:5], aggregate="mean"), losses.mean(axis=0), atol=1e-12)
    top = model.top_influences(X[:5], Y[:5], k=3)
    np.testing.assert_allclose(top.influences, np.sort(losses, axis=1)[:, :3], atol=1e-10)
    np.testing.assert_allclose(model.self_influence(), np.diagonal(model.influence_on_loss()), atol=1e-10)
    own = model.self_influence(on="output")
    np.testing.assert_allclose(own, np.diagonal(model.influence_on_output()), atol=1e-10)
    proba = model.influence_on_output(X[:5], [3], response_method="predict_proba")
    shifted = 1 / (1 + np.exp(-f - outputs[:, 3])) - 1 / (1 + np.exp(-f))
    np.testing.assert_allclose(proba[:, 0, 1], shifted, atol=1e-10)


def test_leverages_and_solves_are_of_the_exact_curvature(model):
    objective, _ = model._fitted.optimum(model._options())
    H = objective.curvature().matmat(np.eye(objective.n_params))
    inverse = np.linalg.pinv(H, rcond=1e-10, hermitian=True)
    J, p = objective.network.jacobian(X)[:, 0], 1 / (1 + np.exp(-objective.outputs()[:, 0]))
    expected = p * (1 - p) * np.einsum("ip,pq,iq->i", J, inverse, J)
    np.testing.assert_allclose(model.leverages(), expected, atol=1e-8)
    u = p[3] - objective.y[3]  # one row takes its linear part out of the curvature, and leaves its bending there
    without = H - p[3] * (1 - p[3]) * np.outer(J[3], J[3])
    step = np.linalg.pinv(without, rcond=1e-10, hermitian=True) @ (u * J[3])
    np.testing.assert_allclose(model.influence_on_output(X, [3])[:, 0], J @ step, atol=1e-8)
    b = H @ np.random.RandomState(0).standard_normal(objective.n_params)
    np.testing.assert_allclose(H @ model.curvature_solve(b), b, atol=1e-7)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, pd.DataFrame, np.float32])
def test_containers(model, container):
    rows = container(X)
    other = InfluenceEstimator(ESTIMATOR).fit(rows, Y)
    tolerance = 0.05 if container is np.float32 else 1e-6  # float32 rows are fitted in float32, and stop elsewhere
    expected = model.influence_on_output(X[:4], [3, 5])
    np.testing.assert_allclose(
        other.influence_on_output(rows[:4], [3, 5]), expected, rtol=tolerance, atol=1e-3 * tolerance
    )


def test_composites(model):
    expected = InfluenceEstimator(ESTIMATOR).fit(StandardScaler().fit_transform(X), Y)
    expected = expected.influence_on_output(StandardScaler().fit_transform(X)[:3], [3, 5])
    pipe = make_pipeline(StandardScaler(), ESTIMATOR)
    search = GridSearchCV(pipe, {"mlpclassifier__alpha": [1.0]}, cv=2)
    frozen = FrozenEstimator(clone(pipe).fit(X, Y))
    for composite in (pipe, search, frozen):
        found = InfluenceEstimator(composite).fit(X, Y)
        np.testing.assert_allclose(found.influence_on_output(X[:3], [3, 5]), expected, rtol=1e-6, atol=1e-9)
    assert len(set(found.param_names_)) == len(found.params_)
    with pytest.raises(ValueError, match="not available for networks"):
        InfluenceEstimator(pipe).fit(X, Y).unlearn([0], refit_transformers=True)


def test_weights(model):
    weight = np.ones(70)
    weight[[4, 6]] = 0.0
    gone = InfluenceEstimator(ESTIMATOR).fit(X, Y, sample_weight=weight)
    assert not gone.influence_on_output(X[:3], [4, 6]).any()
    keep = weight > 0
    # scikit-learn's starting point is the same; so is the minimum.
    alone = InfluenceEstimator(ESTIMATOR).fit(X[keep], Y[keep])
    np.testing.assert_allclose(
        gone.influence_on_output(X[:3], [0, 9]), alone.influence_on_output(X[:3], [0, 7]), rtol=1e-5, atol=1e-9
    )


def test_copies_and_pickles(model):
    expected = model.influence_on_output(X[:3], [3, 5])
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_allclose(copied.influence_on_output(X[:3], [3, 5]), expected, atol=1e-9)


def test_blocks_count_at_the_next_fit():
    model = InfluenceEstimator(ESTIMATOR, blocks="last").fit(X, Y)
    assert model.params_.shape == (4,) and model.influence_on_params([0]).shape == (1, 4)
    model.set_params(blocks=None)
    assert model.params_.shape == (4,)
    assert model.fit(X, Y).params_.shape == (4 * 3 + 3 + 3 + 1,)


@pytest.mark.parametrize("blocks", [None, "last"])
def test_the_audit_works_and_says_what_it_cannot(blocks):
    report = str(audit(InfluenceEstimator(ESTIMATOR, blocks=blocks).fit(X, Y), X, Y))
    refused = "Not done: unlearn, update and extend are not available for networks" in report
    assert refused or "Not done: no row hurts" in report
    assert "Effect of each training row" in report


def test_regression_with_several_targets():
    estimator, rows, y = PROBLEMS["targets"]
    model = InfluenceEstimator(estimator).fit(rows, y)
    assert model.influence_on_output(rows[:3], [1, 2]).shape == (3, 2, 2)
    assert model.leverages([1]).shape == (1, 2, 2) and model.self_influence([1, 2], on="output").shape == (2, 2)
    changed = model.influence_on_loss(rows[:3], y[:3], [1], y_new=y[[1]])
    assert np.abs(changed).max() < 1e-12
