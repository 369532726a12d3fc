"""
Every inverse Hessian, against retraining
=========================================

An influence is a gradient, multiplied by an inverse Hessian, multiplied by another gradient. The
inverse can be had exactly (``solver="direct"``, or by conjugate gradients), from random rows, or
from an approximation of the Hessian that is easy to invert. This is a validation in the manner of
Koh and Liang (ICML 2017), with those ways side by side: a multinomial logistic regression, a test digit that it
gets wrong, the training rows of largest influence on that digit's loss. Each of them is left out,
the model is retrained, and the change of the loss is held against the prediction.

What is largest is signed. The derivative of the loss by a row's weight is largest where the row
hurts most, so these are rows whose removal lowers the loss; ``--order absolute`` takes rows of both
signs. Either is chosen by the exact inverse, at first order.

``method="newton"``, where the solver allows it, takes the row out of the curvature too. The
classical ``method="first_order"`` is light behind it, and alone elsewhere.

A time is all that a fitted model needs for its first answer, by a copy that knows of no other's work.
Influences are taken at the true optimum, and how much of the time the search for it took is kept
beside: a direct solver factors there, and uses that factor for the answer.

Run as it is for scikit-learn's own digits, in seconds. ``--mnist FOLDER`` takes the 55,000 rows of
MNIST from its four IDX files there, in minutes. ``--results FILE.json`` draws results that
``benchmarks/bench_hessian_estimation.py`` kept. ``--fast`` is for fewer rows and no window, and
``--output FILE.png`` writes the picture to a file.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import agreement
from sklearn_influence.solvers import Stochastic

# %%
# The ways to the inverse, and by which methods each of them predicts, the best one first. Those
# that run by default are ``SOLVERS``; a new one needs to be added there only.

METHODS = {
    "direct": ("newton", "first_order"),
    "cg": ("newton", "first_order"),
    "stochastic": ("first_order",),
    "outer_product": ("first_order",),
    "diagonal": ("first_order",),
}
SOLVERS = tuple(METHODS)
ORDERS = ("harmful", "absolute")

# The penalty on the mean loss, STRENGTH / 2 |W|^2, which is 1 / (2 C n) |W|^2.
STRENGTH = 0.01

# %%
# The data: rows in [0, 1], labels, and the same of the test rows.


def digits():
    """scikit-learn's digits, the first 1,200 to train on."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    return X[:1200], y[:1200], X[1200:], y[1200:]


def mnist(folder):
    """MNIST from its IDX files, the first 55,000 rows to train on."""
    folder = Path(folder)
    X, y, X_test, y_test = (
        idx(folder / f"{part}-{kind}-ubyte") for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    )
    X, X_test = (images.reshape(len(images), -1) / 255 for images in (X[:55_000], X_test))
    return X, y[:55_000], X_test, y_test


def idx(path):
    """The array in an IDX file of bytes: a number that ends in how many axes, their lengths, the bytes."""
    content = path.read_bytes()
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


# %%
# The truth. Nothing here knows of influence: a gradient of the loss summed over the rows, and steps by
# the Cholesky factor of one Hessian until the gradient is gone. That Hessian is the one of all rows,
# close enough to every retrain's own to serve them all. It sets how fast they arrive, not where.
# Parameters are (features, classes, models): retrains that advance together share the passes over
# the rows.

BLOCK = 4096


def outputs_in_blocks(X, W):
    """Slices of the rows, with their probabilities (rows, classes, models)."""
    d, q, k = W.shape
    for start in range(0, len(X), BLOCK):
        part = slice(start, min(start + BLOCK, len(X)))
        u = (X[part] @ W.reshape(d, q * k)).reshape(-1, q, k)
        u -= u.max(axis=1, keepdims=True)
        np.exp(u, out=u)
        u /= u.sum(axis=1, keepdims=True)
        yield part, u


def gradients(X, codes, penalty, W, without=None):
    """Gradients (d, q, k) of the objectives of k models, the j-th without row ``without[j]``."""
    out = penalty * W
    for part, u in outputs_in_blocks(X, W):
        u[np.arange(len(u)), codes[part]] -= 1.0
        if without is not None:
            models = np.flatnonzero((without >= part.start) & (without < part.stop))
            u[without[models] - part.start, :, models] = 0.0
        out += (X[part].T @ u.reshape(len(u), -1)).reshape(out.shape)
    return out


def row_gradient_norms(X, codes, W):
    """Norm of each row's own gradient (k,), under one model (d, q)."""
    u = softmax(X @ W, axis=1)
    u[np.arange(len(X)), codes] -= 1.0
    return np.linalg.norm(u, axis=1) * np.linalg.norm(X, axis=1)


