"""Negative binomial distributions of independent columns."""

from typing import Any, NamedTuple, Self

import numpy as np

from fastem.families._domain import LARGEST_COUNT, check_counts
from fastem.families._lookup import LookupStatistics, Table, table_of
from fastem.families._settings import check_whole
from fastem.families._special import deviance, stirling
from fastem.families.counts.tables import DRAWS, Counts, CountTable, Rising, count_table, counts_up_to, rises, rising
from fastem.families.family import Family, Maximized, Prepared
from fastem.kernels.dispatch import IMPOSSIBLE

__all__ = ["SIZES", "NegativeBinomial", "NegativeBinomialParams", "log_modes"]

# Between these sizes the likelihood tells them apart; beyond the upper one, times the mean, it is Poisson's.
SIZES = (1e-4, 1e8)


class NegativeBinomialParams(NamedTuple):
    """Means and sizes, both (K, d)."""

    means: np.ndarray
    sizes: np.ndarray


class NegativeBinomial(Family[NegativeBinomialParams, LookupStatistics]):
    """Negative binomial distributions: counts with the variance ``mean + mean^2 / size``.

    A size above 1e7 times the mean says that the counts are no more dispersed than Poisson's.

    Parameters
    ----------
    largest : int, optional
        Largest count that can come; default: the largest one in the data, in `partial_fit` 2^53.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import NegativeBinomial
    >>> Mixture(NegativeBinomial()).fit(np.array([[1], [9], [2]])).means_.round(6).tolist()
    [[4.0]]
    """

    parameters = NegativeBinomialParams
    is_discrete = True
    is_surveyed = True
    takes_beside = ("exposure",)

    def __init__(self, largest: int | None = None):
        self.largest = largest

    def exposed(self) -> Family[Any, Any]:
        from fastem.families.counts.exposed_negative_binomial import ExposedNegativeBinomial  # it is one of these

        return ExposedNegativeBinomial(self.largest)

    # --- data ---------------------------------------------------------------------------------

    def check_bound(self, n_features: int) -> None:
        check_whole("largest", 0 if self.largest is None else self.largest)

    def reach(self, rows: np.ndarray) -> np.ndarray:
        return np.fmax.reduce(rows, axis=None, initial=0, keepdims=True).ravel()

    def widened(self, reach: np.ndarray) -> Self:
        return self if reach[0] <= (self.largest or 0) else type(self)(int(reach[0]))

    def endless(self, given: Any) -> Self:
        return self if given.largest is not None else type(self)(LARGEST_COUNT)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_counts(rows, first_row)

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.sqrt(rows)

    def _counts(self) -> Counts:
        return counts_up_to(float(self.largest or 0))

    def _table(self, n_features: int) -> Table | CountTable:
        counts = self._counts()
        if counts.are_few:
            return table_of((counts.dense,) * n_features)
        return count_table(float(self.largest or 0), n_features)

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> LookupStatistics:
        return self._table(n_features).zeros(lanes, n_components)

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        return self._table(n_features).bytes(n_components)

    def parameter_bytes(self, n_components: int, n_features: int) -> int:
        return 16 * n_components * n_features

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return self._table(n_features).scratch(tile_rows)

    def log_table(self, params: NegativeBinomialParams) -> np.ndarray:
        """Log-probabilities of the table's counts, shape (K, d, values)."""
        x = self._counts().values
        return _log_probabilities(x, params.means[:, :, None], params.sizes[:, :, None])

    def prepare(
        self,
        params: NegativeBinomialParams,
        about: NegativeBinomialParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        k, d = params.means.shape
        return self._table(d).prepare(self.log_table(params).reshape(k, -1).T, log_weights, dtype)

    def expected(self, params: NegativeBinomialParams, counts: np.ndarray) -> LookupStatistics:
        k, d = params.means.shape
        table = self._table(d)
        if isinstance(table, CountTable):
            return table.expected([self.sample(params, i, DRAWS, np.random.RandomState(0)) for i in range(k)], counts)
        density = np.exp(self.log_table(params)).reshape(k, -1)
        return table.expected(counts * density.T, counts)

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> NegativeBinomialParams:
        ones = np.ones((n_components, rows.shape[1]))
        return NegativeBinomialParams(ones, ones)

    def maximize(
        self,
        stats: LookupStatistics,
        counts: np.ndarray,
        about: NegativeBinomialParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        k, d = about.means.shape
        values = self._counts().values
        histograms = self._table(d).histograms(stats, k).T.reshape(k, d, -1)
        cells = histograms.sum(axis=2)
        seen = cells > 1e-12 * counts.sum()
        sums = histograms @ values
        means = about.means if "means" in frozen else np.where(seen, sums / np.where(seen, cells, 1), about.means)
        if "sizes" in frozen:
            return Maximized(self.keep(about._replace(means=means), about, dead, frozen))
        sizes = np.where(seen, _solve_sizes(rising(histograms, self._counts()), cells, sums, means), about.sizes)
        return Maximized(self.keep(NegativeBinomialParams(means, sizes), about, dead, frozen))

    def excludes(self, params: NegativeBinomialParams) -> bool:
        return bool((params.means == 0).any())

    def displace(self, params: NegativeBinomialParams, k: int, rng: np.random.RandomState) -> NegativeBinomialParams:
        means = params.means.copy()
        means[k] *= np.exp(0.5 * rng.standard_normal(means.shape[1]))
        return params._replace(means=means)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 2 * n_components * n_features

    def check_params(self, params: NegativeBinomialParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.means < 0).any() or (params.sizes <= 0).any():
            raise ValueError("The parameters 'means' must not be negative, and 'sizes' must be positive.")

    # --- rows ---------------------------------------------------------------------------------

    def sample(self, params: NegativeBinomialParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        means, sizes = params.means[k], params.sizes[k]
        rates = rng.gamma(sizes, means / sizes, size=(n, len(means)))
        return rng.poisson(rates).astype(np.float64)

    def means(self, params: NegativeBinomialParams) -> np.ndarray:
        return params.means


def log_modes(x: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Log-probabilities of counts where they are what is expected; 0 of the count 0."""
    totals = x + sizes
    safe = np.maximum(x, 1.0)
    logs = 0.5 * (np.log(sizes / totals) - np.log(2 * np.pi * safe)) + stirling(totals) - stirling(sizes)
    return np.where(x > 0, logs - stirling(safe), 0.0)


def _log_probabilities(x: np.ndarray, means: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Log-probabilities of counts, and between them; as differences from what is expected, which are small.

    Loader 2000, Fast and accurate computation of binomial probabilities.
    """
    totals = x + sizes
    expected = np.maximum(totals * means / (means + sizes), 1e-300)
    logs = log_modes(x, sizes) - deviance(x, expected) - deviance(sizes, totals * (sizes / (means + sizes)))
    logs = np.where(means > 0, logs, IMPOSSIBLE)
    return np.where(x > 0, logs, -sizes * np.log1p(means / sizes))


def _solve_sizes(weights: Rising, cells: np.ndarray, sums: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Sizes at which the derivative of the log-likelihood is 0, by bisection of their logarithms.

    The derivative, ``sum r (psi(size + x) - psi(size)) - n log(1 + mean / size) + (n mean - sum) /
    (size + mean)``, goes from positive to negative once; where it stays positive, counts are not
    overdispersed.
    """
    low = np.full(cells.shape, np.log(SIZES[0]))
    high = np.log(SIZES[1] * np.maximum(means, 1.0))
    for _ in range(80):
        middle = (low + high) / 2
        size = np.exp(middle)
        slope = rises(weights, size)[1] - cells * np.log1p(means / size)
        slope += (cells * means - sums) / (size + means)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return np.exp((low + high) / 2)
