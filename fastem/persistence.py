"""Models in files: the layout of safetensors, which other tools open too; never pickle.

Eight bytes of header length, a JSON header, raw little-endian arrays. Everything is checked
before it is believed: sizes before memory is taken, the class against a fixed registry, values
before the model is handed out.
"""

import hashlib
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from fastem.files import replacing

__all__ = ["ModelFileError", "load", "save"]

FORMAT_VERSION = "1"
MAX_HEADER_BYTES = 16 * 2**20
_DTYPES = {"F64": np.dtype("<f8"), "I64": np.dtype("<i8")}


class ModelFileError(ValueError):
    """A file is not a model that fastem wrote, or is damaged."""


def registry() -> dict[str, type]:
    """The classes that files may name."""
    from fastem.estimators.gaussian_mixture import GaussianMixture

    return {"GaussianMixture": GaussianMixture}


# --- save -------------------------------------------------------------------------------------


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to a file, which is whole or not there at all.

    Parameters
    ----------
    model : estimator
    path : path
    """
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for name, value in model.get_params(deep=False).items():
        _put(f"params.{name}", value, arrays, params)
    for name, value in vars(model).items():
        if name.endswith("_") and not name.startswith("_"):
            _put(f"fitted.{name}", value, arrays, values)
    header: dict[str, Any] = {}
    offset = 0
    for name, array in arrays.items():
        kind = "F64" if array.dtype.kind == "f" else "I64"
        arrays[name] = np.ascontiguousarray(array, dtype=_DTYPES[kind])
        end = offset + arrays[name].nbytes
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    body = b"".join(array.tobytes() for array in arrays.values())
    metadata = {
        "format": "fastem",
        "version": FORMAT_VERSION,
        "class": type(model).__name__,
        "params": json.dumps(params),
        "fitted": json.dumps(values),
    }
    header["__metadata__"] = metadata | {"sha256": _digest(metadata, header, body)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def _digest(metadata: dict[str, Any], entries: dict[str, Any], body: bytes) -> str:
    """Digest of all that a file says, so that damage is noticed."""
    said = json.dumps([metadata, entries], sort_keys=True).encode()
    return hashlib.sha256(said + body).hexdigest()


def _put(name: str, value: Any, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """File a value among the arrays or the JSON values; what is neither is left out."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        for key, item in value.items():
            _put(f"{name}.{key}", item, arrays, values)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        arrays[name] = value
    elif isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        values[name] = [str(item) for item in value]
    elif isinstance(value, list) and value and all(isinstance(item, float) for item in value):
        arrays[name] = np.array(value)
    elif isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        arrays[name] = np.array(value, dtype=np.int64)
    elif isinstance(value, list | tuple) and name != "params.callbacks":
        _put(name, np.array(value), arrays, values)
    elif value is None or isinstance(value, bool | int | float | str):
        values[name] = value


# --- load -------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    model : estimator

    Raises
    ------
    ModelFileError
        If the file is not such a model, is damaged, or holds values that no fit can have.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np, fastem, tempfile, os
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.fastem")
    >>> fastem.GaussianMixture(2, random_state=0).fit(X).save(path)
    >>> fastem.load(path)
    GaussianMixture(n_components=2, random_state=0)
    """
    data = Path(path).read_bytes()
    header, body = _split(data)
    metadata = _metadata(header, body)
    arrays = {name: _array(name, entry, body) for name, entry in header.items()}
    _check_layout(header, len(body))
    try:
        model = registry()[metadata["class"]](**_collect("params.", metadata["params"], arrays))
        for name, value in _collect("fitted.", metadata["fitted"], arrays).items():
            _check(name.endswith("_") and name.isidentifier(), f"it has an attribute {name!r}")
            setattr(model, name, value)
        with np.errstate(all="ignore"):
            model._check_loaded()
    except (TypeError, ValueError, AttributeError, KeyError, np.linalg.LinAlgError) as error:
        raise ModelFileError(f"{path} is not a sound model: {error}") from error
    return model


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise ModelFileError(f"This is not a model file, or it is damaged: {what}.")


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    _check(len(data) >= 8, "it is too short")
    length = struct.unpack("<Q", data[:8])[0]
    _check(length <= min(len(data) - 8, MAX_HEADER_BYTES), "its header would be longer than the file")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"This is not a model file, or it is damaged: {error}.") from error
    _check(isinstance(header, dict), "its header is not an object")
    return header, data[8 + length :]


def _metadata(header: dict[str, Any], body: bytes) -> dict[str, Any]:
    metadata = header.pop("__metadata__", None)
    _check(isinstance(metadata, dict) and metadata.get("format") == "fastem", "it was not written by fastem")
    _check(metadata.pop("sha256", None) == _digest(metadata, header, body), "its checksum is wrong")
    _check(metadata.get("version") == FORMAT_VERSION, f"its version is {metadata.get('version')!r}")
    _check(metadata.get("class") in registry(), f"it holds an unknown {metadata.get('class')!r}")
    for part in ("params", "fitted"):
        try:
            metadata[part] = json.loads(metadata[part])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ModelFileError(f"This is not a model file, or it is damaged: {error}.") from error
        _check(isinstance(metadata[part], dict), f"its {part} are not an object")
    return metadata


def _array(name: str, entry: Any, body: bytes) -> np.ndarray:
    _check(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}, f"{name!r} is no array")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    _check(isinstance(kind, str) and kind in _DTYPES, f"{name!r} has the type {kind!r}")
    _check(_are_sizes(shape) and len(shape) <= 4, f"{name!r} has the shape {shape!r}")
    _check(_are_sizes(offsets) and len(offsets) == 2, f"{name!r} lies at {offsets!r}")
    begin, end = offsets
    _check(begin <= end <= len(body), f"{name!r} lies outside the file")
    _check(end - begin == math.prod(shape) * _DTYPES[kind].itemsize, f"{name!r} has a wrong size")
    return np.frombuffer(body[begin:end], dtype=_DTYPES[kind]).reshape(shape).astype(_DTYPES[kind].newbyteorder("="))


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_layout(header: dict[str, Any], n_bytes: int) -> None:
    """The arrays lie one after the other, without overlap and without gaps."""
    position = 0
    for begin, end in sorted(entry["data_offsets"] for entry in header.values()):
        _check(begin == position, "its arrays overlap or leave gaps")
        position = end
    _check(position == n_bytes, "bytes are left over or missing at its end")


def _collect(prefix: str, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Values and arrays of one part, with dictionaries put together again."""
    found: dict[str, Any] = {}
    for name, value in [*values.items(), *arrays.items()]:
        if not name.startswith(prefix):
            continue
        key, _, inner = name.removeprefix(prefix).partition(".")
        if inner:
            found.setdefault(key, {})[inner] = value
        else:
            found[key] = value
    return found
