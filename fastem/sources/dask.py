"""Dask arrays and data frames."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem.sources._cursor import Cursor, part_of
from fastem.sources._numbers import as_array
from fastem.sources._source import Fill, Persist, Source, kernel_dtype, require_real
from fastem.sources.array import ArraySource
from fastem.sources.columns import column_indices
from fastem.sources.frame import FrameSource, is_frame

__all__ = ["DaskSource", "is_dask", "partition_source"]


def is_dask(data: Any) -> bool:
    """Whether data are a collection of Dask."""
    return type(data).__module__.partition(".")[0] in ("dask", "dask_expr") and hasattr(data, "__dask_graph__")


def partition_source(partition: Any) -> Source:
    """A computed partition, an array, a frame or a source, as a source."""
    if isinstance(partition, Source):
        return partition
    return FrameSource(partition) if is_frame(partition) else ArraySource(as_array(partition))


def _digest_of(partition: Any) -> str:
    content: str = partition_source(partition).fingerprint()["content"]
    return content


def _rows_of(partition: Any, rows: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    return partition_source(partition).take(rows).astype(dtype)


class DaskSource(Source):
    """Rows of a Dask array or data frame.

    Partitions whose lengths are not known are computed once to count their rows.

    Attributes
    ----------
    partitions : list of dask.delayed.Delayed
    starts : ndarray of shape (n_partitions + 1,)
        Number of the first row of each partition, and of rows.
    """

    def __init__(self, collection: Any, columns: Sequence[Any] | None = None):
        if type(collection).__name__ == "DataFrame":
            if columns is not None:
                names = list(collection.columns)
                collection = collection[[names[j] for j in column_indices(columns, len(names), names)]]
            self._describe_frame(collection)
        elif type(collection).__name__ != "Array":
            raise ValueError(f"A {type(collection).__name__} of Dask is no table: make an array or a data frame of it.")
        else:
            require_real(collection.shape, collection.dtype, "The Dask array")
            if columns is not None:
                collection = collection[:, column_indices(columns, collection.shape[1], None)]
            self._describe_array(collection)
        self.n_rows = int(self.starts[-1])
        self._collection = collection  # persisted partitions live as long as somebody holds it

    def _describe_array(self, array: Any) -> None:
        if np.isnan(array.shape[0]):
            array = array.compute_chunk_sizes()
        if array.numblocks[1] > 1:
            array = array.rechunk({1: -1})
        self.n_features, self.dtype = int(array.shape[1]), kernel_dtype(array.dtype)
        self.partitions = list(array.to_delayed().ravel())
        self.starts = np.cumsum([0, *array.chunks[0]])

    def _describe_frame(self, frame: Any) -> None:
        head = FrameSource(frame._meta)
        self.n_features, self.dtype, self.names = head.n_features, head.dtype, head.names
        self.partitions = frame.to_delayed()
        self.starts = np.cumsum([0, *frame.map_partitions(len).compute()])

    def fingerprint(self) -> dict[str, Any]:
        import dask

        digest = dask.delayed(_digest_of, pure=False)
        digests = dask.compute(*(digest(partition) for partition in self.partitions))
        content = hashlib.sha256("".join(digests).encode()).hexdigest()
        return self._facts() | {"starts": self.starts.tolist(), "content": content}

    def on_cluster(self, persist: Persist) -> tuple[np.ndarray, list[Any]] | None:
        return self.starts, self.partitions

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows of given increasing numbers, picked where the partitions lie."""
        import dask

        pick = dask.delayed(_rows_of, pure=False)
        cuts = np.searchsorted(rows, self.starts)
        wanted = [
            pick(partition, rows[a:b] - first, self.dtype)
            for partition, first, a, b in zip(self.partitions, self.starts[:-1], cuts[:-1], cuts[1:], strict=True)
            if a < b
        ]
        return np.concatenate([np.empty((0, self.n_features), self.dtype), *dask.compute(*wanted)])

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        cursor = Cursor(self._parts, lambda row: int(self.starts[part_of(self.starts, row)]))
        try:
            yield cursor
        finally:
            cursor.close()

    def _parts(self, row: int) -> Iterator[np.ndarray]:
        for delayed in self.partitions[part_of(self.starts, row) :]:
            yield partition_source(delayed.compute()).whole()
