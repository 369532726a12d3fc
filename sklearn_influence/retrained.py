"""What a model says once it has been fitted without some rows: the truth that influences are held against.

The model is seen from within, as its questions see it: at its optimum, on the rows that its final step was fitted on.
"""

import copy
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from .effects import spread
from .families.network_engine import minimum
from .linearised import NetworkObjective

# Test rows whose Jacobians are compared, at most.
_ROWS = 64


@dataclass(frozen=True)
class Retrained:
    """A model without some rows.

    Attributes
    ----------
    outputs : ndarray of shape (m, q)
        Raw outputs of the test rows.
    settled : bool
        Whether it is at a minimum.
    jacobian_moved : float
        Relative change of the outputs' Jacobian from the model with all rows; 0 of models whose outputs are linear in
        their parameters.
    """

    outputs: np.ndarray
    settled: bool
    jacobian_moved: float


class Retrainer:
    """A fitted model, ready to be trained again without rows.

    Parameters
    ----------
    model : fitted InfluenceEstimator
        It is left as it is.
    features : ndarray or CSR matrix of shape (m, d), or None
        Test rows as the final step takes them; None: the training rows.
    """

    def __init__(self, model, features=None):
        self._model = model
        options = model._options()
        self._objective, _ = model._fitted.optimum(options)
        self._primal = self._objective.primal()
        self._features = features
        self.is_network = isinstance(self._primal, NetworkObjective)
        self.outputs = self._outputs(self._primal)

    def _outputs(self, primal):
        if self._features is None:
            return primal.outputs()
        return primal.outputs(primal.read_rows(self._features))

    def predicted(self, members):
        """Changes (m, k) or (m, k, q) of the raw outputs when the rows of each group leave together, as influences say
        them."""
        effects = self._model._effects(members)
        objective = effects.objective
        rows = objective.own_rows(self._objective.n_rows) if self._features is None else None
        rows = objective.read_rows(self._features) if rows is None else rows
        changes = objective.outputs_change(effects.params(slice(0, len(members))), rows).transpose(0, 2, 1)
        return changes[:, :, 0] if changes.shape[2] == 1 else changes

    def warm(self, positions):
        """Retrained without the rows at some positions, from where the model stands. Of models with one minimum this is
        ``unlearn``."""
        if not self.is_network:
            return self._unlearned(positions)
        sample_weight = self._primal.weighting.effective(removed=positions)
        there, found = minimum(self._primal.with_(sample_weight=sample_weight), self._primal.network.corner)
        return Retrained(self._outputs(there), found.settled, self._jacobian_moved(there))

    def cold(self, positions=()):
        """Fitted anew by scikit-learn without the rows at some positions, from its own random state, and then refined.
        Only of networks; others have no second minimum."""
        model, primal = self._model, self._primal
        kept = np.setdiff1d(np.arange(primal.n_rows), positions)
        final = clone(model._final_step)
        y = primal.y[kept]
        if primal.weighting.codes is not None:
            y = model._final_step.classes_[y]
        elif y.shape[1] == 1:
            y = y[:, 0]
        weight, X = primal.weighting.sample_weight[kept], primal.design.X[kept]
        with warnings.catch_warnings():  # where the fit stops it is refined from
            warnings.simplefilter("ignore", ConvergenceWarning)
            final.fit(X, y, **({} if (weight == 1).all() else {"sample_weight": weight}))
        fitted = model._fitted.family.read(final, X, y, weight)
        there, found = minimum(fitted, primal.network.corner)
        if self._features is None:
            outputs = there.outputs(there.read_rows(primal.design.X))
        else:
            outputs = self._outputs(there)
        return Retrained(outputs, found.settled, self._jacobian_moved(there))

    def _unlearned(self, positions):
        model = copy.deepcopy(self._model).unlearn(self._model.sample_indices_[positions])
        primal = model._fitted.start("primal" if self._primal.representation == "primal" else "dual").primal()
        features = self._primal.design.X if self._features is None else self._features
        return Retrained(primal.outputs(primal.read_rows(features)), model.certificate_.converged, 0.0)

    def _jacobian_moved(self, there):
        X = self._primal.design.X if self._features is None else self._features
        X = X[spread(np.arange(X.shape[0]), _ROWS)]
        before = self._primal.network.jacobian(X)
        return float(np.linalg.norm(there.network.jacobian(X) - before) / np.linalg.norm(before))
