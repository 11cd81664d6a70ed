"""Stepwise EM and growing samples."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.base import clone

import fastem
from fastem import GaussianMixture, Mixture
from fastem.engine.contract import Shape
from fastem.engine.data import Data, accumulate
from fastem.engine.statistics import add, blend, scale
from fastem.estimators.gaussian_mixture import FAMILIES
from fastem.families.gaussian.family import GaussianParams
from fastem.latent.mixture.contract import MixtureParams
from fastem.latent.mixture.model import MixtureModel
from fastem.latent.mixture.stepwise import Stepwise
from fastem.sources import ArraySource
from tests.family_cases import FAMILIES as FAMILY_CASES

RNG = np.random.default_rng(0)
TYPES = ["full", "tied", "diag", "spherical"]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _rows(n, k=3, d=4, apart=3.0, seed=0):
    rng = np.random.default_rng(seed)
    means = apart * np.random.default_rng(7).normal(size=(k, d))
    return means[rng.integers(k, size=n)] + rng.normal(size=(n, d))


def _start(covariance_type, k=3, d=4):
    unit = {"full": np.tile(np.eye(d), (k, 1, 1)), "tied": np.eye(d), "diag": np.ones((k, d)), "spherical": np.ones(k)}
    means = np.random.default_rng(7).normal(size=(k, d)) * 2
    return {
        "n_components": k, "covariance_type": covariance_type, "weights_init": np.full(k, 1 / k),
        "means_init": means, "precisions_init": unit[covariance_type],
    }  # fmt: skip


def _parameters(covariance_type, family):
    start = _start(covariance_type)
    return MixtureParams(
        start["weights_init"], GaussianParams(start["means_init"], *family.invert(start["precisions_init"]))
    )


def _raw_moments(X, weights, means, covariances):
    """Means over the rows of responsibilities, r x and r x x', without centring."""
    d = X.shape[1]
    log_prob = np.stack(
        [
            np.log(w)
            - 0.5 * (d * np.log(2 * np.pi) + np.linalg.slogdet(c)[1])
            - 0.5 * np.einsum("ni,ij,nj->n", X - m, np.linalg.inv(c), X - m)
            for w, m, c in zip(weights, means, covariances, strict=True)
        ],
        axis=1,
    )
    resp = np.exp(log_prob - logsumexp(log_prob, axis=1, keepdims=True))
    return resp.mean(axis=0), resp.T @ X / len(X), np.einsum("nk,ni,nj->kij", resp, X, X) / len(X)


