"""What is refused, in which words, and that a refusal changes nothing.

First the checks themselves, then the table of `bad_input`, through the public methods of fitted models.
"""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from bad_input import BAD, BINARY, COLUMNS, GONE, LINE, THREE, N, fitted
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC

from sklearn_influence import InfluenceEstimator, _backend, _validation, certificates, solvers
from sklearn_influence.objective import Weighting

pytestmark = pytest.mark.filterwarnings("ignore:.*leverage.*")


# ---------------------------------------------------------------------------------------------------
# The checks on their own
# ---------------------------------------------------------------------------------------------------
def test_the_only_row_with_weight_of_its_class():
    weighting = Weighting(np.array([1.0, 0.0, 1.0, 2.0, 1.0]), np.array([0, 0, 1, 1, 2]))
    assert _validation.alone_in_class(weighting, np.array([0, 1, 2, 4])).tolist() == [True, False, False, True]
    assert not _validation.alone_in_class(Weighting(np.ones(1)), np.array([0])).any()


def test_errors_under_the_name_of_the_argument():
    with pytest.raises(ValueError, match=r"^X_new cannot be used: could not convert string to float: 'a'"):
        _validation.named_errors("X_new", float, "a")
    assert _validation.named_errors("X_new", float, "2") == 2.0
    _validation.check_one_for_each("X_new", None, 3, True)
    with pytest.raises(ValueError, match="y_new must hold one row for each of the 3 rows in indices"):
        _validation.check_one_for_each("y_new", [1, 2], 3, False)


def test_one_row_as_a_vector_is_told_how_to_be_a_table():
    hint = r"got 4\. If it holds the features of one row, .* X\.iloc\[\[i\]\], or X\[\[i\]\]\.$"
    for row in (np.zeros(4), pd.Series(np.zeros(4))):
        with pytest.raises(ValueError, match=hint):
            _validation.check_one_for_each("X_new", row, 1, False)
    for name, value, k in (("X_new", np.zeros((4, 4)), 1), ("X_new", np.zeros(4), 3), ("y_new", np.zeros(4), 1)):
        with pytest.raises(ValueError, match=r"got 4\.$"):
            _validation.check_one_for_each(name, value, k, False)


def test_lengths_and_numbers_that_an_addition_has_changed():
    model = InfluenceEstimator(Ridge()).fit(np.eye(4), np.arange(4.0)).extend(np.ones((2, 4)), [1.0, 2.0])
    with pytest.raises(ValueError, match="per row given to fit, and to extend since: 6, got 4"):
        model.influence_on_params([True] * 4)
    with pytest.raises(ValueError, match=r"given to fit, and to extend since: expected shape \(6,\), got \(4,\)"):
        model.influence_on_params(groups=list("aabb"))
    with pytest.raises(ValueError, match=r"0 to 5; got 6\. Names .* X\.index\.get_indexer\(names\)"):
        model.influence_on_params([6])


@pytest.mark.parametrize(
    "indices",
    [
        [2, 0, 5],
        (2, 0, 5),
        np.array([2, 0, 5], dtype=np.uint8),
        np.array([2, 0, 5], dtype=object),
        pd.Series([2, 0, 5], index=[9, 8, 7]),
        pd.Index([2, 0, 5]),
    ],
    ids=["list", "tuple", "uint8", "object", "series", "index"],
)
def test_indices_keep_their_order(indices):
    np.testing.assert_array_equal(_validation.check_indices(indices, np.arange(8), 8), [2, 0, 5])


def test_indices_are_numbers_of_the_rows_given_to_fit():
    left = np.array([0, 2, 3, 6])
    np.testing.assert_array_equal(_validation.check_indices(None, left, 8), [0, 1, 2, 3])
    np.testing.assert_array_equal(_validation.check_indices([6, 2], left, 8), [3, 1])
    mask = np.isin(np.arange(8), [3, 0])
    for same in (mask, mask.tolist(), pd.Series(mask), mask.astype(object), pd.Series(mask, dtype="boolean")):
        np.testing.assert_array_equal(_validation.check_indices(same, left, 8), [0, 2])
    np.testing.assert_array_equal(_validation.check_indices(range(2, 4), left, 8), [1, 2])
    with pytest.raises(ValueError, match="row 7 has already been removed"):
        _validation.check_indices([7], left, 8)


