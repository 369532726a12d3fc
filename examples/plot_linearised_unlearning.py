"""
Unlearning from linearised networks, by rows and by parameters
==============================================================

A network that is linearised at its initial weights, f(x) = f0(x) + J(x) theta, has millions of
parameters, and a few thousand coefficients: one a training row and output. This is Figure 1 of
"Extending Kernel Trick to Influence Functions" (Sun et al.): a tenth to nine tenths of the rows of
every class are removed, and one Newton step in the span of the rows (the dual) is held against one
in the space of the parameters, against retraining, and against noise.

* A fully connected ReLU network, cross entropy with a penalty on the mean loss, on digits; rows of
  every class are removed.
* A convolutional network, squared loss, on patches of scikit-learn's two photographs; rows of one
  class are removed. Its Jacobians are torch's: without torch this part is left out. (The paper has
  two classes of CIFAR-10, which comes with no Python package.)

Both steps are the same step, of Newton's method at the old optimum on the rows that stay. What
differs is what it costs, and what is left of it in floating point. For squared loss it is the
retrained model; for cross entropy it leaves an error, and ``unlearn`` repeats it until nothing is
left. All errors are those of the *change*: relative to how far retraining moves the parameters.

Run with ``--fast`` for fewer rows and no window, and with ``--output FILE.png`` to write the picture
to a file. ``--results FILE.json`` draws what ``benchmarks/bench_linearised.py`` kept: MNIST and wide
networks.
"""

import argparse
import copy
import json
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

from sklearn_influence import InfluenceEstimator, LinearisedClassifier
from sklearn_influence.kernels import empirical_ntk

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the rows that are removed
NETWORK = {"sigma_w": 2.0, "sigma_b": 0.1}  # the paper's
ONE_STEP, UNLEARNED, BY_PARAMETERS, NOISE = "one step by rows", "unlearned", "one step by parameters", "noise"
FIRST_STEP = "unlearn, its first step"  # which is solved for only as closely as it is near


def first_of_each_class(y, share, classes=None):
    """Whether a row is among the first ``share`` of its class, of some classes or all."""
    chosen = np.zeros(len(y), dtype=bool)
    for label in np.unique(y) if classes is None else classes:
        rows = np.flatnonzero(y == label)
        chosen[rows[: round(share * len(rows))]] = True
    return chosen


