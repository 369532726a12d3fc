r"""Losses of one row as functions of the model's raw outputs.

A loss knows values, derivatives by the outputs and the exact change under shifted outputs; it knows nothing of
parameters, weights or penalties. Throughout, ``y`` holds one target per row and ``f`` has shape (m, q), the raw
outputs; ``df`` has shape (m, q, k), k shifts of the outputs of each row.
"""

import numpy as np
from scipy.special import expit, log_expit, logsumexp, softmax

__all__ = ["Logistic", "Loss", "Softmax", "SquaredError"]

# Elements of a tile that stays in the second-level cache through the passes of an elementwise formula.
_TILE = 32768
# Shifts of a log loss from here on are computed in log-sum form.
_FAR = 30.0


class Loss:
    """What a per-row loss offers; subclass it to pass a loss of your own to ``influence_on_loss(loss=...)``.

    A subclass needs :meth:`value` and, for ``method="first_order"``, :meth:`gradient`. The fitted families also use
    :meth:`curvature`, and with ``method="second_order"`` :meth:`third`.

    Attributes
    ----------
    quadratic : bool
        The curvature is the constant 1 for every row and output.
    separable : bool
        The outputs do not mix: :meth:`curvature` is (m, q) instead of (m, q, q).
    shift_invariant : bool
        Adding the same number to all outputs of a row changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.losses import Loss
    >>> class Hinge(Loss):
    ...     def value(self, y, f):
    ...         return np.maximum(0, 1 - (2 * y - 1) * f[:, 0])
    >>> Hinge().change(np.array([1]), np.array([[0.5]]), np.array([[[0.2, 1.0]]]))
    array([[-0.2, -0.5]])
    """

    quadratic = False
    separable = True
    shift_invariant = False

    def needs(self, y, n_outputs):
        """What of the targets or outputs this loss cannot be computed on, in words; None where it can."""
        return None

    def value(self, y, f):
        """Loss of each row, (m,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define value(y, f).")

    def gradient(self, y, f):
        """Derivative by the outputs, (m, q)."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define gradient(y, f), which method='first_order' needs; "
            "define it or use method='newton'."
        )

    def curvature(self, y, f):
        """Second derivative by the outputs, (m, q), or (m, q, q) where the outputs mix."""
        raise NotImplementedError(f"{type(self).__name__} does not define curvature(y, f).")

    def curvature_factors(self, y, f):
        """a and b (m, q) with ``curvature = diag(a) - b b'``, of a loss whose outputs mix."""
        raise NotImplementedError(f"{type(self).__name__} does not define curvature_factors(y, f).")

    def third(self, y, f, df):
        """Third derivative by the outputs along each shift twice, (m, q, k): how the curvature times a shift changes
        along that shift."""
        raise NotImplementedError(f"{type(self).__name__} does not define third(y, f, df).")

    def curvature_ratio(self, df):
        """How far shifts df (m, q) of the outputs can change any row's curvature: the logarithm of the largest factor,
        up or down; infinite where nothing is known."""
        return np.inf

    def change(self, y, f, df, out=None):
        """``value(y, f + df) - value(y, f)`` for each shift, (m, k), into ``out`` where given."""
        out = np.empty(df.shape[::2]) if out is None else out
        before = self.value(y, f)
        for j in range(df.shape[2]):
            out[:, j] = self.value(y, f + df[:, :, j]) - before
        return out

    def rising(self, y):
        """Sign (m,) of the loss's slope in its only output, or None where it is not monotone."""
        return None


