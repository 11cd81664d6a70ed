"""Rows about centres: differences that keep all digits of the data, and what columns are like."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from fastem.kernels.simd import splat_like

__all__ = ["LOG_2PI", "centred", "column_moments", "in_two_parts"]

LOG_2PI = float(np.log(2 * np.pi))


def centred(x: np.ndarray, centres: np.ndarray, low: np.ndarray, index: int) -> np.ndarray:
    """``x - c``, where ``c = centres + low`` to twice float32's precision.

    float32 data keep all their digits: ``x - centres`` is exact where it matters.
    """
    return (x - splat_like(x, centres, index)) - splat_like(x, low, index)


@overload(centred, jit_options={"error_model": "numpy"})
def _centred(x, centres, low, index):  # type: ignore[no-untyped-def]
    if centres.dtype == types.float32:
        return lambda x, centres, low, index: (x - splat_like(x, centres, index)) - splat_like(x, low, index)
    return lambda x, centres, low, index: x - splat_like(x, centres, index)


def column_moments(rows: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of columns, of the cells that are not missing; 0 and 1 where there is nothing."""
    missing = np.isnan(rows)
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = w @ ~missing
    counts = np.where(counts > 0, counts, 1)
    means = w @ np.where(missing, 0, rows) / counts
    with np.errstate(over="ignore", invalid="ignore"):
        squares = w @ np.square(np.where(missing, 0, rows - means), dtype=np.float64) / counts
    return means, np.where((squares > 0) & np.isfinite(squares), squares, 1.0)


def in_two_parts(values: np.ndarray, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers rounded to a dtype, and what the rounding took away."""
    rounded = np.ascontiguousarray(values, dtype=dtype)
    return rounded, (values - rounded).astype(dtype)
