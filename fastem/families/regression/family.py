"""What regressions share: the last column is a response, the others are what it depends on."""

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from fastem.families._domain import check_values
from fastem.families._settings import check_array, check_flag
from fastem.families.family import Facts, Family
from fastem.families.gaussian.centring import column_moments, in_two_parts

__all__ = ["Bounds", "RegressionFamily", "centred_intercepts", "centres"]


class Bounds(NamedTuple):
    """Centre, least and largest values, and spread of the columns, each (d,); neither centre nor spread is led by
    values far out.
    """

    centre: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    spreads: np.ndarray


class RegressionFamily(Family[Any, Any]):
    """Base of regressions: ``fit(X, y)``, or with the response as the last column of X.

    Moments are taken about the columns' means. A missing response says nothing about its row's
    component; nothing else may be missing.
    """

    is_surveyed: ClassVar[bool] = True
    has_response: ClassVar[bool] = True
    starts_blind: ClassVar[bool] = True
    bounds: Any

    def bind(self, facts: Facts) -> Self:
        assert facts.lows is not None and facts.highs is not None
        if facts.rows.shape[1] < 2:
            raise ValueError("A regression needs a column beside the response: fit(X, y), or a last column of X.")
        centre = _medians(facts.rows, facts.weights)
        spreads = 1.5 * _medians(np.abs(facts.rows - centre), facts.weights)
        flat = column_moments(facts.rows, facts.weights)[1] ** 0.5
        bounds = np.array(Bounds(centre, facts.lows, facts.highs, np.where(spreads > 0, spreads, flat)))
        bound: Self = type(self)(**{**self.get_params(deep=False), "bounds": bounds})
        return bound

    def check_bound(self, n_features: int) -> None:
        super().check_bound(n_features)
        bounds = Bounds(*check_array("bounds", self.bounds, (len(Bounds._fields), n_features)))
        if (bounds.lows > bounds.highs).any() or (bounds.spreads < 0).any():
            raise ValueError("bounds have a least value above the largest one, or a negative spread.")
        for name in ("fit_intercept", "has_offset"):
            check_flag(name, getattr(self, name, False))

    def stretched(self, lows: np.ndarray, highs: np.ndarray) -> Self:
        bounds = Bounds(*self.bounds)
        wider = bounds._replace(lows=np.minimum(bounds.lows, lows), highs=np.maximum(bounds.highs, highs))
        stretched: Self = type(self)(**{**self.get_params(deep=False), "bounds": np.array(wider)})
        return stretched

    def check(self, rows: np.ndarray, first_row: int) -> None:
        wrong = np.isnan(rows[:, :-1])
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"Input X contains NaN in row {first_row + row}, column {column}: only responses may be missing."
            )
        self.check_response(rows[:, -1:], first_row)

    def check_response(self, response: np.ndarray, first_row: int) -> None:
        """Raise ValueError that names the first response that the family does not take."""
        check_values(response, first_row, np.isinf(response), "responses must be finite")

    def responses(self, params: Any, rows: np.ndarray) -> np.ndarray:
        """Expected responses to rows without response, shape (n, K)."""
        raise NotImplementedError

    def predictors(self, params: Any, rows: np.ndarray) -> np.ndarray:
        """Linear predictors of rows without response, shape (n, K); an offset in their last column is added."""
        p = params.coefs.shape[1]
        offset = rows[:, p:].sum(axis=1, keepdims=True)
        return np.asarray(rows[:, :p] @ params.coefs.T + params.intercepts + offset)

    def _centre(self, n_slopes: int) -> np.ndarray:
        """Centres of the columns with slopes."""
        return np.asarray(Bounds(*self.bounds).centre[:n_slopes])

    def draw_columns(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Columns beside the response, for `sample`: uniform over the box of the data."""
        bounds = Bounds(*self.bounds)
        return rng.uniform(bounds.lows[:-1], bounds.highs[:-1], size=(n, len(bounds.centre) - 1))

    def complete(self, params: Any, k: int, rows: np.ndarray, rng: np.random.RandomState | None) -> np.ndarray:
        filled = rows.copy()
        fitted = self.responses(params, rows[:, :-1])[:, k]
        filled[:, -1] = fitted if rng is None else self.draw(params, k, rows[:, :-1], rng)
        return np.where(np.isnan(rows), filled, rows)

    def draw(self, params: Any, k: int, rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Responses of component k to rows without response."""
        raise NotImplementedError

    def sample(self, params: Any, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        rows = self.draw_columns(n, rng)
        return np.column_stack([rows, self.draw(params, k, rows, rng)])


def _medians(rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Lower medians of columns, of the cells that are there, by their weights; 0 where there are none."""
    of_rows = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    found = np.zeros(rows.shape[1])
    for j, column in enumerate(rows.T.astype(np.float64)):
        here = ~np.isnan(column)
        order = np.argsort(column[here], kind="stable")
        shares = np.cumsum(of_rows[here][order])
        if len(order):
            found[j] = column[here][order][np.searchsorted(shares, shares[-1] / 2)]
    return found


def centres(bounds: Any, n_components: int, n_columns: int, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Centres of so many columns, alike in all components (K, n), in two parts."""
    return in_two_parts(np.tile(Bounds(*bounds).centre[:n_columns], (n_components, 1)), dtype)


def centred_intercepts(params: Any, bounds: Any) -> np.ndarray:
    """Intercepts (K,) for columns about their centres."""
    return np.asarray(params.intercepts + params.coefs @ Bounds(*bounds).centre[: params.coefs.shape[1]])
