"""Devices, memory and the dense factorisations everything else is built from.

The only file that names CuPy: a model runs on the CPU unless a later layer asks this one for another device.
"""

import contextlib
import functools
import importlib.util
import os

import array_api_compat
import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

from . import _matrices
from ._matrices import inverse_norm, turn_up

DEVICES = ("auto", "cpu", "cuda")
# Numbers in the rows from which "auto" takes a card. Copying one there takes about a nanosecond, and each of the some
# hundred kernels of a question some ten microseconds: below this a CPU has made a pass over the rows in that time.
_WORTH = 10**7


def check_device(device, size=0):
    """The device that a name means, or what "cuda" lacks.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" is a card where there is one and the data are large enough to gain by it.
    size : int
        How many numbers the data hold.

    Returns
    -------
    {"cpu", "cuda"}

    Raises
    ------
    ValueError
        For an unknown name; for "cuda" without CuPy, without a card, or where CuPy was told to round float32 to TF32.
    """
    if not isinstance(device, str) or device not in DEVICES:
        raise ValueError(f"device must be one of 'auto', 'cpu', 'cuda', got {device!r}.")
    if device == "auto":
        return "cuda" if size >= _WORTH and cuda_lacks() is None else "cpu"
    lacks = cuda_lacks() if device == "cuda" else None
    if lacks is not None:
        raise ValueError(f"device='cuda' cannot be used: {lacks}. Or use device='auto' or 'cpu'.")
    return device


def cuda_lacks():
    """What keeps CuPy from being used here, and what to do about it, in words; None where nothing does."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed; install it with pip install cupy-cuda13x, or cupy-cuda12x for an older driver"
    try:
        import cupy
    except ImportError as error:
        return f"CuPy does not import ({error}); install the one that fits the CUDA version of the driver"
    if not cupy.cuda.is_available():
        return "CuPy is installed, and finds no CUDA device; look at what nvidia-smi says"
    if os.environ.get("CUPY_TF32", "0") not in ("", "0"):
        return (
            "the environment variable CUPY_TF32 lets products of float32 keep ten bits; unset it before Python starts"
        )
    return None


def devices(device):
    """The names, for :func:`on_device`, of what "cpu" or "cuda" stands for: one for each card."""
    if device == "cpu":
        return ["cpu"]
    import cupy

    return [f"cuda:{number}" for number in range(cupy.cuda.runtime.getDeviceCount())]


def physical_memory():
    """Bytes of memory of this machine, or None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def device_memory(device):
    """Bytes of memory of a device, in use or not; of "cuda", that of the current card. None where nothing says."""
    if device == "cpu":
        return physical_memory()
    import cupy

    with _current(device):
        return int(cupy.cuda.runtime.memGetInfo()[1])


def check_memory(n_bytes, what, remedy, device="cpu"):
    """Refuse, before any work, an array that a device cannot hold.

    Raises
    ------
    ValueError
        Where ``n_bytes`` is more than the device's memory; the text names ``what`` and ``remedy``.
    """
    limit = device_memory(device)
    if limit is not None and n_bytes > limit:
        where = "this machine" if device == "cpu" else "the graphics card"
        raise ValueError(
            f"{what} needs {n_bytes / 2**30:.1f} GiB, more than the {limit / 2**30:.1f} GiB of {where}. {remedy}"
        )


def cholesky(A):
    """Factor a symmetric matrix in C order in place: ``(L, whether it is positive definite)``.

    L is a view of A in Fortran order: the factor in its lower triangle, and what A holds above the diagonal still in
    its upper one, for :func:`symmetric_product` and :func:`eigh`. Of a matrix on another device it is a
    :class:`HeldFactor`, which the functions here take as well; their results then lie where their operand does.
    """
    if not isinstance(A, np.ndarray):
        factor = HeldFactor(A)
        return factor, factor.definite
    L, info = lapack.dpotrf(A.T, lower=1, clean=0, overwrite_a=1)
    return L, info == 0


