"""A device that every CPU has: ``array_api_strict`` arrays stand for those of a card.

They mix with NumPy's nowhere, and have only what the array API standard has. So whatever is left on the wrong side, or
made with a NumPy function, is an error here: of their way to NumPy only the backend's own stays open.
"""

import sys
from contextlib import contextmanager

import array_api_strict
import numpy as np
import pytest

from sklearn_influence import _backend, _device_design, kernel_models
from sklearn_influence._design import Design
from sklearn_influence.alpha import curvature, effects, gram, row_blocks, rows, tangent
from sklearn_influence.kernels import matrices
from sklearn_influence.solvers import choice


@contextmanager
def as_cuda(memory=2**40):
    """Within it "cuda" means strict arrays, and dense rows that lie on the CPU are multiplied with nothing.

    Yields the list of the products that are made of strict arrays, by their shapes.
    """
    strict, made = type(array_api_strict.asarray([0.0])), []
    plain = strict.__matmul__

    def product(self, other):
        made.append((self.shape, other.shape))
        return plain(self, other)

    def shut(name):
        way = getattr(strict, name)

        def to_numpy_alone(self, *args, **kwargs):
            assert sys._getframe(1).f_code is _backend.to_numpy.__code__, "NumPy was given an array of the device"
            return way(self, *args, **kwargs)

        return to_numpy_alone

    def dense_refused(name):
        way = getattr(Design, name)

        def refused(self, *args, **kwargs):
            assert self.is_sparse, "rows on the CPU were multiplied"
            return way(self, *args, **kwargs)

        return refused

    def on_device(array, device):
        return _backend.to_numpy(array) if device == "cpu" else array_api_strict.asarray(array, copy=True)

    memory_of = _backend.device_memory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backend, "cuda_lacks", lambda: None)
        for module in (_backend, choice, row_blocks):
            patch.setattr(module, "device_memory", lambda device: memory if device == "cuda" else memory_of(device))
        on_a_device = (curvature, effects, gram, row_blocks, rows, tangent)
        for module in (_device_design, *on_a_device, matrices, kernel_models):
            patch.setattr(module, "on_device", on_device)
        patch.setattr(strict, "__matmul__", product)
        for name in ("__array__", "__buffer__"):
            if hasattr(strict, name):
                patch.setattr(strict, name, shut(name))
        for name in ("_pieces", "gram", "scaled", "column_squares", "form", "absolute_tdot", "_find_norms"):
            patch.setattr(Design, name, dense_refused(name))
        yield made


def is_numpy(result):
    """Whether a result is NumPy's through and through."""
    return type(result) is np.ndarray and result.dtype != object
