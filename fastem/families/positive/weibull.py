"""Weibull distributions of independent columns."""

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from scipy.special import gamma

from fastem.engine.statistics import zeros
from fastem.families._domain import check_values, positive_medians
from fastem.families._floor import floor_of, floor_variances
from fastem.families._settings import check_array, check_column_values, check_floor
from fastem.families.family import Facts, Family, Maximized, Prepared
from fastem.families.positive.censored import CensoredFamily, bounded, cell_at, known_log_density, log_in_unit, parts_of
from fastem.families.positive.logs import take_logarithms
from fastem.families.positive.truncated import exponential_moments, log_less, log_of_ratio
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.simd import add_totals, elements, fill, fma, huge, load, minimum, splat, store, where_greater
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import exp

__all__ = ["CensoredWeibull", "Weibull"]

_FLAT = 1e-6  # a shape of almost 0
_SPREAD = np.pi / np.sqrt(6)  # standard deviation of log x, times the shape
# What an exponential value of rate 1 exceeds another one by at most.
_BEYOND = 60.0
# Of a logarithm; products with the shape cannot be told apart below it.
_LOG_ROUNDINGS = 64


class WeibullKernel(NamedTuple):
    """Shapes, ``shape log scale`` and log shapes (K, d), log-weights (K,), inverses of the columns' units (d,)."""

    shapes: np.ndarray
    offsets: np.ndarray
    constants: np.ndarray
    log_weights: np.ndarray
    inverse_units: np.ndarray


class CensoredWeibullKernel(NamedTuple):
    """Kernel parameters of the cells that are known; of the others shapes and ``shape log scale`` (K, d), inverses of
    the units (d,).
    """

    plain: Any
    shapes: np.ndarray
    offsets: np.ndarray
    inverse_units: np.ndarray


class WeibullStatistics(NamedTuple):
    """Sums of r, r z, r e, r e z and r e z^2 where z = shape log (x / scale) and e = exp z; (K, d, 5)."""

    sums: np.ndarray


class WeibullParams(NamedTuple):
    """Shapes and scales, both (K, d)."""

    shapes: np.ndarray
    scales: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, WeibullKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    """In each cell ``log shape - t + z - exp z`` with ``z = shape (t - log scale)``."""
    take_logarithms(tile, params.inverse_units, scratch)
    d = tile.shape[0]
    w = elements(tile)
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    most = fill(zero, 80.0)
    for k in range(out.shape[0]):
        for b in range(0, m, w):
            s = splat(params.log_weights, k)
            for j in range(d):
                t = load(scratch, j * m + b)
                z = minimum(fma(splat(params.shapes, k * d + j), t, zero - splat(params.offsets, k * d + j)), most)
                cell = ((splat(params.constants, k * d + j) - t) + z) - exp(z)
                s = s + where_greater(t, zero - huge(t), cell, zero)
            store(out, k * m + b, s)


