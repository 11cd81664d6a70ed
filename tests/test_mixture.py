"""Labels, noise, priors, held and given parameters, products, conditional mixtures, fixed densities."""

from functools import partial

import dask.array
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.neighbors import KernelDensity

import fastem
from fastem import (
    BernoulliMixture,
    FixedMixture,
    GaussianMixture,
    LatentClass,
    Mixture,
    PoissonMixture,
    StudentTMixture,
)
from fastem.engine.partial_labels import PartialLabels
from fastem.estimators._densities import FrozenDistribution
from fastem.families import (
    Bernoulli,
    Categorical,
    DirichletMultinomial,
    Exponential,
    Gaussian,
    GaussianPrior,
    LinearRegression,
    LogNormal,
    NegativeBinomial,
    Poisson,
    Product,
    StudentT,
    VonMisesFisher,
    Weibull,
)
from fastem.families.family import Family
from tests.truths import incomplete_step

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _blobs(n=600, seed=0, k=3, apart=4.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    centres = apart * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])[:k]
    return centres[labels] + rng.normal(size=(n, 2)), labels


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [Gaussian(), Gaussian("diag"), Exponential()], ids=repr)
def test_all_labels_are_the_closed_form(family):
    X, labels = _blobs()
    X = np.abs(X)
    fit = Mixture(family, 3, random_state=0).fit(X, labels=labels)
    np.testing.assert_allclose(fit.weights_, np.bincount(labels) / len(labels), rtol=1e-12)
    means = np.array([X[labels == k].mean(axis=0) for k in range(3)])
    if isinstance(family, Exponential):
        np.testing.assert_allclose(fit.rates_, 1 / means, rtol=1e-12)
    else:
        np.testing.assert_allclose(fit.means_, means, rtol=1e-10)
    assert fit.n_iter_ <= 2 and fit.converged_


def test_no_label_is_the_plain_mixture():
    X, _ = _blobs()
    start = {"weights_init": [0.2, 0.3, 0.5], "means_init": X[:3], "precisions_init": [np.eye(2)] * 3}
    plain = GaussianMixture(3, **start).fit(X)
    unknown = GaussianMixture(3, **start).fit(X, labels=np.full(len(X), -1))
    np.testing.assert_array_equal(plain.means_, unknown.means_)
    assert plain.log_likelihood_ == unknown.log_likelihood_


def test_few_labels_name_the_components():
    X, labels = _blobs(3000)
    for seed in range(3):
        known = np.full(len(X), -1)
        shown = np.random.default_rng(seed).choice(len(X), 30, replace=False)
        known[shown] = labels[shown]
        fit = GaussianMixture(3, random_state=seed).fit(X, labels=known)
        assert (fit.predict(X) == labels).mean() > 0.95


@pytest.mark.parametrize(
    "make",
    [
        lambda known: np.where(known < 0, np.nan, known),
        lambda known: np.ma.masked_equal(known, -1),
        lambda known: pd.Series(known).astype("Int64").mask(known < 0),
        lambda known: pd.Series(np.where(known < 0, np.nan, known)),
        lambda known: [None if label < 0 else int(label) for label in known],
        lambda known: [pd.NA if label < 0 else int(label) for label in known],
    ],
)
def test_labels_may_be_missing_in_any_way(make):
    known = np.array([0, -1, 1, 2, -1])
    allowed = PartialLabels.of_labels(make(known), 5, np.arange(3))
    np.testing.assert_array_equal(allowed.masks(), PartialLabels.of_labels(known, 5, np.arange(3)).masks())


def test_large_data_with_few_labels_start_from_them():
    X, labels = _blobs(60_000)
    known = np.full(len(X), -1)
    known[-20:] = labels[-20:]
    fit = GaussianMixture(3, random_state=0).fit(X, labels=known)
    assert (fit.predict(X) == labels).mean() > 0.95


def test_masks_are_sets_of_labels():
    """The likelihood of a row counts the components that are allowed, and no others."""
    X, labels = _blobs()
    masks = np.ones((len(X), 3), bool)
    masks[labels == 2, 0] = False
    masks[:100] = np.eye(3, dtype=bool)[labels[:100]]
    fit = GaussianMixture(3, random_state=0, tol=1e-8).fit(X, labels=masks)
    joint = np.stack([
        np.log(w) + stats.multivariate_normal(m, c).logpdf(X)
        for w, m, c in zip(fit.weights_, fit.means_, fit.covariances_, strict=True)
    ], axis=1)  # fmt: skip
    truth = np.log(np.where(masks, np.exp(joint), 0).sum(axis=1)).sum()
    assert fit.log_likelihood_ == pytest.approx(truth, rel=1e-10)
    codes = np.where(np.arange(len(X)) < 100, labels, -1)
    only_codes = masks.copy()
    only_codes[100:] = True
    a = GaussianMixture(3, random_state=0).fit(X, labels=codes)
    b = GaussianMixture(3, random_state=0).fit(X, labels=only_codes)
    np.testing.assert_array_equal(a.means_, b.means_)


