"""What a hidden layer of infinite width does to two kernels, on any device: the dual activations.

S is the covariance of the layer's inputs (the NNGP kernel so far) and T the tangent kernel so far, of pairs of rows
whose variances are v and u. Under the activation a they become ``k1 = E a(f) a(g)`` and ``T k0``, with
``k0 = E a'(f) a'(g)``.
"""

import math

import numpy as np

# Rounding leaves p^2 - S^2 within about this share of p^2 of its true value: an angle that small cannot be told from 0,
# and taken for 0 it gives equal rows the very kernel value of a row with itself (else it would be off by 1e-8).
COLLINEAR = 32 * float(np.finfo(np.float64).eps)


class ReLU:
    """``max(f, 0)``: Cho and Saul's arc-cosine kernels of order 1 and 0, Eq. (3)-(6)."""

    @staticmethod
    def dual(xp, S, v, u):
        """``(k1, k0)`` of covariances S and variances v, u that broadcast with it."""
        sine, angle = ReLU._polar(xp, S, v * u)
        return (sine + angle * S) / (2 * math.pi), angle / (2 * math.pi)

    @staticmethod
    def dual_diagonal(xp, v):
        """``(k1, k0)`` of rows with themselves, exactly."""
        return v / 2, xp.full_like(v, 0.5)

    @staticmethod
    def dual_changes(S, v, u, dS, dv, du):
        """Changes of ``(k1, k0)`` to first order in those of S, v and u; NumPy.

        Where two rows are collinear k0 has a kink; for equal rows, the case that happens, no hyper-parameter moves it.
        """
        sine, angle = ReLU._polar(np, S, v * u)
        relative = (_share(dv, v) + _share(du, u)) / 2
        turned = dS - S * relative
        turned = np.divide(turned, sine, out=np.zeros_like(turned), where=sine > 0)
        return (angle * dS + sine * relative) / (2 * math.pi), turned / (2 * math.pi)

    @staticmethod
    def _polar(xp, S, square):
        """``(c, pi - t)``: c = sqrt(p^2 - S^2) and t = atan2(c, S), for square = p^2."""
        c = xp.sqrt(_square_of_sine(xp, S, square))
        return c, xp.atan2(c, -S)


class Erf:
    """``erf(f)``: Williams, "Computing with infinite networks", Eq. (11), and its derivative by S."""

    @staticmethod
    def dual(xp, S, v, u):
        """``(k1, k0)`` of covariances S and variances v, u that broadcast with it."""
        root = xp.sqrt(Erf._determinant(xp, S, v, u))
        return 2 / math.pi * xp.atan2(2 * S, root), 4 / math.pi / root

    @staticmethod
    def dual_diagonal(xp, v):
        """``(k1, k0)`` of rows with themselves, exactly."""
        return 2 / math.pi * xp.asin(2 * v / (1 + 2 * v)), 4 / math.pi / xp.sqrt(1 + 4 * v)

    @staticmethod
    def dual_changes(S, v, u, dS, dv, du):
        """Changes of ``(k1, k0)`` to first order in those of S, v and u; NumPy."""
        a, b, D = 1 + 2 * v, 1 + 2 * u, Erf._determinant(np, S, v, u)
        k0 = 4 / math.pi / np.sqrt(D)
        return k0 * (dS - S * (dv / a + du / b)), -k0 / D * (b * dv + a * du - 4 * S * dS)

    @staticmethod
    def _determinant(xp, S, v, u):
        """``(1 + 2 v)(1 + 2 u) - 4 S^2``, at least 1."""
        return 1 + 2 * (v + u) + 4 * _square_of_sine(xp, S, v * u)


def _square_of_sine(xp, S, square):
    """``p^2 - S^2`` for square = p^2, and 0 where that is rounding."""
    c = square - S * S
    return xp.where(c > COLLINEAR * square, c, xp.zeros_like(c))


def _share(change, of):
    """``change / of``, and 0 where ``of`` is 0: nothing moves there."""
    return np.divide(change, of, out=np.zeros(np.broadcast_shapes(np.shape(change), np.shape(of))), where=of != 0)


