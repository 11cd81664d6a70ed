"""Which components each row may belong to: labels of some rows, or sets of components."""

import hashlib
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["PartialLabels"]

_ROWS = 16_384  # at a time


class PartialLabels:
    """The components that rows may belong to, as masks (rows, K) that are made when they are needed.

    Parameters
    ----------
    codes : ndarray of shape (n,) or None
        Number of each row's mask in the table.
    table : ndarray of shape (m, K), uint8
        Masks; without codes, one of each row.
    """

    def __init__(self, codes: np.ndarray | None, table: np.ndarray):
        self.codes = codes
        self.table = np.ascontiguousarray(table, dtype=np.uint8)

    @classmethod
    def of_labels(cls, labels: Any, n_rows: int, classes: np.ndarray) -> "PartialLabels":
        """From a label of each row, -1, NaN, null or masked if unknown, or boolean masks (n, K).

        Parameters
        ----------
        labels : array-like
        n_rows : int
        classes : ndarray of shape (K,)
            The label that each component stands for; -1 if none does.

        Raises
        ------
        ValueError
            If a row has no component, or a label is none of the classes; it names the row.
        """
        given = _with_unknowns(labels)
        if given.shape == (n_rows, len(classes)) and given.dtype.kind == "b":
            empty = ~given.any(axis=1)
            if empty.any():
                raise ValueError(f"labels allow no component at all in row {int(np.argmax(empty))}.")
            return cls(None, given)
        if given.shape != (n_rows,) or given.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be integers of shape ({n_rows},), -1 or NaN where unknown, or booleans of shape "
                f"({n_rows}, {len(classes)}), not {given.dtype} of shape {given.shape}."
            )
        known = np.unique(classes[classes >= 0])
        places = np.searchsorted(known, given).clip(max=len(known) - 1)
        wrong = (given != -1) & (known[places] != given)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"labels has {given[row]} in row {row}: classes are {known.tolist()}, or -1 if unknown.")
        table = np.vstack([np.ones(len(classes), bool), known[:, None] == classes])
        return cls(np.where(given == -1, 0, places + 1).astype(np.int32), table)

    def __getitem__(self, rows: Any) -> "PartialLabels":
        if self.codes is None:
            return PartialLabels(None, self.table[rows])
        return PartialLabels(self.codes[rows], self.table)

    def masks(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """Read-only masks (count, K) of rows."""
        some = slice(first, None if count is None else first + count)
        masks = self.table[some] if self.codes is None else self.table[self.codes[some]]
        masks = masks.view()
        masks.flags.writeable = False
        return masks

    def describe(self) -> str:
        """What tells these masks from others; they are made some at a time."""
        n_rows = len(self.table if self.codes is None else self.codes)
        digest = hashlib.sha256()
        for first in range(0, n_rows, _ROWS):
            digest.update(np.ascontiguousarray(self.masks(first, _ROWS)).data)
        return f"uint8 {(n_rows, self.table.shape[1])} {digest.hexdigest()[:16]}"

    @property
    def are_known(self) -> np.ndarray:
        """Rows that may not belong to all components, shape (n,)."""
        some = np.asarray(~self.table.all(axis=1))
        return some if self.codes is None else np.asarray(some[self.codes])


def _with_unknowns(labels: Any) -> np.ndarray:
    """Labels as an array, whole numbers with NaN, null or masked ones as integers with -1."""
    if isinstance(labels, list | tuple) and any(np.ma.isMaskedArray(row) for row in labels):
        labels = np.ma.array(labels)
    if np.ma.isMaskedArray(labels) and labels.dtype.kind == "b":
        labels = np.ma.filled(labels, True)
    if np.ma.isMaskedArray(labels) and labels.dtype.kind == "O":
        mask, labels = np.ma.getmaskarray(labels), np.array(np.ma.getdata(labels))
        labels[mask] = None
    if np.ma.isMaskedArray(labels) and labels.dtype.kind in "iuf":
        labels = np.ma.filled(labels.astype(np.float64), np.nan)
    given = np.asarray(labels)
    if given.dtype.kind == "O":
        try:
            given = np.array([_number(label) for label in given.ravel()]).reshape(given.shape)
        except TypeError:
            return given
    if given.dtype.kind != "f" or given.ndim != 1:
        return given
    whole = np.where(np.isnan(given), -1, given)
    wrong = (whole != np.floor(whole)) | (np.abs(whole) > 2**53)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"labels must be integers, -1 or NaN where unknown, but has {given[row]} in row {row}.")
    return whole.astype(np.int64)


def _number(label: Any) -> float:
    if label is None or type(label).__name__ == "NAType":  # of pandas
        return np.nan
    if type(label) in (bool, np.bool_) or not isinstance(label, Real):
        raise TypeError
    return float(label)
