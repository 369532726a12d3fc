r"""The linear systems of a kernel model, symmetric and well conditioned.

A kernel model has outputs ``f = f0 + K alpha`` (K (n, n), the same for all q outputs) and the penalty
``rho/2 alpha'K alpha``, rho its strength. With W the rows' weighted curvatures by the outputs, every Newton step and
every influence solves ``(W K + rho I) x = b``, which is neither symmetric nor, at a small rho, fit to be solved as it
stands. With ``W = V V'`` the symmetric ``M = rho I + V'KV`` takes its place, and ``N = M^-1``:

    (W K + rho I)^-1 V z = V N z,    (W K + rho I)^-1 b = (b - V N V'K b) / rho,

the first without cancellation. :class:`Roots` is V and splits b into ``V z`` and a rest; a system holds M, factored or
only multiplied with. K and what a system is given lie in one array namespace: NumPy's, or a device's.

Source: "Extending Kernel Trick to Influence Functions", Eq. 5-13 (the system there is K times this one).
"""

import copy

import numpy as np

from .._backend import PositiveDefinite, array_namespace, check_memory, submatrix, to_numpy

# A curvature below this share of its row's weight counts as none: dividing by its root would lose as many digits as
# treating it as the rest of the split does.
_WEAK = 1e-8
# Residuals above so many units of rounding are worth another solve.
_ROUNDING = 64
_CORRECTIONS = 3
# Iterations of conjugate gradients in which the residual must have halved.
_PATIENCE = 200


class Roots:
    """Square roots V of the rows' weighted curvatures W by the outputs: ``W_i = V_i V_i'``, each (q, q).

    Made by :meth:`of`. Where the outputs do not mix, ``V_i = v_i I``; a softmax model's is ``V_i = sqrt(s_i) diag(r)
    (I - r r')`` with r the roots of the probabilities. Arrays X are (n, q, k), or (n, q).

    Attributes
    ----------
    coupled : bool
        Whether the outputs mix.
    n_outputs : int
    values : array of shape (n, 1), or (n, q) where coupled
        v, or r.
    row_roots : array of shape (n, 1)
        sqrt(s).
    """

    def __init__(self, values, row_roots, strong, n_outputs, coupled):
        self.values, self.row_roots, self._strong = values, row_roots, strong
        self.n_outputs, self.coupled = n_outputs, coupled

    @classmethod
    def of(cls, loss, y, f, sample_weight):
        """Roots of a loss at outputs f (n, q), for rows of weight ``sample_weight`` (n,), as NumPy arrays.

        Raises
        ------
        ValueError
            For a loss whose separate outputs are curved differently, or one that curves downward.
        """
        weight = np.asarray(sample_weight, dtype=np.float64)[:, None]
        if not loss.separable:
            p, _ = loss.curvature_factors(y, f)
            return cls(np.sqrt(p), np.sqrt(weight), (p >= _WEAK) & (weight > 0), f.shape[1], True)
        curvature = np.asarray(loss.curvature(y, f), dtype=np.float64)
        if (curvature != curvature[:, :1]).any() or (curvature < 0).any():
            raise ValueError(
                f"A kernel model needs a loss that curves upward, and all separate outputs of a row alike; "
                f"{type(loss).__name__} does not."
            )
        curvature = curvature[:, :1]
        strong = (curvature >= _WEAK) & (weight > 0)
        return cls(np.sqrt(weight * curvature), np.sqrt(weight), strong, f.shape[1], False)

    def __len__(self):
        return self.values.shape[0]

    def take(self, rows):
        """The roots of some rows (integers, a mask or a slice; NumPy arrays only)."""
        arrays = (self.values[rows], self.row_roots[rows], self._strong[rows])
        return Roots(*arrays, self.n_outputs, self.coupled)

    def like(self, K):
        """The same roots in the namespace and precision of K."""
        xp, dtype = namespace_of(K), getattr(K, "dtype", None)
        if isinstance(self.values, np.ndarray) and xp is array_namespace(self.values) and dtype == self.values.dtype:
            return self
        values, row_roots = (xp.asarray(to_numpy(a), dtype=dtype) for a in (self.values, self.row_roots))
        return Roots(values, row_roots, xp.asarray(to_numpy(self._strong)), self.n_outputs, self.coupled)

    def times(self, X):
        """``V X``."""
        values, row_roots = self._columns(X)
        if not self.coupled:
            return values * X
        return (row_roots * values) * (X - values * _sum_outputs(values * X))

    def ttimes(self, X):
        """``V' X``."""
        values, row_roots = self._columns(X)
        if not self.coupled:
            return values * X
        Y = (row_roots * values) * X
        return Y - values * _sum_outputs(values * Y)

    def weigh(self, X):
        """``W X``."""
        values, row_roots = self._columns(X)
        if not self.coupled:
            return values**2 * X
        return (row_roots * values) ** 2 * (X - _sum_outputs(values**2 * X))

    def split(self, B):
        """``B = V Z + rest``, the rest on entries whose curvature is next to none (and what of a softmax row's B does
        not sum to 0, which no V reaches): ``(Z, rest)``."""
        xp = array_namespace(B)
        values, row_roots = self._columns(B)
        strong = self._strong if B.ndim == 2 else self._strong[:, :, None]
        scale = row_roots * values if self.coupled else values
        Z = xp.where(strong, B / xp.where(strong, scale, xp.ones_like(scale)), xp.zeros_like(B))
        rest = xp.where(strong, xp.zeros_like(B), B)
        if self.coupled:
            reached = xp.where(strong, B, xp.zeros_like(B))
            rest = rest + values**2 * _sum_outputs(reached)
        return Z, rest

    def right_side(self, f_less_f0, u):
        """``W (f - f0) - s u = V z + b``, as (z, b): the right-hand side of the Newton step to a new alpha.

        Parameters
        ----------
        f_less_f0 : array of shape (n, q)
            The outputs less their offset, at which the roots were made.
        u : array of shape (n, q)
            Derivative of the loss by the outputs, without the row's weight.
        """
        z, b = self.split(-(self.row_roots**2) * u)
        return z + self.ttimes(f_less_f0), b

    def _columns(self, X):
        if X.ndim == 2:
            return self.values, self.row_roots
        return self.values[:, :, None], self.row_roots[:, :, None]


