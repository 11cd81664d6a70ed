"""Model files, sound and hostile."""

import json
import pickle
import struct

import numpy as np
import pytest

import fastem
from fastem import GaussianMixture
from fastem.storage.array_file import ModelFileError
from tests.model_files import join, split

X = np.random.default_rng(0).normal(size=(300, 2))


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.fastem"
    GaussianMixture(2, random_state=0, tol=0.01).fit(X).save(path)
    return path.read_bytes()


def _refused(tmp_path, content):
    path = tmp_path / "bad.fastem"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        fastem.load(path)


def test_other_programs_can_read_the_layout(content):
    header, body = split(content)
    assert header["fitted.means_"]["dtype"] == "F64"
    entry = header["fitted.weights_"]
    begin, end = entry["data_offsets"]
    np.testing.assert_allclose(np.frombuffer(body[begin:end]).sum(), 1)


def test_every_truncation_is_refused(tmp_path, content):
    for length in range(len(content)):
        _refused(tmp_path, content[:length])
    _refused(tmp_path, content + b"\0")


def test_every_damaged_byte_is_refused(tmp_path, content):
    rng = np.random.default_rng(0)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path = tmp_path / "bad.fastem"
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            fastem.load(path)


def test_pickle_under_another_name(tmp_path):
    _refused(tmp_path, pickle.dumps({"a": 1}))


@pytest.mark.parametrize(
    "text",
    [b"[]", b"null", b"{", b'{"a": 1}', b"[" * 100_000, b'{"__metadata__": []}', b"\xff\xfe", b'{"__metadata__": {}}'],
)
def test_headers_that_are_none(tmp_path, text):
    _refused(tmp_path, struct.pack("<Q", len(text)) + text)
    _refused(tmp_path, struct.pack("<Q", 2**63) + text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape", [2**63]), ("shape", [2**40, 2**40]), ("shape", [-1]), ("shape", [2.0]), ("shape", "2"),
        ("shape", [True]), ("shape", [1] * 70), ("dtype", "F32"), ("dtype", ["F64"]), ("dtype", None),
        ("data_offsets", [0, 2**62]), ("data_offsets", [8, 0]), ("data_offsets", [0]), ("data_offsets", [1, 17]),
        ("data_offsets", None),
    ],
)  # fmt: skip
def test_entries_that_lie(tmp_path, content, field, value):
    header, body = split(content)
    header["fitted.weights_"][field] = value
    _refused(tmp_path, join(header, body))


def test_overlapping_arrays(tmp_path, content):
    header, body = split(content)
    header["fitted.means_"] = dict(header["fitted.covariances_"], shape=[8])
    _refused(tmp_path, join(header, body))


@pytest.mark.parametrize("kind", ["os.system", "BaseEstimator", None, 3])
def test_classes_outside_the_registry(tmp_path, content, kind):
    header, body = split(content)
    header["__metadata__"]["class"] = kind
    _refused(tmp_path, join(header, body))


def _edit(content, name, change):
    header, body = split(content)
    begin, end = header[name]["data_offsets"]
    values = np.frombuffer(body[begin:end]).reshape(header[name]["shape"]).copy()
    change(values)
    return join(header, body[:begin] + values.tobytes() + body[end:])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fitted.weights_", 0.9), ("fitted.weights_", np.nan), ("fitted.weights_", -0.5),
        ("fitted.means_", np.inf), ("fitted.covariances_", -1.0), ("fitted.covariances_", np.nan),
        ("fitted.precisions_cholesky_", 0.0), ("fitted.precisions_cholesky_", np.nan),
    ],
)  # fmt: skip
def test_values_that_no_fit_can_have(tmp_path, content, name, value):
    def change(values):
        values[(0,) * values.ndim] = value

    _refused(tmp_path, _edit(content, name, change))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("params", "params.n_components", 3), ("params", "params.n_components", "2"),
        ("params", "params.covariance_type", "diag"), ("params", "params.nonsense", 1),
        ("fitted", "fitted.n_iter_", 10**9), ("fitted", "fitted.n_features_in_", 5),
        ("fitted", "fitted.__class__", "x"), ("fitted", "fitted.fit", "x"),
    ],
)  # fmt: skip
def test_settings_that_do_not_belong(tmp_path, content, part, name, value):
    header, body = split(content)
    values = json.loads(header["__metadata__"][part])
    values[name] = value
    header["__metadata__"][part] = json.dumps(values)
    _refused(tmp_path, join(header, body))


def _without(content, name):
    """The file without one array; those behind it move up."""
    header, body = split(content)
    begin, end = header.pop(name)["data_offsets"]
    for key, entry in header.items():
        if key != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
    return join(header, body[:begin] + body[end:])


@pytest.mark.parametrize(
    "name",
    ["weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "lower_bounds_", "deaths_",
     "history_.objective", "history_.change", "history_.seconds"],
)  # fmt: skip
def test_missing_arrays(tmp_path, content, name):
    _refused(tmp_path, _without(content, f"fitted.{name}"))


@pytest.mark.parametrize(
    "name",
    ["converged_", "stop_reason_", "n_iter_", "lower_bound_", "log_likelihood_", "n_parameters_", "fit_seconds_",
     "n_features_in_"],
)  # fmt: skip
def test_missing_values(tmp_path, content, name):
    header, body = split(content)
    values = json.loads(header["__metadata__"]["fitted"])
    del values[f"fitted.{name}"]
    header["__metadata__"]["fitted"] = json.dumps(values)
    _refused(tmp_path, join(header, body))


def test_checksum_is_needed(tmp_path, content):
    header, body = split(content)
    _refused(tmp_path, join(header, body, sign=False))


def test_starts_are_kept_and_functions_are_not(tmp_path):
    fit = GaussianMixture(
        2, means_init=[[0, 0], [1, 1]], random_state=np.random.RandomState(0), callbacks=print, tol=0.01
    )
    fit.set_params(callbacks=[lambda iteration: None, print]).fit(X)
    fit.save(tmp_path / "m.fastem")
    other = fastem.load(tmp_path / "m.fastem")
    np.testing.assert_array_equal(other.means_init, [[0, 0], [1, 1]])
    assert other.callbacks is None and other.random_state is None


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, content):
    path = tmp_path / "m.fastem"
    path.write_bytes(content)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        fastem.load(path).save(path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["m.fastem"]
