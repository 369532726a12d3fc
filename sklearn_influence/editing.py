"""One edit of the rows of a fitted objective: its new minimum, and a certificate for it."""

import time
from dataclasses import dataclass

import numpy as np

from . import certificates, newton
from .effects import smallest_norm
from .newton import SAME, Nearby
from .privacy import gauge_free
from .solvers import ConjugateGradient
from .solvers.choice import cost_in_passes
from .solvers.steps import is_penalised

# A factor made this near, in logs of the curvature, is good for a certificate.
_CLOSE = 0.25


class Edit:
    """What an edit does to the rows in the model.

    Attributes
    ----------
    leaving : ndarray of int
        Positions, before the edit, of the rows that leave or become others.
    seen : str
        How to call the rows that whatever is not refitted still depends on.
    """

    verb = seen = None

    def apply(self, objective):
        """The objective of the edited rows, at the parameters it has."""
        raise NotImplementedError

    def origin(self, n_rows):
        """For each of the edited rows its position before, -1 for those that are new or others: (n,)."""
        raise NotImplementedError

    def entering(self, n_rows):
        """Positions, among the edited rows, of those that are new or others."""
        return np.flatnonzero(self.origin(n_rows) < 0)

    def numbers(self, sample_indices, n_fit):
        """Row numbers of the edited rows."""
        return sample_indices

    def weights(self, sample_weight):
        """The user's weights of the edited rows."""
        return sample_weight


@dataclass(frozen=True, eq=False)
class Removal(Edit):
    """Rows that leave; none where a model is only published."""

    leaving: np.ndarray

    verb = "unlearn"

    @property
    def seen(self):
        return "the removed rows" if len(self.leaving) else "any rows removed earlier"

    @property
    def counts(self):
        return dict(n_removed=len(self.leaving))

    def apply(self, objective):
        kept = np.ones(objective.n_rows, dtype=bool)
        kept[self.leaving] = False
        return objective.take(kept)

    def origin(self, n_rows):
        return np.delete(np.arange(n_rows), self.leaving)

    def numbers(self, sample_indices, n_fit):
        return np.delete(sample_indices, self.leaving)

    def weights(self, sample_weight):
        return np.delete(sample_weight, self.leaving)


@dataclass(frozen=True, eq=False)
class Correction(Edit):
    """Rows that become others in their places: features (k, d) as the final step takes them and targets, or None."""

    leaving: np.ndarray
    X: object = None
    y: np.ndarray | None = None

    verb, seen = "update", "the rows before their correction"

    @property
    def counts(self):
        return dict(n_updated=len(self.leaving))

    def apply(self, objective):
        return objective.replace(self.leaving, self.X, self.y)

    def origin(self, n_rows):
        origin = np.arange(n_rows)
        origin[self.leaving] = -1
        return origin


@dataclass(frozen=True, eq=False)
class Addition(Edit):
    """Rows more, behind the others: features (k, d) as the final step takes them, targets and the user's weights."""

    X: object
    y: np.ndarray
    sample_weight: np.ndarray

    verb, seen, leaving = "extend", "the rows before this addition", np.zeros(0, dtype=np.intp)

    @property
    def counts(self):
        return dict(n_added=len(self.y))

    def apply(self, objective):
        return objective.append(self.X, self.y, self.sample_weight)

    def origin(self, n_rows):
        return np.append(np.arange(n_rows), np.full(len(self.y), -1))

    def numbers(self, sample_indices, n_fit):
        return np.append(sample_indices, n_fit + np.arange(len(self.y)))

    def weights(self, sample_weight):
        return np.append(sample_weight, self.sample_weight)


class Written:
    """Objectives at the parameters that an estimator's attributes can hold: what is certified."""

    def __init__(self, family, final):
        self.family, self.final = family, final
        self._last = None, None  # an objective and its parameters, which may take passes over the rows

    def params(self, objective):
        """The parameters (n_params,) after the rounding of the attributes' dtype."""
        known, params = self._last
        return params if known is objective else self._rounded(objective.to_params(objective.params))

    def _rounded(self, params):
        return self.family.as_written(self.final, params)

    def __call__(self, objective):
        """The objective there, and how far the rounding went in directions that are not among its unknowns."""
        held = objective.to_params(objective.params)
        params = self._rounded(held)
        if np.array_equal(params, held):  # nothing rounded, and nothing to be turned back into unknowns
            self._last = objective, params
            return objective, 0.0
        unknowns = objective.from_params(params)
        lost = float(np.linalg.norm(params - objective.to_params(unknowns)))
        return objective.with_(params=unknowns), lost


