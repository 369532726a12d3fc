"""
Predicted against retrained
===========================

An influence is a prediction: by how much would the loss on held-out rows change if the model were
fitted again without one training row? Here every prediction is held against the truth. For each
training row scikit-learn's own LogisticRegression is refitted without it, to a tight tolerance,
and the change of the mean held-out log loss is measured.

``method="first_order"`` is the classical influence function, which keeps the curvature that
includes the row. ``method="newton"``, the default, takes the row out of the curvature too. A slope
of 1 means that the predicted changes have the right size; the classical ones are far too small
for the rows that matter most. Much of both slopes is set by the one row of largest effect: look at
the other points too.

Run with ``--fast`` for a sample of the rows and no window, and with ``--output FILE.png`` to write
the picture to a file.
"""

import argparse
import warnings

import matplotlib
import numpy as np

parser = argparse.ArgumentParser(description="predicted against retrained change of loss")
parser.add_argument("--fast", action="store_true", help="fewer rows, and no window")
parser.add_argument("--output", metavar="FILE.png", help="write the picture here, no window")
options = parser.parse_args()
if options.fast or options.output:
    matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)
from sklearn.datasets import load_breast_cancer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import log_loss  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from sklearn_influence import InfluenceEstimator  # noqa: E402
from sklearn_influence.diagnostics import agreement  # noqa: E402
from sklearn_influence.plotting import plot_agreement  # noqa: E402

# %%
# The data: breast cancer, 70 % of the rows to train on, columns scaled on those.

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

# %%
# The truth: one refit for each row left out. The tolerance matters. The change is small, and the
# default one stops lbfgs at a distance worth many rows.

estimator = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12, max_iter=1000)


def loss_without(rows):
    """Mean held-out log loss after a fit on all training rows but these."""
    kept = np.delete(np.arange(len(y_train)), rows)
    model = estimator.fit(X_train[kept], y_train[kept])
    return log_loss(y_test, model.predict_proba(X_test))


step = 6 if options.fast else 1
removed = np.arange(0, len(y_train), step)
loss_with_all = loss_without([])
actual = np.array([loss_without([row]) - loss_with_all for row in removed])

# %%
# The predictions, by both methods, and the picture.

# The rows of high leverage, which the library warns about, are what the picture is to show.
warnings.filterwarnings("ignore", "Row .* has a leverage", UserWarning)
fig, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained", sharex=True, sharey=True)
for method, ax in zip(("first_order", "newton"), axes, strict=True):
    model = InfluenceEstimator(LogisticRegression(C=1.0), method=method).fit(X_train, y_train)
    predicted = model.influence_on_loss(X_test, y_test, removed, aggregate="mean")
    # In thousandths, because a single row changes the mean loss by little.
    plot_agreement(1000 * predicted, 1000 * actual, ax=ax, title=f'method="{method}"')
    ax.set_xlabel("change of mean log loss x 1000, retrained")
    result = agreement(predicted, actual)
    print(
        f"{method:12s} slope {result.slope:.3f}  correlation {result.correlation:.3f}  "
        f"relative error {result.relative_error:.3f}  ({result.n} rows)"
    )
axes[0].set_ylabel("change of mean log loss x 1000, predicted")
axes[1].set_ylabel("")
fig.suptitle(f"Leaving out each of {len(removed)} training rows (breast cancer, C=1)")

if options.output:
    fig.savefig(options.output, dpi=120)
elif not options.fast:
    plt.show()
