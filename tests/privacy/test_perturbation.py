"""Objective perturbation: the identity that it stands on, when an optimum exists, and what its budget counts."""

import pickle
from dataclasses import FrozenInstanceError

import cases
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from sklearn_influence import certificates, editing, families, newton
from sklearn_influence.privacy import (
    ObjectivePerturbation,
    RemovalBudget,
    check_optimum,
    gauge_free,
    gaussian_delta,
    gaussian_noise,
    residual_norm,
)
from sklearn_influence.solvers import Direct

RIDGE = Ridge(0.5), cases.tiny_regression()
BINARY = LogisticRegression(C=0.5), cases.first_rows(cases.breast_cancer(), 200)
SOFTMAX = LogisticRegression(C=2.0), cases.wine()
LIBLINEAR = LogisticRegression(solver="liblinear"), cases.tiny_classification()
NO_INTERCEPT = LogisticRegression(fit_intercept=False), cases.tiny_classification(n_classes=3)
WIDE = LogisticRegression(), cases.tiny_classification(n_samples=30, n_features=60, n_classes=3)
PROBLEMS = [RIDGE, BINARY, SOFTMAX, LIBLINEAR, NO_INTERCEPT, WIDE]
NAMES = ["ridge", "binary", "softmax", "liblinear", "no intercept", "wide"]


def read(estimator, case):
    fitted = estimator.fit(case.X, case.y)
    return families.find_family(fitted).read(fitted, case.X, case.y, np.ones(len(case.y)))


def perturbed(problem, sigma=1.0, seed=0):
    noise = ObjectivePerturbation(epsilon=1.0, delta=1e-5, sigma=sigma, random_state=seed)
    return noise.perturb(read(*problem))


def minimum(objective):
    objective, info = newton.minimise(objective, solver=Direct())
    assert info.converged
    return objective, Direct().factor(objective.curvature())


