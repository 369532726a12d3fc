"""Features that tell the target are named, others are not."""

import numpy as np
import pandas as pd
import pytest

from sklearn_influence._table.leaks import note_leaks

N = 200
RNG = np.random.default_rng(0)
X = RNG.normal(size=N)
Y = np.where(X > 0.3, "high", "low")
TOWNS = RNG.choice(["Bern", "Ulm", "Graz", "Linz"], N)


def named(column, y, classifies=True):
    notes = []
    note_leaks(pd.DataFrame({"other": RNG.normal(size=N), "it": column}), y, classifies, "goal", notes)
    return notes


@pytest.mark.parametrize(
    "column, y, classifies",
    [
        (pd.Series(Y).astype("category"), Y, True),
        (X, Y, True),
        (-X, Y, True),
        (pd.Series(X).mask(X > 1.5), Y, True),
        (Y == "low", Y, True),
        (pd.Series(TOWNS).astype("category"), np.where(np.isin(TOWNS, ["Bern", "Ulm"]), "a", "b"), True),
        (np.searchsorted([-1, 1], X).astype(float), np.array(["x", "z", "y"])[np.searchsorted([-1, 1], X)], True),
        (2.5 * X - 7, X, False),
        (-X, X, False),
        (pd.Series(TOWNS).astype("category"), pd.factorize(TOWNS)[0] * 1.5, False),
    ],
)
def test_what_tells_the_target_is_named(column, y, classifies):
    (note,) = named(column, y, classifies)
    assert note.startswith("'it' tells the target 'goal' without an error") and "--drop" in note


@pytest.mark.parametrize(
    "column, y, classifies",
    [
        (
            pd.Series(np.where(np.arange(N) == 7, "low", Y)).astype("category"),
            np.where(np.arange(N) == 7, "high", Y),
            True,
        ),
        (X + 0.05 * RNG.normal(size=N), Y, True),
        (pd.Series([f"p{i}" for i in range(N)]).astype("category"), Y, True),  # tells the rows apart, not the target
        (X + 0.001 * RNG.normal(size=N), X, False),
        (np.ones(N), Y, True),
        (pd.Series(X).mask(np.arange(N) > 15), Y, True),
    ],
)
def test_what_errs_or_says_nothing_is_not(column, y, classifies):
    assert named(column, y, classifies) == []


def test_several_are_one_sentence():
    notes = []
    note_leaks(pd.DataFrame({"a": X, "b": -X}), Y, True, "goal", notes)
    assert len(notes) == 1 and notes[0].startswith("'a' and 'b' each tell the target 'goal'")
