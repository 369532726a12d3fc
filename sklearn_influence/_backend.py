"""Devices, memory and the dense factorisations everything else is built from.

The only file that names CuPy: a model runs on the CPU unless a later layer asks this one for another device.
"""

import importlib.util
import os

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
    """Lower Cholesky factor of a symmetric matrix, or None where it is not positive definite."""
    L, info = lapack.dpotrf(A, lower=1, clean=1)
    return L if info == 0 else None


def reciprocal_condition(L, norm):
    """Estimated reciprocal 1-norm condition of ``L L'``, whose own 1-norm is ``norm`` (pocon, no SVD)."""
    rcond, _ = lapack.dpocon(L, norm, uplo="L")
    return float(rcond)


def cholesky_solve(L, B):
    """Solve ``L L' X = B``."""
    X, _ = lapack.dpotrs(L, B, lower=1)
    return X


def triangular_inverse(L):
    """Inverse of a lower triangular matrix, itself lower triangular."""
    inverse, _ = lapack.dtrtri(L, lower=1)
    return inverse


def triangular_product(L, B):
    """``L @ B`` for a lower triangular L, at half the operations of a general product."""
    return blas.dtrmm(1.0, L, B, lower=1)


def eigh(A, *, overwrite=False):
    """Eigenvalues (ascending) and orthonormal eigenvectors of a symmetric matrix.

    With ``overwrite`` a matrix in Fortran order is lost, and its memory saved.
    """
    return linalg.eigh(A, driver="evd", check_finite=False, overwrite_a=overwrite)


def one_norm(A):
    """The largest sum of absolute values over a column, without another matrix."""
    return float(lapack.dlange("1", A))


def smallest_eigenvalue(A):
    """The smallest eigenvalue of a symmetric matrix."""
    values = linalg.eigh(A, eigvals_only=True, subset_by_index=[0, 0], check_finite=False)
    return float(values[0])
