"""
What if these labels were other: wrong labels corrected, not removed
====================================================================

One label in ten of the breast cancer data is turned round on purpose, and nobody is told which. For every training row
``relabel_effects`` predicts what each other label would do to the loss on validation rows. The rows where the other
label helps most are shown to somebody who knows, and ``update`` corrects those that prove wrong in the fitted model: no
model is fitted again, each correction is the refit, with a certificate.

The rows that are looked at come by the predicted effect, by the loss of the fitted model on them, or at random. What
counts is the loss on test rows, which have no part in any of it. Looking at forty rows is enough to find nine in ten
wrong labels by either list, where chance finds one in nine; corrected, the model is as good as with every label right.
The plain loss finds as many as the predicted effect, and costs nothing; those by effect lower the test loss a little
sooner, since they are the ones that matter most to it.

Run with ``--fast`` for fewer repetitions and no window, and with ``--output FILE.png`` to write the picture to a file.
"""

import argparse
import copy

import matplotlib
import numpy as np

parser = argparse.ArgumentParser(description="wrong labels corrected in a fitted model")
parser.add_argument("--fast", action="store_true", help="fewer repetitions, and no window")
parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
options = parser.parse_args()
if options.fast or options.output:
    matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)
from sklearn.datasets import load_breast_cancer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from sklearn_influence import InfluenceEstimator  # noqa: E402
from sklearn_influence.diagnostics import sample_losses  # noqa: E402

LOOKS = (0, 5, 10, 20, 40, 60)
LISTS = ("predicted effect", "loss of the fitted model", "at random")

# %%
# A table with wrong labels. The pipeline takes the raw rows.
X, y = load_breast_cancer(return_X_y=True)


def split(seed):
    X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=269, random_state=seed, stratify=y)
    X_valid, X_test, y_valid, y_test = train_test_split(
        X_rest, y_rest, train_size=0.5, random_state=seed, stratify=y_rest
    )
    turned = np.random.default_rng(seed).random(len(y_train)) < 0.1
    return X_train, y_train, np.where(turned, 1 - y_train, y_train), (X_valid, y_valid), (X_test, y_test)


def fit(X_train, labels):
    return InfluenceEstimator(make_pipeline(StandardScaler(), LogisticRegression(C=0.02))).fit(X_train, labels)


# %%
# Three lists of rows to look at, the most suspect first.
def ranked(model, X_train, labels, valid, seed):
    effects = model.relabel_effects(*valid)
    yield "predicted effect", effects.min(axis=1).argsort()
    yield "loss of the fitted model", (-sample_losses(model, X_train, labels)).argsort()
    yield "at random", np.random.default_rng(seed).permutation(len(labels))


# %%
# Look at more and more rows of each list, and correct those that are wrong: in the fitted model.
def corrected(model, order, labels, truth, test):
    model, found, losses = copy.deepcopy(model), [], []
    for before, after in zip((0, *LOOKS), LOOKS, strict=False):
        looked = order[before:after]
        wrong = looked[labels[looked] != truth[looked]]
        model.update(wrong, y_new=truth[wrong])
        found.append(np.sum(labels[order[:after]] != truth[order[:after]]))
        losses.append(sample_losses(model, *test).mean())
    return found, losses, model


found, losses, clean, bounds = {name: [] for name in LISTS}, {name: [] for name in LISTS}, [], []
for seed in range(3 if options.fast else 20):
    X_train, truth, labels, valid, test = split(seed)
    model = fit(X_train, labels)
    for name, order in ranked(model, X_train, labels, valid, seed):
        hits, loss, edited = corrected(model, order, labels, truth, test)
        found[name].append(hits)
        losses[name].append(loss)
        bounds += [edit.certificate.param_bound for edit in edited.edits_]
    clean.append(sample_losses(fit(X_train, truth), *test).mean())

# %%
# The figures: wrong labels found, and the mean test loss, after so many rows were looked at.
print(f"{'rows looked at':26}" + "".join(f"{looks:>8}" for looks in LOOKS))
for name in LISTS:
    print(f"{name + ': found':36}"[:36].ljust(26) + "".join(f"{hits:8.1f}" for hits in np.mean(found[name], axis=0)))
for name in LISTS:
    print(f"{name + ': loss':36}"[:36].ljust(26) + "".join(f"{loss:8.3f}" for loss in np.mean(losses[name], axis=0)))
print(f"every label right: a test loss of {np.mean(clean):.3f}")
print(f"{len(bounds)} corrections, each certified to be within {max(bounds):.0e} of the refit")

# %%
# The picture: what looking at rows is worth, by which list they come.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
for name in LISTS:
    left.plot(LOOKS, np.mean(found[name], axis=0), "o-", label=name)
    right.plot(LOOKS, np.mean(losses[name], axis=0), "o-", label=name)
right.axhline(np.mean(clean), color="grey", linestyle=":", label="every label right")
left.set(xlabel="rows looked at", ylabel="wrong labels found", title="Of about 27 wrong labels")
right.set(xlabel="rows looked at", ylabel="mean log loss on test rows", title="After correcting those found")
right.legend(frameon=False)
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
if options.output:
    figure.savefig(options.output, dpi=150)
elif not options.fast:
    plt.show()
