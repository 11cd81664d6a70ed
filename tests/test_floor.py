"""A floor bounds, and never adds: components that rows determine are what NumPy makes of their rows."""

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from fastem import Mixture, StudentTMixture
from fastem.families import (
    Beta,
    Exponential,
    Gamma,
    Gaussian,
    LinearRegression,
    LogNormal,
    Poisson,
    Product,
    StudentT,
    StudentTFull,
    Weibull,
)

KINDS = ("full", "tied", "diag", "spherical")


def _two(gap, n=1000, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, n), rng.normal(gap, 1, n)])[:, None]


def _deviations(fit):
    return np.broadcast_to(np.sqrt(np.ravel(fit.covariances_)), 2)[np.argsort(fit.means_[:, 0])]


@pytest.mark.parametrize("gap", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_of_clusters_does_not_widen_them(kind, gap):
    X = _two(gap)
    fit = Mixture(Gaussian(kind), 2, random_state=0).fit(X)
    own = np.array([X[:1000].std(), X[1000:].std()])
    expected = np.sqrt(np.mean(own**2)) if kind == "tied" else own
    np.testing.assert_allclose(_deviations(fit), expected, rtol=1e-6)
    assert fit.converged_ and fit.at_floor_ == []


def test_nor_does_the_distance_of_columns_of_positive_numbers():
    x = 10 + np.concatenate([np.abs(_two(0.0)[:1000]), 1e6 + _two(0.0)[:1000]])
    for make, spread in (
        (Gamma(), lambda fit: np.sqrt(fit.shapes_) * fit.scales_),
        (LogNormal(), lambda fit: np.exp(fit.log_means_) * fit.log_sds_),
    ):
        fit = Mixture(make, 2, random_state=0).fit(x)
        assert np.max(spread(fit)) == pytest.approx(x[1000:].std(), rel=1e-3)
        assert fit.converged_ and fit.at_floor_ == []


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("family", [Gamma(), LogNormal(), Weibull()], ids=repr)
def test_positive_numbers_far_from_0_converge(family, offset):
    rng = np.random.default_rng(1)
    x = offset + np.concatenate([rng.normal(0, 1, 400), rng.normal(12, 1, 400)])[:, None]
    fit = Mixture(family, 2, random_state=0).fit(x)
    assert fit.converged_ and fit.at_floor_ == []
    np.testing.assert_allclose(fit.weights_, 0.5, atol=0.02)


@pytest.mark.parametrize("gap", [1e3, 1e6])
def test_the_distance_of_lines_does_not_widen_them(gap):
    rng = np.random.default_rng(2)
    x = rng.normal(1e4, 1, size=(600, 1))
    first = np.arange(600) < 300
    y = np.where(first, 2 * x[:, 0], gap - x[:, 0]) + rng.normal(size=600)
    fit = Mixture(LinearRegression(), 2, init_params=first.astype(int)).fit(x, y)
    residuals = []
    for some in (first, ~first):
        line = np.polynomial.Polynomial.fit(x[some, 0], y[some], 1)
        residuals.append(np.mean((y[some] - line(x[some, 0])) ** 2))
    np.testing.assert_allclose(np.sort(fit.variances_), np.sort(residuals), rtol=1e-6)


@pytest.mark.parametrize("far", [1e6, 1e12, -1e9])
@pytest.mark.parametrize("family", [Gaussian("diag"), Gaussian(), StudentT("diag")], ids=repr)
def test_noise_takes_a_row_far_out(family, far):
    rng = np.random.default_rng(7)
    a, b = rng.normal(-5, 1, 500), rng.normal(5, 1, 500)
    X = np.concatenate([a, b, [far]])[:, None]
    fit = Mixture(family, 2, noise=True, random_state=0).fit(X)
    np.testing.assert_allclose(np.sort(fit.means_.ravel()), [a.mean(), b.mean()], atol=0.2)
    assert fit.predict(X[-1:])[0] == -1


@pytest.mark.parametrize("dof", [0.3, 0.5, 0.8, 1.5])
def test_heavy_tails_are_as_likely_as_scipy_finds_them(dof):
    x = stats.t(dof).rvs(2000, random_state=3)
    truth = stats.t.logpdf(x, *stats.t.fit(x)).mean()
    assert StudentTMixture(1, random_state=0).fit(x[:, None]).score(x[:, None]) > truth - 1e-5


@pytest.mark.parametrize("dof", [1e12, 1e15, np.inf])
def test_many_degrees_of_freedom_are_a_gaussian(dof):
    x = np.random.default_rng(0).normal(2, 3, size=(300, 1))
    fit = StudentTMixture(1, dofs=dof).fit(x)
    assert fit.score(x) == pytest.approx(stats.norm(x.mean(), x.std()).logpdf(x).mean(), abs=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(12))
def test_t_distributions_rise_from_random_starts(seed):
    rng = np.random.default_rng(seed)
    d, n = rng.integers(1, 4), rng.integers(30, 200)
    X = np.round(rng.standard_t(rng.choice([0.5, 1, 3, 30]), size=(n, d)) + rng.choice([0, 5, 20], size=(n, 1)), 1)
    kind = ("full", "diag")[seed % 2]
    fit = StudentTMixture(3, covariance_type=kind, random_state=seed, init_params="random").fit(X)
    if fit.converged_ and not fit.at_floor_:
        assert np.diff(fit.lower_bounds_).min(initial=0) > -1e-9


def test_a_fall_is_seen(monkeypatch):
    right = StudentTFull._solve_dofs
    monkeypatch.setattr(StudentTFull, "_solve_dofs", lambda self, *args: 30.0 * right(self, *args))
    x = stats.t(2).rvs(300, random_state=0)[:, None]
    with pytest.warns(ConvergenceWarning, match="fell"):
        fit = StudentTMixture(
            1, params_init={"means": [[0.0]], "scales": [[[1.0]]], "dofs": [2.0]}, weights_init=[1]
        ).fit(x)
    assert not fit.converged_


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_components_on_equal_values_are_bounded_and_said(kind):
    rng = np.random.default_rng(0)
    X = np.concatenate([np.zeros(300), rng.normal(3, 1, 700)])[:, None]
    with pytest.warns(ConvergenceWarning, match="as narrow as the data can tell: . in column 0"):
        fit = Mixture(Gaussian(kind), 2, random_state=0).fit(X)
    narrow = int(np.argmin(np.ravel(fit.covariances_)))
    assert fit.at_floor_ == [(narrow, 0)] and fit.converged_
    assert fit.weights_[narrow] == pytest.approx(0.3) and np.isfinite(fit.lower_bounds_).all()
    assert fit.covariances_[1 - narrow].item() == pytest.approx(X[300:].var(), rel=1e-6)


@pytest.mark.parametrize(
    ("family", "value"),
    [(Gamma(), 3.0), (Weibull(), 3.0), (LogNormal(), 3.0), (Beta(), 0.3), (Gamma(), 1e6), (Weibull(), 1e-8)],
    ids=str,
)
def test_equal_values_have_a_finite_model(family, value):
    with pytest.warns(ConvergenceWarning, match="as narrow as"):
        fit = Mixture(family, 1, random_state=0).fit(np.full((50, 1), value))
    assert fit.converged_ and fit.at_floor_ == [(0, 0)]
    assert fit.sample(500)[0].mean() == pytest.approx(value, rel=0.01)


def test_columns_that_follow_from_others_are_said():
    X = np.random.default_rng(0).normal(size=(400, 3))
    X = np.column_stack([X, X[:, 0] + X[:, 1]])
    with pytest.warns(ConvergenceWarning, match="follow from other columns"):
        fit = Mixture(Gaussian(), 1).fit(X)
    assert {j for _, j in fit.at_floor_} == {0, 1, 3}
    np.testing.assert_allclose(fit.covariances_[0], np.cov(X.T, bias=True), atol=1e-8)


def test_parts_of_a_product_say_their_own_columns():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.poisson(3, 200), np.full(200, 2.5), rng.exponential(size=200)])
    with pytest.warns(ConvergenceWarning, match="0 in column 1"):
        fit = Mixture(Product({0: Poisson(), 1: LogNormal(), 2: Exponential()}), 1).fit(X)
    assert fit.at_floor_ == [(0, 1)]
