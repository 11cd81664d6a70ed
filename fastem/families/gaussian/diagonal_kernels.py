"""Kernels of the structures without covariances between features: diag and spherical."""

from numba import njit

from fastem.families.gaussian.centring import centred
from fastem.kernels.simd import (
    add_totals,
    elements,
    fill,
    fma,
    huge,
    load,
    load_narrow,
    minimum,
    narrow_elements,
    splat,
    store,
    where_greater,
)
from fastem.kernels.tiles import is_complete, n_points

__all__ = ["add_incomplete", "add_independent", "incomplete_log_density", "independent_log_density"]


@njit(error_model="numpy")
def independent_log_density(tile, params, out):  # type: ignore[no-untyped-def]
    """Log-densities of all components; ``params.roots`` are roots of precisions, (K, d)."""
    d = tile.shape[0]
    w = elements(tile)
    m = n_points(tile)
    for b in range(0, m, 2 * w):
        for k in range(out.shape[0]):
            constant = splat(params.constants, k)
            q0 = fill(constant, 0.0)
            q1 = q0
            for j in range(d):
                at = k * d + j
                root = splat(params.roots, at)
                z0 = centred(load(tile, j * m + b), params.means, params.means_low, at) * root
                z1 = centred(load(tile, j * m + b + w), params.means, params.means_low, at) * root
                q0 = fma(z0, z0, q0)
                q1 = fma(z1, z1, q1)
            half = fill(constant, -0.5)
            store(out, k * m + b, fma(minimum(q0, huge(q0)), half, constant))
            store(out, k * m + b + w, fma(minimum(q1, huge(q1)), half, constant))


@njit(error_model="numpy")
def add_independent(tile, resp, counts, params, first, second, stride, step, lane):  # type: ignore[no-untyped-def]
    """Add the moments of all components.

    Second moments of component k and feature j lie at ``(lane * K + k) * stride + j * step``.
    Few features at a time meet all components, so that they are read from the nearest cache.
    """
    d = tile.shape[0]
    n_components = resp.shape[0]
    for j in range(0, d - 3, 4):
        for k in range(n_components):
            if counts[k] > 0.0:
                row = lane * n_components + k
                _add_four(tile, resp, params, j, k, first, row * d + j, second, row * stride + j * step, step)
    if d % 4 >= 2:
        j = d - d % 4
        for k in range(n_components):
            if counts[k] > 0.0:
                row = lane * n_components + k
                _add_two(tile, resp, params, j, k, first, row * d + j, second, row * stride + j * step, step)
    if d % 2 == 1:
        j = d - 1
        for k in range(n_components):
            if counts[k] > 0.0:
                row = lane * n_components + k
                _add_one(tile, resp, params, j, k, first, row * d + j, second, row * stride + j * step)


