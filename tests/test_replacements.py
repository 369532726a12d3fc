"""Replaced rows: the dense step, real retraining, flat directions, the span of the rows, classes of one row."""

import copy
import warnings

import cases
import numpy as np
import pytest
import retraining
import sklearn
from contract import FAMILIES, LINE, METHODS, ROWS, TARGETS, both_methods, close, dense, every_family, fitted
from replaced import KINDS, dense_step, handed_over, new_rows, retrained
from scipy import sparse
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from test_base import peak_of
from test_effects import optimum

from sklearn_influence import InfluenceEstimator, solvers
from sklearn_influence.losses import Logistic, Softmax
from sklearn_influence.replacements import Replacements, _own_pull, replacement_effects

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*leverage.*"),
    pytest.mark.filterwarnings("ignore:X does not have valid"),
]
SQUARED = [name for name in FAMILIES if FAMILIES[name].squared]
LOG = [name for name in FAMILIES if not FAMILIES[name].squared]


# ---------------------------------------------------------------------------------------------------
# Every family
# ---------------------------------------------------------------------------------------------------
@every_family
@both_methods
def test_against_the_dense_step(name, method):
    model = fitted(name, method)
    for kind in KINDS:
        given = new_rows(name, kind)
        # Balanced factors change the curvature as a row of the class's mean weight would.
        typical = name == "balanced weighted" and method == "newton" and kind != "X_new"
        found = model.influence_on_params(ROWS, **handed_over(name, given))
        expected = np.array([dense_step(name, given, j, method, step) for j, step in enumerate(found)])
        close(found, expected, 0.3 if typical else 20 * FAMILIES[name].rtol)


@pytest.mark.parametrize("name", SQUARED)
def test_squared_losses_equal_retraining(name):
    for kind in KINDS:
        given = new_rows(name, kind, scale=3.0)
        found = fitted(name).influence_on_params(ROWS, **handed_over(name, given))
        for change, exact in zip(found, retrained(name, given), strict=True):
            close(change, exact, 1e-5 if "float32" in name else 1e-9)


@pytest.mark.parametrize("kind, tolerance", [("X_new", 0.13), ("y_new", 0.65)])
@pytest.mark.parametrize("name", LOG)
def test_log_losses_agree_with_retraining(name, kind, tolerance):
    """Moved features as closely as a removal; a label that the other 59 rows speak against moves more than one step."""
    family, given = FAMILIES[name], new_rows(name, kind)
    exact = family.off_gauge(retrained(name, given))
    newton, first = (
        np.linalg.norm(family.off_gauge(fitted(name, m).influence_on_params(ROWS, **handed_over(name, given))) - exact)
        for m in METHODS
    )
    assert newton < tolerance * np.linalg.norm(exact) and newton < 0.9 * first


@pytest.mark.parametrize("S", [1e-9, 1.0, 1e4, 1e9])
@pytest.mark.parametrize("f", [-700.0, -20.0, 0.0, 20.0])
def test_a_new_row_has_its_own_loss_in_full(S, f):
    """From outputs where the label has no curvature at all too; a Newton step on the loss would go off by S."""
    k, s = 3, np.array([1.0, 0.01, 200.0])
    y, start = np.ones(k, dtype=int), np.full((k, 1), f)
    c, h = _own_pull(Logistic(), y, start, np.full((k, 1, 1), S), s)
    after = start + S * c
    np.testing.assert_allclose(c, -s[:, None] * Logistic().gradient(y, after), rtol=1e-9, atol=1e-13 / S)
    assert (h >= 0).all() and (f != -20.0 or S != 1e4 or (h > 1).all())
    q = 4
    A = np.random.default_rng(0).normal(size=(k, q, q))
    A = S * A @ A.transpose(0, 2, 1)
    start = np.tile([0.0, f, 1.0, 2.0], (k, 1))
    c, _ = _own_pull(Softmax(), y, start, A, s)
    after = start + np.einsum("kab,kb->ka", A, c)
    np.testing.assert_allclose(c, -s[:, None] * Softmax().gradient(y, after), rtol=1e-9, atol=1e-13 / S)


