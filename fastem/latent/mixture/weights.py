"""Mixtures of which nothing but the weights is estimated: they know what better weights could gain."""

from typing import NamedTuple, TypeVar

import numpy as np

from fastem.engine.contract import Step
from fastem.latent.mixture.contract import ComponentFamily, MixtureParams, Statistics
from fastem.latent.mixture.model import MixtureModel

__all__ = ["Gain", "WeightsModel", "gain"]

F = TypeVar("F", bound=ComponentFamily)


class Gain(NamedTuple):
    """What the mean log-likelihood of a row could gain at most, before the last M-step; shape ()."""

    largest: np.ndarray


def gain(stats: Statistics, params: MixtureParams) -> float:
    """``max_k D_k - 1`` with ``D_k = mean_i f_k(x_i) / f(x_i)``: the likelihood is concave in the weights."""
    positive = params.weights > 0
    ratios = stats.counts[positive] / (stats.weight * params.weights[positive])
    return max(float(np.max(ratios)) - 1, 0.0)


class WeightsModel(MixtureModel[F]):
    """A mixture of given components.

    Parameters
    ----------
    family, n_components
        As in `MixtureModel`.
    tol : float
        Weights that could gain less stay as they are.
    """

    def __init__(self, family: F, n_components: int, tol: float):
        super().__init__(family, n_components)
        self.tol = tol

    def maximize(self, stats: Statistics, about: MixtureParams, memory: Gain) -> Step:  # type: ignore[override]
        found = gain(stats, about)
        weights = about.weights if found < self.tol else self._weights(stats.counts)
        return Step(about._replace(weights=weights), memory=Gain(np.array(found)))
