"""Damped Newton steps to the minimum of an objective: refining a loose fit and unlearning are the same loop."""

from dataclasses import dataclass

import numpy as np

from .solvers import Direct
from .solvers.steps import error_norms, newton_step

# A factor of an earlier point serves on while each step with it shrinks the decrement by as much.
_CONTRACTION = 20.0
# Below this decrement the curvature of one step earlier is the curvature here, to a relative 1e-7 or better.
_SAME_CURVATURE = 1e-7
# The first of several steps need not be solved closer than Newton's method is there, and the last not closer than this.
_FIRST_STEP = 1e-2
_LAST_STEP = 0.1


@dataclass(frozen=True)
class NewtonInfo:
    """How a minimisation went: ``decrement`` is sqrt(g' H^-1 g) before the last step."""

    converged: bool
    n_iter: int
    decrement: float
    factor: object


def minimise(objective, *, solver=None, factor=None, scale=None, tol=1e-10, max_iter=50):
    """Minimise an objective from its own parameters.

    Parameters
    ----------
    objective : Objective
    solver : solver, optional
        :class:`~sklearn_influence.solvers.Direct` by default; the true curvature in any case.
    factor : callable, optional
        A factored curvature of a nearby objective to begin with; it is replaced where steps with it shrink the
        decrement by less than 20 times.
    scale : callable, optional
        ``scale(objective, factor)``: what the decrement is measured by. By default the distance gone so far, in the
        norm of the curvature.
    tol : float
        Converged when the decrement, with a factor of the current point, is at most ``tol * scale``, or can no longer
        be told from rounding. The last step is then still taken.
    max_iter : int
        Steps at most.

    Returns
    -------
    objective : Objective
        At the last iterate.
    info : NewtonInfo
        Its factor belongs to the returned parameters (to a relative 1e-7), or is None.
    """
    solver = Direct() if solver is None else solver
    start, fresh, previous, decrement = objective.params, False, np.inf, np.inf
    converged, n_iter, made_at = False, 0, np.inf
    last, first = factor, None
    while n_iter < max_iter and not converged:
        gradient = objective.gradient()
        if factor is None:
            factor, fresh = solver.factor(objective.curvature(), preconditioner=last), True
            last = factor
        reference = distance(objective, start) if scale is None else scale(objective, factor)
        precision = None
        if factor.iterative and not objective.loss.quadratic:
            ahead = float(np.sqrt(max(gradient @ factor.rough(gradient[:, None])[:, 0], 0.0)))
            first = ahead if first is None else first
            precision = _step_precision(ahead, first, tol * reference)
        step, decrement = newton_step(factor, gradient, precision)
        made_at = decrement if fresh else made_at
        if not fresh and decrement * _CONTRACTION > previous:
            factor = None
            continue
        # Squared loss: one step with the true curvature is the answer, whatever its size.
        done = decrement <= tol * reference or (fresh and objective.loss.quadratic and n_iter > 0)
        stalled = fresh and decrement > 0.5 * previous and decrement <= rounding_decrement(objective, factor)
        if (done or stalled) and not fresh:
            factor = None
            continue
        objective, length = _backtrack(objective, step, decrement)
        n_iter += 1
        if length == 0.0:
            converged = decrement <= rounding_decrement(objective, factor)
            break
        converged = done or stalled
        previous, fresh = decrement, fresh and objective.loss.quadratic
        if length < 1.0 or (factor.iterative and not fresh):  # far away, or where a new curvature costs nothing
            factor = None
    converged = converged or (fresh and objective.loss.quadratic and n_iter > 0)
    # Chord steps leave the factor behind: what counts is how far off the point was that it was made at.
    if not (made_at <= _SAME_CURVATURE or (objective.loss.quadratic and np.isfinite(made_at))):
        factor = None
    if factor is None and last is not None and last.iterative:  # its preconditioner is worth keeping
        factor = solver.factor(objective.curvature(), preconditioner=last)
    return objective, NewtonInfo(converged, n_iter, float(decrement), factor)


def _step_precision(decrement, first, goal):
    """How closely a step is to be solved for: Newton's own error shrinks with the decrement, and the goal is enough."""
    if decrement <= goal:
        return _LAST_STEP
    return min(_LAST_STEP, max(_FIRST_STEP * decrement / first, 0.3 * goal / decrement))


def distance(objective, start):
    """How far the parameters are from ``start``, in the norm of the curvature here."""
    gone = objective.params - start
    return float(np.sqrt(max(gone @ objective.curvature().matmat(gone[:, None])[:, 0], 0.0)))


def rounding_decrement(objective, factor):
    """The decrement that rounding of the gradient alone can make, in order of magnitude."""
    return error_norms(factor, objective.gradient_rounding())[0]


def _backtrack(objective, step, decrement):
    """The objective after the longest step 1, 1/2, 1/4, ... that lowers F enough, and that length (0: none does)."""
    params, value = objective.params, objective.value()
    # Within rounding of F the decrease cannot be seen, and the full step of a convex problem is right.
    if objective.loss.quadratic or decrement**2 <= 1e-10 * (1.0 + abs(value)):
        return objective.with_(params=params + step), 1.0
    length = 1.0
    while length > 1e-10:
        moved = objective.with_(params=params + length * step)
        after = moved.value()
        if np.isfinite(after) and after <= value - 1e-4 * length * decrement**2:
            return moved, length
        length *= 0.5
    return objective, 0.0
