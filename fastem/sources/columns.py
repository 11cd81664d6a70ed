"""Some columns of a source, and some rows of one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fastem.sources._source import Fill, Source, block_rows
from fastem.sources._wrapped import RowwiseSource, WrappedSource

__all__ = ["ColumnsSource", "RowsSource", "column_indices"]


class ColumnsSource(RowwiseSource):
    """Some columns of another source, chosen by their numbers or names."""

    def __init__(self, source: Source, columns: Sequence[Any]):
        super().__init__(source)
        self.indices = column_indices(columns, source.n_features, source.names)
        self.n_features = len(self.indices)
        self.names = None if source.names is None else [source.names[j] for j in self.indices]

    def _own_facts(self) -> dict[str, Any]:
        return {"chosen columns": self.indices}

    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        return partial(ColumnsSource, columns=self.indices)

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self.source.reading() as fill_all:
            size = min(block_rows(self.source.n_features, self.dtype), self.n_rows)
            staging = np.empty((size, self.source.n_features), self.dtype)

            def fill(first: int, out: np.ndarray) -> None:
                for begin in range(0, len(out), max(size, 1)):
                    part = out[begin : begin + size]
                    rows = staging[: len(part)]
                    fill_all(first + begin, rows)
                    np.take(rows, self.indices, axis=1, out=part, mode="clip")

            yield fill


class RowsSource(WrappedSource):
    """A range of the rows of another source."""

    def __init__(self, source: Source, first: int, count: int):
        super().__init__(source)
        self.first, self.n_rows = first, count

    def _own_facts(self) -> dict[str, Any]:
        return {"first row": self.first}

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self.source.reading() as fill_all:
            yield lambda first, out: fill_all(self.first + first, out)


def column_indices(columns: Sequence[Any], n_features: int, names: Sequence[str] | None) -> list[int]:
    """Numbers of columns that are given by numbers or names; digits that are no name are a number.

    Raises
    ------
    ValueError
        If there is no such column, none at all, or one is named twice.
    """
    if isinstance(columns, str):
        columns = [columns]
    indices = [_index(column, n_features, names) for column in columns]
    if not indices or len(set(indices)) < len(indices):
        raise ValueError(f"columns must name at least one column, and none twice, not {list(columns)}.")
    return indices


def _index(column: Any, n_features: int, names: Sequence[str] | None) -> int:
    if isinstance(column, int | np.integer):
        if not -n_features <= column < n_features:
            raise ValueError(f"There is no column {column}: the data have {n_features} columns.")
        return int(column) % n_features
    if isinstance(column, str) and column.lstrip("-").isdigit() and column not in (names or ()):
        return _index(int(column), n_features, names)
    if names is None:
        raise ValueError(f"There is no column {column!r}: these data have no names, choose columns by number.")
    if column not in names:
        raise ValueError(f"There is no column {column!r}, but {', '.join(map(repr, names))}.")
    return list(names).index(column)
