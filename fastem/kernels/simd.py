"""Explicit SIMD vectors inside compiled kernels: the only file that speaks LLVM.

A value of type `Vector` is `elements(array)` neighbouring numbers of one array, or `narrow_elements(array)`, or `BLOCK`
of them, held in registers. Kernels built from vectors keep their accumulators in registers, which the auto-vectoriser
does not manage for register-tiled loops. Two registers make one vector: LLVM splits it, and every operation becomes
two independent ones that hide each other's latency. Where a kernel needs eight accumulators and more it takes narrow
vectors, which are one register on machines that have but 16 of them (AVX2).

Each operation is an ordinary function with a NumPy meaning (a vector is then a 1-d array), so a
kernel runs unchanged with ``NUMBA_DISABLE_JIT=1``; compiled code gets the instructions instead.
`load`, `store` and `splat` address a C-contiguous array of any dimension by its flat index.
"""

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable

__all__ = [
    "BLOCK", "add_totals", "add_wide", "claim", "deinterleave", "elements", "exponent", "fill", "fma", "huge",
    "load", "load_block", "load_narrow", "mantissa", "maximum", "minimum", "narrow_elements", "prefetch", "splat",
    "splat_block", "splat_like", "splat_narrow", "store", "store_places", "times_power_of_two", "total",
    "transpose", "where_greater",
]  # fmt: skip


def _vector_bytes() -> tuple[int, int]:
    """Bytes of a vector, and of a narrow one."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 128, 128
    if features.get("avx2"):
        return 64, 32
    return 32, 32


VECTOR_BYTES, NARROW_BYTES = _vector_bytes()
_LINE_BYTES = 64
_INT32 = ir.IntType(32)


class Vector(types.Type):  # type: ignore[misc]  # Numba is untyped
    """Numba type of a vector of float64 or float32 numbers."""

    def __init__(self, dtype: types.Float, count: int | None = None):
        self.dtype = dtype
        self.count = count or VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"vector({self.count} x {dtype})")

    @property
    def llvm(self) -> ir.VectorType:
        element = ir.DoubleType() if self.dtype == types.float64 else ir.FloatType()
        return ir.VectorType(element, self.count)

    @property
    def llvm_bits(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.dtype.bitwidth), self.count)

    @property
    def suffix(self) -> str:
        """The ending of an LLVM intrinsic's name for this type."""
        return f"v{self.count}f{self.dtype.bitwidth}"


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]  # Numba is untyped
    def __init__(self, dmm: Any, fe_type: Vector):
        super().__init__(dmm, fe_type, fe_type.llvm)


def _compiled(function: Callable[..., Any], typer: Callable[..., Any], *kinds: type) -> Callable[..., Any]:
    """Register how `function` is typed, and the decorated code generator, for compiled code."""
    type_callable(function)(lambda context: typer)

    def register(codegen: Callable[..., Any]) -> Callable[..., Any]:
        lower_builtin(function, *kinds)(codegen)
        return codegen

    return register


def _unary(a: types.Type) -> types.Type | None:
    return a if isinstance(a, Vector) else None


def _binary(a: types.Type, b: types.Type) -> types.Type | None:
    return a if isinstance(a, Vector) and a == b else None


def _ternary(a: types.Type, b: types.Type, c: types.Type) -> types.Type | None:
    return a if isinstance(a, Vector) and a == b == c else None


def _quaternary(a: types.Type, b: types.Type, c: types.Type, d: types.Type) -> types.Type | None:
    return a if isinstance(a, Vector) and a == b == c == d else None


def _constant(vector: Vector, value: float | int, bits: bool = False) -> ir.Constant:
    return ir.Constant(vector.llvm_bits if bits else vector.llvm, [value] * vector.count)


# --- memory -----------------------------------------------------------------------------------


def elements(array: np.ndarray) -> int:
    """Numbers in a vector of the array's dtype."""
    return VECTOR_BYTES // array.dtype.itemsize


def load(array: np.ndarray, index: int) -> np.ndarray:
    """The vector that starts at a flat index."""
    return np.ravel(array)[index : index + elements(array)].copy()


def store(array: np.ndarray, index: int, value: np.ndarray) -> None:
    """Write a vector, of any length, to a flat index."""
    array.reshape(-1)[index : index + len(value)] = value


