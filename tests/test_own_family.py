"""A family that lies outside the package gets all that the others have."""

import importlib.util
import sys
from collections import namedtuple
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import geom

import fastem
from fastem import Mixture
from fastem.families.fixed import Fixed
from fastem.kernels.kernel_arguments import flat, nested

FILE = Path(__file__).parent.parent / "docs" / "examples" / "geometric.py"


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """The family of the file, with kernels that stay out of the cache that others use."""
    spec = importlib.util.spec_from_file_location("geometric", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["geometric"] = module
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield module.Geometric()


def _rows(n=2000, missing=0.0):
    rng = np.random.default_rng(0)
    first = rng.random((n, 1)) < 0.3
    rows = np.where(first, rng.geometric([0.7, 0.5], (n, 2)), rng.geometric([0.1, 0.05], (n, 2))).astype(float)
    return np.where(rng.random(rows.shape) < missing, np.nan, rows)


def _log_density(fit, rows):
    cells = np.where(np.isnan(rows)[:, None], 0, geom(fit.probabilities_).logpmf(np.nan_to_num(rows, nan=1)[:, None]))
    return logsumexp(cells.sum(axis=2) + np.log(fit.weights_), axis=1)


def _fit(family, rows, **settings):
    return Mixture(family, 2, random_state=0).fit(rows, **settings)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_density(family, missing):
    rows = _rows(missing=missing)
    fit = _fit(family, rows)
    assert fit.converged_
    np.testing.assert_allclose(np.sort(fit.probabilities_[:, 0]), [0.1, 0.7], atol=0.05)
    np.testing.assert_allclose(fit.score_samples(rows), _log_density(fit, rows), rtol=1e-10, atol=1e-12)
    seen = ~np.isnan(rows).all(axis=1)
    assert fit.log_likelihood_ == pytest.approx(_log_density(fit, rows)[seen].sum())
    assert all(b >= a - 1e-12 for a, b in zip(fit.lower_bounds_, fit.lower_bounds_[1:], strict=False))


def test_the_m_step_is_the_mean(family):
    rows = _rows(missing=0.2)
    fit = Mixture(family).fit(rows)
    np.testing.assert_allclose(fit.probabilities_[0], 1 / np.nanmean(rows, axis=0), rtol=1e-12)


def test_weights_are_repetitions(family):
    rows = _rows(300)
    weights = np.arange(300) % 3
    resp = np.random.default_rng(0).dirichlet([1, 1], 300)
    one = Mixture(family, 2, init_params=resp).fit(rows, sample_weight=weights)
    two = Mixture(family, 2, init_params=np.repeat(resp, weights, axis=0)).fit(np.repeat(rows, weights, axis=0))
    np.testing.assert_allclose(one.probabilities_, two.probabilities_, rtol=1e-10)


def test_files_and_models(family, tmp_path):
    rows = _rows()
    np.save(tmp_path / "rows.npy", rows)
    fit = _fit(family, rows)
    np.testing.assert_array_equal(_fit(family, tmp_path / "rows.npy").probabilities_, fit.probabilities_)
    fit.save(tmp_path / "model.fastem")
    loaded = fastem.load(tmp_path / "model.fastem")
    assert type(loaded.family).__name__ == "Geometric"
    np.testing.assert_array_equal(loaded.predict_proba(rows), fit.predict_proba(rows))


def test_checkpoint(family, tmp_path):
    def pull_the_plug(iteration):
        if iteration.n_iter == 3:
            raise KeyboardInterrupt

    rows, path = _rows(), tmp_path / "run.ckpt"
    with pytest.raises(KeyboardInterrupt):
        Mixture(family, 2, random_state=0, callbacks=pull_the_plug).fit(rows, checkpoint=path)
    resumed = _fit(family, rows, checkpoint=path)
    np.testing.assert_array_equal(resumed.probabilities_, _fit(family, rows).probabilities_)


def test_what_else_there_is(family):
    rows = _rows(missing=0.1)
    fit = _fit(family, rows)
    assert not np.isnan(fit.impute(rows)).any()
    assert fit.sample(50)[0].min() >= 1
    with pytest.raises(ValueError, match="Row 3 has 0 in column 1"):
        fit.fit(np.where(np.arange(8).reshape(4, 2) == 7, 0, 1))


def test_kernel_parameters_that_nobody_can_import():
    """Classes made inside functions, of the same name."""
    kinds = [namedtuple("Kernel", fields) for fields in ("x", "y z")]
    values = (kinds[0](np.ones(1)), (kinds[1](np.zeros(2), np.full(3, 2.0)),))
    again = nested(flat(values))
    assert [type(again[0]), type(again[1][0])] == kinds
    assert numba.njit(lambda values: nested(values)[1][0].z.sum() + nested(values)[0].x.sum())(flat(values)) == 7


@pytest.mark.parametrize("name", ["check", "base", "reach"])
def test_what_nobody_would_call_is_refused(name):
    """A family of its own that forgot to ask for the look at the rows."""
    with pytest.raises(TypeError, match=f"_Own defines {name}, .* set is_surveyed = True"):
        type("_Own", (Fixed,), {name: lambda self, *rows: np.zeros(1)})
    inherited = type("_Inherited", (Fixed,), {name: lambda self, *rows: np.zeros(1), "is_surveyed": True})
    with pytest.raises(TypeError, match=f"defines {name}"):
        type("_Below", (inherited,), {"is_surveyed": False})
    type("_Asked", (Fixed,), {name: lambda self, *rows: np.zeros(1), "is_surveyed": property(lambda self: True)})
