"""Threads, forks, workers and signals: no abort, no hang, right results."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

SETUP = """
import sys, threading
import numpy as np
from fastem import GaussianMixture
rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(m, 1, (4000, 3)) for m in (-4, 0, 4)])
START = dict(means_init=[[-3] * 3, [0] * 3, [3] * 3], weights_init=[.3, .3, .4], tol=1e-6)

def fit(seed=0, covariance_type="full", data=X, **params):
    unit = np.eye(3)
    precisions = {"full": [unit] * 3, "tied": unit, "diag": np.ones((3, 3)), "spherical": np.ones(3)}
    start = dict(START, precisions_init=precisions[covariance_type], covariance_type=covariance_type)
    m = GaussianMixture(3, **start, **params).fit(data)
    return m.means_.tobytes() + m.covariances_.tobytes() + m.predict_proba(data).tobytes()

def spherical():
    m = GaussianMixture(3, covariance_type="spherical", precisions_init=np.ones(3), **START).fit(X)
    return m.means_.tobytes() + m.covariances_.tobytes()
"""


def _run(code, env=None, timeout=120, cwd=None):
    done = subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(code)],
        capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})}, check=False,
        cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_same_bits_for_any_number_of_threads():
    out = _run(
        """
        import hashlib
        for covariance_type in ("full", "tied", "diag", "spherical"):
            for dtype in (np.float64, np.float32):
                data = X.astype(dtype)
                bits = {fit(covariance_type=covariance_type, data=data, n_threads=n) for n in (1, 2, 3, 8)}
                print(len(bits))
        """,
        env={"NUMBA_NUM_THREADS": "8"},
        timeout=300,
    )
    assert out.split() == ["1"] * 8


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_many_python_threads_at_once(layer):
    out = _run(
        """
        from concurrent.futures import ThreadPoolExecutor
        expected = fit()
        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(fit, range(24)))
        print(all(r == expected for r in results))
        """,
        env={"NUMBA_THREADING_LAYER": layer},
    )
    assert out.split() == ["True"]


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_first_pass_in_a_thread(layer):
    """A thread that is not the main one starts nothing under workqueue."""
    out = _run(
        """
        found = []
        t = threading.Thread(target=lambda: found.append(fit()))
        t.start(); t.join()
        print(found[0] == fit())
        """,
        env={"NUMBA_THREADING_LAYER": layer},
    )
    assert out.split() == ["True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
@pytest.mark.parametrize("fit_before", [True, False])
def test_after_fork(layer, fit_before):
    out = _run(
        f"""
        import os, hashlib
        if {fit_before}:
            fit()
        sys.stdout.flush()
        pid = os.fork()
        digest = hashlib.sha256(fit()).hexdigest()
        if pid == 0:
            print(digest, flush=True)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(digest, status)
        """,
        env={"NUMBA_THREADING_LAYER": layer},
    )
    child, parent, status = out.split()
    assert child == parent and status == "0"


def test_fork_while_another_thread_fits():
    out = _run(
        """
        import os, time
        expected = fit()
        stop = False
        def work():
            while not stop:
                fit()
        t = threading.Thread(target=work); t.start()
        for _ in range(5):
            time.sleep(0.05)
            pid = os.fork()
            if pid == 0:
                os._exit(0 if fit() == expected else 1)
            print(os.waitpid(pid, 0)[1])
        stop = True; t.join()
        """
    )
    assert out.split() == ["0"] * 5


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        SETUP
        + textwrap.dedent(
            f"""
            if __name__ == "__main__":
                import multiprocessing
                expected = fit()
                with multiprocessing.get_context("{method}").Pool(2) as pool:
                    print(all(r == expected for r in pool.map(fit, range(4))))
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["True"]


