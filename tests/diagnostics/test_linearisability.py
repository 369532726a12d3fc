"""Predicted against retrained: exact where the model is linear, and close where a network nearly is."""

import networks_oracle as oracle
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import agreement, linearisability

PROBLEMS = oracle.problems()


def model_of(name="regression"):
    estimator, X, y = PROBLEMS[name]
    return InfluenceEstimator(estimator).fit(X, y)


@pytest.mark.parametrize("estimator", [Ridge(), KernelRidge(kernel="rbf", alpha=0.1)])
def test_squared_losses_are_exact(estimator):
    X, y = oracle.regression()
    model = InfluenceEstimator(estimator).fit(X, y)
    for asked in (dict(indices=[3, 5]), dict(groups=[[3, 5], [1, 2, 8]]), dict(groups=np.arange(len(X)) % 3)):
        found = linearisability(model, X=X[:7], **asked)
        assert found.warm.relative_error < 1e-9 and found.cold == found.warm and found.settled.all()
        assert not found.jacobian_moved.any() and found.predicted.shape[0] == 7
    refit = Ridge().fit(np.delete(X, 3, axis=0), np.delete(y, 3))
    if isinstance(estimator, Ridge):
        change = refit.predict(X) - model.predict(X)
        np.testing.assert_allclose(linearisability(model, [3]).retrained_warm[:, 0], change, atol=1e-10)


def test_a_logistic_model_is_nearly_so():
    X, y = oracle.classification()
    found = linearisability(InfluenceEstimator(LogisticRegression()).fit(X, y), [0, 1])
    assert 1e-8 < found.warm.relative_error < 0.02


def test_warm_retraining_is_the_minimum_without_the_rows():
    model = model_of()
    estimator, X, y = PROBLEMS["regression"]
    found = linearisability(model, [4, 9], cold=False)
    assert found.cold is None and found.retrained_cold is None and found.settled.all()
    np.testing.assert_array_equal(found.predicted, model.influence_on_output(indices=[4, 9]))
    fit, start = oracle.fitted(estimator, X, y), model.params_
    before = oracle.raw_outputs(oracle.put(fit, start), X)[:, 0]
    for i, row in enumerate([4, 9]):
        weight = np.ones(len(X))
        weight[row] = 0.0
        after = oracle.raw_outputs(oracle.put(fit, oracle.refitted(fit, start, X, y, weight)), X)[:, 0]
        np.testing.assert_allclose(found.retrained_warm[:, i], after - before, atol=1e-6)
        error = agreement(found.predicted[:, i], found.retrained_warm[:, i]).relative_error
        assert abs(error - found.relative_errors[i]) < 1e-12 and error < 0.1
    assert ((found.jacobian_moved > 0) & (found.jacobian_moved < 0.2)).all()


def test_cold_retraining_is_scikit_learns_and_then_its_minimum():
    model = model_of()
    estimator, X, y = PROBLEMS["regression"]
    found = linearisability(model, [4], X[:9])
    outputs = []
    for keep in (np.arange(len(X)), np.delete(np.arange(len(X)), 4)):
        fit = oracle.fitted(estimator, X[keep], y[keep])
        params = oracle.refitted(fit, oracle.params_of(fit), X[keep], y[keep])
        outputs.append(oracle.raw_outputs(oracle.put(fit, params), X[:9])[:, 0])
    np.testing.assert_allclose(found.retrained_cold[:, 0], outputs[1] - outputs[0], atol=1e-6)


def test_groups_in_a_pipeline_of_a_classifier():
    estimator, X, y = PROBLEMS["binary"]
    model = InfluenceEstimator(make_pipeline(StandardScaler(), estimator)).fit(X, y)
    found = linearisability(model, X=X[:5], groups=[[0, 1], [5, 6, 7]])
    assert found.predicted.shape == found.retrained_warm.shape == found.retrained_cold.shape == (5, 2)
    assert found.warm.relative_error < 0.3 and len(found.settled) == 2


def test_what_cannot_be_compared_is_refused():
    X, y = oracle.classification()
    model = InfluenceEstimator(LogisticRegression()).fit(X, y)
    with pytest.raises(TypeError, match="fitted InfluenceEstimator"):
        linearisability(LogisticRegression().fit(X, y), [0])
    with pytest.raises(ValueError, match="either indices or groups"):
        linearisability(model, [0], groups=[[1]])
    for empty in (dict(indices=[]), dict(groups=[[1], []])):
        with pytest.raises(ValueError, match="needs rows to remove"):
            linearisability(model, **empty)
    with pytest.raises(ValueError, match="class"):
        linearisability(model, groups=[np.flatnonzero(y == y[0])])
