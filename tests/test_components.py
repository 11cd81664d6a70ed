"""Components of different families, constants, and noise beside counts: against SciPy, by brute force."""

from functools import partial

import numpy as np
import pytest
from numba import njit
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, xlogy

import fastem
from fastem import Mixture
from fastem.families import (
    Binomial,
    BinomialOfTrials,
    Categorical,
    Constant,
    Exponential,
    ExposedPoisson,
    Gaussian,
    LinearRegression,
    LogisticRegression,
    LogNormal,
    Multinomial,
    NegativeBinomial,
    Poisson,
    PoissonRegression,
    Product,
    StudentT,
)
from fastem.families._factors import factor_kernel, factor_scratch, log_factor
from fastem.kernels.memory import aligned_zeros
from fastem.kernels.tiles import tile_rows

# They compile for long; the examples of the documentation stand for them in the quick tests.
pytestmark = pytest.mark.slow

SETTINGS = {"random_state": 0, "tol": 1e-13, "max_iter": 5000}


def _inflated(n=800, rate=3.0, share=0.4, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < share, 0, rng.poisson(rate, n)).astype(float)[:, None]


def _best(negative, *starts):
    found = [minimize(negative, start, method="BFGS", options={"gtol": 1e-9}) for start in starts]
    return min(found, key=lambda one: one.fun)


# --- zero inflation ---------------------------------------------------------------------------


def test_a_zero_inflated_poisson_is_the_maximum():
    x = _inflated()
    fit = Mixture([Poisson(), Constant(0)], **SETTINGS).fit(x)

    def negative(theta):
        share, rate = expit(theta[0]), np.exp(theta[1])
        return -np.log(share * (x == 0) + (1 - share) * stats.poisson.pmf(x, rate)).sum()

    best = _best(negative, [0.0, 1.0])
    assert fit.log_likelihood_ == pytest.approx(-best.fun, rel=1e-11)
    np.testing.assert_allclose(fit.weights_[1], expit(best.x[0]), rtol=1e-5)
    np.testing.assert_allclose(fit.components_[0]["rates"][0, 0], np.exp(best.x[1]), rtol=1e-5)
    assert fit.n_parameters_ == 2
    assert (fit.predict(x)[x[:, 0] > 0] == 0).all()


def test_zeros_are_inflated_over_exposures_too():
    rng = np.random.default_rng(1)
    exposure = rng.uniform(0.5, 4, 700)
    x = np.where(rng.random(700) < 0.3, 0, rng.poisson(2 * exposure)).astype(float)
    fit = Mixture([Constant(0), Poisson()], **SETTINGS).fit(x[:, None], exposure=exposure)

    def density(theta):
        return expit(theta[0]) * (x == 0) + expit(-theta[0]) * stats.poisson.pmf(x, exposure * np.exp(theta[1]))

    best = _best(lambda theta: -np.log(density(theta)).sum(), [0.0, 1.0])
    assert fit.log_likelihood_ == pytest.approx(-best.fun, rel=1e-11)
    np.testing.assert_allclose(fit.score_samples(x[:, None], exposure=exposure), np.log(density(best.x)), atol=1e-4)


def test_a_zero_inflated_regression_is_the_maximum():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(900, 1))
    y = np.where(rng.random(900) < 0.3, 0, rng.poisson(np.exp(1 + 0.5 * X[:, 0])))
    fit = Mixture([PoissonRegression(), Constant(0)], **SETTINGS).fit(X, y)

    def negative(theta):
        means = np.exp(theta[1] + theta[2] * X[:, 0])
        return -np.log(expit(theta[0]) * (y == 0) + expit(-theta[0]) * stats.poisson.pmf(y, means)).sum()

    best = _best(negative, [0.0, 1.0, 0.0])
    assert fit.log_likelihood_ == pytest.approx(-best.fun, rel=1e-11)
    np.testing.assert_allclose(fit.components_[0]["coefs"][0, 0], best.x[2], rtol=1e-5)
    means = np.exp(best.x[1] + best.x[2] * X[:, 0])
    np.testing.assert_allclose(fit.predict_response(X), expit(-best.x[0]) * means, rtol=1e-4)
    rows, labels = fit.sample(400)
    assert rows.shape == (400, 2) and (rows[labels == 1, 1] == 0).all()


