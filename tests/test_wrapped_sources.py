"""Sources around others forward what those know; results never overwrite the data that they are made of."""

import pickle

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import norm

import fastem
from fastem import FixedMixture, GaussianMixture, Mixture
from fastem.engine.cluster import ClusterData, make_data
from fastem.engine.partial_labels import PartialLabels
from fastem.estimators._densities import DensitySource
from fastem.families import LinearRegression
from fastem.sources import (
    CensoredSource,
    CodedSource,
    DoubleSource,
    NpySource,
    OffsetSource,
    PairedSource,
    ResponseSource,
    open_source,
)
from fastem.sources._wrapped import WrappedSource
from fastem.sources.columns import ColumnsSource, RowsSource
from fastem.sources.dask import DaskSource
from fastem.storage.checkpoints import describe

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(m, 1, (300, 1)) for m in (-4, 4)])
Y = np.where(X[:, 0] < 0, 2 * X[:, 0] + 1, -X[:, 0]) + RNG.normal(0, 0.1, 600)


@pytest.fixture(scope="module")
def regression():
    return Mixture(LinearRegression(), 2, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def gaussian():
    return GaussianMixture(2, covariance_type="diag", random_state=0).fit(X)


WRAPPERS = {
    "double": DoubleSource,
    "columns": lambda source: ColumnsSource(source, [1]),
    "rows": lambda source: RowsSource(source, 10, 500),
    "response": lambda source: ResponseSource(source, Y),
    "paired": lambda source: PairedSource(source, np.abs(Y)),
    "censored": lambda source: CensoredSource(source, np.where(Y > 0, np.nan, -1.0)),
    "offset": lambda source: OffsetSource(source, Y),
    "coded": lambda source: CodedSource(source, {1: np.arange(2.0)}, {1}),
    "densities": lambda source: DensitySource(source, [_density, _density]),
}


def _density(rows):
    return norm.logpdf(rows[:, 0])


def test_every_wrapper_is_tested(tmp_path):
    np.save(tmp_path / "X.npy", np.hstack([X, X]))
    found = {type(wrap(NpySource(tmp_path / "X.npy"))) for wrap in WRAPPERS.values()}
    kinds, new = set(), {WrappedSource}
    while new:
        kinds |= new
        new = {sub for kind in new for sub in kind.__subclasses__()} - kinds
    assert {kind for kind in kinds if not kind.__abstractmethods__} == found


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_forward_traits(tmp_path, name):
    path = tmp_path / "X.npy"
    np.save(path, np.hstack([X, X]))
    file = NpySource(path)
    wrapped = WRAPPERS[name](file)
    assert wrapped.is_at(path) and not wrapped.is_at(tmp_path / "other.npy")
    assert wrapped.is_shared
    assert wrapped.row_bytes >= file.row_bytes
    assert wrapped.fingerprint()["of"] == file.fingerprint()
    array = np.hstack([X, X])
    assert any(np.shares_memory(array, part) for part in WRAPPERS[name](open_source(array)).memory())
    rows = wrapped.read(0, wrapped.n_rows)
    chosen = np.array([0, 1, 7, 100, 499])
    np.testing.assert_array_equal(wrapped.take(chosen), rows[chosen])
    part = pickle.loads(pickle.dumps(wrapped.range(20, 30)))
    np.testing.assert_array_equal(part.read(0, 30), rows[20:50])
    assert len(pickle.dumps(wrapped.range(20, 30))) < 2000


def test_responses_travel_with_their_rows_only(tmp_path):
    np.save(tmp_path / "X.npy", X)
    data = ClusterData(ResponseSource(NpySource(tmp_path / "X.npy"), Y))
    parts = [part.compute() for part in data._partitions]
    assert all(len(part.y) == part.n_rows for part in parts)
    np.testing.assert_array_equal(np.vstack([part.read(0, part.n_rows) for part in parts]), np.column_stack([X, Y]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_responses_beside_a_dask_collection_stay_on_the_cluster(monkeypatch):
    rows, y = np.tile(X, (100, 1)), np.tile(Y, 100)
    settings = {"n_components": 2, "random_state": 0, "max_iter": 3, "n_screen": 1}
    expected = Mixture(LinearRegression(), **settings).fit(rows, y)
    monkeypatch.setattr(DaskSource, "reading", None)  # what brings all rows here
    array = da.from_array(rows, chunks=(7000, 1))
    assert isinstance(make_data(ResponseSource(open_source(array), y), None, None, None), ClusterData)
    found = Mixture(LinearRegression(), **settings).fit(array, y)
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-10)
    columns = fastem.open(fastem.open(da.from_array(np.hstack([rows, rows]), chunks=(7000, 2))), columns=[1])
    assert isinstance(make_data(columns, None, None, None), ClusterData)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # of SciPy
def test_densities_of_a_dask_collection():
    array = da.from_array(X, chunks=(100, 1))
    fixed = FixedMixture([norm(-4), norm(4)]).fit(X)
    np.testing.assert_allclose(FixedMixture([norm(-4), norm(4)]).fit(array).weights_, fixed.weights_, rtol=1e-10)
    np.testing.assert_allclose(fixed.score(array), fixed.score(X), rtol=1e-10)
    np.testing.assert_array_equal(fixed.predict(array), fixed.predict(X))
    holes = X.copy()
    holes[417] = 1e200
    with pytest.raises(ValueError, match="Row 417 of X has density 0"):
        fixed.score(da.from_array(holes, chunks=(100, 1)))


# --- results over the data --------------------------------------------------------------------


def test_a_file_of_rows_is_not_overwritten(tmp_path, regression, gaussian):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    noisy = Mixture(fastem.families.GaussianDiag(), 2, noise=True, random_state=0).fit(X)
    fixed = FixedMixture([norm(-4), norm(4)]).fit(X)
    for mixture, y in ((regression, Y), (noisy, None), (fixed, None), (gaussian, None)):
        for method in ("predict", "predict_proba", "score_samples", "impute"):
            if mixture is fixed and method == "impute":
                continue
            for out in (path, np.load(path, mmap_mode="r+")[:, 0]):
                with pytest.raises(ValueError, match="the file that the data come from"):
                    getattr(mixture, method)(path, y, out=_fitting(mixture, method, out))
    np.testing.assert_array_equal(np.load(path), X)


def _fitting(mixture, method, out):
    """An array of the shape of a result in the same memory."""
    shape = {"predict": (600,), "score_samples": (600,)}.get(method, (600, 2))
    if not isinstance(out, np.ndarray):
        return out
    strides = (0,) * len(shape)
    view = np.lib.stride_tricks.as_strided(out, shape, strides, writeable=True)
    assert np.shares_memory(view, out)
    return view


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "impute"])
@pytest.mark.parametrize(
    "make",
    [
        lambda rows: rows,
        lambda rows: [rows[:200], rows[200:]],
        lambda rows: lambda: (rows[i : i + 100] for i in range(0, 600, 100)),
        lambda rows: fastem.open(rows, columns=[0]),
        lambda rows: [open_source(rows[:200]), open_source(rows[200:])],
        lambda rows: pa.table({"x": pa.array(rows[:, 0])}),
        lambda rows: pd.DataFrame(rows, columns=["x"], copy=False),
    ],
    ids=["array", "list", "stream", "columns", "parts", "arrow", "pandas"],
)
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_an_array_of_rows_is_not_overwritten(gaussian, make, method):
    rows = X.copy()
    with pytest.raises(ValueError, match="lies in the memory of the data"):
        getattr(gaussian, method)(make(rows), out=_out(rows, method))
    np.testing.assert_array_equal(rows, X)
    getattr(gaussian, method)(make(rows), out=_out(X.copy(), method))


