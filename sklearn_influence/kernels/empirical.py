"""The tangent kernel of a network of finite width, at the weights that it has."""

import sys

import numpy as np
from scipy import sparse
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

from .._backend import check_memory
from .._parallel import block_size, blocks
from .._validation import as_numbers, count_rows, take_rows
from ..networks import Network
from .rows import as_rows
from .torch_jacobian import TorchJacobian

TAKEN = (
    "a fitted MLPClassifier or MLPRegressor, a fitted LinearisedClassifier or LinearisedRegressor, a torch.nn.Module, "
    "or a function that returns the Jacobian of the rows it is given"
)


def empirical_ntk(model, X, Z=None):
    r"""The tangent kernel of a network as it stands: products of its outputs' derivatives by its parameters.

    With ``J_i`` (q, p) the derivative of the q outputs of row i by the p parameters, the kernel of rows i and j is
    ``J_i J_j'``. A model that is linearised at these parameters is the kernel model of it.
    :class:`~sklearn_influence.NeuralTangentKernel` is its limit where all layers are wide, with a difference that falls
    as one over the root of the width.

    Parameters
    ----------
    model : estimator, torch.nn.Module or callable
        * A fitted ``MLPClassifier`` or ``MLPRegressor``: at its weights, of its raw outputs (one for two classes), by
          all weights and biases.
        * A fitted ``LinearisedClassifier`` or ``LinearisedRegressor``: at the weights that it is linearised around.
        * A ``torch.nn.Module`` (needs the extra "torch"): by its parameters that require a gradient, on the device that
          they lie on, in double precision whatever theirs. It is called on one row at a time, with a leading axis of 1,
          and the rest of its outputs is flattened. Neither it nor its parameters or mode change. In training mode,
          layers that need a batch or chance (batch normalisation, dropout) are refused: call ``module.eval()`` first.
        * A function of k rows that returns their Jacobian, (k, p) or (k, q, p). It is called on blocks of rows, more
          than once on each row where not all Jacobians fit into ``working_memory``.
    X : array-like of shape (n, d), sparse too for an estimator
        For a module or a function rows of any shape: images, say, (n, channels, height, width).
    Z : the same, m rows, default=None
        None, or X itself: the rows of X with one another, exactly symmetric and half the work.

    Returns
    -------
    K : ndarray of shape (n, m), or (n, m, q, q) for q > 1 outputs
        float64. ``K[i, j, a, b]`` is the product of output a of row i with output b of row j.

    Raises
    ------
    ValueError
        For rows that cannot be used, a Jacobian of another shape, and a result larger than the machine's memory.
    TypeError
        For a model of another kind.
    NotFittedError

    Notes
    -----
    Accuracy: rounding, 1e-12 relative.
    Cost: estimators by layers, without a Jacobian: ``n m (n_in + q**2 n_out)`` operations for each. Others the
    Jacobians, in blocks within scikit-learn's ``working_memory``, and ``n m p q**2``. Memory: the kernel itself.

    References
    ----------
    Jacot, Gabriel, Hongler, "Neural tangent kernel", Section 4. "Extending Kernel Trick to Influence Functions" (Sun et
    al.), Eq. 5, where it is the K of a finite network.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from sklearn_influence.kernels import empirical_ntk
    >>> X, y = load_iris(return_X_y=True)
    >>> network = MLPClassifier((20,), max_iter=50, tol=0.1, random_state=0).fit(X, y)
    >>> empirical_ntk(network, X[:5], X[5:7]).shape
    (5, 2, 3, 3)

    A function: the derivative of ``a x + b`` by a and b.

    >>> empirical_ntk(lambda x: np.hstack([x, np.ones_like(x)]), np.array([[1.0], [2.0]]))
    array([[2., 3.],
           [3., 5.]])
    """
    Z = None if Z is X else Z
    network = _network(model)
    if network is not None:
        return _of_layers(network, X, Z)
    torch = sys.modules.get("torch")  # whoever has a module has imported it
    if torch is not None and isinstance(model, torch.nn.Module):
        return _of_jacobian(TorchJacobian(model), X, Z)
    if callable(model) and not isinstance(model, type):
        return _of_jacobian(_Function(model), X, Z)
    raise TypeError(
        f"empirical_ntk knows no Jacobian of {model!r:.80}: it takes {TAKEN}. Of a pipeline pass the last step, and "
        "rows that went through the steps before it."
    )


