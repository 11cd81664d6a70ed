"""The loop: passes over the data, M-steps, convergence.

A model is anything that fulfils `Model`; see `fastem.latent.labels` for one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastem.family import DegenerateError
from fastem.pace import Pace
from fastem.sources import Source

__all__ = ["Data", "Fit", "Iteration", "StopReason", "accumulate", "require_finite", "run"]

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
    params: Any


Callback = Callable[[Iteration], Any]


@dataclass
class Fit:
    """Result of a run."""

    params: Any
    reason: StopReason = StopReason.MAX_ITER
    objectives: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    falls: list[int] = field(default_factory=list)

    @property
    def objective(self) -> float:
        """The last objective, before the last M-step."""
        return self.objectives[-1] if self.objectives else -np.inf

    @property
    def converged(self) -> bool:
        """Converged, and the objective never fell by more than rounding explains."""
        return self.reason is StopReason.CONVERGED and not self.falls


class Data:
    """A source with weights of its rows, checked for finite numbers the first time it is read."""

    def __init__(self, source: Source, weights: np.ndarray | None = None):
        self.source = source
        weights = np.empty(0) if weights is None else weights
        self.weights = np.array(weights, dtype=source.dtype)
        self.weights.flags.writeable = False
        self._is_checked = False
        self.pace = Pace()

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, rows and weights of the source's blocks."""
        for first, rows in self.source.blocks():
            if not self._is_checked:
                require_finite(rows, first)
            yield first, rows, self.weights[first : first + len(rows)]
        self._is_checked = True


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
    walk = model.accumulate(params, params if about is None else about, shape)
    for first, rows, weights in data.blocks():
        walk.add(first, rows, weights, data.pace)
    return walk.finish()


def run(
    model: Model,
    params: Any,
    data: Data,
    shape: Any,
    *,
    policy: Any,
    tol: float,
    max_iter: int,
    previous: float = -np.inf,
    init: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Fit:
    """EM iterations from `params` until the objective changes by less than `tol`.

    `previous` is the objective before the first iteration, where a fit goes on.
    """
    fit = Fit(params)
    slack = np.inf
    for n_iter in range(1, max_iter + 1):
        began = time.perf_counter()
        stats = accumulate(model, fit.params, data, shape)
        objective = model.objective(stats)
        if not np.isfinite(objective):
            raise DegenerateError(
                f"The log-likelihood is {objective} at iteration {n_iter}: scale the data, or start elsewhere."
            )
        change = objective - previous
        if change < -_ROUNDING[shape.dtype] * abs(previous) - slack:
            fit.falls.append(n_iter)
        deaths = len(policy.deaths)
        centre = model.recentre(stats, fit.params, shape)
        if centre is not None:
            stats = accumulate(model, fit.params, data, shape, about=centre)
        step = model.maximize(stats, fit.params if centre is None else centre, policy)
        slack = np.inf if len(policy.deaths) > deaths else step.slack
        fit.params = step.params
        fit.objectives.append(objective)
        fit.changes.append(change)
        fit.seconds.append(time.perf_counter() - began)
        told = Iteration(init, n_iter, objective, change, fit.seconds[-1], data.source.n_rows, max_iter, step.params)
        stops = [callback(told) for callback in callbacks]
        if any(stops):
            fit.reason = StopReason.CALLBACK
            break
        if abs(change) < tol:
            fit.reason = StopReason.CONVERGED
            break
        previous = objective
    return fit
