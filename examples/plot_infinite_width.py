"""
Networks of infinite width, predicted and retrained
===================================================

A network whose layers are infinitely wide is, when it is trained, a kernel model: of its *neural
tangent kernel*. It has no parameters that could be written down, but it has a coefficient for each
training row, and influence and unlearning need those alone. This is Figure 4 of "Extending Kernel
Trick to Influence Functions" (Sun et al.): half of each class is removed at once, and what the
outputs and the losses of test rows do is predicted and held against retraining.

* A fully connected ReLU network of three hidden layers, cross entropy, on digits.
* A convolutional network of three blocks, squared loss, on patches of scikit-learn's two
  photographs. (The paper has two classes of CIFAR-10, which comes with no Python package.)

What is predicted: one Newton step in the span of the rows that stay, from the outputs of the model
that knew all of them, and the loss *at the shifted outputs*. Squared loss makes that exact. The
paper's own estimate of a loss is linear in the shift, and holds the change of the penalty too, which
no test loss has: it is drawn in grey. ``unlearn`` repeats the step until it has the retrained model.

Retraining is a fit of the rows that stay, from nothing. That *it* is right is shown without this
package: gradient descent on the network in function space (the paper's Eq. 14) ends there.

Run with ``--fast`` for fewer rows and no window, and with ``--output FILE.png`` to write the picture
to a file. ``--results FILE.json`` draws what ``benchmarks/bench_infinite_width.py`` kept: MNIST, and
larger patches.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_digits, load_sample_image
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import r2_score

from sklearn_influence import InfluenceEstimator, KernelLogisticRegression, NeuralTangentKernel
from sklearn_influence.kernels import ConvolutionalNTK
from sklearn_influence.losses import Softmax, SquaredError

STRENGTH = 0.1  # of the penalty on the mean loss
NETWORK = {"sigma_w": 2.0, "sigma_b": 0.1}  # the paper's

# %%
# The data: rows of training and of test, of each class as many.


def digits(n, n_test):
    """n and n_test digits of each class, pixels from 0 to 1."""
    X, y = load_digits(return_X_y=True)
    return of_each_class(X / 16, y, n, n_test)


def of_each_class(X, y, n, n_test, seed=0):
    """Training rows, their labels, test rows, theirs."""
    order = np.random.default_rng(seed).permutation(len(y))
    classes = [order[y[order] == label] for label in np.unique(y)]
    train, test = (np.concatenate([rows[part] for rows in classes]) for part in (slice(n), slice(n, n + n_test)))
    return X[train], y[train], X[test], y[test]


def patches(n, n_test, size, seed=0):
    """Square patches of two photographs as flattened rows, labels -1 and 1; the test's from the right third."""
    rng = np.random.default_rng(seed)
    parts = []
    for name in ("china.jpg", "flower.jpg"):
        image = load_sample_image(name) / 255
        height, width, _ = image.shape
        for count, left, right in ((n, 0, 2 * width // 3), (n_test, 2 * width // 3, width)):
            corners = rng.integers((0, left), (height - size + 1, right - size + 1), (count, 2))
            parts.append(np.array([image[i : i + size, j : j + size].ravel() for i, j in corners]))
    X, X_test = np.concatenate(parts[::2]), np.concatenate(parts[1::2])
    return X, np.repeat([-1.0, 1.0], n), X_test, np.repeat([-1.0, 1.0], n_test)


# %%
# Kernel gradient descent, which knows nothing of Newton's method: ``f <- f - rate (K g + strength f)``
# with g the derivatives of the mean loss.


def descend(K, targets, link, strength, rate, n_iter, goal):
    """Relative distances of the outputs on the training rows to ``goal``, at some 60 of the iterations."""
    f, distances = np.zeros_like(goal), {}
    shown = set(np.unique(np.geomspace(1, n_iter, 60).astype(int)).tolist())
    for iteration in range(1, n_iter + 1):
        f -= rate * (K @ ((link(f) - targets) / len(f)) + strength * f)
        if iteration in shown:
            distances[iteration] = float(np.linalg.norm(f - goal) / np.linalg.norm(goal))
    return distances


# %%
# One experiment on a kernel matrix of the training rows, and one of test rows with them. Two groups are
# asked about, the half of each class that is removed and the half that stays, since groups have all
# rows; the first is held against retraining.


def outputs(model, K):
    """(m, q)."""
    raw = model.decision_function(K) if hasattr(model, "decision_function") else model.predict(K)
    return raw.reshape(len(K), -1)


def second_half(codes):
    """Whether a row is in the later half of its class."""
    number = np.array([np.sum(codes[:i] == codes[i]) for i in range(len(codes))])
    return number >= np.bincount(codes)[codes] // 2


def experiment(K, y, K_test, y_test, model, rate, n_iter):
    """Predicted and actual changes on test rows, and how near the descent comes to the retrained model."""
    seconds = {}

    def clock(name, call):
        start = time.perf_counter()
        result = call()
        seconds[name] = time.perf_counter() - start
        return result

    labels, codes = np.unique(y, return_inverse=True)
    stays = second_half(codes)
    kept = np.flatnonzero(stays)
    K_kept, K_test_kept = K[np.ix_(kept, kept)], K_test[:, kept]

    # Of several classes the system is as many times as large as K; conjugate gradients multiply with K alone.
    influence = InfluenceEstimator(model, solver="auto" if isinstance(model, KernelRidge) else "cg")
    clock("fit", lambda: influence.fit(K, y))
    f = outputs(influence, K_test)
    shape = (-1, 2, f.shape[1])
    df = clock("predict", lambda: influence.influence_on_output(K_test, groups=stays).reshape(len(f), *shape[1:]))[:, 0]
    dloss = influence.influence_on_loss(K_test, y_test, groups=stays)[:, 0]
    unlearned = clock("unlearn", lambda: copy.deepcopy(influence).unlearn(~stays))
    refitted = copy.deepcopy(model)
    if getattr(model, "penalty_scale", "sum") == "mean":
        refitted.alpha = model.alpha * len(kept) / len(y)
    clock("retrain", lambda: refitted.fit(K_kept, y[kept]))

    if isinstance(model, KernelRidge):
        loss, truth, targets, link = SquaredError(), y_test[:, None], y[kept, None], lambda f: f
    else:
        loss, truth = Softmax(), np.searchsorted(labels, y_test)
        targets, link = np.eye(len(labels))[codes[kept]], lambda f: softmax(f, axis=1)
    shifted, actual = (outputs(m, K_test_kept) for m in (unlearned, refitted))
    before = loss.value(truth, f)
    # What the penalty changes by, to first order, is in the paper's estimate of every loss.
    coefficients = influence.estimator_.dual_coef_.reshape(len(y), -1)
    on_training = influence.influence_on_output(K, groups=stays).reshape(len(y), *shape[1:])[:, 0]
    penalty = model.alpha / len(y) * np.sum(coefficients * on_training)
    goal = outputs(refitted, K_kept)
    descent = clock("descend", lambda: descend(K_kept, targets, link, refitted.alpha / len(kept), rate, n_iter, goal))
    changes = {
        "outputs": {"actual": actual - f, "one step": df, "unlearned": shifted - f},
        "losses": {
            "actual": loss.value(truth, actual) - before,
            "one step": dloss,
            "unlearned": loss.value(truth, shifted) - before,
            "the paper's estimate": np.sum(loss.gradient(truth, f) * df, axis=1) + penalty,
        },
    }
    return {"rows": len(y), "changes": changes, "missed": missed(changes), "descent": descent, "seconds": seconds}


def missed(changes):
    """1 - R^2 of each way, by the line on which what is predicted is what is retrained."""
    return {
        what: {way: 1 - r2_score(np.ravel(found["actual"]), np.ravel(found[way])) for way in found if way != "actual"}
        for what, found in changes.items()
    }


# %%
# The two networks. Cross entropy with a penalty on the mean loss, whose share of the sum shrinks with
# the rows; KernelRidge's penalty is on the sum, and stays.


def fully_connected(X):
    """The kernel for these rows."""
    return NeuralTangentKernel(depth=3, **NETWORK)


def convolutional(X):
    """The kernel for these rows, square images of three colours."""
    size = round((X.shape[1] / 3) ** 0.5)
    return ConvolutionalNTK(depth=3, image_shape=(size, size, 3), **NETWORK)


def matrices(network, X, y, X_test, y_test):
    """What an experiment takes of the data."""
    kernel = network(X)
    return kernel(X), y, kernel(X_test, X), y_test


def cross_entropy(K, y, K_test, y_test, n_iter=3_000):
    model = KernelLogisticRegression(STRENGTH * len(y), kernel="precomputed", penalty_scale="mean")
    return experiment(K, y, K_test, y_test, model, 0.1, n_iter)


def squared_loss(K, y, K_test, y_test, n_iter=20_000):
    return experiment(K, y, K_test, y_test, KernelRidge(alpha=STRENGTH * len(y), kernel="precomputed"), 0.01, n_iter)


def show(name, result):
    """Every figure as a line."""
    for what, ways in result["missed"].items():
        for way, share in ways.items():
            print(f"{name}, {what}, {way}: 1 - R2 {share:.1e}")
    last, distance = list(result["descent"].items())[-1]
    print(f"{name}, gradient descent: {distance:.1e} from the retrained outputs after {last} iterations")


# %%
# The picture: predicted against retrained, and the descent to the retrained model.

WAYS = {
    "the paper's estimate": {"color": "#7a7a7a", "s": 12},
    "one step": {"color": "#0072b2", "s": 16},
    "unlearned": {"color": "#d55e00", "s": 6, "marker": "x", "linewidths": 0.6},
}


def share(number):
    return f"= {number:.0e}" if number > 1e-14 else "< 1e-14"


def draw(results):
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
    for (title, result), (*panels, last) in zip(results.items(), axes, strict=True):
        for ax, what in zip(panels, ("outputs", "losses"), strict=True):
            found = {way: np.ravel(values) for way, values in result["changes"][what].items()}
            shown = np.linspace(0, len(found["actual"]) - 1, min(len(found["actual"]), 1000)).astype(int)
            ax.axline((0, 0), slope=1, color="black", linewidth=0.8, zorder=0)
            for way in [way for way in WAYS if way in found]:
                label = f"{way}: 1 - R\u00b2 {share(result['missed'][what][way])}"
                ax.scatter(found["actual"][shown], found[way][shown], **WAYS[way], label=label)
            ax.set(title=f"{title}: {what}", xlabel="change, retrained", ylabel="change, predicted")
            ax.legend(frameon=False, fontsize=8)
        iterations = [int(iteration) for iteration in result["descent"]]
        last.loglog(iterations, list(result["descent"].values()), color="#0072b2")
        last.set(
            title="gradient descent to the retrained model",
            xlabel="iterations",
            ylabel="distance of the outputs, relative",
        )
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def main():
    parser = argparse.ArgumentParser(description="half of each class removed from networks of infinite width")
    parser.add_argument("--fast", action="store_true", help="fewer rows, and no window")
    parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
    parser.add_argument("--results", metavar="FILE.json", help="draw these kept results")
    options = parser.parse_args()
    if options.fast or options.output:
        import matplotlib

        matplotlib.use("Agg")
    if options.results:
        results = json.loads(Path(options.results).read_text(encoding="utf-8"))["networks"]
    else:
        n, n_test, size = (20, 6, 4) if options.fast else (100, 40, 8)
        results = {
            "fully connected, digits": cross_entropy(*matrices(fully_connected, *digits(n, n_test))),
            f"convolutional, {size} x {size} patches": squared_loss(
                *matrices(convolutional, *patches(n, n_test, size))
            ),
        }
    for name, result in results.items():
        show(name, result)
    fig = draw(results)
    if options.output:
        fig.savefig(options.output, dpi=120)
    elif not options.fast:
        import matplotlib.pyplot as plt

        plt.show()


if __name__ == "__main__":
    main()
