"""Parquet and Arrow IPC (Feather) files, through pyarrow."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem.sources._cursor import Cursor, part_of
from fastem.sources._extra import require
from fastem.sources._file import FileSource
from fastem.sources._pandas_index import choose_fields
from fastem.sources._source import Fill, kernel_dtype
from fastem.sources.frame import arrow_dtype, arrow_numbers

__all__ = ["IpcSource", "ParquetSource"]

_BATCH_ROWS = 16_384


class _ArrowSource(FileSource):
    """Base of the files of columns: rows of chosen columns, in which nulls become NaN.

    Parameters
    ----------
    path : path
    columns : sequence of str or int, optional
        Default: all but the index of a pandas frame.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    FileNotFoundError, ValueError
        No such file or column, or a column that does not hold numbers.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[Any] | None = None):
        super().__init__(path)
        schema, self._starts = self._describe()
        chosen = choose_fields(schema, columns)
        self._indices = sorted(chosen)
        self._chosen = [schema.names[j] for j in chosen]
        dtypes = [arrow_dtype(schema.field(j).type) for j in chosen]
        bad = [
            f"{name} ({schema.field(name).type})"
            for name, dtype in zip(self._chosen, dtypes, strict=True)
            if dtype is None
        ]
        if bad:
            raise ValueError(
                f"{path} has columns without numbers: {', '.join(bad)}. Choose others with "
                "fastem.open(..., columns=[...])."
            )
        self.names = self._chosen
        self.n_rows, self.n_features = int(self._starts[-1]), len(self._chosen)
        self.dtype = kernel_dtype(*(dtype for dtype in dtypes if dtype is not None))

    @abstractmethod
    def _describe(self) -> tuple[Any, np.ndarray]:
        """Schema, and the rows at which parts begin, with the end."""

    @abstractmethod
    def _batches(self, part: int) -> Iterator[Any]:
        """Record batches from a part on."""

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"chosen columns": self._chosen}

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        cursor = Cursor(self._parts, lambda row: int(self._starts[part_of(self._starts, row)]))
        with self._unchanged():
            try:
                yield cursor
            finally:
                cursor.close()

    def _parts(self, row: int) -> Iterator[np.ndarray]:
        for batch in self._batches(part_of(self._starts, row)):
            rows = np.empty((batch.num_rows, self.n_features), self.dtype)
            for j, name in enumerate(self._chosen):
                rows[:, j] = arrow_numbers(batch.column(name))
            yield rows

    def _read_failed(self, error: Exception) -> ValueError:
        return ValueError(f"{self.path} cannot be read: {error}")


class ParquetSource(_ArrowSource):
    """Rows of chosen columns of a Parquet file."""

    def _describe(self) -> tuple[Any, np.ndarray]:
        with self._file() as file:
            counts = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            return file.schema_arrow, np.cumsum([0, *counts])

    def _batches(self, part: int) -> Iterator[Any]:
        with self._file() as file:
            groups = range(part, file.metadata.num_row_groups)
            yield from file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=self._chosen)

    def _file(self) -> Any:
        parquet = require("pyarrow.parquet", "arrow", "Reading Parquet files")
        try:
            return parquet.ParquetFile(self.path, pre_buffer=False)
        except (ValueError, OSError) as error:
            raise self._read_failed(error) from error


class IpcSource(_ArrowSource):
    """Rows of chosen columns of an Arrow IPC file, which Feather files are."""

    def _describe(self) -> tuple[Any, np.ndarray]:
        with self._file() as file:
            schema = file.schema
        with self._file([0] if len(schema) else []) as file:
            counts = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
        return schema, np.cumsum([0, *counts])

    def _batches(self, part: int) -> Iterator[Any]:
        with self._file(self._indices) as file:
            for i in range(part, file.num_record_batches):
                yield file.get_batch(i)

    @contextmanager
    def _file(self, columns: Sequence[int] = ()) -> Iterator[Any]:
        """The file; its batches have these columns, or all."""
        arrow = require("pyarrow", "arrow", "Reading Arrow files")
        ipc = require("pyarrow.ipc", "arrow", "Reading Arrow files")
        with arrow.OSFile(os.fspath(self.path)) as raw:  # not mapped: a truncated file must be an error
            try:
                file = ipc.open_file(raw, options=ipc.IpcReadOptions(included_fields=list(columns)))
            except (ValueError, OSError) as error:
                raise self._read_failed(error) from error
            yield file
