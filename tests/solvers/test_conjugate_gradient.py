"""Conjugate gradients against SciPy's, column by column and iterate by iterate, and against dense solves."""

import warnings

import numpy as np
import pytest
import sklearn
from curvatures import KINDS, dense, hessian, sides
from scipy import sparse
from scipy.linalg import LinAlgWarning
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.datasets import load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression

from sklearn_influence import InfluenceEstimator
from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian, RowCurvatures
from sklearn_influence.solvers import ConjugateGradient, Direct

PRECONDITIONERS = ["principal", "diagonal", None]


def solver(preconditioner="principal", n_directions=2, **options):
    """Fewer directions than columns, so that no preconditioner is the curvature itself."""
    return ConjugateGradient(preconditioner=preconditioner, n_directions=n_directions, **options)


def exact(H, B):
    return np.linalg.pinv(dense(H), rcond=1e-13, hermitian=True) @ B


def norm(H, V):
    return np.sqrt(np.einsum("pk,pk->k", V, dense(H) @ V))


def counted(H):
    """H with a list of the columns of each of its products."""
    widths, matmat = [], H.matmat

    def counting(V):
        widths.append(V.shape[1])
        return matmat(V)

    H.matmat = counting
    return widths


def removed(H, rows):
    """The curvature without some rows."""
    kept = np.delete(np.arange(H.design.n_rows), rows)
    weights = H.weights.take(kept) if H.coupled else H.weights[kept]
    return Hessian(H.design.take(kept), weights, H.penalty, shift_invariant=H.shift_invariant)


# ---------------------------------------------------------------------------------------------------
# Solutions
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_solves(kind, intercept, preconditioner):
    H = hessian(kind, d=6, intercept=intercept, penalty=0.5)
    B = np.random.default_rng(2).standard_normal((H.shape[0], 4))
    X, info = solver(preconditioner, tol=1e-12).factor(H)(B)
    np.testing.assert_allclose(X, exact(H, B), rtol=1e-8, atol=1e-10)
    assert info.converged and info.residual.shape == (4,) and (info.residual <= 1e-11).all()
    assert info.iterations > 1 and f"converged in {info.iterations} iterations" in info.reason
    assert info.solver == solver(preconditioner, tol=1e-12) and info.nullity == 0


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_iterate_is_scipys(kind, preconditioner):
    H = hessian(kind, d=6, penalty=0.5)
    B = sides(H)
    p, common = H.shape[0], 0.0
    if H.common_shifts:  # along which ours needs no iterations
        common, B = H.split_common(B)
    for n_iter in (1, 2, 3, 5):
        factor = solver(preconditioner, tol=1e-15, max_iter=n_iter).factor(H)
        X, info = factor(B)
        operator, M = (
            LinearOperator((p, p), matvec=lambda v, f=f: f(v.reshape(p, 1))[:, 0], dtype=float)
            for f in (H.matmat, factor.rough)
        )
        for b, x in zip(B.T, X.T, strict=True):
            theirs, _ = cg(operator, b, M=M, rtol=1e-16, maxiter=n_iter)
            np.testing.assert_allclose(x, theirs, rtol=1e-7, atol=1e-9 * np.abs(theirs).max())
        assert info.iterations == n_iter
    assert np.abs(common).max() > 0 if H.common_shifts else common == 0.0


@pytest.mark.parametrize("kind", ["single", "softmax"])
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_sparse_rows_stay_sparse(kind, preconditioner):
    H, full = hessian(kind, make=sparse.csr_matrix), hessian(kind)
    B = sides(full)
    factor = solver(preconditioner, tol=1e-12).factor(H)
    np.testing.assert_allclose(factor(B)[0], exact(full, B), rtol=1e-8, atol=1e-10)
    assert H.design.is_sparse


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_single_precision_rows_are_solved_in_double(preconditioner):
    H = hessian(make=lambda X: X.astype(np.float32))
    B = sides(H)
    X, info = solver(preconditioner, tol=1e-12).factor(H)(B)
    assert H.design.X.dtype == np.float32 and X.dtype == np.float64 and info.converged
    np.testing.assert_allclose(X, exact(H, B), rtol=1e-9, atol=1e-11)


