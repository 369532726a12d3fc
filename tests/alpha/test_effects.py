"""Removals from kernel models where digits go missing, and the ways of taking groups out; the contract has the rest."""

import warnings

import cases
import numpy as np
import pytest
from kernel_contract import FAMILIES, GP, KLR, LINE, SMOOTH, THREE, UNEQUAL, Family, close, without
from sklearn.kernel_ridge import KernelRidge
from tangent_cases import KINDS, Linearised

from sklearn_influence import InfluenceEstimator
from sklearn_influence.alpha import effects, replacement_effects
from sklearn_influence.replacements import Replacements
from sklearn_influence.solvers import ConjugateGradient, Direct

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage")
INTERPOLATING = {
    "ridge": Family(KernelRidge(1e-10, kernel="rbf", gamma=0.3), LINE),
    "gp": Family(GP(SMOOTH, optimizer=None), LINE),
    "gp normalised": Family(GP(SMOOTH, optimizer=None, normalize_y=True), LINE),
}


@pytest.mark.parametrize("solver", ["direct", "cg"])
@pytest.mark.parametrize("name", INTERPOLATING)
def test_models_that_interpolate(name, solver):
    """At alpha=1e-10 every leverage is 1 to 1e-9, and residuals have lost all but a few digits."""
    family, rows = INTERPOLATING[name], [17, 3]
    model = family.fit(solver=solver)
    change = model.influence_on_output(family.test_rows(), rows)
    own = model.self_influence(rows, on="output")
    before = family.refit()
    groups = np.zeros(family.n)
    groups[rows] = 1
    together = model.influence_on_output(family.test_rows(), groups=groups)[:, 1]
    for j, row in enumerate(rows):
        after = family.refit(without(family, [row]))
        close(change[:, j], (family.raw(after) - family.raw(before))[:, 0], 1e-9)
        X = family.case.X[[row]]
        close(own[j], (family.raw(after, X=X) - family.raw(before, X=X))[0, 0], 1e-9)
    both = family.refit(without(family, rows))
    close(together, (family.raw(both) - family.raw(before))[:, 0], 1e-9)


@pytest.mark.parametrize("name", ["ridge rbf", "ridge poly targets", "binary", "softmax weighted"])
def test_small_groups_out_of_the_inverse_are_the_retained_rows_own_step(name):
    model = FAMILIES[name].fit()
    objective, factor = model._fitted.solved(model._options())
    rows = np.array([3, 8, 11, 30])
    small, left = effects._group_step(objective, factor, rows)
    own, own_left = effects._refactored_step(objective, factor, rows)
    close(small, own, 1e-9)
    close(left, own_left, 1e-7, 1.0)
    assert (left == 0.0) == objective.loss.quadratic


def test_what_one_step_leaves_of_the_way():
    """left is the decrement after the step over the one before it, in dense matrices."""
    family = FAMILIES["softmax"]
    model = family.fit()
    objective, factor = model._fitted.solved(model._options())
    rows = np.arange(0, 20)
    step, left = effects._refactored_step(objective, factor, rows)
    kept = objective.with_(sample_weight=objective.weighting.effective(removed=rows))
    K = np.kron(objective.gram.matrix, np.eye(3))

    def decrement(at, curvature):
        b = at.gradient()
        H = curvature.matmat(np.eye(len(b)))
        return np.sqrt(b @ K @ np.linalg.solve(H, b))

    # the first gradient is that of the rows that stay, the coefficients of the others as they are
    start = decrement(kept, kept.curvature())
    after = decrement(kept.with_(params=kept.params + step), kept.curvature())
    close(left, after / start, 1e-6)
    assert 0 < left < 1
    with pytest.warns(UserWarning, match="One Newton step is a rough estimate"):
        Family(KLR(0.01, gamma=0.3), THREE).fit().influence_on_params(groups=np.arange(44) % 2)


