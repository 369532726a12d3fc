r"""How far a model can be from the one that a full retrain of its rows would give.

Two bounds on the Euclidean distance of the parameters, each without retraining:

* profile: with the intercept minimised over exactly, the rest of the objective is mu-strongly convex, so
  ``|w - w*| <= |grad_w F| / mu``. One output only. (``|gradient| / mu`` over all parameters is *not* a bound where the
  intercept is free.)
* self-concordant: logistic losses satisfy ``|F'''[x, ., .]| <= |x| F''``. With ``nu = sqrt(g' H^-1 g)`` and r the
  largest norm of a row in H^-1 (softmax: of a difference of two classes' Jacobians), ``r nu < 1`` gives
  ``|theta - theta*|_H <= -log(1 - r nu) / r`` (Bach 2010, Proposition 1).

For squared loss the Newton step is the distance itself.
"""

import numpy as np
from sklearn.utils import Bunch

from . import _backend
from .solvers.info import listening
from .solvers.steps import error_patterns, solved_norms

# Up to this many unknowns the smallest eigenvalue is computed; above, bounded from the penalty and the intercepts.
_EIGENVALUES_UP_TO = 1000
# Below this r nu a self-concordant bound is that of a quadratic to 5 %, whatever r.
_TIGHT = 0.1
# To what iterative solves are carried.
_DIGITS = 1e-3


def distance_bound(objective, factor, ratio=0.0, rounding=None):
    """Bound the distance of an objective's parameters from its minimiser.

    Parameters
    ----------
    objective : Objective
    factor : callable
        A factored curvature of it, without damping.
    ratio : float, default=0.0
        How far that can be from the curvature at these parameters: the logarithm of the largest factor between the two.
    rounding : tuple of float, optional
        What rounding of the gradient can make of the step, in the norm of the curvature and Euclidean, where it has
        been found already.

    Returns
    -------
    Bunch
        param_bound (inf where no bound holds), gradient_norm, newton_decrement, r_nu (from above), valid, solved
        (whether the solves that it stands on converged).

    Notes
    -----
    Rounding of the gradient is part of every bound. Distances are gauge-free: softmax's common shift of unpenalised
    coefficients does not count.
    """
    factor = factor.direct or factor
    gradient, E, outside = _gradient(objective, rounding)
    with listening() as infos:
        step, errors, smallest = _solves(objective, factor, gradient, E, rounding)
    decrement, (rounding, step_rounding) = float(np.sqrt(max(-(gradient @ step), 0.0))), errors
    left, left_in_curvature = _unsolved(factor, gradient, step, smallest)
    solved = all(info.converged for info in infos)
    bounds, r_nu = [], 0.0
    if objective.loss.quadratic:
        # Along flat directions, where the curvature sees nothing, the minimum of smallest norm has no part.
        flat = float(np.linalg.norm(objective.params - factor.minimum_norm(objective.params)))
        bounds.append(float(np.linalg.norm(step)) + step_rounding + left + flat)
    else:
        # The curvature here is at least exp(-ratio) H: norms by its inverse are at most exp(ratio / 2) those by H.
        nu = np.exp(0.5 * ratio) * (decrement + rounding + left_in_curvature)
        smallest *= np.exp(-ratio)
        r = _largest_row_crudely(objective, smallest)
        if not r * nu <= _TIGHT:
            r = np.exp(0.5 * ratio) * _largest_row(objective, factor)
        r_nu = r * nu
        if r_nu < 1 and not factor.nullity:
            in_curvature = -np.log1p(-r_nu) / r if r > 0 else nu
            bounds.append(in_curvature / np.sqrt(smallest) if smallest > 0 else np.inf)
    if not solved:
        bounds.clear()
    if not objective.loss.quadratic and not (bounds and r_nu <= _TIGHT):
        bounds.append(_profile_bound(objective.primal()))
    bound = min(bounds, default=np.inf) + outside
    return Bunch(
        param_bound=float(bound),
        gradient_norm=float(np.linalg.norm(gradient)),
        newton_decrement=decrement,
        r_nu=float(r_nu),
        valid=bool(np.isfinite(bound)),
        solved=solved,
    )


