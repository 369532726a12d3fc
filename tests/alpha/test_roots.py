"""The roots of the curvatures against the dense curvatures."""

import numpy as np
import pytest
from alpha_cases import KINDS, Problem

from sklearn_influence import losses
from sklearn_influence.alpha.roots import Roots


@pytest.mark.parametrize("kind", KINDS)
def test_roots_are_roots(kind):
    case = Problem(kind)
    V = case.V()
    np.testing.assert_allclose(V @ V.T, case.W, atol=1e-15)
    flat = case.B.reshape(-1, 4)
    np.testing.assert_allclose(case.roots.ttimes(case.B).reshape(-1, 4), V.T @ flat, atol=1e-14)
    np.testing.assert_allclose(case.roots.weigh(case.B).reshape(-1, 4), case.W @ flat, atol=1e-14)
    np.testing.assert_allclose(case.roots.times(case.B[:, :, 0]), case.roots.times(case.B)[:, :, 0])
    some = case.roots.take(np.array([2, 5]))
    np.testing.assert_array_equal(some.times(case.B[[2, 5]]), case.roots.times(case.B)[[2, 5]])
    Z, rest = case.roots.split(case.B)
    np.testing.assert_allclose(case.roots.times(Z) + rest, case.B, atol=1e-14)
    assert (Z[4] == 0).all() and (rest[4] == case.B[4]).all()
    if kind != "softmax":
        assert not np.delete(rest, 4, axis=0).any()
    else:  # what sums to 0 has no rest
        centred = np.delete(case.B - case.B.mean(axis=1, keepdims=True), 4, axis=0)
        assert not case.roots.take(np.arange(14) != 4).split(centred)[1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_side_of_a_newton_step(kind):
    case = Problem(kind)
    f0 = np.random.default_rng(3).standard_normal(case.f.shape)
    z, b = case.roots.right_side(case.f - f0, case.u)
    expected = case.dense(case.W, case.f - f0) - case.weight[:, None] * case.u
    np.testing.assert_allclose(case.roots.times(z) + b, expected, atol=1e-14)
    assert not b.any()


@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_rows_without_curvature_are_split_off(kind):
    case = Problem(kind)
    f = case.f.copy()
    y, f[0], f[1] = case.y.copy(), 0.0, 0.0
    f[0, -1], f[1, -1] = 60.0, 800.0  # badly wrong: probabilities of 1e-26 and 0
    y[:2] = 0
    roots, u = Roots.of(case.loss, y, f, case.weight), case.loss.gradient(y, f)
    z, b = roots.right_side(np.zeros_like(f), u)
    assert np.abs(z).max() < 1e5 and np.isfinite(z).all()
    np.testing.assert_allclose(roots.times(z) + b, -case.weight[:, None] * u, atol=1e-14)


def test_curvatures_without_one_root_are_refused():
    case = Problem("squares")

    class Uneven(losses.SquaredError):
        def curvature(self, y, f):
            return np.broadcast_to([1.0, 2.0], f.shape)

    with pytest.raises(ValueError, match="all separate outputs of a row alike; Uneven does not"):
        Roots.of(Uneven(), case.y, case.f[:, :2], case.weight)
