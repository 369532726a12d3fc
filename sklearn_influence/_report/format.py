"""Numbers and columns in print, and in the types that JSON knows."""

import textwrap

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
    """Numbers in print, with the decimals that show four digits of the largest."""
    known = [abs(value) for value in values if value is not None and np.isfinite(value)]
    top = max(known, default=1.0) or 1.0
    decimals = int(np.clip(3 - np.floor(np.log10(top)), 0, 12))
    form = f"{{:{'+' if sign else ''}.{decimals}f}}"
    return ["" if value is None else form.format(value) for value in values]


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
