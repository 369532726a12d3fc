"""Can an unlearned model be told from a retrained one? A simulated test, which can refute a claim and prove none."""

import copy
import warnings

import numpy as np
from scipy.stats import beta
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._parallel import block_size, blocks
from .._validation import check_count, check_indices, check_rows, check_tolerance, check_weights, count_rows, take_rows
from ..composite import final_step, has_transformers, transform
from ..families import find_family
from ..privacy import gauge_free, gaussian_sigma

METHODS = ("no update", "first order", "one step", "converged")
# Relative difference from the model's optimum above which a refit on the rows given is a refit on other rows.
_SAME = 1e-5
# Thresholds that are tried on the first half of the trials.
_THRESHOLDS = 400
# Rows whose first-order effects are held at a time.
_ROWS = 256


def unlearning_audit(
    model,
    indices,
    X,
    y,
    *,
    epsilon,
    delta,
    sample_weight=None,
    bound=1e-8,
    n_trials=10_000,
    confidence=0.95,
    random_state=None,
):
    """Try to tell unlearned models from retrained ones, both with the noise of an (epsilon, delta) claim.

    The adversary knows the parameters that unlearning gives and those that a refit on the retained rows gives, sees one
    of the two with noise N(0, sigma**2 I), and says which: by the likelihood ratio, the strongest test there is. No
    update at all, the model to first order and after one step stand beside ``unlearn`` itself.

    Parameters
    ----------
    model : fitted InfluenceEstimator
        It is left as it is.
    indices : array-like of int or bool mask, or list of several
        Rows to remove, as ``unlearn`` takes them; from a list of such each is a removal of its own.
    X, y : array-like of ``n_samples_fit_`` rows
        What the model was fitted on. The refits are made from these.
    epsilon, delta : float
        The claim: at least 0, and between 0 and 1.
    sample_weight : array-like of shape (n_samples_fit,), default=None
        As given to ``fit``.
    bound : float, default=1e-8
        Distance of the parameters that the noise is made for, fixed before the removal: ``sigma`` is
        ``gaussian_sigma(epsilon, delta, bound)``.
    n_trials : int, default=10_000
        Models drawn on each side. With all of them told apart, epsilon is shown to be above about ``log(n_trials / 9)``
        (7 for 10,000), and never more.
    confidence : float, default=0.95
        Of each lower bound on epsilon on its own.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    Bunch
        For the ``methods`` "no update", "first order", "one step" and "converged" (``unlearn``), arrays of shape (4,),
        or (r, 4) for r removals:

        * auc: probability that a random unlearned model is ranked above a random retrained one; .5 is chance.
        * epsilon_lower: epsilon is at least this, at the confidence, whatever the method claims; in nats, >= 0.
        * distance: Euclidean distance from the retrained parameters, off the softmax gauge.

        And ``epsilon``, ``delta``, ``bound``, ``n_trials``, ``confidence`` as given, ``sigma``, and ``param_bound``, a
        number or (r,): that of ``unlearn``'s certificate.

    Raises
    ------
    ValueError
        For rows that are not the model's, which would make the refits those of another model; where the certificate is
        above ``bound``, so that nothing would be published; for arguments that cannot be used.

    Notes
    -----
    The refit is scikit-learn's own, by a clone on the retained rows, and then refined; it knows nothing of the fitted
    model. It concerns the final step: transformers of a pipeline stay as fitted, as for ``unlearn``. An estimator that
    chooses by cross-validation (RidgeCV) chooses again, and where that changes, the audit catches it.

    Thresholds are chosen on one half of the trials. On the other half ``log((P - delta) / Q)`` is formed from a lower
    bound of P, the share of right answers on one side, and an upper one of Q, the share of wrong answers on the other
    (Clopper and Pearson 1934, at a quarter of 1 - confidence each), with the sides exchanged too; the larger counts.
    A lower bound above the claim refutes it. One below does not prove it: that is for the certificate.

    Cost: a refit, two ``unlearn`` and the first-order effects for each removal, and 8 n_trials n_params normal numbers.

    Source: Balle and Wang (2018) for sigma; Jagielski, Ullman and Oprea (2020) for the lower bounds.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.diagnostics import unlearning_audit
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> model = InfluenceEstimator(LogisticRegression(max_iter=1000)).fit(X, y)
    >>> audit = unlearning_audit(model, [3, 14, 15], X, y, epsilon=1.0, delta=1e-5, random_state=0)
    >>> dict(zip(audit.methods, audit.auc.round(1).tolist()))
    {'no update': 1.0, 'first order': 1.0, 'one step': 1.0, 'converged': 0.5}
    >>> (audit.epsilon_lower > audit.epsilon).tolist()
    [True, True, True, False]
    """
    bound, confidence = float(bound), check_tolerance("confidence", confidence)
    n_trials = check_count("n_trials", n_trials, smallest=100)
    sigma = gaussian_sigma(epsilon, delta, bound)
    if not sigma > 0:
        raise ValueError(f"bound must be a finite number > 0, got {bound!r}.")
    check_is_fitted(model)
    find_family(final_step(getattr(model, "estimator_", model))).check_noise()
    several, requests = _requests(indices)
    requests = [_removed(model, request) for request in requests]
    refit = _Refit(model, X, y, sample_weight)
    rng = check_random_state(random_state)
    results = [_audit(model, request, refit, sigma, bound, delta, n_trials, confidence, rng) for request in requests]
    audited = {name: np.array([result[name] for result in results]) for name in results[0]}
    if not several:
        audited = {name: value[0] for name, value in audited.items()}
    return Bunch(
        methods=METHODS,
        **audited,
        epsilon=epsilon,
        delta=delta,
        sigma=sigma,
        bound=bound,
        n_trials=n_trials,
        confidence=confidence,
    )


