"""Several sources as one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from fastem.sources._cursor import part_of
from fastem.sources._source import Fill, Source, kernel_dtype

__all__ = ["PartsSource"]


class PartsSource(Source):
    """The rows of several sources one after the other.

    Parameters
    ----------
    parts : sequence of Source
    names : sequence of str
        What the parts are called in errors.

    Raises
    ------
    ValueError
        If the parts have different columns, or there are none.
    """

    def __init__(self, parts: Sequence[Source], names: Sequence[str]):
        if not parts:
            raise ValueError("An empty list has no rows.")
        self.parts = parts
        head = parts[0]
        for name, part in zip(names, parts, strict=True):
            if part.n_features != head.n_features:
                raise ValueError(f"{name} has {part.n_features} columns, but {names[0]} has {head.n_features}.")
            if part.names != head.names:
                raise ValueError(f"{name} has the columns {part.names}, but {names[0]} has {head.names}.")
        self.starts = np.cumsum([0, *(part.n_rows for part in parts)])
        self.n_rows, self.n_features, self.names = int(self.starts[-1]), head.n_features, head.names
        self.dtype = kernel_dtype(*(part.dtype for part in parts))
        self.is_shared = all(part.is_shared for part in parts)

    @property
    def row_bytes(self) -> int:
        return max(part.row_bytes for part in self.parts)

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return any(part.is_at(path) for part in self.parts)

    def memory(self) -> Iterator[np.ndarray]:
        for part in self.parts:
            yield from part.memory()

    def fingerprint(self) -> dict[str, Any]:
        return self._facts() | {"parts": [part.fingerprint() for part in self.parts]}

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        current = -1
        with ExitStack() as stack:
            fill_part: Fill

            def fill(first: int, out: np.ndarray) -> None:
                nonlocal current, fill_part
                while len(out):
                    i = part_of(self.starts, first)
                    if i != current:
                        stack.close()
                        fill_part, current = stack.enter_context(self.parts[i].reading()), i
                    count = min(len(out), int(self.starts[i + 1]) - first)
                    _fill_as(fill_part, self.parts[i].dtype, first - int(self.starts[i]), out[:count])
                    first, out = first + count, out[count:]

            yield fill


def _fill_as(fill: Fill, dtype: np.dtype[Any], first: int, out: np.ndarray) -> None:
    """Fill an array from a source of another dtype."""
    if out.dtype == dtype:
        fill(first, out)
    else:
        rows = np.empty(out.shape, dtype)
        fill(first, rows)
        out[...] = rows
