"""The command line: ``sklearn-influence audit``.

Arguments are checked, and the output directory made, before any work starts.
"""

import argparse
import contextlib
import logging
import math
import os
import re
import sys
import tempfile
import time
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from . import InfluenceEstimator, __version__
from ._table.file import TableError
from ._table.phases import audit_file
from ._table.table import MODELS
from .report import audit

MAX_TOP = 100
OPTIONAL_FILES = ("slices.csv", "groups.csv", "audit.png")

DESCRIPTION = """\
Which training rows made this model say that, and what would it be without them?

Commands:
  audit    rank the training rows of a model: which hurt it, which carry it,
           which look mislabelled, and what removing them really does
"""

AUDIT_DESCRIPTION = """\
Fit a linear model on a table, and print which of its rows hurt it, which carry it
and which look wrong. Then the most harmful rows are removed, and the effect is
measured on rows kept apart for that.

FILE is CSV (also .csv.gz; with commas, semicolons or tabs) or Parquet, one line of
column names and then the rows; empty cells are missing values. 60 % of the rows
train the model, 20 % judge its rows, 20 % test. Numbers are scaled, their missing
values filled in; each text becomes a column of its own. The report also lists rows
that equal others, rows that stand alone, and slices that hurt or carry the model.

Without FILE, a data set that comes with scikit-learn is audited: breast cancer, or
with --model ridge diabetes.
"""

AUDIT_EPILOG = """\
models:
  auto              logistic for text, true/false and up to 10 whole numbers, else ridge
  logistic          labels, by logistic regression
  ridge_classifier  labels, by least squares
  ridge             numbers, by least squares with a penalty
  linear            numbers, by least squares

files in DIR:
  ranking.csv   a line for each training row, the most harmful first. row: its number in the
                file, or its name; position: its number among the training rows only, from 0,
                which is what unlearn takes in Python; then the numbers of the report
  report.json   all numbers of the report
  slices.csv    what the rows of each category do together
  groups.csv    what leaving out each group does
  audit.png     the picture

examples:
  sklearn-influence audit
  sklearn-influence audit people.csv --target income
  sklearn-influence audit people.csv --target income --id person --drop name,address
  sklearn-influence audit sales.parquet --target price --groups shop --output report
"""


class _Parser(argparse.ArgumentParser):
    """Errors in one sentence, without the usage lines."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (try {self.prog} --help)\n")


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0 when the report was printed, 130 when it was interrupted, 2 when the report could not be written. What is
        wrong in the arguments or the file, or a directory that cannot be written, ends the process with status 2. One
        sentence on the standard error says so.

    Examples
    --------
    >>> from sklearn_influence.cli import main
    >>> main(["audit", "--top", "3"])  # doctest: +ELLIPSIS
    Audit of LogisticRegression...
    0
    """
    made = []
    try:
        return _run(argv, made)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        # A run that ends early leaves no empty directories behind.
        with contextlib.suppress(OSError):
            for directory in made:
                os.rmdir(directory)


def _run(argv, made):
    """`main`; ``made`` gains the directories made, the innermost first."""
    parser, commands = _parsers()
    options, unknown = parser.parse_known_args(argv)
    if options.command is None:
        parser.error("say which command to run: audit")
    command = commands[options.command]
    if unknown:
        command.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.output is not None:
        reason = _why_not_writable(options.output, made)
        if reason:
            command.error(f"argument --output: {reason}")
    _check_together(command, options)
    if options.file is None:
        report = _audit(options)
    else:
        try:
            with _reporting(options.quiet) as tell:
                report = audit_file(options, tell)
        except TableError as error:
            command.exit(2, f"{command.prog}: error: {options.file}: {error}\n")
    unwritten = [_print(str(report))]
    if options.output is not None:
        saved, failure = _save(report, options.output)
        unwritten += [_print(saved) if saved else None, failure]
    for reason in dict.fromkeys(filter(None, unwritten)):
        print(f"{command.prog}: error: {reason}", file=sys.stderr)
    return 2 if any(unwritten) else 0


