"""Files as input and output."""

import os

import numpy as np
import pytest

import fastem
from fastem import DataChangedError, GaussianMixture
from fastem.kernels.tiles import tile_rows
from fastem.sources import NpySource, write_npy

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2", "<i4", "|u1", "|b1"])
@pytest.mark.parametrize("n", [1, 255, 5000])
def test_npy_blocks_are_the_array(tmp_path, order, dtype, n):
    array = np.array(RNG.integers(0, 2, (n, 7)), dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    source = NpySource(tmp_path / "a.npy")
    assert (source.n_rows, source.n_features) == array.shape
    blocks = [(first, block.copy()) for first, block in source.blocks()]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), array)
    assert [first for first, _ in blocks] == np.cumsum([0, *(len(b) for _, b in blocks[:-1])]).tolist()
    np.testing.assert_array_equal(source.read(n // 2, n - n // 2), array[n // 2 :])


def test_several_blocks_of_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr("fastem.sources._source.BUFFER_BYTES", 2**16)
    array = RNG.normal(size=(20_000, 5))
    np.save(tmp_path / "a.npy", array)
    blocks = [block.copy() for _, block in NpySource(tmp_path / "a.npy").blocks()]
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate(blocks), array)
    assert all(len(block) % tile_rows(array.dtype) == 0 for block in blocks[:-1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), "two dimensions"),
        (np.zeros((2, 2, 2)), "two dimensions"),
        (np.zeros((3, 2), complex), "real numbers"),
        (np.array([["a", "b"]]), "real numbers"),
        (np.zeros(3, dtype=[("a", "f8")]), "two dimensions"),
    ],
)
def test_refused_arrays(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=message):
        GaussianMixture().fit(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\x10\x00{broken          "])
def test_refused_files(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a \.npy file"):
        GaussianMixture().fit(tmp_path / "a.npy")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        GaussianMixture().fit(tmp_path / "none.npy")


def test_truncated_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((100, 3)))
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(ValueError, match="truncated"):
        GaussianMixture().fit(path)


def _truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def _append(path):
    with open(path, "ab") as file:
        file.write(b"more")


def _touch(path):
    os.utime(path, ns=(0, 0))


def _replace(path):
    np.save(path.with_suffix(".new.npy"), np.zeros((10_000, 3)))
    path.with_suffix(".new.npy").replace(path)


@pytest.mark.parametrize("change", [_truncate, _append, _touch, _replace])
def test_a_file_that_changes_is_an_error(tmp_path, change):
    path = tmp_path / "a.npy"
    np.save(path, RNG.normal(size=(60_000, 3)))

    def callback(iteration):
        if iteration.n_iter == 2:
            change(path)

    mixture = GaussianMixture(2, random_state=0, tol=0, callbacks=callback)
    with pytest.raises(DataChangedError, match="changed while it was in use"):
        mixture.fit(path)
    assert not hasattr(mixture, "means_")


def test_a_file_that_shrinks_in_mid_pass_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("fastem.sources._source.BUFFER_BYTES", 2**14)
    path = tmp_path / "a.npy"
    np.save(path, RNG.normal(size=(20_000, 3)))
    blocks = NpySource(path).blocks()
    next(blocks)
    _truncate(path)
    with pytest.raises(DataChangedError, match=r"ends at byte|changed"):
        list(blocks)


def test_results_into_arrays_and_files(tmp_path):
    X = RNG.normal(size=(5000, 3))
    np.save(tmp_path / "X.npy", X)
    fit = GaussianMixture(2, random_state=0, tol=0.01).fit(X)
    for method, shape, dtype in (
        ("predict", (5000,), np.int64),
        ("predict_proba", (5000, 2), np.float64),
        ("score_samples", (5000,), np.float64),
    ):
        expected = getattr(fit, method)(X)
        assert expected.dtype == dtype
        out = np.empty(shape, dtype)
        assert getattr(fit, method)(X, out=out) is out
        np.testing.assert_array_equal(out, expected)
        mapped = getattr(fit, method)(tmp_path / "X.npy", out=tmp_path / f"{method}.npy")
        assert isinstance(mapped, np.memmap)
        np.testing.assert_array_equal(mapped, expected)
        np.testing.assert_array_equal(np.load(tmp_path / f"{method}.npy"), expected)
        with pytest.raises(ValueError, match="out must be"):
            getattr(fit, method)(X, out=np.empty(3))
        with pytest.raises(ValueError, match="is the file that the data come from"):
            getattr(fit, method)(tmp_path / "X.npy", out=tmp_path / "X.npy")
    with pytest.raises(ValueError, match="out must be"):
        fit.predict_proba(X, out=np.empty((5000, 2), np.int64))
    narrow = np.empty(5000, np.int16)
    np.testing.assert_array_equal(fit.predict(X, out=narrow), fit.predict(X))


def test_wrong_number_of_columns(tmp_path):
    fit = GaussianMixture(2, random_state=0).fit(RNG.normal(size=(100, 3)))
    np.save(tmp_path / "X.npy", np.zeros((10, 4)))
    with pytest.raises(ValueError, match="X has 4 features, but GaussianMixture is expecting 3"):
        fit.predict(tmp_path / "X.npy")


def test_an_interrupted_result_leaves_nothing_behind(tmp_path):
    path = tmp_path / "out.npy"
    np.save(path, np.arange(3))
    with pytest.raises(RuntimeError, match="disk"), write_npy(path, (4, 2), np.dtype(float)) as append:
        append(np.zeros((2, 2)))
        raise RuntimeError("disk")
    assert [p.name for p in tmp_path.iterdir()] == ["out.npy"]
    np.testing.assert_array_equal(np.load(path), np.arange(3))


@pytest.mark.parametrize("data", [np.zeros(3), np.array([["a"]])])
def test_open_source_refuses_what_is_no_table(data):
    with pytest.raises(ValueError, match="table of real numbers"):
        fastem.open(data)


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match="give real and imaginary parts of the complex128 numbers as columns"):
        fastem.open(np.zeros((3, 2), complex))


def test_open_source(tmp_path):
    X = RNG.normal(size=(100, 2))
    np.save(tmp_path / "X.npy", X)
    for data in (X, tmp_path / "X.npy", str(tmp_path / "X.npy")):
        source = fastem.open(data)
        assert fastem.open(source) is source
        np.testing.assert_array_equal(source.read(10, 5), X[10:15])
        rows = source.sample_rows(20, n_chunks=4)
        assert np.all(np.diff(rows) > 0) and len(rows) == 20 and rows[-1] == 99
        np.testing.assert_array_equal(source.take(rows), X[rows])
