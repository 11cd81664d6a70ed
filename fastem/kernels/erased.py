"""Verbs called by address, for parameters of types that the caller does not know.

A pass over a family whose parts are of other families would be compiled anew for each order and
number of them. So a part's kernels are compiled by themselves, once for its type, and called by
address; their parameters travel as a list of the addresses and shapes of their arrays.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic, overload

from fastem.kernels.dispatch import Wanted, add_statistics, call_at, compiled_at, is_known, log_density
from fastem.kernels.kernel_arguments import build_nested, leaves, spell

__all__ = ["Erased", "call_add_statistics", "call_log_density", "describe", "erase", "is_compiled", "table"]


class Erased(NamedTuple):
    """Addresses of a part's two verbs, and what describes its parameters."""

    log_density: int
    add_statistics: int
    parameters: np.ndarray


# --- descriptions of arrays -------------------------------------------------------------------


def describe(values: Any) -> np.ndarray:
    """Addresses and shapes of the arrays of a tuple, which must live as long as the description is used."""
    words: list[int] = []
    for array in leaves(values):
        if not array.flags.c_contiguous:
            raise ValueError("Kernels take contiguous arrays only.")
        words += [array.ctypes.data, *array.shape]
    return np.array(words, dtype=np.int64)


def table(descriptions: list[np.ndarray]) -> np.ndarray:
    """Descriptions of different length as rows of one array."""
    rows = np.zeros((len(descriptions), max(map(len, descriptions))), np.int64)
    for row, words in zip(rows, descriptions, strict=True):
        row[: len(words)] = words
    return rows


def _marker(values: Any) -> np.ndarray:
    """An empty array whose type tells how a tuple is nested, and of what its arrays are."""
    kinds = [(f"{i}|{array.dtype.name}|{array.ndim}", np.int8) for i, array in enumerate(leaves(values))]
    return np.empty(0, np.dtype([(spell(values), np.int8), *kinds]))


def _unpack(words: np.ndarray, marker: np.ndarray) -> Any:
    """The tuple that `words` describe."""
    found, at = [], 0
    for name in (marker.dtype.names or ())[1:]:
        _, kind, ndim = name.split("|")
        shape = tuple(int(n) for n in words[at + 1 : at + 1 + int(ndim)])
        memory = (ctypes.c_char * (math.prod(shape) * np.dtype(kind).itemsize)).from_address(int(words[at]))
        found.append(np.ndarray(shape, np.dtype(kind), memoryview(memory)))
        at += 1 + int(ndim)
    return build_nested((marker.dtype.names or ("",))[0])((marker, *found))


@overload(_unpack, jit_options={"error_model": "numpy"})
def _(words, marker):  # type: ignore[no-untyped-def]
    structure, *kinds = (str(name) for name, _ in marker.dtype.members)
    known: dict[str, Any] = {"carray": carray, "pointer": _pointer, "build": _compiled_build(structure), "np": np}
    arrays, at = [], 0
    for kind in kinds:
        _, dtype, ndim = kind.split("|")
        shape = "".join(f"words[{at + 1 + i}], " for i in range(int(ndim)))
        arrays.append(f"carray(pointer(words[{at}]), ({shape}), np.{dtype})")
        at += 1 + int(ndim)
    exec(f"def unpack(words, marker):\n    return build((marker, {', '.join(arrays)},))", known)
    return known["unpack"]


def _compiled_build(structure: str) -> Any:
    return njit(error_model="numpy")(build_nested(structure))


@intrinsic
def _pointer(context, address):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


# --- kernels ----------------------------------------------------------------------------------


def call_log_density(
    address: int, parameters: np.ndarray, tile: np.ndarray, out: np.ndarray, scratch: np.ndarray
) -> None:
    """`log_density` of a part, in kernels and outside."""
    call_at(address, 0, (parameters, tile, out, scratch))


@overload(call_log_density, jit_options={"error_model": "numpy"})
def _(address, parameters, tile, out, scratch):  # type: ignore[no-untyped-def]
    return lambda address, parameters, tile, out, scratch: call_at(address, 0, (parameters, tile, out, scratch))


def call_add_statistics(
    address: int, parameters: np.ndarray, stats: np.ndarray, tile: np.ndarray, resp: np.ndarray, counts: np.ndarray,
    lane: int, scratch: np.ndarray,
) -> None:  # fmt: skip
    """`add_statistics` of a part, in kernels and outside."""
    call_at(address, lane, (parameters, stats, tile, resp, counts, scratch))


@overload(call_add_statistics, jit_options={"error_model": "numpy"})
def _(address, parameters, stats, tile, resp, counts, lane, scratch):  # type: ignore[no-untyped-def]
    return lambda address, parameters, stats, tile, resp, counts, lane, scratch: call_at(
        address, lane, (parameters, stats, tile, resp, counts, scratch)
    )


def _make_log_density(key: str, marker: np.ndarray) -> Callable[..., Any]:
    def part_log_density(number, values):  # type: ignore[no-untyped-def]
        _key = key
        words, tile, out, scratch = values
        log_density(tile, _unpack(words, marker), out, scratch)

    return part_log_density


def _make_add_statistics(key: str, marker: np.ndarray, of_stats: np.ndarray) -> Callable[..., Any]:
    def part_add_statistics(lane, values):  # type: ignore[no-untyped-def]
        _key = key
        words, sums, tile, resp, counts, scratch = values
        add_statistics(tile, resp, counts, _unpack(words, marker), _unpack(sums, of_stats), lane, scratch)

    return part_add_statistics


def erase(params: Any, stats: Any, dtype: np.dtype[Any]) -> Erased:
    """The verbs of a part, compiled for its kernel parameters and statistics, and its parameters' description.

    Parameters
    ----------
    params, stats : NamedTuple
        Of `stats` only the types matter.
    dtype : dtype
        Of the data.
    """
    log_densities, adds = (compiled_at(params, verb) for verb in _verbs(params, stats, dtype))
    return Erased(log_densities, adds, describe(params))


def is_compiled(params: Any, stats: Any, dtype: np.dtype[Any]) -> bool:
    """Whether `erase` would find the verbs of a part, in this process or in Numba's cache."""
    return all(is_known(params, verb) for verb in _verbs(params, stats, dtype))


def _verbs(params: Any, stats: Any, dtype: np.dtype[Any]) -> tuple[Wanted, Wanted]:
    marker, of_stats = _marker(params), _marker(stats)
    number, words, counts = types.int64, types.int64[::1], types.float64[::1]
    row, plane = (types.Array(_scalar(dtype), ndim, "C") for ndim in (1, 2))
    return (
        Wanted(
            (_make_log_density, marker.dtype, dtype),
            lambda key: _make_log_density(key, marker),
            (number, types.Tuple((words, plane, plane, row))),
        ),
        Wanted(
            (_make_add_statistics, marker.dtype, of_stats.dtype, dtype),
            lambda key: _make_add_statistics(key, marker, of_stats),
            (number, types.Tuple((words, words, plane, plane, counts, row))),
        ),
    )


def _scalar(dtype: np.dtype[Any]) -> Any:
    return types.float32 if dtype == np.float32 else types.float64
