"""A kernel matrix in blocks of rows: spread over several devices, or held by the machine and lent to a card in turn."""

import numpy as np

from .._backend import array_namespace, beside, device_memory, devices, on_device, to_numpy
from .._parallel import block_size, blocks

# The part of a device's memory that a kernel matrix and a factor of it may take together.
_MEMORY = 0.8


class RowBlocks:
    """A matrix (n, m) of which every device has some rows, to be multiplied with.

    Parameters
    ----------
    parts : list of array
        Its rows, in order, (n_i, m) each.
    home : array
        Any array of where the operands and results lie.
    lent : bool
        Whether each block goes to the operand for a product, instead of the operand to it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.alpha.row_blocks import RowBlocks
    >>> K = np.arange(12.0).reshape(4, 3)
    >>> blocks = RowBlocks([K[:2], K[2:]], home=K)
    >>> bool((blocks @ np.ones((3, 1)) == K.sum(axis=1, keepdims=True)).all())
    True
    """

    def __init__(self, parts, home, *, lent=False):
        self.parts, self.home, self.lent = parts, home, lent
        self.xp = array_namespace(home)
        self.dtype = getattr(self.xp, str(parts[0].dtype).split(".")[-1])
        self.shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])

    def __matmul__(self, B):
        if self.lent:
            return self.xp.concat([beside(part, B) @ B for part in self.parts], axis=0)
        # Every device has its work before the first result is waited for.
        products = [part @ beside(B, part) for part in self.parts]
        return self.xp.concat([beside(product, B) for product in products], axis=0)

    def __len__(self):
        return self.shape[0]

    def take(self, rows):
        """The matrix of some rows (positions, ascending) with one another, in blocks where those were."""
        rows, parts, start = np.asarray(rows), [], 0
        for part in self.parts:
            own = rows[(rows >= start) & (rows < start + part.shape[0])] - start
            start += part.shape[0]
            if len(own):
                parts.append(take(take(part, own, 0), rows, 1))
        return RowBlocks(parts, self.home, lent=self.lent)

    def rows(self, positions):
        """Some rows (k, m), as a NumPy array."""
        positions = np.arange(self.shape[0])[positions]
        out, start = np.empty((len(positions), self.shape[1])), 0
        for part in self.parts:
            inside = np.flatnonzero((positions >= start) & (positions < start + part.shape[0]))
            out[inside] = to_numpy(take(part, positions[inside] - start, 0))
            start += part.shape[0]
        return out

    def diagonal(self):
        """(n,), as a NumPy array."""
        out, start = np.empty(self.shape[0]), 0
        for part in self.parts:
            stop = start + part.shape[0]
            out[start:stop] = to_numpy(array_namespace(part).linalg.diagonal(part[:, start:stop]))
            start = stop
        return out


def fits(n, device):
    """Whether a device holds a matrix of n rows and columns, and a factor of it."""
    limit = device_memory(device)
    return limit is None or 16 * n**2 <= _MEMORY * limit


def in_blocks(values, X, device, width=1):
    """The kernel matrix of points X that no single device holds.

    Parameters
    ----------
    values : callable
        ``values(X, Z, device)``: kernel values on a device.
    X : ndarray of shape (n, d)
    device : str
        "cuda", or "cpu" to hold blocks for the sake of it.
    width : int
        Rows and columns that each point has.

    Returns
    -------
    RowBlocks
        One block on each device where together they hold it, else blocks on the machine, lent in turn.
    """
    n, names = X.shape[0], devices(device)
    home = on_device(np.zeros((1, 1)), device)
    room = sum(device_memory(name) or np.inf for name in names)
    if len(names) > 1 and 8 * (n * width) ** 2 <= _MEMORY * room:
        parts = [values(X[part], X, name) for part, name in zip(blocks(n, -(-n // len(names))), names, strict=False)]
        return RowBlocks(parts, home)
    size = block_size(8 * n * width**2, largest=n)
    return RowBlocks([to_numpy(values(X[part], X, device)) for part in blocks(n, size)], home, lent=True)


def take(A, positions, axis=0):
    """Rows or columns of a matrix on any device: a view for a slice of rows, a copy for positions."""
    if isinstance(positions, slice):
        return A[positions, :]
    if isinstance(A, np.ndarray):
        return np.take(A, positions, axis=axis)
    xp = array_namespace(A)
    return xp.take(A, beside(np.asarray(positions), A), axis=axis)
