"""The verbs of a family, dispatched on the type of its parameters, and their compilation.

A pass over the data is written once and calls verbs; a family registers kernels for the type of
its kernel parameters (a NamedTuple of arrays). Numba then compiles one specialisation of the
pass per family and dtype, as multiple dispatch does in Julia.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit, prange, typeof, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, overload

from fastem.kernels.fingerprint import fingerprint
from fastem.kernels.turns import compile_in_turn

__all__ = [
    "IMPOSSIBLE", "LEAST_POSSIBLE", "Twins", "Wanted", "add_statistics", "call_at", "compile_pass", "compiled_at",
    "implements", "is_known", "log_density",
]  # fmt: skip

# Log-density of a value that cannot be: less than any that can be, and finite in float32 too, as are its multiples.
IMPOSSIBLE = -1e20
# A sum of log-densities below this has such a value in it.
LEAST_POSSIBLE = IMPOSSIBLE / 10

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

    ``counts[k]`` is the sum of ``resp[k]``: a component without any can be passed over. The scratch
    is as `log_density` left it, which has just met the same tile.
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


# --- compilation ------------------------------------------------------------------------------


class Twins:
    """One pass, with and without threads: both take the number of workers and the pass's flat values.

    What a worker does is compiled once, and called by its address: a parallel loop that contained
    it would be optimised four times over, in each of the functions that Numba makes of the loop.

    Parameters
    ----------
    share : callable
        ``share(worker, values)`` does what falls to one worker; alone, it does everything.
    """

    def __init__(self, share: Kernel):
        self.share = _jit(share)
        self._run_all = _jit(_make_run_all(share.__qualname__), parallel=True)
        self._addresses: dict[Any, int] = {}

    def serial(self, n_workers: int, values: Any) -> None:
        """One worker does everything."""
        self.share(0, values)

    def parallel(self, n_workers: int, values: Any) -> None:
        """Each worker has a thread."""
        self._run_all(self._address(values), n_workers, values)

    def _address(self, values: Any) -> int:
        """Address of `share`, compiled for values of such types."""
        kinds = tuple(
            (value.dtype, value.ndim, value.flags.writeable, value.flags.c_contiguous, value.flags.aligned)
            for value in values
        )
        if kinds not in self._addresses:
            signature = (types.int64, typeof(values))
            self.share.compile(signature)  # type: ignore[attr-defined]
            compiled = self.share.overloads[signature]  # type: ignore[attr-defined]
            self._addresses[kinds] = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        return self._addresses[kinds]


def _make_run_all(name: str) -> Kernel:
    def run_all(address, n_workers, values):  # type: ignore[no-untyped-def]
        for worker in prange(n_workers):
            _call(address, worker, values)

    run_all.__qualname__ += f"_of_{name.rpartition('.')[2]}"  # processes write the cache of a name at once
    return run_all


@intrinsic
def _call(context, address, worker, values):  # type: ignore[no-untyped-def]
    """Call the function at an address with a worker's number and values, as compiled functions call each other."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        convention, kinds = context.call_conv, (types.int64, values)
        kind = convention.get_function_type(types.none, kinds)
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        status, _ = convention.call_function(builder, function, types.none, kinds, arguments[1:])
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, values), generate


# Functions that have an address, for callers that know no more of them; they must not be freed.
_functions: dict[int, Kernel] = {}
_addresses: dict[Any, int] = {}


def call_at(address: int, number: int, values: Any) -> None:
    """Call the function at an address, that `compiled_at` gave, with a number and a tuple of arrays."""
    _functions[address](number, values)


@overload(call_at, jit_options={"error_model": "numpy"})
def _(address, number, values):  # type: ignore[no-untyped-def]
    return lambda address, number, values: _call(address, number, values)  # noqa: PLW0108  # Numba wants a function


class Wanted(NamedTuple):
    """A function to compile.

    Attributes
    ----------
    what : tuple
        What tells it from all others with kernel parameters of the same types.
    make : callable
        See `compile_pass`.
    signature : tuple of Numba types
    """

    what: Any
    make: Callable[[str], Kernel]
    signature: tuple[Any, ...]


def compiled_at(params: Any, wanted: Wanted) -> int:
    """Address of a function, compiled for a family's kernel parameters."""
    kinds = _kinds(params)
    key = (wanted.what, kinds)
    if key in _addresses:
        return _addresses[key]
    function = _named(wanted.make, kinds)
    if config.DISABLE_JIT:
        address = len(_functions) + 1
    else:
        function = _jit(function)
        function.compile(wanted.signature)  # type: ignore[attr-defined]
        compiled = function.overloads[wanted.signature]  # type: ignore[attr-defined]
        address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    _functions[address] = function
    _addresses[key] = address
    return address


def is_known(params: Any, wanted: Wanted) -> bool:
    """Whether `compiled_at` has a function, or finds it in Numba's cache; also if there is no cache."""
    kinds = _kinds(params)
    if config.DISABLE_JIT or (wanted.what, kinds) in _addresses:
        return True
    cache = getattr(_jit(_named(wanted.make, kinds)), "_cache", None)
    try:
        key = cache._index_key(wanted.signature, cpu_target.target_context.codegen())  # type: ignore[union-attr]
        return key in cache._cache_file._load_index()  # type: ignore[union-attr]
    except (AttributeError, OSError):  # kernels are not kept, or Numba keeps them in another way
        return True


def compile_pass(make: Callable[[str], Kernel], params: Any) -> Twins:
    """The pass whose workers do what `make` returns, for a family's kernel parameters.

    Numba's cache looks only at the file of the compiled function, but the values in a function's
    closure are part of its key: `make` puts there what it is given, a digest of all kernel sources.
    """
    return _compile_pass(make, _kinds(params))


@cache
def _compile_pass(make: Callable[[str], Kernel], kinds: tuple[type, ...]) -> Twins:
    return Twins(_named(make, kinds))


def _named(make: Callable[[str], Kernel], kinds: tuple[type, ...]) -> Kernel:
    """What `make` returns, with all in its closure and name that tells it from others in Numba's cache."""
    names = " ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    checks = "with bounds checked " if config.BOUNDSCHECK else ""
    kernels = [kernel for (_, of), kernel in _kernels.items() if of in kinds]
    function = make(f"{fingerprint([make, *kernels, *kinds])} {checks}{names}")
    # Numba's cache keeps the types of all compilations of a name in one file, and can read it only
    # where all those types can be imported: a family outside this package must not get in there.
    function.__qualname__ += f"_{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    return function


def _kinds(params: Any) -> tuple[type[Any], ...]:
    """The types of kernel parameters and of those that they contain."""
    own = (type(params),) if hasattr(params, "_fields") else ()
    return own + tuple(kind for field in params if isinstance(field, tuple) for kind in _kinds(field))


def _jit(function: Kernel, *, parallel: bool = False) -> Kernel:
    options = {"parallel": parallel, "nogil": True, "error_model": "numpy"}
    try:
        dispatcher = njit(cache=True, **options)(function)
    except RuntimeError:  # no directory that a cache could be written to
        return njit(**options)(function)
    if not config.DISABLE_JIT:
        compile_in_turn(dispatcher)
    return dispatcher
