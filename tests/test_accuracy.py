"""What the numbers are worth: every kind of influence against exact retraining.

Errors are relative to the norm of the *change* that retraining makes, never to the parameters. The
truth is `retraining`, which shares no code with the package.
"""

import warnings
from functools import lru_cache

import cases
import numpy as np
import pytest
import retraining
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV

from sklearn_influence import InfluenceEstimator

pytestmark = pytest.mark.filterwarnings("ignore:.*[Ll]everage.*")


def _fitted(estimator, case, **options):
    return InfluenceEstimator(estimator, **options).fit(case.X, case.y, sample_weight=case.sample_weight)


def _without(case, rows):
    keep = np.ones(len(case.X), dtype=bool)
    keep[rows] = False
    return keep


def _error(approximate, exact):
    return np.linalg.norm(approximate - exact) / np.linalg.norm(exact)


def _row_errors(approximate, exact):
    return np.linalg.norm(approximate - exact, axis=1) / np.linalg.norm(exact, axis=1)


# ---------------------------------------------------------------------------------------------------
# Squared loss: the Newton step is exact
# ---------------------------------------------------------------------------------------------------
TINY, TARGETS = cases.tiny_regression(), cases.tiny_regression(n_targets=3)
SQUARED = {
    "ridge": (Ridge(alpha=2.0), TINY),
    "ridge diabetes": (Ridge(alpha=1.0), cases.diabetes()),
    "ridge weighted": (Ridge(alpha=2.0), cases.weighted(TINY)),
    "ridge no intercept": (Ridge(alpha=2.0, fit_intercept=False), TINY),
    "ridge collinear": (Ridge(alpha=0.5), cases.collinear(TINY)),
    "ridge uncentred": (Ridge(alpha=2.0), cases.uncentred(TINY)),
    "ridge wider than long": (Ridge(alpha=2.0), cases.tiny_regression(10, 15)),
    "ridge targets": (Ridge(alpha=2.0), TARGETS),
    "ridge alpha per target": (Ridge(alpha=np.array([0.1, 2.0, 50.0])), TARGETS),
    "ridge alpha per target weighted": (Ridge(alpha=np.array([0.1, 2.0, 50.0])), cases.weighted(TARGETS)),
    "ols": (LinearRegression(), TINY),
    "ols diabetes": (LinearRegression(), cases.diabetes()),
    "ols weighted": (LinearRegression(), cases.weighted(TINY)),
    "ols no intercept": (LinearRegression(fit_intercept=False), TINY),
    "ols uncentred": (LinearRegression(), cases.uncentred(TINY)),
    "ols targets": (LinearRegression(), TARGETS),
    "ols targets weighted": (LinearRegression(), cases.weighted(TARGETS)),
    "ols collinear": (LinearRegression(), cases.collinear(TINY)),
    "ridge cv": (RidgeCV(alphas=(0.3, 3.0, 30.0)), TINY),
    "ridge cv weighted": (RidgeCV(alphas=(0.3, 3.0, 30.0)), cases.weighted(TINY)),
}


