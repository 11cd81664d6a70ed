"""Poisson distributions of independent columns."""

from typing import NamedTuple

import numpy as np

from fastem.families._domain import check_counts, log_factorial, positive_prior
from fastem.families._linear import LinearFamily, safe_log

__all__ = ["Poisson"]


class PoissonParams(NamedTuple):
    """Rates (K, d)."""

    rates: np.ndarray


class Poisson(LinearFamily):
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

    def __init__(self, prior: tuple[float, float] | None = None):
        self.prior = prior

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_counts(rows, first_row)

    def base(self, rows: np.ndarray) -> np.ndarray:
        return -log_factorial(rows).sum(axis=1)

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.sqrt(rows)

    def natural(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray]:
        return safe_log(params.rates), -params.rates

    def about(self, rows: np.ndarray, n_components: int) -> PoissonParams:
        return PoissonParams(np.ones((n_components, rows.shape[1])))

    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> PoissonParams:
        shape, rate = positive_prior(self.prior)
        return PoissonParams((sums + shape - 1) / (cells + rate))

    def log_prior(self, params: PoissonParams) -> float:
        shape, rate = positive_prior(self.prior)
        return float(np.sum((shape - 1) * safe_log(params.rates) - rate * params.rates))

    def check_settings(self) -> None:
        positive_prior(self.prior)

    def check_params(self, params: PoissonParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.rates < 0).any():
            raise ValueError("The parameter 'rates' must not be negative.")

    def displace(self, params: PoissonParams, k: int, rng: np.random.RandomState) -> PoissonParams:
        rates = params.rates.copy()
        rates[k] = np.square(np.sqrt(rates[k]) + 0.5 * rng.standard_normal(rates.shape[1]))
        return PoissonParams(rates)

    def sample(self, params: PoissonParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.poisson(params.rates[k], size=(n, params.rates.shape[1])).astype(np.float64)

    def means(self, params: PoissonParams) -> np.ndarray:
        return params.rates
