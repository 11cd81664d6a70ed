"""Rows with a response as their last column."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fastem.sources._numbers import as_array, filled
from fastem.sources._source import Fill, Source, kernel_dtype
from fastem.sources._wrapped import RowwiseSource
from fastem.sources.array import is_mapped_from

__all__ = ["ResponseSource"]


class ResponseSource(RowwiseSource):
    """The rows of another source, each with its response after its columns.

    Parameters
    ----------
    source : Source
    y : array-like of shape (n,)

    Raises
    ------
    ValueError
        If there is not one real number for each row.
    """

    def __init__(self, source: Source, y: Any):
        super().__init__(source)
        y = as_array(y, "y")
        # whole numbers are as good in float32
        self.y = filled(y, y.dtype if y.dtype.kind == "f" else source.dtype)
        if self.y.ndim == 2 and self.y.shape[1] == 1:
            self.y = self.y[:, 0]
        if self.y.shape != (source.n_rows,) or self.y.dtype.kind not in "fiub":
            raise ValueError(
                f"y must be real numbers of shape ({source.n_rows},), one response a row, not {self.y.dtype} of "
                f"shape {self.y.shape}."
            )
        self.n_features = source.n_features + 1
        dtypes = [source.dtype, *([self.y.dtype] if self.y.dtype.kind == "f" else [])]
        self.dtype = kernel_dtype(*dtypes)
        self.names = None if source.names is None else [*source.names, "y"]

    @property
    def row_bytes(self) -> int:
        return self.source.row_bytes + self.y.itemsize

    def memory(self) -> Iterator[np.ndarray]:
        yield from self.source.memory()
        yield self.y

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return self.source.is_at(path) or is_mapped_from(self.y, path)

    def _own_facts(self) -> dict[str, Any]:
        return {"response": hashlib.sha256(np.ascontiguousarray(self.y).data).hexdigest()}

    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        return partial(ResponseSource, y=self.y[rows])

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self.source.reading() as fill_rows:
            rows = np.empty((0, self.source.n_features), self.source.dtype)

            def fill(first: int, out: np.ndarray) -> None:
                nonlocal rows
                if len(rows) < len(out):
                    rows = np.empty((len(out), self.source.n_features), self.source.dtype)
                fill_rows(first, rows[: len(out)])
                out[:, :-1] = rows[: len(out)]
                out[:, -1] = self.y[first : first + len(out)]

            yield fill
