"""The layers of an infinitely wide convolutional network on the pixel pairs that its head can reach, of many images.

A block is a 3 x 3 convolution with zero padding, a ReLU and a 2 x 2 average pool; the head flattens, so that at the top
it reads each pixel with itself alone. Pooling relates pixels p, p' of an offset d = p' - p to coarser ones of offset
about d / 2: a block needs offsets up to R = 2 r + 1 where the next one needs up to r, with r = 0 at the top. For every
pair of images each offset is a plane of the positions p; a convolution moves p and p' together, within its plane.
"""

import numpy as np

from .recursion import relu_in_place


class Axis:
    """Positions and offsets of one block along one axis of the images.

    Attributes
    ----------
    size, pooled : int
        Positions ahead of the pool and behind it; an odd size is padded with a zero.
    reach, pooled_reach : int
        The largest offsets that are needed there.
    """

    def __init__(self, size, pooled_reach):
        self.size, self.pooled = size, (size + 1) // 2
        self.pooled_reach = pooled_reach
        self.reach = min(2 * self.pooled_reach + 1, size - 1)

    def offsets(self):
        return range(-self.reach, self.reach + 1)

    def first(self, offset):
        """Positions p for which p + offset is one too."""
        return slice(max(0, -offset), min(self.size, self.size - offset))

    def second(self, offset):
        """The positions p + offset."""
        return slice(max(0, offset), min(self.size, self.size + offset))

    def parts(self, offset):
        """How a plane is pooled: ``(its entries, their coarse offset, their coarse positions)`` for even and odd p."""
        start = self.first(offset).start
        for parity in (0, 1):
            coarse = (offset + parity) // 2
            entries = slice((parity - start) % 2, self.first(offset).stop - start, 2)
            n = len(range(entries.start, entries.stop, 2))
            if n and abs(coarse) <= self.pooled_reach:
                at = (start + entries.start) // 2
                yield entries, coarse + self.pooled_reach, slice(at, at + n)


