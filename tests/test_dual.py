"""The dual representation: the same objective in as many unknowns as there are rows."""

import pickle
import tracemalloc

import cases
import numpy as np
import pytest
import retraining
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier

from sklearn_influence import InfluenceEstimator, dual, families, newton, solvers

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:.*singular.*")

WIDE = cases.tiny_regression(n_samples=25, n_features=70)
WIDE_TARGETS = cases.tiny_regression(n_samples=25, n_features=70, n_targets=2)
WIDE_CLASSES = cases.tiny_classification(n_samples=30, n_features=60)
WIDE_THREE = cases.tiny_classification(n_samples=30, n_features=60, n_classes=3)
TIGHT = dict(solver="newton-cholesky", tol=1e-12, max_iter=1000)


def row_spans(X):
    """Every kind of coordinates, of dense and of sparse rows."""
    for rows in (X, X.astype(np.float32)):
        yield dual.row_span(rows), np.asarray(rows, dtype=float)
    for triangular in (False, True):
        for make in (sparse.csr_matrix, sparse.csr_array):
            yield dual.row_span(make(X), triangular=triangular), X
            single = X.astype(np.float32)
            yield dual.row_span(make(single), triangular=triangular), single.astype(float)


def assert_coordinates(span, X, atol=1e-9):
    r = span.rows.shape[1]
    basis = span.to_features(np.eye(r))
    np.testing.assert_allclose(basis.T @ basis, np.eye(r), atol=atol)
    np.testing.assert_allclose(span.rows @ basis.T, X, atol=atol)
    np.testing.assert_allclose(span.from_features(X.T).T, span.rows, atol=atol)
    for container in (np.asarray, sparse.csr_matrix):
        np.testing.assert_allclose(span.coordinates(container(X)), span.rows, atol=atol)
    assert span.rows.dtype == np.float64


@pytest.mark.parametrize("columns", [70, 4])
def test_coordinates_are_those_of_the_rows(columns):
    for span, X in row_spans(WIDE.X[:, :columns]):
        assert span.rows.shape == (25, min(25, columns))
        assert_coordinates(span, X)


def test_repeated_rows_and_rows_of_nothing_lower_the_rank():
    X = WIDE.X[[0, 1, 1, 2, 2, 3]].copy()
    X[3] *= 1024.0
    X[5] = 0.0
    for span, rows in row_spans(X):
        assert span.rows.shape == (6, 3)
        assert not span.rows[5].any()
        assert_coordinates(span, rows, atol=1e-8)


def test_coordinates_by_panels_and_blocks(monkeypatch):
    """As many rows as fill several panels, in blocks that end elsewhere, and fewer ranks than rows."""
    X = sparse.random(90, 400, density=0.05, format="csr", random_state=0)
    X = sparse.vstack([X, X[:10], X[20:25] + X[30:35]], format="csr")
    monkeypatch.setattr("sklearn_influence._pivoted._PANEL", 16)
    monkeypatch.setattr(dual, "block_size", lambda *args, **options: 23)
    for triangular in (False, True):
        span = dual.row_span(X, triangular=triangular)
        assert span.rows.shape == (105, 90)
        assert_coordinates(span, X.toarray())


