"""Kernels of full and tied covariances in one to three dimensions, where all stays in registers.

They compute what `fastem.families.gaussian.triangular_kernels` computes for any dimension, on the same packed
factors and moments.
"""

from numba import njit

from fastem.families.gaussian.centring import centred
from fastem.kernels.simd import add_totals, elements, fill, fma, huge, load, minimum, splat, store
from fastem.kernels.tiles import n_points

__all__ = ["add_small", "small_log_density"]


@njit(error_model="numpy")
def small_log_density(tile, params, factors, stride, out):  # type: ignore[no-untyped-def]
    """Log-densities of all components for d <= 3."""
    w = elements(tile)
    m = n_points(tile)
    for b in range(0, m, w):
        for k in range(out.shape[0]):
            q = _square(tile, params, factors, k * stride, k * tile.shape[0], b)
            constant = splat(params.constants, k)
            store(out, k * m + b, fma(minimum(q, huge(q)), fill(q, -0.5), constant))


@njit(error_model="numpy")
def _square(tile, params, factors, at, mean, b):  # type: ignore[no-untyped-def]
    """Squared length of ``L z`` for one vector of points."""
    d = tile.shape[0]
    m = n_points(tile)
    z0 = centred(load(tile, b), params.means, params.means_low, mean)
    a0 = splat(factors, at) * z0
    if d == 1:
        return a0 * a0
    z1 = centred(load(tile, m + b), params.means, params.means_low, mean + 1)
    a1 = fma(splat(factors, at + 2), z1, splat(factors, at + 1) * z0)
    if d == 2:
        return fma(a0, a0, a1 * a1)
    z2 = centred(load(tile, 2 * m + b), params.means, params.means_low, mean + 2)
    a2 = fma(splat(factors, at + 5), z2, fma(splat(factors, at + 4), z1, splat(factors, at + 3) * z0))
    return fma(a0, a0, fma(a1, a1, a2 * a2))


@njit(error_model="numpy")
def add_small(tile, resp, counts, params, first, second, at, stride, lane):  # type: ignore[no-untyped-def]
    """Add the moments of all components for d <= 3."""
    d = tile.shape[0]
    n_components = resp.shape[0]
    for k in range(n_components):
        if counts[k] > 0.0:
            row = (lane * n_components + k) * d
            if d == 1:
                _add_one(tile, resp, params, k, first, row, second, at + k * stride)
            elif d == 2:
                _add_two(tile, resp, params, k, first, row, second, at + k * stride)
            else:
                _add_three(tile, resp, params, k, first, row, second, at + k * stride)


@njit(error_model="numpy")
def _add_one(tile, resp, params, k, first, row, second, at):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    s0 = fill(load(tile, 0), 0.0)
    q00 = s0
    for b in range(0, m, elements(tile)):
        z0 = centred(load(tile, b), params.centres, params.centres_low, k)
        y0 = load(resp, k * m + b) * z0
        s0 = s0 + y0
        q00 = fma(y0, z0, q00)
    add_totals(first, row, (s0,))
    add_totals(second, at, (q00,))


@njit(error_model="numpy")
def _add_two(tile, resp, params, k, first, row, second, at):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    s0 = fill(load(tile, 0), 0.0)
    s1 = s0
    q00 = s0
    q10 = s0
    q11 = s0
    for b in range(0, m, elements(tile)):
        r = load(resp, k * m + b)
        z0 = centred(load(tile, b), params.centres, params.centres_low, 2 * k)
        z1 = centred(load(tile, m + b), params.centres, params.centres_low, 2 * k + 1)
        y0 = r * z0
        y1 = r * z1
        s0 = s0 + y0
        s1 = s1 + y1
        q00 = fma(y0, z0, q00)
        q10 = fma(y1, z0, q10)
        q11 = fma(y1, z1, q11)
    add_totals(first, row, (s0, s1))
    add_totals(second, at, (q00, q10, q10, q11))


@njit(error_model="numpy")
def _add_three(tile, resp, params, k, first, row, second, at):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    s0 = fill(load(tile, 0), 0.0)
    s1 = s0
    s2 = s0
    q00 = s0
    q10 = s0
    q11 = s0
    q20 = s0
    q21 = s0
    q22 = s0
    for b in range(0, m, elements(tile)):
        r = load(resp, k * m + b)
        z0 = centred(load(tile, b), params.centres, params.centres_low, 3 * k)
        z1 = centred(load(tile, m + b), params.centres, params.centres_low, 3 * k + 1)
        z2 = centred(load(tile, 2 * m + b), params.centres, params.centres_low, 3 * k + 2)
        y0 = r * z0
        y1 = r * z1
        y2 = r * z2
        s0 = s0 + y0
        s1 = s1 + y1
        s2 = s2 + y2
        q00 = fma(y0, z0, q00)
        q10 = fma(y1, z0, q10)
        q11 = fma(y1, z1, q11)
        q20 = fma(y2, z0, q20)
        q21 = fma(y2, z1, q21)
        q22 = fma(y2, z2, q22)
    add_totals(first, row, (s0, s1))
    add_totals(first, row + 2, (s2,))
    add_totals(second, at, (q00, q10, q10, q11))
    add_totals(second, at + 4, (q20, q21))
    add_totals(second, at + 6, (q22,))