def test_a_block_is_its_columns_one_by_one_whatever_the_memory():
    H = hessian("softmax", d=6)
    B = sides(H, k=7)
    factor = solver().factor(H)
    X, info = factor(B)
    with sklearn.config_context(working_memory=0.005):
        parts, other = factor(B)
    np.testing.assert_allclose(parts, X, rtol=1e-8, atol=1e-10 * np.abs(X).max())
    assert other.residual.shape == (7,) and other.converged and other.iterations == info.iterations
    for j in range(7):
        np.testing.assert_allclose(factor(B[:, [j]])[0][:, 0], X[:, j], rtol=1e-8, atol=1e-10 * np.abs(X).max())


# ---------------------------------------------------------------------------------------------------
# Convergence
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_converged_columns_drop_out(preconditioner):
    H = hessian(d=8)
    _, vectors = np.linalg.eigh(dense(H))
    easy = vectors[:, [0]]  # one iteration without a preconditioner
    B = np.hstack([sides(H, k=3), 1e-9 * easy, np.zeros((9, 1)), 1e9 * easy])
    factor = solver(preconditioner, tol=1e-9).factor(H)
    alone = np.array([factor(B[:, [j]])[1].iterations for j in range(6)])
    assert alone[4] == 0 and (preconditioner is not None or (alone[[3, 5]] == 1).all()) and alone.max() > 2
    widths = counted(H)
    X, info = factor(B)
    assert widths == [int((alone > i).sum()) for i in range(alone.max())] + [6]  # and the true residual of all
    assert info.iterations == alone.max() and info.converged
    np.testing.assert_allclose(X / np.abs(X).max(axis=0).clip(1e-300), exact(H, B) / np.abs(X).max(axis=0).clip(1e-300))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_solve(kind):
    H = hessian(kind)
    factor = solver().factor(H)
    X, info = factor(np.zeros((H.shape[0], 2)))
    assert not X.any() and info.converged and info.iterations == 0
    np.testing.assert_array_equal(info.residual, [0.0, 0.0])
    X, info = factor(np.zeros((H.shape[0], 0)))
    assert X.shape == (H.shape[0], 0) and info.converged and info.residual.shape == (0,) and info.worst is None


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_out_of_iterations(preconditioner):
    H = hessian(d=12, penalty=0.1)
    B = sides(H)
    truth, before = exact(H, B), np.inf
    for n_iter in (1, 3, 5):
        X, info = solver(preconditioner, max_iter=n_iter).factor(H)(B)
        assert not info.converged and info.iterations == n_iter and (info.residual > 1e-9).any()
        assert f"not converged after max_iter = {n_iter} iterations; raise it" in info.reason
        error = norm(H, X - truth)
        assert (error < before).all()  # in this norm every iteration helps
        before = error


@pytest.mark.parametrize("tol", [1e-2, 1e-5])
@pytest.mark.parametrize("kind", KINDS)
def test_tol_is_the_relative_error_in_the_norm_of_the_curvature(kind, tol):
    """As far as the preconditioner is the curvature: here, up to one row in twenty."""
    H = hessian(kind, n=300, d=6)
    near = Direct().factor(removed(H, np.arange(15)))
    B = sides(H, k=5)
    truth = exact(H, B)
    X, info = ConjugateGradient(tol=tol).factor(H, preconditioner=near)(B)
    error = norm(H, X - truth) / norm(H, truth)
    assert info.converged and (error <= 1.2 * tol).all() and (error > 1e-3 * tol).any()
    np.testing.assert_allclose(info.residual, error, rtol=0.2)


def test_one_call_may_ask_for_less_but_not_for_more():
    H = hessian(d=8)
    B = sides(H)
    factor = solver("diagonal", tol=1e-8).factor(H)
    rough, usual, beyond = (factor(B, tol=tol)[1] for tol in (1e-2, None, 1e-14))
    assert rough.iterations < usual.iterations == beyond.iterations
    assert rough.converged


