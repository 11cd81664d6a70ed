"""Checks of what users pass, with errors that say what is wrong and where."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

__all__ = ["check_number", "check_weights"]


def check_number(name: str, value: Any, kind: type, least: int) -> None:
    """Raise unless `value` is a number of a kind and not below `least`."""
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{name} must be a number of type {kind.__name__}, not {value!r}.")
    if not value >= least:  # type: ignore[operator]  # numbers.Real has an order
        raise ValueError(f"{name} must be at least {least}, not {value!r}.")


def check_weights(sample_weight: Any, n_rows: int, n_components: int = 1) -> np.ndarray | None:
    """Weights as float64, of which as many as there are components are not 0, or None."""
    if sample_weight is None:
        return None
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, ensure_min_samples=0, input_name="sample_weight"
    )
    if weights.shape != (n_rows,):
        raise ValueError(f"sample_weight must have shape ({n_rows},), one weight a row, not {weights.shape}.")
    if (weights < 0).any():
        row = int(np.argmax(weights < 0))
        raise ValueError(f"sample_weight must not be negative, but is {weights[row]} in row {row}.")
    if not weights.sum() > 0:
        raise ValueError("sample_weight is zero for all rows: there is nothing to fit.")
    if np.count_nonzero(weights) < n_components:
        raise ValueError(
            f"Expected at least {n_components} rows with a weight, one a component, not {np.count_nonzero(weights)}."
        )
    return np.asarray(weights)
