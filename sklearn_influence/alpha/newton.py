"""Newton's minimum of a kernel model: fitting it and unlearning from it are the same loop."""

from dataclasses import dataclass

import numpy as np

from .._backend import physical_memory, to_numpy
from .mixing import mixes, product
from .preconditioner import LowRank, leading_directions
from .roots import Roots, namespace_of
from .system import factor_direct, iterate

SOLVERS = (None, "direct", "cg")
# Iterations of conjugate gradients that a factor is weighed against, and the fewest outputs at which a product with K
# runs at the rate of a factorisation: with fewer, reading K is what takes the time.
_ITERATIONS, _WIDE = 40, 8
# Systems so small are factored, whatever else they would cost.
_SMALL = 256
# How closely a step is solved for: within this share of the error that Newton's own model makes of it, and at most.
_SHARE, _ROUGH = 0.1, 0.1
# A squared loss takes one step, which no other one corrects: it is solved for within this share of the tolerance.
_ONCE = 0.01
# Outputs that move by less than this, in logs of the curvature, are where Newton's steps shrink fast; where they do not
# shrink, they are rounding.
_NEAR = 0.1
# A preconditioner serves until the curvatures may have moved so far, in logs.
_WORN = 0.2


@dataclass(frozen=True, eq=False)
class KernelNewtonInfo:
    """How a minimisation went.

    Attributes
    ----------
    converged : bool
    n_iter : int
        Newton steps.
    decrement : float
        sqrt(g' H^-1 g) before the last step.
    remaining : float
        What it is after it, by the curvature's change along the step and the residual of its solve.
    system : DirectSystem or IterativeSystem
        Of the last step, at the outputs before it (for squared loss, at any); None where no step was asked for.
    n_products : int
        Products of K with (n, q).
    """

    converged: bool
    n_iter: int
    decrement: float
    remaining: float
    system: object
    n_products: int


