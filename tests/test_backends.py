"""The linear families on another device: the numbers of the CPU, and made there."""

import copy
import pickle
from contextlib import nullcontext

import array_api_strict
import cases
import contract
import numpy as np
import pytest
import strange
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator, _backend, retained
from sklearn_influence._device_design import DeviceDesign
from sklearn_influence.privacy import ObjectivePerturbation
from sklearn_influence.quantities import estimate, output_quantity
from sklearn_influence.solvers import ConjugateGradient, Direct

FEW = ConjugateGradient(tol=1e-12, n_directions=2)
# Each kind of loss, penalty, weight and curvature, in parameters and in the span of the rows.
QUESTIONS = {
    "ridge weighted": {},
    "ridge targets": {},
    "ridge float32": {},
    "ols targets": {},
    "ridge targets dual": {},
    "classifier multinomial balanced": {},
    "binary": {},
    "multinomial balanced": dict(solver=Direct()),
    "multinomial unpenalised": {},
    "multinomial dual": {},
    "ridge": dict(solver="cg"),
    "multinomial": dict(solver=FEW),
    "weighted": dict(solver=FEW),
    "multinomial weighted": dict(method="first_order"),
    "strings": dict(method="second_order"),
}
RANK = "ignore:The curvature is singular"


def answers(case, model):
    """What a model says: every kind of question, and an edit."""
    X, y, rows = case.X_test, case.y_test, contract.ROWS
    yield "params", model.influence_on_params()
    yield "some params", model.influence_on_params(rows)
    yield "output", model.influence_on_output(X)
    yield "loss", model.influence_on_loss(X, y)
    yield "leverages", model.leverages()
    yield "some leverages", model.leverages(rows)
    yield "own", model.self_influence(rows)
    yield "solved", model.curvature_solve(np.eye(len(model.params_), 2))
    if model.method != "second_order":
        yield "replacements", model.influence_on_output(X, indices=rows[:2], X_new=X[:2], y_new=y[:2])
    if model.method != "second_order" and not model.solve_info_.nullity:
        yield "sensitivity", model.input_sensitivity(X[:2], y[:2], rows)
    yield "nullity", np.array([model.solve_info_.nullity])
    yield "groups", model.influence_on_loss(X, y, groups=np.arange(len(case.y)) % 7)
    model.unlearn(rows)
    yield "unlearned", model.params_
    yield "settled", np.array([model.certificate_.converged, model.certificate_.valid])
    yield "outputs after", model.influence_on_output(X)


def compare(case, make, tol=1e-9):
    expected = dict(answers(case, make("cpu")))
    with strange.as_cuda() as made:
        model = make("cuda")
        for what, answer in answers(case, model):
            assert strange.is_numpy(answer) and answer.dtype == expected[what].dtype, what
            contract.close(answer, expected[what], tol)
    n = len(case.y)
    assert any(n in left + right for left, right in made)  # of all rows, and not of some matrix alone
    return expected


@pytest.mark.filterwarnings(RANK)
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_device_gives_the_numbers_of_the_cpu(name):
    family, tol = contract.FAMILIES[name], 1e-3 if "float32" in name else 1e-9
    compare(family.case, lambda device: family.fit(device=device, **QUESTIONS[name]), tol)


@pytest.mark.filterwarnings(RANK)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_flat_directions_are_found_on_a_device(fit_intercept):
    """The eigenvectors are the CPU's; which of them are flat the rows say, where they lie."""
    case = cases.collinear(contract.LINE)
    expected = compare(
        case,
        lambda device: InfluenceEstimator(LinearRegression(fit_intercept=fit_intercept), device=device).fit(
            case.X, case.y
        ),
    )
    assert expected["nullity"] == 2


def test_rows_far_from_zero_keep_their_digits_on_a_device():
    case = cases.uncentred(contract.BINARY)
    compare(case, lambda device: InfluenceEstimator(LogisticRegression(), device=device).fit(case.X, case.y), 1e-7)


