"""The passes against NumPy, on random and on nasty inputs, compiled with and without threads."""

import importlib

import numpy as np
import pytest
from numba import config
from scipy.special import logsumexp

from fastem.engine.contract import Shape
from fastem.engine.data import Data, accumulate
from fastem.estimators.gaussian_mixture import FAMILIES
from fastem.families import Categorical
from fastem.families._lookup import table_of
from fastem.families.categorical import CategoricalParams
from fastem.families.gaussian.family import GaussianParams
from fastem.kernels.fingerprint import kernel_files
from fastem.kernels.kernel_arguments import flat
from fastem.kernels.launches import Launches
from fastem.kernels.tiles import tile_rows
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.deaths import reseeds
from fastem.latent.mixture.kernels import Output
from fastem.latent.mixture.model import MixtureModel
from fastem.latent.mixture.passes import AccumulatePass
from fastem.sources import ArraySource
from tests.truths import COVARIANCE_TYPES, e_step, incomplete_step, m_step, random_covariances

TILE = tile_rows(np.dtype(np.float64))
TOLERANCES = {np.float64: {"rtol": 1e-9, "atol": 1e-9}, np.float32: {"rtol": 2e-4, "atol": 1e-4}}


def _problem(covariance_type, d, k, n, dtype, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    X = (offset + rng.normal(size=(n, d)) * 2).astype(dtype)
    means = offset + rng.normal(size=(k, d))
    covariances = random_covariances(covariance_type, k, d, rng)
    weights = rng.dirichlet(np.full(k, 3.0))
    family = FAMILIES[covariance_type](1e-6)
    precisions = np.linalg.inv(covariances) if covariance_type in ("full", "tied") else 1 / covariances
    params = MixtureParams(weights, GaussianParams(means, *family.invert(precisions)))
    return X, params, MixtureModel(family, k), rng


def _step(model, params, data, n_threads=2):
    shape = Shape(data.source.n_features, data.source.dtype, n_threads)
    stats = accumulate(model, params, data, shape)
    return stats, model.maximize(stats, params, reseeds(0)).params


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 18])
def test_one_step_with_weights(covariance_type, dtype, d):
    X, params, model, rng = _problem(covariance_type, d, 3, 1100, dtype, seed=d)
    sample_weight = rng.integers(0, 4, len(X)) * 0.5
    stats, new = _step(model, params, Data(ArraySource(X), sample_weight))
    truth = (params.weights, params.components.means, params.components.covariances)
    log_prob, resp = e_step(X, *truth, covariance_type)
    weights, means, covariances = m_step(X, resp, covariance_type, 1e-6, sample_weight)
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(stats.log_likelihood, sample_weight @ log_prob, rtol=tolerance["rtol"])
    np.testing.assert_allclose(stats.weight, sample_weight.sum(), rtol=1e-12)
    np.testing.assert_allclose(new.weights, weights, **tolerance)
    np.testing.assert_allclose(new.components.means, means, **tolerance)
    np.testing.assert_allclose(new.components.covariances, covariances, **tolerance)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # before the missing cells are noticed
@pytest.mark.parametrize(
    ("covariance_type", "dtype"),
    [
        ("full", np.float64),
        ("full", np.float32),
        ("tied", np.float64),
        pytest.param("tied", np.float32, marks=pytest.mark.slow),  # like the others, and compiles for long
    ],
)
@pytest.mark.parametrize(
    ("d", "k"),
    [
        (1, 2), (2, 9), (4, 3), (5, 8),
        (10, 5),  # more patterns than are remembered
        (25, 2),  # more columns than one number tells apart
        (70, 9),  # what fills the cells is made twice
    ],
)  # fmt: skip
def test_one_step_with_missing_cells(covariance_type, dtype, d, k):
    if config.DISABLE_JIT and d > 5:
        pytest.skip("takes minutes when nothing is compiled")
    X, params, model, rng = _problem(covariance_type, d, k, 400, dtype, seed=d, offset=3.0)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[100:200] = np.where(np.arange(d) % 3 == 0, np.nan, X[0])
    X[rng.random(len(X)) < 0.2] = rng.normal(3, 2, d)
    X[[5, 399]] = np.nan
    X[7] = 2.5
    sample_weight = rng.integers(0, 4, len(X)) * 0.5
    stats, new = _step(model, params, Data(ArraySource(X), sample_weight))
    truth = (params.weights, params.components.means, params.components.covariances)
    log_likelihood, weights, means, covariances = incomplete_step(X, *truth, covariance_type, sample_weight)
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(stats.log_likelihood, log_likelihood, rtol=tolerance["rtol"])
    np.testing.assert_allclose(new.weights, weights, **tolerance)
    np.testing.assert_allclose(new.components.means, means, **tolerance)
    np.testing.assert_allclose(new.components.covariances, covariances, **tolerance)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n", [1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE - 1, 2 * TILE, 2 * TILE + 1, 64 * TILE + 3])
