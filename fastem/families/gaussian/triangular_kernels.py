"""Kernels of the structures with covariances between features: full and tied.

Triangular matrices are packed in the order in which the kernels walk through them: four rows at
a time, then the remaining rows one by one.
"""

from functools import cache

import numpy as np
from numba import njit
from scipy.linalg import lapack

from fastem.families.gaussian.centring import centred
from fastem.families.gaussian.singular import raise_singular
from fastem.families.gaussian.small_kernels import add_small, small_log_density
from fastem.kernels.simd import add_totals, fill, fma, huge, load_narrow, minimum, narrow_elements, splat_narrow, store
from fastem.kernels.tiles import n_points

__all__ = [
    "PAD",
    "add_moments",
    "add_triangular",
    "factor_covariances",
    "invert_precisions",
    "moment_places",
    "moment_positions",
    "pack",
    "squares",
    "triangular_log_density",
    "triangular_scratch",
    "unpack",
]  # fmt: skip

# Deviations of a feature lie so many numbers further than the points take: at a stride of a power
# of two all features would fall into the same few sets of the nearest cache.
PAD = 16


def triangular_scratch(d: int, m: int) -> int:
    """Numbers of scratch space for the moments of m points."""
    return (d + 4) * (m + PAD)


def _row_groups(d: int) -> list[tuple[int, int]]:
    """First row and number of rows of each group: fours, then a pair, then a single row."""
    groups = [(i, 4) for i in range(0, d - 3, 4)]
    if d % 4 >= 2:
        groups.append((d - d % 4, 2))
    if d % 2:
        groups.append((d - 1, 1))
    return groups


