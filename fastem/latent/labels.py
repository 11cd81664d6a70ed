"""Independent hidden labels, a mixture: the passes over the data, generic over the family."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from fastem.dispatch import add_statistics, compile_pass, log_density
from fastem.elementary import exp, log
from fastem.family import Family, Maximized
from fastem.pace import Pace
from fastem.simd import claim, fill, fma, lanes, load, maximum, store, total
from fastem.statistics import add_lanes, zeros
from fastem.threads import choose
from fastem.tiles import fill_tile, n_lanes, n_points, tile_rows

__all__ = ["LabelStatistics", "Mixture", "MixtureModel", "Output", "Shape", "Statistics"]


class Mixture(NamedTuple):
    """Parameters of a mixture: weights (K,) and the family's parameters."""

    weights: np.ndarray
    components: Any


class LabelStatistics(NamedTuple):
    """Sums over the data: log-likelihood, weight of the rows, responsibilities (K,)."""

    log_likelihood: np.ndarray
    weight: np.ndarray
    counts: np.ndarray


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
def _normalise(resp, tile_weights):  # type: ignore[no-untyped-def]
    """Weighted responsibilities from log-densities, in place.

    Returns the weighted sum of ``log sum_k exp``.
    """
    n_components = resp.shape[0]
    w = lanes(resp)
    m = n_points(resp)
    log_likelihood = fill(load(resp, 0), 0.0)
    for b in range(0, m, w):
        top = load(resp, b)
        for k in range(1, n_components):
            top = maximum(top, load(resp, k * m + b))
        s = fill(top, 0.0)
        for k in range(n_components):
            e = exp(load(resp, k * m + b) - top)
            store(resp, k * m + b, e)
            s = s + e
        weight = load(tile_weights, b)
        log_likelihood = fma(weight, top + log(s), log_likelihood)
        scale = weight / s
        for k in range(n_components):
            store(resp, k * m + b, load(resp, k * m + b) * scale)
    return total(log_likelihood)


@njit(error_model="numpy")
def _fill_given(given, weights, first, resp, tile_weights):  # type: ignore[no-untyped-def]
    """Weighted responsibilities of a tile's rows from given ones."""
    fill_tile(given, weights, first, resp, tile_weights)
    for k in range(resp.shape[0]):
        for b in range(resp.shape[1]):
            resp[k, b] *= tile_weights[b]


@njit(error_model="numpy")
def _add_labels(log_likelihood, resp, tile_weights, counts, stats, lane):  # type: ignore[no-untyped-def]
    """Add a tile's log-likelihood, weights and responsibilities, the latter also to `counts`.

    Like all that writes through a NamedTuple it is a function: directly inside a prange, Numba
    loses the writes.
    """
    stats.log_likelihood[lane] += log_likelihood
    w = lanes(resp)
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


def _make_accumulate(key: str) -> Callable[..., Any]:
    def accumulate(rows, given, weights, first_tile, end_lane, params, family_stats, stats, work):  # type: ignore[no-untyped-def]
        """Sums of some lanes' tiles; tile t of the data belongs to lane ``t % lanes``.

        Responsibilities are those of the parameters, unless they are `given` (rows, K). Workers
        take the next lane when they are done with one: no core waits for a busy one.
        """
        _key = key
        m = n_points(work.tiles)
        n_tiles = (rows.shape[0] + m - 1) // m
        n_lanes = stats.weight.shape[0]
        n_workers = work.tiles.shape[0]
        for worker in prange(n_workers):
            tile = work.tiles[worker]
            tile_weights = work.weights[worker]
            resp = work.resp[worker]
            counts = work.counts[worker]
            scratch = work.scratch[worker]
            lane = claim(work.next)
            while lane < end_lane:
                for t in range((lane - first_tile) % n_lanes, n_tiles, n_lanes):
                    log_likelihood = 0.0
                    if given.shape[0] > 0:
                        _fill_given(given, weights, t * m, resp, tile_weights)
                        fill_tile(rows, weights, t * m, tile, tile_weights)
                    else:
                        fill_tile(rows, weights, t * m, tile, tile_weights)
                        log_density(tile, params, resp, scratch)
                        log_likelihood = _normalise(resp, tile_weights)
                    _add_labels(log_likelihood, resp, tile_weights, counts, stats, lane)
                    add_statistics(tile, resp, counts, params, family_stats, lane, scratch)
                lane = claim(work.next)

    return accumulate


