"""Is the certificate's bound ever below the distance to the retrained model?

Removals (unlearn), corrections (update) and additions (extend) of 1 row to 30 % of them, stopped after 1, 2 or 4 steps
or converged, with the model's factor cached and without, on real data: each against a retrain in extended precision by
code that shares nothing with the package (tests/retraining.py). Converged models are within rounding of the retrain, so
that the early stops are what puts the bound to the test.

    python bench_certificates.py [--repeats 24]

Writes bench_certificates.json beside this file: for each problem the edits, how many bounds were valid, how many were
below the truth, and the bound over the truth where that is above rounding.
"""

import argparse
import copy
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from versions import versions

from sklearn_influence import InfluenceEstimator

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import cases
import retraining

OUT = Path(__file__).with_suffix(".json")
STEPS = (1, 2, 4, 50)
EDITS = ("unlearn", "update", "extend")
ROUNDING = 1e-11  # of the parameters: a distance below is rounding


def problems():
    cancer, wine = cases.first_rows(cases.breast_cancer(), 200), cases.wine()
    for C in (0.01, 1.0, 100.0):
        yield f"breast cancer, C={C:g}", LogisticRegression(C=C), cancer
        yield f"wine, three classes, C={C:g}", LogisticRegression(C=C), wine
    yield "diabetes > median, C=1", LogisticRegression(), cases.diabetes_above_median()
    yield "digits 3 v 8, C=1", LogisticRegression(), cases.digits_3_v_8()
    yield "breast cancer, balanced", LogisticRegression(class_weight="balanced"), cancer
    yield "breast cancer, weights of 1 and 20", LogisticRegression(), cases.weighted(cancer)
    yield "breast cancer, liblinear", LogisticRegression(solver="liblinear"), cancer
    yield "breast cancer, columns far from zero", LogisticRegression(), cases.uncentred(cancer)
    yield "diabetes > median, no penalty", LogisticRegression(C=np.inf, max_iter=1000), cases.diabetes_above_median()
    yield "diabetes, ridge", Ridge(), cases.diabetes()
    yield "diabetes, least squares", LinearRegression(), cases.diabetes()
    yield "wine, ridge classifier", RidgeClassifier(), wine


def draw(case, edit, rng, classifier):
    """The call of an edit, and the rows, labels and weights of the refit that it stands for."""
    n = len(case.X)
    weight = np.ones(n) if case.sample_weight is None else case.sample_weight
    k = int(np.clip(np.exp(rng.uniform(0, np.log(0.3 * n))), 1, len(case.X_test)))
    other = rng.choice(len(case.X_test), k, replace=False)
    X_new, y_new = case.X_test[other], rng.permutation(case.y_test[other])
    spared = (
        [rng.choice(np.flatnonzero(case.y == c), 2, replace=False) for c in np.unique(case.y)] if classifier else []
    )
    free = np.setdiff1d(np.arange(n), np.concatenate(spared) if classifier else [])
    if rng.random() < 0.5:
        rows = rng.choice(free, k, replace=False)
    else:  # one region of feature space
        rows = free[np.argsort(((case.X[free] - case.X[rng.integers(n)]) ** 2).sum(axis=1))[:k]]
    if edit == "unlearn":
        kept = np.setdiff1d(np.arange(n), rows)
        return lambda m, steps: m.unlearn(rows, max_iter=steps), (case.X[kept], case.y[kept], weight[kept])
    if edit == "update":
        X, y = case.X.copy(), case.y.copy()
        X[rows], y[rows] = X_new, y_new
        return lambda m, steps: m.update(rows, X_new, y_new, max_iter=steps), (X, y, weight)
    after = np.vstack([case.X, X_new]), np.append(case.y, y_new), np.append(weight, np.ones(k))
    return lambda m, steps: m.extend(X_new, y_new, max_iter=steps), after


def distance(model, X, y, weight, start):
    """Gauge-free distance from the exact retrain, and the size of its parameters."""
    estimator = model.estimator_
    exact = retraining.retrain(estimator, X, y, weight, None, start, extended=True)
    gap = model.params_ - exact
    if isinstance(estimator, LogisticRegression):
        q = retraining.output_shape(estimator, y)
        gap = retraining.gauge_free(gap, q, X.shape[1], retraining.penalties(estimator)[0] > 0)
    return float(np.linalg.norm(gap)), float(np.linalg.norm(exact))


def validate(name, estimator, case, repeats):
    fresh = InfluenceEstimator(estimator).fit(case.X, case.y, sample_weight=case.sample_weight)
    cached = copy.deepcopy(fresh)
    cached.leverages([0])
    start = retraining.retrain(fresh.estimator_, case.X, case.y, case.sample_weight, extended=True)
    rng = np.random.default_rng(0)
    done = dict(edits=0, valid=0, below_the_truth=0, converged=0)
    ratios, apart, certified = [], [], []
    for edit in EDITS:
        for repeat in range(repeats):
            call, after = draw(case, edit, rng, hasattr(fresh, "classes_"))
            for steps in STEPS:
                model = call(copy.deepcopy(cached if repeat % 2 else fresh), steps)
                certificate = model.certificate_
                far, size = distance(model, *after, start)
                done["edits"] += 1
                done["valid"] += certificate.valid
                done["below_the_truth"] += bool(certificate.param_bound < far)
                if certificate.valid and far > ROUNDING * size:
                    ratios.append(certificate.param_bound / far)
                if steps == STEPS[-1]:
                    done["converged"] += certificate.converged
                    apart.append(far / size)
                    certified.append(certificate.param_bound / size)
    done["bound / truth, median"] = float(np.median(ratios)) if ratios else None
    done["converged: largest distance / size"] = max(apart)
    done["converged: median bound / size"] = float(np.median(certified))
    print(
        f"{name:38} " + ", ".join(f"{key} {value:.3g}" for key, value in done.items() if value is not None), flush=True
    )
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=24)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    started, found = time.perf_counter(), {}
    for name, estimator, case in problems():
        found[name] = validate(name, estimator, case, args.repeats)
    total = {key: sum(one[key] for one in found.values()) for key in ("edits", "valid", "below_the_truth")}
    print(total, f"{time.perf_counter() - started:.0f} s")
    OUT.write_text(
        json.dumps(dict(versions=versions(), total=total, problems=found), indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
