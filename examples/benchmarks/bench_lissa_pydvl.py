"""Does LiSSA converge on features as they come? pyDVL's ``LissaInfluence`` and ``solvers.Stochastic``.

Breast cancer, wine and digits, logistic regression with C=1, fitted to 1e-10; inverse curvature times the gradients of
five training rows. pyDVL runs with its own defaults (scale=10, maxiter=1000) on batches of 32, the penalty passed as
its regularization; again with its scale set to the largest eigenvalue, which it leaves to the user to find; and all
again on standardised features. Reported: whether every entry is finite, and the error of the influences among the five
rows relative to their size. Truth is a dense solve; pyDVL's rows are held against one that penalises the intercept too,
as its regularization does, and its own dense solve on one batch checks that.

    python bench_lissa_pydvl.py         prints the table and writes bench_lissa_pydvl.json beside this file
"""

import json
import logging
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pydvl.influence.torch import DirectInfluence, LissaInfluence
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian, MixedWeights
from sklearn_influence.losses import Logistic, Softmax
from sklearn_influence.solvers import Direct, Stochastic

OUT = Path(__file__).with_suffix(".json")
PROBLEMS = {"breast cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
N_COLUMNS = 5
SEEDS = 2


def fit(X, y):
    return LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X, y)


def curvature_and_gradients(X, y, model, rows):
    """Our curvature of the summed loss, and the rows' gradients: coefficients first, then intercepts."""
    eta = X @ model.coef_.T + model.intercept_
    q = eta.shape[1]
    loss = Logistic() if q == 1 else Softmax()
    penalty = np.ones((q, X.shape[1] + 1))
    penalty[:, -1] = 0.0
    W = loss.curvature(y, eta) if q == 1 else MixedWeights(*loss.curvature_factors(y, eta))
    H = Hessian(Design(X, True), W, penalty, shift_invariant=loss.shift_invariant)
    u = loss.gradient(y, eta)[rows]
    G = np.concatenate([np.einsum("ic,ij->cji", u, X[rows]).reshape(-1, len(rows)), u.T])
    return H, G


def pydvl(method, X, y, model, rows, seed, batch_size=32, **options):
    """pyDVL's inverse curvature times the rows' gradients, of the summed loss, and the seconds it took."""
    torch.manual_seed(seed)
    q = len(model.coef_)
    net = torch.nn.Linear(X.shape[1], q, dtype=torch.float64)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(model.coef_))
        net.bias.copy_(torch.tensor(model.intercept_))
    inputs = torch.tensor(X, dtype=torch.float64)
    if q == 1:
        targets = torch.tensor(y[:, None], dtype=torch.float64)
        loss = torch.nn.functional.binary_cross_entropy_with_logits
    else:
        targets = torch.tensor(y)
        loss = torch.nn.functional.cross_entropy
    data = DataLoader(TensorDataset(inputs, targets), batch_size=batch_size, shuffle=True)
    influence = method(net, loss, regularization=1.0 / len(y), **options).fit(data)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            solved = influence.influence_factors(inputs[rows], targets[rows]).detach().numpy().T / len(y)
        except RuntimeError as error:  # how it says that its estimate is not finite
            if "NaN" not in str(error):
                raise
            solved = np.full((net.weight.numel() + q, len(rows)), np.nan)
    return solved, time.perf_counter() - start  # its parameters have our order: weight, bias


def figures(solved, truth, G, seconds):
    finite = bool(np.isfinite(solved).all())
    exact = G.T @ truth
    with np.errstate(all="ignore"):
        error = float(np.linalg.norm(G.T @ solved - exact) / np.linalg.norm(exact)) if finite else None
    return {"finite": finite, "relative_error": error, "seconds": round(seconds, 2)}


def ours(H, G, truth, seed):
    start = time.perf_counter()
    solved, info = Stochastic(random_state=seed).factor(H)(G)
    seconds = time.perf_counter() - start
    return figures(solved, truth, G, seconds) | {"converged": bool(info.converged), "steps": int(info.iterations)}


def problem(name, X, y, scaled):
    model = fit(X, y)
    rows = np.random.default_rng(0).choice(len(y), N_COLUMNS, replace=False)
    H, G = curvature_and_gradients(X, y, model, rows)
    truth = Direct().factor(H)(G)[0]
    with_intercept = Hessian(H.design, H.weights, np.ones_like(H.penalty))
    truth_pydvl = Direct().factor(with_intercept)(G)[0]
    largest = float(np.linalg.eigvalsh(H.matmat(np.eye(H.shape[0])))[-1] / len(y))
    features = "standardised" if scaled else "raw"
    for seed in range(SEEDS):
        runs = [
            ("pyDVL LiSSA, defaults", LissaInfluence, {}),
            ("pyDVL LiSSA, scale = largest eigenvalue", LissaInfluence, {"scale": largest}),
            ("pyDVL direct", DirectInfluence, {"batch_size": len(y)}),
        ]
        row = {"problem": name, "features": features, "seed": seed}
        for label, method, options in runs:
            solved, seconds = pydvl(method, X, y, model, rows, seed, **options)
            yield row | {"method": label} | figures(solved, truth_pydvl, G, seconds)
        yield row | {"method": "Stochastic, defaults"} | ours(H, G, truth, seed)


def main():
    logging.disable(logging.WARNING)
    results = []
    versions = {name: version(name) for name in ("pydvl", "torch", "numpy", "scipy", "scikit-learn")}
    print(f"{'problem':14} {'features':13} {'method':40} seed  finite  relative error  seconds")
    for name, load in PROBLEMS.items():
        X, y = load(return_X_y=True)
        for scaled in (False, True):
            for row in problem(name, StandardScaler().fit_transform(X) if scaled else X, y, scaled):
                error = "-" if row["relative_error"] is None else f"{row['relative_error']:.2g}"
                print(
                    f"{row['problem']:14} {row['features']:13} {row['method']:40} {row['seed']:4}  "
                    f"{row['finite']!s:6}  {error:>14}  {row['seconds']:7.2f}",
                    flush=True,
                )
                results.append(row)
        kept = {"python": platform.python_version(), "versions": versions, "results": results}
        OUT.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
