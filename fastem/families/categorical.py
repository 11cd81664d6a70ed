"""Categorical distributions of independent columns: latent class analysis."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import xlogy

from fastem.families._domain import check_concentration, check_values
from fastem.families._linear import log_table
from fastem.families._lookup import LookupStatistics, Table, table_of
from fastem.families._settings import check_whole
from fastem.families.family import Facts, Family, Maximized, Prepared

__all__ = ["Categorical"]

_MOST_FEATURES = 500  # of k-means
_MOST_LEVELS = 10**6


class CategoricalParams(NamedTuple):
    """Probabilities of all columns' levels, one column after the other (K, sum of levels)."""

    probabilities: np.ndarray


class Categorical(Family[CategoricalParams, LookupStatistics]):
    """Categorical distributions: each column has levels.

    Levels are what occurs: numbers, strings, booleans, categories of pandas and polars,
    dictionaries of Arrow, in the order of their dtype. A mixture of them is a latent class model
    (Lazarsfeld and Henry 1968). As attributes of a fit, `probabilities_` is a list of arrays (K,
    levels), one of each column, and `categories_` the levels of each column, in the same order.

    Parameters
    ----------
    levels : sequence of int, optional
        Number of levels of each column, which are then coded 0, 1, 2, ... whether they occur or
        not; default: those that occur.
    prior : float, default=1
        Concentration of a Dirichlet prior on the probabilities, at least 1; 1 is none.
    handle_unknown : {'error', 'missing'}, default='error'
        What a level is that the fit did not meet, where results are asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Categorical
    >>> Mixture(Categorical()).fit(np.array([[0], [2], [2], [1]])).probabilities_[0].tolist()
    [[0.25, 0.25, 0.5]]
    """

    parameters = CategoricalParams
    is_discrete = True
    is_surveyed = True

    def __init__(self, levels: Sequence[int] | None = None, prior: float = 1.0, handle_unknown: str = "error"):
        self.levels = levels
        self.prior = prior
        self.handle_unknown = handle_unknown

    # --- data ---------------------------------------------------------------------------------

    def bind(self, facts: Facts) -> Self:
        assert facts.highs is not None
        found = np.maximum(facts.highs, 0).astype(np.int64) + 1
        if self.levels is None:
            return type(self)([int(n) for n in found], self.prior, self.handle_unknown)
        given = [int(n) for n in self.levels]
        if len(given) != len(found):
            raise ValueError(f"levels has {len(given)} numbers for {len(found)} columns.")
        return type(self)(given, self.prior, self.handle_unknown)

    def level_columns(self, n_columns: int, names: list[str] | None) -> dict[int, bool]:
        return {} if self.levels is not None else dict.fromkeys(range(n_columns), self.handle_unknown == "missing")

    def settled(self, params: CategoricalParams, resp: np.ndarray, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """The most probable level: a mean of levels is none."""
        levels = [(resp @ table).argmax(axis=1) for table in self._split(params.probabilities)]
        return np.where(np.isnan(rows), np.stack(levels, axis=1), filled)

    def check_bound(self, n_features: int) -> None:
        if self.levels is None or len(self.levels) != n_features:
            raise ValueError(f"levels should have one number for each of {n_features} columns, not {self.levels!r}.")
        for n in self.levels:
            check_whole("levels", n, least=1, most=_MOST_LEVELS)

    def parameter_shapes(self, n_components: int, n_features: int) -> tuple[tuple[int, ...], ...]:
        return ((n_components, sum(self._levels())),)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        wrong = ~((rows >= 0) & (rows < _MOST_LEVELS) & (rows == np.floor(rows)))
        check_values(rows, first_row, wrong, "levels are coded by whole numbers from 0 on")
        if self.levels is not None and len(self.levels) == rows.shape[1]:
            known = f"the columns have {list(self.levels)} levels; where others can come, give their numbers as levels="
            check_values(rows, first_row, rows >= np.array(self.levels), known)

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        levels = self._levels()
        if sum(levels) > _MOST_FEATURES:
            return rows
        hot = [
            np.where(np.isnan(x), np.nan, x == level) for x, n in zip(rows.T, levels, strict=True) for level in range(n)
        ]
        return np.stack(hot, axis=1).astype(rows.dtype)

    def _levels(self) -> list[int]:
        assert self.levels is not None
        return [int(n) for n in self.levels]

    def _table(self) -> Table:
        return table_of(tuple(self._levels()))

    def _split(self, table: np.ndarray) -> list[np.ndarray]:
        """Columns of a table (K, sum of levels) that belong together."""
        return np.split(table, np.cumsum(self._levels())[:-1], axis=1)

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> LookupStatistics:
        return self._table().zeros(lanes, n_components)

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        return self._table().bytes(n_components)

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return self._table().scratch(tile_rows)

    def prepare(
        self,
        params: CategoricalParams,
        about: CategoricalParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        logs = log_table(params.probabilities)
        return self._table().prepare(logs.T, log_weights, dtype)

    def expected(self, params: CategoricalParams, counts: np.ndarray) -> LookupStatistics:
        return self._table().expected(counts * params.probabilities.T, counts)

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> CategoricalParams:
        even = np.concatenate([np.full(n, 1 / n) for n in self._levels()])
        return CategoricalParams(np.tile(even, (n_components, 1)))

    def maximize(
        self,
        stats: LookupStatistics,
        counts: np.ndarray,
        about: CategoricalParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        sums = self._table().histograms(stats, len(counts)).T
        expected = sums + (self.prior - 1)
        columns = []
        for of_column, old in zip(self._split(expected), self._split(about.probabilities), strict=True):
            totals = of_column.sum(axis=1, keepdims=True)
            columns.append(np.divide(of_column, totals, out=old.copy(), where=totals > 1e-12 * counts.sum()))
        return Maximized(self.keep(CategoricalParams(np.hstack(columns)), about, dead, frozen))

    def log_prior(self, params: CategoricalParams) -> float:
        return float(np.sum(xlogy(self.prior - 1, params.probabilities)))

    def excludes(self, params: CategoricalParams) -> bool:
        return bool((params.probabilities == 0).any())

    def displace(self, params: CategoricalParams, k: int, rng: np.random.RandomState) -> CategoricalParams:
        moved = params.probabilities.copy()
        moved[k] *= np.exp(0.5 * rng.standard_normal(moved.shape[1]))
        for column in self._split(moved):
            column[k] /= column[k].sum()
        return CategoricalParams(moved)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * sum(n - 1 for n in self._levels())

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        return self.n_parameters(n_components, n_features) * ("probabilities" in frozen)

    def check_settings(self) -> None:
        check_concentration(self.prior)
        if self.handle_unknown not in ("error", "missing"):
            raise ValueError(f"handle_unknown must be 'error' or 'missing', not {self.handle_unknown!r}.")

    def check_params(self, params: CategoricalParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        sums = np.array([column.sum(axis=1) for column in self._split(params.probabilities)])
        if (params.probabilities < 0).any() or not np.allclose(sums, 1):
            raise ValueError("The parameter 'probabilities' must not be negative and sum to 1 in each column.")

    def attributes(self, params: CategoricalParams) -> dict[str, Any]:
        return {"probabilities": [column.copy() for column in self._split(params.probabilities)]}

    def from_attributes(self, values: dict[str, Any]) -> CategoricalParams:
        given = values["probabilities"]
        if isinstance(given, np.ndarray) and given.ndim == 2:
            return CategoricalParams(given.astype(np.float64))
        return CategoricalParams(np.hstack([np.asarray(column, dtype=np.float64) for column in given]))

    def with_values(self, params: CategoricalParams | None, values: dict[str, Any]) -> CategoricalParams:
        if "probabilities" in values:
            return self.from_attributes(values)
        assert params is not None
        return params

    # --- rows ---------------------------------------------------------------------------------

    def sample(self, params: CategoricalParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        columns = self._split(params.probabilities)
        return np.stack([rng.choice(p.shape[1], size=n, p=p[k]) for p in columns], axis=1).astype(np.float64)

    def complete(
        self, params: CategoricalParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None
    ) -> np.ndarray:
        if rng is not None:
            return super().complete(params, k, rows, rng)
        modes = np.array([column[k].argmax() for column in self._split(params.probabilities)])
        return np.where(np.isnan(rows), modes, rows)
