"""The words and numbers that the printed report is made of."""

import numpy as np

from sklearn_influence import _report_text as text


def test_numbers_show_four_digits_of_the_largest():
    assert text._column([1.23456, -0.5]) == ["1.235", "-0.500"]
    assert text._column([123.456, 0.04], sign=True) == ["+123.5", "+0.0"]
    assert text._column([0.0, 0.0]) == ["0.000", "0.000"]
    assert text._column([None, np.nan]) == ["", "nan"]
    assert text._column([1e-9]) == ["0.000000001000"]


def test_tables_align_names_left_and_numbers_right():
    lines = text._table(["row", "x"], [["a", "long"], ["1", "22"]])
    assert lines == ["    row    x", "    a      1", "    long  22"]


def test_long_labels_are_cut():
    assert text._short("abcdefghij", 8) == "abcde..."
    assert text._short("abc", 8) == "abc"


def test_verdicts():
    draws = np.array([-1.0, 1.0])
    assert "does not lower" in text._verdict(0.1, 0.01, draws)
    assert "random draws did as well" in text._verdict(-0.5, 0.01, draws)
    assert "within 2 standard errors" in text._verdict(-2.0, 1.5, draws)
    assert "more than any random draw" in text._verdict(-2.0, 0.5, draws)
    assert "more than any random draw" in text._verdict(-2.0, 0.5, np.array([]))


def test_plain_values_are_what_json_knows():
    given = {"a": np.array([1.0, np.inf]), 2: (np.int64(3), np.True_, None), "b": np.str_("x")}
    assert text.plain(given) == {"a": [1.0, None], "2": [3, True, None], "b": "x"}
