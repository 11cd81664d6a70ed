"""Fits against tables of mclust and mixtools: see tests/reference/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastem import GaussianMixture

FOLDER = Path(__file__).parent / "reference"
STRUCTURES = {
    "VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical", "V": "full", "E": "tied",
}  # fmt: skip


def _cases():
    for name in ("gmm_faithful", "gmm_iris", "gmm_diabetes", "gmm_galaxies", "gmm_weighted_faithful"):
        table = json.loads((FOLDER / f"{name}.json").read_text())
        for fit in table["fits"]:
            if fit["model"] in STRUCTURES:
                yield pytest.param(table, fit, id=f"{name}-{fit['model']}-{fit['G']}")


def _simulated():
    table = json.loads((FOLDER / "gmm_simulated_1d.json").read_text())
    for fit in table["fits"]:
        yield pytest.param(table["datasets"][fit["dataset"]], fit, id=f"{fit['dataset']}-{fit['model']}")


def _compare(mixture, fit, X, sample_weight=None):
    assert mixture.log_likelihood_ == pytest.approx(fit["loglik"], rel=1e-8)
    assert mixture.n_parameters_ == fit["n_params"]
    assert mixture.bic(X, sample_weight=sample_weight) == pytest.approx(fit["bic"], rel=1e-8)
    assert mixture.aic(X, sample_weight=sample_weight) == pytest.approx(fit["aic"], rel=1e-8)
    tolerance = 1e-2 if fit["iterations"] > 500 else 1e-4
    k, d = mixture.means_.shape
    np.testing.assert_allclose(mixture.weights_, fit["weights"], rtol=tolerance)
    np.testing.assert_allclose(mixture.means_, np.reshape(fit["means"], (k, d)), rtol=tolerance)
    expected = np.reshape(fit["covariances"], (k, d, d))
    covariances = mixture.covariances_
    if mixture.covariance_type == "tied":
        covariances = np.broadcast_to(covariances, (k, d, d))
    elif mixture.covariance_type != "full":
        covariances = np.reshape(covariances, (k, -1))[:, :, None] * np.eye(d)
    np.testing.assert_allclose(covariances, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    first = np.asarray(fit["posterior_first5"])
    np.testing.assert_allclose(mixture.predict_proba(X[: len(first)]), first, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("table", "fit"), list(_cases()))
def test_from_labels(table, fit):
    """The first step is an M-step from 0/1 responsibilities."""
    X = np.array(table["data"]["values"], dtype=np.float64)
    labels = np.array(table["start_labels"][str(fit["G"])]) - 1
    weights = table.get("sample_weight")
    mixture = GaussianMixture(
        fit["G"], covariance_type=STRUCTURES[fit["model"]], init_params=labels, reg_covar=0, tol=1e-13, max_iter=20_000
    ).fit(X, sample_weight=weights)
    _compare(mixture, fit, X, weights)


@pytest.mark.parametrize(("values", "fit"), list(_simulated()))
def test_from_parameters(values, fit):
    """The first step is an E-step from given parameters."""
    X = np.array(values)[:, None]
    start = fit["start"]
    precisions = 1 / np.square(start["sds"])
    mixture = GaussianMixture(
        2, covariance_type=STRUCTURES[fit["model"]], reg_covar=0, tol=1e-13, max_iter=20_000,
        weights_init=start["weights"], means_init=np.array(start["means"])[:, None],
        precisions_init=precisions[:, None, None] if fit["model"] == "V" else precisions[:1, None],
    ).fit(X)  # fmt: skip
    _compare(mixture, fit, X)
