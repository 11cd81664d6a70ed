"""Negative binomial counts over exposures, against SciPy, mpmath, NumPy and optimizers of the observed likelihood."""

import warnings

import dask.array as da
import mpmath
import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import Mixture
from fastem.engine.contract import Shape
from fastem.engine.data import Data
from fastem.families import ExposedNegativeBinomial, NegativeBinomial, Poisson
from fastem.families.counts import exposed_steps
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import ArraySource

# They compile for long; the examples of the documentation stand for them in the quick tests.
pytestmark = pytest.mark.slow


def _draw(n=400, seed=0, means=((1.0, 6.0), (5.0, 0.7)), size=3.0):
    rng = np.random.default_rng(seed)
    exposure = rng.uniform(0.5, 20, (n, 2))
    first = rng.random((n, 1)) < 0.4
    counts = rng.poisson(rng.gamma(size, exposure * np.where(first, *means) / size))
    return counts.astype(float), exposure


def _log_densities(x, exposure, weights, means, sizes):
    """Log-densities (n,) by SciPy; cells that are missing contribute nothing."""
    here = ~np.isnan(x)
    exposure = exposure if exposure.ndim == 2 else exposure[:, None]
    shares = sizes / (sizes + np.where(here, exposure, 1.0)[:, None] * means)
    cells = stats.nbinom(sizes, shares).logpmf(np.where(here, x, 0)[:, None])
    return np.logaddexp.reduce(np.log(weights) + np.where(here[:, None], cells, 0).sum(axis=2), axis=1)


def _of(fit, x, exposure):
    return _log_densities(x, exposure, fit.weights_, fit.means_, fit.sizes_)


def _held(means, sizes):
    """A fit of one component that keeps its parameters."""
    held = {"means": np.atleast_2d(means), "sizes": np.atleast_2d(sizes)}
    return Mixture(NegativeBinomial(), 1, params_init=held, frozen={"means", "sizes"}, weights_init=[1.0])


# --- densities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.2], ids=["complete", "missing"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)], ids=["float64", "float32"])
def test_densities(missing, dtype, tolerance):
    x, exposure = _draw()
    x[np.random.default_rng(1).random(x.shape) < missing] = np.nan
    fit = Mixture(NegativeBinomial(), 2, random_state=0, tol=1e-4).fit(x.astype(dtype), exposure=exposure)
    truth = _of(fit, x, exposure.astype(dtype).astype(float))
    np.testing.assert_allclose(
        fit.score_samples(x.astype(dtype), exposure=exposure), truth, rtol=tolerance, atol=tolerance / 1e3
    )
    assert fit.n_parameters_ == 9 and fit.log_likelihood_ == pytest.approx(truth.sum(), rel=tolerance)
    assert fit.bic(x.astype(dtype), exposure=exposure) == pytest.approx(
        9 * np.log((~np.isnan(x)).any(axis=1).sum()) - 2 * truth.sum(), rel=tolerance
    )


@pytest.mark.parametrize("size", [1e-3, 0.5, 20.0, 1e5, 1e12, 1e20], ids=lambda size: f"size_{size:g}")
def test_densities_of_any_size_by_mpmath(size):
    steps = 1 + np.array([-0.9, -1e-3, -1e-6, 0, 1e-6, 1e-3, 5.0])
    x = np.array([0, 1, 7, 1000, 5000, 10**6, 10**12, 2**53], float)
    expected = [np.append(np.maximum(v, 0.1) * steps, [1e-12, 1e-3, 1e9]) for v in x]
    x, exposure = np.repeat(x, 10)[:, None], np.concatenate(expected)
    found = _held(1.0, size).fit(x, exposure=exposure).score_samples(x, exposure=exposure)
    with mpmath.workdps(60):

        def log_density(v, mean):
            v, m, s = mpmath.mpf(float(v)), mpmath.mpf(float(mean)), mpmath.mpf(size)
            ways = mpmath.loggamma(v + s) - mpmath.loggamma(s) - mpmath.loggamma(v + 1)
            return float(ways + s * mpmath.log(s / (s + m)) + v * mpmath.log(m / (s + m)))

        truth = [log_density(v, mean) for v, mean in zip(x[:, 0], exposure, strict=True)]
    np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_a_mean_of_0_excludes_counts():
    x, exposure = np.array([[0.0], [0.0], [3.0]]), np.array([1.0, 1e9, 2.0])
    found = _held(0.0, 2.0).fit(x[:2], exposure=exposure[:2]).score_samples(x, exposure=exposure)
    np.testing.assert_allclose(found, [0, 0, -np.inf], atol=1e-300)
    both = Mixture(NegativeBinomial(), 1).fit(np.column_stack([x[:, 0], x[:, 0] * 0]), exposure=exposure)
    assert both.means_[0, 1] == 0 and both.means_[0, 0] > 0 and both.converged_
    with pytest.raises(ValueError, match="Row 1 of X is impossible under all components"):
        both.predict([[1.0, 0.0], [1.0, 1.0]], exposure=[1.0, 1.0])


