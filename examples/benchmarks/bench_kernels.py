"""What do the kernels of infinitely wide networks cost beside the products and functions that they cannot do without?

* The dense network, 3,000 rows of 784 columns, depth 3: the whole matrix, in units of one product ``X @ X.T`` and three
  passes of arctan2 over its upper triangle, all in one run and alternating, medians after a warm-up. NumPy gives the
  product two threads; the layers run on one thread and on two. Also the processor time of all of it on one thread,
  which other work on the computer moves little.
* The convolutional network of three blocks, images of 8 x 8 and 32 x 32 with three channels: microseconds for a pair of
  images on one thread and on two, and in units of as many evaluations of arctan2 and a square root as it has ReLUs.

    OPENBLAS_NUM_THREADS=2 python bench_kernels.py [--small]

Writes bench_kernels.json beside this file.
"""

import argparse
import json
import os
import time
from pathlib import Path

import joblib
import numpy as np
import threadpoolctl
from versions import versions

from sklearn_influence.kernels import ConvolutionalNTK, NeuralTangentKernel

OUT = Path(__file__).with_suffix(".json")
REPEATS = 7
RELUS = {8: 64**2 + 16**2 + 4**2, 32: 168_000}  # of the pairs of pixels that three blocks need


def clock(call, timer):
    start = timer()
    call()
    return timer() - start


def alternating(calls, repeats, timer=time.perf_counter):
    """Seconds (repeats, calls), after a warm-up."""
    for call in calls:
        call()
    return np.array([[clock(call, timer) for call in calls] for _ in range(repeats)])


def on_dense(n, d, threads, timer=time.perf_counter):
    rng = np.random.default_rng(0)
    X = rng.random((n, d))
    a, b = rng.random(n * (n + 1) // 2), rng.standard_normal(n * (n + 1) // 2)
    kernel = NeuralTangentKernel(depth=3)

    def passes():
        for _ in range(3):
            np.arctan2(a, b)

    with joblib.parallel_config("threading", n_jobs=threads):
        seconds = alternating([lambda: X @ X.T, passes, lambda: kernel(X)], REPEATS, timer)
    return {
        "product (s)": float(np.median(seconds[:, 0])),
        "arctan2, three passes (s)": float(np.median(seconds[:, 1])),
        "kernel (s)": float(np.median(seconds[:, 2])),
        "kernel / (product + passes)": float(np.median(seconds[:, 2] / (seconds[:, 0] + seconds[:, 1]))),
    }


def on_images(size, n, threads):
    rng = np.random.default_rng(0)
    X, Z = rng.random((2, n, 3 * size**2))
    kernel = ConvolutionalNTK(depth=3, image_shape=(size, size, 3))
    a, b = rng.random(RELUS[size]), rng.standard_normal(RELUS[size])

    def bare():
        np.arctan2(np.sqrt(a), b)

    def rest():
        kernel.diag(X), kernel.diag(Z)

    with joblib.parallel_config("threading", n_jobs=threads):
        seconds = alternating([bare, rest, lambda: kernel(X, Z)], 3)
    pair = (seconds[:, 2] - seconds[:, 1]) / n**2
    return {
        "microseconds a pair": float(np.median(pair) * 1e6),
        "pair / (arctan2 and square root of its ReLUs, one thread)": float(np.median(pair / seconds[:, 0])),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it runs; nothing is written")
    options = parser.parse_args()
    results = {
        "versions": versions(joblib),
        "threads of the product": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
    }
    n, d = (200, 50) if options.small else (3000, 784)
    with threadpoolctl.threadpool_limits(1):
        results[f"dense network, {n} x {d}, processor time of one thread"] = on_dense(n, d, 1, time.process_time)
    for threads in (1, 2):
        results[f"dense network, {n} x {d}, {threads} threads"] = on_dense(n, d, threads)
        for size, images in ((8, 4), (32, 2)) if options.small else ((8, 64), (32, 24)):
            results[f"convolutional network, {size} x {size}, {threads} threads"] = on_images(size, images, threads)
    print(json.dumps(results, indent=1))
    if not options.small:
        OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
