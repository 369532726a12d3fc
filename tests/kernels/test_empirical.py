"""The tangent kernel of finite networks: J J', finite differences, and the infinitely wide limit."""

import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence.kernels import NeuralTangentKernel, empirical_ntk
from sklearn_influence.networks import Network

CLOSE = dict(rtol=1e-12, atol=1e-12)


def classifier(activation="tanh", n_classes=3):
    X, y = make_classification(40, 6, n_informative=5, n_redundant=0, n_classes=n_classes, random_state=0)
    options = dict(activation=activation, solver="lbfgs", max_iter=10, tol=1.0, random_state=0)
    return MLPClassifier((5, 4), **options).fit(X, y), X


def regressor(n_targets=1):
    X, y = make_regression(30, 4, n_targets=n_targets, random_state=0)
    options = dict(activation="logistic", solver="lbfgs", max_iter=10, tol=1e3, random_state=0)
    return MLPRegressor(hidden_layer_sizes=(5,), **options).fit(X, y), X


def raw_outputs(mlp, coefs, intercepts, X):
    """scikit-learn's own forward pass at other weights, before its last activation."""
    activations = {"tanh": np.tanh, "logistic": lambda z: 1 / (1 + np.exp(-z)), "relu": lambda z: np.maximum(z, 0)}
    for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
        X = activations[mlp.activation](X @ W + b)
    return X @ coefs[-1] + intercepts[-1]


def finite_differences(mlp, X, step=1e-6):
    """(n, q, p)."""
    tensors = [array.copy() for array in (*mlp.coefs_, *mlp.intercepts_)]
    n_layers, columns = len(mlp.coefs_), []
    for tensor in tensors:
        for place in np.ndindex(tensor.shape):
            there = []
            for sign in (1, -1):
                tensor[place] += sign * step
                there.append(raw_outputs(mlp, tensors[:n_layers], tensors[n_layers:], X))
                tensor[place] -= sign * step
            columns.append((there[0] - there[1]) / (2 * step))
    return np.stack(columns, axis=2)


def product(J, Jz=None):
    return np.einsum("iap,jbp->ijab", J, J if Jz is None else Jz)


