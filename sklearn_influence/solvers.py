"""Ways to apply the inverse of a curvature.

A solver is frozen options. ``factor(curvature)`` returns a callable ``solve(B) -> (X, SolveInfo)``; it meets a
curvature only through ``matmat``, ``diagonal``, ``damped`` and ``dense`` with its coordinates.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from numbers import Real

import numpy as np

from . import _backend

__all__ = ["Direct", "SolveInfo", "get_solver"]

# Below this reciprocal condition a block of one output is decomposed; eigenvalues below _SMALL of the largest then come
# from the rows.
_CAREFUL = 1e-6
_SMALL = 1e-5


@dataclass(frozen=True)
class SolveInfo:
    """How a solve went.

    Attributes
    ----------
    converged : bool
    iterations : int
        1 for a direct solve.
    reason : str
        In words, for a person.
    rcond : float
        Estimated reciprocal condition of the curvature, each parameter scaled to unit diagonal.
    nullity : int
        Directions without curvature, along which the solution of smallest norm was taken. A softmax model's common
        shift of the intercepts, known beforehand, is not counted.
    """

    converged: bool
    iterations: int
    reason: str
    rcond: float
    nullity: int


@dataclass(frozen=True)
class Direct:
    """Factor the curvature once: Cholesky, or the eigendecomposition where it is singular.

    Parameters
    ----------
    damping : float, default=0.0
        Added to the curvature, relative to its own diagonal, parameter by parameter; so it has no unit. Any damping
        biases the result and voids "exact".

    Notes
    -----
    Cost for b unknowns (all parameters of a softmax model; one target's of a linear one): b**2 memory, b**3 / 3
    operations by Cholesky, about 9 b**3 by ``eigh``; then 2 b**2 a right-hand side.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.solvers import Direct
    >>> X, y = load_diabetes(return_X_y=True)
    >>> plain = InfluenceEstimator(Ridge(alpha=0.1)).fit(X, y).leverages([0])
    >>> damped = InfluenceEstimator(Ridge(alpha=0.1), solver=Direct(damping=0.1)).fit(X, y).leverages([0])
    >>> bool(damped < plain)
    True
    """

    damping: float = 0.0

    def __post_init__(self):
        if isinstance(self.damping, bool) or not isinstance(self.damping, Real):
            raise TypeError(f"damping must be a number >= 0, got {self.damping!r}.")
        if not 0 <= self.damping < np.inf:
            raise ValueError(f"damping must be a finite number >= 0, got {self.damping!r}.")

    def factor(self, curvature, preconditioner=None):
        """Factor ``curvature``; a direct solve has no use for a preconditioner."""
        return DirectFactor(curvature.damped(self.damping) if self.damping else curvature, self)


class DirectFactor:
    """A factored curvature: ``factor(B)`` is ``(H^-1 B, SolveInfo)``."""

    def __init__(self, curvature, solver):
        self.curvature = curvature
        self.solver = solver
        matrices, self.block_of = curvature.dense()
        if not all(np.isfinite(matrix).all() for matrix in matrices):
            raise ValueError(
                "The curvature has entries that are no finite numbers: products of the features overflow. Rescale "
                "the features, and look for weights or parameters that are not finite."
            )
        self.blocks = []
        for b, matrix in enumerate(matrices):
            if curvature.coupled:
                self.blocks.append(_BlockFactor(matrix, curvature.normed))
                continue
            o = self.block_of.index(b)
            self.blocks.append(
                _BlockFactor(matrix, curvature.normed, partial(curvature.form, o), curvature.rank_bound(o))
            )
        self.nullity = sum(self.blocks[b].nullity for b in self.block_of)
        self.rcond = min(block.rcond for block in self.blocks)
        if self.nullity:
            reason = (
                f"singular: {self.nullity} of {curvature.shape[0]} directions are flat; "
                "solved by eigendecomposition, smallest norm along them"
            )
        elif any(block.L is None for block in self.blocks):
            reason = "solved by eigendecomposition, since it is close to singular"
        else:
            reason = "solved by Cholesky factorisation"
        self.info = SolveInfo(True, 1, reason, self.rcond, self.nullity)

    def __call__(self, B):
        Z = self.curvature.encode(B)
        for o, b in enumerate(self.block_of):
            Z[o] = self.blocks[b].solve(Z[o])
        return self.curvature.decode(Z), self.info

    @property
    def operations(self):
        """Floating-point operations of one right-hand side."""
        return 2 * sum(self.blocks[b].size ** 2 for b in self.block_of)

    def inverses(self):
        """The different dense blocks of H^-1, in the user's coordinates."""
        return [self.curvature.decode_inverse(block.inverse()) for block in self.blocks]

    def minimum_norm(self, params):
        """``params`` (p,) without their part along flat directions."""
        if not self.nullity:
            return params
        Z = self.curvature.encode_params(params[:, None])
        for o, b in enumerate(self.block_of):
            Z[o] = self.blocks[b].project(Z[o])
        return self.curvature.decode(Z)[:, 0]


class _BlockFactor:
    """Inverse of one symmetric block, scaled to unit diagonal before anything else.

    ``form(V)`` gives V' A V from the rows, and its rounding. Forming A squared the rows' condition, so that its
    smallest eigenvalues are rounding long before the directions are flat; along them the form decides. Without it
    (outputs that mix, which have a penalty or a known gauge) the floor of float64 does.
    """

    def __init__(self, A, normed, form=None, rank_bound=None):
        self.size = len(A)
        self._rank_bound = self.size if rank_bound is None else rank_bound
        diagonal = np.diagonal(A)
        self.scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        S = A * self.scale[:, None]
        S *= self.scale
        floor = max(1e-13, 4 * np.finfo(float).eps * self.size)
        self.L = _backend.cholesky(S)
        self.rcond = 0.0 if self.L is None else _backend.reciprocal_condition(self.L, _backend.one_norm(S))
        self.nullity, self._flat = 0, None
        if self.rcond < (floor if form is None else _CAREFUL):
            self.L = None
            self._decompose(S, floor, normed, form)

    def _decompose(self, S, floor, normed, form):
        values, vectors = _backend.eigh(S)
        kept = values > floor * max(values[-1], 0.0)
        small = values < _SMALL * max(values[-1], 0.0)
        if form is not None and small.any():
            exact, noise = form(self.scale[:, None] * vectors[:, small])
            lowest, turn = _backend.eigh(exact)
            vectors = np.hstack([vectors[:, small] @ turn, vectors[:, ~small]])
            # Beside the rounding of the form, that of the eigenvectors: they lean on the larger directions by eps.
            noise = 10 * (turn**2).T @ noise + (8 * np.finfo(float).eps) ** 2 / _SMALL * values[-1]
            kept = np.concatenate([lowest > noise, values[~small] > 0])
            values = np.concatenate([lowest, values[~small]])
        # Where there are more unknowns than rows, no rounding makes up for the rows that are not there.
        kept[np.argsort(values)[: max(self.size - self._rank_bound, 0)]] = False
        self.nullity = int((~kept).sum())
        root = self.scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])
        self.rcond = float(values[kept].min() / values.max()) if kept.any() else 0.0
        if self.nullity:
            flat = self.scale[:, None] * vectors[:, ~kept]  # spans the null space of the unscaled block
            flat /= np.linalg.norm(flat, axis=0)
            self._flat = (flat, np.linalg.pinv(flat * normed[:, None]))
        self._root = self.project(root)

    def project(self, Z):
        """Z (b, k) with its part along the flat directions taken out: the smallest norm off the intercepts."""
        if self._flat is None:
            return Z
        flat, inverse = self._flat
        return Z - flat @ (inverse @ Z)

    def solve(self, B):
        if self.L is None:
            return self._root @ (self._root.T @ B)
        return self.scale[:, None] * _backend.cholesky_solve(self.L, self.scale[:, None] * B)

    @cached_property
    def _inverse_root(self):
        return _backend.triangular_inverse(self.L) * self.scale

    def half(self, B):
        """R' B with ``H^-1 = R R'``: squared column norms are leverages, at half the cost of a solve."""
        if self.L is None:
            return self._root.T @ B
        return _backend.triangular_product(self._inverse_root, B)

    def inverse(self):
        """The dense (b, b) inverse, for quadratic forms on whole row blocks."""
        if self.L is None:
            return self._root @ self._root.T
        return self.solve(np.eye(self.size))


