"""A model made of two functions of a user's: an E-step that gives sums and an M-step that takes them."""

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from fastem.engine.contract import Block, Shape, Step
from fastem.engine.statistics import add, are_finite
from fastem.engine.trees import Leaves, Tree
from fastem.kernels.launches import Launches
from fastem.kernels.tiles import tile_rows
from fastem.sources import Source, read_only

__all__ = ["StepSums", "StepsModel"]

# Bytes of the rows that an E-step gets at a time, as far as units let.
_PIECE_BYTES = 8 * 2**20
# Rows by which is tried whether sums add up, and how well they must.
_TRIED_ROWS = 1000
_ROUNDING = 1e-6


class StepSums(NamedTuple):
    """Sums over rows: log-likelihood, weight, and all that the E-step gave, by leaves."""

    log_likelihood: np.ndarray
    weight: np.ndarray
    given: Leaves


class _AnyRows:
    """Rows that hold whatever they hold."""

    is_surveyed = False
    takes_missing = True

    def check(self, rows: np.ndarray, first_row: int) -> None:
        """All is well."""

    def base(self, rows: np.ndarray) -> None:
        """The E-step gives whole densities."""

    def reach(self, rows: np.ndarray) -> np.ndarray:
        """There are no tables."""
        return np.empty(0)

    def widened(self, reach: np.ndarray) -> Self:
        """There are no tables."""
        return self


class StepsModel:
    """Two functions as a `Model` of `fastem.engine.contract`."""

    def __init__(
        self,
        e_step: Callable[..., Any],
        m_step: Callable[..., Any],
        log_prior: Callable[..., float] | None,
        params: Tree,
        has_rows: bool,
        unit: float,
    ):
        self.e_step, self.m_step, self.log_prior = e_step, m_step, log_prior
        self.params, self.has_rows, self.unit = params, has_rows, unit
        self.sums = Tree.of({"log_likelihood": 0.0}, "sums")  # until some are known
        self.domain = _AnyRows()

    @cached_property
    def beside(self) -> set[str]:
        """What the E-step takes beside rows and parameters."""
        function = getattr(self.e_step, "py_func", self.e_step)
        return {"weights", "units"} & set(inspect.signature(function).parameters)

    def start_pass(self, params: Leaves, about: Leaves, shape: Shape, missing: bool) -> "_Pass":
        return _Pass(self, params, shape)

    def objective(self, stats: StepSums, params: Leaves) -> float:
        prior = 0.0 if self.log_prior is None else float(self.log_prior(self.params.build(params)))
        return float((stats.log_likelihood + prior / self.unit) / stats.weight)

    def recentre(self, stats: StepSums, about: Leaves, shape: Shape) -> None:
        """Moments are the E-step's own affair."""

    def maximize(self, stats: StepSums, about: Leaves, memory: None) -> Step:
        found = self.m_step(self.sums.build(self.scaled(stats)), self.params.build(about))
        return Step(self.params.leaves(found, "what m_step returns"))

    def scaled(self, stats: StepSums) -> Leaves:
        """Sums in the user's unit of weight."""
        return stats.given if self.unit == 1 else tuple(self.unit * leaf for leaf in stats.given)

    def given(self, rows: np.ndarray, weights: np.ndarray, units: np.ndarray | None, params: Any) -> Any:
        """What the E-step gives for some rows."""
        if not self.has_rows:
            return self.e_step(params)
        beside: dict[str, np.ndarray] = {}
        if "weights" in self.beside:
            beside["weights"] = weights if len(weights) else read_only(np.ones(len(rows), rows.dtype))
        if "units" in self.beside:
            beside["units"] = np.arange(len(rows) + 1) if units is None else units
        return self.e_step(rows, params, **beside)

    def tried(self, source: Source, params: Any, begins: np.ndarray | None) -> Tree:
        """The form of the sums, once it is seen on some rows that they add up.

        Raises
        ------
        ValueError
            If they do not, or lack the log-likelihood.
        """
        params = self.params.build(self.params.leaves(params, "start"))
        places = np.arange(source.n_rows + 1) if begins is None else begins
        n_units = max(1, int(np.searchsorted(places, _TRIED_ROWS, side="right")) - 1)
        rows = read_only(source.take(np.arange(places[n_units])))
        none = np.empty(0, rows.dtype)
        whole = self.given(rows, none, None if begins is None else places[: n_units + 1], params)
        tree = Tree.of(whole, "what e_step returns")
        if "log_likelihood" not in tree.paths:
            raise ValueError(
                f"e_step must return the log-likelihood as 'log_likelihood', in a dict or NamedTuple, and returns "
                f"{', '.join(tree.paths) or 'a number'}."
            )
        if n_units > 1 and self.has_rows:
            half = n_units // 2
            cut = places[half]
            upper = None if begins is None else places[half : n_units + 1] - cut
            first = self.given(rows[:cut], none, None if begins is None else places[: half + 1], params)
            second = self.given(rows[cut:], none, upper, params)
            name = "what e_step returns for fewer rows"
            _require_additive(tree, *(tree.leaves(part, name) for part in (whole, first, second)))
        return tree