def _save(report, directory):
    """Write the report's files: (what to say, what went wrong)."""
    # Files of an earlier report that this one has not would pass for its own.
    earlier = [name for name in OPTIONAL_FILES if _is_ours(directory) and os.path.exists(os.path.join(directory, name))]
    try:
        files = report.save(directory)
        stale = [name for name in earlier if name not in {file.name for file in files}]
        for name in stale:
            os.remove(os.path.join(directory, name))
    except OSError as error:
        return None, f"argument --output: cannot write to {directory!r}: {error.strerror or error}"
    said = "\nWritten: " + "\n         ".join(str(file) for file in files)
    if stale:
        said += f"\nRemoved, from an earlier report: {', '.join(stale)}"
    if report.picture_missing:
        said += f"\nNo picture: {report.picture_missing}."
    return said, None


def _is_ours(directory):
    """Whether a report of an audit is in the directory."""
    try:
        with open(os.path.join(directory, "report.json"), encoding="utf-8") as stream:
            start = stream.read(1000)
    except (OSError, UnicodeDecodeError):
        return False
    return '"versions"' in start and '"sklearn_influence"' in start


def _parsers():
    """The parser, and that of each command by name."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="sklearn-influence",
        usage="sklearn-influence [--help] [--version] audit [options]",
        description=DESCRIPTION,
        epilog="sklearn-influence audit --help tells its options.",
        formatter_class=layout,
    )
    parser.add_argument("--version", action="version", version=f"sklearn-influence {__version__}")
    # The commands are listed in the description: argparse's own list repeats their names thrice.
    subparsers = parser.add_subparsers(dest="command", metavar="audit", help=argparse.SUPPRESS)
    command = subparsers.add_parser(
        "audit",
        prog="sklearn-influence audit",  # without the main parser's usage in front
        usage="sklearn-influence audit [FILE --target COL] [options]",
        description=AUDIT_DESCRIPTION,
        epilog=AUDIT_EPILOG,
        formatter_class=layout,
    )
    _add_table_options(command.add_argument_group("the table"))
    _add_audit_options(command.add_argument_group("the audit"))
    return parser, {"audit": command}


def _add_table_options(group):
    add = group.add_argument
    add("file", nargs="?", metavar="FILE", help="CSV or Parquet file")
    add("--target", metavar="COL", help="the column to predict; rows without it are left out")
    add("--drop", action="append", default=[], type=_names, metavar="COL,...", help="columns that are no features")
    add("--id", metavar="COL", help="names of the rows in the report, no feature (default: row numbers from 0)")
    add("--groups", metavar="COL", help="no feature: also say what leaving out all rows of each value does")
    add("--weight", metavar="COL", help="weights of the rows in the fit, no feature")


def _add_audit_options(group):
    add = group.add_argument
    add("--model", choices=("auto", *MODELS), default="auto", metavar="MODEL", help="see below (default: auto)")
    add(
        "--penalty",
        type=_positive,
        default=None,
        metavar="STRENGTH",
        help="strength of the L2 penalty, above 0: ridge's alpha, logistic's 1/C (default: 1)",
    )
    add(
        "--method",
        choices=("newton", "first_order"),
        default="newton",
        help="how the effect of a removal is predicted (default: newton, the accurate one)",
    )
    add(
        "--top",
        type=_count,
        default=10,
        metavar="K",
        help=f"rows in each list, and rows to remove; 1 to {MAX_TOP} (default: 10)",
    )
    add(
        "--output",
        metavar="DIR",
        help="also write ranking.csv, report.json, audit.png (needs matplotlib), slices.csv and groups.csv to DIR",
    )
    add(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="decides which rows train, validate and test, and the random draws (default: 0)",
    )
    add("--quiet", action="store_true", help="no expected cost and no progress on the standard error")


def _check_together(command, options):
    """Refuse options that do not go together, before any work; fill in what depends on others."""
    options.drop = [name for names in options.drop for name in names]
    if options.file is None:
        for name in ("target", "drop", "id", "groups", "weight"):
            if getattr(options, name):
                command.error(f"--{name} needs a FILE, the table whose column it names")
        if options.model not in ("auto", "logistic", "ridge"):
            command.error(f"--model {options.model} needs a FILE; without one, logistic or ridge")
    elif options.target is None:
        command.error("--target is needed with a FILE: name the column to predict")
    if options.model == "linear" and options.penalty is not None:
        command.error("--penalty does not go with --model linear, which has none; say --model ridge")
    options.penalty = 1.0 if options.penalty is None else options.penalty


# Progress of loops that were over before anyone looked.
_FINISHED = re.compile(r"(.*): (\d+) of \2 blocks, [01]\.\d s")


def _phase(message):
    """A progress record in a person's words."""
    message = message.removeprefix("audit: ")
    found = re.fullmatch(r"(.*): (\d+) of (\d+) blocks, .*", message)
    return f"{found[1]}: {int(found[2]) / int(found[3]):.0%}" if found else message


