"""Kernels of the structures without covariances between features: diag and spherical."""

import numpy as np
from numba import njit

from fastem.families._gaussian import Gaussian, GaussianFamily, centred, require_positive
from fastem.simd import add_totals, fill, fma, huge, lanes, load, minimum, splat, store
from fastem.tiles import n_points

__all__ = ["IndependentGaussian", "add_independent", "independent_log_density"]


@njit(error_model="numpy")
def independent_log_density(tile, params, out):  # type: ignore[no-untyped-def]
    """Log-densities of all components; ``params.roots`` are roots of precisions, (K, d)."""
    d = tile.shape[0]
    w = lanes(tile)
    for b in range(0, TILE, 2 * w):
        for k in range(out.shape[0]):
            constant = splat(params.constants, k)
            q0 = fill(constant, 0.0)
            q1 = q0
            for j in range(d):
                at = k * d + j
                root = splat(params.roots, at)
                x0 = load(tile, j * TILE + b)
                x1 = load(tile, j * TILE + b + w)
                z0 = centred(x0, params.means, params.means_low, at) * root
                z1 = centred(x1, params.means, params.means_low, at) * root
                q0 = fma(z0, z0, q0)
                q1 = fma(z1, z1, q1)
            half = fill(constant, -0.5)
            store(out, k * TILE + b, fma(minimum(q0, huge(q0)), half, constant))
            store(out, k * TILE + b + w, fma(minimum(q1, huge(q1)), half, constant))


@njit(error_model="numpy")
def add_independent(tile, resp, counts, params, first, second, stride, step, lane):  # type: ignore[no-untyped-def]
    """Add the moments of all components.

    Second moments of component k and feature j lie at ``(lane * K + k) * stride + j * step``.
    """
    d = tile.shape[0]
    n_components = resp.shape[0]
    for k in range(n_components):
        if counts[k] > 0.0:
            row = lane * n_components + k
            for j in range(d):
                s, q = _moments(tile, resp, params, j, k)
                add_totals(first, row * d + j, (s,))
                add_totals(second, row * stride + j * step, (q,))


@njit(error_model="numpy")
def _moments(tile, resp, params, j, k):  # type: ignore[no-untyped-def]
    """``sum r z`` and ``sum r z^2`` of one feature about one centre, summed up to the lanes."""
    w = lanes(tile)
    s = fill(load(tile, 0), 0.0)
    q = s
    for b in range(0, TILE, w):
        x = load(tile, j * TILE + b)
        z = centred(x, params.centres, params.centres_low, k * tile.shape[0] + j)
        y = load(resp, k * TILE + b) * z
        s = s + y
        q = fma(y, z, q)
    return s, q


class IndependentGaussian(GaussianFamily):
    """Base of the structures whose covariances are variances: everything is elementwise."""

    def covariance_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return self.second_shape(n_components, n_features)

    def unit_precisions(self, n_components: int, n_features: int) -> np.ndarray:
        return np.ones(self.second_shape(n_components, n_features))

    def factor(self, covariances: np.ndarray) -> np.ndarray:
        require_positive(covariances)
        return np.asarray(1.0 / np.sqrt(covariances))

    def invert(self, precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 1.0 / precisions, np.sqrt(precisions)

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        return factors**2

    def log_determinants(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(np.log(self.pack(factors, n_features)), axis=1)

    def traces(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        return np.sum(self.pack(factors, n_features) ** 2, axis=1)

    def sample(self, params: Gaussian, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        standard = rng.standard_normal(size=(n, params.means.shape[1]))
        return np.asarray(params.means[k] + standard * np.sqrt(params.covariances[k]))
