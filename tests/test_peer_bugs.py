"""Inputs that other libraries get wrong: each must be right here."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from fastem import GaussianMixture
from tests.truths import COVARIANCE_TYPES, e_step, m_step, random_covariances


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variances_do_not_cancel(covariance_type, dtype):
    """scikit-learn#30382: a variance of -0.99999979 from E[x^2] - mu^2."""
    X = np.array([[9999.0], [0.0]], dtype=dtype)
    fit = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0.1, random_state=0).fit(X)
    np.testing.assert_allclose(np.ravel(fit.covariances_), 0.1, rtol=1e-4)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_far_from_the_origin(covariance_type, offset):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) * 0.5 + 8])
    X = np.round(X * 2**20) / 2**20  # so that the shift loses no digits
    plain = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(X)
    shifted = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(X + offset)
    order = np.argsort(shifted.means_[:, 0]), np.argsort(plain.means_[:, 0])
    np.testing.assert_allclose(shifted.means_[order[0]] - offset, plain.means_[order[1]], atol=1e-6)
    np.testing.assert_allclose(np.sort(shifted.covariances_.ravel()), np.sort(plain.covariances_.ravel()), rtol=1e-5)


def test_components_far_apart_keep_their_variances():
    """The first M-step takes moments about the mean of all, 1e8 away from either."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 1))
    X = np.concatenate([noise[:1000] - 1e8, noise[1000:] + 1e8])
    for covariance_type in COVARIANCE_TYPES:
        fit = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(X)
        np.testing.assert_allclose(np.ravel(fit.covariances_), 1, atol=0.1)


def test_log_density_with_variances_of_many_sizes():
    """scikit-learn#29989: 8 features with variances from 1.5e-6 to 1.8."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    covariance = (q * np.geomspace(1.5e-6, 1.8, 8)) @ q.T
    covariance = (covariance + covariance.T) / 2
    mean = rng.normal(size=8)
    X = rng.multivariate_normal(mean, covariance, 300)
    start = {"weights_init": [1.0], "means_init": mean[None], "precisions_init": np.linalg.inv(covariance)[None]}
    start["precisions_init"] = (start["precisions_init"] + start["precisions_init"].swapaxes(1, 2)) / 2
    fit = GaussianMixture(1, max_iter=0, **start).fit(X)
    np.testing.assert_allclose(fit.score_samples(X), multivariate_normal(mean, covariance).logpdf(X), rtol=1e-6)


def test_start_on_features_of_different_scales():
    """scikit-learn#14398: k-means splits along the feature of large scale, which is only noise."""
    rng = np.random.default_rng(0)
    n = 60_000
    labels = rng.integers(2, size=n)
    X = np.stack([np.where(labels, 1, -1) + 0.1 * rng.normal(size=n), rng.normal(0, 1e3, n)], axis=1)
    small = X[:3000]
    for fit, rows in (
        (GaussianMixture(2, random_state=0).fit(X), slice(None)),
        (GaussianMixture(2, random_state=0, n_screen=2).fit(small), slice(3000)),
    ):
        agreement = np.mean(fit.predict(X[rows]) == labels[rows])
        assert max(agreement, 1 - agreement) > 0.999


def test_random_responsibilities_do_not_claim_convergence():
    """scikit-learn#11101: all means near the centre, "converged" after two iterations."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(200, 2)) + c for c in ([0, 0], [0, 100], [100, 0], [100, 100])])
    theirs = SklearnGaussianMixture(4, init_params="random", random_state=0).fit(X)
    assert theirs.converged_ and np.ptp(theirs.means_, axis=0).max() < 10
    with pytest.warns(ConvergenceWarning, match="coincide"):
        random = GaussianMixture(4, init_params="random", random_state=0).fit(X)
    assert not random.converged_
    for init_params in ("kmeans", "k-means++"):
        fit = GaussianMixture(4, init_params=init_params, random_state=0).fit(X)
        assert sorted(np.round(fit.means_, -1).tolist()) == [[0, 0], [0, 100], [100, 0], [100, 100]]


def test_lower_bound_is_that_of_the_best_start():
    """scikit-learn#10869: it was the last start's."""
    rng = np.random.default_rng(2)
    X = np.concatenate([rng.normal(c, 1, (60, 1)) for c in (0, 5, 10, 15)])
    seen = []
    fit = GaussianMixture(
        4, n_init=8, init_params="random_from_data", random_state=3, max_iter=300,
        callbacks=lambda it: seen.append((it.init, it.objective)) and False,
    ).fit(X)  # fmt: skip
    finals = dict(seen)
    assert len(finals) == 8 and np.ptp(list(finals.values())) > 1e-3
    assert fit.lower_bound_ == max(finals.values())
    assert fit.score(X) == pytest.approx(fit.lower_bound_, abs=1e-3)


