"""The conjugate prior of Gaussians."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from fastem.families._settings import check_array

__all__ = ["GaussianPrior"]


class GaussianPrior(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Normal-inverse-Wishart prior of means and covariances.

    ``means | covariance ~ N(mean, covariance / shrinkage)`` and ``covariance ~ IW(scale, dof)``;
    for variances the inverse-gamma laws that belong to it. What is not given is set from the data
    as mclust does (Fraley and Raftery 2007, Bayesian regularization for normal mixture estimation
    and model-based clustering, section 3).

    Parameters
    ----------
    shrinkage : float, default=0.01
        How many observations the prior of a mean is worth.
    mean : array-like of shape (d,), optional
        Default: the mean of the data.
    dof : float, optional
        Degrees of freedom; default: d + 2.
    scale : array-like of shape (d, d), optional
        Default: the covariance of the data.

    Examples
    --------
    >>> from fastem.families import Gaussian, GaussianPrior
    >>> Gaussian("diag", prior=GaussianPrior(shrinkage=0.1)).prior.shrinkage
    0.1
    """

    def __init__(self, shrinkage: float = 0.01, mean: Any = None, dof: Any = None, scale: Any = None):
        self.shrinkage = shrinkage
        self.mean = mean
        self.dof = dof
        self.scale = scale

    def bind(self, rows: np.ndarray, weights: np.ndarray | None) -> Self:
        """The prior with everything set, by a sample of the rows."""
        d = rows.shape[1]
        missing = np.isnan(rows)
        w = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
        centre = w @ np.where(missing, 0, rows) / np.maximum(w @ ~missing, 1e-300)
        mean = centre if self.mean is None else np.array(self.mean, dtype=np.float64)
        deviations = np.where(missing, 0, rows - centre).astype(np.float64)
        scale = (
            (w * deviations.T) @ deviations / w.sum() if self.scale is None else np.array(self.scale, dtype=np.float64)
        )
        if mean.shape != (d,) or scale.shape != (d, d):
            raise ValueError(f"A prior of {d} columns has a mean of shape ({d},) and a scale of shape ({d}, {d}).")
        if not self.shrinkage >= 0:
            raise ValueError(f"shrinkage must be at least 0, not {self.shrinkage!r}.")
        dof = float(d + 2 if self.dof is None else self.dof)
        return type(self)(float(self.shrinkage), mean, dof, scale)

    def check_bound(self, n_features: int) -> None:
        """Raise ValueError unless everything is set, and sound for so many columns."""
        check_array("shrinkage", self.shrinkage, (), least=0)
        check_array("mean", self.mean, (n_features,))
        check_array("dof", self.dof, ())
        check_array("scale", self.scale, (n_features, n_features))
