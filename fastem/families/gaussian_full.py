"""Gaussians that each have a covariance matrix of their own (mclust's VVV)."""

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

__all__ = ["GaussianFull"]


class FullKernel(NamedTuple):
    """Means and centres in two parts (K, d), constants (K,), packed factors (K, p)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factors: np.ndarray


@implements(log_density, FullKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    triangular_log_density(tile, params, params.factors, params.factors.shape[1], out, scratch)


@implements(add_statistics, FullKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    stride = stats.second.shape[2]
    at = lane * resp.shape[0] * stride
    add_triangular(tile, resp, counts, params, stats.first, stats.second, at, stride, lane, scratch)


class FullIncomplete(NamedTuple):
    """Those for complete rows; means and precisions side by side; places of packed moments (d, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factors: np.ndarray
    lane_means: np.ndarray
    lane_means_low: np.ndarray
    lane_precisions: np.ndarray
    places: np.ndarray


@implements(log_density, FullIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    stride = params.factors.shape[1]
    conditional_log_density(tile, params, params.factors, stride, out, scratch)


@implements(add_statistics, FullIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    stride = stats.second.shape[2]
    at = lane * resp.shape[0] * stride
    add_conditional(tile, resp, resp, counts, params, stats.first, stats.second, at, stride, lane, scratch)


class GaussianFull(CorrelatedGaussian):
    kernel_parameters = FullKernel
    incomplete_parameters = FullIncomplete

    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, len(moment_positions(n_features)[0]))

    def covariance_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features, n_features)

    def precisions_of(self, precisions: np.ndarray, n_components: int) -> np.ndarray:
        return np.tile(np.diag(precisions), (n_components, 1, 1))

    def scatter_of(self, matrix: np.ndarray, n_components: int) -> np.ndarray:
        return np.tile(matrix[moment_positions(len(matrix))], (n_components, 1))

    def prior_degrees(self, dof: float, n_components: int, n_features: int) -> float:
        return dof + n_features + 2

    def inner(self, second: np.ndarray, factors: np.ndarray, n_features: int) -> float:
        return float(np.sum(unpack(second, n_features) * self.precisions(factors)))

    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        rows, columns = moment_positions(means.shape[1])
        return np.asarray(counts[:, None] * covariances[:, rows, columns])

    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows, columns = moment_positions(a.shape[1])
        return np.asarray(a[:, rows] * b[:, columns])

    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        d = moments.means.shape[1]
        # divided first, so that large sums lose nothing
        degrees = (moments.cells + moments.degrees)[:, :, None]
        weights = moments.weights[:, :, None] / degrees
        covariances = unpack(second, d) / degrees
        covariances -= weights * moments.shifts[:, :, None] * moments.shifts[:, None, :]
        covariances.reshape(len(covariances), -1)[:, :: d + 1] += self.reg_covar
        return covariances

    def bounded(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return bounded_matrices(covariances, least, relative)

    def at_least(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return narrow_columns(covariances, least, relative)

    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        return np.diagonal(covariances, axis1=1, axis2=2)

    def factor(self, covariances: np.ndarray) -> np.ndarray:
        return factor_covariances(covariances)

    def invert(self, precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return invert_precisions(precisions)

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        return factors @ factors.swapaxes(1, 2)

    def log_determinants(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)

    def traces(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.einsum("kij,kij->k", factors, factors)

    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return pack(factors.swapaxes(1, 2))

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features * (n_features + 1) // 2

    def sample(self, params: GaussianParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.multivariate_normal(params.means[k], params.covariances[k], n)
