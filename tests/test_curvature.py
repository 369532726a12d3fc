"""The Hessian operator against a dense one built from every row's Kronecker product."""

import numpy as np
import pytest
from scipy import sparse

from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian, MixedWeights, RowCurvatures, to_vector
from sklearn_influence.losses import Softmax

N, D, Q = 40, 4, 3


def dense_hessian(X, weights, penalty, fit_intercept):
    """In the user's layout, by the definition: sum_i (W_i kron x_i x_i') + diag(penalty)."""
    Z = np.hstack([X, np.ones((len(X), 1))]) if fit_intercept else X
    q, width = penalty.shape
    if weights.ndim == 2:
        weights = np.broadcast_to(weights, (len(X), q))
        weights = weights[:, :, None] * np.eye(q)
    H = np.einsum("nab,ni,nj->aibj", weights, Z, Z).reshape(q * width, q * width) + np.diag(penalty.ravel())
    order = to_vector(np.arange(q * width).reshape(q, width), fit_intercept)
    return H[np.ix_(order, order)]


def make(kind, fit_intercept=True, sparse_rows=False, offset=3.0):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((N, D)) + offset
    q = 1 if kind == "one" else Q
    penalty = np.full((q, D + fit_intercept), 0.7)
    if kind == "targets":
        penalty[:] = np.array([0.1, 0.7, 0.7])[:, None]
    if fit_intercept:
        penalty[:, -1] = 0.0
    if kind == "softmax":
        s, f = rng.random((N, 1)), rng.standard_normal((N, q))
        a, b = Softmax().curvature_factors(None, f)
        weights = MixedWeights(s * a, s**0.5 * b)
        full = s[:, :, None] * Softmax().curvature(None, f)
    elif kind == "outputs":
        weights = rng.random((N, q))
    else:
        weights = rng.random((N, 1))
    H = Hessian(
        Design(sparse.csr_matrix(X) if sparse_rows else X, fit_intercept),
        weights,
        penalty,
        shift_invariant=kind == "softmax",
    )
    return H, dense_hessian(X, full if kind == "softmax" else weights, penalty, fit_intercept)


CASES = [(kind, *flags) for kind in ("one", "targets", "outputs", "softmax") for flags in ((1, 0), (0, 0), (1, 1))]


@pytest.mark.parametrize("kind, fit_intercept, sparse_rows", CASES)
def test_matmat_and_diagonal(kind, fit_intercept, sparse_rows):
    H, expected = make(kind, bool(fit_intercept), bool(sparse_rows))
    V = np.random.default_rng(0).standard_normal((len(expected), 3))
    assert H.shape == expected.shape
    np.testing.assert_allclose(H.matmat(V), expected @ V, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(H.diagonal(), np.diag(expected), rtol=1e-12)


@pytest.mark.parametrize("kind, fit_intercept, sparse_rows", CASES)
def test_dense_blocks_in_their_coordinates_invert_the_hessian(kind, fit_intercept, sparse_rows):
    H, expected = make(kind, bool(fit_intercept), bool(sparse_rows))
    rng = np.random.default_rng(1)
    V = rng.standard_normal((len(expected), 2))
    matrices, block_of = H.dense()
    Z = H.encode(V)
    for o, b in enumerate(block_of):
        Z[o] = np.linalg.solve(matrices[b], Z[o])
    # On the gauge, where H has no curvature, the smallest norm: the pseudoinverse.
    np.testing.assert_allclose(H.decode(Z), np.linalg.pinv(expected, rcond=1e-12) @ V, rtol=1e-8, atol=1e-10)
    if not H.gauge.any():
        Z = H.encode_params(V)
        forms = sum(Z[o].T @ matrices[b] @ Z[o] for o, b in enumerate(block_of))
        np.testing.assert_allclose(forms, V.T @ expected @ V, rtol=1e-10)
        np.testing.assert_allclose(H.decode(Z), V, rtol=1e-12, atol=1e-12)


def test_equal_targets_share_one_matrix():
    H, _ = make("targets")
    matrices, block_of = H.dense()
    assert len(matrices) == 2 and block_of == [0, 1, 1]


def test_softmax_gauge_is_the_common_shift_of_the_intercepts():
    H, expected = make("softmax")
    np.testing.assert_array_equal(H.gauge, [False] * D + [True])
    shift = np.append(np.zeros(Q * D), np.ones(Q))
    np.testing.assert_allclose(expected @ shift, 0.0, atol=1e-12)
    (matrix,), _ = H.dense()
    assert np.linalg.eigvalsh(matrix)[0] > 1e-3
    assert not make("softmax", False)[0].gauge.any()


def test_centring_keeps_the_digits_of_uncentred_columns():
    # With mean / spread of 1e6 the plain Gram has lost 12 of its 16 digits.
    H, _ = make("one", offset=1e6)
    (matrix,), _ = H.dense()
    exact, _ = make("one", offset=0.0)
    (reference,), _ = exact.dense()
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix), np.linalg.eigvalsh(reference), rtol=1e-6)


