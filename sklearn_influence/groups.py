"""What removing groups of rows does to the parameters, after minus before."""

from dataclasses import dataclass

import numpy as np
from joblib import effective_n_jobs

from ._backend import check_memory
from ._parallel import block_size, blocks, threads
from .effects import HIGH_LEVERAGE, row_effects
from .leave_one_out import HeldEffects
from .retained import cheapest_way, step_without
from .second_order import second_order_changes
from .solvers.steps import newton_step


@dataclass
class GroupEffects(HeldEffects):
    """Parameter changes of removing groups, held whole.

    ``left`` (k,) is the share of its way to the retrained optimum that each group's step leaves, where looked at.
    """

    left: np.ndarray | None = None


def group_effects(objective, factor, groups, method, n_jobs=None):
    """Effects of removing each group of rows together.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    factor : callable
        Its factored curvature.
    groups : list of ndarray
        Positions of the rows of each group.
    method : {"newton", "second_order", "first_order"}
        One Newton step on the retained rows; the second-order expansion in the weights of the rows; or the sum of the
        rows' first-order effects.
    n_jobs : int, optional
        Threads over groups, of "newton".

    Returns
    -------
    GroupEffects

    Raises
    ------
    ValueError
        Where the changes, or what the threads need, do not fit the machine's memory.
    """
    p, k = objective.n_params, len(groups)
    # The changes are there once; the other methods hold a block of them more.
    check_memory(8 * p * k, f"Parameter changes of {k:,} groups", "Ask for fewer groups at a time.")
    if method == "first_order":
        every = row_effects(objective, factor, np.arange(objective.n_rows), "first_order")
        return GroupEffects(objective, first_order_changes(every, groups))
    if method == "second_order":
        return GroupEffects(objective, second_order_changes(objective, factor, groups))
    _check_threads(objective, factor, groups, n_jobs)
    delta, left = np.empty((k, p)).T, np.zeros(k)

    def one(g):
        delta[:, g], left[g] = _group_step(objective, factor, groups[g])

    threads(one, range(k), n_jobs)
    return GroupEffects(objective, delta, left)


def _check_threads(objective, factor, groups, n_jobs):
    """Refuse more threads than have memory for a dense curvature each, where any needs one."""
    if factor.iterative:
        return
    smallest, largest = min(map(len, groups)), max(map(len, groups))
    ways = {cheapest_way(objective, factor, size) for size in (smallest, largest)}
    if ways == {"update"} and not objective.weighting.balanced:
        return
    workers = min(effective_n_jobs(n_jobs), len(groups))
    size = sum(block.size**2 for block in factor.blocks)
    check_memory(
        8 * size * (1 + 3 * workers),  # each subtracts, scales and factors matrices of its own
        f"The curvatures of the rows that stay, of {objective.n_params:,} parameters on {workers} threads,",
        "Use a smaller n_jobs, or solver='cg', which holds none.",
    )


def _group_step(objective, factor, rows):
    """The step of a group, and the share of the way that one step leaves to go (0 where it cannot be much)."""
    step, kept, factor, length, leverage = step_without(objective, factor, rows)
    if objective.loss.quadratic or leverage <= HIGH_LEVERAGE or not length:
        return step, 0.0
    _, left = newton_step(factor, kept.with_(params=objective.params + step).gradient())
    return step, float(left / length)


def first_order_changes(every, groups):
    """Sums of the first-order effects of all rows over those of each group, (p, k)."""
    objective = every.objective
    delta = np.empty((len(groups), objective.n_params)).T
    for part in blocks(len(groups), block_size(40 * objective.n_params)):
        gradients, common = np.empty((2, objective.n_params, len(groups[part])))
        for g, rows in enumerate(groups[part]):
            gradients[:, g] = objective.pullback_sum(every.pull[rows], objective.design.take(rows))
            common[:, g] = every.common @ every.mix[rows].sum(axis=0)
        delta[:, part] = every.factor(gradients)[0] + common
    return delta
