"""Large groups, random and coherent, against retraining: a sample of the groups of bench_groups.py."""

import copy
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import retraining
from sklearn.linear_model import LogisticRegression

from sklearn_influence import InfluenceEstimator

pytestmark = pytest.mark.filterwarnings("ignore:One Newton step")
FOLDER = Path(__file__).resolve().parents[1] / "examples" / "benchmarks"
METHODS = ("first_order", "second_order", "newton")


@pytest.fixture(scope="module")
def kept():
    return json.loads((FOLDER / "bench_groups.json").read_text(encoding="utf-8"))


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("bench_groups")


def test_what_was_measured(kept):
    """Each term of the expansion is better than the last for every kind of group; converged is the retrain."""
    table = kept["accuracy"]
    assert len(table) == 40 and {row["share"] for row in table} == {0.2, 0.5}
    assert {row["kind"] for row in table} == {"random", "slice", "cluster", "class"}
    for row in table:
        assert row["second_order"] < row["first_order"] and row["newton"] < row["first_order"], row
        assert row["unlearn_worst"] < 1e-12 and row["newton"] < 0.5, row
    # One step does best where it matters: on coherent groups, which the expansion cannot follow.
    coherent = [row for row in table if row["kind"] in ("slice", "cluster")]
    assert sum(row["newton"] < row["second_order"] for row in coherent) >= len(coherent) - 1


@pytest.mark.parametrize("number", range(5))
def test_a_sample_of_it(number, kept, bench, monkeypatch):
    name, C, X, y = list(bench.problems())[number]
    estimator, n = LogisticRegression(C=C), len(y)
    model = InfluenceEstimator(estimator, solver="direct").fit(X, y)
    before = retraining.retrain(estimator, X, y)
    q = 1 if y.max() == 1 else y.max() + 1
    monkeypatch.setattr(bench, "N_RANDOM", 9)
    monkeypatch.setattr(bench, "N_COHERENT", 2)
    for share in (0.2, 0.5):
        errors = {}
        for kind, rows in bench.make_groups(X, y, share, np.random.default_rng(1)):
            stays = np.ones(n, dtype=bool)
            stays[rows] = False
            assert (~stays).sum() == round(share * n)
            exact = retraining.retrain(estimator, X, y, keep=stays, start=before) - before
            exact = retraining.gauge_free(exact, q, X.shape[1], True)
            found = {}
            for method in METHODS:
                labels = bench.mark(rows, n)
                found[method] = model.set_params(method=method).influence_on_params(groups=labels)[-1]
            model.set_params(method="newton")
            found["unlearn"] = copy.deepcopy(model).unlearn(rows).params_ - before
            for method, change in found.items():
                change = retraining.gauge_free(change, q, X.shape[1], True)
                error = np.linalg.norm(change - exact) / np.linalg.norm(exact)
                errors.setdefault(method, {}).setdefault(kind, []).append(error)
        rows = {r["kind"]: r for r in kept["accuracy"] if (r["problem"], r["C"], r["share"]) == (name, C, share)}
        assert all(max(of) < 1e-10 for of in errors["unlearn"].values())
        for method in METHODS:  # medians of 9 draws are within a half of those of 200
            assert 0.6 < np.median(errors[method]["random"]) / rows["random"][method] < 1.6, (method, share)
            assert all(np.median(of) < 2.5 * rows[kind][method] for kind, of in errors[method].items())


def test_retraining_of_the_benchmark_is_that_of_the_tests(bench):
    for name, C, X, y in list(bench.problems())[1::3]:
        q = 1 if y.max() == 1 else y.max() + 1
        ours = bench.off_gauge(bench.retrain(C, X[::2], y[::2], q)).astype(float)
        theirs = retraining.retrain(LogisticRegression(C=C), X[::2], y[::2])
        theirs = retraining.gauge_free(theirs, q, X.shape[1], True)
        np.testing.assert_allclose(ours, theirs, atol=1e-12 * np.abs(theirs).max(), err_msg=name)
