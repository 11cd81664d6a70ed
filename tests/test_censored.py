"""Censored values, against SciPy, mpmath and brute force."""

from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from scipy import integrate, optimize, stats

import fastem
from fastem import Mixture
from fastem.engine.contract import Shape
from fastem.engine.data import Data, accumulate
from fastem.families import Exponential, Gamma, LinearRegression, LogNormal, Poisson, Product, Weibull
from fastem.families.positive.censored import LEFT, RIGHT
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.model import MixtureModel
from fastem.sources import ArraySource

# They compile for long; the examples of the documentation stand for them in the quick tests.
pytestmark = pytest.mark.slow

LAWS = {
    "exponential": (Exponential(), stats.expon, lambda fit, k, j: stats.expon(scale=1 / fit["rates"][k, j])),
    "weibull": (
        Weibull(), stats.weibull_min,
        lambda fit, k, j: stats.weibull_min(fit["shapes"][k, j], scale=fit["scales"][k, j]),
    ),
    "log_normal": (
        LogNormal(), stats.lognorm,
        lambda fit, k, j: stats.lognorm(fit["log_sds"][k, j], scale=np.exp(fit["log_means"][k, j])),
    ),
    "gamma": (Gamma(), stats.gamma, lambda fit, k, j: stats.gamma(fit["shapes"][k, j], scale=fit["scales"][k, j])),
}  # fmt: skip
NAMES = list(LAWS)
IN_DTYPES = [
    pytest.param(
        name, dtype, id=f"{name}-{dtype.__name__}",
        marks=[pytest.mark.slow] if dtype == np.float32 else [],  # compiles for long
    )
    for name in NAMES
    for dtype in (np.float64, np.float32)
]  # fmt: skip
# Parameters of two components with values between about 0.1 and 10.
STARTS = {
    "exponential": {"rates": np.array([[2.0], [0.3]])},
    "weibull": {"shapes": np.array([[1.3], [3.0]]), "scales": np.array([[1.0], [5.0]])},
    "log_normal": {"log_means": np.array([[0.0], [1.7]]), "log_sds": np.array([[0.6], [0.4]])},
    "gamma": {"shapes": np.array([[1.5], [8.0]]), "scales": np.array([[0.7], [0.8]])},
}


def _values(name, n, seed=0, d=1):
    """Values of two components."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 1)) < 0.4
    law = LAWS[name][2]
    draws = [np.column_stack([law(STARTS[name], k, 0).rvs(n, random_state=rng) for _ in range(d)]) for k in (0, 1)]
    return np.where(labels, *draws)


def _right(values, seed=1):
    """Values and times of censoring, whichever comes first, and which values are censored."""
    times = np.random.default_rng(seed).uniform(0.2, 2 * np.quantile(values, 0.9), values.shape)
    return np.minimum(values, times), values > times


def _bounds(values, seed=2):
    """Ends of intervals: of known, right-censored, left-censored values and others."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(4, size=values.shape)
    low = np.select([kind == 1, kind == 2, kind == 3], [0.8 * values, 0, 0.7 * values], values)
    high = np.select([kind == 1, kind == 2, kind == 3], [np.inf, 1.3 * values, 1.2 * values], values)
    return low, high


def _log_cells(law, low, high):
    """Log-density of values that are known, log-probability of the others."""
    known = low == high
    with np.errstate(all="ignore"):
        # the smaller tail keeps its digits
        above, below = law.logsf(low), law.logcdf(high)
        upper = above + np.log(-np.expm1(law.logsf(high) - above))
        lower = below + np.log(-np.expm1(law.logcdf(low) - below))
        return np.where(known, law.logpdf(low), np.where(above < below, upper, lower))


def _joint(name, fit, low, high, weights):
    law = LAWS[name][2]
    cells = [
        sum(
            np.where(np.isnan(low[:, j]), 0, _log_cells(law(fit, k, j), low[:, j], high[:, j]))
            for j in range(low.shape[1])
        )
        for k in range(len(weights))
    ]
    return np.log(weights) + np.stack(cells, axis=1)


def _parameters(fit):
    return {name: getattr(fit, f"{name}_") for name in fit.family_.attribute_names()}


def _truth(name, fit, low, high):
    return np.logaddexp.reduce(_joint(name, _parameters(fit), low, high, fit.weights_), axis=1)


