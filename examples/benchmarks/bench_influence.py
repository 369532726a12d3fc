"""How much do influences cost beside the matrix products that cannot be avoided, the peer package, and a refit?

One logistic regression of 100,000 x 200, and 1,000 test rows. Every time is the median of five after a warm-up, in
units of the bare product or refit named beside it; both are timed in the same run, in turns. pyinfluence is timed where
it is installed, on a tenth of the rows, since it holds every pairwise matrix twice.

    python bench_influence.py [--small]      prints the table and writes bench_influence.txt beside this file
"""

import argparse
import copy
import platform
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import scipy
import sklearn
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import sklearn_influence
from sklearn_influence import InfluenceEstimator

OUT = Path(__file__).with_suffix(".txt")
REPEATS = 5


def make(n, d, m, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + m, d))
    w = 6 * rng.standard_normal(d) / d
    y = (rng.random(n + m) < 1 / (1 + np.exp(-X @ w))).astype(int)
    return X[:n], y[:n], X[n:], y[n:]


def median_ratio(ours, bare):
    """Median of ours / bare, timed in turns after a warm-up of each, and the median of bare in seconds."""
    ours(), bare()
    pairs = np.array([(clock(ours), clock(bare)) for _ in range(REPEATS)])
    return float(np.median(pairs[:, 0] / pairs[:, 1])), float(np.median(pairs[:, 1]))


def clock(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_megabytes(call):
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(n, d, m):
    X, y, T, yt = make(n, d, m)
    fit = InfluenceEstimator(LogisticRegression()).fit(X, y)
    model = InfluenceEstimator(LogisticRegression()).fit(X, y)
    model.influence_on_loss(T[:5], yt[:5])
    warm = LogisticRegression(tol=1e-8, max_iter=1000, warm_start=True).fit(X, y)
    rows = np.arange(n // 100)

    def fresh():
        fit._remember(fit._fitted.family, fit._fitted.objective)
        return fit.params_

    def pairs():
        out = np.empty((m, n))
        np.matmul(T, X.T, out=out)

    def refit():
        warm.coef_, warm.intercept_ = fit.estimator_.coef_.copy(), fit.estimator_.intercept_.copy()
        warm.fit(X[len(rows) :], y[len(rows) :])

    def unlearn():
        copy.deepcopy(model).unlearn(rows)

    gram = f"X'X, {n:,} x {d}"
    product = f"T X', {m:,} x {d} x {n:,}"
    yield "refining and factoring", median_ratio(fresh, lambda: X.T @ X), gram
    yield "leverages of all rows", median_ratio(model.leverages, lambda: X.T @ X), gram
    yield "loss, newton, all pairs", median_ratio(lambda: model.influence_on_loss(T, yt), pairs), product
    yield (
        "loss, newton, mean over test rows",
        median_ratio(lambda: model.influence_on_loss(T, yt, aggregate="mean"), pairs),
        product,
    )
    yield "outputs, all pairs", median_ratio(lambda: model.influence_on_output(T), pairs), product
    yield "top 10 of every test row", median_ratio(lambda: model.top_influences(T, yt), pairs), product
    yield "unlearning 1 % of the rows", median_ratio(unlearn, refit), "warm-started refit, tol 1e-8"
    with sklearn.config_context(working_memory=64):
        top = peak_megabytes(lambda: model.top_influences(T, yt))
    yield "top 10: MB held, working_memory=64", (top, 8 * n * m / 2**20), "MB of all pairs"


def peer(n, d, m):
    """Adapter for pyinfluence: its fit and explain, beside ours from the unfactored model to all pairs."""
    try:
        from pyinfluence import InfluenceFunctions
    except ImportError:
        return
    X, y, T, yt = make(n, d, m)
    fitted = LogisticRegression().fit(X, y)
    ours = InfluenceEstimator(LogisticRegression()).fit(X, y)

    def both():
        ours._remember(ours._fitted.family, ours._fitted.objective)
        ours.influence_on_loss(T, yt)

    def theirs():
        InfluenceFunctions(mode="loss").fit(fitted, X, y).explain(T, yt)

    yield "everything to loss, newton, all pairs", median_ratio(both, theirs), f"pyinfluence, {n:,} x {d}, {m:,} tests"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a tenth of the rows, nothing written")
    small = parser.parse_args().small
    warnings.simplefilter("ignore")
    n, d, m = (10_000, 50, 200) if small else (100_000, 200, 1_000)
    versions = [f"{module.__name__} {module.__version__}" for module in (np, scipy, sklearn, sklearn_influence)]
    lines = [f"Python {platform.python_version()}, {', '.join(versions)}; two threads", ""]
    lines.append(f"{'what':38}{'ratio':>7}  {'to':44}{'seconds':>8}")
    with threadpool_limits(2):
        for what, (ratio, unit), to in [*measure(n, d, m), *peer(n // 10, d, m)]:
            lines.append(f"{what:38}{ratio:7.2f}  {to:44}{unit:8.3g}")
            print(lines[-1], flush=True)
    if not small:
        OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
