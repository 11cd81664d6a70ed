"""Factors of densities that have no parameters, in kernels: what `Family.base` leaves out, made tile by tile.

Components of one family share that factor, so passes leave it out. Where components differ in it, each one
needs its own: those of several families, or noise beside others. All such factors are sums over counts x of
``deviance(x, mean) + excess(x)``, by which log-densities of counts lose no digits where these are large.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastem.families._domain import excess
from fastem.families.family import Family
from fastem.kernels.simd import elements, fill, fma, huge, load, maximum, minimum, splat, store, where_greater
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import log

__all__ = [
    "Factor", "FactorKernel", "Sum", "Term", "factor_kernel", "factor_of", "factor_scratch", "log_factor",
    "require_factor",
]  # fmt: skip

_SMALL = 1024  # counts below it are looked up
_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


class Sum(NamedTuple):
    """A sum over columns with signs, and a constant: it counts as one more column."""

    columns: list[int]
    signs: list[float]
    constant: float = 0.0


class Term(NamedTuple):
    """``sign (deviance(x, mean) + excess(x)) + constant``, 0 where x is missing.

    `of` is the column of x; the mean is `rate` times the column `mean`, or `rate` alone where that is None.
    Without a rate, of 0, the deviance is left out.
    """

    of: int
    mean: int | None
    rate: float
    sign: float = -1.0
    constant: float = 0.0


class Factor(NamedTuple):
    """The logarithm of a row's factor as terms; sums are numbered after the columns."""

    terms: list[Term]
    sums: list[Sum]

    def among(self, columns: list[int], n_columns: int, n_sums: int) -> "Factor":
        """The same where its columns are some of `n_columns`, after `n_sums` sums of others."""
        places = [*columns, *(n_columns + n_sums + i for i in range(len(self.sums)))]
        terms = [
            term._replace(of=places[term.of], mean=None if term.mean is None else places[term.mean])
            for term in self.terms
        ]
        return Factor(terms, [one._replace(columns=[places[j] for j in one.columns]) for one in self.sums])


class FactorKernel(NamedTuple):
    """Of sums: their columns and signs, up to `sum_ends`, and constants. Of terms, up to `ends` for each factor:
    columns of counts and of means (-1: none), rates, signs, constants. The excess of small counts.
    """

    sum_ends: np.ndarray
    sum_columns: np.ndarray
    sum_signs: np.ndarray
    sum_constants: np.ndarray
    ends: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    rates: np.ndarray
    signs: np.ndarray
    constants: np.ndarray
    excess: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _deviance(x, mean):  # type: ignore[no-untyped-def]
    """``x log(x / mean) - x + mean`` of vectors, as `_special.deviance` makes it."""
    v = (x - mean) / (x + mean)
    near = maximum(minimum(v, fill(x, 0.1)), fill(x, -0.1))
    z = near * near
    odd = fill(x, 0.0)
    for i in range(21, 1, -2):
        odd = z * (fill(x, 1.0 / i) + odd)
    close = (x - mean) * near + (x + x) * (near * odd)
    far = x * log(maximum(x, fill(x, 1.0)) / mean) - x + mean
    return where_greater(v * v, fill(x, 0.01), far, close)


@njit(error_model="numpy")
def _large_excess(x):  # type: ignore[no-untyped-def]
    """`_domain.excess` of vectors of large counts, by Stirling's series."""
    inverse = fill(x, 1.0) / x
    z = inverse * inverse
    series = (fill(x, 1 / 12) - z * (fill(x, 1 / 360) - z * fill(x, 1 / 1260))) * inverse
    return fma(fill(x, 0.5), log(x), fill(x, _HALF_LOG_2PI) + series)


@njit(error_model="numpy")
def _look_up(counts, table, out):  # type: ignore[no-untyped-def]
    for b in range(out.shape[0]):
        x = counts[b]
        out[b] = table[int(x)] if 0 <= x < _SMALL else 0.0


