"""Pictures of an audit and of agreement with retraining. They need matplotlib."""

import re

import numpy as np

from ._report.format import different, unit
from ._report.suspects import surprising
from .diagnostics import agreement

__all__ = ["plot_agreement", "plot_audit"]

# Told apart by colour-blind readers, and by everyone in grey.
HARMFUL, HELPFUL, NEUTRAL = "#d55e00", "#0072b2", "#7a7a7a"


def plot_audit(report, fig=None):
    """Three panels: the two ends of the ranking, the rows that look wrong, what removal did.

    Parameters
    ----------
    report : AuditReport
        As `audit` returns it.
    fig : matplotlib Figure, default=None
        An empty figure to draw on; a new pyplot figure by default.

    Returns
    -------
    matplotlib Figure
        Left: effect of removing single rows on validation loss (below 0: the row hurts). Middle:
        self influence against cross-validated loss (or against leverage, when the report has
        none), the rows of the report's list marked. Right: measured change of loss when the most
        harmful rows are unlearned, with its standard error, beside random rows.

    Raises
    ------
    ImportError
        Where matplotlib is missing.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import InfluenceEstimator, audit
    >>> from sklearn_influence.plotting import plot_audit
    >>> X, y = load_diabetes(return_X_y=True)
    >>> report = audit(InfluenceEstimator(Ridge()).fit(X[:300], y[:300]), X[300:], y[300:])
    >>> len(plot_audit(report).axes)  # doctest: +SKIP
    3
    """
    if fig is None:
        fig = _pyplot().figure(figsize=(15, 5.2))
    fig.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    left, middle, right = fig.subplots(1, 3, width_ratios=[1, 1.15, 0.8])
    fig.suptitle(f"Audit of {_name(report.estimator)}: {report.n_train:,} training rows")
    _plot_effects(report, left)
    _plot_suspects(report, middle)
    _plot_unlearning(report, right)
    for ax in (left, middle, right):
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def plot_agreement(predicted, actual, ax=None, title=None):
    """Predicted against actual changes, with the line on which they are equal.

    Parameters
    ----------
    predicted, actual : array-like of the same shape
        Changes of one and the same quantity.
    ax : matplotlib Axes, default=None
        A new pyplot figure's by default.
    title : str, default=None
        First line of the title; slope and correlation (see `agreement`) are the second.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from sklearn_influence.plotting import plot_agreement
    >>> ax = plot_agreement([0.9, 2.1], [1.0, 2.0], title="two rows")  # doctest: +SKIP
    """
    result = agreement(predicted, actual)
    if ax is None:
        ax = _pyplot().subplots()[1]
    predicted, actual = np.ravel(predicted), np.ravel(actual)
    ax.axline((0, 0), slope=1, color=NEUTRAL, linewidth=1, zorder=0, label="equal")
    ax.scatter(actual, predicted, s=16, alpha=0.6, color=HELPFUL, linewidths=0)
    ax.set_xlabel("actual change (retrained)")
    ax.set_ylabel("predicted change")
    figures = f"slope {result.slope:.2f}, correlation {result.correlation:.3f}"
    ax.set_title(figures if title is None else f"{title}\n{figures}")
    ax.legend(frameon=False, loc="upper left")
    return ax


def _plot_effects(report, ax):
    effect, names = report.rows["effect"] * _factor(report), report.rows["row"]
    k = min(report.k, 12)  # more labels than 24 cannot be read
    worst = np.flatnonzero(effect < 0)[:k]
    best = np.flatnonzero(effect > 0)[-k:]
    shown = np.r_[worst, best]
    # One empty place stands for the rows between the two ends.
    places = -np.r_[np.arange(len(worst)), len(worst) + 1 + np.arange(len(best))]
    colours = np.where(effect[shown] < 0, HARMFUL, HELPFUL)
    ax.barh(places, effect[shown], color=colours, height=0.8)
    ax.set_yticks(places, different(names[shown], 28), fontsize=8)
    ax.xaxis.set_major_locator(_few_ticks())
    between = len(effect) - len(shown)
    if between:
        ax.text(0, -len(worst), f"  {between:,} rows between", va="center", fontsize=8, color=NEUTRAL)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_ylabel("training row")
    ax.set_xlabel(f"change of validation {_loss_name(report)}\nwhen the row is removed")
    ax.set_title("Rows that hurt (left) and carry (right)")


