"""Data in files: a file larger than memory, formats beside their own readers, warm-ups, a cluster.

The large file is written to the folder FASTEM_BIG_FOLDER (default: the temporary folder) and has
FASTEM_BIG_GB gigabytes (default: 32, or what fits on the disk).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.registry import Problem

D, K = 10, 5
MEBI = 2**20


def _write(path, n, seed=0):
    """Rows of K overlapping components."""
    means = np.random.default_rng(5).normal(size=(K, D))
    rng = np.random.default_rng(seed)
    header = {"descr": "<f8", "fortran_order": False, "shape": (n, D)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, n, 10**6):
            rows = rng.standard_normal((min(10**6, n - first), D))
            rows += means[rng.integers(K, size=len(rows))]
            file.write(rows.data)
        file.flush()
        os.fsync(file.fileno())


def _plain_read(path, buffer_bytes=8 * MEBI):
    """Seconds for reading a file from end to end into one buffer."""
    buffer = memoryview(bytearray(buffer_bytes))
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - began


FIT = """
import json, sys, time
import numpy as np
from fastem import GaussianMixture
def mebibytes(name):
    return int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1]) / 1024
import warnings; warnings.simplefilter("ignore")
d, k = 10, 5
start = dict(weights_init=np.full(k, 1 / k), means_init=np.random.default_rng(5).normal(size=(k, d)),
             precisions_init=np.tile(np.eye(d), (k, 1, 1)), max_iter=1, tol=0)
GaussianMixture(k, **start).fit(np.random.default_rng(0).normal(size=(1000, d)))
rows = np.random.default_rng(0).normal(size=(2_000_000, d))
memory = min(GaussianMixture(k, **start).fit(rows).fit_seconds_ for _ in range(3)) / len(rows)
del rows
before = mebibytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
fit = GaussianMixture(k, **start).fit(sys.argv[1])
print(json.dumps(dict(fit=fit.fit_seconds_, kernel_per_row=memory, mebibytes=mebibytes("VmHWM") - before)))
"""


def test_file_larger_than_memory(benchmark):
    """Two passes: one iteration and the last log-likelihood."""
    folder = Path(os.environ.get("FASTEM_BIG_FOLDER", tempfile.gettempdir()))
    gigabytes = float(os.environ.get("FASTEM_BIG_GB", "32"))
    gigabytes = min(gigabytes, (shutil.disk_usage(folder).free - 2 * 10**9) / 1e9)
    n = int(gigabytes * 1e9 / (8 * D))
    path = folder / f"fastem-big-{n}.npy"
    if not path.exists():
        _write(path, n)
    disk = [_plain_read(path)]
    done = subprocess.run([sys.executable, "-c", FIT, str(path)], check=True, capture_output=True, text=True)
    disk.append(_plain_read(path))
    found = json.loads(done.stdout)
    plain, kernel = 2 * float(np.mean(disk)), found["kernel_per_row"] * n
    benchmark.extra_info["large file"] = {
        "GB": n * 8 * D / 1e9,
        "fit": found["fit"],
        "two plain reads": plain,
        "two passes from memory": kernel,
        "share of the slower": max(plain, kernel) / found["fit"],
        "MiB above import": found["mebibytes"],
    }
    benchmark.pedantic(lambda: None, rounds=1)
    if "FASTEM_BIG_FOLDER" not in os.environ:
        path.unlink()


# --- formats ----------------------------------------------------------------------------------


def _hdf5(folder, rows):
    import h5py

    with h5py.File(folder / "rows.h5", "w") as file:
        file["rows"] = rows

    def raw():
        with h5py.File(folder / "rows.h5") as file:
            buffer = np.empty((100_000, D))
            for first in range(0, len(rows), len(buffer)):
                file["rows"].read_direct(buffer, np.s_[first : first + len(buffer)])

    return folder / "rows.h5", raw


def _zarr(folder, rows):
    import zarr

    zarr.create_array(str(folder / "rows.zarr"), data=rows, chunks=(100_000, D), compressors=None)

    def raw():
        array = zarr.open_array(str(folder / "rows.zarr"), mode="r")
        for first in range(0, len(rows), 100_000):
            array[first : first + 100_000]

    return folder / "rows.zarr", raw


def _parquet(folder, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "rows.parquet"
    pq.write_table(pa.table({f"x{j}": rows[:, j] for j in range(D)}), path, compression="NONE", use_dictionary=False)

    def raw():
        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(65_536):
            for column in batch.columns:
                column.to_numpy(zero_copy_only=False)

    return path, raw


def _ipc(folder, rows):
    import pyarrow as pa

    path = folder / "rows.arrow"
    table = pa.table({f"x{j}": rows[:, j] for j in range(D)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)

    def raw():
        with pa.OSFile(str(path)) as file:
            reader = pa.ipc.open_file(file)
            for i in range(reader.num_record_batches):
                for column in reader.get_batch(i).columns:
                    column.to_numpy(zero_copy_only=False)

    return path, raw


def _npy(folder, rows):
    np.save(folder / "rows.npy", rows)
    return folder / "rows.npy", lambda: _plain_read(folder / "rows.npy")


def test_formats(benchmark):
    """An iteration from each format in the page cache, beside its own reader and the array."""
    from fastem import GaussianMixture

    rows = Problem(5_000_000, D, K, 1.0).rows
    start = {
        "n_components": K, "weights_init": np.full(K, 1 / K), "precisions_init": np.tile(np.eye(D), (K, 1, 1)),
        "means_init": np.random.default_rng(5).normal(size=(K, D)), "max_iter": 4, "tol": 0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        made = {make.__name__[1:]: make(Path(name), rows) for make in (_npy, _hdf5, _zarr, _parquet, _ipc)}
        made["array"] = (rows, lambda: None)
        fits, raws = {key: [] for key in made}, {key: [] for key in made}
        for _ in range(3):
            for key, (data, raw) in made.items():
                seconds = []
                GaussianMixture(**start, callbacks=lambda it, s=seconds: s.append(it.seconds)).fit(data)
                fits[key] += seconds[1:]  # the first one takes the buffers' memory
                began = time.perf_counter()
                raw()
                raws[key].append(time.perf_counter() - began)
    gigabytes = rows.nbytes / 1e9
    fit = {key: float(np.median(values)) for key, values in fits.items()}
    benchmark.extra_info["formats"] = {
        key: {
            "iteration, s": fit[key],
            "of the array's speed": fit["array"] / fit[key],
            "own reader, GB/s": gigabytes / float(np.median(raws[key])) if key != "array" else None,
            "iteration, GB/s": gigabytes / fit[key],
        }
        for key in made
    }
    benchmark.pedantic(lambda: None, rounds=1)


# --- warm-ups ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tol", [1e-4, 1e-6])
def test_warm_ups(benchmark, tol):
    """Passes over all rows and seconds of fits from the same start: 10 million x 10, K = 10, overlapping."""
    from fastem import GaussianMixture

    k = 10
    rng = np.random.default_rng(1)
    means = np.random.default_rng(0).normal(size=(k, D))
    labels = rng.choice(k, size=10_000_000, p=np.random.default_rng(5).dirichlet(np.full(k, 5)))
    rows = rng.standard_normal((len(labels), D))
    rows += means[labels]
    found = {}
    for method in ("em", "stepwise", "growing"):
        seen = []
        fit = GaussianMixture(k, tol=tol, max_iter=1000, random_state=0, callbacks=lambda it, s=seen: s.append(it))
        began = time.perf_counter()
        fit.fit(rows, method=method)
        found[method] = {
            "passes": len(seen) + (2 if method == "stepwise" else 0),
            "seconds": time.perf_counter() - began,
            "log-likelihood of a row": fit.score(rows),
            "converged": fit.converged_,
        }
    benchmark.extra_info["warm-ups"] = found
    benchmark.pedantic(lambda: None, rounds=1)


# --- cluster ----------------------------------------------------------------------------------


CLUSTER = """
import json, time, warnings
import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from fastem import GaussianMixture
from fastem.engine.cluster import ClusterData
from fastem.engine.loop import Data, accumulate
from fastem.latent.mixture.model import Shape
from fastem.sources import ArraySource, open_source
warnings.simplefilter("ignore")

