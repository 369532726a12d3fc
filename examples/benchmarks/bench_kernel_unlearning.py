"""What does unlearning from a kernel model cost beside the refit that it stands for, and what does a card make of it?

KernelRidge, rbf kernel, 4,000 rows: one row, 1 % and 20 % leave a model of which the factor is cached, and are timed
beside ``KernelRidge.fit`` on the rows that stay, in turn, so that what else the machine does falls on both.
KernelLogisticRegression, digits, 1,500 rows: 10 % leave one that has been asked a question. With a
graphics card also 20,000 rows, where the kernel matrix, its factor and the unlearning of 10 % are timed on the card and
on the CPU, and the convolutional kernel at 32 x 32, in microseconds a pair. Medians after a warm-up, on two threads.

    OPENBLAS_NUM_THREADS=2 python bench_kernel_unlearning.py [--small]

Writes bench_kernel_unlearning.json beside this file.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge
from versions import versions

from sklearn_influence import InfluenceEstimator, KernelLogisticRegression, _backend
from sklearn_influence.kernels import ConvolutionalNTK, gram

OUT = Path(__file__).with_suffix(".json")
ESTIMATOR = KernelRidge(alpha=0.1, kernel="rbf", gamma=0.05)
SHARES = {"1 row": None, "1 %": 0.01, "20 %": 0.2}


def clock(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def data(n):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 20))
    return X, np.sin(X[:, 0]) + 0.1 * rng.normal(size=n)


def beside_refits(n, repeats):
    X, y = data(n)
    model = InfluenceEstimator(ESTIMATOR, device="cpu").fit(X, y)
    model.leverages()  # the factor and its inverse are cached from here on
    results = {}
    for name, share in SHARES.items():
        rows = np.random.default_rng(1).choice(n, 1 if share is None else int(share * n), replace=False)
        X_left, y_left, rounds = np.delete(X, rows, axis=0), np.delete(y, rows), []
        for _ in range(repeats + 1):
            edited = copy.deepcopy(model)
            to_refit, refit = clock(lambda X=X_left, y=y_left: KernelRidge(**ESTIMATOR.get_params()).fit(X, y))
            to_unlearn, edited = clock(lambda edited=edited, rows=rows: edited.unlearn(rows))
            rounds.append((to_unlearn / to_refit, to_unlearn, to_refit))
        error = np.linalg.norm(edited.estimator_.dual_coef_ - refit.dual_coef_) / np.linalg.norm(refit.dual_coef_)
        ratio, seconds, refitted = np.median(rounds[1:], axis=0).tolist()
        results[name] = {
            "unlearn / refit": ratio,
            "unlearn (s)": seconds,
            "refit (s)": refitted,
            "relative error of dual_coef_": float(error),
            "param_bound": edited.certificate_.param_bound,
        }
        print(f"{name:6s} unlearn / refit {ratio:.3f} ({seconds:.3f} s / {refitted:.3f} s), error {error:.1e}")
    return results


def logistic(n, repeats):
    """10 % of the digits leave, by ``unlearn`` and by ``fit`` on the rest; both make certificates, matrices and all."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:n] / 16, y[:n]
    model = KernelLogisticRegression(alpha=0.1, gamma=1 / 64, device="cpu").fit(X, y)
    model.influence_on_output(X[:1], [0])
    rows = np.random.default_rng(1).choice(n, n // 10, replace=False)
    X_left, y_left, rounds = np.delete(X, rows, axis=0), np.delete(y, rows), []
    for _ in range(repeats + 1):
        edited = copy.deepcopy(model)
        to_refit, refit = clock(lambda: clone(model).fit(X_left, y_left))
        to_unlearn, edited = clock(lambda edited=edited: edited.unlearn(rows))
        rounds.append((to_unlearn / to_refit, to_unlearn, to_refit))
    error = np.linalg.norm(edited.dual_coef_ - refit.dual_coef_) / np.linalg.norm(refit.dual_coef_)
    ratio, seconds, refitted = np.median(rounds[1:], axis=0).tolist()
    print(f"logistic, 10 %: unlearn / refit {ratio:.3f} ({seconds:.3f} s / {refitted:.3f} s), error {error:.1e}")
    return {"unlearn / refit": ratio, "unlearn (s)": seconds, "refit (s)": refitted, "relative error": float(error)}


def on_a_card(n, images):
    """Seconds on the CPU and on the card, and how far their numbers are apart; in words where there is no card."""
    lacks = _backend.cuda_lacks()
    if lacks is not None:
        print(f"not measured: {lacks}")
        return f"not measured: {lacks}"
    X, y = data(n)
    rows, seconds, coefficients = np.random.default_rng(1).choice(n, n // 10, replace=False), {}, {}
    for device in ("cuda", "cpu"):
        for _ in range(2 if device == "cuda" else 1):  # the first call compiles
            model = InfluenceEstimator(ESTIMATOR, device=device).fit(X, y)
            seconds[device], _ = clock(lambda model=model: (model.influence_on_params([0]), model.unlearn(rows)))
        coefficients[device] = model.estimator_.dual_coef_
    apart = np.abs(coefficients["cuda"] - coefficients["cpu"]).max() / np.abs(coefficients["cpu"]).max()
    pictures, kernel = np.random.default_rng(0).random((images, 32 * 32 * 3)), ConvolutionalNTK(image_shape=(32, 32, 3))
    gram(kernel, pictures[:8], device="cuda")
    convolving, _ = clock(lambda: _backend.to_numpy(gram(kernel, pictures, device="cuda")))
    pairs = images * (images + 1) / 2
    results = {
        "n": n,
        "seconds": seconds,
        "CPU / card": seconds["cpu"] / seconds["cuda"],
        "relative difference": float(apart),
        "convolutional kernel, microseconds a pair": 1e6 * convolving / pairs,
    }
    print(results)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="400 rows and one round, to see that it runs")
    small = parser.parse_args().small
    results = {
        "KernelRidge, rows": 400 if small else 4000,
        "beside refits": beside_refits(400 if small else 4000, 1 if small else 5),
        "KernelLogisticRegression, 10 % of the digits": logistic(300 if small else 1500, 1 if small else 5),
        "card": on_a_card(2_000 if small else 20_000, 50 if small else 500),
        "versions": versions(),
    }
    if not small:
        OUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
