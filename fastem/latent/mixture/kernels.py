"""What a mixture does to each tile: responsibilities from log-densities, their sums, results row by row."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.kernels.dispatch import add_statistics, log_density
from fastem.kernels.kernel_arguments import nested
from fastem.kernels.simd import claim, elements, fill, fma, load, maximum, prefetch, store, total
from fastem.kernels.tiles import fill_tile, n_points
from fastem.kernels.vector_math import exp, log

__all__ = ["FORBIDDEN", "LabelStatistics", "Output", "Workspace", "make_accumulate", "make_infer", "normalise"]


class LabelStatistics(NamedTuple):
    """Sums over the data: log-likelihood, weight of the rows, responsibilities (K,)."""

    log_likelihood: np.ndarray
    weight: np.ndarray
    counts: np.ndarray


# What a log-density lacks in a component that a row may not belong to: its exponential is 0.
FORBIDDEN = 1e6
# Vectors of points of weight 1 whose sums of exponentials, from 1 to K each, are multiplied before their log is taken.
_LOGS = 7


class Workspace(NamedTuple):
    """Scratch of each worker; the leading axis is the worker."""

    tiles: np.ndarray  # (workers, d, tile)
    weights: np.ndarray  # (workers, tile)
    resp: np.ndarray  # (workers, K, tile)
    counts: np.ndarray  # (workers, K)
    scratch: np.ndarray  # (workers, family's own)
    next: np.ndarray  # (1,) the lane, or the tile, that a worker takes next


class Output(NamedTuple):
    """Where `MixtureModel.infer` writes; arrays without rows are left alone."""

    log_prob: np.ndarray  # (n,)
    resp: np.ndarray  # (n, K)
    labels: np.ndarray  # (n,)


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def normalise(resp, tile_weights, rows, ahead):  # type: ignore[no-untyped-def]
    """Weighted responsibilities from log-densities, in place.

    Returns the weighted sum of ``log sum_k exp``. As this needs no memory, the rows from `ahead` on
    are asked for meanwhile, a tile of them.
    """
    w = elements(resp)
    step = _LOGS * w
    count = step * rows.shape[1] if ahead < rows.shape[0] else 0
    is_plain = _are_ones(tile_weights)
    log_likelihood = fill(load(resp, 0), 0.0)
    for b in range(0, n_points(resp), step):
        prefetch(rows, (ahead + b) * rows.shape[1], count)
        product = fill(log_likelihood, 1.0)
        for c in range(b, b + step, w):
            top, s = _exponentials(resp, c)
            weight = load(tile_weights, c)
            _scale(resp, c, weight / s)
            if is_plain:
                product = product * s
                log_likelihood = log_likelihood + top
            else:
                log_likelihood = fma(weight, top + log(s), log_likelihood)
        if is_plain:
            log_likelihood = log_likelihood + log(product)
    return total(log_likelihood)


@njit(error_model="numpy")
def _are_ones(tile_weights):  # type: ignore[no-untyped-def]
    w = elements(tile_weights)
    one = fill(load(tile_weights, 0), 1.0)
    s = fill(one, 0.0)
    for b in range(0, n_points(tile_weights), w):
        gap = load(tile_weights, b) - one
        s = fma(gap, gap, s)
    return total(s) == 0.0


@njit(error_model="numpy")
def _exponentials(resp, b):  # type: ignore[no-untyped-def]
    """Log-densities of a vector of points become exponentials of what they lack to the largest.

    Returns the largest, and the sum of the exponentials.
    """
    m = n_points(resp)
    top = load(resp, b)
    for k in range(1, resp.shape[0]):
        top = maximum(top, load(resp, k * m + b))
    s = fill(top, 0.0)
    for k in range(resp.shape[0]):
        e = exp(load(resp, k * m + b) - top)
        store(resp, k * m + b, e)
        s = s + e
    return top, s


@njit(error_model="numpy")
def _scale(resp, b, scale):  # type: ignore[no-untyped-def]
    m = n_points(resp)
    for k in range(resp.shape[0]):
        store(resp, k * m + b, load(resp, k * m + b) * scale)


@njit(error_model="numpy")
def _fill_given(given, weights, first, resp, tile_weights):  # type: ignore[no-untyped-def]
    """Weighted responsibilities of a tile's rows from given ones."""
    fill_tile(given, weights, first, resp, tile_weights)
    for k in range(resp.shape[0]):
        for b in range(resp.shape[1]):
            resp[k, b] *= tile_weights[b]


@njit(error_model="numpy")
def _add_labels(log_likelihood, resp, tile_weights, counts, stats, lane):  # type: ignore[no-untyped-def]
    """Add a tile's log-likelihood, weights and responsibilities, the latter also to `counts`."""
    stats.log_likelihood[lane] += log_likelihood
    w = elements(resp)
    m = n_points(resp)
    zero = fill(load(resp, 0), 0.0)
    for k in range(resp.shape[0]):
        s = zero
        for b in range(0, m, w):
            s = s + load(resp, k * m + b)
        counts[k] = total(s)
        stats.counts[lane, k] += counts[k]
    s = zero
    for b in range(0, m, w):
        s = s + load(tile_weights, b)
    stats.weight[lane] += total(s)