@implements(add_statistics, WeibullKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    d = tile.shape[0]
    w = elements(tile)
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    most = fill(zero, 80.0)
    for k in range(resp.shape[0]):
        for j in range(d):
            s0 = zero
            s1 = zero
            s2 = zero
            s3 = zero
            s4 = zero
            for b in range(0, m, w):
                x = load(scratch, j * m + b)
                t = where_greater(x, zero - huge(x), x, zero)
                r = where_greater(x, zero - huge(x), load(resp, k * m + b), zero)
                z = minimum(fma(splat(params.shapes, k * d + j), t, zero - splat(params.offsets, k * d + j)), most)
                e = r * exp(z)
                s0 = s0 + r
                s1 = fma(r, z, s1)
                s2 = s2 + e
                s3 = fma(e, z, s3)
                s4 = fma(e * z, z, s4)
            at = ((lane * resp.shape[0] + k) * d + j) * 5
            add_totals(stats.sums, at, (s0, s1, s2, s3))
            add_totals(stats.sums, at + 4, (s4,))


@njit(error_model="numpy")
def _log_probability(log_low, log_high, length):  # type: ignore[no-untyped-def]
    """Log-probability that an exponential value lies between two others with logarithms so far from each other."""
    above = 0.0 if log_low == -math.inf else -math.exp(min(log_low, 80.0))
    if log_high == math.inf:
        return bounded(above)
    # of the difference of the ends
    log_width = log_high if log_low == -math.inf else log_low + length + log_less(math.log(length))
    return bounded(above + log_less(log_width))


@implements(log_density, CensoredWeibullKernel)
def _censored_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    places = known_log_density(tile, params, out, scratch)
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        length = log_of_ratio(low, high)
        s, t = log_in_unit(low, params.inverse_units[j]), log_in_unit(high, params.inverse_units[j])
        for k in range(out.shape[0]):
            shape, offset = params.shapes[k, j], params.offsets[k, j]
            out[k, b] += _log_probability(shape * s - offset, shape * t - offset, shape * length)


@implements(add_statistics, CensoredWeibullKernel)
def _add_censored(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    known, places, rest = parts_of(tile, scratch)
    add_statistics(known, resp, counts, params.plain, stats, lane, rest)
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        length = log_of_ratio(low, high)
        s, t = log_in_unit(low, params.inverse_units[j]), log_in_unit(high, params.inverse_units[j])
        for k in range(resp.shape[0]):
            r = resp[k, b]
            if r > 0.0:
                shape, offset = params.shapes[k, j], params.offsets[k, j]
                first = min(shape * s - offset, 80.0)
                z, e, ez, ezz = exponential_moments(first, shape * t - offset, shape * length)
                stats.sums[lane, k, j, 0] += r
                stats.sums[lane, k, j, 1] += r * z
                stats.sums[lane, k, j, 2] += r * e
                stats.sums[lane, k, j, 3] += r * ez
                stats.sums[lane, k, j, 4] += r * ezz


# --- the families -----------------------------------------------------------------------------


class Weibull(Family[WeibullParams, WeibullStatistics]):
    """Weibull distributions: ``(shape / scale) (x / scale)^(shape - 1) exp(-(x / scale)^shape)`` for x > 0.

    The M-step is one Newton step for (shape, shape log scale), in which the log-likelihood is
    concave, cut so that it cannot lead down (generalized EM); starts repeat it.

    Parameters
    ----------
    log_range : array-like of shape (2, d), optional
        Least and largest logarithm of each column; default: those of the data.
    floor : float or array-like of shape (d,), optional
        Least standard deviation of the logarithms of a component in each column; default: that of
        the rounding of the data.
    units : array-like of shape (d,), optional
        Values whose logarithms count as 0 inside; set when data are met.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Weibull
    >>> X = np.random.default_rng(0).weibull(2, size=(1000, 1))
    >>> Mixture(Weibull()).fit(X).shapes_.round(1).tolist()
    [[2.0]]
    """

    parameters = WeibullParams
    is_surveyed = True

    takes_steps = True
    takes_beside = ("censored",)

    def censored(self) -> Family[Any, Any]:
        return CensoredWeibull(self.log_range, self.floor, self.units)

    def __init__(self, log_range: Any = None, floor: Any = None, units: Any = None):
        self.log_range = log_range
        self.floor = floor
        self.units = units

    def bind(self, facts: Facts) -> Self:
        assert facts.lows is not None and facts.highs is not None
        log_range = np.log([facts.lows, facts.highs]) if self.log_range is None else self.log_range
        units = positive_medians(facts.rows) if self.units is None else self.units
        floor = floor_of(np.ones((1, len(units)), facts.rows.dtype), self.floor)
        if self.floor is None:
            floor = np.stack([floor[1], _LOG_ROUNDINGS * floor[1]])
        return type(self)(log_range, floor, units)

    def stretched(self, lows: np.ndarray, highs: np.ndarray) -> Self:
        low, high = np.asarray(self.log_range)
        # a column without any value has no positive largest one
        logs = np.log(lows), np.log(np.maximum(highs, np.finfo(np.float64).tiny))
        return type(self)(np.array([np.minimum(low, logs[0]), np.maximum(high, logs[1])]), self.floor, self.units)

    def check_bound(self, n_features: int) -> None:
        low, high = check_array("log_range", self.log_range, (2, n_features))
        if (low > high).any():
            raise ValueError("log_range has a least logarithm above the largest one.")
        check_floor("floor", self.floor, n_features)
        check_column_values("units", self.units, n_features)

    def _units(self, n_features: int) -> np.ndarray:
        return np.ones(n_features) if self.units is None else np.asarray(self.units)

    def _largest_shapes(self, scales: np.ndarray) -> np.ndarray:
        """Shapes (K, d) at which the logarithms spread no more than they must."""
        if self.floor is None:
            return np.full(scales.shape, np.inf)
        return _SPREAD / np.sqrt(floor_variances(np.asarray(self.floor), np.log(scales / self._units(scales.shape[1]))))

    def at_floor(self, params: WeibullParams) -> np.ndarray:
        return np.asarray(params.shapes >= self._largest_shapes(params.scales) * (1 - 1e-6))

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~(rows > 0), "the values must be positive")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.log(rows / self._units(rows.shape[1])).astype(rows.dtype)

    def zeros(self, lanes: int, n_components: int, n_features: int) -> WeibullStatistics:
        return zeros(WeibullStatistics, lanes, sums=(n_components, n_features, 5))

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return n_features * tile_rows

    def prepare(
        self,
        params: WeibullParams,
        about: WeibullParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        offset = float(log_weights.max())
        shapes, scales = params
        units = self._units(shapes.shape[1])
        constants = np.log(shapes / units)
        fields = shapes, shapes * np.log(scales / units), constants, log_weights - offset, 1 / units
        return Prepared(WeibullKernel(*(np.ascontiguousarray(field, dtype) for field in fields)), offset)

    def alike(self, rows: np.ndarray, n_components: int) -> WeibullParams:
        """Shapes of almost 0, under which the sums are moments of log x."""
        units = self._units(rows.shape[1])
        return WeibullParams(np.full((n_components, len(units)), _FLAT), np.tile(units, (n_components, 1)))

    def maximize(
        self,
        stats: WeibullStatistics,
        counts: np.ndarray,
        about: WeibullParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        n, z, e, ez, ezz = np.moveaxis(stats.sums, 2, 0)
        seen = n > 1e-12 * counts.sum()
        n, e = np.where(seen, n, 1.0), np.where(seen, e, 1.0)
        # derivatives by u and w of n log (1 + u) + sum r z' - exp z', z' = (1 + u) z - w
        du, dw = n + z - ez, e - n
        huu, huw, hww = n + ezz, -ez, e
        if "scales" in frozen or "shapes" in frozen:
            du, dw = du * ("shapes" not in frozen), dw * ("scales" not in frozen)
            huw = np.zeros_like(huw)
        shapes, scales = about
        room = np.maximum(self._largest_shapes(scales) / shapes - 1, 0.0)
        # at the largest shape only the scale moves
        stuck = (room <= 1e-9) & (du > 0)
        du, huw = np.where(stuck, 0.0, du), np.where(stuck, 0.0, huw)
        determinant = huu * hww - huw**2
        u, w = (hww * du - huw * dw) / determinant, (huu * dw - huw * du) / determinant
        size = self._cut(u, w, about, e)
        size = np.where(u > 0, np.minimum(size, room / np.where(u > 0, u, 1.0)), size)
        new_shapes = shapes * (1 + size * u)
        new = WeibullParams(new_shapes, scales * np.exp(size * w / new_shapes))
        if np.all(shapes == _FLAT):
            new = self._by_moments(z / n, ezz / n, scales)
        kept = WeibullParams(*(np.where(seen, value, old) for value, old in zip(new, about, strict=True)))
        return Maximized(self.keep(kept, about, dead, frozen))

    def _by_moments(self, means: np.ndarray, squares: np.ndarray, scales: np.ndarray) -> WeibullParams:
        """From moments of z by shapes of almost 0: the standard deviation of log x is pi / (sqrt(6) shape)."""
        variances = (squares - means**2) / _FLAT**2
        # what rounding leaves of the moments tells no narrower spread
        least = np.maximum(1e-12 * squares / _FLAT**2, 1e-24)
        shapes = _SPREAD / np.sqrt(np.maximum(variances, least))
        shapes = np.minimum(shapes, self._largest_shapes(scales))
        return WeibullParams(shapes, scales * np.exp(means / _FLAT + np.euler_gamma / shapes))

    def _cut(self, u: np.ndarray, w: np.ndarray, about: WeibullParams, e: np.ndarray) -> np.ndarray:
        """How much of a Newton step cannot lead down.

        Along it the second derivative grows at most like exp(s R), R the largest change of z or
        2.78 times the relative change of the shape, so ``log(1 + R) / R`` of it goes up (Sun and
        Tran-Dinh 2019, Generalized self-concordant functions, theorem 2). Only the z of rows that
        have a share in the sums count: exp z is nothing below -40, and above no row has any
        responsibility by which it goes into the sum of exp z, but what was given.
        """
        low, high = self._extremes(about)
        low, high = np.maximum(low, -40.0), np.minimum(high, 7.0 + np.log(np.maximum(e, 1.0)))
        of_z = np.maximum(np.abs(u * low - w), np.abs(u * high - w))
        r = np.maximum(np.maximum(of_z, 2.78 * np.abs(u)), 1e-12)
        return np.minimum(np.log1p(r) / r, 0.5 / np.maximum(np.abs(u), 1e-12))

    def _extremes(self, params: WeibullParams) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest z of the rows."""
        low, high = params.shapes * (np.asarray(self.log_range)[:, None] - np.log(params.scales))
        return low, high

    def expected(self, params: WeibullParams, counts: np.ndarray) -> WeibullStatistics:
        """With ``e`` exponential: E log e = -g, E e log e = 1 - g, E e log^2 e = pi^2 / 6 + g^2 - 2 g."""
        g = np.euler_gamma
        moments = np.array([1, -g, 1, 1 - g, np.pi**2 / 6 + g**2 - 2 * g])
        return WeibullStatistics(counts[:, None, None] * np.broadcast_to(moments, (*params.shapes.shape, 5)))

    def displace(self, params: WeibullParams, k: int, rng: np.random.RandomState) -> WeibullParams:
        scales = params.scales.copy()
        scales[k] *= np.exp(rng.standard_normal(scales.shape[1]) / params.shapes[k])
        return params._replace(scales=scales)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 2 * n_components * n_features

    def check_params(self, params: WeibullParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.shapes <= 0).any() or (params.scales <= 0).any():
            raise ValueError("The parameters 'shapes' and 'scales' must be positive.")

    def sample(self, params: WeibullParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        draws = rng.weibull(params.shapes[k], size=(n, params.shapes.shape[1]))
        return np.asarray(np.maximum(params.scales[k] * draws, np.finfo(np.float64).tiny))

    def means(self, params: WeibullParams) -> np.ndarray:
        return np.asarray(params.scales * gamma(1 + 1 / params.shapes))


class CensoredWeibull(CensoredFamily, Weibull):
    """Weibull distributions of values of which some are censored.

    `Weibull` becomes it where ``fit(X, censored=...)`` or ``fit(X, upper=...)`` tells where values lie. Samples are not
    censored.

    Parameters
    ----------
    log_range, floor, units
        As of `Weibull`.
    """

    censored_kernel = CensoredWeibullKernel

    def cell_parameters(self, params: WeibullParams, about: WeibullParams) -> tuple[np.ndarray, ...]:
        units = self._units(params.shapes.shape[1])
        return params.shapes, params.shapes * np.log(params.scales / units), 1 / units

    def alike(self, rows: np.ndarray, n_components: int) -> WeibullParams:
        """From moments of the logarithms of all rows: under shapes of almost 0 a censored value could be anything."""
        points = self.points(rows).astype(np.float64)
        units = self._units(points.shape[1])
        logs = np.log(points / units, out=np.zeros_like(points), where=points > 0)
        cells = np.maximum((points > 0).sum(axis=0), 1)
        means, squares = logs.sum(axis=0) / cells, (logs**2).sum(axis=0) / cells
        shapes = _SPREAD / np.sqrt(np.maximum(squares - means**2, 1e-4))
        scales = units * np.exp(means + np.euler_gamma / shapes)
        return WeibullParams(np.tile(shapes, (n_components, 1)), np.tile(scales, (n_components, 1)))

    def _extremes(self, params: WeibullParams) -> tuple[np.ndarray, np.ndarray]:
        """Those of the values that may be behind the rows: without an upper end, not much above the lower one."""
        low, high = super()._extremes(params)
        return low, np.logaddexp(high, np.log(_BEYOND))