def newton_step(factor, gradient):
    """The step ``-H^-1 g`` (p,) and the Newton decrement ``sqrt(g' H^-1 g)``."""
    step = -factor(gradient[:, None])[0][:, 0]
    return step, float(np.sqrt(max(-(gradient @ step), 0.0)))


def error_norms(factor, error):
    """How large ``H^-1 e`` can be for errors of a known size (p,) and unknown signs: in the norm of H, and Euclidean.

    The larger of eight random patterns of signs, doubled. Rounding errors have such signs; the worst pattern of all
    would take the absolute inverse, and is met by no computation.
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(len(error), 8))
    E = error[:, None] * signs
    solved = factor(E)[0]
    in_curvature = np.sqrt(max((E * solved).sum(axis=0).max(), 0.0))
    return 2.0 * float(in_curvature), 2.0 * float(np.linalg.norm(solved, axis=0).max())


def get_solver(solver):
    """The solver object that a name or object means.

    Parameters
    ----------
    solver : {"auto", "direct"} or a solver object
        "auto" is :class:`Direct` without damping.

    Raises
    ------
    ValueError
        For an unknown name; the text lists the ones there are.
    TypeError
        For anything that is neither a name nor a solver object.

    Examples
    --------
    >>> from sklearn_influence.solvers import get_solver
    >>> get_solver("auto")
    Direct(damping=0.0)
    """
    if isinstance(solver, str):
        if solver in ("auto", "direct"):
            return Direct()
        raise ValueError(
            f"solver must be 'auto', 'direct' or an object such as solvers.Direct(damping=...), got {solver!r}."
        )
    if not isinstance(solver, Direct):
        raise TypeError(f"solver must be 'auto', 'direct' or solvers.Direct(damping=...), got {solver!r}.")
    return solver
