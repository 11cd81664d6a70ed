"""Exponential distributions of independent columns."""

from typing import NamedTuple

import numpy as np

from fastem.families._domain import check_values, positive_prior
from fastem.families._linear import log_ratio
from fastem.families._rates import RateFamily

__all__ = ["Exponential"]


class ExponentialParams(NamedTuple):
    """Rates (K, d)."""

    rates: np.ndarray


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
