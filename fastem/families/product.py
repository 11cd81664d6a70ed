"""Products of families: different columns follow different distributions, for mixed tables."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from sklearn.base import clone

from fastem.dispatch import add_statistics, implements, log_density
from fastem.erased import call_add_statistics, call_log_density, describe, erase, table
from fastem.family import Facts, Family, Maximized, Prepared
from fastem.simd import lanes, load, splat, store
from fastem.tiles import n_points, tile_rows

__all__ = ["Product"]


class ProductKernel(NamedTuple):
    """Of each part the addresses of its verbs (parts, 2) and a description of its kernel parameters (parts, words);
    their columns one after the other, the first column of each part and the end; where each part's own
    scratch begins, and the end; log-weights (K,).
    """

    addresses: np.ndarray
    descriptions: np.ndarray
    columns: np.ndarray
    firsts: np.ndarray
    regions: np.ndarray
    log_weights: np.ndarray


class ProductSums(NamedTuple):
    """Descriptions of the statistics of each part (parts, words)."""

    descriptions: np.ndarray


class ProductParams(NamedTuple):
    """Parameters of the parts, in their order."""

    parts: tuple[Any, ...]


class ProductStatistics(NamedTuple):
    """Statistics of the parts, in their order."""

    parts: tuple[Any, ...]


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _columns(tile, params, i, scratch):  # type: ignore[no-untyped-def]
    """A tile of the columns of part i, at the beginning of its scratch, and the rest of that."""
    m = n_points(tile)
    first, end = params.firsts[i], params.firsts[i + 1]
    mine = scratch[params.regions[i] : params.regions[i + 1]]
    size = (end - first) * m
    for j in range(first, end):
        for b in range(0, m, lanes(tile)):
            store(mine, (j - first) * m + b, load(tile, params.columns[j] * m + b))
    return mine[:size].reshape(end - first, m), mine[size:]


@implements(log_density, ProductKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    k, m = out.shape
    w = lanes(tile)
    for i in range(k):
        for b in range(0, m, w):
            store(out, i * m + b, splat(params.log_weights, i))
    mine = scratch[: k * m].reshape(k, m)
    for i in range(params.firsts.shape[0] - 1):
        columns, rest = _columns(tile, params, i, scratch)
        call_log_density(params.addresses[i, 0], params.descriptions[i], columns, mine, rest)
        for b in range(0, k * m, w):
            store(out, b, load(out, b) + load(mine, b))


@implements(add_statistics, ProductKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    for i in range(params.firsts.shape[0] - 1):
        columns, rest = _columns(tile, params, i, scratch)
        sums = stats.descriptions[i]
        call_add_statistics(
            params.addresses[i, 1], params.descriptions[i], sums, columns, resp, counts, lane, rest
        )  # fmt: skip


# --- the family -------------------------------------------------------------------------------


class Product(Family[ProductParams, ProductStatistics]):
    """Different columns follow different families, independently within a component.

    Parameters
    ----------
    parts : dict
        Families by column: its name, or its number, or a tuple of several that one family takes
        together.
    columns : list of list of int, optional
        Numbers of each part's columns; set when data are met.

    Notes
    -----
    As an attribute of a fit, `parts_` has the parameters of each part: ``parts_["income"]["log_means"]``.
    To hold some, give all to start from, ``params_init={"parts": fit.parts_}``, and the names of those
    that are held, ``frozen={"income.log_means"}``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Exponential, Poisson, Product
    >>> X = np.array([[0.5, 3], [1.5, 5]])
    >>> fit = Mixture(Product({0: Exponential(), 1: Poisson()})).fit(X)
    >>> fit.parts_["1"]["rates"].tolist()
    [[4.0]]
    """

    parameters = ProductParams

    def __init__(self, parts: Mapping[Any, Family[Any, Any]], columns: Any = None):
        self.parts = parts
        self.columns = columns

    @property
    def is_surveyed(self) -> bool:  # type: ignore[override]  # by the parts
        return any(part.is_surveyed for part in self.parts.values())

    @property
    def takes_steps(self) -> bool:  # type: ignore[override]
        return any(part.takes_steps for part in self.parts.values())

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return all(part.is_discrete for part in self.parts.values())

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        return True

    # --- data ---------------------------------------------------------------------------------

    def check_settings(self) -> None:
        if not isinstance(self.parts, Mapping) or not self.parts:
            raise ValueError(f"parts must be a dict of families by column, not {self.parts!r}.")
        for part in self.parts.values():
            if isinstance(part, Family):
                part.check_settings()

    def check_bound(self, n_features: int) -> None:
        if not isinstance(self.columns, list | tuple) or len(self.columns) != len(self.parts):
            raise ValueError(f"columns should name the columns of {len(self.parts)} parts, not {self.columns!r}.")
        for key, part in self.parts.items():
            _check_part(key, part)
        found = sorted(j for mine in self.columns for j in mine)
        if len(found) != n_features or any(type(j) is not int or j != i for i, j in enumerate(found)):
            raise ValueError(f"columns should name each of {n_features} columns once, not {self.columns!r}.")
        for part, mine in self._each():
            part.check_bound(len(mine))

    def place(self, n_columns: int, names: list[str] | None) -> Self:
        return type(self)(self.parts, self._find(n_columns, names))

    def level_columns(self, n_columns: int, names: list[str] | None) -> dict[int, bool]:
        each = zip(self.parts.values(), self._find(n_columns, names), strict=True)
        found = [(mine[j], own) for part, mine in each for j, own in part.level_columns(len(mine), None).items()]
        return dict(sorted(found))

    def settled(self, params: ProductParams, resp: np.ndarray, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
        settled = filled.copy()
        for (part, mine), values in zip(self._each(), params.parts, strict=True):
            settled[:, mine] = part.settled(values, resp, rows[:, mine], filled[:, mine])
        return settled

    def anchored(self, rows: np.ndarray) -> Self:
        each = zip(self.parts.items(), self.columns, strict=True)
        return type(self)({key: clone(part).anchored(rows[:, mine]) for (key, part), mine in each}, self.columns)

    def bind(self, facts: Facts) -> Self:
        parts = {}
        for (key, part), mine in zip(self.parts.items(), self.columns, strict=True):
            lows = None if facts.lows is None else facts.lows[mine]
            highs = None if facts.highs is None else facts.highs[mine]
            names = None if facts.names is None else [facts.names[j] for j in mine]
            parts[key] = clone(part).bind(Facts(facts.rows[:, mine], facts.weights, lows, highs, names))
        return type(self)(parts, self.columns)

    def _find(self, n_columns: int, names: list[str] | None) -> list[list[int]]:
        """Numbers of the parts' columns; raises ValueError unless each column has one part."""
        found = []
        for key, part in self.parts.items():
            _check_part(key, part)
            found.append([self._number(name, n_columns, names) for name in (key if isinstance(key, tuple) else (key,))])
        every = sorted(j for mine in found for j in mine)
        if every != list(range(n_columns)):
            twice = sorted({j for j in every if every.count(j) > 1})
            without = sorted(set(range(n_columns)) - set(every))
            named = [str(j) if names is None else names[j] for j in twice or without]
            problem = "belong to several parts" if twice else "have no part: leave them out with fastem.open"
            raise ValueError(f"Columns {', '.join(named)} {problem}.")
        return found

    def _number(self, name: Any, n_columns: int, names: list[str] | None) -> int:
        if isinstance(name, str):
            if names is None or name not in names:
                raise ValueError(
                    f"There is no column {name!r}" + ("; the data have no names." if names is None else ".")
                )
            return names.index(name)
        if not 0 <= name < n_columns:
            raise ValueError(f"There is no column {name!r} in data with {n_columns} columns.")
        return int(name)

    def _each(self) -> list[tuple[Family[Any, Any], list[int]]]:
        return list(zip(self.parts.values(), self.columns, strict=True))

    def reach(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([part.reach(rows[:, mine]) for part, mine in self._each()])

    def widened(self, reach: np.ndarray) -> Self:
        ends = np.cumsum([len(part.reach(np.empty((0, len(mine))))) for part, mine in self._each()])
        shares = np.split(reach, ends[:-1])
        wider = {key: part.widened(own) for (key, part), own in zip(self.parts.items(), shares, strict=True)}
        return self if all(wider[key] is part for key, part in self.parts.items()) else type(self)(wider, self.columns)

    def endless(self, given: Any) -> Self:
        each = zip(self.parts.items(), given.parts.values(), strict=True)
        return type(self)({key: part.endless(settings) for (key, part), settings in each}, self.columns)

    def stretched(self, lows: np.ndarray, highs: np.ndarray) -> Self:
        each = zip(self.parts.items(), self.columns, strict=True)
        return type(self)({key: part.stretched(lows[mine], highs[mine]) for (key, part), mine in each}, self.columns)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        for part, mine in self._each():
            try:
                part.check(rows[:, mine], first_row)
                if not part.takes_missing and np.isnan(rows[:, mine]).any():
                    raise ValueError(f"Input X contains NaN, which {part!r} does not take.")
            except ValueError as error:
                named = re.sub(r"column (\d+)", lambda found: f"column {mine[int(found[1])]}", str(error))  # noqa: B023
                raise ValueError(named) from error

    def base(self, rows: np.ndarray) -> np.ndarray | None:
        found = [part.base(rows[:, mine]) for part, mine in self._each()]
        factors = [of_part for of_part in found if of_part is not None]
        return np.sum(factors, axis=0) if factors else None

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        features = [part.start_features(rows[:, mine]) for part, mine in self._each()]
        seen = np.hstack(features).astype(np.float64)
        missing = np.isnan(seen)
        counts = np.maximum((~missing).sum(axis=0), 1)
        means = np.where(missing, 0, seen).sum(axis=0) / counts
        sds = np.sqrt(np.square(np.where(missing, 0, seen - means)).sum(axis=0) / counts)
        return np.asarray((seen - means) / np.where(sds > 0, sds, 1))

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> ProductStatistics:
        return ProductStatistics(tuple(part.zeros(lanes, n_components, len(mine)) for part, mine in self._each()))

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return int(self._regions(n_components, tile_rows, missing=False)[-1])

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return int(self._regions(n_components, tile_rows, missing=True)[-1])

    def _regions(self, n_components: int, tile_rows: int, missing: bool) -> np.ndarray:
        """Where each part's scratch begins, after log-densities of all components; and the end."""
        sizes = [n_components * tile_rows]
        for part, mine in self._each():
            needs = part.incomplete_scratch if missing else part.scratch
            sizes.append(len(mine) * tile_rows + needs(n_components, len(mine), tile_rows))
        return np.cumsum([-(-size // tile_rows) * tile_rows for size in sizes], dtype=np.int64)

    def prepare(
        self,
        params: ProductParams,
        about: ProductParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        nothing = np.zeros(len(log_weights))
        prepared = [
            part.prepare(mine, centre, nothing, dtype, missing)
            for part, mine, centre in zip(self.parts.values(), params.parts, about.parts, strict=True)
        ]
        offset = float(log_weights.max())
        columns = np.concatenate([np.array(mine, dtype=np.int64) for mine in self.columns])
        firsts = np.cumsum([0, *(len(mine) for mine in self.columns)], dtype=np.int64)
        regions = self._regions(len(log_weights), tile_rows(dtype), missing)
        weights = (log_weights - offset).astype(dtype)
        erased = [
            erase(mine.params, part.zeros(1, len(log_weights), len(places)), dtype)
            for mine, (part, places) in zip(prepared, self._each(), strict=True)
        ]
        addresses = np.array([(of.log_density, of.add_statistics) for of in erased], dtype=np.int64)
        descriptions = table([of.parameters for of in erased])
        kernel = ProductKernel(addresses, descriptions, columns, firsts, regions, weights)
        return Prepared(kernel, offset + sum(p.offset for p in prepared), prepared)

    def kernel_statistics(self, stats: ProductStatistics) -> ProductSums:
        return ProductSums(table([describe(sums) for sums in stats.parts]))

    def recentre(
        self,
        stats: ProductStatistics,
        counts: np.ndarray,
        about: ProductParams,
        dtype: np.dtype[Any],
        held: frozenset[str],
    ) -> ProductParams | None:
        each = zip(self._names(), self.parts.values(), stats.parts, about.parts, strict=True)
        found = [
            part.recentre(sums, counts, mine, dtype, _held_in(name, part, held)) for name, part, sums, mine in each
        ]
        if all(centre is None for centre in found):
            return None
        return ProductParams(tuple(c if c is not None else mine for c, mine in zip(found, about.parts, strict=True)))

    def move(self, stats: ProductStatistics, counts: np.ndarray, about: ProductParams, to: ProductParams) -> Any:
        each = zip(self.parts.values(), stats.parts, about.parts, to.parts, strict=True)
        return ProductStatistics(tuple(part.move(sums, counts, a, b) for part, sums, a, b in each))

    def expected(self, params: ProductParams, counts: np.ndarray) -> ProductStatistics:
        each = zip(self.parts.values(), params.parts, strict=True)
        return ProductStatistics(tuple(part.expected(mine, counts) for part, mine in each))

    # --- parameters ---------------------------------------------------------------------------

    def about(self, rows: np.ndarray, n_components: int) -> ProductParams:
        return ProductParams(tuple(part.about(rows[:, mine], n_components) for part, mine in self._each()))

    def maximize(
        self,
        stats: ProductStatistics,
        counts: np.ndarray,
        about: ProductParams,
        dead: np.ndarray,
        held: frozenset[str],
    ) -> Maximized:
        each = zip(self._names(), self.parts.values(), stats.parts, about.parts, strict=True)
        results = [
            part.maximize(sums, counts, mine, dead, _held_in(name, part, held)) for name, part, sums, mine in each
        ]
        return Maximized(ProductParams(tuple(r.params for r in results)), sum(r.slack for r in results))

    def log_prior(self, params: ProductParams) -> float:
        return sum(part.log_prior(mine) for part, mine in zip(self.parts.values(), params.parts, strict=True))

    def _map(self, params: ProductParams, change: Any) -> ProductParams:
        return ProductParams(tuple(change(p, mine) for p, mine in zip(self.parts.values(), params.parts, strict=True)))

    def n_components(self, params: ProductParams) -> int:
        return next(iter(self.parts.values())).n_components(params.parts[0])

    def take(self, params: ProductParams, order: np.ndarray) -> ProductParams:
        return self._map(params, lambda part, mine: part.take(mine, order))

    def displace(self, params: ProductParams, k: int, rng: np.random.RandomState) -> ProductParams:
        return self._map(params, lambda part, mine: part.displace(mine, k, rng))

    def hold(self, params: ProductParams, old: ProductParams, held: frozenset[str]) -> ProductParams:
        each = zip(self._names(), self.parts.values(), params.parts, old.parts, strict=True)
        return ProductParams(tuple(part.hold(new, of, _held_in(name, part, held)) for name, part, new, of in each))

    def excludes(self, params: ProductParams) -> bool:
        return any(part.excludes(mine) for part, mine in zip(self.parts.values(), params.parts, strict=True))

    def at_floor(self, params: ProductParams) -> np.ndarray:
        found = np.zeros((self.n_components(params), sum(map(len, self.columns))), bool)
        for (part, mine), values in zip(self._each(), params.parts, strict=True):
            of_part = part.at_floor(values)
            if of_part.shape[1]:
                found[:, mine] = of_part
        return found

    @property
    def has_prior(self) -> bool:
        return any(part.has_prior for part in self.parts.values())

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return sum(part.n_parameters(n_components, len(mine)) for part, mine in self._each())

    def check_params(self, params: ProductParams, n_components: int, n_features: int) -> None:
        for (part, mine), values in zip(self._each(), params.parts, strict=True):
            part.check_params(values, n_components, len(mine))

    def held_names(self) -> dict[str, str]:
        each = zip(self._names(), self.parts.values(), strict=True)
        return {"parts": "parts"} | {f"{name}.{own}": "parts" for name, part in each for own in part.held_names()}

    def n_held(self, held: frozenset[str], n_components: int, n_features: int) -> int:
        each = zip(self._names(), self._each(), strict=True)
        return sum(part.n_held(_held_in(name, part, held), n_components, len(mine)) for name, (part, mine) in each)

    def is_given_by(self, names: set[str]) -> bool:
        return "parts" in names

    def with_values(self, params: ProductParams | None, values: dict[str, Any]) -> ProductParams:
        if "parts" not in values:
            assert params is not None
            return params
        return self.from_attributes(values)

    def _names(self) -> list[str]:
        return [", ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in self.parts]

    def attributes(self, params: ProductParams) -> dict[str, Any]:
        each = zip(self._names(), self.parts.values(), params.parts, strict=True)
        return {"parts": {name: part.attributes(mine) for name, part, mine in each}}

    def attribute_names(self) -> tuple[str, ...]:
        return ("parts",)

    def from_attributes(self, values: dict[str, Any]) -> ProductParams:
        each = zip(self._names(), self.parts.values(), strict=True)
        return ProductParams(tuple(part.from_attributes(values["parts"][name]) for name, part in each))

    # --- rows ---------------------------------------------------------------------------------

    def sample(self, params: ProductParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        rows = np.empty((n, sum(map(len, self.columns))))
        for (part, mine), values in zip(self._each(), params.parts, strict=True):
            rows[:, mine] = part.sample(values, k, n, rng)
        return rows

    def complete(
        self, params: ProductParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None
    ) -> np.ndarray:
        filled = rows.copy()
        for (part, mine), values in zip(self._each(), params.parts, strict=True):
            if np.isnan(rows[:, mine]).any():
                filled[:, mine] = part.complete(values, k, rows[:, mine], rng)
        return filled


def _check_part(key: Any, part: Any) -> None:
    """Raise ValueError unless something can be a part."""
    if not isinstance(part, Family) or isinstance(part, Product) or part.n_noise:
        raise ValueError(f"The part {key!r} must be a family, such as Poisson(), not {part!r}.")
    if part.has_response:
        raise ValueError(f"{part!r} is a regression: it cannot be a part of a product.")


def _held_in(name: str, part: Family[Any, Any], held: frozenset[str]) -> frozenset[str]:
    """Names that are held in a part, of names such as ``income.log_means``."""
    own = part.held_names()
    if "parts" in held:
        return frozenset(own)
    return frozenset(one for one in own if f"{name}.{one}" in held)
