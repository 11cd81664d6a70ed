"""What happens when disks fail: every n-th call to the file system, one after the other."""

import builtins
import errno
import io
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

import fastem
from fastem import DataChangedError, GaussianMixture

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(m, 1.5, (1000, 2)) for m in (-2, 2)])
SETTINGS = {"n_components": 2, "tol": 0, "max_iter": 3, "random_state": 0}


class Disk:
    """Counts the calls to the file system that concern a folder, and lets one fail.

    `fault` is an errno, or "short": a read or write that does half of what it should.
    """

    def __init__(self, folder, monkeypatch):
        self.folder = str(folder)
        self.monkeypatch = monkeypatch
        self.calls = []
        self.fails_at = 0
        self.fault = errno.EIO
        self._patch()

    def begin(self, fails_at, fault):
        self.calls, self.fails_at, self.fault = [], fails_at, fault

    def _step(self, what):
        """Whether this call is the one that fails."""
        self.calls.append(what)
        if len(self.calls) != self.fails_at:
            return False
        if self.fault != "short" or what not in ("read", "write"):
            code = errno.EIO if self.fault == "short" else self.fault
            raise OSError(code, os.strerror(code))
        return True

    def _concerns(self, path):
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder)

    def _patch(self):
        disk, real_open = self, builtins.open
        self.descriptors = set()

        def opened(path, mode="r", buffering=-1, *args, **kwargs):
            if not disk._concerns(path):
                return real_open(path, mode, buffering, *args, **kwargs)
            disk._step("open")
            file = _File(os.fspath(path), mode.replace("b", ""))
            file.disk = disk
            disk.descriptors.add(file.fileno())
            return io.BufferedWriter(file) if "w" in mode and buffering else file

        self.monkeypatch.setattr(builtins, "open", opened)
        self.monkeypatch.setattr(io, "open", opened)
        for name in ("fsync", "replace", "link"):
            self._patch_os(name)

    def _patch_os(self, name):
        real = getattr(os, name)

        def call(first, *args, **kwargs):
            if self._concerns(first) or first in self.descriptors:
                self._step(name)
            return real(first, *args, **kwargs)

        self.monkeypatch.setattr(os, name, call)


