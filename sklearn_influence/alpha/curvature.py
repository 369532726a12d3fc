"""The curvature of a kernel model, and its inverse on the coefficients of functions."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .._backend import on_device, to_numpy
from .._parallel import block_size, blocks
from ..solvers import ConjugateGradient, Direct
from ..solvers.info import SolveInfo, report
from .mixing import product
from .preconditioner import low_rank
from .roots import LeftOut
from .row_blocks import RowBlocks
from .system import factor_direct, iterate

# Iterations of conjugate gradients that a solve is taken to need.
_ITERATIONS = 30
# What an iteration does beside its product, for each entry of a column, in operations at the rate of a product.
_PASSES = 3000
_ROUGH = 1e-2


@dataclass(frozen=True)
class Cheapest(Direct):
    """What "auto" means for kernel models: a factor, or conjugate gradients where all outputs would be factored
    together for so few right-hand sides that these cost less."""


class KernelCurvature:
    """``sum_i W_i k(x_i, .) k(x_i, .)' + rho``, W_i the second derivative of a row's loss with its weight.

    Parameters
    ----------
    gram : Gram
    roots : Roots
        V with ``W = V V'``.
    strength : ndarray of shape (q,)
        rho of each output.
    """

    common_shifts = False

    def __init__(self, gram, roots, strength):
        self.gram, self.roots, self.strength = gram, roots, strength

    @property
    def coupled(self):
        """Whether all outputs are solved for together: the loss mixes them, or the kernel does."""
        return self.roots.coupled or self.gram.mixed

    @property
    def shape(self):
        return (len(self.gram) * len(self.strength),) * 2

    def at(self, strength):
        """The same at another strength (q,)."""
        return KernelCurvature(self.gram, self.roots, strength)

    def matmat(self, V):
        """``W K V + rho V`` (p, k): the curvature's products as coefficients."""
        out = self.leaving(None).matmat(V)
        inside = out[: self.shape[0]].reshape(len(self.gram), len(self.strength), -1)
        inside += self.strength[:, None] * V[: self.shape[0]].reshape(inside.shape)
        return out

    def leaving(self, rows):
        """What this curvature has of some rows, positions or None for all, to multiply with."""
        return RowsCurvature(self, rows)

    def factored(self, solver, preconditioner=None):
        """What the ``factor`` of a solver gives."""
        return KernelFactor(self, solver)


class RowsCurvature:
    """``W_S K`` of some rows: :meth:`KernelCurvature.leaving`."""

    def __init__(self, curvature, rows):
        self.curvature, self.rows = curvature, rows

    def matmat(self, V):
        """Coefficients (p, k) that are 0 off the rows, for V (p, k)."""
        gram, q = self.curvature.gram, len(self.curvature.strength)
        n, rows = len(gram), slice(None) if self.rows is None else self.rows
        K = gram.matrix if self.rows is None else gram.rows(rows)
        out, inside = np.zeros(V.shape), np.ascontiguousarray(V[: n * q])
        moved = to_numpy(product(K, on_device(inside, gram.device).reshape(n, q, -1)))
        out[: n * q].reshape(n, q, -1)[rows] = self.curvature.roots.take(rows).weigh(moved)
        return out


