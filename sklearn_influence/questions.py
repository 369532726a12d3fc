"""What callers pass to a question, checked, and the effects of the changes that it is about."""

import warnings

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._backend import check_memory
from ._validation import (
    alone_in_class,
    check_groups,
    check_indices,
    check_leaves_a_model,
)
from .effects import HIGH_LEVERAGE
from .losses import Loss
from .objective import class_numbers
from .replacements import Replacements
from .solvers.choice import called as called_solver
from .unlearning import UnlearningMixin

# Groups whose one step leaves this share of the way are warned about.
_FAR = 0.1


class QuestionsMixin(UnlearningMixin):
    """What stands before every answer of an estimator that calls ``_remember`` when it is fitted."""

    def _positions(self, indices):
        """Positions of indices, each to be removed on its own."""
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        weighting = self._objective.weighting
        if len(self.sample_indices_) == 1 and len(positions):
            raise ValueError("Only one row is left in the model; without it there is nothing to fit.")
        if weighting.codes is None:
            return positions
        alone = positions[alone_in_class(weighting, positions)]
        if len(alone) and indices is not None:
            raise ValueError(f"{self._only_row(alone)}; scikit-learn could not refit the same classes without it.")
        if len(alone):
            warnings.warn(
                f"{self._only_row(alone)} ({len(alone)} such): its influence is the one-step estimate, "
                "no refit exists.",
                UserWarning,
                stacklevel=5,
            )
        return positions

    def _only_row(self, alone):
        label = self.classes_[self._objective.weighting.codes[alone[0]]]
        return f"row {self.sample_indices_[alone[0]]} is the only one of class {label!s}"

    def _changes(self, indices, groups, X_new=None, y_new=None):
        """The changes asked for: positions, each removed on its own, a list of positions that leave together, or
        Replacements."""
        check_is_fitted(self)
        if X_new is not None or y_new is not None:
            return self._replacements(indices, groups, X_new, y_new)
        if groups is None:
            return self._positions(indices)
        if indices is not None:
            raise ValueError("Give either indices or groups, not both: groups already say which rows leave together.")
        labels, members = check_groups(groups, self.sample_indices_, self.n_samples_fit_)
        classes = getattr(self, "classes_", None)
        for label, rows in zip(labels, members, strict=True):
            check_leaves_a_model(self._objective.weighting, rows, classes, f"group {label!s}")
        return members

    def _replacements(self, indices, groups, X_new, y_new):
        """New features, new targets or both of the rows ``indices``, checked."""
        given = " and ".join(name for name, value in (("X_new", X_new), ("y_new", y_new)) if value is not None)
        if groups is not None:
            raise ValueError(
                f"Give either groups or {given}, not both: the rows of a group leave together, and each replacement is "
                "of one row on its own."
            )
        self._check_replaces(given)
        positions = check_indices(indices, self.sample_indices_, self.n_samples_fit_)
        if not len(positions):
            return Replacements(positions)
        X, y = self._in_their_place(positions, X_new, y_new, indices is None)
        weighting = self._objective.weighting
        if y is not None and weighting.codes is not None:
            leaving = positions[class_numbers(y) != weighting.codes[positions]]
            alone = leaving[alone_in_class(weighting, leaving)]
            if len(alone):
                raise ValueError(
                    f"{self._only_row(alone)}, which y_new takes it out of; scikit-learn could not refit the same "
                    "classes. Keep its label, or leave it out of indices."
                )
        return Replacements(positions, X, y)

    def _check_replaces(self, asked):
        if self.method == "second_order":
            raise ValueError(
                f"method='second_order' and {asked} do not go together: it is an expansion of removals. Use "
                "method='newton' or 'first_order'."
            )

    def _effects(self, changes):
        """Effects of the changes, at the optimum."""
        options, engine = self._options(), self._fitted.family.engine
        if isinstance(changes, list):
            effects = engine.group_effects(*self._fitted.solved(options), changes, self.method, self.n_jobs)
            self._warn_rough_groups(effects)
            return effects
        if isinstance(changes, Replacements):
            if changes.X is not None and options.representation == "dual" and not options.solver.exact:
                raise ValueError(
                    f"X_new and solver={called_solver(options.solver)} do not go together in the dual representation: "
                    "new rows leave the span of the training rows, in which that solver works. Use "
                    "representation='primal', or solver='direct' or 'cg'."
                )
            effects = engine.replacement_effects(*self._fitted.solved(options), changes, self.method)
        elif np.array_equal(changes, np.arange(len(self.sample_indices_))):
            effects = self._fitted.all_effects(options, self.method)
        else:
            effects = engine.row_effects(*self._fitted.solved(options), changes, self.method)
        if not self._objective.loss.quadratic:
            replaced = isinstance(changes, Replacements)
            self._warn_high_leverage(effects.rows, effects.largest, replaced=replaced, stacklevel=5)
        return effects

    def _warn_high_leverage(self, rows, largest, *, replaced, stacklevel):
        high = np.flatnonzero(largest > HIGH_LEVERAGE)
        if len(high):
            worst = high[np.argmax(largest[high])]
            others = {1: "", 2: " and one more"}.get(len(high), f" and {len(high) - 1} more")
            several = " (the largest eigenvalue of its leverages())" if self._objective.n_outputs > 1 else ""
            warnings.warn(
                f"Row {self.sample_indices_[rows[worst]]}{', or what replaces it,' * replaced} has a leverage of "
                f"{largest[worst]:.3g}{several * (not replaced)}, above {HIGH_LEVERAGE}: one Newton step is a rough "
                f"estimate of a refit for it{others}. {self._refit_advice('update' if replaced else 'unlearn')}.",
                UserWarning,
                stacklevel=stacklevel,
            )

    def _refit_advice(self, verb):
        return self._fitted.family.refit_advice.format(verb=verb)

    def _warn_rough_groups(self, effects):
        rough = 0 if effects.left is None else int((effects.left > _FAR).sum())
        if rough:
            warnings.warn(
                f"One Newton step is a rough estimate of a refit for {rough} of {len(effects)} groups: up to "
                f"{effects.left.max():.0%} of the way is left (threshold {_FAR:.0%}). "
                f"{self._refit_advice('unlearn')}.",
                UserWarning,
                stacklevel=5,
            )

    def _test_features(self, X):
        """Test features as the final step takes them, checked; None means the training rows."""
        return None if X is None else self._features(X)

    def _n_test_rows(self, features):
        return len(self.sample_indices_) if features is None else features.shape[0]

    def _test_rows(self, features, objective):
        """Test rows in the unknowns of an objective, behind whose training rows others may stand."""
        if features is not None:
            return objective.read_rows(features)
        return objective.own_rows(len(self.sample_indices_))

    def _test_targets(self, X, y, n):
        if y is None:
            if X is not None:
                raise ValueError("y is needed with X: a loss compares outputs with labels.")
            return self._objective.y
        if X is None:
            raise ValueError("X is needed with y; leave out both to use the training rows.")
        y = self._fitted.family.encode(self._final_step, y)
        if len(y) != n:
            raise ValueError(f"X and y must have the same number of rows, got {n} and {len(y)}.")
        return y

    def _check_loss(self, loss, y):
        """The loss of the test rows: the family's own, or another one that fits the outputs."""
        if loss is None:
            return self._objective.loss
        if not isinstance(loss, Loss):
            raise TypeError(f"loss must be a losses.Loss object, such as losses.SquaredError(), got {loss!r}.")
        n_outputs = self._objective.n_outputs
        needed = loss.needs(y, n_outputs)
        if needed:
            raise ValueError(
                f"loss={type(loss).__name__}() needs {needed}; {type(self._final_step).__name__} was fitted with "
                f"{n_outputs} output(s). Pass a loss that fits, or none."
            )
        return loss


def check_result(n_numbers, what):
    """Refuse, before any work, a result that memory cannot hold."""
    check_memory(
        8 * n_numbers,
        what,
        "Ask for fewer indices or test rows, sum over the test rows with influence_on_loss(aggregate='mean'), or "
        "keep the largest effects only with top_influences.",
    )


def called(changes):
    """How a text calls some changes."""
    return f"{len(changes):,} {'replacements' if isinstance(changes, Replacements) else 'removals'}"
