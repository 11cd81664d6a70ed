"""Arrays in memory, of any dtype and layout, and memory-mapped arrays."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastem.sources._source import Fill, Source, kernel_dtype, read_only

__all__ = ["ArraySource", "is_mapped_from", "is_same_file", "mapped_file", "owner_of"]


class ArraySource(Source):
    """Rows of an array (n, d).

    Arrays that kernels can read are used as they are; others are converted block by block, so
    that no second copy of them ever exists. Masked cells of masked arrays become NaN.
    """

    def __init__(self, array: np.ndarray):
        self.array = array
        self.n_rows, self.n_features = array.shape
        self.dtype = kernel_dtype(array.dtype)
        self._mask = np.ma.getmaskarray(array) if np.ma.is_masked(array) else None
        self._values = np.ma.getdata(array)
        self._is_canonical = (
            array.dtype == self.dtype and array.flags.c_contiguous and array.flags.aligned and self._mask is None
        )

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return is_mapped_from(self.array, path)

    def memory(self) -> Iterator[np.ndarray]:
        yield self._values

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        def fill(first: int, out: np.ndarray) -> None:
            out[...] = self._values[first : first + len(out)]
            if self._mask is not None:
                out[self._mask[first : first + len(out)]] = np.nan

        yield fill

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        if not self._is_canonical:
            yield from super().blocks()
        elif self.n_rows:
            yield 0, read_only(np.asarray(self._values))

    def whole(self) -> np.ndarray:
        return self._values if self._mask is None else super().whole()


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array whose memory an array is a view of."""
    owner, base = array, array.base
    while base is not None:
        owner = base if isinstance(base, np.ndarray) else owner
        base = getattr(base, "base", None)
    return owner


def mapped_file(array: np.ndarray) -> Path | None:
    """The file in which an array lies that is memory-mapped, or a view of such a one."""
    owner = owner_of(array)
    named = isinstance(owner, np.memmap) and owner.filename is not None
    return Path(owner.filename) if named else None  # type: ignore[attr-defined]


def is_mapped_from(array: np.ndarray, path: str | os.PathLike[str]) -> bool:
    """Whether an array is memory-mapped from the file at a path."""
    file = mapped_file(array)
    return file is not None and is_same_file(file, path)


def is_same_file(one: Path, other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file; what does not exist is none."""
    return one.exists() and Path(other).exists() and one.samefile(other)
