"""Some columns of a source, and some rows of one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem.sources._source import Fill, Source

__all__ = ["ColumnsSource", "RowsSource", "column_indices"]


class ColumnsSource(Source):
    """Some columns of another source, chosen by their numbers or names."""

    def __init__(self, source: Source, columns: Sequence[Any]):
        self.source = source
        self.indices = column_indices(columns, source.n_features, source.names)
        self.n_rows, self.n_features, self.dtype = source.n_rows, len(self.indices), source.dtype
        self.names = None if source.names is None else [source.names[j] for j in self.indices]

    @property
    def row_bytes(self) -> int:
        return self.source.row_bytes

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return self.source.is_at(path)

    def fingerprint(self) -> dict[str, Any]:
        return self.source.fingerprint() | {"chosen columns": self.indices}

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self.source.reading() as fill_all:
            staging = np.empty((0, self.source.n_features), self.dtype)

            def fill(first: int, out: np.ndarray) -> None:
                nonlocal staging
                if len(staging) < len(out):
                    staging = np.empty((len(out), self.source.n_features), self.dtype)
                rows = staging[: len(out)]
                fill_all(first, rows)
                np.take(rows, self.indices, axis=1, out=out, mode="clip")

            yield fill


class RowsSource(Source):
    """A range of the rows of another source."""

    def __init__(self, source: Source, first: int, count: int):
        self.source, self.first = source, first
        self.n_rows, self.n_features, self.dtype, self.names = count, source.n_features, source.dtype, source.names

    @property
    def row_bytes(self) -> int:
        return self.source.row_bytes

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self.source.reading() as fill_all:
            yield lambda first, out: fill_all(self.first + first, out)


def column_indices(columns: Sequence[Any], n_features: int, names: Sequence[str] | None) -> list[int]:
    """Numbers of columns that are given by numbers or names.

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
    if names is None:
        raise ValueError(f"There is no column {column!r}: these data have no names, choose columns by number.")
    if column not in names:
        raise ValueError(f"There is no column {column!r}, but {', '.join(map(repr, names))}.")
    return list(names).index(column)
