"""The example of a network and its linearisation: its arithmetic against dense problems, a run, what is kept of it."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plot_training_dynamics.py"
KEPT = ROOT / "examples" / "benchmarks" / "bench_training_dynamics.json"
STRENGTH = 0.03


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLE.parent))
    try:
        return importlib.import_module(EXAMPLE.stem)
    finally:
        sys.path.remove(str(EXAMPLE.parent))


@pytest.fixture(scope="module")
def problem(example):
    """A smooth network at its first weights, another of the same, 12 rows, and which of them stay."""
    rng = np.random.RandomState(0)
    start = example.first_network(4, 6, "tanh")
    X, y = rng.standard_normal((12, 4)), np.repeat([-1.0, 1.0], 6)
    model = start.at(start.params + 0.2 * rng.standard_normal(start.n_params))
    return start, model, example.Task(X, y, X[:3], y[:3]), np.arange(12) % 3 > 0


def test_descent_by_rows_is_the_one_of_the_parameters(example, problem):
    start, _, (X, y, *_), _ = problem
    target = y - start.outputs(X)[:, 0]
    by_rows = example.descend_by_rows(start.gram(X), target, [STRENGTH, 1e-3], 30, shown={0, 7})
    by_params = example.descend(example.Linearisation(start), X, y, STRENGTH, 30, shown={0, 7})
    for (i, alpha, norms), (j, model, norm) in zip(by_rows, by_params, strict=True):
        there = example.combined(start.params, start, X, alpha[:, 0])
        np.testing.assert_allclose(there, model.params, rtol=1e-12, atol=1e-13)
        assert i == j and abs(norms[0] - norm) < 1e-12 * norm
    K = start.gram(X)
    *_, (_, alpha, _) = example.descend_by_rows(K, target, [STRENGTH], 20_000)
    np.testing.assert_allclose(example.where_it_ends(K, target, STRENGTH), alpha[:, 0], rtol=1e-9)


def test_gradients_and_hessians_are_the_differences(example, problem):
    start, model, (X, y, *_), _ = problem
    first, step = start.params, 1e-5

    def risk_and_gradient(params):
        return example.risk_and_gradient(model.at(params), X, y, STRENGTH, first)

    sides = [[risk_and_gradient(model.params + side * e) for side in (step, -step)] for e in np.eye(len(first))]
    gradient = [(there[0] - here[0]) / (2 * step) for there, here in sides]
    np.testing.assert_allclose(risk_and_gradient(model.params)[1], gradient, atol=1e-9)
    hessian = np.array([(there[1] - here[1]) / (2 * step) for there, here in sides])
    product = example.hessian_of(model, X, y, STRENGTH, first).matvec
    np.testing.assert_allclose([product(e) for e in np.eye(len(first))], hessian, atol=1e-6)


def test_steps_are_those_of_dense_matrices(example, problem):
    """In parameter space, by a Jacobian of all rows; Eq. 12 as the paper has it, with its second factor K."""
    start, model, task, stay = problem
    first, (X, y, *_), kept, gone = start.params, task, np.flatnonzero(stay), np.flatnonzero(~stay)
    J, g = model.jacobian(X)[:, 0], model.outputs(X)[:, 0] - y
    H = J[kept].T @ J[kept] / len(kept) + STRENGTH * np.eye(len(first))
    of_kept = J[kept].T @ g[kept] / len(kept) + STRENGTH * (model.params - first)
    close = dict(rtol=1e-9, atol=1e-11)
    ours = example.step_of_those_that_stay(model, task, stay, STRENGTH, first)
    np.testing.assert_allclose(ours, model.params - np.linalg.solve(H, of_kept), **close)
    of_gone = J[gone].T @ g[gone] / len(gone) + STRENGTH * (model.params - first)
    eq_1 = example.eq_1(model, task, stay, STRENGTH, first)
    step = np.linalg.solve(H, len(gone) / len(kept) * of_gone)
    np.testing.assert_allclose(eq_1, model.params + step, **close)

    K, alpha = start.gram(X), -g / (len(y) * STRENGTH)
    K_rr, K_rf = K[np.ix_(kept, kept)], K[np.ix_(kept, gone)]
    share = len(kept) / len(y)
    right = K_rf @ g[gone] / len(y) + (1 - share) * STRENGTH * (K_rf @ alpha[gone] + K_rr @ alpha[kept])
    right += share * (K_rr @ K_rf / len(kept) + STRENGTH * K_rf) @ alpha[gone]
    change = -alpha
    change[kept] = np.linalg.solve(share * (K_rr @ K_rr / len(kept) + STRENGTH * K_rr), right)
    eq_12 = example.eq_12(model, task, stay, STRENGTH, start, K)
    np.testing.assert_allclose(eq_12, example.combined(model.params, start, X, change), rtol=1e-6, atol=1e-8)


def test_what_is_converged_is(example, problem):
    start, model, task, stay = problem
    X, y, linear = task.X[stay], task.y[stay], example.Linearisation(start)
    alpha = example.where_it_ends(start.gram(X), y - start.outputs(X)[:, 0], STRENGTH)
    end = example.combined(start.params, start, X, alpha)
    near = example.accelerated(linear, X, y, STRENGTH, start.params).params
    assert np.linalg.norm(near - end) < 1e-3 * np.linalg.norm(end - start.params)
    there = example.settled(linear, task, stay, STRENGTH, start.params, max_iter=1).params
    np.testing.assert_allclose(there, end, rtol=1e-11, atol=1e-12)
    # The network itself: its steps only ever lower the risk, here until there is no gradient.
    settled = example.settled(model, task, stay, STRENGTH, start.params, max_iter=300)
    assert np.linalg.norm(example.risk_and_gradient(settled, X, y, STRENGTH, start.params)[1]) < 1e-8


def test_it_runs(tmp_path):
    """Stopped, the paper's steps fail on the linearisation, where ours is exact; converged, so are they."""
    pytest.importorskip("matplotlib")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DISPLAY"},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, str(EXAMPLE), "--fast", "--output", "picture.png"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    pattern = r"^linearisation (\w+), (\S+), 50%, (.*): error of the change .*to converged (\S+)$"
    errors = {
        (state, strength, way): float(error) for state, strength, way, error in re.findall(pattern, done.stdout, re.M)
    }
    assert len(errors) == 16
    for (state, _, way), error in errors.items():
        if way != "nothing":
            assert error > 0.1 if state == "stopped" and way != "ours" else error < 1e-10


