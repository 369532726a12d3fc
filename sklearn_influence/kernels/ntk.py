"""The neural tangent kernel of a fully connected network of infinite width."""

import numpy as np
from scipy import sparse
from scipy.linalg import blas
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from .._backend import array_namespace, to_numpy, turn_up
from .._parallel import block_size, blocks, threads
from .._validation import check_choice, check_count
from .recursion import ACTIVATIONS, layer_variances, propagate, propagate_changes, relu_in_place
from .rows import as_pair, as_rows, check_sigmas, is_device_array, is_float32

TILE = (64, 512)  # the four arrays that a layer works on stay in a cache of 1 MiB
STRIP = 256  # rows that a thread takes at a time


class NeuralTangentKernel(Kernel):
    """The tangent kernel of a fully connected network of infinite width, trained in all its layers and biases.

    A kernel of ``sklearn.gaussian_process.kernels``: it works in GaussianProcessRegressor, KernelRidge, SVC and
    Nystroem, and adds and multiplies with other kernels. A layer computes ``sigma_w W h / sqrt(fan_in) + sigma_b b``
    with all of W and b of variance 1 (the NTK parametrisation). With S = sigma_w^2 X Z' / d + sigma_b^2 and T = S, each
    hidden layer does

        (S, T) <- (k1(S), T k0(S));   S <- sigma_w^2 S + sigma_b^2;   T <- sigma_w^2 T + S

    and T is the kernel, S that of :meth:`nngp`.

    Parameters
    ----------
    depth : int, default=1
        Hidden layers; the output layer comes on top.
    activation : {"relu", "erf"}, default="relu"
    sigma_w : float, default=sqrt(2)
        Standard deviation of the weights, > 0.
    sigma_b : float, default=0.1
        Standard deviation of the biases, >= 0; > 0 where ``sigma_b_bounds`` lets an optimiser move it.
    sigma_w_bounds, sigma_b_bounds : pair of floats or "fixed", default="fixed"
        Bounds of the two as hyper-parameters, which are optimised in logarithms.

    Notes
    -----
    Accuracy: 1e-12 relative in float64, 1e-7 between rows that are nearly collinear (their angle is the root of a
    difference, and below 1e-7 is taken for 0); equal rows and the diagonal are exact. float32 rows are worked on in
    float64 and give a float32 kernel.
    Cost: one product X X' and, per layer, the time of three arctan2 over its upper triangle, on as many threads as
    ``joblib.parallel_config`` says. Memory: the kernel itself.
    Arrays of another array API namespace are worked on where they lie, and sparse rows stay sparse.

    References
    ----------
    Jacot, Gabriel, Hongler, "Neural tangent kernel", Theorem 1. Cho, Saul, "Kernel methods for deep learning",
    Eq. (3)-(6). Williams, "Computing with infinite networks", Eq. (11).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from sklearn_influence import NeuralTangentKernel
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SVC(kernel=NeuralTangentKernel(depth=3)).fit(X[::2], y[::2])
    >>> bool(model.score(X[1::2], y[1::2]) > 0.9)
    True
    """

    def __init__(
        self, depth=1, *, activation="relu", sigma_w=2**0.5, sigma_b=0.1, sigma_w_bounds="fixed", sigma_b_bounds="fixed"
    ):
        self.depth = depth
        self.activation = activation
        self.sigma_w = sigma_w
        self.sigma_b = sigma_b
        self.sigma_w_bounds = sigma_w_bounds
        self.sigma_b_bounds = sigma_b_bounds

    @property
    def hyperparameter_sigma_w(self):
        """sigma_w as an optimiser sees it."""
        return Hyperparameter("sigma_w", "numeric", self.sigma_w_bounds)

    @property
    def hyperparameter_sigma_b(self):
        """sigma_b as an optimiser sees it."""
        return Hyperparameter("sigma_b", "numeric", self.sigma_b_bounds)

    def __call__(self, X, Y=None, eval_gradient=False):
        """The tangent kernel of the rows of X with those of Y.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
        Y : array-like or sparse matrix of shape (m, d), default=None
            None, or X itself: the rows of X with one another, exactly symmetric.
        eval_gradient : bool, default=False

        Returns
        -------
        K : array of shape (n, m)
            float32 where both are, else float64; of X's namespace.
        K_gradient : ndarray of shape (n, n, n_dims)
            With ``eval_gradient``: derivatives by :attr:`theta`, the logarithms of sigma_b and sigma_w where they are
            not fixed.

        Raises
        ------
        ValueError
            For parameters or rows that cannot be used, and for a gradient with Y.

        Examples
        --------
        >>> from sklearn_influence import NeuralTangentKernel
        >>> NeuralTangentKernel(sigma_b=0.0)([[1.0, 0.0], [0.0, 1.0]]).round(4)
        array([[2.    , 0.3183],
               [0.3183, 2.    ]])
        """
        if not eval_gradient:
            return self._matrix(X, Y, tangent=True)
        if Y is not None and Y is not X:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        K = self._matrix(X, None, tangent=True)
        return K, self._gradient(as_rows(X), K.dtype)

    def nngp(self, X, Y=None):
        """The kernel of the same network untrained, as a Gaussian process: S in place of T.

        Parameters
        ----------
        X, Y : as in calling the kernel

        Returns
        -------
        S : array of shape (n, m)

        Examples
        --------
        >>> from sklearn_influence import NeuralTangentKernel
        >>> NeuralTangentKernel(sigma_b=0.0).nngp([[1.0, 0.0], [0.0, 1.0]]).round(4)
        array([[1.    , 0.3183],
               [0.3183, 1.    ]])
        """
        return self._matrix(X, Y, tangent=False)

    def diag(self, X):
        """The kernel of each row with itself, (n,), in time n d.

        Examples
        --------
        >>> from sklearn_influence import NeuralTangentKernel
        >>> NeuralTangentKernel(sigma_b=0.0).diag([[1.0, 0.0], [2.0, 0.0]]).round(4)
        array([2., 8.])
        """
        self._checked()
        X = as_rows(X)
        return _as_dtype(self._variances(X)[-1], X)

    def is_stationary(self):
        """False: the kernel knows where the origin is."""
        return False

    def __repr__(self):
        return (
            f"NeuralTangentKernel(depth={self.depth}, activation={self.activation!r}, sigma_w={self.sigma_w:.3g}, "
            f"sigma_b={self.sigma_b:.3g})"
        )

    def _checked(self):
        """The activation, once every parameter is known to make sense."""
        check_count("depth", self.depth)
        check_choice("activation", self.activation, tuple(ACTIVATIONS))
        check_sigmas(self.sigma_w, self.sigma_b)
        if not self.sigma_b and not self.hyperparameter_sigma_b.fixed:
            raise ValueError(
                f"sigma_b=0 has no logarithm to optimise within sigma_b_bounds={self.sigma_b_bounds!r}. Give a "
                "sigma_b > 0, or leave sigma_b_bounds='fixed'."
            )
        return ACTIVATIONS[self.activation]

    def _variances(self, X):
        """Variances of rows at each hidden layer, and the diagonals of both kernels (:func:`layer_variances`)."""
        if sparse.issparse(X):
            xp, squares = np, np.asarray(X.multiply(X).sum(axis=1, dtype=np.float64)).ravel()
        elif is_device_array(X):
            xp = array_namespace(X)
            squares = xp.sum(xp.astype(X, xp.float64) ** 2, axis=1)
        else:
            xp, squares = np, np.einsum("nd,nd->n", X, X, dtype=np.float64)
        v = squares * (self.sigma_w**2 / X.shape[1]) + self.sigma_b**2
        return layer_variances(xp, v, ACTIVATIONS[self.activation], self.depth, self.sigma_w, self.sigma_b)

    def _matrix(self, X, Y, tangent):
        """T, or S where not ``tangent``, of rows X with rows Y, as float32 where both are."""
        self._checked()
        X, Y = as_pair(X, Y)
        rows = self._variances(X)
        columns = rows if Y is None else self._variances(Y)
        diagonal = rows[2 if tangent else 1] if Y is None else None
        if is_device_array(X):
            return self._on_device(X, Y, rows[0], columns[0], diagonal, tangent)
        K = np.zeros((X.shape[0], (X if Y is None else Y).shape[0]), np.float32 if is_float32(X, Y) else np.float64)
        for top, S in self._products(X, Y, K):
            left = top if Y is None else 0  # what S has for its first row and column

            def work(strip, top=top, left=left, S=S):
                own = slice(top + strip.start, top + strip.stop)
                first = own.start if Y is None else 0
                tiles = S[strip, first - left :]
                self._layers(tiles, [v[own] for v in rows[0]], [u[first:] for u in columns[0]], tangent)
                if S is not K:
                    K[own, first:] = tiles
                if Y is None:
                    K[own.stop :, own] = K[own, own.stop :].T
                    turn_up(K[own, own].T)

            threads(work, blocks(len(S), STRIP), None)
        if Y is None:
            np.fill_diagonal(K, diagonal)
        return K

    def _products(self, X, Y, K):
        """Panels ``(first row, sigma_w^2 X Y' / d)``, float64 and free to be written on; K itself where it can be.

        The rows with one another: from the panel's first row on, and only what lies above the diagonal counts.
        """
        scale = self.sigma_w**2 / X.shape[1]
        whole = K.dtype == np.float64 and not sparse.issparse(X) and not sparse.issparse(Y)
        if whole and Y is None:
            blas.dsyrk(scale, np.asarray(X, order="C").T, trans=1, lower=1, c=K.T, overwrite_c=1)
            yield 0, K
            return
        right = X if Y is None else Y
        right = (right if sparse.issparse(right) else np.asarray(right, dtype=np.float64)).T
        if whole:
            np.matmul(scale * X, right, out=K)
            yield 0, K
            return
        for panel in blocks(len(K), block_size(8 * K.shape[1], share=0.25, smallest=STRIP)):
            S = scale * X[panel].astype(np.float64) @ right[:, panel.start if Y is None else 0 :]
            yield panel.start, S.toarray() if sparse.issparse(S) else S

    def _layers(self, S, rows, columns, tangent):
        """Take the products through the biases and the layers in place, tile by tile."""
        for i in blocks(S.shape[0], TILE[0]):
            for j in blocks(S.shape[1], TILE[1]):
                v, u = [v[i] for v in rows], [u[j] for u in columns]
                if self.activation == "relu":
                    S[i, j] = self._relu_tile(S[i, j], v, u, tangent)
                else:
                    S[i, j] = self._propagate(np, S[i, j] + self.sigma_b**2, v, u)[int(tangent)]

    def _relu_tile(self, S, rows, columns, tangent):
        """In units of ``scale``, so that the factor of each layer costs no pass."""
        N = np.subtract(-(self.sigma_b**2), S)
        U, w, c = np.empty((3, *N.shape))
        scale = 1.0
        for layer, (v, u) in enumerate(zip(rows, columns, strict=True)):
            np.multiply(v[:, None] / scale, u / scale, out=w)
            relu_in_place(N, U, w, c, v.max() / scale * u.max() / scale, layer == 0)
            scale *= self.sigma_w**2 / (2 * np.pi)
            if not 1e-50 < scale < 1e50:
                N *= scale
                U *= scale
                scale = 1.0
            N -= self.sigma_b**2 / scale
            U += N
        return np.multiply(U if tangent else N, -scale, out=U)

    def _propagate(self, xp, S, rows, columns):
        return propagate(xp, S, rows, columns, ACTIVATIONS[self.activation], self.sigma_w, self.sigma_b)

    def _on_device(self, X, Y, rows, columns, diagonal, tangent):
        """The kernel in X's own namespace, by blocks of rows; float64 until the end."""
        xp = array_namespace(X) if Y is None else array_namespace(X, Y)
        dtype = xp.float32 if is_float32(X, Y) else xp.float64
        left = xp.astype(X, xp.float64) * (self.sigma_w**2 / X.shape[1])
        right = xp.matrix_transpose(xp.astype(X if Y is None else Y, xp.float64))
        parts = []
        for block in blocks(X.shape[0], block_size(64 * right.shape[1])):  # eight arrays in flight
            S = left[block, :] @ right + self.sigma_b**2
            S = self._propagate(xp, S, [v[block] for v in rows], columns)[int(tangent)]
            parts.append(xp.astype(S, dtype, copy=False))
        K = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
        if Y is None:
            i = xp.arange(K.shape[0])
            K = xp.where(i[:, None] <= i[None, :], K, xp.matrix_transpose(K))
            K = xp.where(i[:, None] == i[None, :], xp.astype(diagonal, dtype)[:, None], K)
        return K

    def _gradient(self, X, dtype):
        """Derivatives of the kernel by theta, (n, n, n_dims)."""
        free = [h.name for h in self.hyperparameters if not h.fixed]
        X = to_numpy(X) if not sparse.issparse(X) else X
        n = X.shape[0]
        gradient = np.empty((n, n, len(free)), dtype=dtype)
        if not free:
            return gradient
        S = np.empty((n, n))
        for top, part in self._products(X, X, S):
            S[top : top + len(part)] = part
        v = self._variances(X)[0][0]
        dual = (ACTIVATIONS[self.activation], self.depth, self.sigma_w, self.sigma_b)
        for axis, name in enumerate(free):
            by_w = name == "sigma_w"
            sigma, scale, lift = getattr(self, name), 2 / self.sigma_w * by_w, 2 * self.sigma_b * (not by_w)
            dv = scale * (v - self.sigma_b**2) + lift
            for rows in blocks(n, block_size(128 * n)):  # sixteen arrays in flight
                part = (S[rows] + self.sigma_b**2, v[rows, None], v, scale * S[rows] + lift, dv[rows, None], dv)
                gradient[rows, :, axis] = sigma * propagate_changes(*part, *dual, name)
            gradient[np.arange(n), np.arange(n), axis] = sigma * propagate_changes(v, v, v, dv, dv, dv, *dual, name)
        return gradient


def _as_dtype(array, like):
    """An array of float64 as ``like`` is."""
    return array_namespace(array).astype(array, array_namespace(array).float32) if is_float32(like) else array
