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


def slices(**columns):
    n = np.array([40, 30, 500])
    return {
        "column": np.array(["town", "flag", "town"], dtype=object),
        "value": np.array(["Ulm", "True", "Bern" * 20], dtype=object),
        "rows": n,
        "effect_sum": np.array([-0.5, -0.001, 2.0]),
        "effect_mean": np.array([-0.5, -0.001, 2.0]) / n,
        "score": np.array([-6.0, -0.3, 8.0]),
        "measured": np.full(3, np.nan),
        "measured_error": np.full(3, np.nan),
        **columns,
    }


def test_slices_name_column_and_value():
    said = words(text.slices_text(report(slices=slices())))
    assert "since refits without slices would take too long" in said
    assert "Slices that hurt the model" in said and "town = Ulm 40 -500.0" in said
    assert "flag" not in said and "BernBern" in said


def test_measured_slices_count_by_what_was_measured():
    found = slices(measured=np.array([4.0, -0.2, np.nan]), measured_error=np.array([1.0, 0.01, np.nan]))
    said = words(text.slices_text(report(slices=found)))
    hurt, carry = said.split("Slices that carry")
    assert "Tried were the 2 slices" in hurt and "flag = True 30 -200.0 -1.0" in hurt
    assert "town = Ulm 40 +4000 -500.0" in carry and "BernBern" not in said
    found["measured_error"][:] = 10.0
    assert "No slice stands out." in words(text.slices_text(report(slices=found)))


def test_what_stands_alone():
    alone = {
        "n_rows": 1,
        "rows": [{"row": "p3", "leverage": 0.9, "reasons": ["town = Rome (seen once)"]}],
        "n_values": 2,
        "values": [{"row": row, "column": "town", "value": "Rome", "leverage": 0.9} for row in ("p3", "p4")],
    }
    said = words(text.alone_text(report(alone=alone)))
    assert "p3 0.9000 town = Rome (seen once)" in said
    assert "2 values are seen in one training row only" in said and "p4 0.9000 town = Rome" in said


def test_values_that_no_training_row_has():
    unseen = [{"column": "town", "value": f"T{i}", "rows": i + 1} for i in range(3)]
    said = words(
        text.alone_text(report(alone={"n_rows": 0, "rows": [], "n_values": 0, "values": [], "unseen": unseen}))
    )
    assert said.startswith("Rows that stand alone") and "town = T0 (1 row), town = T1 (2 rows) and 1 more." in said


def test_a_row_is_named_once():
    alone = {
        "n_rows": 1,
        "rows": [{"row": "p3", "leverage": 0.9, "reasons": ["town = Rome (seen once)"]}],
        "n_values": 1,
        "values": [{"row": "p3", "column": "town", "value": "Rome", "leverage": 0.9}],
    }
    assert words(text.alone_text(report(alone=alone))).count("Rome") == 1


GROUPS = {
    "label": np.array(["a", "b", "c"]),
    "rows": np.array([1, 2, 3]),
    "effect": np.array([-1.0, 1.0, np.nan]),
    "effect_sum": np.array([-0.9, 0.8, 0.1]),
    "summed": None,
    "staying": [{"label": "c", "reason": "remove every row of class 1"}],
}


def test_groups_that_cannot_leave_are_named():
    said = words(text.groups_text(report(groups=GROUPS)))
    assert "measured by unlearning them" in said and "a 1 -1000" in said
    assert "Cannot leave: c, which would remove every row of class 1." in said and "nan" not in said


def test_sums_of_groups_carry_their_warning():
    summed = {**GROUPS, "effect": GROUPS["effect_sum"], "summed": "3 refits would take too long", "staying": []}
    said = words(text.groups_text(report(groups=summed)))
    assert "WARNING: these are sums of the single rows' effects, since 3 refits would take too long" in said


def test_held_out_rows():
    found = {
        "row": np.array(["p1", "p2", "p3"]),
        "part": np.array(["test", "validation", "test"]),
        "label": np.array(["no", "yes", "no"]),
        "prediction": np.array(["yes", "no", "no"]),
        "loss": np.array([4.0, 3.0, 0.1]),
    }
    said = words(text.held_out_text(report(held_out=found)))
    assert "p1 test no yes 4.000 p2 validation yes no 3.000" in said and "p3" not in said
