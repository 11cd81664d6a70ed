"""Multivariate t distributions: Gaussians with heavy tails."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numba import njit
from scipy.special import gammaln, psi

from fastem.dispatch import add_statistics, implements, log_density
from fastem.elementary import log
from fastem.families._conditional import add_conditional, distances, divide
from fastem.families._correlated import conditional_law, patterns
from fastem.families._gaussian import GaussianFamily, GaussianParams, column_moments
from fastem.families._independent import (
    add_incomplete,
    add_independent,
    incomplete_log_density,
    independent_log_density,
)
from fastem.families._triangular import add_triangular, triangular_log_density
from fastem.families.gaussian_diag import GaussianDiag
from fastem.families.gaussian_full import GaussianFull
from fastem.family import Facts, Family, Maximized, Prepared
from fastem.simd import fill, fma, lanes, load, splat, store, total
from fastem.statistics import add_lanes, zeros
from fastem.tiles import n_points

__all__ = ["StudentT", "StudentTDiag", "StudentTFull"]

_DOFS = (0.05, 1e4)  # beyond the upper bound it is Gaussian in all but the last digits


class StudentParams(NamedTuple):
    """Means (K, d), scale matrices (K, d, d) or squared scales (K, d), degrees of freedom (K,)."""

    means: np.ndarray
    scales: np.ndarray
    dofs: np.ndarray


class FullStudentKernel(NamedTuple):
    """Gaussian parameters with constants 0, tables and inverse degrees of freedom.

    The tables are, of each component and number of missing cells (K, d + 1), constants, half the
    degrees of freedom of the density, and expectations of log u beside log u; the inverse degrees
    of freedom (K,) are 0 for Gaussians.
    """

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factors: np.ndarray
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray


class FullStudentIncomplete(NamedTuple):
    """The same for rows with missing cells."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    factors: np.ndarray
    lane_means: np.ndarray
    lane_means_low: np.ndarray
    lane_precisions: np.ndarray
    places: np.ndarray
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray


