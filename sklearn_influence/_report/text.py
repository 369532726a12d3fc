"""An audit in print: its sections, as lines that a person reads."""

import numpy as np

from ..effects import HIGH_LEVERAGE
from . import format as show
from .suspects import surprising
from .table_text import alone_text, data_text, duplicates_text, groups_text, held_out_text, slices_text


def lines(report):
    """The report as lines of at most WIDTH characters."""
    size = f"{report.n_train:,} training rows, {report.n_features:,} columns"
    result = [show.short(f"Audit of {report.estimator}", show.WIDTH)]
    result += ["=" * len(result[0]), f"{size}, method {report.method}"]
    sections = (
        data_text,
        _quality_text,
        _health_text,
        alone_text,
        _effects_text,
        slices_text,
        groups_text,
        _suspects_text,
        held_out_text,
        duplicates_text,
        _unlearning_text,
    )
    for section in sections:
        found = section(report)
        result += ["", *found] if found else []
    if _renamed(report):
        result += [
            "",
            *show.wrap("Rows go by their names in the data; unlearn and indices= take the numbers under position."),
        ]
    return result


def _quality_text(report):
    quality, rows = dict(report.quality), report.rows
    if "cross_validated_loss" in rows:
        unseen = {"rows": report.n_train, "loss": float(rows["cross_validated_loss"].mean())}
        name = f"training, {report.cross_validation['folds']}-fold cross-validated"
        quality = {"training": quality.pop("training"), name: unseen, **quality}
    if report.task == "classification":
        titles = {"loss": show.loss_name(report), "accuracy": "accuracy"}
    else:
        titles = {"loss": show.loss_name(report), "rmse": "RMSE", "r2": "R2"}
    columns = [list(quality), [f"{values['rows']:,}" for values in quality.values()]]
    for key in titles:
        values = [part.get(key) for part in quality.values()]
        if key == "accuracy":
            columns.append(["" if value is None else f"{value:.1%}" for value in values])
        else:
            columns.append(show.column(values))
    return ["Model quality", *show.table(["", "rows", *titles.values()], columns)]


def _health_text(report):
    stationarity = report.stationarity
    relative = stationarity["relative"]
    after, before = show.column([stationarity["loss_at_optimum"], stationarity["loss_as_fitted"]])
    ending = "Influences are computed as if it were there (refine=False)."
    if stationarity["refined"]:
        ending = "Influences are computed at the optimum itself."
        if after != before:
            ending = f"Influences are computed at the optimum itself, where validation loss is {after}, not {before}."
    lines = ["Can the numbers be trusted?", *show.wrap(f"{_distance(relative)} {ending}")]
    leverage, names = report.rows["leverage"], report.rows["row"]
    order = np.argsort(-leverage, kind="stable")
    high = int((leverage > HIGH_LEVERAGE).sum())
    if not high:
        return lines + show.wrap(
            f"No row decides its own prediction: the highest leverage is "
            f"{leverage[order[0]]:.2f} (row {names[order[0]]}; high if above {HIGH_LEVERAGE})."
        )
    named = ", ".join(f"{names[i]} ({leverage[i]:.2f})" for i in order[: min(high, report.k)])
    # Removal from a squared loss is exact, whatever the leverage.
    rough = ", so the predicted effect of removing it is rough" if report.loss == "log" else ""
    return lines + show.wrap(
        f"WARNING: leverage above {HIGH_LEVERAGE} (a row decides most of its own prediction"
        f"{rough}): {high:,} of {len(order):,} rows: {named}" + (", ..." if high > report.k else "")
    )


def _distance(relative):
    """Where the fit stopped, in words."""
    if relative <= 0.01:
        return "The fit has reached its optimum."
    place = "close to" if relative <= 1 else "some way from" if relative < 1000 else "very far from"
    times = "times as far as removing a typical row moves them."
    return f"The fit stopped {place} its optimum: to get there, its parameters would move {relative:,.2g} {times}"


