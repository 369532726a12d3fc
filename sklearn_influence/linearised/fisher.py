"""The empirical Fisher matrix of rows with general Jacobians."""

import numpy as np

from .._backend import check_memory
from ..curvature import MixedWeights
from .curvature import GaussNewton


class JacobianFisher(GaussNewton):
    """``sum_i g_i g_i' + diag(penalty)``: outer products of the rows' gradients in place of their curvature.

    Parameters
    ----------
    design, penalty, shift_invariant
        As in :class:`GaussNewton`.
    gradients : ndarray of shape (n, q)
        u_i of ``g_i = J_i' u_i``, times the root of the row's weight.
    together : bool
        Whether the loss mixes the outputs; else each output of a row has an outer product of its own.
    truth : GaussNewton
        What this stands in for, by which solutions are judged.
    """

    def __init__(self, design, gradients, penalty, *, together, truth, shift_invariant=False):
        weights = MixedWeights(np.zeros_like(gradients), gradients, 1.0) if together else gradients**2
        super().__init__(design, weights, penalty, shift_invariant=shift_invariant)
        self.gradients, self.together, self.truth = gradients, together, truth

    def _with(self, design, weights, penalty):
        options = dict(together=self.together, truth=self.truth, shift_invariant=self.shift_invariant)
        return JacobianFisher(design, self.gradients, penalty, **options)

    def leaving(self, rows, retained=None):
        raise ValueError("An approximation is not updated; factor the rows that stay.")

    def _roots(self, part, J):
        G = self.gradients[part][:, :, None] * J
        return G.sum(axis=1) if self.together else G.reshape(-1, J.shape[2])

    # -- the rows' products with each other ----------------------------------------------------------------------------

    @property
    def slopes(self):
        """No free parameter has slopes of its own: what Woodbury's identity leaves to intercepts, (rows, 1)."""
        return np.zeros((self.design.n_rows * (1 if self.together else self.n_outputs), 1))

    def onto_rows(self, V):
        """``g' V`` of every outer product, for V of shape (p, k)."""
        eta = self.gradients[:, :, None] * self.design.dot(V)
        return eta.sum(axis=1) if self.together else eta.reshape(-1, V.shape[1])

    def from_rows(self, U):
        """``sum g U`` over the outer products, (p, k)."""
        U = U[:, None, :] if self.together else U.reshape(self.design.n_rows, self.n_outputs, -1)
        return self.design.tdot(self.gradients[:, :, None] * U)

    def row_gram(self, inverse):
        """``g' D^-1 g`` of every two, for a diagonal D with the inverse (1, p)."""
        n = len(self.slopes)
        check_memory(8 * 2 * n**2, f"Products of {n:,} rows with each other", "Use solver='cg'.")
        K = np.empty((n, n))
        each = n // self.design.n_rows
        for part, J in self.design.jacobians():
            K[part.start * each : part.stop * each] = self.onto_rows(inverse.T * self._roots(part, J).T).T
        return K

    def gauge_within(self, positions):
        return ()  # among some parameters only, a flat direction is found as any other

    def on_parameters(self, positions):
        """The part (k, k) of the matrix that belongs to some of the parameters."""
        k = len(positions)
        check_memory(16 * k**2, f"The curvature of {k:,} parameters", "Choose fewer parameters.")
        out = np.diag(self.penalty[0, positions])
        for part, J in self.design.jacobians():
            G = self._roots(part, J[:, :, positions])
            out += G.T @ G
        return out