def _make_infer(key: str) -> Callable[..., Any]:
    def infer(rows, weights, params, offset, out, work):  # type: ignore[no-untyped-def]
        """Log-densities, responsibilities and labels of rows, as far as `out` has room for them."""
        _key = key
        m = n_points(work.tiles)
        n_tiles = (rows.shape[0] + m - 1) // m
        n_workers = work.tiles.shape[0]
        for worker in prange(n_workers):
            tile = work.tiles[worker]
            tile_weights = work.weights[worker]
            resp = work.resp[worker]
            t = claim(work.next)
            while t < n_tiles:
                first = t * m
                count = min(m, rows.shape[0] - first)
                fill_tile(rows, weights, first, tile, tile_weights)
                log_density(tile, params, resp, work.scratch[worker])
                if out.labels.shape[0] > 0:
                    _write_labels(resp, out.labels, first, count)
                if out.log_prob.shape[0] > 0:
                    _write_log_prob(resp, offset, out.log_prob, first, count)
                if out.resp.shape[0] > 0:
                    _normalise(resp, tile_weights)
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


# --- the model --------------------------------------------------------------------------------


class Statistics(NamedTuple):
    """Everything an M-step needs."""

    labels: LabelStatistics
    family: Any


class DeathPolicy:
    """What becomes of components that lose all their weight.

    The first `reseeds` deaths of a run put the component beside the heaviest one, which it shares;
    after that a dead component keeps its parameters and weight 0.
    """

    def __init__(self, reseeds: int):
        self.left = reseeds
        self.rng = np.random.RandomState(0)
        self.deaths: list[int] = []

    def apply(self, family: Family[Any, Any], params: Mixture, dead: np.ndarray) -> Mixture:
        weights, components = params
        weights = np.where(dead, 0.0, weights)
        for k in np.flatnonzero(dead):
            self.deaths.append(int(k))
            if self.left == 0:
                continue
            self.left -= 1
            heaviest = int(np.argmax(weights))
            components = family.split(components, int(k), heaviest, self.rng)
            weights[k] = weights[heaviest] = weights[heaviest] / 2
        return Mixture(weights / weights.sum(), components)


class Shape(NamedTuple):
    """What a pass must know of the data: features, kernel dtype, threads to use."""

    n_features: int
    dtype: np.dtype[Any]
    n_threads: int


class MixtureModel:
    """A mixture of components of one family: the model contract of `fastem.em`.

    Parameters
    ----------
    family : Family
    n_components : int
    """

    def __init__(self, family: Family[Any, Any], n_components: int):
        self.family = family
        self.n_components = n_components

    def accumulate(self, params: Mixture, about: Mixture, shape: Shape) -> "AccumulatePass":
        """A pass that computes responsibilities by `params`, moments about `about`."""
        return AccumulatePass(self, params, about, shape)

    def infer(self, params: Mixture, shape: Shape) -> "InferPass":
        """A pass that writes results of each row."""
        return InferPass(self, params, params, shape)

    def memory(self, shape: Shape) -> int:
        """Bytes that a fit takes beside the data: sums of all lanes, scratch, a few parameters."""
        k, d, m = self.n_components, shape.n_features, tile_rows(shape.dtype)
        lane = self.family.statistics_bytes(k, d)
        scratch = shape.n_threads * ((d + k) * m + self.family.scratch(d, m)) * shape.dtype.itemsize
        return lane * (n_lanes(lane) + 1) + scratch + 6 * self.family.parameter_bytes(k, d)

    def objective(self, stats: Statistics) -> float:
        """Mean log-likelihood of a row."""
        return float(stats.labels.log_likelihood / stats.labels.weight)

    def recentre(self, stats: Statistics, about: Mixture, shape: Shape) -> Mixture | None:
        """A better reference point for the moments, where they lost accuracy."""
        components = self.family.recentre(stats.family, stats.labels.counts, about.components, shape.dtype)
        return None if components is None else about._replace(components=components)

    def maximize(self, stats: Statistics, about: Mixture, policy: DeathPolicy) -> Maximized:
        """M-step."""
        counts, weight = stats.labels.counts, float(stats.labels.weight)
        dead = counts <= 10 * np.finfo(np.float64).eps * weight
        result = self.family.maximize(stats.family, counts, about.components, dead)
        params = Mixture(counts / counts.sum(), result.params)
        if dead.any():
            params = policy.apply(self.family, params, dead & (about.weights > 0))
        return Maximized(params, result.slack / weight)

    def about(self, location: np.ndarray) -> Mixture:
        """Parameters to centre the moments of a first M-step at."""
        weights = np.full(self.n_components, 1 / self.n_components)
        return Mixture(weights, self.family.about(location, self.n_components))


