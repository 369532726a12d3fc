"""The example of every inverse Hessian runs, and what is kept of MNIST is what the documentation says."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sklearn_influence.diagnostics import agreement

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plot_hessian_estimation.py"
KEPT = ROOT / "examples" / "benchmarks" / "bench_hessian_estimation.json"

# What is held for a solver and a method: the least correlation and the largest distance of the slope from 1, on
# digits and on MNIST. A solver that is added to the example is added here. What the approximations make of 30 rows of
# digits is no figure to rely on, but their order is that of MNIST.
EXACT = ((0.9999, 0.003), (0.99999, 0.002))
BOUNDS = {
    ("direct", "newton"): EXACT,
    ("direct", "first_order"): ((0.999, 0.06), (0.9999, 0.01)),
    ("cg", "newton"): EXACT,
    ("cg", "first_order"): ((0.999, 0.06), (0.9999, 0.01)),
    ("stochastic", "first_order"): ((0.995, 0.08), (0.9999, 0.01)),
    ("outer_product", "first_order"): ((0.0, 1.0), (0.8, 0.2)),
    ("diagonal", "first_order"): ((-1.0, 9.0), (0.5, 4.0)),
}
FIGURES = re.compile(r"^(\w+) +(\w+) +correlation ([-.\d]+) +slope ([-.\d]+) +[.\d]+ s$", re.M)


def _run(folder, *arguments):
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DISPLAY"},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, str(EXAMPLE), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["picture.png"]
    assert (folder / "picture.png").stat().st_size > 10_000
    return {(solver, method): (float(c), float(s)) for solver, method, c, s in FIGURES.findall(done.stdout)}


@pytest.fixture(scope="module")
def kept():
    return json.loads(KEPT.read_text(encoding="utf-8"))


def test_digits(tmp_path):
    pytest.importorskip("matplotlib")
    figures = _run(tmp_path, "--fast", "--output", "picture.png")
    assert figures.keys() == BOUNDS.keys()
    for key, (correlation, slope) in figures.items():
        least, off = BOUNDS[key][0]
        assert correlation >= least and abs(slope - 1) <= off, key
    assert figures["direct", "newton"] == figures["cg", "newton"]
    exact, outer_product, diagonal = (
        figures[solver, "first_order"][0] for solver in ("direct", "outer_product", "diagonal")
    )
    assert exact > outer_product > diagonal
    # The curvature without the row is worth something.
    assert abs(figures["direct", "newton"][1] - 1) < abs(figures["direct", "first_order"][1] - 1) / 5


def test_kept_results_are_drawn(tmp_path, kept):
    pytest.importorskip("matplotlib")
    figures = _run(tmp_path, "--results", str(KEPT), "--output", "picture.png")
    assert len(figures) == len(kept["harmful"]["predictions"])


def test_both_phases_of_the_benchmark(tmp_path, monkeypatch):
    """On digits, a few rows: what is retrained is kept, and predicted without retraining."""
    monkeypatch.syspath_prepend(KEPT.parent)
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    bench = importlib.import_module("bench_hessian_estimation")
    for name, value in {"OUT": tmp_path / "kept.json", "ROWS": 6, "CHECKED": (0, 5)}.items():
        monkeypatch.setattr(bench, name, value)
    data = bench.example.digits()
    bench.retrain(*data, "absolute")
    actual = bench.load()["absolute"]["actual"]
    for _ in range(2):  # a second prediction takes the place of the first
        bench.predict(*data, "absolute", ("direct",))
    results = bench.load()["absolute"]
    assert results["actual"] == actual and max(check["difference"] for check in results["scikit_learn"]) < 1e-6
    assert [record["method"] for record in results["predictions"]] == ["newton", "first_order"]
    assert results["predictions"][0]["relative_error"] < 0.02


def test_mnist_truth(kept):
    """Rows, gradients that are gone, and scikit-learn's own refits in agreement."""
    assert (kept["n"], kept["p"], kept["strength"]) == (55_000, 7_840, 0.01)
    assert kept["test"]["label"] != kept["test"]["predicted"]
    results = kept["harmful"]
    actual = np.array(results["actual"])
    assert len(actual) == len(set(results["rows"])) == 500 and max(results["rows"]) < 55_000
    assert (actual < 0).all()  # the largest derivatives by the weight: rows that hurt
    assert max(results["gradient"]) <= 1e-10
    assert kept["optimum_gradient"] <= 1e-9 * results["smallest_row_gradient"]
    assert len(results["scikit_learn"]) >= 3
    for check in results["scikit_learn"]:
        assert check["row"] in results["rows"] and check["difference"] < 1e-6


@pytest.mark.parametrize("key", BOUNDS, ids="-".join)
def test_mnist_predictions(kept, key):
    results = kept["harmful"]
    [record] = [record for record in results["predictions"] if (record["solver"], record["method"]) == key]
    result = agreement(record["predicted"], results["actual"])
    assert result.n == 500
    assert record["correlation"] == pytest.approx(result.correlation, abs=1e-12)
    assert record["slope"] == pytest.approx(result.slope, abs=1e-12)
    least, off = BOUNDS[key][1]
    assert result.correlation >= least and abs(result.slope - 1) <= off


def test_mnist_order(kept):
    """Exact inverses first, the diagonal last, as in the source."""
    found = {(record["solver"], record["method"]): record for record in kept["harmful"]["predictions"]}
    assert found["cg", "newton"]["correlation"] == pytest.approx(found["direct", "newton"]["correlation"], abs=1e-9)
    error = {solver: record["relative_error"] for (solver, _), record in found.items()}
    error["newton"] = found["direct", "newton"]["relative_error"]
    assert error["newton"] < error["stochastic"] < error["outer_product"] < error["diagonal"]
    correlation = {solver: record["correlation"] for (solver, _), record in found.items()}
    assert correlation["direct"] >= correlation["stochastic"] > correlation["outer_product"] > correlation["diagonal"]


def test_table_of_the_documentation_is_what_is_kept(kept):
    page = (ROOT / "doc" / "accuracy.rst").read_text(encoding="utf-8")
    section = page.split("Every inverse Hessian, on MNIST\n")[1]
    table = re.findall(r"^([a-z_]+|\.\.) +(newton|first order) +([-.\d]+) +([-.\d]+) +(\d+) s *$", section, re.M)
    rows, solver = set(), None
    for name, *rest in table:
        solver = solver if name == ".." else name
        rows.add((solver, *rest))
    assert len(rows) == len(table) and rows == {
        (
            record["solver"],
            record["method"].replace("_", " "),
            f"{record['correlation']:.5f}".removeprefix("0"),
            f"{record['slope']:.4f}".removeprefix("0"),
            f"{record['seconds']:.0f}",
        )
        for record in kept["harmful"]["predictions"]
    }
