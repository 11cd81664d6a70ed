"""Passes on Dask: threads, processes, and workers that are killed."""

import signal
import subprocess
import sys
import textwrap

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import fastem
from fastem import GaussianMixture

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(m, 1.5, (20_000, 3)) for m in (-2, 0, 2)])
RNG.shuffle(X)
SETTINGS = {"n_components": 3, "tol": 0, "max_iter": 6, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _close(a, b):
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.fixture(scope="module")
def expected():
    with pytest.warns(match="did not converge"):
        return GaussianMixture(**SETTINGS).fit(X)


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
@pytest.mark.parametrize("chunks", [(7001, 3), (60_000, 1), ((1, 30_000, 29_999), 2)])
def test_dask_arrays(expected, scheduler, chunks):
    with dask.config.set(scheduler=scheduler):
        _close(GaussianMixture(**SETTINGS).fit(da.from_array(X, chunks=chunks)), expected)


def test_partitions_may_be_empty_and_lengths_unknown(expected):
    array = da.from_array(X, chunks=(10_000, 3))
    doubled = da.concatenate([array, array])
    kept = doubled[da.arange(len(doubled), chunks=10_000) < len(X)]
    assert np.isnan(kept.shape[0])
    source = fastem.open(kept)
    assert source.n_rows == len(X) and 0 in np.diff(source.starts)
    _close(GaussianMixture(**SETTINGS).fit(kept), expected)


def test_data_frames(expected):
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=5)
    fit = GaussianMixture(**SETTINGS).fit(frame)
    _close(fit, expected)
    assert list(fit.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        fit.predict(frame[["b", "a", "c"]])
    columns = fastem.open(frame, columns=["c", "a"])
    np.testing.assert_array_equal(columns.read(29_990, 20), X[29_990:30_010, [2, 0]])


@pytest.mark.parametrize("method", ["growing", "stepwise"])
def test_warm_ups(method):
    a = GaussianMixture(**SETTINGS).fit(X, method=method)
    _close(GaussianMixture(**SETTINGS).fit(da.from_array(X, chunks=(9000, 3)), method=method), a)


def test_small_collections_start_as_arrays_do():
    _close(
        GaussianMixture(**SETTINGS).fit(da.from_array(X[:900], chunks=(100, 3))),
        GaussianMixture(**SETTINGS).fit(X[:900]),
    )


def test_a_cell_that_is_not_finite_is_found():
    bad = X.copy()
    bad[55_555, 1] = np.inf
    start = {"weights_init": np.full(3, 1 / 3), "means_init": np.zeros((3, 3)), "precisions_init": [np.eye(3)] * 3}
    with pytest.raises(ValueError, match="infinity, first in row 55555, column 1"):
        GaussianMixture(**SETTINGS, **start).fit(da.from_array(bad, chunks=(10_000, 3)))


def test_refused_collections():
    with pytest.raises(ValueError, match="two dimensions"):
        GaussianMixture().fit(da.zeros(5))
    with pytest.raises(ValueError, match="real numbers"):
        GaussianMixture().fit(da.zeros((5, 2), dtype=complex))
    with pytest.raises(ValueError, match="Columns without numbers: b"):
        GaussianMixture().fit(dd.from_pandas(pd.DataFrame({"a": [1.0, 2], "b": ["x", "y"]}), npartitions=1))


CLUSTER = """
    import os, signal, sys, warnings
    import dask.array as da
    import numpy as np
    from distributed import Client, LocalCluster
    import fastem
    from fastem import GaussianMixture

    warnings.simplefilter("ignore")

    def main():
        X = np.load(sys.argv[1])
        settings = dict(n_components=3, tol=0, max_iter=8, random_state=0)
        workers = LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None)
        with workers as cluster, Client(cluster) as client:
            def kill(iteration):
                if iteration.n_iter == 3:
                    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

            for name, data in (
                ("persisted", da.from_array(X, chunks=(7000, 3)).persist()),
                ("path", sys.argv[1]),
                ("array", X),
            ):
                weights = np.linspace(1, 2, len(X)) if name == "array" else None
                expected = GaussianMixture(**settings).fit(X, sample_weight=weights)
                whole = GaussianMixture(**settings).fit(data, client=client, sample_weight=weights)
                shot = GaussianMixture(**settings, callbacks=kill).fit(data, client=client, sample_weight=weights)
                near = np.allclose(whole.means_, expected.means_, rtol=1e-10, atol=1e-10)
                print(name, near, whole.means_.tobytes() == shot.means_.tobytes(), flush=True)
            source = fastem.open(da.from_array(X, chunks=(7000, 3)).persist())  # nobody else holds these partitions
            held = GaussianMixture(**settings).fit(source).means_
            print("held", np.allclose(held, GaussianMixture(**settings).fit(X).means_, rtol=1e-10, atol=1e-10))
            checked = GaussianMixture(**settings, n_threads=2).fit(sys.argv[1], client=client)
            print("threads", checked.means_.tobytes() == GaussianMixture(**settings).fit(
                sys.argv[1], client=client).means_.tobytes())

    if __name__ == "__main__":
        main()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system does not kill")
def test_a_killed_worker_changes_nothing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(CLUSTER))
    np.save(tmp_path / "X.npy", X)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "X.npy")],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "persisted True True", "path True True", "array True True", "held True", "threads True",
    ]  # fmt: skip
