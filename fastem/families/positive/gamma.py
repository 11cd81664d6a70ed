"""Gamma distributions of independent columns."""

from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from scipy.special import polygamma, psi

from fastem.families._domain import check_values, upper_values
from fastem.families._expanded import ExpandedFamily, PositiveKernel, newton
from fastem.families._settings import check_column_values
from fastem.families._special import gap, log_minus_psi, stirling
from fastem.families.family import Facts, Family
from fastem.families.positive.censored import CensoredFamily, bounded, cell_at, known_log_density, parts_of
from fastem.families.positive.truncated import gamma_moments
from fastem.kernels.dispatch import add_statistics, implements, log_density

__all__ = ["CensoredGamma", "Gamma"]

_EPS = float(np.finfo(np.float64).eps)
# Least squared spread, relative to the mean, in units of the rounding of what cancels in the log-density.
_ROUNDINGS = 1000


class GammaParams(NamedTuple):
    """Shapes and scales, both (K, d)."""

    shapes: np.ndarray
    scales: np.ndarray


class CensoredGammaKernel(NamedTuple):
    """Kernel parameters of the cells that are known; of the others shapes and scales, constants of the log-density and
    means of both functions, (K, d), and units (d,).
    """

    plain: Any
    shapes: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    one: np.ndarray
    two: np.ndarray
    units: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _moments(params, k, j, low, high):  # type: ignore[no-untyped-def]
    return gamma_moments(
        params.shapes[k, j], params.scales[k, j], params.units[j], params.constants[k, j],
        params.one[k, j], params.two[k, j], low, high,
    )  # fmt: skip


@implements(log_density, CensoredGammaKernel)
def _censored_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    places = known_log_density(tile, params, out, scratch)
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        for k in range(out.shape[0]):
            out[k, b] += bounded(_moments(params, k, j, low, high)[0])


