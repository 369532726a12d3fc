"""A network over the span of its rows: every answer is that of its parameters."""

import numpy as np
import pytest
from jacobians import LOSSES, WIDE, of_network, problem

from sklearn_influence import parameter_space
from sklearn_influence.linearised.span import SpannedObjective, fits_better, is_spanned
from sklearn_influence.replacements import Replacements
from sklearn_influence.solvers import ConjugateGradient, Direct

EVERY = slice(None)


N, D = 24, WIDE[0]


def pair(kind):
    """The same optimum in a network's parameters and over the span, of fewer rows than that has unknowns."""
    objective = of_network(kind, sizes=WIDE, n=N)
    found, info = parameter_space.minimise_anew(objective, solver=Direct(), tol=1e-13)
    dual, dual_info = parameter_space.minimise_anew(SpannedObjective(objective), solver=Direct(), tol=1e-13)
    assert info.converged and dual_info.converged
    return found, dual


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_every_answer_is_that_of_the_parameters(kind):
    primal, dual = pair(kind)
    assert dual.n_params < primal.n_params and dual.representation == "dual"
    close = dict(rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(dual.to_params(dual.params), primal.params, **close)
    np.testing.assert_allclose(dual.outputs(), primal.outputs(), rtol=1e-10, atol=1e-11)
    factors = [Direct().factor(one.curvature()) for one in (primal, dual)]
    X, (y, *_) = problem(kind, seed=3, d=D)
    assert [factor.nullity for factor in factors] == [0, 0]
    rows, groups = np.array([0, 4, 7]), [np.arange(2), np.arange(3)]
    for name, asked, method in [
        ("row_effects", rows, "newton"),
        ("row_effects", rows, "first_order"),
        ("row_effects", rows, "second_order"),
        ("group_effects", groups, "newton"),
        ("replacement_effects", Replacements(rows, X[:3], y[[1, 2, 0]]), "newton"),
        ("replacement_effects", Replacements(rows, None, y[[1, 2, 0]]), "first_order"),
    ]:
        ask = getattr(parameter_space, name)
        theirs, ours = (ask(one, factor, asked, method) for one, factor in zip((primal, dual), factors, strict=True))
        delta = ours.objective.to_params(ours.params(EVERY))
        np.testing.assert_allclose(delta, theirs.params(EVERY), rtol=1e-6, atol=1e-7 * np.abs(delta).max())
        tests = [one.objective.read_rows(X[5:9]) for one in (ours, theirs)]
        f = [
            one.objective.outputs_change(one.params(EVERY), own) for one, own in zip((ours, theirs), tests, strict=True)
        ]
        np.testing.assert_allclose(*f, rtol=1e-7, atol=1e-8 * np.abs(f[1]).max())
    np.testing.assert_allclose(dual.outputs(dual.read_rows(X)), primal.outputs(primal.read_rows(X)), **close)
    B = np.random.default_rng(0).standard_normal((primal.n_params, 2))
    solved = [one.solve_params(factor, B) for one, factor in zip((primal, dual), factors, strict=True)]
    np.testing.assert_allclose(solved[1], solved[0], rtol=1e-6, atol=1e-7 * np.abs(solved[0]).max())


@pytest.mark.parametrize("kind", ["squares", "softmax"])
def test_weights_off_the_span_are_outside(kind):
    primal, _ = pair(kind)
    assert SpannedObjective(primal).outside < 1e-9 * np.linalg.norm(primal.params)
    Z = primal.design.jacobian()[:, :, : primal.design.network.n_weights].reshape(N * primal.n_outputs, -1)
    off = np.random.default_rng(0).standard_normal(Z.shape[1])
    off -= np.linalg.pinv(Z, rcond=1e-12) @ (Z @ off)
    away = primal.params.copy()
    away[: len(off)] += off
    there = SpannedObjective(primal.with_(params=away))
    assert there.outside == pytest.approx(np.linalg.norm(off), rel=1e-6)
    np.testing.assert_allclose(there.params, SpannedObjective(primal).params, atol=1e-7)
    relative = parameter_space.stationarity(there, Direct().factor(there.curvature())).newton_decrement
    assert relative == pytest.approx(np.sqrt(0.4) * np.linalg.norm(off), rel=1e-6)


@pytest.mark.parametrize("kind", ["targets", "logistic"])
def test_edited_rows_are_another_span(kind):
    _, dual = pair(kind)
    X, (y, *_) = problem(kind, n=20, seed=3, d=D)
    kept = np.arange(N) % 5 != 0
    for edited, fresh in [
        (dual.take(kept), dual.primal().take(kept)),
        (dual.replace(np.array([1]), X[:1], y[:1]), dual.primal().replace(np.array([1]), X[:1], y[:1])),
        (dual.append(X[:2], y[:2], np.ones(2)), dual.primal().append(X[:2], y[:2], np.ones(2))),
    ]:
        found, _ = parameter_space.minimise_anew(edited, solver=Direct())
        want, _ = parameter_space.minimise_anew(fresh, solver=Direct())
        np.testing.assert_allclose(found.to_params(found.params), want.params, rtol=1e-7, atol=1e-8)
    halved = dual.with_(sample_weight=0.5 * dual.sample_weight)
    assert halved.primal().value() == pytest.approx(halved.value(), rel=1e-9)


def test_conjugate_gradients_work_over_the_span():
    _, dual = pair("softmax")
    B = dual.sample_gradients(np.arange(3))
    exact, found = (solver.factor(dual.curvature())(B)[0] for solver in (Direct(), ConjugateGradient(tol=1e-12)))
    np.testing.assert_allclose(found, exact, rtol=1e-7, atol=1e-9)


def test_a_span_needs_one_penalty_for_the_weights_and_none_for_the_biases():
    few = of_network("softmax", sizes=WIDE, n=N)
    assert is_spanned(few) and fits_better(few)
    assert is_spanned(of_network("softmax")) and not fits_better(of_network("softmax"))  # 90 outputs, 83 parameters
    assert not is_spanned(of_network("softmax", free_biases=False))
    assert not is_spanned(of_network("softmax", penalty=0.0))
    assert not is_spanned(of_network("softmax", rows="array"))
    with pytest.raises(ValueError, match="linear term"):
        SpannedObjective(few).with_linear(np.ones(few.n_params))
