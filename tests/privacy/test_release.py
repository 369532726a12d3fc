"""Unlearned models with noise: what is claimed, what is drawn, and what is refused."""

import copy
import pickle

import cases
import numpy as np
import pytest
import retraining
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator, editing
from sklearn_influence.privacy import ObjectivePerturbation, Release, gaussian_epsilon, gaussian_sigma

CLAIM = dict(epsilon=1.0, delta=1e-5)
ROWS = [3, 17, 30]
TIGHT = dict(tol=1e-10, max_iter=10_000)
MODELS = {
    "binary": (LogisticRegression(**TIGHT), cases.tiny_classification()),
    "softmax": (LogisticRegression(**TIGHT), cases.tiny_classification(n_classes=3)),
    "ridge": (Ridge(2.0), cases.tiny_regression()),
}


def fitted(name, **options):
    estimator, case = MODELS[name]
    perturbation = options.pop("perturbation", None)
    return InfluenceEstimator(estimator, **options).fit(case.X, case.y, perturbation=perturbation)


# ---------------------------------------------------------------------------------------------------
# Noise on the parameters
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("representation", ["primal", "dual"])
@pytest.mark.parametrize("name", MODELS)
def test_the_noise_is_what_the_claim_takes(name, representation):
    model = fitted(name, representation=representation)
    model.leverages([0])
    plain = copy.deepcopy(model).unlearn(ROWS)
    q = 3 if name == "softmax" else 1
    center = plain.params_.copy()
    if q > 1:  # the common shift of free intercepts is not published
        center[-q:] -= center[-q:].mean()
    sigma = gaussian_sigma(1.0, 1e-5, 1e-6)
    draws = []
    for seed in range(150):
        released = copy.deepcopy(model).unlearn(ROWS, **CLAIM, bound=1e-6, random_state=seed)
        draws.append((released.params_ - center) / sigma)
        assert np.linalg.norm(released.params_ - center) <= released.certificate_.param_bound
    draws = np.array(draws)
    certificate = released.certificate_
    assert certificate.sigma == sigma and (certificate.epsilon, certificate.delta) == (1.0, 1e-5)
    assert certificate.bound == 1e-6 and certificate.valid and certificate.converged
    expected = np.eye(draws.shape[1])
    if q > 1:
        expected[-q:, -q:] -= 1 / q
        np.testing.assert_allclose(draws[:, -q:].sum(axis=1), 0, atol=1e-7)
    np.testing.assert_allclose(draws.T @ draws / len(draws), expected, atol=0.45)
    assert abs(np.trace(draws.T @ draws) / len(draws) / np.trace(expected) - 1) < 0.15
    np.testing.assert_array_equal(released.params_[: released.estimator_.coef_.size], released.estimator_.coef_.ravel())
    again = copy.deepcopy(model).unlearn(ROWS, **CLAIM, bound=1e-6, random_state=149)
    np.testing.assert_array_equal(again.params_, released.params_)


def test_sigma_never_follows_from_the_certificate():
    model = fitted("binary")
    sigmas = {copy.deepcopy(model).unlearn(rows, **CLAIM).certificate_.sigma for rows in ([1], ROWS, range(20))}
    assert sigmas == {gaussian_sigma(1.0, 1e-5, 1e-8)}


def test_steps_are_taken_until_the_bound_is_met():
    model = fitted("binary")
    loose = copy.deepcopy(model).unlearn(ROWS, tol=0.5).certificate_
    assert loose.converged and loose.param_bound > 1e-10
    published = copy.deepcopy(model).unlearn(ROWS, tol=0.5, **CLAIM, bound=1e-10, random_state=0).certificate_
    assert published.n_iter > loose.n_iter and published.sigma == gaussian_sigma(1.0, 1e-5, 1e-10)