class SquaredError(Loss):
    """Half the squared error, summed over the outputs: ``sum_o (f_o - y_o)**2 / 2``, ``y`` of shape (m, q).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.losses import SquaredError
    >>> SquaredError().value(np.array([[1.0], [2.0]]), np.array([[3.0], [2.0]]))
    array([2., 0.])
    """

    quadratic = True

    def needs(self, y, n_outputs):
        if np.size(y) != len(y) * n_outputs:
            return f"one target for each output, {n_outputs}"

    def value(self, y, f):
        return 0.5 * ((f - _as_outputs(y)) ** 2).sum(axis=1)

    def gradient(self, y, f):
        return f - _as_outputs(y)

    def curvature(self, y, f):
        return np.ones_like(f)

    def third(self, y, f, df):
        return np.zeros_like(df)

    def curvature_ratio(self, df):
        return 0.0

    def change(self, y, f, df, out=None):
        out = np.empty(df.shape[::2]) if out is None else out
        residual = f - _as_outputs(y)
        if df.shape[1] == 1:
            for rows in _tiles(out):
                shift = df[rows, 0]
                np.multiply(shift, residual[rows] + 0.5 * shift, out=out[rows])
            return out
        return np.einsum("mqk,mqk->mk", df, residual[:, :, None] + 0.5 * df, out=out)


class Logistic(Loss):
    """Log loss of a binary model, ``log(1 + exp(f)) - y f`` with ``y`` in {0, 1} of shape (m,) and one output.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.losses import Logistic
    >>> Logistic().value(np.array([0, 1]), np.array([[0.0], [0.0]])).round(4)
    array([0.6931, 0.6931])
    """

    def needs(self, y, n_outputs):
        if n_outputs != 1 or np.asarray(y).dtype.kind not in "iu":
            return "one output, and two classes as labels"

    def value(self, y, f):
        return -log_expit((2.0 * np.asarray(y) - 1.0) * f[:, 0])

    def gradient(self, y, f):
        # -z sigmoid(-z f), not expit(f) - y, which cancels where the row is fitted well.
        z = 2.0 * np.asarray(y)[:, None] - 1.0
        return -z * expit(-z * f)

    def curvature(self, y, f):
        return expit(f) * expit(-f)

    def third(self, y, f, df):
        p, rest = expit(f), expit(-f)
        return (p * rest * (rest - p))[:, :, None] * df**2

    def curvature_ratio(self, df):
        """The slope of ``log p (1 - p)`` is ``1 - 2 p``: at most 1."""
        return float(np.abs(df).max(initial=0.0))

    def change(self, y, f, df, out=None):
        r"""Exact and free of cancellation: ``log1p(q expm1(t))``, q = sigmoid(-z f), t = -z df, z = 2 y - 1."""
        out = np.empty(df.shape[::2]) if out is None else out
        z = 2.0 * np.asarray(y)[:, None] - 1.0
        q, log_q, log_rest = expit(-z * f), log_expit(-z * f), log_expit(z * f)
        for rows in _tiles(out):
            t = np.multiply(df[rows, 0], -z[rows])
            tile = out[rows]
            highest = t.max(initial=0.0)
            np.expm1(t if highest <= _FAR else np.minimum(t, _FAR), out=tile)
            tile *= q[rows]
            if highest <= _FAR and tile.min(initial=0.0) >= -0.5:
                np.log1p(tile, out=tile)
                continue
            # Far up expm1 overflows, and near -1 the sum has lost its digits: the log-sum form has neither trouble.
            far = (t > _FAR) | (tile < -0.5)
            np.log1p(tile, out=tile, where=~far)
            i, j = np.nonzero(far)
            tile[i, j] = np.logaddexp(log_rest[rows][i, 0], log_q[rows][i, 0] + t[i, j])
        return out

    def rising(self, y):
        return 1.0 - 2.0 * np.asarray(y)

    def proba(self, f):
        """Probabilities of the two classes, (m, 2)."""
        return np.hstack([expit(-f), expit(f)])

    def proba_gradient(self, f):
        """Derivative of the probabilities by the output, (m, 2, 1)."""
        slope = expit(f) * expit(-f)
        return np.stack([-slope, slope], axis=1)

    def proba_change(self, f, df):
        """Exact change of the probabilities, (m, 2, k)."""
        p, rest, shift = expit(f), expit(-f), df[:, 0]
        growth = np.expm1(np.clip(shift, -1.0, 1.0))
        change = p * rest * growth / (1.0 + p * growth)  # without cancellation where the shift is small
        tail = np.where(f > 0, rest - expit(-f - shift), expit(f + shift) - p)  # from the side that is not near 1
        change = np.where(np.abs(shift) > 1.0, tail, change)
        return np.stack([-change, change], axis=1)


