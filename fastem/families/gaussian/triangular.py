"""Gaussians with covariances between columns: full (mclust's VVV) and tied (EEE)."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numba import njit

from fastem.families._floor import bounded_matrices, narrow_columns
from fastem.families._side_by_side import side_by_side
from fastem.families.gaussian.conditional import conditional_law, patterns
from fastem.families.gaussian.conditional_kernels import add_conditional, conditional_log_density, conditional_scratch
from fastem.families.gaussian.family import GaussianFamily, GaussianParams, Moments
from fastem.families.gaussian.structure import Groups, OneForAll, OneForEach
from fastem.families.gaussian.triangular_kernels import (
    add_triangular,
    factor_covariances,
    invert_precisions,
    moment_places,
    moment_positions,
    pack,
    triangular_log_density,
    triangular_scratch,
    unpack,
)
from fastem.kernels.dispatch import add_statistics, implements, log_density

__all__ = ["GaussianFull", "GaussianTied"]


class TriangularKernel(NamedTuple):
    """Means and centres in two parts (K, d), constants (K,), packed factors (K or 1, p)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factors: np.ndarray


class TriangularIncomplete(NamedTuple):
    """Those for complete rows; means and precisions side by side; places of packed moments (d, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factors: np.ndarray
    block_means: np.ndarray
    block_means_low: np.ndarray
    block_precisions: np.ndarray
    places: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _apart(count, size):  # type: ignore[no-untyped-def]
    """How far packed matrices of neighbouring components lie from each other: not at all if there is one for all."""
    return size if count > 1 else 0


@implements(log_density, TriangularKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    stride = _apart(*params.factors.shape)
    triangular_log_density(tile, params, params.factors, stride, out, scratch)


@implements(add_statistics, TriangularKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    _, count, size = stats.second.shape
    at = lane * count * size
    add_triangular(tile, resp, counts, params, stats.first, stats.second, at, _apart(count, size), lane, scratch)


@implements(log_density, TriangularIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    stride = _apart(*params.factors.shape)
    conditional_log_density(tile, params, params.factors, stride, out, scratch)


@implements(add_statistics, TriangularIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    _, count, size = stats.second.shape
    at, stride = lane * count * size, _apart(count, size)
    add_conditional(tile, resp, resp, counts, params, stats.first, stats.second, at, stride, lane, scratch)


# --- the form ---------------------------------------------------------------------------------


class TriangularGaussian(GaussianFamily):
    """Gaussians whose precisions have triangular factors; `groups` says who has which."""

    kernel_parameters = TriangularKernel
    gives_matrices = True
    groups: ClassVar[Groups]

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return triangular_scratch(n_features, tile_rows)

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return conditional_scratch(n_components, n_features, tile_rows)

    def incomplete(self, kernel: Any, params: GaussianParams, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Any:
        k, d = params.means.shape
        precisions = self.matrices(self.precisions(params.precisions_cholesky), k, d)
        means, low = (side_by_side(part, np.zeros(d), dtype) for part in (kernel.means, kernel.means_low))
        return TriangularIncomplete._make(
            [*kernel, means, low, side_by_side(precisions, np.eye(d), dtype), moment_places(d)]
        )

    def covariance_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (*self.groups.leading(n_components), n_features, n_features)

    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (self.groups.count(n_components), len(moment_positions(n_features)[0]))

    # --- moments ------------------------------------------------------------------------------

    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        rows, columns = moment_positions(means.shape[1])
        return np.asarray(self.groups.pool(counts)[:, None] * self.groups.stack(covariances)[:, rows, columns])

    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows, columns = moment_positions(a.shape[1])
        return self.groups.pool(a[:, rows] * b[:, columns])

    def scatter_of(self, matrix: np.ndarray, n_components: int) -> np.ndarray:
        return np.tile(matrix[moment_positions(len(matrix))], (self.groups.count(n_components), 1))

    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        d = moments.means.shape[1]
        # divided first, so that large sums lose nothing
        degrees = self.groups.pool(moments.cells)[:, :, None] + moments.degrees
        weights = moments.weights[:, :, None] / degrees
        covariances = unpack(second, d) / degrees
        covariances -= self.groups.pool(weights * moments.shifts[:, :, None] * moments.shifts[:, None, :])
        covariances.reshape(len(covariances), -1)[:, :: d + 1] += self.reg_covar
        return self.groups.shape(covariances)

    def new_variances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        degrees = self.groups.pool(moments.cells) + moments.degrees
        squares = self.groups.pool(moments.weights * moments.shifts**2)
        own = np.diagonal(moment_places(moments.means.shape[1]))
        return np.asarray((second[:, own] - squares) / degrees + self.reg_covar)

    def bounded(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        bounded = bounded_matrices(self.groups.stack(covariances), self.groups.least(least), relative)
        return self.groups.shape(bounded)

    def at_least(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        narrow = narrow_columns(self.groups.stack(covariances), self.groups.least(least), relative)
        return np.broadcast_to(narrow, least.shape)

    def restore(self, new: np.ndarray, old: np.ndarray, dead: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        stack, before = self.groups.stack(new), self.groups.stack(old)
        gone = self.groups.least(dead)
        return self.groups.shape(np.where(gone[:, None, None], before, stack))

    # --- covariances and their factors --------------------------------------------------------

    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        return np.diagonal(self.groups.stack(covariances), axis1=1, axis2=2)

    def matrices(self, covariances: np.ndarray, n_components: int, n_features: int) -> np.ndarray:
        return np.broadcast_to(self.groups.stack(covariances), (n_components, n_features, n_features))

    def factor(self, covariances: np.ndarray) -> np.ndarray:
        return self.groups.shape(factor_covariances(self.groups.stack(covariances)))

    def invert(self, precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        covariances, factors = invert_precisions(self.groups.stack(precisions))
        return self.groups.shape(covariances), self.groups.shape(factors)

    def precisions_of(self, variances: np.ndarray, n_components: int) -> np.ndarray:
        return self.groups.shape(np.tile(np.diag(1 / variances), (self.groups.count(n_components), 1, 1)))

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        return factors @ factors.swapaxes(-1, -2)

    def log_determinants(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(np.log(np.diagonal(self.groups.stack(factors), axis1=1, axis2=2)), axis=1)

    def traces(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        stack = self.groups.stack(factors)
        return np.einsum("kij,kij->k", stack, stack)

    def inner(self, second: np.ndarray, factors: np.ndarray, n_features: int) -> float:
        return float(np.sum(unpack(second, n_features) * self.precisions(self.groups.stack(factors))))

    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return pack(self.groups.stack(factors).swapaxes(1, 2))

    # --- prior, rows --------------------------------------------------------------------------

    def prior_degrees(self, dof: float, n_components: int, n_features: int) -> float:
        return dof + n_features + 1 + n_components / self.groups.count(n_components)

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        return self.groups.count(n_components) * n_features * (n_features + 1) // 2

    def sample(self, params: GaussianParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.multivariate_normal(params.means[k], self._covariance(params, k), n)

    def complete(
        self, params: GaussianParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None
    ) -> np.ndarray:
        filled = rows.copy()
        covariance = self._covariance(params, k)
        for some, here in patterns(rows):
            means, spread = conditional_law(params.means[k], covariance, rows[np.ix_(some, here)], here)
            if rng is not None and len(spread):
                means = means + rng.multivariate_normal(np.zeros(len(spread)), spread, len(some))
            filled[np.ix_(some, ~here)] = means
        return filled

    def _covariance(self, params: GaussianParams, k: int) -> np.ndarray:
        return np.asarray(self.matrices(params.covariances, *params.means.shape)[k])


# --- structures -------------------------------------------------------------------------------


class GaussianFull(TriangularGaussian):
    """Gaussians that each have a covariance matrix of their own; parameters as of `fastem.families.Gaussian`."""

    groups = OneForEach()


class GaussianTied(TriangularGaussian):
    """Gaussians that share one covariance matrix; parameters as of `fastem.families.Gaussian`."""

    groups = OneForAll()
