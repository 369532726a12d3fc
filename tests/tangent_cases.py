"""Small linearised networks, solved in the network's parameters with their Jacobians written out: dense and unblocked.

It shares nothing with the coefficients of rows that the package works with.
"""

import copy

import numpy as np

from sklearn_influence import losses
from sklearn_influence.alpha.editing import minimise_anew
from sklearn_influence.alpha.objective import KernelObjective
from sklearn_influence.alpha.tangent import TangentGram
from sklearn_influence.networks import Network
from sklearn_influence.objective import Weighting
from sklearn_influence.solvers import Direct

KINDS = {
    "softmax": (3, losses.Softmax()),
    "logistic": (1, losses.Logistic()),
    "squares": (3, losses.SquaredError()),
    "square": (1, losses.SquaredError()),
}
# The penalty's strength on the sum of the losses, or its share of the mean's.
STRENGTH = 0.3


class Linearised:
    """Twelve rows of unequal weight, one of them none; outputs f0 + J theta around random weights of two layers."""

    def __init__(self, kind, *, mean=False, balanced=False, equal=False, seed=0):
        rng = np.random.default_rng(seed)
        self.q, self.loss = KINDS[kind]
        self.n, self.mean, self.balanced = 12, mean, balanced
        self.X, self.X_test = rng.standard_normal((self.n, 4)), rng.standard_normal((5, 4))
        self.network = Network.random(
            [4, 5, self.q], "tanh", sigma_w=1.5, sigma_b=0.3, random_state=np.random.RandomState(seed)
        )
        self.y = self.targets(rng, self.n)
        self.weight = np.ones(self.n) if equal else rng.uniform(0.5, 2.0, self.n)
        self.weight[4] *= equal
        self.J = self.network.jacobian

    def targets(self, rng, n):
        return rng.standard_normal((n, self.q)) if self.loss.quadratic else np.arange(n) % max(self.q, 2)

    def strength(self, weight):
        return STRENGTH * (weight.sum() / self.weight.sum() if self.mean else 1.0)

    def effective(self, y, weight):
        if not self.balanced:
            return weight
        totals = np.bincount(y, weights=weight)
        return weight * (weight.sum() / (len(totals) * totals))[y]

    # -- in the network's parameters ----------------------------------------------------------------------------------

    def value(self, theta, X, y, weight):
        f = self.network.outputs(X) + self.J(X) @ theta
        fit = self.effective(y, weight) @ self.loss.value(y, f)
        return fit + 0.5 * self.strength(weight) * theta @ theta

    def gradient(self, theta, X, y, weight):
        J = self.J(X)
        u, s = self.loss.gradient(y, self.network.outputs(X) + J @ theta), self.effective(y, weight)
        return np.einsum("iqp,iq,i->p", J, u, s) + self.strength(weight) * theta

    def hessian(self, theta, X, y, weight, strength=None):
        J = self.J(X)
        W = self.loss.curvature(y, self.network.outputs(X) + J @ theta)
        W = W[:, :, None] * np.eye(self.q) if W.ndim == 2 else W
        strength = self.strength(weight) if strength is None else strength
        return np.einsum("iap,iab,ibr,i->pr", J, W, J, self.effective(y, weight)) + strength * np.eye(len(theta))

    def refit(self, X=None, y=None, weight=None):
        """theta - theta0 of the minimum on some rows, by default all."""
        X, y, weight = (a if b is None else b for a, b in ((self.X, X), (self.y, y), (self.weight, weight)))
        rows, theta = (X, y, weight), np.zeros(self.network.n_params)
        for _ in range(40):
            gradient = self.gradient(theta, *rows)
            step = -np.linalg.solve(self.hessian(theta, *rows), gradient)
            if np.linalg.norm(gradient) < 1e-12:
                return theta + step
            while self.value(theta + step, *rows) > self.value(theta, *rows) + 1e-12:
                step = 0.5 * step
            theta = theta + step
        raise AssertionError("the oracle has not converged")

    def newton_without(self, rows, theta):
        """One Newton step without some rows, from theta; balanced weights are those without them."""
        weight = self.weight.copy()
        weight[rows] = 0.0
        step = np.linalg.solve(
            self.hessian(theta, self.X, self.y, weight), self.gradient(theta, self.X, self.y, weight)
        )
        return -step

    def test_changes(self, delta):
        """Outputs of the test rows under changes delta (p, k) of the parameters."""
        return self.J(self.X_test) @ delta

    # -- in the coefficients of the rows ------------------------------------------------------------------------------

    def weakly(self, strength, coefficient):
        """At another strength, and coefficients that are all the same."""
        objective = copy.copy(self.objective())
        objective._strength = np.full(self.q, strength)
        return objective.with_(params=np.full(objective.n_params, coefficient))

    def objective(self):
        """At coefficients 0."""
        mean = self.weight.sum() if self.mean else 0.0
        codes = None if self.loss.quadratic else self.y
        return KernelObjective(
            TangentGram(self.network, self.X),
            self.y,
            self.loss,
            Weighting(self.weight, codes, balanced=self.balanced),
            np.full(self.q, STRENGTH),
            np.zeros(self.n * self.q),
            mean=mean,
        )

    def fit(self, solver=None):
        """The objective at its minimum, and its factored curvature."""
        solver = Direct() if solver is None else solver
        objective, _ = minimise_anew(self.objective(), solver=solver)
        return objective, solver.factor(objective.curvature())
