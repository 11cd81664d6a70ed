"""fastem: expectation-maximization at the speed of the machine.

Names are imported when they are first used, so that ``import fastem`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem import families, plot
    from fastem.checkpoint import CheckpointError
    from fastem.diagnostics import show_versions
    from fastem.em import Iteration, PassProgress
    from fastem.estimators.fixed_mixture import FixedMixture
    from fastem.estimators.gaussian_mixture import GaussianMixture
    from fastem.estimators.mixture import BernoulliMixture, LatentClass, Mixture, PoissonMixture, StudentTMixture
    from fastem.persistence import ModelFileError, load
    from fastem.progress import Progress
    from fastem.sources import DataChangedError
    from fastem.sources import open_source as open

__version__ = "0.1.0"

__all__ = [
    "BernoulliMixture",
    "CheckpointError",
    "DataChangedError",
    "FixedMixture",
    "GaussianMixture",
    "Iteration",
    "LatentClass",
    "Mixture",
    "ModelFileError",
    "PassProgress",
    "PoissonMixture",
    "Progress",
    "StudentTMixture",
    "families",
    "load",
    "open",
    "plot",
    "show_versions",
]

_HOMES = {
    "BernoulliMixture": "fastem.estimators.mixture",
    "CheckpointError": "fastem.checkpoint",
    "DataChangedError": "fastem.sources",
    "FixedMixture": "fastem.estimators.fixed_mixture",
    "GaussianMixture": "fastem.estimators.gaussian_mixture",
    "Iteration": "fastem.em",
    "LatentClass": "fastem.estimators.mixture",
    "Mixture": "fastem.estimators.mixture",
    "ModelFileError": "fastem.persistence",
    "PassProgress": "fastem.em",
    "PoissonMixture": "fastem.estimators.mixture",
    "Progress": "fastem.progress",
    "StudentTMixture": "fastem.estimators.mixture",
    "load": "fastem.persistence",
    "open": "fastem.sources",
    "show_versions": "fastem.diagnostics",
}


def __getattr__(name: str) -> Any:
    if name in ("families", "plot"):
        return import_module(f"fastem.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'fastem' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), "open_source" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
