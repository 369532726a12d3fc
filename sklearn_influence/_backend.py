"""Devices, memory and the dense factorisations everything else is built from.

The only file that names CuPy: a model runs on the CPU unless a later layer asks this one for another device.
"""

import importlib.util
import os

import array_api_compat
import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

DEVICES = ("auto", "cpu", "cuda")


def check_device(device):
    """Return the device that ``device`` means here, or say what "cuda" lacks.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}

    Returns
    -------
    str
        "cpu": the linear models of this version run there.

    Raises
    ------
    ValueError
        For an unknown name, and for "cuda".
    """
    if not isinstance(device, str) or device not in DEVICES:
        raise ValueError(f"device must be one of 'auto', 'cpu', 'cuda', got {device!r}.")
    if device == "cuda":
        missing = "this version has no GPU code for linear models"
        if importlib.util.find_spec("cupy") is None:
            missing += ", and CuPy is not installed"
        raise ValueError(f"device='cuda' cannot be used: {missing}. Use device='auto' or 'cpu'.")
    return "cpu"


def physical_memory():
    """Bytes of memory of this machine, or None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_memory(n_bytes, what, remedy):
    """Refuse, before any work, an array that this machine cannot hold.

    Raises
    ------
    ValueError
        Where ``n_bytes`` is more than the machine's memory; the text names ``what`` and ``remedy``.
    """
    limit = physical_memory()
    if limit is not None and n_bytes > limit:
        raise ValueError(
            f"{what} needs {n_bytes / 2**30:.1f} GiB, more than the {limit / 2**30:.1f} GiB of this machine. {remedy}"
        )


def cholesky(A):
    """Factor a symmetric matrix in C order in place: ``(L, whether it is positive definite)``.

    L is a view of A in Fortran order: the factor in its lower triangle, and what A holds above the diagonal still in
    its upper one, for :func:`symmetric_product` and :func:`eigh`.
    """
    L, info = lapack.dpotrf(A.T, lower=1, clean=0, overwrite_a=1)
    return L, info == 0


def symmetric_product(L, diagonal, B):
    """``A @ B`` for the matrix that :func:`cholesky` factored into L, given its diagonal."""
    product = blas.dsymm(1.0, L, B, side=0, lower=0)
    product += (diagonal - np.diagonal(L))[:, None] * B
    return product


def pivoted_cholesky(A, tol):
    """``A[P][:, P] = L L'`` in place, for a positive semi-definite A in C order of which the lower triangle is read.

    Returns
    -------
    L : ndarray of shape (n, n)
        The memory of A. Its first ``rank`` columns hold the factor, and above the diagonal what A held there.
    order : ndarray of shape (n,)
        P: at each step the row with the largest remainder.
    rank : int
        The steps before the largest remainder is at most ``tol``.
    """
    _, order, rank, _ = lapack.dpstrf(A.T, tol=tol, lower=0, overwrite_a=1)  # upper: A.T is the one in Fortran order
    return A, order - 1, rank


def triangular_solve(L, B, *, transposed=False):
    """Solve ``L X = B``, or ``L' X = B``, for a lower triangular L."""
    return linalg.solve_triangular(L, B, lower=True, trans=int(transposed), check_finite=False)


def reciprocal_condition(L, norm):
    """Estimated reciprocal 1-norm condition of ``L L'``, whose own 1-norm is ``norm`` (pocon, no SVD)."""
    rcond, _ = lapack.dpocon(L, norm, uplo="L")
    return float(rcond)


def cholesky_solve(L, B):
    """Solve ``L L' X = B``."""
    X, _ = lapack.dpotrs(L, B, lower=1)
    return X


def cholesky_inverse(L):
    """The inverse of ``L L'``, a new matrix."""
    inverse, _ = lapack.dpotri(L, lower=1)
    return turn_up(inverse)


def turn_up(A):
    """Copy the lower triangle of a square matrix onto its upper one in place, block by block; returns A."""
    size = 512
    for start in range(0, len(A), size):
        own = slice(start, start + size)
        corner = np.tril(A[own, own], -1)
        A[own, own] = corner + corner.T + np.diag(np.diagonal(A)[own])
        A[own, start + size :] = A[start + size :, own].T
    return A


def triangular_inverse(L):
    """Inverse of a lower triangular matrix, itself lower triangular."""
    inverse, _ = lapack.dtrtri(L, lower=1)
    return inverse


def triangular_product(L, B):
    """``L @ B`` for a lower triangular L, at half the operations of a general product."""
    return blas.dtrmm(1.0, L, B, lower=1)


