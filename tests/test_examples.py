"""The gallery's examples run, in their fast mode, in an empty folder and without a screen."""

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


def test_bad_option_is_one_error(tmp_path):
    done = _run("plot_predicted_vs_retrained.py", tmp_path, "--slow")
    assert done.returncode == 2 and "unrecognized arguments: --slow" in done.stderr
