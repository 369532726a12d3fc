r"""The linear systems of a kernel model, symmetric and well conditioned.

A kernel model has outputs ``f = f0 + K alpha`` (K (n, n), the same for all q outputs) and the penalty
``rho/2 alpha'K alpha``, rho its strength. With W the rows' weighted curvatures by the outputs, every Newton step and
every influence solves ``(W K + rho I) x = b``, which is neither symmetric nor, at a small rho, fit to be solved as it
stands. With ``W = V V'`` the symmetric ``M = rho I + V'KV`` takes its place, and ``N = M^-1``:

    (W K + rho I)^-1 V z = V N z,    (W K + rho I)^-1 b = (b - V N V'K b) / rho,

the first without cancellation. :class:`~.roots.Roots` is V and splits b into ``V z`` and a rest; a system holds M,
factored or only multiplied with. Where K mixes the outputs it is (n q, n q), and all else the same. K and what a system
is given lie in one array namespace: NumPy's, or a device's.

Source: "Extending Kernel Trick to Influence Functions", Eq. 5-13 (the system there is K times this one).
"""

import copy

import numpy as np

from .._backend import PositiveDefinite, check_memory, less_product, place_of, submatrix
from .mixing import mixes, places, product
from .roots import Roots, namespace_of
from .symmetric import symmetric_matrix

__all__ = ["Roots", "factor_direct", "iterate"]

# Residuals above so many units of rounding are worth another solve.
_ROUNDING = 64
_CORRECTIONS = 3
# Iterations of conjugate gradients in which the residual must have halved.
_PATIENCE = 200


class System:
    """``(W K + rho I)`` and its transpose, to be solved with; :func:`factor_direct` and :func:`iterate` make one.

    B, G and Z are arrays (n, q, k) of the namespace of K.

    Attributes
    ----------
    coupled : bool
        Whether all outputs are solved for together: the loss mixes them, or K does.
    n_products : int
        Products of K with (n, q) so far.
    """

    def __init__(self, K, roots, strength):
        if not strength > 0:
            raise ValueError(f"A kernel model's strength must be > 0, got {strength!r}.")
        if K.shape[0] not in (len(roots), len(roots) * roots.n_outputs):
            raise ValueError(f"K is of {K.shape[0]} rows, and the roots are of {len(roots)}.")
        self.K, self.roots, self.strength = K, roots.like(K), float(strength)
        self.coupled = are_coupled(K, roots)
        self.n_products = 0
        self._xp = namespace_of(K)
        self.precision = float(np.finfo(np.dtype(str(self.roots.values.dtype).split(".")[-1])).eps)
        self.goal = _ROUNDING * self.precision  # residuals of a solve at most, relative

    def solve_roots(self, Z):
        """``N Z``."""
        raise NotImplementedError

    def from_roots(self, Z):
        """``V N Z``: the solution for ``B = V Z``, without cancellation."""
        return self.roots.times(self.solve_roots(Z))

    def solve(self, B):
        """``(W K + rho I)^-1 B``."""
        return self._refined(B, self._solve, lambda X: self.roots.weigh(self.product(X)))

    def solve_transposed(self, G):
        """``(K W + rho I)^-1 G``: changes of the outputs from changes G without their reaction."""
        return self._refined(G, self._solve_transposed, lambda X: self.product(self.roots.weigh(X)))

    def product(self, X):
        """``K X`` for X (n, q, k)."""
        self.n_products += X.shape[2]
        return product(self.K, X)

    def _solve(self, B):
        Z, rest = self.roots.split(B)
        if not self._xp.any(rest != 0):
            return self.from_roots(Z)
        Z = Z - self.roots.ttimes(self.product(rest)) / self.strength
        return self.from_roots(Z) + rest / self.strength

    def _solve_transposed(self, G):
        return (G - self.product(self.from_roots(self.roots.ttimes(G)))) / self.strength

    def _refined(self, B, solve, product):
        """Solve, and solve for what remains while it is more than was asked for, as at a small rho, and shrinks."""
        X, norm, before = solve(B), _norms(self._xp, B), None
        for _ in range(_CORRECTIONS):
            R = B - product(X) - self.strength * X
            left = _norms(self._xp, R)
            if not self._xp.any(left > self.goal * norm):
                break
            if before is not None and not self._xp.any(left < 0.1 * before):
                break
            X, before = X + solve(R), left
        return X


