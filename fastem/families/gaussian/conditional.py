"""The law of some cells of a Gaussian, given the others."""

import numpy as np

__all__ = ["conditional_law", "patterns"]


def patterns(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Numbers of the rows that have the same cells, with the mask of those cells."""
    masks, which = np.unique(~np.isnan(rows), axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    cuts = np.cumsum(np.bincount(which.ravel(), minlength=len(masks)))[:-1]
    return [(some, mask) for some, mask in zip(np.split(order, cuts), masks, strict=True)]


def conditional_law(
    mean: np.ndarray, covariance: np.ndarray, values: np.ndarray, here: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means (n, m) and covariance (m, m) of the other cells of a Gaussian, given `values` (n, o) of those `here`."""
    regression = np.linalg.solve(covariance[np.ix_(here, here)], covariance[np.ix_(here, ~here)])
    means = mean[~here] + (values - mean[here]) @ regression
    spread = covariance[np.ix_(~here, ~here)] - covariance[np.ix_(~here, here)] @ regression
    return means, (spread + spread.T) / 2
