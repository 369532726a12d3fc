r"""Noise put into an objective at fit, what it hides of removals, and noise on parameters off the softmax gauge."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils import check_random_state

from .._validation import check_tolerance
from ..solvers.steps import is_penalised, number_option
from .gaussian import at_least_zero, gaussian_sensitivity


def gauge_free(objective, V):
    """Vectors of parameters without what no output can see.

    Softmax with unpenalised intercepts (without a penalty: any coefficients) gives the same model for every common
    shift of them. Which shift a model has depends on how it was computed, and so could tell an unlearned model from a
    retrained one: it is taken out before anything is published.

    Parameters
    ----------
    objective : Objective
    V : ndarray of shape (n_params,) or (n_params, k)
        In the objective's unknowns.

    Returns
    -------
    ndarray of the shape of V
        V itself where there is no such shift.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_influence import families
    >>> from sklearn_influence.privacy import gauge_free
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> objective = families.find_family(model).read(model, X, y, np.ones(150))
    >>> bool(abs(gauge_free(objective, objective.params)[-3:].sum()) < 1e-12)
    True
    """
    if not objective.loss.shift_invariant:  # and no curvature need be looked at
        return V
    columns = V[:, None] if V.ndim == 1 else V
    return objective.curvature().off_gauge(columns).reshape(V.shape)


def gaussian_noise(objective, sigma, random_state=None):
    """Noise N(0, sigma**2 I) on the parameters of an objective, off the softmax gauge.

    Parameters
    ----------
    objective : Objective
        With the estimator's parameters as its unknowns (``objective.primal()``).
    sigma : float
        Standard deviation on each coordinate, above 0.
    random_state : int, RandomState instance or None, default=None
        None takes fresh entropy. Whoever knows the seed can subtract the noise: give one in tests only.

    Returns
    -------
    ndarray of shape (n_params,)

    Notes
    -----
    The projection off the gauge is linear, so that what is published, ``gauge_free(objective, params)`` plus this, is a
    function of ``params + N(0, sigma**2 I)``, and hides what that does.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import families
    >>> from sklearn_influence.privacy import gaussian_noise
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = Ridge().fit(X, y)
    >>> objective = families.find_family(model).read(model, X, y, np.ones(len(y)))
    >>> gaussian_noise(objective, 0.1, random_state=0).shape
    (11,)
    """
    sigma = float(number_option("sigma", sigma, lowest=0.0, above=True))
    return gauge_free(objective, sigma * check_random_state(random_state).standard_normal(objective.n_params))


def residual_norm(objective):
    """Norm of the gradient at the objective's parameters, the rounding of its evaluation included.

    What objective perturbation has to hide of an unlearned model: evaluated, not bounded from the data's worst case.

    Parameters
    ----------
    objective : Objective
        Of the retained rows, with its linear term and the estimator's parameters as its unknowns
        (``objective.primal()``), at those that are published: as the attributes hold them.

    Returns
    -------
    float
        Off the softmax gauge. Never 0: a converged model has about its rounding.

    Notes
    -----
    One pass over the rows, two with the allowance for rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import families
    >>> from sklearn_influence.privacy import residual_norm
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = Ridge().fit(X, y)
    >>> objective = families.find_family(model).read(model, X, y, np.ones(len(y)))
    >>> 0 < residual_norm(objective) < 1e-8
    True
    """
    gradient = np.linalg.norm(gauge_free(objective, objective.gradient()))
    return float(gradient + np.linalg.norm(objective.gradient_rounding()))


def check_optimum(objective):
    """Refuse an objective that its linear term leaves without a minimum.

    Parameters
    ----------
    objective : Objective

    Raises
    ------
    ValueError
        Where a coefficient has no penalty, or the noise on a free intercept of a classifier is more than the weight of
        a class can balance.

    Notes
    -----
    Along free intercepts the log loss grows at a rate of at most the weight n_c of each class: with the term's part
    b_c for the intercept of class c there is a minimum where ``b_c < n_c`` for all c (binary: ``-n_0 < b < n_1``).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_influence import families
    >>> from sklearn_influence.privacy import check_optimum
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> check_optimum(families.find_family(model).read(model, X, y, np.ones(150)))
    """
    if not is_penalised(objective):
        raise ValueError(
            "Objective perturbation needs an L2 penalty on every coefficient: without one the perturbed objective need "
            "not have a minimum. Set a finite C, or alpha > 0."
        )
    q, codes, linear = objective.n_outputs, objective.weighting.codes, objective.linear
    free = objective.fit_intercept and not objective.penalty[:, -1].any()
    if linear is None or objective.loss.quadratic or codes is None or not free:
        return
    tilt = linear[-q:] if q > 1 else np.array([-linear[-1], linear[-1]])
    totals = np.bincount(codes, weights=objective.sample_weight, minlength=len(tilt))
    if (tilt >= totals).any():
        c = int(np.argmax(tilt - totals))
        raise ValueError(
            f"The noise on the intercept, {tilt[c]:.3g}, is not below the weight {totals[c]:.3g} of the rows of class "
            f"number {c}: the perturbed objective has no minimum. Choose a smaller sigma, or fit without an intercept."
        )


@dataclass(frozen=True)
class RemovalBudget:
    """How large a gradient an objective's noise still hides; an edit makes another, so a refused one changes nothing.

    Parameters
    ----------
    limit : float
        The largest norm of the gradient for which (epsilon, delta) holds.
    spent : float, default=0.0
        The norm at the current parameters, see :func:`residual_norm`.

    Notes
    -----
    Removals do not add up one by one: the gradient on the retained rows at the current parameters, evaluated, *is* the
    total. What an earlier removal left is part of it, unless a later one took it away, as a Newton step on the whole
    gradient does. A sum of norms, as a bound on each removal on its own needs (Guo et al. 2020, section 3.2), would
    charge the same residual again with every removal.

    Examples
    --------
    >>> from sklearn_influence.privacy import RemovalBudget
    >>> budget = RemovalBudget(limit=1.0).spend(0.25)
    >>> budget.remaining
    0.75
    >>> budget.spend(1.25)
    Traceback (most recent call last):
    ...
    ValueError: The removal budget is spent: the gradient left on the retained rows is 1.25, above the limit of 1. ...
    """

    limit: float
    spent: float = 0.0

    @property
    def remaining(self):
        """By how much the norm of the gradient may still grow."""
        return self.limit - self.spent

    def spend(self, norm):
        """The budget at other parameters.

        Parameters
        ----------
        norm : float
            :func:`residual_norm` there: the total, not this removal's share.

        Returns
        -------
        RemovalBudget

        Raises
        ------
        ValueError
            Where ``norm`` is above the limit, or not a number.
        """
        if not norm <= self.limit:
            raise ValueError(
                f"The removal budget is spent: the gradient left on the retained rows is {norm:.3g}, above the limit "
                f"of {self.limit:.3g}. Take more steps (a smaller tol, a larger max_iter), or fit again on the "
                "retained rows, which draws new noise."
            )
        return replace(self, spent=float(norm))


@dataclass(frozen=True)
class ObjectivePerturbation:
    r"""Noise in the objective, drawn once at fit: the model minimises ``F(theta) + b' theta``, b ~ N(0, sigma**2 I).

    Parameters
    ----------
    epsilon : float
        At least 0, in nats.
    delta : float
        Between 0 and 1.
    sigma : float
        Standard deviation of each entry of b, in the unit of the objective's gradient (a sum over the rows): more noise
        hides more, and moves the model further from the best one.
    random_state : int, RandomState instance or None, default=None
        None takes fresh entropy; with a known seed nothing is hidden.

    Notes
    -----
    Parameters with the gradient u on the retained rows minimise exactly the objective with b - u in place of b, so that
    an unlearned model is told from a retrained one just as b - u is from b. A shift by a *fixed* u of norm at most
    :attr:`limit` is hidden to (epsilon, delta), by the exact profile (:func:`gaussian_sensitivity`).

    What the claim assumes:

    * u does not depend on b: only then is b - u the noise shifted. In truth u is found at parameters that depend on
      b, and of a u chosen with b in view nothing would be hidden. Where Newton has converged u is rounding, many
      orders of magnitude below sigma; where few steps are taken this stays an assumption. Noise on the parameters
      themselves (:func:`gaussian_noise`) needs no such assumption.
    * The model is released once. Who has the rows and a released model computes b from its gradient; a second release
      with the same b, the model before the removal among them, is not covered.
    * b is secret: so is the object that holds it, and its pickle. Release coefficients.
    * Requests do not depend on a released model, which follows if there is one release.

    Each parameter has its noise, free intercepts too: no noise there would leave their gradient in the open. Softmax's
    common shift of free intercepts has none (:func:`gauge_free`), or the objective would be unbounded along it. Every
    coefficient needs a penalty (:func:`check_optimum`).

    Source: Guo, Goldstein, Hannun and van der Maaten (2020), Eq. 4-5, Theorems 3-4; the profile in place of their tail
    bound, the evaluated gradient in place of its worst case.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_influence import families
    >>> from sklearn_influence.privacy import ObjectivePerturbation, residual_norm
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = LogisticRegression().fit(scale(X), y)
    >>> objective = families.find_family(model).read(model, scale(X), y, np.ones(len(y)))
    >>> noise = ObjectivePerturbation(epsilon=1.0, delta=1e-5, sigma=1.0, random_state=0)
    >>> perturbed = noise.perturb(objective)      # to be minimised, and its minimum written into the model
    >>> budget = noise.budget()
    >>> round(budget.limit, 3), residual_norm(perturbed) > budget.limit
    (0.268, True)
    """

    epsilon: float
    delta: float
    sigma: float
    random_state: object = None

    def __post_init__(self):
        at_least_zero("epsilon", self.epsilon)
        check_tolerance("delta", self.delta)
        number_option("sigma", self.sigma, lowest=0.0, above=True)

    @property
    def limit(self):
        """The largest norm of a gradient that the noise hides, about ``.27 sigma`` for epsilon = 1, delta = 1e-5."""
        return gaussian_sensitivity(self.epsilon, self.delta, self.sigma)

    def budget(self):
        """The :class:`RemovalBudget` of a new fit, nothing spent."""
        return RemovalBudget(self.limit)

    def perturb(self, objective):
        """The objective with new noise as its linear term; ValueError where it then has no minimum.

        A new draw in place of a refused one would not be Gaussian: refit with a smaller sigma instead.

        Parameters
        ----------
        objective : Objective
            As the family reads it: without a linear term, in the estimator's parameters.

        Returns
        -------
        Objective
            At the same parameters, which are no longer its minimum.
        """
        perturbed = objective.with_linear(gaussian_noise(objective, self.sigma, self.random_state))
        check_optimum(perturbed)
        return perturbed
