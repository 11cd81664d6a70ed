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

__all__ = [
    "CONSTANT", "HOLES", "add_conditional", "conditional_log_density", "conditional_scratch", "distances", "divide",
    "group_points",
]  # fmt: skip

# Rows of scratch are so many numbers longer than the points: at a stride of a power of two they
# would all fall into the same few sets of the nearest cache.
_PAD = 16

# Filled deviations of all components are kept for the sums if they take no more numbers than this.
_KEPT = 1 << 16

# Up to so many columns, sums of powers of two tell all patterns apart in float32 too.
_EXACT_COLUMNS = 20

# Where the parts of the scratch about groups begin, in units of the points: order of the points,
# starts of the groups, their numbers of missing cells; of each point its hash, its group, what its
# missing cells add to its log-density, their number; a hash table.
_STARTS, _MISSING, _HASH, _GROUP, CONSTANT, HOLES, _TABLE, _END = 1, 3, 4, 5, 6, 7, 8, 10


def conditional_scratch(k: int, d: int, m: int) -> int:
    """Numbers of scratch space for tiles of m points."""
    filled = d * (m + _PAD)
    kept = k * filled if k * filled <= _KEPT else filled
    return (d + 4) * m + kept + filled + m + _END * m + m * d + _square(d) + 2 * d * 64 + 1


@njit(error_model="numpy")
def conditional_log_density(tile, params, factors, stride, p_stride, out, scratch):  # type: ignore[no-untyped-def]
    """Log-densities of the cells that are there; packed factors and precisions lie so far apart."""
    d = tile.shape[0]
    m = n_points(tile)
    _, f, x, r, extra, lists, small = divide(scratch, out.shape[0], d, m)
    n_groups = group_points(tile, x, extra, lists)
    scratch[-1] = n_groups
    for k in range(out.shape[0]):
        distances(x, f, r, params, factors, stride, p_stride, k, out.shape[0], n_groups, d, m, extra, lists, small)
        for b in range(m):
            out[k, int(extra[b])] = params.constants[k] + (r[b] + extra[CONSTANT * m + b])


@njit(error_model="numpy")
def distances(  # type: ignore[no-untyped-def]
    x, f, r, params, factors, stride, p_stride, k, n_components, n_groups, d, m, extra, lists, small
):
    """Half the squared distances of grouped points from component k, negative, in `r`."""
    w = lanes(x)
    s = m + _PAD
    at = _place(k, n_components, d, m)
    _fill_groups(x, f, at, params, k, k * p_stride * d * d, n_groups, d, m, extra, lists, small)
    buffer = small[_square(d) :]
    half = fill(load(x, 0), -0.5)
    for b in range(0, m, 2 * w):
        for j in range(d):
            store(buffer, 2 * w * j, load(f, at + j * s + b))
            store(buffer, 2 * w * j + w, load(f, at + j * s + b + w))
        q0, q1 = squares(buffer, d, factors, k * stride)
        store(r, b, minimum(q0, huge(q0)) * half)
        store(r, b + w, minimum(q1, huge(q1)) * half)


@njit(error_model="numpy")
def add_conditional(  # type: ignore[no-untyped-def]
    tile, weighted, resp, counts, params, first, second, at, stride, p_stride, lane, scratch
):
    """Add the expected moments of all components; the second ones start at `at`, `stride` numbers apart.

    Deviations count with the weights `weighted`, what they may miss with the responsibilities. The
    last number of the scratch is that of the tile's groups, if log-densities were asked for before.
    """
    d = tile.shape[0]
    m = n_points(tile)
    n_components = resp.shape[0]
    z, f, x, r, extra, lists, small = divide(scratch, n_components, d, m)
    n_groups = int(scratch[-1])
    is_new = n_groups == 0
    if is_new:
        n_groups = group_points(tile, x, extra, lists)
    is_kept = not is_new and _is_kept(n_components, d, m)
    flat = second.reshape(-1)
    for k in range(n_components):
        if counts[k] > 0.0:
            for b in range(m):
                r[b] = weighted[k, int(extra[b])]
            p_at = k * p_stride * d * d
            place = _place(k, n_components, d, m)
            if not is_kept:
                _fill_groups(x, f, place, params, k, p_at, n_groups, d, m, extra, lists, small)
            for g in range(n_groups):
                n_missing = int(extra[_MISSING * m + g])
                if n_missing > 0:
                    weight = 0.0
                    for b in range(int(extra[_STARTS * m + g]), int(extra[_STARTS * m + g + 1])):
                        weight += resp[k, int(extra[b])]
                    _add_spread(flat, at + k * stride, weight, params, p_at, n_missing, d, lists, g * d, small)
            _shift(f, place, z, params, k, d, m)
            add_moments(z, d, m, r, 0, first, (lane * n_components + k) * d, second, at + k * stride)
    scratch[-1] = 0.0


