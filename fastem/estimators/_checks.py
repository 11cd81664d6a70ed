"""Checks of what users pass, with errors that say what is wrong and where."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from fastem.engine.contract import DegenerateError
from fastem.sources import Source, as_array, first_large

__all__ = ["are_mixture_weights", "check_number", "check_weights", "explain", "refuse_masked"]


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
    given = as_array(sample_weight, "sample_weight")
    if np.ma.is_masked(given):
        raise ValueError(
            f"sample_weight is masked, first in row {np.argwhere(np.ma.getmaskarray(given))[0][0]}: a weight cannot "
            "be missing, give such rows the weight 0 or leave them out."
        )
    weights = check_array(
        np.ma.getdata(given), ensure_2d=False, dtype=np.float64, ensure_min_samples=0, input_name="sample_weight"
    )
    if weights.shape != (n_rows,):
        raise ValueError(f"sample_weight must have shape ({n_rows},), one weight a row, not {weights.shape}.")
    if (weights < 0).any():
        row = int(np.argmax(weights < 0))
        raise ValueError(f"sample_weight must not be negative, but is {weights[row]} in row {row}.")
    if not (weights > 0).any():
        raise ValueError("sample_weight is zero for all rows: there is nothing to fit.")
    if np.count_nonzero(weights) < n_components:
        raise ValueError(
            f"Expected at least {n_components} rows with a weight, one a component, not {np.count_nonzero(weights)}."
        )
    return np.asarray(weights)


def refuse_masked(name: str, value: Any) -> None:
    """Raise ValueError if a setting has masked values, alone or in a list or dict."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked values: give a value for each of them.")
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_masked(f"{name}[{key!r}]", item)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_masked(name, item)


def explain(error: BaseException, source: Source) -> BaseException:
    """An error that ended a fit; where values are too large for float32, it says so."""
    if not isinstance(error, DegenerateError) or source.dtype != np.float32:
        return error
    found = first_large(source)
    if found is None:
        return error
    row, column, value = found
    return DegenerateError(
        f"Input X has {value:.6g} in row {row}, column {column}, which is too large for sums of squares in float32: "
        f"pass float64, or scale the data. ({error})"
    )


def are_mixture_weights(weights: np.ndarray, n_components: int) -> bool:
    """Whether weights of components have the right shape, are not negative and sum to 1."""
    if weights.shape != (n_components,) or not (weights >= 0).all():
        return False
    return bool(np.isclose(weights.sum(), 1, rtol=0, atol=1e-6))
