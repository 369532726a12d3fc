"""Every family of estimators: weights, unlearning, settings, losses of one's own, warnings."""

import copy
import logging
import warnings

import cases
import numpy as np
import pytest
import retraining
from contract import BINARY, FAMILIES, LINE, ROWS, THREE, TIGHT, both_methods, close, dense, every_family, fitted
from scipy import sparse
from scipy.linalg import LinAlgWarning
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV

from sklearn_influence import InfluenceEstimator, losses, solvers

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*")


# ---------------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------------
@every_family
@both_methods
def test_rows_of_weight_zero_have_no_influence_and_equal_dropped_rows(name, method):
    family = FAMILIES[name]
    n = len(family.case.X)
    keep = np.ones(n, dtype=bool)
    keep[[5, 6, 7, 20]] = False
    weight = np.ones(n) if family.case.sample_weight is None else family.case.sample_weight
    if family.counts_rows:
        pytest.skip("a row of weight 0 counts for the class weights")
    estimator = family.pinned(fitted(name).estimator_)  # a search counts a row of weight 0 as a row
    model = family.fit(estimator=estimator, sample_weight=weight * keep, method=method)
    dropped = family.fit(keep, estimator=estimator, method=method)
    X, y = family.test
    rtol = max(1e-7, 10 * family.rtol)
    close(model.params_, dropped.params_, rtol)
    effect = model.influence_on_params()
    assert (effect[~keep] == 0).all()
    close(effect[keep], dropped.influence_on_params(), rtol)
    loss = model.influence_on_loss(X, y)
    assert (loss[:, ~keep] == 0).all()
    close(loss[:, keep], dropped.influence_on_loss(X, y), rtol)
    assert (model.self_influence()[~keep] == 0).all() and (model.leverages()[~keep] == 0).all()
    before = model.params_
    close(model.unlearn(np.flatnonzero(~keep)).params_, before, max(1e-9, family.rtol))
    assert model.certificate_.converged


@both_methods
@pytest.mark.parametrize("case", [BINARY, THREE], ids=repr)
def test_class_weights_equal_sample_weights(case, method):
    factors = {0: 2.0, 1: 0.25, 2: 3.0}
    factors = {label: factors[label] for label in np.unique(case.y)}
    by_class = InfluenceEstimator(LogisticRegression(class_weight=factors, **TIGHT), method=method).fit(case.X, case.y)
    by_row = InfluenceEstimator(LogisticRegression(**TIGHT), method=method)
    by_row.fit(case.X, case.y, sample_weight=[factors[label] for label in case.y])
    close(by_class.influence_on_params(), by_row.influence_on_params(), 1e-9)
    close(by_class.influence_on_loss(), by_row.influence_on_loss(), 1e-9)
    close(by_class.leverages(), by_row.leverages(), 1e-9)
    close(by_class.unlearn(ROWS).params_, by_row.unlearn(ROWS).params_, 1e-9)


@pytest.mark.parametrize("estimator", [Ridge(2.0), LogisticRegression(**TIGHT)], ids=["ridge", "logistic"])
def test_whole_weights_are_repeated_rows(estimator):
    case = cases.weighted(LINE if isinstance(estimator, Ridge) else BINARY)
    long, origin = cases.repeated(case)
    model = InfluenceEstimator(estimator).fit(case.X, case.y, sample_weight=case.sample_weight)
    repeated = InfluenceEstimator(estimator).fit(long.X, long.y)
    close(repeated.influence_on_params(groups=origin), model.influence_on_params(), 1e-8)
    first = [clone(m).set_params(method="first_order") for m in (model, repeated)]
    first[0].fit(case.X, case.y, sample_weight=case.sample_weight), first[1].fit(long.X, long.y)
    close(first[1].influence_on_params(groups=origin), first[0].influence_on_params(), 1e-8)


