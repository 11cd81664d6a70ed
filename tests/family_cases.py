"""The registry of families that the family tests run over: a new family adds one entry to FAMILIES.

Each has data that suit it, and its law written down with SciPy: the log-density, cell by cell (a missing cell
contributes nothing, which is the marginal density where columns are independent), rows drawn from it, and, where it has
a closed form or the root of one equation, the weighted maximum-likelihood estimate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, expit, ive, log_expit

from fastem.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Components,
    DirichletMultinomial,
    Exponential,
    Gamma,
    Gaussian,
    LinearRegression,
    LogisticRegression,
    LogNormal,
    Multinomial,
    NegativeBinomial,
    Poisson,
    PoissonRegression,
    Product,
    StudentT,
    VonMisesFisher,
    Weibull,
)


@dataclass(frozen=True)
class Law:
    """A family in the words of SciPy and NumPy.

    ``log_density(fit, k, rows)`` of component k of a fit; ``redraw(fit, k, rows, rng)``: as many rows drawn from it,
    with the same predictors or totals; ``estimate(rows, weights)``: attributes of one component, of complete rows.
    """

    log_density: Callable[[Any, int, np.ndarray], np.ndarray]
    redraw: Callable[[Any, int, np.ndarray, np.random.Generator], np.ndarray]
    estimate: Callable[[np.ndarray, np.ndarray], dict[str, Any]] | None = None

    def __call__(self, fit: Any, k: int, rows: np.ndarray) -> np.ndarray:
        return self.log_density(fit, k, rows)


@dataclass(frozen=True)
class FamilyCase:
    """A family with data of two overlapping components.

    ``draw(n, rng)`` gives rows; ``log_density(fit, k, rows)`` the truth for component k of a fit: a Law.
    ``kernels`` names a case before it that compiles the same kernels, if there is one.
    """

    name: str
    family: Any
    draw: Callable[[int, np.random.Generator], np.ndarray]
    log_density: Any
    settings: dict[str, Any] = field(default_factory=dict)
    kernels: str | None = None

    def __str__(self) -> str:
        return self.name


def _cells(law, estimate=None):
    """The law of independent columns, from ``law(fit, k)``: a frozen distribution of SciPy with an entry a column."""

    def log_density(fit, k, rows):
        missing = np.isnan(rows)
        of = law(fit, k)
        density = of.logpdf if hasattr(of.dist, "pdf") else of.logpmf
        return np.where(missing, 0, density(np.where(missing, np.nanmax(rows, axis=0), rows))).sum(axis=1)

    def redraw(fit, k, rows, rng):
        return law(fit, k).rvs(size=rows.shape, random_state=rng)

    return Law(log_density, redraw, estimate)


def _mean(rows, weights):
    return np.average(rows, axis=0, weights=weights)


def _of_means(make):
    """Estimates that are functions of the means of the columns."""
    return lambda rows, weights: make(_mean(rows, weights))


def _mixed(*parts):
    """Rows of two components, from a function ``(n, rng)`` for each."""

    def draw(n, rng):
        labels = rng.random(n) < 0.4
        return np.where(labels[:, None], parts[0](n, rng), parts[1](n, rng)).astype(np.float64)

    return draw


# --- laws of whole rows ---------------------------------------------------------------------------


def _by_pattern(law):
    """The law of correlated columns, from the distribution ``law(fit, k, here)`` of those that are there."""

    def log_density(fit, k, rows):
        values = np.zeros(len(rows))
        patterns, of = np.unique(~np.isnan(rows), axis=0, return_inverse=True)
        for i, here in enumerate(patterns):
            if here.any():
                mine = np.ravel(of) == i
                values[mine] = np.reshape(law(fit, k, here).logpdf(rows[mine][:, here]), mine.sum())
        return values

    def redraw(fit, k, rows, rng):
        return law(fit, k, np.ones(rows.shape[1], bool)).rvs(size=len(rows), random_state=rng)

    return log_density, redraw


def _gaussian(fit, k, here):
    is_tied = type(fit.family_).__name__ == "GaussianTied"
    covariance = fit.covariances_ if is_tied else fit.covariances_[k]
    covariance = np.diag(np.broadcast_to(covariance, len(here))) if np.ndim(covariance) < 2 else covariance
    return stats.multivariate_normal(fit.means_[k][here], covariance[np.ix_(here, here)])


def _gaussian_estimate(kind):
    def estimate(rows, weights):
        mean = _mean(rows, weights)
        covariance = np.cov(rows.T, aweights=weights, ddof=0)
        shaped = {"full": covariance, "diag": np.diag(covariance), "spherical": np.trace(covariance) / len(mean)}
        return {"means": mean, "covariances": shaped[kind]}

    return None if kind == "tied" else estimate


def _student_t(fit, k, here):
    scale = np.diag(fit.scales_[k]) if np.ndim(fit.scales_[k]) == 1 else fit.scales_[k]
    return stats.multivariate_t(fit.means_[k][here], scale[np.ix_(here, here)], df=fit.dofs_[k])


def _directions(n, rng):
    rows = rng.normal(size=(n, 3)) + np.where(rng.random(n)[:, None] < 0.4, [2, 0, 0], [0, 2, 0])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _von_mises_fisher(fit, k):
    return stats.vonmises_fisher(fit.directions_[k], fit.concentrations_[k])


def _von_mises_fisher_estimate(rows, weights):
    mean = _mean(rows, weights)
    length = np.linalg.norm(mean)
    half = rows.shape[1] / 2
    concentration = brentq(lambda c: ive(half, c) / ive(half - 1, c) - length, 1e-3, 1e4, xtol=1e-13, rtol=1e-14)
    return {"directions": mean / length, "concentrations": concentration}


def _draw_multinomials(fit, k, rows, rng):
    return np.array([rng.multinomial(int(n), fit.probabilities_[k]) for n in rows.sum(axis=1)], float)


def _of_each_row_once(density):
    """Densities of tables of counts, in which few rows differ, from ``density(fit, k, row)``."""

    def log_density(fit, k, rows):
        different, of = np.unique(rows.astype(int), axis=0, return_inverse=True)
        return np.array([density(fit, k, row) for row in different])[np.ravel(of)]

    return log_density


@_of_each_row_once
def _multinomial_log_density(fit, k, row):
    return stats.multinomial.logpmf(row, row.sum(), fit.probabilities_[k])


def _dirichlet_multinomial(n, rng):
    first = rng.random(n) < 0.4
    p = np.where(first[:, None], rng.dirichlet([2, 2, 6], size=n), rng.dirichlet([6, 2, 1], size=n))
    return np.array([rng.multinomial(m, row) for m, row in zip(rng.integers(5, 30, size=n), p, strict=True)], float)


@_of_each_row_once
def _dirichlet_multinomial_log_density(fit, k, row):
    return stats.dirichlet_multinomial.logpmf(row, fit.concentrations_[k], int(row.sum()))


def _draw_dirichlet_multinomials(fit, k, rows, rng):
    p = rng.dirichlet(fit.concentrations_[k], size=len(rows))
    return np.array([rng.multinomial(int(n), row) for n, row in zip(rows.sum(axis=1), p, strict=True)], float)


# --- regressions ----------------------------------------------------------------------------------


def _regression(response):
    def draw(n, rng):
        x = rng.normal(size=(n, 2)) + [100, 0]
        first = rng.random(n) < 0.4
        eta = np.where(first, 1 + (x[:, 0] - 100), 2 - 0.8 * x[:, 1])
        return np.column_stack([x, response(eta, rng)])

    return draw


def _response(law, estimate=None):
    """The law of a response, from ``law(fit, k, eta)``: a frozen distribution of SciPy with an entry a row."""

    def of(fit, k, rows):
        return law(fit, k, fit.intercepts_[k] + rows[:, :-1] @ fit.coefs_[k])

    def log_density(fit, k, rows):
        y = rows[:, -1]
        missing = np.isnan(y)
        responses = of(fit, k, rows)
        density = responses.logpdf if hasattr(responses, "logpdf") else responses.logpmf
        return np.where(missing, 0, density(np.where(missing, 0, y)))

    def redraw(fit, k, rows, rng):
        return np.column_stack([rows[:, :-1], of(fit, k, rows).rvs(size=len(rows), random_state=rng)])

    return Law(log_density, redraw, estimate)


class _Logistic:
    """Responses 0 and 1, whose logarithms keep their digits where SciPy's Bernoulli loses them."""

    def __init__(self, eta):
        self.eta = eta

    def logpmf(self, y):
        return log_expit(np.where(y == 1, 1, -1) * self.eta)

    def rvs(self, size, random_state):
        return stats.bernoulli(expit(self.eta)).rvs(size=size, random_state=random_state)


