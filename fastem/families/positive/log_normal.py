"""Log-normal distributions of independent columns."""

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit

from fastem.families._domain import check_values, positive_medians
from fastem.families._floor import floor_of
from fastem.families._settings import check_column_values
from fastem.families.family import Facts, Family, Maximized, Prepared
from fastem.families.gaussian.diagonal import DiagonalStatistics, GaussianDiag
from fastem.families.gaussian.diagonal_kernels import add_incomplete, incomplete_log_density
from fastem.families.gaussian.family import GaussianParams
from fastem.families.positive.censored import CensoredFamily, bounded, cell_at, known_log_density, log_in_unit, parts_of
from fastem.families.positive.logs import take_logarithms
from fastem.families.positive.truncated import log_of_ratio, normal_log_probability, normal_moments
from fastem.kernels.dispatch import add_statistics, implements, log_density
from fastem.kernels.simd import elements, fill, huge, load, splat, store, where_greater
from fastem.kernels.tiles import n_points
from fastem.kernels.vector_math import log

__all__ = ["CensoredLogNormal", "LogNormal"]


class LogKernel(NamedTuple):
    """Parameters of Gaussians with independent features and missing cells, for the logarithms of values in
    units of which these are the inverse (d,).
    """

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    offsets: np.ndarray
    log_weights: np.ndarray
    inverse_units: np.ndarray


class CensoredLogKernel(NamedTuple):
    """Kernel parameters of the cells that are known; of the others means, inverse standard deviations and centres of
    the moments (K, d), inverses of the units (d,).
    """

    plain: Any
    means: np.ndarray
    roots: np.ndarray
    centres: np.ndarray
    inverse_units: np.ndarray


class LogNormalParams(NamedTuple):
    """Means, of values in their columns' units, and standard deviations of the logarithms, both (K, d)."""

    log_means: np.ndarray
    log_sds: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _logarithms(tile, params, scratch):  # type: ignore[no-untyped-def]
    take_logarithms(tile, params.inverse_units, scratch)
    return scratch[: tile.shape[0] * n_points(tile)].reshape(tile.shape)


@njit(error_model="numpy")
def _subtract_logarithms(logs, params, out):  # type: ignore[no-untyped-def]
    """The density of x is that of its logarithm, divided by x."""
    m = n_points(logs)
    for b in range(0, m, elements(logs)):
        s = fill(load(logs, b), 0.0)
        zero = s
        for j in range(logs.shape[0]):
            t = load(logs, j * m + b)
            s = s + where_greater(t, zero - huge(t), t - log(splat(params.inverse_units, j)), zero)
        for k in range(out.shape[0]):
            store(out, k * m + b, load(out, k * m + b) - s)


@implements(log_density, LogKernel)
def _log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    logs = _logarithms(tile, params, scratch)
    incomplete_log_density(logs, params, out)
    _subtract_logarithms(logs, params, out)


