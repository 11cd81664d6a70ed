"""Fits that stop at any moment and go on, to the same bits."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import fastem
from fastem import GaussianMixture
from fastem.families import Categorical, Poisson, Product
from fastem.storage.array_file import ModelFileError
from fastem.storage.checkpoints import CheckpointError
from tests import stores

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(m, 1.5, (25_000, 3)) for m in (-2, 0, 2)])
RNG.shuffle(X)
SMALL = X[:2000]
SETTINGS = {"n_components": 3, "tol": 0, "max_iter": 8, "random_state": 0}
RESULTS = (
    "weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "log_likelihood_", "n_iter_",
    "deaths_", "stop_reason_",
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Stop(Exception):
    pass


def _stop_at(init, n_iter):
    def callback(iteration):
        if (iteration.init, iteration.n_iter) == (init, n_iter):
            raise Stop

    return callback


def _assert_same(a, b):
    for name in RESULTS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("method", ["em", "growing", "stepwise"])
@pytest.mark.parametrize(("n_init", "where"), [(1, [(0, 1), (0, 5)]), (3, [(0, 2), (1, 1), (2, 8)])])
def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path, method, n_init, where):
    path = tmp_path / "run.ckpt"
    expected = GaussianMixture(**SETTINGS, n_init=n_init).fit(X, method=method)
    for init, n_iter in where:
        fit = GaussianMixture(**SETTINGS, n_init=n_init, callbacks=_stop_at(init, n_iter))
        with pytest.raises(Stop):
            fit.fit(X, method=method, checkpoint=path, checkpoint_every=0)
        assert not hasattr(fit, "means_") and not hasattr(fit, "n_features_in_")
    done = []
    last = GaussianMixture(**SETTINGS, n_init=n_init, callbacks=lambda it: done.append((it.init, it.n_iter)))
    _assert_same(last.fit(X, method=method, checkpoint=path), expected)
    # the iteration that the callback broke off was not kept, so it is the first to be done again
    assert done[0] == where[-1]


@pytest.mark.parametrize("init_params", ["kmeans", "random_from_data"])
def test_several_exact_starts(tmp_path, init_params):
    settings = SETTINGS | {"n_init": 4, "init_params": init_params}
    expected = GaussianMixture(**settings).fit(SMALL)
    with pytest.raises(Stop):
        GaussianMixture(**settings, callbacks=_stop_at(1, 3)).fit(SMALL, checkpoint=tmp_path / "c", checkpoint_every=0)
    _assert_same(GaussianMixture(**settings).fit(SMALL, checkpoint=tmp_path / "c"), expected)


def test_a_random_start_is_kept(tmp_path):
    """Without a seed the resumed fit goes on with the numbers of the first one."""
    seen = []
    settings = SETTINGS | {"random_state": None, "n_init": 2}
    record = [lambda it: seen.append(it.objective), _stop_at(0, 4)]
    with pytest.raises(Stop):
        GaussianMixture(**settings, callbacks=record).fit(SMALL, checkpoint=tmp_path / "c", checkpoint_every=0)
    again = []
    GaussianMixture(**settings, callbacks=lambda it: again.append(it.objective)).fit(SMALL, checkpoint=tmp_path / "c")
    assert again[0] == seen[3]


def test_a_finished_fit_is_found_finished(tmp_path):
    settings = SETTINGS | {"tol": 1e-4, "max_iter": 200}
    first = GaussianMixture(**settings).fit(SMALL, checkpoint=tmp_path / "c")
    called = []
    again = GaussianMixture(**settings, callbacks=called.append).fit(SMALL, checkpoint=tmp_path / "c")
    _assert_same(first, again)
    assert first.converged_ and again.converged_ and not called


def test_without_iterations(tmp_path):
    fit = GaussianMixture(**(SETTINGS | {"max_iter": 0})).fit(SMALL, checkpoint=tmp_path / "c", checkpoint_every=0)
    assert fit.n_iter_ == 0


def test_threads_and_callbacks_may_differ(tmp_path):
    expected = GaussianMixture(**SETTINGS).fit(X)
    with pytest.raises(Stop):
        GaussianMixture(**SETTINGS, n_threads=2, callbacks=_stop_at(0, 4)).fit(X, checkpoint=tmp_path / "c")
    _assert_same(GaussianMixture(**SETTINGS, n_threads=1, verbose=0).fit(X, checkpoint=tmp_path / "c"), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_components": 4}, "n_components was 3 and is 4"),
        ({"tol": 1e-3}, "tol was 0 and is 0.001"),
        ({"covariance_type": "diag"}, "covariance_type was 'full' and is 'diag'"),
        ({"random_state": 1}, "random_state was 0 and is 1"),
        ({"means_init": np.zeros((3, 3))}, "means_init was None and is 'float64"),
        ({"X": X[:1999]}, "data rows was 2000 and is 1999"),
        ({"X": X[1:2001]}, "data content was"),
        ({"X": SMALL.astype(np.float32)}, "data dtype was 'float64' and is 'float32'"),
        ({"sample_weight": np.ones(2000)}, "sample_weight was None and is 'float64"),
        ({"method": "growing"}, "method was 'em' and is 'growing'"),
    ],
)
def test_another_fit_is_refused_with_the_difference(tmp_path, change, message):
    with pytest.raises(Stop):
        GaussianMixture(**SETTINGS, callbacks=_stop_at(0, 3)).fit(SMALL, checkpoint=tmp_path / "c")
    before = (tmp_path / "c").read_bytes()
    settings = SETTINGS | {name: value for name, value in change.items() if name in GaussianMixture().get_params()}
    how = {name: value for name, value in change.items() if name not in settings and name != "X"}
    with pytest.raises(CheckpointError, match=message):
        GaussianMixture(**settings).fit(change.get("X", SMALL), checkpoint=tmp_path / "c", **how)
    assert (tmp_path / "c").read_bytes() == before


def test_a_file_that_was_written_again_is_other_data(tmp_path):
    np.save(tmp_path / "X.npy", SMALL)
    with pytest.raises(Stop):
        GaussianMixture(**SETTINGS, callbacks=_stop_at(0, 3)).fit(tmp_path / "X.npy", checkpoint=tmp_path / "c")
    os.utime(tmp_path / "X.npy", ns=(0, 0))
    with pytest.raises(CheckpointError, match="data modified was"):
        GaussianMixture(**SETTINGS).fit(tmp_path / "X.npy", checkpoint=tmp_path / "c")


def test_a_warm_start_belongs_to_the_checkpoint(tmp_path):
    settings = SETTINGS | {"warm_start": True}
    expected = GaussianMixture(**settings).fit(SMALL).fit(SMALL)
    fit = GaussianMixture(**settings).fit(SMALL)
    fit.set_params(callbacks=_stop_at(0, 4))
    with pytest.raises(Stop):
        fit.fit(SMALL, checkpoint=tmp_path / "c")
    fit.set_params(callbacks=None).fit(SMALL, checkpoint=tmp_path / "c")
    _assert_same(fit, expected)
    with pytest.raises(CheckpointError, match="warm start"):
        GaussianMixture(**settings).fit(SMALL[:1000]).fit(SMALL, checkpoint=tmp_path / "c")


def test_a_generator_that_cannot_be_kept_is_refused(tmp_path):
    rng = np.random.RandomState(np.random.PCG64(0))
    with pytest.raises(ValueError, match="MT19937"):
        GaussianMixture(**(SETTINGS | {"random_state": rng})).fit(SMALL, checkpoint=tmp_path / "c", checkpoint_every=0)


def test_a_missing_directory_is_an_early_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no directory"):
        GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=tmp_path / "none" / "c")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    path = tmp_path / "c"
    expected = GaussianMixture(**SETTINGS).fit(SMALL)
    with pytest.raises(Stop):
        GaussianMixture(**SETTINGS, callbacks=_stop_at(0, 5)).fit(SMALL, checkpoint=path, checkpoint_every=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "c.previous"]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="goes on from the one before"):
        _assert_same(GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=path), expected)
    path.write_bytes(b"nothing")
    (tmp_path / "c.previous").write_bytes(b"nothing")
    with pytest.raises(ModelFileError):
        GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=path)


def test_a_model_is_no_checkpoint(tmp_path):
    GaussianMixture(**SETTINGS).fit(SMALL).save(tmp_path / "c")
    with pytest.raises(ModelFileError, match="no checkpoint"):
        GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("code", [28, 30, 13])
def test_where_nothing_can_be_written_the_fit_goes_on(tmp_path, monkeypatch, code):
    expected = GaussianMixture(**SETTINGS).fit(SMALL)
    real = os.fsync

    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        fit = GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=tmp_path / "c", checkpoint_every=0)
    monkeypatch.setattr("os.fsync", real)
    _assert_same(fit, expected)
    assert len([w for w in caught if "cannot be written" in str(w.message)]) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_to(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.warns(UserWarning, match="cannot be written"):
        GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=folder / "c", checkpoint_every=0)


def test_checkpoints_are_not_written_more_often_than_asked(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("fastem.storage.checkpoints.write", lambda path, *content: written.append(path))
    GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=tmp_path / "c", checkpoint_every=3600)
    assert len(written) == 1  # at the end


KILLED = """
    import os, sys, time, warnings
    import numpy as np
    from fastem import GaussianMixture
    warnings.simplefilter("ignore")
    folder, kills = sys.argv[1], int(sys.argv[2])
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(m, 1.5, (4000, 3)) for m in (-2, 0, 2)])
    np.save(folder + "/X.npy", X)
    path = folder + "/run.ckpt"

    def fit(**how):
        return GaussianMixture(3, n_init=2, tol=0, max_iter=60, random_state=0).fit(folder + "/X.npy", **how)

    def bits(m):
        return m.means_.tobytes() + m.covariances_.tobytes() + np.array(m.lower_bounds_).tobytes()

    began = time.monotonic()
    expected = bits(fit())
    fit(checkpoint=folder + "/other.ckpt", checkpoint_every=0)
    seconds = time.monotonic() - began
    killed = finished = 0
    while killed < kills:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if bits(fit(checkpoint=path, checkpoint_every=0)) == expected else 3)
        time.sleep(rng.uniform(0, seconds / 6))
        os.kill(pid, 9)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            assert status == 0, status
            finished += 1
            os.remove(path), os.remove(path + ".previous")
    assert bits(fit(checkpoint=path, checkpoint_every=0)) == expected
    left = sorted(os.listdir(folder))
    print(killed, finished, left)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_killed_at_random_moments(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), "60"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    killed, _, left = done.stdout.split(maxsplit=2)
    assert killed == "60"
    assert "partial" not in left and "run.ckpt" in left


