"""Duplicates, lone values and slices against what a plain loop over the rows finds."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_influence._report import checks

RNG = np.random.default_rng(0)
N = 120
FRAME = pd.DataFrame(
    {
        "number": RNG.integers(0, 3, N) / 2,
        "town": RNG.choice(["Bern", "Ulm", None], N),
        "flag": RNG.random(N) < 0.5,
        "kind": pd.Categorical(RNG.choice(["u", "v"], N), categories=["v", "u", "never"]),
        "count": pd.array(RNG.integers(0, 2, N), dtype="Int64"),
    }
)
FRAME.loc[RNG.random(N) < 0.2, "number"] = np.nan
FRAME.loc[RNG.random(N) < 0.2, "count"] = pd.NA
OTHERS = FRAME.sample(30, random_state=1).assign(number=lambda f: f.number + (np.arange(30) < 20) * 7)


def key(row):
    return tuple(None if pd.isna(value) else value for value in row)


def frames(kind):
    if kind == "pandas":
        return FRAME, OTHERS
    return tuple(
        pl.DataFrame({name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame})
        for frame in (FRAME, OTHERS)
    )


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_duplicates_are_those_of_a_loop(kind):
    X, others = frames(kind)
    columns = checks.read_columns(X, others)
    sets, among, seen = checks.duplicates(columns, N, len(others))
    keys = [key(row) for row in FRAME.itertuples(index=False)]
    other_keys = [key(row) for row in OTHERS.itertuples(index=False)]
    for i in range(N):
        assert (sets[i] >= 0) == (keys.count(keys[i]) > 1)
        assert among[i] == (keys[i] in other_keys)
        for j in range(i):
            assert (keys[i] == keys[j]) == (sets[i] == sets[j] >= 0)
    assert seen == sum(k in keys for k in other_keys) and 0 < seen < 30
    assert sets.max() > 5 and (sets < 0).any()
    # Numbered as they come.
    first = [np.flatnonzero(sets == s)[0] for s in range(sets.max() + 1)]
    assert first == sorted(first)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_slices_are_sums_by_hand(kind):
    X, others = frames(kind)
    effect = RNG.normal(size=N)
    table, members = checks.slices(checks.read_columns(X, others), effect)
    assert np.all(np.diff(table["effect_sum"]) >= 0)
    found = {(c, v): i for i, (c, v) in enumerate(zip(table["column"], table["value"], strict=True))}
    for column, value, mask in [
        ("town", "Ulm", FRAME.town == "Ulm"),
        ("town", "(missing)", FRAME.town.isna()),
        ("flag", "True", FRAME.flag),
        ("kind", "v", FRAME.kind == "v"),
        ("number", "0.5", FRAME.number == 0.5),
        ("number", "1", FRAME.number == 1),
        ("count", "(missing)", FRAME["count"].isna()),
    ]:
        i = found[column, value]
        rows = effect[mask.to_numpy()]
        assert table["rows"][i] == len(rows)
        assert_array_equal(members(i), np.flatnonzero(mask))
        assert_allclose(table["effect_sum"][i], rows.sum())
        assert_allclose(table["effect_mean"][i], rows.mean())
        # The variance of a sum of rows drawn without replacement.
        variance = len(rows) * effect.var(ddof=1) * (1 - len(rows) / N)
        assert_allclose(table["score"][i], (rows.sum() - len(rows) * effect.mean()) / np.sqrt(variance))
    assert ("kind", "never") not in found
    for column in FRAME:
        assert_allclose(table["effect_sum"][table["column"] == column].sum(), effect.sum())


def test_only_clear_slices_are_listed():
    effect = RNG.normal(size=N)
    table, _ = checks.slices(checks.read_columns(FRAME, OTHERS), effect)
    assert all(len(places) == 0 for places in checks.clear_slices(table, 5))
    ulm = (FRAME.town == "Ulm").to_numpy()
    table, _ = checks.slices(checks.read_columns(FRAME, OTHERS), effect - 2.0 * ulm)
    hurt, _ = checks.clear_slices(table, 5)
    assert len(hurt) == 1
    assert (table["column"][hurt[0]], table["value"][hurt[0]]) == ("town", "Ulm")
    few = np.zeros(N)
    few[:4] = -50.0
    lone = pd.DataFrame({"c": ["few"] * 4 + ["many"] * (N - 4)})
    assert len(checks.clear_slices(checks.slices(checks.read_columns(lone, lone), few)[0], 5)[0]) == 0


def test_numbers_of_many_values_and_constants_have_no_slices():
    frame = pd.DataFrame({"x": RNG.normal(size=N), "same": "a"})
    assert checks.slices(checks.read_columns(frame, frame), np.ones(N)) == (None, None)


def rows_of(n, **columns):
    return {"row": np.arange(100, 100 + n), "position": np.arange(n), "self_influence": np.zeros(n), **columns}


def test_contradictions_are_named_with_the_most_surprising_first():
    frame = pd.DataFrame({"x": [1.0, 1, 2, 2, 3, 3, 4], "y": list("aabbccd")})
    rows = rows_of(7, label=np.array([0, 0, 0, 1, 1, 0, 1]))
    rows["self_influence"][4] = 9.0
    report, sets = checks.duplicates_report(checks.read_columns(frame, frame[:1]), rows, 1, 5)
    assert_array_equal(sets, [0, 0, 1, 1, 2, 2, -1])
    assert report["rows"] == 6 and report["sets"] == 3
    assert report["contradicting_rows"] == 4 and report["contradicting_sets"] == 2
    assert [group["row"] for group in report["contradicting"]] == [[104, 105], [102, 103]]
    assert report["contradicting"][0]["label"] == [1, 0]
    assert (report["equal_to_validation"], report["validation_rows_seen"]) == (2, 1)
    several = {**rows_of(7), "label_0": np.zeros(7), "label_1": np.array([0, 1, 0, 0, 0, 0, 0.0])}
    report, _ = checks.duplicates_report(checks.read_columns(frame, None), several, 0, 5)
    assert report["contradicting_sets"] == 1 and report["contradicting"][0]["label"] == [[0.0, 0.0], [0.0, 1.0]]


def test_what_a_row_alone_has_is_named():
    frame = pd.DataFrame({"town": ["Ulm"] * 5 + ["Rome"] + ["Bern"] * 14, "size": [*np.linspace(0, 1, 19), 500.0]})
    leverage = np.full(20, 0.1)
    leverage[[5, 19, 3]] = 0.8, 0.99, 0.6
    found = checks.stands_alone(checks.read_columns(frame, frame), rows_of(20, leverage=leverage), frame, 10)
    assert found["n_rows"] == 3
    assert [row["row"] for row in found["rows"]] == [119, 105, 103]
    assert found["rows"][0]["reasons"] == ["size = 500 (4 deviations off)"]
    assert found["rows"][1]["reasons"] == ["town = Rome (seen once)"] and found["rows"][2]["reasons"] == []
    assert found["values"] == [{"column": "town", "value": "Rome", "row": 105, "position": 5, "leverage": 0.8}]
    assert found["unseen"] == []
    others = frame.assign(town=["Ulm"] * 18 + ["Oslo"] * 2)
    seen = checks.stands_alone(checks.read_columns(frame, others), rows_of(20, leverage=leverage), frame, 10)
    assert seen["unseen"] == [{"column": "town", "value": "Oslo", "rows": 2}]
    one = checks.stands_alone(checks.read_columns(frame, frame), rows_of(20, leverage=leverage), frame, 1)
    assert len(one["rows"]) == 1 and one["n_rows"] == 3


def test_frames_of_other_columns_are_not_compared():
    assert len(checks.read_columns(FRAME, OTHERS.to_numpy())[0].others) == 0
    assert checks.is_frame(FRAME) and checks.is_frame(pl.DataFrame({"a": [1]}))
    assert not checks.is_frame(np.zeros((2, 2))) and not checks.is_frame(FRAME["flag"])


def test_hundreds_of_columns_do_not_overflow():
    frame = pd.DataFrame(RNG.integers(0, 1000, (40, 300)).astype(float)).add_prefix("c")
    frame.iloc[7] = frame.iloc[3]
    sets, _, _ = checks.duplicates(checks.read_columns(frame, frame), 40, 40)
    assert_array_equal(np.flatnonzero(sets == 0), [3, 7])
    assert sets.max() == 0
