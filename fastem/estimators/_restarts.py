"""Runs of EM from several starts, with warm-ups and checkpoints; the best one counts."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np

from fastem.engine.contract import Shape
from fastem.engine.data import Data
from fastem.engine.loop import Callback, Fit, StopReason, has_converged, run
from fastem.estimators._input import FamilyModel
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.saddle import way_up
from fastem.latent.mixture.warm_up import WarmUp
from fastem.report.verbose import VerboseLines
from fastem.storage.checkpoints import Checkpoint, Snapshot

__all__ = ["Runs", "Starts"]

Starts = Callable[[np.random.RandomState], Iterator[Fit]]


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
    reach : float
        What a converged fit may still gain, as it is projected; infinite if only `tol` counts. Then
        saddle points end a fit, else it goes on from them.
    """

    model: FamilyModel
    data: Data
    shape: Shape
    make_starts: Starts
    several: bool
    previous: float
    tol: float
    max_iter: int
    callbacks: Sequence[Callback]
    verbose: int
    verbose_interval: int
    warm_up: WarmUp | None
    checkpoint: Checkpoint | None
    reach: float = np.inf

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
        if resumed is not None and resumed.fit.reason is StopReason.CALLBACK:
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
        lines = VerboseLines(now.init, self.verbose, self.verbose_interval)
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
            callbacks=[lines, *self.callbacks],
            keep=lambda: self._keep(now),
            reach=self.reach,
            escape=None if self.reach == np.inf else self._escape,
        )
        if self.reach == np.inf and now.fit.converged and self._way_up(now.fit) is not None:
            now.fit.reason = StopReason.SADDLE
        lines.end(now.fit)
        return now.fit

    def _escape(self, fit: Fit) -> MixtureParams | None:
        """Parameters from which a fit goes on that ended at a saddle point, as often as there are components."""
        return self._way_up(fit) if len(fit.saddles) < self.model.n_components else None

    def _way_up(self, fit: Fit) -> MixtureParams | None:
        return way_up(self.model, self.data, self.shape, fit, self.tol)

    def _keep(self, now: Snapshot) -> None:
        if self.checkpoint is not None:
            self.checkpoint.keep(replace(now, fit=now.fit.copy()))
