"""Factor the curvature once: Cholesky, or the eigendecomposition where it is singular."""

import copy
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from .. import _backend
from .._parallel import block_size, blocks
from .info import SolveInfo, report
from .steps import damped_option, relative_norms

# Below this reciprocal condition a block of one output is decomposed; eigenvalues below _SMALL of the largest then come
# from the rows.
_CAREFUL = 1e-6
_SMALL = 1e-5
# What a difference of two blocks may lose of the condition of the first, where outputs mix.
_DIGITS = 0.01
# Up to this size a product with the inverse of the factor takes half the time of a triangular solve; above they are
# alike, and the inverse would be another array of this size.
_INVERTED = 1024


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
    operations by Cholesky, about 9 b**3 by ``eigh``; then 2 b**2 a right-hand side, and as much for its residual. The
    condition is estimated from the factor (``pocon``).

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

    exact = True
    curvature_kind = "hessian"

    def __post_init__(self):
        damped_option(self.damping)

    def factor(self, curvature, preconditioner=None):
        """Factor ``curvature``; a direct solve has no use for a preconditioner."""
        if hasattr(curvature, "factored"):
            return curvature.factored(self)
        return DirectFactor(curvature.damped(self.damping) if self.damping else curvature, self)


class DirectFactor:
    """A factored curvature: ``factor(B)`` is ``(H^-1 B, SolveInfo)``."""

    iterative = worn = False

    def __init__(self, curvature, solver, blocks=None):
        self.curvature = curvature
        self.solver = solver
        self.block_of = curvature.block_of()
        self.blocks = _factored(curvature, self.block_of) if blocks is None else blocks
        self.nullity = sum(self.blocks[b].nullity for b in self.block_of)
        self.rcond = min(block.rcond for block in self.blocks)
        if self.nullity:
            self.reason = (
                f"singular: {self.nullity} of {curvature.shape[0]} directions are flat; "
                "solved by eigendecomposition, smallest norm along them"
            )
        elif any(block.L is None for block in self.blocks):
            self.reason = "solved by eigendecomposition, since it is close to singular"
        else:
            self.reason = "solved by Cholesky factorisation"

    def __call__(self, B):
        Z = self.curvature.encode(B)
        left, size = np.zeros(B.shape[1]), np.zeros(B.shape[1])
        for o, b in enumerate(self.block_of):
            for part in blocks(Z.shape[2], block_size(40 * Z.shape[1], share=1 / 16)):
                Z[o][:, part], *squares = self.blocks[b].solve_checked(Z[o][:, part])
                left[part] += squares[0]
                size[part] += squares[1]
        return self.curvature.decode(Z), self._report(relative_norms(left, size))

    @property
    def downdates(self):
        """Whether :meth:`downdated` can start from this: a decomposed block has lost the digits it would need."""
        return all(block.L is not None for block in self.blocks)

    def downdated(self, rows, retained, entering=()):
        """The factor of the rows that stay, from this one; None where too few digits would be left.

        Parameters
        ----------
        rows : ndarray of int
            Positions, in this factor's curvature, of the rows that leave.
        retained : curvature
            That of the other rows, at the same parameters; undamped, as the solver's ``factor`` takes it.
        entering : ndarray of int, optional
            Positions, in ``retained``, of rows that were not there or were others.

        Returns
        -------
        DirectFactor or None
            Of ``retained``, about the centre of this factor's curvature. This factor stays as it is.

        Notes
        -----
        The leaving rows' own Gram matrix is subtracted from the cached one, that of the entering rows added, and the
        result factored: |rows| p**2 and p**3 / 3 operations, whatever the number of rows that stay. It has the rounding
        of the cached matrix, which does not do where the rows hold nearly all of a direction.
        """
        if not self.downdates:
            return None
        if self.solver.damping:
            retained = retained.damped(self.solver.damping)
        parts = [self.curvature.leaving(rows, retained).dense()]
        if len(entering):
            parts.append(retained.about(self.curvature.centre).leaving(entering).dense())
        blocks = []
        for b, block in enumerate(self.blocks):
            less, *more = (matrices[which[self.block_of.index(b)]] for matrices, which in parts)
            blocks.append(block.without(less - more[0] if more else less, careful=not self.curvature.coupled))
            if blocks[-1] is None:
                return None
        return DirectFactor(retained.about(self.curvature.centre), self.solver, blocks)

    def _report(self, residual):
        return report(SolveInfo(self.solver, True, 1, residual, self.reason, self.rcond, self.nullity))

    @property
    def direct(self):
        """The factored curvature itself, for certificates; not kept, since a cycle would hold its memory."""
        return self

    def rough(self, B):
        """``H^-1 B`` at the price of a preconditioner: here the solution itself, its residual not looked at."""
        Z = self.curvature.encode(B)
        for o, b in enumerate(self.block_of):
            Z[o] = self.blocks[b].solve(Z[o])
        return self.curvature.decode(Z)

    @property
    def operations(self):
        """Floating-point operations of one right-hand side."""
        return 2 * sum(self.blocks[b].size ** 2 for b in self.block_of)

    @property
    def largest_block(self):
        return max(block.size for block in self.blocks)

    def inverse(self, b):
        """Block b of H^-1, in the coordinates of ``curvature.dense``, on the device that its factor lies on."""
        self._report(np.zeros(0))
        return self.blocks[b].inverse()

    def squares(self, b, Z):
        """``z' H^-1 z`` for each row z of Z (k, width), on any device, in those coordinates: (k,)."""
        self._report(np.zeros(0))
        half = self.blocks[b].half(Z.T)
        return _backend.inner(half, half, axis=0)

    def minimum_norm(self, params):
        """``params`` (p,) without their part along flat directions."""
        if not self.nullity:
            return params
        Z = self.curvature.encode_params(params[:, None])
        for o, b in enumerate(self.block_of):
            Z[o] = self.blocks[b].project(Z[o])
        return self.curvature.decode(Z)[:, 0]