def _requests(indices):
    """Whether several removals are asked for, and each."""
    several = isinstance(indices, (list, tuple)) and len(indices) > 0 and all(np.ndim(one) == 1 for one in indices)
    several = several or getattr(indices, "ndim", 1) == 2
    return several, list(indices) if several else [indices]


class _Refit:
    """Refits of a model's final step on some of the rows it was fitted on, from nothing."""

    def __init__(self, model, X, y, sample_weight):
        check_rows(X, y)
        n = model.n_samples_fit_
        if count_rows(X) != n or count_rows(y) != n:
            raise ValueError(
                f"X and y must hold the {n} rows that the model was fitted on, got {count_rows(X)} and {count_rows(y)}."
            )
        final = final_step(model.estimator_)
        self.rows = transform(model.estimator_, X) if has_transformers(model.estimator_) else X
        self.y, self.weight = y, None if sample_weight is None else check_weights(sample_weight, n)
        # By the true curvature whatever the solver, and in the representation that suits fewer rows.
        self.fresh = clone(model).set_params(estimator=clone(final), refine=True)
        known, left = copy.deepcopy(model).set_params(refine=True).params_, model.sample_indices_
        again = self.params(left)
        matrix = check_array(take_rows(self.rows, left), accept_sparse="csr", dtype=[np.float64, np.float32])
        weight = np.ones(len(left)) if self.weight is None else self.weight[left]
        self.objective = find_family(final).read(final, matrix, take_rows(_column(y), left), weight)
        apart = np.linalg.norm(gauge_free(self.objective, again - known))
        if apart > _SAME * np.linalg.norm(gauge_free(self.objective, known)):
            raise ValueError(
                f"X, y and sample_weight do not give the model: a refit on them is {apart:.2g} away from its optimum. "
                "Pass what it was fitted on. (In a pipeline, steps whose fit_transform is not their transform, as "
                "TargetEncoder, cannot be audited; give the final step the transformed rows.)"
            )

    def params(self, numbers):
        """The optimum (n_params,) on the rows of these numbers."""
        weight = None if self.weight is None else self.weight[numbers]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of a fit that is refined
            fresh = clone(self.fresh).fit(take_rows(self.rows, numbers), take_rows(_column(self.y), numbers), weight)
        return fresh.params_


def _column(y):
    return y if hasattr(y, "shape") else np.asarray(y)


