r"""How a network's outputs, and their derivatives by its parameters, change with its inputs.

Back through the layers, ``dz`` and ``dT`` are derivatives by each layer's ``z = c h W + c_b b`` and by how it moves
along a direction of the parameters, ``T = c (t W + h V) + c_b v`` with t the move of h: ``dt = c dT W'`` and
``dh = c (dz W' + dT V')`` are those by t and h, and below the activation ``dT = dt phi'`` and
``dz = dh phi' + dt T phi''``.
"""

import numpy as np

from .activations import SECOND_DERIVATIVES


def output_slopes(network, X, U):
    """``d(u'f)/dx`` of rows X (m, d) for U of shape (m, q, k): (m, k, d). Cost: a pass forward and k back."""
    _, slopes, _ = network._forward(X)
    dz = U.transpose(0, 2, 1)
    for layer in range(len(network.weights) - 1, -1, -1):
        dz = network.weight_scales[layer] * (dz @ network.weights[layer].T)
        if layer:
            dz = dz * slopes[layer - 1][:, None, :]
    return dz


def jacobian_slopes(network, X, V, U):
    """``d(u'J v)/dx`` of rows X (m, d), for V (p, k) and U (m, q, 1), or V (p, 1) and U (m, q, k): (m, k, d).

    Exact, with relu's second derivative taken as 0. Cost: about 4 k passes.
    """
    inputs, slopes, _ = network._forward(X)
    places, moves = {layer: rest for layer, *rest in network._places}, _moves(network, inputs, slopes, V)
    dT, dz = U.transpose(0, 2, 1), 0.0
    for layer in range(len(network.weights) - 1, -1, -1):
        W, scale = network.weights[layer], network.weight_scales[layer]
        dh = scale * (dz @ W.T) if np.ndim(dz) else 0.0
        if layer in places:
            dh = dh + scale * _through(dT, V[places[layer][0]].reshape(*W.shape, -1))
        if layer == 0:
            return np.broadcast_to(dh, (X.shape[0], max(V.shape[1], U.shape[2]), W.shape[0]))
        slope, T = slopes[layer - 1][:, None, :], moves.get(layer - 1)
        dt = scale * (dT @ W.T)
        dz = dh * slope
        if T is not None:
            second = SECOND_DERIVATIVES[network.activation](inputs[layer], slopes[layer - 1], network.corner)
            dz = dz + dt * T * second[:, None, :]
        dT = dt * slope


def _moves(network, inputs, slopes, V):
    """How each hidden layer's z moves along the columns of V: {layer: (m, k, n_out)}, from the first trained one on."""
    places, k, moves, T = {layer: rest for layer, *rest in network._places}, V.shape[1], {}, None
    for layer in range(network.trained[0], len(network.weights) - 1):
        W, scale, moved = network.weights[layer], network.weight_scales[layer], 0.0
        if T is not None:
            moved = scale * (T @ W)
        if layer in places:
            of_weights, of_biases = places[layer]
            turned = V[of_weights].reshape(*W.shape, k).transpose(0, 2, 1).reshape(W.shape[0], -1)
            moved = moved + scale * (inputs[layer] @ turned).reshape(-1, k, W.shape[1])
            moved = moved + network.bias_scale * V[of_biases].T
        moves[layer] = moved
        T = moved * slopes[layer][:, None, :]
    return moves


def _through(dT, V):
    """``dT V'`` (m, k, n_in) for dT (m, k or 1, n_out) and V (n_in, n_out, 1 or k)."""
    n_in, n_out, k = V.shape
    if k == 1:
        return dT @ V[:, :, 0].T
    return (dT[:, 0] @ V.transpose(1, 2, 0).reshape(n_out, -1)).reshape(len(dT), k, n_in)