def _from_raw(moments, covariance_type, reg=1e-6):
    counts, first, second = moments
    means = first / counts[:, None]
    covariances = second / counts[:, None, None] - means[:, :, None] * means[:, None, :]
    d = means.shape[1]
    if covariance_type == "tied":
        covariances[:] = np.einsum("k,kij->ij", counts / counts.sum(), covariances)
    elif covariance_type == "diag":
        covariances = covariances * np.eye(d)
    elif covariance_type == "spherical":
        covariances = np.trace(covariances, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
    return counts / counts.sum(), means, covariances + reg * np.eye(d)


def _dense(fit):
    d, k = fit.means_.shape[1], len(fit.weights_)
    return {
        "full": lambda c: c,
        "tied": lambda c: np.tile(c, (k, 1, 1)),
        "diag": lambda c: c[:, :, None] * np.eye(d),
        "spherical": lambda c: c[:, None, None] * np.eye(d),
    }[fit.covariance_type](fit.covariances_)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_partial_fit_is_stepwise_em(covariance_type):
    """Against blended raw moments, which are easy to get right."""
    start = _start(covariance_type)
    fit = GaussianMixture(**start, learning_decay=0.7, learning_offset=3.0)
    weights, means = start["weights_init"], start["means_init"]
    covariances = np.tile(np.eye(4), (3, 1, 1))
    blended = None
    for t in range(6):
        X = _rows(500, seed=t)
        fit.partial_fit(X)
        new = _raw_moments(X, weights, means, covariances)
        gain = 1.0 if t == 0 else (t + 3.0) ** -0.7
        blended = new if t == 0 else [(1 - gain) * a + gain * b for a, b in zip(blended, new, strict=True)]
        weights, means, covariances = _from_raw(blended, covariance_type)
        np.testing.assert_allclose(fit.weights_, weights, rtol=1e-9)
        np.testing.assert_allclose(fit.means_, means, rtol=1e-9)
        np.testing.assert_allclose(_dense(fit), covariances, rtol=1e-8, atol=1e-10)
    assert fit.n_iter_ == 6 and not fit.converged_
    assert len(fit.lower_bounds_) == len(fit.history_["change"]) == 6


@pytest.mark.parametrize("case", [case for case in FAMILY_CASES if case.log_density.estimate is not None], ids=str)
def test_partial_fit_of_families_is_stepwise_em(case):
    """An M-step from blended statistics is an estimate from all rows so far, whose weights fade."""
    levels = {"levels": [2, 4, 4, 4]} if case.name == "categorical" else {}
    batches = np.split(case.draw(2500, np.random.default_rng(0)), 5)
    first = Mixture(case.family, 2, random_state=0, max_iter=2, **case.settings).fit(batches[0])
    start = {name: getattr(first, f"{name}_") for name in first.family_.attribute_names()}
    fit = Mixture(
        clone(case.family).set_params(**levels), 2, weights_init=first.weights_, params_init=start,
        learning_decay=0.7, learning_offset=3.0, **case.settings,
    )  # fmt: skip
    now = {"weights_": first.weights_, "family_": first.family_} | {f"{name}_": start[name] for name in start}
    seen, resp = np.empty((0, batches[0].shape[1])), np.empty((0, 2))
    for t, rows in enumerate(batches):
        fit.partial_fit(rows)
        before = SimpleNamespace(**now)
        joint = np.stack([np.log(before.weights_[k]) + case.log_density(before, k, rows) for k in range(2)], axis=1)
        gain = 1.0 if t == 0 else (t + 3.0) ** -0.7
        new = np.exp(joint - logsumexp(joint, axis=1, keepdims=True)) / len(rows)
        seen, resp = np.append(seen, rows, axis=0), np.append((1 - gain) * resp, gain * new, axis=0)
        now["weights_"] = resp.sum(axis=0)
        np.testing.assert_allclose(fit.weights_, now["weights_"], rtol=1e-9)
        components = [case.log_density.estimate(seen, column) for column in resp.T]
        for name in components[0]:
            now[f"{name}_"] = _stacked([component[name] for component in components])
            for found, wanted in zip(getattr(fit, f"{name}_"), now[f"{name}_"], strict=True):
                tolerance = 1e-8 * np.abs(wanted).max()
                np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=tolerance, err_msg=f"{name} after {t}")


