"""The audit's numbers against direct calls and refits, and its text, files and refusals."""

import copy
import csv
import json
import pickle
import sys

import cases
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder, scale

from sklearn_influence import InfluenceEstimator, audit
from sklearn_influence.diagnostics import sample_losses

TIGHT = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}


class Problem:
    """A fitted model with its training, validation and test rows."""

    def __init__(self, data, estimator, stratify=True, flip=0):
        X = pd.DataFrame(scale(data.data), index=[f"case {i}" for i in range(len(data.data))])
        y = np.asarray(data.target)
        train, rest = train_test_split(
            np.arange(len(y)), test_size=0.5, random_state=0, stratify=y if stratify else None
        )
        validation, test = np.array_split(rest, 2)
        y_train = y[train].copy()
        self.flipped = np.random.default_rng(0).choice(len(train), flip, replace=False)
        y_train[self.flipped] = 1 - y_train[self.flipped]
        self.X_train, self.y_train = X.iloc[train], y_train
        self.X_val, self.y_val = X.iloc[validation], y[validation]
        self.X_test, self.y_test = X.iloc[test], y[test]
        self.model = InfluenceEstimator(estimator).fit(self.X_train, self.y_train)

    def audit(self, **options):
        given = {
            "X_train": self.X_train,
            "y_train": self.y_train,
            "X_test": self.X_test,
            "y_test": self.y_test,
            "n_random": 5,
        }
        return audit(self.model, self.X_val, self.y_val, **{**given, **options})


@pytest.fixture(scope="module")
def flipped():
    """Breast cancer with 12 training labels flipped."""
    problem = Problem(load_breast_cancer(), LogisticRegression(C=0.1), flip=12)
    problem.state = pickle.dumps(problem.model.params_), problem.model.predict(problem.X_test)
    problem.report = problem.audit(k=12)
    return problem


@pytest.fixture(scope="module")
def diabetes():
    problem = Problem(load_diabetes(), Ridge(alpha=3.0), stratify=False)
    problem.report = problem.audit(k=6)
    return problem


@pytest.fixture(params=["flipped", "diabetes"])
def problem(request):
    return request.getfixturevalue(request.param)


def test_planted_flips_rank_high(flipped):
    # 12 of 284 are flipped: by chance a list of 12 would hold half a flip.
    for ranking, least in (("rows", 10), ("by_cross_validation", 10)):
        assert np.isin(flipped.report.suspects[ranking], flipped.flipped).sum() >= least
    assert np.isin(flipped.report.unlearning["removed"], flipped.flipped).sum() >= 6
    assert flipped.report.unlearning["change"] < min(flipped.report.unlearning["random_changes"])
    assert "by more than any random draw" in str(flipped.report)


def test_the_audited_model_is_untouched(flipped):
    params, predictions = flipped.state
    assert pickle.dumps(flipped.model.params_) == params
    assert_array_equal(flipped.model.predict(flipped.X_test), predictions)
    assert len(flipped.model.sample_indices_) == flipped.model.n_samples_fit_
    assert not hasattr(flipped.model, "certificate_")


def test_columns_equal_direct_calls(problem):
    model, rows = problem.model, problem.report.rows
    at = rows["position"]
    assert sorted(at) == list(range(len(problem.y_train)))
    effect = model.influence_on_loss(problem.X_val, problem.y_val, aggregate="mean")
    assert_array_equal(rows["effect"], effect[at])
    assert np.all(np.diff(rows["effect"]) >= 0)
    assert_array_equal(rows["self_influence"], model.self_influence()[at])
    assert_array_equal(rows["leverage"], model.leverages()[at])
    assert_array_equal(rows["label"], problem.y_train[at])
    assert_array_equal(rows["prediction"], model.predict(problem.X_train)[at])
    assert rows["row"].tolist() == problem.X_train.index[at].tolist()
    k = problem.report.k
    top = at[np.argsort(-(rows["own_loss"] + rows["self_influence"]))[:k]]
    assert problem.report.suspects["rows"] == top.tolist()


