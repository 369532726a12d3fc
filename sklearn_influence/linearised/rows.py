r"""Rows of a model whose outputs are linear in its parameters, ``f_i = f0_i + J_i theta``, with any Jacobian.

The words are those of a design matrix, with J_i (q, p) where that has one row of features for every output.
"""

import copy
from functools import cached_property

import numpy as np
from scipy import sparse

from .._parallel import block_size, blocks
from ..networks.features import jacobian_slopes, output_slopes

# The part of the working memory for blocks of Jacobians.
_SHARE = 1 / 8
# Activations that pass on what they get as it is, where they pass it on.
_LINEAR = ("identity", "relu")
# Jacobians of a block, in numbers: symmetric products run at their rate from here on, and a copy stays near the cache.
_BLOCK = 2**23


class Rows:
    """What rows offer whatever their Jacobians are made of: a block of them is :meth:`jacobian`.

    Attributes
    ----------
    n_rows, n_features, n_outputs : int
        ``n_features`` are those of the inputs.
    width : int
        Parameters, p.
    offsets : ndarray of shape (n, q)
        f0.
    """

    fit_intercept = is_sparse = False  # free parameters are among the others, and Jacobians are dense
    device, dtype = "cpu", np.dtype(np.float64)
    movable = False  # to another device

    @property
    def n_entries(self):
        """Numbers of the Jacobians, over q: what an output's part of a product costs."""
        return self.n_rows * self.width

    @property
    def operations(self):
        """Floating-point operations of a product ``J' J v`` of all rows."""
        return 4 * self.n_rows * self.n_outputs * self.width

    def in_double(self):
        return self

    def blocks(self):
        """Slices of rows whose Jacobians fit a block."""
        size = block_size(32 * self.n_outputs * self.width, share=_SHARE)
        return blocks(self.n_rows, min(size, max(_BLOCK // (self.n_outputs * self.width), 1)))

    def jacobians(self):
        """Blocks of rows in turn: ``(slice, J of shape (m, q, p))``, which the caller must not change."""
        for part in self.blocks():
            yield part, self.take(part).jacobian()

    def absolute_tdot(self, U):
        """``sum_i |J_i|' U_i`` (p, k) for U of shape (n, q, k): what rounding of a sum over rows can amount to."""
        out = np.zeros((self.width, U.shape[2]))
        for part, J in self.jacobians():
            out += np.abs(J).reshape(-1, self.width).T @ U[part].reshape(-1, U.shape[2])
        return out

    def norms(self):
        """Largest singular value of each J_i: (n,). Kept once known."""
        return self._norms

    @cached_property
    def _norms(self):
        out = np.empty(self.n_rows)
        for part, J in self.jacobians():
            out[part] = np.sqrt(np.maximum(np.linalg.eigvalsh(J @ J.transpose(0, 2, 1))[:, -1], 0.0))
        return out

    def moving(self):
        """(p,): whether each parameter moves an output of any row."""
        out = np.zeros(self.width, bool)
        for _, J in self.jacobians():
            out |= J.any(axis=(0, 1))
        return out

    def flats(self, shift_invariant):
        """Directions that are known to move no output of any row, or all of a row's alike where the loss does not see
        that: the k parameters that they concern, and the directions (k, r)."""
        return np.zeros(0, dtype=np.intp), np.zeros((0, 0))

    def pulled_onto(self, U, onto, out=None):
        """``onto' J_i' u_i`` (c, n) for U (n, q) and onto (p, c), into ``out`` where given."""
        out = np.empty((onto.shape[1], self.n_rows)) if out is None else out
        for part in blocks(self.n_rows, block_size(32 * self.width, share=_SHARE)):
            np.matmul(onto.T, self.take(part).pulls(U[part]), out=out[:, part])
        return out

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_norms"}


class ArrayRows(Rows):
    """Rows whose Jacobians are held.

    Parameters
    ----------
    J : ndarray of shape (n, q, p)
    offsets : ndarray of shape (n, q), optional
        f0; zeros by default.
    behind : NetworkRows, optional
        The same rows of a network whose biases are the last parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.linearised import ArrayRows
    >>> ArrayRows(np.array([[[1.0, 2.0]], [[3.0, 4.0]]])).dot(np.array([[1.0], [1.0]]))[:, :, 0]
    array([[3.],
           [7.]])
    """

    def __init__(self, J, offsets=None, behind=None):
        self._J = J
        self.n_rows, self.n_outputs, self.width = J.shape
        self.n_features = self.width
        self.offsets = np.zeros(J.shape[:2]) if offsets is None else offsets
        self._behind = behind

    def jacobian(self):
        return self._J

    def flats(self, shift_invariant):
        if self._behind is None:
            return super().flats(shift_invariant)
        places, V = self._behind.flats(shift_invariant)
        return places + self.width - self._behind.width, V

    def take(self, rows):
        return ArrayRows(self._J[rows], self.offsets[rows], None if self._behind is None else self._behind.take(rows))

    def reading(self, rows):
        """Rows that are ArrayRows already: there are no features to make Jacobians of."""
        return rows

    def replace(self, positions, rows):
        J, offsets = self._J.copy(), self.offsets.copy()
        J[positions], offsets[positions] = rows.jacobian(), rows.offsets
        return ArrayRows(J, offsets)

    def append(self, rows):
        J, offsets = np.concatenate([self._J, rows.jacobian()]), np.concatenate([self.offsets, rows.offsets])
        return ArrayRows(J, offsets)

    def perturbation_gradients(self, u, V, onto, params):
        raise ValueError("Jacobians that are held as arrays have no derivative by the inputs of their rows.")

    def dot(self, V):
        """``J_i V`` (n, q, k) for V (p, k)."""
        return (self._J.reshape(-1, self.width) @ V).reshape(self.n_rows, self.n_outputs, -1)

    def tdot(self, U):
        """``sum_i J_i' U_i`` (p, k) for U (n, q, k)."""
        return self._J.reshape(-1, self.width).T @ U.reshape(-1, U.shape[2])

    def pulls(self, U):
        """``J_i' u_i`` of each row (p, n) for U (n, q)."""
        return np.matmul(U[:, None, :], self._J)[:, 0].T


class NetworkRows(Rows):
    """Rows of a network linearised at its weights, whose Jacobians are made as they are needed.

    Parameters
    ----------
    network : Network
    X : ndarray or CSR matrix of shape (n, d)
    start : ndarray of shape (p,), optional
        The parameters at which the outputs are the network's own; zeros by default, of parameters that are
        differences from the network's. ``network.params`` where they are the weights themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.linearised import NetworkRows
    >>> from sklearn_influence.networks import Network
    >>> network = Network([np.array([[2.0]])], [np.array([1.0])], "relu")
    >>> NetworkRows(network, np.array([[4.0]])).offsets
    array([[9.]])
    >>> NetworkRows(network, np.array([[4.0]]), network.params).offsets
    array([[0.]])
    """

    def __init__(self, network, X, start=None):
        self.network, self.X, self.start = network, X.tocsr() if sparse.issparse(X) else X, start
        self.n_rows, self.n_features = X.shape
        self.n_outputs, self.width = network.n_outputs, network.n_params

    @cached_property
    def offsets(self):
        out = np.empty((self.n_rows, self.n_outputs))
        for part in self._passes(2):
            out[part] = self.network.outputs(self.X[part])
            if self.start is not None:
                out[part] -= self.network.times(self.X[part], self.start[:, None])[:, :, 0]
        return out

    def _passes(self, k):
        """Slices of rows whose passes with k vectors fit the working memory."""
        units = self.n_features + sum(W.shape[1] for W in self.network.weights)
        return blocks(self.n_rows, block_size(32 * units * (1 + k), share=_SHARE))

    @property
    def operations(self):
        # Forward twice, with the values and with the vector, and back: a layer's outputs share what is before it.
        return 8 * self.n_rows * self.width

    def jacobian(self):
        return self.network.jacobian(self.X)

    def moving(self):
        """As of other rows, of the biases; weights count as moving."""
        out = np.ones(self.width, bool)
        biases = out[self.network.n_weights :]
        biases[:] = False
        for part in blocks(self.n_rows, block_size(32 * self.n_outputs * len(biases), share=_SHARE)):
            biases |= self.network.bias_jacobian(self.X[part]).any(axis=(0, 1))
        return out

    def flats(self, shift_invariant):
        """The common shift of the outputs' biases; and the bias of a unit that passes every row on as it is, such as a
        relu unit that all rows activate, against those of the next layer, which do the same."""
        network, directions = self.network, []
        biases = {layer: of_biases for layer, _, of_biases in network._places}
        last = len(network.weights) - 1
        if shift_invariant and last in biases:
            directions.append(np.zeros(self.width - network.n_weights))
            directions[0][biases[last].start - network.n_weights :] = 1.0
        for layer, units in enumerate(self._passing()):
            for unit in units if layer in biases and layer + 1 in biases else ():
                v = np.zeros(self.width)
                v[biases[layer].start + unit] = 1.0
                v[biases[layer + 1]] = -network.weight_scales[layer + 1] * network.weights[layer + 1][unit]
                directions.append(v[network.n_weights :])
        places = np.arange(network.n_weights, self.width)
        return places, np.array(directions).reshape(len(directions), len(places)).T

    def _passing(self):
        """Of each hidden layer the units through which every row passes as it is."""
        passing = [np.ones(W.shape[1], bool) for W in self.network.weights[:-1]]
        for part in self._passes(1):
            _, slopes, _ = self.network._forward(self.X[part])
            for units, slope in zip(passing, slopes, strict=True):
                units &= (slope == 1.0).all(axis=0)
        return [np.flatnonzero(units) for units in passing] if self.network.activation in _LINEAR else []

    def take(self, rows):
        other = copy.copy(self)
        other.X = self.X[rows]
        other.n_rows = other.X.shape[0]
        for name in {"offsets", "_norms"} & self.__dict__.keys():
            other.__dict__[name] = self.__dict__[name][rows]
        return other

    def reading(self, X):
        return NetworkRows(self.network, X, self.start)

    def replace(self, positions, X):
        rows = self.reading(self.X.copy())
        if sparse.issparse(rows.X):
            rows.X = rows.X.tolil()
            rows.X[positions] = X
            rows.X = rows.X.tocsr()
        else:
            rows.X[positions] = X.toarray() if sparse.issparse(X) else X
        if "offsets" in self.__dict__:
            rows.offsets = self.offsets.copy()
            rows.offsets[positions] = self.reading(X).offsets
        return rows

    def append(self, X):
        if sparse.issparse(self.X):
            return self.reading(sparse.vstack([self.X, X], format="csr"))
        return self.reading(np.vstack([self.X, X.toarray() if sparse.issparse(X) else X]))

    def dot(self, V):
        """``J_i V`` (n, q, k) for V (p, k). Cost: 1 + k passes forward."""
        out = np.empty((self.n_rows, self.n_outputs, V.shape[1]))
        for part in self._passes(V.shape[1]):
            out[part] = self.network.times(self.X[part], V)
        return out

    def tdot(self, U):
        """``sum_i J_i' U_i`` (p, k) for U (n, q, k). Cost: a pass forward and k back."""
        out = np.zeros((self.width, U.shape[2]))
        for part in self._passes(U.shape[2]):
            out += self.network.pulled(self.X[part], U[part])
        return out

    def pulls(self, U):
        """``J_i' u_i`` of each row (p, n) for U (n, q)."""
        return self.network.pulls(self.X, U)

    def perturbation_gradients(self, u, V, onto, params):
        """``onto' d(J_i' u_i)/dx``, u_i (n, q) at the outputs ``f0_i + J_i params``: (n, c, d).

        Of two terms: the change of J_i, and that of u_i, by ``V_i = W_i J_i onto`` (n, q, c) along the outputs' own.
        """
        out = np.empty((self.n_rows, onto.shape[1], self.n_features))
        moved = params if self.start is None else params - self.start
        for part in self._passes(4 * onto.shape[1]):
            X = self.X[part]
            out[part] = jacobian_slopes(self.network, X, onto, u[part, :, None])
            out[part] += output_slopes(self.network, X, V[part])
            if moved.any():
                out[part] += jacobian_slopes(self.network, X, moved[:, None], V[part])
        return out
