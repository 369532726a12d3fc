"""Approximations of the inverse that need no true curvature, or only its diagonal."""

from dataclasses import dataclass

import numpy as np

from .. import _backend
from .direct import Direct, _BlockFactor
from .info import SolveInfo, report
from .steps import InverseBySolves, damped_option, is_penalised, residuals


def _positions(parameters):
    """The option ``parameters`` as a sorted tuple of ints, or None; and the length of a mask, or None."""
    if parameters is None:
        return None, None
    given, length = np.asarray(parameters), None
    if given.dtype == bool:
        given, length = np.flatnonzero(given), given.size
    if given.dtype.kind in "OU":
        raise TypeError(
            f"parameters must be positions in params_ or a mask over them, got {parameters!r}; names are found by "
            "np.isin(model.param_names_, [...])."
        )
    if not given.size:
        raise ValueError("parameters must be positions in params_, at least one of them, got none.")
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise TypeError(
            f"parameters must be positions in params_ (integers), a mask over them, or None, got {given!r}."
        )
    positions = np.unique(given)
    if len(positions) != len(given):
        raise ValueError("parameters must be different positions in params_; some are given twice.")
    if positions[0] < 0:
        raise ValueError(f"parameters must be positions in params_, from 0 on, got {positions[0]}.")
    return tuple(positions.tolist()), length


@dataclass(frozen=True, repr=False)
class _Approximation:
    """The options that approximations share."""

    damping: float = 0.0
    parameters: tuple | None = None

    exact = False

    def __post_init__(self):
        damped_option(self.damping)
        positions, length = _positions(self.parameters)
        object.__setattr__(self, "parameters", positions)
        object.__setattr__(self, "_mask_length", length)

    def __repr__(self):
        chosen = self.parameters
        if chosen is not None and len(chosen) > 8:
            chosen = f"<{len(chosen)} positions>"
        return f"{type(self).__name__}(damping={self.damping!r}, parameters={chosen})"

    def chosen(self, n_params):
        """The parameters that move, as an index; ValueError where the model does not have them."""
        positions = self.parameters
        if self._mask_length not in (None, n_params):
            raise ValueError(
                f"parameters as a mask must have the length of params_, {n_params}, got {self._mask_length} entries."
            )
        if positions is not None and positions[-1] >= n_params:
            raise ValueError(
                f"parameters must be positions in params_, from 0 to {n_params - 1}; the solver names {positions[-1]}."
            )
        return slice(None) if positions is None else np.array(positions)


@dataclass(frozen=True, repr=False)
class Diagonal(_Approximation):
    """The diagonal of the curvature alone: no interplay of the parameters.

    Cheap and crude: what one column explains, all its neighbours explain again. Fit for a rough ranking only, with
    ``method="first_order"``; ``solve_info_.residual`` says how far it is from an inverse.

    Parameters
    ----------
    damping : float, default=0.0
        Added to the diagonal, relative to itself.
    parameters : array-like of int, or bool mask of shape (n_params,), default=None
        Let only these entries of ``params_`` move and hold the others as they are: one class's, or the intercepts.

    Notes
    -----
    Cost: one pass over the rows; n_params operations a right-hand side, and a pass for its residual. Depends on the
    coordinates: rotated or uncentred features give other influences, and the dual representation is refused.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.solvers import Diagonal
    >>> X, y = load_iris(return_X_y=True)
    >>> crude = InfluenceEstimator(LogisticRegression(), solver="diagonal", method="first_order").fit(X, y)
    >>> effect = crude.influence_on_loss(X[70:71], y[70:71])
    >>> bool(crude.solve_info_.residual[0] > 0.5)
    True

    The last class alone:

    >>> last = [str(name).endswith("[2]") for name in crude.param_names_]
    >>> change = crude.set_params(solver=Diagonal(parameters=last)).influence_on_params([0])
    >>> (change[0] != 0).sum() == sum(last)
    np.True_
    """

    curvature_kind = "hessian"

    def factor(self, curvature, preconditioner=None):
        return DiagonalFactor(curvature, self)


class DiagonalFactor(InverseBySolves):
    """``factor(B)`` is B over the curvature's diagonal."""

    def __init__(self, curvature, solver):
        self.curvature, self.solver = curvature, solver
        self._chosen = solver.chosen(curvature.shape[0])
        diagonal = (1.0 + solver.damping) * curvature.diagonal()
        self._inverse_diagonal = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)[:, None]
        self.operations = curvature.shape[0]

    def __call__(self, B):
        X = np.zeros(B.shape)
        X[self._chosen] = self._inverse_diagonal[self._chosen] * B[self._chosen]
        residual = residuals(self.curvature, X, B, self._chosen)
        reason = "the diagonal alone: an approximation, which its residual judges"
        return X, report(SolveInfo(self.solver, True, 1, residual, reason))