@njit(error_model="numpy")
def divide(scratch, k, d, m):  # type: ignore[no-untyped-def]
    """The parts of the scratch before its last number.

    Deviations, filled deviations of components, grouped points, responsibilities, groups, columns
    of each group (missing ones first), small matrices.
    """
    f = (d + 4) * m
    x = f + d * (m + _PAD) * (k if _is_kept(k, d, m) else 1)
    r = x + d * (m + _PAD)
    extra = r + m
    lists = extra + _END * m
    small = lists + m * d
    return (
        scratch[:f], scratch[f:x], scratch[x:r], scratch[r:extra], scratch[extra:lists],
        scratch[lists:small], scratch[small:],
    )  # fmt: skip


@njit(error_model="numpy")
def _square(d):  # type: ignore[no-untyped-def]
    """Room for a matrix, so that what follows begins where vectors should."""
    return (d * d + 15) // 16 * 16


@njit(error_model="numpy")
def _is_kept(k, d, m):  # type: ignore[no-untyped-def]
    return k * d * (m + _PAD) <= _KEPT


@njit(error_model="numpy")
def _place(k, n_components, d, m):  # type: ignore[no-untyped-def]
    """Where the filled deviations from component k lie."""
    return k * d * (m + _PAD) if _is_kept(n_components, d, m) else 0


# --- groups -----------------------------------------------------------------------------------


@njit(error_model="numpy")
def group_points(tile, x, extra, lists):  # type: ignore[no-untyped-def]
    """Copy the points of a tile to `x`, those with the same cells missing together; returns the groups."""
    d = tile.shape[0]
    m = n_points(tile)
    _hash(tile, extra, _HASH * m)
    table = _TABLE * m
    for i in range(2 * m):
        extra[table + i] = -1.0
    n_groups = 0
    for b in range(m):
        slot = int(extra[_HASH * m + b]) % (2 * m)
        while True:
            g = int(extra[table + slot])
            if g < 0:
                extra[table + slot] = n_groups
                extra[CONSTANT * m + n_groups] = b  # its first point, for now
                extra[_GROUP * m + b] = n_groups
                n_groups += 1
                break
            if _is_alike(tile, extra, _HASH * m, int(extra[CONSTANT * m + g]), b):
                extra[_GROUP * m + b] = g
                break
            slot = (slot + 1) % (2 * m)
    for g in range(n_groups):
        extra[_MISSING * m + g] = _list_columns(tile, int(extra[CONSTANT * m + g]), lists, g * d)
    _sort(extra, m, n_groups)
    for j in range(d):
        for b in range(m):
            x[j * (m + _PAD) + b] = tile[j, int(extra[b])]
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
def _list_columns(tile, b, lists, at):  # type: ignore[no-untyped-def]
    """Columns of a point's missing cells, then those of the others; returns how many are missing."""
    n_missing = 0
    n_here = 0
    d = tile.shape[0]
    for j in range(d):
        if tile[j, b] == tile[j, b]:
            n_here += 1
            lists[at + d - n_here] = j
        else:
            lists[at + n_missing] = j
            n_missing += 1
    return n_missing


@njit(error_model="numpy")
def _sort(extra, m, n_groups):  # type: ignore[no-untyped-def]
    """Order and starts of the groups, from the group of each point."""
    for g in range(n_groups + 1):
        extra[m + g] = 0.0
    for b in range(m):
        extra[m + int(extra[_GROUP * m + b]) + 1] += 1.0
    for g in range(n_groups):
        extra[m + g + 1] += extra[m + g]
    for b in range(m):
        g = int(extra[_GROUP * m + b])
        extra[int(extra[m + g])] = b
        extra[m + g] += 1.0
    for g in range(n_groups, 0, -1):
        extra[m + g] = extra[m + g - 1]
    extra[m] = 0.0


# --- what is missing --------------------------------------------------------------------------


