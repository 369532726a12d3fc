r"""The second-order expansion of what removals do to the parameters.

Weights go from the old to the new along a straight path, ``s + e (s_new - s)``, and the optimum with them:
``grad F(theta(e)) = 0``. With H and T the second and third derivative of F at the old parameters and weights, and
``g = -sum_i ds_i J_i' u_i``, ``H_S = -sum_i ds_i J_i' W_i J_i`` (for removed rows ds_i is -s_i),

    theta' = t = H^-1 g,    theta'' = H^-1 (2 H_S t - T[t, t]),    change = t + H^-1 (H_S t - T[t, t] / 2).

Source: Basu, You and Feizi (2020), "On second-order group influence functions for black-box predictions", who expand a
mean of losses whose normalisation moves with the group; these are sums, and both terms of theta'' are kept.
"""

import numpy as np

from ._backend import check_memory
from ._parallel import block_size, blocks
from .leave_one_out import SteppedEffects


def second_order_changes(objective, factor, groups):
    """Parameter changes of removing each group of rows together, to second order.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    factor : callable
        Its factored curvature.
    groups : list of ndarray
        Positions of the rows of each group.

    Returns
    -------
    ndarray of shape (p, k)

    Notes
    -----
    Balanced class weights go to those without the group along the same path, in every term. Cost: two solves a group,
    and two passes over all rows for its third derivative, which least squares has not.
    """
    p = objective.n_params
    check_memory(
        8 * p * len(groups),
        f"Parameter changes of {len(groups):,} removals",
        "Ask for fewer of them, or use method='first_order'.",
    )
    delta = np.empty((len(groups), p)).T
    balanced = objective.weighting.balanced
    terms, weights = (_moved_weights, objective.n_rows) if balanced else (_removed_rows, 0)
    for part in blocks(len(groups), block_size(64 * p + 16 * weights)):
        first, bend = terms(objective, factor, groups[part])
        if not objective.loss.quadratic:
            bend -= 0.5 * objective.third_derivative(first)
        delta[:, part] = first + factor(bend)[0]
    return delta


def _removed_rows(objective, factor, groups):
    """``t`` and ``H_S t`` (p, k) of rows whose own weights alone go to 0."""
    gradients = np.empty((objective.n_params, len(groups)))
    for g, rows in enumerate(groups):
        pull = objective.sample_weight[rows][:, None] * objective.output_gradients(rows)
        gradients[:, g] = objective.pullback_sum(pull, objective.design.take(rows))
    first = factor(gradients)[0]
    bend = np.empty_like(first)
    for g, rows in enumerate(groups):
        bend[:, g] = factor.curvature.leaving(rows).matmat(first[:, g : g + 1])[:, 0]
    return first, bend


def _moved_weights(objective, factor, groups):
    """``t`` and ``H_S t`` (p, k) where balanced weights move those of every row."""
    kept = [objective.with_(sample_weight=objective.weighting.effective(removed=rows)) for rows in groups]
    before = objective.gradient()
    gradients = np.stack([before - one.gradient() for one in kept], axis=1)
    first = factor(gradients)[0]
    bend = objective.curvature().matmat(first)
    for g, one in enumerate(kept):
        bend[:, g] -= one.curvature().matmat(first[:, g : g + 1])[:, 0]
    return first, bend


def second_order_rows(objective, factor, rows):
    """Effects of removing rows one at a time, to second order: groups of one, held whole.

    Parameters
    ----------
    objective, factor
        As in :func:`second_order_changes`.
    rows : ndarray of shape (k,)

    Returns
    -------
    SteppedEffects
    """
    delta = second_order_changes(objective, factor, [rows[i : i + 1] for i in range(len(rows))])
    own = np.empty((len(rows), objective.n_outputs))
    for part in blocks(len(rows), block_size(8 * objective.n_outputs, share=1 / 16, largest=64)):
        change = objective.outputs_change(delta[:, part], objective.design.take(rows[part]))
        own[part] = np.einsum("kqk->kq", change)
    return SteppedEffects(objective, delta, rows, own, np.zeros(len(rows)))
