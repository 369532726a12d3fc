r"""A fully connected network at fixed weights, and products with its Jacobian that never hold it.

Layer l takes h to ``z = c_l h W_l + c_b b_l``, and all but the last on to ``phi(z)``. With ``D_l`` (q, n_out) the
derivative of the outputs by z, a row's Jacobian is ``c_l h (x) D_l`` for the weights of layer l and ``c_b D_l`` for its
biases, so that products of two rows' Jacobians are products of layers: ``sum_l (c_l**2 h h' + c_b**2) D_l D_l'``.

Parameters are vectors (p,): the weights of each trained layer, ``W_l.ravel()``, then the biases of each.
"""

from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
from scipy import sparse

from .._parallel import block_size, blocks
from .activations import ACTIVATIONS

__all__ = ["ACTIVATIONS", "Network"]


class Network:
    """A fully connected network at fixed weights. Immutable.

    Parameters
    ----------
    weights : list of ndarray of shape (n_in, n_out)
    biases : list of ndarray of shape (n_out,)
    activation : {"identity", "logistic", "tanh", "relu"}
        Of the hidden layers; the outputs are the last layer's z.
    weight_scales : sequence of float, optional
        c_l of each layer; 1 by default, ``sigma_w / sqrt(n_in)`` in the NTK parametrisation.
    bias_scale : float
        c_b; 1, or sigma_b.
    trained : sequence of int, optional
        The layers whose weights and biases count as parameters, ascending; all by default.
    corner : float
        Relu's corner is rounded where its input is nearer to 0 than this: 0, the default, is relu itself.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.networks import Network
    >>> line = Network([np.array([[2.0], [3.0]])], [np.array([1.0])], "relu")
    >>> line.outputs(np.array([[1.0, 1.0]])), line.jacobian(np.array([[4.0, 5.0]]))
    (array([[6.]]), array([[[4., 5., 1.]]]))
    """

    def __init__(self, weights, biases, activation, weight_scales=None, bias_scale=1.0, trained=None, corner=0.0):
        self.weights = [np.asarray(W, dtype=np.float64) for W in weights]
        self.biases = [np.asarray(b, dtype=np.float64) for b in biases]
        self.activation = activation
        n_layers = len(self.weights)
        self.weight_scales = [1.0] * n_layers if weight_scales is None else [float(c) for c in weight_scales]
        self.bias_scale = float(bias_scale)
        self.trained = tuple(range(n_layers)) if trained is None else tuple(trained)
        self.corner = float(corner)

    def __deepcopy__(self, memo):  # nothing changes it, so that copies of a model share their weights
        return self

    @classmethod
    def random(cls, sizes, activation, *, sigma_w, sigma_b, random_state):
        """Standard normal weights and biases in the NTK parametrisation; ``sizes`` are those of all layers, with the
        inputs before them and the outputs last; ``random_state`` a RandomState."""
        pairs = list(pairwise(sizes))
        weights = [random_state.standard_normal(pair) for pair in pairs]
        biases = [random_state.standard_normal(n_out) for _, n_out in pairs]
        return cls(weights, biases, activation, [sigma_w / np.sqrt(n_in) for n_in, _ in pairs], sigma_b)

    @property
    def n_outputs(self):
        return self.weights[-1].shape[1]

    @property
    def n_features(self):
        return self.weights[0].shape[0]

    @property
    def n_weights(self):
        """Parameters that are weights: the first ones."""
        return sum(self.weights[layer].size for layer in self.trained)

    @property
    def n_params(self):
        return self.n_weights + sum(self.biases[layer].size for layer in self.trained)

    @property
    def params(self):
        """(p,): the trained layers' weights, then their biases."""
        parts = [self.weights[layer].ravel() for layer in self.trained]
        return np.concatenate(parts + [self.biases[layer] for layer in self.trained])

    def at(self, params):
        """The network at other parameters (p,)."""
        weights, biases = list(self.weights), list(self.biases)
        for layer, of_weights, of_biases in self._places:
            weights[layer] = params[of_weights].reshape(weights[layer].shape)
            biases[layer] = params[of_biases]
        rest = (self.activation, self.weight_scales, self.bias_scale, self.trained, self.corner)
        return type(self)(weights, biases, *rest)

    def rounded(self, corner):
        """The network with relu's corner rounded by so much."""
        rest = (self.activation, self.weight_scales, self.bias_scale, self.trained, corner)
        return type(self)(self.weights, self.biases, *rest)

    @cached_property
    def _places(self):
        """(layer, slice of its weights, slice of its biases) for each trained layer."""
        sizes = [self.weights[layer].size for layer in self.trained]
        sizes += [self.biases[layer].size for layer in self.trained]
        ends = list(accumulate(sizes))
        slices = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        n = len(self.trained)
        return list(zip(self.trained, slices[:n], slices[n:], strict=True))

    # -- passes over rows ---------------------------------------------------------------------------------------------

    def outputs(self, X):
        """(m, q) of rows X (m, d), dense or sparse."""
        return self._forward(X)[2]

    def _forward(self, X):
        """Inputs of each layer, slopes of each hidden activation, and the outputs."""
        # A number times a float32 array stays float32: rows are widened here, before any product.
        inputs, slopes, h = [], [], X.astype(np.float64, copy=False)
        for layer, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            inputs.append(h)
            z = self.weight_scales[layer] * _dense(h @ W) + self.bias_scale * b
            if layer < len(self.weights) - 1:
                h, slope = ACTIVATIONS[self.activation](z, self.corner)
                slopes.append(slope)
        return inputs, slopes, z

    def _deltas(self, slopes, u):
        """Products of ``u`` (m, k, q) with the outputs' derivative by each layer's z, from the first trained layer on:
        {layer: (m, k, n_out)}."""
        deltas, delta = {}, u
        for layer in range(len(self.weights) - 1, self.trained[0] - 1, -1):
            deltas[layer] = delta
            if layer > self.trained[0]:
                back = _through(delta, self.weights[layer].T)
                delta = self.weight_scales[layer] * back * slopes[layer - 1][:, None, :]
        return deltas

    def _unit_deltas(self, slopes, m):
        q = self.n_outputs
        return self._deltas(slopes, np.broadcast_to(np.eye(q), (m, q, q)))

    def jacobian(self, X):
        """(m, q, p): derivative of the outputs of rows X (m, d) by the parameters. Dense: for blocks of rows."""
        inputs, slopes, _ = self._forward(X)
        m, q = X.shape[0], self.n_outputs
        deltas, out = self._unit_deltas(slopes, m), np.empty((m, q, self.n_params))
        for layer, of_weights, of_biases in self._places:
            h, D = _dense(inputs[layer]), deltas[layer]
            by_weight = self.weight_scales[layer] * h[:, None, :, None] * D[:, :, None, :]
            out[:, :, of_weights] = by_weight.reshape(m, q, -1)
            out[:, :, of_biases] = self.bias_scale * D
        return out

    def bias_jacobian(self, X):
        """(m, q, n_biases): the last columns of :meth:`jacobian`."""
        _, slopes, _ = self._forward(X)
        deltas = self._unit_deltas(slopes, X.shape[0])
        return self.bias_scale * np.concatenate([deltas[layer] for layer in self.trained], axis=2)

    def times(self, X, V):
        """``J_i V`` (m, q, k) for V (p, k). Cost: 1 + k passes forward."""
        inputs, slopes, _ = self._forward(X)
        m, k, places = X.shape[0], V.shape[1], {layer: rest for layer, *rest in self._places}
        T = None  # (m, k, n): how the inputs of a layer move
        for layer in range(self.trained[0], len(self.weights)):
            W, scale = self.weights[layer], self.weight_scales[layer]
            moved = 0.0 if T is None else scale * _through(T, W)
            if layer in places:
                of_weights, of_biases = places[layer]
                turned = V[of_weights].reshape(*W.shape, k).transpose(0, 2, 1).reshape(W.shape[0], -1)
                moved = moved + scale * _dense(inputs[layer] @ turned).reshape(m, k, -1)
                moved = moved + self.bias_scale * V[of_biases].T
            T = moved if layer == len(self.weights) - 1 else moved * slopes[layer][:, None, :]
        return T.transpose(0, 2, 1)

    def pulled(self, X, U):
        """``sum_i J_i' U_i`` (p, k) for U (m, q, k). Cost: a pass forward and k back."""
        inputs, slopes, _ = self._forward(X)
        return self._pulled(inputs, slopes, U)

    def outputs_and_pulled(self, X, derivative):
        """Outputs f (m, q) and ``sum_i J_i' u_i`` (p,) at u = ``derivative(f)`` (m, q): of a loss by its outputs, the
        gradient. Cost: a pass forward and one back."""
        inputs, slopes, outputs = self._forward(X)
        return outputs, self._pulled(inputs, slopes, derivative(outputs)[:, :, None])[:, 0]

    def _pulled(self, inputs, slopes, U):
        deltas, k = self._deltas(slopes, U.transpose(0, 2, 1)), U.shape[2]
        out = np.empty((self.n_params, k))
        for layer, of_weights, of_biases in self._places:
            delta = deltas[layer].transpose(0, 2, 1).reshape(len(U), -1)  # (m, n_out k)
            out[of_weights] = self.weight_scales[layer] * _dense(inputs[layer].T @ delta).reshape(-1, k)
            out[of_biases] = self.bias_scale * delta.sum(axis=0).reshape(-1, k)
        return out

    def pulls(self, X, U):
        """``J_i' u_i`` of each row (p, m), for U (m, q)."""
        inputs, slopes, _ = self._forward(X)
        deltas, out = self._deltas(slopes, U[:, None, :]), np.empty((X.shape[0], self.n_params))
        for layer, of_weights, of_biases in self._places:
            delta = deltas[layer][:, 0]
            outer = self.weight_scales[layer] * _dense(inputs[layer])[:, :, None] * delta[:, None, :]
            out[:, of_weights] = outer.reshape(len(out), -1)
            out[:, of_biases] = self.bias_scale * delta
        return out.T

    # -- products of rows' Jacobians ----------------------------------------------------------------------------------

    def gram(self, X, Z=None, *, weights=True, biases=True):
        """``J_i J_j'`` of rows X (m, d) with rows Z (n, d), by layers: (m q, n q), the outputs of a row side by side.

        ``weights`` and ``biases`` say which parameters count. Z=None is X itself: half the work, and exactly symmetric.
        Cost: for each trained layer m n (n_in + q**2 n_out) operations, two arrays of (m q, n_out), and a block of rows
        of the result.
        """
        symmetric = Z is None
        left = self._layers(X)
        right = left if symmetric else self._layers(Z)
        m, n, q = X.shape[0], (X if symmetric else Z).shape[0], self.n_outputs
        out = np.zeros((m * q, n * q))
        for part in blocks(m, block_size(24 * n * q * q, share=0.25)):
            first = part.start if symmetric else 0
            columns = slice(first * q, n * q)
            tile = out[part.start * q : part.stop * q, columns]
            for (h, D, scale), (g, E, _) in zip(left, right, strict=True):
                inner = np.zeros((part.stop - part.start, n - first))
                if weights:
                    inner += scale**2 * _dense(h[part] @ g[first:].T)
                if biases:
                    inner += self.bias_scale**2
                own = D[part].reshape(-1, D.shape[2]) @ E[first:].reshape(-1, E.shape[2]).T
                own.reshape(len(inner), q, n - first, q)[...] *= inner[:, None, :, None]
                tile += own
            if symmetric:
                square = tile[:, : len(tile)]
                square[...] = np.tril(square) + np.tril(square, -1).T
                out[part.stop * q :, part.start * q : part.stop * q] = tile[:, len(tile) :].T
        return out

    def _layers(self, X):
        """(inputs, derivatives of the outputs by z (m, q, n_out), scale) of each trained layer."""
        inputs, slopes, _ = self._forward(X)
        deltas = self._unit_deltas(slopes, X.shape[0])
        return [
            (inputs[layer], np.ascontiguousarray(deltas[layer]), self.weight_scales[layer]) for layer in self.trained
        ]


def _through(T, W):
    """``T @ W`` for T (m, k, a) and W (a, b): one product, where matmul takes one for each of the m rows."""
    return (T.reshape(-1, T.shape[2]) @ W).reshape(*T.shape[:2], -1)


def _dense(A):
    """A product with sparse rows, as an array."""
    return A.toarray() if sparse.issparse(A) else np.asarray(A)
