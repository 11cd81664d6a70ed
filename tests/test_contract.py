"""What every registered model promises, whatever its family."""

import pickle
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import fastem
from fastem.kernels.launches import Launches
from fastem.kernels.tiles import tile_rows
from fastem.sources import Source
from tests import stores
from tests.cases import CASES

pytestmark = [
    pytest.mark.parametrize("case", CASES, ids=str),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
PARAMETERS = ("weights_", "means_", "covariances_")


def _data(case, n=900, seed=0):
    return case.draw(n, np.random.default_rng(seed))[0]


def _assert_same_bits(a, b):
    for name in (*PARAMETERS, "precisions_cholesky_", "lower_bounds_", "log_likelihood_"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def _assert_close(a, b, **tolerance):
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), err_msg=name, **tolerance)


def _matched(fit, case):
    """Order of the components that is nearest to the true means, and the distance."""
    distances = np.linalg.norm(fit.means_[:, None] - case.true_means, axis=2)
    return distances.argmin(axis=0), distances.min(axis=0).max()


def test_objective_never_falls(case):
    bounds = case.make(random_state=0, tol=0, max_iter=80, reg_covar=0).fit(_data(case)).lower_bounds_
    assert np.min(np.diff(bounds)) > -1e-12 * abs(bounds[0])


def test_reported_likelihood_belongs_to_the_parameters(case):
    X = _data(case)
    fit = case.make(random_state=0, max_iter=3).fit(X)
    assert fit.log_likelihood_ == pytest.approx(fit.score_samples(X).sum(), rel=1e-12)
    assert fit.score(X) == pytest.approx(fit.score_samples(X).mean(), rel=1e-12)


def test_gradient_vanishes_at_convergence(case):
    """Central differences of the log-likelihood in each mean and each variance."""
    X = _data(case, 400)
    fit = case.make(random_state=0, tol=1e-14, max_iter=5000, reg_covar=0).fit(X)
    scale = len(X)
    for name in ("means_", "covariances_"):
        values = getattr(fit, name)
        for index in np.ndindex(values.shape):
            slopes = []
            for h in (1e-5, -1e-5):
                moved = values.copy()
                moved[index] += h
                slopes.append(_score_with(fit, name, moved, X))
            assert abs(slopes[0] - slopes[1]) / 2e-5 / scale < 1e-4, (name, index)


def _score_with(fit, name, values, X):
    other = pickle.loads(pickle.dumps(fit))
    setattr(other, name, values)
    if name == "covariances_":
        if fit.covariance_type in ("full", "tied"):
            symmetric = (values + values.swapaxes(-1, -2)) / 2
            other.covariances_ = symmetric
        other.precisions_cholesky_ = other._family().factor(other.covariances_)
    return other.score_samples(X).sum()


def test_recovers_what_made_the_data_and_the_start_does_not(case):
    X = _data(case, 20_000)
    fit = case.make(random_state=0, tol=1e-6, max_iter=500).fit(X)
    order, distance = _matched(fit, case)
    assert distance < 0.1
    np.testing.assert_allclose(fit.weights_[order], [0.5, 0.3, 0.2], atol=0.02)
    with pytest.warns(Warning):
        start = case.make(random_state=0, max_iter=1, init_params="random").fit(X)
    assert _matched(start, case)[1] > 0.5


def test_permutation_of_rows_and_of_columns(case):
    X = _data(case)
    means = case.true_means + 0.5
    fit = case.make(means_init=means, random_state=0).fit(X)
    rows = np.random.default_rng(1).permutation(len(X))
    start = {"means_init": means, "weights_init": fit.weights_, "precisions_init": fit.precisions_}
    a, b = case.make(**start).fit(X), case.make(**start).fit(X[rows])
    _assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("shift", "scale"), [(1000.0, 1.0), (-3.0, 100.0), (0.0, 0.01)])
