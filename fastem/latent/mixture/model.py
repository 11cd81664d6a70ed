"""Mixtures as the loop knows them."""

import math
from typing import Any, Generic, TypeVar

import numpy as np

from fastem.engine.contract import Shape, Step
from fastem.engine.statistics import scale
from fastem.kernels.dispatch import LEAST_POSSIBLE
from fastem.kernels.tiles import n_lanes, tile_rows
from fastem.latent.mixture.contract import ComponentFamily, MixtureParams, Statistics
from fastem.latent.mixture.deaths import Reseeds, revive
from fastem.latent.mixture.passes import AccumulatePass, InferPass

__all__ = ["MixtureModel"]


F = TypeVar("F", bound=ComponentFamily)


class MixtureModel(Generic[F]):
    """A mixture of components of one family: a `Model` of `fastem.engine.contract`.

    Parameters
    ----------
    family : Family
    n_components : int
    weight_prior : float, default=1
        Concentration of a Dirichlet prior on the weights.
    frozen : frozenset of str
        Parameters that keep their values.
    unit : float, default=1
        Weight that counts as 1 in the statistics; a prior's observations have weight 1.
    """

    def __init__(
        self,
        family: F,
        n_components: int,
        weight_prior: float = 1.0,
        frozen: frozenset[str] = frozenset(),
        unit: float = 1.0,
    ):
        self.family = family
        self.n_components = n_components
        self.weight_prior = weight_prior
        self.frozen = frozen
        self.unit = unit

    def of(self, family: F) -> "MixtureModel[F]":
        """The same of another family."""
        return MixtureModel(family, self.n_components, self.weight_prior, self.frozen, self.unit)

    def in_unit(self, unit: float) -> "MixtureModel[F]":
        """The same for statistics in another unit."""
        return MixtureModel(self.family, self.n_components, self.weight_prior, self.frozen, unit)

    @property
    def domain(self) -> F:
        """What rows may hold: the family knows."""
        return self.family

    def start_pass(
        self, params: MixtureParams, about: MixtureParams, shape: Shape, missing: bool = False
    ) -> AccumulatePass:
        """A pass that computes responsibilities by `params`, moments about `about`; cells may be `missing`."""
        prepared = self._prepare(params, about, shape, missing)
        return AccumulatePass(self.family, self.n_components, prepared, shape, missing)

    def infer(self, params: MixtureParams, shape: Shape, missing: bool = False) -> InferPass:
        """A pass that writes results of each row."""
        prepared = self._prepare(params, params, shape, missing)
        return InferPass(self.family, self.n_components, prepared, shape, missing)

    def _prepare(self, params: MixtureParams, about: MixtureParams, shape: Shape, missing: bool) -> Any:
        """Parameters as kernels read them."""
        with np.errstate(divide="ignore", under="ignore"):
            log_weights = np.log(params.weights)
            return self.family.prepare(params.components, about.components, log_weights, shape.dtype, missing)

    def bytes_needed(self, shape: Shape) -> int:
        """Bytes that a fit takes beside the data: sums of all lanes, scratch, a few parameters."""
        k, d, m = self.n_components, shape.n_features, tile_rows(shape.dtype)
        lane = self.family.statistics_bytes(k, d)
        scratch = shape.n_threads * ((d + k) * m + self.family.scratch(k, d, m)) * shape.dtype.itemsize
        return lane * (n_lanes(lane) + 1) + scratch + 6 * self.family.parameter_bytes(k, d)

    def objective(self, stats: Statistics, params: MixtureParams) -> float:
        """Mean log-likelihood of a row, with a share of the parameters' log prior density.

        -inf if a row is impossible under all components.
        """
        if stats.log_likelihood < LEAST_POSSIBLE and self.family.excludes(params.components):
            return -math.inf
        prior = self.family.log_prior(params.components)
        if self.weight_prior != 1:
            with np.errstate(divide="ignore"):
                prior += (self.weight_prior - 1) * float(np.sum(np.log(params.weights)))
        return float((stats.log_likelihood + prior / self.unit) / stats.weight)

    def recentre(self, stats: Statistics, about: MixtureParams, shape: Shape) -> MixtureParams | None:
        """A better reference point for the moments, where they lost accuracy."""
        counts = stats.counts
        components = self.family.recentre(stats.family, counts, about.components, shape.dtype, self.frozen)
        return None if components is None else about._replace(components=components)

    def maximize(self, stats: Statistics, about: MixtureParams, memory: Reseeds) -> Step:
        """The M-step; components that died are started again as long as `memory` lets them."""
        has_prior = self.weight_prior != 1
        if self.unit != 1 and (has_prior or self.family.has_prior):
            return self.in_unit(1.0).maximize(scale(stats, self.unit), about, memory)
        counts, weight = stats.counts, float(stats.weight)
        dead = counts <= 10 * np.finfo(np.float64).eps * weight
        result = self.family.maximize(stats.family, counts, about.components, dead, self.frozen)
        weights = about.weights if "weights" in self.frozen else self._weights(counts)
        params = MixtureParams(weights, result.params)
        died = dead & (about.weights > 0)
        if not died.any():
            return Step(params, result.slack / weight, memory)
        params, memory, events = revive(self.family, params, died, memory, self.frozen, has_prior)
        return Step(params, result.slack / weight, memory, events)

    def _weights(self, counts: np.ndarray) -> np.ndarray:
        expected = np.maximum(counts + self.weight_prior - 1, 0)
        return np.asarray(expected / expected.sum())

    def alike(self, rows: np.ndarray) -> MixtureParams:
        """Parameters that are alike in all components, to make a first M-step about, from some rows."""
        weights = np.full(self.n_components, 1 / self.n_components)
        return MixtureParams(weights, self.family.alike(rows, self.n_components))
