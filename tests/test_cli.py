"""The command line, as a user meets it."""

import subprocess
import sys

import numpy as np
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
    "arguments",
    [
        ["fit", "none.npy", "-k", "2"],
        ["fit", "{data}", "-k", "0"],
        ["fit", "{data}", "-k", "5000"],
        ["fit", "{data}", "-k", "2", "--tol", "-1"],
        ["fit", "{data}", "-k", "2", "--out", "no/such/folder/m.fastem"],
        ["info", "{data}"],
        ["predict", "{data}", "{data}", "--out", "x.npy"],
    ],
)
def test_bad_input_is_one_clear_line(data, arguments, capsys):
    assert main([argument.format(data=data) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert len(err.strip().splitlines()) == 1 and err.startswith("fastem: ")


def test_wrong_usage_ends_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit"])
    assert stopped.value.code == 2
    assert "usage: fastem fit" in capsys.readouterr().err


def test_warnings_are_lines(data, capsys):
    assert main(["fit", str(data), "-k", "2", "--max-iter", "1"]) == 0
    assert "fastem: warning: Best performing initialization did not converge" in capsys.readouterr().err


def test_warmup_compiles_both_twins(capsys):
    from fastem.dispatch import compile_pass
    from fastem.families import GaussianSpherical
    from fastem.latent.labels import AccumulatePass

    assert main(["warmup", "--covariance", "spherical"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    for twin in compile_pass(AccumulatePass.make, GaussianSpherical.kernel_parameters):
        assert len(twin.signatures) == 2


def test_demo(tmp_path, capsys):
    from PIL import Image

    assert main(["demo", "--folder", str(tmp_path / "demo"), "-k", "3"]) == 0
    assert "273,280 pixels" in capsys.readouterr().out
    assert np.load(tmp_path / "demo" / "pixels.npy").shape == (273_280, 5)
    assert fastem.load(tmp_path / "demo" / "model.fastem").n_components == 3
    with Image.open(tmp_path / "demo" / "segments.png") as picture:
        assert picture.size == (1280, 427)


def test_progress_on_a_terminal():
    import io

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