def _factored(curvature, block_of):
    """The factors of a curvature's dense blocks."""
    matrices, _ = curvature.dense()
    if curvature.coupled:
        return [_BlockFactor(matrices[0], curvature.normed)]
    outputs = [block_of.index(b) for b in range(len(matrices))]
    return [
        _BlockFactor(matrix, curvature.normed, partial(curvature.form, o), curvature.rank_bound(o))
        for matrix, o in zip(matrices, outputs, strict=True)
    ]


class _BlockFactor:
    """Inverse of one symmetric block, scaled to unit diagonal before anything else; the block is lost.

    ``form(V)`` gives V' A V from the rows, and its rounding. Forming A squared the rows' condition, so that its
    smallest eigenvalues are rounding long before the directions are flat; along them the form decides. Without it
    (outputs that mix, which have a penalty or a known gauge) the floor of float64 does.
    """

    def __init__(self, A, normed, form=None, rank_bound=None):
        self.size = A.shape[0]
        self._rank_bound = self.size if rank_bound is None else rank_bound
        self._factor(A)
        self.nullity, self._flat = 0, None
        floor = max(1e-13, 4 * np.finfo(float).eps * self.size)
        if self.rcond < (floor if form is None else _CAREFUL):
            S, self.L = _backend.upper_triangle(self.L, self._diagonal), None
            self._decompose(S, floor, normed, form)

    def _factor(self, A):
        """Scale A and take its Cholesky factor in place; rcond is 0 where it has none."""
        diagonal = _backend.diagonal(A)
        self.scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        scale = _backend.beside(self.scale, A)
        A *= scale[:, None]
        A *= scale
        self._diagonal, norm = _backend.diagonal(A), _backend.one_norm(A)
        if not np.isfinite(norm):
            raise ValueError(
                "The curvature has entries that are no finite numbers: products of the features overflow. Rescale "
                "the features, and look for weights or parameters that are not finite."
            )
        # One array holds both: the factor below, the scaled block above the diagonal.
        self.L, definite = _backend.cholesky(A)
        self.rcond = _backend.reciprocal_condition(self.L, norm) if definite else 0.0

    def without(self, part, *, careful):
        """The factor of the block less a part (b, b) of it; None where too few digits are left.

        The difference has the block's rounding, which counts for more by the share that is left of each diagonal entry.
        A ``careful`` one is as well conditioned as what is factored without a look at its rows; else two digits may go.
        """
        A = _backend.factored_matrix(self.L, self._diagonal)
        scale = _backend.beside(self.scale, A)
        A /= scale[:, None]
        A /= scale
        before = _backend.diagonal(A)
        A -= part
        left = _backend.diagonal(A)[before > 0] / before[before > 0]
        least = left.min(initial=1.0)
        if least <= 0:
            return None
        new = copy.copy(self)
        new.__dict__.pop("_inverse_root", None)
        new._factor(A)
        return new if new.rcond * least >= (_CAREFUL if careful else min(_CAREFUL, _DIGITS * self.rcond)) else None

    def _decompose(self, S, floor, normed, form):
        self._upper = S.copy(order="F")
        values, vectors = _backend.eigh(S, lower=False, overwrite=True)
        kept = values > floor * max(values[-1], 0.0)
        small = values < _SMALL * max(values[-1], 0.0)
        if form is not None and small.any():
            lowest, below, noise = self._from_rows(form, vectors[:, small])
            vectors = np.hstack([below, vectors[:, ~small]])
            # Beside the rounding of the form, that of the eigenvectors: they lean on the larger directions by eps.
            noise = 10 * noise + (8 * np.finfo(float).eps) ** 2 / _SMALL * values[-1]
            kept = np.concatenate([lowest > noise, values[~small] > 0])
            values = np.concatenate([lowest, values[~small]])
        # Where there are more unknowns than rows, no rounding makes up for the rows that are not there.
        kept[np.argsort(values)[: max(self.size - self._rank_bound, 0)]] = False
        self.nullity = int((~kept).sum())
        root = self.scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])
        self.rcond = float(values[kept].min() / values.max()) if kept.any() else 0.0
        if self.nullity:
            self._null = vectors[:, ~kept]
            flat = self.scale[:, None] * self._null  # spans the null space of the unscaled block
            flat /= np.linalg.norm(flat, axis=0)
            self._flat = (flat, np.linalg.pinv(flat * normed[:, None]))
        self._root = self.project(root)

    def _from_rows(self, form, vectors):
        """Eigenvalues of the scaled block on the span of some vectors (b, k), as its rows have them; the eigenvectors,
        and the rounding of the form along them."""
        exact, noise = form(self.scale[:, None] * vectors)
        values, turn = _backend.eigh(exact)
        vectors, noise = vectors @ turn, (turn**2).T @ noise
        small = values < _SMALL * max(values[-1], 0.0)  # these in turn have the rounding of the larger ones
        if small.any() and not small.all():
            values[small], vectors[:, small], noise[small] = self._from_rows(form, vectors[:, small])
        return values, vectors, noise

    def project(self, Z):
        """Z (b, k) with its part along the flat directions taken out: the smallest norm off the intercepts."""
        if self._flat is None:
            return Z
        flat, inverse = self._flat
        return Z - flat @ (inverse @ Z)

    def solve(self, B):
        if self.L is None:
            return self._root @ (self._root.T @ B)
        scale = _backend.beside(self.scale, B)[:, None]
        return scale * _backend.cholesky_solve(self.L, scale * B)

    def solve_checked(self, B):
        """The solution, and the squares (k,) of its residual and of B in units of the diagonal."""
        B = self._here(B)  # one way there and back for the solve and its check
        scale = self._here(self.scale)[:, None]
        X, scaled = self.solve(B), scale * B
        S = self._upper if self.L is None else self.L
        left = _backend.symmetric_product(S, self._diagonal, X / scale) - scaled
        if self._flat is not None:
            left -= self._null @ (self._null.T @ left)
        return _backend.to_numpy(X), _backend.inner(left, left, axis=0), _backend.inner(scaled, scaled, axis=0)

    def _here(self, array):
        """An array on the device that the factor lies on; what was decomposed lies on the CPU."""
        return _backend.beside(array, self.L.matrix) if self._is_held else _backend.to_numpy(array)

    @property
    def _is_held(self):
        return isinstance(self.L, _backend.HeldFactor)

    @cached_property
    def _inverse_root(self):
        return _backend.triangular_inverse(self.L) * self.scale

    def half(self, B):
        """R' B with ``H^-1 = R R'``: squared column norms are leverages, at half the cost of a solve."""
        if self.L is None:
            return _backend.product(self._root.T, B)
        if self._is_held or self.size > _INVERTED:
            return _backend.triangular_solve(self.L, _backend.beside(self.scale, B)[:, None] * B)
        return _backend.triangular_product(self._inverse_root, B)

    def inverse(self):
        """The dense (b, b) inverse, for quadratic forms on whole row blocks."""
        if self.L is None:
            return self._root @ self._root.T
        inverse = _backend.cholesky_inverse(self.L)
        scale = _backend.beside(self.scale, inverse)
        inverse *= scale[:, None]
        inverse *= scale
        return inverse
