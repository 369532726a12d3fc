r"""What is asked of a network, in the words of :mod:`sklearn_influence.parameter_space`: influences around its own
minimum, and no edits.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import parameter_space
from .._backend import check_memory
from .._parallel import threads
from ..groups import GroupEffects
from ..linearised import SpannedObjective
from ..networks import corner_of, nearby_minimum
from ..newton import NewtonInfo, rounding_decrement
from ..solvers.info import listening
from ..solvers.steps import newton_step

from_anywhere = False
replacement_effects, stationarity = parameter_space.replacement_effects, parameter_space.stationarity

# The Newton decrement at a minimum, in units of a typical row's influence, at most; as a rule it is 1e-8. Above, what a
# retraining does has little to do with its rows (correlations of .15 have been seen at .0015).
TOL = 1e-3
# Steps with the curvature of the first of them, after Newton's own.
_POLISHING = 10
# A step that is so much longer than by the curvature with all rows leans on directions which the rows that stay hardly
# curve: of networks these are no more to be believed than those that bend down.
_LONGER = 2.0
# Where refinement moves the outputs by this share of their spread, it is another network.
_FAR = 0.1


def minimum(objective, corner=None):
    """A network's objective at the minimum near its parameters, with the exact curvature; and how it was reached.

    Parameters
    ----------
    objective : NetworkObjective
    corner : float, optional
        How far relu's corner is rounded; by default :func:`~sklearn_influence.networks.corner_of` of its own rows.

    Returns
    -------
    NetworkObjective, Refined
    """
    corner = corner_of(objective.network, objective.design.X) if corner is None else corner
    rounded = objective.rounded(corner) if corner else objective
    found = nearby_minimum(rounded.risk())
    return rounded.with_(params=found.params).as_exact(), found


def minimise_anew(objective, *, solver, scale, **_):
    """The minimum near a network's parameters, with the factored curvature there.

    Raises
    ------
    ValueError
        Where no minimum is found within the budget, with how far off that is.

    Warns
    -----
    ConvergenceWarning
        Where the outputs have moved by more than a tenth of their spread on the way.
    """
    primal = objective.primal()
    there, found = minimum(primal)
    if objective is primal:
        there, factor, decrement = _polished(there, solver)
        optimum = there
    else:
        optimum, factor, decrement = _in_the_span(there, solver)
    moved, spread = _moved(primal, there)
    typical = scale(optimum, factor)
    if decrement > TOL * typical and decrement > rounding_decrement(optimum, factor):
        relative = decrement / typical if typical else np.inf
        raise ValueError(
            f"The search for a minimum near the network's weights gave up: after {found.n_products:,} products with "
            f"the second derivative the gradient's norm is {np.linalg.norm(there.gradient()):.2g}, the Newton "
            f"decrement {relative:.2g} times a typical row's influence (threshold {TOL:g}), and the outputs have "
            f"moved by {moved:.3g} (their spread is {spread:.3g}). Take fewer units, activation='tanh', solver='lbfgs' "
            "or a larger alpha; or refine=False with method='first_order', for influences at the weights as they are."
        )
    if moved > _FAR * spread:
        warnings.warn(
            f"The fit stopped far from a minimum: at the nearest one the outputs differ from the network's by "
            f"{moved:.3g} (root mean square; their spread is {spread:.3g}, threshold {_FAR:.0%} of it). Influences are "
            "those of that other network. Fit with solver='lbfgs', a smaller tol and more max_iter, or take a larger "
            "alpha; refine=False takes them at the weights as they are.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return optimum, NewtonInfo(True, max(found.n_products, 1), decrement, factor, None)


def _in_the_span(there, solver):
    """The objective linearised there, in the span of its rows, its factor, and the decrement by it: no matrix of all
    parameters is made."""
    spanned = SpannedObjective(there.as_exact(False))
    factor, gradient = solver.factor(spanned.curvature()), there.gradient()
    ahead = spanned.solve_params(factor, gradient[:, None])[:, 0]
    return spanned, factor, float(np.sqrt(max(gradient @ ahead, 0.0)))


def _polished(there, solver):
    """The objective after a few steps more by one factored curvature, that factor, and the decrement there."""
    factor = solver.factor(there.curvature())
    step, decrement = newton_step(factor, there.gradient())
    for _ in range(_POLISHING):
        moved = there.with_(params=there.params + step)
        step, next_decrement = newton_step(factor, moved.gradient())
        if not next_decrement < 0.5 * decrement:
            break
        there, decrement = moved, next_decrement
    return there, factor, decrement


def _moved(before, after):
    """Root mean square change of the outputs, and their spread about each output's mean, over rows of weight."""
    rows = before.sample_weight > 0
    f, change = before.outputs()[rows], (after.outputs() - before.outputs())[rows]
    if before.loss.shift_invariant:
        f, change = f - f.mean(axis=1, keepdims=True), change - change.mean(axis=1, keepdims=True)
    return float(np.sqrt(np.mean(change**2))), float(np.sqrt(np.mean((f - f.mean(axis=0)) ** 2)))


def row_effects(objective, factor, rows, method):
    """As :func:`sklearn_influence.effects.row_effects`: a row takes ``s_i J_i' W_i J_i`` out of the exact curvature.

    Its bending stays, so that a group of that row alone is another step. Of rows without which the curvature is not
    positive, the first-order effect.
    """
    effects = parameter_space.row_effects(objective, factor, rows, method)
    if method == "newton" and getattr(objective, "exact", False):
        for column in getattr(effects, "direct", ()):
            effects.direct[column], _ = _step(objective, factor, rows[column : column + 1])
    return effects


def group_effects(objective, factor, groups, method, n_jobs=None):
    """Effects of removing groups: one Newton step each with the exact curvature of the rows that stay.

    Without a large group that need not be positive. The step is then the first-order one, with the curvature of all
    rows; what it leaves to go says how rough it is.
    """
    if method != "newton" or not getattr(objective, "exact", False):
        return parameter_space.group_effects(objective, factor, groups, method, n_jobs)
    p, k = objective.n_params, len(groups)
    check_memory(8 * p * (k + 3 * p), f"Parameter changes of {k:,} groups", "Ask for fewer groups at a time.")
    delta, left = np.empty((k, p)).T, np.zeros(k)

    def one(g):
        delta[:, g], left[g] = _step(objective, factor, groups[g])

    threads(one, range(k), n_jobs)
    return GroupEffects(objective, delta, left)


def _step(objective, factor, rows):
    """The step (p,) when rows leave together, and the share of the way that it leaves to go."""
    kept = objective.with_(sample_weight=objective.weighting.effective(removed=rows))
    gradient = kept.gradient()
    step, plain = newton_step(factor, gradient)
    with listening():  # a curvature that is not positive is answered here
        own = factor.solver.factor(kept.curvature(), preconditioner=factor)
        solved, info = own(-gradient[:, None])
    length = np.sqrt(max(-(gradient @ solved[:, 0]), 0.0))
    if info.converged and own.nullity <= factor.nullity and length <= _LONGER * plain:
        step = solved[:, 0]
    if not plain:
        return step, 0.0
    _, left = newton_step(factor, kept.with_(params=objective.params + step).gradient())
    return step, float(left / plain)


def edited_minimum(*args, **kwargs):
    raise ValueError(
        "unlearn, update and extend are not available for networks: a network that is fitted again without some rows "
        "is another network, at another of its many minima. Fit a LinearisedClassifier or LinearisedRegressor, which "
        "forget rows exactly; or ask influence_on_output, influence_on_loss or influence_on_params."
    )
