"""
A network beside its linearisation: trained, and unlearned from
===============================================================

The kernel trick for influence functions wants outputs that are linear in the parameters. A penalty on
the distance from its first weights keeps a network near its linearisation there. These are Figures 3
and 2 of "Extending Kernel Trick to Influence Functions" (Sun et al.): a ReLU network with one output
and its linearisation, squared loss on two digits, gradient descent, penalties of four strengths; then
shares of both classes are removed from the trained network.

The paper's two steps fail at the smallest strength. The network is not linear; and its training has
stopped long before the minimum, so that a formula that takes the gradient for zero errs by the
gradient divided by the strength. Which of the two is it? Each step is asked of four models, the
network and its linearisation, *stopped* after the paper's number of epochs and *converged*.

* Eq. 1: a Newton step in parameter space, which takes the gradient of the trained model for zero, with
  the Hessian by conjugate gradients as in the paper, or with the Gauss-Newton matrix.
* Eq. 12: the same by the rows: linearised at the first weights, from coefficients ``-g / strength``.
* ours: this package's step, from outputs alone and for any start, in the span of the rows that stay.
  Linearised at the first weights (the minimum of that linearisation, since the loss is squared); at
  the trained weights; and the latter repeated.

ReLU networks have their minima on kinks, where no gradient is zero: ``benchmarks/`` has tanh beside.

Run with ``--fast`` for a tiny network and no window, with ``--output FILE.png`` to write the picture.
``--results FILE.json`` draws what ``benchmarks/bench_training_dynamics.py`` kept of MNIST.
"""

import argparse
import json
from collections import namedtuple
from pathlib import Path

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.datasets import load_digits

from sklearn_influence.networks import Network

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)  # of the penalty |theta - theta0|^2 / 2, beside the mean of (y - f)^2 / 2
ASKED = (1e-2, 1e-4)  # those that are unlearned from
RATE = 0.1  # of gradient descent
N_ITER = 4000

# %%
# The data: as many threes as eights, pixels from 0 to 1, labels -1 and 1.


Task = namedtuple("Task", "X y X_test y_test")


def threes_and_eights(X, y, n, seed=0):
    """n training rows of each; the test rows are the rest."""
    order = np.random.default_rng(seed).permutation(len(y))
    three, eight = order[y[order] == 3], order[y[order] == 8]
    train, test = (np.concatenate([three[part], eight[part]]) for part in (slice(n), slice(n, None)))
    return Task(X[train], np.where(y[train] == 8, 1.0, -1.0), X[test], np.where(y[test] == 8, 1.0, -1.0))


def first_network(n_features, width, activation="relu", seed=7):
    """Two hidden layers and one output, at its first weights."""
    sizes = [n_features, width, width, 1]
    return Network.random(sizes, activation, sigma_w=2.0, sigma_b=0.1, random_state=np.random.RandomState(seed))


# %%
# Its linearisation, in a network's own words.


class Linearisation:
    """``f(x) = f(x; theta0) + J(x; theta0) (theta - theta0)``."""

    def __init__(self, start, params=None):
        self.start, self.params = start, start.params if params is None else params
        self.times, self.pulled, self.gram = start.times, start.pulled, start.gram

    def at(self, params):
        return Linearisation(self.start, params)

    def outputs(self, X):
        return self.start.outputs(X) + self.times(X, (self.params - self.start.params)[:, None])[:, :, 0]

    def outputs_and_pulled(self, X, derivative):
        outputs = self.outputs(X)
        return outputs, self.pulled(X, derivative(outputs)[:, :, None])[:, 0]


# %%
# Training. The linearisation's parameters are the first ones and a combination of the rows, ``theta0 +
# J' alpha``, at every iterate (Eq. 14): its descent is one of the coefficients, and all strengths share
# its products.


def risk_and_gradient(model, X, y, strength, first):
    """Mean of ``(y - f)^2 / 2`` with its penalty, and its gradient by the parameters."""
    f, pulled = model.outputs_and_pulled(X, lambda f: (f - y[:, None]) / len(y))
    moved = model.params - first
    return np.mean((f[:, 0] - y) ** 2) / 2 + strength / 2 * moved @ moved, pulled + strength * moved


