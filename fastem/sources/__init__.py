"""Where data lies: arrays and files behind one protocol, "give me block i"."""

import os
from typing import Any

import numpy as np

from fastem.sources._source import DataChangedError, Source
from fastem.sources.array import ArraySource
from fastem.sources.npy import NpySource, write_npy

__all__ = ["ArraySource", "DataChangedError", "NpySource", "Source", "is_path", "open_source", "write_npy"]


def is_path(data: Any) -> bool:
    """Whether `data` names a file."""
    return isinstance(data, str | os.PathLike)


def open_source(data: Any) -> Source:
    """The source for an open source, a path to a ``.npy`` file, or an array (n, d)."""
    if isinstance(data, Source):
        return data
    if is_path(data):
        return NpySource(data)
    return ArraySource(np.asarray(data))
