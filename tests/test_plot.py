"""Figures: what they contain, and that axes are returned."""

import matplotlib
import numpy as np
import pytest

from fastem import GaussianMixture, Mixture, plot
from fastem.families import Exponential, Gaussian, Poisson, StudentT

matplotlib.use("Agg")
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(-3, 1, (300, 2)), RNG.normal(3, 1, (300, 2))])


@pytest.fixture(autouse=True)
def _close():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_histogram_curves_are_the_density(covariance_type):
    fit = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X[:, :1])
    ax = plot.histogram(fit, X[:, :1])
    *components, mixture = ax.get_lines()
    assert len(components) == 2
    x, y = mixture.get_data()
    np.testing.assert_allclose(y, np.exp(fit.score_samples(x[:, None])), rtol=1e-10)
    np.testing.assert_allclose(sum(line.get_ydata() for line in components), y)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_ellipses_hold_their_share(covariance_type):
    fit = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    ax = plot.ellipses(fit, levels=(0.9,))
    draws, labels = fit.sample(4000)
    assert len(ax.patches) == 2
    for k, patch in enumerate(ax.patches):
        inside = patch.get_path().transformed(patch.get_patch_transform()).contains_points(draws[labels == k])
        assert inside.mean() == pytest.approx(0.9, abs=0.03)


def test_scatter_history_and_given_axes():
    import matplotlib.pyplot as plt

    fit = GaussianMixture(2, random_state=0).fit(X)
    _, axes = plt.subplots(1, 3)
    assert plot.scatter(fit, X, ax=axes[0]) is axes[0]
    assert len(axes[0].collections[0].get_offsets()) == len(X)
    plot.scatter(fit, np.tile(X, (50, 1)), ax=axes[1])
    assert plot.history(fit, ax=axes[2]) is axes[2]
    np.testing.assert_array_equal(axes[2].get_lines()[0].get_ydata(), fit.lower_bounds_)


def test_wrong_dimensions():
    one = GaussianMixture(2, random_state=0).fit(X[:, :1])
    with pytest.raises(ValueError, match="use histogram"):
        plot.scatter(one, X[:, :1])
    with pytest.raises(ValueError, match="use scatter"):
        plot.histogram(GaussianMixture(2, random_state=0).fit(X), X)


def test_figures_of_other_families():
    counts = RNG.poisson(np.where(RNG.random(600) < 0.5, 2, 9))[:, None]
    fit = Mixture(Poisson(), 2, random_state=0).fit(counts)
    mixture = plot.histogram(fit, counts).get_lines()[-1]
    x, y = mixture.get_data()
    np.testing.assert_array_equal(x, np.arange(counts.min(), counts.max() + 1))
    np.testing.assert_allclose(y, np.exp(fit.score_samples(x[:, None])), rtol=1e-10)
    assert len(plot.histogram(fit, counts, bins=np.array([0, 5, 10])).patches) == 2
    durations = RNG.exponential(2, (300, 1))
    plot.histogram(Mixture(Exponential(), 2, random_state=0).fit(durations), durations)
    levels = RNG.integers(0, 3, (200, 2))
    fit = Mixture(Poisson(), 2, random_state=0).fit(levels)
    assert not plot.scatter(fit, levels).patches
    with pytest.raises(ValueError, match="Gaussians or t"):
        plot.ellipses(fit)


def test_ellipses_of_t_and_with_noise_hold_their_share():
    fit = Mixture(StudentT(dofs=3.0), 2, random_state=0).fit(X)
    draws, labels = fit.sample(20_000)
    patches = plot.ellipses(fit, levels=(0.8,)).patches
    assert len(patches) == 2
    for k, patch in enumerate(patches):
        inside = patch.get_path().transformed(patch.get_patch_transform()).contains_points(draws[labels == k])
        assert inside.mean() == pytest.approx(0.8, abs=0.02)
    noisy = Mixture(Gaussian(), 2, noise=True, random_state=0).fit(X)
    assert len(plot.scatter(noisy, X).patches) == 4