def _effects_text(report):
    """The two ends of the ranking."""
    factor, unit = show.unit(report)
    effect = report.rows["effect"]
    harmful = int((effect < 0).sum())
    names = ["row", "position", "effect", "refitted_effect", "label", "prediction", "own_loss", "self_influence"]
    # The loss in its own unit, as under model quality.
    loss = show.column([report.stationarity["loss_at_optimum"]])[0] + (", not multiplied" if factor > 1 else "")
    lines = [
        "Effect of each training row on validation loss",
        *show.wrap(
            f"Loss without the row minus loss with it, in {unit}; validation loss itself is "
            f"{loss}. Below 0 the row hurts: {harmful:,} of {len(effect):,} rows do."
        ),
    ]
    lines += _refits_text(report)
    worst = np.arange(min(report.k, harmful))
    best = np.arange(len(effect))[::-1][: min(report.k, int((effect > 0).sum()))]
    for title, chosen in (("hurt it most", worst), ("carry it", best)):
        lines += ["", f"  The rows that {title}", *_rows_table(report, chosen, names)]
    return lines


def _refits_text(report):
    """How far the estimates of the listed rows are from refits."""
    refitted = report.rows.get("refitted_effect")
    if refitted is None or np.isnan(refitted).all():
        return []
    known = np.flatnonzero(~np.isnan(refitted))
    off = np.abs(report.rows["effect"][known] - refitted[known]) / np.abs(refitted[known]).clip(1e-300)
    worst = known[off.argmax()]
    return show.wrap(
        f"Effects are estimates; without each of the {len(known)} listed rows the model was also refitted. They are "
        f"off by {np.median(off):.1%} of the refit in the median, by {off.max():.0%} at most (row "
        f"{report.rows['row'][worst]})."
    )


def _suspects_text(report):
    wrong = "mislabelled" if report.task == "classification" else "wrong"
    by = report.suspects["by"]
    places, rule = surprising(report)
    names = ["row", "position", "label", "prediction", by, "self_influence", "cross_validated_loss", "cv_rank"]
    meaning = (
        "Leave-one-out loss: the row's loss if the model had not seen it, which is its own loss and its self influence "
        "together. Cross-validated loss, from refits without a fold, is the plain baseline."
    )
    if by == "self_influence":
        meaning = "Self influence: how much the row's own loss would grow if the model had not seen it."
    lines = [f"Rows that look {wrong}", *show.wrap(meaning), *_rows_table(report, places, list(dict.fromkeys(names)))]
    if rule:
        lines += show.wrap(f"Left out of the top {report.k}: {show.rows(report.k - len(places))} {rule}.")
    if "by_cross_validation" not in report.suspects:
        return lines + show.wrap(f"No cross-validated loss: {report.cross_validation['missing'].rstrip('.')}.")
    suspects = report.suspects
    name = dict(zip(report.rows["position"].tolist(), report.rows["row"], strict=True))
    others = [str(name[i]) for i in suspects["by_cross_validation"] if i not in suspects["in_both"]]
    listed = ("; " if any("," in other for other in others) else ", ").join(others)
    return lines + show.wrap(
        f"The two rankings agree on {len(suspects['in_both'])} of their top {show.rows(report.k)}; rank "
        f"correlation over all rows {suspects['rank_correlation']:.2f}."
        + (f" High by cross-validation alone: rows {listed}." if others else "")
    )


