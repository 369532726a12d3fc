"""Sensitivity to inputs by finite differences of retraining; every other label by replacements and retraining."""

import warnings

import cases
import numpy as np
import pandas as pd
import pytest
import retraining
import sklearn
from contract import FAMILIES, LINE, ROWS, close, dense, every_family, fitted
from replaced import handed_over
from scipy import sparse
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_base import peak_of

from sklearn_influence import InfluenceEstimator, _backend
from sklearn_influence.losses import SquaredError

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*")
CLASSIFIERS = [name for name in FAMILIES if FAMILIES[name].classifier]


def slope_of_retraining(estimator, case, row, column, step=1e-4):
    """Central difference (n_params,) of the retrained parameters by one entry of the training rows."""
    up, down = case.X.astype(np.longdouble), case.X.astype(np.longdouble)
    up[row, column] += step
    down[row, column] -= step
    start = {}
    if isinstance(estimator, LogisticRegression):
        start = {"start": retraining.retrain(estimator, case.X, case.y, case.sample_weight, extended=True)}
    ends = [retraining.retrain(estimator, X, case.y, case.sample_weight, extended=True, **start) for X in (up, down)]
    return ((ends[0] - ends[1]) / (up[row, column] - down[row, column])).astype(float)


# ---------------------------------------------------------------------------------------------------
# Inputs
# ---------------------------------------------------------------------------------------------------
@every_family
def test_input_sensitivity_is_the_slope_of_retraining(name):
    family, model, ref = FAMILIES[name], fitted(name), dense(name)
    case, (X, y), d = family.case, family.test, family.case.X.shape[1]
    m, q, rtol = len(y), ref.q, max(1e-5, family.rtol)
    params = model.input_sensitivity(indices=ROWS, of="params")
    outputs = model.input_sensitivity(X, indices=ROWS, of="output")
    losses = model.input_sensitivity(X, y, ROWS)
    assert params.shape == (4, len(model.params_), d)
    assert outputs.shape == (m, 4, q, d) and losses.shape == (m, 4, d)
    weight = np.arange(m) + 0.5
    for how, given, expected in (
        ("sum", {}, losses.sum(axis=0)),
        ("mean", dict(sample_weight=weight), np.average(losses, axis=0, weights=weight)),
        (None, dict(sample_weight=weight), weight[:, None, None] * losses),
    ):
        close(model.input_sensitivity(X, y, ROWS, aggregate=how, **given), expected, max(1e-9, family.rtol))
    J = ref.jacobian(case.X_test)
    u = ref.slope(ref.encode(y), ref.outputs(J))
    for k, column in ((0, 1), (3, d - 1)):
        slope = slope_of_retraining(model.estimator_, case, ROWS[k], column)
        close(family.off_gauge(params[k, :, column]), family.off_gauge(slope), rtol)
        df = J @ slope
        if not family.squared and q > 1:  # outputs are known up to a common shift where it costs nothing
            shift = (df - outputs[:, k, :, column]).mean(axis=1, keepdims=True)
            df = df - shift
        close(outputs[:, k, :, column], df, rtol)
        close(losses[:, k, column], (u * df).sum(axis=1), rtol)


@every_family
def test_a_small_replacement_is_the_sensitivity_times_the_change(name):
    family = FAMILIES[name]
    if "float32" in name:
        pytest.skip("a small change of a float32 row is its rounding")
    step, rng = 1e-6, np.random.default_rng(0)
    change = step * rng.normal(size=(len(ROWS), family.case.X.shape[1]))
    given = handed_over(name, {"X_new": family.case.X[ROWS] + change})
    for method in ("newton", "first_order"):
        model = fitted(name, method)
        slopes = model.input_sensitivity(indices=ROWS, of="params")
        close(model.influence_on_params(ROWS, **given), np.einsum("kpd,kd->kp", slopes, change), 1e-4)
        slopes = model.input_sensitivity(*family.test, ROWS)
        close(model.influence_on_loss(*family.test, ROWS, **given), np.einsum("mkd,kd->mk", slopes, change), 1e-4)


@pytest.mark.parametrize("name", ["ridge targets dual", "multinomial csr"])
def test_sensitivity_of_all_rows_in_small_blocks(name):
    family, model = FAMILIES[name], fitted(name)
    X, y = family.test
    n = len(family.case.X)
    ask = {
        "loss": lambda i=None: model.input_sensitivity(X, y, i),
        "training": lambda i=None: model.input_sensitivity(indices=i),
        "output": lambda i=None: model.input_sensitivity(X, indices=i, of="output"),
        "params": lambda i=None: model.input_sensitivity(indices=i, of="params"),
    }
    for what, call in ask.items():
        axis = 0 if what == "params" else 1
        whole = call()
        close(call(ROWS), whole.take(ROWS, axis=axis), 1e-12)
        close(call(np.arange(n) < 3), whole.take(range(3), axis=axis), 1e-12)
        assert call([]).size == 0
        with sklearn.config_context(working_memory=0.01):
            close(call(), whole, 1e-12)
    close(ask["training"](), model.input_sensitivity(family.container(family.case.X), family.case.y), 1e-8)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("estimator", [Ridge(alpha=0.5), LogisticRegression(tol=1e-10)], ids=repr)
