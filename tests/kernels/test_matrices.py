"""Kernel matrices: those of pairwise_kernels, in every namespace."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels

from sklearn_influence.kernels import NeuralTangentKernel, gram, matrices

RNG = np.random.default_rng(0)
X, Z = RNG.random((9, 4)), RNG.random((5, 4))
X[3], X[4] = X[2], 0
PARAMETERS = [{}, {"gamma": 0.3, "degree": 2, "coef0": 0.5}, {"gamma": None}]


@pytest.mark.parametrize("params", PARAMETERS, ids=["defaults", "own", "none"])
@pytest.mark.parametrize("kernel", sorted(PAIRWISE_KERNEL_FUNCTIONS))
@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
def test_named_kernels(kernel, params, namespace, monkeypatch):
    xp = pytest.importorskip(namespace)
    expected = (
        [pairwise_kernels(X, Y, metric=kernel, filter_params=True, **params) for Y in (None, Z)]
        if (params.get("gamma", 1) is not None or kernel != "chi2")
        else [pairwise_kernels(X, Y, metric=kernel) for Y in (None, Z)]
    )
    monkeypatch.setattr(matrices, "block_size", lambda *args: 4)
    found = [gram(kernel, xp.asarray(X), Y, **params) for Y in (None, xp.asarray(Z))]
    for given, right in zip(found, expected, strict=True):
        assert type(given) is type(xp.asarray(X))
        np.testing.assert_allclose(np.asarray(given), right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly", "sigmoid", "cosine", "laplacian"])
def test_sparse_rows(kernel):
    for convert in (sparse.csr_array, sparse.csr_matrix):
        found = gram(kernel, convert(X), convert(Z))
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, gram(kernel, X, Z), atol=1e-12)


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
def test_kernel_objects_and_functions(namespace):
    xp = pytest.importorskip(namespace)
    there, those = xp.asarray(X), xp.asarray(Z)
    kernel = NeuralTangentKernel(2)
    np.testing.assert_allclose(np.asarray(gram(kernel, there, those, gamma=2.0)), kernel(X, Z), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(gram(kernel, there)), kernel(X), rtol=1e-12)
    noisy = RBF(0.7) + WhiteKernel(0.5)
    np.testing.assert_allclose(np.asarray(gram(noisy, there)), noisy(X))
    np.testing.assert_allclose(np.asarray(gram(noisy, there, there)), pairwise_kernels(X, metric=noisy))
    np.testing.assert_allclose(np.asarray(gram(noisy, there, those)), noisy(X, Z))

    def own(x, z, power=1):
        return float(np.minimum(x, z).sum() ** power)

    found = gram(own, there, those, power=2)
    assert type(found) is type(there)
    np.testing.assert_allclose(np.asarray(found), np.minimum(X[:, None], Z).sum(axis=2) ** 2)


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
def test_precomputed(namespace):
    xp = pytest.importorskip(namespace)
    K = xp.asarray(X @ Z.T)
    np.testing.assert_array_equal(np.asarray(gram("precomputed", K, xp.asarray(Z @ Z.T), gamma=1.0)), X @ Z.T)
    with pytest.raises(ValueError, match="recomputed"):
        gram("precomputed", K)


def test_single_precision_stays():
    xp = pytest.importorskip("array_api_strict")
    single = xp.asarray(X.astype(np.float32))
    for kernel in ("rbf", "linear", NeuralTangentKernel(), RBF()):
        assert gram(kernel, single).dtype == xp.float32
    rows = xp.asarray(1e3 + np.random.default_rng(0).random((30, 700)))
    far = np.asarray(gram("rbf", rows, gamma=1.0))  # where a distance is the difference of large numbers
    np.testing.assert_array_equal(np.diag(far), 1.0)


def test_what_cannot_be_used():
    with pytest.raises(ValueError, match=r"kernel must be 'precomputed', one of .*'rbf'.*got 'gauss'"):
        gram("gauss", X)
    with pytest.raises(ValueError, match="a callable on two rows, got 3"):
        gram(3, X)
    with pytest.raises(TypeError, match="'rbf' has no parameter 'scale'; it has gamma"):
        gram("rbf", X, scale=1.0)
    with pytest.raises(TypeError, match="has no parameter 'scale'; it has none"):
        gram(NeuralTangentKernel(), X, scale=1.0)
    with pytest.raises(ValueError, match="device must be one of"):
        gram("rbf", X, device="tpu")
    xp = pytest.importorskip("array_api_strict")
    with pytest.raises(ValueError, match="chi2 kernels need entries >= 0"):
        gram("chi2", xp.asarray(-X))
    with pytest.raises(ValueError, match="same columns"):
        gram("rbf", xp.asarray(X), xp.asarray(Z[:, :2]))


def test_rows_move_to_the_device(monkeypatch):
    """Strict arrays stand for those of a card: rows that did not move would be NumPy's here."""
    xp = pytest.importorskip("array_api_strict")
    with pytest.raises(ValueError, match="device='cuda' cannot be used"):
        monkeypatch.setattr("sklearn_influence._backend.cuda_lacks", lambda: "CuPy is not installed")
        gram("rbf", X, device="cuda")
    monkeypatch.setattr(matrices, "check_device", lambda device, size: "cuda")
    monkeypatch.setattr(matrices, "on_device", lambda array, device: xp.asarray(array))
    for kernel in ("rbf", "chi2", NeuralTangentKernel(), RBF(), lambda x, z: float(x @ z)):
        for Y in (None, X, Z):
            given = gram(kernel, X, Y, device="cuda")
            assert type(given) is type(xp.asarray(X))
            np.testing.assert_allclose(
                np.asarray(given), gram(kernel, xp.asarray(X), None if Y is None else xp.asarray(Y))
            )
    for rows in (X.tolist(), sparse.csr_array(X)):
        np.testing.assert_allclose(np.asarray(gram("rbf", rows, device="cuda")), pairwise_kernels(X, metric="rbf"))