def hessian_factor(X, penalty, W):
    """Cholesky factor of the Hessian of all rows, over (features, classes)."""
    d, q = W.shape
    p = np.concatenate([u[:, :, 0] for _, u in outputs_in_blocks(X, W[:, :, None])])
    H = np.empty((d, q, d, q))
    for a in range(q):
        for b in range(a, q):
            # A product with its own transpose takes half the operations, hence the root.
            rooted = X * np.sqrt(p[:, a] * (1 - p[:, a] if a == b else p[:, b]))[:, None]
            gram = rooted.T @ rooted
            H[:, a, :, b] = H[:, b, :, a] = gram if a == b else -gram
    H = H.reshape(d * q, d * q)
    H[np.diag_indices(d * q)] += penalty
    # The transpose is the same matrix in the order that LAPACK takes without a copy.
    return cho_factor(H.T, lower=True, overwrite_a=True, check_finite=False)


def step(factor, gradient):
    d, q, k = gradient.shape
    return cho_solve(factor, gradient.reshape(d * q, k), check_finite=False).reshape(d, q, k)


def settle(model, X, y):
    """The fitted model at its optimum to the last digit, a copy, and the factor of its Hessian."""
    model, penalty, codes = copy.copy(model), 1 / model.C, np.searchsorted(model.classes_, y)
    W = model.coef_.T[:, :, None]
    factor = hessian_factor(X, penalty, W[:, :, 0])
    gradient, previous = gradients(X, codes, penalty, W), np.inf
    # Newton steps until the gradient is rounding, and shrinks no more.
    while np.linalg.norm(gradient) < previous / 2:
        model.coef_, previous = W[:, :, 0].T.copy(), np.linalg.norm(gradient)
        W = W - step(factor, gradient)
        gradient = gradients(X, codes, penalty, W)
    return model, factor


def retrain(model, factor, X, y, rows, tol=1e-10, max_steps=100, at_once=20):
    """The models without each of the rows.

    Returns
    -------
    coefs : ndarray of shape (k, q, d)
    reached : ndarray of shape (k,)
        Norm of each one's gradient at the end, in units of the norm of the removed row's own; at most ``tol``.
    steps : ndarray of shape (k,)
    """
    penalty, codes, rows = 1 / model.C, np.searchsorted(model.classes_, y), np.asarray(rows)
    start = model.coef_.T
    scale = row_gradient_norms(X[rows], codes[rows], start)
    coefs = np.empty((len(rows), *model.coef_.shape))
    reached, steps = np.full(len(rows), np.inf), np.zeros(len(rows), int)
    for first in range(0, len(rows), at_once):
        left = np.arange(first, min(first + at_once, len(rows)))
        W = np.repeat(start[:, :, None], len(left), axis=2)
        for taken in range(max_steps + 1):
            gradient = gradients(X, codes, penalty, W, rows[left])
            reached[left] = np.linalg.norm(gradient, axis=(0, 1)) / scale[left]
            steps[left] = taken
            done = reached[left] <= tol
            coefs[left[done]] = W[:, :, done].transpose(2, 1, 0)
            left, W, gradient = left[~done], W[:, :, ~done], gradient[:, :, ~done]
            if not len(left):
                break
            W = W - step(factor, gradient)
        else:
            raise RuntimeError(f"Retraining without rows {rows[left]} stopped at a gradient of {reached[left]}.")
    return coefs, reached, steps


def log_loss(coefs, x, code):
    """Loss (k,) on one test row under each of the coefficients (k, q, d)."""
    f = coefs @ x
    return logsumexp(f - f[:, [code]], axis=1)


# %%
# The question: the first test row that the model gets wrong, and the training rows of largest influence
# on its loss.


def fit(X, y):
    """The model, ready to be asked. Three classes or more."""
    # L-BFGS would do: influences are taken at the true optimum. From here it is not far, to any solver.
    estimator = LogisticRegression(
        C=1 / (STRENGTH * len(y)), fit_intercept=False, solver="newton-cg", tol=1e-12, max_iter=1000
    )
    return InfluenceEstimator(estimator).fit(X, y)


def misclassified(model, X_test, y_test):
    """The first test row whose label is not the predicted one."""
    return int(np.flatnonzero(model.predict(X_test) != y_test)[0])


def ask(wrapped, solver, method):
    """A copy that has computed nothing yet, if ``wrapped`` has not."""
    solver = Stochastic(random_state=0) if solver == "stochastic" else solver  # the same draws each time
    return copy.deepcopy(wrapped).set_params(solver=solver, method=method)


def largest_influences(wrapped, x, label, k, order="harmful"):
    """The k training rows of largest influence on the loss of test row x, by the exact inverse at first order."""
    return ask(wrapped, "direct", "first_order").top_influences(x[None], [label], k=k, order=order).indices[0]


def predict(wrapped, x, label, rows, solver, method):
    """Predicted changes of the loss on x, (k,); the seconds to the optimum, and those from there to the answer."""
    asked = ask(wrapped, solver, method)
    start = time.perf_counter()
    asked.params_  # noqa: B018  (computed where it is read)
    arrived = time.perf_counter()
    change = asked.influence_on_loss(x[None], [label], rows)[0]
    return change, arrived - start, time.perf_counter() - arrived