@njit(error_model="numpy")
def _sum_columns(tile, params, sums):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    begin = 0
    for i in range(params.sum_ends.shape[0]):
        for b in range(0, m, elements(tile)):
            s = splat(params.sum_constants, i)
            for e in range(begin, params.sum_ends[i]):
                s = fma(splat(params.sum_signs, e), load(tile, params.sum_columns[e] * m + b), s)
            store(sums, i * m + b, s)
        begin = params.sum_ends[i]


@njit(error_model="numpy")
def _column(tile, sums, j):  # type: ignore[no-untyped-def]
    return tile[j] if j < tile.shape[0] else sums[j - tile.shape[0]]


@njit(error_model="numpy")
def log_factor(tile, params, g, found, scratch):  # type: ignore[no-untyped-def]
    """Logarithms of the factor with number g, of a tile's rows, in `found` (m,)."""
    m = n_points(tile)
    n_sums = params.sum_ends.shape[0]
    sums = scratch[: n_sums * m].reshape(n_sums, m)
    looked_up = scratch[n_sums * m : (n_sums + 1) * m]
    _sum_columns(tile, params, sums)
    for b in range(0, m, elements(tile)):
        store(found, b, fill(load(tile, 0), 0.0))
    for t in range(params.ends[g - 1] if g > 0 else 0, params.ends[g]):
        counts = _column(tile, sums, params.counts[t])
        means = counts if params.means[t] < 0 else _column(tile, sums, params.means[t])
        _look_up(counts, params.excess, looked_up)
        for b in range(0, m, elements(tile)):
            x = load(counts, b)
            zero = fill(x, 0.0)
            large = _large_excess(maximum(x, fill(x, 1.0 * _SMALL)))
            value = where_greater(x, fill(x, _SMALL - 0.5), large, load(looked_up, b))
            rate = splat(params.rates, t)
            mean = rate if params.means[t] < 0 else rate * load(means, b)
            # the smallest mean whose reciprocal is a number in float32 too
            value = value + where_greater(rate, zero, _deviance(x, maximum(mean, fill(x, 1e-37))), zero)
            value = fma(splat(params.signs, t), value, splat(params.constants, t))
            store(found, b, load(found, b) + where_greater(x, zero - huge(x), value, zero))


# --- what families do with it -----------------------------------------------------------------


def factor_of(family: Family[Any, Any], n_features: int) -> Factor | None:
    """The factor that a family leaves out of its densities, None if there is none."""
    found: Factor | None = family.base_terms(n_features)
    return found


def require_factor(family: Family[Any, Any], rows: np.ndarray) -> None:
    """Raise ValueError if a family leaves out a factor that kernels cannot make."""
    if family.base(rows[:1]) is not None and family.base_terms(rows.shape[1]) is None:
        raise ValueError(
            f"{family!r} leaves a factor of each row out of its densities, which components of other kinds would "
            "lack: it must define `base_terms`, as fastem's families do."
        )


def factor_kernel(factors: list[Factor | None], dtype: np.dtype[Any]) -> FactorKernel:
    """Kernel parameters of several factors, of which sums are numbered through; None is 1."""
    sums = [one for factor in factors if factor is not None for one in factor.sums]
    each = [[] if factor is None else factor.terms for factor in factors]
    terms = [term for of_factor in each for term in of_factor]

    def whole(values: Any) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    def real(values: Any) -> np.ndarray:
        return np.array(values, dtype=dtype)

    return FactorKernel(
        np.cumsum([len(one.columns) for one in sums], dtype=np.int64),
        whole([j for one in sums for j in one.columns]),
        real([sign for one in sums for sign in one.signs]),
        real([one.constant for one in sums]),
        np.cumsum([len(of_factor) for of_factor in each], dtype=np.int64),
        whole([term.of for term in terms]),
        whole([-1 if term.mean is None else term.mean for term in terms]),
        real([term.rate for term in terms]),
        real([term.sign for term in terms]),
        real([term.constant for term in terms]),
        excess(np.arange(_SMALL, dtype=np.float64)).astype(dtype),
    )


def factor_scratch(factors: list[Factor | None], tile_rows: int) -> int:
    """Numbers of scratch space that `log_factor` needs for a tile."""
    return (1 + sum(len(factor.sums) for factor in factors if factor is not None)) * tile_rows
