"""Leave-one-out steps by a solve each, where the leverages of several outputs would take several."""

from dataclasses import dataclass

import numpy as np

from ._backend import check_memory


@dataclass
class HeldEffects:
    """Parameter changes of removals, held whole.

    Attributes
    ----------
    delta : ndarray of shape (p, k)
    """

    objective: object
    delta: np.ndarray

    operations = 0  # nothing is left to solve for

    def __len__(self):
        return self.delta.shape[1]

    def params(self, part):
        return self.delta[:, part]

    def onto(self, G):
        return lambda part, out=None: np.matmul(G.T, self.delta[:, part], out=out)


@dataclass
class SteppedEffects(HeldEffects):
    """Parameter changes of removing rows one at a time, held whole.

    Attributes
    ----------
    rows : ndarray of shape (k,)
        Positions of the training rows.
    own : ndarray of shape (k, q)
        Change of each row's own outputs.
    largest : ndarray of shape (k,)
        Each row's leverage along its own gradient: at most the largest eigenvalue of ``s_i W_i A_i``.
    """

    rows: np.ndarray
    own: np.ndarray
    largest: np.ndarray

    def own_outputs(self):
        return self.own


def stepped_effects(objective, factor, rows):
    """Newton steps ``(H - s_i J_i' W_i J_i)^-1 s_i J_i' u_i`` of rows that leave one at a time.

    Parameters
    ----------
    objective : Objective
        At its optimum; its outputs mix, and its weights are not balanced.
    factor : ConjugateGradientFactor
        Of its curvature. Each row's own is subtracted from the products of its column.
    rows : ndarray of shape (k,)

    Returns
    -------
    SteppedEffects
    """
    check_memory(
        40 * objective.n_params * len(rows),
        f"Parameter changes of {len(rows):,} rows",
        "Ask for fewer indices, or use method='first_order'.",
    )
    pull = objective.sample_weight[rows][:, None] * objective.output_gradients(rows)
    curvatures = objective.row_curvatures(rows)
    delta, _ = factor(objective.pullback(pull, objective.design.take(rows)), less=curvatures)
    own = curvatures.outputs(delta)
    return SteppedEffects(objective, delta, rows, own, leverage_along(objective, rows, pull, own))


def leverage_along(objective, rows, pull, own):
    """Leverages (k,) of rows along their own gradients, from their pulls and what their outputs become without them.

    Without the row that leverage is h / (1 - h).
    """
    W = objective.output_curvatures(rows)
    weighed = np.einsum("kab,kb->ka", W, own) if W.ndim == 3 else W * own
    along = (pull * own).sum(axis=1)
    curved = objective.sample_weight[rows] * (weighed * own).sum(axis=1)
    ratio = np.divide(curved, along, out=np.zeros_like(along), where=along > 0)
    return ratio / (1.0 + ratio)
