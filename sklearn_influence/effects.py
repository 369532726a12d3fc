r"""What removing rows does to the parameters, after minus before.

All row effects have one form, ``delta_i = H^-1 J_i' pull_i + common mix_i``: each row pulls along its own Jacobian, and
where class weights are recomputed all rows move along a few common directions. So effects on any linear functional of
the parameters are one product, ``(H^-1 G)' J_i' pull_i``, whose small side is solved for and whose large side is only
read.

Formulas: Koh and Liang (2017), Eq. 1 (first order), and Pregibon (1981) (the one-step leave-one-out estimate, which
divides by 1 - leverage).
"""

from dataclasses import dataclass, field

import numpy as np

from ._parallel import block_size, blocks
from .leave_one_out import stepped_effects
from .retained import SINGULAR, retained_step
from .second_order import second_order_rows

# What 1 - leverage is, in rounding, for a row that alone holds a direction.
_ALONE = 1e-12
# One Newton step is a poor retrain for a row that carries this share of its own fit.
HIGH_LEVERAGE = 0.5
# Rows that the scale of a typical one is estimated from, at most.
_SCALE_ROWS = 256
# "balanced" weights change the curvature by a share of 1 / class size: not followed where no class is smaller.
LARGE_CLASS = 10_000


@dataclass
class RowEffects:
    """Parameter changes of removing rows one at a time, in factored form.

    Attributes
    ----------
    rows : ndarray of shape (k,)
        Positions of the training rows.
    pull : ndarray of shape (k, q)
    common : ndarray of shape (p, r)
    mix : ndarray of shape (k, r)
    direct : dict of int to ndarray of shape (p,)
        Columns solved for on their own: ``pull`` and ``mix`` are 0 there.
    leverage : ndarray of shape (k, q) or (k, q, q), optional
        A_i of the rows, where it was needed.
    largest : ndarray of shape (k,)
        Largest eigenvalue of each ``s_i W_i A_i``; 0 where no leverage was needed, or where outputs mix and all are
        below 0.5.
    """

    objective: object
    factor: object
    rows: np.ndarray
    pull: np.ndarray
    common: np.ndarray
    mix: np.ndarray
    direct: dict = field(default_factory=dict)
    leverage: np.ndarray | None = None
    largest: np.ndarray | None = None

    def __len__(self):
        return len(self.rows)

    def params(self, part):
        """(p, k) parameter changes of some columns, a slice or positions."""
        pulled = sum(self.objective.pullback(U, rows) for U, rows in self._arms(part))
        delta = self.factor(pulled)[0]
        delta += self.common @ self.mix[part].T
        for column, change in self._direct_in(part):
            delta[:, column] = change
        return delta

    def onto(self, G):
        """``effects(part, out=None) = G' delta`` (c, k), for derivatives G (p, c) of outputs: c solves, then one
        product a block."""
        solved = self.objective.solve_outputs(self.factor, G)
        along = G.T @ self.common

        def effects(part, out=None):
            (U, rows), *others = self._arms(part)
            out = self.objective.pullback(U, rows, onto=solved, out=out)
            for U, rows in others:
                out += self.objective.pullback(U, rows, onto=solved)
            if self.mix.size:
                out += along @ self.mix[part].T
            for column, change in self._direct_in(part):
                out[:, column] = G.T @ change
            return out

        return effects

    def own_outputs(self):
        """Change of each row's own outputs under its own removal, (k, q)."""
        objective, rows = self.objective, self.rows
        if self.leverage is None:
            self.leverage = objective.leverage(self.factor, rows)
        own = apply(self.leverage, self.pull) + common_outputs(self)
        for column, change in self.direct.items():
            row = objective.design.take(rows[column : column + 1])
            own[column] = objective.outputs_change(change[:, None], row)[0, :, 0]
        return own

    @property
    def operations(self):
        """Floating-point operations of a solve for one column."""
        return self.factor.operations

    def _arms(self, part):
        """What pulls in some columns: pairs of pulls (k, q) and the rows that they pull along."""
        return [(self.pull[part], self.objective.design.take(self.rows[part]))]

    def _direct_in(self, part):
        if not self.direct:
            return []
        columns = np.arange(len(self))[part]
        return [(i, self.direct[column]) for i, column in enumerate(columns.tolist()) if column in self.direct]


