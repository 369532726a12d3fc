"""What solves say: merged, heard within a block only, also from threads."""

import threading

import numpy as np
import pytest
from curvatures import hessian, sides

from sklearn_influence._parallel import threads
from sklearn_influence.solvers import ConjugateGradient, Direct, SolveInfo, Stochastic
from sklearn_influence.solvers.info import listening, merge, report


def info(residual, converged=True, iterations=1, reason="fine", rcond=0.5, nullity=0, **more):
    return SolveInfo(Direct(), converged, iterations, np.array(residual, float), reason, rcond, nullity, **more)


def test_worst_is_the_column_of_the_largest_residual():
    assert info([1e-3, 0.2, 0.1]).worst == 1
    assert info([]).worst is None


def test_merge_puts_columns_side_by_side_and_takes_the_worst():
    both = merge([info([1e-9, 3e-9], iterations=4, rcond=0.1), info([2e-9], iterations=9, reason="slow", nullity=2)])
    np.testing.assert_array_equal(both.residual, [1e-9, 3e-9, 2e-9])
    assert (both.converged, both.iterations, both.rcond, both.nullity) == (True, 9, 0.1, 2)
    assert both.reason == "fine" and both.standard_error is None and both.repeats is None
    # One that has not converged speaks for all, however small its residual.
    poor = merge([info([0.1]), info([1e-12], False, reason="stopped"), info([0.2])])
    assert not poor.converged and poor.reason == "stopped" and poor.worst == 2
    nothing = merge([info([]), info([1e-3], reason="one column")])
    assert nothing.reason == "one column" and nothing.residual.shape == (1,)
    assert merge([info([])]).residual.shape == (0,)


def test_merge_keeps_standard_errors_of_one_curvature():
    rng = np.random.default_rng(0)
    parts = [info([0.1] * k, standard_error=rng.random((5, k)), repeats=rng.random((3, 5, k))) for k in (1, 2)]
    both = merge(parts)
    np.testing.assert_array_equal(both.standard_error, np.hstack([part.standard_error for part in parts]))
    np.testing.assert_array_equal(both.repeats, np.concatenate([part.repeats for part in parts], axis=2))
    other = info([0.1], standard_error=rng.random((4, 1)), repeats=rng.random((3, 4, 1)))
    assert merge([*parts, other]).standard_error is None and merge([*parts, info([0.0])]).repeats is None


def test_only_those_who_listen_hear():
    H = hessian()
    factor, B = Direct().factor(H), sides(H)
    first = info([1.0])
    assert report(first) is first  # nobody listens
    with listening() as outer:
        factor(B)
        with listening() as inner:  # a step on the way: no part of the outer result
            factor(B)
            factor(B[:, :1])
        assert [len(i.residual) for i in inner] == [3, 1]
        factor(B[:, :2])
    factor(B)
    assert [len(i.residual) for i in outer] == [3, 2]


def test_a_failure_ends_the_listening():
    with pytest.raises(ZeroDivisionError), listening() as infos:
        raise ZeroDivisionError
    report(info([1.0]))
    assert infos == []


def test_threads_are_heard_by_the_one_who_started_them():
    H = hessian()
    factor, B = Direct().factor(H), sides(H, k=6)
    with listening() as infos:
        threads(lambda k: factor(B[:, :k]), [1, 2, 3, 4, 5, 6], n_jobs=2)
    assert sorted(len(i.residual) for i in infos) == [1, 2, 3, 4, 5, 6]
    heard = {}

    def ask(k):
        with listening() as mine:
            factor(B[:, :k])
            factor(B[:, :k])
        heard[k] = [len(i.residual) for i in mine]

    workers = [threading.Thread(target=ask, args=(k,)) for k in (1, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert heard == {k: [k, k] for k in (1, 2, 3)}


@pytest.mark.parametrize(
    "solver", [Direct(), ConjugateGradient(), Stochastic(random_state=0)], ids=lambda s: type(s).__name__
)
def test_every_call_reports_what_it_returns(solver):
    H = hessian()
    factor = solver.factor(H)
    with listening() as infos:
        _, said = factor(sides(H))
    assert infos == [said] and said.solver is solver and said.residual.shape == (3,)


def test_arrays_of_repeats_stay_out_of_the_text():
    text = repr(info([0.1], standard_error=np.full((5, 1), 7.25), repeats=np.full((3, 5, 1), 8.5)))
    assert "7.25" not in text and "8.5" not in text and "converged=True" in text
