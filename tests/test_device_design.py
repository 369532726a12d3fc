"""Products with rows on another device: those of the rows on the CPU."""

import pickle

import array_api_strict
import numpy as np
import pytest
import strange
from scipy import sparse
from sklearn import config_context

from sklearn_influence import _device_design
from sklearn_influence._design import Design
from sklearn_influence._device_design import DeviceDesign, design_of, placed

N, D = 57, 5


def strict(array):
    return array_api_strict.asarray(array, copy=True)


@pytest.fixture(params=["float64", "float32"])
def X(request):
    X = np.random.default_rng(0).standard_normal((N, D)) + 2.0
    X[:, 3] = 7.0  # constant
    return X.astype(request.param)


@pytest.fixture(params=[True, False], ids=["intercept", "none"])
def both(request, X, monkeypatch):
    """The same rows on both devices, and the precision of products that are as large as they."""
    monkeypatch.setattr(_device_design, "_ROWS", 20)  # several blocks
    return Design(X, request.param), design_of(strict(X), request.param), 1e-6 if X.dtype == np.float32 else 1e-13


def close(actual, desired, tol=1e-13):
    assert strange.is_numpy(actual) and actual.dtype == desired.dtype
    np.testing.assert_allclose(actual, desired, rtol=tol, atol=tol * np.abs(desired).max(initial=0.0))


def test_products(both):
    cpu, there, tol = both
    rng = np.random.default_rng(1)
    V, U = rng.standard_normal((cpu.width, 3)), rng.standard_normal((N, 2))
    close(there.dot(V), cpu.dot(V))
    close(there.tdot(U), cpu.tdot(U))
    for moved, product in ((V, there.dot), (U, there.tdot)):  # the result lies where the operand does
        close(np.asarray(product(strict(moved))), product(moved))
        assert not strange.is_numpy(product(strict(moved)))
    close(there.column_squares(U), cpu.column_squares(U))
    close(there.absolute_tdot(U), cpu.absolute_tdot(U))
    close(there.norms(), cpu.norms())
    close(there.mean(np.abs(U[:, 0])), cpu.mean(np.abs(U[:, 0])))
    close(there.scaled(U), cpu.scaled(U), tol)
    centre = np.arange(D) / 2
    close(np.asarray(there.centred(centre)), cpu.centred(centre))
    for given, expected in zip(there.form(V, U[:, 0] ** 2, centre), cpu.form(V, U[:, 0] ** 2, centre), strict=True):
        close(given, expected, 1e-12)


@pytest.mark.parametrize("k", [1, 2])
def test_scaled_rows_onto_directions(both, k):
    cpu, there, tol = both
    rng = np.random.default_rng(2)
    U, theta = rng.standard_normal((N, k)), rng.standard_normal((k, cpu.width, 4))
    for dtype in (np.float64, np.float32):
        mine, others = np.empty((4, N), dtype), np.empty((4, N), dtype)
        assert there.scaled_onto(U, theta, mine) is mine
        close(mine, cpu.scaled_onto(U, theta, others), max(tol, 1e-6 if dtype == np.float32 else 0.0))
    close(there.scaled_onto(U, theta), cpu.scaled_onto(U, theta), tol)


def test_gram_of_positive_and_negative_weights(both):
    cpu, there, _ = both
    rng = np.random.default_rng(2)
    W = np.stack([rng.random(N), -rng.random(N), np.zeros(N)], axis=1)
    W[::4, :2] = 0.0
    for weights in (W[:, 0], np.zeros(N)):
        centre = cpu.mean(weights)
        for one, expected in zip(there.gram(W, centre), cpu.gram(W, centre), strict=True):
            A = np.asarray(one)
            close(A, expected, 1e-12)
            np.testing.assert_array_equal(A, A.T)
    if cpu.fit_intercept:  # rounding of the mean is no spread
        A = np.asarray(there.gram(W[:, :1], cpu.mean(W[:, 0]) * (1 + 1e-15))[0])
        np.testing.assert_array_equal(A[3], 0.0)


def test_rows_are_taken_replaced_and_appended(both):
    cpu, there, _ = both
    there.norms()
    mask = np.arange(N) % 3 > 0
    for rows in (slice(3, 9), np.array([3, 1, 40]), mask, np.zeros(N, bool), np.array([], dtype=int)):
        taken = there.take(rows)
        assert type(taken) is DeviceDesign and taken.dtype == cpu.dtype
        np.testing.assert_array_equal(np.asarray(taken.X), cpu.X[rows])
        close(taken.norms(), cpu.take(rows).norms())
    new = np.random.default_rng(3).standard_normal((2, D))
    for given in (new, sparse.csr_array(new), new.astype(np.float32)):
        for change in (lambda one, X=given: one.replace(np.array([4, 0]), X), lambda one, X=given: one.append(X)):
            np.testing.assert_array_equal(np.asarray(change(there).X), change(cpu).X)
            assert change(there).dtype == cpu.dtype
    np.testing.assert_array_equal(np.asarray(there.in_double().X), cpu.in_double().X)
    assert there.in_double().dtype == np.float64


def test_blocks_give_the_same_numbers(both):
    cpu, there, _ = both
    V, U = np.ones((cpu.width, 1)), np.ones((N, 1))
    with config_context(working_memory=1e-3):
        close(there.dot(V), cpu.dot(V))
        close(there.tdot(U), cpu.tdot(U))
        close(np.asarray(there.gram(U, np.zeros(D))[0]), cpu.gram(U, np.zeros(D))[0], 1e-12)
    empty = there.take(slice(0, 0))
    assert empty.dot(V).shape == (0, 1) and empty.norms().shape == (0,)
    np.testing.assert_array_equal(empty.tdot(U[:0]), 0.0)


def test_pickles_hold_numpy_arrays(both):
    cpu, there, _ = both
    back = pickle.loads(pickle.dumps(there))
    assert type(back) is Design and back.fit_intercept == cpu.fit_intercept
    np.testing.assert_array_equal(back.X, cpu.X)
    assert back.X.dtype == cpu.X.dtype


def test_placing(X):
    cpu = Design(X, True)
    assert placed(cpu, "cpu") is cpu
    with strange.as_cuda():
        there = placed(cpu, "cuda")
        assert type(there) is DeviceDesign and there.device == "cuda" and placed(there, "cuda") is there
        back = placed(there, "cpu")
        assert type(back) is Design and back.device == "cpu"
        np.testing.assert_array_equal(back.X, X)
        read = there.reading(X[:2])
        assert type(read) is DeviceDesign and read.fit_intercept
        filled = sparse.csr_array(X[:2])  # test rows are not filled: their few products are the CPU's
        assert type(there.reading(filled)) is Design and there.reading(filled).is_sparse
        with pytest.raises(ValueError, match=r"'cuda' takes dense rows, got sparse ones.*'cpu' or 'auto', or give"):
            placed(Design(sparse.csr_array(X), True), "cuda")
    with strange.as_cuda(memory=X.nbytes - 1):
        with pytest.raises(ValueError, match=r"copy of 57 rows and 5 columns needs .* graphics card. .*float32"):
            placed(cpu, "cuda")
    with strange.as_cuda(memory=X.nbytes // 2):
        with pytest.raises(ValueError, match=r"copy of 57 rows needs .* graphics card. Ask for fewer rows"):
            there.reading(X)