def test_unlabelled_rows_of_no_weight_are_not_there():
    X, labels = _blobs()
    known = np.where(np.arange(len(X)) < 200, labels, -1)
    fit = GaussianMixture(3, random_state=0).fit(X, labels=known, unlabelled_weight=0)
    alone = GaussianMixture(3, random_state=0).fit(X[:200], labels=labels[:200])
    np.testing.assert_allclose(fit.means_, alone.means_, rtol=1e-9)
    assert fit.log_likelihood_ == pytest.approx(alone.log_likelihood_, rel=1e-10)


def test_several_components_to_a_class():
    X, labels = _blobs(2000, k=4)
    classes = np.array([0, 0, 1, 1])
    known = np.where(np.arange(len(X)) % 2 == 0, classes[labels], -1)
    fit = Mixture(Gaussian(), 4, component_classes=classes, random_state=0).fit(X, labels=known)
    assert (fit.predict_class(X) == classes[labels]).mean() > 0.95
    assert len(np.unique(fit.predict(X))) == 4


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(5, int), r"shape \(600,\)"),
        (np.full(600, 0.5), r"integers.* has 0.5 in row 0"),
        (["1", None] * 300, "integers"),
        ([True, None] * 300, "integers"),
        (np.full(600, 7), "labels has 7 in row 0"),
        (np.zeros((600, 3), bool), "no component at all in row 0"),
    ],
)
def test_refused_labels(labels, message):
    X, _ = _blobs()
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3).fit(X, labels=labels)


def test_labels_with_dask_and_checkpoints(tmp_path):
    import dask.array as da

    X, labels = _blobs(2000)
    known = np.where(np.arange(len(X)) % 5 == 0, labels, -1)
    plain = GaussianMixture(3, random_state=0).fit(X, labels=known)
    spread = GaussianMixture(3, random_state=0).fit(da.from_array(X, chunks=(600, 2)), labels=known)
    np.testing.assert_allclose(spread.means_, plain.means_, rtol=1e-9)
    path = tmp_path / "run.ckpt"
    GaussianMixture(3, random_state=0, max_iter=1).fit(X, labels=known, checkpoint=path)
    with pytest.raises(fastem.CheckpointError, match="labels"):
        GaussianMixture(3, random_state=0, max_iter=1).fit(X, labels=labels, checkpoint=path)


# --- noise, held and given parameters -------------------------------------------------------------


def test_noise_takes_what_belongs_nowhere():
    X, _ = _blobs(1000, k=2, apart=12.0)
    rng = np.random.default_rng(1)
    X = np.vstack([X, rng.uniform(-10, 25, size=(300, 2))])
    fit = Mixture(Gaussian(), 2, noise=True, random_state=0).fit(X)
    assert fit.weights_.shape == (3,) and fit.weights_[-1] == pytest.approx(0.22, abs=0.05)
    predicted = fit.predict(X)
    assert set(np.unique(predicted)) == {-1, 0, 1}
    assert (predicted[1000:] == -1).mean() > 0.8 and (predicted[:1000] == -1).mean() < 0.1
    box = np.prod(np.ptp(X, axis=0))
    density = sum(
        w * stats.multivariate_normal(m, c).pdf(X)
        for w, m, c in zip(fit.weights_, fit.means_, fit.covariances_, strict=False)
    )
    np.testing.assert_allclose(fit.score_samples(X), np.log(density + fit.weights_[-1] / box), rtol=1e-9)
    drawn, of = fit.sample(2000)
    assert drawn[of == -1].min() >= X.min() and drawn.shape == (2000, 2)
    given = Mixture(Gaussian(), 2, noise=1 / box, random_state=0).fit(X)
    np.testing.assert_allclose(given.means_, fit.means_, rtol=1e-6)


def test_draws_of_noise_have_the_label_of_noise():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(900, 2)), rng.uniform(-50, 50, (300, 2))])
    fit = Mixture(Gaussian("diag"), 1, noise=True, random_state=0).fit(X)
    rows, labels = fit.sample(2000)
    assert set(labels) == set(fit.predict(X)) == {0, -1}
    # draws of noise fill the box, of which the Gaussian takes next to nothing
    far = np.abs(rows).max(axis=1) > 10
    assert set(labels[far]) == {-1}
    assert np.mean(labels == -1) == pytest.approx(fit.weights_[-1], abs=0.05)


def test_noise_with_missing_cells_and_files(tmp_path):
    X, _ = _blobs(1000, k=2)
    X[::7, 0] = np.nan
    fit = Mixture(Gaussian("diag"), 2, noise=True, random_state=0, max_iter=20).fit(X)
    fit.save(tmp_path / "m.fastem")
    loaded = fastem.load(tmp_path / "m.fastem")
    np.testing.assert_array_equal(loaded.score_samples(X), fit.score_samples(X))
    assert np.isfinite(fit.impute(X)).all()


