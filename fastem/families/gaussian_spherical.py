"""Gaussians with one variance for all features (mclust's VII)."""

from typing import NamedTuple

import numpy as np

from fastem.dispatch import add_statistics, implements, log_density
from fastem.families._gaussian import Moments
from fastem.families._independent import IndependentGaussian, add_independent, independent_log_density

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


class GaussianSpherical(IndependentGaussian):
    kernel_parameters = SphericalKernel

    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)

    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        return counts * covariances * means.shape[1]

    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum(a * b, axis=1))

    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        squares = second / moments.counts - np.sum(moments.shifts**2, axis=1)
        return squares / moments.means.shape[1] + self.reg_covar

    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        return np.repeat(covariances[:, None], n_features, axis=1)

    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.repeat(factors[:, None], n_features, axis=1)

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components
