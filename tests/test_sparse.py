"""Sparse rows are never filled in: not the matrix, nor what questions and edits make of it."""

import copy
import pickle
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import sklearn
import tables
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from sklearn_influence import InfluenceEstimator

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*singular.*", "ignore:.*rough estimate.*")

TALL, WIDE = (6_000, 200), (120, 25_000)
MATRICES = (
    sparse.csr_matrix,
    sparse.csc_matrix,
    sparse.coo_matrix,
    sparse.csr_array,
    sparse.csc_array,
    sparse.coo_array,
)


@contextmanager
def never_filled(monkeypatch, entries):
    """Inside, no sparse array of more than `entries` places may be made dense; said at the end, whatever is caught."""
    filled = []

    def guarded(original):
        def fill(self, *args, **kwargs):
            if np.prod(self.shape) > entries:
                filled.append(self.shape)
            return original(self, *args, **kwargs)

        return fill

    with monkeypatch.context() as patch:
        for matrix in MATRICES:
            for name in ("toarray", "todense"):
                patch.setattr(matrix, name, guarded(getattr(matrix, name)))
        yield
    assert not filled


@contextmanager
def peak_memory(limit):
    """Inside, at most `limit` bytes may be in use at a time over what was before."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= limit, f"{peak / 2**20:.0f} MiB at the peak, more than {limit / 2**20:.0f}"


def rows(shape, seed=0):
    """About three entries a row, labels that depend on them."""
    rng = np.random.default_rng(seed)
    n, d = shape
    X = sparse.random(*shape, density=3 / d, random_state=rng, format="csr", data_rvs=rng.standard_normal)
    return X, (X @ rng.normal(size=d) + rng.normal(size=n) > 0).astype(int)


def documents():
    """What each person answered, as one text."""
    return tables.happiness().X.astype(object).fillna("unknown").astype(str).agg(" ".join, axis=1)


def ask_everything(model, X_test, y_test):
    model.influence_on_params([0, 5])
    model.influence_on_loss(X_test, y_test, [0, 5, 7])
    model.influence_on_loss(X_test, y_test, aggregate="mean")
    model.influence_on_output(X_test, [0, 5])
    model.top_influences(X_test, y_test, k=5)
    model.self_influence()
    model.leverages([1, 2, 3])
    copy.deepcopy(pickle.loads(pickle.dumps(model))).unlearn([0, 5])
    return model.unlearn([0, 5, 7]).influence_on_loss(X_test, y_test, aggregate="mean")


ESTIMATORS = {
    "logistic": LogisticRegression(solver="lbfgs"),
    "ridge": Ridge(solver="sparse_cg"),
    "ridge classifier": RidgeClassifier(solver="lsqr"),
    "ols": LinearRegression(),
}


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix])
def test_long_tables_are_not_filled(make, monkeypatch):
    """1.2 million places, 9.2 MiB if they were filled, .2 MiB as they are; blocks of at most 1 MiB."""
    X, y = rows(TALL)
    X, X_test = make(X), make(X[:8])
    with sklearn.config_context(working_memory=1), never_filled(monkeypatch, 2**18), peak_memory(7 * 2**20):
        model = InfluenceEstimator(make_pipeline(MaxAbsScaler(), LogisticRegression())).fit(X, y)
        effect = ask_everything(model, X_test, y[:8])
    assert effect.shape == (TALL[0] - 3,) and sparse.issparse(model._objective.design.X)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_wide_tables_are_not_filled(kind, monkeypatch):
    """3 million places, 23 MiB if they were filled; the curvature in parameter space would take 5 GB."""
    X, y = rows(WIDE)
    with sklearn.config_context(working_memory=1), never_filled(monkeypatch, 2**20), peak_memory(16 * 2**20):
        model = InfluenceEstimator(ESTIMATORS[kind]).fit(X, y)
        effect = ask_everything(model, X[:20], y[:20])
    assert effect.shape == (WIDE[0] - 3,) and np.isfinite(effect).all()


class Halved(MaxAbsScaler):
    """Sparse rows that fit_transform makes half of what transform does."""

    def fit_transform(self, X, y=None):
        return super().fit_transform(X) / 2


def test_a_frozen_pipeline_of_words_is_not_filled(monkeypatch):
    """Whether its steps give the same rows by fit_transform is tried on up to 1,000 of them."""
    texts, table = documents(), tables.happiness()
    pipe = make_pipeline(TfidfVectorizer(ngram_range=(1, 5)), LogisticRegression()).fit(texts, table.y)
    assert len(texts) * len(pipe[0].vocabulary_) > 2**21
    with never_filled(monkeypatch, 2**20):
        model = InfluenceEstimator(FrozenEstimator(pipe)).fit(texts, table.y)
        lossy = make_pipeline(HashingVectorizer(), Halved(), LogisticRegression()).fit(texts, table.y)
        with pytest.warns(UserWarning, match="step 'halved' gives other rows by fit_transform"):
            InfluenceEstimator(FrozenEstimator(lossy)).fit(texts, table.y)
    fresh = InfluenceEstimator(make_pipeline(TfidfVectorizer(ngram_range=(1, 5)), LogisticRegression()))
    fresh.fit(texts, table.y)
    np.testing.assert_allclose(
        model.influence_on_loss(aggregate="mean"), fresh.influence_on_loss(aggregate="mean"), atol=1e-9
    )


def test_refitting_transformers_of_words_is_not_filled(monkeypatch):
    texts = documents().tolist()
    y = tables.happiness().y
    with never_filled(monkeypatch, 2**20):
        model = InfluenceEstimator(make_pipeline(TfidfVectorizer(ngram_range=(1, 3)), Ridge())).fit(texts, y)
        model.unlearn([0, 5, 7], refit_transformers=True)
    kept = np.setdiff1d(np.arange(len(texts)), [0, 5, 7])
    refit = make_pipeline(TfidfVectorizer(ngram_range=(1, 3)), Ridge(solver="sparse_cg", tol=1e-12))
    refit.fit([texts[i] for i in kept], y.iloc[kept])
    np.testing.assert_allclose(model.predict(texts[:50]), refit.predict(texts[:50]), atol=1e-9)
