"""Formats, frames and streams: what is read, and what is refused."""

import pickle
import sys

import dask.array as da
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastem
from fastem import GaussianMixture
from fastem.kernels.tiles import tile_rows
from fastem.sources import Source
from fastem.sources._cursor import Cursor
from tests import stores

RNG = np.random.default_rng(0)
EVERYWHERE = stores.SAME_BITS + stores.SAME_NUMBERS
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _all_rows(source):
    blocks = [(first, block.copy()) for first, block in source.blocks()]
    assert [first for first, _ in blocks] == np.cumsum([0, *(len(block) for _, block in blocks)])[:-1].tolist()
    assert all(first % tile_rows(source.dtype) == 0 for first, _ in blocks)
    return np.concatenate([np.empty((0, source.n_features), source.dtype), *(block for _, block in blocks)])


@pytest.mark.parametrize("store", EVERYWHERE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 300, 20_007])
def test_every_store_gives_the_rows(tmp_path, monkeypatch, store, dtype, n):
    monkeypatch.setattr("fastem.sources._source.BUFFER_BYTES", 2**15)
    X = RNG.normal(size=(n, 5)).astype(dtype)
    data = store(tmp_path, X)
    source = fastem.open(data)
    assert (source.n_rows, source.n_features, source.dtype) == (n, 5, dtype)
    np.testing.assert_array_equal(_all_rows(source), X)
    np.testing.assert_array_equal(_all_rows(source), X)
    np.testing.assert_array_equal(source.read(n // 3, n - n // 3), X[n // 3 :])
    rows = source.sample_rows(50, n_chunks=7)
    np.testing.assert_array_equal(source.take(rows), X[rows])
    # opened a second time, or, where the store gives an open source, a copy of it: never the same object
    again = pickle.loads(pickle.dumps(data)) if isinstance(data, Source) else fastem.open(data)
    assert again is not source and again.fingerprint() == source.fingerprint()
    chosen = fastem.open(source if source.names is None else store(tmp_path, X), columns=[3, -5])
    np.testing.assert_array_equal(_all_rows(chosen), X[:, [3, 0]])
    assert source.row_bytes == 5 * X.itemsize
    assert source.fingerprint() != chosen.fingerprint()


@pytest.mark.parametrize("store", [stores.parquet, stores.ipc, stores.pandas_frame, stores.polars_frame,
                                   stores.arrow_table, stores.dask_frame])  # fmt: skip
def test_columns_by_name(tmp_path, store):
    X = RNG.normal(size=(500, 4))
    data = store(tmp_path, X)
    source = fastem.open(data, columns=["x2", "x0"])
    assert source.names == ["x2", "x0"]
    np.testing.assert_array_equal(_all_rows(source), X[:, [2, 0]])
    fit = GaussianMixture(2, random_state=0).fit(source)
    assert list(fit.feature_names_in_) == ["x2", "x0"]
    fit.predict(source)
    with pytest.raises(ValueError, match="feature names should match"):
        fit.predict(fastem.open(data, columns=["x0", "x2"]))
    for columns, message in (
        (["x9"], "no column 'x9', but 'x0'"), ([4], "no column 4: the data have 4"), ([], "at least one column"),
        ([0, "x0"], "none twice"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            fastem.open(data, columns=columns)


def test_names_need_named_columns():
    with pytest.raises(ValueError, match="no names, choose columns by number"):
        fastem.open(np.zeros((3, 2)), columns=["a"])


MISSING = [[1.0, 2.0], [np.nan, 4.0], [5.0, np.nan]]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(MISSING, columns=["a", "b"]),
        pd.DataFrame({"a": pd.array([1, None, 5], dtype="Int64"), "b": pd.array([2.0, 4.0, None], dtype="Float64")}),
        pl.DataFrame({"a": [1, None, 5], "b": [2.0, 4.0, None]}),
        pa.table({"a": pa.array([1, None, 5], pa.int8()), "b": pa.array([2.0, 4.0, None])}),
        pa.record_batch({"a": pa.array([1, None, 5], pa.int32()), "b": pa.array([2.0, 4.0, None])}),
    ],
    ids=["pandas", "pandas_nullable", "polars", "table", "batch"],
)
def test_nulls_become_nan(frame, tmp_path):
    np.testing.assert_array_equal(fastem.open(frame).read(0, 3), MISSING)
    assert GaussianMixture().fit(frame).score_samples(frame).shape == (3,)


def test_nulls_in_files(tmp_path):
    table = pa.table({"a": pa.array([1, None, 5], pa.int8()), "b": pa.array([2.0, 4.0, None])})
    pq.write_table(table, tmp_path / "n.parquet")
    with pa.OSFile(str(tmp_path / "n.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    for name in ("n.parquet", "n.arrow"):
        np.testing.assert_array_equal(fastem.open(tmp_path / name).read(0, 3), MISSING)


def test_numbers_of_other_kinds():
    frame = pa.table(
        {
            "decimal": pa.array([1, 2], pa.decimal128(5, 2)), "bool": [True, None],
            "half": pa.array([1, 2], pa.float16()),
            "big": pa.array([1, 2], pa.uint64()),
        }
    )  # fmt: skip
    np.testing.assert_array_equal(fastem.open(frame).read(0, 2), [[1, 1, 1, 1], [2, np.nan, 2, 2]])
    assert fastem.open(pl.DataFrame({"b": [True, False]})).read(0, 2).tolist() == [[1], [0]]
    assert fastem.open(pd.DataFrame({"b": [True, False], "i": [1, 2]})).read(0, 2).tolist() == [[1, 1], [0, 2]]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_columns_without_numbers_are_named(make, tmp_path):
    frame = make({"name": ["x", "y"], "a": [1.0, 2.0], "b": [3.0, 4.0]})
    with pytest.raises(ValueError, match="Columns without numbers: name"):
        GaussianMixture().fit(frame)
    np.testing.assert_array_equal(fastem.open(frame, columns=["b", "a"]).read(0, 2), [[3, 1], [4, 2]])
    if make is pa.table:
        pq.write_table(frame, tmp_path / "s.parquet")
        with pytest.raises(ValueError, match=r"columns without numbers: name \(string\)"):
            fastem.open(tmp_path / "s.parquet")
        np.testing.assert_array_equal(fastem.open(tmp_path / "s.parquet", columns=["b"]).read(0, 2), [[3], [4]])


def test_frames_without_names_of_columns():
    frame = pd.DataFrame(RNG.normal(size=(50, 2)))
    assert not hasattr(GaussianMixture(2, random_state=0).fit(frame), "feature_names_in_")


# --- files ------------------------------------------------------------------------------------


def test_formats_are_known_by_their_content(tmp_path):
    X = RNG.normal(size=(100, 2))
    for store in (stores.npy, stores.parquet, stores.ipc, stores.hdf5_in_chunks):
        other = store(tmp_path, X).rename(tmp_path / f"{store.__name__}.data")
        np.testing.assert_array_equal(fastem.open(other).read(0, 100), X)


def test_hdf5_tables_are_named(tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["g/b"], file["line"] = np.zeros((3, 2)), np.ones((4, 2)), np.zeros(5)
        file["flags"] = np.array([[True], [False]])
    with pytest.raises(ValueError, match=r"holds 3 tables \(a, flags, g/b\): name one, as in .*two\.h5::dataset"):
        fastem.open(tmp_path / "two.h5")
    with pytest.raises(ValueError, match="no dataset 'c', but a, flags, g/b"):
        fastem.open(f"{tmp_path}/two.h5::c")
    with pytest.raises(ValueError, match="two dimensions"):
        fastem.open(f"{tmp_path}/two.h5::line")
    assert fastem.open(f"{tmp_path}/two.h5::g/b").n_rows == 4
    assert fastem.open(f"{tmp_path}/two.h5::flags").read(0, 2).tolist() == [[1], [0]]


def test_zarr_arrays_are_named(tmp_path):
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_array("rows", data=np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"name one of its arrays, as in .*g\.zarr::rows"):
        fastem.open(tmp_path / "g.zarr")
    assert fastem.open(f"{tmp_path}/g.zarr::rows").n_rows == 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is a directory and no Zarr store"):
        fastem.open(tmp_path / "empty")


def test_plain_binary_files(tmp_path):
    X = RNG.normal(size=(10, 3))
    (tmp_path / "x.bin").write_bytes(X.astype(">f4").tobytes())
    source = fastem.open(tmp_path / "x.bin", dtype=">f4", shape=(10, 3))
    np.testing.assert_array_equal(source.read(0, 10), X.astype("f4"))
    assert fastem.open(tmp_path / "x.bin", dtype="i2", shape=(-1, 3)).n_rows == 20
    for how, message in (
        ({"dtype": "f4"}, "needs its path, dtype and shape"),
        ({"offset": 4}, "needs its path, dtype and shape"),
        ({"dtype": "f4", "shape": (11, 3)}, "truncated: 120 bytes, but 132"),
        ({"dtype": "f4", "shape": (-1, 4)}, "not a whole number of rows"),
        ({"dtype": "f4", "shape": (10,)}, "two dimensions"),
        ({"dtype": "c8", "shape": (10, 1)}, "real numbers"),
        ({"dtype": "f4", "shape": (5, 3), "offset": -4}, "cannot have the shape"),
    ):
        with pytest.raises(ValueError, match=message):
            fastem.open(tmp_path / "x.bin", **how)


@pytest.mark.parametrize("signature", [b"PAR1", b"ARROW1\0\0", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_files_that_only_begin_like_others(tmp_path, signature):
    (tmp_path / "bad").write_bytes(signature + b"nothing that follows makes sense" * 10)
    with pytest.raises(ValueError, match="bad"):
        fastem.open(tmp_path / "bad")


def test_unknown_files_are_told_what_is_read(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"fastem reads \.npy, Parquet, Arrow IPC, HDF5 and Zarr"):
        fastem.open(tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError, match="No file matches"):
        fastem.open(str(tmp_path / "*.npy"))
    with pytest.raises(FileNotFoundError):
        fastem.open("no/such.parquet")


@pytest.mark.parametrize(
    ("module", "store", "extra"),
    [("h5py", stores.hdf5, "hdf5"), ("zarr", stores.zarr_array, "zarr"), ("pyarrow", stores.parquet, "arrow"),
     ("pyarrow", stores.ipc, "arrow")],
)  # fmt: skip
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, module, store, extra):
    path = store(tmp_path, np.zeros((5, 2)))
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}: pip install 'fastem\[{extra}\]'"):
        fastem.open(path)


# --- several parts ----------------------------------------------------------------------------


def test_parts_of_several_kinds(tmp_path):
    X = RNG.normal(size=(900, 3)).astype(np.float32)
    parts = [stores.npy(tmp_path, X[:300]), stores.hdf5(tmp_path, X[300:301]), stores.zarr_array(tmp_path, X[301:])]
    source = fastem.open(parts)
    assert source.dtype == np.float32
    np.testing.assert_array_equal(_all_rows(source), X)
    np.save(tmp_path / "double.npy", X.astype(np.float64) + 1e-12)
    mixed = fastem.open([*parts, tmp_path / "double.npy", fastem.open(tmp_path / "double.npy")])
    assert mixed.dtype == np.float64 and mixed.n_rows == 2700
    np.testing.assert_array_equal(mixed.read(890, 20), np.concatenate([X[890:], X[:10].astype(np.float64) + 1e-12]))
    assert mixed.is_at(tmp_path / "double.npy") and not mixed.is_at(tmp_path / "none")


def test_parts_that_do_not_fit_together(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    np.save(tmp_path / "b.npy", np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"b\.npy has 4 columns, but .*a\.npy has 2"):
        fastem.open([tmp_path / "a.npy", tmp_path / "b.npy"])
    for name in ("xy", "yx"):
        pq.write_table(pa.table({c: [1.0] for c in name}), tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"has the columns \['y', 'x'\], but .* has \['x', 'y'\]"):
        fastem.open(str(tmp_path / "*.parquet"))
    assert fastem.open(str(tmp_path / "*.parquet"), columns=["y"]).n_rows == 2


# --- streams ----------------------------------------------------------------------------------


def test_one_shot_iterators_are_refused():
    for once in (iter([np.zeros((3, 2))]), (part for part in [np.zeros((3, 2))])):
        with pytest.raises(ValueError, match=r"can be read once only.*pass a function.*partial_fit"):
            GaussianMixture().fit(once)


def test_streams_of_frames_and_of_differing_dtypes():
    X = RNG.normal(size=(600, 2))
    frames = fastem.open(lambda: (pd.DataFrame(X[i : i + 100], columns=["a", "b"]) for i in range(0, 600, 100)))
    assert frames.names == ["a", "b"]
    np.testing.assert_array_equal(_all_rows(frames), X)
    mixed = fastem.open(lambda: [X[:10].astype("f4"), X[10:20], np.ones((5, 2), int), np.zeros((0, 2))])
    assert mixed.dtype == np.float64 and mixed.n_rows == 25
    np.testing.assert_array_equal(mixed.read(8, 14), np.concatenate([X[8:10].astype("f4"), X[10:20], np.ones((2, 2))]))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "gave no arrays"), ([np.zeros((3, 2)), np.zeros((3, 3))], "Part 1 of the iterator has 3 columns"),
        ([np.zeros(3)], "Part 0 of the iterator holds an array of shape"),
        ([np.zeros((3, 2)), np.zeros((3, 2), complex)], "Part 1 of the iterator holds complex128"),
        ([pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})], r"Part 1 .*\['b'\], but part 0 .*\['a'\]"),
    ],
)  # fmt: skip
def test_bad_streams(parts, message):
    with pytest.raises(ValueError, match=message):
        fastem.open(lambda: parts)


def test_errors_in_a_stream_come_through():
    def function():
        yield np.zeros((10, 2))
        raise OSError("the tape broke")

    with pytest.raises(OSError, match="the tape broke"):
        GaussianMixture().fit(function)


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    asked=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8),
    group=st.integers(1, 4),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_cursor_cuts_anew(sizes, asked, group):
    """Any rows in any order, from parts that can be begun at every `group`-th."""
    starts = np.cumsum([0, *sizes])
    rows = np.arange(2.0 * starts[-1]).reshape(-1, 2)
    begins = starts[:-1][::group]

    def parts(row):
        i = int(np.flatnonzero(starts[:-1] == row)[0])
        return (rows[starts[j] : starts[j + 1]] for j in range(i, len(sizes)))

    cursor = Cursor(parts, lambda row: int(begins[begins <= row][-1]))
    for a, b in asked:
        first, end = sorted((a % (len(rows) + 1), b % (len(rows) + 1)))
        out = np.empty((end - first, 2))
        cursor(first, out)
        np.testing.assert_array_equal(out, rows[first:end])


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", EVERYWHERE)
def test_no_rows_and_one_row(tmp_path, store):
    with pytest.raises(ValueError, match=r"Found 1 sample|minimum of 2|1 sample"):
        GaussianMixture().fit(store(tmp_path, np.zeros((1, 2))))
    if store in (stores.stream, stores.dask_array, stores.dask_frame, stores.zarr_array, stores.zarr_shards):
        return  # these cannot be made without rows
    with pytest.raises(ValueError, match=r"0 sample"):
        GaussianMixture().fit(store(tmp_path, np.zeros((0, 2))))


