"""What is kept of a fit: the objective, its optimum and factored curvature, and how copies and pickles share them."""

import threading
import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning

from ._backend import check_device
from ._device_design import check_dense
from .effects import row_scale, smallest_norm, spread
from .solvers import Auto
from .solvers.choice import called, needs_parameters
from .solvers.info import listening

_REFINE_TOL = 1e-10
_REFINE_STEPS = 100
# Relative size of a part of the coefficients outside the rows' span that is more than rounding.
_OFF_SPAN = 1e-8


@dataclass(frozen=True)
class Options:
    """The parameters that computed results depend on; equal options share them."""

    solver: object
    refine: bool
    representation: str
    device: str


class FittedModel:
    """The objective of a fitted estimator, and everything computed from it, each once.

    Objectives and factors are never changed in place: a copy shares them, an edit makes a new FittedModel, and a pickle
    holds the training rows but nothing computed.

    Parameters
    ----------
    family : Family
    objective : Objective
        At the estimator's own parameters, which are its unknowns.
    frozen : bool
        The estimator was fitted elsewhere: influences warn where these rows do not explain its parameters.
    """

    def __init__(self, family, objective, *, frozen=False):
        self.family = family
        self.objective = objective
        self.frozen = frozen
        self.edited, self.settled = False, True
        self.solve_infos = {}
        self._cache = {}
        self._lock = threading.RLock()

    @classmethod
    def after_edit(cls, family, objective, factor, params, *, settled):
        """What an edit leaves: the objective at its new optimum, in any representation, and its factored curvature or
        None.

        ``params`` are what the estimator holds. ``settled`` says whether the edit converged; otherwise influences warn
        as those of an unrefined model do.
        """
        primal = objective.primal()
        representation = "dual" if objective.representation == "kernel" else objective.representation
        new = cls(family, primal if primal is objective else primal.with_(params=params))
        new.edited, new.settled = True, settled
        device = objective.design.device
        new._cache[("start", representation, device)] = objective
        for refine in (True, False) if factor is not None else ():
            new._cache[("optimum", refine, representation, device, factor.solver)] = (objective, factor)
        return new

    def with_rows(self, options, apply):
        """The objective of edited rows at the optimum before; and the one there, with its factor if that is known."""
        if self.family.engine.from_anywhere and self._optimum_key(options) not in self._cache:
            return apply(
                self.start(options.representation, options.device)
            ), None  # no optimum is needed that is not there
        objective, factor = self._known(options)
        return apply(objective), None if factor is None else (objective, factor)

    def __getstate__(self):
        return {name: getattr(self, name) for name in ("family", "objective", "frozen", "edited", "settled")}

    def __setstate__(self, state):
        self.__dict__.update(state, solve_infos={}, _cache={}, _lock=threading.RLock())

    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))
        new.__setstate__(self.__getstate__())
        with self._lock:
            new._cache, new.solve_infos = dict(self._cache), dict(self.solve_infos)
        return new

    def _once(self, key, make):
        with self._lock:
            if key not in self._cache:
                self._cache[key] = make()
            return self._cache[key]

    def resolved(self, options, method):
        """The options with the representation, "primal" or "dual", the solver and the device that they mean here."""
        self.family.check_solver(options.solver)
        self.family.check_method(method)
        chosen = self.family.choose(self.objective, options.representation)
        of_parameters = needs_parameters(options.solver)
        if chosen == "dual" and of_parameters:
            if options.representation == "dual":
                raise ValueError(
                    f"solver={called(options.solver)} and representation='dual' do not go together: {of_parameters}, "
                    "and the dual has no parameters. Use representation='primal'."
                )
            chosen = self.family.choose(self.objective, "primal")
        solver = options.solver
        device = self._device(options.device, solver)
        if isinstance(solver, Auto):
            solver = self.family.cheapest(solver.choose(self.objective, method, chosen, device)[0])
        return replace(options, representation=chosen, solver=solver, device=device)

    def _device(self, device, solver):
        """The device, "cpu" or "cuda", on which a solver can be asked about these rows."""
        design = self.objective.design
        if not solver.exact and device == "cuda":
            raise ValueError(
                f"device='cuda' and solver={called(solver)} do not go together: estimates of the inverse curvature are "
                "made on the CPU. Use solver='direct' or 'cg', or device='cpu'."
            )
        stays = design.is_sparse or not getattr(design, "movable", True)
        if device == "auto" and (stays or not solver.exact):
            return "cpu"
        if device == "cuda":
            check_dense(design)
        return check_device(device, design.n_entries)

    def exact_solver(self, options):
        """The solver of the true curvature, undamped, that goes with resolved options."""
        if options.solver.exact:
            return replace(options.solver, damping=0.0)
        return Auto().choose(self.objective, "newton", options.representation, options.device)[0]

    def start(self, representation, device="cpu"):
        """The objective at the estimator's own parameters, in the unknowns and where influences are computed."""
        key = ("start", representation, device)
        return self._once(key, lambda: self.family.represent(self.objective.on(device), representation))

    def optimum(self, options):
        """The objective that influences are taken at, and its true factored curvature or None."""
        return self._once(self._optimum_key(options), lambda: self._find_optimum(options))

    def _optimum_key(self, options):
        return ("optimum", options.refine, options.representation, options.device, self.exact_solver(options))

    def _find_optimum(self, options):
        with listening():  # steps on the way to the optimum are no part of a result
            return self._look_for_optimum(options)

    def _look_for_optimum(self, options):
        objective = self.start(options.representation, options.device)
        if self.edited:
            return objective, None
        if not options.refine:
            rounding = max(_OFF_SPAN, 100 * np.finfo(self.objective.design.dtype).eps)
            if objective.outside > rounding * np.linalg.norm(self.objective.params):
                raise ValueError(
                    "The dual representation cannot hold these coefficients: they have a part outside the span of the "
                    "rows, so they are no minimum on these rows. Use refine=True or representation='primal'."
                )
            return objective, None
        sample = spread(np.flatnonzero(objective.sample_weight > 0), 64)
        objective, info = self.family.engine.minimise_anew(
            objective,
            solver=self.exact_solver(options),
            scale=lambda current, factor: row_scale(current, factor, sample),
            tol=_REFINE_TOL,
            max_iter=_REFINE_STEPS,
        )
        if not info.converged:
            warnings.warn(
                f"Refining the fitted parameters did not converge in {info.n_iter} Newton steps (decrement "
                f"{info.decrement:.2g}). The model may have no finite optimum, as an unpenalised logistic regression "
                "on separable classes; add a penalty.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return smallest_norm(objective, info.factor)

    def true_factor(self, options):
        """The optimum's curvature, as the exact solver of the options factors it."""
        objective, factor = self._known(options)
        if factor is not None:
            return factor
        return self._once(self._factor_key(options), lambda: self.exact_solver(options).factor(objective.curvature()))

    def _known(self, options):
        """The optimum, and its curvature as the exact solver of the options factors it, where that has been done."""
        objective, factor = self.optimum(options)
        if factor is None or factor.solver != self.exact_solver(options):
            factor = self._cache.get(self._factor_key(options))
        return objective, factor

    def _factor_key(self, options):
        return ("true factor", options.refine, options.representation, options.device, self.exact_solver(options))

    def solved(self, options):
        """``(objective, factor)``: the optimum, and its curvature as the solver of the options factors it."""
        return self._once(("solved", options), lambda: self._solve(options))

    def _solve(self, options):
        objective, _ = self.optimum(options)
        if options.solver == self.exact_solver(options):
            factor = self.true_factor(options)
        else:
            factor = options.solver.factor(objective.curvature(options.solver.curvature_kind))
        if factor.nullity:
            warnings.warn(
                f"The curvature is singular: {factor.nullity} of {objective.n_params} directions are flat, as with "
                "collinear columns or more columns than rows. Solutions of smallest norm are used; outputs and losses "
                "do not depend on that choice, coefficients do.",
                LinAlgWarning,
                stacklevel=2,
            )
        if self.frozen and not self.edited:
            self._warn_off_minimum(self.stationarity(options).relative)
        elif not self.settled or not (options.refine or self.edited):
            stationarity = self.family.engine.stationarity(objective, self.true_factor(options))
            self._warn_off_minimum(stationarity.relative)
        return objective, factor

    @staticmethod
    def _warn_off_minimum(relative):
        if relative > 1:
            warnings.warn(
                "The model is not at a minimum of its objective on these rows: the Newton decrement is "
                f"{relative:.3g} times a typical row's influence (threshold 1). Fit with a smaller tol, set "
                "refine=True, or check that these are the rows it was fitted on.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def all_effects(self, options, method):
        """Effects of removing each row on its own, kept: they hold the leverages."""
        objective, factor = self.solved(options)
        rows = np.arange(objective.n_rows)
        return self._once(
            ("effects", options, method), lambda: self.family.engine.row_effects(objective, factor, rows, method)
        )

    def stationarity(self, options):
        """How far the estimator's own parameters are from a minimum."""
        key = ("stationarity", options.representation, options.device, self.exact_solver(options))
        return self._once(key, lambda: self._find_stationarity(replace(options, refine=False)))

    def _find_stationarity(self, options):
        objective = self.start(options.representation, options.device)
        with listening():
            if objective.outside:
                factor = self.exact_solver(options).factor(objective.curvature())
                return self.family.engine.stationarity(objective, factor)
            # Without refining the "optimum" is the estimator's own parameters, and their factor is shared.
            return self.family.engine.stationarity(objective, self.true_factor(options))
