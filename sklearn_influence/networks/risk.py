r"""What a network is fitted by: a weighted, penalised sum of losses, as a function of its parameters."""

import numpy as np

from .bending import Bending


class NetworkRisk:
    """``F(theta) = sum_i s_i loss(y_i, f_i(theta)) + 1/2 sum_j penalty_j theta_j**2``, the network itself in f.

    Parameters
    ----------
    network : Network
        Its trained layers are what F is a function of.
    X : ndarray or CSR matrix of shape (n, d)
    y : ndarray
        Targets as the loss takes them.
    loss : Loss
    sample_weight : ndarray of shape (n,)
    penalty : ndarray of shape (p,)
        Second derivative of the penalty.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.losses import SquaredError
    >>> from sklearn_influence.networks import Network, NetworkRisk
    >>> line = Network([np.array([[2.0]])], [np.array([1.0])], "relu")
    >>> risk = NetworkRisk(line, np.array([[1.0]]), np.array([[0.0]]), SquaredError(), np.ones(1), np.zeros(2))
    >>> risk.value_and_gradient(line.params)
    (np.float64(4.5), array([3., 3.]))
    """

    def __init__(self, network, X, y, loss, sample_weight, penalty):
        self.network, self.X, self.y, self.loss = network, X, y, loss
        self.sample_weight, self.penalty = sample_weight, penalty

    def value_and_gradient(self, params):
        """F, and its derivative (p,), at parameters (p,): a pass forward and one back."""
        network, s = self.network.at(params), self.sample_weight
        f, pulled = network.outputs_and_pulled(self.X, lambda f: s[:, None] * self.loss.gradient(self.y, f))
        value = 0.5 * self.penalty @ params**2 + s @ self.loss.value(self.y, f)
        return value, self.penalty * params + pulled

    def curvature(self, params):
        """The second derivative of F at parameters (p,), as a function of (p,) vectors; two passes each way."""
        network, s = self.network.at(params), self.sample_weight[:, None]
        f = network.outputs(self.X)
        W = self.loss.curvature(self.y, f)
        bending = Bending(network, self.X, s * self.loss.gradient(self.y, f))

        def product(v):
            eta = network.times(self.X, v[:, None])[:, :, 0]
            eta = s * (W * eta if W.ndim == 2 else np.einsum("nab,nb->na", W, eta))
            along = network.pulled(self.X, eta[:, :, None]) + bending.matmat(v[:, None])
            return self.penalty * v + along[:, 0]

        return product
