r"""Objectives of models whose outputs are linear in the parameters by a general Jacobian of each row."""

from functools import cached_property

import numpy as np

from .._parallel import block_size, blocks
from ..curvature import MixedWeights
from ..primal import PrimalObjective
from .curvature import GaussNewton, RowCurvatures
from .fisher import JacobianFisher


class JacobianObjective(PrimalObjective):
    """``sum_i s_i loss(y_i, f0_i + J_i theta) + 1/2 sum penalty * theta**2 + linear' theta``.

    Parameters
    ----------
    rows : Rows
        Where J_i (q, p) and f0_i (q) come from.
    y : ndarray
        Targets as the loss takes them.
    loss : Loss
    weighting : Weighting
    penalty : ndarray of shape (p,)
        Second derivative of the penalty, 0 where a parameter is free.
    params : ndarray of shape (p,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.linearised import ArrayRows, JacobianObjective
    >>> from sklearn_influence.losses import SquaredError
    >>> from sklearn_influence.objective import Weighting
    >>> rows = ArrayRows(np.array([[[1.0, 2.0]], [[3.0, 4.0]]]), np.array([[1.0], [0.0]]))
    >>> y, weighting = np.array([[1.0], [1.0]]), Weighting(np.ones(2))
    >>> objective = JacobianObjective(rows, y, SquaredError(), weighting, np.ones(2), np.array([1.0, 0.0]))
    >>> objective.outputs(), objective.gradient()
    (array([[2.],
           [3.]]), array([ 8., 10.]))
    """

    outputs_apart = False

    def __init__(self, rows, y, loss, weighting, penalty, params):
        self.design, self.y, self.loss, self.weighting = rows, y, loss, weighting
        self.sample_weight = weighting.effective()
        self.penalty = np.reshape(penalty, (1, -1)).astype(np.float64)
        self.params = params

    @property
    def n_outputs(self):
        return self.design.n_outputs

    def on(self, device):
        if device != "cpu":
            raise ValueError(f"device={device!r} is not available for Jacobians of networks; use device='cpu'.")
        return self

    # -- outputs and sums over rows ------------------------------------------------------------------------------------

    def outputs(self, X=None):
        if X is None:
            return self._outputs
        return X.offsets + X.dot(self.params[:, None])[:, :, 0]

    @cached_property
    def _outputs(self):
        return self.outputs(self.design)

    def _sum(self, rows, U):
        return rows.tdot(U[:, :, None])

    @cached_property
    def _summed(self):
        return self._sum(self.design, self.sample_weight[:, None] * self._gradient_by_output)

    def gradient_rounding(self):
        W = np.abs(self.output_curvatures())
        reach = self.design.norms()[:, None] * np.linalg.norm(self.params) + np.abs(self.design.offsets)
        carried = W * reach if W.ndim == 2 else np.einsum("nab,nb->na", W, reach)
        terms = self.sample_weight[:, None] * (np.abs(self._gradient_by_output) + carried)
        own = self.penalty[0] * np.abs(self.params) + (0.0 if self.linear is None else np.abs(self.linear))
        return 4 * np.finfo(float).eps * (self.design.absolute_tdot(terms[:, :, None])[:, 0] + own)

    def class_gradients(self):
        codes = self.weighting.codes
        u = self.sample_weight[:, None] * self._gradient_by_output
        classes = range(self.weighting.n_classes)
        return self.design.tdot(np.stack([np.where((codes == c)[:, None], u, 0.0) for c in classes], axis=2))

    def third_derivative(self, delta):
        k, out = delta.shape[1], np.zeros(delta.shape)
        for part in blocks(self.n_rows, block_size(40 * self.n_outputs * k, share=0.25)):
            rows = self.design.take(part)
            bend = self.loss.third(self.y[part], self._outputs[part], rows.dot(delta))
            bend *= self.sample_weight[part, None, None]
            out += rows.tdot(bend)
        return out

    def outputs_change(self, delta, X=None):
        return (self.design if X is None else X).dot(delta)

    def pullback(self, U, X=None, onto=None, out=None):
        X = self.design if X is None else X
        return X.pulls(U) if onto is None else X.pulled_onto(U, onto, out)

    def pullback_sum(self, U, X=None):
        return self._sum(self.design if X is None else X, U)[:, 0]

    def squared_outputs(self, X, weight):
        gram = np.zeros((self.n_params,) * 2)
        for part, J in X.jacobians():
            J = (np.sqrt(weight[part])[:, None, None] * J).reshape(-1, self.n_params)
            gram += J.T @ J
        return lambda delta: np.einsum("pk,pk->k", delta, gram @ delta)

    # -- curvature -----------------------------------------------------------------------------------------------------

    def output_curvatures(self, rows=None):
        """W of the rows: (k, 1) of one output, (k, q, q) of several, which mix in the parameters whatever the loss."""
        W = super().output_curvatures(rows)
        return W if W.ndim == 3 or W.shape[1] == 1 else W[:, :, None] * np.eye(W.shape[1])

    def curvature(self, kind="hessian"):
        if kind == "outer_product":
            return self._outer_product()
        s = self.sample_weight[:, None]
        if self.loss.quadratic:
            weights = np.repeat(s, self.n_outputs, axis=1)
        elif self.loss.separable:
            weights = s * self._curvature_by_output
        else:
            weights = self._mixed(slice(None))
        return GaussNewton(self.design, weights, self.penalty, shift_invariant=self.loss.shift_invariant)

    def _outer_product(self):
        return JacobianFisher(
            self.design,
            np.sqrt(self.sample_weight)[:, None] * self._scaled_gradients(),
            self.penalty,
            together=not self.loss.separable,
            truth=self.curvature(),
            shift_invariant=self.loss.shift_invariant,
        )

    def _mixed(self, rows):
        s, (a, b) = self.sample_weight[rows, None], self._curvature_factors
        return MixedWeights(s * a[rows], np.sqrt(s) * b[rows])

    def row_curvatures(self, rows):
        return RowCurvatures(self.design.take(rows), self._mixed(rows))

    def leverage(self, factor, rows=None):
        design, q = self._rows(rows), self.n_outputs
        if factor.iterative or design.n_rows * q <= self.n_params:
            return self.leverage_between(factor, design, design)
        out = np.empty((design.n_rows, q, q))
        for part, J in design.jacobians():
            half = factor.blocks[0].half(factor.curvature.encode(J.reshape(-1, self.n_params).T)[0])
            half = half.reshape(len(half), -1, q).transpose(1, 2, 0)
            out[part] = half @ half.transpose(0, 2, 1)
        return out if q > 1 else out[:, :, 0]

    def leverage_between(self, factor, left, right):
        q = self.n_outputs
        out = np.empty((left.n_rows, q, q))
        # Iterative solves share what they do for all columns of a block.
        for part, J in left.jacobians():
            solved = factor(np.ascontiguousarray(J.reshape(-1, self.n_params).T))[0]
            other = J if right is left else right.take(part).jacobian()
            out[part] = np.matmul(solved.T.reshape(len(J), q, -1), other.transpose(0, 2, 1))
        return out if q > 1 else out[:, :, 0]

    # -- what solvers cost ---------------------------------------------------------------------------------------------

    def direct_size(self, representation="primal"):
        """How many unknowns a direct solve factors together."""
        if representation == "dual":
            return min(self.n_rows * self.n_outputs + np.count_nonzero(self.penalty == 0), self.n_params)
        return self.n_params

    def cost_in_passes(self, representation="primal", share=1.0):
        """What a direct factor costs, in products ``J' W J V`` of all rows, where a ``share`` of them is multiplied
        out."""
        size, rows = self.direct_size(representation), self.n_rows * self.n_outputs
        products = share * rows * size**2 + size**3 / 3
        # Passes of few vectors run at about a quarter of the rate of the large products.
        return products / (4 * (4 * rows * size if representation == "dual" else self.design.operations))

    # -- inputs --------------------------------------------------------------------------------------------------------

    def perturbation_gradients(self, rows, onto):
        design = self.design.take(rows)
        eta = design.dot(onto)
        W = self.output_curvatures(rows)
        weighed = W[:, :, None] * eta if W.ndim == 2 else W @ eta
        return design.perturbation_gradients(self.output_gradients(rows), weighed, onto, self.params).transpose(1, 0, 2)
