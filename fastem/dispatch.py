"""The verbs of a family, dispatched on the type of its parameters, and their compilation.

A pass over the data is written once and calls verbs; a family registers kernels for the type of
its kernel parameters (a NamedTuple of arrays). Numba then compiles one specialisation of the
pass per family and dtype, as multiple dispatch does in Julia.
"""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

__all__ = ["Twins", "add_statistics", "compile_pass", "implements", "log_density"]

Kernel = Callable[..., Any]
_kernels: dict[tuple[Kernel, type], Kernel] = {}


def implements(verb: Kernel, params: type) -> Callable[[Kernel], Kernel]:
    """Register the decorated kernel as the meaning of `verb` for parameters of type `params`."""

    def register(kernel: Kernel) -> Kernel:
        _kernels[verb, params] = kernel
        return kernel

    return register


def log_density(tile: np.ndarray, params: Any, out: np.ndarray, scratch: np.ndarray) -> None:
    """Verb: ``out[k, b] = log f_k(tile[:, b])``, up to the constants folded into `params`."""
    _kernels[log_density, type(params)](tile, params, out, scratch)


def add_statistics(
    tile: np.ndarray,
    resp: np.ndarray,
    counts: np.ndarray,
    params: Any,
    stats: Any,
    lane: int,
    scratch: np.ndarray,
) -> None:
    """Verb: add the statistics of a tile, weighted by ``resp[k, b]``, to lane `lane` of `stats`.

    ``counts[k]`` is the sum of ``resp[k]``: a component without any can be passed over.
    """
    _kernels[add_statistics, type(params)](tile, resp, counts, params, stats, lane, scratch)


def _kernel_of(verb: Kernel, params: types.Type) -> Kernel | None:
    return _kernels.get((verb, getattr(params, "instance_class", None)))  # type: ignore[arg-type]


@overload(log_density, jit_options={"error_model": "numpy"})
def _(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    return _kernel_of(log_density, params)


@overload(add_statistics, jit_options={"error_model": "numpy"})
def _(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    return _kernel_of(add_statistics, params)


class Twins(NamedTuple):
    """One pass, compiled with and without threads."""

    parallel: Kernel
    serial: Kernel


@cache
def compile_pass(make: Callable[[str], Kernel], params: type) -> Twins:
    """Both compilations of the pass that `make` returns, for a family's parameters.

    Numba's cache looks only at the file of the compiled function and does not tell the twins
    apart, but the values in a function's closure are part of its key: `make` puts there what it
    is given, a digest of all kernel sources and the twin's name.
    """
    digest = _digest(_sources(make, params))
    return Twins(
        _jit(make(f"{digest} parallel {params.__qualname__}"), parallel=True),
        _jit(make(f"{digest} serial {params.__qualname__}"), parallel=False),
    )


def _jit(function: Kernel, *, parallel: bool) -> Kernel:
    options = {"parallel": parallel, "nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no directory that a cache could be written to
        return njit(**options)(function)


def _sources(make: Kernel, params: type) -> list[Path]:
    """The files whose change must recompile a pass over a family with parameters `params`."""
    package = Path(__file__).parent
    engine = [package / name for name in ("simd.py", "elementary.py", "tiles.py", "dispatch.py")]
    kernels = [kernel for (_, of), kernel in _kernels.items() if of is params]
    files = {Path(inspect.getfile(kernel)) for kernel in (make, *kernels)} | {Path(inspect.getfile(params))}
    siblings = {path for file in files for path in file.parent.glob("_*.py")}
    return [*engine, *sorted(files | siblings)]


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:16]
