r"""Curvature of the objective in parameter space.

A curvature is what a solver sees of a model: ``matmat``, ``diagonal`` and ``dense`` with its ``encode`` / ``decode``.
It knows the rows, their weights and the penalty, and nothing of labels or losses.
"""

from functools import cached_property

import numpy as np

from ._backend import check_memory


class Hessian:
    r"""``sum_i J_i' W_i J_i + diag(penalty)`` for outputs that are linear in the parameters.

    Parameters
    ----------
    design : Design
    weights : ndarray
        The rows' second derivatives, sample weights included. (n, 1): the same for every output; (n, q): one for each
        output; (n, q, q): outputs that mix.
    penalty : ndarray of shape (q, width)
        Second derivative of the penalty, by output and coefficient, the intercept's last.
    shift_invariant : bool
        The loss does not see a common shift of all outputs. Where such a shift costs no penalty either, the curvature
        is flat along it; these known directions are taken out exactly.

    Notes
    -----
    The dense form is written about the weighted mean of the features, in coordinates (w, b + mean'w): forming it from
    raw columns would square the ratio of mean to spread. ``encode`` and ``decode`` go to and from those coordinates.
    Outputs that do not mix give independent blocks. The gauge (softmax's common shift of the unpenalised
    coefficients) is given a positive curvature of its own, which no gradient sees, so that Cholesky applies;
    ``encode`` and ``decode`` project it out, so that solutions have the smallest norm along it.
    """

    def __init__(self, design, weights, penalty, *, shift_invariant=False):
        self.design = design
        self.weights = weights
        self.penalty = penalty
        self.coupled = weights.ndim == 3
        self.gauge = (penalty == 0).all(axis=0) if shift_invariant else np.zeros(penalty.shape[1], bool)

    @cached_property
    def centre(self):
        """Weighted mean of the features (d,), about which the dense form is written."""
        return self.design.mean(np.einsum("ncc->n", self.weights) if self.coupled else self.weights.sum(axis=1))

    @property
    def n_outputs(self):
        return len(self.penalty)

    @property
    def shape(self):
        return (self.penalty.size,) * 2

    @property
    def normed(self):
        """Which coordinates of a dense block count in the minimum norm: all but intercepts."""
        one = np.ones(self.design.width, bool)
        if self.design.fit_intercept:
            one[-1] = False
        return np.tile(one, self.n_outputs) if self.coupled else one

    def damped(self, damping):
        """This curvature plus ``damping`` times its own diagonal, parameter by parameter."""
        return Hessian(self.design, self.weights, self.penalty + damping * self._diagonal())

    def _diagonal(self):
        weights = np.einsum("ncc->nc", self.weights) if self.coupled else self.weights
        return self.design.column_squares(weights).T + self.penalty

    def diagonal(self):
        """(p,) in the layout of the parameters."""
        return to_vector(self._diagonal(), self.design.fit_intercept)

    def matmat(self, V):
        """H V for V of shape (p, k). Cost: two products with the rows."""
        theta = to_outputs(V, self.n_outputs, self.design.fit_intercept)  # (q, width, k)
        q, width, k = theta.shape
        eta = self.design.dot(theta.transpose(1, 0, 2).reshape(width, q * k)).reshape(-1, q, k)
        if self.coupled:
            eta = np.einsum("nab,nbk->nak", self.weights, eta)
        else:
            eta *= self.weights[:, :, None]
        out = self.design.tdot(eta.reshape(-1, q * k)).reshape(width, q, k).transpose(1, 0, 2)
        return to_vector(out + self.penalty[:, :, None] * theta, self.design.fit_intercept)

    def dense(self):
        """The blocks in the coordinates of :meth:`encode`, and which block each output uses.

        Returns
        -------
        matrices : list of ndarray of shape (b, b)
            One of b = q * width where the outputs mix, else the different ones of b = width.
        block_of : list of int
            For each encoded block, its matrix.
        """
        q, width = self.penalty.shape
        size = q * width if self.coupled else width
        check_memory(
            8 * size**2,
            f"The curvature of {self.shape[0]:,} parameters",
            "Use fewer columns, or select the ones that matter before the model.",
        )
        if self.coupled:
            return [self._coupled()], [0]
        grams = self.design.gram(self.weights, self.centre)
        matrices, block_of, seen = [], [], {}
        for o in range(q):
            gram = o % len(grams)  # one column of weights serves all outputs
            key = (gram, self.penalty[o].tobytes())
            if key not in seen:
                seen[key] = len(matrices)
                matrices.append(grams[gram] if len(grams) == q else grams[gram].copy())
                self._add_penalty(matrices[-1], o)
            block_of.append(seen[key])
        return matrices, block_of

    def rank_bound(self, o):
        """What the rank of an output's dense block cannot exceed: its rows with weight, and its penalised unknowns."""
        rows = np.count_nonzero(self.weights[:, o % self.weights.shape[1]])
        return rows + np.count_nonzero(self.penalty[o])

    def form(self, o, V):
        """V' H V (k, k) of one output's dense block, from the rows themselves, and how much of it is rounding (k,)."""
        form, noise = self.design.form(V, self.weights[:, o % self.weights.shape[1]], self.centre)
        penalty, d = self.penalty[o], self.design.n_features
        form += (V[:d] * penalty[:d, None]).T @ V[:d]
        if penalty[d:].any():
            along = self._intercept_direction() @ V
            form += penalty[-1] * np.outer(along, along)
        return form, noise

    def _intercept_direction(self):
        """The intercept in centred coordinates: b = b' - centre'w."""
        return np.append(-self.centre, 1.0)

    def _add_penalty(self, block, o):
        """Add the penalty of an output to its dense block, in place."""
        penalty, d = self.penalty[o], self.design.n_features
        diagonal = np.arange(d)
        block[diagonal, diagonal] += penalty[:d]
        if penalty[d:].any():
            v = self._intercept_direction()
            block += penalty[-1] * np.outer(v, v)

    def _coupled(self):
        q, width = self.penalty.shape
        H = np.empty((q, width, q, width))
        for a in range(q):
            grams = self.design.gram(np.ascontiguousarray(self.weights[:, a, a:]), self.centre)
            for b in range(a, q):
                H[a, :, b] = H[b, :, a] = grams[b - a]
            self._add_penalty(H[a, :, a], a)
        for j in np.flatnonzero(self.gauge):
            H[:, j, :, j] += np.trace(H[:, j, :, j]) / q
        return H.reshape(q * width, q * width)

    def encode(self, B):
        """Gradients (p, k) in the coordinates of :meth:`dense`: (n_blocks, b, k)."""
        theta = self._off_gauge(to_outputs(B, self.n_outputs, self.design.fit_intercept))
        if self.centre.any():
            theta[:, :-1] -= self.centre[:, None] * theta[:, -1:]
        return theta.reshape(1, len(B), B.shape[1]) if self.coupled else theta

    def encode_params(self, V):
        """Parameters (p, k) in the coordinates of :meth:`dense`, where :meth:`decode` undoes them."""
        theta = to_outputs(V, self.n_outputs, self.design.fit_intercept)
        if self.centre.any():
            theta[:, -1] += np.einsum("j,qjk->qk", self.centre, theta[:, :-1])
        return theta.reshape(1, len(V), V.shape[1]) if self.coupled else theta

    def decode(self, Z):
        """Back from solutions in the coordinates of :meth:`dense` to (p, k)."""
        theta = Z.reshape(self.n_outputs, self.design.width, Z.shape[-1])
        if self.centre.any():
            theta = theta.copy()
            theta[:, -1] -= np.einsum("j,qjk->qk", self.centre, theta[:, :-1])
        return to_vector(self._off_gauge(theta), self.design.fit_intercept)

    def decode_inverse(self, M):
        """A dense block's inverse in the user's coordinates."""
        if self.coupled:
            return self.decode(self.decode(M).T)
        out = M.copy()
        if self.centre.any():
            out[-1] -= self.centre @ out[:-1]
            out[:, -1] -= out[:, :-1] @ self.centre
        return out

    def _off_gauge(self, theta):
        if self.gauge.any():
            theta = theta - self.gauge[:, None] * theta.mean(axis=0)
        return theta


def to_outputs(V, n_outputs, fit_intercept):
    """(p, k) in the layout coefficients, then intercepts, to a new (q, width, k) with the intercept last."""
    n_coef = len(V) - n_outputs * fit_intercept
    k = V.shape[1]
    coef = V[:n_coef].reshape(n_outputs, n_coef // n_outputs, k)
    if not fit_intercept:
        return coef.copy()
    return np.concatenate([coef, V[n_coef:].reshape(n_outputs, 1, k)], axis=1)


def to_vector(theta, fit_intercept):
    """(q, width) or (q, width, k) back to (p,) or (p, k): coefficients, then intercepts."""
    k = theta.shape[2:]
    if not fit_intercept:
        return theta.reshape(theta.shape[0] * theta.shape[1], *k)
    n_coef = theta.shape[0] * (theta.shape[1] - 1)
    return np.concatenate([theta[:, :-1].reshape(n_coef, *k), theta[:, -1]])