def test_own_and_left_out_loss_add_up(problem):
    """Own loss + self influence is the row's loss after a refit without it."""
    rows = problem.report.rows
    # A removal from a squared loss is exact; from a log loss, even of a wild row, nearly so.
    rtol = 1e-8 if problem.report.task == "regression" else 0.05
    for place in (0, 5, int(rows["self_influence"].argmax())):
        kept = np.delete(np.arange(len(problem.y_train)), rows["position"][place])
        refitted = _refit(problem, kept)
        i = [rows["position"][place]]
        left_out = sample_losses(refitted, problem.X_train.iloc[i], problem.y_train[i])[0]
        predicted = rows["leave_one_out_loss"][place]
        assert predicted == rows["own_loss"][place] + rows["self_influence"][place]
        assert_allclose(predicted, left_out, rtol=rtol)


def _refit(problem, kept):
    estimator = problem.model.estimator
    if isinstance(estimator, LogisticRegression):
        estimator = LogisticRegression(C=estimator.C, **TIGHT)
    return copy.deepcopy(estimator).fit(problem.X_train.iloc[kept], problem.y_train[kept])


def test_unlearning_equals_a_refit(problem):
    result = problem.report.unlearning
    worst = problem.report.rows["position"][: problem.report.k]
    assert result["removed"] == worst.tolist() and result["chosen_on"] == "validation"
    everything = np.arange(len(problem.y_train))
    before, after = (
        sample_losses(_refit(problem, kept), problem.X_test, problem.y_test)
        for kept in (everything, np.delete(everything, worst))
    )
    unit = before.mean()
    assert_allclose(result["loss_before"], before.mean(), atol=1e-6 * unit)
    assert_allclose(result["loss_after"], after.mean(), atol=1e-6 * unit)
    assert_allclose(result["change"], np.mean(after - before), atol=1e-6 * unit)
    error = np.std(after - before, ddof=1) / np.sqrt(len(after))
    assert_allclose(result["standard_error"], error, rtol=1e-4)
    added = problem.model.influence_on_loss(problem.X_test, problem.y_test, worst)
    assert_allclose(result["change_by_adding_effects"], added.mean(axis=0).sum())
    assert len(result["random_changes"]) == 5 and len(set(result["random_changes"])) == 5
    assert result["certificate"]["valid"] and result["certificate"]["param_bound"] < 1e-6


def test_quality_is_that_of_the_fitted_model(flipped, diabetes):
    model, quality = flipped.model, flipped.report.quality
    assert list(quality) == ["training", "validation", "test"]
    for part, X, y in (
        ("training", flipped.X_train, flipped.y_train),
        ("validation", flipped.X_val, flipped.y_val),
        ("test", flipped.X_test, flipped.y_test),
    ):
        assert quality[part]["rows"] == len(y)
        assert_allclose(quality[part]["loss"], log_loss(y, model.predict_proba(X)))
        assert quality[part]["accuracy"] == accuracy_score(y, model.predict(X))
    predicted = diabetes.model.predict(diabetes.X_test)
    assert_allclose(diabetes.report.quality["test"]["r2"], r2_score(diabetes.y_test, predicted))
    assert_allclose(
        diabetes.report.quality["test"]["rmse"] ** 2 / 2,
        diabetes.report.quality["test"]["loss"],
    )
    assert flipped.report.stationarity["relative"] == model.stationarity_.relative


def test_without_test_rows_one_half_chooses_and_the_other_measures(flipped):
    report = flipped.audit(X_test=None, y_test=None, k=5)
    again = flipped.audit(X_test=None, y_test=None, k=5)
    assert report.to_dict() == again.to_dict()
    result = report.unlearning
    assert result["chosen_on"] == "half" and result["measured_rows"] == 72
    text = " ".join(str(report).split())
    assert "Chosen on one half of the validation rows, measured on the other half (72 rows)" in text
    assert "test" not in report.quality
    # The ranking still uses all the validation rows.
    assert_array_equal(report.rows["effect"], flipped.report.rows["effect"])
    # The measured loss is that of half the rows, the right ones or no 1e-6 would be met.
    kept = np.delete(np.arange(len(flipped.y_train)), result["removed"])
    losses = sample_losses(_refit(flipped, kept), flipped.X_val, flipped.y_val)
    halves = train_test_split(
        np.arange(len(losses)),
        test_size=0.5,
        random_state=np.random.RandomState(0).randint(2**31 - 1),
        stratify=flipped.y_val,
    )
    assert_allclose(result["loss_after"], losses[halves[1]].mean(), atol=1e-6)
    first = flipped.X_val.iloc[halves[0]], flipped.y_val[halves[0]]
    effect = flipped.model.influence_on_loss(*first, aggregate="mean")
    assert sorted(result["removed"]) == sorted(np.argsort(effect)[:5].tolist())