def _held(name, rows, parameters=None, **side):
    """A mixture with given parameters."""
    parameters = STARTS[name] if parameters is None else parameters
    k = len(next(iter(parameters.values())))
    return Mixture(
        LAWS[name][0], k, params_init=parameters, weights_init=np.full(k, 1 / k), frozen={*parameters, "weights"}
    ).fit(rows, **side)


def _is_monotone(fit):
    bounds = np.array(fit.lower_bounds_)
    return (np.diff(bounds) >= -1e-10 * np.abs(bounds[1:])).all()


@pytest.mark.parametrize("name", NAMES)
def test_one_component_as_scipy_fits_it(name):
    family, law, of = LAWS[name]
    x, censored = _right(LAWS[name][2](STARTS[name], 1, 0).rvs((600, 1), random_state=np.random.default_rng(3)))
    fit = Mixture(family, 1, tol=1e-12).fit(x, censored=censored)
    assert censored.mean() > 0.1 and fit.converged_
    theirs = law(*law.fit(stats.CensoredData.right_censored(x[:, 0], censored[:, 0]), floc=0))
    mine = of(_parameters(fit), 0, 0)
    np.testing.assert_allclose(mine.mean(), theirs.mean(), rtol=1e-3)
    np.testing.assert_allclose(mine.std(), theirs.std(), rtol=1e-3)
    high = np.where(censored, np.inf, x)
    best = _log_cells(theirs, x, high).sum()
    assert fit.log_likelihood_ == pytest.approx(_log_cells(mine, x, high).sum(), rel=1e-10)
    assert best - 1e-6 <= fit.log_likelihood_ <= best + 1e-3  # SciPy's optimum is a little short of it


@pytest.mark.parametrize("name", NAMES)
def test_one_component_of_intervals_as_scipy_fits_it(name):
    family, law, of = LAWS[name]
    low, high = _bounds(LAWS[name][2](STARTS[name], 1, 0).rvs((500, 1), random_state=np.random.default_rng(4)))
    fit = Mixture(family, 1, tol=1e-12).fit(low, upper=high)
    data = stats.CensoredData(
        uncensored=low[low == high], right=low[np.isinf(high)], left=high[low == 0],
        interval=np.column_stack([low, high])[((low[:, 0] > 0) & np.isfinite(high[:, 0]) & (low < high)[:, 0])],
    )  # fmt: skip
    best = _log_cells(law(*law.fit(data, floc=0)), low, high).sum()
    assert fit.log_likelihood_ == pytest.approx(_log_cells(of(_parameters(fit), 0, 0), low, high).sum(), rel=1e-10)
    assert best - 1e-6 <= fit.log_likelihood_ <= best + 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_two_components_by_brute_force(name):
    low, high = _bounds(_values(name, 400))
    start = STARTS[name]
    settings = {"weights_init": [0.4, 0.6], "params_init": start, "tol": 1e-13, "max_iter": 5000}
    fit = Mixture(LAWS[name][0], 2, **settings).fit(low, upper=high)
    assert _is_monotone(fit) and fit.converged_

    def loss(point):
        """Of the logit of the first weight, and of changes of parameters, in logarithms where they are positive."""
        weight = 1 / (1 + np.exp(-point[0]))
        changes = dict(zip(start, np.reshape(point[1:], (len(start), 2, 1)), strict=True))
        there = _parameters(fit)
        here = {
            key: there[key] + change if key == "log_means" else there[key] * np.exp(change)
            for key, change in changes.items()
        }
        return -np.logaddexp.reduce(_joint(name, here, low, high, [weight, 1 - weight]), axis=1).mean()

    centre = np.concatenate([[np.log(fit.weights_[0] / fit.weights_[1])], np.zeros(2 * len(start))])
    assert -loss(centre) == pytest.approx(fit.lower_bound_, rel=1e-10)
    rng = np.random.default_rng(5)
    best = optimize.minimize(loss, centre + 0.05 * rng.normal(size=len(centre)), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(best.x, centre, atol=2e-3)
    assert -best.fun <= fit.lower_bound_ + 1e-8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["right", "left", "interval", "narrow"])
def test_densities_and_their_tails(name, kind):
    x = np.geomspace(1e-4, 60, 81)[:, None]
    low, high = {
        "right": (x, np.full_like(x, np.inf)), "left": (np.zeros_like(x), x), "interval": (x, 1.7 * x),
        "narrow": (x, x * (1 + 1e-9)),
    }[kind]  # fmt: skip
    fit = _held(name, low, upper=high)
    if kind == "narrow":
        # the density in the middle, times the width
        middle = np.sqrt(low) * np.sqrt(high)
        truth = _truth(name, fit, middle, middle) + np.log(high - low)[:, 0]
    else:
        truth = _truth(name, fit, low, high)
    here = truth > -690  # SciPy's own logarithms end there
    np.testing.assert_allclose(fit.score_samples(low, upper=high)[here], truth[here], rtol=1e-9, atol=1e-9)
    assert here.sum() > 40 and np.isfinite(fit.score_samples(low, upper=high)).all()


