"""Negative binomial counts over exposures: densities, sums, and their M-step.

The log-likelihood under given responsibilities depends on sums over rows of ``log(1 + e m / s)``,
with a weight and with the count, at any mean m and size s. They are smooth on the scale of e, so each
row is shared among `NODES` exposures of its range, an eighth of an octave wide, with errors below
1e-14: sums at these nodes are all that an M-step needs, and it goes all the way up without a further
pass. Where e m is small beside s, towards Poisson's distribution, polynomials of e are left, which
are interpolated exactly. Gamma functions of counts come from histograms, as without exposures.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.dispatch import add_statistics, implements, log_density
from fastem.elementary import gap, log
from fastem.families._counts import NODES, Rising, rises
from fastem.families._lookup import LookupStatistics
from fastem.families._side_by_side import n_padded, turn_block
from fastem.families._special import gap as gap_of
from fastem.families._special import log_minus_psi
from fastem.memory import aligned_zeros
from fastem.simd import (
    BLOCK,
    add_wide,
    fill,
    huge,
    lanes,
    load,
    load_block,
    maximum,
    minimum,
    splat,
    splat_block,
    store,
    store_places,
    total,
    where_greater,
)
from fastem.tiles import n_points

__all__ = ["ExposedKernel", "ExposedStatistics", "ExposedSums", "ExposureTable", "ascend", "exposure_table"]

# There are as many nodes in a range as numbers in a block.
_WIDTH = float(np.log(2)) / 8  # of a range of logarithms
_GROWTH = float(np.exp(_WIDTH))
_ANGLES = (np.arange(NODES) + 0.5) * np.pi / NODES
_KNOTS = np.cos(_ANGLES)  # Chebyshev's, in a range from -1 to 1
_FACTORS = (-1.0) ** np.arange(NODES) * np.sin(_ANGLES)  # of barycentric interpolation


class ExposedKernel(NamedTuple):
    """Kernel parameters of counts that are what is expected; means and sizes (K, d); where exposures lie.

    `scale` holds the inverse of the least exposure, ranges in a unit of the logarithm, and the least
    number that kernels divide by; `steps` (ranges,) turns exposures into twice a place in a range;
    `knots` and `factors` (NODES,) are those of interpolation.
    """

    counts: Any
    means: np.ndarray
    sizes: np.ndarray
    scale: np.ndarray
    steps: np.ndarray
    knots: np.ndarray
    factors: np.ndarray


class ExposedStatistics(NamedTuple):
    """Histograms of counts; at nodes of exposures, sums of responsibilities and of these times counts.

    The latter have the shape (blocks of components, d, nodes, 2, BLOCK).
    """

    counts: LookupStatistics
    exposures: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, ExposedKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    """With N = x + s and S = s + e m, less ``x log(x S / (N e m)) + s log(s S / (N s))`` of what is expected.

    Both logarithms are written as gaps, ``u - log(1 + u)``, whose first terms cancel: what is
    left is small, and not negative.
    """
    log_density(tile, params.counts, out, scratch)
    d = params.means.shape[1]
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    one = fill(zero, 1.0)
    least = splat(params.scale, 2)
    for j in range(d):
        for b in range(0, m, lanes(tile)):
            x = load(tile, j * m + b)
            store(scratch, b, one / maximum(x, one))
        for k in range(out.shape[0]):
            mean = splat(params.means, k * d + j)
            size = splat(params.sizes, k * d + j)
            for b in range(0, m, lanes(tile)):
                x = load(tile, j * m + b)
                inverse = load(scratch, b)
                expected = maximum(load(tile, (d + j) * m + b) * mean, least)
                share = one / (size + expected)
                of_size = (x - expected) * share
                of_count = (zero - of_size) * (size * inverse)
                n = size + x
                lost = gap(of_size, n * share)
                ratio = maximum((expected * share) * (n * inverse), least)
                lost = where_greater(x, zero, size * lost + x * gap(of_count, ratio), size * (lost - of_size))
                lost = where_greater(x, zero - huge(x), lost, zero)
                store(out, k * m + b, load(out, k * m + b) - lost)


@njit(error_model="numpy")
def _share_out(tile, j, params, n_nodes, shares, places):  # type: ignore[no-untyped-def]
    """Shares (m, NODES) that nodes have in the exposures of column j, and numbers of the first of these (m,).

    The number is negative where an exposure is missing.
    """
    d = params.means.shape[1]
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    last = fill(zero, n_nodes / NODES - 0.5)
    for b in range(0, m, lanes(tile)):
        e = load(tile, (d + j) * m + b)
        place = maximum(log(e * splat(params.scale, 0)) * splat(params.scale, 1), zero)
        place = where_greater(e, zero, minimum(place, last), fill(zero, -1.0))
        # scalar loops that make indices of floats wait for each of them
        store_places(places, b, place, NODES, 0)
    knots = load_block(params.knots, 0)
    for b in range(m):
        if places[b] < 0:
            continue
        place = tile[d + j, b] * params.steps[places[b] // NODES] - (2.0 / (_GROWTH - 1.0) + 1.0)
        distance = fill(knots, place) - knots
        # at a knot, all weight is its own
        distance = where_greater(distance * distance, fill(knots, 0.0), distance, fill(knots, 1e-20))
        of_nodes = load_block(params.factors, 0) / distance
        store(shares, b * NODES, of_nodes * fill(knots, 1.0 / total(of_nodes)))


@implements(add_statistics, ExposedKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    add_statistics(tile, resp, counts, params.counts, stats.counts, lane, scratch)
    d = params.means.shape[1]
    m = n_points(tile)
    n_blocks = stats.exposures.shape[1]
    n_nodes = stats.exposures.shape[3]
    for c in range(n_blocks):
        turn_block(resp, c * BLOCK, scratch[c * BLOCK * m :])
    # the room that blocks were turned in is free again
    shares = scratch[n_blocks * BLOCK * m :]
    places = shares[NODES * m : (NODES + 2) * m].view(np.int64)
    for j in range(d):
        _share_out(tile, j, params, n_nodes, shares, places)
        for c in range(n_blocks):
            first = ((lane * n_blocks + c) * d + j) * n_nodes
            for b in range(m):
                if places[b] < 0:
                    continue
                at = (first + places[b]) * (2 * BLOCK)
                r = load_block(scratch, (c * m + b) * BLOCK)
                events = r * splat_block(tile, j * m + b)
                for n in range(NODES):
                    share = splat_block(shares, b * NODES + n)
                    add_wide(stats.exposures, at, r * share)
                    add_wide(stats.exposures, at + BLOCK, events * share)
                    at += 2 * BLOCK


# --- what families do with it -----------------------------------------------------------------


class ExposureTable:
    """The exposures at which sums are made; made by `exposure_table`.

    Attributes
    ----------
    values : ndarray
        `NODES` exposures of each range.
    """

    def __init__(self, low: float, high: float):
        self.low = low
        n_ranges = int(np.log(high / low) / _WIDTH) + 2  # rounding must not lead beyond
        self.lows = low * _GROWTH ** np.arange(n_ranges)
        self.values = (self.lows[:, None] * (1 + 0.5 * (_GROWTH - 1) * (_KNOTS + 1))).ravel()

    def shape(self, n_components: int, n_columns: int) -> tuple[int, ...]:
        """Of one lane's sums."""
        return n_padded(n_components) // BLOCK, n_columns, len(self.values), 2, BLOCK

    def zeros(self, lanes: int, n_components: int, n_columns: int) -> np.ndarray:
        """Sums of no data."""
        return aligned_zeros((lanes, *self.shape(n_components, n_columns)), np.dtype(np.float64))

    def scratch(self, n_components: int, tile_rows: int) -> int:
        """Numbers of scratch space."""
        return (n_padded(n_components) + NODES + 2) * tile_rows

    def kernel(self, counts: Any, means: np.ndarray, sizes: np.ndarray, dtype: np.dtype[Any]) -> ExposedKernel:
        """Kernel parameters, from those of the counts that are expected."""
        least = float(np.finfo(dtype).tiny) * 2.0**20
        limits = least, 1 / least
        steps = 2 / ((_GROWTH - 1) * self.lows)
        fields = means, np.clip(sizes, *limits), [1 / self.low, 1 / _WIDTH, least], steps, _KNOTS, _FACTORS
        return ExposedKernel(counts, *(np.ascontiguousarray(field, dtype) for field in fields))

    def sums(self, stats: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums of responsibilities, and of these times counts, both (K, d, nodes)."""
        found = np.moveaxis(stats, -1, 1).reshape(-1, *stats.shape[1:4])[:n_components]
        return found[..., 0], found[..., 1]

    def shared(self, exposure: float) -> np.ndarray:
        """Shares of the nodes (nodes,) in a row with some exposure."""
        i = min(int(np.log(exposure / self.low) / _WIDTH), len(self.lows) - 1)
        distance = 2 * (exposure / self.lows[i] - 1) / (_GROWTH - 1) - 1 - _KNOTS
        shares = _FACTORS / np.where(distance == 0, 1e-20, distance)
        found = np.zeros(len(self.values))
        found[i * NODES : (i + 1) * NODES] = shares / shares.sum()
        return found


@cache
def exposure_table(low: float, high: float) -> ExposureTable:
    """The table of exposures between two of them."""
    return ExposureTable(low, high)


# --- the M-step -------------------------------------------------------------------------------


class ExposedSums(NamedTuple):
    """Of components' columns (n,): histograms of counts, sums at exposures (n, nodes), the exposures (nodes,)."""

    counts: Rising
    cells: np.ndarray
    events: np.ndarray
    exposures: np.ndarray

    def take(self, rows: np.ndarray) -> "ExposedSums":
        """Some of the columns."""
        counts = Rising(self.counts.above[rows], self.counts.large[rows], self.counts.nodes)
        return ExposedSums(counts, self.cells[rows], self.events[rows], self.exposures)

    def over(self, means: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Expected counts by size (n, nodes)."""
        return (means / sizes)[:, None] * self.exposures


class _Slopes(NamedTuple):
    """By log size along a curve: of the log-likelihood, of that slope, and of the log mean."""

    first: np.ndarray
    second: np.ndarray
    of_means: np.ndarray


def ascend(
    sums: ExposedSums, means: np.ndarray, sizes: np.ndarray, limits: tuple[np.ndarray, np.ndarray], held: frozenset[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Means and sizes of the largest log-likelihood, the sizes within limits; those whose names are held stay.

    Where there were several maxima, the one found might be lower than where it began: then the size
    stays, and the mean, in which there is only one, goes up.
    """
    moves = "means" not in held
    if "sizes" in held:
        return (_best_means(sums, means, sizes) if moves else means), sizes
    new_sizes = _best_sizes(sums, means, sizes, limits, moves)
    new_means = _best_means(sums, means, new_sizes) if moves else means
    before, scale = _value(sums, means, sizes)
    fell = _value(sums, new_means, new_sizes)[0] < before - 1e-12 * scale
    if fell.any():
        new_sizes = np.where(fell, sizes, new_sizes)
        new_means = _best_means(sums, means, new_sizes) if moves else means
    return new_means, new_sizes


def _value(sums: ExposedSums, means: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log-likelihood up to a constant, and the largest of what it is made of."""
    parts = (
        rises(sums.counts, sizes)[0],
        sums.events.sum(axis=1) * np.log(means / sizes),
        np.sum((sizes[:, None] * sums.cells + sums.events) * np.log1p(sums.over(means, sizes)), axis=1),
    )
    return parts[0] + parts[1] - parts[2], np.max(np.abs(parts), axis=0)


def _best_means(sums: ExposedSums, means: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Means of the largest log-likelihood, which is concave in their logarithms.

    Along a step of these, the second derivative grows at most like its exponential (Bach 2010,
    Self-concordant analysis for logistic regression): so the steps lead up, and at last are Newton's.
    """
    for _ in range(100):
        at = _parts(sums, means, sizes)
        step = np.sign(at.slope) * np.log1p(np.abs(at.slope) / at.curve)
        means = means * np.exp(step)
        if np.all(np.abs(step) < 1e-11):
            break
    return means


class _Parts(NamedTuple):
    """With ``t = e m / s`` (n, nodes) and ``p = t / (1 + t)``: excesses of counts over what is expected, by log mean
    the slope and minus the second derivative of the log-likelihood (n,).
    """

    over: np.ndarray
    share: np.ndarray
    excess: np.ndarray
    slope: np.ndarray
    curve: np.ndarray


def _parts(sums: ExposedSums, means: np.ndarray, sizes: np.ndarray) -> _Parts:
    over = sums.over(means, sizes)
    share = over / (1 + over)
    excess = sums.events - means[:, None] * (sums.exposures * sums.cells)
    slope = np.sum(excess / (1 + over), axis=1)
    curve = np.sum((sizes[:, None] * sums.cells + sums.events) * share / (1 + over), axis=1)
    return _Parts(over, share, excess, slope, np.maximum(curve, 1e-300))


def _slopes(sums: ExposedSums, means: np.ndarray, sizes: np.ndarray, moves: bool) -> _Slopes:
    """Where means are free, of the largest log-likelihood of each size."""
    at = _parts(sums, means, sizes)
    _, first, second = rises(sums.counts, sizes)
    gain = sizes * (first - np.sum(sums.cells * np.log1p(at.over), axis=1))
    expected = sizes * np.sum(sums.cells * at.share, axis=1)
    bend = gain + sizes**2 * second + 2 * expected - at.curve
    # towards Poisson's distribution both parts of the gain become x / s, which cancel
    small = sizes * (_rise_beyond(sums.counts, sizes) + np.sum(sums.cells * gap_of(at.over), axis=1))
    small += np.sum(at.excess * at.share, axis=1)
    is_near = sizes * sums.cells.sum(axis=1) > sums.events.sum(axis=1)
    slope = np.where(is_near, small, gain - at.slope)
    if not moves:
        return _Slopes(slope, bend, np.zeros_like(gain))
    cross = np.sum(at.excess * at.share / (1 + at.over), axis=1)
    return _Slopes(slope, bend + cross**2 / at.curve, cross / at.curve)


def _rise_beyond(weights: Rising, sizes: np.ndarray) -> np.ndarray:
    """Sums over counts of ``psi(size + x) - psi(size) - x / size``."""
    s = sizes[:, None]
    x = np.arange(weights.above.shape[-1], dtype=np.float64)
    found = -np.sum(weights.above * (x / (s * (s + x))), axis=1)
    if weights.nodes.size:
        x = weights.nodes
        beyond = log_minus_psi(s) - log_minus_psi(s + x) - gap_of(x / s)
        found = found + np.sum(weights.large * beyond, axis=1)
    return found


def _best_sizes(
    sums: ExposedSums, means: np.ndarray, sizes: np.ndarray, limits: tuple[np.ndarray, np.ndarray], moves: bool
) -> np.ndarray:
    """Sizes at which the log-likelihood goes from up to down: Newton steps, halving where these are slow.

    Where it still goes up at the upper limit, counts are not overdispersed.
    """
    low, high = np.log(limits[0]), np.log(limits[1])
    logs = np.clip(np.log(sizes), low, high)
    at_high = _best_means(sums, means, limits[1]) if moves else means
    ends = _slopes(sums, at_high, limits[1], moves).first > 0
    logs[ends] = high[ends]
    rows = np.flatnonzero(~ends)
    means, last = means.copy(), high - low
    for _ in range(100):
        if not len(rows):
            break
        some, size = sums.take(rows), np.exp(logs[rows])
        if moves:
            means[rows] = _best_means(some, means[rows], size)
        slope = _slopes(some, means[rows], size, moves)
        up = slope.first > 0
        low[rows], high[rows] = np.where(up, logs[rows], low[rows]), np.where(up, high[rows], logs[rows])
        bends = slope.second < 0
        step = np.where(bends, -slope.first / np.where(bends, slope.second, -1.0), np.inf)
        middle = (low[rows] + high[rows]) / 2 - logs[rows]
        inside = (logs[rows] + step >= low[rows]) & (logs[rows] + step <= high[rows])
        step = np.where(inside & (np.abs(step) <= last[rows] / 2), step, middle)
        logs[rows] += step
        last[rows] = np.abs(step)
        means[rows] *= np.exp(slope.of_means * step)
        rows = rows[np.abs(step) > 1e-10]
    return np.exp(logs)
