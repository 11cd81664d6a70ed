"""Where data lies: arrays and files behind one protocol, "give me block i"."""

import os
from typing import Any

import numpy as np

from fastem.sources._source import DataChangedError, Source, block_rows
from fastem.sources.array import ArraySource
from fastem.sources.npy import NpySource, write_npy

__all__ = [
    "ArraySource",
    "DataChangedError",
    "NpySource",
    "Source",
    "block_rows",
    "is_path",
    "open_source",
    "write_npy",
]


def is_path(data: Any) -> bool:
    """Whether `data` names a file."""
    return isinstance(data, str | os.PathLike)


def open_source(data: Any) -> Source:
    """Open data as estimators read them.

    Parameters
    ----------
    data : array-like of shape (n_samples, n_features), path or open source
        A path names a ``.npy`` file; an open source is returned as it is.

    Returns
    -------
    source : Source
        With ``n_rows``, ``n_features`` and ``dtype``; estimators take it in place of an array.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> fastem.open_source(np.zeros((10, 3))).n_features
    3
    """
    if isinstance(data, Source):
        return data
    if is_path(data):
        return NpySource(data)
    array = np.asarray(data)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"fastem needs a table of real numbers with rows and columns, not {array.dtype} of shape {array.shape}."
        )
    return ArraySource(array)