def test_held_parameters_keep_their_values():
    X, _ = _blobs()
    means = np.array([[0.0, 0.0], [4.0, 0.5], [0.5, 4.0]])
    covariances = [np.eye(2)] * 3
    start = {"means": means, "covariances": covariances}
    for frozen in ({"means"}, {"covariances"}, {"weights", "means"}):
        fit = Mixture(
            Gaussian(reg_covar=0.0), 3, weights_init=[0.2, 0.3, 0.5], params_init=start, frozen=frozen, tol=1e-10
        ).fit(X)  # fmt: skip
        if "means" in frozen:
            np.testing.assert_array_equal(fit.means_, means)
        if "covariances" in frozen:
            np.testing.assert_array_equal(fit.covariances_, covariances)
        if "weights" in frozen:
            np.testing.assert_array_equal(fit.weights_, [0.2, 0.3, 0.5])
        assert np.diff(fit.lower_bounds_).min() > -1e-12
    # covariances about means that are frozen, not about those of the data
    start = {"means": [[1, 1]], "covariances": [np.eye(2)]}
    fit = Mixture(Gaussian(reg_covar=0.0), weights_init=[1], params_init=start, frozen={"means"}).fit(X)
    np.testing.assert_allclose(fit.covariances_[0], (X - 1).T @ (X - 1) / len(X), rtol=1e-9)
    assert fit.n_parameters_ == 3


def test_held_rates_leave_the_weights():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.poisson(1, (300, 1)), rng.poisson(9, (700, 1))])
    fit = Mixture(Poisson(), 2, params_init={"rates": [[1.0], [9.0]]}, frozen={"rates"}, random_state=0, tol=1e-12).fit(
        X
    )
    weights = minimize(
        lambda w: -np.log(w * stats.poisson(1).pmf(X) + (1 - w) * stats.poisson(9).pmf(X)).sum(),
        0.5, bounds=[(0.01, 0.99)], tol=1e-12,
    ).x[0]  # fmt: skip
    assert fit.weights_[0] == pytest.approx(weights, abs=1e-5)
    assert fit.n_parameters_ == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": {"rates"}}, "need values to start from"),
        ({"frozen": {"means"}}, "no parameters"),
        ({"params_init": {"rates": [[1.0]]}}, "shape of"),
        ({"params_init": {"nonsense": 1}}, "no parameters"),
        ({"weights_init": [0.5, 0.6]}, "sum to 1"),
        ({"weight_prior": 0.5}, "weight_prior must be at least 1"),
        ({"noise": -1.0}, "noise must be"),
        ({"component_classes": [0]}, "component_classes must be 2"),
    ],
)
def test_refused_settings(settings, message):
    labels = np.zeros(20, int) if "component_classes" in settings else None
    with pytest.raises(ValueError, match=message):
        Mixture(Poisson(), 2, **settings).fit(np.ones((20, 2)), labels=labels)


def test_a_family_must_be_one():
    with pytest.raises(TypeError, match=r"one of fastem\.families"):
        Mixture("poisson", 2).fit(np.ones((20, 2)))
    with pytest.raises(TypeError, match="collection of names"):
        Mixture(Poisson(), 2, frozen="rates").fit(np.ones((20, 2)))


# --- priors -----------------------------------------------------------------------------------------


