"""Rows become tiles: features x points, so that every loop runs over points with unit stride."""

from typing import Any

import numpy as np
from numba import njit

from fastem.kernels.simd import BLOCK, VECTOR_BYTES, deinterleave, elements, fill, fma, load, total, transpose

__all__ = ["fill_tile", "is_complete", "n_lanes", "n_points", "tile_rows"]

# Of one feature. Features, and responsibilities of components, lie as far apart: at a power of two all of them would
# fall into the same few sets of the nearest cache.
TILE_BYTES = 1792
TILE_VECTORS = TILE_BYTES // VECTOR_BYTES

# What the lanes' sums may take of the caches that cores share.
_LANE_BYTES = 24 * 2**20


def tile_rows(dtype: np.dtype[Any]) -> int:
    """Rows in a tile: 224 of float64, 448 of float32.

    Sums are made tile by tile, so the bits of results depend on it.
    """
    return TILE_BYTES // dtype.itemsize


@njit(error_model="numpy")
def n_points(tile):  # type: ignore[no-untyped-def]
    """The same inside kernels, where the compiler must know it."""
    return elements(tile) * TILE_VECTORS


def n_lanes(statistics_bytes: int) -> int:
    """Number of lanes the tiles are dealt to, from the size of one lane's statistics.

    It never depends on the number of threads, so results are the same for any of them.
    """
    lanes = 64
    while lanes > 16 and lanes * statistics_bytes > _LANE_BYTES:
        lanes //= 2
    return lanes


@njit(error_model="numpy")
def is_complete(tile):  # type: ignore[no-untyped-def]
    """Whether no cell of a tile is missing."""
    w = elements(tile)
    zero = fill(load(tile, 0), 0.0)
    s = zero
    for b in range(0, tile.shape[0] * n_points(tile), w):
        s = fma(load(tile, b), zero, s)
    return total(s) == 0.0


@njit(error_model="numpy")
def fill_tile(rows, weights, first, tile, tile_weights):  # type: ignore[no-untyped-def]
    """Transpose a tile of rows from `first` on; whether any of them has weight.

    An empty `weights` means 1 for each row. In place of rows without weight, and beyond the data,
    the first row with weight stands with weight 0: kernels meet no value that the data's survey,
    which passes over rows without weight, did not.
    """
    m = n_points(tile)
    count = min(m, rows.shape[0] - first)
    _transpose_rows(rows, first, count, tile)
    for b in range(count):
        tile_weights[b] = weights[first + b] if weights.shape[0] > 0 else 1.0
    for b in range(count, m):
        tile_weights[b] = 0.0
    sound = 0
    while sound < count and tile_weights[sound] == 0:
        sound += 1
    if sound == count:
        return False
    for b in range(count if weights.shape[0] == 0 else 0, m):
        if tile_weights[b] == 0:
            for j in range(rows.shape[1]):
                tile[j, b] = tile[j, sound]
    return True


@njit(error_model="numpy")
def _transpose_rows(rows, first, count, tile):  # type: ignore[no-untyped-def]
    """Blocks of eight rows: of all features if there are few, else of eight, the last ones overlapping.

    What is left over is copied one by one.
    """
    d = rows.shape[1]
    m = n_points(tile)
    blocked = count - count % BLOCK
    for b in range(0, blocked, BLOCK):
        start = (first + b) * d
        if d == 1:
            deinterleave(rows, start, tile, (b,))
        elif d == 2:
            deinterleave(rows, start, tile, (b, b + m))
        elif d == 3:
            deinterleave(rows, start, tile, (b, b + m, b + 2 * m))
        elif d == 4:
            deinterleave(rows, start, tile, (b, b + m, b + 2 * m, b + 3 * m))
        elif d == 5:
            deinterleave(rows, start, tile, (b, b + m, b + 2 * m, b + 3 * m, b + 4 * m))
        elif d == 6:
            deinterleave(rows, start, tile, (b, b + m, b + 2 * m, b + 3 * m, b + 4 * m, b + 5 * m))
        elif d == 7:
            deinterleave(rows, start, tile, (b, b + m, b + 2 * m, b + 3 * m, b + 4 * m, b + 5 * m, b + 6 * m))
        else:
            for j in range(0, d, BLOCK):
                at = min(j, d - BLOCK)
                transpose(rows, start + at, d, tile, at * m + b, m)
    for j in range(d):
        for b in range(blocked, count):
            tile[j, b] = rows[first + b, j]