def symmetric_product(L, diagonal, B):
    """``A @ B`` for the matrix that :func:`cholesky` factored into L, given its diagonal."""
    if isinstance(L, HeldFactor):
        return product(L.matrix, B)
    out = blas.dsymm(1.0, L, B, side=0, lower=0)
    out += (diagonal - np.diagonal(L))[:, None] * B
    return out


def factored_matrix(L, diagonal):
    """The matrix that :func:`cholesky` factored into L, whole, as a new one in C order where it lies."""
    if isinstance(L, HeldFactor):
        return array_namespace(L.matrix).asarray(L.matrix, copy=True)
    A = L.T.copy()  # in C order what L has above the diagonal is below it
    np.fill_diagonal(A, diagonal)
    return turn_up(A)


def upper_triangle(L, diagonal):
    """A NumPy matrix in Fortran order whose upper triangle is that of the matrix that :func:`cholesky` was given; L is
    lost."""
    if isinstance(L, HeldFactor):
        return np.array(to_numpy(L.matrix), order="F")
    np.fill_diagonal(L, diagonal)
    return L


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
    if isinstance(L, HeldFactor):
        return L.solved(L.factor.solve_upper if transposed else L.factor.solve_lower, B)
    return linalg.solve_triangular(L, B, lower=True, trans=int(transposed), check_finite=False)


def reciprocal_condition(L, norm):
    """Estimated reciprocal 1-norm condition of ``L L'``, whose own 1-norm is ``norm`` (pocon, no SVD)."""
    if isinstance(L, HeldFactor):
        return 1.0 / (norm * inverse_norm(lambda b: cholesky_solve(L, b), L.factor.size))
    rcond, _ = lapack.dpocon(L, norm, uplo="L")
    return float(rcond)


def cholesky_solve(L, B):
    """Solve ``L L' X = B``."""
    if isinstance(L, HeldFactor):
        return L.solved(L.factor.solve, B)
    X, _ = lapack.dpotrs(L, B, lower=1)
    return X


def cholesky_inverse(L):
    """The inverse of ``L L'``, a new matrix."""
    if isinstance(L, HeldFactor):
        return L.factor.inverse()
    inverse, _ = lapack.dpotri(L, lower=1)
    return turn_up(inverse)


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
    """The largest sum of absolute values over a row of a matrix in C order, on the CPU without another matrix."""
    if not isinstance(A, np.ndarray):
        xp = array_namespace(A)
        return float(xp.max(xp.sum(xp.abs(A), axis=1)))
    return float(lapack.dlange("1", A.T))  # A.T: the one in Fortran order


def smallest_eigenvalue(A):
    """The smallest eigenvalue of a symmetric matrix."""
    values = linalg.eigh(A, eigvals_only=True, subset_by_index=[0, 0], check_finite=False)
    return float(values[0])


def array_namespace(*arrays):
    """The array API namespace that some arrays belong to (NumPy, CuPy or another), for code that runs on any device."""
    return array_api_compat.array_namespace(*arrays)


def on_device(array, device):
    """A NumPy array as one of the device: "cpu", "cuda" or one of :func:`devices`; what is there already stays."""
    if device == "cpu":
        return to_numpy(array)
    import cupy

    with _current(device):
        return cupy.asarray(array)


def _current(device):
    """A context in which a card is the current one; "cuda" is the one that is so already."""
    import cupy

    return cupy.cuda.Device(int(device[5:])) if device[5:] else contextlib.nullcontext()


def place_of(array):
    """The device that an array lies on, "cpu" or "cuda"."""
    return "cuda" if array_api_compat.is_cupy_array(array) else "cpu"


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
    return _matrices.submatrix(A, kept)


def less_product(A, B):
    """``A - B'B`` for a symmetric A, which is lost, and B of shape (m, n)."""
    if isinstance(A, np.ndarray) and A.dtype == np.float64:
        B = np.ascontiguousarray(B)
        # In place, without another matrix of this size: to BLAS a matrix in C order is its transpose.
        return blas.dgemm(-1.0, B.T, B.T, beta=1.0, c=A.T, trans_b=True, overwrite_c=True).T
    return A - array_namespace(A).matrix_transpose(B) @ B