def _linear_estimate(rows, weights):
    about = _mean(rows, weights)
    x, y = np.hsplit(rows - about, [-1])
    slopes = np.linalg.solve((weights * x.T) @ x, (weights * x.T) @ y[:, 0])
    variance = np.average((y[:, 0] - x @ slopes) ** 2, weights=weights)
    return {"intercepts": about[-1] - about[:-1] @ slopes, "coefs": slopes, "variances": variance}


# --- tables ---------------------------------------------------------------------------------------


def _levels_log_density(fit, k, rows):
    missing = np.isnan(rows)
    codes = np.where(missing, 0, rows).astype(int)
    cells = [np.log(np.maximum(p[k][codes[:, j]], 1e-300)) for j, p in enumerate(fit.probabilities_)]
    return np.where(missing, 0, np.stack(cells, axis=1)).sum(axis=1)


def _draw_levels(fit, k, rows, rng):
    return np.stack([rng.choice(p.shape[1], p=p[k], size=len(rows)) for p in fit.probabilities_], axis=1).astype(float)


def _levels_estimate(rows, weights):
    shares = [np.bincount(column.astype(int), weights, 4) / weights.sum() for column in rows.T]
    return {"probabilities": [shares[0][:2], *shares[1:]]}


LEVELS = Law(_levels_log_density, _draw_levels, _levels_estimate)


