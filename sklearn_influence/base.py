"""The questions about influence: what comes in is checked, what goes out is shaped, and the work is passed down."""

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from . import influence, ranking
from ._validation import check_choice, check_count, check_weights
from .attributes import tells
from .questions import QuestionsMixin, called, check_result

_ORDERS = ("harmful", "helpful", "absolute")


class InfluenceMixin(QuestionsMixin):
    """Influence and unlearning, for an estimator that calls ``_remember`` when it is fitted."""

    @tells
    def influence_on_params(self, indices=None, *, groups=None, X_new=None, y_new=None):
        """Change of the parameters when rows are removed, or replaced.

        Parameters
        ----------
        indices : array-like of int, or bool mask of shape (n_samples_fit,), default=None
            Rows of the data given to ``fit``, each removed on its own; None: every row still in the model.
        groups : array-like of shape (n_samples_fit,), default=None
            Labels: the rows of one label are removed together, one result row a label, in sorted order.
        X_new : array-like of shape (k, n_features), default=None
            Each of the rows ``indices`` is replaced, on its own, by the row of X_new in its place, as ``predict`` takes
            it, instead of removed; None: it keeps its features.
        y_new : array-like of shape (k,) or (k, n_targets), default=None
            Labels or targets of the replacements; None: the rows keep theirs. A row takes its new label's class weight.

        Returns
        -------
        ndarray of shape (k, n_params)
            After removal, or replacement, minus before; ``params_`` gives the layout, in the parameters' units.

        Raises
        ------
        ValueError
            For indices, groups or new rows that cannot be used, for changes that leave nothing to fit or a class
            without rows, and for a result larger than the machine's memory.

        Notes
        -----
        "newton": ``H^-1 J_i' (I - s_i W_i A_i)^-1 s_i u_i`` with ``A_i = J_i H^-1 J_i'``, exact for squared loss;
        "first_order": ``H^-1 s_i g_i`` (Koh and Liang 2017, Eq. 1); "second_order": one more term in the weights of the
        rows (after Basu, You and Feizi 2020). A replacement adds the new row's pull ``-s' J_new' u_new``, and to a
        Newton step its curvature ("Influence functions and Hessian estimation", section 4). Cost: one factorisation for
        the life of the fit, then two triangular solves a row. A group costs its own rows' Gram matrix and a
        factorisation, or less where it is small.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InfluenceEstimator(Ridge(alpha=0.1)).fit(X, y)
        >>> model.influence_on_params([0, 5]).shape
        (2, 11)
        >>> model.influence_on_params([0, 5], y_new=[100.0, 150.0]).shape  # had these been the targets
        (2, 11)
        """
        changes = self._changes(indices, groups, X_new, y_new)
        k, n_params = len(changes), self._fitted.family.n_params(self._objective)
        check_result(k * n_params, f"Influence of {called(changes)} on {n_params:,} parameters")
        return influence.params_change(self._effects(changes), np.empty((k, n_params)), self.verbose)

    @tells
    def influence_on_output(self, X=None, indices=None, *, groups=None, X_new=None, y_new=None, response_method="raw"):
        """Change of the model's outputs on test rows when training rows are removed, or replaced.

        Parameters
        ----------
        X : array-like of shape (m, n_features), default=None
            Test rows; None: the training rows still in the model.
        indices, groups, X_new, y_new
            As in :meth:`influence_on_params`.
        response_method : {"raw", "predict_proba", "predict"}, default="raw"
            "raw": ``decision_function`` of a classifier, prediction of a regressor. "predict" is refused for
            classifiers, whose labels do not change by degrees.

        Returns
        -------
        ndarray of shape (m, k), or (m, k, q)
            After removal, or replacement, minus before; q outputs (or the classes of "predict_proba", two of a binary
            model) where there are several.

        Raises
        ------
        ValueError
            As :meth:`influence_on_params`; for test rows that do not fit the model; for a response the model has not.

        Notes
        -----
        Raw outputs are linear in the parameters, so their change is exact for the parameters' change (of an MLP: to
        first order in it); probabilities are evaluated at the shifted outputs, or linear in the shift ("first_order").

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
        features = self._test_features(X)
        probabilities = response_method == "predict_proba"
        q = len(self.classes_) if probabilities else self._objective.n_outputs
        changes = self._changes(indices, groups, X_new, y_new)
        m, k = self._n_test_rows(features), len(changes)
        check_result(m * k * q, f"Influence of {called(changes)} on {m:,} rows with {q} outputs")
        effects = self._effects(changes)
        rows = self._test_rows(features, effects.objective)
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
        X_new=None,
        y_new=None,
        loss=None,
        aggregate=None,
    ):
        """Change of the loss on test rows when training rows are removed, or replaced.

        Parameters
        ----------
        X : array-like of shape (m, n_features), default=None
            Test rows; None: the training rows still in the model.
        y : array-like of shape (m,) or (m, n_targets), default=None
            Their labels; given and left out together with X.
        indices, groups, X_new, y_new
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
            After removal minus before: positive where the row helps, negative where it hurts. After replacement minus
            before: negative where the new row would be the better one.

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
        features = self._test_features(X)
        m = self._n_test_rows(features)
        y = self._test_targets(X, y, m)
        weight = None if sample_weight is None else check_weights(sample_weight, m)
        loss = self._check_loss(loss, y)
        changes = self._changes(indices, groups, X_new, y_new)
        k = len(changes)
        if aggregate is None:
            check_result(m * k, f"Influence of {called(changes)} on the losses of {m:,} rows")
        effects = self._effects(changes)
        out = np.empty(k if aggregate else (m, k))
        rows = self._test_rows(features, effects.objective)
        influence.loss_change(
            effects, rows, y, loss, self.method, out, weight, aggregate=bool(aggregate), verbose=self.verbose
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
        effects = self._effects(self._changes(indices, None))
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
        features = self._test_features(X)
        m = self._n_test_rows(features)
        y = self._test_targets(X, y, m)
        k = min(k, len(self.sample_indices_))
        check_result(2 * m * k, f"The top {k:,} rows for each of {m:,} test rows")
        effects = self._effects(self._changes(None, None))
        rows = self._test_rows(features, effects.objective)
        columns, changes = ranking.top_rows(effects, rows, y, self._objective.loss, self.method, k, order, self.verbose)
        return Bunch(indices=self.sample_indices_[effects.rows[columns]], influences=changes)
