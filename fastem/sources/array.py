"""Arrays in memory, of any dtype and layout, and memory-mapped arrays."""

from collections.abc import Iterator

import numpy as np

from fastem.sources._source import Source, block_rows, convert, kernel_dtype

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

    def read(self, first: int, count: int) -> np.ndarray:
        return np.array(self.array[first : first + count], dtype=self.dtype, order="C")

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        size = self.n_rows if self._is_canonical else block_rows(self.n_features, self.dtype)
        for first in range(0, self.n_rows, size):
            yield first, convert(np.asarray(self.array[first : first + size]), self.dtype)
