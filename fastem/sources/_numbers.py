"""What NumPy makes of data, with Python's numbers as floats and without what only looks like numbers."""

from typing import Any

import numpy as np

__all__ = ["as_array", "filled", "is_series", "numbers_of", "series_message"]


def is_series(data: Any) -> bool:
    """Whether data are one column of pandas, polars or Arrow."""
    package = type(data).__module__.partition(".")[0]
    is_of_arrow = package == "pyarrow" and hasattr(data, "type") and hasattr(data, "null_count")
    return (package in ("pandas", "polars") and type(data).__name__ == "Series") or is_of_arrow


def series_message(series: Any) -> str:
    """What to do with one column in place of a table."""
    name = type(series).__name__
    package = type(series).__module__.partition(".")[0]
    how = "pyarrow.table({'x': X})" if package == "pyarrow" else "X.to_frame()"
    return f"X is a {name} of {package}, a single column: fastem needs a table, pass {how}."


def as_array(data: Any, what: str = "X") -> np.ndarray:
    """Data as an array of any dtype and shape; masked arrays stay masked.

    Objects become float64, in which None, NA and masked cells are NaN.

    Raises
    ------
    TypeError, ValueError
        If data are sparse, dates, or objects that are no numbers; the message names the cell.
    """
    if hasattr(data, "toarray"):
        raise TypeError(f"{what} is a sparse matrix, but dense data is needed: pass {what}.toarray().")
    if isinstance(data, list | tuple) and any(np.ma.isMaskedArray(row) for row in data):
        data = np.ma.array(data)
    array: np.ndarray = data if np.ma.isMaskedArray(data) else np.asarray(data)
    if array.dtype.kind in "mM":
        raise TypeError(
            f"{what} holds dates or durations ({array.dtype}): pass numbers, such as days since the first one."
        )
    if array.dtype.names is not None:
        raise TypeError(
            f"{what} is a structured array ({array.dtype}): pass "
            f"numpy.lib.recfunctions.structured_to_unstructured({what})."
        )
    if array.dtype.kind != "O" or array.ndim == 0:
        return array
    if np.ma.isMaskedArray(array):
        mask, array = np.ma.getmaskarray(array), np.array(np.ma.getdata(array))
        array[mask] = None
    try:
        return numbers_of(array, what)
    except (TypeError, ValueError) as error:
        hint = "Use None or NaN for missing cells, and code levels by whole numbers from 0 on."
        raise type(error)(f"{error} {hint}") from error


def filled(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """An array with NaN where it is masked, and then of a floating dtype; without masked cells as it is."""
    if not np.ma.is_masked(array):
        return np.asarray(np.ma.getdata(array))
    values = np.ma.getdata(array).astype(dtype)
    values[np.ma.getmaskarray(array)] = np.nan
    return values


def numbers_of(objects: np.ndarray, what: str) -> np.ndarray:
    """Python's numbers as float64, with NaN for None and NA.

    Raises
    ------
    TypeError, ValueError
        At the first object that is no number; the message names it.
    """
    try:
        return objects.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    values = np.empty(objects.shape)
    for place, value in np.ndenumerate(objects):
        try:
            values[place] = np.nan if _is_missing(value) else float(value)
        except (TypeError, ValueError, OverflowError) as error:
            where = ", ".join(f"{name} {i}" for name, i in zip(("row", "column", "layer"), place, strict=False))
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{what} has {_short(value)} in {where}, which is no real number: {error}.") from error
    return values


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"  # of pandas


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
