"""Gaussians with covariances where cells are missing: conditional moments given what is there.

With the precision matrix P of a component, the missing cells m of a row have, given its other
cells o, the covariance ``inverse(P_mm)`` and deviate from their means by
``z_m = -inverse(P_mm) P_mo z_o``. The squared distance of the row filled in so is that of its
observed cells alone, and ``log |P_oo marginal| = log |P| - log |P_mm|``. So the kernels for
complete rows do most of the work, and what remains is one small factorisation for each pattern of
missing cells that a tile holds. Points with the same pattern stand together.
"""

import math

from numba import njit

from fastem.families._gaussian import LOG_2PI, centred
from fastem.families._triangular import add_moments, squares
from fastem.simd import fill, huge, lanes, load, minimum, splat, store, where_greater
from fastem.tiles import n_points

__all__ = ["add_conditional", "conditional_log_density", "conditional_scratch", "distances", "divide", "group_points"]

# Up to so many columns, sums of powers of two tell all patterns apart in float32 too.
_EXACT_COLUMNS = 20


def conditional_scratch(d: int, m: int) -> int:
    """Numbers of scratch space for tiles of m points."""
    return (3 * d + 13) * m + d * d + d


@njit(error_model="numpy")
def conditional_log_density(tile, params, factors, stride, p_stride, out, scratch):  # type: ignore[no-untyped-def]
    """Log-densities of the cells that are there; packed factors and precisions lie so far apart."""
    d = tile.shape[0]
    m = n_points(tile)
    z, x, r, extra, small = divide(scratch, d, m)
    n_groups = group_points(tile, x, extra)
    for k in range(out.shape[0]):
        distances(x, z, r, params, factors, stride, p_stride, k, n_groups, d, m, extra, small)
        for b in range(m):
            out[k, int(extra[b])] = params.constants[k] + (r[b] + extra[5 * m + b])


@njit(error_model="numpy")
def distances(x, z, r, params, factors, stride, p_stride, k, n_groups, d, m, extra, small):  # type: ignore[no-untyped-def]
    """Half the squared distances of grouped points from component k, negative, in `r`.

    Leaves what missing cells add to each point's log-density at 5 m of `extra`, and their number
    at 6 m.
    """
    w = lanes(x)
    buffer = small[d * d + d :]
    for g in range(n_groups):
        _fill_group(x, z, params, k, k * p_stride, g, d, m, extra, small)
    half = fill(load(x, 0), -0.5)
    for b in range(0, m, 2 * w):
        for j in range(d):
            store(buffer, 2 * w * j, load(z, j * m + b))
            store(buffer, 2 * w * j + w, load(z, j * m + b + w))
        q0, q1 = squares(buffer, d, factors, k * stride)
        store(r, b, minimum(q0, huge(q0)) * half)
        store(r, b + w, minimum(q1, huge(q1)) * half)


@njit(error_model="numpy")
def add_conditional(  # type: ignore[no-untyped-def]
    tile, weighted, resp, counts, params, first, second, at, stride, p_stride, lane, scratch
):
    """Add the expected moments of all components; the second ones start at `at`, `stride` numbers apart.

    Deviations count with the weights `weighted`, what they may miss with the responsibilities.
    """
    d = tile.shape[0]
    m = n_points(tile)
    n_components = resp.shape[0]
    z, x, r, extra, small = divide(scratch, d, m)
    n_groups = group_points(tile, x, extra)
    for k in range(n_components):
        if counts[k] > 0.0:
            for b in range(m):
                r[b] = weighted[k, int(extra[b])]
            for g in range(n_groups):
                n_missing = _fill_group(x, z, params, k, k * p_stride, g, d, m, extra, small)
                if n_missing > 0:
                    weight = 0.0
                    for b in range(int(extra[m + g]), int(extra[m + g + 1])):
                        weight += resp[k, int(extra[b])]
                    _add_spread(second, at + k * stride, weight, n_missing, d, params.places, small)
            _shift(z, params, k, d, m)
            add_moments(z, d, m, r, 0, first, (lane * n_components + k) * d, second, at + k * stride)


