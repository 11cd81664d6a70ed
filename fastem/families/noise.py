"""A last component that has no parameters: uniform noise."""

from typing import Any, NamedTuple, Self

import numpy as np

from fastem.families._factors import (
    Factor,
    FactorKernel,
    factor_kernel,
    factor_of,
    factor_scratch,
    log_factor,
    require_factor,
)
from fastem.families._settings import check_array
from fastem.families.family import Facts, Family, Maximized, Prepared
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.tiles import n_points

__all__ = ["Noise"]


class NoiseKernel(NamedTuple):
    """Parameters of the other components and the factor that they leave out; log-weight of the noise (1,),
    log-density of each cell (d,).
    """

    others: Any
    factor: FactorKernel
    log_weight: np.ndarray
    cells: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, NoiseKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    last = out.shape[0] - 1
    noise = out[last]
    if params.factor.counts.shape[0] > 0:
        log_factor(tile, params.factor, 0, noise, scratch)
    else:
        noise[:] = 0.0
    log_density(tile, params.others, out[:last], scratch)
    for b in range(n_points(tile)):
        s = params.log_weight[0] - noise[b]
        for j in range(tile.shape[0]):
            if tile[j, b] == tile[j, b]:  # a missing cell is not itself
                s += params.cells[j]
        noise[b] = s