def test_priors_of_one_component_are_textbook_modes():
    counts = np.array([[1.0], [4.0], [4.0]])
    fit = Mixture(Poisson(prior=(3.0, 2.0))).fit(counts)
    np.testing.assert_allclose(fit.rates_, (9 + 3 - 1) / (3 + 2), rtol=1e-12)
    fit = Mixture(Bernoulli(prior=2.0)).fit(np.array([[1.0], [1.0], [0.0]]))
    np.testing.assert_allclose(fit.probabilities_, (2 + 1) / (3 + 2), rtol=1e-12)
    fit = Mixture(Categorical(levels=[3], prior=2.0)).fit(np.array([[0.0], [2.0], [2.0]]))
    np.testing.assert_allclose(fit.probabilities_[0][0], np.array([2, 1, 3]) / 6, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_posterior_of_gaussians_never_falls_and_is_a_maximum(covariance_type):
    """Against the density of the prior written down with SciPy, in random directions."""
    X, _ = _blobs(200, k=2)
    prior = GaussianPrior(shrinkage=2.0, dof=6.0, mean=[1.0, 1.0], scale=[[3.0, 0.5], [0.5, 2.0]])
    fit = Mixture(Gaussian(covariance_type, 0.0, prior), 2, random_state=0, tol=1e-13, max_iter=2000).fit(X)
    assert np.diff(fit.lower_bounds_).min() > -1e-12
    rng = np.random.default_rng(0)

    def posterior(means, covariances):
        matrices = fit.family_.matrices(covariances, 2, 2)
        density = sum(
            w * stats.multivariate_normal(m, c).pdf(X) for w, m, c in zip(fit.weights_, means, matrices, strict=True)
        )
        value = np.log(density).sum()
        for k in range(2):
            value += stats.multivariate_normal(prior.mean, matrices[k] / prior.shrinkage).logpdf(means[k])
        scale = np.asarray(prior.scale)
        if covariance_type == "full":
            return value + sum(stats.invwishart(prior.dof, scale).logpdf(c) for c in covariances)
        if covariance_type == "tied":
            return value + stats.invwishart(prior.dof, scale).logpdf(covariances)
        scales = np.diagonal(scale) if covariance_type == "diag" else np.full(1, np.trace(scale) / 2)
        return value + stats.invgamma(prior.dof / 2, scale=scales / 2).logpdf(covariances.reshape(2, -1)).sum()

    for name in ("means", "covariances"):
        noise = rng.normal(size=getattr(fit, f"{name}_").shape)
        if name == "covariances" and covariance_type in ("full", "tied"):
            noise = (noise + noise.swapaxes(-1, -2)) / 2
        values = []
        for step in (1e-4, -1e-4):
            moved = {"means": fit.means_, "covariances": fit.covariances_}
            moved[name] = moved[name] + step * noise
            values.append(posterior(**moved))
        assert abs(values[0] - values[1]) / 2e-4 / len(X) < 1e-5


def test_a_prior_on_the_weights():
    X, _ = _blobs(50, k=2)
    plain = Mixture(Gaussian(), 2, random_state=0).fit(X, labels=[0] * 40 + [1] * 10)
    pulled = Mixture(Gaussian(), 2, weight_prior=11.0, random_state=0).fit(X, labels=[0] * 40 + [1] * 10)
    np.testing.assert_allclose(plain.weights_, [0.8, 0.2])
    np.testing.assert_allclose(pulled.weights_, [50 / 70, 20 / 70])
    assert np.diff(pulled.lower_bounds_).min() > -1e-12


def test_default_prior_keeps_small_components_alive():
    X = np.repeat(_blobs(30)[0], 2, axis=0)[:30]
    fit = Mixture(Gaussian("full", 0.0, GaussianPrior()), 6, random_state=0).fit(X)
    assert np.isfinite(fit.log_likelihood_) and np.linalg.eigvalsh(fit.covariances_).min() > 0


# --- mixed tables -----------------------------------------------------------------------------------


def test_a_correlated_part_of_a_product_with_missing_cells_is_at_its_maximum():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)), rng.poisson(3, 500)]
    X[rng.random(X.shape) < 0.2] = np.nan
    fit = Mixture(Product({(0, 1, 2): Gaussian(reg_covar=0.0), 3: Poisson()}), 1, max_iter=300, tol=0).fit(X)
    part = fit.parts_["0, 1, 2"]
    start = (np.ones(1), part["means"], part["covariances"])
    _, _, means, covariances = incomplete_step(X[:, :3], *start, "full", np.ones(500))
    np.testing.assert_allclose(means, part["means"], rtol=1e-7)
    np.testing.assert_allclose(covariances - 1e-6 * np.eye(3), part["covariances"], rtol=1e-7)


def test_a_product_finds_its_columns_by_name(tmp_path):
    rng = np.random.default_rng(0)
    first = rng.random(800) < 0.5
    frame = pd.DataFrame({
        "region": np.where(first, rng.choice(3, p=[0.7, 0.2, 0.1], size=800), 2),
        "visits": rng.poisson(np.where(first, 2, 8)),
        "income": rng.lognormal(np.where(first, 1, 3), 0.4),
    })  # fmt: skip
    family = Product({"income": LogNormal(), "visits": Poisson(), "region": Categorical()})
    fit = Mixture(family, 2, random_state=0).fit(frame)
    assert ((fit.predict(frame) == fit.predict(frame)[0]) == (first == first[0])).mean() > 0.95
    assert fit.parts_["visits"]["rates"].shape == (2, 1) and fit.n_parameters_ == 1 + 4 + 2 + 4
    frame.loc[::5, "income"] = np.nan
    fit = Mixture(family, 2, random_state=0).fit(frame)
    fit.save(tmp_path / "m.fastem")
    np.testing.assert_array_equal(fastem.load(tmp_path / "m.fastem").predict(frame), fit.predict(frame))
    assert fit.impute(frame).shape == (800, 3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"a": Poisson()}, "Columns b have no part"),
        ({"a": Poisson(), ("a", "b"): Gaussian()}, "Columns a belong to several parts"),
        ({"c": Poisson()}, "no column 'c'"),
        ({"a": Poisson(), "b": LinearRegression()}, "regression"),
    ],
)
def test_products_that_do_not_fit_the_columns(parts, message):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=message):
        Mixture(Product(parts), 1).fit(frame)