def test_dask_array_of_an_open_source(tmp_path):
    X = RNG.normal(size=(100, 2))
    assert fastem.open(da.from_array(X)).n_rows == 100


# --- behaviour --------------------------------------------------------------------------------


def test_few_of_many_columns_take_little_memory(tmp_path):
    import tracemalloc

    np.save(tmp_path / "wide.npy", np.zeros((40_000, 500)))
    source = fastem.open(tmp_path / "wide.npy", columns=[7])
    tracemalloc.start()
    for _ in source.blocks():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20 < (tmp_path / "wide.npy").stat().st_size


def test_a_slow_stream_lets_go(tmp_path):
    """Between two parts, not when a whole block is full."""
    import time

    def slow():
        for i in range(1000):
            if calls and i:
                time.sleep(0.02)
            yield np.zeros((1000, 3))

    calls = []
    source = fastem.open(slow)
    calls.append(1)
    blocks = source.blocks()
    began = time.monotonic()
    next_block = iter(blocks)

    def interrupt(*_):
        raise KeyboardInterrupt

    import signal

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(next_block)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - began < 1.5


def test_a_stream_stays_in_the_thread_that_reads_it(tmp_path):
    """As connections of SQLite demand."""
    import sqlite3

    path = tmp_path / "rows.db"
    X = RNG.normal(size=(5000, 2))
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a real, b real)")
        connection.executemany("insert into t values (?, ?)", X.tolist())
    connection.close()

    def stream():
        connection = sqlite3.connect(path)
        try:
            cursor = connection.execute("select a, b from t order by rowid")
            while rows := cursor.fetchmany(700):
                yield np.array(rows)
        finally:
            connection.close()

    fit = GaussianMixture(2, random_state=0, max_iter=3).fit(stream)
    np.testing.assert_array_equal(fit.means_, GaussianMixture(2, random_state=0, max_iter=3).fit(X).means_)
    blocks = fastem.open(stream).blocks()
    next(blocks)
    blocks.close()


