"""Edits that last: taking rows out of a fitted model for good."""

import copy
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from . import certificates, newton
from ._validation import check_count, check_flag, check_indices, check_leaves_a_model, check_tolerance
from .attributes import FittedMixin
from .effects import smallest_norm
from .fitted import FittedModel
from .retained import retained_step
from .solvers.steps import newton_step


class UnlearningMixin(FittedMixin):
    """Edits of a fitted estimator that last.

    An estimator says what stands around its final step: ``_final_step``, ``_with_final(final)``,
    ``_source_without(kept)``, ``_check_transformers()``, ``_transform_again(source, kept)`` and
    ``_transformers_remember(source, refitted)``.
    """

    def unlearn(self, indices, *, refit_transformers=False, tol=1e-10, max_iter=50):
        """Take rows out of the model for good: it becomes the one that a refit without them gives.

        Parameters
        ----------
        indices : array-like of int, or bool mask of shape (n_samples_fit,)
            Rows of the data given to ``fit``, removed together.
        refit_transformers : bool, default=False
            Also refit every transformer of the pipeline on the raw rows that stay, then the model: the result is the
            whole pipeline's refit. Otherwise the transformers stay as they are, and ``certificate_.remembers`` names
            those that saw the rows.
        tol : float, default=1e-10
            Converged when the Newton decrement is at most ``tol`` times the way gone, both in the norm of the
            curvature; the last step is then still taken.
        max_iter : int, default=50
            Newton steps at most. Out of steps the last iterate is kept, with a warning and ``converged=False``.

        Returns
        -------
        self
            ``estimator_`` holds the new parameters, and the object no copy of the rows: neither the data, nor anything
            computed per row. ``certificate_`` is a Bunch of

            * param_bound: a bound on the Euclidean distance of ``params_`` from the retrained optimum (gauge-free for
              softmax), infinite when not valid;
            * gradient_norm, newton_decrement at the new parameters; r_nu, below 1 where the self-concordant bound
              holds;
            * valid, converged, n_iter, n_removed, n_retained, seconds;
            * remembers: what still depends on the rows, in sentences: transformers, a search's choices, a pipeline's
              cache. The certificate is about the final model only, and no claim about privacy.

        Raises
        ------
        ValueError
            For indices that cannot be used, for removing every row or every row of a class; for
            ``refit_transformers=True`` where there are none. The model is then unchanged.

        Notes
        -----
        Newton's method with backtracking on the retained rows, always with the true curvature, whatever ``method``
        and ``solver``. Squared loss needs one step. Cost: an update of the factor and about as many curvatures as a
        logistic model needs steps, 3 to 6.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> X = StandardScaler().fit_transform(X)
        >>> model = InfluenceEstimator(LogisticRegression()).fit(X, y).unlearn([3, 14, 15])
        >>> bool(model.certificate_.valid and model.certificate_.param_bound < 1e-8)
        True
        """
        check_is_fitted(self)
        if indices is None:
            raise ValueError("unlearn needs the rows to remove; indices=None would mean all of them.")
        check_flag("refit_transformers", refit_transformers)
        tol = check_tolerance("tol", tol)
        max_iter = check_count("max_iter", max_iter)
        options = self._options()
        if refit_transformers:
            self._check_transformers()
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        if len(positions) == 0:
            return self
        classes = getattr(self, "classes_", None)
        check_leaves_a_model(self._objective.weighting, positions, classes, "unlearn")
        kept = np.ones(len(self.sample_indices_), dtype=bool)
        kept[positions] = False
        # All that can fail comes first, on copies: a failed edit changes nothing, and copies keep their own.
        family, source = self._fitted.family, self._source_without(kept)
        limits = dict(tol=tol, max_iter=max_iter)
        if refit_transformers:
            estimator, final, start = self._transform_again(source, kept)
            written = _Written(family, final)
            start = family.represent(start, family.choose(start, self.representation))
            limits["solver"] = self._fitted.exact_solver(options)
            objective, factor, certificate = refit(start, len(positions), as_written=written, **limits)
        else:
            final = copy.copy(self._final_step)
            estimator, written = self._with_final(final), _Written(family, final)
            optimum, _ = self._fitted.optimum(options)
            known = self._fitted.true_factor(options)
            objective, factor, certificate = remove(optimum, known, positions, as_written=written, **limits)
        params = written.params(objective)
        family.write(final, params, kept)
        certificate.remembers = [*self._transformers_remember(source, refit_transformers), *family.remembers(final)]
        edited = FittedModel.after_edit(family, objective, factor, params, settled=certificate.converged)
        if not certificate.converged:
            warnings.warn(
                f"unlearn did not converge in {certificate.n_iter} Newton steps: the decrement is "
                f"{certificate.newton_decrement:.2g}. {_advice(certificate)}",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.estimator_, self._fitted, self._certificate, self._source = estimator, edited, certificate, source
        self.sample_indices_ = self.sample_indices_[kept]
        return self


def _advice(certificate):
    if certificate.valid:
        return "certificate_.param_bound says how far the model can be from a refit; raise max_iter for a closer one."
    return "No bound on its distance from a refit holds; raise max_iter, or add a penalty where no optimum is finite."


class _Written:
    """Objectives at the parameters that an estimator's attributes can hold: what is certified."""

    def __init__(self, family, final):
        self.family, self.final = family, final

    def params(self, objective):
        """The parameters (n_params,) after the rounding of the attributes' dtype."""
        return self.family.as_written(self.final, objective.to_params(objective.params))

    def __call__(self, objective):
        """The objective there, and how far the rounding went in directions that are not among its unknowns."""
        params = self.params(objective)
        unknowns = objective.from_params(params)
        lost = float(np.linalg.norm(params - objective.to_params(unknowns)))
        return objective.with_(params=unknowns), lost


def remove(objective, factor, positions, *, tol, max_iter, as_written):
    """Minimise an objective without some of its rows, and certify the result.

    Parameters
    ----------
    objective : Objective
        At the optimum with all rows.
    factor : callable
        Its factored curvature, undamped.
    positions : ndarray
        Rows to remove.
    tol : float
        On the Newton decrement, relative to the way gone in the norm of the curvature.
    max_iter : int
        Newton steps at most.
    as_written : callable
        ``as_written(objective)``: the objective at parameters that the estimator can hold, and what that leaves out.

    Returns
    -------
    objective : Objective
        Holds the retained rows only.
    factor : callable
        Its factored curvature.
    certificate : Bunch
    """
    started = time.perf_counter()
    kept = np.ones(objective.n_rows, dtype=bool)
    kept[positions] = False
    reduced = objective.take(kept)
    ahead = objective.params + retained_step(objective, factor, positions)
    # The retained rows may have unknowns of their own.
    ahead, start = (reduced.from_params(objective.to_params(params)) for params in (ahead, objective.params))
    reduced, stepped = reduced.with_(params=start), reduced.with_(params=ahead)
    # A step that far overshoots would leave Newton where a saturated loss has no curvature to come back by.
    taken = reduced.loss.quadratic or stepped.value() <= reduced.value()
    solver = factor.solver
    result = _finish(stepped if taken else reduced, start, int(taken), tol, max_iter, solver)
    return _certified(*result, started, len(positions), tol, max_iter, as_written, solver)


def refit(objective, n_removed, *, tol, max_iter, as_written, solver):
    """Minimise an objective that holds the retained rows already, and certify the result; as :func:`remove`."""
    started = time.perf_counter()
    objective, factor, *done = _finish(objective, objective.params, 0, tol, max_iter, solver)
    objective, factor = smallest_norm(objective, factor)
    return _certified(objective, factor, *done, started, n_removed, tol, max_iter, as_written, solver)


def _certified(reduced, factor, converged, n_iter, started, n_removed, tol, max_iter, as_written, solver):
    """A minimised objective as the estimator can hold it, its factor, and the certificate for it."""
    reduced, lost = as_written(reduced)
    factor = solver.factor(reduced.curvature()) if factor is None else factor
    bound = certificates.distance_bound(reduced, factor)
    while not bound.valid and n_iter < max_iter:
        moved, info = newton.minimise(reduced, solver=solver, factor=factor, tol=tol, max_iter=1)
        moved, moved_lost = as_written(moved)
        next_factor = solver.factor(moved.curvature(), preconditioner=factor)
        certificate = certificates.distance_bound(moved, next_factor)
        n_iter += info.n_iter
        if not certificate.valid and not certificate.newton_decrement < 0.5 * bound.newton_decrement:
            break
        reduced, factor, bound, lost = moved, next_factor, certificate, moved_lost
    bound.update(
        param_bound=bound.param_bound + lost,
        converged=bool(converged and bound.pop("solved")),
        n_iter=n_iter,
        n_removed=n_removed,
        n_retained=reduced.n_rows,
        seconds=time.perf_counter() - started,
    )
    return reduced, factor, bound


def _finish(objective, start, n_iter, tol, max_iter, solver):
    """Newton after ``n_iter`` steps: the objective, its factor or None, whether it converged, and steps in all."""
    if n_iter == max_iter:
        factor = solver.factor(objective.curvature())
        _, decrement = newton_step(factor, objective.gradient())
        way = newton.distance(objective, start)
        return objective, factor, decrement <= tol * way or way == 0.0 or objective.loss.quadratic, n_iter
    objective, info = newton.minimise(
        objective,
        solver=solver,
        scale=lambda current, factor: newton.distance(current, start),
        tol=tol,
        max_iter=max_iter - n_iter,
    )
    return objective, info.factor, info.converged, info.n_iter + n_iter
