r"""What replacing rows does to the parameters, after minus before: other features, another target, or both.

A replacement takes the row out and puts another one in. With ``J`` the Jacobians of both, one below the other, ``c``
the pulls ``[s_i u_i, -s' u']`` and ``D`` the block-diagonal change of curvature by output, ``(-s_i W_i, s' W')``, the
step is ``H^-1 J' c`` (first order) or ``(H + J' D J)^-1 J' c = H^-1 J' (I + D A)^-1 c`` with ``A = J H^-1 J'``
(newton), all at the old parameters. Where only targets change the two Jacobians are one.

Source: "Influence functions and Hessian estimation", section 4 (first order: moving the row's mass onto the new one, of
any distance), after Koh and Liang (2017), section 2.2; Woodbury's identity.
"""

from dataclasses import dataclass

import numpy as np

from ._parallel import block_size, blocks
from .effects import LARGE_CLASS, ClasswiseEffects, RowEffects, apply, common_outputs, largest_leverage
from .objective import class_numbers
from .retained import SINGULAR
from .solvers.info import listening
from .solvers.steps import is_penalised, newton_step

# A new row has a part in a flat direction where this share of it is out of the curvature's reach.
_OUT_OF_REACH = 1e-8
# A new row's own loss is solved for to this share of its pull, in this many steps and halvings at most.
_OWN_TOL = 1e-13
_OWN_STEPS = 60


@dataclass(frozen=True)
class Replacements:
    """Rows that are each replaced on their own.

    Attributes
    ----------
    rows : ndarray of shape (k,)
        Positions of the training rows.
    X : ndarray or sparse matrix of shape (k, d), or None
        New features, as the final step takes them; None: the rows keep theirs.
    y : ndarray of k targets, or None
        New targets, as the loss takes them; None: the rows keep theirs.
    leverage : ndarray of shape (k, q) or (k, q, q), or None
        A_i of the rows by the objective's own factor, where the features stay and it is known.
    """

    rows: np.ndarray
    X: object = None
    y: np.ndarray | None = None
    leverage: np.ndarray | None = None

    def __len__(self):
        return len(self.rows)

    def take(self, part):
        given = (None if one is None else one[part] for one in (self.X, self.y, self.leverage))
        return Replacements(self.rows[part], *given)


@dataclass
class ReplacementEffects(RowEffects):
    """Parameter changes of replacing the features of rows one at a time, in factored form.

    Attributes
    ----------
    arrivals : Design
        The k new rows, in the objective's unknowns.
    arriving : ndarray of shape (k, q)
        Their pulls, beside ``pull``, those of the rows that leave.
    """

    arrivals: object = None
    arriving: np.ndarray | None = None

    own_outputs = None  # a replacement has two rows of its own

    def _arms(self, part):
        return [*super()._arms(part), (self.arriving[part], self.arrivals.take(part))]


def replacement_effects(objective, factor, change, method):
    """Effects of replacing each of some rows on its own.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    factor : callable
        Its factored curvature.
    change : Replacements
    method : {"newton", "first_order"}
        "newton": one Newton step with the new row in place, exact for squared loss; "first_order": one with the
        curvature of the old rows.

    Returns
    -------
    RowEffects or ClasswiseEffects
        Of an objective over the same training rows, with more unknowns where new features leave the span that the
        given one's unknowns hold; rows of weight 0 may stand behind them.

    Notes
    -----
    Balanced class weights are recomputed as for removals: exactly in the gradient, and in the curvature by one more
    factorisation for each pair of classes, at the class's mean weight. Cost of "newton": the leverages of both rows and
    between them, three products of the size of a row's solve.
    """
    weighting, n = objective.weighting, objective.n_rows
    targets = objective.y[change.rows] if change.y is None else change.y
    objective, factor, arrivals = _with_room(objective, factor, change, targets)
    make = _Builder(objective, factor, weighting, change, targets, arrivals, method, n)
    moves = make.to is not None and weighting.balanced and (make.to != weighting.codes[change.rows]).any()
    if not moves:
        return make.effects(factor, np.arange(len(change)), objective.sample_weight, balanced=False)
    large = np.bincount(weighting.codes).min() > LARGE_CLASS and not objective.loss.quadratic
    if method == "first_order" or large:
        return make.effects(factor, np.arange(len(change)), objective.sample_weight, balanced=True)
    parts, own = [], weighting.codes[change.rows]
    for a, b in np.unique(np.stack([own, make.to], axis=1), axis=0):
        columns = np.flatnonzero((own == a) & (make.to == b))
        weights = make.padded(weighting.without_typical(a, b))
        own_factor = factor
        if a != b:
            curvature = objective.with_(sample_weight=weights).curvature()
            own_factor = factor.solver.factor(curvature, preconditioner=factor)
        parts.append((columns, make.effects(own_factor, columns, weights, balanced=a != b)))
    return ClasswiseEffects(objective, change.rows, parts)


