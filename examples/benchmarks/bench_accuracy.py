"""How close are predicted effects of removing rows to scikit-learn's own refits?

Every training row of four real problems is left out once (a sample of rows for the ten classes of digits), and random
groups of 1, 5 and 20 % of breast cancer are. Truth is a refit by newton-cholesky to 1e-12. Compared are
``method="newton"``, ``method="first_order"`` and, where it is installed, the peer package pyinfluence, which knows one
binary problem at a time.

    python bench_accuracy.py            prints the tables and writes bench_accuracy.json beside this file
"""

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import scipy
from joblib import Parallel, delayed
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from versions import versions

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import agreement

OUT = Path(__file__).with_suffix(".json")


def split(X, y, scale=True):
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    if scale:
        scaler = StandardScaler().fit(X)
        X, X_test = scaler.transform(X), scaler.transform(X_test)
    return X, y, X_test, y_test


def problems():
    cancer = split(*load_breast_cancer(return_X_y=True))
    X, target = load_diabetes(return_X_y=True)
    diabetes = split(X, (target > np.median(target)).astype(int))
    X, y = load_digits(return_X_y=True)
    two = (y == 3) | (y == 8)
    yield "breast cancer", 0.01, *cancer, None
    yield "breast cancer", 1.0, *cancer, None
    yield "diabetes > median", 1.0, *diabetes, None
    yield "digits 3 v 8", 1.0, *split(X[two] / 16, y[two], scale=False), None
    yield "digits, ten classes", 1.0, *split(X / 16, y, scale=False), 150


def refit(C, X, y, kept=slice(None)):
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X[kept], y[kept])
    return np.append(model.coef_, model.intercept_)


def refits(C, X, y, removals):
    kept = (np.setdiff1d(np.arange(len(y)), rows) for rows in removals)
    return np.stack(Parallel(n_jobs=2)(delayed(refit)(C, X, y, rows) for rows in kept))


def losses(params, X, y):
    """Log loss (m,) of flat parameters; y holds class numbers."""
    q = len(params) // (X.shape[1] + 1)
    f = X @ params[: q * X.shape[1]].reshape(q, -1).T + params[q * X.shape[1] :]
    f = np.hstack([np.zeros_like(f), f]) if q == 1 else f
    return scipy.special.logsumexp(f - f[np.arange(len(y)), y][:, None], axis=1)


def off_gauge(delta, n_classes):
    if n_classes > 2:
        delta = delta.copy()
        delta[:, -n_classes:] -= delta[:, -n_classes:].mean(axis=1, keepdims=True)
    return delta


def peer_losses(C, X, y, X_test, y_test):
    """Adapter: pyinfluence's scores are derivatives by a row's weight; removal is minus that, positive = helps."""
    try:
        from pyinfluence import InfluenceFunctions
    except ImportError:
        return None
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y)
    return InfluenceFunctions(mode="loss").fit(model, X, y).explain(X_test, y_test)


def single_rows(name, C, X, y, X_test, y_test, sample):
    classes = np.unique(y)
    y, y_test = np.searchsorted(classes, y), np.searchsorted(classes, y_test)
    rows = np.arange(len(y)) if sample is None else np.random.default_rng(0).choice(len(y), sample, replace=False)
    before = refit(C, X, y)
    after = refits(C, X, y, rows[:, None])
    delta = off_gauge(after - before, len(classes))
    actual = np.stack([losses(p, X_test, y_test) for p in after], axis=1) - losses(before, X_test, y_test)[:, None]
    model = InfluenceEstimator(LogisticRegression(C=C)).fit(X, y)
    result = {}
    for method in ("newton", "first_order"):
        model.set_params(method=method)
        predicted = model.influence_on_params(rows)
        errors = np.linalg.norm(predicted - delta, axis=1) / np.linalg.norm(delta, axis=1)
        result[method] = {
            "params_error": agreement(predicted, delta).relative_error,
            "params_median_error": float(np.median(errors)),
            **compare(model.influence_on_loss(X_test, y_test, rows), actual),
        }
    peer = peer_losses(C, X, y, X_test, y_test) if len(classes) == 2 else None
    if peer is not None:
        result["pyinfluence"] = compare(peer[:, rows], actual)
    return {"problem": name, "C": C, "rows": len(rows), "n": len(y), "methods": result}


def compare(predicted, actual):
    pairs, mean = agreement(predicted, actual), agreement(predicted.mean(axis=0), actual.mean(axis=0))
    return {
        "pairs_correlation": pairs.correlation,
        "pairs_slope": pairs.slope,
        "mean_correlation": mean.correlation,
        "mean_slope": mean.slope,
    }


def random_groups(n_groups=20):
    """Breast cancer, C = 1, all 569 rows: relative error of the parameter change, median over groups."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    before, rng, table = refit(1.0, X, y), np.random.default_rng(0), []
    for share in (0.01, 0.05, 0.2):
        removals = [rng.choice(len(y), round(share * len(y)), replace=False) for _ in range(n_groups)]
        exact = refits(1.0, X, y, removals) - before
        row = {"share": share, "groups": n_groups}
        for method in ("newton", "first_order"):
            model = InfluenceEstimator(LogisticRegression(), method=method).fit(X, y)
            one = [model.influence_on_params(groups=mark(rows, len(y)))[-1] for rows in removals]
            row[method] = median_error(np.array(one), exact)
        for steps in (2, 50):
            start = InfluenceEstimator(LogisticRegression()).fit(X, y)
            done = [copy.deepcopy(start).unlearn(rows, max_iter=steps) for rows in removals]
            row[f"unlearn_{steps}_steps"] = median_error(np.stack([model.params_ for model in done]) - before, exact)
        table.append(row)
    return table


def mark(rows, n):
    """Labels with the group last, and the other rows in two mixed groups that are not looked at."""
    labels = np.arange(n) % 2
    labels[rows] = 2
    return labels


def median_error(predicted, exact):
    return float(np.median(np.linalg.norm(predicted - exact, axis=1) / np.linalg.norm(exact, axis=1)))


def main():
    warnings.simplefilter("ignore")
    rows = [single_rows(*problem) for problem in problems()]
    groups = random_groups()
    OUT.write_text(json.dumps({"versions": versions(), "single_rows": rows, "groups": groups}, indent=1) + "\n")
    print(f"{'problem':22}{'C':>5} {'method':12}{'params':>8}{'corr':>9}{'slope':>7}{'mean corr':>11}{'slope':>7}")
    for case in rows:
        for method, m in case["methods"].items():
            print(
                f"{case['problem']:22}{case['C']:5g} {method:12}{m.get('params_error', np.nan):8.4f}"
                f"{m['pairs_correlation']:9.4f}{m['pairs_slope']:7.3f}"
                f"{m['mean_correlation']:11.4f}{m['mean_slope']:7.3f}"
            )
    for row in groups:
        print({name: float(f"{value:.2g}") for name, value in row.items()})


if __name__ == "__main__":
    main()