def test_random_state_decides_the_draws(flipped):
    one, two = (flipped.audit(k=4, random_state=seed) for seed in (0, 1))
    assert one.unlearning["random_changes"] != two.unlearning["random_changes"]
    assert one.unlearning["removed"] == two.unlearning["removed"]


def test_without_training_rows_the_columns_that_need_them_are_left_out(flipped):
    report = flipped.audit(X_train=None, y_train=None, k=4)
    assert set(report.rows) == {"row", "position", "effect", "refitted_effect", "self_influence", "leverage"}
    assert_array_equal(report.rows["row"], report.rows["position"])
    assert "training" not in report.quality
    assert "No cross-validated loss: X_train and y_train were not given." in str(report)
    json.dumps(report.to_dict(), allow_nan=False)


def test_weights_enter_the_cross_validated_loss(flipped):
    weight = np.where(flipped.y_train == 1, 10.0, 1.0)
    plain = flipped.report.rows["cross_validated_loss"]
    weighted = flipped.audit(sample_weight=weight, k=1).rows["cross_validated_loss"]
    assert np.abs(plain - weighted).max() > 0.1


def test_after_unlearning_only_the_rows_still_there_are_audited(flipped):
    model = copy.deepcopy(flipped.model).unlearn([0, 7])
    report = audit(model, flipped.X_val, flipped.y_val, X_train=flipped.X_train, y_train=flipped.y_train, k=2)
    assert sorted(report.rows["position"]) == sorted(set(range(len(flipped.y_train))) - {0, 7})
    at = report.rows["position"]
    assert_array_equal(report.rows["label"], flipped.y_train[at])
    assert report.rows["row"].tolist() == flipped.X_train.index[at].tolist()


def test_several_classes_and_several_targets():
    wine = Problem(load_wine(), LogisticRegression())
    report = wine.audit(k=3)
    assert np.all((report.rows["leverage"] > 0) & (report.rows["leverage"] < 1))
    assert report.quality["test"]["accuracy"] > 0.9
    data = load_diabetes()
    data.target = np.c_[data.target, data.data[:, 0] * 1000, data.target**0.5]
    many = Problem(data, LinearRegression(), stratify=False)
    report = many.audit(k=3)
    assert {"label_0", "label_2", "prediction_2"} <= set(report.rows)
    assert_array_equal(report.rows["label_1"], many.y_train[report.rows["position"], 1])
    _check_text(report)


def test_a_model_with_no_harmful_row(flipped):
    """Validated on the very rows it was fitted on, and only on those it gets right."""
    X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    model = InfluenceEstimator(LogisticRegression()).fit(X, y)
    report = audit(model, [[-9.0], [9.0]], [0, 1], X_test=X, y_test=y, k=4)
    assert report.unlearning["removed"] == [] and report.unlearning["change"] is None
    assert "Not done: no row hurts" in str(report) and "(none)" in str(report)


def test_a_class_that_would_vanish_leaves_the_rest_standing():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 2)), np.r_[np.zeros(29), 1].astype(int)
    model = InfluenceEstimator(LogisticRegression()).fit(X, y)
    X_val = rng.normal(size=(20, 2))
    with pytest.warns(Warning):  # the only row of a class has its one-step estimate
        report = audit(model, X_val, np.zeros(20, dtype=int), X_train=X, y_train=y, X_test=X, y_test=y, k=3)
    assert report.rows["position"][0] == 29
    assert "class" in report.unlearning["missing"]
    assert "class 1 has a single row" in report.cross_validation["missing"]
    _check_text(report)


def _check_text(report):
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in str(report) and "nan" not in str(report)
    assert all(line == line.rstrip() for line in lines)


