"""The smallest set of rows that carries a conclusion, as far as influence finds it."""

import copy
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .._validation import check_choice, check_flag
from ..base import InfluenceMixin
from ..quantities import OutputQuantity, ParameterQuantity, estimate, output_quantity

# What must change its sign.
_CHANGES = {
    "sign": "the estimate",
    "significance": "the near end of the interval",
    "both": "the far end of the interval",
}
# Standard errors to each end of an interval of 95 %.
_REACH = 1.96
# A quantity past 0 by less than this share of where it started is at 0, as far as rounding lets anyone tell.
_AT_ZERO = 1e-9
# Greedily, rows leave one at a time at first, and then as many together as this share of those that have left.
_TOGETHER = 0.1


def most_influential_set(model, target, *, change="sign", max_fraction=0.5, greedy=False, X=None):
    """Few rows without which a conclusion is another one, found by influence and confirmed by a refit.

    Rows are sorted by their first-order influence on the conclusion and dropped until the sum of the influences turns
    it; then the model is refitted without them.

    Parameters
    ----------
    model : fitted InfluenceEstimator
        It is left as it is. Influences are first order and by the true curvature, whatever its ``method`` and
        ``solver``.
    target : int, str or callable
        What the conclusion is about: a position in ``params_``, a name in ``param_names_``, or a smooth function from
        raw outputs, of shape (m,), or (m, q) where there are several, to a number. A prediction above 1 is
        ``lambda f: f[0] - 1``, a gap ``lambda f: f[a].mean() - f[b].mean()``, a held-out loss below 30
        ``lambda f: 30 - np.mean((y - f) ** 2)``. What is constant almost everywhere, as accuracy, ranks no rows.
    change : {"sign", "significance", "both"}, default="sign"
        "sign": the estimate past 0. "significance": an estimate whose interval of 1.96 standard errors leaves out 0 to
        one whose interval holds it; an estimate that is not significant to one that is, *with the sign that it has*.
        "both": to a significant estimate of the opposite sign. The last two need a standard error.
    max_fraction : float, default=0.5
        Rows dropped at most, as a share of the rows (of weight above 0) in the model; above 0 and below 1.
    greedy : bool, default=False
        Refit as rows leave, and sort those that stay anew: one row at a time up to twenty, from then on a tenth as many
        together as have left. It sees rows that mask each other, where a single sorting cannot, for a refit a round.
    X : array-like of shape (m, n_features), default=None
        Rows whose raw outputs a callable target gets; None: the training rows in the model now, which it keeps getting
        after some of them have left the fit.

    Returns
    -------
    Bunch
        * indices : ndarray of int, rows of the data given to ``fit`` in the order in which they were dropped; empty
          unless found.
        * found : bool, True where the refit without them has the other conclusion too, not the prediction alone.
        * reason : str, what was found, or why nothing was.
        * tried : ndarray of int, the rows that the four last numbers are without: ``indices`` where found. Otherwise
          those whose refit did not turn the conclusion; or none, and the numbers are those of the model as it is.
        * estimate, standard_error : float, with all rows.
        * predicted, predicted_standard_error : float, to first order; with ``greedy`` from the round before.
        * refit, refit_standard_error : float, after unlearning the rows.

        Standard errors are nan where there are none.

    Raises
    ------
    ValueError
        For a target that is not there, for "significance" and "both" where there is no standard error, and for values
        out of range.
    TypeError
        For a model that is not an InfluenceEstimator, and a callable that returns no number.

    Notes
    -----
    What is sorted are the changes of ``estimate + c * standard_error``, whose sign turns: c is 0 for "sign", and for an
    estimate above 0 it is -1.96 for "significance" and 1.96 for "both" (below 0 the other way round).

    Standard errors are classical: ``sqrt(RSS / (n - p) H^-1_jj)`` of least squares, ``sqrt(H^-1_jj)`` of a binary
    logistic model; both without a penalty and class weights, and of full rank. Sample weights count in RSS and H, and n
    is the number of rows of weight above 0. Their derivatives are exact. With t the share of row i that is there, e its
    residual, ``s**2 = RSS / (n - p)`` and unit weights, that of least squares is
    ``d se / dt = ((e**2 - s**2) / (n - p) H^-1_jj - s**2 (H^-1 x_i)_j**2) / (2 se)``. The ``- s**2`` is there because n
    is one less without a row; without it dropping typical rows would seem to leave the interval as wide as it is.

    A callable is differentiated along the parameters, or along its m q outputs where those are fewer, by five-point
    differences: four calls a direction.

    No set is proved to be the smallest, and a smaller one may exist with ``greedy`` too. A class is never left without
    rows: the search stops before.

    Cost: one solve and one pass over the rows (two for logistic standard errors), and one ``unlearn``; with ``greedy``
    as much in each round. Memory: some (n,) arrays, and a copy of the rows that stay.

    References
    ----------
    Broderick, Giordano and Meager (2020), "An Automatic Finite-Sample Robustness Metric". For ``greedy`` Kuschnig, Zens
    and Crespo Cuaresma (2021), "Hidden in Plain Sight: Influential Sets in Linear Regression", and Hu, Hu, Zhao and Ma
    (2024), "Most Influential Subset Selection".

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.diagnostics import most_influential_set
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = InfluenceEstimator(LinearRegression()).fit(X, y)
    >>> few = most_influential_set(model, "age", change="sign")
    >>> few.found, few.indices
    (True, array([102]))
    >>> print(f"{few.estimate:.2f}, predicted {few.predicted:.2f}, refitted {few.refit:.2f}")
    -10.01, predicted 7.26, refitted 7.67
    >>> few = most_influential_set(model, "sex", change="significance", greedy=True)
    >>> few.reason
    'without 17 of 442 rows (3.8 %) the near end of the interval goes from -120 to 4.06'
    >>> abs(few.refit) < 1.96 * few.refit_standard_error
    True
    """
    if not isinstance(model, InfluenceMixin):
        raise TypeError(
            f"model must be a fitted InfluenceEstimator, got {model!r:.80}; InfluenceEstimator(estimator).fit(X, y) "
            "makes one."
        )
    check_is_fitted(model)
    check_choice("change", change, tuple(_CHANGES))
    check_flag("greedy", greedy)
    if isinstance(max_fraction, (bool, np.bool_)) or not isinstance(max_fraction, Real) or not 0 < max_fraction < 1:
        raise ValueError(f"max_fraction must be a number above 0 and below 1, got {max_fraction!r}.")
    quantity = _quantity(model, target, change, X)
    model.params_  # noqa: B018 (the optimum is found once, and copies share it)
    search = _Search(copy.deepcopy(model), quantity, change, max_fraction)
    found, reason = search.greedily() if greedy else search.at_once()
    return search.result(found, reason)


