"""Rows with a response as their last column."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem.sources._source import Fill, Source, kernel_dtype

__all__ = ["ResponseSource"]


class ResponseSource(Source):
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
        self.source = source
        self.y = np.asarray(y)
        if self.y.ndim == 2 and self.y.shape[1] == 1:
            self.y = self.y[:, 0]
        if self.y.shape != (source.n_rows,) or self.y.dtype.kind not in "fiub":
            raise ValueError(
                f"y must be real numbers of shape ({source.n_rows},), one response a row, not {self.y.dtype} of "
                f"shape {self.y.shape}."
            )
        self.n_rows, self.n_features = source.n_rows, source.n_features + 1
        # whole numbers are as good in float32
        dtypes = [source.dtype, *([self.y.dtype] if self.y.dtype.kind == "f" else [])]
        self.dtype = kernel_dtype(*dtypes)
        self.names = None if source.names is None else [*source.names, "y"]

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
