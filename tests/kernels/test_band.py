"""The band of pixel pairs against all of them, by loops that share no code with it."""

import numpy as np
import pytest

from sklearn_influence.kernels.band import Band, axes


def box(S):
    """Sums over the offsets k of (p + k, p' + k), for S (h, w, h, w)."""
    h, w = S.shape[:2]
    padded = np.pad(S, 1)
    return sum(
        padded[1 + a : 1 + a + h, 1 + b : 1 + b + w, 1 + a : 1 + a + h, 1 + b : 1 + b + w]
        for a in (-1, 0, 1)
        for b in (-1, 0, 1)
    )


def pool(S):
    h, w = S.shape[:2]
    S = np.pad(S, [(0, h % 2), (0, w % 2)] * 2)
    h, w = (h + 1) // 2, (w + 1) // 2
    return S.reshape(h, 2, w, 2, h, 2, w, 2).sum(axis=(1, 3, 5, 7)) / 16


def full(x, z, depth, sigma_w, sigma_b):
    """(NNGP, NTK) of two images (H, W, C), on all pairs of pixels."""
    states = []
    for a, b in ((x, z), (x, x), (z, z)):
        S = np.einsum("abc,dec->abde", a, b) / x.shape[2]
        states.append([S, np.zeros_like(S)])
    for _ in range(depth):
        for state in states:
            S = sigma_w**2 / 9 * box(state[0]) + sigma_b**2
            state[:] = S, sigma_w**2 / 9 * box(state[1]) + S
        v, u = (np.einsum("abab->ab", state[0]) for state in states[1:])
        for state, (a, b) in zip(states, ((v, u), (v, v), (u, u)), strict=True):
            S, T = state
            p = np.sqrt(a[:, :, None, None] * b)
            cosine = np.clip(np.divide(S, p, out=np.ones_like(S), where=p > 0), -1, 1)
            angle = np.arccos(cosine)
            k1 = p * (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / (2 * np.pi)
            state[:] = pool(k1), pool(T * (np.pi - angle) / (2 * np.pi))
    S, T = states[0]
    S = sigma_w**2 * np.einsum("abab->ab", S).mean() + sigma_b**2
    return S, sigma_w**2 * np.einsum("abab->ab", T).mean() + S


def stacked(images):
    return np.ascontiguousarray(np.stack(images).transpose(3, 1, 2, 0))


SHAPES = [(8, 8, 3), (7, 5, 1), (1, 6, 2), (3, 9, 1), (1, 1, 4), (12, 10, 1), (17, 2, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_band_is_all_pairs(shape, depth):
    rng = np.random.default_rng(0)
    xs, zs = ([rng.standard_normal(shape) for _ in range(2)] for _ in range(2))
    band = Band(shape[:2], depth, 1.3, 0.2)
    first, second = stacked(xs), stacked(zs)
    v, S, T = band.variances(first)
    u = band.variances(second)[0]
    assert [part.shape for part in v] == [(y.size, x.size, 2) for y, x in band.blocks]
    exact = [full(x, z, depth, 1.3, 0.2) for x, z in zip(xs, zs, strict=True)]
    np.testing.assert_allclose(np.transpose(band.kernels(first, second, v, u)), exact, rtol=1e-12, atol=1e-12)
    exact = [full(x, x, depth, 1.3, 0.2) for x in xs]
    np.testing.assert_allclose(np.transpose([S, T]), exact, rtol=1e-7)  # where arccos is not exact
    np.testing.assert_array_equal(band.kernels(first, first.copy(), v, v), [S, T])


def test_offsets_of_the_band():
    """Those of the head at the top, twice as many and one below; 168 thousand ReLUs at 32 x 32."""
    assert [axis.reach for axis in axes(32, 3)] == [7, 3, 1]
    assert [axis.reach for axis in axes(4, 3)] == [3, 1, 0]
    counts = [sum(len(range(100)[e]) for d in a.offsets() for e, *_ in a.parts(d)) for a in axes(32, 3)]
    assert sum(count**2 for count in counts) == 168_000


def test_memory_of_a_pair_counts_what_is_held():
    assert 2 * 7**2 * 16**2 < Band((32, 32), 3, 1.0, 0.0).floats_per_pair() < 8 * 7**2 * 16**2