def _quantity(model, target, change, X):
    """What the conclusion is about, or the error for what it cannot be about."""
    if callable(target):
        if change != "sign":
            raise ValueError(
                f"change={change!r} needs a standard error, and a callable target has none; use change='sign', or a "
                "parameter as target."
            )
        return output_quantity(model, target, X)
    if X is not None:
        raise ValueError("X is for a callable target; a parameter is about no rows in particular. Leave it out.")
    names = [str(name) for name in model.param_names_]
    if isinstance(target, str):
        places = [j for j, name in enumerate(names) if name == target]
        if len(places) == 1:
            return ParameterQuantity(places[0])
        if places:
            raise ValueError(
                f"{len(places)} parameters are called {target!r}, at {places}; give one of these positions."
            )
        some = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        raise ValueError(f"target={target!r} is no parameter of the model; param_names_ holds {some}.")
    if isinstance(target, Integral) and not isinstance(target, (bool, np.bool_)):
        if not 0 <= target < len(names):
            raise ValueError(f"target must be a position in params_, 0 to {len(names) - 1}, got {target}.")
        return ParameterQuantity(int(target))
    raise TypeError(f"target must be a position in params_, a name in param_names_ or a callable, got {target!r:.80}.")


@dataclass(frozen=True)
class _Line:
    """The line that a conclusion must cross: where ``value + c * standard_error`` changes its sign."""

    c: float
    start: float

    def where(self, value, error):
        return value + self.c * error if self.c else value

    def changes(self, now):
        """Of :meth:`where`, when each row leaves, counted so that those below 0 lead to the line."""
        changes = now.changes + self.c * now.error_changes if self.c else now.changes
        return np.sign(self.start) * changes

    def crossed(self, where):
        """Whether it is past the line, for numbers and arrays."""
        return np.sign(self.start) * where < -_AT_ZERO * abs(self.start)


def _line(start, change):
    sign = np.sign(start.value)
    c = {"sign": 0.0, "significance": -_REACH * sign, "both": _REACH * sign}[change]
    return _Line(c, start.value + c * start.standard_error if c else start.value)


