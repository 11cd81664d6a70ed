"""Poisson distributions of independent columns."""

from typing import Any, NamedTuple, Self

import numpy as np

from fastem.families._domain import check_counts, check_values, excess, positive_medians, positive_prior, tabled
from fastem.families._factors import Factor, Term
from fastem.families._linear import log_ratio
from fastem.families._paired import PairedFamily
from fastem.families._rates import RateFamily
from fastem.families._settings import check_column_values
from fastem.families._special import deviance
from fastem.families.family import Family

__all__ = ["ExposedPoisson", "Poisson"]


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
    takes_beside = ("exposure",)

    def exposed(self) -> Family[Any, Any]:
        return ExposedPoisson(self.prior)

    def __init__(self, prior: tuple[float, float] | None = None, centres: Any = None):
        super().__init__(prior)
        self.centres = centres

    def anchored(self, rows: np.ndarray) -> Self:
        return type(self)(self.prior, positive_medians(rows) if self.centres is None else self.centres)

    def check_bound(self, n_features: int) -> None:
        check_column_values("centres", self.centres, n_features)

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

    def base_terms(self, n_features: int) -> Factor:
        return Factor([Term(j, None, c) for j, c in enumerate(self._centres(n_features))], [])

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


class ExposedPoisson(PairedFamily, Poisson):
    """Poisson distributions of counts over exposures: ``(e rate)^x exp(-e rate) / x!``.

    `Poisson` becomes it where ``fit(X, exposure=...)`` gives the exposures e, which follow the
    counts in the rows. Rates are those of an exposure of 1, as are samples.

    Parameters
    ----------
    prior, centres
        As of `Poisson`.
    """

    beside = "exposure"

    def anchored(self, rows: np.ndarray) -> Self:
        counts, exposures = self.halves(rows)
        with np.errstate(all="ignore"):
            return type(self)(self.prior, positive_medians(counts / exposures))

    def check_bound(self, n_features: int) -> None:
        super().check_bound(self.n_counted(n_features))

    def check(self, rows: np.ndarray, first_row: int) -> None:
        counts, exposures = self.halves(rows)
        check_counts(counts, first_row)
        check_values(exposures, first_row, ~(exposures > 0), "exposures must be positive")

    def base(self, rows: np.ndarray) -> np.ndarray:
        counts, exposures = self.halves(rows.astype(np.float64))
        expected = exposures * self._centres(counts.shape[1])
        return -np.nansum(_surprise(counts, expected), axis=1)

    def base_terms(self, n_features: int) -> Factor:
        d = n_features // 2
        return Factor([Term(j, d + j, c) for j, c in enumerate(self._centres(d))], [])

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        counts, exposures = self.halves(rows)
        return np.sqrt(counts / exposures)

    def alike(self, rows: np.ndarray, n_components: int) -> PoissonParams:
        return PoissonParams(np.ones((n_components, rows.shape[1] // 2)))

    def natural(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray]:
        slopes = np.hstack(super().natural(params))
        return slopes, np.zeros_like(slopes)

    def excluding(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray] | None:
        never = np.hstack([params.rates == 0, np.zeros(params.rates.shape, bool)]).astype(np.float64)
        return (never, np.zeros_like(never)) if never.any() else None


def _surprise(counts: np.ndarray, centre: Any) -> np.ndarray:
    """Minus the log-density at a rate."""
    return deviance(counts, centre) + excess(counts)
