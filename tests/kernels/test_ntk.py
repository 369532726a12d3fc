"""The tangent kernel: the reference's numbers, finite differences, and what scikit-learn's estimators do with it."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC

from sklearn_influence import NeuralTangentKernel
from sklearn_influence.kernels import ntk

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "ntk_reference.npz")
X, Z = REFERENCE["X"], REFERENCE["Z"]
FREE = {"sigma_w_bounds": (0.1, 10.0), "sigma_b_bounds": (0.01, 10.0)}
DEGENERATE = np.vstack([X[:3], X[:1], 2 * X[:1], -X[:1], np.zeros((2, 5)), 1e-9 * X[:1], 1e9 * X[1:2]])


NETWORKS = [
    NeuralTangentKernel(depth, activation=activation, sigma_w=1.3, sigma_b=0.4, **FREE)
    for depth in (1, 2, 4)
    for activation in ("relu", "erf")
]


@pytest.mark.parametrize("depth", [1, 3])
def test_reference(depth):
    kernel = NeuralTangentKernel(depth, sigma_w=float(REFERENCE["sigma_w"]), sigma_b=float(REFERENCE["sigma_b"]))
    np.testing.assert_allclose(kernel(X), REFERENCE[f"fc_relu_depth{depth}_XX"], rtol=1e-12)
    np.testing.assert_allclose(kernel(X, Z), REFERENCE[f"fc_relu_depth{depth}_XZ"], rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_duals_are_expectations_over_gaussians(activation):
    """k1 and k0 of one layer, by Gauss-Hermite quadrature, whose error for a kink is a few thousandths."""
    from scipy.special import erf

    kernel = NeuralTangentKernel(activation=activation, sigma_w=1.0, sigma_b=0.0)
    rows = np.array([[1.5, 0.0], [0.6, 0.9]])
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    g = np.stack(np.meshgrid(nodes, nodes), axis=-1) @ rows.T / np.sqrt(2)
    w = np.outer(weights, weights) / weights.sum() ** 2
    a, slope = (np.maximum(g, 0), g > 0) if activation == "relu" else (erf(g), 2 / np.sqrt(np.pi) * np.exp(-(g**2)))
    k1 = np.einsum("ab,abi,abj->ij", w, a, a)
    k0 = np.einsum("ab,abi,abj->ij", w, slope, slope)
    tol = {"relu": 1e-2, "erf": 1e-10}[activation]
    np.testing.assert_allclose(kernel.nngp(rows), k1, atol=tol)
    np.testing.assert_allclose(kernel(rows), k1 + rows @ rows.T / 2 * k0, atol=2 * tol)


def test_erf_tangent_of_one_layer_is_the_gradient_of_a_wide_network():
    """The recursion against the gradients themselves, of a random network of finite width."""
    from scipy.special import erf

    rng, width, d, w, b = np.random.default_rng(0), 200_000, 5, 1.3, 0.4
    W, B, V = rng.standard_normal((width, d)), rng.standard_normal(width), rng.standard_normal(width)
    f = w / np.sqrt(d) * X[:4] @ W.T + b * B
    h, slope = erf(f), 2 / np.sqrt(np.pi) * np.exp(-(f**2))
    inner = (slope * V**2) @ slope.T * (w**2 / width)
    expected = w**2 / width * h @ h.T + b**2 + inner * (w**2 / d * X[:4] @ X[:4].T + b**2)
    kernel = NeuralTangentKernel(activation="erf", sigma_w=w, sigma_b=b)
    np.testing.assert_allclose(kernel(X[:4]), expected, atol=0.02)


@pytest.mark.parametrize("kernel", NETWORKS, ids=str)
def test_gradient_by_finite_differences(kernel):
    rows, step = np.vstack([X, X[:2]]), 1e-5
    K, gradient = kernel(rows, eval_gradient=True)
    np.testing.assert_array_equal(K, kernel(rows))
    assert gradient.shape == (14, 14, 2)
    for axis, unit in enumerate(np.eye(2)):
        above, below = (kernel.clone_with_theta(kernel.theta + h * unit)(rows) for h in (step, -step))
        np.testing.assert_allclose(gradient[..., axis], (above - below) / (2 * step), rtol=2e-8, atol=2e-8)


def test_gradient_of_one_sigma_in_blocks(monkeypatch):
    both = NeuralTangentKernel(2, **FREE)
    one = NeuralTangentKernel(2, sigma_w_bounds=(0.1, 10.0))
    monkeypatch.setattr(ntk, "block_size", lambda *args, **kwargs: 5)
    np.testing.assert_allclose(one(X, eval_gradient=True)[1], both(X, eval_gradient=True)[1][..., 1:], rtol=1e-14)
    assert NeuralTangentKernel()(X, eval_gradient=True)[1].shape == (12, 12, 0)
    with pytest.raises(ValueError, match="only be evaluated when Y is None"):
        both(X, Z, eval_gradient=True)
    assert both(X, X, eval_gradient=True)[1].shape == (12, 12, 2)


@pytest.mark.parametrize("sigma_b", [0.0, 0.1])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_degenerate_rows(activation, sigma_b):
    kernel = NeuralTangentKernel(3, activation=activation, sigma_b=sigma_b)
    with np.errstate(all="raise", under="ignore"):
        K, S = kernel(DEGENERATE), kernel.nngp(DEGENERATE)
        across = kernel(DEGENERATE, DEGENERATE.copy())
    assert np.isfinite(K).all() and np.isfinite(S).all()
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(np.diag(K), kernel.diag(DEGENERATE))
    scale = np.sqrt(np.outer(np.diag(K), np.diag(K)))
    np.testing.assert_allclose(across, K, atol=1e-7 * scale.max(where=scale < 1e9, initial=0), rtol=1e-7)
    equal = K[:, 0], K[:, 3]  # rows 0 and 3 are one row twice
    np.testing.assert_allclose(*equal, rtol=1e-12)
    assert K[0, 3] == pytest.approx(K[0, 0], rel=1e-13)
    if not sigma_b:
        assert not K[6:8].any()
        if activation == "relu":  # homogeneous: collinear rows scale the kernel
            assert K[0, 4] == pytest.approx(2 * K[0, 0], rel=1e-7)
    kernel.set_params(sigma_w_bounds=(0.1, 10))
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(kernel(DEGENERATE, eval_gradient=True)[1]).all()


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_equal_rows_across_arrays_are_the_diagonal(activation):
    """A kernel matrix between test and training rows agrees with that of the training rows where the rows do."""
    rows = np.random.default_rng(0).random((40, 300))
    kernel = NeuralTangentKernel(3, activation=activation)
    np.testing.assert_allclose(kernel(rows, rows.copy()), kernel(rows), rtol=1e-13)
    np.testing.assert_allclose(kernel.nngp(rows, rows.copy()), kernel.nngp(rows), rtol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_tiles_and_strips_are_one_matrix(activation, n_jobs):
    from joblib import parallel_config

    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((600, 4)), rng.standard_normal((70, 4))
    kernel = NeuralTangentKernel(2, activation=activation)
    with parallel_config("threading", n_jobs=n_jobs):
        K = kernel(rows)
        across = kernel(others, rows)
    np.testing.assert_array_equal(K, K.T)
    picked = rng.choice(600, 50, replace=False)
    np.testing.assert_allclose(K[np.ix_(picked, picked)], kernel(rows[picked]), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(across[:, picked], kernel(others, rows[picked]), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(across, kernel(rows, others).T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        kernel.nngp(rows)[np.ix_(picked, picked)], kernel.nngp(rows[picked]), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("sigma_w", [0.1, 1.4142, 5.0])
def test_many_layers_keep_their_scale(sigma_w):
    """The units that a tile works in are taken back before they run out of numbers."""
    kernel = NeuralTangentKernel(90, sigma_w=sigma_w, sigma_b=0.5)
    K = kernel(X)
    assert np.isfinite(K).all() and K.all()
    xp = pytest.importorskip("array_api_strict")  # works in plain units
    np.testing.assert_allclose(np.asarray(kernel(xp.asarray(X))), K, rtol=1e-11)


def test_single_precision(monkeypatch):
    kernel, single = NeuralTangentKernel(3, **FREE), X.astype(np.float32)
    monkeypatch.setattr(ntk, "block_size", lambda *args, **kwargs: 5)
    for given, expected in (
        (kernel(single), kernel(single.astype(float))),
        (kernel(single, Z.astype(np.float32)), kernel(single.astype(float), Z.astype(np.float32).astype(float))),
        (kernel.diag(single), kernel.diag(single.astype(float))),
        (kernel(single, eval_gradient=True)[1], kernel(single.astype(float), eval_gradient=True)[1]),
    ):
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-6)
    assert kernel(single, Z).dtype == np.float64
    near = np.repeat(single[:1], 3, axis=0) * np.array([[1], [1], [1 + 1e-6]], dtype=np.float32)
    np.testing.assert_allclose(kernel(near), kernel(near.astype(float)), rtol=2e-7)


def test_sparse_rows_stay_sparse(monkeypatch):
    rows = np.where(X > 0.5, X, 0.0)
    kernel = NeuralTangentKernel(2, **FREE)
    expected, across = kernel(rows), kernel(rows, Z)
    gradient = kernel(rows, eval_gradient=True)[1]
    monkeypatch.setattr(ntk, "block_size", lambda *args, **kwargs: 5)
    for convert in (sparse.csr_array, sparse.csc_matrix):
        np.testing.assert_allclose(kernel(convert(rows)), expected, rtol=1e-12)
        np.testing.assert_allclose(kernel(convert(rows), convert(Z)), across, rtol=1e-12)
        np.testing.assert_allclose(kernel(convert(rows), Z), across, rtol=1e-12)
        np.testing.assert_allclose(kernel(Z, convert(rows)), across.T, rtol=1e-12)
        np.testing.assert_allclose(kernel(convert(rows), eval_gradient=True)[1], gradient, rtol=1e-12)
        np.testing.assert_allclose(kernel.diag(convert(rows)), kernel.diag(rows), rtol=1e-14)


@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_other_namespaces(activation, dtype, monkeypatch):
    xp = pytest.importorskip("array_api_strict")
    kernel = NeuralTangentKernel(3, activation=activation)
    rows, others = DEGENERATE[:-1].astype(dtype), Z.astype(dtype)
    expected = [kernel(rows), kernel(rows, others), kernel.nngp(rows), kernel.diag(rows)]
    monkeypatch.setattr(ntk, "block_size", lambda *args, **kwargs: 4)
    there, those = xp.asarray(rows), xp.asarray(others)
    found = [kernel(there), kernel(there, those), kernel.nngp(there), kernel.diag(there)]
    for given, right in zip(found, expected, strict=True):
        assert given.dtype == getattr(xp, dtype)
        np.testing.assert_allclose(np.asarray(given), right, rtol=1e-12 if dtype == "float64" else 1e-6, atol=1e-12)
    np.testing.assert_array_equal(np.asarray(found[0]), np.asarray(found[0]).T)
    many = np.random.default_rng(0).standard_normal((30, 700)).astype(dtype)
    there = xp.asarray(many)
    np.testing.assert_array_equal(np.diag(np.asarray(kernel(there))), np.asarray(kernel.diag(there)))


def test_gaussian_process_moves_its_sigmas():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 3))
    true = NeuralTangentKernel(2, sigma_w=1.0, sigma_b=1.0, **FREE)
    y = np.linalg.cholesky(true(rows) + 1e-6 * np.eye(40)) @ rng.standard_normal(40)
    model = GaussianProcessRegressor(NeuralTangentKernel(2, **FREE), alpha=1e-6).fit(rows, y)
    assert model.log_marginal_likelihood_value_ >= model.log_marginal_likelihood(true.theta)
    slope = model.log_marginal_likelihood(model.kernel_.theta, eval_gradient=True)[1]
    assert np.abs(slope).max() < 0.05 and model.kernel_ != NeuralTangentKernel(2, **FREE)
    fixed = GaussianProcessRegressor(NeuralTangentKernel(2), alpha=1e-6).fit(rows, y)
    np.testing.assert_allclose(fixed.predict(rows), y, atol=1e-3)


def test_estimators_of_scikit_learn():
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((40, 3)), rng.integers(0, 2, 40)
    kernel = NeuralTangentKernel(2)
    ridge = KernelRidge(kernel=kernel, alpha=0.1).fit(rows, labels)
    np.testing.assert_allclose(ridge.dual_coef_, np.linalg.solve(kernel(rows) + 0.1 * np.eye(40), labels))
    machine = SVC(kernel=kernel).fit(rows, labels)
    precomputed = SVC(kernel="precomputed").fit(kernel(rows), labels)
    np.testing.assert_allclose(machine.decision_function(rows), precomputed.decision_function(kernel(rows)), atol=1e-6)
    features = Nystroem(kernel=kernel, n_components=40).fit_transform(rows)
    np.testing.assert_allclose(features @ features.T, kernel(rows), atol=1e-8)


def test_kernel_interface():
    kernel = NeuralTangentKernel(2, activation="erf", sigma_w=1.5, sigma_b=0.2, sigma_w_bounds=(0.5, 3))
    assert clone(kernel) == kernel and clone(kernel) is not kernel
    assert kernel.get_params()["depth"] == 2 and not kernel.is_stationary()
    np.testing.assert_allclose(kernel.theta, [np.log(1.5)])
    np.testing.assert_allclose(kernel.bounds, np.log([[0.5, 3]]))
    assert kernel.clone_with_theta([0.0]).sigma_w == 1.0
    assert str(kernel) == "NeuralTangentKernel(depth=2, activation='erf', sigma_w=1.5, sigma_b=0.2)"
    both = ConstantKernel(2.0) * kernel + WhiteKernel(0.5)
    np.testing.assert_allclose(both(X), 2 * kernel(X) + 0.5 * np.eye(12))
    np.testing.assert_array_equal(kernel(X, X), kernel(X))
    assert clone(both).theta.shape == (3,)
    np.testing.assert_array_equal(kernel(X.tolist()), kernel(X))
    np.testing.assert_array_equal(kernel(np.eye(3, dtype=bool)), kernel(np.eye(3)))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"depth": 1.0}, "depth must be an integer"),
        ({"activation": "tanh"}, "activation must be one of 'relu', 'erf', got 'tanh'"),
        ({"sigma_w": 0}, "sigma_w must be a finite number > 0, got 0"),
        ({"sigma_w": np.inf}, "sigma_w must be a finite number > 0"),
        ({"sigma_b": -0.1}, "sigma_b must be a finite number >= 0, got -0.1"),
        ({"sigma_b": "0.1"}, "sigma_b must be a finite number >= 0, got '0.1'"),
        ({"sigma_b": 0, "sigma_b_bounds": (0.1, 1)}, "no logarithm to optimise"),
    ],
)
def test_bad_parameters(parameters, text):
    for call in (lambda k: k(X), lambda k: k.diag(X), lambda k: k.nngp(X), lambda k: k(X, eval_gradient=True)):
        with pytest.raises(ValueError, match=text):
            call(NeuralTangentKernel(**parameters))