def _with_room(objective, factor, change, targets):
    """An objective in whose unknowns the new features have a place, its factor, and the new rows; None without any.

    In the span of the training rows they have none. There the new rows stand behind the others, with weight 0; or,
    where that is no fewer unknowns, the estimator's own parameters are taken.
    """
    if change.X is None:
        return objective, factor, None
    primal, k = objective.primal(), len(change)
    if k and objective.representation == "kernel":
        return objective.with_room(factor, change.rows, change.X, targets)
    if primal is objective or k == 0:
        return objective, factor, objective.read_rows(change.X)
    together = 1 if objective.outputs_apart else objective.n_outputs
    if (objective.n_rows + k) * together < primal.design.width - primal.fit_intercept:
        roomy = objective.append(change.X, targets, np.zeros(k))
        roomy = roomy.with_(sample_weight=np.append(objective.sample_weight, np.zeros(k)))
    else:
        roomy = primal
    return roomy, factor.solver.factor(roomy.curvature()), roomy.read_rows(change.X)


class _Builder:
    """What the effects of some replacements share, whatever the factor of their class."""

    def __init__(self, objective, factor, weighting, change, targets, arrivals, method, n):
        self.objective, self.factor = objective, factor
        self.weighting, self.change, self.targets = weighting, change, targets
        self.arrivals, self.method, self.n = arrivals, method, n
        self.to = None if weighting.codes is None else class_numbers(targets)
        self.weight = (
            objective.sample_weight[change.rows] if self.to is None else weighting.effective_as(change.rows, self.to)
        )
        f = objective.outputs()[change.rows] if arrivals is None else objective.outputs(arrivals)
        self.outputs, self.gradients = f, objective.loss.gradient(targets, f)

    def padded(self, weights):
        """Weights (n,) of the training rows as those of the objective, whose other rows have none."""
        return np.append(weights, np.zeros(self.objective.n_rows - self.n))

    def effects(self, factor, columns, weights, *, balanced):
        """Effects of some columns by one factor, which is of the objective at the ``weights``."""
        objective, rows = self.objective, self.change.rows[columns]
        leaving = objective.sample_weight[rows][:, None] * objective.output_gradients(rows)
        arriving = -self.weight[columns][:, None] * self.gradients[columns]
        common, mix = np.zeros((objective.n_params, 0)), np.zeros((len(rows), 0))
        if balanced:
            ratios = self.weighting.class_ratios(rows, self.to[columns])
            leaving *= ratios[np.arange(len(rows)), self.weighting.codes[rows]][:, None]
            common, mix = factor(objective.class_gradients())[0], 1.0 - ratios
        if objective.representation == "kernel":
            moved = objective.moved_by_replacing(factor, rows, self.targets[columns], self.weight[columns])
            common, mix = np.hstack([common, moved[0]]), np.hstack([mix, moved[1]])
        shared = (objective, factor, rows)
        if self.arrivals is None:
            effects = RowEffects(*shared, leaving + arriving, common, mix, largest=np.zeros(len(rows)))
        else:
            effects = ReplacementEffects(
                *shared,
                leaving,
                common,
                mix,
                largest=np.zeros(len(rows)),
                arrivals=self.arrivals.take(columns),
                arriving=arriving,
            )
        if self.method == "newton" and len(rows):
            self._new_curvature(effects, columns, weights[rows])
        return effects

    def _new_curvature(self, effects, columns, w):
        """Turn pulls by the factored curvature, in which the old rows weigh w (k,), into those with the new rows."""
        objective, rows, factor = self.objective, effects.rows, effects.factor
        new, quadratic = self.weight[columns], objective.loss.quadratic
        arms = 1 if self.arrivals is None else 2
        if arms == 1 and quadratic and (new == w).all():
            return  # another target at the same weight leaves the curvature as it is
        known = self.change.leverage is not None and factor is self.factor
        A = self.change.leverage[columns] if known else objective.leverage(factor, rows)
        W = objective.output_curvatures(rows)
        wW = w.reshape(-1, *[1] * (W.ndim - 1)) * W
        effects.largest = largest_leverage(wW * A if A.ndim == 2 else wW @ A)
        pulls, spreads, A = [effects.pull], [common_outputs(effects)], [[A]]
        if arms == 2:
            arrivals = effects.arrivals
            between = objective.leverage_between(factor, objective.design.take(rows), arrivals)
            back = between if between.ndim == 2 else between.transpose(0, 2, 1)
            A = [[A[0][0], between], [back, objective.leverage_between(factor, arrivals, arrivals)]]
            pulls.append(effects.arriving)
            spreads.append(common_outputs(effects, arrivals))
        if quadratic:
            added = new.reshape(-1, *[1] * (W.ndim - 1)) * W
            singular = _solve([-wW, added] if arms == 2 else [added - wW], A, pulls, spreads)
        else:
            singular = 1.0 - effects.largest < SINGULAR
            self._own_losses(effects, columns, wW, A, spreads, singular)
        if arms == 2:
            singular |= _out_of_reach(objective, factor, effects.arrivals)
        for column in np.flatnonzero(singular):
            for array in (*pulls, effects.mix):
                array[column : column + 1] = 0.0
            effects.direct[int(column)] = self._direct(factor, int(columns[column]))

    def _own_losses(self, effects, columns, wW, A, spreads, singular):
        """The pulls under a log loss: one Newton step of the other rows, and the new row with its own loss in full.

        A label that the model would never believe has next to no curvature where the model is now, so that its own step
        would overshoot without bound. Without the old row the new one's outputs are ``f + a + S c`` under its pull c,
        and ``c = -s' u'(f + a + S c)`` has one solution, to which Newton's method goes down.
        """
        arms, leaving = len(A), effects.pull
        if arms == 1:
            leaving = leaving + self.weight[columns][:, None] * self.gradients[columns]
        for part in blocks(len(effects), block_size(80 * effects.pull.shape[1] ** 2)):
            one, s = columns[part], self.weight[columns[part]]
            to_old, own = (_as_matrices(M[part]) for M in (A[0][-1], A[-1][-1]))
            V = _as_matrices(wW[part])
            G = np.eye(V.shape[1]) - V @ _as_matrices(A[0][0][part])
            G[singular[part]] = np.eye(V.shape[1])
            bend = np.linalg.solve(G, V)
            pull = np.linalg.solve(G, leaving[part, :, None] + V @ spreads[0][part, :, None])[:, :, 0]
            back = to_old.transpose(0, 2, 1)
            a = apply(back, pull) + spreads[-1][part]
            S = own + back @ bend @ to_old
            arriving, h = _own_pull(self.objective.loss, self.targets[one], self.outputs[one] + a, S, s)
            pull += apply(bend, apply(to_old, arriving))
            effects.largest[part] = np.maximum(effects.largest[part], h / (1.0 + h))
            if arms == 1:
                effects.pull[part] = pull + arriving
            else:
                effects.pull[part], effects.arriving[part] = pull, arriving

    def _direct(self, factor, j):
        """The step (p,) of replacement j from the rows as they are after it, with a factor of their own."""
        objective, one = self.objective, self.change.take([j])
        behind = objective.n_rows > self.n
        if behind:  # the new row stands behind the others
            weighting, row = self.weighting, one.rows[0]
            weights = (weighting if self.to is None else weighting.replace(one.rows, self.to[[j]])).effective().copy()
            new, weights[row] = weights[row], 0.0
            weights = self.padded(weights)
            weights[self.n + j] = new
            after = objective.with_(sample_weight=weights)
        else:
            after = objective.replace(one.rows, one.X, one.y)
        refactored = factor.solver.factor(after.curvature())
        step, _ = newton_step(refactored, after.gradient())
        moved = after.params + step
        if objective.loss.quadratic:
            moved = refactored.minimum_norm(moved)
        if behind or objective.representation == "kernel":  # the unknowns are what they were
            return moved - objective.params
        # A span of other rows may have coordinates of its own.
        return objective.from_params(after.to_params(moved) - objective.to_params(objective.params))