def _stacked(values):
    """Parameters of each component with a leading axis of components; of categorical columns, a list of them."""
    if isinstance(values[0], list):
        return [np.stack(column) for column in zip(*values, strict=True)]
    return np.array(values)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_moved_statistics_are_those_about_the_new_means(covariance_type):
    X = _rows(2000)
    family = FAMILIES[covariance_type](1e-6)
    here = _parameters(covariance_type, family)
    there = here.components._replace(means=here.components.means + RNG.normal(size=(3, 4)))
    model, data, shape = MixtureModel(family, 3), Data(ArraySource(X)), Shape(4, X.dtype, 1)
    stats = accumulate(model, here, data, shape)
    truth = accumulate(model, here, data, shape, about=here._replace(components=there)).family
    moved = family.move(stats.family, stats.counts, here.components, there)
    for a, b in zip(moved, truth, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_expected_statistics_are_those_of_endless_data(covariance_type):
    """Parameters are recovered from the statistics that they are expected to give."""
    family = FAMILIES[covariance_type](0.0)
    fit = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(_rows(3000))
    params = fit._fitted()
    expected = family.expected(params.components, params.weights)
    again = family.maximize(expected, params.weights, params.components, np.zeros(3, bool), frozenset()).params
    for a, b in zip(again, params.components, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_statistics_add_scale_and_blend():
    model, shape = MixtureModel(FAMILIES["full"](1e-6), 3), Shape(4, np.dtype(float), 1)
    start = _start("full")
    params = MixtureParams(
        start["weights_init"], GaussianParams(start["means_init"], *model.family.invert(start["precisions_init"]))
    )
    X = _rows(1000)
    a, b, both = (accumulate(model, params, Data(ArraySource(rows)), shape) for rows in (X[:300], X[300:], X))
    for got, wanted in (
        (add(a, b), both),
        (blend(a, b, 1.0), b),
        (add(blend(a, b, 0.25), blend(b, a, 0.25)), both),
        (scale(both, 2.0), add(both, both)),
    ):
        for x, y in zip((*got[:3], *got.family), (*wanted[:3], *wanted.family), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-9)


def test_stepwise_does_not_depend_on_blocks(monkeypatch, tmp_path):
    X = _rows(50_001)
    np.save(tmp_path / "X.npy", X)
    start = _start("full")
    model, shape = MixtureModel(FAMILIES["full"](1e-6), 3), Shape(4, X.dtype, 2)
    params = MixtureParams(
        start["weights_init"], GaussianParams(start["means_init"], *model.family.invert(start["precisions_init"]))
    )
    stepwise = Stepwise(model, shape, 0.6, 2.0)
    whole = stepwise.walk(stepwise.begin(params, step=0, weight=0.0), Data(ArraySource(X)), 3000)
    for buffer in (2**14, 2**17, 2**20):
        monkeypatch.setattr("fastem.sources._source.BUFFER_BYTES", buffer)
        cut = stepwise.walk(stepwise.begin(params, step=0, weight=0.0), Data(fastem.open(tmp_path / "X.npy")), 3000)
        np.testing.assert_array_equal(whole.params.components.means, cut.params.components.means)
    assert whole.step[0] == 17


def test_partial_fit_learns_and_follows():
    fit = GaussianMixture(3, random_state=0)
    for t in range(30):
        fit.partial_fit(_rows(2000, seed=t))
    X = _rows(5000, seed=99)
    assert fit.score(X) > GaussianMixture(3, random_state=0).fit(X).score(X) - 0.02
    before = fit.means_.copy()
    for t in range(400):
        fit.partial_fit(_rows(2000, seed=t) + 0.02 * t)
    # the steps are small by now, so the means lag behind by some of them
    np.testing.assert_allclose(fit.means_ - before, 8, atol=1)


def test_partial_fit_with_drift_keeps_its_digits():
    """Means travel a million standard deviations; covariances stay those of the rows."""
    fit = GaussianMixture(1, learning_decay=1.0, learning_offset=0.0, reg_covar=0)
    rows = RNG.normal(size=(5000, 2))
    for t in range(40):
        if t:
            fit.online_["state.step"] = np.array([1])  # each step takes the new rows alone
        fit.partial_fit(rows + 1e6 * t)
    np.testing.assert_allclose(fit.covariances_[0], np.cov(rows.T, bias=True), rtol=1e-6, atol=1e-6)


def test_partial_fit_goes_on_after_fit_and_after_loading(tmp_path):
    X = _rows(4000)
    fit = GaussianMixture(3, random_state=0).fit(X)
    before = fit.score(X)
    fit.partial_fit(_rows(4000, seed=1))
    assert fit.score(X) > before - 0.01
    fit.save(tmp_path / "m.fastem")
    loaded = fastem.load(tmp_path / "m.fastem")
    for model in (fit, loaded):
        model.partial_fit(_rows(4000, seed=2))
    np.testing.assert_array_equal(fit.means_, loaded.means_)
    assert fit.n_iter_ == loaded.n_iter_ == 2
    fit.fit(X)
    assert not hasattr(fit, "online_")


def test_partial_fit_takes_weights_and_sources(tmp_path):
    X = _rows(3000)
    weights = RNG.integers(0, 3, len(X))
    np.save(tmp_path / "X.npy", X)
    start = _start("full")
    a = GaussianMixture(**start).partial_fit(X, sample_weight=weights)
    b = GaussianMixture(**start).partial_fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-10)
    c = GaussianMixture(**start).partial_fit(tmp_path / "X.npy")
    d = GaussianMixture(**start).partial_fit(X)
    np.testing.assert_array_equal(c.means_, d.means_)


def test_a_failed_partial_fit_changes_nothing():
    fit = GaussianMixture(2, random_state=0)
    with pytest.raises(ValueError, match=r"infinity, first in row 1, column 0"):
        fit.partial_fit([[1.0], [np.inf], [2.0]])
    assert not hasattr(fit, "n_features_in_") and not hasattr(fit, "weights_")
    fit.partial_fit(_rows(100))
    before = dict(vars(fit))
    for bad, message in ((np.zeros((3, 2)), "X has 2 features"), (np.full((3, 4), np.inf), "infinity")):
        with pytest.raises(ValueError, match=message):
            fit.partial_fit(bad)
    assert vars(fit).keys() == before.keys()
    assert all(vars(fit)[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    ("params", "message"),
    [({"learning_decay": 0.5}, "learning_decay"), ({"learning_decay": 1.1}, "learning_decay"),
     ({"learning_offset": -1}, "learning_offset")],
)  # fmt: skip
def test_bad_learning_rates(params, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**params).partial_fit(_rows(10))


def test_unknown_method():
    with pytest.raises(ValueError, match="method must be one of em, growing, stepwise"):
        GaussianMixture().fit(_rows(10), method="online")


def test_growing_samples_save_passes():
    """Overlapping components, where EM is slow."""
    X = _rows(400_000, k=5, d=4, apart=0.9)
    plain = GaussianMixture(5, random_state=0, tol=1e-6, max_iter=500).fit(X)
    grown = GaussianMixture(5, random_state=0, tol=1e-6, max_iter=500).fit(X, method="growing")
    assert grown.n_iter_ < 0.75 * plain.n_iter_
    assert grown.lower_bound_ > plain.lower_bound_ - 1e-5


@pytest.mark.parametrize(("apart", "d"), [(4, 3), (6, 10), (3, 50)])
def test_stepwise_survives_sorted_rows(apart, d):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-apart, 1, (60_000, d)), rng.normal(apart, 1, (60_000, d))])
    plain = GaussianMixture(2, random_state=0).fit(X)
    warmed = GaussianMixture(2, random_state=0).fit(X, method="stepwise")
    np.testing.assert_allclose(np.sort(warmed.weights_), [0.5, 0.5], atol=1e-6)
    assert warmed.score(X) == pytest.approx(plain.score(X), rel=1e-6)