def _log(probabilities):
    return np.log(np.maximum(probabilities, 1e-300))


def _product_log_density(fit, k, rows):
    parts = fit.parts_
    missing = np.isnan(rows)
    visits, regions, income = np.where(missing, 1, rows).T[[0, 1, 2]]
    cells = [
        stats.poisson(parts["0"]["rates"][k, 0]).logpmf(visits),
        _log(parts["1, 3"]["probabilities"][0][k][regions.astype(int)]),
        stats.lognorm(parts["2"]["log_sds"][k, 0], scale=np.exp(parts["2"]["log_means"][k, 0])).logpdf(income),
        _log(parts["1, 3"]["probabilities"][1][k][np.where(missing, 0, rows)[:, 3].astype(int)]),
    ]
    return np.where(missing, 0, np.stack(cells, axis=1)).sum(axis=1)


def _redraw_product(fit, k, rows, rng):
    parts, n = fit.parts_, len(rows)
    regions, codes = (rng.choice(3, p=p[k], size=n) for p in parts["1, 3"]["probabilities"])
    income = rng.lognormal(parts["2"]["log_means"][k, 0], parts["2"]["log_sds"][k, 0], n)
    return np.column_stack([rng.poisson(parts["0"]["rates"][k, 0], n), regions, income, codes])


def _draw_product(n, rng):
    first = rng.random(n) < 0.4
    visits = rng.poisson(np.where(first, 2, 6))
    income = rng.lognormal(np.where(first, 1, 2), 0.5)
    codes = np.where(first[:, None], rng.choice(3, p=[0.6, 0.3, 0.1], size=(n, 2)), rng.choice(3, size=(n, 2)))
    return np.column_stack([visits, codes[:, 0], income, codes[:, 1]])


def _categorical(n, rng):
    first = rng.random(n)[:, None] < 0.4
    a = rng.choice(4, p=[0.6, 0.2, 0.1, 0.1], size=(n, 4))
    b = rng.choice(4, p=[0.1, 0.2, 0.3, 0.4], size=(n, 4))
    rows = np.where(first, a, b).astype(np.float64)
    rows[:, 0] = np.minimum(rows[:, 0], 1)
    return rows


# --- positive numbers -----------------------------------------------------------------------------


