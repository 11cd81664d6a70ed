"""Start-up, small fits, large files, the accuracy of float32: what a user waits for."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.registry import Problem, python

FAITHFUL = Path(__file__).parent.parent / "tests" / "reference" / "gmm_faithful.json"
SMALL = f"""
import json, numpy as np
X = np.array(json.load(open({str(FAITHFUL)!r}))["data"]["values"])
from {{package}} import GaussianMixture
GaussianMixture(2, random_state=0).fit(X)
"""


def _medians(benchmark, what, rounds=5):
    """Interleaved medians of several functions that return seconds."""
    seconds = {name: [] for name in what}
    for _ in range(rounds):
        for name, measure in what.items():
            seconds[name].append(measure())
    benchmark.extra_info["seconds"] = {name: float(np.median(values)) for name, values in seconds.items()}
    benchmark.pedantic(next(iter(what.values())), rounds=1, iterations=1)


def test_import(benchmark):
    _medians(
        benchmark,
        {
            "import fastem": lambda: python("import fastem") - python("pass"),
            "fastem --help": lambda: python("import fastem.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass"),
        },
    )


def test_small_fit_in_a_fresh_process(benchmark):
    """With a warm cache."""
    python(SMALL.format(package="fastem"))
    _medians(
        benchmark,
        {name: lambda name=name: python(SMALL.format(package=name)) for name in ("fastem", "sklearn.mixture")},
    )


def test_cold_compile(benchmark):
    folder = tempfile.mkdtemp()

    def cold():
        shutil.rmtree(folder, ignore_errors=True)
        code = f"import os; os.environ['NUMBA_CACHE_DIR'] = {folder!r}\n" + SMALL.format(package="fastem")
        return python(code)

    _medians(
        benchmark,
        {"cold process": cold, "warm process": lambda: python(SMALL.format(package="fastem"))},
        rounds=3,
    )
    shutil.rmtree(folder, ignore_errors=True)


def test_warm_small_fit(benchmark):
    from sklearn.mixture import GaussianMixture as Theirs

    from fastem import GaussianMixture as Ours

    X = np.array(json.loads(FAITHFUL.read_text())["data"]["values"])
    start = {"weights_init": [0.5, 0.5], "means_init": [[2, 55], [4, 80]], "precisions_init": [np.eye(2)] * 2}

    def timed(kind):
        def fit():
            began = time.perf_counter()
            kind(2, **start).fit(X)
            return time.perf_counter() - began

        return fit

    _medians(benchmark, {"fastem": timed(Ours), "sklearn": timed(Theirs)}, rounds=51)


def test_accuracy_of_float32(benchmark):
    """Largest relative differences of a step from float32 rows to one from float64 rows."""
    from fastem import GaussianMixture

    differences = {}
    for d in (2, 10, 50):
        problem = Problem(100_000, d, 5, 1.0)
        rows = problem.rows.astype(np.float32)
        start = {
            "weights_init": problem.weights, "means_init": problem.means, "precisions_init": problem.precisions,
            "max_iter": 1, "tol": 1e9,
        }  # fmt: skip
        single, double = (GaussianMixture(5, **start).fit(data) for data in (rows, rows.astype(np.float64)))
        differences[d] = {
            "log_likelihood": abs(single.log_likelihood_ / double.log_likelihood_ - 1),
            "weights": float(np.abs(single.weights_ / double.weights_ - 1).max()),
            "means": float(np.abs(single.means_ - double.means_).max()),
            "covariances": float(np.abs(single.covariances_ - double.covariances_).max()),
        }
    benchmark.extra_info["differences"] = differences
    benchmark.pedantic(lambda: None, rounds=1)


FILE = """
import json, sys, time
import numpy as np
from fastem import GaussianMixture
def mebibytes(name):
    return int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1]) / 1024
GaussianMixture(1, random_state=0).fit(np.random.default_rng(0).normal(size=(1000, 10)))
before = mebibytes("VmRSS")
d, k = 10, 10
start = dict(weights_init=np.full(k, 1 / k), means_init=np.random.default_rng(0).normal(size=(k, d)),
             precisions_init=np.tile(np.eye(d), (k, 1, 1)), max_iter=3, tol=0)
import warnings; warnings.simplefilter("ignore")
data = sys.argv[1] if sys.argv[2] == "path" else np.load(sys.argv[1])
seconds = []
fit = GaussianMixture(k, callbacks=lambda it: seconds.append(it.seconds), **start).fit(data)
peak = mebibytes("VmHWM")
print(json.dumps(dict(seconds=min(seconds), mebibytes=peak - before, bits=fit.means_.tobytes().hex()[:64])))
"""


@pytest.mark.parametrize("gigabytes", [4])
def test_file_in_the_page_cache(benchmark, gigabytes):
    """A file fitted from its path beside the same rows in memory: seconds and memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        n = gigabytes * 10**9 // 80
        rows = np.lib.format.open_memmap(path, "w+", np.float64, (n, 10))
        rng = np.random.default_rng(0)
        for first in range(0, n, 10**6):
            rows[first : first + 10**6] = rng.normal(size=(min(10**6, n - first), 10))
        rows.flush()
        del rows
        results = {"array": [], "path": []}
        for _ in range(3):
            for name, found in results.items():
                done = subprocess.run(
                    [sys.executable, "-c", FILE, str(path), name], check=True, capture_output=True, text=True
                )
                found.append(json.loads(done.stdout))
    assert results["array"][0]["bits"] == results["path"][0]["bits"]
    benchmark.extra_info["seconds"] = {
        name: float(np.median([one["seconds"] for one in found])) for name, found in results.items()
    }
    benchmark.extra_info["mebibytes"] = {
        name: max(one["mebibytes"] for one in found) for name, found in results.items()
    }
    benchmark.pedantic(lambda: None, rounds=1)
