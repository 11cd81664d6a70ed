"""Negative binomial counts over exposures: densities, and sums for their M-step.

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

from fastem.families._lookup import LookupStatistics
from fastem.families._side_by_side import n_padded, turn_block
from fastem.families.counts.tables import NODES
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.memory import aligned_zeros
from fastem.kernels.simd import (
    BLOCK,
    add_wide,
    elements,
    fill,
    huge,
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
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import gap, log

__all__ = ["ExposedKernel", "ExposedStatistics", "ExposureTable", "exposure_table"]

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
        for b in range(0, m, elements(tile)):
            x = load(tile, j * m + b)
            store(scratch, b, one / maximum(x, one))
        for k in range(out.shape[0]):
            mean = splat(params.means, k * d + j)
            size = splat(params.sizes, k * d + j)
            for b in range(0, m, elements(tile)):
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
    for b in range(0, m, elements(tile)):
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