@pytest.mark.parametrize("kind", ["single", "softmax"])
def test_it_starts_again_from_the_true_residual(kind):
    """A product that rounding spoils leaves the recursion's own residual on a way of its own."""
    H = hessian(kind, d=8)
    B, truth = sides(H), exact(hessian(kind, d=8), sides(H))
    factor = solver("diagonal").factor(H)
    matmat, calls = H.matmat, []

    def spoilt(V):
        calls.append(1)
        return matmat(V) * (1 + 1e-5 * (len(calls) == 3) * np.cos(np.arange(len(V)))[:, None])

    H.matmat = spoilt
    X, info = factor(B)
    H.matmat = matmat
    plain = factor(B)[1]
    assert info.converged and info.iterations > plain.iterations
    np.testing.assert_allclose(X, truth, rtol=1e-7, atol=1e-9 * np.abs(truth).max())


def test_the_residual_is_the_true_one():
    """Where rounding always spoils the products, the recursion may believe that it converged."""
    H = hessian(d=8)
    B = sides(H)
    factor, matmat, rng = solver("diagonal").factor(H), H.matmat, np.random.default_rng(0)
    H.matmat = lambda V: matmat(V) * (1 + 1e-4 * rng.standard_normal(V.shape))
    X, info = factor(B)
    H.matmat = matmat
    R = B - dense(H) @ X
    left = np.sqrt(np.einsum("pk,pk->k", R, factor.rough(R)) / np.einsum("pk,pk->k", B, factor.rough(B)))
    assert not info.converged and "rounding keeps the residual above tol = 1e-10" in info.reason
    assert (left > 1e-9).all() and (info.residual > 1e-9).all() and (info.residual < 1e-2).all()


# ---------------------------------------------------------------------------------------------------
# Common shifts, singular curvatures, damping
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("preconditioner", ["principal", "diagonal"])
def test_the_part_that_only_the_penalty_sees_leaves_the_rest_its_digits(preconditioner):
    """One class's outputs in every row: a large common shift over a tiny penalty, and the rest beside it."""
    H = hessian("softmax", n=200, penalty=1e-2, units=np.array([1e-3, 1.0, 1e2, 10.0]))
    J = np.zeros((H.shape[0], 3))
    for c in range(3):
        J[c * 4 : (c + 1) * 4, c], J[12 + c, c] = H.design.X[7], 1.0
    direct = Direct().factor(H)(J)[0]
    X, info = solver(preconditioner, n_directions=1).factor(H)(J)
    assert info.converged
    # What the outputs of any row see of it: differences of classes, where the shift is gone.
    for off in (np.array([1.0, -1, 0]), np.array([0, 1.0, -1])):
        seen = [off @ (J.T @ V) @ off for V in (X, direct)]
        assert seen[0] == pytest.approx(seen[1], rel=1e-7)
    np.testing.assert_allclose(J.T @ X, J.T @ direct, rtol=1e-8)


@pytest.mark.parametrize("n_directions", [64, 4])
def test_leverages_of_raw_wine(n_directions):
    X, y = load_wine(return_X_y=True)
    estimator = LogisticRegression(solver="newton-cholesky", tol=1e-10)
    h = [
        InfluenceEstimator(estimator, solver=s).fit(X, y).leverages()
        for s in (Direct(), ConjugateGradient(n_directions=n_directions, tol=1e-12))
    ]
    np.testing.assert_allclose(h[1], h[0], rtol=0, atol=1e-8)
    assert np.abs(h[0]).max() > 0.3


def collinear(q=1):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 4)) + 1.0
    X = np.hstack([X, X[:, :1] - 2 * X[:, 1:2]])
    return Hessian(Design(X, True), rng.random((60, 1)) + 0.1, np.zeros((q, 6)))


@pytest.mark.parametrize("q", [1, 2])
def test_flat_directions_as_direct_where_all_directions_are_there(q):
    H = collinear(q)
    direct, factor = Direct().factor(H), ConjugateGradient().factor(H)
    B = np.random.default_rng(0).standard_normal((H.shape[0], 3))  # with a part that has no solution
    X, info = factor(B)
    np.testing.assert_allclose(X, direct(B)[0], rtol=1e-8, atol=1e-9)
    assert info.nullity == factor.nullity == direct.nullity == q
    params = np.random.default_rng(1).standard_normal(H.shape[0])
    np.testing.assert_allclose(factor.minimum_norm(params), direct.minimum_norm(params))
    assert np.abs(factor.minimum_norm(params) - params).max() > 1e-3


