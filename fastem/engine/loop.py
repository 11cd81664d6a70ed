"""The loop: passes over the data, M-steps, convergence."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from fastem.engine.contract import DegenerateError, Model, Shape, Step
from fastem.engine.data import Data, accumulate
from fastem.kernels.tiles import tile_rows

__all__ = ["Callback", "Fit", "Iteration", "PassProgress", "StopReason", "as_listeners", "has_converged", "run"]

# Relative fall of the objective that rounding explains, and change that is nothing but rounding.
_ROUNDING = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-6}
_NOISE = {np.dtype(np.float64): 1e-14, np.dtype(np.float32): 1e-6}

# Iterations between two looks for a saddle point that a fit creeps away from.
_CREEPING = 5


class StopReason(Enum):
    """Why a fit ended."""

    CONVERGED = "the objective changed by less than tol"
    OPTIMAL = "no parameters are better by tol"
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
    `saddles` those after which a saddle point was left; `memory` is what the model remembers between
    M-steps, `events` what they told.
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
    memory: Any = None
    events: list[Any] = field(default_factory=list)

    @property
    def objective(self) -> float:
        """The last objective, before the last M-step."""
        return self.objectives[-1] if self.objectives else -np.inf

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Objective, change and seconds of each iteration."""
        return {
            "objective": np.array(self.objectives),
            "change": np.array(self.changes),
            "seconds": np.array(self.seconds),
        }

    def copy(self) -> "Fit":
        """The state as it is now; parameters are never changed in place."""
        return replace(
            self,
            objectives=self.objectives.copy(),
            changes=self.changes.copy(),
            seconds=self.seconds.copy(),
            falls=self.falls.copy(),
            saddles=self.saddles.copy(),
            events=self.events.copy(),
        )

    @property
    def converged(self) -> bool:
        """Converged, and the objective never fell by more than rounding explains."""
        return self.reason in (StopReason.CONVERGED, StopReason.OPTIMAL) and not self.falls


def run(
    model: Model[Any, Any, Any],
    fit: Fit,
    data: Data,
    shape: Shape,
    *,
    tol: float,
    max_iter: int,
    init: int = 0,
    callbacks: Sequence[Callback] = (),
    keep: Callable[[], None] | None = None,
    reach: float = np.inf,
    escape: Callable[[Fit], Any] | None = None,
    bound: Callable[[Fit], float] | None = None,
) -> Fit:
    """EM iterations from the state `fit` on, until the objective changes by less than `tol`.

    What it would still gain must be projected to be no more than `reach`, too. Then `escape` may
    return parameters that lead further up, from which the fit goes on, or None. If the model knows
    a `bound` on what the objective can gain, the fit ends when it is below `tol`, and not before.
    `keep` is called after each iteration, when `fit` is whole.
    """
    while fit.reason is None:
        if len(fit.objectives) == max_iter:
            fit.reason = StopReason.MAX_ITER
            break
        began = time.perf_counter()
        _watch(data, init, len(fit.objectives) + 1, callbacks)
        step = _iterate(model, fit, data, shape)
        fit.seconds.append(time.perf_counter() - began)
        told = Iteration(
            init, len(fit.objectives), fit.objectives[-1], fit.changes[-1], fit.seconds[-1],
            data.source.n_rows, max_iter, tol, step.params,
        )  # fmt: skip
        stops = [callback(told) for callback in callbacks]
        if any(stops):
            fit.reason = StopReason.CALLBACK
        elif bound is not None:
            fit.reason = StopReason.OPTIMAL if bound(fit) < tol else None
        elif not step.events and abs(fit.changes[-1]) < tol:
            is_over = has_converged(fit, tol, reach, shape.dtype)
            onward = escape(fit) if escape is not None and (is_over or _creeps(fit)) else None
            if onward is not None:
                fit.params, fit.slack = onward, np.inf
                fit.saddles.append(len(fit.objectives))
            elif is_over:
                fit.reason = StopReason.CONVERGED
        if keep is not None:
            keep()
    data.launches.after_launch = None
    return fit


def as_listeners(callbacks: Any) -> Sequence[Callback]:
    """Callbacks of the user's, who gives none, one or several."""
    if callbacks is None:
        return ()
    return (callbacks,) if callable(callbacks) else tuple(callbacks)


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


def _iterate(model: Model[Any, Any, Any], fit: Fit, data: Data, shape: Shape) -> Step:
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
    centre = model.recentre(stats, fit.params, shape)
    if centre is not None:
        stats = accumulate(model, fit.params, data, shape, about=centre)
    step = model.maximize(stats, fit.params if centre is None else centre, fit.memory)
    fit.slack = np.inf if step.events else step.slack
    fit.params, fit.memory = step.params, step.memory
    fit.events += step.events
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
    data.launches.after_launch = None
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

    data.launches.after_launch = after_launch
