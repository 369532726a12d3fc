"""The audit against what the normal distribution says it must find, against retraining, and on real data."""

import copy
import sys

import cases
import numpy as np
import pandas as pd
import pytest
import retraining
from scipy import sparse
from scipy.stats import binomtest, norm
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import unlearning_audit
from sklearn_influence.privacy import gaussian_delta, gaussian_sigma

module = sys.modules["sklearn_influence.diagnostics.unlearning_audit"]

BINARY = LogisticRegression(C=0.5, max_iter=1000), cases.first_rows(cases.breast_cancer(), 250)
SOFTMAX = LogisticRegression(max_iter=1000), cases.wine()
RIDGE = Ridge(2.0), cases.first_rows(cases.diabetes(), 200)
NO_UPDATE, FIRST, ONE, CONVERGED = range(4)
CLAIM = dict(epsilon=1.0, delta=1e-5)


def fitted(problem, **options):
    estimator, case = problem
    return InfluenceEstimator(estimator, **options).fit(case.X, case.y)


def audit(problem, indices, **options):
    case = problem[1]
    return unlearning_audit(fitted(problem), indices, case.X, case.y, **CLAIM | dict(random_state=0) | options)


@pytest.mark.parametrize("problem", [BINARY, SOFTMAX, RIDGE], ids=["binary", "softmax", "ridge"])
def test_what_is_caught(problem):
    """No update always, first order and one step unless they are the refit, the converged model never."""
    rng = np.random.default_rng(0)
    removals = [rng.permutation(len(problem[1].y))[:size] for size in (1, 5, 20)]
    found = audit(problem, removals, n_trials=3000)
    assert found.auc.shape == found.epsilon_lower.shape == found.distance.shape == (3, 4)
    assert found.param_bound.shape == (3,)
    caught = [NO_UPDATE, FIRST] if problem is RIDGE else [NO_UPDATE, FIRST, ONE]
    for method in caught:
        if method == ONE:  # a single row's step can be as good as the noise
            assert (found.auc[1:, ONE] >= 0.99).all()
            continue
        assert (found.auc[:, method] >= 0.99).all()
        assert (found.epsilon_lower[:, method] > CLAIM["epsilon"]).all()
    assert (found.epsilon_lower[:, CONVERGED] <= CLAIM["epsilon"]).all()
    assert (np.abs(found.auc[:, CONVERGED] - 0.5) < 0.05).all()
    assert (found.distance[:, CONVERGED] <= found.param_bound + 1e-12).all()
    assert (found.distance[:, NO_UPDATE] > found.distance[:, FIRST]).all()
    assert found.sigma == gaussian_sigma(1.0, 1e-5, 1e-8)


@pytest.mark.parametrize("problem", [BINARY, SOFTMAX, RIDGE], ids=["binary", "softmax", "ridge"])
def test_distances_are_those_from_a_retrain(problem):
    estimator, case = problem
    rows = np.arange(0, 30, 3)
    keep = np.ones(len(case.y), dtype=bool)
    keep[rows] = False
    truth = retraining.retrain(estimator, case.X, case.y, keep=keep)
    model = fitted(problem)
    first = copy.deepcopy(model).set_params(method="first_order").influence_on_params(rows).sum(axis=0)
    found = audit(problem, rows, n_trials=100)
    q = 1 if problem is not SOFTMAX else 3
    for method, params in ((NO_UPDATE, model.params_), (FIRST, model.params_ + first)):
        away = retraining.gauge_free(params - truth, q, case.X.shape[1])
        assert found.distance[method] == pytest.approx(np.linalg.norm(away), rel=1e-7)


def simulated(distance, sigma, n_trials, rng, n_params=3):
    params, truth = np.zeros((2, n_params))
    params[0] = distance
    away = params - truth
    return [module._scores(side, params, truth, away, sigma, n_trials, rng) for side in (params, truth)]


@pytest.mark.parametrize("epsilon, delta", [(0.5, 0.05), (1.0, 1e-5)])
def test_the_lower_bound_holds_as_often_as_it_says(epsilon, delta):
    """At exactly the distance that the noise is made for, which is as far as the claim lets a model be."""
    rng, n_runs = np.random.default_rng(1), 100
    sigma = gaussian_sigma(epsilon, delta, 1.0)
    for n_trials in (200, 2000):
        lower = np.array(
            [module._epsilon_lower(*simulated(1.0, sigma, n_trials, rng), delta, 0.9) for _ in range(n_runs)]
        )
        assert binomtest(int((lower > epsilon).sum()), n_runs, 0.1, alternative="greater").pvalue > 1e-3
    # The truth is an epsilon of its own for each delta: half of it is found even so.
    assert delta < 0.01 or np.median(lower) > 0.4 * epsilon


