"""exp and log of vectors, at most 2 units in the last place off.

Numba has no vector math library; these are the two functions a softmax needs. The polynomials
are Chebyshev fits in 60 digits (errors below 4e-18 for float64, 2e-9 for float32).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from fastem.kernels.simd import Vector, exponent, fill, fma, mantissa, maximum, times_power_of_two, where_greater

__all__ = ["exp", "gap", "log", "log_gap"]

LOG2_E = 1 / math.log(2)
LOG_2 = math.log(2)

# Smaller results are 0: products with denormal numbers are many times slower.
FLOOR_64 = -700.0
FLOOR_32 = -80.0


@njit(error_model="numpy")
def _exp_64(x):  # type: ignore[no-untyped-def]
    """Exp in float64, 0 below -700; x <= 709."""
    floor = fill(x, FLOOR_64)
    z = maximum(x, floor)
    magic = fill(x, 6755399441055744.0)  # 1.5 * 2**52: adding it rounds to an integer
    t = fma(z, fill(x, LOG2_E), magic)
    n = t - magic
    # ln 2 in two parts, so that n * ln 2 is subtracted exactly
    r = fma(n, fill(x, -1.42860682030941723212e-6), fma(n, fill(x, -0.693145751953125), z))
    # even and odd powers apart, so that they do not wait for each other; 1 and r come last, and lose nothing
    y = r * r
    even = fma(fill(x, 2.7632654722527791888e-7), y, fill(x, 2.4801485441561312966e-5))
    odd = fma(fill(x, 2.5110049204818659792e-8), y, fill(x, 2.7557240887229868596e-6))
    even = fma(even, y, fill(x, 1.3888888952352862866e-3))
    odd = fma(odd, y, fill(x, 1.9841269890076402829e-4))
    even = fma(even, y, fill(x, 4.166666666648795252e-2))
    odd = fma(odd, y, fill(x, 8.3333333333195896163e-3))
    even = fma(even, y, fill(x, 0.50000000000000184039))
    odd = fma(odd, y, fill(x, 0.1666666666666668082))
    p = fma(fma(odd, r, even), y, r) + fill(x, 1.0)
    return where_greater(x, floor, times_power_of_two(p, t), fill(x, 0.0))


@njit(error_model="numpy")
def _exp_32(x):  # type: ignore[no-untyped-def]
    """Exp in float32, 0 below -80; x <= 88."""
    floor = fill(x, FLOOR_32)
    z = maximum(x, floor)
    magic = fill(x, 12582912.0)  # 1.5 * 2**23
    t = fma(z, fill(x, LOG2_E), magic)
    n = t - magic
    r = fma(n, fill(x, 2.12194440e-4), fma(n, fill(x, -0.693359375), z))
    y = r * r
    even = fma(fill(x, 0.0013941118895837000816), y, fill(x, 0.041666352771112211265))
    odd = fma(fill(x, 0.0083751347746243251724), y, fill(x, 0.1666641541404117843))
    even = fma(even, y, fill(x, 0.50000000471460574196))
    p = fma(fma(odd, r, even), y, r) + fill(x, 1.0)
    return where_greater(x, floor, times_power_of_two(p, t), fill(x, 0.0))


@njit(error_model="numpy")
def _series_64(z):  # type: ignore[no-untyped-def]
    """``z p(z)`` with ``log m = 2 f + f z p(z)``, f = (m - 1) / (m + 1), z = f^2, in float64."""
    p = fma(fill(z, 0.13086767009948173697), z, fill(z, 0.13268759668560612688))
    p = fma(p, z, fill(z, 0.15386240205813477879))
    p = fma(p, z, fill(z, 0.181817956308847532))
    p = fma(p, z, fill(z, 0.22222222391800469329))
    p = fma(p, z, fill(z, 0.28571428570803230015))
    p = fma(p, z, fill(z, 0.40000000000000877606))
    return fma(p, z, fill(z, 0.66666666666666666465)) * z


@njit(error_model="numpy")
def _series_32(z):  # type: ignore[no-untyped-def]
    """The same in float32."""
    p = fma(fill(z, 0.29580053043188442133), z, fill(z, 0.39988778282162807728))
    return fma(p, z, fill(z, 0.66666685045156029067)) * z


@njit(error_model="numpy")
def _log_64(x):  # type: ignore[no-untyped-def]
    """Log of normal x > 0 in float64, as 2 atanh((m - 1) / (m + 1)) + e log 2."""
    m = mantissa(x)
    one = fill(x, 1.0)
    f = (m - one) / (m + one)
    return fma(exponent(x), fill(x, LOG_2), fma(_series_64(f * f), f, f + f))


@njit(error_model="numpy")
def _log_32(x):  # type: ignore[no-untyped-def]
    """Log of normal x > 0 in float32."""
    m = mantissa(x)
    one = fill(x, 1.0)
    f = (m - one) / (m + one)
    return fma(exponent(x), fill(x, LOG_2), fma(_series_32(f * f), f, f + f))


@njit(error_model="numpy")
def _log_gap_64(x):  # type: ignore[no-untyped-def]
    """As f (m - 1 - z p(z)) where x is its own mantissa m, since m - 1 - 2 f is f (m - 1)."""
    m = mantissa(x)
    one = fill(x, 1.0)
    f = (m - one) / (m + one)
    series = _series_64(f * f)
    far = (x - one) - fma(exponent(x), fill(x, LOG_2), fma(series, f, f + f))
    off = x - m
    return where_greater(off * off, fill(x, 0.0), far, f * ((m - one) - series))


@njit(error_model="numpy")
def _log_gap_32(x):  # type: ignore[no-untyped-def]
    """The same in float32."""
    m = mantissa(x)
    one = fill(x, 1.0)
    f = (m - one) / (m + one)
    series = _series_32(f * f)
    far = (x - one) - fma(exponent(x), fill(x, LOG_2), fma(series, f, f + f))
    off = x - m
    return where_greater(off * off, fill(x, 0.0), far, f * ((m - one) - series))


@njit(error_model="numpy")
def _gap_64(u, y):  # type: ignore[no-untyped-def]
    """As f (u - z p(z)) where y is its own mantissa m, since u - 2 f is f u."""
    m = mantissa(y)
    one = fill(y, 1.0)
    zero = fill(y, 0.0)
    off = (y - m) * (y - m)
    top = where_greater(off, zero, m - one, u)
    f = top / (m + one)
    series = _series_64(f * f)
    far = u - fma(exponent(y), fill(y, LOG_2), fma(series, f, f + f))
    return where_greater(off, zero, far, f * (top - series))


@njit(error_model="numpy")
def _gap_32(u, y):  # type: ignore[no-untyped-def]
    """The same in float32."""
    m = mantissa(y)
    one = fill(y, 1.0)
    zero = fill(y, 0.0)
    off = (y - m) * (y - m)
    top = where_greater(off, zero, m - one, u)
    f = top / (m + one)
    series = _series_32(f * f)
    far = u - fma(exponent(y), fill(y, LOG_2), fma(series, f, f + f))
    return where_greater(off, zero, far, f * (top - series))


def _by_precision(double: Callable[..., Any], single: Callable[..., Any]) -> Callable[..., Any]:
    """The implementation for the element type of a compiled vector."""

    def implementation(x):  # type: ignore[no-untyped-def]  # Numba compares signatures
        if not isinstance(x, Vector):
            return None
        chosen = double if x.dtype == types.float64 else single

        def call(x):  # type: ignore[no-untyped-def]
            return chosen(x)

        return call

    return implementation


def _pair_by_precision(double: Callable[..., Any], single: Callable[..., Any]) -> Callable[..., Any]:
    """The same of two vectors."""

    def implementation(u, y):  # type: ignore[no-untyped-def]  # Numba compares signatures
        if not isinstance(u, Vector):
            return None
        chosen = double if u.dtype == types.float64 else single

        def call(u, y):  # type: ignore[no-untyped-def]
            return chosen(u, y)

        return call

    return implementation


def exp(x: np.ndarray) -> np.ndarray:
    """Exponential of a vector; exactly 0 below -700 (float64) or -80 (float32)."""
    return _exp_64(x) if x.dtype == np.float64 else _exp_32(x)


def log(x: np.ndarray) -> np.ndarray:
    """Natural logarithm of a vector of normal positive numbers."""
    return _log_64(x) if x.dtype == np.float64 else _log_32(x)


def log_gap(x: np.ndarray) -> np.ndarray:
    """``x - 1 - log x`` of a vector of normal positive numbers, to all digits near 1 too."""
    return _log_gap_64(x) if x.dtype == np.float64 else _log_gap_32(x)


def gap(u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``u - log(1 + u)`` of a vector, with ``y = 1 + u`` a normal positive number: to all digits that both have."""
    return _gap_64(u, y) if u.dtype == np.float64 else _gap_32(u, y)


overload(gap)(_pair_by_precision(_gap_64, _gap_32))
overload(log_gap)(_by_precision(_log_gap_64, _log_gap_32))
overload(exp)(_by_precision(_exp_64, _exp_32))
overload(log)(_by_precision(_log_64, _log_32))