STARTED_BY_KMEANS = """
import numpy as np
from fastem import GaussianMixture, PoissonMixture, StudentTMixture
from sklearn.cluster import KMeans
rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(m, 1, (500, 2)) for m in (-4, 0, 4)])
COUNTS = np.concatenate([rng.poisson(rate, (500, 2)) for rate in (2, 30)])
LARGE = np.concatenate([rng.normal(m, 1, (120_000, 1)) for m in (-4, 4)])
LABELS = np.where(np.arange(1500) % 50, -1, np.arange(1500) // 500)

def own_start(X, n_components, random_state):
    return KMeans(n_components, n_init=1, random_state=random_state).fit_predict(X)

def fit(what):
    if what == "predict":
        return KNOWN.predict_proba(X).tobytes()
    settings = dict(random_state=0, covariance_type="diag")
    m = {
        "restarts": lambda: GaussianMixture(3, n_init=3, **settings).fit(X),
        "labels": lambda: GaussianMixture(3, **settings).fit(X, labels=LABELS),
        "own": lambda: GaussianMixture(3, init_params=own_start, **settings).fit(X),
        "poisson": lambda: PoissonMixture(2, random_state=0).fit(COUNTS),
        "growing": lambda: GaussianMixture(2, n_screen=2, max_iter=3, tol=1, **settings).fit(LARGE, method="growing"),
        "partial": lambda: GaussianMixture(3, **settings).partial_fit(X),
    }[what]()
    return np.asarray(m.lower_bounds_).tobytes() + m.weights_.tobytes()

KNOWN = GaussianMixture(3, weights_init=[.3, .3, .4], means_init=X[[0, 700, 1400]], precisions_init=np.ones((3, 2)),
                        covariance_type="diag").fit(X)
WHAT = ["restarts", "labels", "own", "poisson", "growing", "partial", "predict"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    "children",
    [
        """
        truth = [fit(what) for what in WHAT]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map(fit, WHAT)
        """,
        """
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            found = list(pool.map(fit, WHAT))
        truth = [fit(what) for what in WHAT]
        """,
        """
        truth = [fit(what) for what in WHAT]
        ended = threading.Event()
        def work():
            while not ended.is_set():
                fit("restarts")
        thread = threading.Thread(target=work)
        thread.start()
        found = []
        for what in WHAT:
            time.sleep(0.05)
            with multiprocessing.get_context("fork").Pool(1) as pool:
                found += pool.map(fit, [what])
        ended.set()
        thread.join()
        """,
    ],
    ids=["after fits", "before any fit", "during a fit"],
)
def test_starts_in_forked_processes(children, tmp_path):
    """OpenMP of scikit-learn's k-means waits for ever for threads that the fork lost."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, threading, time, warnings\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        f"warnings.simplefilter('ignore')\n{STARTED_BY_KMEANS}\n{textwrap.dedent(children)}\n"
        "print(*(a == b for a, b in zip(found, truth, strict=True)))"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["True"] * 7


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_workers(backend, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        SETUP
        + textwrap.dedent(
            f"""
            if __name__ == "__main__":
                from joblib import Parallel, delayed
                expected = fit()
                results = Parallel(2, backend="{backend}")(delayed(fit)(i) for i in range(6))
                print(all(r == expected for r in results))
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["True"]


def test_threads_of_numba_are_left_as_they_were():
    out = _run(
        """
        import numba
        numba.set_num_threads(2)
        fit(n_threads=1)
        print(numba.get_num_threads())
        """,
        env={"NUMBA_NUM_THREADS": "2"},
    )
    assert out.split() == ["2"]


def test_ctrl_c_ends_a_fit_within_a_second():
    code = SETUP + textwrap.dedent(
        """
        import time
        big = np.random.default_rng(0).normal(size=(400_000, 40))
        m = GaussianMixture(30, init_params="random_from_data", tol=0, max_iter=10_000, random_state=0)
        m.set_params(callbacks=lambda it: print("running", flush=True))
        try:
            m.fit(big)
        except KeyboardInterrupt:
            print("interrupted", time.time(), hasattr(m, "means_"), flush=True)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "running\n"
        time.sleep(0.3)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        lines = child.stdout.read().split("\n")
    said = next(line for line in lines if line.startswith("interrupted")).split()
    assert said[2] == "False"
    assert float(said[1]) - sent < 1


def test_without_a_writable_cache():
    """Read-only installations: compile every time instead of failing."""
    code = """
        import numba.core.caching as caching
        for impl in (caching.CompileResultCacheImpl, caching.CodeLibraryCacheImpl):
            impl._locator_classes = []
        spherical()
        from fastem.kernels.dispatch import compile_pass
        from fastem.latent.mixture.model import AccumulatePass
        from fastem.families import GaussianSpherical
        params = GaussianSpherical.kernel_parameters
        kernel = compile_pass(AccumulatePass.make, params(*params._fields)).share
        print(type(kernel._cache).__name__)
    """
    assert _run(code).split() == ["NullCache"]


def test_cache_is_found_again_and_follows_edits(tmp_path):
    """A second process compiles nothing; an edited kernel file is compiled again."""
    import shutil
    from pathlib import Path

    import fastem

    copy = tmp_path / "fastem"
    shutil.copytree(Path(fastem.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
        from fastem.kernels.dispatch import compile_pass
        from fastem.latent.mixture.model import AccumulatePass
        from fastem.families import GaussianSpherical
        bits = spherical()
        params = GaussianSpherical.kernel_parameters
        kernel = compile_pass(AccumulatePass.make, params(*params._fields)).share
        print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
        print(bits.hex()[:64])
    """
    env = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, second = _run(code, env, cwd=tmp_path).split(), _run(code, env, cwd=tmp_path).split()
    assert first[:2] == ["0", "1"] and second[:2] == ["1", "0"]
    others = copy / "families" / "gaussian" / "triangular_kernels.py"
    others.write_text(others.read_text() + "# no kernel of spherical Gaussians\n")
    assert _run(code, env, cwd=tmp_path).split() == second
    kernels = copy / "families" / "gaussian" / "diagonal_kernels.py"
    kernels.write_text(kernels.read_text().replace("y0 = r * z0\n", "y0 = r * z0 + r\n"))
    third = _run(code, env, cwd=tmp_path).split()
    assert third[:2] == ["0", "1"] and third[2] != second[2]


def test_processes_that_need_a_kernel_at_once_compile_it_once(tmp_path):
    """Each of three makes its kernels in an order of its own; all find the right ones."""
    code = """
        from fastem.kernels.dispatch import compile_pass
        from fastem.latent.mixture.model import AccumulatePass
        from fastem.families import GaussianSpherical
        order = [np.float64, np.float32]
        bits = {dtype: fit(covariance_type="spherical", data=X.astype(dtype), n_threads=1)
                for dtype in (order if int(sys.argv[1]) else order[::-1])}
        params = GaussianSpherical.kernel_parameters
        kernel = compile_pass(AccumulatePass.make, params(*params._fields)).share
        print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
        print(*(hashlib.sha256(bits[dtype]).hexdigest() for dtype in order))
    """
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "import hashlib" + SETUP + textwrap.dedent(code)]
    children = [
        subprocess.Popen([*command, str(i % 2)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        for i in range(3)
    ]
    found = []
    for child in children:
        out, errors = child.communicate(timeout=240)
        assert child.returncode == 0, errors[-3000:]
        found.append(out.split())
    assert sum(int(hits) for hits, *_ in found) == 4 and sum(int(misses) for _, misses, *_ in found) == 2
    assert len({tuple(bits) for _, _, *bits in found}) == 1


def test_available_threads_obeys_limits():
    from fastem.kernels.threads import available_threads

    assert available_threads(1) == 1
    assert 1 <= available_threads() <= (os.cpu_count() or 1)
    assert available_threads(10_000) <= np.iinfo(np.int16).max
