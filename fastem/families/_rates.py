"""What families of rates share: a gamma prior, checks, where a fit begins."""

from typing import Any

import numpy as np
from scipy.special import xlogy

from fastem.families._domain import positive_prior
from fastem.families._linear import LinearFamily

__all__ = ["RateFamily"]


class RateFamily(LinearFamily):
    """Base of families whose parameters are rates (K, d), of values that are not negative.

    Parameters
    ----------
    prior : tuple of float, optional
        Shape and rate of a gamma prior on the rates.
    """

    def __init__(self, prior: tuple[float, float] | None = None):
        self.prior = prior

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.sqrt(rows)

    def alike(self, rows: np.ndarray, n_components: int) -> Any:
        return self.parameters(np.ones((n_components, rows.shape[1])))

    def log_prior(self, params: Any) -> float:
        shape, rate = positive_prior(self.prior)
        return float(np.sum(xlogy(shape - 1, params.rates) - rate * params.rates))

    def check_settings(self) -> None:
        positive_prior(self.prior)

    def check_params(self, params: Any, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.rates < 0).any():
            raise ValueError("The parameter 'rates' must not be negative.")