def _unlearning_text(report):
    result, (factor, unit) = report.unlearning, show.unit(report)
    n, m = len(result["removed"]), result["measured_rows"]
    where = f"the {report.quality['validation']['rows']:,} validation rows"
    measured = f"{m:,} test rows"
    if result["chosen_on"] == "half":
        where, measured = "one half of the validation rows", f"the other half ({show.rows(m)})"
    worst = "most harmful row" if n == 1 else f"{n} most harmful rows"
    lines = [f"Unlearning the {worst}" if n else "Unlearning harmful rows"]
    if result["missing"]:
        return lines + show.wrap(f"Not done: {result['missing']}")
    random = np.array(result["random_changes"]) * factor
    change, error, added = (result[key] * factor for key in ("change", "standard_error", "change_by_adding_effects"))
    values = [change, added, *random, random.mean() if len(random) else np.nan, error]
    cells = show.column(values, sign=True)
    lines += show.wrap(
        f"Chosen on {where}, measured on {measured}, which had no part in choosing. Change of "
        f"{unit}, from the optimum's {show.column([result['loss_before']])[0]}{', not multiplied' * (factor > 1)}:"
    )
    table = [
        ["without this row" if n == 1 else f"without these {n} rows", "adding up their single effects had said"],
        [cells[0], cells[1]],
        [f"(standard error over the rows {cells[-1].lstrip('+')})" if np.isfinite(error) else "", ""],
    ]
    if len(random):
        low, high = cells[2 + random.argmin()], cells[2 + random.argmax()]
        table[0].append(f"without {n} random {'row' if n == 1 else 'rows'}")
        table[1].append(cells[-2])
        table[2].append(f"(mean of {len(random)} draws, from {low} to {high})")
    lines += show.table(None, table, left=(0, 2))
    certificate = result["certificate"]
    final = " of the final step" if certificate["remembers"] else ""
    bound = f"at most {certificate['param_bound']:.1e} from a full retrain's{final}"
    if not certificate["valid"]:
        bound = "not certified: no bound holds; unlearn with more iterations"
    lines += show.wrap(f"Certificate: the parameters are {bound}; removal moved them by {result['moved']:.2g}.")
    if certificate["remembers"]:
        lines += show.wrap(f"The rows are still remembered by {'; '.join(certificate['remembers'])}.")
    return lines + show.wrap(_verdict(change, error, random))


def _verdict(change, error, random):
    if change >= 0:
        return "On rows that did not choose them, removing these rows does not lower the loss."
    if len(random) and change >= random.min():
        return "No clear gain on unseen rows: some random draws did as well."
    if abs(change) <= 2 * error:
        return "No clear gain on unseen rows: the change is within 2 standard errors of 0."
    return "Removing them lowers the loss on unseen rows, by more than any random draw."


HEADERS = {
    "row": "row",
    "position": "position",
    "effect": "effect",
    "label": "label",
    "prediction": "predicted",
    "own_loss": "own loss",
    "self_influence": "self influence",
    "leave_one_out_loss": "loo loss",
    "leverage": "leverage",
    "refitted_effect": "refitted",
    "cross_validated_loss": "cv loss",
    "cv_rank": "cv rank",
}


def _renamed(report):
    """Whether the rows go by other names than the numbers that ``unlearn`` takes, which matter in Python only."""
    return not getattr(report, "data", None) and list(report.rows["row"]) != list(report.rows["position"])


def _rows_table(report, chosen, names):
    """The named columns that the report has, at the chosen places of the ranking."""
    if not len(chosen):
        return ["    (none)"]
    rows = dict(report.rows)
    for name in ("effect", "refitted_effect"):
        if name in rows:
            rows[name] = rows[name] * show.unit(report)[0]
    if "cross_validated_loss" in rows:
        order = np.argsort(-rows["cross_validated_loss"], kind="stable")
        rows["cv_rank"] = np.empty(len(order), dtype=int)
        rows["cv_rank"][order] = np.arange(1, len(order) + 1)
    if not _renamed(report):
        names = [name for name in names if name != "position"]
    names = [name for name in names if name in rows]
    labels = [show.column_of_labels(rows[name][chosen]) for name in ("label", "prediction") if name in rows]
    # Cut together, so that a label and a prediction that differ are seen to.
    labels = show.different([text for column in labels for text in column], 18)
    texts = {"label": labels[: len(chosen)], "prediction": labels[len(chosen) :]}
    headers = [HEADERS[name] for name in names]
    if report.task == "regression":
        headers = ["target" if header == "label" else header for header in headers]
    columns = []
    for name in names:
        values = rows[name][chosen]
        if name in texts:
            columns.append(texts[name])
        elif values.dtype.kind == "f":
            known = [None if np.isnan(value) else value for value in values.tolist()]
            columns.append(show.column(known, sign=name.endswith("effect")))
        else:
            columns.append([str(value) for value in values])
    taken = sum(2 + max(map(len, [header, *column])) for header, column in list(zip(headers, columns, strict=True))[1:])
    columns[0] = show.different(columns[0], max(12, show.WIDTH - 4 - taken))
    return show.table(headers, columns)