class DirectSystem(System):
    """``M = rho I + V'KV`` factored: one (n, n) factor for separate outputs, an (n q, n q) one for coupled ones.

    Cost: n**3 / 3, or (n q)**3 / 3, operations, and one matrix of that size beside K; a solve, four or so products
    with it a column.
    """

    def __init__(self, K, roots, strength):
        super().__init__(K, roots, strength)
        try:
            matrix = symmetric_matrix(self.K, self.roots, self.strength)
            self._factor = PositiveDefinite(matrix, overwrite=True)
        except np.linalg.LinAlgError:
            raise not_definite(strength) from None
        self._inverse = None

    def solve_roots(self, Z):
        flat = self._fold(Z)
        return self._unfold(self._inverse @ flat if self._factor is None else self._factor.solve(flat), Z.shape)

    @property
    def has_inverse(self):
        return self._inverse is not None

    def kept(self, rows, K, roots):
        """The system of some rows (ascending), whose K and roots are given, by taking the others out of the inverse:
        n**2 operations for each of the others, and no factor."""
        kept = self._places(rows)
        gone = np.delete(np.arange(self.size), kept)
        new = copy.copy(self)
        new.K, new.roots, new.n_products, new._factor = K, roots.like(K), 0, None
        new._inverse = submatrix(self._inverse, kept)
        if len(gone):
            leaving = self._xp.take(self._inverse, self._xp.asarray(gone), axis=0)  # rows lie in memory as one piece
            own = PositiveDefinite(self._xp.take(leaving, self._xp.asarray(gone), axis=1))
            half = own.solve_lower(self._xp.take(leaving, self._xp.asarray(kept), axis=1))
            new._inverse = less_product(new._inverse, half)
        return new

    @property
    def size(self):
        """Unknowns that are solved for together."""
        return len(self.roots) * self._width

    @property
    def _width(self):
        return self.roots.n_outputs if self.coupled else 1

    def inverse(self):
        """N, (n, n), or (n q, n q) with the outputs of a row beside one another; kept."""
        if self._inverse is None:
            self._inverse = self._factor.inverse()
        return self._inverse

    def inverse_diagonal(self):
        """The diagonal of N, (n,), or its (n, q, q) blocks."""
        n, q, N = len(self.roots), self.roots.n_outputs, self.inverse()
        if not self.coupled:
            return self._xp.linalg.diagonal(N)
        blocks = self._xp.reshape(N, (n, q, n, q))
        return self._xp.stack([blocks[i, :, i, :] for i in range(n)])

    def inverse_columns(self, rows):
        """``N[:, rows]``, (n, m), or (n q, m q): the columns of all outputs of the rows (NumPy integers)."""
        rows, size = self._places(rows), self.size
        if self._inverse is not None:
            return self._xp.matrix_transpose(self._xp.take(self._inverse, self._xp.asarray(rows), axis=0))
        units = np.zeros((size, len(rows)))
        units[rows, np.arange(len(rows))] = 1.0
        return self._factor.solve(self._xp.asarray(units, dtype=self.roots.values.dtype))

    def without(self, rows, X):
        """Solutions of the system without some rows: ``x - N[:, S] N_SS^-1 x_S``, and 0 on them.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)
            S.
        X : array of shape (n, q, k)
            x, :meth:`solve_roots` of right-hand sides whose other entries stay as they are.

        Returns
        -------
        array of shape (n, q, k)

        Notes
        -----
        Cost: m solves (none where :meth:`inverse` is at hand), n m**2, and no new factor.
        """
        rows, own_places = np.asarray(rows), self._xp.asarray(self._places(rows))
        columns = self.inverse_columns(rows)
        flat = self._fold(X)
        own = PositiveDefinite(self._xp.take(columns, own_places, axis=0))
        flat = flat - columns @ own.solve(self._xp.take(flat, own_places, axis=0))
        kept = np.ones((len(self.roots), 1, 1))
        kept[rows] = 0.0
        return self._unfold(flat, X.shape) * self._xp.asarray(kept, dtype=X.dtype)

    def _places(self, rows):
        """Rows and columns of M that belong to some rows."""
        return places(np.asarray(rows), self._width)

    def _fold(self, X):
        """(n, q, k) as right-hand sides of M."""
        shape = (-1, X.shape[2]) if self.coupled else (X.shape[0], -1)
        return self._xp.reshape(X, shape)

    def _unfold(self, X, shape):
        return self._xp.reshape(X, shape)