class System:
    """``(W K + rho I)`` and its transpose, to be solved with; :func:`factor_direct` and :func:`iterate` make one.

    B, G and Z are arrays (n, q, k) of the namespace of K.

    Attributes
    ----------
    n_products : int
        Products of K with (n, q) so far.
    """

    def __init__(self, K, roots, strength):
        if not strength > 0:
            raise ValueError(f"A kernel model's strength must be > 0, got {strength!r}.")
        if len(roots) != K.shape[0]:
            raise ValueError(f"K is of {K.shape[0]} rows, and the roots are of {len(roots)}.")
        self.K, self.roots, self.strength = K, roots.like(K), float(strength)
        self.n_products = 0
        self._xp = namespace_of(K)
        self._precision = float(np.finfo(np.dtype(str(self.roots.values.dtype).split(".")[-1])).eps)

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
        n = X.shape[0]
        return self._xp.reshape(self.K @ self._xp.reshape(X, (n, -1)), X.shape)

    def _solve(self, B):
        Z, rest = self.roots.split(B)
        if not self._xp.any(rest != 0):
            return self.from_roots(Z)
        Z = Z - self.roots.ttimes(self.product(rest)) / self.strength
        return self.from_roots(Z) + rest / self.strength

    def _solve_transposed(self, G):
        return (G - self.product(self.from_roots(self.roots.ttimes(G)))) / self.strength

    def _refined(self, B, solve, product):
        """Solve, and solve for what remains while it is above rounding and shrinks: at a small rho it can be."""
        X, norm, before = solve(B), _norms(self._xp, B), None
        for _ in range(_CORRECTIONS):
            R = B - product(X) - self.strength * X
            left = _norms(self._xp, R)
            if not self._xp.any(left > _ROUNDING * self._precision * norm):
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

    exact = True

    def __init__(self, K, roots, strength):
        super().__init__(K, roots, strength)
        try:
            self._factor = PositiveDefinite(self._matrix(), overwrite=True)
        except np.linalg.LinAlgError:
            raise ValueError(
                f"The kernel matrix with strength {strength:g} is not positive definite: some rows weigh negatively. "
                "Use a positive semi-definite kernel, or a larger strength (alpha)."
            ) from None
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
        places = self._places(rows)
        gone = np.delete(np.arange(self.size), places)
        new = copy.copy(self)
        new.K, new.roots, new.n_products, new._factor = K, roots.like(K), 0, None
        new._inverse = submatrix(self._inverse, places)
        if len(gone):
            columns = self._xp.take(self._inverse, self._xp.asarray(gone), axis=1)
            own = PositiveDefinite(self._xp.take(columns, self._xp.asarray(gone), axis=0))
            half = own.solve_lower(self._xp.matrix_transpose(self._xp.take(columns, self._xp.asarray(places), axis=0)))
            new._inverse -= self._xp.matrix_transpose(half) @ half
        return new

    @property
    def size(self):
        """Unknowns that are solved for together."""
        return len(self.roots) * (self.roots.n_outputs if self.roots.coupled else 1)

    def inverse(self):
        """N, (n, n), or (n q, n q) with the outputs of a row beside one another; kept."""
        if self._inverse is None:
            self._inverse = self._factor.inverse()
        return self._inverse

    def inverse_diagonal(self):
        """The diagonal of N, (n,), or its (n, q, q) blocks."""
        n, q, N = len(self.roots), self.roots.n_outputs, self.inverse()
        if not self.roots.coupled:
            return self._xp.linalg.diagonal(N)
        blocks = self._xp.reshape(N, (n, q, n, q))
        return self._xp.stack([blocks[i, :, i, :] for i in range(n)])

    def inverse_columns(self, rows):
        """``N[:, rows]``, (n, m), or (n q, m q): the columns of all outputs of the rows (NumPy integers)."""
        rows, size = self._places(rows), self.size
        if self._inverse is not None:
            return self._xp.take(self._inverse, self._xp.asarray(rows), axis=1)
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
        rows, places = np.asarray(rows), self._xp.asarray(self._places(rows))
        columns = self.inverse_columns(rows)
        flat = self._fold(X)
        own = PositiveDefinite(self._xp.take(columns, places, axis=0))
        flat = flat - columns @ own.solve(self._xp.take(flat, places, axis=0))
        kept = np.ones((len(self.roots), 1, 1))
        kept[rows] = 0.0
        return self._unfold(flat, X.shape) * self._xp.asarray(kept, dtype=X.dtype)

    def _places(self, rows):
        """Rows and columns of M that belong to some rows."""
        rows = np.asarray(rows)
        if not self.roots.coupled:
            return rows
        q = self.roots.n_outputs
        return (rows[:, None] * q + np.arange(q)).ravel()

    def _fold(self, X):
        """(n, q, k) as right-hand sides of M."""
        shape = (-1, X.shape[2]) if self.roots.coupled else (X.shape[0], -1)
        return self._xp.reshape(X, shape)

    def _unfold(self, X, shape):
        return self._xp.reshape(X, shape)

    def _matrix(self):
        xp, K, values, n = self._xp, self.K, self.roots.values, len(self.roots)
        if not self.roots.coupled:
            M = values * K
            M *= xp.matrix_transpose(values)
        else:
            q = self.roots.n_outputs
            M = xp.empty((n, q, n, q), dtype=K.dtype)
            # V_i'V_j = sqrt(s_i s_j) (I - r_i r_i') diag(r_i r_j) (I - r_j r_j'), an outer product of (n,) at a time
            p = values**2
            common = p @ xp.matrix_transpose(p)
            for a in range(q):
                for b in range(q):
                    block = values[:, a : a + 1] * (common * xp.matrix_transpose(values[:, b : b + 1]))
                    block -= (values[:, a : a + 1] * p[:, b : b + 1]) * xp.matrix_transpose(values[:, b : b + 1])
                    block -= values[:, a : a + 1] * xp.matrix_transpose(p[:, a : a + 1] * values[:, b : b + 1])
                    if a == b:
                        block += values[:, a : a + 1] * xp.matrix_transpose(values[:, a : a + 1])
                    M[:, a, :, b] = block * K
            M *= xp.reshape(self.roots.row_roots, (n, 1, 1, 1))
            M *= xp.reshape(self.roots.row_roots, (1, 1, n, 1))
            M = xp.reshape(M, (n * q, n * q))
        flat = xp.reshape(M, (-1,), copy=False)
        flat[:: M.shape[0] + 1] += self.strength
        return M


