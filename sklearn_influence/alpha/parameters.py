"""The estimator's parameters of a kernel model: its coefficients, or of a linearised network the features' own."""

import numpy as np
from scipy import linalg


def to_params(objective, V):
    """Coefficients (p,) or (p, k) as the estimator's parameters.

    Those of points that take another's place are counted in that place. Of a kernel with features of its own,
    ``K = J J'``, the parameters are ``J' V``: there every point counts, wherever it stands.
    """
    if objective.gram.featured:
        features = objective.gram.to_features(V.reshape(len(V), -1))
        return features.reshape(-1, *V.shape[1:])
    if not len(objective.folded):
        return V
    n, q, k = objective.n_rows - len(objective.folded), objective.n_outputs, len(objective.folded)
    inside = V[: (n + k) * q].reshape(n + k, q, -1)
    there = inside[:n].copy()
    there[objective.folded] += inside[n:]
    return np.concatenate([there.reshape(n * q, *V.shape[1:]), V[(n + k) * q :]])


def solve_params(objective, factor, B):
    """``H^-1 B`` for derivatives B by the estimator's parameters, as those.

    By the coefficients themselves it is ``(W K + rho)^-1 K^+ B``: the solution of smallest norm where the kernel matrix
    is singular, and 0 at the offset; its eigenvectors take 10 n**3 operations. By the features' parameters it is
    ``(B - J'(W K + rho)^-1 W J B) / rho``, which holds what no row reaches: one solve for each column.
    """
    if objective.gram.featured:
        return _solve_features(objective, factor, B)
    n, q = objective.n_rows, objective.n_outputs
    values, vectors = linalg.eigh(objective.gram.host_matrix(), overwrite_a=True, check_finite=False)
    inverse = np.zeros(n)
    held = values > n * np.finfo(float).eps * values[-1]
    inverse[held] = 1.0 / values[held]
    b = np.zeros(B.shape)
    b[: n * q] = (vectors @ (inverse[:, None] * (vectors.T @ B[: n * q].reshape(n, -1)))).reshape(n * q, -1)
    return factor(b)[0]


def _solve_features(objective, factor, B):
    gram, roots, rho = objective.gram, objective.curvature().roots, float(objective.strength[0])

    def weighed(V):
        moved = gram.features_of(gram.X, V)
        return roots.weigh(moved).reshape(moved.shape[0] * moved.shape[1], -1)

    def solve(V):
        return (V - gram.to_features(factor(weighed(V))[0])) / rho

    X = solve(B)
    # At a small rho the difference has lost digits, which a second solve for what remains takes back.
    return X + solve(B - gram.to_features(weighed(X)) - rho * X)
