"""Leverages of a kernel model's rows: ``A_i = J_i H^-1 J_i'``, by the inverse that is at hand or by solves."""

import numpy as np

from .._backend import to_numpy
from .._parallel import block_size, blocks

# Below this, a leverage that is what 1 lacks has lost too many digits.
_WEAK = 1e-5


def leverages(objective, factor, rows=None):
    """A_i of some rows: (k, q) where outputs do not mix, else (k, q, q).

    Parameters
    ----------
    objective : KernelObjective
    factor : KernelFactor
        Of its curvature, at whatever weights.
    rows : ndarray of int, shape (k,), optional
        All by default.
    """
    rows = np.arange(objective.n_rows) if rows is None else rows
    left, own = factor.left_over(rows) if objective.loss.separable else None, objective.design.take(rows)
    if left is None:
        return leverage_between(objective, factor, own, own)
    # The factor's own weights: it may be of the rows as they weigh once one has left.
    W = factor.curvature.roots.values[rows] ** 2
    W = W if left.ndim == 2 else W[:, :, None]
    h = (1.0 if left.ndim == 2 else np.eye(left.shape[1])) - left
    own_h = h if h.ndim == 2 else np.einsum("kqq->kq", h)
    strong = (own_h > _WEAK).all(axis=1) & (W[:, 0] > 0).ravel()
    A = np.divide(h, W, out=np.zeros_like(left), where=strong.reshape(-1, *[1] * (h.ndim - 1)))
    weak = own.take(np.flatnonzero(~strong))
    A[~strong] = leverage_between(objective, factor, weak, weak)
    return A


def leverage_between(objective, factor, left, right):
    """``J H^-1 J'`` of each row on the left with its own on the right, by a solve for each output of the latter.

    Parameters
    ----------
    objective : KernelObjective
    factor : KernelFactor
    left, right : Sections
        As many rows each.

    Returns
    -------
    ndarray of shape (m, q), or (m, q, q) where outputs mix
    """
    n, q, m, mixed = objective.n_rows, objective.n_outputs, left.n_rows, objective.gram.mixed
    factor, apart = factor.for_columns(m * q), objective.outputs_apart
    alike = apart and len(factor.strengths) == 1  # all outputs have one leverage
    basis = np.eye(q)[:1] if alike else np.eye(q)
    out = np.empty((m, q) if apart else (m, q, q))
    for part in blocks(m, block_size(32 * objective.n_params * len(basis), share=0.25)):
        some, K = right.take(part), to_numpy(left.take(part).values())
        each = np.repeat(np.arange(some.n_rows), len(basis))
        J = objective.pullback(np.tile(basis, (some.n_rows, 1)), some.take(each))
        solved = factor(J)[0][: n * q]
        if mixed:
            solved = solved.reshape(n * q, some.n_rows, q).transpose(1, 0, 2)
            out[part] = K.reshape(some.n_rows, q, n * q) @ solved
            continue
        A = np.einsum("mn,nqmc->mqc", K, solved.reshape(n, q, some.n_rows, len(basis)))
        out[part] = A if out.ndim == 3 else A[:, :1, 0] if alike else np.einsum("mqq->mq", A)
    return out