class IterativeSystem(System):
    """``M = rho I + V'KV`` solved by conjugate gradients, all columns at once, with one product of K an iteration.

    Attributes
    ----------
    converged : bool
        Whether every solve so far came to ``tol``.
    n_iter : int
        Iterations of the last solve.
    """

    def __init__(self, K, roots, strength, tol=1e-10, max_iter=2000, preconditioner=None):
        super().__init__(K, roots, strength)
        self.tol, self.max_iter, self.preconditioner = max(tol, 8 * self.precision), max_iter, preconditioner
        self.converged, self.n_iter = True, 0
        self.goal = max(self.goal, self.tol)

    def at(self, tol):
        """The same to another tolerance."""
        return IterativeSystem(self.K, self.roots, self.strength, tol, self.max_iter, self.preconditioner)

    def solve_roots(self, Z):
        goal = self.tol * self._lengths(Z)
        X, _, R = self.advance(Z, lambda left, KVX: not self._xp.any(left > goal))
        for _ in range(_CORRECTIONS):  # where rounding has let the recursion's residual run away from the true one
            R = Z - self.strength * X - self.roots.ttimes(self.product(self.roots.times(X)))
            if not self._xp.any(self._lengths(R) > 2 * goal):
                return X
            n_iter = self.n_iter
            more, _, _ = self.advance(R, lambda left, KVX: not self._xp.any(left > goal))
            X, self.n_iter = X + more, self.n_iter + n_iter
        self.converged = self.converged and not bool(self._xp.any(self._lengths(R) > 20 * goal))
        return X

    def advance(self, Z, stop):
        """Iterate towards ``N Z`` from 0 until ``stop(lengths of the residuals, K V X)``, or no more progress is made.

        Returns
        -------
        X, K V X, R : arrays of shape (n, q, k)
            The solution, its product, which the iterations give without another one, and the residual.
        """
        xp, n_iter = self._xp, 0  # its own count: threads may solve with one system
        X, KVX, R = xp.zeros_like(Z), xp.zeros_like(Z), Z
        P = self._preconditioned(R)
        before, left = self._dots(R, P), self._lengths(R)
        lowest, since = np.inf, 0
        while n_iter < self.max_iter and not stop(left, KVX):
            KVP = self.product(self.roots.times(P))
            MP = self.strength * P + self.roots.ttimes(KVP)
            bend = self._dots(P, MP)
            if xp.any(bend < 0):
                raise not_definite(self.strength)
            length = before / xp.where(bend > 0, bend, xp.ones_like(bend))
            X, KVX, R = X + length * P, KVX + length * KVP, R - length * MP
            Y, left = self._preconditioned(R), self._lengths(R)
            after = self._dots(R, Y)
            P = Y + (after / xp.where(before > 0, before, xp.ones_like(before))) * P
            before, n_iter = after, n_iter + 1
            worst = float(xp.max(left))
            since = 0 if worst < 0.5 * lowest else since + 1
            lowest = min(lowest, worst)
            if since > _PATIENCE or worst == 0.0:
                stop(left, KVX)
                break
        self.n_iter = n_iter
        return X, KVX, R

    def _preconditioned(self, R):
        return R if self.preconditioner is None else self.preconditioner(R)

    def _dots(self, X, Y):
        """Products of the columns: of each output's, or where they mix of all outputs together; to broadcast."""
        axis = (0, 1) if self.coupled else 0
        return self._xp.sum(X * Y, axis=axis, keepdims=True)

    def _lengths(self, X):
        return self._xp.sqrt(self._dots(X, X))


