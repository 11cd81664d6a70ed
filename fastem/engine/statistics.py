"""Sufficient statistics, and other NamedTuples of float64 arrays: sums that add up.

While a pass runs, every array has a leading axis of lanes; `add_lanes` ends it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

__all__ = ["add", "add_base", "add_lanes", "are_finite", "as_kernels_read", "blend", "scale", "zeros"]

Statistics = TypeVar("Statistics", bound=tuple[Any, ...])


def zeros(kind: type[Statistics], lanes: int, **shapes: tuple[int, ...]) -> Statistics:
    """Statistics of no data; `shapes` are those of one lane's fields."""
    return kind(**{name: np.zeros((lanes, *shape)) for name, shape in shapes.items()})


def add_lanes(stats: Statistics) -> Statistics:
    """Sum over the lanes, in an order that depends on the shapes alone."""
    return _zip(lambda field, _: np.add.reduce(field, axis=0), stats, stats)


def are_finite(stats: Statistics) -> bool:
    """Whether all sums are finite numbers."""
    return all(are_finite(field) if isinstance(field, tuple) else bool(np.isfinite(field).all()) for field in stats)


def add(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of two data sets together; fields may be NamedTuples again."""
    return _zip(np.add, a, b)


def add_base(stats: Any, base: float) -> Any:
    """Statistics with the part of the log-likelihood that kernels leave out."""
    return stats._replace(log_likelihood=stats.log_likelihood + base)


def scale(stats: Statistics, factor: float) -> Statistics:
    """Statistics of the same data with all weights multiplied."""
    return _zip(lambda field, _: factor * field, stats, stats)


def blend(old: Statistics, new: Statistics, step: float) -> Statistics:
    """``(1 - step) old + step new``."""
    return _zip(lambda a, b: (1 - step) * a + step * b, old, new)


def as_kernels_read(values: Statistics) -> Statistics:
    """The same with arrays of float64 one number after the other, as kernels are compiled for."""
    return _zip(lambda field, _: np.asarray(field, dtype=np.float64, order="C"), values, values)


def _zip(combine: Callable[[Any, Any], Any], a: Statistics, b: Statistics) -> Statistics:
    fields = (_zip(combine, x, y) if isinstance(x, tuple) else combine(x, y) for x, y in zip(a, b, strict=True))
    return type(a)(*fields) if hasattr(a, "_fields") else type(a)(fields)  # a plain tuple
