r"""A curvature seen through random rows, in coordinates where no unit and no mean of a column matters."""

import numpy as np
from scipy import sparse

from ._parallel import block_size, blocks

# What a chunk of sampled rows may take (bytes): read twice right after it is written, so it should stay in cache.
_CHUNK = 2**21
# Relative to its mean, a column's spread below this is the rounding of the mean.
_CONSTANT = 64 * np.finfo(float).eps


class RowSampler:
    r"""Unbiased estimates of a curvature's product from a few rows drawn with replacement.

    ``H = sum_i A_i + P``, ``A_i = J_i' W_i J_i``, is estimated by ``P + 1/t sum_(i drawn) A_i / pi_i``. A row is drawn
    with probability ``pi_i`` in proportion to the trace of its ``A_i``, each parameter scaled to unit curvature: so the
    estimate's norm is bounded by ``reach`` for every draw, where uniform draws would leave one row of large leverage
    to blow the recursion up.

    Parameters
    ----------
    curvature : Hessian
        No weight may be negative.

    Attributes
    ----------
    diagonal : ndarray of shape (width, q)
        The curvature's diagonal in the coordinates used here; about 1.
    reach : float
        Largest possible norm of one drawn row's ``A_i / pi_i``, the diagonal scaled to 1.

    Notes
    -----
    Coordinates: those of ``curvature.encode``, each feature divided by the root of its mean curvature over outputs, as
    matrices (width, q k). A feature without any curvature is left out, and so is the common shift of all outputs
    where the loss does not see it: there the curvature is the penalty, which :meth:`common` inverts exactly.
    """

    def __init__(self, curvature):
        self.curvature, self.design = curvature, curvature.design
        self.q, self.width = curvature.penalty.shape
        self.centre, self.penalty = curvature.centre, curvature.penalty.T
        squares, weights = self._column_squares()
        d = self.design.n_features
        diagonal = squares + self.penalty
        # A penalised intercept is a penalty along (-centre, 1) here, as in Hessian.form.
        self.tilt = np.append(-self.centre, 1.0) if d < self.width and self.penalty[-1].any() else None
        if self.tilt is not None:
            diagonal[:-1] += self.tilt[:-1, None] ** 2 * self.penalty[-1]
        self.shifts = curvature.common_shifts and self.tilt is None
        mean = diagonal.mean(axis=1)
        self.column = np.where(mean > 0, 1 / np.sqrt(np.where(mean > 0, mean, 1.0)), 0.0)
        self.diagonal = diagonal * self.column[:, None] ** 2
        self.diagonal[self.diagonal == 0] = 1.0
        self._set_probabilities(weights)

    def _rows(self):
        size = 8 * (self.width + self.q)
        yield from blocks(self.design.n_rows, block_size(size, share=0.25))

    def _squares(self, rows):
        X = self.design.X[rows]
        if sparse.issparse(X):
            return X.multiply(X).tocsr()
        return (X.astype(np.float64, copy=False) - self.centre) ** 2

    def _column_squares(self):
        """``sum_i w_i z_i**2`` about the centre (width, q), and all w (n, q)."""
        d = self.design.n_features
        out = np.zeros((self.width, self.q))
        weights = np.broadcast_to(self.curvature.weights_by_output(), (self.design.n_rows, self.q))
        for rows in self._rows():
            out[:d] += self._squares(rows).T @ weights[rows]
        if (weights < 0).any():
            raise ValueError(
                "solver='stochastic' needs a loss that is convex in the outputs, and got rows of negative second "
                "derivative; use solver='direct'."
            )
        total = weights.sum(axis=0)
        out[:d][out[:d] <= (_CONSTANT * self.centre[:, None]) ** 2 * total] = 0.0
        out[d:] = total
        return out, weights

    def _set_probabilities(self, weights):
        d, traces = self.design.n_features, np.empty(weights.shape)
        inverse = self.column[:, None] ** 2 / self.diagonal
        for rows in self._rows():
            traces[rows] = weights[rows] * (self._squares(rows) @ inverse[:d] + inverse[d:].sum(axis=0))
        if self.curvature.coupled:
            traces = traces.sum(axis=1, keepdims=True)
        total = traces.sum(axis=0)
        share = (traces / np.where(total > 0, total, 1.0)).sum(axis=1)
        if not share.any():  # no row has any curvature: whichever is drawn, the penalty is all there is
            share = np.ones(len(share))
        share /= share.sum()
        self._edges = np.cumsum(share)
        self._edges[-1] = np.inf  # rounding of the sum must not send a draw behind the last row ...
        self._last = int(np.flatnonzero(share)[-1])  # ... nor to one that is never drawn
        self.inverse_share = np.where(share > 0, 1 / np.where(share > 0, share, 1.0), 0.0)
        self.reach = float((traces * self.inverse_share[:, None]).max())

    # --- coordinates ---

    def enter(self, B):
        """Gradients (p, k) as (width, q k), and the share of each column that is left out (k,)."""
        k = B.shape[1]
        b = self.curvature.encode(B).reshape(self.q, self.width, k).transpose(1, 0, 2)
        lost = np.abs(b[self.column == 0]).max(axis=(0, 1), initial=0.0)
        whole = np.abs(b).max(axis=(0, 1), initial=0.0)
        b = self._off_shift(b) * self.column[:, None, None]
        return b.reshape(self.width, -1), lost / np.where(whole > 0, whole, 1.0)

    def leave(self, x):
        """Parameters (..., width, q k) as (..., p, k)."""
        k = x.shape[-1] // self.q
        theta = self._off_shift(x.reshape(-1, self.width, self.q, k) * self.column[:, None, None])
        theta = theta.transpose(2, 1, 0, 3).reshape(self.q, self.width, -1)  # repeats as further columns
        blocked = theta.reshape(1, -1, theta.shape[-1]) if self.curvature.coupled else theta
        out = self.curvature.decode(blocked)
        out = out.reshape(len(out), -1, k).transpose(1, 0, 2)
        return out.reshape(*x.shape[:-2], *out.shape[1:])

    def common(self, B):
        """H^-1 B along a common shift of all outputs that only the penalty sees: (p, k)."""
        return self.curvature.split_common(B)[0] if self.shifts else 0.0

    def _off_shift(self, theta):
        """theta (..., q, k) without its mean over outputs."""
        return theta - theta.mean(axis=-2, keepdims=True) if self.shifts else theta

    def product(self, x):
        """H x from all rows, (width, q k). Cost: two products with the rows."""
        return self.enter(self.curvature.matmat(self.leave(x)))[0]

    def penalty_steps(self, pace, k):
        """A step ``x - pace * P x`` as ``shrink * x + pull(x)``, pull None where the penalty is diagonal."""
        step = pace * np.repeat(self.penalty * self.column[:, None] ** 2, k, axis=1)
        if self.shifts:  # P sees x without its mean over outputs; x keeps it, which spares each step the projection
            share = (step / self.q).reshape(self.width, self.q, k)

            def pull(x):
                total = np.einsum("mqk->mk", x.reshape(-1, self.q, k))  # several times as fast as sum(axis=1)
                return (share * total.reshape(-1, self.width, 1, k)).reshape(x.shape)

            return 1.0 - step, pull
        if self.tilt is None:
            return 1.0 - step, None
        step[-1] = 0.0
        tilt, penalty = self.tilt * self.column, np.repeat(self.penalty[-1], k)
        return 1.0 - step, lambda x: -pace * (tilt[:, None] * (np.tensordot(x, tilt, (1, 0)) * penalty)[:, None])

    # --- draws ---

    def draw(self, uniform):
        """Rows for numbers from [0, 1)."""
        return np.minimum(np.searchsorted(self._edges, uniform, side="right"), self._last)

    def chunk_length(self, n_repeats, n_samples):
        per_row = self.width
        if self.design.is_sparse:
            per_row = 2 * self.design.X.nnz // max(self.design.n_rows, 1) + 2
        return max(1, _CHUNK // (8 * n_repeats * n_samples * (per_row + self.q)))

    def products(self, rows):
        """For each of the (c, r, t) draws a function ``data_term(x, out)``, x and out of shape (r, width, q k)."""
        c, r, t = rows.shape
        factor = (self.inverse_share[rows] / t).reshape(c, r * t, 1, 1)
        take = self._sparse_terms if self.design.is_sparse else self._dense_terms
        for j, (forward, backward) in enumerate(take(rows)):

            def data_term(x, out, j=j, forward=forward, backward=backward):
                eta = forward(x).reshape(r * t, self.q, -1)
                eta = self.curvature.weigh(rows[j].ravel(), eta)
                eta *= factor[j]
                backward(eta.reshape(r, t, -1), out)

            yield data_term

    def _dense_terms(self, rows):
        d = self.design.n_features
        Z = np.empty((*rows.shape, self.width))
        np.subtract(self.design.X[rows], self.centre, out=Z[..., :d])
        Z[..., d:] = 1.0
        Z *= self.column
        for z in Z:
            yield (lambda x, z=z: z @ x), (lambda eta, out, z=z: np.matmul(z.transpose(0, 2, 1), eta, out=out))

    def _sparse_terms(self, rows):
        """All repeats of a step as one sparse matrix with a block for each: sparse products are slow to start."""
        c, r, t = rows.shape
        d = self.design.n_features
        X = self.design.X[rows.ravel()]
        data = X.data * self.column[X.indices]
        repeat = np.repeat(np.tile(np.repeat(np.arange(r), t), c), np.diff(X.indptr))
        columns = X.indices + repeat * self.width
        if d < self.width:
            constant = self.column[-1]
        for j in range(c):
            ends = X.indptr[j * r * t : (j + 1) * r * t + 1]
            part = slice(ends[0], ends[-1])
            z = sparse.csr_array((data[part], columns[part], ends - ends[0]), shape=(r * t, r * self.width))

            def forward(x, z=z):
                eta = (z @ x.reshape(r * self.width, -1)).reshape(r, t, -1)
                if d < self.width:
                    eta += constant * x[:, -1:]
                return eta

            def backward(eta, out, z=z):
                out[...] = (z.T @ eta.reshape(r * t, -1)).reshape(out.shape)
                if d < self.width:
                    out[:, -1] = constant * eta.sum(axis=1)

            yield forward, backward
