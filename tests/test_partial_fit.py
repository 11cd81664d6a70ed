"""What rows that come bit by bit must add up to: priors that count once, bounds that grow."""

import numpy as np
import pytest
from scipy import stats

import fastem
from fastem import Mixture
from fastem.families import (
    Bernoulli,
    Categorical,
    DirichletMultinomial,
    Exponential,
    Gaussian,
    GaussianPrior,
    LinearRegression,
    LogisticRegression,
    Multinomial,
    NegativeBinomial,
    Poisson,
    PoissonRegression,
    Product,
    Weibull,
)
from fastem.storage.array_file import ModelFileError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.02, size=(500, 1)).astype(float)


# --- priors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1.0, 0.5, 2.0**40])
def test_a_prior_counts_against_all_rows(weight):
    """The mode of the gamma posterior of all rows, in batches that are alike: blended sums are then those of one."""
    a, b = 6.0, 10.0
    fit = Mixture(Poisson(prior=(a, b)))
    for n in range(1, 40):
        fit.partial_fit(COUNTS, sample_weight=np.full(len(COUNTS), weight))
        total = n * weight * len(COUNTS)
        mode = (n * weight * COUNTS.sum() + a - 1) / (total + b)
        assert fit.rates_[0, 0] == pytest.approx(mode, rel=1e-12)
        assert fit.total_weight_ == total


