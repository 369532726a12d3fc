"""Direct solves against NumPy, singular blocks against the pseudoinverse, options against their meaning."""

import numpy as np
import pytest
from curvatures import KINDS
from curvatures import hessian as small
from scipy import linalg, sparse
from sklearn.linear_model import LinearRegression

from sklearn_influence import InfluenceEstimator, solvers
from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian, MixedWeights, to_vector
from sklearn_influence.losses import Softmax


def hessian(rng, n=60, d=5, q=1, penalty=0.3, collinear=False, scale=1.0, softmax=False):
    X = (rng.standard_normal((n, d)) + 2.0) * scale
    if collinear:
        X[:, -1] = 2 * X[:, 0] - X[:, 1]
    penalties = np.full((q, d + 1), penalty)
    penalties[:, -1] = 0.0
    if softmax:
        weights = MixedWeights(*Softmax().curvature_factors(None, rng.standard_normal((n, q))))
    else:
        weights = rng.random((n, 1)) + 0.1
    return Hessian(Design(X, True), weights, penalties, shift_invariant=softmax)


def dense(H):
    return H.matmat(np.eye(H.shape[0]))


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.mark.parametrize("q, softmax", [(1, False), (3, False), (3, True)])
def test_direct_inverts(rng, q, softmax):
    H = hessian(rng, q=q, softmax=softmax)
    factor = solvers.Direct().factor(H)
    B = rng.standard_normal((H.shape[0], 4))
    X, info = factor(B)
    np.testing.assert_allclose(X, np.linalg.pinv(dense(H), rcond=1e-12) @ B, rtol=1e-9, atol=1e-11)
    assert info.converged and info.iterations == 1 and info.nullity == 0
    assert "Cholesky" in info.reason and 0 < info.rcond < 1


def test_units_of_the_columns_do_not_matter(rng):
    H = hessian(rng, penalty=0.0, scale=np.array([1e-6, 1e-3, 1, 1e3, 1e6]))
    factor = solvers.Direct().factor(H)
    plain = hessian(np.random.default_rng(8), penalty=0.0)
    assert factor.nullity == 0
    assert factor.rcond == pytest.approx(solvers.Direct().factor(plain).rcond, rel=1e-6)


@pytest.mark.parametrize("q", [1, 2])
def test_singular_gives_the_smallest_norm_off_the_intercept(rng, q):
    H = hessian(rng, q=q, penalty=0.0, collinear=True)
    factor = solvers.Direct().factor(H)
    assert factor.nullity == q and "singular" in factor.reason
    B = dense(H) @ rng.standard_normal((H.shape[0], 2))  # in the range
    X, _ = factor(B)
    np.testing.assert_allclose(dense(H) @ X, B, atol=1e-8)
    flat = np.array([2.0, -1.0, 0, 0, -1.0])
    np.testing.assert_allclose(flat @ X[:5], 0.0, atol=1e-9)
    # The intercept is outside the norm: moving along the flat direction may change it, and is taken out all the same.
    params = rng.standard_normal(H.shape[0])
    shifted = params + np.concatenate([np.tile(flat, q), np.zeros(q)])
    for p in (params, shifted):
        least = factor.minimum_norm(p)
        np.testing.assert_allclose(flat @ least[:5], 0.0, atol=1e-9)
        np.testing.assert_allclose(dense(H) @ least, dense(H) @ p, atol=1e-8)


def test_unpenalised_softmax_needs_no_eigendecomposition(rng):
    H = hessian(rng, q=3, penalty=0.0, softmax=True)
    assert H.gauge.all()
    factor = solvers.Direct().factor(H)
    assert factor.nullity == 0
    B = dense(H) @ rng.standard_normal((H.shape[0], 2))
    np.testing.assert_allclose(factor(B)[0], np.linalg.pinv(dense(H), rcond=1e-10) @ B, atol=1e-8)


def test_half_and_inverses(rng):
    for collinear in (False, True):
        H = hessian(rng, penalty=0.0 if collinear else 0.3, collinear=collinear)
        factor = solvers.Direct().factor(H)
        block = factor.blocks[0]
        Z = rng.standard_normal((block.size, 3))
        half = block.half(Z)
        np.testing.assert_allclose(half.T @ half, Z.T @ block.inverse() @ Z, rtol=1e-8)
    H = hessian(rng)
    inverse = H.decode_inverse(solvers.Direct().factor(H).inverse(0))
    np.testing.assert_allclose(inverse, np.linalg.inv(dense(H)), rtol=1e-9)


