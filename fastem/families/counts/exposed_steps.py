"""The M-step of negative binomial counts over exposures, from sums at nodes of the exposures.

In the log mean the log-likelihood is concave; in the log size the largest one of all means is
climbed by Newton steps within a bracket.
"""

from typing import NamedTuple

import numpy as np

from fastem.families._special import gap, log_minus_psi
from fastem.families.counts.tables import Rising, rises

__all__ = ["ExposedSums", "ascend"]


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
    sums: ExposedSums,
    means: np.ndarray,
    sizes: np.ndarray,
    limits: tuple[np.ndarray, np.ndarray],
    frozen: frozenset[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Means and sizes of the largest log-likelihood, the sizes within limits; those whose names are frozen stay.

    There may be several maxima: where the one at the upper limit, or between, is lower than where it
    began, the nearest one is taken; at last the size stays, and the mean goes up, in which there is one.
    """
    moves = "means" not in frozen
    if "sizes" in frozen:
        return (_best_means(sums, means, sizes) if moves else means), sizes
    before, scale = _value(sums, means, sizes)
    new_means, new_sizes = means.copy(), sizes.copy()
    rows = np.arange(len(means))
    for search in (_best_sizes, _nearest_sizes, _same_sizes):
        some, of_rows = sums.take(rows), (limits[0][rows], limits[1][rows])
        new_sizes[rows] = search(some, means[rows], sizes[rows], of_rows, moves)
        new_means[rows] = _best_means(some, means[rows], new_sizes[rows]) if moves else means[rows]
        value, _ = _value(some, new_means[rows], new_sizes[rows])
        rows = rows[value < before[rows] - 1e-12 * scale[rows]]
        if not len(rows):
            break
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
    small = sizes * (_rise_beyond(sums.counts, sizes) + np.sum(sums.cells * gap(at.over), axis=1))
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
        beyond = log_minus_psi(s) - log_minus_psi(s + x) - gap(x / s)
        found = found + np.sum(weights.large * beyond, axis=1)
    return found


def _same_sizes(
    sums: ExposedSums, means: np.ndarray, sizes: np.ndarray, limits: tuple[np.ndarray, np.ndarray], moves: bool
) -> np.ndarray:
    return sizes


def _best_sizes(
    sums: ExposedSums, means: np.ndarray, sizes: np.ndarray, limits: tuple[np.ndarray, np.ndarray], moves: bool
) -> np.ndarray:
    """The upper limit, where counts are not overdispersed: the log-likelihood goes up there; else the nearest ones."""
    at_high = _best_means(sums, means, limits[1]) if moves else means
    found = limits[1].copy()
    rows = np.flatnonzero(~(_slopes(sums, at_high, limits[1], moves).first > 0))
    if len(rows):
        of_rows = limits[0][rows], limits[1][rows]
        found[rows] = _nearest_sizes(sums.take(rows), means[rows], sizes[rows], of_rows, moves)
    return found


def _nearest_sizes(
    sums: ExposedSums, means: np.ndarray, sizes: np.ndarray, limits: tuple[np.ndarray, np.ndarray], moves: bool
) -> np.ndarray:
    """Sizes at which the log-likelihood goes from up to down: Newton steps, halving where these are slow."""
    low, high = np.log(limits[0]), np.log(limits[1])
    logs = np.clip(np.log(sizes), low, high)
    means, last = means.copy(), high - low
    rows = np.arange(len(means))
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
