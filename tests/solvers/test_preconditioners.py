"""Preconditioners against their definitions as dense matrices, and what they are for: fewer iterations."""

import numpy as np
import pytest
from curvatures import KINDS, dense, hessian, sides
from jacobians import of_network
from scipy import sparse

from sklearn_influence._design import Design
from sklearn_influence.curvature import Hessian, MixedWeights
from sklearn_influence.losses import Softmax
from sklearn_influence.solvers import ConjugateGradient
from sklearn_influence.solvers.preconditioners import (
    Diagonal,
    Exact,
    Identity,
    Principal,
    Sketched,
    make_preconditioner,
)


def decaying(kind="single", *, n=300, d=40, power=1.5, penalty=1e-3, intercept_penalty=0.0, units=1.0, make=np.asarray):
    """Rotated features whose principal directions shrink quickly, far from zero."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -power) @ turn + 2.0
    q = 1 if kind == "single" else 3
    penalties = np.full((q, d + 1), penalty) / np.append(np.ones(d) * units, 1.0) ** -2
    penalties[:, -1] = intercept_penalty
    if kind == "softmax":
        weights = MixedWeights(*Softmax().curvature_factors(None, rng.standard_normal((n, q))))
    else:
        weights = rng.random((n, q if kind == "separate" else 1)) + 0.1
    return Hessian(Design(make(X * units), True), weights, penalties, shift_invariant=kind == "softmax")


def in_centred_coordinates(H, mean):
    """The matrix that turns parameters of centred coordinates into the user's, outputs one after another, and H there.

    ``R -> T M^-1 T'R`` is what a preconditioner applies.
    """
    q, width = H.penalty.shape
    T = H.decode_about(mean, np.eye(q * width).reshape(q, width, -1))
    return T, T.T @ dense(H) @ T


@pytest.mark.parametrize("kind", KINDS)
def test_diagonal(kind):
    H = hessian(kind)
    T, inner = in_centred_coordinates(H, H.mean)
    diagonal = H.diagonal_about(H.mean)
    if kind == "softmax":  # T leaves the gauge out of the intercepts
        np.testing.assert_allclose(diagonal[:, :-1], np.diag(inner).reshape(3, -1)[:, :-1], rtol=1e-10)
    else:
        np.testing.assert_allclose(diagonal.ravel(), np.diag(inner), rtol=1e-10)
    R = sides(H)
    np.testing.assert_allclose(Diagonal(H)(R), T @ ((T.T @ R) / diagonal.reshape(-1, 1)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("intercept_penalty", [0.0, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_principal_is_its_definition(kind, intercept_penalty, make):
    """E^-1 along Q, D^-1 across it, of all outputs jointly where they mix."""
    H = decaying(kind, d=12, intercept_penalty=intercept_penalty, make=make)
    P = Principal(H, 3)
    q, width = H.penalty.shape
    T, inner = in_centred_coordinates(H, H.mean)
    if kind == "softmax" and not intercept_penalty:  # D and E are of the curvature before the gauge is taken out
        plain = Hessian(H.design, H.weights, H.penalty)
        inner = in_centred_coordinates(plain, H.mean)[1]
    D = H.diagonal_about(H.mean)
    np.testing.assert_allclose(D.ravel(), np.diag(inner), rtol=1e-8)
    Q = np.zeros((q, width, q, P._Q.shape[2]))
    for c in range(q):
        Q[c, :, c] = P._Q[c]
        np.testing.assert_allclose(P._Q[c].T @ (D[c, :, None] * P._Q[c]), np.eye(4), atol=1e-10)
    Q = Q.reshape(q * width, -1)
    E = Q.T @ inner @ Q
    values, vectors = np.linalg.eigh(E)
    flat = values < 1e-12 * values[-1]
    assert flat.sum() == (kind == "softmax" and not intercept_penalty)  # the gauge
    inverse = (vectors / np.where(flat, 1.0, values)) @ vectors.T
    M = np.diag(1 / D.ravel()) + Q @ (inverse - np.eye(len(E))) @ Q.T
    R = sides(H, k=5)
    np.testing.assert_allclose(P(R), T @ (M @ (T.T @ R)), rtol=1e-7, atol=1e-9 * np.abs(P(R)).max())
    # In words: along Q it is the curvature's inverse, across it the diagonal's.
    a = np.random.default_rng(3).standard_normal((Q.shape[1], 2))
    across = np.random.default_rng(4).standard_normal((q * width, 2))
    across -= D.reshape(-1, 1) * (Q @ (Q.T @ across))
    np.testing.assert_allclose(M @ (D.reshape(-1, 1) * (Q @ a)), Q @ (inverse @ a), atol=1e-9)
    np.testing.assert_allclose(M @ across, across / D.reshape(-1, 1), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_directions_are_the_leading_ones(kind):
    H = decaying(kind, d=12, power=2.0)
    # Rows at one end of the last column weigh most.
    more = np.exp(2 * (H.design.X[:, [-1]] - 2.0) / H.design.X[:, -1].std())
    weights = MixedWeights(more * H.weights.diagonal, more**0.5 * H.weights.outer) if H.coupled else more * H.weights
    H = Hessian(H.design, weights, H.penalty, shift_invariant=H.shift_invariant)
    P = Principal(H, 3)
    D = H.diagonal_about(H.mean).mean(axis=0)
    weight = H.weights_by_output().sum(axis=1)
    Z = (H.design.X - H.mean) / np.sqrt(D[:-1])
    leading = np.linalg.eigh((Z * weight[:, None]).T @ Z)[1][:, -3:]
    V = P._directions(D, 3)
    assert V.shape == (13, 4) and not V[-1, :3].any() and (V[:, 3] == np.append(np.zeros(12), 1.0)).all()
    found = np.linalg.qr(np.sqrt(D[:-1, None]) * V[:-1, :3])[0]
    assert np.linalg.svd(leading.T @ found)[1].min() > 0.98


@pytest.mark.parametrize("kind", KINDS)
def test_principal_with_all_directions_is_the_curvature(kind):
    H = decaying(kind, d=6)
    B = sides(H)
    X = np.linalg.pinv(dense(H), rcond=1e-12, hermitian=True) @ B
    np.testing.assert_allclose(Principal(H, 6)(B), X, rtol=1e-7, atol=1e-8 * np.abs(X).max())
    assert isinstance(make_preconditioner(H, "principal", 6), Exact)
    assert isinstance(make_preconditioner(H, "principal", 5), Principal)
    info = ConjugateGradient().factor(H)(B)[1]
    assert info.iterations <= 2 and 0 < info.rcond < 1 and "a factored curvature" in info.reason


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_weight_zero_change_no_direction(monkeypatch, kind):
    """Nor do they take the places of others in the sample."""
    H = decaying(kind, d=8)
    monkeypatch.setattr("sklearn_influence.solvers.preconditioners._SAMPLE", 300)
    more = Design(np.vstack([H.design.X, 1e6 * np.ones((50, 8))]), True)
    nothing = np.zeros((50, H.weights_by_output().shape[1]))
    if H.coupled:
        weights = MixedWeights(*(np.vstack([part, nothing]) for part in (H.weights.diagonal, H.weights.outer)))
    else:
        weights = np.vstack([H.weights, nothing])
    other = Hessian(more, weights, H.penalty, shift_invariant=H.shift_invariant)
    B = sides(H)
    np.testing.assert_allclose(Principal(other, 3)(B), Principal(H, 3)(B), rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------------------------------------------
# What they are for
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("intercept_penalty", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_principal_takes_fewer_iterations(kind, intercept_penalty):
    H = decaying(kind, intercept_penalty=intercept_penalty)
    B = sides(H)
    n = {}
    for name in ("principal", "diagonal", None):
        X, info = ConjugateGradient(preconditioner=name, n_directions=16).factor(H)(B)
        assert info.converged and str(name or "no preconditioner") in info.reason
        np.testing.assert_allclose(dense(H) @ X, B, rtol=1e-5, atol=1e-6 * np.abs(B).max())
        n[name] = info.iterations
    assert n["principal"] <= 0.6 * n["diagonal"]
    assert n["principal"] < n[None]


def test_more_directions_take_fewer_iterations():
    H = decaying("softmax")
    B = sides(H)
    n = [ConjugateGradient(n_directions=k).factor(H)(B)[1].iterations for k in (2, 8, 32, 64)]
    assert n == sorted(n, reverse=True) and n[0] > 2 * n[2] and n[3] <= 2


def test_outputs_that_mix_are_taken_jointly():
    """Their common directions, not the classes each for itself: else the coupling would be left to the iterations."""
    H = decaying("softmax")
    joint = ConjugateGradient(n_directions=32).factor(H)
    alone = ConjugateGradient(n_directions=32).factor(H)
    k = alone._preconditioner._Q.shape[2]
    blocks = alone._preconditioner._correction[0].reshape(3, k, 3, k)
    alone._preconditioner._correction = np.stack([blocks[c, :, c] for c in range(3)])
    B = sides(H)
    assert joint(B)[1].iterations < 0.7 * alone(B)[1].iterations


def test_many_outputs_share_the_directions(monkeypatch):
    H = decaying("softmax")
    monkeypatch.setattr("sklearn_influence.solvers.preconditioners._UNKNOWNS", 15)
    assert make_preconditioner(H, "principal", 64)._Q.shape == (3, 41, 5 + 1)
    assert make_preconditioner(H, "principal", 4)._Q.shape == (3, 41, 4 + 1)
    assert make_preconditioner(decaying("separate"), "principal", 12)._Q.shape == (3, 41, 12 + 1)


@pytest.mark.parametrize("name", ["principal", "diagonal"])
@pytest.mark.parametrize("kind", KINDS)
def test_units_of_the_columns_do_not_matter(kind, name):
    units = 10.0 ** (np.arange(40) % 9 - 4)
    H, scaled = decaying(kind), decaying(kind, units=units)
    B = sides(H)
    q = H.n_outputs
    stretch = np.concatenate([np.tile(units, q), np.ones(q)])[:, None]
    solver = ConjugateGradient(preconditioner=name, n_directions=8)
    X, info = solver.factor(H)(B)
    Z, other = solver.factor(scaled)(stretch * B)
    assert info.converged and other.converged
    assert abs(info.iterations - other.iterations) <= 0.1 * info.iterations
    np.testing.assert_allclose(stretch * Z, X, rtol=1e-5, atol=1e-6 * np.abs(X).max())


def test_names():
    H = hessian()
    assert isinstance(make_preconditioner(H, None, 64), Identity)
    assert type(make_preconditioner(H, "diagonal", 64)) is Diagonal
    R = sides(H)
    assert (Identity()(R) == R).all()
    for name in ("principal", "diagonal", None):
        preconditioner = make_preconditioner(H, name, 2)
        assert preconditioner.nullity == 0 and np.isnan(preconditioner.rcond) and preconditioner.name


@pytest.mark.parametrize("kind", ["logistic", "targets", "softmax"])
def test_sketched_is_its_definition_and_saves_iterations(kind, monkeypatch):
    H = of_network(kind).curvature()
    P = Sketched(H, 12)
    D, Q = 1 / P._inverse[0], P._Q
    np.testing.assert_allclose(Q.T @ (D * Q), np.eye(12), atol=1e-10)
    E = Q.T @ H.matmat(Q)
    R = H.off_gauge(np.random.default_rng(0).standard_normal((len(D), 2)))
    along = Q.T @ R  # there E^-1, and D^-1 across
    np.testing.assert_allclose(P(R), H.off_gauge((R - D * (Q @ along)) / D + Q @ np.linalg.solve(E, along)), rtol=1e-8)
    monkeypatch.setattr("sklearn_influence.solvers.preconditioners._FACTORED", 0)
    B = H.matmat(np.random.default_rng(2).standard_normal((len(D), 3)))
    solvers = (ConjugateGradient(n_directions=24), ConjugateGradient(preconditioner="diagonal"))
    sketched, diagonal = (solver.factor(H)(B)[1] for solver in solvers)
    assert "of its own" in sketched.reason and sketched.converged
    assert sketched.iterations < 0.8 * diagonal.iterations
