"""Damped Newton steps to the minimum of an objective: refining a loose fit and unlearning are the same loop."""

from dataclasses import dataclass

import numpy as np

from .solvers import ConjugateGradient, Direct
from .solvers.choice import cost_in_passes
from .solvers.steps import error_norms, is_penalised, newton_step

# Curvatures within this factor, in logs, of one another: a step by the one lowers the objective of the other, and the
# decrement by the one says what that by the other would.
NEAR = 0.5
# A factor of an earlier point serves on while so few more steps with it are enough, or as many as a new one costs.
_PATIENCE = 2
# Curvatures this near, in logs, are the same one.
SAME = 1e-10
# Within so many times the goal, rounding may keep the decrement from it.
_FLOOR = 1e3
# The first of several steps need not be solved closer than Newton's method is there, and the last not closer than this.
_FIRST_STEP = 1e-2
_LAST_STEP = 0.1
# A factor that costs more passes over the rows than this is not made at every step.
MANY_PASSES = 60


@dataclass(frozen=True)
class Nearby:
    """A factored curvature of an objective's own rows and weights, at other parameters or nearly so.

    Parameters
    ----------
    factor : callable
    outputs : ndarray of shape (n, q)
        The outputs at the parameters it was made at.
    offset : float
        How far, in logs, it is from the curvature there.
    """

    factor: object
    outputs: np.ndarray
    offset: float = 0.0

    def ratio(self, objective):
        """The logarithm of what the objective's curvature can differ by, up or down."""
        if objective.loss.quadratic:
            return self.offset
        return self.offset + objective.loss.curvature_ratio(objective.outputs() - self.outputs)


@dataclass(frozen=True)
class NewtonInfo:
    """How a minimisation went: ``decrement`` is sqrt(g' H^-1 g) before the last step.

    ``factor`` belongs to the returned parameters, or is None; ``nearby`` is the last factor there was, with where it
    was made, or None; ``rounding`` what that of the gradient can make of the step (:func:`error_norms`), if looked at.
    """

    converged: bool
    n_iter: int
    decrement: float
    factor: object
    nearby: Nearby | None
    rounding: tuple | None = None


def minimise(objective, *, solver=None, nearby=None, scale=None, tol=1e-10, max_iter=50):
    """Minimise an objective from its own parameters.

    Parameters
    ----------
    objective : Objective
    solver : solver, optional
        :class:`~sklearn_influence.solvers.Direct` by default; the true curvature in any case.
    nearby : Nearby, optional
        A factored curvature to begin with; it is replaced where a new one would save more than it costs.
    scale : callable, optional
        ``scale(objective, factor)``: what the decrement is measured by. By default the longest step so far, in the norm
        of the curvature.
    tol : float
        Converged when the decrement is at most ``tol * scale``, or can no longer be told from rounding. The last step
        is then still taken.
    max_iter : int
        Steps at most.

    Returns
    -------
    objective : Objective
        At the last iterate.
    info : NewtonInfo
    """
    solver = Direct() if solver is None else solver
    fresh, previous, decrement = False, np.inf, np.inf
    converged, n_iter, longest = False, 0, 0.0
    last = factor = None if nearby is None else nearby.factor
    first = rounding = made_by = None
    while n_iter < max_iter and not converged:
        gradient = objective.gradient()
        if factor is None:
            factor, fresh = solver.factor(objective.curvature(), preconditioner=last), True
            last, nearby = factor, Nearby(factor, objective.outputs())
        off = 0.0 if fresh else nearby.ratio(objective)
        reference = longest if scale is None else scale(objective, factor)
        options = {}
        if factor.iterative and not objective.loss.quadratic:
            rough = factor.rough(gradient[:, None])
            ahead = float(np.sqrt(max(gradient @ rough[:, 0], 0.0)))
            first = ahead if first is None else first
            options = dict(rough=rough, tol=_step_precision(ahead, first, tol * reference))
        step, decrement = newton_step(factor, gradient, **options)
        near, goal = off <= NEAR, tol * reference * np.exp(-0.5 * min(off, NEAR))
        # Squared loss: one step with the true curvature is the answer, whatever its size.
        done = decrement <= goal or (off == 0.0 and objective.loss.quadratic and n_iter > 0)
        # Iterative solves for the floor would cost more than the step that it may save.
        floor = decrement <= _FLOOR * goal and not factor.iterative
        stuck = near and not done and (decrement > 0.5 * previous or floor)
        if stuck and made_by is not factor:
            rounding, made_by = error_norms(factor, objective.gradient_rounding()), factor
        settled = done or (stuck and decrement <= rounding[0])
        if not fresh and not (settled and near) and (settled or _is_slow(objective, decrement, previous, goal)):
            factor = None
            continue
        objective, length = _backtrack(objective, step, decrement, near)
        n_iter += 1
        if length == 0.0:
            converged = decrement <= rounding_decrement(objective, factor)
            break
        converged, longest = settled, max(longest, length * decrement)
        previous, fresh = decrement, fresh and objective.loss.quadratic
        if length < 1.0 or (factor.iterative and not objective.loss.quadratic):
            factor = None  # far away, or where a new curvature costs nothing
    off = np.inf if nearby is None else nearby.ratio(objective)
    converged = converged or (off == 0.0 and objective.loss.quadratic and n_iter > 0)
    factor = nearby.factor if off <= SAME else None
    if factor is None and last is not None and last.iterative:  # its preconditioner is worth keeping
        factor = solver.factor(objective.curvature(), preconditioner=last)
        nearby = Nearby(factor, objective.outputs())
    rounding = rounding if nearby is not None and made_by is nearby.factor else None
    return objective, NewtonInfo(bool(converged), n_iter, float(decrement), factor, nearby, rounding)


