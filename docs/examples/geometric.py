"""Geometric distributions, a family of fastem that lies outside its package.

A column holds the number of the trial that first succeeds: P(x) = p (1 - p)^(x - 1) for x = 1, 2, ...
The logarithm is linear in x, so `fastem.families._linear` could do without any kernel; this file
writes its own, to show all that a family consists of.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.engine.statistics import zeros
from fastem.families.family import Family, Maximized, Prepared
from fastem.kernels.dispatch import add_statistics, implements, log_density

__all__ = ["Geometric"]


class GeometricParams(NamedTuple):
    """Probabilities of success (K, d); fields are the attributes of a fitted mixture."""

    probabilities: np.ndarray


class GeometricStatistics(NamedTuple):
    """Sums of r and of r x over the cells that are there, both (K, d); with a leading axis of lanes in a pass."""

    cells: np.ndarray
    sums: np.ndarray


class GeometricKernel(NamedTuple):
    """What the kernels read: log (1 - p) and log p - log (1 - p) of each cell (K, d), log-weights (K,)."""

    slopes: np.ndarray
    constants: np.ndarray
    log_weights: np.ndarray


# --- kernels: compiled by Numba as part of the pass -----------------------------------------------


@implements(log_density, GeometricKernel)
def _log_density(tile, params, out, scratch):
    """Log-weight plus log-density of each component k and point b; a missing cell (NaN) adds nothing."""
    for k in range(out.shape[0]):
        for b in range(tile.shape[1]):
            value = params.log_weights[k]
            for j in range(tile.shape[0]):
                if tile[j, b] == tile[j, b]:
                    value += params.constants[k, j] + params.slopes[k, j] * tile[j, b]
            out[k, b] = value


@implements(add_statistics, GeometricKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):
    """Add the tile's sums to one lane; responsibilities have the weights of the rows in them."""
    for k in range(resp.shape[0]):
        if counts[k] > 0.0:
            for j in range(tile.shape[0]):
                cells = 0.0
                total = 0.0
                for b in range(tile.shape[1]):
                    if tile[j, b] == tile[j, b]:
                        cells += resp[k, b]
                        total += resp[k, b] * tile[j, b]
                stats.cells[lane, k, j] += cells
                stats.sums[lane, k, j] += total


# --- the family: NumPy on sums and parameters -----------------------------------------------------


class Geometric(Family[GeometricParams, GeometricStatistics]):
    """Geometric distributions of independent columns: ``p (1 - p)^(x - 1)`` for x = 1, 2, ..."""

    parameters = GeometricParams
    is_surveyed = True  # look at all rows once before the fit, with `check`

    def check(self, rows: np.ndarray, first_row: int) -> None:
        wrong = ~((rows >= 1) & (rows == np.floor(rows))) & ~np.isnan(rows)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"Row {first_row + row} has {rows[row, column]:g} in column {column}: trials are counted from 1 on."
            )

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.log(rows)  # k-means finds better starts where spreads are alike

    def zeros(self, lanes: int, n_components: int, n_features: int) -> GeometricStatistics:
        shape = (n_components, n_features)
        return zeros(GeometricStatistics, lanes, cells=shape, sums=shape)

    def prepare(
        self,
        params: GeometricParams,
        about: GeometricParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        p = np.clip(params.probabilities, 1e-300, 1 - 1e-15)
        slopes, constants = np.log1p(-p), np.log(p) - np.log1p(-p)
        return Prepared(GeometricKernel(*(a.astype(dtype) for a in (slopes, constants, log_weights))), 0.0)

    def alike(self, rows: np.ndarray, n_components: int) -> GeometricParams:
        return GeometricParams(np.full((n_components, rows.shape[1]), 0.5))

    def maximize(
        self,
        stats: GeometricStatistics,
        counts: np.ndarray,
        about: GeometricParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        seen = stats.cells > 1e-12 * counts.sum()
        p = np.where(seen, stats.cells / np.where(seen, stats.sums, 1), about.probabilities)
        return Maximized(self.keep(GeometricParams(p), about, dead, frozen))

    def expected(self, params: GeometricParams, counts: np.ndarray) -> GeometricStatistics:
        cells = np.broadcast_to(counts[:, None], params.probabilities.shape)
        return GeometricStatistics(cells.copy(), cells / params.probabilities)

    def displace(self, params: GeometricParams, k: int, rng: np.random.RandomState) -> GeometricParams:
        p = params.probabilities.copy()
        p[k] = 1 / (1 + (1 / p[k] - 1) * np.exp(0.5 * rng.standard_normal(p.shape[1])))
        return GeometricParams(p)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features

    def check_params(self, params: GeometricParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.probabilities <= 0).any() or (params.probabilities > 1).any():
            raise ValueError("The parameter 'probabilities' must lie between 0 and 1.")

    def sample(self, params: GeometricParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        p = params.probabilities[k]
        return rng.geometric(p, size=(n, len(p))).astype(np.float64)

    def means(self, params: GeometricParams) -> np.ndarray:
        return 1 / params.probabilities
