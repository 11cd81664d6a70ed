"""Families of whole numbers whose log-densities are sums of numbers looked up in tables.

A table has one row for each value, with the components side by side, so one vector load serves
BLOCK of them; the sums of an M-step are the same table of responsibilities, histograms under each component.
Neighbouring columns of few values are looked up together: a row for each combination of theirs.
A missing cell is one value more, whose log-density is 0.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.families._side_by_side import n_padded, side_by_side, turn_back, turn_block
from fastem.families.family import Prepared
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.memory import aligned_zeros
from fastem.kernels.simd import (
    BLOCK,
    add_wide,
    elements,
    fill,
    fma,
    huge,
    load,
    load_block,
    splat,
    store,
    store_places,
    where_greater,
)
from fastem.kernels.tiles import n_points

__all__ = ["LookupStatistics", "Table", "in_blocks", "table_of"]

# Combinations of values that are worth a table of their own: it has to stay in the nearest cache.
_MOST_COMBINATIONS = 64


class LookupKernel(NamedTuple):
    """Log-weights (padded K,), log-densities (blocks of components, rows, BLOCK), and which row to look up.

    Each of the lookups of a point begins at a row of its own (lookups,) and goes as many rows
    further as its columns times their steps make; `ends` (lookups,) tells which columns are its.
    A missing cell counts as the code of its column.
    """

    log_weights: np.ndarray
    table: np.ndarray
    firsts: np.ndarray
    ends: np.ndarray
    columns: np.ndarray
    steps: np.ndarray
    codes: np.ndarray


class LookupStatistics(NamedTuple):
    """Sums of responsibilities for each row of the table, (blocks of components, rows, BLOCK)."""

    table: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _find_places(tile, params, places):  # type: ignore[no-untyped-def]
    """Flat indices of the rows that points look up, (lookups, m), in the first block of components."""
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    begin = 0
    for g in range(params.ends.shape[0]):
        end = params.ends[g]
        for b in range(0, m, elements(tile)):
            row = zero
            for e in range(begin, end):
                x = load(tile, params.columns[e] * m + b)
                x = where_greater(x, zero - huge(x), x, splat(params.codes, e))
                row = fma(x, splat(params.steps, e), row)
            # scalar loops that make indices of floats wait for each of them
            store_places(places, g * m + b, row, BLOCK, params.firsts[g] * BLOCK)
        begin = end


@implements(log_density, LookupKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    n_lookups = params.firsts.shape[0]
    places = scratch[2 * BLOCK * m :].view(np.int64)
    _find_places(tile, params, places)
    for c in range(0, out.shape[0], BLOCK):
        at = c * params.table.shape[1]
        for b in range(m):
            s = load_block(params.log_weights, c)
            for g in range(n_lookups):
                # unsigned indices need no look at whether they count from the end
                s = s + load_block(params.table, at + places[np.uintp(g * m + b)])
            store(scratch, b * BLOCK, s)
        turn_back(scratch, c, out)


@implements(add_statistics, LookupKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    table = stats.table
    n_lookups = params.firsts.shape[0]
    places = scratch[2 * BLOCK * m :].view(np.int64)
    n_rows = table.shape[2]
    for c in range(0, resp.shape[0], BLOCK):
        turn_block(resp, c, scratch)
        at = (lane * table.shape[1] * BLOCK + c) * n_rows
        for b in range(m):
            r = load_block(scratch, b * BLOCK)
            for g in range(n_lookups):
                add_wide(table, at + places[np.uintp(g * m + b)], r)


# --- what families do with it -----------------------------------------------------------------


class Table:
    """Where the values of columns lie; made by `table_of`.

    Numbers of values, ``sum(sizes)`` of them, come in arrays (values, K), one column after the other.

    Parameters
    ----------
    sizes : tuple of int
        Number of values of each column, which count from 0.
    n_sums : int, default=0
        If not 0, the sums of rows are looked up after all columns; so many values they have.
    """

    def __init__(self, sizes: tuple[int, ...], n_sums: int = 0):
        self.sizes, self.n_sums = sizes, n_sums
        groups: list[list[int]] = []
        combinations = 0
        for j, size in enumerate(sizes):
            combinations *= size + 1
            if not 0 < combinations <= _MOST_COMBINATIONS:
                groups.append([])
                combinations = size + 1
            groups[-1].append(j)
        self.groups = groups
        steps = [np.cumprod([1, *(sizes[j] + 1 for j in group)]) for group in groups]
        self.firsts = np.cumsum([0, *(of_group[-1] for of_group in steps)])
        columns = [j for group in groups for j in group]
        self.columns = np.array([*columns, *range(len(sizes))] if n_sums else columns)
        self.steps = np.append(
            np.concatenate([of_group[:-1] for of_group in steps]), np.ones(len(sizes) if n_sums else 0)
        )
        lengths = [*map(len, groups), *([len(sizes)] if n_sums else [])]
        self.ends = np.cumsum(lengths)
        self.n_rows = int(self.firsts[-1]) + n_sums

    def zeros(self, lanes: int, n_components: int) -> LookupStatistics:
        """Statistics of no data."""
        shape = (lanes, n_padded(n_components) // BLOCK, self.n_rows, BLOCK)
        return LookupStatistics(aligned_zeros(shape, np.dtype(np.float64)))

    def bytes(self, n_components: int) -> int:
        """Memory of one lane's statistics."""
        return 8 * self.n_rows * n_padded(n_components)

    def scratch(self, tile_rows: int) -> int:
        """Numbers of scratch space, with room for indices of twice the size."""
        return (2 * BLOCK + 2 * len(self.ends)) * tile_rows

    def histograms(self, stats: LookupStatistics, n_components: int) -> np.ndarray:
        """Sums of responsibilities for each value, (values, K); those of sums at the end."""
        table = stats.table.transpose(1, 0, 2).reshape(self.n_rows, -1)[:, :n_components]
        found = []
        for group, first, end in zip(self.groups, self.firsts[:-1], self.firsts[1:], strict=True):
            step = 1
            for j in group:
                n = self.sizes[j]
                found.append(table[first:end].reshape(-1, n + 1, step, n_components).sum(axis=(0, 2))[:n])
                step *= n + 1
        return np.concatenate([*found, table[self.firsts[-1] :]])

    def expected(self, histograms: np.ndarray, counts: np.ndarray) -> LookupStatistics:
        """Statistics with given histograms of values, of columns that are independent, and weights of components."""
        safe = np.where(counts > 0, counts, 1)
        sums = counts * self._combine(histograms / safe, np.multiply)
        return LookupStatistics(in_blocks(sums, np.dtype(np.float64)))

    def log_densities(self, logs: np.ndarray) -> np.ndarray:
        """Log-densities of the table's rows from those of values."""
        return self._combine(logs, np.add)

    def prepare(self, logs: np.ndarray, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Prepared:
        """Kernel parameters from log-densities of values (values, K)."""
        offset = float(log_weights.max())
        kernel = LookupKernel(
            side_by_side(log_weights - offset, 0.0, dtype),
            in_blocks(self.log_densities(logs), dtype),
            self.firsts[: len(self.ends)],
            self.ends,
            self.columns,
            self.steps.astype(dtype),
            np.array([self.sizes[j] for j in self.columns], dtype),
        )
        return Prepared(kernel, offset)

    def _combine(self, values: np.ndarray, operate: np.ufunc) -> np.ndarray:
        """Numbers of the table's rows from those of values; that of a missing cell is 0."""
        k = values.shape[1]
        parts = np.split(values, np.cumsum(self.sizes))
        rows = []
        for group in self.groups:
            joint = np.full((1, k), float(operate.identity))
            for j in group:
                own = np.append(parts[j], np.zeros((1, k)), axis=0)
                joint = operate(own[:, None], joint[None]).reshape(-1, k)
            rows.append(joint)
        return np.concatenate([*rows, parts[-1]])


def in_blocks(rows: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """A table (rows, K) as kernels have it, 0 for components that there are not."""
    padded = side_by_side(rows.T, 0.0, dtype)
    table = aligned_zeros((padded.shape[1] // BLOCK, len(rows), BLOCK), dtype)
    table[...] = padded.reshape(len(rows), -1, BLOCK).transpose(1, 0, 2)
    return table


@cache
def table_of(sizes: tuple[int, ...], n_sums: int = 0) -> Table:
    """The table of columns with so many values each."""
    return Table(sizes, n_sums)
