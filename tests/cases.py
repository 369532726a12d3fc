"""The small and real problems that the tests run over.

Each function returns one `Case`, the same object every time, its arrays read-only so that a test
cannot spoil it for the next. The real data sets ship with scikit-learn and are split and scaled one
way only: a stratified 30 % test part, a scaler fitted on the training part (digits: pixels / 16).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


@dataclass(frozen=True, eq=False)
class Case:
    """Training rows, test rows and, for some, sample weights of the training rows."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    sample_weight: np.ndarray | None = None

    def __post_init__(self):
        for array in (self.X, self.y, self.X_test, self.y_test, self.sample_weight):
            if array is not None:
                array.setflags(write=False)

    def __repr__(self):
        return self.name


def _split(name, X, y, *, scale=True, stratify=True):
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y if stratify else None)
    if scale:
        scaler = StandardScaler().fit(X)
        X, X_test = scaler.transform(X), scaler.transform(X_test)
    return Case(name, X, y, X_test, y_test)


# ---------------------------------------------------------------------------------------------------
# Real
# ---------------------------------------------------------------------------------------------------
@lru_cache
def breast_cancer():
    return _split("breast cancer", *load_breast_cancer(return_X_y=True))


@lru_cache
def breast_cancer_whole():
    """All 569 rows to train on (the test part is the usual one), for claims about removed fractions."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    X_test, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)[1::2]
    return Case("breast cancer, all rows", X, y, X_test, y_test)


@lru_cache
def breast_cancer_unscaled():
    """Columns from 1e-3 to 1e3, means far from zero: default lbfgs stops far from the optimum."""
    return _split("breast cancer unscaled", *load_breast_cancer(return_X_y=True), scale=False)


@lru_cache
def diabetes():
    """Regression on the target as it is."""
    return _split("diabetes", *load_diabetes(return_X_y=True), stratify=False)


@lru_cache
def diabetes_above_median():
    X, target = load_diabetes(return_X_y=True)
    return _split("diabetes > median", X, (target > np.median(target)).astype(int))


@lru_cache
def digits():
    X, y = load_digits(return_X_y=True)
    return _split("digits", X / 16, y, scale=False)


@lru_cache
def digits_3_v_8():
    X, y = load_digits(return_X_y=True)
    chosen = (y == 3) | (y == 8)
    return _split("digits 3 v 8", X[chosen] / 16, y[chosen], scale=False)


@lru_cache
def wine():
    """Three classes, thirteen features: the small softmax problem."""
    return _split("wine", *load_wine(return_X_y=True))


# ---------------------------------------------------------------------------------------------------
# Tiny and random
# ---------------------------------------------------------------------------------------------------
@lru_cache
def tiny_regression(n_samples=40, n_features=5, n_targets=1, seed=0):
    rng = np.random.default_rng(seed)
    n = n_samples + 12
    X = rng.normal(size=(n, n_features)) * rng.uniform(0.5, 3, n_features) + rng.normal(size=n_features)
    Y = X @ rng.normal(size=(n_features, n_targets)) + rng.normal(size=(n, n_targets)) + 2
    y = Y[:, 0] if n_targets == 1 else Y
    name = "tiny regression" if n_targets == 1 else f"tiny regression, {n_targets} targets"
    return Case(name, X[:n_samples], y[:n_samples], X[n_samples:], y[n_samples:])


@lru_cache
def tiny_classification(n_samples=60, n_features=4, n_classes=2, seed=0):
    """Overlapping classes, every class in both parts, so that C=inf has an optimum too."""
    rng = np.random.default_rng(seed)
    n = n_samples + 15
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, n_features)) + 0.8 * rng.normal(size=(n_classes, n_features))[y]
    name = f"tiny classification, {n_classes} classes"
    return Case(name, X[:n_samples], y[:n_samples], X[n_samples:], y[n_samples:])


# ---------------------------------------------------------------------------------------------------
# Variations on any of them
# ---------------------------------------------------------------------------------------------------
def weighted(case, seed=0):
    """One row in ten weighs 20 times as much as the others."""
    rng = np.random.default_rng(seed)
    weight = np.ones(len(case.X))
    weight[rng.permutation(len(weight))[: len(weight) // 10]] = 20
    return replace(case, name=f"{case.name}, weighted", sample_weight=weight)


def collinear(case):
    """The first column three times: as it is, scaled by -2, and summed with the second."""

    def widen(X):
        return np.column_stack([X, -2 * X[:, 0], X[:, 0] + X[:, 1]])

    return replace(case, name=f"{case.name}, collinear", X=widen(case.X), X_test=widen(case.X_test))


def uncentred(case, seed=0):
    """Columns with standard deviation 1 and means between 1e3 and 1e4."""
    rng = np.random.default_rng(seed)
    mean, deviation = case.X.mean(axis=0), case.X.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1)
    offset = rng.uniform(1e3, 1e4, case.X.shape[1])
    return replace(
        case,
        name=f"{case.name}, uncentred",
        X=(case.X - mean) / deviation + offset,
        X_test=(case.X_test - mean) / deviation + offset,
    )


def rescaled(case, factor):
    """All features times `factor` (a number or one per column); match the penalty yourself."""
    return replace(case, name=f"{case.name}, x {factor}", X=case.X * factor, X_test=case.X_test * factor)


def string_labels(case):
    """Labels spelled so that their alphabetical order is the reverse of the numbers'."""
    classes = np.unique(case.y)
    names = np.array([f"class {chr(ord('z') - code)}" for code in range(len(classes))])

    def spell(y):
        return names[np.searchsorted(classes, y)]

    return replace(case, name=f"{case.name}, strings", y=spell(case.y), y_test=spell(case.y_test))


def repeated(case):
    """Each row standing as often as it weighs, and the original row number of every copy."""
    origin = np.repeat(np.arange(len(case.X)), case.sample_weight.astype(int))
    name = f"{case.name}, repeated"
    return replace(case, name=name, X=case.X[origin], y=case.y[origin], sample_weight=None), origin


def first_rows(case, n_rows):
    """The first rows only (the splits are shuffled), for tests that retrain hundreds of times."""
    return replace(
        case,
        name=f"{case.name}, {n_rows} rows",
        X=case.X[:n_rows],
        y=case.y[:n_rows],
        sample_weight=None if case.sample_weight is None else case.sample_weight[:n_rows],
    )
