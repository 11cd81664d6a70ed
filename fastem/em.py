"""The loop: passes over the data, M-steps, convergence.

A model is anything that fulfils `Model`; see `fastem.latent.labels` for one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastem.allowed import Allowed
from fastem.family import DegenerateError, Family
from fastem.pace import Pace
from fastem.sources import Source, large_rows, read_only
from fastem.statistics import add
from fastem.survey import Survey, has_missing, merge, survey_rows, with_weight
from fastem.tiles import tile_rows

__all__ = [
    "Callback",
    "Data",
    "Fit",
    "Iteration",
    "Model",
    "PassProgress",
    "StopReason",
    "accumulate",
    "has_converged",
    "run",
]

# Rows at the beginning of a block that are looked at before it is added.
_GLANCE = 1000

# Relative fall of the objective that rounding explains, and change that is nothing but rounding.
_ROUNDING = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-6}
_NOISE = {np.dtype(np.float64): 1e-14, np.dtype(np.float32): 1e-6}

# Iterations between two looks for a saddle point that a fit creeps away from.
_CREEPING = 5

# Weights whose mean is between these powers of two are summed as they are.
_PLAIN_UNITS = 30


class Model(Protocol):
    """The contract of the loop."""

    family: Family[Any, Any]

    def accumulate(self, params: Any, about: Any, shape: Any, missing: bool) -> Any: ...
    def with_base(self, stats: Any, base: float) -> Any: ...
    def objective(self, stats: Any, params: Any) -> float: ...
    def recentre(self, stats: Any, about: Any, shape: Any) -> Any: ...
    def maximize(self, stats: Any, about: Any, policy: Any) -> Any: ...


class StopReason(Enum):
    """Why a fit ended."""

    CONVERGED = "the objective changed by less than tol"
    MAX_ITER = "max_iter was reached"
    SADDLE = "components coincide at a saddle point"
    CALLBACK = "a callback stopped the fit"
    PARTIAL = "more rows may come"


class PassProgress(NamedTuple):
    """What a callback with a method ``during_pass`` is told within an iteration.

    Attributes
    ----------
    init, n_iter : int
        As in `Iteration`.
    rows, n_rows : int
        Rows that the pass has done, and has to do.
    bytes : int
        Bytes of the data that the pass has done.
    seconds : float
        Since the pass began.
    """

    init: int
    n_iter: int
    rows: int
    n_rows: int
    bytes: int
    seconds: float


class Iteration(NamedTuple):
    """What a callback is told after each iteration.

    Attributes
    ----------
    init, n_iter : int
        Number of the initialization, from 0; number of the iteration, from 1.
    objective, change : float
        Mean log-likelihood of a row before the M-step, and what it gained.
    seconds : float
        Duration of the iteration.
    n_rows, max_iter : int
        Rows of the data, and the largest number of iterations.
    tol : float
        Change at which the fit has converged.
    params : Any
        Parameters after the M-step.
    """

    init: int
    n_iter: int
    objective: float
    change: float
    seconds: float
    n_rows: int
    max_iter: int
    tol: float
    params: Any


Callback = Callable[[Iteration], Any]


@dataclass
class Fit:
    """State of a run, and its result when there is a reason why it ended.

    `previous` is the objective before the first iteration, where a fit goes on; `slack` what the
    last M-step may have cost the objective; `falls` are the iterations at which the objective fell,
    `saddles` those after which a saddle point was left.
    """

    params: Any
    previous: float = -np.inf
    slack: float = np.inf
    reason: StopReason | None = None
    objectives: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    falls: list[int] = field(default_factory=list)
    saddles: list[int] = field(default_factory=list)

    @property
    def objective(self) -> float:
        """The last objective, before the last M-step."""
        return self.objectives[-1] if self.objectives else -np.inf

    def copy(self) -> "Fit":
        """The state as it is now; parameters are never changed in place."""
        return replace(
            self,
            objectives=self.objectives.copy(),
            changes=self.changes.copy(),
            seconds=self.seconds.copy(),
            falls=self.falls.copy(),
            saddles=self.saddles.copy(),
        )

    @property
    def converged(self) -> bool:
        """Converged, and the objective never fell by more than rounding explains."""
        return self.reason is StopReason.CONVERGED and not self.falls


class Data:
    """A source with weights of its rows and the components they may belong to.

    What the rows hold is found out the first time that they are read: whether all numbers are
    finite, which cells are missing, whether float32 is too narrow for some rows, what a family asks
    for. In errors the rows are numbered from `first_row` on; `needs_values` says whether each column must have some.

    Very large or small weights are divided by `unit`, a power of two: sums are in that unit.
    """

    def __init__(
        self,
        source: Source,
        weights: np.ndarray | None = None,
        first_row: int = 0,
        allowed: Allowed | None = None,
        needs_values: bool = True,
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
        self._is_checked = False
        self.pace = Pace()

    @property
    def weight(self) -> float:
        """Weight of all rows."""
        return float(self.weights.sum(dtype=np.float64)) * self.unit if len(self.weights) else self.source.n_rows

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, rows and weights of the source's blocks, which nobody has checked."""
        for first, rows in self.source.blocks():
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

    def look(self, family: Family[Any, Any]) -> Survey:
        """What the rows hold; they are read for it the first time.

        Raises
        ------
        ValueError
            If a cell is not finite, or not a value that the family takes, or a column is empty.
        """
        if self.survey is None:
            self.survey = self._survey(family)
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

    def _survey(self, family: Family[Any, Any]) -> Survey:
        found = [survey_rows(family, rows, weights, self.first_row + first) for first, rows, weights in self.blocks()]
        return reduce(merge, found)

    def accumulate(self, model: Model, params: Any, about: Any, shape: Any, given: np.ndarray | None = None) -> Any:
        """Statistics of all rows under `params`, or `given` responsibilities (n, K), moments about `about`."""
        if model.family.is_surveyed and not self._is_checked:
            _require_room(model.family, self.look(model.family))
        walk = self._walk(model, params, about, shape)
        while not self._add_all(walk, model.family, given):
            walk = self._walk(model, params, about, shape)
        self._is_checked = True
        return model.with_base(walk.finish(), 0.0 if self.survey is None else self.survey.base)

    def _walk(self, model: Model, params: Any, about: Any, shape: Any) -> Any:
        walk = model.accumulate(params, about, shape, self.has_missing)
        if not self.has_large:
            return walk
        wide = model.accumulate(params, about, shape._replace(dtype=np.dtype(np.float64)), self.has_missing)
        return _TwoPrecisions(walk, wide)

    def _add_all(self, walk: Any, family: Family[Any, Any], given: np.ndarray | None) -> bool:
        """Add all rows; False as soon as they turn out to need another pass, about which all is known then."""
        for first, rows, weights in self.blocks():
            # where a glance shows missing cells, kernels for complete rows need not even be compiled
            is_new = not self._is_checked and not self.has_missing
            if is_new and has_missing(family, *with_weight(rows[:_GLANCE], weights, self.first_row + first)):
                self.look(family)
                return False
            if not self._is_checked and not self.has_large and len(large_rows(rows)):
                self.has_large = True
                return False
            some = slice(first, first + len(rows))
            walk.add(
                first, rows, weights, self.pace,
                None if given is None else given[some],
                None if self.allowed is None else self.allowed.masks(first, len(rows)),
            )  # fmt: skip
            if self._is_checked or walk.is_finite():
                continue
            if has_missing(family, *with_weight(rows, weights, self.first_row + first)):
                self.look(family)
                return False
        return True


