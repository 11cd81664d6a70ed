"""What values cells may have, and functions of counts."""

from collections.abc import Callable

import numpy as np
from scipy.special import gammaln

from fastem.families._special import stirling

__all__ = [
    "LARGEST_COUNT",
    "check_concentration",
    "check_counts",
    "check_values",
    "excess",
    "log_factorial",
    "positive_medians",
    "positive_prior",
    "tabled",
    "upper_values",
]

LARGEST_COUNT = 2**53  # up to it whole numbers are told apart

_TABLE = gammaln(np.arange(2048) + 1.0)


def check_values(rows: np.ndarray, first_row: int, wrong: np.ndarray, wanted: str) -> None:
    """Raise ValueError that names the first cell in the mask `wrong`, unless there is none or it is missing."""
    if not wrong.any():
        return
    wrong &= ~np.isnan(rows)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"Input X contains {rows[row, column]:g} in row {first_row + row}, column {column}: {wanted}.")


def check_counts(rows: np.ndarray, first_row: int) -> None:
    """Raise ValueError that names the first cell that is no whole number, or negative."""
    check_values(rows, first_row, ~((rows >= 0) & (rows == np.floor(rows))), "counts are whole numbers from 0 on")


def log_factorial(counts: np.ndarray) -> np.ndarray:
    """``log x!`` of whole numbers; 0 where they are missing."""
    counts = np.nan_to_num(counts, nan=0.0)
    if counts.size and counts.max() < len(_TABLE):
        return np.asarray(_TABLE[counts.astype(np.intp)])
    return np.asarray(gammaln(counts.astype(np.float64) + 1.0))


def excess(counts: np.ndarray) -> np.ndarray:
    """``log x! - (x log x - x)`` of whole numbers, without cancellation; 0 of 0."""
    safe = np.maximum(counts, 1.0)
    return np.where(counts > 0, 0.5 * np.log(2 * np.pi * safe) + stirling(safe), 0.0)


def tabled(function: Callable[..., np.ndarray], counts: np.ndarray, *parameters: float) -> np.ndarray:
    """A function of whole numbers, and of parameters, looked up where they are small; 0 where they are missing."""
    missing = np.isnan(counts)
    known = np.where(missing, 0.0, counts).astype(np.float64)
    top = known.max(initial=0.0)
    is_small = top < len(_TABLE)
    values = function(np.arange(top + 1) if is_small else known, *parameters)
    values = values[known.astype(np.intp)] if is_small else values
    return np.where(missing, 0.0, values)


def check_concentration(prior: float) -> None:
    """Raise ValueError unless a prior's concentration is one under which there is a mode."""
    if not prior >= 1:
        raise ValueError(f"prior must be a concentration of at least 1, not {prior!r}.")


def positive_medians(rows: np.ndarray) -> np.ndarray:
    """A value in the middle of each column of positive numbers; 1 where there is none."""
    found = [np.median(column[column > 0]) if np.any(column > 0) else 1.0 for column in rows.T.astype(np.float64)]
    return np.array(found, dtype=np.float64)


def upper_values(rows: np.ndarray) -> np.ndarray:
    """A large, but not extreme value of each column of positive numbers; 1 where there is none."""
    columns = rows.T.astype(np.float64)
    found = [np.quantile(column[column > 0], 0.75) if np.any(column > 0) else 1.0 for column in columns]
    return np.array(found, dtype=np.float64)


def positive_prior(prior: tuple[float, float] | None) -> tuple[float, float]:
    """Shape and rate of a gamma prior; (1, 0) if there is none."""
    if prior is None:
        return 1.0, 0.0
    if not (isinstance(prior, tuple | list) and len(prior) == 2):
        raise ValueError(f"prior must be a shape and a rate, as in (2.0, 1.0), not {prior!r}.")
    shape, rate = prior
    if not (shape >= 1 and rate >= 0):
        raise ValueError(f"prior must be a shape of at least 1 and a rate of at least 0, not {prior!r}.")
    return float(shape), float(rate)