def _gradient(objective, rounding):
    """F's gradient (p,), patterns (p, 8) of its rounding, none where that is known, and how far what no unknown holds
    of it can move the minimum.

    In coordinates of the rows' span the rows are rounded themselves, by the longest of them, and lose what next to
    nothing of a row adds to the span: the gradient is the one of the rows as they are.
    """
    primal = objective.primal()
    if primal is objective:
        gradient = objective.gradient()
        known = rounding is not None
        return gradient, np.zeros((len(gradient), 0)) if known else error_patterns(objective.gradient_rounding()), 0.0
    whole, rounding, mu = primal.gradient(), primal.gradient_rounding(), _least_penalty(objective)
    gradient, E = (objective.from_params(V) for V in (whole, error_patterns(rounding)))
    off = float(np.linalg.norm(whole - objective.to_params(gradient)))
    if mu == 0.0:  # the minimum of smallest norm has no such part, unless the span lacks a direction of the rows
        return gradient, E, 0.0 if off <= 10 * np.linalg.norm(rounding) else np.inf
    return gradient, E, 2 * off / mu  # twice, since the curvature of the span lacks the same part of the rows


def _solves(objective, factor, gradient, E, rounding):
    """The Newton step (p,), the norms that rounding of the gradient can have in it, and the smallest curvature; by one
    solve of all that it takes, to the digits that a bound needs: what a solve leaves is part of it."""
    quadratic, asked, k = objective.loss.quadratic, _asks_intercepts(objective, factor), 1 + E.shape[1]
    B = np.hstack([gradient[:, None], E, *([_intercepts(objective)] if asked else [])])
    rough = factor.iterative and not quadratic  # of a squared loss the step is the distance itself
    X = factor(B, tol=_DIGITS)[0] if rough else factor(B)[0]
    rounding = solved_norms(E, X[:, 1:k]) if E.shape[1] else rounding
    block = X[-objective.n_outputs :, k:]
    if factor.iterative and asked:  # to tol times the diagonal entries of its row and column
        block = block * (1 + objective.n_outputs * _DIGITS / (1 - _DIGITS))
    smallest = _smallest_curvature(objective, factor, block) if factor.iterative or not quadratic else 0.0
    return -X[:, 0], rounding, smallest


def _unsolved(factor, gradient, step, smallest):
    """How far ``step`` can be from ``-H^-1 g`` by what its solve has left: Euclidean, and in the norm of H."""
    if not factor.iterative:
        return 0.0, 0.0
    residual = gradient + factor.curvature.matmat(step[:, None])[:, 0]
    left = float(np.linalg.norm(factor.curvature.off_gauge(residual[:, None])))
    # Without a penalty nothing says how far a residual reaches.
    return (left / smallest, left / np.sqrt(smallest)) if smallest > 0 else (np.inf, np.inf)


def _has_eigenvalues(objective, factor):
    """Whether the smallest curvature is computed, instead of bounded from the penalty and the intercepts."""
    if factor.iterative:
        return False
    return bool(factor.nullity or factor.largest_block <= _EIGENVALUES_UP_TO or _least_penalty(objective) == 0.0)


def _asks_intercepts(objective, factor):
    """Whether a bound of the smallest curvature is needed, and takes the intercepts' part of the inverse."""
    bounded = _least_penalty(objective) > 0.0 and not _has_eigenvalues(objective, factor)
    return bounded and objective.fit_intercept and (factor.iterative or not objective.loss.quadratic)


def _smallest_curvature(objective, factor, intercepts):
    """A lower bound of H's smallest eigenvalue off its flat directions, in the user's coordinates; ``intercepts`` is
    their block (q, q) of H^-1, where that is needed."""
    mu = _least_penalty(objective)
    if _has_eigenvalues(objective, factor):
        inverses = (factor.curvature.decode_inverse(factor.inverse(b)) for b in range(max(factor.block_of) + 1))
        largest = max(-_backend.smallest_eigenvalue(-0.5 * (M + M.T)) for M in inverses)
        return 1.0 / largest if largest > 0 else np.inf
    if mu == 0.0:
        return 0.0
    # |H^-1| <= |(H^-1)_ww| + |(H^-1)_bb|, and the inverse of the intercepts' Schur complement is at most 1 / mu.
    return 1.0 / (1.0 / mu + (float(np.linalg.norm(intercepts, 2)) if objective.fit_intercept else 0.0))


def _least_penalty(objective):
    """The smallest penalty of a coefficient, by which all of them are at least curved; 0 where there is none."""
    penalty = objective.penalty[:, : objective.design.width - objective.design.fit_intercept]
    return float(penalty.min()) if penalty.size else 0.0


def _intercepts(objective):
    """Unit columns (p, q) of the intercepts."""
    return np.eye(objective.n_params, objective.n_outputs, objective.n_outputs - objective.n_params)