def test_shift_and_scale_equivariance(case, shift, scale):
    X = _data(case)
    plain = case.make(random_state=0, reg_covar=0, tol=1e-7, max_iter=300).fit(X)
    moved = case.make(
        reg_covar=0, tol=1e-7, max_iter=plain.n_iter_, weights_init=plain.weights_,
        means_init=plain.means_ * scale + shift, precisions_init=plain.precisions_ / scale**2,
    ).fit(X * scale + shift)  # fmt: skip
    again = case.make(
        reg_covar=0, tol=1e-7, max_iter=plain.n_iter_, weights_init=plain.weights_,
        means_init=plain.means_, precisions_init=plain.precisions_,
    ).fit(X)  # fmt: skip
    np.testing.assert_allclose(moved.means_, again.means_ * scale + shift, rtol=1e-6, atol=1e-7 * scale)
    np.testing.assert_allclose(moved.covariances_, again.covariances_ * scale**2, rtol=1e-5, atol=1e-7 * scale**2)


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_weights_are_replication_and_zero_is_deletion(case, data):
    X = _data(case, data.draw(st.integers(30, 600)), seed=1)
    repeats = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(X), max_size=len(X))))
    repeats[:9] = 1
    start = {
        "weights_init": np.full(3, 1 / 3),
        "means_init": case.true_means,
        "precisions_init": case.make(random_state=0).fit(_data(case)).precisions_,
    }
    weighted = case.make(max_iter=8, tol=0, **start).fit(X, sample_weight=repeats)
    repeated = case.make(max_iter=8, tol=0, **start).fit(np.repeat(X, repeats, axis=0))
    _assert_close(weighted, repeated, rtol=1e-7, atol=1e-9)
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, rel=1e-10)
    assert weighted.bic(X, sample_weight=repeats) == pytest.approx(
        repeated.bic(np.repeat(X, repeats, axis=0)), rel=1e-10
    )


class _Cut(Source):
    """Rows handed out in blocks of any number of tiles."""

    def __init__(self, array, tiles):
        self.array = array
        self.n_rows, self.n_features = array.shape
        self.dtype = array.dtype
        self.tiles = tiles

    @contextmanager
    def reading(self):
        def fill(first, out):
            out[...] = self.array[first : first + len(out)]

        yield fill

    def blocks(self):
        first = 0
        i = 0
        tile = tile_rows(self.dtype)
        while first < self.n_rows:
            count = self.tiles[i % len(self.tiles)] * tile
            block = self.array[first : first + count].copy()
            block.flags.writeable = False
            yield first, block
            first += count
            i += 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(tiles=st.lists(st.integers(1, 40), min_size=1, max_size=5))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_into_blocks_gives_the_same_bits(case, dtype, tiles):
    X = _data(case, 20_011).astype(dtype)
    whole = case.make(random_state=0, max_iter=3).fit(X)
    cut = case.make(random_state=0, max_iter=3).fit(_Cut(X, tiles))
    _assert_same_bits(whole, cut)