def store_places(array: np.ndarray, index: int, value: np.ndarray, step: int, first: int) -> None:
    """Write ``first + step * value``, of a vector of whole numbers, to an int64 array from a flat index on."""
    array.reshape(-1)[index : index + len(value)] = first + step * value.astype(np.int64)


def prefetch(array: np.ndarray, index: int, count: int) -> None:
    """Ask for so many numbers, from a flat index on, to be brought into the caches; past the end is no error."""


def splat(array: np.ndarray, index: int) -> np.ndarray:
    """The number at a flat index, in every element."""
    return np.full(elements(array), np.ravel(array)[index])


def splat_like(like: np.ndarray, array: np.ndarray, index: int) -> np.ndarray:
    """The same in a vector like another."""
    return np.full_like(like, np.ravel(array)[index])


def narrow_elements(array: np.ndarray) -> int:
    """Numbers in a narrow vector of the array's dtype."""
    return NARROW_BYTES // array.dtype.itemsize


def load_narrow(array: np.ndarray, index: int) -> np.ndarray:
    """A narrow vector that starts at a flat index."""
    return np.ravel(array)[index : index + narrow_elements(array)].copy()


def splat_narrow(array: np.ndarray, index: int) -> np.ndarray:
    """A narrow vector of the number at a flat index."""
    return np.full(narrow_elements(array), np.ravel(array)[index])


BLOCK = 8


def load_block(array: np.ndarray, index: int) -> np.ndarray:
    """A vector of BLOCK numbers that start at a flat index."""
    return np.ravel(array)[index : index + BLOCK].copy()


def splat_block(array: np.ndarray, index: int) -> np.ndarray:
    """A vector of BLOCK times the number at a flat index."""
    return np.full(BLOCK, np.ravel(array)[index])


def transpose(source: np.ndarray, start: int, stride: int, target: np.ndarray, at: int, step: int) -> None:
    """Copy BLOCK x BLOCK numbers, rows to columns.

    Rows of the source start at the flat indices ``start + i * stride``, columns of them are
    stored at ``at + j * step`` of the target.
    """
    for i in range(BLOCK):
        row = np.ravel(source)[start + i * stride : start + i * stride + BLOCK]
        target.reshape(-1)[at + i : at + i + BLOCK * step : step] = row


def deinterleave(source: np.ndarray, start: int, target: np.ndarray, places: tuple[int, ...]) -> None:
    """Copy BLOCK rows of a few neighbouring numbers, one column to each flat index in `places`."""
    count = len(places)
    rows = np.ravel(source)[start : start + BLOCK * count].reshape(BLOCK, count)
    for j, at in enumerate(places):
        target.reshape(-1)[at : at + BLOCK] = rows[:, j]


def fill(like: np.ndarray, value: float) -> np.ndarray:
    """A constant in every element of a vector like another."""
    return np.full_like(like, value)


def huge(like: np.ndarray) -> np.ndarray:
    """A quarter of the largest number of the dtype, in every element."""
    return np.full_like(like, np.finfo(like.dtype).max / 4)


def _vector_of(array: types.Type) -> Vector | None:
    if isinstance(array, types.Array) and array.layout == "C" and isinstance(array.dtype, types.Float):
        return Vector(array.dtype)
    return None


def _type_elements(array: types.Type) -> types.Type | None:
    return types.intp if _vector_of(array) else None


def _type_load(array: types.Type, index: types.Type) -> Vector | None:
    return _vector_of(array) if isinstance(index, types.Integer) else None


