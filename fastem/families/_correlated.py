"""What the structures with covariances between features share: full and tied."""

from typing import Any, ClassVar

import numpy as np

from fastem.families._conditional import conditional_scratch
from fastem.families._gaussian import GaussianFamily, GaussianParams
from fastem.families._side_by_side import side_by_side
from fastem.families._triangular import moment_places, triangular_scratch

__all__ = ["CorrelatedGaussian", "conditional_law", "patterns"]


class CorrelatedGaussian(GaussianFamily):
    """Base of the structures in which the missing cells of a row depend on the others."""

    incomplete_parameters: ClassVar[type]
    gives_matrices = True

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return triangular_scratch(n_features, tile_rows)

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return conditional_scratch(n_components, n_features, tile_rows)

    def incomplete(self, kernel: Any, params: GaussianParams, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Any:
        k, d = params.means.shape
        precisions = self.matrices(self.precisions(params.precisions_cholesky), k, d)
        return self.incomplete_parameters(
            *kernel,
            side_by_side(kernel.means, np.zeros(d), dtype),
            side_by_side(kernel.means_low, np.zeros(d), dtype),
            side_by_side(precisions, np.eye(d), dtype),
            moment_places(d),
        )

    def matrices(self, covariances: np.ndarray, n_components: int, n_features: int) -> np.ndarray:
        return np.broadcast_to(covariances, (n_components, n_features, n_features))

    def complete(
        self, params: GaussianParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None
    ) -> np.ndarray:
        filled = rows.copy()
        covariance = params.covariances[k] if self.has_own_covariances else params.covariances
        for some, here in patterns(rows):
            means, spread = conditional_law(params.means[k], covariance, rows[np.ix_(some, here)], here)
            if rng is not None and len(spread):
                means = means + rng.multivariate_normal(np.zeros(len(spread)), spread, len(some))
            filled[np.ix_(some, ~here)] = means
        return filled


def patterns(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Numbers of the rows that have the same cells, with the mask of those cells."""
    masks, which = np.unique(~np.isnan(rows), axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    cuts = np.cumsum(np.bincount(which.ravel(), minlength=len(masks)))[:-1]
    return [(some, mask) for some, mask in zip(np.split(order, cuts), masks, strict=True)]


def conditional_law(
    mean: np.ndarray, covariance: np.ndarray, values: np.ndarray, here: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means (n, m) and covariance (m, m) of the other cells of a Gaussian, given `values` (n, o) of those `here`."""
    regression = np.linalg.solve(covariance[np.ix_(here, here)], covariance[np.ix_(here, ~here)])
    means = mean[~here] + (values - mean[here]) @ regression
    spread = covariance[np.ix_(~here, ~here)] - covariance[np.ix_(~here, here)] @ regression
    return means, (spread + spread.T) / 2
