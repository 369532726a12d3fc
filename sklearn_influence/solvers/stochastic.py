r"""Inverse curvature from random rows: the recursion of LiSSA, with a standard error."""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from scipy.special import stdtrit
from sklearn.utils import check_random_state

from .info import SolveInfo, report
from .steps import InverseBySolves, damped_option, number_option

# Products with all rows that the extreme eigenvalues may take. The recursion contracts as long as the largest is not
# missed by half, which a random start does with a probability below 1e-20 sqrt(p) (Kuczynski and Wozniakowski 1992).
_PASSES = 30
# Eigenvalues below this share of the largest are rounding.
_FLAT = 1e-9
# Time constants of the slowest direction seen that a recursion starts with; the first half is burn-in.
_CONSTANTS = 6.0
# The least share of a drift that counts as bias to come, for directions far slower than the slowest seen.
_SHARE = 0.02
# Bias allowed, in standard errors: it takes half a per cent off the coverage of 95 % intervals.
_BIAS = 0.25
# Noise of a settled recursion, as a share of what it solves for, from which the remainder is worth its own recursion.
_RESTART = 0.5
# Growth beyond the longest solution there can be that shows a scale which is too small.
_GROWTH = 1e6
# Chance of an error so many standard errors large that it is put down to a direction without curvature.
_CHANCE = 1e-5
_OFF_RANGE = "a right-hand side with a part along a direction without curvature never settles"
# What all repeats of a block of columns may take (bytes).
_STATE = 2**19


@dataclass(frozen=True)
class Stochastic:
    r"""LiSSA: ``X_j = X_(j-1) + (B - H_j X_(j-1)) / (scale D)``, with H_j the curvature of a few random rows.

    Parameters
    ----------
    n_samples : int, default=32
        Rows drawn for each step of each recursion, with replacement.
    n_repeats : int, default=8
        Independent recursions, at least 2; X is their mean.
    max_iter : int, default=100_000
        Steps of each recursion, restarts included; at least 4.
    tol : float, default=0.01
        Relative standard error aimed at: of X as a whole, each column for itself, every parameter scaled to unit
        curvature. Influences come out closer than that, since they do not see the flattest directions as X does.
    damping : float, default=0.0
        Added to the curvature, relative to its own diagonal, parameter by parameter; so it has no unit. Any damping
        biases the result, which the standard error does not cover.
    scale : float, default=None
        What steps are divided by, in units of the curvature's diagonal. None takes one with which the recursion
        cannot diverge. Smaller ones may; a recursion that grows is stopped and reported.
    random_state : int, RandomState instance or None, default=None
        An int gives the same result at every call with the same B. The rows drawn do not depend on the number of
        columns of B; when to stop does.

    Notes
    -----
    D is the curvature's diagonal, in coordinates about the mean of the features. Rows are drawn in proportion to the
    trace of their share of ``D^-1/2 H D^-1/2``, so that any draw's norm is at most some ``reach``, about the number of
    effective parameters. Then ``E[H_j^2] <= (L + reach / n_samples) H`` with L the largest eigenvalue, and the default
    ``scale = 1.1 L + reach / n_samples``, L by Lanczos over all rows, shrinks the mean squared error at every step
    whatever the units of the columns: it cannot diverge.

    The second half of each recursion is averaged, which keeps the mean and takes out most of the noise. Its length
    doubles until the drift between the second quarter and the second half says that what is left of the start is small
    beside the standard error. Where the standard error of a settled recursion is above ``tol``, the next one solves
    for the remainder ``B - H X`` over all rows, so that noise shrinks by a factor, and not with the root of the steps.

    ``X +- t SE``, t the quantile of Student's distribution with ``n_repeats - 1`` degrees of freedom, covers the exact
    solution's entry (and likewise any ``g'X``, whose SE follows from ``info.repeats``) in about the stated share of
    random states; the bias is aimed below a quarter of SE.

    Along directions without curvature (collinear columns without penalty) X has the smallest norm with every parameter
    scaled to unit curvature, which is not the norm of :class:`Direct`; gradients, and so influences, do not see the
    difference. A right-hand side with a part along them has no solution: X grows with the steps, and ``converged`` is
    False. A weight below zero (a loss that is not convex) is refused.

    Cost: about 30 passes over the rows once, then 4 n_samples n_repeats p operations a step and column, in memory
    about 6 n_repeats p a column. The steps taken are some 10 to 20 times scale by the smallest eigenvalue.

    References
    ----------
    Agarwal, Bullins and Hazan (2017), Second-order stochastic optimization for machine learning in linear time, JMLR
    18; Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging, SIAM J. Control Optim. 30.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.solvers import Stochastic
    >>> X, y = load_wine(return_X_y=True)  # as it is, not scaled
    >>> estimator = LogisticRegression(solver="newton-cholesky")
    >>> model = InfluenceEstimator(estimator, solver=Stochastic(random_state=0), method="first_order").fit(X, y)
    >>> g = model.influence_on_params([0])[0]
    >>> info = model.solve_info_
    >>> info.converged, info.standard_error.shape == info.repeats.mean(axis=0).shape
    (True, True)
    """

    n_samples: int = 32
    n_repeats: int = 8
    max_iter: int = 100_000
    tol: float = 0.01
    damping: float = 0.0
    scale: float | None = None
    random_state: object = None

    exact = False
    curvature_kind = "hessian"

    def __post_init__(self):
        for name, least in (("n_samples", 1), ("n_repeats", 2), ("max_iter", 4)):
            number_option(name, getattr(self, name), lowest=least, whole=True)
        number_option("tol", self.tol, lowest=0.0, above=True, below=1.0)
        damped_option(self.damping)
        if self.scale is not None:
            number_option("scale", self.scale, lowest=0.0, above=True)
        if not isinstance(self.random_state, np.random.RandomState):
            valid = self.random_state is None or isinstance(self.random_state, Integral)
            if not valid or isinstance(self.random_state, bool):
                raise TypeError(
                    f"random_state must be an integer, a RandomState instance or None, got {self.random_state!r}."
                )
            if self.random_state is not None and not 0 <= self.random_state < 2**32:
                raise ValueError(f"random_state must be from 0 to 2**32 - 1, got {self.random_state!r}.")

    def factor(self, curvature, preconditioner=None):
        """Estimate the extreme eigenvalues of ``curvature``; a preconditioner beyond its diagonal is not used."""
        return StochasticFactor(curvature.damped(self.damping) if self.damping else curvature, self)