def test_what_is_not_within_the_bound_is_refused_and_nothing_changes():
    model = fitted("binary")
    before = pickle.dumps(model), model.params_
    with pytest.raises(ValueError, match=r"certified to be within .* of a refit, and the noise is for bound=1e-30"):
        model.unlearn(ROWS, **CLAIM, bound=1e-30)
    with pytest.raises(ValueError, match="Allow more steps"):
        model.unlearn(range(0, 30, 2), **CLAIM, max_iter=1)
    assert pickle.dumps(model) == before[0] and model.edits_ == ()
    np.testing.assert_array_equal(model.params_, before[1])


@pytest.mark.parametrize(
    "claim, message",
    [
        (dict(epsilon=1.0), "Give both epsilon and delta"),
        (dict(delta=1e-5), "Give both epsilon and delta"),
        (dict(epsilon=-1.0, delta=1e-5), "epsilon"),
        (dict(epsilon=1.0, delta=0.0), "delta"),
        (dict(epsilon=1.0, delta=1e-5, bound=0.0), "bound"),
        (dict(epsilon=1.0, delta=1e-5, bound=np.inf), "bound"),
    ],
)
def test_claims_that_are_none(claim, message):
    model = fitted("ridge")
    with pytest.raises(ValueError, match=message):
        model.unlearn([1], **claim)
    with pytest.raises(ValueError, match=message):
        model.unlearn([], **claim)


def test_a_request_for_no_rows_publishes_the_model_as_it_is():
    data = MODELS["binary"][1]
    pipeline = InfluenceEstimator(make_pipeline(StandardScaler(), LogisticRegression(**TIGHT))).fit(data.X, data.y)
    for model, case, remembered in (*((fitted(name), MODELS[name][1], 0) for name in MODELS), (pipeline, data, 1)):
        model.extend(case.X[:1], case.y[:1])
        exact = model.params_
        assert len(copy.deepcopy(model).unlearn([]).edits_) == 1  # without a claim there is nothing to do
        model.unlearn([], **CLAIM, random_state=0)
        moved = np.linalg.norm(model.params_ - exact) / gaussian_sigma(1.0, 1e-5, 1e-8)
        assert 0.3 < moved / np.sqrt(len(exact)) < 2
        assert [edit.kind for edit in model.edits_] == ["extend", "unlearn"] and model.edits_[1].indices.tolist() == []
        assert model.certificate_.n_removed == 0 and model.certificate_.n_retained == len(model.sample_indices_)
        assert ["removed earlier" in one for one in model.certificate_.remembers] == [True] * remembered


@pytest.mark.parametrize("option", [dict(bound=1e-6), dict(random_state=0)])
def test_options_of_the_noise_without_noise(option):
    model = fitted("ridge")
    with pytest.raises(ValueError, match=r"about the noise of a release.*give epsilon and delta too"):
        model.unlearn([1], **option)
    assert model.edits_ == ()


def test_many_releases_by_a_smaller_epsilon_each():
    """The recipe of the certificate's page: the noise of k releases, by what each of them is asked for."""
    sigma = gaussian_sigma(1.0, 1e-5, 10**0.5 * 1e-8)
    each = gaussian_epsilon(1e-5, sigma, 1e-8)
    published = fitted("ridge").unlearn(ROWS, epsilon=each, delta=1e-5, bound=1e-8).certificate_
    assert published.sigma == pytest.approx(sigma, rel=1e-9)


def test_a_published_model_is_asked_and_edited_on():
    model = fitted("binary").unlearn(ROWS, **CLAIM, random_state=0)
    noisy = model.params_
    assert model.influence_on_params([1]).shape == (1, 5)
    case = MODELS["binary"][1]
    kept = np.setdiff1d(np.arange(60), [*ROWS, 1])
    model.unlearn([1])
    exact = retraining.retrain(LogisticRegression(), case.X[kept], case.y[kept])
    np.testing.assert_allclose(model.params_, exact, atol=1e-10)
    assert not np.array_equal(noisy, exact)


def test_much_noise_is_told_of_by_what_is_asked_afterwards():
    model = fitted("binary").unlearn(ROWS, **CLAIM, bound=0.1, random_state=0)
    with pytest.warns(ConvergenceWarning, match="not at a minimum"):
        model.influence_on_params([1])


