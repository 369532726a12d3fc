"""Leave-one-out steps by a solve each, against dense curvatures without each row."""

import cases
import numpy as np
import pytest
from contract import FAMILIES, close, dense, fitted
from sklearn.linear_model import LogisticRegression

from sklearn_influence import InfluenceEstimator, _backend
from sklearn_influence.leave_one_out import SteppedEffects, stepped_effects
from sklearn_influence.solvers import ConjugateGradient

NAMES = [
    "multinomial",
    "multinomial no intercept",
    "multinomial weighted",
    "multinomial csr",
    "multinomial unpenalised",
]
ROWS = np.array([17, 3, 30, 8])


def stepped(name, rows=ROWS, **options):
    model = FAMILIES[name].fit(solver=ConjugateGradient(n_directions=2, tol=1e-12, **options))
    return stepped_effects(*model._fitted.solved(model._options()), np.array(rows))


@pytest.mark.parametrize("name", NAMES)
def test_each_column_is_solved_without_its_row(name):
    ref, effects = dense(name), stepped(name)
    expected = np.array([ref.removal(name, row, "newton") for row in ROWS])
    close(effects.delta.T, expected, 1e-7)
    close(effects.params(slice(1, 3)).T, expected[1:3], 1e-7)
    own = np.einsum("kqp,kp->kq", ref.J[ROWS], expected)
    close(effects.own_outputs(), own, 1e-7)
    G = np.random.default_rng(0).standard_normal((len(ref.theta), 2))
    out = np.empty((2, 2))
    assert effects.onto(G)(slice(2, 4), out=out) is out
    close(out, (expected[2:4] @ G).T, 1e-7)
    assert len(effects) == 4 and effects.rows is not None


@pytest.mark.parametrize("name", NAMES)
def test_its_leverage_is_that_along_the_rows_gradient(name):
    """``h = g'H^-1 (s J'WJ) H^-1 g / g'H^-1 g`` without the row: never above the largest eigenvalue of s W A."""
    ref, effects = dense(name), stepped(name)
    H = ref.hessian()
    W, u = ref.bend(ref.outputs()), ref.slope(ref.y, ref.outputs())
    for column, row in enumerate(ROWS):
        J, s = ref.J[row], ref.s[row]
        without = ref.solve(H - s * J.T @ W[row] @ J, J.T @ u[row])
        ratio = s * (J @ without) @ W[row] @ (J @ without) / (u[row] @ J @ without)
        assert effects.largest[column] == pytest.approx(ratio / (1 + ratio), rel=1e-6)
        A = J @ ref.solve(H, J.T)
        assert 0 <= effects.largest[column] <= np.linalg.eigvals(s * W[row] @ A).real.max() * (1 + 1e-8)


def test_it_serves_few_rows_of_outputs_that_mix(monkeypatch):
    """And gives what leverages give for many rows."""
    model = FAMILIES["multinomial"].fit(solver="cg")
    few, many = model.influence_on_params(ROWS), model.influence_on_params()
    close(few, many[ROWS], 1e-8)
    close(few, fitted("multinomial").influence_on_params(ROWS), 1e-8)
    calls = []

    def counted(*args):
        calls.append(len(args[2]))
        return stepped_effects(*args)

    monkeypatch.setattr("sklearn_influence.effects.stepped_effects", counted)
    for name, solver, method, expected in (
        ("multinomial", "cg", "newton", [4]),
        ("multinomial", "direct", "newton", []),
        ("multinomial", "cg", "first_order", []),
        ("binary", "cg", "newton", []),
        ("multinomial balanced", "cg", "newton", []),
    ):
        calls.clear()
        FAMILIES[name].fit(solver=solver, method=method).influence_on_params(ROWS)
        assert calls == expected, (name, solver, method)


def test_a_row_of_weight_zero_stays_out():
    weight = np.ones(60)
    weight[3] = 0.0
    case = cases.tiny_classification(n_classes=3)
    model = InfluenceEstimator(LogisticRegression(), solver="cg").fit(case.X, case.y, sample_weight=weight)
    effects = stepped_effects(*model._fitted.solved(model._options()), np.array([3, 5]))
    assert not effects.delta[:, 0].any() and effects.largest[0] == 0 and effects.delta[:, 1].any()


def test_too_many_rows_are_refused_before_work(monkeypatch):
    model = FAMILIES["multinomial"].fit(solver="cg")
    objective, factor = model._fitted.solved(model._options())
    monkeypatch.setattr(_backend, "physical_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"Parameter changes of 4 rows.*'first_order'"):
        stepped_effects(objective, factor, ROWS)
    assert SteppedEffects(objective, np.ones((2, 4)), ROWS, None, None).operations == 0
