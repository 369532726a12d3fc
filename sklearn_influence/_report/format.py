"""Numbers and columns in print, and in the types that JSON knows."""

import textwrap
from itertools import pairwise

import numpy as np

WIDTH = 100


def loss_name(report):
    """The loss in words."""
    if report.loss == "log":
        return "mean log loss"
    if report.task == "regression" and report.n_targets > 1:
        return "squared error / 2, summed"
    return "mean squared error / 2"


def unit(report):
    """(factor, name) of effects in print: those on a classifier's loss are small, so they are x 1000, and x 1,000,000
    where one row among very many does little."""
    factor = 1000 if report.task == "classification" else 1
    largest = np.abs(report.rows["effect"]).max(initial=0.0)
    while 0 < largest * factor < 0.01 and factor < 1_000_000_000:
        factor *= 1000
    times = {1: "", 1000: " x 1000"}.get(factor, f" x {factor:,}")
    return float(factor), loss_name(report) + times


def rows(n):
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def column(values, sign=False):
    """Numbers in print, with the decimals that show four digits of the largest; as powers of ten beyond 1e12."""
    known = [abs(value) for value in values if value is not None and np.isfinite(value)]
    top = max(known, default=1.0) or 1.0
    decimals = int(np.clip(3 - np.floor(np.log10(top)), 0, 12))
    form = f"{{:{'+' if sign else ''}{f'.{decimals}f' if top < 1e12 else '.3e'}}}"
    return ["" if value is None else form.format(value) for value in values]


def column_of_labels(values):
    """Labels or targets in print: numbers as `column` has them, but whole ones without decimals."""
    if values.dtype.kind != "f":
        return [str(value) for value in values]
    if (values == np.round(values)).all() and np.abs(values).max(initial=0.0) < 1e12:
        return [f"{value:.0f}" for value in values]
    return column(values)


def table(headers, columns, left=(0,)):
    """Columns side by side, as lines; numbers to the right, the ``left`` columns to the left."""
    if headers is not None:
        columns = [[header, *column] for header, column in zip(headers, columns, strict=True)]
    lines = list(zip(*columns, strict=True))
    widths = [max(map(len, column)) for column in columns]
    padded = (
        [cell.ljust(widths[i]) if i in left else cell.rjust(widths[i]) for i, cell in enumerate(line)] for line in lines
    )
    return ["    " + "  ".join(line).rstrip() for line in padded]


def short(text, width):
    """The text cut to a width; a number behind #, which tells rows of one name apart, is kept."""
    if len(text) <= width:
        return text
    name, mark, number = text.rpartition(" #")
    tail = mark + number if name and number.isdigit() else ""
    return text[: width - 3 - len(tail)] + "..." + tail


def different(texts, width):
    """The texts, where one is longer than the width cut to it so that different ones stay different.

    The first way that manages is taken: without their middles, without what all begin with, or around the place where
    each differs from those next to it in the alphabet.
    """
    texts = [str(text) for text in texts]
    known = sorted(set(texts))
    if max(map(len, known), default=0) <= width:
        return texts
    ways = [
        [_without_middle(text, width) for text in known],
        [_without_middle(text, width) for text in _without_common(known, width)],
        [_around(text, place, width) for text, place in zip(known, _parting_places(known), strict=True)],
    ]
    best = max(ways, key=lambda way: len(set(way)))  # the first of equals
    cut = dict(zip(known, best, strict=True))
    return [cut[text] for text in texts]


def _without_common(known, width):
    """The texts without what all begin and end with, but for whole words in front where there is room."""
    backwards = [text[::-1] for text in known]
    start = _shared(min(known), max(known))
    end = min(_shared(min(backwards), max(backwards)), min(map(len, known)) - start)
    core = max(map(len, known)) - start - end
    first = known[0].rfind(" ", 0, start) + 1
    while first > 0 and core + start - known[0].rfind(" ", 0, first - 1) - 1 <= width - 6:
        first = known[0].rfind(" ", 0, first - 1) + 1
    if core + start - first > width - 6:
        first = start
    end = end if end > 3 else 0
    return [("..." if first else "") + text[first : len(text) - end] + ("..." if end else "") for text in known]


def _shared(one, other):
    """How many letters two texts begin with in common; of the first and the last in order, all between them too."""
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return n


def _without_middle(text, width):
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return text[: width - 3 - tail] + "..." + text[len(text) - tail :]


def _around(text, place, width):
    if len(text) <= width:
        return text
    if place < width - 3:
        return text[: width - 3] + "..."
    start = min(place - (width - 6) // 2, len(text) - width + 3)
    return "..." + (text[start:] if start + width - 3 >= len(text) else text[start : start + width - 6] + "...")


def _parting_places(known):
    """For each of some sorted texts, where it parts from both neighbours."""
    shared = [_shared(one, other) for one, other in pairwise(known)]
    return [max(pair) for pair in zip([0, *shared], [*shared, 0], strict=True)]


def wrap(text, hang=""):
    """Lines of a paragraph, in which "/ 2" and "x 1000" stay with what they are about."""
    text = text.replace(" / ", "\xa0/\xa0").replace(" x 1", "\xa0x\xa01")
    lines = textwrap.wrap(text, 90, initial_indent="  ", subsequent_indent="  " + hang, break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in lines]


def plain(value):
    """The value in JSON's types: lists, str, int, float, bool and None (also for inf and nan)."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)