# --- values that families do not take -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "value", "message"),
    [
        (Poisson(), 1.5, r"1.5 in row 7, column 1: counts"),
        (Poisson(), -1, r"-1 in row 7, column 1: counts"),
        (Bernoulli(), 2, r"2 in row 7, column 1: the values must be 0 or 1"),
        (Categorical(levels=[2, 2]), -1, r"-1 in row 7, column 1: levels"),
        (Categorical(levels=[2, 2]), 3, r"3 in row 7, column 1: the columns have \[2, 2\] levels"),
        (Exponential(), -0.5, r"-0.5 in row 7, column 1"),
        (LogNormal(), 0, r"0 in row 7, column 1: the values must be positive"),
        (VonMisesFisher(), 3, "Row 7 of X has length"),
    ],
    ids=repr,
)
def test_values_that_a_family_does_not_take(family, value, message):
    X = np.ones((20, 2))
    if isinstance(family, VonMisesFisher):
        X /= np.sqrt(2)
    X[7, 1] = value
    with pytest.raises(ValueError, match=message):
        Mixture(family, 1).fit(X)


def test_new_rows_may_have_larger_counts():
    rng = np.random.default_rng(0)
    X = rng.poisson(3, size=(200, 2)).astype(float)
    new = np.array([[50.0, 2.0], [0.0, 100.0]])
    fit = Mixture(NegativeBinomial()).fit(X)
    truth = stats.nbinom(fit.sizes_[0], fit.sizes_[0] / (fit.sizes_[0] + fit.means_[0])).logpmf(new).sum(axis=1)
    np.testing.assert_allclose(fit.score_samples(new), truth, rtol=1e-6)
    assert fit.score(new) == pytest.approx(truth.mean(), rel=1e-6)
    fit = Mixture(DirichletMultinomial()).fit(X)
    truth = [stats.dirichlet_multinomial.logpmf(row.astype(int), fit.concentrations_[0], int(row.sum())) for row in new]
    np.testing.assert_allclose(fit.score_samples(new), truth, rtol=1e-6)


@pytest.mark.parametrize(
    ("family", "wild"),
    [
        (NegativeBinomial(), [0, 900]),
        (DirichletMultinomial(), [0, 900]),
        (Categorical(), [0, 900]),
        (Weibull(), [1e-300, 1e300]),
        (Gaussian(), [np.nan, 1e300]),
        (StudentT(), [np.nan, 1e300]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Family) else "",
)
def test_rows_of_weight_zero_may_hold_any_value(family, wild):
    tame = np.random.default_rng(0).poisson(3, size=(9000, 2)) + 1.0
    weights = np.tile([1.0, 0.0, 2.0], 3000)
    weights[:1000] = 0  # whole tiles
    weights[-100:] = 0
    rows = np.where(weights[:, None] == 0, wild, tame)
    make = partial(Mixture, family, 2, max_iter=4, tol=0, init_params=np.arange(len(rows)) % 2)
    truth = make().fit(tame, sample_weight=weights)
    fit = make().fit(rows, sample_weight=weights)
    assert fit.lower_bounds_ == truth.lower_bounds_
    assert fit.log_likelihood_ == truth.log_likelihood_
    assert fit.n_parameters_ == truth.n_parameters_
    if not isinstance(family, Categorical):  # levels beyond those with weight are refused
        assert fit.bic(rows, sample_weight=weights) == truth.bic(tame, sample_weight=weights)


@pytest.mark.parametrize("family", [NegativeBinomial(largest=60), DirichletMultinomial(largest=60)], ids=repr)
def test_larger_counts_than_partial_fit_has_room_for(family):
    rows = np.random.default_rng(0).poisson(3, size=(500, 2)).astype(float)
    fit = Mixture(family, 2, random_state=0).partial_fit(rows)
    before = fit.weights_
    with pytest.raises(ValueError, match=r"made room for when .* should have been \w+\(largest=90\d"):
        fit.partial_fit(np.append(rows, [[900.0, 0.0]], axis=0))
    np.testing.assert_array_equal(fit.weights_, before)
    roomy = Mixture(clone(family).set_params(largest=950), 2, random_state=0).partial_fit(rows)
    assert np.isfinite(roomy.partial_fit(np.append(rows, [[900.0, 0.0]], axis=0)).log_likelihood_)


def test_room_for_sums_is_not_asked_of_columns():
    family = DirichletMultinomial(largest=12)
    rows = np.random.default_rng(0).multinomial(10, [0.5, 0.5], 500).astype(float)
    fit = Mixture(family, 2, random_state=0).partial_fit(rows)
    rows[:3] = [[10, 0], [0, 10], [3, 9]]
    assert np.isfinite(fit.partial_fit(rows).log_likelihood_)
    product = Product({(0, 1): family, 2: Exponential(), 3: NegativeBinomial(7)}).place(4, None)
    rows = np.column_stack([rows, np.full(500, 1e6), np.full(500, 7.0)])
    assert product.widened(product.reach(rows)) is product
    rows[8, [1, 3]] = [13, 9]
    parts = list(product.widened(product.reach(rows)).parts.values())
    assert (parts[0].largest, parts[2].largest) == (13 + rows[8, 0], 9)


def test_one_column_of_counts_of_a_dirichlet_multinomial():
    fit = Mixture(DirichletMultinomial(), 2, random_state=0).fit(np.arange(20.0)[:, None])
    np.testing.assert_allclose(fit.score_samples([[3.0], [8.0]]), 0, atol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e300])
