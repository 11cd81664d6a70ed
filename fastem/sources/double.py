"""Rows of float32 in float64, for values whose squares float32 cannot hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem.sources._source import Fill, Source
from fastem.sources._wrapped import RowwiseSource

__all__ = ["DoubleSource", "first_large", "large_rows"]

# Squares of such values, in units of variances below 1 and summed up, come near the end of float32.
_LARGE = 1e15


class DoubleSource(RowwiseSource):
    """The rows of another source in float64."""

    def __init__(self, source: Source):
        super().__init__(source)
        self.dtype = np.dtype(np.float64)

    def _own_facts(self) -> dict[str, Any]:
        return {}

    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        return DoubleSource

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self.source.reading() as fill_rows:

            def fill(first: int, out: np.ndarray) -> None:
                rows = np.empty(out.shape, self.source.dtype)
                fill_rows(first, rows)
                out[...] = rows

            yield fill


def large_rows(rows: np.ndarray) -> np.ndarray:
    """Numbers of the rows of float32 that hold values which need float64."""
    if rows.dtype == np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.vdot(rows, rows) < _LARGE**2:
                return np.flatnonzero((np.abs(rows) > _LARGE).any(axis=1))
    return np.empty(0, np.intp)


def first_large(source: Source) -> tuple[int, int, float] | None:
    """Row, column and value of the first such cell of a source."""
    for first, rows in source.blocks():
        for row in large_rows(rows)[:1]:
            column = np.argmax(np.abs(rows[row]) > _LARGE)
            return first + int(row), int(column), float(rows[row, column])
    return None