def minimise(
    K,
    y,
    loss,
    sample_weight,
    strength,
    *,
    alpha=None,
    outputs=None,
    offset=0.0,
    n_outputs=None,
    tol=1e-10,
    max_iter=100,
    solver=None,
):
    r"""Minimise ``sum_i s_i loss(y_i, f_i) + strength/2 sum_o alpha_o'K alpha_o`` over ``f = offset + K alpha``.

    Each step solves ``(W K + rho I) d = W (f - f0 - K alpha) - (s u + rho alpha)``, u the derivatives of the loss at
    the outputs f, W its weighted curvatures; the first term is there where ``outputs`` are not those of ``alpha``.

    Parameters
    ----------
    K : array of shape (n, n), or (n q, n q) where it mixes outputs, or an operator as :func:`~.system.iterate` takes
        Symmetric, positive semi-definite, on any device.
    y : ndarray of shape (n,) or (n, q)
    loss : Loss
    sample_weight : ndarray of shape (n,)
        s, at least 0; a row of weight 0 gets alpha 0.
    strength : float
        rho > 0, of these rows.
    alpha : ndarray of shape (n, q), optional
        Where to start; zeros by default.
    outputs : ndarray of shape (n, q), optional
        The outputs at which the first step is taken, where they are not those of ``alpha``: without some rows those of
        the model that had them, so that the first step is the one-step removal itself.
    offset : float or ndarray of shape (n, q)
        f0.
    n_outputs : int, optional
        q, where no array says it.
    tol : float
        Converged when the Newton decrement, after the last step, is at most ``tol`` times that of the first one, or is
        rounding.
    max_iter : int
        Steps at most.
    solver : {None, "direct", "cg"}
        "direct" factors each step's system, "cg" multiplies with K alone. None takes what is cheaper, direct where
        conjugate gradients do not converge; squared loss is factored wherever it fits, and is exact after one step.

    Returns
    -------
    alpha : ndarray of shape (n, q)
    outputs : ndarray of shape (n, q)
        ``offset + K alpha``.
    info : KernelNewtonInfo

    Raises
    ------
    ValueError
        Where K is not positive semi-definite, or a factor would not fit in memory.

    Notes
    -----
    Cost: by conjugate gradients one product ``K @ (n, q)`` an iteration and none besides (one where some rows have next
    to no curvature). A step is solved only as closely as Newton's method is there.

    Source: "Extending Kernel Trick to Influence Functions", Eq. 12, in the form that needs no stationary start.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.alpha.newton import minimise
    >>> from sklearn_influence.losses import SquaredError
    >>> K = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> alpha, outputs, info = minimise(K, np.array([1.0, 0.0]), SquaredError(), np.ones(2), 1.0)
    >>> alpha.ravel(), info.converged
    (array([ 0.375, -0.125]), True)
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver must be None, 'direct' or 'cg', got {solver!r}.")
    q = _count_outputs(loss, y, (alpha, outputs, offset), n_outputs)
    search = _Search(K, y, loss, np.asarray(sample_weight, dtype=np.float64), strength, offset, q, solver)
    if loss.quadratic and search.direct:
        alpha = outputs = None  # the answer from anywhere: nothing of the start to round
    state = search.start(alpha, outputs)
    first = previous = None
    decrement, remaining, near, converged, n_iter = np.inf, np.inf, False, False, 0
    while n_iter < max_iter and not converged:
        d, Kd, decrement = search.step(state, first, tol)
        first = decrement if first is None else first
        state, length = search.moved(state, d, Kd, decrement)
        n_iter += 1
        if length is None:  # from zero, as if it were the start
            first = previous = None
            continue
        if length == 0.0:
            break
        stuck = near and decrement > 0.5 * previous
        remaining = search.left + search.reach * decrement if length == 1.0 else np.inf
        converged = search.solved and (min(remaining, decrement) <= tol * first or stuck)
        first, previous = max(first, length * decrement), decrement
        near = length == 1.0 and search.solved and search.reach <= _NEAR
    info = KernelNewtonInfo(bool(converged), n_iter, float(decrement), float(remaining), search.system, search.count())
    return state.alpha, state.outputs, info


@dataclass(frozen=True, eq=False)
class _State:
    """alpha, K alpha, the outputs, and what these have beyond ``offset + K alpha`` (None: nothing)."""

    alpha: np.ndarray
    K_alpha: np.ndarray
    outputs: np.ndarray
    beyond: np.ndarray | None = None


class _Search:
    """One minimisation: its problem, how it solves a step, and what the last step said of itself.

    Rows' quantities are NumPy arrays here, whatever the device of K: only systems go there.
    """

    def __init__(self, K, y, loss, s, strength, offset, q, solver):
        self.K, self.y, self.loss, self.s, self.strength = K, y, loss, s, strength
        self.offset = np.broadcast_to(np.asarray(offset, dtype=np.float64), (len(s), q))
        self.direct = solver == "direct" or (solver is None and _is_direct_cheaper(K, loss, len(s), q))
        self.may_factor = solver is None and not hasattr(K, "xp")
        self.system, self.solved, self.reach, self.left, self._n_products = None, False, 1.0, 0.0, 0
        self._previous = self._directions = self._preconditioner = None
        self._worn = np.inf

    def start(self, alpha, outputs):
        zeros = np.zeros(self.offset.shape)
        alpha = zeros if alpha is None else np.array(alpha, dtype=np.float64).reshape(zeros.shape)
        if self.loss.shift_invariant:
            alpha -= alpha.mean(axis=1, keepdims=True)  # of no use to the loss, and penalised
        K_alpha = self._product(alpha) if alpha.any() else zeros
        if outputs is None:
            return _State(alpha, K_alpha, self.offset + K_alpha)
        outputs = np.asarray(outputs, dtype=np.float64).reshape(zeros.shape)
        return _State(alpha, K_alpha, outputs, outputs - self.offset - K_alpha)

    def step(self, state, first, tol):
        """The Newton step (d, K d, decrement)."""
        roots = Roots.of(self.loss, self.y, state.outputs, self.s)
        B = -(self.s[:, None] * self.loss.gradient(self.y, state.outputs) + self.strength * state.alpha)
        if self.loss.shift_invariant:
            B -= B.mean(axis=1, keepdims=True)  # rounding: the rows of both parts sum to 0
        Z, rest = roots.split(B)
        if state.beyond is not None:
            B, Z = B + roots.weigh(state.beyond), Z + roots.ttimes(state.beyond)
        K_rest = None
        if rest.any():
            K_rest = self._product(rest) / self.strength
            Z = Z - roots.ttimes(K_rest)
        if not self.direct:
            d, Kd = self._iterated(roots, Z, self._measure(state, roots, B, K_rest), first, tol)
        if self.direct:
            self._forget_system()
            self.system = factor_direct(self.K, roots, self.strength)
            d = to_numpy(self.system.from_roots(self._move(Z)))[:, :, 0]
            Kd, self.solved, self.left = self._product(d), True, 0.0
        if K_rest is not None:
            d, Kd = d + rest / self.strength, Kd + K_rest
        # A start off the span of these rows has moved by its outputs, which the coefficients do not say.
        shift = Kd if state.beyond is None else Kd - state.beyond
        force = B if state.beyond is None else roots.weigh(shift)
        decrement = np.sqrt(max(float(np.sum(force * shift)), 0.0))
        self.reach = self.loss.curvature_ratio(shift)
        self._previous, self._worn = decrement, self._worn + self.reach
        return d, Kd, decrement

    def _measure(self, state, roots, B, K_rest):
        """What a step with the product K V X amounts to: its decrement, and how far it reaches where that is asked."""
        xp = namespace_of(self.K)
        ahead = 0.0 if K_rest is None else float(np.sum(B * K_rest))
        B = self._move(B)
        if state.beyond is None:
            return lambda KVX: (np.sqrt(max(ahead + float(xp.sum(B * KVX)), 0.0)), None)

        def of_outputs(KVX):
            shift = to_numpy(KVX)[:, :, 0] - state.beyond + (0.0 if K_rest is None else K_rest)
            return float(np.linalg.norm(roots.ttimes(shift))), self.loss.curvature_ratio(shift)

        return of_outputs

    def _iterated(self, roots, Z, measure, first, tol):
        """The step by conjugate gradients; sets ``solved``, and where they do not get there and may, ``direct``."""
        self._forget_system()
        roots = roots.like(self.K)
        self.system = system = iterate(self.K, roots, self.strength, preconditioner=self._nearby(roots))
        xp, Z = namespace_of(self.K), self._move(Z)
        smallest = 8 * system.precision * float(xp.sqrt(xp.sum(Z * Z)))
        self.solved = False

        def stop(lengths, KVX):
            self.left = left = float(xp.sqrt(xp.sum(lengths**2)))
            decrement, reach = measure(KVX)
            self.solved = left <= max(self._precision(decrement, reach, first, tol) * decrement, smallest)
            return self.solved

        X, KVX, _ = system.advance(Z, stop)
        if not self.solved and self.may_factor and _fits(len(roots) * (roots.n_outputs if system.coupled else 1)):
            self.direct = True
        return to_numpy(system.roots.times(X))[:, :, 0], to_numpy(KVX)[:, :, 0]

    def _nearby(self, roots):
        """A preconditioner for these roots: that of earlier ones while little has changed."""
        if self._worn == np.inf:
            self._directions = leading_directions(self.K, roots)
            if self._directions is not None:
                together = 1 if mixes(self.K, len(roots)) else self.offset.shape[1]
                self._n_products += -(-self._directions.shape[1] // together)
        if self._worn > _WORN and self._directions is not None:
            self._preconditioner, self._worn = LowRank(self._directions, roots, self.strength), 0.0
        return self._preconditioner

    def _precision(self, decrement, reach, first, tol):
        """How closely a step of this decrement is to be solved for, relative to it."""
        if self.loss.quadratic:
            return _ONCE * tol
        if first is None:
            return min(_ROUGH, _SHARE * (1.0 if reach is None else reach))
        if decrement == 0.0:
            return _ROUGH
        reach = self.reach * decrement / self._previous  # as long a step reaches as far
        return min(_ROUGH, max(_SHARE * reach, 0.3 * tol * first / decrement))

    def moved(self, state, d, Kd, decrement):
        """The state after the longest step 1, 1/2, 1/4, ... that lowers the objective enough, and that length; zero and
        None where the first step leads to what is worse than zero."""
        alpha, K_alpha = state.alpha + d, state.K_alpha + Kd
        there = _State(alpha, K_alpha, self.offset + K_alpha)
        if self.loss.quadratic:
            return there, 1.0
        if state.beyond is not None:  # the start is no point of the span: there is nothing there to be compared with
            zero = self.start(None, None)
            return (there, 1.0) if self._value(there) <= self._value(zero) else (zero, None)
        value, length = self._value(state), 1.0
        # Within rounding of F the decrease cannot be seen, and the full step of a convex problem is right.
        if decrement**2 <= 1e-10 * (1.0 + abs(value)):
            return there, 1.0
        while length > 1e-10:
            after = self._value(there)
            if np.isfinite(after) and after <= value - 1e-4 * length * decrement**2:
                return there, length
            length *= 0.5
            K_alpha = state.K_alpha + length * Kd
            there = _State(state.alpha + length * d, K_alpha, self.offset + K_alpha)
        return state, 0.0

    def _value(self, state):
        fit = self.s @ self.loss.value(self.y, state.outputs)
        return float(fit + 0.5 * self.strength * np.sum(state.alpha * state.K_alpha))

    def count(self):
        """Products of K with (n, q) so far."""
        return self._n_products + (0 if self.system is None else self.system.n_products)

    def _forget_system(self):
        """Let the last step's matrix go before the next one is made."""
        self._n_products, self.system = self.count(), None

    def _product(self, X):
        self._n_products += 1
        return to_numpy(product(self.K, self._move(X)))[:, :, 0].astype(np.float64, copy=False)

    def _move(self, X):
        """(n, q) as (n, q, 1) where K lies."""
        xp = namespace_of(self.K)
        return xp.asarray(np.ascontiguousarray(X)[:, :, None], dtype=getattr(self.K, "dtype", None))


def _is_direct_cheaper(K, loss, n, q):
    """Whether a factor costs less than conjugate gradients usually do."""
    if hasattr(K, "xp"):
        return False
    mixed = mixes(K, n)
    if loss.quadratic and not mixed:
        return _fits(n)
    size = n if loss.separable and not mixed else n * q
    a_product = K.shape[0] ** 2 * max(1 if mixed else q, _WIDE)
    return size <= _SMALL or size**3 / 3 <= 2 * _ITERATIONS * a_product


def _fits(size):
    """Whether the matrix of so many unknowns can be had."""
    limit = physical_memory()
    return limit is None or 8 * size**2 <= limit


def _count_outputs(loss, y, arrays, n_outputs):
    """q, by the first of what says it."""
    if n_outputs is not None:
        return n_outputs
    for array in arrays:
        if array is not None and np.ndim(array) == 2:
            return np.shape(array)[1]
    if loss.separable:
        return 1 if np.ndim(y) == 1 else np.shape(y)[1]
    return int(np.max(y)) + 1
