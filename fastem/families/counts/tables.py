"""Tables of counts of any size: a row for each small count, and a few rows for each range of large ones.

Log-densities of counts, and what their M-steps sum up, are smooth on the scale of the count. So a
large count is looked up by interpolation between `NODES` rows of its range, which is a sixteenth
as wide as it is far from 0 (errors below 1e-14 of the value), and its responsibility is shared
among the same rows: sums over counts of smooth functions stay what they are.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy.special import polygamma

from fastem.families._lookup import LookupStatistics, in_blocks
from fastem.families._side_by_side import n_padded, side_by_side, turn_back, turn_block
from fastem.families._special import log_minus_psi, log_rising
from fastem.families.family import Prepared
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.memory import aligned_zeros
from fastem.kernels.simd import BLOCK, add_wide, load_block, splat_block, store
from fastem.kernels.tiles import n_points

__all__ = ["DRAWS", "CountTable", "Counts", "Rising", "count_table", "counts_up_to", "rises", "rising"]

NODES = 8
DRAWS = 4096  # of each component, in place of an expectation that has no table
_LONGEST = 4096  # table of a row for each count; where there are larger ones it has `_DENSE` rows
_DENSE = 1024
_GROWTH = 1 + 1 / 16  # from the beginning of a range to its end
_ANGLES = (np.arange(NODES) + 0.5) * np.pi / NODES
_KNOTS = np.cos(_ANGLES)  # Chebyshev's, in a range from -1 to 1
_FACTORS = (-1.0) ** np.arange(NODES) * np.sin(_ANGLES)  # of barycentric interpolation


class CountKernel(NamedTuple):
    """Log-weights (padded K,), log-densities (blocks of components, rows, BLOCK), how many rows single counts
    have (1,); of each lookup the first row (lookups,), and which columns are its, up to `ends`.
    """

    log_weights: np.ndarray
    table: np.ndarray
    dense: np.ndarray
    firsts: np.ndarray
    ends: np.ndarray
    columns: np.ndarray
    n_rows: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _weigh_nodes(x, dense, weights, at):  # type: ignore[no-untyped-def]
    """The number of the range in which a count lies, and the weights of its rows from `at` on."""
    i = int(math.log(x / dense) / math.log(_GROWTH))
    low = dense * _GROWTH**i
    t = (x - low) / (low * (0.5 * (_GROWTH - 1))) - 1.0
    total = 0.0
    for j in range(NODES):
        distance = t - _KNOTS[j]
        if distance == 0.0:
            for n in range(NODES):
                weights[at + n] = 0.0
            weights[at + j] = 1.0
            return i
        share = _FACTORS[j] / distance
        weights[at + j] = share
        total += share
    for j in range(NODES):
        weights[at + j] /= total
    return i


@njit(error_model="numpy")
def _find_rows(tile, params, places, weights):  # type: ignore[no-untyped-def]
    """Flat indices (lookups, m) of rows in the first block of components; of the first of `NODES` rows, less what
    makes it negative, for large counts, with their weights (lookups, m, NODES).
    """
    m = n_points(tile)
    dense = params.dense[0]
    begin = 0
    for g in range(params.ends.shape[0]):
        for b in range(m):
            x = 0.0
            for e in range(begin, params.ends[g]):
                x += tile[params.columns[e], b]
            if not x >= 0.0:  # missing
                row = params.n_rows[0] - 1
                places[g * m + b] = (params.firsts[g] + row) * BLOCK
            elif x < dense:
                places[g * m + b] = (params.firsts[g] + int(x)) * BLOCK
            else:
                i = _weigh_nodes(x, dense, weights, (g * m + b) * NODES)
                places[g * m + b] = -1 - (params.firsts[g] + dense + i * NODES) * BLOCK
        begin = params.ends[g]


@njit(error_model="numpy")
def _divide(scratch, n_lookups, m):  # type: ignore[no-untyped-def]
    """Room for two blocks of components, for places, and for weights."""
    places = scratch[2 * BLOCK * m : (2 * BLOCK + 2 * n_lookups) * m].view(np.int64)
    return scratch[: 2 * BLOCK * m], places, scratch[(2 * BLOCK + 2 * n_lookups) * m :]


@implements(log_density, CountKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    n_lookups = params.firsts.shape[0]
    turned, places, weights = _divide(scratch, n_lookups, m)
    _find_rows(tile, params, places, weights)
    for c in range(0, out.shape[0], BLOCK):
        at = c * params.table.shape[1]
        for b in range(m):
            s = load_block(params.log_weights, c)
            for g in range(n_lookups):
                place = places[g * m + b]
                if place >= 0:
                    s = s + load_block(params.table, at + place)
                else:
                    for j in range(NODES):
                        share = splat_block(weights, (g * m + b) * NODES + j)
                        s = s + share * load_block(params.table, at - 1 - place + j * BLOCK)
            store(turned, b * BLOCK, s)
        turn_back(turned, c, out)


@implements(add_statistics, CountKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    table = stats.table
    n_lookups = params.firsts.shape[0]
    turned, places, weights = _divide(scratch, n_lookups, m)
    n_rows = table.shape[2]
    for c in range(0, resp.shape[0], BLOCK):
        turn_block(resp, c, turned)
        at = (lane * table.shape[1] * BLOCK + c) * n_rows
        for b in range(m):
            r = load_block(turned, b * BLOCK)
            for g in range(n_lookups):
                place = places[g * m + b]
                if place >= 0:
                    add_wide(table, at + place, r)
                else:
                    for j in range(NODES):
                        share = splat_block(weights, (g * m + b) * NODES + j)
                        add_wide(table, at - 1 - place + j * BLOCK, r * share)


# --- what families do with it -----------------------------------------------------------------


class Counts:
    """The counts up to a largest one, as a table has them.

    Attributes
    ----------
    dense : int
        Counts that have a row each.
    values : ndarray
        The count of each row: 0, 1, 2, ... and then `NODES` numbers in each range.
    """

    def __init__(self, largest: float):
        self.dense = int(largest) + 1 if largest < _LONGEST else _DENSE
        n_ranges = 0
        if largest >= self.dense:
            n_ranges = int(math.log(largest / self.dense) / math.log(_GROWTH)) + 2
        low = self.dense * _GROWTH ** np.arange(n_ranges, dtype=np.float64)
        nodes = low[:, None] * (1 + 0.5 * (_GROWTH - 1) * (_KNOTS + 1))
        self.values = np.append(np.arange(self.dense, dtype=np.float64), nodes.ravel())

    @property
    def are_few(self) -> bool:
        """Whether each count has a row of its own."""
        return len(self.values) == self.dense


@cache
def counts_up_to(largest: float) -> Counts:
    """The counts up to a largest one."""
    return Counts(largest)


class CountTable:
    """Where the counts of columns lie that have no table of single counts; made by `count_table`.

    Parameters
    ----------
    counts : Counts
        Of each column.
    n_columns : int
    has_sums : bool
        Whether the sums of rows are looked up too, after all columns.
    """

    def __init__(self, counts: Counts, n_columns: int, has_sums: bool):
        self.counts = counts
        self.n_lookups = n_columns + has_sums
        self.n_each = len(counts.values) + 1  # the last row is for missing cells
        self.n_rows = self.n_each * self.n_lookups
        every = [*range(n_columns), *(range(n_columns) if has_sums else ())]
        self.columns = np.array(every)
        self.ends = np.cumsum([1] * n_columns + [n_columns] * has_sums)

    def zeros(self, lanes: int, n_components: int) -> LookupStatistics:
        """Statistics of no data."""
        shape = (lanes, n_padded(n_components) // BLOCK, self.n_rows, BLOCK)
        return LookupStatistics(aligned_zeros(shape, np.dtype(np.float64)))

    def bytes(self, n_components: int) -> int:
        """Memory of one lane's statistics."""
        return 8 * self.n_rows * n_padded(n_components)

    def scratch(self, tile_rows: int) -> int:
        """Numbers of scratch space, with room for indices of twice the size."""
        return (2 * BLOCK + (2 + NODES) * self.n_lookups) * tile_rows

    def histograms(self, stats: LookupStatistics, n_components: int) -> np.ndarray:
        """Sums of responsibilities for each value, (values of all lookups, K)."""
        table = stats.table.transpose(1, 0, 2).reshape(self.n_lookups, self.n_each, -1)
        return np.asarray(table[:, :-1, :n_components].reshape(-1, n_components))

    def prepare(self, logs: np.ndarray, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Prepared:
        """Kernel parameters from log-densities of values (values of all lookups, K)."""
        k = logs.shape[1]
        rows = np.zeros((self.n_lookups, self.n_each, k))
        rows[:, :-1] = logs.reshape(self.n_lookups, -1, k)
        offset = float(log_weights.max())
        kernel = CountKernel(
            side_by_side(log_weights - offset, 0.0, dtype),
            in_blocks(rows.reshape(-1, k), dtype),
            np.array([self.counts.dense]),
            self.n_each * np.arange(self.n_lookups),
            self.ends,
            self.columns,
            np.array([self.n_each]),
        )
        return Prepared(kernel, offset)

    def expected(self, rows: list[np.ndarray], counts: np.ndarray) -> LookupStatistics:
        """Statistics of drawn rows (n, columns) of each component, which has the given weight."""
        found = np.zeros((self.n_lookups, self.n_each, len(counts)))
        for k, drawn in enumerate(rows):
            looked_up = [
                drawn[:, self.columns[a:b]].sum(axis=1) for a, b in zip([0, *self.ends], self.ends, strict=False)
            ]
            for g, x in enumerate(looked_up):
                found[g, :-1, k] = self._histogram(x) * (counts[k] / len(x))
        return LookupStatistics(in_blocks(found.reshape(-1, len(counts)), np.dtype(np.float64)))

    def _histogram(self, x: np.ndarray) -> np.ndarray:
        dense = self.counts.dense
        found = np.zeros(len(self.counts.values))
        small = x < dense
        found[:dense] = np.bincount(x[small].astype(np.intp), minlength=dense)
        shares = np.empty(NODES)
        for value in np.minimum(x[~small], self.counts.values[-1]):
            first = dense + NODES * _weigh_nodes(value, dense, shares, 0)
            found[first : first + NODES] += shares
        return found


@cache
def count_table(largest: float, n_columns: int, has_sums: bool = False) -> CountTable:
    """The table of columns of counts up to a largest one."""
    return CountTable(counts_up_to(largest), n_columns, has_sums)


# --- sums over counts of functions that rise with them -----------------------------------------


class Rising(NamedTuple):
    """Weights of counts, so that sums over them of ``log Gamma(a + x) - log Gamma(a)`` are found.

    Attributes
    ----------
    above : ndarray of shape (..., dense)
        Weight of single counts above 0, 1, 2, ...: sums of ``log(a + x)`` over these.
    large : ndarray of shape (..., nodes)
        Weights of large counts.
    nodes : ndarray of shape (nodes,)
    """

    above: np.ndarray
    large: np.ndarray
    nodes: np.ndarray


def rising(histograms: np.ndarray, counts: Counts) -> Rising:
    """From histograms (..., values)."""
    small, large = histograms[..., : counts.dense], histograms[..., counts.dense :]
    above = small.sum(axis=-1, keepdims=True) - np.cumsum(small, axis=-1)
    return Rising(np.maximum(above, 0), large, counts.values[counts.dense :])


def rises(weights: Rising, a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over counts of ``log Gamma(a + x) - log Gamma(a)`` with a (...), and both derivatives by a."""
    a = np.asarray(a)[..., None]
    x = np.arange(weights.above.shape[-1], dtype=np.float64)
    inverse = 1 / (a + x)
    value = np.sum(weights.above * np.log(a + x), axis=-1)
    slope = np.sum(weights.above * inverse, axis=-1)
    curve = -np.sum(weights.above * inverse**2, axis=-1)
    if weights.nodes.size:
        x = weights.nodes
        value = value + np.sum(weights.large * log_rising(a, x), axis=-1)
        steps = np.log1p(x / a) + log_minus_psi(a) - log_minus_psi(a + x)
        slope = slope + np.sum(weights.large * steps, axis=-1)
        curve = curve + np.sum(weights.large * (polygamma(1, a + x) - polygamma(1, a)), axis=-1)
    return value, slope, curve
