"""Effects of removals on parameters, outputs and losses, block by block.

A loss is evaluated at the shifted outputs; with ``method="first_order"`` it is linear in the shift (Koh and Liang 2017,
Eq. 2).
"""

import numpy as np

from ._parallel import block_size, blocks, progress
from .effects import row_blocks


def params_change(effects, out, verbose=0):
    """Parameter changes, one row of ``out`` (k, p) each."""
    for part in progress(row_blocks(effects, out.shape[1]), verbose, "influence on parameters"):
        out[part] = effects.objective.to_params(effects.params(part)).T
    return out


def outputs_change(effects, X, verbose=0, out=None):
    """Yield ``(test slice, column slice, df)`` with df of shape (m, q, k), block by block.

    With ``out`` (m, k), a single output's change is written there and df is a view of it.
    """
    objective = effects.objective
    q = objective.n_outputs
    for tests, basis in _test_blocks(effects, X):
        part_X = X.take(tests)
        n_results = part_X.n_rows * q
        project = effects.onto(basis) if basis is not None else None
        for part in progress(row_blocks(effects, 2 * n_results), verbose, "influence on outputs"):
            target = None if out is None or q > 1 else out[tests, part]
            if project is None:
                df = objective.outputs_change(effects.params(part), part_X)
                if target is not None:
                    target[...] = df[:, 0]
                    df = target[:, None]
            else:
                df = project(part, out=target).reshape(part_X.n_rows, q, -1)
            yield tests, part, df


def _test_blocks(effects, X):
    """Slices of the test rows, each with their outputs' Jacobians (p, m q), or None where the rows are better solved
    for.

    Solving on the test side costs m q solves and m q k p products; on the training side k solves and m k p products.
    """
    objective, k, p = effects.objective, len(effects), effects.objective.n_params
    m, q = X.n_rows, objective.n_outputs
    solve = effects.operations
    if m * q * (solve + 2 * k * p) > k * (solve + 2 * m * p):
        for tests in blocks(m, block_size(16 * q * 512, largest=m)):
            yield tests, None
        return
    for tests in blocks(m, block_size(24 * q * p, share=1 / 16, largest=m)):
        part = X.take(tests)
        basis = np.tile(np.eye(q), (part.n_rows, 1))
        yield tests, objective.pullback(basis, part.take(np.repeat(np.arange(part.n_rows), q)))


def loss_change(effects, X, y, loss, method, out, weight=None, aggregate=False, verbose=0):
    """Changes of test losses into ``out``: (m, k), or (k,) where summed over the test rows.

    Parameters
    ----------
    loss : Loss
    method : {"newton", "first_order", "second_order"}
        "first_order" is linear in the shift; the others evaluate the loss at the shifted outputs.
    weight : ndarray of shape (m,), optional
        Factors of the test rows.
    """
    weight = np.ones(X.n_rows) if weight is None else weight
    f = effects.objective.outputs(X)
    if aggregate:
        out[...] = 0.0
    if method == "first_order":
        return _linear_loss_change(effects, X, weight[:, None] * loss.gradient(y, f), out, aggregate, verbose)
    if aggregate and loss.quadratic and X.n_rows > 2 * X.width:
        return _squared_loss_sum(effects, X, y, f, loss, weight, out, verbose)
    for tests, part, df in outputs_change(effects, X, verbose, None if aggregate else out):
        if aggregate:
            out[part] += weight[tests] @ loss.change(y[tests], f[tests], df)
        else:
            block = loss.change(y[tests], f[tests], df, out=out[tests, part])
            if (weight[tests] != 1.0).any():
                block *= weight[tests, None]
    return out


def _squared_loss_sum(effects, X, y, f, loss, weight, out, verbose):
    """The sum of squared losses is a parabola in the change: ``g'd + 1/2 d'Md``, M of the size of the parameters."""
    objective = effects.objective
    G = objective.pullback_sum(weight[:, None] * loss.gradient(y, f), X)
    squares = objective.squared_outputs(X, weight)
    for part in progress(row_blocks(effects, 4 * X.width), verbose, "influence on losses"):
        delta = effects.params(part)
        out[part] = G @ delta + 0.5 * squares(delta)
    return out


def _linear_loss_change(effects, X, u, out, aggregate, verbose):
    objective = effects.objective
    size = block_size(24 * objective.n_params, largest=X.n_rows)
    if not aggregate and len(effects) < X.n_rows:  # fewer solves on the side of the training rows
        for part in progress(row_blocks(effects, size), verbose, "influence on losses"):
            delta = effects.params(part)
            for tests in blocks(X.n_rows, size):
                out[tests, part] = objective.pullback(u[tests], X.take(tests), onto=delta).T
        return out
    if aggregate:
        G = objective.pullback_sum(u, X)
        pieces = [(None, G[:, None])]
    else:
        pieces = ((tests, objective.pullback(u[tests], X.take(tests))) for tests in blocks(X.n_rows, size))
    for tests, G in pieces:
        project = effects.onto(G)
        for part in progress(row_blocks(effects, G.shape[1]), verbose, "influence on losses"):
            if aggregate:
                out[part] = project(part)[0]
            else:
                project(part, out=out[tests, part])
    return out
