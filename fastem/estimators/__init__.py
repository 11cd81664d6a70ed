"""What a user imports: estimators in scikit-learn's style."""

from fastem.estimators.fixed_mixture import FixedMixture
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.mixture import Mixture
from fastem.estimators.shortcuts import BernoulliMixture, LatentClass, PoissonMixture, StudentTMixture
from fastem.storage.model_files import load

__all__ = [
    "BernoulliMixture",
    "FixedMixture",
    "GaussianMixture",
    "LatentClass",
    "Mixture",
    "PoissonMixture",
    "StudentTMixture",
    "load",
]
