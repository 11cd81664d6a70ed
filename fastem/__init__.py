"""fastem: expectation-maximization at the speed of the machine.

Names are imported when they are first used, so that ``import fastem`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem import families, plot
    from fastem.em import EM
    from fastem.engine.loop import Iteration, PassProgress
    from fastem.estimators import (
        BernoulliMixture,
        FixedMixture,
        GaussianMixture,
        LatentClass,
        Mixture,
        PoissonMixture,
        StudentTMixture,
        load,
    )
    from fastem.report.progress import Progress
    from fastem.report.versions import show_versions
    from fastem.sources import DataChangedError
    from fastem.sources import open_source as open
    from fastem.storage.array_file import ModelFileError
    from fastem.storage.checkpoints import CheckpointError

__version__ = "0.1.0"

__all__ = [
    "EM",
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
    "EM": "fastem.em",
    "BernoulliMixture": "fastem.estimators",
    "CheckpointError": "fastem.storage.checkpoints",
    "DataChangedError": "fastem.sources",
    "FixedMixture": "fastem.estimators",
    "GaussianMixture": "fastem.estimators",
    "Iteration": "fastem.engine.loop",
    "LatentClass": "fastem.estimators",
    "Mixture": "fastem.estimators",
    "ModelFileError": "fastem.storage.array_file",
    "PassProgress": "fastem.engine.loop",
    "PoissonMixture": "fastem.estimators",
    "Progress": "fastem.report.progress",
    "StudentTMixture": "fastem.estimators",
    "load": "fastem.estimators",
    "open": "fastem.sources",
    "show_versions": "fastem.report.versions",
}


def __getattr__(name: str) -> Any:
    if name in ("families", "plot"):
        return import_module(f"fastem.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'fastem' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), "open_source" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
