"""The verbs of a parameter-space objective against finite differences and dense formulas."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.linear_model import LogisticRegression

from sklearn_influence import InfluenceEstimator
from sklearn_influence.losses import Logistic, Softmax, SquaredError
from sklearn_influence.objective import Weighting
from sklearn_influence.primal import PrimalObjective
from sklearn_influence.solvers import Direct

N, D = 30, 4


def make(kind, fit_intercept=True, as_sparse=False, balanced=False, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((N, D)) + 0.5).astype(dtype)
    q = {"squares": 2, "logistic": 1, "softmax": 3}[kind]
    codes = None if kind == "squares" else np.arange(N) % max(q, 2)
    y = rng.standard_normal((N, q)) if codes is None else codes
    loss = {"squares": SquaredError(), "logistic": Logistic(), "softmax": Softmax()}[kind]
    penalty = np.full((q, D + fit_intercept), 0.4)
    if fit_intercept:
        penalty[:, -1] = 0.0
    weighting = Weighting(rng.random(N) + 0.5, codes, balanced=balanced)
    params = 0.3 * rng.standard_normal(penalty.size)
    return PrimalObjective(sparse.csr_matrix(X) if as_sparse else X, y, loss, weighting, penalty, params, fit_intercept)


CASES = [
    (kind, *flags)
    for kind in ("squares", "logistic", "softmax")
    for flags in ((True, False), (False, False), (True, True))
]
CASES += [(kind, True, False, "linear") for kind in ("squares", "logistic", "softmax")]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case)))
def objective(request):
    kind, fit_intercept, as_sparse, *linear = request.param
    objective = make(kind, fit_intercept, as_sparse)
    if linear:  # every promise holds with a linear term in the objective too
        objective = objective.with_linear(np.random.default_rng(7).standard_normal(objective.n_params))
    return objective


def test_gradient_is_the_slope_of_the_value(objective):
    step, gradient = 1e-6, objective.gradient()
    for j in range(objective.n_params):
        shift = np.zeros(objective.n_params)
        shift[j] = step
        up, down = (objective.with_(params=objective.params + sign * shift).value() for sign in (1, -1))
        assert gradient[j] == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_curvature_is_the_slope_of_the_gradient(objective):
    step = 1e-6
    H = objective.curvature().matmat(np.eye(objective.n_params))
    for j in range(objective.n_params):
        shift = np.zeros(objective.n_params)
        shift[j] = step
        up, down = (objective.with_(params=objective.params + sign * shift).gradient() for sign in (1, -1))
        np.testing.assert_allclose(H[:, j], (up - down) / (2 * step), atol=1e-7)


def test_third_derivative_is_the_slope_of_the_curvature(objective):
    step, V = 1e-5, np.random.default_rng(5).standard_normal((objective.n_params, 2))
    with config_context(working_memory=0.001):
        third = objective.third_derivative(V)
    for v, along in zip(V.T, third.T, strict=True):
        up, down = (
            objective.with_(params=objective.params + sign * step * v).curvature().matmat(v[:, None])[:, 0]
            for sign in (1, -1)
        )
        np.testing.assert_allclose(along, (up - down) / (2 * step), atol=1e-7)


def test_sample_gradients_are_slopes_by_the_weights(objective):
    G = objective.sample_gradients(np.arange(N))
    np.testing.assert_allclose(objective.sample_gradients(), G)
    for i in (0, 7):
        weight = objective.sample_weight.copy()
        weight[i] += 1.0
        difference = objective.with_(sample_weight=weight).gradient() - objective.gradient()
        np.testing.assert_allclose(G[:, i], difference, atol=1e-12)


def test_class_gradients_sum_the_rows(objective):
    if objective.weighting.codes is None:
        pytest.skip("regression has no classes")
    G = objective.sample_gradients() * objective.sample_weight
    for c, column in enumerate(objective.class_gradients().T):
        np.testing.assert_allclose(column, G[:, objective.weighting.codes == c].sum(axis=1), atol=1e-12)


def test_outputs_are_linear_in_the_parameters(objective):
    rng = np.random.default_rng(1)
    delta = rng.standard_normal((objective.n_params, 3))
    test_rows = objective.read_rows(rng.standard_normal((6, D)))
    for X in (None, test_rows):
        change = objective.outputs_change(delta, X)
        for j in range(3):
            moved = objective.with_(params=objective.params + delta[:, j])
            np.testing.assert_allclose(change[:, :, j], moved.outputs(X) - objective.outputs(X), atol=1e-12)


def test_pullback_is_the_transpose_of_outputs_change(objective):
    rng = np.random.default_rng(2)
    delta = rng.standard_normal((objective.n_params, 3))
    U = rng.standard_normal((N, objective.n_outputs))
    expected = np.einsum("mq,mqk->km", U, objective.outputs_change(delta))
    np.testing.assert_allclose(delta.T @ objective.pullback(U), expected, atol=1e-11)
    np.testing.assert_allclose(objective.pullback(U, onto=delta), expected, atol=1e-11)
    out = np.zeros((3, 2 * N))[:, :N]
    assert objective.pullback(U, onto=delta, out=out) is out
    np.testing.assert_allclose(out, expected, atol=1e-11)


@pytest.mark.parametrize("rows", [[4, 0, 11], list(range(N))], ids=["few rows", "all rows"])
def test_leverage_is_j_inverse_j(objective, rows):
    factor = Direct().factor(objective.curvature())
    A = objective.leverage(factor, np.array(rows))
    q = objective.n_outputs
    for a, i in enumerate(rows):
        J = np.stack([objective.pullback(np.eye(q)[[o]], objective.design.take([i]))[:, 0] for o in range(q)])
        dense = J @ factor(J.T)[0]
        if A.ndim == 2:
            np.testing.assert_allclose(A[a], np.diag(dense), rtol=1e-9)
        else:  # known up to the gauge: a constant added to every entry
            np.testing.assert_allclose(A[a] - A[a][0, 0], dense - dense[0, 0], atol=1e-9)


def test_with_and_take_leave_the_original_alone(objective):
    before = objective.value(), objective.gradient()
    kept = np.arange(N) % 3 > 0
    part = objective.take(kept)
    part = part.with_(params=part.params * 0)
    assert part.n_rows == kept.sum()
    assert not np.shares_memory(*(x.data if sparse.issparse(x) else x for x in (part.design.X, objective.design.X)))
    zeroed = objective.with_(sample_weight=np.where(kept, objective.weighting.effective(), 0.0), params=part.params)
    np.testing.assert_allclose(part.gradient(), zeroed.gradient(), atol=1e-12)
    np.testing.assert_array_equal(before[1], objective.gradient())
    assert before[0] == objective.value()


def test_replace_and_append_are_the_objective_of_those_rows(objective):
    def of(X, y, weight, codes):
        X = sparse.csr_matrix(X) if objective.design.is_sparse else X
        weighting = Weighting(weight, codes)
        fresh = PrimalObjective(
            X, y, objective.loss, weighting, objective.penalty, objective.params, objective.fit_intercept
        )
        return fresh.with_linear(objective.linear)

    objective.gradient()  # what is kept of it must not be taken over
    rows, codes, before = np.array([7, 2]), objective.weighting.codes, objective.value()
    X = objective.design.X.toarray() if objective.design.is_sparse else objective.design.X
    X_new, y_new = X[[0, 1]] + 1, objective.y[[8, 9]]
    X_edited, y_edited, codes_edited = X.copy(), objective.y.copy(), None if codes is None else codes.copy()
    X_edited[rows], y_edited[rows] = X_new, y_new
    if codes is not None:
        codes_edited[rows] = codes[[8, 9]]
    weight = objective.weighting.sample_weight
    long = np.append(weight, [2.0, 3.0])
    for given in (X_new, sparse.csr_matrix(X_new)):
        for edited, expected in (
            (objective.replace(rows, given, y_new), of(X_edited, y_edited, weight, codes_edited)),
            (objective.replace(rows, given), of(X_edited, objective.y, weight, codes)),
            (objective.replace(rows, y=y_new), of(X, y_edited, weight, codes_edited)),
            (
                objective.append(given, y_new, [2.0, 3.0]),
                of(
                    np.vstack([X, X_new]),
                    np.concatenate([objective.y, y_new]),
                    long,
                    None if codes is None else np.append(codes, codes[[8, 9]]),
                ),
            ),
        ):
            assert edited.design.is_sparse == objective.design.is_sparse
            assert edited.value() == pytest.approx(expected.value(), rel=1e-14)
            np.testing.assert_allclose(edited.gradient(), expected.gradient(), atol=1e-12)
    assert objective.value() == before


def test_the_gradient_of_a_linear_term_is_the_term():
    plain = make("softmax")
    linear = np.random.default_rng(0).standard_normal(plain.n_params)
    tilted = plain.with_linear(linear)
    assert plain.linear is None
    np.testing.assert_allclose(tilted.gradient() - plain.gradient(), linear, atol=1e-12)
    assert tilted.value() - plain.value() == pytest.approx(linear @ plain.params, abs=1e-12)
    assert (tilted.gradient_rounding() - plain.gradient_rounding() > 0).all()
    for edited in (
        tilted.take(np.arange(N) > 3),
        tilted.with_(params=plain.params),
        tilted.with_(sample_weight=np.ones(N)),
        tilted.replace(np.array([0]), np.ones((1, D))),
        tilted.append(np.ones((1, D)), np.array([0]), [1.0]),
        pickle.loads(pickle.dumps(tilted)),
    ):
        np.testing.assert_array_equal(edited.linear, linear)
    assert tilted.with_linear(None).value() == plain.value()


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("kind", ["logistic", "softmax"])
def test_what_is_known_of_the_rows_is_handed_over_as_it_is(kind, balanced):
    objective = make(kind, balanced=balanced)
    objective.gradient()
    kept = np.arange(N) % 7 > 0
    X, y = objective.design.X[:3] + 1, np.roll(objective.y, 1)[:3]
    for edited in (
        objective.take(kept),
        objective.take(np.flatnonzero(kept)[::-1]),
        objective.replace([9, 4, 5], X, y),
        objective.replace([9, 4, 5], y=y),
        objective.append(X, y, np.array([1.0, 0.0, 2.0])),
    ):
        anew = pickle.loads(pickle.dumps(edited))
        np.testing.assert_allclose(edited.outputs(), anew.outputs(), atol=1e-13)
        np.testing.assert_allclose(edited.output_gradients(), anew.output_gradients(), atol=1e-13)
        np.testing.assert_allclose(edited.gradient(), anew.gradient(), atol=1e-12)


def test_pickles_hold_nothing_computed(objective):
    size = len(pickle.dumps(objective))
    objective.gradient(), objective.curvature()
    assert len(pickle.dumps(objective)) == size


def test_float32_rows_keep_float64_sums():
    exact, single = make("logistic"), make("logistic", dtype=np.float32)
    rounded = PrimalObjective(
        single.design.X.astype(np.float64), exact.y, exact.loss, exact.weighting, exact.penalty, exact.params, True
    )
    assert single.gradient().dtype == np.float64
    np.testing.assert_allclose(single.gradient(), rounded.gradient(), rtol=1e-12)
    np.testing.assert_allclose(single.curvature().dense()[0][0], rounded.curvature().dense()[0][0], atol=3e-6)


def test_gradient_rounding_covers_float32_noise_scaled_down():
    # The same sums in single precision are off by eps32 / eps64 times the bound, at most.
    objective = make("logistic", seed=3)
    X, u = objective.design.X, objective.sample_weight[:, None] * objective.output_gradients()
    single = (X.astype(np.float32).T @ u.astype(np.float32)).ravel().astype(float) + 0.4 * objective.params[:-1]
    bound = objective.gradient_rounding()[:-1] * np.finfo(np.float32).eps / np.finfo(float).eps
    assert (np.abs(single - objective.gradient()[:-1]) <= bound).all()
    assert (bound < 1e-3).all()


@pytest.mark.parametrize("as_sparse", [False, True])
def test_leverages_of_single_precision_rows_are_found_in_double(as_sparse):
    """Few rows are solved for, many meet the inverse: 1 less a leverage near 1 needs the digits of both."""
    objective = make("softmax", as_sparse=as_sparse, dtype=np.float32)
    factor = Direct().factor(objective.curvature())
    all_rows = objective.leverage(factor)
    np.testing.assert_allclose(objective.leverage(factor, np.array([3, 7])), all_rows[[3, 7]], rtol=1e-12)
    left, right = (objective.design.take(rows) for rows in ([3, 7], [3, 7]))
    np.testing.assert_allclose(objective.leverage_between(factor, left, right), all_rows[[3, 7]], rtol=1e-12)


def test_leverages_of_classes_far_from_zero_keep_their_digits():
    """What a common shift makes of A grows with the rows' squares; W sees nothing of it."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((120, 3)), np.arange(120) % 3
    X[:, 0] += y
    near, far = (LogisticRegression(tol=1e-12, max_iter=1000, solver="newton-cholesky") for _ in range(2))
    expected = InfluenceEstimator(near).fit(X, y).leverages([0, 7])
    for solver in ("direct", "cg"):
        model = InfluenceEstimator(far, solver=solver).fit(X + 1e5, y)
        # By solves, and by the inverse, which conjugate gradients find column by column to their tolerance.
        for found, allowed in ((model.leverages([0, 7]), 1e-10), (model.leverages()[[0, 7]], 1e-5)):
            eigenvalues = (np.sort(np.linalg.eigvals(A).real) for A in (found, expected))
            np.testing.assert_allclose(*eigenvalues, atol=1e-10 if solver == "direct" else allowed)