@pytest.mark.parametrize("family", [Gaussian(), Poisson()], ids=repr)
@pytest.mark.parametrize("first", [0, 5000])
def test_rows_of_weight_zero_are_deleted_from_the_start(family, value, first):
    rng = np.random.default_rng(0)
    rows = np.append(rng.poisson(2, (5000, 2)), rng.poisson(40, (5000, 2)), axis=0).astype(float)
    weights = np.ones(len(rows))
    weights[first : first + 100] = 0
    wild = np.where(weights[:, None] == 0, value, rows)
    make = partial(Mixture, family, 2, random_state=0)
    fit, truth = make().fit(wild, sample_weight=weights), make().fit(rows[weights > 0])
    np.testing.assert_allclose(fit.lower_bound_, truth.lower_bound_, rtol=1e-6)
    np.testing.assert_allclose(np.sort(fit.weights_), np.sort(truth.weights_), rtol=1e-3)


def test_errors_name_the_right_row_beside_rows_of_weight_zero():
    rows, weights = np.ones((30, 2)), np.ones(30)
    weights[:7] = 0
    rows[9, 1] = -3
    with pytest.raises(ValueError, match="-3 in row 9, column 1"):
        Mixture(Poisson(), 2).fit(rows, sample_weight=weights)
    rows[7, 0] = np.inf
    with pytest.raises(ValueError, match="infinity, first in row 7, column 0"):
        Mixture(Gaussian(), 2).fit(rows, sample_weight=weights)


def test_a_warm_start_needs_the_same_levels():
    rows = np.random.default_rng(0).integers(0, 3, size=(100, 2))
    fit = LatentClass(2, random_state=0, warm_start=True, max_iter=5).fit(rows)
    with pytest.raises(
        ValueError, match=r"levels of the last fit, which were 0.0, 1.0, 2.0 in column 0, and are 0.0, 1.0, 2.0, 8.0"
    ):
        fit.fit(np.append(rows, [[8, 8]], axis=0))
    with pytest.raises(ValueError, match="levels of the last fit"):
        fit.fit(np.where(rows == 2, 7, rows))
    assert fit.fit(rows).categories_[0].tolist() == [0, 1, 2]


def test_regressions_take_the_response_apart_or_within():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)) + 1e6
    y = np.where(rng.random(500) < 0.5, 3 * (x[:, 0] - 1e6), 5 - (x[:, 1] - 1e6)) + 0.1 * rng.normal(size=500)
    apart = Mixture(LinearRegression(), 2, random_state=0).fit(x, y)
    within = Mixture(LinearRegression(), 2, random_state=0).fit(np.column_stack([x, y]))
    np.testing.assert_array_equal(apart.coefs_, within.coefs_)
    np.testing.assert_array_equal(apart.predict(x, y), within.predict(np.column_stack([x, y])))
    order = np.argsort(-apart.coefs_[:, 0])
    np.testing.assert_allclose(apart.coefs_[order], [[3, 0], [0, -1]], atol=0.05)
    np.testing.assert_allclose(apart.predict_response(x), within.predict_response(x), rtol=1e-12)
    with pytest.raises(ValueError, match="columns"):
        apart.predict_response(x[:, :1])
    with pytest.raises(ValueError, match="only responses may be missing"):
        Mixture(LinearRegression(), 2).fit(np.where(np.arange(1000).reshape(500, 2) == 6, np.nan, x), y)


# --- shortcuts and clones -----------------------------------------------------------------------------


def test_shortcuts_are_mixtures_of_their_families():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.poisson(1, (300, 2)), rng.poisson(7, (300, 2))])
    for shortcut, family in (
        (PoissonMixture(2, prior=(2.0, 1.0), random_state=0), Poisson((2.0, 1.0))),
        (LatentClass(2, prior=2.0, random_state=0), Categorical(prior=2.0)),
        (StudentTMixture(2, covariance_type="diag", dofs=4.0, random_state=0), fastem.families.StudentT("diag", 4.0)),
    ):
        same = Mixture(family, 2, random_state=0).fit(X)
        fit = shortcut.fit(X)
        assert fit.log_likelihood_ == same.log_likelihood_
    binary = (X > 3).astype(float)
    assert BernoulliMixture(2, random_state=0).fit(binary).probabilities_.shape == (2, 2)


def test_shortcuts_are_saved_by_name(tmp_path):
    X = np.random.default_rng(0).poisson(3, size=(100, 2))
    fit = PoissonMixture(2, prior=(2.0, 1.0), random_state=0).fit(X)
    fit.save(tmp_path / "m.fastem")
    loaded = fastem.load(tmp_path / "m.fastem")
    assert isinstance(loaded, PoissonMixture) and repr(loaded) == repr(fit)
    np.testing.assert_array_equal(loaded.predict_proba(X), fit.predict_proba(X))


