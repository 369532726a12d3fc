r"""The second derivative of a network's outputs by its parameters, in products.

Forward over reverse: a change of the parameters moves each layer's inputs and z; the derivatives of the outputs by z
then move along the way back (Pearlmutter 1994, "Fast exact multiplication by the Hessian").
"""

import numpy as np

from .._parallel import block_size, blocks
from .activations import SECOND_DERIVATIVES
from .network import _dense, _through


class Bending:
    """``sum_i d2(u_i' f_i) / d theta2`` for rows X (n, d) and directions U (n, q), as an operator on (p, k).

    It is what the Gauss-Newton curvature leaves out of the second derivative of a sum of losses, with u_i the
    derivative of row i's loss by its outputs. Zero where only the last layer is trained.

    Parameters
    ----------
    network : Network
    X : ndarray or CSR matrix of shape (n, d)
    U : ndarray of shape (n, q)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.networks import Bending, Network
    >>> line = Network([np.array([[2.0]]), np.array([[3.0]])], [np.zeros(1), np.zeros(1)], "identity")
    >>> Bending(line, np.array([[5.0]]), np.ones((1, 1))).matmat(np.eye(4))[:2, :2]  # 5 w1 w2 by w1 and w2
    array([[0., 5.],
           [5., 0.]])
    """

    def __init__(self, network, X, U):
        self.network, self.X, self.U = network, X, U
        self.n_rows = X.shape[0]

    def take(self, rows):
        return Bending(self.network, self.X[rows], self.U[rows])

    @property
    def vanishes(self):
        """Whether the outputs are linear in the trained parameters."""
        return self.network.trained[0] == len(self.network.weights) - 1

    def matmat(self, V):
        """(p, k) for V of shape (p, k). Cost: a pass forward and back, and two of each for every column."""
        out, network = np.zeros(V.shape), self.network
        if self.vanishes:
            return out
        units = network.n_features + 3 * sum(W.shape[1] for W in network.weights)
        for columns in blocks(V.shape[1], 64):
            k = columns.stop - columns.start
            for rows in blocks(self.n_rows, block_size(8 * units * k, share=1 / 4)):
                self._add(self.X[rows], self.U[rows], V[:, columns], out[:, columns])
        return out

    def _add(self, X, U, V, out):
        network, m, k = self.network, X.shape[0], V.shape[1]
        inputs, slopes, _ = network._forward(X)
        deltas = {layer: delta[:, 0] for layer, delta in network._deltas(slopes, U[:, None, :]).items()}
        places = {layer: rest for layer, *rest in network._places}
        moved, moved_z, turned = self._moved(inputs, slopes, places, V)
        delta = None  # (m, k, n): how the derivative by a layer's z moves
        for layer in range(len(network.weights) - 1, network.trained[0] - 1, -1):
            W, scale, D = network.weights[layer], network.weight_scales[layer], deltas[layer]
            if layer in places:
                of_weights, of_biases = places[layer]
                by_weight = np.zeros((W.shape[0], k, W.shape[1]))
                if delta is not None:
                    flat = delta.reshape(m, -1)
                    by_weight += _dense(inputs[layer].T @ flat).reshape(by_weight.shape)
                    out[of_biases] += network.bias_scale * delta.sum(axis=0).T
                if moved[layer] is not None:
                    by_weight += np.tensordot(moved[layer], D, axes=(0, 0)).transpose(1, 0, 2)
                out[of_weights] += scale * by_weight.transpose(0, 2, 1).reshape(-1, k)
            if layer > network.trained[0]:
                back = np.zeros((m, k, W.shape[0])) if delta is None else _through(delta, W.T)
                if layer in places:
                    back = back + (D @ turned[layer].reshape(D.shape[1], -1)).reshape(m, k, -1)
                back = back * slopes[layer - 1][:, None, :]
                bend = SECOND_DERIVATIVES[network.activation](inputs[layer], slopes[layer - 1], network.corner)
                if bend.any():
                    back = back + ((D @ W.T) * bend)[:, None, :] * moved_z[layer - 1]
                delta = scale * back

    def _moved(self, inputs, slopes, places, V):
        """How the inputs and z of each layer move along each column: (m, k, n) each; and its weights' part of V."""
        network, m, k = self.network, inputs[0].shape[0], V.shape[1]
        moved, moved_z, turned, T = {}, {}, {}, None
        for layer in range(network.trained[0], len(network.weights)):
            W, scale, moved[layer] = network.weights[layer], network.weight_scales[layer], T
            z = 0.0 if T is None else scale * _through(T, W)
            if layer in places:
                of_weights, of_biases = places[layer]
                part = V[of_weights].reshape(*W.shape, k)
                turned[layer] = part.transpose(1, 2, 0)  # (n_out, k, n_in)
                along = _dense(inputs[layer] @ part.transpose(0, 2, 1).reshape(W.shape[0], -1))
                z = z + scale * along.reshape(m, k, -1) + network.bias_scale * V[of_biases].T
            moved_z[layer] = z
            if layer < len(network.weights) - 1:
                T = z * slopes[layer][:, None, :]
        return moved, moved_z, turned
