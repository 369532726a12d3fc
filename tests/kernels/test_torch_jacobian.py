"""The tangent kernel of torch modules, against gradients that torch takes output by output."""

import copy

import numpy as np
import pytest
from sklearn import config_context

from sklearn_influence.kernels import empirical_ntk
from sklearn_influence.networks import Network

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
nn = torch.nn


def images(n, seed=0):
    return np.random.RandomState(seed).standard_normal((n, 3, 8, 8))


def convolutional(q):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Dropout(), nn.Flatten()
    module = nn.Sequential(*layers, nn.Linear(64, q)).eval()
    module[1].running_var.uniform_(0.5, 2.0)
    return module


def jacobian(module, X):
    """(n, q, p) by plain backward passes, in double precision."""
    module = copy.deepcopy(module).double()
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def gradients(output):
        return torch.cat([g.ravel() for g in torch.autograd.grad(output, parameters, retain_graph=True)]).numpy()

    return np.stack([[gradients(output) for output in module(torch.tensor(x)[None])[0].ravel()] for x in X])


@pytest.mark.parametrize("memory", [1024, 0.2], ids=["one block", "many blocks"])
@pytest.mark.parametrize("q", [1, 3])
def test_is_the_product_of_the_gradients(q, memory):
    module, X, Z = convolutional(q), images(9), images(5, seed=1)
    before = copy.deepcopy(module.state_dict())
    with config_context(working_memory=memory):
        K, across = empirical_ntk(module, X), empirical_ntk(module, torch.tensor(X), Z.astype(np.float32).astype(float))
    J, Jz = jacobian(module, X), jacobian(module, Z.astype(np.float32).astype(float))
    expected, expected_across = (np.einsum("iap,jbp->ijab", J, other) for other in (J, Jz))
    if q == 1:
        expected, expected_across = expected[:, :, 0, 0], expected_across[:, :, 0, 0]
    assert K.dtype == np.float64 and isinstance(K, np.ndarray)
    np.testing.assert_allclose(K, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(across, expected_across, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype
    assert not module.training and all(parameter.grad is None for parameter in module.parameters())


def test_frozen_parameters_do_not_count():
    module, X = convolutional(2), images(4)
    module[0].requires_grad_(False)
    J = jacobian(module, X)
    np.testing.assert_allclose(empirical_ntk(module, X), np.einsum("iap,jbp->ijab", J, J), rtol=1e-11, atol=1e-11)
    with pytest.raises(ValueError, match="No parameter of the module Sequential requires a gradient"):
        empirical_ntk(module.requires_grad_(False), X)


def test_a_network_of_linear_layers_is_that_network():
    torch.manual_seed(0)
    module, X = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2)).double(), images(4).reshape(4, -1)[:, :5]
    weights, biases = ([getattr(module[i], name).detach().numpy() for i in (0, 2)] for name in ("weight", "bias"))
    network = Network([W.T for W in weights], biases, "tanh")
    np.testing.assert_allclose(empirical_ntk(module, X), empirical_ntk(network, X), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.Dropout(0.5)], ids=["batch normalisation", "dropout"])
def test_layers_that_know_no_single_row_are_refused(layer):
    module = nn.Sequential(layer, nn.Flatten(), nn.Linear(192, 1)).train()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"Sequential cannot be .* row by row.*call module.eval\(\) first"):
        empirical_ntk(module, images(3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items()) and module.training


def test_rows_that_cannot_be_used_are_refused():
    module = convolutional(1)
    with pytest.raises(ValueError, match=r"cannot be .* on a row of shape \(1, 2, 8, 8\)"):
        empirical_ntk(module, images(3)[:, :2])
    with pytest.raises(ValueError, match="X must not hold NaN"):
        empirical_ntk(module, images(3) * np.nan)
    with pytest.raises(ValueError, match="Z must hold at least one row"):
        empirical_ntk(module, images(3), images(0))
