"""Which solver a name means, and which one "auto" takes."""

from dataclasses import dataclass

import numpy as np

from .._backend import device_memory
from .approximate import Diagonal, OuterProduct
from .conjugate_gradient import ConjugateGradient
from .direct import Direct
from .stochastic import Stochastic

# Direct solves win from about so many right-hand sides on.
_MANY = 100
# Share of the machine's memory that a factored curvature may take.
_MEMORY = 0.4


@dataclass(frozen=True)
class Auto:
    """:class:`Direct` where the factored curvature fits in memory and is worth its price, else
    :class:`ConjugateGradient`.

    ``method="newton"`` needs the leverages of all rows it is asked about, "second_order" two solves for each; both take
    "direct" wherever that fits in memory. "first_order" takes "cg" where a factorisation would cost more than 100
    right-hand sides of conjugate gradients.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_influence import InfluenceEstimator
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = InfluenceEstimator(Ridge(alpha=0.1)).fit(X, y)
    >>> leverages = model.leverages()
    >>> model.solve_info_.solver
    Direct(damping=0.0)
    """

    exact = True
    damping = 0.0

    def choose(self, objective, method, representation="primal", device="cpu"):
        """The solver for an objective in a representation and on a device, and why, in words."""
        size, passes = direct_size(objective, representation), cost_in_passes(objective, representation)
        # By their bytes: each question chooses anew, and sorting tens of thousands of columns would take half a second.
        blocks = len({penalty.tobytes() for penalty in objective.penalty}) if objective.loss.separable else 1
        n_bytes, memory = 16 * size**2 * blocks, device_memory(device) or np.inf
        if n_bytes > _MEMORY * memory:
            return ConjugateGradient(), f"factoring {size:,} unknowns together would take {n_bytes / 2**30:.1f} GiB"
        if method == "first_order" and passes > 20 * _MANY:
            return (
                ConjugateGradient(),
                f"factoring {size:,} unknowns would cost {passes:,.0f} passes over the rows, more than {20 * _MANY:,}",
            )
        return Direct(), f"{size:,} unknowns are factored together"


def _shape(objective, representation):
    """Columns and non-zero entries of the objective's rows in a representation."""
    design = objective.design
    if representation == "dual" and design.spans_few:
        return design.n_rows, design.n_rows**2
    return design.n_features, design.n_entries


def direct_size(objective, representation="primal"):
    """How many unknowns of an objective a direct solve factors together."""
    if hasattr(objective, "direct_size"):
        return objective.direct_size(representation)
    width = _shape(objective, representation)[0] + objective.fit_intercept
    return width if objective.loss.separable else width * objective.n_outputs


def cost_in_passes(objective, representation="primal", share=1.0):
    """What a direct factor costs, in passes ``X' W X V`` over the rows, where a ``share`` of them is multiplied out."""
    if hasattr(objective, "cost_in_passes"):
        return objective.cost_in_passes(representation, share)
    d, entries = _shape(objective, representation)
    q = objective.n_outputs
    pairs = q if objective.loss.separable else q * (q - 1) / 2
    products = share * pairs * entries * d + direct_size(objective, representation) ** 3 / 3
    # Passes over few columns run at about a quarter of the rate of the large products.
    return products / (4 * 4 * max(entries, 1) * q)


SOLVERS = {
    "auto": Auto,
    "direct": Direct,
    "cg": ConjugateGradient,
    "stochastic": Stochastic,
    "outer_product": OuterProduct,
    "diagonal": Diagonal,
}


def get_solver(solver):
    """The solver object that a name or object means.

    Parameters
    ----------
    solver : {"auto", "direct", "cg", "stochastic", "outer_product", "diagonal"} or a solver object

    Raises
    ------
    ValueError
        For an unknown name; the text lists the ones there are.
    TypeError
        For anything that is neither a name nor a solver object.

    Examples
    --------
    >>> from sklearn_influence.solvers import get_solver
    >>> get_solver("direct")
    Direct(damping=0.0)
    """
    if isinstance(solver, str) and solver in SOLVERS:
        return SOLVERS[solver]()
    if isinstance(solver, tuple(SOLVERS.values())):
        return solver
    if isinstance(solver, type) and solver in SOLVERS.values():
        raise TypeError(f"solver must be an object, got the class {solver.__name__}; write {solver.__name__}().")
    text = (
        f"solver must be one of {', '.join(map(repr, SOLVERS))}, or an object such as solvers.Direct(damping=...), got "
        f"{solver!r}."
    )
    raise (ValueError if isinstance(solver, str) else TypeError)(text)


def called(solver):
    """A solver as its user would write it: its name where that says all, quoted, else the object."""
    for name, kind in SOLVERS.items():
        if type(solver) is kind and solver == kind():
            return repr(name)
    return repr(solver)


def needs_parameters(solver):
    """Why a solver's result depends on the coordinates of its unknowns, in words; None where it does not."""
    if solver.damping:
        return "damping is relative to the curvature of each parameter"
    if isinstance(solver, Diagonal):
        return "a diagonal is one of the parameters"
    if getattr(solver, "parameters", None) is not None:
        return "parameters names some of params_"
    return None