class Softmax(Loss):
    """Log loss of a multinomial model, ``logsumexp(f) - f_y`` with ``y`` the class numbers (m,) and K outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.losses import Softmax
    >>> Softmax().value(np.array([2]), np.zeros((1, 4))).round(4)
    array([1.3863])
    """

    separable = False
    shift_invariant = True

    def needs(self, y, n_outputs):
        if n_outputs < 2 or np.asarray(y).dtype.kind not in "iu":
            return "one output for each class, and classes as labels"

    def value(self, y, f):
        y = np.asarray(y)
        return logsumexp(f - f[np.arange(len(y)), y][:, None], axis=1)

    def gradient(self, y, f):
        p = softmax(f, axis=1)
        rows = np.arange(len(p))
        p[rows, y] = 0.0
        p[rows, y] = -p.sum(axis=1)  # p_y - 1 without its cancellation
        return p

    def curvature_factors(self, y, f):
        """(m, K), twice: a and b with ``curvature = diag(a) - b b'``, in K numbers a row instead of K**2."""
        p = softmax(f, axis=1)
        return p, p

    def curvature(self, y, f):
        p = softmax(f, axis=1)
        W = -p[:, :, None] * p[:, None, :]
        diagonal = np.arange(p.shape[1])
        W[:, diagonal, diagonal] = 0.0
        W[:, diagonal, diagonal] = -W.sum(axis=2)  # p (1 - p): rows sum to zero exactly
        return W

    def third(self, y, f, df):
        """``p (c**2 - sum_b p_b c_b**2)`` with c the shift less its mean under p: the third cumulant's form."""
        p = softmax(f, axis=1)[:, :, None]
        squares = (df - (p * df).sum(axis=1, keepdims=True)) ** 2
        return p * (squares - (p * squares).sum(axis=1, keepdims=True))

    def curvature_ratio(self, df):
        """``d log(h'Wh)`` along a shift k is a third moment over a second: at most the range of k over the classes."""
        return float(np.ptp(df, axis=1).max(initial=0.0))

    def change(self, y, f, df, out=None):
        r"""Exact: ``log1p(sum_c p_c expm1(d_c))`` with d the shift relative to the row's own class."""
        y = np.asarray(y)
        d = df - df[np.arange(len(y)), y][:, None, :]
        change = _log_mean_exp(f - logsumexp(f, axis=1, keepdims=True), d)
        if out is None:
            return change
        out[...] = change
        return out

    def proba(self, f):
        """Probabilities of the classes, (m, K)."""
        return softmax(f, axis=1)

    def proba_gradient(self, f):
        """Derivative of the probabilities by the outputs, (m, K, K)."""
        return self.curvature(None, f)

    def proba_change(self, f, df):
        """Exact change of the probabilities, (m, K, k)."""
        log_p = f - logsumexp(f, axis=1, keepdims=True)
        shift = df - _log_mean_exp(log_p, df)[:, None, :]  # of the log probabilities
        p, grown = np.exp(log_p)[:, :, None], log_p[:, :, None] + shift
        return np.where(shift > 1.0, np.exp(np.minimum(grown, 0.0)) - p, p * np.expm1(np.minimum(shift, 1.0)))


def _log_mean_exp(log_p, d):
    """``log sum_c p_c exp(d_c)`` for probabilities that sum to 1, without cancellation: (m, q), (m, q, k) -> (m, k)."""
    near = np.einsum("mq,mqk->mk", np.exp(log_p), np.expm1(np.minimum(d, _FAR)))
    far = (d > _FAR).any(axis=1) | (near < -0.5)
    out = np.log1p(near, where=~far, out=np.zeros_like(near))
    rows, columns = np.nonzero(far)
    if len(rows):
        out[rows, columns] = logsumexp(log_p[rows] + d[rows, :, columns], axis=1)
    return out


def _as_outputs(y):
    y = np.asarray(y)
    return y[:, None] if y.ndim == 1 else y


def _tiles(out):
    """Row slices of a (m, k) array whose tiles fit the cache."""
    size = max(1, _TILE // max(out.shape[1], 1))
    return [slice(start, min(start + size, len(out))) for start in range(0, len(out), size)]
