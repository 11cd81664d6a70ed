"""Plain binary files: numbers one after the other, from some byte on."""

import errno
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from fastem.kernels.memory import available_memory
from fastem.sources._file import FileSource
from fastem.sources._source import DataChangedError, Fill, kernel_dtype, require_real

__all__ = ["RawSource"]

_PAGE = 4096
# Share of the free memory that a file larger than memory may fill in the page cache.
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

    def fingerprint(self) -> dict[str, Any]:
        layout = [self._stored.str, self._offset, "F" if self._by_columns else "C"]
        return super().fingerprint() | {"layout": layout}

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self._unchanged(), _Reader(self.path, self._identity.size) as reader:
            staging: dict[tuple[int, ...], np.ndarray] = {}

            def stage(*shape: int) -> np.ndarray:
                if shape not in staging:
                    staging.clear()
                    staging[shape] = np.empty(shape, self._stored)
                return staging[shape]

            def fill_rows(first: int, out: np.ndarray) -> None:
                direct = self._stored == out.dtype
                target = out if direct else stage(*out.shape)
                reader.read(self._offset + first * self.row_bytes, target)
                if not direct:
                    out[...] = target

            def fill_columns(first: int, out: np.ndarray) -> None:
                column = stage(len(out))
                for j in range(self.n_features):
                    reader.read(self._offset + (j * self.n_rows + first) * column.itemsize, column)
                    out[:, j] = column

            yield fill_columns if self._by_columns else fill_rows

    def _buffer(self, n_rows: int) -> np.ndarray:
        """Memory that lies to its page as the first row of the file does to its own."""
        n_bytes = n_rows * self.n_features * self.dtype.itemsize
        raw = np.empty(n_bytes + _PAGE, np.uint8)
        start = (self._offset - raw.ctypes.data) % _PAGE
        return raw[start : start + n_bytes].view(self.dtype).reshape(n_rows, self.n_features)


class _Reader:
    """Reads a file into arrays.

    A file larger than memory, read from end to end, drives its own beginning out of the page
    cache before the next pass comes to it, and filling the cache takes half of a core. So only a
    beginning that fits is read through the cache, where it stays; what lies behind is read past
    it, as far as the system and the places of the arrays in memory allow.
    """

    def __init__(self, path: Path, size: int):
        self.path = path
        available = available_memory()
        self._cached = _CACHE_SHARE * available if size > available else math.inf

    def __enter__(self) -> Self:
        self._file = open(self.path, "rb", buffering=0)  # closed in __exit__
        self._past_cache = -1
        if self._cached < math.inf and hasattr(os, "O_DIRECT"):
            with suppress(OSError):  # a file system without it
                self._past_cache = os.open(self.path, os.O_RDONLY | os.O_DIRECT)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._past_cache >= 0:
            os.close(self._past_cache)

    def read(self, position: int, target: np.ndarray) -> None:
        """Fill an array with the bytes from a position on."""
        view = memoryview(target.data).cast("B")
        congruent = (target.ctypes.data - position) % _PAGE == 0
        if self._past_cache >= 0 and position >= self._cached and congruent and len(view) > 2 * _PAGE:
            head = -position % _PAGE
            tail = (position + len(view)) % _PAGE
            self._read_cached(position, view[:head])
            self._read_past_cache(position + head, view[head : len(view) - tail])
            self._read_cached(position + len(view) - tail, view[len(view) - tail :])
        else:
            self._read_cached(position, view)

    def _read_cached(self, position: int, view: memoryview) -> None:
        self._file.seek(position)
        self._read_all(self._file.readinto, position, view)

    def _read_past_cache(self, position: int, view: memoryview) -> None:
        end = position + len(view)
        try:
            self._read_all(lambda rest: os.preadv(self._past_cache, [rest], end - len(rest)), position, view)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._cached = math.inf  # this file system lets such files be opened, but not read
            self._read_cached(position, view)

    def _read_all(self, read: Callable[[memoryview], int | None], position: int, view: memoryview) -> None:
        while view:
            try:
                n = read(view)
            except OSError as error:
                what = f"reading failed at byte {position}: {error.strerror}"
                raise OSError(error.errno, what, str(self.path)) from error
            if not n:
                raise DataChangedError(f"{self.path} ends at byte {position}: it was shortened while in use.")
            view, position = view[n:], position + n