def test_penalised_intercept_survives_centring():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) + 5.0
    weights, penalty = rng.random((N, 1)), np.array([[1.0, 1, 1, 1, 0.3]])
    H = Hessian(Design(X, True), weights, penalty)
    expected = dense_hessian(X, weights, penalty, True)
    (matrix,), _ = H.dense()
    np.testing.assert_allclose(H.decode_inverse(np.linalg.inv(matrix)), np.linalg.inv(expected), rtol=1e-9)


@pytest.mark.parametrize("kind", ["one", "softmax"])
def test_damping_is_relative_to_the_diagonal(kind):
    H, expected = make(kind)
    damped = H.damped(0.25)
    V = np.eye(len(expected))
    np.testing.assert_allclose(damped.matmat(V), expected + 0.25 * np.diag(np.diag(expected)), atol=1e-11)
    assert not damped.gauge.any()


def test_too_large_to_hold_is_refused_before_work(monkeypatch):
    from sklearn_influence import _backend

    monkeypatch.setattr(_backend, "physical_memory", lambda: 100)
    with pytest.raises(ValueError, match="curvature of 5 parameters needs"):
        make("one")[0].dense()


@pytest.mark.parametrize("value", [7.3, 1e6 + 0.1])
def test_a_constant_column_has_no_spread(value):
    X = np.hstack([np.random.default_rng(0).standard_normal((N, 2)), np.full((N, 1), value)])
    gram = Design(X, True).gram(np.random.default_rng(1).random((N, 1)), X.mean(axis=0) * (1 + 1e-16))[0]
    np.testing.assert_array_equal(gram[2], 0.0)
    np.testing.assert_array_equal(gram[:, 2], 0.0)
    assert (np.diag(gram)[[0, 1, 3]] > 1).all()


