"""Files of arrays and facts, in the layout of safetensors, which other tools open too; never pickle.

Eight bytes of header length, a JSON header, raw little-endian arrays. Everything is checked
before it is believed, sizes before memory is taken.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastem.storage.atomic_write import replacing

__all__ = ["ModelFileError", "flatten", "read", "require", "unflatten", "write"]

FORMAT_VERSION = "1"
MAX_HEADER_BYTES = 16 * 2**20
_DTYPES = {"F64": np.dtype("<f8"), "I64": np.dtype("<i8")}


class ModelFileError(ValueError):
    """A file was not written by fastem, or is damaged."""


def write(path: str | os.PathLike[str], facts: dict[str, str], arrays: dict[str, np.ndarray]) -> None:
    """Write a file, which is whole or not there at all.

    Parameters
    ----------
    path : path
    facts : dict of str
    arrays : dict of ndarray
        Of floating-point or integer numbers.
    """
    header: dict[str, Any] = {}
    stored = []
    offset = 0
    for name, array in arrays.items():
        kind = "F64" if array.dtype.kind == "f" else "I64"
        stored.append(np.ascontiguousarray(array, dtype=_DTYPES[kind]).tobytes())
        end = offset + len(stored[-1])
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    body = b"".join(stored)
    metadata = {"format": "fastem", "version": FORMAT_VERSION, **facts}
    header["__metadata__"] = metadata | {"sha256": _digest(metadata, header, body)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays of a file that `write` wrote.

    Raises
    ------
    ModelFileError
        If it is not such a file, or is damaged.
    OSError
        If the file cannot be read.
    """
    header, body = _split(Path(path).read_bytes())
    facts = _facts(header, body)
    arrays = {name: _array(name, entry, body) for name, entry in header.items()}
    _check_layout(header, len(body))
    return facts, arrays


def require(condition: bool, what: str) -> None:
    """Raise ModelFileError that says what is wrong with a file, unless a condition holds."""
    if not condition:
        raise ModelFileError(f"This is not a file of fastem, or it is damaged: {what}.")


def _digest(metadata: dict[str, Any], entries: dict[str, Any], body: bytes) -> str:
    """Digest of all that a file says, so that damage is noticed."""
    said = json.dumps([metadata, entries], sort_keys=True).encode()
    return hashlib.sha256(said + body).hexdigest()


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    require(len(data) >= 8, "it is too short")
    length = struct.unpack("<Q", data[:8])[0]
    require(length <= min(len(data) - 8, MAX_HEADER_BYTES), "its header would be longer than the file")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"This is not a file of fastem, or it is damaged: {error}.") from error
    require(isinstance(header, dict), "its header is not an object")
    return header, data[8 + length :]


def _facts(header: dict[str, Any], body: bytes) -> dict[str, Any]:
    facts = header.pop("__metadata__", None)
    require(isinstance(facts, dict) and facts.get("format") == "fastem", "it was not written by fastem")
    require(facts.pop("sha256", None) == _digest(facts, header, body), "its checksum is wrong")
    require(facts.get("version") == FORMAT_VERSION, f"its version is {facts.get('version')!r}")
    return facts


def _array(name: str, entry: Any, body: bytes) -> np.ndarray:
    require(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}, f"{name!r} is no array")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    require(isinstance(kind, str) and kind in _DTYPES, f"{name!r} has the type {kind!r}")
    require(_are_sizes(shape) and len(shape) <= 4, f"{name!r} has the shape {shape!r}")
    require(_are_sizes(offsets) and len(offsets) == 2, f"{name!r} lies at {offsets!r}")
    begin, end = offsets
    require(begin <= end <= len(body), f"{name!r} lies outside the file")
    require(end - begin == math.prod(shape) * _DTYPES[kind].itemsize, f"{name!r} has a wrong size")
    return np.frombuffer(body[begin:end], dtype=_DTYPES[kind]).reshape(shape).astype(_DTYPES[kind].newbyteorder("="))


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_layout(header: dict[str, Any], n_bytes: int) -> None:
    """The arrays lie one after the other, without overlap and without gaps."""
    position = 0
    for begin, end in sorted(entry["data_offsets"] for entry in header.values()):
        require(begin == position, "its arrays overlap or leave gaps")
        position = end
    require(position == n_bytes, "bytes are left over or missing at its end")


# --- NamedTuples of arrays --------------------------------------------------------------------


def flatten(name: str, values: Any) -> dict[str, np.ndarray]:
    """Arrays of a NamedTuple of arrays and NamedTuples, by their paths."""
    if not isinstance(values, tuple):
        return {name: np.asarray(values)}
    return {key: array for field, value in _fields(values) for key, array in flatten(f"{name}.{field}", value).items()}


def unflatten(name: str, like: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The NamedTuple that `flatten` took apart, made like another one."""
    if not isinstance(like, tuple):
        require(name in arrays, f"{name!r} is missing, as it is in files of some older versions")
        return arrays[name]
    values = (unflatten(f"{name}.{field}", value, arrays) for field, value in _fields(like))
    return type(like)(*values) if hasattr(like, "_fields") else tuple(values)


def _fields(values: tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    """Names, or numbers, and values of a tuple."""
    return zip(getattr(values, "_fields", range(len(values))), values, strict=True)