class _Search:
    """Rows leaving a copy of the model, round by round."""

    def __init__(self, model, quantity, change, max_fraction):
        self.model, self.quantity, self.what = model, quantity, _CHANGES[change]
        self.start = self.now = estimate(model, quantity)
        if change != "sign" and self.start.no_error:
            raise ValueError(
                f"change={change!r} needs a standard error: {self.start.no_error}. change='sign' needs none."
            )
        self.line = _line(self.start, change)
        self.n = int(np.count_nonzero(self.start.weights))
        self.max_fraction, self.most = max_fraction, int(max_fraction * self.n + 1e-9)
        self.tried = np.zeros(0, dtype=int)
        self.predicted = self.start.value, self.start.standard_error

    def at_once(self):
        """Drop, after one sorting, the rows whose influences cross the line; True and what was found, or why not."""
        order, sums = self._sorted()
        if not len(order):
            return False, self._nothing_pulls()
        crossed = self.line.crossed(sums)
        if not crossed.any():
            return False, (
                f"no set is predicted to: all that pull that way, {len(order)} of {self.n} rows, take {self.what} from "
                f"{self.line.start:.3g} to {sums[-1]:.3g}, to first order"
            )
        size = int(crossed.argmax()) + 1
        room, why = self._room(order)
        if size > room:
            return False, f"{size} of {self.n} rows are predicted to take {self.what} past 0, but {why}"
        broken = self._drop(order[:size])
        if broken:
            return False, broken
        if self._is_across():
            return True, self._success()
        return False, (
            f"{size} of {self.n} rows are predicted to take {self.what} from {self.line.start:.3g} to "
            f"{sums[size - 1]:.3g}, but the refit without them has it at {self._position():.3g}; greedy=True refits as "
            "rows leave"
        )

    def greedily(self):
        """Drop the strongest rows, refit, sort anew, until the refit crosses the line; as :meth:`at_once`."""
        while True:
            order, sums = self._sorted()
            if not len(order):
                return False, self._nothing_pulls()
            crossed = self.line.crossed(sums)
            size = min(
                max(1, int(_TOGETHER * len(self.tried))), int(crossed.argmax()) + 1 if crossed.any() else len(order)
            )
            room, why = self._room(order)
            if room == 0:
                return False, f"{self._without()} {self.what} is at {self._position():.3g}, but {why}"
            broken = self._drop(order[: min(size, room)])
            if broken:
                return False, broken
            if self._is_across():
                return True, self._success()

    def _sorted(self):
        """The rows that pull towards the line, strongest first, and where the estimate is once they have left."""
        changes = self.line.changes(self.now)
        order = np.argsort(changes, kind="stable")
        order = order[: int(np.count_nonzero(changes < -self._least()))] if self.line.start else order[:0]
        return order, self._position() + np.sign(self.line.start) * np.cumsum(changes[order])

    def _least(self):
        """What a row must pull by: the rounding of rows that are fitted exactly is no pull."""
        return _AT_ZERO * abs(self.line.start) / self.n

    def _position(self):
        return self.line.where(self.now.value, self.now.standard_error)

    def _room(self, order):
        """How many rows of the order may leave, and what stands against more."""
        left = self.most - len(self.tried)
        limits = [(left, f"max_fraction={self.max_fraction:g} lets no more than {self.most} leave")]
        if self.line.c:
            limits.append((self.now.spare, "no degree of freedom would be left for a standard error"))
        if self.now.codes is not None:
            limits.append(self._class_room(order))
        return min(limits, key=lambda limit: limit[0])

    def _class_room(self, order):
        weighs = self.now.weights > 0
        last = np.inf, ""
        for code in np.unique(self.now.codes[weighs]):
            places = np.flatnonzero(self.now.codes[order] == code)
            if len(places) == np.count_nonzero(weighs & (self.now.codes == code)):
                label = self.model.classes_[code]
                last = min(
                    last, (int(places[-1]), f"no row of class {label!s} would be left, which no refit knows then")
                )
        return last

    def _drop(self, rows):
        """Unlearn rows, and look again; returns what went wrong, or None."""
        now = self.now
        error = now.standard_error if now.error_changes is None else now.standard_error + now.error_changes[rows].sum()
        self.predicted = now.value + now.changes[rows].sum(), error
        indices = self.model.sample_indices_[rows]
        self.tried = np.append(self.tried, indices)
        self.model.unlearn(np.sort(indices))
        self.now = estimate(self.model, self.quantity)
        without = self._without()
        if not self.model.certificate_.converged:
            return f"{without} the refit does not converge; its optimum may be infinite"
        if self.start.unique and not self.now.unique:
            return f"{without} the parameter is not unique any more: its column is constant, or a sum of others"
        if self.line.c and self.now.no_error:
            return f"{without} there is no standard error: {self.now.no_error}"
        return None

    def _is_across(self):
        return bool(self.line.crossed(self._position()))

    def _nothing_pulls(self):
        if not self.line.start:
            return f"{self.what} is at 0, and has no sign to change"
        if (np.abs(self.now.changes) <= self._least()).all():
            why = "the target is constant there" if isinstance(self.quantity, OutputQuantity) else "they are all fitted"
            return (
                f"{self._without()} {self.what} is at {self._position():.3g}, and no row moves it to first order: {why}"
            )
        return f"{self._without()} {self.what} is at {self._position():.3g}, and no row pulls it to 0"

    def _success(self):
        return f"{self._without()} {self.what} goes from {self.line.start:.3g} to {self._position():.3g}"

    def _without(self):
        k = len(self.tried)
        if not k:
            return f"with all {self.n} rows"
        return f"without {k} of {self.n} rows ({100 * k / self.n:.2g} %)"

    def result(self, found, reason):
        return Bunch(
            indices=self.tried if found else self.tried[:0],
            found=found,
            reason=reason,
            tried=self.tried,
            estimate=self.start.value,
            standard_error=self.start.standard_error,
            predicted=float(self.predicted[0]),
            predicted_standard_error=float(self.predicted[1]),
            refit=self.now.value,
            refit_standard_error=self.now.standard_error,
        )