@njit(error_model="numpy")
def divide(scratch, d, m):  # type: ignore[no-untyped-def]
    """Scratch for filled deviations, grouped rows, responsibilities, groups, and small matrices.

    Groups: order of the points (m), starts (m + 1), of each point the hash (m) and group (m), then
    constants of each point at 5 m and a hash table at 6 m. Small: factor (d, d), columns (d),
    then a buffer.
    """
    x = (d + 4) * m
    r = x + d * m
    extra = r + m
    small = extra + 8 * m
    return scratch[:x], scratch[x:r], scratch[r:extra], scratch[extra:small], scratch[small:]


@njit(error_model="numpy")
def group_points(tile, x, extra):  # type: ignore[no-untyped-def]
    """Copy the points of a tile to `x`, those with the same cells missing together; returns the groups."""
    d = tile.shape[0]
    m = n_points(tile)
    _hash(tile, extra, 3 * m)
    table = 6 * m
    for i in range(2 * m):
        extra[table + i] = -1.0
    n_groups = 0
    for b in range(m):
        slot = int(extra[3 * m + b]) % (2 * m)
        while True:
            g = int(extra[table + slot])
            if g < 0:
                extra[table + slot] = n_groups
                extra[5 * m + n_groups] = b  # its first point, for now
                extra[4 * m + b] = n_groups
                n_groups += 1
                break
            if _is_alike(tile, extra, 3 * m, int(extra[5 * m + g]), b):
                extra[4 * m + b] = g
                break
            slot = (slot + 1) % (2 * m)
    _sort(extra, m, n_groups)
    for j in range(d):
        for b in range(m):
            x[j * m + b] = tile[j, int(extra[b])]
    return n_groups


@njit(error_model="numpy")
def _hash(tile, extra, at):  # type: ignore[no-untyped-def]
    """A number of each point that tells its missing cells, and tells them apart if columns are few."""
    w = lanes(tile)
    m = n_points(tile)
    for b in range(0, m, w):
        zero = fill(load(tile, b), 0.0)
        h = zero
        for j in range(tile.shape[0]):
            weight = float(1 << j) if tile.shape[0] <= _EXACT_COLUMNS else float((j * 2654435761) % 65521 + 1)
            x = load(tile, j * m + b)
            h = where_greater(x, zero - huge(x), h, h + fill(h, weight))
        store(extra, at + b, h)


@njit(error_model="numpy")
def _is_alike(tile, extra, hashes, a, b):  # type: ignore[no-untyped-def]
    """Whether two points miss the same cells."""
    if extra[hashes + a] != extra[hashes + b]:
        return False
    if tile.shape[0] > _EXACT_COLUMNS:
        for j in range(tile.shape[0]):
            if (tile[j, a] == tile[j, a]) != (tile[j, b] == tile[j, b]):
                return False
    return True


@njit(error_model="numpy")
def _sort(extra, m, n_groups):  # type: ignore[no-untyped-def]
    """Order and starts of the groups, from the group of each point."""
    for g in range(n_groups + 1):
        extra[m + g] = 0.0
    for b in range(m):
        extra[m + int(extra[4 * m + b]) + 1] += 1.0
    for g in range(n_groups):
        extra[m + g + 1] += extra[m + g]
    for b in range(m):
        g = int(extra[4 * m + b])
        extra[int(extra[m + g])] = b
        extra[m + g] += 1.0
    for g in range(n_groups, 0, -1):
        extra[m + g] = extra[m + g - 1]
    extra[m] = 0.0


@njit(error_model="numpy")
def _fill_group(x, z, params, k, p_at, g, d, m, extra, small):  # type: ignore[no-untyped-def]
    """Deviations of a group's points from the means of component k, the missing ones by conditional means.

    A last vector may run into the next group, which is filled after this one. Returns the number
    of missing cells; their columns come first in `small`, after the factor of their precisions.
    """
    w = lanes(z)
    begin, end = int(extra[m + g]), int(extra[m + g + 1])
    columns = d * d
    n_missing = 0
    for j in range(d):
        if x[j * m + begin] != x[j * m + begin]:
            small[columns + n_missing] = j
            n_missing += 1
    n_here = n_missing
    for j in range(d):
        if x[j * m + begin] == x[j * m + begin]:
            small[columns + n_here] = j
            n_here += 1
    constant = _factor(params.precisions, p_at * d * d, n_missing, d, small)
    for b in range(begin, end):
        extra[5 * m + b] = constant
        extra[6 * m + b] = n_missing
    whole = begin
    while whole < end and whole + w <= m:
        _fill_vector(x, z, params, k, p_at * d * d, n_missing, d, m, small, whole)
        whole += w
    for b in range(whole, end):
        _fill_point(x, z, params, k, p_at * d * d, n_missing, d, m, small, b)
    return n_missing


