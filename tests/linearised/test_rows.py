"""Rows by their Jacobians: products in blocks against the Jacobians themselves."""

import numpy as np
import pytest
from jacobians import network, problem
from scipy import sparse

from sklearn_influence.linearised import ArrayRows, NetworkRows


def pair(make=np.asarray, start=True):
    X, _ = problem("softmax")
    net = network("softmax")
    rows = NetworkRows(net, make(X), net.params if start else None)
    return rows, rows.jacobian()


@pytest.fixture(params=["network", "array", "sparse"])
def rows(request, monkeypatch):
    monkeypatch.setattr("sklearn_influence.linearised.rows.block_size", lambda *args, **kwargs: 7)
    rows, J = pair(sparse.csr_array if request.param == "sparse" else np.asarray)
    return (ArrayRows(J, rows.offsets, rows) if request.param == "array" else rows), J


def test_products_are_those_of_the_jacobians(rows):
    rows, J = rows
    rng = np.random.default_rng(0)
    n, q, p = J.shape
    V, U, u = rng.standard_normal((p, 4)), rng.standard_normal((n, q, 2)), rng.standard_normal((n, q))
    close = dict(rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(rows.dot(V), J @ V, **close)
    np.testing.assert_allclose(rows.tdot(U), np.einsum("nqp,nqk->pk", J, U), **close)
    np.testing.assert_allclose(rows.absolute_tdot(U**2), np.einsum("nqp,nqk->pk", np.abs(J), U**2), **close)
    np.testing.assert_allclose(rows.pulls(u), np.einsum("nqp,nq->pn", J, u), **close)
    np.testing.assert_allclose(rows.pulled_onto(u, V), np.einsum("nqp,nq,pk->kn", J, u, V), **close)
    np.testing.assert_allclose(rows.norms(), np.linalg.norm(J, 2, axis=(1, 2)), **close)


def test_some_rows_are_these_rows(rows):
    rows, J = rows
    rows.offsets, rows.norms()  # known before
    for some in (np.array([3, 3, 20]), slice(2, 9), np.arange(30) % 2 == 0):
        part = rows.take(some)
        assert part.n_rows == len(J[some])
        np.testing.assert_allclose(part.jacobian(), J[some], rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(part.offsets, rows.offsets[some])
        np.testing.assert_array_equal(part.norms(), rows.norms()[some])


def test_parameters_that_move_an_output_are_known(rows):
    rows, J = rows
    assert rows.moving().all()
    places, V = rows.flats(True)
    np.testing.assert_allclose(J[:, :, places] @ V, 1.0)  # the common shift
    assert rows.flats(False)[1].shape == (len(places), 0)


def test_units_that_pass_every_row_on_have_a_bias_that_others_take_over():
    X, _ = problem("softmax")
    net = network("softmax", "relu")
    net.biases[0][:3], net.biases[1][1], net.biases[0][3] = 20.0, 400.0, -50.0
    rows = NetworkRows(net, X)
    places, V = rows.flats(False)
    J = rows.jacobian()
    assert V.shape[1] >= 4 and np.abs(J[:, :, places] @ V).max() < 1e-13 * np.abs(J).max()
    np.testing.assert_array_equal(rows.moving()[places], J[:, :, places].any(axis=(0, 1)))
    assert not rows.moving()[net.n_weights + 3]
    assert NetworkRows(network("softmax", "identity"), X).flats(False)[1].shape == (14, 11)
    assert NetworkRows(network("softmax", "relu", trained=(2,)), X).flats(False)[1].shape == (3, 0)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_replaced_and_appended_rows_have_jacobians_of_their_own(make, known):
    rows, J = pair(make)
    if known:
        rows.offsets, rows.norms()
    X = np.random.default_rng(3).standard_normal((2, 4))
    new = rows.reading(X)
    replaced, longer = rows.replace(np.array([4, 9]), X), rows.append(X)
    want, f0 = J.copy(), rows.offsets.copy()
    want[[4, 9]], f0[[4, 9]] = new.jacobian(), new.offsets
    np.testing.assert_allclose(replaced.jacobian(), want, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(replaced.offsets, f0, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(replaced.norms(), np.linalg.norm(want, 2, axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(longer.jacobian(), np.concatenate([J, new.jacobian()]), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(rows.jacobian(), J, rtol=1e-12, atol=1e-14)  # as they were
    held, new = ArrayRows(J, rows.offsets), ArrayRows(new.jacobian(), new.offsets)
    np.testing.assert_allclose(held.replace(np.array([4, 9]), new).jacobian(), want)
    np.testing.assert_allclose(held.append(new).offsets, longer.offsets, rtol=1e-12, atol=1e-14)


def test_outputs_are_the_networks_own_at_the_start():
    X, _ = problem("softmax")
    for start in (True, False):
        rows, _ = pair(start=start)
        theta = rows.network.params if start else np.zeros(rows.width)
        f = rows.offsets + rows.dot(theta[:, None])[:, :, 0]
        np.testing.assert_allclose(f, rows.network.outputs(X), rtol=1e-12, atol=1e-13)
        moved = rows.offsets + rows.dot(theta[:, None] + 1e-6)[:, :, 0]
        np.testing.assert_allclose(moved, rows.network.at(rows.network.params + 1e-6).outputs(X), atol=1e-9)
