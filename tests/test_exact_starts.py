"""A start from labels is the maximum of the likelihood under these, in every family without a closed M-step."""

import numpy as np
import pytest
from scipy import optimize, stats

from fastem import Mixture
from fastem.families import Beta, Gamma, LogisticRegression, PoissonRegression, Weibull

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
LABELS = (RNG.random(300) < 0.4).astype(int)
COLUMN = RNG.normal(size=(300, 1))
ETA = np.where(LABELS == 1, 1 + COLUMN[:, 0], -0.5 - 2 * COLUMN[:, 0])


@pytest.mark.parametrize(
    ("family", "y", "loss"),
    [
        (PoissonRegression(), RNG.poisson(np.exp(ETA)), lambda y, eta: np.exp(eta) - y * eta),
        (
            LogisticRegression(),
            (RNG.random(300) < 1 / (1 + np.exp(-ETA))).astype(float),
            lambda y, eta: np.logaddexp(0, eta) - y * eta,
        ),
    ],
    ids=["poisson", "logistic"],
)
def test_of_regressions(family, y, loss):
    fit = Mixture(family, 2, init_params=LABELS, max_iter=0).fit(COLUMN, y)
    for k in range(2):
        mine = k == LABELS
        best = optimize.minimize(
            lambda b, mine=mine: loss(y[mine], b[0] + b[1] * COLUMN[mine, 0]).sum(), [0.0, 0.0], tol=1e-10
        )
        np.testing.assert_allclose([fit.intercepts_[k], fit.coefs_[k, 0]], best.x, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "draw", "law", "names"),
    [
        (Gamma(), lambda: RNG.gamma(3, 2, 300), lambda a, b: stats.gamma(a, scale=b), ("shapes", "scales")),
        (Weibull(), lambda: RNG.weibull(1.7, 300), lambda a, b: stats.weibull_min(a, scale=b), ("shapes", "scales")),
        (Beta(), lambda: RNG.beta(2, 3, 300), stats.beta, ("alphas", "betas")),
    ],
    ids=["gamma", "weibull", "beta"],
)
def test_of_distributions(family, draw, law, names):
    x = draw()
    fit = Mixture(family, 2, init_params=LABELS, max_iter=0).fit(x[:, None])
    for k in range(2):
        mine = x[k == LABELS]
        found = [getattr(fit, f"{name}_")[k, 0] for name in names]
        best = law(*found).logpdf(mine).sum()
        for factors in ((1.001, 1), (0.999, 1), (1, 1.001), (1, 0.999), (1.001, 0.999), (0.999, 1.001)):
            assert law(found[0] * factors[0], found[1] * factors[1]).logpdf(mine).sum() < best