def test_sensitivity_with_more_columns_than_rows(estimator, container):
    """Entries off the span of the rows count too: in the dual they are solved for apart."""
    case = cases.tiny_regression(n_samples=12, n_features=30)
    if isinstance(estimator, LogisticRegression):
        case = cases.replace(case, y=(case.y > np.median(case.y)).astype(int), y_test=(case.y_test > 0).astype(int))
    models = [
        InfluenceEstimator(estimator, representation=representation).fit(container(case.X), case.y)
        for representation in ("primal", "dual")
    ]
    exact = slope_of_retraining(estimator, case, 5, 2)
    for model in models:
        close(model.input_sensitivity(indices=[5], of="params")[0, :, 2], exact, 1e-5)
    X, y = container(case.X_test), case.y_test
    close(models[1].input_sensitivity(X, y), models[0].input_sensitivity(X, y), 1e-8)


def test_sensitivity_concerns_the_columns_of_the_final_step():
    frame = pd.DataFrame(LINE.X, columns=list("abcde"))
    pipeline = InfluenceEstimator(make_pipeline(StandardScaler(), Ridge())).fit(frame, LINE.y)
    scaled = StandardScaler().fit(LINE.X)
    plain = InfluenceEstimator(Ridge()).fit(scaled.transform(LINE.X), LINE.y)
    test = pd.DataFrame(LINE.X_test, columns=list("abcde"))
    expected = plain.input_sensitivity(scaled.transform(LINE.X_test), LINE.y_test)
    close(pipeline.input_sensitivity(test, LINE.y_test), expected, 1e-9)


def test_rows_without_weight_have_none():
    weight = np.ones(len(LINE.y))
    weight[3] = 0
    model = InfluenceEstimator(Ridge()).fit(LINE.X, LINE.y, sample_weight=weight)
    slopes = model.input_sensitivity(LINE.X_test, LINE.y_test)
    assert not slopes[:, 3].any() and slopes[:, 4].all()


@pytest.mark.filterwarnings("ignore:The curvature is singular")
def test_sensitivity_says_what_cannot_be(monkeypatch):
    for given in (dict(aggregate="mean"), dict(sample_weight=np.ones(4))):
        with pytest.raises(ValueError, match="about losses; leave them out with of='params'"):
            fitted("ridge").input_sensitivity(of="params", **given)
    with pytest.raises(ValueError, match="aggregate must be one of 'mean', 'sum', got 'median'"):
        fitted("ridge").input_sensitivity(aggregate="median")
    model = fitted("ridge")
    wrong = [
        (dict(of="weights"), "of must be one of 'loss', 'output', 'params', got 'weights'"),
        (dict(X=LINE.X, of="params"), "of='params' is about no test rows; leave out X and y"),
        (dict(X=LINE.X, y=LINE.y, of="output"), "of='output' compares with no labels; leave out y"),
        (dict(X=LINE.X), "y is needed with X"),
        (dict(indices=[40]), "0 to 39; got 40"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            model.input_sensitivity(**arguments)
    flat = "LinearRegression has some on these rows.*Add a penalty, drop collinear.*X_new"
    collinear = cases.collinear(LINE)
    wide = cases.tiny_regression(n_samples=12, n_features=30)
    for case in (collinear, wide):
        for solver in ("direct", "cg") if case is wide else ("direct",):
            with pytest.raises(ValueError, match=flat):
                InfluenceEstimator(LinearRegression(), solver=solver).fit(case.X, case.y).input_sensitivity()
    monkeypatch.setattr(_backend, "physical_memory", lambda: 8 * 40 * 40 * 5 - 1)
    with pytest.raises(ValueError, match=r"A sensitivity of 40 x 40 x 5 numbers needs .*fewer indices or test rows"):
        model.input_sensitivity()


# ---------------------------------------------------------------------------------------------------
# Labels
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_relabel_effects_are_those_of_replacements(name):
    family = FAMILIES[name]
    X, y = family.test
    for method in ("newton", "first_order"):
        model = fitted(name, method)
        effects = model.relabel_effects(X, y, ROWS)
        assert effects.shape == (4, len(model.classes_))
        own = family.case.y[ROWS]
        for c, label in enumerate(model.classes_):
            assert not effects[own == label, c].any()
            rows = np.array(ROWS)[own != label]
            expected = model.influence_on_loss(X, y, rows, y_new=[label] * len(rows), aggregate="mean")
            close(effects[own != label, c], expected, 1e-9)
    weight = np.arange(len(y)) % 4 / 2
    weighted = model.relabel_effects(X, y, sample_weight=weight)
    assert weighted.shape == (len(family.case.y), len(model.classes_))
    label = model.classes_[0]
    rows = np.flatnonzero(family.case.y != label)
    given = dict(y_new=[label] * len(rows), aggregate="mean", sample_weight=weight)
    close(weighted[rows, 0], model.influence_on_loss(X, y, rows, **given), 1e-9)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if FAMILIES[name].squared])