@dataclass
class ClasswiseEffects:
    """Effects of rows whose removals change the curvature in one way for each class.

    Attributes
    ----------
    parts : list of (ndarray of int, RowEffects)
        The columns of each class, and their effects.
    """

    objective: object
    rows: np.ndarray
    parts: list

    def __len__(self):
        return len(self.rows)

    @property
    def largest(self):
        largest = np.zeros(len(self))
        for columns, effects in self.parts:
            largest[columns] = effects.largest
        return largest

    @property
    def operations(self):
        return max((effects.operations for _, effects in self.parts), default=0)

    def params(self, part):
        delta = np.empty((self.objective.n_params, len(self.rows[part])))
        for inside, effects, chosen in self._split(part):
            delta[:, inside] = effects.params(chosen)
        return delta

    def onto(self, G):
        projections = [effects.onto(G) for _, effects in self.parts]

        def effects(part, out=None):
            out = np.empty((G.shape[1], len(self.rows[part]))) if out is None else out
            for (inside, _, chosen), project in zip(self._split(part), projections, strict=True):
                out[:, inside] = project(chosen)
            return out

        return effects

    def own_outputs(self):
        own = np.empty((len(self), self.objective.n_outputs))
        for columns, effects in self.parts:
            own[columns] = effects.own_outputs()
        return own

    def _split(self, part):
        """For each class: places in the block, its effects, and which of its columns they are."""
        wanted = np.arange(len(self))[part]
        for columns, effects in self.parts:
            inside = np.flatnonzero(np.isin(wanted, columns))
            yield inside, effects, np.searchsorted(columns, wanted[inside])


def row_effects(objective, factor, rows, method):
    """Effects of removing each of the rows on its own.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    factor : callable
        Its factored curvature.
    rows : ndarray of shape (k,)
    method : {"newton", "second_order", "first_order"}
        "newton": one Newton step with the curvature of the retained rows, exact for squared loss; "first_order": one
        with the curvature of all rows; "second_order": the next term of the expansion in the row's weight.

    Returns
    -------
    RowEffects, ClasswiseEffects or SteppedEffects

    Notes
    -----
    Balanced class weights change with every removal, and with them all rows' weights. Their change is in the step's
    gradient exactly, and in its curvature by one more factorisation a class, taken at the class's mean sample weight
    (exact for equal ones); where every class has over 10,000 rows the curvature of a log loss keeps the old weights.
    Cost of "newton": the leverages, one triangular product of the rows.
    """
    if method == "second_order":
        return second_order_rows(objective, factor, rows)
    weighting = objective.weighting
    classes = objective.class_gradients() if weighting.balanced else np.zeros((objective.n_params, 0))
    large = weighting.balanced and np.bincount(weighting.codes).min() > LARGE_CLASS and not objective.loss.quadratic
    mixing = not objective.loss.separable and not weighting.balanced
    if method == "newton" and factor.iterative and mixing and len(rows) <= objective.n_params:
        return stepped_effects(objective, factor, rows)
    if not weighting.balanced or method == "first_order" or large:
        return _row_effects(objective, factor, rows, method, classes, objective)
    parts = []
    for c in np.unique(weighting.codes[rows]):
        columns = np.flatnonzero(weighting.codes[rows] == c)
        retained = objective.with_(sample_weight=weighting.without_typical(c))
        own_factor = factor.solver.factor(retained.curvature(), preconditioner=factor)
        parts.append((columns, _row_effects(objective, own_factor, rows[columns], method, classes, retained)))
    return ClasswiseEffects(objective, rows, parts)


def _row_effects(objective, factor, rows, method, classes, weighted):
    """Effects by one factor, which is of the objective ``weighted``; ``classes`` (p, K) holds the class gradients."""
    pull = objective.sample_weight[rows][:, None] * objective.output_gradients(rows)
    mix = np.zeros((len(rows), 0))
    if objective.weighting.balanced:
        ratios = objective.weighting.class_ratios(rows)
        pull = ratios[np.arange(len(rows)), objective.weighting.codes[rows]][:, None] * pull
        mix = 1.0 - ratios
    common = factor(classes)[0] if classes.shape[1] else classes
    return pulled_effects(objective, factor, rows, method, common, mix, pull, weighted.sample_weight[rows])


def pulled_effects(objective, factor, rows, method, common, mix, pull=None, weight=None):
    """Effects of rows from their pulls (k, q) by the factored curvature, in which they weigh ``weight`` (k,), and from
    common directions (p, r) along which each moves all by ``mix`` (k, r); by default each row's own pull and weight."""
    weight = objective.sample_weight[rows] if weight is None else weight
    pull = objective.sample_weight[rows][:, None] * objective.output_gradients(rows) if pull is None else pull
    effects = RowEffects(objective, factor, rows, pull, common, mix, largest=np.zeros(len(rows)))
    if method == "newton":
        effects.leverage = objective.leverage(factor, rows)
        _retained_curvature(effects, weight)
    return effects


def common_outputs(effects, X=None):
    """Change of each row's own outputs, or of one row of X for each, along the common directions, (k, q)."""
    objective = effects.objective
    if not effects.mix.shape[1]:
        return np.zeros(effects.pull.shape)
    reach = objective.outputs_change(effects.common, objective.design.take(effects.rows) if X is None else X)
    return np.einsum("kqr,kr->kq", reach, effects.mix)


