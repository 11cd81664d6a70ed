"""Beta distributions of independent columns."""

from typing import NamedTuple

import numpy as np
from scipy.special import logit, polygamma

from fastem.families._domain import check_values
from fastem.families._expanded import ExpandedFamily, UnitKernel
from fastem.families._special import log_minus_psi, stirling

__all__ = ["Beta"]


class BetaParams(NamedTuple):
    """Concentrations at 1 and at 0, both (K, d)."""

    alphas: np.ndarray
    betas: np.ndarray


class Beta(ExpandedFamily):
    """Beta distributions: ``x^(alpha - 1) (1 - x)^(beta - 1) / B(alpha, beta)`` for 0 < x < 1.

    Parameters
    ----------
    largest : float, default=1e12
        Largest sum of both concentrations, which bounds the likelihood of a component that sits on
        equal values: its standard deviation is then 5e-7 at the most.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Mixture
    >>> from fastem.families import Beta
    >>> fit = Mixture(Beta()).fit(np.array([[0.2], [0.8], [0.5]]))
    >>> bool(abs(fit.alphas_ - fit.betas_).max() < 1e-6)
    True
    """

    parameters = BetaParams
    kernel_parameters = UnitKernel

    def __init__(self, largest: float = 1e12):
        self.largest = largest

    def check_settings(self) -> None:
        if not self.largest > 0:
            raise ValueError(f"largest must be positive, not {self.largest!r}.")

    def check_bound(self, n_features: int) -> None:
        self.check_settings()

    def at_floor(self, params: BetaParams) -> np.ndarray:
        return np.asarray(params.alphas + params.betas >= self.largest * (1 - 1e-6))

    def slack(self, new: BetaParams, about: BetaParams, cells: np.ndarray) -> float:
        """The rounding of log-densities of components as narrow as they may be."""
        rounding = 8 * float(np.finfo(np.float64).eps) * self.largest
        return float(np.sum(cells * np.where(self.at_floor(new), rounding, 0.0)))

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~((rows > 0) & (rows < 1)), "the values must lie between 0 and 1")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(logit(rows))

    def natural(self, params: BetaParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        alphas, betas = params
        return alphas - 1, betas - 1, _log_constant(alphas, betas)

    def expectations(self, params: BetaParams) -> tuple[np.ndarray, np.ndarray]:
        alphas, betas = params
        total = alphas + betas
        excess = log_minus_psi(total)
        return (
            np.log(alphas / total) - log_minus_psi(alphas) + excess,
            np.log(betas / total) - log_minus_psi(betas) + excess,
        )

    def alike(self, rows: np.ndarray, n_components: int) -> BetaParams:
        ones = np.ones((n_components, rows.shape[1]))
        return BetaParams(ones, ones)

    def estimate(self, one: np.ndarray, two: np.ndarray, about: BetaParams, frozen: frozenset[str]) -> BetaParams:
        """Newton steps on the concave log-likelihood, halved while they lead down."""
        a, b = about.alphas.copy(), about.betas.copy()
        free_a, free_b = float("alphas" not in frozen), float("betas" not in frozen)
        value = _value(a, b, one, two)
        for _ in range(100):
            expected = self.expectations(BetaParams(a, b))
            curve = polygamma(1, a + b)
            da, db = free_a * (one - expected[0]), free_b * (two - expected[1])
            haa, hbb = polygamma(1, a) - curve, polygamma(1, b) - curve
            cross = curve * free_a * free_b
            determinant = haa * hbb - cross**2
            step_a, step_b = (hbb * da + cross * db) / determinant, (haa * db + cross * da) / determinant
            size = np.ones_like(a)
            for _ in range(50):
                new_a, new_b = a + size * step_a, b + size * step_b
                inside = (new_a > 0) & (new_b > 0)
                after = _value(np.where(inside, new_a, a), np.where(inside, new_b, b), one, two)
                good = inside & (after >= value - 1e-14 * np.abs(value))
                if good.all():
                    break
                size = np.where(good, size, size / 2)
            a, b = np.where(good, new_a, a), np.where(good, new_b, b)
            value = np.where(good, after, value)
            if np.max(np.abs(step_a) / a + np.abs(step_b) / b) < 1e-13:
                break
            if np.all(a + b >= self.largest):
                break
        return self._bounded(BetaParams(a, b), about, frozen)

    def _bounded(self, params: BetaParams, about: BetaParams, frozen: frozenset[str]) -> BetaParams:
        """Concentrations whose sum is not too large, about the same mean; nothing frozen is changed."""
        if frozen & {"alphas", "betas"}:
            return params
        factors = np.minimum(1.0, self.largest / (params.alphas + params.betas))
        return BetaParams(params.alphas * factors, params.betas * factors)

    def sample(self, params: BetaParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        draws = rng.beta(params.alphas[k], params.betas[k], size=(n, params.alphas.shape[1]))
        return np.clip(draws, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)

    def means(self, params: BetaParams) -> np.ndarray:
        return np.asarray(params.alphas / (params.alphas + params.betas))


def _value(a: np.ndarray, b: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.asarray(a * one + b * two + _log_constant(a, b))


def _log_constant(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``-log B(a, b)``."""
    n = a + b
    logs = a * np.log1p(b / a) + b * np.log1p(a / b) + 0.5 * np.log(a / n * b / (2 * np.pi))
    return np.asarray(logs + stirling(n) - stirling(a) - stirling(b))