def timed(call):
    """The result of a call, and the seconds that it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


# %%
# The step in the space of the parameters (the paper's Eq. 1 and 4): conjugate gradients on the
# curvature of the rows that stay, and no matrix.


def conjugate_gradients(product, right, tol=1e-8, max_iter=500):
    """The solution, the iterations, and the relative residual that is left."""
    iterations = []
    A = LinearOperator((len(right),) * 2, matvec=product, dtype=float)
    found, _ = cg(A, right, rtol=tol, maxiter=max_iter, callback=iterations.append)
    n_iter = len(iterations)
    return found, n_iter, float(np.linalg.norm(right - product(found)) / np.linalg.norm(right))


def network_step(network, X, codes, gone, theta, strength):
    """How theta (p,) moves, with the iterations and the residual: cross entropy, ``strength`` on the mean loss.

    A product with the curvature passes the rows that stay through the network twice forward and once back.
    """
    X_kept, n_kept, q = X[~gone], int(np.sum(~gone)), network.n_outputs
    p = softmax(outputs(network, X_kept, theta), axis=1)

    def curvature(direction):
        df = network.times(X_kept, direction[:, None])[:, :, 0]
        pulled = network.pulled(X_kept, (p * (df - np.sum(p * df, axis=1, keepdims=True)))[:, :, None])
        return pulled[:, 0] / n_kept + strength * direction

    u = softmax(outputs(network, X[gone], theta), axis=1) - np.eye(q)[codes[gone]]
    right = network.pulled(X[gone], u[:, :, None])[:, 0] / n_kept + np.sum(gone) / n_kept * strength * theta
    return conjugate_gradients(curvature, right)


def jacobian_step(J, residuals, gone, strength):
    """The same for squared loss and ``strength`` on its sum, with the Jacobian (n, p) in memory."""
    J_kept = J[~gone]
    return conjugate_gradients(lambda v: J_kept.T @ (J_kept @ v) + strength * v, J[gone].T @ residuals[gone])


def outputs(network, X, theta):
    """(m, q) of the linearised network."""
    return network.outputs(X) + network.times(X, theta[:, None])[:, :, 0]


# %%
# What every experiment reports of a model without some rows.


def compared(before, after, moved, f, accuracy):
    """Errors of each way's change of the parameters, and of the test outputs, relative to retraining's; accuracies.

    ``moved`` are the parameters by way, ``f`` the test outputs of parameters, ``accuracy`` theirs on the rows removed.
    """
    change, f_before, f_after = np.linalg.norm(after - before), f(before), f(after)
    noise = np.random.default_rng(0).standard_normal(len(before))
    moved = {**moved, NOISE: before + noise * (change / np.linalg.norm(noise))}
    return {
        "change": float(change / np.linalg.norm(before)),
        "parameters": {way: float(np.linalg.norm(theta - after) / change) for way, theta in moved.items()},
        "outputs": {
            way: float(np.linalg.norm(f(theta) - f_after) / np.linalg.norm(f_after - f_before))
            for way, theta in moved.items()
        },
        "accuracy": {"retrained": accuracy(after), **{way: accuracy(theta) for way, theta in moved.items()}},
    }


# %%
# The fully connected network.


def linearised(n, widths, strength=0.01):
    """The paper's model of n rows, to be fitted in the span of them; ``strength`` is that of the mean loss' penalty."""
    return LinearisedClassifier(
        widths, alpha=strength * n, penalty_scale="mean", representation="dual", random_state=7, **NETWORK
    )


def unlearned(model, gone, **options):
    """The parameters of a copy that has unlearned rows, and its certificate; nothing of its kernel matrix."""
    copied = copy.deepcopy(model).unlearn(gone, **options)
    return copied.coef_, copied.certificate_


def without_rows(model, X, y, X_test, gone):
    """What the ways say of a fitted network without some rows."""
    network, theta, codes = model.network_, model.coef_, np.searchsorted(model.classes_, y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One Newton step is a rough estimate")  # how rough is what is shown
        # Of two groups, the rows that stay and these: all rows are in one.
        changes, by_rows = timed(lambda: model.influence_on_params(groups=gone))
    (converged, certificate), to_the_end = timed(lambda: unlearned(model, gone))
    # theta0 is that of the same random_state.
    refit = clone(model).set_params(alpha=model.alpha * np.mean(~gone))
    retrained, refitted = timed(lambda: refit.fit(X[~gone], y[~gone]).coef_)
    (change, n_iter, residual), by_parameters = timed(
        lambda: network_step(network, X, codes, gone, theta, model.alpha / len(y))
    )
    one = compared(
        theta,
        retrained,
        {ONE_STEP: theta + changes[1], UNLEARNED: converged, BY_PARAMETERS: theta + change},
        lambda at: outputs(network, X_test, at),
        lambda at: float(np.mean(np.argmax(outputs(network, X[gone], at), axis=1) == codes[gone])),
    )
    one["seconds"] = {ONE_STEP: by_rows, UNLEARNED: to_the_end, BY_PARAMETERS: by_parameters, "retrained": refitted}
    one["unlearned"] = {"steps": certificate.n_iter, "param_bound": float(certificate.param_bound)}
    one["by parameters"] = {"iterations": n_iter, "residual": residual}
    return one


def network_experiment(X, y, X_test, widths, shares=SHARES):
    """The result by share."""
    model, seconds = timed(lambda: linearised(len(y), widths).fit(X, y))
    return {
        **sizes(model.coef_, model.dual_coef_),
        "seconds": {"fit, kernel matrix included": seconds},
        "shares": {str(share): without_rows(model, X, y, X_test, first_of_each_class(y, share)) for share in shares},
    }


def sizes(theta, dual_coef):
    return {"rows": len(dual_coef), "parameters": len(theta), "unknowns by rows": dual_coef.size}


# %%
# The convolutional network, of one output, whose Jacobians are torch's. Around its initial outputs
# it is kernel ridge regression on the tangent kernel. KernelRidge's penalty is on the sum of the losses
# and stays when rows leave; the paper's is on the mean.


def convolutional(size, channels, seed=7):
    """A module of three blocks of a 3 x 3 convolution, a ReLU and a 2 x 2 average pool, and a dense layer."""
    import torch
    from torch.nn import Module, ParameterList, functional

    class Convolutional(Module):
        def __init__(self):
            super().__init__()
            draw = torch.Generator().manual_seed(seed)
            blocks = [(channels, before, 3, 3) for before in (3, channels, channels)]
            shapes = [*blocks, (1, channels * (size // 8) ** 2)]
            self.weights = ParameterList(torch.randn(shape, generator=draw) for shape in shapes)
            self.biases = ParameterList(torch.randn(shape[0], generator=draw) for shape in shapes)

        def forward(self, h):
            layers = [
                (NETWORK["sigma_w"] / W[0].numel() ** 0.5 * W, NETWORK["sigma_b"] * b)
                for W, b in zip(self.weights, self.biases, strict=True)
            ]
            for W, b in layers[:-1]:
                h = functional.avg_pool2d(functional.relu(functional.conv2d(h, W, b, padding=1)), 2)
            return functional.linear(h.flatten(1), *layers[-1])

    return Convolutional()


def of_module(module, X, block=32):
    """Outputs (n,) and the Jacobian (n, p) of rows, in double precision."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    parameters = {name: tensor.detach().double() for name, tensor in module.named_parameters()}
    X = torch.as_tensor(X).double()

    def output(parameters, row):
        f = functional_call(module, parameters, (row[None],))[0, 0]
        return f, f

    f, J = np.empty(len(X)), np.empty((len(X), sum(tensor.numel() for tensor in parameters.values())))
    for start in range(0, len(X), block):
        rows = slice(start, start + block)
        found, own = vmap(jacrev(output, has_aux=True), in_dims=(None, 0))(parameters, X[rows])
        J[rows] = torch.cat([part.flatten(1) for part in found.values()], dim=1).numpy()
        f[rows] = own.numpy()
    return f, J


