r"""Curvature of an objective whose outputs are linear in the parameters by a general Jacobian.

What solvers see is what they see of :class:`sklearn_influence.curvature.Hessian`: one block of all parameters.
"""

from functools import cached_property

import numpy as np
from scipy.linalg import blas

from .._backend import add_to_diagonal, check_memory
from .._matrices import turn_up
from .._parallel import block_size, blocks
from ..curvature import MixedWeights


class GaussNewton:
    r"""``sum_i J_i' W_i J_i + diag(penalty)``: the Hessian, since the outputs are linear in the parameters.

    Parameters
    ----------
    design : Rows
    weights : ndarray of shape (n, q), or MixedWeights
        The rows' second derivatives by the outputs, sample weights included; MixedWeights where the loss mixes outputs.
    penalty : ndarray of shape (1, p)
        Second derivative of the penalty.
    shift_invariant : bool
        The loss does not see a common shift of all outputs.

    Notes
    -----
    Known flat directions are no part of the curvature that is solved with, and no part of its solutions: parameters
    that move no output and have no penalty, such as the bias of a relu unit that no row activates, and those of
    :meth:`Rows.flats`. No row's gradient has a part along them. In the dense form they are given a curvature of their
    own, so that Cholesky applies.
    """

    common_shifts = False  # a shift of the outputs has no parameters of its own but along the gauge, which is taken out

    def __init__(self, design, weights, penalty, *, shift_invariant=False):
        self.design, self.weights, self.penalty = design, weights, penalty
        self.n_outputs, self.shift_invariant = design.n_outputs, shift_invariant
        # One output has a dense form whose small eigenvalues are taken from the rows; several mix in the parameters.
        self.coupled = self.n_outputs > 1
        self._lent = None

    @property
    def shape(self):
        return (self.penalty.size,) * 2

    @property
    def centre(self):
        return np.zeros(0)

    mean = centre

    def about(self, centre):
        return self

    @property
    def normed(self):
        return np.ones(self.penalty.size, bool)

    @property
    def operations(self):
        """Floating-point operations of :meth:`matmat` for one column."""
        return self.design.operations

    @property
    def product_bytes(self):
        return 16 * min(self.design.n_rows, 8192) * self.n_outputs

    def block_of(self):
        return [0]

    def weights_by_output(self):
        return self.weights.by_output() if isinstance(self.weights, MixedWeights) else self.weights

    def _with(self, design, weights, penalty):
        return GaussNewton(design, weights, penalty, shift_invariant=self.shift_invariant)

    def damped(self, damping):
        """This curvature plus ``damping`` times its own diagonal, parameter by parameter."""
        return self._with(self.design, self.weights, self.penalty + damping * self.diagonal())

    def leaving(self, rows, retained=None):
        """What this curvature has and ``retained``, that of the other rows, has not: as of a Hessian."""
        weights = self.weights.take(rows) if isinstance(self.weights, MixedWeights) else self.weights[rows]
        penalty = np.zeros_like(self.penalty) if retained is None else self.penalty - retained.penalty
        part = self._with(self.design.take(rows), weights, penalty)
        part.unmoved = np.zeros_like(self.unmoved)
        part.gauge = np.zeros(0, dtype=np.intp), np.zeros((0, 0))
        if retained is not None:  # each has a curvature of its own along its flat directions
            part._lent = self, retained
        return part

    # -- products ------------------------------------------------------------------------------------------------------

    def weigh(self, rows, eta):
        """``W_i eta_i`` for the rows' (m, q, k) eta, which may be overwritten."""
        if isinstance(self.weights, MixedWeights):
            return self.weights.take(rows).times(eta)
        eta *= self.weights[rows][:, :, None]
        return eta

    def matmat(self, V):
        """H V for V of shape (p, k)."""
        out, k = self.penalty.T * V, V.shape[1]
        for part in blocks(self.design.n_rows, block_size(16 * self.n_outputs * k, share=0.25)):
            rows = self.design.take(part)
            out += rows.tdot(self.weigh(part, rows.dot(V)))
        return out

    def _roots(self, part, J):
        """``V_i' J_i`` (m q, p) with ``W_i = V_i V_i'``, for a block J (m, q, p) of rows."""
        if isinstance(self.weights, MixedWeights):
            weights = self.weights.take(part)
            # Softmax: a = s p and b = sqrt(s) p, so that W = V V' with V' = diag(sqrt a) (I - 1 p').
            total = weights.outer.sum(axis=1, keepdims=True)
            p = np.divide(weights.outer, total, out=np.zeros_like(weights.outer), where=total > 0)
            J = J - np.matmul(p[:, None, :], J)
            J *= np.sqrt(weights.diagonal)[:, :, None]
        else:
            J = np.sqrt(self.weights[part])[:, :, None] * J
        return J.reshape(-1, J.shape[2])

    def diagonal(self):
        """(p,) in the layout of the parameters."""
        return self._diagonal

    @cached_property
    def _diagonal(self):
        out = self.penalty[0].copy()
        for part, J in self.design.jacobians():
            G = self._roots(part, J)
            out += np.einsum("ij,ij->j", G, G)
        return out

    # -- known flat directions -----------------------------------------------------------------------------------------

    @cached_property
    def _used(self):
        """The rows with weight."""
        used = self.weights_by_output().any(axis=1)
        return self.design if used.all() else self.design.take(np.flatnonzero(used))

    @cached_property
    def unmoved(self):
        """(p,): parameters that move no output of a row with weight, and have no penalty."""
        if self.penalty.all():
            return np.zeros(self.penalty.size, bool)
        return (self.penalty[0] == 0) & ~self._used.moving()

    @cached_property
    def gauge(self):
        """The other known flat directions: the k parameters that they concern, and an orthonormal basis (k, r)."""
        if self.penalty.all():
            return np.zeros(0, dtype=np.intp), np.zeros((0, 0))
        places, V = self._used.flats(self.shift_invariant)
        V = V[:, ~(V[self.penalty[0, places] > 0] != 0).any(axis=0)]
        V = np.where(self.unmoved[places, None], 0.0, V)
        V = V[:, V.any(axis=0)]
        concerned = V.any(axis=1)
        return places[concerned], np.linalg.qr(V[concerned])[0]

    @cached_property
    def _size(self):
        """The curvature that flat directions are given: that of the parameters around."""
        places = self.gauge[0]
        return float(self.diagonal()[places].mean()) or 1.0 if len(places) else 1.0

    def _lend(self, H, size, sign=1.0):
        """Add a curvature of a ``size`` along the known flat directions to a dense H, in place."""
        add_to_diagonal(H, sign * size * self.unmoved)
        places, Q = self.gauge
        if len(places):
            H[np.ix_(places, places)] += sign * size * (Q @ Q.T)

    def dense(self):
        """The one block, (p, p) in the coordinates of :meth:`encode`, in a list, and which block is whose."""
        p = self.penalty.size
        check_memory(
            8 * p**2,
            f"The curvature of {p:,} parameters",
            "Use representation='dual' where there are fewer rows, or solver='cg', which never holds it.",
        )
        H = np.zeros((p, p))
        for part, J in self.design.jacobians():
            G = self._roots(part, J)
            blas.dsyrk(1.0, G.T, beta=1.0, c=H.T, lower=0, overwrite_c=1)  # the lower triangle in C order
        turn_up(H)
        add_to_diagonal(H, self.penalty[0])
        self.__dict__["_diagonal"] = np.diagonal(H).copy()
        if self._lent is None:
            self._lend(H, self._size)
        else:
            before, after = self._lent
            before._lend(H, before._size)
            after._lend(H, before._size, -1.0)
        return [H], [0]

    def rank_bound(self, o):
        """What the rank of the dense block cannot exceed."""
        known = np.count_nonzero(self.unmoved) + self.gauge[1].shape[1]
        return np.count_nonzero(self.weights) + np.count_nonzero(self.penalty) + known

    def form(self, o, V):
        """V' H V (k, k) from the rows themselves, and how much of it is rounding (k,), of one output."""
        form = (V * self.penalty.T).T @ V
        noise, size = np.zeros(V.shape[1]), np.abs(V)
        for part, J in self.design.jacobians():
            J, w = J[:, 0], self.weights[part]
            eta = J @ V
            form += (eta * w).T @ eta
            noise += (w * (4 * np.finfo(float).eps * (np.abs(J) @ size)) ** 2).sum(axis=0)
        for along in (V[self.unmoved], self.gauge[1].T @ V[self.gauge[0]]):
            form += self._size * along.T @ along
        return form, noise

    # -- coordinates ---------------------------------------------------------------------------------------------------

    def off_gauge(self, B):
        """(p, k) without its part along known flat directions."""
        places, Q = self.gauge
        if not len(places) and not self.unmoved.any():
            return B
        B = np.where(self.unmoved[:, None], 0.0, B)
        B[places] -= Q @ (Q.T @ B[places])
        return B

    def split_common(self, B):
        return None, self.off_gauge(B)

    def encode(self, B):
        """Gradients (p, k) in the coordinates of :meth:`dense`: (1, p, k), a new array."""
        B = self.off_gauge(B)
        return np.array(B, dtype=np.float64)[None]

    encode_params = encode

    def encode_about(self, centre, B):
        return self.encode(B)

    def decode(self, Z):
        return self.off_gauge(Z.reshape(self.penalty.size, Z.shape[-1]))

    def decode_about(self, centre, Z):
        return self.decode(Z)

    def diagonal_about(self, centre):
        return self.diagonal()[None]

    def unit_columns(self):
        return np.eye(self.penalty.size)

    def decode_inverse(self, M):
        return self.decode(self.decode(M).T)

    def minibatch(self):
        raise ValueError("solver='stochastic' is not available for Jacobians of networks; use solver='cg'.")


class RowCurvatures:
    """``J_i' W_i J_i`` of some rows whose outputs mix, the i-th for the i-th column of what is multiplied.

    Parameters
    ----------
    design : Rows
        The rows, k of them.
    weights : MixedWeights
    """

    def __init__(self, design, weights):
        self.design, self.weights = design, weights

    def outputs(self, V, columns=slice(None)):
        """``J_i v_i`` for V of shape (p, k), (k, q), where its columns belong to the rows ``columns``."""
        rows, out = self.design.take(columns), np.empty((V.shape[1], self.design.n_outputs))
        for part, J in rows.jacobians():
            out[part] = np.matmul(J, V.T[part, :, None])[:, :, 0]
        return out

    def product(self, V, columns):
        """``J_i' W_i J_i v_i`` side by side, (p, k)."""
        eta = self.weights.take(columns).times(self.outputs(V, columns)[:, :, None])[:, :, 0]
        return self.design.take(columns).pulls(eta)