def _type_load_narrow(array: types.Type, index: types.Type) -> Vector | None:
    known = _vector_of(array) is not None and isinstance(index, types.Integer)
    return Vector(array.dtype, NARROW_BYTES * 8 // array.dtype.bitwidth) if known else None


def _type_splat_like(like: types.Type, array: types.Type, index: types.Type) -> Vector | None:
    same = isinstance(like, Vector) and _vector_of(array) is not None and like.dtype == array.dtype
    return like if same and isinstance(index, types.Integer) else None


def _type_load_block(array: types.Type, index: types.Type) -> Vector | None:
    known = _vector_of(array) is not None and isinstance(index, types.Integer)
    return Vector(array.dtype, BLOCK) if known else None


def _type_store(array: types.Type, index: types.Type, value: types.Type) -> types.Type | None:
    same = isinstance(value, Vector) and _vector_of(array) is not None and array.dtype == value.dtype
    return types.void if same and isinstance(index, types.Integer) else None


def _type_store_places(
    array: types.Type, index: types.Type, value: types.Type, step: types.Type, first: types.Type
) -> types.Type | None:
    known = isinstance(array, types.Array) and array.layout == "C" and array.dtype == types.int64
    whole = all(isinstance(t, types.Integer) for t in (index, step, first))
    return types.void if known and whole and isinstance(value, Vector) else None


def _type_prefetch(array: types.Type, index: types.Type, count: types.Type) -> types.Type | None:
    whole = isinstance(index, types.Integer) and isinstance(count, types.Integer)
    return types.void if _vector_of(array) and whole else None


def _type_fill(like: types.Type, value: types.Type) -> types.Type | None:
    return like if isinstance(like, Vector) and isinstance(value, types.Float) else None


def _type_transpose(
    source: types.Type,
    start: types.Type,
    stride: types.Type,
    target: types.Type,
    at: types.Type,
    step: types.Type,
) -> types.Type | None:
    same = _vector_of(source) is not None and _vector_of(source) == _vector_of(target)
    return types.void if same and all(isinstance(t, types.Integer) for t in (start, stride, at, step)) else None


def _element_pointer(context: Any, builder: Any, sig: Any, args: Any, reach: Any = 0) -> Any:
    """Pointer to a number of an array (args: array, flat index); so many after it are meant as well."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    if config.BOUNDSCHECK:
        last = builder.add(index, reach if isinstance(reach, ir.Value) else index.type(reach))
        for number in (index, last):
            cgutils.do_boundscheck(context, builder, number, array.nitems)
    return builder.gep(array.data, [index], inbounds=True)


def _block_pointers(context: Any, builder: Any, sig: Any, args: Any, vector: Any) -> list[Any]:
    """Pointers to BLOCK vectors of an array (args: array, first flat index, distance)."""
    step = context.cast(builder, args[2], sig.args[2], types.intp)
    reach = builder.add(builder.mul(step, step.type(BLOCK - 1)), step.type(BLOCK - 1))
    pointers = [_element_pointer(context, builder, sig, args, reach)]
    for _ in range(BLOCK - 1):
        pointers.append(builder.gep(pointers[-1], [step]))
    return [builder.bitcast(pointer, vector.as_pointer()) for pointer in pointers]


def _vector_pointer(context: Any, builder: Any, sig: Any, args: Any, vector: Any) -> Any:
    return builder.bitcast(_element_pointer(context, builder, sig, args, vector.count - 1), vector.as_pointer())


def _broadcast(builder: Any, vector: ir.VectorType, scalar: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


@_compiled(elements, _type_elements, types.Array)
def _elements(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.get_constant(types.intp, Vector(sig.args[0].dtype).count)


@_compiled(narrow_elements, _type_elements, types.Array)
def _narrow_elements(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return context.get_constant(types.intp, NARROW_BYTES * 8 // sig.args[0].dtype.bitwidth)


@_compiled(load, _type_load, types.Array, types.Integer)
def _load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = builder.load(_vector_pointer(context, builder, sig, args, sig.return_type.llvm))
    value.align = sig.return_type.dtype.bitwidth // 8  # arrays are only element-aligned
    return value


_compiled(load_block, _type_load_block, types.Array, types.Integer)(_load)
_compiled(load_narrow, _type_load_narrow, types.Array, types.Integer)(_load)


@_compiled(store, _type_store, types.Array, types.Integer, Vector)
def _store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    vector = sig.args[2]
    operation = builder.store(args[2], _vector_pointer(context, builder, sig, args, vector.llvm))
    operation.align = vector.dtype.bitwidth // 8
    return context.get_dummy_value()


@_compiled(store_places, _type_store_places, types.Array, types.Integer, Vector, types.Integer, types.Integer)
def _store_places(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    whole = ir.VectorType(ir.IntType(64), sig.args[2].count)
    places = builder.fptosi(args[2], whole)
    step, first = (_broadcast(builder, whole, context.cast(builder, args[i], sig.args[i], types.int64)) for i in (3, 4))
    places = builder.add(builder.mul(places, step), first)
    builder.store(places, _vector_pointer(context, builder, sig, args, whole)).align = 8
    return context.get_dummy_value()


@_compiled(prefetch, _type_prefetch, types.Array, types.Integer, types.Integer)
def _prefetch(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    byte = ir.IntType(8).as_pointer()
    first = builder.bitcast(builder.gep(data, [context.cast(builder, args[1], sig.args[1], types.intp)]), byte)
    function = builder.module.declare_intrinsic(
        "llvm.prefetch", (byte,), ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
    )
    count = context.cast(builder, args[2], sig.args[2], types.intp)
    per_line = count.type(_LINE_BYTES * 8 // sig.args[0].dtype.bitwidth)
    n_lines = builder.sdiv(builder.add(count, builder.sub(per_line, count.type(1))), per_line)
    with cgutils.for_range(builder, n_lines) as loop:
        line = builder.gep(first, [builder.mul(loop.index, loop.index.type(_LINE_BYTES))])
        # to be read, into the second cache, as data
        builder.call(function, [line, _INT32(0), _INT32(2), _INT32(1)])
    return context.get_dummy_value()


@_compiled(splat, _type_load, types.Array, types.Integer)
def _splat(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _broadcast(builder, sig.return_type.llvm, builder.load(_element_pointer(context, builder, sig, args)))


_compiled(splat_block, _type_load_block, types.Array, types.Integer)(_splat)
_compiled(splat_narrow, _type_load_narrow, types.Array, types.Integer)(_splat)


@_compiled(splat_like, _type_splat_like, Vector, types.Array, types.Integer)
def _splat_like(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _splat(context, builder, sig.replace(args=sig.args[1:]), args[1:])


@_compiled(transpose, _type_transpose, types.Array, *[types.Integer] * 2, types.Array, *[types.Integer] * 2)
def _transpose(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    dtype = sig.args[0].dtype
    vector = ir.VectorType(Vector(dtype).llvm.element, BLOCK)
    rows = []
    for pointer in _block_pointers(context, builder, _slice(sig, 0), args[:3], vector):
        rows.append(builder.load(pointer))
        rows[-1].align = dtype.bitwidth // 8
    # Three rounds of perfect shuffles of row i with row i + 4 transpose eight rows.
    half = BLOCK // 2
    low = [i // 2 + BLOCK * (i % 2) for i in range(BLOCK)]
    high = [half + i for i in low]
    for _ in range(3):
        pairs = [(rows[i], rows[i + half]) for i in range(half)]
        rows = [_pick(builder, a, b, mask) for a, b in pairs for mask in (low, high)]
    for row, pointer in zip(rows, _block_pointers(context, builder, _slice(sig, 3), args[3:], vector), strict=True):
        builder.store(row, pointer).align = dtype.bitwidth // 8
    return context.get_dummy_value()


def _type_deinterleave(
    source: types.Type, start: types.Type, target: types.Type, places: types.Type
) -> types.Type | None:
    same = _vector_of(source) is not None and _vector_of(source) == _vector_of(target)
    indices = isinstance(places, types.UniTuple) and isinstance(places.dtype, types.Integer)
    return types.void if same and indices and isinstance(start, types.Integer) else None


@_compiled(deinterleave, _type_deinterleave, types.Array, types.Integer, types.Array, types.UniTuple)
def _deinterleave(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    source, start, target, places = sig.args
    element, align = Vector(source.dtype).llvm.element, source.dtype.bitwidth // 8
    whole = ir.VectorType(element, BLOCK * places.count)
    rows = builder.load(_vector_pointer(context, builder, sig.replace(args=(source, start)), args[:2], whole))
    rows.align = align
    for j in range(places.count):
        column = _pick(builder, rows, rows, list(range(j, BLOCK * places.count, places.count)))
        at = (args[2], builder.extract_value(args[3], j))
        place = _vector_pointer(context, builder, sig.replace(args=(target, places.dtype)), at, column.type)
        builder.store(column, place).align = align
    return context.get_dummy_value()


def _slice(sig: Any, first: int) -> Any:
    return sig.replace(args=sig.args[first : first + 3])


@_compiled(fill, _type_fill, Vector, types.Float)
def _fill(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    scalar = context.cast(builder, args[1], sig.args[1], sig.return_type.dtype)
    return _broadcast(builder, sig.return_type.llvm, scalar)


@_compiled(huge, _unary, Vector)
def _huge(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    numpy_type = np.float64 if sig.return_type.dtype == types.float64 else np.float32
    return _constant(sig.return_type, float(np.finfo(numpy_type).max / 4))


# --- arithmetic -------------------------------------------------------------------------------


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """``a * b + c``; compiled, rounded once."""
    return a * b + c


def maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The larger of each pair; `b` where either is NaN."""
    return np.where(a > b, a, b)


def minimum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smaller of each pair; `b` where either is NaN."""
    return np.where(a < b, a, b)


def where_greater(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`x` where ``a > b``, else `y`."""
    return np.where(a > b, x, y)


@_compiled(fma, _ternary, Vector, Vector, Vector)
def _fma(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    vector = sig.return_type
    function = builder.module.declare_intrinsic(
        f"llvm.fma.{vector.suffix}", (), ir.FunctionType(vector.llvm, [vector.llvm] * 3)
    )
    return builder.call(function, args)


def _choose(comparison: str, function: Callable[..., Any]) -> None:
    @_compiled(function, _binary, Vector, Vector)
    def _(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(comparison, *args), *args)


def _operate(function: Callable[..., Any], opcode: str) -> None:
    @_compiled(function, _binary, Vector, Vector)
    def _(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, opcode)(*args)


_choose(">", maximum)
_choose("<", minimum)
_operate(operator.add, "fadd")
_operate(operator.sub, "fsub")
_operate(operator.mul, "fmul")
_operate(operator.truediv, "fdiv")


@_compiled(where_greater, _quaternary, Vector, Vector, Vector, Vector)
def _where_greater(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])


# --- sums over the elements ----------------------------------------------------------------------


def _halves(value: np.ndarray, until: int) -> np.ndarray:
    while value.shape[0] > until:
        value = value[: value.shape[0] // 2] + value[value.shape[0] // 2 :]
    return value


def total(value: np.ndarray) -> float:
    """Sum of the elements in float64, in a fixed tree order."""
    return float(_halves(value.astype(np.float64), 1)[0])


def add_totals(array: np.ndarray, index: int, values: tuple[np.ndarray, ...]) -> None:
    """Add the sums of several vectors to neighbouring float64 numbers from a flat index on.

    One transposing tree for all of them costs a third of as many calls of `total`. The number
    of vectors is a power of two, at most 8.
    """
    for i, value in enumerate(values):
        array.reshape(-1)[index + i] += total(value)


def add_wide(array: np.ndarray, index: int, value: np.ndarray) -> None:
    """Add a vector to neighbouring float64 numbers from a flat index on."""
    array.reshape(-1)[index : index + len(value)] += value


def _pick(builder: Any, a: Any, b: Any, indices: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_INT32, len(indices)), indices)
    return builder.shuffle_vector(a, b, mask)


def _fold(builder: Any, value: Any, until: int) -> Any:
    """Add the upper half of a vector to the lower one until few elements are left."""
    n = value.type.count
    while n > until:
        n //= 2
        low = _pick(builder, value, value, list(range(n)))
        value = builder.fadd(low, _pick(builder, value, value, list(range(n, 2 * n))))
    return value


def _widen(builder: Any, value: Any) -> Any:
    wide = ir.VectorType(ir.DoubleType(), value.type.count)
    return value if value.type.element == ir.DoubleType() else builder.fpext(value, wide)


def _type_reduction(value: types.Type) -> types.Type | None:
    return types.float64 if isinstance(value, Vector) else None


@_compiled(total, _type_reduction, Vector)
def _total(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = _fold(builder, _widen(builder, args[0]), 1)
    return builder.extract_element(value, ir.Constant(_INT32, 0))


def _type_add_totals(array: types.Type, index: types.Type, values: types.Type) -> types.Type | None:
    if isinstance(values, types.UniTuple) and isinstance(values.dtype, Vector):
        return types.void
    return None


@_compiled(add_totals, _type_add_totals, types.Array, types.Integer, types.UniTuple)
def _add_totals(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    count = sig.args[2].count
    # Each vector keeps `width` partial sums; halving them pairwise turns count vectors into one.
    width = max(count, 4)
    parts = [_widen(builder, _fold(builder, builder.extract_value(args[2], i), width)) for i in range(count)]
    partial = parts[0].type.count
    while len(parts) > 1 or partial > 1:
        pairs = zip(parts[::2], parts[1::2] or parts, strict=True)
        parts = [_join(builder, a, b, partial > 1) for a, b in pairs]
        partial = max(partial // 2, 1)
    sums = _pick(builder, parts[0], parts[0], list(range(count)))
    _accumulate(context, builder, sig, args, sums)
    return context.get_dummy_value()


def _type_add_wide(array: types.Type, index: types.Type, value: types.Type) -> types.Type | None:
    return types.void if isinstance(value, Vector) else None


@_compiled(add_wide, _type_add_wide, types.Array, types.Integer, Vector)
def _add_wide(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    _accumulate(context, builder, sig, args, _widen(builder, args[2]))
    return context.get_dummy_value()


def _join(builder: Any, a: Any, b: Any, add: bool) -> Any:
    """Two vectors in one: the sums of their neighbours, or just one after the other."""
    n = a.type.count
    if not add:
        return _pick(builder, a, b, list(range(2 * n)))
    even, odd = list(range(0, 2 * n, 2)), list(range(1, 2 * n, 2))
    return builder.fadd(_pick(builder, a, b, even), _pick(builder, a, b, odd))


def _accumulate(context: Any, builder: Any, sig: Any, args: Any, sums: Any) -> None:
    pointer = _vector_pointer(context, builder, sig, args, sums.type)
    before = builder.load(pointer)
    before.align = 8
    builder.store(builder.fadd(before, sums), pointer).align = 8


# --- threads ----------------------------------------------------------------------------------


def claim(counter: np.ndarray) -> int:
    """The number in a counter of shape (1,), which goes up by one: no two threads get the same."""
    number = int(counter[0])
    counter[0] += 1
    return number


def _type_claim(counter: types.Type) -> types.Type | None:
    return types.int64 if isinstance(counter, types.Array) and counter.dtype == types.int64 else None


@_compiled(claim, _type_claim, types.Array)
def _claim(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "monotonic")


# --- bits: what exp and log are made of -------------------------------------------------------

_MANTISSA_BITS = {64: 52, 32: 23}
_SQRT_HALF_BITS = {64: 0x3FE6A09E667F3BCD, 32: 0x3F3504F3}


def _bits(value: np.ndarray) -> tuple[np.ndarray, int]:
    width = 8 * value.dtype.itemsize
    return value.view(f"i{value.dtype.itemsize}"), width


def times_power_of_two(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """``p * 2**n`` of numbers in the normal range, where ``t = n + 1.5 * 2**m`` and m counts the mantissa's bits."""
    bits, width = _bits(t)
    return (_bits(p)[0] + (bits << _MANTISSA_BITS[width])).view(t.dtype)


def exponent(x: np.ndarray) -> np.ndarray:
    """``e`` with ``x = m * 2**e`` and m in [sqrt(1/2), sqrt(2)), for normal x > 0."""
    bits, width = _bits(x)
    return ((bits - _SQRT_HALF_BITS[width]) >> _MANTISSA_BITS[width]).astype(x.dtype)


def mantissa(x: np.ndarray) -> np.ndarray:
    """``m`` with ``x = m * 2**e`` and m in [sqrt(1/2), sqrt(2)), for normal x > 0."""
    bits, width = _bits(x)
    whole = (bits - _SQRT_HALF_BITS[width]) & -(1 << _MANTISSA_BITS[width])
    return (bits - whole).view(x.dtype)


@_compiled(times_power_of_two, _binary, Vector, Vector)
def _times_power_of_two(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    vector = sig.return_type
    number, power = (builder.bitcast(arg, vector.llvm_bits) for arg in args)
    shift = _constant(vector, _MANTISSA_BITS[vector.dtype.bitwidth], bits=True)
    return builder.bitcast(builder.add(number, builder.shl(power, shift)), vector.llvm)


def _offset_bits(builder: Any, vector: Vector, value: Any) -> tuple[Any, Any]:
    bits = builder.bitcast(value, vector.llvm_bits)
    offset = _constant(vector, _SQRT_HALF_BITS[vector.dtype.bitwidth], bits=True)
    return bits, builder.sub(bits, offset)


@_compiled(exponent, _unary, Vector)
def _exponent(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    vector = sig.return_type
    _, offset = _offset_bits(builder, vector, args[0])
    shift = _constant(vector, _MANTISSA_BITS[vector.dtype.bitwidth], bits=True)
    return builder.sitofp(builder.ashr(offset, shift), vector.llvm)


@_compiled(mantissa, _unary, Vector)
def _mantissa(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    vector = sig.return_type
    bits, offset = _offset_bits(builder, vector, args[0])
    mask = _constant(vector, -(1 << _MANTISSA_BITS[vector.dtype.bitwidth]), bits=True)
    return builder.bitcast(builder.sub(bits, builder.and_(offset, mask)), vector.llvm)
