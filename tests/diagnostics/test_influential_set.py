"""Influential sets by their own refits, by every subset of a small problem, and what stands against a set."""

import copy
import pickle
import warnings

import cases
import numpy as np
import pandas as pd
import pytest
import retraining
from contract import FAMILIES, every_family, fitted
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import LinAlgWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_influence import InfluenceEstimator
from sklearn_influence.diagnostics import most_influential_set
from sklearn_influence.quantities import ParameterQuantity, estimate

CHANGES = ("sign", "significance", "both")
NUMBERS = ("estimate", "standard_error", "predicted", "predicted_standard_error", "refit", "refit_standard_error")


def _line(result, change, which):
    """The number whose sign must turn, from the three definitions."""
    value, error = result[which], result["standard_error" if which == "estimate" else f"{which}_standard_error"]
    up = result.estimate > 0
    if change == "sign":
        return value
    return value - 1.96 * error if up == (change == "significance") else value + 1.96 * error


def _least_squares(X, y):
    """Estimates and classical standard errors, intercept last."""
    X = np.column_stack([X, np.ones(len(X))])
    beta = np.linalg.lstsq(X, y, rcond=None)[0]
    noise = ((y - X @ beta) ** 2).sum() / (len(y) - X.shape[1])
    return beta, np.sqrt(noise * np.diag(np.linalg.inv(X.T @ X)))


@pytest.fixture(scope="module")
def diabetes():
    case = cases.diabetes()
    return case, InfluenceEstimator(LinearRegression()).fit(case.X, case.y)


# -- by its own refits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_the_refit_has_the_other_conclusion(diabetes, change, greedy):
    case, model = diabetes
    n_found = 0
    for j in (0, 1, 2, 4, 8):
        result = most_influential_set(model, j, change=change, greedy=greedy)
        beta, error = _least_squares(case.X, case.y)
        assert_allclose([result.estimate, result.standard_error], [beta[j], error[j]], rtol=1e-9)
        kept = np.setdiff1d(np.arange(len(case.X)), result.tried)
        assert len(kept) == len(case.X) - len(result.tried) and len(result.tried) <= len(case.X) / 2
        beta, error = _least_squares(case.X[kept], case.y[kept])
        assert_allclose([result.refit, result.refit_standard_error], [beta[j], error[j]], rtol=1e-8)
        start, end = (_line(result, change, which) for which in ("estimate", "refit"))
        assert result.found == (start * end < 0)
        n_found += result.found
        assert_array_equal(result.indices, result.tried if result.found else [])
        if not greedy and result.found:
            assert start * _line(result, change, "predicted") < 0
    assert n_found == 5 if greedy else n_found >= 3


@pytest.mark.parametrize("change", CHANGES)
def test_the_prediction_is_the_sum_that_first_turns(diabetes, change):
    """One row less of the same order, and the sum of the influences has not turned yet."""
    _, model = diabetes
    result = most_influential_set(model, 1, change=change)
    first = copy.deepcopy(model).set_params(method="first_order")
    changes = first.influence_on_params(result.indices)[:, 1]
    assert_allclose(result.predicted, result.estimate + changes.sum(), rtol=1e-8)
    if change == "sign":
        assert (np.diff(np.abs(changes)) <= 1e-9).all()  # strongest first
        assert (result.estimate + changes[:-1].sum()) * result.estimate > 0 > result.predicted * result.estimate


def test_greedy_predicts_from_the_round_before(diabetes):
    _, model = diabetes
    result = most_influential_set(model, 4, greedy=True)
    before = copy.deepcopy(model).set_params(method="first_order").unlearn(result.indices[:-1])
    change = before.influence_on_params(result.indices[-1:])[0, 4]
    assert_allclose(result.predicted, before.params_[4] + change, rtol=1e-7)


