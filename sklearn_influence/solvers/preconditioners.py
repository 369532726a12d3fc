"""Approximate inverses of a curvature that conjugate gradients start from."""

import numpy as np

from .. import _backend
from .direct import Direct
from .steps import is_penalised

PRECONDITIONERS = ("principal", "diagonal", None)
# Principal directions of all outputs together, at most.
_UNKNOWNS = 1024
# Unknowns up to which a curvature that may be singular is factored.
_FACTORED = 2048
# Rows that the directions are found from.
_SAMPLE = 2048
_POWERS = 1
# Below this reciprocal condition directions may be flat, and are looked at one by one.
_CAREFUL = 1e-10


def make_preconditioner(curvature, name, n_directions):
    """The preconditioner of a name, for a curvature."""
    if name is None:
        return Identity()
    if name == "diagonal":
        return Diagonal(curvature)
    q, width = curvature.penalty.shape
    together = q if curvature.coupled else 1
    k = min(n_directions, max(_UNKNOWNS // together, 1))
    # Where no penalty bounds the rank, a factor also finds the directions that are flat.
    if width <= k + 1 or (not is_penalised(curvature) and width * together <= _FACTORED):
        return Exact(Direct().factor(curvature))
    if not hasattr(curvature, "on_directions"):  # outputs have no features in common
        return Sketched(curvature, min(n_directions * curvature.n_outputs, _UNKNOWNS // 2, width // 2))
    return Principal(curvature, k)


class Identity:
    """No preconditioner."""

    name, nullity, rcond = "no preconditioner", 0, np.nan

    def __call__(self, R):
        return R


class Exact:
    """A factored curvature: the same one, where it is small, or a nearby one."""

    name = "preconditioned by a factored curvature, since it is small"

    def __init__(self, factor):
        self.factor = factor
        self.nullity, self.rcond = factor.nullity, factor.rcond

    def __call__(self, R):
        return self.factor.rough(R)

    def minimum_norm(self, params):
        return self.factor.minimum_norm(params)


class Diagonal:
    """The inverse of the curvature's diagonal, in coordinates about the mean of the features."""

    name, nullity, rcond = "diagonal preconditioner", 0, np.nan

    def __init__(self, curvature):
        self._curvature = curvature
        self._mean = curvature.mean
        diagonal = curvature.diagonal_about(self._mean)
        self._inverse = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)[:, :, None]

    def __call__(self, R):
        theta = self._curvature.encode_about(self._mean, R)
        theta *= self._inverse
        return self._curvature.decode_about(self._mean, theta)


class Principal(Diagonal):
    """The exact curvature on some directions of the features, for all outputs jointly, and its diagonal elsewhere.

    With D the diagonal of an output, Q its directions with ``Q'DQ = I``, and ``E = Q'HQ`` over all outputs:
    ``M^-1 = D^-1 + Q (E^-1 - I) Q'``.
    """

    def __init__(self, curvature, n_directions):
        super().__init__(curvature)
        self.name = f"preconditioned by the curvature on {n_directions} principal directions"
        q, width = curvature.penalty.shape
        diagonal = np.divide(1.0, self._inverse[:, :, 0], out=np.ones((q, width)), where=self._inverse[:, :, 0] > 0)
        V = self._directions(diagonal.mean(axis=0), n_directions)
        k = V.shape[1]
        roots = np.linalg.cholesky((V * diagonal[:, :, None]).transpose(0, 2, 1) @ V).transpose(0, 2, 1)
        turns = np.linalg.solve(roots, np.broadcast_to(np.eye(k), (q, k, k)))
        self._Q = V @ turns  # (q, width, k)
        E = curvature.on_directions(self._mean, V)
        if curvature.coupled:
            E = np.einsum("akl,akbn->albn", turns, E, optimize=True)
            E = np.einsum("albn,bnm->albm", E, turns, optimize=True).reshape(1, q * k, q * k)
        else:
            E = turns.transpose(0, 2, 1) @ E @ turns
        if curvature.gauge.any():  # flat, but no residual has a part along it: any positive curvature will do
            along = roots[:, :, -1].ravel()
            E[0] += np.outer(along, along)
        self._correction = np.stack([_inverse_less_identity(block) for block in E])

    def _directions(self, diagonal, n_directions):
        """(width, k) leading principal directions of some of the rows, columns scaled by the curvature's diagonal, and
        the intercept."""
        design = self._curvature.design
        d = design.n_features
        rng = np.random.default_rng(0)
        weight = self._curvature.weights_by_output().sum(axis=1)
        rows = np.flatnonzero(weight > 0)
        if len(rows) > _SAMPLE:
            rows = np.sort(rng.choice(rows, _SAMPLE, replace=False))
        sample, root = design.take(rows), np.sqrt(weight[rows])[:, None]
        scale = 1.0 / np.sqrt(diagonal[:d])[:, None]

        def product(U):
            """The sample's Gram matrix, weighted, centred and scaled, times U (d, k)."""
            V = np.zeros((design.width, U.shape[1]))
            V[:d] = scale * U
            if design.fit_intercept:
                V[-1] = -self._mean @ V[:d]
            out = sample.tdot(root**2 * sample.dot(V))
            centred = out[:d] - self._mean[:, None] * out[-1] if design.fit_intercept else out[:d]
            return scale * centred

        U = rng.standard_normal((d, min(n_directions + 8, d)))
        for _ in range(_POWERS + 1):
            U = np.linalg.qr(product(U))[0]
        _, turn = _backend.eigh(U.T @ product(U))
        U = U @ turn[:, ::-1][:, :n_directions]
        V = np.zeros((design.width, U.shape[1] + design.fit_intercept))
        V[:d, : U.shape[1]] = scale * U
        if design.fit_intercept:
            V[-1, -1] = 1.0
        return V

    def __call__(self, R):
        theta = self._curvature.encode_about(self._mean, R)
        q, _, k = theta.shape
        along = self._Q.transpose(0, 2, 1) @ theta  # (q, n_directions, k)
        if len(self._correction) == 1 and q > 1:
            along = (self._correction[0] @ along.reshape(-1, k)).reshape(q, -1, k)
        else:
            along = self._correction @ along
        theta *= self._inverse
        theta += self._Q @ along
        return self._curvature.decode_about(self._mean, theta)


class Sketched(Diagonal):
    """The exact curvature on directions of its own, and its diagonal elsewhere, for a curvature of any Jacobians.

    As :class:`Principal`, ``M^-1 = D^-1 + Q (E^-1 - I) Q'`` with ``Q'DQ = I`` and ``E = Q'HQ``; Q is found by powers of
    the curvature, scaled to unit diagonal, on random vectors. Source: Halko, Martinsson and Tropp (2011), algorithm
    4.4. Cost: three products with as many vectors as directions.
    """

    def __init__(self, curvature, n_directions):
        super().__init__(curvature)
        self.name = f"preconditioned by the curvature on {n_directions} directions of its own"
        penalty = curvature.penalty[0][:, None]
        rest, share = curvature.diagonal()[:, None] - penalty, 1.0
        U = np.random.default_rng(0).standard_normal((len(rest), n_directions))
        for _ in range(_POWERS + 1):
            D = penalty + share * rest
            root = np.sqrt(np.divide(1.0, D, out=np.zeros_like(D), where=D > 0))
            U = np.linalg.qr(root * curvature.matmat(root * U))[0]
            H = U.T @ (root * curvature.matmat(root * U))
            # What the directions leave of the rows' part is at most about as much of its diagonal as they last hold.
            share *= min(float(np.linalg.eigvalsh(H)[0]), 1.0)
        self._inverse = (root**2)[None]
        self._Q, self._correction = root * U, _inverse_less_identity(H)

    def __call__(self, R):
        R = self._curvature.off_gauge(R)
        out = self._inverse[0] * R + self._Q @ (self._correction @ (self._Q.T @ R))
        return self._curvature.off_gauge(out)


def _inverse_less_identity(E):
    """``E^-1 - I``, and 0 along directions in which E is flat."""
    identity, S = np.eye(len(E)), 0.5 * (E + E.T)
    norm = _backend.one_norm(S)
    L, definite = _backend.cholesky(S)
    if definite and _backend.reciprocal_condition(L, norm) > _CAREFUL:
        return _backend.cholesky_inverse(L) - identity
    values, vectors = _backend.eigh(0.5 * (E + E.T))
    kept = values > 1e-13 * values[-1]
    inverse = np.divide(1.0, values, out=np.ones_like(values), where=kept)
    return (vectors * (inverse - 1.0)) @ vectors.T