class StochasticFactor(InverseBySolves):
    """``factor(B)`` is an estimate of ``H^-1 B``, and a SolveInfo with its standard error."""

    def __init__(self, curvature, solver):
        self.curvature, self.solver = curvature, solver
        self.sampler = curvature.minibatch()
        self.largest, self.smallest = _extreme_eigenvalues(self.sampler)
        self.safe_scale = 1.1 * self.largest + self.sampler.reach / solver.n_samples
        self.scale = self.safe_scale if solver.scale is None else float(solver.scale)
        # Some ten times scale by the smallest eigenvalue are the steps that are usual.
        share = solver.n_samples * solver.n_repeats / max(curvature.design.n_rows, 1)
        self.operations = 10 * self.scale / self.smallest * share * curvature.operations

    def __call__(self, B):
        if not np.isfinite(B).all():
            raise ValueError("The right-hand sides have entries that are no finite numbers.")
        if B.shape[1] == 0:
            each = np.zeros((self.solver.n_repeats, *B.shape))
            rcond = self.smallest / self.largest
            return each[0], SolveInfo(self.solver, True, 0, np.zeros(0), "nothing to solve", rcond, 0, each[0], each)
        seed = check_random_state(self.solver.random_state).randint(2**31 - 1)
        # Blocks of columns whose state stays in cache meet the same rows; all at once would take five times as long.
        size = max(1, _STATE // (8 * self.solver.n_repeats * self.curvature.shape[0]))
        parts = [self._solve(B[:, i : i + size], seed) for i in range(0, B.shape[1], size)]
        infos = [info for _, info in parts]
        first = next((info for info in infos if not info.converged), infos[0])
        joined = {  # by column
            name: np.concatenate([getattr(info, name) for info in infos], axis=-1)
            for name in ("residual", "standard_error", "repeats")
        }
        info = replace(first, iterations=max(info.iterations for info in infos), **joined)
        return np.concatenate([X for X, _ in parts], axis=1), report(info)

    def _solve(self, B, seed):
        run = _Recursion(self, B.shape[1], seed)
        b, lost = self.sampler.enter(B)
        solved, repeats, converged, reason = self._refine(run, b)
        if converged and lost.max(initial=0.0) > 1e-8:
            converged, reason = False, "a right-hand side has a part along a column without curvature: left out of X"
        size = run.nonzero(run.dual_norms(b))
        residual = run.dual_norms(b - self.sampler.product(solved)) / size
        # |H e| <= L |e|: errors that are so much larger than chance come from where no recursion settles.
        reach = stdtrit(self.solver.n_repeats - 1, 1 - _CHANCE) * self.largest * run.errors(repeats)
        if converged and (residual > reach / size + 1e-6).any():
            converged, reason = False, "the residual is larger than the standard error explains: " + _OFF_RANGE
        common = self.sampler.common(B)
        X, each = self.sampler.leave(solved) + common, self.sampler.leave(repeats) + common
        error = each.std(axis=0, ddof=1) / np.sqrt(self.solver.n_repeats)
        if run.grew:
            X, error = np.full_like(X, np.nan), np.full_like(error, np.inf)
        rcond = self.smallest / self.largest
        info = SolveInfo(self.solver, converged, run.steps, residual, reason, rcond, 0, error, each)
        return X, info

    def _refine(self, run, b):
        """Solve for b, then for the remainders, until the standard error is as asked for."""
        depth = int(min(np.ceil(_CONSTANTS * self.scale / self.smallest), self.solver.max_iter))
        depth = max(depth, 4)
        solved, remainder, n_stages = np.zeros_like(b), b, 0
        while True:
            n_stages += 1
            stage = run.settle(remainder, solved, depth)
            if stage is None:
                return solved, np.repeat(solved[None], self.solver.n_repeats, axis=0), False, run.why_it_grew()
            repeats, settled, error, depth = stage
            final = solved + repeats.mean(axis=0)
            if settled and error <= self.solver.tol:
                reason = f"settled: relative standard error {error:.1g} after {n_stages} recursion(s)"
                return final, solved + repeats, True, reason
            if run.steps + depth > self.solver.max_iter:
                return final, solved + repeats, False, run.why_it_stopped(settled, error)
            solved = final
            remainder = b - self.sampler.product(solved)


class _Recursion:
    """The repeats of one call, all advancing together as (r, width, q k)."""

    def __init__(self, factor, n_columns, seed):
        self.factor, self.solver, self.sampler = factor, factor.solver, factor.sampler
        self.random = np.random.RandomState(seed)
        self.k, self.steps, self.grew = n_columns, 0, False
        self.metric = np.repeat(self.sampler.diagonal, n_columns, axis=1)
        self.pace = 1.0 / (factor.scale * self.metric)

    def _columns(self, x):
        """Sums over everything but columns: (k,)."""
        return x.reshape(-1, self.k).sum(axis=0)

    def norms(self, x):
        return np.sqrt(self._columns(self.metric * x**2))

    def dual_norms(self, b):
        return np.sqrt(self._columns(b**2 / self.metric))

    @staticmethod
    def nonzero(norms):
        """To divide by: what is 0 there is 0 above it too."""
        return np.where(norms > 0, norms, 1.0)

    def errors(self, x):
        """Norms of the standard errors over repeats, (k,)."""
        return self.norms(x.std(axis=0, ddof=1)) / np.sqrt(self.solver.n_repeats)

    def settle(self, b, solved, depth):
        """The repeats' tail averages of H^-1 b, in a recursion that doubles until they have settled.

        Returns
        -------
        (averages (r, width, q k), whether they settled, the worst relative standard error, depth), or None where the
        recursion grew.
        """
        x = np.zeros((self.solver.n_repeats, *b.shape))
        early, late = np.zeros_like(x), np.zeros_like(x)
        half, quarter = depth // 2, depth // 4
        for total, n_steps in ((None, quarter), (early, half - quarter), (late, depth - half)):
            self._advance(x, b, total, n_steps)
        early /= half - quarter
        late /= depth - half
        while not self.grew:
            size = self.nonzero(self.norms(solved + late.mean(axis=0)))
            error, bias = self.errors(late) / size, self._bias(early, late, depth) / size
            # Over columns together: the worst of many would be chance. A noiseless recursion settles too, at 1e-9.
            settled = (bias**2).sum() <= (_BIAS**2 * error**2 + 1e-18).sum()
            worst = error.max(initial=0.0)
            noise = worst * (size / self.nonzero(self.norms(late.mean(axis=0)))).max(initial=0.0)
            enough = settled and (worst <= self.solver.tol or noise <= _RESTART)
            if enough or self.steps + depth > self.solver.max_iter:
                return late, bool(settled), worst, depth
            early, late = late, early
            late[...] = 0.0
            self._advance(x, b, late, depth)
            late /= depth
            depth *= 2
        return None

    def _bias(self, early, late, depth):
        """What is left of the start in ``late``, from the drift between both averages: norms (k,).

        A direction that decays as exp(-u) leaves the mean of that over the second half, and drifts by the difference
        to the second quarter. Decay is taken half as fast as that of the slowest direction seen. Twice the noise is
        subtracted, since a drift of that size is none.
        """
        drift = early - late
        squares = self.norms(drift.mean(axis=0)) ** 2 - 2 * self.errors(drift) ** 2
        constants = 0.5 * depth * self.factor.smallest / self.factor.scale
        left = _mean_decay(constants / 2, constants)
        share = left / (_mean_decay(constants / 4, constants / 2) - left)
        return np.sqrt(np.maximum(squares, 0.0)) * max(share, _SHARE)

    def _advance(self, x, b, total, n_steps):
        """``n_steps`` of the recursion, in place, each added to ``total``."""
        solver, sampler = self.solver, self.sampler
        r, t = solver.n_repeats, solver.n_samples
        length, done = sampler.chunk_length(r, t), 0
        gradient, push = np.empty_like(x), self.pace * b
        shrink, pull = sampler.penalty_steps(self.pace, self.k)
        bound = _GROWTH * (self.dual_norms(b).max(initial=0.0) / self.factor.smallest + 1e-300)
        while done < n_steps and not self.grew:
            n = min(length, n_steps - done)
            rows = sampler.draw(self.random.random_sample((n, r, t)))
            for data_term in sampler.products(rows):
                data_term(x, gradient)
                gradient *= self.pace
                if pull is not None:
                    gradient -= pull(x)
                x *= shrink
                x -= gradient
                x += push
                if total is not None:
                    total += x
            done += n
            self.grew = not np.abs(x).max(initial=0.0) <= bound  # not finite is growth too
        self.steps += done

    def why_it_grew(self):
        return (
            f"the recursion grew, and NaN is returned: scale={self.factor.scale:.3g} is too small; scale=None takes "
            f"{self.factor.safe_scale:.3g}, which cannot diverge"
        )

    def why_it_stopped(self, settled, error):
        what = f"standard error {error:.1g} above tol" if settled else "not settled"
        return (
            f"stopped after {self.steps} steps, since the next doubling would pass max_iter={self.solver.max_iter}: "
            f"{what}; raise max_iter, or use solver='cg'" + ("" if settled else f" ({_OFF_RANGE})")
        )


def _mean_decay(a, b):
    """Mean of exp(-u) over a < u < b."""
    return (np.exp(-a) - np.exp(-b)) / (b - a)


def _extreme_eigenvalues(sampler):
    """Largest and smallest eigenvalue off the flat directions, the diagonal scaled to 1, by Lanczos' method.

    The start is the image of a random vector, so that flat directions are not in it. The smallest may come out too
    large, and is meant as a first guess at how long a recursion takes.
    """
    root = np.sqrt(sampler.diagonal)

    def product(v):
        return (sampler.product(v.reshape(root.shape) / root) / root).ravel()

    v = product(np.random.default_rng(0).standard_normal(root.size))
    if not v.any():
        raise ValueError(
            "The curvature is zero: nothing is penalised, and no row with weight has a feature; use solver='direct'."
        )
    basis, diagonal, beside = [v / np.linalg.norm(v)], [], []
    for _ in range(min(_PASSES, v.size)):
        w = product(basis[-1])
        diagonal.append(basis[-1] @ w)
        known = np.array(basis)
        for _ in range(2):  # once leaves the rounding that makes Lanczos vectors drift apart
            w -= known.T @ (known @ w)
        beside.append(np.linalg.norm(w))
        if beside[-1] <= 1e-10 * diagonal[0]:
            break
        basis.append(w / beside[-1])
    beside = beside[: len(diagonal) - 1]
    values = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    return values[-1], values[values > _FLAT * values[-1]][0]
