"""Functions whose usual formulas cancel, against mpmath."""

import mpmath
import numpy as np
import pytest
from numba import njit

from fastem.families._special import deviance, gap, log_minus_psi, log_rising, stirling
from fastem.kernels.simd import elements, load, store
from fastem.kernels.vector_math import gap as gap_of_vectors
from fastem.kernels.vector_math import log_gap

SIZES = (1e-8, 1e-3, 0.5, 1.0, 3.3, 15.9, 16.1, 100.0, 1e5, 1e9, 1e13)


@pytest.fixture(autouse=True)
def many_digits():
    with mpmath.workdps(60):
        yield


def _assert_near(value, truth):
    error = abs(mpmath.mpf(float(value)) - truth)
    assert error < 1e-14 or error < 1e-13 * abs(truth)


@pytest.mark.parametrize("x", SIZES)
def test_functions_of_one_number(x):
    big = mpmath.mpf(x)
    formula = (big - 0.5) * mpmath.log(big) - big + mpmath.log(2 * mpmath.pi) / 2
    _assert_near(stirling(x), mpmath.loggamma(big) - formula)
    _assert_near(log_minus_psi(x), mpmath.log(big) - mpmath.digamma(big))
    for h in (0.0, 0.5, 1.0, 3.0, 100.0, 1e6, 1e9):
        _assert_near(log_rising(x, h), mpmath.loggamma(big + h) - mpmath.loggamma(big))
    for r in (0, 1e-12, 1e-6, 1e-3, 0.1, 0.3, 5, 1e3):
        mean = x * (1 + r)
        _assert_near(deviance(x, mean), big * mpmath.log(big / mpmath.mpf(mean)) - big + mpmath.mpf(mean))


@pytest.mark.parametrize("u", [-0.999999, -0.5, -0.31, -0.29, -1e-9, 1e-12, 1e-5, 0.2, 0.31, 5.0, 1e6])
def test_gap(u):
    _assert_near(gap(u), mpmath.mpf(u) - mpmath.log(1 + mpmath.mpf(u)))


@njit
def _each(x, out):
    for i in range(0, len(x), elements(x)):
        store(out, i, log_gap(load(x, i)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 4e-15), (np.float32, 2e-6)])
def test_the_gap_of_vectors_has_all_digits_near_1(dtype, tolerance):
    near = 1 + np.array([-0.3, -1e-3, -1e-6, 0, 1e-6, 1e-3, 0.3, 0.4])
    x = np.tile(np.concatenate([near, np.geomspace(1e-30, 1e30, 24)]), 8).astype(dtype)
    out = np.empty_like(x)
    _each(x, out)
    truth = np.array([float(mpmath.mpf(float(v)) - 1 - mpmath.log(mpmath.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(out, truth, rtol=tolerance)


@njit
def _each_pair(u, y, out):
    for i in range(0, len(u), elements(u)):
        store(out, i, gap_of_vectors(load(u, i), load(y, i)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 4e-15), (np.float32, 2e-6)], ids=["float64", "float32"])
def test_the_gap_of_pairs_has_all_digits_where_one_of_them_has(dtype, tolerance):
    """Near 0 the number has them, near -1 what it makes with 1."""
    near = np.concatenate([np.geomspace(1e-14, 0.6, 20), -np.geomspace(1e-14, 0.4, 20)])
    far = np.concatenate([np.geomspace(1e-30, 0.1, 24), np.geomspace(3, 1e30, 24)])
    u = np.concatenate([near, far - 1]).astype(dtype)
    y = np.concatenate([(1 + near.astype(dtype)).astype(dtype), far.astype(dtype)])
    u, y = (np.tile(values, 16) for values in (u, y))
    out = np.empty_like(u)
    _each_pair(u, y, out)
    small = np.abs(u) < 0.7
    exact = [
        mpmath.mpf(float(v)) - mpmath.log(1 + mpmath.mpf(float(v)) if s else mpmath.mpf(float(w)))
        for v, w, s in zip(u, y, small, strict=True)
    ]
    np.testing.assert_allclose(out, np.array(exact, float), rtol=tolerance)
