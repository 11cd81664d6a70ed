"""Von Mises-Fisher distributions: directions, rows of length 1."""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, ive

from fastem.families._linear import LinearFamily, LinearStatistics
from fastem.families.family import Maximized

__all__ = ["VonMisesFisher"]

_LARGEST = 1e8  # of a fit
_MOST = 1e16  # beyond it directions are the same to the last digit


class VonMisesFisherParams(NamedTuple):
    """Mean directions (K, d) of length 1, concentrations (K,)."""

    directions: np.ndarray
    concentrations: np.ndarray


class VonMisesFisher(LinearFamily):
    """Von Mises-Fisher distributions: ``C(kappa) exp(kappa direction @ x)`` on the unit sphere.

    The concentration solves ``I_{d/2}(kappa) / I_{d/2-1}(kappa) = R`` to all digits (Banerjee et al.
    2005, Clustering on the unit hypersphere using von Mises-Fisher distributions).

    Notes
    -----
    The density of some coordinates alone has no closed form: missing cells are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import VonMisesFisher
    >>> angles = np.linspace(-0.1, 0.1, 21)
    >>> X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    >>> (Mixture(VonMisesFisher()).fit(X).directions_.round(6) + 0.0).tolist()
    [[1.0, 0.0]]
    """

    parameters = VonMisesFisherParams
    takes_missing = False

    def check(self, rows: np.ndarray, first_row: int) -> None:
        lengths = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
        wrong = ~(np.abs(lengths - 1) <= 1e-4)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"Row {first_row + row} of X has length {lengths[row]:g}, not 1: divide each row by its length."
            )

    def natural(self, params: VonMisesFisherParams) -> tuple[np.ndarray, np.ndarray]:
        d = params.directions.shape[1]
        slopes = params.concentrations[:, None] * params.directions
        return slopes, np.tile(_log_constant(params.concentrations, d)[:, None] / d, (1, d))

    def alike(self, rows: np.ndarray, n_components: int) -> VonMisesFisherParams:
        d = rows.shape[1]
        return VonMisesFisherParams(np.full((n_components, d), 1 / np.sqrt(d)), np.ones(n_components))

    def estimate(self, sums: np.ndarray, cells: np.ndarray) -> VonMisesFisherParams:
        lengths = np.linalg.norm(sums, axis=1)
        directions = sums / np.maximum(lengths, 1e-300)[:, None]
        resultants = np.minimum(lengths / cells[:, 0], 1 - 1e-12)
        return VonMisesFisherParams(directions, _solve_concentrations(resultants, sums.shape[1]))

    def maximize(
        self,
        stats: LinearStatistics,
        counts: np.ndarray,
        about: VonMisesFisherParams,
        dead: np.ndarray,
        frozen: frozenset[str],
    ) -> Maximized:
        safe = np.where(dead, 1.0, counts)
        new = self.estimate(stats.first, safe[:, None])
        if "directions" in frozen:
            along = np.sum(stats.first * about.directions, axis=1) / safe
            new = new._replace(
                concentrations=_solve_concentrations(np.clip(along, 0, 1 - 1e-12), new.directions.shape[1])
            )
        return Maximized(self.keep(new, about, dead, frozen))

    def displace(self, params: VonMisesFisherParams, k: int, rng: np.random.RandomState) -> VonMisesFisherParams:
        directions = params.directions.copy()
        d = directions.shape[1]
        directions[k] += rng.standard_normal(d) / np.sqrt(1 + params.concentrations[k])
        directions[k] /= np.linalg.norm(directions[k])
        return params._replace(directions=directions)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features

    def n_frozen(self, frozen: frozenset[str], n_components: int, n_features: int) -> int:
        return n_components * ((n_features - 1) * ("directions" in frozen) + ("concentrations" in frozen))

    def check_params(self, params: VonMisesFisherParams, n_components: int, n_features: int) -> None:
        super().check_params(params, n_components, n_features)
        if not np.allclose(np.linalg.norm(params.directions, axis=1), 1):
            raise ValueError("The parameter 'directions' must have length 1.")
        if (params.concentrations < 0).any() or (params.concentrations > _MOST).any():
            raise ValueError(f"The parameter 'concentrations' must not be negative, nor above {_MOST:g}.")

    def means(self, params: VonMisesFisherParams) -> np.ndarray:
        d = params.directions.shape[1]
        return _ratio(params.concentrations, d)[:, None] * params.directions

    def sample(self, params: VonMisesFisherParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Wood 1994, Simulation of the von Mises-Fisher distribution."""
        direction, kappa = params.directions[k], float(params.concentrations[k])
        d = len(direction)
        if d == 1:
            signs = np.where(rng.uniform(size=(n, 1)) < 1 / (1 + np.exp(-2 * kappa)), 1.0, -1.0)
            return np.asarray(signs * direction)
        gaps = _sample_gaps(kappa, d, n, rng)
        across = rng.standard_normal((n, d))
        across -= (across @ direction)[:, None] * direction
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        return np.asarray((1 - gaps)[:, None] * direction + np.sqrt(gaps * (2 - gaps))[:, None] * across)


def _sample_gaps(kappa: float, d: int, n: int, rng: np.random.RandomState) -> np.ndarray:
    """What cosines w of the angle lack from 1, which keeps its digits where directions are close."""
    b = (d - 1) / (2 * kappa + np.hypot(2 * kappa, d - 1))
    x = (1 - b) / (1 + b)
    gap_x = 2 * b / (1 + b)  # 1 - x
    found = np.empty(0)
    while len(found) < n:
        z = rng.beta((d - 1) / 2, (d - 1) / 2, size=2 * n + 10)
        gaps = 2 * b * z / ((1 - z) + b * z)
        ratios = (gap_x + x * gaps) / (gap_x * (1 + x))  # (1 - x w) / (1 - x^2)
        good = kappa * (gap_x - gaps) + (d - 1) * np.log(ratios) >= np.log(rng.uniform(size=len(z)))
        found = np.append(found, gaps[good])
    return found[:n]


def _log_bessel(order: float, kappa: np.ndarray) -> np.ndarray:
    """``log I_order(kappa)``; by its uniform expansion where it underflows (DLMF 10.41.3)."""
    scaled = ive(order, kappa)
    with np.errstate(divide="ignore", invalid="ignore"):
        direct = np.log(scaled) + kappa
        z = kappa / max(order, 1.0)
        root = np.sqrt(1 + z**2)
        p = 1 / root
        correction = (3 * p - 5 * p**3) / (24 * max(order, 1.0))
        uniform = order * (root + np.log(z / (1 + root))) - 0.5 * np.log(2 * np.pi * max(order, 1.0) * root)
        uniform = uniform + np.log1p(correction)
    return np.where(scaled > 1e-290, direct, uniform)


def _log_constant(kappa: np.ndarray, d: int) -> np.ndarray:
    """``log C``; with kappa = 0, one over the sphere's area."""
    order = d / 2 - 1
    uniform = gammaln(d / 2) - np.log(2) - d / 2 * np.log(np.pi)
    safe = np.maximum(kappa, 1e-10)
    value = order * np.log(safe) - d / 2 * np.log(2 * np.pi) - _log_bessel(order, safe)
    return np.where(kappa > 1e-8, value, uniform)


def _ratio(kappa: np.ndarray, d: int) -> np.ndarray:
    """``I_{d/2}(kappa) / I_{d/2-1}(kappa)``, the mean length; by a continued fraction where they underflow."""
    above, below = ive(d / 2, kappa), ive(d / 2 - 1, kappa)
    fraction = np.zeros_like(kappa)
    for i in range(200, -1, -1):
        fraction = kappa / (d + 2 * i + kappa * fraction)
    return np.where(above > 1e-280, above / np.maximum(below, 1e-300), fraction)


def _solve_concentrations(resultants: np.ndarray, d: int) -> np.ndarray:
    """Concentrations with given mean lengths: Newton steps from Banerjee's approximation."""
    r = np.maximum(resultants, 1e-8)
    kappa = np.minimum(r * (d - r**2) / (1 - r**2), _LARGEST)
    for _ in range(50):
        ratio = _ratio(kappa, d)
        slope = 1 - ratio**2 - (d - 1) / kappa * ratio
        new = np.clip(kappa - (ratio - r) / np.maximum(slope, 1e-300), kappa / 2, kappa * 2)
        done = np.max(np.abs(new - kappa) / kappa) < 1e-13
        kappa = np.minimum(new, _LARGEST)
        if done:
            break
    return np.where(resultants > 1e-8, kappa, 0.0)
