r"""Kernel models in the coefficients of their points: ``sum_i s_i loss(y_i, f_i) + 1/2 sum_o rho_o a_o' K a_o``.

The outputs are ``f = f0 + offset + K a``, K (n, n) the kernel's values between the training points, a (n, q) the
coefficients, which are the parameters, and f0 (n, q) where the outputs start from, which is 0 but for linearised
networks (:mod:`~.tangent`). Where K mixes the outputs it is (n q, n q), and the penalty ``rho/2 a'K a``.

A gradient of the objective in the space of functions is ``sum_i b_i k(x_i, .)``, and is given here by its coefficients
b, ``b = s u + rho a`` for the objective's own: so no K is inverted where it is singular. The linear functional
"output c at x" has ``k(X, x)`` at output c as its derivative by the parameters. Vectors of either kind and parameters
are (n q,), point by point; behind them stands the offset (q,) where it is no constant.

Source: "Extending Kernel Trick to Influence Functions" (Sun et al.), Proposition 3.1 and Eq. 5-9.
"""

import copy
from functools import cached_property

import numpy as np

from ..objective import class_numbers
from .curvature import KernelCurvature
from .leverage import leverage_between, leverages
from .parameters import solve_params, to_params
from .rows import OwnRows, Points, Pullers, TestRows
from .system import Roots

_OF_OUTPUTS = ("_outputs", "_gradient_by_output", "_outputs_before", "_rounding")
# Rounding times the condition of a system, up to which its inverse serves.
_ROUNDED = 1e-9


