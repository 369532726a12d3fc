"""A list of suspects ends where rows are no longer surprising."""

from types import SimpleNamespace

import numpy as np
from numpy.testing import assert_array_equal

from sklearn_influence._report.suspects import surprising


def report(task="classification", loss="log", k=5, **rows):
    rows = {name: np.array(column) for name, column in rows.items()}
    return SimpleNamespace(task=task, loss=loss, k=k, rows=rows, suspects={"by": next(iter(rows))})


def test_labels_that_the_model_predicts_are_not_surprising():
    labels = {"label": list("aabba"), "prediction": list("abbaa")}
    places, rule = surprising(report(leave_one_out_loss=[0.9, 3.0, 0.1, 0.6, 0.2], **labels))
    # The first is predicted as it is labelled, but only because it was seen.
    assert_array_equal(places, [1, 0, 3])
    assert "label the model predicts" in rule
    places, _ = surprising(report(loss="squared", leave_one_out_loss=[0.9, 3.0, 0.1, 0.6, 0.2], **labels))
    assert_array_equal(places, [1, 3])


def test_numbers_are_surprising_beyond_twice_the_median_error():
    losses = 0.5 * np.array([1.0, -1.0, 1.0, 2.1, 1.9]) ** 2
    places, rule = surprising(report("regression", "squared", leave_one_out_loss=losses, label=losses))
    assert_array_equal(places, [3])
    assert rule == "whose error is at most twice the median"


def test_nothing_is_left_out_of_a_list_that_is_surprising_or_has_no_labels():
    full = report(leave_one_out_loss=[0.9, 3.0, 0.1], label=list("aab"), prediction=list("bbb"), k=2)
    places, rule = surprising(full)
    assert_array_equal(places, [1, 0])
    assert rule is None
    places, rule = surprising(report(self_influence=[0.1, 0.3, 0.2]))
    assert_array_equal(places, [1, 2, 0])
    assert rule is None
