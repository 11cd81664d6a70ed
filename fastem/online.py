"""Ways to good parameters that look at less than all rows for each M-step.

They warm a fit up: full EM then needs fewer passes over the data.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastem.em import Data, Fit, accumulate, run
from fastem.latent.labels import DeathPolicy, LabelStatistics, Mixture, MixtureModel, Shape, Statistics
from fastem.sources import ArraySource
from fastem.statistics import blend, scale

__all__ = ["Growing", "Stepwise", "StepwiseState", "StepwiseWarmUp", "WarmUp"]


class WarmUp(Protocol):
    """What comes before full EM: some stages, each a state from the one before."""

    n_stages: int

    def begin(self, params: Mixture) -> Any:
        """The state before the first stage; its field `params` holds the parameters."""

    def advance(self, state: Any, stage: int) -> Any:
        """The state after a stage."""


# --- stepwise EM ------------------------------------------------------------------------------


class StepwiseState(NamedTuple):
    """Parameters, blended statistics about them for a weight of 1, number of steps done."""

    params: Mixture
    stats: Statistics
    step: np.ndarray


class Stepwise:
    """Stepwise EM: the statistics of some rows are blended into those of all rows before.

    In step t they become ``(1 - g) old + g new`` with ``g = (t + offset) ** -decay`` (Cappe and
    Moulines 2009, On-line expectation-maximization algorithm for latent data models, eq. 12), and
    an M-step follows. The first step of all takes the new ones alone.

    Parameters
    ----------
    model : MixtureModel
    shape : Shape
    decay : float
        In (0.5, 1].
    offset : float
        Not negative: larger ones make the first steps smaller.
    """

    def __init__(self, model: MixtureModel, shape: Shape, decay: float, offset: float):
        self.model, self.shape = model, shape
        self.decay, self.offset = decay, offset

    def begin(self, params: Mixture, step: int = 0) -> StepwiseState:
        """The state of parameters to start from, or, with a `step` of 1, of fitted parameters."""
        labels = LabelStatistics(np.array(0.0), np.array(1.0), params.weights)
        expected = self.model.family.expected(params.components, params.weights)
        return StepwiseState(params, Statistics(labels, expected), np.array([step]))

    def step(self, state: StepwiseState, rows: Data, share: float = 1.0) -> StepwiseState:
        """One step with the statistics of all `rows`; a `share` below 1 makes it so much smaller."""
        params, old, t = state
        new = accumulate(self.model, params, rows, self.shape)
        weight = float(new.labels.weight)
        if not weight > 0:
            return state
        about = self.model.recentre(new, params, self.shape) or params
        if about is not params:
            new = accumulate(self.model, params, rows, self.shape, about)
            old = self._move(old, params, about)
        gain = 1.0 if t[0] == 0 else float(t[0] + self.offset) ** -self.decay
        stats = blend(old, scale(new, 1 / weight), 1 - (1 - gain) ** share)
        after = self.model.maximize(scale(stats, weight), about, DeathPolicy(0)).params
        return StepwiseState(after, self._move(stats, about, after), t + 1)

    def _move(self, stats: Statistics, about: Mixture, to: Mixture) -> Statistics:
        moved = self.model.family.move(stats.family, stats.labels.counts, about.components, to.components)
        return stats._replace(family=moved)

    def walk(self, state: StepwiseState, data: Data, size: int) -> StepwiseState:
        """Steps of `size` rows each over all data; the last one may have fewer."""
        for first, rows, weights in _pieces(data, size):
            piece = Data(ArraySource(rows), weights if len(weights) else None, data.first_row + first)
            state = self.step(state, piece, len(rows) / size)
        return state


def step_rows(n_components: int, n_features: int) -> int:
    """Rows of a step: enough for all parameters of a mixture of Gaussians, and for the kernels."""
    return max(16_384, 20 * n_components * n_features)


def _pieces(data: Data, size: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """First row, rows and weights of pieces that begin at multiples of `size`, however the data come in blocks."""
    held = np.empty((0, data.source.n_features), data.source.dtype)
    for first, rows, _ in data.unchecked_blocks():
        begin = 0
        if len(held):
            begin = min(size - len(held), len(rows))
            held = np.concatenate([held, rows[:begin]])
            if len(held) == size:
                yield first + begin - size, held, data.weights[first + begin - size : first + begin]
                held = held[:0]
        while begin + size <= len(rows):
            yield first + begin, rows[begin : begin + size], data.weights[first + begin : first + begin + size]
            begin += size
        if begin < len(rows):
            held = rows[begin:].copy()
    if len(held):
        last = data.source.n_rows - len(held)
        yield last, held, data.weights[last:]


class StepwiseWarmUp:
    """Passes of stepwise EM over all rows, one a stage."""

    n_stages = 2

    def __init__(self, model: MixtureModel, data: Data, shape: Shape, decay: float, offset: float):
        self.data = data
        self.stepwise = Stepwise(model, shape, decay, offset)
        self.size = step_rows(model.n_components, shape.n_features)

    def begin(self, params: Mixture) -> StepwiseState:
        return self.stepwise.begin(params)

    def advance(self, state: StepwiseState, stage: int) -> StepwiseState:
        return self.stepwise.walk(state, self.data, self.size)


# --- growing samples --------------------------------------------------------------------------


class GrowingState(NamedTuple):
    """Parameters."""

    params: Mixture


class Growing:
    """EM on samples of the rows, each larger than the one before.

    Parameters
    ----------
    model : MixtureModel
    data : Data
    shape : Shape
    tol, max_iter : float, int
        When EM on a sample ends.
    """

    FACTOR = 4
    SMALLEST = 50_000  # rows
    LARGEST = 128 * 2**20  # bytes

    def __init__(self, model: MixtureModel, data: Data, shape: Shape, tol: float, max_iter: int):
        self.model, self.data, self.shape = model, data, shape
        self.tol, self.max_iter = tol, max_iter
        source = data.source
        most = min(source.n_rows // self.FACTOR, self.LARGEST // (source.n_features * source.dtype.itemsize))
        self.sizes = []
        size = self.SMALLEST
        while size <= most:
            self.sizes.append(size)
            size *= self.FACTOR
        self.n_stages = len(self.sizes)

    def begin(self, params: Mixture) -> GrowingState:
        return GrowingState(params)

    def advance(self, state: GrowingState, stage: int) -> GrowingState:
        source, weights = self.data.source, self.data.weights
        rows = source.sample_rows(self.sizes[stage])
        sample = Data(ArraySource(source.take(rows)), weights[rows] if len(weights) else None)
        policy = DeathPolicy(self.model.n_components)
        fit = run(
            self.model, Fit(state.params), sample, self.shape, policy=policy, tol=self.tol, max_iter=self.max_iter
        )
        return GrowingState(fit.params)
