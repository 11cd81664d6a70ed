"""What every public estimator promises, whatever it is a mixture of."""

import inspect
import pickle
from dataclasses import dataclass

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastem
from fastem import EM, BernoulliMixture, FixedMixture, LatentClass, Mixture, PoissonMixture, StudentTMixture
from fastem.families import Gaussian
from fastem.kernels.launches import Launches
from tests import stores
from tests.estimators import ESTIMATORS, Density

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_estimator = pytest.mark.parametrize("case", ESTIMATORS, ids=str)
RESULTS = ("predict", "predict_proba", "score_samples")
# Seconds differ from fit to fit, and a family is compared by what it says.
OTHERS = ("fit_seconds_", "history_", "family_")


def _rows(case, n=900):
    return case.draw(n, np.random.default_rng(0))


def _fitted(fit):
    return {name: value for name, value in vars(fit).items() if name.endswith("_") and name not in OTHERS}


def _assert_same(a, b, **tolerance):
    assert _fitted(a).keys() == _fitted(b).keys() >= {"weights_", "lower_bounds_", "log_likelihood_"}
    for name, value in _fitted(a).items():
        other = getattr(b, name)
        if isinstance(value, str | None):
            assert value == other, name
        else:
            for x, y in zip(*(v if isinstance(v, list) else [v] for v in (value, other)), strict=True):
                np.testing.assert_allclose(x, y, err_msg=name, **({"rtol": 0, "atol": 0} | tolerance))


def test_no_public_estimator_is_forgotten():
    public = [getattr(fastem, name) for name in fastem.__all__]
    found = {kind.__name__ for kind in public if inspect.isclass(kind) and issubclass(kind, BaseEstimator)}
    found.remove("EM")  # it predicts nothing, and is among the checks of scikit-learn below
    assert found == {type(case.make()).__name__ for case in ESTIMATORS} == {case.name for case in ESTIMATORS}


@every_estimator
def test_reported_likelihood_and_criteria_belong_to_the_parameters(case):
    X = _rows(case)
    fit = case.make(random_state=0, max_iter=3).fit(X)
    assert fit.log_likelihood_ == pytest.approx(fit.score_samples(X).sum(), rel=1e-12)
    assert fit.score(X) == pytest.approx(fit.score_samples(X).mean(), rel=1e-12)
    assert fit.bic(X) == pytest.approx(-2 * fit.log_likelihood_ + fit.n_parameters_ * np.log(len(X)), rel=1e-12)
    assert fit.aic(X) == pytest.approx(-2 * fit.log_likelihood_ + 2 * fit.n_parameters_, rel=1e-12)
    assert fit.icl(X) == pytest.approx(fit.bic(X) - 2 * np.log(fit.predict_proba(X).max(axis=1)).sum(), rel=1e-12)
    assert np.min(np.diff(fit.lower_bounds_)) > -1e-12 * abs(fit.lower_bounds_[0])


@every_estimator
def test_weights_are_replication(case):
    X = _rows(case)
    repeats = np.random.default_rng(1).integers(0, 3, len(X))
    start = {} if case.is_fixed else {"init_params": np.arange(len(X)) % 2}
    again = {} if case.is_fixed else {"init_params": np.repeat(np.arange(len(X)) % 2, repeats)}
    weighted = case.make(max_iter=4, tol=0, **start).fit(X, sample_weight=repeats)
    repeated = case.make(max_iter=4, tol=0, **again).fit(np.repeat(X, repeats, axis=0))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-10)


@every_estimator
def test_threads_and_launches_give_the_same_bits(case, monkeypatch):
    X = _rows(case, 20_011)
    whole = case.make(random_state=0, max_iter=3).fit(X)
    _assert_same(whole, case.make(random_state=0, max_iter=3, n_threads=1).fit(X))

    def one_tile(self, tiles, seconds):
        self.tiles = 1

    monkeypatch.setattr(Launches, "_learn", one_tile)
    _assert_same(whole, case.make(random_state=0, max_iter=3).fit(X))


@every_estimator
def test_data_give_the_same_bits_wherever_they_lie(case, tmp_path):
    X = _rows(case, 5011)
    fit = case.make(random_state=0, max_iter=3).fit(X)
    for store in (stores.npy, stores.memmap, stores.several_files, stores.hdf5, stores.zarr_array, stores.parquet,
                  stores.polars_frame, stores.stream):  # fmt: skip
        data = store(tmp_path, X)
        other = case.make(random_state=0, max_iter=3).fit(data)
        for method in RESULTS:
            np.testing.assert_array_equal(getattr(other, method)(data), getattr(fit, method)(X))
        if hasattr(other, "feature_names_in_"):
            assert other.feature_names_in_.tolist() == stores.names(X)
            del other.feature_names_in_
        _assert_same(fit, other)


@every_estimator
def test_dask_gives_the_same_numbers(case, tmp_path):
    X = _rows(case, 5011)
    fit = case.make(random_state=0, max_iter=3).fit(X)
    other = case.make(random_state=0, max_iter=3).fit(stores.dask_array(tmp_path, X))
    _assert_same(fit, other, rtol=1e-9, atol=1e-9)