@pytest.mark.parametrize("name", ["ridge dual", "classifier balanced", "multinomial balanced", "binary dual"])
def test_what_update_would_make_of_the_model(name):
    """The same rows for good: exactly where the loss is squared."""
    family, given = FAMILIES[name], new_rows(name, "X_new", scale=0.1)
    model = FAMILIES[name].fit()
    change = model.influence_on_params(ROWS[:1], X_new=given["X_new"][:1])[0]
    updated = copy.deepcopy(model).update(ROWS[:1], X_new=given["X_new"][:1])
    exact = family.off_gauge(updated.params_ - model.params_)
    close(family.off_gauge(change), exact, 1e-8 if family.squared else 0.05)


@every_family
@both_methods
def test_a_row_replaced_by_itself_changes_nothing(name, method):
    family, model = FAMILIES[name], fitted(name, method)
    X, y = family.container(family.case.X), family.case.y
    scale = np.abs(model.influence_on_params()).max()
    rtol = max(1e-9, family.rtol)
    close(model.influence_on_params(X_new=X, y_new=y), 0.0 * model.influence_on_params(), rtol, scale)
    close(model.influence_on_params(ROWS, y_new=y[ROWS]), np.zeros((4, len(model.params_))), rtol, scale)
    close(
        model.influence_on_params(ROWS, X_new=X[ROWS] if hasattr(X, "tocsr") else family.case.X[ROWS]), 0, rtol, scale
    )


@every_family
@both_methods
def test_outputs_and_losses_follow_the_parameters(name, method):
    family, model, ref = FAMILIES[name], fitted(name, method), dense(name)
    X, y = family.test
    given = handed_over(name, new_rows(name, "both"))
    codes, J = ref.encode(y), ref.jacobian(family.case.X_test)
    delta, f = model.influence_on_params(ROWS, **given), ref.outputs(J)
    df, rtol = np.einsum("mqp,kp->mkq", J, delta), 10 * family.rtol
    close(model.influence_on_output(X, ROWS, **given).reshape(df.shape), df, rtol)
    on_training = np.einsum("mqp,kp->mkq", ref.J, delta)
    close(model.influence_on_output(indices=ROWS, **given).reshape(on_training.shape), on_training, rtol)
    if method == "newton":
        expected = np.stack([ref.loss(codes, f + df[:, k]) - ref.loss(codes, f) for k in range(4)], axis=1)
    else:
        expected = np.einsum("mq,mkq->mk", ref.slope(codes, f), df)
    close(model.influence_on_loss(X, y, ROWS, **given), expected, rtol)
    mean = model.influence_on_loss(X, y, ROWS, aggregate="mean", **given)
    close(mean, expected.mean(axis=0), rtol, np.abs(expected).max())
    if not family.squared and method == "newton":
        proba = model.influence_on_output(X, ROWS, response_method="predict_proba", **given)
        exact = np.stack([ref.proba(f + df[:, k]) - ref.proba(f) for k in range(4)], axis=1)
        close(proba, exact, rtol)


@pytest.mark.parametrize("name", ["ridge targets", "ridge csr dual", "multinomial", "multinomial balanced", "balanced"])
@both_methods
def test_all_rows_in_order_and_small_blocks(name, method):
    family, model = FAMILIES[name], fitted(name, method)
    n = len(family.case.X)
    X, y = family.container(family.case.X[::-1]), family.case.y
    whole = model.influence_on_params(X_new=X)
    assert whole.shape == (n, len(model.params_))
    some = model.influence_on_params(ROWS, X_new=X[ROWS])
    close(some, whole[ROWS], 1e-8)
    mask = np.isin(np.arange(n), ROWS)
    close(model.influence_on_params(mask, X_new=X[np.flatnonzero(mask)]), whole[mask], 1e-8)
    losses = model.influence_on_loss(*family.test, X_new=X, y_new=y)
    with sklearn.config_context(working_memory=0.01):
        close(model.influence_on_params(X_new=X), whole, 1e-9)
        close(model.influence_on_loss(*family.test, X_new=X, y_new=y), losses, 1e-8)
    assert model.influence_on_params([], X_new=X[:0]).shape == (0, len(model.params_))


@pytest.mark.parametrize("name", ["ridge", "binary", "multinomial", "binary dual", "multinomial balanced"])
@both_methods
def test_conjugate_gradients_give_the_same(name, method):
    given = new_rows(name, "both")
    model = FAMILIES[name].fit(method=method, solver="cg")
    close(model.influence_on_params(ROWS, **given), fitted(name, method).influence_on_params(ROWS, **given), 1e-6)