@pytest.mark.parametrize("preconditioner", ["diagonal", None])
def test_flat_directions_without_them(preconditioner):
    """What has a solution is solved; what has none is not said to be."""
    H = collinear()
    factor = solver(preconditioner, max_iter=200).factor(H)
    B = dense(H) @ np.random.default_rng(0).standard_normal((6, 2))
    X, info = factor(B)
    np.testing.assert_allclose(dense(H) @ X, B, rtol=1e-7, atol=1e-7)
    flat = np.array([1.0, -2, 0, 0, -1, 0])[:, None]
    X, info = factor(B + flat)
    assert not info.converged and np.isfinite(X).all()
    assert "direction without curvature" in info.reason and "solver='direct'" in info.reason
    assert factor.nullity == 0 and (factor.minimum_norm(X[:, 0]) == X[:, 0]).all()


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("kind", KINDS)
def test_damping(kind, preconditioner):
    H = hessian(kind, d=6, penalty=0.3)
    B = np.random.default_rng(4).standard_normal((H.shape[0], 2))
    A = dense(H)
    X, _ = solver(preconditioner, damping=0.3, tol=1e-12).factor(H)(B)
    np.testing.assert_allclose(X, np.linalg.solve(A + 0.3 * np.diag(np.diag(A)), B), rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------------------------------------------
# A preconditioner from nearby
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [Direct(), ConjugateGradient(), ConjugateGradient(preconditioner=None)], ids=repr)
def test_a_factor_of_nearby_rows_is_the_preconditioner(kind, given):
    H = hessian(kind, n=200, d=8, penalty=0.1, units=10.0 ** np.arange(-4, 4))
    retained = removed(H, [1, 5, 77])
    before, B = given.factor(H), sides(retained)
    factor = solver("diagonal", max_iter=30).factor(retained, preconditioner=before)
    X, info = factor(B)
    np.testing.assert_allclose(factor.rough(B), before.rough(B))
    own = solver("diagonal").factor(retained)(B)[1]
    if given == ConjugateGradient(preconditioner=None):  # as poor as what was given
        assert info.iterations > own.iterations and "no preconditioner" in info.reason
        return
    assert info.converged and info.iterations <= 0.6 * own.iterations and "a factored curvature" in info.reason
    np.testing.assert_allclose(dense(retained) @ X, B, rtol=1e-6, atol=1e-7 * np.abs(B).max())


def test_what_is_taken_over_is_made_anew_once_it_is_worn():
    """Given a curvature in other units, the first solves take long; a third curvature does without."""
    units = np.geomspace(0.01, 100, 60)
    far, H = hessian(n=200, d=60, penalty=1e-9), hessian(n=400, d=60, penalty=1e-9, units=units)
    B = sides(H)
    first = solver("diagonal").factor(H, preconditioner=Direct().factor(far))
    info = first(B)[1]
    assert first.worn and info.iterations > 40
    second = solver("diagonal").factor(removed(H, [3]), preconditioner=first)
    other = second(B)[1]
    assert other.converged and other.iterations < 40 and not second.worn
    assert "diagonal preconditioner" in other.reason and "a factored curvature" in info.reason


def test_flat_directions_of_another_curvature_are_not_taken_over():
    singular = collinear()
    full = Hessian(singular.design, singular.weights, np.array([[0.5] * 5 + [0.0]]))
    B = np.random.default_rng(0).standard_normal((6, 2))
    X, info = ConjugateGradient().factor(full, preconditioner=Direct().factor(singular))(B)
    np.testing.assert_allclose(X, np.linalg.solve(dense(full), B), rtol=1e-8)
    assert info.converged and info.nullity == 0


# ---------------------------------------------------------------------------------------------------
# What the layers above ask
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_inverse_and_squares_are_those_of_direct(kind, make):
    H = hessian(kind, make=make)
    direct, factor = Direct().factor(H), solver(tol=1e-13).factor(H)
    assert factor.block_of == direct.block_of
    for b in range(max(direct.block_of) + 1):
        inverse = direct.inverse(b)
        Z = H.encode(np.random.default_rng(b).standard_normal((H.shape[0], 5)))[b].T  # off the gauge
        np.testing.assert_allclose(factor.squares(b, Z), direct.squares(b, Z), rtol=1e-9)
        # Along the gauge direct's has a curvature of its own, which no row sees.
        np.testing.assert_allclose(Z @ factor.inverse(b) @ Z.T, Z @ inverse @ Z.T, rtol=1e-8, atol=1e-11)


