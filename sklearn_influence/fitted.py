"""What is kept of a fit: the objective, its optimum and factored curvature, and how copies and pickles share them."""

import threading
import warnings
from dataclasses import dataclass, replace
from functools import wraps

import numpy as np
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from . import newton
from ._backend import check_device, check_memory
from ._validation import (
    METHODS,
    REPRESENTATIONS,
    as_numbers,
    check_choice,
    check_count,
    check_flag,
    check_indices,
    check_n_jobs,
)
from .effects import row_effects, row_scale, smallest_norm
from .solvers import Auto, ConjugateGradient, cost_in_passes, get_solver, listening, merge, needs_parameters, newton_step

_REFINE_TOL = 1e-10
_REFINE_STEPS = 100
# A factor that costs more passes over the rows than this is not made at every step of the refinement.
_REFINE_PASSES = 60
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
        self._cache = {}
        self._lock = threading.RLock()

    @classmethod
    def after_edit(cls, family, objective, factor, params, *, settled):
        """What an edit leaves: the objective at its new optimum, in any representation, and its factored curvature.

        ``params`` are what the estimator holds. ``settled`` says whether the edit converged; otherwise influences warn
        as those of an unrefined model do.
        """
        primal = objective.primal()
        representation = "primal" if primal is objective else "dual"
        new = cls(family, primal if primal is objective else primal.with_(params=params))
        new.edited, new.settled = True, settled
        new._cache[("start", representation)] = objective
        for refine in (True, False):
            new._cache[("optimum", refine, representation)] = (objective, factor)
        return new

    def __getstate__(self):
        return {name: getattr(self, name) for name in ("family", "objective", "frozen", "edited", "settled")}

    def __setstate__(self, state):
        self.__dict__.update(state, _cache={}, _lock=threading.RLock())

    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))
        new.__setstate__(self.__getstate__())
        with self._lock:
            new._cache = dict(self._cache)
        return new

    def _once(self, key, make):
        with self._lock:
            if key not in self._cache:
                self._cache[key] = make()
            return self._cache[key]

    def resolved(self, options, method):
        """The options with the representation, "primal" or "dual", and the solver that they mean here."""
        chosen = self.family.choose(self.objective, options.representation)
        of_parameters = needs_parameters(options.solver)
        if chosen == "dual" and of_parameters:
            if options.representation == "dual":
                raise ValueError(
                    f"solver={options.solver!r} and representation='dual' do not go together: {of_parameters}, and "
                    "the dual has no parameters. Use representation='primal'."
                )
            chosen = "primal"
        solver = options.solver
        if isinstance(solver, Auto):
            solver, _ = solver.choose(self.objective, method, chosen)
        return replace(options, representation=chosen, solver=solver)

    def exact_solver(self, options):
        """The solver of the true curvature, undamped, that goes with resolved options."""
        if options.solver.exact:
            return replace(options.solver, damping=0.0)
        return Auto().choose(self.objective, "newton", options.representation)[0]

    def start(self, representation):
        """The objective at the estimator's own parameters, in the unknowns that influences are computed in."""
        return self._once(("start", representation), lambda: self.family.represent(self.objective, representation))

    def optimum(self, options):
        """The objective that influences are taken at, and its true factored curvature or None."""
        key = ("optimum", options.refine, options.representation)
        return self._once(key, lambda: self._find_optimum(options))

    def _find_optimum(self, options):
        with listening():  # steps on the way to the optimum are no part of a result
            return self._look_for_optimum(options)

    def _look_for_optimum(self, options):
        objective = self.start(options.representation)
        if self.edited:
            return objective, None
        if not options.refine:
            rounding = max(_OFF_SPAN, 100 * np.finfo(self.objective.design.X.dtype).eps)
            if objective.outside > rounding * np.linalg.norm(self.objective.params):
                raise ValueError(
                    "The dual representation cannot hold these coefficients: they have a part outside the span of the "
                    "rows, so they are no minimum on these rows. Use refine=True or representation='primal'."
                )
            return objective, None
        objective, info = self._refined(objective, self.exact_solver(options))
        if not info.converged:
            warnings.warn(
                f"Refining the fitted parameters did not converge in {info.n_iter} Newton steps (decrement "
                f"{info.decrement:.2g}). The model may have no finite optimum, as an unpenalised logistic regression "
                "on separable classes; add a penalty.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return smallest_norm(objective, info.factor)

    @staticmethod
    def _refined(objective, solver):
        """The objective at its minimum, and how the minimisation went."""
        rows = np.flatnonzero(objective.sample_weight > 0)
        sample = rows[np.unique(np.linspace(0, len(rows) - 1, 256).astype(int))]
        limits = dict(
            scale=lambda current, factor: row_scale(current, factor, sample), tol=_REFINE_TOL, max_iter=_REFINE_STEPS
        )
        penalised = bool((objective.penalty[:, : objective.design.n_features] > 0).all())
        if not objective.loss.quadratic and penalised and cost_in_passes(objective) > _REFINE_PASSES:
            # A few solves in all: less than the first of several factors would cost.
            iterative = solver if isinstance(solver, ConjugateGradient) else ConjugateGradient()
            refined, info = newton.minimise(objective, solver=iterative, **limits)
            if info.converged or iterative is solver:
                return refined, info
        return newton.minimise(objective, solver=solver, **limits)

    def true_factor(self, options):
        """The optimum's curvature, as the exact solver of the options factors it."""
        objective, factor = self.optimum(options)
        solver = self.exact_solver(options)
        if factor is not None and factor.solver == solver:
            return factor
        key = ("true factor", options.refine, options.representation, solver)
        return self._once(key, lambda: solver.factor(objective.curvature()))

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
            self._warn_off_minimum(_stationarity(objective, self.true_factor(options)).relative)
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
        return self._once(("effects", options, method), lambda: row_effects(objective, factor, rows, method))

    def stationarity(self, options):
        """How far the estimator's own parameters are from a minimum."""
        key = ("stationarity", options.representation, self.exact_solver(options))
        return self._once(key, lambda: self._find_stationarity(replace(options, refine=False)))

    def _find_stationarity(self, options):
        objective = self.start(options.representation)
        with listening():
            if objective.outside:
                return _stationarity(objective, self.exact_solver(options).factor(objective.curvature()))
            # Without refining the "optimum" is the estimator's own parameters, and their factor is shared.
            return _stationarity(objective, self.true_factor(options))


def _stationarity(objective, factor):
    gradient = objective.gradient()
    _, decrement = newton_step(factor, gradient)
    scale = row_scale(objective, factor)
    if objective.outside:  # there the penalty is all there is, and its gradient points back
        strength = float(objective.strength.max())
        gradient = np.append(gradient, strength * objective.outside)
        decrement = float(np.hypot(decrement, np.sqrt(strength) * objective.outside))
    if decrement <= newton.rounding_decrement(objective, factor):
        relative = 0.0  # a minimum, as far as rounding lets anyone tell
    else:
        relative = decrement / scale if scale > 0 else np.inf
    return Bunch(gradient_norm=float(np.linalg.norm(gradient)), newton_decrement=decrement, relative=float(relative))


def tells(method):
    """A public method after which ``solve_info_`` speaks of the solves it made, and which warns of a poor one."""

    @wraps(method)
    def told(self, *args, **kwargs):
        with listening() as infos:
            result = method(self, *args, **kwargs)
        if infos:
            self._tell(merge(infos))
        return result

    return told


class FittedMixin:
    """Fitted attributes and the curvature, for an estimator that calls ``_remember`` when it is fitted."""

    def _remember(self, family, objective, *, frozen=False):
        """Take up a new fit: the objective at the estimator's parameters, nothing factored yet."""
        self._fitted = FittedModel(family, objective, frozen=frozen)
        self._certificate = self._solve_info = None
        self.n_samples_fit_ = objective.n_rows
        self.sample_indices_ = np.arange(objective.n_rows)

    def _options(self):
        """The parameters that results depend on, checked, and with the representation that they mean here."""
        return self._fitted.resolved(self._check_options(), self.method)

    def _check_options(self):
        """The parameters that results depend on; ValueError or TypeError for those that cannot be used."""
        check_choice("method", self.method, METHODS)
        check_choice("representation", self.representation, REPRESENTATIONS)
        check_flag("refine", self.refine)
        check_n_jobs(self.n_jobs)
        if not isinstance(self.verbose, (bool, np.bool_)):
            check_count("verbose", self.verbose, smallest=0)
        check_device(self.device)
        solver = get_solver(self.solver)
        if self.method == "newton" and not solver.exact:
            raise ValueError(
                f"method='newton' and solver={self.solver!r} do not go together: newton needs the true curvature, of "
                "which that solver has an approximation. Use method='first_order', or solver='direct' or 'cg'."
            )
        return Options(solver, bool(self.refine), self.representation, self.device)

    @property
    def _objective(self):
        return self._fitted.objective

    @property
    def params_(self):
        """Parameters (n_params,): ``coef_.ravel()``, then ``intercept_.ravel()``; of the refined optimum, of the fitted
        estimator itself with ``refine=False``, and what ``estimator_`` holds after an edit."""
        check_is_fitted(self)
        options = self._options()
        if self._fitted.edited or not options.refine:
            return self._objective.params.copy()
        optimum, _ = self._fitted.optimum(options)
        return optimum.to_params(optimum.params).copy()

    @property
    def param_names_(self):
        """Names of ``params_``: the columns', "intercept", with ``[class]`` or ``[target]`` where there are several."""
        check_is_fitted(self)
        columns = self._feature_names()
        q, intercept = self._objective.n_outputs, self._objective.fit_intercept
        if q == 1:
            names = [*columns, *["intercept"] * intercept]
        else:
            labels = getattr(self, "classes_", range(q))
            names = [f"{column}[{label}]" for label in labels for column in columns]
            names += [f"intercept[{label}]" for label in labels] if intercept else []
        return np.array(names, dtype=object)

    @property
    def stationarity_(self):
        """How far the estimator's own parameters are from a minimum: Bunch(gradient_norm, newton_decrement, relative).

        ``relative`` is the Newton decrement over the median of ``s_i sqrt(g_i' H^-1 g_i)``, a typical row's influence.
        """
        check_is_fitted(self)
        return self._fitted.stationarity(self._options())

    @property
    def solve_info_(self):
        """How the solves of the last question went: a :class:`~sklearn_influence.solvers.SolveInfo`, with the solver
        that ``"auto"`` took, iterations, and the relative residual of every column that was solved for."""
        check_is_fitted(self)
        if getattr(self, "_solve_info", None) is None:
            raise AttributeError(
                f"{type(self).__name__} has no solve_info_ yet: ask for an influence, leverages or curvature_solve."
            )
        return self._solve_info

    def _tell(self, info):
        """Keep what the solves of a question say, and warn once where they did not converge."""
        if isinstance(get_solver(self.solver), Auto):
            representation = self._options().representation
            _, why = Auto().choose(self._objective, self.method, representation)
            info = replace(info, reason=f"auto took {type(info.solver).__name__}, since {why}: {info.reason}")
        self._solve_info = info
        if info.converged:
            return
        poor = int((info.residual > 10 * getattr(info.solver, "tol", 0.0)).sum())
        warnings.warn(
            f"The solve did not converge for {poor} of {len(info.residual)} right-hand sides: the worst, column "
            f"{info.worst}, is left with a relative residual of {info.residual[info.worst]:.2g} after "
            f"{info.iterations} iterations. {info.reason}.",
            ConvergenceWarning,
            stacklevel=3,
        )

    @property
    def certificate_(self):
        """What the last :meth:`unlearn` guarantees; see there."""
        if getattr(self, "_certificate", None) is None:
            raise AttributeError(
                f"{type(self).__name__} has no certificate_ yet: it is made when unlearn takes rows out."
            )
        return self._certificate

    @tells
    def leverages(self, indices=None):
        """How strongly each row's own weight holds its own output: ``s_i W_i A_i`` with ``A_i = J_i H^-1 J_i'``.

        Parameters
        ----------
        indices
            As in :meth:`influence_on_params`.

        Returns
        -------
        ndarray of shape (k,), or (k, q, q) for q outputs
            Between 0 and 1 (eigenvalues, for q outputs): the hat matrix's diagonal of least squares, and its weighted
            counterpart of logistic models. At 1 the row alone holds a direction of the model.

        Notes
        -----
        Source: Hoaglin and Welsch (1978); Pregibon (1981) for logistic models. Cost: one triangular product of the
        rows.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.linear_model import LinearRegression
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InfluenceEstimator(LinearRegression()).fit(X, y)
        >>> float(round(model.leverages().sum(), 6))  # the number of parameters
        11.0
        """
        check_is_fitted(self)
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        options = self._options()
        if not options.solver.exact:
            raise ValueError(
                f"leverages need the true curvature, of which solver={self.solver!r} has an approximation; use "
                "solver='direct' or 'cg'."
            )
        objective, factor = self._fitted.solved(options)
        k, q = len(positions), self._objective.n_outputs
        if q > 1:
            check_memory(8 * k * q * q, f"Leverages of {k:,} rows with {q} outputs", "Ask for fewer indices.")
        A = objective.leverage(factor, positions)
        W = objective.output_curvatures(positions)
        s = objective.sample_weight[positions]
        if A.ndim == 3:
            return s[:, None, None] * (W @ A)
        h = s[:, None] * W * A
        return h[:, 0] if h.shape[1] == 1 else h[:, :, None] * np.eye(h.shape[1])

    @tells
    def curvature_solve(self, B):
        """``H^-1 B`` with the curvature of the objective at ``params_``.

        Parameters
        ----------
        B : array-like of shape (n_params,) or (n_params, k)

        Returns
        -------
        ndarray of the shape of B
            The solution of smallest norm where the curvature is singular.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InfluenceEstimator(Ridge(alpha=0.1)).fit(X, y)
        >>> model.curvature_solve(np.ones(11)).shape
        (11,)
        """
        check_is_fitted(self)
        n_params = self._objective.n_params
        B = as_numbers(B, "B")
        if B.ndim not in (1, 2) or B.shape[0] != n_params:
            raise ValueError(f"B must have shape ({n_params},) or ({n_params}, k), got {B.shape}.")
        if not np.isfinite(B).all():
            raise ValueError("B must not hold NaN or infinity.")
        objective, factor = self._fitted.solved(self._options())
        if B.size == 0:
            return B.copy()
        return objective.solve_params(factor, B.reshape(n_params, -1)).reshape(B.shape)
