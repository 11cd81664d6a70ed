"""The command line, as a user meets it."""

import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastem
from fastem.cli import main


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-4, 1, (500, 2)), rng.normal(4, 1, (700, 2))])
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy"


def test_fit_predict_info(data, capsys):
    folder = data.parent
    model, labels, proba = folder / "m.fastem", folder / "labels.npy", folder / "proba.npy"
    assert main(["fit", str(data), "-k", "2", "--covariance", "diag", "--out", str(model), "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert "log-likelihood" in out and "BIC" in out and "peak memory" in out
    assert "run 1, iteration 1" in err
    mixture = fastem.load(model)
    X = np.load(data)
    assert main(["predict", str(model), str(data), "--out", str(labels)]) == 0
    np.testing.assert_array_equal(np.load(labels), mixture.predict(X))
    assert main(["predict", str(model), str(data), "--out", str(proba), "--proba"]) == 0
    np.testing.assert_array_equal(np.load(proba), mixture.predict_proba(X))
    assert main(["info", str(model)]) == 0
    assert "GaussianMixture(covariance_type='diag'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "none.npy", "-k", "2"], "No such file or directory: 'none.npy'"),
        (["fit", "{data}", "-k", "0"], "n_components must be at least 1"),
        (["fit", "{data}", "-k", "5000"], "n_samples >= n_components"),
        (["fit", "{data}", "-k", "2", "--tol", "-1"], "tol must be at least 0"),
        (["fit", "{data}", "-k", "2", "--out", "no/such/folder/m.fastem"], "There is no directory no/such/folder"),
        (["info", "{data}"], "not a file of fastem"),
        (["predict", "{data}", "{data}", "--out", "x.npy"], "not a file of fastem"),
    ],
)
def test_bad_input_is_one_clear_line(data, arguments, said, capsys):
    assert main([argument.format(data=data) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert len(err.strip().splitlines()) == 1 and err.startswith("fastem: ") and said in err


def test_wrong_usage_ends_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit"])
    assert stopped.value.code == 2
    assert "usage: fastem fit" in capsys.readouterr().err


def test_warnings_are_lines(data, capsys):
    assert main(["fit", str(data), "-k", "2", "--max-iter", "1"]) == 0
    assert "fastem: warning: Best performing initialization did not converge" in capsys.readouterr().err


def test_warmup_compiles_for_both_precisions(capsys):
    from fastem.engine.contract import Shape
    from fastem.families import GaussianSpherical
    from fastem.kernels.dispatch import compile_pass
    from fastem.latent.mixture.model import MixtureModel
    from fastem.latent.mixture.passes import AccumulatePass

    assert main(["warmup", "--covariance", "spherical"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    model = MixtureModel(GaussianSpherical(), 2)
    about = model.alike(np.eye(2))
    prepared = model.start_pass(about, about, Shape(2, np.dtype(np.float64), 1)).prepared
    assert len(compile_pass(AccumulatePass.make, prepared.params).share.signatures) == 2


def test_demo(tmp_path, capsys):
    from PIL import Image

    assert main(["demo", "--folder", str(tmp_path / "demo"), "-k", "3"]) == 0
    assert "273,280 pixels" in capsys.readouterr().out
    assert np.load(tmp_path / "demo" / "pixels.npy").shape == (273_280, 5)
    assert fastem.load(tmp_path / "demo" / "model.fastem").n_components == 3
    with Image.open(tmp_path / "demo" / "segments.png") as picture:
        assert picture.size == (1280, 427)


def test_progress_on_a_terminal():
    from fastem import GaussianMixture, Progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    with Progress(file) as progress:
        GaussianMixture(2, random_state=0, tol=0.01, callbacks=progress).fit(
            np.random.default_rng(0).normal(size=(500, 2))
        )
    assert "iteration" in file.getvalue() and "rows/s" in file.getvalue()


def test_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "fastem", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fastem {fastem.__version__}\n"


# --- data of many kinds, checkpoints, clusters ------------------------------------------------


def _same_model(path, X, **params):
    expected = fastem.GaussianMixture(2, random_state=0, **params).fit(X)
    np.testing.assert_array_equal(fastem.load(path).means_, expected.means_)


def test_several_files_columns_and_plain_binary(data, capsys, tmp_path):
    X = np.load(data)
    out = str(tmp_path / "m.fastem")
    np.save(tmp_path / "part-0.npy", X[:700])
    np.save(tmp_path / "part-1.npy", X[700:])
    for arguments in (["part-0.npy", "part-1.npy"], ["part-*.npy"]):
        paths = [str(tmp_path / name) for name in arguments]
        assert main(["fit", *paths, "-k", "2", "--out", out]) == 0
        _same_model(out, X)
    table = pa.table({"name": ["x"] * len(X), "a": X[:, 0], "b": X[:, 1]})
    pq.write_table(table, tmp_path / "X.parquet")
    assert main(["fit", str(tmp_path / "X.parquet"), "-k", "2", "--out", out]) == 1
    assert "columns without numbers: name (string)" in capsys.readouterr().err
    parquet = [str(tmp_path / "X.parquet"), "--columns", "b,a"]
    assert main(["fit", *parquet, "-k", "2", "--out", out]) == 0
    _same_model(out, X[:, ::-1])
    assert main(["predict", out, *parquet, "--out", str(tmp_path / "labels.npy")]) == 0
    assert "b" in capsys.readouterr().out.splitlines()[1]
    X.astype("<f4").tofile(tmp_path / "X.bin")
    plain = [str(tmp_path / "X.bin"), "--dtype", "<f4", "--columns-per-row", "2"]
    assert main(["fit", *plain, "-k", "2", "--out", out, "--columns", "1"]) == 0
    _same_model(out, X[:, 1:].astype("f4"))
    assert main(["fit", plain[0], "-k", "2", "--dtype", "<f4"]) == 1
    assert "needs its path, dtype and shape" in capsys.readouterr().err


def test_checkpoint_and_method(data, tmp_path, capsys):
    arguments = ["fit", str(data), "-k", "2", "--checkpoint", str(tmp_path / "c"), "--checkpoint-every", "0"]
    assert main([*arguments, "--method", "growing"]) == 0
    assert (tmp_path / "c").exists()
    assert main(arguments) == 1
    assert "belongs to another fit: method was 'growing' and is 'em'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("checkpoint", "stop_at", "said"),
    [
        (True, 3, "the same command goes on from"),
        (True, 0, "so there is nothing to go on from"),
        (False, 2, "with --checkpoint FILE"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_interrupted_fit_says_how_to_go_on(data, tmp_path, capsys, monkeypatch, checkpoint, stop_at, said):
    from fastem import Progress

    def interrupt(self, *told):
        if not stop_at or told[0].n_iter == stop_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "during_pass" if not stop_at else "__call__", interrupt)
    kept = ["--checkpoint", str(tmp_path / "c"), "--checkpoint-every", "0"] if checkpoint else []
    arguments = ["fit", str(data), "-k", "2", "--tol", "0", "--max-iter", "6", *kept]
    assert main(arguments) == 130
    assert said in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*arguments, "--out", str(tmp_path / "m.fastem")]) == 0
    _same_model(tmp_path / "m.fastem", np.load(data), tol=0, max_iter=6)


def test_on_a_cluster(data, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert main(["fit", str(data), "-k", "2", "--scheduler", address, "--out", str(tmp_path / "m.fastem")]) == 0
    expected = fastem.GaussianMixture(2, random_state=0).fit(np.load(data))
    np.testing.assert_allclose(fastem.load(tmp_path / "m.fastem").means_, expected.means_, rtol=1e-10)


# --- progress ---------------------------------------------------------------------------------


def test_plain_progress_within_a_long_pass(monkeypatch):
    from fastem import Iteration, Progress
    from fastem.engine.loop import PassProgress

    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    file = io.StringIO()
    progress = Progress(file)
    progress(Iteration(0, 1, -5.0, np.inf, 100.0, 1000, 50, 1e-3, None))
    progress(Iteration(0, 2, -4.0, 1.0, 100.0, 1000, 50, 1e-3, None))
    progress(Iteration(0, 3, -3.9, 0.1, 100.0, 1000, 50, 1e-3, None))
    progress.during_pass(PassProgress(0, 4, 100, 1000, 8000, 10.0))  # too soon
    clock[0] += 31
    progress.during_pass(PassProgress(0, 4, 250, 1000, 2_000_000, 25.0))
    last = file.getvalue().splitlines()[-1]
    # changes shrink tenfold, so two iterations of 100 s are left, of which 25 s are over
    assert last == "run 1, iteration 4: pass 25%, 10 rows/s, 80 kB/s, 1:15 left, fit 2:55"
    assert len(file.getvalue().splitlines()) == 3


def test_passes_are_reported_from_beginning_to_end(tmp_path, monkeypatch):
    from fastem import GaussianMixture

    monkeypatch.setattr("fastem.sources._source.BUFFER_BYTES", 2**15)

    class Listener:
        def __init__(self):
            self.told = []

        def __call__(self, iteration):
            self.told.append(iteration)

        def during_pass(self, progress):
            self.told.append(progress)

    X = np.random.default_rng(0).normal(size=(20_001, 3)).astype("f4")
    np.save(tmp_path / "X.npy", X)
    listener = Listener()
    GaussianMixture(2, random_state=0, tol=0.1, max_iter=2, callbacks=listener).fit(tmp_path / "X.npy")
    passes = [told for told in listener.told if hasattr(told, "bytes")]
    first = [told for told in passes if told.n_iter == 1]
    rows = [told.rows for told in first]
    assert rows == sorted(rows) and rows[-1] == 20_001 == first[0].n_rows and len(rows) > 5
    assert all(told.bytes == 12 * told.rows for told in first)
