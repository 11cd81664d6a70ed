"""Streams: anything that gives the same arrays each time it is iterated over."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from fastem.sources._cursor import Cursor
from fastem.sources._numbers import as_array
from fastem.sources._source import DataChangedError, Fill, Source, kernel_dtype, require_real
from fastem.sources.array import ArraySource, is_same_file, mapped_file, owner_of
from fastem.sources.columns import column_indices
from fastem.sources.frame import FrameSource, is_frame

__all__ = ["IterableSource"]


class _WholeCursor(Cursor):
    """A cursor that notices rows behind the last one."""

    def __init__(self, parts: Callable[[int], Iterator[np.ndarray]], n_rows: int):
        super().__init__(parts)
        self.n_rows = n_rows

    def __call__(self, first: int, out: np.ndarray) -> None:
        super().__call__(first, out)
        if first + len(out) == self.n_rows and not self.is_at_end():
            raise DataChangedError(f"The iterator gave {self.n_rows} rows the first time, and more now.")


class IterableSource(Source):
    """Rows of arrays or frames that come one after the other, from the start in each pass.

    One pass counts the rows when the source is made.

    Parameters
    ----------
    function : callable
        Returns a fresh iterator of arrays (any, n_features), or of frames.
    columns : sequence of int or str, optional
        Default: all.

    Raises
    ------
    ValueError
        If a part is not a table of real numbers, or has other columns than the first.
    """

    def __init__(self, function: Callable[[], Iterable[Any]], columns: Sequence[Any] | None = None):
        self.function, self.columns = function, columns
        self.n_rows, dtypes = 0, []
        self._files: set[Path] = set()
        owners: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()
        for number, part in enumerate(self._sources()):
            if number == 0:
                self.n_features, self.names = part.n_features, part.names
            self._check_columns(number, part)
            self.n_rows += part.n_rows
            dtypes.append(part.dtype)
            for array in part.memory():
                owners[id(owner_of(array))] = owner_of(array)
                if (file := mapped_file(array)) is not None:
                    self._files.add(file)
        if not dtypes:
            raise ValueError("The iterator gave no arrays: there are no rows.")
        self.dtype = kernel_dtype(*dtypes)
        self._owners = owners  # those that outlive their part

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return any(is_same_file(file, path) for file in self._files)

    def memory(self) -> Iterator[np.ndarray]:
        yield from self._owners.values()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_owners": {}}  # in another process there are others

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        cursor = _WholeCursor(self._parts, self.n_rows)
        try:
            yield cursor
        finally:
            cursor.close()

    def _sources(self) -> Iterator[Source]:
        for number, part in enumerate(self.function()):
            if is_frame(part):
                yield FrameSource(part, self.columns)
                continue
            what = f"Part {number} of the iterator"
            array = as_array(part, what)
            require_real(array.shape, array.dtype, what)
            if self.columns is not None:
                array = array[:, column_indices(self.columns, array.shape[1], None)]
            yield ArraySource(array)

    def _parts(self, row: int) -> Iterator[np.ndarray]:
        for number, part in enumerate(self._sources()):
            self._check_columns(number, part)
            yield part.whole()

    def _check_columns(self, number: int, part: Source) -> None:
        if part.n_features != self.n_features or part.names != self.names:
            raise ValueError(
                f"Part {number} of the iterator has {part.n_features} columns {part.names or ''}, but part 0 has "
                f"{self.n_features} {self.names or ''}."
            )
