"""Stochastic solves against NumPy, their standard errors against the truth over seeds, and badly scaled problems."""

import numpy as np
import pytest
from curvatures import KINDS, dense, hessian, sides
from scipy import sparse
from scipy.stats import t

from sklearn_influence._minibatch import RowSampler
from sklearn_influence.curvature import Hessian
from sklearn_influence.solvers.stochastic import Stochastic, _extreme_eigenvalues


def exact(H, B):
    root = 1 / np.sqrt(H.diagonal())
    return root[:, None] * (np.linalg.pinv(root[:, None] * dense(H) * root, rcond=1e-12) @ (root[:, None] * B))


def relative_error(H, X, B):
    """In the norm of H, which a flat direction does not enter."""
    error = X - exact(H, B)
    return np.sqrt(np.sum(error * (dense(H) @ error)) / np.sum(X * B))


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_solves(kind, intercept):
    H = hessian(kind, intercept=intercept)
    B = sides(H)
    X, info = Stochastic(random_state=0).factor(H)(B)
    assert info.converged, info.reason
    assert relative_error(H, X, B) < 0.02
    assert info.standard_error.shape == X.shape == B.shape and info.residual.shape == (3,)
    R = B - dense(H) @ X
    assert info.residual.max() < 0.05 and np.abs(R).max() < 0.05 * np.abs(B).max()
    np.testing.assert_allclose(info.repeats.mean(axis=0), X, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(info.repeats.std(axis=0, ddof=1) / np.sqrt(8), info.standard_error)


def test_softmax_takes_any_right_hand_side():
    """Along the common shift of all classes only the penalty curves, which is inverted exactly."""
    H = hessian("softmax", penalty=0.01)
    B = np.random.default_rng(2).standard_normal((H.shape[0], 2))
    X, info = Stochastic(random_state=0).factor(H)(B)
    truth = np.linalg.pinv(dense(H), rcond=1e-10) @ B
    assert info.converged and H.minibatch().shifts
    shift = [V[:12].reshape(3, 4, -1).mean(axis=0) for V in (X, truth)]
    np.testing.assert_allclose(*shift, rtol=1e-9)
    assert np.linalg.norm(X - truth) < 0.05 * np.linalg.norm(truth)


@pytest.mark.parametrize("kind", ["single", "softmax"])
def test_standard_error_covers_the_truth(kind):
    H = hessian(kind)
    B = sides(H, k=2)
    truth = np.linalg.pinv(dense(H), rcond=1e-10) @ B
    g = sides(H, k=5, seed=3)
    factor = Stochastic(n_repeats=5, random_state=np.random.RandomState(0)).factor(H)
    quantile = t.ppf(0.975, 4)
    inside, errors = [], []
    for _ in range(60):
        X, info = factor(B)
        each = g.T @ info.repeats
        se = each.std(axis=0, ddof=1) / np.sqrt(5)
        inside.append([(np.abs(X - truth) <= quantile * info.standard_error).mean()])
        inside.append([(np.abs(g.T @ (X - truth)) <= quantile * se).mean()])
        errors.append((X - truth) / info.standard_error)
    # Entries of a draw depend on each other: 60 draws tell 95 % from 90 % and from 99 %, about.
    assert 0.90 < np.mean(inside) < 0.985
    # No bias: the mean over draws is as far from the truth as chance takes it.
    z = np.median(errors, axis=0) * np.sqrt(60)
    assert np.sqrt((z**2).mean()) < 2.5


def test_extreme_eigenvalues():
    H = hessian(d=6)
    s = H.minibatch()
    M = s.product(np.eye(7)) / np.sqrt(s.diagonal * s.diagonal.T)
    largest, smallest = _extreme_eigenvalues(s)
    values = np.linalg.eigvalsh(M)
    assert largest == pytest.approx(values[-1], rel=1e-8) and smallest == pytest.approx(values[0], rel=1e-6)


@pytest.mark.parametrize("kind", ["single", "softmax"])
def test_units_of_the_columns_do_not_matter(kind):
    """From 1e-6 to 1e6; a row of large leverage beside."""

    def outlier(X):
        X[0] *= 4
        return X

    units = np.array([1e-6, 1e-2, 1e2, 1e6])
    H = hessian(kind, penalty=0.0, units=units, make=outlier)
    B = sides(H)
    for seed in range(3):
        X, info = Stochastic(random_state=seed).factor(H)(B)
        assert info.converged and np.isfinite(X).all()
        assert relative_error(H, X, B) < 0.03
    plain = hessian(kind, penalty=0.0, make=outlier)
    assert Stochastic().factor(H).scale == pytest.approx(Stochastic().factor(plain).scale, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intercept", [True, False])
def test_sparse_equals_dense(kind, intercept):
    """Sparse rows are not centred; from the centre zero both see the same curvature and draw the same rows."""

    def sparsify(X):
        X[np.random.default_rng(5).random(X.shape) < 0.5] = 0
        return X

    of_dense = hessian(kind, intercept=intercept, make=sparsify)
    of_dense.__dict__["centre"] = np.zeros(4)
    of_sparse = hessian(kind, intercept=intercept, make=lambda X: sparse.csr_array(sparsify(X)))
    B = sides(of_dense)
    X, info = Stochastic(random_state=0).factor(of_sparse)(B)
    Y, other = Stochastic(random_state=0).factor(of_dense)(B)
    np.testing.assert_allclose(X, Y, rtol=1e-6, atol=1e-9 * np.abs(X).max())
    assert info.iterations == other.iterations
    assert relative_error(of_dense, X, B) < 0.02


def test_float32_rows():
    H = hessian(make=lambda X: X.astype(np.float32))
    B = sides(H)
    X, info = Stochastic(random_state=0).factor(H)(B)
    assert info.converged and X.dtype == np.float64
    assert relative_error(H, X, B) < 0.02


def test_penalised_intercept():
    H = hessian()
    H = Hessian(H.design, H.weights, np.full((1, 5), 2.0))
    B = sides(H)
    X, info = Stochastic(random_state=0).factor(H)(B)
    assert info.converged and relative_error(H, X, B) < 0.02


def collinear(X):
    X[:, -1] = 2 * X[:, 0] - X[:, 1]
    return X


def test_singular_in_the_range():
    H = hessian(penalty=0.0, make=collinear)
    B = sides(H)
    X, info = Stochastic(random_state=0).factor(H)(B)
    assert info.converged and relative_error(H, X, B) < 0.02


def test_singular_off_the_range_never_converges():
    H = hessian(penalty=0.0, make=collinear)
    X, info = Stochastic(random_state=0, max_iter=3000).factor(H)(np.eye(5)[:, :1])
    assert not info.converged and np.isfinite(X).all() and info.residual[0] > 0.1
    assert "without curvature" in info.reason and "max_iter=3000" in info.reason


def test_columns_without_curvature():
    def constant(X):
        X[:, 1] = 0.1
        return X

    H = hessian(penalty=0.0, make=constant)
    B = sides(hessian(penalty=0.0, make=constant))
    X, info = Stochastic(random_state=0).factor(H)(B)
    assert info.converged and (X[1] == 0).all() and info.residual.max() < 0.05
    off = B.copy()
    off[1] += 1.0
    _, info = Stochastic(random_state=0).factor(H)(off)
    assert not info.converged and "column without curvature" in info.reason


def test_only_the_penalty():
    H = hessian()
    H = Hessian(H.design, np.zeros((80, 1)), np.full((1, 5), 2.0))
    H.penalty[0, -1] = 0.0
    B = np.array([[1.0], [2], [3], [4], [0]])
    X, info = Stochastic(random_state=0).factor(H)(B)
    np.testing.assert_allclose(X, B / 2, rtol=1e-7)
    assert info.converged
    H.penalty[:] = 0.0
    with pytest.raises(ValueError, match="curvature is zero"):
        Stochastic().factor(H)


def test_no_columns_and_zero_columns():
    H = hessian()
    X, info = Stochastic(random_state=0).factor(H)(np.zeros((5, 2)))
    assert (X == 0).all() and info.converged and (info.residual == 0).all()
    X, info = Stochastic(random_state=0).factor(H)(np.zeros((5, 0)))
    assert X.shape == (5, 0) and info.converged
    with pytest.raises(ValueError, match="finite"):
        Stochastic().factor(H)(np.full((5, 1), np.nan))


def test_negative_curvature_is_refused():
    H = hessian()
    H.weights[3] = -0.1
    with pytest.raises(ValueError, match="convex"):
        Stochastic().factor(H)


def test_random_state():
    H = hessian()
    B = sides(H)
    first, again = (Stochastic(random_state=3).factor(H)(B)[0] for _ in range(2))
    other = Stochastic(random_state=4).factor(H)(B)[0]
    assert (first == again).all() and (first != other).any()
    factor = Stochastic(random_state=np.random.RandomState(3)).factor(H)
    assert (factor(B)[0] == first).all() and (factor(B)[0] != first).any()
    assert (Stochastic().factor(H)(B)[0] != Stochastic().factor(H)(B)[0]).any()


def test_blocks_of_columns_see_the_same_rows(monkeypatch):
    H = hessian()
    B = sides(H, k=5)
    whole, info = Stochastic(random_state=0).factor(H)(B)
    monkeypatch.setattr("sklearn_influence.solvers.stochastic._STATE", 8 * 8 * 5 * 2)
    parts, other = Stochastic(random_state=0).factor(H)(B)
    assert other.standard_error.shape == whole.shape and other.repeats.shape == info.repeats.shape
    np.testing.assert_allclose(parts, whole, rtol=0.1, atol=0.05 * np.abs(whole).max())


def test_tol_is_the_relative_standard_error():
    H = hessian()
    B = sides(H)
    diagonal = RowSampler(H).diagonal
    steps = []
    for tol in (0.1, 1e-2, 1e-4):
        X, info = Stochastic(tol=tol, random_state=0).factor(H)(B)
        assert info.converged
        size = np.sqrt(np.sum(H.minibatch().product(np.eye(5)).diagonal()[:, None] * _entered(H, X) ** 2, axis=0))
        error = np.sqrt(np.sum(_entered(H, info.repeats).std(axis=0, ddof=1) ** 2 * diagonal, axis=0) / 8)
        assert (error <= tol * size * 1.001).all()
        steps.append(info.iterations)
    assert steps[0] <= steps[1] < steps[2]
    assert relative_error(H, X, B) < 5e-4


def _entered(H, X):
    """Parameters in the coordinates of the sampler."""
    s = H.minibatch()
    if X.ndim == 3:
        return np.stack([_entered(H, one) for one in X])
    return H.encode_params(X)[0] / s.column[:, None]


def test_damping():
    H = hessian()
    B = sides(H)
    A = dense(H)
    s = H.minibatch()
    X, _ = Stochastic(damping=0.5, tol=1e-3, random_state=0).factor(H)(B)
    np.testing.assert_allclose(X, np.linalg.solve(A + 0.5 * np.diag(np.diag(A)), B), atol=0.01 * np.abs(X).max())
    assert s.q == 1


def test_max_iter_and_n_samples_and_n_repeats():
    H = hessian()
    B = sides(H)
    X, info = Stochastic(max_iter=8, random_state=0).factor(H)(B)
    assert not info.converged and info.iterations <= 8 and "max_iter=8" in info.reason
    assert np.isfinite(X).all()
    few, many = (Stochastic(n_samples=t, random_state=0).factor(H) for t in (1, 64))
    assert few.scale > 2 * many.scale
    assert relative_error(H, few(B)[0], B) < 0.05
    assert Stochastic(n_repeats=3, random_state=0).factor(H)(B)[1].repeats.shape == (3, 5, 3)


def test_a_scale_that_is_too_small_is_reported():
    H = hessian()
    B = sides(H)
    with np.errstate(all="ignore"):
        X, info = Stochastic(scale=0.1, random_state=0).factor(H)(B)
    assert not info.converged and "scale=0.1 is too small" in info.reason
    assert np.isnan(X).all() and np.isinf(info.standard_error).all()  # no answer is better than a wrong one
    slow = Stochastic(scale=50.0, random_state=0).factor(H)(B)[1]
    assert slow.converged and slow.iterations > Stochastic(random_state=0).factor(H)(B)[1].iterations


@pytest.mark.parametrize("name", ["n_samples", "n_repeats", "max_iter", "tol", "damping", "scale", "random_state"])
@pytest.mark.parametrize("value", ["many", True, [1]])
def test_types_are_refused(name, value):
    with pytest.raises(TypeError, match=f"{name} must be"):
        Stochastic(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"n_samples": 0},
        {"n_repeats": 1},
        {"max_iter": 3},
        {"tol": 0.0},
        {"tol": np.inf},
        {"damping": -0.1},
        {"damping": np.nan},
        {"scale": 0.0},
        {"scale": np.inf},
        {"random_state": -1},
        {"random_state": 2**32},
    ],
)
def test_values_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name} must be .*got {value!r}"):
        Stochastic(**options)
