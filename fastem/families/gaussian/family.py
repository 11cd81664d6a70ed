"""What all Gaussians share, whatever the structure of their covariances: parameters, moments, means."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from fastem.engine.statistics import add_lanes, zeros
from fastem.families._floor import floor_of, floor_variances, relative_floor
from fastem.families._settings import check_array, check_floor
from fastem.families.family import Facts, Family, Maximized, Prepared
from fastem.families.gaussian.centring import LOG_2PI, column_moments, in_two_parts
from fastem.families.gaussian.prior import GaussianPrior
from fastem.families.gaussian.structure import Groups

__all__ = ["GaussianFamily", "GaussianParams", "GaussianStatistics", "Moments"]

# Of the weight of all rows; less weight of a column's cells in a component determines nothing.
_UNSEEN = 4 * float(np.finfo(np.float64).eps)


class GaussianParams(NamedTuple):
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
    """What an M-step starts from.

    Attributes
    ----------
    cells, weights : ndarray of shape (K, 1) or (K, d)
        Weight of the data, and with the observations that a prior is worth.
    shifts, means : ndarray of shape (K, d)
        Of the means, and the new ones.
    degrees : float
        What a prior adds to the degrees of freedom of each covariance.
    """

    cells: np.ndarray
    weights: np.ndarray
    shifts: np.ndarray
    means: np.ndarray
    degrees: float


# --- the family -------------------------------------------------------------------------------


class GaussianFamily(Family[GaussianParams, Any]):
    """Base of the structures of the covariance.

    Parameters
    ----------
    reg_covar : float or ndarray of shape (d,), default=0
        Added to the diagonal of the covariances.
    prior : GaussianPrior, optional
        A normal-inverse-Wishart prior: the fit then maximizes the posterior density.
    floor : float or array-like of shape (d,), optional
        Least standard deviation of a component in each column. Default in a `Mixture`: an eighth
        of the distance between neighbouring numbers of the data's dtype at the component's mean.
    """

    kernel_parameters: ClassVar[type]
    parameters = GaussianParams
    groups: ClassVar[Groups]
    gives_matrices: ClassVar[bool] = False

    def __init__(self, reg_covar: Any = 0.0, prior: GaussianPrior | None = None, floor: Any = None):
        self.reg_covar = reg_covar
        self.prior = prior
        self.floor = floor

    @abstractmethod
    def second_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Shape of one lane's second moments."""

    @abstractmethod
    def covariance_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Shape of the covariances."""

    @abstractmethod
    def precisions_of(self, variances: np.ndarray, n_components: int) -> np.ndarray:
        """Precisions of independent features with variances (d,), alike in all components."""

    @abstractmethod
    def second_of(self, covariances: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Second moments, in the shape of one lane's, of components with these covariances."""

    @abstractmethod
    def products(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Products of vectors (K, d) of each component, in the shape of one lane's second moments."""

    @abstractmethod
    def scatter_of(self, matrix: np.ndarray, n_components: int) -> np.ndarray:
        """A scatter matrix (d, d) for each covariance, in the shape of one lane's second moments."""

    @abstractmethod
    def covariances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        """Covariances about the new means, with `reg_covar` on the diagonal."""

    @abstractmethod
    def new_variances(self, second: np.ndarray, moments: Moments) -> np.ndarray:
        """Variances (K or 1, d) of each feature in those."""

    @abstractmethod
    def bounded(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        """Covariances, the nearest ones that are wide enough where they are not; see `bounded_matrices`."""

    @abstractmethod
    def at_least(self, covariances: np.ndarray, least: np.ndarray, relative: float) -> np.ndarray:
        """The mask (K, d) of the columns in which covariances are no wider than they must be."""

    @abstractmethod
    def restore(self, new: np.ndarray, old: np.ndarray, dead: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        """Covariances, but the old ones where there are no data: dead components (K,), `unseen` cells (K, d)."""

    @abstractmethod
    def variances(self, covariances: np.ndarray, n_features: int) -> np.ndarray:
        """Variances of each feature, shape (K or 1, d)."""

    def matrices(self, covariances: np.ndarray, n_components: int, n_features: int) -> np.ndarray:
        """Covariance matrices (K, d, d)."""
        of_each = np.broadcast_to(self.variances(covariances, n_features), (n_components, n_features))
        return of_each[:, :, None] * np.eye(n_features)

    @abstractmethod
    def prior_degrees(self, dof: float, n_components: int, n_features: int) -> float:
        """Degrees of freedom of each covariance under a prior, with those of the means' prior."""

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

    @abstractmethod
    def inner(self, second: np.ndarray, factors: np.ndarray, n_features: int) -> float:
        """Sum of the products of second moments with the precisions."""

    def log_scales(self, halves: np.ndarray, n_features: int) -> float:
        """Sum of half the log-determinants of the precisions, as a prior counts them."""
        return float(halves.sum())

    @abstractmethod
    def incomplete(self, kernel: Any, params: GaussianParams, log_weights: np.ndarray, dtype: np.dtype[Any]) -> Any:
        """Kernel parameters for rows with missing cells, from those for complete rows."""

    # --- statistics ---------------------------------------------------------------------------

    def check_settings(self) -> None:
        if not (self.prior is None or isinstance(self.prior, GaussianPrior)):
            raise ValueError(f"prior must be a GaussianPrior, not {self.prior!r}.")

    def check_bound(self, n_features: int) -> None:
        check_array("reg_covar", self.reg_covar, np.shape(self.reg_covar) and (n_features,), least=0)
        check_floor("floor", self.floor, n_features)
        if self.prior is not None:
            self.prior.check_bound(n_features)

    def bind(self, facts: Facts) -> Self:
        """The prior and the floor, as the data need them."""
        prior = None if self.prior is None else self.prior.bind(facts.rows, facts.weights)
        return type(self)(self.reg_covar, prior, floor_of(facts.rows, self.floor))

    def zeros(self, lanes: int, n_components: int, n_features: int) -> Any:
        return zeros(
            GaussianStatistics,
            lanes,
            first=(n_components, n_features),
            second=self.second_shape(n_components, n_features),
        )

    def cells(self, stats: Any, counts: np.ndarray) -> np.ndarray:
        """Weights of the cells that the moments are of, shape (K, 1) or (K, d)."""
        return counts[:, None]

    def statistics_bytes(self, n_components: int, n_features: int) -> int:
        return 8 * (2 * n_components * n_features + math.prod(self.second_shape(n_components, n_features)))

    def parameter_bytes(self, n_components: int, n_features: int) -> int:
        return 8 * (n_components * n_features + 2 * math.prod(self.covariance_shape(n_components, n_features)))

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return (n_features + 4) * tile_rows

    def prepare(
        self,
        params: GaussianParams,
        about: GaussianParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        d = params.means.shape[1]
        constants = self.log_determinants(params.precisions_cholesky, d) - 0.5 * d * LOG_2PI + log_weights
        offset = float(constants.max())
        kernel = self.kernel_parameters(
            *in_two_parts(params.means, dtype),
            *in_two_parts(about.means, dtype),
            (constants - offset).astype(dtype),
            np.ascontiguousarray(self.pack(params.precisions_cholesky, d), dtype=dtype),
        )
        if missing:
            kernel = self.incomplete(kernel, params, log_weights - offset, dtype)
        return Prepared(kernel, offset)

    def recentre(
        self, stats: Any, counts: np.ndarray, about: GaussianParams, dtype: np.dtype[Any], frozen: frozenset[str]
    ) -> GaussianParams | None:
        if "means" in frozen:
            return None
        moments = self._moments(stats, counts, about, frozenset())
        with np.errstate(over="ignore", invalid="ignore"):  # the factorisation will say what is wrong
            variances = self.new_variances(stats.second, moments)
        # E[z^2] - E[z]^2 with a relative error of more than sqrt(eps) / 100
        eps = float(np.finfo(dtype).eps)
        if np.any(eps * moments.shifts**2 > 0.01 * math.sqrt(eps) * variances):
            return about._replace(means=moments.means)
        return None

    def expected(self, params: GaussianParams, counts: np.ndarray) -> Any:
        stats = add_lanes(self.zeros(1, *params.means.shape))
        return stats._replace(second=self.second_of(params.covariances, counts, params.means))

    def move(self, stats: Any, counts: np.ndarray, about: GaussianParams, to: GaussianParams) -> Any:
        shifts = to.means - about.means
        first = stats.first - self.cells(stats, counts) * shifts
        # sum r (z - s)(z - s)' = sum r z z' - f s' - s f' + n s s', with the first moments f of z
        crossed = self.products(stats.first, shifts) + self.products(shifts, first)
        return stats._replace(first=first, second=stats.second - crossed)

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> GaussianParams:
        location, variances = column_moments(rows)
        means = np.tile(location, (n_components, 1))
        return GaussianParams(means, *self.invert(self.precisions_of(variances, n_components)))

    def maximize(
        self, stats: Any, counts: np.ndarray, about: GaussianParams, dead: np.ndarray, frozen: frozenset[str]
    ) -> Maximized:
        if self.prior is not None:
            stats = self._with_prior(stats, self.prior, about.means)
        means, covariances = self.update(stats, counts, about, dead, frozen)
        if "covariances" in frozen:
            return Maximized(about._replace(means=means))
        covariances = self.with_floor(covariances, means)
        params = GaussianParams(means, covariances, self.factor(covariances))
        return Maximized(params, self.slack(params, about, counts))

    def update(
        self, stats: Any, counts: np.ndarray, about: GaussianParams, dead: np.ndarray, frozen: frozenset[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means and covariances, as narrow as they come."""
        moments = self._moments(stats, counts, about, frozen)
        means = np.where(dead[:, None], about.means, moments.means)
        unseen = np.broadcast_to(moments.cells <= _UNSEEN * counts.sum(), means.shape)
        with np.errstate(over="ignore", invalid="ignore"):  # the factorisation will say what is wrong
            covariances = self.covariances(stats.second, moments)
        return means, self.restore(covariances, about.covariances, dead, unseen)

    def with_floor(self, covariances: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Covariances that are not below the floor, of components with the given means."""
        if self.floor is None:
            return covariances
        return self.bounded(covariances, floor_variances(self.floor, means), relative_floor(self.floor))

    def at_floor(self, params: GaussianParams) -> np.ndarray:
        if self.floor is None:
            return np.zeros(params.means.shape, bool)
        least = floor_variances(self.floor, params.means)
        return self.at_least(params.covariances, least, relative_floor(self.floor))

    def _moments(self, stats: Any, counts: np.ndarray, about: GaussianParams, frozen: frozenset[str]) -> Moments:
        cells = np.maximum(self.cells(stats, counts), np.finfo(np.float64).tiny)
        weights, degrees = cells, 0.0
        if self.prior is not None:
            weights = cells + self.prior.shrinkage
            degrees = self.prior_degrees(self.prior.dof, *about.means.shape)
        shifts = np.zeros_like(stats.first) if "means" in frozen else stats.first / weights
        return Moments(cells, weights, shifts, about.means + shifts, degrees)

    def _with_prior(self, stats: Any, prior: GaussianPrior, centres: np.ndarray) -> Any:
        """A prior is worth `shrinkage` observations at its mean, and its scatter."""
        shifts = prior.mean - centres
        second = stats.second + self.scatter_of(prior.scale, len(centres))
        return stats._replace(
            first=stats.first + prior.shrinkage * shifts,
            second=second + prior.shrinkage * self.products(shifts, shifts),
        )

    def log_prior(self, params: GaussianParams) -> float:
        if self.prior is None:
            return 0.0
        k, d = params.means.shape
        shifts = params.means - self.prior.mean
        squares = self.scatter_of(self.prior.scale, k) + self.prior.shrinkage * self.products(shifts, shifts)
        scales = self.log_scales(self.log_determinants(params.precisions_cholesky, d), d)
        return self.prior_degrees(self.prior.dof, k, d) * scales - 0.5 * self.inner(
            squares, params.precisions_cholesky, d
        )

    def slack(self, params: GaussianParams, about: GaussianParams, counts: np.ndarray) -> float:
        """What `reg_covar`, and a floor that moved with a component, may cost the log-likelihood."""
        return self._slack_of_addition(params, counts) + self._slack_of_floor(params, about, counts)

    def _slack_of_addition(self, params: GaussianParams, counts: np.ndarray) -> float:
        """What is lost against the best covariances that are not below `reg_covar`, which the ones before are.

        With eigenvalues s of a scatter in units of it, ``s + 1`` stands where ``max(s, 1)`` would be
        best. With ``u = 1 / (s + 1)``, n / 2 times ``-log(1 - u) - u`` is lost for s > 1, which is at
        most ``u^2``; for s < 1 it is less, and never more than 0.2.
        """
        if not np.any(self.reg_covar):
            return 0.0
        d = params.means.shape[1]
        # eigenvalues of reg * precision are 1 / (s + 1), their sum bounds each
        u = np.max(self.reg_covar) * self.traces(params.precisions_cholesky, d)
        small = np.minimum(u, 0.5)
        return float(0.5 * np.sum(counts * np.where(u < 0.5, np.minimum(small**2, 0.2 * d), 0.2 * d)))

    def _slack_of_floor(self, params: GaussianParams, about: GaussianParams, counts: np.ndarray) -> float:
        """Covariances before are wide enough when they are multiplied by what the floor has grown by.

        Factors of matrices that are nearly singular are rounded: relatively by eps over their
        least eigenvalue.
        """
        if self.floor is None:
            return 0.0
        bound = np.broadcast_to(self.at_floor(params), params.means.shape).any(axis=1)
        if not bound.any():
            return 0.0
        d = params.means.shape[1]
        growth = np.maximum((self._limits(params) / self._limits(about)).max(axis=1), 1.0)
        rounding = np.finfo(np.float64).eps / relative_floor(self.floor) * self.gives_matrices
        return float(0.5 * d * np.sum(np.where(bound, counts * (np.log(growth) + d * rounding), 0.0)))

    def _limits(self, params: GaussianParams) -> np.ndarray:
        least = floor_variances(self.floor, params.means)
        if not self.gives_matrices:
            return least
        variances = self.variances(params.covariances, params.means.shape[1])
        return np.maximum(least, relative_floor(self.floor) * variances)

    def hold(self, params: GaussianParams, old: GaussianParams, frozen: frozenset[str]) -> GaussianParams:
        means = old.means if "means" in frozen else params.means
        if "covariances" in frozen:
            return old._replace(means=means)
        return params._replace(means=means)

    def n_components(self, params: GaussianParams) -> int:
        return len(params.means)

    def take(self, params: GaussianParams, order: np.ndarray) -> GaussianParams:
        covariances, factors = (self.groups.take(field, order) for field in params[1:])
        return GaussianParams(params.means[order], covariances, factors)

    def displace(self, params: GaussianParams, k: int, rng: np.random.RandomState) -> GaussianParams:
        means = params.means.copy()
        variances = self.variances(params.covariances, means.shape[1])
        means[k] += rng.standard_normal(means.shape[1]) * np.sqrt(variances[min(k, len(variances) - 1)])
        return params._replace(means=means)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features + self.n_covariance_parameters(n_components, n_features)

    @abstractmethod
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Free parameters of the covariances."""

    def parameter_shapes(self, n_components: int, n_features: int) -> tuple[tuple[int, ...], ...]:
        of_covariances = self.covariance_shape(n_components, n_features)
        return (n_components, n_features), of_covariances, of_covariances

    def check_params(self, params: GaussianParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        self.factor(params.covariances)
        if not np.isfinite(self.log_determinants(params.precisions_cholesky, n_features)).all():
            raise ValueError("precisions_cholesky are not factors of precisions.")

    def attributes(self, params: GaussianParams) -> dict[str, Any]:
        return {**params._asdict(), "precisions": self.precisions(params.precisions_cholesky)}

    def attribute_names(self) -> tuple[str, ...]:
        return (*GaussianParams._fields, "precisions")

    def is_given_by(self, names: set[str]) -> bool:
        return "means" in names and bool({"covariances", "precisions"} & names)

    def with_values(self, params: GaussianParams | None, values: dict[str, Any]) -> GaussianParams:
        values = {name: np.array(value, dtype=np.float64) for name, value in values.items()}
        if "covariances" in values:
            values["precisions_cholesky"] = self.factor(values["covariances"])
        elif "precisions" in values:
            values["covariances"], values["precisions_cholesky"] = self.invert(values["precisions"])
        values.pop("precisions", None)
        return GaussianParams(**values) if params is None else params._replace(**values)

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        of_means = n_components * n_features * ("means" in frozen)
        return of_means + self.n_covariance_parameters(n_components, n_features) * ("covariances" in frozen)

    def ellipses(self, params: GaussianParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        k, d = params.means.shape
        return params.means, self.matrices(params.covariances, k, d), np.full(k, np.inf)

    def means(self, params: GaussianParams) -> np.ndarray:
        return params.means
