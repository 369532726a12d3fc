"""Random rows against all rows: unbiased products, bounded draws, coordinates and probabilities."""

import numpy as np
import pytest
from curvatures import KINDS, dense, hessian, sides
from scipy import sparse

from sklearn_influence.curvature import Hessian


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_unbiased_and_bounded(kind, as_sparse):
    """The sum over all rows, each with its probability, is the product with all rows."""
    H = hessian(kind, make=sparse.csr_array if as_sparse else np.asarray)
    s = H.minibatch()
    x = np.random.default_rng(4).standard_normal((1, s.width, s.q))
    scaled = x / np.sqrt(s.diagonal)
    out, total = np.empty_like(x), np.zeros_like(x)
    for i in range(s.design.n_rows):
        (term,) = s.products(np.array([[[i]]]))
        term(x, out)
        total += out / s.inverse_share[i]
        term(scaled, out)
        assert np.linalg.norm(out / np.sqrt(s.diagonal)) <= s.reach * np.linalg.norm(x) * (1 + 1e-9)
    shrink, pull = s.penalty_steps(np.ones((s.width, s.q)), 1)
    penalty = (1 - shrink) * x - (0 if pull is None else pull(x))
    np.testing.assert_allclose((total + penalty)[0], s.product(x[0]), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.sum(1 / s.inverse_share), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_averages_its_rows_in_each_repeat(kind):
    s = hessian(kind).minibatch()
    x = np.random.default_rng(4).standard_normal((2, s.width, 2 * s.q))
    rows = np.array([[[3, 5, 3], [7, 0, 79]]])
    (term,) = s.products(rows)
    out = np.empty_like(x)
    term(x, out)
    for repeat in range(2):
        alone = np.zeros_like(x[:1])
        for i in rows[0, repeat]:
            (one,) = s.products(np.array([[[i]]]))
            one(x[repeat : repeat + 1], part := np.empty_like(alone))
            alone += part / 3
        np.testing.assert_allclose(out[repeat], alone[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_coordinates(kind):
    """A product in the sampler's coordinates is the curvature's own."""
    H = hessian(kind, penalty=1.0)
    s = H.minibatch()
    B = sides(H)
    b, lost = s.enter(B)
    assert (lost == 0).all() and s.shifts == (kind == "softmax")
    root = np.sqrt(s.diagonal).reshape(-1)
    M = s.product(np.eye(root.size).reshape(s.width, s.q, -1).reshape(s.width, -1)).reshape(root.size, -1)
    np.testing.assert_allclose(M, M.T, atol=1e-9)
    x = np.linalg.pinv(M, rcond=1e-11) @ b.reshape(root.size, -1)
    np.testing.assert_allclose(dense(H) @ (s.leave(x.reshape(b.shape)) + s.common(B)), B, rtol=1e-6, atol=1e-8)


def test_diagonal_is_one_where_outputs_share_it():
    for kind in ("single", "shared"):
        np.testing.assert_allclose(hessian(kind).minibatch().diagonal, 1.0)


def test_penalised_intercept():
    H = hessian()
    H = Hessian(H.design, H.weights, np.full((1, 5), 2.0))
    s = H.minibatch()
    M = s.product(np.eye(5))
    np.testing.assert_allclose(np.diag(M), s.diagonal[:, 0], rtol=1e-9)
    shrink, pull = s.penalty_steps(np.ones((5, 5)), 5)
    x = np.eye(5)[None]
    P = ((1 - shrink) * x - pull(x))[0]
    plain = Hessian(H.design, np.zeros_like(H.weights), H.penalty)
    plain.__dict__["centre"] = s.centre
    theta = plain.encode(plain.matmat(plain.decode(np.eye(5)[None] * s.column[:, None])))[0]
    np.testing.assert_allclose(P, s.column[:, None] * theta, rtol=1e-9, atol=1e-9)


def test_rows_without_weight_are_never_drawn():
    H = hessian()
    H.weights[::2] = 0.0
    s = H.minibatch()
    uniform = np.concatenate([np.linspace(0, 1, 1000, endpoint=False), [np.nextafter(1.0, 0.0)]])
    drawn = s.draw(uniform)
    assert set(drawn) == set(range(1, 80, 2))
    H.weights[79] = 0.0
    assert H.minibatch().draw(uniform).max() == 77


def test_large_rows_are_drawn_in_proportion():
    H = hessian(d=1, intercept=False, penalty=0.0)
    s = H.minibatch()
    traces = H.weights[:, 0] * H.design.X[:, 0] ** 2
    np.testing.assert_allclose(1 / s.inverse_share, traces / traces.sum())
    assert s.reach == pytest.approx(1.0)


def test_weigh():
    for kind in KINDS:
        H = hessian(kind)
        q = H.n_outputs
        eta = np.random.default_rng(0).standard_normal((2, q, 3))
        rows = np.array([4, 9])
        if H.coupled:
            a, b = H.weights.diagonal[rows], H.weights.outer[rows]
            W = a[:, :, None] * np.eye(q) - b[:, :, None] * b[:, None, :]
        else:
            W = H.weights[rows][:, :, None] * np.eye(q)
        expected = W @ eta
        np.testing.assert_allclose(H.weigh(rows, eta.copy()), expected)


def test_negative_weights_are_refused():
    H = hessian()
    H.weights[3] = -0.1
    with pytest.raises(ValueError, match="convex"):
        H.minibatch()