def test_a_constant_beside_densities_has_its_rows_alone():
    """A density gives a single value no probability, so rows that equal the constant are its."""
    rng = np.random.default_rng(3)
    X = np.r_[rng.normal(0.1, 1, (300, 2)), np.zeros((100, 2))]
    fit = Mixture([Gaussian(), Constant(0)], **SETTINGS).fit(X)
    assert fit.weights_[1] == pytest.approx(0.25, rel=1e-12)
    np.testing.assert_allclose(fit.components_[0]["means"][0], X[:300].mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(fit.components_[0]["covariances"][0], np.cov(X[:300].T, bias=True), rtol=1e-9)
    scores = fit.score_samples(np.array([[0.0, 0.0], [0.0, 1.0]]))
    law = stats.multivariate_normal(X[:300].mean(axis=0), np.cov(X[:300].T, bias=True))
    np.testing.assert_allclose(scores, [np.log(0.25), np.log(0.75) + law.logpdf([0, 1])], rtol=1e-9)


def test_a_constant_that_no_row_has_dies():
    x = _inflated(share=0.0, rate=20.0)
    fit = Mixture([Poisson(), Constant(1000)], random_state=0).fit(x)
    assert fit.weights_.tolist() == [1.0, 0.0]
    np.testing.assert_allclose(fit.components_[0]["rates"], [[x.mean()]], rtol=1e-9)


# --- competing families -----------------------------------------------------------------------


def _counts(n=900, seed=4):
    rng = np.random.default_rng(seed)
    return np.r_[rng.poisson(4, n // 2), rng.negative_binomial(2, 0.05, n // 2)].astype(float)[:, None]


def _poisson_and_negative_binomial(fit, x):
    own = fit.components_
    mean, size = own[1]["means"][0, 0], own[1]["sizes"][0, 0]
    poisson, negative = stats.poisson(own[0]["rates"][0, 0]), stats.nbinom(size, size / (size + mean))
    logs = [poisson.logpmf(x[:, 0]), negative.logpmf(x[:, 0])]
    return np.log(fit.weights_) + np.stack(logs, axis=1)


def test_competing_families_are_the_maximum():
    x = _counts()
    fit = Mixture([Poisson(), NegativeBinomial()], **SETTINGS).fit(x)

    def negative(theta):
        rate, mean, size = np.exp(theta[1:])
        logs = [stats.poisson.logpmf(x, rate), stats.nbinom.logpmf(x, size, size / (size + mean))]
        return -logsumexp([np.log(expit(theta[0])) + logs[0], np.log(expit(-theta[0])) + logs[1]], axis=0).sum()

    best = _best(negative, [0.0, 1.0, 3.0, 0.0], [0.0, 3.0, 1.0, 2.0])
    assert fit.log_likelihood_ == pytest.approx(-best.fun, rel=1e-10)
    joint = _poisson_and_negative_binomial(fit, x)
    np.testing.assert_allclose(fit.score_samples(x), logsumexp(joint, axis=1), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(fit.predict_proba(x), np.exp(joint - logsumexp(joint, axis=1)[:, None]), atol=1e-10)


def test_heavy_tails_are_beside_a_gaussian():
    rng = np.random.default_rng(5)
    X = np.r_[rng.normal(0, 1, (400, 2)), 6 + 2 * rng.standard_t(2, (400, 2))]
    fit = Mixture([Gaussian(), StudentT()], random_state=0).fit(X)
    gaussian, t = fit.components_
    logs = [
        stats.multivariate_normal(gaussian["means"][0], gaussian["covariances"][0]).logpdf(X),
        stats.multivariate_t(t["means"][0], t["scales"][0], t["dofs"][0]).logpdf(X),
    ]
    joint = np.log(fit.weights_) + np.stack(logs, axis=1)
    np.testing.assert_allclose(fit.score_samples(X), logsumexp(joint, axis=1), rtol=1e-9)
    assert t["means"][0] == pytest.approx(6, abs=0.5) and 1 < t["dofs"][0] < 4


def test_lifetimes_of_two_families_may_be_censored():
    rng = np.random.default_rng(18)
    life = np.r_[rng.exponential(1, 300), rng.lognormal(3, 0.3, 300)]
    age = rng.uniform(0.5, 40, 600)
    x, runs_on = np.minimum(life, age), life > age
    fit = Mixture([Exponential(), LogNormal()], random_state=0).fit(x[:, None], censored=runs_on)
    own = fit.components_
    laws = [
        stats.expon(scale=1 / own[0]["rates"][0, 0]),
        stats.lognorm(own[1]["log_sds"][0, 0], scale=np.exp(own[1]["log_means"][0, 0])),
    ]
    joint = np.log(fit.weights_) + np.stack([np.where(runs_on, law.logsf(x), law.logpdf(x)) for law in laws], axis=1)
    found = fit.score_samples(x[:, None], censored=runs_on)
    np.testing.assert_allclose(found, logsumexp(joint, axis=1), rtol=1e-9, atol=1e-9)
    assert own[1]["log_means"][0, 0] == pytest.approx(3, abs=0.1)
    with pytest.raises(ValueError, match="takes no censored values"):
        Mixture([Exponential(), Constant(0)]).fit(x[:, None], censored=runs_on)


def test_missing_cells_are_marginal_and_can_be_filled():
    rng = np.random.default_rng(6)
    x = np.column_stack([_counts(seed=7), _counts(seed=8)])
    x = x[rng.permutation(len(x))]
    x[rng.random(x.shape) < 0.2] = np.nan
    fit = Mixture([Poisson(), NegativeBinomial()], random_state=0, max_iter=30).fit(x)
    own = fit.components_
    mean, size = own[1]["means"][0], own[1]["sizes"][0]
    logs = np.stack([stats.poisson(own[0]["rates"][0]).logpmf(x), stats.nbinom(size, size / (size + mean)).logpmf(x)])
    joint = np.log(fit.weights_)[:, None] + np.where(np.isnan(x), 0, logs).sum(axis=2)
    np.testing.assert_allclose(fit.score_samples(x), logsumexp(joint, axis=0), rtol=1e-10, atol=1e-10)
    resp = np.exp(joint - logsumexp(joint, axis=0))
    means = resp.T @ np.stack([own[0]["rates"][0], mean])
    np.testing.assert_allclose(fit.impute(x), np.where(np.isnan(x), means, x), rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_weights_are_rows_and_files_are_models(tmp_path, dtype):
    x = _counts(300).astype(dtype)
    weights = np.random.default_rng(9).integers(0, 3, len(x))
    start = {"components": [{"rates": [[4.0]]}, {"means": [[30.0]], "sizes": [[2.0]]}]}
    make = partial(
        Mixture, [Poisson(), NegativeBinomial()], params_init=start, weights_init=[0.5, 0.5], tol=1e-4, random_state=0
    )
    weighted = make().fit(x, sample_weight=weights)
    repeated = make().fit(np.repeat(x, weights, axis=0))
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    for a, b in zip(weighted.components_, repeated.components_, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=tolerance)
    weighted.save(tmp_path / "model.fastem")
    loaded = fastem.load(tmp_path / "model.fastem")
    np.testing.assert_array_equal(loaded.predict_proba(x), weighted.predict_proba(x))
    assert repr(loaded.family) == repr(weighted.family)


@pytest.mark.filterwarnings("ignore:Best performing:sklearn.exceptions.ConvergenceWarning")
def test_a_checkpoint_goes_on_with_the_same_bits(tmp_path):
    x = _counts()
    whole = Mixture([Poisson(), NegativeBinomial()], random_state=0, tol=0, max_iter=12).fit(x)
    for n in (5, 12):
        model = Mixture([Poisson(), NegativeBinomial()], random_state=0, tol=0, max_iter=12)
        model.callbacks = lambda iteration, n=n: iteration.n_iter == n
        model.fit(x, checkpoint=tmp_path / "fit.checkpoint", checkpoint_every=0)
    assert model.log_likelihood_ == whole.log_likelihood_
    np.testing.assert_array_equal(model.components_[1]["sizes"], whole.components_[1]["sizes"])


def test_what_is_held_stays():
    x = _inflated()
    start = {"components": [{"rates": [[5.0]]}, {"values": [[0.0]]}]}
    fit = Mixture([Poisson(), Constant(0)], params_init=start, frozen={"0.rates"}, **SETTINGS).fit(x)
    assert fit.components_[0]["rates"].tolist() == [[5.0]] and fit.n_parameters_ == 1
    share = _best(lambda t: -np.log(expit(t) * (x == 0) + expit(-t) * stats.poisson.pmf(x, 5.0)).sum(), [0.0]).x[0]
    assert fit.weights_[1] == pytest.approx(expit(share), rel=1e-5)


def test_labels_and_classes_are_of_components():
    x = _inflated()
    labels = np.full(len(x), -1)
    labels[x[:, 0] > 0] = 0
    fit = Mixture([Poisson(), Constant(0)], **SETTINGS).fit(x, labels=labels)
    free = Mixture([Poisson(), Constant(0)], **SETTINGS).fit(x)
    assert fit.log_likelihood_ == pytest.approx(free.log_likelihood_, rel=1e-9)


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ([Gaussian(), Poisson()], "cannot be compared: one gives probabilities, the other densities"),
        ([LinearRegression(), Gaussian()], "only one is a regression"),
        ([Poisson(), 3], "must be a family"),
        ([Poisson(), Product({0: Poisson()})], "must be a family"),
        ([], "must be a list of families"),
        ([Poisson(), Constant([0, 0])], "one of each of 1 columns"),
        ([Poisson(), Constant(np.nan)], "value must be a finite number"),
        ([Poisson(), Categorical()], "Only some of the families take the values of a column as levels"),
        ([Constant(0), LogNormal()], "the values must be positive"),
    ],
    ids=["kinds", "regression", "number", "product", "none", "columns", "nan", "levels", "domain"],
)
def test_what_cannot_stand_together_is_refused(families, message):
    with pytest.raises(ValueError, match=message):
        Mixture(families).fit(_inflated(50))


def test_the_number_of_components_is_that_of_families():
    with pytest.raises(ValueError, match="n_components is 3, and 2 families were given"):
        Mixture([Poisson(), Constant(0)], 3).fit(_inflated(50))


# --- noise ------------------------------------------------------------------------------------


def _noisy(rows, seed=10):
    """Rows of two kinds and some that are anywhere in their box."""
    rng = np.random.default_rng(seed)
    return np.r_[rows, rng.integers(rows.min(axis=0), 3 * rows.max(axis=0), (40, rows.shape[1]))].astype(float)


def _assert_noisy(fit, rows, logs, log_noise, **side):
    """Scores are those of components, with logs (K, n), and of noise."""
    joint = np.log(fit.weights_) + np.column_stack([*logs, np.broadcast_to(log_noise, len(rows))])
    np.testing.assert_allclose(fit.score_samples(rows, **side), logsumexp(joint, axis=1), rtol=1e-9, atol=1e-9)
    assert fit.log_likelihood_ == pytest.approx(logsumexp(joint, axis=1).sum(), rel=1e-9)
    np.testing.assert_array_equal(fit.predict(rows, **side) == -1, joint.argmax(axis=1) == len(logs))


def test_noise_beside_poisson():
    rng = np.random.default_rng(11)
    x = _noisy(np.r_[rng.poisson(2, (200, 2)), rng.poisson(15, (200, 2))])
    fit = Mixture(Poisson(), 2, noise=True, random_state=0).fit(x)
    log_noise = -np.log(np.ptp(x, axis=0) + 1).sum()
    _assert_noisy(fit, x, [stats.poisson.logpmf(x, rates).sum(axis=1) for rates in fit.rates_], log_noise)
    drawn, labels = fit.sample(500)
    box = drawn[labels == -1]
    assert (box == np.floor(box)).all() and (box >= x.min(axis=0)).all() and (box <= x.max(axis=0)).all()


def test_noise_beside_binomial_with_missing_cells():
    rng = np.random.default_rng(12)
    x = np.r_[rng.binomial(50, 0.1, (200, 2)), rng.binomial(50, 0.3, (200, 2)), rng.integers(0, 51, (40, 2))] * 1.0
    x[rng.random(x.shape) < 0.1] = np.nan
    fit = Mixture(Binomial(50), 2, noise=True, random_state=0).fit(x)
    logs = [np.nansum(stats.binom.logpmf(x, 50, p), axis=1) for p in fit.probabilities_]
    widths = np.nanmax(x, axis=0) - np.nanmin(x, axis=0) + 1
    _assert_noisy(fit, x, logs, -(~np.isnan(x) * np.log(widths)).sum(axis=1))


@pytest.mark.parametrize("family", [Poisson(), NegativeBinomial()], ids=["poisson", "negative_binomial"])
def test_noise_beside_exposed_counts(family):
    rng = np.random.default_rng(13)
    exposure = rng.uniform(1, 5, 440)
    x = np.r_[rng.poisson(2 * exposure[:200]), rng.poisson(15 * exposure[200:400]), rng.integers(0, 200, 40)] * 1.0
    fit = Mixture(family, 2, noise=True, random_state=0).fit(x[:, None], exposure=exposure)
    if isinstance(family, Poisson):
        logs = [stats.poisson.logpmf(x, rate * exposure) for rate in fit.rates_[:, 0]]
    else:
        pairs = zip(fit.means_[:, 0], fit.sizes_[:, 0], strict=True)
        logs = [stats.nbinom.logpmf(x, size, size / (size + mean * exposure)) for mean, size in pairs]
    _assert_noisy(fit, x[:, None], logs, -np.log(np.ptp(x) + 1), exposure=exposure)


@pytest.mark.parametrize("family", [PoissonRegression(), LinearRegression()], ids=["poisson", "linear"])
def test_noise_beside_regressions_is_of_the_response(family):
    """Predictors are given: only the response has a distribution."""
    rng = np.random.default_rng(14)
    X = 100 * rng.normal(size=(400, 2))
    y = rng.poisson(np.exp(1 + 0.005 * X[:, 0])).astype(float)
    y[:30] = rng.integers(40, 60, 30)
    fit = Mixture(family, 1, noise=True, random_state=0).fit(X, y)
    eta = fit.intercepts_ + X @ fit.coefs_[0]
    if family.is_discrete:
        logs, log_noise = stats.poisson.logpmf(y, np.exp(eta)), -np.log(np.ptp(y) + 1)
    else:
        logs, log_noise = stats.norm.logpdf(y, eta, np.sqrt(fit.variances_[0])), -np.log(np.ptp(y))
    _assert_noisy(fit, X, [logs], log_noise, y=y)
    if family.is_discrete:
        assert fit.coefs_[0, 0] == pytest.approx(0.005, rel=0.2)


def test_noise_beside_a_product_and_a_multinomial():
    rng = np.random.default_rng(15)
    counts = np.r_[rng.multinomial(20, [0.7, 0.2, 0.1], 200), rng.integers(0, 20, (20, 3))].astype(float)
    x = np.column_stack([counts[:, 0], np.r_[rng.normal(size=200), rng.uniform(-9, 9, 20)], counts[:, 1:]])
    fit = Mixture(Product({1: Gaussian("diag"), (0, 2, 3): Multinomial()}), 1, noise=True, random_state=0).fit(x)
    p = fit.parts_["0, 2, 3"]["probabilities"][0]
    mean, variance = fit.parts_["1"]["means"][0, 0], fit.parts_["1"]["covariances"][0, 0]
    logs = stats.multinomial.logpmf(counts, counts.sum(axis=1), p) + stats.norm.logpdf(x[:, 1], mean, np.sqrt(variance))
    _assert_noisy(fit, x, [logs], -np.log(np.ptp(x, axis=0)).sum())


def test_noise_beside_components():
    x = np.r_[_inflated(400), np.arange(30.0, 90.0)[:, None]]
    fit = Mixture([Poisson(), Constant(0)], noise=True, random_state=0).fit(x)
    rate = fit.components_[0]["rates"][0, 0]
    with np.errstate(divide="ignore"):
        logs = [stats.poisson.logpmf(x[:, 0], rate), np.log(x[:, 0] == 0)]
    _assert_noisy(fit, x, logs, -np.log(np.ptp(x) + 1))
    assert rate == pytest.approx(3, rel=0.1)


# --- factors in kernels -----------------------------------------------------------------------


@njit(error_model="numpy")
def _run(tile, params, found, scratch):
    log_factor(tile, params, 0, found, scratch)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ["poisson", "exposed", "binomial", "trials", "multinomial", "regression"])
def test_kernels_make_the_factors_that_passes_leave_out(name, dtype):
    """In float64 up to counts of 1e12, where the factor keeps all digits."""
    rng = np.random.default_rng(16)
    m = tile_rows(np.dtype(dtype))
    sizes = rng.choice([0.1, 1, 10, 1000, 1e5, *([1e9, 1e12] if dtype == np.float64 else [])], size=(m, 3))
    x = rng.poisson(sizes).astype(dtype).astype(np.float64)
    missing = np.where(rng.random(x.shape) < 0.1, np.nan, x)
    beside = np.where(np.isnan(missing), np.nan, rng.uniform(0.1, 5, x.shape).astype(dtype))
    trials = np.where(np.isnan(missing), np.nan, (x + rng.poisson(sizes)).astype(dtype))
    family, rows = {
        "poisson": (Poisson(), missing),
        "exposed": (ExposedPoisson(), np.hstack([missing, beside])),
        "binomial": (Binomial(float(x.max()) + 5), missing),
        "trials": (BinomialOfTrials(), np.hstack([missing, trials])),
        "multinomial": (Multinomial(), x),
        "regression": (PoissonRegression(), missing),
    }[name]
    family = family.anchored(rows)
    factor = family.base_terms(rows.shape[1])
    tile = aligned_zeros((rows.shape[1], m), np.dtype(dtype))
    tile[:] = rows.T
    found = aligned_zeros((m,), np.dtype(dtype))
    scratch = aligned_zeros((factor_scratch([factor], m),), np.dtype(dtype))
    _run(tile, factor_kernel([factor], np.dtype(dtype)), found, scratch)
    np.testing.assert_allclose(found, family.base(rows), rtol=64 * np.finfo(dtype).eps, atol=64 * np.finfo(dtype).eps)


def test_a_family_that_hides_its_factor_is_refused():
    class Hidden(Poisson):
        def base_terms(self, n_features):
            return None

    for mixture in (Mixture(Hidden(), 1, noise=True), Mixture([Hidden(), Constant(0)])):
        with pytest.raises(ValueError, match="must define `base_terms`"):
            mixture.fit(_inflated(50))


def test_logistic_noise_is_a_coin():
    """Responses of 0 and 1: under noise both have the probability 1/2."""
    rng = np.random.default_rng(17)
    X = rng.normal(size=(500, 1))
    y = (rng.random(500) < np.where(rng.random(500) < 0.3, 0.5, expit(4 * X[:, 0]))).astype(float)
    fit = Mixture(LogisticRegression(), 1, noise=True, random_state=0).fit(X, y)
    eta = fit.intercepts_ + X @ fit.coefs_[0]
    _assert_noisy(fit, X, [xlogy(y, expit(eta)) + xlogy(1 - y, expit(-eta))], np.log(0.5), y=y)
