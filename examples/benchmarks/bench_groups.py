"""How close are predicted effects of removing large groups to retraining, and what do a thousand groups cost?

Accuracy: groups of 20 and 50 % of the rows, random and coherent, of five problems; the relative error of the parameter
change by first order, second order, one Newton step (``groups=``) and ``unlearn``, against retraining in extended
precision. Coherent groups are the rows furthest along a principal direction, at either end ("slice"), the rows nearest
to one of them ("cluster"), and random rows of which three quarters are of one class ("class").

Speed: 2,000 groups of about 300 rows, logistic regression on 100,000 x 200; seconds a group by each way of inverting
the retained rows' curvature, in units of the bare product X'X, timed in the same run.

    python bench_groups.py accuracy         writes the "accuracy" of bench_groups.json beside this file
    python bench_groups.py speed            its "speed"
"""

import argparse
import copy
import json
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from versions import versions

from sklearn_influence import InfluenceEstimator, retained

OUT = Path(__file__).with_suffix(".json")
SHARES = (0.2, 0.5)
METHODS = ("first_order", "second_order", "newton")
N_RANDOM, N_COHERENT = 200, 20
LONG = np.longdouble


def problems():
    """Name, C, scaled rows and class numbers."""
    scaled = StandardScaler().fit_transform
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", 0.01, scaled(X), y
    yield "breast cancer", 1.0, scaled(X), y
    X, target = load_diabetes(return_X_y=True)
    yield "diabetes > median", 1.0, scaled(X), (target > np.median(target)).astype(int)
    X, y = load_digits(return_X_y=True)
    two = (y == 3) | (y == 8)
    yield "digits 3 v 8", 1.0, X[two] / 16, (y[two] == 8).astype(int)
    X, y = load_wine(return_X_y=True)
    yield "wine, three classes", 1.0, scaled(X), y