def test_text(problem):
    text = str(problem.report)
    _check_text(problem.report)
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    wrong = "mislabelled" if problem.report.task == "classification" else "wrong"
    assert titles[3:] == [
        "Model quality",
        "Can the numbers be trusted?",
        "Effect of each training row on validation loss",
        *["Slices of the training rows"] * (problem.report.task == "regression"),  # by sex
        f"Rows that look {wrong}",
        f"Held-out rows that look {wrong}",
        f"Unlearning the {problem.report.k} most harmful rows",
    ]
    # The most harmful row is the first of its list, and its effect is in the stated unit.
    name = problem.report.rows["row"][0]
    line = next(line for line in text.splitlines() if line.strip().startswith(name))
    factor = 1000 if problem.report.task == "classification" else 1
    number, printed = int(line.split()[2]), float(line.split()[3])
    assert number == problem.report.rows["position"][0]
    assert "unlearn and indices= take the numbers under position" in " ".join(text.split())
    assert_allclose(printed, problem.report.rows["effect"][0] * factor, rtol=5e-3)
    assert "mean log loss x 1000" in text or problem.report.task == "regression"
    assert text.count("\n") < 115


def test_html_and_repr(flipped):
    assert flipped.report._repr_html_().startswith("<pre>Audit of LogisticRegression(C=0.1)")
    assert "<AuditReport of LogisticRegression(C=0.1), 284 training rows" in repr(flipped.report)


def test_leverage_warning(flipped):
    X = np.r_[np.random.default_rng(1).normal(size=(30, 2)), [[50.0, 0.0]]]
    y = X @ [1.0, 2.0]
    y[-1] = 3.0
    model = InfluenceEstimator(LinearRegression()).fit(X, y)
    report = audit(model, X[:10], y[:10], k=2)
    text = " ".join(str(report).split())
    assert "WARNING: leverage above 0.5" in text and "1 of 31 rows: 30 (0.99)" in text
    assert "WARNING: leverage" not in str(flipped.report)


def test_files_round_trip(problem, tmp_path):
    pytest.importorskip("matplotlib")
    report = problem.report
    files = report.save(tmp_path / "new" / "folder")
    # The diabetes table has one column of few values, the sex.
    slices = ["slices.csv"] if report.slices else []
    assert [file.name for file in files] == ["ranking.csv", "report.json", "held_out.csv", *slices, "audit.png"]
    assert files[-1].read_bytes().startswith(b"\x89PNG") and files[-1].stat().st_size > 10_000
    with open(files[0], newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == ["rank", *report.rows]
    assert [int(line["rank"]) for line in table] == list(range(1, report.n_train + 1))
    for name, column in report.rows.items():
        assert_array_equal(np.array([line[name] for line in table], column.dtype), column)
    content = json.loads(files[1].read_text(encoding="utf-8"))
    assert content == report.to_dict()
    assert set(content["versions"]) == {
        "python",
        "numpy",
        "scipy",
        "scikit-learn",
        "sklearn_influence",
    }
    assert_array_equal(content["rows"]["effect"], report.rows["effect"])
    report.save(tmp_path / "new" / "folder")  # again: files are replaced


def test_infinite_numbers_become_null(flipped):
    report = copy.deepcopy(flipped.report)
    report.unlearning["certificate"].update(param_bound=np.inf, valid=False)
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["unlearning"]["certificate"]["param_bound"] is None
    assert "not certified" in str(report)


def test_without_matplotlib_the_picture_is_left_out(flipped, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "matplotlib is not installed" in flipped.report.picture_missing
    names = [file.name for file in flipped.report.save(tmp_path)]
    assert names == ["ranking.csv", "report.json", "held_out.csv"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"k": 0}, "k must be an integer >= 1, got 0"),
        ({"k": True}, "k must be an integer >= 1, got True"),
        ({"k": 2.0}, "k must be an integer >= 1, got 2.0"),
        ({"n_random": 0}, "n_random must be an integer >= 1"),
        ({"cv": 1}, "cv must be an integer >= 2"),
        ({"y_test": None}, "X_test was given without y_test; give both"),
        ({"X_train": None}, "y_train was given without X_train; give both"),
        ({"y_test": [0, 1]}, r"X_test has 142 rows, but y_test has 2\."),
        ({"X_train": np.zeros((3, 30)), "y_train": [0, 1, 1]}, "X_train has 3 rows, but the mod"),
        ({"X_test": np.zeros((0, 30)), "y_test": []}, "X_test has no rows"),
    ],
)
def test_refusals(flipped, options, message):
    with pytest.raises(ValueError, match=message):
        flipped.audit(**options)


