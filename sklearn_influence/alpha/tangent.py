r"""The tangent kernel of a network at fixed weights: linearised networks as kernel models.

Around theta0 a network's outputs are ``f(x) = f(x; theta0) + J(x) (theta - theta0)``, J (q, p) its Jacobian there. A
penalty ``rho/2 |theta - theta0|^2`` on all of them makes it the kernel model of ``K = J J'``, which mixes the outputs:
``theta - theta0 = J'a`` and the penalty is ``rho/2 a'K a``.

Source: "Extending Kernel Trick to Influence Functions" (Sun et al.), Proposition 3.1 and Eq. 5-7; Jacot, Gabriel and
Hongler (2018).
"""

import numpy as np

from .._backend import check_memory, on_device
from ..linearised.rows import NetworkRows
from .gram import Gram


class TangentGram(Gram):
    """The tangent kernel's values between training points: ``J_i J_j'``, (q, q) for each pair.

    Parameters
    ----------
    network : Network
        At theta0.
    X : ndarray or CSR matrix of shape (n, d)
    device : {"cpu", "cuda"}
        Where the matrix lies and is worked with; it is made on the CPU, by layers.

    Attributes
    ----------
    matrix : array of shape (n q, n q)
        The outputs of a point beside one another; computed when it is first needed, and in no pickle.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.alpha.tangent import TangentGram
    >>> from sklearn_influence.networks import Network
    >>> line = Network([np.array([[2.0], [3.0]])], [np.array([1.0])], "relu")
    >>> gram = TangentGram(line, np.array([[1.0, 1.0], [4.0, 5.0]]))
    >>> gram.matrix  # x'z + 1
    array([[ 3., 10.],
           [10., 42.]])
    >>> gram.start(), gram.to_features(np.array([[1.0], [0.0]])).ravel()
    (array([[ 6.],
           [24.]]), array([1., 1., 1.]))
    """

    featured = True
    precomputed = False

    def __init__(self, network, X, device="cpu"):
        self.network, self.X, self.device = network, X, device
        self._matrix = self._start = None

    def __getstate__(self):
        return {**super().__getstate__(), "_start": None}

    @property
    def width(self):
        return self.network.n_outputs

    def _check_memory(self):
        n, q = len(self), self.width
        check_memory(
            8 * self.size**2,
            f"The tangent kernel of {n:,} rows with {q} output(s)",
            "Use fewer rows, or representation='primal', whose unknowns are the weights.",
        )

    def _values(self, X, Z, device=None):
        values = self.network.gram(X, None if Z is X else Z)
        return on_device(values, self.device if device is None else device)

    def start(self, X=None):
        """The network's own outputs (m, q), which retraining keeps."""
        if X is not None:
            return NetworkRows(self.network, X).offsets
        if self._start is None:
            self._start = NetworkRows(self.network, self.X).offsets
        return self._start

    def take(self, kept):
        kept = np.arange(len(self))[kept]
        other = super().take(kept)
        other._start = None if self._start is None else self._start[kept]
        return other

    def replace(self, rows, X):
        other = super().replace(rows, X)
        other._start = None
        return other

    def append(self, X):
        other = super().append(X)
        other._start = None
        return other

    # -- the network's parameters -------------------------------------------------------------------------------------

    def to_features(self, alpha):
        """``J' alpha`` (p, k) for coefficients (n q, k): ways of the network's parameters from theta0."""
        return NetworkRows(self.network, self.X).tdot(alpha.reshape(len(self), self.width, -1))

    def features_of(self, X, V):
        """``J V`` (m, q, k) of rows X under ways V (p, k) of the parameters."""
        return NetworkRows(self.network, X).dot(V)

    def times(self, B):
        moved = self.moved(self.X, B) if self._matrix is None else None  # a matrix is made for a solve, not for this
        return super().times(B) if moved is None else moved

    def moved(self, X, B):
        """``J(X) J' B`` (m, q, k) for coefficients B (n, q, k), where passes through the network cost less than kernel
        values; None otherwise."""
        n, m, k = len(self), X.shape[0], B.shape[2]
        if (n + m) * k * self._pass > m * n * self._pair:
            return None
        return self.features_of(X, self.to_features(B.reshape(self.size, k)))

    @property
    def _pass(self):
        """Operations of a row's product with its Jacobian, or with its transpose, for one column."""
        return 4 * self.network.n_params

    @property
    def _pair(self):
        """Operations of the kernel's values of a pair of rows."""
        q, weights = self.width, self.network.weights
        return 2 * sum(weights[i].shape[0] + q * q * weights[i].shape[1] for i in self.network.trained)
