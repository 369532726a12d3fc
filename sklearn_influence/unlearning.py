"""Edits that last: rows taken out of a fitted model for good, corrected in it, added to it."""

import copy
import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ._validation import (
    check_count,
    check_flag,
    check_indices,
    check_keeps_classes,
    check_leaves_a_model,
    check_one_for_each,
    check_tolerance,
    check_weights,
    named_errors,
)
from .attributes import FittedMixin
from .editing import Addition, Correction, Removal, Written
from .fitted import FittedModel
from .objective import class_numbers
from .privacy import Release, check_optimum, residual_norm

# The distance from a refit that the noise of a release is made for, unless another one is given.
_BOUND = 1e-8


class UnlearningMixin(FittedMixin):
    """Edits of a fitted estimator that last.

    An estimator says what stands around its final step: ``_final_step``, ``_with_final(final)``, ``_features(X)``,
    ``_edited_source(edit, X, y)``, ``_check_transformers()``, ``_transform_again(source, weight)`` and
    ``_transformers_remember(source, refitted, seen)``.
    """

    def unlearn(
        self,
        indices,
        *,
        refit_transformers=False,
        tol=1e-10,
        max_iter=50,
        epsilon=None,
        delta=None,
        bound=_BOUND,
        random_state=None,
    ):
        """Take rows out of the model for good: it becomes the one that a refit without them gives.

        Parameters
        ----------
        indices : array-like of int, or bool mask of shape (n_samples_fit,)
            Rows of the data given to ``fit``, removed together. Of none nothing comes, or the release of the model as
            it is where ``epsilon`` and ``delta`` are given: so a corrected or extended model is published.
        refit_transformers : bool, default=False
            Also refit every transformer of the pipeline on the raw rows that stay, then the model: the result is the
            whole pipeline's refit. Otherwise the transformers stay as they are, and ``certificate_.remembers`` names
            those that saw the rows.
        tol : float, default=1e-10
            Converged when the Newton decrement is at most ``tol`` times the way gone, both in the norm of the
            curvature; the last step is then still taken.
        max_iter : int, default=50
            Newton steps at most. Out of steps the last iterate is kept, with a warning and ``converged=False``.
        epsilon, delta : float, default=None
            Give both for (epsilon, delta)-certified removal: ``estimator_`` then holds the certified optimum plus
            Gaussian noise that hides it among refits without the rows, by the exact profile of the Gaussian mechanism.
            What that claims and assumes, one release above all, is said in the documentation's page on the certificate.
            The next edit starts from the optimum again: without ``epsilon`` and ``delta`` it leaves no noise.
        bound : float, default=1e-8
            The distance from a refit that this noise is made for, in the parameters' units; to be fixed before any
            request. Steps are taken until the certificate is within it, and the edit is refused where it cannot be. The
            noise never follows from the certificate itself.
        random_state : int, RandomState instance or None, default=None
            Of the noise. Whoever knows it can take the noise off again: for tests only.

        Returns
        -------
        self
            ``estimator_`` holds the new parameters, and the object no copy of the rows: neither the data, nor anything
            computed per row. ``certificate_`` is a Bunch of

            * param_bound: a bound on the Euclidean distance of ``params_`` from the retrained optimum (gauge-free for
              softmax), infinite when not valid;
            * gradient_norm, newton_decrement at the new parameters; r_nu, below 1 where the self-concordant bound
              holds;
            * valid, converged, n_iter, n_removed (and n_updated, n_added, 0 here), n_retained, seconds;
            * remembers: what still depends on the rows, in sentences: transformers, a search's choices, a pipeline's
              cache. The certificate is about the final model only, and no claim about privacy without ``epsilon``;
            * with it also epsilon, delta, sigma (of the noise) and bound; param_bound then has the noise in it, and
              holds but for a chance of 1e-12; gradient_norm, newton_decrement and r_nu are those without noise.

            ``edits_`` has it too, behind those of the edits before.

        Raises
        ------
        ValueError
            For indices that cannot be used, for removing every row or every row of a class; for
            ``refit_transformers=True`` where there are none; for ``bound`` or ``random_state`` without ``epsilon``; for
            a model that cannot be certified to be within ``bound``; for a spent removal budget. The model is then
            unchanged.

        Notes
        -----
        Newton's method with backtracking on the retained rows, always with the true curvature, whatever ``method``
        and ``solver``. Squared loss needs one step. Cost, once an influence has been asked for: an update of the cached
        factor, and a pass over the rows a step, 3 to 8; before, also the search for the optimum with all rows.

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
        limits = self._limits(refit_transformers, tol, max_iter)
        release = self._release(epsilon, delta, bound, random_state)
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        if len(positions) == 0 and release is None:
            return self
        check_leaves_a_model(self._objective.weighting, positions, getattr(self, "classes_", None), "unlearn")
        return self._edit(Removal(positions), release=release, **limits)

    def update(self, indices, X_new=None, y_new=None, *, refit_transformers=False, tol=1e-10, max_iter=50):
        """Correct rows of the model for good: it becomes the one that a refit with the corrected rows gives.

        Parameters
        ----------
        indices : array-like of int, or bool mask of shape (n_samples_fit,)
            Rows to correct, as :meth:`unlearn` takes them. They keep their numbers and their sample weights.
        X_new : array-like of shape (k, n_features), default=None
            What they become, as ``predict`` takes rows; None: their features stay.
        y_new : array-like of shape (k,) or (k, n_targets), default=None
            Their new labels or targets; None: those stay. A row takes the class weight of its new label.
        refit_transformers, tol, max_iter
            As in :meth:`unlearn`. Without ``refit_transformers`` the corrected rows go through the transformers as they
            were fitted.

        Returns
        -------
        self
            With ``certificate_``, as after :meth:`unlearn`, about the refit with the corrected rows; n_updated is their
            number. Nothing of what the rows were is kept.

        Raises
        ------
        ValueError
            As :meth:`unlearn`; for rows or labels that do not fit the model, for labels that leave a class without
            rows, and where neither X_new nor y_new is given. The model is then unchanged.

        Examples
        --------
        A label and an income that were mistyped:

        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> X = StandardScaler().fit_transform(X)
        >>> model = InfluenceEstimator(LogisticRegression()).fit(X, y)
        >>> model = model.update([3], y_new=[1]).update([7, 9], X_new=X[[7, 9]] / 10)
        >>> [edit.kind for edit in model.edits_], model.certificate_.converged
        (['update', 'update'], True)
        """
        check_is_fitted(self)
        if indices is None:
            raise ValueError("update needs the rows to correct; indices=None would mean all of them.")
        limits = self._limits(refit_transformers, tol, max_iter)
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        if X_new is None and y_new is None:
            raise ValueError("update needs X_new, y_new or both: what the rows are to become.")
        if len(positions) == 0:
            return self
        X, y = self._in_their_place(positions, X_new, y_new)
        weighting = self._objective.weighting
        if y is not None and weighting.codes is not None:
            check_keeps_classes(
                weighting.replace(positions, class_numbers(y)), self.classes_, "update would leave no row"
            )
        return self._edit(Correction(positions, X, y), X_new, y_new, **limits)

    def extend(self, X, y, sample_weight=None, *, refit_transformers=False, tol=1e-10, max_iter=50):
        """Add rows to the model for good: it becomes the one that a refit with them gives.

        Parameters
        ----------
        X : array-like of shape (k, n_features)
            Rows as ``predict`` takes them.
        y : array-like of shape (k,) or (k, n_targets)
            Their labels, of classes that the model knows, or targets.
        sample_weight : array-like of shape (k,), default=None
            Their weights; None: 1 each.
        refit_transformers, tol, max_iter
            As in :meth:`unlearn`. Without ``refit_transformers`` the new rows go through the transformers as they were
            fitted.

        Returns
        -------
        self
            With ``certificate_``, as after :meth:`unlearn`, about the refit with the new rows; n_added is their number.
            They are numbered from ``n_samples_fit_`` on, which grows by them: masks and groups have a place for every
            row ever given.

        Raises
        ------
        ValueError
            For rows, labels or weights that do not fit the model; a new class is another model, to be fitted anew. The
            model is then unchanged.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn_influence import InfluenceEstimator
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = InfluenceEstimator(Ridge()).fit(X[:400], y[:400]).extend(X[400:], y[400:])
        >>> bool(abs(model.estimator_.coef_ - Ridge().fit(X, y).coef_).max() < 1e-9)
        True
        >>> model.n_samples_fit_, model.certificate_.n_added
        (442, 42)
        """
        check_is_fitted(self)
        if X is None or y is None:
            raise ValueError("extend needs rows X and their labels y.")
        limits = self._limits(refit_transformers, tol, max_iter)
        rows, targets = self._features(X), self._fitted.family.encode(self._final_step, y)
        if len(targets) != rows.shape[0]:
            raise ValueError(f"X and y must have the same number of rows, got {rows.shape[0]} and {len(targets)}.")
        weight = check_weights(sample_weight, len(targets), zeros=True)
        return self._edit(Addition(rows, targets, weight), X, y, **limits)

    def _limits(self, refit_transformers, tol, max_iter):
        """How an edit is to be made, checked."""
        self._fitted.family.check_edits()
        check_flag("refit_transformers", refit_transformers)
        if refit_transformers:
            self._check_transformers()
        if refit_transformers and self._budget is not None:
            raise ValueError(
                "refit_transformers=True makes another objective than the one that fit put noise into. Leave the "
                "transformers as they are, or fit the whole pipeline again with new noise."
            )
        return dict(
            refit_transformers=refit_transformers,
            tol=check_tolerance("tol", tol),
            max_iter=check_count("max_iter", max_iter),
        )

    def _release(self, epsilon, delta, bound, random_state):
        """The claim to publish by, or None."""
        if epsilon is None and delta is None:
            if random_state is not None or bound != _BOUND:
                raise ValueError(
                    f"bound and random_state are about the noise of a release, got bound={bound!r} and "
                    f"random_state={random_state!r} without one; give epsilon and delta too, or leave them out."
                )
            return None
        if epsilon is None or delta is None:
            raise ValueError(f"Give both epsilon and delta, or neither; got epsilon={epsilon!r}, delta={delta!r}.")
        if self._budget is not None:
            raise ValueError(
                "The model was fitted with noise in its objective, which has an epsilon and a delta of its own; leave "
                "them out here."
            )
        self._fitted.family.check_noise()
        return Release(epsilon, delta, bound, random_state)

    def _in_their_place(self, positions, X_new, y_new, every=False):
        """What rows become: features as the final step takes them, targets as the loss does; None where they stay."""
        for name, value in (("X_new", X_new), ("y_new", y_new)):
            check_one_for_each(name, value, len(positions), every)
        X = None if X_new is None else named_errors("X_new", self._features, X_new)
        y = None if y_new is None else named_errors("y_new", self._fitted.family.encode, self._final_step, y_new)
        return X, y

    def _edit(self, edit, X=None, y=None, *, refit_transformers, tol, max_iter, release=None):
        """Make an edit, X and y being its rows as they were given; all that can fail comes first, on copies."""
        options, family = self._options(), self._fitted.family
        source, n_rows = self._edited_source(edit, X, y), len(self.sample_indices_)
        limits = dict(tol=tol, max_iter=max_iter, solver=self._fitted.exact_solver(options))
        limits |= {} if release is None else dict(within=release.bound)
        if refit_transformers:
            weight = edit.weights(self._objective.weighting.sample_weight)
            estimator, final, start = self._transform_again(source, weight)
            edited = family.represent(start.on(options.device), family.choose(start, self.representation))
            before = None
        else:
            final = copy.copy(self._final_step)
            estimator = self._with_final(final)
            edited, before = self._fitted.with_rows(options, edit.apply)
        if self._budget is not None:
            check_optimum(edited)
        written = Written(family, final)
        objective, factor, certificate = family.engine.edited_minimum(
            edited, edit, before, as_written=written, **limits
        )
        params, budget = written.params(objective), self._budget
        if release is not None:
            certificate = release.certificate(certificate, len(params))
            params, factor = family.as_written(final, release.params(objective.primal(), params)), None
            objective = objective.with_(params=objective.from_params(params))
        if budget is not None:
            budget = budget.spend(residual_norm(objective.primal().with_(params=params)))
        family.write(final, params, edit.origin(n_rows))
        family.write_rows(final, objective)
        certificate.remembers = [
            *self._transformers_remember(source, refit_transformers, edit.seen),
            *family.remembers(final, edit.seen),
        ]
        settled = certificate.converged and release is None
        edited = FittedModel.after_edit(family, objective, factor, params, settled=settled)
        if not certificate.converged:
            warnings.warn(
                f"{edit.verb} did not converge in {certificate.n_iter} Newton steps: the decrement is "
                f"{certificate.newton_decrement:.2g}. {_advice(certificate)}",
                ConvergenceWarning,
                stacklevel=3,
            )
        numbers = edit.numbers(self.sample_indices_, self.n_samples_fit_)
        touched = self.sample_indices_[edit.leaving] if len(edit.leaving) else numbers[n_rows:]
        self._hold(estimator)
        self._fitted, self._certificate, self._source = edited, certificate, source
        self.sample_indices_, self._budget = numbers, budget
        self.n_samples_fit_ = max(self.n_samples_fit_, int(numbers[-1]) + 1)
        self.edits_ = (*self.edits_, Bunch(kind=edit.verb, indices=touched, certificate=certificate))
        return self


def _advice(certificate):
    if certificate.valid:
        return "certificate_.param_bound says how far the model can be from a refit; raise max_iter for a closer one."
    return "No bound on its distance from a refit holds; raise max_iter, or add a penalty where no optimum is finite."