def test_release_as_an_object():
    release = Release(1.0, 1e-5, 1e-8, 0)
    assert release.sigma == gaussian_sigma(1.0, 1e-5, 1e-8)


# ---------------------------------------------------------------------------------------------------
# Noise in the objective
# ---------------------------------------------------------------------------------------------------
NOISE = ObjectivePerturbation(1.0, 1e-5, sigma=1.0, random_state=0)


@pytest.mark.parametrize("representation", ["primal", "dual"])
@pytest.mark.parametrize("name", MODELS)
def test_the_fit_is_the_minimum_with_noise_and_stays_it(name, representation):
    model = fitted(name, representation=representation, perturbation=NOISE)
    plain = fitted(name)
    assert np.abs(model.params_ - plain.params_).max() > 1e-3
    assert model.stationarity_.relative < 1e-6
    assert model.budget_remaining_ == pytest.approx(NOISE.limit)
    # The gradient without the noise is minus the noise, before and after edits.
    noise = model._objective.linear

    def gradient(model):
        return model._objective.with_linear(None).with_(params=model.params_).gradient()

    np.testing.assert_allclose(gradient(model), -noise, atol=1e-8)
    case = MODELS[name][1]
    model.unlearn(ROWS).update([1], case.X_test[:1], case.y_test[:1]).extend(case.X_test[1:3], case.y_test[1:3])
    np.testing.assert_allclose(gradient(model), -noise, atol=1e-8)
    assert 0 < NOISE.limit - model.budget_remaining_ < 1e-9
    assert len(model.influence_on_params()) == len(model.sample_indices_)
    reread = pickle.loads(pickle.dumps(model))
    assert reread.budget_remaining_ == model.budget_remaining_
    assert reread.unlearn([5]).budget_remaining_ > 0


def test_a_spent_budget_is_refused_and_a_refit_has_another():
    model = fitted("binary", perturbation=ObjectivePerturbation(1.0, 1e-5, sigma=1e-3, random_state=0))
    rows = range(0, 40, 2)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=r"budget is spent: the gradient left .* fit again on the retained rows"):
        model.unlearn(rows, max_iter=1)
    assert pickle.dumps(model) == before
    model.unlearn(rows)  # more steps leave no gradient
    assert model.budget_remaining_ > 0
    case = MODELS["binary"][1]
    assert model.fit(case.X, case.y, perturbation=NOISE).budget_remaining_ == pytest.approx(NOISE.limit)
    assert not hasattr(model.fit(case.X, case.y), "budget_remaining_")


def test_perturbations_that_cannot_be(monkeypatch):
    case = MODELS["binary"][1]
    with pytest.raises(TypeError, match=r"perturbation must be a privacy\.ObjectivePerturbation"):
        InfluenceEstimator(LogisticRegression()).fit(case.X, case.y, perturbation=1.0)
    with pytest.raises(ValueError, match="needs an L2 penalty"):
        InfluenceEstimator(LinearRegression()).fit(case.X, case.y, perturbation=NOISE)
    model = fitted("binary", perturbation=NOISE)
    with pytest.raises(ValueError, match="an epsilon and a delta of its own"):
        model.unlearn([1], **CLAIM)
    pipeline = InfluenceEstimator(make_pipeline(StandardScaler(), LogisticRegression()))
    pipeline.fit(case.X, case.y, perturbation=NOISE).unlearn([1])
    with pytest.raises(ValueError, match="another objective than the one that fit put noise into"):
        pipeline.unlearn([2], refit_transformers=True)
    monkeypatch.setattr(editing.newton, "minimise_anew", lambda objective, **_: (objective, _Unconverged()))
    with pytest.raises(ValueError, match="not minimised in 7 Newton steps"):
        fitted("binary", perturbation=NOISE)


class _Unconverged:
    converged, n_iter = False, 7
