"""Losses against finite differences, log-sum-exp in high precision, and each other."""

import numpy as np
import pytest

from sklearn_influence.losses import Logistic, Loss, Softmax, SquaredError

M, K = 7, 4


def problem(loss, rng, scale=2.0):
    if isinstance(loss, SquaredError):
        return rng.standard_normal((M, 3)), scale * rng.standard_normal((M, 3))
    if isinstance(loss, Logistic):
        return rng.integers(0, 2, M), scale * rng.standard_normal((M, 1))
    return rng.integers(0, 4, M), scale * rng.standard_normal((M, 4))


LOSSES = [SquaredError(), Logistic(), Softmax()]


@pytest.fixture(params=LOSSES, ids=lambda loss: type(loss).__name__)
def case(request):
    rng = np.random.default_rng(3)
    return request.param, *problem(request.param, rng), rng


def test_gradient_is_the_slope_of_the_value(case):
    loss, y, f, _ = case
    step = 1e-6
    for o in range(f.shape[1]):
        shift = np.zeros_like(f)
        shift[:, o] = step
        slope = (loss.value(y, f + shift) - loss.value(y, f - shift)) / (2 * step)
        np.testing.assert_allclose(loss.gradient(y, f)[:, o], slope, atol=1e-8)


def test_curvature_is_the_slope_of_the_gradient(case):
    loss, y, f, _ = case
    step, q = 1e-6, f.shape[1]
    W = loss.curvature(y, f)
    W = np.einsum("mq,qp->mqp", W, np.eye(q)) if loss.separable else W
    for o in range(q):
        shift = np.zeros_like(f)
        shift[:, o] = step
        slope = (loss.gradient(y, f + shift) - loss.gradient(y, f - shift)) / (2 * step)
        np.testing.assert_allclose(W[:, :, o], slope, atol=1e-8)


def test_third_is_the_slope_of_the_curvature_along_the_shift(case):
    loss, y, f, rng = case
    df, step = rng.standard_normal((*f.shape, K)), 1e-6
    third = loss.third(y, f, df)
    for j, d in enumerate(np.moveaxis(df, 2, 0)):
        slope = (loss.curvature(y, f + step * d) - loss.curvature(y, f - step * d)) / (2 * step)
        along = slope * d if loss.separable else np.einsum("mqp,mp->mq", slope, d)
        np.testing.assert_allclose(third[:, :, j], along, atol=1e-8)
    assert third.any() != loss.quadratic


def test_change_is_the_difference_of_values(case):
    loss, y, f, rng = case
    df = 3 * rng.standard_normal((*f.shape, K))
    expected = np.stack([loss.value(y, f + df[:, :, j]) - loss.value(y, f) for j in range(K)], axis=1)
    np.testing.assert_allclose(loss.change(y, f, df), expected, atol=1e-12)
    np.testing.assert_allclose(Loss.change(loss, y, f, df), expected, atol=1e-14)


def test_change_writes_into_out_even_over_its_own_shift(case):
    loss, y, f, rng = case
    df = rng.standard_normal((*f.shape, K))
    expected = loss.change(y, f, df)
    out = np.full((M, 2 * K), np.nan)[:, ::2]  # strided, as a block of a larger result is
    assert loss.change(y, f, df, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-14)
    if f.shape[1] == 1:
        buffer = df[:, 0].copy()
        loss.change(y, f, buffer[:, None], out=buffer)
        np.testing.assert_allclose(buffer, expected, rtol=1e-14)


def test_small_changes_do_not_cancel(case):
    # To first order the change is u'df: a difference of values would lose 10 of 16 digits here.
    loss, y, f, rng = case
    df = 1e-10 * rng.standard_normal((*f.shape, K))
    linear = np.einsum("mq,mqk->mk", loss.gradient(y, f), df)
    np.testing.assert_allclose(loss.change(y, f, df), linear, rtol=1e-8, atol=1e-22)


@pytest.mark.parametrize("loss", [Logistic(), Softmax()], ids=["Logistic", "Softmax"])
@pytest.mark.parametrize("f_size", [0.0, 1.0, 40.0, 800.0])
@pytest.mark.parametrize("df_size", [1e-8, 1.0, 29.0, 31.0, 800.0])
def test_log_losses_far_out(loss, f_size, df_size):
    rng = np.random.default_rng(5)
    y, f = problem(loss, rng)
    f = f_size * np.sign(f)
    df = df_size * np.sign(rng.standard_normal((*f.shape, K)))
    with np.errstate(all="raise", under="ignore"):
        change = loss.change(y, f, df)
        u = loss.gradient(y, f)
    long = np.longdouble
    for j in range(K):
        before, after = (reference(loss, y, values) for values in (f.astype(long), f.astype(long) + df[:, :, j]))
        expected = after - before
        tolerance = 1e-13 * np.maximum(np.abs(expected), 1e-6 * np.minimum(1.0, df_size)) + 2e-16
        assert (np.abs(change[:, j] - expected) <= tolerance).all()
    assert np.isfinite(u).all()


