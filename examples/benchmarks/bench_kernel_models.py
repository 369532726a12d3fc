"""What do fitting KernelLogisticRegression and unlearning from it cost, beside the products that cannot be avoided?

Digits, 1,500 rows, 10 classes, rbf kernel, for widths and strengths: seconds of a fit (the kernel matrix is at hand)
over those of 400 bare products ``K @ (n, 10)``; and of unlearning 10 % of the rows, from the coefficients and outputs
of the fit, over a refit at the same tol. In both the stopping rule is the library's: relative to the first step, which
is the shorter one in unlearning, so that this ends closer to its optimum. Errors are relative to the change of the test
outputs, against a refit at tol 1e-14; with the penalty on the mean loss, ``alpha = .1 n``, also after one step and two.
Medians of the rounds' ratios after a warm-up, on two threads.

    OPENBLAS_NUM_THREADS=2 python bench_kernel_models.py [--small]

Writes bench_kernel_models.json beside this file.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from versions import versions

from sklearn_influence.alpha.newton import minimise
from sklearn_influence.kernels import gram
from sklearn_influence.losses import Softmax

OUT = Path(__file__).with_suffix(".json")
REPEATS, PRODUCTS = 5, 400


def clock(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def fit(K, y, strength, **options):
    return minimise(K, y, Softmax(), np.ones(len(y)), strength, n_outputs=10, **options)


def speed(K, K_test, y, alpha, repeats):
    """Each round times all of it, so that what else the machine does falls on all of it."""
    B = np.random.default_rng(0).standard_normal((len(K), 10))
    kept = np.sort(np.random.default_rng(0).permutation(len(y))[len(y) // 10 :])
    K_kept, y_kept = K[np.ix_(kept, kept)], y[kept]
    rounds = []
    for _ in range(repeats + 1):
        bare, _ = clock(lambda: [K @ B for _ in range(PRODUCTS // 8)])
        seconds, (coef, outputs, info) = clock(lambda: fit(K, y, alpha))
        start = {"alpha": coef[kept], "outputs": outputs[kept]}
        to_unlearn, (edited, _, edit) = clock(lambda start=start: fit(K_kept, y_kept, alpha, **start))
        to_refit, (_, _, refit) = clock(lambda: fit(K_kept, y_kept, alpha))
        rounds.append((seconds / (8 * bare), seconds, 8 * bare, to_unlearn / to_refit, to_unlearn, to_refit))
    medians = np.median(rounds[1:], axis=0).tolist()
    truth = K_test[:, kept] @ fit(K_kept, y_kept, alpha, tol=1e-14)[0]
    change = np.linalg.norm(truth - K_test @ coef)
    names = ("fit / 400 products", "fit (s)", "400 products (s)", "unlearn / refit", "unlearn (s)", "refit (s)")
    return {
        **dict(zip(names, medians, strict=True)),
        "fit, steps and products": [info.n_iter, info.n_products],
        "unlearn, steps and products": [edit.n_iter, edit.n_products],
        "refit, steps and products": [refit.n_iter, refit.n_products],
        "error of unlearning": float(np.linalg.norm(K_test[:, kept] @ edited - truth) / change),
    }


def accuracy(K, K_test, y, share):
    """Errors after one step, two, and converged; the penalty shrinks with the retained share."""
    n = len(y)
    coef, outputs, _ = fit(K, y, 0.1 * n, tol=1e-14)
    kept = np.sort(np.random.default_rng(0).permutation(n)[int(share * n) :])
    K_kept, y_kept, alpha = K[np.ix_(kept, kept)], y[kept], 0.1 * len(kept)
    truth = K_test[:, kept] @ fit(K_kept, y_kept, alpha, tol=1e-14)[0]
    change, errors = np.linalg.norm(truth - K_test @ coef), []
    for steps in (1, 2, 50):
        found = fit(K_kept, y_kept, alpha, alpha=coef[kept], outputs=outputs[kept], max_iter=steps)[0]
        errors.append(float(np.linalg.norm(K_test[:, kept] @ found - truth) / change))
    return dict(zip(("one step", "two steps", "converged"), errors, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a trial of a few seconds, not kept")
    args = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    X, n = X / 16, 300 if args.small else 1500
    result = {"versions": versions()}
    for gamma in (1 / 64, 0.1):
        K, K_test = gram("rbf", X[:n], gamma=gamma), gram("rbf", X[1500:], X[:n], gamma=gamma)
        for alpha in (0.01, 0.1, 1.0):
            found = speed(K, K_test, y[:n], alpha, 1 if args.small else REPEATS)
            result[f"speed, gamma={gamma:g}, alpha={alpha:g}"] = found
            print(f"gamma {gamma:.3g}, alpha {alpha:g}: ", *(f"{k} {v}" for k, v in found.items()), sep="\n    ")
        for share in (0.1, 0.5, 0.9):
            result[f"accuracy, gamma={gamma:g}, {share:.0%} removed"] = found = accuracy(K, K_test, y[:n], share)
            print(f"gamma {gamma:.3g}, {share:.0%} removed:", found, flush=True)
    if not args.small:
        OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
