r"""Curvature of the objective in parameter space.

A curvature is what a solver sees of a model: ``matmat``, ``diagonal`` and ``dense`` with its ``encode`` / ``decode``.
It knows the rows, their weights and the penalty, and nothing of labels or losses.
"""

import copy
from functools import cached_property

import numpy as np

from ._backend import add_to_diagonal, array_namespace, beside, check_memory, to_numpy
from ._minibatch import RowSampler
from ._parallel import block_size, blocks

# A column's share of its squares about the mean that is rounding.
_CONSTANT = 64 * np.finfo(float).eps


class MixedWeights:
    """Second derivatives of rows whose outputs mix, ``diag(a_i) + sign b_i b_i'``: 2 q numbers a row, not q**2.

    Parameters
    ----------
    diagonal, outer : ndarray of shape (n, q)
        a and b, sample weights included.
    sign : {-1.0, 1.0}
    """

    def __init__(self, diagonal, outer, sign=-1.0):
        self.diagonal, self.outer, self.sign = diagonal, outer, sign
        self.n_outputs = outer.shape[1]

    def times(self, eta):
        """W_i eta_i for eta of shape (n, q, k), in place."""
        if isinstance(eta, np.ndarray):
            along = np.einsum("nq,nqk->nk", self.outer, eta)
        else:
            along = array_namespace(eta).sum(self.outer[:, :, None] * eta, axis=1)
        along *= self.sign
        eta *= self.diagonal[:, :, None]
        for a in range(eta.shape[1]):
            eta[:, a, :] += self.outer[:, a, None] * along
        return eta

    def pairs(self, a):
        """The weights (n, q - a) of output a with the outputs from a on."""
        out = self.sign * self.outer[:, a, None] * self.outer[:, a:]
        out[:, 0] += self.diagonal[:, a]
        return out

    def by_output(self):
        """(n, q): the weights of each output with itself."""
        weights = self.diagonal + self.sign * self.outer**2
        return np.maximum(weights, 0.0)  # rounding must not turn a row against itself

    def take(self, rows):
        return MixedWeights(self.diagonal[rows, ...], self.outer[rows, ...], self.sign)

    def beside(self, array):
        """The same weights on the device of an array."""
        return MixedWeights(beside(self.diagonal, array), beside(self.outer, array), self.sign)


