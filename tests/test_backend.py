"""Devices, memory and factorisations."""

import numpy as np
import pytest

from sklearn_influence import _backend


def test_devices():
    assert _backend.check_device("auto") == _backend.check_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda'"):
        _backend.check_device("gpu")


@pytest.mark.parametrize("installed", [False, True])
def test_cuda_says_what_is_missing(monkeypatch, installed):
    monkeypatch.setattr(_backend.importlib.util, "find_spec", lambda name: object() if installed else None)
    with pytest.raises(ValueError, match=r"no GPU code for linear models.* Use device='auto' or 'cpu'") as info:
        _backend.check_device("cuda")
    assert ("CuPy is not installed" in str(info.value)) == (not installed)


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