class _File(io.FileIO):
    disk = None

    def readinto(self, buffer):
        if self.disk._step("read"):
            return super().readinto(memoryview(buffer)[: len(buffer) // 2])
        return super().readinto(buffer)

    def write(self, data):
        if self.disk._step("write"):
            return super().write(memoryview(data)[: len(data) // 2])
        return super().write(data)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "run").mkdir()
    return Disk(tmp_path, monkeypatch)


@contextmanager
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _names(folder):
    return [path.name for path in Path(folder).iterdir()]


def _bits(fit):
    return fit.means_.tobytes() + fit.covariances_.tobytes()


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC, "short"])
def test_each_call_of_a_fit_fails_once(disk, tmp_path, fault):
    """A fault ends the fit or is overcome; the checkpoint is whole, and the fit can go on from it."""
    folder = tmp_path / "run"
    with _quiet():
        expected = _bits(GaussianMixture(**SETTINGS).fit(X))
    raised = overcome = 0
    for n in range(1, 1000):
        shutil.rmtree(folder)
        folder.mkdir()
        fit = GaussianMixture(**SETTINGS)
        disk.begin(n, fault)
        try:
            with _quiet():
                fit.fit(tmp_path / "X.npy", checkpoint=folder / "c", checkpoint_every=0)
        except (OSError, DataChangedError, ValueError) as error:
            assert str(error)
            assert not hasattr(fit, "means_") and not hasattr(fit, "n_features_in_"), disk.calls[-1]
            raised += 1
        else:
            assert _bits(fit) == expected
            overcome += 1
        is_over = len(disk.calls) < n
        disk.begin(0, fault)
        assert not [p for p in _names(folder) if "partial" in p], disk.calls
        with _quiet():
            again = GaussianMixture(**SETTINGS).fit(tmp_path / "X.npy", checkpoint=folder / "c", checkpoint_every=0)
        assert _bits(again) == expected
        if is_over:
            break
    assert is_over and overcome > 10
    assert raised > 3 or fault == "short"


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("what", ["save", "predict"])
def test_each_call_of_a_write_fails_once(disk, tmp_path, fault, what):
    with _quiet():
        fit = GaussianMixture(**SETTINGS).fit(X)
    target = tmp_path / "run" / "out"

    def write():
        if what == "save":
            fit.save(target)
        else:
            fit.predict(tmp_path / "X.npy", out=target)

    write()
    before = target.read_bytes()
    for n in range(1, 1000):
        target.write_bytes(before)
        disk.begin(n, fault)
        with suppress(OSError):
            write()
        is_over = len(disk.calls) < n
        disk.begin(0, fault)
        assert _names(tmp_path / "run") == ["out"]
        assert target.read_bytes() == before
        if is_over:
            break
    assert is_over and n > 4


def test_a_read_error_names_path_and_offset(disk, tmp_path):
    source = fastem.open(tmp_path / "X.npy")
    disk.begin(2, errno.EIO)
    with pytest.raises(OSError, match=r"reading failed at byte 128: Input/output error.*X\.npy"):
        source.read(0, 10)


def _append(path):
    with path.open("ab") as file:
        file.write(b"more")


CHANGES = {
    "truncate": lambda path: os.truncate(path, path.stat().st_size // 2),
    "append": _append,
    "rewrite": lambda path: path.write_bytes(path.read_bytes()),
    "remove": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("store", ["npy", "raw", "parquet", "ipc", "hdf5", "zarr_array"])
def test_changes_in_mid_pass(tmp_path, monkeypatch, store, change):
    from tests import stores

    monkeypatch.setattr("fastem.sources._source.BUFFER_BYTES", 2**15)
    monkeypatch.setattr("fastem.sources.zarr._PART_BYTES", 2**12)
    rows = RNG.normal(size=(30_000, 3))
    source = fastem.open(getattr(stores, store)(tmp_path, rows))
    path = source.path
    if path.is_dir():
        path = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "zarr.json")[-1]
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
    source = fastem.open(getattr(stores, store)(tmp_path, rows)) if store == "raw" else fastem.open(source.path)
    blocks = source.blocks()
    next(blocks)
    CHANGES[change](Path(path))
    with pytest.raises(DataChangedError):
        for _ in blocks:
            pass


@pytest.mark.parametrize("passes", [1, 2])
def test_a_stream_that_loses_rows(passes):
    calls = []

    def shrinks():
        calls.append(1)
        yield X[: 1500 if len(calls) > passes else 2000]

    with pytest.raises(DataChangedError, match="end at row 1500"):
        GaussianMixture(**SETTINGS).fit(shrinks)


def test_a_stream_that_gains_rows():
    calls = []

    def grows():
        calls.append(1)
        yield X[:1000]
        if len(calls) > 1:
            yield X[1000:]

    with pytest.raises(DataChangedError, match="gave 1000 rows the first time, and more now"):
        GaussianMixture(**SETTINGS).fit(grows)


LIMITED = """
    import resource, sys, warnings
    import numpy as np
    from fastem import GaussianMixture
    warnings.simplefilter("ignore")
    path, room = sys.argv[1], int(sys.argv[2])
    fit = GaussianMixture(3, tol=0, max_iter=2, random_state=0)
    fit.fit(np.random.default_rng(0).normal(size=(60_000, 5)))
    before = vars(fit).keys()
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + room, -1))
    other = GaussianMixture(3, tol=0, max_iter=2, random_state=0, n_threads=1)
    try:
        other.fit(path)
        print("fitted")
    except MemoryError:
        print("MemoryError", hasattr(other, "means_"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address spaces are limited on Linux")
@pytest.mark.parametrize(("mebibytes", "said"), [(4, "MemoryError False"), (512, "fitted")])
def test_a_limited_address_space(tmp_path, mebibytes, said):
    np.save(tmp_path / "X.npy", RNG.normal(size=(2_000_000, 5)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path / "X.npy"), str(mebibytes * 2**20)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == said


def test_open_files_are_closed(tmp_path):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for i in range(50):
        np.save(tmp_path / f"{i:03d}.npy", X[:100])
    before = len(_names("/proc/self/fd"))
    source = fastem.open(str(tmp_path / "*.npy"))
    blocks = source.blocks()
    next(blocks)
    assert len(_names("/proc/self/fd")) <= before + 1 <= soft
    blocks.close()
    assert len(_names("/proc/self/fd")) == before
