"""Columns of levels: strings, booleans, categories and numbers, as codes 0, 1, 2, ... of the levels that occur."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Number
from typing import Any

import numpy as np

from fastem.sources._source import Fill, Source
from fastem.sources._wrapped import RowwiseSource

__all__ = ["CodedSource", "labelled_columns", "levels_of"]

_MOST = 100_000  # levels of a column
_NARROW = 1_000_000  # range of whole numbers that are counted instead of sorted


Columns = Callable[[int, list[str] | None], dict[int, bool]]


# --- columns that hold no numbers -------------------------------------------------------------


def labelled_columns(
    data: Any, columns: Columns, known: dict[int, list[Any]] | None
) -> tuple[Any, dict[int, list[Any]]]:
    """Data whose strings, booleans and categories are codes, and the labels of those columns.

    Parameters
    ----------
    data : frame of pandas or polars, table of Arrow, array-like
        All else is returned as it is.
    columns : callable
        From number and names of the columns, those of levels, with whether labels that are not
        known are missing, instead of an error; the others stay what they are.
    known : dict of list, or None
        Labels by column, in the order of their codes; None finds them, in the order of the
        column's dtype.
    """
    package = type(data).__module__.partition(".")[0]
    kind = type(data).__name__
    if package == "polars" and kind == "LazyFrame":
        data = data.collect()
    if package == "pandas" and kind == "DataFrame":
        (series, put), names = _pandas_columns(data), list(data.columns)
    elif package == "polars" and kind in ("DataFrame", "LazyFrame"):
        (series, put), names = _polars_columns(data), data.columns
    elif package == "pyarrow" and kind in ("Table", "RecordBatch"):
        (series, put), names = _arrow_columns(data), data.schema.names
    elif _is_array_of_objects(data):
        return _code_array(data, columns, known)
    else:
        return data, {}
    labels = {}
    of_strings = [str(name) for name in names] if all(isinstance(name, str) for name in names) else None
    for j, is_lenient in columns(len(series), of_strings).items():
        values, order = series[j]()
        found = None if known is None else known.get(j)
        if order is None and (found is None or all(isinstance(label, Number) for label in found)):
            continue  # numbers, which `CodedSource` codes
        codes, labels[j] = _code(values, order, found, is_lenient, j)
        data = put(data, j, codes)
    return data, labels


def _code(
    values: Sequence[Any], order: Sequence[Any] | None, known: list[Any] | None, is_lenient: bool, column: int
) -> tuple[np.ndarray, list[Any]]:
    """Codes, NaN where a value is None, and the labels that they stand for."""
    _require_labels(values, column)
    labels = known
    if labels is None:
        occurring = {value for value in values if value is not None}
        labels = [label for label in order if label in occurring] if order else _in_order(occurring, column)
    places = {label: float(code) for code, label in enumerate(labels)}
    places[None] = np.nan
    codes = np.array([places.get(value, -1.0) for value in values])
    unknown = codes < 0
    if unknown.any() and not is_lenient:
        row = int(np.argmax(unknown))
        raise ValueError(_unknown_message(repr(values[row]), row, column, [repr(label) for label in labels]))
    codes[unknown] = np.nan
    return codes, list(labels)


def _require_labels(values: Sequence[Any], column: int) -> None:
    """Raise TypeError that names the first value that is no label."""
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str | bytes | Number):
            raise TypeError(
                f"argument must be a string or a number where a column holds levels, not {value!r} as in "
                f"row {row}, column {column}."
            )


def _in_order(labels: set[Any], column: int) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError as error:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise ValueError(f"Column {column} has levels of types that have no order: {kinds}. Make them one.") from error


def _unknown_message(value: str, row: int, column: int, known: list[str]) -> str:
    some = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    return (
        f"Input X has {value} in row {row}, column {column}, a level that the fit did not meet: it knows {some}. "
        "Categorical(handle_unknown='missing') takes it for a missing cell."
    )


def _is_missing(value: Any) -> bool:
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _plain(value: Any) -> Any:
    """A value as Python has it; None where it is missing."""
    if _is_missing(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _objects(values: Sequence[Any]) -> tuple[list[Any], list[Any] | None]:
    """Values with None where they are missing; with an order, maybe empty, if they are no numbers."""
    cleaned = [_plain(value) for value in values]
    some = [value for value in cleaned if value is not None]
    are_numbers = all(isinstance(value, Number) and not isinstance(value, bool) for value in some)
    return cleaned, None if are_numbers else []


Column = Callable[[], tuple[list[Any], Sequence[Any] | None]]


def _pandas_columns(frame: Any) -> tuple[list[Column], Callable[..., Any]]:
    def read(j: int) -> tuple[list[Any], Sequence[Any] | None]:
        column = frame.iloc[:, j]
        if hasattr(column, "cat"):
            categories = list(column.cat.categories)
            return [None if code < 0 else categories[code] for code in column.cat.codes], categories
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiu":
            return [], None
        return _objects(column.astype(object).tolist())

    def put(data: Any, j: int, codes: np.ndarray) -> Any:
        data = data.copy(deep=False)
        data.isetitem(j, codes)
        return data

    return [partial(read, j) for j in range(frame.shape[1])], put


def _polars_columns(frame: Any) -> tuple[list[Column], Callable[..., Any]]:
    import polars

    def read(j: int) -> tuple[list[Any], Sequence[Any] | None]:
        column = frame.to_series(j)
        if column.dtype.is_numeric():
            return [], None
        if column.dtype == polars.Enum:
            return column.cast(polars.String).to_list(), column.dtype.categories.to_list()
        if column.dtype == polars.Categorical:
            return column.cast(polars.String).to_list(), []
        return _objects(column.to_list())

    def put(data: Any, j: int, codes: np.ndarray) -> Any:
        return data.with_columns(polars.Series(data.columns[j], codes))

    return [partial(read, j) for j in range(frame.width)], put


def _arrow_columns(table: Any) -> tuple[list[Column], Callable[..., Any]]:
    import pyarrow

    def read(j: int) -> tuple[list[Any], Sequence[Any] | None]:
        column = table.column(j)
        if pyarrow.types.is_dictionary(column.type):
            whole = pyarrow.chunked_array(column).unify_dictionaries() if table.num_rows else column
            order = whole.chunk(0).dictionary.to_pylist() if whole.num_chunks else []
            return column.to_pylist(), order
        if pyarrow.types.is_floating(column.type) or pyarrow.types.is_integer(column.type):
            return [], None
        return _objects(column.to_pylist())

    def put(data: Any, j: int, codes: np.ndarray) -> Any:
        if not hasattr(data, "chunk_lengths") and type(data).__name__ == "RecordBatch":
            data = pyarrow.Table.from_batches([data])
        return data.set_column(j, data.schema.names[j], pyarrow.array(codes, from_pandas=True))

    return [partial(read, j) for j in range(table.num_columns)], put


def _is_array_of_objects(data: Any) -> bool:
    if isinstance(data, np.ndarray):
        return data.ndim == 2 and data.dtype.kind in "OUSb"
    if not (isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple)):
        return False
    return any(isinstance(value, str | bytes | bool) for row in data for value in row)


def _code_array(data: Any, columns: Columns, known: dict[int, list[Any]] | None) -> tuple[Any, dict[int, list[Any]]]:
    """The same for arrays and lists of rows."""
    is_masked = np.ma.isMaskedArray(data)
    table = np.array(np.ma.getdata(data) if is_masked else data, dtype=object)
    if is_masked:
        table[np.ma.getmaskarray(data)] = None
    if table.ndim != 2:
        return data, {}
    labels = {}
    for j, is_lenient in columns(table.shape[1], None).items():
        values, order = _objects(table[:, j].tolist())
        found = None if known is None else known.get(j)
        if order is None and (found is None or all(isinstance(label, Number) for label in found)):
            continue
        table[:, j], labels[j] = _code(values, order, found, is_lenient, j)
    return table if labels else data, labels


# --- numbers ----------------------------------------------------------------------------------


def levels_of(source: Source, columns: Sequence[int], weights: np.ndarray | None) -> dict[int, np.ndarray]:
    """The distinct numbers of some columns, in rows that have weight; the source is read once.

    Raises
    ------
    ValueError
        If a column has too many of them to be one of levels.
    """
    found: dict[int, np.ndarray] = {j: np.empty(0) for j in columns}
    for first, rows in source.blocks():
        some = slice(None) if weights is None else weights[first : first + len(rows)] > 0
        for j in columns:
            found[j] = np.union1d(found[j], _distinct(rows[some, j]))
            if len(found[j]) > _MOST:
                raise ValueError(f"Column {j} has more than {_MOST:,} levels: it does not look categorical.")
    return found


def _distinct(x: np.ndarray) -> np.ndarray:
    x = x[np.isfinite(x)].astype(np.float64)
    if not len(x):
        return x
    low, high = x.min(), x.max()
    if high - low < _NARROW and np.all(x == np.floor(x)):
        return np.asarray(np.flatnonzero(np.bincount((x - low).astype(np.intp))) + low)
    return np.unique(x)


class CodedSource(RowwiseSource):
    """Rows with columns of levels as codes 0, 1, 2, ...

    Parameters
    ----------
    source : Source
    levels : dict of ndarray
        The numbers, in increasing order, that the codes of a column stand for.
    lenient : collection of int
        Columns in which other numbers are missing cells, instead of an error.
    first_row : int
        Number of the first row, for errors.
    """

    def __init__(
        self, source: Source, levels: dict[int, np.ndarray], lenient: Collection[int] = (), first_row: int = 0
    ):
        super().__init__(source)
        self.levels, self.lenient, self.first_row = levels, frozenset(lenient), first_row

    def _own_facts(self) -> dict[str, Any]:
        return {"levels": {str(j): levels.tolist() for j, levels in self.levels.items()}}

    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        first = rows.start if isinstance(rows, slice) else 0
        return partial(CodedSource, levels=self.levels, lenient=self.lenient, first_row=self.first_row + first)

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self.source.reading() as fill_rows:

            def fill(first: int, out: np.ndarray) -> None:
                fill_rows(first, out)
                for j, levels in self.levels.items():
                    out[:, j] = self._codes(out[:, j], levels, j, self.first_row + first)

            yield fill

    def _codes(self, x: np.ndarray, levels: np.ndarray, column: int, first_row: int) -> np.ndarray:
        codes = np.searchsorted(levels, x).clip(max=max(len(levels) - 1, 0)).astype(np.float64)
        missing = np.isnan(x)
        unknown = ~missing & (levels[codes.astype(np.intp)] != x if len(levels) else True)
        if unknown.any() and column not in self.lenient:
            row = int(np.argmax(unknown))
            raise ValueError(
                _unknown_message(f"{x[row]:g}", first_row + row, column, [f"{level:g}" for level in levels])
            )
        codes[missing | unknown] = np.nan
        return codes
