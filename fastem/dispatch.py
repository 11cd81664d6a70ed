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

from fastem.nesting import is_flat, nested

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
    params = nested(params)
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
    params, stats = nested(params), nested(stats)
    _kernels[add_statistics, type(params)](tile, resp, counts, params, stats, lane, scratch)


def _kernel_of(verb: Kernel, params: types.Type) -> Kernel | None:
    return _kernels.get((verb, getattr(params, "instance_class", None)))  # type: ignore[arg-type]


@overload(log_density, jit_options={"error_model": "numpy"})
def _(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    if is_flat(params):
        return lambda tile, params, out, scratch: log_density(tile, nested(params), out, scratch)
    return _kernel_of(log_density, params)


@overload(add_statistics, jit_options={"error_model": "numpy"})
def _(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    if is_flat(params) or is_flat(stats):

        def nest(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
            add_statistics(tile, resp, counts, nested(params), nested(stats), lane, scratch)

        return nest
    return _kernel_of(add_statistics, params)


class Twins(NamedTuple):
    """One pass, compiled with and without threads."""

    parallel: Kernel
    serial: Kernel


def compile_pass(make: Callable[[str], Kernel], params: Any) -> Twins:
    """Both compilations of the pass that `make` returns, for a family's kernel parameters.

    Numba's cache looks only at the file of the compiled function and does not tell the twins
    apart, but the values in a function's closure are part of its key: `make` puts there what it
    is given, a digest of all kernel sources and the twin's name.
    """
    return _compile_pass(make, _kinds(params))


@cache
def _compile_pass(make: Callable[[str], Kernel], kinds: tuple[type, ...]) -> Twins:
    digest = _digest(_sources(make, kinds))
    names = " ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    twins = (make(f"{digest} {twin} {names}") for twin in ("parallel", "serial"))
    parallel, serial = (_with_index_of_its_own(twin, names) for twin in twins)
    return Twins(_jit(parallel, parallel=True), _jit(serial, parallel=False))


def _with_index_of_its_own(function: Kernel, names: str) -> Kernel:
    """The function by a name that no pass over other families has.

    Numba's cache keeps the types of all compilations of a name in one file, and can read it only
    where all those types can be imported: a family outside this package must not get in there.
    """
    function.__qualname__ += f"_{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    return function


def _kinds(params: Any) -> tuple[type[Any], ...]:
    """The types of kernel parameters and of those that they contain."""
    own = (type(params),) if hasattr(params, "_fields") else ()
    return own + tuple(kind for field in params if isinstance(field, tuple) for kind in _kinds(field))


def _jit(function: Kernel, *, parallel: bool) -> Kernel:
    options = {"parallel": parallel, "nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no directory that a cache could be written to
        return njit(**options)(function)


def _sources(make: Kernel, kinds: tuple[type, ...]) -> list[Path]:
    """The files whose change must recompile a pass over families with kernel parameters of some types."""
    package = Path(__file__).parent
    engine = [package / name for name in ("simd.py", "elementary.py", "tiles.py", "dispatch.py", "nesting.py")]
    kernels = [kernel for (_, of), kernel in _kernels.items() if of in kinds]
    files = {Path(inspect.getfile(part)) for part in [make, *kernels]} | {Path(inspect.getfile(kind)) for kind in kinds}
    siblings = {path for file in files for path in file.parent.glob("_*.py")}
    return [*engine, *sorted(files | siblings)]


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:16]
