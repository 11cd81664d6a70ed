"""Multivariate t distributions with a scale matrix in each component."""

from typing import Any, NamedTuple

import numpy as np

from fastem.families.gaussian.conditional_kernels import add_conditional, distances, divide
from fastem.families.gaussian.triangular import GaussianFull
from fastem.families.gaussian.triangular_kernels import add_triangular, triangular_log_density
from fastem.families.student_t.family import (
    StudentFamily,
    StudentParams,
    densities,
    divide_scratch,
    grow,
    incomplete_densities,
    incomplete_weigh,
    lay_out,
    weigh,
)
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.simd import elements, load, store
from fastem.kernels.tiles import n_points

__all__ = ["StudentTFull"]


class FullStudentKernel(NamedTuple):
    """Parameters of Gaussians with constants 0, three tables (K, d + 1), inverse degrees of freedom (K,)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factors: np.ndarray
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray


class FullStudentIncomplete(NamedTuple):
    """The same for rows with missing cells."""

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
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray


@implements(log_density, FullStudentKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    q, logs, _, _, rest = divide_scratch(scratch, out.shape[0], n_points(tile))
    triangular_log_density(tile, params, params.factors, params.factors.shape[1], q, rest)
    grow(params, q, logs)
    for k in range(out.shape[0]):
        densities(params, k, logs, out)


@implements(add_statistics, FullStudentKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    n_components = resp.shape[0]
    stride = stats.second.shape[2]
    at = lane * n_components * stride
    q, logs, _, _, rest = divide_scratch(scratch, n_components, n_points(tile))
    for k in range(n_components):
        weigh(params, k, q, logs, resp, stats, lane)
    add_triangular(tile, q, counts, params, stats.first, stats.second, at, stride, lane, rest)


@implements(log_density, FullStudentIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    q, logs, laid, _, rest = divide_scratch(scratch, out.shape[0], m)
    distances(tile, params, params.factors, params.factors.shape[1], q, rest)
    grow(params, q, logs)
    _, _, adds, holes, _, _, _, _, _, _ = divide(rest, out.shape[0], tile.shape[0], m)
    for k in range(out.shape[0]):
        lay_out(params, k, holes, laid)
        incomplete_densities(k, laid, logs, out)
        for b in range(0, m, elements(tile)):
            store(out, k * m + b, load(out, k * m + b) + load(adds, k * m + b))


@implements(add_statistics, FullStudentIncomplete)
def _add_incomplete(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    n_components = resp.shape[0]
    stride = stats.second.shape[2]
    at = lane * n_components * stride
    m = n_points(tile)
    q, logs, laid, _, rest = divide_scratch(scratch, n_components, m)
    _, _, _, holes, _, _, _, _, _, _ = divide(rest, n_components, tile.shape[0], m)
    for k in range(n_components):
        lay_out(params, k, holes, laid)
        incomplete_weigh(params, k, laid, q, logs, resp, stats, lane)
    add_conditional(tile, q, resp, counts, params, stats.first, stats.second, at, stride, lane, rest)


class StudentTFull(StudentFamily):
    __doc__ = (StudentFamily.__doc__ or "") + "\n\nEach component has a scale matrix of its own."
    gaussian = GaussianFull

    def _kernel(self, gaussians: Any, params: StudentParams, tables: tuple[np.ndarray, ...]) -> Any:
        kind: Any = FullStudentIncomplete if hasattr(gaussians, "places") else FullStudentKernel
        return kind(*gaussians, *tables)
