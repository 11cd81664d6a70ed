"""Tuples within tuples as arguments of parallel loops.

Numba takes tuples of arrays into a parallel loop, but no tuples within them. So nested parameters
and statistics travel flat, behind an empty array whose type tells how they were nested: the name
of its only field spells the structure.
"""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numba.extending import overload

__all__ = ["flat", "nested"]


def flat(values: Any) -> Any:
    """A tuple as kernels take it: its arrays behind one whose type tells their structure."""
    marker = np.empty(0, np.dtype([(_spell(values), np.int8)]))
    return (marker, *_leaves(values))


def nested(values: Any) -> Any:
    """What `flat` made flat; in kernels too."""
    return _build(values[0].dtype.names[0])(values)


def _spell(values: Any) -> str:
    if not isinstance(values, tuple):
        return "_"
    inside = ",".join(map(_spell, values))
    if not hasattr(values, "_fields"):
        return f"[{inside}]"
    return f"{type(values).__module__}.{type(values).__qualname__}({inside})"


def _leaves(values: tuple[Any, ...]) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, tuple):
            yield from _leaves(value)
        else:
            yield value


def _build(structure: str) -> Callable[[Any], Any]:
    """A function that nests a flat tuple, from the spelling of its structure."""
    classes: dict[str, Any] = {}
    count = 0

    def word(match: re.Match[str]) -> str:
        nonlocal count
        text = match.group()
        if text == "_":
            count += 1
            return f"values[{count}]"
        module, _, name = text.rpartition(".")
        classes[name] = getattr(import_module(module), name)
        return name

    expression = re.sub(r"[\w.]+", word, structure.replace("[", "(").replace("]", ",)"))
    exec(f"def build(values):\n    return {expression}", classes)
    build: Callable[[Any], Any] = classes["build"]
    return build


@overload(nested, jit_options={"error_model": "numpy"})
def _(values):  # type: ignore[no-untyped-def]
    return _build(str(values[0].dtype.members[0][0]))