def beside(array, other):
    """An array where another one lies: the same object, or a copy on that device."""
    if isinstance(other, np.ndarray):
        return to_numpy(array)
    if not isinstance(array, np.ndarray):
        return array
    return array_namespace(other).asarray(array, device=array_api_compat.device(other))


def to_double(array):
    """An array of any device in float64, the same object where it is."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float64, copy=False)
    xp = array_namespace(array)
    return xp.astype(array, xp.float64, copy=False)


def product(A, B):
    """``A @ B``, made where A lies; the result lies where B does."""
    return beside(A @ beside(B, A), B)


def inner(A, B, axis):
    """Sums of ``A * B`` over the rows (axis 0) or columns (1) of two matrices on one device, as a NumPy vector."""
    if isinstance(A, np.ndarray):
        return np.einsum("ij,ij->i" if axis else "ji,ji->i", A, B)
    return to_numpy(array_namespace(A).sum(A * B, axis=axis))


def diagonal(A):
    """A NumPy copy of the diagonal of a matrix on any device."""
    return np.array(to_numpy(array_namespace(A).linalg.diagonal(A)))


def add_to_diagonal(A, values):
    """Add NumPy ``values`` to the first entries of the diagonal of a matrix on any device, in place."""
    if isinstance(A, np.ndarray):
        entries = np.arange(len(values))
        A[entries, entries] += values
    else:
        xp, size = array_namespace(A), A.shape[0]
        A += xp.eye(size, dtype=A.dtype) * beside(np.append(values, np.zeros(size - len(values))), A)


def thin_svd(X):
    """U, s and V' of a matrix on any device, with as many columns and rows as its smaller side."""
    if isinstance(X, np.ndarray):
        return linalg.svd(X, full_matrices=False, check_finite=False)
    with _told_of_failures(X):
        return array_namespace(X).linalg.svd(X, full_matrices=False)


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
        with _told_of_failures(A):
            self._L = self._xp.linalg.cholesky(A)
        if not bool(self._xp.all(self._xp.isfinite(self._xp.linalg.diagonal(self._L)))):
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
            return turn_up(inverse).T  # symmetric, and so in C order: its rows are pieces of memory
        return self.solve(self._xp.eye(self.size, dtype=self._L.dtype))


class HeldFactor:
    """What :func:`cholesky` returns for a matrix on another device than the CPU.

    Attributes
    ----------
    matrix : array of shape (n, n)
    definite : bool
    factor : PositiveDefinite
        Where it is.
    """

    def __init__(self, matrix):
        self.matrix, self.definite = matrix, True
        try:
            self.factor = PositiveDefinite(matrix)
        except np.linalg.LinAlgError:
            self.definite = False

    def solved(self, solve, B):
        """``solve(B)`` on the device; the result lies where B does."""
        return beside(solve(beside(B, self.matrix)), B)


def _told_of_failures(A):
    """A context in which a factorisation that fails raises LinAlgError: CuPy's default is to return whatever it has."""
    if not array_api_compat.is_cupy_array(A):
        return contextlib.nullcontext()
    import cupyx

    return cupyx.errstate(linalg="raise")


def on_card(array):
    """Whether an array lies on a graphics card, where :func:`fused` kernels can work on it."""
    return array_api_compat.is_cupy_array(array)


@functools.cache
def fused(source, name):
    """A kernel of CUDA source by its name: ``kernel(threads, *arguments)``, of arrays on a card, integers and floats.

    Integers arrive as ``long long``, floats as ``double``. Threads beyond those asked for are the kernel's to dismiss.
    """
    import cupy

    kernel = cupy.RawKernel(source, name)
    return lambda threads, *arguments: kernel((-(-threads // 128),), (128,), arguments)