@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient()], ids=["direct", "cg"])
def test_balanced_weights_and_the_mean_together(solver):
    family = Family(
        KLR(0.3, gamma=0.3, class_weight="balanced", penalty_scale="mean"), cases.replace(UNEQUAL, name="both")
    )
    change = family.fit(solver=solver).influence_on_output(family.test_rows(), [3, 8])
    first = family.fit(solver=solver, method="first_order").influence_on_output(family.test_rows(), [3, 8])
    truth = [family.raw(family.refit(without(family, [row]))) - family.raw(family.refit()) for row in (3, 8)]
    truth = np.hstack(truth)
    error, error_first = (np.abs(one - truth).max() / np.abs(truth).max() for one in (change, first))
    assert error < 0.1 and error < 0.3 * error_first


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (Family(KLR(penalty_scale="mean"), THREE), "penalty_scale='mean'"),
        (Family(GP(SMOOTH, alpha=0.1, optimizer=None, normalize_y=True), LINE), "normalize_y=True"),
    ],
)
def test_second_order_is_refused_where_more_follows_the_rows(family, words):
    model = family.fit(method="second_order")
    for question in (lambda: model.influence_on_params([1]), lambda: model.influence_on_params(groups=np.arange(44))):
        with pytest.raises(ValueError, match=f"method='second_order' and {words}.*Use method='newton'"):
            question()


def test_second_order_is_the_next_term():
    """On a kernel ridge model the expansion's terms are those of the geometric series in the leverages."""
    family = FAMILIES["ridge rbf"]
    first, second, newton = (
        family.fit(method=method).influence_on_params([17, 3]) for method in ("first_order", "second_order", "newton")
    )
    h = family.fit().leverages([17, 3])
    close(first, newton * (1 - h)[:, None], 1e-9)
    close(second, newton * (1 - h**2)[:, None], 1e-9)


def test_first_order_is_a_derivative_by_the_weights():
    e = 1e-4
    for name in ("ridge linear weighted", "binary", "binary mean", "softmax weighted"):
        family, row = FAMILIES[name], 17
        weight = np.ones(family.n) if family.case.sample_weight is None else family.case.sample_weight
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = family.fit(method="first_order").influence_on_output(family.test_rows(), [row])
        sides = []
        for sign in (1, -1):
            moved = weight.astype(float).copy()
            moved[row] *= 1 + sign * e
            case = cases.replace(family.case, sample_weight=moved)
            estimator = family.estimator
            if family.mean:
                scaled = estimator.alpha * moved.sum() / weight.sum()
                estimator = KLR(scaled, gamma=estimator.gamma)
            sides.append(family.raw(Family(estimator, case, family.container).refit()))
        truth = -(sides[0] - sides[1]) / (2 * e)
        close(got.reshape(truth.shape), truth, 1e-5)


@pytest.mark.parametrize("strength", [1e-3, 1e-6, 1e-9])
def test_groups_are_the_refit_where_the_model_interpolates(strength):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 2))
    y, groups = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(100), np.arange(100) % 10
    estimator = KernelRidge(alpha=strength, kernel="rbf", gamma=0.5)
    model = InfluenceEstimator(estimator).fit(X, y)
    before = model.predict(X[:9])
    changes = model.influence_on_output(X[:9], groups=groups)
    for g in (0, 7):
        kept = groups != g
        change = KernelRidge(**estimator.get_params()).fit(X[kept], y[kept]).predict(X[:9]) - before
        # The refits' own rounding: that of float64 times the condition of their system, whose trace is 100.
        close(changes[:, g], change, max(1e-9, 100 * np.finfo(float).eps / strength))


# -- linearised networks: kernels that mix the outputs, against dense steps of the network's own parameters ------------

WAYS = pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(tol=1e-13)], ids=["direct", "cg"])
LINEARISED = pytest.mark.parametrize("kind", KINDS)


def _check(case, found, truth):
    """Effects by their parameters, and by the outputs that those move."""
    objective, every = found.objective, slice(None)
    close(objective.to_params(found.params(every)), truth, 1e-8)
    X, (m, q) = objective.read_rows(case.X_test), (5, case.q)
    moved = case.test_changes(truth)
    close(objective.outputs_change(found.params(every), X), moved, 1e-8)
    basis = objective.pullback(np.tile(np.eye(q), (m, 1)), X.take(np.repeat(np.arange(m), q)))
    close(found.onto(basis)(every).reshape(m, q, -1), moved, 1e-8)


EXTRA = {"plain": {}, "mean": {"mean": True, "equal": True}, "balanced": {"balanced": True, "equal": True}}