@dataclass(frozen=True, repr=False)
class OuterProduct(_Approximation):
    """The empirical Fisher matrix: outer products of the rows' gradients in place of their curvature.

    ``sum_i s_i u_i u_i' (x) x_i x_i'`` and the penalty's own curvature. It equals the Hessian in expectation where the
    model is true; rows that are fitted well count for little in it. For ``method="first_order"`` only. Squared losses
    are divided by the variance of the residuals, so that the result has no unit to get wrong.

    Parameters
    ----------
    damping : float, default=0.0
        Added to the matrix, relative to its own diagonal, parameter by parameter; so it has no unit.
    parameters : array-like of int, or bool mask of shape (n_params,), default=None
        Let only these entries of ``params_`` move and hold the others as they are: one class's, or the intercepts.

    Notes
    -----
    With fewer rows than unknowns, and a penalty or damping, the inverse is taken by Woodbury's identity from the rows'
    products with each other, n**2 numbers; else as :class:`Direct` does. Source: Martens (2020); Kunstner, Balles and
    Hennig (2019) on its limits.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_influence import InfluenceEstimator
    >>> from sklearn_influence.solvers import OuterProduct
    >>> X, y = load_iris(return_X_y=True)
    >>> model = InfluenceEstimator(LogisticRegression(), solver=OuterProduct(damping=0.01), method="first_order")
    >>> model.fit(X, y).influence_on_loss(X[:2], y[:2]).shape
    (2, 150)
    """

    curvature_kind = "outer_product"

    def factor(self, curvature, preconditioner=None):
        damped = curvature.damped(self.damping) if self.damping else curvature
        return OuterProductFactor(damped, self)


class OuterProductFactor(InverseBySolves):
    """``factor(B)`` is the inverse of a damped empirical Fisher matrix times B."""

    def __init__(self, curvature, solver):
        self.curvature, self.solver = curvature, solver
        self._chosen = solver.chosen(curvature.shape[0])
        if solver.parameters is not None:
            matrix = curvature.on_parameters(self._chosen)
            for shift in curvature.gauge_within(self._chosen):  # flat, and no gradient has a part along it
                matrix[np.ix_(shift, shift)] += matrix[shift, shift].mean()
            block = _BlockFactor(matrix, np.ones(len(matrix), bool))
            self._solve, self.nullity, self.rcond, how = block.solve, block.nullity, block.rcond, "on chosen parameters"
            self.operations = 2 * len(matrix) ** 2
        elif _by_rows(curvature):
            rows = _Woodbury(curvature)
            self._solve, self.rcond, how = rows.solve, rows.rcond, "by Woodbury's identity on the rows"
            self.operations = 2 * curvature.design.n_rows**2 + curvature.operations
        else:
            direct = Direct().factor(curvature)
            self._solve, self.nullity, self.rcond, how = direct.rough, direct.nullity, direct.rcond, direct.reason
            self.operations = direct.operations
        self._reason = f"outer products of gradients, {how}: an approximation, which its residual judges"

    def __call__(self, B):
        X = np.zeros(B.shape)
        X[self._chosen] = self._solve(B[self._chosen])
        residual = residuals(self.curvature.truth, X, B, self._chosen)
        return X, report(SolveInfo(self.solver, True, 1, residual, self._reason, self.rcond, self.nullity))


def _by_rows(curvature):
    """Whether there are fewer rows than unknowns, and a positive diagonal to add their products to."""
    together = curvature.coupled or curvature.n_outputs == 1
    return together and curvature.design.n_rows < curvature.shape[0] and is_penalised(curvature)


class _Woodbury:
    """``(D + G'G)^-1`` from ``(I + G D^-1 G')^-1``; where D is 0 (free intercepts) by their Schur complement."""

    def __init__(self, curvature):
        self._curvature = curvature
        penalty = curvature.penalty
        self._free = penalty[:, -1] == 0 if curvature.design.fit_intercept else np.zeros(len(penalty), bool)
        inverse = np.divide(1.0, penalty, out=np.zeros_like(penalty), where=penalty > 0)
        intercept = curvature.design.fit_intercept
        columns = [inverse[:, :-1].ravel(), inverse[:, -1]] if intercept else [inverse.ravel()]
        self._inverse = np.concatenate(columns)[:, None]
        K = curvature.row_gram(inverse)
        K[np.diag_indices_from(K)] += 1.0
        norm = _backend.one_norm(K)
        self._L, _ = _backend.cholesky(K)
        self.rcond = _backend.reciprocal_condition(self._L, norm)
        slopes = curvature.slopes[:, self._free]
        self._slopes = slopes
        # Gradients of softmax sum to 0 over the classes: flat along a common shift.
        self._schur = np.linalg.pinv(slopes.T @ _backend.cholesky_solve(self._L, slopes), rcond=1e-12, hermitian=True)

    def solve(self, B):
        curvature, q = self._curvature, self._curvature.n_outputs
        X = self._penalised(B)
        if self._free.any():
            at = len(B) - q + np.flatnonzero(self._free)
            # G2'(I + K)^-1 G1 D^-1 B1 is what G2' G1 makes of the penalised solution.
            X[at] = self._schur @ (B[at] - self._slopes.T @ curvature.onto_rows(X))
            X += self._penalised(-curvature.from_rows(self._slopes @ X[at]))
        return X

    def _penalised(self, B):
        """The solution where the parameters without penalty stay."""
        scaled = self._inverse * B
        inner = _backend.cholesky_solve(self._L, self._curvature.onto_rows(scaled))
        return scaled - self._inverse * self._curvature.from_rows(inner)