class _Pass:
    """One walk over the data: its kernel, its scratch, its sums."""

    make: Callable[[str], Callable[..., Any]]

    def __init__(self, model: MixtureModel, params: Mixture, about: Mixture, shape: Shape):
        family, k, d = model.family, model.n_components, shape.n_features
        with np.errstate(divide="ignore", under="ignore"):
            log_weights = np.log(params.weights)
            self.prepared = family.prepare(params.components, about.components, log_weights, shape.dtype)
        self.twins = compile_pass(type(self).make, family.kernel_parameters)
        self.n_threads = shape.n_threads
        n, m = shape.n_threads, tile_rows(shape.dtype)
        self.work = Workspace(
            np.empty((n, d, m), shape.dtype),
            np.empty((n, m), shape.dtype),
            np.empty((n, k, m), shape.dtype),
            np.empty((n, k)),
            np.empty((n, family.scratch(d, m)), shape.dtype),
            np.zeros(1, np.int64),
        )


class AccumulatePass(_Pass):
    make = staticmethod(_make_accumulate)

    def __init__(self, model: MixtureModel, params: Mixture, about: Mixture, shape: Shape):
        super().__init__(model, params, about, shape)
        k, d = model.n_components, shape.n_features
        n = n_lanes(model.family.statistics_bytes(k, d))
        self.family_stats = model.family.zeros(n, k, d)
        self.stats = zeros(LabelStatistics, n, log_likelihood=(), weight=(), counts=(k,))
        self._none = np.empty((0, k), shape.dtype)
        self._none.flags.writeable = False

    def add(
        self, first_row: int, rows: np.ndarray, weights: np.ndarray, pace: Pace, given: np.ndarray | None = None
    ) -> None:
        """Add rows, of which the first has number `first_row`, a multiple of a tile's.

        Responsibilities can be `given`, shape (rows, K).
        """
        resp = self._none if given is None else given
        m = tile_rows(rows.dtype)
        params = self.prepared.params
        for first, end, lane, last in pace.by_lanes(-(-len(rows) // m), len(self.stats.weight), self.n_threads):
            some = slice(first * m, end * m)
            self.work.next[0] = lane
            with choose(self.twins, self.n_threads) as kernel:
                kernel(
                    rows[some], resp[some], weights[some], first_row // m + first, last,
                    params, self.family_stats, self.stats, self.work,
                )  # fmt: skip

    def is_finite(self) -> bool:
        """Whether all sums are: each cell of the data goes into them."""
        return all(np.isfinite(field).all() for field in self.family_stats)

    def finish(self) -> Statistics:
        """The sums over all rows that were added."""
        labels = add_lanes(self.stats)
        log_likelihood = labels.log_likelihood + self.prepared.offset * labels.weight
        return Statistics(labels._replace(log_likelihood=log_likelihood), add_lanes(self.family_stats))


class InferPass(_Pass):
    make = staticmethod(_make_infer)

    def add(self, rows: np.ndarray, out: Output, pace: Pace) -> None:
        """Write the results of rows to `out`, whose arrays have as many rows, or none."""
        none = np.empty(0, rows.dtype)
        none.flags.writeable = False
        m = tile_rows(rows.dtype)
        for first, end in pace.by_rows(-(-len(rows) // m)):
            some = slice(first * m, end * m)
            part = Output(*(array[some] for array in out))
            self.work.next[0] = 0
            with choose(self.twins, self.n_threads) as kernel:
                kernel(rows[some], none, self.prepared.params, self.prepared.offset, part, self.work)
