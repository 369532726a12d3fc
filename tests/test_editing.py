"""One edit of an objective: what it does to the rows, and that every way to its minimum ends there."""

import numpy as np
import pytest
from test_primal import N, make

from sklearn_influence import newton
from sklearn_influence.editing import Addition, Correction, Removal, edited_minimum
from sklearn_influence.solvers import ConjugateGradient, Direct

LIMITS = dict(tol=1e-10, max_iter=50, as_written=lambda objective: (objective, 0.0))
KINDS = ("squares", "logistic", "softmax")


def edits(objective, k=4):
    """One of each kind, of k rows."""
    rng = np.random.default_rng(0)
    rows = rng.choice(N, k, replace=False)
    X, y = rng.standard_normal((k, objective.design.n_features)) + 1, np.roll(objective.y, 1, axis=0)[rows]
    return [
        Removal(rows),
        Correction(rows, X, y),
        Correction(rows, X),
        Correction(rows, y=y),
        Addition(X, y, rng.random(k) + 0.5),
    ]


@pytest.mark.parametrize("n", range(5))
def test_an_edit_says_where_its_rows_come_from(n):
    objective = make("logistic")
    edit = edits(objective)[n]
    edited, origin = edit.apply(objective), edit.origin(N)
    assert len(origin) == edited.n_rows
    same = origin >= 0
    np.testing.assert_array_equal(edited.design.X[same], objective.design.X[origin[same]])
    np.testing.assert_array_equal(edited.y[same], objective.y[origin[same]])
    np.testing.assert_array_equal(edit.entering(N), np.flatnonzero(~same))
    np.testing.assert_array_equal(edit.weights(objective.weighting.sample_weight), edited.weighting.sample_weight)
    numbers = edit.numbers(100 + np.arange(N), 200)
    np.testing.assert_array_equal(numbers[same], 100 + origin[same])
    if isinstance(edit, Addition):
        np.testing.assert_array_equal(numbers[~same], [200, 201, 202, 203])
    else:
        assert set(numbers) <= set(range(100, 100 + N))
    (count,) = edit.counts.values()
    assert count == 4


@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient()], ids=["direct", "cg"])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("k", [1, 4, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_ends_at_the_minimum(kind, k, balanced, solver):
    if balanced and kind == "squares":
        pytest.skip("regression has no classes")
    best, _ = newton.minimise(make(kind, balanced=balanced))
    factor = solver.factor(best.curvature())
    for edit in edits(best, k):
        expected, _ = newton.minimise(edit.apply(best))
        for before in ((best, factor), None):
            found, own, certificate = edited_minimum(edit.apply(best), edit, before, solver=solver, **LIMITS)
            off = found.params - expected.params
            if found.loss.shift_invariant:
                off = found.curvature().off_gauge(off[:, None])
            assert np.linalg.norm(off) <= 5e-11
            assert certificate.converged and certificate.param_bound < 1e-9
            assert np.linalg.norm(off) <= certificate.param_bound + 1e-13  # the other minimum has rounding too
            assert certificate.n_retained == found.n_rows and certificate.seconds > 0
            counts = {"n_removed": 0, "n_updated": 0, "n_added": 0, **edit.counts}
            assert {name: certificate[name] for name in counts} == counts
            if own is not None:  # never conjugate gradients, whose preconditioner may be the old rows'
                assert not own.iterative and own.curvature.design.n_rows == found.n_rows
                weights = own.curvature.weights_by_output().sum(axis=1)  # and not about a mean of rows that left
                np.testing.assert_allclose(own.curvature.centre, found.design.mean(weights), rtol=1e-13)
                B = np.eye(found.n_params)
                np.testing.assert_allclose(own(B)[0], Direct().factor(found.curvature())(B)[0], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_steps_is_kept_to(kind):
    best, _ = newton.minimise(make(kind))
    factor = Direct().factor(best.curvature())
    edit = edits(best, 12)[1]
    limits = {**LIMITS, "max_iter": 1}
    expected, _ = newton.minimise(edit.apply(best))
    for before in ((best, factor), None):
        found, _, certificate = edited_minimum(edit.apply(best), edit, before, solver=Direct(), **limits)
        assert certificate.n_iter == 1 and certificate.converged == (kind == "squares")
        assert "solved" not in certificate  # a word of the bound's own, whether it converged or not
        assert np.linalg.norm(found.params - expected.params) <= certificate.param_bound
