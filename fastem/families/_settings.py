"""Checks of settings, also of those that a family learnt from data and that come from a file now.

Kernels, indices and sizes of tables trust them.
"""

from typing import Any

import numpy as np

from fastem.families._domain import LARGEST_COUNT

__all__ = ["check_array", "check_column_values", "check_flag", "check_floor", "check_whole"]


def check_array(name: str, value: Any, shape: tuple[int, ...], least: float = -np.inf) -> np.ndarray:
    """Numbers of a setting; raises ValueError unless they are finite, not below `least` and of a shape."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array of numbers.") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} is no array of numbers.")
    if array.shape != shape:
        raise ValueError(f"{name} should have the shape of {shape}, but got {array.shape}.")
    if not np.isfinite(array).all() or (array < least).any():
        raise ValueError(f"{name} must be finite" + (f" and not below {least:g}." if least > -np.inf else "."))
    return array.astype(np.float64)


def check_column_values(name: str, value: Any, n_columns: int) -> None:
    """Raise ValueError unless a setting is None or has a positive number for each column."""
    if value is not None and not (check_array(name, value, (n_columns,)) > 0).all():
        raise ValueError(f"{name} must be positive.")


def check_floor(name: str, value: Any, n_columns: int) -> None:
    """Raise ValueError unless a floor is as `floor_of` makes it, or there is none."""
    if value is not None:
        check_array(name, value, (2, n_columns), least=0)


def check_whole(name: str, value: Any, least: int = 0, most: int = LARGEST_COUNT) -> None:
    """Raise ValueError unless a setting is a whole number in a range."""
    is_number = isinstance(value, int | float | np.integer) and not isinstance(value, bool)
    if not is_number or value % 1 != 0 or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless a setting is true or false."""
    if value not in (0, 1):
        raise ValueError(f"{name} must be true or false, not {value!r}.")
