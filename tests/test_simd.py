"""Vector operations against NumPy, vector exp and log against mpmath."""

import mpmath
import numpy as np
import pytest
from numba import config, njit, prange

from fastem.kernels import simd, vector_math

DTYPES = [np.float64, np.float32]


@njit
def _exp(x, out):
    for i in range(0, x.shape[0], simd.elements(x)):
        simd.store(out, i, vector_math.exp(simd.load(x, i)))


@njit
def _log(x, out):
    for i in range(0, x.shape[0], simd.elements(x)):
        simd.store(out, i, vector_math.log(simd.load(x, i)))


def _ulps(values, exact):
    """Distance of values from mpmath numbers, in units in the last place."""
    spacings = np.spacing(np.abs(np.array([float(e) for e in exact])).astype(values.dtype))
    return max(float(abs(mpmath.mpf(float(v)) - e) / float(s)) for v, e, s in zip(values, exact, spacings, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_within_2_ulp(dtype):
    rng = np.random.default_rng(0)
    floor = vector_math.FLOOR_64 if dtype == np.float64 else vector_math.FLOOR_32
    x = np.concatenate([rng.uniform(floor, 0, 3000), -(10.0 ** rng.uniform(-20, 0, 1000)), rng.uniform(-1, 1, 96)])
    x = x.astype(dtype)
    out = np.empty_like(x)
    _exp(x, out)
    with mpmath.workdps(40):
        assert _ulps(out, [mpmath.exp(float(v)) for v in x]) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_at_its_ends(dtype):
    floor = vector_math.FLOOR_64 if dtype == np.float64 else vector_math.FLOOR_32
    x = np.full(64, -np.inf, dtype=dtype)
    x[:6] = [0, -0.0, floor, np.nextafter(dtype(floor), dtype(0)), np.finfo(dtype).min, 2 * floor]
    out = np.empty_like(x)
    _exp(x, out)
    assert out[0] == out[1] == 1
    assert out[2] == 0 and out[3] > np.finfo(dtype).tiny
    assert np.all(out[4:] == 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_is_within_2_ulp(dtype):
    rng = np.random.default_rng(1)
    big = 300 if dtype == np.float64 else 37
    x = np.concatenate(
        [
            10 ** rng.uniform(-big, big, 2000),
            rng.uniform(0.5, 2, 2000),
            1 + 1e-4 * rng.normal(size=64),
            np.arange(1, 33),
        ]
    ).astype(dtype)
    x = x[: len(x) // 64 * 64]
    out = np.empty_like(x)
    _log(x, out)
    with mpmath.workdps(40):
        assert _ulps(out[x != 1], [mpmath.log(float(v)) for v in x[x != 1]]) <= 2
    assert np.all(out[x == 1] == 0)


@njit
def _all_operations(a, b, c, out):
    w = simd.elements(a)
    x, y, z = simd.load(a, 0), simd.load(b, 0), simd.load(c, 0)
    simd.store(out, 0, x + y)
    simd.store(out, w, x - y)
    simd.store(out, 2 * w, x * y)
    simd.store(out, 3 * w, x / y)
    simd.store(out, 4 * w, simd.fma(x, y, z))
    simd.store(out, 5 * w, simd.maximum(x, y))
    simd.store(out, 6 * w, simd.minimum(x, y))
    simd.store(out, 7 * w, simd.where_greater(x, y, z, x))
    simd.store(out, 8 * w, simd.fill(x, 2.5))
    simd.store(out, 9 * w, simd.splat(a, 3))
    simd.store(out, 10 * w, simd.huge(x))
    simd.store(out, 11 * w, simd.exponent(simd.maximum(x * x, simd.fill(x, 0.1))))
    simd.store(out, 12 * w, simd.mantissa(simd.maximum(x * x, simd.fill(x, 0.1))))
    return simd.total(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_operations_mean_what_numpy_says(dtype):
    rng = np.random.default_rng(2)
    w = simd.VECTOR_BYTES // np.dtype(dtype).itemsize
    a, b, c = rng.normal(size=(3, w)).astype(dtype)
    out = np.empty(13 * w, dtype)
    total = _all_operations(a, b, c, out)
    square = np.maximum(a * a, dtype(0.1))
    mantissa, exponent = np.frexp(square)
    low = mantissa < np.sqrt(0.5)
    expected = [
        a + b, a - b, a * b, a / b, a * b + c, np.maximum(a, b), np.minimum(a, b), np.where(a > b, c, a),
        np.full(w, 2.5), np.full(w, a[3]), np.full(w, np.finfo(dtype).max / 4),
        exponent - low, np.where(low, 2 * mantissa, mantissa),
    ]  # fmt: skip
    np.testing.assert_allclose(out.reshape(13, w), np.array(expected, dtype), rtol=4 * np.finfo(dtype).eps, atol=1e-7)
    assert total == pytest.approx(float(a.astype(np.float64).sum()), rel=1e-13)


@njit
def _narrow_operations(a, b, out):
    w = simd.narrow_elements(a)
    x, y = simd.load_narrow(a, 0), simd.load_narrow(b, 1)
    simd.store(out, 0, x * y)
    simd.store(out, w, simd.splat_narrow(a, 2) - y)
    simd.store(out, 2 * w, x + simd.splat_like(y, b, 2))
    simd.store(out, 3 * w, simd.fma(x, simd.fill(y, 0.5), simd.huge(x)))
    return w


@pytest.mark.parametrize("dtype", DTYPES)
def test_narrow_vectors(dtype):
    w = simd.NARROW_BYTES // np.dtype(dtype).itemsize
    a, b = np.random.default_rng(7).normal(size=(2, w + 1)).astype(dtype)
    out = np.empty(4 * w, dtype)
    assert _narrow_operations(a, b, out) == w
    x, y = a[:w], b[1:]
    expected = [x * y, a[2] - y, x + b[2], np.full(w, np.finfo(dtype).max / 4)]
    np.testing.assert_allclose(out.reshape(4, w), np.array(expected, dtype), rtol=2 * np.finfo(dtype).eps)


@njit
def _sums(x, out):
    w = simd.elements(x)
    a, b, c, d = simd.load(x, 0), simd.load(x, w), simd.load(x, 2 * w), simd.load(x, 3 * w)
    e, f, g, h = simd.load(x, 4 * w), simd.load(x, 5 * w), simd.load(x, 6 * w), simd.load(x, 7 * w)
    simd.add_totals(out, 0, (a,))
    simd.add_totals(out, 1, (a, b))
    simd.add_totals(out, 3, (a, b, c, d))
    simd.add_totals(out, 7, (a, b, c, d, e, f, g, h))


@pytest.mark.parametrize("dtype", DTYPES)
def test_totals_of_several_vectors(dtype):
    w = simd.VECTOR_BYTES // np.dtype(dtype).itemsize
    x = np.random.default_rng(3).integers(-50, 50, 8 * w).astype(dtype)
    out = np.ones(15)
    _sums(x, out)
    sums = x.reshape(8, w).sum(axis=1)
    np.testing.assert_array_equal(out, 1 + np.concatenate([sums[:1], sums[:2], sums[:4], sums]))


@njit
def _ask_for(x, index, count):
    simd.prefetch(x, index, count)
    return simd.total(simd.load(x, 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("index", "count"), [(0, 64), (3, 1), (60, 10_000), (2**40, 16), (5, 0)])
def test_prefetch_changes_nothing(dtype, index, count):
    x = np.arange(64, dtype=dtype)
    before = x.copy()
    assert _ask_for(x, index, count) == x[: simd.VECTOR_BYTES // x.itemsize].sum()
    np.testing.assert_array_equal(x, before)


@njit
def _places(x, out):
    for i in range(0, x.shape[0], simd.elements(x)):
        simd.store_places(out, i, simd.load(x, i), 8, 100)


@pytest.mark.parametrize("dtype", DTYPES)
def test_places(dtype):
    x = np.random.default_rng(4).integers(0, 2**24, 256).astype(dtype)
    out = np.zeros(256, np.int64)
    _places(x, out)
    np.testing.assert_array_equal(out, 100 + 8 * x.astype(np.int64))


@njit
def _transpose(x, stride, out, step):
    simd.transpose(x, 2, stride, out, 1, step)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(dtype):
    x = np.arange(200, dtype=dtype)
    out = np.zeros(8 * 30 + 10, dtype)
    _transpose(x, 11, out, 30)
    for i in range(8):
        for j in range(8):
            assert out[1 + j * 30 + i] == x[2 + i * 11 + j]


@pytest.mark.skipif(not config.BOUNDSCHECK, reason="bounds are not checked")
@pytest.mark.parametrize("wrong", [-1, 1])
def test_out_of_bounds(wrong):
    """With NUMBA_BOUNDSCHECK=1, vectors are checked like indices."""
    rows, out = np.zeros(simd.BLOCK**2), np.zeros(simd.BLOCK**2)
    first, last = 0, len(rows) - simd.BLOCK
    edge = first if wrong < 0 else last
    _copy_block(rows, edge, out, edge)
    _transpose_all(rows, first, out, first)
    for start, at in [(edge + wrong, edge), (edge, edge + wrong)]:
        with pytest.raises(IndexError):
            _copy_block(rows, start, out, at)
    for start, at in [(first + wrong, first), (first, first + wrong)]:
        with pytest.raises(IndexError):
            _transpose_all(rows, start, out, at)


@njit
def _copy_block(rows, start, out, at):
    simd.store(out, at, simd.load_block(rows, start))


@njit
def _transpose_all(rows, start, out, at):
    simd.transpose(rows, start, simd.BLOCK, out, at, simd.BLOCK)


@njit(parallel=True)
def _claim_all(counter, owners, n_workers):
    for worker in prange(n_workers):
        number = simd.claim(counter)
        while number < owners.shape[1]:
            owners[worker, number] += 1
            number = simd.claim(counter)


def test_no_number_is_claimed_twice():
    owners = np.zeros((8, 20_000), np.int64)
    _claim_all(np.zeros(1, np.int64), owners, 8)
    np.testing.assert_array_equal(owners.sum(axis=0), 1)


@njit
def _deinterleave(rows, out, d):
    m = out.shape[1]
    if d == 1:
        simd.deinterleave(rows, 3, out, (0,))
    elif d == 2:
        simd.deinterleave(rows, 3, out, (0, m))
    elif d == 5:
        simd.deinterleave(rows, 3, out, (0, m, 2 * m, 3 * m, 4 * m))
    else:
        simd.deinterleave(rows, 3, out, (0, m, 2 * m, 3 * m, 4 * m, 5 * m, 6 * m))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 5, 7])
def test_deinterleave(dtype, d):
    rows = np.random.default_rng(d).normal(size=3 + simd.BLOCK * d).astype(dtype)
    out = np.zeros((d, simd.BLOCK), dtype)
    _deinterleave(rows, out, d)
    np.testing.assert_array_equal(out, rows[3:].reshape(simd.BLOCK, d).T)