def rows(first, n=1_000_000):
    return np.random.default_rng(first).normal(size=(n, 10))

def seconds(model, params, shape, data):
    accumulate(model, params, data, shape)
    found = []
    for _ in range(7):
        began = time.perf_counter()
        accumulate(model, params, data, shape)
        found.append(time.perf_counter() - began)
    return float(np.median(found))

def alone(*pass_):
    return seconds(*pass_, Data(ArraySource(rows(0))))

def main():
    k, parts = 10, 8
    fit = GaussianMixture(k, weights_init=np.full(k, 1 / k), means_init=np.random.default_rng(0).normal(size=(k, 10)),
                          precisions_init=np.tile(np.eye(10), (k, 1, 1)), max_iter=0).fit(rows(0, 1000))
    pass_ = fit._make_model(k), fit._fitted(), Shape(10, np.dtype(float), 1)
    with LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        blocks = [da.from_delayed(dask.delayed(rows)(i), (1_000_000, 10), float) for i in range(parts)]
        x = da.concatenate(blocks).persist()
        tiny = da.zeros((parts * 256, 10), chunks=(256, 10)).persist()
        wait([x, tiny])
        found = {
            "iteration": seconds(*pass_, ClusterData(open_source(x), None, client)),
            "scheduling": seconds(*pass_, ClusterData(open_source(tiny), None, client)),
            "kernel": client.submit(alone, *pass_, pure=False).result(),
            "parts": parts,
        }
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""


def test_cluster(benchmark):
    """An iteration on 4 workers, partitions of a million rows, beside the time of its kernels."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(CLUSTER)
        done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    cores = min(4, len(os.sched_getaffinity(0)))
    found["kernels over the cores"] = found["parts"] * found["kernel"] / cores
    found["overhead"] = found["iteration"] - found["kernels over the cores"]
    benchmark.extra_info["cluster"] = found
    benchmark.pedantic(lambda: None, rounds=1)
