"""Rows from an iterator of arrays, cut anew."""

from collections.abc import Callable, Iterator

import numpy as np

from fastem.sources._source import DataChangedError, SlowFill

__all__ = ["Cursor", "part_of"]


def part_of(starts: np.ndarray, row: int) -> int:
    """Number of the part that holds a row, from the rows at which parts begin, and the end."""
    return int(np.searchsorted(starts[:-1], row, side="right")) - 1


class Cursor(SlowFill):
    """Fills arrays with rows of data that come in parts, one after the other.

    Parameters
    ----------
    parts : callable
        ``parts(row)`` iterates over arrays (any, n_features) from a row on at which parts begin.
    begin : callable
        ``begin(row)`` is the last such row that is not behind `row`.
    """

    def __init__(self, parts: Callable[[int], Iterator[np.ndarray]], begin: Callable[[int], int] = lambda row: 0):
        self._open = parts
        self._begin = begin
        self._parts: Iterator[np.ndarray] = iter(())
        self._part: np.ndarray | None = None
        self._first = 0  # number of the first row of the part
        self._is_stopped = False

    def __call__(self, first: int, out: np.ndarray) -> None:
        """Fill `out` with the rows from number `first` on."""
        begin = self._begin(first)
        if self._part is None or first < self._first or begin > self._first + len(self._part):
            self.close()
            self._parts = self._open(begin)
            self._first, self._part = begin, self._next()
        filled = 0
        while filled < len(out) and not self._is_stopped:
            skip = first + filled - self._first
            if skip < len(self._part):
                rows = self._part[skip : skip + len(out) - filled]
                out[filled : filled + len(rows)] = rows
                filled += len(rows)
            else:
                self._first += len(self._part)
                self._part = self._next()

    def is_at_end(self) -> bool:
        """Whether no row follows the part that was read last."""
        return self._is_stopped or all(len(part) == 0 for part in self._parts)

    def stop(self) -> None:
        self._is_stopped = True

    def close(self) -> None:
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()
        self._parts, self._part = iter(()), None

    def _next(self) -> np.ndarray:
        try:
            return next(self._parts)
        except StopIteration:
            raise DataChangedError(
                f"The data end at row {self._first}, before the last row they had when they were opened."
            ) from None
