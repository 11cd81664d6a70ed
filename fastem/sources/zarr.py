"""Zarr arrays, through zarr-python 3."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zipfile import is_zipfile

import numpy as np

from fastem.sources._cursor import Cursor
from fastem.sources._extra import require
from fastem.sources._file import FileSource
from fastem.sources._source import Fill, kernel_dtype, require_real

__all__ = ["ZarrSource"]

_PART_BYTES = 4 * 2**20


class ZarrSource(FileSource):
    """Rows of a two-dimensional Zarr array in a local store.

    Parameters
    ----------
    path : path
        The store: a directory, or a ``.zip`` file.
    name : str
        Path of the array in the store; '' if the store is an array.

    Raises
    ------
    ImportError
        If zarr is not installed.
    FileNotFoundError, ValueError
        No such store or array, or not a table of numbers.
    """

    def __init__(self, path: str | os.PathLike[str], name: str = ""):
        super().__init__(path)
        self.name = name
        with self._store() as store:
            array = self._array(store)
        require_real(array.shape, array.dtype, f"{path}::{name}" if name else str(path))
        self.n_rows, self.n_features = array.shape
        self._stored = np.dtype(array.dtype)
        self.dtype = kernel_dtype(self._stored)
        # What is read at a time is a whole number of shards, or of chunks: a part of one costs as much.
        unit = (array.shards or array.chunks)[0]
        self._part_rows = unit * max(1, _PART_BYTES // max(unit * self.row_bytes, 1))

    @property
    def row_bytes(self) -> int:
        return self.n_features * self._stored.itemsize

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"array": self.name}

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self._unchanged(), self._store() as store:
            array = self._array(store)

            def parts(row: int) -> Iterator[np.ndarray]:
                for first in range(row, self.n_rows, self._part_rows):
                    yield array[first : first + self._part_rows]

            yield Cursor(parts, lambda row: row - row % self._part_rows)

    @contextmanager
    def _store(self) -> Iterator[Any]:
        storage = require("zarr.storage", "zarr", "Reading Zarr stores")
        if self.path.is_dir():
            yield str(self.path)
        elif not is_zipfile(self.path):
            raise ValueError(f"{self.path} begins like a .zip file, but is none that can be read.")
        else:
            with storage.ZipStore(self.path, mode="r") as store:
                yield store

    def _array(self, store: Any) -> Any:
        zarr = require("zarr", "zarr", "Reading Zarr stores")
        try:
            return zarr.open_array(store, path=self.name, mode="r")
        except (zarr.errors.BaseZarrError, FileNotFoundError, KeyError, TypeError) as error:
            held = _arrays(zarr, store)
            hint = f"name one of its arrays, as in {self.path}::{held[0]}" if held else f"no array was found ({error})"
            raise ValueError(f"{self.path} is not a Zarr array by the name {self.name!r}: {hint}.") from error


def _arrays(zarr: Any, store: Any) -> list[str]:
    try:
        return sorted(name for name, _ in zarr.open_group(store, mode="r").arrays())
    except (zarr.errors.BaseZarrError, FileNotFoundError, KeyError, TypeError):
        return []