def test_relabelling_under_squared_losses_equals_retraining(name):
    family, model, ref = FAMILIES[name], fitted(name), dense(name)
    case, (X, y) = family.case, family.test
    J, codes = ref.jacobian(case.X_test), ref.encode(y)
    before = ref.loss(codes, ref.outputs(J)).mean()
    effects = model.relabel_effects(X, y, ROWS)
    exact = np.zeros_like(effects)
    for k, row in enumerate(ROWS):
        for c, label in enumerate(model.classes_):
            labels = case.y.copy()
            labels[row] = label
            theta = retraining.retrain(model.estimator_, case.X, labels, case.sample_weight)
            exact[k, c] = ref.loss(codes, ref.outputs(J, theta)).mean() - before
    close(effects, exact, 1e-9)


def test_relabelling_under_a_log_loss_ranks_as_retraining_does():
    case = cases.first_rows(cases.diabetes_above_median(), 150)
    estimator = LogisticRegression(C=0.1, tol=1e-10)
    model, rows = InfluenceEstimator(estimator).fit(case.X, case.y), np.arange(25)
    effects = model.relabel_effects(case.X_test, case.y_test, rows)[rows, 1 - case.y[rows]]
    start = retraining.retrain(estimator, case.X, case.y, extended=True)

    def mean_loss(theta):
        return retraining.losses(case.y_test, retraining.outputs(theta, case.X_test, 1), "log").mean()

    exact = []
    for row in rows:
        y = case.y.copy()
        y[row] = 1 - y[row]
        exact.append(mean_loss(retraining.retrain(estimator, case.X, y, start=start)) - mean_loss(start.astype(float)))
    assert np.corrcoef(effects, exact)[0, 1] > 0.99
    assert 0.8 < effects @ exact / (exact @ np.array(exact)) < 1.2


def test_relabelling_warns_where_one_step_is_rough():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    with pytest.warns(
        UserWarning, match=r"Row \d+, or what replaces it, has a leverage of 0.[5-9].* above 0.5.* update on"
    ):
        model.relabel_effects(case.X_test, case.y_test)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InfluenceEstimator(LogisticRegression(C=1e-3)).fit(case.X, case.y).relabel_effects(case.X_test, case.y_test)


def test_relabelling_by_another_loss():
    case = FAMILIES["binary"].case
    model = fitted("binary")
    target = case.y_test.astype(float)
    found = model.relabel_effects(case.X_test, case.y_test, ROWS, loss=SquaredError())
    rows = np.array(ROWS)[case.y[ROWS] == 1]
    df = model.influence_on_output(case.X_test, rows, y_new=[0] * len(rows))
    f = model.decision_function(case.X_test)[:, None]
    exact = (((f + df - target[:, None]) ** 2 - (f - target[:, None]) ** 2) / 2).mean(axis=0)
    close(found[case.y[ROWS] == 1, 0], exact, 1e-6)


def test_the_only_row_of_a_class_keeps_its_label_or_warns():
    case = cases.tiny_classification(n_classes=3)
    rows = np.concatenate([np.flatnonzero(case.y != 2), np.flatnonzero(case.y == 2)[:1]])
    last = len(rows) - 1
    for estimator in (LogisticRegression(), LogisticRegression(class_weight="balanced"), RidgeClassifier()):
        model = InfluenceEstimator(estimator).fit(case.X[rows], case.y[rows])
        with pytest.warns(
            UserWarning, match=f"row {last} is the only one of class 2 .1 such.: its effects are one-step"
        ):
            effects = model.relabel_effects(case.X_test, case.y_test)
        assert np.isfinite(effects).all() and effects[last, :2].all() and effects[last, 2] == 0
        with pytest.raises(ValueError, match=f"row {last} is the only one of class 2; .*Leave it out of indices"):
            model.relabel_effects(case.X_test, case.y_test, [0, last])
        with pytest.raises(ValueError, match=f"row {last} is the only one of class 2, which y_new takes it out of"):
            model.influence_on_params([last], y_new=[0])
        assert np.isfinite(model.influence_on_params([last], X_new=case.X_test[:1], y_new=[2])).all()


def test_relabel_effects_say_what_cannot_be():
    with pytest.raises(
        ValueError, match="relabel_effects is for classifiers, and Ridge is none; ask influence_on_loss"
    ):
        fitted("ridge").relabel_effects(LINE.X, LINE.y)
    X, y = FAMILIES["binary"].test
    with pytest.raises(ValueError, match="needs held-out rows X and their labels y"):
        fitted("binary").relabel_effects(X, None)
    with pytest.raises(ValueError, match="labels"):
        fitted("binary").relabel_effects(X, y + 5)


def test_relabelling_never_holds_the_pairs():
    """20,000 rows by 2,000 held-out ones: the effects would take 320 MB."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((22_000, 6))
    y = (X[:, 0] + rng.standard_normal(22_000) > 0).astype(int)
    model = InfluenceEstimator(LogisticRegression()).fit(X[:20_000], y[:20_000])
    model.leverages()
    with sklearn.config_context(working_memory=16), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert peak_of(lambda: model.relabel_effects(X[20_000:], y[20_000:])) < 64