def reference(loss, y, f):
    if isinstance(loss, Logistic):
        f = np.hstack([np.zeros_like(f), f])
    top = f.max(axis=1, keepdims=True)
    own = f[np.arange(len(y)), y]
    rest = np.log(np.exp(f - top).sum(axis=1)) + (top[:, 0] - own)
    # log1p form where the own class is on top
    others = np.exp(f - own[:, None])
    others[np.arange(len(y)), y] = 0
    return np.where(own == top[:, 0], np.log1p(others.sum(axis=1)), rest)


def test_logistic_is_softmax_of_two_outputs():
    rng = np.random.default_rng(0)
    y, f = problem(Logistic(), rng)
    two = np.hstack([np.zeros_like(f), f])
    np.testing.assert_allclose(Logistic().value(y, f), Softmax().value(y, two), rtol=1e-14)
    np.testing.assert_allclose(Logistic().proba(f), Softmax().proba(two), rtol=1e-14)


@pytest.mark.parametrize("loss", [Logistic(), Softmax()], ids=["Logistic", "Softmax"])
@pytest.mark.parametrize("size", [1e-9, 1.0, 60.0])
def test_probabilities(loss, size):
    rng = np.random.default_rng(1)
    _, f = problem(loss, rng)
    df = size * rng.standard_normal((*f.shape, K))
    p = loss.proba(f)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)
    change = loss.proba_change(f, df)
    expected = np.stack([loss.proba(f + df[:, :, j]) - p for j in range(K)], axis=2)
    np.testing.assert_allclose(change, expected, atol=4e-16)
    np.testing.assert_allclose(change.sum(axis=1), 0.0, atol=3e-16 * (1 + size))
    if size == 1e-9:
        linear = np.einsum("mcq,mqk->mck", loss.proba_gradient(f), df)
        np.testing.assert_allclose(change, linear, rtol=1e-6, atol=1e-17)


def test_softmax_does_not_see_a_common_shift():
    rng = np.random.default_rng(2)
    y, f = problem(Softmax(), rng)
    df = np.ones((*f.shape, 1)) * 5.0
    assert Softmax().shift_invariant
    np.testing.assert_array_equal(Softmax().change(y, f, df), 0.0)
    np.testing.assert_allclose(Softmax().curvature(y, f).sum(axis=2), 0.0, atol=1e-16)


def test_rising_says_where_the_loss_grows():
    y = np.array([0, 1])
    rising = Logistic().rising(y)
    change = Logistic().change(y, np.zeros((2, 1)), rising[:, None, None] * 0.1)
    assert (change > 0).all()
    assert SquaredError().rising(y) is None and Softmax().rising(y) is None


def test_a_loss_of_ones_own_says_what_it_lacks():
    class OnlyValue(Loss):
        def value(self, y, f):
            return np.abs(f[:, 0] - y)

    loss = OnlyValue()
    np.testing.assert_allclose(loss.change(np.zeros(1), np.ones((1, 1)), np.ones((1, 1, 2))), [[1.0, 1.0]])
    with pytest.raises(NotImplementedError, match=r"gradient.*first_order"):
        loss.gradient(None, None)
    with pytest.raises(NotImplementedError, match="curvature"):
        loss.curvature(None, None)
    with pytest.raises(NotImplementedError, match="third"):
        loss.third(None, None, None)
    with pytest.raises(NotImplementedError, match="value"):
        Loss().value(None, None)


@pytest.mark.parametrize("loss", [Logistic(), Softmax()], ids=["Logistic", "Softmax"])
def test_probabilities_far_out_stay_probabilities(loss):
    for f_size, df_size in ((40.0, 60.0), (40.0, -90.0), (800.0, -1600.0), (0.0, 1000.0)):
        f = np.full((1, 1), f_size) if isinstance(loss, Logistic) else np.array([[f_size, 0.0, -1.0]])
        for sign in (1.0, -1.0):
            df = np.zeros((*f.shape, 1))
            df[0, 0] = sign * df_size
            with np.errstate(all="raise", under="ignore"):
                change = loss.proba_change(sign * f, df)
            np.testing.assert_allclose(
                change[:, :, 0], loss.proba(sign * f + df[:, :, 0]) - loss.proba(sign * f), atol=1e-15
            )
