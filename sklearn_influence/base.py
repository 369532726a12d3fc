"""The public methods: what comes in is checked, what goes out is shaped, and the work is passed down."""

import warnings

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from . import influence, ranking
from ._backend import check_memory
from ._validation import (
    check_choice,
    check_count,
    check_groups,
    check_indices,
    check_leaves_a_model,
    check_weights,
)
from .attributes import tells
from .effects import HIGH_LEVERAGE, row_effects
from .groups import group_effects
from .losses import Loss
from .unlearning import UnlearningMixin

# Groups whose one step leaves this share of the way are warned about.
_FAR = 0.1
_ORDERS = ("harmful", "helpful", "absolute")


class InfluenceMixin(UnlearningMixin):
    """Influence and unlearning, for an estimator that calls ``_remember`` when it is fitted."""

    # -- what callers pass ----------------------------------------------------------------------------------------

    def _positions(self, indices):
        """Positions of indices, each to be removed on its own."""
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        weighting = self._objective.weighting
        if len(self.sample_indices_) == 1 and len(positions):
            raise ValueError("Only one row is left in the model; without it there is nothing to fit.")
        if weighting.codes is None:
            return positions
        weighs = weighting.sample_weight > 0
        alone = np.bincount(weighting.codes, weights=weighs)[weighting.codes[positions]] == 1
        alone &= weighs[positions]
        if alone.any():
            row = self.sample_indices_[positions[alone][0]]
            label = self.classes_[weighting.codes[positions[alone][0]]]
            text = f"row {row} is the only one of class {label!s}"
            if indices is not None:
                raise ValueError(f"{text}; scikit-learn could not refit the same classes without it.")
            warnings.warn(
                f"{text} ({int(alone.sum())} such): its influence is the one-step estimate, no refit exists.",
                UserWarning,
                stacklevel=5,
            )
        return positions

    def _removals(self, indices, groups):
        """The removals asked for: positions, each on its own, or a list of positions that leave together."""
        check_is_fitted(self)
        if groups is None:
            return self._positions(indices)
        if indices is not None:
            raise ValueError("Give either indices or groups, not both: groups already say which rows leave together.")
        labels, members = check_groups(groups, self.sample_indices_, self.n_samples_fit_)
        classes = getattr(self, "classes_", None)
        for label, rows in zip(labels, members, strict=True):
            check_leaves_a_model(self._objective.weighting, rows, classes, f"group {label!s}")
        return members

    def _effects(self, removals):
        """Effects of the removals, at the optimum."""
        options = self._options()
        if isinstance(removals, list):
            effects = group_effects(*self._fitted.solved(options), removals, self.method, self.n_jobs)
            self._warn_rough_groups(effects)
            return effects
        if np.array_equal(removals, np.arange(len(self.sample_indices_))):
            effects = self._fitted.all_effects(options, self.method)
        else:
            effects = row_effects(*self._fitted.solved(options), removals, self.method)
        if not self._objective.loss.quadratic:
            self._warn_high_leverage(effects)
        return effects

    def _warn_high_leverage(self, effects):
        high = np.flatnonzero(effects.largest > HIGH_LEVERAGE)
        if len(high):
            worst = high[np.argmax(effects.largest[high])]
            others = {1: "", 2: " and one more"}.get(len(high), f" and {len(high) - 1} more")
            several = " (the largest eigenvalue of its leverages())" if self._objective.n_outputs > 1 else ""
            warnings.warn(
                f"Row {self.sample_indices_[effects.rows[worst]]} has a leverage of {effects.largest[worst]:.3g}"
                f"{several}, above {HIGH_LEVERAGE}: one Newton step is a rough estimate of a refit for it{others}. "
                "unlearn on a copy gives the refit itself.",
                UserWarning,
                stacklevel=5,
            )

    def _warn_rough_groups(self, effects):
        rough = 0 if effects.left is None else int((effects.left > _FAR).sum())
        if rough:
            warnings.warn(
                f"One Newton step is a rough estimate of a refit for {rough} of {len(effects)} groups: up to "
                f"{effects.left.max():.0%} of the way is left (threshold {_FAR:.0%}). unlearn on a copy gives the "
                "refit itself.",
                UserWarning,
                stacklevel=5,
            )

    def _test_rows(self, X):
        """Test features as the objective takes them; None means the training rows."""
        objective = self._fitted.start(self._options().representation)
        return objective.design if X is None else objective.read_rows(self._features(X))

    def _test_targets(self, X, y, n):
        if y is None:
            if X is not None:
                raise ValueError("y is needed with X: a loss compares outputs with labels.")
            return self._objective.y
        if X is None:
            raise ValueError("X is needed with y; leave out both to use the training rows.")
        y = self._fitted.family.encode(self._final_step, y)
        if len(y) != n:
            raise ValueError(f"X and y must have the same number of rows, got {n} and {len(y)}.")
        return y

    def _check_loss(self, loss, y):
        """The loss of the test rows: the family's own, or another one that fits the outputs."""
        if loss is None:
            return self._objective.loss
        if not isinstance(loss, Loss):
            raise TypeError(f"loss must be a losses.Loss object, such as losses.SquaredError(), got {loss!r}.")
        n_outputs = self._objective.n_outputs
        needed = loss.needs(y, n_outputs)
        if needed:
            raise ValueError(
                f"loss={type(loss).__name__}() needs {needed}; {type(self._final_step).__name__} was fitted with "
                f"{n_outputs} output(s). Pass a loss that fits, or none."
            )
        return loss

    # -- influence ------------------------------------------------------------------------------------------------

    @tells
    def influence_on_params(self, indices=None, *, groups=None):
        """Change of the parameters when rows are removed.

        Parameters
        ----------
        indices : array-like of int, or bool mask of shape (n_samples_fit,), default=None
            Rows of the data given to ``fit``, each removed on its own; None: every row still in the model.
        groups : array-like of shape (n_samples_fit,), default=None
            Labels: the rows of one label are removed together, one result row a label, in sorted order.

        Returns
        -------
        ndarray of shape (k, n_params)
            After removal minus before; ``params_`` gives the layout, in the parameters' units.

        Raises
        ------
        ValueError
            For indices or groups that cannot be used, for removals that leave nothing to fit or a class without rows,
            and for a result larger than the machine's memory.

        Notes
        -----
        "newton": ``H^-1 J_i' (I - s_i W_i A_i)^-1 s_i u_i`` with ``A_i = J_i H^-1 J_i'``, exact for squared loss;
        "first_order": ``H^-1 s_i g_i`` (Koh and Liang 2017, Eq. 1); "second_order": one more term in the weights of the
        rows (after Basu, You and Feizi 2020). Cost: one factorisation for the life of the fit, then two triangular
        solves a row. A group costs its own rows' Gram matrix and a factorisation, or less where it is small.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InfluenceEstimator(Ridge(alpha=0.1)).fit(X, y)
        >>> model.influence_on_params([0, 5]).shape
        (2, 11)
        """
        removals = self._removals(indices, groups)
        k, n_params = len(removals), self._objective.n_params
        _check_result(k * n_params, f"Influence of {k:,} removals on {n_params:,} parameters")
        return influence.params_change(self._effects(removals), np.empty((k, n_params)), self.verbose)

    @tells
    def influence_on_output(self, X=None, indices=None, *, groups=None, response_method="raw"):
        """Change of the model's outputs on test rows when training rows are removed.

        Parameters
        ----------
        X : array-like of shape (m, n_features), default=None
            Test rows; None: the training rows still in the model.
        indices, groups
            As in :meth:`influence_on_params`.
        response_method : {"raw", "predict_proba", "predict"}, default="raw"
            "raw": ``decision_function`` of a classifier, prediction of a regressor. "predict" is refused for
            classifiers, whose labels do not change by degrees.

        Returns
        -------
        ndarray of shape (m, k), or (m, k, q)
            After removal minus before; q outputs (or the classes of "predict_proba", two of a binary model) where there
            are several.

        Raises
        ------
        ValueError
            As :meth:`influence_on_params`; for test rows that do not fit the model; for a response the model has not.

        Notes
        -----
        Raw outputs are linear in the parameters, so their change is exact for the parameters' change; probabilities are
        evaluated at the shifted outputs, or linear in the shift ("first_order").

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_iris(return_X_y=True)
        >>> model = InfluenceEstimator(LogisticRegression()).fit(X, y)
        >>> model.influence_on_output(X[:4], indices=[50, 70], response_method="predict_proba").shape
        (4, 2, 3)
        """
        check_is_fitted(self)
        loss = self._objective.loss
        check_choice("response_method", response_method, ("raw", "predict_proba", "predict"))
        classifier = hasattr(self._final_step, "classes_")
        if response_method == "predict" and classifier:
            raise ValueError(
                "response_method='predict' is for regressors: a predicted label does not change by degrees. "
                "Use 'raw' or 'predict_proba'."
            )
        if response_method == "predict_proba" and not hasattr(loss, "proba"):
            raise ValueError(
                f"response_method='predict_proba' needs a classifier with probabilities; "
                f"{type(self._final_step).__name__} has " + ("'raw'." if classifier else "'raw' or 'predict'.")
            )
        rows = self._test_rows(X)
        probabilities = response_method == "predict_proba"
        q = len(self.classes_) if probabilities else self._objective.n_outputs
        removals = self._removals(indices, groups)
        m, k = rows.n_rows, len(removals)
        _check_result(m * k * q, f"Influence of {k:,} removals on {m:,} rows with {q} outputs")
        effects = self._effects(removals)
        out = np.empty((m, k) if q == 1 else (m, k, q))
        f = effects.objective.outputs(rows) if probabilities else None
        for tests, part, df in influence.outputs_change(effects, rows, self.verbose, out if q == 1 else None):
            if probabilities and self.method == "first_order":
                df = np.einsum("mcq,mqk->mck", loss.proba_gradient(f[tests]), df)
            elif probabilities:
                df = loss.proba_change(f[tests], df)
            if q > 1:
                out[tests, part] = df.transpose(0, 2, 1)
        return out

    @tells
    def influence_on_loss(
        self,
        X=None,
        y=None,
        indices=None,
        *,
        sample_weight=None,
        groups=None,
        loss=None,
        aggregate=None,
    ):
        """Change of the loss on test rows when training rows are removed.

        Parameters
        ----------
        X : array-like of shape (m, n_features), default=None
            Test rows; None: the training rows still in the model.
        y : array-like of shape (m,) or (m, n_targets), default=None
            Their labels; given and left out together with X.
        indices, groups
            As in :meth:`influence_on_params`.
        sample_weight : array-like of shape (m,), default=None
            Factors of the test rows' losses.
        loss : losses.Loss, default=None
            Another loss on the raw outputs; None: the one the model was fitted by, without penalty and weights (log
            loss, half the squared error).
        aggregate : {None, "mean", "sum"}, default=None
            Over the test rows; "mean" is weighted by sample_weight. Never holds the (m, k) result.

        Returns
        -------
        ndarray of shape (m, k), or (k,) aggregated
            After removal minus before: positive where the row helps, negative where it hurts.

        Raises
        ------
        ValueError
            As :meth:`influence_on_output`; for labels the model was not fitted on.

        Notes
        -----
        ``loss(y, f + df) - loss(y, f)``, without cancellation; with "first_order" ``u_test' df`` (Koh and Liang
        2017, Eq. 2). Cost: min(m, k) solves and one product of m by n_params by k; with "first_order" and
        ``aggregate`` one solve in all; a sum of squared losses takes n solves, and one product of the test rows.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> X = StandardScaler().fit_transform(X)
        >>> model = InfluenceEstimator(LogisticRegression(C=0.01)).fit(X[:400], y[:400])
        >>> effect = model.influence_on_loss(X[400:], y[400:], aggregate="mean")
        >>> effect.shape
        (400,)
        """
        check_is_fitted(self)
        if aggregate is not None:
            check_choice("aggregate", aggregate, ("mean", "sum"))
        rows = self._test_rows(X)
        y = self._test_targets(X, y, rows.n_rows)
        weight = None if sample_weight is None else check_weights(sample_weight, rows.n_rows)
        loss = self._check_loss(loss, y)
        removals = self._removals(indices, groups)
        m, k = rows.n_rows, len(removals)
        if aggregate is None:
            _check_result(m * k, f"Influence of {k:,} removals on the losses of {m:,} rows")
        effects = self._effects(removals)
        out = np.empty(k if aggregate else (m, k))
        influence.loss_change(
            effects,
            rows,
            y,
            loss,
            self.method,
            out,
            weight,
            aggregate=bool(aggregate),
            verbose=self.verbose,
        )
        if aggregate == "mean":
            out /= m if weight is None else weight.sum()
        return out

    @tells
    def self_influence(self, indices=None, *, on="loss"):
        """Effect of each row's removal on the row itself.

        Parameters
        ----------
        indices
            As in :meth:`influence_on_params`.
        on : {"loss", "output"}, default="loss"

        Returns
        -------
        ndarray of shape (k,), or (k, q) for q outputs with ``on="output"``
            On its own loss (>= 0, since without a row a model fits it no better; "balanced" class weights, which move
            all rows, can turn a small one negative), or on its own raw output (signed).

        Notes
        -----
        Rows that a model would not believe if it had not seen them have a large value: mislabelled ones, and rare ones.
        "first_order": ``s_i u_i' A_i u_i``. Cost: that of :meth:`leverages`.

        Examples
        --------
        The leave-one-out residuals of least squares, exactly:

        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.linear_model import LinearRegression
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InfluenceEstimator(LinearRegression()).fit(X, y)
        >>> left_out = y - (model.predict(X) + model.self_influence(on="output"))
        >>> refit = LinearRegression().fit(X[1:], y[1:])
        >>> bool(abs(left_out[0] - (y[0] - refit.predict(X[:1])[0])) < 1e-9)
        True
        """
        check_choice("on", on, ("loss", "output"))
        effects = self._effects(self._removals(indices, None))
        objective, rows = effects.objective, effects.rows
        df = effects.own_outputs()
        if on == "output":
            return df[:, 0] if df.shape[1] == 1 else df
        if self.method == "first_order":
            return (objective.output_gradients(rows) * df).sum(axis=1)
        return objective.loss.change(objective.y[rows], objective.outputs()[rows], df[:, :, None])[:, 0]

    @tells
    def top_influences(self, X, y, *, k=10, order="harmful"):
        """The training rows of largest effect on each test row's loss, without the (m, n) matrix of all effects.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        y : array-like of shape (m,) or (m, n_targets)
        k : int, default=10
            How many; cut to the rows there are.
        order : {"harmful", "helpful", "absolute"}, default="harmful"
            Most negative first, most positive first, or largest absolute value first.

        Returns
        -------
        Bunch
            indices (m, k), row numbers of the data given to ``fit``; influences (m, k), as :meth:`influence_on_loss`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_iris(return_X_y=True)
        >>> model = InfluenceEstimator(LogisticRegression()).fit(X, y)
        >>> model.top_influences(X[70:72], y[70:72], k=3).indices.shape
        (2, 3)
        """
        check_is_fitted(self)
        k = check_count("k", k)
        check_choice("order", order, _ORDERS)
        if X is None or y is None:
            raise ValueError("top_influences needs test rows X and their labels y.")
        rows = self._test_rows(X)
        y = self._test_targets(X, y, rows.n_rows)
        k = min(k, len(self.sample_indices_))
        _check_result(2 * rows.n_rows * k, f"The top {k:,} rows for each of {rows.n_rows:,} test rows")
        effects = self._effects(self._removals(None, None))
        columns, changes = ranking.top_rows(effects, rows, y, self._objective.loss, self.method, k, order, self.verbose)
        return Bunch(indices=self.sample_indices_[effects.rows[columns]], influences=changes)


def _check_result(n_numbers, what):
    check_memory(
        8 * n_numbers,
        what,
        "Ask for fewer indices or test rows, sum over the test rows with influence_on_loss(aggregate='mean'), or "
        "keep the largest effects only with top_influences.",
    )
