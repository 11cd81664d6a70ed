"""Poisson distributions of independent columns."""

from typing import NamedTuple

import numpy as np

from fastem.families._domain import check_counts, log_factorial, positive_prior
from fastem.families._linear import safe_log
from fastem.families._rates import RateFamily

__all__ = ["Poisson"]


class PoissonParams(NamedTuple):
    """Rates (K, d)."""

    rates: np.ndarray


class Poisson(RateFamily):
    """Poisson distributions: ``rate^x exp(-rate) / x!`` for counts x in each column.

    Parameters
    ----------
    prior : tuple of float, optional
        Shape and rate of a gamma prior on the rates.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Poisson
    >>> Mixture(Poisson()).fit(np.array([[1], [3], [2]])).rates_.tolist()
    [[2.0]]
    """

    parameters = PoissonParams
    is_discrete = True

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_counts(rows, first_row)

    def base(self, rows: np.ndarray) -> np.ndarray:
        return -log_factorial(rows).sum(axis=1)

    def natural(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray]:
        return safe_log(params.rates), -params.rates

    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> PoissonParams:
        shape, rate = positive_prior(self.prior)
        return PoissonParams((sums + shape - 1) / (cells + rate))

    def displace(self, params: PoissonParams, k: int, rng: np.random.RandomState) -> PoissonParams:
        rates = params.rates.copy()
        rates[k] = np.square(np.sqrt(rates[k]) + 0.5 * rng.standard_normal(rates.shape[1]))
        return PoissonParams(rates)

    def sample(self, params: PoissonParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.poisson(params.rates[k], size=(n, params.rates.shape[1])).astype(np.float64)

    def means(self, params: PoissonParams) -> np.ndarray:
        return params.rates