INTERRUPTED = """
    import sys, time, warnings
    import numpy as np
    from fastem import GaussianMixture
    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).normal(size=(300_000, 20))
    model = GaussianMixture(20, tol=0, max_iter=100_000, random_state=0)
    model.set_params(callbacks=lambda it: print("iteration", flush=True))
    phase = sys.argv[2]
    if phase == "save":
        import fastem.storage.checkpoints
        real = fastem.storage.checkpoints.write
        fastem.storage.checkpoints.write = lambda *a: (print("save", flush=True), real(*a), time.sleep(0.05))
    print("start", flush=True)
    try:
        model.fit(X, checkpoint=sys.argv[1], checkpoint_every=0, method="growing" if phase == "growing" else "em")
    except KeyboardInterrupt:
        print("interrupted", time.time(), len(vars(model)) - len(model.get_params()), flush=True)
"""


@pytest.mark.parametrize(
    ("phase", "after"), [("start", "start"), ("growing", "start"), ("pass", "iteration"), ("save", "save")]
)
def test_ctrl_c_in_every_phase(tmp_path, phase, after):
    path = tmp_path / "c"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED), str(path), phase], stdout=subprocess.PIPE, text=True
    ) as child:
        while child.stdout.readline().strip() != after:
            pass
        time.sleep({"start": 0.3, "growing": 2.5}.get(phase, 0.01))
        sent = time.time()
        child.send_signal(signal.SIGINT)
        said = [line for line in child.stdout.read().splitlines() if line.startswith("interrupted")]
    assert said, "the fit went on"
    _, at, attributes = said[0].split()
    assert attributes == "0"
    if phase != "start":
        assert float(at) - sent < 1.5
    assert not [p for p in tmp_path.iterdir() if "partial" in p.name]
    if phase in ("pass", "save"):
        assert path.exists()


