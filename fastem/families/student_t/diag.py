"""Multivariate t distributions with a scale of each column, and one u for a row."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.families.gaussian.diagonal import GaussianDiag
from fastem.families.gaussian.diagonal_kernels import (
    add_incomplete,
    add_independent,
    incomplete_log_density,
    independent_log_density,
)
from fastem.families.student_t.family import (
    StudentFamily,
    StudentParams,
    StudentStatistics,
    densities,
    divide_scratch,
    grow,
    incomplete_densities,
    incomplete_weigh,
    lay_out,
    weigh,
)
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.simd import add_totals, elements, fill, huge, load, splat, store, where_greater
from fastem.kernels.tiles import n_points

__all__ = ["StudentTDiag"]


class DiagStudentKernel(NamedTuple):
    """Parameters of Gaussians with constants 0, three tables (K, d + 1), inverse degrees of freedom (K,)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray


class DiagStudentIncomplete(NamedTuple):
    """The same for rows with missing cells, with the logarithms of the scales (K, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    offsets: np.ndarray
    log_weights: np.ndarray
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray
    log_scales: np.ndarray


@implements(log_density, DiagStudentKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    q, logs, _, _, _ = divide_scratch(scratch, out.shape[0], n_points(tile))
    independent_log_density(tile, params, q)
    grow(params, q, logs)
    for k in range(out.shape[0]):
        densities(params, k, logs, out)


@implements(add_statistics, DiagStudentKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    q, logs, _, _, _ = divide_scratch(scratch, resp.shape[0], n_points(tile))
    for k in range(resp.shape[0]):
        weigh(params, k, q, logs, resp, stats, lane)
    add_independent(tile, q, counts, params, stats.first, stats.second, tile.shape[0], 1, lane)


@njit(error_model="numpy")
def _count_missing(tile, holes):  # type: ignore[no-untyped-def]
    """Missing cells of each point."""
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    one = fill(zero, 1.0)
    for b in range(0, m, elements(tile)):
        s = zero
        for j in range(tile.shape[0]):
            x = load(tile, j * m + b)
            s = s + where_greater(x, zero - huge(x), zero, one)
        store(holes, b, s)


@njit(error_model="numpy")
def _add_scales(tile, params, k, out):  # type: ignore[no-untyped-def]
    """Add the logarithms of the scales of missing cells, which the constants hold."""
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    for b in range(0, m, elements(tile)):
        s = load(out, k * m + b)
        for j in range(tile.shape[0]):
            x = load(tile, j * m + b)
            s = s + where_greater(x, zero - huge(x), zero, splat(params.log_scales, k * tile.shape[0] + j))
        store(out, k * m + b, s)


@njit(error_model="numpy")
def _add_holes(tile, resp, k, sums, at):  # type: ignore[no-untyped-def]
    """Add the responsibilities of missing cells."""
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    for j in range(tile.shape[0]):
        s = zero
        for b in range(0, m, elements(tile)):
            x = load(tile, j * m + b)
            s = s + where_greater(x, zero - huge(x), zero, load(resp, k * m + b))
        add_totals(sums, at + j, (s,))


@implements(log_density, DiagStudentIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    q, logs, laid, holes, _ = divide_scratch(scratch, out.shape[0], n_points(tile))
    incomplete_log_density(tile, params, q)
    grow(params, q, logs)
    _count_missing(tile, holes)
    for k in range(out.shape[0]):
        lay_out(params, k, holes, laid)
        incomplete_densities(k, laid, logs, out)
        _add_scales(tile, params, k, out)


@implements(add_statistics, DiagStudentIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    n_components = resp.shape[0]
    d = tile.shape[0]
    q, logs, laid, holes, _ = divide_scratch(scratch, n_components, n_points(tile))
    for k in range(n_components):
        lay_out(params, k, holes, laid)
        incomplete_weigh(params, k, laid, q, logs, resp, stats, lane)
        _add_holes(tile, resp, k, stats.holes, (lane * n_components + k) * d)
    add_incomplete(tile, q, counts, params, stats, d, 1, lane)


class StudentTDiag(StudentFamily):
    __doc__ = (StudentFamily.__doc__ or "") + "\n\nEach column has a scale of its own, with one u for a row."
    gaussian = GaussianDiag

    def _kernel(self, gaussians: Any, params: StudentParams, tables: tuple[np.ndarray, ...]) -> Any:
        kind: Any = DiagStudentKernel
        if not hasattr(gaussians, "offsets"):
            return kind(*gaussians, *tables)
        kind, dtype = DiagStudentIncomplete, gaussians.offsets.dtype
        # the distances alone
        nothing = gaussians._replace(offsets=np.zeros_like(gaussians.offsets), log_weights=np.zeros_like(tables[3]))
        return kind(*nothing, *tables, (0.5 * np.log(params.scales)).astype(dtype))

    def _rescale(
        self, scales: np.ndarray, stats: StudentStatistics, counts: np.ndarray, dead: np.ndarray
    ) -> np.ndarray:
        """Of a column's own cells: the sum of r, in units of the mean u, takes the place of that of r u."""
        if not stats.holes.any():
            return scales
        alphas = stats.scales / np.where(counts > 0, counts, 1.0)
        cells = np.maximum(stats.scales[:, None] - stats.absent, 0)
        wanted = (counts[:, None] - stats.holes) * alphas[:, None]
        some = (cells > 0) & (wanted > 0) & ~dead[:, None]
        factors = np.where(some, cells / np.where(some, wanted, 1.0), 1.0)
        return np.asarray(scales * factors)
