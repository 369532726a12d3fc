"""How large an inverse is that is known by its solves alone."""

import numpy as np


def inverse_norm(solve, size):
    """Estimated 1-norm of the inverse of a symmetric matrix, from below and mostly right, by a few solves.

    ``solve`` takes and returns NumPy arrays (n, 1). Source: Hager (1984), Condition estimates, algorithm 2; and the
    vector of alternating signs that Higham (1988) adds to it.
    """
    x, estimate, seen = np.full((size, 1), 1.0 / size), 0.0, -1
    for _ in range(5):
        y = solve(x)
        estimate = max(estimate, float(np.abs(y).sum()))
        z = solve(np.where(y < 0, -1.0, 1.0))
        at = int(np.abs(z).argmax())
        if at == seen or abs(float(z[at, 0])) <= float(z[:, 0] @ x[:, 0]):
            break
        x, seen = np.zeros((size, 1)), at
        x[at] = 1.0
    signs = np.where(np.arange(size) % 2, -1.0, 1.0) * (1.0 + np.arange(size) / max(size - 1, 1))
    return max(estimate, 2.0 * float(np.abs(solve(signs[:, None])).sum()) / (3.0 * size))
