r"""Networks with more weights than their rows have outputs, in as many unknowns as these.

Weights with the penalty ``r/2 |w|**2`` lie at a minimum in the span of the rows' Jacobians by them, ``w = Z' alpha``
with Z (n q, weights). In orthonormal coordinates t of that span the penalty is ``r/2 |t|**2``; they come from the Gram
matrix ``Z Z'``, which a network gives layer by layer, so that no Jacobian by the weights is ever formed. The biases,
which are free, stay the unknowns that they are, with their own Jacobians.
"""

import numpy as np

from .._backend import check_memory, physical_memory
from .._parallel import block_size, blocks
from .._pivoted import PivotedCoordinates
from .objective import JacobianObjective
from .rows import ArrayRows, NetworkRows

# Share of the machine's memory that this may take where it has not been asked for.
_MEMORY = 0.4


class SpannedObjective(JacobianObjective):
    """A network's objective over the span of its rows' Jacobians and its biases: at most n q + biases unknowns.

    Parameters
    ----------
    primal : JacobianObjective
        Its weights have one penalty, and its biases none (:func:`is_spanned`).

    Attributes
    ----------
    strength : ndarray of shape (1, 1)
        The penalty of the weights.
    outside : float
        Norm of the part of the given weights that is off the span. No minimum has one.

    Notes
    -----
    Cost: the Gram matrix, (n q)**2 numbers, and n q r**2 operations for a rank r of it.
    """

    representation = "dual"

    def __init__(self, primal):
        rows, n_weights = primal.design, primal.design.network.n_weights
        size, n_biases = rows.n_rows * rows.n_outputs, rows.width - n_weights
        check_memory(
            24 * size**2,
            f"The dual representation of {rows.n_rows:,} rows with {rows.n_outputs:,} outputs",
            "Use representation='primal', or fewer rows.",
        )
        K = rows.network.gram(rows.X, biases=False)
        lengths = np.sqrt(np.diagonal(K))[:, None].copy()
        units = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        K *= units
        K *= units.T
        for part in blocks(size, block_size(16 * size, share=0.25)):
            K[part, part.start :] = np.tril(K[part, part.start :])
        self._primal, self.strength = primal, primal.penalty[:, :1]
        self._span = PivotedCoordinates(K, lengths)
        rank = self._span.rows.shape[1]
        J = np.empty((size, rank + n_biases))
        J[:, :rank] = self._span.rows
        self._span.rows = J[:, :rank]  # held once
        J[:, rank:] = _by_biases(rows).reshape(size, -1)
        penalty = np.concatenate([np.full(rank, self.strength[0, 0]), np.zeros(n_biases)])
        held = ArrayRows(J.reshape(rows.n_rows, rows.n_outputs, -1), rows.offsets, rows)
        super().__init__(held, primal.y, primal.loss, primal.weighting, penalty, primal.params)
        self.params = self.from_params(primal.params)
        self.outside = float(np.linalg.norm(primal.params - self.to_params(self.params)))

    def with_linear(self, linear):
        if linear is None:
            return self
        raise ValueError("representation='dual' of a network has no linear term; use representation='primal'.")

    def take(self, kept):
        return SpannedObjective(self.primal().take(kept))

    def replace(self, rows, X=None, y=None):
        return SpannedObjective(self.primal().replace(rows, X, y))

    def append(self, X, y, sample_weight):
        return SpannedObjective(self.primal().append(X, y, sample_weight))

    def primal(self):
        return self._primal.with_(sample_weight=self.sample_weight, params=self.to_params(self.params))

    def perturbation_gradients(self, rows, onto):
        return self.primal().perturbation_gradients(rows, onto)

    def read_rows(self, X):
        """Test rows in these coordinates, without what of them no weights of the span can see."""
        own, rows = self._primal.design, self._primal.design.reading(X)
        q, rank, pivots = own.n_outputs, len(self._span.pivots), self._span.pivots
        check_memory(
            8 * rows.n_rows * q * (rank + own.n_rows * q),
            f"Products of {rows.n_rows:,} test rows with the training rows",
            "Ask for fewer rows.",
        )
        J = np.empty((rows.n_rows * q, self.n_params))
        for part in blocks(rows.n_rows, block_size(32 * own.n_rows * q * q, share=0.25)):
            K = own.network.gram(rows.X[part], own.X, biases=False)
            J[part.start * q : part.stop * q, :rank] = self._span.solve(K[:, pivots].T).T
        J[:, rank:] = _by_biases(rows).reshape(len(J), -1)
        return ArrayRows(J.reshape(rows.n_rows, q, -1), rows.offsets)

    # -- parameters ----------------------------------------------------------------------------------------------------

    def to_params(self, V):
        if V.ndim == 1:
            return self.to_params(V[:, None])[:, 0]
        rows, rank, k = self._primal.design, len(self._span.pivots), V.shape[1]
        alpha = np.zeros((rows.n_rows * rows.n_outputs, k))
        alpha[self._span.pivots] = self._span.solve(V[:rank], transposed=True)
        out = rows.tdot(alpha.reshape(rows.n_rows, rows.n_outputs, k))
        out[rows.network.n_weights :] = V[rank:]
        return out

    def from_params(self, V):
        if V.ndim == 1:
            return self.from_params(V[:, None])[:, 0]
        rows, n_weights = self._primal.design, self._primal.design.network.n_weights
        weights = V.copy()
        weights[n_weights:] = 0.0
        along = rows.dot(weights).reshape(-1, V.shape[1])[self._span.pivots]
        return np.concatenate([self._span.solve(along), V[n_weights:]])

    def solve_params(self, factor, B):
        inside = self.from_params(B)
        # Off the span the curvature is the penalty alone; the biases are in it whole.
        off = B - self.to_params(inside)
        return self.to_params(factor(inside)[0]) + off / self.strength


def is_spanned(objective):
    """Whether an objective's optimum lies in the span of a network's rows and its biases: the weights have one penalty,
    the biases none."""
    rows = objective.design
    if not isinstance(rows, NetworkRows):
        return False
    weights, biases = np.split(objective.penalty[0], [rows.network.n_weights])
    return bool(weights[0] > 0) and bool((weights == weights[0]).all()) and not biases.any()


def fits_better(objective):
    """Whether the span has fewer unknowns than the network has parameters, and memory holds it."""
    memory = physical_memory()
    size = objective.n_rows * objective.n_outputs
    fits = memory is None or 24 * size**2 <= _MEMORY * memory
    return objective.direct_size("dual") < objective.n_params and fits and is_spanned(objective)


def _by_biases(rows):
    """(n, q, biases): the last columns of the rows' Jacobians."""
    out = np.empty((rows.n_rows, rows.n_outputs, rows.width - rows.network.n_weights))
    for part in blocks(rows.n_rows, block_size(48 * rows.n_outputs * out.shape[2], share=0.25)):
        out[part] = rows.network.bias_jacobian(rows.X[part])
    return out