def eigh(A, *, lower=True, overwrite=False):
    """Eigenvalues (ascending) and orthonormal eigenvectors of a symmetric matrix, of which one triangle is read.

    With ``overwrite`` a matrix in Fortran order is lost, and its memory saved.
    """
    return linalg.eigh(A, lower=lower, driver="evd", check_finite=False, overwrite_a=overwrite)


def one_norm(A):
    """The largest sum of absolute values over a row of a matrix in C order, without another matrix."""
    return float(lapack.dlange("1", A.T))  # A.T: the one in Fortran order


def smallest_eigenvalue(A):
    """The smallest eigenvalue of a symmetric matrix."""
    values = linalg.eigh(A, eigvals_only=True, subset_by_index=[0, 0], check_finite=False)
    return float(values[0])


def array_namespace(*arrays):
    """The array API namespace that some arrays belong to (NumPy, CuPy or another), for code that runs on any device."""
    return array_api_compat.array_namespace(*arrays)


def on_device(array, device):
    """A NumPy array as one of the device, "cpu" or "cuda"; what is there already stays as it is."""
    if device == "cpu":
        return array
    import cupy

    return cupy.asarray(array)


def to_numpy(array):
    """An array of any device as a NumPy one, the same object where it is one."""
    if isinstance(array, np.ndarray):
        return array
    return array.get() if array_api_compat.is_cupy_array(array) else np.asarray(array)


def submatrix(A, kept):
    """The rows and columns ``kept`` (ascending positions) of a square array, a copy."""
    if not isinstance(A, np.ndarray):
        xp = array_namespace(A)
        index = xp.asarray(kept)
        return xp.take(xp.take(A, index, axis=0), index, axis=1)
    gaps = np.flatnonzero(np.diff(kept) != 1) + 1
    if 8 * len(gaps) > len(kept) or not (np.diff(kept) > 0).all():
        return A[np.ix_(kept, kept)]
    out = np.empty((len(kept),) * 2, dtype=A.dtype)  # long pieces are copied at the speed of memory
    pieces = [(start, stop) for start, stop in zip([0, *gaps], [*gaps, len(kept)], strict=True)]
    for row, row_end in pieces:
        source = A[kept[row] : kept[row] + row_end - row]
        for column, column_end in pieces:
            first = kept[column] if column_end > column else 0
            out[row:row_end, column:column_end] = source[:, first : first + column_end - column]
    return out


class PositiveDefinite:
    """A symmetric positive definite matrix, factored on the device that it lies on: ``A = L L'``.

    Parameters
    ----------
    A : array of shape (n, n), float64 or float32, of any namespace
    overwrite : bool
        A may be lost; saves its memory where the device allows it.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where A is not positive definite.
    """

    def __init__(self, A, *, overwrite=False):
        self._xp = array_namespace(A)
        self.size = A.shape[0]
        if isinstance(A, np.ndarray):
            (potrf,) = linalg.get_lapack_funcs(("potrf",), (A,))
            A = A if overwrite and A.flags.c_contiguous else A.copy(order="C")
            self._L, info = potrf(A.T, lower=1, clean=0, overwrite_a=1)
            if info:
                raise np.linalg.LinAlgError("The matrix is not positive definite.")
            return
        self._L = self._xp.linalg.cholesky(A)
        if not bool(self._xp.all(self._xp.isfinite(self._xp.linalg.diagonal(self._L)))):  # CuPy says it so
            raise np.linalg.LinAlgError("The matrix is not positive definite.")

    def solve(self, B):
        """``A^-1 B`` for B of shape (n, k)."""
        return self.solve_upper(self.solve_lower(B))

    def solve_lower(self, B):
        """``L^-1 B``."""
        return self._triangular(B, transposed=False)

    def solve_upper(self, B):
        """``L^-T B``."""
        return self._triangular(B, transposed=True)

    def _triangular(self, B, transposed):
        if isinstance(B, np.ndarray):
            return linalg.solve_triangular(self._L, B, lower=True, trans=int(transposed), check_finite=False)
        if array_api_compat.is_cupy_array(B):
            from cupyx.scipy.linalg import solve_triangular

            return solve_triangular(self._L, B, lower=True, trans=int(transposed))
        return self._xp.linalg.solve(self._xp.matrix_transpose(self._L) if transposed else self._L, B)

    def inverse(self):
        """``A^-1``, a new matrix (n, n)."""
        if isinstance(self._L, np.ndarray):
            (potri,) = linalg.get_lapack_funcs(("potri",), (self._L,))
            inverse, _ = potri(self._L, lower=1)
            return turn_up(inverse)
        return self.solve(self._xp.eye(self.size, dtype=self._L.dtype))