class _TwoPrecisions:
    """A pass over rows of float32 that takes those in float64 whose squares float32 cannot hold."""

    def __init__(self, narrow: Any, wide: Any):
        self.narrow = narrow
        self.wide = wide

    def add(
        self,
        first_row: int,
        rows: np.ndarray,
        weights: np.ndarray,
        pace: Pace,
        given: np.ndarray | None,
        allowed: np.ndarray | None,
    ) -> None:
        large = large_rows(rows)
        if not len(large):
            self.narrow.add(first_row, rows, weights, pace, given, allowed)
            return
        weights = weights if len(weights) else np.ones(len(rows), rows.dtype)
        others = weights.copy()
        others[large] = 0
        self.narrow.add(first_row, rows, read_only(others), pace, given, allowed)
        self.wide.add(
            first_row, read_only(rows[large].astype(np.float64)), read_only(weights[large].astype(np.float64)), pace,
            None if given is None else given[large], None if allowed is None else allowed[large],
        )  # fmt: skip

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


def _require_room(family: Family[Any, Any], survey: Survey) -> None:
    """Raise ValueError unless the family's tables, which kernels look up, go as far as the values."""
    if (wider := family.widened(survey.reach)) is not family:
        raise ValueError(
            f"Input X has larger values than {family!r} made room for when it met its first rows. "
            f"To begin with, it should have been {wider!r}, or one for all that can come."
        )


def accumulate(model: Model, params: Any, data: Data, shape: Any, about: Any = None) -> Any:
    """Statistics of all rows under `params`, moments about `about` (default: about `params`)."""
    return data.accumulate(model, params, params if about is None else about, shape)