class Hessian:
    r"""``sum_i J_i' W_i J_i + diag(penalty)`` for outputs that are linear in the parameters.

    Parameters
    ----------
    design : Design
    weights : ndarray or MixedWeights
        The rows' second derivatives, sample weights included. (n, 1): the same for every output; (n, q): one for each
        output; MixedWeights: outputs that mix.
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
        self.coupled = isinstance(weights, MixedWeights)
        self.shift_invariant = shift_invariant
        self.gauge = (penalty == 0).all(axis=0) if shift_invariant else np.zeros(penalty.shape[1], bool)

    @cached_property
    def centre(self):
        """Weighted mean of the features (d,), about which the dense form is written."""
        return self.design.mean(self.weights_by_output().sum(axis=1))

    def about(self, centre):
        """The same curvature, its dense form written about another centre (d,)."""
        other = copy.copy(self)
        other.centre = centre
        return other

    def leaving(self, rows, retained=None):
        """What this curvature has and ``retained``, that of the other rows, has not: the terms of some rows, and any
        difference of the penalties. About this curvature's centre, so that dense forms can be subtracted."""
        weights = self.weights.take(rows) if self.coupled else self.weights[rows]
        penalty = np.zeros_like(self.penalty) if retained is None else self.penalty - retained.penalty
        part = Hessian(self.design.take(rows), weights, penalty, shift_invariant=self.shift_invariant)
        part.gauge = self.gauge
        return part.about(self.centre)

    def weights_by_output(self):
        """(n, 1) or (n, q): second derivative of each row's loss by each output."""
        return self.weights.by_output() if self.coupled else self.weights

    @cached_property
    def mean(self):
        """As ``centre``, for sparse rows too: iterations subtract it from products, never from rows."""
        return self.design.mean(self.weights_by_output().sum(axis=1), implicitly=True)

    @property
    def n_outputs(self):
        return len(self.penalty)

    @property
    def operations(self):
        """Floating-point operations of :meth:`matmat` for one column."""
        return 4 * self.design.n_entries * self.n_outputs

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
        penalty = self.penalty + damping * self._diagonal()
        return Hessian(self.design, self.weights, penalty, shift_invariant=self.shift_invariant)

    def _diagonal(self):
        return self.design.column_squares(self.weights_by_output()).T + self.penalty

    def diagonal(self):
        """(p,) in the layout of the parameters."""
        return to_vector(self._diagonal(), self.design.fit_intercept)

    @property
    def product_bytes(self):
        """What :meth:`matmat` holds for each column beside its result."""
        return 16 * self.design.product_rows * self.n_outputs

    def matmat(self, V):
        """H V for V of shape (p, k). Cost: two products with the rows, in blocks whose outputs stay in cache."""
        theta = to_outputs(V, self.n_outputs, self.design.fit_intercept)  # (q, width, k)
        q, width, k = theta.shape
        # On another device all is made there; only the vectors and their products travel.
        right = self.design.beside(theta.transpose(1, 0, 2).reshape(width, q * k))
        reshape, out = array_namespace(right).reshape, self.design.beside(np.zeros((width, q * k)))
        for part in blocks(self.design.n_rows, self.design.product_rows):
            rows = self.design.take(part).in_double()
            eta = self.weigh(part, reshape(rows.dot(right), (-1, q, k)))
            out += rows.tdot(reshape(eta, (-1, q * k)))
        out = to_numpy(out).reshape(width, q, k).transpose(1, 0, 2)
        return to_vector(out + self.penalty[:, :, None] * theta, self.design.fit_intercept)

    def dense(self):
        """The blocks in the coordinates of :meth:`encode`, on the rows' device, and which block each output uses.

        Returns
        -------
        matrices : list of arrays of shape (b, b)
            One of b = q * width where the outputs mix, else the different ones of b = width.
        block_of : list of int
            For each encoded block, its matrix.
        """
        q, width = self.penalty.shape
        size = q * width if self.coupled else width
        check_memory(
            8 * size**2 * (max(self.block_of()) + 1),
            f"The curvature of {self.shape[0]:,} parameters",
            "Use solver='cg', which never holds it, or fewer columns.",
            self.design.device,
        )
        if self.coupled:
            return [self._coupled()], [0]
        grams = self.design.gram(self.weights, self.centre)
        block_of, matrices = self.block_of(), []
        for b in range(max(block_of) + 1):
            o = block_of.index(b)
            alone, gram = len(grams) == q or max(block_of) == 0, grams[o % len(grams)]
            matrices.append(gram if alone else array_namespace(gram).asarray(gram, copy=True))
            self._add_penalty(matrices[-1], o)
        return matrices, block_of

    def block_of(self):
        """Which block each encoded block's output uses: outputs of one weight and penalty share it."""
        if self.coupled:
            return [0]
        seen = {}
        keys = ((o % self.weights.shape[1], penalty.tobytes()) for o, penalty in enumerate(self.penalty))
        return [seen.setdefault(key, len(seen)) for key in keys]

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
        add_to_diagonal(block, penalty[:d])
        if penalty[d:].any():
            v = self._intercept_direction()
            block += beside(penalty[-1] * np.outer(v, v), block)

    @property
    def _shifts(self):
        """A common shift of the outputs changes nothing, and weights between outputs are of one sign."""
        return self.shift_invariant and self.weights.sign < 0

    def _coupled(self):
        q, width = self.penalty.shape
        xp = array_namespace(self.design.beside(self.centre))
        H = xp.empty((q, width, q, width), dtype=xp.float64)
        for a in range(q):
            # Where a common shift changes nothing, an output's own block is minus the sum of its others: no term of
            # that sum cancels another, and q (q - 1) / 2 products are enough.
            own = not self._shifts
            grams = self.design.gram(self.weights.pairs(a)[:, not own :], self.centre)
            for b, gram in enumerate(grams, a + (not own)):
                H[a, :, b, :] = H[b, :, a, :] = gram
        for a in range(q):
            if self._shifts:
                H[a, :, a, :] = -sum(H[a, :, b, :] for b in range(q) if b != a)
            self._add_penalty(H[a, :, a, :], a)
        for j in np.flatnonzero(self.gauge).tolist():
            H[:, j, :, j] += xp.linalg.trace(H[:, j, :, j]) / q
        return xp.reshape(H, (q * width, q * width))

    def encode(self, B):
        """Gradients (p, k) in the coordinates of :meth:`dense`: (n_blocks, b, k)."""
        theta = self.encode_about(self.centre, B)
        return theta.reshape(1, len(B), B.shape[1]) if self.coupled else theta

    def encode_about(self, centre, B):
        """Gradients (p, k) in coordinates about another centre: (q, width, k)."""
        theta = self._off_gauge(to_outputs(B, self.n_outputs, self.design.fit_intercept))
        if centre.any():
            theta[:, :-1] -= centre[:, None] * theta[:, -1:]
        return theta

    def encode_params(self, V):
        """Parameters (p, k) in the coordinates of :meth:`dense`, where :meth:`decode` undoes them."""
        theta = to_outputs(V, self.n_outputs, self.design.fit_intercept)
        if self.centre.any():
            theta[:, -1] += np.einsum("j,qjk->qk", self.centre, theta[:, :-1])
        return theta.reshape(1, len(V), V.shape[1]) if self.coupled else theta

    def decode(self, Z):
        """Back from solutions in the coordinates of :meth:`dense` to (p, k)."""
        return self.decode_about(self.centre, Z.reshape(self.n_outputs, self.design.width, Z.shape[-1]))

    def decode_about(self, centre, theta):
        """Back from solutions (q, width, k) in coordinates about another centre to (p, k)."""
        if centre.any():
            theta = theta.copy()
            theta[:, -1] -= np.einsum("j,qjk->qk", centre, theta[:, :-1])
        return to_vector(self._off_gauge(theta), self.design.fit_intercept)

    def diagonal_about(self, centre):
        """(q, width): the diagonal in coordinates about another centre."""
        weights = self.weights_by_output()
        squares = self.design.column_squares(weights).T
        if centre.any():
            d = self.design.n_features
            sums = self.design.tdot(weights)  # (width, k)
            total = sums[-1][:, None]
            shifted = squares[:, :d] - 2 * centre * sums[:d].T + total * centre**2
            # A column whose spread is the rounding of what was subtracted is constant.
            squares[:, :d] = np.where(shifted > _CONSTANT * squares[:, :d], shifted, 0.0)
        diagonal = squares + self.penalty
        if centre.any():  # a penalty on the intercept is one on b = b' - centre'w
            diagonal[:, :-1] += self.penalty[:, -1:] * centre**2
        return diagonal

    def on_directions(self, centre, V):
        """V' H V for directions V (width, k) of every output, in coordinates about ``centre``: (q, k, k), or
        (q, k, q, k) where the outputs mix. Cost: a product of the rows with V, and n (q k)**2 operations."""
        q, k = self.n_outputs, V.shape[1]
        V = V.copy()
        if self.design.fit_intercept:
            V[-1] -= centre @ V[:-1]
        there = self.design.beside(V)
        xp = array_namespace(there)
        E = xp.zeros((q, k, q, k) if self.coupled else (self.weights.shape[1], k, k), dtype=xp.float64)
        for part in blocks(self.design.n_rows, block_size(16 * q * k, share=0.25)):
            Z = self.design.take(part).dot(there)
            weights = self._held_weights.take(part) if self.coupled else self._held_weights[part, :]
            if self.coupled:
                G = xp.reshape(weights.outer[:, :, None] * Z[:, None, :], (-1, q * k))
                E += weights.sign * xp.reshape(G.T @ G, E.shape)
            roots = xp.sqrt(weights.diagonal if self.coupled else weights)
            for c in range(roots.shape[1]):
                scaled = Z * roots[:, c : c + 1]
                (E[c, :, c, :] if self.coupled else E[c, :, :])[...] += scaled.T @ scaled
        E = to_numpy(E)
        if not self.coupled:
            E = np.broadcast_to(E, (q, k, k)).copy()
        for c, penalty in enumerate(self.penalty):
            (E[c, :, c] if self.coupled else E[c])[...] += (V * penalty[:, None]).T @ V
        return E

    @property
    def common_shifts(self):
        """Along common shifts of all outputs the curvature is the penalty alone."""
        return self.shift_invariant and bool((self.penalty == self.penalty[0]).all())

    def split_common(self, B):
        """The solution (p, k) along common shifts of all outputs, where the curvature is the penalty, and what is left
        of B to solve for. That part can be much larger than the rest, of which it would leave few digits."""
        if not self.common_shifts:
            return None, self.off_gauge(B)
        theta = to_outputs(B, self.n_outputs, self.design.fit_intercept)
        common, penalty = theta.mean(axis=0), self.penalty[0][:, None]
        theta -= common
        solved = np.divide(common, penalty, out=np.zeros_like(common), where=penalty > 0)
        solved = np.broadcast_to(solved, theta.shape)
        return to_vector(solved, self.design.fit_intercept), to_vector(theta, self.design.fit_intercept)

    def unit_columns(self):
        """(p, b): right-hand sides whose solutions, by :meth:`encode_params`, are the blocks of the inverse."""
        q, width = self.penalty.shape
        theta = np.eye(q * width).reshape(q, width, -1) if self.coupled else np.tile(np.eye(width), (q, 1, 1))
        if self.centre.any():
            theta[:, :-1] += self.centre[:, None] * theta[:, -1:]
        return to_vector(theta, self.design.fit_intercept)

    def decode_inverse(self, M):
        """A dense block's inverse in the user's coordinates, on the CPU."""
        M = to_numpy(M)
        if self.coupled:
            return self.decode(self.decode(M).T)
        out = M.copy()
        if self.centre.any():
            out[-1] -= self.centre @ out[:-1]
            out[:, -1] -= out[:, :-1] @ self.centre
        return out

    def off_gauge(self, B):
        """(p, k) without the part along softmax's common shift."""
        if not self.gauge.any():
            return B
        intercept = self.design.fit_intercept
        return to_vector(self._off_gauge(to_outputs(B, self.n_outputs, intercept)), intercept)

    def _off_gauge(self, theta):
        if self.gauge.any():
            theta = theta - self.gauge[:, None] * theta.mean(axis=0)
        return theta

    def weigh(self, rows, eta):
        """``W_i eta_i`` for the rows' (m, q, k) eta, which may be overwritten, on the device that eta lies on."""
        weights = self.weights if isinstance(eta, np.ndarray) else self._held_weights
        if self.coupled:
            return weights.take(rows).times(eta)
        eta *= weights[rows, :][:, :, None]
        return eta

    @cached_property
    def _held_weights(self):
        """The weights on the rows' device."""
        origin = self.design.beside(self.centre)
        return self.weights.beside(origin) if self.coupled else beside(self.weights, origin)

    def minibatch(self):
        """This curvature as random rows show it, see :class:`RowSampler`."""
        return RowSampler(self)


class RowCurvatures:
    """``J_i' W_i J_i`` of some rows whose outputs mix, the i-th for the i-th column of what is multiplied.

    Parameters
    ----------
    design : Design
        The rows, k of them.
    weights : MixedWeights
    """

    def __init__(self, design, weights):
        self.design, self.weights = design, weights

    def outputs(self, V, columns=slice(None)):
        """``J_i v_i`` for V of shape (p, k), (k, q), where its columns belong to the rows ``columns``."""
        theta = to_outputs(V, self.weights.n_outputs, self.design.fit_intercept)
        return np.einsum("kj,qjk->kq", self._rows(columns), theta)

    def product(self, V, columns):
        """``J_i' W_i J_i v_i`` side by side, (p, k)."""
        eta = self.weights.take(columns).times(self.outputs(V, columns)[:, :, None])[:, :, 0]
        return to_vector(eta.T[:, None] * self._rows(columns).T, self.design.fit_intercept)

    def _rows(self, columns):
        return self.design.take(columns).centred(np.zeros(self.design.n_features))


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
