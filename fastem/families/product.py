"""Products of families: different columns follow different distributions, for mixed tables."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit

from fastem.families._factors import Factor, Sum, Term, factor_of
from fastem.families._parts import Part, PartedFamily, PartedParams, check_own_part, ends_of_whole_tiles, kernels_of
from fastem.families.family import Family, Prepared
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.erased import call_add_statistics, call_log_density
from fastem.kernels.simd import elements, load, splat, store
from fastem.kernels.tiles import n_points, tile_rows

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


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _columns(tile, params, i, scratch):  # type: ignore[no-untyped-def]
    """A tile of the columns of part i, at the beginning of its scratch, and the rest of that."""
    m = n_points(tile)
    first, end = params.firsts[i], params.firsts[i + 1]
    mine = scratch[params.regions[i] : params.regions[i + 1]]
    size = (end - first) * m
    for j in range(first, end):
        for b in range(0, m, elements(tile)):
            store(mine, (j - first) * m + b, load(tile, params.columns[j] * m + b))
    return mine[:size].reshape(end - first, m), mine[size:]


@implements(log_density, ProductKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    k, m = out.shape
    w = elements(tile)
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


class Product(PartedFamily):
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
    that are frozen, ``frozen={"income.log_means"}``.

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

    attribute = "parts"

    def __init__(self, parts: Mapping[Any, Family[Any, Any]], columns: Any = None):
        self.parts = parts
        self.columns = columns

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
        for one in self._each():
            one.family.check_bound(len(one.columns))

    def place(self, n_columns: int, names: list[str] | None) -> Self:
        return type(self)(self.parts, self._find(n_columns, names))

    def level_columns(self, n_columns: int, names: list[str] | None) -> dict[int, bool]:
        each = zip(self.parts.values(), self._find(n_columns, names), strict=True)
        found = [(mine[j], own) for part, mine in each for j, own in part.level_columns(len(mine), None).items()]
        return dict(sorted(found))

    def settled(self, params: PartedParams, resp: np.ndarray, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
        settled = filled.copy()
        for part, values in zip(self._each(), params.parts, strict=True):
            mine = part.columns
            settled[:, mine] = part.family.settled(values, resp, rows[:, mine], filled[:, mine])
        return settled

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

    def _families(self) -> list[Family[Any, Any]]:
        return list(self.parts.values())

    def _with(self, families: list[Family[Any, Any]]) -> Self:
        return type(self)(dict(zip(self.parts, families, strict=True)), self.columns)

    def _names(self) -> list[str]:
        return [", ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in self.parts]

    def _each(self) -> list[Part]:
        each = zip(self.parts.values(), self.columns, self._names(), strict=True)
        return [Part(family, list(mine), slice(None), name) for family, mine, name in each]

    def check(self, rows: np.ndarray, first_row: int) -> None:
        for part in self._each():
            family, mine = part.family, part.columns
            try:
                family.check(rows[:, mine], first_row)
                if not family.takes_missing and np.isnan(rows[:, mine]).any():
                    raise ValueError(f"Input X contains NaN, which {family!r} does not take.")
            except ValueError as error:
                named = re.sub(r"column (\d+)", lambda found: f"column {mine[int(found[1])]}", str(error))  # noqa: B023
                raise ValueError(named) from error

    def base(self, rows: np.ndarray) -> np.ndarray | None:
        found = [part.family.base(rows[:, part.columns]) for part in self._each()]
        factors = [of_part for of_part in found if of_part is not None]
        return np.sum(factors, axis=0) if factors else None

    def base_terms(self, n_features: int) -> Factor | None:
        terms: list[Term] = []
        sums: list[Sum] = []
        for part in self._each():
            own = factor_of(part.family, len(part.columns))
            if own is not None:
                placed = own.among(part.columns, n_features, len(sums))
                terms += placed.terms
                sums += placed.sums
        return Factor(terms, sums) if terms else None

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        features = [part.family.start_features(rows[:, part.columns]) for part in self._each()]
        seen = np.hstack(features).astype(np.float64)
        missing = np.isnan(seen)
        counts = np.maximum((~missing).sum(axis=0), 1)
        means = np.where(missing, 0, seen).sum(axis=0) / counts
        sds = np.sqrt(np.square(np.where(missing, 0, seen - means)).sum(axis=0) / counts)
        return np.asarray((seen - means) / np.where(sds > 0, sds, 1))

    # --- statistics ---------------------------------------------------------------------------

    def _regions(self, n_components: int, tile_rows: int, missing: bool) -> np.ndarray:
        """Where each part's scratch begins, after log-densities of all components; and the end."""
        own = self._own_scratch(n_components, tile_rows, missing)
        with_columns = [len(mine) * tile_rows + size for mine, size in zip(self.columns, own, strict=True)]
        return ends_of_whole_tiles([n_components * tile_rows, *with_columns], tile_rows)

    def prepare(
        self,
        params: PartedParams,
        about: PartedParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        prepared = self._prepared(params, about, len(log_weights), dtype, missing)
        offset = float(log_weights.max())
        columns = np.concatenate([np.array(mine, dtype=np.int64) for mine in self.columns])
        firsts = np.cumsum([0, *(len(mine) for mine in self.columns)], dtype=np.int64)
        regions = self._regions(len(log_weights), tile_rows(dtype), missing)
        weights = (log_weights - offset).astype(dtype)
        addresses, descriptions = kernels_of(self._each(), prepared, len(log_weights), dtype)
        kernel = ProductKernel(addresses, descriptions, columns, firsts, regions, weights)
        return Prepared(kernel, offset + sum(p.offset for p in prepared), prepared)

    # --- parameters ---------------------------------------------------------------------------

    def n_components(self, params: PartedParams) -> int:
        return next(iter(self.parts.values())).n_components(params.parts[0])

    def take(self, params: PartedParams, order: np.ndarray) -> PartedParams:
        return PartedParams(self._map(lambda part, mine: part.family.take(mine, order), params.parts))

    def displace(self, params: PartedParams, k: int, rng: np.random.RandomState) -> PartedParams:
        return PartedParams(self._map(lambda part, mine: part.family.displace(mine, k, rng), params.parts))

    def attributes(self, params: PartedParams) -> dict[str, Any]:
        return {"parts": dict(self._map(lambda part, mine: (part.name, part.family.attributes(mine)), params.parts))}

    def from_attributes(self, values: dict[str, Any]) -> PartedParams:
        return PartedParams(self._map(lambda part: part.family.from_attributes(values["parts"][part.name])))

    # --- rows ---------------------------------------------------------------------------------

    def sample(self, params: PartedParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        rows = np.empty((n, sum(map(len, self.columns))))
        for part, values in zip(self._each(), params.parts, strict=True):
            rows[:, part.columns] = part.family.sample(values, k, n, rng)
        return rows

    def complete(self, params: PartedParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None) -> np.ndarray:
        filled = rows.copy()
        for part, values in zip(self._each(), params.parts, strict=True):
            mine = part.columns
            if np.isnan(rows[:, mine]).any():
                filled[:, mine] = part.family.complete(values, k, rows[:, mine], rng)
        return filled


def _check_part(key: Any, part: Any) -> None:
    """Raise ValueError unless something can be a part."""
    check_own_part(key, part)
    if part.has_response:
        raise ValueError(f"{part!r} is a regression: it cannot be a part of a product.")
