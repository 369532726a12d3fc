"""The sections of a printed audit that need the columns of a table; each is empty where there is nothing to say."""

import numpy as np

from . import format as show
from .checks import clear_slices


def data_text(report):
    """What was read and chosen, where the audit is of a file."""
    notes = getattr(report, "data", None)
    if not notes:
        return []
    return ["The table", *(line for note in notes for line in show.wrap(note, hang="  "))]


def alone_text(report):
    """Rows that decide their own prediction, with what makes them do so, and categories of a single row."""
    found = report.alone
    if not found:
        return []
    lines = []
    explained = [row for row in found["rows"] if row["reasons"]]
    if explained:
        lines += ["", "  What sets rows of high leverage apart"]
        columns = [
            [show.short(str(row["row"]), 18) for row in explained],
            show.column([row["leverage"] for row in explained]),
            [show.short("; ".join(row["reasons"]), 62) for row in explained],
        ]
        lines += show.table(["row", "leverage", "it alone has"], columns, left=(0, 2))
    if found["n_values"]:
        text = "One category is seen in one training row only, and what the model says of it rests on that row:"
        if found["n_values"] > 1:
            text = f"{found['n_values']:,} categories are seen in one training row only, which alone speaks for each:"
        lines += show.wrap(text)
        columns = [
            [show.short(str(value["row"]), 18) for value in found["values"]],
            show.column([value["leverage"] for value in found["values"]]),
            [show.short(f"{value['column']} = {value['value']}", 62) for value in found["values"]],
        ]
        lines += show.table(["row", "leverage", "category"], columns, left=(0, 2))
    return ["Rows that stand alone", *lines] if lines else []


def slices_text(report):
    """Values of categorical columns whose rows together hurt, and carry, the model."""
    table = report.slices
    if table is None:
        return []
    hurt, carry = clear_slices(table, report.k)
    if not len(hurt) and not len(carry):
        return []
    lines = [
        "Slices of the training rows",
        *show.wrap(
            f"Sums of the single rows' effects, in {show.unit(report)[1]}. Leaving out all rows of a slice would do "
            "about that, no more, since effects of many rows do not simply add up. Slices are listed where chance does "
            "not explain the sum: as many random rows would hardly ever reach it."
        ),
    ]
    for title, places in (("hurt the model", hurt), ("carry the model most", carry)):
        if len(places):
            lines += ["", f"  Slices that {title}", *_slices_table(report, table, places)]
    return lines


def _slices_table(report, table, places):
    factor = show.unit(report)[0]
    columns = [
        [show.short(f"{table['column'][i]} = {table['value'][i]}", 40) for i in places],
        [f"{table['rows'][i]:,}" for i in places],
        show.column(table["effect_sum"][places] * factor, sign=True),
        show.column(table["effect_mean"][places] * factor, sign=True),
    ]
    return show.table(["slice", "rows", "sum of effects", "mean effect"], columns)


def groups_text(report):
    """What leaving out each group does."""
    found = report.groups
    if not found:
        return []
    factor, unit = show.unit(report)
    n = len(found["label"])
    if found["summed"]:
        how = f"Sums of the single rows' effects, which is an approximation ({found['summed']})"
    else:
        how = "One Newton step on the rows that stay" if report.method == "newton" else "To first order"
    lines = [
        "Groups left out whole",
        *show.wrap(f"{how}; change of validation loss in {unit}. Below 0 the model is better off without the group."),
    ]
    if found["rough"]:
        lines += show.wrap("WARNING: " + found["rough"])
    k = report.k
    places = np.arange(n) if n <= 2 * k else np.r_[np.arange(k), np.arange(n - k, n)]
    columns = [
        [show.short(str(found["label"][i]), 40) for i in places],
        [f"{found['rows'][i]:,}" for i in places],
        show.column(found["effect"][places] * factor, sign=True),
    ]
    headers = ["group", "rows", "effect"]
    if not found["summed"]:
        headers.append("sum of single effects")
        columns.append(show.column(found["effect_sum"][places] * factor, sign=True))
    if n > 2 * k:
        columns = [[*column[:k], "..." if j == 0 else "", *column[k:]] for j, column in enumerate(columns)]
        lines += show.wrap(f"The {k} at either end of {n:,}:")
    return lines + show.table(headers, columns)


def duplicates_text(report):
    """Rows whose columns equal another row's."""
    found = report.duplicates
    if not found or not (found["rows"] or found["equal_to_validation"]):
        return []
    lines = ["Rows that equal others in every column"]
    if found["rows"]:
        agreeing = found["rows"] - found["contradicting_rows"]
        things = "label" if report.task == "classification" else "value"
        lines += show.wrap(
            f"{show.rows(found['rows'])} of {report.n_train:,} are in {found['sets']:,} "
            f"{'set' if found['sets'] == 1 else 'sets'} of equal rows: {agreeing:,} with one and the same {things}, "
            f"{found['contradicting_rows']:,} in sets that contradict each other."
        )
    if found["equal_to_validation"]:
        n = found["validation_rows_seen"]
        lines += show.wrap(
            f"{n:,} validation {'row is' if n == 1 else 'rows are'} among the "
            f"training rows ({show.rows(found['equal_to_validation'])}), so the model has seen what it is tested on."
        )
    if found["contradicting"]:
        lines += ["", "  Contradicting rows, the most surprising first"]
        columns = [
            [_several(group["row"], 50) for group in found["contradicting"]],
            [_several(group["label"], 40) for group in found["contradicting"]],
        ]
        lines += show.table(["rows", f"{things}s"], columns, left=(0, 1))
    return lines


def _several(values, width):
    """As many of the values as fit."""
    texts = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    for shown in range(len(texts), 0, -1):
        more = f" + {len(texts) - shown}" if shown < len(texts) else ""
        text = ", ".join(texts[:shown]) + more
        if len(text) <= width:
            return text
    return show.short(texts[0], width)
