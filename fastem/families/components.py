"""Components of different families on the same columns: zero inflation, outliers, competing models."""

from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit

from fastem.families._factors import (
    FactorKernel,
    factor_kernel,
    factor_of,
    factor_scratch,
    log_factor,
    require_factor,
)
from fastem.families._parts import Part, PartedFamily, PartedParams, check_own_part, ends_of_whole_tiles, kernels_of
from fastem.families._settings import check_whole
from fastem.families.constant import Constant
from fastem.families.family import Facts, Family, Prepared
from fastem.kernels.dispatch import IMPOSSIBLE, add_statistics, implements, log_density
from fastem.kernels.erased import call_add_statistics, call_log_density
from fastem.kernels.simd import elements, load, splat, store
from fastem.kernels.tiles import n_points, tile_rows

__all__ = ["Components"]


class ComponentsKernel(NamedTuple):
    """Of each component the addresses of its verbs (K, 2) and a description of its kernel parameters (K, words);
    where its own scratch begins, and the end; what its log-densities lack (K,), and the factors that they leave out.
    Numbers of components that are constants, and of densities, under which no single value has a probability.
    """

    addresses: np.ndarray
    descriptions: np.ndarray
    regions: np.ndarray
    shifts: np.ndarray
    factor: FactorKernel
    constants: np.ndarray
    densities: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, ComponentsKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    for k in range(out.shape[0]):
        own = scratch[params.regions[k] : params.regions[k + 1]]
        log_factor(tile, params.factor, k, scratch[:m], scratch[m:])
        call_log_density(params.addresses[k, 0], params.descriptions[k], tile, out[k : k + 1], own)
        shift = splat(params.shifts, k)
        for b in range(0, m, elements(tile)):
            store(out, k * m + b, load(out, k * m + b) + (load(scratch, b) + shift))
    _keep_constants(params, out)


@njit(error_model="numpy")
def _keep_constants(params, out):  # type: ignore[no-untyped-def]
    """Rows that equal a constant are impossible under densities, to which they have no volume."""
    for k in params.constants:
        for b in range(out.shape[1]):
            if out[k, b] > 0.5 * IMPOSSIBLE:
                for i in params.densities:
                    out[i, b] = IMPOSSIBLE