def without_first_class(model, K, J, f0, y, J_test, f0_test, gone):
    """What the ways say of kernel ridge regression around the outputs f0 without some rows."""
    ridge, theta, kept = model.estimator_, model.estimator_.dual_coef_ @ J, ~gone
    left, by_rows = timed(lambda: copy.deepcopy(model).unlearn(gone).estimator_.dual_coef_)
    residuals = f0 + J @ theta - y
    (change, n_iter, residual), by_parameters = timed(lambda: jacobian_step(J, residuals, gone, ridge.alpha))
    retrained, refitted = timed(lambda: clone(ridge).fit(K[np.ix_(kept, kept)], (y - f0)[kept]))
    J_gone = J[gone]
    one = compared(
        theta,
        retrained.dual_coef_ @ J[kept],
        {ONE_STEP: left @ J[kept], BY_PARAMETERS: theta + change},
        lambda at: f0_test + J_test @ at,
        lambda at: float(np.mean(np.sign(f0[gone] + J_gone @ at) == y[gone])),
    )
    one["seconds"] = {ONE_STEP: by_rows, BY_PARAMETERS: by_parameters, "retrained": refitted}
    one["by parameters"] = {"iterations": n_iter, "residual": residual}
    return one


def convolutional_experiment(X, y, X_test, channels, strength=0.1, shares=SHARES):
    """The same of rows (n, 3, size, size) and labels -1 and 1, of which some of the first class are removed."""
    module = convolutional(X.shape[-1], channels)
    K, kernel = timed(lambda: empirical_ntk(module, X))
    (f0, J), jacobian = timed(lambda: of_module(module, X))
    f0_test, J_test = of_module(module, X_test)
    ridge = KernelRidge(alpha=strength * len(y), kernel="precomputed")
    model, fit = timed(lambda: InfluenceEstimator(ridge).fit(K, y - f0))
    dual_coef = model.estimator_.dual_coef_
    return {
        **sizes(J[0], dual_coef),
        "seconds": {"kernel matrix": kernel, "Jacobian": jacobian, "fit": fit},
        "shares": {
            str(share): without_first_class(
                model, K, J, f0, y, J_test, f0_test, first_of_each_class(y, share, classes=[-1.0])
            )
            for share in shares
        },
    }


def images(rows):
    """Flattened square patches of three colours as (n, 3, size, size)."""
    size = round((rows.shape[1] / 3) ** 0.5)
    return rows.reshape(-1, size, size, 3).transpose(0, 3, 1, 2)


# %%
# The picture, and what the paper's plots show beside it (read off them: 3 % on linear axes, 15 % on
# logarithmic ones; its error of the change is computed from the distance, and its noise's).

PAPER = {
    "fully connected": {
        "error": [0.116, 0.024, 0.055, 0.035, 0.128],
        "accuracy": [0.756, 0.746, 0.729, 0.701, 0.621],
    },
    "convolutional": {
        "error": [0.42, 0.45, 0.39, 0.26, 0.12],
        "accuracy": [0.775, 0.61, 0.47, 0.23, 0.01],
    },
}
STYLES = {
    "retrained": {"color": "black", "marker": "o"},
    ONE_STEP: {"color": "#0072b2", "marker": "s"},
    UNLEARNED: {"color": "#d55e00", "marker": "x"},
    BY_PARAMETERS: {"color": "#009e73", "marker": "^", "linestyle": "--"},
    NOISE: {"color": "#7a7a7a", "marker": "."},
    FIRST_STEP: {"color": "#cc79a7", "marker": "v"},
}