def test_other_training_rows_are_refused(flipped):
    n = len(flipped.y_train)
    shuffled = np.random.default_rng(0).permutation(n)
    with pytest.raises(ValueError, match="not the rows that the model was fitted on"):
        flipped.audit(X_train=flipped.X_train.iloc[shuffled])
    with pytest.raises(ValueError, match="not the rows that the model was fitted on"):
        flipped.audit(y_train=1 - flipped.y_train)


def test_other_models_are_refused(flipped):
    given = flipped.X_val, flipped.y_val
    with pytest.raises(TypeError, match="needs a fitted InfluenceEstimator, got LogisticReg"):
        audit(LogisticRegression(), *given)
    with pytest.raises(TypeError, match=r"InfluenceEstimator\(estimator\)\.fit\(X_train, y_"):
        audit(InfluenceEstimator, *given)
    with pytest.raises(NotFittedError, match=r"call fit.* before audit"):
        audit(InfluenceEstimator(LogisticRegression()), *given)
    with pytest.raises(ValueError, match="at least 2 rows"):
        audit(flipped.model, flipped.X_val[:1], flipped.y_val[:1])
    with pytest.raises(ValueError):
        audit(flipped.model, flipped.X_val, np.full(len(flipped.y_val), 7))


def test_rows_go_by_their_numbers_unless_they_have_names():
    case = cases.diabetes()
    model = InfluenceEstimator(Ridge()).fit(case.X, case.y)
    plain = audit(model, case.X_test, case.y_test, k=3)
    assert "position" not in str(plain)
    names = np.array([f"patient {i}" for i in range(len(case.y))])
    named = audit(model, case.X_test, case.y_test, k=3, row_names=names)
    assert named.rows["row"][0] == f"patient {named.rows['position'][0]}"
    assert "position" in str(named)
    with pytest.raises(ValueError, match="row_names must name the 309 rows given to fit, got 2 names"):
        audit(model, case.X_test, case.y_test, row_names=["a", "b"])


@pytest.mark.parametrize("regression", [True, False])
def test_a_column_of_labels_is_labels(regression):
    case = cases.diabetes() if regression else cases.wine()
    estimator = Ridge() if regression else LogisticRegression()
    model = InfluenceEstimator(estimator).fit(case.X, case.y)
    flat = audit(model, case.X_test, case.y_test, X_train=case.X, y_train=case.y, k=3, n_random=2)
    column = audit(model, case.X_test, case.y_test[:, None], X_train=case.X, y_train=case.y[:, None], k=3, n_random=2)
    assert flat.quality == column.quality and flat.unlearning["change"] == column.unlearning["change"]
    assert_allclose(flat.rows["cross_validated_loss"], column.rows["cross_validated_loss"])


def test_several_targets_are_summed_and_say_so():
    case = cases.tiny_regression(n_targets=3)
    model = InfluenceEstimator(Ridge()).fit(case.X, case.y)
    report = audit(model, case.X_test, case.y_test, k=2, n_random=2)
    loss = 0.5 * ((model.predict(case.X_test) - case.y_test) ** 2).sum(axis=1).mean()
    assert report.quality["validation"]["loss"] == pytest.approx(loss)
    assert "squared error / 2, summed" in str(report)


def test_weights_of_another_length_are_refused():
    case = cases.diabetes()
    model = InfluenceEstimator(Ridge()).fit(case.X, case.y)
    with pytest.raises(ValueError, match="one number per row: got 5 for 309 rows"):
        audit(model, case.X_test, case.y_test, X_train=case.X, y_train=case.y, sample_weight=np.ones(5))


def test_a_pipeline_is_told_to_give_its_last_step():
    case = cases.wine()
    pipeline = make_pipeline(StandardScaler(), InfluenceEstimator(LogisticRegression())).fit(case.X, case.y)
    with pytest.raises(TypeError, match=r"got Pipeline; give its last step.*pipeline\[-1\]"):
        audit(pipeline, case.X_test, case.y_test)


def test_one_row_is_not_plural():
    case = cases.diabetes()
    text = str(audit(InfluenceEstimator(Ridge()).fit(case.X, case.y), case.X_test, case.y_test, k=1))
    assert "Unlearning the most harmful row\n" in text and "without this row" in text
    assert "1 rows" not in text.replace("221 rows", "")


