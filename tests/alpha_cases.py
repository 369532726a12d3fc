"""Small kernel problems and the dense systems that theirs stand for."""

import numpy as np

from sklearn_influence import losses
from sklearn_influence.alpha.roots import Roots

KINDS = ("squares", "logistic", "softmax")
CASES = (*KINDS, "squares mixed", "softmax mixed")  # what stands behind the loss: whether K mixes the outputs


class Problem:
    """A kernel matrix of low rank with a duplicate row, weights with a zero, and the dense W, row by row.

    One of CASES; "mixed": K has a value for each pair of outputs, (n q, n q).
    """

    def __init__(self, name, n=14, strength=0.3, seed=0):
        kind, *mixed = name.split()
        rng = np.random.default_rng(seed)
        features = rng.standard_normal((n, 5))
        features[3] = features[2]
        self.K, self.strength, self.n = features @ features.T, strength, n
        self.weight = rng.uniform(0.2, 2.0, n)
        self.weight[4] = 0.0
        self.q = {"squares": 2, "logistic": 1, "softmax": 3}[kind]
        self.loss = {"squares": losses.SquaredError, "logistic": losses.Logistic, "softmax": losses.Softmax}[kind]()
        self.f = 2.0 * rng.standard_normal((n, self.q))
        self.y = rng.standard_normal((n, 2)) if kind == "squares" else rng.integers(0, max(self.q, 2), n)
        self.roots = Roots.of(self.loss, self.y, self.f, self.weight)
        self.u = self.loss.gradient(self.y, self.f)
        W = self.loss.curvature(self.y, self.f)
        blocks = [np.diag(row) if row.ndim == 1 else row for row in W]
        self.W = np.zeros((n * self.q, n * self.q))
        for i, block in enumerate(blocks):
            rows = slice(i * self.q, (i + 1) * self.q)
            self.W[rows, rows] = self.weight[i] * block
        self.K_all = np.kron(self.K, np.eye(self.q))
        self.mixed, self.coupled = bool(mixed), bool(mixed) or kind == "softmax"
        if mixed:
            features = np.kron(features, np.ones((self.q, 1))) * rng.standard_normal((n * self.q, 5))
            features[3 * self.q : 4 * self.q] = features[2 * self.q : 3 * self.q]
            self.K = self.K_all = features @ features.T
        self.A = self.W @ self.K_all + strength * np.eye(n * self.q)
        self.B = rng.standard_normal((n, self.q, 4))

    def dense(self, matrix, B):
        return (matrix @ B.reshape(self.n * self.q, -1)).reshape(B.shape)

    def V(self):
        units = np.eye(self.n * self.q).reshape(self.n, self.q, -1)
        return self.roots.times(units).reshape(self.n * self.q, -1)
