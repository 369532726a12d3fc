r"""The symmetric matrix of a kernel model's system, ``M = rho I + V'KV``."""

from .._parallel import block_size, blocks
from .mixing import mixes
from .roots import namespace_of


def symmetric_matrix(K, roots, strength):
    """``rho I + V'KV`` as a new array: (n, n) for separate outputs that share K, else (n q, n q) with the outputs of a
    row beside one another.

    Parameters
    ----------
    K : array of shape (n, n) or (n q, n q)
    roots : Roots
        V, in the namespace of K.
    strength : float
        rho.
    """
    xp = namespace_of(K)
    if mixes(K, len(roots)):
        M = _of_mixed(xp, K, roots)
    elif roots.coupled:
        M = _of_coupled(xp, K, roots)
    else:
        M = roots.values * K
        M *= xp.matrix_transpose(roots.values)
    flat = xp.reshape(M, (-1,), copy=False)
    flat[:: M.shape[0] + 1] += strength
    return M


def _of_coupled(xp, K, roots):
    """V'KV of outputs that share K and mix in the loss."""
    n, q, values = len(roots), roots.n_outputs, roots.values
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
    M *= xp.reshape(roots.row_roots, (n, 1, 1, 1))
    M *= xp.reshape(roots.row_roots, (1, 1, n, 1))
    return xp.reshape(M, (n * q, n * q))


def _of_mixed(xp, K, roots):
    """V'KV where K mixes the outputs, in blocks of rows: no other matrix of the size of K beside it."""
    n, q = len(roots), roots.n_outputs
    M = xp.empty((n * q, n * q), dtype=K.dtype)
    for part in blocks(n, block_size(40 * n * q * q, share=0.25)):
        rows = slice(part.start * q, part.stop * q)
        block = roots.take(part).ttimes(xp.reshape(K[rows, :], (-1, q, n * q)))
        # the same from the right: V' of each column's row, which stands first
        block = xp.permute_dims(xp.reshape(block, (-1, n, q)), (1, 2, 0))
        block = xp.permute_dims(roots.ttimes(block), (2, 0, 1))
        M[rows, :] = xp.reshape(block, (-1, n * q))
    return M
