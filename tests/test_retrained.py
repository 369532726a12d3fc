"""Retraining as the model sees it; what it is compared with is tests/diagnostics/test_linearisability.py."""

import networks_oracle as oracle
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sklearn_influence import InfluenceEstimator
from sklearn_influence.retrained import Retrainer


def test_the_model_is_left_as_it_is_and_nothing_removed_changes_nothing():
    estimator, X, y = oracle.problems()["regression"]
    model = InfluenceEstimator(estimator).fit(X, y)
    before = model.params_
    retrainer = Retrainer(model, X[:4])
    same = retrainer.warm(np.zeros(0, dtype=int))
    assert retrainer.is_network and same.settled and same.jacobian_moved < 1e-6
    np.testing.assert_allclose(same.outputs, retrainer.outputs, atol=1e-7)
    gone = retrainer.warm(np.array([3, 4]))
    assert np.abs(gone.outputs - retrainer.outputs).max() > 1e-3 and gone.jacobian_moved > 1e-4
    np.testing.assert_array_equal(model.params_, before)


def test_cold_fits_are_weighed(monkeypatch):
    estimator, X, y = oracle.problems()["regression"]
    weight, given, fit = np.random.RandomState(0).uniform(0.5, 2.0, len(X)), [], type(estimator).fit

    def recorded(self, X, y, sample_weight=None):
        given.append(sample_weight)
        return fit(self, X, y, sample_weight=sample_weight)

    retrainer = Retrainer(InfluenceEstimator(estimator).fit(X, y, sample_weight=weight))
    monkeypatch.setattr(type(estimator), "fit", recorded)
    retrainer.cold(np.array([2]))
    np.testing.assert_array_equal(given[0], np.delete(weight, 2))


def test_a_convex_model_forgets():
    X, y = oracle.classification()
    model = InfluenceEstimator(LogisticRegression()).fit(X, y)
    retrainer = Retrainer(model)
    gone = retrainer.warm(np.array([3, 4]))
    refit = LogisticRegression(tol=1e-12, max_iter=1000).fit(np.delete(X, [3, 4], axis=0), np.delete(y, [3, 4]))
    np.testing.assert_allclose(gone.outputs[:, 0], refit.decision_function(X), atol=1e-6)
    assert not retrainer.is_network and gone.settled and gone.jacobian_moved == 0.0


@pytest.mark.parametrize("name", ["binary", "targets"])
def test_cold_fits_have_the_labels_targets_and_weights_of_the_model(name):
    estimator, X, y = oracle.problems()[name]
    weight = np.random.RandomState(0).uniform(0.5, 2.0, len(X))
    model = InfluenceEstimator(estimator).fit(X, y, sample_weight=weight)
    cold = Retrainer(model, X[:4]).cold()  # of all rows: where the model is itself
    np.testing.assert_allclose(cold.outputs, Retrainer(model, X[:4]).outputs, atol=1e-5)