def test_damping_adds_to_the_diagonal(rng):
    H = hessian(rng)
    B = rng.standard_normal((H.shape[0], 2))
    X, _ = solvers.Direct(damping=0.5).factor(H)(B)
    A = dense(H)
    np.testing.assert_allclose((A + 0.5 * np.diag(np.diag(A))) @ X, B, atol=1e-10)


def test_all_zero_column(rng):
    H = hessian(rng, penalty=0.0)
    H.design.X[:, 2] = 0.0
    factor = solvers.Direct().factor(Hessian(Design(H.design.X, True), H.weights, H.penalty))
    assert factor.nullity == 1
    assert abs(factor(np.ones((6, 1)))[0][2, 0]) < 1e-15


def test_names_and_options():
    assert solvers.get_solver("direct") == solvers.Direct()
    assert solvers.Direct() != solvers.Direct(damping=1e-3)
    own = solvers.Direct(damping=0.1)
    assert solvers.get_solver(own) is own


@pytest.mark.parametrize(
    "solver, error, words",
    [
        ("qr", ValueError, "'auto', 'direct', 'cg', 'stochastic', 'outer_product', 'diagonal'"),
        (solvers.Direct, TypeError, "Direct"),
        (3, TypeError, "Direct"),
    ],
)
def test_unknown_solvers_are_refused_with_what_exists(solver, error, words):
    with pytest.raises(error, match=words):
        solvers.get_solver(solver)


@pytest.mark.parametrize("damping, error", [(-1.0, ValueError), (np.nan, ValueError), (np.inf, ValueError)])
def test_bad_damping_values(damping, error):
    with pytest.raises(error, match="damping"):
        solvers.Direct(damping=damping)


@pytest.mark.parametrize("damping", ["small", None, True])
def test_bad_damping_types(damping):
    with pytest.raises(TypeError, match="damping must be a number"):
        solvers.Direct(damping=damping)


def least_squares(X, y):
    centre = X.mean(axis=0)
    w = linalg.lstsq(X - centre, y - y.mean(), cond=1e-13)[0]
    return np.append(w, y.mean() - centre @ w)


@pytest.mark.parametrize("spread, allowed", [(1e-3, 1e-9), (1e-5, 1e-7), (1e-7, 1e-5), (1e-8, 1e-3)])
def test_nearly_collinear_columns_are_not_flat(rng, spread, allowed):
    """The Gram's eigenvalue, spread squared, drowns in rounding; the rows still know the direction."""
    X = rng.standard_normal((60, 4))
    X[:, 3] = X[:, 2] + spread * rng.standard_normal(60)
    y = X @ [1.0, 2, 3, 4] + rng.standard_normal(60)
    fitted = LinearRegression(**({"tol": 0.0} if "tol" in LinearRegression().get_params() else {}))
    model = InfluenceEstimator(fitted).fit(X, y)
    assert model._fitted.true_factor(model._options()).nullity == 0
    predicted = model.influence_on_params()
    exact = np.stack([least_squares(np.delete(X, i, 0), np.delete(y, i)) for i in range(60)]) - least_squares(X, y)
    assert np.linalg.norm(predicted - exact) < allowed * np.linalg.norm(exact)
    rows = [1, 2, 3]
    distance = np.linalg.norm(model.unlearn(rows).params_ - least_squares(np.delete(X, rows, 0), np.delete(y, rows)))
    assert distance <= model.certificate_.param_bound


def test_a_sum_of_columns_is_flat_however_far_from_zero(rng):
    X = rng.standard_normal((80, 3)) + 1e4
    X = np.hstack([X, X[:, :1] + X[:, 1:2]])
    H = Hessian(Design(X, True), np.ones((80, 1)), np.zeros((1, 5)))
    assert solvers.Direct().factor(H).nullity == 1


def test_single_precision_rows_are_summed_in_double(rng):
    X = rng.standard_normal((200, 5))
    X[:, 4] = X[:, 3] + 0.009 * rng.standard_normal(200)
    X = X.astype(np.float32)
    y = (X.sum(axis=1) + rng.standard_normal(200)).astype(np.float32)
    predicted = InfluenceEstimator(LinearRegression()).fit(X, y).influence_on_params([0])[0]
    X, y = X.astype(float), y.astype(float)
    exact = least_squares(X[1:], y[1:]) - least_squares(X, y)
    assert np.linalg.norm(predicted - exact) < 1e-5 * np.linalg.norm(exact)