def test_a_triangular_factor_takes_one_array_of_rows_by_rows():
    X = sparse.random(1_000, 5_000, density=0.005, format="csr", random_state=0)
    with config_context(working_memory=16):
        tracemalloc.start()
        span = dual.row_span(X, triangular=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert span.rows.nbytes == 8e6
    assert peak < 1.5 * span.rows.nbytes + 2**20 * 6


@pytest.mark.parametrize("apart", [0.0, 1e-2, 1e-5])
@pytest.mark.parametrize("alpha", [0.5, 1e-3, 1e-6])
def test_sparse_rows_that_nearly_repeat_others(apart, alpha, monkeypatch):
    """The Gram matrix loses what hardly differs, and residuals of rows that the model holds to lose digits in any
    representation: the coordinates by Cholesky lose no more than principal directions."""
    X = WIDE.X.copy()
    X[18:22] = X[:4] + apart * cases.tiny_regression(4, 70, seed=3).X
    exact = retraining.loo_params(Ridge(alpha), X, WIDE.y) - retraining.retrain(Ridge(alpha), X, WIDE.y)
    errors, kinds, make = [], [], dual.row_span
    for spans in (make, lambda X, triangular: make(X)):
        monkeypatch.setattr(dual, "row_span", spans)
        model = InfluenceEstimator(Ridge(alpha)).fit(sparse.csr_matrix(X), WIDE.y)
        errors.append(np.linalg.norm(model.influence_on_params() - exact) / np.linalg.norm(exact))
        kinds.append(type(model._fitted.start("dual").span))
    assert kinds == [dual.TriangularSpan, dual.PrincipalSpan]
    assert errors[0] <= 5 * errors[1] + 1e-13
    assert errors[0] <= (1e-6 if alpha == 1e-6 else 1e-9)


def test_least_squares_without_a_penalty_keeps_principal_directions():
    for estimator, kind in ((LinearRegression(), dual.PrincipalSpan), (Ridge(), dual.TriangularSpan)):
        model = InfluenceEstimator(estimator).fit(sparse.csr_matrix(WIDE.X), WIDE.y)
        assert isinstance(model._fitted.start("dual").span, kind)


@pytest.mark.parametrize("case", [WIDE_CLASSES, WIDE_THREE, WIDE_TARGETS], ids=repr)
def test_sparse_rows_give_what_dense_ones_do(case):
    """Softmax, several targets; penalties of 0.5 and 1e-6, one for each target too."""
    if case is WIDE_TARGETS:
        estimators = Ridge(0.5), Ridge(1e-6), Ridge(np.array([0.5, 1e-6]))
    else:
        estimators = LogisticRegression(C=2.0, **TIGHT), LogisticRegression(C=1e3, **TIGHT), RidgeClassifier(1e-6)
    for estimator in estimators:
        for method in ("newton", "first_order"):
            models = [
                InfluenceEstimator(estimator, method=method).fit(X, case.y) for X in (case.X, sparse.csr_matrix(case.X))
            ]
            for ask in (
                lambda model: model.influence_on_loss(case.X_test, case.y_test),
                lambda model: model.influence_on_output(sparse.csr_matrix(case.X_test)),
                lambda model: model.leverages(),
                lambda model: model.top_influences(case.X_test, case.y_test, k=3).influences,
            ):
                dense, thin = (ask(model) for model in models)
                np.testing.assert_allclose(thin, dense, rtol=0, atol=1e-9 * max(np.abs(dense).max(), 1e-3))


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("case", [WIDE, WIDE_TARGETS], ids=repr)
@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(alpha=0.5),
        Ridge(alpha=1e-6),
        Ridge(alpha=0.5, fit_intercept=False),
        LinearRegression(),
        LinearRegression(fit_intercept=False),
    ],
    ids=str,
)
def test_squares_equal_refits(estimator, case, container):
    """Least squares too: without a row, scikit-learn's answer of smallest norm is another one."""
    model = InfluenceEstimator(estimator).fit(container(case.X), case.y)
    before = retraining.retrain(estimator, case.X, case.y)
    assert model._options().representation == "dual"
    np.testing.assert_allclose(model.params_, before, atol=1e-9)
    exact = retraining.loo_params(estimator, case.X, case.y) - before
    effect = model.influence_on_params()
    assert np.linalg.norm(effect - exact) <= 1e-9 * np.linalg.norm(exact)
    one = model.influence_on_params([3])
    np.testing.assert_allclose(one, effect[[3]], atol=1e-10)
    rows = [1, 4, 20]
    groups = np.isin(np.arange(25), rows)
    group = retraining.retrain(estimator, case.X, case.y, keep=~groups) - before
    np.testing.assert_allclose(model.influence_on_params(groups=groups)[1], group, atol=1e-9)
    q = retraining.output_shape(estimator, case.y)
    change = retraining.outputs(before + exact[3], case.X_test, q) - retraining.outputs(before, case.X_test, q)
    np.testing.assert_allclose(model.influence_on_output(container(case.X_test), [3])[:, 0], change, atol=1e-9)
    own = retraining.outputs(before + exact[3], case.X[3:4], q) - retraining.outputs(before, case.X[3:4], q)
    np.testing.assert_allclose(model.self_influence([3], on="output")[0], own[0], atol=1e-9)
    model.unlearn(rows)
    np.testing.assert_allclose(model.params_, before + group, atol=1e-9)
    assert np.linalg.norm(model.params_ - before - group) <= model.certificate_.param_bound


