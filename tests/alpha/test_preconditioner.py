"""The low-rank inverse against the dense matrix that it is the inverse of."""

import numpy as np
import pytest

from sklearn_influence import losses
from sklearn_influence.alpha.preconditioner import LowRank, leading_directions, low_rank
from sklearn_influence.alpha.system import Roots


def _kernel(n, rank=None, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, 3))
    if rank is not None:
        return X[:, :rank] @ X[:, :rank].T
    return np.exp(-0.2 * ((X[:, None] - X) ** 2).sum(axis=2))


def _roots(n, q):
    loss = losses.Logistic() if q == 1 else losses.Softmax()
    return Roots.of(loss, np.zeros(n, dtype=int), np.zeros((n, q)), np.ones(n))


def test_leading_directions_are_near():
    K = _kernel(150)
    L = leading_directions(K, _roots(150, 1))
    assert L.shape == (150, 96)
    assert np.linalg.norm(L @ L.T - K, 2) < 1e-3 * np.linalg.norm(K, 2)
    assert leading_directions(K, _roots(150, 10)).shape == (150, 32)
    assert leading_directions(K, _roots(15, 10)).shape == (150, 96)  # the kernel mixes the outputs itself
    assert leading_directions(K[:5, :5], _roots(5, 1)).shape == (5, 5)
    low = _kernel(60, rank=2)  # a smaller rank than there are directions
    np.testing.assert_allclose((L := leading_directions(low, _roots(60, 2))) @ L.T, low, atol=1e-10)
    assert leading_directions(-K, _roots(150, 1)) is None


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("kind", ["logistic", "softmax", "squares", "softmax mixed", "squares mixed"])
def test_is_the_inverse_with_its_own_matrix(kind, namespace):
    xp, rng = pytest.importorskip(namespace), np.random.default_rng(0)
    kind, *mixed = kind.split()
    n, q = 12, {"logistic": 1, "softmax": 3, "squares": 2}[kind]
    loss = {"logistic": losses.Logistic, "softmax": losses.Softmax, "squares": losses.SquaredError}[kind]()
    f, weight, L = rng.standard_normal((n, q)), rng.uniform(0, 2, n), rng.standard_normal((n * q if mixed else n, 4))
    roots = Roots.of(loss, f if kind == "squares" else rng.integers(0, 2, n), f, weight)
    X, K = rng.standard_normal((n, q, 5)), L @ L.T
    V_X = roots.times(X)
    M_X = 0.7 * X + roots.ttimes((K @ V_X.reshape(len(K), -1)).reshape(X.shape))
    device = xp.asarray(L)
    found = LowRank(device, roots.like(device), 0.7)(xp.asarray(M_X))
    np.testing.assert_allclose(np.asarray(found), X, atol=1e-12)
    whole = low_rank(xp.asarray(K), roots, 0.7)  # of rank 4: nothing is left out
    np.testing.assert_allclose(np.asarray(whole(xp.asarray(M_X))), X, atol=1e-9)
    assert low_rank(xp.asarray(-K), roots, 0.7) is None