def test_thresholds_are_not_chosen_on_the_trials_that_judge_them():
    """Of models that are the same nothing is found; the best threshold of the judging half would show something."""
    rng = np.random.default_rng(4)
    found = [module._epsilon_lower(*rng.standard_normal((2, 1000)), 1e-9, 0.5) > 0 for _ in range(100)]
    assert np.mean(found) < 0.15


def test_the_gauge_gives_nothing_away():
    """A softmax model whose intercepts are all 5 higher is the same model, and unlearning keeps them higher."""
    case = SOFTMAX[1]
    shifted = LogisticRegression(max_iter=1000).fit(case.X, case.y)
    shifted.intercept_ = shifted.intercept_ + 5.0
    model = InfluenceEstimator(FrozenEstimator(shifted)).fit(case.X, case.y)
    assert model.params_[-3:].mean() > 4.9
    found = unlearning_audit(model, [0, 1], case.X, case.y, **CLAIM, n_trials=500, random_state=0)
    plain = audit(SOFTMAX, [0, 1], n_trials=100)
    np.testing.assert_allclose(found.distance[:CONVERGED], plain.distance[:CONVERGED], rtol=1e-6)
    assert found.distance[CONVERGED] < 1e-9
    assert 0.4 < found.auc[CONVERGED] < 0.6


def test_a_claim_that_the_noise_does_not_keep_is_refuted():
    rng, epsilon, delta = np.random.default_rng(2), 1.0, 0.01
    sigma = gaussian_sigma(epsilon, delta, 1.0)
    assert gaussian_delta(epsilon, sigma, 3.0) > 30 * delta
    for sign in (1.0, -1.0):
        scores = simulated(3.0, sigma, 20_000, rng)
        scores = scores if sign > 0 else [-scores[1], -scores[0]]  # the same pair, seen from the other side
        assert module._epsilon_lower(*scores, delta, 0.95) > 2.0


def test_either_side_may_give_it_away():
    """Scores of which only low ones say anything, and then only high ones."""
    rng = np.random.default_rng(3)
    right, wrong = rng.random((2, 4000))
    wrong[:400] -= 1.0
    wrong = rng.permutation(wrong)
    assert module._epsilon_lower(right, wrong, 1e-5, 0.95) > 3.0
    assert module._epsilon_lower(-wrong, -right, 1e-5, 0.95) > 3.0
    assert module._epsilon_lower(wrong, right, 1e-5, 0.95) == 0.0


def test_bounds_of_shares_are_those_of_clopper_and_pearson():
    n, level, delta = 40, 0.0125, 1e-3
    right, wrong = np.zeros((2, n))
    for hits, misses in ((0, 0), (40, 0), (17, 3), (40, 40), (1, 39)):
        right[:] = wrong[:] = 0.0
        right[:hits] = wrong[:misses] = 2.0
        low = binomtest(hits, n).proportion_ci(1 - 2 * level, method="exact").low
        high = binomtest(misses, n).proportion_ci(1 - 2 * level, method="exact").high
        expected = np.log((low - delta) / high) if low > delta else -np.inf
        assert module._log_ratios(right, wrong, np.array([1.0]), delta, level)[0] == pytest.approx(expected, rel=1e-9)


def test_the_auc_is_that_of_two_normal_laws():
    """Phi(distance / (sigma sqrt 2)), for noise so large that nothing is certain."""
    distance = audit(RIDGE, [0, 1, 2], n_trials=100).distance[NO_UPDATE]
    bound = distance / 3
    found = audit(RIDGE, [0, 1, 2], bound=bound)
    expected = norm.cdf(distance / (found.sigma * np.sqrt(2)))
    assert 0.6 < expected < 0.8
    assert found.auc[NO_UPDATE] == pytest.approx(expected, abs=0.015)