@pytest.mark.parametrize("j, change", [(2, "sign"), (1, "both"), (2, "both")])
def test_greedily_one_row_at_a_time_then_some_together_and_no_more_than_needed(diabetes, j, change, monkeypatch):
    _, model = diabetes
    rounds, unlearn = [], InfluenceEstimator.unlearn

    def counted(self, indices):
        rounds.append(len(indices))
        return unlearn(self, indices)

    monkeypatch.setattr(InfluenceEstimator, "unlearn", counted)
    result = most_influential_set(model, j, change=change, greedy=True)
    before_last = np.cumsum(rounds)[:-1]
    assert sum(rounds) == len(result.indices) > 40 and rounds[:20] == [1] * 20
    assert rounds[20:-1] == [before // 10 for before in before_last[19:-1]]
    assert rounds[-1] < rounds[-2]  # as many as are predicted to do


@every_family
@pytest.mark.filterwarnings("ignore:.*did not converge", "ignore:.*singular", "ignore:Refining")
def test_every_family_by_retraining(name):
    """A coefficient's sign, one sorting and greedily: the refit is scikit-learn's, and `found` is about it."""
    family, model = FAMILIES[name], copy.deepcopy(fitted(name))
    pinned = family.pinned(model.estimator_)
    for greedy in (False, True):
        result = most_influential_set(model, 1, greedy=greedy)
        keep = np.ones(len(family.case.X), dtype=bool)
        keep[result.tried] = False
        assert result.found == (result.refit * result.estimate < 0) or "converge" in result.reason
        if result.found:
            truth = retraining.retrain(pinned, family.case.X, family.case.y, family.case.sample_weight, keep)[1]
            assert_allclose(result.refit, truth, rtol=1e3 * family.rtol, atol=1e-6 * abs(result.estimate))


@pytest.mark.parametrize("change", CHANGES)
def test_logistic_regression_with_standard_errors(change):
    case, plain = cases.diabetes_above_median(), LogisticRegression(C=np.inf)
    model = InfluenceEstimator(plain).fit(case.X, case.y)
    for j in (0, 2, 8):
        result = most_influential_set(model, j, change=change, greedy=j > 0)
        assert result.found and _line(result, change, "estimate") * _line(result, change, "refit") < 0
        kept = np.setdiff1d(np.arange(len(case.X)), result.indices)
        X = np.column_stack([case.X[kept], np.ones(len(kept))])
        theta = retraining.retrain(plain, case.X[kept], case.y[kept])
        p = 1 / (1 + np.exp(-X @ theta))
        error = np.sqrt(np.linalg.inv(X.T @ (X * (p * (1 - p))[:, None]))[j, j])
        assert_allclose([result.refit, result.refit_standard_error], [theta[j], error], rtol=1e-6)


def test_weights():
    """A row of weight 3 leaves whole, and its three copies are three rows."""
    case = cases.weighted(cases.tiny_regression())
    model = InfluenceEstimator(LinearRegression()).fit(case.X, case.y, case.sample_weight)
    for change in CHANGES:
        result = most_influential_set(model, 1, change=change, greedy=True)
        kept = np.setdiff1d(np.arange(40), result.tried)
        refit = LinearRegression().fit(case.X[kept], case.y[kept], case.sample_weight[kept])
        assert_allclose(result.refit, refit.coef_[1], rtol=1e-8)
        assert result.found == (_line(result, change, "estimate") * _line(result, change, "refit") < 0)


# -- the smallest ------------------------------------------------------------------------------------------------------


def _every_subset(x, y):
    """Slopes without each subset that keeps half of the rows, and the subsets, (2**n, n)."""
    n = len(x)
    left = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(float)
    left = left[left.sum(axis=1) >= n / 2]
    size = left.sum(axis=1)
    mean_x, mean_y = left @ x / size, left @ y / size
    slope = (left @ (x * y) - size * mean_x * mean_y) / (left @ x**2 - size * mean_x**2)
    return slope, n - size


def test_against_every_subset():
    """Of 12 rows: no set smaller than the smallest, and greedily nearly always that one."""
    smallest, greedy, at_once = [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=12)
        y = 0.4 * x + rng.normal(size=12)
        slopes, removed = _every_subset(x, y)
        model = InfluenceEstimator(LinearRegression()).fit(x[:, None], y)
        turned = slopes * model.params_[0] < 0
        smallest.append(removed[turned].min() if turned.any() else np.inf)
        for sizes, flag in ((greedy, True), (at_once, False)):
            result = most_influential_set(model, 0, greedy=flag)
            sizes.append(len(result.indices) if result.found else np.inf)
    smallest, greedy, at_once = map(np.array, (smallest, greedy, at_once))
    assert (greedy >= smallest).all() and (at_once >= greedy).all()
    assert (greedy == smallest).mean() >= 0.9
    assert (at_once > greedy).sum() >= 5 and (at_once == greedy).sum() >= 5


def test_rows_that_mask_each_other():
    """Three rows far out hold the slope up together: each alone seems to do little, since the others stand by it."""
    rng = np.random.default_rng(0)
    x = np.append(np.linspace(-1, 1, 20), [8.0, 8.2, 7.9])
    y = np.append(-x[:20] + 0.1 * rng.normal(size=20), [8.0, 8.1, 8.0])
    model = InfluenceEstimator(LinearRegression()).fit(x[:, None], y)
    at_once, greedy = (most_influential_set(model, 0, greedy=flag) for flag in (False, True))
    assert not at_once.found and "no set is predicted to: all that pull that way, 14 of 23 rows" in at_once.reason
    assert greedy.found and sorted(greedy.indices) == [20, 21, 22]
    assert_allclose(greedy.refit, np.polyfit(x[:20], y[:20], 1)[0])


# -- functions of outputs ---------------------------------------------------------------------------------------------


def test_a_prediction_a_gap_and_a_held_out_loss(diabetes):
    case, _ = diabetes
    model = InfluenceEstimator(Ridge(alpha=1.0), method="newton").fit(case.X, case.y)
    young = case.X_test[:, 0] < 0
    loss = np.mean((case.y_test - model.predict(case.X_test)) ** 2)
    targets = [
        (lambda f: f[3] - 1.05 * model.predict(case.X_test)[3], case.X_test),
        (lambda f: f[young].mean() - f[~young].mean() + 25, case.X_test),
        (lambda f: np.mean((case.y_test - f) ** 2) - 0.98 * loss, case.X_test),
        (lambda f: f[:200].mean() - f[200:].mean(), None),
    ]
    for target, X in targets:
        for greedy in (False, True):
            result = most_influential_set(model, target, greedy=greedy, X=X)
            assert result.found, result.reason
            kept = np.setdiff1d(np.arange(len(case.X)), result.indices)
            refit = Ridge(alpha=1.0).fit(case.X[kept], case.y[kept])
            truth = target(refit.predict(case.X if X is None else X))
            assert_allclose(result.refit, truth, rtol=1e-6, atol=1e-8)
            assert truth * result.estimate < 0 and np.isnan(result.refit_standard_error)


def test_through_a_pipeline_by_name_and_by_raw_rows(diabetes):
    case, plain = diabetes
    columns = [f"c{j}" for j in range(case.X.shape[1])]
    frame = pd.DataFrame(10 + 3 * case.X, columns=columns)
    model = InfluenceEstimator(make_pipeline(StandardScaler(), LinearRegression())).fit(frame, case.y)
    by_name = most_influential_set(model, "c4", change="significance")
    assert_array_equal(by_name.indices, most_influential_set(plain, 4, change="significance").indices)
    scaled = StandardScaler().fit(frame)
    result = most_influential_set(model, lambda f: f[0] - f[1], X=frame[:2])
    kept = np.setdiff1d(np.arange(len(frame)), result.tried)
    refit = LinearRegression().fit(scaled.transform(frame)[kept], case.y[kept])
    assert_allclose(result.refit, -np.diff(refit.predict(scaled.transform(frame[:2])))[0], rtol=1e-8)


# -- conduct ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("greedy", [False, True])
def test_the_model_is_left_as_it_is(greedy):
    case = cases.tiny_classification()
    model = InfluenceEstimator(LogisticRegression(), solver="cg").fit(case.X, case.y).unlearn([5])
    model.influence_on_params([0])
    before, info = pickle.dumps(model), model.solve_info_
    result = most_influential_set(model, 2, greedy=greedy)
    assert pickle.dumps(model) == before and model.solve_info_ is info and model.method == "newton"
    assert result.found and 5 not in result.indices  # numbers of the rows given to fit
    assert_allclose(result.refit, copy.deepcopy(model).unlearn(result.indices).params_[2], rtol=1e-9)


def test_no_class_is_left_without_rows():
    X = np.array([[0.0], [0.2], [1.0], [1.3], [0.9], [1.1], [3.0]])
    model = InfluenceEstimator(LogisticRegression()).fit(X, list("bbaaaaa"))
    for greedy in (False, True):
        result = most_influential_set(model, lambda f: f[0] + 5, greedy=greedy, max_fraction=0.9)
        assert not result.found and len(set(result.tried) & {0, 1}) < 2
    assert "no row of class b would be left" in result.reason


def test_max_fraction(diabetes):
    _, model = diabetes
    needed = len(most_influential_set(model, 1).indices)
    for greedy in (False, True):
        result = most_influential_set(model, 1, max_fraction=0.02, greedy=greedy)
        assert (
            not result.found and len(result.indices) == 0 and "max_fraction=0.02 lets no more than 6" in result.reason
        )
        assert len(result.tried) == (6 if greedy else 0)
    n = len(model.sample_indices_)
    assert most_influential_set(model, 1, max_fraction=needed / n).found
    assert not most_influential_set(model, 1, max_fraction=(needed - 0.5) / n).found


def test_nothing_dropped_has_the_numbers_of_the_model(diabetes):
    _, model = diabetes
    result = most_influential_set(model, 1, max_fraction=0.02)
    assert result.refit == result.predicted == result.estimate
    assert result.refit_standard_error == result.predicted_standard_error == result.standard_error


def test_a_parameter_that_the_rows_left_do_not_decide_is_no_other_conclusion():
    """Without both rows of a category its coefficient is anything; the slope beside it is not."""
    rng = np.random.default_rng(15)
    X = np.zeros((10, 2))
    X[:2] = [1, 1], [1, 2]
    X[2:, 1] = 0.25 * rng.normal(size=8)
    y = X @ [0.3, 1.0] + 0.3 * rng.normal(size=10)
    y[1] += 1
    model = InfluenceEstimator(LinearRegression(fit_intercept=False)).fit(X, y)
    with pytest.warns(LinAlgWarning, match="singular"):
        result = most_influential_set(model, 0, max_fraction=0.9)
    assert not result.found and sorted(result.tried) == [0, 1] and "not unique any more" in result.reason
    with pytest.warns(LinAlgWarning, match="singular"):
        slope = estimate(copy.deepcopy(model).unlearn([0, 1]), ParameterQuantity(1))
    assert slope.unique and slope.value == pytest.approx(X[2:, 1] @ y[2:] / (X[2:, 1] @ X[2:, 1]))


def test_rounding_of_rows_that_are_fitted_exactly_is_no_pull():
    case = cases.tiny_regression(9, 5)
    model = InfluenceEstimator(LinearRegression()).fit(case.X, case.y)
    for j in (0, 2, 3):
        result = most_influential_set(model, j, greedy=True, max_fraction=0.9)
        assert not result.found and len(result.tried) == 3 and "no row moves it to first order" in result.reason


def test_a_refit_without_an_optimum_is_no_other_conclusion():
    x = np.array([-3, -2, -1, -0.5, 0.4, 1, 2, 3, -0.2, 0.3])
    y = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 0])
    model = InfluenceEstimator(LogisticRegression(C=np.inf)).fit(x[:, None], y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = most_influential_set(model, lambda f: 100 - f[7], greedy=True)
    assert not result.found and "does not converge" in result.reason


def test_a_coefficient_at_0_has_no_other_sign():
    """Without the rows of a column that is 0 elsewhere, a penalised coefficient is 0 or some rounding around it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    X[:, 2] = np.append([1.0, 1.5], np.zeros(28))
    y = X @ [1.0, 1.0, 2.0] + 0.1 * rng.normal(size=30)
    model = InfluenceEstimator(Ridge()).fit(X, y)
    result = most_influential_set(model, 2, greedy=True)
    assert not result.found and set(result.tried) == {0, 1} and "no row moves it" in result.reason


def test_a_prediction_that_the_refit_does_not_confirm_is_no_set():
    """A parabola, whose tangent passes 0 where the parabola does not."""
    case = cases.tiny_regression()
    model = InfluenceEstimator(Ridge()).fit(case.X, case.y)
    before = model.predict(case.X)[0]
    result = most_influential_set(model, lambda f: (f[0] - before + 0.1) ** 2 + 1e-4)
    assert not result.found and len(result.indices) == 0 and result.predicted < 0 < result.refit
    assert "are predicted to take" in result.reason and "greedy=True" in result.reason
    after = copy.deepcopy(model).unlearn(result.tried).predict(case.X)[0]
    assert_allclose(result.refit, (after - before + 0.1) ** 2 + 1e-4)


def test_no_degree_of_freedom_is_used_up():
    case = cases.tiny_regression(9, 5)
    model = InfluenceEstimator(LinearRegression()).fit(case.X, case.y)
    for j in (1, 2, 3):
        result = most_influential_set(model, j, change="significance", greedy=True, max_fraction=0.9)
        assert len(result.tried) == 2 and np.isfinite(result.refit_standard_error)
        assert not result.found and "no degree of freedom would be left" in result.reason


def test_what_has_no_sign_and_what_no_row_moves():
    case = cases.tiny_regression()
    model = InfluenceEstimator(LinearRegression()).fit(case.X, case.y)
    assert "no sign to change" in most_influential_set(model, lambda f: 0 * f[0]).reason
    for greedy in (False, True):
        result = most_influential_set(model, lambda f: np.mean(f > 0) + 1, greedy=greedy)
        assert not result.found and "the target is constant there" in result.reason


def test_bunch(diabetes):
    _, model = diabetes
    result = most_influential_set(model, 0)
    assert set(result) == {"indices", "found", "reason", "tried", *NUMBERS}
    assert all(type(result[name]) is float for name in NUMBERS) and type(result.found) is bool
    assert result.indices.dtype.kind == "i" and result.reason.startswith(f"without {len(result.indices)} of 309 rows")


def _two_names():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
    pipe = make_pipeline(StandardScaler().set_output(transform="default"), LinearRegression())
    return InfluenceEstimator(pipe).fit(X, X["a"] + np.arange(20))


BAD = {
    "name": (
        dict(target="z"),
        ValueError,
        "'z' is no parameter of the model; param_names_ holds 'a', 'b', 'intercept'",
    ),
    "position": (dict(target=3), ValueError, "0 to 2, got 3"),
    "negative": (dict(target=-1), ValueError, "0 to 2, got -1"),
    "flag": (dict(target=True), TypeError, "a name in param_names_ or a callable, got True"),
    "float": (dict(target=1.0), TypeError, "got 1.0"),
    "change": (dict(change="size"), ValueError, "'sign', 'significance', 'both', got 'size'"),
    "fraction of 0": (dict(max_fraction=0), ValueError, "above 0 and below 1, got 0"),
    "fraction of 1": (dict(max_fraction=1.0), ValueError, "below 1, got 1.0"),
    "fraction nan": (dict(max_fraction=np.nan), ValueError, "below 1, got nan"),
    "greedy": (dict(greedy=1), ValueError, "greedy must be True or False"),
    "X of a parameter": (dict(X=np.zeros((1, 2))), ValueError, "X is for a callable target"),
    "X too wide": (dict(target=np.sum, X=np.zeros((1, 3))), ValueError, "features"),
    "error of a callable": (dict(target=np.sum, change="both"), ValueError, "a callable target has none"),
    "several numbers": (dict(target=lambda f: f), TypeError, r"one real number, got float64 of shape \(20,\)"),
    "text": (dict(target=lambda f: "a"), TypeError, "one real number, got str_"),
    "not finite": (dict(target=lambda f: np.inf), ValueError, "finite number, got inf"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_bad_input(name):
    options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        most_influential_set(_two_names(), **{"target": 0, **options})


def test_models_that_cannot_say():
    case = cases.tiny_regression()
    with pytest.raises(TypeError, match=r"must be a fitted InfluenceEstimator, got Ridge\(\)"):
        most_influential_set(Ridge().fit(case.X, case.y), 0)
    with pytest.raises(ValueError, match="not fitted"):
        most_influential_set(InfluenceEstimator(Ridge()), 0)
    with pytest.raises(ValueError, match=r"'significance' needs a standard error: a penalised .* \(alpha=0,"):
        most_influential_set(InfluenceEstimator(Ridge()).fit(case.X, case.y), 0, change="significance")
