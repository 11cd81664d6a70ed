"""One look at all rows before a fit: values that a family does not take, missing cells, ranges."""

from typing import NamedTuple

import numpy as np

from fastem.engine.contract import Domain
from fastem.sources import large_rows

__all__ = ["Survey", "base", "has_missing", "merge", "survey_rows", "with_weight"]

_ROWS = 16_384  # at a time, so that what is made of them stays in the caches


class Survey(NamedTuple):
    """What rows hold that have weight.

    Attributes
    ----------
    lows, highs : ndarray of shape (d,)
        Least and largest value of each column; infinite where it has none.
    reach : ndarray
        How far the family's tables must go.
    observed : ndarray of shape (d,)
        Rows with a value in each column.
    n_rows : int
        Number of rows.
    base : float
        Weighted sum of the domain's `base`.
    empty : ndarray of int
        Numbers of rows without any value.
    has_large : bool
        Whether float32 cannot hold the squares of some values.
    """

    lows: np.ndarray
    highs: np.ndarray
    reach: np.ndarray
    observed: np.ndarray
    n_rows: int
    base: float
    empty: np.ndarray
    has_large: bool

    @property
    def has_missing(self) -> bool:
        return bool(np.any(self.observed < self.n_rows))


def has_missing(domain: Domain, rows: np.ndarray, first_row: int, numbers: np.ndarray | None = None) -> bool:
    """Whether cells of some rows are missing.

    The rows have the given `numbers`, or count from `first_row` on.

    Raises
    ------
    ValueError
        If a cell is infinite, or missing where the family does not take that; it names the cell.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(rows)):
            return False
    finite = np.isfinite(rows)
    wrong = ~finite if not domain.takes_missing else np.isinf(rows)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        number = first_row + row if numbers is None else numbers[row]
        what = "NaN" if np.isnan(rows[row, column]) else "infinity"
        raise ValueError(
            f"Input X contains {what}, first in row {number}, column {column}. "
            "Remove such rows or fill in their values."
        )
    return not bool(finite.all())


def base(domain: Domain, rows: np.ndarray) -> np.ndarray | None:
    """The domain's `base` of each row, shape (n,), made piece by piece."""
    if domain.base(rows[:1]) is None:
        return None
    values = np.empty(len(rows))
    for first in range(0, len(rows), _ROWS):
        values[first : first + _ROWS] = domain.base(rows[first : first + _ROWS])
    return values


def survey_rows(domain: Domain, rows: np.ndarray, weights: np.ndarray, first_row: int) -> Survey:
    """Look at rows, of which the first has a given number; `weights` may be empty.

    Raises
    ------
    ValueError
        If a cell is not finite, or not a value that the family takes; it names the cell.
    """
    d = rows.shape[1]
    none = domain.reach(rows[:0])
    found = Survey(np.full(d, np.inf), np.full(d, -np.inf), none, np.zeros(d), 0, 0.0, np.empty(0, np.int64), False)
    for first in range(0, len(rows), _ROWS):
        w = weights[first : first + _ROWS]
        some, begin = with_weight(rows[first : first + _ROWS], w, first_row + first)
        missing = has_missing(domain, some, begin)
        domain.check(some, begin)
        w = w[len(w) - len(some) :]
        numbers = begin + np.arange(len(some))
        if len(w) and not np.all(w):
            some, numbers, w = some[w > 0], numbers[w > 0], w[w > 0]
        if len(some):
            found = merge(found, _look(domain, some, w, numbers, missing))
    return found


def with_weight(rows: np.ndarray, weights: np.ndarray, first_row: int) -> tuple[np.ndarray, int]:
    """Rows from the first one with weight on, which also stands in place of those without, and its number.

    Errors found in them name the right row. `weights` may be empty, or go further than the rows.
    """
    weights = weights[: len(rows)]
    if not len(weights) or np.all(weights):
        return rows, first_row
    begin = int(np.argmax(weights > 0)) if weights.any() else len(rows)
    return np.where((weights[begin:] > 0)[:, None], rows[begin:], rows[begin : begin + 1]), first_row + begin


def _look(domain: Domain, rows: np.ndarray, weights: np.ndarray, numbers: np.ndarray, missing: bool) -> Survey:
    observed = np.count_nonzero(~np.isnan(rows), axis=0) if missing else np.full(rows.shape[1], len(rows))
    of_rows = domain.base(rows)
    total = 0.0 if of_rows is None else float(of_rows.sum() if not len(weights) else of_rows @ weights)
    return Survey(
        np.fmin.reduce(rows, axis=0, initial=np.inf),
        np.fmax.reduce(rows, axis=0, initial=-np.inf),
        domain.reach(rows),
        observed.astype(np.float64),
        len(rows),
        total,
        numbers[np.isnan(rows).all(axis=1)] if missing else numbers[:0],
        len(large_rows(rows)) > 0,
    )


def merge(a: Survey, b: Survey) -> Survey:
    """What the rows of both hold."""
    return Survey(
        np.minimum(a.lows, b.lows),
        np.maximum(a.highs, b.highs),
        np.maximum(a.reach, b.reach),
        a.observed + b.observed,
        a.n_rows + b.n_rows,
        a.base + b.base,
        np.append(a.empty, b.empty),
        a.has_large or b.has_large,
    )
