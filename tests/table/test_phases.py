"""A person's file through the command line: its numbers, its words, its refusals."""

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from sklearn_influence import InfluenceEstimator, cli
from sklearn_influence._table import cost as _table_cost
from sklearn_influence._table import table as _table
from sklearn_influence._table.file import read_table


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(_table_cost, "DRAWS", 3)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        try:
            status = cli.main(["audit", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return call


def people(n=400, flips=8):
    """A table of which income follows, some labels flipped, a row twice, and a town of one person."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "person": [f"p{i}" for i in range(n)],
            "age": rng.normal(40, 10, n).round(1),
            "hours": np.where(rng.random(n) < 0.1, np.nan, rng.normal(35, 5, n)),
            "town": rng.choice(["Bern", "Ulm", "Graz"], n),
            "married": rng.random(n) < 0.5,
            "region": rng.choice(["north", "south"], n),
            "same": 1,
        }
    )
    frame.loc[rng.random(n) < 0.1, "town"] = None
    score = (frame.age - 40) / 4 + (frame.town == "Ulm") * 2 - 0.5
    frame["income"] = np.where(score + 0.3 * rng.logistic(size=n) > 0, "high", "low")
    flipped = rng.choice(np.flatnonzero(np.abs(score) > 3), flips, replace=False)
    frame.loc[flipped, "income"] = frame.income[flipped].map({"high": "low", "low": "high"})
    frame.loc[n - 1] = frame.loc[n - 2].to_dict() | {"person": "again", "income": "high"}
    frame.loc[n - 2, "income"] = "low"
    return frame, frame.person[flipped].tolist()


@pytest.fixture
def file(tmp_path):
    frame, _ = people()
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def numbers(directory):
    with open(directory / "ranking.csv", newline="", encoding="utf-8") as stream:
        return {line["row"]: float(line["effect"]) for line in csv.DictReader(stream)}


def test_effects_are_those_of_a_pipeline_made_by_hand(run, file, tmp_path):
    status, out, _ = run(file, "--target", "income", "--id", "person", "--output", tmp_path / "report", "--top", 8)
    assert status == 0
    table = _table.choose(read_table(str(file)), "income", id="person")
    train, validation, _ = _table.split(table, 0)
    pipeline = _table.build(table, 1.0).fit(*table.take(train))
    X, X_val = (pipeline[:-1].transform(table.X.iloc[rows]) for rows in (train, validation))
    model = InfluenceEstimator(LogisticRegression()).fit(X, table.y[train])
    effect = model.influence_on_loss(X_val, table.y[validation], aggregate="mean")
    found = numbers(tmp_path / "report")
    assert set(found) == set(table.names[train])
    assert_allclose([found[name] for name in table.names[train]], effect, rtol=1e-6, atol=1e-9)
    assert "Left out: 1 column, constant: 'same'." in out
    assert "Model: logistic, since the target 'income' is text." in out
    assert "Rows go by the column 'person'." in out and "position" not in out


def test_planted_errors_are_named(run, tmp_path):
    frame, flipped = people(600, 12)
    frame.to_parquet(tmp_path / "people.parquet")
    arguments = [tmp_path / "people.parquet", "--target", "income", "--id", "person", "--drop", "same,region"]
    status, out, err = run(*arguments, "--quiet", "--top", "15")
    assert (status, err) == (0, "")
    suspects = out.split("Rows that look mislabelled")[1].split("The two rankings")[0]
    in_training = [name for name in flipped if re.search(rf"\b{name}\b", suspects)]
    # 60 % of the 12 flips are for training.
    assert len(in_training) >= 5
    assert max(map(len, out.splitlines())) <= 100


def test_planted_duplicates_are_named(run, tmp_path):
    frame, _ = people(300)
    frame = pd.concat([frame, frame[:200].assign(person=lambda f: f.person + "x")])
    frame.loc[frame.person.isin([f"p{i}x" for i in range(0, 200, 40)]), "income"] = "low"
    frame.loc[frame.person.isin([f"p{i}" for i in range(0, 200, 40)]), "income"] = "high"
    frame.to_csv(tmp_path / "people.csv", index=False)
    out = run(tmp_path / "people.csv", "--target", "income", "--id", "person")[1]
    section = out.split("Rows that equal others in every column")[1]
    named = [
        name
        for name in (f"p{i}" for i in range(0, 200, 40))
        if re.search(rf"\b{name}, {name}x|{name}x, {name}\b", section)
    ]
    assert named
    assert "validation rows are among the training rows" in section


@pytest.mark.parametrize("model", ["ridge", "linear"])
def test_numbers_and_weights(run, file, model, tmp_path):
    status, out, err = run(
        file, "--target", "age", "--weight", "hours", "--model", model, "--drop", "person", "--top", 3
    )
    assert status == 0
    assert out.startswith("Audit of Ridge()" if model == "ridge" else "Audit of LinearRegression()")
    assert re.search(r"Left out: \d+ rows whose weight 'hours' is missing\.", out)
    assert "mean squared error / 2" in out and "log loss" not in out
    assert "Traceback" not in err and max(map(len, out.splitlines())) <= 100


def test_a_classifier_of_squared_loss(run, file):
    status, out, _ = run(file, "--target", "income", "--model", "ridge_classifier", "--id", "person", "--top", 3)
    assert status == 0 and out.startswith("Audit of RidgeClassifier()")
    assert "mean squared error / 2 x 1000" in out and "log loss" not in out


def test_groups_are_reported_and_no_feature(run, file, tmp_path):
    directory = tmp_path / "out"
    options = ["--target", "income", "--id", "person", "--groups", "region", "--top", 3, "--output", directory]
    status, out, _ = run(file, *options)
    assert status == 0
    assert "Groups left out whole" in out and "north" in out and "region =" not in out
    content = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    assert sorted(content["groups"]["label"]) == ["north", "south"]
    assert content["data"][0] == "people.csv: 400 rows, 8 columns."
    assert {"slices.csv", "groups.csv"} <= {path.name for path in directory.iterdir()}


def test_cost_then_progress_then_report(run, file):
    status, out, err = run(file, "--target", "income", "--drop", "person", "--top", 2)
    assert status == 0 and "Rows go by their number in the file; the first row of data is 0." in out
    lines = err.splitlines()
    phases = [re.sub(r"\[.*?\] ", "", line).split(",")[0] for line in lines]
    order = ["Expected: a few seconds", "fitting", "cross-validated losses", "unlearning"]
    assert [phases.index(phase) for phase in order] == sorted(phases.index(phase) for phase in order)
    assert all(re.match(r"\[ *\d+ s\] ", line) or line.endswith((".", "memory.")) for line in lines)
    assert run(file, "--target", "income", "--drop", "person", "--top", 2, "--quiet") == (0, out, "")


def test_columns_are_counted_once(run, file):
    """A town of one person is a column only where that person is in the training part."""
    frame = pd.read_csv(file)
    towns = frame.town.where(frame.index % 20 != 0, "T" + frame.index.astype(str))
    frame.assign(town=towns).to_csv(file, index=False)
    out = run(file, "--target", "income", "--id", "person", "--quiet", "--top", 1)[1]
    header = re.search(r"training rows, (\d+) columns,", out)[1]
    assert f"{header} columns after encoding" in " ".join(out.split())


def test_the_seed_decides(run, file):
    first, other = (run(file, "--target", "income", "--id", "person", "--quiet", "--seed", seed)[1] for seed in (1, 2))
    assert first != other


GOOD = "age,town,income\n" + "".join(
    f"{20 + i % 37},{'Bern' if i % 3 else 'Ulm'},{'hi' if i % 2 else 'lo'}\n" for i in range(60)
)


@pytest.mark.parametrize(
    "content, arguments, message",
    [
        (None, [], "there is no such file; check the name and the directory"),
        ("", [], "the file is empty"),
        (GOOD.encode("utf-16"), [], "the text is UTF-16"),
        ("caf\xe9,income\n1,2\n".encode("latin1"), [], "line 1 is not UTF-8 text"),
        (GOOD + "1,2,3,4\n", [], "line 62 has 4 fields, but the first line names 3 columns"),
        (GOOD.replace("town", "age", 1), [], "more than one column is called 'age'"),
        (GOOD, ["--target", "incomes"], "--target: there is no column 'incomes'; did you mean 'income'?"),
        (GOOD, ["--drop", "income"], "--target and --drop both name 'income'"),
        (GOOD, ["--drop", "age", "--drop", "town"], "no column is left to predict from"),
        (GOOD, ["--model", "ridge"], "--model ridge needs numbers, but the target 'income' holds text such as 'lo'"),
        (GOOD.replace(",lo", ",hi"), [], "the target 'income' has one value only, 'hi'"),
        (GOOD.replace(",lo", ",").replace(",hi", ","), [], "the target 'income' is missing in every row"),
        (GOOD.replace("Bern", "2021-03-04").replace("Ulm", "2021-03-05"), [], "'town' holds dates such as '2021-03-0"),
        (GOOD.replace("\n20,", "\ninf,"), [], "the column 'age' is infinite in 2 rows"),
        ("\n".join(GOOD.splitlines()[:8]), [], "7 rows can be used, but at least 20 are needed"),
    ],
)
def test_bad_files_exit_2_with_one_sentence(run, tmp_path, content, arguments, message):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    options = ["--target", "income", *arguments] if "--target" not in arguments else arguments
    status, out, err = run(path, *options, "--quiet")
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1 and "Traceback" not in err
    assert err.startswith(f"sklearn-influence audit: error: {path}: ")


def test_an_interrupt_is_no_traceback(run, file, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "audit_file", interrupt)
    assert run(file, "--target", "income") == (130, "", "interrupted\n")


def test_warnings_are_lines(run, file, monkeypatch):
    import warnings

    def warn(*arguments):
        for _ in range(2):
            warnings.warn("the curvature is singular")
        raise cli.TableError("enough")

    monkeypatch.setattr(cli, "audit_file", warn)
    status, _, err = run(file, "--target", "income")
    assert status == 2 and err.splitlines()[0] == "warning: the curvature is singular" and err.count("singular") == 1
