"""Where data lies: arrays, files, frames, streams and clusters behind one protocol."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastem.sources._extra import require as require_extra
from fastem.sources._numbers import as_array, filled, is_series, series_message
from fastem.sources._source import DataChangedError, Source, block_rows, read_only
from fastem.sources._wrapped import RowwiseSource
from fastem.sources.array import ArraySource, mapped_file
from fastem.sources.arrow import IpcSource, ParquetSource
from fastem.sources.columns import ColumnsSource
from fastem.sources.dask import DaskSource, is_dask, partition_source
from fastem.sources.double import DoubleSource, first_large, large_rows
from fastem.sources.frame import FrameSource, is_frame
from fastem.sources.hdf5 import Hdf5Source
from fastem.sources.iterable import IterableSource
from fastem.sources.levels import CodedSource, labelled_columns, levels_of
from fastem.sources.npy import NpySource, write_npy
from fastem.sources.parts import PartsSource
from fastem.sources.raw import RawSource
from fastem.sources.response import ResponseSource
from fastem.sources.side import CensoredSource, OffsetSource, PairedSource, side_values
from fastem.sources.zarr import ZarrSource

Columns = Sequence[Any] | None

__all__ = [
    "ArraySource",
    "CensoredSource",
    "CodedSource",
    "DaskSource",
    "DataChangedError",
    "DoubleSource",
    "FrameSource",
    "NpySource",
    "OffsetSource",
    "PairedSource",
    "RawSource",
    "ResponseSource",
    "RowwiseSource",
    "Source",
    "as_array",
    "block_rows",
    "filled",
    "first_large",
    "is_array_like",
    "is_frame",
    "is_path",
    "is_series",
    "labelled_columns",
    "large_rows",
    "levels_of",
    "mapped_file",
    "open_source",
    "partition_source",
    "read_only",
    "require_extra",
    "series_message",
    "side_values",
    "write_npy",
]


def is_path(data: Any) -> bool:
    """Whether `data` names a file."""
    return isinstance(data, str | os.PathLike)


def is_array_like(data: Any) -> bool:
    """Whether `data` are rows in memory that NumPy understands, neither a frame nor several parts."""
    if isinstance(data, Source) or is_path(data) or is_frame(data) or is_dask(data) or callable(data):
        return False
    if isinstance(data, list | tuple) and data:
        first = data[0]
        several = is_path(first) or isinstance(first, Source) or is_frame(first)
        return not (several or (isinstance(first, np.ndarray) and first.ndim == 2))
    known = isinstance(data, list | tuple) or hasattr(data, "__array__") or hasattr(data, "toarray")
    return known or not hasattr(data, "__iter__")


def open_source(
    data: Any,
    columns: Columns = None,
    *,
    dtype: Any = None,
    shape: tuple[int, ...] | None = None,
    offset: int = 0,
) -> Source:
    """Open data as estimators read them.

    Parameters
    ----------
    data : array-like, path, list, function or open source
        - an array (n, d) of any dtype and layout, memory-mapped or not;
        - a data frame of pandas or polars, or a table of Arrow;
        - the path of a ``.npy``, Parquet, Arrow IPC (Feather) or HDF5 file, of a Zarr store, or of
          a plain binary file, for which `dtype` and `shape` are needed. ``file.h5::group/name``
          names a dataset of an HDF5 file or an array of a Zarr store;
        - a pattern such as ``part-*.parquet``, or a list of paths: several files as one;
        - a function that returns a fresh iterator of arrays or frames, or any other object that
          can be iterated over again and again;
        - a Dask array or data frame.
    columns : sequence of int or str, optional
        Columns to use, by number or name, in this order; default: all. In tables and files of
        Arrow the index of a pandas frame is left out, unless it is named.
    dtype : dtype, optional
        Of a plain binary file, such as ``"<f4"``.
    shape : tuple of int, optional
        Rows and columns of a plain binary file; -1 rows are as many as it holds.
    offset : int, default=0
        Bytes before the first number of a plain binary file.

    Returns
    -------
    source : Source
        With ``n_rows``, ``n_features``, ``dtype`` and ``names``; estimators take it in place of
        an array.

    Raises
    ------
    ValueError
        If the data are not a table of real numbers; the message says what they are.
    FileNotFoundError
        If there is no such file.
    ImportError
        If a reader is not installed; the message names the extra that brings it.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> fastem.open(np.zeros((10, 3)), columns=[0, 2]).n_features
    2
    """
    if dtype is None and shape is None and not offset:
        return _open(data, columns)
    if dtype is None or shape is None or not is_path(data):
        raise ValueError("A plain binary file needs its path, dtype and shape, as in dtype='<f8', shape=(-1, 10).")
    paths = _expand(os.fspath(data))
    parts = [RawSource(path, dtype, shape, offset) for path in paths]
    return _choose(parts[0] if len(parts) == 1 else PartsSource(parts, paths), columns)


def _choose(source: Source, columns: Columns) -> Source:
    return source if columns is None else ColumnsSource(source, columns)


def _open(data: Any, columns: Columns) -> Source:
    if isinstance(data, Source):
        return _choose(data, columns)
    if is_path(data):
        return _open_path(os.fspath(data), columns)
    if is_frame(data):
        return FrameSource(data, columns)
    if is_dask(data):
        return DaskSource(data, columns)
    if isinstance(data, list | tuple) and data and (is_path(data[0]) or isinstance(data[0], Source)):
        return PartsSource([_open(part, columns) for part in data], [_name(part) for part in data])
    if not is_array_like(data):
        return _open_iterable(data, columns)
    if is_series(data):
        raise ValueError(series_message(data))
    array = as_array(data)
    if array.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: give real and imaginary parts of the {array.dtype} numbers as columns."
        )
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"fastem needs a table of real numbers with rows and columns, not {array.dtype} of shape {array.shape}."
        )
    return _choose(ArraySource(array), columns)


def _name(part: Any) -> str:
    return os.fspath(part) if is_path(part) else type(part).__name__


def _open_iterable(data: Any, columns: Columns) -> Source:
    if callable(data):
        return IterableSource(data, columns)
    if iter(data) is data:
        raise ValueError(
            f"A {type(data).__name__} can be read once only, but a fit reads its data many times: pass a function "
            "that returns a fresh iterator, or give its arrays to partial_fit one by one."
        )
    return IterableSource(data.__iter__, columns)


# --- paths ------------------------------------------------------------------------------------


def _open_path(path: str, columns: Columns) -> Source:
    file, _, name = path.partition("::")
    found = _expand(file)
    if found != [file]:
        named = [f"{one}::{name}" if name else one for one in found]
        return PartsSource([_open_path(one, columns) for one in named], named)
    kind = _kind(Path(file))
    if kind == "parquet":
        return ParquetSource(file, columns)
    if kind == "ipc":
        return IpcSource(file, columns)
    if kind == "hdf5":
        return _choose(Hdf5Source(file, name), columns)
    if kind == "zarr":
        return _choose(ZarrSource(file, name), columns)
    return _choose(NpySource(path), columns)


def _expand(path: str) -> list[str]:
    """The files that a pattern means; a path is itself, even where it looks like a pattern."""
    if not glob.has_magic(path) or Path(path).exists():
        return [path]
    found = sorted(glob.glob(path))  # noqa: PTH207  # the pattern may be absolute
    if not found:
        raise FileNotFoundError(f"No file matches {path}.")
    return found


_SIGNATURES = {b"PAR1": "parquet", b"ARROW1": "ipc", b"\x89HDF\r\n\x1a\n": "hdf5", b"PK\x03\x04": "zarr"}


def _kind(path: Path) -> str:
    """The format of a file, by its first bytes: names may lie."""
    if path.is_dir():
        if any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
            return "zarr"
        raise ValueError(f"{path} is a directory and no Zarr store: name its files, as in {path}/*.parquet.")
    with path.open("rb") as file:
        head = file.read(8)
    if path.suffix == ".npz":
        raise ValueError(f"{path} holds several arrays: write the one to read with numpy.save.")
    return next((kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)), "npy")