@pytest.mark.parametrize("sparse_rows", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_curvatures_of_single_rows(fit_intercept, sparse_rows):
    """The i-th row's own part of the curvature for the i-th column."""
    H, _ = make("softmax", fit_intercept, sparse_rows)
    rows = np.array([3, 0, 7])
    single = RowCurvatures(H.design.take(rows), H.weights.take(rows))
    V = np.random.default_rng(0).standard_normal((H.shape[0], 3))
    product, outputs = single.product(V, np.arange(3)), single.outputs(V)
    for j, row in enumerate(rows):
        alone = Hessian(H.design.take([row]), H.weights.take([row]), 0 * H.penalty)
        np.testing.assert_allclose(product[:, j], alone.matmat(V[:, [j]])[:, 0], rtol=1e-11, atol=1e-13)
        x = H.design.X[[row]].toarray()[0] if sparse_rows else H.design.X[row]
        theta = V[: Q * D, j].reshape(Q, D)
        intercept = V[Q * D :, j] if fit_intercept else 0.0
        np.testing.assert_allclose(outputs[j], theta @ x + intercept, rtol=1e-11)
    np.testing.assert_allclose(single.product(V[:, [2, 0]], np.array([2, 0])), product[:, [2, 0]], rtol=1e-11)


def test_mixed_weights_are_diagonal_and_outer():
    rng = np.random.default_rng(0)
    a, b = rng.random((6, 3)), rng.random((6, 3))
    eta = rng.standard_normal((6, 3, 2))
    for sign in (-1.0, 1.0):
        W = a[:, :, None] * np.eye(3) + sign * b[:, :, None] * b[:, None]
        weights = MixedWeights(a, b, sign)
        np.testing.assert_allclose(weights.times(eta.copy()), W @ eta, rtol=1e-12)
        np.testing.assert_allclose(weights.take([4, 1]).times(eta[[4, 1]]), W[[4, 1]] @ eta[[4, 1]], rtol=1e-12)
        for c in range(3):
            np.testing.assert_allclose(weights.pairs(c), W[:, c, c:], rtol=1e-12)
        np.testing.assert_allclose(weights.by_output(), np.maximum(np.einsum("nqq->nq", W), 0.0), rtol=1e-12)


@pytest.mark.parametrize("kind, fit_intercept, sparse_rows", CASES)
def test_forms_on_directions_and_diagonals_about_a_centre(kind, fit_intercept, sparse_rows):
    H, _ = make(kind, bool(fit_intercept), bool(sparse_rows))
    H = Hessian(H.design, H.weights, H.penalty)  # with its gauge
    q, width = H.penalty.shape
    V = np.random.default_rng(0).standard_normal((width, 2))
    centre = H.mean
    assert centre.any() == bool(fit_intercept)
    T = H.decode_about(centre, np.eye(q * width).reshape(q, width, -1))
    inner = T.T @ H.matmat(T)
    form = H.on_directions(centre, V)
    blocks = np.kron(np.eye(q), V)
    expected = (blocks.T @ inner @ blocks).reshape(q, 2, q, 2)
    if not H.coupled:
        expected = np.stack([expected[c, :, c] for c in range(q)])
    np.testing.assert_allclose(form, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(H.diagonal_about(centre).ravel(), np.diag(inner), rtol=1e-9)
    H.penalty[:, -1] = 0.8  # an intercept's too
    inner = T.T @ H.matmat(T)
    np.testing.assert_allclose(H.diagonal_about(centre).ravel(), np.diag(inner), rtol=1e-9)
    first = H.on_directions(centre, V)
    first = first[0, :, 0] if H.coupled else first[0]
    np.testing.assert_allclose(first, V.T @ inner[:width, :width] @ V, rtol=1e-9)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_common_shifts_are_solved_by_the_penalty(fit_intercept):
    H, expected = make("softmax", fit_intercept)
    B = np.random.default_rng(0).standard_normal((len(expected), 2))
    common, rest = H.split_common(B)
    exact = np.linalg.pinv(expected, rcond=1e-12)
    np.testing.assert_allclose(common + exact @ rest, exact @ B, rtol=1e-9, atol=1e-11)
    theta = rest[: Q * D].reshape(Q, D, 2)
    np.testing.assert_allclose(theta.sum(axis=0), 0.0, atol=1e-12)
    plain, _ = make("targets", fit_intercept)
    common, rest = plain.split_common(B)
    assert common is None and rest is B
    uneven = Hessian(H.design, H.weights, H.penalty * np.array([[1.0], [2.0], [3.0]]), shift_invariant=True)
    assert uneven.split_common(B)[0] is None


@pytest.mark.parametrize("fit_intercept, sparse_rows", [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("kind", ["one", "targets", "outputs", "softmax"])
def test_a_curvature_is_that_of_the_rows_that_stay_and_of_those_that_leave(kind, fit_intercept, sparse_rows):
    H, _ = make(kind, fit_intercept, sparse_rows)
    rows, stay = np.arange(0, N, 3), np.setdiff1d(np.arange(N), np.arange(0, N, 3))
    weights = H.weights.take(stay) if H.coupled else H.weights[stay]
    retained = Hessian(H.design.take(stay), weights, 0.9 * H.penalty, shift_invariant=H.shift_invariant)
    V = np.random.default_rng(0).standard_normal((H.shape[0], 3))
    leaving = H.leaving(rows, retained)
    np.testing.assert_allclose(leaving.matmat(V) + retained.matmat(V), H.matmat(V), atol=1e-11)
    plain = H.leaving(rows)
    np.testing.assert_allclose(leaving.matmat(V) - plain.matmat(V), 0.1 * (H.matmat(V) - _unpenalised(H).matmat(V)))
    about = retained.about(H.centre)
    assert about.centre is H.centre and (kind != "softmax" or retained.centre is not H.centre)
    (whole, of), (less, of_less), (rest, of_rest) = (one.dense() for one in (H, leaving, about))
    for o in range(len(of)):
        difference = whole[of[o]] - less[of_less[o]]
        np.testing.assert_allclose(difference, rest[of_rest[o]], atol=1e-12 * np.abs(whole[of[o]]).max())


def _unpenalised(H):
    return Hessian(H.design, H.weights, np.zeros_like(H.penalty))
