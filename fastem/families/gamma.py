"""Gamma distributions of independent columns."""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, polygamma, psi

from fastem.families._domain import check_values
from fastem.families._expanded import ExpandedFamily, PositiveKernel, newton

__all__ = ["Gamma"]

_LARGEST = 1e10


class GammaParams(NamedTuple):
    """Shapes and scales, both (K, d)."""

    shapes: np.ndarray
    scales: np.ndarray


class Gamma(ExpandedFamily):
    """Gamma distributions: ``x^(shape - 1) exp(-x / scale) / (Gamma(shape) scale^shape)`` for x > 0.

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

    def check(self, rows: np.ndarray, first_row: int) -> None:
        check_values(rows, first_row, ~(rows > 0), "the values must be positive")

    def start_features(self, rows: np.ndarray) -> np.ndarray:
        return np.cbrt(rows)

    def natural(self, params: GammaParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shapes, scales = params
        return -1 / scales, shapes - 1, -gammaln(shapes) - shapes * np.log(scales)

    def expectations(self, params: GammaParams) -> tuple[np.ndarray, np.ndarray]:
        shapes, scales = params
        return shapes * scales, psi(shapes) + np.log(scales)

    def about(self, rows: np.ndarray, n_components: int) -> GammaParams:
        ones = np.ones((n_components, rows.shape[1]))
        return GammaParams(ones, ones)

    def estimate(self, one: np.ndarray, two: np.ndarray, about: GammaParams, held: frozenset[str]) -> GammaParams:
        """Maximum likelihood (Minka 2002, Estimating a gamma distribution)."""
        shapes, scales = about
        if "shapes" not in held and "scales" in held:
            target = two - np.log(scales)
            shapes = newton(shapes, lambda a: a - (psi(a) - target) / polygamma(1, a))
        elif "shapes" not in held:
            gap = np.maximum(np.log(one) - two, 1 / (2 * _LARGEST))
            start = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
            # the step is Newton's for 1 / shape, in which the likelihood is nearly quadratic
            shapes = newton(
                start, lambda a: 1 / (1 / a + (np.log(a) - psi(a) - gap) / (a**2 * (1 / a - polygamma(1, a))))
            )
        return GammaParams(shapes, scales if "scales" in held else one / shapes)

    def sample(self, params: GammaParams, k: int, n: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.gamma(params.shapes[k], params.scales[k], size=(n, params.shapes.shape[1]))

    def means(self, params: GammaParams) -> np.ndarray:
        return np.asarray(params.shapes * params.scales)