# --- conditional mixtures -----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_conditional_is_the_ratio_of_densities(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3)) + 4 * (rng.random((400, 1)) < 0.5)
    fit = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    given = X[:5, [2, 0]]
    law = fit.conditional(given, given=[2, 0])
    matrices = fit._family().matrices(fit.covariances_, 2, 3)
    for i, (c, a) in enumerate(given):
        grid = np.linspace(-15, 20, 4001)
        joint = sum(
            w * stats.multivariate_normal(m, s).pdf(np.column_stack([np.full(4001, a), grid, np.full(4001, c)]))
            for w, m, s in zip(fit.weights_, fit.means_, matrices, strict=True)
        )
        density = joint / np.trapezoid(joint, grid)
        mean = np.trapezoid(grid * density, grid)
        assert law.mean()[i, 0] == pytest.approx(mean, abs=1e-4)
        assert law.covariance()[i, 0, 0] == pytest.approx(np.trapezoid((grid - mean) ** 2 * density, grid), rel=1e-3)
    draws = fit.conditional(np.repeat(given[:1], 20_000, axis=0), given=[2, 0]).sample(0)
    assert draws.mean() == pytest.approx(law.mean()[0, 0], abs=0.1)
    holes = X.copy()
    holes[:, 1] = np.nan
    np.testing.assert_allclose(fit.impute(holes)[:5, 1], law.mean()[:, 0], rtol=1e-8)


def test_conditional_refuses_what_makes_no_sense():
    X = _blobs()[0]
    fit = GaussianMixture(2, random_state=0).fit(pd.DataFrame(X, columns=["a", "b"]))
    assert fit.conditional([[0.0]], given=["b"]).columns.tolist() == [0]
    for given in ([], ["a", "b"], ["c"], [5]):
        with pytest.raises(ValueError, match="given must name"):
            fit.conditional([[0.0]], given=given)
    with pytest.raises(ValueError, match="Gaussians"):
        Mixture(Poisson(), 2).fit(np.ones((10, 2))).conditional([[0.0]], given=[0])


# --- fixed densities -----------------------------------------------------------------------------------


def test_fixed_densities_with_a_certificate():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-2, 1, 300), rng.normal(2, 1, 700)])[:, None]
    components = [stats.norm(-2), stats.norm(2), stats.norm(0, 5)]
    fit = FixedMixture(components, tol=1e-9, max_iter=200_000).fit(X)
    densities = np.column_stack([c.pdf(X[:, 0]) for c in components])
    best = minimize(
        lambda z: -np.log(densities @ (np.exp(z) / np.exp(z).sum())).mean(), np.zeros(3), tol=1e-14,
    )  # fmt: skip
    assert 0 <= fit.optimality_gap_ < 1e-9 and fit.converged_
    assert -fit.log_likelihood_ / len(X) <= best.fun + 1e-9
    early = FixedMixture(components, max_iter=3)
    with pytest.warns(Warning, match="could still gain"):
        early.fit(X)
    assert early.log_likelihood_ / len(X) + early.optimality_gap_ >= fit.log_likelihood_ / len(X)
    np.testing.assert_allclose(fit.score_samples(X), np.log(densities @ fit.weights_), rtol=1e-9)


def test_fixed_densities_of_functions_and_models_in_files(tmp_path):
    X = _blobs(500)[0]
    np.save(tmp_path / "X.npy", X)
    model = GaussianMixture(2, random_state=0).fit(X)
    fit = FixedMixture([model, lambda rows: np.full(len(rows), -8.0)]).fit(tmp_path / "X.npy")
    assert fit.weights_.sum() == pytest.approx(1) and fit.predict_proba(X).shape == (500, 2)
    with pytest.raises(ValueError, match="Row 0 of X has density 0"):
        FixedMixture([stats.uniform(50, 60)]).fit(X[:, :1])
    with pytest.raises(ValueError, match="must give log-densities of shape"):
        FixedMixture([lambda rows: rows]).fit(X)
    with pytest.raises(TypeError, match=r"Component 1 is <function .* no file of fastem holds"):
        fit.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_fixed_densities_are_saved(tmp_path):
    X = _blobs(500)[0]
    model = GaussianMixture(2, random_state=0).fit(X)
    nested = FixedMixture([model, stats.multivariate_normal([1, 2], [[2, 0.3], [0.3, 1]])]).fit(X)
    fit = FixedMixture([nested, stats.multivariate_normal([9, 9])], tol=1e-5).fit(X, sample_weight=np.arange(500) % 3)
    fit.save(tmp_path / "m")
    again = fastem.load(tmp_path / "m")
    np.testing.assert_array_equal(again.score_samples(X), fit.score_samples(X))
    np.testing.assert_array_equal(again.weights_, fit.weights_)
    assert again.optimality_gap_ == fit.optimality_gap_ and again.stop_reason_ == fit.stop_reason_
    counts = FixedMixture([stats.poisson(2), stats.nbinom(5, p=0.2), stats.binom(20, 0.5)]).fit(
        np.arange(12.0)[:, None]
    )
    counts.save(tmp_path / "counts")
    again = fastem.load(tmp_path / "counts")
    np.testing.assert_array_equal(again.predict_proba([[1], [4], [9]]), counts.predict_proba([[1], [4], [9]]))
    np.testing.assert_array_equal(again.fit(np.arange(12.0)[:, None]).weights_, counts.weights_)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "eval"}, "no distribution 'eval'"),
        ({"name": "rv_continuous"}, "no distribution 'rv_continuous'"),
        ({"name": 3}, "no distribution 3"),
        ({"args": (1.0, -2.0)}, "norm has no parameters"),
        ({"kwds": {"sloth": 2.0}}, "sound model"),
    ],
)
def test_distributions_in_files_are_checked(tmp_path, monkeypatch, changed, message):
    """A file may hold whatever its checksum belongs to."""
    fit = FixedMixture([stats.norm(0, 2), stats.norm(5)]).fit([[0.0], [5.0]])
    monkeypatch.setattr(FrozenDistribution, "get_params", lambda self, deep=True: vars(self) | changed)
    fit.save(tmp_path / "m")
    monkeypatch.undo()
    with pytest.raises(fastem.ModelFileError, match=message):
        fastem.load(tmp_path / "m")