def test_tails_of_tiles(covariance_type, n):
    X, params, model, _ = _problem(covariance_type, 3, 2, n, np.float64)
    stats, _ = _step(model, params, Data(ArraySource(X)))
    truth = (params.weights, params.components.means, params.components.covariances)
    log_prob, resp = e_step(X, *truth, covariance_type)
    np.testing.assert_allclose(stats.log_likelihood, log_prob.sum(), rtol=1e-12)
    np.testing.assert_allclose(stats.counts, resp.sum(axis=0), rtol=1e-10)
    assert stats.weight == n


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_results_of_rows(covariance_type, dtype, k):
    X, params, model, _ = _problem(covariance_type, 4, k, 700, dtype)
    shape = Shape(4, np.dtype(dtype), 2)
    out = Output(np.empty(700), np.empty((700, k), dtype), np.empty(700, np.int64))
    rows = X.view()
    rows.flags.writeable = False
    model.infer(params, shape).add(rows, out, Launches())
    truth = (params.weights, params.components.means, params.components.covariances)
    log_prob, resp = e_step(X, *truth, covariance_type)
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(out.log_prob, log_prob, **tolerance)
    np.testing.assert_allclose(out.resp, resp, **tolerance)
    clear = np.sort(resp, axis=1)[:, -1] - np.sort(resp, axis=1)[:, -2:-1].max(axis=1, initial=0) > 1e-3
    np.testing.assert_array_equal(out.labels[clear], resp.argmax(axis=1)[clear])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_far_points_and_tight_components(covariance_type, dtype):
    """Distances that overflow, and densities that underflow, give finite sums."""
    X, params, model, _ = _problem(covariance_type, 3, 3, 600, dtype)
    X[::7] *= dtype(1e6)
    X[0] = 1e12
    tight = params.components.precisions_cholesky * 1e5
    extreme = params._replace(components=params.components._replace(precisions_cholesky=tight))
    stats, _ = _step(model, params._replace(components=extreme.components), Data(ArraySource(X)))
    assert np.isfinite(stats.log_likelihood)
    assert np.isfinite(stats.family.first).all()
    np.testing.assert_allclose(stats.counts.sum(), len(X), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # without compilation NumPy says so
def test_overflowing_distances_are_shared():
    """A point infinitely far from all components is nobody's: it must not become NaN."""
    X, params, model, _ = _problem("diag", 2, 2, 300, np.float64)
    X[0] = 1e200
    shape = Shape(2, X.dtype, 2)
    stats = accumulate(model, params, Data(ArraySource(X)), shape)
    assert np.isfinite(stats.log_likelihood)
    np.testing.assert_allclose(stats.counts.sum(), 300)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        model.maximize(stats, params, reseeds(0))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_component_of_weight_zero(covariance_type):
    X, params, model, _ = _problem(covariance_type, 3, 3, 500, np.float64)
    params = params._replace(weights=np.array([0.4, 0.0, 0.6]))
    stats, new = _step(model, params, Data(ArraySource(X)))
    truth = (params.weights, params.components.means, params.components.covariances)
    _, resp = e_step(X, *truth, covariance_type)
    np.testing.assert_allclose(stats.counts, resp.sum(axis=0), rtol=1e-10, atol=1e-12)
    assert new.weights[1] == 0
    np.testing.assert_array_equal(new.components.means[1], params.components.means[1])
    assert np.isfinite(new.components.covariances).all()


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_twins_give_the_same_bits(covariance_type, dtype):
    X, params, model, _ = _problem(covariance_type, 5, 4, 3000, dtype)
    X.flags.writeable = False
    results = []
    for name in ("parallel", "serial"):
        walk = model.start_pass(params, params, Shape(5, np.dtype(dtype), 2))
        none, given, masks = np.empty(0, dtype), np.empty((0, 4), dtype), np.empty((0, 4), np.uint8)
        for array in (none, given, masks):
            array.flags.writeable = False
        span = np.array([0, len(walk.stats.weight)])
        sums = (walk.family_stats, walk.stats, walk.work)
        getattr(walk.twins, name)(2, flat((X, given, masks, none, span, walk.prepared.params, *sums)))
        results.append(walk.finish())
    for a, b in zip((*results[0][:3], *results[0].family), (*results[1][:3], *results[1].family), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("sizes", "k"), [((2, 3, 4, 2, 90, 3), 11), ((1, 5), 3), ((3,) * 9, 8)])
def test_lookups_of_combined_columns(dtype, sizes, k):
    rng = np.random.default_rng(len(sizes))
    X = np.stack([rng.integers(n, size=700) for n in sizes], axis=1).astype(dtype)
    X[rng.random(X.shape) < 0.2] = np.nan
    X[5] = np.nan
    probabilities = [rng.dirichlet(np.ones(n), size=k) for n in sizes]
    params = MixtureParams(rng.dirichlet(np.ones(k)), CategoricalParams(np.hstack(probabilities)))
    family = Categorical(sizes)
    data = Data(ArraySource(X), rng.integers(0, 4, len(X)) * 0.5)
    stats = accumulate(MixtureModel(family, k), params, data, Shape(len(sizes), np.dtype(dtype), 2))
    hot = [np.stack([x == level for level in range(n)], axis=1) for x, n in zip(X.T, sizes, strict=True)]
    # a level's row of logarithms where it is, 0 where the cell is missing
    joint = np.log(params.weights) + sum(h @ np.log(p).T for h, p in zip(hot, probabilities, strict=True))
    log_prob = logsumexp(joint, axis=1)
    resp = data.weights[:, None] * np.exp(joint - log_prob[:, None])
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(stats.log_likelihood, data.weights @ log_prob, rtol=tolerance["rtol"])
    histograms = table_of(sizes).histograms(stats.family, k)
    np.testing.assert_allclose(histograms, np.hstack(hot).T.astype(float) @ resp, **tolerance)


def test_expected_lookups_have_the_histograms_they_were_made_of():
    sizes, counts = (2, 3, 90, 4), np.array([3.0, 0.0, 5.0])
    rng = np.random.default_rng(0)
    histograms = np.concatenate([rng.dirichlet(np.ones(n), size=3) for n in sizes], axis=1).T * counts
    table = table_of(sizes)
    np.testing.assert_allclose(table.histograms(table.expected(histograms, counts), 3), histograms, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_moments_about_another_centre(covariance_type):
    """Moments about any centre give the same M-step: that is what repairs cancellation."""
    X, params, model, rng = _problem(covariance_type, 4, 3, 800, np.float64)
    data, shape = Data(ArraySource(X)), Shape(4, np.dtype(np.float64), 2)
    policy = reseeds(0)
    moved = params.components._replace(means=params.components.means + rng.normal(size=(3, 4)))
    about = params._replace(components=moved)
    plain = model.maximize(accumulate(model, params, data, shape), params, policy).params
    shifted = model.maximize(accumulate(model, params, data, shape, about=about), about, policy).params
    np.testing.assert_allclose(shifted.components.means, plain.components.means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(shifted.components.covariances, plain.components.covariances, rtol=1e-10, atol=1e-12)


def test_passes_depend_on_the_files_of_their_kernels():
    """That an edit of one is noticed is tested in processes."""
    found = {}
    for name in ("full", "tied", "spherical"):
        files = kernel_files([AccumulatePass.make, FAMILIES[name].kernel_parameters])
        found[name] = {f"{file.parent.name}/{file.stem}" for file in files}
    always = {f"kernels/{name}" for name in ("simd", "vector_math", "tiles", "dispatch", "kernel_arguments")}
    assert always | {"mixture/kernels", "gaussian/centring"} <= set.intersection(*found.values())
    of_triangles = {f"gaussian/{name}" for name in ("triangular", "triangular_kernels", "small_kernels")}
    assert of_triangles <= found["full"] == found["tied"]
    assert {"gaussian/diagonal", "gaussian/diagonal_kernels"} <= found["spherical"]
    assert not of_triangles & found["spherical"]


def test_families_of_ones_own_depend_on_files_beside_them(tmp_path, monkeypatch):
    (tmp_path / "own_helpers.py").write_text("from numba import njit\n\n@njit\ndef f(x):\n    return x\n")
    (tmp_path / "own_settings.py").write_text("LEAST = 1.0\n")
    own = "from typing import NamedTuple\nfrom own_helpers import f\nfrom own_settings import LEAST\n"
    (tmp_path / "own_family.py").write_text(own + "class Kernel(NamedTuple):\n    x: int\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("own_family")
    names = {file.name for file in kernel_files([module.Kernel])}
    assert {"own_family.py", "own_helpers.py"} <= names and "own_settings.py" not in names
