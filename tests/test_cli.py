"""The command line: what it prints and writes, and what it refuses before any work."""

import json
import os
import re
import subprocess
import sys

import pytest

import sklearn_influence
from sklearn_influence import cli
from sklearn_influence.report import AuditReport


@pytest.fixture
def run(capsys):
    """Run the command in this process: (status, standard output, standard error)."""

    def call(*arguments):
        try:
            status = cli.main(list(arguments))
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def no_work(monkeypatch):
    def fail(*arguments):
        raise AssertionError("work was started")

    monkeypatch.setattr(cli, "_audit", fail)
    monkeypatch.setattr(cli, "audit_file", fail)


def test_audit_prints_the_report(run):
    status, out, err = run("audit", "--top", "4")
    assert status == 0 and err == ""
    assert out.startswith("Audit of LogisticRegression(")
    assert "341 training rows, 30 columns, method newton" in out
    assert "Unlearning the 4 most harmful rows" in out
    assert "malignant" in out and "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert "Written" not in out


def test_ridge_first_order_and_files(run, tmp_path):
    directory = tmp_path / "a" / "b"
    arguments = ["audit", "--model", "ridge", "--penalty", "0.5", "--method", "first_order"]
    status, out, err = run(*arguments, "--top", "3", "--seed", "7", "--output", str(directory))
    assert status == 0 and err == ""
    assert out.startswith("Audit of Ridge(alpha=0.5)") and "method first_order" in out
    names = sorted(path.name for path in directory.iterdir())
    assert {"ranking.csv", "report.json"} <= set(names)
    assert all(str(directory / name) in out for name in names)
    content = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    assert content["method"] == "first_order" and content["k"] == 3
    assert content["n_train"] == len(content["rows"]["row"]) == 265
    # Rows carry their number in the whole data set, not in the split.
    assert max(content["rows"]["row"]) > 300


def test_the_seed_decides_everything(run):
    same = [run("audit", "--top", "2", "--model", "ridge", "--seed", "3")[1] for _ in range(2)]
    assert same[0] == same[1]
    assert run("audit", "--top", "2", "--model", "ridge", "--seed", "4")[1] != same[0]


def test_penalty_means_the_same_for_both_models(run):
    assert "LogisticRegression(C=0.25" in run("audit", "--top", "1", "--penalty", "4")[1]


def test_missing_matplotlib_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, _ = run("audit", "--model", "ridge", "--top", "1", "--output", str(tmp_path))
    assert status == 0
    assert "No picture: matplotlib is not installed" in out
    assert not (tmp_path / "audit.png").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "say which command to run: audit"),
        (["audit", "--top", "0"], "argument --top: must be from 1 to 100, got 0"),
        (["audit", "--top", "101"], "argument --top: must be from 1 to 100, got 101"),
        (["audit", "--top", "ten"], "argument --top: must be a whole number, got 'ten'"),
        (["audit", "--seed", "-1"], "argument --seed: must be from 0 to 4294967295, got -1"),
        (["audit", "--penalty", "0"], "argument --penalty: must be above 0 and finite, got 0"),
        (["audit", "--penalty", "nan"], "must be above 0 and finite, got nan"),
        (["audit", "--penalty", "x"], "argument --penalty: must be a number, got 'x'"),
        (["audit", "--model", "tree"], "invalid choice: 'tree'"),
        (["audit", "--method", "exact"], "invalid choice: 'exact'"),
        (["audit", "rows.csv"], "--target is needed with a FILE: name the column to predict"),
        (["audit", "rows.csv", "more.csv", "--target", "y"], "unrecognized arguments: more.csv"),
        (["audit", "--target", "y"], "--target needs a FILE, the table whose column it names"),
        (["audit", "--drop", "y"], "--drop needs a FILE"),
        (["audit", "--groups", "y"], "--groups needs a FILE"),
        (["audit", "--drop", ","], "argument --drop: names no column"),
        (["audit", "--model", "linear"], "--model linear needs a FILE; without one, logistic or ridge"),
        (
            ["audit", "rows.csv", "--target", "y", "--model", "linear", "--penalty", "2"],
            "--penalty does not go with --model linear, which has none; say --model ridge",
        ),
    ],
)
def test_bad_arguments_exit_2_with_one_sentence(run, no_work, arguments, message):
    status, out, err = run(*arguments)
    assert status == 2 and out == ""
    assert message in err and err.count("\n") == 1
    assert re.fullmatch(r"sklearn-influence( audit)?: error: .* --help\)\n", err)


def test_output_that_cannot_be_written_is_refused_before_work(run, no_work, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("precious")
    status, out, err = run("audit", "--output", str(file))
    assert (status, out) == (2, "") and "is a file; give the name of a directory" in err
    status, out, err = run("audit", "--output", str(file / "below"))
    assert (status, out) == (2, "") and "cannot write to" in err
    assert file.read_text() == "precious"

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cli.tempfile, "TemporaryFile", refuse)
    status, out, err = run("audit", "--output", str(tmp_path))
    assert status == 2 and "Permission denied" in err and err.count("\n") == 1