def _other_rows(store, folder, X):
    """The same shape, other numbers in every other row."""
    other = X.copy()
    other[1::2] += 1e-9
    return store(folder, other)


@pytest.mark.parametrize(
    "store", [stores.stream, stores.list_of_arrays, stores.pandas_frame, stores.dask_array, stores.dask_frame]
)
def test_other_numbers_are_other_data(tmp_path, store):
    with pytest.raises(Stop):
        GaussianMixture(**SETTINGS, callbacks=_stop_at(0, 3)).fit(store(tmp_path, X), checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match="data content was"):
        GaussianMixture(**SETTINGS).fit(_other_rows(store, tmp_path, X), checkpoint=tmp_path / "c")
    GaussianMixture(**SETTINGS).fit(store(tmp_path, X), checkpoint=tmp_path / "c")


def test_fingerprints_tell_layouts_and_columns_apart(tmp_path):
    X[:1000].astype("<f8").tofile(tmp_path / "x.bin")
    sources = [
        fastem.open(tmp_path / "x.bin", dtype="<f8", shape=(300, 3)),
        fastem.open(tmp_path / "x.bin", dtype="<f8", shape=(300, 3), offset=24),
        fastem.open(tmp_path / "x.bin", dtype="<i8", shape=(300, 3)),
    ]
    whole = fastem.open(tmp_path / "x.bin", dtype="<f8", shape=(300, 3))
    sources += [fastem.open(fastem.open(whole, columns=first), columns=[0]) for first in ([0, 1], [2, 1])]
    prints = [repr(source.fingerprint()) for source in sources]
    assert len(set(prints)) == len(prints)