def test_rows_of_their_own_curvature():
    """A product subtracted for each column: the i-th right-hand side is solved without the i-th row."""
    H = hessian("softmax", d=5, penalty=0.4)
    rows = np.array([4, 9, 0])
    B = sides(H)
    less = RowCurvatures(H.design.take(rows), H.weights.take(rows))
    X, info = solver("diagonal", tol=1e-12).factor(H)(B, less=less)
    assert info.converged and info.residual.shape == (3,)
    for j, row in enumerate(rows):
        np.testing.assert_allclose(X[:, j], exact(removed(H, [row]), B[:, j]), rtol=1e-8, atol=1e-10)
    parts = np.hstack([solver("diagonal", tol=1e-12).factor(H)(B[:, [j]], less=_one(less, j))[0] for j in range(3)])
    np.testing.assert_allclose(parts, X, rtol=1e-8, atol=1e-10)
    with sklearn.config_context(working_memory=0.001):
        np.testing.assert_allclose(solver("diagonal", tol=1e-12).factor(H)(B, less=less)[0], X, rtol=1e-8, atol=1e-10)
    # A column that is done does not shift the rows of the others.
    B[:, 0] = 0.0
    alone, _ = solver("diagonal", tol=1e-12).factor(H)(B, less=less)
    np.testing.assert_allclose(alone[:, 1:], X[:, 1:], rtol=1e-8, atol=1e-10)
    assert not alone[:, 0].any()


def _one(less, j):
    return RowCurvatures(less.design.take([j]), less.weights.take([j]))


@pytest.mark.parametrize("max_iter", [1, 1000])
def test_a_loose_solve_says_what_is_left(max_iter):
    H = hessian("softmax", n=80, d=6)
    B = sides(H)
    X, info = solver(None, max_iter=max_iter).factor(H)(B, tol=1e-3)
    rest = H.split_common(B)[1]
    left = np.linalg.norm(H.split_common(B - H.matmat(X))[1], axis=0) / np.linalg.norm(rest, axis=0)
    np.testing.assert_allclose(info.residual, left, rtol=1e-6)
    assert info.converged == (max_iter > 1) == bool((left <= 1e-2).all())


def one_hot():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 20, (500, 6))
    X = np.hstack([np.eye(20)[column] for column in codes.T])
    return X, rng.standard_normal(20)[codes[:, 0]] + rng.standard_normal(500)


def test_collinear_columns_without_a_penalty_take_the_smallest_norm():
    """120 dummy columns of rank 115: the rank is looked for wherever no penalty bounds it."""
    X, y = one_hot()
    model = InfluenceEstimator(LinearRegression(), solver="cg").fit(X, y)
    direct = InfluenceEstimator(LinearRegression(), solver="direct").fit(X, y)
    with pytest.warns(LinAlgWarning, match="flat"):
        model.leverages([0])
    with pytest.warns(LinAlgWarning, match="flat"):
        direct.leverages([0])
    np.testing.assert_allclose(model.params_, direct.params_, atol=1e-9)
    np.testing.assert_allclose(model.influence_on_output(X[:5]), direct.influence_on_output(X[:5]), atol=1e-9)
    model.unlearn(range(10))
    refit = LinearRegression().fit(X[10:], y[10:])
    np.testing.assert_allclose(model.predict(X), refit.predict(X), atol=1e-8)
    assert model.certificate_.valid and model.certificate_.param_bound < 1e-8


@pytest.mark.parametrize("preconditioner", ["diagonal", None])
def test_a_flat_direction_is_not_walked_along(preconditioner):
    X, y = one_hot()
    options = ConjugateGradient(preconditioner=preconditioner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the rank is short is said where it is met
        model = InfluenceEstimator(LinearRegression(), solver=options).fit(X, y)
        assert np.linalg.norm(model.params_) < 100
        np.testing.assert_allclose(model.predict(X), X @ model.params_[:-1] + model.params_[-1], atol=1e-6)
        certificate = model.unlearn(range(10)).certificate_
    refit = LinearRegression().fit(X[10:], y[10:])
    assert abs(model.predict(X) - refit.predict(X)).max() < 1e-6 or not certificate.valid
