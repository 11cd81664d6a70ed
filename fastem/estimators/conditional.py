"""Conditional mixtures of Gaussians: regression by a joint density."""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.utils import check_random_state

from fastem.families.gaussian.conditional import conditional_law

__all__ = ["ConditionalMixture", "condition"]


@dataclass(frozen=True)
class ConditionalMixture:
    """Mixtures of Gaussians of some columns, one for each row of the others.

    Attributes
    ----------
    weights : ndarray of shape (n, K)
        Probabilities of the components, given the row.
    means : ndarray of shape (n, K, m)
        Means of the m other columns.
    covariances : ndarray of shape (K, m, m)
        Their covariances, which are the same for all rows.
    columns : ndarray of shape (m,)
        Numbers of the columns.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    columns: np.ndarray

    def mean(self) -> np.ndarray:
        """Conditional means, shape (n, m): Gaussian mixture regression."""
        return np.einsum("nk,nkm->nm", self.weights, self.means)

    def covariance(self) -> np.ndarray:
        """Conditional covariances, shape (n, m, m): within the components, and between them."""
        deviations = self.means - self.mean()[:, None]
        between = np.einsum("nk,nki,nkj->nij", self.weights, deviations, deviations)
        return np.einsum("nk,kij->nij", self.weights, self.covariances) + between

    def sample(self, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """A draw for each row, shape (n, m)."""
        rng = check_random_state(random_state)
        cumulative = np.cumsum(self.weights, axis=1)
        drawn = (cumulative < rng.uniform(size=(len(cumulative), 1)) * cumulative[:, -1:]).sum(axis=1)
        draws = self.means[np.arange(len(drawn)), drawn]
        for k, covariance in enumerate(self.covariances):
            mine = drawn == k
            draws[mine] += rng.multivariate_normal(np.zeros(len(covariance)), covariance, int(mine.sum()))
        return draws


def condition(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, rows: np.ndarray, given: np.ndarray
) -> ConditionalMixture:
    """The mixture of the columns that are not `given`, for each of the rows (n, given)."""
    d = means.shape[1]
    here = np.isin(np.arange(d), given)
    order = np.argsort(given)
    values = rows[:, order]
    joint = np.empty((len(rows), len(weights)))
    centres = np.empty((len(rows), len(weights), int((~here).sum())))
    spreads = np.empty((len(weights), *centres.shape[2:] * 2))
    with np.errstate(divide="ignore"):
        joint[:] = np.log(weights)
    for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
        centres[:, k], spreads[k] = conditional_law(mean, covariance, values, here)
        lower = np.linalg.cholesky(covariance[np.ix_(here, here)])
        z = np.linalg.solve(lower, (values - mean[here]).T)
        joint[:, k] -= 0.5 * np.sum(z**2, axis=0) + np.log(np.diagonal(lower)).sum()
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    return ConditionalMixture(resp, centres, spreads, np.flatnonzero(~here))