def make_groups(X, y, share, rng):
    """(kind, rows) of every group; each leaves two rows or more of every class."""
    size, everything = round(share * len(y)), []
    everything += [("random", rng.choice(len(y), size, replace=False)) for _ in range(N_RANDOM)]
    directions = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][: N_COHERENT // 2]
    for along in (X @ directions.T).T:
        order = np.argsort(along, kind="stable")
        everything += [("slice", order[:size]), ("slice", order[-size:])]
    for centre in rng.choice(len(y), N_COHERENT, replace=False):
        everything.append(("cluster", np.argsort(((X - X[centre]) ** 2).sum(axis=1), kind="stable")[:size]))
    for draw in range(N_COHERENT):
        own = np.flatnonzero(y == draw % (y.max() + 1))
        inside = rng.choice(own, min(round(0.75 * size), len(own) - 2), replace=False)
        outside = rng.choice(np.setdiff1d(np.arange(len(y)), own), size - len(inside), replace=False)
        everything.append(("class", np.concatenate([inside, outside])))
    return [
        (kind, rows) for kind, rows in everything if np.bincount(np.delete(y, rows), minlength=y.max() + 1).min() > 1
    ]


def retrain(C, X, y, q, start=None):
    """The optimum (p,) by Newton steps whose gradient and iterate are in extended precision."""
    Z = np.c_[X, np.ones(len(X))].astype(LONG)
    penalty = np.append(np.full(X.shape[1], 1 / C), 0.0)
    target = y[:, None] if q == 1 else np.eye(q)[y]
    theta = np.zeros((q, Z.shape[1]), LONG) if start is None else start
    for _ in range(100):
        f = Z @ theta.T
        p = 1 / (1 + np.exp(-f)) if q == 1 else np.exp(f - f.max(axis=1, keepdims=True))
        p = p if q == 1 else p / p.sum(axis=1, keepdims=True)
        gradient = (p - target).T @ Z + penalty * theta
        P, Z64 = p.astype(float), Z.astype(float)
        W = (P * (1 - P))[:, :, None] if q == 1 else P[:, :, None] * np.eye(q) - P[:, :, None] * P[:, None]
        H = np.einsum("nab,ni,nj->aibj", W, Z64, Z64, optimize=True).reshape(theta.size, -1)
        H += np.diag(np.tile(penalty, q))
        step = np.linalg.lstsq(H, -gradient.astype(float).ravel(), rcond=1e-13)[0].reshape(theta.shape)
        scale = np.abs(step).max()
        theta = theta + step * min(1.0, 5.0 / max(np.abs(Z64 @ step.T).max(), 1e-300))
        if scale < 1e-15 * max(np.abs(theta).max(), 1):
            break
    else:
        raise RuntimeError("The retrain did not settle.")
    return theta


def off_gauge(theta):
    """``params_`` of (q, width) without softmax's common shift of the intercepts."""
    intercept = theta[:, -1] - (theta[:, -1].mean() if len(theta) > 1 else 0)
    return np.append(theta[:, :-1].ravel(), intercept)


def mark(rows, n):
    """Labels with the group last; the other rows are in two groups that are not looked at."""
    labels = np.arange(n) % 2
    labels[rows] = 2
    return labels


def accuracy():
    table = []
    for name, C, X, y in problems():
        q, n = (1 if y.max() == 1 else y.max() + 1), len(y)
        model = InfluenceEstimator(LogisticRegression(C=C), solver="direct").fit(X, y)
        full = retrain(C, X, y, q)
        before = off_gauge(full)
        for share in SHARES:
            errors = {}
            for kind, rows in make_groups(X, y, share, np.random.default_rng(0)):
                exact = off_gauge(retrain(C, np.delete(X, rows, 0), np.delete(y, rows), q, full)) - before
                found = {}
                for method in METHODS:
                    model.set_params(method=method)
                    found[method] = model.influence_on_params(groups=mark(rows, n))[-1]
                done = copy.deepcopy(model.set_params(method="newton")).unlearn(rows)
                found["unlearn"] = done.params_ - before.astype(float)
                size = float(np.linalg.norm(exact.astype(float)))
                for method, change in found.items():
                    change = change.astype(LONG)
                    if q > 1:
                        change[-q:] -= change[-q:].mean()
                    error = float(np.sqrt(((change - exact) ** 2).sum())) / size
                    errors.setdefault(kind, {}).setdefault(method, []).append(error)
            for kind, by_method in errors.items():
                row = {"problem": name, "C": C, "n": n, "share": share, "kind": kind}
                row["groups"] = len(by_method["newton"])
                row |= {method: float(np.median(values)) for method, values in by_method.items()}
                row["newton_worst"] = float(np.max(by_method["newton"]))
                row["unlearn_worst"] = float(np.max(by_method["unlearn"]))
                table.append(row)
                print(row)
    return table


def clock(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def speed(n=100_000, d=200, n_groups=2_000, size=300, repeats=3):
    """Seconds a group, and in units of X'X, by each way; n_groups for the cheapest, a sample of them for the others."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = (X @ rng.standard_normal(d) / np.sqrt(d) + rng.logistic(size=n) > 0).astype(int)
    model = InfluenceEstimator(LogisticRegression(), solver="direct").fit(X, y)
    objective, factor = model._fitted.solved(model._options())
    # They overlap, as 2,000 of 300 rows out of 100,000 must; those of groups= are a partition.
    members = [rng.choice(n, size, replace=False) for _ in range(n_groups)]
    labels = rng.integers(0, n // size, n)
    result = {"n": n, "d": d, "rows_in_a_group": size, "groups": n_groups}
    result["chosen"] = retained.cheapest_way(objective, factor, size)
    bare = lambda: X.T @ X  # noqa: E731
    bare()
    for way, some in (("update", 100), ("downdate", n_groups), ("refactor", 8)):
        steps = members[:some]
        pairs = [
            (clock(lambda: [retained.step_without(objective, factor, rows, way) for rows in steps]), clock(bare))  # noqa: B023
            for _ in range(repeats)
        ]
        seconds = float(np.median([ours for ours, _ in pairs])) / some
        ratio = float(np.median([ours / product for ours, product in pairs])) / some
        result[way] = {"seconds_a_group": seconds, "in_products": ratio, "groups_timed": some}
    for method in METHODS:
        model.set_params(method=method, n_jobs=None)
        seconds = float(np.median([clock(lambda: model.influence_on_params(groups=labels)) for _ in range(repeats)]))
        result[f"groups=, {method}"] = {"seconds": seconds, "groups": n // size}
    model.set_params(method="newton", n_jobs=2)
    seconds = float(np.median([clock(lambda: model.influence_on_params(groups=labels)) for _ in range(repeats)]))
    result["groups=, newton, n_jobs=2"] = {"seconds": seconds, "groups": n // size}
    result["product_seconds"] = float(np.median([clock(bare) for _ in range(5)]))
    return result


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("accuracy", "speed"))
    part = parser.parse_args().part
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    with threadpool_limits(1):
        kept[part] = {"accuracy": accuracy, "speed": speed}[part]()
    kept["versions"] = versions()
    OUT.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(kept[part], indent=1))


if __name__ == "__main__":
    main()
