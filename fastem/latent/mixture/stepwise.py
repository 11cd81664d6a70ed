"""Stepwise EM: sums of some rows at a time are blended into those of all rows before."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastem.engine.contract import Shape
from fastem.engine.data import Data, accumulate
from fastem.engine.statistics import add_lanes, blend, scale
from fastem.latent.mixture.contract import MixtureParams, Statistics
from fastem.latent.mixture.deaths import reseeds
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import ArraySource

__all__ = ["LARGEST_WEIGHT", "Stepwise", "StepwiseState", "StepwiseWarmUp"]


LEAST_WEIGHT = 1e-9
LARGEST_WEIGHT = float(np.finfo(np.float64).max)
LARGEST_STEP = 128 * 2**20  # bytes


class StepwiseState(NamedTuple):
    """Parameters, blended statistics about them for a weight of 1, number of steps done, weight of the rows seen."""

    params: MixtureParams
    stats: Statistics
    step: np.ndarray
    weight: np.ndarray


class Stepwise:
    """Stepwise EM: the statistics of some rows are blended into those of all rows before.

    In step t they become ``(1 - g) old + g new`` with ``g = (t + offset) ** -decay`` (Cappe and
    Moulines 2009, On-line expectation-maximization algorithm for latent data models, eq. 12), and
    an M-step follows, in which they stand for all rows seen: so a prior weighs as much as in a fit to
    these. The first step of all takes the new ones alone.

    Parameters
    ----------
    model : MixtureModel[Any]
    shape : Shape
    decay : float
        In (0.5, 1].
    offset : float
        Not negative: larger ones make the first steps smaller.
    most : float, optional
        Weight of all rows that there are, where they are seen several times.
    """

    def __init__(
        self, model: MixtureModel[Any], shape: Shape, decay: float, offset: float, most: float = LARGEST_WEIGHT
    ):
        self.model, self.shape = model, shape
        self.decay, self.offset = decay, offset
        self.most = most

    def begin(self, params: MixtureParams, step: int, weight: float, log_likelihood: float = 0.0) -> StepwiseState:
        """A state with the statistics that parameters are expected to give.

        After `step` 0 the first rows replace them; after 1 they count as the rows of a step, with
        the mean `log_likelihood` of a row, and rows of a `weight` were seen.
        """
        expected = self.model.family.expected(params.components, params.weights)
        stats = Statistics(np.array(log_likelihood), np.array(1.0), params.weights, expected)
        return StepwiseState(params, stats, np.array([step]), np.array([weight]))

    def empty(self) -> StepwiseState:
        """A state of which only the shapes matter."""
        params = self.model.alike(np.zeros((2, self.shape.n_features)))
        k = len(params.weights)
        sums = add_lanes(self.model.family.zeros(1, k, self.shape.n_features))
        stats = Statistics(np.array(0.0), np.array(0.0), np.zeros(k), sums)
        return StepwiseState(params, stats, np.array([0]), np.array([0.0]))

    def objective(self, state: StepwiseState) -> float:
        """Mean log-likelihood of a row, with the share of the log prior density that it has in all rows seen."""
        return self.model.objective(self._of_all(state.stats, float(state.weight[0])), state.params)

    def _of_all(self, stats: Statistics, weight: float) -> Statistics:
        return scale(stats, weight / self.model.unit)

    def step(self, state: StepwiseState, rows: Data, share: float = 1.0) -> StepwiseState:
        """One step with the statistics of all `rows`; a `share` below 1 makes it so much smaller."""
        params, old, t, seen = state
        new = accumulate(self.model, params, rows, self.shape)
        weight = float(new.weight)
        if not weight > 0:
            return state
        seen = np.minimum(seen + weight * rows.unit, self.most)
        about = self.model.recentre(new, params, self.shape) or params
        if about is not params:
            new = accumulate(self.model, params, rows, self.shape, about)
            old = self._move(old, params, about)
        gain = 1.0 if t[0] == 0 else float(t[0] + self.offset) ** -self.decay
        stats = blend(old, scale(new, 1 / weight), 1 - (1 - gain) ** share)
        after = self.model.maximize(self._of_all(stats, float(seen[0])), about, reseeds(0)).params
        after = after._replace(weights=self._kept_alive(after.weights))
        return StepwiseState(after, self._move(stats, about, after), t + 1, seen)

    def _kept_alive(self, weights: np.ndarray) -> np.ndarray:
        """Weights that rows of one kind only do not bring to 0, which would end a component for good."""
        if "weights" in self.model.frozen:
            return weights
        weights = np.maximum(weights, LEAST_WEIGHT)
        return np.asarray(weights / weights.sum())

    def _move(self, stats: Statistics, about: MixtureParams, to: MixtureParams) -> Statistics:
        moved = self.model.family.move(stats.family, stats.counts, about.components, to.components)
        return stats._replace(family=moved)

    def walk(self, state: StepwiseState, data: Data, size: int) -> StepwiseState:
        """Steps of `size` rows each over all data; the last one may have fewer."""
        for first, rows in _pieces(data, size):
            piece = data.part(ArraySource(rows), slice(first, first + len(rows)), data.first_row + first)
            state = self.step(state, piece, len(rows) / size)
        return state


def step_rows(n_components: int, n_features: int, itemsize: int) -> int:
    """Rows of a step: enough for all parameters of a mixture of Gaussians and for the kernels, if they fit."""
    wanted = max(16_384, 20 * n_components * n_features)
    return max(1, min(wanted, LARGEST_STEP // (n_features * itemsize)))


def _pieces(data: Data, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """First row and rows of pieces that begin at multiples of `size`, however the data come in blocks."""
    held = np.empty((0, data.source.n_features), data.source.dtype)
    n_held = 0

    for first, rows, _ in data.blocks():
        begin = 0
        while begin < len(rows):
            if not n_held and begin + size <= len(rows):
                yield first + begin, rows[begin : begin + size]
                begin += size
                continue
            held = held if len(held) else np.empty((size, data.source.n_features), data.source.dtype)
            count = min(size - n_held, len(rows) - begin)
            held[n_held : n_held + count] = rows[begin : begin + count]
            begin, n_held = begin + count, n_held + count
            if n_held == size:
                yield first + begin - size, held
                n_held = 0
    if n_held:
        yield data.source.n_rows - n_held, held[:n_held]


class StepwiseWarmUp:
    """Passes of stepwise EM over all rows, one a stage."""

    n_stages = 2

    def __init__(self, model: MixtureModel[Any], data: Data, shape: Shape, decay: float, offset: float):
        self.data = data
        self.stepwise = Stepwise(model, shape, decay, offset, most=data.weight)
        self.size = step_rows(model.n_components, shape.n_features, shape.dtype.itemsize)

    def begin(self, params: MixtureParams) -> StepwiseState:
        # what the start saw counts, so that no component is lost where the first rows are of one kind
        return self.stepwise.begin(params, step=1, weight=self.stepwise.most)

    def advance(self, state: StepwiseState, stage: int) -> StepwiseState:
        return self.stepwise.walk(state, self.data, self.size)
