"""Probabilities and moments of truncated distributions, inside kernels: what is known of a censored value.

The logarithm of an exponential, Weibull, gamma or log-normal value has a log-concave density. Where there is no closed
form, integrals over an interval are Gauss-Legendre sums over that part of it where the density is not negligible; the
density is measured from its highest point there, so that no tail underflows and no narrow interval cancels. Towards
-inf, where such a density has a long tail, there are series of positive terms instead.
"""

import math

import numpy as np
from numba import njit

from fastem.kernels.simd import elements, fill, fma, load, total, where_greater
from fastem.kernels.vector_math import exp, log_gap

__all__ = [
    "exponential_moments", "gamma_moments", "log_less", "log_of_ratio", "normal_log_probability", "normal_moments",
    "position_within",
]  # fmt: skip

# Rules for densities that fall on both sides, and on one side only: all digits on 17 and on 8.5 standard deviations.
# What fills the second one up to a multiple of what a vector holds has no weight.
_BOTH, _ONE, _END = 48, 24, 80


def _rules() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on (0, 1) of both rules, one after the other."""
    x, w = np.zeros(_END), np.zeros(_END)
    for first, count in ((0, _BOTH), (_BOTH, _ONE)):
        some = slice(first, first + count)
        x[some], w[some] = np.polynomial.legendre.leggauss(count)
    return (x + 1) / 2, w / 2


_NODES, _WEIGHTS = _rules()
# Logarithm of what a density falls by where it is negligible.
_DROP = 36.0
# Longest interval of logarithms that is one sum; of longer ones series make the lower part.
_LONG = 8.0

_TERMS = 20  # of a series in a value up to 1: the last one is below 1e-18
_INVERSES = 1 / np.arange(1.0, _TERMS + 2)
_HARMONIC = np.cumsum(_INVERSES)
_HARMONIC_SQUARES = np.cumsum(_INVERSES**2)

_ALMOST_1 = 1 - 1e-15
_GAMMA = float(np.euler_gamma)
_E_TLOG2 = float(np.pi**2 / 6 + np.euler_gamma**2 - 2 * np.euler_gamma)
_ROOT_HALF = math.sqrt(0.5)
_ROOT_2_PI = math.sqrt(2 / math.pi)
_LOG_2PI = math.log(2 * math.pi)


# --- numbers ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def log_of_ratio(a, b):  # type: ignore[no-untyped-def]
    """``log (b / a)`` for 0 <= a <= b, to all digits also where they are near each other."""
    if a <= 0.0 or b == math.inf:
        return math.inf
    if b - a < a:
        return math.log1p((b - a) / a)
    return math.log(b) - math.log(a)


@njit(error_model="numpy")
def log_less(log_h):  # type: ignore[no-untyped-def]
    """``log (1 - exp -h)`` from ``log h``."""
    if log_h > 4.0:  # exp(-h) is below 1e-23
        return 0.0
    h = math.exp(log_h)
    return log_h - 0.5 * h if h < 1e-7 else math.log(-math.expm1(-h))


@njit(error_model="numpy")
def position_within(h):  # type: ignore[no-untyped-def]
    """Mean of an exponential value of rate h on (0, 1), ``1 / h - 1 / expm1 h``."""
    if h < 0.1:
        return 0.5 - h / 12 + h**3 / 720 - h**5 / 30240
    return 1 / h - 1 / math.expm1(h) if h < 700.0 else 1 / h


@njit(error_model="numpy")
def _gap_from(value, centre, log_ratio):  # type: ignore[no-untyped-def]
    """``r - 1 - log r`` of the ratio r of a value to a centre."""
    u = (value - centre) / centre
    if abs(u) > 0.3:
        return u - log_ratio
    f = u / (2 + u)
    z = f * f
    odd = 0.0
    for i in range(21, 1, -2):
        odd = z * (1 / i + odd)
    return f * (u - 2 * odd)


@njit(error_model="numpy")
def _rule(begin, width):  # type: ignore[no-untyped-def]
    """Which nodes to take where the density is highest at 0, for a part of it that begins there and is so wide."""
    if begin < 0.0 < begin + width:
        return 0, _BOTH
    return _BOTH, _BOTH + _ONE


@njit(error_model="numpy")
def _exp_minus_one(v):  # type: ignore[no-untyped-def]
    """``exp v - 1`` of a vector, to all digits near 0 too."""
    p = fma(fill(v, 2.08767569878681e-09), v, fill(v, 2.505210838544172e-08))
    p = fma(p, v, fill(v, 2.755731922398589e-07))
    p = fma(p, v, fill(v, 2.7557319223985893e-06))
    p = fma(p, v, fill(v, 2.48015873015873e-05))
    p = fma(p, v, fill(v, 0.0001984126984126984))
    p = fma(p, v, fill(v, 0.001388888888888889))
    p = fma(p, v, fill(v, 0.008333333333333333))
    p = fma(p, v, fill(v, 0.041666666666666664))
    p = fma(p, v, fill(v, 0.16666666666666666))
    p = fma(p, v, fill(v, 0.5))
    p = fma(p, v, fill(v, 1.0))
    return where_greater(v * v, fill(v, 0.0625), exp(v) - fill(v, 1.0), p * v)


# --- exponential and gamma values -------------------------------------------------------------


@njit(error_model="numpy")
def _support(shape, first, length):  # type: ignore[no-untyped-def]
    """Where the density ``exp(shape t - exp t)`` is not negligible for t in [log first, log first + length].

    Returns exp t at its highest point, where to begin from there, and how far to go.
    """
    top, left = first, 0.0
    if first < shape:
        left = log_of_ratio(first, shape)
        top = shape
        if left > length:
            left = length
            top = first * math.exp(length)
    right = length - left
    slope = abs(top - shape)
    # to the right it falls at least like a parabola, and like exp t
    right = min(right, 2 * _DROP / (slope + math.sqrt(slope * slope + 2 * top * _DROP)))
    if right > 0.5:
        for _ in range(3):
            right = min(right, math.log1p((_DROP + shape * right) / top))
    if left > 0.0:
        near = 2 * _DROP / (slope + math.sqrt(slope * slope + 4 * top * _DROP / 3))
        left = min(left, near if near < 1.0 else (_DROP + top) / shape)
    return top, -left, left + right


@njit(error_model="numpy")
def _gamma_piece(shape, first, length, per):  # type: ignore[no-untyped-def]
    """Of a gamma value y with log y in [log first, log first + length] and x = per y.

    Returns the log-probability, less that of the density's constant, and means of x - 1 and x - 1 - log x.
    """
    top, begin, width = _support(shape, first, length)
    s0 = fill(load(_NODES, 0), 0.0)
    s1 = s0
    s2 = s0
    x = fill(s0, top * per)
    before = fill(s0, top * per - 1.0)
    start, stop = _rule(begin, width)
    for i in range(start, stop, elements(_NODES)):
        v = fma(fill(s0, width), load(_NODES, i), fill(s0, begin))
        grown = _exp_minus_one(v)
        w = load(_WEIGHTS, i) * exp(fma(fill(s0, shape), v, fill(s0, -top) * grown))
        s0 = s0 + w
        s1 = fma(w, fma(x, grown, before), s1)
        s2 = fma(w, log_gap(fma(x, grown, x)), s2)
    mass = total(s0)
    log_p = math.log(width * mass) - shape * _gap_from(top, shape, math.log(top / shape))
    return log_p, total(s1) / mass, total(s2) / mass


@njit(error_model="numpy")
def _gamma_start(shape, log_end, log_shape, per, log_per):  # type: ignore[no-untyped-def]
    """The same of a gamma value up to an end, which is at most (shape + 1) / 2.

    The lower incomplete gamma function is ``end^shape exp(-end) sum end^n / (shape (shape + 1) ... (shape + n))``, and
    its derivative by the shape is made of the same terms.
    """
    end = math.exp(log_end)
    term = 1 / shape
    sum_inverse = term
    mass = term
    logs = term * term
    rest = 0.0
    at = shape
    while term > 1e-17 * mass:
        at += 1.0
        inverse = 1 / at
        term *= end * inverse
        sum_inverse += inverse
        rest += term
        mass += term
        logs += term * sum_inverse
    one = per * shape * rest / mass - 1.0
    log_p = math.log(mass) - shape * _gap_from(end, shape, log_end - log_shape)
    return log_p, one, one - (log_end - logs / mass + log_per)


@njit(error_model="numpy")
def gamma_moments(shape, scale, unit, constant, one, two, a, b):  # type: ignore[no-untyped-def]
    """Log-probability of a gamma value between a and b, and means of x - 1 and x - 1 - log x, x in a unit, there.

    `constant` is ``log (sqrt(shape / 2 pi))`` less the error of Stirling's formula; `one` and `two` are the means of
    all values.
    """
    per = scale / unit
    log_per, log_shape, log_scale = math.log(per), math.log(shape), math.log(scale)
    first = min(a / scale, 1e100)
    length = log_of_ratio(a, b)
    low = 0.5 * (shape + 1)
    if first >= low or (length < _LONG and first > 1e-290):
        log_p, m1, m2 = _gamma_piece(shape, first, length, per)
        return constant + log_p, m1, m2
    before = -math.inf  # log-probability of what lies below a
    b1 = b2 = 0.0
    if first > 1e-290:
        before, b1, b2 = _gamma_start(shape, math.log(a) - log_scale, log_shape, per, log_per)
    if b == math.inf:
        q = min(math.exp(constant + before), _ALMOST_1)
        return math.log1p(-q), (one - q * b1) / (1 - q), (two - q * b2) / (1 - q)
    log_end = math.log(b) - log_scale
    log_p, m1, m2 = _gamma_start(shape, min(log_end, math.log(low)), log_shape, per, log_per)
    q = min(math.exp(before - log_p), _ALMOST_1)
    log_p, m1, m2 = log_p + math.log1p(-q), (m1 - q * b1) / (1 - q), (m2 - q * b2) / (1 - q)
    if log_end > math.log(low):
        log_q, c1, c2 = _gamma_piece(shape, low, log_end - math.log(low), per)
        more = 1 / (1 + math.exp(min(log_p - log_q, 700.0)))
        highest = max(log_p, log_q)
        log_p = highest + math.log(math.exp(log_p - highest) + math.exp(log_q - highest))
        m1, m2 = m1 + more * (c1 - m1), m2 + more * (c2 - m2)
    return constant + log_p, m1, m2


@njit(error_model="numpy")
def _exponential_piece(first, length):  # type: ignore[no-untyped-def]
    """Of an exponential value e with log e in [log first, log first + length].

    Returns the logarithm of a factor, and by that factor the integrals of 1, log e, e, e log e, e log^2 e.
    """
    top, begin, width = _support(1.0, first, length)
    s0 = fill(load(_NODES, 0), 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    s4 = s0
    log_top = math.log(top)
    start, stop = _rule(begin, width)
    for i in range(start, stop, elements(_NODES)):
        v = fma(fill(s0, width), load(_NODES, i), fill(s0, begin))
        grown = _exp_minus_one(v)
        w = load(_WEIGHTS, i) * exp(fma(fill(s0, -top), grown, v))
        t = v + fill(s0, log_top)
        e = w * (grown + fill(s0, 1.0))
        s0 = s0 + w
        s1 = fma(w, t, s1)
        s2 = s2 + e
        s3 = fma(e, t, s3)
        s4 = fma(e * t, t, s4)
    return (
        log_top - top + math.log(width), total(s0), total(s1),
        top * total(s2), top * total(s3), top * total(s4),
    )  # fmt: skip


@njit(error_model="numpy")
def _exponential_start(log_end):  # type: ignore[no-untyped-def]
    """The same of an exponential value up to an end, which is at most 1; the series are those of `_gamma_start`."""
    end = math.exp(log_end)
    term = 1.0  # end^n / n!
    s0 = s1 = s2 = s3 = s4 = 0.0
    for n in range(_TERMS - 1):
        term1 = term * _INVERSES[n]
        term2 = term1 * _INVERSES[n + 1]
        t = log_end - (_HARMONIC[n + 1] - 1.0)
        s0 += term1
        s1 += term1 * (log_end - _HARMONIC[n])
        s2 += term2
        s3 += term2 * t
        s4 += term2 * (t * t + (_HARMONIC_SQUARES[n + 1] - 1.0))
        term = term1 * end
    return log_end - end, s0, s1, end * s2, end * s3, end * s4


@njit(error_model="numpy")
def _joined(one, two, sign):  # type: ignore[no-untyped-def]
    """Integrals over two parts, or over one less the other, by the factor of the larger one."""
    factor = max(one[0], two[0])
    p = math.exp(one[0] - factor)
    q = sign * math.exp(two[0] - factor)
    return (
        factor, p * one[1] + q * two[1], p * one[2] + q * two[2],
        p * one[3] + q * two[3], p * one[4] + q * two[4], p * one[5] + q * two[5],
    )  # fmt: skip


@njit(error_model="numpy")
def exponential_moments(log_a, log_b, length):  # type: ignore[no-untyped-def]
    """Means of log e, e, e log e, e log^2 e of an exponential value e of rate 1.

    It lies between two values with given logarithms, maybe infinite ones, so far from each other.
    """
    is_from_0 = log_a < -650.0
    if log_a >= 0.0 or (length < _LONG and not is_from_0):
        found = _exponential_piece(math.exp(log_a), length)
    else:
        if log_b == math.inf:
            found = (0.0, 1.0, -_GAMMA, 1.0, 1.0 - _GAMMA, _E_TLOG2)
        else:
            found = _exponential_start(min(log_b, 0.0))
            if log_b > 0.0:
                found = _joined(found, _exponential_piece(1.0, log_b), 1.0)
        if not is_from_0:
            found = _joined(found, _exponential_start(log_a), -1.0)
    mass = found[1]
    return found[2] / mass, found[3] / mass, found[4] / mass, found[5] / mass


# --- normal values ----------------------------------------------------------------------------


@njit(error_model="numpy")
def _inverse_mills(z):  # type: ignore[no-untyped-def]
    """Density over the probability of what lies above z, of a standard normal value."""
    x = z * _ROOT_HALF
    if x < 0.0:
        return _ROOT_2_PI * math.exp(-x * x) / math.erfc(x)
    return _ROOT_2_PI / _erfcx(x)


@njit(error_model="numpy")
def _erfcx(x):  # type: ignore[no-untyped-def]
    """``exp(x^2) erfc x`` for x >= 0."""
    if x < 20.0:
        return math.exp(x * x) * math.erfc(x)
    z = 0.5 / (x * x)
    series = 1 - z * (1 - 3 * z * (1 - 5 * z * (1 - 7 * z * (1 - 9 * z * (1 - 11 * z)))))
    return series / (x * math.sqrt(math.pi))


@njit(error_model="numpy")
def _log_above(z):  # type: ignore[no-untyped-def]
    """Log-probability that a standard normal value is above z."""
    x = z * _ROOT_HALF
    if x < 0.0:
        return math.log1p(-0.5 * math.erfc(-x))
    return math.log(0.5 * _erfcx(x)) - x * x


@njit(error_model="numpy")
def _normal_piece(first, length):  # type: ignore[no-untyped-def]
    """Log-probability of a standard normal value in [first, first + length], means of it and its square there."""
    last = first + length
    top = min(max(first, 0.0), last)
    far = abs(top)
    reach = 2 * _DROP / (far + math.sqrt(far * far + 2 * _DROP))
    if top == first:
        begin, width = 0.0, min(length, reach)
    elif top == last:
        width = min(length, reach)
        begin = -width
    else:
        begin = -min(-first, reach)
        width = min(last, reach) - begin
    s0 = fill(load(_NODES, 0), 0.0)
    s1 = s0
    s2 = s0
    start, stop = _rule(begin, width)
    for i in range(start, stop, elements(_NODES)):
        v = fma(fill(s0, width), load(_NODES, i), fill(s0, begin))
        w = load(_WEIGHTS, i) * exp(fma(v, fill(s0, -0.5), fill(s0, -top)) * v)
        s0 = s0 + w
        s1 = fma(w, v, s1)
        s2 = fma(w * v, v, s2)
    mass = total(s0)
    mean, square = total(s1) / mass, total(s2) / mass
    log_p = math.log(width * mass) - 0.5 * (top * top + _LOG_2PI)
    return log_p, top + mean, top * top + 2 * top * mean + square


@njit(error_model="numpy")
def normal_log_probability(first, last, length):  # type: ignore[no-untyped-def]
    """Log-probability of a standard normal value between two ends, maybe infinite ones, so far from each other."""
    if last == math.inf:
        return _log_above(first) if first > -math.inf else 0.0
    if first == -math.inf:
        return _log_above(-last)
    return _normal_piece(first, length)[0]


@njit(error_model="numpy")
def normal_moments(first, last, length):  # type: ignore[no-untyped-def]
    """Means of a standard normal value and of its square between two ends, maybe infinite ones."""
    if last == math.inf:
        if first == -math.inf:
            return 0.0, 1.0
        ratio = _inverse_mills(first)
        return ratio, 1.0 + first * ratio
    if first == -math.inf:
        ratio = _inverse_mills(-last)
        return -ratio, 1.0 + last * -ratio
    _, mean, square = _normal_piece(first, length)
    return mean, square
