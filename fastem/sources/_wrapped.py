"""Sources that give the rows of another source in another form."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from fastem.sources._source import Persist, Source
from fastem.sources.array import ArraySource

__all__ = ["RowwiseSource", "WrappedSource"]


class WrappedSource(Source):
    """Base of the sources that wrap another one: where the rows lie is for that one to say."""

    def __init__(self, source: Source):
        self.source = source
        self.n_rows, self.n_features = source.n_rows, source.n_features
        self.dtype, self.names = source.dtype, source.names
        self.is_shared = source.is_shared

    @property
    def row_bytes(self) -> int:
        return self.source.row_bytes

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return self.source.is_at(path)

    def memory(self) -> Iterator[np.ndarray]:
        return self.source.memory()

    def fingerprint(self) -> dict[str, Any]:
        return self._facts() | {"of": self.source.fingerprint()} | self._own_facts()

    @abstractmethod
    def _own_facts(self) -> dict[str, Any]:
        """Facts by which this form of the rows is told apart from others, in terms of JSON."""


class RowwiseSource(WrappedSource):
    """Base of the wrapping sources whose rows depend on one row of the other source each."""

    @abstractmethod
    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        """What makes the like of this source of some rows of the other one; it may travel to another process.

        The rows are a slice, or an array of numbers.
        """

    def range(self, first: int, count: int) -> Source:
        return self._wrapper(slice(first, first + count))(self.source.range(first, count))

    def sample_rows(self, count: int, n_chunks: int = 100) -> np.ndarray:
        return self.source.sample_rows(count, n_chunks)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self._wrapper(rows)(ArraySource(self.source.take(rows))).read(0, len(rows))

    def on_cluster(self, persist: Persist) -> tuple[np.ndarray, list[Any]] | None:
        found = self.source.on_cluster(persist)
        if found is None:
            return None
        import dask

        starts, partitions = found
        wrappers = [self._wrapper(slice(int(first), int(end))) for first, end in pairwise(starts)]
        kept = persist([dask.delayed(wrapper, traverse=False) for wrapper in wrappers])
        wrap = dask.delayed(_wrap, pure=False)
        return starts, [wrap(wrapper, partition) for wrapper, partition in zip(kept, partitions, strict=True)]


def _wrap(wrapper: Callable[[Source], Source], partition: Any) -> Source:
    from fastem.sources.dask import partition_source

    return wrapper(partition_source(partition))
