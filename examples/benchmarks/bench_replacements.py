"""How close are predicted effects of other features and other labels to retraining?

Training rows of five problems, each replaced on its own and retrained in extended precision by code that shares nothing
with the package (tests/retraining.py): its features moved to half way between it and another row, its label another
one, or both. Held against these: ``X_new`` and ``y_new`` of influence_on_params and influence_on_loss, by one Newton
step and to first order; removals of the same rows stand beside them.

    python bench_replacements.py [--rows 100]

Writes bench_replacements.json beside this file.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from versions import versions

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import agreement

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import cases
import retraining

OUT = Path(__file__).with_suffix(".json")


def problems():
    yield "breast cancer, C = .01", LogisticRegression(C=0.01), cases.breast_cancer()
    yield "breast cancer, C = 1", LogisticRegression(), cases.breast_cancer()
    yield "diabetes > median, C = 1", LogisticRegression(), cases.diabetes_above_median()
    yield "digits 3 v 8, C = 1", LogisticRegression(), cases.digits_3_v_8()
    yield "wine, three classes, C = 1", LogisticRegression(), cases.wine()
    yield "diabetes, ridge", Ridge(), cases.diabetes()


def changes(case, rows, rng):
    """What the rows become: name, features or None, labels or None; both None for a removal."""
    X_new = 0.5 * (case.X[rows] + case.X[rng.permutation(len(case.X))[: len(rows)]])
    classes = np.unique(case.y)
    if len(classes) > 10:
        y_new = case.y[rows] + rng.normal(size=len(rows)) * case.y.std()
    else:
        places = np.searchsorted(classes, case.y[rows])
        y_new = classes[(places + rng.integers(1, len(classes), len(rows))) % len(classes)]
    yield "removed", None, None
    yield "features moved", X_new, None
    yield "label turned", None, y_new
    yield "both", X_new, y_new


def retrained(estimator, case, rows, X_new, y_new, start):
    """Exact parameters without or with other rows, one refit each."""
    for j, row in enumerate(rows):
        X, y, keep = case.X, case.y, None
        if X_new is None and y_new is None:
            keep = np.arange(len(y)) != row
        if X_new is not None:
            X = X.copy()
            X[row] = X_new[j]
        if y_new is not None:
            y = y.copy()
            y[row] = y_new[j]
        yield retraining.retrain(estimator, X, y, case.sample_weight, keep, start, extended=True).astype(float)


def measure(name, estimator, case, n_rows):
    rng = np.random.default_rng(0)
    rows = rng.choice(len(case.y), min(n_rows, len(case.y)), replace=False)
    model = InfluenceEstimator(estimator).fit(case.X, case.y)
    start = retraining.retrain(model.estimator_, case.X, case.y, extended=True)
    q = retraining.output_shape(estimator, case.y)
    kind = "squared" if isinstance(estimator, Ridge) else "log"

    def off_gauge(change):
        return change if kind == "squared" else retraining.gauge_free(change, q, case.X.shape[1])

    def losses(params):
        return retraining.losses(case.y_test, retraining.outputs(params, case.X_test, q), kind).mean()

    found = {}
    for what, X_new, y_new in changes(case, rows, rng):
        exact = np.array(list(retrained(model.estimator_, case, rows, X_new, y_new, start)))
        actual = off_gauge(exact - start.astype(float))
        on_loss = np.array([losses(params) for params in exact]) - losses(start.astype(float))
        for method in ("newton", "first_order"):
            model.set_params(method=method)
            given = dict(X_new=X_new, y_new=y_new)
            predicted = off_gauge(model.influence_on_params(rows, **given))
            mean = model.influence_on_loss(case.X_test, case.y_test, rows, aggregate="mean", **given)
            on_test = agreement(mean, on_loss)
            found[f"{what}, {method}"] = row = {
                "parameters": agreement(predicted, actual).relative_error,
                "mean loss: correlation": on_test.correlation,
                "mean loss: slope": on_test.slope,
            }
            print(f"{name:28} {what:16} {method:12} " + ", ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {name: measure(name, estimator, case, args.rows) for name, estimator, case in problems()}
    OUT.write_text(
        json.dumps(dict(versions=versions(), rows=args.rows, problems=found), indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
