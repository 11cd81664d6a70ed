"""A common factor of the weights changes nothing."""

import numpy as np
import pytest

from fastem import GaussianMixture, Mixture, PoissonMixture
from fastem.families import Gaussian, NegativeBinomial, PoissonRegression, StudentT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FACTORS = (1e-300, 1e-30, 1e-18, 1e18, 1e305)


def _rows():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(-4, 1, (300, 2)), rng.normal(4, 1, (700, 2))])


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_results_do_not_depend_on_the_scale(factor, dtype):
    X = _rows().astype(dtype)
    weights = np.random.default_rng(1).integers(1, 4, len(X)).astype(float)
    tolerance = 1e-9 if dtype == np.float64 else 1e-5
    settings = {"random_state": 0, "tol": 0, "max_iter": 8}
    for make in (GaussianMixture(2, **settings), Mixture(StudentT("diag"), 2, **settings)):
        plain = make.fit(X, sample_weight=weights)
        means, mixing, bound = plain.means_, plain.weights_, plain.lower_bound_
        scaled = make.fit(X, sample_weight=factor * weights)
        np.testing.assert_allclose(scaled.means_, means, rtol=tolerance)
        np.testing.assert_allclose(scaled.weights_, mixing, rtol=tolerance)
        assert scaled.lower_bound_ == pytest.approx(bound, rel=tolerance)
        assert scaled.score(X, sample_weight=factor * weights) == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize("factor", FACTORS)
def test_counts_and_regressions_too(factor):
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(3, 0.3, (300, 1)).astype(float)
    weights = factor * rng.integers(1, 4, 300)
    fit = Mixture(NegativeBinomial(), 1).fit(x, sample_weight=weights)
    assert fit.means_[0, 0] == pytest.approx(np.average(x[:, 0], weights=weights / factor), rel=1e-9)
    columns = rng.normal(size=(300, 1))
    fit = Mixture(PoissonRegression(), 1).fit(columns, x[:, 0], sample_weight=weights)
    plain = Mixture(PoissonRegression(), 1).fit(columns, x[:, 0], sample_weight=weights / factor)
    np.testing.assert_allclose(fit.coefs_, plain.coefs_, rtol=1e-7)


def test_a_prior_counts_as_rows_of_weight_1():
    X = np.full((10, 1), 4.0)
    for factor in (1e-12, 1e-3, 1e12):
        fit = PoissonMixture(1, prior=(3.0, 2.0)).fit(X, sample_weight=np.full(10, factor))
        assert fit.rates_[0, 0] == pytest.approx((2 + 40 * factor) / (2 + 10 * factor), rel=1e-9)


def test_a_weight_0_among_tiny_ones_is_no_row():
    X = _rows()
    weights = np.where(np.arange(len(X)) % 3 == 0, 0.0, 1e-200)
    fit = Mixture(Gaussian(), 2, random_state=0).fit(X, sample_weight=weights)
    plain = Mixture(Gaussian(), 2, random_state=0).fit(X[weights > 0])
    np.testing.assert_allclose(np.sort(fit.means_, axis=0), np.sort(plain.means_, axis=0), rtol=1e-4)