def without_first(objective, factor, n, **limits):
    limits = dict(tol=1e-10, max_iter=50, as_written=lambda o: (o, 0.0), solver=Direct()) | limits
    removal = editing.Removal(np.arange(n))
    objective, factor, certificate = editing.edited_minimum(
        removal.apply(objective), removal, (objective, factor), **limits
    )
    return objective, factor or Direct().factor(objective.curvature()), certificate


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_what_is_left_of_the_gradient_is_a_shift_of_the_noise(problem):
    """Parameters with the gradient u minimise the objective with b - u exactly: what the claim stands on."""
    objective, factor = minimum(perturbed(problem))
    stopped, _, _ = without_first(objective, factor, 9, max_iter=1)
    u = stopped.gradient()
    assert residual_norm(stopped) == pytest.approx(np.linalg.norm(u), rel=1e-6, abs=1e-10)
    shifted, _ = minimum(stopped.with_linear(stopped.linear - gauge_free(stopped, u)).with_(params=0 * u))
    np.testing.assert_allclose(
        gauge_free(stopped, shifted.params), gauge_free(stopped, stopped.params), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_unlearning_keeps_the_noise_and_the_certificate_covers_it(problem):
    objective, factor = minimum(perturbed(problem))
    truth, own = minimum(objective.take(np.arange(objective.n_rows) >= 9).with_(params=0 * objective.params))
    slack = certificates.distance_bound(truth, own).param_bound
    assert slack < 1e-9
    plain, _ = minimum(truth.with_linear(None))
    assert np.linalg.norm(gauge_free(plain, truth.params - plain.params)) > 1e-3
    for max_iter in (1, 2, 50):
        unlearned, _, certificate = without_first(objective, factor, 9, max_iter=max_iter)
        away = np.linalg.norm(gauge_free(truth, unlearned.params - truth.params))
        assert away <= certificate.param_bound + slack
        if max_iter == 50:
            assert certificate.converged and certificate.valid and certificate.param_bound < 1e-8
            assert residual_norm(unlearned) < 1e-8


def test_the_profile_bound_minimises_over_a_free_intercept_with_its_noise():
    objective, _ = minimum(perturbed(BINARY, sigma=20.0))
    rng = np.random.default_rng(0)
    for size in (1e-6, 1e-3, 1.0):
        moved = objective.with_(params=objective.params + size * rng.standard_normal(objective.n_params))
        bound = certificates.distance_bound(moved, Direct().factor(moved.curvature()))
        assert bound.valid
        assert np.linalg.norm(moved.params - objective.params) <= bound.param_bound
    assert certificates._profile_bound(objective) < 1e-9


def test_what_steps_leave_does_not_add_up():
    """The gradient at the end is the total: less than the sum of what each removal had left, and gone with a few steps
    more."""
    objective, factor = minimum(perturbed(SOFTMAX))
    norms = []
    for _ in range(4):
        objective, factor, _ = without_first(objective, factor, 10, max_iter=1)
        norms.append(residual_norm(objective))
    assert norms[-1] < 0.6 * sum(norms)
    u = gauge_free(objective, objective.gradient())
    exact, _ = minimum(objective.with_linear(objective.linear - u))
    np.testing.assert_allclose(gauge_free(exact, exact.params - objective.params), 0.0, atol=1e-9)
    objective, _, _ = without_first(objective, factor, 10)
    assert residual_norm(objective) < 1e-9


def test_single_precision_is_part_of_what_is_left():
    objective, _ = minimum(perturbed(BINARY))
    rounded = objective.with_(params=objective.params.astype(np.float32).astype(float))
    assert residual_norm(objective) < 1e-10 < 1e-7 < residual_norm(rounded)


def test_noise_is_normal_off_the_gauge():
    for problem in (BINARY, SOFTMAX):
        objective, q = read(*problem), len(np.unique(problem[1].y))
        draws = np.array([gaussian_noise(objective, 0.3, seed) for seed in range(300)])
        coefficients = draws[:, : -objective.n_outputs]
        assert stats.kstest(coefficients.ravel() / 0.3, "norm").pvalue > 1e-3
        shift = draws[:, -objective.n_outputs :].sum(axis=1)
        if problem is SOFTMAX:
            np.testing.assert_allclose(shift, 0.0, atol=1e-12)
            assert draws[:, -1].std() == pytest.approx(0.3 * np.sqrt(1 - 1 / q), rel=0.2)
        else:
            assert shift.std() == pytest.approx(0.3, rel=0.2)
    assert not np.array_equal(gaussian_noise(objective, 0.3), gaussian_noise(objective, 0.3))


def test_gauge_free_keeps_the_probabilities():
    objective = read(*SOFTMAX)
    other = objective.with_(params=gauge_free(objective, objective.params + np.repeat([0.0, 7.0], [39, 3])))
    np.testing.assert_allclose(other.value(), objective.value())
    np.testing.assert_allclose(other.params, gauge_free(objective, objective.params), atol=1e-12)
    regression = read(*RIDGE)
    np.testing.assert_array_equal(gauge_free(regression, regression.params), regression.params)


@pytest.mark.parametrize("problem", [BINARY, SOFTMAX], ids=["binary", "softmax"])
def test_an_optimum_exists_up_to_the_weight_of_a_class(problem):
    objective = read(*problem)
    totals = objective.weighting.class_totals()
    for c in range(len(totals)):
        for share, exists in ((0.95, True), (1.05, False)):
            linear = np.zeros(objective.n_params)
            if len(totals) == 2:
                linear[-1] = share * totals[c] * (1 if c else -1)
            else:
                linear[-3:] = -share * totals[c] / 2
                linear[c - 3] = share * totals[c]
            tilted = objective.with_linear(linear)
            slopes = [  # of F far out along both ends of each intercept's axis, coefficients at 0
                np.sign(far) * tilted.with_(params=far * unit).gradient() @ unit
                for unit in _intercept_directions(tilted)
                for far in (-60.0, 60.0)
            ]
            assert (min(slopes) > 0) == exists
            if exists:
                check_optimum(tilted)
                continue
            with pytest.raises(ValueError, match=f"is not below the weight {totals[c]:.3g} of the rows of class"):
                check_optimum(tilted)


def _intercept_directions(objective):
    q = objective.n_outputs
    for c in range(q):
        unit = np.zeros(objective.n_params)
        unit[-q:] = -1.0 / q if q > 1 else 0.0
        unit[c - q] += 1.0
        yield unit


def test_an_optimum_exists_whatever_the_noise():
    """A penalised intercept, none, and squared loss balance any of it."""
    for problem in (RIDGE, LIBLINEAR, NO_INTERCEPT):
        minimum(perturbed(problem, sigma=1e3))
    with pytest.raises(ValueError, match="needs an L2 penalty on every coefficient"):
        perturbed((LinearRegression(), cases.tiny_regression()))
    with pytest.raises(ValueError, match="Choose a smaller sigma, or fit without an intercept"):
        perturbed(BINARY, sigma=1e6)


def test_the_limit_is_what_the_noise_hides():
    noise = ObjectivePerturbation(epsilon=0.7, delta=1e-6, sigma=2.5)
    assert gaussian_delta(0.7, 2.5, noise.limit) == pytest.approx(1e-6, rel=1e-10)
    assert gaussian_delta(0.7, 2.5, noise.limit * 1.001) > 1e-6
    assert noise.budget() == RemovalBudget(noise.limit, 0.0)
    assert pickle.loads(pickle.dumps(noise)) == noise
    objective = read(*BINARY)
    seeded = ObjectivePerturbation(0.7, 1e-6, 2.5, random_state=3)
    np.testing.assert_array_equal(seeded.perturb(objective).linear, gaussian_noise(objective, 2.5, 3))
    assert objective.linear is None


def test_a_budget_is_never_changed_in_place():
    budget = RemovalBudget(1.0)
    first = budget.spend(0.75)
    assert (budget.remaining, first.remaining, first.spend(0.5).remaining) == (1.0, 0.25, 0.5)
    for norm in (1.0000001, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"budget is spent: .* fit again on the retained rows"):
            first.spend(norm)
    assert first.spent == 0.75
    with pytest.raises(FrozenInstanceError):
        first.spent = 0.0


@pytest.mark.parametrize(
    "options, error", [((-1.0, 0.1, 1.0), ValueError), ((1.0, 0.0, 1.0), ValueError), ((1.0, 0.1, "1"), TypeError)]
)
def test_options_are_checked_at_once(options, error):
    with pytest.raises(error, match="must be a"):
        ObjectivePerturbation(*options)
