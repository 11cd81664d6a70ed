"""Components without free parameters: rows of log-densities that are given."""

from typing import Any, NamedTuple

import numpy as np

from fastem.families.family import Family, Maximized, Prepared
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.tiles import n_points

__all__ = ["Fixed"]

# Smaller log-densities are as good as none, and stay finite in float32.
_LEAST = -1e30


class FixedKernel(NamedTuple):
    """Log-weights (K,)."""

    log_weights: np.ndarray


class FixedParams(NamedTuple):
    """Numbers of the components (K,)."""

    numbers: np.ndarray


class FixedStatistics(NamedTuple):
    """Nothing but a sum of r (K,), by which numbers that are not finite are noticed."""

    counts: np.ndarray


@implements(log_density, FixedKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        for b in range(n_points(tile)):
            out[k, b] = params.log_weights[k] + max(tile[k, b], _LEAST)


@implements(add_statistics, FixedKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    for k in range(resp.shape[0]):
        stats.counts[lane, k] += counts[k]


class Fixed(Family[FixedParams, FixedStatistics]):
    """Components whose log-densities are the columns of the data: only weights are fitted.

    `fastem.FixedMixture` makes such columns from densities.
    """

    parameters = FixedParams
    takes_missing = False

    def zeros(self, lanes: int, n_components: int, n_features: int) -> FixedStatistics:
        return FixedStatistics(np.zeros((lanes, n_components)))

    def prepare(
        self, params: FixedParams, about: FixedParams, log_weights: np.ndarray, dtype: np.dtype[Any], missing: bool
    ) -> Prepared:
        return Prepared(FixedKernel(np.maximum(log_weights, _LEAST).astype(dtype)), 0.0)

    def alike(self, rows: np.ndarray, n_components: int) -> FixedParams:
        return FixedParams(np.arange(n_components, dtype=np.float64))

    def maximize(
        self, stats: FixedStatistics, counts: np.ndarray, about: FixedParams, dead: np.ndarray, frozen: frozenset[str]
    ) -> Maximized:
        return Maximized(about)

    def expected(self, params: FixedParams, counts: np.ndarray) -> FixedStatistics:
        return FixedStatistics(counts.copy())

    def displace(self, params: FixedParams, k: int, rng: np.random.RandomState) -> FixedParams:
        return params

    def split(self, params: FixedParams, into: int, source: int, rng: np.random.RandomState) -> FixedParams:
        return params

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 0

    def sample(self, params: FixedParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        raise NotImplementedError("Log-densities alone cannot be drawn from.")