@pytest.mark.parametrize("case", [WIDE_CLASSES, WIDE_THREE], ids=repr)
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(**TIGHT),
        LogisticRegression(class_weight="balanced", C=0.1, **TIGHT),
        LogisticRegression(fit_intercept=False, **TIGHT),
        RidgeClassifier(class_weight="balanced"),
    ],
    ids=str,
)
def test_both_representations_give_the_same(estimator, case):
    """Every question of the contract, before and after an edit, for all rows and some."""
    asked = [InfluenceEstimator(estimator, representation=name).fit(case.X, case.y) for name in ("primal", "auto")]
    assert [model._options().representation for model in asked] == ["primal", "dual"]
    B = np.random.default_rng(0).standard_normal((len(asked[0].params_), 2))
    B -= 0 if len(asked[0].classes_) == 2 else _gauge(B, estimator, case)
    questions = [
        lambda m: m.params_,
        lambda m: m.influence_on_params(),
        lambda m: m.influence_on_params([2, 7]),
        lambda m: m.influence_on_params(groups=np.arange(30) // 6),
        lambda m: m.influence_on_output(case.X_test),
        lambda m: m.influence_on_loss(case.X_test, case.y_test),
        lambda m: m.influence_on_loss(case.X_test, case.y_test, aggregate="mean"),
        lambda m: m.influence_on_loss(aggregate="mean"),
        lambda m: m.self_influence(),
        lambda m: m.leverages(),
        lambda m: m.top_influences(case.X_test, case.y_test, k=3).influences,
        lambda m: m.curvature_solve(B),
        lambda m: m.set_params(method="first_order").influence_on_loss(case.X_test, case.y_test),
    ]
    for _ in range(2):
        for ask in questions:
            first, second = (ask(model) for model in asked)
            np.testing.assert_allclose(second, first, rtol=0, atol=1e-9 * max(np.abs(first).max(), 1e-3))
        for model in asked:
            model.set_params(method="newton").unlearn([2, 11]) if 2 in model.sample_indices_ else None
        questions = [ask for i, ask in enumerate(questions) if i not in (2, 9)]
    bounds = [model.certificate_.param_bound for model in asked]
    assert np.linalg.norm(asked[0].params_ - asked[1].params_) <= sum(bounds)
    assert bounds[1] < 100 * bounds[0] + 1e-9
    edited = asked[1].params_
    asked[1].set_params(representation="primal")  # takes effect at once, after an edit too
    np.testing.assert_array_equal(asked[1].params_, edited)
    np.testing.assert_allclose(
        asked[1].influence_on_params(), asked[0].influence_on_params(), rtol=0, atol=1e-9 * np.abs(edited).max()
    )


def _gauge(B, estimator, case):
    """The common shift of the intercepts, which softmax does not see and each solver leaves where it likes."""
    out = np.zeros_like(B)
    if estimator.fit_intercept and isinstance(estimator, LogisticRegression):
        out[-3:] = B[-3:].mean(axis=0)
    return out


def test_auto_takes_fewer_unknowns():
    def chosen(estimator, X, y, **options):
        return InfluenceEstimator(estimator, **options).fit(X, y)._options().representation

    assert chosen(Ridge(), WIDE.X, WIDE.y) == "dual"
    assert chosen(Ridge(), WIDE.X[:, :24], WIDE.y) == "primal"
    assert chosen(Ridge(), WIDE.X, WIDE.y, representation="primal") == "primal"
    assert chosen(Ridge(), WIDE.X[:, :4], WIDE.y, representation="dual") == "dual"
    # Damping is relative to each parameter's curvature.
    assert chosen(Ridge(), WIDE.X, WIDE.y, solver=solvers.Direct(damping=0.1)) == "primal"


def test_columns_far_from_zero():
    case = cases.uncentred(WIDE)
    exact = retraining.loo_params(Ridge(), case.X, case.y, rows=range(5)) - retraining.retrain(Ridge(), case.X, case.y)
    effect = InfluenceEstimator(Ridge()).fit(case.X, case.y).influence_on_params(range(5))
    assert np.linalg.norm((effect - exact)[:, :-1]) <= 1e-8 * np.linalg.norm(exact[:, :-1])


def test_coefficients_that_no_rows_explain():
    """A model fitted on other rows: refused without refinement, and far from stationary."""
    model = InfluenceEstimator(Ridge(), refine=False).fit(WIDE.X, WIDE.y)
    objective = model._objective
    other = clone(Ridge()).fit(cases.tiny_regression(25, 70, seed=5).X, WIDE.y)
    moved = families.LeastSquaresFamily().read(other, WIDE.X, WIDE.y, np.ones(25))
    assert dual.DualObjective(objective).outside < 1e-10 < dual.DualObjective(moved).outside
    model._fitted.objective = moved
    with pytest.raises(ValueError, match=r"dual representation cannot hold.*refine=True.*'primal'"):
        model.influence_on_params([0])
    relative = model.stationarity_.relative
    assert relative > 1
    np.testing.assert_allclose(model.set_params(representation="primal").stationarity_.relative, relative, rtol=1e-6)


def test_nothing_of_a_removed_row_is_kept_in_the_span():
    X = WIDE.X.copy()
    X[5] = 100.0 + np.arange(70)
    model = InfluenceEstimator(Ridge()).fit(X, WIDE.y)
    model.influence_on_params()
    model.unlearn([5])
    kept = model._fitted.start("dual").span
    assert kept.rows.shape[0] == 24
    seen = kept.to_features(kept.from_features(X[5:6].T))  # what of the row the span can still see
    rest = np.linalg.lstsq(np.delete(X, 5, 0).T, X[5], rcond=None)[0] @ np.delete(X, 5, 0)
    np.testing.assert_allclose(seen[:, 0], rest, atol=1e-8)


def test_single_precision_rows_and_what_is_written():
    X = WIDE_CLASSES.X.astype(np.float32)
    model = InfluenceEstimator(LogisticRegression()).fit(X, WIDE_CLASSES.y)
    assert model._options().representation == "dual"
    if model.estimator_.coef_.dtype != np.float32:
        pytest.skip("the lbfgs of this SciPy gives coefficients in double precision")
    exact = InfluenceEstimator(LogisticRegression()).fit(X.astype(float)[3:], WIDE_CLASSES.y[3:]).params_
    model.unlearn([0, 1, 2])
    distance = np.linalg.norm(model.params_ - exact)
    assert 1e-10 < distance <= model.certificate_.param_bound < 1e-5
    np.testing.assert_array_equal(model.params_[:-1], model.estimator_.coef_.ravel())


def test_text_sized_columns_are_never_filled():
    rng = np.random.default_rng(0)
    X = sparse.random(400, 25_000, density=0.002, format="csr", random_state=0)
    y = rng.integers(0, 2, 400)
    tracemalloc.start()
    model = InfluenceEstimator(LogisticRegression()).fit(X, y)
    model.influence_on_loss(X[:50], y[:50], aggregate="mean")
    model.unlearn([3])
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak < 40  # the filled rows alone are 76 MB, the curvature of the parameters 4.7 GB
    keep = np.arange(400) != 3
    refit = LogisticRegression(**TIGHT).set_params(solver="lbfgs").fit(X[keep], y[keep])
    np.testing.assert_allclose(model.decision_function(X), refit.decision_function(X), atol=1e-5)


@pytest.mark.parametrize("estimator", [Ridge(), LinearRegression(), LogisticRegression()], ids=str)
def test_single_precision_goes_through_pickles_and_changes_of_representation(estimator):
    case = WIDE_CLASSES
    X = case.X.astype(np.float32)
    model = InfluenceEstimator(estimator).fit(X, case.y).unlearn([0])
    expected = model.influence_on_params([1])
    scale = np.abs(expected).max()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.influence_on_params([1]), expected, atol=1e-3 * scale)
    long = InfluenceEstimator(estimator).fit(X[:, :20], case.y).unlearn(np.arange(2, 20))
    assert long._options().representation == "dual"  # fewer rows than columns are left
    assert np.isfinite(long.influence_on_params([1])).all()
    raw = InfluenceEstimator(Ridge(), refine=False).fit(X, case.y)
    assert np.isfinite(raw.influence_on_params([0])).all()


