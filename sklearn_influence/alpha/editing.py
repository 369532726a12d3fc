r"""The minimum of a kernel model's objective: after a fit, after an edit of its rows, and how near it is.

The objective is curved by rho at least in the space of functions, whatever the kernel, so that every bound on the
distance from its minimum holds without a look at the kernel's eigenvalues.
"""

import time
from dataclasses import dataclass

import numpy as np
from sklearn.utils import Bunch

from ..effects import apply, spread
from ..newton import Nearby
from ..solvers import Direct
from .curvature import KernelCurvature, KernelFactor
from .newton import minimise
from .system import DirectSystem, IterativeSystem

# Up to this share of the rows is taken out of the inverse that is at hand; the rows that stay are factored otherwise.
_DOWNDATED = 1 / 6
# Rows that the scale of a typical one is estimated from.
_SCALE_ROWS = 64
# Up to so many unknowns a solve for each output of all these costs next to nothing.
_FACTORED = 2000
# Below this r nu the bound of a log loss is that of a quadratic to 5 %, whatever the decrement is taken from.
_TIGHT = 0.1
# Within so many times its rounding, as that is estimated, a gradient is none.
_SETTLED = 4


@dataclass(frozen=True)
class MinimumInfo:
    """How a minimisation went: as :class:`~sklearn_influence.newton.NewtonInfo` says it."""

    converged: bool
    n_iter: int
    decrement: float
    factor: object
    nearby: Nearby | None = None


def minimise_anew(objective, *, solver, scale=None, tol=1e-10, max_iter=100):
    """Minimise a kernel objective from its own coefficients, on the device that its kernel matrix lies on.

    Parameters
    ----------
    objective : KernelObjective
    solver : Direct or ConjugateGradient
        What the systems of the steps are solved by; Direct stands for the cheaper of the two on the way.
    scale : callable, optional
        ``scale(objective, factor)``: no decrement is looked for below ``tol`` times it. By default those of the steps.
    tol : float
    max_iter : int
        Steps at most.

    Returns
    -------
    objective : KernelObjective
    info : MinimumInfo
    """
    way = None if isinstance(solver, Direct) else "cg"
    whole, infos, systems = objective, [], {}
    coefficients, outputs = np.empty((2, objective.n_rows, objective.n_outputs))
    start = np.broadcast_to(objective.gram.start() + objective.offset, coefficients.shape)
    K, strength = objective.gram.matrix, objective.strength
    limits = dict(tol=tol, max_iter=max_iter, solver=way)
    for rho in dict.fromkeys(strength.tolist()):
        own = np.flatnonzero(strength == rho)
        y = objective.y[:, own] if objective.loss.quadratic else objective.y
        coefficients[:, own], outputs[:, own], info = minimise(
            K,
            y,
            objective.loss,
            objective.sample_weight,
            rho,
            alpha=objective.coefficients[:, own],
            outputs=objective._outputs_before,
            offset=start[:, own],
            n_outputs=len(own),
            **limits,
        )
        infos.append(info)
        systems[rho] = info.system
    found = whole.at(coefficients, outputs)
    factor, kind = None, DirectSystem if isinstance(solver, Direct) else IterativeSystem
    if objective.loss.quadratic and all(isinstance(system, kind) for system in systems.values()):
        factor = KernelFactor(found.curvature(), solver, list(systems.values()))
    return found, MinimumInfo(
        all(info.converged for info in infos),
        max(info.n_iter for info in infos),
        max(info.decrement for info in infos),
        factor,
    )