@contextlib.contextmanager
def _reporting(quiet):
    """Sentences, progress and warnings as plain lines on the standard error; none of them where quiet."""

    def say(text):
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    start, logger = time.perf_counter(), logging.getLogger("sklearn_influence")
    handler = logging.Handler()
    handler.emit = lambda record: say(f"[{time.perf_counter() - start:4.0f} s] {_phase(record.getMessage())}")
    handler.addFilter(lambda record: not _FINISHED.fullmatch(record.getMessage()))
    level, propagate = logger.level, logger.propagate
    told = set()

    def show(message, category, filename, lineno, file=None, line=None):
        if str(message) not in told:
            told.add(str(message))
            say(f"warning: {message}")

    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield say
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _audit(options):
    """Load, split 60 / 20 / 20, scale, fit, audit."""
    if options.model != "ridge":
        name, data = "Breast cancer", load_breast_cancer()
        X, y = data.data, data.target_names[data.target]
        stratify, estimator = y, LogisticRegression(C=1 / options.penalty, max_iter=10_000)
    else:
        name, (X, y) = "Diabetes", load_diabetes(return_X_y=True)
        stratify, estimator = None, Ridge(alpha=options.penalty)
    train, rest = train_test_split(np.arange(len(y)), test_size=0.4, random_state=options.seed, stratify=stratify)
    validation, test = train_test_split(
        rest,
        test_size=0.5,
        random_state=options.seed,
        stratify=None if stratify is None else stratify[rest],
    )
    scaler = StandardScaler().fit(X[train])
    X_train, X_val, X_test = (scaler.transform(X[rows]) for rows in (train, validation, test))
    model = InfluenceEstimator(estimator, method=options.method).fit(X_train, y[train])
    report = audit(
        model,
        X_val,
        y[validation],
        X_train=X_train,
        y_train=y[train],
        X_test=X_test,
        y_test=y[test],
        row_names=train,  # the rows' numbers in the whole data set
        val_names=validation,
        test_names=test,
        k=options.top,
        random_state=options.seed,
    )
    report.data = [
        f"{name}, which comes with scikit-learn: {X.shape[0]} rows, {X.shape[1]} columns, scaled.",
        "Rows go by their number in that data; the first is 0.",
        f"Parts: {len(train)} rows to train, {len(validation)} to validate, {len(test)} to test (seed {options.seed}).",
    ]
    return report


def _why_not_writable(directory, made):
    """Make the directory, of which ``made`` gains what was not there; return what stands in the way, or None."""
    if os.path.exists(directory) and not os.path.isdir(directory):
        return f"{directory!r} is a file; give the name of a directory"
    missing = os.path.abspath(directory)
    try:
        while not os.path.exists(missing):
            made.append(missing)
            missing = os.path.dirname(missing)
        os.makedirs(directory, exist_ok=True)
        # Permission bits do not tell (read-only mounts, root), so try.
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        return f"cannot write to {directory!r}: {error.strerror or error}"
    return None


def _names(text):
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("names no column")
    return names


def _count(text):
    value = _integer(text)
    if not 1 <= value <= MAX_TOP:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_TOP}, got {value}")
    return value


def _seed(text):
    value = _integer(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**32 - 1}, got {value}")
    return value


def _integer(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None


def _positive(text):
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, got {text}")
    return value


def _print(text):
    """Print; return what went wrong, or None, also where the reader has closed the pipe (``| head``)."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Python flushes once more at exit and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            return f"cannot write to the standard output: {error.strerror or error}"
    return None
