"""The audit of a person's own file, phase by phase."""

import os
import time

import numpy as np

from .. import InfluenceEstimator
from .._parallel import logger
from ..report import audit
from . import cost as costs
from . import table as tables
from .file import count, read_table


def audit_file(options, tell):
    """Read, choose, split, estimate, fit, audit.

    Parameters
    ----------
    options : Namespace
        Of the command line.
    tell : callable
        Takes sentences about what is expected.

    Returns
    -------
    AuditReport
        With ``data``, the sentences on what was read and chosen.

    Raises
    ------
    TableError
        For a file that cannot be audited.
    """
    start = time.perf_counter()
    logger.info("reading %s", options.file)
    frame = read_table(options.file)
    size = f"{os.path.basename(options.file)}: {count(len(frame), 'row')}, {count(frame.shape[1], 'column')}."
    table = tables.choose(
        frame,
        options.target,
        model=options.model,
        drop=options.drop,
        id=options.id,
        groups=options.groups,
        weight=options.weight,
    )
    del frame
    train, validation, test = tables.split(table, options.seed)
    most = costs.validation_rows(table, len(train), len(validation))
    if most < len(validation):
        validation, test = validation[:most], np.concatenate([validation[most:], test])
        table.notes.append(f"Effects are on {most:,} validation rows; more would take too long.")
    table.notes.insert(0, size)
    # As the model sees it: a category or a gap of the other parts is no column.
    n_columns = tables.encoded(table.X.iloc[train], table.model)[0]
    table.notes.append(
        f"Parts: {len(train):,} rows to train, {len(validation):,} to validate, {len(test):,} to test (seed "
        f"{options.seed}); {count(n_columns, 'column')} after encoding{', kept sparse' if table.sparse else ''}."
    )
    if table.weight is not None:
        table.notes.append("Weights count in the fits; model quality, losses and effects are plain means over rows.")
    for note in table.notes:
        tell(note)
    logger.info("a rehearsal on a few rows")
    cost = costs.estimate(table, train, validation, options.top, lambda rows: _fit(table, rows, options, verbose=0))
    tell(f"Expected: {cost}.")
    if cost.draws < costs.DRAWS:
        table.notes.append(f"Removals are compared with {cost.draws} random draws, not {costs.DRAWS}, to save time.")
        tell(table.notes[-1])
    logger.info("fitting")
    model = _fit(table, train, options, verbose=int(not options.quiet))
    report = _audit(table, model, (train, validation, test), cost.draws, options)
    report.data = table.notes
    logger.info("done in %.0f s", time.perf_counter() - start)
    return report


def _fit(table, rows, options, verbose):
    model = InfluenceEstimator(tables.build(table, options.penalty), method=options.method, verbose=verbose)
    weights = {} if table.weight is None else {"sample_weight": table.weight[rows]}
    return model.fit(*table.take(rows), **weights)


def _audit(table, model, parts, draws, options):
    train, validation, test = parts
    X_train, y_train = table.take(train)
    X_test, y_test = table.take(test)
    return audit(
        model,
        *table.take(validation),
        X_train=X_train,
        y_train=y_train,
        X_test=X_test,
        y_test=y_test,
        sample_weight=None if table.weight is None else table.weight[train],
        groups=None if table.groups is None else table.groups[train],
        row_names=table.names[train],
        k=options.top,
        n_random=draws,
        random_state=options.seed,
    )
