"""The command line: ``sklearn-influence audit``.

Arguments are checked, and the output directory made, before any work starts.
"""

import argparse
import math
import os
import sys
import tempfile

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from . import InfluenceEstimator, __version__
from .report import audit

MAX_TOP = 100

DESCRIPTION = """\
Which training rows made this model say that, and what would it be without them?

Commands:
  audit    rank the training rows of a model: which hurt it, which carry it,
           which look mislabelled, and what removing them really does
"""

AUDIT_DESCRIPTION = """\
Fit a linear model on a data set that comes with scikit-learn, and print which of
its training rows hurt it, which carry it and which look wrong. Then the most
harmful rows are removed, and the effect is measured on rows kept apart for that.

  --model logistic   classifies the breast cancer data (the default)
  --model ridge      predicts disease progression in the diabetes data
"""

AUDIT_EPILOG = """\
examples:
  sklearn-influence audit
  sklearn-influence audit --top 5 --output audit_of_breast_cancer
  sklearn-influence audit --model ridge --penalty 0.1
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
        0 when the report was printed. What is wrong in the arguments, or a directory that cannot
        be written, ends the process with status 2 and one sentence on the standard error.

    Examples
    --------
    >>> from sklearn_influence.cli import main
    >>> main(["audit", "--top", "3"])  # doctest: +ELLIPSIS
    Audit of LogisticRegression...
    0
    """
    parser, commands = _parsers()
    options, unknown = parser.parse_known_args(argv)
    if options.command is None:
        parser.error("say which command to run: audit")
    if unknown:
        commands[options.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.output is not None:
        reason = _why_not_writable(options.output)
        if reason:
            commands[options.command].error(f"argument --output: {reason}")
    report = _audit(options)
    _print(str(report))
    if options.output is not None:
        files = report.save(options.output)
        _print("\nWritten: " + "\n         ".join(str(file) for file in files))
        if report.picture_missing:
            _print(f"No picture: {report.picture_missing}.")
    return 0


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
        description=AUDIT_DESCRIPTION,
        epilog=AUDIT_EPILOG,
        formatter_class=layout,
    )
    add = command.add_argument
    add("--model", choices=("logistic", "ridge"), default="logistic", help="default: logistic")
    add(
        "--penalty",
        type=_positive,
        default=1.0,
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
        help="also write ranking.csv, report.json and audit.png (needs matplotlib) to DIR",
    )
    add(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="decides which rows train, validate and test, and the random draws (default: 0)",
    )
    return parser, {"audit": command}


def _audit(options):
    """Load, split 60 / 20 / 20, scale, fit, audit."""
    if options.model == "logistic":
        data = load_breast_cancer()
        X, y = data.data, data.target_names[data.target]
        stratify, estimator = y, LogisticRegression(C=1 / options.penalty, max_iter=10_000)
    else:
        X, y = load_diabetes(return_X_y=True)
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
    return audit(
        model,
        X_val,
        y[validation],
        X_train=X_train,
        y_train=y[train],
        X_test=X_test,
        y_test=y[test],
        row_names=train,  # the row's number in the whole data set
        k=options.top,
        random_state=options.seed,
    )


def _why_not_writable(directory):
    """Make the directory; return what stands in the way, or None."""
    if os.path.exists(directory) and not os.path.isdir(directory):
        return f"{directory!r} is a file; give the name of a directory"
    try:
        os.makedirs(directory, exist_ok=True)
        # Permission bits do not tell (read-only mounts, root), so try.
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        return f"cannot write to {directory!r}: {error.strerror or error}"
    return None


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
    """Print, and leave quietly where the reader has closed the pipe (``| head``)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes once more at exit and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