def compare(wrapped, x, label, rows, actual, solvers):
    """One record for every solver and method: what it predicts, how well, and in what time."""
    for solver in solvers:
        for method in METHODS[solver]:
            predicted, to_optimum, to_answer = predict(wrapped, x, label, rows, solver, method)
            result = agreement(predicted, actual)
            yield {
                "solver": solver,
                "method": method,
                "correlation": result.correlation,
                "slope": result.slope,
                "relative_error": result.relative_error,
                "seconds": to_optimum + to_answer,
                "seconds_to_optimum": to_optimum,
                "predicted": predicted.tolist(),
            }


def line(record):
    return (
        f"{record['solver']:14} {record['method']:12} correlation {record['correlation']:.6f}  "
        f"slope {record['slope']:.5f}  {record['seconds']:.2f} s"
    )


def experiment(X, y, X_test, y_test, k, order, solvers):
    """All of it, as ``draw`` takes it."""
    wrapped = fit(X, y)
    test = misclassified(wrapped, X_test, y_test)
    x, label = X_test[test], y_test[test]
    rows = largest_influences(wrapped, x, label, k, order)
    start = time.perf_counter()
    model, factor = settle(wrapped.estimator_, X, y)
    coefs, _, _ = retrain(model, factor, X, y, rows)
    print(f"{len(rows)} retrains in {time.perf_counter() - start:.1f} s")
    code = np.searchsorted(model.classes_, label)
    actual = log_loss(coefs, x, code) - log_loss(model.coef_[None], x, code)
    predictions = []
    for record in compare(wrapped, x, label, rows, actual, solvers):
        print(line(record), flush=True)
        predictions.append(record)
    return {"actual": actual.tolist(), "predictions": predictions}


# %%
# The picture: a panel for each solver.


def draw(results, title):
    """Predicted against actual, a panel for each solver that the results have."""
    import matplotlib.pyplot as plt

    from sklearn_influence.plotting import NEUTRAL, plot_agreement

    actual = np.array(results["actual"])
    records = {(record["solver"], record["method"]): record for record in results["predictions"]}
    solvers = [solver for solver in METHODS if any(key[0] == solver for key in records)]
    # In thousandths, because a single row changes the loss by little.
    fig, axes = plt.subplots(
        1, len(solvers), figsize=(1 + 3.6 * len(solvers), 4.4), layout="constrained", squeeze=False
    )
    for solver, ax in zip(solvers, axes[0], strict=True):
        front, *behind = [records[solver, method] for method in METHODS[solver] if (solver, method) in records]
        for record in behind:
            predicted = 1000 * np.array(record["predicted"])
            ax.scatter(1000 * actual, predicted, s=16, color=NEUTRAL, alpha=0.3, linewidths=0, label=record["method"])
        heading = f"{solver}, {front['method']}: {front['seconds']:.{int(front['seconds'] < 10)}f} s"
        plot_agreement(1000 * np.array(front["predicted"]), 1000 * actual, ax=ax, title=heading)
        ax.set_xlabel("change of loss x 1000, retrained")
        ax.set_ylabel("")
    axes[0, 0].set_ylabel("change of loss x 1000, predicted")
    fig.suptitle(title)
    return fig


def main():
    parser = argparse.ArgumentParser(description="predicted against retrained change of loss, by every inverse Hessian")
    parser.add_argument("--fast", action="store_true", help="fewer rows, and no window")
    parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
    parser.add_argument("--order", choices=ORDERS, default="harmful", help="which rows are the largest")
    parser.add_argument("--solvers", nargs="+", choices=METHODS, default=SOLVERS, metavar="SOLVER")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--mnist", metavar="FOLDER", help="run MNIST, from the IDX files in this folder")
    source.add_argument("--results", metavar="FILE.json", help="draw these kept results")
    options = parser.parse_args()
    if options.fast or options.output:
        import matplotlib

        matplotlib.use("Agg")
    if options.results:
        kept = json.loads(Path(options.results).read_text())
        name, n, results = kept["data"], kept["n"], kept[options.order]
        for record in results["predictions"]:
            print(line(record))
    else:
        name, k = ("MNIST", 500) if options.mnist else ("digits", 100)
        data = mnist(options.mnist) if options.mnist else digits()
        n = len(data[0])
        results = experiment(*data, 30 if options.fast else k, options.order, options.solvers)
    fig = draw(results, f"Each of {len(results['actual'])} rows left out\n({name}, {n:,} rows to train on)")
    if options.output:
        fig.savefig(options.output, dpi=120)
    elif not options.fast:
        import matplotlib.pyplot as plt

        plt.show()


if __name__ == "__main__":
    main()
