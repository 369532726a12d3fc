"""The words of the printed report."""

import re

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import scale

from sklearn_influence import InfluenceEstimator, audit
from sklearn_influence._report import text


def test_verdicts():
    draws = np.array([-1.0, 1.0])
    assert "does not lower" in text._verdict(0.1, 0.01, draws)
    assert "random draws did as well" in text._verdict(-0.5, 0.01, draws)
    assert "within 2 standard errors" in text._verdict(-2.0, 1.5, draws)
    assert "more than any random draw" in text._verdict(-2.0, 0.5, draws)
    assert "more than any random draw" in text._verdict(-2.0, 0.5, np.array([]))


@pytest.fixture(scope="module")
def few():
    """Whole targets, long names that begin alike, and effects on a small loss."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    y = np.round(30 * X[:, 0] + 5 * rng.normal(size=120))
    model = InfluenceEstimator(Ridge()).fit(X[:80], y[:80])
    names = [f"University hospital, person Nr. {7000 + i} of the survey" for i in range(80)]
    return audit(model, X[80:], y[80:], X_train=X[:80], y_train=y[:80], row_names=names, k=80, n_random=2)


def test_rows_of_long_names_can_be_told_apart(few):
    lines = str(few).splitlines()
    assert max(map(len, lines)) <= 100
    start = lines.index("  The rows that hurt it most") + 2
    named = [line.split("  ")[2] for line in lines[start : lines.index("", start)]]
    assert len(named) == len(set(named)) == int((few.rows["effect"] < 0).sum())
    assert all(re.search(r"70\d\d", name) for name in named)


def test_numbers_are_called_targets_and_whole_ones_have_no_decimals(few):
    text = str(few)
    text = text.split("Held-out rows")[0]
    assert "  target  " in text and "  label  " not in text
    first = next(i for i, line in enumerate(text.splitlines()) if "target" in line) + 1
    assert f"  {few.rows['label'][0]:.0f}  " in text.splitlines()[first]


def test_the_list_of_suspects_says_how_many_are_left_out(few):
    text = " ".join(str(few).split("Rows that look wrong")[1].split())
    found = re.search(r"Left out of the top 80: (\d+) rows whose error is at most twice the median\.", text)
    kept = int((few.rows["leave_one_out_loss"] > 4 * np.median(few.rows["leave_one_out_loss"])).sum())
    assert int(found[1]) == 80 - kept


def test_the_loss_is_in_its_own_unit():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    report = audit(InfluenceEstimator(LogisticRegression()).fit(X[:300], y[:300]), X[300:], y[300:], k=2, n_random=1)
    text = " ".join(str(report).split())
    loss = report.stationarity["loss_at_optimum"]
    assert f"in mean log loss x 1000; validation loss itself is {loss:.5f}, not multiplied." in text


@pytest.mark.parametrize(
    "relative, words",
    [
        (0.0, "The fit has reached its optimum."),
        (0.3, "stopped close to its optimum: to get there, its parameters would move 0.3 times as far as"),
        (12.3, "stopped some way from its optimum: to get there, its parameters would move 12 times as far"),
        (5000.0, "stopped very far from its optimum"),
    ],
)
def test_how_far_the_fit_is_from_its_optimum(relative, words):
    assert words in text._distance(relative)
