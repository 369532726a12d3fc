r"""From the weights at which a fit stopped to the minimum nearby.

L-BFGS first, which crosses the long valleys that an unfinished fit stops in; then Newton's method with the exact second
derivative in a trust region, its steps by conjugate gradients (Steihaug 1983), which leaves saddle points along their
negative curvature and converges to rounding.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from .._parallel import block_size

# Share of the spread of the units' inputs over which relu's corner is rounded.
CORNER = 0.1
# Rows that the size of a typical gradient is taken from.
_ROWS = 256
# Within this share of F its decrease cannot be seen, and a Newton step is judged by the gradient it leaves.
_UNSEEN = 1e-13
# So many steps in a row that do not halve the gradient there, and rounding is all that is left of it.
_STALLED = 3


@dataclass(frozen=True)
class Refined:
    """Where a refinement ended.

    Attributes
    ----------
    params : ndarray of shape (p,)
    gradient_norm : float
    goal : float
        What that was to come below: ``tol`` of a typical row's gradient.
    settled : bool
        Whether it did, or rounding is all that is left of it.
    n_products : int
        Products with the second derivative, each about four passes over the rows.
    """

    params: np.ndarray
    gradient_norm: float
    goal: float
    settled: bool
    n_products: int


def corner_of(network, X):
    """How far relu's corner is to be rounded, in the units of its input: a tenth of the spread of these over rows X
    (n, d); 0 of other activations, and where all that is trained is linear in the parameters."""
    if network.activation != "relu" or network.trained[0] == len(network.weights) - 1:
        return 0.0
    h, squares, count = X, 0.0, 0
    for layer, (W, b) in enumerate(zip(network.weights[:-1], network.biases[:-1], strict=True)):
        z = network.weight_scales[layer] * np.asarray(h @ W) + network.bias_scale * b
        squares, count, h = squares + (z**2).sum(), count + z.size, np.maximum(z, 0.0)
    return CORNER * float(np.sqrt(squares / max(count, 1)))


def nearby_minimum(risk, *, tol=1e-10, quick_steps=500, max_products=10_000):
    """Minimise a network's risk from the network's own parameters.

    Parameters
    ----------
    risk : NetworkRisk
    tol : float
        Of the gradient's norm, relative to that of a typical row.
    quick_steps : int
        Steps of L-BFGS before Newton's method, at most.
    max_products : int
        Products with the second derivative, at most.

    Returns
    -------
    Refined

    Notes
    -----
    A minimum of relu networks lies on kinks, where units of some rows have input 0 and the gradient jumps; Newton's
    method needs a corner that is rounded (:func:`corner_of`).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.losses import SquaredError
    >>> from sklearn_influence.networks import Network, NetworkRisk, nearby_minimum
    >>> line = Network([np.array([[2.0]])], [np.array([1.0])], "tanh")
    >>> X, y = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])
    >>> nearby_minimum(NetworkRisk(line, X, y, SquaredError(), np.ones(2), np.zeros(2))).params.round(6) + 0.0
    array([1., 0.])
    """
    params = risk.network.params
    goal = tol * typical_gradient(risk, params)
    if np.linalg.norm(risk.value_and_gradient(params)[1]) > goal and quick_steps:
        options = dict(maxiter=quick_steps, maxfun=2 * quick_steps, maxcor=30, ftol=0.0, gtol=0.0)
        params = minimize(risk.value_and_gradient, params, jac=True, method="L-BFGS-B", options=options).x
    return _newton(risk, params, tol, max_products)


def typical_gradient(risk, params):
    """Median over rows of the norm of their own part of the gradient."""
    rows = np.flatnonzero(risk.sample_weight > 0)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(_ROWS, len(rows))).astype(int))]
    network, norms = risk.network.at(params), []
    for part in np.array_split(rows, 1 + len(rows) // max(block_size(24 * len(params)), 1)):
        u = risk.sample_weight[part, None] * risk.loss.gradient(risk.y[part], network.outputs(risk.X[part]))
        norms.append(np.linalg.norm(network.pulls(risk.X[part], u), axis=0))
    return float(np.median(np.concatenate(norms)))


def _newton(risk, params, tol, max_products):
    """Steps of Newton's method in a trust region."""
    value, gradient = risk.value_and_gradient(params)
    first = norm = np.linalg.norm(gradient)
    goal, radius, used, stalled = tol * typical_gradient(risk, params), 1.0, 0, 0
    while norm > goal and used < max_products and stalled < _STALLED and radius > 1e-14:
        product = risk.curvature(params)
        # Superlinear convergence needs steps that are solved for more closely as the gradient shrinks.
        precision = min(0.1, max(np.sqrt(norm / first), 1e-3))
        step, decrease, count, inside = _bounded_step(product, gradient, radius, precision, max_products - used)
        used += count
        moved = params + step
        new_value, new_gradient = risk.value_and_gradient(moved)
        new_norm = np.linalg.norm(new_gradient)
        unseen = decrease <= _UNSEEN * abs(value)
        ratio = float(new_norm <= 2 * norm) if unseen else (value - new_value) / decrease
        stalled = stalled + 1 if unseen and new_norm > 0.5 * norm else 0
        if not inside and ratio > 0.75:
            radius *= 2.5
        elif not ratio >= 0.25:
            radius = 0.3 * min(radius, np.linalg.norm(step))
        if ratio > 1e-3 and (not unseen or new_norm < norm):
            params, value, gradient, norm = moved, new_value, new_gradient, new_norm
            goal = tol * typical_gradient(risk, params)
    return Refined(params, float(norm), goal, bool(norm <= goal or stalled >= _STALLED), used)


def _bounded_step(product, gradient, radius, precision, most):
    """A step of at most ``radius`` that lowers the quadratic model of F, by conjugate gradients: to the relative
    ``precision`` within, or to the boundary where the way there leads out or bends down.

    Returns the step, the decrease of the model, products used, and whether the step ended within.
    """
    step, left = np.zeros_like(gradient), gradient.copy()
    way, square = -left, left @ left
    first, bent, count, inside = np.sqrt(square), np.zeros_like(gradient), 0, True
    while count < min(most, 2 * len(gradient)):
        along = product(way)
        count += 1
        bend = way @ along
        length = square / bend if bend > 0 else np.inf
        inside = bend > 0 and np.linalg.norm(step + length * way) < radius
        if not inside:
            a, b, c = way @ way, step @ way, step @ step - radius**2
            length = (-b + np.sqrt(max(b * b - a * c, 0.0))) / a
        step = step + length * way
        bent = bent + length * along
        if not inside:
            break
        left = left + length * along
        new = left @ left
        if np.sqrt(new) <= precision * first:
            break
        way, square = -left + (new / square) * way, new
    return step, -float(gradient @ step + 0.5 * (step @ bent)), count, inside
