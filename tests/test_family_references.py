"""Fits of all families against tables of R packages and direct computation: see tests/reference/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastem import GaussianMixture, LatentClass, Mixture
from fastem.families import (
    DirichletMultinomial,
    Exponential,
    Gamma,
    Gaussian,
    LinearRegression,
    Multinomial,
    Poisson,
    PoissonRegression,
    StudentT,
)

FOLDER = Path(__file__).parent / "reference"
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
TIGHT = {"tol": 1e-14, "max_iter": 30_000}


def _table(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def _rows(table):
    return np.array(table["data"]["values"], dtype=np.float64)


def _fits(*names, model=None):
    return [
        pytest.param(table, fit, id=f"{table['case']}-{fit['model']}-{fit.get('G', 1)}")
        for table in map(_table, names)
        for fit in table["fits"]
        if model is None or fit["model"] == model
    ]


def _compare(mixture, fit, X, y=None, *, rtol, sample_weight=None, **params):
    assert mixture.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-8)
    assert mixture.n_parameters_ == fit["n_params"]
    assert mixture.bic(X, y, sample_weight=sample_weight) == pytest.approx(fit["bic"], rel=1e-8)
    assert mixture.aic(X, y, sample_weight=sample_weight) == pytest.approx(fit["aic"], rel=1e-8)
    if "weights" in fit:
        np.testing.assert_allclose(mixture.weights_, fit["weights"], rtol=rtol)
    for name, wanted in params.items():
        values = getattr(mixture, f"{name}_")
        expected = np.asarray(wanted).reshape(np.shape(values))
        np.testing.assert_allclose(values, expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=name)
    if "posterior_first5" in fit:
        first = np.asarray(fit["posterior_first5"])
        proba = mixture.predict_proba(X[: len(first)], None if y is None else y[: len(first)])
        np.testing.assert_allclose(proba, first, rtol=10 * rtol, atol=10 * rtol)


def _two_dimensional(start):
    return {name: np.reshape(values, (len(values), -1)) for name, values in start.items() if name != "weights"}


@pytest.mark.parametrize(("table", "fit"), _fits("poisson_mixture_earthquakes", "poisson_mixture_times_deaths"))
def test_poisson(table, fit):
    rows = _rows(table)
    X, weights = (rows[:, :1], rows[:, 1]) if "frequency" in table["data"]["columns"] else (rows, None)
    start = fit["start"]
    mixture = Mixture(
        Poisson(),
        fit["G"],
        weights_init=start["weights"],
        params_init=_two_dimensional(start),
        tol=1e-15,
        max_iter=30_000,
    ).fit(X, sample_weight=weights)
    _compare(mixture, fit, X, rtol=1e-4, sample_weight=weights, rates=fit["rates"])


@pytest.mark.parametrize(("table", "fit"), _fits("exponential_mixture_simulated"))
def test_exponential(table, fit):
    start = fit["start"]
    X = _rows(table)
    mixture = Mixture(
        Exponential(), 2, weights_init=start["weights"], params_init=_two_dimensional(start), **TIGHT
    ).fit(X)
    _compare(mixture, fit, X, rtol=1e-6, rates=fit["rates"])


@pytest.mark.parametrize(("table", "fit"), _fits("gamma_mixture_simulated", model="gamma_mixture_exact_m_step"))
def test_gamma(table, fit):
    start = table["start"]
    X = _rows(table)
    mixture = Mixture(Gamma(), 2, weights_init=start["weights"], params_init=_two_dimensional(start), **TIGHT).fit(X)
    _compare(mixture, fit, X, rtol=1e-5, shapes=fit["shapes"], scales=fit["scales"])


@pytest.mark.parametrize(("table", "fit"), _fits("multinomial_mixture_simulated"))
def test_multinomial(table, fit):
    start = fit["start"]
    X = _rows(table)
    probabilities = np.array(start["probs"])
    params = {"probabilities": probabilities / probabilities.sum(axis=1, keepdims=True)}
    weights = np.array(start["weights"])
    mixture = Mixture(
        Multinomial(), fit["G"], weights_init=weights / weights.sum(), params_init=params, **TIGHT
    ).fit(X)  # fmt: skip
    _compare(mixture, fit, X, rtol=1e-4, probabilities=fit["probs"])


@pytest.mark.parametrize(("table", "fit"), _fits("lca_carcinoma", "lca_values"))
def test_latent_class(table, fit):
    """poLCA's fits, coded from 1 there."""
    X = _rows(table) - 1
    start = fit.get("start")
    settings = {}
    if start is not None:
        weights = np.array(start["weights"])
        probs = [np.array(item) for item in start["probs"]]
        probs = [p / p.sum(axis=1, keepdims=True) for p in probs]
        settings = {"weights_init": weights / weights.sum(), "params_init": {"probabilities": probs}}
    mixture = LatentClass(fit["G"], **settings, **TIGHT).fit(X)
    assert mixture.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-8)
    assert mixture.n_parameters_ == fit["n_params"]
    np.testing.assert_allclose(mixture.weights_, fit["weights"], rtol=1e-3)
    for mine, theirs in zip(mixture.probabilities_, fit["probs"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


@pytest.mark.parametrize(("table", "fit"), _fits("dirichlet_multinomial_pollen"))
def test_dirichlet_multinomial(table, fit):
    X = _rows(table)
    mixture = Mixture(DirichletMultinomial(), **TIGHT).fit(X)
    _compare(mixture, fit, X, rtol=1e-6, concentrations=fit["alpha"])
    assert mixture.n_iter_ <= 10  # of the digamma fixed point: 2474


@pytest.mark.parametrize(
    ("table", "fit"), _fits("t_mixture_simulated", "t_mixture_diabetes", "t_single_stackloss")
)  # fmt: skip
def test_student_t(table, fit):
    """From labels; the scales are not regularised."""
    X = _rows(table)
    labels = np.zeros(len(X), int) if fit["G"] == 1 else np.array(table["start_labels"][str(fit["G"])]) - 1
    dofs = float(fit["start_dof"]) if "fixed" in fit["model"] else None
    family = StudentT(dofs=dofs, shared_dofs="common" in fit["model"], reg_covar=0.0)
    mixture = Mixture(family, fit["G"], init_params=labels, tol=1e-15, max_iter=50_000).fit(X)
    dofs = np.broadcast_to(fit["dofs"] if "dofs" in fit else float(fit["start_dof"]), fit["G"])
    assert mixture.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-8)
    assert mixture.n_parameters_ == fit["n_params"]
    np.testing.assert_allclose(mixture.weights_, fit["weights"], rtol=1e-4)
    np.testing.assert_allclose(mixture.dofs_, dofs, rtol=1e-3)
    np.testing.assert_allclose(mixture.means_, fit["means"], rtol=1e-4, atol=1e-4)
    scales = np.asarray(fit["scales"])
    np.testing.assert_allclose(mixture.scales_, scales, rtol=1e-3, atol=1e-4 * np.abs(scales).max())


@pytest.mark.parametrize(("table", "fit"), _fits("regmix_NOdata", "regmix_CO2data"))
def test_linear_regression(table, fit):
    rows, columns = _rows(table), table["data"]["columns"]
    X = rows[:, [columns.index(name) for name in table["predictors"]]]
    y = rows[:, columns.index(table["response"])]
    start = fit["start"]
    coef = np.array(start["coef"])
    params = {"intercepts": coef[:, 0], "coefs": coef[:, 1:], "variances": np.square(start["sds"])}
    mixture = Mixture(
        LinearRegression(reg_variance=0.0), fit["G"], weights_init=start["weights"], params_init=params, **TIGHT
    ).fit(X, y)  # fmt: skip
    coef = np.array(fit["coef"])
    _compare(
        mixture, fit, X, y, rtol=1e-5,
        intercepts=coef[:, 0], coefs=coef[:, 1:], variances=np.square(fit["sds"]),
    )  # fmt: skip


@pytest.mark.parametrize(("table", "fit"), _fits("poisson_regmix_NPreg"))
def test_poisson_regression(table, fit):
    rows, columns = _rows(table), table["data"]["columns"]
    X = rows[:, [columns.index(name) for name in table["predictors"]]]
    y = rows[:, columns.index(table["response"])]
    labels = np.array(table["start_labels"]) - 1
    mixture = Mixture(PoissonRegression(), fit["G"], init_params=labels, **TIGHT).fit(X, y)
    coef = np.array(fit["coef"])
    _compare(mixture, fit, X, y, rtol=1e-5, intercepts=coef[:, 0], coefs=coef[:, 1:])


# --- missing cells and labels ---------------------------------------------------------------------


@pytest.mark.parametrize(("table", "fit"), _fits("gmm_missing_iris"))
def test_gaussians_with_missing_cells(table, fit):
    X = _rows(table)
    assert np.isnan(X).sum() == 60
    start = fit["start"]
    mixture = Mixture(
        Gaussian(reg_covar=0.0), fit["G"], weights_init=start["weights"],
        params_init={"means": start["means"], "covariances": start["covariances"]}, **TIGHT,
    ).fit(X)  # fmt: skip
    _compare(mixture, fit, X, rtol=1e-4, means=fit["means"], covariances=fit["covariances"])


@pytest.mark.parametrize(("table", "fit"), _fits("mvn_apple", "mvn_missvals"))
def test_a_normal_distribution_with_missing_cells(table, fit):
    X = _rows(table)
    model = GaussianMixture(1, reg_covar=0.0, tol=1e-15, max_iter=100_000).fit(X)
    assert model.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-8)
    np.testing.assert_allclose(model.means_[0], fit["mean"], rtol=1e-6)
    covariance = np.asarray(fit["covariance"])
    np.testing.assert_allclose(model.covariances_[0], covariance, rtol=1e-6, atol=1e-6 * np.abs(covariance).max())