def test_partial_fit_after_other_settings_is_refused():
    for first in (lambda m: m.partial_fit(_rows(500)), lambda m: m.fit(_rows(500))):
        for change in ({"n_components": 1}, {"n_components": 5}, {"covariance_type": "diag"}):
            fit = first(GaussianMixture(2, random_state=0)).set_params(**change)
            with pytest.raises(ValueError, match=r"goes on with the components|shapes of covariance_type"):
                fit.partial_fit(_rows(500))


def test_partial_fit_after_fit_goes_on_with_its_objective():
    X = _rows(5000)
    fit = GaussianMixture(3, random_state=0).fit(X)
    before = fit.lower_bound_
    assert fit.partial_fit(X).lower_bound_ == pytest.approx(before, abs=0.01)
    assert fit.log_likelihood_ == pytest.approx(5000 * before, rel=0.01)


def test_growing_where_the_weight_lies_elsewhere():
    X = _rows(210_000)
    weights = np.zeros(len(X))
    weights[1::3] = 1
    weights[: len(X) // 2] = 0
    plain = GaussianMixture(3, random_state=0, tol=1e-8, max_iter=500).fit(X, sample_weight=weights)
    grown = GaussianMixture(3, random_state=0, tol=1e-8, max_iter=500).fit(X, sample_weight=weights, method="growing")
    assert grown.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-6)
    alone = np.zeros(len(X))
    alone[5:9] = 1
    GaussianMixture(1, random_state=0).fit(X, sample_weight=alone, method="growing")


def test_steps_of_many_columns_stay_small():
    from fastem.latent.mixture.stepwise import LARGEST_STEP, step_rows

    for k, d in ((1, 1), (10, 1000), (100, 1000), (1000, 500)):
        assert step_rows(k, d, 8) * d * 8 <= LARGEST_STEP
