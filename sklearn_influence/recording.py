"""Fit an estimator and know the rows that its final step was fitted on; fit what stands before it again."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from . import composite
from ._validation import count_rows, join_rows, take_rows


@dataclass(frozen=True)
class Source:
    """The rows as given to ``fit``, before any transformer, for refitting those; never changed, so copies share it."""

    X: object
    y: object
    fit_params: dict

    def __deepcopy__(self, memo):
        return self

    def edited(self, edit, X, y, weight_name):
        """The rows after an edit whose own are X and y as they were given, None where they stay.

        What of the other arguments has a place for every row follows; of rows that are added, only weights are known.
        """
        n = count_rows(self.y)
        origin, X, y = edit.origin(n), *(_edited(*pair, edit, n) for pair in ((self.X, X), (self.y, y)))
        params = {}
        for name, value in self.fit_params.items():
            if count_rows(value) == n and len(origin) > n:
                if name not in (weight_name, "sample_weight"):
                    raise ValueError(
                        f"fit was given {name} with a value for every row, and extend has none for the new ones. Fit "
                        "a new model on all rows."
                    )
                value = np.append(np.asarray(value, dtype=float), edit.sample_weight)
            elif count_rows(value) == n and len(origin) < n:
                value = take_rows(value, origin)
            params[name] = value
        return replace(self, X=X, y=y, fit_params=params)


def _edited(old, new, edit, n):
    """Rows of any container after an edit that brings ``new`` ones, or only takes some out."""
    origin = edit.origin(n)
    if new is None:
        return old if (origin < 0).any() else take_rows(old, origin)
    order = origin.copy()
    order[edit.leaving if len(edit.leaving) else edit.entering(n)] = n + np.arange(count_rows(new))
    return take_rows(join_rows(old, new), order)


class RowRecorder(BaseEstimator):
    """A step that keeps the rows it is fitted on, and passes them on.

    What a step is fitted on need not be what ``transform`` gives later: TargetEncoder's ``fit_transform`` is not.
    """

    def __init__(self, own=False):
        self.own = own  # whether to keep a copy, where the final step would overwrite the rows

    def fit(self, X, y=None):
        self.rows_ = X.copy() if self.own and hasattr(X, "copy") else X
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X)

    def transform(self, X):
        return X

    def get_feature_names_out(self, input_features=None):
        return input_features


class FinalRecorder(RowRecorder):
    """A recorder in place of a final step, so that only what stands before it is fitted."""

    def fit(self, X, y=None, sample_weight=None, **others):
        return super().fit(X)


def fit_recording(estimator, X, y, fit_params):
    """Fit an estimator in place; return the rows its final step was fitted on, or what frozen steps make of X.

    Parameters
    ----------
    estimator : estimator
        Not the caller's own: it is fitted, and its pipelines get a step more for the time of the fit.
    X, y : rows of any container, and their targets
    fit_params : dict

    Returns
    -------
    rows : array-like of shape (n, d)

    Raises
    ------
    ValueError
        Where a search put something in the place of the pipeline whose rows are recorded.

    Notes
    -----
    The record is taken by an extra step before the end of the innermost pipeline that has transformers, so that every
    clone that a search makes has one too. It is gone afterwards, but for a pipeline's own ``memory``.
    """
    fitted_on = composite.copy_if_overwritten(estimator, X)
    with_steps = []
    for level in composite.levels(estimator):
        if isinstance(level, FrozenEstimator):
            break
        if isinstance(level, Pipeline) and len(level.steps) > 1:
            with_steps.append(level)
    name = "training_rows"
    if with_steps:
        innermost = with_steps[-1]
        while any(name == taken for taken, _ in innermost.steps):
            name += "_"
        recorder = RowRecorder(own=composite.works_in_place(estimator))
        innermost.steps = [*innermost.steps[:-1], (name, recorder), innermost.steps[-1]]
    estimator.fit(fitted_on, y, **fit_params)
    rows, last = (None, None) if with_steps else (X, estimator)
    for pipeline in composite.pipelines(estimator):
        step = dict(pipeline.steps).get(name)
        if isinstance(step, RowRecorder):
            pipeline.steps = [(key, step) for key, step in pipeline.steps if key != name]
            if hasattr(step, "rows_"):
                rows, last = step.rows_, pipeline.steps[-1][1]
    if rows is None or (composite.has_transformers(last) and not composite.is_frozen(last)):
        raise ValueError(
            "The search put other pipelines, or other steps as a whole, in the place of those it was given, so that "
            "the rows its model was fitted on are not known. Search over the parameters of single steps instead."
        )
    return composite.transform(last, rows)


def fit_transformers(estimator, X, y, fit_params):
    """Fit clones of all transformers of a fitted composite, and nothing else.

    Returns
    -------
    estimator : estimator
        A copy with the new transformers, around the same final step.
    rows
        What the final step is to be fitted on.
    """
    recorder = FinalRecorder()
    if get_config()["enable_metadata_routing"]:
        recorder.set_fit_request(sample_weight=composite.weight_request(composite.final_step(estimator)))
    template = _unfitted(estimator, recorder)
    template.fit(composite.copy_if_overwritten(template, X), y, **_for_pipelines(template, fit_params))
    return _with_transformers(estimator, template), composite.final_step(template).rows_


def _for_pipelines(template, fit_params):
    """The arguments that reach a step; those of a search, such as its groups, stay behind with it."""
    if get_config()["enable_metadata_routing"]:
        known = template.get_metadata_routing().consumes("fit", list(fit_params))
        return {name: value for name, value in fit_params.items() if name in known}
    last, kept = template.steps[-1], {}
    for name, value in fit_params.items():
        step, _, rest = name.partition("__")
        if rest and (step != last[0] or not isinstance(last[1], Pipeline) or _for_pipelines(last[1], {rest: value})):
            kept[name] = value
    return kept


def _unfitted(estimator, final):
    """Clones of the pipelines of a composite, one within the other, around a final step."""
    if isinstance(estimator, Pipeline):
        before = [(name, clone(step, safe=False)) for name, step in estimator.steps[:-1]]
        return composite.around(estimator, _unfitted(estimator.steps[-1][1], final), before)
    inner = composite.within(estimator)
    return final if inner is None else _unfitted(inner, final)


def _with_transformers(estimator, template):
    """A copy of a composite with the transformers of a fitted template."""
    inner = composite.within(estimator)
    if inner is None:
        return estimator
    if isinstance(estimator, Pipeline):
        new = _with_transformers(inner, template.steps[-1][1])
        return composite.around(estimator, new, before=template.steps[:-1])
    return composite.around(estimator, _with_transformers(inner, template))