@pytest.mark.parametrize("empty", [[], (), np.array([]), np.zeros(0, dtype=int), np.zeros(8, dtype=bool), range(0)])
def test_no_indices_are_no_rows(empty):
    positions = _validation.check_indices(empty, np.arange(8), 8)
    assert positions.shape == (0,) and positions.dtype.kind == "i"


def test_groups_are_sorted_labels_of_the_rows_still_there():
    groups = ["b", "a", "c", "b", "a", "a"]
    labels, members = _validation.check_groups(groups, np.array([0, 1, 3, 5]), 6)
    assert list(labels) == ["a", "b"]
    np.testing.assert_array_equal(members[0], [1, 3])
    np.testing.assert_array_equal(members[1], [0, 2])


@pytest.mark.parametrize("convert", [np.array, pd.Series, pd.Categorical, lambda g: np.array(g, dtype=object)])
def test_groups_of_any_container(convert):
    labels, members = _validation.check_groups(convert(["x", "y", "x"]), np.arange(3), 3)
    assert list(labels) == ["x", "y"] and [len(rows) for rows in members] == [2, 1]


def test_weights_are_float64():
    for same in ([0, 1, 2], (0, 1, 2), np.array([0, 1, 2], np.float32), pd.Series([0, 1, 2], index=[5, 6, 7])):
        weights = _validation.check_weights(same, 3)
        assert weights.dtype == np.float64
        np.testing.assert_array_equal(weights, [0, 1, 2])
    np.testing.assert_array_equal(_validation.check_weights(None, 3), np.ones(3))
    np.testing.assert_array_equal(_validation.check_weights([True, False], 2), [1, 0])
    with pytest.raises(ValueError, match="test_weight must have one number per row: got 2 for 3"):
        _validation.check_weights([1, 2], 3, "test_weight")


def test_small_checks_return_plain_numbers():
    assert type(_validation.check_count("k", np.int64(3))) is int
    assert _validation.check_count("k", 0, smallest=0) == 0
    assert type(_validation.check_tolerance("tol", np.float32(0.5))) is float
    for good in (None, 1, -1, np.int64(2)):
        _validation.check_n_jobs(good)
    for good in (True, False, np.True_):
        _validation.check_flag("refine", good)
    _validation.check_choice("order", np.str_("b"), ("a", "b"))


def test_removals_that_leave_no_model():
    weighting = Weighting(np.array([1.0, 0.0, 2.0, 1.0]), np.array([0, 0, 1, 1]))
    check = _validation.check_leaves_a_model
    check(weighting, np.array([1, 3]), np.array(["no", "yes"]), "this")
    check(weighting, np.array([], dtype=int), None, "this")
    with pytest.raises(ValueError, match=r"this would remove every row .*of class yes"):
        check(weighting, np.array([2, 3]), np.array(["no", "yes"]), "this")
    with pytest.raises(ValueError, match=r"this would remove every row \(with weight\) of class no"):
        check(weighting, np.array([0]), np.array(["no", "yes"]), "this")
    with pytest.raises(ValueError, match="every row still in the model"):
        check(weighting, np.arange(4), None, "this")
    with pytest.raises(ValueError, match="weight 0"):
        check(Weighting(np.array([1.0, 0.0])), np.array([0]), None, "this")


def _state(model):
    """All that a refused call must leave as it was."""
    fitted = {name: value for name, value in vars(model).items() if name not in model.get_params(deep=False)}
    return {
        "pickle": pickle.dumps(fitted),
        "params": model.params_.tobytes(),
        "rows": model.sample_indices_.tobytes(),
        "coef": model.estimator_.coef_.tobytes(),
        "certificate": repr(model.certificate_),
    }


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_words_and_changes_nothing(name):
    bad = BAD[name]
    original, case = fitted(bad.kind)
    model = copy.deepcopy(original)
    X = pd.DataFrame(case.X, columns=COLUMNS) if bad.kind == "frame" else case.X
    settings, before = model.get_params(), _state(model)
    expected = model.influence_on_loss(X[:9], case.y[:9], aggregate="mean")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(bad.error) as info:
            bad.call(model, X, case.y)
    assert not isinstance(info.value, (np.linalg.LinAlgError, LookupError, ZeroDivisionError, AssertionError))
    missing = [word for word in bad.words if word not in str(info.value)]
    assert not missing, f"the message lacks {missing}: {info.value}"

    model.set_params(**settings)
    assert _state(model) == before
    np.testing.assert_array_equal(model.predict(X[:5]), original.predict(X[:5]))
    np.testing.assert_array_equal(model.influence_on_loss(X[:9], case.y[:9], aggregate="mean"), expected)
    assert GONE + 1 not in model.unlearn([GONE + 1]).sample_indices_


