"""Plain binary files: numbers one after the other, from some byte on."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import Any

import numpy as np

from fastem.memory import available_memory
from fastem.sources._file import FileSource
from fastem.sources._source import DataChangedError, Fill, kernel_dtype, require_real

__all__ = ["RawSource"]

# Share of the free memory that a file larger than memory is allowed to keep in the page cache.
_CACHE_SHARE = 0.7


class RawSource(FileSource):
    """Rows of a two-dimensional array in a file.

    The file is never mapped: it is read into buffers, so that a truncated file is an exception
    and memory stays bounded.

    Parameters
    ----------
    path : path
    dtype : dtype
    shape : tuple of int
        Rows and columns; -1 rows are as many as the file holds.
    offset : int
        Bytes before the first number.
    order : {'C', 'F'}
        Whether rows or columns lie together.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, not a table of real numbers, or fewer bytes than promised.
    """

    def __init__(
        self, path: str | os.PathLike[str], dtype: Any, shape: tuple[int, ...], offset: int = 0, order: str = "C"
    ):
        super().__init__(path)
        self._stored = np.dtype(dtype)
        self._offset = offset
        self._by_columns = order == "F"
        require_real(shape, self._stored, str(path))
        rows, self.n_features = (int(size) for size in shape)
        size = self._identity.size
        if rows == -1 and self.n_features > 0:
            rows, left = divmod(size - offset, self.row_bytes)
            if left or rows < 0:
                raise ValueError(f"{path} holds {size - offset} bytes, which is not a whole number of rows.")
        if rows < 0 or self.n_features < 0 or offset < 0:
            raise ValueError(f"{path} cannot have the shape {shape} from byte {offset} on.")
        self.n_rows = rows
        self.dtype = kernel_dtype(self._stored)
        expected = offset + self.n_rows * self.row_bytes
        if size < expected:
            raise ValueError(f"{path} is truncated: {size} bytes, but {expected} are promised. Write the file again.")

    @property
    def row_bytes(self) -> int:
        return self.n_features * self._stored.itemsize

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        kept = _kept_bytes(self._identity.size)
        with self._unchanged(), open(self.path, "rb", buffering=0) as file:
            staging: dict[tuple[int, ...], np.ndarray] = {}

            def stage(*shape: int) -> np.ndarray:
                if shape not in staging:
                    staging.clear()
                    staging[shape] = np.empty(shape, self._stored)
                return staging[shape]

            def fill_rows(first: int, out: np.ndarray) -> None:
                direct = self._stored == out.dtype
                target = out if direct else stage(*out.shape)
                position = self._offset + first * self.row_bytes
                self._read_into(file, position, target)
                if not direct:
                    out[...] = target
                if position >= kept:
                    os.posix_fadvise(file.fileno(), position, target.nbytes, os.POSIX_FADV_DONTNEED)

            def fill_columns(first: int, out: np.ndarray) -> None:
                column = stage(len(out))
                for j in range(self.n_features):
                    self._read_into(file, self._offset + (j * self.n_rows + first) * column.itemsize, column)
                    out[:, j] = column

            yield fill_columns if self._by_columns else fill_rows

    def _read_into(self, file: FileIO, position: int, target: np.ndarray) -> None:
        view = memoryview(target.data).cast("B")
        file.seek(position)
        while view:
            try:
                n = file.readinto(view)
            except OSError as error:
                what = f"reading failed at byte {position}: {error.strerror}"
                raise OSError(error.errno, what, str(self.path)) from error
            if not n:
                raise DataChangedError(f"{self.path} ends at byte {position}: it was shortened while in use.")
            view, position = view[n:], position + n


def _kept_bytes(size: int) -> float:
    """Bytes at the beginning of a file that the page cache should keep from pass to pass.

    A file larger than memory, read from end to end, drives its own beginning out of the cache
    before the next pass comes to it. Letting go of what lies behind keeps the beginning.
    """
    available = available_memory()
    if size < available or not hasattr(os, "posix_fadvise"):
        return math.inf
    return _CACHE_SHARE * available
