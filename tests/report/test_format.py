"""Numbers and columns as the report prints them, and as JSON takes them."""

from types import SimpleNamespace

import numpy as np
import pytest

from sklearn_influence._report import format as show


def test_numbers_show_four_digits_of_the_largest():
    assert show.column([1.23456, -0.5]) == ["1.235", "-0.500"]
    assert show.column([123.456, 0.04], sign=True) == ["+123.5", "+0.0"]
    assert show.column([0.0, 0.0]) == ["0.000", "0.000"]
    assert show.column([None, np.nan]) == ["", "nan"]
    assert show.column([1.5e195, -2.0], sign=True) == ["+1.500e+195", "-2.000e+00"]
    assert show.column_of_labels(np.array([1e95])) == ["1.000e+95"]
    assert show.column([1e-9]) == ["0.000000001000"]


def test_tables_align_names_left_and_numbers_right():
    lines = show.table(["row", "x"], [["a", "long"], ["1", "22"]])
    assert lines == ["    row    x", "    a      1", "    long  22"]


def test_long_labels_are_cut():
    assert show.short("abcdefghij", 8) == "abcde..."
    assert show.short("abc", 8) == "abc"
    assert show.short("a long name #57", 12) == "a lon... #57"


def test_names_are_whole_where_they_fit_and_stay_different_where_they_are_cut():
    names = [f"Person Nr. {i}" for i in (7003, 7004, 12)]
    assert show.different(names, 15) == names
    assert show.different(names, 13) == ["Perso... 7003", "Perso... 7004", "Person Nr. 12"]
    hospital = [
        f"University hospital of the town, Ward {w}, Bed {b}, main building" for w, b in [(1, 12), (1, 13), (2, 12)]
    ]
    cut = show.different(hospital, 24)
    assert cut == ["...Ward 1, Bed 12...", "...Ward 1, Bed 13...", "...Ward 2, Bed 12..."]
    # Neither their middles nor what all share: each is cut where it parts from the next.
    places = ["x" * 40 + "1" + "y" * 40, "x" * 40 + "2" + "y" * 40, "z" * 40 + "1" + "y" * 40]
    assert len(set(show.different(places, 20))) == 3
    assert show.different(["a" * 30] * 2, 10) == ["aaaa...aaa"] * 2


@pytest.mark.parametrize("seed", range(20))
def test_cut_names_stay_different(seed):
    rng = np.random.default_rng(seed)
    parts = ["North ", "South ", "Hall ", "Room ", "1", "2", "0", "3", " of the old building", ", first floor", " #"]
    names = list({"".join(rng.choice(parts, rng.integers(8, 14))) for _ in range(20)})
    cut = show.different(names, 34)
    assert len(set(cut)) == len(names) and max(map(len, cut)) <= 34


def test_whole_numbers_have_no_decimals():
    assert show.column_of_labels(np.array([130.0, -36.0])) == ["130", "-36"]
    assert show.column_of_labels(np.array([130.5, -36.0])) == ["130.5", "-36.0"]
    assert show.column_of_labels(np.array(["a", "b"])) == ["a", "b"]


def test_plain_values_are_what_json_knows():
    given = {"a": np.array([1.0, np.inf]), 2: (np.int64(3), np.True_, None), "b": np.str_("x")}
    assert show.plain(given) == {"a": [1.0, None], "2": [3, True, None], "b": "x"}


@pytest.mark.parametrize(
    "task, loss, largest, factor, name",
    [
        ("classification", "log", 0.1, 1e3, "mean log loss x 1000"),
        ("classification", "log", 1e-6, 1e6, "mean log loss x 1,000,000"),
        ("classification", "squared", 0.1, 1e3, "mean squared error / 2 x 1000"),
        ("regression", "squared", 50.0, 1.0, "mean squared error / 2"),
        ("regression", "squared", 1e-4, 1e3, "mean squared error / 2 x 1000"),
        ("regression", "squared", 0.0, 1.0, "mean squared error / 2"),
    ],
)
def test_effects_are_in_units_that_can_be_read(task, loss, largest, factor, name):
    report = SimpleNamespace(task=task, loss=loss, n_targets=1, rows={"effect": np.array([0.0, -largest])})
    assert show.unit(report) == (factor, name)


def test_units_are_not_broken():
    for n in range(60, 100):
        lines = show.wrap("a" * n + " mean squared error / 2 x 1000")
        assert all(not line.strip().startswith(("/", "2", "x", "1000")) for line in lines) and "\xa0" not in "".join(
            lines
        )
