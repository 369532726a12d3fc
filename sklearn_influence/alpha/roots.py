"""Square roots of the rows' curvatures: what makes the systems of a kernel model symmetric."""

import numpy as np

from .._backend import array_namespace, to_numpy

# A curvature below this share of its row's weight counts as none: dividing by its root would lose as many digits as
# treating it as the rest of the split does.
_WEAK = 1e-8


class Roots:
    """Square roots V of the rows' weighted curvatures W by the outputs: ``W_i = V_i V_i'``, each (q, q).

    Made by :meth:`of`. Where the outputs do not mix, ``V_i = v_i I``; a softmax model's is ``V_i = sqrt(s_i) diag(r)
    (I - r r')`` with r the roots of the probabilities. Arrays X are (n, q, k), or (n, q).

    Attributes
    ----------
    coupled : bool
        Whether the loss mixes the outputs.
    n_outputs : int
    values : array of shape (n, 1), or (n, q) where coupled
        v, or r.
    row_roots : array of shape (n, 1)
        sqrt(s).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.alpha.roots import Roots
    >>> from sklearn_influence.losses import Logistic
    >>> roots = Roots.of(Logistic(), np.array([0, 1]), np.zeros((2, 1)), sample_weight=np.array([1.0, 4.0]))
    >>> roots.times(np.ones((2, 1))).ravel()  # sqrt(s p (1 - p))
    array([0.5, 1. ])
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
        """The roots of some rows: a slice, or of NumPy arrays integers or a mask."""
        arrays = (array[rows, ...] for array in (self.values, self.row_roots, self._strong))
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
            total = _sum_outputs(reached)
            rounding = 8 * xp.finfo(B.dtype).eps * _sum_outputs(xp.abs(reached))
            rest = rest + values**2 * xp.where(xp.abs(total) > rounding, total, xp.zeros_like(total))
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


class LeftOut:
    """The roots of some rows, of which each column (n, q, k) leaves out one: for k systems that are solved together.

    Parameters
    ----------
    roots : Roots
        In the namespace that it is to be used in.
    rows : ndarray of int, shape (k,)
        The row that each column is without.
    """

    def __init__(self, roots, rows):
        self._roots, self.coupled, self.n_outputs = roots, roots.coupled, roots.n_outputs
        self.values = roots.values
        kept = np.ones((len(roots), 1, len(rows)))
        kept[rows, 0, np.arange(len(rows))] = 0.0
        self._kept = array_namespace(roots.values).asarray(kept, dtype=roots.values.dtype)

    def __len__(self):
        return len(self._roots)

    def like(self, K):
        return self

    def times(self, X):
        return self._kept * self._roots.times(X)

    def ttimes(self, X):
        return self._roots.ttimes(self._kept * X)

    def weigh(self, X):
        return self._kept * self._roots.weigh(X)

    def split(self, B):
        Z, rest = self._roots.split(self._kept * B)
        return Z, rest + (1.0 - self._kept) * B


def namespace_of(K):
    """The array namespace of a kernel matrix, or of an operator that says it as ``xp``."""
    return K.xp if hasattr(K, "xp") else array_namespace(K)


def _sum_outputs(X):
    return array_namespace(X).sum(X, axis=1, keepdims=True)
