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
    assert show.column([1e-9]) == ["0.000000001000"]


def test_tables_align_names_left_and_numbers_right():
    lines = show.table(["row", "x"], [["a", "long"], ["1", "22"]])
    assert lines == ["    row    x", "    a      1", "    long  22"]


def test_long_labels_are_cut():
    assert show.short("abcdefghij", 8) == "abcde..."
    assert show.short("abc", 8) == "abc"
    assert show.short("a long name #57", 12) == "a lon... #57"


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
