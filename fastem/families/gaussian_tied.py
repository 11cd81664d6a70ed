"""Gaussians that share one covariance matrix (mclust's EEE)."""

from typing import NamedTuple

import numpy as np

from fastem.families._conditional import add_conditional, conditional_log_density
from fastem.families._correlated import CorrelatedGaussian
from fastem.families._floor import bounded_matrices, narrow_columns
from fastem.families._gaussian import GaussianParams, Moments
from fastem.families._triangular import (
    add_triangular,
    factor_covariances,
    invert_precisions,
    moment_positions,
    pack,
    triangular_log_density,
    unpack,
)
from fastem.kernels.dispatch import add_statistics, implements, log_density

__all__ = ["GaussianTied"]


class TiedKernel(NamedTuple):
    """Means and centres in two parts (K, d), constants (K,), the packed factor (p,)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factor: np.ndarray


@implements(log_density, TiedKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    triangular_log_density(tile, params, params.factor, 0, out, scratch)


@implements(add_statistics, TiedKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    at = lane * stats.second.shape[1]
    add_triangular(tile, resp, counts, params, stats.first, stats.second, at, 0, lane, scratch)


class TiedIncomplete(NamedTuple):
    """Those for complete rows; means and precisions side by side; places of packed moments (d, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factor: np.ndarray
    lane_means: np.ndarray
    lane_means_low: np.ndarray
    lane_precisions: np.ndarray
    places: np.ndarray


@implements(log_density, TiedIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    conditional_log_density(tile, params, params.factor, 0, out, scratch)


@implements(add_statistics, TiedIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    at = lane * stats.second.shape[1]
    add_conditional(tile, resp, resp, counts, params, stats.first, stats.second, at, 0, lane, scratch)


class GaussianTied(CorrelatedGaussian):
    kernel_parameters = TiedKernel
    incomplete_parameters = TiedIncomplete
    has_own_covariances = False

    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (len(moment_positions(n_features)[0]),)

    def covariance_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_features, n_features)

    def precisions_of(self, precisions: np.ndarray, n_components: int) -> np.ndarray:
        return np.diag(precisions)

    def scatter_of(self, matrix: np.ndarray, n_components: int) -> np.ndarray:
        return np.asarray(matrix[moment_positions(len(matrix))])

    def prior_degrees(self, dof: float, n_components: int, n_features: int) -> float:
        return dof + n_features + 1 + n_components

    def inner(self, second: np.ndarray, factors: np.ndarray, n_features: int) -> float:
        return float(np.sum(unpack(second, n_features) * self.precisions(factors)))

    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        return np.asarray(counts.sum() * covariances[moment_positions(means.shape[1])])

    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((a.T @ b)[moment_positions(a.shape[1])])

    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        d = moments.means.shape[1]
        between = (moments.weights * moments.shifts).T @ moments.shifts
        covariance = (unpack(second, d) - between) / (moments.cells.sum() + moments.degrees)
        covariance.reshape(-1)[:: d + 1] += self.reg_covar
        return covariance

    def bounded(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return bounded_matrices(covariances[None], least.min(axis=0, keepdims=True), relative)[0]

    def at_least(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        of_all = narrow_columns(covariances[None], least.min(axis=0, keepdims=True), relative)
        return np.broadcast_to(of_all, least.shape)

    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        return np.diagonal(covariances)[None]

    def factor(self, covariances: np.ndarray) -> np.ndarray:
        return factor_covariances(covariances[None])[0]

    def invert(self, precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        covariances, factors = invert_precisions(precisions[None])
        return covariances[0], factors[0]

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        return factors @ factors.T

    def log_determinants(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(np.log(np.diagonal(factors)), keepdims=True)

    def traces(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(factors**2).reshape(1)

    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return pack(factors.T)

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def sample(self, params: GaussianParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.multivariate_normal(params.means[k], params.covariances, n)