@implements(add_statistics, NoiseKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    last = resp.shape[0] - 1
    add_statistics(tile, resp[:last], counts[:last], params.others, stats, lane, scratch)


class Noise(Family[Any, Any]):
    """Components of a family, and a last one that is uniform over the box of the data.

    Whole numbers are alike in the box; of regressions, the response is uniform.

    Parameters
    ----------
    family : Family
    density : float, optional
        Density of the noise everywhere, instead.
    log_cells, lows : array-like of shape (d,), optional
        Its logarithm by columns, and a corner of the box; set when data are met.
    """

    is_surveyed = True
    n_noise = 1

    def __init__(self, family: Family[Any, Any], density: float | None = None, log_cells: Any = None, lows: Any = None):
        self.family = family
        self.density = density
        self.log_cells = log_cells
        self.lows = lows
        self.parameters = family.parameters  # type: ignore[misc]  # those of the others
        self.shared = family.shared  # type: ignore[misc]
        self.takes_missing = family.takes_missing and density is None  # type: ignore[misc]
        self.takes_steps = family.takes_steps  # type: ignore[misc]
        self.takes_beside = family.takes_beside  # type: ignore[misc]
        self.beside = family.beside
        self.starts_blind = family.starts_blind  # type: ignore[misc]
        self.is_ordered = family.is_ordered  # type: ignore[misc]
        self.has_response = family.has_response  # type: ignore[misc]
        self.is_discrete = family.is_discrete  # type: ignore[misc]

    # --- data ---------------------------------------------------------------------------------

    def check_settings(self) -> None:
        self.family.check_settings()

    def check_bound(self, n_features: int) -> None:
        is_family = isinstance(self.family, Family) and not isinstance(self.family, Noise)
        if not is_family or self.family.beside == "censored":
            raise ValueError(f"Noise lies beside components of a family, not of {self.family!r}.")
        self.family.check_bound(n_features)
        check_array("log_cells", self.log_cells, (n_features,))
        if self.density is None:
            check_array("lows", self.lows, (n_features,))
        elif self.lows is not None or not check_array("density", self.density, ()) > 0:
            raise ValueError(f"Noise of a given density has no box, and a positive density, not {self.density!r}.")

    def bind(self, facts: Facts) -> Self:
        assert facts.lows is not None and facts.highs is not None
        d = len(facts.lows)
        require_factor(self.family, facts.rows)
        if self.family.beside == "censored":
            raise ValueError(
                f"No noise can stand beside {self.family!r}: it has no probability of a censored value. Leave out "
                "noise=, or the censored rows."
            )
        if self.density is not None:
            cells = np.full(d, np.log(self.density) / np.count_nonzero(self._are_drawn(d)))
            return type(self)(self.family, self.density, cells)
        widths = facts.highs - facts.lows + self._least_width()
        flat = np.flatnonzero(~(widths > 0) & self._are_drawn(d))
        if len(flat):
            raise ValueError(f"Noise has no box: column {flat[0]} has one value only. Give its density as noise=.")
        return type(self)(self.family, None, -np.log(np.where(widths > 0, widths, 1.0)), facts.lows)

    def _are_drawn(self, n_features: int) -> np.ndarray:
        """The mask of columns that the components are distributions of: not what they depend on."""
        columns = np.arange(n_features)
        if self.has_response:
            return np.asarray(columns == n_features - 1)
        return columns < (n_features if self.beside is None else n_features // 2)

    def _least_width(self) -> float:
        """The width of a column with one value: whole numbers are as many as their range and one."""
        return 1.0 if self.is_discrete else 0.0

    def reach(self, rows: np.ndarray) -> np.ndarray:
        return self.family.reach(rows)

    def widened(self, reach: np.ndarray) -> Self:
        wider = self.family.widened(reach)
        return self if wider is self.family else type(self)(wider, self.density, self.log_cells, self.lows)

    def level_columns(self, n_columns: int, names: list[str] | None) -> dict[int, bool]:
        return self.family.level_columns(n_columns, names)

    def settled(self, params: Any, resp: np.ndarray, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
        return self.family.settled(params, resp[:, :-1], rows, filled)

    def endless(self, given: Family[Any, Any]) -> Self:
        return type(self)(self.family.endless(given), self.density, self.log_cells, self.lows)

    def stretched(self, lows: np.ndarray, highs: np.ndarray) -> Self:
        family = self.family.stretched(lows, highs)
        if self.density is not None:
            return type(self)(family, self.density, self.log_cells, self.lows)
        least = self._least_width()
        low, high = np.minimum(self.lows, lows), np.maximum(self.lows + self._widths() - least, highs)
        widths = high - low + least
        return type(self)(family, None, -np.log(np.where(widths > 0, widths, 1.0)), low)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        self.family.check(rows, first_row)

    def base(self, rows: np.ndarray) -> np.ndarray | None:
        return self.family.base(rows)

    def base_terms(self, n_features: int) -> Factor | None:
        return factor_of(self.family, n_features)

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return self.family.start_features(rows)

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> Any:
        return self.family.zeros(lanes, n_components - 1, n_features)

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        others = self.family.scratch(n_components - 1, n_features, tile_rows)
        return max(others, factor_scratch([self.base_terms(n_features)], tile_rows))

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        others = self.family.incomplete_scratch(n_components - 1, n_features, tile_rows)
        return max(others, factor_scratch([self.base_terms(n_features)], tile_rows))

    def prepare(
        self, params: Any, about: Any, log_weights: np.ndarray, dtype: np.dtype[Any], missing: bool
    ) -> Prepared:
        others = self.family.prepare(params, about, log_weights[:-1], dtype, missing)
        log_weight = log_weights[-1:] - others.offset
        cells = np.where(self._are_drawn(len(self.log_cells)), self.log_cells, 0.0).astype(dtype)
        factor = factor_kernel([self.base_terms(len(cells))], dtype)
        kernel = NoiseKernel(others.params, factor, log_weight.astype(dtype), cells)
        return others._replace(params=kernel)

    def kernel_statistics(self, stats: Any) -> Any:
        return self.family.kernel_statistics(stats)

    def recentre(self, stats: Any, counts: np.ndarray, about: Any, dtype: np.dtype[Any], frozen: frozenset[str]) -> Any:
        return self.family.recentre(stats, counts[:-1], about, dtype, frozen)

    def move(self, stats: Any, counts: np.ndarray, about: Any, to: Any) -> Any:
        return self.family.move(stats, counts[:-1], about, to)

    def expected(self, params: Any, counts: np.ndarray) -> Any:
        return self.family.expected(params, counts[:-1])

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> Any:
        return self.family.alike(rows, n_components - 1)

    def maximize(
        self, stats: Any, counts: np.ndarray, about: Any, dead: np.ndarray, frozen: frozenset[str]
    ) -> Maximized:
        return self.family.maximize(stats, counts[:-1], about, dead[:-1], frozen)

    def log_prior(self, params: Any) -> float:
        return self.family.log_prior(params)

    def displace(self, params: Any, k: int, rng: np.random.RandomState) -> Any:
        return self.family.displace(params, k, rng)

    def split(self, params: Any, into: int, source: int, rng: np.random.RandomState) -> Any:
        n_others = self.family.n_components(params)
        if into == n_others:  # noise that died stays dead
            return params
        return self.family.split(params, into, min(source, n_others - 1), rng)

    def hold(self, params: Any, old: Any, frozen: frozenset[str]) -> Any:
        return self.family.hold(params, old, frozen)

    def excludes(self, params: Any) -> bool:
        return False  # noise makes everything possible

    def at_floor(self, params: Any) -> np.ndarray:
        return self.family.at_floor(params)

    @property
    def has_prior(self) -> bool:
        return self.family.has_prior

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return self.family.n_parameters(n_components - 1, n_features)

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        return self.family.n_frozen(frozen, n_components - 1, n_features)

    def check_params(self, params: Any, n_components: int, n_features: int) -> None:
        self.family.check_params(params, n_components - 1, n_features)

    def freezable(self) -> dict[str, str]:
        return self.family.freezable()

    def is_given_by(self, names: set[str]) -> bool:
        return self.family.is_given_by(names)

    def with_values(self, params: Any, values: dict[str, Any]) -> Any:
        return self.family.with_values(params, values)

    def attributes(self, params: Any) -> dict[str, Any]:
        return self.family.attributes(params)

    def attribute_names(self) -> tuple[str, ...]:
        return self.family.attribute_names()

    def from_attributes(self, values: dict[str, Any]) -> Any:
        return self.family.from_attributes(values)

    # --- rows ---------------------------------------------------------------------------------

    def _widths(self) -> np.ndarray:
        return np.asarray(np.exp(-np.asarray(self.log_cells)))

    def ellipses(self, params: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        return self.family.ellipses(params)

    def sample(self, params: Any, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        if k < self.family.n_components(params):
            return self.family.sample(params, k, n, rng)
        if self.lows is None:
            raise ValueError("Noise of a given density has no box to draw from.")
        rows = np.asarray(self.lows + rng.uniform(size=(n, len(self.lows))) * self._widths())
        if self.is_discrete:
            rows = np.where(self._are_drawn(rows.shape[1]), np.floor(rows), rows)
        return rows if self.has_response or self.beside is None else rows[:, : rows.shape[1] // 2]

    def complete(self, params: Any, k: int, rows: np.ndarray, rng: np.random.RandomState | None) -> np.ndarray:
        if k < self.family.n_components(params):
            return self.family.complete(params, k, rows, rng)
        middle = np.asarray(self.lows) + self._widths() / 2
        return np.where(np.isnan(rows), middle if rng is None else self.sample(params, k, len(rows), rng), rows)