@implements(add_statistics, LogKernel)
def _add_statistics(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    logs = scratch[: tile.shape[0] * n_points(tile)].reshape(tile.shape)
    add_incomplete(logs, resp, counts, params, stats, tile.shape[0], 1, lane)


@njit(error_model="numpy")
def _standard(log_x, mean, root):  # type: ignore[no-untyped-def]
    """An end of an interval as a standard normal value, of which the square is finite unless it is infinite itself."""
    if abs(log_x) == math.inf:
        return log_x
    return min(max((log_x - mean) * root, -1e150), 1e150)


@implements(log_density, CensoredLogKernel)
def _censored_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    places = known_log_density(tile, params, out, scratch)
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        length = log_of_ratio(low, high)
        s, t = log_in_unit(low, params.inverse_units[j]), log_in_unit(high, params.inverse_units[j])
        for k in range(out.shape[0]):
            mean, root = params.means[k, j], params.roots[k, j]
            first, last = _standard(s, mean, root), _standard(t, mean, root)
            out[k, b] += bounded(normal_log_probability(first, last, length * root))


@implements(add_statistics, CensoredLogKernel)
def _add_censored(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    known, places, rest = parts_of(tile, scratch)
    add_statistics(known, resp, counts, params.plain, stats, lane, rest)
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        length = log_of_ratio(low, high)
        s, t = log_in_unit(low, params.inverse_units[j]), log_in_unit(high, params.inverse_units[j])
        for k in range(resp.shape[0]):
            mean, root = params.means[k, j], params.roots[k, j]
            first, last = _standard(s, mean, root), _standard(t, mean, root)
            z, zz = normal_moments(first, last, length * root)
            shift, sd = mean - params.centres[k, j], 1 / root
            stats.first[lane, k, j] += resp[k, b] * (shift + sd * z)
            stats.second[lane, k, j] += resp[k, b] * (shift * shift + 2 * shift * sd * z + sd * sd * zz)
            stats.absent[lane, k, j] -= resp[k, b]


# --- the families -----------------------------------------------------------------------------


class LogNormal(Family[LogNormalParams, DiagonalStatistics]):
    """Log-normal distributions: the logarithm of each column is Gaussian.

    Parameters
    ----------
    reg_covar : float, default=0
        Added to the variances of the logarithms.
    floor : float or array-like of shape (d,), optional
        Least standard deviation of the logarithms in each column; default: that of the rounding of
        the data.
    units : array-like of shape (d,), optional
        Values whose logarithms count as 0 inside; set when data are met.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import LogNormal
    >>> Mixture(LogNormal()).fit(np.exp([[1.0], [3.0]])).log_means_.round(6).tolist()
    [[2.0]]
    """

    parameters = LogNormalParams
    is_surveyed = True
    takes_beside = ("censored",)

    def censored(self) -> Family[Any, Any]:
        return CensoredLogNormal(self.reg_covar, self.floor, self.units)

    def __init__(self, reg_covar: float = 0.0, floor: Any = None, units: Any = None):
        self.reg_covar = reg_covar
        self.floor = floor
        self.units = units

    @property
    def _gaussians(self) -> GaussianDiag:
        return GaussianDiag(self.reg_covar, floor=self.floor)

    def bind(self, facts: Facts) -> Self:
        units = positive_medians(facts.rows) if self.units is None else self.units
        with np.errstate(divide="ignore", invalid="ignore"):  # rows without weight may hold anything
            floor = floor_of(np.nan_to_num(np.log(facts.rows / units)).astype(facts.rows.dtype), self.floor)
        if self.floor is None:  # the logarithms of neighbouring numbers are as far apart as 1 and its neighbour
            floor[0] = np.maximum(floor[0], floor[1])
        return type(self)(self.reg_covar, floor, units)

    def check_bound(self, n_features: int) -> None:
        self._gaussians.check_bound(n_features)
        check_column_values("units", self.units, n_features)

    def at_floor(self, params: LogNormalParams) -> np.ndarray:
        return self._gaussians.at_floor(self._as_gaussians(params))

    def _as_gaussians(self, params: LogNormalParams) -> GaussianParams:
        return GaussianParams(params.log_means, params.log_sds**2, 1 / params.log_sds)

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~(rows > 0), "the values must be positive")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.log(rows / self._units(rows.shape[1])).astype(rows.dtype)

    def _units(self, n_features: int) -> np.ndarray:
        return np.ones(n_features) if self.units is None else np.asarray(self.units)

    def _log_units(self, params: LogNormalParams) -> np.ndarray:
        return np.log(self._units(params.log_means.shape[1]))

    def zeros(self, lanes: int, n_components: int, n_features: int) -> DiagonalStatistics:
        return self._gaussians.zeros(lanes, n_components, n_features)

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return n_features * tile_rows

    def prepare(
        self,
        params: LogNormalParams,
        about: LogNormalParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        both = self._as_gaussians(params), self._as_gaussians(about)
        prepared = self._gaussians.prepare(*both, log_weights, dtype, missing=True)
        inverse_units = (1 / self._units(params.log_means.shape[1])).astype(dtype)
        kind: Any = LogKernel
        return Prepared(kind(*prepared.params, inverse_units), prepared.offset)

    def recentre(
        self,
        stats: DiagonalStatistics,
        counts: np.ndarray,
        about: LogNormalParams,
        dtype: np.dtype[Any],
        frozen: frozenset[str],
    ) -> LogNormalParams | None:
        centre = self._gaussians.recentre(stats, counts, self._as_gaussians(about), dtype, _of_gaussians(frozen))
        return None if centre is None else about._replace(log_means=centre.means)

    def move(self, stats: DiagonalStatistics, counts: np.ndarray, about: LogNormalParams, to: LogNormalParams) -> Any:
        return self._gaussians.move(stats, counts, self._as_gaussians(about), self._as_gaussians(to))

    def alike(self, rows: np.ndarray, n_components: int) -> LogNormalParams:
        with np.errstate(divide="ignore"):
            logs = np.nan_to_num(np.log(rows / self._units(rows.shape[1])), neginf=0.0)
        gaussians = self._gaussians.alike(logs, n_components)
        return LogNormalParams(gaussians.means, np.sqrt(gaussians.covariances))

    def maximize(
        self,
        stats: DiagonalStatistics,
        counts: np.ndarray,
        about: LogNormalParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        result = self._gaussians.maximize(stats, counts, self._as_gaussians(about), dead, _of_gaussians(frozen))
        return Maximized(LogNormalParams(result.params.means, np.sqrt(result.params.covariances)), result.slack)

    def expected(self, params: LogNormalParams, counts: np.ndarray) -> Any:
        return self._gaussians.expected(self._as_gaussians(params), counts)

    def displace(self, params: LogNormalParams, k: int, rng: np.random.RandomState) -> LogNormalParams:
        moved = self._gaussians.displace(self._as_gaussians(params), k, rng)
        return params._replace(log_means=moved.means)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 2 * n_components * n_features

    def check_params(self, params: LogNormalParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if (params.log_sds <= 0).any():
            raise ValueError("The parameter 'log_sds' must be positive.")

    def attributes(self, params: LogNormalParams) -> dict[str, Any]:
        return {"log_means": params.log_means + self._log_units(params), "log_sds": params.log_sds}

    def from_attributes(self, values: dict[str, Any]) -> LogNormalParams:
        given = super().from_attributes(values)
        return given._replace(log_means=given.log_means - self._log_units(given))

    def with_values(self, params: LogNormalParams | None, values: dict[str, Any]) -> LogNormalParams:
        return self.from_attributes(values if params is None else {**self.attributes(params), **values})

    def sample(self, params: LogNormalParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        logs = rng.normal(params.log_means[k], params.log_sds[k], size=(n, params.log_means.shape[1]))
        return self._units(logs.shape[1]) * np.exp(logs)

    def means(self, params: LogNormalParams) -> np.ndarray:
        return self._units(params.log_means.shape[1]) * np.exp(params.log_means + params.log_sds**2 / 2)


class CensoredLogNormal(CensoredFamily, LogNormal):
    """Log-normal distributions of values of which some are censored.

    `LogNormal` becomes it where ``fit(X, censored=...)`` or ``fit(X, upper=...)`` tells where values lie. Samples are
    not censored.

    Parameters
    ----------
    reg_covar, floor, units
        As of `LogNormal`.
    """

    censored_kernel = CensoredLogKernel

    def cell_parameters(self, params: LogNormalParams, about: LogNormalParams) -> tuple[np.ndarray, ...]:
        inverse_units = 1 / self._units(params.log_means.shape[1])
        return params.log_means, 1 / params.log_sds, about.log_means, inverse_units


def _of_gaussians(frozen: frozenset[str]) -> frozenset[str]:
    """Names that are frozen, as Gaussians call them."""
    names = {"log_means": "means", "log_sds": "covariances"}
    return frozenset(names[name] for name in frozen & names.keys())