def _largest_row(objective, factor):
    """max_i |x_i| in the norm of H^-1, over the rows with weight; softmax: over pairs of classes."""
    if factor.iterative:
        return _largest_row_bound(objective)
    weighs = objective.sample_weight > 0
    A = objective.leverage(factor, None if weighs.all() else np.flatnonzero(weighs))
    if A.ndim == 2:
        return float(np.sqrt(A.max(initial=0.0)))
    own = np.einsum("nqq->nq", A)
    pairs = own[:, :, None] + own[:, None, :] - 2 * A
    return float(np.sqrt(max(pairs.max(initial=0.0), 0.0)))


def _largest_row_crudely(objective, smallest):
    """As :func:`_largest_row`, from above and at the price of the rows' norms, by the smallest curvature."""
    if smallest <= 0:
        return np.inf
    norms = objective.design.norms()[objective.sample_weight > 0]
    jacobians = 1 if objective.loss.separable else 2  # the difference of two classes has those of both
    return float(np.sqrt(jacobians * (norms.max(initial=0.0) ** 2 + objective.fit_intercept) / smallest))


def _largest_row_bound(objective):
    """As :func:`_largest_row`, from above and from one pass over the rows: a solve for each row would cost too much.

    With the intercepts eliminated the coefficients have at least the curvature of their penalty, mu. So the norm of
    J = v (x) [x, 1], v an output or a difference of two, is at most ``|v (x) x - C M^-1 v|**2 / mu + v' M^-1 v``, M
    the intercepts' curvature and C that between coefficients and intercepts.
    """
    design, q, d = objective.design, objective.n_outputs, objective.design.n_features
    mu = _least_penalty(objective)
    if mu <= 0:
        return np.inf
    directions = np.eye(q) if q == 1 else np.array([np.eye(q)[a] - np.eye(q)[b] for a in range(q) for b in range(a)])
    squared_norms, largest = design.norms() ** 2, 0.0
    if objective.fit_intercept:
        columns = objective.curvature().matmat(_intercepts(objective))  # C above, M below
        inverse = np.linalg.pinv(columns[-q:], rcond=1e-12, hermitian=True)  # flat along softmax's common shift
    for v in directions:
        away, own = squared_norms * (v @ v), 0.0
        if objective.fit_intercept:
            centre = (columns[:-q] @ (inverse @ v)).reshape(q, d)
            along = design.dot(np.append(v @ centre, 0.0)[:, None])[:, 0]
            away = away - 2 * along + np.square(centre).sum()
            own = float(v @ inverse @ v)
        largest = max(largest, float(away.max(initial=0.0)) / mu + own)
    return float(np.sqrt(largest))


def _profile_bound(objective):
    """The bound by strong convexity once the intercept is minimised over, or inf where it does not apply."""
    d = objective.design.n_features
    mu = _least_penalty(objective)
    if mu <= 0 or not d or (objective.n_outputs != 1 and objective.outputs_apart):
        return np.inf
    free = objective.fit_intercept and objective.penalty[0, d] == 0
    profiled = _minimise_intercept(objective) if free else objective
    if profiled is None:
        return np.inf
    rounding = profiled.gradient_rounding()
    gradient = np.abs(profiled.gradient()) + rounding
    if not free:  # an intercept with a penalty of its own is a coefficient like the others
        return float(np.linalg.norm(gradient) / objective.penalty.min())
    # What is left of the intercept's gradient shifts it by at most this, and with it the gradient of w.
    slope = objective.sample_weight @ profiled.output_curvatures()[:, 0]
    shift = gradient[-1] / slope
    cross = np.abs(profiled.curvature().matmat(_intercepts(objective))[:d, 0])
    w_bound = float(np.linalg.norm(gradient[:-1] + 2 * shift * cross) / mu)
    reach = float(objective.design.norms().max(initial=0.0))
    moved = abs(float(profiled.params[-1] - objective.params[-1])) + 2 * shift
    return float(np.hypot(w_bound, moved + reach * w_bound))


def _minimise_intercept(objective):
    """The objective at its best intercept for the coefficients it has, or None where none is found."""
    best, s = objective, objective.sample_weight
    tilt = 0.0 if objective.linear is None else float(objective.linear[-1])
    lowest = np.inf
    for _ in range(50):
        gradient = float(s @ best.output_gradients()[:, 0]) + tilt
        if abs(gradient) >= lowest:
            return best
        slope = float(s @ best.output_curvatures()[:, 0])
        if not slope > 0:
            return None
        lowest = abs(gradient)
        step = gradient / slope
        if abs(step) > 1.0:  # far from the optimum Newton on a sigmoid overshoots
            step = np.sign(step)
            lowest = np.inf
        params = best.params.copy()
        params[-1] -= step
        best = objective.with_(params=params)
    return None