def test_refined_least_squares_is_of_smallest_norm_in_single_precision():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(40, 120)) + 2.0).astype(np.float32)
    y = rng.normal(size=40)
    model = InfluenceEstimator(LinearRegression()).fit(X, y)
    exact = InfluenceEstimator(LinearRegression()).fit(X.astype(float), y)
    np.testing.assert_allclose(model.params_, exact.params_, atol=1e-9)
    np.testing.assert_allclose(model.influence_on_params(), exact.influence_on_params(), atol=1e-9)


@pytest.mark.parametrize("largest", [1e4, 1e6])
def test_sparse_rows_of_very_different_lengths(largest):
    """A long row's rounding must not hide the short ones."""
    X = WIDE.X * np.geomspace(1.0, largest, len(WIDE.X))[:, None]
    exact = retraining.loo_params(Ridge(), X, WIDE.y) - retraining.retrain(Ridge(), X, WIDE.y)
    effect = InfluenceEstimator(Ridge()).fit(sparse.csr_matrix(X), WIDE.y).influence_on_params()
    off = np.linalg.norm(effect - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert np.median(off) < 1e-6


def test_one_repeated_row_leaves_the_others_their_closed_form(monkeypatch):
    X, y = np.vstack([WIDE.X, WIDE.X[:1]]), np.append(WIDE.y, WIDE.y[0] + 1.0)
    model = InfluenceEstimator(LinearRegression()).fit(X, y)
    exact = retraining.loo_params(LinearRegression(), X, y) - retraining.retrain(LinearRegression(), X, y)
    calls, factor = [], solvers.Direct.factor
    monkeypatch.setattr(solvers.Direct, "factor", lambda *given, **more: calls.append(1) or factor(*given, **more))
    np.testing.assert_allclose(model.influence_on_params(), exact, atol=1e-9)
    assert len(calls) < 5  # not one for each of 26 rows


def test_many_test_rows_stay_within_working_memory():
    X = sparse.random(300, 2_000, density=0.01, format="csr", random_state=0)
    tests = sparse.random(5_000, 2_000, density=0.01, format="csr", random_state=1)
    span = dual.row_span(X)
    whole = span.coordinates(tests)
    with config_context(working_memory=1):
        tracemalloc.start()
        out = span.coordinates(tests)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    np.testing.assert_allclose(out, whole, atol=1e-12)
    assert peak < out.nbytes + 4 * 2**20


def test_rows_of_nothing():
    X, y = np.zeros((5, 10)), np.arange(5.0)
    dual_model, primal = (InfluenceEstimator(Ridge(2.0), representation=r).fit(X, y) for r in ("dual", "primal"))
    B = np.arange(11.0)
    np.testing.assert_allclose(dual_model.curvature_solve(B), primal.curvature_solve(B), atol=1e-12)
    np.testing.assert_allclose(dual_model.influence_on_params(), primal.influence_on_params(), atol=1e-12)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_other_rows_span_other_coordinates(container):
    model = InfluenceEstimator(Ridge(), representation="dual").fit(container(WIDE.X), WIDE.y)
    objective = model._fitted.optimum(model._options())[0]
    X_new, y_new = container(WIDE.X_test[:2]), WIDE.y_test[:2, None]
    before = objective.primal()
    for edited, expected, rank in (
        (objective.replace([3, 1], X_new, y_new), before.replace([3, 1], X_new, y_new), 25),
        (objective.append(X_new, y_new, np.ones(2)), before.append(X_new, y_new, np.ones(2)), 27),
    ):
        assert edited.design.n_features == rank
        X = np.random.default_rng(0).normal(size=(4, 70))
        assert edited.value() == pytest.approx(expected.value() - 0.5 * edited.outside**2, rel=1e-9)
        np.testing.assert_allclose(
            edited.outputs(edited.read_rows(container(X))),
            edited.primal().outputs(before.read_rows(X)),
            atol=1e-9,
        )


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("case", [WIDE_CLASSES, WIDE_THREE, WIDE_TARGETS], ids=repr)
def test_a_linear_term_leaves_the_span_of_the_rows(case, as_sparse):
    """The optimum of both representations, its outputs on other rows, and what unlearning makes of it."""
    estimator = Ridge(np.array([0.5, 2.0])) if case is WIDE_TARGETS else LogisticRegression(C=0.7, **TIGHT)
    X = sparse.csr_matrix(case.X) if as_sparse else case.X
    family, fitted = families.find_family(estimator), estimator.fit(X, case.y)
    primal = family.read(fitted, X, case.y, np.ones(len(case.y)))
    factor = solvers.Direct()
    # Next to the rows, far below them and far above them, where a log loss would be saturated.
    for size in (1.0, 1e-9, *[1e6] * primal.loss.quadratic):
        linear = size * np.random.default_rng(0).standard_normal(primal.n_params)
        linear = primal.curvature().off_gauge(linear[:, None])[:, 0]
        kept = np.arange(len(case.y)) % 5 > 0
        optima = []
        for start in (primal.with_linear(linear), dual.DualObjective(primal).with_linear(linear)):
            for objective in (start, start.take(kept)):
                objective, info = newton.minimise(objective, solver=factor)
                assert info.converged
                params = objective.to_params(objective.params)
                rest = objective.primal().gradient()
                assert np.linalg.norm(rest) <= 1e-8 * np.linalg.norm(linear) + 1e-8
                optima.append((params, objective.outputs(objective.read_rows(case.X_test))))
        for own, other in zip(optima[:2], optima[2:], strict=True):
            np.testing.assert_allclose(own[0], other[0], rtol=1e-6, atol=1e-9 * max(size, 1))
            np.testing.assert_allclose(own[1], other[1], rtol=1e-6, atol=1e-8 * max(size, 1))


def test_a_linear_term_without_a_penalty_is_refused():
    estimator = LinearRegression().fit(WIDE.X, WIDE.y)
    primal = families.find_family(estimator).read(estimator, WIDE.X, WIDE.y, np.ones(25))
    with pytest.raises(ValueError, match=r"'dual' with a linear term .* penalty on every coefficient"):
        dual.DualObjective(primal.with_linear(np.ones(primal.n_params)))
