"""Multivariate t distributions, Gaussians with heavy tails: what the structures have in common."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numba import njit
from scipy.special import gammaln, psi

from fastem.elementary import log
from fastem.families._correlated import conditional_law, patterns
from fastem.families._gaussian import GaussianFamily, GaussianParams, column_moments
from fastem.family import Facts, Family, Maximized, Prepared
from fastem.simd import fill, fma, lanes, load, splat, store, total
from fastem.statistics import add_lanes, zeros

__all__ = [
    "StudentFamily", "StudentParams", "StudentStatistics", "densities", "divide_scratch", "grow",
    "incomplete_densities", "incomplete_weigh", "lay_out", "weigh",
]  # fmt: skip

_DOFS = (0.05, 1e4)  # beyond the upper bound it is Gaussian in all but the last digits


class StudentParams(NamedTuple):
    """Means (K, d), scale matrices (K, d, d) or squared scales (K, d), degrees of freedom (K,)."""

    means: np.ndarray
    scales: np.ndarray
    dofs: np.ndarray


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
#
# Constants, half the degrees of freedom of the density and expectations of log u beside log u are
# tables of components and numbers of missing cells, (K, d + 1): `log_norms`, `halves` and `logs` of
# the kernel parameters. Where points miss different numbers of cells, they are laid out for each, (3, m).


@njit(error_model="numpy")
def divide_scratch(scratch, k, m):  # type: ignore[no-untyped-def]
    """Half the distances, negative, and ``log(1 + q / nu)`` (K, m); what is laid out for points (3, m) and their
    numbers of missing cells (m,); the rest.
    """
    a, b, c = k * m, 2 * k * m, (2 * k + 3) * m
    return (
        scratch[:a].reshape(k, m), scratch[a:b].reshape(k, m), scratch[b:c].reshape(3, m), scratch[c : c + m],
        scratch[c + m :],
    )  # fmt: skip


@njit(error_model="numpy")
def lay_out(params, k, holes, laid):  # type: ignore[no-untyped-def]
    """Lay out what holds for points with `holes` missing cells each."""
    for b in range(laid.shape[1]):
        n_missing = np.uintp(holes[b])
        laid[0, b] = params.log_norms[k, n_missing]
        laid[1, b] = params.halves[k, n_missing]
        laid[2, b] = params.logs[k, n_missing]


@njit(error_model="numpy")
def _growth(minus_half_q, inverse):  # type: ignore[no-untyped-def]
    """``1 + q / nu``."""
    return fma(minus_half_q, inverse * fill(inverse, -2.0), fill(inverse, 1.0))


@njit(error_model="numpy")
def grow(params, q, logs):  # type: ignore[no-untyped-def]
    """``log(1 + q / nu)`` of all components from ``-q / 2``."""
    m = q.shape[1]
    for k in range(q.shape[0]):
        inverse = splat(params.inverse, k)
        for b in range(k * m, (k + 1) * m, lanes(q)):
            store(logs, b, log(_growth(load(q, b), inverse)))


@njit(error_model="numpy")
def densities(params, k, logs, out):  # type: ignore[no-untyped-def]
    """Log-densities, no cell missing."""
    m = out.shape[1]
    at = k * params.log_norms.shape[1]
    log_norm = splat(params.log_norms, at)
    half = fill(log_norm, 0.0) - splat(params.halves, at)
    for b in range(k * m, (k + 1) * m, lanes(out)):
        store(out, b, fma(load(logs, b), half, log_norm))


@njit(error_model="numpy")
def incomplete_densities(k, laid, logs, out):  # type: ignore[no-untyped-def]
    """Log-densities from what is laid out."""
    m = out.shape[1]
    zero = fill(load(laid, 0), 0.0)
    for b in range(0, m, lanes(out)):
        store(out, k * m + b, fma(load(logs, k * m + b), zero - load(laid, m + b), load(laid, b)))


@njit(error_model="numpy")
def weigh(params, k, q, logs, resp, stats, lane):  # type: ignore[no-untyped-def]
    """Weights ``r u`` of points in place of ``-q / 2``, no cell missing, and the sums of r u and of r E log u.

    ``u = (nu + d) / (nu + q)``, with the numerator twice `half`; 1 for Gaussians.
    """
    m = resp.shape[1]
    at = k * params.log_norms.shape[1]
    inverse = splat(params.inverse, k)
    rise = _rise(params, k, inverse, splat(params.halves, at))
    shift = log(rise) + splat(params.logs, at)
    s = fill(inverse, 0.0)
    expected = s
    for b in range(k * m, (k + 1) * m, lanes(resp)):
        r = load(resp, b)
        y = r * (rise / _growth(load(q, b), inverse))
        store(q, b, y)
        s = s + y
        expected = fma(r, shift - load(logs, b), expected)
    stats.scales[lane, k] += total(s)
    stats.logs[lane, k] += total(expected)


@njit(error_model="numpy")
def incomplete_weigh(params, k, laid, q, logs, resp, stats, lane):  # type: ignore[no-untyped-def]
    """The same with what is laid out."""
    m = resp.shape[1]
    inverse = splat(params.inverse, k)
    s = fill(inverse, 0.0)
    expected = s
    for b in range(0, m, lanes(resp)):
        r = load(resp, k * m + b)
        rise = _rise(params, k, inverse, load(laid, m + b))
        y = r * (rise / _growth(load(q, k * m + b), inverse))
        store(q, k * m + b, y)
        s = s + y
        expected = fma(r, (log(rise) + load(laid, 2 * m + b)) - load(logs, k * m + b), expected)
    stats.scales[lane, k] += total(s)
    stats.logs[lane, k] += total(expected)


@njit(error_model="numpy")
def _rise(params, k, inverse, half):  # type: ignore[no-untyped-def]
    """``(nu + d) / nu``; 1 for Gaussians, whose degrees of freedom have the inverse 0."""
    return fma(half, inverse + inverse, fill(inverse, 0.0 if params.inverse[k] > 0.0 else 1.0))


class StudentFamily(Family[StudentParams, StudentStatistics]):
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
        return self._gaussians.scratch(n_components, n_features, tile_rows) + _own_scratch(n_components, tile_rows)

    def incomplete_scratch(self, n_components: int, n_features: int, tile_rows: int) -> int:
        gaussians = self._gaussians.incomplete_scratch(n_components, n_features, tile_rows)
        return gaussians + _own_scratch(n_components, tile_rows)

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


def _own_scratch(n_components: int, tile_rows: int) -> int:
    return (2 * n_components + 4) * tile_rows
