"""The expected cost: within a factor of the time it takes, and said as a person would."""

from types import SimpleNamespace

import pytest

from sklearn_influence._table import cost


@pytest.mark.parametrize(
    "seconds, memory, text",
    [
        (0.4, 1e7, "a few seconds, about 0.1 GB of memory"),
        (17.2, 1.23e9, "about 17 s, about 1.2 GB of memory"),
        (73.0, 2e9, "about 70 s, about 2.0 GB of memory"),
        (200.0, 2e9, "about 3 min, about 2.0 GB of memory"),
    ],
)
def test_costs_are_rounded(seconds, memory, text):
    assert str(cost.Cost(seconds, memory, 20)) == text


def test_validation_rows_are_cut_where_pairs_are_too_many():
    two, four, five = (SimpleNamespace(model="logistic", n_outputs=n) for n in (1, 4, 5))
    assert cost.validation_rows(two, 120, 40) == 40
    assert cost.validation_rows(two, 120_000, 40_000) == 25_000
    assert cost.validation_rows(four, 120_000, 40_000) == 3_125
    assert cost.validation_rows(five, 12_000_000, 4_000_000) == 1_000  # never fewer
    squares = SimpleNamespace(model="ridge", n_outputs=1)  # their sum takes no pairs
    assert cost.validation_rows(squares, 12_000_000, 4_000_000) == 4_000_000


def test_two_timings_make_a_line():
    assert cost._line([1.0, 1.5], 10_000) == pytest.approx(3.0)
    assert cost._line([1.0, 2.0], 10_000) == pytest.approx(5.0)
    # Noise: neither free rows nor a negative start.
    assert cost._line([2.0, 1.0], 10_000) == pytest.approx(1.0 + 0.25 * 6_000 / 4_000)
    assert cost._line([0.0, 1.0], 10_000) == pytest.approx(2.5)