class IterativeSystem(System):
    """``M = rho I + V'KV`` solved by conjugate gradients, all columns at once, with one product of K an iteration.

    Attributes
    ----------
    converged : bool
        Whether every solve so far came to ``tol``.
    n_iter : int
        Iterations of the last solve.
    """

    exact = True

    def __init__(self, K, roots, strength, tol=1e-10, max_iter=2000):
        super().__init__(K, roots, strength)
        self.tol, self.max_iter = max(tol, 8 * self._precision), max_iter
        self.converged, self.n_iter = True, 0

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
        xp, self.n_iter = self._xp, 0
        X, KVX, R = xp.zeros_like(Z), xp.zeros_like(Z), Z
        P, before = R, self._squares(R)
        lowest, since = np.inf, 0
        while self.n_iter < self.max_iter and not stop(xp.sqrt(before), KVX):
            KVP = self.product(self.roots.times(P))
            MP = self.strength * P + self.roots.ttimes(KVP)
            bend = self._dots(P, MP)
            if xp.any(bend < 0):
                raise ValueError(
                    f"The kernel matrix with strength {self.strength:g} is not positive definite: some rows weigh "
                    "negatively. Use a positive semi-definite kernel, or a larger strength (alpha)."
                )
            length = before / xp.where(bend > 0, bend, xp.ones_like(bend))
            X, KVX, R = X + length * P, KVX + length * KVP, R - length * MP
            after = self._squares(R)
            P = R + (after / xp.where(before > 0, before, xp.ones_like(before))) * P
            before, self.n_iter = after, self.n_iter + 1
            worst = float(xp.max(after))
            since = 0 if worst < 0.25 * lowest else since + 1
            lowest = min(lowest, worst)
            if since > _PATIENCE or worst == 0.0:
                break
        return X, KVX, R

    def _dots(self, X, Y):
        """Products of the columns: of each output's, or where they mix of all outputs together; to broadcast."""
        axis = (0, 1) if self.roots.coupled else 0
        return self._xp.sum(X * Y, axis=axis, keepdims=True)

    def _squares(self, X):
        return self._dots(X, X)

    def _lengths(self, X):
        return self._xp.sqrt(self._squares(X))


