"""Row blocks that respect ``working_memory``, threads over independent pieces, and progress."""

import logging
import time
from contextvars import copy_context

from joblib import Parallel, delayed
from sklearn import config_context, get_config

logger = logging.getLogger("sklearn_influence")


def block_size(bytes_per_row, *, share=1.0, smallest=1, largest=8192):
    """How many rows of ``bytes_per_row`` temporaries fit into scikit-learn's ``working_memory``.

    Parameters
    ----------
    bytes_per_row : float
    share : float
        The part of the working memory this block may take.
    smallest, largest : int
        Bounds of the result: a block is never empty, and one past some thousands of rows only leaves the cache.
    """
    budget = share * get_config()["working_memory"] * 2**20
    return int(max(smallest, min(largest, budget // max(bytes_per_row, 1))))


def blocks(n, size):
    """Slices of at most ``size`` that cover ``range(n)``."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def threads(function, items, n_jobs):
    """``[function(item) for item in items]``, on ``n_jobs`` threads (None: one, or the joblib context's)."""
    config = get_config()

    def within(context, item):
        with config_context(**config):
            return context.run(function, item)

    # Threads inherit neither scikit-learn's settings nor who hears of solves. A list, since joblib would draw the later
    # items of a generator in threads of its own, and copy their contexts.
    return Parallel(n_jobs=n_jobs, prefer="threads")([delayed(within)(copy_context(), item) for item in items])


def progress(items, verbose, what, every=2.0):
    """Yield ``items`` and, where ``verbose``, log every few seconds how many are done.

    The records go to the logger "sklearn_influence" at level INFO. Asking for them with ``verbose`` also shows them
    on the standard error where logging has not been set up.
    """
    if not verbose:
        yield from items
        return
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        logger.addHandler(logging.StreamHandler())
    items = list(items)
    start = last = time.perf_counter()
    for done, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now - last >= every or done == len(items):
            logger.info("%s: %d of %d blocks, %.1f s", what, done, len(items), now - start)
            last = now
