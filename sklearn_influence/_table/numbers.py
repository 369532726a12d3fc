"""Numbers and codes as people write them, which a parser takes for something else without a word.

``1.234,50`` is text to pandas, and ``01005`` the number 1005.
"""

import re

import numpy as np

from .file import CODE, codes, count

# (decimal mark, thousands marks) in the order of a note.
_STYLES = {
    "a decimal comma": (",", r"[.' \u00a0\u202f]"),
    "a decimal point": (".", r"[,' \u00a0\u202f]"),
}
# What a plain number has not: any mark but one point.
_MARKED = re.compile(r"\d([, '\u00a0\u202f]|\.\d+[.,])\d")
MOST_MARKS = 3
_UNIT = re.compile(r"([$€£¥]|[A-Z]{3} )?\s*[-+]?\d[\d., ']*\s*([^\d\s.,][^\d]{0,11})?")
MOST_CODES = 50  # beyond, a column for each village would leave a row or two to each


def read_written(column, name, notes, comma=False):
    """A text column of numbers in a style of their own, as float; any other as it is.

    Parameters
    ----------
    column : Series
    name : str
    notes : list of str
        Gains the style, with an example; or that two readings are possible and none was taken.
    comma : bool
        Whether the file has decimal commas elsewhere, which tells thousands points from decimal ones.

    Returns
    -------
    Series
        Text still, but of plain numbers, where some cells hold marks without digits, such as ``?``.
    """
    if not is_text(column):
        return column
    cells = column.dropna().tolist()
    if not all(isinstance(cell, str) for cell in cells):
        return column
    values = list(dict.fromkeys(cells))
    digits = [value for value in values if any(sign.isdigit() for sign in value)]
    marked = [value for value in digits if _MARKED.search(value.strip())]
    n_marks = len(values) - len(digits)
    if not marked or n_marks > MOST_MARKS or (n_marks and len(digits) < 3):
        return column
    readings = {style: _read(digits, style) for style in _STYLES}
    readings = {style: numbers for style, numbers in readings.items() if numbers is not None}
    if len(readings) == 2 and (comma or len(set(map(tuple, readings.values()))) == 1):
        del readings["a decimal point"]  # 1 234 is the same in both
    if not readings:
        return column
    example = max(marked, key=lambda value: sum(not sign.isdigit() for sign in value))
    at = digits.index(example)
    if len(readings) == 2:
        one, other = (f"{numbers[at]:.15g}" for numbers in readings.values())
        notes.append(
            f"{name!r} is taken for text: {example!r} may be {one} or {other}; write it without a thousands mark."
        )
        return column
    (style, numbers), *_ = readings.items()
    notes.append(f"{name!r} is read as numbers with {style}: {example!r} is {numbers[at]:.15g}.")
    if len(digits) == len(values):
        return column.map(dict(zip(digits, numbers, strict=True))).astype(float)
    plain = {value: value for value in values} | {
        value: repr(number) for value, number in zip(digits, numbers, strict=True)
    }
    return column.map(plain)


def _read(values, style):
    """The numbers, or None where one is not of the style."""
    mark, thousands = _STYLES[style]
    pattern = rf"[-+]?(\d+|[1-9]\d{{0,2}}({thousands})\d{{3}}(\2\d{{3}})*)({re.escape(mark)}\d+)?"
    values = [value.strip() for value in values]
    if not all(re.fullmatch(pattern, value) for value in values):
        return None
    return [float(re.sub(thousands, "", value).replace(mark, ".")) for value in values]


def is_text(column):
    return column.dtype != "category" and column.dtype.kind == "O"


def codes_as_feature(column, name, notes):
    """Codes of few values as categories, of many as numbers, with a note either way; other columns as they are."""
    if not is_text(column) or not codes(column):
        return column
    example = next(value for value in column.dropna() if CODE.fullmatch(value))
    if column.nunique() <= MOST_CODES:
        notes.append(f"{name!r} holds codes such as {example!r}: each is a category, not a number.")
        return column.astype("category")
    notes.append(
        f"{name!r} holds {column.nunique():,} codes such as {example!r}, too many for categories: taken as numbers; "
        "if they measure nothing, say --drop."
    )
    return column.astype(float)


def unit_of(values):
    """The unit in which most of some texts are numbers, as (unit, an example), or None."""
    found = [(_UNIT.fullmatch(str(value).strip()), str(value)) for value in values[:500]]
    units = [((match[1] or match[2] or "").strip(), text) for match, text in found if match]
    units = [(unit, text) for unit, text in units if unit]
    if not units or len(units) < 0.9 * len(found):
        return None
    names, counts = np.unique([unit for unit, _ in units], return_counts=True)
    if len(names) > 3:
        return None
    unit = str(names[counts.argmax()])
    return unit, next(text for name, text in units if name == unit)


def alike(values):
    """Pairs of texts that differ in capitals or spaces only."""
    seen, pairs = {}, []
    for value in sorted(map(str, values)):
        key = " ".join(value.casefold().split())
        if key in seen:
            pairs.append((seen[key], value))
        seen.setdefault(key, value)
    return pairs


def note_alike(values, what, notes):
    """Say that values are kept apart which a person may take for one."""
    pairs = alike(values)
    if pairs:
        one, other = pairs[0]
        more = f" (and {count(len(pairs) - 1, 'pair')} more)" if len(pairs) > 1 else ""
        notes.append(
            f"{what}: {one!r} and {other!r}{more} differ in capitals or spaces only and are kept apart; if they mean "
            "the same, write them the same."
        )