def _out(rows, method):
    shape = {"predict": (600,), "score_samples": (600,), "impute": (600, 1)}.get(method, (600, 2))
    return np.lib.stride_tricks.as_strided(rows, shape, (8, 0)[: len(shape)], writeable=True)


def test_neighbouring_columns_are_no_input(gaussian):
    table = np.hstack([X, np.zeros_like(X)])
    gaussian.score_samples(table[:, :1], out=table[:, 1])
    np.testing.assert_array_equal(table[:, 1], gaussian.score_samples(X))


def test_responses_are_not_overwritten(regression):
    y = Y.copy()
    with pytest.raises(ValueError, match="lies in the memory of the data"):
        regression.score_samples(X, y, out=y)


def test_a_stream_of_maps_is_not_overwritten(tmp_path, gaussian):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", X[200 * i : 200 * i + 200])

    def stream():
        return (np.load(tmp_path / f"{i}.npy", mmap_mode="r") for i in range(3))

    with pytest.raises(ValueError, match="the file that the data come from"):
        gaussian.predict(stream, out=tmp_path / "1.npy")
    mapped = np.load(tmp_path / "1.npy", mmap_mode="r+")
    with pytest.raises(ValueError, match="the file that the data come from"):
        gaussian.score_samples(stream, out=np.lib.stride_tricks.as_strided(mapped, (600,), (0,), writeable=True))
    with pytest.raises(ValueError, match="the file that the data come from"):
        gaussian.predict(np.load(tmp_path / "1.npy", mmap_mode="r"), out=tmp_path / "1.npy")


# --- streams and labels -----------------------------------------------------------------------


def test_impute_passes_over_a_stream_once(monkeypatch, gaussian):
    holes = X.copy()
    holes[::7] = np.nan
    opened = []

    def stream():
        opened.append(1)
        return (holes[i : i + 50] for i in range(0, 600, 50))

    monkeypatch.setattr("fastem.sources._source.BUFFER_BYTES", 2**10)
    filled = gaussian.impute(stream)
    assert len(opened) == 2  # the first one counts the rows
    np.testing.assert_array_equal(filled, gaussian.impute(holes))
    np.testing.assert_allclose(filled[::7, 0], gaussian.weights_ @ gaussian.means_[:, 0])


def test_masks_of_labels_are_never_whole(monkeypatch):
    labels = RNG.integers(-1, 3, 40_000)
    allowed = PartialLabels.of_labels(labels, len(labels), np.arange(3))
    expected = describe(allowed.masks())
    masks = PartialLabels.masks

    def some(self, first=0, count=None):
        assert count is not None and count <= 20_000
        return masks(self, first, count)

    monkeypatch.setattr(PartialLabels, "masks", some)
    assert allowed.describe() == expected
    assert PartialLabels(None, masks(allowed)).describe() == expected
