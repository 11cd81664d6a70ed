"""The registry of public estimators, with data that suit them: a new estimator adds one entry to ESTIMATORS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem import (
    BernoulliMixture,
    FixedMixture,
    GaussianMixture,
    LatentClass,
    Mixture,
    PoissonMixture,
    StudentTMixture,
)
from fastem.families import Gaussian


@dataclass(frozen=True)
class EstimatorCase:
    """``make(**params)`` gives an estimator of two components, ``draw(n, rng)`` rows for it."""

    name: str
    make: Callable[..., Any]
    draw: Callable[[int, np.random.Generator], np.ndarray]

    def __str__(self) -> str:
        return self.name

    @property
    def is_fixed(self) -> bool:
        """Whether nothing but the weights is estimated."""
        return self.name == "FixedMixture"


@dataclass(frozen=True)
class Density:
    """Log-density, but for a constant, of a normal distribution; of the cells that are there.

    It is no function: those have their address in names of tests, which differ between workers.
    """

    mean: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return -0.5 * np.nansum(np.square(np.asarray(rows) - self.mean), axis=1)


def _reals(n, rng):
    return rng.normal(size=(n, 2)) + 4 * (rng.random((n, 1)) < 0.4)


def _counts(n, rng):
    return rng.poisson(np.where(rng.random((n, 1)) < 0.4, [1, 3], [9, 6])).astype(float)


def _flags(n, rng):
    return (rng.random((n, 4)) < np.where(rng.random((n, 1)) < 0.4, 0.2, 0.8)).astype(float)


def _levels(n, rng):
    is_first = rng.random((n, 1)) < 0.4
    return np.where(is_first, rng.choice(3, p=[0.8, 0.1, 0.1], size=(n, 3)), rng.integers(3, size=(n, 3))).astype(float)


ESTIMATORS = [
    EstimatorCase("GaussianMixture", lambda **params: GaussianMixture(2, **params), _reals),
    EstimatorCase("Mixture", lambda **params: Mixture(Gaussian("diag"), 2, **params), _reals),
    EstimatorCase("PoissonMixture", lambda **params: PoissonMixture(2, **params), _counts),
    EstimatorCase("BernoulliMixture", lambda **params: BernoulliMixture(2, **params), _flags),
    EstimatorCase("LatentClass", lambda **params: LatentClass(2, **params), _levels),
    EstimatorCase("StudentTMixture", lambda **params: StudentTMixture(2, **params), _reals),
    EstimatorCase("FixedMixture", lambda **params: FixedMixture([Density(0.0), Density(4.0)], **params), _reals),
]
