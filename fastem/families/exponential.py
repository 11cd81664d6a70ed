"""Exponential distributions of independent columns."""

from typing import NamedTuple

import numpy as np

from fastem.families._domain import check_values, positive_prior
from fastem.families._linear import LinearFamily, safe_log

__all__ = ["Exponential"]


class ExponentialParams(NamedTuple):
    """Rates (K, d)."""

    rates: np.ndarray


class Exponential(LinearFamily):
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

    def __init__(self, prior: tuple[float, float] | None = None):
        self.prior = prior

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~(rows >= 0), "the values must not be negative")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.sqrt(rows)

    def natural(self, params: ExponentialParams) -> tuple[np.ndarray, np.ndarray]:
        return -params.rates, safe_log(params.rates)

    def about(self, rows: np.ndarray, n_components: int) -> ExponentialParams:
        return ExponentialParams(np.ones((n_components, rows.shape[1])))

    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> ExponentialParams:
        shape, rate = positive_prior(self.prior)
        return ExponentialParams((cells + shape - 1) / np.maximum(sums + rate, 1e-300))

    def log_prior(self, params: ExponentialParams) -> float:
        shape, rate = positive_prior(self.prior)
        return float(np.sum((shape - 1) * safe_log(params.rates) - rate * params.rates))

    def check_settings(self) -> None:
        positive_prior(self.prior)

    def check_params(self, params: ExponentialParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.rates < 0).any():
            raise ValueError("The parameter 'rates' must not be negative.")

    def displace(self, params: ExponentialParams, k: int, rng: np.random.RandomState) -> ExponentialParams:
        rates = params.rates.copy()
        rates[k] *= np.exp(0.5 * rng.standard_normal(rates.shape[1]))
        return ExponentialParams(rates)

    def sample(self, params: ExponentialParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.exponential(1 / params.rates[k], size=(n, params.rates.shape[1]))

    def means(self, params: ExponentialParams) -> np.ndarray:
        return 1 / params.rates
