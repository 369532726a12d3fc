"""Every family of estimators, every promise about results; test_contract_edits has weights, edits and settings."""

import copy
import warnings

import numpy as np
import pytest
import retraining
import sklearn
from contract import FAMILIES, LINE, ROWS, SEVERAL_OUTPUTS, TARGETS, both_methods, close, dense, every_family, fitted
from scipy import sparse
from sklearn.linear_model import LinearRegression, Ridge

from sklearn_influence import InfluenceEstimator

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*")


# ---------------------------------------------------------------------------------------------------
# Shapes, layout, signs
# ---------------------------------------------------------------------------------------------------
@every_family
@both_methods
def test_shapes_and_types(name, method):
    family, model, q = FAMILIES[name], fitted(name, method), dense(name).q
    X, y = family.test
    m, n, p = len(y), len(family.case.X), len(model.params_)
    outputs = (q,) if q > 1 else ()
    results = {
        "params": (model.influence_on_params(), (n, p)),
        "params of rows": (model.influence_on_params(ROWS), (4, p)),
        "output": (model.influence_on_output(X), (m, n, *outputs)),
        "output on training rows": (model.influence_on_output(indices=ROWS), (n, 4, *outputs)),
        "loss": (model.influence_on_loss(X, y), (m, n)),
        "loss on training rows": (model.influence_on_loss(indices=ROWS), (n, 4)),
        "loss sum": (model.influence_on_loss(X, y, aggregate="sum"), (n,)),
        "loss mean": (model.influence_on_loss(X, y, ROWS, aggregate="mean"), (4,)),
        "groups": (model.influence_on_loss(X, y, groups=np.arange(n) // 7), (m, -(-n // 7))),
        "self": (model.self_influence(), (n,)),
        "self output": (model.self_influence(ROWS, on="output"), (4, *outputs)),
        "leverages": (model.leverages(), (n, q, q) if q > 1 else (n,)),
        "solve": (model.curvature_solve(np.ones(p)), (p,)),
        "solve many": (model.curvature_solve(np.ones((p, 3))), (p, 3)),
        "top": (model.top_influences(X, y, k=3).influences, (m, 3)),
        "top cut": (model.top_influences(X, y, k=1000).influences, (m, n)),
        "params_": (model.params_, (p,)),
    }
    if not family.squared:
        proba = model.influence_on_output(X, response_method="predict_proba")
        results["proba"] = (proba, (m, n, len(model.classes_)))
        close(proba.sum(axis=2), 0 * proba[..., 0], 1e-12, 1)
    for what, (array, shape) in results.items():
        assert array.shape == shape, what
        assert array.dtype == np.float64, what
        assert np.isfinite(array).all(), what
    assert model.top_influences(X, y, k=3).indices.dtype.kind == "i"


@every_family
def test_fitted_attributes_and_layout(name):
    family, model = FAMILIES[name], fitted(name)
    n, d = family.case.X.shape
    estimator = model.estimator_
    flat = np.ravel(estimator.coef_)
    flat = np.append(flat, np.ravel(estimator.intercept_)) if estimator.fit_intercept else flat
    close(model.params_, flat, max(family.rtol, 1e-5))
    assert len(model.param_names_) == len(flat)
    assert (model.n_samples_fit_, model.n_features_in_) == (n, d)
    np.testing.assert_array_equal(model.sample_indices_, np.arange(n))
    assert hasattr(model, "classes_") == family.classifier
    assert hasattr(model, "feature_names_in_") == (name == "frame")
    assert estimator is not family.estimator and not hasattr(family.estimator, "coef_")
    X, y = family.test
    np.testing.assert_array_equal(model.predict(X), estimator.predict(X))
    assert model.score(X, y) == estimator.score(X, y)
    assert 0 <= model.stationarity_.relative < 0.05 or family.rtol > 1e-5
    assert set(model.stationarity_) == {"gradient_norm", "newton_decrement", "relative"}


def test_parameter_names():
    assert list(fitted("ols").param_names_) == ["x0", "x1", "x2", "x3", "x4", "intercept"]
    assert list(fitted("frame").param_names_) == ["d", "c", "b", "a", "intercept"]
    assert list(fitted("no intercept").param_names_) == ["x0", "x1", "x2", "x3"]
    names = list(fitted("strings").param_names_)
    assert names[:5] == ["x0[class x]", "x1[class x]", "x2[class x]", "x3[class x]", "x0[class y]"]
    assert names[-3:] == ["intercept[class x]", "intercept[class y]", "intercept[class z]"]
    assert list(fitted("ridge targets").param_names_)[-4:] == ["x4[2]", "intercept[0]", "intercept[1]", "intercept[2]"]


@every_family
def test_sign_and_size_against_a_refit(name):
    """After minus before, in the parameters' own units; > 0 on the loss where the row helps."""
    family, model, ref = FAMILIES[name], fitted(name), dense(name)
    case, J = family.case, ref.jacobian(family.case.X_test)
    X, y = family.test
    before = retraining.retrain(model.estimator_, case.X, case.y, case.sample_weight)
    after = retraining.loo_params(model.estimator_, case.X, case.y, case.sample_weight, ROWS)
    change = model.influence_on_params(ROWS)
    tolerance = family.rtol if family.squared else 0.35
    for estimate, exact in zip(family.off_gauge(change), family.off_gauge(after - before), strict=True):
        assert np.linalg.norm(estimate - exact) <= tolerance * np.linalg.norm(exact)
    codes = ref.encode(y)
    exact = np.array([ref.loss(codes, ref.outputs(J, theta)).mean() for theta in after])
    exact -= ref.loss(codes, ref.outputs(J, before)).mean()
    estimate = model.influence_on_loss(X, y, ROWS, aggregate="mean")
    close(estimate, exact, tolerance)
    large = np.abs(exact) > 0.5 * np.abs(exact).max()
    assert (np.sign(estimate[large]) == np.sign(exact[large])).all()


# ---------------------------------------------------------------------------------------------------
# Against the dense formulas
# ---------------------------------------------------------------------------------------------------
@every_family
@both_methods
def test_rows_against_the_dense_step(name, method):
    model, ref = fitted(name, method), dense(name)
    expected = np.array([ref.removal(name, row, method) for row in ROWS])
    # Balanced factors change the curvature as a row of the class's mean weight would.
    typical = name == "balanced weighted" and method == "newton"
    close(model.influence_on_params(ROWS), expected, 0.1 if typical else 10 * FAMILIES[name].rtol)


@every_family
def test_curvature_solve_against_finite_differences(name):
    model, ref, p = fitted(name), dense(name), len(fitted(name).params_)
    step = 1e-5 * np.eye(p)
    H = np.array([ref.gradient(ref.theta + h) - ref.gradient(ref.theta - h) for h in step]) / 2e-5
    B = np.random.default_rng(0).normal(size=(p, 3))
    Z = model.curvature_solve(B)
    image = np.linalg.pinv(ref.hessian(), rcond=1e-11) @ ref.hessian()  # without softmax's flat directions
    close(H @ Z, image @ B, max(1e-6, 10 * FAMILIES[name].rtol))
    close(image @ Z, Z, 1e-9)
    close(model.curvature_solve(B[:, 0]), Z[:, 0], 1e-12)


@pytest.mark.parametrize("name", ["ridge", "ridge targets", "binary", "multinomial"])
def test_curvature_solve_of_no_columns(name):
    p = len(fitted(name).params_)
    assert fitted(name).curvature_solve(np.zeros((p, 0))).shape == (p, 0)


@every_family
def test_leverages(name):
    model, ref = fitted(name), dense(name)
    H = np.linalg.pinv(ref.hessian(), rcond=1e-11, hermitian=True)
    A = ref.J @ H @ ref.J.transpose(0, 2, 1)
    expected = ref.s[:, None, None] * (ref.bend(ref.outputs()) @ A)
    h = model.leverages().reshape(expected.shape)
    close(h, expected, 10 * FAMILIES[name].rtol, 1)
    eigenvalues = np.linalg.eigvals(h).real
    assert eigenvalues.min() > -1e-9 and eigenvalues.max() < 1 + 1e-9
    if isinstance(model.estimator_, LinearRegression):  # the hat matrix: a projection
        assert np.isclose(np.einsum("nqq->", h), len(model.params_), rtol=1e-10)
    # The first and the last test are the same row asked for in another company.
    np.testing.assert_allclose(model.leverages(ROWS), model.leverages()[ROWS], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", [n for n in FAMILIES if not any(word in n for word in (*SEVERAL_OUTPUTS, "balanced"))])
def test_newton_divides_by_one_minus_the_leverage(name):
    """One output: the pull of a row grows by 1 / (1 - h), so its own output moves by first_order / (1 - h)."""
    newton, first = fitted(name), fitted(name, "first_order")
    factor = 1 - newton.leverages()
    rtol = 10 * FAMILIES[name].rtol
    close(factor * newton.self_influence(on="output"), first.self_influence(on="output"), rtol)
    close(factor[:, None] * newton.influence_on_params(), first.influence_on_params(), rtol)
    X = FAMILIES[name].test[0]
    close(factor * newton.influence_on_output(X), first.influence_on_output(X), rtol)


# ---------------------------------------------------------------------------------------------------
# The methods agree with one another
# ---------------------------------------------------------------------------------------------------
@every_family
@both_methods
def test_outputs_and_losses_follow_the_parameters(name, method):
    family, model, ref = FAMILIES[name], fitted(name, method), dense(name)
    X, y = family.test
    codes, J = ref.encode(y), ref.jacobian(family.case.X_test)
    rtol = 10 * family.rtol
    delta, f = model.influence_on_params(ROWS), ref.outputs(J)
    df = np.einsum("mqp,kp->mkq", J, delta)
    raw = model.influence_on_output(X, ROWS)
    close(raw.reshape(df.shape), df, rtol)
    if not family.classifier:
        np.testing.assert_array_equal(raw, model.influence_on_output(X, ROWS, response_method="predict"))
    elif not family.squared:
        proba = model.influence_on_output(X, ROWS, response_method="predict_proba")
        if method == "newton":
            shifted = np.stack([ref.proba(f + df[:, k]) - ref.proba(f) for k in range(4)], axis=1)
        else:
            W = ref.bend(f)
            shifted = np.einsum("mqr,mkr->mkq", W, df)
            shifted = np.concatenate([-shifted, shifted], axis=2) if ref.q == 1 else shifted
        close(proba, shifted, rtol)
    if method == "newton":
        expected = np.stack([ref.loss(codes, f + df[:, k]) - ref.loss(codes, f) for k in range(4)], axis=1)
    else:
        expected = np.einsum("mq,mkq->mk", ref.slope(codes, f), df)
    effect = model.influence_on_loss(X, y, ROWS)
    close(effect, expected, rtol)
    weight = np.arange(len(y)) % 4 / 2
    for aggregate, total in (("sum", effect.sum(axis=0)), ("mean", effect.mean(axis=0))):
        close(model.influence_on_loss(X, y, ROWS, aggregate=aggregate), total, rtol, np.abs(effect).max())
    weighted = weight[:, None] * effect
    close(model.influence_on_loss(X, y, ROWS, sample_weight=weight), weighted, rtol)
    for aggregate, total in (("sum", weighted.sum(axis=0)), ("mean", weighted.sum(axis=0) / weight.sum())):
        actual = model.influence_on_loss(X, y, ROWS, sample_weight=weight, aggregate=aggregate)
        close(actual, total, rtol, np.abs(effect).max())


@every_family
@both_methods
def test_training_rows_self_influence_and_top(name, method):
    family, model = FAMILIES[name], fitted(name, method)
    X, y = family.test
    train = family.container(family.case.X), family.case.y
    rtol = 10 * family.rtol
    matrix = model.influence_on_loss()
    close(model.influence_on_loss(*train), matrix, rtol)
    close(model.self_influence(), np.diagonal(matrix), rtol)
    outputs = model.influence_on_output()
    np.testing.assert_allclose(model.influence_on_output(train[0]), outputs, rtol=0, atol=rtol * np.abs(outputs).max())
    diagonal = np.stack([outputs[i, i] for i in range(len(outputs))])
    close(model.self_influence(on="output"), diagonal, rtol)
    assert family.balanced or (model.self_influence() >= -1e-12).all()

    matrix = model.influence_on_loss(X, y)
    for order, key in {"harmful": matrix, "helpful": -matrix, "absolute": -np.abs(matrix)}.items():
        top = model.top_influences(X, y, k=6, order=order)
        ranked = np.take_along_axis(matrix, np.argsort(key, axis=1)[:, :6], axis=1)
        close(top.influences, ranked, rtol)
        close(np.take_along_axis(matrix, top.indices, axis=1), top.influences, rtol)
        assert all(len(set(row)) == 6 for row in top.indices)


@every_family
@both_methods
def test_indices_keep_their_order_and_meaning(name, method):
    family, model = FAMILIES[name], fitted(name, method)
    X, y = family.test
    n, rtol = len(family.case.X), max(1e-9, family.rtol)
    mask = np.isin(np.arange(n), ROWS)
    calls = {
        "params": lambda i: model.influence_on_params(i),
        "output": lambda i: np.swapaxes(model.influence_on_output(X, i), 0, 1),
        "loss": lambda i: model.influence_on_loss(X, y, i).T,
        "mean": lambda i: model.influence_on_loss(X, y, i, aggregate="mean"),
        "self": lambda i: model.self_influence(i),
        "self output": lambda i: model.self_influence(i, on="output"),
        "leverages": lambda i: model.leverages(i),
    }
    for what, call in calls.items():
        whole = call(None)
        close(call(ROWS), whole[ROWS], rtol, np.abs(whole).max())
        close(call(mask), whole[sorted(ROWS)], rtol, np.abs(whole).max())
        close(call(np.ones(n, dtype=bool)), whole, rtol)
        for empty in ([], np.zeros(n, dtype=bool)):
            assert call(empty).shape == (0, *whole.shape[1:]), what


@every_family
@both_methods
def test_groups(name, method):
    family, model, ref = FAMILIES[name], fitted(name, method), dense(name)
    X, y = family.test
    n, rtol = len(family.case.X), 10 * family.rtol
    single = model.influence_on_params()
    typical = name == "balanced weighted"  # single rows take the curvature of the class's mean weight
    close(model.influence_on_params(groups=np.arange(n)), single, 0.5 if typical else rtol)
    codes = np.arange(n) % 5
    groups = np.array(["pear", "fig", "plum", "apple", "kiwi"])[codes]
    order = [3, 1, 4, 0, 2]  # sorted labels
    delta = model.influence_on_params(groups=groups)
    assert delta.shape == (5, len(model.params_))
    for column, label in zip(delta, order, strict=True):
        rows = np.flatnonzero(codes == label)
        if method == "first_order":
            close(column, single[rows].sum(axis=0), rtol)
        else:
            s = ref.without(name, rows)
            close(column, -ref.solve(ref.hessian(s), ref.gradient(ref.theta, s)), 10 * rtol)
    effect = model.influence_on_loss(X, y, groups=groups)
    f, J = ref.outputs(ref.jacobian(family.case.X_test)), ref.jacobian(family.case.X_test)
    df = np.einsum("mqp,kp->mkq", J, delta)
    close(model.influence_on_output(X, groups=groups).reshape(df.shape), df, rtol)
    if method == "newton":
        label = ref.encode(y)
        expected = np.stack([ref.loss(label, f + df[:, k]) - ref.loss(label, f) for k in range(5)], axis=1)
        close(effect, expected, rtol)
    close(
        model.influence_on_loss(X, y, groups=groups, aggregate="mean"), effect.mean(axis=0), rtol, np.abs(effect).max()
    )
    threads = copy.deepcopy(model).set_params(n_jobs=2)
    np.testing.assert_array_equal(threads.influence_on_params(groups=groups), delta)


@every_family
@both_methods
def test_small_working_memory_changes_nothing(name, method):
    family, model = FAMILIES[name], fitted(name, method)
    (X_all, y_all), (X, y) = family.test, (part[:4] for part in family.test)
    ask = [
        lambda m: m.influence_on_params(),
        lambda m: m.influence_on_output(X),  # fewer test rows than training rows, and more
        lambda m: m.influence_on_output(X_all, ROWS),
        lambda m: m.influence_on_loss(X, y),
        lambda m: m.influence_on_loss(X_all, y_all, ROWS),
        lambda m: m.influence_on_loss(X, y, aggregate="mean"),
        lambda m: m.leverages(),
        lambda m: m.top_influences(X, y, k=4).influences,
    ]
    whole = [call(model) for call in ask]
    with sklearn.config_context(working_memory=0.002):
        other = family.fit(method=method)
        for call, expected in zip(ask, whole, strict=True):
            close(call(other), expected, max(1e-8, family.rtol))


@every_family
def test_test_rows_of_any_container(name):
    family, model = FAMILIES[name], fitted(name)
    X, y = family.test
    expected = model.influence_on_loss(X, y)
    dense_rows = family.case.X_test
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no feature names
        for rows in (dense_rows, sparse.csc_matrix(dense_rows), dense_rows.tolist(), np.asfortranarray(dense_rows)):
            close(model.influence_on_loss(rows, list(y)), expected, max(1e-9, family.rtol))
        single = dense_rows.astype(np.float32)
        close(model.influence_on_loss(single, y), expected, 1e-4)
        whole = np.round(dense_rows)
        close(
            model.influence_on_loss(whole.astype(np.int8), y), model.influence_on_loss(whole, y), max(1e-9, family.rtol)
        )


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(alpha=1e-11), Ridge(alpha=1e-7)], ids=repr)
@pytest.mark.parametrize("case", [LINE, TARGETS], ids=repr)
def test_a_row_that_carries_a_column_alone(estimator, case):
    """Leverage 1, or a rounding error less: without the row its column is constant, and the refit leaves it at 0."""
    X = np.column_stack([case.X, np.zeros(len(case.X))])
    X[7, -1] = 2.0
    X_test = np.column_stack([case.X_test, np.ones(len(case.X_test))])
    model = InfluenceEstimator(estimator).fit(X, case.y)
    keep = np.arange(len(X)) != 7
    after = retraining.retrain(estimator, X, case.y, keep=keep)
    exact = after - retraining.retrain(estimator, X, case.y)
    assert np.isclose(np.max(model.leverages([7])), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        close(model.influence_on_params([7])[0], exact, 1e-7)
        close(model.influence_on_params()[7], exact, 1e-7)
        q = retraining.output_shape(estimator, case.y)
        f = retraining.outputs(after, X_test, q)
        change = f - retraining.outputs(after - exact, X_test, q)
        close(model.influence_on_output(X_test)[:, 7], change, 1e-7)
        close(model.influence_on_output(X_test, [7])[:, 0], change, 1e-7)
        own = retraining.outputs(after, X[7:8], q) - retraining.outputs(after - exact, X[7:8], q)
        close(model.self_influence([7], on="output")[0], own[0], 1e-7)
        close(model.self_influence()[7], model.influence_on_loss(indices=[7])[7, 0], 1e-7)
    close(model.unlearn([7]).params_, after, 1e-9)
