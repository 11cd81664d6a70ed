"""Sufficient statistics: NamedTuples of float64 arrays that add up.

While a pass runs, every array has a leading axis of lanes; `add_lanes` ends it.
"""

from typing import Any, TypeVar

import numpy as np

__all__ = ["add_lanes", "zeros"]

Statistics = TypeVar("Statistics", bound=tuple[Any, ...])


def zeros(kind: type[Statistics], lanes: int, **shapes: tuple[int, ...]) -> Statistics:
    """Statistics of no data; `shapes` are those of one lane's fields."""
    return kind(**{name: np.zeros((lanes, *shape)) for name, shape in shapes.items()})


def add_lanes(stats: Statistics) -> Statistics:
    """Sum over the lanes, in an order that depends on the shapes alone."""
    return type(stats)(*(np.add.reduce(field, axis=0) for field in stats))
