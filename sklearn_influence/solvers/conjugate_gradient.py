"""Preconditioned conjugate gradients for many right-hand sides at once."""

from dataclasses import dataclass

import numpy as np

from .._parallel import block_size, blocks
from .info import SolveInfo, report
from .preconditioners import PRECONDITIONERS, Exact, make_preconditioner
from .steps import InverseBySolves, damped_option, is_penalised, number_option, relative_norms

# A direction with less than this share of the largest curvature met, both relative to the preconditioner's, is flat.
_FLAT = 1e-12
# Solves of the remaining residual, where rounding has let the recursion's own run away from it.
_CORRECTIONS = 3
# A preconditioner taken over from a nearby curvature is made anew once a solve with it takes more iterations.
_WORN = 40


@dataclass(frozen=True)
class ConjugateGradient:
    """Conjugate gradients: the curvature is never formed, only multiplied with.

    Parameters
    ----------
    tol : float, default=1e-10
        A column has converged when its residual is at most ``tol`` times its right-hand side, in the norm of the
        preconditioner; with a good one that is the relative error of the solution in the norm of the curvature.
    max_iter : int, default=1000
        Iterations at most; columns that are not done then are warned about.
    preconditioner : {"principal", "diagonal", None}, default="principal"
        "principal": the exact curvature on the leading principal directions of the features (of all outputs jointly)
        and the intercepts, its diagonal elsewhere. Where those are all the directions there are, it is the factored
        curvature itself, and flat directions are handled as by :class:`Direct`. "diagonal": the curvature's diagonal,
        about the mean of the features. None: none.
    n_directions : int, default=64
        How many principal directions; fewer where there are so many outputs that together they are over 1,024.
    damping : float, default=0.0
        Added to the curvature, relative to its own diagonal, parameter by parameter. Any damping biases the result.

    Notes
    -----
    All columns advance together, so that the products with the rows are matrix products; converged columns drop out.
    Cost: set-up of "principal", about a dozen passes over the rows; then one pass ``X' W X V`` an iteration, and one
    more to state the true residual. Memory: about 8 vectors a column and the outputs of 2,048 rows, all of sparse ones,
    in blocks of columns within ``working_memory``; never p**2. ``method="newton"`` takes one solve for each row that it
    is asked about, leverages one for each of the row's outputs: from some hundreds of rows on :class:`Direct` is faster
    where it fits.

    Source: Hestenes and Stiefel (1952); Martens (2010) for curvatures of machine learning.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.solvers import ConjugateGradient
    >>> X, y = load_digits(return_X_y=True)
    >>> solver = ConjugateGradient(tol=1e-8, preconditioner="diagonal")
    >>> model = InfluenceEstimator(LogisticRegression(C=0.01), solver=solver, method="first_order").fit(X, y)
    >>> effect = model.influence_on_loss(X[:1], y[:1])
    >>> model.solve_info_.converged, bool(model.solve_info_.residual.max() < 1e-7)
    (True, True)
    """

    tol: float = 1e-10
    max_iter: int = 1000
    preconditioner: str | None = "principal"
    n_directions: int = 64
    damping: float = 0.0

    exact = True
    curvature_kind = "hessian"

    def __post_init__(self):
        number_option("tol", self.tol, lowest=0.0, above=True, below=1.0)
        number_option("max_iter", self.max_iter, lowest=1, whole=True)
        number_option("n_directions", self.n_directions, lowest=1, whole=True)
        damped_option(self.damping)
        if self.preconditioner not in PRECONDITIONERS:
            raise ValueError(f"preconditioner must be 'principal', 'diagonal' or None, got {self.preconditioner!r}.")

    def factor(self, curvature, preconditioner=None):
        """What solves with ``curvature``, by the ``preconditioner`` (a factor of a nearby curvature) where given."""
        if hasattr(curvature, "factored"):
            return curvature.factored(self)
        curvature = curvature.damped(self.damping) if self.damping else curvature
        return ConjugateGradientFactor(curvature, self, preconditioner)


