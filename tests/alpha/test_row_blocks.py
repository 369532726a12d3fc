"""Kernel matrices in blocks of rows: the same numbers, wherever the blocks are."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from sklearn_influence import InfluenceEstimator
from sklearn_influence.alpha import gram, row_blocks
from sklearn_influence.alpha.newton import minimise
from sklearn_influence.alpha.row_blocks import RowBlocks
from sklearn_influence.kernel_models import KernelLogisticRegression
from sklearn_influence.losses import Softmax


@pytest.fixture
def K():
    X = np.random.default_rng(0).normal(size=(60, 4))
    return np.exp(-0.2 * ((X[:, None] - X) ** 2).sum(axis=2))


@pytest.fixture
def in_blocks(monkeypatch):
    """Kernel matrices that no device is taken to hold, in blocks of 16 rows; the products that were made of them."""
    made = []
    monkeypatch.setattr(gram, "fits", lambda n, device: False)
    monkeypatch.setattr(
        gram,
        "in_blocks",
        lambda values, X, *where, **how: made.append(len(X)) or row_blocks.in_blocks(values, X, *where, **how),
    )
    monkeypatch.setattr(row_blocks, "block_size", lambda *args, **kwargs: 16)
    return made


def shards(K, namespace, lent):
    xp = pytest.importorskip(namespace)
    return RowBlocks([xp.asarray(K[:7]), xp.asarray(K[7:40]), xp.asarray(K[40:])], np.zeros((1, 1)), lent=lent)


@pytest.mark.parametrize("lent", [False, True])
@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
def test_products_and_parts_are_those_of_the_whole(K, namespace, lent):
    blocks, B = shards(K, namespace, lent), np.random.default_rng(1).normal(size=(60, 3))
    product = blocks @ B
    assert type(product) is np.ndarray and blocks.shape == (60, 60)
    np.testing.assert_allclose(product, K @ B, rtol=1e-13)
    np.testing.assert_array_equal(blocks.diagonal(), np.diagonal(K))
    np.testing.assert_array_equal(blocks.rows([50, 3, 8]), K[[50, 3, 8]])
    kept = np.flatnonzero(np.arange(60) % 3 > 0)
    np.testing.assert_allclose(blocks.take(kept) @ B[kept], K[np.ix_(kept, kept)] @ B[kept], rtol=1e-13)
    assert len(blocks.take(np.arange(40, 60)).parts) == 1


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
def test_a_model_fits_on_shards(K, namespace):
    y = np.arange(60) % 3
    whole, _, _ = minimise(K, y, Softmax(), np.ones(60), 0.5, solver="cg")
    split, _, info = minimise(shards(K, namespace, False), y, Softmax(), np.ones(60), 0.5)
    assert info.converged
    np.testing.assert_allclose(split, whole, atol=1e-9)


def _questions(model, X, y):
    model.unlearn([3, 20, 41])
    return [model.influence_on_loss(X, y, [5, 9]), model.influence_on_output(X, [5]), model.estimator_.dual_coef_]


def test_influence_and_unlearning_go_through_in_blocks(in_blocks, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.normal(size=60)
    known = _questions(InfluenceEstimator(KernelRidge(alpha=0.3, kernel="rbf")).fit(X, y), X[:5], y[:5])
    assert not in_blocks
    monkeypatch.setattr(gram.Gram, "spreads", True)
    model = InfluenceEstimator(KernelRidge(alpha=0.3, kernel="rbf"), solver="cg").fit(X, y)
    for block, whole in zip(_questions(model, X[:5], y[:5]), known, strict=True):
        np.testing.assert_allclose(block, whole, atol=1e-9 * np.abs(whole).max())
    assert in_blocks
    with pytest.raises(ValueError, match=r"solver='direct' needs the kernel matrix of 57 rows .* Use solver='cg'"):
        model.set_params(solver="direct").leverages()


def test_kernel_logistic_regression_goes_through_in_blocks(in_blocks, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    whole = KernelLogisticRegression().fit(X, y).dual_coef_
    monkeypatch.setattr(gram.Gram, "spreads", True)
    np.testing.assert_allclose(KernelLogisticRegression().fit(X, y).dual_coef_, whole, atol=1e-9)
    assert in_blocks


def test_each_device_holds_its_share(monkeypatch):
    X = np.random.default_rng(0).normal(size=(10, 2))
    monkeypatch.setattr(row_blocks, "devices", lambda device: ["cpu", "cpu", "cpu"])
    blocks = row_blocks.in_blocks(lambda A, B, device: A @ B.T, X, "cpu")
    assert not blocks.lent and [len(part) for part in blocks.parts] == [4, 4, 2]
    monkeypatch.setattr(row_blocks, "device_memory", lambda device: 100)
    assert row_blocks.in_blocks(lambda A, B, device: A @ B.T, X, "cpu").lent
    assert row_blocks.fits(2, "cpu") and not row_blocks.fits(3, "cpu")
