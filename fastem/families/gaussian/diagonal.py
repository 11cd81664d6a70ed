"""Gaussians without covariances between columns: diag (mclust's VVI) and spherical (VII)."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastem.engine.statistics import zeros
from fastem.families.gaussian.centring import LOG_2PI
from fastem.families.gaussian.diagonal_kernels import (
    add_incomplete,
    add_independent,
    incomplete_log_density,
    independent_log_density,
)
from fastem.families.gaussian.family import GaussianFamily, GaussianParams, Moments
from fastem.families.gaussian.singular import require_positive
from fastem.families.gaussian.structure import EachColumn, OneForEach, RoundColumns
from fastem.kernels.dispatch import add_statistics, implements, log_density

__all__ = ["DiagonalStatistics", "GaussianDiag", "GaussianSpherical"]


class DiagonalKernel(NamedTuple):
    """Means and centres in two parts (K, d), constants (K,), roots of precisions (K, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray


class DiagonalIncomplete(NamedTuple):
    """Those for complete rows, constants of each cell (K, d), log-weights (K,)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    offsets: np.ndarray
    log_weights: np.ndarray


class DiagonalStatistics(NamedTuple):
    """Moments as of all Gaussians, and the responsibilities of missing cells (K, d)."""

    first: np.ndarray
    second: np.ndarray
    absent: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, DiagonalKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    independent_log_density(tile, params, out)


@implements(add_statistics, DiagonalKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    width = stats.second.shape[2]
    add_independent(tile, resp, counts, params, stats.first, stats.second, width, int(width == tile.shape[0]), lane)


@implements(log_density, DiagonalIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    incomplete_log_density(tile, params, out)


@implements(add_statistics, DiagonalIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    width = stats.second.shape[2]
    add_incomplete(tile, resp, counts, params, stats, width, int(width == tile.shape[0]), lane)


# --- the form ---------------------------------------------------------------------------------


class DiagonalGaussian(GaussianFamily):
    """Gaussians whose covariances are variances: everything is elementwise; `columns` says who has which."""

    kernel_parameters = DiagonalKernel
    groups = OneForEach()
    columns: ClassVar[EachColumn | RoundColumns]

    def zeros(self, lanes: int, n_components: int, n_features: int) -> DiagonalStatistics:
        cells = (n_components, n_features)
        second = self.second_shape(n_components, n_features)
        return zeros(DiagonalStatistics, lanes, first=cells, second=second, absent=cells)

    def cells(self, stats: DiagonalStatistics, counts: np.ndarray) -> np.ndarray:
        return np.maximum(counts[:, None] - stats.absent, 0)

    def incomplete(self, kernel: Any, params: GaussianParams, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Any:
        roots = self.pack(params.precisions_cholesky, params.means.shape[1])
        offsets = np.log(roots) - 0.5 * LOG_2PI
        return DiagonalIncomplete._make([*kernel, offsets.astype(dtype), log_weights.astype(dtype)])

    def covariance_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, *self.columns.trailing(n_features))

    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, self.columns.width(n_features))

    # --- moments ------------------------------------------------------------------------------

    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        variances = self.variances(covariances, means.shape[1])
        return self.columns.gather(counts[:, None] * variances)

    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.columns.gather(a * b)

    def scatter_of(self, matrix: np.ndarray, n_components: int) -> np.ndarray:
        return np.tile(self.columns.mean(np.diagonal(matrix)), (n_components, 1))

    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        scatter = second - self.columns.gather(moments.weights * moments.shifts**2)
        cells = self.columns.gather(np.broadcast_to(moments.cells, moments.means.shape))
        variances = scatter / (cells + moments.degrees) + self.columns.mean(np.atleast_1d(self.reg_covar))
        return self.columns.shape(variances)

    def new_variances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        return self.variances(self.covariances(second, moments), moments.means.shape[1])

    def bounded(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return self.columns.shape(np.maximum(self.columns.stack(covariances), self.columns.least(least)))

    def at_least(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        return np.broadcast_to(self.columns.stack(covariances) <= self.columns.least(least), least.shape)

    def restore(self, new: np.ndarray, old: np.ndarray, dead: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        gone = self.columns.least(dead[:, None] | unseen)
        return self.columns.shape(np.where(gone, self.columns.stack(old), self.columns.stack(new)))

    # --- covariances and their factors --------------------------------------------------------

    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        return self.columns.spread(self.columns.stack(covariances), n_features)

    def factor(self, covariances: np.ndarray) -> np.ndarray:
        require_positive(covariances)
        return np.asarray(1.0 / np.sqrt(covariances))

    def invert(self, precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 1.0 / precisions, np.sqrt(precisions)

    def precisions_of(self, variances: np.ndarray, n_components: int) -> np.ndarray:
        return self.columns.shape(np.tile(1 / self.columns.mean(variances), (n_components, 1)))

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        return factors**2

    def log_determinants(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(np.log(self.pack(factors, n_features)), axis=1)

    def traces(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(self.pack(factors, n_features) ** 2, axis=1)

    def inner(self, second: np.ndarray, factors: np.ndarray, n_features: int) -> float:
        return float(np.sum(second * self.columns.stack(factors) ** 2))

    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return self.columns.spread(self.columns.stack(factors), n_features)

    # --- prior, rows --------------------------------------------------------------------------

    def prior_degrees(self, dof: float, n_components: int, n_features: int) -> float:
        return dof + 2 + n_features / self.columns.width(n_features)

    def log_scales(self, halves: np.ndarray, n_features: int) -> float:
        return float(halves.sum()) * self.columns.width(n_features) / n_features

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * self.columns.width(n_features)

    def sample(self, params: GaussianParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        standard = rng.standard_normal(size=(n, params.means.shape[1]))
        return np.asarray(params.means[k] + standard * np.sqrt(params.covariances[k]))


# --- structures -------------------------------------------------------------------------------


class GaussianDiag(DiagonalGaussian):
    """Gaussians that have a variance of each column; parameters as of `fastem.families.Gaussian`."""

    columns = EachColumn()


class GaussianSpherical(DiagonalGaussian):
    """Gaussians that have one variance for all columns; parameters as of `fastem.families.Gaussian`."""

    columns = RoundColumns()