@implements(add_statistics, CensoredGammaKernel)
def _add_censored(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    known, places, rest = parts_of(tile, scratch)
    add_statistics(known, resp, counts, params.plain, stats, lane, rest)
    d = known.shape[0]
    for i in range(np.int64(places[0])):
        j, b, low, high = cell_at(tile, places, i)
        for k in range(resp.shape[0]):
            r = resp[k, b]
            if r > 0.0:
                _, one, two = _moments(params, k, j, low, high)
                stats.sums[lane, k, j] += r * one
                stats.sums[lane, k, d + j] += r * two
                stats.sums[lane, k, 2 * d + j] += r


# --- the families -----------------------------------------------------------------------------


class Gamma(ExpandedFamily):
    """Gamma distributions: ``x^(shape - 1) exp(-x / scale) / (Gamma(shape) scale^shape)`` for x > 0.

    Parameters
    ----------
    floor : float or array-like of shape (d,), optional
        Least standard deviation of a component in each column, relative to its mean; default: that
        of the rounding of the data and of their sums.
    units : array-like of shape (d,), optional
        Values from which others are counted inside; set when data are met.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Gamma
    >>> fit = Mixture(Gamma()).fit(np.array([[1.0], [3.0], [2.5]]))
    >>> (fit.shapes_ * fit.scales_).round(4).tolist()
    [[2.1667]]
    """

    parameters = GammaParams
    kernel_parameters = PositiveKernel
    takes_beside = ("censored",)

    def censored(self) -> Family[Any, Any]:
        return CensoredGamma(self.floor, self.units)

    def __init__(self, floor: Any = None, units: Any = None):
        self.floor = floor
        self.units = units

    def bind(self, facts: Facts) -> Self:
        return type(self)(self.floor, upper_values(facts.rows) if self.units is None else self.units)

    def check_bound(self, n_features: int) -> None:
        check_column_values("units", self.units, n_features)
        if self.floor is not None:
            check_column_values("floor", np.broadcast_to(self.floor, n_features), n_features)

    def _units(self, n_features: int) -> np.ndarray:
        return np.ones(n_features) if self.units is None else np.asarray(self.units)

    def _relative(self, params: GammaParams) -> np.ndarray:
        """Means in the columns' units."""
        return np.asarray(params.shapes * (params.scales / self._units(params.shapes.shape[1])))

    def _largest_shapes(self, relative: np.ndarray) -> np.ndarray:
        """Shapes of components with the least spread, by their means in the columns' units."""
        if self.floor is not None:
            return np.broadcast_to(
                1 / np.maximum(np.asarray(self.floor, dtype=np.float64), 1e-140) ** 2, relative.shape
            )
        cancelling = np.maximum(gap(relative - 1), (relative - 1) * (1 - 1 / relative))
        return 1 / np.maximum((_EPS / 8) ** 2, _ROUNDINGS * _EPS * cancelling)

    def at_floor(self, params: GammaParams) -> np.ndarray:
        return np.asarray(params.shapes >= self._largest_shapes(self._relative(params)) * (1 - 1e-6))

    def slack(self, new: GammaParams, about: GammaParams, cells: np.ndarray) -> float:
        shrunk = np.log(np.maximum(about.shapes / new.shapes, 1.0))
        # there log-densities are rounded by that much
        rounding = 0.0 if self.floor is not None else 2 / _ROUNDINGS
        return float(0.5 * np.sum(cells * np.where(self.at_floor(new), shrunk + rounding, 0.0)))

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~(rows > 0), "the values must be positive")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.cbrt(rows)

    def natural(self, params: GammaParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """With the mean m, ``shape (log (x / m) - x / m + 1)`` by what is small where x and m are near the unit."""
        shapes, relative = params.shapes, self._relative(params)
        constants = 0.5 * np.log(shapes / (2 * np.pi)) - stirling(shapes) - shapes * gap(1 / relative - 1)
        # less log x, which is the difference of both functions of x and the log of the unit
        return shapes * (1 - 1 / relative) - 1, 1 - shapes, constants - np.log(self._units(shapes.shape[1]))

    def kernel_extras(self, params: GammaParams) -> tuple[np.ndarray, ...]:
        return (1 / self._units(params.shapes.shape[1]),)

    def expectations(self, params: GammaParams) -> tuple[np.ndarray, np.ndarray]:
        relative = self._relative(params)
        return relative - 1, gap(relative - 1) + log_minus_psi(params.shapes)

    def alike(self, rows: np.ndarray, n_components: int) -> GammaParams:
        scales = np.tile(self._units(rows.shape[1]), (n_components, 1))
        return GammaParams(np.ones_like(scales), scales)

    def estimate(self, one: np.ndarray, two: np.ndarray, about: GammaParams, frozen: frozenset[str]) -> GammaParams:
        """Maximum likelihood (Minka 2002, Estimating a gamma distribution)."""
        units = self._units(one.shape[1])
        shapes, scales = about
        if "shapes" not in frozen and "scales" in frozen:
            target = one - two - np.log(scales / units)
            shapes = newton(shapes, lambda a: a - (psi(a) - target) / polygamma(1, a))
        elif "shapes" not in frozen:
            largest = self._largest_shapes(1 + one)
            # log of the mean less the mean log
            distance = np.maximum(two - gap(one), 0.5 / largest)
            start = (3 - distance + np.sqrt((distance - 3) ** 2 + 24 * distance)) / (12 * distance)
            # the step is Newton's for 1 / shape, in which the likelihood is nearly quadratic
            shapes = newton(start, lambda a: 1 / (1 / a + (log_minus_psi(a) - distance) / (a**2 * _slope(a))))
            shapes = np.minimum(shapes, largest)
        return GammaParams(shapes, scales if "scales" in frozen else units * (1 + one) / shapes)

    def sample(self, params: GammaParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.gamma(params.shapes[k], params.scales[k], size=(n, params.shapes.shape[1]))

    def means(self, params: GammaParams) -> np.ndarray:
        return np.asarray(params.shapes * params.scales)


class CensoredGamma(CensoredFamily, Gamma):
    """Gamma distributions of values of which some are censored.

    `Gamma` becomes it where ``fit(X, censored=...)`` or ``fit(X, upper=...)`` tells where values lie. Samples are not
    censored.

    Parameters
    ----------
    floor, units
        As of `Gamma`.
    """

    censored_kernel = CensoredGammaKernel

    def cell_parameters(self, params: GammaParams, about: GammaParams) -> tuple[np.ndarray, ...]:
        constants = 0.5 * np.log(params.shapes / (2 * np.pi)) - stirling(params.shapes)
        units = self._units(params.shapes.shape[1])
        return params.shapes, params.scales, constants, *self.expectations(params), units


def _slope(a: np.ndarray) -> np.ndarray:
    """Derivative of ``log a - psi(a)``."""
    large = np.maximum(a, 1e4)
    return np.where(a > 1e4, -0.5 / large**2 - 1 / (6 * large**3), 1 / a - polygamma(1, np.minimum(a, 1e4)))