@njit(error_model="numpy")
def _factor(precisions, at, n_missing, d, small):  # type: ignore[no-untyped-def]
    """Cholesky factor of the missing cells' precisions, with inverse diagonal; what they add to log-densities."""
    columns = d * d
    constant = 0.5 * n_missing * LOG_2PI
    for i in range(n_missing):
        a = int(small[columns + i])
        for j in range(i + 1):
            s = precisions[at + a * d + int(small[columns + j])]
            for q in range(j):
                s -= small[i * d + q] * small[j * d + q]
            if i == j:
                small[i * d + i] = 1.0 / math.sqrt(s)
                constant -= 0.5 * math.log(s)
            else:
                small[i * d + j] = s * small[j * d + j]
    return constant


@njit(error_model="numpy")
def _fill_vector(x, z, params, k, p_at, n_missing, d, m, small, b):  # type: ignore[no-untyped-def]
    """Fill one vector of points."""
    columns = d * d
    for i in range(n_missing, d):
        j = int(small[columns + i])
        store(z, j * m + b, centred(load(x, j * m + b), params.means, params.means_low, k * d + j))
    for i in range(n_missing):
        a = int(small[columns + i])
        s = fill(load(x, b), 0.0)
        for o in range(n_missing, d):
            j = int(small[columns + o])
            s = s - splat(params.precisions, p_at + a * d + j) * load(z, j * m + b)
        for q in range(i):
            s = s - splat(small, i * d + q) * load(z, int(small[columns + q]) * m + b)
        store(z, a * m + b, s * splat(small, i * d + i))
    for i in range(n_missing - 1, -1, -1):
        a = int(small[columns + i])
        s = load(z, a * m + b)
        for q in range(i + 1, n_missing):
            s = s - splat(small, q * d + i) * load(z, int(small[columns + q]) * m + b)
        store(z, a * m + b, s * splat(small, i * d + i))


@njit(error_model="numpy")
def _fill_point(x, z, params, k, p_at, n_missing, d, m, small, b):  # type: ignore[no-untyped-def]
    """Fill one point."""
    columns = d * d
    for i in range(n_missing, d):
        j = int(small[columns + i])
        z[j * m + b] = (x[j * m + b] - params.means[k, j]) - params.means_low[k, j]
    for i in range(n_missing):
        a = int(small[columns + i])
        s = 0.0
        for o in range(n_missing, d):
            j = int(small[columns + o])
            s -= params.precisions[p_at + a * d + j] * z[j * m + b]
        for q in range(i):
            s -= small[i * d + q] * z[int(small[columns + q]) * m + b]
        z[a * m + b] = s * small[i * d + i]
    for i in range(n_missing - 1, -1, -1):
        a = int(small[columns + i])
        s = z[a * m + b]
        for q in range(i + 1, n_missing):
            s -= small[q * d + i] * z[int(small[columns + q]) * m + b]
        z[a * m + b] = s * small[i * d + i]


@njit(error_model="numpy")
def _shift(z, params, k, d, m):  # type: ignore[no-untyped-def]
    """Deviations from the centres instead of the means."""
    w = lanes(z)
    for j in range(d):
        at = k * d + j
        shift = (splat(params.means, at) - splat(params.centres, at)) + (
            splat(params.means_low, at) - splat(params.centres_low, at)
        )
        for b in range(0, m, w):
            store(z, j * m + b, load(z, j * m + b) + shift)


@njit(error_model="numpy")
def _add_spread(second, at, weight, n_missing, d, places, small):  # type: ignore[no-untyped-def]
    """Add the missing cells' conditional covariance, ``inverse(P_mm)``, times the weight of a group.

    The inverse of the factor takes its place.
    """
    columns = d * d
    for i in range(n_missing):
        for j in range(i):
            s = 0.0
            for q in range(j, i):
                s -= small[i * d + q] * small[q * d + j]
            small[i * d + j] = s * small[i * d + i]
    for i in range(n_missing):
        for j in range(i + 1):
            s = 0.0
            for q in range(i, n_missing):
                s += small[q * d + i] * small[q * d + j]
            a, c = int(small[columns + i]), int(small[columns + j])
            second.reshape(-1)[at + places[max(a, c), min(a, c)]] += weight * s
