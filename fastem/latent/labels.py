"""Independent hidden labels, a mixture: the passes over the data, generic over the family."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.dispatch import add_statistics, compile_pass, log_density
from fastem.elementary import exp, log
from fastem.family import LEAST_POSSIBLE, Family, Maximized
from fastem.memory import aligned_zeros
from fastem.nesting import flat, nested
from fastem.pace import Pace
from fastem.simd import claim, fill, fma, lanes, load, maximum, prefetch, store, total
from fastem.statistics import add_lanes, are_finite, scale, zeros
from fastem.threads import choose
from fastem.tiles import fill_tile, n_lanes, n_points, tile_rows

__all__ = ["LabelStatistics", "MixtureModel", "MixtureParams", "Output", "Shape", "Statistics"]


class MixtureParams(NamedTuple):
    """Parameters of a mixture: weights (K,) and the family's parameters."""

    weights: np.ndarray
    components: Any


class LabelStatistics(NamedTuple):
    """Sums over the data: log-likelihood, weight of the rows, responsibilities (K,)."""

    log_likelihood: np.ndarray
    weight: np.ndarray
    counts: np.ndarray


# What a log-density lacks in a component that a row may not belong to: its exponential is 0.
FORBIDDEN = 1e6


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
def _normalise(resp, tile_weights, rows, ahead):  # type: ignore[no-untyped-def]
    """Weighted responsibilities from log-densities, in place.

    Returns the weighted sum of ``log sum_k exp``. As this needs no memory, the rows from `ahead` on
    are asked for meanwhile, a tile of them.
    """
    n_components = resp.shape[0]
    w = lanes(resp)
    m = n_points(resp)
    count = w * rows.shape[1] if ahead < rows.shape[0] else 0
    log_likelihood = fill(load(resp, 0), 0.0)
    for b in range(0, m, w):
        prefetch(rows, (ahead + b) * rows.shape[1], count)
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
    """Add a tile's log-likelihood, weights and responsibilities, the latter also to `counts`."""
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


def _make_accumulate(key: str) -> Callable[..., Any]:
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
                    log_likelihood = _normalise(resp, tile_weights, rows, (t + n_lanes) * m)
                _add_labels(log_likelihood, resp, tile_weights, counts, stats, lane)
                add_statistics(tile, resp, counts, params, family_stats, lane, scratch)
            lane = claim(work.next)

    return accumulate


