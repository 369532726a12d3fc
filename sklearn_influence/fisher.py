"""The empirical Fisher matrix: a curvature made of the rows' gradients."""

import numpy as np

from ._backend import check_memory
from ._parallel import block_size, blocks
from .curvature import Hessian, MixedWeights, to_outputs, to_vector


class EmpiricalFisher(Hessian):
    """``sum_i g_i g_i' + diag(penalty)``: outer products of the rows' gradients in place of their curvature.

    Parameters
    ----------
    design, penalty, shift_invariant
        As in :class:`Hessian`.
    slopes : ndarray of shape (n, q)
        u_i of ``g_i = J_i' u_i``, times the root of the row's weight.
    coupled : bool
        Whether the outputs mix; else each has outer products of its own.
    truth : Hessian
        What this stands in for, by which solutions are judged.
    """

    def __init__(self, design, slopes, penalty, *, coupled, truth, shift_invariant=False):
        weights = MixedWeights(np.zeros_like(slopes), slopes, 1.0) if coupled else slopes**2
        super().__init__(design, weights, penalty, shift_invariant=shift_invariant)
        self.slopes, self.truth = slopes, truth

    def damped(self, damping):
        penalty = self.penalty + damping * self._diagonal()
        options = dict(coupled=self.coupled, truth=self.truth, shift_invariant=self.shift_invariant)
        return EmpiricalFisher(self.design, self.slopes, penalty, **options)

    def onto_rows(self, V):
        """``g_i' V`` for V of shape (p, k), summed over the outputs: (n, k)."""
        theta = to_outputs(V, self.n_outputs, self.design.fit_intercept)
        return sum(self.slopes[:, c, None] * self.design.dot(theta[c]) for c in range(self.n_outputs))

    def from_rows(self, U):
        """``sum_i g_i U_i`` for U of shape (n, k): (p, k)."""
        theta = np.stack([self.design.tdot(self.slopes[:, c, None] * U) for c in range(self.n_outputs)])
        return to_vector(theta, self.design.fit_intercept)

    def row_gram(self, inverse):
        """``g_i' D^-1 g_j`` of all rows, (n, n), for a diagonal D with the inverse (q, width)."""
        n, d = self.design.n_rows, self.design.n_features
        check_memory(8 * 2 * n**2, f"Products of {n:,} rows with each other", "Use solver='cg'.")
        K = np.zeros((n, n))
        for c in range(self.n_outputs):
            X, u = self.design.X, self.slopes[:, c]
            for part in blocks(n, block_size(8 * (n + d), share=0.25)):
                scaled = X[part].multiply(inverse[c, :d]).tocsr() if self.design.is_sparse else X[part] * inverse[c, :d]
                product = scaled @ X.T
                product = product.toarray() if self.design.is_sparse else product
                if self.design.fit_intercept:
                    product = product + inverse[c, -1]
                K[part] += u[part, None] * product * u
        return K

    def gauge_within(self, positions):
        """Where, among sorted ``positions``, all outputs' shares of a common shift without curvature stand: arrays."""
        _, column = self._places(positions)
        for j in np.flatnonzero(self.gauge):
            shared = np.flatnonzero(column == j)
            if len(shared) == self.n_outputs:
                yield shared

    def _places(self, positions):
        """Output and column (the intercept's last) of each of some positions in params_."""
        q, width = self.penalty.shape
        layout = to_vector(np.arange(q * width).reshape(q, width), self.design.fit_intercept)
        return np.divmod(layout[positions], width)

    def on_parameters(self, positions):
        """The part (k, k) of the matrix that belongs to some of the parameters."""
        output, column = self._places(positions)
        intercept, k = column == self.design.n_features, len(positions)
        check_memory(16 * k**2, f"The curvature of {k:,} parameters", "Choose fewer parameters.")
        out = np.diag(to_vector(self.penalty, self.design.fit_intercept)[positions])
        for part in blocks(self.design.n_rows, block_size(16 * k, share=0.25)):
            rows = self.design.X[part][:, np.where(intercept, 0, column)]
            rows = rows.toarray() if self.design.is_sparse else rows.astype(np.float64)
            rows[:, intercept] = 1.0
            rows *= self.slopes[part][:, output]
            out += rows.T @ rows if self.coupled else (rows.T @ rows) * (output[:, None] == output)
        return out
