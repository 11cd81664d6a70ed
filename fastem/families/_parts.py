"""Families made of other families: each part has some of the columns, and some of the components."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import clone

from fastem.families.family import Facts, Family, Maximized, Prepared
from fastem.kernels.erased import describe, erase, table
from fastem.kernels.helpers import Job, start_helpers

__all__ = [
    "Part", "PartedFamily", "PartedParams", "PartedStatistics", "PartedSums", "check_own_part", "ends_of_whole_tiles",
    "kernels_of",
]  # fmt: skip


class PartedParams(NamedTuple):
    """Parameters of the parts, in their order."""

    parts: tuple[Any, ...]


class PartedStatistics(NamedTuple):
    """Statistics of the parts, in their order."""

    parts: tuple[Any, ...]


class PartedSums(NamedTuple):
    """Descriptions of the statistics of each part (parts, words)."""

    descriptions: np.ndarray


class Part(NamedTuple):
    """A family, the numbers of its columns, its components, and its name for those who hold its parameters."""

    family: Family[Any, Any]
    columns: list[int]
    components: slice
    name: str

    def n_components(self, n_components: int) -> int:
        """How many components of all are its own."""
        return len(range(n_components)[self.components])


class PartedFamily(Family[PartedParams, PartedStatistics]):
    """Base of families that consist of parts.

    Attributes
    ----------
    attribute : str
        Name of the parameters of all parts, as an attribute of a fit without its underscore.
    """

    parameters = PartedParams
    attribute: ClassVar[str]

    @abstractmethod
    def _each(self) -> list[Part]:
        """The parts, where data were met."""

    @abstractmethod
    def _families(self) -> list[Family[Any, Any]]:
        """The families of the parts, in their order."""

    @abstractmethod
    def _with(self, families: list[Family[Any, Any]]) -> Self:
        """The same of other families."""

    @property
    def is_surveyed(self) -> bool:  # type: ignore[override]  # by the parts
        return any(family.is_surveyed for family in self._families())

    @property
    def takes_steps(self) -> bool:  # type: ignore[override]
        return any(family.takes_steps for family in self._families())

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return all(family.is_discrete for family in self._families())

    @property
    def has_prior(self) -> bool:
        return any(family.has_prior for family in self._families())

    # --- data ---------------------------------------------------------------------------------

    def anchored(self, rows: np.ndarray) -> Self:
        return self._with([clone(part.family).anchored(rows[:, part.columns]) for part in self._each()])

    def bind(self, facts: Facts) -> Self:
        bound = []
        for part in self._each():
            mine = part.columns
            lows = None if facts.lows is None else facts.lows[mine]
            highs = None if facts.highs is None else facts.highs[mine]
            names = None if facts.names is None else [facts.names[j] for j in mine]
            bound.append(clone(part.family).bind(Facts(facts.rows[:, mine], facts.weights, lows, highs, names)))
        return self._with(bound)

    def reach(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([part.family.reach(rows[:, part.columns]) for part in self._each()])

    def widened(self, reach: np.ndarray) -> Self:
        each = self._each()
        ends = np.cumsum([len(part.family.reach(np.empty((0, len(part.columns))))) for part in each])
        shares = np.split(reach, ends[:-1])
        wider = [part.family.widened(own) for part, own in zip(each, shares, strict=True)]
        return self if all(a is b for a, b in zip(wider, self._families(), strict=True)) else self._with(wider)

    def endless(self, given: Any) -> Self:
        each = zip(self._families(), given._families(), strict=True)
        return self._with([family.endless(settings) for family, settings in each])

    def stretched(self, lows: np.ndarray, highs: np.ndarray) -> Self:
        return self._with([part.family.stretched(lows[part.columns], highs[part.columns]) for part in self._each()])

    # --- statistics ---------------------------------------------------------------------------

    def _map(self, change: Callable[..., Any], *tuples: tuple[Any, ...]) -> tuple[Any, ...]:
        """What `change` makes of each part, and of its share in some tuples."""
        return tuple(change(*of_part) for of_part in zip(self._each(), *tuples, strict=True))

    def zeros(self, lanes: int, n_components: int, n_features: int) -> PartedStatistics:
        return PartedStatistics(
            self._map(lambda part: part.family.zeros(lanes, part.n_components(n_components), len(part.columns)))
        )

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return int(self._regions(n_components, tile_rows, missing=False)[-1])

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return int(self._regions(n_components, tile_rows, missing=True)[-1])

    @abstractmethod
    def _regions(self, n_components: int, tile_rows: int, missing: bool) -> np.ndarray:
        """Where in the scratch the own of each part begins, and the end."""

    def _own_scratch(self, n_components: int, tile_rows: int, missing: bool) -> list[int]:
        """Numbers of scratch space that the kernels of each part need for a tile."""
        found = []
        for part in self._each():
            needs = part.family.incomplete_scratch if missing else part.family.scratch
            found.append(needs(part.n_components(n_components), len(part.columns), tile_rows))
        return found

    def _prepared(
        self, params: PartedParams, about: PartedParams, n_components: int, dtype: np.dtype[Any], missing: bool
    ) -> list[Prepared]:
        """Kernel parameters of each part, without weights of components."""
        return list(
            self._map(
                lambda part, mine, centre: part.family.prepare(
                    mine, centre, np.zeros(part.n_components(n_components)), dtype, missing
                ),
                params.parts,
                about.parts,
            )
        )

    def kernel_statistics(self, stats: PartedStatistics) -> PartedSums:
        return PartedSums(table([describe(sums) for sums in stats.parts]))

    def recentre(
        self,
        stats: PartedStatistics,
        counts: np.ndarray,
        about: PartedParams,
        dtype: np.dtype[Any],
        frozen: frozenset[str],
    ) -> PartedParams | None:
        found = self._map(
            lambda part, sums, mine: part.family.recentre(
                sums, counts[part.components], mine, dtype, self._held_in(part, frozen)
            ),
            stats.parts,
            about.parts,
        )
        if all(centre is None for centre in found):
            return None
        return PartedParams(tuple(c if c is not None else mine for c, mine in zip(found, about.parts, strict=True)))

    def move(self, stats: PartedStatistics, counts: np.ndarray, about: PartedParams, to: PartedParams) -> Any:
        return PartedStatistics(
            self._map(
                lambda part, sums, a, b: part.family.move(sums, counts[part.components], a, b),
                stats.parts,
                about.parts,
                to.parts,
            )
        )

    def expected(self, params: PartedParams, counts: np.ndarray) -> PartedStatistics:
        return PartedStatistics(
            self._map(lambda part, mine: part.family.expected(mine, counts[part.components]), params.parts)
        )

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> PartedParams:
        return PartedParams(
            self._map(lambda part: part.family.alike(rows[:, part.columns], part.n_components(n_components)))
        )

    def maximize(
        self,
        stats: PartedStatistics,
        counts: np.ndarray,
        about: PartedParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        results = self._map(
            lambda part, sums, mine: part.family.maximize(
                sums, counts[part.components], mine, dead[part.components], self._held_in(part, frozen)
            ),
            stats.parts,
            about.parts,
        )
        return Maximized(PartedParams(tuple(r.params for r in results)), sum(r.slack for r in results))

    def log_prior(self, params: PartedParams) -> float:
        return float(sum(self._map(lambda part, mine: part.family.log_prior(mine), params.parts)))

    def hold(self, params: PartedParams, old: PartedParams, frozen: frozenset[str]) -> PartedParams:
        return PartedParams(
            self._map(
                lambda part, new, of: part.family.hold(new, of, self._held_in(part, frozen)), params.parts, old.parts
            )
        )

    def excludes(self, params: PartedParams) -> bool:
        return any(self._map(lambda part, mine: part.family.excludes(mine), params.parts))

    def at_floor(self, params: PartedParams) -> np.ndarray:
        n_columns = 1 + max(j for part in self._each() for j in part.columns)
        found = np.zeros((self.n_components(params), n_columns), bool)
        for part, values in zip(self._each(), params.parts, strict=True):
            of_part = part.family.at_floor(values)
            if of_part.shape[1]:
                found[part.components, part.columns] = of_part
        return found

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return sum(self._map(lambda part: part.family.n_parameters(part.n_components(n_components), len(part.columns))))

    def check_params(self, params: PartedParams, n_components: int, n_features: int) -> None:
        self._map(
            lambda part, values: part.family.check_params(values, part.n_components(n_components), len(part.columns)),
            params.parts,
        )

    def freezable(self) -> dict[str, str]:
        each = zip(self._names(), self._families(), strict=True)
        every = {f"{name}.{own}": self.attribute for name, family in each for own in family.freezable()}
        return {self.attribute: self.attribute} | every

    @abstractmethod
    def _names(self) -> list[str]:
        """Names of the parts."""

    def _held_in(self, part: Part, frozen: frozenset[str]) -> frozenset[str]:
        """Names that are frozen in a part, of names such as ``income.log_means``."""
        own = part.family.freezable()
        if self.attribute in frozen:
            return frozenset(own)
        return frozenset(one for one in own if f"{part.name}.{one}" in frozen)

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        return sum(
            self._map(
                lambda part: part.family.n_frozen(
                    self._held_in(part, frozen), part.n_components(n_components), len(part.columns)
                )
            )
        )

    def is_given_by(self, names: set[str]) -> bool:
        return self.attribute in names

    def with_values(self, params: PartedParams | None, values: dict[str, Any]) -> PartedParams:
        if self.attribute not in values:
            assert params is not None
            return params
        return self.from_attributes(values)

    def attribute_names(self) -> tuple[str, ...]:
        return (self.attribute,)


def check_own_part(key: Any, family: Any) -> None:
    """Raise ValueError unless something can be a part."""
    if not isinstance(family, Family) or isinstance(family, PartedFamily) or family.n_noise:
        raise ValueError(f"The part {key!r} must be a family, such as Poisson(), not {family!r}.")


def ends_of_whole_tiles(sizes: list[int], tile_rows: int) -> np.ndarray:
    """Where regions of scratch space end that lie one after the other, each a whole number of tiles' rows."""
    return np.cumsum([-(-size // tile_rows) * tile_rows for size in sizes], dtype=np.int64)


def kernels_of(
    parts: list[Part], prepared: list[Prepared], n_components: int, dtype: np.dtype[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Addresses of the verbs of each part (parts, 2), descriptions of their kernel parameters (parts, words)."""
    jobs: list[Job] = [
        (mine.params, part.family.zeros(1, part.n_components(n_components), len(part.columns)), dtype)
        for mine, part in zip(prepared, parts, strict=True)
    ]
    start_helpers(jobs)
    erased = [erase(*job) for job in jobs]
    addresses = np.array([(of.log_density, of.add_statistics) for of in erased], dtype=np.int64)
    return addresses, table([of.parameters for of in erased])