def show(name, result):
    """Every figure as a line."""
    for share, one in result["shares"].items():
        start = f"{name}, {float(share):.0%} removed"
        for way, error in one["parameters"].items():
            took = f", {one['seconds'][way]:.3g} s" if way in one["seconds"] else ""
            print(
                f"{start}, {way}: error {error:.1e}, of outputs {one['outputs'][way]:.1e}, "
                f"accuracy {one['accuracy'][way]:.3f}{took}"
            )
        print(f"{start}, retrained: accuracy {one['accuracy']['retrained']:.3f}, {one['seconds']['retrained']:.3g} s")


def times_of(one, what):
    """Seconds without the kernel matrix by way: what the benchmark kept, if it did."""
    if what == "cold":
        kernel = one.get("kernel matrix in cold", {})
        return {way: seconds - kernel[way] for way, seconds in one.get("cold", {}).items()}
    found = {**one["seconds"], **one.get("warm", {})}
    if FIRST_STEP in found:
        del found[ONE_STEP]  # asked for the rows that stay as well
    return found


def draw(results):
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(results), 3, figsize=(13, 4 * len(results)), layout="constrained", squeeze=False)
    for (title, result), (errors, accuracies, times) in zip(results.items(), axes, strict=True):
        shares, rows = [100 * float(share) for share in result["shares"]], list(result["shares"].values())
        published = next((found for name, found in PAPER.items() if title.startswith(name)), {})
        for ax, what in ((errors, "parameters"), (accuracies, "accuracy"), (times, "seconds"), (times, "cold")):
            for way, style in STYLES.items():
                values = [times_of(one, what) if ax is times else one[what] for one in rows]
                values = [found.get(way) for found in values]
                if None not in values:
                    first = what == "cold"
                    label = f"{way}, first call" if first else way
                    ax.plot(shares, values, label=label, alpha=0.3 if first else 1, **style)
        of_paper = [100 * share for share in SHARES]
        grey = {"color": "#7a7a7a", "linestyle": ":", "linewidth": 2}
        errors.plot(of_paper, published["error"], label="by rows, the paper", **grey)
        errors.set(title=title, yscale="log", ylabel="error of the parameters' change")
        accuracies.plot(of_paper, published["accuracy"], label="retrained, the paper", **grey)
        accuracies.set(title="accuracy on the rows removed")
        times.set(title="seconds, kernel matrix apart", yscale="log")
        for ax in (errors, accuracies, times):
            ax.set(xlabel="% removed")
            ax.legend(frameon=False, fontsize=8)
            ax.spines[["top", "right"]].set_visible(False)
    return fig


def main():
    parser = argparse.ArgumentParser(description="rows removed from linearised networks, by rows and by parameters")
    parser.add_argument("--fast", action="store_true", help="fewer rows, and no window")
    parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
    parser.add_argument("--results", metavar="FILE.json", help="draw these kept results")
    options = parser.parse_args()
    if options.fast or options.output:
        import matplotlib

        matplotlib.use("Agg")
    if options.results:
        results = json.loads(Path(options.results).read_text(encoding="utf-8"))["networks"]
    else:
        results = small(options.fast)
    for name, result in results.items():
        show(name, result)
    fig = draw(results)
    if options.output:
        fig.savefig(options.output, dpi=120)
    elif not options.fast:
        import matplotlib.pyplot as plt

        plt.show()


def small(fast):
    """Both experiments at a size for a person who waits; the second where there is torch."""
    from plot_infinite_width import of_each_class, patches

    n, width = (6, 24) if fast else (30, 128)
    X, y = load_digits(return_X_y=True)
    X, y, X_test, _ = of_each_class(X / 16, y, n, n)
    shares = SHARES[::2] if fast else SHARES
    results = {"fully connected, digits": network_experiment(X, y, X_test, (width,) * 3, shares=shares)}
    try:
        import torch  # noqa: F401
    except ImportError:
        print('The convolutional network needs torch: pip install "sklearn-influence[torch]".')
        return results
    n, size, channels = (20, 8, 4) if fast else (100, 16, 32)
    X, y, X_test, _ = patches(n, n // 2, size)
    result = convolutional_experiment(images(X), y, images(X_test), channels, shares=shares)
    results[f"convolutional, {size} x {size} patches"] = result
    return results


if __name__ == "__main__":
    main()
