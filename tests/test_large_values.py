"""Values whose squares float32 cannot hold. Truth: the same data in float64."""

import numpy as np
import pytest

import fastem
from fastem import GaussianMixture, Mixture
from fastem.families import Exponential, Gamma, LinearRegression
from fastem.sources import DoubleSource, open_source

# of the k-means start and M-steps on the way to the error
pytestmark = [
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(m, 1, (300, 2)) for m in (-4, 4)]).astype(np.float32)
LARGE = X.copy()
LARGE[417, 1] = 1e20
METHODS = ("predict", "predict_proba", "score_samples", "score", "bic", "aic", "icl")


def gaussian(covariance_type="diag"):
    return GaussianMixture(2, covariance_type=covariance_type, random_state=0)


def _stream(rows, folder):
    return lambda: iter([rows[:200], rows[200:]])


def _path(rows, folder):
    np.save(folder / "rows.npy", rows)
    return folder / "rows.npy"


SOURCES = {"array": lambda rows, folder: rows, "stream": _stream, "path": _path}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("missing", [False, True])
def test_a_fit_is_that_of_float64(tmp_path, source, missing):
    rows = LARGE.copy()
    rows[5, 0] = np.nan if missing else 0
    data = SOURCES[source](rows, tmp_path)
    for call in ("fit", "partial_fit"):
        found, truth = getattr(gaussian(), call)(data), getattr(gaussian(), call)(rows.astype(np.float64))
        np.testing.assert_allclose(found.weights_, truth.weights_, rtol=1e-5)
        np.testing.assert_allclose(found.means_, truth.means_, rtol=1e-4, atol=1e-4)
        # one step from a start does not yet tell the row's density, where 1e20 is rounded by more than a floor
        if call == "fit":
            assert found.lower_bound_ == pytest.approx(truth.lower_bound_, rel=1e-5)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "spherical"])
def test_structures_too(covariance_type):
    found = gaussian(covariance_type).fit(LARGE)
    truth = gaussian(covariance_type).fit(LARGE.astype(np.float64))
    assert found.lower_bound_ == pytest.approx(truth.lower_bound_, rel=1e-5)
    np.testing.assert_allclose(found.weights_, truth.weights_, rtol=1e-5)


def test_responses_and_weights():
    weights = np.ones(len(LARGE))
    weights[100] = 3
    fits = [
        Mixture(LinearRegression(), 2, random_state=0).fit(rows[:, :1], rows[:, 1], sample_weight=weights)
        for rows in (LARGE, LARGE.astype(np.float64))
    ]
    assert fits[0].lower_bound_ == pytest.approx(fits[1].lower_bound_, rel=1e-5)


def test_where_a_fit_fails_the_cell_is_named():
    with pytest.raises(ValueError, match=r"Input X has 1e\+20 in row 417, column 1, .*float32: pass float64"):
        Mixture(Gamma(), 2, random_state=0).fit(np.abs(LARGE) + np.float32(1e-3))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("missing", [False, True])
def test_results_are_those_of_float64(tmp_path, source, missing):
    rows = LARGE.copy()
    rows[5, 0] = np.nan if missing else 0
    fitted = gaussian().fit(X)
    data = SOURCES[source](rows, tmp_path)
    for method in METHODS:
        found = getattr(fitted, method)(data)
        np.testing.assert_allclose(found, getattr(fitted, method)(rows.astype(np.float64)), rtol=1e-5, atol=1e-6)
    assert fitted.predict_proba(data).dtype == np.float32


def test_rows_beside_them_are_as_before():
    fitted = gaussian().fit(X)
    beside = np.arange(len(X)) != 417
    for method in ("predict", "predict_proba", "score_samples"):
        found, expected = getattr(fitted, method)(LARGE), getattr(fitted, method)(X)
        np.testing.assert_array_equal(found[beside], expected[beside])


def test_families_without_squares_take_them():
    rows = np.abs(LARGE)
    truth = Mixture(Exponential(), 1).fit(rows.astype(np.float64))
    np.testing.assert_allclose(Mixture(Exponential(), 1).fit(rows).rates_, truth.rates_, rtol=1e-5)


def test_other_reasons_stay_what_they_are():
    with pytest.raises(ValueError, match="ill-defined empirical covariance") as raised:
        GaussianMixture(2, reg_covar=0, random_state=0).fit(np.repeat(np.float32([[0, 0], [5, 5]]), 50, axis=0))
    assert "float32: pass" not in str(raised.value)


def test_double_source():
    source = DoubleSource(open_source(X))
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.read(3, 50), X[3:53].astype(np.float64))
    assert isinstance(source.range(3, 5), DoubleSource)
    assert fastem.open(source, columns=[1]).read(0, 4).tolist() == X[:4, 1:].astype(np.float64).tolist()
