r"""A number that a fitted model says, its classical standard error, and what leaving out each row does to both.

To first order in the rows' weights (Broderick, Giordano and Meager 2020). With ``v = H^-1 G``, G the derivative of the
number by the parameters, a row changes it by ``s_i u_i' J_i v`` when it leaves.
"""

from dataclasses import dataclass, replace

import numpy as np

from .effects import row_blocks, row_effects
from .losses import Logistic
from .solvers.info import listening

# A five-point difference is exact to the fourth power of its step, in units of the outputs' spread.
_STEP = 1e-3
# Part of a parameter's unit vector in flat directions that is more than rounding.
_FLAT = 1e-6


@dataclass(frozen=True)
class Estimate:
    """A quantity at a model's optimum.

    Attributes
    ----------
    value : float
    changes : ndarray of shape (n,)
        Of the value, when each row leaves, to first order.
    weights : ndarray of shape (n,)
        Effective weights of the rows still in the model.
    codes : ndarray of shape (n,) or None
        Class numbers of the rows.
    standard_error : float
        nan where there is none.
    error_changes : ndarray of shape (n,) or None
    no_error : str or None
        Why there is no standard error.
    unique : bool
        Whether all optima have this value.
    spare : int or float
        Rows that can leave before there is no standard error any more.
    """

    value: float
    changes: np.ndarray
    weights: np.ndarray
    codes: np.ndarray | None
    standard_error: float = np.nan
    error_changes: np.ndarray | None = None
    no_error: str | None = None
    unique: bool = True
    spare: float = np.inf


def estimate(model, quantity):
    """A quantity at the optimum of a fitted InfluenceMixin, always by the true curvature, whatever its solver.

    Parameters
    ----------
    model : InfluenceMixin
        Its ``solve_info_`` will speak of the solves made here.
    quantity : ParameterQuantity or OutputQuantity

    Returns
    -------
    Estimate
    """
    options, fitted = model._options(), model._fitted
    exact = replace(options, solver=fitted.exact_solver(options))
    with listening() as infos:
        result = quantity.estimate(*fitted.solved(exact))
    model._tell(infos)
    return result


def output_quantity(model, target, X=None):
    """A function of the raw outputs of some rows, X or the training rows that are in the model now."""
    objective = model._fitted.start("primal", model._options().device)
    if objective.representation == "kernel" and objective.gram.precomputed:
        raise ValueError(
            "A callable target and kernel='precomputed' do not go together: the rows that it is about lose a column "
            "with every row that leaves. Pass the kernel as a function."
        )
    rows = objective.design if X is None else objective.read_rows(model._features(X))
    return OutputQuantity(target, rows)


def linear_changes(objective, factor, G):
    """First-order change of ``G' theta`` when each row leaves, (n,): one solve, and one pass over the rows.

    Class weights that are recomputed count; G (n_params,) is in the estimator's parameters, of a kernel model in its
    coefficients.
    """
    effects = row_effects(objective, factor, np.arange(objective.n_rows), "first_order")
    project = effects.onto(objective.from_params(G[:, None]))
    return np.concatenate([project(part)[0] for part in row_blocks(effects, 1)])


@dataclass(frozen=True)
class ParameterQuantity:
    """One entry of ``params_``, with its classical standard error where there is one."""

    position: int

    def estimate(self, objective, factor):
        if objective.representation == "kernel":
            return self._by_rows(objective, factor)
        direction = np.zeros((objective.primal().n_params, 1))
        direction[self.position] = 1.0
        solved = objective.solve_params(factor, direction)
        found = Estimate(
            value=float(objective.primal().params[self.position]),
            changes=linear_changes(objective, factor, direction[:, 0]),
            weights=objective.sample_weight,
            codes=objective.weighting.codes,
            no_error=no_standard_error(objective, factor),
            unique=not factor.nullity or _in_range(objective, factor, direction),
        )
        if found.no_error:
            return found
        along = objective.primal().outputs_change(solved)[:, :, 0]
        error = _least_squares_error if objective.loss.quadratic else _logistic_error
        return replace(found, **error(objective, factor, self.position, solved, along))

    def _by_rows(self, objective, factor):
        """Of a model in coefficients of its rows a, with parameters ``J'a``: the entry's derivative by a is a column of
        J."""
        gram = objective.gram
        if not gram.featured:
            raise ValueError(
                "The parameters of a kernel model are the coefficients of its rows, and leave with them: no conclusion "
                "is one of them. Give a function of the outputs as target."
            )
        value = objective.to_params(objective.params)[self.position]
        direction = np.zeros((gram.network.n_params, 1))
        direction[self.position] = 1.0
        return Estimate(
            value=float(value),
            changes=linear_changes(objective, factor, gram.features_of(gram.X, direction).ravel()),
            weights=objective.sample_weight,
            codes=objective.weighting.codes,
            no_error="a penalised estimate has no classical standard error",
        )


