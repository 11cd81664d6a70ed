"""Poisson distributions of independent columns."""

from typing import Any, NamedTuple, Self

import numpy as np

from fastem.families._domain import check_counts, excess, positive_medians, positive_prior, tabled
from fastem.families._linear import log_ratio
from fastem.families._rates import RateFamily
from fastem.families._special import deviance
from fastem.family import Facts

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
    centres : array-like of shape (d,), optional
        Rates from which logarithms are counted, so that large counts lose no digits; set when data
        are met.

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

    def __init__(self, prior: tuple[float, float] | None = None, centres: Any = None):
        super().__init__(prior)
        self.centres = centres

    def bind(self, facts: Facts) -> Self:
        return type(self)(self.prior, positive_medians(facts.rows) if self.centres is None else self.centres)

    def _centres(self, n_features: int) -> np.ndarray:
        return np.ones(n_features) if self.centres is None else np.asarray(self.centres)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_counts(rows, first_row)

    def base(self, rows: np.ndarray) -> np.ndarray:
        """``log (c^x exp(-c) / x!)`` with the centre c of each column."""
        found = np.zeros(len(rows))
        for x, c in zip(rows.T, self._centres(rows.shape[1]), strict=True):
            found -= tabled(_surprise, x, c)
        return found

    def natural(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray]:
        centres = self._centres(params.rates.shape[1])
        return log_ratio(params.rates, centres), centres - params.rates

    def excluding(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray] | None:
        never = (params.rates == 0).astype(np.float64)
        return (never, np.zeros_like(never)) if never.any() else None

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


def _surprise(counts: np.ndarray, centre: float) -> np.ndarray:
    """Minus the log-density at a rate."""
    return deviance(counts, centre) + excess(counts)
