"""How far a model's linearisation can be trusted: predicted against retrained changes of its outputs."""

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .._validation import check_flag, check_groups, check_indices, check_leaves_a_model
from ..base import InfluenceMixin
from ..retrained import Retrainer
from .yardsticks import agreement


def linearisability(model, indices=None, X=None, *, groups=None, cold=True):
    """Compare predicted changes of a model's outputs with those found by retraining it.

    Influences of a network are those of its linearisation at a minimum: right for changes that leave its Jacobian where
    it is. This function retrains it without each of some rows, or groups of rows, and says how well the predictions
    agree.

    Parameters
    ----------
    model : fitted InfluenceEstimator
        It is left as it is.
    indices : array-like of int or bool mask, default=None
        Rows that are each removed on their own; None: every row, which takes as many retrainings.
    X : array-like of shape (m, n_features), default=None
        Test rows; None: the training rows.
    groups : array-like of shape (n_samples_fit,), or list of array-like of int, default=None
        Instead of ``indices``: a label for each row, or the rows of each group, which leave together.
    cold : bool, default=True
        Also fit the network anew by scikit-learn, from its own ``random_state``, with and without the rows: what the
        choice among minima does, which no influence can say. It trains all layers, whatever ``blocks``.

    Returns
    -------
    Bunch
        ``warm``, ``cold`` : as :func:`agreement` gives them, over all test rows, removals and outputs; ``cold`` is None
        where it was not asked for. ``predicted``, ``retrained_warm``, ``retrained_cold`` : (m, k), or (m, k, q) of
        several outputs, changes of the raw outputs, after minus before. ``jacobian_moved`` (k,) : relative change of
        the outputs' Jacobian on the test rows by warm retraining, 0 where the model is linear. ``relative_errors``
        (k,) : of each removal's predicted change, by its warm one. ``settled`` (k,) : whether warm retraining reached a
        minimum.

    Raises
    ------
    ValueError
        For rows or groups that cannot be used; for ``groups`` together with ``indices``.
    TypeError
        For a model that is no fitted InfluenceEstimator.

    Notes
    -----
    Warm: from the model's own minimum on the retained rows to the next one, by the refinement that finds the model's
    own. Cold: scikit-learn's fit, then refined; its change is from the same of all rows. Of models with one minimum
    both are ``unlearn``: squared losses agree to rounding. Cost: a minimisation for each removal, and with ``cold`` a
    fit and another.

    Source: the comparison of Koh and Liang (2017), section 4.2, and Basu, Pope and Feizi (2021), "Influence functions
    in deep learning are fragile".

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.neural_network import MLPRegressor
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.diagnostics import linearisability
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X, y = scale(X), scale(y)
    >>> model = InfluenceEstimator(Ridge()).fit(X, y)
    >>> round(linearisability(model, [0, 1, 2]).warm.slope, 6)
    1.0
    >>> settings = dict(hidden_layer_sizes=[4], activation="tanh", alpha=10, solver="lbfgs", max_iter=1000)
    >>> network = MLPRegressor(**settings, random_state=0)
    >>> found = linearisability(InfluenceEstimator(network).fit(X, y), [0, 1, 2], cold=False)
    >>> bool(found.warm.correlation > 0.95), bool(found.jacobian_moved.max() < 0.1)
    (True, True)
    """
    if not isinstance(model, InfluenceMixin):
        raise TypeError(
            f"model must be a fitted InfluenceEstimator, got {model!r:.80}; InfluenceEstimator(estimator).fit(X, y) "
            "makes one."
        )
    check_is_fitted(model)
    check_flag("cold", cold)
    members = _members(model, indices, groups)
    retrainer = Retrainer(model, None if X is None else model._features(X))
    if groups is None:
        predicted = model.influence_on_output(X, model.sample_indices_[np.concatenate(members)])
    else:
        predicted = retrainer.predicted(members)
    warm = [retrainer.warm(rows) for rows in members]
    changed = _changes(warm, retrainer.outputs)
    found = Bunch(
        warm=agreement(predicted, changed),
        cold=None,
        predicted=predicted,
        retrained_warm=changed,
        retrained_cold=None,
        jacobian_moved=np.array([one.jacobian_moved for one in warm]),
        relative_errors=np.array([agreement(predicted[:, i], changed[:, i]).relative_error for i in range(len(warm))]),
        settled=np.array([one.settled for one in warm]),
    )
    if cold:
        found.retrained_cold = changed
        if retrainer.is_network:
            start = retrainer.cold()
            found.retrained_cold = _changes([retrainer.cold(rows) for rows in members], start.outputs)
        found.cold = agreement(predicted, found.retrained_cold)
    return found


def _changes(retrained, outputs):
    """Changes (m, k) or (m, k, q) from the outputs (m, q) before."""
    changes = np.stack([one.outputs - outputs for one in retrained], axis=1)
    return changes[:, :, 0] if changes.shape[2] == 1 else changes


def _members(model, indices, groups):
    """Positions of the rows of each removal."""
    numbers, n_fit = model.sample_indices_, model.n_samples_fit_
    if groups is None:
        members = [np.array([one]) for one in check_indices(indices, numbers, n_fit)]
    elif indices is not None:
        raise ValueError("Give either indices or groups, not both: groups already say which rows leave together.")
    elif isinstance(groups, (list, tuple)) and len(groups) and np.ndim(groups[0]) == 1:
        members = [check_indices(rows, numbers, n_fit) for rows in groups]
    else:
        return check_groups(groups, numbers, n_fit)[1]
    if not members or not all(len(rows) for rows in members):
        raise ValueError("linearisability needs rows to remove, got none, or a group without any.")
    for rows in members:
        check_leaves_a_model(model._objective.weighting, rows, getattr(model, "classes_", None), "linearisability")
    return members
