"""The band of :mod:`band` on a graphics card: a convolution, a ReLU and a pool in one CUDA kernel.

A thread makes one pooled entry of one pair of images: the four by four pixel pairs under it, nine neighbours each.
Pairs are the last axis, as on the CPU, so that neighbouring threads read neighbouring numbers; what they read again
lies in the cache.
"""

import math

from .._backend import array_namespace, fused
from .band import Band
from .recursion import COLLINEAR

SOURCE = r"""
typedef long long integer;

/* Covariance S and tangent T of pixels (y, x) and (y + dy, x + dx) behind the 3 x 3 convolution. */
__device__ void convolved(
    const double *left, const double *right, integer channels, const double *S_in, const double *T_in,
    integer h, integer w, integer reach_y, integer reach_x, integer pairs, double scale, double bias,
    integer pair, integer y, integer x, integer dy, integer dx, double *S, double *T)
{
    double s = 0.0, t = 0.0;
    for (integer a = y - 1; a <= y + 1; a++) {
        if (a < 0 || a >= h || a + dy < 0 || a + dy >= h) continue;
        for (integer b = x - 1; b <= x + 1; b++) {
            if (b < 0 || b >= w || b + dx < 0 || b + dx >= w) continue;
            if (channels) {
                for (integer c = 0; c < channels; c++)
                    s += left[((c * h + a) * w + b) * pairs + pair]
                       * right[((c * h + a + dy) * w + b + dx) * pairs + pair];
            } else {
                integer plane = (dy + reach_y) * (2 * reach_x + 1) + dx + reach_x;
                integer at = ((plane * h + a) * w + b) * pairs + pair;
                s += S_in[at];
                t += T_in[at];
            }
        }
    }
    *S = scale * s + bias;
    *T = channels ? *S : scale * t + *S;
}

extern "C" __global__ void centre(
    const double *left, const double *right, integer channels, const double *S_in, const double *T_in,
    integer h, integer w, integer reach_y, integer reach_x, integer pairs, double scale, double bias, double *variance)
{
    integer thread = (integer)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= h * w * pairs) return;
    integer pair = thread % pairs, x = thread / pairs % w, y = thread / pairs / w;
    double T;
    convolved(left, right, channels, S_in, T_in, h, w, reach_y, reach_x, pairs, scale, bias, pair, y, x, 0, 0,
              variance + thread, &T);
}

extern "C" __global__ void block(
    const double *left, const double *right, integer channels, const double *S_in, const double *T_in,
    integer h, integer w, integer reach_y, integer reach_x, integer pairs, double scale, double bias,
    const double *v, const double *u,
    integer pooled_h, integer pooled_w, integer r_y, integer r_x, double collinear, double factor,
    double *S_out, double *T_out)
{
    integer thread = (integer)blockIdx.x * blockDim.x + threadIdx.x, rest = thread;
    integer pair = rest % pairs; rest /= pairs;
    integer X = rest % pooled_w; rest /= pooled_w;
    integer Y = rest % pooled_h; rest /= pooled_h;
    integer Dx = rest % (2 * r_x + 1) - r_x, Dy = rest / (2 * r_x + 1) - r_y;
    if (Dy > r_y) return;
    double S_sum = 0.0, T_sum = 0.0;
    for (integer corner = 0; corner < 16; corner++) {
        integer y = 2 * Y + (corner & 1), x = 2 * X + (corner >> 1 & 1);
        integer y2 = 2 * (Y + Dy) + (corner >> 2 & 1), x2 = 2 * (X + Dx) + (corner >> 3);
        if (y >= h || x >= w || y2 < 0 || y2 >= h || x2 < 0 || x2 >= w) continue;
        double S, T;
        convolved(left, right, channels, S_in, T_in, h, w, reach_y, reach_x, pairs, scale, bias, pair, y, x,
                  y2 - y, x2 - x, &S, &T);
        double square = v[(y * w + x) * pairs + pair] * u[(y2 * w + x2) * pairs + pair];
        double sine = square - S * S;
        sine = sine > collinear * square ? sqrt(sine) : 0.0;
        double angle = atan2(sine, -S);
        S_sum += sine + angle * S;
        T_sum += angle * T;
    }
    S_out[thread] = factor * S_sum;
    T_out[thread] = factor * T_sum;
}
"""


class FusedBand(Band):
    """A :class:`~sklearn_influence.kernels.band.Band` of arrays on a card; the same methods."""

    def _run(self, first, second, variances, others, found):
        xp = array_namespace(first)
        channels, pairs = first.shape[0], first.shape[-1]
        first, second = xp.ascontiguousarray(first), xp.ascontiguousarray(second) / channels
        S = T = first  # ahead of the first block: not read
        for level, (y, x) in enumerate(self.blocks):
            source = first, second, 0 if level else channels, S, T, y.size, x.size, y.reach, x.reach, pairs
            source = *source, self.weight / 9, self.bias
            if found is None:
                v, u = variances[level], others[level]
            else:
                v = u = xp.empty((y.size, x.size, pairs), dtype=xp.float64)
                fused(SOURCE, "centre")(math.prod(v.shape), *source, v)
                found.append(v)
            shape = 2 * y.pooled_reach + 1, 2 * x.pooled_reach + 1, y.pooled, x.pooled, pairs
            S, T = (xp.empty(shape, dtype=xp.float64) for _ in range(2))
            pool = v, u, y.pooled, x.pooled, y.pooled_reach, x.pooled_reach, COLLINEAR, 1 / (32 * math.pi)
            fused(SOURCE, "block")(math.prod(shape), *source, *pool, S, T)
        S, T = (xp.mean(part[0, 0, ...], axis=(0, 1)) for part in (S, T))
        S = self.bias + self.weight * S
        return S, S + self.weight * T
