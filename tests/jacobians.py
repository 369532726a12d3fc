"""Small objectives with general Jacobians: held ones, a network's, and those of a linear model to compare with."""

import numpy as np

from sklearn_influence.linearised import ArrayRows, JacobianObjective, NetworkRows
from sklearn_influence.losses import Logistic, Softmax, SquaredError
from sklearn_influence.networks import Network
from sklearn_influence.objective import Weighting
from sklearn_influence.primal import PrimalObjective

LOSSES = {"squares": (SquaredError(), 1), "targets": (SquaredError(), 3), "logistic": (Logistic(), 1)}
LOSSES["softmax"] = (Softmax(), 3)
SIZES = [4, 6, 5]
# More weights than outputs of its rows, and few biases: free ones alone must not fit the rows.
WIDE = [30, 3, 2]


def problem(kind, n=30, balanced=False, seed=0, d=SIZES[0]):
    """Features (n, d), and (y, loss, weighting) of a kind of loss."""
    rng, (loss, q) = np.random.default_rng(seed), LOSSES[kind]
    codes = np.arange(n) % max(q, 2) if balanced or not loss.quadratic else None
    y = rng.standard_normal((n, q)) if codes is None else codes
    if loss.quadratic and balanced:  # classes as targets, as RidgeClassifier has them
        y = 2.0 * np.eye(q)[codes] - 1.0
    weight = np.ones(n) if balanced else rng.random(n) + 0.5
    return rng.standard_normal((n, d)) + 0.5, (y, loss, Weighting(weight, codes, balanced=balanced))


def network(kind, activation="tanh", trained=None, seed=0, hidden=SIZES):
    """A network with as many outputs as a kind of loss has, in scikit-learn's parametrisation."""
    rng = np.random.RandomState(seed)
    sizes = [*hidden, LOSSES[kind][1]]
    net = Network.random(sizes, activation, sigma_w=1.3, sigma_b=0.5, random_state=rng)
    weights = [c * W for c, W in zip(net.weight_scales, net.weights, strict=True)]
    return Network(weights, [0.5 * b for b in net.biases], activation, trained=trained)


def penalties(net, penalty=0.4, free_biases=True):
    out = np.full(net.n_params, penalty)
    if free_biases:
        out[net.n_weights :] = 0.0
    return out


def of_network(kind, *, sizes=SIZES, n=30, rows=None, free_biases=True, balanced=False, penalty=0.4, **options):
    """An MLP's objective at its weights: parameters are the weights themselves, biases are free."""
    X, rest = problem(kind, n=n, balanced=balanced, d=sizes[0])
    net = network(kind, hidden=sizes, **options)
    start = net.params if free_biases else None
    given = NetworkRows(net, X, start)
    params = net.params.copy() if free_biases else np.zeros(net.n_params)
    if rows == "array":
        given = ArrayRows(given.jacobian(), given.offsets, given)
    return JacobianObjective(given, *rest, penalties(net, penalty, free_biases), params)


def linear_pair(kind, penalty=0.4, balanced=False):
    """A linear model with free intercepts as :class:`PrimalObjective` has it, and by its Jacobians."""
    X, rest = problem(kind, balanced=balanced)
    q, (n, d) = LOSSES[kind][1], X.shape
    J = np.zeros((n, q, q * (d + 1)))
    for o in range(q):
        J[:, o, o * d : (o + 1) * d] = X
        J[:, o, q * d + o] = 1.0
    whole = np.full((q, d + 1), penalty)
    whole[:, -1] = 0.0
    vector = np.concatenate([np.full(q * d, penalty), np.zeros(q)])
    params = 0.3 * np.random.default_rng(1).standard_normal(q * (d + 1))
    one_layer = Network([np.zeros((d, q))], [np.zeros(q)], "identity")
    held = ArrayRows(J, behind=NetworkRows(one_layer, X))
    return PrimalObjective(X, *rest, whole, params, True), JacobianObjective(held, *rest, vector, params)


def whole(objective):
    """The matrix itself, term by term."""
    J, H = objective.design.jacobian(), np.diag(objective.penalty[0])
    for s, W, Ji in zip(objective.sample_weight, objective.output_curvatures(), J, strict=True):
        H += s * Ji.T @ (W if W.ndim == 2 else np.diag(W)) @ Ji
    return H


def dead_unit(kind="logistic"):
    """A relu network whose first hidden unit no row activates but the last one."""
    objective = of_network(kind, activation="relu")
    net = objective.design.network
    net.biases[0][0] = -12.0
    design = type(objective.design)(net, objective.design.X, net.params)
    X = design.X.copy()
    w = net.weights[0][:, 0]
    X[-1] = 13.0 * w / (w @ w)
    rest = (objective.y, objective.loss, objective.weighting, objective.penalty, net.params)
    return JacobianObjective(design, *rest), JacobianObjective(design.reading(X), *rest), net.n_weights