@pytest.mark.parametrize("correlation", [0.1, -0.1, 0.0])
def test_murray(correlation):
    """Two maxima, and a saddle at which EM stays when it starts there exactly."""
    table = _table("mvn_murray")
    X = _rows(table)
    covariance = 2.5 * np.array([[1, correlation], [correlation, 1]])
    model = Mixture(
        Gaussian(reg_covar=0.0), weights_init=[1.0], params_init={"means": [[0, 0]], "covariances": [covariance]},
        tol=1e-14, max_iter=10_000,
    ).fit(X)  # fmt: skip
    names = {0.1: "maximum_positive", -0.1: "maximum_negative", 0.0: "saddle"}
    (fit,) = [fit for fit in table["fits"] if fit["model"] == names[correlation]]
    assert model.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-8)
    np.testing.assert_allclose(model.means_[0], fit["mean"], atol=1e-5)
    np.testing.assert_allclose(model.covariances_[0], fit["covariance"], atol=1e-5)


@pytest.mark.parametrize(("table", "fit"), _fits("gmm_partial_labels_iris"))
def test_partial_labels(table, fit):
    X = _rows(table)
    start = fit["start"]
    labels = np.array(table["labels"])
    precisions = np.linalg.inv(np.array(start["covariances"]))
    mixture = GaussianMixture(
        3, weights_init=start["weights"], means_init=start["means"], precisions_init=precisions, reg_covar=0.0,
        tol=1e-14, max_iter=10_000,
    ).fit(X, labels=labels)  # fmt: skip
    assert mixture.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-8)
    np.testing.assert_allclose(mixture.weights_, fit["weights"], rtol=1e-5)
    np.testing.assert_allclose(mixture.means_, fit["means"], rtol=1e-5)
    np.testing.assert_allclose(mixture.covariances_, fit["covariances"], rtol=1e-4, atol=1e-5)
