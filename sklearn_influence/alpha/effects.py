r"""What removing and replacing the rows of a kernel model does to its coefficients, after minus before.

The retained curvature is ``W_R K + rho`` and the step without the rows S, whatever their number,

    delta = (W_R K + rho)^-1 [s u]_S,

at the optimum of all rows: 0 less their own coefficients on S. Of a factored curvature ``1 - h_i = rho N_ii`` without
cancellation (h_i the row's leverage), so that leave-one-out steps come from one inverse, as exact where the model
interpolates as anywhere.

Source: "Extending Kernel Trick to Influence Functions" (Sun et al.), Eq. 10-13; the block inverse is that of
leave-one-out in kernel ridge regression.
"""

import numpy as np

from .._backend import check_memory, on_device, to_numpy
from .._parallel import block_size, blocks, threads
from ..effects import ClasswiseEffects, RowEffects, apply, pulled_effects
from ..effects import row_effects as general_row_effects
from ..groups import GroupEffects, first_order_changes
from ..groups import group_effects as general_group_effects
from ..leave_one_out import SteppedEffects, leverage_along
from .mixing import product

# A group of at most this share of the rows is taken out of the factor; the retained rows of a larger one are factored.
_SMALL_GROUP = 1 / 6


def row_effects(objective, factor, rows, method):
    """Effects of removing each of the rows on its own.

    Parameters and returns are those of :func:`sklearn_influence.effects.row_effects`.

    Notes
    -----
    Cost of "newton" where the curvature is factored: its inverse, n**3 operations (of n q unknowns where outputs mix),
    for any number of rows; by conjugate gradients a solve for each output of each row.
    """
    if method == "second_order":
        _check_second_order(objective)
    factor = factor.for_columns(len(rows), inverse=method == "newton")
    if objective.mean:
        return _mean_effects(objective, factor, rows, method)
    if objective.weighting.balanced or method == "second_order":
        return general_row_effects(objective, factor, rows, method)
    common, mix = objective.moved_by_leaving(factor, rows)
    left = factor.left_over(rows) if method == "newton" else None
    if left is None and method == "newton" and factor.curvature.coupled:
        return _left_out_effects(objective, factor, rows)
    if left is None:
        return _pulled(objective, factor, rows, method, common, mix)
    pull, alone = _pulls(objective, factor, rows, left, common, mix)
    largest = 1.0 - (left.min(axis=1) if left.ndim == 2 else np.linalg.eigvals(left).real.min(axis=1))
    effects = RowEffects(objective, factor, rows, pull, common, mix, largest=largest)
    if alone.any():  # rows that V does not reach: theirs by their leverage
        effects.pull[alone] = _pulled(objective, factor, rows[alone], method, common, mix[alone]).pull
    return effects


def _left_out_effects(objective, factor, rows):
    """Effects of rows that leave one at a time, by a solve each, where leverages of mixed outputs would take more."""
    check_memory(
        40 * objective.n_params * len(rows),
        f"Changes of {objective.n_params:,} coefficients without each of {len(rows):,} rows",
        "Ask for fewer indices, or use method='first_order'.",
    )
    pull = objective.sample_weight[rows, None] * objective.output_gradients(rows)
    pullers = objective.design.take(rows)
    delta = factor.left_out(rows, objective.pullback(pull, pullers))
    own = np.empty(pull.shape)
    for part in blocks(len(rows), block_size(8 * objective.n_outputs, share=1 / 16, largest=64)):
        own[part] = np.einsum("kqk->kq", objective.outputs_change(delta[:, part], pullers.take(part)))
    return SteppedEffects(objective, delta, rows, own, leverage_along(objective, rows, pull, own))


def group_effects(objective, factor, groups, method, n_jobs=None):
    """Effects of removing each group of rows together.

    Parameters and returns are those of :func:`sklearn_influence.groups.group_effects`.

    Notes
    -----
    Cost of "newton": for a group of m rows, at most a sixth of all, n m**2 once the inverse is known; for a larger one
    a factor of the rows that stay.
    """
    if method == "second_order":
        _check_second_order(objective)
        return general_group_effects(objective, factor, groups, method)
    check_memory(
        8 * objective.n_params * len(groups), f"Changes of {len(groups):,} groups", "Ask for fewer groups at a time."
    )
    if method != "newton":
        every = row_effects(objective, factor, np.arange(objective.n_rows), method)
        return GroupEffects(objective, first_order_changes(every, groups))
    delta, left = np.empty((len(groups), objective.n_params)).T, np.zeros(len(groups))
    factor = factor.for_columns(len(groups))

    def one(g):
        delta[:, g], left[g] = _group_step(objective, factor, groups[g])

    threads(one, range(len(groups)), n_jobs)
    return GroupEffects(objective, delta, left)


def _group_step(objective, factor, rows):
    """The step (p,) without a group, and the share of its way to the optimum that it leaves."""
    simple = not (objective.weighting.balanced or objective.mean or objective.centred or factor.iterative)
    simple = simple and (not objective.loss.quadratic or objective.inverse_holds())
    if not simple or len(rows) > _SMALL_GROUP * objective.n_rows:
        return _refactored_step(objective, factor, rows)
    if objective.loss.quadratic:  # from the coefficients themselves: a small strength would cancel in what follows
        left = factor.coefficients_without(rows, objective.coefficients)
        return (left - objective.coefficients).ravel(), 0.0
    b = np.zeros((objective.n_rows, objective.n_outputs))
    b[rows] = objective.pulls(rows)
    b = b.ravel()
    step = factor.without(rows, b[:, None])[:, 0]
    kept = objective.with_(sample_weight=objective.weighting.effective(removed=rows), params=objective.params + step)
    return step, _share_left(kept, lambda b: factor.without(rows, b), float(kept.inner(step, b)))


