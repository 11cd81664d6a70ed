"""Arrays in memory, of any dtype and layout, and memory-mapped arrays."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastem.sources._source import Fill, Source, kernel_dtype, read_only

__all__ = ["ArraySource"]


class ArraySource(Source):
    """Rows of an array (n, d).

    Arrays that kernels can read are used as they are; others are converted block by block, so
    that no second copy of them ever exists.
    """

    def __init__(self, array: np.ndarray):
        self.array = array
        self.n_rows, self.n_features = array.shape
        self.dtype = kernel_dtype(array.dtype)
        self._is_canonical = (
            array.dtype == self.dtype and array.flags.c_contiguous and array.flags.aligned
        )  # fmt: skip

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        def fill(first: int, out: np.ndarray) -> None:
            out[...] = self.array[first : first + len(out)]

        yield fill

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        if not self._is_canonical:
            yield from super().blocks()
        elif self.n_rows:
            yield 0, read_only(np.asarray(self.array))
