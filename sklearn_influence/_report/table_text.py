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
            show.different([row["row"] for row in explained], 20),
            show.column([row["leverage"] for row in explained]),
            [show.short("; ".join(row["reasons"]), 62) for row in explained],
        ]
        lines += show.table(["row", "leverage", "it alone has"], columns, left=(0, 2))
    named = {row["row"] for row in explained}
    others = [value for value in found["values"] if value["row"] not in named]
    if others:
        text = "One value is seen in one training row only, and what the model says of it rests on that row:"
        if found["n_values"] > 1:
            text = f"{found['n_values']:,} values are seen in one training row only, which alone speaks for each:"
        lines += show.wrap(text)
        columns = [
            [show.short(str(value["row"]), 18) for value in others],
            show.column([value["leverage"] for value in others]),
            [show.short(f"{value['column']} = {value['value']}", 62) for value in others],
        ]
        lines += show.table(["row", "leverage", "value"], columns, left=(0, 2))
    unseen = found.get("unseen", [])
    if unseen:
        some = [f"{value['column']} = {value['value']} ({show.rows(value['rows'])})" for value in unseen[: report.k]]
        more = f" and {len(unseen) - len(some):,} more" if len(unseen) > len(some) else ""
        lines += show.wrap(
            f"Values of the validation rows that no training row has, so that the model knows nothing of them: "
            f"{', '.join(some)}{more}."
        )
    return ["Rows that stand alone", *lines] if lines else []


def slices_text(report):
    """Values of categorical columns whose rows together hurt, and carry, the model."""
    table = report.slices
    if table is None:
        return []
    hurt, carry = clear_slices(table, report.k)
    unit, tried = show.unit(report)[1], int((~np.isnan(table["measured"])).sum())
    if tried:
        how = (
            f"Change of validation loss without all rows of a slice, in {unit}, measured by unlearning them. Tried "
            f"were the {tried} slices whose sums of single effects chance explains least; listed are changes of over 3 "
            "standard errors. The sum cannot see that a category takes its own coefficient along."
        )
    else:
        how = (
            f"Sums of the single rows' effects, in {unit}, since refits without slices would take too long; leaving "
            "out all of a slice can do more, or the opposite. Listed where chance does not explain the sum."
        )
    lines = ["Slices of the training rows", *show.wrap(how)]
    if not len(hurt) and not len(carry):
        return lines + show.wrap("No slice stands out.")
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
    ]
    headers = ["slice", "rows", "sum of effects"]
    if not np.isnan(table["measured"][places]).any():
        headers.insert(2, "without it")
        columns.insert(2, show.column(table["measured"][places] * factor, sign=True))
    return show.table(headers, columns)


def groups_text(report):
    """What leaving out each group does."""
    found = report.groups
    if not found:
        return []
    factor, unit = show.unit(report)
    n = len(found["label"])
    how = f"Change of validation loss without all rows of a group, in {unit}"
    how += ", measured by unlearning them" if not found["summed"] else ""
    lines = [
        "Groups left out whole",
        *show.wrap(f"{how}. Below 0 the model is better off without the group."),
    ]
    if found["summed"]:
        lines += show.wrap(
            f"WARNING: these are sums of the single rows' effects, since {found['summed']}; leaving a group out can do "
            "more, or the opposite."
        )
    k = report.k
    places = np.arange(n) if n <= 2 * k else np.r_[np.arange(k), np.arange(n - k, n)]
    columns = [
        [show.short(str(found["label"][i]), 40) for i in places],
        [f"{found['rows'][i]:,}" for i in places],
        show.column([None if np.isnan(e) else e for e in (found["effect"][places] * factor).tolist()], sign=True),
    ]
    headers = ["group", "rows", "effect"]
    if not found["summed"]:
        headers.append("sum of single effects")
        columns.append(show.column(found["effect_sum"][places] * factor, sign=True))
    if n > 2 * k:
        columns = [[*column[:k], "..." if j == 0 else "", *column[k:]] for j, column in enumerate(columns)]
        lines += show.wrap(f"The {k} at either end of {n:,}:")
    lines += show.table(headers, columns)
    for stays in found["staying"][:k]:
        lines += show.wrap(f"Cannot leave: {stays['label']}, which would {stays['reason']}.")
    return lines


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


def held_out_text(report):
    """The rows kept apart that the model finds most unlikely."""
    found, k = report.held_out, report.k
    names = [name for name in ("row", "part", "label", "prediction") if name in found]
    wrong = "mislabelled" if report.task == "classification" else "wrong"
    columns = [show.different(show.column_of_labels(np.asarray(found[name][:k])), 30) for name in names]
    label = "label" if report.task == "classification" else "target"
    things = {"row": "row", "part": "part", "label": label, "prediction": "predicted"}
    return [
        f"Held-out rows that look {wrong}",
        *show.wrap("They had no part in the fit, so their own loss is an honest one. The highest first:"),
        *show.table([*(things[name] for name in names), "loss"], [*columns, show.column(found["loss"][:k])]),
    ]


def _several(values, width):
    """As many of the values as fit."""
    texts = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    for shown in range(len(texts), 0, -1):
        more = f" + {len(texts) - shown}" if shown < len(texts) else ""
        text = ", ".join(texts[:shown]) + more
        if len(text) <= width:
            return text
    return show.short(texts[0], width)
