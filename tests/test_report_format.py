"""Numbers and columns as the report prints them, and as JSON takes them."""

import numpy as np

from sklearn_influence import _report_format as show


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


def test_plain_values_are_what_json_knows():
    given = {"a": np.array([1.0, np.inf]), 2: (np.int64(3), np.True_, None), "b": np.str_("x")}
    assert show.plain(given) == {"a": [1.0, None], "2": [3, True, None], "b": "x"}
