"""What a first user of the families stumbled over."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fastem import FixedMixture, GaussianMixture, Mixture, StudentTMixture
from fastem.families import (
    Bernoulli,
    Categorical,
    Gaussian,
    LinearRegression,
    LogNormal,
    Multinomial,
    Poisson,
    Product,
    VonMisesFisher,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    return x, x @ [1.0, -2.0] + 0.1 * rng.normal(size=300)


def test_a_regression_asks_for_its_response():
    x, y = _regression()
    fit = Mixture(LinearRegression(), 1).fit(x, y)
    for method in (fit.predict, fit.score, fit.score_samples, fit.impute):
        with pytest.raises(ValueError, match="give it as y"):
            method(x)
    holes = np.where(np.arange(300) % 3 == 0, np.nan, y)
    filled = fit.impute(x, holes)
    np.testing.assert_allclose(filled[::3, 2], x[::3] @ fit.coefs_[0] + fit.intercepts_[0], rtol=1e-9)
    np.testing.assert_allclose(Mixture(LinearRegression(), 1).fit(x, y[:, None]).coefs_, fit.coefs_, rtol=1e-12)


def test_responses_of_columns_in_another_order_are_refused():
    x, y = _regression()
    frame = pd.DataFrame(x, columns=["a", "b"])
    fit = Mixture(LinearRegression(), 1).fit(frame, y)
    with pytest.raises(ValueError, match="feature names"):
        fit.predict_response(frame[["b", "a"]])


def test_a_component_without_labels_ends_with_no_weight():
    rng = np.random.default_rng(0)
    labels = (rng.random(500) < 0.4).astype(int)
    X = rng.normal(size=(500, 2)) + 5 * labels[:, None]
    fit = GaussianMixture(3, random_state=0).fit(X, labels=labels)
    np.testing.assert_allclose(fit.weights_, [*np.bincount(labels) / 500, 0], atol=1e-12)


def test_labels_of_rows_without_values_count_for_the_weights():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) + 8 * (np.arange(300) >= 200)[:, None]
    X[:100] = np.nan
    labels = np.r_[np.zeros(100, int), np.full(100, -1), np.ones(100, int)]
    fit = GaussianMixture(2, random_state=0).fit(X, labels=labels)
    assert fit.weights_[0] == pytest.approx(2 / 3, abs=0.02)


def test_student_t_starts_from_some_of_its_parameters():
    X = np.random.default_rng(0).normal(size=(200, 2))
    fit = StudentTMixture(2, params_init={"means": X[:2]}, random_state=0, max_iter=5).fit(X)
    assert np.isfinite(fit.dofs_).all()


@pytest.mark.parametrize(
    ("family", "name", "X", "free"),
    [
        (Categorical(), "probabilities", np.array([[0.0], [1.0], [2.0]] * 5), 1),
        (Multinomial(), "probabilities", np.ones((10, 2)), 1),
        (VonMisesFisher(), "directions", np.tile([[1.0, 0.0], [0.6, 0.8]], (10, 1)), 3),
        (Gaussian("tied"), "covariances", np.random.default_rng(0).normal(size=(50, 2)), 5),
    ],
    ids=repr,
)
def test_held_parameters_are_not_counted(family, name, X, free):
    start = Mixture(family, 2, random_state=0, max_iter=2).fit(X)
    params = {key: getattr(start, f"{key}_") for key in start.family_.attribute_names()}
    fit = Mixture(family, 2, params_init=params, frozen={name}, random_state=0, max_iter=2).fit(X)
    assert fit.n_parameters_ == free


def test_noise_is_minus_one_everywhere():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(200, 2)), rng.uniform(-30, 30, size=(100, 2))])
    fit = Mixture(Gaussian(), 1, noise=True, component_classes=[5], random_state=0).fit(X)
    classes = fit.predict_class(X)
    assert classes.dtype.kind == "i" and set(np.unique(classes)) == {-1, 5}
    with pytest.raises(ValueError, match="labels has 6 in row 0"):
        Mixture(Gaussian(), 1, noise=True, component_classes=[5]).fit(X, labels=np.full(300, 6))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Categorical(prior=0.5), "concentration of at least 1"),
        (Multinomial(prior=0.1), "concentration of at least 1"),
        (Bernoulli(prior=-3), "concentration of at least 1"),
        (Poisson(prior=3), r"as in \(2.0, 1.0\)"),
        (Gaussian(prior=3), "GaussianPrior"),
        (Product([Poisson()]), "dict of families"),
        (Product({0: LogNormal, 1: Poisson()}), "must be a family"),
        (Product({(0, 1): Product({0: Poisson()})}), "must be a family"),
    ],
    ids=str,
)
def test_settings_of_families_are_checked(family, message):
    with pytest.raises(ValueError, match=message):
        Mixture(family, 1).fit(np.ones((10, 2)))


def test_values_to_start_from_are_checked():
    with pytest.raises(ValueError, match="'rates' must not be negative"):
        Mixture(Poisson(), 2, params_init={"rates": [[-1.0], [3.0]]}).fit(np.ones((10, 1)))
    for noise in ("x", None, 0.0):
        with pytest.raises(ValueError, match="noise must be"):
            Mixture(Gaussian(), 2, noise=noise).fit(np.ones((10, 1)))


def test_products_name_the_column_of_the_table():
    X = np.ones((10, 2))
    X[3, 1] = -1
    with pytest.raises(ValueError, match="row 3, column 1: counts"):
        Mixture(Product({0: LogNormal(), 1: Poisson()}), 1).fit(X)


def test_noise_has_the_rows_that_are_far_away():
    noisy = Mixture(LogNormal(), 1, noise=True, random_state=0).fit(
        np.r_[np.full(5, 90.0), 1 + np.arange(200) / 99][:, None]
    )
    assert noisy.weights_[1] == pytest.approx(5 / 205, abs=0.02)


def test_fixed_densities_do_not_fill_in():
    fit = FixedMixture([stats.norm(-5), stats.norm(5)]).fit(np.array([[-5.0], [5.0]]))
    with pytest.raises(NotImplementedError, match="do not tell what is missing"):
        fit.impute([[1.0]])
    with pytest.raises(ValueError, match="at least one density"):
        FixedMixture([]).fit([[1.0], [2.0]])


def test_parts_of_products_are_held_by_name():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.lognormal(size=200), rng.poisson(3, 200), rng.integers(2, size=200)])
    family = Product({0: LogNormal(), 1: Poisson(), 2: Categorical()})
    start = Mixture(family, 2, random_state=0, max_iter=2, tol=0).fit(X)
    settings = {"params_init": {"parts": start.parts_}, "weights_init": start.weights_, "max_iter": 5, "tol": 0}
    fit = Mixture(family, 2, frozen={"1.rates"}, **settings).fit(X)
    np.testing.assert_array_equal(fit.parts_["1"]["rates"], start.parts_["1"]["rates"])
    assert np.abs(fit.parts_["0"]["log_means"] - start.parts_["0"]["log_means"]).max() > 0
    assert fit.n_parameters_ == start.n_parameters_ - 2
    with pytest.raises(ValueError, match="no parameters"):
        Mixture(family, 2, frozen={"1.nonsense"}, **settings).fit(X)