@pytest.mark.parametrize(
    "make",
    [classifier, lambda: classifier("relu"), lambda: classifier(n_classes=2), regressor, lambda: regressor(2)],
    ids=["softmax", "relu", "binary", "regression", "two targets"],
)
def test_of_an_mlp_is_the_product_of_its_finite_differences(make):
    mlp, X = make()
    X = X[:8]
    K = empirical_ntk(mlp, X)
    expected = product(finite_differences(mlp, X))
    expected = expected[:, :, 0, 0] if expected.shape[2] == 1 else expected
    assert K.shape == expected.shape and K.dtype == np.float64
    np.testing.assert_allclose(K, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(empirical_ntk(mlp, X[:3], X), K[:3], **CLOSE)


def test_of_an_mlp_is_the_product_of_its_jacobian():
    mlp, X = classifier()
    J = Network(mlp.coefs_, mlp.intercepts_, mlp.activation).jacobian(X)
    np.testing.assert_allclose(empirical_ntk(mlp, X), product(J), **CLOSE)
    np.testing.assert_allclose(empirical_ntk(mlp, sparse.csr_array(X), X[:4]), product(J, J[:4]), **CLOSE)
    single = X.astype(np.float32)
    J = Network(mlp.coefs_, mlp.intercepts_, mlp.activation).jacobian(single.astype(float))
    np.testing.assert_allclose(empirical_ntk(mlp, single), product(J), **CLOSE)


def test_of_what_holds_a_network_is_that_of_the_network():
    net = Network.random([4, 6, 2], "relu", sigma_w=1.5, sigma_b=0.1, random_state=np.random.RandomState(0))

    class Linearised:
        network_ = net

    X = np.random.RandomState(1).standard_normal((5, 4))
    np.testing.assert_allclose(empirical_ntk(net, X), product(net.jacobian(X)), **CLOSE)
    np.testing.assert_array_equal(empirical_ntk(Linearised(), X), empirical_ntk(net, X))


def test_a_linearised_network_is_kernel_ridge_on_its_kernel():
    from sklearn_influence import LinearisedClassifier, LinearisedRegressor

    X, y = make_regression(40, 4, random_state=0)
    model = LinearisedRegressor((8,), alpha=0.5, representation="primal", random_state=0).fit(X[:30], y[:30])
    start = model.network_.outputs(X)[:, 0]
    ridge = KernelRidge(alpha=0.5, kernel="precomputed").fit(empirical_ntk(model, X[:30]), y[:30] - start[:30])
    expected = start[30:] + ridge.predict(empirical_ntk(model, X[30:], X[:30]))
    np.testing.assert_allclose(model.predict(X[30:]), expected, rtol=1e-9, atol=1e-9 * np.abs(y).max())
    with pytest.raises(NotFittedError, match="LinearisedClassifier instance is not fitted"):
        empirical_ntk(LinearisedClassifier(), X)


@pytest.mark.parametrize("memory", [1024, 2e-4], ids=["one block", "many blocks"])
@pytest.mark.parametrize("q", [1, 2])
def test_of_a_function_in_blocks(q, memory):
    rng, seen = np.random.RandomState(0), []
    X, Z, A = rng.standard_normal((11, 3)), rng.standard_normal((7, 3)), rng.standard_normal((q, 3, 4))

    def jacobian(rows):
        seen.append(len(rows))
        J = np.sin(np.einsum("nd,qdp->nqp", rows, A))
        return J[:, 0] if q == 1 else J

    def expected(X, Z=None):
        K = product(*(None if rows is None else np.sin(np.einsum("nd,qdp->nqp", rows, A)) for rows in (X, Z)))
        return K[:, :, 0, 0] if q == 1 else K

    with config_context(working_memory=memory):
        K = empirical_ntk(jacobian, X)
        np.testing.assert_allclose(K, expected(X), **CLOSE)
        np.testing.assert_allclose(empirical_ntk(jacobian, X, Z), expected(X, Z), **CLOSE)
    np.testing.assert_array_equal(K, K.transpose(1, 0, 3, 2) if q > 1 else K.T)
    assert max(seen) == 11 if memory == 1024 else max(seen) == 1
    np.testing.assert_array_equal(empirical_ntk(jacobian, X, X), empirical_ntk(jacobian, X))


def test_rows_of_a_function_keep_their_container_and_shape():
    images = np.random.RandomState(0).standard_normal((4, 2, 3))

    def jacobian(rows):
        assert rows.shape[1:] == (2, 3)
        return rows.reshape(len(rows), -1)

    flat = images.reshape(4, -1)
    np.testing.assert_allclose(empirical_ntk(jacobian, images), flat @ flat.T, **CLOSE)
    K = empirical_ntk(lambda rows: rows.toarray(), sparse.csr_array(flat))
    np.testing.assert_allclose(K, flat @ flat.T, **CLOSE)


def test_converges_to_the_infinitely_wide_limit_as_one_over_the_root_of_the_width():
    """The rms over seeds falls so; with two outputs the limit is the kernel times the identity."""
    X, widths, seeds = np.random.RandomState(0).standard_normal((4, 3)), (32, 128, 512), range(30)
    sigmas = dict(sigma_w=1.5, sigma_b=0.2)
    limit = NeuralTangentKernel(depth=2, **sigmas)(X)[:, :, None, None] * np.eye(2)
    errors = []
    for width in widths:
        found = []
        for seed in seeds:
            net = Network.random([3, width, width, 2], "relu", random_state=np.random.RandomState(seed), **sigmas)
            found.append(np.mean((empirical_ntk(net, X) - limit) ** 2))
        errors.append(np.sqrt(np.mean(found)))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.6 < slope < -0.4
    assert errors[-1] < 0.1 * np.abs(limit).max()


@pytest.mark.parametrize(
    "model, error, match",
    [
        (Ridge(), TypeError, "knows no Jacobian of Ridge.*MLPClassifier"),
        (make_pipeline(StandardScaler(), MLPRegressor()), TypeError, "pass the last step"),
        (MLPClassifier, TypeError, "knows no Jacobian"),
        (MLPClassifier(), NotFittedError, "not fitted"),
        (lambda rows: np.ones(len(rows)), ValueError, r"of shape \(1, n_params\).*got \(1,\)"),
        (lambda rows: np.ones((7, 2)), ValueError, r"for these 1; got \(7, 2\)"),
        (lambda rows: np.ones((len(rows), 1 + len(rows))), ValueError, r"for all rows: got \(1, 4\) after \(1, 2\)"),
        (lambda rows: np.full((len(rows), 2), np.nan), ValueError, "must not hold NaN"),
        (lambda rows: "J", ValueError, "The Jacobian must hold real numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(model, error, match):
    with pytest.raises(error, match=match):
        empirical_ntk(model, np.ones((3, 2)))


def test_rows_that_cannot_be_used_are_refused():
    mlp, X = regressor()
    with pytest.raises(ValueError, match="X must have the 4 columns that the network takes, got 3"):
        empirical_ntk(mlp, X[:, :3])
    with pytest.raises(ValueError, match="Z must have the 4 columns"):
        empirical_ntk(mlp, X, X[:, :3])
    with pytest.raises(ValueError, match="X must not hold NaN"):
        empirical_ntk(mlp, X * np.nan)
    with pytest.raises(ValueError, match="Z must hold at least one row"):
        empirical_ntk(lambda rows: rows, X, X[:0])


def test_a_kernel_that_no_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr("sklearn_influence._backend.physical_memory", lambda: 1000)
    mlp, X = classifier()
    with pytest.raises(ValueError, match="The kernel of 40 rows with 40 and 3 outputs needs"):
        empirical_ntk(mlp, X)
    with pytest.raises(ValueError, match="The kernel of 40 rows with 40 needs"):
        empirical_ntk(lambda rows: rows, X)


def test_needs_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # an import raises
    np.testing.assert_array_equal(empirical_ntk(lambda rows: rows, np.eye(2)), np.eye(2))
    mlp, X = regressor()
    assert empirical_ntk(mlp, X).shape == (30, 30)
