"""The registry of models that the contract tests run over: a new family adds one line to CASES."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem import GaussianMixture


@dataclass(frozen=True)
class Case:
    """A model with data that suit it.

    `draw(n, rng)` gives rows and true labels; `make(**params)` an estimator for them.
    """

    name: str
    make: Callable[..., Any]
    draw: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
    true_means: np.ndarray

    def __str__(self) -> str:
        return self.name


MEANS = np.array([[-3.0, 0.0, 1.0], [1.0, 2.0, -1.0], [3.0, -3.0, 0.0]])


def _draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
    return MEANS[labels] + rng.normal(size=(n, 3)), labels


def _gaussian(covariance_type: str) -> Case:
    def make(**params: Any) -> GaussianMixture:
        return GaussianMixture(3, covariance_type=covariance_type, **params)

    return Case(f"gaussian_{covariance_type}", make, _draw, MEANS)


CASES = [_gaussian("full"), _gaussian("tied"), _gaussian("diag"), _gaussian("spherical")]
