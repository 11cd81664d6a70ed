"""The loop: passes over the data, M-steps, convergence.

A model is anything that fulfils `Model`; see `fastem.latent.labels` for one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastem.family import DegenerateError
from fastem.pace import Pace
from fastem.sources import Source
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
    "require_finite",
    "run",
]

# Relative fall of the objective that rounding explains.
_ROUNDING = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-6}


class Model(Protocol):
    """The contract of the loop."""

    def accumulate(self, params: Any, about: Any, shape: Any) -> Any: ...
    def objective(self, stats: Any) -> float: ...
    def recentre(self, stats: Any, about: Any, shape: Any) -> Any: ...
    def maximize(self, stats: Any, about: Any, policy: Any) -> Any: ...


class StopReason(Enum):
    """Why a fit ended."""

    CONVERGED = "the objective changed by less than tol"
    MAX_ITER = "max_iter was reached"
    SADDLE = "all components coincide, a saddle point"
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
    last M-step may have cost the objective.
    """

    params: Any
    previous: float = -np.inf
    slack: float = np.inf
    reason: StopReason | None = None
    objectives: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    falls: list[int] = field(default_factory=list)

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
        )

    @property
    def converged(self) -> bool:
        """Converged, and the objective never fell by more than rounding explains."""
        return self.reason is StopReason.CONVERGED and not self.falls


class Data:
    """A source with weights of its rows, checked for finite numbers the first time it is read.

    In errors the rows are numbered from `first_row` on.
    """

    def __init__(self, source: Source, weights: np.ndarray | None = None, first_row: int = 0):
        self.source = source
        self.first_row = first_row
        weights = np.empty(0) if weights is None else weights
        self.weights = np.array(weights, dtype=source.dtype)
        self.weights.flags.writeable = False
        self._is_checked = False
        self.pace = Pace()

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, rows and weights of the source's blocks."""
        for first, rows, weights in self.unchecked_blocks():
            if not self._is_checked:
                require_finite(rows, self.first_row + first)
            yield first, rows, weights
        self._is_checked = True

    def unchecked_blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The same for sums, which show by themselves whether all numbers were finite."""
        for first, rows in self.source.blocks():
            yield first, rows, self.weights[first : first + len(rows)]

    def accumulate(self, model: Model, params: Any, about: Any, shape: Any) -> Any:
        """Statistics of all rows under `params`, moments about `about`."""
        walk = model.accumulate(params, about, shape)
        for first, rows, weights in self.unchecked_blocks():
            walk.add(first, rows, weights, self.pace)
            if not self._is_checked and not walk.is_finite():
                require_finite(rows, self.first_row + first)
        self._is_checked = True
        return walk.finish()


def require_finite(rows: np.ndarray, first_row: int = 0, numbers: np.ndarray | None = None) -> None:
    """Raise ValueError that names the first cell that is not finite.

    The rows have the given `numbers`, or count from `first_row` on.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(rows)):
            return
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = bad[0]
        number = first_row + row if numbers is None else numbers[row]
        what = "NaN" if np.isnan(rows[row, column]) else "infinity"
        raise ValueError(
            f"Input X contains {what}, first in row {number}, column {column}. "
            "Remove such rows or fill in their values."
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
) -> Fit:
    """EM iterations from the state `fit` on, until the objective changes by less than `tol`.

    `keep` is called after each iteration, when `fit` is whole.
    """
    while fit.reason is None:
        if len(fit.objectives) == max_iter:
            fit.reason = StopReason.MAX_ITER
            break
        began = time.perf_counter()
        _watch(data, init, len(fit.objectives) + 1, callbacks)
        step = _iterate(model, fit, data, shape, policy)
        fit.seconds.append(time.perf_counter() - began)
        told = Iteration(
            init, len(fit.objectives), fit.objectives[-1], fit.changes[-1], fit.seconds[-1],
            data.source.n_rows, max_iter, tol, step.params,
        )  # fmt: skip
        stops = [callback(told) for callback in callbacks]
        if any(stops):
            fit.reason = StopReason.CALLBACK
        elif abs(fit.changes[-1]) < tol:
            fit.reason = StopReason.CONVERGED
        if keep is not None:
            keep()
    data.pace.after_launch = None
    return fit


def _iterate(model: Model, fit: Fit, data: Data, shape: Any, policy: Any) -> Any:
    """One E-step and M-step; `fit` is changed when both are done."""
    n_iter = len(fit.objectives) + 1
    stats = accumulate(model, fit.params, data, shape)
    objective = model.objective(stats)
    if not np.isfinite(objective):
        raise DegenerateError(
            f"The log-likelihood is {objective} at iteration {n_iter}: scale the data, or start elsewhere."
        )
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