@dataclass(frozen=True)
class OutputQuantity:
    """A function of the raw outputs of fixed rows.

    Parameters
    ----------
    target : callable
        From outputs (m,), or (m, q) of several, to a number.
    rows : Design
        Of the primal objective.
    """

    target: object
    rows: object

    def estimate(self, objective, factor):
        primal = objective.primal()
        return Estimate(
            value=self._value(primal.outputs(self._rows_of(primal))),
            changes=linear_changes(objective, factor, self._gradient(primal)),
            weights=objective.sample_weight,
            codes=objective.weighting.codes,
            no_error="a callable target has no standard error",
        )

    def _rows_of(self, primal):
        """The rows as the objective knows them: to a kernel model, by their kernel values with the rows that it has."""
        return primal.read_rows(self.rows.X) if primal.representation == "kernel" else self.rows

    def _value(self, f):
        value = np.asarray(self.target(f[:, 0].copy() if f.shape[1] == 1 else f.copy()))
        if value.shape or value.dtype.kind not in "fiu":
            raise TypeError(
                f"target must return one real number, got {value.dtype.type.__name__} of shape {value.shape}; sum or "
                "average over the rows."
            )
        if not np.isfinite(value):
            raise ValueError(f"target must return a finite number, got {float(value)} for {len(f)} rows of outputs.")
        return float(value)

    def _gradient(self, primal):
        """Derivative by the parameters (n_params,): outputs are linear in them, so that the fewer of parameters and
        outputs are differentiated by."""
        rows = self._rows_of(primal)
        f = primal.outputs(rows)
        spread = f.std(axis=0)
        size = np.where(spread > 0, spread, np.abs(f).max(initial=0.0) or 1.0)
        if f.size <= primal.n_params:
            U = np.zeros(f.shape)
            for i, o in np.ndindex(f.shape):
                way = np.zeros(f.shape)
                way[i, o] = 1.0
                U[i, o] = self._slope(f, way, size[o])
            return primal.pullback_sum(U, rows)
        G = np.zeros(primal.n_params)
        for j in range(len(G)):
            unit = np.zeros((len(G), 1))
            unit[j] = 1.0
            way = primal.outputs_change(unit, rows)[:, :, 0]
            reach = np.abs(way / size).max(initial=0.0)
            G[j] = self._slope(f, way, 1.0 / reach) if reach > 0 else 0.0
        return G

    def _slope(self, f, way, unit):
        """Derivative at f along ``way``, by a five-point difference."""
        h = _STEP * unit
        near, far = (self._value(f + k * h * way) - self._value(f - k * h * way) for k in (1, 2))
        return (8 * near - far) / (12 * h)


def _in_range(objective, factor, direction):
    """Whether a singular curvature has no flat direction along which a parameter changes."""
    unknown = objective.from_params(direction)
    return bool(np.linalg.norm(unknown - objective.curvature().matmat(factor(unknown)[0])) < _FLAT)


def no_standard_error(objective, factor):
    """Why a model's parameters have no classical standard error, in words; None where they have."""
    primal, n = objective.primal(), int(np.count_nonzero(objective.sample_weight))
    classifier = objective.weighting.codes is not None
    known = not classifier if objective.loss.quadratic else isinstance(objective.loss, Logistic)
    if not known:
        return "standard errors exist for least squares and binary logistic regression only"
    if objective.penalty.any():
        return "a penalised estimate has no classical standard error; leave out the penalty (alpha=0, C=np.inf)"
    if classifier and (objective.weighting.balanced or objective.weighting.class_weight is not None):
        return "with class weights the inverse curvature is no variance; leave out class_weight"
    if factor.nullity or objective.n_params < primal.n_params:
        return "the columns are not of full rank, so that the parameters are not unique; leave out columns"
    if objective.loss.quadratic and n <= _width(primal):
        return f"{n} rows leave no degree of freedom for {_width(primal)} parameters"
    return None


def _width(primal):
    """Parameters of one output."""
    return primal.n_params // primal.n_outputs


def _least_squares_error(objective, factor, position, solved, along):
    """``se**2 = RSS / (n - p) H^-1_jj``: rows of weight count once, as in a refit on those that stay.

    By the share of row i that is there, ``d RSS = s_i e_i**2``, ``d H^-1_jj = -s_i (H^-1 x_i)_j**2`` and ``d n = 1``.
    The last is of the size of the others: without it the changes of all rows add up to 0, as if half the rows, drawn at
    random, gave an interval as narrow as all of them.
    """
    primal, s = objective.primal(), objective.sample_weight
    o = _output_of(primal, position)
    squares = s * objective.output_gradients()[:, o] ** 2
    free = int(np.count_nonzero(s)) - _width(primal)
    noise, variance = squares.sum() / free, solved[position, 0]
    error = np.sqrt(noise * variance)
    growth = (squares - (s > 0) * noise) / free * variance - noise * s * along[:, o] ** 2
    changes = -growth / (2 * error) if error > 0 else np.zeros(len(s))
    return dict(standard_error=float(error), error_changes=changes, spare=free - 1)


def _output_of(primal, position):
    """The output that a parameter belongs to."""
    n_coef = primal.n_outputs * primal.design.n_features
    return position // primal.design.n_features if position < n_coef else position - n_coef


def _logistic_error(objective, factor, position, solved, along):
    """``se**2 = H^-1_jj``, the inverse of Fisher's information at the estimate.

    ``d H`` is ``s_i W_i J_i'J_i`` and, since the estimate moves, ``sum_k s_k W'_k (J_k d theta) J_k'J_k``, with
    ``W' = W (1 - 2 p)``.
    """
    s, v = objective.sample_weight, along[:, 0]
    # A row that leaves moves the estimate by what it does to ``bend' theta``.
    bend = objective.primal().third_derivative(solved)[:, 0]
    growth = s * objective.output_curvatures()[:, 0] * v**2 - linear_changes(objective, factor, bend)
    error = np.sqrt(solved[position, 0])
    return dict(standard_error=float(error), error_changes=growth / (2 * error))
