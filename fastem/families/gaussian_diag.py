"""Gaussians with independent features (mclust's VVI)."""

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

__all__ = ["GaussianDiag"]


class DiagKernel(NamedTuple):
    """Means and centres in two parts (K, d), constants (K,), roots of precisions (K, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray


@implements(log_density, DiagKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    independent_log_density(tile, params, out)


@implements(add_statistics, DiagKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_independent(tile, resp, counts, params, stats.first, stats.second, tile.shape[0], 1, lane)


class DiagIncomplete(NamedTuple):
    """Those for complete rows, constants of each cell (K, d), log-weights (K,)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    offsets: np.ndarray
    log_weights: np.ndarray


@implements(log_density, DiagIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    incomplete_log_density(tile, params, out)


@implements(add_statistics, DiagIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_incomplete(tile, resp, counts, params, stats, tile.shape[0], 1, lane)


class GaussianDiag(IndependentGaussian):
    kernel_parameters = DiagKernel
    incomplete_parameters = DiagIncomplete

    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features)

    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        return counts[:, None] * covariances

    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def precisions_of(self, precisions: np.ndarray, n_components: int) -> np.ndarray:
        return np.tile(precisions, (n_components, 1))

    def scatter_of(self, matrix: np.ndarray, n_components: int) -> np.ndarray:
        return np.tile(np.diagonal(matrix), (n_components, 1))

    def prior_degrees(self, dof: float, n_components: int, n_features: int) -> float:
        return dof + 3

    def restore(self, new: np.ndarray, old: np.ndarray, dead: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        return np.where(dead[:, None] | unseen, old, new)

    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        scatter = second - moments.weights * moments.shifts**2
        return np.asarray(scatter / (moments.cells + moments.degrees) + self.reg_covar)

    def bounded(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return np.maximum(covariances, least)

    def at_least(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return covariances <= least

    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        return covariances

    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return factors

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features