@pytest.mark.filterwarnings("ignore:.*[Ss]ingular.*")
@pytest.mark.parametrize("name", SQUARED)
def test_squared_loss_single_rows_groups_and_unlearning_are_exact(name):
    estimator, case = SQUARED[name]
    model = _fitted(estimator, case)
    n, fitted = len(case.X), model.estimator_
    before = retraining.retrain(fitted, case.X, case.y, case.sample_weight)
    np.testing.assert_allclose(model.params_, before, rtol=0, atol=1e-9 * np.abs(before).max())

    rows = np.arange(0, n, max(1, n // 40))
    exact = retraining.loo_params(fitted, case.X, case.y, case.sample_weight, rows) - before
    single = _row_errors(model.influence_on_params(rows), exact)
    assert single.max() <= 1e-9, f"single rows: {single.max():.2e}"
    first = _row_errors(_fitted(estimator, case, method="first_order").influence_on_params(rows), exact)
    assert np.median(single) < np.median(first)

    labels = np.random.default_rng(0).permutation(np.arange(n) % 6)
    exact = np.array(
        [retraining.retrain(fitted, case.X, case.y, case.sample_weight, labels != label) - before for label in range(6)]
    )
    groups = _row_errors(model.influence_on_params(groups=labels), exact)
    assert groups.max() <= 1e-9, f"groups: {groups.max():.2e}"
    model.unlearn(np.flatnonzero(labels == 2))
    assert _error(model.params_ - before, exact[2]) <= 1e-9
    np.testing.assert_allclose(model.params_, retraining.flat_params(model.estimator_), rtol=1e-14)


@pytest.mark.parametrize("name", ["ridge weighted", "ridge targets", "ols", "ridge alpha per target"])
def test_squared_loss_outputs_and_losses_are_exact(name):
    """The test loss is evaluated at the shifted output, so it is as exact as the parameters."""
    estimator, case = SQUARED[name]
    model, q = _fitted(estimator, case), 1 if case.y.ndim == 1 else case.y.shape[1]
    rows = np.arange(10)
    before = retraining.retrain(estimator, case.X, case.y, case.sample_weight)
    after = retraining.loo_params(estimator, case.X, case.y, case.sample_weight, rows)
    f = retraining.outputs(before, case.X_test, q)
    moved = np.array([retraining.outputs(params, case.X_test, q) for params in after])
    assert _error(model.influence_on_output(case.X_test, rows), np.moveaxis(moved - f, 0, 1)) <= 1e-9
    exact = np.array([retraining.losses(case.y_test, g, "squared") for g in moved])
    exact = (exact - retraining.losses(case.y_test, f, "squared")).T
    assert _error(model.influence_on_loss(case.X_test, case.y_test, rows), exact) <= 1e-9


@pytest.mark.parametrize("case", [TINY, TARGETS, cases.weighted(TINY), cases.diabetes()], ids=repr)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_leave_one_out_errors_equal_those_of_ridge_cv(case, fit_intercept):
    """RidgeCV's errors come from its own closed form; weighted rows count s_i times the squared error."""
    search = RidgeCV(alphas=(0.5, 5.0), fit_intercept=fit_intercept, store_cv_results=True)
    model = _fitted(search, case)
    search.fit(case.X, case.y, sample_weight=case.sample_weight)
    cross_validated = search.cv_results_[..., list(search.alphas).index(search.alpha_)]
    left_out = model.estimator_.predict(case.X) + model.self_influence(on="output").reshape(case.y.shape)
    errors = (case.y - left_out) ** 2
    if case.sample_weight is not None:
        errors *= case.sample_weight
    np.testing.assert_allclose(errors, cross_validated, rtol=1e-9, atol=1e-9 * cross_validated.mean())
    own = np.diagonal(model.influence_on_output(), axis1=0, axis2=1).T.reshape(case.y.shape)
    np.testing.assert_allclose(own, left_out - model.estimator_.predict(case.X), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------------------------------
# Log loss, one row at a time
# ---------------------------------------------------------------------------------------------------
BINARY = {
    "breast cancer C=.01": (cases.breast_cancer(), 0.01, 0.005),
    "breast cancer C=1": (cases.breast_cancer(), 1.0, 0.18),
    "diabetes > median C=1": (cases.diabetes_above_median(), 1.0, 0.02),
    "digits 3 v 8 C=1": (cases.digits_3_v_8(), 1.0, 0.018),
}


@lru_cache
def _truth(case, C, class_weight=None, n_rows=None):
    """Parameters before, rows, and their exact leave-one-out changes; rows are a fixed sample or all."""
    estimator = LogisticRegression(C=C, class_weight=class_weight)
    n, q = len(case.X), retraining.output_shape(estimator, case.y)
    rows = np.arange(n) if n_rows is None else np.random.default_rng(0).permutation(n)[:n_rows]
    before = retraining.retrain(estimator, case.X, case.y, case.sample_weight, extended=True)
    after = retraining.loo_params(estimator, case.X, case.y, case.sample_weight, rows, extended=True)
    changes = retraining.gauge_free((after - before).astype(float), q, case.X.shape[1])
    return before.astype(float), rows, changes


def _changes(model, case, rows):
    q = 1 if len(model.classes_) == 2 else len(model.classes_)
    return retraining.gauge_free(model.influence_on_params(rows), q, case.X.shape[1])


def _exact_loss_changes(case, before, changes, q):
    base = retraining.losses(case.y_test, retraining.outputs(before, case.X_test, q), "log")
    after = [
        retraining.losses(case.y_test, retraining.outputs(before + change, case.X_test, q), "log") for change in changes
    ]
    return (np.array(after) - base).T


def _check_single_rows(case, C, class_weight, n_rows, params_error, allowed):
    """The common part: parameters within `allowed`, losses correlated, newton better than first order."""
    before, rows, exact = _truth(case, C, class_weight, n_rows)
    q = 1 if len(np.unique(case.y)) == 2 else len(np.unique(case.y))
    exact_loss = _exact_loss_changes(case, before, exact, q)
    figures = {}
    for method in ("newton", "first_order"):
        model = _fitted(LogisticRegression(C=C, class_weight=class_weight), case, method=method)
        loss = model.influence_on_loss(case.X_test, case.y_test, rows)
        mean = model.influence_on_loss(case.X_test, case.y_test, rows, aggregate="mean")
        figures[method] = {
            "params": params_error(_changes(model, case, rows), exact),
            "loss": _error(loss, exact_loss),
            "pairs": np.corrcoef(loss.ravel(), exact_loss.ravel())[0, 1],
            "mean": np.corrcoef(mean, exact_loss.mean(axis=0))[0, 1],
        }
    newton, first = figures["newton"], figures["first_order"]
    assert newton["params"] <= allowed, figures
    assert newton["params"] < first["params"] and newton["loss"] < first["loss"], figures
    return newton, first


@pytest.mark.parametrize("name", BINARY)
def test_single_rows_binary(name):
    case, C, allowed = BINARY[name]
    newton, first = _check_single_rows(case, C, None, None, _error, allowed)
    for kind in ("pairs", "mean"):
        assert newton[kind] >= 0.98 and newton[kind] > first[kind], (newton, first)


def _median_error(approximate, exact):
    return np.median(_row_errors(approximate, exact))


@pytest.mark.parametrize("case, n_rows", [(cases.digits(), 24), (cases.wine(), None)], ids=["digits, 24 rows", "wine"])
def test_single_rows_softmax(case, n_rows):
    newton, first = _check_single_rows(case, 1.0, None, n_rows, _median_error, 0.02)
    for kind in ("pairs", "mean"):
        assert newton[kind] >= 0.98 and newton[kind] > first[kind], (newton, first)


STEPPED = [
    (solver, options, n_classes)
    for solver in ("lbfgs", "liblinear", "newton-cholesky", "sag")
    for options in ({}, {"fit_intercept": False}, {"C": np.inf})
    for n_classes in (2, 3)
    if solver != "liblinear" or (n_classes == 2 and "C" not in options)
]


@pytest.mark.parametrize("solver, options, n_classes", STEPPED, ids=str)
def test_newton_is_the_step_that_its_definition_says(solver, options, n_classes):
    """One Newton step on the retained rows from the optimum, formed here densely, for rows and groups."""
    case = cases.tiny_classification(n_classes=n_classes)
    estimator = LogisticRegression(solver=solver, max_iter=10_000, **options)
    q, penalised = retraining.output_shape(estimator, case.y), retraining.penalties(estimator)[0] > 0
    start = retraining.retrain(estimator, case.X, case.y, extended=True)
    model = _fitted(estimator, case)

    def check(got, removals):
        steps = [retraining.one_step(estimator, case.X, case.y, None, _without(case, rows), start) for rows in removals]
        dense = np.array(steps)
        got, dense = (retraining.gauge_free(step, q, case.X.shape[1], penalised) for step in (got, dense))
        assert _row_errors(got, dense).max() <= 1e-8

    check(model.influence_on_params([4, 9]), [[4], [9]])
    labels = np.arange(len(case.X)) // 12
    check(model.influence_on_params(groups=labels), [labels == label for label in range(5)])


# ---------------------------------------------------------------------------------------------------
# Log loss, groups
# ---------------------------------------------------------------------------------------------------
def _group_errors(case, class_weight, share, n_groups, n_checked):
    """Errors of the package's one step, by group; of the dense step and of `unlearn` for the first of them."""
    estimator = LogisticRegression(class_weight=class_weight)
    before = retraining.retrain(estimator, case.X, case.y, case.sample_weight, extended=True)
    rng, n, parts = np.random.default_rng(0), len(case.X), round(1 / share)
    model = _fitted(estimator, case)
    one, dense, unlearned = [], [], []
    while len(one) < n_groups:
        labels = rng.permutation(np.arange(n) % parts)
        steps = model.influence_on_params(groups=labels)
        for label in range(min(parts, n_groups - len(one))):
            keep = labels != label
            args = (estimator, case.X, case.y, case.sample_weight, keep, before)
            exact = (retraining.retrain(*args, extended=True) - before).astype(float)
            one.append(_error(steps[label], exact))
            if len(unlearned) < n_checked:
                dense.append(_error(retraining.one_step(*args), exact))
                edited = _fitted(estimator, case).unlearn(np.flatnonzero(~keep))
                unlearned.append(_error((edited.params_ - before).astype(float), exact))
    return np.array(one), np.array(dense), np.array(unlearned)


SHARES = {"1 %": (0.01, 0.011), "5 %": (0.05, 0.04), "20 %": (0.2, 0.11)}


MISSED = pytest.mark.xfail(
    reason="the exact Newton step itself has a median of .113 +- .001 over 3000 groups", strict=True
)


@pytest.mark.parametrize("share", ["1 %", "5 %", pytest.param("20 %", marks=MISSED)])
def test_random_groups(share):
    """200 groups rather than 20: medians of 20 vary from draw to draw by a third of their size."""
    share, allowed = SHARES[share]
    one, _, _ = _group_errors(cases.breast_cancer_whole(), None, share, 200, 0)
    assert np.median(one) <= allowed, f"one step: {np.median(one):.4f}"


@pytest.mark.parametrize("kind", ["equal", "weighted", "balanced"])
@pytest.mark.parametrize("share", SHARES)
def test_random_groups_of_the_training_part(share, kind):
    """Here the definition itself can miss the figures for all rows (.122 for 20 %): it is held to the dense step."""
    share, allowed = SHARES[share]
    case = cases.weighted(cases.breast_cancer()) if kind == "weighted" else cases.breast_cancer()
    one, dense, unlearned = _group_errors(case, "balanced" if kind == "balanced" else None, share, 20, 20)
    np.testing.assert_allclose(one, dense, rtol=1e-5, atol=1e-9)
    assert unlearned.max() <= 1e-9, f"unlearn: {unlearned.max():.2e}"
    assert np.median(one) <= max(allowed, 1.00001 * np.median(dense)), f"one step: {np.median(one):.4f}"


# ---------------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("kind", ["weighted", "balanced"])
def test_weights_keep_the_accuracy(name, kind):
    """The unweighted bound, or where the dense Newton step itself misses it, that step's own error; on 150 rows.

    It misses where one row of weight 20 is a group of twenty, and for one outlier of balanced breast cancer.
    """
    case, C, allowed = BINARY[name]
    case = cases.weighted(case) if kind == "weighted" else case
    class_weight = "balanced" if kind == "balanced" else None
    before, rows, exact = _truth(case, C, class_weight, 150)
    estimator = LogisticRegression(C=C, class_weight=class_weight)
    dense = [
        retraining.one_step(estimator, case.X, case.y, case.sample_weight, _without(case, [row]), before)
        for row in rows
    ]
    newton, first = _check_single_rows(
        case, C, class_weight, 150, _error, max(allowed, 1.01 * _error(np.array(dense), exact))
    )
    assert newton["pairs"] >= 0.95, (newton, first)


@pytest.mark.parametrize(
    "method, class_weight", [("newton", None), ("newton", "balanced"), ("first_order", None)], ids=str
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_weight_is_as_many_rows(method, class_weight, n_classes):
    """A row of weight 20 has the influence of the group of its 20 copies."""
    case = cases.weighted(cases.tiny_classification(n_classes=n_classes))
    copies, origin = cases.repeated(case)
    estimator = LogisticRegression(class_weight=class_weight)
    model, repeated = (_fitted(estimator, c, method=method) for c in (case, copies))
    for ask, data in (
        ("influence_on_params", ()),
        ("influence_on_loss", (case.X_test, case.y_test)),
    ):
        expected = getattr(repeated, ask)(*data, groups=origin)
        got = getattr(model, ask)(*data, groups=np.arange(len(case.X)))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


# ---------------------------------------------------------------------------------------------------
# Scales and unfinished fits
# ---------------------------------------------------------------------------------------------------
def _matched(estimator, factor):
    """The estimator with the penalty that features times `factor` need for the same outputs."""
    params = estimator.get_params()
    if "C" in params:
        params["C"] = params["C"] / factor**2
        if params["solver"] == "liblinear":  # its intercept is penalised too
            params["intercept_scaling"] = params["intercept_scaling"] * factor
    elif "alpha" in params:
        params["alpha"] = params["alpha"] * factor**2
    return type(estimator)(**{name: value for name, value in params.items() if name not in ("penalty", "n_jobs")})


RESCALED = {
    "ridge": (Ridge(alpha=2.0), TARGETS),
    "ols": (LinearRegression(), cases.diabetes()),
    "binary": (LogisticRegression(), cases.breast_cancer()),
    "binary weighted": (LogisticRegression(), cases.weighted(cases.breast_cancer())),
    "liblinear": (LogisticRegression(solver="liblinear"), cases.tiny_classification()),
    "no intercept": (LogisticRegression(fit_intercept=False), cases.tiny_classification()),
    "softmax": (LogisticRegression(), cases.wine()),
    "unpenalised": (LogisticRegression(C=np.inf), cases.tiny_classification(n_classes=3)),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("method", ["newton", "first_order"])
@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("name", RESCALED)
def test_rescaled_features_leave_influence_on_loss(name, factor, method):
    estimator, case = RESCALED[name]
    expected = _fitted(estimator, case, method=method).influence_on_loss(case.X_test, case.y_test)
    scaled = cases.rescaled(case, factor)
    got = _fitted(_matched(estimator, factor), scaled, method=method).influence_on_loss(scaled.X_test, case.y_test)
    assert np.abs(got - expected).max() <= 1e-8 * np.abs(expected).max()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["ols", "unpenalised"])
def test_without_a_penalty_each_column_has_its_own_scale(name):
    estimator, case = RESCALED[name]
    scaled = cases.rescaled(case, 10.0 ** np.linspace(-3, 3, case.X.shape[1]))
    expected = _fitted(estimator, case).influence_on_loss(case.X_test, case.y_test)
    got = _fitted(estimator, scaled).influence_on_loss(scaled.X_test, case.y_test)
    assert np.abs(got - expected).max() <= 1e-8 * np.abs(expected).max()


def test_a_loose_fit_gives_the_influences_of_the_true_optimum():
    """Default lbfgs on unscaled breast cancer stops far away; the influences are the optimum's all the same."""
    case, estimator, rows = cases.breast_cancer_unscaled(), LogisticRegression(), np.arange(0, 398, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = _fitted(estimator, case)
        plain = LogisticRegression().fit(case.X, case.y)
    extended = retraining.retrain(estimator, case.X, case.y, extended=True)
    optimum = extended.astype(float)
    assert _error(retraining.flat_params(plain), optimum) > 0.1  # else there is nothing to show
    np.testing.assert_array_equal(model.predict_proba(case.X_test), plain.predict_proba(case.X_test))
    assert _error(model.params_, optimum) <= 1e-9
    step = [retraining.one_step(estimator, case.X, case.y, None, _without(case, [row]), extended) for row in rows]
    gap = np.linalg.norm(model.influence_on_params(rows) - step, axis=1)
    # The floor is what the oracle's own digits can tell of a row whose influence is 1e-11.
    assert np.all(gap <= 1e-8 * np.linalg.norm(step, axis=1) + 1e-17 * np.linalg.norm(optimum))
    expected = _exact_loss_changes(case, optimum, np.array(step), 1)
    got = model.influence_on_loss(case.X_test, case.y_test, rows)
    assert np.abs(got - expected).max() <= 1e-8 * np.abs(expected).max()
    np.testing.assert_array_equal(model.predict_proba(case.X_test), plain.predict_proba(case.X_test))