def test_the_bound_has_the_share_of_the_prior():
    a, b = 6.0, 10.0
    fit = Mixture(Poisson(prior=(a, b))).partial_fit(COUNTS)
    rate = (COUNTS.sum() + a - 1) / (len(COUNTS) + b)
    log_prior = (a - 1) * np.log(rate) - b * rate
    truth = stats.poisson(rate).logpmf(COUNTS).mean() + log_prior / len(COUNTS)
    assert fit.lower_bound_ == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize(
    ("family", "rows"),
    [
        (Bernoulli(prior=3.0), RNG.integers(2, size=(300, 2))),
        (Exponential(prior=(5.0, 2.0)), RNG.exponential(size=(300, 2))),
        (Multinomial(prior=4.0), RNG.multinomial(5, [0.2, 0.8], 300)),
        (Categorical(prior=4.0), RNG.integers(3, size=(300, 2))),
        (Gaussian("full", prior=GaussianPrior(5.0, [1.0, 1.0], 9.0, 20 * np.eye(2))), RNG.normal(size=(300, 2))),
        (Gaussian("diag", prior=GaussianPrior(5.0, [1.0, 1.0], 9.0, 20 * np.eye(2))), RNG.normal(size=(300, 2))),
        (Product({0: Poisson(prior=(5.0, 9.0)), 1: Bernoulli(prior=3.0)}), RNG.integers(2, size=(300, 2))),
    ],
    ids=["bernoulli", "exponential", "multinomial", "categorical", "full", "diag", "product"],
)  # fmt: skip
def test_a_prior_counts_as_in_a_fit_to_all_rows(family, rows):
    rows = rows.astype(float)
    whole = Mixture(family).fit(np.tile(rows, (4, 1)))
    parts = Mixture(family)
    for _ in range(4):
        parts.partial_fit(rows)
    for a, b in zip(_leaves(parts._fitted()), _leaves(whole._fitted()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def _leaves(values):
    return [leaf for value in values for leaf in _leaves(value)] if isinstance(values, tuple) else [values]


def test_a_prior_on_the_weights_counts_against_all_rows():
    rows = np.repeat([[0.0], [50.0]], [10, 30], axis=0) + RNG.normal(size=(40, 1))
    fit = Mixture(Gaussian("diag"), 2, weight_prior=21.0, random_state=0)
    for n in range(1, 6):
        fit.partial_fit(rows)
        modes = (n * np.array([10, 30]) + 20) / (40 * n + 40)
        np.testing.assert_allclose(np.sort(fit.weights_), modes, rtol=1e-9)


def test_a_prior_after_a_fit_counts_against_all_rows():
    """Rows of the fit are known by its parameters only; so a prior's shift is right to a part of itself."""
    a, b = 6.0, 10.0
    fit = Mixture(Poisson(prior=(a, b))).fit(np.tile(COUNTS, (20, 1)))
    shift = fit.rates_[0, 0] - COUNTS.mean()
    fit.partial_fit(COUNTS)
    assert fit.total_weight_ == 21 * len(COUNTS)
    assert 0 < fit.rates_[0, 0] - COUNTS.mean() < 2 * shift


def test_a_prior_in_a_warm_up_counts_against_all_rows():
    """Two steps' rows, twice: the prior is not to count four times."""
    rows = np.tile(RNG.poisson(3.0, size=(16_384, 1)), (2, 1)).astype(float)
    a, b = 2.0, 1000.0
    shift = (rows.sum() + a - 1) / (len(rows) + b) - rows.mean()
    warmed = Mixture(Poisson(prior=(a, b)), max_iter=0).fit(rows, method="stepwise")
    assert warmed.rates_[0, 0] - rows.mean() == pytest.approx(shift, rel=0.25)


def test_frozen_weights_stay_however_small():
    weights = np.array([1 - 1e-12, 1e-12, 0.0])
    fit = Mixture(Poisson(), 3, weights_init=weights, params_init={"rates": [[1.0], [2.0], [3.0]]}, frozen={"weights"})
    for _ in range(3):
        fit.partial_fit(COUNTS)
        np.testing.assert_array_equal(fit.weights_, weights)


def test_online_states_without_the_weight_of_rows_are_refused(tmp_path):
    fit = Mixture(Poisson(prior=(2.0, 1.0))).partial_fit(COUNTS)
    fit.save(tmp_path / "m.fastem")
    loaded = fastem.load(tmp_path / "m.fastem").partial_fit(COUNTS)
    assert loaded.rates_ == fit.partial_fit(COUNTS).rates_
    del fit.online_["state.weight"]
    fit.save(tmp_path / "old.fastem")
    with pytest.raises(ModelFileError, match="lacks the weight of the rows seen"):
        fastem.load(tmp_path / "old.fastem")


# --- bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("begins", ["partial_fit", "fit"])
@pytest.mark.parametrize("noise", [False, 1e-6])
def test_larger_counts_may_come(begins, noise):
    rows = RNG.negative_binomial(3, 0.5, size=(400, 2)).astype(float)
    fit = getattr(Mixture(NegativeBinomial(), random_state=0, noise=noise), begins)(rows)
    fit.partial_fit(rows * 1000).partial_fit(np.append(rows, [[1e7, 3e12]], axis=0))
    size = fit.sizes_[0]
    log_pmf = stats.nbinom(size, size / (size + fit.means_[0])).logpmf([[3, 2000], [10**7, 4]]).sum(axis=1)
    truth = log_pmf if not noise else np.log(fit.weights_ @ [np.exp(log_pmf), np.full(2, noise)])
    np.testing.assert_allclose(fit.score_samples([[3, 2000], [10**7, 4]]), truth, rtol=1e-9)


def test_larger_sums_may_come_in_a_part():
    rows = RNG.multinomial(10, [0.3, 0.7], 400).astype(float)
    columns = np.column_stack([rows, RNG.poisson(3, 400)])
    family = Product({(0, 1): DirichletMultinomial(), 2: NegativeBinomial(largest=40)})
    fit = Mixture(family, random_state=0).partial_fit(columns)
    fit.partial_fit(columns * [10_000, 10_000, 1])
    with pytest.raises(ValueError, match="made room for"):
        fit.partial_fit(columns * [1, 1, 1000])


def test_unknown_levels_are_named():
    rows = RNG.integers(3, size=(100, 2)).astype(float)
    fit = Mixture(Categorical(), 2, random_state=0).partial_fit(rows)
    before = fit.probabilities_
    with pytest.raises(ValueError, match=r"contains 5 in row 7, column 1: .* give their numbers as levels="):
        fit.partial_fit(np.where(np.arange(200).reshape(100, 2) == 15, 5, rows))
    np.testing.assert_array_equal(fit.probabilities_, before)
    roomy = Mixture(Categorical(levels=[3, 6]), 2, random_state=0).partial_fit(rows)
    roomy.partial_fit(np.where(np.arange(200).reshape(100, 2) == 15, 5, rows))
    assert roomy.probabilities_[1][:, 5].max() > 0


def test_the_range_of_weibull_grows():
    first, second = RNG.weibull(2, size=(500, 2)), 9 * RNG.weibull(1, size=(500, 2))
    fit = Mixture(Weibull(), random_state=0).partial_fit(first).partial_fit(second)
    both = np.log(np.concatenate([first, second]))
    np.testing.assert_allclose(fit.family_.log_range, [both.min(axis=0), both.max(axis=0)])


@pytest.mark.parametrize("family", [LinearRegression(), PoissonRegression(), LogisticRegression()], ids=repr)
def test_the_box_of_regressions_grows(family):
    x = RNG.normal(size=(300, 2))
    y = RNG.integers(2, size=300).astype(float)
    fit = Mixture(family, random_state=0).partial_fit(x, y)
    centre = fit.family_.bounds[0]
    fit.partial_fit(5 * x, y)
    every = np.column_stack([np.concatenate([x, 5 * x]), np.tile(y, 2)])
    np.testing.assert_array_equal(fit.family_.bounds[:3], [centre, every.min(axis=0), every.max(axis=0)])


def test_the_box_of_noise_grows():
    first, second = RNG.uniform(-1, 1, size=(500, 2)), RNG.uniform(-2, 3, size=(500, 2))
    fit = Mixture(Gaussian("diag"), 1, noise=True, random_state=0).partial_fit(first).partial_fit(second)
    both = np.concatenate([first, second])
    volume = np.prod(both.max(axis=0) - both.min(axis=0))
    far = [[1e3, 1e3]]  # where the Gaussian is nothing
    np.testing.assert_allclose(fit.score_samples(far), np.log(fit.weights_[1] / volume), rtol=1e-12)