# --- sums and M-steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [3, 9], ids=["three", "nine"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)], ids=["float64", "float32"])
def test_sums_of_smooth_functions_of_exposures(n_components, dtype, tolerance):
    rng = np.random.default_rng(0)
    exposure = rng.lognormal(0, 3, (700, 2)).astype(dtype)
    x = rng.poisson(rng.gamma(2, exposure / 2)).astype(dtype)
    x[rng.random(x.shape) < 0.1] = np.nan
    exposure[np.isnan(x)] = np.nan
    rows, weights = np.hstack([x, exposure]), rng.integers(0, 3, 700) * 0.5
    family = ExposedNegativeBinomial().widened(ExposedNegativeBinomial().reach(rows))
    ones = np.ones((n_components, 2))
    params = MixtureParams(np.full(n_components, 1 / n_components), family.parameters(ones, ones))
    given = rng.dirichlet(np.ones(n_components), 700).astype(dtype)
    model, shape = MixtureModel(family, n_components), Shape(4, np.dtype(dtype), 2)
    found = Data(ArraySource(rows), weights).accumulate(model, params, params, shape, given)
    x, exposure = x.astype(float), exposure.astype(float)
    here = ~np.isnan(x)
    weights[~here.any(axis=1)] = 0
    resp = given * weights[:, None]
    np.testing.assert_allclose(found.counts, resp.sum(axis=0), rtol=tolerance)
    table = family._exposures()
    cells, events = table.sums(found.family.exposures, n_components)
    for function in (np.ones_like, np.square, lambda e: e, lambda e: np.log1p(3 * e), lambda e: e / (0.1 + e)):
        values = np.where(here, function(np.where(here, exposure, 1)), 0)
        for sums, factor in ((cells, here), (events, np.where(here, x, 0))):
            truth = np.einsum("nk,nj->kj", resp, values * factor)
            np.testing.assert_allclose(sums @ function(table.values), truth, rtol=tolerance)