def _removed(model, indices):
    """The numbers of the rows to remove, checked."""
    positions = check_indices(indices, model.sample_indices_, model.n_samples_fit_)
    if indices is None or len(positions) == 0:
        raise ValueError("unlearning_audit needs the rows to remove, got none.")
    return model.sample_indices_[positions]


def _audit(model, removed, refit, sigma, bound, delta, n_trials, confidence, rng):
    """One removal by every method against its refit."""
    objective, before = refit.objective, model.params_
    first = copy.deepcopy(model).set_params(method="first_order")
    moved = sum(
        first.influence_on_params(part).sum(axis=0) for part in np.split(removed, range(_ROWS, len(removed), _ROWS))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one step need not converge
        step = copy.deepcopy(model).unlearn(removed, max_iter=1)
    unlearned = copy.deepcopy(model).unlearn(removed)
    certified = unlearned.certificate_.param_bound
    if not certified <= bound:
        raise ValueError(
            f"unlearn's certificate, param_bound={certified:.2g}, is above bound={bound:.2g}: the claim would not be "
            "made, and no model published. Give a larger bound, which means more noise."
        )
    truth = gauge_free(objective, refit.params(np.setdiff1d(model.sample_indices_, removed)))
    auc, epsilon_lower, distance = np.empty((3, len(METHODS)))
    for i, params in enumerate((before, before + moved, step.params_, unlearned.params_)):
        params = gauge_free(objective, params)  # the shift is not published, and would drown a difference by rounding
        away = gauge_free(objective, params - truth)
        distance[i] = np.linalg.norm(away)
        right, wrong = (_scores(side, params, truth, away, sigma, n_trials, rng) for side in (params, truth))
        auc[i] = roc_auc_score(np.repeat([1, 0], n_trials), np.concatenate([right, wrong]))
        epsilon_lower[i] = _epsilon_lower(right, wrong, delta, confidence)
    return dict(auc=auc, epsilon_lower=epsilon_lower, distance=distance, param_bound=certified)


def _scores(side, params, truth, away, sigma, n_trials, rng):
    """Log likelihood ratios (n_trials,) of ``params`` to ``truth`` for models drawn around one of them, up to a factor.

    Along ``away``, which has no part in the softmax gauge: noise there is not looked at.
    """
    scores, middle = np.empty(n_trials), 0.5 * (params + truth)
    for part in blocks(n_trials, block_size(24 * len(side))):
        published = side + sigma * rng.standard_normal((part.stop - part.start, len(side)))
        scores[part] = (published - middle) @ away
    return scores


def _epsilon_lower(unlearned, retrained, delta, confidence):
    """What epsilon is at least, from scores (n,) that are larger for models that look unlearned."""
    half, level = len(unlearned) // 2, (1.0 - confidence) / 4
    best = 0.0
    for sign in (1.0, -1.0):  # says "unlearned" above a threshold, and "retrained" below one
        right, wrong = (sign * scores for scores in (unlearned, retrained)[:: int(sign)])
        seen = np.concatenate([right[:half], wrong[:half]])
        thresholds = np.quantile(seen, np.linspace(0, 1, _THRESHOLDS))
        chosen = np.argmax(_log_ratios(right[:half], wrong[:half], thresholds, delta, level))
        best = max(best, float(_log_ratios(right[half:], wrong[half:], thresholds[[chosen]], delta, level)[0]))
    return best


def _log_ratios(right, wrong, thresholds, delta, level):
    """``log((P - delta) / Q)`` at each threshold: P from below for ``right`` above it, Q from above for ``wrong``."""
    hits, misses = (len(s) - np.searchsorted(np.sort(s), thresholds, side="right") for s in (right, wrong))
    lowest = np.where(hits > 0, beta.ppf(level, np.maximum(hits, 1), len(right) - hits + 1), 0.0)
    highest = np.where(misses < len(wrong), beta.ppf(1 - level, misses + 1, np.maximum(len(wrong) - misses, 1)), 1.0)
    gained = lowest - delta
    return np.where(gained > 0, np.log(np.where(gained > 0, gained, 1.0) / highest), -np.inf)
