r"""The words in which everything above speaks of a model, and how its rows are weighted.

A fitted model is the minimiser of ``F(theta; s) = sum_i s_i loss(y_i, f_i(theta)) + penalty(theta)``, with a linear
term where noise was put into it. Removing rows is a change of the weights ``s``.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


class Objective(Protocol):
    """What an objective offers: the only words that influence, newton, unlearning and certificates use.

    Parameters are vectors (p,), p unknowns; outputs are (m, q). Objectives are immutable: :meth:`with_` and
    :meth:`take` return others.

    Attributes
    ----------
    n_rows, n_outputs, n_params : int
    y, loss, weighting, sample_weight, params
        ``sample_weight`` (n,) holds the effective weights s: the user's times the class weights.
    outside : float
        Norm of the part of the given parameters that the unknowns cannot hold.
    representation : {"primal", "dual", "kernel"}
        What the unknowns are: the estimator's parameters, coordinates of the rows' span, or coefficients of the rows.
    centred : bool
        Whether the outputs have an offset that follows from the targets, and is not minimised over.
    linear : ndarray of shape (p,) or None
        Gradient of the linear term of F, None without one. It belongs to no row, and stays whatever rows leave or come.
    """

    def value(self):
        """F at the current weights and parameters."""

    def read_rows(self, X):
        """Rows of features as the X of the other words."""

    def own_rows(self, n):
        """The first n training rows as the X of the other words."""

    def outputs(self, X=None):
        """Raw outputs (m, q) of the training rows, or of those of X."""

    def gradient(self):
        """(p,): derivative of F by the parameters."""

    def sample_gradients(self, rows=None):
        """(p, k): derivative of F's gradient by the weight of each row."""

    def gradient_rounding(self):
        """(p,): how far rounding can carry each entry of the gradient off."""

    def class_gradients(self):
        """(p, K): the gradient's sum over the rows of each class."""

    def output_gradients(self, rows=None):
        """(k, q): derivative of each row's loss by its outputs."""

    def output_curvatures(self, rows=None):
        """(k, q), or (k, q, q) where outputs mix: second derivative of each row's loss by its outputs."""

    def curvature(self, kind="hessian"):
        """The second derivative of F, or its "outer_product" approximation, as an operator that solvers take."""

    def third_derivative(self, delta):
        """(p, k): the third derivative of F along each parameter change of delta (p, k), twice."""

    def row_curvatures(self, rows):
        """``s_i J_i' W_i J_i`` of rows whose outputs mix, each for one column of a product."""

    def outputs_change(self, delta, X=None):
        """(m, q, k): change of the outputs under each parameter change of delta (p, k)."""

    def squared_outputs(self, X, weight):
        """``delta -> sum_i w_i |J_i delta|**2`` over the rows of X: (p, k) to (k,), after one pass over the rows."""

    def pullback(self, U, X=None, onto=None, out=None):
        """(p, m): each row's J' u; with ``onto`` (p, c), its product ``onto' J' u`` (c, m)."""

    def pullback_sum(self, U, X=None):
        """(p,): the sum of the rows' J' u, one pass over them."""

    def leverage(self, factor, rows=None):
        """J H^-1 J' of each row: (k, q) where outputs do not mix, else (k, q, q)."""

    def leverage_between(self, factor, left, right):
        """J H^-1 J' of each row with its own of other rows: (k, q) where outputs do not mix, else (k, q, q)."""

    def perturbation_gradients(self, rows, onto):
        """``onto' d(J' u)/dx`` of each row by its features, (c, k, d); onto (n_params, c) and d are the estimator's."""

    def with_(self, *, sample_weight=None, params=None):
        """The same objective at other weights or parameters, sharing the data."""

    def with_linear(self, linear):
        """A copy with ``linear' theta`` in F, for ``linear`` (n_params,) in the estimator's parameters, in place of the
        linear term it had; None for none. As :meth:`take`."""

    def take(self, kept):
        """A copy that holds the kept rows only; its unknowns may be others, see :meth:`to_params`."""

    def replace(self, rows, X=None, y=None):
        """A copy with other features (k, d) of the estimator, or other targets, at some rows; as :meth:`take`."""

    def append(self, X, y, sample_weight):
        """A copy with rows more behind the others, and the user's weights of them; as :meth:`take`."""

    def primal(self):
        """The same objective with the estimator's parameters as its unknowns."""

    def to_params(self, V):
        """Unknowns (p,) or (p, k) as parameters of the estimator (n_params,) or (n_params, k)."""

    def from_params(self, V):
        """Parameters of the estimator (n_params,) or (n_params, k) as unknowns (p,) or (p, k)."""

    def solve_params(self, factor, B):
        """``H^-1 B`` in the estimator's parameters, (n_params, k)."""

    def solve_outputs(self, factor, G):
        """``H^-1 G`` for derivatives G (p, k) of outputs, as the ``onto`` of :meth:`pullback` on training rows."""