ACTIVATIONS = {"relu": ReLU, "erf": Erf}


def layer_variances(xp, v, activation, depth, sigma_w, sigma_b):
    """Variances of rows at each hidden layer, and their two kernels with themselves at the output.

    Parameters
    ----------
    v : array of shape (n,)
        Variances ahead of the first hidden layer, ``sigma_w^2 x'x / d + sigma_b^2``.
    activation : type
        One of ``ACTIVATIONS``.
    depth : int

    Returns
    -------
    layers : list of ``depth`` arrays of shape (n,)
    S, T : arrays of shape (n,)
        The diagonals of the NNGP and of the tangent kernel.
    """
    layers, S, T = [], v, v
    for _ in range(depth):
        layers.append(S)
        k1, k0 = activation.dual_diagonal(xp, S)
        S, T = sigma_w**2 * k1 + sigma_b**2, T * k0
        T = sigma_w**2 * T + S
    return layers, S, T


def propagate(xp, S, rows, columns, activation, sigma_w, sigma_b):
    """``(S, T)`` at the output, of the covariances S (n, m) ahead of the first hidden layer.

    ``rows`` and ``columns`` are the variances of the two sides at each hidden layer (:func:`layer_variances`).
    """
    T = S
    for v, u in zip(rows, columns, strict=True):
        k1, k0 = activation.dual(xp, S, v[:, None], u[None, :])
        S = sigma_w**2 * k1 + sigma_b**2
        T = sigma_w**2 * T * k0 + S
    return S, T


def propagate_changes(S, v, u, dS, dv, du, activation, depth, sigma_w, sigma_b, by):
    """The derivative of the tangent kernel by a sigma (itself, not its logarithm); NumPy.

    Parameters
    ----------
    S, v, u : ndarrays of shape (n, m), (n, 1), (1, m)
        Covariances and variances ahead of the first hidden layer. All of shape (n,) and the same array: rows with
        themselves, exactly.
    dS, dv, du : ndarrays of the same shapes
        Their derivatives.
    by : {"sigma_w", "sigma_b"}

    Returns
    -------
    ndarray of the shape of S
    """
    grow, lift = 2 * sigma_w * (by == "sigma_w"), 2 * sigma_b * (by == "sigma_b")

    def diagonal_step(v, dv):
        k1, k0 = activation.dual_diagonal(np, v)
        dk1, dk0 = activation.dual_changes(v, v, v, dv, dv, dv)
        return k1, k0, dk1, dk0, sigma_w**2 * k1 + sigma_b**2, sigma_w**2 * dk1 + grow * k1 + lift

    same = S is v is u
    T, dT = S, dS
    for _ in range(depth):
        if same:
            _, k0, _, dk0, S, dS = diagonal_step(v, dv)
            v, dv = S, dS
        else:
            k1, k0 = activation.dual(np, S, v, u)
            dk1, dk0 = activation.dual_changes(S, v, u, dS, dv, du)
            S, dS = sigma_w**2 * k1 + sigma_b**2, sigma_w**2 * dk1 + grow * k1 + lift
            (*_, v, dv), (*_, u, du) = diagonal_step(v, dv), diagonal_step(u, du)
        dT = sigma_w**2 * (dT * k0 + T * dk0) + grow * T * k0 + dS
        T = sigma_w**2 * T * k0 + S
    return dT


def relu_in_place(N, U, w, c, largest, first):
    """One ReLU layer on tiles that stay in cache, of the negatives N = -S and U = -T of any one shape.

    w holds the products p^2 of the variances, none above ``largest``, and like c is lost. On return N is ``-2 pi k1``
    and U is ``-2 pi T k0``. With ``first`` T = S, and U need not be set. The negative S makes the angle pi - t one
    arctan2, precise where it is small.
    """
    np.multiply(N, N, out=c)
    np.subtract(w, c, out=c)
    if c.min() <= COLLINEAR * largest:
        w *= COLLINEAR
        c[c <= w] = 0.0
    np.sqrt(c, out=c)
    np.arctan2(c, N, out=w)
    N *= w
    if first:
        np.copyto(U, N)
    else:
        U *= w
    N -= c