def _retained_curvature(effects, s):
    """Turn the pulls of the factored curvature into those without each row, whose weight in it is s (k,).

    ``(H - s J'WJ)^-1 e = H^-1 e + H^-1 J' (I - s W A)^-1 s W J H^-1 e`` with ``e = J' pull`` + the common part.
    """
    objective, rows, A = effects.objective, effects.rows, effects.leverage
    spread = common_outputs(effects)
    W = objective.output_curvatures(rows)
    sW = s.reshape(-1, *[1] * (W.ndim - 1)) * W
    shift = apply(sW, apply(A, effects.pull) + spread)
    h = sW * A if A.ndim == 2 else sW @ A
    effects.largest = largest_leverage(h)
    singular = 1.0 - effects.largest < SINGULAR
    if A.ndim == 2:
        left = 1.0 - h
        extra = shift / np.where(left < SINGULAR, 1.0, left)
    else:
        system = np.eye(A.shape[1]) - h
        system[singular] = np.eye(A.shape[1])
        extra = np.linalg.solve(system, shift[:, :, None])[:, :, 0]
        if objective.loss.shift_invariant:  # W sees no common shift, and A's can be so large that W A rounds to one
            extra -= extra.mean(axis=1, keepdims=True)
    effects.pull = effects.pull + extra
    for column in np.flatnonzero(_left_to_refits(effects, singular)):
        effects.pull[column] = 0.0
        effects.mix[column : column + 1] = 0.0
        effects.direct[int(column)] = retained_step(objective, effects.factor, rows[column : column + 1], direct=True)


def _left_to_refits(effects, singular):
    """Which of the singular rows must be stepped on directly, once those that least squares fits alone have their pull.

    At a leverage of 1 the row alone holds a direction, ``v = H^-1 J'``, which moves no other row's output. Without it
    that direction is flat, and the solution of smallest norm is ``w - v (v'w) / (v'v)``, v and w off the intercept.
    """
    objective, factor = effects.objective, effects.factor
    exact = objective.loss.quadratic and not objective.penalty.any() and not factor.solver.damping
    exact = exact and getattr(objective, "outputs_apart", True)  # kernels have no parameters to look at
    alone = singular & (np.abs(1.0 - effects.largest) < _ALONE) if exact else np.zeros_like(singular)
    off = objective.params - factor.minimum_norm(objective.params) if alone.any() else 0.0
    if not alone.any() or np.linalg.norm(off) > 1e-9 * np.linalg.norm(objective.params):
        return singular
    q, d, columns = objective.n_outputs, objective.design.n_features, np.flatnonzero(alone)
    coef = objective.params[: q * d].reshape(q, d)
    for part in blocks(len(columns), block_size(24 * objective.n_params)):
        rows = objective.design.take(effects.rows[columns[part]])
        V = factor(objective.pullback(np.ones((rows.n_rows, q)), rows))[0][: q * d].reshape(q, d, -1)
        along, size = np.einsum("qdk,qd->qk", V, coef), np.einsum("qdk,qdk->qk", V, V)
        held = (size > 0).all(axis=0)  # a row that holds the intercept alone leaves no model without it
        alone[columns[part]] = held
        effects.pull[columns[part][held]] = -(along[:, held] / size[:, held]).T
    return singular & ~alone


def smallest_norm(objective, factor):
    """A minimum of least squares at the solution of smallest norm, where there are several; and its factor."""
    if objective.loss.quadratic and factor is not None and factor.nullity:
        objective = objective.with_(params=factor.minimum_norm(objective.params))
    return objective, factor


def largest_leverage(h):
    """Largest eigenvalue (k,) of leverages (k, q) or (k, q, q); of the latter 0 where all are below 0.5."""
    if h.ndim == 2:
        return h.max(axis=1)
    largest = np.zeros(len(h))
    high = np.einsum("kqq->k", h) > 0.5  # eigenvalues are non-negative: the largest is above .5 only where their sum is
    largest[high] = np.linalg.eigvals(h[high]).real.max(axis=1, initial=0.0)
    return largest


def apply(M, v):
    """M_i v_i for vectors (k, q) and matrices (k, q, q), or their diagonals (k, q)."""
    return M * v if M.ndim == 2 else np.einsum("kab,kb->ka", M, v)


def spread(rows, n):
    """At most n of some rows, evenly spread over them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, n).astype(int))] if len(rows) > n else rows


def row_scale(objective, factor, rows=None):
    """Median over rows of ``s_i sqrt(g_i' H^-1 g_i)``: the H-norm of what a typical row does to the parameters."""
    rows = np.flatnonzero(objective.sample_weight > 0) if rows is None else rows
    if not len(rows):
        return 0.0
    rows = spread(rows, _SCALE_ROWS)
    # A solve each is less than the leverages of several outputs, and a scale needs no more than a preconditioner.
    if factor.iterative or len(rows) <= objective.n_params:
        G = objective.sample_gradients(rows)
        squares = np.einsum("pi,pi->i", G, factor.rough(G))
    else:
        u = objective.output_gradients(rows)
        squares = (u * apply(objective.leverage(factor, rows), u)).sum(axis=1)
    return float(np.median(objective.sample_weight[rows] * np.sqrt(np.maximum(squares, 0.0))))


def row_blocks(effects, n_columns=0):
    """Slices of the effects whose temporaries, with ``n_columns`` results each, fit the working memory."""
    own = 24 * effects.objective.n_params
    # A copy of many rows at a time makes no product faster, and may be as large as all that a model needs.
    return blocks(len(effects), min(block_size(own + 8 * n_columns), block_size(own, share=1 / 16)))