def test_a_callback_stops_its_own_fit_only(tmp_path):
    expected = GaussianMixture(**SETTINGS).fit(SMALL)
    stopped = GaussianMixture(**SETTINGS, callbacks=lambda it: it.n_iter == 2).fit(SMALL, checkpoint=tmp_path / "c")
    assert stopped.n_iter_ == 2 and "callback" in stopped.stop_reason_
    _assert_same(GaussianMixture(**SETTINGS).fit(SMALL, checkpoint=tmp_path / "c"), expected)


def test_settings_of_arrays_of_several_shapes(tmp_path):
    """A start of a product whose joint part has columns with different numbers of levels, as arrays and as lists."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.poisson(3, 200), rng.integers(2, size=200), rng.integers(3, size=200)]).astype(float)
    family = Product({0: Poisson(), (1, 2): Categorical()})
    levels = [np.array([[0.4, 0.6], [0.7, 0.3]]), np.array([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])]
    lists = [table.tolist() for table in levels]
    expected = None
    for i, probabilities in enumerate((levels, tuple(levels), lists, np.array([*levels, None], dtype=object)[:2])):
        start = {"parts": {"0": {"rates": [[2.0], [4.0]]}, "1, 2": {"probabilities": probabilities}}}
        settings = {"params_init": start, "weights_init": [0.5, 0.5], "max_iter": 3, "tol": 0}
        path = tmp_path / f"{i}.ckpt"
        fit = fastem.Mixture(family, 2, **settings).fit(rows, checkpoint=path)
        again = fastem.Mixture(family, 2, **settings).fit(rows, checkpoint=path)
        assert again.lower_bounds_ == fit.lower_bounds_ == (expected or fit.lower_bounds_)
        expected = fit.lower_bounds_
        with pytest.raises(CheckpointError, match="params_init"):
            other = {"parts": start["parts"] | {"0": {"rates": [[2.0], [5.0]]}}}
            fastem.Mixture(family, 2, **(settings | {"params_init": other})).fit(rows, checkpoint=path)


def test_models_keep_starts_of_several_shapes(tmp_path):
    rows = np.random.default_rng(0).integers([2, 3], size=(200, 2)).astype(float)
    levels = [[[0.4, 0.6], [0.7, 0.3]], [[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]]]
    start = {"params_init": {"probabilities": levels}, "weights_init": [0.5, 0.5], "max_iter": 3}
    fit = fastem.Mixture(Categorical(), 2, **start).fit(rows)
    fit.save(tmp_path / "m.fastem")
    loaded = fastem.load(tmp_path / "m.fastem")
    assert loaded.params_init == start["params_init"]
    assert loaded.fit(rows).lower_bounds_ == fit.lower_bounds_