class _Pass:
    """A walk over the rows in pieces that do not depend on how the data come in blocks."""

    def __init__(self, model: StepsModel, params: Leaves, shape: Shape):
        self.model, self.shape = model, shape
        self.params = model.params.build(params)
        self.size = max(1, _PIECE_BYTES // (max(1, shape.n_features) * shape.dtype.itemsize))
        self.waiting: list[Block] = []
        self.sums: StepSums | None = None

    def add(self, block: Block, launches: Launches) -> None:
        """Add rows; those that may belong to a piece with rows to come wait for them."""
        units = np.arange(len(block.rows) + 1) if block.units is None else block.units
        pieces = (block.first_row + units[:-1]) // self.size
        if self.waiting and pieces[0] != self.waiting[-1].first_row // self.size:
            self._give()
        cuts = units[np.append(0, 1 + np.flatnonzero(np.diff(pieces)))]
        for begin, end in zip(cuts, np.append(cuts[1:], len(block.rows)), strict=True):
            if begin:
                self._give()
            low, high = np.searchsorted(units, [begin, end])
            some = slice(int(begin), int(end))
            self.waiting.append(
                Block(
                    block.first_row + int(units[high - 1]),  # of the last unit, which tells the piece
                    block.rows[some],
                    block.weights[some],
                    units=units[low : high + 1] - begin,
                )
            )
        # sources fill their blocks anew
        self.waiting[-1] = self.waiting[-1]._replace(rows=self.waiting[-1].rows.copy())
        if launches.after_launch is not None:
            launches.after_launch(len(block.rows) / tile_rows(self.shape.dtype))

    def _give(self) -> None:
        """Add the sums of the piece whose rows wait."""
        ends = np.cumsum([0, *(len(block.rows) for block in self.waiting)])
        rows = _joined([block.rows for block in self.waiting])
        weights = _joined([block.weights for block in self.waiting])
        units = np.concatenate([b.units[:-1] + end for b, end in zip(self.waiting, ends[:-1], strict=True)])  # type: ignore[index]
        units = np.append(units, len(rows))
        self.waiting = []
        tree = self.model.sums
        found = tree.leaves(self.model.given(rows, weights, units, self.params), "what e_step returns")
        if not are_finite(found):
            wrong = next(path for path, leaf in zip(tree.paths, found, strict=True) if not np.isfinite(leaf).all())
            raise ValueError(f"The sum {wrong!r} of e_step is not finite for {self.params!r}.")
        weight = np.array(weights.sum(dtype=np.float64) if len(weights) else float(len(rows)))
        sums = StepSums(found[tree.paths.index("log_likelihood")], weight, found)
        self.sums = sums if self.sums is None else add(self.sums, sums)

    def is_finite(self) -> bool:
        """Sums that are not are an error already."""
        return True

    def finish(self) -> StepSums:
        """The sums over all rows."""
        if self.waiting:
            self._give()
        assert self.sums is not None
        return self.sums


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return read_only(parts[0] if len(parts) == 1 else np.concatenate(parts))


def _require_additive(tree: Tree, whole: Leaves, first: Leaves, second: Leaves) -> None:
    for path, all_rows, a, b in zip(tree.paths, whole, first, second, strict=True):
        if not np.isfinite(all_rows).all():
            raise ValueError(f"The sum {path!r} of e_step is not finite for the start: it is {_short(all_rows)}.")
        scale = np.abs(a) + np.abs(b) + np.abs(all_rows)
        if not np.all(np.abs(a + b - all_rows) <= _ROUNDING * np.max(scale, initial=1e-300)):
            raise ValueError(
                f"The sum {path!r} of e_step does not add up: two halves of the rows give {_short(a)} and {_short(b)}, "
                f"all of them {_short(all_rows)}. Return sums over rows, not means, and divide in m_step."
            )


def _short(leaf: np.ndarray) -> str:
    text = np.array2string(leaf, threshold=6, precision=6)
    return text if len(text) <= 60 else text[:57] + "..."
