"""Runs of EM from several starts, with warm-ups and checkpoints; the best one counts."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from fastem.engine.contract import Model, Shape
from fastem.engine.data import Data
from fastem.engine.loop import Callback, Fit, Iteration, StopReason, has_converged, run

__all__ = ["Keeper", "Lines", "Runs", "Snapshot", "Starts", "WarmUp"]

Starts = Callable[[np.random.RandomState], Iterator[Fit]]


class WarmUp(Protocol):
    """What comes before full EM: some stages, each a state from the one before."""

    n_stages: int

    def begin(self, params: Any) -> Any:
        """The state before the first stage; its field `params` holds the parameters."""

    def advance(self, state: Any, stage: int) -> Any:
        """The state after a stage."""


@dataclass
class Snapshot:
    """All that a fit must know to go on.

    Attributes
    ----------
    rng : RandomState
        As it was when the fit began, since starts are made again from it.
    stage : int
        Stages of the warm-up that are done.
    warm : NamedTuple or None
        State of the warm-up, until it is over.
    init : int
        Number of the run.
    fit : Fit
        State of the run.
    best : Fit or None
        The best of the runs before.
    """

    rng: np.random.RandomState
    init: int
    fit: Fit
    best: Fit | None = None
    stage: int = 0
    warm: Any = None


class Keeper(Protocol):
    """Where snapshots are kept, such as a checkpoint."""

    def resume(self, rng: np.random.RandomState) -> Snapshot | None:
        """The last snapshot of this fit, if there is one."""

    def keep(self, snapshot: Snapshot) -> None:
        """Remember a snapshot, and write it if it is time."""

    def write(self) -> None:
        """Write the snapshot that was kept last."""


class Lines(Protocol):
    """What reports runs to the user."""

    def begin(self, init: int) -> None:
        """A run begins."""

    def __call__(self, iteration: Iteration) -> None:
        """An iteration is done."""

    def end(self, fit: Fit) -> None:
        """A run ended."""


@dataclass
class Runs:
    """What all runs of a fit have in common.

    Attributes
    ----------
    make_starts : callable
        From a random generator, fits that are yet to run.
    several : bool
        Whether there can be more than one start.
    previous : float
        Objective before the first iteration.
    listeners : sequence of callables
        Callbacks of the user's.
    lines : Lines
        What is printed.
    reach : float
        What a converged fit may still gain, as it is projected; infinite if only `tol` counts.
    escape : callable, optional
        From a fit that stands still, parameters that lead further up, or None.
    bound : callable, optional
        From a fit, what its objective can gain at most.
    look : callable, optional
        Called with each fit that ended, before it is reported.
    """

    model: Model[Any, Any, Any]
    data: Data
    shape: Shape
    make_starts: Starts
    several: bool
    tol: float
    max_iter: int
    listeners: Sequence[Callback]
    lines: Lines
    previous: float = -np.inf
    warm_up: WarmUp | None = None
    checkpoint: Keeper | None = None
    reach: float = np.inf
    escape: Callable[[Fit], Any] | None = None
    bound: Callable[[Fit], float] | None = None
    look: Callable[[Fit], None] | None = None

    def best(self, rng: np.random.RandomState) -> Fit:
        """The best fit of all runs."""
        resumed = None if self.checkpoint is None else self._go_on(self.checkpoint.resume(rng))
        best = None if resumed is None else resumed.best
        try:
            for snapshot in self._snapshots(rng, resumed):
                fit = self._run(replace(snapshot, best=best))
                if best is None or fit.objective > best.objective:
                    best = fit
        finally:
            if self.checkpoint is not None:
                self.checkpoint.write()
        assert best is not None
        return best

    def _go_on(self, resumed: Snapshot | None) -> Snapshot | None:
        """A callback's word does not outlive its fit."""
        if resumed is None or resumed.fit.reason is not StopReason.CALLBACK:
            return resumed
        if self.bound is not None:
            resumed.fit.reason = StopReason.OPTIMAL if self.bound(resumed.fit) < self.tol else None
        else:
            is_over = has_converged(resumed.fit, self.tol, self.reach, self.shape.dtype)
            resumed.fit.reason = StopReason.CONVERGED if is_over else None
        return resumed

    def _snapshots(self, rng: np.random.RandomState, resumed: Snapshot | None) -> Iterator[Snapshot]:
        """The state at the beginning of each run that is left to do."""
        if resumed is not None and not self.several:
            yield resumed
            return
        begun = deepcopy(rng) if resumed is None else resumed.rng
        rng = rng if resumed is None else deepcopy(resumed.rng)
        for init, fit in enumerate(self.make_starts(rng)):
            if resumed is not None and init <= resumed.init:
                if init == resumed.init:
                    yield resumed
                continue
            warm = self.warm_up.begin(fit.params) if self.warm_up is not None and self.warm_up.n_stages else None
            yield Snapshot(begun, init, replace(fit, previous=self.previous), warm=warm)

    def _run(self, now: Snapshot) -> Fit:
        """Go on from a state to the end of its run."""
        self.lines.begin(now.init)
        while now.warm is not None:
            assert self.warm_up is not None
            now.warm = self.warm_up.advance(now.warm, now.stage)
            now.stage += 1
            if now.stage == self.warm_up.n_stages:
                now.fit.params, now.warm = now.warm.params, None
            self._keep(now)
        run(
            self.model,
            now.fit,
            self.data,
            self.shape,
            tol=self.tol,
            max_iter=self.max_iter,
            init=now.init,
            callbacks=[self.lines, *self.listeners],
            keep=lambda: self._keep(now),
            reach=self.reach,
            escape=self.escape,
            bound=self.bound,
        )
        if self.look is not None:
            self.look(now.fit)
        self.lines.end(now.fit)
        return now.fit

    def _keep(self, now: Snapshot) -> None:
        if self.checkpoint is not None:
            self.checkpoint.keep(replace(now, fit=now.fit.copy()))
