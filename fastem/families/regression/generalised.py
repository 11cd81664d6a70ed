"""Generalised linear regressions whose M-step is one damped Newton (IRLS) step."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numba import njit

from fastem.engine.statistics import zeros
from fastem.families.family import Maximized, Prepared
from fastem.families.gaussian.centring import centred
from fastem.families.gaussian.triangular_kernels import add_triangular, moment_positions, triangular_scratch, unpack
from fastem.families.regression.family import Bounds, RegressionFamily, centred_intercepts, centres
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.simd import (
    add_totals,
    elements,
    fill,
    fma,
    huge,
    load,
    maximum,
    minimum,
    splat,
    store,
    total,
    where_greater,
)
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import exp, log

__all__ = ["GeneralisedRegression", "LogisticKernel", "PoissonRegressionKernel"]


class PoissonRegressionKernel(NamedTuple):
    """Centres of the columns beside the response in two parts, slopes (K, p); intercepts, log-weights (K,)."""

    centres: np.ndarray
    centres_low: np.ndarray
    slopes: np.ndarray
    intercepts: np.ndarray
    log_weights: np.ndarray


class LogisticKernel(NamedTuple):
    """The same for logistic regressions."""

    centres: np.ndarray
    centres_low: np.ndarray
    slopes: np.ndarray
    intercepts: np.ndarray
    log_weights: np.ndarray


class RegressionParams(NamedTuple):
    """Coefficients (K, p), intercepts (K,)."""

    coefs: np.ndarray
    intercepts: np.ndarray


class CurvatureStatistics(NamedTuple):
    """At the present parameters: sums of r v, r v z and r v z z', v the variances of the responses, z the
    columns about their centres; sums of r e and r e z, e the errors.
    """

    weights: np.ndarray
    first: np.ndarray
    second: np.ndarray
    errors: np.ndarray
    slopes: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _predictors(tile, params, k, b):  # type: ignore[no-untyped-def]
    """Linear predictors; a column between those of the slopes and the response is an offset."""
    p = params.slopes.shape[1]
    m = n_points(tile)
    s = splat(params.intercepts, k)
    if tile.shape[0] > p + 1:
        s = s + load(tile, p * m + b)
    for j in range(p):
        z = centred(load(tile, j * m + b), params.centres, params.centres_low, k * p + j)
        s = fma(splat(params.slopes, k * p + j), z, s)
    return s


@njit(error_model="numpy")
def _keep_within(eta, most):  # type: ignore[no-untyped-def]
    return maximum(minimum(eta, fill(eta, most)), fill(eta, -most))


@implements(log_density, PoissonRegressionKernel)
def _poisson_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    for k in range(out.shape[0]):
        weight = splat(params.log_weights, k)
        for b in range(0, m, elements(tile)):
            y = load(tile, (tile.shape[0] - 1) * m + b)
            eta = _keep_within(_predictors(tile, params, k, b), 79.0)
            mean = exp(eta)
            store(scratch, k * m + b, mean)
            value = weight + (y * eta - mean)
            store(out, k * m + b, where_greater(y, fill(y, 0.0) - huge(y), value, weight))


@implements(add_statistics, PoissonRegressionKernel)
def _add_poisson(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    k_m = resp.shape[0] * n_points(tile)
    m = n_points(tile)
    for k in range(resp.shape[0]):
        for b in range(0, m, elements(tile)):
            y = load(tile, (tile.shape[0] - 1) * m + b)
            zero = fill(y, 0.0)
            mean = load(scratch, k * m + b)
            r = where_greater(y, zero - huge(y), load(resp, k * m + b), zero)
            store(scratch, k * m + b, r * mean)
            store(scratch, k_m + k * m + b, r * (where_greater(y, zero - huge(y), y, zero) - mean))
    _add_moments(tile, resp, counts, params, stats, lane, scratch)


@implements(log_density, LogisticKernel)
def _logistic_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    for k in range(out.shape[0]):
        weight = splat(params.log_weights, k)
        for b in range(0, m, elements(tile)):
            y = load(tile, (tile.shape[0] - 1) * m + b)
            zero = fill(y, 0.0)
            eta = _keep_within(_predictors(tile, params, k, b), 79.0)
            one = fill(y, 1.0)
            small = exp(minimum(eta, zero - eta))
            store(scratch, k * m + b, where_greater(eta, zero, one, small) / (one + small))
            soft = maximum(eta, zero) + log(one + small)
            store(out, k * m + b, where_greater(y, zero - huge(y), weight + (y * eta - soft), weight))


@implements(add_statistics, LogisticKernel)
def _add_logistic(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    k_m = resp.shape[0] * n_points(tile)
    m = n_points(tile)
    for k in range(resp.shape[0]):
        for b in range(0, m, elements(tile)):
            y = load(tile, (tile.shape[0] - 1) * m + b)
            zero = fill(y, 0.0)
            one = fill(y, 1.0)
            mean = load(scratch, k * m + b)
            r = where_greater(y, zero - huge(y), load(resp, k * m + b), zero)
            store(scratch, k * m + b, r * (mean * (one - mean)))
            store(scratch, k_m + k * m + b, r * (where_greater(y, zero - huge(y), y, zero) - mean))
    _add_moments(tile, resp, counts, params, stats, lane, scratch)


@njit(error_model="numpy")
def _add_moments(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    """Moments by the weights, then the errors, that lie at the beginning of `scratch`, (2, K, m)."""
    p = params.slopes.shape[1]
    m = n_points(tile)
    n_components = resp.shape[0]
    weighted = scratch[: n_components * m].reshape(n_components, m)
    errors = scratch[n_components * m : 2 * n_components * m].reshape(n_components, m)
    rest = scratch[2 * n_components * m :]
    stride = stats.second.shape[2]
    columns = tile[:p]
    add_triangular(
        columns, weighted, counts, params, stats.first, stats.second, lane * n_components * stride, stride, lane, rest
    )
    zero = fill(load(tile, 0), 0.0)
    for k in range(n_components):
        s = zero
        e = zero
        for b in range(0, m, elements(tile)):
            s = s + load(weighted, k * m + b)
            e = e + load(errors, k * m + b)
        stats.weights[lane, k] += total(s)
        stats.errors[lane, k] += total(e)
        for j in range(p):
            s = zero
            for b in range(0, m, elements(tile)):
                z = centred(load(tile, j * m + b), params.centres, params.centres_low, k * p + j)
                s = fma(load(errors, k * m + b), z, s)
            add_totals(stats.slopes, (lane * n_components + k) * p + j, (s,))


# --- the base ---------------------------------------------------------------------------------


class GeneralisedRegression(RegressionFamily):
    """Base of regressions with the canonical link.

    An M-step is one step of iteratively reweighted least squares (Newton) from the present
    parameters, so there is one pass to a step (generalized EM). Newton's step may lead down where
    the curvature changes along it; no row's predictor can change by more than R, which the range of
    the columns tells, and then ``log(1 + R) / R`` of the step surely leads up (Bach 2010,
    Self-concordant analysis for logistic regression; it holds for exp as well). Near the maximum
    that is the whole step.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Whether there is an intercept.
    bounds : array, optional
        Centre and range of the columns; set when data are met.
    has_offset : bool, default=False
        Whether the column before the response is an offset of the predictor, which
        ``fit(X, y, offset=...)`` puts there.
    """

    parameters = RegressionParams
    takes_beside: ClassVar[tuple[str, ...]] = ("offset",)
    takes_steps = True
    kernel: ClassVar[type]

    def __init__(self, fit_intercept: bool = True, bounds: Any = None, has_offset: bool = False):
        self.fit_intercept = fit_intercept
        self.bounds = bounds
        self.has_offset = has_offset

    @property
    def beside(self) -> str | None:  # type: ignore[override]  # by the settings
        return "offset" if self.has_offset else None

    def with_offset(self) -> Self:
        return type(self)(self.fit_intercept, self.bounds, True)

    def _n_slopes(self, n_features: int) -> int:
        return n_features - 1 - self.has_offset

    @abstractmethod
    def inverse_link(self, predictors: np.ndarray) -> np.ndarray:
        """Means of responses."""

    @abstractmethod
    def variance(self, means: np.ndarray) -> np.ndarray:
        """Variances of responses."""

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> CurvatureStatistics:
        p = self._n_slopes(n_features)
        second = (n_components, len(moment_positions(p)[0]))
        one, each = (n_components,), (n_components, p)
        return zeros(CurvatureStatistics, lanes, weights=one, first=each, second=second, errors=one, slopes=each)

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return 2 * n_components * tile_rows + triangular_scratch(n_features, tile_rows)

    def prepare(
        self,
        params: RegressionParams,
        about: RegressionParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        k, p = params.coefs.shape
        offset = float(log_weights.max())
        fields = params.coefs, centred_intercepts(params, self.bounds), log_weights - offset
        of_columns = centres(self.bounds, k, p, dtype)
        return Prepared(self.kernel(*of_columns, *(np.ascontiguousarray(f, dtype) for f in fields)), offset)

    def expected(self, params: RegressionParams, counts: np.ndarray) -> CurvatureStatistics:
        """Without errors, of columns that are uniform over the box of the data."""
        k, p = params.coefs.shape
        rows = self.draw_columns(2000, np.random.RandomState(0))
        z = rows - self._centre(p)
        v = self.variance(self.inverse_link(np.clip(self.predictors(params, rows), -79, 79))) / len(rows) * counts
        second = np.einsum("nk,ni,nj->kij", v, z, z)[(slice(None), *moment_positions(p))]
        return CurvatureStatistics(v.sum(axis=0), v.T @ z, second, np.zeros(k), np.zeros((k, p)))

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> RegressionParams:
        return RegressionParams(np.zeros((n_components, self._n_slopes(rows.shape[1]))), np.zeros(n_components))

    def maximize(
        self,
        stats: CurvatureStatistics,
        counts: np.ndarray,
        about: RegressionParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        p = about.coefs.shape[1]
        second = unpack(stats.second, p)
        coefs, intercepts = about.coefs.copy(), about.intercepts.copy()
        bounds = Bounds(*self.bounds)
        centre = bounds.centre[:p]
        reach = np.maximum(bounds.highs - bounds.centre, bounds.centre - bounds.lows)[:p]
        free = np.array([self.fit_intercept and "intercepts" not in frozen, *[("coefs" not in frozen)] * p])
        # without an intercept the columns count from 0, not from their centre
        shift = np.zeros(p) if free[0] else centre
        for k in np.flatnonzero(~dead):
            hessian = np.empty((p + 1, p + 1))
            hessian[0, 0] = stats.weights[k]
            hessian[0, 1:] = hessian[1:, 0] = stats.first[k] + stats.weights[k] * shift
            cross = np.outer(stats.first[k], shift)
            hessian[1:, 1:] = second[k] + cross + cross.T + stats.weights[k] * np.outer(shift, shift)
            gradient = np.append(stats.errors[k], stats.slopes[k] + stats.errors[k] * shift)
            step = np.zeros(p + 1)
            step[free] = _solve(hessian[np.ix_(free, free)], gradient[free])
            r = max(float(np.abs(step[0]) + np.abs(step[1:]) @ (reach + np.abs(shift))), 1e-12)
            step *= np.log1p(r) / r
            coefs[k] += step[1:]
            intercepts[k] += step[0] - (step[1:] @ centre if free[0] else 0.0)
        return Maximized(self.keep(RegressionParams(coefs, intercepts), about, dead, frozen))

    def displace(self, params: RegressionParams, k: int, rng: np.random.RandomState) -> RegressionParams:
        intercepts = params.intercepts.copy()
        intercepts[k] += 0.5 * rng.standard_normal()
        return params._replace(intercepts=intercepts)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * (self._n_slopes(n_features) + self.fit_intercept)

    def responses(self, params: RegressionParams, rows: np.ndarray) -> np.ndarray:
        return self.inverse_link(self.predictors(params, rows))


def _solve(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """A Newton step, the shortest one where columns are collinear; scaled, so that units do not matter."""
    if not len(gradient):
        return gradient
    scale = np.sqrt(np.maximum(np.diagonal(hessian), 0))
    scale = np.where(scale > 0, scale, 1)
    return np.asarray(np.linalg.lstsq(hessian / np.outer(scale, scale), gradient / scale, rcond=1e-12)[0] / scale)
