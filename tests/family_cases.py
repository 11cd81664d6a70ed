"""The registry of families that the family tests run over: a new family adds one entry to FAMILIES.

Each has data that suit it, and its log-density written down with SciPy, cell by cell: a missing
cell contributes nothing, which is the marginal density where columns are independent.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import log_expit

from fastem.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
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
class FamilyCase:
    """A family with data of two overlapping components.

    ``draw(n, rng)`` gives rows; ``log_density(fit, k, rows)`` the truth for component k of a fit.
    ``kernels`` names a case before it that compiles the same kernels, if there is one.
    """

    name: str
    family: Any
    draw: Callable[[int, np.random.Generator], np.ndarray]
    log_density: Callable[[Any, int, np.ndarray], np.ndarray]
    settings: dict[str, Any] = field(default_factory=dict)
    kernels: str | None = None

    def __str__(self) -> str:
        return self.name


def _cells(density):
    """Sum over the cells that are there of a density of single cells, ``density(fit, k, x)`` (n, d) -> (n, d)."""

    def log_density(fit, k, rows):
        missing = np.isnan(rows)
        filled = np.where(missing, np.nanmax(rows, axis=0), rows)
        return np.where(missing, 0, density(fit, k, filled)).sum(axis=1)

    return log_density


def _mixed(*parts):
    """Rows of two components, from a function ``(n, rng)`` for each."""

    def draw(n, rng):
        labels = rng.random(n) < 0.4
        return np.where(labels[:, None], parts[0](n, rng), parts[1](n, rng)).astype(np.float64)

    return draw


def _gaussian_log_density(fit, k, rows):
    is_tied = type(fit.family_).__name__ == "GaussianTied"
    covariance = fit.covariances_ if is_tied else fit.covariances_[k]
    covariance = np.diag(np.broadcast_to(covariance, rows.shape[1])) if np.ndim(covariance) < 2 else covariance
    return _by_pattern(rows, lambda x, here: stats.multivariate_normal(
        fit.means_[k][here], covariance[np.ix_(here, here)]).logpdf(x))  # fmt: skip


def _t_full(fit, k, rows):
    return _by_pattern(rows, lambda x, here: stats.multivariate_t(
        fit.means_[k][here], fit.scales_[k][np.ix_(here, here)], df=fit.dofs_[k]).logpdf(x))  # fmt: skip


def _t_diag(fit, k, rows):
    return _by_pattern(rows, lambda x, here: stats.multivariate_t(
        fit.means_[k][here], np.diag(fit.scales_[k][here]), df=fit.dofs_[k]).logpdf(x))  # fmt: skip


def _by_pattern(rows, marginal):
    values = np.zeros(len(rows))
    for i, row in enumerate(rows):
        here = ~np.isnan(row)
        if here.any():
            values[i] = float(np.squeeze(marginal(row[here], here)))
    return values


def _directions(n, rng):
    rows = rng.normal(size=(n, 3)) + np.where(rng.random(n)[:, None] < 0.4, [2, 0, 0], [0, 2, 0])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _vmf(fit, k, rows):
    return stats.vonmises_fisher(fit.directions_[k], fit.concentrations_[k]).logpdf(rows)


def _regression(response):
    def draw(n, rng):
        x = rng.normal(size=(n, 2)) + [100, 0]
        first = rng.random(n) < 0.4
        eta = np.where(first, 1 + (x[:, 0] - 100), 2 - 0.8 * x[:, 1])
        return np.column_stack([x, response(eta, rng)])

    return draw


def _eta(fit, k, rows):
    return fit.intercepts_[k] + rows[:, :-1] @ fit.coefs_[k]


def _response(density):
    def log_density(fit, k, rows):
        y = rows[:, -1]
        missing = np.isnan(y)
        return np.where(missing, 0, density(fit, k, rows, np.where(missing, 0, y)))

    return log_density


def _product_log_density(fit, k, rows):
    parts = fit.parts_
    missing = np.isnan(rows)
    visits, regions, income = np.where(missing, 1, rows).T[[0, 1, 2]]
    cells = [
        stats.poisson(parts["0"]["rates"][k, 0]).logpmf(visits),
        np.log(parts["1, 3"]["probabilities"][0][k][regions.astype(int)]),
        stats.lognorm(parts["2"]["log_sds"][k, 0], scale=np.exp(parts["2"]["log_means"][k, 0])).logpdf(income),
        np.log(parts["1, 3"]["probabilities"][1][k][np.where(missing, 0, rows)[:, 3].astype(int)]),
    ]
    return np.where(missing, 0, np.stack(cells, axis=1)).sum(axis=1)


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


def _multinomial_log_density(fit, k, rows):
    return np.array([stats.multinomial.logpmf(row, row.sum(), fit.probabilities_[k]) for row in rows])


def _dirichlet_multinomial(n, rng):
    first = rng.random(n) < 0.4
    p = np.where(first[:, None], rng.dirichlet([2, 2, 6], size=n), rng.dirichlet([6, 2, 1], size=n))
    return np.array([rng.multinomial(m, row) for m, row in zip(rng.integers(5, 30, size=n), p, strict=True)], float)


def _dirichlet_multinomial_log_density(fit, k, rows):
    return np.array(
        [stats.dirichlet_multinomial.logpmf(row.astype(int), fit.concentrations_[k], int(row.sum())) for row in rows]
    )


def _gaussians(n, rng):
    mix = np.array([[1.0, 0.5, 0.2], [0.0, 1.0, -0.4], [0.0, 0.0, 0.7]])
    return rng.normal(size=(n, 3)) @ mix + np.where(rng.random(n)[:, None] < 0.4, [2.5, 0, 1], [0, 2, -1])


def _heavy_tails(n, rng):
    return rng.standard_t(4, size=(n, 3)) + np.where(rng.random(n)[:, None] < 0.4, [3.5, 0, 1], [0, 3, -1])


FAMILIES = [
    *[FamilyCase(f"gaussian_{kind}", Gaussian(kind), _gaussians, _gaussian_log_density)
      for kind in ("full", "tied", "diag", "spherical")],
    FamilyCase("student_t_full", StudentT(), _heavy_tails, _t_full),
    FamilyCase("student_t_diag", StudentT("diag", shared_dofs=True), _heavy_tails, _t_diag),
    FamilyCase(
        "poisson", Poisson(),
        _mixed(lambda n, rng: rng.poisson([2, 5], size=(n, 2)), lambda n, rng: rng.poisson([6, 2], size=(n, 2))),
        _cells(lambda fit, k, x: stats.poisson(fit.rates_[k]).logpmf(x)),
    ),
    FamilyCase(
        "bernoulli", Bernoulli(),
        _mixed(lambda n, rng: rng.random((n, 5)) < 0.3, lambda n, rng: rng.random((n, 5)) < [0.8, 0.7, 0.6, 0.5, 0.9]),
        _cells(lambda fit, k, x: stats.bernoulli(fit.probabilities_[k]).logpmf(x)),
        kernels="poisson",
    ),
    FamilyCase(
        "binomial", Binomial([10, 4]),
        _mixed(lambda n, rng: rng.binomial([10, 4], 0.3, (n, 2)), lambda n, rng: rng.binomial([10, 4], 0.7, (n, 2))),
        _cells(lambda fit, k, x: stats.binom([10, 4], fit.probabilities_[k]).logpmf(x)),
        kernels="poisson",
    ),
    FamilyCase(
        "exponential", Exponential(),
        _mixed(lambda n, rng: rng.exponential([1, 5], (n, 2)), lambda n, rng: rng.exponential([6, 1], (n, 2))),
        _cells(lambda fit, k, x: stats.expon(scale=1 / fit.rates_[k]).logpdf(x)),
        kernels="poisson",
    ),
    FamilyCase(
        "multinomial", Multinomial(),
        _mixed(lambda n, rng: rng.multinomial(8, [0.2, 0.3, 0.5], n),
               lambda n, rng: rng.multinomial(9, [0.6, 0.3, 0.1], n)),
        _multinomial_log_density,
        kernels="poisson",
    ),
    FamilyCase(
        "categorical", Categorical(), _categorical,
        _cells(lambda fit, k, x: np.stack([
            np.log(np.maximum(p[k][x[:, j].astype(int)], 1e-300)) for j, p in enumerate(fit.probabilities_)], axis=1)),
    ),
    FamilyCase(
        "categorical_of_many_levels", Categorical(levels=[2, 4, 60, 4]), _categorical,
        _cells(lambda fit, k, x: np.stack([
            np.log(np.maximum(p[k][x[:, j].astype(int)], 1e-300)) for j, p in enumerate(fit.probabilities_)], axis=1)),
        kernels="categorical",
    ),
    FamilyCase(
        "negative_binomial", NegativeBinomial(),
        _mixed(lambda n, rng: rng.negative_binomial(3, [0.3, 0.6], size=(n, 2)),
               lambda n, rng: rng.negative_binomial(6, [0.7, 0.4], size=(n, 2))),
        _cells(lambda fit, k, x: stats.nbinom(
            fit.sizes_[k], fit.sizes_[k] / (fit.sizes_[k] + fit.means_[k])).logpmf(x)),
        kernels="categorical",
    ),
    FamilyCase(
        "dirichlet_multinomial", DirichletMultinomial(), _dirichlet_multinomial, _dirichlet_multinomial_log_density,
        kernels="categorical",
    ),
    FamilyCase(
        "gamma", Gamma(),
        _mixed(lambda n, rng: rng.gamma(2, 1, size=(n, 2)), lambda n, rng: rng.gamma(9, [0.7, 1.2], size=(n, 2))),
        _cells(lambda fit, k, x: stats.gamma(fit.shapes_[k], scale=fit.scales_[k]).logpdf(x)),
    ),
    FamilyCase(
        "beta", Beta(),
        _mixed(lambda n, rng: rng.beta(2, 5, size=(n, 2)), lambda n, rng: rng.beta(6, [2, 0.8], size=(n, 2))),
        _cells(lambda fit, k, x: stats.beta(fit.alphas_[k], fit.betas_[k]).logpdf(x)),
    ),
    FamilyCase(
        "log_normal", LogNormal(reg_covar=0.0),
        _mixed(lambda n, rng: rng.lognormal(0, 1, size=(n, 2)), lambda n, rng: rng.lognormal(2, [0.5, 1], size=(n, 2))),
        _cells(lambda fit, k, x: stats.lognorm(fit.log_sds_[k], scale=np.exp(fit.log_means_[k])).logpdf(x)),
    ),
    FamilyCase(
        "weibull", Weibull(),
        _mixed(lambda n, rng: rng.weibull(1.5, size=(n, 2)), lambda n, rng: 4 * rng.weibull([3, 1], size=(n, 2))),
        _cells(lambda fit, k, x: stats.weibull_min(fit.shapes_[k], scale=fit.scales_[k]).logpdf(x)),
    ),
    FamilyCase("von_mises_fisher", VonMisesFisher(), _directions, _vmf),
    FamilyCase(
        "linear_regression", LinearRegression(reg_variance=0.0),
        _regression(lambda eta, rng: eta + 0.5 * rng.normal(size=len(eta))),
        _response(lambda fit, k, rows, y: stats.norm(_eta(fit, k, rows), np.sqrt(fit.variances_[k])).logpdf(y)),
    ),
    FamilyCase(
        "poisson_regression", PoissonRegression(), _regression(lambda eta, rng: rng.poisson(np.exp(eta))),
        _response(lambda fit, k, rows, y: stats.poisson(np.exp(_eta(fit, k, rows))).logpmf(y)),
    ),
    FamilyCase(
        "logistic_regression", LogisticRegression(),
        _regression(lambda eta, rng: rng.random(len(eta)) < 1 / (1 + np.exp(-3 * eta))),
        _response(lambda fit, k, rows, y: log_expit(np.where(y == 1, 1, -1) * _eta(fit, k, rows))),
    ),
    FamilyCase(
        "product", Product({2: LogNormal(), 0: Poisson(), (1, 3): Categorical()}), _draw_product, _product_log_density
    ),
]  # fmt: skip