def stationarity(objective, factor):
    """How far coefficients are from a minimum: the gradient's norm as a function's, the Newton decrement, and that over
    the median row's influence."""
    gradient = objective.gradient()
    few = objective.n_params <= _FACTORED
    n_rows = _SCALE_ROWS if few else max(_SCALE_ROWS // objective.n_outputs, 8)
    factor = factor.for_columns(1 + n_rows * objective.n_outputs)
    ahead = factor(gradient[:, None])[0][:, 0]
    decrement = float(np.sqrt(max(objective.inner(ahead, gradient), 0.0)))
    rows = spread(np.flatnonzero(objective.sample_weight > 0), n_rows)
    u = objective.output_gradients(rows)
    squares = (u * apply(objective.leverage(factor.roughly(), rows), u)).sum(axis=1)
    scale = float(np.median(objective.sample_weight[rows] * np.sqrt(np.maximum(squares, 0.0)))) if len(rows) else 0.0
    relative = 0.0
    if decrement > _rounding(objective)[1]:
        relative = decrement / scale if scale > 0 else np.inf
    return Bunch(
        gradient_norm=float(np.sqrt(max(objective.inner(gradient, gradient), 0.0))),
        newton_decrement=decrement,
        relative=float(relative),
    )


def _rounding(objective):
    """What rounding of the gradient's coefficients can amount to: their length, and as a decrement."""
    error = objective.gradient_rounding()
    roots = objective.gram_roots()
    # Signs are random: squares add up, not sizes.
    decrement = np.sqrt(((error * roots) ** 2).sum() / objective.strength.min())
    return float(np.linalg.norm(error)), float(decrement)


def _is_rounding(b, error):
    """Whether coefficients of a gradient are as small as their rounding makes them."""
    return float(np.linalg.norm(b)) <= _SETTLED * error


def edited_minimum(edited, edit, before=None, *, tol, max_iter, as_written, solver, within=np.inf):
    """Minimise a kernel objective of edited rows, and certify the result.

    Parameters and returns are those of :func:`sklearn_influence.editing.edited_minimum`.

    Notes
    -----
    Squared loss: rows that leave are taken out of the inverse where that is at hand, for n operations a row and
    coefficient; otherwise the edited rows' system is factored, as a refit does. Log losses: Newton's method from the
    old coefficients.
    """
    started = time.perf_counter()
    factor = None if before is None else _downdated(*before, edited, edit)
    if factor is not None:
        coefficients = before[1].coefficients_without(edit.leaving, before[0].coefficients)
        found = edited.with_(params=edited.joined(np.delete(coefficients, edit.leaving, axis=0), edited.offset))
        if not _is_rounding(found.gradient(), _rounding(found)[0]):
            found = found.with_(params=found.params - factor(found.gradient()[:, None])[0][:, 0])
        converged, n_iter = True, 1
    else:
        found, info = minimise_anew(edited, solver=solver, tol=tol, max_iter=max_iter)
        factor, converged, n_iter = info.factor, info.converged, info.n_iter
    found, lost = as_written(found)
    certificate = distance_bound(found, factor, solver)
    certificate.update(dict.fromkeys(("n_removed", "n_updated", "n_added"), 0), **edit.counts)
    certificate.update(
        param_bound=certificate.param_bound + lost,
        converged=bool(converged),
        n_iter=n_iter,
        n_retained=edited.n_rows,
        seconds=time.perf_counter() - started,
    )
    return found, factor, certificate


def _downdated(objective, factor, edited, edit):
    """The factor of the rows that stay, from the inverse that is at hand; None where there is none, or too little of it
    is left."""
    rows = edit.leaving
    alike = objective.loss.quadratic and not (objective.mean or objective.centred or objective.weighting.balanced)
    if not (alike and edit.verb == "unlearn" and not factor.iterative and len(rows) <= _DOWNDATED * objective.n_rows):
        return None
    systems = factor.systems
    if not all(system.has_inverse for system in systems):
        return None
    if not objective.inverse_holds():
        return None
    kept = np.delete(np.arange(objective.n_rows), rows)
    roots = edited.curvature().roots
    return KernelFactor(
        KernelCurvature(edited.gram, roots, edited.strength),
        factor.solver,
        [system.kept(kept, edited.gram.matrix, roots) for system in systems],
    )


def distance_bound(objective, factor, solver):
    r"""Bound the distance of a kernel objective's parameters, the estimator's, from its minimiser's.

    Parameters
    ----------
    objective : KernelObjective
    factor : KernelFactor or None
        Of its curvature.
    solver : solver
        What factors it where that is needed.

    Returns
    -------
    Bunch
        param_bound (Euclidean; inf where no bound holds), gradient_norm (of the gradient as a function; of a squared
        loss that has converged from above), newton_decrement (where the model has converged from above, by rho alone),
        r_nu, valid.

    Notes
    -----
    Of a squared loss the step itself is the distance, and at most ``|b| / rho`` times the root of what the weights
    differ by. Of a log loss, which satisfies ``|F'''[x, ., .]| <= |x| F''``,
    the distance in the norm of the curvature is at most ``D = -log(1 - r nu) / r`` with ``nu`` the Newton decrement and
    r the largest norm of a row, ``sqrt(k(x, x) / rho)`` at most (Bach 2010, Proposition 1); at the minimum the
    coefficients are ``-s u / rho``, so that they are off by ``(|b| + e^(r D) sqrt(max s W) D) / rho``.

    Where the parameters are those of the kernel's features, F is curved in them by rho at least: they are within
    ``sqrt(b'Kb) / rho``, the gradient's norm over rho, of the minimiser's, whatever the loss.
    """
    b, (error, rounding) = objective.gradient(), _rounding(objective)
    rho, quadratic, featured = float(objective.strength.min()), objective.loss.quadratic, objective.gram.featured
    settled = quadratic and _is_rounding(b, error)
    # Where rounding is all there is, its bound by the trace is enough, and saves a product with K.
    by_trace = settled and not featured
    norm = float(np.linalg.norm(b) * np.sqrt((objective.gram_roots() ** 2).sum())) if by_trace else _norm(objective, b)
    r = _largest_difference(objective) / np.sqrt(rho)
    step, solved, decrement = None, True, norm / np.sqrt(rho)  # the curvature is at least rho
    unsettled = not settled and (factor is not None or not featured)
    if unsettled if quadratic else r * (decrement + rounding) > _TIGHT:
        factor = solver.factor(objective.curvature()).for_columns(1) if factor is None else factor
        steps, info = factor(b[:, None])
        step, solved = steps[:, 0], info.converged
        decrement = float(np.sqrt(max(objective.inner(step, b), 0.0)))
    r_nu = 0.0 if quadratic else float(r * (decrement + rounding))
    if featured:
        length = _norm(objective, step) if quadratic and solved and step is not None else np.inf
        bound = min(norm / rho, length) + _lost(objective, rounding)
    elif not solved:
        bound = np.inf  # what a solve has left is not known
    elif quadratic:
        bound = _squared_bound(objective, b, step, error)
    else:
        bound = _log_loss_bound(objective, b, error, r, decrement + rounding)
    return Bunch(
        param_bound=float(bound),
        gradient_norm=float(norm),
        newton_decrement=float(decrement),
        r_nu=r_nu,
        valid=bool(np.isfinite(bound)),
    )


def _norm(objective, b):
    """Of the function with coefficients b (p,)."""
    return float(np.sqrt(max(objective.inner(b, b), 0.0)))


def _largest_difference(objective):
    """The largest norm of a row's output, or of the difference of two that a softmax compares."""
    largest = float(objective.gram_roots().max(initial=0.0))
    if objective.loss.separable:
        return largest
    return (2.0 if objective.gram.mixed else np.sqrt(2.0)) * largest  # apart, two outputs are at right angles


def _lost(objective, rounding):
    """What rounding of the gradient, and of the sum ``J'a``, can move parameters of features by."""
    terms = objective.gram_roots() * np.abs(objective.coefficients)
    return rounding / np.sqrt(objective.strength.min()) + 4 * np.finfo(float).eps * float(np.linalg.norm(terms))


def _squared_bound(objective, b, step, error):
    """Of the coefficients of a squared loss; ``step`` is None where the gradient's are rounding."""
    rho, weigh = float(objective.strength.min()), objective.sample_weight[objective.sample_weight > 0]
    spread_of_weights = np.sqrt(weigh.max() / weigh.min()) if len(weigh) else 1.0
    left = spread_of_weights * np.linalg.norm(b) / rho if step is None else np.linalg.norm(step)
    return float(left + spread_of_weights * error / rho)


def _log_loss_bound(objective, b, error, r, nu):
    """Of the coefficients of a log loss, by a Newton decrement of at most nu."""
    if r * nu >= 1:
        return np.inf
    D = -np.log1p(-r * nu) / r if r > 0 else nu
    steepest = np.exp(r * D) * np.sqrt(0.5 * objective.sample_weight.max(initial=0.0))
    return float((np.linalg.norm(b) + error + steepest * D) / objective.strength.min())