class ConjugateGradientFactor(InverseBySolves):
    """A curvature to multiply with and its preconditioner: ``factor(B)`` is ``(H^-1 B, SolveInfo)``."""

    def __init__(self, curvature, solver, preconditioner=None):
        self.curvature = curvature
        self.solver = solver
        self.direct = None  # the same curvature factored, where that is what preconditions
        # The flat directions of another curvature are not this one's, and a far one's preconditioner wears out.
        flat = not is_penalised(curvature)  # or may be, with fewer rows
        if preconditioner is None or flat or preconditioner.nullity or preconditioner.worn:
            self._preconditioner = make_preconditioner(curvature, solver.preconditioner, solver.n_directions)
            if isinstance(self._preconditioner, Exact):
                self.direct = self._preconditioner.factor
        elif preconditioner.iterative:
            self._preconditioner = preconditioner._preconditioner
        else:
            self._preconditioner = Exact(preconditioner)
        self.nullity = self._preconditioner.nullity
        self.worn = False

    @property
    def operations(self):
        """Floating-point operations of one right-hand side, at the twenty iterations that are usual."""
        return 20 * self.curvature.operations

    def __call__(self, B, tol=None, less=None, rough=None):
        """Solve for the columns of B, to ``tol`` where that is looser than the solver's.

        With ``less`` each column has a curvature of its own: what ``less.product(V, columns)`` gives for it is
        subtracted. ``rough`` is :meth:`rough` of B, where it is known.
        """
        tol = self.solver.tol if tol is None else max(tol, self.solver.tol)
        X = np.empty(B.shape)
        parts = []
        for part in blocks(B.shape[1], block_size(64 * len(B) + self.curvature.product_bytes, largest=512)):
            common, rest = self.curvature.split_common(B[:, part])
            columns = np.arange(B.shape[1])[part]
            Z = rough[:, part] if rough is not None and common is None else self._preconditioner(rest)
            X[:, part], *done = self._solve(rest, Z, tol, lambda V, some, at=columns: self._product(V, less, at[some]))
            if common is not None:
                X[:, part] += common
            parts.append(done)
        residual = np.concatenate([left for left, *_ in parts]) if parts else np.zeros(0)
        iterations = max((n for _, n, _ in parts), default=0)
        flat = any(flat for *_, flat in parts)
        self.worn = iterations > _WORN
        info = SolveInfo(
            self.solver,
            not flat and bool((residual <= 10 * tol).all()),
            iterations,
            residual,
            self._reason(residual, iterations, flat, tol),
            self._preconditioner.rcond,
            self.nullity,
        )
        return X, report(info)

    def _reason(self, residual, iterations, flat, tol):
        how = f"conjugate gradients, {self._preconditioner.name}"
        if flat:
            return f"{how}: a direction without curvature was met; use solver='direct', or add a penalty"
        if (residual <= 10 * tol).all():
            return f"{how}: converged in {iterations} iteration{'s' * (iterations != 1)}"
        if iterations >= self.solver.max_iter:
            return f"{how}: not converged after max_iter = {iterations} iterations; raise it, or use solver='direct'"
        return f"{how}: rounding keeps the residual above tol = {self.solver.tol:g}; raise it, or use solver='direct'"

    def rough(self, B):
        """``H^-1 B`` by the preconditioner alone: right in order of magnitude, for scales."""
        return self._preconditioner(B)

    def minimum_norm(self, params):
        return self._preconditioner.minimum_norm(params) if self.nullity else params

    def _product(self, V, less, columns):
        product = self.curvature.matmat(V)
        if less is not None:
            product -= less.product(V, columns)
        return product

    def _solve(self, B, Z, tol, product):
        """Solutions of some columns, their true residuals relative to B, iterations, and whether a flat one was met;
        from Z, what the preconditioner makes of B."""
        start = np.einsum("pk,pk->k", B, Z)
        X, left, iterations, flat = self._iterate(B, Z, start, tol, self.solver.max_iter, product)
        if tol > self.solver.tol:  # a step among several: its own recursion's word is enough
            return X, relative_norms(left, start), iterations, flat
        for _ in range(_CORRECTIONS):
            R = B - product(X, slice(None))
            Z = self._preconditioner(R)
            residual = relative_norms(np.einsum("pk,pk->k", R, Z), start)
            again = np.flatnonzero(residual > 2 * tol)
            room = self.solver.max_iter - iterations
            if not len(again) or flat or room <= 0:
                break
            more, _, n, flat = self._iterate(
                R[:, again], Z[:, again], start[again], tol, room, lambda V, some, at=again: product(V, at[some])
            )
            better = np.zeros(X.shape)
            better[:, again] = more
            iterations += n
            X = X + better
        return X, residual, iterations, flat

    def _iterate(self, R, Z, start, tol, max_iter, product):
        """The recursion from 0, which stops column by column at ``tol**2 * start`` of R'Z; and what is left of that."""
        goal = tol**2 * start
        X = np.zeros(R.shape)
        rho = np.einsum("pk,pk->k", R, Z)
        left = rho.copy()
        active = np.flatnonzero((start > 0) & (rho > goal))
        R, P, rho = R[:, active].copy(), Z[:, active].copy(), rho[active]
        MP = R.copy()  # what the preconditioner inverts, times P
        n_iter, flat, lowest, since, steepest = 0, False, np.inf, 0, 0.0
        while len(active) and n_iter < max_iter:
            HP = product(P, active)
            bend, own = np.einsum("pk,pk->k", P, HP), np.einsum("pk,pk->k", P, MP)
            steepest = max(steepest, (bend / own).max())
            good = bend > _FLAT * steepest * own
            flat = flat or not good.all()
            length = np.divide(rho, bend, out=np.zeros_like(rho), where=good)
            X[:, active] += length * P
            HP *= length
            R -= HP
            Z = self._preconditioner(R)
            new = np.einsum("pk,pk->k", R, Z)
            n_iter += 1
            left[active] = new
            going = good & (new > goal[active])
            share = (new[going] / start[active[going]]).max(initial=0.0)
            since = 0 if share < 0.5 * lowest else since + 1
            lowest = min(lowest, share)
            if since > 200 or not np.isfinite(share):  # rounding, or a direction without curvature
                break
            turn = np.divide(new, rho, out=np.zeros_like(new), where=rho > 0)
            if going.all():
                P *= turn
                P += Z
                MP *= turn
                MP += R
            else:
                P = Z[:, going] + turn[going] * P[:, going]
                R = R[:, going]
                MP = R + turn[going] * MP[:, going]
            active, rho = active[going], new[going]
        return X, left, n_iter, flat
