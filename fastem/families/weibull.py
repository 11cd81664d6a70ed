"""Weibull distributions of independent columns."""

from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import gamma

from fastem.dispatch import add_statistics, implements, log_density
from fastem.elementary import exp
from fastem.families._domain import check_values, positive_medians
from fastem.families._floor import floor_of, floor_variances
from fastem.families._logs import take_logarithms
from fastem.families._settings import check_array, check_column_values, check_floor
from fastem.family import Facts, Family, Maximized, Prepared
from fastem.simd import add_totals, fill, fma, huge, lanes, load, minimum, splat, store, where_greater
from fastem.statistics import zeros
from fastem.tiles import n_points

__all__ = ["Weibull"]

_SPREAD = np.pi / np.sqrt(6)  # standard deviation of log x, times the shape
# Of a logarithm; products with the shape cannot be told apart below it.
_LOG_ROUNDINGS = 64


class WeibullKernel(NamedTuple):
    """Shapes, ``shape log scale`` and log shapes (K, d), log-weights (K,), inverses of the columns' units (d,)."""

    shapes: np.ndarray
    offsets: np.ndarray
    constants: np.ndarray
    log_weights: np.ndarray
    inverse_units: np.ndarray


class WeibullStatistics(NamedTuple):
    """Sums of r, r t, r e, r e t and r e t^2 where t = log (x / unit), e = (x / scale)^shape; (K, d, 5)."""

    sums: np.ndarray


class WeibullParams(NamedTuple):
    """Shapes and scales, both (K, d)."""

    shapes: np.ndarray
    scales: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, WeibullKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    """In each cell ``log shape + z - exp z`` with ``z = shape (t - log scale)``."""
    take_logarithms(tile, params.inverse_units, scratch)
    d = tile.shape[0]
    w = lanes(tile)
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    most = fill(zero, 80.0)
    for k in range(out.shape[0]):
        for b in range(0, m, w):
            s = splat(params.log_weights, k)
            for j in range(d):
                t = load(scratch, j * m + b)
                z = minimum(fma(splat(params.shapes, k * d + j), t, zero - splat(params.offsets, k * d + j)), most)
                cell = (splat(params.constants, k * d + j) + z) - exp(z)
                s = s + where_greater(t, zero - huge(t), cell, zero)
            store(out, k * m + b, s)


@implements(add_statistics, WeibullKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    d = tile.shape[0]
    w = lanes(tile)
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
                s1 = fma(r, t, s1)
                s2 = s2 + e
                s3 = fma(e, t, s3)
                s4 = fma(e * t, t, s4)
            at = ((lane * resp.shape[0] + k) * d + j) * 5
            add_totals(stats.sums, at, (s0, s1, s2, s3))
            add_totals(stats.sums, at + 4, (s4,))


class Weibull(Family[WeibullParams, WeibullStatistics]):
    """Weibull distributions: ``(shape / scale) (x / scale)^(shape - 1) exp(-(x / scale)^shape)`` for x > 0.

    The M-step is one Newton step for (shape, shape log scale), in which the log-likelihood is
    concave, cut so that it cannot lead down (generalized EM).

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

    def base(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(-np.nan_to_num(np.log(rows, dtype=np.float64)).sum(axis=1))

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
        fields = shapes, shapes * np.log(scales / units), np.log(shapes), log_weights - offset, 1 / units
        return Prepared(WeibullKernel(*(np.ascontiguousarray(field, dtype) for field in fields)), offset)

    def about(self, rows: np.ndarray, n_components: int) -> WeibullParams:
        """By the moments of log x: its standard deviation is pi / (sqrt(6) shape)."""
        with np.errstate(divide="ignore"):
            logs = np.nan_to_num(np.log(rows), neginf=0.0)
        sds = logs.std(axis=0)
        shapes = _SPREAD / np.where(sds > 0, sds, 1)
        scales = np.exp(logs.mean(axis=0) + np.euler_gamma / shapes)
        return WeibullParams(np.tile(shapes, (n_components, 1)), np.tile(scales, (n_components, 1)))

    def maximize(
        self,
        stats: WeibullStatistics,
        counts: np.ndarray,
        about: WeibullParams,
        dead: np.ndarray,
        held: frozenset[str],
    ) -> Maximized:
        n, t, e, et, ett = np.moveaxis(stats.sums, 2, 0)
        seen = n > 1e-12 * counts.sum()
        n, e, ett = (np.where(seen, field, 1.0) for field in (n, e, ett))
        shapes, scales = about
        units = self._units(shapes.shape[1])
        logs = np.log(scales / units)
        # derivatives by a = shape and b = shape log scale, of n log a + sum r (a t - b) - exp(a t - b)
        da, db = n / shapes + t - et, e - n
        haa, hab, hbb = n / shapes**2 + ett, -et, e
        if "shapes" in held or "scales" in held:
            da, db = da + logs * db * ("scales" in held), db * ("scales" not in held)
            haa = haa + (2 * logs * hab + logs**2 * hbb) * ("scales" in held)
            hab = np.zeros_like(hab)
            da = da * ("shapes" not in held)
        room = np.maximum(self._largest_shapes(scales) - shapes, 0.0)
        # at the largest shape only the scale moves
        stuck = (room <= 1e-9 * shapes) & (da > 0)
        da, hab = np.where(stuck, 0.0, da), np.where(stuck, 0.0, hab)
        determinant = haa * hbb - hab**2
        step_a = (hbb * da - hab * db) / determinant
        step_b = logs * step_a if "scales" in held else (haa * db - hab * da) / determinant
        size = self._cut(step_a, step_b, shapes)
        size = np.where(step_a > 0, np.minimum(size, room / np.where(step_a > 0, step_a, 1.0)), size)
        new_a = shapes + size * step_a
        new_b = shapes * logs + size * step_b
        new = WeibullParams(new_a, units * np.exp(new_b / new_a))
        kept = WeibullParams(*(np.where(seen, value, old) for value, old in zip(new, about, strict=True)))
        return Maximized(self.keep(kept, about, dead, held))

    def _cut(self, step_a: np.ndarray, step_b: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        """How much of a Newton step cannot lead down.

        Along it the second derivative grows at most like exp(s R), R the largest change of z or
        2.78 times the relative change of the shape, so ``log(1 + R) / R`` of it goes up (Sun and
        Tran-Dinh 2019, Generalized self-concordant functions, theorem 2).
        """
        low, high = np.asarray(self.log_range) - np.log(self._units(shapes.shape[1]))
        of_z = np.maximum(np.abs(step_a * low - step_b), np.abs(step_a * high - step_b))
        relative = np.abs(step_a) / shapes
        r = np.maximum(np.maximum(of_z, 2.78 * relative), 1e-12)
        return np.minimum(np.log1p(r) / r, 0.5 / np.maximum(relative, 1e-12))

    def expected(self, params: WeibullParams, counts: np.ndarray) -> WeibullStatistics:
        """With ``e`` exponential: E log e = -g, E e log e = 1 - g, E e log^2 e = pi^2 / 6 + g^2 - 2 g."""
        shapes, scales = params
        g, logs = np.euler_gamma, np.log(scales / self._units(scales.shape[1]))
        t = logs - g / shapes
        et = logs + (1 - g) / shapes
        ett = logs**2 + 2 * logs * (1 - g) / shapes + (np.pi**2 / 6 + g**2 - 2 * g) / shapes**2
        ones = np.ones_like(t)
        return WeibullStatistics(counts[:, None, None] * np.stack([ones, t, ones, et, ett], axis=2))

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
