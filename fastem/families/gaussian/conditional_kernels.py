"""Gaussians with covariances where cells are missing: conditional moments given what is there.

With the precision matrix P of a component, the missing cells m of a row have, given its other
cells o, the covariance ``inverse(P_mm)`` and deviate from their means by
``z_m = -inverse(P_mm) P_mo z_o``. The squared distance of the row filled in so is that of its
observed cells alone, and ``log |P_oo marginal| = log |P| - log |P_mm|``. So the kernels for
complete rows do most of the work, and what remains is one small inverse for each pattern of missing
cells.

Patterns differ from point to point, so here vectors run over components: their parameters lie side
by side.
"""

import math

import numpy as np
from numba import njit

from fastem.families._side_by_side import centred_block, n_padded, turn_block
from fastem.families.gaussian.centring import LOG_2PI, centred
from fastem.families.gaussian.triangular_kernels import PAD, add_moments, squares, triangular_scratch
from fastem.kernels.simd import (
    BLOCK,
    elements,
    fill,
    fma,
    huge,
    load,
    load_block,
    load_narrow,
    minimum,
    narrow_elements,
    splat,
    splat_block,
    store,
    total,
    where_greater,
)
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import log

__all__ = ["add_conditional", "conditional_log_density", "conditional_scratch", "distances", "divide"]

# What fills the missing cells is kept for the sums if it takes no more numbers than this.
_KEPT = 1 << 18

# Most patterns of missing cells that are remembered from tile to tile, and most numbers of all of them.
_MOST_SLOTS = 256
_REMEMBERED = 1 << 20

# Up to so many columns, sums of powers of two tell all patterns apart in float32 too.
_EXACT_COLUMNS = 20

# Where the parts of what is known of groups begin, in units of the points: order of the points,
# starts of the groups, their numbers of missing cells, their first points; of each point its hash
# and its group; a hash table.
_STARTS, _MISSING, _FIRST, _HASH, _GROUP, _TABLE, _END = 1, 3, 4, 5, 6, 7, 9


def conditional_scratch(k: int, d: int, m: int) -> int:
    """Numbers of scratch space for tiles of m points, which are zeros at first."""
    fillings = d * m * (n_padded(k) if d * m * n_padded(k) <= _KEPT else BLOCK)
    of_points = triangular_scratch(d, m) + fillings + (k + 1 + _END + 2 * d + 2 * BLOCK) * m
    return of_points + BLOCK + n_slots(slot_size(d)) * slot_size(d) + 2


def n_slots(size: int) -> int:
    """Number of slots of some size, a power of two."""
    n = 1
    while n < _MOST_SLOTS and 2 * n * size <= _REMEMBERED:
        n *= 2
    return n


def slot_size(d: int) -> int:
    """Numbers that are remembered of a pattern: its columns, ``-log |P_mm| / 2``, ``-inverse(P_mm)``, slopes."""
    return (d + 2 + BLOCK - 1) // BLOCK * BLOCK + BLOCK * (1 + 2 * d * d)


_n_slots = njit(error_model="numpy")(n_slots)
_slot_size = njit(error_model="numpy")(slot_size)


@njit(error_model="numpy")
def divide(scratch, k, d, m):  # type: ignore[no-untyped-def]
    """The parts of the scratch before its last two numbers.

    Deviations, what fills the missing cells, what these add to log-densities (K, m), their numbers
    (m,), groups, columns of each group (missing ones first), places of the missing cells,
    responsibilities side by side, weights of a group, patterns that are remembered.
    """
    fillings = (d + 4) * (m + PAD)
    padded = (k + BLOCK - 1) // BLOCK * BLOCK
    adds = fillings + d * m * (padded if _is_kept(k, d, m) else BLOCK)
    holes = adds + k * m
    groups = holes + m
    lists = groups + _END * m
    cells = lists + m * d
    turned = cells + m * d
    weights = turned + 2 * BLOCK * m
    slots = weights + BLOCK
    return (
        scratch[:fillings], scratch[fillings:adds], scratch[adds:holes], scratch[holes:groups],
        scratch[groups:lists], scratch[lists:cells], scratch[cells:turned],
        scratch[turned:weights], scratch[weights:slots], scratch[slots:],
    )  # fmt: skip


