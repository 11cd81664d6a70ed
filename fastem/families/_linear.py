"""Families whose log-density is linear in the row: ``slope . x + constant``.

These are exponential families with the row itself as sufficient statistic; the sums of an M-step
are ``sum r x`` alone.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.dispatch import add_statistics, implements, log_density
from fastem.family import Family, Maximized, Prepared
from fastem.simd import add_totals, fill, fma, huge, lanes, load, splat, store, where_greater
from fastem.statistics import zeros
from fastem.tiles import n_points

__all__ = [
    "FLOOR", "LinearFamily", "LinearKernel", "LinearStatistics", "add_sums", "linear_log_density", "safe_log",
]  # fmt: skip

# Logarithms of zeros: their products with counts stay finite, their exponentials are 0.
FLOOR = -700.0


class LinearKernel(NamedTuple):
    """Slopes (K, d), constants (K,)."""

    slopes: np.ndarray
    constants: np.ndarray


class LinearIncomplete(NamedTuple):
    """Slopes and constants of each cell (K, 2 d), log-weights (K,)."""

    slopes: np.ndarray
    constants: np.ndarray


class LinearStatistics(NamedTuple):
    """Sums of ``r x``, and of r where x is missing, both (K, d)."""

    first: np.ndarray
    absent: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def linear_log_density(x, d, slopes, constants, out):  # type: ignore[no-untyped-def]
    """Log-densities from d rows of points that lie one after the other in `x`."""
    w = lanes(x)
    m = out.shape[1]
    for b in range(0, m, 2 * w):
        for k in range(out.shape[0]):
            s0 = splat(constants, k)
            s1 = s0
            for j in range(d):
                slope = splat(slopes, k * d + j)
                s0 = fma(slope, load(x, j * m + b), s0)
                s1 = fma(slope, load(x, j * m + b + w), s1)
            store(out, k * m + b, s0)
            store(out, k * m + b + w, s1)


@njit(error_model="numpy")
def add_sums(x, d, resp, counts, sums, lane):  # type: ignore[no-untyped-def]
    """Add ``sum r x`` of all components to a lane of sums (lanes, K, d)."""
    m = resp.shape[1]
    for k in range(resp.shape[0]):
        if counts[k] > 0.0:
            at = (lane * resp.shape[0] + k) * d
            for j in range(0, d - 3, 4):
                _add_four(x, j, resp, k, m, sums, at + j)
            for j in range(d - d % 4, d):
                _add_one(x, j, resp, k, m, sums, at + j)


@njit(error_model="numpy")
def _add_four(x, j, resp, k, m, sums, at):  # type: ignore[no-untyped-def]
    s0 = fill(load(x, 0), 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    for b in range(0, m, lanes(x)):
        r = load(resp, k * m + b)
        s0 = fma(r, load(x, j * m + b), s0)
        s1 = fma(r, load(x, j * m + m + b), s1)
        s2 = fma(r, load(x, j * m + 2 * m + b), s2)
        s3 = fma(r, load(x, j * m + 3 * m + b), s3)
    add_totals(sums, at, (s0, s1, s2, s3))


@njit(error_model="numpy")
def _add_one(x, j, resp, k, m, sums, at):  # type: ignore[no-untyped-def]
    s = fill(load(x, 0), 0.0)
    for b in range(0, m, lanes(x)):
        s = fma(load(resp, k * m + b), load(x, j * m + b), s)
    add_totals(sums, at, (s,))


@njit(error_model="numpy")
def _mark_missing(tile, x):  # type: ignore[no-untyped-def]
    """Copy a tile with 0 for missing cells, followed by rows of 1 where cells are there and 0 where not."""
    w = lanes(tile)
    size = tile.shape[0] * n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    one = fill(zero, 1.0)
    for b in range(0, size, w):
        cell = load(tile, b)
        lowest = zero - huge(zero)
        store(x, b, where_greater(cell, lowest, cell, zero))
        store(x, size + b, where_greater(cell, lowest, one, zero))


@implements(log_density, LinearKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    linear_log_density(tile, tile.shape[0], params.slopes, params.constants, out)


@implements(add_statistics, LinearKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_sums(tile, tile.shape[0], resp, counts, stats.first, lane)


@implements(log_density, LinearIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    _mark_missing(tile, scratch)
    linear_log_density(scratch, 2 * tile.shape[0], params.slopes, params.constants, out)


@implements(add_statistics, LinearIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    _mark_missing(tile, scratch)
    size = tile.shape[0] * n_points(tile)
    one = fill(load(tile, 0), 1.0)
    for b in range(size, 2 * size, lanes(tile)):
        store(scratch, b, one - load(scratch, b))
    add_sums(scratch, tile.shape[0], resp, counts, stats.first, lane)
    add_sums(scratch[size:], tile.shape[0], resp, counts, stats.absent, lane)


# --- the base ---------------------------------------------------------------------------------


class LinearFamily(Family[Any, LinearStatistics]):
    """Base of families of independent cells with one parameter each, all of shape (K, d)."""

    is_surveyed = True

    @abstractmethod
    def natural(self, params: Any) -> tuple[np.ndarray, np.ndarray]:
        """Slopes and constants of each cell, both (K, d)."""

    @abstractmethod
    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> Any:
        """Parameters from ``sum r x`` and ``sum r`` of each cell, both (K, d)."""

    def zeros(self, lanes: int, n_components: int, n_features: int) -> LinearStatistics:
        cells = (n_components, n_features)
        return zeros(LinearStatistics, lanes, first=cells, absent=cells)

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return 2 * n_features * tile_rows

    def prepare(
        self, params: Any, about: Any, log_weights: np.ndarray, dtype: np.dtype[Any], missing: bool
    ) -> Prepared:
        slopes, constants = self.natural(params)
        if missing:
            offset = float(log_weights.max())
            joined = np.hstack([slopes, constants])
            return Prepared(LinearIncomplete(joined.astype(dtype), (log_weights - offset).astype(dtype)), offset)
        totals = constants.sum(axis=1) + log_weights
        offset = float(totals.max())
        return Prepared(LinearKernel(slopes.astype(dtype), (totals - offset).astype(dtype)), offset)

    def maximize(
        self, stats: LinearStatistics, counts: np.ndarray, about: Any, dead: np.ndarray, held: frozenset[str]
    ) -> Maximized:
        cells = np.maximum(counts[:, None] - stats.absent, 0)
        seen = cells > 1e-12 * counts.sum()
        new = self.estimate(np.where(seen, stats.first, 1.0), np.where(seen, cells, 1.0))
        kept = type(new)(*(np.where(seen, value, old) for value, old in zip(new, about, strict=True)))
        return Maximized(self.keep(kept, about, dead, held))

    def expected(self, params: Any, counts: np.ndarray) -> LinearStatistics:
        means = self.means(params)
        return LinearStatistics(counts[:, None] * means, np.zeros_like(means))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features


def safe_log(values: np.ndarray) -> np.ndarray:
    """Logarithms, at least FLOOR."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(np.log(values), FLOOR))
