"""Exposures, trials and offsets, against SciPy and closed forms."""

import dask.array as da
import numpy as np
import pytest
from scipy import optimize, stats

import fastem
from fastem import GaussianMixture, Mixture, PoissonMixture
from fastem.families import Binomial, LogisticRegression, Poisson, PoissonRegression


def _counts(n=600):
    rng = np.random.default_rng(0)
    exposure = rng.choice([1.0, 10.0, 100.0], n)
    return exposure, rng.poisson(0.3 * exposure)[:, None].astype(float)


def test_a_rate_is_events_by_exposure(tmp_path):
    exposure, x = _counts()
    fit = Mixture(Poisson(), 1).fit(x, exposure=exposure)
    assert fit.rates_[0, 0] == pytest.approx(x.sum() / exposure.sum()) and fit.n_parameters_ == 1
    truth = stats.poisson(fit.rates_[0, 0] * exposure).logpmf(x[:, 0])
    np.testing.assert_allclose(fit.score_samples(x, exposure=exposure), truth, rtol=1e-10)
    assert fit.log_likelihood_ == pytest.approx(truth.sum())
    assert fit.bic(x, exposure=exposure) == pytest.approx(-2 * truth.sum() + np.log(600))
    fit.save(tmp_path / "model.fastem")
    assert fastem.load(tmp_path / "model.fastem").score(x, exposure=exposure) == pytest.approx(truth.mean())
    np.save(tmp_path / "rows.npy", x)
    for data in (tmp_path / "rows.npy", da.from_array(x, chunks=(100, 1)), lambda: iter([x[:250], x[250:]])):
        assert Mixture(Poisson(), 1).fit(data, exposure=exposure).rates_[0, 0] == pytest.approx(fit.rates_[0, 0])


def test_exposures_of_each_cell_with_missing_ones():
    rng = np.random.default_rng(1)
    exposure = rng.uniform(1, 20, (800, 2))
    first = rng.random((800, 1)) < 0.4
    X = rng.poisson(np.where(first, [0.3, 2.0], [2.0, 0.5]) * exposure).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    fit = PoissonMixture(2, random_state=0).fit(X, exposure=exposure)
    cells = stats.poisson(fit.rates_ * exposure[:, None]).logpmf(np.nan_to_num(X)[:, None])
    joint = np.log(fit.weights_) + np.where(np.isnan(X)[:, None], 0, cells).sum(axis=2)
    np.testing.assert_allclose(fit.score_samples(X, exposure=exposure), np.logaddexp(*joint.T), rtol=1e-9, atol=1e-12)
    resp = np.exp(joint - np.logaddexp(*joint.T)[:, None])
    here = ~np.isnan(X)
    np.testing.assert_allclose(fit.rates_, (resp.T @ np.nan_to_num(X)) / (resp.T @ (exposure * here)), rtol=1e-3)


def test_trials_of_each_row():
    rng = np.random.default_rng(2)
    trials = rng.integers(1, 50, 600)
    y = rng.binomial(trials, np.where(rng.random(600) < 0.4, 0.2, 0.7))[:, None].astype(float)
    fit = Mixture(Binomial(), 2, random_state=0).fit(y, trials=trials)
    joint = [
        np.log(w) + stats.binom(trials, p[0]).logpmf(y[:, 0])
        for w, p in zip(fit.weights_, fit.probabilities_, strict=True)
    ]
    np.testing.assert_allclose(fit.score_samples(y, trials=trials), np.logaddexp(*joint), rtol=1e-10)
    np.testing.assert_allclose(np.sort(fit.probabilities_.ravel()), [0.2, 0.7], atol=0.03)
    with pytest.raises(ValueError, match="Give trials="):
        fit.predict(y)
    with pytest.raises(ValueError, match="Binomial needs its number of trials"):
        Mixture(Binomial(), 2).fit(y)


@pytest.mark.parametrize("name", ["offset", "exposure"])
def test_regressions_with_offsets(name):
    rng = np.random.default_rng(3)
    exposure, _ = _counts()
    x = rng.normal(size=(600, 1))
    y = rng.poisson(exposure * np.exp(0.3 + 0.5 * x[:, 0]))
    side = {name: np.log(exposure) if name == "offset" else exposure}
    fit = Mixture(PoissonRegression(), 1, tol=1e-12).fit(x, y, **side)

    def loss(b):
        return -stats.poisson(exposure * np.exp(b[0] + b[1] * x[:, 0])).logpmf(y).mean()

    best = optimize.minimize(loss, [0.0, 0.0], tol=1e-12)
    np.testing.assert_allclose([fit.intercepts_[0], fit.coefs_[0, 0]], best.x, atol=1e-5)
    assert fit.score(x, y, **side) == pytest.approx(-best.fun, abs=1e-9) and fit.n_parameters_ == 2
    np.testing.assert_allclose(
        fit.predict_response(x, **side), exposure * np.exp(best.x[0] + best.x[1] * x[:, 0]), rtol=1e-4
    )


def test_logistic_regressions_with_offsets():
    rng = np.random.default_rng(4)
    x, offset = rng.normal(size=(500, 1)), rng.normal(size=500)
    y = (rng.random(500) < 1 / (1 + np.exp(-offset - x[:, 0]))).astype(float)
    fit = Mixture(LogisticRegression(), 1, tol=1e-12).fit(x, y, offset=offset)

    def loss(b):
        return np.logaddexp(0, np.where(y == 1, -1, 1) * (offset + b[0] + b[1] * x[:, 0])).mean()

    np.testing.assert_allclose(
        [fit.intercepts_[0], fit.coefs_[0, 0]], optimize.minimize(loss, [0, 0], tol=1e-12).x, atol=1e-5
    )


@pytest.mark.parametrize(
    ("model", "side", "message"),
    [
        (PoissonMixture(1), {"exposure": -1.0}, "exposure must be positive, but is -1 in row 0"),
        (PoissonMixture(1), {"exposure": np.nan}, "exposure must be finite, but is not in row 0"),
        (PoissonMixture(1), {"trials": 1.0}, "takes no trials"),
        (GaussianMixture(1), {"exposure": 1.0}, "takes no exposure"),
        (Mixture(LogisticRegression(), 1), {"exposure": 1.0}, "takes no exposure"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said(model, side, message):
    rows = np.column_stack([np.arange(20.0), np.arange(20) % 2])
    given = {name: np.full(20, value) for name, value in side.items()}
    with pytest.raises(ValueError, match=message):
        model.fit(rows, **given)
    with pytest.raises(ValueError, match="shape"):
        PoissonMixture(1).fit(rows, exposure=np.ones(3))
