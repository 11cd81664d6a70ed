"""Gaussians with one variance for all features (mclust's VII)."""

from typing import NamedTuple

import numpy as np

from fastem.families._gaussian import Moments
from fastem.families._independent import (
    IndependentGaussian,
    add_incomplete,
    add_independent,
    incomplete_log_density,
    independent_log_density,
)
from fastem.kernels.dispatch import add_statistics, implements, log_density

__all__ = ["GaussianSpherical"]


class SphericalKernel(NamedTuple):
    """Means and centres in two parts (K, d), constants (K,), roots of precisions (K, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray


@implements(log_density, SphericalKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    independent_log_density(tile, params, out)


@implements(add_statistics, SphericalKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_independent(tile, resp, counts, params, stats.first, stats.second, 1, 0, lane)


class SphericalIncomplete(NamedTuple):
    """Those for complete rows, constants of each cell (K, d), log-weights (K,)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    offsets: np.ndarray
    log_weights: np.ndarray


@implements(log_density, SphericalIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    incomplete_log_density(tile, params, out)


@implements(add_statistics, SphericalIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_incomplete(tile, resp, counts, params, stats, 1, 0, lane)


class GaussianSpherical(IndependentGaussian):
    kernel_parameters = SphericalKernel
    incomplete_parameters = SphericalIncomplete

    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)

    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        return counts * covariances * means.shape[1]

    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum(a * b, axis=1))

    def precisions_of(self, precisions: np.ndarray, n_components: int) -> np.ndarray:
        return np.full(n_components, 1 / np.mean(1 / precisions))

    def scatter_of(self, matrix: np.ndarray, n_components: int) -> np.ndarray:
        return np.full(n_components, np.trace(matrix) / len(matrix))

    def prior_degrees(self, dof: float, n_components: int, n_features: int) -> float:
        return dof + 2 + n_features

    def log_scales(self, halves: np.ndarray, n_features: int) -> float:
        return float(halves.sum()) / n_features

    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        scatter = second - np.sum(moments.weights * moments.shifts**2, axis=1)
        cells = np.sum(np.broadcast_to(moments.cells, moments.means.shape), axis=1)
        return np.asarray(scatter / (cells + moments.degrees) + np.mean(self.reg_covar))

    def bounded(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return np.maximum(covariances, least.min(axis=1))

    def at_least(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return np.broadcast_to((covariances <= least.min(axis=1))[:, None], least.shape)

    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        return np.repeat(covariances[:, None], n_features, axis=1)

    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.repeat(factors[:, None], n_features, axis=1)

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components