class DiagStudentKernel(NamedTuple):
    """The same for independent scales."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray


class DiagStudentIncomplete(NamedTuple):
    """The same for rows with missing cells, with the logarithms of the scales (K, d)."""

    means: np.ndarray
    means_low: np.ndarray
    centres: np.ndarray
    centres_low: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    offsets: np.ndarray
    log_weights: np.ndarray
    log_norms: np.ndarray
    halves: np.ndarray
    logs: np.ndarray
    inverse: np.ndarray
    log_scales: np.ndarray


class StudentStatistics(NamedTuple):
    """Moments with weights ``r u``; sums of r u where cells are missing (K, d); of r u and r E log u (K,);
    and of r where cells are missing (K, d).
    """

    first: np.ndarray
    second: np.ndarray
    absent: np.ndarray
    scales: np.ndarray
    logs: np.ndarray
    holes: np.ndarray


# --- kernels ----------------------------------------------------------------------------------


@njit(error_model="numpy")
def _densities(params, k, n_missing, out, m):  # type: ignore[no-untyped-def]
    """Log-densities from ``-q / 2``, all points with the same number of missing cells."""
    w = lanes(out)
    at = k * params.log_norms.shape[1] + n_missing
    constant = splat(params.log_norms, at)
    one = fill(constant, 1.0)
    half = fill(constant, 0.0) - splat(params.halves, at)
    scale = splat(params.inverse, k) * fill(constant, -2.0)
    for b in range(0, m, w):
        store(out, k * m + b, fma(log(fma(load(out, k * m + b), scale, one)), half, constant))


@njit(error_model="numpy")
def _density_of_point(params, k, n_missing, minus_half_q):  # type: ignore[no-untyped-def]
    growth = math.log1p(-2.0 * minus_half_q * params.inverse[k])
    return params.log_norms[k, n_missing] - params.halves[k, n_missing] * growth


@njit(error_model="numpy")
def _weigh(params, k, n_missing, q, resp, weighted, stats, lane, m):  # type: ignore[no-untyped-def]
    """Weights ``r u`` of points with the same number of missing cells, from ``-q / 2``."""
    w = lanes(resp)
    at = k * params.log_norms.shape[1] + n_missing
    zero = fill(load(resp, 0), 0.0)
    one = fill(zero, 1.0)
    scale = splat(params.inverse, k) * fill(zero, -2.0)
    # u = (nu + d) / (nu + q) = growth / (1 + q / nu), with growth = 2 half / nu; 1 for Gaussians
    inverse = params.inverse[k]
    growth = fill(zero, float(2.0 * params.halves[k, n_missing] * inverse) if inverse > 0.0 else 1.0)
    shift = splat(params.logs, at)
    s = zero
    logs = zero
    for b in range(0, m, w):
        r = load(resp, k * m + b)
        u = growth / fma(load(q, k * m + b), scale, one)
        y = r * u
        store(weighted, k * m + b, y)
        s = s + y
        logs = fma(r, log(u) + shift, logs)
    stats.scales[lane, k] += total(s)
    stats.logs[lane, k] += total(logs)


@njit(error_model="numpy")
def _weigh_point(params, k, n_missing, minus_half_q, r, stats, lane):  # type: ignore[no-untyped-def]
    inverse = params.inverse[k]
    growth = 2.0 * params.halves[k, n_missing] * inverse if inverse > 0.0 else 1.0
    u = growth / (1.0 - 2.0 * minus_half_q * inverse)
    stats.scales[lane, k] += r * u
    stats.logs[lane, k] += r * (math.log(u) + params.logs[k, n_missing])
    return r * u


@njit(error_model="numpy")
def _halves(scratch, k, m):  # type: ignore[no-untyped-def]
    """Room for distances and weights (K, m) each, and the rest."""
    return scratch[: k * m].reshape(k, m), scratch[k * m : 2 * k * m].reshape(k, m), scratch[2 * k * m :]


@implements(log_density, FullStudentKernel)
def _full_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    factors = params.factors
    triangular_log_density(tile, params, factors, factors.shape[1], out, scratch)
    for k in range(out.shape[0]):
        _densities(params, k, 0, out, n_points(tile))


@implements(add_statistics, FullStudentKernel)
def _add_full(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    n_components = resp.shape[0]
    m = n_points(tile)
    factors = params.factors
    stride = stats.second.shape[2]
    at = lane * n_components * stride
    q, weighted, rest = _halves(scratch, n_components, m)
    triangular_log_density(tile, params, factors, factors.shape[1], q, rest)
    for k in range(n_components):
        _weigh(params, k, 0, q, resp, weighted, stats, lane, m)
    add_triangular(tile, weighted, counts, params, stats.first, stats.second, at, stride, lane, rest)


@implements(log_density, FullStudentIncomplete)
def _incomplete_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    n_components = out.shape[0]
    m = n_points(tile)
    _, _, rest = _halves(scratch, n_components, m)
    distances(tile, params, params.factors, params.factors.shape[1], out, rest)
    _, _, adds, holes, _, _, _, _, _, _ = divide(rest, n_components, tile.shape[0], m)
    for k in range(n_components):
        for b in range(m):
            out[k, b] = adds[k * m + b] + _density_of_point(params, k, int(holes[b]), out[k, b])


@implements(add_statistics, FullStudentIncomplete)
def _add_incomplete_full(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    n_components = resp.shape[0]
    d = tile.shape[0]
    m = n_points(tile)
    stride = stats.second.shape[2]
    at = lane * n_components * stride
    q, weighted, rest = _halves(scratch, n_components, m)
    distances(tile, params, params.factors, params.factors.shape[1], q, rest)
    _, _, _, holes, _, _, _, _, _, _ = divide(rest, n_components, d, m)
    for k in range(n_components):
        for b in range(m):
            weighted[k, b] = _weigh_point(params, k, int(holes[b]), q[k, b], resp[k, b], stats, lane)
    add_conditional(tile, weighted, resp, counts, params, stats.first, stats.second, at, stride, lane, rest)


@implements(log_density, DiagStudentKernel)
def _diag_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    independent_log_density(tile, params, out)
    for k in range(out.shape[0]):
        _densities(params, k, 0, out, n_points(tile))


@implements(add_statistics, DiagStudentKernel)
def _add_diag(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    m = n_points(tile)
    q, weighted, _ = _halves(scratch, resp.shape[0], m)
    independent_log_density(tile, params, q)
    for k in range(resp.shape[0]):
        _weigh(params, k, 0, q, resp, weighted, stats, lane, m)
    add_independent(tile, weighted, counts, params, stats.first, stats.second, tile.shape[0], 1, lane)


@implements(log_density, DiagStudentIncomplete)
def _incomplete_diag_log_density(tile, params, out, scratch):  # type: ignore[no-untyped-def]
    incomplete_log_density(tile, params, out)
    for k in range(out.shape[0]):
        for b in range(n_points(tile)):
            n_missing = 0
            constant = 0.0
            for j in range(tile.shape[0]):
                if tile[j, b] != tile[j, b]:  # a missing cell is not itself
                    n_missing += 1
                    constant += params.log_scales[k, j]
            out[k, b] = constant + _density_of_point(params, k, n_missing, out[k, b])


@implements(add_statistics, DiagStudentIncomplete)
def _add_incomplete_diag(tile, resp, counts, params, stats, lane, scratch):  # type: ignore[no-untyped-def]
    d = tile.shape[0]
    m = n_points(tile)
    q, weighted, _ = _halves(scratch, resp.shape[0], m)
    incomplete_log_density(tile, params, q)
    for k in range(resp.shape[0]):
        for b in range(m):
            n_missing = 0
            for j in range(d):
                if tile[j, b] != tile[j, b]:
                    n_missing += 1
                    stats.holes[lane, k, j] += resp[k, b]
            weighted[k, b] = _weigh_point(params, k, n_missing, q[k, b], resp[k, b], stats, lane)
    add_incomplete(tile, weighted, counts, params, stats, d, 1, lane)


# --- the family -------------------------------------------------------------------------------


class _StudentFamily(Family[StudentParams, StudentStatistics]):
    """Multivariate t distributions, fitted by ECM with an expanded parameter.

    ``x | u ~ N(mean, scale / u)``, ``u ~ Gamma(dof / 2, dof / 2)``: responsibilities come with
    expectations of u and log u (Peel and McLachlan 2000, Robust mixture modelling using the t
    distribution; scales are divided by the sum of r u instead of r as in PX-EM, Liu, Rubin and Wu
    1998, which has the same limit and is faster).

    Parameters
    ----------
    dofs : float, optional
        Degrees of freedom of all components; default: estimated.
    shared_dofs : bool, default=False
        Whether estimated degrees of freedom are the same in all components.
    reg_covar : float, default=1e-6
        Added to the diagonal of the scale matrices, relative to each column's variance.
    """

    parameters = StudentParams
    gaussian: ClassVar[type[GaussianFamily]]

    def __init__(self, dofs: float | None = None, shared_dofs: bool = False, reg_covar: Any = 1e-6):
        self.dofs = dofs
        self.shared_dofs = shared_dofs
        self.reg_covar = reg_covar

    @property
    def _gaussians(self) -> GaussianFamily:
        return self.gaussian(self.reg_covar)

    def _as_gaussians(self, params: StudentParams) -> GaussianParams:
        return GaussianParams(params.means, params.scales, self._gaussians.factor(params.scales))

    @abstractmethod
    def _kernel(self, gaussians: Any, params: StudentParams, tables: tuple[np.ndarray, ...]) -> Any:
        """Kernel parameters."""

    # --- statistics ---------------------------------------------------------------------------

    def bind(self, facts: Facts) -> Self:
        if self.dofs is not None and not self.dofs > 0:
            raise ValueError(f"dofs must be positive, not {self.dofs!r}.")
        return type(self)(self.dofs, self.shared_dofs, self.reg_covar * column_moments(facts.rows, facts.weights)[1])

    def zeros(self, lanes: int, n_components: int, n_features: int) -> StudentStatistics:
        one, cells = (n_components,), (n_components, n_features)
        second = self._gaussians.second_shape(n_components, n_features)
        return zeros(
            StudentStatistics, lanes, first=cells, second=second, absent=cells, scales=one, logs=one, holes=cells
        )

    def scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return self._gaussians.scratch(n_components, n_features, tile_rows) + 2 * n_components * tile_rows

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        return self._gaussians.incomplete_scratch(n_components, n_features, tile_rows) + 2 * n_components * tile_rows

    def prepare(
        self,
        params: StudentParams,
        about: StudentParams,
        log_weights: np.ndarray,
        dtype: np.dtype[Any],
        missing: bool,
    ) -> Prepared:
        k, d = params.means.shape
        gaussians = self._gaussians
        as_gaussians = self._as_gaussians(params)
        both = as_gaussians, self._as_gaussians(about)
        kernel = gaussians.prepare(*both, np.zeros(k), dtype, missing).params
        nothing = np.zeros(k, dtype)
        kernel = kernel._replace(constants=nothing)
        here = d - np.arange(d + 1)
        dofs = params.dofs[:, None]
        gaussian = np.isinf(dofs)
        safe = np.where(gaussian, 1.0, dofs)
        halves = (safe + here) / 2
        constants = gammaln(halves) - gammaln(safe / 2) - here / 2 * np.log(safe * np.pi)
        constants += gaussians.log_determinants(as_gaussians.precisions_cholesky, d)[:, None] + log_weights[:, None]
        offset = float(constants[:, 0].max())
        tables = (constants - offset, halves, np.where(gaussian, 0.0, psi(halves) - np.log(halves)))
        inverse = np.where(gaussian, 0.0, 1 / safe)[:, 0]
        return Prepared(self._kernel(kernel, params, tuple(t.astype(dtype) for t in (*tables, inverse))), offset)

    def recentre(
        self, stats: StudentStatistics, counts: np.ndarray, about: StudentParams, dtype: np.dtype[Any]
    ) -> StudentParams | None:
        centre = self._gaussians.recentre(stats, stats.scales, self._as_gaussians(about), dtype)
        return None if centre is None else about._replace(means=centre.means)

    def move(self, stats: StudentStatistics, counts: np.ndarray, about: StudentParams, to: StudentParams) -> Any:
        both = self._as_gaussians(about), self._as_gaussians(to)
        return self._gaussians.move(stats, stats.scales, *both)

    def expected(self, params: StudentParams, counts: np.ndarray) -> StudentStatistics:
        """With u of its mean 1, and E log u = psi(dof / 2) - log(dof / 2)."""
        stats = add_lanes(self.zeros(1, *params.means.shape))
        halves = np.where(np.isinf(params.dofs), 1.0, params.dofs / 2)
        logs = np.where(np.isinf(params.dofs), 0.0, psi(halves) - np.log(halves))
        second = self._gaussians.second_of(params.scales, counts, params.means)
        return stats._replace(second=second, scales=counts.copy(), logs=counts * logs)

    # --- parameters ---------------------------------------------------------------------------

    def about(self, rows: np.ndarray, n_components: int) -> StudentParams:
        """Gaussians, so that a first M-step weighs all points alike."""
        gaussians = self._gaussians.about(rows, n_components)
        return StudentParams(gaussians.means, gaussians.covariances, np.full(n_components, np.inf))

    def maximize(
        self,
        stats: StudentStatistics,
        counts: np.ndarray,
        about: StudentParams,
        dead: np.ndarray,
        held: frozenset[str],
    ) -> Maximized:
        names = {"means": "means", "scales": "covariances"}
        of_gaussians = frozenset(names[name] for name in held & names.keys())
        result = self._gaussians.maximize(stats, stats.scales, self._as_gaussians(about), dead, of_gaussians)
        scales = result.params.covariances
        if "scales" not in held:
            scales = self._rescale(scales, stats, counts, dead)
        new = StudentParams(result.params.means, scales, self._solve_dofs(stats, counts, about.dofs))
        # a scale that a prior value holds cannot take up the expansion: it is plain ECM then
        return Maximized(self.keep(new, about, dead, held), result.slack)

    def _rescale(
        self, scales: np.ndarray, stats: StudentStatistics, counts: np.ndarray, dead: np.ndarray
    ) -> np.ndarray:
        """Scales where cells are missing."""
        return scales

    def _solve_dofs(self, stats: StudentStatistics, counts: np.ndarray, old: np.ndarray) -> np.ndarray:
        if self.dofs is not None:
            return np.full(len(old), float(self.dofs))
        if np.isinf(old).all():
            return np.full(len(old), 20.0)
        safe = np.maximum(counts, 1e-300)
        # of u in units of its mean, the expanded parameter
        alphas = np.maximum(stats.scales / safe, 1e-300)
        means = stats.logs / safe - np.log(alphas) - 1
        if self.shared_dofs:
            means = np.full(len(old), float(counts @ means / counts.sum()))
        low, high = np.full(len(old), np.log(_DOFS[0])), np.full(len(old), np.log(_DOFS[1]))
        for _ in range(60):
            middle = (low + high) / 2
            half = np.exp(middle) / 2
            rising = 1 + np.log(half) - psi(half) + means > 0
            low, high = np.where(rising, middle, low), np.where(rising, high, middle)
        return np.exp((low + high) / 2)

    def displace(self, params: StudentParams, k: int, rng: np.random.RandomState) -> StudentParams:
        return params._replace(means=self._gaussians.displace(self._as_gaussians(params), k, rng).means)

    def coincide(self, params: StudentParams) -> bool:
        return self._gaussians.coincide(self._as_gaussians(params))

    def n_parameters(self, n_components: int, n_features: int) -> int:
        of_dofs = 0 if self.dofs is not None else 1 if self.shared_dofs else n_components
        return self._gaussians.n_parameters(n_components, n_features) + of_dofs

    def n_held(self, held: frozenset[str], n_components: int, n_features: int) -> int:
        names = {"means": "means", "scales": "covariances"}
        of_gaussians = frozenset(names[name] for name in held & names.keys())
        gaussians = self._gaussians
        of_dofs = self.n_parameters(n_components, n_features) - gaussians.n_parameters(n_components, n_features)
        return gaussians.n_held(of_gaussians, n_components, n_features) + of_dofs * ("dofs" in held)

    def check_params(self, params: StudentParams, n_components: int, n_features: int) -> None:
        # infinitely many, of Gaussians, are what a start begins with
        finite = params._replace(dofs=np.where(np.isposinf(params.dofs), 1.0, params.dofs))
        super().check_params(finite, n_components, n_features)
        self._gaussians.factor(params.scales)
        if (params.dofs <= 0).any():
            raise ValueError("The parameter 'dofs' must be positive.")

    # --- rows ---------------------------------------------------------------------------------

    def ellipses(self, params: StudentParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return params.means, self._gaussians.matrices(params.scales, *params.means.shape), params.dofs

    def means(self, params: StudentParams) -> np.ndarray:
        return params.means

    def sample(self, params: StudentParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        normal = self._gaussians.sample(self._as_gaussians(params), k, n, rng) - params.means[k]
        half = params.dofs[k] / 2
        return np.asarray(params.means[k] + normal / np.sqrt(rng.gamma(half, 1 / half, size=(n, 1))))

    def complete(
        self, params: StudentParams, k: int, rows: np.ndarray, rng: np.random.RandomState | None
    ) -> np.ndarray:
        """The missing cells are t again, given the others, wider for rows far out."""
        filled = rows.copy()
        scale = params.scales[k] if params.scales.ndim == 3 else np.diag(params.scales[k])
        for some, here in patterns(rows):
            values = rows[np.ix_(some, here)]
            means, spread = conditional_law(params.means[k], scale, values, here)
            if rng is not None and len(spread):
                deviations = values - params.means[k][here]
                q = np.sum(deviations * np.linalg.solve(scale[np.ix_(here, here)], deviations.T).T, axis=1)
                dof = params.dofs[k] + here.sum()
                u = rng.gamma(dof / 2, 2 / (params.dofs[k] + q))
                draws = rng.multivariate_normal(np.zeros(len(spread)), spread, len(some))
                means = means + draws / np.sqrt(u)[:, None]
            filled[np.ix_(some, ~here)] = means
        return filled


class StudentTFull(_StudentFamily):
    __doc__ = (_StudentFamily.__doc__ or "") + "\n\nEach component has a scale matrix of its own."
    gaussian = GaussianFull

    def _kernel(self, gaussians: Any, params: StudentParams, tables: tuple[np.ndarray, ...]) -> Any:
        kind: Any = FullStudentIncomplete if hasattr(gaussians, "places") else FullStudentKernel
        return kind(*gaussians, *tables)


class StudentTDiag(_StudentFamily):
    __doc__ = (_StudentFamily.__doc__ or "") + "\n\nEach column has a scale of its own, with one u for a row."
    gaussian = GaussianDiag

    def _kernel(self, gaussians: Any, params: StudentParams, tables: tuple[np.ndarray, ...]) -> Any:
        kind: Any = DiagStudentKernel
        if not hasattr(gaussians, "offsets"):
            return kind(*gaussians, *tables)
        kind, dtype = DiagStudentIncomplete, gaussians.offsets.dtype
        # the distances alone
        nothing = gaussians._replace(offsets=np.zeros_like(gaussians.offsets), log_weights=np.zeros_like(tables[3]))
        return kind(*nothing, *tables, (0.5 * np.log(params.scales)).astype(dtype))

    def _rescale(
        self, scales: np.ndarray, stats: StudentStatistics, counts: np.ndarray, dead: np.ndarray
    ) -> np.ndarray:
        """Of a column's own cells: the sum of r, in units of the mean u, takes the place of that of r u."""
        if not stats.holes.any():
            return scales
        alphas = stats.scales / np.maximum(counts, 1e-300)
        cells = np.maximum(stats.scales[:, None] - stats.absent, 0)
        wanted = np.maximum(counts[:, None] - stats.holes, 1e-300) * alphas[:, None]
        factors = np.where((cells > 0) & ~dead[:, None], cells / wanted, 1.0)
        return np.asarray(scales * factors)


def StudentT(  # it makes a family, as a class does
    covariance_type: str = "full", dofs: float | None = None, shared_dofs: bool = False, reg_covar: float = 1e-6
) -> _StudentFamily:
    """Multivariate t distributions.

    Parameters
    ----------
    covariance_type : {'full', 'diag'}, default='full'
        Scale matrices, or a scale of each column.
    dofs : float, optional
        Degrees of freedom of all components; default: estimated.
    shared_dofs : bool, default=False
        Whether estimated degrees of freedom are the same in all components.
    reg_covar : float, default=1e-6
        Added to the diagonal of the scale matrices, relative to each column's variance.

    Returns
    -------
    family : StudentTFull or StudentTDiag

    Examples
    --------
    >>> from fastem.families import StudentT
    >>> StudentT("diag", dofs=4)
    StudentTDiag(dofs=4)
    """
    kinds: dict[str, type[_StudentFamily]] = {"full": StudentTFull, "diag": StudentTDiag}
    if covariance_type not in kinds:
        raise ValueError(f"covariance_type must be one of {', '.join(kinds)}, not {covariance_type!r}.")
    return kinds[covariance_type](dofs, shared_dofs, reg_covar)
