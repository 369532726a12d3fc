"""What leaving rows out really does, measured by unlearning on copies of the model."""

import copy
from functools import cached_property

import numpy as np

from .._parallel import logger, progress
from .._validation import check_groups
from ..diagnostics import sample_losses, unlearning_effect
from ..diagnostics.yardsticks import at_optimum, retained_columns
from . import checks

# Passes over the rows that an unlearning takes, p**2 multiplications a row each.
_PASSES = 6
# Multiplications that the groups, the listed slices and the listed rows may take: some seconds, up to a minute.
GROUP_WORK = 1.5e12
SLICE_WORK = 3e11
ROW_WORK = 3e11


def affordable(n_rows, n_params, work):
    """How many unlearnings take that many multiplications."""
    return int(work // (_PASSES * n_rows * n_params**2))


def _affordable(model, work):
    return affordable(len(model.sample_indices_), len(model.params_), work)


class Measured:
    """Changes of the mean loss on some rows when training rows leave for good.

    Parameters
    ----------
    model : fitted InfluenceEstimator
    X, y
        The rows to measure on.
    before : ndarray of shape (m,), optional
        Their losses at the optimum with all rows, where they are known; otherwise computed when first needed.
    """

    def __init__(self, model, X, y, before=None):
        self.model, self.X, self.y = model, X, y
        if before is not None:
            self.before = before

    @cached_property
    def before(self):
        return sample_losses(at_optimum(self.model), self.X, self.y)

    def without(self, positions):
        """The change without the rows, and its standard error; ValueError where they cannot leave."""
        unlearned = copy.deepcopy(self.model).unlearn(np.sort(positions))
        X = retained_columns(self.model, unlearned, self.X)
        change = sample_losses(unlearned, X, self.y) - self.before
        return float(change.mean()), float(change.std() / np.sqrt(len(change)))


def listed_rows(measured, rows, k):
    """Measured effects (n,) of the ``k`` rows at either end of the ranking, NaN elsewhere.

    None where it would take too long.
    """
    n = len(rows["effect"])
    places = np.arange(n) if n <= 2 * k else np.r_[np.arange(k), np.arange(n - k, n)]
    if _affordable(measured.model, ROW_WORK) < len(places):
        return None
    logger.info("audit: refits without each of %d rows", len(places))
    refitted = np.full(n, np.nan)
    for place in places:
        try:
            refitted[place], _ = measured.without(rows["position"][place : place + 1])
        except ValueError:  # the only row of a class
            continue
    return refitted


def groups(measured, labels, effect):
    """What leaving out all rows of each label does to the mean validation loss, the most harmful label first.

    Parameters
    ----------
    labels : array-like of shape (n_samples_fit,)
    effect : ndarray
        Of the rows still in the model, in order.

    Returns
    -------
    dict
        ``label``, ``rows``, ``effect`` of leaving them out (NaN where they cannot leave), ``effect_sum`` of the single
        rows; ``summed``: why ``effect`` is that sum, or None; ``staying``: label and reason of those that cannot leave.
    """
    model = measured.model
    kept = np.asarray(model.sample_indices_)
    present, members = check_groups(labels, kept, model.n_samples_fit_)
    if len(present) < 2:
        raise ValueError("groups has one label only, and without its rows there is nothing to fit; give at least two.")
    counts = np.array([len(rows) for rows in members])
    sums = np.array([effect[rows].sum() for rows in members])
    result = {"label": present, "rows": counts, "effect": sums, "effect_sum": sums, "summed": None, "staying": []}
    if _affordable(model, GROUP_WORK) < len(present):
        result["summed"] = f"a refit without each of {len(present):,} groups would take too long"
    else:
        logger.info("audit: refits without each of %d groups", len(present))
        result["effect"] = np.full(len(present), np.nan)
        for g in progress(range(len(present)), model.verbose, "audit: groups"):
            try:
                result["effect"][g], _ = measured.without(kept[members[g]])
            except ValueError as error:
                reason = str(error).split("; ")[0].removeprefix("unlearn would ").rstrip(".")
                result["staying"].append({"label": present[g], "reason": reason})
    order = np.argsort(result["effect"], kind="stable")  # NaN comes last
    return {name: value[order] if isinstance(value, np.ndarray) else value for name, value in result.items()}


def slices(measured, columns, rows, k):
    """The sums of effects by slice, and the measured change without those that stand out.

    Returns
    -------
    dict of ndarray or None
        As :func:`checks.slices`, with ``measured`` and its standard error ``measured_error``: NaN for a slice that was
        not tried or cannot leave.
    """
    table, members = checks.slices(columns, rows["effect"])
    if table is None:
        return None
    candidates = checks.candidates(table)[: min(4 * k, _affordable(measured.model, SLICE_WORK))]
    if len(candidates):
        logger.info("audit: refits without each of %d slices", len(candidates))
    for i in progress(candidates, measured.model.verbose, "audit: slices"):
        try:
            table["measured"][i], table["measured_error"][i] = measured.without(rows["position"][members(i)])
        except ValueError:  # it holds a whole class
            continue
    return table


def unlearning(model, effect, X, y, k, n_random, rng):
    """Unlearn the rows of lowest effect, and as many random ones; measure on X, y."""
    worst = np.argsort(effect, kind="stable")[:k]
    removed = np.asarray(model.sample_indices_)[worst[np.asarray(effect)[worst] < 0]]
    result = {"removed": removed.tolist(), "change": None, "missing": None}
    if not len(removed):
        return {**result, "missing": "no row hurts: every effect is 0 or above"}
    try:
        measured = unlearning_effect(model, removed, X, y)
    except ValueError as error:  # they are all the rows of a class, say
        return {**result, "missing": str(error)}
    change = measured.after - measured.before
    random, random_changes = Measured(model, X, y, before=measured.before), []
    for _ in progress(range(n_random), model.verbose, "audit: random removals"):
        draw = rng.choice(model.sample_indices_, size=len(removed), replace=False)
        try:
            random_changes.append(random.without(draw)[0])
        except ValueError:  # this draw empties a class; the others still make an average
            continue
    certificate = measured.certificate
    by_adding = model.influence_on_loss(X, y, removed, aggregate="mean").sum()
    return {
        **result,
        "loss_before": float(measured.before.mean()),
        "loss_after": float(measured.after.mean()),
        "change": float(change.mean()),
        "standard_error": float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else np.nan,
        "change_by_adding_effects": float(by_adding),
        "random_changes": random_changes,
        "moved": measured.moved,
        "certificate": {
            name: certificate[name] for name in ("param_bound", "valid", "converged", "n_iter", "remembers")
        },
    }
