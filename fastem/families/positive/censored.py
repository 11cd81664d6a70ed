"""What families of censored values share: the cells of a row, and what stands beside each.

Rows hold the values x, then for each a number u: u = x where x is known, `RIGHT` where the value lies above x, `LEFT`
where it lies between 0 and x, and else the upper end of an interval that begins at x. Cells that are known go through
the kernels of the plain family, for which the others are missing; these come one by one, with their probability in
place of a density, and with the expectations of their statistics given where they lie.
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit

from fastem.families._domain import check_values
from fastem.families._paired import Paired
from fastem.families.family import Facts, Family, Prepared
from fastem.kernels.dispatch import log_density
from fastem.kernels.simd import elements, fill, load, maximum, store, total, where_greater
from fastem.kernels.tiles import n_points

__all__ = ["LEFT", "RIGHT", "CensoredFamily", "bounded", "cell_at", "known_log_density", "log_in_unit", "parts_of"]

RIGHT = -1.0
LEFT = -2.0
# No log-probability is lower: it stays finite in float32, and so do sums.
_LOWEST = -1e20
_TINY = float(np.finfo(np.float64).tiny)

# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def parts_of(tile, scratch):  # type: ignore[no-untyped-def]
    """Parts of the scratch: a tile of the known values, the places of censored cells, what the plain kernels have."""
    d = tile.shape[0] // 2
    m = n_points(tile)
    end = (3 * d + 1) * m
    return scratch[: d * m].reshape((d, m)), scratch[d * m : end], scratch[end:]


@njit(error_model="numpy")
def known_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    """Log-densities of the cells that are known, for which the others are missing.

    Returns how many of these there are, followed by column and point of each.
    """
    known, places, rest = parts_of(tile, scratch)
    size = known.shape[0] * n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    missing = fill(zero, math.nan)
    found = zero
    for b in range(0, size, elements(tile)):
        x = load(tile, b)
        u = load(tile, size + b)
        apart = maximum(x - u, u - x)
        store(known, b, where_greater(apart, zero, missing, x))
        found = maximum(apart, found)
    places[0] = _list_places(tile, places) if total(found) > 0.0 else 0
    log_density(known, params.plain, out, rest)
    return places


@njit(error_model="numpy")
def _list_places(tile, places):  # type: ignore[no-untyped-def]
    d = tile.shape[0] // 2
    count = 0
    for j in range(d):
        for b in range(n_points(tile)):
            places[2 * count + 1] = j
            places[2 * count + 2] = b
            count += 1 if abs(tile[j, b] - tile[d + j, b]) > 0.0 else 0  # a missing cell is not
    return count


@njit(error_model="numpy")
def cell_at(tile, places, i):  # type: ignore[no-untyped-def]
    """Column and point of a censored cell, and between which values it lies."""
    j, b = np.int64(places[2 * i + 1]), np.int64(places[2 * i + 2])
    x = np.float64(tile[j, b])
    u = np.float64(tile[tile.shape[0] // 2 + j, b])
    if u == RIGHT:
        return j, b, x, math.inf
    if u == LEFT:
        return j, b, 0.0, x
    return j, b, x, u


@njit(error_model="numpy")
def log_in_unit(x, inverse_unit):  # type: ignore[no-untyped-def]
    """Logarithm of an end of an interval, maybe 0 or infinite, in its column's unit."""
    if x == 0.0:
        return -math.inf
    ratio = x * inverse_unit
    if 1e-300 < ratio < 1e300 or x == math.inf:
        return math.log(ratio)
    return math.log(x) + math.log(inverse_unit)


@njit(error_model="numpy")
def bounded(log_p):  # type: ignore[no-untyped-def]
    """A log-probability that is finite in any dtype."""
    return max(log_p, _LOWEST)


# --- the base ---------------------------------------------------------------------------------


class CensoredFamily(Paired, Family[Any, Any]):
    """Base, beside a plain family, of families of rows (n, 2 d) whose cells may be censored.

    Attributes
    ----------
    censored_kernel : type
        NamedTuple of the plain family's kernel parameters, ``plain``, and of float64 arrays.
    """

    censored_kernel: ClassVar[Any]
    beside = "censored"
    takes_steps = True

    @abstractmethod
    def cell_parameters(self, params: Any, about: Any) -> tuple[np.ndarray, ...]:
        """What the kernels of censored cells read."""

    # --- data ---------------------------------------------------------------------------------

    def n_values(self, n_features: int) -> int:
        """Number of columns of values, of d."""
        if n_features % 2:
            raise ValueError(f"{n_features} columns are no values with a bound beside each.")
        return n_features // 2

    def points(self, rows: np.ndarray) -> np.ndarray:
        """One number (n, d) for each cell: the middle of an interval, and what a value lies above; NaN if that is 0."""
        x, u = self.halves(rows)
        middles = np.where(u == LEFT, x / 2, x + (u - x) / 2)
        return np.where(u == RIGHT, np.where(x > 0, x, np.nan), middles).astype(rows.dtype)

    def bind(self, facts: Facts) -> Self:
        lows, highs = self._ranges(facts.lows, facts.highs)
        names = None if facts.names is None else facts.names[: len(facts.names) // 2]
        return super().bind(facts._replace(rows=self.points(facts.rows), lows=lows, highs=highs, names=names))

    def stretched(self, lows: np.ndarray, highs: np.ndarray) -> Self:
        return super().stretched(*self._ranges(lows, highs))

    def _ranges(self, lows: Any, highs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest positive values (d,) between which values may lie, but for those without an upper end."""
        (low, low_beside), (high, high_beside) = self.halves(lows[None]), self.halves(highs[None])
        low = np.where(low_beside == LEFT, 0.0, low)
        return np.maximum(low, _TINY)[0], np.maximum(np.maximum(high, high_beside), _TINY)[0]

    def check_bound(self, n_features: int) -> None:
        super().check_bound(self.n_values(n_features))

    def check(self, rows: np.ndarray, first_row: int) -> None:
        x, u = self.halves(rows)
        check_values(x, first_row, ~(x >= 0), "the values must not be negative")
        super().check(np.where(x == u, x, np.nan), first_row)
        check_values(x, first_row, (u == LEFT) & (x == 0), "no value lies below 0")
        check_values(x, first_row, (u >= 0) & (u < x), "its upper end lies below it")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return super().start_features(self.points(rows))

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> Any:
        return super().zeros(lanes, n_components, n_features // 2)  # type: ignore[safe-super]

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        d = n_features // 2
        return (3 * d + 1) * tile_rows + super().scratch(n_components, d, tile_rows)

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return self.scratch(n_components, n_features, tile_rows)

    def prepare(
        self, params: Any, about: Any, log_weights: np.ndarray, dtype: np.dtype[Any], missing: bool
    ) -> Prepared:
        plain = super().prepare(params, about, log_weights, dtype, True)  # type: ignore[safe-super]
        own = (np.ascontiguousarray(values, np.float64) for values in self.cell_parameters(params, about))
        return plain._replace(params=self.censored_kernel(plain.params, *own))

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> Any:
        return super().alike(self.points(rows), n_components)  # type: ignore[safe-super]

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return super().n_parameters(n_components, n_features // 2)  # type: ignore[safe-super]

    def complete(self, params: Any, k: int, rows: np.ndarray, rng: np.random.RandomState | None) -> np.ndarray:
        raise NotImplementedError(
            "What bounds a missing value is not kept: cells of censored columns cannot be filled."
        )
