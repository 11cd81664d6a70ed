"""Masked cells of NumPy's masked arrays are missing, whatever lies under the mask. Truth: the same data with NaN."""

import dask.array as da
import numpy as np
import pytest
from scipy.stats import norm

import fastem
from fastem import (
    BernoulliMixture,
    FixedMixture,
    GaussianMixture,
    LatentClass,
    Mixture,
    PoissonMixture,
    StudentTMixture,
)
from fastem.engine.partial_labels import PartialLabels
from fastem.families import GaussianDiag, LinearRegression
from fastem.sources import open_source

RNG = np.random.default_rng(0)
N = 300
HIDDEN = RNG.random((N, 2)) < 0.2
HIDDEN[:, 0] &= ~HIDDEN[:, 1]
VALUES = np.concatenate([RNG.normal(m, 1, (N // 2, 2)) for m in (-3, 3)])
COUNTS = RNG.poisson(4, (N, 2))
FLAGS = RNG.random((N, 2)) < 0.4


def masked(values, under):
    array = np.ma.masked_array(np.where(HIDDEN, under, values), HIDDEN)
    return array.astype(values.dtype)


def with_nan(values):
    return np.where(HIDDEN, np.nan, values)


def gaussian(**settings):
    return GaussianMixture(2, covariance_type="diag", random_state=0, **settings)


CASES = {
    "float64": (gaussian, VALUES, [-999.0, np.inf, np.nan]),
    "float32": (gaussian, VALUES.astype(np.float32), [-999.0, np.inf]),
    "big-endian": (gaussian, VALUES.astype(">f8"), [-999.0]),
    "int64": (lambda: PoissonMixture(2, random_state=0), COUNTS, [-999, 10**9]),
    "uint8": (lambda: LatentClass(2, random_state=0), COUNTS.clip(max=3).astype(np.uint8), [255]),
    "bool": (lambda: BernoulliMixture(2, random_state=0), FLAGS, [True]),
    "student": (lambda: StudentTMixture(2, random_state=0), VALUES, [1e300]),
    "noise": (lambda: Mixture(GaussianDiag(), 2, noise=True, random_state=0), VALUES, [-999.0]),
}
METHODS = ("predict", "predict_proba", "score_samples", "impute", "score", "bic", "aic", "icl")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", CASES)
def test_masked_cells_are_missing(name):
    make, values, unders = CASES[name]
    truth_data = with_nan(values).astype(np.float32) if name == "float32" else with_nan(values)
    truth = make().fit(truth_data)
    partial = make().partial_fit(truth_data)
    for under in unders:
        data = masked(values, under)
        before = data.data.copy()
        fitted = make().fit(data)
        assert fitted.lower_bounds_ == truth.lower_bounds_
        for method in METHODS:
            result = getattr(fitted, method)(data)
            np.testing.assert_array_equal(result, getattr(truth, method)(truth_data))
            if method == "predict_proba":
                assert result.dtype == (np.float32 if name == "float32" else np.float64)
        assert make().partial_fit(data).lower_bounds_ == partial.lower_bounds_
        np.testing.assert_array_equal(data.data, before)
        np.testing.assert_array_equal(data.mask, HIDDEN)


def test_means_are_those_of_numpy():
    data = masked(VALUES, -999.0)
    np.testing.assert_allclose(GaussianMixture(1, covariance_type="diag").fit(data).means_[0], data.mean(axis=0))


SHAPES = {
    "Fortran": lambda data: np.ma.array(np.asfortranarray(data.data), mask=np.asfortranarray(data.mask)),
    "rows of a list": list,
    "list": lambda data: [data[:100], data[100:]],
    "stream": lambda data: lambda: (data[i : i + 70] for i in range(0, N, 70)),
    "open": open_source,
    "columns": lambda data: fastem.open(np.ma.hstack([data, data]), columns=[0, 1]),
    "parts": lambda data: [open_source(data[:100]), open_source(data[100:])],
    "dask": lambda data: da.from_array(data, chunks=(90, 2)),
    "objects": lambda data: np.ma.array(np.where(HIDDEN, "x", data.data.astype(object)), mask=HIDDEN),
    "hard mask": lambda data: np.ma.array(data, hard_mask=True),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_masked_arrays_wherever_they_come(shape):
    data = SHAPES[shape](masked(VALUES, -999.0))
    source = open_source(data)
    np.testing.assert_array_equal(source.read(0, N), with_nan(VALUES))
    truth = gaussian().fit(with_nan(VALUES))
    np.testing.assert_allclose(gaussian().fit(data).lower_bounds_, truth.lower_bounds_, rtol=1e-12)
    np.testing.assert_array_equal(truth.predict_proba(data), truth.predict_proba(with_nan(VALUES)))


def test_blocks_without_a_copy():
    """A mask costs blocks, not a second array."""
    import tracemalloc

    data = np.ma.masked_array(np.ones((1_000_000, 16), np.float32), mask=np.zeros((1_000_000, 16), bool))
    data.mask[7, 3] = True
    source = open_source(data)
    assert source.dtype == np.float32
    tracemalloc.start()
    for _ in source.blocks():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # three buffers and some indices
    assert peak < 64 * 2**20 + 3 * 16 * 2**20 < data.nbytes + 60 * 2**20


def test_an_array_without_masked_cells_is_used_as_it_is():
    data = np.ma.masked_array(VALUES, mask=False)
    _, rows = next(open_source(data).blocks())
    assert np.shares_memory(rows, VALUES)


# --- beside the rows --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The log-likelihood fell")  # as float32 rounds errors so much smaller than responses
def test_masked_responses_are_missing():
    x = np.linspace(-1, 1, N)[:, None]
    y = np.where(np.arange(N) % 2, 3 * x[:, 0], -3 * x[:, 0]) + 0.01 * RNG.normal(size=N)
    hidden = np.arange(N) % 10 == 3
    for dtype in (np.float64, np.float32):
        data = x.astype(dtype)
        given = np.ma.array(np.where(hidden, -999, y), mask=hidden).astype(dtype)
        expected, error = _outcome(data, np.where(hidden, np.nan, y).astype(dtype))
        assert error is None  # two refusals would be the same, too
        assert (expected, error) == _outcome(data, given)


def _outcome(X, y):
    try:
        return Mixture(LinearRegression(), 2, random_state=0).fit(X, y).lower_bounds_, None
    except ValueError as refused:
        return None, str(refused)


def test_masked_weights_are_refused():
    weights = np.ma.array(np.ones(N), mask=np.arange(N) == 7)
    fitted = gaussian().fit(VALUES)
    fixed = FixedMixture([lambda rows: norm.logpdf(rows[:, 0])])
    for call in (gaussian().fit, gaussian().partial_fit, fitted.score, fitted.bic, fitted.aic, fitted.icl, fixed.fit):
        with pytest.raises(ValueError, match="sample_weight is masked, first in row 7"):
            call(VALUES, sample_weight=weights)
    unmasked = np.ma.array(np.ones(N), mask=False)
    assert gaussian().fit(VALUES, sample_weight=unmasked).lower_bounds_ == fitted.lower_bounds_


def test_masked_labels_are_unknown():
    hidden = np.arange(N) % 3 > 0
    labels = np.arange(N) // (N // 2)
    expected = PartialLabels.of_labels(np.where(hidden, -1, labels), N, np.arange(2)).masks()
    one_hot = labels[:, None] == np.arange(2)
    for given in (
        np.ma.array(np.where(hidden, 77, labels), mask=hidden),
        np.ma.array(np.where(hidden, np.inf, labels), mask=hidden),
        np.ma.array(np.where(hidden, "x", labels.astype(object)), mask=hidden),
        np.ma.array(np.where(hidden[:, None], False, one_hot), mask=np.column_stack([hidden, hidden])),
        list(np.ma.array(np.where(hidden[:, None], False, one_hot), mask=np.column_stack([hidden, hidden]))),
    ):
        np.testing.assert_array_equal(PartialLabels.of_labels(given, N, np.arange(2)).masks(), expected)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: gaussian(weights_init=np.ma.array([0.5, 0.5], mask=[0, 1])), "weights_init"),
        (lambda: gaussian(means_init=np.ma.array(np.zeros((2, 2)), mask=np.eye(2))), "means_init"),
        (lambda: gaussian(precisions_init=[np.ma.array(np.ones(2), mask=[0, 1])] * 2), "precisions_init"),
        (lambda: gaussian(init_params=np.ma.array(np.arange(N) % 2, mask=np.arange(N) == 5)), "init_params"),
        (lambda: gaussian(init_params=lambda X, k, r: np.ma.array([0] * len(X), mask=[1] * len(X))), "init_params"),
        (lambda: PoissonMixture(2, params_init={"rates": np.ma.array(np.ones((2, 2)), mask=np.eye(2))}), "rates"),
        (lambda: FixedMixture([norm], weights_init=np.ma.array([1.0], mask=[1])), "weights_init"),
    ],
)
def test_masked_settings_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name}.* masked"):
        make().fit(VALUES)


def test_masked_results_are_refused():
    fitted = gaussian().fit(VALUES)
    with pytest.raises(ValueError, match="without a mask"):
        fitted.predict(VALUES, out=np.ma.array(np.zeros(N, np.int64), mask=np.arange(N) == 2, hard_mask=True))


def test_densities_see_missing_cells_as_nan():
    data = masked(VALUES, -999.0)
    seen = []

    def density(rows):
        seen.append(rows)
        return np.zeros(len(rows))

    FixedMixture([density]).fit(data)
    np.testing.assert_array_equal(np.vstack(seen)[:N], with_nan(VALUES))
    with pytest.raises(ValueError, match="finite or -inf, but gave nan for the row"):
        FixedMixture([lambda rows: norm.logpdf(rows[:, 0])]).fit(data)


def test_conditional_refuses_missing_cells():
    with pytest.raises(ValueError, match="NaN"):
        gaussian().fit(VALUES).conditional(np.ma.array([[1.0]], mask=[[True]]), given=[0])
