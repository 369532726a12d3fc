"""Files that are tables, and one sentence for each kind that is none."""

import gzip
import io
import sys

import pandas as pd
import pytest

from sklearn_influence._table.file import TableError, codes, read_table

CSV = "age,town,income\n31,Bern,4.5\n,Ulm,3.1\n52,,7\n"


def write(tmp_path, content, name="people.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace(",", ", "),
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        "\n" + CSV + "\n\n",
        CSV.replace(",", ";").replace(".", ","),
        '"age","town","income"\n31,"Bern",4.5\n"",Ulm,3.1\n52,,7',
        gzip.compress(CSV.encode(), mtime=0),
    ],
    ids=["comma", "semicolon", "tab", "spaces", "crlf", "bom", "blank lines", "decimal comma", "quotes", "gzip"],
)
def test_every_way_of_writing_gives_the_same_table(tmp_path, content):
    frame = read_table(write(tmp_path, content))
    expected = pd.DataFrame({"age": [31.0, None, 52.0], "town": ["Bern", "Ulm", None], "income": [4.5, 3.1, 7.0]})
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)


def test_a_quoted_field_may_hold_separators_and_lines(tmp_path):
    frame = read_table(write(tmp_path, 'name,note\nA,"one, two\nthree"\nB,"say ""x"""\n'))
    assert frame["note"].tolist() == ["one, two\nthree", 'say "x"']


def test_parquet_by_content_whatever_its_name(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])})
    path = tmp_path / "table.csv"
    frame.to_parquet(path)
    pd.testing.assert_frame_equal(read_table(str(path)), frame)
    frame.set_index("b").to_parquet(path)
    assert list(read_table(str(path)).columns) == ["b", "a", "c"]  # a named index is a column


def test_codes_begin_with_a_zero():
    assert codes(pd.Series(["01005", "80331", None]))
    assert not any(codes(pd.Series(v, dtype=object)) for v in (["0", "10"], ["01005", "A1"], [None], [1, 2]))


def test_codes_keep_their_zeros(tmp_path):
    frame = read_table(
        write(tmp_path, 'zip,n,share,date,all\n"01005",1,0.5,2020-01-01,10\n80331,20,00.5,2020-01-02,\n,3,1,,11\n')
    )
    assert frame["zip"][:2].tolist() == ["01005", "80331"] and frame["zip"].isna().tolist() == [False, False, True]
    assert frame["n"].tolist() == [1, 20, 3] and frame["share"].tolist() == [0.5, 0.5, 1.0] and frame["all"][0] == 10


def test_thousands_points_are_no_sign_of_decimal_points(tmp_path):
    frame = read_table(write(tmp_path, "a;b\n1,5;1.234\n2,5;12.345\n"))
    assert frame["a"].tolist() == [1.5, 2.5] and frame["b"].tolist() == ["1.234", "12.345"]
    assert frame.attrs["decimal"] == ","
    assert read_table(write(tmp_path, "a;b\n1,5;0.234\n2,5;12.345\n"))["b"].tolist() == [0.234, 12.345]


def test_a_name_line_may_begin_with_a_mark(tmp_path):
    assert list(read_table(write(tmp_path, "#id,x\n1,2\n3,4\n")).columns) == ["#id", "x"]
    assert list(read_table(write(tmp_path, "#id;x\n1,5;2,5\n3,5;4,5\n")).columns) == ["#id", "x"]


@pytest.mark.parametrize("name", ["fake.parquet", "fake.csv.gz", "fake.xlsx"])
def test_a_name_that_promises_something_else(tmp_path, name):
    kind = {"fake.parquet": "Parquet", "fake.csv.gz": "gzip", "fake.xlsx": "Excel"}[name]
    message = (
        f"the name says {kind}, but it is no {kind} file; read as CSV, only one .* the first line is 'hello world'"
    )
    with pytest.raises(TableError, match=message):
        read_table(write(tmp_path, "hello world\nand more\n", name))
    assert len(read_table(write(tmp_path, CSV, name))) == 3  # only what is inside counts


def test_columns_without_a_name_get_one(tmp_path):
    assert list(read_table(write(tmp_path, ",x,\n0,1,2\n1,3,4\n")).columns) == ["unnamed_0", "x", "unnamed_2"]


def parquet():
    stream = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "the file is empty; a first line of column names and a line for each row are needed"),
        ("a,b\n", "the file has column names but no rows"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 fields, but the first line names 2 columns; correct that line"),
        ("a,b,c\n1,2,3\n3,4\n", "line 3 has 2 fields, but the first line names 3 columns"),
        ("b\n1\n2\n", "only one column is found; a table is needed whose fields are separated by commas"),
        (
            "# exported 2024\n" + CSV,
            "the first line is a comment, not the columns' names: '# exported 2024'; take it out of the file",
        ),
        ("# exported 2024, by me\n" + CSV, "the first line is a comment, .*'# exported 2024, by me'"),
        ("# exported\n# by me\n" + CSV, "the first 2 lines are comments, .*'# exported'; take them out"),
        ("Sales report\n\n" + CSV, "the first line is a title or a note, .*'Sales report'"),
        ("sep=;\n" + CSV.replace(",", ";"), "the first line is a title or a note, .*'sep=;'"),
        ("a,b,a\n1,2,3\n", "more than one column is called 'a'; give every column a name of its own"),
        ("1,2,3\n4,5,6\n", r"the first line holds numbers \('1', '2' and '3', ...\); it must hold the columns' names"),
        ("a,b\n1,caf\xe9\n".encode("latin1"), r"line 2 is not UTF-8 text \(byte 0xe9\); save the table as CSV"),
        ("a,b\n1,2\n".encode("utf-16"), "the text is UTF-16, not UTF-8"),
        (b"a,b\n1,\x00\x01\x02\n", "this is not text"),
        (b"PK\x03\x04rest", "this is a zip archive or an Excel workbook, not a CSV or Parquet file; save the table as"),
        (b"PAR1nonsense", "cannot be read as Parquet"),
        (parquet()[:-20] + b"0" * 20, "cannot be read as Parquet"),
        (gzip.compress(CSV.encode(), mtime=0)[:-12], "cannot be read"),
        ('a,b\n1,"never closed\n2,3\n', "line 3 has 2 fields|cannot be read as CSV|only one|has"),
    ],
)
def test_what_is_no_table_gets_a_sentence(tmp_path, content, message):
    with pytest.raises(TableError, match=message) as error:
        read_table(write(tmp_path, content))
    assert "\n" not in str(error.value)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(TableError, match="there is no such file; check the name"):
        read_table(str(tmp_path / "nothing.csv"))
    with pytest.raises(TableError, match="this is a directory; give the name of a CSV or Parquet file in it"):
        read_table(str(tmp_path))


@pytest.mark.parametrize("missing, content", [("pandas", CSV), ("pyarrow", parquet())])
def test_what_must_be_installed_is_named(tmp_path, monkeypatch, missing, content):
    path = write(tmp_path, content)
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "pyarrow":
        monkeypatch.setattr(pd, "read_parquet", lambda path: (_ for _ in ()).throw(ImportError("pyarrow")))
    with pytest.raises(TableError, match=r'pip install "sklearn-influence\[table\]"'):
        read_table(path)
