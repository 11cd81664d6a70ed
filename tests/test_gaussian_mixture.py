"""GaussianMixture beside scikit-learn's, and what it has more."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastem import GaussianMixture
from tests.truths import COVARIANCE_TYPES, random_covariances

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _blobs(n=600, d=3, k=3, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    means = spread * rng.normal(size=(k, d))
    return means[rng.integers(k, size=n)] + rng.normal(size=(n, d)) * rng.uniform(0.5, 2, d)


@parametrize_with_checks([GaussianMixture(covariance_type=name) for name in COVARIANCE_TYPES])
@pytest.mark.filterwarnings("ignore:Skipping check:sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", range(5))
def test_iterates_equal_scikit_learns(covariance_type, seed):
    """From the same parameters, every iterate agrees to 1e-8."""
    rng = np.random.default_rng(seed)
    X = _blobs(seed=seed)
    covariances = random_covariances(covariance_type, 3, 3, rng)
    start = {
        "weights_init": [0.2, 0.3, 0.5],
        "means_init": X[rng.choice(len(X), 3, replace=False)],
        "precisions_init": np.linalg.inv(covariances) if covariance_type in ("full", "tied") else 1 / covariances,
    }
    for max_iter in (1, 2, 5, 40):
        params = {"covariance_type": covariance_type, "tol": 0, "max_iter": max_iter, **start}
        ours, theirs = GaussianMixture(3, **params).fit(X), SklearnGaussianMixture(3, **params).fit(X)
        for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "lower_bounds_"):
            np.testing.assert_allclose(
                getattr(ours, name), getattr(theirs, name), rtol=1e-8, atol=1e-8, err_msg=f"{name} at {max_iter}"
            )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", range(6))
def test_default_fit_is_scikit_learns(covariance_type, seed):
    """The same random state gives the same start, iterations and result."""
    X = _blobs(400 + 50 * seed, d=1 + seed % 4, k=2 + seed % 3, seed=seed)
    params = {"n_components": 3, "covariance_type": covariance_type, "random_state": seed, "n_init": 1 + seed % 2}
    ours, theirs = GaussianMixture(**params).fit(X), SklearnGaussianMixture(**params).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.converged_ == theirs.converged_
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=1e-8)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-7)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), atol=1e-7)
    assert ours.aic(X) == pytest.approx(theirs.aic(X))
    assert ours.bic(X) == pytest.approx(theirs.bic(X))
    ours_X, ours_y = ours.sample(50)
    theirs_X, theirs_y = theirs.sample(50)
    np.testing.assert_allclose(ours_X, theirs_X, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(ours_y, theirs_y)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_every_start_is_scikit_learns(init_params, covariance_type):
    X = _blobs(seed=3)
    params = {"covariance_type": covariance_type, "init_params": init_params, "random_state": 7, "max_iter": 0}
    ours, theirs = GaussianMixture(3, **params).fit(X), SklearnGaussianMixture(3, **params).fit(X)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_tied_starts(init_params):
    """k-means++ and random_from_data are left out: their covariance depends on where the origin is."""
    X = _blobs(seed=3)
    params = {"covariance_type": "tied", "init_params": init_params, "random_state": 7, "max_iter": 0}
    ours, theirs = GaussianMixture(3, **params).fit(X), SklearnGaussianMixture(3, **params).fit(X)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-8)


@pytest.mark.parametrize("given", ["weights_init", "means_init", "precisions_init"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_partly_given_starts(given, covariance_type):
    X = _blobs(seed=4)
    covariances = random_covariances(covariance_type, 3, 3, np.random.default_rng(0))
    values = {
        "weights_init": [0.5, 0.25, 0.25],
        "means_init": X[:3],
        "precisions_init": np.linalg.inv(covariances) if covariance_type in ("full", "tied") else 1 / covariances,
    }
    params = {"covariance_type": covariance_type, "random_state": 1, "max_iter": 3, given: values[given]}
    ours, theirs = GaussianMixture(3, **params).fit(X), SklearnGaussianMixture(3, **params).fit(X)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-8)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_to_sklearn(covariance_type):
    X = _blobs()
    ours = GaussianMixture(3, covariance_type=covariance_type, random_state=0, n_threads=1).fit(X)
    theirs = ours.to_sklearn()
    assert type(theirs) is SklearnGaussianMixture
    np.testing.assert_allclose(theirs.score_samples(X), ours.score_samples(X), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(theirs.predict(X), ours.predict(X))
    assert theirs.bic(X) == pytest.approx(ours.bic(X))


def test_callbacks_see_every_iteration_and_can_stop():
    X = _blobs()
    seen = []
    fit = GaussianMixture(3, random_state=0, tol=0, callbacks=[seen.append, lambda it: it.n_iter == 4]).fit(X)
    assert [it.n_iter for it in seen] == [1, 2, 3, 4]
    assert fit.n_iter_ == 4 and not fit.converged_ and "callback" in fit.stop_reason_
    np.testing.assert_array_equal([it.objective for it in seen], fit.lower_bounds_)
    assert seen[-1].n_rows == len(X)


def test_verbose_speaks_as_scikit_learn_does(capsys):
    X = _blobs()
    params = {"random_state": 0, "verbose": 1, "verbose_interval": 2, "n_init": 2}
    GaussianMixture(3, **params).fit(X)
    ours = capsys.readouterr().out
    SklearnGaussianMixture(3, **params).fit(X)
    assert ours == capsys.readouterr().out
    GaussianMixture(3, **params | {"verbose": 2}).fit(X)
    assert "time lapse" in capsys.readouterr().out


def test_init_params_from_function_and_array():
    X = _blobs()
    labels = GaussianMixture(3, random_state=0).fit_predict(X)
    one_hot = np.eye(3)[labels]

    def start(rows, n_components, random_state):
        assert rows.shape == X.shape and n_components == 3 and hasattr(random_state, "uniform")
        return labels

    fits = [GaussianMixture(3, init_params=given).fit(X) for given in (start, lambda *_: one_hot, labels, one_hot)]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.means_, fits[0].means_)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((600, 3)), "sum to 1"),
        (np.full((600, 2), 0.5), "shape"),
        (np.full(600, 3), "outside"),
        (np.full((600, 3), np.nan), "sum to 1"),
    ],
)
def test_wrong_responsibilities(given, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3, init_params=given).fit(_blobs())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"covariance_type": "round"}, "covariance_type must be one of"),
        ({"init_params": "magic"}, "init_params must be one of"),
        ({"n_components": 0}, "n_components must be at least 1"),
        ({"tol": -1.0}, "tol must be at least 0"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
        ({"weights_init": [0.5, 0.6]}, "normalized"),
        ({"weights_init": [0.5]}, "shape"),
        ({"means_init": [[0.0, 1.0]]}, "shape"),
        ({"precisions_init": -np.ones((2, 3)), "covariance_type": "diag"}, "positive"),
        ({"precisions_init": np.ones((2, 3, 3))}, "positive-definite"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**{"n_components": 2, **params}).fit(_blobs())


@pytest.mark.parametrize("params", [{"n_components": 2.5}, {"n_components": True}, {"tol": "small"}])
def test_parameters_of_a_wrong_type(params):
    with pytest.raises(TypeError, match="must be a number"):
        GaussianMixture(**params).fit(_blobs())


def test_not_fitted():
    for method in ("predict", "predict_proba", "score_samples", "score", "bic", "icl"):
        with pytest.raises(NotFittedError):
            getattr(GaussianMixture(), method)(_blobs())


def test_a_failed_fit_changes_nothing():
    X = _blobs()
    fit = GaussianMixture(3, random_state=0).fit(X)
    before = dict(vars(fit))

    def fail(iteration):
        raise KeyboardInterrupt

    fit.callbacks = fail
    with pytest.raises(KeyboardInterrupt):
        fit.fit(X + 1)
    before["callbacks"] = fail
    assert vars(fit).keys() == before.keys()
    for name, value in before.items():
        assert vars(fit)[name] is value, name


def test_a_failed_fit_to_other_columns_changes_nothing():
    import pandas as pd

    X = _blobs()
    fit = GaussianMixture(3, random_state=0).fit(pd.DataFrame(X, columns=["a", "b", "c"]))
    with pytest.raises(ValueError, match="infinity"):
        fit.fit(np.full((100, 5), np.inf))
    assert fit.n_features_in_ == 3 and fit.feature_names_in_.tolist() == ["a", "b", "c"]


def test_parameters_that_changed_since_the_fit():
    X = _blobs()
    fit = GaussianMixture(3, random_state=0).fit(X)
    labels = fit.predict(X)
    fit.set_params(n_components=10)
    np.testing.assert_array_equal(fit.predict(X), labels)
    assert fit.predict_proba(X).shape == (600, 3) and fit.sample(5)[0].shape == (5, 3)
    with pytest.raises(ValueError, match="warm_start goes on"):
        fit.set_params(warm_start=True).fit(X)
    with pytest.raises(ValueError, match="warm_start goes on"):
        fit.set_params(n_components=3).fit(X[:, :2])
    fit.set_params(covariance_type="diag")
    with pytest.raises(ValueError, match="fit again"):
        fit.predict(X)


def test_random_rows_have_weight():
    """A start at rows of weight 0 would be a start from nothing."""
    X = _blobs()
    weights = np.zeros(len(X))
    weights[:20] = 1
    for init_params in ("random_from_data", "k-means++", "kmeans", "random"):
        fit = GaussianMixture(3, init_params=init_params, random_state=0, n_init=3).fit(X, sample_weight=weights)
        assert np.isfinite(fit.lower_bound_) and not fit.deaths_
    with pytest.raises(ValueError, match="at least 3 rows with a weight"):
        GaussianMixture(3).fit(X, sample_weight=np.arange(len(X)) < 2)


def test_a_start_that_fails_does_not_end_a_screened_fit():
    """Some random starts put one row alone in a component, which has no covariance."""
    X = _blobs(2000, d=2, k=3)
    calls = iter(range(100))

    def start(rows, n_components, rng):
        labels = np.arange(len(rows)) % n_components
        if next(calls) % 2 == 0:
            labels = np.where(np.arange(len(rows)) == 0, 2, labels % 2)
        return labels

    fit = GaussianMixture(3, init_params=start, n_screen=4, reg_covar=0, max_iter=5).fit(X)
    assert np.isfinite(fit.lower_bound_) and next(calls) == 4


def test_progress_can_be_cloned_and_sent():
    import pickle

    from sklearn.base import clone

    from fastem import Progress

    mixture = clone(GaussianMixture(2, callbacks=[Progress()]))
    assert isinstance(pickle.loads(pickle.dumps(mixture)).callbacks[0], Progress)


def test_dead_components_are_reported_and_harmless():
    """Far more components than distinct points."""
    X = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], 50, axis=0)
    with pytest.warns(ConvergenceWarning, match="lost all their data"):
        fit = GaussianMixture(3, means_init=[[0, 0], [10, 10], [500, 500]], weights_init=[0.4, 0.4, 0.2],
                              precisions_init=np.tile(np.eye(2), (3, 1, 1)), max_iter=50).fit(X)  # fmt: skip
    assert fit.deaths_[0] == 2
    for values in (fit.weights_, fit.means_, fit.covariances_):
        assert np.isfinite(values).all()
    assert fit.weights_.sum() == pytest.approx(1)


def test_dead_components_freeze_when_there_is_no_room():
    from fastem.families import GaussianDiag
    from fastem.families.gaussian.family import GaussianParams
    from fastem.latent.mixture.contract import MixtureParams
    from fastem.latent.mixture.deaths import reseeds, revive

    family = GaussianDiag()
    params = MixtureParams(np.array([0.7, 0.3]), GaussianParams(np.zeros((2, 1)), np.ones((2, 1)), np.ones((2, 1))))
    again, memory, events = revive(family, params, np.array([False, True]), reseeds(1))
    np.testing.assert_allclose(again.weights, [0.5, 0.5])
    assert [event.component for event in events] == [1]
    frozen, memory, events = revive(family, params, np.array([False, True]), memory)
    np.testing.assert_allclose(frozen.weights, [1, 0])
    assert [event.component for event in events] == [1] and (memory.left, memory.done) == (0, 1)


def test_large_data_start_from_a_sample_in_any_order():
    """Above 50,000 rows sorted data must not fool the start: it looks everywhere."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(m, 1, (40_000, 2)) for m in ([0, 0], [6, 0], [0, 6])])
    fit = GaussianMixture(3, random_state=0).fit(X)
    assert sorted(np.round(fit.means_).tolist()) == [[0, 0], [0, 6], [6, 0]]
    np.testing.assert_allclose(fit.weights_, 1 / 3, atol=0.01)