def axes(size, depth):
    """The :class:`Axis` of each block, for images of ``size`` pixels along it."""
    sizes = [size]
    for _ in range(depth):
        sizes.append((sizes[-1] + 1) // 2)
    reach, found = 0, []
    for size in sizes[depth - 1 :: -1]:
        found.append(Axis(size, reach))
        reach = found[-1].reach
    return found[::-1]


class Band:
    """The blocks for images of one shape.

    Parameters
    ----------
    image_shape : (int, int)
        Height and width.
    depth : int
        Blocks.
    sigma_w, sigma_b : float
    """

    def __init__(self, image_shape, depth, sigma_w, sigma_b):
        self.blocks = list(zip(axes(image_shape[0], depth), axes(image_shape[1], depth), strict=True))
        self.weight, self.bias = sigma_w**2, sigma_b**2

    def floats_per_pair(self):
        """Numbers that one pair of images takes on the way."""
        (y, x), rest = self.blocks[0], [(y.pooled_reach, x.pooled_reach, y.pooled * x.pooled) for y, x in self.blocks]
        plane = y.size * x.size
        return (
            8 * plane
            + 2 * plane * (2 * y.pooled_reach + 1)
            + sum(2 * (2 * r + 1) * (2 * s + 1) * n for r, s, n in rest)
        )

    def variances(self, images):
        """Of images (C, H, W, k): ``(variances at each block (h, w, k), S, T)``, the latter two (k,)."""
        found = []
        S, T = self._run(images, images, None, None, found)
        return found, S, T

    def kernels(self, first, second, variances, others):
        """``(S, T)`` of pairs of images: the NNGP and the tangent kernel, (k,) each.

        Parameters
        ----------
        first, second : ndarrays of shape (C, H, W, k)
            The images of each pair.
        variances, others : lists of ndarrays of shape (h, w, k)
            Theirs, by :meth:`variances`.
        """
        return self._run(first, second, variances, others, None)

    def _run(self, first, second, variances, others, found):
        state = None
        for level, (y, x) in enumerate(self.blocks):
            block = _Block(y, x, first.shape[-1], self.weight / 9, self.bias)
            if level == 0:
                source = _Images(first, second / len(second), y, x)
            else:
                source = _Planes(*state, y, x)
            if found is not None:
                found.append(block.variance(source))
                v = u = found[-1]
            else:
                v, u = variances[level], others[level]
            state = block.run(source, v, u)
        N, U = (part[0, 0].mean(axis=(0, 1)) for part in state)  # negatives, see relu_in_place
        S = self.bias - self.weight * N
        return S, S - self.weight * U


class _Images:
    """Planes of the products of two images' pixels."""

    first = True

    def __init__(self, first, second, y, x):
        self.left, self.right, self.y, self.x = first, second, y, x
        self.work = np.empty(2 * first[0].size)

    def __call__(self, dy, dx):
        a = self.left[:, self.y.first(dy), self.x.first(dx)]
        b = self.right[:, self.y.second(dy), self.x.second(dx)]
        total, term = self.work[: 2 * a[0].size].reshape(2, *a[0].shape)
        np.multiply(a[0], b[0], out=total)
        for channel in range(1, len(a)):
            np.multiply(a[channel], b[channel], out=term)
            total += term
        return total, None


class _Planes:
    """Planes that the block below has pooled, negative."""

    first = False

    def __init__(self, N, U, y, x):
        self.N, self.U, self.y, self.x = N, U, y, x

    def __call__(self, dy, dx):
        where = dy + self.y.reach, dx + self.x.reach, self.y.first(dy), self.x.first(dx)
        return self.N[where], self.U[where]


class _Block:
    """One convolution, ReLU and pool over planes (y, x, pairs), with the buffers that every plane uses again."""

    def __init__(self, y, x, pairs, scale, bias):
        self.y, self.x, self.pairs, self.scale, self.bias = y, x, pairs, scale, bias
        self.work = np.empty((5, y.size * x.size * pairs))

    def variance(self, source):
        S = self._convolved(source, 0, 0)[0].copy()
        return np.negative(S, out=S)

    def run(self, source, v, u):
        """The pooled planes ``(-S, -T)``, each (2 r + 1, 2 s + 1, h, w, pairs)."""
        y, x = self.y, self.x
        shape = (2 * y.pooled_reach + 1, 2 * x.pooled_reach + 1, y.pooled, x.pooled, self.pairs)
        pooled = np.zeros((2, *shape))
        room = np.empty((2, shape[0], y.pooled, x.size * self.pairs))
        largest = v.max() * u.max()
        for dx in x.offsets():
            # Along y first: whole rows are added, and the rest of the pool has half of them.
            width = x.first(dx).stop - x.first(dx).start
            half = room[..., : width * self.pairs].reshape(2, shape[0], y.pooled, width, self.pairs)
            half[...] = 0.0
            for dy in y.offsets():
                N, U = self._convolved(source, dy, dx)
                parts = list(y.parts(dy))
                if len(parts) == 1:  # at the edge of the band the rows of the other parity go nowhere
                    N, U = N[parts[0][0]], U[parts[0][0]]
                    rows = slice(y.first(dy).start + parts[0][0].start, y.first(dy).stop, 2)
                else:
                    rows = y.first(dy)
                w, c = (self.work[i, : N.size].reshape(N.shape) for i in (3, 4))
                there = slice(rows.start + dy, rows.stop + dy, rows.step)
                np.multiply(v[rows, x.first(dx)], u[there, x.second(dx)], out=w)
                relu_in_place(N, U, w, c, largest, source.first)
                for entries, coarse, at in parts:
                    chosen = slice(None) if len(parts) == 1 else entries
                    half[0, coarse, at] += N[chosen]
                    half[1, coarse, at] += U[chosen]
            for entries, coarse, at in x.parts(dx):
                pooled[:, :, coarse, :, at] += half[:, :, :, entries]
        pooled /= 32 * np.pi  # the pool's 16, and the 2 pi of relu_in_place
        return pooled

    def _convolved(self, source, dy, dx):
        """The negatives ``(-S, -T)`` of a plane behind the convolution, in this block's buffers."""
        N, U = source(dy, dx)
        a, b, c = (self.work[i, : N.size].reshape(N.shape) for i in range(3))
        if U is None:  # ahead of the first block S is positive, and T = S behind the convolution
            _box(N, c, a)
            np.multiply(a, -self.scale, out=a)
            a -= self.bias
            return a, b
        _box(N, c, a)
        a *= self.scale
        a -= self.bias
        _box(U, c, b)
        b *= self.scale
        b += a
        return a, b


def _box(plane, work, out):
    """Sums over 3 x 3 neighbours, nothing outside."""
    np.add(plane[:-1], plane[1:], out=work[:-1])
    work[-1] = plane[-1]
    work[1:] += plane[:-1]
    np.add(work[:, :-1], work[:, 1:], out=out[:, :-1])
    out[:, -1] = work[:, -1]
    out[:, 1:] += work[:, :-1]
