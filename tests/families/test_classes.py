"""Labels and class weights of classifiers."""

import cases
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.utils.class_weight import compute_sample_weight

from sklearn_influence.families import classes

WORDS = cases.string_labels(cases.tiny_classification(n_classes=3))
FITTED = RidgeClassifier(class_weight="balanced").fit(WORDS.X, WORDS.y)


def test_codes_are_places_in_the_sorted_labels():
    np.testing.assert_array_equal(classes.class_codes(FITTED, ["class z", "class x"]), [2, 0])
    message = r"not fitted on: \['class a', 3\]; it knows \['class x'.*fit a model anew on all classes"
    with pytest.raises(ValueError, match=message):
        classes.class_codes(FITTED, np.array(["class a", "class x", 3], dtype=object))


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, "heavy"], ids=str)
def test_class_weights_that_weigh_nothing(weight):
    classes.check_class_weight({0: 1.0, 1: 0})
    classes.check_class_weight("balanced")
    with pytest.raises(ValueError, match=r"finite numbers >= 0.* for class 1"):
        classes.check_class_weight({0: 1.0, 1: weight})


def test_balanced_counts_weights_or_rows():
    y = WORDS.y[:45]
    codes, weight = classes.class_codes(FITTED, y), np.linspace(0.1, 3, 45)
    by_rows = classes.class_weighting(FITTED, codes, weight, counted_by_weight=False)
    np.testing.assert_allclose(by_rows.effective(), weight * compute_sample_weight("balanced", y))
    removed = np.array([3, 10, 12])
    kept = np.delete(np.arange(45), removed)
    expected = weight[kept] * compute_sample_weight("balanced", y[kept])
    np.testing.assert_allclose(by_rows.effective(removed)[kept], expected)
    np.testing.assert_allclose(by_rows.take(kept).effective(), expected)
    # One row: what it multiplies each class's weights by, and the same for every row of its class.
    for row in removed:
        rest = np.delete(np.arange(45), row)
        ratios = by_rows.class_ratios(np.array([row]))[0]
        after = weight[rest] * compute_sample_weight("balanced", y[rest])
        np.testing.assert_allclose(by_rows.effective()[rest] * ratios[codes[rest]], after)
        np.testing.assert_allclose(by_rows.without_typical(codes[row])[rest], after)
    by_weight = classes.class_weighting(FITTED, codes, weight)
    assert np.abs(by_weight.effective() - by_rows.effective()).max() > 0.01