@pytest.mark.parametrize(
    ("name", "low", "high", "expected"),
    [
        # logarithms by mpmath, in 50 digits
        ("weibull", 200.0, np.inf, -(200.0**1.5)),
        ("exponential", 300.0, np.inf, -300.0),
        ("exponential", 300.0, 300.0 + 2.0**-30, -300.0 - 30 * np.log(2) - 2.0**-31),
        ("log_normal", np.exp(37.0), np.inf, -689.0305855768905),
        ("log_normal", np.exp(-37.0), 0.0, -689.0305855768905),
        ("log_normal", np.exp(5.0), np.exp(5.0) + 1e-7, -34.53703424555255),
        ("gamma", 600.0, np.inf, -590.6867894310418),
        ("gamma", 1e-90, 0.0, -519.2826195260074),
    ],
)
def test_far_tails(name, low, high, expected):
    """Of standard distributions, with shape 1.5 where there is one."""
    one = np.ones((1, 1))
    parameters = {
        "exponential": {"rates": one}, "weibull": {"shapes": 1.5 * one, "scales": one},
        "log_normal": {"log_means": 0 * one, "log_sds": one}, "gamma": {"shapes": 2.5 * one, "scales": one},
    }[name]  # fmt: skip
    rows = np.array([[low], [1.0]])
    side = {"censored": np.array([-1, 0])} if high == 0 else {"upper": np.array([high, 1.0])}
    fit = _held(name, rows, parameters, **side)
    assert fit.score_samples(rows, **side)[0] == pytest.approx(expected, abs=2e-10)


# --- statistics -----------------------------------------------------------------------------------

CELLS = np.array([
    [0.7, np.inf], [4.0, np.inf], [30.0, np.inf], [0.0, np.inf], [1e-5, np.inf], [0.0, 0.01], [0.0, 1.5], [0.0, 20.0],
    [0.2, 0.3], [1.0, 6.0], [1e-6, 3.0], [1e-6, 1e-3], [9.0, 9.1], [2.0, 2.0 * (1 + 1e-8)],
])  # fmt: skip

# What the statistics of a cell are sums of: functions of x, of the component's parameters.
FUNCTIONS = {
    "exponential": [lambda x, p: x],
    "weibull": [
        lambda x, p: p["shapes"] * np.log(x / p["scales"]),
        lambda x, p: (x / p["scales"]) ** p["shapes"],
        lambda x, p: p["shapes"] * np.log(x / p["scales"]) * (x / p["scales"]) ** p["shapes"],
        lambda x, p: (p["shapes"] * np.log(x / p["scales"])) ** 2 * (x / p["scales"]) ** p["shapes"],
    ],
    "log_normal": [
        lambda x, p: np.log(x) - p["log_means"],
        lambda x, p: (np.log(x) - p["log_means"]) ** 2,
    ],
    "gamma": [lambda x, p: x / 3 - 1, lambda x, p: x / 3 - 1 - np.log(x / 3)],
}