@pytest.mark.parametrize("launch_tiles", [1, 3, 64])
def test_any_length_of_launches_gives_the_same_bits(case, launch_tiles, monkeypatch):
    X = _data(case, 20_011)
    whole = case.make(random_state=0, max_iter=3).fit(X)

    def fixed(self, tiles, seconds):
        self.tiles = launch_tiles

    monkeypatch.setattr(Launches, "_learn", fixed)
    _assert_same_bits(whole, case.make(random_state=0, max_iter=3).fit(X))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_data_give_the_same_bits_wherever_they_lie(case, dtype, tmp_path):
    X = _data(case, 20_011).astype(dtype)
    fit = case.make(random_state=0, max_iter=3).fit(X)
    results = [method(X) for method in (fit.predict, fit.predict_proba, fit.score_samples)]
    for store in stores.SAME_BITS:
        data = store(tmp_path, X)
        other = case.make(random_state=0, max_iter=3).fit(data)
        _assert_same_bits(fit, other)
        for expected, method in zip(results, (other.predict, other.predict_proba, other.score_samples), strict=True):
            np.testing.assert_array_equal(method(data), expected, err_msg=store.__name__)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dask_gives_the_same_numbers(case, dtype, tmp_path):
    X = _data(case, 60_011).astype(dtype)
    weights = np.random.default_rng(1).random(len(X))
    fit = case.make(random_state=0, max_iter=3).fit(X, sample_weight=weights)
    tolerance = 1e-10 if dtype == np.float64 else 1e-5
    for store in stores.SAME_NUMBERS:
        data = store(tmp_path, X)
        other = case.make(random_state=0, max_iter=3).fit(data, sample_weight=weights)
        _assert_close(fit, other, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(other.predict(data), fit.predict(X))
        assert other.score(data) == pytest.approx(fit.score(X), rel=tolerance)


@pytest.mark.parametrize("method", ["growing", "stepwise"])
def test_a_warm_up_reaches_the_same_maximum(case, method, tmp_path):
    X = _data(case, 210_000)
    plain = case.make(random_state=0, tol=1e-9, max_iter=500).fit(X)
    warmed = case.make(random_state=0, tol=1e-9, max_iter=500).fit(X, method=method)
    _assert_close(plain, warmed, rtol=1e-3, atol=1e-3)
    assert warmed.log_likelihood_ == pytest.approx(plain.log_likelihood_, rel=1e-9)
    assert warmed.n_iter_ <= plain.n_iter_
    np.save(tmp_path / "X.npy", X)
    _assert_same_bits(warmed, case.make(random_state=0, tol=1e-9, max_iter=500).fit(tmp_path / "X.npy", method=method))


def test_float32_is_close_to_float64(case):
    X = _data(case, 5000)
    double = case.make(random_state=0, means_init=case.true_means, tol=1e-5).fit(X)
    single = case.make(random_state=0, means_init=case.true_means, tol=1e-5).fit(X.astype(np.float32))
    _assert_close(double, single, rtol=1e-3, atol=1e-3)
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-6)


def test_pickle_joblib_clone_save(case, tmp_path):
    X = _data(case)
    fit = case.make(random_state=0).fit(X)
    joblib.dump(fit, tmp_path / "model.joblib")
    fit.save(tmp_path / "model.fastem")
    copies = [
        pickle.loads(pickle.dumps(fit)),
        joblib.load(tmp_path / "model.joblib"),
        fastem.load(tmp_path / "model.fastem"),
    ]
    for copy in copies:
        _assert_same_bits(fit, copy)
        np.testing.assert_array_equal(copy.predict_proba(X), fit.predict_proba(X))
        assert copy.get_params() == fit.get_params()
    assert not hasattr(clone(fit), "means_")


def test_warm_start_goes_on(case):
    X = _data(case)
    whole = case.make(random_state=0, tol=0, max_iter=10).fit(X)
    parts = case.make(random_state=0, tol=0, max_iter=5, warm_start=True).fit(X).fit(X)
    _assert_close(whole, parts, rtol=1e-12)


def test_sample_follows_the_mixture(case):
    fit = case.make(random_state=0).fit(_data(case))
    X, y = fit.sample(20_000)
    assert X.shape == (20_000, 3) and y.shape == (20_000,)
    np.testing.assert_allclose(np.bincount(y) / len(y), fit.weights_, atol=0.02)
    for k in range(3):
        np.testing.assert_allclose(X[y == k].mean(axis=0), fit.means_[k], atol=0.1)
    assert fit.score(X) == pytest.approx(case.make(random_state=0).fit(X).score(X), abs=0.02)


def test_history_and_criteria(case):
    X = _data(case)
    fit = case.make(random_state=0).fit(X)
    assert {len(v) for v in fit.history_.values()} == {fit.n_iter_}
    np.testing.assert_array_equal(fit.history_["objective"], fit.lower_bounds_)
    np.testing.assert_allclose(np.diff(fit.lower_bounds_), fit.history_["change"][1:])
    assert fit.stop_reason_.startswith("the objective changed")
    resp = fit.predict_proba(X)
    doubt = -2 * np.log(resp.max(axis=1)).sum()
    assert fit.icl(X) == pytest.approx(fit.bic(X) + doubt)
    assert fit.aic(X) == pytest.approx(-2 * fit.log_likelihood_ + 2 * fit.n_parameters_)
