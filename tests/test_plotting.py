"""The pictures show the report's numbers, and leave no global state behind."""

import copy
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from sklearn_influence import InfluenceEstimator, audit

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from sklearn_influence._report.suspects import surprising  # noqa: E402
from sklearn_influence.plotting import plot_agreement, plot_audit  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def report():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    model = InfluenceEstimator(LogisticRegression(C=0.1)).fit(X[:200], y[:200])
    return audit(model, X[200:300], y[200:300], X_train=X[:200], y_train=y[:200], k=5, n_random=4)


def test_audit_on_a_given_figure(report):
    fig = Figure()
    assert plot_audit(report, fig) is fig
    assert len(fig.axes) == 3 and plt.get_fignums() == []
    left, middle, right = fig.axes
    widths = np.array([bar.get_width() for bar in left.patches])
    effect = report.rows["effect"]
    assert_allclose(widths, 1000 * np.r_[effect[:5], effect[-5:]])
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == [str(row) for row in np.r_[report.rows["row"][:5], report.rows["row"][-5:]]]
    assert "190 rows between" in left.texts[0].get_text()
    plain, marked = (points.get_offsets() for points in middle.collections)
    n_marked = len(surprising(report)[0])
    assert len(plain) == 200 - n_marked and len(marked) == n_marked > 0
    assert marked[:, 1].min() >= plain[:, 1].max()
    draws = right.collections[-2].get_offsets()[:, 1]
    assert_allclose(draws, 1000 * np.sort(report.unlearning["random_changes"]))
    measured = right.containers[0].lines[0].get_ydata()
    assert_allclose(np.asarray(measured, dtype=float), 1000 * report.unlearning["change"])


def test_every_panel_is_labelled(report):
    fig = plot_audit(report)
    assert plt.get_fignums() == [fig.number]
    for ax in fig.axes:
        assert ax.get_title() and ax.get_ylabel()
    assert "log loss x 1000" in fig.axes[0].get_xlabel()
    assert "200 training rows" in fig.get_suptitle()


def test_audit_without_training_rows_or_removal(report):
    poor = copy.deepcopy(report)
    del poor.rows["cross_validated_loss"]
    poor.unlearning.update(removed=[], missing="no row hurts")
    axes = plot_audit(poor, Figure()).axes
    assert "leverage" in axes[1].get_xlabel()
    assert "no row hurts" in axes[2].texts[0].get_text()


def test_agreement():
    ax = plot_agreement([1.0, 2.0, 3.5], [2.0, 4.0, 7.0], title="halved")
    assert ax.get_title() == "halved\nslope 0.50, correlation 1.000"
    assert_allclose(ax.collections[0].get_offsets(), [[2, 1], [4, 2], [7, 3.5]])
    given = Figure().subplots()
    assert plot_agreement(np.eye(2), np.eye(2), ax=given) is given
    assert given.get_title() == "slope 1.00, correlation 1.000"


def test_agreement_refuses():
    with pytest.raises(ValueError, match="same shape"):
        plot_agreement([1.0], [1.0, 2.0])


def test_without_matplotlib(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (lambda: plot_audit(report), lambda: plot_agreement([1.0], [2.0])):
        with pytest.raises(ImportError, match="pip install matplotlib"):
            draw()


def _boxes(fig, artists):
    fig.set_size_inches(15, 5.2)
    fig.draw_without_rendering()
    return [artist.get_window_extent() for artist in artists if artist.get_text()]


def _apart(boxes):
    return not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("unit", [1.0, 0.01, 10_000.0])
def test_tick_labels_do_not_overlap(report, unit):
    """Beside names of rows that take half of the panel."""
    other = copy.deepcopy(report)
    other.rows["effect"] = np.linspace(-0.153, 0.05, len(report.rows["effect"])) * unit / 1000
    other.rows["cross_validated_loss"] = 0.2 * report.rows["cross_validated_loss"]
    other.rows["row"] = np.array([f"{i} of the first survey" for i in other.rows["row"]], dtype=object)
    fig = plot_audit(other, Figure())
    for ax in fig.axes[:2]:
        assert _apart(_boxes(fig, ax.get_xticklabels()))


def test_names_of_points_lie_within_the_panel_and_on_nothing(report):
    poor = copy.deepcopy(report)
    del poor.rows["cross_validated_loss"]
    poor.rows["row"] = np.array([f"Person Nr. {i}" for i in poor.rows["row"]], dtype=object)
    for given in (poor, report):
        fig = plot_audit(given, Figure())
        ax = fig.axes[1]
        boxes = _boxes(fig, ax.texts)
        inside = ax.get_window_extent()
        assert boxes and _apart(boxes)
        assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1 for box in boxes)
        points = np.concatenate([ax.transData.transform(dots.get_offsets()) for dots in ax.collections])
        assert not any(box.contains(*point) for box in boxes for point in points)


def test_names_in_the_picture_can_be_told_apart(report):
    other = copy.deepcopy(report)
    other.rows["row"] = np.array([f"Person Nr. {i} of the first survey" for i in other.rows["row"]], dtype=object)
    labels = [label.get_text() for label in plot_audit(other, Figure()).axes[0].get_yticklabels()]
    assert len(set(labels)) == 10


def test_the_title_names_the_model_and_what_stands_before_it(report):
    other = copy.deepcopy(report)
    other.estimator = "LogisticRegression(max_iter=10000, solver='newton-cholesky') after ColumnTransformer"
    fig = plot_audit(other, Figure())
    assert fig.get_suptitle() == "Audit of LogisticRegression after ColumnTransformer: 200 training rows"
    other.rows = {name: np.repeat(column, 10) for name, column in other.rows.items()}
    assert "1,990 rows between" in plot_audit(other, Figure()).axes[0].texts[0].get_text()