@pytest.mark.parametrize("solver", [solvers.OuterProduct(), solvers.Diagonal(), solvers.Stochastic(random_state=0)])
def test_approximate_solvers_take_first_order(solver):
    given = new_rows("binary", "both")
    model = FAMILIES["binary"].fit(method="first_order", solver=solver)
    rough = model.influence_on_params(ROWS, **given).ravel()
    assert np.corrcoef(rough, fitted("binary", "first_order").influence_on_params(ROWS, **given).ravel())[0, 1] > 0.75
    with pytest.raises(ValueError, match="'newton' and solver="):
        FAMILIES["binary"].fit(solver=solver).influence_on_params(ROWS, **given)


def test_approximate_solvers_of_the_span_take_no_rows_off_it():
    model = FAMILIES["binary"].fit(method="first_order", solver="outer_product", representation="dual")
    with pytest.raises(
        ValueError, match=r"X_new and solver=.* do not go together in the dual.*representation='primal'"
    ):
        model.influence_on_params(ROWS, X_new=model._objective.design.X[ROWS])
    assert model.influence_on_params(ROWS, y_new=1 - FAMILIES["binary"].case.y[ROWS]).any()


# ---------------------------------------------------------------------------------------------------
# Flat directions, rows that hold a direction alone, the span of the rows
# ---------------------------------------------------------------------------------------------------
def exact_changes(estimator, X, y, rows, X_new, weight=None):
    before, after = retraining.retrain(estimator, X, y, weight), []
    for row, x in zip(rows, X_new, strict=True):
        other = X.copy()
        other[row] = x
        after.append(retraining.retrain(estimator, other, y, weight) - before)
    return np.array(after)


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(alpha=1e-11), Ridge(alpha=1e-7)], ids=repr)
@pytest.mark.parametrize("case", [LINE, TARGETS], ids=repr)
def test_a_row_that_carries_a_column_alone(estimator, case):
    """Where its replacement holds the column too it goes on, elsewhere the refit leaves the column at 0."""
    X = np.column_stack([case.X, np.zeros(len(case.X))])
    X[7, -1] = 2.0
    model = InfluenceEstimator(estimator).fit(X, case.y)
    X_new = np.stack([np.append(case.X[3], 0.0), np.append(case.X[3], 1.0), np.append(case.X[3], 0.5)])
    rows = [7, 7, 9]
    exact = exact_changes(estimator, X, case.y, rows, X_new)
    for row, x, expected in zip(rows, X_new, exact, strict=True):
        close(model.influence_on_params([row], X_new=[x])[0], expected, 1e-7)
    X_all = X.copy()
    X_all[7] = X_new[0]
    close(model.influence_on_params(X_new=X_all)[7], exact[0], 1e-7)


@pytest.mark.filterwarnings("ignore:The curvature is singular")
@pytest.mark.parametrize("representation", ["primal", "dual"])
@pytest.mark.parametrize("intercept", [True, False])
def test_collinear_columns(representation, intercept):
    """New rows that keep the collinearity, and new rows that break it, which raise the rank."""
    case = cases.collinear(LINE)
    estimator = LinearRegression(fit_intercept=intercept)
    model = InfluenceEstimator(estimator, representation=representation).fit(case.X, case.y)
    X_new = case.X_test[: len(ROWS)].copy()
    X_new[1, -1] += 1.0
    X_new[3, -2] -= 2.0
    close(model.influence_on_params(ROWS, X_new=X_new), exact_changes(estimator, case.X, case.y, ROWS, X_new), 1e-7)


@pytest.mark.filterwarnings("ignore:The curvature is singular")
def test_a_column_that_only_the_new_row_has():
    X = np.column_stack([LINE.X, np.zeros(len(LINE.X))])
    X_new = np.column_stack([LINE.X_test[:4], [0.0, 1.0, 0.0, 2.0]])
    model = InfluenceEstimator(LinearRegression()).fit(X, LINE.y)
    exact = exact_changes(LinearRegression(), X, LINE.y, ROWS, X_new)
    close(model.influence_on_params(ROWS, X_new=X_new), exact, 1e-8)


WIDE = cases.tiny_regression(n_samples=12, n_features=30)