def test_zarr_in_a_zip_and_arrays_in_a_zip(tmp_path):
    X = RNG.normal(size=(100, 2))
    with zarr.storage.ZipStore(tmp_path / "x.zarr.zip", mode="w") as store:
        zarr.create_array(store, data=X)
    np.testing.assert_array_equal(_all_rows(fastem.open(tmp_path / "x.zarr.zip")), X)
    np.savez(tmp_path / "x.npz", a=X)
    with pytest.raises(ValueError, match="holds several arrays"):
        fastem.open(tmp_path / "x.npz")


def test_read_errors_name_the_file(tmp_path):
    X = RNG.normal(size=(50_000, 2))
    for i in range(2):
        path = stores.parquet(tmp_path, X).rename(tmp_path / f"q-{i}.parquet")
    content = bytearray(path.read_bytes())
    content[1000:200_000] = bytes(199_000)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"q-1\.parquet cannot be read"):
        _all_rows(fastem.open(str(tmp_path / "q-*.parquet")))


def test_patterns_of_other_kinds(tmp_path):
    X = RNG.normal(size=(60, 2))
    for i in range(3):
        (tmp_path / f"x-{i}.bin").write_bytes(X[20 * i : 20 * i + 20].tobytes())
        with h5py.File(tmp_path / f"h-{i}.h5", "w") as file:
            file["x"], file["y"] = X[20 * i : 20 * i + 20], np.zeros((1, 1))
    np.testing.assert_array_equal(_all_rows(fastem.open(f"{tmp_path}/x-*.bin", dtype="f8", shape=(-1, 2))), X)
    np.testing.assert_array_equal(_all_rows(fastem.open(f"{tmp_path}/h-*.h5::x")), X)


