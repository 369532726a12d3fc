"""Numbers and codes as people write them: read right, or said."""

import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_influence._table import numbers


def read(values, comma=False):
    notes = []
    return numbers.read_written(pd.Series(values), "price", notes, comma), notes


@pytest.mark.parametrize(
    "values, expected, note",
    [
        (["1.234,50", "-12,5", "7"], [1234.5, -12.5, 7], "a decimal comma: '1.234,50' is 1234.5."),
        (["1,234.50", "12.5", None], [1234.5, 12.5, float("nan")], "a decimal point: '1,234.50' is 1234.5."),
        (["1,5", "2,25"], [1.5, 2.25], "a decimal comma: '1,5' is 1.5."),
        (["1.234.567", "12"], [1234567, 12], "a decimal comma: '1.234.567' is 1234567."),
        (["1'234.50", "2"], [1234.5, 2], 'a decimal point: "1\'234.50" is 1234.5.'),
        (["1 234", "12 345"], [1234, 12345], "a decimal comma: '1 234' is 1234."),
    ],
)
def test_a_style_that_only_one_reading_fits_is_read(values, expected, note):
    column, notes = read(values)
    assert_allclose(column, expected)
    assert notes == [f"'price' is read as numbers with {note}"]


def test_two_readings_are_said_and_decided_by_the_rest_of_the_file():
    column, notes = read(["1,234", "5,678"])
    assert column.tolist() == ["1,234", "5,678"]
    assert notes == ["'price' is taken for text: '1,234' may be 1.234 or 1234; write it without a thousands mark."]
    column, notes = read(["1.234", "12.5,0", "1"], comma=True)
    assert column.tolist() == ["1.234", "12.5,0", "1"] and not notes  # neither
    column, notes = read(["1.234.000", "1.234"], comma=True)
    assert_allclose(column, [1234000, 1234])


def test_marks_stay_beside_plain_numbers():
    column, notes = read(["1.234,50", "?", "7", "8,1", None])
    assert column[:4].tolist() == ["1234.5", "?", "7.0", "8.1"] and len(notes) == 1


@pytest.mark.parametrize(
    "values",
    [
        ["1.5", "2"],
        ["01.02.2021", "03.04.2021"],
        ["030 1234567", "030 12"],
        ["a,b", "1,5"],
        ["1,2,3", "1,3"],
        [None, None],
        [1, "1,5"],
        ["x", "y"],
    ],
)
def test_other_text_stays(values):
    column, notes = read(pd.Series(values, dtype=object))
    assert column.equals(pd.Series(values, dtype=object)) and not notes


@pytest.mark.parametrize("n, kind, words", [(50, "O", "each is a category"), (51, "f", "taken as numbers")])
def test_codes_as_features(n, kind, words):
    notes = []
    column = numbers.codes_as_feature(pd.Series([f"{i:05d}" for i in range(n)]), "plz", notes)
    assert column.dtype.kind == kind and len(notes) == 1
    assert notes[0].startswith("'plz' holds") and "'00000'" in notes[0] and words in notes[0]


@pytest.mark.parametrize(
    "values, found",
    [
        (["3.50 EUR", "12 EUR"], ("EUR", "3.50 EUR")),
        (["$ 3.50", "$4"], ("$", "$ 3.50")),
        (["3,5 kg", "-2 kg"], ("kg", "3,5 kg")),
        (["12 %", "5%"], ("%", "12 %")),
        (["k12", "k13"], None),
        (["word 1", "word 2"], None),
        (["12 Main St", "13 Oak St", "14 Elm St", "15 Ash St"], None),
        (["red", "3 kg"], None),
    ],
)
def test_units(values, found):
    assert numbers.unit_of(values) == found


def test_values_that_differ_in_capitals_are_said():
    notes = []
    numbers.note_alike(["ja", "Ja", "nein", " nein"], "The target 'y'", notes)
    assert notes[0].startswith("The target 'y': ") and "(and 1 pair more) differ in capitals or spaces" in notes[0]
    numbers.note_alike(["a", "b"], "x", notes)
    assert len(notes) == 1
