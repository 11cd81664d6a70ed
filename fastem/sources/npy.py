"""``.npy`` files, read block by block ahead of the kernels; they may be larger than memory."""

import os
import tokenize
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastem.files import replacing
from fastem.sources._source import DataChangedError, Source, block_rows, convert, kernel_dtype

__all__ = ["NpySource", "write_npy"]

_BUFFERS = 3


class NpySource(Source):
    """Rows of a two-dimensional array in a ``.npy`` file.

    The file is never mapped: a background thread reads into reused buffers, so that a truncated
    file is an exception and memory stays bounded.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or not a table of numbers; the message says what it is instead.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        with open(self.path, "rb") as file:
            shape, self._fortran, self._stored, self._offset = _read_header(file, self.path)
            self._identity = _identity(file)
        self.n_rows, self.n_features = shape
        self.dtype = kernel_dtype(self._stored)
        expected = self._offset + self.n_rows * self.n_features * self._stored.itemsize
        if self._identity[0] < expected:
            raise ValueError(
                f"{self.path} is truncated: {self._identity[0]} bytes, but its header promises {expected}. "
                "Write the file again."
            )

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path leads to this file."""
        return Path(path).exists() and Path(path).samefile(self.path)

    def read(self, first: int, count: int) -> np.ndarray:
        with self._opened() as file:
            buffer = self._fill(file, first, self._buffer(count))
        return np.ascontiguousarray(buffer, dtype=self.dtype)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        size = min(block_rows(self.n_features, self.dtype), self.n_rows)
        buffers = [self._buffer(size) for _ in range(_BUFFERS)]
        firsts = range(0, self.n_rows, size)
        with self._opened() as file, ThreadPoolExecutor(1, "fastem-reader") as reader:

            def ask(i: int) -> Future[np.ndarray]:
                count = min(size, self.n_rows - firsts[i])
                return reader.submit(self._fill, file, firsts[i], buffers[i % _BUFFERS][:count])

            pending = [ask(i) for i in range(min(_BUFFERS - 1, len(firsts)))]
            for i, first in enumerate(firsts):
                rows = pending.pop(0).result()
                if i + _BUFFERS - 1 < len(firsts):
                    pending.append(ask(i + _BUFFERS - 1))
                yield first, convert(rows, self.dtype)

    def _buffer(self, n_rows: int) -> np.ndarray:
        return np.empty((n_rows, self.n_features), self._stored, order="F" if self._fortran else "C")

    @contextmanager
    def _opened(self) -> Iterator[FileIO]:
        with open(self.path, "rb", buffering=0) as file:
            self._check_unchanged(file)
            yield file
            self._check_unchanged(file)

    def _check_unchanged(self, file: FileIO) -> None:
        if _identity(file) != self._identity:
            raise DataChangedError(f"{self.path} changed while it was in use: start again on the new data.")

    def _fill(self, file: FileIO, first: int, buffer: np.ndarray) -> np.ndarray:
        item = self._stored.itemsize
        if not self._fortran:
            self._read_into(file, self._offset + first * self.n_features * item, buffer)
            return buffer
        for j in range(self.n_features):
            self._read_into(file, self._offset + (j * self.n_rows + first) * item, buffer[:, j])
        return buffer

    def _read_into(self, file: FileIO, position: int, target: np.ndarray) -> None:
        view = memoryview(target.data).cast("B")
        file.seek(position)
        while view:
            n = file.readinto(view)
            if not n:
                raise DataChangedError(f"{self.path} ends at byte {position}: it was shortened while in use.")
            view, position = view[n:], position + n


def _identity(file: FileIO | BinaryIO) -> tuple[int, int, int]:
    """What changes when a file is changed: size, time of modification, inode."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ino


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, int], bool, np.dtype[Any], int]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"{path} is not a .npy file: {error}") from error
    if len(shape) != 2:
        raise ValueError(f"{path} holds an array of shape {shape}: fastem needs two dimensions, rows and columns.")
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"{path} holds {dtype}: fastem reads real numbers of up to 64 bits.")
    return (int(shape[0]), int(shape[1])), fortran, dtype, file.tell()


@contextmanager
def write_npy(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends rows to a ``.npy`` file, which appears when it is whole.

    Parameters
    ----------
    path : path
    shape : tuple of int
        Of the whole array.
    dtype : numpy.dtype
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)

        def append(rows: np.ndarray) -> None:
            file.write(np.ascontiguousarray(rows, dtype=dtype).data)

        yield append
