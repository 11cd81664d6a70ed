"""Rows with numbers beside them that are no features: exposures, trials, offsets, bounds of censored values."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fastem.sources._numbers import as_array, filled
from fastem.sources._source import Fill, Source
from fastem.sources._wrapped import RowwiseSource
from fastem.sources.array import is_mapped_from

__all__ = ["CensoredSource", "OffsetSource", "PairedSource", "side_values"]


class _SideSource(RowwiseSource):
    """Base: `values` are an array (n, ...) of the dtype of the rows."""

    def __init__(self, source: Source, values: np.ndarray):
        super().__init__(source)
        self.values = values

    @property
    def row_bytes(self) -> int:
        return self.source.row_bytes + self.values[:1].nbytes

    def memory(self) -> Iterator[np.ndarray]:
        yield from self.source.memory()
        yield self.values

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return self.source.is_at(path) or is_mapped_from(self.values, path)

    def _own_facts(self) -> dict[str, Any]:
        return {type(self).__name__: hashlib.sha256(np.ascontiguousarray(self.values).data).hexdigest()}

    def _wrapper(self, rows: Any) -> Callable[[Source], Source]:
        return partial(type(self), values=self.values[rows])


class PairedSource(_SideSource):
    """Rows followed by a number that belongs to each cell, such as an exposure; missing where the cell is.

    Parameters
    ----------
    source : Source
    values : ndarray of shape (n,) or (n, d)
    """

    def __init__(self, source: Source, values: np.ndarray):
        super().__init__(source, values)
        self.n_features = 2 * source.n_features
        self.names = None if source.names is None else [*source.names, *(f"beside {name}" for name in source.names)]

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        d = self.source.n_features
        with self.source.reading() as fill_rows:

            def fill(first: int, out: np.ndarray) -> None:
                rows = np.empty((len(out), d), self.source.dtype)
                fill_rows(first, rows)
                beside = self.values[first : first + len(out)]
                out[:, :d] = rows
                out[:, d:] = self._beside(rows, beside if beside.ndim == 2 else beside[:, None])
                out[:, d:][np.isnan(rows)] = np.nan

            yield fill

    def _beside(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """What stands beside rows, of shape (n, d) or (n, 1)."""
        return values


class CensoredSource(PairedSource):
    """Rows followed by what bounds each value: a number for it, or the value itself where that is NaN.

    Parameters
    ----------
    source : Source
    values : ndarray of shape (n,) or (n, d)
    """

    def _beside(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values), rows, values)


class OffsetSource(_SideSource):
    """Rows whose last column, the response, has another one before it.

    Parameters
    ----------
    source : Source
    values : ndarray of shape (n,)
    """

    def __init__(self, source: Source, values: np.ndarray):
        super().__init__(source, values)
        self.n_features = source.n_features + 1
        self.names = None if source.names is None else [*source.names[:-1], "offset", source.names[-1]]

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        d = self.source.n_features
        with self.source.reading() as fill_rows:

            def fill(first: int, out: np.ndarray) -> None:
                rows = np.empty((len(out), d), self.source.dtype)
                fill_rows(first, rows)
                out[:, : d - 1] = rows[:, :-1]
                out[:, d - 1] = self.values[first : first + len(out)]
                out[:, d] = rows[:, -1]

            yield fill


def side_values(
    name: str, values: Any, shapes: list[tuple[int, ...]], dtype: np.dtype[Any], is_finite: bool = True
) -> np.ndarray:
    """Numbers beside rows as an array of one of the shapes.

    Raises
    ------
    ValueError
        If they have another shape, or one is not a number, or must be finite and is not; it names the row.
    """
    array = filled(as_array(values, name), dtype)
    if array.shape not in shapes or array.dtype.kind not in "fiub":
        wanted = " or ".join(map(str, shapes))
        raise ValueError(f"{name} must be real numbers of shape {wanted}, not {array.dtype} of shape {array.shape}.")
    with np.errstate(over="ignore" if not is_finite else "warn"):
        array = array.astype(dtype)
    wrong = ~(np.isfinite(array) if is_finite else ~np.isnan(array)).reshape(len(array), -1).all(axis=1)
    if wrong.any():
        wanted = "finite" if is_finite else "numbers"
        raise ValueError(f"{name} must be {wanted}, but is not in row {int(np.argmax(wrong))}.")
    return array
