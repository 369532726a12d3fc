"""Read a person's CSV or Parquet file into a data frame, or say in one sentence why that cannot be done.

pandas guesses where a file is damaged: it fills short lines, takes a surplus field for an index and renames columns of
one name. So the records are counted first, by the csv module, and pandas then parses what is known to be a table.
"""

import csv
import gzip
import io
import os
import re
from collections import Counter

SEPARATORS = (",", ";", "\t", "|")
NEEDED = 'a CSV or Parquet file needs pandas and pyarrow: pip install "sklearn-influence[table]"'
_SNIFFED = 2**18
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"SQLite": "an SQLite database",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}


# What a name promises; only what is inside counts.
_ENDINGS = {".parquet": "Parquet", ".pq": "Parquet", ".gz": "gzip", ".xlsx": "Excel", ".xls": "Excel"}
_COMMENTS = ("#", "//", "%", "--")
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}(\.\d{3})+")
CODE = re.compile(r"0\d+")
_ZEROS = re.compile(rb"(?:^|[^\w.+-])0\d", re.M)


class TableError(ValueError):
    """What is wrong with a table, in one sentence for the person who owns it."""


def read_table(path):
    """The columns of a file, unchanged, under the names in its first line.

    Parameters
    ----------
    path : str
        CSV (also compressed by gzip; separated by commas, semicolons, tabs or bars) or Parquet, told apart by content.

    Returns
    -------
    DataFrame
        Rows numbered from 0. Lines without any field are skipped.

    Raises
    ------
    TableError
        For what is not there, not readable or no table.
    """
    if os.path.isdir(path):
        raise TableError("this is a directory; give the name of a CSV or Parquet file in it")
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise TableError(f"reading {NEEDED}") from None
    try:
        with open(path, "rb") as stream:
            start = stream.read(64)
    except FileNotFoundError:
        raise TableError("there is no such file; check the name and the directory") from None
    except OSError as error:
        raise TableError(f"cannot be read: {error.strerror or error}") from None
    if not start:
        raise TableError("the file is empty; a first line of column names and a line for each row are needed")
    if start.startswith(b"PAR1"):
        return _read_parquet(path)
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise TableError(f"this is {name}, not a CSV or Parquet file; save the table as CSV (UTF-8)")
    packed = start.startswith(b"\x1f\x8b")
    try:
        return _read_csv(path, gzip.open if packed else open)
    except TableError as error:
        promised = _ENDINGS.get(os.path.splitext(path)[1].lower())
        if promised is None or packed:
            raise
        raise TableError(f"the name says {promised}, but it is no {promised} file; read as CSV, {error}") from None


def _read_parquet(path):
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise TableError(f"reading {NEEDED}") from None
    except Exception as error:  # pyarrow has exceptions of its own, which cannot be named without it
        raise TableError(
            f"cannot be read as Parquet ({_first_line(error)}); write it again or save it as CSV"
        ) from None
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    _check_names(list(frame.columns))
    if not len(frame):
        raise TableError("the file has column names but no rows")
    return frame


def _read_csv(path, opened):
    import pandas as pd

    try:
        separator, decimal = _sniff(path, opened)
        header = _check_records(path, opened, separator)
        how = {
            "sep": separator,
            "decimal": decimal,
            "header": 0,
            "names": header,
            "index_col": False,
            "skipinitialspace": True,
            "encoding": "utf-8-sig",
            "compression": "gzip" if opened is gzip.open else None,
            "low_memory": False,  # in chunks, a column of mixed types gets a mixture
        }
        frame = pd.read_csv(path, **how)
        if _has_zeros(path, opened):
            _restore_codes(frame, lambda names: pd.read_csv(path, **how, usecols=names, dtype=str))
        frame.attrs["decimal"] = decimal
    except UnicodeDecodeError:
        raise TableError(_where_not_utf8(path, opened)) from None
    except (EOFError, OSError) as error:
        raise TableError(f"cannot be read: {_first_line(error)}") from None
    except (csv.Error, pd.errors.ParserError) as error:
        raise TableError(
            f"cannot be read as CSV ({_first_line(error)}); look for a quote that is never closed, or for bytes that "
            "are no text"
        ) from None
    return frame


def _has_zeros(path, opened):
    """Whether some field may begin with a zero and a digit."""
    with opened(path, "rb") as stream:
        while lines := stream.readlines(2**20):
            if _ZEROS.search(b"".join(lines)):
                return True
    return False


def _restore_codes(frame, read):
    """Give columns of codes such as 01005, which were read as numbers, their text back."""
    whole = [name for name in frame if frame[name].dtype.kind in "iuf" and (frame[name].dropna() % 1 == 0).all()]
    if whole:
        text = read(whole)
        for name in whole:
            if codes(text[name]):
                frame[name] = text[name]