@dataclass(frozen=True)
class Weighting:
    """How the effective weight of a row follows from the user's weights and the classes still present.

    Parameters
    ----------
    sample_weight : ndarray of shape (n,)
        The user's weights.
    codes : ndarray of shape (n,) or None
        Class numbers of the rows; None for regression.
    class_weight : ndarray of shape (K,) or None
        Fixed factors of the classes.
    balanced : bool
        The factors follow the class counts instead, as a refit would recompute them.
    counts : ndarray of shape (n,), optional
        What each row counts for there; by default its weight.
    """

    sample_weight: np.ndarray
    codes: np.ndarray | None = None
    class_weight: np.ndarray | None = None
    balanced: bool = False
    counts: np.ndarray | None = None

    @property
    def _counts(self):
        return self.sample_weight if self.counts is None else self.counts

    @property
    def n_classes(self):
        return int(self.codes.max()) + 1

    def class_totals(self, weight=None):
        """Sum of the user's weights by class, (K,)."""
        weight = self.sample_weight if weight is None else weight
        return np.bincount(self.codes, weights=weight, minlength=self.n_classes)

    def effective(self, removed=None):
        """Effective weights (n,), with the ``removed`` rows at 0 and balanced factors recomputed without them."""
        weight, counts = self.sample_weight, self._counts
        if removed is not None:
            weight, counts = weight.copy(), counts.copy()
            weight[removed] = counts[removed] = 0.0
        if self.balanced:
            totals = self.class_totals(counts)
            with np.errstate(divide="ignore"):
                factor = np.where(totals > 0, totals.sum() / (len(totals) * totals), 0.0)
            return weight * factor[self.codes]
        if self.class_weight is not None:
            return weight * self.class_weight[self.codes]
        return weight

    def class_ratios(self, rows, to=None):
        """By how much removing one row, or giving it the class ``to`` (k,), multiplies the weights of each class.

        (k, K), 1 unless balanced. A row that is its class's whole weight leaves that class at 0.
        """
        totals, each, own = self.class_totals(self._counts), np.arange(len(rows)), self.codes[rows]
        gone = self._counts[rows] if to is None else self._counts[rows] * (to != own)
        remain = totals.sum() - gone if to is None else np.full(len(rows), totals.sum())
        ratios = np.repeat((remain / totals.sum())[:, None], len(totals), axis=1)
        left = totals[own] - gone
        with np.errstate(divide="ignore"):
            ratios[each, own] *= np.where(left > 1e-12 * totals[own], totals[own] / left, 0.0)
        if to is not None:
            ratios[each, to] *= totals[to] / (totals[to] + gone)
        return ratios

    def effective_as(self, rows, to):
        """Effective weights (k,) of rows, each once it alone has the class ``to`` (k,)."""
        weight = self.sample_weight[rows]
        if self.balanced:
            totals = self.class_totals(self._counts)
            there = totals[to] + self._counts[rows] * (to != self.codes[rows])
            share = np.divide(totals.sum(), len(totals) * there, out=np.zeros_like(there), where=there > 0)
            return weight * share
        return weight if self.class_weight is None else weight * self.class_weight[to]

    def without_typical(self, c, to=None):
        """Effective weights (n,), every row still there, once a row of class c and of its mean count has left, or has
        gone over to class ``to``."""
        totals = self.class_totals(self._counts)
        gone = totals[c] / np.count_nonzero((self.codes == c) & (self._counts > 0))
        left = totals - gone * (np.arange(len(totals)) == c)
        if to is not None:
            left[to] += gone
        with np.errstate(divide="ignore"):
            factor = np.where(left > 1e-12 * totals, left.sum() / (len(totals) * left), 0.0)
        return self.sample_weight * factor[self.codes]

    def replace(self, rows, codes):
        """Other class numbers at some positions."""
        new = self.codes.copy()
        new[rows] = codes
        return replace(self, codes=new)

    def append(self, sample_weight, codes):
        """Rows more behind the others; each counts as one where rows are counted without their weights."""
        return replace(
            self,
            sample_weight=np.append(self.sample_weight, sample_weight),
            codes=None if self.codes is None else np.append(self.codes, codes),
            counts=None if self.counts is None else np.append(self.counts, np.ones(len(sample_weight))),
        )

    def take(self, kept):
        codes = None if self.codes is None else self.codes[kept]
        counts = None if self.counts is None else self.counts[kept]
        return replace(self, sample_weight=self.sample_weight[kept], codes=codes, counts=counts)


def class_numbers(y):
    """Class numbers (m,) of targets as a classifier's loss takes them: themselves, or the place of the +1 among -1."""
    if y.ndim == 1:
        return y
    return y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0).astype(np.intp)
