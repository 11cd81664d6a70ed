"""Families of whole numbers whose log-densities are sums of numbers looked up in tables.

A table has one row for each value of each column, with the components side by side, so one vector
load serves them all; the sums of an M-step are the same table of responsibilities, histograms of
each column under each component.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.dispatch import add_statistics, implements, log_density
from fastem.family import Prepared
from fastem.simd import BLOCK, add_wide, fill, lanes, load, store, transpose
from fastem.statistics import zeros
from fastem.tiles import n_points

__all__ = ["LookupStatistics", "lookup_scratch", "prepare_lookup", "table_bytes", "zero_tables"]

# Components of a table are padded to the longest vector.
PADDING = 32


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
    n_components = out.shape[0]
    padded = params.table.shape[1]
    for c in range(0, n_components, w):
        for b in range(m):
            s = load(params.log_weights, c)
            total = 0.0
            for j in range(tile.shape[0]):
                x = tile[j, b]
                if x == x:  # noqa: PLR0124  # a missing cell is not itself
                    s = s + load(params.table, (params.firsts[j] + int(x)) * padded + c)
                    total += x
            if with_total:
                s = s + load(params.table, (params.firsts[tile.shape[0]] + int(total)) * padded + c)
            store(scratch, b * w, s)
        _turn(scratch, 0, w, m, w * m)
        for k in range(min(w, n_components - c)):
            for b in range(0, m, w):
                store(out, (c + k) * m + b, load(scratch, (w + k) * m + b))


@njit(error_model="numpy")
def _add_up(tile, params, with_total, resp, table, lane, scratch):  # type: ignore[no-untyped-def]
    w = lanes(tile)
    m = n_points(tile)
    n_components = resp.shape[0]
    padded = table.shape[2]
    at = lane * table.shape[1]
    for c in range(0, n_components, w):
        zero = fill(load(tile, 0), 0.0)
        for k in range(w):
            for b in range(0, m, w):
                store(scratch, k * m + b, load(resp, (c + k) * m + b) if c + k < n_components else zero)
        _turn(scratch, 0, m, w, w * m)
        for b in range(m):
            r = load(scratch, (m + b) * w)
            total = 0.0
            for j in range(tile.shape[0]):
                x = tile[j, b]
                if x == x:  # noqa: PLR0124
                    add_wide(table, (at + params.firsts[j] + int(x)) * padded + c, r)
                    total += x
            if with_total:
                add_wide(table, (at + params.firsts[tile.shape[0]] + int(total)) * padded + c, r)


@njit(error_model="numpy")
def _turn(scratch, start, width, height, to):  # type: ignore[no-untyped-def]
    """Transpose (height, width) numbers at `start` to (width, height) at `to`."""
    for i in range(0, height, BLOCK):
        for j in range(0, width, BLOCK):
            transpose(scratch, start + i * width + j, width, scratch, to + j * height + i, height)


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
    return 2 * PADDING * tile_rows


def zero_tables(lanes: int, n_rows: int, n_components: int) -> LookupStatistics:
    """Statistics of no data."""
    return zeros(LookupStatistics, lanes, table=(n_rows, -(-n_components // PADDING) * PADDING))


def table_bytes(n_rows: int, n_components: int) -> int:
    """Memory of one lane's statistics."""
    return 8 * n_rows * -(-n_components // PADDING) * PADDING


def prepare_lookup(
    kind: type, table: np.ndarray, sizes: Any, log_weights: np.ndarray, dtype: np.dtype[Any]
) -> Prepared:
    """Kernel parameters of a kind from log-densities (rows, K), for columns with so many values each."""
    offset = float(log_weights.max())
    k = len(log_weights)
    padded = np.zeros((len(table), -(-k // PADDING) * PADDING), dtype)
    padded[:, :k] = table
    weights = np.zeros(padded.shape[1], dtype)
    weights[:k] = log_weights - offset
    firsts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    return Prepared(kind(weights, padded, firsts), offset)
