"""Families whose log-density is linear in two functions of each cell, such as log x and log (1 - x).

A tile is expanded to the rows of both functions and a row of 1 where the cell is there, all 0 where
it is missing; then everything is as for linear families.
"""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numba import njit

from fastem.engine.statistics import zeros
from fastem.families._linear import add_sums, linear_log_density
from fastem.families.family import Family, Maximized, Prepared
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.simd import elements, fill, huge, load, splat, store, where_greater
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import log, log_gap

__all__ = ["ExpandedFamily", "PositiveKernel", "UnitKernel", "newton"]


class PositiveKernel(NamedTuple):
    """Slopes of x - 1, x - 1 - log x and 1 (K, 3 d), log-weights (K,), of values in units of which these are the
    inverse (d,).
    """

    slopes: np.ndarray
    constants: np.ndarray
    inverse_units: np.ndarray


class UnitKernel(NamedTuple):
    """Slopes of log x, log (1 - x) and 1 (K, 3 d), log-weights (K,)."""

    slopes: np.ndarray
    constants: np.ndarray


class ExpandedStatistics(NamedTuple):
    """Sums of r times both functions and 1, of the cells that are there (K, 3 d)."""

    sums: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _expand_positive(tile, inverse_units, x):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    size = tile.shape[0] * m
    zero = fill(load(tile, 0), 0.0)
    one = fill(zero, 1.0)
    for j in range(tile.shape[0]):
        inverse = splat(inverse_units, j)
        for b in range(j * m, (j + 1) * m, elements(tile)):
            cell = load(tile, b)
            lowest = zero - huge(cell)
            value = cell * inverse
            store(x, b, where_greater(cell, lowest, value - one, zero))
            store(x, size + b, where_greater(cell, lowest, log_gap(value), zero))
            store(x, 2 * size + b, where_greater(cell, lowest, one, zero))


@njit(error_model="numpy")
def _expand_unit(tile, x):  # type: ignore[no-untyped-def]
    w = elements(tile)
    size = tile.shape[0] * n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    one = fill(zero, 1.0)
    for b in range(0, size, w):
        cell = load(tile, b)
        lowest = zero - huge(cell)
        store(x, b, where_greater(cell, lowest, log(cell), zero))
        store(x, size + b, where_greater(cell, lowest, log(one - cell), zero))
        store(x, 2 * size + b, where_greater(cell, lowest, one, zero))


@implements(log_density, PositiveKernel)
def _positive_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    _expand_positive(tile, params.inverse_units, scratch)
    linear_log_density(scratch, 3 * tile.shape[0], params.slopes, params.constants, out)


@implements(add_statistics, PositiveKernel)
def _add_positive(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_sums(scratch, 3 * tile.shape[0], resp, counts, stats.sums, lane)


@implements(log_density, UnitKernel)
def _unit_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    _expand_unit(tile, scratch)
    linear_log_density(scratch, 3 * tile.shape[0], params.slopes, params.constants, out)


@implements(add_statistics, UnitKernel)
def _add_unit(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_sums(scratch, 3 * tile.shape[0], resp, counts, stats.sums, lane)


# --- the base ---------------------------------------------------------------------------------


class ExpandedFamily(Family[Any, ExpandedStatistics]):
    """Base of families of independent cells with two parameters each, both of shape (K, d)."""

    is_surveyed = True
    kernel_parameters: ClassVar[type]

    @abstractmethod
    def natural(self, params: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slopes of both functions and constants of each cell, all (K, d)."""

    @abstractmethod
    def expectations(self, params: Any) -> tuple[np.ndarray, np.ndarray]:
        """Expected values of both functions, both (K, d)."""

    @abstractmethod
    def estimate(self, one: np.ndarray, two: np.ndarray, about: Any, frozen: frozenset[str]) -> Any:
        """Parameters from the means of both functions, both (K, d)."""

    def zeros(self, lanes: int, n_components: int, n_features: int) -> ExpandedStatistics:
        return zeros(ExpandedStatistics, lanes, sums=(n_components, 3 * n_features))

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return 3 * n_features * tile_rows

    def prepare(
        self, params: Any, about: Any, log_weights: np.ndarray, dtype: np.dtype[Any], missing: bool
    ) -> Prepared:
        offset = float(log_weights.max())
        fields = (np.hstack(self.natural(params)), log_weights - offset, *self.kernel_extras(params))
        return Prepared(self.kernel_parameters(*(np.ascontiguousarray(field, dtype) for field in fields)), offset)

    def kernel_extras(self, params: Any) -> tuple[np.ndarray, ...]:
        """What kernel parameters hold beside slopes and log-weights."""
        return ()

    def slack(self, new: Any, about: Any, cells: np.ndarray) -> float:
        """What a floor that moved with a component may cost the log-likelihood."""
        return 0.0

    def maximize(
        self, stats: ExpandedStatistics, counts: np.ndarray, about: Any, dead: np.ndarray, frozen: frozenset[str]
    ) -> Maximized:
        one, two, cells = np.split(stats.sums, 3, axis=1)
        seen = cells > 1e-12 * counts.sum()
        weights = np.where(seen, cells, 1.0)
        now = self.expectations(about)
        means_one = np.where(seen, one / weights, now[0])
        means_two = np.where(seen, two / weights, now[1])
        new = self.estimate(means_one, means_two, about, frozen)
        kept = type(new)(*(np.where(seen, value, old) for value, old in zip(new, about, strict=True)))
        params = self.keep(kept, about, dead, frozen)
        return Maximized(params, self.slack(params, about, np.where(seen & ~dead[:, None], cells, 0.0)))

    def expected(self, params: Any, counts: np.ndarray) -> ExpandedStatistics:
        one, two = self.expectations(params)
        return ExpandedStatistics(counts[:, None] * np.hstack([one, two, np.ones_like(one)]))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 2 * n_components * n_features

    def displace(self, params: Any, k: int, rng: np.random.RandomState) -> Any:
        fields = [field.copy() for field in params]
        fields[0][k] *= np.exp(0.5 * rng.standard_normal(fields[0].shape[1]))
        return type(params)(*fields)

    def check_params(self, params: Any, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        for name, value in params._asdict().items():
            if (value <= 0).any():
                raise ValueError(f"The parameter {name!r} must be positive.")


def newton(value: np.ndarray, step: Any) -> np.ndarray:
    """Fixed point of Newton steps ``step(x) -> x`` on positive numbers, to twelve digits; too long ones are cut."""
    for _ in range(100):
        new = np.clip(step(value), value / 4, value * 4)
        done = np.max(np.abs(new - value) / value) < 1e-12
        value = new
        if done:
            break
    return value