def _plot_suspects(report, ax):
    rows = report.rows
    known = "cross_validated_loss" in rows
    x = rows["cross_validated_loss" if known else "leverage"]
    y = rows[report.suspects["by"]]
    places = surprising(report)[0]
    marked = np.isin(np.arange(len(y)), places)
    ax.scatter(x[~marked], y[~marked], s=14, color=NEUTRAL, alpha=0.5, linewidths=0)
    ax.scatter(x[marked], y[marked], s=26, color=HARMFUL)
    ax.margins(x=0.08, y=0.08)
    ax.xaxis.set_major_locator(_few_ticks())
    _name_points(ax, x, y, places[:6], different(rows["row"][places[:6]], 24))
    ax.set_xlabel("cross-validated loss of the row" if known else "leverage of the row")
    by = {"leave_one_out_loss": "leave-one-out loss of the row", "self_influence": "self influence of the row"}
    ax.set_ylabel(by[report.suspects["by"]])
    wrong = "mislabelled" if report.task == "classification" else "wrong"
    ax.set_title(f"Rows that look {wrong} (marked: {f'top {len(places)}' if len(places) else 'none'})")


def _name_points(ax, x, y, places, names):
    """Names beside points, each on a side where no point, name or edge is; without such a side it is left out."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    at = np.column_stack([(x - left) / (right - left), (y - bottom) / (top - bottom)])  # 0 to 1 across the panel
    width, height, taken = 0.018, 0.05, []  # of a letter, at about the panel's size in `plot_audit`
    for place, name in zip(places, names, strict=True):
        for side, rise in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            corner = at[place] + [0.012 * side, 0.008 * rise]
            ends = np.sort([corner, corner + [side * width * len(name), rise * height]], axis=0)
            free = (
                (ends > 0).all()
                and (ends < 1).all()
                and not ((at > ends[0] - 0.008) & (at < ends[1] + 0.008)).all(axis=1).any()
            )
            if free and not any((ends[0] < box[1]).all() and (box[0] < ends[1]).all() for box in taken):
                taken.append(ends)
                ax.annotate(
                    name,
                    (x[place], y[place]),
                    xytext=(4 * side, 2 * rise),
                    textcoords="offset points",
                    ha="left" if side > 0 else "right",
                    va="bottom" if rise > 0 else "top",
                    fontsize=8,
                )
                break


def _plot_unlearning(report, ax):
    result, factor = report.unlearning, _factor(report)
    n = len(result["removed"])
    ax.set_title("Unlearning, measured")
    if result["missing"]:
        ax.set_axis_off()
        ax.text(0.5, 0.5, f"Not done:\n{_short(result['missing'], 60)}", ha="center", wrap=True)
        return
    random = np.array(result["random_changes"]) * factor
    ax.axhline(0, color="black", linewidth=0.8)
    measured = ax.errorbar(
        0,
        result["change"] * factor,
        result["standard_error"] * factor,
        fmt="o",
        markersize=9,
        color=HARMFUL,
        capsize=5,
    )
    (added,) = ax.plot(
        0.16,
        result["change_by_adding_effects"] * factor,
        "D",
        markersize=7,
        markerfacecolor="none",
        color=HARMFUL,
    )
    # Spread sideways by rank, so that equal draws do not hide each other.
    spread = 1 + 0.24 * (np.arange(len(random)) % 5 - 2) / 2
    draws = ax.scatter(spread, np.sort(random), s=18, color=NEUTRAL)
    handles = {"measured, with standard error": measured, "sum of the single effects": added}
    if len(random):
        mean = ax.hlines(random.mean(), 0.7, 1.3, color="black", linewidth=2)
        handles |= {f"{len(random)} random draws": draws, "mean of the draws": mean}
    ax.set_xlim(-0.6, 1.6)
    ax.set_xticks(
        [0, 1], ["most harmful\nrow" if n == 1 else f"{n} most harmful\nrows", f"{n} random\nrow{'s'[: n > 1]}"]
    )
    place = "test" if result["chosen_on"] == "validation" else "other half's"
    ax.set_ylabel(f"change of {place} {_loss_name(report)}")
    ax.legend(
        handles.values(),
        handles.keys(),
        frameon=False,
        fontsize=8,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
    )


def _factor(report):
    return unit(report)[0]


def _loss_name(report):
    return unit(report)[1].removeprefix("mean ").removesuffix(", summed")


def _name(estimator):
    """The model's name and what stands before it, without parameters."""
    model, _, before = re.sub(r"\(.*\)", "", estimator).partition(" after ")
    return _short(model, 60) + (f" after {_short(before, 60)}" if before else "")


def _few_ticks():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5)


def _short(text, width=70):
    return text if len(text) <= width else text[: width - 3] + "..."


def _pyplot():
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plotting needs matplotlib, which is not installed: pip install matplotlib") from error
    return pyplot
