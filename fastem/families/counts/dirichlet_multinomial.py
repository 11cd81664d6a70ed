"""Dirichlet-multinomial distributions: rows of counts that are more dispersed than multinomial ones."""

from typing import Any, NamedTuple, Self

import numpy as np

from fastem.families._domain import LARGEST_COUNT, check_counts
from fastem.families._lookup import LookupStatistics, Table, table_of
from fastem.families._settings import check_whole
from fastem.families._special import stirling
from fastem.families.counts.tables import DRAWS, Counts, CountTable, count_table, counts_up_to, rises, rising
from fastem.families.family import Facts, Family, Maximized, Prepared

__all__ = ["DirichletMultinomial"]

_ITERATIONS = 200
# Beyond this sum of concentrations, times the mean sum of a row, the distribution is multinomial to all digits.
_LARGEST_SUM = 1e8
# What no fit reaches, for rows of any sum.
_LARGEST = 1e30


class DirichletMultinomialParams(NamedTuple):
    """Concentrations (K, d)."""

    concentrations: np.ndarray


class DirichletMultinomial(Family[DirichletMultinomialParams, LookupStatistics]):
    """Dirichlet-multinomial distributions: multinomial counts whose probabilities vary from row to row.

    With one component it is the maximum likelihood fit of the compound Dirichlet distribution.
    The sums of an M-step are histograms of the counts, so it needs no more passes for all its
    iterations (Zhou and Lange 2010, MM algorithms for some discrete multivariate distributions;
    Newton steps where they go up).

    Parameters
    ----------
    largest : int, optional
        Largest sum of a row that can come; default: that of the data, in `partial_fit` 2^53.
    n_trials : int, optional
        Sum of the rows that `sample` draws; default: the mean sum of the data.

    Notes
    -----
    A row with a missing count has no known sum: missing cells are refused. Concentrations that sum
    to more than 1e7 times the rows' mean sum say that the counts are multinomial.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import DirichletMultinomial
    >>> X = np.array([[9, 1], [2, 8], [7, 3], [1, 9]])
    >>> fit = Mixture(DirichletMultinomial()).fit(X)
    >>> bool(fit.concentrations_.sum() < 10)
    True
    """

    parameters = DirichletMultinomialParams
    is_discrete = True
    is_surveyed = True
    takes_missing = False

    def __init__(self, largest: int | None = None, n_trials: int | None = None):
        self.largest = largest
        self.n_trials = n_trials

    # --- data ---------------------------------------------------------------------------------

    def bind(self, facts: Facts) -> Self:
        mean = round(float(facts.rows.sum(axis=1).mean()))
        return type(self)(self.largest, mean if self.n_trials is None else self.n_trials)

    def check_bound(self, n_features: int) -> None:
        check_whole("largest", 0 if self.largest is None else self.largest)
        check_whole("n_trials", self.n_trials)

    def reach(self, rows: np.ndarray) -> np.ndarray:
        return rows.sum(axis=1).max(initial=0, keepdims=True)

    def widened(self, reach: np.ndarray) -> Self:
        return self if reach[0] <= (self.largest or 0) else type(self)(int(reach[0]), self.n_trials)

    def endless(self, given: Any) -> Self:
        return self if given.largest is not None else type(self)(LARGEST_COUNT, self.n_trials)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_counts(rows, first_row)

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)))

    def _counts(self) -> Counts:
        return counts_up_to(float(self.largest or 0))

    def _table(self, n_features: int) -> Table | CountTable:
        counts = self._counts()
        if counts.are_few:
            return table_of((counts.dense,) * n_features, counts.dense)
        return count_table(float(self.largest or 0), n_features, has_sums=True)

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> LookupStatistics:
        return self._table(n_features).zeros(lanes, n_components)

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        return self._table(n_features).bytes(n_components)

    def parameter_bytes(self, n_components: int, n_features: int) -> int:
        return 8 * n_components * n_features

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return self._table(n_features).scratch(tile_rows)

    def prepare(
        self,
        params: DirichletMultinomialParams,
        about: DirichletMultinomialParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        x = self._counts().values
        sums = params.concentrations.sum(axis=1)[:, None, None]
        # n! belongs to the sums, x! to the counts
        parts = np.concatenate([_log_ways(params.concentrations[:, :, None], x), -_log_ways(sums, x)], axis=1)
        table = self._table(params.concentrations.shape[1])
        return table.prepare(parts.reshape(len(sums), -1).T, log_weights, dtype)

    def expected(self, params: DirichletMultinomialParams, counts: np.ndarray) -> LookupStatistics:
        """As of rows that have the data's mean sum and the beta-binomial law of each column."""
        k, d = params.concentrations.shape
        n = float(self.n_trials or 0)
        table = self._table(d)
        if isinstance(table, CountTable):
            return table.expected([self.sample(params, i, DRAWS, np.random.RandomState(0)) for i in range(k)], counts)
        x = self._counts().values
        alphas = params.concentrations[:, :, None]
        rest = params.concentrations.sum(axis=1)[:, None, None] - alphas
        logs = _log_ways(alphas, x) + _log_ways(rest, np.maximum(n - x, 0)) - _log_ways(alphas + rest, np.array([n]))
        density = np.exp(np.where(x <= n, logs, -np.inf))
        totals = np.tile(x == n, (k, 1, 1)).astype(np.float64)
        parts = counts[:, None, None] * np.concatenate([density, totals], axis=1)
        return table.expected(parts.reshape(k, -1).T, counts)

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> DirichletMultinomialParams:
        return DirichletMultinomialParams(np.ones((n_components, rows.shape[1])))

    def maximize(
        self,
        stats: LookupStatistics,
        counts: np.ndarray,
        about: DirichletMultinomialParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        k, d = about.concentrations.shape
        counted = self._counts()
        histograms = self._table(d).histograms(stats, k).T.reshape(k, d + 1, -1)
        alphas = [
            old if is_dead else _fit_concentrations(of_k, counted, old)
            for of_k, old, is_dead in zip(histograms, about.concentrations, dead, strict=True)
        ]
        return Maximized(self.keep(DirichletMultinomialParams(np.array(alphas)), about, dead, frozen))

    def displace(
        self, params: DirichletMultinomialParams, k: int, rng: np.random.RandomState
    ) -> DirichletMultinomialParams:
        moved = params.concentrations.copy()
        moved[k] *= np.exp(0.5 * rng.standard_normal(moved.shape[1]))
        return DirichletMultinomialParams(moved)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features

    def check_params(self, params: DirichletMultinomialParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.concentrations <= 0).any() or not (params.concentrations <= _LARGEST).all():
            raise ValueError(f"The parameter 'concentrations' must be positive, and not above {_LARGEST:g}.")

    # --- rows ---------------------------------------------------------------------------------

    def sample(self, params: DirichletMultinomialParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        p = rng.dirichlet(params.concentrations[k], size=n)
        return np.array([rng.multinomial(int(self.n_trials or 0), row) for row in p], dtype=np.float64)

    def means(self, params: DirichletMultinomialParams) -> np.ndarray:
        """Expected shares, of a sum of 1."""
        return np.asarray(params.concentrations / params.concentrations.sum(axis=1, keepdims=True))


def _log_ways(alpha: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``log (alpha (alpha + 1) ... (alpha + x - 1) / x!)``, of sums of positive numbers: nothing cancels."""
    safe = np.maximum(x, 1.0)
    logs = safe * np.log1p(alpha / safe) + alpha * np.log1p(safe / alpha)
    logs = logs + 0.5 * (np.log(alpha / (safe + alpha)) - np.log(2 * np.pi * safe))
    return np.where(x > 0, logs + stirling(safe + alpha) - stirling(alpha) - stirling(safe), 0.0)


class _Likelihood:
    """Log-likelihood of concentrations by histograms of counts (d, values) and of their sums (values,)."""

    def __init__(self, histograms: np.ndarray, counts: Counts):
        self.columns, self.sums = rising(histograms[:-1], counts), rising(histograms[-1], counts)
        self.totals = histograms[:-1] @ counts.values
        self.mean_sum = float(self.totals.sum() / max(histograms[-1].sum(), np.finfo(np.float64).tiny))

    def value(self, alphas: np.ndarray) -> float:
        return float(np.sum(rises(self.columns, alphas)[0]) - rises(self.sums, alphas.sum())[0])

    def derivatives(self, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
        """First and second derivatives of the columns' part (d,), and of the sums' part."""
        _, slopes, curves = rises(self.columns, alphas)
        _, slope, curve = rises(self.sums, alphas.sum())
        return slopes, curves, float(slope), float(curve)


def _fit_concentrations(histograms: np.ndarray, counts: Counts, alphas: np.ndarray) -> np.ndarray:
    """Concentrations (d,) of the largest likelihood; those of the multinomial limit where it is no better."""
    likelihood = _Likelihood(histograms, counts)
    tiny = np.finfo(np.float64).tiny
    some = likelihood.totals > 0
    if not some.any():
        return alphas
    most = _LARGEST_SUM * max(likelihood.mean_sum, 1.0)
    # columns without any count have no finite optimum above 0
    alphas = np.where(some, alphas, 1e-10)
    best = likelihood.value(alphas)
    for _ in range(_ITERATIONS):
        slopes, curves, of_sums, common = likelihood.derivatives(alphas)
        gradient, curvature = slopes - of_sums, np.minimum(curves, -tiny)
        # the Hessian is diagonal plus a constant: Sherman and Morrison
        stiffness = (-1 / common if common < 0 else np.inf) + float(np.sum(1 / curvature))
        shift = float(np.sum(gradient / curvature)) / stiffness if stiffness != 0 else 0.0
        newton = alphas - (gradient - shift) / curvature
        after = _accept(newton, best, likelihood.value)
        if after is None:
            after = np.maximum(alphas * np.where(some, slopes / max(of_sums, tiny), 1), 1e-10)
        gain = likelihood.value(after) - best
        if not gain > 0:
            break
        alphas, best = after, best + gain
        if gain <= 1e-13 * abs(best) or alphas.sum() > most:
            break
    shares = np.where(some, likelihood.totals / likelihood.totals.sum(), 0.0)
    limit = np.maximum(most * shares, 1e-10)
    return limit if likelihood.value(limit) >= best else np.asarray(alphas)


def _accept(alphas: np.ndarray, least: float, value: Any) -> np.ndarray | None:
    """A step if it leads up to positive numbers, else None."""
    if np.all(alphas > 0) and np.isfinite(alphas).all() and value(alphas) > least:
        return alphas
    return None