def minimise_anew(objective, *, solver, **limits):
    """As :func:`minimise` where no factor is at hand: by conjugate gradients where one would cost more than they do."""
    costly = not objective.loss.quadratic and is_penalised(objective) and cost_in_passes(objective) > MANY_PASSES
    if costly:
        iterative = solver if isinstance(solver, ConjugateGradient) else ConjugateGradient()
        found, info = minimise(objective, solver=iterative, **limits)
        if info.converged or iterative is solver:
            return found, info
    return minimise(objective, solver=solver, **limits)


def _is_slow(objective, decrement, previous, goal):
    """Whether a new factor reaches the goal with less work than further steps with the old one."""
    if not np.isfinite(previous):
        return False
    if decrement >= previous or goal <= 0:
        return True
    steps = np.log(max(decrement / goal, 1.0)) / np.log(previous / decrement)
    return steps > max(_PATIENCE, cost_in_passes(objective))


def _step_precision(decrement, first, goal):
    """How closely a step is to be solved for: Newton's own error shrinks with the decrement, and the goal is enough."""
    if decrement <= goal:
        return _LAST_STEP
    return min(_LAST_STEP, max(_FIRST_STEP * decrement / first, 0.3 * goal / decrement))


def rounding_decrement(objective, factor):
    """The decrement that rounding of the gradient alone can make, in order of magnitude."""
    return error_norms(factor, objective.gradient_rounding())[0]


def _backtrack(objective, step, decrement, near):
    """The objective after the longest step 1, 1/2, 1/4, ... that lowers F enough, and that length (0: none does)."""
    moved = objective.with_(params=objective.params + step)
    if objective.loss.quadratic:
        return moved, 1.0
    moved.gradient()  # needed next, and its pass over the rows leaves the outputs
    # Where no row's curvature changes much along the step, a Newton step lowers F.
    if near and objective.loss.curvature_ratio(moved.outputs() - objective.outputs()) <= NEAR:
        return moved, 1.0
    value, length = objective.value(), 1.0
    # Within rounding of F the decrease cannot be seen, and the full step of a convex problem is right.
    if decrement**2 <= 1e-10 * (1.0 + abs(value)):
        return moved, 1.0
    while length > 1e-10:
        after = moved.value()
        if np.isfinite(after) and after <= value - 1e-4 * length * decrement**2:
            return moved, length
        length *= 0.5
        moved = objective.with_(params=objective.params + length * step)
    return objective, 0.0
