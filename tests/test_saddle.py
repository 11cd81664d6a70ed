"""Converged means near a maximum: saddle points are left, and plateaus are walked over."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastem import GaussianMixture, Mixture
from fastem.families import Gamma, Gaussian, Multinomial, Poisson

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _best(family, X, k, seeds=6):
    return max(Mixture(family, k, random_state=seed).fit(X).lower_bound_ for seed in range(seeds))


def _draw(family, rng):
    first = rng.random((600, 1)) < 0.4
    if isinstance(family, Gamma):
        return np.where(first, rng.gamma(3, 1, (600, 2)), rng.gamma(30, 0.5, (600, 2)))
    if isinstance(family, Poisson):
        return np.where(first, rng.poisson(2, (600, 2)), rng.poisson(9, (600, 2))).astype(float)
    if isinstance(family, Multinomial):
        return np.where(first, rng.multinomial(9, [0.7, 0.2, 0.1], 600), rng.multinomial(9, [0.1, 0.3, 0.6], 600)) + 0.0
    return rng.normal(size=(600, 2)) + np.where(first, 0, 4)


FAMILIES = [Gaussian("tied"), Gaussian(), Gamma(), Poisson(), Multinomial()]


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_components_that_begin_alike_end_apart(family):
    X = _draw(family, np.random.default_rng(0))
    best = _best(family, X, 2)
    for seed in range(3):
        fit = Mixture(family, 2, random_state=seed, init_params="random").fit(X)
        assert fit.converged_ and fit.lower_bound_ > best - 1e-4


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_components_that_are_the_same_are_parted(family):
    X = _draw(family, np.random.default_rng(0))
    even = np.full((len(X), 2), 0.5)
    fit = Mixture(family, 2, init_params=even).fit(X)
    assert fit.converged_ and fit.lower_bound_ > _best(family, X, 2) - 1e-4
    assert fit.saddles_


def test_components_that_cannot_be_parted_have_converged():
    X = np.full((50, 1), 3.0)
    fit = Mixture(Poisson(), 2, init_params=np.full((50, 2), 0.5)).fit(X)
    assert fit.converged_ and fit.saddles_ == []
    np.testing.assert_allclose(fit.rates_, 3.0)


def test_the_drop_in_says_that_it_is_at_a_saddle():
    X = _draw(Gaussian(), np.random.default_rng(0))
    with pytest.warns(ConvergenceWarning, match="saddle"):
        fit = GaussianMixture(2, init_params=np.full((len(X), 2), 0.5)).fit(X)
    assert not fit.converged_


@pytest.mark.parametrize("seed", range(15))
def test_converged_fits_have_little_to_gain(seed):
    """By what the same fit gains in many more iterations: at most a few times ten tol."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[seed % len(FAMILIES)]
    X = _draw(family, rng)[:300]
    k = 2 + seed % 3
    fit = Mixture(family, k, random_state=seed, init_params=("kmeans", "random")[seed % 2], max_iter=3000).fit(X)
    longer = Mixture(
        family, k, random_state=seed, init_params=("kmeans", "random")[seed % 2], tol=0, max_iter=3000
    ).fit(X)
    if fit.converged_ and not fit.saddles_:
        assert longer.lower_bounds_[-1] - fit.lower_bound_ < 5e-5