def descend(model, X, y, strength, n_iter, shown=()):
    """Gradient descent from the model given: (iteration, model, norm of the gradient) at those shown and the last."""
    first = model.params
    for iteration in range(n_iter + 1):
        _, gradient = risk_and_gradient(model, X, y, strength, first)
        if iteration in shown or iteration == n_iter:
            yield iteration, model, np.linalg.norm(gradient)
        model = model.at(model.params - RATE * gradient)


def descend_by_rows(K, target, strengths, n_iter, shown=()):
    """The linearisation's, ``target = y - f0``: (iteration, coefficients (n, strengths), norms by the parameters)."""
    alpha = np.zeros((len(K), len(strengths)))
    for iteration in range(n_iter + 1):
        slope = (K @ alpha - target[:, None]) / len(K) + np.array(strengths) * alpha
        if iteration in shown or iteration == n_iter:
            yield iteration, alpha.copy(), np.sqrt(np.sum(slope * (K @ slope), axis=0))
        alpha -= RATE * slope


def combined(first, model, X, alpha):
    return first + model.pulled(X, alpha[:, None, None])[:, 0]


def where_it_ends(K, target, strength):
    """Its coefficients after any number of iterations, by the eigenvectors of K, along which each goes its own way."""
    values, vectors = np.linalg.eigh(K)
    return vectors @ ((vectors.T @ target) / (values + len(K) * strength))


def words(found):
    return ", ".join(f"{what} {' '.join(f'{x:.3g}' for x in np.ravel(values))}" for what, values in found.items())


def dynamics(task, start, n_iter, say=print):
    """Figure 3: a list of figures over the iterations, for each strength; and the networks, trained."""
    X, y, X_test, y_test = task
    shown = {0, *np.geomspace(1, n_iter, 40).astype(int).tolist()}
    by_rows = list(descend_by_rows(start.gram(X), y - start.outputs(X)[:, 0], STRENGTHS, n_iter, shown))
    K_test, f_test, figures, networks = start.gram(X_test, X), start.outputs(X_test)[:, 0], [], {}
    for place, strength in enumerate(STRENGTHS):
        seen = []
        by_params = descend(start, X, y, strength, n_iter, shown)
        for (iteration, network, norm), (_, alpha, norms) in zip(by_params, by_rows, strict=True):
            linear, f = combined(start.params, start, X, alpha[:, place]), network.outputs(X_test)[:, 0]
            f_linear = f_test + K_test @ alpha[:, place]
            apart, gone = (np.linalg.norm(params - linear) for params in (network.params, start.params))
            seen.append(
                {
                    "iteration": iteration,
                    "distance": apart / np.linalg.norm(linear),
                    "distance by the way gone": apart / gone if iteration else 0.0,
                    "rmse": np.sqrt(np.mean((f - f_linear) ** 2)),
                    "accuracy": [np.mean(np.sign(values) == y_test) for values in (f, f_linear)],
                    "gradient norm": [norm, norms[place]],
                }
            )
        networks[strength] = network
        figures.append({"strength": strength, "seen": seen})
        say(f"penalty {strength:.0e}: {words(seen[-1])}")
    return figures, networks


# %%
# The steps. ``stay`` says which rows do; each gives new parameters. Ours minimises the loss of the rows
# that stay, with the model linearised where it is.


def step_of_those_that_stay(model, task, stay, strength, first):
    X, y = task.X[stay], task.y[stay]
    target = y - (model.outputs(X) - model.times(X, (model.params - first)[:, None])[:, :, 0])[:, 0]
    alpha = solve(model.gram(X), len(y) * strength, target)
    return combined(first, model, X, alpha)


def solve(K, ridge, target):
    return cho_solve(cho_factor(K + ridge * np.eye(len(K)), lower=True, overwrite_a=True), target)


