r"""Parameter space: objectives of models whose outputs are linear in coefficients and intercepts.

The parameters of q outputs over d features are ``coef.ravel()`` (q d) and then the q intercepts, where there are any.
"""

import copy
from functools import cached_property

import numpy as np

from ._backend import array_namespace, inner, to_numpy
from ._device_design import design_of, placed
from ._parallel import block_size, blocks
from .curvature import Hessian, MixedWeights, RowCurvatures, to_outputs, to_vector
from .fisher import EmpiricalFisher
from .objective import class_numbers

# Computed on first use and never pickled; those of the parameters alone are taken over to other weights.
_OF_PARAMETERS = ("_outputs", "_gradient_by_output", "_curvature_by_output", "_curvature_factors")
_CACHED = (*_OF_PARAMETERS, "_summed")
# Numbers of a block that stays in cache from the outputs to the sum of the gradients, and is worth two threads.
_PASS = 2**20
_NONE = np.zeros(0, dtype=np.intp)
# Products with so many times fewer vectors than columns are made before the rows are scaled.
_FEW = 4
# Rows of a block whose whitened copy stays in cache.
_LEVERAGE_ROWS = 1024


class PrimalObjective:
    """``sum_i s_i loss(y_i, W x_i + b) + 1/2 sum penalty * (W, b)**2 + linear' params``.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d)
    y : ndarray
        Targets as the loss takes them.
    loss : Loss
    weighting : Weighting
    penalty : ndarray of shape (q, width)
        Second derivative of the penalty; width = d, plus 1 with an intercept, which comes last.
    params : ndarray of shape (q * width,)
    fit_intercept : bool
    """

    outside = 0.0  # no parameters are out of reach, see DualObjective
    linear = None
    outputs_apart = True  # each output has parameters of its own, one for each column of the rows
    representation, centred = "primal", False

    def __init__(self, X, y, loss, weighting, penalty, params, fit_intercept):
        self.design = design_of(X, fit_intercept)
        self.y = y
        self.loss = loss
        self.weighting = weighting
        self.sample_weight = weighting.effective()
        self.penalty = penalty
        self.params = params

    @property
    def n_rows(self):
        return self.design.n_rows

    @property
    def n_outputs(self):
        return len(self.penalty)

    @property
    def n_params(self):
        return self.penalty.size

    @property
    def fit_intercept(self):
        return self.design.fit_intercept

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name not in _CACHED}

    def with_(self, *, sample_weight=None, params=None):
        other = copy.copy(self)
        if params is None:  # what is cached depends on the parameters, not on the weights
            other.__dict__.update({name: self.__dict__[name] for name in _OF_PARAMETERS if name in self.__dict__})
        else:
            other.params = params
        if sample_weight is not None:
            other.sample_weight = sample_weight
        return other

    def with_linear(self, linear):
        other = copy.copy(self)
        other.linear = linear
        return other

    def on(self, device):
        other = copy.copy(self)
        other.design = placed(self.design, device)
        return other

    def take(self, kept):
        other = copy.copy(self)
        other.design = self.design.take(kept)
        other.y = self.y[kept]
        other.weighting = self.weighting.take(kept)
        leaving = np.flatnonzero(~kept) if np.asarray(kept).dtype == bool else None
        return self._hand_over(other, kept, leaving)

    def replace(self, rows, X=None, y=None):
        other, rows = copy.copy(self), np.asarray(rows)
        if X is not None:
            other.design = self.design.replace(rows, X)
        if y is not None:
            other.y = self.y.copy()
            other.y[rows] = y
            if self.weighting.codes is not None:
                other.weighting = self.weighting.replace(rows, class_numbers(y))
        return self._hand_over(other, slice(None), rows, rows)

    def append(self, X, y, sample_weight):
        other = copy.copy(self)
        other.design = self.design.append(X)
        other.y = np.concatenate([self.y, y])
        codes = None if self.weighting.codes is None else class_numbers(y)
        other.weighting = self.weighting.append(sample_weight, codes)
        return self._hand_over(other, slice(None), _NONE, np.arange(self.n_rows, other.n_rows))

    def _hand_over(self, other, kept, leaving, entering=_NONE):
        """``other`` with its weights, and with what is known here of the ``kept`` rows: their outputs, and the sum of
        the gradients, less those of the rows that leave (None: not known which), plus those of the rows that enter."""
        other.sample_weight = other.weighting.effective()
        if "_gradient_by_output" not in self.__dict__:
            return other
        rows, known = other.design.take(entering), {}
        f = self.outputs(rows)
        new = {"_outputs": f, "_gradient_by_output": self.loss.gradient(other.y[entering], f)}
        for name, values in new.items():
            known[name] = np.empty((other.n_rows, self.n_outputs))
            stay = self.__dict__[name][kept]
            known[name][: len(stay)] = stay
            known[name][entering] = values
        # Fewer rows are summed than stay, and balanced weights have not moved them all.
        few = leaving is not None and len(leaving) + len(entering) < other.n_rows
        if "_summed" in self.__dict__ and few and not self.weighting.balanced:
            u = self.sample_weight[leaving, None] * self._gradient_by_output[leaving]
            known["_summed"] = self._summed - self._sum(self.design.take(leaving), u)
            known["_summed"] += self._sum(rows, other.sample_weight[entering, None] * new["_gradient_by_output"])
        other.__dict__.update(known)
        return other

    def _sum(self, rows, U):
        """``sum_i J_i' u_i`` of some rows, in the shape of :attr:`_summed`."""
        return rows.tdot(U)

    def read_rows(self, X):
        return self.design.reading(X)

    def primal(self):
        return self

    def to_params(self, V):
        return V

    def from_params(self, V):
        return V

    def solve_params(self, factor, B):
        return factor(B)[0]

    def solve_outputs(self, factor, G):
        return factor(G)[0]

    def own_rows(self, n):
        return self.design if n == self.n_rows else self.design.take(slice(0, n))

    def _rows(self, rows):
        everything = rows is None or (len(rows) == self.n_rows and (np.diff(rows) == 1).all())
        return self.design if everything else self.design.take(rows)  # which copies

    def _theta(self, V):
        """(p, k) as the right operand of products with rows: (width, q * k)."""
        theta = to_outputs(V, self.n_outputs, self.fit_intercept)
        return theta.transpose(1, 0, 2).reshape(self.design.width, -1)

    def outputs(self, X=None):
        if X is None:
            return self._outputs
        return X.dot(self._theta(self.params[:, None]))

    @cached_property
    def _outputs(self):
        return self.design.dot(self._theta(self.params[:, None]))

    @cached_property
    def _gradient_by_output(self):
        """u (n, q): derivative of each row's loss by its outputs, without its weight."""
        return self.loss.gradient(self.y, self._outputs)

    @cached_property
    def _curvature_by_output(self):
        """W (n, q) of outputs that do not mix, without the weight."""
        return self.loss.curvature(self.y, self._outputs)

    @cached_property
    def _curvature_factors(self):
        """a and b (n, q) with ``W = diag(a) - b b'``, of outputs that mix, without the weight."""
        return self.loss.curvature_factors(self.y, self._outputs)

    def output_gradients(self, rows=None):
        """u of the rows, (k, q)."""
        return self._gradient_by_output if rows is None else self._gradient_by_output[rows]

    def output_curvatures(self, rows=None):
        """W of the rows, (k, q) or (k, q, q)."""
        if self.loss.separable:
            return self._curvature_by_output if rows is None else self._curvature_by_output[rows]
        y, f = (self.y, self._outputs) if rows is None else (self.y[rows], self._outputs[rows])
        return self.loss.curvature(y, f)

    def value(self):
        penalty = to_vector(self.penalty, self.fit_intercept)
        value = self.sample_weight @ self.loss.value(self.y, self._outputs) + 0.5 * penalty @ self.params**2
        return value if self.linear is None else value + self.linear @ self.params

    def gradient(self):
        own = to_vector(self.penalty, self.fit_intercept) * self.params
        return to_vector(self._summed.T, self.fit_intercept) + (own if self.linear is None else own + self.linear)

    @cached_property
    def _summed(self):
        """``sum_i s_i [x_i, 1] u_i`` (width, q): one pass, which leaves the outputs where they were not known."""
        s = self.sample_weight[:, None]
        if "_outputs" in self.__dict__ or self.design.is_sparse:
            return self.design.tdot(s * self._gradient_by_output)
        theta, summed = self._theta(self.params[:, None]), np.zeros((self.design.width, self.n_outputs))
        f, u = np.empty((2, self.n_rows, self.n_outputs))
        for part in blocks(self.n_rows, max(_PASS // self.design.width, 256)):
            rows = self.design.take(part).in_double()
            f[part] = rows.dot(theta)
            u[part] = self.loss.gradient(self.y[part], f[part])
            summed += rows.tdot(s[part] * u[part])
        self.__dict__.update(_outputs=f, _gradient_by_output=u)
        return summed

    def gradient_rounding(self):
        """(p,): how far rounding can carry each entry of :meth:`gradient` off, to first order.

        Every term of the sums counts once with its absolute value, as do the outputs' own rounding errors through the
        curvature; the factor is a few units of float64 instead of the worst case over n summands, which pairwise
        summation does not reach.
        """
        if self.loss.separable:
            W = np.abs(self._curvature_by_output)
        else:
            a, b = self._curvature_factors
            W = np.abs(a - b**2) + b * (b.sum(axis=1, keepdims=True) - b)
        theta = self._theta(self.params[:, None])
        d = self.design.n_features
        reach = self.design.norms()[:, None] * np.linalg.norm(theta[:d], axis=0) + np.abs(theta[d:]).sum(axis=0)
        terms = self.sample_weight[:, None] * (np.abs(self._gradient_by_output) + W * reach)
        penalty = to_vector(self.penalty, self.fit_intercept)
        own = penalty * np.abs(self.params) + (0.0 if self.linear is None else np.abs(self.linear))
        total = to_vector(self.design.absolute_tdot(terms).T, self.fit_intercept) + own
        return 4 * np.finfo(float).eps * total

    def sample_gradients(self, rows=None):
        return self.pullback(self.output_gradients(rows), self._rows(rows))

    def class_gradients(self):
        """``sum_{i in c} s_i J_i' u_i`` for each class c: (p, K)."""
        codes, q = self.weighting.codes, self.n_outputs
        u = self.sample_weight[:, None] * self._gradient_by_output
        by_class = np.stack(
            [np.where((codes == c)[:, None], u, 0.0) for c in range(self.weighting.n_classes)],
            axis=2,
        )
        summed = self.design.tdot(by_class.reshape(self.n_rows, -1)).reshape(self.design.width, q, -1)
        return to_vector(summed.transpose(1, 0, 2), self.fit_intercept)

    def curvature(self, kind="hessian"):
        if kind == "outer_product":
            return self._outer_product()
        s = self.sample_weight[:, None]
        if self.loss.quadratic:
            weights = s
        elif self.loss.separable:
            weights = s * self._curvature_by_output
        else:
            a, b = self._curvature_factors
            weights = MixedWeights(s * a, np.sqrt(s) * b)
        return Hessian(self.design, weights, self.penalty, shift_invariant=self.loss.shift_invariant)

    def third_derivative(self, delta):
        """``sum_i s_i J_i' t_i``, t_i the loss's third derivative along ``J_i delta`` twice: (p, k), in two passes."""
        q, k = self.n_outputs, delta.shape[1]
        theta, out = self._theta(delta), np.zeros((self.design.width, q * k))
        for part in blocks(self.n_rows, block_size(40 * q * k, share=0.25)):
            rows = self.design.take(part).in_double()
            bend = self.loss.third(self.y[part], self._outputs[part], rows.dot(theta).reshape(-1, q, k))
            bend *= self.sample_weight[part, None, None]
            out += rows.tdot(bend.reshape(-1, q * k))
        return to_vector(out.reshape(-1, q, k).transpose(1, 0, 2), self.fit_intercept)

    def row_curvatures(self, rows):
        s = self.sample_weight[rows, None]
        a, b = self._curvature_factors
        # Each row meets a vector of its own: no product of matrices, and nothing for a device to gain.
        return RowCurvatures(placed(self.design.take(rows), "cpu"), MixedWeights(s * a[rows], np.sqrt(s) * b[rows]))

    def _outer_product(self):
        return EmpiricalFisher(
            self.design,
            np.sqrt(self.sample_weight)[:, None] * self._scaled_gradients(),
            self.penalty,
            coupled=not self.loss.separable,
            truth=self.curvature(),
            shift_invariant=self.loss.shift_invariant,
        )

    def _scaled_gradients(self):
        """u (n, q), of whose outer products the sum has the Hessian's units: those of squared losses are divided by the
        variance of the residuals, where a log loss is a log likelihood already."""
        s, u = self.sample_weight[:, None], self._gradient_by_output
        if not self.loss.quadratic:
            return u
        variance = (s * u**2).sum(axis=0) / max(s.sum(), np.finfo(float).tiny)
        return u / np.sqrt(np.where(variance > 0, variance, 1.0))

    def outputs_change(self, delta, X=None):
        X = self.design if X is None else X
        k = delta.shape[1]
        return X.dot(self._theta(delta)).reshape(X.n_rows, self.n_outputs, k)

    def squared_outputs(self, X, weight):
        centre = X.mean(weight)
        gram = to_numpy(X.gram(weight[:, None], centre)[0])

        def total(delta):
            theta = to_outputs(delta, self.n_outputs, self.fit_intercept)
            if self.fit_intercept:
                theta[:, -1] += np.einsum("j,qjk->qk", centre, theta[:, :-1])
            return sum(np.einsum("jk,jk->k", block, gram @ block) for block in theta)

        return total

    def pullback(self, U, X=None, onto=None, out=None):
        X = self.design if X is None else X
        if onto is not None and (X.is_sparse or _FEW * onto.shape[1] <= X.width):
            # Scale the products, not the rows: sparse ones would be filled, and few products are fewer numbers.
            theta = to_outputs(onto, self.n_outputs, self.fit_intercept)
            result = sum(U[:, c, None] * X.dot(theta[c]) for c in range(self.n_outputs)).T
        else:
            if onto is None:
                return to_vector(X.scaled(U), self.fit_intercept).astype(np.float64, copy=False)
            return X.scaled_onto(U, to_outputs(onto, self.n_outputs, self.fit_intercept), out)
        if out is None:
            return result.astype(np.float64, copy=False)
        out[...] = result
        return out

    def pullback_sum(self, U, X=None):
        X = self.design if X is None else X
        return to_vector(X.tdot(U).T, self.fit_intercept)

    def leverage(self, factor, rows=None):
        design = self._rows(rows)
        return self.leverage_between(factor, design, design)

    def leverage_between(self, factor, left, right):
        width, q = left.width, self.n_outputs
        coupled = factor.curvature.coupled
        # A common shift of the outputs can make much of A, and W sees none of it where H^-1 is the curvature's own.
        shifts = factor.curvature.common_shifts and factor.solver.exact
        if coupled and left.n_rows * q <= self.n_params:  # fewer solves than the inverse would take
            basis = np.tile(np.eye(q) - shifts / q, (left.n_rows, 1))
            each = np.repeat(np.arange(left.n_rows), q)  # in double, since 1 less a leverage can be small
            J = self.pullback(basis, left.take(each).in_double())
            solved = factor(J)[0]
            if right is not left:
                J, solved = solved, self.pullback(basis, right.take(each).in_double())
            shape = (self.n_params, left.n_rows, q)
            return np.einsum("pia,pib->iab", J.reshape(shape), solved.reshape(shape))
        if not coupled and factor.iterative and left.n_rows <= width:  # a solve a row serves all outputs
            ones = np.ones((left.n_rows, q))
            J = self.pullback(ones, left.in_double())
            other = J if right is left else self.pullback(ones, right.in_double())
            return sum_by_output(other * factor(J)[0], q, self.fit_intercept)
        out = np.empty((left.n_rows, q, q) if coupled else (left.n_rows, q))
        self._leverage_by_blocks(factor, left, right, out)
        if shifts:
            out -= out.mean(axis=1, keepdims=True)
            out -= out.mean(axis=2, keepdims=True)
        return out

    def _leverage_by_blocks(self, factor, left, right, out):
        """Leverages from the inverse, or the factor, in blocks of rows that stay in cache."""
        width, q, curvature = left.width, self.n_outputs, factor.curvature
        different = range(max(factor.block_of) + 1)
        if curvature.coupled:
            inverse = left.beside(factor.inverse(0))
            inverse = array_namespace(inverse).reshape(inverse, (q, width, q, width))
        elif right is not left:
            inverses = [left.beside(factor.inverse(b)) for b in different]
        size = block_size(24 * width * 2, share=1 / 16, largest=_LEVERAGE_ROWS)
        buffers = np.empty((1 if right is left else 2, min(size, left.n_rows), width))
        for part in blocks(left.n_rows, size):
            Z = left.take(part).centred(curvature.centre, out=buffers[0])
            Y = Z if right is left else left.beside(right.take(part).centred(curvature.centre, out=buffers[1]))
            if curvature.coupled:
                for a in range(q):
                    for b in range(a if right is left else 0, q):
                        out[part, a, b] = inner(Z @ inverse[a, :, b, :], Y, axis=1)
                        if right is left:
                            out[part, b, a] = out[part, a, b]
                continue
            if right is left:
                squares = [factor.squares(b, Z) for b in different]
            else:
                squares = [inner(Z @ inverses[b], Y, axis=1) for b in different]
            for o, b in enumerate(factor.block_of):
                out[part, o] = squares[b]

    def perturbation_gradients(self, rows, onto):
        d, u, W = self.design.n_features, self.output_gradients(rows), self.output_curvatures(rows)
        coef = to_outputs(self.params[:, None], self.n_outputs, self.fit_intercept)[:, :d, 0]
        V = to_outputs(onto, self.n_outputs, self.fit_intercept)[:, :d]
        eta = self.outputs_change(onto, self.design.take(rows))
        weighed = W[:, :, None] * eta if W.ndim == 2 else W @ eta
        out = weighed.transpose(2, 0, 1) @ coef
        for one, by_output in zip(out, V.transpose(2, 0, 1), strict=True):
            one += u @ by_output
        return out


def sum_by_output(V, n_outputs, fit_intercept):
    """(p, k) summed over the parameters of each output: (k, q)."""
    return to_outputs(V, n_outputs, fit_intercept).sum(axis=1).T
