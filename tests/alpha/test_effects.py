"""Removals from kernel models where digits go missing, and the ways of taking groups out; the contract has the rest."""

import warnings

import cases
import numpy as np
import pytest
from kernel_contract import FAMILIES, GP, KLR, LINE, SMOOTH, THREE, UNEQUAL, Family, close, without
from sklearn.kernel_ridge import KernelRidge

from sklearn_influence import InfluenceEstimator
from sklearn_influence.alpha import effects
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
