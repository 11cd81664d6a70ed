"""Dirichlet-multinomial distributions: rows of counts that are more dispersed than multinomial ones."""

from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import gammaln

from fastem.families._domain import check_counts, log_factorial
from fastem.families._lookup import LookupStatistics, Table, prepare_lookup, table_of
from fastem.family import Facts, Family, Maximized, Prepared

__all__ = ["DirichletMultinomial"]

_ITERATIONS = 200
# Beyond this sum of concentrations the distribution is multinomial to all digits.
_LARGEST_SUM = 1e8


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
        Largest sum of a row that can come, for `partial_fit`; default: that of the data.
    n_trials : int, optional
        Sum of the rows that `sample` draws; default: the mean sum of the data.

    Notes
    -----
    A row with a missing count has no known sum: missing cells are refused. Concentrations that sum
    to more than 1e7 mean that the counts are multinomial.

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
    is_surveyed = True
    takes_missing = False

    def __init__(self, largest: int | None = None, n_trials: int | None = None):
        self.largest = largest
        self.n_trials = n_trials

    # --- data ---------------------------------------------------------------------------------

    def bind(self, facts: Facts) -> Self:
        mean = round(float(facts.rows.sum(axis=1).mean()))
        return type(self)(self.largest, mean if self.n_trials is None else self.n_trials)

    def reach(self, rows: np.ndarray) -> np.ndarray:
        return rows.sum(axis=1).max(initial=0, keepdims=True)

    def widened(self, reach: np.ndarray) -> Self:
        return self if reach[0] < self._n_values() else type(self)(int(reach[0]), self.n_trials)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_counts(rows, first_row)

    def base(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(log_factorial(rows.sum(axis=1)) - log_factorial(rows).sum(axis=1))

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)))

    def _n_values(self) -> int:
        return int(self.largest or 0) + 1

    def _table(self, n_features: int) -> Table:
        return table_of((self._n_values(),) * n_features, self._n_values())

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> LookupStatistics:
        return self._table(n_features).zeros(lanes, n_components)

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        return self._table(n_features).bytes(n_components)

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
        x = np.arange(self._n_values(), dtype=np.float64)
        alphas = params.concentrations[:, :, None]
        sums = params.concentrations.sum(axis=1)[:, None, None]
        parts = np.concatenate([_log_rising(alphas, x), -_log_rising(sums, x)], axis=1)
        table = self._table(params.concentrations.shape[1])
        return prepare_lookup(table, parts.reshape(len(alphas), -1).T, log_weights, dtype)

    def expected(self, params: DirichletMultinomialParams, counts: np.ndarray) -> LookupStatistics:
        """As of rows that have the data's mean sum and the beta-binomial law of each column."""
        k, d = params.concentrations.shape
        n = int(self.n_trials or 0)
        x = np.arange(self._n_values(), dtype=np.float64)
        alphas = params.concentrations[:, :, None]
        rest = params.concentrations.sum(axis=1)[:, None, None] - alphas
        y = np.maximum(n - x, 0)
        ways = gammaln(n + 1) - gammaln(x + 1) - gammaln(y + 1)
        logs = ways + _log_rising(alphas, x) + _log_rising(rest, y) - _log_rising(alphas + rest, np.array([float(n)]))
        density = np.exp(np.where(x <= n, logs, -np.inf))
        totals = np.tile(x == n, (k, 1, 1)).astype(np.float64)
        parts = counts[:, None, None] * np.concatenate([density, totals], axis=1)
        return self._table(d).expected(parts.reshape(k, -1).T, counts)

    # --- parameters ---------------------------------------------------------------------------

    def about(self, rows: np.ndarray, n_components: int) -> DirichletMultinomialParams:
        return DirichletMultinomialParams(np.ones((n_components, rows.shape[1])))

    def maximize(
        self,
        stats: LookupStatistics,
        counts: np.ndarray,
        about: DirichletMultinomialParams,
        dead: np.ndarray,
        held: frozenset[str],
    ) -> Maximized:
        k, d = about.concentrations.shape
        histograms = self._table(d).histograms(stats, k).T.reshape(k, d + 1, -1)
        # weight of counts above each value: log-rising factorials are sums of log(alpha + x) over them
        above = histograms.sum(axis=2, keepdims=True) - np.cumsum(histograms, axis=2)
        above = np.maximum(above, 0)
        alphas = [
            old if is_dead else _fit_concentrations(of_k[:d], of_k[d], old)
            for of_k, old, is_dead in zip(above, about.concentrations, dead, strict=True)
        ]
        return Maximized(self.keep(DirichletMultinomialParams(np.array(alphas)), about, dead, held))

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
        if (params.concentrations <= 0).any():
            raise ValueError("The parameter 'concentrations' must be positive.")

    # --- rows ---------------------------------------------------------------------------------

    def sample(self, params: DirichletMultinomialParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        p = rng.dirichlet(params.concentrations[k], size=n)
        return np.array([rng.multinomial(int(self.n_trials or 0), row) for row in p], dtype=np.float64)

    def means(self, params: DirichletMultinomialParams) -> np.ndarray:
        """Expected shares, of a sum of 1."""
        return np.asarray(params.concentrations / params.concentrations.sum(axis=1, keepdims=True))


def _log_rising(alpha: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``log (alpha (alpha + 1) ... (alpha + x - 1))``."""
    return np.asarray(gammaln(alpha + x) - gammaln(alpha))


def _fit_concentrations(above: np.ndarray, totals: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Concentrations (d,) that maximize ``sum above log(alpha + x) - sum totals log(sum alpha + x)``."""
    x = np.arange(above.shape[1], dtype=np.float64)
    tiny = np.finfo(np.float64).tiny

    def value(a: np.ndarray) -> float:
        return float(np.sum(above * np.log(a[:, None] + x)) - np.sum(totals * np.log(a.sum() + x)))

    # columns without any count have no finite optimum above 0
    alphas = np.where(above[:, 0] > 0, alphas, 1e-10)
    best = value(alphas)
    for _ in range(_ITERATIONS):
        shares = above / (alphas[:, None] + x)
        of_total = totals / (alphas.sum() + x)
        gradient = shares.sum(axis=1) - of_total.sum()
        curvature = np.minimum(-(shares / (alphas[:, None] + x)).sum(axis=1), -tiny)
        common = float((of_total / (alphas.sum() + x)).sum())
        # the Hessian is diagonal plus a constant: Sherman and Morrison
        stiffness = (1 / common if common > 0 else np.inf) + float(np.sum(1 / curvature))
        shift = float(np.sum(gradient / curvature)) / stiffness if stiffness != 0 else 0.0
        newton = alphas - (gradient - shift) / curvature
        after = _accept(newton, best, value)
        if after is None:
            after = alphas * np.where(above[:, 0] > 0, shares.sum(axis=1) / max(float(of_total.sum()), tiny), 1)
        gain = value(after) - best
        alphas, best = after, best + gain
        if gain <= 1e-13 * abs(best) or alphas.sum() > _LARGEST_SUM:
            break
    return np.asarray(alphas * min(1.0, _LARGEST_SUM / alphas.sum()))


def _accept(alphas: np.ndarray, least: float, value: Any) -> np.ndarray | None:
    """A step if it leads up to positive numbers, else None."""
    if np.all(alphas > 0) and np.isfinite(alphas).all() and value(alphas) > least:
        return alphas
    return None