def test_kept_results_of_mnist():
    """What the documentation says: the paper's steps fail on a linearisation whose training had stopped, ours never."""
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    assert KEPT.with_suffix(".png").exists()
    ends = [figure["seen"][-1] for figure in kept["dynamics"]]
    for what in ("distance", "rmse"):
        assert sorted(end[what] for end in ends) == [end[what] for end in ends]
    assert ends[0]["gradient norm"][1] < 1e-12 < 1e-3 < ends[0]["gradient norm"][0]  # the kinks
    assert min(ends[3]["gradient norm"]) > 5e-3
    for activation, by_strength in kept["unlearning"].items():
        errors = {
            tuple(record[name] for name in ("kind", "state", "strength", "share", "way")): record["to converged"][
                "error of the change"
            ]
            for found in by_strength.values()
            for record in found["records"]
        }
        for (kind, state, strength, _, way), error in errors.items():
            if way == "nothing":
                continue
            if kind == "linearisation":
                exact = state == "converged" or way == "ours"
                assert error < 1e-9 if exact else error > (5 if strength == 1e-4 else 1e-3)
            elif way == "Eq. 12" and strength == 1e-4:
                assert error > 3 if state == "stopped" else error < 1.6
            elif way == "ours, at its weights":
                assert error < (1.3 if strength == 1e-4 else 0.75)
            elif activation == "tanh" and way == "ours, repeated" and strength == 1e-2:
                assert error < 0.01
