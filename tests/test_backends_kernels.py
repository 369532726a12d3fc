"""Kernel models on another device: the numbers of the CPU, and made there."""

import copy
import pickle

import numpy as np
import pytest
import strange
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge

from sklearn_influence import InfluenceEstimator, KernelLogisticRegression, NeuralTangentKernel, _backend

RNG = np.random.default_rng(0)
N = 45
X, X_TEST = RNG.normal(size=(N, 3)), RNG.normal(size=(6, 3))
LINE, LINE_TEST = X[:, 0] + RNG.normal(size=N), X_TEST[:, 0]
CODES, CODES_TEST = (X[:, 0] > 0) + (X[:, 1] > 0), (X_TEST[:, 0] > 0) + (X_TEST[:, 1] > 0)
MODELS = {
    "kernel ridge": (KernelRidge(alpha=0.3, kernel="rbf"), False),
    "laplacian": (KernelRidge(alpha=0.3, kernel="laplacian"), False),
    "ntk": (KernelRidge(alpha=0.3, kernel=NeuralTangentKernel(depth=2)), False),
    "process": (
        GaussianProcessRegressor(RBF(2.0) + WhiteKernel(0.3), optimizer=None, normalize_y=True, alpha=0.1),
        False,
    ),
    "softmax": (KernelLogisticRegression(alpha=0.5), True),
    "softmax ntk, mean": (
        KernelLogisticRegression(alpha=5.0, kernel=NeuralTangentKernel(), penalty_scale="mean"),
        True,
    ),
}


def answers(model, y_test):
    yield "params", model.influence_on_params([3, 8])
    yield "output", model.influence_on_output(X_TEST)
    yield "one output", model.influence_on_output(X_TEST[:1])
    yield "loss", model.influence_on_loss(X_TEST, y_test, aggregate="mean")
    yield "leverages", model.leverages()
    yield "own", model.self_influence([3, 8])
    yield "replacements", model.influence_on_output(X_TEST, [3, 8], X_new=X_TEST[:2], y_new=y_test[:2])
    yield "groups", model.influence_on_loss(X_TEST, y_test, groups=np.arange(N) % 9)
    yield "halves", model.influence_on_loss(X_TEST, y_test, groups=np.arange(N) % 2)
    yield "stationarity", 1.0 + np.array([model.stationarity_.relative])
    model.unlearn([3, 8])
    yield "unlearned", model.params_
    yield "bound", np.array([model.certificate_.valid, model.certificate_.converged])
    model.extend(X_TEST[:2], y_test[:2]).update([5], X_new=X_TEST[2:3], y_new=y_test[2:3])
    yield "edited", model.params_
    yield "outputs after", model.influence_on_output(X_TEST)


@pytest.mark.parametrize("solver", ["direct", "cg"])
@pytest.mark.parametrize("name", MODELS)
def test_a_device_gives_the_numbers_of_the_cpu(name, solver):
    estimator, classifies = MODELS[name]
    y, y_test = (CODES, CODES_TEST) if classifies else (LINE, LINE_TEST)

    def make(device):
        return InfluenceEstimator(estimator, solver=solver, device=device).fit(X, y)

    expected = dict(answers(make("cpu"), y_test))
    with strange.as_cuda() as made:
        model = make("cuda")
        for what, answer in answers(model, y_test):
            assert strange.is_numpy(answer), what
            scale = np.abs(expected[what]).max() or 1.0
            np.testing.assert_allclose(answer, expected[what], atol=1e-8 * scale, err_msg=what)
        assert (N, N) in {left for left, _ in made} | {right for _, right in made}
        again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    np.testing.assert_allclose(again.set_params(device="cpu").params_, expected["edited"], atol=1e-8)


@pytest.mark.skipif(_backend.cuda_lacks() is not None, reason=str(_backend.cuda_lacks()))
def test_a_card_gives_the_numbers_of_the_cpu():
    for estimator, classifies in MODELS.values():
        y, y_test = (CODES, CODES_TEST) if classifies else (LINE, LINE_TEST)
        expected = dict(answers(InfluenceEstimator(estimator, device="cpu").fit(X, y), y_test))
        for what, answer in answers(InfluenceEstimator(estimator, device="cuda").fit(X, y), y_test):
            assert strange.is_numpy(answer), what
            np.testing.assert_allclose(answer, expected[what], atol=1e-8 * np.abs(expected[what]).max(), err_msg=what)


def test_kernel_logistic_regression_fits_on_a_device():
    known = KernelLogisticRegression(device="cpu").fit(X, CODES)
    with strange.as_cuda() as made:
        model = KernelLogisticRegression(device="cuda").fit(X, CODES)
        assert strange.is_numpy(model.dual_coef_) and made
        outputs = model.decision_function(X_TEST)
    np.testing.assert_allclose(model.dual_coef_, known.dual_coef_, atol=1e-9)
    np.testing.assert_allclose(outputs, known.decision_function(X_TEST), atol=1e-9)
