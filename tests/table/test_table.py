"""From a frame to features, target, names and pipeline; each refusal names the option that helps."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_influence._table import table as _table
from sklearn_influence._table.file import TableError

N = 80
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(size=N),
        "height": np.where(RNG.random(N) < 0.2, np.nan, RNG.normal(size=N)),
        "smoker": RNG.random(N) < 0.5,
        "town": RNG.choice(["Bern", "Ulm", None], N),
        "income": RNG.choice(["high", "low"], N),
        "grade": RNG.integers(1, 4, N),
        "price": RNG.normal(size=N),
        "person": [f"p{i}" for i in range(N)],
        "weight": RNG.random(N),
        "one": "same",
    }
)


def choose(target, frame=FRAME, drop=("person",), **options):
    return _table.choose(frame, target, drop=drop, **options)


@pytest.mark.parametrize(
    "target, model, why",
    [
        ("income", "logistic", "the target 'income' is text"),
        ("smoker", "logistic", "the target 'smoker' is true or false"),
        (
            "grade",
            "logistic",
            "the target 'grade' is one of 3 whole numbers. To predict it as a number say --model ridge",
        ),
        ("price", "ridge", "the target 'price' is a number of 80 values"),
    ],
)
def test_the_model_follows_from_the_target_and_says_why(target, model, why):
    table = choose(target)
    assert table.model == model
    assert f"Model: {model}, since {why}." in table.notes
    assert target not in table.X and "one" not in table.X and "person" not in table.X
    assert choose(target, model=model).notes == [note for note in table.notes if not note.startswith("Model")]


def test_labels_keep_their_kind():
    assert set(choose("income").y) == {"high", "low"}
    assert choose("smoker").y.dtype == bool
    grades = FRAME.assign(grade=FRAME.grade.astype(float).mask(FRAME.age > 1))
    table = choose("grade", grades)
    assert table.y.dtype.kind == "i" and set(table.y) == {1, 2, 3} and table.n_outputs == 3
    assert choose("grade", model="ridge").y.dtype.kind == "f"


def test_the_pipeline_equals_columns_made_by_hand():
    table = choose("income", id="person", drop=())
    train, validation, _ = _table.split(table, 0)
    pipeline = _table.build(table, 0.5).fit(*table.take(train))
    made = pipeline[:-1].transform(table.X.iloc[validation])
    X, parts = FRAME.iloc[train], []
    for name in ("age", "height", "grade", "price", "weight"):
        column = X[name].fillna(X[name].median())
        rows = FRAME[name].iloc[validation].fillna(X[name].median())
        parts.append((rows - column.mean()) / column.std(ddof=0))
    missing = FRAME.height.isna().astype(float)
    parts.append((missing.iloc[validation] - missing.iloc[train].mean()) / missing.iloc[train].std(ddof=0))
    smoker = FRAME.smoker.astype(float)
    parts.append((smoker.iloc[validation] - smoker.iloc[train].mean()) / smoker.iloc[train].std(ddof=0))
    parts += [FRAME.town.iloc[validation] == town for town in ("Bern", "Ulm")] + [FRAME.town.iloc[validation].isna()]
    assert_allclose(made, np.array(parts, dtype=float).T)
    assert made.shape[1] == table.n_encoded
    assert (made != 0).sum(axis=1).max() <= table.n_filled
    assert pipeline[-1].C == 2.0
    unseen = table.X.iloc[validation].assign(town="Rome")
    assert_array_equal(pipeline[:-1].transform(unseen)[:, -3:], 0.0)


@pytest.mark.parametrize("model", _table.MODELS)
def test_each_model_fits(model):
    table = choose("income" if model in _table.CLASSIFIERS else "price", model=model)
    pipeline = _table.build(table, 2.0).fit(table.X, table.y)
    assert len(pipeline.predict(table.X)) == N
    if model != "linear":
        assert getattr(pipeline[-1], "alpha", None) == 2.0 or pipeline[-1].C == 0.5
    else:
        # One value of each column is the constant: nothing is said twice.
        Z = pipeline[:-1].transform(table.X)
        assert np.linalg.matrix_rank(np.c_[np.ones(N), Z]) == Z.shape[1] + 1 == table.n_encoded + 1


def test_many_categories_stay_sparse():
    frame = FRAME.assign(**{f"c{j}": RNG.integers(0, 30, N).astype(str) + "x" for j in range(6)})
    table = choose("price", frame[[*[f"c{j}" for j in range(6)], "price"]], drop=())
    assert table.sparse and hasattr(_table.build(table, 1.0).fit(table.X, table.y)[:-1].transform(table.X), "tocsr")
    assert not choose("price").sparse


def test_the_split_shares_out_labels_and_every_row_once():
    table = choose("grade")
    train, validation, test = _table.split(table, 3)
    assert (len(train), len(validation), len(test)) == (48, 16, 16)
    assert_array_equal(np.sort(np.r_[train, validation, test]), np.arange(N))
    for part in (train, validation, test):
        assert_allclose(np.mean(table.y[part] == 2), np.mean(table.y == 2), atol=0.05)
    assert (_table.split(table, 4)[0] != train).any()


def test_a_label_of_five_rows_is_in_every_part():
    y = np.array(["rare"] * 5 + ["many"] * (N - 5))
    for seed in range(10):
        table = choose("y", FRAME[["age"]].assign(y=y), drop=())
        assert all("rare" in table.y[part] for part in _table.split(table, seed))


def test_rows_go_by_their_id_or_their_number():
    table = choose("price")
    assert_array_equal(table.names, np.arange(N))
    assert "Rows go by their number in the file; the first row of data is 0." in table.notes
    table = choose("price", id="person")
    assert table.names[3] == "p3" and "Rows go by the column 'person'." in table.notes
    ids = FRAME.assign(person=[None, 7, 7, *range(100, 97 + N)])
    table = choose("price", ids, id="person")
    assert table.names[:4].tolist() == ["(row 0)", "7 #1", "7 #2", "100"]
    note = next(note for note in table.notes if note.startswith("Rows go by"))
    assert "2 rows of a name that others have too, with #, the number in the file" in note
    assert "1 row without a name by the number in the file." in note
    shared = choose("price", FRAME.assign(person=np.arange(N) // 2), id="person")
    assert shared.names[:3].tolist() == ["0 #0", "0 #1", "1 #2"]


def test_rows_without_target_or_weight_are_left_out_and_counted():
    frame = FRAME.copy()
    frame.loc[[1, 5], "price"] = np.nan
    frame.loc[[5, 6, 7], "weight"] = np.nan
    table = choose("price", frame, weight="weight", groups="town")
    assert len(table.y) == len(table.weight) == len(table.groups) == N - 4
    assert_array_equal(table.names[:5], [0, 2, 3, 4, 8])
    assert table.notes[:2] == [
        "Left out: 2 rows whose target 'price' is missing.",
        "Left out: 3 rows whose weight 'weight' is missing.",
    ]
    assert set(table.groups) == {"Bern", "Ulm", "(missing)"}
    assert "weight" not in table.X and "town" not in table.X


def numbers_with_text():
    return FRAME.assign(price=[*(str(i / 4) for i in range(N - 1)), "n/a!"])


@pytest.mark.parametrize(
    "changes, options, message",
    [
        ({}, {"target": "incom"}, r"--target: there is no column 'incom'; did you mean 'income'\?"),
        ({}, {"target": "Income"}, "did you mean 'income'"),
        ({}, {"target": "zzz"}, "--target: there is no column 'zzz'; the columns are 'age', 'height',"),
        ({}, {"target": "price", "id": "persn"}, "--id: there is no column 'persn'; did you mean 'person'"),
        ({}, {"target": "price", "groups": "twn"}, "--groups: there is no column 'twn'; did you mean 'town'"),
        ({}, {"target": "price", "weight": "wait"}, "--weight: there is no column 'wait'; did you mean 'weight'"),
        (
            {},
            {"target": "price", "drop": ["one", "hight"]},
            "--drop: there is no column 'hight'; did you mean 'height'",
        ),
        ({}, {"target": "price", "drop": ["price"]}, "--target and --drop both name 'price'; give it to one of them"),
        ({}, {"target": "price", "weight": "price"}, "--target and --weight both name 'price'"),
        ({}, {"target": "one"}, "the target 'one' has one value only, 'same'"),
        ({"income": None}, {"target": "income"}, "the target 'income' is missing in every row"),
        ({"weight": np.nan}, {"target": "price", "weight": "weight"}, "the weight 'weight' is missing in every row"),
        ({"weight": FRAME.age}, {"target": "price", "weight": "weight"}, r"'weight' is negative in \d+ rows"),
        ({"weight": 0.0}, {"target": "price", "weight": "weight"}, "the weight 'weight' is 0 in every row"),
        ({"weight": np.inf}, {"target": "price", "weight": "weight"}, "the weight 'weight' is infinite in 80 rows"),
        ({}, {"target": "price", "weight": "income"}, "the weight 'income' must be numbers, but holds text such as"),
        (
            {"income": ["rare"] * 2 + ["few"] * 4 + ["many"] * (N - 6)},
            {"target": "income"},
            r"labels of the target 'income' have fewer than 5 rows.*'few' \(4\), 'rare' \(2\); merge them",
        ),
        ({}, {"target": "income", "model": "ridge"}, "--model ridge needs numbers, but the target 'income' holds text"),
        (
            {"price": np.arange(N) * 0.5},
            {"target": "price", "model": "logistic"},
            "--model logistic needs labels, but the target 'price' has 80 different numbers; say --model ridge",
        ),
        ({"price": np.inf}, {"target": "price"}, "the target 'price' has one value only"),
        ({"price": FRAME.age.where(FRAME.age < 1, np.inf)}, {"target": "price"}, "the target 'price' is infinite in"),
        (
            {"income": [f"2021-03-{i % 9 + 10}" for i in range(N)]},
            {"target": "income"},
            "the target 'income' holds dates",
        ),
        ({}, {"target": "person", "drop": []}, "the target 'person' has 80 different labels, but at most 50"),
        (
            {},
            {"target": "price", "groups": "one"},
            "--groups: the column 'one' has one value only; leave the option out",
        ),
        (
            {},
            {"target": "price", "drop": [c for c in FRAME if c not in ("price", "one")]},
            "no column is left to predict from; drop fewer",
        ),
    ],
)
def test_refusals(changes, options, message):
    with pytest.raises(TableError, match=message) as error:
        choose(frame=FRAME.assign(**changes), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["auto", "ridge"])
def test_numbers_with_text_in_them_are_found(model):
    with pytest.raises(TableError, match="'price' holds numbers in 79 rows and text in 1, such as 'n/a!' in row 79"):
        choose("price", numbers_with_text(), model=model)


def test_errors_name_rows_of_the_file():
    price = FRAME.price.where(np.arange(N) > 4).where(np.arange(N) != 30, np.inf)
    with pytest.raises(TableError, match=r"'price' is infinite in 1 row \(the first is row 30, counted from 0\)"):
        choose("price", FRAME.assign(price=price))
    weight = FRAME.weight.where(np.arange(N) > 4).where(np.arange(N) != 30, -1)
    with pytest.raises(TableError, match=r"'weight' is negative in 1 row \(the first is row 30, counted from 0\)"):
        choose("price", FRAME.assign(weight=weight), weight="weight")


@pytest.mark.parametrize("part", ["price", "weight"])
def test_numbers_too_large_are_refused(part):
    with pytest.raises(TableError, match=rf"'{part}' holds numbers too large to compute with, such as .*rescale it"):
        choose("price", FRAME.assign(**{part: FRAME.weight * 1e307}), weight="weight")


def test_targets_are_read_as_they_are_written():
    written = [f"{i // 10}.{i:03d},25" for i in range(10, N + 10)]
    table = choose("price", FRAME.assign(price=written, weight=[f"0{i}" for i in range(N)]), weight="weight")
    assert table.model == "ridge" and table.y[:2].tolist() == [1010.25, 1011.25]
    assert table.weight[:3].tolist() == [0, 1, 2]
    assert any(note.startswith("'price' is read as numbers with a decimal comma") for note in table.notes)


def test_codes_are_labels_where_they_are_few_and_numbers_where_asked():
    frame = FRAME.assign(grade=[f"0{i % 4}" for i in range(N)])
    assert set(choose("grade", frame).y) == {"00", "01", "02", "03"}
    assert set(choose("grade", frame, model="ridge").y) == {0, 1, 2, 3}
    assert choose("grade", FRAME.assign(grade=[f"{i:03d}" for i in range(N)])).model == "ridge"
    assert choose("price", FRAME.assign(person=[f"{i:03d}" for i in range(N)]), id="person").names[1] == "001"


def test_labels_that_differ_in_capitals_are_said():
    table = choose("income", FRAME.assign(income=np.where(np.arange(N) % 8, FRAME.income, "High")))
    assert any("'High' and 'high' differ in capitals or spaces only" in note for note in table.notes)
    rare = np.where(np.arange(N) % 40, FRAME.income, "High")
    with pytest.raises(TableError, match=r"'High' \(2\) \('High' and 'high' may be meant as one\)"):
        choose("income", FRAME.assign(income=rare))


def test_a_feature_that_tells_the_target_is_said():
    table = choose("income", FRAME.assign(copy=FRAME.income))
    assert any("'copy' tells the target 'income' without an error" in note for note in table.notes)
    assert not any("without an error" in note for note in choose("income").notes)


def test_few_rows_are_refused():
    with pytest.raises(TableError, match="19 rows can be used, but at least 20 are needed to split them"):
        choose("price", FRAME[:19])


def test_too_many_parameters_are_refused():
    frame = pd.DataFrame({f"c{j}": [f"v{i % 4000}" for i in range(9000)] for j in range(3)}).assign(y=np.arange(9000.0))
    with pytest.raises(TableError, match=r"would have 12,001 parameters .*drop columns of many values, such as 'c0'"):
        _table.choose(frame, "y")
