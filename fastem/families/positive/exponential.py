"""Exponential distributions of independent columns."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastem.families._domain import check_values, positive_prior
from fastem.families._linear import log_ratio
from fastem.families._rates import RateFamily
from fastem.families.family import Family
from fastem.families.positive.censored import CensoredFamily, bounded, cell_at, known_log_density, parts_of
from fastem.families.positive.truncated import position_within
from fastem.kernels.dispatch import add_statistics, implements, log_density

__all__ = ["CensoredExponential", "Exponential"]


class ExponentialParams(NamedTuple):
    """Rates (K, d)."""

    rates: np.ndarray


class CensoredExponentialKernel(NamedTuple):
    """Kernel parameters of the cells that are known, and rates (K, d)."""

    plain: Any
    rates: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, CensoredExponentialKernel)
def _censored_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    places = known_log_density(tile, params, out, scratch)
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        for k in range(out.shape[0]):
            rate = params.rates[k, j]
            width = rate * (high - low)
            log_within = math.log(-math.expm1(-width)) if width > 0.0 else -math.inf
            out[k, b] += bounded(log_within - rate * low)


@implements(add_statistics, CensoredExponentialKernel)
def _add_censored(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    known, places, rest = parts_of(tile, scratch)
    add_statistics(known, resp, counts, params.plain, stats, lane, rest)
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        for k in range(resp.shape[0]):
            rate = max(params.rates[k, j], 1e-300)
            width = high - low
            beyond = 1 / rate if width == math.inf else width * position_within(rate * width)
            stats.first[lane, k, j] += resp[k, b] * (low + beyond)
            stats.absent[lane, k, j] -= resp[k, b]


# --- the families -----------------------------------------------------------------------------


class Exponential(RateFamily):
    """Exponential distributions: ``rate exp(-rate x)`` for x >= 0 in each column.

    Parameters
    ----------
    prior : tuple of float, optional
        Shape and rate of a gamma prior on the rates.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Exponential
    >>> Mixture(Exponential()).fit(np.array([[1.0], [3.0]])).rates_.tolist()
    [[0.5]]
    """

    parameters = ExponentialParams
    takes_beside = ("censored",)

    def censored(self) -> Family[Any, Any]:
        return CensoredExponential(self.prior)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~(rows >= 0), "the values must not be negative")

    def natural(self, params: ExponentialParams) -> tuple[np.ndarray, np.ndarray]:
        return -params.rates, log_ratio(params.rates, 1.0)

    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> ExponentialParams:
        shape, rate = positive_prior(self.prior)
        return ExponentialParams((cells + shape - 1) / np.maximum(sums + rate, 1e-300))

    def displace(self, params: ExponentialParams, k: int, rng: np.random.RandomState) -> ExponentialParams:
        rates = params.rates.copy()
        rates[k] *= np.exp(0.5 * rng.standard_normal(rates.shape[1]))
        return ExponentialParams(rates)

    def sample(self, params: ExponentialParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.exponential(1 / params.rates[k], size=(n, params.rates.shape[1]))

    def means(self, params: ExponentialParams) -> np.ndarray:
        return 1 / params.rates


class CensoredExponential(CensoredFamily, Exponential):
    """Exponential distributions of values of which some are censored.

    `Exponential` becomes it where ``fit(X, censored=...)`` or ``fit(X, upper=...)`` tells where values lie. Samples are
    not censored.

    Parameters
    ----------
    prior
        As of `Exponential`.
    """

    censored_kernel = CensoredExponentialKernel

    def cell_parameters(self, params: ExponentialParams, about: ExponentialParams) -> tuple[np.ndarray, ...]:
        return (params.rates,)

    def alike(self, rows: np.ndarray, n_components: int) -> ExponentialParams:
        points = self.points(rows)
        sums, cells = np.nansum(points, axis=0, dtype=np.float64), (~np.isnan(points)).sum(axis=0)
        rates = np.where(sums > 0, cells / np.where(sums > 0, sums, 1.0), 1.0)
        return ExponentialParams(np.tile(rates, (n_components, 1)))