def parts(H, rows):
    """The rows of a curvature that stay."""
    stay = np.setdiff1d(np.arange(H.design.n_rows), rows)
    weights = H.weights.take(stay) if H.coupled else H.weights[stay]
    return Hessian(H.design.take(stay), weights, H.penalty, shift_invariant=H.shift_invariant)


@pytest.mark.parametrize(
    "options", [{}, dict(intercept=False), dict(make=sparse.csr_array), dict(penalty=0.0)], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_a_factor_without_rows_is_that_of_the_others(rng, kind, options, damping):
    H, rows = small(kind, **options), np.arange(0, 80, 3)
    factor = solvers.Direct(damping=damping).factor(H)
    B = dense(H) @ rng.standard_normal((H.shape[0], 3))
    before = factor(B)[0]
    factor.squares(0, np.ones((1, factor.blocks[0].size)))  # what it keeps must not be taken over
    retained = parts(H, rows)
    without, anew = factor.downdated(rows, retained), factor.solver.factor(retained)
    assert (
        without.curvature.centre is factor.curvature.centre and without.reason == anew.reason
    )  # the cached matrix was used
    X, info = without(B)
    np.testing.assert_allclose(X, anew(B)[0], rtol=1e-10, atol=1e-13)
    assert info.residual.max() < 1e-12 and info.converged
    # It is a factor like any other: rough solves, inverses, quadratic forms, and products of the retained rows.
    np.testing.assert_allclose(without.rough(B), X, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(without.curvature.matmat(X), anew.curvature.matmat(X), rtol=1e-12, atol=1e-13)
    for b in range(len(without.blocks)):
        ours, theirs = (f.curvature.decode_inverse(f.inverse(b)) for f in (without, anew))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        Z = rng.standard_normal((2, without.blocks[b].size))
        np.testing.assert_allclose(without.squares(b, Z), np.einsum("ki,ij,kj->k", Z, without.inverse(b), Z), rtol=1e-9)
    np.testing.assert_array_equal(factor(B)[0], before)  # which stays as it is
    twice = without.downdated(np.arange(5), parts(retained, np.arange(5)))
    np.testing.assert_allclose(twice(B)[0], twice.solver.factor(parts(retained, np.arange(5)))(B)[0], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_factor_without_rows_keeps_the_digits_of_uncentred_columns(rng, kind):
    H, rows = small(kind), np.arange(30)
    far = Hessian(Design(H.design.X + 1e4, True), H.weights, H.penalty, shift_invariant=H.shift_invariant)
    theta = rng.standard_normal((H.n_outputs, 5, 2))
    theta -= theta.mean(axis=0) * (kind == "softmax")
    moved = theta.copy()  # a gradient by the same slopes of the rows that moved
    moved[:, :4] += 1e4 * theta[:, 4:]
    expected = solvers.Direct().factor(parts(H, rows))(to_vector(theta, True))[0]
    found = solvers.Direct().factor(far).downdated(rows, parts(far, rows))(to_vector(moved, True))[0]
    n_coef = 4 * H.n_outputs
    np.testing.assert_allclose(found[:n_coef], expected[:n_coef], rtol=1e-7, atol=1e-9 * np.abs(expected).max())


def test_rows_that_hold_a_direction_are_no_difference(rng):
    """Alone: nothing is left of it. All but alone, along an axis or not: the digits of the difference would not do."""
    for left, other in ((1e-4, 0.0), (1e-4, 1.0), (0.0, 1.0)):
        X = rng.standard_normal((100, 4))
        X[20:, 3] = other * X[20:, 2] + left * rng.standard_normal(80)
        X[:20] -= X[:20].mean(axis=0)
        X[20:] -= X[20:].mean(axis=0)
        H = Hessian(Design(X, True), np.ones((100, 1)), np.zeros((1, 5)))
        factor, rows = solvers.Direct().factor(H), np.arange(20)
        retained = parts(H, rows)
        assert factor.downdated(rows, retained) is None
        without = factor.solver.factor(retained)  # what is left to do then
        assert without.curvature is retained and without.nullity == (left == 0.0)
    assert not without.downdates and without.downdated(np.arange(3), parts(retained, np.arange(3))) is None
