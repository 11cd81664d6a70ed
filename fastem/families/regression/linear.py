"""Linear regressions with Gaussian errors."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.engine.contract import DegenerateError
from fastem.engine.statistics import zeros
from fastem.families.family import Maximized, Prepared
from fastem.families.gaussian.centring import LOG_2PI, centred, in_two_parts
from fastem.families.gaussian.triangular_kernels import add_triangular, moment_positions, triangular_scratch, unpack
from fastem.families.regression.family import Bounds, RegressionFamily
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.simd import elements, fill, fma, huge, load, minimum, splat, store, total, where_greater
from fastem.kernels.tiles import is_complete, n_points

__all__ = ["LinearRegression"]

_ROUNDINGS = 32  # of a variance, in sums of squares


class LinearRegressionKernel(NamedTuple):
    """Centres of all columns in two parts (K, d); slopes (K, d - 1), intercepts, constants, roots of
    precisions and log-weights, all (K,).
    """

    centres: np.ndarray
    centres_low: np.ndarray
    slopes: np.ndarray
    intercepts: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    log_weights: np.ndarray


class LinearRegressionStatistics(NamedTuple):
    """Moments of all columns about their centres, sums of r where the response is missing (K,)."""

    first: np.ndarray
    second: np.ndarray
    absent: np.ndarray


class LinearRegressionParams(NamedTuple):
    """Coefficients (K, d - 1), intercepts (K,), variances of the errors (K,)."""

    coefs: np.ndarray
    intercepts: np.ndarray
    variances: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, LinearRegressionKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    d = tile.shape[0]
    w = elements(tile)
    m = n_points(tile)
    for k in range(out.shape[0]):
        constant = splat(params.constants, k)
        half = fill(constant, -0.5)
        zero = fill(constant, 0.0)
        for b in range(0, m, w):
            y = load(tile, (d - 1) * m + b)
            s = centred(y, params.centres, params.centres_low, k * d + d - 1) - splat(params.intercepts, k)
            for j in range(d - 1):
                z = centred(load(tile, j * m + b), params.centres, params.centres_low, k * d + j)
                s = s - splat(params.slopes, k * (d - 1) + j) * z
            s = s * splat(params.roots, k)
            value = fma(minimum(s * s, huge(s)), half, constant)
            store(out, k * m + b, where_greater(y, zero - huge(y), value, splat(params.log_weights, k)))


@implements(add_statistics, LinearRegressionKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    d = tile.shape[0]
    m = n_points(tile)
    n_components = resp.shape[0]
    stride = stats.second.shape[2]
    at = lane * n_components * stride
    rest = scratch[(d + n_components) * m :]
    if is_complete(tile[d - 1 :]):
        add_triangular(tile, resp, counts, params, stats.first, stats.second, at, stride, lane, rest)
        return
    filled = scratch[: d * m].reshape(d, m)
    weighted = scratch[d * m : (d + n_components) * m].reshape(n_components, m)
    _fill_responses(tile, resp, filled, weighted, stats.absent, lane)
    add_triangular(filled, weighted, counts, params, stats.first, stats.second, at, stride, lane, rest)


@njit(error_model="numpy")
def _fill_responses(tile, resp, filled, weighted, absent, lane):  # type: ignore[no-untyped-def]
    """The tile with 0 for missing responses, and responsibilities of 0 there, whose sums are added up."""
    d = tile.shape[0]
    w = elements(tile)
    m = n_points(tile)
    zero = fill(load(tile, 0), 0.0)
    for b in range(0, (d - 1) * m, w):
        store(filled, b, load(tile, b))
    last = (d - 1) * m
    for b in range(0, m, w):
        y = load(tile, last + b)
        store(filled, last + b, where_greater(y, zero - huge(y), y, zero))
    for k in range(resp.shape[0]):
        missing = zero
        for b in range(0, m, w):
            y = load(tile, last + b)
            r = load(resp, k * m + b)
            here = where_greater(y, zero - huge(y), r, zero)
            store(weighted, k * m + b, here)
            missing = missing + (r - here)
        absent[lane, k] += total(missing)


class LinearRegression(RegressionFamily):
    """Linear regressions: ``y = intercept + coef @ x`` with Gaussian errors.

    One pass gives the moments of all columns, from which an M-step solves the normal equations.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Whether there is an intercept.
    reg_variance : float, default=0
        Added to the variances of the errors.
    bounds : array, optional
        Centre and range of the columns; set when data are met.
    floor : float, optional
        Least standard deviation of the errors of a component; default: that of the rounding of its
        sums, which is 1e-7 of the spread of its responses.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import LinearRegression
    >>> x = np.array([[0.0], [0.0], [1.0], [1.0]])
    >>> Mixture(LinearRegression()).fit(x, [0.0, 2.0, 3.0, 5.0]).coefs_.round(6).tolist()
    [[3.0]]
    """

    parameters = LinearRegressionParams

    def __init__(
        self, fit_intercept: bool = True, reg_variance: float = 0.0, bounds: Any = None, floor: float | None = None
    ):
        self.fit_intercept = fit_intercept
        self.reg_variance = reg_variance
        self.bounds = bounds
        self.floor = floor

    def check_settings(self) -> None:
        for name, value in (("reg_variance", self.reg_variance), ("floor", self.floor)):
            if value is not None and not 0 <= value < np.inf:
                raise ValueError(f"{name} must be a number from 0 on, not {value!r}.")

    def _centres(self, params: LinearRegressionParams) -> np.ndarray:
        """What moments are taken about (K, d): the middle of the columns, and where each line passes it."""
        middle = Bounds(*self.bounds).centre[:-1]
        return np.column_stack([np.tile(middle, (len(params.coefs), 1)), params.intercepts + params.coefs @ middle])

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> LinearRegressionStatistics:
        return zeros(
            LinearRegressionStatistics,
            lanes,
            first=(n_components, n_features),
            second=(n_components, len(moment_positions(n_features)[0])),
            absent=(n_components,),
        )

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return (n_features + n_components) * tile_rows + triangular_scratch(n_features, tile_rows)

    def prepare(
        self,
        params: LinearRegressionParams,
        about: LinearRegressionParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        constants = log_weights - 0.5 * LOG_2PI - 0.5 * np.log(params.variances)
        offset = float(constants.max())
        about_lines = self._centres(about)
        intercepts = self._centres(params)[:, -1] - about_lines[:, -1]
        fields = (params.coefs, intercepts, constants - offset, params.variances**-0.5, log_weights - offset)
        kernel = LinearRegressionKernel(
            *in_two_parts(about_lines, dtype), *(np.ascontiguousarray(field, dtype) for field in fields)
        )
        return Prepared(kernel, offset)

    def expected(self, params: LinearRegressionParams, counts: np.ndarray) -> LinearRegressionStatistics:
        """Of columns that are uniform over the box of the data."""
        bounds = Bounds(*self.bounds)
        k, d = len(params.coefs), params.coefs.shape[1] + 1
        middle = (bounds.lows + bounds.highs)[:-1] / 2
        spread = np.diag((bounds.highs - bounds.lows)[:-1] ** 2 / 12)
        lines = self._centres(params)
        first, second = np.empty((k, d)), np.empty((k, len(moment_positions(d)[0])))
        for i, (coefs, intercept, variance) in enumerate(zip(*params, strict=True)):
            slopes = np.vstack([np.eye(d - 1), coefs])
            covariance = slopes @ spread @ slopes.T
            covariance[-1, -1] += variance
            shift = np.append(middle, intercept + coefs @ middle) - lines[i]
            first[i] = counts[i] * shift
            second[i] = counts[i] * (covariance + np.outer(shift, shift))[moment_positions(d)]
        return LinearRegressionStatistics(first, second, np.zeros(k))

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> LinearRegressionParams:
        zero = np.zeros((n_components, rows.shape[1] - 1))
        height = 0.0 if self.bounds is None else Bounds(*self.bounds).centre[-1]
        return LinearRegressionParams(zero, np.full(n_components, height), np.ones(n_components))

    def move(
        self,
        stats: LinearRegressionStatistics,
        counts: np.ndarray,
        about: LinearRegressionParams,
        to: LinearRegressionParams,
    ) -> LinearRegressionStatistics:
        d = stats.first.shape[1]
        cells = counts - stats.absent
        rise = self._centres(to)[:, -1] - self._centres(about)[:, -1]
        first, second = stats.first.copy(), unpack(stats.second, d).copy()
        first[:, -1] -= cells * rise
        second[:, -1, -1] -= rise * (stats.first[:, -1] + first[:, -1])
        second[:, -1, :-1] -= rise[:, None] * stats.first[:, :-1]
        second[:, :-1, -1] = second[:, -1, :-1]
        return stats._replace(first=first, second=second[(slice(None), *moment_positions(d))])

    def maximize(
        self,
        stats: LinearRegressionStatistics,
        counts: np.ndarray,
        about: LinearRegressionParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        d = stats.first.shape[1]
        cells = np.maximum(counts - stats.absent, 0)
        unseen = dead | (cells <= 1e-12 * counts.sum())
        moments, lines = unpack(stats.second, d), self._centres(about)
        rows, least = [], np.zeros(len(counts))
        for k in range(len(counts)):
            old = LinearRegressionParams(*(field[k] for field in about))
            if unseen[k]:
                rows.append(old)
                continue
            rows.append(self._solve(cells[k], stats.first[k], moments[k], lines[k], old, frozen))
            mean = stats.first[k, -1] / cells[k]
            spread = max(moments[k, -1, -1] / cells[k] - mean**2, 0.0)
            least[k] = self._least(spread, mean + lines[k, -1])
        params = LinearRegressionParams(*(np.array(field) for field in zip(*rows, strict=True)))
        found = params.variances + np.where(unseen, 0.0, self.reg_variance)
        variances = np.maximum(found, least)
        self._require_errors(variances)
        new = self.keep(params._replace(variances=variances), about, dead, frozen)
        return Maximized(new, self._slack(found, new.variances, about.variances, np.where(unseen, 0.0, cells)))

    def _slack(self, found: np.ndarray, new: np.ndarray, old: np.ndarray, cells: np.ndarray) -> float:
        """What `reg_variance`, and a floor that rose, may cost the log-likelihood; see `GaussianFamily`."""
        u = self.reg_variance / new
        added = np.where(u < 0.5, np.minimum(u**2, 0.2), 0.2) * (self.reg_variance > 0)
        risen = np.where(new > found, np.log(np.maximum(new / old, 1.0)), 0.0)
        return float(0.5 * np.sum(cells * (added + risen)))

    def _least(self, spread: Any, height: Any) -> Any:
        """Least variances of errors, by the variance of responses and their mean."""
        if self.floor is not None:
            return np.full(np.shape(spread), float(self.floor) ** 2)
        eps = float(np.finfo(np.float64).eps)
        return np.maximum(_ROUNDINGS * eps * spread, np.maximum(np.abs(height) * eps, 1e-140) ** 2)

    def at_floor(self, params: LinearRegressionParams) -> np.ndarray:
        k, p = params.coefs.shape
        found = np.zeros((k, p + 1), bool)
        spreads = Bounds(*self.bounds).spreads
        explained = np.square(params.coefs) @ spreads[:-1] ** 2
        found[:, -1] = params.variances <= 2 * self._least(explained, self._centres(params)[:, -1])
        return found

    def _solve(
        self,
        weight: float,
        first: np.ndarray,
        second: np.ndarray,
        centre: np.ndarray,
        old: LinearRegressionParams,
        frozen: frozenset[str],
    ) -> LinearRegressionParams:
        """Weighted least squares from moments about the centre."""
        mean = first / weight
        if self.fit_intercept and "intercepts" not in frozen:
            covariance = second / weight - np.outer(mean, mean)
        else:
            origin = np.append(np.zeros(len(centre) - 1), old.intercepts)
            shift = mean + centre - origin
            covariance = second / weight - np.outer(mean, mean) + np.outer(shift, shift)
        coefs = old.coefs if "coefs" in frozen else _least_squares(covariance[:-1, :-1], covariance[:-1, -1])
        residual = covariance[-1, -1] - 2 * coefs @ covariance[:-1, -1] + coefs @ covariance[:-1, :-1] @ coefs
        intercept = old.intercepts
        if self.fit_intercept and "intercepts" not in frozen:
            intercept = (mean + centre)[-1] - coefs @ (mean + centre)[:-1]
        return LinearRegressionParams(coefs, intercept, np.maximum(residual, 0.0))

    def _require_errors(self, variances: np.ndarray) -> None:
        bad = np.flatnonzero(~(variances > 0))
        if len(bad):
            raise DegenerateError(
                f"The regressions of components {', '.join(map(str, bad))} fit their rows without any error. "
                "Use fewer components, or give a floor."
            )

    def displace(self, params: LinearRegressionParams, k: int, rng: np.random.RandomState) -> LinearRegressionParams:
        intercepts = params.intercepts.copy()
        intercepts[k] += rng.standard_normal() * np.sqrt(params.variances[k])
        return params._replace(intercepts=intercepts)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * (n_features - 1 + self.fit_intercept + 1)

    def check_params(self, params: LinearRegressionParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        self._require_errors(params.variances)

    # --- rows ---------------------------------------------------------------------------------

    def responses(self, params: LinearRegressionParams, rows: np.ndarray) -> np.ndarray:
        return self.predictors(params, rows)

    def draw(self, params: LinearRegressionParams, k: int, rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        return np.asarray(rng.normal(self.predictors(params, rows)[:, k], np.sqrt(params.variances[k])))


def _least_squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solution of ``a x = b``, the shortest one where columns are collinear; scaled, so that units do not matter."""
    scale = np.sqrt(np.maximum(np.diagonal(a), 0))
    scale = np.where(scale > 0, scale, 1)
    return np.asarray(np.linalg.lstsq(a / np.outer(scale, scale), b / scale, rcond=1e-12)[0] / scale)
