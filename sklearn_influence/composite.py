"""Pipelines, searches and frozen estimators: the way from one to the model at its end, and back.

Each composite has one estimator within: a pipeline's last step, a search's best estimator (before the search, the
estimator it searches over), a FrozenEstimator's fitted one. Following them leads to the *final step*, whose training
rows, weights and parameters influences are about.
"""

import copy

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .families import find_family


def is_search(estimator):
    """Whether an estimator chooses among settings of another one, as GridSearchCV does."""
    return all(hasattr(estimator, name) for name in ("estimator", "refit", "cv", "error_score"))


def within(estimator):
    """The estimator within a composite, the fitted one where there is one; None for any other estimator."""
    if isinstance(estimator, Pipeline):
        return estimator.steps[-1][1] if len(estimator.steps) else None
    if isinstance(estimator, FrozenEstimator):
        return estimator.estimator
    if is_search(estimator):
        return getattr(estimator, "best_estimator_", estimator.estimator)
    return None


def levels(estimator):
    """The estimator, the one within, and so on to the final step."""
    yield estimator
    inner = within(estimator)
    if inner is not None:
        yield from levels(inner)


def final_step(estimator):
    """The model at the end: the estimator itself where it is no composite."""
    return list(levels(estimator))[-1]


def is_frozen(estimator):
    return any(isinstance(level, FrozenEstimator) for level in levels(estimator))


def check_composite(estimator):
    """The family of the final step; refuse composites that leave no fitted model to read.

    Raises
    ------
    TypeError
        For a final step outside the families.
    ValueError
        For a search that does not refit, a pipeline without an estimator at its end.
    NotFittedError
        For a FrozenEstimator around an estimator that is not fitted.
    """
    for level in levels(estimator):
        if isinstance(level, Pipeline) and not len(level.steps):
            raise ValueError("The pipeline is empty: its last step must be a model.")
        if isinstance(level, Pipeline) and level.steps[-1][1] in (None, "passthrough"):
            raise ValueError("The pipeline ends in 'passthrough': its last step must be a model.")
        if is_search(level) and level.refit is False:
            raise ValueError(
                f"{type(level).__name__}(refit=False) keeps no fitted model; set refit=True, or wrap the model "
                "with the parameters that the search chose."
            )
        if is_search(level) and isinstance(level.estimator, FrozenEstimator):
            raise ValueError(
                f"{type(level).__name__} cannot fit a FrozenEstimator; search over the estimator inside it."
            )
        if isinstance(level, FrozenEstimator):
            text = "The estimator in FrozenEstimator is not fitted; fit it before it is frozen."
            check_is_fitted(level.estimator, msg=text)
    final = final_step(estimator)
    family = find_family(final)
    family.check(final)
    return family


def weight_name(estimator):
    """The name under which a composite's ``fit`` takes the sample weights of its final step."""
    name = ""
    for level in levels(estimator):
        if isinstance(level, Pipeline):
            name += level.steps[-1][0] + "__"
    return name + "sample_weight"


def fit_parameters(estimator, sample_weight, fit_params):
    """What to pass to an estimator's ``fit``, and the weights that its final step will get or None.

    With metadata routing the final step's own request decides, as everywhere in scikit-learn. Without it
    ``sample_weight`` is passed on under the final step's name, ``step__sample_weight`` in a pipeline.
    """
    final, composite = final_step(estimator), within(estimator) is not None
    name, routing = weight_name(estimator), get_config()["enable_metadata_routing"]
    if sample_weight is not None and name != "sample_weight" and fit_params.get(name) is not None:
        raise ValueError(f"The weights of the final step were given twice: as sample_weight and as {name}.")
    if is_frozen(estimator):
        return fit_params, fit_params.get(name) if sample_weight is None else sample_weight
    if sample_weight is not None and not has_fit_parameter(final, "sample_weight"):
        raise ValueError(f"{type(final).__name__}.fit takes no sample_weight.")
    request = weight_request(final) if routing else None
    _check_steps(estimator, () if routing else fit_params)
    if routing and composite:
        given = fit_params if sample_weight is None else {**fit_params, "sample_weight": sample_weight}
        reaches = request if isinstance(request, str) else "sample_weight" if request else None
        return given, given.get(reaches)
    if isinstance(request, str) and request in fit_params:  # the final step asks for its weights by another name
        fit_params = {**fit_params, name: fit_params[request]}
        del fit_params[request]
    if sample_weight is None:
        return fit_params, fit_params.get(name)
    return {**fit_params, name: sample_weight}, sample_weight


def weight_request(final):
    """What a final step asks for as sample weights under metadata routing: True, False, None, or another name."""
    # Cross-validated estimators are routers; their own request is that of any estimator.
    return BaseEstimator.get_metadata_routing(final).fit.requests.get("sample_weight")


def _check_steps(estimator, fit_params):
    """Refuse ``step__name`` where the outermost pipeline has no such step; scikit-learn's own is a KeyError."""
    pipeline = next((level for level in levels(estimator) if isinstance(level, Pipeline)), None)
    for name in fit_params:
        if pipeline is not None and "__" in name and name.split("__")[0] not in dict(pipeline.steps):
            steps = ", ".join(repr(step) for step, _ in pipeline.steps)
            raise ValueError(f"fit got {name}, but the pipeline has no step {name.split('__')[0]!r}; it has {steps}.")