def _mean_within(law, function, low, high):
    """Of a function of a value between two ends, by quadrature in its logarithm."""
    end = np.log(min(high, law.isf(1e-18 * law.sf(low))))
    begin = np.log(max(low, law.ppf(1e-20 * law.cdf(high)), 1e-30 * min(high, law.median())))
    t = np.linspace(begin, end, 1000)
    heights = law.logpdf(np.exp(t)) + t
    top = t[np.argmax(heights)]
    steps = np.array([-30, -8, -3, -1, -0.3, 0, 0.1, 0.3, 1])
    parts = np.unique(np.concatenate([[begin, end], np.clip(top + steps, begin, end)]))

    def integral(of):
        def height(t):
            return of(np.exp(t)) * np.exp(law.logpdf(np.exp(t)) + t - heights.max())

        return sum(integrate.quad(height, a, b, epsabs=0, epsrel=1e-11, limit=400)[0] for a, b in pairwise(parts))

    return integral(function) / integral(lambda x: 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_expected_statistics(name):
    """Those of each cell under each component, against quadrature."""
    low, high = CELLS.T
    parameters = STARTS[name]
    units = {} if name == "exponential" else {"units": np.array([3.0])}
    family = LAWS[name][0].censored().set_params(**units)
    rows = np.column_stack([low, np.where(np.isinf(high), RIGHT, np.where(low == 0, LEFT, high))])
    rows[low == 0, 0] = np.where(np.isinf(high), 0, high)[low == 0]
    params = MixtureParams(np.array([0.5, 0.5]), family.from_attributes(parameters))
    model, shape = MixtureModel(family, 2), Shape(2, np.dtype(np.float64), 1)
    for i, row in enumerate(rows):
        stats_ = accumulate(model, params, Data(ArraySource(np.repeat(row[None], 2, axis=0))), shape)
        for k in range(2):
            mine = {key: value[k, 0] for key, value in parameters.items()}
            law = LAWS[name][2](parameters, k, 0)
            truth = [_mean_within(law, lambda x, f=f: f(x, mine), low[i], high[i]) for f in FUNCTIONS[name]]  # noqa: B023
            count = stats_.counts[k]
            if name == "exponential":
                found = [stats_.family.first[k, 0]]
            elif name == "log_normal":
                found = [stats_.family.first[k, 0], stats_.family.second[k, 0]]
                np.testing.assert_allclose(stats_.family.absent[k, 0], 0, atol=1e-12)
            else:
                sums = np.ravel(stats_.family.sums[k])
                found, here = (sums[1:], sums[0]) if name == "weibull" else (sums[:2], sums[2])
                np.testing.assert_allclose(here, count, rtol=1e-12)
            np.testing.assert_allclose(np.array(found) / count, truth, rtol=2e-8, atol=1e-9, err_msg=f"{CELLS[i]}, {k}")


# --- what must not change -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_all_known_values_are_a_plain_fit(name):
    x = _values(name, 500, d=2)
    settings = {"random_state": 0, "tol": 1e-13, "max_iter": 3000}
    plain = Mixture(LAWS[name][0], 2, **settings).fit(x)
    for side in ({"censored": np.zeros(500, bool)}, {"upper": x}):
        fit = Mixture(LAWS[name][0], 2, **settings).fit(x, **side)
        order = [np.argsort(f.weights_) for f in (fit, plain)]
        for key, value in _parameters(plain).items():
            np.testing.assert_allclose(_parameters(fit)[key][order[0]], value[order[1]], rtol=1e-5, atol=1e-6)
        assert fit.log_likelihood_ == pytest.approx(plain.log_likelihood_, rel=1e-10)
        assert fit.n_parameters_ == plain.n_parameters_ and type(fit.family_) is not type(plain.family_)
    held = _held(name, x[:, :1], censored=np.zeros(500, bool))
    np.testing.assert_allclose(held.score_samples(x[:, :1]), _held(name, x[:, :1]).score_samples(x[:, :1]), rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_replication(name):
    low, high = _bounds(_values(name, 300, d=2))
    weights = np.random.default_rng(6).integers(0, 4, 300)
    settings = {"weights_init": [0.4, 0.6], "tol": 1e-11, "max_iter": 5000}
    settings["params_init"] = {key: np.repeat(value, 2, axis=1) for key, value in STARTS[name].items()}
    weighted = Mixture(LAWS[name][0], 2, **settings).fit(low, upper=high, sample_weight=weights)
    repeated = Mixture(LAWS[name][0], 2, **settings).fit(
        np.repeat(low, weights, axis=0), upper=np.repeat(high, weights, axis=0)
    )
    for key, value in _parameters(repeated).items():
        np.testing.assert_allclose(_parameters(weighted)[key], value, rtol=1e-4)
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, rel=1e-9)


@pytest.mark.parametrize(("name", "dtype"), IN_DTYPES)
def test_two_columns_with_missing_cells(name, dtype, tmp_path):
    """In one dtype and from any source; k-means finds the start."""
    values = _values(name, 900, d=2)
    values[np.random.default_rng(7).random(values.shape) < 0.15] = np.nan
    low, high = _right(np.nan_to_num(values, nan=1.0))
    low[np.isnan(values)] = np.nan
    low = low.astype(dtype)
    fit = Mixture(LAWS[name][0], 2, random_state=0).fit(low, censored=high)
    assert fit.converged_ and (_is_monotone(fit) or dtype == np.float32)
    ends = np.where(high, np.inf, low)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    seen = ~np.isnan(low).all(axis=1)
    truth = _truth(name, fit, low.astype(float), ends.astype(float))
    np.testing.assert_allclose(fit.score_samples(low, censored=high), truth, **tolerance)
    assert fit.log_likelihood_ == pytest.approx(truth[seen].sum(), rel=tolerance["rtol"])
    np.save(tmp_path / "rows.npy", low)
    for data in (tmp_path / "rows.npy", da.from_array(low, chunks=(250, 2)), lambda: iter([low[:300], low[300:]])):
        again = Mixture(LAWS[name][0], 2, random_state=0).fit(data, censored=high)
        np.testing.assert_allclose(again.score_samples(low, censored=high), truth, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_results_files_and_parts_of_a_fit(name, tmp_path):
    x, censored = _right(_values(name, 600))
    fit = Mixture(LAWS[name][0], 2, random_state=0).fit(x, censored=censored)
    truth = _joint(name, _parameters(fit), x, np.where(censored, np.inf, x), fit.weights_)
    resp = np.exp(truth - np.logaddexp.reduce(truth, axis=1)[:, None])
    side = {"censored": censored.astype(int)}
    np.testing.assert_allclose(fit.predict_proba(x, **side), resp, atol=1e-9)
    np.testing.assert_array_equal(fit.predict(x, **side), resp.argmax(axis=1))
    total = np.logaddexp.reduce(truth, axis=1).sum()
    assert fit.score(x, **side) == pytest.approx(total / 600)
    assert fit.bic(x, **side) == pytest.approx(-2 * total + fit.n_parameters_ * np.log(600))
    assert fit.score(x) != fit.score(x, **side)
    fit.save(tmp_path / "model.fastem")
    loaded = fastem.load(tmp_path / "model.fastem")
    assert type(loaded.family_).__name__ == type(fit.family_).__name__
    np.testing.assert_array_equal(loaded.score_samples(x, **side), fit.score_samples(x, **side))
    draws, labels = fit.sample(50)
    assert draws.shape == (50, 1) and (draws > 0).all() and set(labels) <= {0, 1}
    with pytest.raises(NotImplementedError, match="cells of censored columns cannot be filled"):
        fit.impute(np.where(np.arange(600)[:, None] == 3, np.nan, x), **side)


@pytest.mark.parametrize("name", NAMES)
def test_other_ways_to_fit(name, tmp_path):
    x, censored = _right(_values(name, 4000))
    settings = {"random_state": 0, "tol": 1e-8}
    best = Mixture(LAWS[name][0], 2, **settings).fit(x, censored=censored)
    labels = np.full(4000, -1)
    for how in ({"method": "growing"}, {"method": "stepwise"}, {"checkpoint": tmp_path / name}, {"labels": labels}):
        fit = Mixture(LAWS[name][0], 2, **settings).fit(x, censored=censored, **how)
        assert fit.score(x, censored=censored) == pytest.approx(best.score(x, censored=censored), abs=1e-4), how
    online = Mixture(LAWS[name][0], 2, random_state=0)
    for _ in range(3):
        for first in range(0, 4000, 1000):
            some = slice(first, first + 1000)
            online.partial_fit(x[some], censored=censored[some])
    assert online.score(x, censored=censored) == pytest.approx(best.score(x, censored=censored), abs=0.02)
    online.partial_fit(x[~censored[:, 0]])  # all of them known
    with pytest.raises(ValueError, match="The fit knew of no censored"):
        Mixture(LAWS[name][0], 2, random_state=0).fit(x).predict(x, censored=censored)


# --- nasty inputs ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")  # what no row bounds goes to its limit: no convergence, floors
@pytest.mark.parametrize(("name", "dtype"), IN_DTYPES)
@pytest.mark.parametrize("kind", ["right", "left", "interval", "wide"])
def test_no_value_is_known(name, kind, dtype):
    values = _values(name, 300, d=2).astype(dtype)
    scale = dtype(1e30) if dtype == np.float32 else 1e200
    low, high = {
        "right": (values, np.full_like(values, np.inf)),
        "left": (np.zeros_like(values), values),
        "interval": (np.floor(values), np.floor(values) + 1),
        "wide": (values / scale, scale * values),
    }[kind]
    fit = Mixture(LAWS[name][0], 2, random_state=0, max_iter=30).fit(low, upper=high)
    assert np.isfinite(fit.lower_bounds_).all() and (_is_monotone(fit) or dtype == np.float32)
    assert all(np.isfinite(value).all() for value in _parameters(fit).values())
    assert np.isfinite(fit.score_samples(low, upper=high)).all()


@pytest.mark.parametrize("name", NAMES)
def test_values_of_any_unit(name):
    """A change of unit changes the unit of the parameters only."""
    low, high = _bounds(_values(name, 300))
    fits = [
        Mixture(LAWS[name][0], 2, random_state=0, tol=1e-11, max_iter=2000).fit(low * unit, upper=high * unit)
        for unit in (1.0, 2.0**60, 2.0**-60)
    ]
    for fit, shift in zip(fits, (0, 60, -60), strict=True):
        known = (low == high).sum()
        assert fit.log_likelihood_ + known * shift * np.log(2) == pytest.approx(fits[0].log_likelihood_, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_known_of_a_value_above_0(name):
    """It is a missing cell, if there are others in its row."""
    x = _values(name, 300, d=2)
    hidden = np.random.default_rng(8).random(x.shape) < 0.2
    hidden[:, 0] &= ~hidden[:, 1]
    fit = Mixture(LAWS[name][0], 2, random_state=0).fit(np.where(hidden, 0, x), censored=hidden)
    missing = np.where(hidden, np.nan, x)
    np.testing.assert_allclose(
        fit.score_samples(np.where(hidden, 0, x), censored=hidden), fit.score_samples(missing), rtol=1e-10, atol=1e-12
    )


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ({"upper": [1.0, 2.0, np.nan, 4.0]}, "upper must be numbers, but is not in row 2"),
        ({"upper": [1.0, 1.5, 3.0, 4.0]}, "contains 2 in row 1, column 0: its upper end lies below it"),
        ({"upper": [1.0, 0.0, 3.0, 4.0]}, "contains 2 in row 1, column 0: its upper end lies below it"),
        ({"upper": [1.0, -1.0, 3.0, 4.0]}, "upper must not be negative, but is -1 in row 1"),
        ({"upper": [1.0, 2.0]}, "shape"),
        ({"censored": [0, 1, 2, 0]}, "censored must be 1 .*, but is 2 in row 2"),
        ({"censored": [0, 1, np.nan, 0]}, "censored must be finite, but is not in row 2"),
        ({"censored": [0, 1]}, "shape"),
        ({"censored": [0, 1, 0, 0], "upper": [1.0, 2.0, 3.0, 4.0]}, "Only one of"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(side, message):
    X = np.arange(1.0, 5)[:, None]
    with pytest.raises(ValueError, match=message):
        Mixture(Weibull(), 1).fit(X, **side)


def test_values_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="contains -1 in row 1, column 0: the values must not be negative"):
        Mixture(Weibull(), 1).fit([[1.0], [-1.0]], censored=[0, 1])
    with pytest.raises(ValueError, match="contains 0 in row 1, column 0: the values must be positive"):
        Mixture(Weibull(), 1).fit([[1.0], [0.0]], censored=[1, 0])
    with pytest.raises(ValueError, match="contains 0 in row 1, column 0: no value lies below 0"):
        Mixture(Exponential(), 1).fit([[1.0], [0.0]], censored=[0, -1])


@pytest.mark.parametrize(
    "family",
    [Poisson(), LinearRegression(), Product({0: Weibull(), 1: Poisson()})],
    ids=["poisson", "regression", "product"],
)
@pytest.mark.parametrize("side", ["censored", "upper"])
def test_other_families_take_none(family, side):
    X = np.ones((4, 2))
    with pytest.raises(ValueError, match=f"takes no {side}"):
        Mixture(family, 1).fit(X, **{side: np.ones(4)})


def test_noise_does_not_stand_beside_them():
    with pytest.raises(ValueError, match="No noise can stand beside CensoredWeibull"):
        Mixture(Weibull(), 1, noise=True).fit(np.arange(1.0, 9)[:, None], censored=np.arange(8) % 2)


@pytest.mark.parametrize(("mine", "theirs"), [(Weibull(), Gamma()), (Gamma(), Weibull())], ids=["weibull", "gamma"])
def test_a_file_does_not_mix_families(tmp_path, mine, theirs):
    fit = Mixture(mine, 1).fit(np.arange(1.0, 9)[:, None], censored=np.arange(8) % 2)
    fit.family = theirs
    fit.save(tmp_path / "model.fastem")
    with pytest.raises(ValueError, match="of the family"):
        fastem.load(tmp_path / "model.fastem")