@pytest.mark.filterwarnings("ignore:The curvature is singular")
@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(alpha=0.5), Ridge(fit_intercept=False)], ids=repr)
@pytest.mark.parametrize("representation", ["primal", "dual"])
@pytest.mark.parametrize("k", [2, 12])  # by an extended span, and by as many unknowns as columns
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_more_columns_than_rows(estimator, representation, k, container):
    if container is sparse.csr_matrix and isinstance(estimator, LinearRegression):
        return  # a refit of sparse rows has no smallest norm
    rng, rows = np.random.default_rng(3), np.arange(k)[::-1]
    X_new = rng.normal(size=(k, 30)) * 2
    X = WIDE.X if k == 2 else np.hstack([WIDE.X[:, :20]])
    X_new = X_new[:, : X.shape[1]]
    model = InfluenceEstimator(estimator, representation=representation).fit(container(X), WIDE.y)
    exact = exact_changes(estimator, X, WIDE.y, rows, X_new)
    close(model.influence_on_params(rows, X_new=container(X_new)), exact, 1e-8)
    moved = exact[:, -1] if estimator.fit_intercept else 0.0
    for test in (None, WIDE.X_test[:, : X.shape[1]]):
        outputs = model.influence_on_output(None if test is None else container(test), rows, X_new=container(X_new))
        close(outputs, (X if test is None else test) @ exact[:, : X.shape[1]].T + moved, 1e-8)
    y_new = WIDE.y[rows] + 1
    found = model.influence_on_params(rows, y_new=y_new)
    before = retraining.retrain(estimator, X, WIDE.y)
    for row, value, change in zip(rows, y_new, found, strict=True):
        y = WIDE.y.copy()
        y[row] = value
        close(change, retraining.retrain(estimator, X, y) - before, 1e-8)


@pytest.mark.parametrize("representation", ["primal", "dual"])
def test_a_new_label_without_weight_is_a_removal(representation):
    """Of rows that hold a direction each: what is left is stepped on directly, in a span of its own."""
    case = cases.tiny_classification(n_samples=12, n_features=30)
    estimator = RidgeClassifier(alpha=1e-7, class_weight={0: 1.0, 1: 0.0})
    model = InfluenceEstimator(estimator, representation=representation).fit(case.X, case.y)
    row = int(np.flatnonzero(case.y == 0)[1])
    exact = retraining.retrain(estimator, case.X, case.y, keep=np.arange(12) != row)
    exact -= retraining.retrain(estimator, case.X, case.y)
    close(model.influence_on_params([row], y_new=[1])[0], exact, 1e-6)


def test_sparse_new_rows_for_dense_ones_and_back():
    given = new_rows("multinomial", "X_new")["X_new"]
    for name in ("multinomial", "multinomial csr", "multinomial csr dual"):
        model = fitted(name)
        close(
            model.influence_on_params(ROWS, X_new=sparse.csc_matrix(given)),
            model.influence_on_params(ROWS, X_new=given.tolist()),
            1e-10,
        )


def test_the_only_row_left_may_be_replaced():
    model = InfluenceEstimator(Ridge()).fit([[1.0, 2.0]], [3.0])
    assert np.allclose(model.influence_on_params([0], y_new=[5.0]), [[0, 0, 2.0]])
    with pytest.raises(ValueError, match="Only one row is left"):
        model.influence_on_params([0])


def test_class_weights_of_the_new_label():
    case, weight = cases.tiny_classification(), {0: 3.0, 1: 0.25}
    estimator = RidgeClassifier(class_weight=weight)
    model = InfluenceEstimator(estimator).fit(case.X, case.y)
    y = case.y.copy()
    y[4] = 1 - y[4]
    exact = retraining.retrain(estimator, case.X, y) - retraining.retrain(estimator, case.X, case.y)
    close(model.influence_on_params([4], y_new=[y[4]])[0], exact, 1e-10)