def test_there_are_enough_kinds_of_bad_input():
    assert len(BAD) >= 40


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.influence_on_params(),
        lambda m: m.influence_on_output(BINARY.X),
        lambda m: m.influence_on_loss(BINARY.X, BINARY.y),
        lambda m: m.self_influence(),
        lambda m: m.leverages(),
        lambda m: m.curvature_solve(np.ones(5)),
        lambda m: m.top_influences(BINARY.X, BINARY.y),
        lambda m: m.unlearn([0]),
        lambda m: m.unlearn(None),
        lambda m: m.params_,
        lambda m: m.param_names_,
        lambda m: m.stationarity_,
        lambda m: m.predict(BINARY.X),
        lambda m: m.predict_proba(BINARY.X),
        lambda m: m.predict_log_proba(BINARY.X),
        lambda m: m.decision_function(BINARY.X),
        lambda m: m.score(BINARY.X, BINARY.y),
    ],
)
def test_before_fit(call):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        call(InfluenceEstimator(LogisticRegression()))
    assert not hasattr(InfluenceEstimator(LogisticRegression()), "certificate_")


LARGE = {
    "params": lambda m, c: m.influence_on_params(),
    "output": lambda m, c: m.influence_on_output(c.X),
    "proba": lambda m, c: m.influence_on_output(c.X, response_method="predict_proba"),
    "loss": lambda m, c: m.influence_on_loss(c.X, c.y),
    "groups": lambda m, c: m.influence_on_loss(c.X, c.y, groups=np.arange(len(c.X)) // 2),
    "top": lambda m, c: m.top_influences(c.X, c.y, k=len(c.X)),
}


@pytest.mark.parametrize("name", LARGE)
def test_results_larger_than_memory_are_refused_before_any_work(name, monkeypatch):
    model = InfluenceEstimator(LogisticRegression(), solver="direct").fit(THREE.X, THREE.y)
    work = []
    factor = solvers.Direct.factor
    monkeypatch.setattr(solvers.Direct, "factor", lambda *args, **kw: work.append(1) or factor(*args, **kw))
    monkeypatch.setattr(_backend, "physical_memory", lambda: 3000)  # the curvature takes 1800 bytes
    with pytest.raises(ValueError, match=r"GiB, more than the .* of this machine") as info:
        LARGE[name](model, THREE)
    assert "aggregate=" in str(info.value) and "top_influences" in str(info.value)
    assert not work, "the curvature was factored before the result was refused"
    assert model.influence_on_loss(THREE.X[:3], THREE.y[:3], aggregate="mean").shape == (N,)
    assert model.influence_on_params([0, 1]).shape == (2, 15)


def test_a_curvature_larger_than_memory_is_refused(monkeypatch):
    model = InfluenceEstimator(LogisticRegression(), solver="direct").fit(THREE.X, THREE.y)
    monkeypatch.setattr(_backend, "physical_memory", lambda: 1000)
    for call in (model.leverages, lambda: model.unlearn([0]), lambda: model.curvature_solve(np.ones(15))):
        with pytest.raises(ValueError, match=r"curvature of 15 parameters needs .* GiB"):
            call()
    monkeypatch.undo()
    assert len(model.unlearn([0]).sample_indices_) == N - 1


def test_failed_fits_leave_the_earlier_one(monkeypatch):
    model = InfluenceEstimator(LogisticRegression()).fit(BINARY.X, BINARY.y)
    before = model.influence_on_params([3, 1])
    with pytest.raises(TypeError):
        model.set_params(estimator=SVC()).fit(THREE.X, THREE.y)
    with pytest.raises(ValueError):
        model.set_params(estimator=Ridge()).fit(LINE.X, LINE.y[:-1])
    np.testing.assert_array_equal(model.influence_on_params([3, 1]), before)
    assert list(model.classes_) == [0, 1] and model.n_features_in_ == 4


def _interrupted(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["binary", "cv", "targets"])
@pytest.mark.parametrize("where", ["bound", "write", "remembers", "warning"])
def test_a_failed_edit_changes_nothing(name, where, monkeypatch):
    model = copy.deepcopy(fitted(name)[0])
    before, family = _state(model), model._fitted.family
    error = KeyboardInterrupt
    with warnings.catch_warnings():
        if where == "bound":
            monkeypatch.setattr(certificates, "distance_bound", _interrupted)
        elif where == "warning":  # a user who turns warnings into errors; least squares converges in one step
            if name != "binary":
                return
            warnings.simplefilter("error")
            error = ConvergenceWarning
        else:
            write = type(family).write

            def half_done(self, estimator, params, kept=None):
                write(self, estimator, params, kept)
                raise KeyboardInterrupt

            monkeypatch.setattr(type(family), where, half_done if where == "write" else _interrupted)
        with pytest.raises(error):
            model.unlearn([1, 3, 5], max_iter=1)
    monkeypatch.undo()
    assert _state(model) == before
    assert model.unlearn([1]).certificate_.converged


def test_an_only_row_with_weight_cannot_be_asked_for():
    """A refit without it is refused by scikit-learn; so are the row's explicit index and unlearn."""
    weight = np.where(BINARY.y == 1, 0.0, 1.0)
    weight[1] = 2.0  # the only row of class 1 that weighs anything
    model = InfluenceEstimator(LogisticRegression()).fit(BINARY.X, BINARY.y, sample_weight=weight)
    with pytest.raises(ValueError, match="class 1"):
        model.unlearn([1])
    with pytest.raises(ValueError, match="class 1"):
        model.influence_on_params([1])
    with pytest.warns(UserWarning, match="row 1 is the only one of class 1"):
        assert np.isfinite(model.influence_on_params()).all()


@pytest.mark.parametrize("method", ["newton", "first_order", "second_order"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_only_row_of_a_class_gets_an_estimate_and_a_warning_when_not_asked_for(class_weight, method):
    X, y = np.vstack([BINARY.X, BINARY.X[:1] + 1]), np.append(BINARY.y, 2)
    model = InfluenceEstimator(LogisticRegression(class_weight=class_weight), method=method).fit(X, y)
    with pytest.warns(UserWarning, match="row 60 is the only one of class 2"):
        effect = model.influence_on_params()
    assert effect.shape == (61, 15) and np.isfinite(effect).all()
    with pytest.raises(ValueError, match="row 60 is the only one of class 2"):
        model.influence_on_params([60])
    with pytest.raises(ValueError, match="class 2"):
        model.unlearn([60])


def test_one_row_left_cannot_be_asked_for():
    model = InfluenceEstimator(Ridge()).fit(LINE.X, LINE.y).unlearn(range(1, 40))
    assert list(model.sample_indices_) == [0] and model.leverages().shape == (1,)
    for indices in (None, [0]):
        with pytest.raises(ValueError, match="Only one row"):
            model.influence_on_params(indices)
    with pytest.raises(ValueError, match="every row"):
        model.unlearn([0])


def test_names_of_rows_that_left_are_forgotten():
    names = [f"secret{i}" for i in range(6)]
    frame = pd.DataFrame({"a": np.arange(6.0)})
    for index in (pd.MultiIndex.from_arrays([names, range(6)]), pd.CategoricalIndex(names)):
        for thing in (frame.set_index(index), frame["a"].set_axis(index)):
            assert b"secret3" in pickle.dumps(thing)
            kept = _validation.take_rows(thing, np.array([0, 1, 5]))
            assert b"secret3" not in pickle.dumps(kept) and b"secret5" in pickle.dumps(kept)


def test_columns_that_remember_values_are_named():
    frame = pd.DataFrame({"a": pd.Categorical(["x", "y", "x"]), "b": [1, 2, 3]})
    assert _validation.unused_categories(frame) == [] and _validation.unused_categories(frame.iloc[[0, 2]]) == ["a"]
    twice = pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"])
    assert _validation.unused_categories(twice) == []
    pl = pytest.importorskip("polars")
    enum = pl.DataFrame({"e": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"]))})
    assert _validation.unused_categories(enum) == [] and _validation.unused_categories(enum[:1]) == ["e"]
