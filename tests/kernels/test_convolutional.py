"""The convolutional kernel: the reference's numbers, blocks of pairs, and scikit-learn's estimators."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge

from sklearn_influence.kernels import ConvolutionalNTK, convolutional, gram

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "ntk_reference.npz")
IMAGES = REFERENCE["images"].reshape(4, -1)
KERNEL = ConvolutionalNTK(image_shape=(8, 8, 3))
SMALL = ConvolutionalNTK(2, image_shape=(5, 4, 2), sigma_w=1.2, sigma_b=0.3)
ROWS = np.random.default_rng(0).standard_normal((23, 40))


@pytest.mark.parametrize("depth", [1, 3])
def test_reference(depth):
    kernel = ConvolutionalNTK(depth, image_shape=(8, 8, 3))
    np.testing.assert_allclose(kernel(IMAGES), REFERENCE[f"cnn_depth{depth}_XX"], rtol=1e-12)
    np.testing.assert_allclose(kernel(IMAGES[:2], IMAGES[2:]), REFERENCE[f"cnn_depth{depth}_XX"][:2, 2:], rtol=1e-12)


def test_depth_one_without_a_neighbour_is_the_dense_network():
    """A single pixel: the convolution sees it alone, so its weights count a ninth, and the pool divides by 4."""
    from sklearn_influence.kernels.recursion import ReLU

    rows = ROWS[:3, :2]
    S = 2 / 9 * rows @ rows.T / 2 + 0.01
    k1, k0 = ReLU.dual(np, S, np.diag(S)[:, None], np.diag(S))
    kernel = ConvolutionalNTK(1, image_shape=(1, 1, 2))
    np.testing.assert_allclose(kernel.nngp(rows), 2 * k1 / 16 + 0.01, rtol=1e-7)
    np.testing.assert_allclose(kernel(rows), 2 * (k1 + S * k0) / 16 + 0.01, rtol=1e-7)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_blocks_of_pairs_are_one_matrix(n_jobs, monkeypatch):
    from joblib import parallel_config

    monkeypatch.setattr(convolutional, "LISTED", 60)
    monkeypatch.setattr(convolutional, "PAIRS", 7)
    with parallel_config("threading", n_jobs=n_jobs):
        K, across = SMALL(ROWS), SMALL(ROWS[:5], ROWS)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(np.diag(K), SMALL.diag(ROWS))
    np.testing.assert_allclose(across, K[:5], rtol=1e-13)
    np.testing.assert_allclose(K[:2, 2:4], SMALL(ROWS[:2], ROWS[2:4]), rtol=1e-13)
    np.testing.assert_allclose(SMALL.nngp(ROWS)[:5], SMALL.nngp(ROWS[:5], ROWS), rtol=1e-13)
    assert np.linalg.eigvalsh(K)[0] > 0


def test_blocks_follow_the_working_memory():
    large = ConvolutionalNTK(image_shape=(32, 32, 3))
    with config_context(working_memory=4):
        band, size = large._band(ROWS)
        assert size == 2**21 // (8 * band.floats_per_pair()) < 10
    assert large._band(ROWS)[1] == 32


@pytest.mark.parametrize("sigma_b", [0.0, 0.1])
def test_degenerate_images(sigma_b):
    kernel = ConvolutionalNTK(2, image_shape=(5, 4, 2), sigma_b=sigma_b)
    rows = np.vstack([ROWS[:2], ROWS[:1], 2 * ROWS[:1], np.zeros((2, 40)), np.eye(40)[:1], np.ones((1, 40))])
    with np.errstate(all="raise", under="ignore"):
        K, across = kernel(rows), kernel(rows, rows.copy())
    assert np.isfinite(K).all()
    np.testing.assert_allclose(across, K, rtol=1e-13, atol=1e-300)
    assert K[0, 2] == pytest.approx(K[0, 0], rel=1e-14)
    if not sigma_b:
        assert not K[4].any() and K[0, 3] == pytest.approx(2 * K[0, 0], rel=1e-7)


def test_precision_and_namespaces():
    xp = pytest.importorskip("array_api_strict")
    single = IMAGES.astype(np.float32)
    K = KERNEL(single)
    assert K.dtype == KERNEL.diag(single).dtype == np.float32
    np.testing.assert_allclose(K, KERNEL(single.astype(float)), rtol=1e-7)
    there = KERNEL(xp.asarray(IMAGES), xp.asarray(IMAGES[:2]))
    assert there.dtype == xp.float64 and type(there) is type(xp.asarray(IMAGES))
    np.testing.assert_array_equal(np.asarray(there), KERNEL(IMAGES, IMAGES[:2]))
    np.testing.assert_array_equal(KERNEL(sparse.csr_array(IMAGES)), KERNEL(IMAGES))
    np.testing.assert_array_equal(gram(KERNEL, IMAGES), KERNEL(IMAGES))


def test_kernel_interface():
    assert clone(SMALL) == SMALL and not SMALL.is_stationary() and SMALL.theta.shape == (0,)
    assert str(SMALL) == "ConvolutionalNTK(depth=2, image_shape=(5, 4, 2), sigma_w=1.2, sigma_b=0.3)"
    assert SMALL(ROWS, eval_gradient=True)[1].shape == (23, 23, 0)
    with pytest.raises(ValueError, match="only be evaluated when Y is None"):
        SMALL(ROWS, ROWS[:2], eval_gradient=True)
    y = ROWS[:, 0]
    ridge = KernelRidge(kernel=SMALL, alpha=0.1).fit(ROWS, y)
    np.testing.assert_allclose(ridge.dual_coef_, np.linalg.solve(SMALL(ROWS) + 0.1 * np.eye(23), y))
    process = GaussianProcessRegressor(SMALL, alpha=0.1).fit(ROWS, y)
    np.testing.assert_allclose(process.predict(ROWS), ridge.predict(ROWS), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"image_shape": (5, 8)}, r"image_shape must be \(height, width, channels\), got \(5, 8\)"),
        ({"image_shape": 40}, r"image_shape must be \(height, width, channels\), got 40"),
        ({"image_shape": (5, 8.0, 1)}, "width in image_shape must be an integer >= 1, got 8.0"),
        ({"image_shape": (5, 4, 1)}, "images of image_shape, 5 x 4 x 1 = 20 numbers each; got 40"),
        ({"sigma_w": -1}, "sigma_w must be a finite number > 0"),
    ],
)
def test_bad_parameters(parameters, text):
    kernel = clone(SMALL).set_params(**parameters)
    for call in (kernel, kernel.diag, kernel.nngp):
        with pytest.raises(ValueError, match=text):
            call(ROWS)
