"""Units: rows that belong together, such as a sequence or a group, and are never cut apart."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastem.sources import read_only

__all__ = ["begins_of", "units_within", "whole_units"]


def begins_of(units: Any, n_rows: int) -> np.ndarray:
    """The rows at which units begin, and the number of rows at the end, shape (m + 1,).

    Parameters
    ----------
    units : array-like
        Lengths of the units, integers that sum to `n_rows`; or an identifier of each row, shape (n_rows,): rows of a
        unit follow each other.
    n_rows : int

    Raises
    ------
    ValueError
        If they are neither, or rows of a unit lie apart.
    """
    given = np.asarray(units)
    if given.ndim != 1 or not len(given):
        raise ValueError(f"units must be lengths, or an identifier of each row, not an array of shape {given.shape}.")
    if given.dtype.kind in "iu" and given.min() > 0 and given.sum() == n_rows:
        return np.append(0, np.cumsum(given))
    if len(given) != n_rows:
        what = f"sum to {given.sum()}" if given.dtype.kind in "iu" else f"are {len(given)} identifiers"
        raise ValueError(
            f"units {what}, but there are {n_rows} rows: give the lengths of the units, all of them positive, or an "
            "identifier of each row."
        )
    begins = np.append(0, 1 + np.flatnonzero(given[1:] != given[:-1]))
    names, counts = np.unique(given[begins], return_counts=True)
    if counts.max() > 1:
        name = names[counts.argmax()]
        row = begins[np.flatnonzero(given[begins] == name)[1]]
        raise ValueError(f"Rows of the unit {name} lie apart: it begins again in row {row}. Sort the rows by unit.")
    return np.append(begins, n_rows)


def units_within(begins: np.ndarray, first: int, count: int) -> np.ndarray:
    """The rows, counted from `first`, at which units of some whole ones begin, and their number at the end."""
    low, high = np.searchsorted(begins, [first, first + count])
    return begins[low : high + 1] - first


def whole_units(blocks: Iterable[tuple[int, np.ndarray]], begins: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of the same rows that end where a unit does."""
    left: list[np.ndarray] = []
    for first, rows in blocks:
        cut = int(begins[np.searchsorted(begins, first + len(rows), side="right") - 1]) - first
        if cut > 0:
            begin = first - sum(map(len, left))
            yield begin, read_only(np.concatenate([*left, rows[:cut]])) if left else rows[:cut]
            left = []
        if max(cut, 0) < len(rows):
            left.append(rows[max(cut, 0) :].copy())  # sources fill their blocks anew
