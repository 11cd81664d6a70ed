"""What the four Gaussian structures share: centring, parameters and the update of the means."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from numba import types
from numba.extending import overload

from fastem.family import DegenerateError, Family, Maximized, Prepared
from fastem.simd import splat
from fastem.statistics import zeros

__all__ = [
    "Gaussian", "GaussianFamily", "GaussianStatistics", "Moments",
    "centred", "raise_singular", "require_positive",
]  # fmt: skip

LOG_2PI = float(np.log(2 * np.pi))


class Gaussian(NamedTuple):
    """Parameters of K Gaussians, in scikit-learn's shapes (K = components, d = features).

    Attributes
    ----------
    means : ndarray of shape (K, d)
    covariances : ndarray
        (K, d, d) full, (d, d) tied, (K, d) diag, (K,) spherical.
    precisions_cholesky : ndarray
        Upper triangular U with precision = U U', or the roots of precisions; shaped alike.
    """

    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray


class GaussianStatistics(NamedTuple):
    """Sums of ``r (x - c)`` and of its squares or products, about a centre c per component."""

    first: np.ndarray
    second: np.ndarray


class Moments(NamedTuple):
    """What an M-step starts from: effective counts, shifts of the means, new means."""

    counts: np.ndarray
    shifts: np.ndarray
    means: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


def centred(x: np.ndarray, centres: np.ndarray, low: np.ndarray, index: int) -> np.ndarray:
    """``x - c``, where ``c = centres + low`` to twice float32's precision.

    float32 data keep all their digits: ``x - centres`` is exact where it matters.
    """
    return (x - splat(centres, index)) - splat(low, index)


@overload(centred, jit_options={"error_model": "numpy"})
def _centred(x, centres, low, index):  # type: ignore[no-untyped-def]
    if centres.dtype == types.float32:
        return lambda x, centres, low, index: (x - splat(centres, index)) - splat(low, index)
    return lambda x, centres, low, index: x - splat(centres, index)


# --- the structure of the covariances ---------------------------------------------------------


class GaussianFamily(Family[Gaussian, GaussianStatistics]):
    """Base of the structures of the covariance.

    Parameters
    ----------
    reg_covar : float
        Added to the diagonal of the covariances.
    """

    has_own_covariances: ClassVar[bool] = True

    def __init__(self, reg_covar: float = 1e-6):
        self.reg_covar = reg_covar

    @abstractmethod
    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Shape of one lane's second moments."""

    @abstractmethod
    def covariance_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Shape of the covariances."""

    @abstractmethod
    def unit_precisions(self, n_components: int, n_features: int) -> np.ndarray:
        """Precisions of standard normals."""

    @abstractmethod
    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Second moments, in the shape of one lane's, of components with these covariances."""

    @abstractmethod
    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Products of vectors (K, d) of each component, in the shape of one lane's second moments."""

    @abstractmethod
    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        """Covariances about the new means, with `reg_covar` on the diagonal."""

    @abstractmethod
    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        """Variances of each feature, shape (K or 1, d)."""

    @abstractmethod
    def factor(self, covariances: np.ndarray) -> np.ndarray:
        """Factors of the inverse covariances; raises `DegenerateError`."""

    @abstractmethod
    def invert(self, precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Covariances and factors of given precisions."""

    @abstractmethod
    def precisions(self, factors: np.ndarray) -> np.ndarray:
        """Inverse covariances of their factors."""

    @abstractmethod
    def log_determinants(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        """Half the log-determinants of the precisions, shape (K or 1,)."""

    @abstractmethod
    def traces(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        """Traces of the precisions, shape (K or 1,)."""

    @abstractmethod
    def pack(self, factors: np.ndarray, n_features: int) -> np.ndarray:
        """The factors as the kernel reads them."""

    def zeros(self, lanes: int, n_components: int, n_features: int) -> GaussianStatistics:
        return zeros(
            GaussianStatistics,
            lanes,
            first=(n_components, n_features),
            second=self.second_shape(n_components, n_features),
        )

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        return 8 * (n_components * n_features + math.prod(self.second_shape(n_components, n_features)))

    def parameter_bytes(self, n_components: int, n_features: int) -> int:
        return 8 * (n_components * n_features + 2 * math.prod(self.covariance_shape(n_components, n_features)))

    def scratch(self, n_features: int, tile_rows: int) -> int:
        return (n_features + 4) * tile_rows

    def about(self, location: np.ndarray, n_components: int) -> Gaussian:
        means = np.tile(location, (n_components, 1))
        return Gaussian(means, *self.invert(self.unit_precisions(*means.shape)))

    def prepare(self, params: Gaussian, about: Gaussian, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Prepared:
        d = params.means.shape[1]
        constants = self.log_determinants(params.precisions_cholesky, d) - 0.5 * d * LOG_2PI + log_weights
        offset = float(constants.max())
        kernel = self.kernel_parameters(
            *_in_two_parts(params.means, dtype),
            *_in_two_parts(about.means, dtype),
            (constants - offset).astype(dtype),
            np.ascontiguousarray(self.pack(params.precisions_cholesky, d), dtype=dtype),
        )
        return Prepared(kernel, offset)

    def recentre(
        self, stats: GaussianStatistics, counts: np.ndarray, about: Gaussian, dtype: np.dtype[Any]
    ) -> Gaussian | None:
        moments = self._moments(stats, counts, about)
        covariances = self._covariances(stats, moments)
        variances = self.variances(covariances, moments.means.shape[1])
        # E[z^2] - E[z]^2 with a relative error of more than sqrt(eps) / 100
        eps = float(np.finfo(dtype).eps)
        if np.any(eps * moments.shifts**2 > 0.01 * math.sqrt(eps) * variances):
            return about._replace(means=moments.means)
        return None

    def maximize(self, stats: GaussianStatistics, counts: np.ndarray, about: Gaussian, dead: np.ndarray) -> Maximized:
        moments = self._moments(stats, counts, about)
        covariances = self._covariances(stats, moments)
        if self.has_own_covariances:
            covariances[dead] = about.covariances[dead]
        means = np.where(dead[:, None], about.means, moments.means)
        params = Gaussian(means, covariances, self.factor(covariances))
        return Maximized(params, self._slack(params, counts))

    def _moments(self, stats: GaussianStatistics, counts: np.ndarray, about: Gaussian) -> Moments:
        # scikit-learn's guard against empty components, so that results agree with its own
        counts = counts + 10 * np.finfo(np.float64).eps
        shifts = stats.first / counts[:, None]
        return Moments(counts, shifts, about.means + shifts)

    def _covariances(self, stats: GaussianStatistics, moments: Moments) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # the factorisation will say what is wrong
            return self.covariances(stats.second, moments)

    def _slack(self, params: Gaussian, counts: np.ndarray) -> float:
        """What `reg_covar` may cost: n/2 sum of -log(1 - u) - u, u the eigenvalues of reg * precision."""
        u = self.reg_covar * self.traces(params.precisions_cholesky, params.means.shape[1])
        return float(0.5 * np.sum(counts * u**2)) if np.all(u < 0.5) else math.inf

    def expected(self, params: Gaussian, counts: np.ndarray) -> GaussianStatistics:
        return GaussianStatistics(np.zeros_like(params.means), self.second_of(params.covariances, counts, params.means))

    def move(self, stats: GaussianStatistics, counts: np.ndarray, about: Gaussian, to: Gaussian) -> GaussianStatistics:
        shifts = to.means - about.means
        first = stats.first - counts[:, None] * shifts
        # sum r (z - s)(z - s)' = sum r z z' - f s' - s f' + n s s', with the first moments f of z
        crossed = self.products(stats.first, shifts) + self.products(shifts, first)
        return GaussianStatistics(first, stats.second - crossed)

    def split(self, params: Gaussian, into: int, source: int, rng: np.random.RandomState) -> Gaussian:
        order = np.arange(len(params.means))
        order[into] = source
        means = params.means[order]
        variances = self.variances(params.covariances, means.shape[1])
        deviations = np.sqrt(variances[min(source, len(variances) - 1)])
        means[into] += rng.standard_normal(means.shape[1]) * deviations
        if not self.has_own_covariances:
            return params._replace(means=means)
        return Gaussian(means, params.covariances[order], params.precisions_cholesky[order])

    def coincide(self, params: Gaussian) -> bool:
        variances = self.variances(params.covariances, params.means.shape[1])
        least, largest = variances.min(axis=0), variances.max(axis=0)
        near = np.ptp(params.means, axis=0) < 0.1 * np.sqrt(least)
        return len(params.means) > 1 and bool(np.all(near & (largest < 1.2 * least)))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features + self.n_covariance_parameters(n_components, n_features)

    @abstractmethod
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Free parameters of the covariances."""


def _in_two_parts(values: np.ndarray, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers rounded to a dtype, and what the rounding took away."""
    rounded = np.ascontiguousarray(values, dtype=dtype)
    return rounded, (values - rounded).astype(dtype)


def require_positive(variances: np.ndarray) -> None:
    """Raise unless all variances are positive and finite, naming the components where they are not."""
    bad = ~((variances > 0) & (variances < np.inf))
    if bad.any():
        raise_singular(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1)))


def raise_singular(components: Any) -> NoReturn:
    """Raise scikit-learn's error about covariances, with the components' numbers."""
    names = ", ".join(str(k) for k in components)
    raise DegenerateError(
        "Fitting the mixture model failed because some components have ill-defined empirical "
        f"covariance (component {names}; for instance caused by singleton or collapsed samples). "
        "Try to decrease the number of components, increase reg_covar, or scale the input data."
    )
