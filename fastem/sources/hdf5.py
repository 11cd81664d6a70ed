"""HDF5 files, through h5py."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastem.sources._extra import require
from fastem.sources._file import FileSource
from fastem.sources._source import Fill, kernel_dtype, require_real

__all__ = ["Hdf5Source"]

_MAX_CHUNK_CACHE = 256 * 2**20


class Hdf5Source(FileSource):
    """Rows of a two-dimensional dataset of an HDF5 file.

    Parameters
    ----------
    path : path
    name : str
        Of the dataset; '' if the file holds one table only.

    Raises
    ------
    ImportError
        If h5py is not installed.
    FileNotFoundError, ValueError
        No such file or dataset, or not a table of numbers.
    """

    def __init__(self, path: str | os.PathLike[str], name: str = ""):
        super().__init__(path)
        with self._opened() as file:
            self.name = name or _only_table(file, self.path)
            if self.name not in file or getattr(file[self.name], "shape", None) is None:
                raise ValueError(f"{path} has no dataset {self.name!r}, but {', '.join(_tables(file)) or 'no table'}.")
            dataset = file[self.name]
            require_real(dataset.shape, dataset.dtype, f"{path}::{self.name}")
            self.n_rows, self.n_features = dataset.shape
            self._stored = dataset.dtype
            self.dtype = kernel_dtype(self._stored)
            chunk = 0 if dataset.chunks is None else int(np.prod(dataset.chunks)) * self._stored.itemsize
            across = 0 if not chunk else -(-self.n_features // dataset.chunks[1])
        # A chunk that two blocks share should still be there for the second one.
        self._cache_bytes = min(max(2 * chunk * across, 2**20), _MAX_CHUNK_CACHE)

    @property
    def row_bytes(self) -> int:
        return self.n_features * self._stored.itemsize

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"dataset": self.name}

    @contextmanager
    def reading(self) -> Iterator[Fill]:
        with self._unchanged(), self._opened(rdcc_nbytes=self._cache_bytes) as file:
            dataset = file[self.name]

            def fill(first: int, out: np.ndarray) -> None:
                if len(out) and self._stored.kind == "b":
                    out[...] = dataset[first : first + len(out)]
                elif len(out):
                    dataset.read_direct(out, np.s_[first : first + len(out)])

            yield fill

    def _opened(self, **options: Any) -> Any:
        h5py = require("h5py", "hdf5", "Reading HDF5 files")
        try:
            return h5py.File(self.path, "r", **options)
        except OSError as error:
            raise ValueError(f"{self.path} is not an HDF5 file that can be read: {error}") from error


def _tables(file: Any) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if len(getattr(item, "shape", None) or ()) == 2 else None)
    return names


def _only_table(file: Any, path: Path) -> str:
    names = _tables(file)
    if len(names) != 1:
        raise ValueError(f"{path} holds {len(names)} tables ({', '.join(names)}): name one, as in {path}::dataset.")
    return names[0]
