"""One Newton step on the rows that stay when some leave together.

The curvature of the rows that stay is that of all rows less the leaving ones' own. Few rows are an update of the cached
factor (the Woodbury identity); more of them are subtracted from the cached matrix, which is factored again; where fewer
rows stay than leave, their curvature is formed anew.
"""

from typing import NamedTuple

import numpy as np

from .solvers.steps import newton_step

# Where 1 - leverage is below this, residuals have lost half their digits, or the model without the rows has flat
# directions of its own: the retained rows are stepped on directly.
SINGULAR = 1e-5
# Eigenvalues and eigenvectors of a matrix of k rows cost so many k**3, in operations at the rate of a product.
_EIGH = 25
# Passes over a matrix in memory cost its size times this, in the same unit.
_PASSES = 30
# Steps of power iteration; they reach more than half of the largest eigenvalue.
_POWERS = 3


class RetainedStep(NamedTuple):
    """A step (p,); the objective of the retained rows; a factor for it; the step's length in the norm of the retained
    curvature; and a bound of the group's largest leverage, or infinity where that was not looked at."""

    step: np.ndarray
    kept: object
    factor: object
    length: float
    leverage: float


def retained_step(objective, factor, rows, *, direct=False):
    """One Newton step (p,) from the optimum on the rows that stay when ``rows`` leave together.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    factor : callable
        Its factored curvature.
    rows : ndarray of int
        Positions of the rows that leave.
    direct : bool
        The rows are known to hold a direction alone: factor those that stay.

    Returns
    -------
    ndarray of shape (p,)
        The change of the parameters.
    """
    return step_without(objective, factor, rows, "refactor" if direct else None).step


def cheapest_way(objective, factor, n_leaving):
    """How the curvature of the rows that stay is best inverted, by the operations that each way takes.

    Parameters
    ----------
    objective : Objective
    factor : DirectFactor
    n_leaving : int

    Returns
    -------
    {"update", "downdate", "refactor"}
        For k unknowns in the group, p in all and b in a block: "update", two solves for each of k columns and the
        eigenvectors of a matrix of k rows; "downdate", a symmetric product of the leaving rows and b**3 / 3;
        "refactor", one of the retained rows and b**3 / 3.
    """
    design, loss, q = objective.design, objective.loss, objective.n_outputs
    k = n_leaving * q
    products = 1 if loss.quadratic else q if loss.separable else q * (q - 1) / 2
    row = products * design.width * design.n_entries / max(design.n_rows, 1)
    sizes = np.array([block.size for block in factor.blocks], dtype=float)
    factoring = (sizes**3 / 3 + _PASSES * sizes**2).sum()
    costs = {
        "update": 2 * k * factor.operations + 2 * objective.n_params * k**2 + _EIGH * k**3,
        "downdate": n_leaving * row + factoring,
        "refactor": (design.n_rows - n_leaving) * row + factoring,
    }
    if not factor.downdates:
        del costs["downdate"]
        costs["refactor"] += (_EIGH * sizes**3).sum()
    return min(costs, key=costs.get)


def step_without(objective, factor, rows, way=None):
    """The step without some rows, and what it takes to judge it.

    Parameters
    ----------
    objective, factor, rows
        As in :func:`retained_step`.
    way : {"update", "downdate", "refactor"}, optional
        By default :func:`cheapest_way`. A way that would lose too many digits leaves to the retained rows' own factor.
        Conjugate gradients, and balanced weights, which move every row, always take that one.

    Returns
    -------
    RetainedStep
    """
    kept = objective.with_(sample_weight=objective.weighting.effective(removed=rows))
    if objective.weighting.balanced:  # every row's weight moved, not those of the group alone
        return _refactored(objective, factor, kept, kept.gradient() - objective.gradient())
    leaving = objective.design.take(rows).in_double()  # near a leverage of 1 an update loses half the digits
    pull = objective.sample_weight[rows][:, None] * objective.output_gradients(rows)
    gradient = -objective.pullback_sum(pull, leaving)
    if factor.iterative:
        return _refactored(objective, factor, kept, gradient)
    known = way == "refactor"
    way = cheapest_way(objective, factor, len(rows)) if way is None else way
    if way == "update":
        step, leverage = _updated(objective, factor, rows, leaving, gradient)
        if step is not None:
            return RetainedStep(step, kept, factor, _length(gradient, step), leverage)
    elif way == "downdate":
        downdated = factor.downdated(rows, kept.curvature())
        if downdated is not None:
            step, length = newton_step(downdated, gradient)
            leverage = 0.0 if objective.loss.quadratic else 2.0 * _largest_share(factor, rows, step)
            return RetainedStep(step, kept, downdated, length, leverage)
    elif not known:
        return _refactored(objective, factor, kept, gradient)
    # Rows that the model holds to have residuals of rounding alone; those that stay know the gradient better.
    return _refactored(objective, factor, kept, kept.gradient())


def _length(gradient, step):
    """``sqrt(d' H d)`` of a step ``d = -H^-1 g``."""
    return float(np.sqrt(max(-(gradient @ step), 0.0)))


def _refactored(objective, factor, kept, gradient):
    """The step by a factor of the retained rows' own."""
    own = factor.solver.factor(kept.curvature(), preconditioner=factor)
    step, length = newton_step(own, gradient)
    if objective.loss.quadratic:
        # Rows that alone carried a direction leave it free; least squares then answers with the smallest norm.
        step = own.minimum_norm(objective.params + step) - objective.params
    return RetainedStep(step, kept, own, length, np.inf)


def _updated(objective, factor, rows, leaving, gradient):
    """The step by an update of the factor, None where the group carries a direction alone; its largest leverage."""
    W = objective.output_curvatures(rows)
    s, q = objective.sample_weight[rows], objective.n_outputs
    if W.ndim == 3:
        values, vectors = np.linalg.eigh(W)
        V = vectors * np.sqrt(s[:, None] * np.clip(values, 0.0, None))[:, None, :]
    else:
        V = np.eye(q) * np.sqrt(s[:, None] * W)[:, None, :]
    each = np.repeat(np.arange(len(rows)), q)
    JV = objective.pullback(V.transpose(0, 2, 1).reshape(-1, q), leaving.take(each))
    HJV = factor(JV)[0]
    step, _ = newton_step(factor, gradient)
    M = np.eye(JV.shape[1]) - JV.T @ HJV
    values, vectors = np.linalg.eigh(0.5 * (M + M.T))
    if values[0] < SINGULAR:
        return None, 1.0
    return step + HJV @ (vectors @ ((vectors.T @ (JV.T @ step)) / values)), 1.0 - values[0]


def _largest_share(factor, rows, step):
    """About the largest eigenvalue of ``H^-1 H_S``, the most that the rows hold of a direction, from below: by power
    iteration that starts from their own step, in products with these rows alone."""
    leaving = factor.curvature.leaving(rows)
    push, share = leaving.matmat(step[:, None]), 0.0
    for _ in range(_POWERS):
        along = factor.rough(push)
        size = float(np.vdot(along, push))
        push = leaving.matmat(along)
        share = float(np.vdot(along, push)) / size if size > 0 else 0.0
    return share