def test_columns_named_by_numbers():
    frame = pd.DataFrame({"2020": [1.0, 2], "0": [3.0, 4]})
    assert fastem.open(frame, columns=["2020"]).names == ["2020"]
    assert fastem.open(frame, columns=["0"]).names == ["0"]
    assert fastem.open(frame, columns=[0]).names == ["2020"]
    assert fastem.open(np.zeros((2, 5)), columns=["-1", "2"]).indices == [4, 2]


def test_frames_follow_scikit_learn():
    X = RNG.normal(size=(50, 2))
    objects = pd.DataFrame(X.astype(object), columns=["a", "b"])
    fit = GaussianMixture(2, random_state=0).fit(objects)
    np.testing.assert_array_equal(fit.means_, GaussianMixture(2, random_state=0).fit(X).means_)
    with pytest.raises(TypeError, match="all input features have string names"):
        GaussianMixture().fit(pd.DataFrame(X, columns=["a", 1]))
    with pytest.warns(UserWarning, match="fitted without feature names"):
        GaussianMixture(2, random_state=0).fit(X).predict(objects)
    with pytest.warns(UserWarning, match="fitted with feature names"):
        fit.predict(X)


def test_other_collections_of_dask():
    import dask

    with pytest.raises(ValueError, match="is no table"):
        fastem.open(dask.delayed(np.zeros)((3, 2)))


def test_a_failing_warning_comes_after_the_fit():
    import warnings

    fit = GaussianMixture(2, random_state=0, max_iter=1, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="did not converge"):
            fit.fit(RNG.normal(size=(100, 2)))
    assert fit.n_features_in_ == 2 and fit.means_.shape == (2, 2)
