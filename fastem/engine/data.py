"""Data that are fitted: a source, weights of its rows, what is known of them, and what a first look finds out."""

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np

from fastem.engine.contract import Block, Domain, Model, Pass, Shape
from fastem.engine.partial_labels import PartialLabels
from fastem.engine.statistics import add, add_base
from fastem.engine.units import units_within, whole_units
from fastem.engine.validation import Survey, has_missing, merge, survey_rows, with_weight
from fastem.kernels.launches import Launches
from fastem.sources import Source, large_rows, read_only

__all__ = ["Data", "accumulate"]

# Rows at the beginning of a block that are looked at before it is added.
_GLANCE = 1000

# Weights whose mean is between these powers of two are summed as they are.
_PLAIN_UNITS = 30


class Data:
    """A source with weights of its rows and the components they may belong to.

    What the rows hold is found out the first time that they are read: whether all numbers are
    finite, which cells are missing, whether float32 is too narrow for some rows, what a model asks
    for. In errors the rows are numbered from `first_row` on; `needs_values` says whether each column must have some.
    With `is_checked` the rows are taken as they are, whatever they hold. `units` are the rows at which units begin,
    with the number of rows at the end: blocks consist of whole ones.

    Very large or small weights are divided by `unit`, a power of two: sums are in that unit.
    """

    def __init__(
        self,
        source: Source,
        weights: np.ndarray | None = None,
        first_row: int = 0,
        allowed: PartialLabels | None = None,
        needs_values: bool = True,
        units: np.ndarray | None = None,
        is_checked: bool = False,
    ):
        self.source = source
        self.first_row = first_row
        weights = np.empty(0) if weights is None else weights
        self.unit = _unit_of(weights)
        self.weights = np.array(weights if self.unit == 1 else weights / self.unit, dtype=source.dtype)
        self.weights.flags.writeable = False
        self.allowed = allowed
        self.needs_values = needs_values
        self.has_missing = False
        self.has_large = False
        self.survey: Survey | None = None
        self.units = units
        self._is_checked = is_checked
        self.launches = Launches()

    @property
    def weight(self) -> float:
        """Weight of all rows."""
        return float(self.weights.sum(dtype=np.float64)) * self.unit if len(self.weights) else self.source.n_rows

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, rows and weights of the source's blocks, which nobody has checked."""
        blocks = self.source.blocks()
        for first, rows in blocks if self.units is None else whole_units(blocks, self.units):
            yield first, rows, self.weights[first : first + len(rows)]

    def part(self, source: Source, rows: Any, first_row: int = 0) -> "Data":
        """Some rows of these data, which `source` holds, with their weights and components."""
        weights = self.weights[rows] if len(self.weights) else None
        some = Data(source, weights, first_row, None if self.allowed is None else self.allowed[rows], False)
        some.has_missing, some.has_large, some.unit = self.has_missing, self.has_large, self.unit
        return some

    def sample_rows(self, count: int, least: int = 100) -> np.ndarray:
        """Numbers of about `count` rows that have weight, spread evenly, and in chunks if `least` of those do."""
        rows = self.source.sample_rows(count)
        if not len(self.weights):
            return rows
        some = rows[self.weights[rows] > 0]
        if len(some) >= least:
            return some
        every = np.flatnonzero(self.weights)
        return np.asarray(every[np.linspace(0, len(every) - 1, min(count, len(every))).astype(np.int64)])

    def look(self, domain: Domain) -> Survey:
        """What the rows hold; they are read for it the first time.

        Raises
        ------
        ValueError
            If a cell is not finite, or not a value of the domain, or a column is empty.
        """
        if self.survey is None:
            self.survey = self._survey(domain)
            empty = np.flatnonzero(self.survey.observed == 0)
            if len(empty) and self.needs_values:
                names = self.source.names
                named = ", ".join(str(j) if names is None else f"{names[j]!r}" for j in empty)
                raise ValueError(f"Columns without any value: {named}. Leave them out.")
            self.has_missing, self.has_large = self.survey.has_missing, self.survey.has_large
            self._drop(self.survey.empty - self.first_row)
            self._is_checked = True
        return self.survey

    def _drop(self, rows: np.ndarray) -> None:
        """Give no weight to rows without any value, unless something is known of their components."""
        if self.allowed is not None:
            rows = rows[~self.allowed.are_known[rows]]
        if len(rows):
            weights = self.weights.copy() if len(self.weights) else np.ones(self.source.n_rows, self.source.dtype)
            weights[rows] = 0
            weights.flags.writeable = False
            self.weights = weights

    def _survey(self, domain: Domain) -> Survey:
        found = [survey_rows(domain, rows, weights, self.first_row + first) for first, rows, weights in self.blocks()]
        return reduce(merge, found)

    def accumulate(
        self, model: Model[Any, Any, Any], params: Any, about: Any, shape: Shape, given: np.ndarray | None = None
    ) -> Any:
        """Statistics of all rows under `params`, or `given` responsibilities (n, K), moments about `about`."""
        if model.domain.is_surveyed and not self._is_checked:
            _require_room(model.domain, self.look(model.domain))
        walk = self._walk(model, params, about, shape)
        while not self._add_all(walk, model.domain, given):
            walk = self._walk(model, params, about, shape)
        self._is_checked = True
        return add_base(walk.finish(), 0.0 if self.survey is None else self.survey.base)

    def _walk(self, model: Model[Any, Any, Any], params: Any, about: Any, shape: Shape) -> Pass[Any]:
        walk = model.start_pass(params, about, shape, self.has_missing)
        if not self.has_large:
            return walk
        wide = model.start_pass(params, about, shape._replace(dtype=np.dtype(np.float64)), self.has_missing)
        return _TwoPrecisions(walk, wide)

    def _add_all(self, walk: Pass[Any], domain: Domain, given: np.ndarray | None) -> bool:
        """Add all rows; False as soon as they turn out to need another pass, about which all is known then."""
        for first, rows, weights in self.blocks():
            # where a glance shows missing cells, kernels for complete rows need not even be compiled
            is_new = not self._is_checked and not self.has_missing
            if is_new and has_missing(domain, *with_weight(rows[:_GLANCE], weights, self.first_row + first)):
                self.look(domain)
                return False
            if not self._is_checked and not self.has_large and len(large_rows(rows)):
                self.has_large = True
                return False
            some = slice(first, first + len(rows))
            block = Block(
                first, rows, weights,
                None if given is None else given[some],
                None if self.allowed is None else self.allowed.masks(first, len(rows)),
                None if self.units is None else units_within(self.units, first, len(rows)),
            )  # fmt: skip
            walk.add(block, self.launches)
            if self._is_checked or walk.is_finite():
                continue
            if has_missing(domain, *with_weight(rows, weights, self.first_row + first)):
                self.look(domain)
                return False
        return True