@njit(error_model="numpy")
def _is_kept(k, d, m):  # type: ignore[no-untyped-def]
    return d * m * ((k + BLOCK - 1) // BLOCK * BLOCK) <= _KEPT


@njit(error_model="numpy")
def conditional_log_density(tile, params, factors, stride, out, scratch):  # type: ignore[no-untyped-def]
    """Log-densities of the cells that are there; packed factors lie `stride` numbers apart."""
    m = n_points(tile)
    distances(tile, params, factors, stride, out, scratch)
    _, _, adds, holes, _, _, _, _, _, _ = divide(scratch, out.shape[0], tile.shape[0], m)
    for k in range(out.shape[0]):
        constant = splat(params.constants, k)
        each = fill(constant, 0.5 * LOG_2PI)
        for b in range(0, m, elements(tile)):
            more = fma(each, load(holes, b), load(adds, k * m + b))
            store(out, k * m + b, constant + (load(out, k * m + b) + more))


@njit(error_model="numpy")
def distances(tile, params, factors, stride, out, scratch):  # type: ignore[no-untyped-def]
    """Half the squared distances from all components, negative.

    Leaves in the scratch what missing cells add to log-densities, their numbers in each point, and
    as its last two numbers that in all points and that of the tile's groups.
    """
    d = tile.shape[0]
    m = n_points(tile)
    n_components = out.shape[0]
    z, fillings, adds, holes, groups, lists, cells, _, _, slots = divide(scratch, n_components, d, m)
    n_groups = _group_points(tile, holes, groups, lists)
    scratch[-1] = n_groups
    for first in range(0, n_components, BLOCK):
        last = min(first + BLOCK, n_components)
        at = first * d * m if _is_kept(n_components, d, m) else 0
        n_cells = _fill_missing(
            tile, params, first, last, fillings, at, cells, adds, n_groups, groups, lists, slots
        )  # fmt: skip
        scratch[-2] = n_cells
        for k in range(first, last):
            _centre(tile, params.means, params.means_low, k, z)
            _put(fillings, at + k - first, cells, n_cells, z)
            _measure(z, d, m, factors, k * stride, out, k * m)


@njit(error_model="numpy")
def add_conditional(tile, weighted, resp, counts, params, first, second, at, stride, lane, scratch):  # type: ignore[no-untyped-def]
    """Add the expected moments of all components; the second ones start at `at`, `stride` numbers apart.

    Deviations count with the weights `weighted`, what they may miss with the responsibilities.
    Groups, and what fills the cells if it is kept, are those of the last distances.
    """
    d = tile.shape[0]
    m = n_points(tile)
    n_components = resp.shape[0]
    z, fillings, adds, _, groups, lists, cells, turned, weights, slots = divide(scratch, n_components, d, m)
    n_cells = int(scratch[-2])
    n_groups = int(scratch[-1])
    is_kept = _is_kept(n_components, d, m)
    flat = second.reshape(-1)
    for begin in range(0, n_components, BLOCK):
        end = min(begin + BLOCK, n_components)
        place = begin * d * m if is_kept else 0
        if not is_kept:
            n_cells = _fill_missing(
                tile, params, begin, end, fillings, place, cells, adds, n_groups, groups, lists, slots
            )  # fmt: skip
        turn_block(resp, begin, turned)
        for g in range(n_groups):
            _add_spread(params, turned, begin, end, g, groups, lists, d, m, weights, slots, flat, at, stride)
        for k in range(begin, end):
            if counts[k] > 0.0:
                _centre(tile, params.means, params.means_low, k, z)
                _put(fillings, place + k - begin, cells, n_cells, z)
                _shift(params, k, z, d, m)
                row = lane * n_components + k
                add_moments(z, m + PAD, d, m, weighted, k * m, first, row * d, second, at + k * stride)


@njit(error_model="numpy")
def _centre(tile, means, means_low, k, z):  # type: ignore[no-untyped-def]
    """Deviations from the means of component k."""
    m = n_points(tile)
    for j in range(tile.shape[0]):
        for b in range(0, m, elements(tile)):
            store(z, j * (m + PAD) + b, centred(load(tile, j * m + b), means, means_low, k * tile.shape[0] + j))


@njit(error_model="numpy")
def _put(fillings, at, cells, n_cells, z):  # type: ignore[no-untyped-def]
    """Fill the missing cells with every BLOCK-th number from `at` on.

    Unsigned indices need no look at whether they count from the end.
    """
    for c in range(n_cells):
        z[np.uintp(int(cells[np.uintp(c)]))] = fillings[np.uintp(at + c * BLOCK)]


@njit(error_model="numpy")
def _shift(params, k, z, d, m):  # type: ignore[no-untyped-def]
    """Deviations from the centres instead of the means, where these differ."""
    for j in range(d):
        shift = (params.means[k, j] - params.centres[k, j]) + (params.means_low[k, j] - params.centres_low[k, j])
        if shift != 0.0:
            for b in range(j * (m + PAD), j * (m + PAD) + m):
                z[b] += shift


@njit(error_model="numpy")
def _measure(z, d, m, factors, at_factor, out, at_out):  # type: ignore[no-untyped-def]
    """Half the squared lengths of filled deviations, negative."""
    w = narrow_elements(z)
    half = fill(load_narrow(z, 0), -0.5)
    for b in range(0, m, 2 * w):
        q0, q1 = squares(z, b, m + PAD, d, factors, at_factor)
        store(out, at_out + b, minimum(q0, huge(q0)) * half)
        store(out, at_out + b + w, minimum(q1, huge(q1)) * half)


# --- groups -----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _group_points(tile, holes, groups, lists):  # type: ignore[no-untyped-def]
    """Group the points by their missing cells, if there are any; returns the number of groups."""
    d = tile.shape[0]
    m = n_points(tile)
    if not _hash(tile, holes, groups, _HASH * m):
        return 0
    table = _TABLE * m
    for i in range(table, table + 2 * m):
        groups[i] = -1.0
    n_groups = 0
    for b in range(m):
        if holes[b] > 0.0:
            slot = ((int(groups[_HASH * m + b]) * 2654435769) >> 12) % (2 * m)
            g = int(groups[table + slot])
            while g >= 0 and not _is_alike(tile, groups, _HASH * m, int(groups[_FIRST * m + g]), b):
                slot = (slot + 1) % (2 * m)
                g = int(groups[table + slot])
            if g < 0:
                g = n_groups
                groups[table + slot] = g
                groups[_FIRST * m + g] = b
                groups[_STARTS * m + g + 1] = 0.0
                groups[_MISSING * m + g] = holes[b]
                _list_columns(tile, b, lists, g * d)
                n_groups += 1
            groups[_GROUP * m + b] = g
            groups[_STARTS * m + g + 1] += 1.0
    _sort(holes, groups, m, n_groups)
    return n_groups


@njit(error_model="numpy")
def _hash(tile, holes, groups, at):  # type: ignore[no-untyped-def]
    """Number of missing cells of each point, and a number that tells them; returns whether there are any.

    The number tells patterns apart if columns are few.
    """
    w = elements(tile)
    zero = fill(load(tile, 0), 0.0)
    one = fill(zero, 1.0)
    lowest = fill(zero, -math.inf)
    n_missing = 0.0
    for b in range(0, n_points(tile), w):
        h = zero
        n = zero
        for j in range(tile.shape[0]):
            weight = float(1 << j) if tile.shape[0] <= _EXACT_COLUMNS else float((j * 2654435761) % 65521 + 1)
            x = load(tile, j * n_points(tile) + b)
            h = h + where_greater(x, lowest, zero, fill(zero, weight))
            n = n + where_greater(x, lowest, zero, one)
        store(groups, at + b, h)
        store(holes, b, n)
        n_missing += total(n)
    return n_missing > 0.0


@njit(error_model="numpy")
def _is_alike(tile, groups, hashes, a, b):  # type: ignore[no-untyped-def]
    """Whether two points miss the same cells."""
    if groups[hashes + a] != groups[hashes + b]:
        return False
    if tile.shape[0] > _EXACT_COLUMNS:
        for j in range(tile.shape[0]):
            if (tile[j, a] == tile[j, a]) != (tile[j, b] == tile[j, b]):
                return False
    return True


@njit(error_model="numpy")
def _list_columns(tile, b, lists, at):  # type: ignore[no-untyped-def]
    """Columns of a point's missing cells, then those of the others."""
    d = tile.shape[0]
    n_missing = 0
    for j in range(d):
        if tile[j, b] == tile[j, b]:
            lists[at + d - 1 - j + n_missing] = j
        else:
            lists[at + n_missing] = j
            n_missing += 1


@njit(error_model="numpy")
def _sort(holes, groups, m, n_groups):  # type: ignore[no-untyped-def]
    """Order of the points and starts of the groups, from the groups' sizes and the group of each point."""
    starts = _STARTS * m
    groups[starts] = 0.0
    for g in range(n_groups):
        groups[starts + g + 1] += groups[starts + g]
    end = groups[starts + n_groups]
    for b in range(m - 1, -1, -1):
        if holes[b] > 0.0:
            g = int(groups[_GROUP * m + b])
            groups[starts + g + 1] -= 1.0
            groups[int(groups[starts + g + 1])] = b
    for g in range(n_groups):
        groups[starts + g] = groups[starts + g + 1]
    groups[starts + n_groups] = end


# --- what is missing --------------------------------------------------------------------------


@njit(error_model="numpy")
def _fill_missing(tile, params, first, last, fillings, at, cells, adds, n_groups, groups, lists, slots):  # type: ignore[no-untyped-def]
    """Conditional means of missing cells less the means of components from `first` to `last`, side by side.

    Leaves the cells' places in `cells`, what they add to log-densities in `adds`; returns their number.
    """
    d = tile.shape[0]
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    for b in range(first * m, last * m, elements(tile)):
        store(adds, b, zero)
    n_cells = 0
    for g in range(n_groups):
        n_missing = int(groups[_MISSING * m + g])
        solution = _solve(params.block_precisions, first, n_missing, d, lists, g, groups, m, slots)
        slopes = solution + (1 + n_missing * n_missing) * BLOCK
        for i in range(int(groups[_STARTS * m + g]), int(groups[_STARTS * m + g + 1])):
            b = int(groups[i])
            for k in range(first, last):
                adds[k * m + b] = slots[solution + k - first]
            for j in range(n_missing):
                store(fillings, at + n_cells * BLOCK, _predict(tile, params, first, slots, slopes + j * d * BLOCK, b))
                cells[n_cells] = lists[g * d + j] * (m + PAD) + b
                n_cells += 1
    return n_cells


@njit(error_model="numpy")
def _predict(tile, params, first, slots, at, b):  # type: ignore[no-untyped-def]
    """Deviation of a missing cell of point b from a block of components, by slopes that begin at `at`.

    Deviations of the other cells are made again for each missing one: to store them and load them
    again takes longer.
    """
    y = fill(load_block(slots, at), 0.0)
    zero = y
    lowest = fill(zero, -math.inf)
    for j in range(tile.shape[0]):
        x = splat_block(tile, j * n_points(tile) + b)
        z = centred_block(x, params.block_means, params.block_means_low, j * params.block_means.shape[1] + first)
        y = fma(load_block(slots, at + j * BLOCK), where_greater(x, lowest, z, zero), y)
    return y


@njit(error_model="numpy")
def _solve(precisions, first, n, d, columns, g, groups, m, slots):  # type: ignore[no-untyped-def]
    """Where ``-log |P_mm| / 2`` of a group stands, then ``-inverse(P_mm)`` and slopes.

    They may be remembered from earlier tiles: a pattern takes the slot of its hash, and the place of
    what is there. Counting with indices spares the reference counts of slices.
    """
    size = _slot_size(d)
    number = ((int(groups[_HASH * m + int(groups[_FIRST * m + g])]) * 2654435769) >> 12) + first // BLOCK
    slot = (number & (_n_slots(size) - 1)) * size
    solution = slot + (d + 2 + BLOCK - 1) // BLOCK * BLOCK
    is_known = slots[slot] == n and slots[slot + 1] == first + 1
    for i in range(n if is_known else 0):
        is_known = is_known and slots[slot + 2 + i] == columns[g * d + i]
    if not is_known:
        slots[slot] = n
        slots[slot + 1] = first + 1
        for i in range(n):
            slots[slot + 2 + i] = columns[g * d + i]
        _invert(precisions, first, n, d, columns, g * d, slots, solution)
        _regress(precisions, first, n, d, columns, g * d, slots, solution + BLOCK)
    return solution


@njit(error_model="numpy")
def _invert(precisions, first, n, d, columns, at, slots, solution):  # type: ignore[no-untyped-def]
    """``-log |P_mm| / 2`` of a block of components from `first` on, followed by ``-inverse(P_mm)`` (n, n).

    By sweeps of all rows (Goodnight 1979, A tutorial on the SWEEP operator). Columns lie from the
    index `at` on.
    """
    n_lanes = precisions.shape[2]
    inverse = solution + BLOCK
    swept = inverse + n * n * BLOCK
    for i in range(n):
        row = int(columns[at + i]) * d
        for j in range(i + 1):
            cell = load_block(precisions, (row + int(columns[at + j])) * n_lanes + first)
            store(slots, inverse + (i * n + j) * BLOCK, cell)
    logs = fill(load_block(slots, inverse), 0.0)
    for p in range(n):
        pivot = load_block(slots, inverse + (p * n + p) * BLOCK)
        logs = logs + log(pivot)
        reciprocal = fill(pivot, 1.0) / pivot
        for i in range(n):
            store(slots, swept + i * BLOCK, load_block(slots, inverse + (max(i, p) * n + min(i, p)) * BLOCK))
        for i in range(n):
            if i != p:
                factor = load_block(slots, swept + i * BLOCK) * reciprocal
                for j in range(i + 1):
                    to = inverse + (i * n + j) * BLOCK
                    store(slots, to, load_block(slots, to) - factor * load_block(slots, swept + j * BLOCK))
                store(slots, inverse + (max(i, p) * n + min(i, p)) * BLOCK, factor)
        store(slots, inverse + (p * n + p) * BLOCK, fill(pivot, 0.0) - reciprocal)
    for i in range(n):
        for j in range(i):
            store(slots, inverse + (j * n + i) * BLOCK, load_block(slots, inverse + (i * n + j) * BLOCK))
    store(slots, solution, logs * fill(logs, -0.5))


@njit(error_model="numpy")
def _regress(precisions, first, n, d, columns, at, slots, inverse):  # type: ignore[no-untyped-def]
    """Slopes ``-inverse(P_mm) P_m`` of missing cells on all, (n, d), of which those on cells that are there count.

    They follow the inverse.
    """
    n_lanes = precisions.shape[2]
    slopes = inverse + n * n * BLOCK
    for i in range(n):
        for q in range(n):
            factor = load_block(slots, inverse + (i * n + q) * BLOCK)
            row = int(columns[at + q]) * d
            for j in range(d):
                p = load_block(precisions, (row + j) * n_lanes + first)
                to = slopes + (i * d + j) * BLOCK
                before = load_block(slots, to) if q > 0 else fill(p, 0.0)
                store(slots, to, fma(factor, p, before))


@njit(error_model="numpy")
def _add_spread(params, resp, first, last, g, groups, columns, d, m, weights, slots, second, at, stride):  # type: ignore[no-untyped-def]
    """Add the missing cells' conditional covariance, ``inverse(P_mm)``, times the weight of a group.

    `resp` has the responsibilities of a block of components side by side.
    """
    n = int(groups[_MISSING * m + g])
    inverse = _solve(params.block_precisions, first, n, d, columns, g, groups, m, slots) + BLOCK
    summed = fill(load_block(slots, 0), 0.0)
    for i in range(int(groups[_STARTS * m + g]), int(groups[_STARTS * m + g + 1])):
        summed = summed + load_block(resp, int(groups[i]) * BLOCK)
    store(weights, 0, summed)
    for i in range(n):
        a = int(columns[g * d + i])
        for j in range(i + 1):
            c = int(columns[g * d + j])
            to = at + first * stride + params.places[max(a, c), min(a, c)]
            source = inverse + (i * n + j) * BLOCK
            for k in range(last - first):
                second[np.uintp(to + k * stride)] -= weights[np.uintp(k)] * slots[np.uintp(source + k)]
