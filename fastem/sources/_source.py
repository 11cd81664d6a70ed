"""What a data source is: rows that can be walked through in blocks, as often as needed."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from itertools import pairwise
from typing import Any

import numpy as np

from fastem.kernels.tiles import tile_rows

__all__ = [
    "DataChangedError",
    "Fill",
    "Persist",
    "SlowFill",
    "Source",
    "block_rows",
    "kernel_dtype",
    "read_only",
    "require_real",
]

BUFFER_BYTES = 16 * 2**20
_BUFFERS = 3

Fill = Callable[[int, np.ndarray], None]
Persist = Callable[[list[Any]], list[Any]]


class SlowFill(ABC):
    """A function that fills arrays and may take long; it can be told to stop."""

    @abstractmethod
    def __call__(self, first: int, out: np.ndarray) -> None: ...

    @abstractmethod
    def stop(self) -> None:
        """Let the array that is being filled go as soon as possible; called by another thread."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the rows come from, in the thread that filled arrays."""


class DataChangedError(RuntimeError):
    """The data changed while they were in use."""


class Source(ABC):
    """Rows of equal length, in float64 or float32 as kernels read them.

    A new kind of source says how many rows there are and how to fill an array with some of them;
    all else follows.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : numpy.dtype
        float32 where the data are float32, else float64.
    names : list of str or None
        Names of the columns.
    row_bytes : int
        Bytes that a row takes where it lies, for the display of progress.
    is_shared : bool
        Whether a copy of the source in another process reads the same files, instead of bringing
        the rows along.
    """

    n_rows: int
    n_features: int
    dtype: np.dtype[Any]
    names: list[str] | None = None
    is_shared: bool = False

    @property
    def row_bytes(self) -> int:
        return self.n_features * self.dtype.itemsize

    @abstractmethod
    def reading(self) -> AbstractContextManager[Fill]:
        """Open the data.

        Yields a function ``fill(first, out)`` that fills `out`, a C-contiguous array
        (count, n_features) of `dtype`, with the rows from number `first` on. It is called by one
        thread at a time, mostly with increasing numbers.
        """

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path leads to a file that the rows come from."""
        return False

    def memory(self) -> Iterator[np.ndarray]:
        """The arrays in which the rows lie, as far as they are known."""
        return iter(())

    def on_cluster(self, persist: Persist) -> tuple[np.ndarray, list[Any]] | None:
        """The rows at which partitions begin, with the end, and the partitions, if the rows lie on a cluster.

        Partitions are objects of Dask whose values are arrays, frames or sources; `persist` keeps
        values of such objects on the workers.
        """
        return None

    def range(self, first: int, count: int) -> "Source":
        """The rows ``first:first + count`` as a source."""
        from fastem.sources.columns import RowsSource

        return RowsSource(self, first, count)

    def fingerprint(self) -> dict[str, Any]:
        """Facts by which other data are told apart, to be compared with those of a checkpoint."""
        digest = hashlib.sha256()
        for _, rows in self.blocks():
            digest.update(rows.data)
        return self._facts() | {"content": digest.hexdigest()}

    def _facts(self) -> dict[str, Any]:
        return {"rows": self.n_rows, "columns": self.n_features, "dtype": str(self.dtype)}

    def read(self, first: int, count: int) -> np.ndarray:
        """Rows ``first:first + count`` as a C-contiguous array of `dtype` that the caller may keep."""
        rows = np.empty((count, self.n_features), self.dtype)
        with self.reading() as fill:
            fill(first, rows)
        return rows

    def whole(self) -> np.ndarray:
        """All rows, in any real dtype and layout, that the caller must not change."""
        return self.read(0, self.n_rows)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Walk through all rows, block by block, reading ahead in the background.

        A block comes with the number of its first row, a multiple of a tile's rows, and is valid
        until the next one is asked for.
        """
        size = min(block_rows(self.n_features, self.dtype), self.n_rows)
        firsts = range(0, self.n_rows, max(size, 1))
        buffers = self._take_buffers(min(_BUFFERS, len(firsts)), size)
        with self.reading() as fill, ThreadPoolExecutor(1, "fastem-reader", _give_way) as reader:

            def ask(i: int) -> Future[np.ndarray]:
                rows = buffers[i % _BUFFERS][: self.n_rows - firsts[i]]
                return reader.submit(lambda: fill(firsts[i], rows) or rows)

            pending = [ask(i) for i in range(min(_BUFFERS - 1, len(firsts)))]
            try:
                for i, first in enumerate(firsts):
                    rows = pending.pop(0).result()
                    if i + _BUFFERS - 1 < len(firsts):
                        pending.append(ask(i + _BUFFERS - 1))
                    yield first, read_only(rows)
            finally:
                if isinstance(fill, SlowFill):
                    fill.stop()
                for future in pending:
                    future.cancel()
                if isinstance(fill, SlowFill):
                    reader.submit(fill.close).result()  # where the rows' iterator was begun
        self._spare = buffers

    def _take_buffers(self, count: int, n_rows: int) -> list[np.ndarray]:
        """Those of the pass before, whose memory is there already, if they fit and nobody else has them."""
        spare: list[np.ndarray] = self.__dict__.pop("_spare", [])
        if len(spare) == count and all(len(buffer) == n_rows for buffer in spare):
            return spare
        return [self._buffer(n_rows) for _ in range(count)]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_spare"}

    def _buffer(self, n_rows: int) -> np.ndarray:
        """Memory for a block."""
        return np.empty((n_rows, self.n_features), self.dtype)

    def sample_rows(self, count: int, n_chunks: int = 100) -> np.ndarray:
        """Numbers of about `count` rows, in chunks spread evenly: random rows of a file are slow."""
        if count >= self.n_rows:
            return np.arange(self.n_rows)
        size = max(1, count // n_chunks)
        firsts = np.linspace(0, self.n_rows - size, count // size).astype(np.int64)
        return np.unique(firsts[:, None] + np.arange(size))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows of given increasing numbers, read in runs of neighbours."""
        taken = np.empty((len(rows), self.n_features), self.dtype)
        cuts = [0, *(np.flatnonzero(np.diff(rows) > 1) + 1), len(rows)]
        with self.reading() as fill:
            for begin, end in pairwise(cuts):
                fill(int(rows[begin]), taken[begin:end])
        return taken


def _give_way() -> None:
    """Let this thread interrupt no other when it wakes up.

    Where kernels keep all cores busy, a reader that does so stops one of them for a whole slice of
    time, and the others wait for it.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def kernel_dtype(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which kernels read data of some dtypes: float32 if all are, else float64."""
    single = all(dtype.kind == "f" and dtype.itemsize == 4 for dtype in dtypes)
    return np.dtype(np.float32 if single and dtypes else np.float64)


def require_real(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Raise ValueError unless an array of this shape and dtype is a table of real numbers."""
    if len(shape) != 2:
        raise ValueError(f"{where} holds an array of shape {shape}: fastem needs two dimensions, rows and columns.")
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"{where} holds {dtype}: fastem reads real numbers of up to 64 bits.")


def block_rows(n_features: int, dtype: np.dtype[Any]) -> int:
    """Rows of a block of about BUFFER_BYTES: a whole number of tiles."""
    tile = tile_rows(dtype)
    return max(1, BUFFER_BYTES // (n_features * dtype.itemsize * tile)) * tile


def read_only(rows: np.ndarray) -> np.ndarray:
    """A view that cannot be written to, as kernels expect it."""
    view = rows.view()
    view.flags.writeable = False
    return view