def test_saving_over_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    case = cases.diabetes()
    report = audit(InfluenceEstimator(Ridge()).fit(case.X, case.y), case.X_test, case.y_test, k=1)
    with pytest.raises(ValueError, match="taken' is a file; give the name of a directory"):
        report.save(tmp_path / "taken")


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")  # scikit-learn's, of polars slices
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_columns_of_a_frame_are_looked_at(library, tmp_path):
    rng = np.random.default_rng(0)
    n = 240
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc")).assign(part=np.arange(n) % 2)
    y = np.where(rng.random(n) < 1 / (1 + np.exp(-3 * X.a)), "yes", "no")
    X.iloc[50] = X.iloc[10]  # planted: equal, with other labels; and one that is in the validation rows
    y[[10, 50]] = "yes", "no"
    X.iloc[60] = X.iloc[20]
    y[60] = y[20]
    X.iloc[200] = X.iloc[30]
    X.loc[40, "b"] = 80.0
    y[(np.arange(n) < 160) & (X.part == 1)] = rng.permuted(y[(np.arange(n) < 160) & (X.part == 1)])
    X = X if library == "pandas" else pytest.importorskip("polars").DataFrame({c: X[c].tolist() for c in X})
    model = InfluenceEstimator(LogisticRegression(C=1e3)).fit(X[:160], y[:160])
    names = [f"id{i}" for i in range(160)]
    report = audit(
        model,
        X[160:],
        y[160:],
        X_train=X[:160],
        y_train=y[:160],
        k=4,
        n_random=1,
        row_names=names,
        groups=np.arange(160) % 4,
    )
    found = report.duplicates
    assert (found["rows"], found["contradicting_rows"], found["equal_to_validation"]) == (4, 2, 1)
    assert sorted(found["contradicting"][0]["row"]) == ["id10", "id50"]
    sets = dict(zip(report.rows["row"], report.rows["duplicate_set"], strict=True))
    assert sets["id10"] == sets["id50"] != sets["id20"] == sets["id60"] and sets["id0"] == -1
    effect = dict(zip(report.rows["position"].tolist(), report.rows["effect"], strict=True))
    odd = list(report.slices["value"]).index("1")
    assert report.slices["column"][odd] == "part"
    assert_allclose(report.slices["effect_sum"][odd], sum(effect[i] for i in range(1, 160, 2)))
    assert report.alone["rows"][0]["row"] == "id40" or report.alone["n_rows"] == 0
    _check_text(report)
    text = str(report)
    assert "id10" in text.split("Contradicting rows")[1] and "Groups left out whole" in text
    names = [file.name for file in report.save(tmp_path)]
    assert names[2:5] == ["held_out.csv", "slices.csv", "groups.csv"]
    with open(tmp_path / "slices.csv", newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    columns = ["column", "value", "rows", "effect_sum", "effect_mean", "score", "measured", "measured_error"]
    assert list(table[0]) == columns
    assert float(table[odd]["effect_sum"]) == report.slices["effect_sum"][odd]
    assert json.loads((tmp_path / "report.json").read_text())["duplicates"] == found


def test_the_words_follow_the_loss(flipped, diabetes):
    assert (flipped.report.loss, diabetes.report.loss) == ("log", "squared")
    squared = copy.copy(flipped.report)
    squared.loss = "squared"
    text = str(squared)
    assert "mean squared error / 2 x 1000" in text and "log loss" not in text
    assert "mean squared error / 2  accuracy" in text


@pytest.mark.filterwarnings("ignore:.TargetEncoder.shuffle. and:FutureWarning")
def test_rows_that_a_transformer_sees_anew_are_still_the_rows():
    """A TargetEncoder's fit_transform, which the model is fitted on, is not its transform."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"town": rng.choice(list("abcdefghij"), 400), "x": rng.normal(size=400)})
    y = np.where(X.x + rng.normal(size=400) > 0, "yes", "no")
    columns = make_column_transformer((TargetEncoder(random_state=0), ["town"]), (StandardScaler(), ["x"]))
    model = InfluenceEstimator(make_pipeline(columns, LogisticRegression())).fit(X[:250], y[:250])
    report = audit(model, X[250:], y[250:], X_train=X[:250], y_train=y[:250], k=2, n_random=2)
    assert set(report.slices["column"]) == {"town"}
    _check_text(report)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(250)
        with pytest.raises(ValueError, match="not the rows that the model was fitted on"):
            audit(model, X[250:], y[250:], X_train=X.iloc[order], y_train=y[order], k=2, n_random=2)