@WAYS
@pytest.mark.parametrize(
    ("kind", "extra"), [(kind, extra) for kind in KINDS for extra in EXTRA if kind[:2] != "sq" or extra != "balanced"]
)
def test_rows_of_linearised_networks(kind, solver, extra):
    case = Linearised(kind, **EXTRA[extra])
    objective, factor = case.fit(solver)
    rows, theta = np.arange(case.n), case.refit()
    found = effects.row_effects(objective, factor, rows, "newton")
    truth = np.stack([case.newton_without([row], theta) for row in rows], axis=1)
    _check(case, found, truth)
    close(found.own_outputs(), np.einsum("kqp,pk->kq", case.J(case.X), truth), 1e-8)
    first = effects.row_effects(objective, factor, rows[:3], "first_order")
    if extra == "plain":
        H = case.hessian(theta, case.X, case.y, case.weight)
        pulls = [-case.gradient(theta, case.X, case.y, case.weight * (rows != row)) for row in rows[:3]]
        _check(case, first, np.linalg.solve(H, np.stack(pulls, axis=1)))


@WAYS
@LINEARISED
@pytest.mark.parametrize("mean", [False, True])
def test_groups_of_linearised_networks(kind, solver, mean):
    case = Linearised(kind, mean=mean)
    objective, factor = case.fit(solver)
    groups, theta = [np.array([7]), np.array([1, 4, 8, 9, 10, 11])], case.refit()
    found = effects.group_effects(objective, factor, groups, "newton")
    _check(case, found, np.stack([case.newton_without(rows, theta) for rows in groups], axis=1))
    if case.loss.quadratic:
        weight = np.where(np.isin(np.arange(12), groups[1]), 0.0, case.weight)
        close(objective.to_params(found.params(slice(1, 2)))[:, 0], case.refit(weight=weight) - theta, 1e-8)
    second = effects.group_effects(objective, factor, groups[:1], "first_order")
    assert np.abs(second.params(slice(None)) - found.params(slice(0, 1))).max() > 1e-4


def _replaced(case, theta, row, x, y):
    """A Newton step of the other rows, with the new row's loss in full."""
    weight = case.weight * (np.arange(12) != row)
    H, g = (of(theta, case.X, case.y, weight) for of in (case.hessian, case.gradient))
    J, f0, s, step = case.J(x)[0], case.network.outputs(x), case.weight[row], np.zeros(len(theta))
    for _ in range(50):
        f = f0 + (J @ (theta + step))[None]
        W = case.loss.curvature(y, f)[0]
        W = np.diag(W) if W.ndim == 1 else W
        left = g + H @ step + s * J.T @ case.loss.gradient(y, f)[0]
        step = step - np.linalg.solve(H + s * J.T @ W @ J, left)
    return step


@WAYS
@LINEARISED
@pytest.mark.parametrize("what", ["rows", "labels", "both"])
def test_replacements_in_linearised_networks(kind, solver, what):
    case, rows = Linearised(kind), np.array([7, 2])
    (objective, factor), theta = case.fit(solver), case.refit()
    X = case.X[rows] if what == "labels" else case.X_test[:2]
    y = case.y[rows] if what == "rows" else case.targets(np.random.default_rng(5), 2)
    change = Replacements(rows, None if what == "labels" else X, None if what == "rows" else y)
    found = replacement_effects(objective, factor, change, "newton")
    truth = [_replaced(case, theta, row, X[[j]], y[[j]]) for j, row in enumerate(rows)]
    _check(case, found, np.stack(truth, axis=1))
    if case.loss.quadratic:  # the refit itself
        moved, targets = case.X.copy(), case.y.copy()
        moved[7], targets[7] = X[0], y[0]
        close(truth[0], case.refit(moved, targets) - theta, 1e-9)


def test_a_label_that_leaves_no_curvature_behind_is_stepped_on_by_itself():
    """At next to no strength a row's leverage is 1: its replacement is a step from the rows as they are after it."""
    case, rho, rows = Linearised("softmax"), 1e-11, np.array([7])
    objective = case.weakly(rho, 0.0)
    y = case.y.copy()
    y[7] = (y[7] + 1) % 3
    found = replacement_effects(
        objective, Direct().factor(objective.curvature()), Replacements(rows, y=y[rows]), "newton"
    )
    assert list(found.direct) == [0]
    zero = np.zeros(case.network.n_params)
    H, g = case.hessian(zero, case.X, y, case.weight, rho), case.gradient(zero, case.X, y, case.weight)
    step = case.J(case.X) @ np.linalg.solve(H, -g)
    moved = objective.outputs_change(found.params(slice(None)))[:, :, 0]
    seen = case.weight > 0
    close((moved - moved.mean(axis=1, keepdims=True))[seen], (step - step.mean(axis=1, keepdims=True))[seen], 1e-3)