class _TwoPrecisions:
    """A pass over rows of float32 that takes those in float64 whose squares float32 cannot hold."""

    def __init__(self, narrow: Pass[Any], wide: Pass[Any]):
        self.narrow = narrow
        self.wide = wide

    def add(self, block: Block, launches: Launches) -> None:
        rows, weights = block.rows, block.weights
        large = large_rows(rows)
        if not len(large):
            self.narrow.add(block, launches)
            return
        weights = weights if len(weights) else np.ones(len(rows), rows.dtype)
        others = weights.copy()
        others[large] = 0
        self.narrow.add(block._replace(weights=read_only(others)), launches)
        double = Block(
            block.first_row,
            read_only(rows[large].astype(np.float64)),
            read_only(weights[large].astype(np.float64)),
            None if block.given is None else block.given[large],
            None if block.allowed is None else block.allowed[large],
        )
        self.wide.add(double, launches)

    def is_finite(self) -> bool:
        return bool(self.narrow.is_finite() and self.wide.is_finite())

    def finish(self) -> Any:
        return add(self.narrow.finish(), self.wide.finish())


def _unit_of(weights: np.ndarray) -> float:
    """The power of two next to the mean of the weights that are not 0; 1 if that is neither very large nor small."""
    positive = weights[weights > 0]
    if not len(positive):
        return 1.0
    top = float(positive.max())
    exponent = round(float(np.log2(np.mean(positive / top)) + np.log2(top)))
    return 1.0 if abs(exponent) <= _PLAIN_UNITS else 2.0**exponent


def _require_room(domain: Domain, survey: Survey) -> None:
    """Raise ValueError unless the domain's tables, which kernels look up, go as far as the values."""
    if (wider := domain.widened(survey.reach)) is not domain:
        raise ValueError(
            f"Input X has larger values than {domain!r} made room for when it met its first rows. "
            f"To begin with, it should have been {wider!r}, or one for all that can come."
        )


def accumulate(model: Model[Any, Any, Any], params: Any, data: Data, shape: Shape, about: Any = None) -> Any:
    """Statistics of all rows under `params`, moments about `about` (default: about `params`)."""
    return data.accumulate(model, params, params if about is None else about, shape)