# ---------------------------------------------------------------------------------------------------
# Unlearning
# ---------------------------------------------------------------------------------------------------
@every_family
def test_unlearn_is_a_refit_and_rows_keep_their_numbers(name):
    family = FAMILIES[name]
    case, n = family.case, len(family.case.X)
    keep = np.ones(n, dtype=bool)
    keep[ROWS] = False
    model = family.fit()
    before = model.estimator_.coef_.copy()
    assert model.unlearn(ROWS) is model
    other = family.fit(keep, estimator=family.pinned(model.estimator_))
    rtol = max(1e-7, 10 * family.rtol)
    exact = retraining.retrain(model.estimator_, case.X, case.y, case.sample_weight, keep)
    close(family.off_gauge(model.params_), family.off_gauge(exact), max(1e-9, family.rtol))
    assert np.abs(model.estimator_.coef_ - before).max() > 1e-3
    flat = np.ravel(model.estimator_.coef_)
    flat = np.append(flat, np.ravel(model.estimator_.intercept_)) if model.estimator_.fit_intercept else flat
    np.testing.assert_array_equal(model.params_, flat)  # what estimator_ holds after an edit
    assert model.estimator_.coef_.dtype == other.estimator_.coef_.dtype
    assert np.shape(model.estimator_.intercept_) == np.shape(other.estimator_.intercept_)

    np.testing.assert_array_equal(model.sample_indices_, np.flatnonzero(keep))
    assert model.n_samples_fit_ == n
    X, y = family.test
    close(model.influence_on_params(), other.influence_on_params(), rtol)
    close(model.influence_on_loss(X, y), other.influence_on_loss(X, y), rtol)
    close(model.influence_on_loss(aggregate="mean"), other.influence_on_loss(aggregate="mean"), rtol)
    close(model.leverages(), other.leverages(), rtol, 1)
    numbers = np.flatnonzero(keep)
    close(model.influence_on_params([numbers[20], numbers[2]]), other.influence_on_params([20, 2]), rtol)
    mask = np.isin(np.arange(n), numbers[[2, 20]])
    close(model.influence_on_params(mask), other.influence_on_params([2, 20]), rtol)
    groups = np.arange(n) % 4
    close(model.influence_on_params(groups=groups), other.influence_on_params(groups=groups[keep]), rtol)
    top, same = model.top_influences(X, y, k=3), other.top_influences(X, y, k=3)
    close(top.influences, same.influences, rtol)
    assert not set(ROWS) & set(top.indices.ravel())
    if family.rtol < 1e-6:
        np.testing.assert_array_equal(top.indices, numbers[same.indices])
    alone = np.full(n, "the rest", dtype=object)
    alone[numbers[0]], alone[ROWS] = "first", "gone"
    if family.classifier:
        alone[numbers[1]], alone[numbers[2]] = "first", "first"
        alone[numbers[::2]] = "first"
        alone[ROWS] = "gone"
    assert len(model.influence_on_params(groups=alone)) == 2  # the labels still present

    certificate = model.certificate_
    names = (
        "param_bound gradient_norm newton_decrement r_nu valid converged n_iter n_removed n_updated n_added n_retained "
        "seconds remembers"
    )
    assert set(certificate) == set(names.split())
    assert certificate.converged and (certificate.n_removed, certificate.n_retained) == (4, n - 4)
    if certificate.valid:
        assert np.linalg.norm(family.off_gauge(model.params_ - exact)) <= certificate.param_bound
    assert bool(certificate.remembers) == (name.split()[0] == "ols" or name.endswith("cv"))


@every_family
def test_sequences_of_unlearn_equal_one_and_nothing_is_nothing(name):
    family = FAMILIES[name]
    once, twice = family.fit().unlearn(ROWS), family.fit()
    params = twice.estimator_.coef_.copy()
    assert twice.unlearn([]) is twice and not hasattr(twice, "certificate_")
    assert twice.unlearn(np.zeros(len(family.case.X), dtype=bool)) is twice
    np.testing.assert_array_equal(twice.estimator_.coef_, params)
    twice.unlearn(ROWS[:1]).unlearn(ROWS[1:])
    close(twice.params_, once.params_, max(1e-9, family.rtol))
    np.testing.assert_array_equal(twice.sample_indices_, once.sample_indices_)
    assert twice.certificate_.n_removed == 3
    certificate = twice.certificate_
    assert twice.unlearn([]).certificate_ is certificate
    X, y = family.test
    close(twice.influence_on_loss(X, y), once.influence_on_loss(X, y), max(1e-7, 10 * family.rtol))