def edited_minimum(edited, edit, before=None, *, tol, max_iter, as_written, solver, within=np.inf):
    """Minimise an objective of edited rows, and certify the result.

    Parameters
    ----------
    edited : Objective
        Of the edited rows, at the parameters to start from.
    edit : Removal, Correction or Addition
    before : tuple of (Objective, callable), optional
        The objective before the edit at the same parameters, and its factored curvature, undamped, where there is one.
    tol : float
        On the Newton decrement, relative to the way gone in the norm of the curvature.
    max_iter : int
        Newton steps at most.
    as_written : callable
        ``as_written(objective)``: the objective at parameters that the estimator can hold, and what that leaves out.
    solver : solver
        The exact one that the options mean.
    within : float, optional
        Where the certificate's bound is above, further steps are taken.

    Returns
    -------
    objective : Objective
        At its minimum.
    factor : callable or None
        Its factored curvature, where the way there has left one, and one that nothing of the rows before is in.
    certificate : Bunch

    Notes
    -----
    The cached factor less the rows that leave, plus those that come, is the curvature at the old parameters, for |rows|
    p**2 + p**3 / 3 operations; steps with it are one pass over the rows each. Where p**3 / 3 is more than they are, the
    cached factor preconditions conjugate gradients; where more rows change than stay, or nothing has been factored,
    the edited rows are minimised over as a refit would.
    """
    started = time.perf_counter()
    nearby = None if before is None else _nearby(*before, edited, edit)
    if nearby is None:
        edited, info = newton.minimise_anew(edited, solver=solver, tol=tol, max_iter=max_iter)
    else:
        own_solver = nearby.factor.solver
        edited, info = newton.minimise(edited, solver=own_solver, nearby=nearby, tol=tol, max_iter=max_iter)
    edited, _ = smallest_norm(edited, info.nearby.factor)
    edited, last, certificate = _certified(edited, info, tol, max_iter, as_written, solver, within)
    certificate.update(dict.fromkeys(("n_removed", "n_updated", "n_added"), 0), **edit.counts)
    certificate.update(n_retained=edited.n_rows, seconds=time.perf_counter() - started)
    # A factor by way of the one before is about a mean that rows which have left are part of.
    keep = last is not nearby and not last.factor.iterative and last.ratio(edited) <= SAME
    return edited, last.factor if keep else None, certificate


def _nearby(objective, factor, edited, edit):
    """A factor of the edited rows' curvature at the parameters before, by way of the one before; None where a new one
    costs no more."""
    if edited.primal() is not edited:  # the unknowns are coordinates of other rows
        return None
    entering, curvature = edit.entering(objective.n_rows), edited.curvature()
    if factor.iterative:
        return Nearby(factor.solver.factor(curvature, preconditioner=factor), edited.outputs())
    share = (len(edit.leaving) + len(entering)) / edited.n_rows
    costly = cost_in_passes(edited, share=min(share, 1.0)) > newton.MANY_PASSES
    if costly and is_penalised(curvature) and not factor.nullity:
        return Nearby(ConjugateGradient().factor(curvature, preconditioner=factor), edited.outputs())
    if share >= 1.0:
        return None
    downdated = factor.downdated(edit.leaving, curvature, entering)
    return None if downdated is None else Nearby(downdated, edited.outputs(), _weights_moved(objective, edited, edit))


def _weights_moved(objective, edited, edit):
    """How far, in logs, balanced class weights have moved the weights of the rows that are what they were."""
    if not objective.weighting.balanced:
        return 0.0
    before = np.delete(objective.sample_weight, edit.leaving)
    after = np.delete(edited.sample_weight, edit.entering(objective.n_rows))
    weigh = (before > 0) & (after > 0)
    return float(np.abs(np.log(after[weigh] / before[weigh])).max(initial=0.0))


def _certified(edited, info, tol, max_iter, as_written, solver, within):
    """A minimised objective as the estimator can hold it, the factor nearest to it, and the certificate for it."""
    found, (edited, lost) = edited, as_written(edited)
    converged, n_iter, nearby = info.converged, info.n_iter, info.nearby
    ratio, rounding = nearby.ratio(edited), info.rounding if edited is found else None
    # A squared loss is certified by its own step, which has to be that of its own curvature.
    close = SAME if edited.loss.quadratic else _CLOSE
    bound = None if ratio > close else certificates.distance_bound(edited, nearby.factor, ratio, rounding)
    if bound is None or (not bound.valid and ratio > SAME):
        nearby = _here(edited, solver, nearby.factor)
        bound = certificates.distance_bound(edited, nearby.factor)
    while not (bound.valid and bound.param_bound + lost <= within) and n_iter < max_iter:
        moved, step = newton.minimise(edited, solver=solver, nearby=nearby, tol=tol, max_iter=1)
        moved, moved_lost = as_written(moved)
        n_iter += step.n_iter
        next_nearby = _here(moved, solver, nearby.factor)
        certificate = certificates.distance_bound(moved, next_nearby.factor)
        there = certificate.valid and certificate.param_bound + moved_lost <= within
        better = there or certificate.valid > bound.valid
        if not (better or certificate.newton_decrement < 0.5 * bound.newton_decrement):
            break
        edited, nearby, bound, lost = moved, next_nearby, certificate, moved_lost
    solved = bound.pop("solved")
    bound.update(param_bound=bound.param_bound + lost, converged=bool(converged and solved), n_iter=n_iter)
    return edited, nearby, bound


def perturbed_minimum(objective, perturbation, represent, as_written, solver):
    """An objective with a perturbation's noise in it, at its minimum as the estimator can hold it; ``represent`` gives
    it the unknowns that it is minimised in.

    Raises
    ------
    ValueError
        Where that has no minimum, or Newton's method does not find it.
    """
    # What no output sees of the parameters says how they were found, and would stay in them for ever.
    start = objective.with_(params=gauge_free(objective, objective.params))
    found, info = newton.minimise_anew(represent(perturbation.perturb(start)), solver=solver, max_iter=100)
    if not info.converged:
        raise ValueError(
            f"The objective with noise in it was not minimised in {info.n_iter} Newton steps: its sigma of "
            f"{perturbation.sigma:g} is large beside the rows' own gradients. Choose a smaller sigma, or more penalty."
        )
    return as_written(found.primal())[0]


def _here(objective, solver, last):
    """The factor of the curvature at an objective's own parameters."""
    return Nearby(solver.factor(objective.curvature(), preconditioner=last), objective.outputs())
