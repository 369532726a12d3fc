"""Tables, pipelines and searches that cannot be used are refused in words, and a refusal changes nothing."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from bad_tables import BAD, GONE, X_TEST, Y_TEST, Y, fitted
from sklearn.exceptions import NotFittedError

pl = pytest.importorskip("polars")

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*", "ignore:Found unknown categories")


def _state(model):
    """All that a refused call must leave as it was."""
    kept = {name: value for name, value in vars(model).items() if name not in model.get_params(deep=False)}
    return pickle.dumps(kept), model.params_.tobytes(), model.sample_indices_.tobytes(), repr(model.certificate_)


def _test_rows(kind, rows):
    if kind in ("numbers", "array", "ridge cv", "words"):
        return rows[:9], Y[:9]
    return X_TEST[:9], Y_TEST[:9]


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused_in_words_and_change_nothing(name):
    bad = BAD[name]
    kind = "pipeline" if bad.kind == "binary" else bad.kind
    original, rows = fitted(kind)
    model = copy.deepcopy(original)
    settings, before = model.get_params(deep=False), _state(model)
    X_test, y_test = _test_rows(kind, rows)
    expected = model.influence_on_loss(X_test, y_test, aggregate="mean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(bad.error) as info:
            bad.call(model, rows, Y.to_numpy())
    assert not isinstance(info.value, (np.linalg.LinAlgError, LookupError, ZeroDivisionError, AssertionError))
    missing = [word for word in bad.words if word not in str(info.value)]
    assert not missing, f"the message lacks {missing}: {info.value}"

    model.set_params(**settings)
    assert _state(model) == before
    np.testing.assert_array_equal(model.predict(X_test), original.predict(X_test))
    np.testing.assert_array_equal(model.influence_on_loss(X_test, y_test, aggregate="mean"), expected)
    assert GONE + 1 not in model.unlearn([GONE + 1]).sample_indices_


def test_a_lazy_frame_is_still_to_be_computed():
    model, rows = copy.deepcopy(fitted("numbers")[0]), pl.from_pandas(fitted("numbers")[1])
    before = _state(model)
    with pytest.raises(ValueError, match=r"got a LazyFrame, which is still to be computed; pass X.collect\(\)"):
        model.fit(rows.lazy(), Y)
    assert _state(model) == before


def test_frozen_weights_by_the_steps_name_are_not_lost():
    """Nobody else reads them: a frozen estimator's own fit takes anything and does nothing."""
    rows, weight = fitted("frozen")[1], np.linspace(0.5, 2, 120)
    by_name, plain = copy.deepcopy(fitted("frozen")[0]), copy.deepcopy(fitted("frozen")[0])
    by_name.fit(rows, Y, model__sample_weight=weight)
    plain.fit(rows, Y, sample_weight=weight)
    np.testing.assert_array_equal(by_name.leverages(), plain.leverages())
    assert np.abs(by_name.leverages() - fitted("pipeline")[0].fit(rows, Y).leverages()).max() > 1e-3


def test_there_are_enough_kinds():
    assert len(BAD) >= 90 and NotFittedError.__mro__[1] is ValueError  # which the table counts on