def test_large_data_whose_weight_lies_in_one_place():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120_000, 2)) + 5 * rng.integers(2, size=(120_000, 1))
    weights = np.zeros(len(X))
    weights[70_003:70_500] = 1
    fit = GaussianMixture(2, random_state=0, tol=1e-6).fit(X, sample_weight=weights)
    alone = GaussianMixture(2, random_state=0, tol=1e-6).fit(X[70_003:70_500])
    assert fit.log_likelihood_ == pytest.approx(alone.log_likelihood_, rel=1e-6)


def test_a_first_fit_that_fails_leaves_nothing_fitted():
    mixture = GaussianMixture(2)
    with pytest.raises(ValueError, match="Columns without any value: 0, 1"):
        mixture.fit(np.full((10, 2), np.nan))
    with pytest.raises(NotFittedError):
        mixture.predict(np.zeros((10, 2)))


def test_screening_keeps_the_best():
    X = _blobs(2000, d=2, k=6, seed=5)
    plain = GaussianMixture(6, init_params="random_from_data", random_state=0, tol=1e-5, max_iter=500).fit(X)
    screened = GaussianMixture(
        6, init_params="random_from_data", random_state=0, tol=1e-5, max_iter=500, n_screen=10
    ).fit(X)
    assert screened.lower_bound_ >= plain.lower_bound_ - 1e-6


def test_data_frames_keep_their_names():
    import pandas as pd

    frame = pd.DataFrame(_blobs(), columns=["a", "b", "c"])
    fit = GaussianMixture(3, random_state=0).fit(frame)
    assert fit.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        fit.predict(frame[["b", "a", "c"]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(fit.predict(frame), fit.predict(frame.to_numpy()))


def test_too_large_is_refused_before_it_is_tried():
    with pytest.raises(MemoryError, match=r"100000 components to 3000 features would take .* GiB"):
        GaussianMixture(100_000).fit(np.zeros((100_001, 3000), dtype=np.float32))


def test_many_components_and_many_features():
    rng = np.random.default_rng(0)
    many = GaussianMixture(1000, covariance_type="diag", init_params="random_from_data", random_state=0, max_iter=3)
    many.fit(rng.normal(size=(5000, 2)))
    wide = GaussianMixture(2, random_state=0, max_iter=3).fit(rng.normal(size=(700, 300)))
    for fit in (many, wide):
        assert np.isfinite(fit.means_).all() and np.isfinite(fit.lower_bound_)