@njit(error_model="numpy")
def _add_four(tile, resp, params, j, k, first, at_first, second, at_second, step):  # type: ignore[no-untyped-def]
    """Moments of features j to j + 3 in component k; second ones in one sum if `step` is 0."""
    m = n_points(tile)
    at = k * tile.shape[0] + j
    s0 = fill(load_narrow(tile, 0), 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    q0 = s0
    q1 = s0
    q2 = s0
    q3 = s0
    for b in range(0, m, narrow_elements(tile)):
        r = load_narrow(resp, k * m + b)
        z0 = centred(load_narrow(tile, j * m + b), params.centres, params.centres_low, at)
        z1 = centred(load_narrow(tile, j * m + m + b), params.centres, params.centres_low, at + 1)
        z2 = centred(load_narrow(tile, j * m + 2 * m + b), params.centres, params.centres_low, at + 2)
        z3 = centred(load_narrow(tile, j * m + 3 * m + b), params.centres, params.centres_low, at + 3)
        y0 = r * z0
        y1 = r * z1
        y2 = r * z2
        y3 = r * z3
        s0 = s0 + y0
        s1 = s1 + y1
        s2 = s2 + y2
        s3 = s3 + y3
        q0 = fma(y0, z0, q0)
        q1 = fma(y1, z1, q1)
        q2 = fma(y2, z2, q2)
        q3 = fma(y3, z3, q3)
    add_totals(first, at_first, (s0, s1, s2, s3))
    if step == 1:
        add_totals(second, at_second, (q0, q1, q2, q3))
    else:
        add_totals(second, at_second, ((q0 + q1) + (q2 + q3),))


@njit(error_model="numpy")
def _add_two(tile, resp, params, j, k, first, at_first, second, at_second, step):  # type: ignore[no-untyped-def]
    """The same for features j and j + 1."""
    m = n_points(tile)
    at = k * tile.shape[0] + j
    s0 = fill(load(tile, 0), 0.0)
    s1 = s0
    q0 = s0
    q1 = s0
    for b in range(0, m, elements(tile)):
        r = load(resp, k * m + b)
        z0 = centred(load(tile, j * m + b), params.centres, params.centres_low, at)
        z1 = centred(load(tile, j * m + m + b), params.centres, params.centres_low, at + 1)
        y0 = r * z0
        y1 = r * z1
        s0 = s0 + y0
        s1 = s1 + y1
        q0 = fma(y0, z0, q0)
        q1 = fma(y1, z1, q1)
    add_totals(first, at_first, (s0, s1))
    if step == 1:
        add_totals(second, at_second, (q0, q1))
    else:
        add_totals(second, at_second, (q0 + q1,))


@njit(error_model="numpy")
def _add_one(tile, resp, params, j, k, first, at_first, second, at_second):  # type: ignore[no-untyped-def]
    """The same for feature j alone."""
    m = n_points(tile)
    s0 = fill(load(tile, 0), 0.0)
    q0 = s0
    for b in range(0, m, elements(tile)):
        z = centred(load(tile, j * m + b), params.centres, params.centres_low, k * tile.shape[0] + j)
        y = load(resp, k * m + b) * z
        s0 = s0 + y
        q0 = fma(y, z, q0)
    add_totals(first, at_first, (s0,))
    add_totals(second, at_second, (q0,))


# --- rows with missing cells ------------------------------------------------------------------


@njit(error_model="numpy")
def incomplete_log_density(tile, params, out):  # type: ignore[no-untyped-def]
    """Log-densities of the cells that are there; ``params.offsets`` are the constants of each cell, (K, d)."""
    if is_complete(tile):
        independent_log_density(tile, params, out)
        return
    d = tile.shape[0]
    w = elements(tile)
    m = n_points(tile)
    for k in range(out.shape[0]):
        constant = splat(params.log_weights, k)
        zero = fill(constant, 0.0)
        half = fill(constant, -0.5)
        for b in range(0, m, w):
            s = constant
            for j in range(d):
                at = k * d + j
                x = load(tile, j * m + b)
                z = centred(x, params.means, params.means_low, at) * splat(params.roots, at)
                cell = fma(minimum(z * z, huge(x)), half, splat(params.offsets, at))
                s = s + where_greater(x, zero - huge(x), cell, zero)
            store(out, k * m + b, s)


@njit(error_model="numpy")
def add_incomplete(tile, resp, counts, params, stats, stride, step, lane):  # type: ignore[no-untyped-def]
    """Add the moments of the cells that are there, and the responsibilities of those that are not."""
    if is_complete(tile):
        add_independent(tile, resp, counts, params, stats.first, stats.second, stride, step, lane)
        return
    d = tile.shape[0]
    w = elements(tile)
    m = n_points(tile)
    centres, centres_low = params.centres, params.centres_low
    zero = fill(load(tile, 0), 0.0)
    for k in range(resp.shape[0]):
        row = lane * resp.shape[0] + k
        for j in range(d):
            s = zero
            q = zero
            a = zero
            for b in range(0, m, w):
                x = load(tile, j * m + b)
                r = load(resp, k * m + b)
                lowest = zero - huge(x)
                here = where_greater(x, lowest, r, zero)
                z = where_greater(x, lowest, centred(x, centres, centres_low, k * d + j), zero)
                y = here * z
                s = s + y
                q = fma(y, z, q)
                a = a + (r - here)
            add_totals(stats.first, row * d + j, (s,))
            add_totals(stats.second, row * stride + j * step, (q,))
            add_totals(stats.absent, row * d + j, (a,))
