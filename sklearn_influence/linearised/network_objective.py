r"""A network's own objective, around which influences of its rows are taken.

Its outputs, gradients and values are the network's at whatever parameters; products with Jacobians are those at the
parameters that it stands at. Of the second derivative it has two: the Gauss-Newton curvature, of the network
linearised there, which is positive anywhere, and the exact one, which is so at a minimum and says what a refit does.
"""

import copy

import numpy as np

from .._parallel import block_size, blocks
from ..networks import Bending, NetworkRisk
from .curvature import GaussNewton
from .objective import JacobianObjective
from .rows import NetworkRows

# Columns of the exact second derivative that are multiplied out together.
_COLUMNS = 256
# The square of what rounding leaves of a weight that has shrunk to 0.
_DEAD = 1e-18


class NetworkObjective(JacobianObjective):
    """``sum_i s_i loss(y_i, f_i(theta)) + 1/2 sum penalty * theta**2`` of a network f.

    Parameters
    ----------
    network : Network
        At the parameters that the objective stands at.
    X : ndarray or CSR matrix of shape (n, d)
    y, loss, weighting, penalty
        As in :class:`JacobianObjective`.
    exact : bool
        Whether :meth:`curvature` is the exact second derivative, for a minimum; otherwise that of Gauss and Newton.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.linearised import NetworkObjective
    >>> from sklearn_influence.losses import SquaredError
    >>> from sklearn_influence.networks import Network
    >>> from sklearn_influence.objective import Weighting
    >>> network = Network([np.array([[2.0]])], [np.array([1.0])], "tanh")
    >>> X, y = np.array([[1.0]]), np.array([[0.0]])
    >>> NetworkObjective(network, X, y, SquaredError(), Weighting(np.ones(1)), np.ones(2)).gradient()
    array([5., 4.])
    """

    def __init__(self, network, X, y, loss, weighting, penalty, exact=False):
        super().__init__(NetworkRows(network, X, network.params), y, loss, weighting, penalty, network.params)
        self.exact = exact

    @property
    def network(self):
        return self.design.network

    def with_(self, *, sample_weight=None, params=None):
        other = super().with_(sample_weight=sample_weight, params=params)
        if params is not None:  # what is cached of the rows belongs to the weights before
            network = self.network.at(params)
            other.design = NetworkRows(network, self.design.X, network.params)
        return other

    def as_exact(self, exact=True):
        """The same objective with the other curvature."""
        other = copy.copy(self)
        other.exact = exact
        return other

    def rounded(self, corner):
        """The same objective of a network with relu's corner rounded."""
        network = self.network.rounded(corner)
        other = copy.copy(self).with_(params=self.params)
        other.design = NetworkRows(network, self.design.X, network.params)
        return other

    def risk(self):
        """The objective as a function of all parameters."""
        network, X, s = self.network, self.design.X, self.sample_weight
        return NetworkRisk(network, X, self.y, self.loss, s, self.penalty[0])

    def outputs(self, X=None):
        # Not f0 + J theta, which is the same and rounds more.
        if X is None:
            return self._outputs
        out = np.empty((X.n_rows, self.n_outputs))
        for part in blocks(X.n_rows, block_size(32 * X.width, share=0.25)):
            out[part] = self.network.outputs(X.X[part])
        return out

    def curvature(self, kind="hessian"):
        curvature = super().curvature(kind)
        if not self.exact:
            return curvature
        U = self.sample_weight[:, None] * self._gradient_by_output
        return ExactCurvature(curvature, Bending(self.network, self.design.X, U))

    def third_derivative(self, delta):
        raise ValueError(
            "method='second_order' is not available for networks: the third derivative of their outputs is not known "
            "here. Use method='newton' or 'first_order'."
        )


class ExactCurvature(GaussNewton):
    """The Gauss-Newton curvature and what it leaves out: the second derivative of a network's own objective.

    Parameters
    ----------
    linear : GaussNewton
    bending : Bending
        Of the same rows, along the derivatives of their losses, sample weights included.

    Notes
    -----
    Positive at a minimum, up to rounding. Cost of the dense form: that of the linear one, and about ten operations for
    each row and pair of parameters.
    """

    def __init__(self, linear, bending):
        self.__dict__.update(linear.__dict__)
        self.linear, self.bending = linear, bending

    @property
    def operations(self):
        return 3 * super().operations

    def damped(self, damping):
        return ExactCurvature(self.linear.damped(damping), self.bending)

    def leaving(self, rows, retained=None):
        part = ExactCurvature(self.linear.leaving(rows, retained), self.bending.take(rows))
        if retained is not None:
            part._lent = self, retained
        return part

    def matmat(self, V):
        return super().matmat(V) + self.bending.matmat(V)

    def dense(self):
        (H,), which = super().dense()
        for part in blocks(len(H), _COLUMNS):
            unit = np.zeros((len(H), part.stop - part.start))
            unit[np.arange(part.start, part.stop), np.arange(unit.shape[1])] = 1.0
            H[:, part] += self.bending.matmat(unit)
        return [H], which

    @property
    def unmoved(self):
        """(p,): free parameters that move no output by more than rounding, as the bias of a unit whose weights have
        shrunk to 0."""
        if "unmoved" in self.__dict__:
            return self.__dict__["unmoved"]
        diagonal = self.diagonal()
        return (self.penalty[0] == 0) & (diagonal <= _DEAD * diagonal.max(initial=0.0))

    @unmoved.setter
    def unmoved(self, value):
        self.__dict__["unmoved"] = value

    def rank_bound(self, o):
        return self.penalty.size

    def form(self, o, V):
        form, noise = super().form(o, V)
        bent = V.T @ self.bending.matmat(V)
        return form + 0.5 * (bent + bent.T), noise + 4 * np.finfo(float).eps * np.abs(np.diagonal(bent))
