"""
By parameters, or by rows
=========================

The fitted coefficients of a penalised linear model are a combination of its rows, so the model can be
written with one number for each parameter or with one for each row. Influence is the same number
either way; what it costs is not. By parameters the system to solve has as many unknowns as columns,
by rows as many as rows: ``representation="auto"`` takes the fewer. A kernel model is always written by
its rows, and with the linear kernel it is the linear model again.

The first panel is the time of all effects on 100 test losses and of an edit, by the number of columns.
The rows of a linear model are decomposed first, so that they pay from two columns a row on rather than
one; a kernel model starts from the products of its rows, and hardly knows how many columns they have.

The others are a model that has no parameters to write down, and only rows: a logistic regression with
the tangent kernel of an infinitely wide network, on two classes with wrong labels among them. Influence
on the loss of right rows finds the wrong ones, and ``unlearn`` gives the model that never saw them.

Run with ``--fast`` for a smaller problem and no window, and with ``--output FILE.png`` to write the
picture to a file.
"""

import argparse
import time
import warnings

import matplotlib
import numpy as np

parser = argparse.ArgumentParser(description="the same model by its parameters and by its rows")
parser.add_argument("--fast", action="store_true", help="a smaller problem, and no window")
parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
options = parser.parse_args()
if options.fast or options.output:
    matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)
from sklearn.datasets import make_moons  # noqa: E402
from sklearn.kernel_ridge import KernelRidge  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.metrics import log_loss  # noqa: E402

from sklearn_influence import InfluenceEstimator, KernelLogisticRegression, NeuralTangentKernel  # noqa: E402

# Rows of high leverage, and groups that one step is rough for, are not what this is about.
warnings.filterwarnings("ignore", ".*leverage", UserWarning)

# %%
# The same model in three ways, for more and more columns: a linear model by its parameters, by its rows,
# and as a kernel model with the linear kernel.

n = 150 if options.fast else 500
RATIOS = (0.2, 1, 5) if options.fast else (0.1, 0.25, 0.5, 1, 2, 4, 8)
WAYS = ("by parameters", "by rows", "kernel")
removed = np.arange(n // 10)


def models(name):
    """The model of each way."""
    if name == "Ridge":
        linear, kernel = Ridge(alpha=1.0, fit_intercept=False), KernelRidge(alpha=1.0)
    else:
        linear = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-8)
        kernel = KernelLogisticRegression(kernel="linear")
    ways = (InfluenceEstimator(linear, representation=way) for way in ("primal", "dual"))
    return dict(zip(WAYS, (*ways, InfluenceEstimator(kernel)), strict=True))


def measured(model, X_test, y_test):
    """Seconds, effects of every row on every test loss, and outputs after a tenth of the rows is unlearned."""
    start = time.perf_counter()
    effects = model.influence_on_loss(X_test, y_test)
    model.unlearn(removed)
    seconds = time.perf_counter() - start
    raw = model.decision_function if hasattr(model, "decision_function") else model.predict
    return seconds, effects, raw(X_test)


rng = np.random.default_rng(0)
times = {(name, way): [] for name in ("Ridge", "Logistic") for way in WAYS}
for ratio in RATIOS:
    p = int(ratio * n)
    X = rng.standard_normal((n + 100, p)) / np.sqrt(p)
    signal = X @ rng.standard_normal(p) + 0.5 * rng.standard_normal(n + 100)
    for name in ("Ridge", "Logistic"):
        y = signal if name == "Ridge" else (signal > 0).astype(int)
        found = {way: measured(model.fit(X[:n], y[:n]), X[n:], y[n:]) for way, model in models(name).items()}
        expected, difference = found["by parameters"][1:], 0.0
        for way, (seconds, *numbers) in found.items():
            times[name, way].append(seconds)
            for number, right in zip(numbers, expected, strict=True):
                difference = max(difference, np.abs(number - right).max() / np.abs(right).max())
        seconds = ", ".join(f"{way} {found[way][0]:.3f} s" for way in WAYS)
        print(f"{name:8s} {p / n:5.2f} columns a row: {seconds}; largest difference {difference:.0e}")

# %%
# A model that is made of rows alone. One label in ten is wrong, in the training rows only.

n_rows = 150 if options.fast else 300
X, y = make_moons(2 * n_rows, noise=0.15, random_state=0)
X, y, X_val, y_val = X[:n_rows], y[:n_rows], X[n_rows:], y[n_rows:]
wrong = rng.permutation(n_rows)[: n_rows // 10]
y = y.copy()
y[wrong] = 1 - y[wrong]

network = KernelLogisticRegression(0.1, kernel=NeuralTangentKernel(depth=3))
model = InfluenceEstimator(network).fit(X, y)
effect = model.influence_on_loss(X_val, y_val, aggregate="mean")
worst = np.argsort(effect)[: len(wrong)]  # their removal lowers the loss most
print(f"{np.isin(worst, wrong).mean():.0%} of the {len(wrong)} most harmful rows have a wrong label (chance: 10%)")

grid = np.stack(np.meshgrid(np.linspace(-1.6, 2.6, 60), np.linspace(-1.2, 1.7, 60)), axis=-1)
before = model.decision_function(grid.reshape(-1, 2)), log_loss(y_val, model.predict_proba(X_val))
model.unlearn(worst)
kept = np.setdiff1d(np.arange(n_rows), worst)
refit = KernelLogisticRegression(0.1, kernel=NeuralTangentKernel(depth=3), tol=1e-13).fit(X[kept], y[kept])
distance = np.abs(model.decision_function(X_val) - refit.decision_function(X_val)).max()
after = model.decision_function(grid.reshape(-1, 2)), log_loss(y_val, model.predict_proba(X_val))
print(f"unlearned: within {distance:.0e} of the refit; log loss {before[1]:.3f} before, {after[1]:.3f} after")

# %%
# The picture.

fig, (left, *maps) = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
COLOURS = dict(zip(WAYS, ("#d55e00", "#0072b2", "#009e73"), strict=True))
for (name, way), seconds in times.items():
    style = "o-" if name == "Ridge" else "s--"
    left.loglog(RATIOS, seconds, style, color=COLOURS[way], markersize=5, label=f"{name}, {way}")
left.axvline(1, color="black", linewidth=0.8, linestyle=":")
left.set(xlabel="columns for each row", ylabel="seconds", title=f"{n} rows: all effects, then a tenth unlearned")
left.legend(frameon=False, fontsize=8)
strongest = np.abs(effect).max()
for ax, (outputs, loss), title, rows in zip(
    maps,
    (before, after),
    ("wrong labels", "the most harmful unlearned"),
    (np.arange(n_rows), kept),
    strict=True,
):
    ax.contour(grid[..., 0], grid[..., 1], outputs.reshape(60, 60), levels=[0], colors="black")
    points = ax.scatter(*X[rows].T, c=effect[rows], s=24, cmap="PuOr", vmin=-strongest / 3, vmax=strongest / 3)
    marked = np.intersect1d(wrong, rows)
    ax.scatter(*X[marked].T, s=70, facecolors="none", edgecolors="#d55e00", label="wrong label")
    ax.set_title(f"{title}: log loss {loss:.3f}")
maps[0].legend(frameon=False, loc="upper right")
fig.colorbar(points, ax=maps, label="change of validation loss by removal")

if options.output:
    fig.savefig(options.output, dpi=120)
elif not options.fast:
    plt.show()
