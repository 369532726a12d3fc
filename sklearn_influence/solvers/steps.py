"""What the layers above ask of a factored curvature."""

from functools import cached_property

import numpy as np

from .._backend import beside, check_memory, inner

# Sizes of errors need few digits of a solve.
_ROUGHLY = 1e-2


def newton_step(factor, gradient, **options):
    """The step ``-H^-1 g`` (p,) and the Newton decrement ``sqrt(g' H^-1 g)``; ``options`` are those of an iterative
    factor's call."""
    step = -factor(gradient[:, None], **options)[0][:, 0]
    return step, float(np.sqrt(max(-(gradient @ step), 0.0)))


def error_norms(factor, error):
    """How large ``H^-1 e`` can be for errors of a known size (p,) and unknown signs: in the norm of H, and Euclidean.

    The larger of eight random patterns of signs, doubled. Rounding errors have such signs; the worst pattern of all
    would take the absolute inverse, and is met by no computation.
    """
    E = error_patterns(error)
    return solved_norms(E, factor(E, tol=_ROUGHLY)[0] if factor.iterative else factor(E)[0])


def error_patterns(error):
    """Errors (p, 8) of a known size with random signs."""
    return error[:, None] * np.random.default_rng(0).choice([-1.0, 1.0], size=(len(error), 8))


def solved_norms(E, solved):
    """Twice the largest norms of solutions for the columns of E: in the norm of H, and Euclidean."""
    in_curvature = np.sqrt(max((E * solved).sum(axis=0).max(), 0.0))
    return 2.0 * float(in_curvature), 2.0 * float(np.linalg.norm(solved, axis=0).max())


class InverseBySolves:
    """What a factor without dense blocks says of the inverse: as many solves as a block has columns, kept."""

    iterative = True
    nullity = 0

    def inverse(self, b):
        """Block b of H^-1, in the coordinates of ``curvature.dense``."""
        return self._inverse[self.block_of.index(b)]

    @cached_property
    def _inverse(self):
        curvature = self.curvature
        size = curvature.shape[0] if curvature.coupled else curvature.penalty.shape[1]
        check_memory(
            32 * curvature.shape[0] * size,
            f"The inverse curvature of {curvature.shape[0]:,} parameters, for all rows at once,",
            "Ask for fewer indices, or use method='first_order'.",
        )
        return curvature.encode_params(self(curvature.unit_columns())[0])

    @property
    def block_of(self):
        return self.curvature.block_of()

    def squares(self, b, Z):
        """``z' H^-1 z`` for each row z of Z (k, width), on any device, in those coordinates: (k,)."""
        return inner(Z @ beside(self.inverse(b), Z), Z, axis=1)

    def minimum_norm(self, params):
        return params


def residuals(curvature, X, B, chosen=slice(None)):
    """``|B - H X| / |B|`` of each column, over the ``chosen`` parameters in units of the curvature's diagonal: (k,)."""
    diagonal = curvature.diagonal()
    scale = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)[:, None]
    B = curvature.off_gauge(B)
    R = B - curvature.matmat(X)
    return relative_norms(*((V[chosen] ** 2 * scale[chosen]).sum(axis=0) for V in (R, B)))


def relative_norms(left, size):
    """The root of squares (k,) of what is left over those of the whole, 0 where there is nothing."""
    return np.sqrt(np.divide(np.maximum(left, 0.0), size, out=np.zeros_like(left), where=size > 0))


def is_penalised(curvature):
    """Whether all coefficients of a curvature or an objective are: it then has its full rank off the intercepts."""
    coefficients = curvature.penalty[:, : curvature.design.width - curvature.design.fit_intercept]
    return bool((coefficients > 0).all())


def damped_option(damping):
    """A solver's ``damping``, checked."""
    return number_option("damping", damping, lowest=0.0)


def number_option(name, value, *, lowest, above=False, whole=False, below=np.inf):
    """A number among a solver's options, checked: whole where asked, at least (or above) ``lowest``, and ``below``."""
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    bound = f"{'>' if above else '>='} {lowest:g}" + (f" and < {below:g}" if below < np.inf else "")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, kinds):
        raise TypeError(f"{name} must be {'an integer' if whole else 'a number'} {bound}, got {value!r}.")
    if not (lowest < value if above else lowest <= value) or not value < below:
        raise ValueError(f"{name} must be a finite {'integer' if whole else 'number'} {bound}, got {value!r}.")
    return value