@pytest.mark.parametrize("name", ["ridge targets", "multinomial", "liblinear"])
def test_unlearn_takes_the_true_curvature_whatever_the_settings(name):
    family = FAMILIES[name]
    exact = family.fit().unlearn(ROWS).params_
    for options in (dict(method="first_order"), dict(solver=solvers.Direct(damping=0.5)), dict(refine=False)):
        close(family.fit(**options).unlearn(ROWS).params_, exact, 1e-9)


def test_unlearn_out_of_iterations_says_so():
    model = FAMILIES["binary"].fit()
    exact = copy.deepcopy(model).unlearn(range(0, 40)).params_
    with pytest.warns(ConvergenceWarning, match=r"unlearn did not converge in 1 Newton steps: the decrement is \d"):
        model.unlearn(range(0, 40), max_iter=1)
    certificate = model.certificate_
    assert not certificate.converged and certificate.n_iter == 1
    assert len(model.sample_indices_) == 20
    distance = np.linalg.norm(model.params_ - exact)
    assert distance > 1e-6 and (not certificate.valid or distance <= certificate.param_bound)
    assert certificate.valid == np.isfinite(certificate.param_bound)


# ---------------------------------------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["binary", "multinomial", "liblinear"])
def test_refine_finds_the_optimum_and_its_absence_uses_the_fit(name):
    family = FAMILIES[name]
    loose = clone(family.estimator).set_params(tol=0.3, max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        refined, raw = family.fit(estimator=loose), family.fit(estimator=loose, refine=False)
    close(refined.influence_on_params(), fitted(name).influence_on_params(), 1e-7)
    own = np.append(np.ravel(raw.estimator_.coef_), np.ravel(raw.estimator_.intercept_))
    np.testing.assert_array_equal(raw.params_, own)
    assert np.abs(refined.params_ - own).max() > 1e-3
    np.testing.assert_array_equal(refined.estimator_.coef_, raw.estimator_.coef_)  # never touched
    assert refined.stationarity_ == raw.stationarity_ and raw.stationarity_.relative > 1
    with pytest.warns(
        ConvergenceWarning, match=r"not at a minimum.* [\d.]+ times .*threshold 1.*refine=True"
    ) as record:
        effect = raw.influence_on_params()
    assert f"{raw.stationarity_.relative:.3g}" in str(record[0].message)
    assert np.abs(effect - refined.influence_on_params()).max() > 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        family.fit(refine=False).influence_on_loss(aggregate="mean")  # a good fit needs no warning


@pytest.mark.parametrize("name", ["ols", "ols targets", "ridge", "ridge cv"])
def test_exact_fits_are_stationary_without_refinement(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = FAMILIES[name].fit(refine=False)
        close(model.influence_on_params(), fitted(name).influence_on_params(), 1e-8)
    assert model.stationarity_.relative < 1e-6


def test_no_false_alarm_where_the_residuals_are_rounding():
    """Targets that the model fits exactly: the gradient and the rows' influences are both rounding alone."""
    X = LINE.X
    model = InfluenceEstimator(LinearRegression(), refine=False).fit(X, X @ np.ones(X.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(model.influence_on_params()).max() < 1e-12


@every_family
def test_damping_works_and_voids_exactness(name):
    family, model = FAMILIES[name], fitted(name)
    rtol = max(1e-9, family.rtol)
    none = family.fit(solver=solvers.Direct())
    close(none.influence_on_params(ROWS), model.influence_on_params(ROWS), rtol)
    ref, p = dense(name), len(model.params_)
    H = ref.hessian()
    if family.representation == "dual":  # damping is relative to each parameter's own curvature
        with pytest.raises(ValueError, match=r"Direct\(damping=0.1\).*representation='dual'.*'primal'"):
            family.fit(solver=solvers.Direct(damping=0.1)).leverages()
    damped = family.fit(solver=solvers.Direct(damping=0.1), representation="auto")
    B = np.random.default_rng(1).normal(size=(p, 2))
    close(damped.curvature_solve(B), np.linalg.solve(H + 0.1 * np.diag(np.diag(H)), B), 10 * rtol)
    effect = damped.influence_on_params(ROWS)
    assert np.isfinite(effect).all()
    assert np.abs(effect - model.influence_on_params(ROWS)).max() > 1e-3 * np.abs(effect).max()
    assert np.isfinite(damped.influence_on_loss(groups=np.arange(len(family.case.X)) % 5)).all()
    close(damped.unlearn(ROWS).params_, family.fit().unlearn(ROWS).params_, max(1e-9, family.rtol))


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("name", ["ridge", "binary", "multinomial", "liblinear"])
def test_rescaled_features_and_penalty_change_nothing(name, factor):
    family = FAMILIES[name]
    estimator = clone(family.estimator)
    case = cases.rescaled(family.case, factor)
    if family.squared:
        estimator.set_params(alpha=family.estimator.alpha * factor**2)
    else:
        estimator.set_params(C=1 / factor**2)
    if name == "liblinear":  # keep C intercept_scaling**2, so that the intercept's penalty stays
        estimator.set_params(intercept_scaling=2.0 * factor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = InfluenceEstimator(estimator).fit(case.X, case.y)
    for ask in (
        lambda m, c: m.influence_on_loss(c.X_test, c.y_test),
        lambda m, c: m.influence_on_output(c.X_test),
        lambda m, c: m.self_influence(),
        lambda m, c: m.leverages(),
    ):
        close(ask(model, case), ask(fitted(name), family.case), 1e-8)


@pytest.mark.parametrize("X", [LINE.X, LINE.X.astype(np.float32), np.asfortranarray(LINE.X)], ids=["64", "32", "F"])
@pytest.mark.parametrize("estimator", [Ridge(2.0), LinearRegression(), RidgeCV()], ids=repr)
def test_copy_X_false_leaves_the_callers_array(estimator, X):
    mine, kept = X.copy(order="K"), X.copy(order="K")
    model = InfluenceEstimator(clone(estimator).set_params(**{"copy_X": False} if hasattr(estimator, "copy_X") else {}))
    model.fit(mine, LINE.y)
    model.unlearn([1])
    np.testing.assert_array_equal(mine, kept)
    same = InfluenceEstimator(estimator).fit(X, LINE.y).unlearn([1])
    close(model.influence_on_loss(LINE.X_test, LINE.y_test), same.influence_on_loss(LINE.X_test, LINE.y_test), 1e-6)


@every_family
def test_the_callers_objects_are_untouched(name):
    family = FAMILIES[name]
    case, X, y = family.case, family.container(family.case.X), family.case.y.copy()
    weight = np.linspace(1, 2, len(y))
    kept = [copy.deepcopy(thing) for thing in (X, y, weight)]
    settings = family.estimator.get_params()
    model = InfluenceEstimator(family.estimator).fit(X, y, sample_weight=weight)
    model.influence_on_loss(X, y, sample_weight=weight)
    model.unlearn([0, 3])
    for before, after in zip(kept, (X, y, weight), strict=True):
        difference = before != after
        assert not (difference.nnz if sparse.issparse(difference) else np.any(difference))
    assert repr(settings) == repr(family.estimator.get_params()) and not hasattr(family.estimator, "coef_")
    params = model.params_
    params[:] = 0.0
    assert model.params_.any(), "params_ handed out the model's own array"
    assert case.X.flags.writeable is False


# ---------------------------------------------------------------------------------------------------
# Losses of one's own, logs, warnings
# ---------------------------------------------------------------------------------------------------
class Absolute(losses.Loss):
    """Sum over outputs of |y - f|; classes count as their number."""

    def value(self, y, f):
        return np.abs(f - np.reshape(y, (len(f), -1))).sum(axis=1)

    def gradient(self, y, f):
        return np.sign(f - np.reshape(y, (len(f), -1)))


@every_family
@both_methods
def test_a_loss_of_ones_own(name, method):
    family, model, ref = FAMILIES[name], fitted(name, method), dense(name)
    X, y = family.test
    J, codes, loss = ref.jacobian(family.case.X_test), ref.encode(y), Absolute()
    f, df = ref.outputs(J), np.einsum("mqp,kp->mkq", J, model.influence_on_params(ROWS))
    if method == "newton":
        expected = np.stack([loss.value(codes, f + df[:, k]) - loss.value(codes, f) for k in range(4)], axis=1)
    else:
        expected = np.einsum("mq,mkq->mk", loss.gradient(codes, f), df)
    effect = model.influence_on_loss(X, y, ROWS, loss=loss)
    close(effect, expected, 10 * family.rtol)
    for aggregate in ("mean", "sum"):
        total = getattr(effect, aggregate)(axis=0)
        actual = model.influence_on_loss(X, y, ROWS, loss=loss, aggregate=aggregate)
        close(actual, total, 10 * family.rtol, np.abs(effect).max())


def test_squared_error_on_the_outputs_of_a_binary_model():
    """As a calibration of the margins: 0 and 1 against the decision function."""
    X, y = FAMILIES["binary"].test
    model = fitted("binary")
    f, df = model.decision_function(X), model.influence_on_output(X)
    expected = 0.5 * (f[:, None] + df - y[:, None]) ** 2 - 0.5 * (f - y)[:, None] ** 2
    close(model.influence_on_loss(X, y, loss=losses.SquaredError()), expected, 1e-6)


def test_verbose_logs_progress(caplog):
    model = FAMILIES["binary"].fit(verbose=1)
    with caplog.at_level(logging.INFO, logger="sklearn_influence"):
        model.influence_on_params()
        model.influence_on_loss()
    texts = [record.getMessage() for record in caplog.records if record.name == "sklearn_influence"]
    assert len(texts) == 2 and all("influence on" in text and "1 of 1" in text for text in texts)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="sklearn_influence"):
        model.set_params(verbose=0).influence_on_loss()
    assert not caplog.records


def test_nothing_is_printed(capsys):
    FAMILIES["binary"].fit().unlearn([1]).influence_on_loss(aggregate="mean")
    assert capsys.readouterr() == ("", "")


@pytest.mark.filterwarnings("default")
def test_warnings_carry_the_number_and_the_threshold():
    rng = np.random.default_rng(0)
    wide = InfluenceEstimator(LogisticRegression(C=10)).fit(rng.normal(size=(10, 30)), np.arange(10) % 2)
    largest = wide.leverages().max()
    assert largest > 0.5
    with pytest.warns(UserWarning, match=rf"leverage of {largest:.3g}.*, above 0.5:") as record:
        wide.influence_on_params()
    assert record[0].filename == __file__  # points at the caller
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide.set_params(method="first_order").influence_on_params()
        InfluenceEstimator(LinearRegression()).fit(LINE.X[:8], LINE.y[:8]).influence_on_params()

    case = cases.collinear(LINE)
    with pytest.warns(LinAlgWarning, match="singular: 2 of 8 directions"):
        InfluenceEstimator(LinearRegression()).fit(case.X, case.y).leverages()
    X, y = np.r_[-np.arange(1.0, 6), np.arange(1.0, 6)][:, None], np.repeat([0, 1], 5)
    with pytest.warns(ConvergenceWarning, match=r"did not converge in \d+ Newton steps \(decrement [\d.e+-]+\)"):
        InfluenceEstimator(LogisticRegression(C=np.inf)).fit(X, y).influence_on_params()


def test_softmax_gauge_is_not_warned_about():
    models = [FAMILIES[name].fit() for name in ("multinomial", "multinomial no intercept", "multinomial unpenalised")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in models:
            model.influence_on_loss(aggregate="mean")
            model.unlearn(ROWS).influence_on_params()
