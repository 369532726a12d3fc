"""What estimators of our own share: labels, probabilities and strengths as a classifier by outputs has them."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from sklearn_influence.own_models import ByOutputsMixin, check_strength


class Given(ByOutputsMixin, ClassifierMixin, BaseEstimator):
    """A classifier whose outputs are its rows."""

    def __init__(self, class_weight=None):
        self.class_weight = class_weight

    def decision_function(self, X):
        return X


def test_labels_and_probabilities_follow_from_the_outputs():
    model = Given()
    model._read_labels(np.array(["b", "a"]), None)
    f = np.array([-800.0, -1.0, 2.0, 800.0])
    assert model.predict(f).tolist() == ["a", "a", "b", "b"]
    np.testing.assert_allclose(model.predict_proba(f), np.stack([expit(-f), expit(f)], axis=1), rtol=1e-14)
    np.testing.assert_allclose(model.predict_log_proba(f)[[0, 3], [1, 0]], -800.0)
    model._read_labels(np.array(["c", "b", "a"]), None)
    f = np.array([[1.0, 3.0, 2.0], [900.0, 0.0, 1.0]])
    assert model.predict(f).tolist() == ["b", "a"]
    np.testing.assert_allclose(model.predict_proba(f), softmax(f, axis=1), rtol=1e-14)
    np.testing.assert_allclose(model.predict_log_proba(f)[1], [0.0, -900.0, -899.0])


def test_labels_are_numbered_and_weighed():
    model = Given({"x": 3.0, "y": 1.0})
    codes, sample_weight, weight = model._read_labels(np.array(["y", "x", "y"]), np.array([1.0, 2.0, 0.5]))
    assert codes.tolist() == [1, 0, 1] and sample_weight.tolist() == [1.0, 2.0, 0.5]
    assert weight.tolist() == [1.0, 6.0, 0.5]
    with pytest.raises(ValueError, match="Given needs rows of at least 2 classes; got 1 class, 7"):
        model._read_labels(np.array([7, 7]), None)
    with pytest.raises(ValueError, match="Every row of class y has weight 0"):
        model._read_labels(np.array(["y", "x"]), np.array([0.0, 1.0]))


@pytest.mark.parametrize("alpha", [0, -1.0, np.inf, np.nan, True, "1", None, np.ones(2)])
def test_a_strength_is_a_number_above_zero(alpha):
    with pytest.raises(ValueError, match=r"alpha must be a number > 0, got .*; a kernel model needs a penalty"):
        check_strength(alpha, "kernel")
    check_strength(np.float32(0.5), "kernel")
