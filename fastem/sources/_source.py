"""What a data source is: rows that can be walked through in blocks, as often as needed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.tiles import tile_rows

__all__ = ["BUFFER_BYTES", "DataChangedError", "Source", "block_rows", "convert", "kernel_dtype"]

BUFFER_BYTES = 8 * 2**20


class DataChangedError(RuntimeError):
    """The data changed while they were in use."""


class Source(ABC):
    """Rows of equal length, in float64 or float32 as kernels read them.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : numpy.dtype
        float32 where the data are float32, else float64.
    """

    n_rows: int
    n_features: int
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, first: int, count: int) -> np.ndarray:
        """Rows ``first:first + count`` as a C-contiguous array of `dtype` that the caller may keep."""

    @abstractmethod
    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Walk through all rows, block by block.

        A block comes with the number of its first row, a multiple of a tile's rows, and is valid
        until the next one is asked for.
        """

    def sample_rows(self, count: int, n_chunks: int = 100) -> np.ndarray:
        """Numbers of about `count` rows, in chunks spread evenly: random rows of a file are slow."""
        if count >= self.n_rows:
            return np.arange(self.n_rows)
        size = max(1, count // n_chunks)
        firsts = np.linspace(0, self.n_rows - size, count // size).astype(np.int64)
        return np.unique(firsts[:, None] + np.arange(size))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows of given increasing numbers, read in runs of neighbours."""
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        return np.concatenate([self.read(int(run[0]), len(run)) for run in runs])


def kernel_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which kernels read data of a dtype."""
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64)


def block_rows(n_features: int, dtype: np.dtype[Any]) -> int:
    """Rows of a block of about BUFFER_BYTES: a whole number of tiles."""
    tile = tile_rows(dtype)
    return max(1, BUFFER_BYTES // (n_features * dtype.itemsize * tile)) * tile


def convert(rows: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Rows as a read-only C-contiguous array of a native dtype, without a copy if they are."""
    converted = np.ascontiguousarray(rows, dtype=dtype).view()
    converted.flags.writeable = False
    return converted
