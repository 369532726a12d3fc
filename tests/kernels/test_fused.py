"""The CUDA source, compiled for the CPU thread by thread: the band's numbers. On a card, the same of CuPy's arrays."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from sklearn_influence._backend import cuda_lacks, on_device, to_numpy
from sklearn_influence.kernels import ConvolutionalNTK, convolutional, fused
from sklearn_influence.kernels.band import Band

SHIM = """
#include <math.h>
#define __global__
#define __device__ static
static struct { long long x; } blockIdx, blockDim, threadIdx;
extern "C" void take(long long thread) { blockIdx.x = thread / 4; blockDim.x = 4; threadIdx.x = thread % 4; }
"""
SHAPES = [((8, 8), 3), ((5, 3), 2), ((1, 6), 2), ((7, 2), 1)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("fused")
    (folder / "fused.cpp").write_text(SHIM + fused.SOURCE)
    command = [compiler, "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", "fused.so", "fused.cpp"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return ctypes.CDLL(str(folder / "fused.so"))


@pytest.fixture
def without_a_card(compiled, monkeypatch):
    """NumPy arrays take the way of a card's, and each thread of a kernel runs on its own."""

    def kernel(source, name):
        def launch(threads, *arguments):
            for value in arguments:
                assert not isinstance(value, np.ndarray) or (value.flags.c_contiguous and value.dtype == np.float64)
            kinds = {int: ctypes.c_longlong, float: ctypes.c_double}
            given = [
                value.ctypes.data_as(ctypes.c_void_p) if isinstance(value, np.ndarray) else kinds[type(value)](value)
                for value in arguments
            ]
            for thread in range(threads + 3):  # the last block of a card is not full
                compiled.take(ctypes.c_longlong(thread))
                getattr(compiled, name)(*given)

        return launch

    monkeypatch.setattr(fused, "fused", kernel)
    monkeypatch.setattr(convolutional, "on_card", lambda array: isinstance(array, np.ndarray))


@pytest.mark.parametrize(("shape", "depth"), SHAPES, ids=str)
def test_source_is_the_band(shape, depth, without_a_card):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3, *shape, 2))
    plain, there = (kind(shape, depth, 1.3, 0.2) for kind in (Band, fused.FusedBand))
    v, *diagonals = plain.variances(first)
    w, *others = there.variances(first)
    for given, right in zip((*w, *others), (*v, *diagonals), strict=True):
        np.testing.assert_allclose(given, right, rtol=1e-12)
    u = plain.variances(second)[0]
    np.testing.assert_allclose(there.kernels(first, second, v, u), plain.kernels(first, second, v, u), rtol=1e-12)


def test_kernel_matrix_of_a_card(without_a_card, monkeypatch):
    rows, others = np.random.default_rng(0).standard_normal((2, 5, 30))
    kernel = ConvolutionalNTK(1, image_shape=(5, 3, 2))
    monkeypatch.setattr(convolutional, "PAIRS_ON_CARD", 4)
    there = kernel(rows), kernel(rows, others), kernel.nngp(rows), kernel.diag(rows), kernel(rows.astype(np.float32))
    monkeypatch.undo()
    here = kernel(rows), kernel(rows, others), kernel.nngp(rows), kernel.diag(rows), kernel(rows.astype(np.float32))
    for given, right in zip(there, here, strict=True):
        assert given.dtype == right.dtype
        np.testing.assert_allclose(given, right, rtol=1e-12 if right.dtype == np.float64 else 1e-6)


@pytest.mark.skipif(cuda_lacks() is not None, reason="no graphics card")
def test_on_a_card():
    rows = np.random.default_rng(0).standard_normal((6, 192))
    kernel = ConvolutionalNTK(image_shape=(8, 8, 3))
    there = kernel(on_device(rows, "cuda"))
    assert not isinstance(there, np.ndarray)
    np.testing.assert_allclose(to_numpy(there), kernel(rows), rtol=1e-9)