def _solve(D, A, pulls, spreads):
    """Turn pulls c into ``c - (I + D A)^-1 D (A c + spread)``, in place, but for singular systems; say which (k,).

    All are lists over the old and the new row, or of the one arm of both, A one of lists; of (k, q), since the outputs
    of a squared loss do not mix, or D and A of (k, q, q) where they do in the parameters.
    """
    if D[0].ndim == 3:
        return _solve_mixed(D, A, pulls, spreads)
    D, c, e = (np.stack(arrays, axis=2) for arrays in (D, pulls, spreads))
    A = np.stack([np.stack(row, axis=2) for row in A], axis=2)  # (k, q, arms, arms)
    shift = D * (np.einsum("kqab,kqb->kqa", A, c) + e)
    system = np.eye(A.shape[3]) + D[..., None] * A
    singular = (np.linalg.eigvals(system).real < SINGULAR).any(axis=(1, 2))
    system[singular] = np.eye(A.shape[3])
    extra = np.linalg.solve(system, shift[..., None])[..., 0]
    for i, pull in enumerate(pulls):
        pull -= extra[:, :, i]
    return singular


def _solve_mixed(D, A, pulls, spreads):
    """As :func:`_solve`, with all outputs of both rows in one system."""
    q, A = D[0].shape[1], np.block(A)
    system, shift = np.zeros(A.shape), np.matmul(A, np.concatenate(pulls, axis=1)[:, :, None])
    shift += np.concatenate(spreads, axis=1)[:, :, None]
    for arm, block in enumerate(D):
        own = slice(arm * q, (arm + 1) * q)
        system[:, own], shift[:, own] = block @ A[:, own], block @ shift[:, own]
    system += np.eye(A.shape[1])
    singular = (np.linalg.eigvals(system).real < SINGULAR).any(axis=1)
    system[singular] = np.eye(A.shape[1])
    extra = np.linalg.solve(system, shift)[:, :, 0]
    for arm, pull in enumerate(pulls):
        pull -= extra[:, arm * q : (arm + 1) * q]
    return singular


