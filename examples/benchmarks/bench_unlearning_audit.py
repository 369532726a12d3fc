"""Can unlearned models be told from retrained ones, under the noise of an (epsilon, delta) claim?

Five real problems, random removals of one row and of 1, 5 and 20 %, 20 of each (2 for the ten classes of digits):
``unlearning_audit`` with epsilon = 1, delta = 1e-5 and 10,000 models on each side. The lower bounds on epsilon hold at
95 %, each on its own.

Then objective perturbation: breast cancer, 150 rows, 30 of them removed by one step or until convergence, new noise
with sigma = 2 for each of 2,000 fits, against fits on the retained rows with noise of their own. Where the gradient
left is above the budget the model is refitted instead. The adversary knows all rows, computes from each model the
noise that it is the exact optimum for, and tests by the likelihood ratio of two normal laws, one with the mean and
covariance of half of the trials. With one step that gradient does depend on the noise, which the claim assumes it
does not.

    python bench_unlearning_audit.py        prints the tables and writes bench_unlearning_audit.json beside this file
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import scale
from versions import versions

from sklearn_influence import InfluenceEstimator, diagnostics, families, newton
from sklearn_influence.privacy import ObjectivePerturbation, gaussian_noise, residual_norm
from sklearn_influence.retained import retained_step
from sklearn_influence.solvers import Direct

OUT = Path(__file__).with_suffix(".json")
CLAIM = dict(epsilon=1.0, delta=1e-5)
METHODS = ("no update", "first order", "one step", "converged")
SHARES = (None, 0.01, 0.05, 0.2)


def problems():
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", LogisticRegression(max_iter=1000), scale(X), y
    X, y = load_digits(return_X_y=True)
    two = (y == 3) | (y == 8)
    yield "digits 3 v 8", LogisticRegression(max_iter=1000), X[two] / 16, y[two]
    yield "digits, ten classes", LogisticRegression(max_iter=1000), X / 16, y
    X, y = load_wine(return_X_y=True)
    yield "wine, three classes", LogisticRegression(max_iter=1000), scale(X), y
    X, y = load_diabetes(return_X_y=True)
    yield "diabetes, ridge", Ridge(), scale(X), y


def output_perturbation():
    rows = []
    for name, estimator, X, y in problems():
        n_removals = 2 if len(y) > 1000 else 20
        model, rng = InfluenceEstimator(estimator).fit(X, y), np.random.default_rng(0)
        for share in SHARES:
            size = 1 if share is None else round(share * len(y))
            removals = [rng.choice(len(y), size, replace=False) for _ in range(n_removals)]
            found = diagnostics.unlearning_audit(model, removals, X, y, **CLAIM, random_state=0)
            caught = found.epsilon_lower > CLAIM["epsilon"]
            rows.append(
                {
                    "problem": name,
                    "removed": size,
                    "removals": n_removals,
                    "largest_param_bound": float(found.param_bound.max()),
                    "methods": {
                        method: {
                            "caught": int(caught[:, i].sum()),
                            "auc_min": float(found.auc[:, i].min()),
                            "auc_max": float(found.auc[:, i].max()),
                            "epsilon_lower_max": float(found.epsilon_lower[:, i].max()),
                            "distance_median": float(np.median(found.distance[:, i])),
                            "distance_max": float(found.distance[:, i].max()),
                        }
                        for i, method in enumerate(found.methods)
                    },
                }
            )
            print_removals(rows[-1])
    return rows


def print_removals(row):
    print(f"{row['problem']:20} {row['removed']:4} rows, bound {row['largest_param_bound']:.1e}", end="")
    for m in row["methods"].values():
        print(
            f" | {m['caught']:2}/{row['removals']} {m['auc_min']:.2f} {m['epsilon_lower_max']:.2f}"
            f" {m['distance_median']:.0e}",
            end="",
        )
    print(flush=True)


def objective_perturbation(n_trials=2000, sigma=2.0):
    audit = sys.modules["sklearn_influence.diagnostics.unlearning_audit"]
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[:150], y[:150]
    fitted = LogisticRegression().fit(X, y)
    objective, rows = families.find_family(fitted).read(fitted, X, y, np.ones(len(y))), []
    limit = ObjectivePerturbation(**CLAIM, sigma=sigma).limit
    for converge in (False, True):
        done = [unlearned_noise(objective, np.arange(30), sigma, converge, seed) for seed in range(n_trials)]
        unlearned, norms = np.stack([noise for noise, _ in done]), np.array([norm for _, norm in done])
        refused = norms > limit
        fresh = [gaussian_noise(objective, sigma, seed) for seed in range(n_trials, 3 * n_trials)]
        retrained, unlearned[refused] = np.stack(fresh[:n_trials]), np.stack(fresh[n_trials:])[refused]
        half = n_trials // 2
        score = likelihood_ratio(unlearned[:half], sigma)
        right, wrong = score(unlearned[half:]), score(retrained[half:])
        row = {
            "converged": converge,
            "sigma": sigma,
            "limit": limit,
            "refused": int(refused.sum()),
            "gradient_median": float(np.median(norms)),
            "gradient_max": float(norms.max()),
            "auc": float(roc_auc_score(np.repeat([1, 0], half), np.concatenate([right, wrong]))),
            "epsilon_lower": audit._epsilon_lower(right, wrong, CLAIM["delta"], 0.95),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def likelihood_ratio(seen, sigma):
    """Of a normal law with the mean and covariance seen to N(0, sigma**2 I), up to a constant."""
    mean, precision = seen.mean(axis=0), np.linalg.inv(np.cov(seen.T))

    def score(noise):
        away = noise - mean
        return (np.square(noise).sum(axis=1) / sigma**2 - np.einsum("ij,jk,ik->i", away, precision, away)) / 2

    return score


def unlearned_noise(objective, gone, sigma, converge, seed):
    """The noise that an unlearned model is the exact optimum for, and the norm of the gradient it is left with."""
    solver = Direct()
    optimum, _ = newton.minimise(objective.with_linear(gaussian_noise(objective, sigma, seed)), solver=solver)
    step = retained_step(optimum, solver.factor(optimum.curvature()), gone)
    kept = np.setdiff1d(np.arange(objective.n_rows), gone)
    unlearned = optimum.take(kept).with_(params=optimum.params + step)
    if converge:
        unlearned, _ = newton.minimise(unlearned, solver=solver)
    return unlearned.linear - unlearned.gradient(), residual_norm(unlearned)


def main():
    warnings.simplefilter("ignore")
    print("caught, smallest AUC, largest lower bound on epsilon, median distance: " + ", ".join(METHODS))
    result = {"versions": versions(), "claim": CLAIM, "objective_perturbation": objective_perturbation()}
    result["removals"] = output_perturbation()
    OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
