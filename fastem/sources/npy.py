"""``.npy`` files; they may be larger than memory."""

import os
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastem.sources._source import require_real
from fastem.sources.raw import RawSource
from fastem.storage.atomic_write import replacing

__all__ = ["NpySource", "write_npy"]


class NpySource(RawSource):
    """Rows of a two-dimensional array in a ``.npy`` file.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or not a table of numbers; the message says what it is instead.
    """

    def __init__(self, path: str | os.PathLike[str]):
        with open(path, "rb") as file:
            shape, fortran, dtype, offset = _read_header(file, Path(path))
        super().__init__(path, dtype, shape, offset, "F" if fortran else "C")


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(
            f"{path} is not a .npy file: {error}. fastem reads .npy, Parquet, Arrow IPC, HDF5 and Zarr by their "
            "content, and plain binary files with dtype= and shape=."
        ) from error
    require_real(shape, dtype, str(path))
    return shape, fortran, dtype, file.tell()


@contextmanager
def write_npy(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends rows to a ``.npy`` file, which appears when it is whole.

    Parameters
    ----------
    path : path
    shape : tuple of int
        Of the whole array.
    dtype : numpy.dtype
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)

        def append(rows: np.ndarray) -> None:
            file.write(np.ascontiguousarray(rows, dtype=dtype).data)

        yield append