def test_fixed_densities_go_on_from_a_checkpoint_and_on_dask(tmp_path):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-2, 1, 300), rng.normal(2, 1, 700)])[:, None]
    components = [stats.norm(-2), stats.norm(2), stats.norm(0, 5)]
    whole = FixedMixture(components).fit(X)
    with pytest.warns(Warning, match="could still gain"):
        FixedMixture(components, callbacks=lambda it: it.n_iter == 5).fit(X, checkpoint=tmp_path / "fit")
    again = FixedMixture(components).fit(X, checkpoint=tmp_path / "fit")
    np.testing.assert_array_equal(again.weights_, whole.weights_)
    assert again.n_iter_ == whole.n_iter_ and again.optimality_gap_ == whole.optimality_gap_
    with pytest.raises(ValueError, match="belongs to another fit"):
        FixedMixture([stats.norm(-2), stats.norm(2), stats.norm(0, 6)]).fit(X, checkpoint=tmp_path / "fit")
    spread = FixedMixture(components).fit(dask.array.from_array(X, chunks=(300, 1)))
    np.testing.assert_allclose(spread.weights_, whole.weights_, rtol=1e-10)


def test_draws_from_fixed_densities():
    X = _blobs(500)[0]
    model = GaussianMixture(2, random_state=0).fit(X)
    components = [stats.multivariate_normal([9, 9]), model, lambda rows: np.full(len(rows), -8.0)]
    fit = FixedMixture(components[:2], random_state=0, weights_init=[0.3, 0.7]).fit(
        np.append(X, [[9, 9]] * 200, axis=0)
    )
    rows, labels = fit.sample(20_000)
    np.testing.assert_allclose(np.bincount(labels) / len(labels), fit.weights_, atol=0.01)
    np.testing.assert_allclose(rows[labels == 0].mean(axis=0), [9, 9], atol=0.05)
    np.testing.assert_allclose(rows[labels == 1].mean(axis=0), X.mean(axis=0), atol=0.2)
    counts = FixedMixture([stats.poisson(2), stats.poisson(9)], random_state=0).fit(np.arange(12.0)[:, None])
    assert counts.sample(5)[0].shape == (5, 1)
    kernels = KernelDensity(bandwidth=0.5).fit(X)
    rows, _ = FixedMixture([kernels, stats.multivariate_normal([50, 50])], random_state=0).fit(X).sample(5000)
    np.testing.assert_allclose(rows.mean(axis=0), X.mean(axis=0), atol=0.2)
    with pytest.raises(TypeError, match="Component 2 has no method to draw"):
        FixedMixture(components, random_state=0).fit(X + 50).sample(9)


@pytest.mark.parametrize("other", [LogNormal(), Gaussian("full")], ids=["log_normal", "gaussian"])
def test_what_is_held_in_a_part_leaves_the_centres_of_the_others(other):
    """Far from 0 the variance of a column is right only about a centre that moves to it."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([1e9 + rng.normal(size=2000), rng.lognormal(size=2000)])
    name, family = ("log_means", other) if isinstance(other, LogNormal) else ("means", other)
    start = {"0": {"means": [[0.0]], "covariances": [[1e6]], "precisions_cholesky": [[1e-3]]}}
    start["1"] = {"means": [[0.5]], "covariances": [[[1.0]]], "precisions_cholesky": [[[1.0]]]}
    if name == "log_means":
        start["1"] = {"log_means": [[0.5]], "log_sds": [[1.0]]}
    fit = Mixture(
        Product({0: Gaussian("diag"), 1: family}), 1, params_init={"parts": start}, weights_init=[1.0],
        frozen={f"1.{name}"}, max_iter=20,
    ).fit(rows)  # fmt: skip
    assert fit.parts_["0"]["covariances"][0, 0] == pytest.approx(np.var(rows[:, 0]), rel=1e-6)
    assert fit.parts_["1"][name][0, 0] == pytest.approx(0.5, abs=1e-12)