def _network(model):
    """The network that an estimator holds, or None."""
    if isinstance(model, Network):
        return model
    if isinstance(model, (MLPClassifier, MLPRegressor)):
        check_is_fitted(model, "coefs_")
        return Network(model.coefs_, model.intercepts_, model.activation)
    if isinstance(getattr(model, "network_", None), Network):
        return model.network_
    if hasattr(model, "hidden_layer_sizes") and not isinstance(model, type):  # one that is linearised, and not fitted
        check_is_fitted(model, "network_")
    return None


def _of_layers(network, X, Z):
    X, Z = (None if rows is None else as_rows(rows, name) for name, rows in (("X", X), ("Z", Z)))
    for name, rows in (("X", X), ("Z", Z)):
        if rows is not None and rows.shape[1] != network.n_features:
            raise ValueError(
                f"{name} must have the {network.n_features} columns that the network takes, got {rows.shape[1]}."
            )
    q = network.n_outputs
    _check_size(X.shape[0], (X if Z is None else Z).shape[0], q)
    # float32 rows would be multiplied with one another in single precision.
    return _by_rows(network.gram(*(None if rows is None else rows.astype(np.float64) for rows in (X, Z))), q)


def _of_jacobian(jacobian, X, Z):
    """From Jacobians of rows: those of a large block of rows are kept while smaller ones pass by."""
    X = jacobian.rows(X, "X")
    others = X if Z is None else jacobian.rows(Z, "Z")
    n, m = count_rows(X), count_rows(others)
    q, p = jacobian(X, slice(0, 1)).shape[1:]
    _check_size(n, m, q)
    K = np.empty((n * q, m * q))
    kept, passing = block_size(8 * q * p, share=0.5), block_size(jacobian.bytes_per_row(q, p), share=0.25)
    for block in blocks(n, kept):
        left = jacobian.empty((block.stop - block.start, q, p))
        for part in blocks(len(left), passing):
            left[part] = jacobian(X, slice(block.start + part.start, block.start + part.stop))
        left = left.reshape(-1, p)
        rows, first = slice(block.start * q, block.stop * q), 0
        if Z is None:
            square = _numpy(left @ left.T)
            K[rows, rows] = np.tril(square) + np.tril(square, -1).T
            first = block.stop
        for part in blocks(m - first, passing):
            part = slice(first + part.start, first + part.stop)
            columns = slice(part.start * q, part.stop * q)
            K[rows, columns] = _numpy(left @ jacobian(others, part).reshape(-1, p).T)
            if Z is None:
                K[columns, rows] = K[rows, columns].T
    return _by_rows(K, q)


def _check_size(n, m, q):
    what = f"The kernel of {n:,} rows with {m:,}" + (f" and {q} outputs" if q > 1 else "")
    check_memory(8 * n * m * q**2, what, "Pass fewer rows at a time.")


def _by_rows(K, q):
    """(n q, m q), the outputs of a row side by side, as (n, m) or (n, m, q, q), without a copy."""
    n, m = (size // q for size in K.shape)
    return K if q == 1 else K.reshape(n, q, m, q).transpose(0, 2, 1, 3)


def _numpy(tile):
    return tile if isinstance(tile, np.ndarray) else tile.cpu().numpy()


class _Function:
    """A user's function of rows as their Jacobians (k, q, p), checked."""

    def __init__(self, function):
        self.function, self.shape = function, None

    def rows(self, X, what):
        """Rows in the container that they are in, or an array."""
        X = X.tocsr() if sparse.issparse(X) else X if hasattr(X, "shape") else np.asarray(X)
        if not count_rows(X):
            raise ValueError(f"{what} must hold at least one row, along its first axis; got {X!r:.80}.")
        return X

    def empty(self, shape):
        return np.empty(shape)

    def bytes_per_row(self, q, p):
        return 8 * q * p

    def __call__(self, X, part):
        J = as_numbers(self.function(take_rows(X, np.arange(part.start, part.stop))), "The Jacobian")
        k = part.stop - part.start
        if J.ndim not in (2, 3) or len(J) != k:
            raise ValueError(
                f"The function must return the Jacobian of each of the rows that it is given, of shape ({k}, n_params) "
                f"or ({k}, n_outputs, n_params) for these {k}; got {J.shape}."
            )
        J = J.reshape(k, -1, J.shape[-1])
        self.shape = self.shape or J.shape[1:]
        if J.shape[1:] != self.shape:
            raise ValueError(
                f"The function must return as many outputs and parameters for all rows: got {J.shape[1:]} after "
                f"{self.shape}."
            )
        if not np.isfinite(J).all():
            raise ValueError("The Jacobian must not hold NaN or infinity.")
        return J