def factor_direct(K, roots, strength):
    """Factor the system of some rows.

    Parameters
    ----------
    K : array of shape (n, n), or (n q, n q) where it mixes the outputs
        Symmetric, positive semi-definite; it may be singular.
    roots : Roots
        Of the n rows.
    strength : float
        rho > 0.

    Returns
    -------
    DirectSystem

    Raises
    ------
    ValueError
        Before any work where the matrix would not fit in memory; where it is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.alpha.system import Roots, factor_direct
    >>> from sklearn_influence.losses import SquaredError
    >>> K, y, weight = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1.0], [0.0]]), np.ones(2)
    >>> roots = Roots.of(SquaredError(), y, np.zeros((2, 1)), weight)
    >>> factor_direct(K, roots, strength=1.0).solve(y[:, :, None]).ravel()  # kernel ridge
    array([ 0.375, -0.125])
    """
    n = len(roots) * (roots.n_outputs if are_coupled(K, roots) else 1)
    check_memory(
        8 * n * n,
        f"The factored system of {n:,} unknowns",
        "Use solver='cg', which needs no matrix beside the kernel's, or fewer rows.",
        place_of(K),
    )
    return DirectSystem(K, roots, strength)


def iterate(K, roots, strength, tol=1e-10, *, max_iter=2000, preconditioner=None):
    """Solve the system of some rows by conjugate gradients, without a matrix beside K.

    Parameters
    ----------
    K : array of shape (n, n) or (n q, n q), or an object with ``shape``, ``dtype``, ``xp`` and ``K @ B``
        Symmetric, positive semi-definite. ``xp`` is the namespace of B and of the product.
    roots : Roots
    strength : float
        rho > 0.
    tol : float
        Residuals of the symmetric system at most, relative to its right-hand side.
    max_iter : int
    preconditioner : callable, optional
        What is near ``N R`` for R (n, q, k), positive definite: :class:`~.preconditioner.LowRank`.

    Returns
    -------
    IterativeSystem

    Notes
    -----
    Cost: one product ``K @ (n, q k)`` an iteration, for all q outputs and k right-hand sides; memory about eight
    arrays of that size. The condition is at most ``1 + |V'KV| / rho``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.alpha.system import Roots, iterate
    >>> from sklearn_influence.losses import SquaredError
    >>> K, y, weight = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1.0], [0.0]]), np.ones(2)
    >>> system = iterate(K, Roots.of(SquaredError(), y, np.zeros((2, 1)), weight), strength=1.0)
    >>> system.solve(y[:, :, None]).ravel().round(6), system.n_iter
    (array([ 0.375, -0.125]), 2)
    """
    return IterativeSystem(K, roots, strength, tol, max_iter, preconditioner)


def are_coupled(K, roots):
    """Whether a system of these solves for all outputs together."""
    return roots.coupled or mixes(K, len(roots))


def not_definite(strength):
    """The error for a kernel matrix with negative eigenvalues."""
    return ValueError(
        f"The kernel matrix with strength {strength:g} is not positive definite: it has negative eigenvalues. "
        "Use a positive semi-definite kernel, or a larger strength (alpha)."
    )


def _norms(xp, X):
    """Lengths of the columns (n, q, k) over rows and outputs, (k,)."""
    return xp.sqrt(xp.sum(X * X, axis=(0, 1)))