def _gamma_estimate(rows, weights):
    mean, logs = _mean(rows, weights), np.log(_mean(rows, weights)) - _mean(np.log(rows), weights)
    shapes = np.array([brentq(lambda a, s=s: np.log(a) - digamma(a) - s, 1e-3, 1e4, xtol=1e-13) for s in logs])
    return {"shapes": shapes, "scales": mean / shapes}


def _log_normal_estimate(rows, weights):
    mean = _mean(np.log(rows), weights)
    return {"log_means": mean, "log_sds": np.sqrt(_mean((np.log(rows) - mean) ** 2, weights))}


def _poisson_or_negative_binomial(fit, k):
    own = fit.components_[k]
    if k == 0:
        return stats.poisson(own["rates"][0])
    means, sizes = own["means"][0], own["sizes"][0]
    return stats.nbinom(sizes, sizes / (sizes + means))


def _gaussians(n, rng):
    mix = np.array([[1.0, 0.5, 0.2], [0.0, 1.0, -0.4], [0.0, 0.0, 0.7]])
    return rng.normal(size=(n, 3)) @ mix + np.where(rng.random(n)[:, None] < 0.4, [2.5, 0, 1], [0, 2, -1])


def _heavy_tails(n, rng):
    return rng.standard_t(4, size=(n, 3)) + np.where(rng.random(n)[:, None] < 0.4, [3.5, 0, 1], [0, 3, -1])


