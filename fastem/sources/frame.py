"""Data frames of pandas and polars, and tables of Arrow."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem.sources._numbers import numbers_of
from fastem.sources._pandas_index import choose_fields
from fastem.sources._source import Fill, Source, kernel_dtype
from fastem.sources.columns import column_indices

__all__ = ["FrameSource", "is_frame"]


def _package(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


def _names(frame: Any) -> list[Any]:
    if type(frame).__name__ == "LazyFrame":
        return list(frame.collect_schema().names())
    return list(frame.schema.names if _package(frame) == "pyarrow" else frame.columns)


def is_frame(data: Any) -> bool:
    """Whether data are a frame of pandas or polars, or a table or batch of Arrow."""
    return _package(data) in _KINDS and type(data).__name__ in ("DataFrame", "LazyFrame", "Table", "RecordBatch")


class FrameSource(Source):
    """Rows of a frame, converted block by block; missing cells become NaN.

    Parameters
    ----------
    frame : DataFrame of pandas or polars, LazyFrame of polars, Table or RecordBatch of Arrow
        A LazyFrame is collected once, after columns were chosen.
    columns : sequence of int or str, optional
        Default: all; of a table of Arrow, all but the index of a pandas frame.

    Raises
    ------
    ValueError
        If there is no such column, or one does not hold numbers; the message names it.
    """

    def __init__(self, frame: Any, columns: Sequence[Any] | None = None):
        package = _package(frame)
        if package == "pyarrow":
            frame = frame.select(choose_fields(frame.schema, columns))
        elif columns is not None:
            frame = _SELECT[package](frame, column_indices(columns, len(_names(frame)), _names(frame)))
        if type(frame).__name__ == "LazyFrame":
            frame = frame.collect()
        failures: list[str] = []
        if package == "pandas":
            frame, failures = _without_objects(frame)
        self.frame = frame
        dtypes, self._fill = _KINDS[package]
        columns, found = _names(frame), dtypes(frame)
        kinds = frame.schema.types if package == "pyarrow" else frame.dtypes
        bad = [f"{name} ({kind})" for name, kind, dtype in zip(columns, kinds, found, strict=True) if dtype is None]
        if bad:
            what = " ".join([f"Columns without numbers: {', '.join(bad)}.", *failures])
            raise ValueError(
                f"{what} Leave them out, with fastem.open(..., columns=[...]), or code levels by whole numbers from 0 "
                "on, and dates by numbers such as days since the first one."
            )
        self.names = columns if all(isinstance(column, str) for column in columns) else None
        self.n_rows, self.n_features = frame.shape if package != "pyarrow" else (frame.num_rows, len(columns))
        self.dtype = kernel_dtype(*(dtype for dtype in found if dtype is not None))

    def memory(self) -> Iterator[np.ndarray]:
        return _MEMORY[_package(self.frame)](self.frame)

    @property
    def is_of_scikit_learn(self) -> bool:
        """Whether scikit-learn knows the names of such a frame's columns."""
        return _package(self.frame) != "pyarrow"

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        yield lambda first, out: self._fill(self.frame, first, out)


# --- pandas -----------------------------------------------------------------------------------


def _pandas_dtypes(frame: Any) -> list[np.dtype[Any] | None]:
    return [_pandas_dtype(dtype) for dtype in frame.dtypes]