def codes(text):
    """Whether a text column is codes: digits only, and some begin with a zero that a number would lose."""
    values = text.dropna().tolist()
    digits = len(values) > 0 and all(isinstance(value, str) and value.isdigit() for value in values)
    return digits and any(CODE.fullmatch(value) for value in values)


def _sniff(path, opened):
    """(separator, decimal mark), by the one separator that cuts the first lines into equally many fields."""
    with opened(path, "rb") as stream:
        start = stream.read(_SNIFFED)
        whole = not stream.read(1)
    if b"\x00" in start[:4096]:
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise TableError("the text is UTF-16, not UTF-8; save the table as CSV (UTF-8)")
        raise TableError("this is not text; save the table as CSV (UTF-8) or Parquet")
    lines = start.splitlines(keepends=True)
    text = b"".join(lines if whole or len(lines) == 1 else lines[:-1]).decode("utf-8-sig")
    _refuse_preamble(text)
    best, most, records = None, (0, 0), []
    for separator in SEPARATORS:
        found = [r for r in csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True) if r][:200]
        if not found or len(found[0]) < 2:
            continue
        share = sum(len(record) == len(found[0]) for record in found) / len(found)
        if (share, len(found[0])) > most:
            best, most, records = separator, (share, len(found[0])), found
    if best is None:
        raise TableError(
            "only one column is found; a table is needed whose fields are separated by commas, semicolons, tabs or "
            f"bars, but the first line is {_quote(text.strip())}"
        )
    fields = [field.strip() for record in records[1:] for field in record]
    commas = any(re.fullmatch(r"-?\d+,\d+", field) for field in fields)
    # With decimal commas, 1.234 is a thousand and more; such a field alone is no sign of decimal points.
    points = any(re.fullmatch(r"-?\d+\.\d+", field) and not _THOUSANDS.fullmatch(field) for field in fields)
    return best, "," if best != "," and commas and not points else "."


def _refuse_preamble(text):
    """Refuse a line before the columns' names: a comment, a title, Excel's ``sep=;``."""
    ways = [
        [r for r in csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True) if r][:200]
        for separator in SEPARATORS
    ]
    if any(len(way) > 1 and len(way[0]) > 1 and len({len(record) for record in way}) == 1 for way in ways):
        return  # the first line has the fields of all others
    first = text.strip().split("\n")[0].strip()
    n = next((i for i, record in enumerate(ways[0]) if not record[0].startswith(_COMMENTS)), 0)
    what = "a comment" if n == 1 else "comments"
    if not n and (re.fullmatch(r"sep=.", first) or all(len(way[0]) == 1 for way in ways if way)):
        n, what = 1, "a title or a note"
    # A table follows.
    if n and any(len(way) > n + 1 and len(way[n]) > 1 and len({len(r) for r in way[n:]}) == 1 for way in ways):
        lines = "the first line is" if n == 1 else f"the first {n} lines are"
        it = "it" if n == 1 else "them"
        raise TableError(f"{lines} {what}, not the columns' names: {_quote(text.strip())}; take {it} out of the file")


def _quote(text):
    """The first line, in quotes."""
    line = (text.splitlines() or [""])[0].strip()
    return repr(line if len(line) <= 60 else line[:57] + "...")


def _check_records(path, opened, separator):
    """The column names of a file in which every line has one field for each of them."""
    with opened(path, "rb") as stream:
        reader = csv.reader(
            io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), delimiter=separator, skipinitialspace=True
        )
        header = next((record for record in reader if record), [])
        width, n = len(header), 0
        for record in reader:
            if len(record) != width and record:
                raise TableError(
                    f"line {reader.line_num} has {count(len(record), 'field')}, but the first line names "
                    f"{count(width, 'column')}; correct that line, or put quotes around a field that holds the "
                    f"separator {separator!r}"
                )
            n += bool(record)
    if not n:
        raise TableError("the file has column names but no rows")
    names = [name.strip() or f"unnamed_{j}" for j, name in enumerate(header)]
    _check_names(names)
    if all(_is_number(name) for name in names):
        raise TableError(f"the first line holds numbers ({listed(names[:3])}, ...); it must hold the columns' names")
    return names


def _check_names(names):
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"more than one column is called {listed(twice)}; give every column a name of its own")


def _where_not_utf8(path, opened):
    with opened(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                return (
                    f"line {number} is not UTF-8 text (byte 0x{byte:02x}); save the table as CSV (UTF-8), or convert "
                    "it: iconv -f latin1 -t utf-8 OLD > NEW"
                )
    return "the file is not UTF-8 text; save the table as CSV (UTF-8)"


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(". ")


def count(n, thing):
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def listed(names, most=5):
    """Names in quotes, as a sentence lists them."""
    quoted = [repr(str(name)) for name in names[:most]]
    if len(names) > most:
        return ", ".join(quoted) + f" and {len(names) - most} more"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