@njit(error_model="numpy")
def _forbid(allowed, first, resp):  # type: ignore[no-untyped-def]
    """Log-densities that leave nothing to the components a row may not belong to.

    Each row's largest log-density stays finite, so that it is safe from what is forbidden.
    """
    n_components = resp.shape[0]
    for b in range(min(resp.shape[1], allowed.shape[0] - first)):
        top = -math.inf
        for k in range(n_components):
            if allowed[first + b, k] != 0:
                top = max(top, resp[k, b])
        for k in range(n_components):
            if allowed[first + b, k] == 0:
                resp[k, b] = top - FORBIDDEN


def make_accumulate(key: str) -> Callable[..., Any]:
    def accumulate(worker, values):  # type: ignore[no-untyped-def]
        """Sums of some lanes' tiles; tile t of the data belongs to lane ``t % lanes``.

        Responsibilities are those of the parameters, unless they are `given` (rows, K), among the
        components that each row is `allowed` (rows, K; none: all). Workers take the next lane when
        they are done with one: no core waits for a busy one.
        """
        _key = key
        rows, given, allowed, weights, span, params, family_stats, stats, work = nested(values)
        m = n_points(work.tiles)
        n_tiles = (rows.shape[0] + m - 1) // m
        n_lanes = stats.weight.shape[0]
        tile = work.tiles[worker]
        tile_weights = work.weights[worker]
        resp = work.resp[worker]
        counts = work.counts[worker]
        scratch = work.scratch[worker]
        lane = claim(work.next)
        while lane < span[1]:
            for t in range((lane - span[0]) % n_lanes, n_tiles, n_lanes):
                if not fill_tile(rows, weights, t * m, tile, tile_weights):
                    continue
                log_density(tile, params, resp, scratch)
                log_likelihood = 0.0
                if given.shape[0] > 0:
                    _fill_given(given, weights, t * m, resp, tile_weights)
                else:
                    if allowed.shape[0] > 0:
                        _forbid(allowed, t * m, resp)
                    log_likelihood = normalise(resp, tile_weights, rows, (t + n_lanes) * m)
                _add_labels(log_likelihood, resp, tile_weights, counts, stats, lane)
                add_statistics(tile, resp, counts, params, family_stats, lane, scratch)
            lane = claim(work.next)

    return accumulate


def make_infer(key: str) -> Callable[..., Any]:
    def infer(worker, values):  # type: ignore[no-untyped-def]
        """Log-densities, responsibilities and labels of rows, as far as `out` has room for them."""
        _key = key
        rows, weights, offset, params, out, work = nested(values)
        m = n_points(work.tiles)
        n_tiles = (rows.shape[0] + m - 1) // m
        tile = work.tiles[worker]
        tile_weights = work.weights[worker]
        resp = work.resp[worker]
        scratch = work.scratch[worker]
        t = claim(work.next)
        while t < n_tiles:
            first = t * m
            count = min(m, rows.shape[0] - first)
            fill_tile(rows, weights, first, tile, tile_weights)
            log_density(tile, params, resp, scratch)
            if out.labels.shape[0] > 0:
                _write_labels(resp, out.labels, first, count)
            if out.log_prob.shape[0] > 0:
                _write_log_prob(resp, offset[0], out.log_prob, first, count)
            if out.resp.shape[0] > 0:
                normalise(resp, tile_weights, rows, (t + work.counts.shape[0]) * m)
                _write_resp(resp, out.resp, first, count)
            t = claim(work.next)

    return infer


@njit(error_model="numpy")
def _write_resp(resp, out, first, count):  # type: ignore[no-untyped-def]
    for b in range(count):
        for k in range(resp.shape[0]):
            out[first + b, k] = resp[k, b]


@njit(error_model="numpy")
def _write_labels(log_densities, labels, first, count):  # type: ignore[no-untyped-def]
    for b in range(count):
        best = 0
        for k in range(1, log_densities.shape[0]):
            if log_densities[k, b] > log_densities[best, b]:
                best = k
        labels[first + b] = best


@njit(error_model="numpy")
def _write_log_prob(log_densities, offset, log_prob, first, count):  # type: ignore[no-untyped-def]
    for b in range(count):
        top = log_densities[0, b]
        for k in range(1, log_densities.shape[0]):
            top = max(top, log_densities[k, b])
        s = 0.0
        for k in range(log_densities.shape[0]):
            s += math.exp(log_densities[k, b] - top)
        log_prob[first + b] = offset + top + math.log(s)
