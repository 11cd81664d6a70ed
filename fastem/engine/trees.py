"""Numbers and arrays in tuples, NamedTuples, lists and dicts, taken apart and put together again."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Leaves", "Tree"]

Leaves = tuple[np.ndarray, ...]


class Tree(NamedTuple):
    """The form of some values.

    Attributes
    ----------
    pattern : Any
        Values of that form.
    like : tuple of ndarray
        Their leaves.
    paths : tuple of str
        Where each leaf stands, such as ``"counts"`` or ``"parts.0"``; empty for a number or array alone.
    """

    pattern: Any
    like: Leaves
    paths: tuple[str, ...]

    @classmethod
    def of(cls, values: Any, name: str) -> "Tree":
        """The form of `values`, which errors call `name`."""
        found = dict(_walk("", values, name))
        return cls(values, tuple(found.values()), tuple(found))

    def leaves(self, values: Any, name: str) -> Leaves:
        """The leaves of values of this form as float64.

        Raises
        ------
        ValueError
            If they have another form; it says where.
        """
        found = dict(_walk("", values, name))
        if tuple(found) != self.paths:
            raise ValueError(f"{name} has the items {_listed(tuple(found))}, and had {_listed(self.paths)} before.")
        for (path, leaf), like in zip(found.items(), self.like, strict=True):
            if leaf.shape != like.shape:
                what = f"{name}, {path!r}," if path else name
                raise ValueError(f"{what} has the shape {leaf.shape}, and had {like.shape} before.")
        return tuple(found.values())

    def build(self, leaves: Leaves) -> Any:
        """Values of this form; numbers are floats."""
        return _build(self.pattern, iter(leaves))


def _walk(path: str, value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, dict | tuple | list) and not _is_numbers(value):
        for key, item in _items(value):
            yield from _walk(f"{path}.{key}" if path else str(key), item, name)
        return
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        what = f"{name}, {path!r}," if path else name
        raise ValueError(f"{what} must be made of real numbers, not {value!r}.")
    yield path, np.array(array, dtype=np.float64)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(zip(getattr(value, "_fields", range(len(value))), value, strict=True))


def _is_numbers(value: Any) -> bool:
    """Whether a list is an array, which a list of numbers, or of lists of numbers, is."""
    return isinstance(value, list) and all(np.ndim(item) == 0 or _is_numbers(item) for item in value)


def _build(pattern: Any, leaves: Iterator[np.ndarray]) -> Any:
    if isinstance(pattern, dict):
        return {key: _build(item, leaves) for key, item in pattern.items()}
    if isinstance(pattern, tuple | list) and not _is_numbers(pattern):
        items = [_build(item, leaves) for item in pattern]
        return type(pattern)(*items) if hasattr(pattern, "_fields") else type(pattern)(items)
    leaf = next(leaves)
    return leaf.copy() if leaf.ndim else float(leaf)


def _listed(paths: tuple[str, ...]) -> str:
    return ", ".join(paths) or "none"
