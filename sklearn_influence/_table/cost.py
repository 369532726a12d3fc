"""What an audit of a table will cost on this machine: a rehearsal on a few rows, scaled up."""

import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from .._report.removal import GROUP_WORK, ROW_WORK, SLICE_WORK, affordable
from ..diagnostics import unlearning_effect

SMALL = 5_000  # rows up to which no rehearsal pays
FITS = 6  # the model and five folds, nearly
DRAWS = 20
FEWEST_DRAWS = 5
# Removals of random rows may take this many seconds; with fewer draws the comparison is coarser.
_DRAWING = 60.0
# Pairs of a training and a validation row, where there is one output: about a minute of work on two cores.
MOST_PAIRS = 3e9
_REHEARSAL = (2_000, 4_000)
_PROBES = 4_000
_BLOCK = 2**30


@dataclass
class Cost:
    """Seconds and bytes, and the number of random removals that the time allows."""

    seconds: float
    memory: float
    draws: int

    def __str__(self):
        seconds = "a few seconds" if self.seconds < 5 else f"about {_rounded(self.seconds)} s"
        if self.seconds >= 120:
            seconds = f"about {self.seconds / 60:.0f} min"
        return f"{seconds}, about {max(self.memory, 1e8) / 1e9:.1f} GB of memory"


def validation_rows(table, n_train, n_validation):
    """How many of the validation rows the effects can be measured on in reasonable time."""
    if not _pairs_count(table):
        return n_validation
    return int(min(n_validation, max(1_000, MOST_PAIRS // (n_train * table.n_outputs**1.5))))


def _pairs_count(table):
    """Whether effects cost by the pair of rows: sums of squared losses do not."""
    return table.model == "logistic"


def estimate(table, train, validation, k, wrap):
    """The expected cost of an audit.

    Parameters
    ----------
    table : Table
    train, validation : ndarray of int
        Row numbers of the table.
    k : int
        Length of the report's lists.
    wrap : callable
        ``wrap(rows)`` gives a model fitted on those rows of the table.

    Returns
    -------
    Cost
        Within a factor of about 2, where the rehearsal (a second or two) is typical of the rest.
    """
    n, m, p = len(train), len(validation), table.n_encoded
    memory = 2.5e8 + 3.0 * table.X.memory_usage(deep=False).sum()
    memory += min(8.0 * m * n * table.n_outputs, _BLOCK) if _pairs_count(table) else 0.0
    memory += 12.0 * table.n_filled * n * 4 if table.sparse else 8.0 * n * p * 4
    if n <= SMALL:
        return Cost(3.0, memory, DRAWS)
    few = validation[:_PROBES]
    timed = [_rehearse(table, _some(table, train, size), few, wrap) for size in _REHEARSAL]
    fit, unlearn = (_line([part[name] for part in timed], n) for name in ("fit", "unlearn"))
    effects = _line([part["effects"] for part in timed], n * (m / len(few) if _pairs_count(table) else 1.0))
    # Categories that no row of the rehearsal has are columns that it has not.
    wider = max(p / max(timed[-1]["columns"], 1), 1.0)
    unlearn *= wider
    draws = int(min(DRAWS, max(FEWEST_DRAWS, _DRAWING // max(unlearn, 1e-9) - 1)))
    return Cost((FITS * fit + effects) * wider + (1 + draws + _refits(table, n, p, k)) * unlearn, memory, draws)


def _refits(table, n, p, k):
    """About how many removals the report measures besides: the slices that stand out, the listed rows, the groups."""
    slices = min(4 * k, affordable(n, p * table.n_outputs, SLICE_WORK))
    rows = 2 * k if _pairs_count(table) and affordable(n, p * table.n_outputs, ROW_WORK) >= 2 * k else 0
    groups = 0 if table.groups is None else len(np.unique(table.groups))
    return slices + rows + (groups if groups <= affordable(n, p * table.n_outputs, GROUP_WORK) else 0)


def _rehearse(table, rows, validation, wrap):
    """Seconds of each part on some rows."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = wrap(rows)
        fitted = time.perf_counter()
        n_params = len(model.params_)
        model.self_influence()
        solved = time.perf_counter()
        model.influence_on_loss(*table.take(validation), aggregate="mean")
        measured = time.perf_counter()
        unlearning_effect(model, np.arange(10), *table.take(validation[: len(rows) // 3]))
    return {
        "fit": fitted - start,
        "effects": measured - solved,
        "unlearn": time.perf_counter() - measured,
        "columns": n_params / table.n_outputs,
    }


def _line(seconds, n):
    """Seconds at n rows, on the line through those at the two sizes of the rehearsal, which are noisy."""
    small, large = _REHEARSAL
    slope = np.clip((seconds[1] - seconds[0]) / (large - small), 0.25 * seconds[1] / large, seconds[1] / large)
    return seconds[1] + slope * (n - large)


def _some(table, train, size):
    """Rows of the training part, each label with its share where that is possible."""
    labels = table.y[train] if table.classifies else None
    try:
        return train_test_split(train, train_size=size, random_state=0, stratify=labels)[0]
    except ValueError:
        return train[:size]


def _rounded(seconds):
    """One digit, or two below 30."""
    digits = 0 if seconds < 30 else -math.floor(math.log10(seconds))
    return f"{round(seconds, digits):g}"