def test_leverage_between_rows_and_others(objective):
    """Few rows by solves, many by the inverse: J H^-1 J' up to softmax's common shifts, which no curvature sees."""
    rng, q, factor = np.random.default_rng(2), objective.n_outputs, Direct().factor(objective.curvature())
    H = factor(np.eye(objective.n_params))[0]
    centre = np.eye(q) - objective.loss.shift_invariant / q
    for k in (2, 60):
        left, right = (objective.read_rows(rng.standard_normal((k, D))) for _ in range(2))
        found = objective.leverage_between(factor, left, right)
        for i in (0, k - 1):
            L, R = (objective.pullback(centre, X.take([i] * q)) for X in (left, right))
            exact = L.T @ H @ R
            np.testing.assert_allclose(found[i] if found.ndim == 3 else np.diag(found[i]), exact, atol=1e-10)


def test_perturbation_gradients_are_slopes_by_the_features(objective):
    rows, step = np.array([4, 1, 9]), 1e-6
    onto = np.random.default_rng(3).standard_normal((objective.n_params, 2))
    found = objective.perturbation_gradients(rows, onto)
    assert found.shape == (2, 3, D)
    X = objective.design.take(rows).X
    X = X.toarray() if sparse.issparse(X) else X
    for j in range(D):
        ends = []
        for sign in (1, -1):
            moved = X.copy()
            moved[:, j] += sign * step
            ends.append(onto.T @ objective.replace(rows, moved).sample_gradients(rows))
        np.testing.assert_allclose(found[:, :, j], (ends[0] - ends[1]) / (2 * step), atol=1e-7)