@pytest.mark.filterwarnings("ignore:The model is not at a minimum")
def test_models_of_every_make():
    """Pipelines, frames, sparse rows, weights, frozen models, models that have lost rows already."""
    case = BINARY[1]
    rows = [2, 3, 30, 31]
    raw = 3 * case.X + 7
    weight = np.random.default_rng(0).uniform(0.5, 2, len(case.y))
    plain = LogisticRegression(max_iter=1000)
    pipeline = InfluenceEstimator(make_pipeline(StandardScaler(), plain))
    weighted = InfluenceEstimator(plain).fit(case.X, case.y, weight)
    edited = fitted(BINARY).unlearn([0, 1])
    frame = pd.DataFrame(case.X)
    names = np.array(["no", "yes"])[case.y]
    frozen = InfluenceEstimator(FrozenEstimator(plain.fit(case.X, case.y))).fit(case.X, case.y)
    for model, X, y, options in (
        (pipeline.fit(raw, case.y), raw, case.y, {}),
        (weighted, case.X, case.y, dict(sample_weight=weight)),
        (edited, case.X, case.y, {}),
        (frozen, case.X, case.y, {}),
        (fitted(BINARY, refine=False, method="first_order"), case.X, case.y, {}),
        (InfluenceEstimator(plain).fit(frame, list(names)), frame, list(names), {}),
        (InfluenceEstimator(plain).fit(sparse.csr_array(case.X), case.y), sparse.csr_array(case.X), case.y, {}),
    ):
        before = model.params_
        found = unlearning_audit(model, rows, X, y, **CLAIM, n_trials=500, random_state=0, **options)
        assert found.auc[NO_UPDATE] == 1.0
        assert found.distance[CONVERGED] < 1e-8
        assert found.epsilon_lower[CONVERGED] <= 1.0
        np.testing.assert_array_equal(model.params_, before)


def test_a_choice_by_cross_validation_that_changes_is_caught():
    """RidgeCV keeps what it chose with the rows; a refit chooses again."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.standard_normal(40)
    y[:4] *= -20.0
    model = InfluenceEstimator(RidgeCV(alphas=[0.1, 1e4])).fit(X, y)
    assert model.estimator_.alpha_ == 1e4 != RidgeCV(alphas=[0.1, 1e4]).fit(X[4:], y[4:]).alpha_
    found = unlearning_audit(model, np.arange(4), X, y, **CLAIM, n_trials=500, random_state=0)
    assert found.epsilon_lower[CONVERGED] > CLAIM["epsilon"]


def test_seeds_decide():
    one, again, other = (audit(BINARY, [4], n_trials=200, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.auc, again.auc)
    assert one.auc[CONVERGED] != other.auc[CONVERGED]
    mask = np.arange(len(BINARY[1].y)) == 4
    np.testing.assert_array_equal(audit(BINARY, mask, n_trials=200).auc, one.auc)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(X=BINARY[1].X[:-1]), "must hold the 250 rows that the model was fitted on, got 249 and 250"),
        (dict(X=BINARY[1].X + 0.1 * BINARY[1].X ** 2), "do not give the model: a refit on them is"),
        (dict(y=1 - BINARY[1].y), "do not give the model"),
        (dict(sample_weight=np.linspace(1, 2, 250)), "do not give the model"),
        (dict(indices=[]), "needs the rows to remove, got none"),
        (dict(indices=None), "needs the rows to remove, got none"),
        (dict(indices=[250]), "row numbers of the data given to fit, 0 to 249; got 250"),
        (dict(bound=1e-15), "param_bound=.* is above bound=1e-15: the claim would not be made"),
        (dict(bound=0.0), "bound must be a finite number > 0, got 0.0"),
        (dict(bound=np.inf), "must be a finite number >= 0, got inf"),
        (dict(epsilon=-1.0), "epsilon must be a finite number >= 0"),
        (dict(delta=0.0), "delta must be a number between 0 and 1"),
        (dict(n_trials=10), "n_trials must be an integer >= 100"),
        (dict(confidence=95), "confidence must be a number between 0 and 1"),
    ],
)
def test_refuses(change, message):
    options = dict(indices=[3], X=BINARY[1].X, y=BINARY[1].y) | CLAIM | change
    with pytest.raises(ValueError, match=message):
        unlearning_audit(fitted(BINARY), **options)


def test_cross_fitted_transformers_are_refused():
    rng = np.random.default_rng(0)
    town = rng.integers(0, 6, 200)
    y = (rng.random(200) < 0.2 + 0.1 * town).astype(int)
    X = pd.DataFrame({"town": np.array(list("abcdef"))[town]})
    model = InfluenceEstimator(make_pipeline(TargetEncoder(), LogisticRegression())).fit(X, y)
    with pytest.raises(ValueError, match="steps whose fit_transform is not their transform"):
        unlearning_audit(model, [0], X, y, **CLAIM)