def factor_direct(K, roots, strength):
    """Factor the system of some rows.

    Parameters
    ----------
    K : array of shape (n, n)
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
    """
    n = K.shape[0] * (roots.n_outputs if roots.coupled else 1)
    check_memory(
        8 * n * n,
        f"The factored system of {n:,} unknowns",
        "Use solver='cg', which needs no matrix beside the kernel's, or fewer rows.",
    )
    return DirectSystem(K, roots, strength)


def iterate(K, roots, strength, tol=1e-10, *, max_iter=2000):
    """Solve the system of some rows by conjugate gradients, without a matrix beside K.

    Parameters
    ----------
    K : array of shape (n, n), or an object with ``shape``, ``dtype``, ``xp`` and ``K @ B``
        Symmetric, positive semi-definite. ``xp`` is the namespace of B and of the product.
    roots : Roots
    strength : float
        rho > 0.
    tol : float
        Residuals of the symmetric system at most, relative to its right-hand side.
    max_iter : int

    Returns
    -------
    IterativeSystem

    Notes
    -----
    Cost: one product ``K @ (n, q k)`` an iteration, for all q outputs and k right-hand sides; memory about eight
    arrays of that size. The condition is at most ``1 + |V'KV| / rho``.
    """
    return IterativeSystem(K, roots, strength, tol, max_iter)


def namespace_of(K):
    """The array namespace of a kernel matrix, or of an operator that says it as ``xp``."""
    return K.xp if hasattr(K, "xp") else array_namespace(K)


def _sum_outputs(X):
    return array_namespace(X).sum(X, axis=1, keepdims=True)


def _norms(xp, X):
    """Lengths of the columns (n, q, k) over rows and outputs, (k,)."""
    return xp.sqrt(xp.sum(X * X, axis=(0, 1)))
