"""Few levels as rows of 0 and 1: then a categorical log-density is linear, and vectors run over points."""

from typing import NamedTuple

import numpy as np
from numba import njit

from fastem.dispatch import add_statistics, implements, log_density
from fastem.families._linear import add_sums, linear_log_density
from fastem.simd import fill, lanes, load, store, where_greater
from fastem.tiles import n_points

__all__ = ["LARGEST", "OneHotKernel", "OneHotStatistics"]

# With more levels, looking numbers up is faster.
LARGEST = 64


class OneHotKernel(NamedTuple):
    """Log-probabilities of all levels (K, R), log-weights (K,), levels of each column (d,)."""

    slopes: np.ndarray
    constants: np.ndarray
    levels: np.ndarray


class OneHotStatistics(NamedTuple):
    """Sums of responsibilities at each level (K, R)."""

    sums: np.ndarray


@njit(error_model="numpy")
def _expand(tile, levels, x):  # type: ignore[no-untyped-def]
    """A row of each level, 1 where a cell has it; all are 0 where it is missing."""
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    one = fill(zero, 1.0)
    at = 0
    for j in range(tile.shape[0]):
        for b in range(0, m, lanes(tile)):
            cell = load(tile, j * m + b)
            reached = where_greater(cell, fill(zero, -0.5), one, zero)
            for level in range(levels[j]):
                passed = where_greater(cell, fill(zero, level + 0.5), one, zero)
                store(x, (at + level) * m + b, reached - passed)
                reached = passed
        at += levels[j]
    return at


@implements(log_density, OneHotKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    n_rows = _expand(tile, params.levels, scratch)
    linear_log_density(scratch, n_rows, params.slopes, params.constants, out)


@implements(add_statistics, OneHotKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    n_rows = _expand(tile, params.levels, scratch)
    add_sums(scratch, n_rows, resp, counts, stats.sums, lane)
