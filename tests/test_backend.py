"""Devices, memory and factorisations."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest

from sklearn_influence import _backend


@pytest.fixture
def card(monkeypatch):
    """A CuPy that does nothing but answer; ``card.here`` says whether it finds one."""

    class Device:
        def __init__(self, number):
            self.number = number

        def __enter__(self):
            card.current = self.number

        def __exit__(self, *_):
            card.current = 0

    runtime = SimpleNamespace(
        getDeviceCount=lambda: 2,
        memGetInfo=lambda: (2**20, (card.current + 1) * 2**30),  # what is free, and all
    )
    cuda = SimpleNamespace(is_available=lambda: card.here, runtime=runtime, Device=Device)
    card = SimpleNamespace(here=True, current=0, cuda=cuda, asarray=lambda array: (array, card.current))
    monkeypatch.setitem(sys.modules, "cupy", card)
    monkeypatch.setattr(_backend.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("CUPY_TF32", raising=False)
    return card


def test_devices_are_checked_by_name():
    assert _backend.check_device("auto") == _backend.check_device("cpu") == "cpu"
    for unknown in ("gpu", "cuda:0", None, 0):
        with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda'"):
            _backend.check_device(unknown)


def test_cuda_says_which_is_missing(card, monkeypatch):
    _backend.check_device("cuda")
    monkeypatch.setenv("CUPY_TF32", "1")
    with pytest.raises(ValueError, match=r"CUPY_TF32 .* unset it .* Or use device='auto' or 'cpu'"):
        _backend.check_device("cuda")
    card.here = False
    with pytest.raises(ValueError, match=r"CuPy is installed, and finds no CUDA device; .* Or use device='auto'"):
        _backend.check_device("cuda")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ValueError, match=r"CuPy does not import \(.*\); install the one that fits"):
        _backend.check_device("cuda")
    monkeypatch.setattr(_backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"CuPy is not installed; .*pip install cupy-cuda13x.* Or use device='auto'"):
        _backend.check_device("cuda")


def test_auto_takes_a_card_where_it_is_worth_it(card):
    large = _backend._WORTH
    assert _backend.check_device("auto", large) == "cuda"
    assert _backend.check_device("auto", large - 1) == _backend.check_device("cpu", large) == "cpu"
    assert _backend.check_device("cuda", 1) == "cuda"
    card.here = False
    assert _backend.check_device("auto", large) == "cpu"
    with pytest.raises(ValueError, match="finds no CUDA device"):
        _backend.check_device("cuda", large)


def test_several_cards(card):
    assert _backend.devices("cpu") == ["cpu"]
    assert _backend.devices("cuda") == ["cuda:0", "cuda:1"]
    assert [_backend.on_device("x", name) for name in ("cuda", "cuda:0", "cuda:1")] == [("x", 0), ("x", 0), ("x", 1)]
    assert [_backend.device_memory(name) for name in ("cuda", "cuda:1")] == [2**30, 2**31]
    assert _backend.device_memory("cpu") == _backend.physical_memory()
    _backend.check_memory(2**30, "it", "", "cuda")
    with pytest.raises(ValueError, match=r"it needs 1.5 GiB, more than the 1.0 GiB of the graphics card. Do less."):
        _backend.check_memory(3 * 2**29, "it", "Do less.", "cuda")


def test_memory_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(_backend, "physical_memory", lambda: 2**30)
    _backend.check_memory(2**30, "it", "")
    with pytest.raises(ValueError, match=r"The thing needs 2.0 GiB, more than the 1.0 GiB .* Do less."):
        _backend.check_memory(2**31, "The thing", "Do less.")
    monkeypatch.setattr(_backend, "physical_memory", lambda: None)
    _backend.check_memory(2**60, "it", "")


def test_physical_memory_is_known_or_none(monkeypatch):
    memory = _backend.physical_memory()
    assert memory is None or memory > 2**20
    monkeypatch.delattr(_backend.os, "sysconf", raising=False)
    assert _backend.physical_memory() is None


def test_factorisations():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 9))
    A = A @ A.T + np.eye(6)
    B = rng.standard_normal((6, 2))
    given = A.copy()
    L, definite = _backend.cholesky(given)
    lower = np.tril(L)
    assert definite and np.shares_memory(L, given)
    np.testing.assert_allclose(lower @ lower.T, A)
    np.testing.assert_array_equal(np.triu(L, 1), np.triu(A, 1))  # what A held there serves on
    np.testing.assert_allclose(_backend.symmetric_product(L, np.diag(A), B), A @ B)
    np.testing.assert_allclose(_backend.cholesky_solve(L, B), np.linalg.solve(A, B))
    np.testing.assert_allclose(_backend.triangular_solve(L, B), np.linalg.solve(lower, B))
    np.testing.assert_allclose(_backend.triangular_solve(L, B, transposed=True), np.linalg.solve(lower.T, B))
    np.testing.assert_allclose(_backend.cholesky_inverse(L), np.linalg.inv(A))
    np.testing.assert_allclose(np.tril(_backend.triangular_inverse(L)) @ lower, np.eye(6), atol=1e-13)
    np.testing.assert_allclose(_backend.triangular_product(L, B), lower @ B)
    assert _backend.one_norm(A) == np.linalg.norm(A, 1)
    exact = 1 / np.linalg.cond(A, 1)
    assert exact <= _backend.reciprocal_condition(L, np.abs(A).sum(axis=0).max()) * 1.0001 < 3 * exact
    values, vectors = _backend.eigh(A)
    np.testing.assert_allclose(vectors * values @ vectors.T, A)
    assert _backend.smallest_eigenvalue(A) == pytest.approx(values[0])
    np.fill_diagonal(L, np.diag(A))
    others = _backend.eigh(L, lower=False, overwrite=True)  # the factor is lost
    np.testing.assert_allclose(others[0], values)
    assert not _backend.cholesky(-A)[1]


def test_the_inverse_is_mirrored_block_by_block():
    A = np.random.default_rng(0).standard_normal((1100, 1100))
    A = A @ A.T + 1100 * np.eye(1100)
    inverse = _backend.cholesky_inverse(_backend.cholesky(A.copy())[0])
    np.testing.assert_array_equal(inverse, inverse.T)
    V = np.random.default_rng(1).standard_normal((1100, 3))
    np.testing.assert_allclose(inverse @ (A @ V), V, atol=1e-10)


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_positive_definite_on_every_namespace(namespace, dtype):
    xp, rng = pytest.importorskip(namespace), np.random.default_rng(0)
    A, B = rng.normal(size=(30, 40)), rng.normal(size=(30, 3)).astype(dtype)
    A = (A @ A.T).astype(dtype)
    factor, tol = _backend.PositiveDefinite(xp.asarray(A)), 1e-10 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(
        _backend.to_numpy(factor.solve(xp.asarray(B))), np.linalg.solve(A, B), rtol=tol, atol=tol
    )
    np.testing.assert_allclose(_backend.to_numpy(factor.inverse()), np.linalg.inv(A), rtol=tol, atol=tol)
    assert factor.solve(xp.asarray(B)).dtype == getattr(xp, dtype)
    with pytest.raises(np.linalg.LinAlgError):
        _backend.PositiveDefinite(xp.asarray(-A))


def strict(array):
    return array_api_strict.asarray(array, copy=True)


def is_strict(*arrays):
    return all(isinstance(array, type(strict([0.0]))) for array in arrays)


def test_arrays_go_where_others_lie():
    A, B = np.arange(6.0).reshape(3, 2), np.ones((2, 4))
    assert _backend.beside(A, B) is _backend.to_numpy(A) is A
    there = strict(A)
    assert is_strict(_backend.beside(A, there)) and _backend.beside(there, strict(B)) is there
    np.testing.assert_array_equal(_backend.beside(there, B), A)
    assert is_strict(_backend.product(A, strict(B))) and type(_backend.product(there, B)) is np.ndarray
    np.testing.assert_array_equal(_backend.product(there, B), A @ B)
    single = A.astype(np.float32)
    for array in (A, there, single, strict(single)):
        double = _backend.to_double(array)
        assert is_strict(double) == is_strict(array) and (double is array) == ("64" in str(array.dtype))
        np.testing.assert_array_equal(_backend.to_numpy(double), A)


@pytest.mark.parametrize("place", [np.array, strict])
def test_small_operations_on_every_device(place):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 5, 5))
    for axis in (0, 1):
        np.testing.assert_allclose(_backend.inner(place(A), place(B), axis), (A * B).sum(axis=axis))
    diagonal = _backend.diagonal(place(A))
    diagonal += 1.0  # a copy of one's own
    np.testing.assert_array_equal(diagonal, np.diagonal(A) + 1.0)
    changed = place(A)
    _backend.add_to_diagonal(changed, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(_backend.to_numpy(changed) - A, np.diag([1.0, 2.0, 3.0, 0.0, 0.0]), atol=1e-15)
    U, s, Vt = map(_backend.to_numpy, _backend.thin_svd(place(A[:, :3])))
    assert U.shape == (5, 3) and Vt.shape == (3, 3)
    np.testing.assert_allclose(U * s @ Vt, A[:, :3])
    assert _backend.one_norm(place(A)) == pytest.approx(np.abs(A).sum(axis=1).max())


def test_a_factor_on_another_device():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((6, 9)), rng.standard_normal((6, 2))
    A = A @ A.T + np.eye(6)
    L, definite = _backend.cholesky(strict(A))
    lower = np.linalg.cholesky(A)
    assert definite and not _backend.cholesky(strict(-A))[1]
    for place in (np.array, strict):  # the result lies where the operand does
        for result, expected in (
            (_backend.cholesky_solve(L, place(B)), np.linalg.solve(A, B)),
            (_backend.triangular_solve(L, place(B)), np.linalg.solve(lower, B)),
            (_backend.triangular_solve(L, place(B), transposed=True), np.linalg.solve(lower.T, B)),
            (_backend.symmetric_product(L, np.diagonal(A), place(B)), A @ B),
        ):
            assert is_strict(result) == (place is strict)
            np.testing.assert_allclose(_backend.to_numpy(result), expected)
    inverse, copy = _backend.cholesky_inverse(L), _backend.factored_matrix(L, np.diagonal(A))
    assert is_strict(inverse, copy)
    np.testing.assert_allclose(_backend.to_numpy(inverse), np.linalg.inv(A))
    copy *= 2.0
    np.testing.assert_array_equal(_backend.to_numpy(L.matrix), A)
    upper = _backend.upper_triangle(L, np.diagonal(A))
    assert type(upper) is np.ndarray and upper.flags.f_contiguous
    np.testing.assert_array_equal(upper, A)
    own, _ = _backend.cholesky(A.copy())
    expected = _backend.reciprocal_condition(own, _backend.one_norm(A))
    assert _backend.reciprocal_condition(L, _backend.one_norm(strict(A))) == pytest.approx(expected)


def test_cupy_is_told_to_raise_where_a_factorisation_fails(monkeypatch):
    """Its default is to return whatever cuSOLVER leaves."""
    asked = []
    monkeypatch.setattr(_backend.array_api_compat, "is_cupy_array", lambda array: is_strict(array))
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(errstate=lambda **k: asked.append(k) or nullcontext()))
    _backend.PositiveDefinite(strict(np.eye(2)))
    assert asked == [dict(linalg="raise")]
    _backend.thin_svd(strict(np.eye(2)))
    assert asked == 2 * [dict(linalg="raise")]


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_less_product(namespace, dtype):
    xp, rng = pytest.importorskip(namespace), np.random.default_rng(0)
    A, B = rng.normal(size=(9, 9)), rng.normal(size=(3, 9)).astype(dtype)
    A = (A + A.T).astype(dtype)
    expected = A - B.T @ B
    less = _backend.less_product(xp.asarray(A.copy()), xp.asarray(B))
    np.testing.assert_allclose(_backend.to_numpy(less), expected, rtol=1e-12 if dtype == "float64" else 1e-4, atol=1e-6)
    assert less.dtype == getattr(xp, dtype)