def works_in_place(estimator):
    """Whether some part of an estimator may overwrite the rows it gets: ``copy=False`` or ``copy_X=False``, also as one
    of a search's choices."""
    settings = list(estimator.get_params(deep=True).items())
    for level in levels(estimator):
        for grid in (getattr(level, "param_grid", None), getattr(level, "param_distributions", None)):
            grids = grid if isinstance(grid, (list, tuple)) else [grid]
            settings += [(name, False) for part in grids if isinstance(part, dict) for name in part]
    return any(name.rsplit("__", 1)[-1] in ("copy", "copy_X") and value is False for name, value in settings)


def copy_if_overwritten(estimator, X):
    """A copy of rows that an estimator would overwrite, since they are the caller's; otherwise the rows themselves."""
    return X.copy() if hasattr(X, "copy") and works_in_place(estimator) else X


def pipelines(estimator):
    """Every pipeline on the way to the final step, of a search both the fitted ones and those it was given."""
    for level in levels(estimator):
        if isinstance(level, Pipeline):
            yield level
        elif hasattr(level, "best_estimator_"):
            yield from pipelines(level.estimator)


def _transformers(estimator):
    """The pipelines of the steps before each last one, in the order in which rows pass through them."""
    for level in levels(estimator):
        if isinstance(level, Pipeline) and len(level.steps) > 1:
            yield level[:-1]


def has_transformers(estimator):
    """Whether anything stands before the final step."""
    return any(True for _ in _transformers(estimator))


def transform(estimator, X):
    """Rows (m, d), of any container, as the final step of a fitted estimator takes them."""
    X = copy_if_overwritten(estimator, X)
    for steps in _transformers(estimator):
        X = steps.transform(X)
    return X


def feature_names(estimator, n_features):
    """Names of the columns that the final step was fitted on, as far as anyone knows them."""
    final = final_step(estimator)
    if hasattr(final, "feature_names_in_"):
        return list(final.feature_names_in_)
    names = None
    try:
        for steps in _transformers(estimator):
            names = steps.get_feature_names_out(names)
    except (AttributeError, ValueError, NotFittedError):  # some transformer has no names to give
        names = None
    return [f"x{j}" for j in range(n_features)] if names is None or len(names) != n_features else list(names)


def with_final(estimator, final):
    """A copy of a fitted composite around another final step; all else is shared."""
    inner = within(estimator)
    return final if inner is None else around(estimator, with_final(inner, final))


def around(estimator, inner, before=None):
    """A copy of a fitted composite around another estimator, with other steps ``before`` it where they are given."""
    new = copy.copy(estimator)
    if isinstance(estimator, Pipeline):
        new.steps = [*(estimator.steps[:-1] if before is None else before), (estimator.steps[-1][0], inner)]
    elif isinstance(estimator, FrozenEstimator):
        new.estimator = inner
    else:
        new.best_estimator_ = inner
    return new


def remembers(estimator, seen, *, refitted=False):
    """What around the final step still depends on rows that it has no more, called ``seen``: a list of sentences."""
    sentences = []
    for level in levels(estimator):
        if isinstance(level, Pipeline):
            for name, step in level.steps[:-1]:
                forgets = refitted and not _holds_frozen(step)
                if hasattr(step, "fit") and get_tags(step).requires_fit and not forgets:
                    sentences.append(f"step {name!r} of the pipeline ({type(step).__name__}, fitted with {seen})")
            if level.memory is not None:
                sentences.append(f"the cache of Pipeline(memory=...) (what its steps computed from {seen})")
        elif isinstance(level, FrozenEstimator):
            sentences.append("the estimator given to FrozenEstimator (yours; only our copy of it was changed)")
        elif is_search(level):
            name = type(level).__name__
            sentences.append(f"best_params_, best_score_ and cv_results_ of {name} (chosen with {seen})")
    return sentences


def _holds_frozen(step):
    """Whether some part of a step is frozen, so that a refit leaves it as it was."""
    return any(isinstance(part, FrozenEstimator) for part in [step, *step.get_params(deep=True).values()])


def steps_that_differ(estimator, X, y):
    """Names of steps whose ``fit_transform`` is not their ``transform``, found by trying both on some rows."""
    names = []
    for level in levels(estimator):
        if not isinstance(level, Pipeline):
            continue
        for name, step in level.steps[:-1]:
            if step in (None, "passthrough"):
                continue
            try:
                fresh = clone(step)
                fitted, later = fresh.fit_transform(X, y), fresh.transform(X)
                if not _same(fitted, later):
                    names.append(name)
            except Exception:  # what cannot be tried on these rows cannot be told
                pass
            X = step.transform(X)
    return names


def _same(first, second):
    if sparse.issparse(first) and sparse.issparse(second) and first.shape == second.shape:
        excess = abs(first - second) - 1e-6 * abs(second)  # a place that is NaN in either exceeds nothing
        return not (excess.tocsr().data > 1e-8).any()
    first, second = (part.toarray() if hasattr(part, "toarray") else np.asarray(part) for part in (first, second))
    if first.dtype.kind not in "biuf" or second.dtype.kind not in "biuf":
        return bool(np.all(first == second))
    return first.shape == second.shape and np.allclose(first, second, rtol=1e-6, atol=1e-8, equal_nan=True)
