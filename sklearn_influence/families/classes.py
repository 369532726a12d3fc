"""Class labels and class weights, as the classifiers of all families have them."""

from numbers import Real

import numpy as np
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import column_or_1d

from ..objective import Weighting


def class_codes(estimator, y):
    """Places of the labels y in ``estimator.classes_``; ValueError for labels the fitted classifier has not seen."""
    y = column_or_1d(y)
    try:
        known = np.isin(y, estimator.classes_)
    except TypeError:  # labels that do not compare with one another, or with themselves
        labels = set(estimator.classes_.tolist())
        known = np.array([label in labels for label in y.tolist()], dtype=bool)
    if not known.all():
        unseen = list(dict.fromkeys(np.asarray(y)[~known].tolist()))[:3]
        raise ValueError(
            f"y holds labels that the model was not fitted on: {unseen}; it knows {estimator.classes_.tolist()[:10]}. "
            "Leave out such rows, or fit a model anew on all classes."
        )
    return np.searchsorted(estimator.classes_, y)


def signs(codes, n_classes):
    """Targets of +1 and -1 by class numbers: (n, 1) for two classes, (n, n_classes) for more."""
    if n_classes == 2:
        return 2.0 * codes[:, None] - 1.0
    return np.where(codes[:, None] == np.arange(n_classes), 1.0, -1.0)


def check_class_weight(class_weight):
    """Refuse a dict of class weights that are not finite numbers of at least 0."""
    if not isinstance(class_weight, dict):
        return
    for label, weight in class_weight.items():
        if not (isinstance(weight, Real) and 0 <= weight < np.inf):
            raise ValueError(
                f"class_weight must be finite numbers >= 0 (no NaN, no infinity), got {weight!r} for class {label!r}."
            )


def class_weighting(estimator, codes, sample_weight, *, counted_by_weight=True):
    """The Weighting of a classifier's rows.

    ``counted_by_weight`` says how "balanced" counts a class: by the weights of its rows, or by their number.
    """
    class_weight = estimator.class_weight
    if class_weight is None or class_weight == "balanced":
        counts = None if counted_by_weight else np.ones(len(codes))
        return Weighting(sample_weight, codes, balanced=class_weight == "balanced", counts=counts)
    factors = compute_class_weight(class_weight, classes=estimator.classes_, y=estimator.classes_[codes])
    return Weighting(sample_weight, codes, class_weight=factors)
