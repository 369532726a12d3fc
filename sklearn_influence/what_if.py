"""What if a row had been different: by how much its inputs count, and what each other label would do."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.utils.validation import check_is_fitted

from . import influence
from ._backend import check_memory
from ._parallel import block_size, blocks, progress
from ._validation import alone_in_class, check_choice, check_indices, check_weights
from .attributes import tells
from .base import InfluenceMixin
from .replacements import Replacements
from .solvers.steps import is_penalised

# Functionals of the parameters that are solved for together.
_TOGETHER = 512


class WhatIfMixin(InfluenceMixin):
    """Questions about rows that are changed instead of removed, for an estimator that calls ``_remember``."""

    @tells
    def input_sensitivity(self, X=None, y=None, indices=None, *, of="loss", sample_weight=None, aggregate=None):
        """Derivative of losses, outputs or parameters by each entry of the training inputs.

        Parameters
        ----------
        X : array-like of shape (m, n_features), default=None
            Test rows; None: the training rows still in the model. Left out with ``of="params"``.
        y : array-like of shape (m,) or (m, n_targets), default=None
            Their labels, for ``of="loss"`` alone; given and left out together with X.
        indices
            As in :meth:`influence_on_params`.
        of : {"loss", "output", "params"}, default="loss"
        sample_weight : array-like of shape (m,), default=None
            Factors of the test rows' losses.
        aggregate : {None, "mean", "sum"}, default=None
            Of the losses, over the test rows; "mean" is weighted by sample_weight. One solve in all, and never (m, k,
            d) numbers.

        Returns
        -------
        ndarray of shape (m, k, d) for "loss" or (k, d) aggregated, (m, k, q, d) for "output", (k, n_params, d) for
            "params".
            d are the columns of the final step, q its raw outputs. After minus before, for each unit that the entry
            grows: above zero on a loss, a larger entry does harm. Test rows stay as they are, also where they are the
            same as training rows.

        Raises
        ------
        ValueError
            For a result larger than the machine's memory; for a model with flat directions, whose solution of smallest
            norm has no derivative.

        Notes
        -----
        ``-s_i H^-1 (J_i' W_i (d eta/dx) + (dJ_i/dx)' u_i)``, the infinitesimal influence whatever ``method``: the
        mixed derivative of the row's loss by parameters and inputs ("Influence functions and Hessian estimation",
        section 4; Koh and Liang 2017, section 2.2). A small change dx of a row changes a loss by the product with dx;
        for changes of any size see ``X_new`` of :meth:`influence_on_loss`. Cost: a solve for each test row, output or
        parameter, and 2 q d operations for each of its pairs with a training row.

        Examples
        --------
        Which entry of which training row moves a prediction most, for each unit that it grows?

        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InfluenceEstimator(Ridge(alpha=0.1)).fit(X[:400], y[:400])
        >>> slopes = model.input_sensitivity(X[400:401], of="output")
        >>> slopes.shape
        (1, 400, 1, 10)
        >>> row, column = divmod(int(abs(slopes).argmax()), 10)
        """
        check_is_fitted(self)
        check_choice("of", of, ("loss", "output", "params"))
        self._fitted.family.check_sensitivity()
        if of == "params" and (X is not None or y is not None):
            raise ValueError("of='params' is about no test rows; leave out X and y.")
        if of == "output" and y is not None:
            raise ValueError("of='output' compares with no labels; leave out y.")
        if of != "loss" and (sample_weight is not None or aggregate is not None):
            raise ValueError(f"sample_weight and aggregate are about losses; leave them out with of={of!r}.")
        if aggregate is not None:
            check_choice("aggregate", aggregate, ("mean", "sum"))
        features = self._test_features(X)
        m, q, d = self._n_test_rows(features), self._objective.n_outputs, self._objective.design.n_features
        y = self._test_targets(X, y, m) if of == "loss" else None
        weight = check_weights(sample_weight, m)
        weight = weight / weight.sum() if aggregate == "mean" else weight
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        k, n_params = len(positions), self._objective.n_params
        shape = {"loss": (1 if aggregate else m, k, d), "output": (m, k, q, d), "params": (k, n_params, d)}[of]
        check_memory(
            8 * int(np.prod(shape, dtype=float)),
            f"A sensitivity of {' x '.join(f'{size:,}' for size in shape)} numbers",
            "Ask for fewer indices or test rows at a time, or aggregate='mean' of losses.",
        )
        objective, factor = self._fitted.solved(self._options())
        self._check_differentiable(objective, factor)
        out = np.empty(shape)
        primal = objective.primal()
        rows = self._test_rows(features, primal)
        for tests, functionals in _functionals(primal, of, rows, y, weight, aggregate):
            along = objective.solve_params(factor, functionals)
            size = block_size(24 * along.shape[1] * (d + 2 * q), share=0.25)
            for part in progress(blocks(k, size), self.verbose, "sensitivity to inputs"):
                slopes = primal.perturbation_gradients(positions[part], along)  # (c, k, d)
                slopes *= -objective.sample_weight[positions[part], None]
                if of == "params":
                    out[part, tests] = slopes.transpose(1, 0, 2)
                elif of == "output":
                    out[tests, part] = slopes.reshape(-1, q, *slopes.shape[1:]).transpose(0, 2, 1, 3)
                else:
                    out[tests, part] = slopes
        return out[0] if aggregate else out

    def _check_differentiable(self, objective, factor):
        weighed = np.count_nonzero(objective.sample_weight)
        few = objective.primal().outputs_apart and weighed < self._objective.design.width
        flat = factor.nullity or few
        if flat and not is_penalised(objective):
            raise ValueError(
                f"input_sensitivity needs a curvature without flat directions, and {type(self._final_step).__name__} "
                "has some on these rows: its solution of smallest norm can jump where an input changes by little. Add "
                "a penalty, drop collinear columns, or ask influence_on_loss(X_new=...) for a change of a given size."
            )

    @tells
    def relabel_effects(self, X, y, indices=None, *, sample_weight=None, loss=None):
        """Effect on the mean held-out loss of giving each training row each other class.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
            Held-out rows.
        y : array-like of shape (m,)
            Their labels.
        indices
            As in :meth:`influence_on_params`.
        sample_weight : array-like of shape (m,), default=None
            Weights of the mean over the held-out rows.
        loss : losses.Loss, default=None
            As in :meth:`influence_on_loss`.

        Returns
        -------
        ndarray of shape (k, n_classes)
            After relabelling minus before, in the order of ``classes_``; 0 for the class that the row has. Below zero
            the held-out rows speak for that label.

        Raises
        ------
        ValueError
            For a regressor; as :meth:`influence_on_loss`; where ``indices`` names the only row of a class.

        Warns
        -----
        UserWarning
            With ``indices=None``, where a row is the only one of its class, so that no refit exists without it there:
            its effects are one-step estimates.

        Notes
        -----
        The columns are those of ``influence_on_loss(X, y, indices, y_new=..., aggregate="mean")``, and the (m, k)
        effects are never held. Exact for squared losses; a log loss's effects are overestimated where the model fits
        nearly every row, for there a turned label moves the curvature of the others too. Cost: n_classes times that of
        such a call.

        Examples
        --------
        A label that was turned round is the one that turning back helps most:

        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> X, noted = StandardScaler().fit_transform(X), y[:400].copy()
        >>> noted[50] = 1 - noted[50]
        >>> model = InfluenceEstimator(LogisticRegression(C=0.01)).fit(X[:400], noted)
        >>> effects = model.relabel_effects(X[400:], y[400:])
        >>> effects.shape, int(effects.min(axis=1).argmin())
        ((400, 2), 50)
        """
        check_is_fitted(self)
        if not hasattr(self._final_step, "classes_"):
            raise ValueError(
                f"relabel_effects is for classifiers, and {type(self._final_step).__name__} is none; ask "
                "influence_on_loss(X, y, indices, y_new=...) what other targets would do."
            )
        self._check_replaces("relabel_effects")
        if X is None or y is None:
            raise ValueError("relabel_effects needs held-out rows X and their labels y.")
        features = self._test_features(X)
        m = self._n_test_rows(features)
        y = self._test_targets(X, y, m)
        weight = None if sample_weight is None else check_weights(sample_weight, m)
        loss = self._check_loss(loss, y)
        positions = self._relabelled(indices)
        codes, out = self._objective.weighting.codes[positions], np.zeros((len(positions), len(self.classes_)))
        objective, factor = self._fitted.solved(self._options())
        rows, largest = self._test_rows(features, objective), np.zeros(len(positions))
        curved = self.method == "newton" and not objective.loss.quadratic
        leverage = objective.leverage(factor, positions) if curved else None
        for c, label in enumerate(self.classes_):
            columns = np.flatnonzero(codes != c)
            if not len(columns):
                continue
            targets = self._fitted.family.encode(self._final_step, np.full(len(columns), label))
            change = Replacements(positions, None, None, leverage).take(columns)
            effects = self._fitted.family.engine.replacement_effects(
                objective, factor, replace(change, y=targets), self.method
            )
            largest[columns] = np.maximum(largest[columns], effects.largest)
            total, ask = np.empty(len(columns)), dict(aggregate=True, verbose=self.verbose)
            out[columns, c] = influence.loss_change(effects, rows, y, loss, self.method, total, weight, **ask)
        if not self._objective.loss.quadratic:
            self._warn_high_leverage(positions, largest, replaced=True, stacklevel=4)
        out /= m if weight is None else weight.sum()
        return out

    def _relabelled(self, indices):
        """Positions of rows whose label is to change; refuse, or warn of, those that alone have theirs."""
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        alone = positions[alone_in_class(self._objective.weighting, positions)]
        if len(alone) and indices is not None:
            raise ValueError(
                f"{self._only_row(alone)}; scikit-learn could not refit the same classes with another label in its "
                "place. Leave it out of indices."
            )
        if len(alone):
            warnings.warn(
                f"{self._only_row(alone)} ({len(alone)} such): its effects are one-step estimates, no refit exists.",
                UserWarning,
                stacklevel=4,
            )
        return positions


def _functionals(objective, of, X, y, weight, aggregate):
    """Slices of the results, and the functionals of the parameters (n_params, c) that they are about."""
    q, p = objective.n_outputs, objective.n_params
    size = block_size(40 * p * (q if of == "output" else 1), share=0.25, largest=_TOGETHER)
    if of == "params":
        for part in blocks(p, size):
            unit = np.zeros((p, part.stop - part.start))
            unit[np.arange(part.start, part.stop), np.arange(unit.shape[1])] = 1.0
            yield part, unit
        return
    u = weight[:, None] * objective.loss.gradient(y, objective.outputs(X)) if of == "loss" else None
    if aggregate:
        yield slice(0, 1), objective.pullback_sum(u, X)[:, None]
        return
    for tests in blocks(X.n_rows, size):
        rows = X.take(tests)
        if u is None:
            each = np.repeat(np.arange(rows.n_rows), q)
            yield tests, objective.pullback(np.tile(np.eye(q), (rows.n_rows, 1)), rows.take(each))
        else:
            yield tests, objective.pullback(u[tests], rows)
