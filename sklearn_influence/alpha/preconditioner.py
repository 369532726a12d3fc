r"""The system of a kernel model on the leading directions of its kernel matrix, inverted exactly.

With ``K ~ L L'`` of rank k, ``M = rho I + V'KV`` is nearly ``rho I + V'L L'V``, whose inverse is
``(I - V'L (rho I + L'W L)^-1 L'V) / rho``: the factor is of (k q, k q), all outputs jointly, or of (k, k) where K
mixes them already. Kernel matrices decay fast, so that a few directions take most of the iterations away.

Source: Frangella, Tropp and Udell, "Randomized Nystrom preconditioning" (2023).
"""

import numpy as np

from .._backend import PositiveDefinite
from .mixing import mixes
from .roots import namespace_of

# Unknowns of the small factor, and directions, at most: building it then costs a few products of K with (n, q).
_UNKNOWNS, _DIRECTIONS, _FEWEST = 320, 96, 4


def leading_directions(K, roots):
    """L (n, k), or (n q, k) where K mixes outputs, with ``L L'`` near K, by one product of K with as much: Nystrom's
    approximation on random directions.

    Parameters
    ----------
    K : array of shape (n, n), or an operator
    roots : Roots
        In the namespace of K. With more outputs that the loss alone mixes, fewer directions.

    Returns
    -------
    array, or None
        None where K has negative eigenvalues, which L L' cannot have.
    """
    xp, n, dtype = namespace_of(K), K.shape[0], roots.values.dtype
    together = roots.n_outputs if roots.coupled and not mixes(K, len(roots)) else 1
    k = min(n, _DIRECTIONS, max(_FEWEST, _UNKNOWNS // together))
    sample = np.linalg.qr(np.random.default_rng(0).standard_normal((n, k)))[0]
    sample = xp.asarray(sample, dtype=dtype)
    Y = K @ sample
    # The shift keeps the core definite where K is of a smaller rank; what it adds is far below any strength in use.
    rounding = np.finfo(np.dtype(str(dtype).split(".")[-1])).eps
    shift = float(np.sqrt(n) * rounding) * float(xp.sqrt(xp.sum(Y * Y)))
    Y = Y + shift * sample
    core = xp.matrix_transpose(sample) @ Y
    core = 0.5 * (core + xp.matrix_transpose(core))
    try:
        factor = PositiveDefinite(core)
    except np.linalg.LinAlgError:
        return None
    return xp.matrix_transpose(factor.solve_lower(xp.matrix_transpose(Y)))


class LowRank:
    """``(rho I + V'L L'V)^-1``, for the roots V and a strength rho.

    Positive definite whatever L is, and of the true system's own size along every direction: only its speed depends on
    how near ``L L'`` is to K.
    """

    def __init__(self, L, roots, strength):
        self.L, self.roots, self.strength = L, roots, strength
        xp = namespace_of(L)
        self._xp, k = xp, L.shape[1]
        self._mixed = mixes(L, len(roots))
        if self._mixed:  # V'L in place of L
            self.L = xp.reshape(roots.ttimes(xp.reshape(L, (len(roots), -1, k))), L.shape)
            small = xp.matrix_transpose(self.L) @ self.L
        elif roots.coupled:
            q, p = roots.n_outputs, roots.values**2
            weighted = roots.row_roots * L
            shares = xp.reshape(weighted[:, :, None] * p[:, None, :], (L.shape[0], k * q))
            small = -(xp.matrix_transpose(shares) @ shares)
            grid = xp.reshape(small, (k, q, k, q), copy=False)
            for a in range(q):
                grid[:, a, :, a] += xp.matrix_transpose(weighted * p[:, a : a + 1]) @ weighted
        else:
            weighted = roots.values * L
            small = xp.matrix_transpose(weighted) @ weighted
        xp.reshape(small, (-1,), copy=False)[:: small.shape[0] + 1] += strength
        self._factor = PositiveDefinite(small, overwrite=True)

    def __call__(self, R):
        """For R (n, q, m)."""
        xp, (n, q, m) = self._xp, R.shape
        if self._mixed:
            T = self._factor.solve(xp.matrix_transpose(self.L) @ xp.reshape(R, (n * q, m)))
            return (R - xp.reshape(self.L @ T, R.shape)) / self.strength
        T = xp.matrix_transpose(self.L) @ xp.reshape(self.roots.times(R), (n, q * m))
        if self.roots.coupled:
            T = xp.reshape(self._factor.solve(xp.reshape(T, (-1, m))), (-1, q * m))
        else:
            T = self._factor.solve(T)
        return (R - self.roots.ttimes(xp.reshape(self.L @ T, (n, q, m)))) / self.strength


def low_rank(K, roots, strength):
    """The :class:`LowRank` preconditioner of ``rho I + V'KV`` for :func:`~.system.iterate`, at the price of a few
    products; None where K has negative eigenvalues."""
    roots = roots.like(K)
    L = leading_directions(K, roots)
    return None if L is None else LowRank(L, roots, strength)