def _own_pull(loss, y, f, S, s):
    """Pulls c (k, q) of rows that are put in with their losses in full, ``c = -s u(f + S c)``, and their leverages.

    The leverages (k,) are those before the rows are there, by their curvature on the way that their outputs go.
    """
    c, identity = np.zeros(f.shape), np.eye(f.shape[1])
    left = s[:, None] * loss.gradient(y, f)
    size, going = np.linalg.norm(left, axis=1), np.ones(len(f), dtype=bool)
    for _ in range(_OWN_STEPS):
        going &= size > _OWN_TOL * np.linalg.norm(c, axis=1)
        if not going.any():
            break
        W = _as_matrices(loss.curvature(y, f + apply(S, c)))
        step = np.linalg.solve(identity + s[:, None, None] * (W @ S), left[:, :, None])[:, :, 0]
        length = going.astype(float)
        for _ in range(_OWN_STEPS):
            trial = c - length[:, None] * step
            new_left = trial + s[:, None] * loss.gradient(y, f + apply(S, trial))
            new_size = np.linalg.norm(new_left, axis=1)
            far = going & ~(new_size < (1.0 - 0.1 * length) * size)
            if not far.any():
                break
            length[far] *= 0.5
        going &= ~far  # what cannot get nearer is rounding
        c[going], left[going], size[going] = trial[going], new_left[going], new_size[going]
    df = apply(S, c)
    du = loss.gradient(y, f + df) - loss.gradient(y, f)
    bent, along = (du * apply(S, du)).sum(axis=1), (du * df).sum(axis=1)
    return c, s * np.divide(bent, along, out=np.zeros_like(bent), where=along > 0)


def _as_matrices(M):
    """(k, q, q) as it is, the (k, 1) of a single output as (k, 1, 1)."""
    return M if M.ndim == 3 else M[:, :, None] * np.eye(M.shape[1])


def _out_of_reach(objective, factor, rows):
    """Which new rows (k,) have a part in a direction in which the curvature is flat, so that it cannot be inverted."""
    out = np.zeros(rows.n_rows, dtype=bool)
    taken_out = np.any(getattr(factor.curvature, "unmoved", False))  # flat directions that count in no nullity
    if not factor.nullity and not taken_out and not (factor.iterative and not is_penalised(objective)):
        return out
    U = np.ones((1, objective.n_outputs))
    if objective.loss.shift_invariant:  # its own flat direction, a common shift, is in no row's pull
        U[0, -1] = -1.0
    curvature = factor.curvature
    diagonal = curvature.diagonal()[:, None]
    scale = np.sqrt(np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0))
    for part in blocks(rows.n_rows, block_size(40 * objective.n_params)):
        some = rows.take(part)
        J = objective.pullback(np.repeat(U, some.n_rows, axis=0), some)
        with listening():  # that such a solve does not converge is what is asked
            left = J - curvature.matmat(factor(J)[0])
        size = np.linalg.norm(scale * J, axis=0)
        out[part] = np.linalg.norm(scale * left, axis=0) > _OUT_OF_REACH * size
        out[part] |= ((J != 0) & (diagonal == 0)).any(axis=0)
    return out
