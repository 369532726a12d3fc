"""What a solve says of itself, and who hears it."""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np

_heard = ContextVar("solve infos", default=None)


@dataclass(frozen=True, eq=False)
class SolveInfo:
    """How a solve went.

    Attributes
    ----------
    solver : solver object
        What solved, with its options.
    converged : bool
        Every column is within the solver's tolerance. A direct solve always is.
    iterations : int
        Of the column that took most; 1 for a direct solve.
    residual : ndarray of shape (k,)
        ``|b - H x|`` of each column over ``|b|``, in a norm without units: that of the preconditioner (conjugate
        gradients, where it is the error in the norm of H as far as the preconditioner is H), else of the curvature's
        own diagonal. For an approximation of the inverse H is the true curvature, and the residual says how crude it
        is; the others are held to what they solve, damping included. Directions without curvature do not count, nor
        do parameters that are held. Leverages from a factored curvature solve for no column, and add none.
    reason : str
        In words, for a person.
    rcond : float
        Estimated reciprocal condition of the curvature, each parameter scaled to unit diagonal; NaN where nothing is
        factored.
    nullity : int
        Directions without curvature, along which the solution of smallest norm was taken. A softmax model's common
        shift of the intercepts, known beforehand, is not counted.
    standard_error : ndarray of shape (n_params, k) or None
        Of each entry of the solution, over the repeats of a stochastic solve; infinite where its recursion grew.
    repeats : ndarray of shape (n_repeats, n_params, k) or None
        The solutions whose mean is a stochastic one: ``(g @ repeats).std(axis=0, ddof=1) / sqrt(n_repeats)`` is the
        standard error of ``g'X``.
    """

    solver: object
    converged: bool
    iterations: int
    residual: np.ndarray
    reason: str
    rcond: float = np.nan
    nullity: int = 0
    standard_error: np.ndarray | None = field(default=None, repr=False)
    repeats: np.ndarray | None = field(default=None, repr=False)

    @property
    def worst(self):
        """The column of the largest residual, None where there is none."""
        return int(np.argmax(self.residual)) if len(self.residual) else None


@contextmanager
def listening():
    """Collect the infos of all solves within the block, in a list."""
    infos = []
    token = _heard.set(infos)
    try:
        yield infos
    finally:
        _heard.reset(token)


def report(info):
    """Pass an info to whoever is listening, and back to the caller."""
    heard = _heard.get()
    if heard is not None:
        heard.append(info)
    return info


def merge(infos):
    """One info for several solves with one curvature, their columns side by side; the reason is the worst one's."""
    worst = max(infos, key=lambda info: (not info.converged, info.residual.max(initial=0.0)))
    errors = [info.standard_error for info in infos]
    same = all(error is not None and len(error) == len(errors[0]) for error in errors)
    return SolveInfo(
        worst.solver,
        all(info.converged for info in infos),
        max(info.iterations for info in infos),
        np.concatenate([info.residual for info in infos]),
        worst.reason,
        min(info.rcond for info in infos),
        max(info.nullity for info in infos),
        np.hstack(errors) if same else None,
        np.concatenate([info.repeats for info in infos], axis=2) if same else None,
    )
