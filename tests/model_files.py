"""Model files that are changed and signed again, so that the checksum is right and later checks are reached."""

import json
import struct

import numpy as np

from fastem.storage.array_file import _digest


def split(content):
    """Header and body of a file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header, body, *, sign=True):
    """A file, with a right checksum."""
    metadata = dict(header.pop("__metadata__"))
    metadata.pop("sha256", None)
    if sign:
        metadata["sha256"] = _digest(metadata, header, body)
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    return struct.pack("<Q", len(text)) + text + body


def with_array(content, name, values):
    """The file with another array, of any shape."""
    header, body = split(content)
    stored = np.ascontiguousarray(values)
    kind = "F64" if stored.dtype.kind == "f" else "I64"
    stored = stored.astype("<f8" if kind == "F64" else "<i8").tobytes()
    metadata = header.pop("__metadata__")
    pieces = {key: body[slice(*entry["data_offsets"])] for key, entry in header.items()} | {name: stored}
    header[name] = {"dtype": kind, "shape": list(np.shape(values))}
    end = 0
    for key, piece in pieces.items():
        header[key]["data_offsets"] = [end, end + len(piece)]
        end += len(piece)
    return join({"__metadata__": metadata, **header}, b"".join(pieces.values()))


def array_of(content, name):
    """An array of the file."""
    header, body = split(content)
    kind = {"F64": "<f8", "I64": "<i8"}[header[name]["dtype"]]
    return np.frombuffer(body[slice(*header[name]["data_offsets"])], kind).reshape(header[name]["shape"]).copy()


def with_value(content, part, name, value):
    """The file with another value, of ``"params"`` or ``"fitted"``."""
    header, body = split(content)
    values = json.loads(header["__metadata__"][part])
    values[f"{part}.{name}"] = value
    header["__metadata__"][part] = json.dumps(values)
    return join(header, body)


def with_setting(content, path, value):
    """The file with another setting of the fitted family; `path` leads to it, parts of products by their place."""
    header, body = split(content)
    values = json.loads(header["__metadata__"]["fitted"])
    node = values["fitted.family_"]
    for step in path[:-1]:
        node = _pair(node, step)[1]
    _pair(node, path[-1])[1] = _encoded(value)
    header["__metadata__"]["fitted"] = json.dumps(values)
    return join(header, body)


def _pair(node, step):
    pairs = node.get("settings", node)["pairs"]
    return pairs[step] if isinstance(step, int) else next(pair for pair in pairs if pair[0] == step)


def _encoded(value):
    return {"list": [_encoded(item) for item in value]} if isinstance(value, list) else value