def accelerated(model, X, y, strength, first):
    """Nesterov's descent, as many epochs as bring a convex risk down by 1e-6, and a third as many again with ever
    shorter steps: a ReLU network's minimum lies on kinks, across which steps of one length go to and fro."""
    slowest = np.sqrt(RATE * strength)
    keep, before, params = (1 - slowest) / (1 + slowest), model.params, model.params
    n_iter = int(14 / slowest)
    for rate in RATE * 10.0 ** -np.concatenate([np.zeros(n_iter), np.linspace(0, 3, n_iter // 3)]):
        ahead = params + keep * (params - before)
        _, gradient = risk_and_gradient(model.at(ahead), X, y, strength, first)
        before, params = params, ahead - rate * gradient
    return model.at(params)


def settled(model, task, stay, strength, first, tol=1e-10, max_iter=30):
    """That step with backtracking, until the gradient is gone or rounding and the ReLUs' kinks forbid more."""
    X, y = task.X[stay], task.y[stay]
    value, gradient = risk_and_gradient(model, X, y, strength, first)
    for _ in range(max_iter):
        if np.linalg.norm(gradient) <= tol:
            break
        step = step_of_those_that_stay(model, task, stay, strength, first) - model.params
        for length in 0.5 ** np.arange(20):
            shorter = model.at(model.params + length * step)
            new_value, new_gradient = risk_and_gradient(shorter, X, y, strength, first)
            if new_value <= value + 1e-4 * length * gradient @ step:
                break
        else:
            break
        model, value, gradient = shorter, new_value, new_gradient
    return model


def retrained(model, task, stay, strength, first):
    near = accelerated(model, task.X[stay], task.y[stay], strength, first)
    return settled(near, task, stay, strength, first)


def eq_1(model, task, stay, strength, first, hessian=False):
    """The step on the risk without the rows that leave, the gradient of all rows taken for zero."""
    X, y, leave = task.X[stay], task.y[stay], ~stay
    right = risk_and_gradient(model, task.X[leave], task.y[leave], strength, first)[1] * np.sum(leave) / np.sum(stay)
    if hessian:
        return model.params + cg(hessian_of(model, X, y, strength, first), right, rtol=1e-8, maxiter=500)[0]
    alpha = solve(model.gram(X), len(y) * strength, model.times(X, right[:, None])[:, 0, 0])
    return model.params + combined(right, model, X, -alpha) / strength


def hessian_of(model, X, y, strength, first):
    """Products by central differences of the gradient, over a way so short that next to no ReLU turns on it."""

    def product(v):
        h = 1e-7 / np.linalg.norm(v)
        sides = (model.at(model.params + side * v) for side in (h, -h))
        there, here = (risk_and_gradient(side, X, y, strength, first)[1] for side in sides)
        return (there - here) / (2 * h)

    return LinearOperator((len(first), len(first)), matvec=product, dtype=float)


def eq_12(model, task, stay, strength, start, K):
    """K that of all rows at the first weights; coefficients ``-g / strength``, as they are at the optimum."""
    alpha = (task.y - model.outputs(task.X)[:, 0]) / (len(stay) * strength)
    right = strength * np.sum(~stay) * alpha[stay] + K[np.ix_(stay, ~stay)] @ alpha[~stay]
    step = -alpha
    step[stay] = solve(K[np.ix_(stay, stay)], np.sum(stay) * strength, right)
    return combined(model.params, start, task.X, step)


# %%
# Figure 2, of four models, and against two kinds of retraining.


def ways(kind, state, model, task, stay, strength, start, K):
    """New parameters by name."""
    of_rows = (task, stay, strength, start.params)
    on_kinks = (kind, state, start.activation) == ("network", "converged", "relu")  # where there is no Hessian
    found = {} if on_kinks else {"Eq. 1": eq_1(model, *of_rows, hessian=kind == "network")}
    found |= {
        "Eq. 12": eq_12(model, task, stay, strength, start, K),
        "ours": step_of_those_that_stay(Linearisation(start, model.params), *of_rows),
        "nothing": model.params,
    }
    if kind == "network":
        found["Eq. 1, Gauss-Newton"] = eq_1(model, *of_rows)
        found["ours, at its weights"] = step_of_those_that_stay(model, *of_rows)
        found["ours, repeated"] = settled(model, *of_rows).params
    if (kind, state) == ("network", "converged"):
        found["retrained from there"] = retrained(model, *of_rows).params
    return found


def removed(y, share, seed=0):
    """Which rows leave: the share of both classes."""
    order = np.random.default_rng(seed).permutation(len(y))
    gone = [rows[: round(share * len(rows))] for rows in (order[y[order] == -1], order[y[order] == 1])]
    return np.isin(np.arange(len(y)), np.concatenate(gone))


def trained(kind, task, stay, strength, start, n_iter, K, stopped=None):
    """The model on some of the rows, stopped and converged, with the norms of their gradients."""
    X, y = task.X[stay], task.y[stay]
    if kind == "network":
        if stopped is None:
            *_, (_, stopped, _) = descend(start, X, y, strength, n_iter)
        converged = retrained(stopped, task, stay, strength, start.params)
    else:
        of_rows = K[np.ix_(stay, stay)], y - start.outputs(X)[:, 0]
        *_, (_, alpha, _) = descend_by_rows(*of_rows, [strength], n_iter)
        stopped = Linearisation(start, combined(start.params, start, X, alpha[:, 0]))
        converged = stopped.at(combined(start.params, start, X, where_it_ends(*of_rows, strength)))
    short, way = (np.linalg.norm(converged.params - params) for params in (stopped.params, start.params))
    facts = {"way": way, "stopped before its end": short / way}
    models = {"stopped": stopped, "converged": converged}
    for state, model in models.items():
        _, gradient = risk_and_gradient(model, X, y, strength, start.params)
        facts[f"gradient norm {state}"] = np.linalg.norm(gradient)
    return models, facts


def unlearning(task, start, strength, shares, n_iter, network, say=print):
    """Records of (kind, state of the model, share, way), with its distances to retraining stopped and converged."""
    K, all_rows, records, facts = start.gram(task.X), np.ones(len(task.y), bool), [], {}
    for kind, stopped in (("network", network), ("linearisation", None)):
        models, facts[kind] = trained(kind, task, all_rows, strength, start, n_iter, K, stopped)
        say(f"penalty {strength:.0e}, {kind}: {words(facts[kind])}")
        for share in shares:
            leave = removed(task.y, share)
            truths, _ = trained(kind, task, ~leave, strength, start, n_iter, K)
            for state, model in models.items():
                for way, params in ways(kind, state, model, task, ~leave, strength, start, K).items():
                    asked = {"strength": strength, "kind": kind, "share": share, "state": state, "way": way}
                    found = compared(model.at(params), truths, models, task, leave)
                    records.append({**asked, **found})
                    errors = {f"to {truth}": found[f"to {truth}"]["error of the change"] for truth in truths}
                    say(f"{kind} {state}, {strength:.0e}, {share:.0%}, {way}: error of the change {words(errors)}")
    return {"facts": facts, "records": records}


def compared(model, truths, before, task, leave):
    """Of an unlearned model: distances to each retrained one, and the accuracies of all on the rows that left."""

    def accuracy(of):
        return np.mean(np.sign(of.outputs(task.X[leave])[:, 0]) == task.y[leave])

    found = {"accuracy": accuracy(model)}
    for state, truth in truths.items():
        apart = np.linalg.norm(model.params - truth.params)
        found[f"to {state}"] = {
            "distance": apart / np.linalg.norm(truth.params),
            "error of the change": apart / np.linalg.norm(truth.params - before[state].params),
            "rmse": np.sqrt(np.mean((model.outputs(task.X_test) - truth.outputs(task.X_test)) ** 2)),
            "accuracy": accuracy(truth),
        }
    return found


# %%
# The pictures: Figure 3, Figure 2, and whose the errors are.

COLOURS = ("#440154", "#31688e", "#35b779", "#c8b100")  # of the strengths
PANELS = {
    "distance": "parameters: network from linearisation,\nrelative to the latter",
    "rmse": "outputs on test rows: root mean square\nof network minus linearisation",
    "accuracy": "accuracy on test rows\n(dashed: linearisation)",
    "gradient norm": "norm of the gradient\n(dashed: linearisation)",
}
WAYS = {
    "Eq. 1": {"color": "#7a7a7a", "marker": "s"},
    "Eq. 1, Gauss-Newton": {"color": "#7a7a7a", "marker": "s", "markerfacecolor": "white"},
    "Eq. 12": {"color": "#d55e00", "marker": "^"},
    "ours": {"color": "#0072b2", "marker": "o"},
    "ours, at its weights": {"color": "#009e73", "marker": "D"},
    "ours, repeated": {"color": "#cc79a7", "marker": "v"},
    "retrained from there": {"color": "black", "marker": "_"},
}


def draw_dynamics(figures, axes):
    for ax, (what, title) in zip(axes, PANELS.items(), strict=True):
        for colour, figure in zip(COLOURS, figures, strict=True):
            seen = [at for at in figure["seen"] if at["iteration"] > 1]
            values = np.array([at[what] for at in seen]).reshape(len(seen), -1)
            ax.plot([at["iteration"] for at in seen], values[:, 0], color=colour, label=f"{figure['strength']:.0e}")
            ax.plot([at["iteration"] for at in seen], values[:, 1:], "--", color=colour)
        scale = "log" if what in ("distance", "gradient norm") else "linear"
        ax.set(title=title, xscale="log", xlabel="epochs", yscale=scale)
    axes[0].legend(frameon=False, title="penalty")
    axes[3].set_ylim(1e-5)


def draw_removal(found, axes):
    records = [r for r in found["records"] if (r["kind"], r["state"]) == ("network", "stopped")]
    strength = f"penalty {records[0]['strength']:.0e}"
    for way, look in WAYS.items():
        of_way = [r for r in records if r["way"] == way]
        if not of_way:
            continue
        shares = [100 * r["share"] for r in of_way]
        axes[0].semilogy(shares, [r["to stopped"]["error of the change"] for r in of_way], **look)
        axes[1].plot(shares, [r["accuracy"] for r in of_way], label=way, **look)
    truth = {100 * r["share"]: r["to stopped"]["accuracy"] for r in records}
    axes[1].plot(truth.keys(), truth.values(), color="black", linewidth=2.5, zorder=0, label="retrained")
    axes[0].set(title=f"{strength}: distance to the retrained network,\nby that of nothing done", xlabel="% removed")
    axes[1].set(title=f"{strength}: accuracy\non the removed rows", xlabel="% removed", ylim=(0, 1.03))


def draw_causes(by_activation, ax, share=0.5):
    """Every model against retraining to convergence. The two linearisations say the same: one is drawn."""
    kinds = [("relu", "linearisation"), *((activation, "network") for activation in by_activation)]
    places = [(*kind, state) for kind in kinds for state in ("converged", "stopped")]
    for number, (way, look) in enumerate(WAYS.items()):
        errors = {
            place + (number - 3) / 9: max(record["to converged"]["error of the change"], 1e-8)
            for place, (activation, *of) in enumerate(places)
            for record in by_activation[activation]["records"]
            if [record[asked] for asked in ("kind", "state", "way", "share")] == [*of, way, share]
        }
        ax.semilogy(errors.keys(), errors.values(), linestyle="none", markersize=8, label=way, **look)
    strength = by_activation["relu"]["records"][0]["strength"]
    ax.set(title=f"penalty {strength:.0e}, {share:.0%} removed: distance to retraining to convergence (1e-8: or less)")
    ax.set_xticks(range(len(places)), [f"{activation} {kind}\n{state}" for activation, kind, state in places])


def draw(figures, unlearned):
    """``unlearned`` by activation, then by strength, the largest first."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplot_mosaic("abcd;efgh;iijj", figsize=(17, 13), layout="constrained")
    draw_dynamics(figures, [axes[name] for name in "abcd"])
    for strength, pair, wide in zip(unlearned["relu"], ("ef", "gh"), "ij", strict=True):
        draw_removal(unlearned["relu"][strength], [axes[name] for name in pair])
        draw_causes({activation: found[strength] for activation, found in unlearned.items()}, axes[wide])
    for name, ax in axes.items():
        ax.spines[["top", "right"]].set_visible(False)
        if name in "egij":  # nothing done
            ax.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes["f"].legend(frameon=False, loc="lower left")
    axes["i"].legend(frameon=False)
    return fig


def main():
    parser = argparse.ArgumentParser(description="a network and its linearisation, trained and unlearned from")
    parser.add_argument("--fast", action="store_true", help="a tiny network, and no window")
    parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
    parser.add_argument("--results", metavar="FILE.json", help="draw these kept results")
    options = parser.parse_args()
    if options.fast or options.output:
        import matplotlib

        matplotlib.use("Agg")
    if options.results:
        kept = json.loads(Path(options.results).read_text(encoding="utf-8"))
        figures, unlearned = kept["dynamics"], kept["unlearning"]
    else:
        n, width, n_iter = (15, 12, 150) if options.fast else (60, 64, N_ITER)
        X, y = load_digits(return_X_y=True)
        task, start = threes_and_eights(X / 16, y, n), first_network(X.shape[1], width)
        figures, networks = dynamics(task, start, n_iter)
        asked, shares = (STRENGTHS[:2], (0.5,)) if options.fast else (ASKED, (0.1, 0.5, 0.9))
        unlearned = {"relu": {s: unlearning(task, start, s, shares, n_iter, networks[s]) for s in asked}}
    fig = draw(figures, unlearned)
    if options.output:
        fig.savefig(options.output, dpi=100)
    elif not options.fast:
        import matplotlib.pyplot as plt

        plt.show()


if __name__ == "__main__":
    main()
