"""Families whose log-density is linear in the row: ``slope . x + constant``.

These are exponential families with the row itself as sufficient statistic; the sums of an M-step
are ``sum r x`` alone.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.engine.statistics import zeros
from fastem.families.family import Family, Maximized, Prepared
from fastem.kernels.dispatch import IMPOSSIBLE, add_statistics, implements, log_density
from fastem.kernels.simd import add_totals, elements, fill, fma, huge, load, splat, store, where_greater
from fastem.kernels.tiles import n_points

__all__ = [
    "LinearFamily", "LinearKernel", "LinearStatistics", "add_sums", "linear_log_density", "log_ratio",
    "log_table",
]  # fmt: skip


class LinearKernel(NamedTuple):
    """Slopes (K, d), constants (K,); and what counts impossible values, alike, or without rows if none is."""

    slopes: np.ndarray
    constants: np.ndarray
    excluding: np.ndarray
    excluding_constants: np.ndarray


class LinearIncomplete(NamedTuple):
    """Slopes and constants of each cell (K, 2 d), log-weights (K,); what counts impossible values, alike."""

    slopes: np.ndarray
    constants: np.ndarray
    excluding: np.ndarray
    excluding_constants: np.ndarray


class LinearStatistics(NamedTuple):
    """Sums of ``r x``, and of r where x is missing, both (K, d)."""

    first: np.ndarray
    absent: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def linear_log_density(x, d, slopes, constants, out):  # type: ignore[no-untyped-def]
    """Log-densities from d rows of points that lie one after the other in `x`.

    Four components by two vectors of points stay in registers.
    """
    w = elements(x)
    m = out.shape[1]
    n_components = out.shape[0]
    for b in range(0, m, 2 * w):
        for k in range(0, n_components - 3, 4):
            _measure_four(x, d, slopes, constants, out, k, b)
        for k in range(n_components - n_components % 4, n_components):
            s0 = splat(constants, k)
            s1 = s0
            for j in range(d):
                slope = splat(slopes, k * d + j)
                s0 = fma(slope, load(x, j * m + b), s0)
                s1 = fma(slope, load(x, j * m + b + w), s1)
            store(out, k * m + b, s0)
            store(out, k * m + b + w, s1)


@njit(error_model="numpy")
def _exclude(x, d, slopes, constants, out):  # type: ignore[no-untyped-def]
    """Add `IMPOSSIBLE` for each value that a component excludes: a sum of counts, so nothing else is rounded."""
    w = elements(x)
    m = out.shape[1]
    for k in range(slopes.shape[0]):
        for b in range(0, m, w):
            s = splat(constants, k)
            for j in range(d):
                s = fma(splat(slopes, k * d + j), load(x, j * m + b), s)
            store(out, k * m + b, fma(s, fill(s, IMPOSSIBLE), load(out, k * m + b)))


@njit(error_model="numpy")
def _measure_four(x, d, slopes, constants, out, k, b):  # type: ignore[no-untyped-def]
    w = elements(x)
    m = out.shape[1]
    s00 = splat(constants, k)
    s10 = splat(constants, k + 1)
    s20 = splat(constants, k + 2)
    s30 = splat(constants, k + 3)
    s01 = s00
    s11 = s10
    s21 = s20
    s31 = s30
    at = k * d
    for j in range(d):
        x0 = load(x, j * m + b)
        x1 = load(x, j * m + b + w)
        slope = splat(slopes, at + j)
        s00 = fma(slope, x0, s00)
        s01 = fma(slope, x1, s01)
        slope = splat(slopes, at + d + j)
        s10 = fma(slope, x0, s10)
        s11 = fma(slope, x1, s11)
        slope = splat(slopes, at + 2 * d + j)
        s20 = fma(slope, x0, s20)
        s21 = fma(slope, x1, s21)
        slope = splat(slopes, at + 3 * d + j)
        s30 = fma(slope, x0, s30)
        s31 = fma(slope, x1, s31)
    to = k * m + b
    store(out, to, s00)
    store(out, to + w, s01)
    store(out, to + m, s10)
    store(out, to + m + w, s11)
    store(out, to + 2 * m, s20)
    store(out, to + 2 * m + w, s21)
    store(out, to + 3 * m, s30)
    store(out, to + 3 * m + w, s31)


@njit(error_model="numpy")
def add_sums(x, d, resp, counts, sums, lane):  # type: ignore[no-untyped-def]
    """Add ``sum r x`` of all components to a lane of sums (lanes, K, d)."""
    n_components = resp.shape[0]
    at = lane * n_components * d
    for k in range(0, n_components - 1, 2):
        if counts[k] + counts[k + 1] > 0.0:
            for j in range(0, d - 3, 4):
                _add_two_by_four(x, j, d, resp, k, sums, at + k * d + j)
            for j in range(d - d % 4, d):
                _add_one(x, j, resp, k, sums, at + k * d + j)
                _add_one(x, j, resp, k + 1, sums, at + k * d + d + j)
    k = n_components - 1
    if n_components % 2 == 1 and counts[k] > 0.0:
        for j in range(d):
            _add_one(x, j, resp, k, sums, at + k * d + j)


@njit(error_model="numpy")
def _add_two_by_four(x, j, d, resp, k, sums, at):  # type: ignore[no-untyped-def]
    """Sums of four features with two components."""
    m = resp.shape[1]
    s00 = fill(load(x, 0), 0.0)
    s01 = s00
    s02 = s00
    s03 = s00
    s10 = s00
    s11 = s00
    s12 = s00
    s13 = s00
    for b in range(0, m, elements(x)):
        r0 = load(resp, k * m + b)
        r1 = load(resp, k * m + m + b)
        y = load(x, j * m + b)
        s00 = fma(r0, y, s00)
        s10 = fma(r1, y, s10)
        y = load(x, j * m + m + b)
        s01 = fma(r0, y, s01)
        s11 = fma(r1, y, s11)
        y = load(x, j * m + 2 * m + b)
        s02 = fma(r0, y, s02)
        s12 = fma(r1, y, s12)
        y = load(x, j * m + 3 * m + b)
        s03 = fma(r0, y, s03)
        s13 = fma(r1, y, s13)
    add_totals(sums, at, (s00, s01, s02, s03))
    add_totals(sums, at + d, (s10, s11, s12, s13))


@njit(error_model="numpy")
def _add_one(x, j, resp, k, sums, at):  # type: ignore[no-untyped-def]
    """The sum of one feature with one component, in four parts: one alone would wait for each addition."""
    w = elements(x)
    m = resp.shape[1]
    s0 = fill(load(x, 0), 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    r = k * m
    y = j * m
    for b in range(0, m, 4 * w):
        s0 = fma(load(resp, r + b), load(x, y + b), s0)
        s1 = fma(load(resp, r + b + w), load(x, y + b + w), s1)
        s2 = fma(load(resp, r + b + 2 * w), load(x, y + b + 2 * w), s2)
        s3 = fma(load(resp, r + b + 3 * w), load(x, y + b + 3 * w), s3)
    add_totals(sums, at, ((s0 + s1) + (s2 + s3),))


@njit(error_model="numpy")
def _mark_missing(tile, x):  # type: ignore[no-untyped-def]
    """Copy a tile with 0 for missing cells, followed by rows of 1 where cells are there and 0 where not."""
    w = elements(tile)
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
    _exclude(tile, tile.shape[0], params.excluding, params.excluding_constants, out)


@implements(add_statistics, LinearKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_sums(tile, tile.shape[0], resp, counts, stats.first, lane)


@implements(log_density, LinearIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    _mark_missing(tile, scratch)
    linear_log_density(scratch, 2 * tile.shape[0], params.slopes, params.constants, out)
    _exclude(scratch, 2 * tile.shape[0], params.excluding, params.excluding_constants, out)


@implements(add_statistics, LinearIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    size = tile.shape[0] * n_points(tile)
    one = fill(load(tile, 0), 1.0)
    for b in range(size, 2 * size, elements(tile)):
        store(scratch, b, one - load(scratch, b))
    add_sums(scratch, tile.shape[0], resp, counts, stats.first, lane)
    add_sums(scratch[size:], tile.shape[0], resp, counts, stats.absent, lane)


# --- the base ---------------------------------------------------------------------------------


class LinearFamily(Family[Any, LinearStatistics]):
    """Base of families of independent cells with one parameter each, all of shape (K, d)."""

    is_surveyed = True

    @abstractmethod
    def natural(self, params: Any) -> tuple[np.ndarray, np.ndarray]:
        """Slopes and constants of each cell, both (K, d); where a value is impossible, its share is 0."""

    def excluding(self, params: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """Slopes and constants (K, d) of what counts impossible values in a cell; None where all are possible."""
        return None

    def excludes(self, params: Any) -> bool:
        return self.excluding(params) is not None

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
        nothing = np.empty((0, slopes.shape[1]))
        ex_slopes, ex_constants = self.excluding(params) or (nothing, nothing)
        if missing:
            offset = float(log_weights.max())
            fields = (
                np.hstack([slopes, constants]), log_weights - offset, np.hstack([ex_slopes, ex_constants]),
                np.zeros(len(ex_slopes)),
            )  # fmt: skip
            return Prepared(LinearIncomplete(*(field.astype(dtype) for field in fields)), offset)
        totals = constants.sum(axis=1) + log_weights
        offset = float(totals.max())
        fields = slopes, totals - offset, ex_slopes, ex_constants.sum(axis=1)
        return Prepared(LinearKernel(*(np.ascontiguousarray(field, dtype) for field in fields)), offset)

    def maximize(
        self, stats: LinearStatistics, counts: np.ndarray, about: Any, dead: np.ndarray, frozen: frozenset[str]
    ) -> Maximized:
        cells = np.maximum(counts[:, None] - stats.absent, 0)
        seen = cells > 1e-12 * counts.sum()
        new = self.estimate(np.where(seen, stats.first, 1.0), np.where(seen, cells, 1.0))
        kept = type(new)(*(np.where(seen, value, old) for value, old in zip(new, about, strict=True)))
        return Maximized(self.keep(kept, about, dead, frozen))

    def expected(self, params: Any, counts: np.ndarray) -> LinearStatistics:
        means = self.means(params)
        return LinearStatistics(counts[:, None] * means, np.zeros_like(means))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features


def log_ratio(values: np.ndarray, centres: Any, differences: Any = None) -> np.ndarray:
    """``log(values / centres)``; 0 where a value is 0, whose share `LinearFamily.excluding` counts.

    It has all digits of the `differences`, ``values - centres``, where those are small.
    """
    values, centres = np.broadcast_arrays(np.asarray(values, dtype=np.float64), centres)
    changes = (values - centres if differences is None else differences) / centres
    near = np.log1p(np.clip(changes, -0.5, 0.5))
    far = np.log(values / centres, out=np.zeros(values.shape), where=values > 0)
    return np.where(np.abs(changes) < 0.5, near, far)


def log_table(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms, of 0 that of what is impossible."""
    return np.log(probabilities, out=np.full(np.shape(probabilities), IMPOSSIBLE), where=probabilities > 0)