def _profile(x, exposure):
    """Parameters of one component by an optimizer of the observed likelihood, that is returned too."""

    def loss(logs):
        mean, size = np.exp(logs)
        return -_log_densities(x, exposure, np.ones(1), np.array([[mean]]), np.array([[size]])).sum()

    starts = [[np.log(x.mean() / exposure.mean()), start] for start in (-1.0, 2.0)]
    options = {"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000}
    best = min((optimize.minimize(loss, start, method="Nelder-Mead", options=options) for start in starts),
               key=lambda found: found.fun)  # fmt: skip
    return best.x, loss


@pytest.mark.parametrize(
    ("mean", "size", "spread"),
    [(3.0, 2.0, 0.5), (0.05, 1.0, 1.0), (400.0, 0.3, 2.0), (1e6, 5.0, 1.0), (20.0, 100.0, 0.0)],
    ids=["moderate", "rare", "heavy", "large", "equal"],
)
def test_one_component_is_the_maximum(mean, size, spread):
    rng = np.random.default_rng(0)
    exposure = rng.lognormal(0, spread, 300)
    x = rng.poisson(rng.gamma(size, mean * exposure / size))[:, None].astype(float)
    fit = Mixture(NegativeBinomial(), 1).fit(x, exposure=exposure)
    best, loss = _profile(x, exposure)
    mine = np.log([fit.means_[0, 0], fit.sizes_[0, 0]])
    assert fit.converged_ and fit.n_iter_ <= 3
    assert fit.log_likelihood_ == pytest.approx(-loss(mine), rel=1e-9) and loss(mine) < loss(best) + 1e-6
    np.testing.assert_allclose(mine, best, atol=1e-4)


def test_two_components_are_a_maximum():
    x, exposure = _draw(600)
    fit = Mixture(NegativeBinomial(), 2, random_state=0, tol=1e-10, max_iter=3000).fit(x, exposure=exposure)

    def loss(logs):
        share = 1 / (1 + np.exp(-logs[0]))
        means, sizes = np.exp(logs[1:]).reshape(2, 2, 2)
        return -_log_densities(x, exposure, np.array([share, 1 - share]), means, sizes).sum()

    mine = np.append(np.log(fit.weights_[0] / fit.weights_[1]), np.log([fit.means_, fit.sizes_]))
    near = np.random.default_rng(0).normal(size=9) * 0.1 + mine
    best = optimize.minimize(loss, near, method="BFGS", options={"gtol": 1e-4})
    assert fit.converged_ and fit.log_likelihood_ == pytest.approx(-loss(mine), rel=1e-12)
    assert -best.fun - 1e-5 < fit.log_likelihood_ and np.abs(optimize.approx_fprime(mine, loss, 1e-6)).max() < 0.02
    np.testing.assert_allclose(best.x, mine, atol=2e-3)


@pytest.mark.parametrize("name", ["means", "sizes"])
def test_what_is_held_stays_and_the_rest_is_the_maximum(name):
    rng = np.random.default_rng(1)
    exposure = rng.uniform(0.1, 5, 300)
    x = rng.poisson(rng.gamma(2, 3 * exposure / 2))[:, None].astype(float)
    held = {"means": np.array([[4.0]]), "sizes": np.array([[1.0]])}
    fit = Mixture(NegativeBinomial(), 1, params_init={name: held[name]}, frozen={name}).fit(x, exposure=exposure)

    def loss(log):
        free = held | {key: np.exp([[log]]) for key in held if key != name}
        return -_log_densities(x, exposure, np.ones(1), free["means"], free["sizes"]).sum()

    best = optimize.minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10})
    assert getattr(fit, f"{name}_").tolist() == held[name].tolist() and fit.n_parameters_ == 1
    assert fit.log_likelihood_ == pytest.approx(-best.fun, abs=1e-8)


@pytest.mark.parametrize("factor", [1.0, 0.37, 1e-20, 3e7], ids=str)
@pytest.mark.parametrize("n_components", [1, 2], ids=["one", "two"])
def test_equal_exposures_change_nothing_but_the_unit(factor, n_components):
    x, _ = _draw(500, seed=3)
    equal = np.full(500, factor)
    settings = {"random_state": 0, "tol": 1e-9, "max_iter": 5000}
    plain = Mixture(NegativeBinomial(), n_components, **settings).fit(x)
    given = {"means": plain.means_ / factor * 1.1, "sizes": plain.sizes_ * 0.9}
    fit = Mixture(
        NegativeBinomial(), n_components, params_init=given, weights_init=plain.weights_, **settings
    ).fit(x, exposure=equal)  # fmt: skip
    plain = Mixture(
        NegativeBinomial(), n_components, params_init=given | {"means": plain.means_ * 1.1},
        weights_init=plain.weights_, **settings,
    ).fit(x)  # fmt: skip
    np.testing.assert_allclose(fit.means_ * factor, plain.means_, rtol=1e-8)
    np.testing.assert_allclose(fit.sizes_, plain.sizes_, rtol=1e-8)
    np.testing.assert_allclose(fit.lower_bounds_, plain.lower_bounds_, rtol=1e-11)
    np.testing.assert_allclose(fit.score_samples(x, exposure=equal), plain.score_samples(x), rtol=1e-8)