def _refactored_step(objective, factor, rows):
    """The same by the retained rows' own system."""
    kept = np.delete(np.arange(objective.n_rows), rows)
    start = objective.take(kept)
    there = start.at(start.coefficients, objective.outputs()[kept])
    W = there.output_curvatures()
    W = there.sample_weight.reshape(-1, *[1] * (W.ndim - 1)) * W
    # What the others added to the outputs, by a product with all of K: its rows that stay would be a second matrix.
    others = np.zeros(objective.coefficients.shape)
    others[rows] = objective.coefficients[rows]
    beyond = to_numpy(product(objective.gram.matrix, on_device(others[:, :, None], objective.gram.device)))[kept, :, 0]
    pull = apply(W, beyond + objective.offset - start.offset)
    b = start.joined(pull, np.zeros(objective.n_outputs)) - there.gradient()
    own = factor.solver.factor(there.curvature()).for_columns(1)
    inside = own(b[:, None])[0][:, 0]
    step = np.zeros((objective.n_rows, objective.n_outputs))
    step[rows], step[kept] = -objective.coefficients[rows], inside[: start.coefficients.size].reshape(len(kept), -1)
    whole = objective.joined(step, start.offset - objective.offset)
    if objective.loss.quadratic:
        return whole, 0.0
    before = objective.with_(sample_weight=objective.weighting.effective(removed=rows))
    moved = start.with_(params=start.params + inside)
    return whole, _share_left(moved, own.roughly().rough, -before.inner(whole, before.gradient()))


def _share_left(moved, solve, length):
    """The Newton decrement after a step over the one before it, whose square is ``length``."""
    gradient = moved.gradient()
    ahead = solve(gradient[:, None])[:, 0]
    return float(np.sqrt(max(moved.inner(ahead, gradient), 0.0) / length)) if length > 0 else 0.0


def _check_second_order(objective):
    if not (objective.mean or objective.centred):
        return
    what = (
        "penalty_scale='mean', whose penalty follows the rows"
        if objective.mean
        else ("normalize_y=True, whose mean target follows the rows")
    )
    raise ValueError(
        f"method='second_order' and {what}, do not go together: it is an expansion in the weights of the losses. Use "
        "method='newton'."
    )


def _pulled(objective, factor, rows, method, common, mix, pull=None, weight=None):
    """:func:`sklearn_influence.effects.pulled_effects`, with rows that hold a direction alone by a factor of the rest,
    in which the offset and the strength of the penalty are those without them."""
    pull = objective.pulls(rows) if pull is None else pull
    effects = pulled_effects(objective, factor, rows, method, common, mix, pull, weight)
    for column in effects.direct:
        effects.direct[column], _ = _refactored_step(objective, factor, rows[column : column + 1])
    return effects


def _mean_effects(objective, factor, rows, method):
    """Effects under a penalty on the mean loss, whose strength shrinks with every row: by the mean weight in the
    factor, which is exact for equal ones, and by each row's own in the step. Balanced class weights move with it, as in
    :func:`sklearn_influence.effects.row_effects`."""
    weighting, balanced, newton = objective.weighting, objective.weighting.balanced, method == "newton"
    pull = objective.pulls(rows)
    classes = [None]
    if balanced:
        codes, ratios = weighting.codes[rows], weighting.class_ratios(rows)
        pull = ratios[np.arange(len(rows)), codes][:, None] * pull
        classes = np.unique(codes) if newton else classes
    shrunk, parts = objective.strength * (1.0 - 1.0 / objective.n_rows), []
    for c in classes:
        columns = np.arange(len(rows)) if c is None else np.flatnonzero(codes == c)
        weighed = objective if c is None else objective.with_(sample_weight=weighting.without_typical(c))
        own = factor.solver.factor(weighed.curvature().at(shrunk)) if newton else factor
        common, mix = objective.moved_by_leaving(own, rows[columns])
        if balanced:
            common = np.hstack([common, own(objective.class_gradients())[0]])
            mix = np.hstack([mix, 1.0 - ratios[columns]])
        some = rows[columns]
        weight = weighed.sample_weight[some]
        parts.append((columns, _pulled(objective, own, some, method, common, mix, pull[columns], weight)))
    return parts[0][1] if len(parts) == 1 else ClasswiseEffects(objective, rows, parts)


def _pulls(objective, factor, rows, left, common, mix):
    """Pulls (k, q) of rows by the factor of all, from ``rho N_ii``; and which rows it does not hold for (k,)."""
    pull = objective.pulls(rows)
    if left.ndim == 2:
        shifts = common[: objective.coefficients.size].reshape(objective.n_rows, objective.n_outputs, -1)[rows]
        return (pull - objective.strength * apply(shifts, mix)) / left, np.zeros(len(rows), dtype=bool)
    roots = objective.curvature().roots.take(rows)
    zeta, rest = roots.split(pull)
    # What V does not reach of a gradient is rounding, unless the row is one that the model does not believe.
    alone = np.abs(rest).max(axis=1) > 1e-14 * np.abs(pull).max(axis=1)
    solved = np.linalg.solve(left, zeta[:, :, None])[:, :, 0]
    return roots.times(solved), alone
