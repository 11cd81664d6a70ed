"""Families of whole numbers whose log-densities are sums of numbers looked up in tables.

A table has one row for each value of each column, with the components side by side, so one vector
load serves them all; the sums of an M-step are the same table of responsibilities, histograms of
each column under each component.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.dispatch import add_statistics, implements, log_density
from fastem.families._side_by_side import n_padded, side_by_side, turn_block
from fastem.family import Prepared
from fastem.memory import aligned_zeros
from fastem.simd import BLOCK, add_wide, lanes, load, load_block, store, transpose
from fastem.tiles import n_points

__all__ = ["LookupStatistics", "lookup_scratch", "prepare_lookup", "table_bytes", "zero_tables"]


# Points take turns with so many tables of sums: additions to the same row wait for each other.
TABLES = 2


class LookupKernel(NamedTuple):
    """Log-weights (padded K,), log-densities of each value (rows, padded K), first row of each column (d,)."""

    log_weights: np.ndarray
    table: np.ndarray
    firsts: np.ndarray


class TotalLookupKernel(NamedTuple):
    """The same where the sum of a row is looked up after its last column, (d + 1,) first rows."""

    log_weights: np.ndarray
    table: np.ndarray
    firsts: np.ndarray


class LookupStatistics(NamedTuple):
    """Sums of responsibilities for each value of each column, (rows, padded K)."""

    table: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _look_up(tile, params, with_total, out, scratch):  # type: ignore[no-untyped-def]
    w = lanes(tile)
    m = n_points(tile)
    d = tile.shape[0]
    cells = tile.reshape(-1)
    n_components = out.shape[0]
    padded = params.table.shape[1]
    for c in range(0, n_components, BLOCK):
        for b in range(m):
            s = load_block(params.log_weights, c)
            total = 0.0
            for j in range(d):
                # unsigned indices need no look at whether they count from the end
                x = cells[np.uintp(j * m + b)]
                if x == x:  # noqa: PLR0124  # a missing cell is not itself
                    s = s + load_block(params.table, (params.firsts[np.uintp(j)] + int(x)) * padded + c)
                    total += x
            if with_total:
                s = s + load_block(params.table, (params.firsts[d] + int(total)) * padded + c)
            store(scratch, b * BLOCK, s)
        for b in range(0, m, BLOCK):
            transpose(scratch, b * BLOCK, BLOCK, scratch, BLOCK * m + b, m)
        for k in range(min(BLOCK, n_components - c)):
            for b in range(0, m, w):
                store(out, (c + k) * m + b, load(scratch, (BLOCK + k) * m + b))


@njit(error_model="numpy")
def _add_up(tile, params, with_total, resp, table, lane, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    d = tile.shape[0]
    cells = tile.reshape(-1)
    padded = table.shape[2]
    for c in range(0, resp.shape[0], BLOCK):
        turn_block(resp, c, scratch)
        for b in range(m):
            r = load_block(scratch, b * BLOCK)
            at = (TABLES * lane + b % TABLES) * table.shape[1]
            total = 0.0
            for j in range(d):
                x = cells[np.uintp(j * m + b)]
                if x == x:  # noqa: PLR0124
                    add_wide(table, (at + params.firsts[np.uintp(j)] + int(x)) * padded + c, r)
                    total += x
            if with_total:
                add_wide(table, (at + params.firsts[d] + int(total)) * padded + c, r)


@implements(log_density, LookupKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    _look_up(tile, params, False, out, scratch)


@implements(add_statistics, LookupKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    _add_up(tile, params, False, resp, stats.table, lane, scratch)


@implements(log_density, TotalLookupKernel)
def _total_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    _look_up(tile, params, True, out, scratch)


@implements(add_statistics, TotalLookupKernel)
def _add_total_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    _add_up(tile, params, True, resp, stats.table, lane, scratch)


# --- what families do with it -----------------------------------------------------------------


def lookup_scratch(tile_rows: int) -> int:
    """Numbers of scratch space."""
    return 2 * BLOCK * tile_rows


def zero_tables(lanes: int, n_rows: int, n_components: int) -> LookupStatistics:
    """Statistics of no data."""
    return LookupStatistics(aligned_zeros((TABLES * lanes, n_rows, n_padded(n_components)), np.dtype(np.float64)))


def table_bytes(n_rows: int, n_components: int) -> int:
    """Memory of one lane's statistics."""
    return 8 * TABLES * n_rows * n_padded(n_components)


def prepare_lookup(
    kind: type, table: np.ndarray, sizes: Any, log_weights: np.ndarray, dtype: np.dtype[Any]
) -> Prepared:
    """Kernel parameters of a kind from log-densities (rows, K), for columns with so many values each."""
    offset = float(log_weights.max())
    firsts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    weights = side_by_side(log_weights - offset, 0.0, dtype)
    return Prepared(kind(weights, side_by_side(table.T, 0.0, dtype), firsts), offset)
