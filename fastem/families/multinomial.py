"""Multinomial distributions: rows of counts."""

from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import xlogy

from fastem.families._domain import check_concentration, check_counts, excess, tabled
from fastem.families._factors import Factor, Sum, Term
from fastem.families._linear import LinearFamily, LinearStatistics, log_ratio
from fastem.families._settings import check_column_values, check_whole
from fastem.families._special import deviance
from fastem.families.family import Facts, Maximized

__all__ = ["Multinomial"]


class MultinomialParams(NamedTuple):
    """Probabilities (K, d); they sum to 1 in each component."""

    probabilities: np.ndarray


class Multinomial(LinearFamily):
    """Multinomial distributions: a row's counts, given their sum, fall into d cells.

    Parameters
    ----------
    prior : float, default=1
        Concentration of a Dirichlet prior on the probabilities, at least 1; 1 is none.
    n_trials : int, optional
        Sum of the rows that `sample` draws; default: the mean sum of the data.
    centres : array-like of shape (d,), optional
        Probabilities from which logarithms are counted, so that large counts lose no digits; set
        when data are met.

    Notes
    -----
    A row with a missing count has no known sum: missing cells are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Multinomial
    >>> Mixture(Multinomial()).fit(np.array([[1, 2], [0, 1]])).probabilities_.tolist()
    [[0.25, 0.75]]
    """

    parameters = MultinomialParams
    is_discrete = True
    takes_missing = False

    def __init__(self, prior: float = 1.0, n_trials: int | None = None, centres: Any = None):
        self.prior = prior
        self.n_trials = n_trials
        self.centres = centres

    def bind(self, facts: Facts) -> Self:
        mean = round(float(facts.rows.sum(axis=1).mean()))
        return type(self)(self.prior, mean if self.n_trials is None else self.n_trials, self.centres)

    def anchored(self, rows: np.ndarray) -> Self:
        if self.centres is not None:
            return self
        totals = np.where(np.isfinite(rows) & (rows > 0), rows, 0).sum(axis=0, dtype=np.float64) + 1
        return type(self)(self.prior, self.n_trials, totals / totals.sum())

    def check_bound(self, n_features: int) -> None:
        check_column_values("centres", self.centres, n_features)
        check_whole("n_trials", self.n_trials)

    def _centres(self, n_features: int) -> np.ndarray:
        return np.full(n_features, 1 / n_features) if self.centres is None else np.asarray(self.centres)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_counts(rows, first_row)

    def base(self, rows: np.ndarray) -> np.ndarray:
        """``log (n! / prod x_j! c_j^x_j)`` with the centres c of the columns."""
        totals = rows.sum(axis=1, dtype=np.float64)
        found = tabled(excess, totals)
        for x, c in zip(rows.T, self._centres(rows.shape[1]), strict=True):
            found -= tabled(excess, x) + deviance(x, np.maximum(totals * c, np.finfo(np.float64).tiny))
        return found

    def base_terms(self, n_features: int) -> Factor:
        centres = self._centres(n_features)
        terms = [Term(j, n_features, c) for j, c in enumerate(centres)]
        total = Sum(list(range(n_features)), [1.0] * n_features)
        return Factor([Term(n_features, None, 0.0, sign=1.0), *terms], [total])

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)))

    def natural(self, params: MultinomialParams) -> tuple[np.ndarray, np.ndarray]:
        centres = self._centres(params.probabilities.shape[1])
        return log_ratio(params.probabilities, centres), np.zeros_like(params.probabilities)

    def excluding(self, params: MultinomialParams) -> tuple[np.ndarray, np.ndarray] | None:
        never = (params.probabilities == 0).astype(np.float64)
        return (never, np.zeros_like(never)) if never.any() else None

    def alike(self, rows: np.ndarray, n_components: int) -> MultinomialParams:
        return MultinomialParams(np.full((n_components, rows.shape[1]), 1 / rows.shape[1]))

    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> MultinomialParams:
        expected = sums + (self.prior - 1)
        totals = expected.sum(axis=1, keepdims=True)
        even = np.full(expected.shape, 1 / expected.shape[1])
        return MultinomialParams(np.divide(expected, totals, out=even, where=totals > 0))

    def maximize(
        self,
        stats: LinearStatistics,
        counts: np.ndarray,
        about: MultinomialParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        return Maximized(self.keep(self.estimate(stats.first, stats.absent), about, dead, frozen))

    def log_prior(self, params: MultinomialParams) -> float:
        return float(np.sum(xlogy(self.prior - 1, params.probabilities)))

    def displace(self, params: MultinomialParams, k: int, rng: np.random.RandomState) -> MultinomialParams:
        p = params.probabilities.copy()
        p[k] *= np.exp(0.5 * rng.standard_normal(p.shape[1]))
        p[k] /= p[k].sum()
        return MultinomialParams(p)

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        return self.n_parameters(n_components, n_features) * ("probabilities" in frozen)

    def check_settings(self) -> None:
        check_concentration(self.prior)

    def check_params(self, params: MultinomialParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.probabilities < 0).any() or not np.allclose(params.probabilities.sum(axis=1), 1):
            raise ValueError("The parameter 'probabilities' must not be negative and sum to 1 in each component.")

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * (n_features - 1)

    def sample(self, params: MultinomialParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.multinomial(int(self.n_trials or 0), params.probabilities[k], size=n).astype(np.float64)

    def means(self, params: MultinomialParams) -> np.ndarray:
        """Expected shares, of a sum of 1."""
        return params.probabilities