# ---------------------------------------------------------------------------------------------------
# Leverage
# ---------------------------------------------------------------------------------------------------
def test_a_row_of_high_leverage_warns_before_and_after():
    case = cases.breast_cancer()
    model = InfluenceEstimator(LogisticRegression()).fit(case.X, case.y)
    low, high = model.leverages().argmin(), model.leverages().argmax()
    with pytest.warns(UserWarning, match=f"Row {high}, or what replaces it, has a leverage of .* above 0.5"):
        model.influence_on_params([high], X_new=case.X[[low]])
    with pytest.warns(UserWarning, match=f"Row {low}, or what replaces it, has a .* update on a copy"):
        model.influence_on_params([low], X_new=50 * case.X[[high]], y_new=1 - case.y[[high]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.influence_on_params([low], X_new=case.X[[low]] + 0.01)


@pytest.mark.parametrize("kind", ["squares", "logistic", "softmax"])
def test_effects_project_as_they_change_parameters(kind):
    objective, factor = optimum(kind)
    rng, rows = np.random.default_rng(0), np.array([3, 0, 17, 29])
    change = Replacements(rows, rng.standard_normal((4, objective.design.n_features)), objective.y[rows[::-1]])
    effects = replacement_effects(objective, factor, change, "newton")
    G = rng.standard_normal((objective.n_params, 3))
    if objective.loss.shift_invariant:
        G[-3:] -= G[-3:].mean(axis=0)
    delta = effects.params(slice(0, 4))
    np.testing.assert_allclose(effects.onto(G)(slice(0, 4)), G.T @ delta, atol=1e-11)
    np.testing.assert_allclose(effects.onto(G)(slice(1, 3)), G.T @ delta[:, 1:3], atol=1e-11)
    np.testing.assert_allclose(effects.params(np.array([2, 0])), delta[:, [2, 0]], atol=1e-12)
    assert len(effects) == 4 and (effects.largest < 1).all()


def test_softmax_outputs_do_not_depend_on_the_columns_origin():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    y = np.digitize(X[:, 0] + 1.5 * rng.standard_normal(60), [-0.8, 0.8])
    X_new, y_new = rng.standard_normal((3, 5)), [0, 2, 1]
    moved = InfluenceEstimator(LogisticRegression(max_iter=10_000), solver="direct").fit(X + 1e4, y)
    model = InfluenceEstimator(LogisticRegression(), solver="direct").fit(X, y)
    expected = model.influence_on_output(X, [0, 1, 3], X_new=X_new, y_new=y_new)
    found = moved.influence_on_output(X + 1e4, [0, 1, 3], X_new=X_new + 1e4, y_new=y_new)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.filterwarnings("ignore:The curvature is singular")
def test_conjugate_gradients_see_directions_that_new_rows_open():
    case = cases.collinear(LINE)
    X_new = case.X_test[: len(ROWS)].copy()
    X_new[1, -1] += 1.0
    model = InfluenceEstimator(LinearRegression(), solver="cg").fit(case.X, case.y)
    exact = exact_changes(LinearRegression(), case.X, case.y, ROWS, X_new)
    outputs = case.X_test @ exact[:, :-1].T + exact[:, -1]
    close(model.influence_on_output(case.X_test, ROWS, X_new=X_new), outputs, 1e-6)


def test_the_new_rows_are_held_once():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 10))
    y = (X[:, 0] + rng.standard_normal(20_000) > 0).astype(int)
    model = InfluenceEstimator(LogisticRegression()).fit(X, y)
    model.leverages()
    with sklearn.config_context(working_memory=16):
        assert peak_of(lambda: model.influence_on_loss(X[:2000], y[:2000], X_new=X[::-1], aggregate="mean")) < 64


@pytest.mark.parametrize("n_classes", [2, 3])
@both_methods
def test_log_losses_with_more_columns_than_rows(n_classes, method):
    """The extended span gives what the estimator's own parameters give."""
    case = cases.tiny_classification(n_samples=18, n_features=30, n_classes=n_classes)
    estimator, given = LogisticRegression(tol=1e-10), dict(X_new=case.X_test[:3], y_new=case.y_test[:3])
    dual, primal = (
        InfluenceEstimator(estimator, method=method, representation=representation).fit(case.X, case.y)
        for representation in ("dual", "primal")
    )
    rows = [4, 1, 11]
    close(dual.influence_on_params(rows, **given), primal.influence_on_params(rows, **given), 1e-8)
    for test in ((None, None), (case.X_test, case.y_test)):
        close(dual.influence_on_loss(*test, rows, **given), primal.influence_on_loss(*test, rows, **given), 1e-8)
    close(dual.relabel_effects(case.X_test, case.y_test), primal.relabel_effects(case.X_test, case.y_test), 1e-8)
