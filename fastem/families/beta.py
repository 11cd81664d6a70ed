"""Beta distributions of independent columns."""

from typing import NamedTuple

import numpy as np
from scipy.special import betaln, logit, polygamma, psi

from fastem.families._domain import check_values
from fastem.families._expanded import ExpandedFamily, UnitKernel

__all__ = ["Beta"]


class BetaParams(NamedTuple):
    """Concentrations at 1 and at 0, both (K, d)."""

    alphas: np.ndarray
    betas: np.ndarray


class Beta(ExpandedFamily):
    """Beta distributions: ``x^(alpha - 1) (1 - x)^(beta - 1) / B(alpha, beta)`` for 0 < x < 1.

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

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~((rows > 0) & (rows < 1)), "the values must lie between 0 and 1")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(logit(rows))

    def natural(self, params: BetaParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        alphas, betas = params
        return alphas - 1, betas - 1, -betaln(alphas, betas)

    def expectations(self, params: BetaParams) -> tuple[np.ndarray, np.ndarray]:
        alphas, betas = params
        total = psi(alphas + betas)
        return psi(alphas) - total, psi(betas) - total

    def about(self, rows: np.ndarray, n_components: int) -> BetaParams:
        ones = np.ones((n_components, rows.shape[1]))
        return BetaParams(ones, ones)

    def estimate(self, one: np.ndarray, two: np.ndarray, about: BetaParams, held: frozenset[str]) -> BetaParams:
        """Newton steps on the concave log-likelihood, halved while they lead down."""
        a, b = about.alphas.copy(), about.betas.copy()
        free_a, free_b = float("alphas" not in held), float("betas" not in held)
        value = _value(a, b, one, two)
        for _ in range(100):
            total, curve = psi(a + b), polygamma(1, a + b)
            da, db = free_a * (one - psi(a) + total), free_b * (two - psi(b) + total)
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
        return BetaParams(a, b)

    def sample(self, params: BetaParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        draws = rng.beta(params.alphas[k], params.betas[k], size=(n, params.alphas.shape[1]))
        return np.clip(draws, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)

    def means(self, params: BetaParams) -> np.ndarray:
        return np.asarray(params.alphas / (params.alphas + params.betas))


def _value(a: np.ndarray, b: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.asarray(a * one + b * two - betaln(a, b))
