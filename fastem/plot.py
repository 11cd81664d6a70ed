"""Figures of fitted mixtures, with matplotlib (``pip install fastem[plot]``).

Every function draws into `ax`, or into a new figure, and returns the axes.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastem.estimators._fitted import FittedMixture

__all__ = ["ellipses", "histogram", "history", "scatter"]

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
DENSE_ROWS = 20_000


def _axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("fastem.plot needs matplotlib: pip install 'fastem[plot]'") from error
    _, ax = plt.subplots(figsize=(5.2, 3.8), layout="constrained")
    return ax


def _tidy(ax: "Axes", xlabel: str, ylabel: str) -> "Axes":
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _names(mixture: "FittedMixture") -> list[str]:
    if hasattr(mixture, "feature_names_in_"):
        return [str(name) for name in mixture.feature_names_in_]
    return [f"feature {j}" for j in range(mixture.n_features_in_)]


def _ellipses(mixture: "FittedMixture") -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    return mixture._fitted_model().family.ellipses(mixture._fitted().components)


def histogram(mixture: "FittedMixture", X: Any, *, bins: Any = "auto", ax: "Axes | None" = None) -> "Axes":
    """Histogram of one feature, with the density of the mixture and of each component.

    Parameters
    ----------
    mixture : GaussianMixture or Mixture
        Fitted to one feature.
    X : array-like of shape (n_samples, 1) or (n_samples,)
    bins : int or str, default='auto'
        As for ``numpy.histogram``; by default, up to 500 whole numbers of discrete families have a bin each.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
    """
    if mixture.n_features_in_ != 1:
        raise ValueError(f"histogram draws one feature, but the mixture has {mixture.n_features_in_}: use scatter.")
    ax = _axes(ax)
    values = np.asarray(X, dtype=np.float64).reshape(-1)
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError("X has no values to draw.")
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low) if _ellipses(mixture) else 0.0
    x, marker = np.linspace(low - margin, high + margin, 500), ""
    if mixture._fitted_model().family.is_discrete:
        x, marker = np.unique(np.round(np.linspace(low, high, 500))), "."
        if isinstance(bins, str) and bins == "auto" and high - low < len(x):
            bins = np.arange(low, high + 2) - 0.5
    ax.hist(values, bins=bins, density=True, color="0.85", edgecolor="white", linewidth=0.5)
    rows = x[:, None]
    densities = mixture.predict_proba(rows) * np.exp(mixture.score_samples(rows))[:, None]
    for k, density in enumerate(densities.T):
        label = f"component {k}" if densities.shape[1] <= 6 else None
        ax.plot(x, density, color=COLOURS[k % len(COLOURS)], linewidth=1.2, marker=marker, label=label)
    ax.plot(x, densities.sum(axis=1), color="0.15", linewidth=1.8, label="mixture")
    ax.legend(frameon=False, fontsize="small")
    return _tidy(ax, _names(mixture)[0], "density")


def scatter(
    mixture: "FittedMixture",
    X: Any,
    *,
    features: tuple[int, int] = (0, 1),
    labels: Any = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Two features of the data, coloured by component, with ellipses of components that are Gaussians or t.

    Above 20,000 rows the density of the points is drawn instead of the points.

    Parameters
    ----------
    mixture : GaussianMixture or Mixture
    X : array-like of shape (n_samples, n_features)
    features : tuple of int, default=(0, 1)
        The columns to draw.
    labels : array-like of shape (n_samples,), optional
        Colours of the points, where points are drawn; default: ``mixture.predict(X)``.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
    """
    if mixture.n_features_in_ < 2:
        raise ValueError("scatter draws two features, but the mixture has one: use histogram.")
    ax = _axes(ax)
    points = np.asarray(X)
    i, j = features
    if len(points) > DENSE_ROWS:
        ax.hexbin(points[:, i], points[:, j], gridsize=80, bins="log", cmap="Greys", linewidths=0)
    else:
        labels = mixture.predict(X) if labels is None else np.asarray(labels)
        colours = np.array(COLOURS)[labels % len(COLOURS)]
        size = float(np.clip(4000 / len(points), 2, 16))
        ax.scatter(points[:, i], points[:, j], s=size, c=colours, alpha=0.6, linewidths=0)
    if _ellipses(mixture):
        ellipses(mixture, features=features, ax=ax)
    names = _names(mixture)
    return _tidy(ax, names[i], names[j])


def ellipses(
    mixture: "FittedMixture",
    *,
    features: tuple[int, int] = (0, 1),
    levels: tuple[float, ...] = (0.5, 0.95),
    ax: "Axes | None" = None,
) -> "Axes":
    """Ellipses that hold given shares of each component, in two features.

    Parameters
    ----------
    mixture : GaussianMixture or Mixture
    features : tuple of int, default=(0, 1)
    levels : tuple of float, default=(0.5, 0.95)
        Shares of a component's probability inside each ellipse.
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
    """
    if mixture.n_features_in_ < 2:
        raise ValueError("ellipses draws two features, but the mixture has one: use histogram.")
    ax = _axes(ax)
    shapes = _ellipses(mixture)
    if shapes is None:
        raise ValueError("ellipses needs components that are Gaussians or t distributions.")
    from matplotlib.patches import Ellipse

    chosen = list(features)
    for k, (mean, covariance, dof) in enumerate(zip(*shapes, strict=True)):
        values, vectors = np.linalg.eigh(covariance[np.ix_(chosen, chosen)])
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        colour = COLOURS[k % len(COLOURS)]
        for level in levels:
            lengths = 2 * np.sqrt(_squared_radius(level, dof) * values)
            ax.add_patch(
                Ellipse(tuple(mean[chosen]), lengths[1], lengths[0], angle=angle, fill=False, ec=colour, lw=1.4)
            )
        ax.plot(*mean[chosen], marker="+", color=colour, markersize=8, markeredgewidth=1.6)
    ax.autoscale_view()
    return ax


def _squared_radius(level: float, dof: float) -> float:
    """Quantile of the squared distance of a t distribution in two features, 2 F(2, dof); chi-square of Gaussians."""
    if np.isinf(dof):
        return float(-2 * np.log(1 - level))
    return float(dof * ((1 - level) ** (-2 / dof) - 1))


def history(mixture: "FittedMixture", *, ax: "Axes | None" = None) -> "Axes":
    """The log-likelihood of each iteration.

    Parameters
    ----------
    mixture : GaussianMixture or Mixture
    ax : matplotlib Axes, optional

    Returns
    -------
    ax : matplotlib Axes
    """
    ax = _axes(ax)
    from matplotlib.ticker import MaxNLocator

    objective = mixture.history_["objective"]
    ax.plot(np.arange(1, len(objective) + 1), objective, color=COLOURS[0], marker="o", markersize=3)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _tidy(ax, "iteration", "mean log-likelihood of a row")