@implements(add_statistics, ComponentsKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    for k in range(resp.shape[0]):
        own = scratch[params.regions[k] : params.regions[k + 1]]
        sums = stats.descriptions[k]
        call_add_statistics(
            params.addresses[k, 1], params.descriptions[k], sums, tile, resp[k : k + 1], counts[k : k + 1], lane, own
        )  # fmt: skip


# --- the family -------------------------------------------------------------------------------


class Components(PartedFamily):
    """Each component is of a family of its own; ``Mixture([Poisson(), Constant(0)])`` makes one.

    Parameters
    ----------
    families : list of Family
        The family of each component.
    n_columns : int, optional
        Columns of a row; set when data are met.

    Notes
    -----
    As an attribute of a fit, `components_` has the parameters of each component, with a leading axis of
    length 1: ``components_[0]["rates"][0]``. To hold some, give all to start from,
    ``params_init={"components": fit.components_}``, and the names of those that are frozen,
    ``frozen={"0.rates"}``.

    Probabilities of whole numbers and densities cannot be compared, so families of both kinds are
    refused; a `Constant` stands beside either.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Constant, Poisson
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[np.zeros(400), rng.poisson(3, 600)][:, None]
    >>> fit = Mixture([Constant(0), Poisson()], random_state=0).fit(X)
    >>> fit.weights_.round(1).tolist(), fit.components_[1]["rates"].round(0).tolist()
    ([0.4, 0.6], [[3.0]])
    """

    attribute = "components"
    is_ordered = True

    def __init__(self, families: list[Family[Any, Any]], n_columns: int | None = None):
        self.families = families
        self.n_columns = n_columns

    # --- data ---------------------------------------------------------------------------------

    def _others(self) -> list[Family[Any, Any]]:
        """The families that are no constants, or all if they are."""
        others = [family for family in self.families if not isinstance(family, Constant)]
        return others or list(self.families)

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return all(family.is_discrete for family in self._others())

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        return all(family.takes_missing for family in self.families)

    @property
    def has_response(self) -> bool:  # type: ignore[override]
        return any(family.has_response for family in self.families)

    @property
    def starts_blind(self) -> bool:  # type: ignore[override]
        return any(family.starts_blind for family in self.families)

    @property
    def takes_beside(self) -> tuple[str, ...]:  # type: ignore[override]
        others = self._others()
        return tuple(name for name in others[0].takes_beside if all(name in other.takes_beside for other in others))

    @property
    def beside(self) -> str | None:  # type: ignore[override]
        return self._others()[0].beside

    def check_settings(self) -> None:
        if not isinstance(self.families, list | tuple) or not self.families:
            raise ValueError(f"families must be a list of families, not {self.families!r}.")
        for k, family in enumerate(self.families):
            check_own_part(k, family)
            family.check_settings()
        others = self._others()
        for family in others:
            if family.has_response != others[0].has_response:
                raise ValueError(f"{others[0]!r} and {family!r}: only one is a regression, so they have other columns.")
            if family.is_discrete != others[0].is_discrete:
                raise ValueError(
                    f"{others[0]!r} and {family!r} cannot be compared: one gives probabilities, the other densities."
                )

    def check_bound(self, n_features: int) -> None:
        self.check_settings()
        check_whole("n_columns", self.n_columns)
        if self.n_columns != n_features:
            raise ValueError(f"n_columns is {self.n_columns!r} with {n_features} columns.")
        for family in self.families:
            family.check_bound(n_features)

    def place(self, n_columns: int, names: list[str] | None) -> Self:
        columns = list(range(n_columns))
        if self.has_response:
            columns = columns[-1:]
        elif self.beside is not None:
            columns = columns[: n_columns // 2]
        placed = [
            family.among(columns) if isinstance(family, Constant) else family.place(n_columns, names)
            for family in self.families
        ]
        return type(self)(placed, n_columns)

    def exposed(self) -> Self:
        return self._with([family.exposed() for family in self.families])

    def of_trials(self) -> Self:
        return self._with([family.of_trials() for family in self.families])

    def censored(self) -> Self:
        return self._with([family.censored() for family in self.families])

    def with_offset(self) -> Self:
        return self._with([family.with_offset() for family in self.families])

    def bind(self, facts: Facts) -> Self:
        for family in self.families:
            require_factor(family, facts.rows)
        return super().bind(facts)

    def level_columns(self, n_columns: int, names: list[str] | None) -> dict[int, bool]:
        each = [family.level_columns(n_columns, names) for family in self._others()]
        if any(columns.keys() != each[0].keys() for columns in each):
            raise ValueError("Only some of the families take the values of a column as levels.")
        return {j: all(columns[j] for columns in each) for j in each[0]}

    def settled(self, params: PartedParams, resp: np.ndarray, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
        k = int(np.argmax(resp.sum(axis=0)))
        return self.families[k].settled(params.parts[k], np.ones((len(rows), 1)), rows, filled)

    def _families(self) -> list[Family[Any, Any]]:
        return list(self.families)

    def _with(self, families: list[Family[Any, Any]]) -> Self:
        return type(self)(families, self.n_columns)

    def _names(self) -> list[str]:
        return [str(k) for k in range(len(self.families))]

    def _each(self) -> list[Part]:
        columns = list(range(self.n_columns or 0))
        each = enumerate(zip(self.families, self._names(), strict=True))
        return [Part(family, columns, slice(k, k + 1), name) for k, (family, name) in each]

    def check(self, rows: np.ndarray, first_row: int) -> None:
        for family in self.families:
            family.check(rows, first_row)

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return self._others()[0].start_features(rows)

    # --- statistics ---------------------------------------------------------------------------

    def _regions(self, n_components: int, tile_rows: int, missing: bool) -> np.ndarray:
        """Where each component's scratch begins, after that of factors; and the end."""
        d = self.n_columns or 0
        factors = tile_rows + factor_scratch([factor_of(family, d) for family in self.families], tile_rows)
        return ends_of_whole_tiles([factors, *self._own_scratch(n_components, tile_rows, missing)], tile_rows)

    def prepare(
        self,
        params: PartedParams,
        about: PartedParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        prepared = self._prepared(params, about, len(log_weights), dtype, missing)
        offsets = log_weights + np.array([one.offset for one in prepared])
        offset = float(offsets.max())
        addresses, descriptions = kernels_of(self._each(), prepared, len(log_weights), dtype)
        are_constant = np.array([isinstance(family, Constant) for family in self.families])
        are_densities = ~are_constant & (not self.is_discrete)
        kernel = ComponentsKernel(
            addresses,
            descriptions,
            self._regions(len(log_weights), tile_rows(dtype), missing),
            (offsets - offset).astype(dtype),
            factor_kernel([factor_of(family, self.n_columns or 0) for family in self.families], dtype),
            np.flatnonzero(are_constant),
            np.flatnonzero(are_densities),
        )
        return Prepared(kernel, offset, prepared)

    # --- parameters ---------------------------------------------------------------------------

    def excludes(self, params: PartedParams) -> bool:
        return all(self._map(lambda part, mine: part.family.excludes(mine), params.parts))

    def n_components(self, params: PartedParams) -> int:
        return len(params.parts)

    def displace(self, params: PartedParams, k: int, rng: np.random.RandomState) -> PartedParams:
        parts = list(params.parts)
        parts[k] = self.families[k].displace(parts[k], 0, rng)
        return PartedParams(tuple(parts))

    def split(self, params: PartedParams, into: int, source: int, rng: np.random.RandomState) -> PartedParams:
        """Component `into` near component `source` if they are of one kind, else moved from where it was."""
        parts = list(params.parts)
        if type(self.families[into]) is type(self.families[source]):
            parts[into] = parts[source]
        return self.displace(PartedParams(tuple(parts)), into, rng)

    def attributes(self, params: PartedParams) -> dict[str, Any]:
        return {"components": list(self._map(lambda part, mine: part.family.attributes(mine), params.parts))}

    def from_attributes(self, values: dict[str, Any]) -> PartedParams:
        given = values["components"]
        if not isinstance(given, list | tuple) or len(given) != len(self.families):
            raise ValueError(f"components must be a list of parameters of {len(self.families)} components.")
        return PartedParams(self._map(lambda part, mine: part.family.from_attributes(mine), tuple(given)))

    # --- rows ---------------------------------------------------------------------------------

    def ellipses(self, params: PartedParams) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        found = self._map(lambda part, mine: part.family.ellipses(mine), params.parts)
        if any(one is None for one in found):
            return None
        means, scales, dofs = (np.concatenate(each) for each in zip(*found, strict=True))
        return means, scales, dofs

    def sample(self, params: PartedParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        family = self.families[k]
        if not self.has_response or family.has_response:
            return family.sample(params.parts[k], 0, n, rng)
        i = next(i for i, other in enumerate(self.families) if other.has_response)
        rows = self.families[i].sample(params.parts[i], 0, n, rng)
        rows[:, -1:] = family.sample(params.parts[k], 0, n, rng)
        return rows

    def means(self, params: PartedParams) -> np.ndarray:
        return np.concatenate(self._map(lambda part, mine: part.family.means(mine), params.parts))

    def responses(self, params: PartedParams, rows: np.ndarray) -> np.ndarray:
        """Expected responses of rows under each component, shape (n, K)."""
        return np.hstack(self._map(lambda part, mine: part.family.responses(mine, rows), params.parts))

    def complete(self, params: PartedParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None) -> np.ndarray:
        return self.families[k].complete(params.parts[k], 0, rows, rng)