def test_the_likelihood_never_falls():
    for seed in range(50):
        x, exposure = _draw(100, seed, size=10 ** np.random.default_rng(seed).uniform(-0.5, 3))
        exposure *= 10.0 ** (seed % 7 - 3)
        fit = Mixture(NegativeBinomial(), 3, init_params="random", random_state=seed, max_iter=20, tol=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is stopped early
            fit.fit(x, exposure=exposure)
        assert np.all(np.diff(fit.lower_bounds_) > -1e-10 * np.abs(fit.lower_bounds_[1:])), seed


@pytest.mark.parametrize("level", [0.3, 5.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("n_components", [1, 2], ids=["one", "two"])
def test_counts_without_overdispersion_end_at_the_limit(level, n_components):
    rng = np.random.default_rng(0)
    exposure = rng.uniform(0.5, 3, 300)
    x = rng.binomial(np.rint(2 * level * exposure + 1).astype(int), 0.5)[:, None].astype(float)
    fit = Mixture(NegativeBinomial(), n_components, random_state=0).fit(x, exposure=exposure)
    poisson = Mixture(Poisson(), n_components, random_state=0).fit(x, exposure=exposure)
    assert fit.converged_ and fit.n_iter_ < 60
    assert fit.score(x, exposure=exposure) > poisson.score(x, exposure=exposure) - 1e-5
    if n_components == 1:
        assert fit.sizes_[0, 0] > 1e8 * np.maximum(fit.means_[0, 0], 1) * 0.9 and fit.n_iter_ <= 3


@pytest.mark.parametrize("size", [0.5, 20.0, 1e6], ids=lambda size: f"size_{size:g}")
def test_rates_of_large_counts_are_gamma(size):
    rng = np.random.default_rng(5)
    exposure = rng.uniform(0.5, 2, 2000)
    x = rng.poisson(rng.gamma(size, 1e12 * exposure / size)).astype(float)
    fit = Mixture(NegativeBinomial(), 1).fit(x[:, None], exposure=exposure)
    shape, _, scale = stats.gamma.fit(x / exposure, floc=0)
    assert fit.converged_ and fit.sizes_[0, 0] == pytest.approx(shape, rel=1e-4)
    assert fit.means_[0, 0] == pytest.approx(shape * scale, rel=1e-8)


def test_a_limit_that_is_no_maximum_is_not_taken():
    """Seen from the end without overdispersion the likelihood goes up there, and is larger elsewhere."""
    rng = np.random.default_rng(106)
    n, spread = int(rng.choice([2, 5, 30, 300])), rng.choice([0, 0.3, 1, 3, 6])
    mean, size = 10 ** rng.uniform(-2, 7), 10 ** rng.uniform(-2, 5)
    exposure = rng.lognormal(0, spread, n)
    rng.integers(3)
    x = rng.poisson(rng.gamma(size, mean * exposure / size)).astype(float)[:, None]
    fit = Mixture(NegativeBinomial(), 1).fit(x, exposure=exposure)
    logs = np.log([fit.means_[0, 0], fit.sizes_[0, 0]])
    _, loss = _profile(x, exposure)
    around = [loss(logs + [a, b]) for a in np.linspace(-1, 1, 9) for b in np.linspace(-6, 10, 33)]
    assert fit.converged_ and -fit.log_likelihood_ < min(around) + 1e-6


def test_a_size_that_would_lower_the_likelihood_is_not_taken(monkeypatch):
    rng = np.random.default_rng(0)
    exposure = rng.uniform(1, 5, 300)
    x = rng.poisson(rng.gamma(2, exposure * 1.5))[:, None].astype(float)
    start = {"params_init": {"means": [[2.0]], "sizes": [[2.0]]}, "weights_init": [1.0], "max_iter": 5, "tol": 0.0}
    for search in ("_best_sizes", "_nearest_sizes"):
        monkeypatch.setattr(exposed_steps, search, lambda sums, means, sizes, *more: sizes * 1e3)
    with pytest.warns(ConvergenceWarning):
        fit = Mixture(NegativeBinomial(), 1, **start).fit(x, exposure=exposure)
    assert fit.sizes_[0, 0] == 2 and np.all(np.diff(fit.lower_bounds_) > -1e-14)
    assert fit.lower_bounds_[-1] > fit.lower_bounds_[0]


# --- weights, labels, missing cells, sources ------------------------------------------------------


def test_weights_are_replication_and_rows_of_weight_0_are_none():
    x, exposure = _draw(200)
    weights = np.random.default_rng(2).integers(0, 4, 200).astype(float)
    x[weights == 0] = 1e15
    exposure[weights == 0] = 1e-29
    start = {"params_init": {"means": [[1, 6], [5, 1]], "sizes": np.ones((2, 2))}, "weights_init": [0.5, 0.5]}
    fits = [
        Mixture(NegativeBinomial(), 2, **start).fit(x, exposure=exposure, sample_weight=weights),
        Mixture(NegativeBinomial(), 2, **start).fit(
            x[weights > 0], exposure=exposure[weights > 0], sample_weight=weights[weights > 0]
        ),
        Mixture(NegativeBinomial(), 2, **start).fit(
            np.repeat(x, weights.astype(int), axis=0), exposure=np.repeat(exposure, weights.astype(int), axis=0)
        ),
    ]
    assert fits[0].family_.largest == fits[1].family_.largest < 1e6
    for other in fits[1:]:
        for name in ("weights_", "means_", "sizes_", "lower_bounds_"):
            np.testing.assert_allclose(getattr(fits[0], name), getattr(other, name), rtol=1e-9)


def test_sources_files_and_labels(tmp_path):
    x, exposure = _draw(600)
    fit = Mixture(NegativeBinomial(), 2, random_state=0).fit(x, exposure=exposure)
    np.save(tmp_path / "rows.npy", x)
    chunks = da.from_array(x, chunks=(100, 2))
    for data in (tmp_path / "rows.npy", chunks, lambda: iter([x[:250], x[250:]])):
        again = Mixture(NegativeBinomial(), 2, random_state=0).fit(data, exposure=exposure)
        np.testing.assert_allclose(again.sizes_, fit.sizes_, rtol=1e-9 if data is chunks else 0)
        np.testing.assert_array_equal(again.predict(data, exposure=exposure), fit.predict(x, exposure=exposure))
    fit.save(tmp_path / "model.fastem")
    loaded = fastem.load(tmp_path / "model.fastem")
    assert isinstance(loaded.family_, ExposedNegativeBinomial) and loaded.family_.exposures == fit.family_.exposures
    np.testing.assert_array_equal(loaded.score_samples(x, exposure=exposure), fit.score_samples(x, exposure=exposure))
    known = np.where(np.arange(600) < 100, fit.predict(x, exposure=exposure), -1)
    led = Mixture(NegativeBinomial(), 2, random_state=0).fit(x, exposure=exposure, labels=known)
    np.testing.assert_allclose(led.means_, fit.means_, rtol=0.05)
    draws, labels = fit.sample(20_000)
    for k in range(2):
        mine = draws[labels == k]
        np.testing.assert_allclose(mine.mean(axis=0), fit.means_[k], rtol=0.08)
        np.testing.assert_allclose(mine.var(axis=0), fit.means_[k] + fit.means_[k] ** 2 / fit.sizes_[k], rtol=0.2)


def test_results_for_other_exposures_than_those_of_the_fit():
    x, exposure = _draw(200)
    fit = Mixture(NegativeBinomial(), 2, random_state=0).fit(x, exposure=exposure)
    for factor in (1e-6, 1e6):
        found = fit.score_samples(10 * x, exposure=factor * exposure)
        np.testing.assert_allclose(found, _of(fit, 10 * x, factor * exposure), rtol=1e-10)
    np.testing.assert_array_equal(fit.score_samples(x), fit.score_samples(x, exposure=np.ones(200)))


@pytest.mark.parametrize("method", ["growing", "stepwise"])
def test_warm_ups(method):
    x, exposure = _draw(30_000)
    fit = Mixture(NegativeBinomial(), 2, random_state=0).fit(x, exposure=exposure, method=method)
    order = np.argsort(fit.means_[:, 0])
    np.testing.assert_allclose(fit.means_[order], [[1, 6], [5, 0.7]], rtol=0.05)
    np.testing.assert_allclose(fit.sizes_, 3, rtol=0.15)


def test_partial_fit_learns_from_batches_with_other_exposures():
    mixture = Mixture(NegativeBinomial(), 2, random_state=0)
    for seed in range(12):
        x, exposure = _draw(3000, seed)
        factor = 10.0 ** (seed % 5 - 2)
        rng = np.random.default_rng(seed)
        first = rng.random((3000, 1)) < 0.4
        rates = factor * exposure * np.where(first, [1.0, 6.0], [5.0, 0.7])
        mixture.partial_fit(rng.poisson(rng.gamma(3, rates / 3)).astype(float), exposure=factor * exposure)
    order = np.argsort(mixture.means_[:, 0])
    np.testing.assert_allclose(mixture.means_[order], [[1, 6], [5, 0.7]], rtol=0.1)
    np.testing.assert_allclose(mixture.sizes_, 3, rtol=0.3)
    assert mixture.family_.largest == 2**53
    with pytest.raises(ValueError, match="larger values than ExposedNegativeBinomial"):
        mixture.partial_fit(x, exposure=np.full(3000, 1e15))


def test_partial_fit_goes_on_after_a_fit():
    x, exposure = _draw(2000)
    mixture = Mixture(NegativeBinomial(), 2, random_state=0).fit(x, exposure=exposure)
    before = mixture.means_.copy()
    mixture.partial_fit(*_draw(2000, 1)[:1], exposure=_draw(2000, 1)[1])
    np.testing.assert_allclose(mixture.means_, before, rtol=0.1)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "exposure", "message"),
    [
        (NegativeBinomial(), -1.0, "exposure must be positive, but is -1 in row 0"),
        (NegativeBinomial(), 0.0, "exposure must be positive, but is 0 in row 0"),
        (NegativeBinomial(), 1e31, "exposures must be positive, from 1e-30 to 1e"),
        (NegativeBinomial(), 1e-31, "exposures must be positive, from 1e-30 to 1e"),
        (NegativeBinomial(), np.inf, "exposure must be finite"),
        (ExposedNegativeBinomial(exposures=(2.0, 1.0)), 1.0, "exposures must be a least and a largest one"),
        (ExposedNegativeBinomial(exposures=(0.0, 1.0)), 1.0, "exposures must be a least and a largest one"),
        (ExposedNegativeBinomial(exposures=(1.0, 2.0, 3.0)), 1.0, "exposures should have the shape"),
    ],
    ids=["negative", "zero", "huge", "tiny", "infinite", "reversed", "from_zero", "three"],
)
def test_wrong_exposures_are_refused(family, exposure, message):
    x = np.arange(20.0)[:, None]
    with pytest.raises(ValueError, match=message):
        Mixture(family, 1).fit(x, exposure=np.full(20, exposure))


def test_other_things_that_are_refused():
    x, exposure = _draw(50)
    with pytest.raises(ValueError, match=r"Input X contains 0\.5 in row 3, column 1"):
        Mixture(NegativeBinomial(), 1).fit(np.where(np.arange(100).reshape(50, 2) == 7, 0.5, x), exposure=exposure)
    fit = Mixture(NegativeBinomial(), 1).fit(x)
    with pytest.raises(ValueError, match="The fit knew of no exposure"):
        fit.predict(x, exposure=exposure)
    x[0, 0] = np.nan
    fit = Mixture(NegativeBinomial(), 1).fit(x, exposure=exposure)
    with pytest.raises(NotImplementedError, match="cells cannot be filled"):
        fit.impute(x, exposure=exposure)


def test_few_rows_and_wide_exposures():
    one = Mixture(NegativeBinomial(), 1).fit([[3.0]] * 2, exposure=[1e-30] * 2)
    assert one.means_[0, 0] == pytest.approx(3e30) and one.converged_
    exposure = np.geomspace(1e-30, 1e30, 40)
    x = np.rint(np.minimum(exposure * 2, 2**53))[:, None]
    wide = Mixture(NegativeBinomial(), 1).fit(x, exposure=exposure)
    assert wide.converged_ and np.isfinite(wide.log_likelihood_)
    assert np.isfinite(wide.score_samples(x, exposure=exposure)).all()