def _without_objects(frame: Any) -> tuple[Any, list[str]]:
    """The frame with columns of Python's numbers as floats, and why other objects stay what they are."""
    found, failures = frame.copy(deep=False), []
    for j, (name, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            try:
                found.isetitem(j, numbers_of(frame.iloc[:, j].to_numpy(), f"Column {name!r}"))
            except (TypeError, ValueError) as error:
                failures.append(str(error))
    return found, failures


def _pandas_dtype(dtype: Any) -> np.dtype[Any] | None:
    """The dtype of the numbers of a column, dense, sparse, nullable or of Arrow."""
    if hasattr(dtype, "pyarrow_dtype"):
        return arrow_dtype(dtype.pyarrow_dtype)
    dtype = dtype.subtype if type(dtype).__name__ == "SparseDtype" else getattr(dtype, "numpy_dtype", dtype)
    real = isinstance(dtype, np.dtype) and dtype.kind in "fiub"
    return dtype if real else None


def _fill_from_pandas(frame: Any, first: int, out: np.ndarray) -> None:
    out[...] = frame.iloc[first : first + len(out)].to_numpy(dtype=out.dtype, na_value=np.nan)


def _pandas_memory(frame: Any) -> Iterator[np.ndarray]:
    for j, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype):
            yield frame.iloc[:, j].to_numpy()


# --- polars -----------------------------------------------------------------------------------


def _polars_dtypes(frame: Any) -> list[np.dtype[Any] | None]:
    return [_polars_dtype(dtype) for dtype in frame.dtypes]


def _polars_dtype(dtype: Any) -> np.dtype[Any] | None:
    if str(dtype) == "Float32":
        return np.dtype(np.float32)
    return np.dtype(np.float64) if dtype.is_numeric() or str(dtype) == "Boolean" else None


def _select_from_polars(frame: Any, chosen: list[int]) -> Any:
    import polars

    return frame.select(polars.nth(*chosen))


def _fill_from_polars(frame: Any, first: int, out: np.ndarray) -> None:
    import polars

    kind = polars.Float32 if out.dtype == np.float32 else polars.Float64
    rows = frame.slice(first, len(out))
    for j, column in enumerate(rows.get_columns()):
        out[:, j] = column.cast(kind).to_numpy()


# --- Arrow ------------------------------------------------------------------------------------


def _arrow_dtypes(frame: Any) -> list[np.dtype[Any] | None]:
    return [arrow_dtype(field.type) for field in frame.schema]


def arrow_dtype(kind: Any) -> np.dtype[Any] | None:
    """The dtype to read a column of an Arrow type in; None if it does not hold numbers."""
    from pyarrow import types

    if types.is_float32(kind):
        return np.dtype(np.float32)
    real = types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    return np.dtype(np.float64) if real else None


def _fill_from_arrow(frame: Any, first: int, out: np.ndarray) -> None:
    rows = frame.slice(first, len(out))
    for j in range(rows.num_columns):
        column = rows.column(j)
        at = 0
        for chunk in getattr(column, "chunks", [column]):
            out[at : at + len(chunk), j] = arrow_numbers(chunk)
            at += len(chunk)


def _arrow_memory(frame: Any) -> Iterator[np.ndarray]:
    for column in frame.columns:
        for chunk in getattr(column, "chunks", [column]):
            yield from (np.frombuffer(buffer, np.uint8) for buffer in chunk.buffers() if buffer)


def arrow_numbers(column: Any) -> np.ndarray:
    """The numbers of an Arrow array; nulls become NaN."""
    import pyarrow

    if not (pyarrow.types.is_floating(column.type) or pyarrow.types.is_integer(column.type)):
        column = column.cast(pyarrow.float64())
    numbers: np.ndarray = column.to_numpy(zero_copy_only=False)
    return numbers


_KINDS: dict[str, tuple[Callable[[Any], list[np.dtype[Any] | None]], Callable[[Any, int, np.ndarray], None]]] = {
    "pandas": (_pandas_dtypes, _fill_from_pandas),
    "polars": (_polars_dtypes, _fill_from_polars),
    "pyarrow": (_arrow_dtypes, _fill_from_arrow),
}

_MEMORY: dict[str, Callable[[Any], Iterator[np.ndarray]]] = {
    "pandas": _pandas_memory,
    "polars": lambda frame: iter(()),  # nobody may write to it
    "pyarrow": _arrow_memory,
}

_SELECT: dict[str, Callable[[Any, list[int]], Any]] = {
    "pandas": lambda frame, chosen: frame.iloc[:, chosen],
    "polars": _select_from_polars,
}
