"""The sections of the printed report that are about a table's columns."""

from types import SimpleNamespace

import numpy as np

from sklearn_influence._report import table_text as text

EMPTY = SimpleNamespace(data=None, alone=None, slices=None, groups=None, duplicates=None)


def report(**sections):
    base = {"task": "classification", "loss": "log", "n_targets": 1, "n_train": 900, "k": 2, "method": "newton"}
    base["rows"] = {"effect": np.array([0.5])}
    return SimpleNamespace(**{**vars(EMPTY), **base, **sections})


def words(lines):
    assert max(map(len, lines)) <= 100
    return " ".join(" ".join(lines).split())


def test_nothing_to_say_is_nothing():
    for section in (text.data_text, text.alone_text, text.slices_text, text.groups_text, text.duplicates_text):
        assert section(report()) == []
    assert text.alone_text(report(alone={"n_rows": 1, "rows": [{"reasons": []}], "n_values": 0, "values": []})) == []
    nothing = {"rows": 0, "equal_to_validation": 0}
    assert text.duplicates_text(report(duplicates=nothing)) == []


def test_notes_hang():
    lines = text.data_text(report(data=["a " * 60, "b"]))
    assert lines[0] == "The table" and lines[1].startswith("  a") and lines[2].startswith("    a") and lines[3] == "  b"


def test_duplicates():
    found = {
        "rows": 7,
        "sets": 3,
        "contradicting_rows": 4,
        "contradicting_sets": 2,
        "equal_to_validation": 2,
        "validation_rows_seen": 1,
        "contradicting": [
            {"row": [3, 8], "label": ["yes", "no"]},
            {"row": list(range(100, 150)), "label": ["yes"] * 50},
        ],
    }
    said = words(text.duplicates_text(report(duplicates=found)))
    assert "7 rows of 900 are in 3 sets of equal rows: 3 with one and the same label, 4 in sets that contradict" in said
    assert "1 validation row is among the training rows (2 rows), so the model has seen what it is tested on." in said
    assert "3, 8 yes, no" in said and "100, 101," in said and "+ 4" in said


def test_slices_name_column_and_value():
    n = np.array([40, 30, 500])
    table = {
        "column": np.array(["town", "flag", "town"], dtype=object),
        "value": np.array(["Ulm", "True", "Bern" * 20], dtype=object),
        "rows": n,
        "effect_sum": np.array([-0.5, -0.001, 2.0]),
        "effect_mean": np.array([-0.5, -0.001, 2.0]) / n,
        "score": np.array([-6.0, -0.3, 8.0]),
    }
    said = words(text.slices_text(report(slices=table)))
    assert "Slices that hurt the model" in said and "town = Ulm 40 -500.0 -12.50" in said
    assert "flag" not in said and "BernBern" in said


def test_what_stands_alone():
    alone = {
        "n_rows": 1,
        "rows": [{"row": "p3", "leverage": 0.9, "reasons": ["town = Rome (seen once)"]}],
        "n_values": 2,
        "values": [{"row": "p3", "column": "town", "value": "Rome", "leverage": 0.9}] * 2,
    }
    said = words(text.alone_text(report(alone=alone)))
    assert "p3 0.9000 town = Rome (seen once)" in said
    assert "2 categories are seen in one training row only" in said and "p3 0.9000 town = Rome" in said


def test_rough_groups_carry_their_warning():
    groups = {
        "label": np.array(["a", "b"]),
        "rows": np.array([1, 2]),
        "effect": np.array([-1.0, 1.0]),
        "effect_sum": np.array([-0.9, 0.8]),
        "summed": None,
        "rough": "One Newton step is a rough estimate",
    }
    said = words(text.groups_text(report(groups=groups)))
    assert "WARNING: One Newton step is a rough estimate" in said
    assert "a 1 -1000 -900.0" in said.replace("-1000.0", "-1000")
