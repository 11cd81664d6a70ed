"""Multivariate t distributions, Gaussians with heavy tails: what the structures have in common."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numba import njit
from scipy.special import polygamma

from fastem.engine.statistics import add_lanes, zeros
from fastem.families._floor import floor_of
from fastem.families._settings import check_flag
from fastem.families._special import log_minus_psi, log_rising
from fastem.families.family import Facts, Family, Maximized, Prepared
from fastem.families.gaussian.conditional import conditional_law, patterns
from fastem.families.gaussian.family import GaussianFamily, GaussianParams
from fastem.kernels.simd import elements, fill, fma, load, splat, store, total
from fastem.kernels.vector_math import log

__all__ = [
    "StudentFamily", "StudentParams", "StudentStatistics", "densities", "divide_scratch", "grow",
    "incomplete_densities", "incomplete_weigh", "lay_out", "weigh",
]  # fmt: skip

_DOFS = (0.01, 1e4)  # of estimates; beyond the upper bound it is Gaussian in all but the last digits
_GAUSSIAN_DOFS = 1e12  # from here on to all digits; infinitely many are as many
_STEP = 0.25  # of the logarithm of the degrees of freedom


class StudentParams(NamedTuple):
    """Means (K, d), scale matrices (K, d, d) or squared scales (K, d), degrees of freedom (K,)."""

    means: np.ndarray
    scales: np.ndarray
    dofs: np.ndarray


class StudentStatistics(NamedTuple):
    """Moments with weights ``r u``; sums of r u where cells are missing (K, d); of r u, r E log u and r u^2 (K,);
    and of r where cells are missing (K, d).
    """

    first: np.ndarray
    second: np.ndarray
    absent: np.ndarray
    scales: np.ndarray
    logs: np.ndarray
    squares: np.ndarray
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
    """``log(1 + q / nu)`` of all components from ``-q / 2``; for small q / nu to all digits too."""
    m = q.shape[1]
    for k in range(q.shape[0]):
        inverse = splat(params.inverse, k)
        step = inverse * fill(inverse, -2.0)
        one = fill(inverse, 1.0)
        for b in range(k * m, (k + 1) * m, elements(q)):
            y = load(q, b) * step
            grown = one + y
            lost = y - (grown - one)
            store(logs, b, log(grown) + lost / grown)


@njit(error_model="numpy")
def densities(params, k, logs, out):  # type: ignore[no-untyped-def]
    """Log-densities, no cell missing."""
    m = out.shape[1]
    at = k * params.log_norms.shape[1]
    log_norm = splat(params.log_norms, at)
    half = fill(log_norm, 0.0) - splat(params.halves, at)
    for b in range(k * m, (k + 1) * m, elements(out)):
        store(out, b, fma(load(logs, b), half, log_norm))


@njit(error_model="numpy")
def incomplete_densities(k, laid, logs, out):  # type: ignore[no-untyped-def]
    """Log-densities from what is laid out."""
    m = out.shape[1]
    zero = fill(load(laid, 0), 0.0)
    for b in range(0, m, elements(out)):
        store(out, k * m + b, fma(load(logs, k * m + b), zero - load(laid, m + b), load(laid, b)))


@njit(error_model="numpy")
def weigh(params, k, q, logs, resp, stats, lane):  # type: ignore[no-untyped-def]
    """Weights ``r u`` of points in place of ``-q / 2``, no cell missing, and the sums of r u and of r E log u.

    ``u = (nu + d) / (nu + q)``, with the numerator twice `half`.
    """
    m = resp.shape[1]
    at = k * params.log_norms.shape[1]
    inverse = splat(params.inverse, k)
    rise = splat(params.halves, at) * (inverse + inverse)
    shift = log(rise) + splat(params.logs, at)
    s = fill(inverse, 0.0)
    squares = s
    expected = s
    for b in range(k * m, (k + 1) * m, elements(resp)):
        r = load(resp, b)
        u = rise / _growth(load(q, b), inverse)
        y = r * u
        store(q, b, y)
        s = s + y
        squares = fma(y, u, squares)
        expected = fma(r, shift - load(logs, b), expected)
    stats.scales[lane, k] += total(s)
    stats.logs[lane, k] += total(expected)
    stats.squares[lane, k] += total(squares)


@njit(error_model="numpy")
def incomplete_weigh(params, k, laid, q, logs, resp, stats, lane):  # type: ignore[no-untyped-def]
    """The same with what is laid out."""
    m = resp.shape[1]
    inverse = splat(params.inverse, k)
    s = fill(inverse, 0.0)
    squares = s
    expected = s
    for b in range(0, m, elements(resp)):
        r = load(resp, k * m + b)
        rise = load(laid, m + b) * (inverse + inverse)
        u = rise / _growth(load(q, k * m + b), inverse)
        y = r * u
        store(q, k * m + b, y)
        s = s + y
        squares = fma(y, u, squares)
        expected = fma(r, (log(rise) + load(laid, 2 * m + b)) - load(logs, k * m + b), expected)
    stats.scales[lane, k] += total(s)
    stats.logs[lane, k] += total(expected)
    stats.squares[lane, k] += total(squares)


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
    reg_covar : float or array-like of shape (d,), default=0
        Added to the diagonal of the scale matrices.
    floor : float or array-like of shape (d,), optional
        Least scale of a component in each column. Default in a `Mixture`: an eighth of the distance
        between neighbouring numbers of the data's dtype at the component's mean.
    """

    parameters = StudentParams
    gaussian: ClassVar[type[GaussianFamily]]

    def __init__(self, dofs: float | None = None, shared_dofs: bool = False, reg_covar: Any = 0.0, floor: Any = None):
        self.dofs = dofs
        self.shared_dofs = shared_dofs
        self.reg_covar = reg_covar
        self.floor = floor

    @property
    def _gaussians(self) -> GaussianFamily:
        return self.gaussian(self.reg_covar, floor=self.floor)

    def _as_gaussians(self, params: StudentParams) -> GaussianParams:
        return GaussianParams(params.means, params.scales, self._gaussians.factor(params.scales))

    @abstractmethod
    def _kernel(self, gaussians: Any, params: StudentParams, tables: tuple[np.ndarray, ...]) -> Any:
        """Kernel parameters."""

    # --- statistics ---------------------------------------------------------------------------

    def bind(self, facts: Facts) -> Self:
        if self.dofs is not None and not self.dofs > 0:
            raise ValueError(f"dofs must be positive, not {self.dofs!r}.")
        return type(self)(self.dofs, self.shared_dofs, self.reg_covar, floor_of(facts.rows, self.floor))

    def check_bound(self, n_features: int) -> None:
        self._gaussians.check_bound(n_features)
        check_flag("shared_dofs", self.shared_dofs)
        if self.dofs is not None and not (isinstance(self.dofs, float | int) and self.dofs > 0):
            raise ValueError(f"dofs must be positive, not {self.dofs!r}.")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return draw_in(rows)

    def zeros(self, lanes: int, n_components: int, n_features: int) -> StudentStatistics:
        one, cells = (n_components,), (n_components, n_features)
        second = self._gaussians.second_shape(n_components, n_features)
        return zeros(
            StudentStatistics, lanes, first=cells, second=second, absent=cells, scales=one, logs=one, squares=one,
            holes=cells,
        )  # fmt: skip

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
        dofs = np.minimum(params.dofs, _GAUSSIAN_DOFS)[:, None]
        halves = (dofs + here) / 2
        constants = log_rising(dofs / 2, here / 2) - here / 2 * np.log(dofs * np.pi)
        constants += gaussians.log_determinants(as_gaussians.precisions_cholesky, d)[:, None] + log_weights[:, None]
        offset = float(constants[:, 0].max())
        tables = (constants - offset, halves, -log_minus_psi(halves))
        inverse = 1 / dofs[:, 0]
        return Prepared(self._kernel(kernel, params, tuple(t.astype(dtype) for t in (*tables, inverse))), offset)

    def recentre(
        self,
        stats: StudentStatistics,
        counts: np.ndarray,
        about: StudentParams,
        dtype: np.dtype[Any],
        frozen: frozenset[str],
    ) -> StudentParams | None:
        centre = self._gaussians.recentre(stats, stats.scales, self._as_gaussians(about), dtype, frozen)
        return None if centre is None else about._replace(means=centre.means)

    def move(self, stats: StudentStatistics, counts: np.ndarray, about: StudentParams, to: StudentParams) -> Any:
        both = self._as_gaussians(about), self._as_gaussians(to)
        return self._gaussians.move(stats, stats.scales, *both)

    def expected(self, params: StudentParams, counts: np.ndarray) -> StudentStatistics:
        """With u of its mean 1, and E log u = psi(dof / 2) - log(dof / 2)."""
        stats = add_lanes(self.zeros(1, *params.means.shape))
        logs = -log_minus_psi(np.minimum(params.dofs, _GAUSSIAN_DOFS) / 2)
        second = self._gaussians.second_of(params.scales, counts, params.means)
        return stats._replace(second=second, scales=counts.copy(), logs=counts * logs, squares=counts.copy())

    # --- parameters ---------------------------------------------------------------------------

    def alike(self, rows: np.ndarray, n_components: int) -> StudentParams:
        """Gaussians, so that a first M-step weighs all points alike."""
        gaussians = self._gaussians.alike(rows, n_components)
        return StudentParams(gaussians.means, gaussians.covariances, np.full(n_components, np.inf))

    def maximize(
        self,
        stats: StudentStatistics,
        counts: np.ndarray,
        about: StudentParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        names = {"means": "means", "scales": "covariances"}
        of_gaussians = frozenset(names[name] for name in frozen & names.keys())
        gaussians, before = self._gaussians, self._as_gaussians(about)
        means, scales = gaussians.update(stats, stats.scales, before, dead, of_gaussians)
        alphas = np.where(dead, 1.0, stats.scales / np.where(counts > 0, counts, 1.0))
        if "scales" in frozen:
            held_back, scales = np.ones(len(counts), bool), about.scales
        else:
            expanded = self._rescale(scales, stats, counts, dead)
            scales, held_back = self._bound(expanded, means, alphas)
        # what held_back scales cannot take up of the expansion, the degrees of freedom must not either
        dofs = self._solve_dofs(stats, counts, np.where(held_back, 1.0, alphas), about.dofs)
        new = self.keep(StudentParams(means, scales, dofs), about, dead, frozen)
        return Maximized(new, gaussians.slack(self._as_gaussians(new), before, counts))

    def _bound(self, scales: np.ndarray, means: np.ndarray, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scales that are wide enough, and the mask of components in which something keeps them from being less.

        Those are ECM's without the expanded parameter, whose factor is the mean u of a component.
        """
        wide = self._gaussians.with_floor(scales, means)
        axes = tuple(range(1, scales.ndim))
        held_back = np.any(wide != scales, axis=axes) | np.any(self.reg_covar)
        if not held_back.any():
            return wide, held_back
        plain = self._gaussians.with_floor(scales * alphas.reshape(-1, *(1,) * len(axes)), means)
        return np.where(held_back.reshape(-1, *(1,) * len(axes)), plain, wide), held_back

    def at_floor(self, params: StudentParams) -> np.ndarray:
        return self._gaussians.at_floor(self._as_gaussians(params))

    def _rescale(
        self, scales: np.ndarray, stats: StudentStatistics, counts: np.ndarray, dead: np.ndarray
    ) -> np.ndarray:
        """Scales where cells are missing."""
        return scales

    def _solve_dofs(
        self, stats: StudentStatistics, counts: np.ndarray, alphas: np.ndarray, old: np.ndarray
    ) -> np.ndarray:
        """Degrees of freedom, with u in units of `alphas` (K,), the expanded parameter."""
        if self.dofs is not None:
            return np.full(len(old), float(self.dofs))
        if np.isinf(old).all():
            return np.full(len(old), 20.0)
        safe = np.where(counts > 0, counts, 1.0)
        alphas = np.maximum(alphas, 1e-300)
        means = stats.logs / safe - np.log(alphas) - stats.scales / (safe * alphas)
        if self.shared_dofs:
            means = np.full(len(old), float(counts @ means / counts.sum()))
        low, high = np.full(len(old), np.log(_DOFS[0])), np.full(len(old), np.log(_DOFS[1]))
        for _ in range(60):
            middle = (low + high) / 2
            rising = 1 + log_minus_psi(np.exp(middle) / 2) + means > 0
            low, high = np.where(rising, middle, low), np.where(rising, high, middle)
        return self._lengthened(np.exp((low + high) / 2), stats, counts, old)

    def _lengthened(self, new: np.ndarray, stats: StudentStatistics, counts: np.ndarray, old: np.ndarray) -> np.ndarray:
        """Degrees of freedom as far on as Newton's step goes that knows how much of u the rows do not tell.

        EM creeps where the data are nearly Gaussian. The second derivative of the log-likelihood by
        the degrees of freedom, given the labels, is the one of complete data plus the variance of
        their score (Louis 1982): of ``(log u - u) / 2``, where u is gamma. Steps of the logarithm are
        cut at `_STEP`, which is the step too where that derivative is positive; steps not longer than
        EM's, or where EM does not creep, are not taken, nor any where cells are missing.
        """
        if stats.holes.any():
            return new
        half, shape = old / 2, (old + stats.first.shape[1]) / 2
        score = 0.5 * (counts * (1 + log_minus_psi(half)) + stats.logs - stats.scales)
        complete = 0.5 * counts * (1 / old - 0.5 * polygamma(1, half))
        hidden = 0.25 * (counts * polygamma(1, shape) + (stats.squares - 2 * stats.scales) / shape)
        slope, curve = old * score, old**2 * (complete + hidden) + old * score
        if self.shared_dofs:
            slope, curve = np.full(len(old), slope.sum()), np.full(len(old), curve.sum())
        step = np.where(
            curve < 0, np.clip(-slope / np.where(curve < 0, curve, -1.0), -_STEP, _STEP), _STEP * np.sign(slope)
        )
        plain = np.log(new / old)
        better = (step * plain > 0) & (np.abs(step) > np.abs(plain)) & (np.abs(plain) < 0.2 * _STEP)
        return np.clip(np.where(better, old * np.exp(step), new), *_DOFS)

    def displace(self, params: StudentParams, k: int, rng: np.random.RandomState) -> StudentParams:
        return params._replace(means=self._gaussians.displace(self._as_gaussians(params), k, rng).means)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        of_dofs = 0 if self.dofs is not None else 1 if self.shared_dofs else n_components
        return self._gaussians.n_parameters(n_components, n_features) + of_dofs

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        names = {"means": "means", "scales": "covariances"}
        of_gaussians = frozenset(names[name] for name in frozen & names.keys())
        gaussians = self._gaussians
        of_dofs = self.n_parameters(n_components, n_features) - gaussians.n_parameters(n_components, n_features)
        return gaussians.n_frozen(of_gaussians, n_components, n_features) + of_dofs * ("dofs" in frozen)

    def parameter_shapes(self, n_components: int, n_features: int) -> tuple[tuple[int, ...], ...]:
        return (*self._gaussians.parameter_shapes(n_components, n_features)[:2], (n_components,))

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
        half = min(params.dofs[k], _GAUSSIAN_DOFS) / 2
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
                dof = min(params.dofs[k], _GAUSSIAN_DOFS)
                u = rng.gamma((dof + here.sum()) / 2, 2 / (dof + q))
                draws = rng.multivariate_normal(np.zeros(len(spread)), spread, len(some))
                means = means + draws / np.sqrt(u)[:, None]
            filled[np.ix_(some, ~here)] = means
        return filled


def draw_in(rows: np.ndarray) -> np.ndarray:
    """Columns whose values far outside the quartiles are drawn in by logarithms, so that k-means is not led by them."""
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(rows, [0.25, 0.75], axis=0)
    width = high - low
    safe = np.where(width > 0, width, 1.0)
    above = np.maximum(rows - (high + 3 * width), 0) / safe
    below = np.maximum((low - 3 * width) - rows, 0) / safe
    inside = np.clip(rows, low - 3 * width, high + 3 * width)
    drawn = inside + width * (np.log1p(above) - np.log1p(below))
    return np.where(width > 0, drawn, rows).astype(rows.dtype)


def _own_scratch(n_components: int, tile_rows: int) -> int:
    return (2 * n_components + 4) * tile_rows