@every_estimator
def test_pickle_joblib_clone_save(case, tmp_path):
    X = _rows(case)
    fit = case.make(random_state=0, max_iter=3).fit(X)
    joblib.dump(fit, tmp_path / "model.joblib")
    copies = [pickle.loads(pickle.dumps(fit)), joblib.load(tmp_path / "model.joblib")]
    if not case.is_fixed:  # its densities are functions
        fit.save(tmp_path / "model.fastem")
        copies.append(fastem.load(tmp_path / "model.fastem"))
    for copy in copies:
        assert type(copy) is type(fit) and repr(copy) == repr(fit)
        _assert_same(fit, copy)
        np.testing.assert_array_equal(copy.predict_proba(X), fit.predict_proba(X))
    unfitted = clone(fit)
    assert repr(unfitted) == repr(fit) and not _fitted(unfitted)
    for method in (*RESULTS, "score", "bic", "aic", "icl"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(unfitted, method)(X)


@every_estimator
def test_a_row_that_is_no_number_is_named(case):
    X = _rows(case)
    X[17, 1] = np.inf
    with pytest.raises(ValueError, match=r"[Rr]ow 17"):
        case.make(random_state=0).fit(X)


@every_estimator
@pytest.mark.parametrize("n", [1, 2, 999])
def test_samples_have_the_length_asked_for(case, n):
    if case.is_fixed:
        with pytest.raises(TypeError, match="no method to draw"):
            case.make().fit(_rows(case)).sample(n)
        return
    rows, labels = case.make(random_state=0, max_iter=3).fit(_rows(case)).sample(n)
    assert rows.shape == (n, _rows(case).shape[1]) and labels.shape == (n,)
    case.make(random_state=0, max_iter=3).fit(np.append(_rows(case), rows, axis=0))  # they are rows like those given


# --- scikit-learn's checks ----------------------------------------------------------------------
# Those of GaussianMixture are in test_gaussian_mixture.py.


def _whole(X, below):
    """Whole numbers below a bound, of tables of real numbers; what is no such table stays as it is."""
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype.kind not in "fiuO":
        return X
    try:
        values = X.astype(np.float64)
    except (TypeError, ValueError):  # objects that are no numbers
        return X
    return np.where(np.isfinite(values), np.rint(np.abs(values)) % below, values).astype(X.dtype)


class Counts(PoissonMixture):
    """Takes the real numbers that the checks draw for counts, so that they reach what they are about."""

    def _open(self, X, *args, **kwargs):
        return super()._open(_whole(X, 1000), *args, **kwargs)


class Flags(BernoulliMixture):
    def _open(self, X, *args, **kwargs):
        return super()._open(_whole(X, 2), *args, **kwargs)


class Levels(LatentClass):
    def _open(self, X, *args, **kwargs):
        return super()._open(_whole(X, 3), *args, **kwargs)


@dataclass(frozen=True)
class CellSums:
    """An E-step without anything hidden: all cells are draws from one normal distribution.

    It is no function, and neither is the M-step: those have their address in names of tests.
    """

    def __call__(self, rows, params, weights):
        mean, variance = params
        seen = ~np.isnan(rows)
        gap = np.where(seen, rows - mean, 0.0)
        log_density = seen * (-0.5 * np.log(2 * np.pi * variance)) - 0.5 * gap**2 / variance
        return {
            "log_likelihood": weights @ log_density.sum(axis=1),
            "count": weights @ seen.sum(axis=1),
            "gap": weights @ gap.sum(axis=1),
            "square": weights @ (gap**2).sum(axis=1),
        }


@dataclass(frozen=True)
class MeanAndVariance:
    def __call__(self, sums, params):
        shift = sums["gap"] / sums["count"]
        return params[0] + shift, max(sums["square"] / sums["count"] - shift**2, 1e-12)


NUMBER_OF_DENSITIES = "n_components is the number of densities, and cannot be set"
NO_FLAGS = "its rows hold 2 and 3, in an object that is no array"
EXPECTED_TO_FAIL = {
    "FixedMixture": dict.fromkeys(
        ["check_dont_overwrite_parameters", "check_methods_sample_order_invariance", "check_methods_subset_invariance",
         "check_fit2d_1sample", "check_fit2d_1feature", "check_fit1d", "check_fit2d_predict1d"],
        NUMBER_OF_DENSITIES,
    ),
    "Flags": dict.fromkeys(["check_sample_weights_pandas_series", "check_sample_weights_not_an_array"], NO_FLAGS),
}  # fmt: skip


@parametrize_with_checks(
    [
        Mixture(Gaussian("diag")),
        Counts(),
        Flags(),
        Levels(),
        StudentTMixture(),
        FixedMixture([Density(0.0), Density(4.0)]),
        EM(CellSums(), MeanAndVariance(), start=(0.0, 1.0)),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL.get(type(estimator).__name__, {}),
)
@pytest.mark.filterwarnings("ignore:Skipping check:sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_checks(estimator, check):
    check(estimator)
