"""Arrays of every dtype and layout, and inputs that must be refused."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastem import GaussianMixture

RNG = np.random.default_rng(0)
X = np.round(np.concatenate([RNG.normal(-4, 1, (400, 3)), RNG.normal(4, 1, (500, 3))]) * 8)


def _strided(a):
    wide = np.zeros((2 * len(a), 2 * a.shape[1]), a.dtype)
    wide[::2, ::2] = a
    return wide[::2, ::2]


def _unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[:] = a
    return view


def _read_only(a):
    b = a.copy()
    b.flags.writeable = False
    return b


LAYOUTS = {
    "read-only": _read_only,
    "Fortran": np.asfortranarray,
    "strided": _strided,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "unaligned": _unaligned,
    "big-endian": lambda a: a.astype(">f8"),
    "list": lambda a: a.tolist(),
    "int64": lambda a: a.astype(np.int64),
    "int8": lambda a: a.astype(np.int8),
    "float16": lambda a: a.astype(np.float16),
    "object": lambda a: a.astype(object),
    "longdouble": lambda a: a.astype(np.longdouble),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_layouts_give_what_a_plain_copy_gives(name, covariance_type):
    given = LAYOUTS[name](X)
    plain = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    other = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(given)
    for attribute in ("weights_", "means_", "covariances_", "lower_bounds_", "log_likelihood_"):
        np.testing.assert_array_equal(getattr(other, attribute), getattr(plain, attribute))
    np.testing.assert_array_equal(other.predict_proba(given), plain.predict_proba(X))


def test_bool_and_big_endian_float32():
    flags = X > 0
    a, b = (GaussianMixture(2, random_state=0).fit(data) for data in (flags, flags.astype(np.float64)))
    np.testing.assert_array_equal(a.means_, b.means_)
    single = X.astype(np.float32)
    a, b = (GaussianMixture(2, random_state=0).fit(data) for data in (single, single.astype(">f4")))
    np.testing.assert_array_equal(a.means_, b.means_)
    assert a.predict_proba(single).dtype == np.float32


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.empty((0, 2)), ValueError, "0 sample"),
        (np.empty((10, 0)), ValueError, "0 feature"),
        (np.zeros(10), ValueError, "Reshape your data"),
        (np.zeros((3, 3, 3)), ValueError, "dim"),
        (np.zeros((3, 2)), ValueError, "n_samples >= n_components"),
        (np.full((50, 2), np.inf), ValueError, "infinity, first in row 0, column 0"),
        (np.full((50, 2), -np.inf, dtype=np.float32), ValueError, "infinity"),
        (np.zeros((50, 2), dtype=complex), ValueError, "[Cc]omplex"),
        (np.full((50, 2), "a"), ValueError, "could not convert|numeric"),
    ],
)
def test_refused(data, error, message):
    with pytest.raises(error, match=message):
        GaussianMixture(5).fit(data)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(899), "shape"),
        (np.ones((900, 1)), "shape|1d|dim"),
        (np.zeros(900), "zero for all"),
        (np.where(np.arange(900) == 7, -1.0, 1.0), "negative, but is -1.0 in row 7"),
        (np.where(np.arange(900) == 7, np.nan, 1.0), "NaN"),
    ],
)
def test_refused_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2).fit(X, sample_weight=weights)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(np.repeat(X[:4], 100, axis=0), id="duplicates"),
        pytest.param(np.column_stack([X, np.full(len(X), 7.0)]), id="constant column"),
        pytest.param(RNG.normal(size=(12, 40)), id="more columns than rows"),
        pytest.param(X * 1e-12, id="tiny scale"),
        pytest.param(X * 1e9, id="large scale"),
        pytest.param(X / 8 + 1e6, id="offset"),
    ],
)
def test_degenerate_data_stay_finite(data, dtype, covariance_type):
    fit = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(data.astype(dtype))
    for values in (fit.weights_, fit.means_, fit.covariances_, fit.precisions_, fit.lower_bound_):
        assert np.isfinite(values).all()
    assert np.isfinite(fit.predict_proba(data.astype(dtype))).all()


def test_collapsed_components_without_a_floor_are_an_error():
    data = np.repeat([[0.0, 0.0], [5.0, 5.0]], 50, axis=0)
    for covariance_type in ("full", "tied", "diag", "spherical"):
        with pytest.raises(ValueError, match=r"ill-defined empirical covariance \(component 0"):
            GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(data)


def test_not_converging_is_said():
    with pytest.warns(ConvergenceWarning, match="max_iter was reached"):
        fit = GaussianMixture(2, random_state=0, max_iter=1).fit(X)
    assert not fit.converged_
