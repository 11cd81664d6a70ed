"""Components that are one value: the zeros of zero-inflated models."""

from typing import Any, NamedTuple, Self

import numpy as np

from fastem.engine.statistics import zeros
from fastem.families.family import Family, Maximized, Prepared
from fastem.kernels.dispatch import IMPOSSIBLE, add_statistics, implements, log_density
from fastem.kernels.tiles import n_points

__all__ = ["Constant"]


class ConstantKernel(NamedTuple):
    """Values of the columns (K, columns), the numbers of those, log-weights (K,)."""

    values: np.ndarray
    columns: np.ndarray
    log_weights: np.ndarray


class ConstantParams(NamedTuple):
    """Values (K, d), which no fit changes."""

    values: np.ndarray


class ConstantStatistics(NamedTuple):
    """Nothing needs to be known of the rows, (K, 0)."""

    nothing: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@implements(log_density, ConstantKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        for b in range(n_points(tile)):
            s = params.log_weights[k]
            for j in range(params.columns.shape[0]):
                x = tile[params.columns[j], b]
                if not np.isnan(x) and x != params.values[k, j]:
                    s += IMPOSSIBLE
            out[k, b] = s


@implements(add_statistics, ConstantKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    pass


class Constant(Family[ConstantParams, ConstantStatistics]):
    """A component whose rows all have one value: the zeros that a zero-inflated model has too many of.

    It stands beside components of other families: of probabilities, as in ``Mixture([Constant(0), Poisson()])``,
    or of densities, as in ``Mixture([Constant(0), Gaussian()])``, where rows of that value are its alone. Beside
    regressions it is the value of the response.

    Parameters
    ----------
    value : float or array-like of shape (d,), default=0
        The value of all columns, or of each.
    columns : list of int, optional
        Numbers of the columns that have it; set when data are met.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Binomial, Constant
    >>> X = np.r_[np.full(50, 10), np.random.default_rng(0).binomial(10, 0.2, 50)][:, None]
    >>> Mixture([Constant(10), Binomial(10)], random_state=0).fit(X).weights_.round(3).tolist()
    [0.5, 0.5]
    """

    parameters = ConstantParams
    is_discrete = True

    def __init__(self, value: Any = 0.0, columns: Any = None):
        self.value = value
        self.columns = columns

    # --- data ---------------------------------------------------------------------------------

    def check_settings(self) -> None:
        value = np.asarray(self.value)
        if value.dtype.kind not in "biuf" or value.ndim > 1 or not np.isfinite(value).all():
            raise ValueError(f"value must be a finite number, or one of each column, not {self.value!r}.")

    def check_bound(self, n_features: int) -> None:
        self.check_settings()
        columns = self.columns
        sound = columns is None or (
            isinstance(columns, list | tuple)
            and len(columns) > 0
            and all(type(j) is int and 0 <= j < n_features for j in columns)
        )
        if not sound:
            raise ValueError(f"columns must be numbers of {n_features} columns, not {columns!r}.")
        self._values(n_features)

    def place(self, n_columns: int, names: list[str] | None) -> Self:
        return self.among(list(range(n_columns)))

    def among(self, columns: list[int]) -> Self:
        """The same for rows of which only some columns have the value."""
        placed = type(self)(self.value, columns)
        placed._values(len(columns))
        return placed

    def exposed(self) -> Self:
        return self

    def of_trials(self) -> Self:
        return self

    def with_offset(self) -> Self:
        return self

    def _columns(self, n_features: int) -> list[int]:
        return list(range(n_features)) if self.columns is None else list(self.columns)

    def _values(self, n_features: int) -> np.ndarray:
        """The value of each column; raises ValueError."""
        value = np.asarray(self.value, dtype=np.float64)
        n_columns = len(self._columns(n_features))
        if value.shape not in ((), (n_columns,)):
            raise ValueError(f"value must be one number, or one of each of {n_columns} columns, not {self.value!r}.")
        return np.broadcast_to(value, n_columns)

    # --- statistics ---------------------------------------------------------------------------

    def zeros(self, lanes: int, n_components: int, n_features: int) -> ConstantStatistics:
        return zeros(ConstantStatistics, lanes, nothing=(n_components, 0))

    def prepare(
        self,
        params: ConstantParams,
        about: ConstantParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        offset = float(log_weights.max())
        columns = np.array(self._columns(params.values.shape[1]), dtype=np.int64)
        return Prepared(
            ConstantKernel(params.values.astype(dtype), columns, (log_weights - offset).astype(dtype)), offset
        )

    def expected(self, params: ConstantParams, counts: np.ndarray) -> ConstantStatistics:
        return ConstantStatistics(np.zeros((len(counts), 0)))

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> ConstantParams:
        return ConstantParams(np.tile(self._values(rows.shape[1]), (n_components, 1)))

    def maximize(
        self,
        stats: ConstantStatistics,
        counts: np.ndarray,
        about: ConstantParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        return Maximized(about)

    def excludes(self, params: ConstantParams) -> bool:
        return True

    def displace(self, params: ConstantParams, k: int, rng: np.random.RandomState) -> ConstantParams:
        return params

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 0

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        return 0

    # --- rows ---------------------------------------------------------------------------------

    def sample(self, params: ConstantParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return np.tile(params.values[k], (n, 1))

    def means(self, params: ConstantParams) -> np.ndarray:
        return params.values

    def complete(
        self, params: ConstantParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None
    ) -> np.ndarray:
        filled = rows.copy()
        columns = self._columns(rows.shape[1])
        filled[:, columns] = np.where(np.isnan(rows[:, columns]), params.values[k], rows[:, columns])
        return filled

    def responses(self, params: ConstantParams, rows: np.ndarray) -> np.ndarray:
        """The value as the response of each row, shape (n, K)."""
        return np.tile(params.values[:, 0], (len(rows), 1))