def test_help_and_version(run):
    status, out, _ = run("--version")
    assert status == 0 and out == f"sklearn-influence {sklearn_influence.__version__}\n"
    status, out, _ = run("--help")
    assert status == 0 and "audit" in out
    status, out, _ = run("audit", "--help")
    assert status == 0
    options = ("--target", "--drop", "--id", "--groups", "--weight", "--model", "--penalty", "--method", "--top")
    for option in (*options, "--output", "--seed", "--quiet"):
        assert option in out
    assert max(map(len, out.splitlines())) <= 100


def test_python_dash_m_in_an_empty_folder(tmp_path):
    command = [sys.executable, "-m", "sklearn_influence", "audit", "--top", "2", "--model", "ridge"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Audit of Ridge()")
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_error(tmp_path):
    """As in ``sklearn-influence audit | head -1``, the reader gone before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "sklearn_influence", "audit", "--top", "2", "--model", "ridge"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def _command(*arguments):
    """The command as a process of its own, and its environment."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return [sys.executable, "-m", "sklearn_influence", *arguments], environment


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_an_output_that_is_full_is_one_sentence(tmp_path):
    command, environment = _command("audit", "--top", "1", "--model", "ridge", "--output", str(tmp_path))
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"sklearn-influence audit: error: cannot write to the standard output: .*\n", done.stderr)
    assert (tmp_path / "ranking.csv").exists()  # what can be written is


def test_files_that_cannot_be_written_are_one_sentence(run, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditReport, "save", fail)
    status, out, err = run("audit", "--top", "1", "--model", "ridge", "--output", str(tmp_path))
    assert status == 2 and out.startswith("Audit of Ridge()")
    assert err.endswith(f"cannot write to {str(tmp_path)!r}: No space left on device\n") and err.count("\n") == 1


def test_an_interrupt_while_importing_is_no_traceback(tmp_path):
    """scikit-learn takes a second to import, and is not in the command's own module."""
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('numpy', 'sklearn'):\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "import sklearn_influence.__main__\n"
        "sys.exit(sklearn_influence.__main__.main())"
    )
    environment = _command()[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("file", [[], ["rows.csv", "--target", "y"]])
def test_an_interrupt_leaves_no_empty_folder(run, tmp_path, monkeypatch, file):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_audit", interrupt)
    monkeypatch.setattr(cli, "audit_file", interrupt)
    (tmp_path / "mine").mkdir()
    for made in ("new", "new/below", "mine", "mine/new"):
        assert run("audit", *file, "--output", str(tmp_path / made)) == (130, "", "interrupted\n")
        assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_refusal_leaves_no_empty_folder(run, tmp_path):
    status, *_ = run("audit", str(tmp_path / "no.csv"), "--target", "y", "--output", str(tmp_path / "new"))
    assert status == 2 and list(tmp_path.iterdir()) == []


def test_files_of_an_earlier_report_do_not_stay_beside_the_new_one(run, tmp_path):
    options = ["audit", "--top", "1", "--model", "ridge", "--output", str(tmp_path)]
    for name in ("groups.csv", "slices.csv", "notes.txt"):
        (tmp_path / name).write_text("mine")
    status, out, _ = run(*options)
    # No report was here, so they are somebody else's.
    assert status == 0 and "Removed" not in out and (tmp_path / "groups.csv").read_text() == "mine"
    status, out, _ = run(*options)
    assert status == 0 and "Removed, from an earlier report: slices.csv, groups.csv" in out
    assert not (tmp_path / "groups.csv").exists() and (tmp_path / "notes.txt").read_text() == "mine"
    assert "Removed" not in run(*options)[1]


def test_numbers_of_rows_are_explained(run):
    _, out, _ = run("audit", "--top", "2")
    assert "Rows go by their number in that data; the first is 0." in out and "position" not in out
    text = " ".join(run("audit", "--help")[1].split())
    assert "position: its number among the training rows only" in text


def test_the_default_audit_needs_no_pandas(tmp_path):
    """The first command of the README installs no data frames."""
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('pandas', 'matplotlib'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from sklearn_influence.cli import main\n"
        "sys.exit(main(['audit', '--top', '2', '--output', 'out']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Audit of LogisticRegression" in done.stdout and "No picture: matplotlib is not installed" in done.stdout
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["held_out.csv", "ranking.csv", "report.json"]


@pytest.mark.parametrize("words", [["--outpt", "x"], ["--data", "my.csv"]])
def test_unknown_arguments_point_to_the_help_of_the_command(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["audit", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert words[0] in error and "sklearn-influence audit --help" in error
