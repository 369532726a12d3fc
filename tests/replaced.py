"""Replacements of rows for every family, by dense formulas and by retraining; no code is shared with the package."""

import contract
import numpy as np
import retraining
from contract import FAMILIES, ROWS

KINDS = ("X_new", "y_new", "both")


def new_rows(name, kind, scale=0.5):
    """Arguments X_new and y_new for the ROWS of a family: features moved by ``scale``, other labels or targets."""
    family, rng = FAMILIES[name], np.random.default_rng(7)
    case, given = family.case, {}
    X = case.X[ROWS] + scale * rng.normal(size=(len(ROWS), case.X.shape[1]))
    if kind != "y_new":
        given["X_new"] = X.astype(np.float32).astype(float) if "float32" in name else X
    if kind != "X_new":
        labels = np.unique(case.y)
        other = labels[(np.searchsorted(labels, case.y[ROWS]) + 1) % len(labels)] if family.classifier else None
        given["y_new"] = case.y[ROWS] + 1.5 if other is None else other
    return given


def handed_over(name, given):
    """The arguments in the family's own container."""
    return {key: FAMILIES[name].container(value) if key == "X_new" else value for key, value in given.items()}


def changed(name, given, j):
    """X and y of a family with the j-th replacement in place."""
    X, y = FAMILIES[name].case.X.copy(), FAMILIES[name].case.y.copy()
    if "X_new" in given:
        X[ROWS[j]] = given["X_new"][j]
    if "y_new" in given:
        y[ROWS[j]] = given["y_new"][j]
    return X, y


def retrained(name, given):
    """(k, n_params): retrained with each replacement, minus retrained without."""
    family, fitted = FAMILIES[name], contract.fitted(name).estimator_
    weight = family.case.sample_weight
    log_loss = not family.squared
    before = retraining.retrain(fitted, family.case.X, family.case.y, weight, extended=log_loss)
    start = {"start": before} if log_loss else {}
    after = [retraining.retrain(fitted, *changed(name, given, j), weight, **start) for j in range(len(ROWS))]
    return np.array(after) - before.astype(float)


def dense_step(name, given, j, method, found):
    """The step with the new row in place: by the old curvature for first order; for newton by that of the other rows,
    with the new row's loss where the step leads: ``found`` is the step that is to be its own result."""
    ref, family, row = contract.dense(name), FAMILIES[name], ROWS[j]
    X, y = changed(name, given, j)
    s = retraining.effective_weights(contract.fitted(name).estimator_, y, family.case.sample_weight)
    J, y = ref.jacobian(X), ref.encode(y)
    f = ref.outputs(J)
    H = ref.hessian()
    if method == "newton":
        f[row] += J[row] @ found
        others = np.where(np.arange(len(s)) == row, 0.0, s)
        H = np.einsum("n,nqp,nqr,nrt->pt", others, J, ref.bend(f), J) + np.diag(ref.penalty)
    gradient = np.einsum("n,nqp,nq->p", s, J, ref.slope(y, f)) + ref.penalty * ref.theta
    return -ref.solve(H, gradient - ref.gradient(ref.theta))