@pytest.mark.parametrize("way", ["update", "downdate", "refactor"])
@pytest.mark.parametrize("classes", [[3, 8], [1, 3, 8]])
def test_every_way_to_the_retained_rows(way, classes):
    X, y = load_digits(return_X_y=True)
    some = np.isin(y, classes)
    model = InfluenceEstimator(LogisticRegression(C=0.1)).fit(X[some][:, 1:60:2] / 16, y[some])
    objective, factor = model._fitted.solved(model._options())
    rows = np.arange(0, objective.n_rows, 5)
    expected = retained.step_without(objective, factor, rows, way)
    with strange.as_cuda():
        there = objective.on("cuda")
        found = retained.step_without(there, Direct().factor(there.curvature()), rows, way)
    contract.close(found.step, expected.step, 1e-9)
    assert found.length == pytest.approx(expected.length) and found.leverage == pytest.approx(expected.leverage)


def with_more_around(device):
    """What noise in the objective, a pipeline, a quantity and the addition of rows lead to."""
    case = contract.BINARY
    noise = ObjectivePerturbation(50.0, 1e-3, sigma=1.0, random_state=0)
    noisy = InfluenceEstimator(LogisticRegression(), device=device).fit(case.X, case.y, perturbation=noise)
    yield noisy.params_.copy()
    yield noisy.unlearn([3]).params_
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    model = InfluenceEstimator(pipeline, device=device).fit(case.X, case.y)
    for rows in (None, case.X_test):
        yield estimate(model, output_quantity(model, lambda f: f.mean(), rows)).changes
    yield model.unlearn([3], refit_transformers=True).params_
    yield model.update([5], X_new=case.X_test[:1], y_new=case.y_test[:1]).params_
    yield model.extend(case.X_test[1:3], case.y_test[1:3]).params_


def test_noise_pipelines_quantities_and_edits_on_a_device():
    expected = list(with_more_around("cpu"))
    with strange.as_cuda():
        for one, other in zip(with_more_around("cuda"), expected, strict=True):
            assert strange.is_numpy(one)
            contract.close(one, other, 1e-9)


@pytest.mark.parametrize("name", ["ridge", "multinomial", "multinomial dual"])
def test_sparse_rows_beside_dense_ones_on_a_device(name):
    """Test rows and new rows of a model of dense ones are not filled: the CPU multiplies them."""
    family, found = contract.FAMILIES[name], []
    X, y = sparse.csr_array(family.case.X_test), family.case.y_test
    replaced = dict(indices=contract.ROWS[:2], X_new=X[:2], y_new=y[:2])
    for device in ("cpu", "cuda"):
        with strange.as_cuda() if device == "cuda" else nullcontext():
            model = family.fit(device=device)
            found.append([model.influence_on_loss(X, y), model.influence_on_output(X, **replaced)])
            found[-1].append(model.extend(X[:2], y[:2]).params_)
    for one, other in zip(*found, strict=True):
        assert strange.is_numpy(other)
        contract.close(other, one, 1e-9)


def fitted(device, **options):
    case = contract.LINE
    return InfluenceEstimator(Ridge(), device=device, **options).fit(case.X, case.y)


def test_auto_takes_a_card_for_large_dense_rows(monkeypatch):
    X, y = contract.LINE.X, contract.LINE.y
    with strange.as_cuda() as made:
        assert fitted("auto")._options().device == "cpu"
        monkeypatch.setattr(_backend, "_WORTH", X.size)
        model = fitted("auto")
        assert model._options().device == "cuda"
        model.leverages()
        assert made
        assert fitted("cpu")._options().device == "cpu"
        assert fitted("auto", solver="diagonal", method="first_order")._options().device == "cpu"
        sparse_rows = InfluenceEstimator(Ridge(solver="sparse_cg"), device="auto").fit(sparse.csr_array(X), y)
        assert sparse_rows._options().device == "cpu"
        monkeypatch.setattr(_backend, "_WORTH", X.size + 1)
        assert fitted("auto")._options().device == "cpu"


