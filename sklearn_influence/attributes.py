"""Fitted attributes and the curvature of an estimator that has been fitted, and what its solves say."""

import warnings
from dataclasses import replace
from functools import wraps

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

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
from .fitted import FittedModel, Options
from .solvers import Auto, get_solver
from .solvers.choice import called
from .solvers.info import listening, merge


def tells(method):
    """A public method after which ``solve_info_`` speaks of the solves it made, and which warns of a poor one."""

    @wraps(method)
    def told(self, *args, **kwargs):
        with listening() as infos:
            result = method(self, *args, **kwargs)
        self._tell(infos)
        return result

    return told


class FittedMixin:
    """Fitted attributes and the curvature, for an estimator that calls ``_remember`` when it is fitted."""

    def __dir__(self):
        # scikit-learn's own reads every attribute, at each tab of a shell; these would be computed.
        lazy = {"params_", "stationarity_"} if hasattr(self, "_fitted") else set()
        return [name for name in object.__dir__(self) if name in lazy or hasattr(self, name)]

    def _remember(self, family, objective, *, frozen=False, budget=None):
        """Take up a new fit: the objective at the estimator's parameters, nothing factored yet; and the budget of
        removals that its noise hides."""
        self._budget = budget
        self._fitted = FittedModel(family, objective, frozen=frozen)
        self._certificate = None
        self.edits_ = ()
        self.n_samples_fit_ = objective.n_rows
        self.sample_indices_ = np.arange(objective.n_rows)

    def _hold(self, estimator):
        """Take up an edited estimator."""
        self.estimator_ = estimator

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
        if self.method != "first_order" and not solver.exact:
            raise ValueError(
                f"method={self.method!r} and solver={called(solver)} do not go together: {self.method} needs the "
                "inverse of the true curvature itself, of which that solver has an estimate. Use method='first_order', "
                "or solver='direct' or 'cg'."
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
            return self._objective.to_params(self._objective.params).copy()
        optimum, _ = self._fitted.optimum(options)
        return optimum.to_params(optimum.params).copy()

    @property
    def param_names_(self):
        """Names of ``params_``: the columns', "intercept", with ``[class]`` or ``[target]`` where there are several."""
        check_is_fitted(self)
        names = self._fitted.family.param_names(
            self._final_step, self._objective, self._feature_names(), self.sample_indices_
        )
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
        info = self._fitted.solve_infos.get((self._options(), self.method))
        if info is None:
            raise AttributeError(
                f"{type(self).__name__} has no solve_info_ yet: ask for an influence, leverages or curvature_solve."
            )
        return info

    def _tell(self, infos):
        """Keep what the solves of a question say, and warn once where they did not converge."""
        if not infos:  # all that was asked for is known already, and so is how it was solved
            return
        info, options = merge(infos), self._options()
        if info.repeats is not None and options.representation == "dual":
            start = self._fitted.start("dual", options.device)
            repeats = np.stack([start.to_params(one) for one in info.repeats])
            error = repeats.std(axis=0, ddof=1) / np.sqrt(len(repeats))
            info = replace(info, repeats=repeats, standard_error=error)
        if isinstance(get_solver(self.solver), Auto):
            _, why = Auto().choose(self._objective, self.method, options.representation, options.device)
            info = replace(info, reason=f"auto took {type(info.solver).__name__}, since {why}: {info.reason}")
        self._fitted.solve_infos[options, self.method] = info
        if info.converged:
            return
        warnings.warn(
            f"The solve did not converge. {info.reason[0].upper()}{info.reason[1:]}. The worst of "
            f"{len(info.residual)} right-hand sides, column {info.worst}, is left with a relative residual of "
            f"{info.residual[info.worst]:.2g} after {info.iterations} iterations.",
            ConvergenceWarning,
            stacklevel=3,
        )

    @property
    def certificate_(self):
        """What the last edit guarantees; see :meth:`unlearn`."""
        if getattr(self, "_certificate", None) is None:
            raise AttributeError(f"{type(self).__name__} has no certificate_ yet: unlearn, update and extend make one.")
        return self._certificate

    @property
    def budget_remaining_(self):
        """By how much the gradient on the model's rows may still grow under the claim of the ``perturbation`` given to
        ``fit``; see :class:`sklearn_influence.privacy.RemovalBudget`."""
        check_is_fitted(self)
        if self._budget is None:
            raise AttributeError(
                f"{type(self).__name__} has no budget_remaining_: fit it with perturbation="
                "privacy.ObjectivePerturbation(...) for one."
            )
        return self._budget.remaining

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
            counterpart of logistic models. At 1 the row alone holds a direction of the model. With the exact
            curvature of a network they may lie outside.

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
                f"leverages, and so audit, need the inverse of the true curvature itself, of which "
                f"solver={called(options.solver)} has an estimate; use solver='direct' or 'cg'."
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
        n_params = self._fitted.family.n_params(self._objective)
        B = as_numbers(B, "B")
        if B.ndim not in (1, 2) or B.shape[0] != n_params:
            raise ValueError(f"B must have shape ({n_params},) or ({n_params}, k), got {B.shape}.")
        if not np.isfinite(B).all():
            raise ValueError("B must not hold NaN or infinity.")
        objective, factor = self._fitted.solved(self._options())
        if B.size == 0:
            return B.copy()
        return objective.solve_params(factor, B.reshape(n_params, -1)).reshape(B.shape)
