"""Counts of any size: densities by mpmath, no memory that grows with them, limits that are found."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from fastem import BernoulliMixture, Mixture, PoissonMixture
from fastem.families import Binomial, DirichletMultinomial, Multinomial, NegativeBinomial, Poisson

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _log_negative_binomial(x, size, mean):
    x, s, m = map(mpmath.mpf, (float(x), float(size), float(mean)))
    ways = mpmath.loggamma(x + s) - mpmath.loggamma(s) - mpmath.loggamma(x + 1)
    return float(ways + s * mpmath.log(s / (s + m)) + x * mpmath.log(m / (s + m)))


@pytest.mark.parametrize(("mean", "size"), [(50, 2.0), (3000, 3.0), (1e5, 0.7), (1e8, 20.0)])
def test_negative_binomials_of_any_size(mean, size):
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(size, mean / size, (200, 1))).astype(float)
    fit = Mixture(NegativeBinomial(), 1).fit(x)
    with mpmath.workdps(40):
        truth = [_log_negative_binomial(v, fit.sizes_[0, 0], fit.means_[0, 0]) for v in x[:, 0]]
        near = [
            sum(_log_negative_binomial(v, fit.sizes_[0, 0] * f, fit.means_[0, 0]) for v in x[:, 0])
            for f in (0.99, 1.01)
        ]
    np.testing.assert_allclose(fit.score_samples(x), truth, rtol=1e-11)
    assert fit.means_[0, 0] == pytest.approx(x.mean()) and max(near) < sum(truth) and fit.converged_


def test_one_huge_count_takes_no_table():
    rng = np.random.default_rng(7)
    x = np.append(rng.negative_binomial(3, 3 / 8, 600), 10**15)[:, None]
    fit = Mixture(NegativeBinomial(), 2, random_state=0).fit(x)
    assert fit.means_.max() == pytest.approx(1e15, rel=0.01)
    assert fit.family_.statistics_bytes(2, 1) < 2**20


@pytest.mark.parametrize("total", [100, 10**6, 10**9])
def test_dirichlet_multinomials_of_any_size(total):
    rng = np.random.default_rng(0)
    totals = rng.integers(total // 2, total, 150)
    X = np.stack([rng.multinomial(n, p) for n, p in zip(totals, rng.dirichlet([4, 6, 10], 150), strict=True)]) + 0.0
    fit = Mixture(DirichletMultinomial(), 1).fit(X)
    alphas = fit.concentrations_[0]
    np.testing.assert_allclose(alphas, [4, 6, 10], rtol=0.3)

    def truth(row):
        n, a = mpmath.mpf(float(row.sum())), [mpmath.mpf(float(alpha)) for alpha in alphas]
        cells = [
            mpmath.loggamma(x + b) - mpmath.loggamma(b) - mpmath.loggamma(x + 1)
            for x, b in zip(map(float, row), a, strict=True)
        ]
        return float(mpmath.loggamma(n + 1) + mpmath.loggamma(sum(a)) - mpmath.loggamma(n + sum(a)) + sum(cells))

    with mpmath.workdps(40):
        np.testing.assert_allclose(fit.score_samples(X), [truth(row) for row in X], rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_counts_without_overdispersion_end_at_the_limits(seed):
    rng = np.random.default_rng(seed)
    x, rows = rng.binomial(10, 0.5, (300, 1)), rng.multinomial(50, [0.2, 0.3, 0.5], 100)
    fit = Mixture(NegativeBinomial(), 1).fit(x)
    assert fit.converged_ and fit.score(x) == pytest.approx(stats.poisson.logpmf(x, x.mean()).mean(), abs=1e-6)
    fit = Mixture(DirichletMultinomial(), 1).fit(rows)
    limit = stats.multinomial.logpmf(rows, 50, rows.sum(axis=0) / rows.sum()).mean()
    assert fit.converged_ and fit.score(rows) > limit - 1e-6


@pytest.mark.parametrize("level", [1e4, 1e6, 1e8, 1e10, 1e12])
def test_poisson_levels_ten_deviations_apart(level):
    rng = np.random.default_rng(7)
    means = (level, level + 10 * np.sqrt(level))
    x = np.rint(np.concatenate([rng.normal(m, np.sqrt(level), 300) for m in means]))[:, None]
    fit = PoissonMixture(2, random_state=0).fit(x)
    assert fit.converged_
    np.testing.assert_allclose(fit.weights_, 0.5, atol=0.01)
    np.testing.assert_allclose(np.sort(fit.rates_.ravel()), [x[:300].mean(), x[300:].mean()], rtol=1e-6)


def _log_choose(n, x):
    return mpmath.loggamma(n + 1) - mpmath.loggamma(x + 1) - mpmath.loggamma(n - x + 1)


def test_constants_of_huge_counts():
    rng = np.random.default_rng(0)
    x = np.rint(rng.normal(1e12, 1e6, (50, 1)))
    fit = Mixture(Poisson(), 1).fit(x)
    with mpmath.workdps(50):
        rate = mpmath.mpf(fit.rates_[0, 0])
        truth = [float(v * mpmath.log(rate) - rate - mpmath.loggamma(v + 1)) for v in map(mpmath.mpf, x[:, 0])]
    np.testing.assert_allclose(fit.score_samples(x), truth, rtol=1e-9)

    n = 10**13
    x = rng.binomial(n, 0.3, (50, 1)).astype(float)
    fit = Mixture(Binomial(n), 1).fit(x)
    with mpmath.workdps(50):
        p = mpmath.mpf(fit.probabilities_[0, 0])
        truth = [
            float(_log_choose(n, v) + v * mpmath.log(p) + (n - v) * mpmath.log(1 - p)) for v in map(mpmath.mpf, x[:, 0])
        ]
    np.testing.assert_allclose(fit.score_samples(x), truth, rtol=1e-9)


def test_an_impossible_component_does_not_beat_an_improbable_one():
    X = np.repeat([[1.0] * 403, [0.0] * 403], 50, axis=0)
    fit = BernoulliMixture(2, random_state=0).fit(X)
    fit.probabilities_ = np.array([[1.0] + [0.5] * 402, [1e-3] * 403])
    row = np.r_[0.0, np.ones(402)][None]
    truth = np.log(fit.weights_[1]) + stats.bernoulli(1e-3).logpmf(row).sum()
    assert fit.predict(row).tolist() == [1] and fit.predict_proba(row).tolist() == [[0, 1]]
    assert fit.score_samples(row)[0] == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("family", [Poisson(), Multinomial(), NegativeBinomial()], ids=repr)
def test_impossible_rows_are_said(family):
    X = np.repeat([[3.0, 0.0], [5.0, 0.0]], 20, axis=0)
    fit = Mixture(family, 1).fit(X)
    row = np.array([[1.0, 2.0]])
    assert fit.score_samples(row)[0] == -np.inf and fit.score_samples(X[:1])[0] > -np.inf
    with pytest.raises(ValueError, match="Row 1 of X is impossible under all components"):
        fit.predict(np.vstack([X[:1], row]))