FAMILIES = [
    *[FamilyCase(f"gaussian_{kind}", Gaussian(kind), _gaussians, Law(*_by_pattern(_gaussian), _gaussian_estimate(kind)))
      for kind in ("full", "tied", "diag", "spherical")],
    FamilyCase("student_t_full", StudentT(), _heavy_tails, Law(*_by_pattern(_student_t))),
    FamilyCase("student_t_diag", StudentT("diag", shared_dofs=True), _heavy_tails, Law(*_by_pattern(_student_t))),
    FamilyCase(
        "poisson", Poisson(),
        _mixed(lambda n, rng: rng.poisson([2, 5], size=(n, 2)), lambda n, rng: rng.poisson([6, 2], size=(n, 2))),
        _cells(lambda fit, k: stats.poisson(fit.rates_[k]), _of_means(lambda mean: {"rates": mean})),
    ),
    FamilyCase(
        "bernoulli", Bernoulli(),
        _mixed(lambda n, rng: rng.random((n, 5)) < 0.3, lambda n, rng: rng.random((n, 5)) < [0.8, 0.7, 0.6, 0.5, 0.9]),
        _cells(lambda fit, k: stats.bernoulli(fit.probabilities_[k]), _of_means(lambda mean: {"probabilities": mean})),
        kernels="poisson",
    ),
    FamilyCase(
        "binomial", Binomial([10, 4]),
        _mixed(lambda n, rng: rng.binomial([10, 4], 0.3, (n, 2)), lambda n, rng: rng.binomial([10, 4], 0.7, (n, 2))),
        _cells(lambda fit, k: stats.binom([10, 4], fit.probabilities_[k]),
               _of_means(lambda mean: {"probabilities": mean / [10, 4]})),
        kernels="poisson",
    ),
    FamilyCase(
        "exponential", Exponential(),
        _mixed(lambda n, rng: rng.exponential([1, 5], (n, 2)), lambda n, rng: rng.exponential([6, 1], (n, 2))),
        _cells(lambda fit, k: stats.expon(scale=1 / fit.rates_[k]), _of_means(lambda mean: {"rates": 1 / mean})),
        kernels="poisson",
    ),
    FamilyCase(
        "multinomial", Multinomial(),
        _mixed(lambda n, rng: rng.multinomial(8, [0.2, 0.3, 0.5], n),
               lambda n, rng: rng.multinomial(9, [0.6, 0.3, 0.1], n)),
        Law(_multinomial_log_density, _draw_multinomials, _of_means(lambda mean: {"probabilities": mean / mean.sum()})),
        kernels="poisson",
    ),
    FamilyCase(
        "categorical", Categorical(), _categorical, LEVELS,
    ),
    FamilyCase(
        "categorical_of_many_levels", Categorical(levels=[2, 4, 60, 4]), _categorical, replace(LEVELS, estimate=None),
        kernels="categorical",
    ),
    FamilyCase(
        "negative_binomial", NegativeBinomial(),
        _mixed(lambda n, rng: rng.negative_binomial(3, [0.3, 0.6], size=(n, 2)),
               lambda n, rng: rng.negative_binomial(6, [0.7, 0.4], size=(n, 2))),
        _cells(lambda fit, k: stats.nbinom(fit.sizes_[k], fit.sizes_[k] / (fit.sizes_[k] + fit.means_[k]))),
        kernels="categorical",
    ),
    FamilyCase(
        "dirichlet_multinomial", DirichletMultinomial(), _dirichlet_multinomial,
        Law(_dirichlet_multinomial_log_density, _draw_dirichlet_multinomials),
        kernels="categorical",
    ),
    FamilyCase(
        "gamma", Gamma(),
        _mixed(lambda n, rng: rng.gamma(2, 1, size=(n, 2)), lambda n, rng: rng.gamma(9, [0.7, 1.2], size=(n, 2))),
        _cells(lambda fit, k: stats.gamma(fit.shapes_[k], scale=fit.scales_[k]), _gamma_estimate),
    ),
    FamilyCase(
        "beta", Beta(),
        _mixed(lambda n, rng: rng.beta(2, 5, size=(n, 2)), lambda n, rng: rng.beta(6, [2, 0.8], size=(n, 2))),
        _cells(lambda fit, k: stats.beta(fit.alphas_[k], fit.betas_[k])),
    ),
    FamilyCase(
        "log_normal", LogNormal(reg_covar=0.0),
        _mixed(lambda n, rng: rng.lognormal(0, 1, size=(n, 2)), lambda n, rng: rng.lognormal(2, [0.5, 1], size=(n, 2))),
        _cells(lambda fit, k: stats.lognorm(fit.log_sds_[k], scale=np.exp(fit.log_means_[k])), _log_normal_estimate),
    ),
    FamilyCase(
        "weibull", Weibull(),
        _mixed(lambda n, rng: rng.weibull(1.5, size=(n, 2)), lambda n, rng: 4 * rng.weibull([3, 1], size=(n, 2))),
        _cells(lambda fit, k: stats.weibull_min(fit.shapes_[k], scale=fit.scales_[k])),
    ),
    FamilyCase(
        "von_mises_fisher", VonMisesFisher(), _directions,
        Law(lambda fit, k, rows: _von_mises_fisher(fit, k).logpdf(rows),
            lambda fit, k, rows, rng: _von_mises_fisher(fit, k).rvs(size=len(rows), random_state=rng),
            _von_mises_fisher_estimate),
    ),
    FamilyCase(
        "linear_regression", LinearRegression(reg_variance=0.0),
        _regression(lambda eta, rng: eta + 0.5 * rng.normal(size=len(eta))),
        _response(lambda fit, k, eta: stats.norm(eta, np.sqrt(fit.variances_[k])), _linear_estimate),
    ),
    FamilyCase(
        "poisson_regression", PoissonRegression(), _regression(lambda eta, rng: rng.poisson(np.exp(eta))),
        _response(lambda fit, k, eta: stats.poisson(np.exp(eta))),
    ),
    FamilyCase(
        "logistic_regression", LogisticRegression(),
        _regression(lambda eta, rng: rng.random(len(eta)) < 1 / (1 + np.exp(-3 * eta))),
        _response(lambda fit, k, eta: _Logistic(eta)),
    ),
    FamilyCase(
        "product", Product({2: LogNormal(), 0: Poisson(), (1, 3): Categorical()}), _draw_product,
        Law(_product_log_density, _redraw_product),
    ),
    FamilyCase(
        "components", Components([Poisson(), NegativeBinomial()]),
        _mixed(lambda n, rng: rng.poisson([2, 5], size=(n, 2)),
               lambda n, rng: rng.negative_binomial(6, [0.4, 0.3], size=(n, 2))),
        _cells(_poisson_or_negative_binomial),
    ),
]  # fmt: skip