def _as_indices(positions: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.array(positions, dtype=np.intp).T
    return rows, columns


@cache
def factor_positions(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each number of a packed factor."""
    return _as_indices([(r, j) for i, n in _row_groups(d) for j in range(i + n) for r in range(max(i, j), i + n)])


@cache
def moment_positions(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each packed second moment; a few lie above the diagonal."""
    return _as_indices(
        [
            (r, c)
            for i, n in _row_groups(d)
            for j in range(0, i + n, 2)
            for r in range(max(i, j), i + n)
            for c in range(j, min(j + 2, d))
        ]
    )


@cache
def moment_places(d: int) -> np.ndarray:
    """Where the packed moment of each row and column lies, shape (d, d); -1 above the diagonal."""
    rows, columns = moment_positions(d)
    places = np.full((d, d), -1)
    lower = rows >= columns
    places[rows[lower], columns[lower]] = np.flatnonzero(lower)
    return places


def pack(lower: np.ndarray) -> np.ndarray:
    """Pack lower triangular matrices (..., d, d) as `squares` reads them."""
    rows, columns = factor_positions(lower.shape[-1])
    return np.ascontiguousarray(lower[..., rows, columns])


def unpack(moments: np.ndarray, d: int) -> np.ndarray:
    """Symmetric matrices (..., d, d) of packed second moments, as `add_moments` writes them."""
    rows, columns = moment_positions(d)
    full = np.empty((*moments.shape[:-1], d, d))
    lower = rows >= columns
    full[..., rows[lower], columns[lower]] = moments[..., lower]
    full[..., columns[lower], rows[lower]] = moments[..., lower]
    return full


def factor_covariances(covariances: np.ndarray) -> np.ndarray:
    """Upper triangular U (K, d, d) with ``inverse(covariance) = U U'``."""
    factors = np.zeros_like(covariances)
    for k, covariance in enumerate(covariances):
        lower, failed = lapack.dpotrf(covariance, lower=1, clean=1)
        if failed or not np.isfinite(lower[-1, -1]):
            raise_singular(_not_positive_definite(covariances))
        factors[k] = lapack.dtrtri(lower, lower=1)[0].T
    return factors


def _not_positive_definite(covariances: np.ndarray) -> list[int]:
    return [k for k, c in enumerate(covariances) if lapack.dpotrf(c, lower=1)[1] or not np.isfinite(c).all()]


def invert_precisions(precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariances (K, d, d) of precisions, and the upper factors U of ``precision = U U'``."""
    # Reversing rows and columns turns the lower Cholesky factor into the upper one.
    factors = np.linalg.cholesky(precisions[:, ::-1, ::-1])[:, ::-1, ::-1]
    inverses = np.stack([lapack.dtrtri(factor)[0] for factor in factors])
    return inverses.swapaxes(1, 2) @ inverses, np.ascontiguousarray(factors)


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def triangular_log_density(tile, params, factors, stride, out, scratch):  # type: ignore[no-untyped-def]
    """Log-densities of all components; their packed factors are `stride` numbers apart."""
    d = tile.shape[0]
    if d <= 3:
        small_log_density(tile, params, factors, stride, out)
        return
    w = narrow_elements(tile)
    m = n_points(tile)
    for k in range(out.shape[0]):
        constant = splat_narrow(params.constants, k)
        half = fill(constant, -0.5)
        for b in range(0, m, 2 * w):
            for j in range(d):
                z0 = centred(load_narrow(tile, j * m + b), params.means, params.means_low, k * d + j)
                z1 = centred(load_narrow(tile, j * m + b + w), params.means, params.means_low, k * d + j)
                store(scratch, 2 * w * j, z0)
                store(scratch, 2 * w * j + w, z1)
            q0, q1 = squares(scratch, 0, 2 * w, d, factors, k * stride)
            store(out, k * m + b, fma(minimum(q0, huge(q0)), half, constant))
            store(out, k * m + b + w, fma(minimum(q1, huge(q1)), half, constant))


@njit(error_model="numpy")
def add_triangular(tile, resp, counts, params, first, second, at, stride, lane, scratch):  # type: ignore[no-untyped-def]
    """Add the moments of all components; the second ones start at `at`, `stride` numbers apart."""
    d = tile.shape[0]
    if d <= 3:
        add_small(tile, resp, counts, params, first, second, at, stride, lane)
        return
    w = narrow_elements(tile)
    m = n_points(tile)
    n_components = resp.shape[0]
    for k in range(n_components):
        if counts[k] > 0.0:
            for j in range(d):
                for b in range(0, m, w):
                    z = centred(load_narrow(tile, j * m + b), params.centres, params.centres_low, k * d + j)
                    store(scratch, j * (m + PAD) + b, z)
            row = lane * n_components + k
            add_moments(scratch, m + PAD, d, m, resp, k * m, first, row * d, second, at + k * stride)


@njit(error_model="numpy")
def squares(z, start, step, d, factor, at):  # type: ignore[no-untyped-def]
    """Squared lengths of ``L z`` for two vectors of points; L is packed at a flat index.

    The points' features lie `step` numbers apart, the first one at `start`. Four rows of L by two
    vectors of points stay in registers.
    """
    w = narrow_elements(z)
    zero = fill(load_narrow(z, 0), 0.0)
    q0 = zero
    q1 = zero
    for i in range(0, d - 3, 4):
        a00 = zero
        a01 = zero
        a10 = zero
        a11 = zero
        a20 = zero
        a21 = zero
        a30 = zero
        a31 = zero
        for j in range(i + 1):
            z0 = load_narrow(z, start + step * j)
            z1 = load_narrow(z, start + step * j + w)
            c = splat_narrow(factor, at)
            a00 = fma(c, z0, a00)
            a01 = fma(c, z1, a01)
            c = splat_narrow(factor, at + 1)
            a10 = fma(c, z0, a10)
            a11 = fma(c, z1, a11)
            c = splat_narrow(factor, at + 2)
            a20 = fma(c, z0, a20)
            a21 = fma(c, z1, a21)
            c = splat_narrow(factor, at + 3)
            a30 = fma(c, z0, a30)
            a31 = fma(c, z1, a31)
            at += 4
        # the triangle on the diagonal: three rows, two rows, one row
        z0 = load_narrow(z, start + step * (i + 1))
        z1 = load_narrow(z, start + step * (i + 1) + w)
        c = splat_narrow(factor, at)
        a10 = fma(c, z0, a10)
        a11 = fma(c, z1, a11)
        c = splat_narrow(factor, at + 1)
        a20 = fma(c, z0, a20)
        a21 = fma(c, z1, a21)
        c = splat_narrow(factor, at + 2)
        a30 = fma(c, z0, a30)
        a31 = fma(c, z1, a31)
        z0 = load_narrow(z, start + step * (i + 2))
        z1 = load_narrow(z, start + step * (i + 2) + w)
        c = splat_narrow(factor, at + 3)
        a20 = fma(c, z0, a20)
        a21 = fma(c, z1, a21)
        c = splat_narrow(factor, at + 4)
        a30 = fma(c, z0, a30)
        a31 = fma(c, z1, a31)
        c = splat_narrow(factor, at + 5)
        a30 = fma(c, load_narrow(z, start + step * (i + 3)), a30)
        a31 = fma(c, load_narrow(z, start + step * (i + 3) + w), a31)
        at += 6
        q0 = fma(a00, a00, fma(a10, a10, fma(a20, a20, fma(a30, a30, q0))))
        q1 = fma(a01, a01, fma(a11, a11, fma(a21, a21, fma(a31, a31, q1))))
    if d % 4 >= 2:
        a00 = zero
        a01 = zero
        a10 = zero
        a11 = zero
        i = d - d % 4
        for j in range(i + 1):
            z0 = load_narrow(z, start + step * j)
            z1 = load_narrow(z, start + step * j + w)
            c = splat_narrow(factor, at)
            a00 = fma(c, z0, a00)
            a01 = fma(c, z1, a01)
            c = splat_narrow(factor, at + 1)
            a10 = fma(c, z0, a10)
            a11 = fma(c, z1, a11)
            at += 2
        c = splat_narrow(factor, at)
        a10 = fma(c, load_narrow(z, start + step * (i + 1)), a10)
        a11 = fma(c, load_narrow(z, start + step * (i + 1) + w), a11)
        at += 1
        q0 = fma(a00, a00, fma(a10, a10, q0))
        q1 = fma(a01, a01, fma(a11, a11, q1))
    if d % 2 == 1:
        a00 = zero
        a01 = zero
        for j in range(d):
            c = splat_narrow(factor, at + j)
            a00 = fma(c, load_narrow(z, start + step * j), a00)
            a01 = fma(c, load_narrow(z, start + step * j + w), a01)
        q0 = fma(a00, a00, q0)
        q1 = fma(a01, a01, q1)
    return q0, q1


@njit(error_model="numpy")
def add_moments(z, step, d, m, resp, r, first, at_first, second, at):  # type: ignore[no-untyped-def]
    """Add ``sum r z`` and the packed lower triangle of ``sum r z z'`` at flat indices.

    `z` holds m points, whose d features lie `step` numbers apart, and space for four more; `r` is the
    flat index of the points' responsibilities. Four by two accumulators stay in registers.
    """
    w = narrow_elements(z)
    zero = fill(load_narrow(z, 0), 0.0)
    y = d * step
    for i in range(0, d - 3, 4):
        _weigh_four(z, y, i, step, m, resp, r, first, at_first)
        for j in range(0, i + 2, 2):
            a00 = zero
            a01 = zero
            a10 = zero
            a11 = zero
            a20 = zero
            a21 = zero
            a30 = zero
            a31 = zero
            for b in range(0, m, w):
                z0 = load_narrow(z, j * step + b)
                z1 = load_narrow(z, j * step + step + b)
                c = load_narrow(z, y + b)
                a00 = fma(c, z0, a00)
                a01 = fma(c, z1, a01)
                c = load_narrow(z, y + m + b)
                a10 = fma(c, z0, a10)
                a11 = fma(c, z1, a11)
                c = load_narrow(z, y + 2 * m + b)
                a20 = fma(c, z0, a20)
                a21 = fma(c, z1, a21)
                c = load_narrow(z, y + 3 * m + b)
                a30 = fma(c, z0, a30)
                a31 = fma(c, z1, a31)
            add_totals(second, at, (a00, a01, a10, a11, a20, a21, a30, a31))
            at += 8
        _add_two_by_two(z, y + 2 * m, i + 2, step, m, second, at)
        at += 4
    if d % 4 >= 2:
        i = d - d % 4
        _weigh_two(z, y, i, step, m, resp, r, first, at_first)
        for j in range(0, i + 2, 2):
            _add_two_by_two(z, y, j, step, m, second, at)
            at += 4
    if d % 2 == 1:
        _add_last_row(z, y, d - 1, step, m, resp, r, first, at_first, second, at)


@njit(error_model="numpy")
def _add_two_by_two(z, y, j, step, m, second, at):  # type: ignore[no-untyped-def]
    """Products of two weighted features at `y` with features j and j + 1."""
    w = narrow_elements(z)
    a00 = fill(load_narrow(z, 0), 0.0)
    a01 = a00
    a10 = a00
    a11 = a00
    for b in range(0, m, w):
        z0 = load_narrow(z, j * step + b)
        z1 = load_narrow(z, j * step + step + b)
        c = load_narrow(z, y + b)
        a00 = fma(c, z0, a00)
        a01 = fma(c, z1, a01)
        c = load_narrow(z, y + m + b)
        a10 = fma(c, z0, a10)
        a11 = fma(c, z1, a11)
    add_totals(second, at, (a00, a01, a10, a11))


@njit(error_model="numpy")
def _weigh_four(z, y, i, step, m, resp, r, first, at_first):  # type: ignore[no-untyped-def]
    """Store ``r z`` of four features from the i-th on at `y`; add its sums to the first moments."""
    w = narrow_elements(z)
    zero = fill(load_narrow(z, 0), 0.0)
    a0 = zero
    a1 = zero
    a2 = zero
    a3 = zero
    o = i * step
    for b in range(0, m, w):
        c = load_narrow(resp, r + b)
        y0 = c * load_narrow(z, o + b)
        y1 = c * load_narrow(z, o + step + b)
        y2 = c * load_narrow(z, o + 2 * step + b)
        y3 = c * load_narrow(z, o + 3 * step + b)
        store(z, y + b, y0)
        store(z, y + m + b, y1)
        store(z, y + 2 * m + b, y2)
        store(z, y + 3 * m + b, y3)
        a0 = a0 + y0
        a1 = a1 + y1
        a2 = a2 + y2
        a3 = a3 + y3
    add_totals(first, at_first + i, (a0, a1, a2, a3))


@njit(error_model="numpy")
def _weigh_two(z, y, i, step, m, resp, r, first, at_first):  # type: ignore[no-untyped-def]
    """The same for two features."""
    w = narrow_elements(z)
    a0 = fill(load_narrow(z, 0), 0.0)
    a1 = a0
    for b in range(0, m, w):
        c = load_narrow(resp, r + b)
        y0 = c * load_narrow(z, i * step + b)
        y1 = c * load_narrow(z, i * step + step + b)
        store(z, y + b, y0)
        store(z, y + m + b, y1)
        a0 = a0 + y0
        a1 = a1 + y1
    add_totals(first, at_first + i, (a0, a1))


@njit(error_model="numpy")
def _add_last_row(z, y, i, step, m, resp, r, first, at_first, second, at):  # type: ignore[no-untyped-def]
    """The moments of feature i, an even number, with all before it and itself."""
    w = narrow_elements(z)
    zero = fill(load_narrow(z, 0), 0.0)
    a00 = zero
    a01 = zero
    for b in range(0, m, w):
        z0 = load_narrow(z, i * step + b)
        c = load_narrow(resp, r + b) * z0
        store(z, y + b, c)
        a00 = a00 + c
        a01 = fma(c, z0, a01)
    add_totals(first, at_first + i, (a00,))
    add_totals(second, at + i, (a01,))
    for j in range(0, i, 2):
        a00 = zero
        a01 = zero
        for b in range(0, m, w):
            c = load_narrow(z, y + b)
            a00 = fma(c, load_narrow(z, j * step + b), a00)
            a01 = fma(c, load_narrow(z, j * step + step + b), a01)
        add_totals(second, at + j, (a00, a01))