def _make_infer(key: str) -> Callable[..., Any]:
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
                _normalise(resp, tile_weights, rows, (t + work.counts.shape[0]) * m)
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

    def apply(
        self,
        family: Family[Any, Any],
        params: MixtureParams,
        dead: np.ndarray,
        held: frozenset[str] = frozenset(),
        has_prior: bool = False,
    ) -> MixtureParams:
        """Parameters after some components died; what is `held` stays, and with a prior their weights do."""
        weights, components = params
        weights = weights.copy() if has_prior else np.where(dead, 0.0, weights)
        for k in np.flatnonzero(dead):
            self.deaths.append(int(k))
            if self.left == 0:
                continue
            self.left -= 1
            heaviest = int(np.argmax(np.where(dead, -1.0, weights)))
            components = family.hold(family.split(components, int(k), heaviest, self.rng), components, held)
            weights[k] = weights[heaviest] = (weights[heaviest] + weights[k]) / 2
        if "weights" in held:
            return MixtureParams(params.weights, components)
        return MixtureParams(weights / weights.sum(), components)


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
    weight_prior : float, default=1
        Concentration of a Dirichlet prior on the weights.
    held : frozenset of str
        Parameters that keep their values.
    unit : float, default=1
        Weight that counts as 1 in the statistics; a prior's observations have weight 1.
    """

    def __init__(
        self,
        family: Family[Any, Any],
        n_components: int,
        weight_prior: float = 1.0,
        held: frozenset[str] = frozenset(),
        unit: float = 1.0,
    ):
        self.family = family
        self.n_components = n_components
        self.weight_prior = weight_prior
        self.held = held
        self.unit = unit

    def of(self, family: Family[Any, Any]) -> "MixtureModel":
        """The same of another family."""
        return MixtureModel(family, self.n_components, self.weight_prior, self.held, self.unit)

    def in_unit(self, unit: float) -> "MixtureModel":
        """The same for statistics in another unit."""
        return MixtureModel(self.family, self.n_components, self.weight_prior, self.held, unit)

    def accumulate(
        self, params: MixtureParams, about: MixtureParams, shape: Shape, missing: bool = False
    ) -> "AccumulatePass":
        """A pass that computes responsibilities by `params`, moments about `about`; cells may be `missing`."""
        return AccumulatePass(self, params, about, shape, missing)

    def infer(self, params: MixtureParams, shape: Shape, missing: bool = False) -> "InferPass":
        """A pass that writes results of each row."""
        return InferPass(self, params, params, shape, missing)

    def memory(self, shape: Shape) -> int:
        """Bytes that a fit takes beside the data: sums of all lanes, scratch, a few parameters."""
        k, d, m = self.n_components, shape.n_features, tile_rows(shape.dtype)
        lane = self.family.statistics_bytes(k, d)
        scratch = shape.n_threads * ((d + k) * m + self.family.scratch(k, d, m)) * shape.dtype.itemsize
        return lane * (n_lanes(lane) + 1) + scratch + 6 * self.family.parameter_bytes(k, d)

    def with_base(self, stats: Statistics, base: float) -> Statistics:
        """Statistics with the part of the log-likelihood that kernels leave out."""
        labels = stats.labels._replace(log_likelihood=stats.labels.log_likelihood + base)
        return stats._replace(labels=labels)

    def objective(self, stats: Statistics, params: MixtureParams) -> float:
        """Mean log-likelihood of a row, with a share of the parameters' log prior density.

        -inf if a row is impossible under all components.
        """
        if stats.labels.log_likelihood < LEAST_POSSIBLE and self.family.excludes(params.components):
            return -math.inf
        prior = self.family.log_prior(params.components)
        if self.weight_prior != 1:
            with np.errstate(divide="ignore"):
                prior += (self.weight_prior - 1) * float(np.sum(np.log(params.weights)))
        return float((stats.labels.log_likelihood + prior / self.unit) / stats.labels.weight)

    def recentre(self, stats: Statistics, about: MixtureParams, shape: Shape) -> MixtureParams | None:
        """A better reference point for the moments, where they lost accuracy."""
        counts = stats.labels.counts
        components = self.family.recentre(stats.family, counts, about.components, shape.dtype, self.held)
        return None if components is None else about._replace(components=components)

    def maximize(self, stats: Statistics, about: MixtureParams, policy: DeathPolicy) -> Maximized:
        """M-step."""
        has_prior = self.weight_prior != 1
        if self.unit != 1 and (has_prior or self.family.has_prior):
            return self.in_unit(1.0).maximize(scale(stats, self.unit), about, policy)
        counts, weight = stats.labels.counts, float(stats.labels.weight)
        dead = counts <= 10 * np.finfo(np.float64).eps * weight
        result = self.family.maximize(stats.family, counts, about.components, dead, self.held)
        weights = about.weights if "weights" in self.held else self._weights(counts)
        params = MixtureParams(weights, result.params)
        if dead.any():
            params = policy.apply(self.family, params, dead & (about.weights > 0), self.held, has_prior)
        return Maximized(params, result.slack / weight)

    def _weights(self, counts: np.ndarray) -> np.ndarray:
        expected = np.maximum(counts + self.weight_prior - 1, 0)
        return np.asarray(expected / expected.sum())

    def about(self, rows: np.ndarray) -> MixtureParams:
        """Parameters that are alike in all components, to make a first M-step about, from some rows."""
        weights = np.full(self.n_components, 1 / self.n_components)
        return MixtureParams(weights, self.family.about(rows, self.n_components))


class _Pass:
    """One walk over the data: its kernel, its scratch, its sums."""

    make: Callable[[str], Callable[..., Any]]

    def __init__(self, model: MixtureModel, params: MixtureParams, about: MixtureParams, shape: Shape, missing: bool):
        family, k, d = model.family, model.n_components, shape.n_features
        with np.errstate(divide="ignore", under="ignore"):
            log_weights = np.log(params.weights)
            self.prepared = family.prepare(params.components, about.components, log_weights, shape.dtype, missing)
        self.twins = compile_pass(type(self).make, self.prepared.params)
        self.n_threads = shape.n_threads
        n, m = shape.n_threads, tile_rows(shape.dtype)
        scratch = (family.incomplete_scratch if missing else family.scratch)(k, d, m)
        self.work = Workspace(
            aligned_zeros((n, d, m), shape.dtype),
            aligned_zeros((n, m), shape.dtype),
            aligned_zeros((n, k, m), shape.dtype),
            np.empty((n, k)),
            aligned_zeros((n, -(-scratch // m) * m), shape.dtype),
            np.zeros(1, np.int64),
        )


class AccumulatePass(_Pass):
    make = staticmethod(_make_accumulate)

    def __init__(self, model: MixtureModel, params: MixtureParams, about: MixtureParams, shape: Shape, missing: bool):
        super().__init__(model, params, about, shape, missing)
        k, d = model.n_components, shape.n_features
        n = n_lanes(model.family.statistics_bytes(k, d))
        self.family_stats = model.family.zeros(n, k, d)
        self.kernel_stats = model.family.kernel_statistics(self.family_stats)
        self.stats = zeros(LabelStatistics, n, log_likelihood=(), weight=(), counts=(k,))

    def add(
        self,
        first_row: int,
        rows: np.ndarray,
        weights: np.ndarray,
        pace: Pace,
        given: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
    ) -> None:
        """Add rows, of which the first has number `first_row`, a multiple of a tile's.

        Responsibilities can be `given`, shape (rows, K), or only some components be `allowed`,
        uint8 of the same shape.
        """
        k = len(self.stats.counts[0])
        resp = _read_only(np.empty((0, k)) if given is None else given, rows.dtype)
        masks = _read_only(np.empty((0, k)) if allowed is None else allowed, np.dtype(np.uint8))
        m = tile_rows(rows.dtype)
        for first, end, lane, last in pace.by_lanes(-(-len(rows) // m), len(self.stats.weight), self.n_threads):
            some = slice(first * m, end * m)
            self.work.next[0] = lane
            span = np.array([first_row // m + first, last])
            sums = (self.kernel_stats, self.stats, self.work)
            values = flat((rows[some], resp[some], masks[some], weights[some], span, self.prepared.params, *sums))
            with choose(self.twins, self.n_threads) as run:
                run(self.n_threads, values)

    def is_finite(self) -> bool:
        """Whether all sums are: each cell of complete data goes into them, if its row has weight."""
        return are_finite(self.family_stats)

    def finish(self) -> Statistics:
        """The sums over all rows that were added."""
        labels = add_lanes(self.stats)
        log_likelihood = labels.log_likelihood + self.prepared.offset * labels.weight
        return Statistics(labels._replace(log_likelihood=log_likelihood), add_lanes(self.family_stats))


class InferPass(_Pass):
    make = staticmethod(_make_infer)

    def add(self, rows: np.ndarray, out: Output, pace: Pace) -> None:
        """Write the results of rows to `out`, whose arrays have as many rows, or none."""
        none = _read_only(np.empty(0), rows.dtype)
        offset = np.array([self.prepared.offset])
        m = tile_rows(rows.dtype)
        for first, end in pace.by_rows(-(-len(rows) // m)):
            some = slice(first * m, end * m)
            part = Output(*(array[some] for array in out))
            self.work.next[0] = 0
            values = flat((rows[some], none, offset, self.prepared.params, part, self.work))
            with choose(self.twins, self.n_threads) as run:
                run(self.n_threads, values)


def _read_only(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view
