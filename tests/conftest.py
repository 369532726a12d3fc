"""One thread for linear algebra: the problems are small, and the suite itself runs in several processes."""

import gc
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is imported


def pytest_collection_finish():
    """Modules and tests stay to the end, so a collection of garbage need not walk through them each time."""
    gc.collect()
    gc.freeze()