class KernelObjective:
    """A kernel model's objective at its coefficients.

    Parameters
    ----------
    gram : Gram
    y : ndarray
        Targets as the loss takes them.
    loss : Loss
    weighting : Weighting
    strength : ndarray of shape (q,)
        rho of each output, above 0; of outputs that the kernel mixes one number for all.
    params : ndarray of shape (n * q,), or (n * q + q,) where centred
        ``dual_coef_.ravel()``, and the offset.
    mean : float, default=0.0
        With a penalty on the *mean* loss, the total weight that ``strength`` belongs to: it shrinks with the weight
        that is left. 0 for a penalty on the sum, which stays.
    of_rows : bool
        The weights are settings of the estimator for each row, so that new rows have none.
    centred : bool
        The targets are taken about their mean, which is added to the outputs and follows the rows (a Gaussian process
        with ``normalize_y``).
    """

    linear, outside, fit_intercept = None, 0.0, False
    representation = "kernel"
    folded = ()  # of points behind the others, the positions that they are to take

    def __init__(self, gram, y, loss, weighting, strength, params, *, mean=0.0, centred=False, of_rows=False):
        self.gram, self.y, self.loss, self.weighting = gram, y, loss, weighting
        self.sample_weight = weighting.effective()
        self._strength, self.mean, self.centred = np.asarray(strength, dtype=float), mean, centred
        self.params, self.of_rows = params, of_rows
        if gram.mixed and (self._strength != self._strength[0]).any():
            raise ValueError(
                f"A kernel that mixes the outputs needs one strength for all of them, got {self._strength.tolist()}."
            )

    def __copy__(self):  # copy's own would ask for what a pickle holds
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name not in _OF_OUTPUTS}

    @property
    def n_rows(self):
        return len(self.gram)

    @property
    def n_outputs(self):
        return len(self._strength)

    @property
    def n_params(self):
        return (self.n_rows + self.centred) * self.n_outputs

    @property
    def outputs_apart(self):
        """Whether each output follows from its own coefficients and derivatives alone."""
        return self.loss.separable and not self.gram.mixed

    @property
    def design(self):
        return Points(self.gram)

    @property
    def strength(self):
        """rho (q,) at these weights."""
        return self._strength * (self.sample_weight.sum() / self.mean if self.mean else 1.0)

    @property
    def penalty(self):
        return self.strength[:, None]

    @property
    def offset(self):
        """What every output has beside the kernel's part, (q,)."""
        return self.params[-self.n_outputs :] if self.centred else np.zeros(self.n_outputs)

    @property
    def coefficients(self):
        return self.params[: self.n_rows * self.n_outputs].reshape(self.n_rows, self.n_outputs)

    # -- other objectives ---------------------------------------------------------------------------------------------

    def with_(self, *, sample_weight=None, params=None):
        other = copy.copy(self)
        if params is not None:
            for name in _OF_OUTPUTS:
                other.__dict__.pop(name, None)
            other.params = params
        if sample_weight is not None:
            other.sample_weight = sample_weight
            other.__dict__.pop("_rounding", None)
        return other

    def on(self, device):
        """The same with its kernel matrix on another device."""
        if device == self.gram.device:
            return self
        other = copy.copy(self)
        other.gram = self.gram.on(device)
        return other

    def at(self, coefficients, outputs):
        """The objective at other coefficients (n, q), whose outputs are known."""
        other = self.with_(params=self.joined(coefficients, self.offset))
        other.__dict__["_outputs"] = outputs
        return other

    def joined(self, coefficients, offset):
        """A vector from coefficients (n, q) and, where it counts as one, the offset (q,)."""
        return np.append(coefficients, offset) if self.centred else np.ravel(coefficients)

    def take(self, kept):
        kept = np.arange(self.n_rows)[kept]
        other = self._changed(self.gram.take(kept), self.y[kept], self.weighting.take(kept), self.coefficients[kept])
        if not self.loss.quadratic:
            other._outputs_before = self._outputs[kept]
        return other

    # Of the model before an edit, for the rows after it: nearer to the minimum than the coefficients' own.
    _outputs_before = None

    def replace(self, rows, X=None, y=None):
        rows, targets, weighting = np.asarray(rows), self.y, self.weighting
        gram = self.gram if X is None else self.gram.replace(rows, X)
        if y is not None:
            targets = targets.copy()
            targets[rows] = y
            weighting = weighting if weighting.codes is None else weighting.replace(rows, class_numbers(y))
        if X is None:
            return self._changed(gram, targets, weighting, self.coefficients)
        # Coefficients of the old features, as large as 1 / rho, would say nothing of the outputs with the new ones.
        coefficients = self.coefficients.copy()
        coefficients[rows] = 0.0
        other = self._changed(gram, targets, weighting, coefficients)
        if not self.loss.quadratic:
            other._outputs_before = self._outputs.copy()
            other._outputs_before[rows] = self.outputs(self.read_rows(X))
        return other

    def append(self, X, y, sample_weight):
        if self.of_rows:
            raise ValueError(
                "extend needs the noise of the new rows, and the estimator has one alpha for each row of fit. Give it "
                "one alpha for all, or fit it again with the new rows."
            )
        codes = None if self.weighting.codes is None else class_numbers(y)
        weighting = self.weighting.append(sample_weight, codes)
        coefficients = np.concatenate([self.coefficients, np.zeros((X.shape[0], self.n_outputs))])
        return self._changed(self.gram.append(X), np.concatenate([self.y, y]), weighting, coefficients)

    def _changed(self, gram, y, weighting, coefficients):
        new = type(self).__new__(type(self))
        new.__dict__.update({name: self.__dict__[name] for name in self.__dict__ if name not in _OF_OUTPUTS})
        new.gram, new.y, new.weighting, new.sample_weight = gram, y, weighting, weighting.effective()
        new.params = new.joined(coefficients, y.mean(axis=0))
        return new

    # -- rows ---------------------------------------------------------------------------------------------------------

    def read_rows(self, X):
        return TestRows(self.gram, X)

    def own_rows(self, n):
        return OwnRows(self.gram, np.arange(n))

    def _moves(self, rows, V):
        """Outputs of some rows under parameters V (p, k), without f0, and without the offset where that is none:
        (m, q, k)."""
        n, q = self.n_rows, self.n_outputs
        inside = np.ascontiguousarray(V[: n * q]).reshape(n, q, -1)
        out = self.gram.times(inside) if rows is None else rows.times(inside)
        return out + V[n * q :].reshape(1, q, -1) if self.centred else out

    # -- words --------------------------------------------------------------------------------------------------------

    def outputs(self, X=None):
        if X is None:
            return self._outputs
        if isinstance(X, OwnRows):
            return self._outputs[X.positions]
        return self.gram.start(X.X) + self._moves(X, self.params[:, None])[:, :, 0]

    @cached_property
    def _outputs(self):
        return self.gram.start() + self._moves(None, self.params[:, None])[:, :, 0]

    @cached_property
    def _gradient_by_output(self):
        return self.loss.gradient(self.y, self._outputs)

    def output_gradients(self, rows=None):
        return self._gradient_by_output if rows is None else self._gradient_by_output[rows]

    def pulls(self, rows):
        """``s u`` (k, q) of some rows. At the optimum of a squared loss that is ``-rho a``, which has all digits where
        the model interpolates, and the residuals have lost them."""
        pull = self.sample_weight[rows, None] * self._gradient_by_output[rows]
        if not self.loss.quadratic:
            return pull
        held = -self.strength * self.coefficients[rows]
        return np.where(np.abs(pull - held) <= self._rounding[rows], held, pull)

    @cached_property
    def _rounding(self):
        return self.gradient_rounding()

    def output_curvatures(self, rows=None):
        y, f = (self.y, self._outputs) if rows is None else (self.y[rows], self._outputs[rows])
        W = self.loss.curvature(y, f)
        return W[:, :, None] * np.eye(W.shape[1]) if W.ndim == 2 and self.gram.mixed else W

    def value(self):
        held = self.coefficients * (self._outputs - self.gram.start() - self.offset)
        return self.sample_weight @ self.loss.value(self.y, self._outputs) + 0.5 * held.sum(axis=0) @ self.strength

    def gradient(self):
        """Coefficients ``s u + rho a`` (p,) of F's gradient; 0 at the offset, which is not minimised over."""
        b = self.sample_weight[:, None] * self._gradient_by_output + self.strength * self.coefficients
        return self.joined(b, np.zeros(self.n_outputs))

    def inner(self, b, c):
        """Inner product of the functions with coefficients b and c (p,), both 0 at the offset."""
        return float(b @ self.joined(self._moves(None, c[:, None])[:, :, 0], np.zeros(self.n_outputs)))

    def gradient_rounding(self):
        """(n, q): how far rounding can carry each coefficient of :meth:`gradient` off, to first order."""
        W = self.loss.curvature(self.y, self._outputs)
        W = np.abs(W) if W.ndim == 2 else np.abs(W).max(axis=1)
        # A kernel's value is at most the root of its diagonal entries, so an output at most their sum.
        roots = self.gram_roots()
        total = (roots * np.abs(self.coefficients)).sum(axis=None if self.gram.mixed else 0)
        reach = roots * total + np.abs(self.offset + self.gram.start())
        own = self.strength * np.abs(self.coefficients)
        terms = self.sample_weight[:, None] * (np.abs(self._gradient_by_output) + W * reach) + own
        return 4 * np.finfo(float).eps * terms

    def gram_roots(self):
        """Roots of the kernel's values of the points with themselves, (n, 1), or (n, q) where outputs mix."""
        return np.sqrt(np.maximum(self.gram.diagonal(), 0.0)).reshape(self.n_rows, -1)

    def class_gradients(self):
        """``s u`` on the rows of each class alone: (n q, K)."""
        u = self.sample_weight[:, None] * self._gradient_by_output
        inside = self.weighting.codes[:, None] == np.arange(self.weighting.n_classes)
        return (u[:, :, None] * inside[:, None, :]).reshape(u.size, -1)

    def curvature(self, kind="hessian"):
        # A squared loss is curved alike everywhere: its outputs need not be known.
        f = np.zeros((self.n_rows, self.n_outputs)) if self.loss.quadratic else self._outputs
        roots = Roots.of(self.loss, self.y, f, self.sample_weight)
        return KernelCurvature(self.gram, roots, self.strength)

    def third_derivative(self, delta):
        bend = self.loss.third(self.y, self._outputs, self._moves(None, delta)) * self.sample_weight[:, None, None]
        return bend.reshape(delta.shape)

    def outputs_change(self, delta, X=None):
        return self._moves(X, delta)

    def pullback(self, U, X=None, onto=None, out=None):
        """What rows pull at with U (m, q): coefficients (n q, m) for training rows that pull (:meth:`design`),
        derivatives (n q, m) by the parameters for rows whose outputs are asked for; ``onto`` as in the protocol."""
        X = self.design.take(slice(None)) if X is None else X
        n, q, m = self.n_rows, self.n_outputs, X.n_rows
        if onto is not None:
            pulls = isinstance(X, Pullers)
            moved = onto[: n * q].reshape(n, q, -1)[X.positions] if pulls else self._moves(X, onto)
            result = np.einsum("mq,mqc->cm", U, moved)
        else:
            result = np.zeros((self.n_params, m))
            inside = result[: n * q].reshape(n, q, m)
            if isinstance(X, Pullers):
                inside[X.positions, :, np.arange(m)] = U
            else:
                X.pull(U, out=inside)
                result[n * q :] = U.T if self.centred else 0.0
        if out is None:
            return result
        out[...] = result
        return out

    def pullback_sum(self, U, X=None):
        X = self.design.take(slice(None)) if X is None else X
        if isinstance(X, Pullers):
            total = np.zeros((self.n_rows, self.n_outputs))
            np.add.at(total, X.positions, U)
            return self.joined(total, np.zeros(self.n_outputs))
        return self.joined(X.pull_sum(U), U.sum(axis=0))

    def squared_outputs(self, X, weight):
        root = np.sqrt(weight)[:, None, None]

        def total(delta):
            return ((self._moves(X, delta) * root) ** 2).sum(axis=(0, 1))

        return total

    def leverage(self, factor, rows=None):
        return leverages(self, factor, rows)

    def leverage_between(self, factor, left, right):
        return leverage_between(self, factor, left, right)

    def inverse_holds(self):
        """Whether the system's inverse has the digits to be multiplied with in place of a factor, by its condition: its
        errors lie along every direction, and the kernel matrix makes the most of them."""
        trace = float((self.sample_weight @ self.gram_roots() ** 2).sum())  # at least the largest eigenvalue
        return np.finfo(float).eps * trace <= _ROUNDED * self.strength.min()

    # -- other points and offsets -------------------------------------------------------------------------------------

    def with_room(self, factor, rows, X, targets):
        """The objective and its factor once points X (k, d) stand behind the others without weight, each to take the
        place of one of the rows; and the new points."""
        k, n = X.shape[0], self.n_rows
        roomy = copy.copy(self)
        for name in _OF_OUTPUTS:
            roomy.__dict__.pop(name, None)
        roomy.gram, roomy.folded = self.gram.append(X), rows
        roomy.y = np.concatenate([self.y, targets])
        codes = None if self.weighting.codes is None else class_numbers(targets)
        roomy.weighting = self.weighting.append(np.zeros(k), codes)
        roomy.sample_weight = np.append(self.sample_weight, np.zeros(k))
        roomy.params = roomy.joined(np.concatenate([self.coefficients, np.zeros((k, self.n_outputs))]), self.offset)
        factor = factor.for_columns(2 * k * self.n_outputs).with_points(roomy.gram, roomy.curvature().roots)
        return roomy, factor, roomy.design.take(slice(n, None))

    def offset_shifts(self, factor):
        """What the parameters become when the offset of an output grows by 1: (p, q)."""
        n, q = self.n_rows, self.n_outputs
        b = np.zeros((self.n_params, q))
        b[: n * q].reshape(n, q, q)[:, np.arange(q), np.arange(q)] = -self.sample_weight[:, None]
        shifts = factor(b)[0]
        shifts[n * q :] = np.eye(q)
        return shifts

    def moved_by_leaving(self, factor, rows):
        """What of the whole model follows each row that leaves: directions (p, r) of the parameters by a factor, and
        how far along them (k, r).

        A penalty on the mean loss shrinks with the weight that is left; a centred model's offset is the mean target.
        """
        if self.mean:  # balanced class weights add up to the user's
            weight = self.weighting.sample_weight if self.weighting.balanced else self.sample_weight
            return factor(self.params[:, None])[0], np.outer(weight[rows], self.strength[:1]) / weight.sum()
        if self.centred:
            return self.offset_shifts(factor), (self.y.mean(axis=0) - self.y[rows]) / (self.n_rows - 1)
        return np.zeros((self.n_params, 0)), np.zeros((len(rows), 0))

    def moved_by_replacing(self, factor, rows, targets, weight):
        """The same when rows come to have other targets, or other weights for their class. The penalty's own curvature
        is left as it is."""
        if self.mean and not self.weighting.balanced and (weight != self.sample_weight[rows]).any():
            gone = np.outer(self.sample_weight[rows] - weight, self.strength[:1])
            return factor(self.params[:, None])[0], gone / self.sample_weight.sum()
        if self.centred:
            n = self.n_rows - len(self.folded)
            return self.offset_shifts(factor), (targets - self.y[rows]) / n
        return np.zeros((self.n_params, 0)), np.zeros((len(rows), 0))

    # -- the estimator's parameters -----------------------------------------------------------------------------------

    def primal(self):
        return self

    def to_params(self, V):
        return to_params(self, V)

    def from_params(self, V):
        return V

    def solve_params(self, factor, B):
        return solve_params(self, factor, B)

    def solve_outputs(self, factor, G):
        """``H^-1`` of derivatives of outputs (n q, k), as the outputs of the training rows."""
        return factor.transposed(G)