def run(
    model: Model,
    fit: Fit,
    data: Data,
    shape: Any,
    *,
    policy: Any,
    tol: float,
    max_iter: int,
    init: int = 0,
    callbacks: Sequence[Callback] = (),
    keep: Callable[[], None] | None = None,
    reach: float = np.inf,
    escape: Callable[[Fit], Any] | None = None,
) -> Fit:
    """EM iterations from the state `fit` on, until the objective changes by less than `tol`.

    What it would still gain must be projected to be no more than `reach`, too. Then `escape` may
    return parameters that lead further up, from which the fit goes on, or None. `keep` is called
    after each iteration, when `fit` is whole.
    """
    while fit.reason is None:
        if len(fit.objectives) == max_iter:
            fit.reason = StopReason.MAX_ITER
            break
        began = time.perf_counter()
        _watch(data, init, len(fit.objectives) + 1, callbacks)
        deaths = len(policy.deaths)
        step = _iterate(model, fit, data, shape, policy)
        fit.seconds.append(time.perf_counter() - began)
        told = Iteration(
            init, len(fit.objectives), fit.objectives[-1], fit.changes[-1], fit.seconds[-1],
            data.source.n_rows, max_iter, tol, step.params,
        )  # fmt: skip
        stops = [callback(told) for callback in callbacks]
        if any(stops):
            fit.reason = StopReason.CALLBACK
        elif len(policy.deaths) == deaths and abs(fit.changes[-1]) < tol:
            is_over = has_converged(fit, tol, reach, shape.dtype)
            onward = escape(fit) if escape is not None and (is_over or _creeps(fit)) else None
            if onward is not None:
                fit.params, fit.slack = onward, np.inf
                fit.saddles.append(len(fit.objectives))
            elif is_over:
                fit.reason = StopReason.CONVERGED
        if keep is not None:
            keep()
    data.pace.after_launch = None
    return fit


def has_converged(fit: Fit, tol: float, reach: float, dtype: np.dtype[Any]) -> bool:
    """Whether the objective changed by less than `tol`, and is projected to gain no more than `reach`."""
    if not abs(fit.changes[-1]) < tol:
        return False
    return reach == np.inf or projected_gain(fit, dtype) <= reach


def _creeps(fit: Fit) -> bool:
    """Whether it is time to look for a saddle point: small changes that grow lead away from one, but slowly."""
    return len(fit.changes) % _CREEPING == 0 and fit.changes[-1] >= fit.changes[-2]


def projected_gain(fit: Fit, dtype: np.dtype[Any]) -> float:
    """What the objective would still gain if its changes went on to shrink at the present rate (Aitken)."""
    change = fit.changes[-1]
    if change <= _NOISE[dtype] * abs(fit.objectives[-1]):
        return 0.0
    before = fit.changes[-2] if len(fit.changes) > 1 else np.inf
    # changes that grow lead away from a saddle point
    if not change < before < np.inf:
        return np.inf
    rate = change / before
    return change * rate / (1 - rate)


def _iterate(model: Model, fit: Fit, data: Data, shape: Any, policy: Any) -> Any:
    """One E-step and M-step; `fit` is changed when both are done."""
    n_iter = len(fit.objectives) + 1
    stats = accumulate(model, fit.params, data, shape)
    objective = model.objective(stats, fit.params)
    if not np.isfinite(objective):
        raise DegenerateError(f"The log-likelihood is {objective} at iteration {n_iter}: {_remedy(objective)}")
    previous = fit.objectives[-1] if fit.objectives else fit.previous
    change = objective - previous
    if change < -_ROUNDING[shape.dtype] * abs(previous) - fit.slack:
        fit.falls.append(n_iter)
    deaths = len(policy.deaths)
    centre = model.recentre(stats, fit.params, shape)
    if centre is not None:
        stats = accumulate(model, fit.params, data, shape, about=centre)
    step = model.maximize(stats, fit.params if centre is None else centre, policy)
    fit.slack = np.inf if len(policy.deaths) > deaths else step.slack
    fit.params = step.params
    fit.objectives.append(objective)
    fit.changes.append(change)
    return step


def _remedy(objective: float) -> str:
    if objective == -np.inf:
        return (
            "rows are impossible under all components, or the prior excludes the parameters. Start from, or hold, "
            "probabilities and rates that are not 0."
        )
    return "scale the data, or start elsewhere."


def _watch(data: Data, init: int, n_iter: int, callbacks: Sequence[Callback]) -> None:
    """Tell callbacks that want it how far a pass is."""
    listeners = [callback.during_pass for callback in callbacks if hasattr(callback, "during_pass")]
    data.pace.after_launch = None
    if not listeners:
        return
    began = time.perf_counter()
    done = 0.0
    source, tile = data.source, tile_rows(data.source.dtype)

    def after_launch(tiles: float) -> None:
        nonlocal done
        done += tiles
        rows = min(round(done * tile), source.n_rows)
        seconds = time.perf_counter() - began
        for listen in listeners:
            listen(PassProgress(init, n_iter, rows, source.n_rows, rows * source.row_bytes, seconds))

    data.pace.after_launch = after_launch
