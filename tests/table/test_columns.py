"""Kinds of columns: what each becomes, what is left out with a word, what is refused."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from sklearn_influence._table.columns import features
from sklearn_influence._table.file import TableError

N = 60
RNG = np.random.default_rng(0)
NUMBER = pd.Series(RNG.normal(size=N))


def kinds(**columns):
    notes = []
    X = features(pd.DataFrame({"number": NUMBER, **columns}), notes)
    return X, notes


@pytest.mark.parametrize(
    "column, kind",
    [
        (pd.Series(RNG.integers(0, 9, N)), "f"),
        (pd.Series(RNG.integers(0, 9, N)).astype("Int64").mask(NUMBER > 1), "f"),
        (pd.Series(RNG.integers(0, 9, N)).astype("uint8"), "f"),
        (NUMBER.astype("float32"), "f"),
        (pd.Series([decimal.Decimal(i) / 4 for i in range(N)])[::-1].reset_index(drop=True), "f"),
        (NUMBER > 0, "b"),
        ((NUMBER > 0).astype("boolean"), "b"),
        ((NUMBER > 0).astype("boolean").mask(NUMBER > 1), "O"),
        ((NUMBER > 0).astype(object).mask(NUMBER > 1), "O"),
        (pd.Series(["x", "y", None] * 20), "O"),
        (pd.Series(["x", "y", None] * 20).astype("category"), "O"),
        (pd.Series(["x", 1, None] * 20, dtype=object), "O"),
        (pd.Series([3, 1, 2] * 20).astype("category"), "f"),
        (pd.Series(["10", "11", "12"] * 20, dtype="category"), "f"),
    ],
)
def test_kinds(column, kind):
    X, _ = kinds(it=column)
    assert X["it"].dtype.kind == kind
    assert X["it"].isna().tolist() == column.isna().tolist()
    if kind == "f":
        np.testing.assert_allclose(X["it"].dropna(), column.dropna().astype(float))


def test_a_column_may_be_called_anything():
    X, _ = kinds(self=NUMBER, index=NUMBER, columns=pd.Series(["a", "b"] * 30))
    assert list(X) == ["number", "self", "index", "columns"]


def test_marks_among_numbers_are_missing_and_said():
    column = pd.Series([f"{i}.5" for i in range(N)])
    column[[3, 9]] = "?"
    X, notes = kinds(power=column)
    assert X["power"].isna().sum() == 2 and X["power"][0] == 0.5
    assert notes == ["'power' is numbers but for 2 cells of '?', taken as missing."]
    X, notes = kinds(grade=pd.Series(["1", "2", "3+"] * 20))  # two numbers do not make a number column
    assert X["grade"].dtype == "category" and not notes


def test_columns_that_say_nothing_are_left_out_with_a_word():
    X, notes = kinds(same=1.0, words="x", empty=np.nan, nothing=pd.Series([None] * N), once=[None, *["x"] * (N - 1)])
    assert list(X) == ["number", "once"]
    assert notes == [
        "Left out: 2 columns, constant: 'same' and 'words'.",
        "Left out: 2 columns, missing in every row: 'empty' and 'nothing'.",
    ]


def test_a_count_of_the_rows_is_left_out_without_a_name_and_questioned_with_one():
    X, notes = kinds(unnamed_3=np.arange(N), number_of=np.arange(5, N + 5), year=2000 + np.arange(N) // 6)
    assert list(X) == ["number", "number_of", "year"]
    assert notes[0].startswith("'number_of' goes up by one from row to row, yet is a feature; if it is no measurement")
    assert notes[1] == "Left out: 1 column, an unnamed count of the rows: 'unnamed_3'."
    # Rows without a target are gone, and the count has gaps.
    assert list(kinds(unnamed_3=np.arange(N) ** 2)[0]) == ["number"]


DAYS = pd.Series(pd.date_range("2021-03-04", periods=N))
WORDS = pd.Series([f"word {i}" for i in range(N)])


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"day": DAYS.dt.strftime("%Y-%m-%d")}, r"'day' holds dates such as '2021-03-04' \(turn them.*--drop day$"),
        ({"day": DAYS.dt.strftime("%d/%m/%Y")}, "'day' holds dates such as '01/04/2021'"),
        ({"day": DAYS.dt.strftime("%Y-%m-%dT%H:%M:%SZ")}, "'day' holds dates"),
        ({"day": DAYS}, "'day' holds dates such as '2021-03-04"),
        ({"day": DAYS.dt.date}, "'day' holds dates such as '2021-03-04'"),
        ({"day": [datetime.time(1)] * N}, "'day' holds what is no value of a table"),
        (
            {"name": WORDS},
            r"'name' holds too many different texts to be categories \(60 v.*leave it out with --drop name, or name "
            "the rows by it with --id name$",
        ),
        ({"list": [[1, 2]] * N}, r"'list' holds what is no value of a table \(a list in each cell\).*--drop list"),
        ({"z": NUMBER * 1j}, "'z' holds what is no value of a table"),
        (
            {"my name": WORDS, "day": DAYS, "key": WORDS},
            'leave them out with --drop "day,my name,key", or name the rows by a column with --id "my name"$',
        ),
        ({"day": DAYS}, r"'day' holds dates.*: leave it out with --drop day$"),
        (
            {"tag": NUMBER.round(2).astype(str) + " EUR"},
            r"'tag' holds numbers with a unit such as '.* EUR' \(write the numbers.*leave it out with --drop tag$",
        ),
        ({"x": NUMBER * 1e307}, r"the column 'x' holds numbers too large to compute with, such as .*e\+3.*rescale it"),
        (
            {"x": np.where(np.arange(N) % 2, 1e308, -1e308)},
            r"too large .* in 60 rows \(the first is row 0, counted from 0",
        ),
        ({"x": NUMBER.where(NUMBER < 1, np.inf)}, r"the column 'x' is infinite in \d+ rows \(the first is row \d+"),
        ({"number": NUMBER * 0}, "no column is left to predict from"),
    ],
)
def test_columns_that_cannot_be_used(columns, message):
    with pytest.raises(TableError, match=message) as error:
        kinds(**columns)
    assert "\n" not in str(error.value)


def test_rows_go_by_their_number_in_the_file():
    frame = pd.DataFrame({"number": NUMBER, "x": NUMBER.where(np.arange(N) != 17, np.inf)})[10:]
    with pytest.raises(TableError, match=r"infinite in 1 row \(the first is row 17, counted from 0\)"):
        features(frame, [])


def test_what_may_be_meant_otherwise_is_said():
    written = [f"{1000 + i}"[:-3] + "." + f"{i:03d}" + ",50" for i in range(N)]
    X, notes = kinds(price=written, town=["Bern", "bern", "Ulm"] * 20, plz=["01005", "80331"] * 30)
    assert X["price"].tolist() == [1000.5 + i for i in range(N)]
    assert X["plz"].dtype == "category" and X["town"].dtype == "category" and set(X["plz"]) == {"01005", "80331"}
    assert [note.split(" ")[0] for note in notes] == ["'price'", "'price'", "In", "'plz'"]
    assert "'Bern' and 'bern' differ in capitals or spaces only" in notes[2]


def test_as_many_different_texts_as_rows_are_refused():
    frame = pd.DataFrame({"key": np.arange(100_000).astype(str), "x": 1.0})
    frame["key"] = "k" + frame["key"]
    with pytest.raises(TableError, match=r"'key' holds too many different texts to be categories \(100,000 values"):
        features(frame, [])