def test_infinity_is_an_error_that_names_its_place():
    """scikit-learn#20030: UnboundLocalError where the bound never improves."""
    X = np.random.default_rng(0).normal(size=(100, 3))
    X[17, 2] = -np.inf
    with pytest.raises(ValueError, match="infinity, first in row 17, column 2"):
        GaussianMixture(2).fit(X)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_one_step_from_given_precisions(covariance_type):
    """scikit-learn#26415: the wrong factor of precisions_init."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 3))
    covariances = random_covariances(covariance_type, 2, 3, rng)
    inverse = np.linalg.inv(covariances) if covariance_type in ("full", "tied") else 1 / covariances
    start = {"weights_init": np.array([0.3, 0.7]), "means_init": rng.normal(size=(2, 3)), "precisions_init": inverse}
    with pytest.warns(ConvergenceWarning):
        fit = GaussianMixture(2, covariance_type=covariance_type, max_iter=1, **start).fit(X)
    log_prob, resp = e_step(X, start["weights_init"], start["means_init"], covariances, covariance_type)
    weights, means, expected = m_step(X, resp, covariance_type, 1e-6)
    assert fit.lower_bound_ == pytest.approx(log_prob.mean(), rel=1e-10)
    np.testing.assert_allclose(fit.weights_, weights, rtol=1e-9)
    np.testing.assert_allclose(fit.means_, means, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fit.covariances_, expected, rtol=1e-8, atol=1e-10)


def test_weights_sum_to_one():
    """scikit-learn#24085: divided by the number of rows, not by their sum."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    for init_params in ("random_from_data", "k-means++", "random"):
        fit = GaussianMixture(3, init_params=init_params, random_state=0, max_iter=0).fit(X)
        assert fit.weights_.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 99, 1000])
def test_sample_has_the_length_asked_for(n):
    """scikit-learn#7701."""
    X = np.random.default_rng(0).normal(size=(500, 2))
    fit = GaussianMixture(10, random_state=0, tol=0.1).fit(X)
    rows, labels = fit.sample(n)
    assert rows.shape == (n, 2) and labels.shape == (n,)


def test_predict_proba_needs_memory_for_its_result_only():
    """scikit-learn#7827: several arrays of n x K at once."""
    import tracemalloc

    X = np.random.default_rng(0).normal(size=(200_000, 4))
    fit = GaussianMixture(8, random_state=0, tol=0.1).fit(X)
    fit.predict_proba(X[:1000])
    tracemalloc.start()
    resp = fit.predict_proba(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * resp.nbytes


def test_one_component_in_one_dimension_is_the_same_for_all_structures():
    """scikit-learn#4036: the BIC differed for tied."""
    X = np.random.default_rng(0).normal(size=(80, 1))
    values = [GaussianMixture(1, covariance_type=name).fit(X).bic(X) for name in COVARIANCE_TYPES]
    np.testing.assert_allclose(values, values[0], rtol=1e-12)


def test_underflow_is_not_an_error():
    """scikit-learn#7462: FloatingPointError under np.seterr(under="raise") with d=25, K=9."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 25)) + 50 * rng.integers(9, size=(900, 1))
    for dtype in (np.float64, np.float32):
        with np.errstate(under="raise"):
            fit = GaussianMixture(9, random_state=0).fit(X.astype(dtype))
            fit.predict_proba(X.astype(dtype))
            fit.score(X.astype(dtype))