def test_what_cannot_go_to_a_device_is_refused_by_name(monkeypatch):
    X, y = contract.LINE.X, contract.LINE.y
    with strange.as_cuda():
        model = InfluenceEstimator(Ridge(solver="sparse_cg"), device="cuda").fit(sparse.csr_array(X), y)
        with pytest.raises(ValueError, match=r"device='cuda' takes dense rows, got sparse ones"):
            model.leverages()
        model = fitted("cuda", solver="outer_product", method="first_order")
        with pytest.raises(ValueError, match=r"device='cuda' and solver='outer_product' do not go together"):
            model.influence_on_params([0])
    with strange.as_cuda(memory=8 * 6**2 - 1):
        monkeypatch.setattr("sklearn_influence.solvers.choice._MEMORY", np.inf)
        with pytest.raises(ValueError, match=r"The copy of 40 rows and 5 columns needs .* of the graphics card"):
            fitted("cuda").leverages()
    if _backend.cuda_lacks() is not None:
        with pytest.raises(ValueError, match=r"device='cuda' cannot be used: .* Or use device='auto' or 'cpu'"):
            fitted("cuda")


def test_auto_solves_by_what_the_card_holds():
    with strange.as_cuda(memory=16 * 6**2 / 0.4):
        assert isinstance(fitted("cuda")._options().solver, Direct)
    with strange.as_cuda(memory=16 * 6**2 / 0.4 - 1):
        assert isinstance(fitted("cuda")._options().solver, ConjugateGradient)
        assert isinstance(fitted("cpu")._options().solver, Direct)


def test_the_device_can_be_changed_between_questions_and_edits():
    model, expected = fitted("cpu"), fitted("cpu")
    h = model.leverages()
    with strange.as_cuda() as made:
        contract.close(model.set_params(device="cuda").leverages(), h, 1e-12)
        assert made
        model.unlearn([3, 5])
        assert type(model._objective.design) is DeviceDesign
        model.unlearn([7])
    model.set_params(device="cpu")  # out of the device's reach, but for what lies there
    contract.close(model.leverages(), expected.unlearn([3, 5, 7]).leverages(), 1e-12)
    contract.close(model.unlearn([8]).params_, expected.unlearn([8]).params_, 1e-12)


@pytest.mark.parametrize("representation", ["primal", "dual"])
def test_pickles_hold_nothing_of_a_device_and_copies_share_it(representation):
    with strange.as_cuda() as made:
        model = fitted("cuda", representation=representation).unlearn([3])
        h = model.leverages()
        text = pickle.dumps(model)
        assert b"array_api_strict" not in text
        made.clear()
        np.testing.assert_array_equal(copy.deepcopy(model).leverages(), h)
        assert not made
        contract.close(pickle.loads(text).leverages(), h, 1e-12)
    contract.close(pickle.loads(text).set_params(device="cpu").leverages(), h, 1e-12)


def test_the_strict_device_refuses_what_would_hide_a_mistake():
    with strange.as_cuda(), pytest.raises(AssertionError, match="rows on the CPU were multiplied"):
        fitted("cpu").leverages()
    there = array_api_strict.asarray([1.0])
    with strange.as_cuda():
        np.testing.assert_array_equal(_backend.to_numpy(there), 1.0)
        with pytest.raises(AssertionError, match="NumPy was given an array of the device"):
            np.sqrt(there)
        with pytest.raises(TypeError):
            there * np.ones(1)


@pytest.mark.skipif(_backend.cuda_lacks() is not None, reason=str(_backend.cuda_lacks()))
@pytest.mark.filterwarnings(RANK)
def test_a_card_gives_the_numbers_of_the_cpu():
    for name, options in QUESTIONS.items():
        family, tol = contract.FAMILIES[name], 1e-3 if "float32" in name else 1e-9
        expected = dict(answers(family.case, family.fit(device="cpu", **options)))
        for what, answer in answers(family.case, family.fit(device="cuda", **options)):
            assert strange.is_numpy(answer), (name, what)
            contract.close(answer, expected[what], tol)