@njit(error_model="numpy")
def _fill_groups(x, f, at, params, k, p_at, n_groups, d, m, extra, lists, small):  # type: ignore[no-untyped-def]
    """Deviations of points from the means of component k, the missing ones by conditional means.

    Leaves what missing cells add to each point's log-density, and their number, in `extra`. A
    group's last vector may run into the next group, which is filled after it. Few points are
    filled one by one.
    """
    w = lanes(x)
    s = m + _PAD
    for g in range(n_groups):
        begin, end = int(extra[_STARTS * m + g]), int(extra[_STARTS * m + g + 1])
        n_missing = int(extra[_MISSING * m + g])
        constant = 0.0
        if n_missing > 0:
            constant = 0.5 * n_missing * LOG_2PI - _factor(params.precisions, p_at, n_missing, d, lists, g * d, small)
        for b in range(begin, end):
            extra[CONSTANT * m + b] = constant
            extra[HOLES * m + b] = n_missing
        # vectors of points, as far as it pays and they do not end beyond the tile
        n_vectors = min((end - begin + w - 1 - w // 4) // w, (m - begin) // w)
        if n_vectors > 0:
            _centre(x, f, at, params, k, n_missing, d, s, lists, g * d, begin, n_vectors)
            if n_missing > 0:
                for b in range(begin, begin + n_vectors * w, w):
                    _fill_vector(f, at, params, p_at, n_missing, d, s, lists, g * d, small, b)
            begin = min(begin + n_vectors * w, end)
        for b in range(begin, end):
            _fill_point(x, f, at, params, k, p_at, n_missing, d, s, lists, g * d, small, b)


@njit(error_model="numpy")
def _factor(precisions, at, n_missing, d, columns, first, small):  # type: ignore[no-untyped-def]
    """Cholesky factor of the missing cells' precisions, with inverse diagonal; its log-determinant.

    Columns lie from the index `first` on.
    """
    log_determinant = 0.0
    product = 1.0
    for i in range(n_missing):
        row = at + int(columns[first + i]) * d
        for j in range(i):
            s = precisions[row + int(columns[first + j])]
            for q in range(j):
                s -= small[i * d + q] * small[j * d + q]
            small[i * d + j] = s * small[j * d + j]
        s = precisions[row + int(columns[first + i])]
        for q in range(i):
            s -= small[i * d + q] * small[i * d + q]
        product *= s
        if not 1e-15 < product < 1e15:
            log_determinant += math.log(product)
            product = 1.0
        small[i * d + i] = 1.0 / math.sqrt(s)
    return 0.5 * (log_determinant + math.log(product))


@njit(error_model="numpy")
def _centre(x, f, at, params, k, n_missing, d, s, columns, first, begin, n_vectors):  # type: ignore[no-untyped-def]
    """Deviations of the cells that are there, of some vectors of points."""
    w = lanes(x)
    for i in range(n_missing, d):
        j = int(columns[first + i])
        for b in range(j * s + begin, j * s + begin + n_vectors * w, w):
            store(f, at + b, centred(load(x, b), params.means, params.means_low, k * d + j))


@njit(error_model="numpy")
def _fill_vector(f, at, params, p_at, n_missing, d, s, columns, first, small, b):  # type: ignore[no-untyped-def]
    """Fill the missing cells of one vector of points."""
    for i in range(n_missing):
        a = int(columns[first + i])
        y = fill(load(f, b), 0.0)
        for o in range(n_missing, d):
            j = int(columns[first + o])
            y = y - splat(params.precisions, p_at + a * d + j) * load(f, at + j * s + b)
        for q in range(i):
            y = y - splat(small, i * d + q) * load(f, at + int(columns[first + q]) * s + b)
        store(f, at + a * s + b, y * splat(small, i * d + i))
    for i in range(n_missing - 1, -1, -1):
        a = int(columns[first + i])
        y = load(f, at + a * s + b)
        for q in range(i + 1, n_missing):
            y = y - splat(small, q * d + i) * load(f, at + int(columns[first + q]) * s + b)
        store(f, at + a * s + b, y * splat(small, i * d + i))


@njit(error_model="numpy")
def _fill_point(x, f, at, params, k, p_at, n_missing, d, s, columns, first, small, b):  # type: ignore[no-untyped-def]
    """Fill one point."""
    for i in range(n_missing, d):
        j = int(columns[first + i])
        f[at + j * s + b] = (x[j * s + b] - params.means[k, j]) - params.means_low[k, j]
    for i in range(n_missing):
        a = int(columns[first + i])
        y = 0.0
        for o in range(n_missing, d):
            j = int(columns[first + o])
            y -= params.precisions[p_at + a * d + j] * f[at + j * s + b]
        for q in range(i):
            y -= small[i * d + q] * f[at + int(columns[first + q]) * s + b]
        f[at + a * s + b] = y * small[i * d + i]
    for i in range(n_missing - 1, -1, -1):
        a = int(columns[first + i])
        y = f[at + a * s + b]
        for q in range(i + 1, n_missing):
            y -= small[q * d + i] * f[at + int(columns[first + q]) * s + b]
        f[at + a * s + b] = y * small[i * d + i]


@njit(error_model="numpy")
def _shift(f, at, z, params, k, d, m):  # type: ignore[no-untyped-def]
    """Deviations from the centres instead of the means."""
    w = lanes(z)
    for j in range(d):
        c = k * d + j
        shift = (splat(params.means, c) - splat(params.centres, c)) + (
            splat(params.means_low, c) - splat(params.centres_low, c)
        )
        for b in range(0, m, w):
            store(z, j * m + b, load(f, at + j * (m + _PAD) + b) + shift)


@njit(error_model="numpy")
def _add_spread(second, at, weight, params, p_at, n_missing, d, columns, first, small):  # type: ignore[no-untyped-def]
    """Add the missing cells' conditional covariance, ``inverse(P_mm)``, times the weight of a group."""
    places = params.places
    if n_missing == 1:
        a = int(columns[first])
        second[at + places[a, a]] += weight / params.precisions[p_at + a * d + a]
        return
    _factor(params.precisions, p_at, n_missing, d, columns, first, small)
    # the inverse of the factor takes its place
    for i in range(n_missing):
        for j in range(i):
            s = 0.0
            for q in range(j, i):
                s -= small[i * d + q] * small[q * d + j]
            small[i * d + j] = s * small[i * d + i]
    for i in range(n_missing):
        a = int(columns[first + i])
        for j in range(i + 1):
            s = 0.0
            for q in range(i, n_missing):
                s += small[q * d + i] * small[q * d + j]
            c = int(columns[first + j])
            second[at + places[max(a, c), min(a, c)]] += weight * s