class KernelFactor:
    """An inverted curvature: ``factor(B)`` is ``((W K + rho)^-1 B, SolveInfo)`` for coefficients B (n q, k).

    Vectors may have entries behind those of the points (an offset of the outputs, which no solve moves).

    Parameters
    ----------
    curvature : KernelCurvature
    solver : Direct or ConjugateGradient
    systems : list, optional
        What is factored already, one for each of :attr:`strengths`.
    n_core : int, optional
        How many of the points the systems are about; the others have no weight and stand behind them.
    """

    nullity, worn, rcond = 0, False, np.nan

    def __init__(self, curvature, solver, systems=None, n_core=None):
        self.curvature, self.solver = curvature, solver
        self.n_core = len(curvature.gram) if n_core is None else n_core
        self.iterative = not isinstance(solver, Direct)
        self.strengths = [float(rho) for rho in dict.fromkeys(curvature.strength.tolist())]
        if systems is not None:
            self.systems = systems

    @cached_property
    def systems(self):
        """One for each of :attr:`strengths`; made when it is first needed."""
        return [self._factored(rho) for rho in self.strengths]

    def for_columns(self, k, *, inverse=False):
        """What solves for k right-hand sides: itself, or conjugate gradients where a factor that is not there yet, of
        all outputs together, would cost more than they do; with its ``inverse``, three times as much."""
        if not isinstance(self.solver, Cheapest) or not self.curvature.coupled or "systems" in self.__dict__:
            return self
        n, q = len(self.curvature.gram), len(self.curvature.strength)
        iteration = (2 * n * self.curvature.gram.width + _PASSES) * n * q
        if (n * q) ** 3 / (1 if inverse else 3) <= k * _ITERATIONS * iteration:
            return self
        return KernelFactor(self.curvature, ConjugateGradient())

    def _factored(self, rho):
        K, roots = self.curvature.gram.matrix, self.curvature.roots
        if not self.iterative and isinstance(K, RowBlocks):
            raise ValueError(
                f"solver='direct' needs the kernel matrix of {len(K):,} rows and a factor of it on one device, which "
                "does not hold them. Use solver='cg', or device='cpu'."
            )
        if self.iterative:
            nearby = low_rank(K, roots, rho)
            return iterate(K, roots, rho, self.solver.tol, max_iter=self.solver.max_iter, preconditioner=nearby)
        return factor_direct(K, roots, rho)

    def with_points(self, gram, roots):
        """The factor once points without weight stand behind those that it has."""
        curvature = KernelCurvature(gram, roots, self.curvature.strength)
        return KernelFactor(curvature, self.solver, self.systems, self.n_core)

    @property
    def operations(self):
        """Floating-point operations of one right-hand side."""
        size = self.n_core * (len(self.curvature.strength) if self.curvature.coupled else 1)
        return (_ITERATIONS if self.iterative else 2) * 2 * size**2

    @property
    def reason(self):
        if self.iterative:
            return "solved by conjugate gradients on the kernel matrix"
        return "solved by Cholesky factorisation on the kernel matrix"

    def __call__(self, B, **options):
        return self._each(B, self._solve)

    def transposed(self, G):
        """``(K W + rho)^-1 G`` of derivatives of outputs G (n q, k), as outputs of the points."""
        return self._each(G, self._solve_transposed)[0]

    def _solve(self, system, B, rho):
        if self.n_core == B.shape[0]:
            return system.solve(B)
        core = slice(0, self.n_core)
        moved = self._product(B)[core]
        X = B / rho
        X[core] -= to_numpy(system.from_roots(system.roots.ttimes(self._there(moved)))) / rho
        return X

    def _solve_transposed(self, system, G, rho):
        if self.n_core == G.shape[0]:
            return system.solve_transposed(G)
        core, pulled = slice(0, self.n_core), np.zeros(G.shape)
        pulled[core] = to_numpy(system.from_roots(system.roots.ttimes(self._there(G[core]))))
        return (G - self._product(pulled)) / rho

    def _there(self, B):
        return on_device(np.ascontiguousarray(B), self.curvature.gram.device)

    def _product(self, B):
        return to_numpy(product(self.curvature.gram.matrix, self._there(B)))

    def _each(self, B, solve):
        """Solve the outputs of each strength by their system, in blocks of columns."""
        n, q, k = len(self.curvature.gram), len(self.curvature.strength), B.shape[1]
        X, infos = np.zeros(B.shape), []
        inside, out = B[: n * q].reshape(n, q, k), X[: n * q].reshape(n, q, k)
        for rho, system in zip(self.strengths, self.systems, strict=True):
            own = np.flatnonzero(self.curvature.strength == rho)
            for part in blocks(k, block_size(48 * n * len(own), largest=max(k, 1))):
                piece = inside[:, own, part]
                system.converged = True  # as far as this question goes, whatever came of those before
                solved = solve(system, self._there(piece) if self.n_core == n else piece, rho)
                out[:, own, part] = to_numpy(solved)
                infos.append((system.converged, getattr(system, "n_iter", 1)))
        converged, iterations = all(info[0] for info in infos), max((info[1] for info in infos), default=0)
        residual = np.full(k, 0.0 if converged else np.nan)
        solver = Direct() if isinstance(self.solver, Cheapest) else self.solver
        return X, report(SolveInfo(solver, converged, iterations, residual, self.reason))

    def rough(self, B):
        return self(B)[0]

    def roughly(self):
        """The same where two digits do: of a factor all of them."""
        if not self.iterative:
            return self
        solver = replace(self.solver, tol=_ROUGH)
        systems = [system.at(_ROUGH) for system in self.systems] if "systems" in self.__dict__ else None
        return KernelFactor(self.curvature, solver, systems, self.n_core)

    @property
    def direct(self):
        return self

    def minimum_norm(self, params):
        return params

    def left_out(self, rows, B):
        """``(W_-i K + rho)^-1 b`` for each column b of B (n q, k) and the row i that its curvature is without, by
        conjugate gradients: all columns together, and one for a row whatever its outputs."""
        gram, n, q = self.curvature.gram, len(self.curvature.gram), len(self.curvature.strength)
        rho, X, solver = self.strengths[0], np.empty(B.shape), self.solver
        roots, nearby = self.curvature.roots.like(gram.matrix), self.systems[0].preconditioner
        converged, n_iter = True, 0
        for part in blocks(len(rows), block_size(96 * n * q, largest=max(len(rows), 1))):
            system = iterate(
                gram.matrix,
                LeftOut(roots, rows[part]),
                rho,
                solver.tol,
                max_iter=solver.max_iter,
                preconditioner=nearby,
            )
            X[:, part] = to_numpy(system.solve(self._there(B[:, part].reshape(n, q, -1)))).reshape(n * q, -1)
            converged, n_iter = converged and system.converged, max(n_iter, system.n_iter)
        report(SolveInfo(solver, converged, n_iter, np.full(len(rows), 0.0 if converged else np.nan), self.reason))
        return X

    # -- what leaves -----------------------------------------------------------------------------------------------

    def left_over(self, rows):
        """``1 - h`` of rows whose outputs do not mix, h their leverage, as ``rho N_ii`` and so without cancellation:
        (k, q). For coupled outputs the (k, q, q) blocks ``rho N_ii``. None where only solves can tell."""
        if self.iterative or self.n_core != len(self.curvature.gram):
            return None
        q = len(self.curvature.strength)
        if self.curvature.coupled:
            return self.strengths[0] * to_numpy(self.systems[0].inverse_diagonal())[rows]
        out = np.empty((len(rows), q))
        for rho, system in zip(self.strengths, self.systems, strict=True):
            out[:, self.curvature.strength == rho] = rho * to_numpy(system.inverse_diagonal())[rows, None]
        return out

    def coefficients_without(self, rows, A):
        """Coefficients (n, q) of a squared loss once some rows have left, 0 on these, from those of all rows."""
        out = np.zeros(A.shape)
        for rho, system in zip(self.strengths, self.systems, strict=True):
            own = self.curvature.strength == rho
            V = to_numpy(system.roots.values)
            x = np.divide(A[:, own], V, out=np.zeros_like(A[:, own]), where=V > 0)
            out[:, own] = V * to_numpy(system.without(rows, self._there(x[:, :, None])))[:, :, 0]
        return out

    def without(self, rows, B):
        """``(W_R K + rho)^-1 B`` of the curvature without some rows, for coefficients B (n q, k)."""
        n, q = len(self.curvature.gram), len(self.curvature.strength)
        inside, X = B[: n * q].reshape(n, q, -1), np.zeros((n * q, B.shape[1]))
        moved = self._product(inside)
        moved[rows] = 0.0
        for rho, system in zip(self.strengths, self.systems, strict=True):
            own = np.flatnonzero(self.curvature.strength == rho)
            pushed = system.solve_roots(system.roots.ttimes(self._there(moved[:, own])))
            pulled = to_numpy(system.roots.times(system.without(rows, pushed)))
            X.reshape(n, q, -1)[:, own] = (inside[:, own] - pulled) / rho
        return X
