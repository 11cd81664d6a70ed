"""Logarithms of gamma functions and what is made of them, without the cancellation of large numbers."""

from typing import Any

import numpy as np
from scipy.special import gammaln, psi

__all__ = ["deviance", "gap", "log_minus_psi", "log_rising", "stirling"]

_LARGE = 16.0  # from here on asymptotic series have all digits
_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


def stirling(x: np.ndarray) -> np.ndarray:
    """Error of Stirling's formula, ``log Gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2``, for x > 0."""
    x = np.asarray(x, dtype=np.float64)
    large = np.maximum(x, _LARGE)
    z = 1 / large**2
    series = (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z / 1188)))) / large
    small = np.minimum(x, _LARGE)
    direct = gammaln(small) - (small - 0.5) * np.log(small) + small - _HALF_LOG_2PI
    return np.where(x > _LARGE, series, direct)


def log_rising(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """``log Gamma(x + h) - log Gamma(x)`` for x > 0, h >= 0; for whole h the log of ``x (x + 1) ... (x + h - 1)``."""
    return np.asarray((x - 0.5) * np.log1p(h / x) + h * np.log(x + h) - h + (stirling(x + h) - stirling(x)))


def log_minus_psi(x: np.ndarray) -> np.ndarray:
    """``log x - psi(x)`` for x > 0, which is near ``1 / (2 x)`` for large x."""
    x = np.asarray(x, dtype=np.float64)
    large = np.maximum(x, _LARGE)
    z = 1 / large**2
    series = 0.5 / large + z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z / 132))))
    small = np.minimum(x, _LARGE)
    return np.where(x > _LARGE, series, np.log(small) - psi(small))


def gap(u: np.ndarray) -> np.ndarray:
    """``u - log(1 + u)`` for u > -1, to all digits near 0 too."""
    u = np.asarray(u, dtype=np.float64)
    near = np.clip(u, -0.3, 0.3)
    f = near / (2 + near)
    z = f * f
    # log(1 + u) = 2 (f + f^3 / 3 + ...) and u - 2 f = u f
    odd = np.zeros_like(z)
    for i in range(21, 1, -2):
        odd = z * (1 / i + odd)
    return np.where(u == near, f * (near - 2 * odd), u - np.log1p(u))


def deviance(x: np.ndarray, mean: Any) -> np.ndarray:
    """``x log(x / mean) - x + mean`` for x >= 0 and mean > 0, to all digits where they are near each other.

    Loader 2000, Fast and accurate computation of binomial probabilities.
    """
    x, mean = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(mean, dtype=np.float64))
    total = x + mean
    v = (x - mean) / total
    near = np.clip(v, -0.1, 0.1)
    z = near * near
    odd = np.zeros_like(z)
    for i in range(21, 1, -2):
        odd = z * (1 / i + odd)
    close = (x - mean) * near + 2 * x * near * odd
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(x > 0, x * np.log(x / mean), 0.0) - x + mean
    return np.where(v == near, close, far)
