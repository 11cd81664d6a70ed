"""Tuples within tuples as arguments of parallel loops.

Numba takes tuples of arrays into a parallel loop, but no tuples within them. So nested parameters
and statistics travel flat, behind an empty array whose type tells how they were nested: the name
of its only field spells the structure.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba.extending import overload

__all__ = ["build_nested", "flat", "leaves", "nested", "spell"]


def flat(values: Any) -> Any:
    """A tuple as kernels take it: its arrays behind one whose type tells their structure."""
    marker = np.empty(0, np.dtype([(spell(values), np.int8)]))
    return (marker, *leaves(values))


def nested(values: Any) -> Any:
    """What `flat` made flat; in kernels too."""
    return build_nested(values[0].dtype.names[0])(values)


# Classes by the names that structures give them.
_classes: dict[str, type[Any]] = {}


def spell(values: Any) -> str:
    """How a tuple is nested, in letters."""
    if not isinstance(values, tuple):
        return "_"
    inside = ",".join(map(spell, values))
    return f"{_name(type(values))}({inside})" if hasattr(values, "_fields") else f"[{inside}]"


def _name(kind: type[Any]) -> str:
    """A name of a class, that no other class has; most can be imported by it, but need not be."""
    full = name = f"{kind.__module__}.{kind.__qualname__}"
    count = 0
    while _classes.setdefault(name, kind) is not kind:
        count += 1
        name = f"{full}#{count}"
    return name


def leaves(values: tuple[Any, ...]) -> Iterator[np.ndarray]:
    """The arrays of a nested tuple, in their order."""
    for value in values:
        if isinstance(value, tuple):
            yield from leaves(value)
        else:
            yield value


def build_nested(structure: str) -> Callable[[Any], Any]:
    """A function that nests a flat tuple, from the spelling of its structure."""
    known: dict[str, Any] = {}
    count = 0

    def word(match: re.Match[str]) -> str:
        nonlocal count
        if match.group() == "_":
            count += 1
            return f"values[{count}]"
        name = f"kind{len(known)}"
        known[name] = _classes[match.group()]
        return name

    expression = re.sub(r"[^(),]+", word, structure.replace("[", "(").replace("]", ",)"))
    exec(f"def build(values):\n    return {expression}", known)
    build: Callable[[Any], Any] = known["build"]
    return build


@overload(nested, jit_options={"error_model": "numpy"})
def _(values):  # type: ignore[no-untyped-def]
    return build_nested(str(values[0].dtype.members[0][0]))
